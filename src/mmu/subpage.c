/* SPDX-License-Identifier: MIT */
/*
 * Tables of sub-page write permissions (SPPT): beside the tree of a root whose role has them, a second
 * one that hardware walks, by the same L2-physical addresses, when L2 writes to a page whose leaf says
 * so. Four levels; the lowest has a vector of permissions for each page, and no bit that marks a vector
 * as absent: all clear is a vector that allows nothing. So a table of vectors is put in whole.
 *
 * It is a TLB of L1's SPPT, as the tree is one of L1's EPT, and goes whenever the root is made good.
 * It is small, and its pages are all alike to those who look for room: where it would become bigger,
 * or room is short, all of it but its top goes, and comes back by what L2 does next.
 *
 * Only the vCPU's own CPU changes it, never while L2 runs: a host's change of memory takes leaves, and
 * without one hardware asks for no vector. So each change is felt by hardware with the flush that
 * follows it, before the next entry, and so are pages in limbo.
 *
 * [SDM 3C "Sub-Page Write Permissions"]
 */
#include "mmu/mmu_internal.h"

#define TOP_LEVEL 4u
#define ENTRY_VALID NVIRT_BIT(0)

/* Most pages below the top: what L1's invalidation costs is bounded by it. The vectors of 240 MiB. */
#define MAX_TABLES 128u

static uint64_t *entry_in(const struct nvi_mmu *mmu, nvirt_hpa table, nvirt_l2gpa l2gpa,
                          uint32_t level)
{
    uint64_t index = l2gpa.value >> (NVIRT_PAGE_SHIFT + 9 * (level - 1)) & (NVI_MMU_ENTRIES - 1);

    return &nvi_mmu_table(mmu, table)[index];
}

/* The entry of level 2 that leads, or may lead, to the vectors for the address; null when a table
 * above it is missing. */
static uint64_t *last_link(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                           nvirt_l2gpa l2gpa)
{
    nvirt_hpa table = root->subpages;
    uint64_t *entry = NULL;

    for (uint32_t level = TOP_LEVEL; level >= 2; level--) {
        if (table.value == 0)
            return NULL;
        entry = entry_in(mmu, table, l2gpa, level);
        table = nvirt_hpa_make(nvi_mmu_entry_load(entry) & NVI_MMU_ADDRESS);
    }
    return entry;
}

static uint64_t *vector_at(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                           nvirt_l2gpa l2gpa)
{
    const uint64_t *link = last_link(mmu, root, l2gpa);
    uint64_t entry = link != NULL ? nvi_mmu_entry_load(link) : 0;

    return entry == 0 ? NULL
                      : entry_in(mmu, nvirt_hpa_make(entry & NVI_MMU_ADDRESS), l2gpa, 1);
}

const uint64_t *nvi_mmu_subpage_vector(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                                       nvirt_l2gpa l2gpa)
{
    return vector_at(mmu, root, l2gpa);
}

/* ---- what goes ---- */

/* Empties a table of links. What hung there waits for the flush of the root. */
static void cut_below(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa table,
                      uint32_t level)
{
    uint64_t *entries = nvi_mmu_table(mmu, table);

    for (uint32_t i = 0; i < NVI_MMU_ENTRIES; i++) {
        nvirt_hpa below = nvirt_hpa_make(nvi_mmu_entry_load(&entries[i]) & NVI_MMU_ADDRESS);

        if (below.value == 0)
            continue;
        nvi_mmu_entry_store(&entries[i], 0);
        if (level > 2)
            cut_below(mmu, root, below, level - 1);
        nvi_mmu_limbo_push(mmu, root, below);
        root->subpage_tables--;
    }
}

bool nvi_subpage_cut(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    if (root->subpage_tables == 0)
        return false;
    cut_below(mmu, root, root->subpages, TOP_LEVEL);
    nvi_mmu_changed(root);
    return true;
}

void nvi_subpage_end(struct nvi_mmu *mmu, struct nvi_mmu_root *root)
{
    (void)nvi_subpage_cut(mmu, root);
    if (root->subpages.value != 0)
        nvi_mmu_limbo_push(mmu, root, root->subpages);
    root->subpages = nvirt_hpa_make(0);
}

