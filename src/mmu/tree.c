/* SPDX-License-Identifier: MIT */
/*
 * One tree: putting leaves in, comparing what is there with L1's tables after L1 invalidated,
 * finding room when there is none.
 *
 * Hardware's tree is the part of the tree of shadow tables that has been compared with L1's tables
 * since L1 last invalidated: a link is stored in hardware's table only when the table below is of
 * the root's generation. Hardware sees each change as one store of one entry.
 */
#include "mmu/mmu_internal.h"

#define WORD_BITS 64u

static uint32_t entry_index(nvirt_l2gpa l2gpa, uint32_t level)
{
    return (uint32_t)(l2gpa.value >> (NVIRT_PAGE_SHIFT + 9 * (level - 1))) & (NVI_MMU_ENTRIES - 1);
}

/* Where L1's entry lies that entry @p index of a shadow table is made from, seen from the first. */
static uint64_t word_offset(const struct nvi_mmu_shape *shape, uint32_t level, uint32_t index)
{
    if (!shape->words_of_4)
        return index * UINT64_C(8);
    /* An entry of 4 MiB is two of ours. */
    return (level == 2 ? index / 2 : index) * UINT64_C(4);
}

/* True when @p now is not the entry that @p seen was: more than accessed and dirty bits being
 * set. */
static bool entry_differs(const struct nvi_mmu_shape *shape, uint64_t seen, uint64_t now)
{
    return ((seen ^ now) & ~(now & shape->soft)) != 0;
}

static uint64_t *entry_at(const struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index)
{
    return &nvi_mmu_table(mmu, nvi_shadow_at(mmu, id)->table)[index];
}

void nvi_mmu_leaf_clear(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index)
{
    nvi_rmap_remove(mmu, id, index);
    nvi_mmu_entry_store(entry_at(mmu, id, index), 0);
    nvi_mmu_changed(&mmu->roots[nvi_shadow_at(mmu, id)->root - 1]);
}

/* ---- emptying ---- */

/* Clears the links of a table in hardware; the shadow tables below stay where they are. */
static bool cut_links(struct nvi_mmu *mmu, const struct nvi_shadow *shadow)
{
    uint64_t *table = nvi_mmu_table(mmu, shadow->table);
    bool any = false;
    uint32_t i;

    for (i = 0; i < NVI_MMU_ENTRIES; i++) {
        uint64_t entry = nvi_mmu_entry_load(&table[i]);

        if (nvi_mmu_is_present(entry) && !nvi_mmu_is_leaf(entry, shadow->level)) {
            nvi_mmu_entry_store(&table[i], 0);
            any = true;
        }
    }
    return any;
}

static void made_good(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    if (root->subpage_tables != 0)
        (void)nvi_subpage_cut(mmu, root);
    root->stale = false;
    root->invalidations = mmu->invalidations;
    root->drops = mmu->drops;
}

/* Takes all below the top table out of the tree. That table, of four or five levels, holds links only. */
static void orphan_all(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    struct nvi_shadow *top = nvi_shadow_at(mmu, root->top);
    uint32_t i;

    if (cut_links(mmu, top))
        nvi_mmu_changed(root);
    for (i = 0; i < NVI_MMU_ENTRIES; i++)
        nvi_shadow_orphan(mmu, top, i);
}

void nvi_mmu_tree_empty(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    orphan_all(mmu, root);
    made_good(mmu, root);
}

void nvi_mmu_tree_make_good(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    if (root->drops != mmu->drops) {
        nvi_mmu_tree_empty(mmu, root);
        return;
    }
    /* One step for any amount of tables: from here on each is of an older generation, and is
     * compared before hardware can come to it again. */
    root->generation++;
    nvi_shadow_at(mmu, root->top)->generation = root->generation;
    if (cut_links(mmu, nvi_shadow_at(mmu, root->top)))
        nvi_mmu_changed(root);
    made_good(mmu, root);
}

/* ---- comparing a table with L1's ---- */

