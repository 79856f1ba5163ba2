/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables: what each was made from, the tree they form, the order in which they were used,
 * and how they end.
 *
 * The tree of shadow tables outlives hardware's: when L1 invalidates, only hardware's links go, and
 * a table is found again at its place, by its whole identity, and compared before it is linked.
 * A table has one place: two links of L1's to the same table of L1's are two shadow tables, as they
 * are two sets of translations in a TLB. So nothing found here can have been made for another
 * address, another table of L1's or another role.
 */
#include "mmu/mmu_internal.h"

/* Descriptors lie in pages of their own, whose addresses one more page holds. */
#define PER_SLAB (NVIRT_PAGE_SIZE / sizeof(struct nvi_shadow))
#define MAX_SHADOWS (NVI_MMU_ENTRIES * PER_SLAB)

NVIRT_STATIC_ASSERT(sizeof(struct nvi_shadow) == 64, "a page holds a whole number of descriptors");
NVIRT_STATIC_ASSERT(MAX_SHADOWS - 1 <= UINT16_MAX >> 1, "numbers of shadow tables have 15 bits");

/* Of the word in links: the child's number, above what the reverse map has there. */
#define CHILD_SHIFT 48u

struct nvi_shadow *nvi_shadow_at(const struct nvi_mmu *mmu, nvi_mmu_id id)
{
    const uint64_t *slabs = nvi_mmu_table(mmu, mmu->slabs);
    struct nvi_shadow *slab =
        nvirt_port_page_pointer(mmu->vm->port, nvirt_hpa_make(slabs[id / PER_SLAB]));

    return &slab[id % PER_SLAB];
}

/* One more page of descriptors, all of them free. */
static bool add_slab(struct nvi_mmu *mmu)
{
    nvirt_hpa page;
    nvi_mmu_id id;

    if (mmu->slab_count == NVI_MMU_ENTRIES)
        return false;
    if (mmu->slabs.value == 0 && nvi_mmu_page_alloc(mmu, &mmu->slabs) != NVIRT_OK)
        return false;
    if (nvi_mmu_page_alloc(mmu, &page) != NVIRT_OK)
        return false;
    nvi_mmu_table(mmu, mmu->slabs)[mmu->slab_count] = page.value;
    id = (nvi_mmu_id)((mmu->slab_count + 1) * PER_SLAB);
    mmu->slab_count++;
    /* Number 0 is none. */
    while (id-- > (mmu->slab_count - 1) * PER_SLAB && id != 0) {
        nvi_shadow_at(mmu, id)->newer = (uint16_t)mmu->free_shadow;
        mmu->free_shadow = id;
    }
    return true;
}

void nvi_shadow_end(struct nvi_mmu *mmu)
{
    while (mmu->slab_count > 0) {
        mmu->slab_count--;
        nvi_mmu_page_free(
            mmu, nvirt_hpa_make(nvi_mmu_table(mmu, mmu->slabs)[mmu->slab_count]));
    }
    if (mmu->slabs.value != 0)
        nvi_mmu_page_free(mmu, mmu->slabs);
    mmu->slabs = nvirt_hpa_make(0);
    mmu->free_shadow = 0;
}

nvi_mmu_id nvi_shadow_new(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                          const struct nvi_shadow_want *want)
{
    nvi_mmu_id id;
    nvirt_hpa table, links;
    struct nvi_shadow *shadow;

    if (mmu->free_shadow == 0 && !add_slab(mmu))
        return 0;
    if (nvi_mmu_page_alloc(mmu, &table) != NVIRT_OK)
        return 0;
    if (nvi_mmu_page_alloc(mmu, &links) != NVIRT_OK) {
        nvi_mmu_page_free(mmu, table);
        return 0;
    }
    id = mmu->free_shadow;
    shadow = nvi_shadow_at(mmu, id);
    mmu->free_shadow = shadow->newer;
    *shadow = (struct nvi_shadow){ .table = table,
                                   .links = links,
                                   .guest = want->guest,
                                   .via = want->via,
                                   .generation = root->generation,
                                   .root = (nvi_mmu_slot)(root - mmu->roots + 1),
                                   .level = want->level & 0x7fu,
                                   .words_of_4 = root->shape.words_of_4,
                                   .kind = want->kind };
    root->pages++;
    return id;
}

bool nvi_shadow_need_seen(struct nvi_mmu *mmu, struct nvi_shadow *shadow)
{
    return shadow->seen.value != 0 || nvi_mmu_page_alloc(mmu, &shadow->seen) == NVIRT_OK;
}

nvi_mmu_id nvi_shadow_child(const struct nvi_mmu *mmu, const struct nvi_shadow *shadow,
                            uint32_t index)
{
    return (nvi_mmu_id)(nvi_mmu_table(mmu, shadow->links)[index] >> CHILD_SHIFT);
}

