/* SPDX-License-Identifier: MIT */
/*
 * A hardware's walk of second-stage tables, written from the manuals and apart from the library, to
 * look at what the library built. It aborts on what no table may hold: an absent entry that has an
 * address (L1TF), or a link to a page that is not a table page in use.
 */
#ifndef HW_TABLES_H
#define HW_TABLES_H

#include "fake_port.h"

enum hw_result {
    HW_PAGE,
    HW_NOT_PRESENT,
    HW_RESERVED /**< EPT misconfiguration, or a reserved bit in an NPT entry. */
};

struct hw_page {
    uint64_t hpa;     /**< Of the byte asked for. */
    uint64_t size;
    uint32_t rights;  /**< NVIRT_ACCESS_*, AND over the walk; with mode-based execute control also
                           HW_USER_EXECUTE, and NVIRT_ACCESS_EXECUTE is the supervisor's then. */
    uint8_t type;     /**< EPT: memory type. NPT: index into the host's PAT. */
    bool ignore_pat;  /**< EPT. */
    bool dirty;       /**< D of the leaf. */
    bool subpages;    /**< EPT: bit 61 of a leaf of 4 KiB that cannot be written: with sub-page write
                           permissions, hardware looks for a vector. */
};

#define HW_USER_EXECUTE 0x400u

/** The same with mode-based execute control. Without it no entry is to have the bit. */
enum hw_result hw_ept_walk_mode(struct nvirt_port_vm *vm, uint64_t eptp, uint64_t l2gpa,
                                struct hw_page *page);

/** Walks the EPT that @p eptp names. */
enum hw_result hw_ept_walk(struct nvirt_port_vm *vm, uint64_t eptp, uint64_t l2gpa,
                           struct hw_page *page);

/** What hardware finds for a write that is eligible for sub-page write permissions. */
enum hw_subpage { HW_SUBPAGE_ALLOWED, HW_SUBPAGE_DENIED, HW_SUBPAGE_MISS, HW_SUBPAGE_MISCONFIG };

/** Walks the table of sub-page permissions at @p sppt; *vector: what it found, 0 if nothing. */
enum hw_subpage hw_subpage_walk(struct nvirt_port_vm *vm, uint64_t sppt, uint64_t l2gpa,
                                uint64_t *vector);

/** Walks the four-level nested tables at @p ncr3, EFER.NXE set in the host. */
enum hw_result hw_npt_walk(struct nvirt_port_vm *vm, uint64_t ncr3, uint64_t l2gpa,
                           struct hw_page *page);

/** Table pages that can be reached from a root with @p levels, itself included. Both formats. */
uint32_t hw_table_pages(struct nvirt_port_vm *vm, uint64_t root, unsigned levels);

#endif
