/* SPDX-License-Identifier: MIT */
/*
 * A copy of the MTRRs and what they say of an address: the memory type that EPT entries must
 * carry, because EPT replaces the MTRRs for a guest [SDM 3C "Memory Type Used for Translated
 * Guest-Physical Addresses"], and that nvirt asks the port for.
 */
#ifndef BM_MTRR_H
#define BM_MTRR_H

#include <stdbool.h>
#include <stdint.h>

#define BM_MTRR_MAX_VARIABLE 32u
#define BM_MTRR_FIXED 11u

#define BM_MSR_MTRR_CAP 0xfeu
#define BM_MSR_MTRR_PHYSBASE0 0x200u
#define BM_MSR_MTRR_DEF_TYPE 0x2ffu

enum bm_memory_type {
    BM_TYPE_UC = 0,
    BM_TYPE_WC = 1,
    BM_TYPE_WT = 4,
    BM_TYPE_WP = 5,
    BM_TYPE_WB = 6
};

struct bm_mtrrs {
    bool present; /* CPUID announces them; without, all memory counts as write-back */
    bool fixed_present;
    uint32_t variable_count;
    uint64_t def_type;
    uint64_t fixed[BM_MTRR_FIXED];
    uint64_t base[BM_MTRR_MAX_VARIABLE], mask[BM_MTRR_MAX_VARIABLE];
};

/* Fills the copy from the CPU's MTRRs. */
void bm_mtrrs_read(struct bm_mtrrs *mtrrs);

/* Where the copy keeps MSR `msr`, or a null pointer when that is no MTRR of this CPU. */
uint64_t *bm_mtrrs_slot(struct bm_mtrrs *mtrrs, uint32_t msr);

/*
 * The type of the naturally aligned block [address, address + size), size a power of two of at
 * least 4 KiB. Returns false when the block does not have one type throughout; 4 KiB always has.
 */
bool bm_mtrrs_type(const struct bm_mtrrs *mtrrs, uint64_t address, uint64_t size, uint8_t *type);

#endif
