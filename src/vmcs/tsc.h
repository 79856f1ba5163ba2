/* SPDX-License-Identifier: MIT */
/*
 * The time-stamp counter as a guest sees it: multiplied, shifted right by 48 bits, offset
 * [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"], and two such views, one upon
 * the other.
 */
#ifndef NVIRT_SRC_VMCS_TSC_H
#define NVIRT_SRC_VMCS_TSC_H

#include <nvirt/vmcs.h>

/** The multiplier that changes nothing. */
#define NVI_TSC_ONE (UINT64_C(1) << 48)

__extension__ typedef unsigned __int128 nvi_u128;
__extension__ typedef __int128 nvi_s128;

/** What one level does to the counter of the level below. */
struct nvi_tsc_view {
    uint64_t multiplier; /**< 48 of its bits are the fraction. */
    uint64_t offset;     /**< Two's complement. */
};

/** Scaling counts with offsetting only, and neither says anything of a level without the controls. */
static inline struct nvi_tsc_view nvi_tsc_view_of(const struct nvirt_vmcs *vmcs)
{
    struct nvi_tsc_view view = { NVI_TSC_ONE, 0 };

    if ((vmcs->proc_controls & NVIRT_VMX_PROC_TSC_OFFSET) == 0) {
        return view;
    }
    view.offset = vmcs->tsc_offset;
    if ((vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 &&
        (vmcs->proc2_controls & NVIRT_VMX_PROC2_TSC_SCALING) != 0) {
        view.multiplier = vmcs->tsc_multiplier;
    }
    return view;
}

/** What the upper level reads when the one below would read @p tsc. */
static inline uint64_t nvi_tsc_read(const struct nvi_tsc_view *view, uint64_t tsc)
{
    return (uint64_t)((nvi_u128)tsc * view->multiplier >> 48) + view->offset;
}

/**
 * Both views as one: of L1 upon the CPU, @p view01, and of L2 upon L1, @p view12. An offset of L0's
 * is an amount of L1's time and is scaled like it. Two multiplications round twice and one rounds
 * once, so the product may be a little off: by what the last of 48 binary places says.
 */
static inline struct nvi_tsc_view nvi_tsc_compose(const struct nvi_tsc_view *view01,
                                                  const struct nvi_tsc_view *view12)
{
    struct nvi_tsc_view view;

    view.multiplier = (uint64_t)((nvi_u128)view01->multiplier * view12->multiplier >> 48);
    view.offset = (uint64_t)((nvi_s128)(int64_t)view01->offset * view12->multiplier >> 48) +
                  view12->offset;
    /* Not the 0 that nobody asked for: CPUs may refuse it. */
    if (view.multiplier == 0 && view01->multiplier != 0 && view12->multiplier != 0) {
        view.multiplier = 1;
    }
    return view;
}

#endif
