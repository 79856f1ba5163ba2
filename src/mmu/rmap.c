/* SPDX-License-Identifier: MIT */
/*
 * The reverse map: from the L1 page that a leaf maps (address and size) to the leaf. A hash table
 * of doubly linked lists; the links lie beside each leaf, in the shadow table's page of links, so
 * an entry in the map costs no allocation of its own. The table of list heads grows by one list
 * at a time (linear hashing): no step moves more than one list.
 *
 * What a leaf maps is computed from what its shadow table notes, at adding, at looking and at
 * removing alike: there is no second value that could disagree.
 */
#include "mmu/mmu_internal.h"

/* A slot is a leaf: id * 512 + index, 24 bits. Of the word in links: next and previous slot. */
#define SLOT_BITS 24u
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

/* Heads are 4 bytes, in pages whose addresses one more page holds. */
#define HEADS_PER_PAGE (NVIRT_PAGE_SIZE / sizeof(uint32_t))
#define MAX_HEADS (NVI_MMU_ENTRIES * (uint32_t)HEADS_PER_PAGE)

/* One leaf, looked up. */
struct leaf {
    const struct nvi_shadow *shadow;
    uint64_t *links;
    uint32_t index;
};

static struct leaf leaf_at(const struct nvi_mmu *mmu, uint32_t slot)
{
    struct leaf leaf;

    leaf.shadow = nvi_shadow_at(mmu, slot / NVI_MMU_ENTRIES);
    leaf.index = slot % NVI_MMU_ENTRIES;
    leaf.links = &nvi_mmu_table(mmu, leaf.shadow->links)[leaf.index];
    return leaf;
}

static uint32_t next_of(const struct leaf *leaf)
{
    return (uint32_t)(*leaf->links & SLOT_MASK);
}

static uint32_t previous_of(const struct leaf *leaf)
{
    return (uint32_t)(*leaf->links >> SLOT_BITS & SLOT_MASK);
}

static void set_links(const struct leaf *leaf, uint32_t next, uint32_t previous)
{
    *leaf->links = next | (uint64_t)previous << SLOT_BITS;
}

/*
 * A page of 4 MiB is two leaves of 2 MiB each, from one entry of L1's. Bits 20:13 of the entry are
 * address bits 39:32; where L1 has them not, they were reserved [APM 2 "Legacy-Paging"].
 */
static uint64_t l1_of_4m(uint64_t entry, uint32_t index)
{
    return (entry & NVIRT_BITS(31, 22)) | (entry & NVIRT_BITS(20, 13)) << 19 |
           (uint64_t)(index & 1) << 21;
}

uint64_t nvi_rmap_l1(const struct nvi_mmu *mmu, const struct nvi_shadow *shadow, uint32_t index)
{
    uint64_t size = nvi_mmu_size(shadow->level);
    uint64_t entry;

    if (shadow->kind == NVI_SHADOW_SPLIT)
        return shadow->guest + index * size;
    entry = nvi_mmu_table(mmu, shadow->seen)[index];
    if (shadow->words_of_4 && shadow->level == 2)
        return l1_of_4m(entry, index);
    return entry & NVI_MMU_ADDRESS & ~(size - 1);
}

/* ---- heads ---- */

static uint32_t *head_at(const struct nvi_mmu *mmu, uint32_t number)
{
    const uint64_t *pages = nvi_mmu_table(mmu, mmu->heads);
    uint32_t *heads = nvirt_port_page_pointer(
        mmu->vm->port, nvirt_hpa_make(pages[number / HEADS_PER_PAGE]));

    return &heads[number % HEADS_PER_PAGE];
}

