/* SPDX-License-Identifier: MIT */
/*
 * The audit of an engine; mmu_audit.h says what holds.
 */
#include "mmu_audit.h"

#include "mmu/mmu_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IDS 32768u
#define ADDRESS UINT64_C(0x000ffffffffff000)

static bool seen_id[MAX_IDS];

static void require(bool holds, const char *what, uint64_t value)
{
    if (!holds) {
        fprintf(stderr, "mmu audit: %s (0x%llx)\n", what, (unsigned long long)value);
        abort();
    }
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return (entry & NVI_MMU_PRESENT) != 0 && (level == 1 || (entry & 0x80) != 0);
}

static void visit(struct nvi_mmu *mmu, nvi_mmu_id id, bool reached, struct mmu_audit *found)
{
    struct nvi_shadow *shadow = nvi_shadow_at(mmu, id);
    const struct nvi_mmu_root *root = &mmu->roots[shadow->root - 1];
    const uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, shadow->table);
    const uint64_t *links = nvirt_port_page_pointer(mmu->vm->port, shadow->links);

    require(!seen_id[id], "a shadow table twice", id);
    seen_id[id] = true;
    require(shadow->kind != NVI_SHADOW_FREE, "a free shadow table in use", id);
    require(!reached || shadow->generation == root->generation, "hardware reaches an old table", id);
    found->linked += reached;
    found->pages += shadow->seen.value != 0 ? 3 : 2;
    for (unsigned i = 0; i < 512; i++) {
        uint32_t child;

        if (is_leaf(table[i], shadow->level)) {
            require(shadow->level <= 3, "a leaf in a table too high", id);
            found->leaves++;
            continue;
        }
        require((table[i] & NVI_MMU_PRESENT) != 0 || table[i] == 0, "an absent entry that holds something", i);
        child = (uint32_t)(links[i] >> 48);
        require((table[i] & NVI_MMU_PRESENT) == 0 || child != 0, "a link to nothing known", i);
        if (child == 0) {
            require(links[i] == 0, "the reverse map has an entry that is no leaf", i);
            continue;
        }
        require(nvi_shadow_at(mmu, child)->parent == id * 512 + i, "a child of another", child);
        require(nvi_shadow_at(mmu, child)->root == shadow->root, "a child of another root", child);
        require(nvi_shadow_at(mmu, child)->level + 1 == shadow->level, "a child of a level", child);
        require((table[i] & NVI_MMU_PRESENT) == 0 ||
                    (table[i] & ADDRESS) == nvi_shadow_at(mmu, child)->table.value,
                "a link that leads elsewhere", child);
        found->tables++;
        visit(mmu, child, reached && (table[i] & NVI_MMU_PRESENT) != 0, found);
    }
}

static void check_order(struct nvi_mmu *mmu, uint32_t expected)
{
    uint32_t id = mmu->oldest_shadow, count = 0, before = 0;

    for (; id != 0; id = nvi_shadow_at(mmu, id)->newer) {
        require(++count <= expected, "the order of use has too many", id);
        require(seen_id[id], "the order of use has a table out of the tree", id);
        require(nvi_shadow_at(mmu, id)->older == before, "the order of use is broken", id);
        before = id;
    }
    require(count == expected && mmu->newest_shadow == before, "the order of use lacks some", count);
}

