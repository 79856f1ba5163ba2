/* SPDX-License-Identifier: MIT */
/*
 * Between the host, shadow tables and flush decisions: what changed in the one is told to the other.
 */
#include "nested/vm_internal.h"

void nvi_vm_tell_entered(struct nvi_mmu *mmu, struct nvi_mmu_root *root, enum nvi_mmu_flush flush,
                         struct nvirt_tlb *tlb)
{
    uint32_t number = (uint32_t)(root - mmu->roots);

    if (root->new_top) {
        nvirt_tlb_root_new(tlb, number);
        root->new_top = false;
    }
    for (uint32_t i = 0; flush != NVI_MMU_FLUSH_NONE && i < mmu->capacity; i++) {
        if (i == number || (flush == NVI_MMU_FLUSH_ALL &&
                            mmu->roots[i].flushing != mmu->roots[i].flushed)) {
            nvirt_tlb_root_changed(tlb, i);
        }
    }
    nvi_mmu_flushed(mmu, root, 0, flush);
}

void nvi_vm_tell_changes(const struct nvi_mmu *mmu, struct nvi_vm_told *told,
                         struct nvirt_tlb *tlb)
{
    uint64_t changes = nvi_mmu_host_changes(mmu->vm);
    bool changing = __atomic_load_n(&mmu->vm->changing, __ATOMIC_ACQUIRE) != 0;

    /* A change that is under way is counted, but has not yet reached every root. */
    told->changes = changing ? told->changes : changes;
    told->drops = mmu->drops;
    for (uint32_t i = 0; i < mmu->capacity; i++) {
        const struct nvi_mmu_root *root = &mmu->roots[i];

        if (nvi_mmu_root_is_stale(mmu, root) ||
            __atomic_load_n(&root->changes, __ATOMIC_ACQUIRE) != root->flushed) {
            nvirt_tlb_root_changed(tlb, i);
        }
    }
}

enum nvirt_status nvi_vm_request_flush(struct nvirt_vm *vm, uint32_t index, struct nvirt_tlb *tlb,
                                       uint32_t level, enum nvirt_tlb_request kind)
{
    if (level < 1 || level > 2 || kind > NVIRT_TLB_REQUEST_EVERYTHING) {
        return NVIRT_ERR_RANGE;
    }
    nvirt_tlb_post(tlb, level, kind);
    nvirt_port_kick(vm->port, index);
    return NVIRT_OK;
}
