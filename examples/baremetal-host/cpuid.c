/* SPDX-License-Identifier: MIT */
/*
 * CPUID bits that mirror control registers (cpuid.h): executed by the host, the instruction sees the
 * host's CR4. [SDM 2A "CPUID"], [APM 3 "CPUID"]
 */
#include "cpuid.h"

#define CR4_OSXSAVE (1u << 18)
#define CR4_PKE (1u << 22)
#define LEAF1_ECX_OSXSAVE (1u << 27)
#define LEAF7_ECX_OSPKE (1u << 4)

static void mirror(uint32_t *word, uint32_t bit, bool set)
{
    *word = set ? *word | bit : *word & ~bit;
}

struct rt_cpuid cpuid_for_guest(uint32_t leaf, uint32_t subleaf, uint64_t cr4)
{
    struct rt_cpuid r = rt_cpuid(leaf, subleaf);

    if (leaf == CPUID_LEAF_FEATURES)
        mirror(&r.ecx, LEAF1_ECX_OSXSAVE, (cr4 & CR4_OSXSAVE) != 0);
    if (leaf == CPUID_LEAF_STRUCTURED && subleaf == 0)
        mirror(&r.ecx, LEAF7_ECX_OSPKE, (cr4 & CR4_PKE) != 0);
    return r;
}