/* The entries of a table of L1's that are no longer what leaves were made from. L1's memory is read
 * without the lock: the host may hold locks of its own that it wants to change memory under. */
static void find_changed(struct nvi_mmu *mmu, const struct nvi_shadow *shadow,
                         uint64_t changed[NVI_MMU_ENTRIES / WORD_BITS])
{
    const struct nvi_mmu_shape *shape = &mmu->roots[shadow->root - 1].shape;
    const uint64_t *table = nvi_mmu_table(mmu, shadow->table);
    uint32_t i;

    for (i = 0; i < NVI_MMU_ENTRIES; i++) {
        nvirt_l1gpa word =
            nvirt_l1gpa_make(shadow->guest + word_offset(shape, shadow->level, i));
        uint64_t now = 0;

        if (!nvi_mmu_is_leaf(nvi_mmu_entry_load(&table[i]), shadow->level))
            continue;
        if (nvirt_port_l1_read(mmu->vm->port, word, &now, shape->words_of_4 ? 4 : 8) != NVIRT_OK ||
            entry_differs(shape, nvi_mmu_table(mmu, shadow->seen)[i], now))
            changed[i / WORD_BITS] |= UINT64_C(1) << (i % WORD_BITS);
    }
}

/*
 * Compares a table with what L1 has now, and keeps what did not change. Hardware cannot reach it
 * meanwhile. Links are cut: the tables below are compared when they are come to. The leaves of a
 * split page all follow from L1's one entry for it, which the caller compared.
 */
static void revalidate(struct nvi_mmu *mmu, nvi_mmu_id id)
{
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    const struct nvi_mmu_root *root = &mmu->roots[shadow->root - 1];
    uint64_t changed[NVI_MMU_ENTRIES / WORD_BITS] = { 0 };
    uint32_t i;

    (void)cut_links(mmu, shadow);
    if (shadow->kind == NVI_SHADOW_TABLE && shadow->seen.value != 0) {
        nvi_mmu_unlock(mmu);
        find_changed(mmu, shadow, changed);
        nvi_mmu_lock(mmu);
    }
    for (i = 0; i < NVI_MMU_ENTRIES; i++) {
        if ((changed[i / WORD_BITS] >> (i % WORD_BITS) & 1) == 0)
            continue;
        /* The host may have been quicker with it. */
        if (nvi_mmu_is_leaf(nvi_mmu_entry_load(entry_at(mmu, id, i)), shadow->level)) {
            nvi_rmap_remove(mmu, id, i);
            nvi_mmu_entry_store(entry_at(mmu, id, i), 0);
        }
    }
    shadow->generation = root->generation;
    mmu->stats->shadow_revalidated++;
}

/* ---- going down ---- */

/* One installation: what goes where. */
struct install {
    struct nvi_mmu *mmu;
    struct nvi_mmu_root *root;
    nvirt_l2gpa l2gpa;
    const struct nvi_mmu_leaf *leaf;
};

static uint64_t via_of(const struct nvi_mmu_leaf *leaf, uint32_t level)
{
    return level >= leaf->path.bottom && level <= leaf->path.top ? leaf->path.value[level] : 0;
}

/* What the table below the entry of @p level for the address has to be. */
static struct nvi_shadow_want wanted_below(const struct install *in, uint32_t level)
{
    const struct nvi_mmu_path *path = &in->leaf->path;
    struct nvi_shadow_want want = { .via = via_of(in->leaf, level), .level = (uint8_t)(level - 1) };

    if (path->top == 0 || level <= path->bottom) {
        want.kind = NVI_SHADOW_SPLIT;
        want.guest = in->leaf->l1gpa.value & ~(nvi_mmu_size(level) - 1);
    } else if (level - 1 <= path->top) {
        want.kind = NVI_SHADOW_TABLE;
        want.guest = path->word[level - 1].value -
                     word_offset(&in->root->shape, level - 1, entry_index(in->l2gpa, level - 1));
    } else {
        want.kind = NVI_SHADOW_PLAIN;
    }
    return want;
}