static void check_rmap(struct nvi_mmu *mmu, const struct mmu_audit *found)
{
    const uint64_t *pages;
    uint32_t count = 0;

    require(mmu->leaf_count == found->leaves, "leaves miscounted", mmu->leaf_count);
    require(mmu->leaves[0] + mmu->leaves[1] + mmu->leaves[2] == found->leaves, "leaves by level", 0);
    if (mmu->head_count == 0)
        return;
    pages = nvirt_port_page_pointer(mmu->vm->port, mmu->heads);
    for (uint32_t h = 0; h < mmu->head_count; h++) {
        const uint32_t *heads =
            nvirt_port_page_pointer(mmu->vm->port, nvirt_hpa_make(pages[h / 1024]));
        uint32_t before = 0;

        for (uint32_t slot = heads[h % 1024]; slot != 0;) {
            struct nvi_shadow *shadow = nvi_shadow_at(mmu, slot / 512);
            const uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, shadow->table);
            const uint64_t *links = nvirt_port_page_pointer(mmu->vm->port, shadow->links);

            require(shadow->kind != NVI_SHADOW_FREE && seen_id[slot / 512],
                    "the reverse map leads to a table that is gone", slot);
            require(is_leaf(table[slot % 512], shadow->level), "a mapped entry that is no leaf", slot);
            require((links[slot % 512] >> 24 & 0xffffff) == before, "a list is broken", slot);
            require(++count <= found->leaves, "the reverse map has a circle", slot);
            before = slot;
            slot = (uint32_t)(links[slot % 512] & 0xffffff);
        }
    }
    require(count == found->leaves, "leaves that the reverse map has not", count);
}

static uint32_t count_limbo(struct nvi_mmu *mmu, const struct nvi_mmu_root *root)
{
    uint64_t page = root->limbo.value;
    uint32_t count = 0;

    while (page != 0) {
        const uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, nvirt_hpa_make(page));
        uint64_t next = 0;

        for (unsigned i = 0; i < 512; i++) {
            require((table[i] & ((UINT64_C(1) << 52) - 1)) == 0, "limbo shows an address", page);
            if (i < 4)
                next |= (table[i] >> 52) << (12 * i);
        }
        page = next << 12;
        count++;
    }
    return count;
}

static uint32_t count_subpages(struct nvi_mmu *mmu, nvirt_hpa page, unsigned level)
{
    const uint64_t *table = nvirt_port_page_pointer(mmu->vm->port, page);
    uint32_t count = 0;

    for (unsigned i = 0; i < 512; i++) {
        if (level == 1) {
            require((table[i] & UINT64_C(0xaaaaaaaaaaaaaaaa)) == 0 || table[i] == 2, "a vector",
                    table[i]);
        } else if (table[i] != 0) {
            require((table[i] & ~ADDRESS) == 1, "a link to vectors", table[i]);
            count += 1 + count_subpages(mmu, nvirt_hpa_make(table[i] & ADDRESS), level - 1);
        }
    }
    return count;
}

static void check_subpages(struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                           struct mmu_audit *found)
{
    uint32_t below = 0;

    require((root->subpages.value != 0) ==
                (root->used && (root->key.role & NVI_ROLE_SUBPAGES) != 0),
            "sub-page permissions where none are", root->key.role);
    if (root->subpages.value != 0) {
        below = count_subpages(mmu, root->subpages, 4);
        found->pages += 1 + below;
    }
    require(root->subpage_tables == below, "tables of vectors miscounted", below);
}

void mmu_audit(struct nvi_mmu *mmu, struct mmu_audit *found)
{
    uint32_t ordered;

    memset(found, 0, sizeof *found);
    memset(seen_id, 0, sizeof seen_id);
    for (uint32_t i = 0; i < mmu->capacity; i++) {
        const struct nvi_mmu_root *root = &mmu->roots[i];

        found->limbo += count_limbo(mmu, root);
        check_subpages(mmu, root, found);
        if (!root->used)
            continue;
        require(nvi_shadow_at(mmu, root->top)->table.value == root->table.value, "a top table", i);
        /* A root that is stale is not run, whatever it holds. */
        visit(mmu, root->top, !nvi_mmu_root_is_stale(mmu, root), found);
    }
    ordered = found->tables;
    for (uint32_t id = mmu->orphan; id != 0; id = nvi_shadow_at(mmu, id)->newer) {
        uint32_t below = found->tables;

        visit(mmu, id, false, found);
        found->orphans += 1 + found->tables - below;
        ordered += found->tables - below;
        found->tables = below;
    }
    check_order(mmu, ordered);
    check_rmap(mmu, found);
    found->pages += found->limbo + mmu->slab_count + (mmu->slabs.value != 0) +
                    (mmu->heads.value != 0) + (mmu->head_count + 1023) / 1024;
    require(mmu->stats->shadow_pages == found->pages, "pages miscounted", found->pages);
}
