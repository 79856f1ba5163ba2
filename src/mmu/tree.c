/* SPDX-License-Identifier: MIT */
/*
 * One tree: putting leaves in, taking subtrees out, finding room when there is none.
 */
#include "mmu/mmu_internal.h"

static bool is_present(uint64_t entry)
{
    return (entry & NVI_MMU_PRESENT) != 0;
}

/* In a 4-KiB leaf bit 7 has another meaning, so the level decides first. */
static bool is_table(uint64_t entry, uint32_t level)
{
    return level > 1 && is_present(entry) && (entry & NVI_MMU_LARGE) == 0;
}

static nvirt_hpa entry_page(uint64_t entry)
{
    return nvirt_hpa_make(entry & NVI_MMU_ADDRESS);
}

static uint32_t entry_index(nvirt_l2gpa l2gpa, uint32_t level)
{
    return (uint32_t)(l2gpa.value >> (NVIRT_PAGE_SHIFT + 9 * (level - 1))) & (NVI_MMU_ENTRIES - 1);
}

/* Index of the next entry at or after @p from that links a table; NVI_MMU_ENTRIES when none. */
static uint32_t next_table(const uint64_t *table, uint32_t from, uint32_t level)
{
    while (from < NVI_MMU_ENTRIES && !is_table(nvi_mmu_entry_load(&table[from]), level))
        from++;
    return from;
}

/*
 * Puts a table of @p level, no longer linked, and all tables below it in limbo. Depth first with a
 * stack of one index per level; a page goes when nothing below it is left, because its place in
 * limbo costs it its first entries.
 */
static void unlink_table(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa page,
                         uint32_t level)
{
    nvirt_hpa path[NVI_MMU_MAX_LEVELS + 1];
    uint32_t next[NVI_MMU_MAX_LEVELS + 1];
    uint32_t top = level;

    path[level] = page;
    next[level] = 0;
    while (level <= top) {
        const uint64_t *table = nvi_mmu_table(mmu, path[level]);
        uint32_t i = level > 1 ? next_table(table, next[level], level) : NVI_MMU_ENTRIES;

        if (i < NVI_MMU_ENTRIES) {
            next[level] = i + 1;
            path[level - 1] = entry_page(nvi_mmu_entry_load(&table[i]));
            next[level - 1] = 0;
            level--;
        } else {
            nvi_mmu_limbo_push(mmu, root, path[level]);
            root->pages--;
            level++;
        }
    }
}

void nvi_mmu_tree_empty(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    uint64_t *table = nvi_mmu_table(mmu, root->table);
    uint32_t i;

    for (i = 0; i < NVI_MMU_ENTRIES; i++) {
        uint64_t entry = nvi_mmu_entry_load(&table[i]);

        if (!is_present(entry))
            continue;
        nvi_mmu_entry_store(&table[i], 0);
        root->changed = true;
        if (is_table(entry, root->levels))
            unlink_table(mmu, root, entry_page(entry), root->levels - 1u);
    }
    root->stale = false;
}

static bool limbo_is_empty(const struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].limbo.value != 0)
            return false;
    }
    return true;
}

/*
 * No page for @p root: empties the least recently used other root, gives up the top table of an empty
 * one, or empties this one. The pages come back with the next flush of everything, so the fault is
 * retried after it. When even the whole room of this vCPU did not suffice for one leaf, there is no
 * page.
 */
static enum nvi_fault make_room(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    struct nvi_mmu_root *victim = nvi_mmu_root_oldest(mmu, root, true);
    struct nvi_mmu_root *idle = nvi_mmu_root_oldest(mmu, root, false);

    if (victim == NULL && idle == NULL && !mmu->self_emptied && root->pages > 1) {
        victim = root;
        mmu->self_emptied = true;
    }
    if (victim != NULL) {
        mmu->stats->shadow_reclaimed += victim->pages - 1u;
        nvi_mmu_tree_empty(mmu, victim);
    } else if (idle != NULL) {
        nvi_mmu_root_release(mmu, idle);
    }
    if (limbo_is_empty(mmu))
        return NVI_FAULT_NO_PAGE;
    mmu->starved = true;
    return NVI_FAULT_RETRY;
}

/* True when going from @p old to the new leaf can only turn refusals into permissions. */
static bool only_widens(uint64_t old, const struct nvi_mmu_leaf *leaf)
{
    uint64_t rights = leaf->grants | leaf->denies;

    return (old & ~rights) == (leaf->entry & ~rights) &&
           (old & ~leaf->entry & leaf->grants) == 0 && (leaf->entry & ~old & leaf->denies) == 0;
}

static void put_leaf(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint64_t *slot,
                     const struct nvi_mmu_leaf *leaf)
{
    uint64_t old = nvi_mmu_entry_load(slot);

    nvi_mmu_entry_store(slot, leaf->entry);
    if (is_table(old, leaf->level)) {
        root->changed = true;
        unlink_table(mmu, root, entry_page(old), leaf->level - 1);
    } else if (is_present(old) && !only_widens(old, leaf)) {
        root->changed = true;
    }
}

/* The table below @p slot, made if there is none; null when there is no page. */
static uint64_t *descend(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint64_t *slot,
                         uint32_t level)
{
    uint64_t entry = nvi_mmu_entry_load(slot);
    nvirt_hpa page;

    if (is_table(entry, level))
        return nvi_mmu_table(mmu, entry_page(entry));
    if (nvi_mmu_page_alloc(mmu, &page) != NVIRT_OK)
        return NULL;
    /* A large leaf that gives way takes more than this fault asks for with it: it may be refetched,
     * but the TLB's copy must go, since the part that changes is inside. */
    if (is_present(entry))
        root->changed = true;
    nvi_mmu_entry_store(slot, page.value | root->link);
    root->pages++;
    return nvi_mmu_table(mmu, page);
}

enum nvi_fault nvi_mmu_install(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                               const struct nvi_mmu_leaf *leaf)
{
    uint64_t *table;
    uint32_t level;

    if (!nvi_mmu_current(mmu) || leaf->sequence != mmu->sequence || root->stale)
        return NVI_FAULT_RETRY;
    table = nvi_mmu_table(mmu, root->table);
    for (level = root->levels; level > leaf->level; level--) {
        table = descend(mmu, root, &table[entry_index(l2gpa, level)], level);
        if (table == NULL)
            return make_room(mmu, root);
    }
    put_leaf(mmu, root, &table[entry_index(l2gpa, level)], leaf);
    mmu->self_emptied = false;
    mmu->stats->shadow_faults++;
    return NVI_FAULT_INSTALLED;
}

uint64_t nvi_mmu_lookup(struct nvi_mmu *mmu, const struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                        uint32_t *level)
{
    const uint64_t *table = nvi_mmu_table(mmu, root->table);
    uint64_t entry;

    *level = root->levels;
    entry = nvi_mmu_entry_load(&table[entry_index(l2gpa, *level)]);
    while (is_table(entry, *level)) {
        table = nvi_mmu_table(mmu, entry_page(entry));
        *level -= 1;
        entry = nvi_mmu_entry_load(&table[entry_index(l2gpa, *level)]);
    }
    return is_present(entry) ? entry : 0;
}
