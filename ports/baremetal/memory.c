/* SPDX-License-Identifier: MIT */
/*
 * Translation of L1 physical addresses (memory.h). Identity, minus one hole.
 */
#include "memory.h"

static bool overlaps(const struct bm_memory *memory, uint64_t base, uint64_t size)
{
    return base < memory->hidden_base + memory->hidden_size && memory->hidden_base < base + size;
}

uint64_t bm_block_size(const struct bm_memory *memory, uint64_t l1gpa)
{
    static const uint64_t sizes[] = {BM_SIZE_1G, BM_SIZE_2M};

    for (unsigned i = 0; i < 2; i++) {
        uint64_t base = l1gpa & ~(sizes[i] - 1);

        if (!overlaps(memory, base, sizes[i]) && base + sizes[i] <= memory->limit)
            return sizes[i];
    }
    return BM_SIZE_4K;
}

bool bm_translate(const struct bm_memory *memory, uint64_t l1gpa, struct bm_block *block)
{
    uint64_t size;
    uint8_t type;

    if (l1gpa >= memory->limit || overlaps(memory, l1gpa & ~(BM_SIZE_4K - 1), BM_SIZE_4K))
        return false;
    size = bm_block_size(memory, l1gpa);
    while (!bm_mtrrs_type(&memory->mtrrs, l1gpa, size, &type))
        size = size == BM_SIZE_1G ? BM_SIZE_2M : BM_SIZE_4K;
    *block = (struct bm_block){.hpa = l1gpa, .size = size, .type = type};
    return true;
}

bool bm_is_accessible(const struct bm_memory *memory, uint64_t l1gpa, uint64_t bytes)
{
    return bytes <= memory->reachable && l1gpa <= memory->reachable - bytes &&
           !overlaps(memory, l1gpa, bytes);
}
