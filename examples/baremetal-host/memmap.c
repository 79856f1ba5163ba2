/* SPDX-License-Identifier: MIT */
/*
 * Memory map and placement (memmap.h). Candidate places are the ends of RAM entries and of taken
 * ranges, so the search is exact and its cost is bounded by their number.
 */
#include "memmap.h"

bool ranges_overlap(uint64_t base1, uint64_t size1, uint64_t base2, uint64_t size2)
{
    return size1 != 0 && size2 != 0 && base1 < base2 + size2 && base2 < base1 + size1;
}

bool memmap_add(struct memmap *map, uint64_t base, uint64_t size, uint32_t type)
{
    if (size == 0 || base + size < base)
        return true;
    if (map->count == MEMMAP_MAX)
        return false;
    map->entry[map->count++] = (struct memmap_entry){base, size, type};
    return true;
}

bool memmap_reserve(struct memmap *map, uint64_t base, uint64_t size)
{
    uint32_t count = map->count;
    uint64_t end = base + size;

    for (uint32_t i = 0; i < count; i++) {
        struct memmap_entry old = map->entry[i];
        uint64_t old_end = old.base + old.size;

        if (old.type != MEMMAP_RAM || !ranges_overlap(old.base, old.size, base, size))
            continue;
        map->entry[i].size = old.base < base ? base - old.base : 0;
        if (old_end > end && !memmap_add(map, end, old_end - end, MEMMAP_RAM))
            return false;
    }
    return memmap_add(map, base, size, MEMMAP_RESERVED);
}

bool memmap_is_ram(const struct memmap *map, uint64_t base, uint64_t size)
{
    bool inside = false;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];

        if (e->type == MEMMAP_RAM && base >= e->base && size <= e->size &&
            base - e->base <= e->size - size)
            inside = true;
        else if (e->type != MEMMAP_RAM && ranges_overlap(base, size, e->base, e->size))
            return false;
    }
    return inside;
}

uint64_t memmap_ram_top(const struct memmap *map)
{
    uint64_t top = 0;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];

        if (e->type == MEMMAP_RAM && e->base + e->size > top)
            top = e->base + e->size;
    }
    return top;
}

uint64_t memmap_ram_above_1m(const struct memmap *map)
{
    const uint64_t start = 0x100000;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];

        if (e->type == MEMMAP_RAM && e->base <= start && e->base + e->size > start)
            return e->base + e->size - start;
    }
    return 0;
}

bool taken_add(struct taken *taken, uint64_t base, uint64_t size)
{
    if (size == 0)
        return true;
    if (taken->count == TAKEN_MAX)
        return false;
    taken->range[taken->count++] = (struct range){base, size};
    return true;
}

bool taken_overlaps(const struct taken *taken, uint64_t base, uint64_t size)
{
    for (uint32_t i = 0; i < taken->count; i++) {
        if (ranges_overlap(base, size, taken->range[i].base, taken->range[i].size))
            return true;
    }
    return false;
}

static bool fits(const struct memmap *map, const struct taken *taken, uint64_t base, uint64_t size,
                 uint64_t low, uint64_t high)
{
    return base >= low && base <= high && size <= high - base && memmap_is_ram(map, base, size) &&
           !taken_overlaps(taken, base, size);
}

/* Offers the place that ends at `end`; keeps it when it is higher than what was found. */
static void try_below(const struct memmap *map, const struct taken *taken, uint64_t end,
                      uint64_t size, uint64_t align, uint64_t low, uint64_t high, uint64_t *best)
{
    uint64_t base;

    if (end > high)
        end = high;
    if (end < size)
        return;
    base = (end - size) & ~(align - 1);
    if (base > *best && fits(map, taken, base, size, low, high))
        *best = base;
}

bool memmap_find_high(const struct memmap *map, const struct taken *taken, uint64_t size,
                      uint64_t align, uint64_t low, uint64_t high, uint64_t *base)
{
    uint64_t best = 0;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];

        /* The top of RAM, and what lies right below something reserved. */
        try_below(map, taken, e->type == MEMMAP_RAM ? e->base + e->size : e->base, size, align, low,
                  high, &best);
    }
    for (uint32_t i = 0; i < taken->count; i++)
        try_below(map, taken, taken->range[i].base, size, align, low, high, &best);
    if (best == 0)
        return false;
    *base = best;
    return true;
}

static void try_above(const struct memmap *map, const struct taken *taken, uint64_t start,
                      uint64_t size, uint64_t align, uint64_t low, uint64_t high, uint64_t *best)
{
    uint64_t base = start < low ? low : start;

    base = (base + align - 1) & ~(align - 1);
    if (base < *best && fits(map, taken, base, size, low, high))
        *best = base;
}

bool memmap_find_low(const struct memmap *map, const struct taken *taken, uint64_t size,
                     uint64_t align, uint64_t low, uint64_t high, uint64_t *base)
{
    uint64_t best = UINT64_MAX;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];

        try_above(map, taken, e->type == MEMMAP_RAM ? e->base : e->base + e->size, size, align, low,
                  high, &best);
    }
    for (uint32_t i = 0; i < taken->count; i++)
        try_above(map, taken, taken->range[i].base + taken->range[i].size, size, align, low, high,
                  &best);
    if (best == UINT64_MAX)
        return false;
    *base = best;
    return true;
}
