/* SPDX-License-Identifier: MIT */
/*
 * Where the vCPU objects of both vendors meet Hyper-V's interface: flushes that processors of L1's,
 * or of its L2s, asked for are taken in before an entry. In a build without it there is nothing to
 * take.
 */
#ifndef NVI_NESTED_HYPERV_H
#define NVI_NESTED_HYPERV_H

#include "hv_enlight/direct.h"
#include "mmu/mmu.h"

#include <nvirt/hyperv.h>

/* HV_SVM_ENLIGHTENED_VMCB_FIELDS: their offset in a VMCB, the first word's bits, and the clean
 * bit that stands for all of them and the MSR map [TLFS "Enlightened VMCB fields"]. */
#define NVI_HV_VMCB_FIELDS 0x3e0u
#define NVI_HV_VMCB_DIRECT (1u << 0)
#define NVI_HV_VMCB_MSR_BITMAP (1u << 1)
#define NVI_HV_VMCB_NPT_TLB (1u << 2)
#define NVI_HV_VMCB_CLEAN (1u << 31)

#ifdef NVIRT_HYPERV

/** The enlightenments of vmcb12, at @p page, that L1 was offered. */
static inline uint32_t nvi_hv_vmcb_enlightenments(const struct nvirt_hv_vp *vp, const void *page)
{
    uint32_t offered = 0;

    if (vp == NULL || (vp->offer & NVIRT_HV_OFFER_SVM) == 0) {
        return 0;
    }
    offered |= (vp->offer & NVIRT_HV_OFFER_DIRECT_FLUSH) != 0 ? NVI_HV_VMCB_DIRECT : 0;
    offered |= (vp->offer & NVIRT_HV_OFFER_MSR_BITMAP) != 0 ? NVI_HV_VMCB_MSR_BITMAP : 0;
    offered |= (vp->offer & NVIRT_HV_OFFER_NPT_TLB) != 0 ? NVI_HV_VMCB_NPT_TLB : 0;
    return *(const volatile uint32_t *)((const char *)page + NVI_HV_VMCB_FIELDS) & offered;
}

/** Whether the build has what @p vp stands for. */
static inline bool nvi_hv_is_possible(const struct nvirt_hv_vp *vp)
{
    return vp == NULL ||
           (vp->fifo.slot != NULL && ((vp->offer & NVIRT_HV_OFFER_DIRECT_FLUSH) == 0 ||
                                      vp->direct.fifo.slot != NULL));
}

/** Whether flushes of linear addresses wait for @p level. */
static inline bool nvi_hv_waits(const struct nvirt_hv_vp *vp, uint32_t level)
{
    return vp != NULL && (level == 1 ? nvirt_hv_fifo_waits(&vp->fifo)
                                     : vp->direct.active && nvirt_hv_fifo_waits(&vp->direct.fifo));
}

/** nvirt_tlb_due(), with what waits for the level. Pages are flushed one by one where every
 * paging mode of the host's takes their addresses. */
static inline void nvi_hv_due(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb,
                              const struct nvirt_tlb_entry *entry, struct nvirt_flush_set *due)
{
    if (nvi_hv_waits(vp, entry->level)) {
        nvirt_hv_flush_due(entry->level == 1 ? &vp->fifo : &vp->direct.fifo, tlb, entry, 48, due);
    } else {
        nvirt_tlb_due(tlb, entry, due);
    }
}

/** Nothing is known of the processor's L2s any more. */
static inline void nvi_hv_forget_l2(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb)
{
    nvi_hv_direct_leave(vp, tlb);
}

/** Makes tables stale that L1 wants flushed. To be called before an entry of L2 finds its root
 * fit. */
static inline void nvi_hv_take_nested(struct nvirt_hv_vp *vp, struct nvi_mmu *mmu)
{
    uint64_t table = vp == NULL ? 0 : nvirt_hv_take_nested_flush(vp);

    if (table == NVIRT_HV_NESTED_ALL) {
        nvi_mmu_invalidate_all(mmu);
    } else if (table != 0) {
        nvi_mmu_invalidate(mmu, table);
    }
}

#else

static inline uint32_t nvi_hv_vmcb_enlightenments(const struct nvirt_hv_vp *vp, const void *page)
{
    (void)vp;
    (void)page;
    return 0;
}

static inline bool nvi_hv_is_possible(const struct nvirt_hv_vp *vp)
{
    return vp == NULL;
}

static inline bool nvi_hv_waits(const struct nvirt_hv_vp *vp, uint32_t level)
{
    (void)vp;
    (void)level;
    return false;
}

static inline void nvi_hv_due(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb,
                              const struct nvirt_tlb_entry *entry, struct nvirt_flush_set *due)
{
    (void)vp;
    nvirt_tlb_due(tlb, entry, due);
}

static inline void nvi_hv_forget_l2(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb)
{
    (void)vp;
    (void)tlb;
}

static inline void nvi_hv_take_nested(struct nvirt_hv_vp *vp, struct nvi_mmu *mmu)
{
    (void)vp;
    (void)mmu;
}

#endif

#endif
