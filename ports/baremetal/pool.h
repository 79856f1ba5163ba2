/* SPDX-License-Identifier: MIT */
/*
 * Page pool: the host's hidden memory, handed out in 4 KiB pages. Pages that were never used are
 * taken from the front; pages given back are chained through their own first word. One CPU.
 */
#ifndef BM_POOL_H
#define BM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define BM_PAGE_SIZE UINT64_C(4096)

struct bm_pool {
    uint64_t next, end; /* never used so far: physical, page aligned */
    uint64_t free_list; /* first page given back, 0 for none */
    uint64_t used, peak, total;
    uint64_t refused; /* requests that found the pool empty */
};

/* Gives the pool [base, base + size); rounded inwards to whole pages. */
void bm_pool_init(struct bm_pool *pool, uint64_t base, uint64_t size);

/* One zeroed page, or false when none is left (*page is then untouched). */
bool bm_pool_alloc(struct bm_pool *pool, uint64_t *page);

/* `count` zeroed pages in a row, for start-up only: taken from what was never used. */
bool bm_pool_alloc_run(struct bm_pool *pool, uint64_t count, uint64_t *first);

void bm_pool_free(struct bm_pool *pool, uint64_t page);

#endif
