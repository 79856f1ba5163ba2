/* SPDX-License-Identifier: MIT */
/*
 * Table pages: taken one at a time from the port within the VM's budget, and put in limbo between
 * unlinking and the flush after which no paging-structure cache can hold them.
 */
#include "mmu/mmu_internal.h"

/*
 * A page in limbo carries the number of the next one: 12 bits in each of four entries, at bits
 * 63:52. Hardware that still walks it through a cache sees absent entries without an address there.
 */
#define LINK_ENTRIES 4u
#define LINK_SHIFT 52u
#define LINK_BITS 12u

uint64_t nvi_mmu_entry_load(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

void nvi_mmu_entry_store(uint64_t *slot, uint64_t entry)
{
    /* What the entry points to is complete before hardware can see the entry. */
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

uint64_t *nvi_mmu_table(struct nvi_mmu *mmu, nvirt_hpa page)
{
    uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, page);

    return table;
}

/* Other vCPUs fault at the same time, so the count is taken before the page is asked for. */
static bool budget_take(struct nvirt_vm *vm)
{
    uint32_t in_use = __atomic_load_n(&vm->pages_in_use, __ATOMIC_RELAXED);

    do {
        if (in_use >= vm->page_budget)
            return false;
    } while (!__atomic_compare_exchange_n(&vm->pages_in_use, &in_use, in_use + 1, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

static void budget_give(struct nvirt_vm *vm)
{
    (void)__atomic_fetch_sub(&vm->pages_in_use, 1u, __ATOMIC_RELAXED);
}

enum nvirt_status nvi_mmu_page_alloc(struct nvi_mmu *mmu, nvirt_hpa *page)
{
    struct nvirt_vm *vm = mmu->vm;
    uint64_t *table;
    uint32_t i;

    if (!budget_take(vm))
        return NVIRT_ERR_NO_PAGE;
    if (nvirt_port_page_alloc(vm->port, page) != NVIRT_OK) {
        budget_give(vm);
        return NVIRT_ERR_NO_PAGE;
    }
    table = nvi_mmu_table(mmu, *page);
    for (i = 0; i < NVI_MMU_ENTRIES; i++)
        table[i] = 0;
    mmu->stats->shadow_pages++;
    return NVIRT_OK;
}

void nvi_mmu_page_free(struct nvi_mmu *mmu, nvirt_hpa page)
{
    nvirt_port_page_free(mmu->vm->port, page);
    budget_give(mmu->vm);
    mmu->stats->shadow_pages--;
}

void nvi_mmu_limbo_push(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa page)
{
    uint64_t *table = nvi_mmu_table(mmu, page);
    uint64_t next = root->limbo.value >> NVIRT_PAGE_SHIFT;
    uint32_t i;

    for (i = 0; i < LINK_ENTRIES; i++)
        nvi_mmu_entry_store(&table[i], (next >> (LINK_BITS * i)) << LINK_SHIFT);
    root->limbo = page;
}

void nvi_mmu_limbo_free(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    while (root->limbo.value != 0) {
        nvirt_hpa page = root->limbo;
        const uint64_t *table = nvi_mmu_table(mmu, page);
        uint64_t next = 0;
        uint32_t i;

        for (i = 0; i < LINK_ENTRIES; i++)
            next |= (nvi_mmu_entry_load(&table[i]) >> LINK_SHIFT) << (LINK_BITS * i);
        root->limbo = nvirt_hpa_make(next << NVIRT_PAGE_SHIFT);
        nvi_mmu_page_free(mmu, page);
    }
}
