/* SPDX-License-Identifier: MIT */
/*
 * CPUID for L1: the machine's own answers, with what depends on L1's registers put right. What
 * a vendor's backend hides or changes comes on top.
 */
#ifndef HOST_CPUID_H
#define HOST_CPUID_H

#include "rt.h"

/* `cr4`: of the level that executes CPUID. */
struct rt_cpuid cpuid_for_guest(uint32_t leaf, uint32_t subleaf, uint64_t cr4);

#endif
