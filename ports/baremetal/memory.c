/* SPDX-License-Identifier: MIT */
/*
 * Translation of L1 physical addresses (memory.h). Identity, minus one hole.
 */
#include "memory.h"

#include <stddef.h>

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

bool bm_memory_add_ram(struct bm_memory *memory, uint64_t base, uint64_t size)
{
    struct bm_ram *last = memory->ram_count == 0 ? NULL : &memory->ram[memory->ram_count - 1];

    if (last != NULL && base <= last->base + last->size) {
        uint64_t end = base + size;

        if (end > last->base + last->size)
            last->size = end - last->base;
        return true;
    }
    if (memory->ram_count == BM_MEMORY_RAM_MAX)
        return false;
    memory->ram[memory->ram_count++] = (struct bm_ram){base, size};
    return true;
}

static bool is_ram(const struct bm_memory *memory, uint64_t base, uint64_t bytes)
{
    for (uint32_t i = 0; i < memory->ram_count; i++) {
        const struct bm_ram *ram = &memory->ram[i];

        if (base >= ram->base && bytes <= ram->size && base - ram->base <= ram->size - bytes)
            return true;
    }
    return false;
}

bool bm_is_accessible(const struct bm_memory *memory, uint64_t l1gpa, uint64_t bytes)
{
    return bytes <= memory->reachable && l1gpa <= memory->reachable - bytes &&
           !overlaps(memory, l1gpa, bytes) && is_ram(memory, l1gpa, bytes);
}

bool bm_accessible_around(const struct bm_memory *memory, uint64_t l1gpa, uint64_t *base,
                          uint64_t *size)
{
    uint64_t hidden_end = memory->hidden_base + memory->hidden_size;

    if (!bm_is_accessible(memory, l1gpa, 1))
        return false;
    for (uint32_t i = 0; i < memory->ram_count; i++) {
        uint64_t from = memory->ram[i].base;
        uint64_t to = from + memory->ram[i].size;

        if (l1gpa < from || l1gpa >= to)
            continue;
        if (to > memory->reachable)
            to = memory->reachable;
        if (l1gpa < memory->hidden_base && memory->hidden_base < to)
            to = memory->hidden_base;
        if (l1gpa >= hidden_end && from < hidden_end)
            from = hidden_end;
        *base = from;
        *size = to - from;
    }
    return true;
}

#define ROM_BASE UINT64_C(0xc0000)
#define ROM_END UINT64_C(0x100000)

bool bm_is_readable(const struct bm_memory *memory, uint64_t l1gpa, uint64_t bytes)
{
    bool rom = l1gpa >= ROM_BASE && l1gpa < ROM_END && bytes <= ROM_END - l1gpa;

    return bm_is_accessible(memory, l1gpa, bytes) ||
           (rom && ROM_END <= memory->reachable && !overlaps(memory, l1gpa, bytes));
}