/* The one place where a shadow table is recognised: by everything, or not at all. */
static bool is_wanted(const struct install *in, const struct nvi_shadow *shadow,
                      const struct nvi_shadow_want *want)
{
    return &in->mmu->roots[shadow->root - 1] == in->root && shadow->kind == want->kind &&
           shadow->level == want->level && shadow->guest == want->guest &&
           !entry_differs(&in->root->shape, shadow->via, want->via);
}

/* Makes hardware's entry the link to @p child. A leaf or another link in the way is exchanged for
 * it whole: hardware finds the one or the other. */
static void put_link(const struct install *in, nvi_mmu_id id, uint32_t index, nvi_mmu_id child)
{
    uint64_t *entry = entry_at(in->mmu, id, index);
    uint64_t old = nvi_mmu_entry_load(entry);
    uint64_t link = nvi_shadow_at(in->mmu, child)->table.value | in->root->shape.link;

    if (nvi_mmu_is_present(old) && ((old ^ link) & NVI_MMU_ADDRESS) == 0)
        return;
    nvi_mmu_entry_store(entry, link);
    /* A TLB may hold what the old entry said, also of neighbours that this fault did not ask
     * for. */
    if (nvi_mmu_is_present(old))
        nvi_mmu_changed(in->root);
}

/* The table below entry @p index of @p id, found or made; 0 when there is no page. */
static nvi_mmu_id go_down(const struct install *in, nvi_mmu_id id, uint32_t level)
{
    struct nvi_mmu *mmu = in->mmu;
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    struct nvi_shadow_want want = wanted_below(in, level);
    uint32_t index = entry_index(in->l2gpa, level);
    uint64_t old = nvi_mmu_entry_load(entry_at(mmu, id, index));
    nvi_mmu_id child = nvi_mmu_is_leaf(old, level) ? 0 : nvi_shadow_child(mmu, shadow, index);

    if (child != 0 && is_wanted(in, nvi_shadow_at(mmu, child), &want)) {
        nvi_shadow_at(mmu, child)->via = want.via;
        nvi_shadow_touch(mmu, child);
        if (nvi_shadow_at(mmu, child)->generation != in->root->generation)
            revalidate(mmu, child);
    } else {
        child = nvi_shadow_new(mmu, in->root, &want);
        if (child == 0)
            return 0;
        if (nvi_mmu_is_leaf(old, level))
            nvi_rmap_remove(mmu, id, index);
        else
            nvi_shadow_orphan(mmu, shadow, index);
        nvi_shadow_adopt(mmu, id, index, child);
    }
    put_link(in, id, index, child);
    return child;
}

/* True when going from @p old to the new leaf can only turn refusals into permissions. */
static bool only_widens(uint64_t old, const struct nvi_mmu_leaf *leaf)
{
    uint64_t rights = leaf->grants | leaf->denies;

    return (old & ~rights) == (leaf->entry & ~rights) &&
           (old & ~leaf->entry & leaf->grants) == 0 && (leaf->entry & ~old & leaf->denies) == 0;
}

/* @return false when there is no page. */
static bool put_leaf(const struct install *in, nvi_mmu_id id)
{
    const struct nvi_mmu_leaf *leaf = in->leaf;
    struct nvi_mmu *mmu = in->mmu;
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    uint32_t index = entry_index(in->l2gpa, leaf->level);
    uint64_t *entry = entry_at(mmu, id, index);
    uint64_t old = nvi_mmu_entry_load(entry);

    if (!nvi_rmap_ready(mmu) ||
        (shadow->kind == NVI_SHADOW_TABLE && !nvi_shadow_need_seen(mmu, shadow)))
        return false;
    if (nvi_mmu_is_leaf(old, leaf->level))
        nvi_rmap_remove(mmu, id, index);
    else
        nvi_shadow_orphan(mmu, shadow, index);
    if (shadow->kind == NVI_SHADOW_TABLE)
        nvi_mmu_table(mmu, shadow->seen)[index] = via_of(leaf, leaf->level);
    nvi_mmu_entry_store(entry, leaf->entry);
    nvi_rmap_add(mmu, id, index);
    if (nvi_mmu_is_present(old) && !only_widens(old, leaf))
        nvi_mmu_changed(in->root);
    return true;
}

