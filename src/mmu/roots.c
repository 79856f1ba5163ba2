/* SPDX-License-Identifier: MIT */
/*
 * The cache of roots: found by complete key, recycled least recently used, made stale by L1 and the
 * host, emptied before use, flushed before entry.
 */
#include "mmu/mmu_internal.h"

static struct nvi_mmu_root *at(const struct nvi_mmu *mmu, nvi_mmu_slot slot)
{
    return slot == 0 ? NULL : &mmu->roots[slot - 1];
}

static nvi_mmu_slot slot_of(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root)
{
    return (nvi_mmu_slot)(root - mmu->roots + 1);
}

/* An engine without roots, that gave out the numbers it gave out. */
static void reset(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < NVI_MMU_ROOT_CHAINS; i++) {
        mmu->by_key[i] = 0;
        mmu->by_table[i] = 0;
    }
    mmu->uses = 0;
    mmu->unused = 0;
    mmu->newest_shadow = 0;
    mmu->oldest_shadow = 0;
    mmu->orphan = 0;
    mmu->attention = 0;
    for (i = mmu->capacity; i-- > 0;) {
        mmu->roots[i] = (struct nvi_mmu_root){ .cpu = NVI_MMU_NO_CPU };
        mmu->roots[i].place.same_key = mmu->unused;
        mmu->unused = (nvi_mmu_slot)(i + 1);
    }
}

enum nvirt_status nvi_mmu_init(struct nvi_mmu *mmu, struct nvirt_vm *vm, struct nvirt_stats *stats,
                               struct nvi_mmu_root *roots, uint32_t capacity)
{
    if (mmu == NULL || vm == NULL || stats == NULL || roots == NULL)
        return NVIRT_ERR_NULL;
    if (capacity == 0 || capacity > NVI_MMU_MAX_ROOTS)
        return NVIRT_ERR_RANGE;
    __builtin_memset(mmu, 0, sizeof *mmu);
    mmu->vm = vm;
    mmu->stats = stats;
    mmu->roots = roots;
    mmu->capacity = capacity;
    reset(mmu);
    mmu->sequence = nvirt_port_sequence(vm->port);
    return NVIRT_OK;
}

/* ---- the order of last use ---- */

/* A revisit, however many roots there are, touches no root but its own; who is the oldest is looked
 * for when a root is made, which clears a page anyway. */
static void note_use(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    root->last_use = ++mmu->uses;
}

/* The root used longest ago, other than @p except; with an empty tree if @p idle. Null: none. */
static struct nvi_mmu_root *oldest(struct nvi_mmu *mmu, const struct nvi_mmu_root *except,
                                   bool idle)
{
    struct nvi_mmu_root *found = NULL;
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        struct nvi_mmu_root *root = &mmu->roots[i];

        if (!root->used || root == except || (idle && root->pages > 1))
            continue;
        if (found == NULL || root->last_use < found->last_use)
            found = root;
    }
    return found;
}

/* ---- identity ---- */

static bool same_key(const struct nvi_mmu_key *a, const struct nvi_mmu_key *b)
{
    return a->table == b->table && a->pat == b->pat && a->role == b->role;
}

/* Multiplicative: tables are page-aligned and close to each other, the product's top bits are
 * not. */
static uint32_t chain_of(uint64_t value)
{
    return (uint32_t)((value * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (NVI_MMU_ROOT_CHAINS - 1);
}

static nvi_mmu_slot *key_chain(struct nvi_mmu *mmu, const struct nvi_mmu_key *key)
{
    return &mmu->by_key[chain_of(key->table ^ (key->role << 7) ^ (key->pat << 19))];
}

static nvi_mmu_slot *table_chain(struct nvi_mmu *mmu, uint64_t table)
{
    return &mmu->by_table[chain_of(table & NVI_MMU_ADDRESS)];
}

static struct nvi_mmu_root *find(struct nvi_mmu *mmu, const struct nvi_mmu_key *key)
{
    struct nvi_mmu_root *root = at(mmu, *key_chain(mmu, key));

    while (root != NULL && !same_key(&root->key, key))
        root = at(mmu, root->place.same_key);
    return root;
}

static void chains_add(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    nvi_mmu_slot *key = key_chain(mmu, &root->key);
    nvi_mmu_slot *table = table_chain(mmu, root->key.table);

    root->place.same_key = *key;
    *key = slot_of(mmu, root);
    root->place.same_table = *table;
    *table = slot_of(mmu, root);
}

/* Both chains follow from the key as it is stored, so what was added is what is removed. */
static void chains_remove(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    nvi_mmu_slot slot = slot_of(mmu, root);
    nvi_mmu_slot *key = key_chain(mmu, &root->key);
    nvi_mmu_slot *table = table_chain(mmu, root->key.table);

    while (*key != slot)
        key = &at(mmu, *key)->place.same_key;
    *key = root->place.same_key;
    while (*table != slot)
        table = &at(mmu, *table)->place.same_table;
    *table = root->place.same_table;
}

/* ---- slots ---- */

/* What is behind the roots goes with them: shadow tables first, then what they were kept in. */
static void free_all(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].used)
            nvi_mmu_tree_empty(mmu, &mmu->roots[i]);
    }
    while (nvi_shadow_reap(mmu))
        ;
    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].used) {
            nvi_shadow_free_top(mmu, mmu->roots[i].top);
            nvi_subpage_end(mmu, &mmu->roots[i]);
        }
        /* A root that was given up still has pages there. */
        nvi_mmu_limbo_free(mmu, &mmu->roots[i]);
    }
    nvi_rmap_end(mmu);
    nvi_shadow_end(mmu);
}