static uint32_t hash(uint64_t l1, uint32_t level)
{
    return (uint32_t)(((l1 >> NVIRT_PAGE_SHIFT) * 4 + level) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* With 2^n + m heads, the first m of 2^n lists have been divided already. */
static uint32_t list_of(const struct nvi_mmu *mmu, uint64_t l1, uint32_t level)
{
    uint32_t value = hash(l1, level);
    uint32_t base = mmu->head_base;
    uint32_t number = value & (base - 1);

    return number < mmu->head_count - base ? value & (2 * base - 1) : number;
}

static void list_add(struct nvi_mmu *mmu, uint32_t slot, uint32_t *head)
{
    struct leaf leaf = leaf_at(mmu, slot);

    set_links(&leaf, *head, 0);
    if (*head != 0) {
        struct leaf second = leaf_at(mmu, *head);

        set_links(&second, next_of(&second), slot);
    }
    *head = slot;
}

/* Divides the next undivided list, when there are more leaves than lists. Without a page for the
 * new head the lists just stay longer. */
static void grow(struct nvi_mmu *mmu)
{
    uint32_t count = mmu->head_count, old, slot, *from, *to;
    nvirt_hpa page;

    if (mmu->leaf_count <= count || count == MAX_HEADS)
        return;
    if (count % HEADS_PER_PAGE == 0) {
        if (nvi_mmu_page_alloc(mmu, &page) != NVIRT_OK)
            return;
        nvi_mmu_table(mmu, mmu->heads)[count / HEADS_PER_PAGE] = page.value;
    }
    old = count - mmu->head_base;
    mmu->head_count = count + 1;
    if (mmu->head_count == 2 * mmu->head_base)
        mmu->head_base *= 2;
    from = head_at(mmu, old);
    to = head_at(mmu, count);
    slot = *from;
    *from = 0;
    *to = 0;
    while (slot != 0) {
        struct leaf leaf = leaf_at(mmu, slot);
        uint32_t next = next_of(&leaf);
        uint64_t l1 = nvi_rmap_l1(mmu, leaf.shadow, leaf.index);

        list_add(mmu, slot, list_of(mmu, l1, leaf.shadow->level) == old ? from : to);
        slot = next;
    }
}

bool nvi_rmap_ready(struct nvi_mmu *mmu)
{
    nvirt_hpa page;

    if (mmu->head_count != 0)
        return true;
    if (mmu->heads.value == 0 && nvi_mmu_page_alloc(mmu, &mmu->heads) != NVIRT_OK)
        return false;
    if (nvi_mmu_page_alloc(mmu, &page) != NVIRT_OK)
        return false;
    nvi_mmu_table(mmu, mmu->heads)[0] = page.value;
    mmu->head_count = (uint32_t)HEADS_PER_PAGE;
    mmu->head_base = (uint32_t)HEADS_PER_PAGE;
    return true;
}

void nvi_rmap_end(struct nvi_mmu *mmu)
{
    uint32_t pages = (mmu->head_count + (uint32_t)HEADS_PER_PAGE - 1) / (uint32_t)HEADS_PER_PAGE;

    while (pages-- > 0)
        nvi_mmu_page_free(mmu, nvirt_hpa_make(nvi_mmu_table(mmu, mmu->heads)[pages]));
    if (mmu->heads.value != 0)
        nvi_mmu_page_free(mmu, mmu->heads);
    mmu->heads = nvirt_hpa_make(0);
    mmu->head_count = 0;
}

/* ---- leaves ---- */

void nvi_rmap_add(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index)
{
    const struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    uint64_t l1 = nvi_rmap_l1(mmu, shadow, index);

    list_add(mmu, id * NVI_MMU_ENTRIES + index, head_at(mmu, list_of(mmu, l1, shadow->level)));
    mmu->leaf_count++;
    mmu->leaves[shadow->level - 1]++;
    grow(mmu);
}

void nvi_rmap_remove(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index)
{
    struct leaf leaf = leaf_at(mmu, id * NVI_MMU_ENTRIES + index);
    uint32_t next = next_of(&leaf);
    uint32_t previous = previous_of(&leaf);
    uint32_t level = leaf.shadow->level;

    if (previous != 0) {
        struct leaf before = leaf_at(mmu, previous);

        set_links(&before, next, previous_of(&before));
    } else {
        *head_at(mmu, list_of(mmu, nvi_rmap_l1(mmu, leaf.shadow, index), level)) = next;
    }
    if (next != 0) {
        struct leaf after = leaf_at(mmu, next);

        set_links(&after, next_of(&after), previous);
    }
    set_links(&leaf, 0, 0);
    mmu->leaf_count--;
    mmu->leaves[level - 1]--;
}

/* ---- what the host changes ---- */

/* Clears the leaves of @p level that map the page at @p l1. */
static uint32_t drop_page(struct nvi_mmu *mmu, uint64_t l1, uint32_t level)
{
    uint32_t slot = *head_at(mmu, list_of(mmu, l1, level)), dropped = 0;

    while (slot != 0) {
        struct leaf leaf = leaf_at(mmu, slot);
        uint32_t next = next_of(&leaf);

        if (leaf.shadow->level == level && nvi_rmap_l1(mmu, leaf.shadow, leaf.index) == l1) {
            nvi_mmu_leaf_clear(mmu, slot / NVI_MMU_ENTRIES, leaf.index);
            dropped++;
        }
        slot = next;
    }
    return dropped;
}

/* Clears all leaves of one list that overlap the range. */
static uint32_t drop_list(struct nvi_mmu *mmu, uint32_t number, uint64_t start, uint64_t last)
{
    uint32_t slot = *head_at(mmu, number), dropped = 0;

    while (slot != 0) {
        struct leaf leaf = leaf_at(mmu, slot);
        uint64_t l1 = nvi_rmap_l1(mmu, leaf.shadow, leaf.index);
        uint32_t next = next_of(&leaf);

        if (l1 <= last && l1 + (nvi_mmu_size(leaf.shadow->level) - 1) >= start) {
            nvi_mmu_leaf_clear(mmu, slot / NVI_MMU_ENTRIES, leaf.index);
            dropped++;
        }
        slot = next;
    }
    return dropped;
}

/* Page by page where that is less work than all leaves there are. */
uint32_t nvi_rmap_drop(struct nvi_mmu *mmu, uint64_t start, uint64_t bytes)
{
    uint64_t last = bytes - 1 > ~start ? ~UINT64_C(0) : start + (bytes - 1);
    uint32_t dropped = 0, level, number;

    if (mmu->head_count == 0 || bytes == 0)
        return 0;
    if ((last - start) >> NVIRT_PAGE_SHIFT > mmu->leaf_count + mmu->head_count) {
        for (number = 0; number < mmu->head_count; number++)
            dropped += drop_list(mmu, number, start, last);
        return dropped;
    }
    for (level = 1; level <= 3; level++) {
        uint64_t size = nvi_mmu_size(level);
        uint64_t l1 = start & ~(size - 1);

        if (mmu->leaves[level - 1] == 0)
            continue;
        for (;; l1 += size) {
            dropped += drop_page(mmu, l1, level);
            if (last - l1 < size)
                break;
        }
    }
    return dropped;
}
