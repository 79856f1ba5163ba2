/* SPDX-License-Identifier: MIT */
/*
 * Builder of NPT01 and EPT01 (stage2.h). Non-leaf entries are the same in both formats: bits 2:0
 * set mean present, writable, user in one and read, write, execute in the other.
 * [APM 2 "Nested Paging"], [SDM 3C "EPT Translation Mechanism"].
 */
#include "stage2.h"

#include "rt.h"

#define ENTRY_ALL UINT64_C(7)
#define ENTRY_LARGE (UINT64_C(1) << 7)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define EPT_TYPE_SHIFT 3u
#define TOP_LEVEL 4u
#define EAGER_LIMIT (UINT64_C(4) << 30)

static uint32_t index_of(uint64_t address, uint32_t level)
{
    return (uint32_t)(address >> (12 + 9 * (level - 1))) & 511u;
}

static uint32_t leaf_level(const struct bm_stage2 *stage2, uint64_t size)
{
    if (size == BM_SIZE_1G && stage2->has_1g)
        return 3;
    return size >= BM_SIZE_2M ? 2 : 1;
}

static uint64_t leaf_of(const struct bm_stage2 *stage2, uint64_t hpa, uint32_t level, uint8_t type)
{
    uint64_t size = UINT64_C(1) << (12 + 9 * (level - 1));
    uint64_t entry = (hpa & ~(size - 1)) | ENTRY_ALL;

    if (level > 1)
        entry |= ENTRY_LARGE;
    if (stage2->format == BM_STAGE2_EPT)
        entry |= (uint64_t)type << EPT_TYPE_SHIFT;
    return entry;
}

static bool new_table(struct bm_stage2 *stage2, uint64_t *page)
{
    if (!bm_pool_alloc(stage2->pool, page))
        return false;
    stage2->pages++;
    return true;
}

/*
 * What a leaf must know of the block: NPT leaves carry no memory type (the MTRRs stay in force
 * under nested paging), so there the MTRRs do not split blocks.
 */
static bool block_at(const struct bm_stage2 *stage2, uint64_t l1gpa, struct bm_block *block)
{
    if (!bm_translate(stage2->memory, l1gpa, block))
        return false;
    if (stage2->format == BM_STAGE2_NPT)
        block->size = bm_block_size(stage2->memory, l1gpa);
    return true;
}

bool bm_stage2_map(struct bm_stage2 *stage2, uint64_t l1gpa)
{
    struct bm_block block;
    uint64_t *table = (uint64_t *)stage2->root;
    uint32_t leaf;

    if (!block_at(stage2, l1gpa, &block))
        return false;
    leaf = leaf_level(stage2, block.size);
    for (uint32_t level = TOP_LEVEL; level > leaf; level--) {
        uint64_t *entry = &table[index_of(l1gpa, level)];
        uint64_t page;

        if (*entry == 0) {
            if (!new_table(stage2, &page))
                return false;
            *entry = page | ENTRY_ALL;
        }
        table = (uint64_t *)(*entry & ENTRY_ADDRESS);
    }
    table[index_of(l1gpa, leaf)] = leaf_of(stage2, block.hpa, leaf, block.type);
    return true;
}

static bool map_below_4g(struct bm_stage2 *stage2)
{
    uint64_t address = 0;
    struct bm_block block;

    while (address < EAGER_LIMIT) {
        uint64_t step = BM_SIZE_4K;

        if (block_at(stage2, address, &block)) {
            if (!bm_stage2_map(stage2, address))
                return false;
            step = UINT64_C(1) << (12 + 9 * (leaf_level(stage2, block.size) - 1));
        }
        address = (address & ~(step - 1)) + step;
    }
    return true;
}

bool bm_stage2_init(struct bm_stage2 *stage2, enum bm_stage2_format format, bool has_1g,
                    const struct bm_memory *memory, struct bm_pool *pool)
{
    *stage2 = (struct bm_stage2){
        .format = format, .has_1g = has_1g, .memory = memory, .pool = pool};
    return new_table(stage2, &stage2->root) && map_below_4g(stage2);
}

static void drop(struct bm_stage2 *stage2, uint64_t table_page, uint32_t level)
{
    uint64_t *table = (uint64_t *)table_page;

    for (uint32_t i = 0; i < 512; i++) {
        uint64_t entry = table[i];

        table[i] = 0;
        if (entry == 0 || level == 1 || (entry & ENTRY_LARGE) != 0)
            continue;
        drop(stage2, entry & ENTRY_ADDRESS, level - 1);
        bm_pool_free(stage2->pool, entry & ENTRY_ADDRESS);
        stage2->pages--;
    }
}

bool bm_stage2_rebuild(struct bm_stage2 *stage2)
{
    drop(stage2, stage2->root, TOP_LEVEL);
    return map_below_4g(stage2);
}