void nvi_mmu_subpage_forget(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa)
{
    uint64_t *link;
    uint64_t entry;

    nvi_mmu_lock(mmu);
    link = last_link(mmu, root, l2gpa);
    entry = link != NULL ? nvi_mmu_entry_load(link) : 0;
    if (entry != 0) {
        nvi_mmu_entry_store(link, 0);
        nvi_mmu_limbo_push(mmu, root, nvirt_hpa_make(entry & NVI_MMU_ADDRESS));
        root->subpage_tables--;
        nvi_mmu_changed(root);
    }
    nvi_mmu_unlock(mmu);
}

/* ---- what comes ---- */

/* A page, with the lock held. */
static enum nvi_fault take_page(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                                nvirt_hpa *page)
{
    while (nvi_mmu_page_alloc(mmu, page) != NVIRT_OK) {
        if (!nvi_mmu_make_room(mmu, root, l2gpa))
            return nvi_mmu_without_room(mmu);
    }
    return NVI_FAULT_INSTALLED;
}

bool nvi_subpage_begin(struct nvi_mmu *mmu, nvirt_hpa *page)
{
    return take_page(mmu, NULL, nvirt_l2gpa_make(0), page) == NVI_FAULT_INSTALLED;
}

uint64_t *nvi_mmu_subpage_table(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                                nvirt_hpa *page, enum nvi_fault *fault)
{
    nvi_mmu_lock(mmu);
    *fault = take_page(mmu, root, l2gpa, page);
    nvi_mmu_unlock(mmu);
    return *fault == NVI_FAULT_INSTALLED ? nvi_mmu_table(mmu, *page) : NULL;
}

/* Links tables on the way down to level 2. Making room may take those that were there already. */
static enum nvi_fault link_path(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                                uint64_t **link)
{
    nvirt_hpa table = root->subpages;

    for (uint32_t level = TOP_LEVEL; level > 2; level--) {
        uint64_t *entry = entry_in(mmu, table, l2gpa, level);
        uint32_t before = root->subpage_tables;
        enum nvi_fault fault;

        table = nvirt_hpa_make(nvi_mmu_entry_load(entry) & NVI_MMU_ADDRESS);
        if (table.value != 0)
            continue;
        fault = take_page(mmu, root, l2gpa, &table);
        if (fault != NVI_FAULT_INSTALLED)
            return fault;
        if (root->subpage_tables != before) {
            nvi_mmu_page_free(mmu, table);
            return NVI_FAULT_RETRY;
        }
        nvi_mmu_entry_store(entry, table.value | ENTRY_VALID);
        root->subpage_tables++;
    }
    *link = entry_in(mmu, table, l2gpa, 2);
    return NVI_FAULT_INSTALLED;
}

enum nvi_fault nvi_mmu_subpage_link(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                    nvirt_l2gpa l2gpa, nvirt_hpa page)
{
    uint64_t *link = NULL;
    enum nvi_fault fault;

    nvi_mmu_lock(mmu);
    if (root->subpage_tables + TOP_LEVEL > MAX_TABLES)
        (void)nvi_subpage_cut(mmu, root);
    fault = link_path(mmu, root, l2gpa, &link);
    if (fault == NVI_FAULT_INSTALLED) {
        nvi_mmu_entry_store(link, page.value | ENTRY_VALID);
        root->subpage_tables++;
        mmu->stats->shadow_faults++;
        fault = NVI_FAULT_RETRY;
    } else {
        nvi_mmu_page_free(mmu, page);
    }
    nvi_mmu_unlock(mmu);
    return fault;
}

void nvi_mmu_subpage_change(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                            uint64_t vector)
{
    uint64_t *slot;

    nvi_mmu_lock(mmu);
    slot = vector_at(mmu, root, l2gpa);
    if (slot != NULL) {
        nvi_mmu_entry_store(slot, vector);
        nvi_mmu_changed(root);
    }
    nvi_mmu_unlock(mmu);
}
