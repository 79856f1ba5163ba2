/* SPDX-License-Identifier: MIT */
/*
 * The TLB of the fake CPU. It keeps each translation that L1 or L2 could have used until a flush
 * takes it, and at each entry demands that what it may still supply is right: that nvirt's tables
 * say the same now, that it was cached for the same tag of L1's, and that neither L1, its guests
 * nor the host had it flushed since. It knows nothing of flush decisions. L2's linear addresses are
 * its physical ones here.
 */
#ifndef FAKE_TLB_H
#define FAKE_TLB_H

#include "hw_tables.h"

#define FAKE_TLB_ENTRIES 256u
#define FAKE_TLB_GLOBAL UINT64_C(0x7000) /**< L2's page tables map this one as global. */

/** What an entry is made with, as hardware and L1 see it. */
struct fake_tlb_context {
    bool svm;
    uint32_t level;
    uint32_t tag;    /**< Hardware's VPID or ASID; 0: none. */
    bool modes;      /**< Mode-based execute control is on. */
    uint64_t root;   /**< EPTP or nested CR3 that hardware walks; level 2. */
    uint64_t owner;  /**< L1's tag (and mode) that hardware's stands for. */
    bool without;    /**< On VMX L1 gave no VPID, or it is L1: each transition of such an L2
                          flushes. */
    uint64_t stay;   /**< Transitions of L2s without VPID so far. */
};

/** What L1, its guests or the host had flushed. */
struct fake_tlb_lost {
    uint32_t level;
    bool combined;  /**< What carries a tag; else all. */
    bool one_owner; /**< Of that tag of L1's, else of all, */
    uint64_t owner;
    bool tagged;    /**< but not of VPID 0. */
    bool not_global; /**< Global ones stay. */
    bool one_page;  /**< At that linear address, else at all. */
    uint64_t page;
};

struct fake_tlb_entry {
    bool used;
    bool lost;       /**< May be there still, must not be used. */
    bool combined;   /**< Carries the tag; else the root only (VMX). */
    struct fake_tlb_context made;
    uint64_t l2gpa;
    struct hw_page page;
};

struct fake_tlb {
    uint32_t next;
    uint64_t checks; /**< Translations that were looked at and found right. */
    struct fake_tlb_entry entry[FAKE_TLB_ENTRIES];
};

void fake_tlb_invept(struct fake_tlb *tlb, bool all, uint64_t eptp);
/** @param tag 0: of every tag. */
void fake_tlb_flush_tag(struct fake_tlb *tlb, uint32_t tag, bool globals);
void fake_tlb_flush_page(struct fake_tlb *tlb, uint32_t tag, uint64_t page);
/** An earlier owner of the tag left something that no flush has taken yet. */
void fake_tlb_second_hand(struct fake_tlb *tlb, uint32_t tag);
/** Asked for, not carried out. */
void fake_tlb_lose(struct fake_tlb *tlb, const struct fake_tlb_lost *lost);
/** The entry takes place: aborts on what must not be supplied, then caches all that it could use.
 * */
void fake_tlb_enter(struct fake_tlb *tlb, struct nvirt_port_vm *vm,
                    const struct fake_tlb_context *now);

#endif
