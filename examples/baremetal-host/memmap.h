/* SPDX-License-Identifier: MIT */
/*
 * The machine's memory map as the boot loader gave it, and finding free room in it around a list
 * of ranges that are taken.
 */
#ifndef HOST_MEMMAP_H
#define HOST_MEMMAP_H

#include <stdbool.h>
#include <stdint.h>

#define MEMMAP_MAX 128u
#define MEMMAP_RAM 1u
#define MEMMAP_RESERVED 2u

struct range {
    uint64_t base, size;
};

struct memmap_entry {
    uint64_t base, size;
    uint32_t type;
};

struct memmap {
    uint32_t count;
    struct memmap_entry entry[MEMMAP_MAX];
};

/* Appends an entry; empty ones and ones that wrap are dropped. False when the map is full. */
bool memmap_add(struct memmap *map, uint64_t base, uint64_t size, uint32_t type);

/*
 * Marks [base, base + size) reserved: every RAM entry that overlaps it is cut, and an entry of its
 * own describes it. False when the map is full.
 */
bool memmap_reserve(struct memmap *map, uint64_t base, uint64_t size);

/* True when every byte is in one RAM entry and in no entry of another type. */
bool memmap_is_ram(const struct memmap *map, uint64_t base, uint64_t size);

/* One past the last byte of RAM. */
uint64_t memmap_ram_top(const struct memmap *map);

/* Bytes of RAM from 1 MiB on without a gap. */
uint64_t memmap_ram_above_1m(const struct memmap *map);

bool ranges_overlap(uint64_t base1, uint64_t size1, uint64_t base2, uint64_t size2);

#define TAKEN_MAX 48u

/* Ranges that must be left alone while something is placed. */
struct taken {
    uint32_t count;
    struct range range[TAKEN_MAX];
};

/* False when the list is full. */
bool taken_add(struct taken *taken, uint64_t base, uint64_t size);
bool taken_overlaps(const struct taken *taken, uint64_t base, uint64_t size);

/*
 * Finds the highest (or lowest) free place for `size` bytes in RAM inside [low, high), aligned to
 * `align` (a power of two). False when there is none.
 */
bool memmap_find_high(const struct memmap *map, const struct taken *taken, uint64_t size,
                      uint64_t align, uint64_t low, uint64_t high, uint64_t *base);
bool memmap_find_low(const struct memmap *map, const struct taken *taken, uint64_t size,
                     uint64_t align, uint64_t low, uint64_t high, uint64_t *base);

#endif
