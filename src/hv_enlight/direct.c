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
 * runs, then flushes, then reads page tables. One of the two sees the other: a locked instruction,
 * a full barrier on x86, stands between the caller's stores and its look, and begins what is
 * told. A caller that finds the old name has its stores visible before the flush; one that finds
 * the new one puts its entry into the queue. The two numbers cannot be stored at once: a caller
 * that meets a change takes the L2 for one that is meant, and flushes too much. The count in the
 * word tells it of a change that began and ended between its looks.
 */
#include "hv_enlight/direct.h"

#include "hv_enlight/atomics.h"

/* nvirt_hv_direct::who: bits 31:0 number of the VP, then these, then a count of changes. */
#define WHO_HERE NVIRT_BIT(32)
#define WHO_CHANGING NVIRT_BIT(33)
#define WHO_COUNT NVIRT_BIT(34)
#define WHO_NUMBER NVIRT_BITS(31, 0)

/* ---- told to others ---- */

static uint64_t next_count(const struct nvirt_hv_direct *direct)
{
    uint64_t who = NVI_LOAD(&direct->who, __ATOMIC_RELAXED);

    return (who & ~(WHO_NUMBER | WHO_HERE | WHO_CHANGING)) + WHO_COUNT;
}

static void tell(struct nvirt_hv_direct *direct, uint64_t vm, uint32_t number)
{
    uint64_t count = next_count(direct);

    (void)NVI_EXCHANGE(&direct->who, count | WHO_CHANGING, __ATOMIC_SEQ_CST);
    NVI_STORE(&direct->vm, vm, __ATOMIC_RELEASE);
    NVI_STORE(&direct->who, count | WHO_HERE | number, __ATOMIC_RELEASE);
}

enum nvi_hv_who nvi_hv_direct_who(const struct nvirt_hv_direct *direct, uint64_t vm,
                                  uint32_t *number)
{
    uint64_t who = NVI_LOAD(&direct->who, __ATOMIC_ACQUIRE);
    uint64_t of = NVI_LOAD(&direct->vm, __ATOMIC_ACQUIRE);

    if ((who & WHO_CHANGING) != 0 || NVI_LOAD(&direct->who, __ATOMIC_ACQUIRE) != who) {
        return NVI_HV_WHO_CHANGING;
    }
    if ((who & WHO_HERE) == 0 || of != vm) {
        return NVI_HV_WHO_OTHER;
    }
    *number = (uint32_t)(who & WHO_NUMBER);
    return NVI_HV_WHO_THIS_VM;
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

    return (told & (WHO_HERE | WHO_NUMBER)) == (WHO_HERE | who->vp) && direct->tag == tag02 &&
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
        NVI_STORE(&direct->who, next_count(direct), __ATOMIC_RELEASE);
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