void nvi_mmu_destroy(struct nvi_mmu *mmu)
{
    nvi_mmu_detach(mmu);
    free_all(mmu);
    reset(mmu);
}

struct nvi_mmu_root *nvi_mmu_root_idle(struct nvi_mmu *mmu, const struct nvi_mmu_root *except)
{
    return oldest(mmu, except, true);
}

/* A top table for an unused slot. */
static bool add_top(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                    const struct nvi_mmu_shape *shape)
{
    const struct nvi_shadow_want want = { .level = shape->levels };

    root->top = nvi_shadow_new(mmu, root, &want);
    if (root->top == 0)
        return false;
    root->table = nvi_shadow_at(mmu, root->top)->table;
    mmu->unused = root->place.same_key;
    root->used = true;
    root->new_top = true;
    /* Flushed before its first use: the page stood for something else before, of this vCPU or another,
     * and hardware may still hold entries under its address. */
    nvi_mmu_changed(root);
    return true;
}

/* A slot with an empty top table, in no chain: a fresh one, or the least recently used one
 * emptied. That one owes a flush for what went from it just now or earlier; if nothing did since its
 * last flush, hardware holds nothing under it, and the new key finds it clean. */
static struct nvi_mmu_root *take_slot(struct nvi_mmu *mmu, const struct nvi_mmu_shape *shape)
{
    struct nvi_mmu_root *root = at(mmu, mmu->unused);

    if (root == NULL || !add_top(mmu, root, shape)) {
        root = oldest(mmu, NULL, false);
        if (root == NULL)
            return NULL;
        chains_remove(mmu, root);
        nvi_mmu_tree_empty(mmu, root);
        nvi_subpage_end(mmu, root);
    }
    root->stale = false;
    root->invalidations = mmu->invalidations;
    root->drops = mmu->drops;
    return root;
}

static void set_top(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    struct nvi_shadow *top = nvi_shadow_at(mmu, root->top);

    top->level = root->shape.levels & 0x7fu;
    top->words_of_4 = root->shape.words_of_4;
    top->kind = root->shape.kind;
    top->guest = top->kind == NVI_SHADOW_TABLE ? root->key.table & NVI_MMU_ADDRESS : 0;
    top->via = 0;
    top->generation = root->generation;
}

void nvi_mmu_root_release(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    nvi_shadow_free_top(mmu, root->top);
    nvi_subpage_end(mmu, root);
    chains_remove(mmu, root);
    root->used = false;
    root->serial = 0;
    root->place.same_key = mmu->unused;
    mmu->unused = slot_of(mmu, root);
    mmu->stats->shadow_reclaimed++;
}

uint64_t nvi_mmu_serial(struct nvi_mmu *mmu, const struct nvi_mmu_key *key)
{
    const struct nvi_mmu_root *root = find(mmu, key);

    return root != NULL && root->serial != 0 ? root->serial : ++mmu->serials;
}

enum nvirt_status nvi_mmu_root_get(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                                   const struct nvi_mmu_shape *shape, struct nvi_mmu_root **root)
{
    struct nvi_mmu_root *found = find(mmu, key);
    nvirt_hpa subpages = nvirt_hpa_make(0);

