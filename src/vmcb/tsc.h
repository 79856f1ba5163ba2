/* SPDX-License-Identifier: MIT */
/*
 * The time-stamp counter of a guest: the one below, times the TSC ratio, plus the TSC offset; and two
 * such steps as one [APM 2 "TSC Ratio MSR (C000_0104h)"]. The ratio has 8 bits before the point and 32
 * behind it.
 */
#ifndef NVIRT_SRC_VMCB_TSC_H
#define NVIRT_SRC_VMCB_TSC_H

#include <nvirt/vmcb.h>

/** Highest ratio that the MSR holds. */
#define NVI_SVM_TSC_RATIO_MAX NVIRT_BITS(39, 0)

__extension__ typedef unsigned __int128 nvi_svm_u128;
__extension__ typedef __int128 nvi_svm_s128;

/** L0's offset for L1, as it counts for L2: an amount of L1's time, stretched like that. */
static inline uint64_t nvi_svm_tsc_offset(uint64_t offset01, uint64_t ratio12)
{
    if (ratio12 == NVIRT_SVM_TSC_RATIO_ONE) {
        return offset01;
    }
    return (uint64_t)((nvi_svm_s128)(int64_t)offset01 * (nvi_svm_s128)ratio12 >> 32);
}

/** The ratio for L2: the greatest there is where the product is greater still. */
static inline uint64_t nvi_svm_tsc_ratio(uint64_t ratio01, uint64_t ratio12)
{
    nvi_svm_u128 product = (nvi_svm_u128)ratio01 * ratio12 >> 32;

    return product > NVI_SVM_TSC_RATIO_MAX ? NVI_SVM_TSC_RATIO_MAX : (uint64_t)product;
}

#endif
