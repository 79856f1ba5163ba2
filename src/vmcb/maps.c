/* SPDX-License-Identifier: MIT */
/*
 * Positions in the permission maps. A set bit means "intercept".
 */
#include "vmcb/vmcb_core.h"

/* The three ranges of MSRs that the map covers, 2 bits each, 0x800 bytes per range. The last
 * quarter of the 8 KiB is reserved. */
#define RANGE_MSRS 0x2000u
#define RANGE_BITS (RANGE_MSRS * 2u)

static const uint32_t range_base[] = {0x00000000u, 0xc0000000u, 0xc0010000u};

bool nvi_svm_msrpm_position(uint32_t msr, uint32_t *bit)
{
    for (uint32_t i = 0; i < sizeof range_base / sizeof range_base[0]; i++) {
        uint32_t offset = msr - range_base[i];

        if (offset < RANGE_MSRS) {
            *bit = i * RANGE_BITS + offset * 2u;
            return true;
        }
    }
    return false;
}

bool nvi_svm_msrpm_intercepts(const uint8_t *msrpm, uint32_t msr, bool write)
{
    uint32_t bit;

    if (!nvi_svm_msrpm_position(msr, &bit)) {
        return true;
    }
    return nvi_svm_map_any(msrpm, bit + (write ? 1u : 0u), 1);
}

/* EXITINFO1 of IOIO: port in 31:16, operand size one-hot in 6:4 (1, 2, 4 bytes). An access that
 * runs past port FFFFh is decided by the bits that follow the map's 64 Ki, so nothing wraps. */
void nvi_svm_iopm_position(uint64_t info1, uint32_t *bit, uint32_t *count)
{
    *bit = (uint32_t)(info1 >> 16) & 0xffffu;
    if ((info1 & NVIRT_BIT(6)) != 0) {
        *count = 4;
    } else if ((info1 & NVIRT_BIT(5)) != 0) {
        *count = 2;
    } else {
        *count = 1;
    }
}

bool nvi_svm_map_any(const uint8_t *map, uint32_t bit, uint32_t count)
{
    for (uint32_t i = bit; i < bit + count; i++) {
        if ((((uint32_t)map[i / 8u] >> (i % 8u)) & 1u) != 0) {
            return true;
        }
    }
    return false;
}

void nvi_svm_map_write(uint8_t *map, uint32_t bit, uint32_t count, bool value)
{
    for (uint32_t i = bit; i < bit + count; i++) {
        uint8_t mask = (uint8_t)(1u << (i % 8u));

        map[i / 8u] = (uint8_t)(value ? (map[i / 8u] | mask) : (map[i / 8u] & ~mask));
    }
}