/* True when @p leaf may still be used: neither the host nor L1 changed what it was made from. */
static bool still_holds(struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                        const struct nvi_mmu_leaf *leaf)
{
    return nvi_mmu_current(mmu) && leaf->sequence == mmu->sequence &&
           leaf->changes == nvi_mmu_host_changes(mmu->vm) && !nvi_mmu_root_is_stale(mmu, root);
}

/* L1's tables may be a level higher than the tree. Its entry there led to all that the tree is made
 * from: what came by another one is not recognised. The address has no bits that would choose among
 * entries of that level. */
static void recognise_above(const struct install *in)
{
    struct nvi_shadow *top = nvi_shadow_at(in->mmu, in->root->top);
    uint64_t above = via_of(in->leaf, in->root->shape.levels + 1u);

    if (entry_differs(&in->root->shape, top->via, above))
        orphan_all(in->mmu, in->root);
    top->via = above;
}

static enum nvi_fault try_install(const struct install *in)
{
    nvi_mmu_id id = in->root->top;
    uint32_t level;

    recognise_above(in);
    for (level = in->root->shape.levels; level > in->leaf->level; level--) {
        id = go_down(in, id, level);
        if (id == 0)
            return NVI_FAULT_NO_PAGE;
    }
    /* Under the lock that a change of the host's takes too: it comes before this check, or it finds
     * the leaf. */
    if (!still_holds(in->mmu, in->root, in->leaf))
        return NVI_FAULT_RETRY;
    return put_leaf(in, id) ? NVI_FAULT_INSTALLED : NVI_FAULT_NO_PAGE;
}

/* ---- room ---- */

/* True when @p id is on the way to the address of the fault, which must not be taken apart. */
static bool is_on_path(const struct install *in, nvi_mmu_id id)
{
    nvi_mmu_id at = in->root != NULL ? in->root->top : 0;
    uint32_t level = in->root != NULL ? in->root->shape.levels : 0;

    while (at != 0 && at != id) {
        uint32_t index = entry_index(in->l2gpa, level);

        at = nvi_mmu_is_leaf(nvi_mmu_entry_load(entry_at(in->mmu, at, index)), level)
                 ? 0
                 : nvi_shadow_child(in->mmu, nvi_shadow_at(in->mmu, at), index);
        level--;
    }
    return at != 0;
}

/* Takes the subtree that was used longest ago, of any root, out of its tree. */
static bool cut_oldest(const struct install *in)
{
    struct nvi_mmu *mmu = in->mmu;
    nvi_mmu_id id = mmu->oldest_shadow;
    uint32_t parent, index;

    while (id != 0 && is_on_path(in, id))
        id = nvi_shadow_at(mmu, id)->newer;
    if (id == 0)
        return false;
    parent = nvi_shadow_at(mmu, id)->parent / NVI_MMU_ENTRIES;
    index = nvi_shadow_at(mmu, id)->parent % NVI_MMU_ENTRIES;
    if (nvi_mmu_entry_load(entry_at(mmu, parent, index)) != 0) {
        nvi_mmu_entry_store(entry_at(mmu, parent, index), 0);
        nvi_mmu_changed(&mmu->roots[nvi_shadow_at(mmu, parent)->root - 1]);
    }
    nvi_shadow_orphan(mmu, nvi_shadow_at(mmu, parent), index);
    return true;
}

