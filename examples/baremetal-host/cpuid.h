/* SPDX-License-Identifier: MIT */
/*
 * CPUID for L1: the machine's own answers, with what depends on L1's registers put right. What
 * a vendor's backend hides or changes comes on top.
 */
#ifndef HOST_CPUID_H
#define HOST_CPUID_H

#include "rt.h"

#define CPUID_LEAF_FEATURES 1u
#define CPUID_LEAF_STRUCTURED 7u

/* True for leaves with bits that mirror CR4. */
static inline bool cpuid_needs_cr4(uint32_t leaf)
{
    return leaf == CPUID_LEAF_FEATURES || leaf == CPUID_LEAF_STRUCTURED;
}

/* `cr4`: of the level that executes CPUID; looked at where cpuid_needs_cr4(). */
struct rt_cpuid cpuid_for_guest(uint32_t leaf, uint32_t subleaf, uint64_t cr4);

#endif
