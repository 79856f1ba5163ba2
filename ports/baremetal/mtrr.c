/* SPDX-License-Identifier: MIT */
/*
 * Reading MTRRs and deciding the type of a block [SDM 3A "Memory Type Range Registers (MTRRs)"],
 * [APM 2 "Memory-Type Range Registers"].
 */
#include "mtrr.h"

#include "rt.h"

#define CPUID_1_EDX_MTRR (1u << 12)
#define CAP_VARIABLE_COUNT 0xffu
#define CAP_FIXED (1u << 8)
#define DEF_TYPE 0xffu
#define DEF_FIXED_ENABLE (1u << 10)
#define DEF_ENABLE (1u << 11)
#define MASK_VALID (1u << 11)
#define MEGABYTE 0x100000u

static const uint32_t fixed_msrs[BM_MTRR_FIXED] = {
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

uint64_t *bm_mtrrs_slot(struct bm_mtrrs *mtrrs, uint32_t msr)
{
    uint32_t pair = (msr - BM_MSR_MTRR_PHYSBASE0) / 2;

    if (!mtrrs->present)
        return NULL;
    if (msr == BM_MSR_MTRR_DEF_TYPE)
        return &mtrrs->def_type;
    if (msr >= BM_MSR_MTRR_PHYSBASE0 && pair < mtrrs->variable_count)
        return (msr & 1) != 0 ? &mtrrs->mask[pair] : &mtrrs->base[pair];
    for (uint32_t i = 0; mtrrs->fixed_present && i < BM_MTRR_FIXED; i++) {
        if (msr == fixed_msrs[i])
            return &mtrrs->fixed[i];
    }
    return NULL;
}

void bm_mtrrs_read(struct bm_mtrrs *mtrrs)
{
    uint64_t cap;

    memset(mtrrs, 0, sizeof(*mtrrs));
    /* An emulated CPU may announce MTRRs and fault on them: then all memory is write-back. */
    if ((rt_cpuid(1, 0).edx & CPUID_1_EDX_MTRR) == 0 || !rt_rdmsr_safe(BM_MSR_MTRR_CAP, &cap) ||
        !rt_rdmsr_safe(BM_MSR_MTRR_DEF_TYPE, &mtrrs->def_type))
        return;
    mtrrs->present = true;
    mtrrs->fixed_present = (cap & CAP_FIXED) != 0;
    for (uint32_t i = 0; i < (cap & CAP_VARIABLE_COUNT) && i < BM_MTRR_MAX_VARIABLE; i++) {
        if (!rt_rdmsr_safe(BM_MSR_MTRR_PHYSBASE0 + 2 * i, &mtrrs->base[i]) ||
            !rt_rdmsr_safe(BM_MSR_MTRR_PHYSBASE0 + 2 * i + 1, &mtrrs->mask[i]))
            break;
        mtrrs->variable_count = i + 1;
    }
    for (uint32_t i = 0; mtrrs->fixed_present && i < BM_MTRR_FIXED; i++) {
        if (!rt_rdmsr_safe(fixed_msrs[i], &mtrrs->fixed[i]))
            mtrrs->fixed_present = false;
    }
}

/* One byte of a fixed-range register per 64 KiB (first), 16 KiB (next two) or 4 KiB. */
static uint8_t fixed_type(const struct bm_mtrrs *mtrrs, uint64_t address)
{
    uint32_t reg, byte;

    if (address < 0x80000) {
        reg = 0;
        byte = (uint32_t)(address >> 16);
    } else if (address < 0xc0000) {
        reg = 1 + (uint32_t)((address - 0x80000) >> 17);
        byte = (uint32_t)(address >> 14) & 7u;
    } else {
        reg = 3 + (uint32_t)((address - 0xc0000) >> 15);
        byte = (uint32_t)(address >> 12) & 7u;
    }
    return (uint8_t)(mtrrs->fixed[reg] >> (byte * 8));
}

/* Overlapping ranges: UC wins, WT beats WB; other mixtures are undefined and taken as UC. */
static uint8_t combine(uint8_t a, uint8_t b)
{
    if (a == b)
        return a;
    if ((a == BM_TYPE_WT && b == BM_TYPE_WB) || (a == BM_TYPE_WB && b == BM_TYPE_WT))
        return BM_TYPE_WT;
    return BM_TYPE_UC;
}

bool bm_mtrrs_type(const struct bm_mtrrs *mtrrs, uint64_t address, uint64_t size, uint8_t *type)
{
    bool found = false;
    uint64_t start = address & ~(size - 1);

    *type = BM_TYPE_WB;
    if (!mtrrs->present)
        return true;
    *type = BM_TYPE_UC;
    if ((mtrrs->def_type & DEF_ENABLE) == 0)
        return true;
    if (start < MEGABYTE && mtrrs->fixed_present && (mtrrs->def_type & DEF_FIXED_ENABLE) != 0) {
        *type = fixed_type(mtrrs, address);
        return size == 4096;
    }
    for (uint32_t i = 0; i < mtrrs->variable_count; i++) {
        uint64_t mask = mtrrs->mask[i] & ~UINT64_C(0xfff);
        uint64_t differ = (start ^ mtrrs->base[i]) & mask;

        if ((mtrrs->mask[i] & MASK_VALID) == 0 || (differ & ~(size - 1)) != 0)
            continue;
        /* The bits that select the block agree; mask bits inside it split it. */
        if ((mask & (size - 1)) != 0)
            return false;
        *type = found ? combine(*type, (uint8_t)mtrrs->base[i]) : (uint8_t)mtrrs->base[i];
        found = true;
    }
    if (!found)
        *type = (uint8_t)(mtrrs->def_type & DEF_TYPE);
    return true;
}
