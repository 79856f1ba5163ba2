/* SPDX-License-Identifier: MIT */
/*
 * The host's own identity map beyond the 4 GiB that rt maps: the host must reach all RAM of L1.
 */
#ifndef BM_IDENTITY_H
#define BM_IDENTITY_H

#include "pool.h"

/*
 * Extends rt's map to cover [0, top), as far as 512 GiB go. Tables come from the pool where the CPU
 * has no 1 GiB pages. Returns one past the last byte that is mapped: at least 4 GiB.
 */
uint64_t bm_identity_extend(struct bm_pool *pool, uint64_t top);

#endif
