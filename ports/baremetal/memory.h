/* SPDX-License-Identifier: MIT */
/*
 * What L1 has for physical memory on a host that gives it the machine: everything, at its own
 * address, except the block where the host itself lives. One description serves the tables that
 * hardware walks for L1 (stage2.h) and the questions nvirt asks through its port.
 */
#ifndef BM_MEMORY_H
#define BM_MEMORY_H

#include "mtrr.h"

#define BM_SIZE_4K UINT64_C(0x1000)
#define BM_SIZE_2M UINT64_C(0x200000)
#define BM_SIZE_1G UINT64_C(0x40000000)

#define BM_MEMORY_RAM_MAX 64u

/* A piece of real memory, as opposed to devices. */
struct bm_ram {
    uint64_t base, size;
};

struct bm_memory {
    uint64_t hidden_base, hidden_size; /* the host; 2 MiB aligned, L1 has nothing there */
    uint64_t limit;                    /* one past the last physical address the CPU can form */
    uint64_t reachable;                /* one past the last byte of the host's own identity map */
    uint32_t ram_count;
    struct bm_ram ram[BM_MEMORY_RAM_MAX]; /* ascending, neighbours joined */
    struct bm_mtrrs mtrrs;
};

/* Adds RAM at or above all that was added before. False when the list is full. */
bool bm_memory_add_ram(struct bm_memory *memory, uint64_t base, uint64_t size);

struct bm_block {
    uint64_t hpa;  /* of the byte asked for */
    uint64_t size; /* of the naturally aligned block around it that is alike: 4K, 2M or 1G */
    uint8_t type;  /* enum bm_memory_type; the MTRRs' */
};

/*
 * Translates an L1 physical address; all memory of L1 is readable, writable and executable.
 * Returns false, with *block untouched, for the host's own block and beyond the CPU's limit.
 */
bool bm_translate(const struct bm_memory *memory, uint64_t l1gpa, struct bm_block *block);

/* Largest aligned block around l1gpa that lies wholly inside L1's memory, types not asked. */
uint64_t bm_block_size(const struct bm_memory *memory, uint64_t l1gpa);

/*
 * True when the host may read and write [l1gpa, l1gpa + bytes) on L1's behalf through its identity
 * map: all of it RAM of L1's. Not devices: an L1 that gives the address of one for a structure must
 * not make the host access it in ways of the host's choosing.
 */
bool bm_is_accessible(const struct bm_memory *memory, uint64_t l1gpa, uint64_t bytes);

/* The same for reading alone: the ROMs between the VGA window and 1 MiB too, where instructions of
 * L1's may stand. Reading a ROM does nothing else. */
bool bm_is_readable(const struct bm_memory *memory, uint64_t l1gpa, uint64_t bytes);

/* The largest stretch of memory around `l1gpa` that bm_is_accessible(), for a caller that remembers
 * it: it does not change. False when there is none. */
bool bm_accessible_around(const struct bm_memory *memory, uint64_t l1gpa, uint64_t *base,
                          uint64_t *size);

#endif
