/* SPDX-License-Identifier: MIT */
/*
 * The page pool of pool.h. The identity map makes a physical address a pointer, so free pages
 * can hold the list that links them.
 */
#include "pool.h"

#include "rt.h"

void bm_pool_init(struct bm_pool *pool, uint64_t base, uint64_t size)
{
    uint64_t end = (base + size) & ~(BM_PAGE_SIZE - 1);

    memset(pool, 0, sizeof(*pool));
    pool->next = (base + BM_PAGE_SIZE - 1) & ~(BM_PAGE_SIZE - 1);
    pool->end = end > pool->next ? end : pool->next;
    pool->total = (pool->end - pool->next) / BM_PAGE_SIZE;
}

static void count(struct bm_pool *pool, uint64_t pages)
{
    pool->used += pages;
    if (pool->used > pool->peak)
        pool->peak = pool->used;
}

bool bm_pool_alloc_run(struct bm_pool *pool, uint64_t pages, uint64_t *first)
{
    if (pages > (pool->end - pool->next) / BM_PAGE_SIZE) {
        pool->refused++;
        return false;
    }
    *first = pool->next;
    pool->next += pages * BM_PAGE_SIZE;
    count(pool, pages);
    memset((void *)*first, 0, pages * BM_PAGE_SIZE);
    return true;
}

bool bm_pool_alloc(struct bm_pool *pool, uint64_t *page)
{
    if (pool->free_list == 0)
        return bm_pool_alloc_run(pool, 1, page);
    *page = pool->free_list;
    pool->free_list = *(uint64_t *)*page;
    count(pool, 1);
    memset((void *)*page, 0, BM_PAGE_SIZE);
    return true;
}

void bm_pool_free(struct bm_pool *pool, uint64_t page)
{
    *(uint64_t *)page = pool->free_list;
    pool->free_list = page;
    pool->used--;
}
