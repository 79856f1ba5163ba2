/* SPDX-License-Identifier: MIT */
/*
 * What the files of the shadow paging engine share: pages and the limbo list (pages.c), trees
 * (tree.c), roots (roots.c).
 */
#ifndef NVI_MMU_INTERNAL_H
#define NVI_MMU_INTERNAL_H

#include "mmu/mmu.h"

#define NVI_MMU_ENTRIES 512u

/* Hardware walks live tables and sets A/D in them, so entries are loaded and stored whole. */
uint64_t nvi_mmu_entry_load(const uint64_t *slot);
void nvi_mmu_entry_store(uint64_t *slot, uint64_t entry);

/** A zeroed table page within the VM's budget. @return NVIRT_OK or NVIRT_ERR_NO_PAGE. */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_page_alloc(struct nvi_mmu *mmu, nvirt_hpa *page);

/** Gives a page back to port and budget. */
void nvi_mmu_page_free(struct nvi_mmu *mmu, nvirt_hpa page);

/** The 512 entries of a table page. */
uint64_t *nvi_mmu_table(struct nvi_mmu *mmu, nvirt_hpa page);

/** Puts an unlinked page aside until @p root is flushed. Its contents are lost. */
void nvi_mmu_limbo_push(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa page);

/** Frees what @p root has in limbo. */
void nvi_mmu_limbo_free(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Unlinks everything under the top table of @p root; clears stale, sets changed. */
void nvi_mmu_tree_empty(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Gives up a root that is not in use, its top table too: into limbo until everything is flushed. */
void nvi_mmu_root_release(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Least recently used root, stale ones first, other than @p except (may be null);
 *  null when none. With @p filled only roots that hold more than the top table count. */
struct nvi_mmu_root *nvi_mmu_root_oldest(struct nvi_mmu *mmu, const struct nvi_mmu_root *except,
                                         bool filled);

#endif
