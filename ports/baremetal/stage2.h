/* SPDX-License-Identifier: MIT */
/*
 * The second-stage tables under which L1 itself runs: NPT01 or EPT01. With four levels and only
 * leaf bits differing, one builder serves both vendors. Tables are built where needed: everything
 * below 4 GiB at start, the rest when L1 first touches it.
 */
#ifndef BM_STAGE2_H
#define BM_STAGE2_H

#include "memory.h"
#include "pool.h"

enum bm_stage2_format {
    BM_STAGE2_NPT, /* long-mode page table entries, all user, all writable */
    BM_STAGE2_EPT  /* read, write, execute; the MTRRs' memory type in each leaf */
};

struct bm_stage2 {
    uint64_t root; /* physical address of the top table */
    enum bm_stage2_format format;
    bool has_1g;
    uint64_t pages; /* tables built */
    const struct bm_memory *memory;
    struct bm_pool *pool;
};

/*
 * Builds the tables for L1's memory below 4 GiB. False when the pool ran out.
 * `has_1g`: the CPU walks 1 GiB leaves in this format.
 */
bool bm_stage2_init(struct bm_stage2 *stage2, enum bm_stage2_format format, bool has_1g,
                    const struct bm_memory *memory, struct bm_pool *pool);

/* Maps the block around l1gpa. False when L1 has nothing there or the pool ran out. */
bool bm_stage2_map(struct bm_stage2 *stage2, uint64_t l1gpa);

/*
 * Rewrites every leaf below 4 GiB, and drops the rest, after the memory types changed (EPT). The
 * caller flushes what the CPU cached.
 */
bool bm_stage2_rebuild(struct bm_stage2 *stage2);

#endif
