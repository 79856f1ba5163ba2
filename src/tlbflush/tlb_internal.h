/* SPDX-License-Identifier: MIT */
/* What the files of the flush-decision engine share. */
#ifndef NVI_TLB_INTERNAL_H
#define NVI_TLB_INTERNAL_H

#include <nvirt/tlbflush.h>

/* nvirt_tlb_root::flushed of a root that a CPU holds nothing of, however it changes. */
#define NVI_TLB_EMPTY UINT64_MAX
/* nvirt_tlb_root::changed while its time is being taken: newer than anything. */
#define NVI_TLB_CHANGING UINT64_MAX
/* Roots from this number on share the last bit of nvirt_tlb_held::under. */
#define NVI_TLB_OTHERS 63u
/* vpid12 of an L2 that runs with "enable VPID" clear. VPID 0 is refused by the entry checks, so it
 * can never be a tag of L1's choosing. */
#define NVI_TLB_NO_VPID 0u

static inline uint64_t nvi_tlb_now(const struct nvirt_tlb_domain *domain)
{
    return __atomic_load_n(&domain->now, __ATOMIC_ACQUIRE);
}

static inline uint64_t nvi_tlb_tick(struct nvirt_tlb_domain *domain)
{
    return __atomic_add_fetch(&domain->now, 1, __ATOMIC_ACQ_REL);
}

/* Tables of @p root changed just now. */
void nvi_tlb_mark_changed(struct nvirt_tlb_domain *domain, struct nvirt_tlb_root *root);

/* CPU number @p cpu holds unknown things of @p tag. */
void nvi_tlb_tag_unknown(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint32_t cpu);

/* Bit of a request in nvirt_tlb::posted. */
static inline uint32_t nvi_tlb_posted_bit(uint32_t level, enum nvirt_tlb_request kind)
{
    return 1u << ((uint32_t)kind * 2 + (level - 1));
}

/* Takes in what other CPUs posted. */
void nvi_tlb_collect(struct nvirt_tlb *tlb);

/* Nothing is owed to @p tag any more. */
void nvi_tlb_settle(struct nvirt_tlb_tag *tag);

#endif
