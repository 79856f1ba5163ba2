/* SPDX-License-Identifier: MIT */
/*
 * Pages: taken one at a time from the port within the VM's budget; table pages are put in limbo
 * between unlinking and the flush after which no paging-structure cache can hold them. And the
 * engine's lock.
 */
#include "mmu/mmu_internal.h"

/*
 * A page in limbo carries the number of the next one: 12 bits in each of four entries, at bits
 * 63:52. Hardware that still walks it through a cache sees absent entries without an address there.
 */
#define LINK_ENTRIES 4u
#define LINK_SHIFT 52u
#define LINK_BITS 12u

void nvi_mmu_lock(struct nvi_mmu *mmu)
{
    while (__atomic_exchange_n(&mmu->lock, 1u, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&mmu->lock, __ATOMIC_RELAXED) != 0)
            __builtin_ia32_pause();
    }
}

void nvi_mmu_unlock(struct nvi_mmu *mmu)
{
    __atomic_store_n(&mmu->lock, 0u, __ATOMIC_RELEASE);
}

void nvi_mmu_entry_store(uint64_t *slot, uint64_t entry)
{
    /* What the entry points to is complete before hardware can see the entry. */
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

uint64_t *nvi_mmu_table(const struct nvi_mmu *mmu, nvirt_hpa page)
{
    uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, page);

    return table;
}

/* Adds one to a count that vCPUs share, if it is below @p limit. */
static bool count_up(uint32_t *count, uint32_t limit)
{
    uint32_t now = __atomic_load_n(count, __ATOMIC_RELAXED);

    do {
        if (now >= limit)
            return false;
    } while (!__atomic_compare_exchange_n(count, &now, now + 1, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

static void count_down(uint32_t *count)
{
    (void)__atomic_fetch_sub(count, 1u, __ATOMIC_RELAXED);
}

/* What is left of the budget when each vCPU has its share of it. */
static uint32_t common_pages(const struct nvirt_vm *vm)
{
    uint64_t shares =
        (uint64_t)__atomic_load_n(&vm->engine_count, __ATOMIC_RELAXED) * NVIRT_VM_MIN_PAGES;

    return shares < vm->page_budget ? vm->page_budget - (uint32_t)shares : 0;
}

/*
 * A vCPU gets its first pages, enough to make progress, from a share that no other can take; what
 * goes beyond comes from the rest, first come, first served. Counted before the page is asked for,
 * as other vCPUs fault at the same time.
 */
static bool budget_take(struct nvi_mmu *mmu)
{
    struct nvirt_vm *vm = mmu->vm;

    if (!count_up(&vm->pages_in_use, vm->page_budget))
        return false;
    if (mmu->pages >= NVIRT_VM_MIN_PAGES && !count_up(&vm->pages_common, common_pages(vm))) {
        count_down(&vm->pages_in_use);
        return false;
    }
    mmu->pages++;
    return true;
}

static void budget_give(struct nvi_mmu *mmu)
{
    mmu->pages--;
    if (mmu->pages >= NVIRT_VM_MIN_PAGES)
        count_down(&mmu->vm->pages_common);
    count_down(&mmu->vm->pages_in_use);
}

enum nvirt_status nvi_mmu_page_alloc(struct nvi_mmu *mmu, nvirt_hpa *page)
{
    struct nvirt_vm *vm = mmu->vm;
    uint64_t *table;
    uint32_t i;

    if (!budget_take(mmu))
        return NVIRT_ERR_NO_PAGE;
    if (nvirt_port_page_alloc(vm->port, page) != NVIRT_OK) {
        budget_give(mmu);
        return NVIRT_ERR_NO_PAGE;
    }
    table = nvi_mmu_table(mmu, *page);
    for (i = 0; i < NVI_MMU_ENTRIES; i++)
        table[i] = 0;
    mmu->stats->shadow_pages++;
    return NVIRT_OK;
}

void nvi_mmu_page_free(struct nvi_mmu *mmu, nvirt_hpa page)
{
    nvirt_port_page_free(mmu->vm->port, page);
    budget_give(mmu);
    mmu->stats->shadow_pages--;
}

void nvi_mmu_attend(struct nvi_mmu *mmu, uint32_t what)
{
    __atomic_store_n(&mmu->attention, mmu->attention | what, __ATOMIC_RELEASE);
}

void nvi_mmu_changed(struct nvi_mmu_root *root)
{
    /* Read without the lock by nvi_mmu_enter(). */
    __atomic_store_n(&root->changes, root->changes + 1, __ATOMIC_RELEASE);
}

void nvi_mmu_limbo_push(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa page)
{
    uint64_t *table = nvi_mmu_table(mmu, page);
    uint64_t next = root->limbo.value >> NVIRT_PAGE_SHIFT;
    uint32_t i;

    for (i = 0; i < LINK_ENTRIES; i++)
        nvi_mmu_entry_store(&table[i], (next >> (LINK_BITS * i)) << LINK_SHIFT);
    root->limbo = page;
}

void nvi_mmu_limbo_free(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    while (root->limbo.value != 0) {
        nvirt_hpa page = root->limbo;
        const uint64_t *table = nvi_mmu_table(mmu, page);
        uint64_t next = 0;
        uint32_t i;

        for (i = 0; i < LINK_ENTRIES; i++)
            next |= (nvi_mmu_entry_load(&table[i]) >> LINK_SHIFT) << (LINK_BITS * i);
        root->limbo = nvirt_hpa_make(next << NVIRT_PAGE_SHIFT);
        nvi_mmu_page_free(mmu, page);
    }
}
