/* SPDX-License-Identifier: MIT */
/*
 * A TLB as lazy as hardware may be: it keeps each second-stage translation that L2 could have used
 * until a flush names its tag. What it still holds when the tag is used again, the CPU may use: the
 * host must still have that memory there, with those rights, and the translation must come from the
 * same tables of L1's.
 */
#ifndef FUZZ_LAZY_TLB_H
#define FUZZ_LAZY_TLB_H

#include "hw_tables.h"
#include "input.h"

#define LAZY_ENTRIES 24u

struct lazy_entry {
    bool used;
    uint64_t tag;    /**< EP4TA or ASID. */
    uint64_t tables; /**< Names L1's tables that it comes from. */
    uint64_t hpa;
    uint32_t rights;
};

struct lazy_tlb {
    uint32_t next;
    struct lazy_entry entry[LAZY_ENTRIES];
};

static inline void lazy_add(struct lazy_tlb *tlb, uint64_t tag, uint64_t tables,
                            const struct hw_page *page)
{
    tlb->entry[tlb->next++ % LAZY_ENTRIES] =
        (struct lazy_entry){ true, tag, tables, page->hpa, page->rights };
}

static inline void lazy_flush(struct lazy_tlb *tlb, uint64_t tag)
{
    for (uint32_t i = 0; i < LAZY_ENTRIES; i++) {
        if (tlb->entry[i].tag == tag) {
            tlb->entry[i].used = false;
        }
    }
}

static inline void lazy_flush_all(struct lazy_tlb *tlb)
{
    memset(tlb, 0, sizeof *tlb);
}

/* @param tables those of the L2 that enters; 0 where the tag says nothing about tables. */
static inline void lazy_check(const struct lazy_tlb *tlb, uint64_t tag, uint64_t tables,
                              const struct nvirt_port_vm *vm)
{
    for (uint32_t i = 0; i < LAZY_ENTRIES; i++) {
        const struct lazy_entry *entry = &tlb->entry[i];

        if (!entry->used || entry->tag != tag) {
            continue;
        }
        REQUIRE(is_backed(vm, entry->hpa, entry->rights), "stale translation not flushed",
                entry->hpa);
        REQUIRE(tables == 0 || entry->tables == tables, "translation of other tables", entry->hpa);
    }
}

#endif
