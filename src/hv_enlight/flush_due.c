/* SPDX-License-Identifier: MIT */
/*
 * From the flush queue of a level to decisions of the flush engine, at an entry.
 *
 * What is due anyway is looked at first: a flush that leaves nothing of the tag makes single
 * pages of it needless. It may be due on this CPU only, and this entry may never come to be: so
 * the level owes a flush for what was taken out, wherever it runs next. The entry itself settles
 * that with what is due anyway.
 */
#include <nvirt/hyperv.h>

#define WIDEST_BITS 57u

static bool is_canonical(uint64_t address, uint32_t bits)
{
    uint64_t top = address >> (bits - 1);

    return top == 0 || top == UINT64_MAX >> (bits - 1);
}

/* One entry: single pages where the CPU's flush instructions take them; all, where the pages are
 * addresses that only a wider paging mode has; nothing for those that cannot be translated at
 * all. */
static void request_entry(struct nvirt_tlb *tlb, uint32_t level, uint64_t entry,
                          uint32_t linear_bits)
{
    uint64_t page = entry & NVIRT_PAGE_MASK;
    uint64_t pages = (entry & ~NVIRT_PAGE_MASK) + 1;
    uint64_t asked = 0;

    for (uint64_t i = 0; i < pages; i++, page += NVIRT_PAGE_SIZE) {
        if (is_canonical(page, linear_bits)) {
            nvirt_tlb_request_addresses(tlb, level, nvirt_gva_make(page), 1);
            if (++asked > NVIRT_TLB_MAX_ADDRESSES) {
                return; /* More than are remembered: it is the whole tag by now. */
            }
        } else if (is_canonical(page, WIDEST_BITS)) {
            nvirt_tlb_request(tlb, level, NVIRT_TLB_REQUEST_GUEST);
            return;
        }
    }
}

static void request_taken(struct nvirt_hv_fifo *fifo, struct nvirt_tlb *tlb, uint32_t level,
                          uint32_t linear_bits)
{
    uint64_t entries[NVIRT_TLB_MAX_ADDRESSES];
    uint32_t count;
    uint32_t what = nvirt_hv_fifo_take(fifo, entries, NVIRT_TLB_MAX_ADDRESSES, &count);

    if ((what & NVIRT_HV_WAITS_ALL) != 0) {
        nvirt_tlb_request(tlb, level, NVIRT_TLB_REQUEST_GUEST);
        return;
    }
    if ((what & NVIRT_HV_WAITS_NOT_GLOBAL) != 0) {
        nvirt_tlb_request(tlb, level, NVIRT_TLB_REQUEST_NOT_GLOBAL);
    }
    /* Pages of entries may be global: they are flushed beside it. */
    for (uint32_t i = 0; i < count; i++) {
        request_entry(tlb, level, entries[i], linear_bits);
    }
}

void nvirt_hv_flush_due(struct nvirt_hv_fifo *fifo, struct nvirt_tlb *tlb,
                        const struct nvirt_tlb_entry *entry, uint32_t linear_bits,
                        struct nvirt_flush_set *due)
{
    nvirt_tlb_due(tlb, entry, due);
    if (!nvirt_hv_fifo_waits(fifo)) {
        return;
    }
    if (due->covers_guest) {
        nvirt_hv_fifo_purge(fifo);
        nvirt_tlb_request(tlb, entry->level, NVIRT_TLB_REQUEST_GUEST);
        return;
    }
    request_taken(fifo, tlb, entry->level, linear_bits);
    nvirt_tlb_due(tlb, entry, due);
}
