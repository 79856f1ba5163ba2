/* SPDX-License-Identifier: MIT */
/*
 * Roots of L2s and the CPUs that ran them. Time is a counter: a change or a flush takes the next
 * number, an entry only looks at it. What was cached at time t holds if nothing it came from
 * changed after t, and is gone if it was flushed after t.
 *
 * With several engines at once: changed is written under the lock of the root's tables, entries of
 * a CPU number only by that CPU. A change is marked as newest of all first, and gets its number
 * then: an engine that has seen that number also sees the mark.
 */
#include "tlbflush/tlb_internal.h"

void nvirt_tlb_domain_init(struct nvirt_tlb_domain *domain, struct nvirt_tlb_root *roots,
                           uint32_t count, bool shared)
{
    __builtin_memset(domain, 0, sizeof(*domain));
    domain->now = 1;
    domain->root = roots;
    domain->root_count = count;
    domain->shared = shared;
    for (uint32_t i = 0; i < count; i++) {
        nvi_tlb_mark_changed(domain, &roots[i]);
        roots[i].validated = 0;
        __builtin_memset(roots[i].flushed, 0, sizeof(roots[i].flushed));
    }
}

void nvi_tlb_mark_changed(struct nvirt_tlb_domain *domain, struct nvirt_tlb_root *root)
{
    __atomic_store_n(&root->changed, NVI_TLB_CHANGING, __ATOMIC_RELEASE);
    __atomic_store_n(&root->changed, nvi_tlb_tick(domain), __ATOMIC_RELEASE);
}

void nvirt_tlb_root_changed(struct nvirt_tlb *tlb, uint32_t root)
{
    nvi_tlb_mark_changed(tlb->domain, &tlb->domain->root[root]);
}

void nvirt_tlb_root_new(struct nvirt_tlb *tlb, uint32_t root)
{
    struct nvirt_tlb_root *r = &tlb->domain->root[root];

    for (uint32_t i = 0; i < NVIRT_TLB_MAX_CPUS; i++) {
        r->flushed[i] = 0;
    }
    nvi_tlb_mark_changed(tlb->domain, r);
}

/* @p cpu stands for another CPU from here on. Only a domain of one engine does that. */
static void forget_cpu(struct nvirt_tlb *tlb, uint32_t cpu)
{
    struct nvirt_tlb_domain *domain = tlb->domain;

    domain->flush[cpu] = 0;
    domain->all_tags[cpu] = 0;
    for (uint32_t i = 0; i < domain->root_count; i++) {
        domain->root[i].flushed[cpu] = 0;
    }
    nvi_tlb_tag_unknown(tlb, &tlb->l1, cpu);
    /* The host's own root is its own to flush, but for what it asked the engine for. */
    tlb->root01.flushed[cpu] = 0;
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        nvi_tlb_tag_unknown(tlb, &tlb->tag[i], cpu);
    }
}

uint32_t nvirt_tlb_cpu(struct nvirt_tlb *tlb, const void *identity)
{
    struct nvirt_tlb_domain *domain = tlb->domain;
    uint32_t cpu;

    for (uint32_t i = 0; i < NVIRT_TLB_MAX_CPUS; i++) {
        if (__atomic_load_n(&domain->cpu[i], __ATOMIC_ACQUIRE) == identity) {
            return i;
        }
    }
    /* Only the CPU itself adds itself: another takes another number. */
    cpu = __atomic_fetch_add(&domain->next_cpu, 1, __ATOMIC_RELAXED);
    if (domain->shared && cpu >= NVIRT_TLB_MAX_CPUS) {
        __atomic_store_n(&domain->next_cpu, NVIRT_TLB_MAX_CPUS, __ATOMIC_RELAXED);
        return NVIRT_TLB_NO_CPU;
    }
    cpu %= NVIRT_TLB_MAX_CPUS;
    if (!domain->shared) {
        forget_cpu(tlb, cpu);
    }
    __atomic_store_n(&domain->cpu[cpu], identity, __ATOMIC_RELEASE);
    return cpu;
}