/* Vectors of sub-page permissions, of other roots than @p root as long as there are any. */
static bool cut_subpages(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    bool any = false;

    for (uint32_t i = 0; i < mmu->capacity; i++) {
        if (&mmu->roots[i] != root && nvi_subpage_cut(mmu, &mmu->roots[i]))
            any = true;
    }
    return any || (root != NULL && nvi_subpage_cut(mmu, root));
}

/*
 * Gets at least one page back: from what is out of its tree already, else from what was used
 * longest ago, else from the tables of sub-page permissions, else from an empty root. A table page may
 * have to wait for a flush, but what was noted of it is free at once.
 * @return false when there is nothing to take.
 */
static bool make_room(const struct install *in)
{
    struct nvi_mmu *mmu = in->mmu;
    struct nvi_mmu_root *idle;

    if (mmu->orphan != 0 || cut_oldest(in)) {
        mmu->stats->shadow_reclaimed++;
        return nvi_shadow_reap(mmu);
    }
    if (cut_subpages(mmu, in->root))
        return true;
    if (in->root == NULL)
        return false;
    idle = nvi_mmu_root_idle(mmu, in->root);
    if (idle == NULL)
        return false;
    nvi_mmu_root_release(mmu, idle);
    return true;
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

bool nvi_mmu_make_room(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa)
{
    const struct install in = { .mmu = mmu, .root = root, .l2gpa = l2gpa };

    return make_room(&in);
}

enum nvi_fault nvi_mmu_without_room(struct nvi_mmu *mmu)
{
    if (limbo_is_empty(mmu))
        return NVI_FAULT_NO_PAGE;
    nvi_mmu_attend(mmu, NVI_MMU_STARVED);
    return NVI_FAULT_RETRY;
}

enum nvi_fault nvi_mmu_install(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                               const struct nvi_mmu_leaf *leaf)
{
    struct install in = { .mmu = mmu, .root = root, .l2gpa = l2gpa, .leaf = leaf };
    enum nvi_fault result = NVI_FAULT_RETRY;

    nvi_mmu_lock(mmu);
    if (still_holds(mmu, root, leaf)) {
        /* Orphans go little by little, so that none is left when nothing else happens. */
        (void)nvi_shadow_reap(mmu);
        do {
            result = try_install(&in);
        } while (result == NVI_FAULT_NO_PAGE && make_room(&in));
        if (result == NVI_FAULT_NO_PAGE)
            result = nvi_mmu_without_room(mmu);
        if (result == NVI_FAULT_INSTALLED)
            mmu->stats->shadow_faults++;
    }
    nvi_mmu_unlock(mmu);
    return result;
}

void nvi_mmu_forget(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa)
{
    nvi_mmu_id id = root->top;
    uint32_t level = root->shape.levels;

    nvi_mmu_lock(mmu);
    while (id != 0) {
        uint32_t index = entry_index(l2gpa, level);

        if (nvi_mmu_is_leaf(nvi_mmu_entry_load(entry_at(mmu, id, index)), level)) {
            nvi_mmu_leaf_clear(mmu, id, index);
            break;
        }
        /* Of a table of leaves that has none here there is nothing below. */
        id = level > 1 ? nvi_shadow_child(mmu, nvi_shadow_at(mmu, id), index) : 0;
        level--;
    }
    nvi_mmu_unlock(mmu);
}

uint64_t nvi_mmu_lookup(struct nvi_mmu *mmu, const struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                        uint32_t *level)
{
    const uint64_t *table = nvi_mmu_table(mmu, root->table);
    uint64_t entry;

    *level = root->shape.levels;
    entry = nvi_mmu_entry_load(&table[entry_index(l2gpa, *level)]);
    while (nvi_mmu_is_present(entry) && !nvi_mmu_is_leaf(entry, *level)) {
        table = nvi_mmu_table(mmu, nvirt_hpa_make(entry & NVI_MMU_ADDRESS));
        *level -= 1;
        entry = nvi_mmu_entry_load(&table[entry_index(l2gpa, *level)]);
    }
    return nvi_mmu_is_present(entry) ? entry : 0;
}
