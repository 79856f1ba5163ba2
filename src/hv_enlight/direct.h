/* SPDX-License-Identifier: MIT */
/*
 * Direct virtual flush [TLFS "Direct Virtual Flush"]: flush hypercalls of an L2 that L1 leaves to
 * nvirt. Which L2 runs on which processor of L1's, and calls of L2's.
 */
#ifndef NVI_HV_DIRECT_H
#define NVI_HV_DIRECT_H

#include <nvirt/hyperv.h>

/** Who an L2 is, as L1 says in its enlightened VMCS or VMCB: hostile numbers, to be compared. */
struct nvi_hv_identity {
    uint64_t vm;
    uint64_t assist_page; /**< l1gpa of the partition assist page. */
    uint32_t vp;
};

/** Whether hypercalls of the L2 that is active may be nvirt's. */
static inline bool nvi_hv_direct_is_active(const struct nvirt_hv_vp *vp)
{
    return vp != NULL && vp->direct.active;
}

/** Whether others are told of an L2 here; on the processor's own CPU. If not, one that is not to be told
 *  of changes nothing. */
static inline bool nvi_hv_direct_is_told(const struct nvirt_hv_vp *vp)
{
    return __atomic_load_n(&vp->direct.who, __ATOMIC_RELAXED) != 0;
}

/**
 * L1 enters an L2, which is the one that was bound last in @p tlb.
 * @param who it is; null: flushes of this one are not nvirt's.
 * @param tag02 the hardware tag.
 */
void nvi_hv_direct_enter(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb,
                         const struct nvi_hv_identity *who, uint32_t tag02);

/** No L2 is known to the processor any more: what waits is covered by a flush of the tag. */
void nvi_hv_direct_leave(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb);

/**
 * Whether the L2 that ran here last is one of VM @p vm, as far as another processor can tell. Any CPU at
 * any time.
 * @param number of its VP, when it is.
 */
bool nvi_hv_direct_runs(const struct nvirt_hv_direct *direct, uint64_t vm, uint32_t *number);

/** The VM of the L2 that is active; on the processor's own CPU. */
static inline uint64_t nvi_hv_direct_vm(const struct nvirt_hv_direct *direct)
{
    return __atomic_load_n(&direct->vm, __ATOMIC_RELAXED);
}

/** A call of L2's begins: all that its guest stored is visible before what follows is done. */
void nvi_hv_direct_begin(struct nvirt_hv_direct *direct);

/** Whose a hypercall of L2's is, and what is needed to carry it out. */
enum nvi_hv_direct_kind {
    NVI_HV_DIRECT_NONE,      /**< L1's. */
    NVI_HV_DIRECT_REGISTERS, /**< Nothing. */
    NVI_HV_DIRECT_XMM,       /**< XMM registers. */
    NVI_HV_DIRECT_MEMORY     /**< The place of its input, which lies within a page. */
};

/** Place of input at an address that L2 has not: beyond the width of physical addresses. */
#define NVI_HV_NO_PLACE (~UINT64_C(0))

/** @param input MEMORY: where L2 has it, at any address. Changes nothing. */
enum nvi_hv_direct_kind nvi_hv_direct_look(const struct nvirt_hv_vp *vp,
                                           const struct nvirt_hv_caller *caller,
                                           const struct nvirt_gprs *gprs, nvirt_l2gpa *input);

/**
 * Carries out a call that nvi_hv_direct_look() found to be nvirt's.
 * @param input MEMORY: where L1 has it, or NVI_HV_NO_PLACE.
 * @param gprs the result is written there.
 */
enum nvirt_hv_status nvi_hv_direct_call(struct nvirt_hv_vp *vp,
                                        const struct nvirt_hv_caller *caller, nvirt_l1gpa input,
                                        struct nvirt_gprs *gprs);

#endif
