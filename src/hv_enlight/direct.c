/* SPDX-License-Identifier: MIT */
/*
 * Which L2 runs on a processor of L1's, for others to see whose flushes they are asked for
 * [TLFS "Direct Virtual Flush"]. L1 names an L2 by two numbers, of a VM and of a VP in it. They are
 * believed from the moment that L2 is entered until another is, and the queue is for what was
 * cached meanwhile, under one hardware tag:
 *
 *   When an L2 comes, what other processors wanted flushed of it until now went past this one.
 *   So its tag is flushed after it is told that it is here.
 *   When it goes, what they will want flushed of it goes past this one. So the tag owes a flush.
 *
 * The L2 that comes again as it went, under the same tag, has missed nothing and needs neither.
 *
 * Order. A caller stores (its page tables), then looks who runs here; this processor tells who
 * runs, then flushes, then reads page tables. A locked instruction, a full barrier on x86, stands
 * between the two on either side, so one sees the other: a caller that finds the L2 of before has
 * its stores visible before the flush; one that finds the new one puts its entry into the queue.
 * The two numbers are not stored at once, and need not be: what a caller takes for a name while it
 * changes is covered by the flush at either end of the change. tests/model/hv_direct_model.c tries
 * all orders.
 */
#include "hv_enlight/direct.h"

#include "hv_enlight/atomics.h"

/* nvirt_hv_direct::who: bits 31:0 number of the VP, and whether it is to be believed. */
#define WHO_HERE NVIRT_BIT(32)
#define WHO_NUMBER NVIRT_BITS(31, 0)

/* ---- told to others ---- */

static void tell(struct nvirt_hv_direct *direct, uint64_t vm, uint32_t number)
{
    NVI_STORE(&direct->vm, vm, __ATOMIC_RELEASE);
    (void)NVI_EXCHANGE(&direct->who, WHO_HERE | number, __ATOMIC_SEQ_CST);
}

bool nvi_hv_direct_runs(const struct nvirt_hv_direct *direct, uint64_t vm, uint32_t *number)
{
    uint64_t who = NVI_LOAD(&direct->who, __ATOMIC_ACQUIRE);

    *number = (uint32_t)(who & WHO_NUMBER);
    return (who & WHO_HERE) != 0 && NVI_LOAD(&direct->vm, __ATOMIC_ACQUIRE) == vm;
}

void nvi_hv_direct_begin(struct nvirt_hv_direct *direct)
{
    (void)NVI_ADD(&direct->calls, 1, __ATOMIC_SEQ_CST);
}

/* ---- the processor's own ---- */

static bool is_here(const struct nvirt_hv_direct *direct)
{
    return (NVI_LOAD(&direct->who, __ATOMIC_RELAXED) & WHO_HERE) != 0;
}

static bool is_same(const struct nvirt_hv_direct *direct, const struct nvi_hv_identity *who,
                    uint32_t tag02)
{
    uint64_t told = NVI_LOAD(&direct->who, __ATOMIC_RELAXED);

    return told == (WHO_HERE | who->vp) && direct->tag == tag02 &&
           NVI_LOAD(&direct->vm, __ATOMIC_RELAXED) == who->vm;
}

void nvi_hv_direct_leave(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb)
{
    struct nvirt_hv_direct *direct;

    if (vp == NULL) {
        return;
    }
    direct = &vp->direct;
    direct->active = false;
    if (is_here(direct)) {
        NVI_STORE(&direct->who, 0, __ATOMIC_RELEASE);
        nvirt_hv_fifo_purge(&direct->fifo);
        nvirt_tlb_request_tag(tlb, direct->tag);
    }
}

void nvi_hv_direct_enter(struct nvirt_hv_vp *vp, struct nvirt_tlb *tlb,
                         const struct nvi_hv_identity *who, uint32_t tag02)
{
    struct nvirt_hv_direct *direct = &vp->direct;

    direct->active = who != NULL;
    if (who == NULL) {
        /* What was cached of an L2 whose flushes were nvirt's may be used now. */
        if (is_here(direct) && direct->tag == tag02) {
            nvi_hv_direct_leave(vp, tlb);
        }
        return;
    }
    direct->assist_page = who->assist_page;
    if (is_same(direct, who, tag02)) {
        return;
    }
    if (is_here(direct)) {
        nvirt_tlb_request_tag(tlb, direct->tag);
    }
    tell(direct, who->vm, who->vp);
    /* What waits was for the tag of before, or is covered by the flush. */
    nvirt_hv_fifo_purge(&direct->fifo);
    nvirt_tlb_request_tag(tlb, tag02);
    direct->tag = tag02;
}