    if (found != NULL) {
        mmu->stats->root_hits++;
    } else {
        nvi_mmu_lock(mmu);
        /* First what may fail: whoever gets no root keeps the one that it has. */
        if (!shape->subpages || nvi_subpage_begin(mmu, &subpages))
            found = take_slot(mmu, shape);
        if (found == NULL && subpages.value != 0)
            nvi_mmu_page_free(mmu, subpages);
        if (found != NULL) {
            found->key = *key;
            found->shape = *shape;
            found->subpages = subpages;
            found->serial = 0;
            set_top(mmu, found);
            chains_add(mmu, found);
            mmu->stats->root_misses++;
        }
        nvi_mmu_unlock(mmu);
        if (found == NULL)
            return NVIRT_ERR_NO_PAGE;
    }
    note_use(mmu, found);
    *root = found;
    return NVIRT_OK;
}

/* ---- stale roots: marks only; the work is done when a root is next used ---- */

void nvi_mmu_invalidate(struct nvi_mmu *mmu, uint64_t table)
{
    struct nvi_mmu_root *root = at(mmu, *table_chain(mmu, table));

    for (; root != NULL; root = at(mmu, root->place.same_table)) {
        if ((root->key.role & NVI_ROLE_DIRECT) == 0 &&
            ((root->key.table ^ table) & NVI_MMU_ADDRESS) == 0)
            root->stale = true;
    }
}

void nvi_mmu_invalidate_all(struct nvi_mmu *mmu)
{
    mmu->invalidations++;
}

void nvi_mmu_drop_all(struct nvi_mmu *mmu)
{
    mmu->drops++;
}

bool nvi_mmu_current(struct nvi_mmu *mmu)
{
    uint64_t now = nvirt_port_sequence(mmu->vm->port);

    if (now == mmu->sequence && (now & 1) == 0)
        return true;
    if (now != mmu->sequence) {
        mmu->sequence = now;
        nvi_mmu_drop_all(mmu);
    }
    return false;
}

static void make_good(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    nvi_mmu_lock(mmu);
    nvi_mmu_tree_make_good(mmu, root);
    nvi_mmu_unlock(mmu);
}

static void note_changes(struct nvi_mmu_root *root)
{
    root->flushing = __atomic_load_n(&root->changes, __ATOMIC_ACQUIRE);
}

/* @return true when everything is to be flushed. */
static bool attend(struct nvi_mmu *mmu)
{
    bool starved;
    uint32_t i;

    nvi_mmu_lock(mmu);
    starved = (mmu->attention & NVI_MMU_STARVED) != 0;
    /* What the host dropped until now is flushed before L2 runs, whichever root it is entered
     * with. */
    __atomic_store_n(&mmu->attention, mmu->attention & ~NVI_MMU_DROPPED, __ATOMIC_RELEASE);
    for (i = 0; starved && i < mmu->capacity; i++)
        note_changes(&mmu->roots[i]);
    nvi_mmu_unlock(mmu);
    return starved;
}

enum nvi_mmu_flush nvi_mmu_enter(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu)
{
    /* Whether it holds does not matter here: what does not is stale now and cut off below. */
    (void)nvi_mmu_current(mmu);
    if (nvi_mmu_root_is_stale(mmu, root))
        make_good(mmu, root);
    if (__atomic_load_n(&mmu->attention, __ATOMIC_ACQUIRE) != 0 && attend(mmu))
        return NVI_MMU_FLUSH_ALL;
    /* A host that changes memory right now has the vCPU leave L2 again, so what comes after this
     * reading is flushed before the next entry. */
    note_changes(root);
    if (root->flushing != root->flushed || root->cpu != cpu)
        return NVI_MMU_FLUSH_ROOT;
    return NVI_MMU_FLUSH_NONE;
}

static void root_flushed(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu)
{
    root->flushed = root->flushing;
    root->flushes++;
    root->cpu = cpu;
    nvi_mmu_limbo_free(mmu, root);
}

void nvi_mmu_flushed(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu,
                     enum nvi_mmu_flush flush)
{
    uint32_t i;

    if (flush == NVI_MMU_FLUSH_NONE)
        return;
    nvi_mmu_lock(mmu);
    if (flush == NVI_MMU_FLUSH_ROOT) {
        root_flushed(mmu, root, cpu);
    } else {
        for (i = 0; i < mmu->capacity; i++)
            root_flushed(mmu, &mmu->roots[i], cpu);
        __atomic_store_n(&mmu->attention, mmu->attention & ~NVI_MMU_STARVED, __ATOMIC_RELEASE);
    }
    nvi_mmu_unlock(mmu);
}
