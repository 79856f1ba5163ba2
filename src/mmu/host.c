/* SPDX-License-Identifier: MIT */
/*
 * The host changes memory of L1 that hardware may be walking tables to: the leaves on it go, in
 * every engine of the VM, and no fault that translated before puts one back.
 */
#include "mmu/mmu_internal.h"

static void vm_lock(struct nvirt_vm *vm)
{
    while (__atomic_exchange_n(&vm->lock, 1u, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&vm->lock, __ATOMIC_RELAXED) != 0)
            __builtin_ia32_pause();
    }
}

static void vm_unlock(struct nvirt_vm *vm)
{
    __atomic_store_n(&vm->lock, 0u, __ATOMIC_RELEASE);
}

void nvi_mmu_attach(struct nvi_mmu *mmu, uint32_t index)
{
    struct nvirt_vm *vm = mmu->vm;

    vm_lock(vm);
    mmu->index = index;
    mmu->next = vm->engines;
    vm->engines = mmu;
    (void)__atomic_fetch_add(&vm->engine_count, 1u, __ATOMIC_RELAXED);
    vm_unlock(vm);
}

void nvi_mmu_detach(struct nvi_mmu *mmu)
{
    struct nvirt_vm *vm = mmu->vm;
    struct nvi_mmu **place;

    vm_lock(vm);
    place = &vm->engines;
    while (*place != NULL && *place != mmu)
        place = &(*place)->next;
    if (*place != NULL) {
        *place = mmu->next;
        (void)__atomic_fetch_sub(&vm->engine_count, 1u, __ATOMIC_RELAXED);
    }
    vm_unlock(vm);
}

uint64_t nvi_mmu_host_changes(const struct nvirt_vm *vm)
{
    return __atomic_load_n(&vm->changes, __ATOMIC_ACQUIRE);
}

bool nvi_mmu_host_changing(const struct nvirt_vm *vm, nvirt_l1gpa l1gpa)
{
    /* Read apart from each other: whoever sees a mixture sees the count moved at the
     * installation. */
    return __atomic_load_n(&vm->changing, __ATOMIC_ACQUIRE) != 0 &&
           l1gpa.value >= __atomic_load_n(&vm->changing_first, __ATOMIC_ACQUIRE) &&
           l1gpa.value <= __atomic_load_n(&vm->changing_last, __ATOMIC_ACQUIRE);
}

/* The range under change: all that were begun and not ended, and what lies between. The count comes
 * last: whoever sees it sees the range. */
static void announce(struct nvirt_vm *vm, uint64_t first, uint64_t last)
{
    if (vm->changing != 0) {
        first = first < vm->changing_first ? first : vm->changing_first;
        last = last > vm->changing_last ? last : vm->changing_last;
    }
    __atomic_store_n(&vm->changing_first, first, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->changing_last, last, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->changing, vm->changing + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->changes, vm->changes + 1, __ATOMIC_RELEASE);
}

void nvi_mmu_watch(struct nvi_mmu *mmu, uint64_t page, uint32_t *asked, uint32_t bits)
{
    nvi_mmu_lock(mmu);
    mmu->watch.page = page;
    mmu->watch.asked = asked;
    mmu->watch.bits = bits;
    __atomic_store_n(&mmu->watch.moved, page != 0 ? 1u : 0u, __ATOMIC_RELEASE);
    nvi_mmu_unlock(mmu);
}

/* @return true when the page that is watched lies in the range: whoever watches was told. */
static bool tell_watcher(struct nvi_mmu *mmu, uint64_t first, uint64_t last)
{
    struct nvi_mmu_watch *watch = &mmu->watch;
    uint64_t page = watch->page & NVI_MMU_ADDRESS;

    if (watch->page == 0 || page < first || page > last)
        return false;
    __atomic_store_n(&watch->moved, 1u, __ATOMIC_RELEASE);
    (void)__atomic_fetch_or(watch->asked, watch->bits, __ATOMIC_RELEASE);
    return true;
}

/* @return true when the vCPU may be in L2 with copies of what went: now, or in an earlier change
 * that it has not left L2 since. Whoever begins this one waits for it then, too. So they do for one that
 * may be in L1 with the page that is watched. */
static bool drop(struct nvi_mmu *mmu, uint64_t first, uint64_t last)
{
    uint32_t dropped;
    bool pending;

    nvi_mmu_lock(mmu);
    dropped = nvi_rmap_drop(mmu, first, last - first + 1);
    mmu->stats->shadow_dropped += dropped;
    if (dropped != 0)
        nvi_mmu_attend(mmu, NVI_MMU_DROPPED);
    pending = tell_watcher(mmu, first, last) || (mmu->attention & NVI_MMU_DROPPED) != 0;
    nvi_mmu_unlock(mmu);
    return pending;
}

enum nvirt_status nvirt_vm_change_begin(struct nvirt_vm *vm, nvirt_l1gpa start, uint64_t bytes)
{
    uint64_t first = start.value & NVIRT_PAGE_MASK;
    uint64_t last = start.value + (bytes - 1);
    struct nvi_mmu *mmu;

    if (vm == NULL)
        return NVIRT_ERR_NULL;
    if (vm->magic != NVI_VM_MAGIC)
        return NVIRT_ERR_STATE;
    if (bytes == 0 || last < start.value)
        return NVIRT_ERR_RANGE;
    last |= ~NVIRT_PAGE_MASK;
    vm_lock(vm);
    announce(vm, first, last);
    for (mmu = vm->engines; mmu != NULL; mmu = mmu->next) {
        if (drop(mmu, first, last))
            nvirt_port_kick(vm->port, mmu->index);
    }
    vm_unlock(vm);
    return NVIRT_OK;
}

enum nvirt_status nvirt_vm_change_end(struct nvirt_vm *vm)
{
    enum nvirt_status status = NVIRT_OK;

    if (vm == NULL)
        return NVIRT_ERR_NULL;
    if (vm->magic != NVI_VM_MAGIC)
        return NVIRT_ERR_STATE;
    vm_lock(vm);
    if (vm->changing == 0)
        status = NVIRT_ERR_STATE;
    else
        __atomic_store_n(&vm->changing, vm->changing - 1, __ATOMIC_RELEASE);
    vm_unlock(vm);
    return status;
}
