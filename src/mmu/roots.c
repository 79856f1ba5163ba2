/* SPDX-License-Identifier: MIT */
/*
 * The cache of roots: found by complete key, recycled least recently used, made stale by L1 and the
 * host, emptied before use, flushed before entry.
 */
#include "mmu/mmu_internal.h"

enum nvirt_status nvi_mmu_init(struct nvi_mmu *mmu, struct nvirt_vm *vm, struct nvirt_stats *stats,
                               struct nvi_mmu_root *roots, uint32_t capacity)
{
    uint32_t i;

    if (mmu == NULL || vm == NULL || stats == NULL || roots == NULL)
        return NVIRT_ERR_NULL;
    if (capacity == 0 || capacity > NVI_MMU_MAX_ROOTS)
        return NVIRT_ERR_RANGE;
    for (i = 0; i < capacity; i++)
        roots[i] = (struct nvi_mmu_root){ .cpu = NVI_MMU_NO_CPU };
    *mmu = (struct nvi_mmu){ .vm = vm, .stats = stats, .roots = roots, .capacity = capacity };
    mmu->sequence = nvirt_port_sequence(vm->port);
    return NVIRT_OK;
}

void nvi_mmu_destroy(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        struct nvi_mmu_root *root = &mmu->roots[i];

        if (root->used) {
            nvi_mmu_tree_empty(mmu, root);
            nvi_mmu_page_free(mmu, root->table);
        }
        /* A root that was given up still has pages there. */
        nvi_mmu_limbo_free(mmu, root);
        *root = (struct nvi_mmu_root){ .cpu = NVI_MMU_NO_CPU };
    }
}

static bool same_key(const struct nvi_mmu_key *a, const struct nvi_mmu_key *b)
{
    return a->table == b->table && a->pat == b->pat && a->role == b->role;
}

static struct nvi_mmu_root *find(struct nvi_mmu *mmu, const struct nvi_mmu_key *key)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].used && same_key(&mmu->roots[i].key, key))
            return &mmu->roots[i];
    }
    return NULL;
}

/* True when @p a is the better one to lose: stale entries are worth nothing. */
static bool is_older(const struct nvi_mmu_root *a, const struct nvi_mmu_root *b)
{
    if (a->stale != b->stale)
        return a->stale;
    return a->last_use < b->last_use;
}

struct nvi_mmu_root *nvi_mmu_root_oldest(struct nvi_mmu *mmu, const struct nvi_mmu_root *except,
                                         bool filled)
{
    struct nvi_mmu_root *oldest = NULL;
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        struct nvi_mmu_root *root = &mmu->roots[i];

        if (root == except || !root->used || (filled && root->pages <= 1))
            continue;
        if (oldest == NULL || is_older(root, oldest))
            oldest = root;
    }
    return oldest;
}

static struct nvi_mmu_root *find_unused(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (!mmu->roots[i].used)
            return &mmu->roots[i];
    }
    return NULL;
}

/* A slot with an empty top table: a fresh one, or the least recently used one emptied. */
static struct nvi_mmu_root *take_slot(struct nvi_mmu *mmu)
{
    struct nvi_mmu_root *root = find_unused(mmu);

    if (root != NULL && nvi_mmu_page_alloc(mmu, &root->table) == NVIRT_OK) {
        /* Flushed before its first use: the page may have been a root before, of this vCPU or another,
         * whose entries hardware still holds under its address. */
        root->changed = true;
        root->used = true;
        root->pages = 1;
        return root;
    }
    root = nvi_mmu_root_oldest(mmu, NULL, false);
    if (root != NULL) {
        mmu->stats->shadow_reclaimed += root->pages - 1u;
        nvi_mmu_tree_empty(mmu, root);
        /* The address of the top table stands for something else from now on. */
        root->changed = true;
    }
    return root;
}

void nvi_mmu_root_release(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    nvi_mmu_tree_empty(mmu, root);
    nvi_mmu_limbo_push(mmu, root, root->table);
    root->used = false;
    root->stale = false;
    root->pages = 0;
    root->serial = 0;
    mmu->stats->shadow_reclaimed++;
}

uint64_t nvi_mmu_serial(struct nvi_mmu *mmu, const struct nvi_mmu_key *key)
{
    const struct nvi_mmu_root *root = find(mmu, key);

    return root != NULL && root->serial != 0 ? root->serial : ++mmu->serials;
}

enum nvirt_status nvi_mmu_root_get(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                                   uint8_t levels, uint64_t link, struct nvi_mmu_root **root)
{
    struct nvi_mmu_root *found = find(mmu, key);

    if (found != NULL) {
        mmu->stats->root_hits++;
    } else {
        found = take_slot(mmu);
        if (found == NULL)
            return NVIRT_ERR_NO_PAGE;
        mmu->stats->root_misses++;
        found->key = *key;
        found->serial = 0;
        found->levels = levels;
        found->link = link;
    }
    found->last_use = ++mmu->clock;
    *root = found;
    return NVIRT_OK;
}

void nvi_mmu_invalidate(struct nvi_mmu *mmu, uint64_t table)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        struct nvi_mmu_root *root = &mmu->roots[i];

        if (root->used && (root->key.role & NVI_ROLE_DIRECT) == 0 &&
            ((root->key.table ^ table) & NVI_MMU_ADDRESS) == 0)
            root->stale = true;
    }
}

void nvi_mmu_invalidate_all(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].used && (mmu->roots[i].key.role & NVI_ROLE_DIRECT) == 0)
            mmu->roots[i].stale = true;
    }
}

void nvi_mmu_drop_all(struct nvi_mmu *mmu)
{
    uint32_t i;

    for (i = 0; i < mmu->capacity; i++) {
        if (mmu->roots[i].used)
            mmu->roots[i].stale = true;
    }
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

enum nvi_mmu_flush nvi_mmu_enter(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu)
{
    /* Whether it holds does not matter here: what does not is stale now and emptied below. */
    (void)nvi_mmu_current(mmu);
    if (root->stale)
        nvi_mmu_tree_empty(mmu, root);
    if (mmu->starved)
        return NVI_MMU_FLUSH_ALL;
    if (root->changed || root->cpu != cpu)
        return NVI_MMU_FLUSH_ROOT;
    return NVI_MMU_FLUSH_NONE;
}

static void root_flushed(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu)
{
    nvi_mmu_limbo_free(mmu, root);
    root->changed = false;
    root->cpu = cpu;
}

void nvi_mmu_flushed(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu,
                     enum nvi_mmu_flush flush)
{
    uint32_t i;

    if (flush == NVI_MMU_FLUSH_ROOT)
        root_flushed(mmu, root, cpu);
    if (flush != NVI_MMU_FLUSH_ALL)
        return;
    for (i = 0; i < mmu->capacity; i++)
        root_flushed(mmu, &mmu->roots[i], cpu);
    mmu->starved = false;
}
