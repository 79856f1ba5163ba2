/* SPDX-License-Identifier: MIT */
/*
 * What the vCPU objects of both vendors need of the VM object.
 */
#ifndef NVI_NESTED_VM_INTERNAL_H
#define NVI_NESTED_VM_INTERNAL_H

#include "mmu/mmu.h"

#include <nvirt/tlbflush.h>
#include <nvirt/vm.h>

NVIRT_STATIC_ASSERT(sizeof(struct nvi_mmu_root) + sizeof(struct nvirt_tlb_root) <= NVIRT_ROOT_BYTES,
                    "bytes of a root");

/** What the flush engine knows of each root of @p mmu: @p own, or behind the roots where those lie
 *  behind the vCPU object (nvi_mmu_roots_of()). */
static inline struct nvirt_tlb_root *nvi_tlb_roots_of(struct nvirt_tlb_root *own,
                                                      struct nvi_mmu_root *roots, uint32_t count)
{
    return count > NVI_MMU_DEFAULT_ROOTS ? (struct nvirt_tlb_root *)(roots + count) : own;
}

/** Tells the flush engine what of the roots changed, when @p root is entered and something did. */
NVIRT_COLD void nvi_vm_tell_entered(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                    enum nvi_mmu_flush flush, struct nvirt_tlb *tlb);

/**
 * Makes @p root fit to run (nvi_mmu_enter()) and tells the flush engine that it changed, if it did: it
 * is flushed wherever it was cached, before its next use there. So its pages in limbo may go.
 * @return the root's number in the flush engine.
 */
static inline uint32_t nvi_vm_enter_root(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                         struct nvirt_tlb *tlb)
{
    /* Which CPUs hold what is the flush engine's to know: to the tables there is one. */
    enum nvi_mmu_flush flush =
        nvi_mmu_is_settled(mmu, root, nvirt_port_sequence(mmu->vm->port), 0)
            ? NVI_MMU_FLUSH_NONE
            : nvi_mmu_enter(mmu, root, 0);

    if (flush != NVI_MMU_FLUSH_NONE || root->new_top) {
        nvi_vm_tell_entered(mmu, root, flush, tlb);
    }
    return (uint32_t)(root - mmu->roots);
}

/** nvirt_tlb_cpu(), where it most often is the number in @p last, which is kept. */
static inline uint32_t nvi_vm_cpu_number(struct nvirt_tlb *tlb, const void *identity,
                                         uint32_t *last)
{
    uint32_t cpu = *last;

    if (__atomic_load_n(&tlb->domain->cpu[cpu], __ATOMIC_ACQUIRE) == identity) {
        return cpu;
    }
    cpu = nvirt_tlb_cpu(tlb, identity);
    *last = cpu < NVIRT_TLB_MAX_CPUS ? cpu : 0;
    return cpu;
}

/** Posts a request and makes the vCPU take it in. @return NVIRT_OK or NVIRT_ERR_RANGE. */
NVIRT_NODISCARD enum nvirt_status nvi_vm_request_flush(struct nvirt_vm *vm, uint32_t index,
                                                       struct nvirt_tlb *tlb, uint32_t level,
                                                       enum nvirt_tlb_request kind);

/** The threshold of addresses that a host configured. */
static inline uint32_t nvi_flush_addresses(uint32_t configured)
{
    return configured == 0 ? NVIRT_TLB_DEFAULT_ADDRESSES : configured;
}

/** What of the host's changes the flush engine was told, where that is for all roots at once. */
struct nvi_vm_told {
    uint64_t changes;
    uint64_t drops;
};

/** Tells the flush engine of changes that the host made to any root. */
NVIRT_COLD void nvi_vm_tell_changes(const struct nvi_mmu *mmu, struct nvi_vm_told *told,
                                    struct nvirt_tlb *tlb);

/** Whether the host made some since, or is making them. To be asked after nvi_vm_enter_root(), on
 *  SVM: an ASID carries what was fetched through any of its roots. */
static inline bool nvi_vm_must_tell(const struct nvi_mmu *mmu, const struct nvi_vm_told *told)
{
    return told->changes != nvi_mmu_host_changes(mmu->vm) || told->drops != mmu->drops ||
           __atomic_load_n(&mmu->vm->changing, __ATOMIC_ACQUIRE) != 0;
}

/** Counts one vCPU more. @return NVIRT_OK; NVIRT_ERR_STATE (not initialised); NVIRT_ERR_RANGE
 * (full). */
NVIRT_NODISCARD enum nvirt_status nvi_vm_add_vcpu(struct nvirt_vm *vm);

/** Counts one vCPU less. */
void nvi_vm_remove_vcpu(struct nvirt_vm *vm);

#endif