/* ---- the order of last use: all but top tables and heads of orphaned subtrees ---- */

static void order_remove(struct nvi_mmu *mmu, const struct nvi_shadow *shadow)
{
    if (shadow->newer != 0)
        nvi_shadow_at(mmu, shadow->newer)->older = shadow->older;
    else
        mmu->newest_shadow = shadow->older;
    if (shadow->older != 0)
        nvi_shadow_at(mmu, shadow->older)->newer = shadow->newer;
    else
        mmu->oldest_shadow = shadow->newer;
}

static void order_add(struct nvi_mmu *mmu, nvi_mmu_id id)
{
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);

    shadow->newer = 0;
    shadow->older = (uint16_t)mmu->newest_shadow;
    if (mmu->newest_shadow != 0)
        nvi_shadow_at(mmu, mmu->newest_shadow)->newer = (uint16_t)id;
    else
        mmu->oldest_shadow = id;
    mmu->newest_shadow = id;
}

void nvi_shadow_touch(struct nvi_mmu *mmu, nvi_mmu_id id)
{
    if (mmu->newest_shadow == id)
        return;
    order_remove(mmu, nvi_shadow_at(mmu, id));
    order_add(mmu, id);
}

void nvi_shadow_adopt(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index, nvi_mmu_id child)
{
    nvi_mmu_table(mmu, nvi_shadow_at(mmu, id)->links)[index] = (uint64_t)child << CHILD_SHIFT;
    nvi_shadow_at(mmu, child)->parent = id * NVI_MMU_ENTRIES + index;
    order_add(mmu, child);
}

/* ---- orphans: out of the tree, to be dissolved one by one ---- */

void nvi_shadow_orphan(struct nvi_mmu *mmu, struct nvi_shadow *shadow, uint32_t index)
{
    nvi_mmu_id id = nvi_shadow_child(mmu, shadow, index);
    struct nvi_shadow *child;

    if (id == 0)
        return;
    nvi_mmu_table(mmu, shadow->links)[index] = 0;
    child = nvi_shadow_at(mmu, id);
    order_remove(mmu, child);
    child->epoch = (uint32_t)mmu->roots[child->root - 1].flushes;
    child->newer = (uint16_t)mmu->orphan;
    mmu->orphan = id;
}

/* Hardware's table waits for the flush of its root, unless there was one since it was unlinked. */
static void free_pages(struct nvi_mmu *mmu, struct nvi_mmu_root *root, struct nvi_shadow *shadow)
{
    if (shadow->seen.value != 0)
        nvi_mmu_page_free(mmu, shadow->seen);
    nvi_mmu_page_free(mmu, shadow->links);
    if ((uint32_t)root->flushes != shadow->epoch)
        nvi_mmu_page_free(mmu, shadow->table);
    else
        nvi_mmu_limbo_push(mmu, root, shadow->table);
    root->pages--;
}

static void free_descriptor(struct nvi_mmu *mmu, nvi_mmu_id id)
{
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);

    *shadow = (struct nvi_shadow){ .kind = NVI_SHADOW_FREE, .newer = (uint16_t)mmu->free_shadow };
    mmu->free_shadow = id;
}

bool nvi_shadow_reap(struct nvi_mmu *mmu)
{
    nvi_mmu_id id = mmu->orphan;
    struct nvi_shadow *shadow;
    uint64_t *table;
    uint32_t epoch;

    if (id == 0)
        return false;
    shadow = nvi_shadow_at(mmu, id);
    mmu->orphan = shadow->newer;
    table = nvi_mmu_table(mmu, shadow->table);
    epoch = shadow->epoch;
    for (uint32_t i = 0; i < NVI_MMU_ENTRIES; i++) {
        uint64_t entry = nvi_mmu_entry_load(&table[i]);

        if (nvi_mmu_is_leaf(entry, shadow->level)) {
            nvi_rmap_remove(mmu, id, i);
        } else if (nvi_shadow_child(mmu, shadow, i) != 0) {
            nvi_shadow_orphan(mmu, shadow, i);
            /* Hardware came to the child through this table only, so it was unlinked with it. */
            nvi_shadow_at(mmu, mmu->orphan)->epoch = epoch;
        }
        if (entry != 0)
            nvi_mmu_entry_store(&table[i], 0);
    }
    free_pages(mmu, &mmu->roots[shadow->root - 1], shadow);
    free_descriptor(mmu, id);
    return true;
}

void nvi_shadow_free_top(struct nvi_mmu *mmu, nvi_mmu_id id)
{
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    struct nvi_mmu_root *root = &mmu->roots[shadow->root - 1];

    shadow->epoch = (uint32_t)root->flushes;
    free_pages(mmu, root, shadow);
    free_descriptor(mmu, id);
}
