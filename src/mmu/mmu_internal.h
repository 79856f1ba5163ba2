/* SPDX-License-Identifier: MIT */
/*
 * What the files of the shadow paging engine share: pages, limbo and the lock (pages.c), shadow
 * tables (shadow.c), the reverse map (rmap.c), trees (tree.c), roots (roots.c), tables of sub-page
 * permissions (subpage.c).
 *
 * Everything here is called with the engine's lock held, unless it says otherwise.
 */
#ifndef NVI_MMU_INTERNAL_H
#define NVI_MMU_INTERNAL_H

#include "mmu/mmu.h"

#define NVI_MMU_ENTRIES 512u

/* ---- pages.c ---- */

/** Only the CPU of the vCPU and a host that changes memory meet here, and neither keeps it long. */
void nvi_mmu_lock(struct nvi_mmu *mmu);
void nvi_mmu_unlock(struct nvi_mmu *mmu);

/* Hardware walks live tables and sets A/D in them, so entries are loaded and stored whole. */
static inline uint64_t nvi_mmu_entry_load(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

void nvi_mmu_entry_store(uint64_t *slot, uint64_t entry);

/** A zeroed page within the VM's budget. @return NVIRT_OK or NVIRT_ERR_NO_PAGE. */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_page_alloc(struct nvi_mmu *mmu, nvirt_hpa *page);

/** Gives a page back to port and budget. */
void nvi_mmu_page_free(struct nvi_mmu *mmu, nvirt_hpa page);

/** The 512 words of a page. */
uint64_t *nvi_mmu_table(const struct nvi_mmu *mmu, nvirt_hpa page);

/** Puts an unlinked page aside until @p root is flushed. Its contents are lost. */
void nvi_mmu_limbo_push(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_hpa page);

/** Frees what @p root has in limbo. */
void nvi_mmu_limbo_free(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Has the next nvi_mmu_enter() see to @p what (NVI_MMU_STARVED, NVI_MMU_DROPPED). */
void nvi_mmu_attend(struct nvi_mmu *mmu, uint32_t what);

/** Notes that entries of @p root went or changed: it owes a flush. */
void nvi_mmu_changed(struct nvi_mmu_root *root);

/* ---- shadow.c: shadow tables ---- */

/** Number of a shadow table; 0 is none. */
typedef uint32_t nvi_mmu_id;

/** A shadow table. kind, level, guest, via and root are its identity: nvi_shadow_child() finds it
 *  by all of them or not at all. */
struct nvi_shadow {
    nvirt_hpa table;     /**< What hardware walks. */
    nvirt_hpa links;     /**< A word per entry: child of a link, neighbours of a leaf in the reverse
                              map. */
    nvirt_hpa seen;      /**< A word per entry: L1's, that a leaf was made from. 0: none yet. */
    uint64_t guest;      /**< L1-physical address, by kind. */
    uint64_t via;        /**< L1's entry that led here; 0 where there is none. Of a top table the one
                              above, where L1's tables are a level higher. */
    uint64_t generation; /**< Of the root, when this was last compared with L1's tables. */
    uint32_t epoch;      /**< Orphans: flushes of the root when it was unlinked. */
    uint32_t parent;     /**< Slot of the link that leads here: id * 512 + index. */
    uint16_t newer;      /**< In the order of last use; of orphans and free ones the next. */
    uint16_t older;
    nvi_mmu_slot root;   /**< Which it belongs to. */
    uint8_t level : 7;
    uint8_t words_of_4 : 1; /**< Of its root's shape, which orphans outlive. */
    uint8_t kind;        /**< enum nvi_shadow_kind. */
};

/** What a shadow table has to be to be used at some place. */
struct nvi_shadow_want {
    uint64_t guest;
    uint64_t via;
    uint8_t level;
    uint8_t kind;
};

struct nvi_shadow *nvi_shadow_at(const struct nvi_mmu *mmu, nvi_mmu_id id);

/** A new table with no entries, in no list. @return its number; 0: no page. */
nvi_mmu_id nvi_shadow_new(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                          const struct nvi_shadow_want *want);

/** Makes room to note L1's entries in @p shadow. @return false when there is no page. */
bool nvi_shadow_need_seen(struct nvi_mmu *mmu, struct nvi_shadow *shadow);

/** Child below entry @p index, hardware linked to it or not; 0: none. The entry is no leaf. */
nvi_mmu_id nvi_shadow_child(const struct nvi_mmu *mmu, const struct nvi_shadow *shadow,
                            uint32_t index);

/** Puts @p child below entry @p index; hardware's entry is the caller's. */
void nvi_shadow_adopt(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index, nvi_mmu_id child);

/** Takes the child below entry @p index, if any, out of the tree, with all below it; hardware's
 *  entry is the caller's. Costs the same whatever hangs there: nvi_shadow_reap() does the work. */
void nvi_shadow_orphan(struct nvi_mmu *mmu, struct nvi_shadow *shadow, uint32_t index);

/** Makes @p id the one used last. */
void nvi_shadow_touch(struct nvi_mmu *mmu, nvi_mmu_id id);

/** Dissolves one orphan. Its children are the next ones. @return false when there is none. */
bool nvi_shadow_reap(struct nvi_mmu *mmu);

/** Gives back a top table that has neither children nor leaves. */
void nvi_shadow_free_top(struct nvi_mmu *mmu, nvi_mmu_id id);

/** Gives back the memory in which shadow tables were kept: there are none any more. */
void nvi_shadow_end(struct nvi_mmu *mmu);

/* ---- rmap.c: from L1 frames to the leaves that map them ---- */

/** Bytes that an entry of @p level maps. */
static inline uint64_t nvi_mmu_size(uint32_t level)
{
    return UINT64_C(1) << (NVIRT_PAGE_SHIFT + 9 * (level - 1));
}

/** Memory for the first leaf. @return false when there is no page. */
bool nvi_rmap_ready(struct nvi_mmu *mmu);

/** Adds the leaf at entry @p index of @p id: what it maps follows from what the table notes of it,
 *  and so does what nvi_rmap_remove() takes out. */
void nvi_rmap_add(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index);
void nvi_rmap_remove(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index);

/** L1-physical address of the first byte that the leaf maps. */
uint64_t nvi_rmap_l1(const struct nvi_mmu *mmu, const struct nvi_shadow *shadow, uint32_t index);

/** Clears every leaf on [@p start, @p start + @p bytes). @return how many. */
uint32_t nvi_rmap_drop(struct nvi_mmu *mmu, uint64_t start, uint64_t bytes);

/** Gives back the memory of the reverse map, which has no leaves any more. */
void nvi_rmap_end(struct nvi_mmu *mmu);

/* ---- tree.c ---- */

static inline bool nvi_mmu_is_present(uint64_t entry)
{
    return (entry & NVI_MMU_PRESENT) != 0;
}

/* In a 4-KiB leaf bit 7 has another meaning, so the level decides first. */
static inline bool nvi_mmu_is_leaf(uint64_t entry, uint32_t level)
{
    return nvi_mmu_is_present(entry) && (level == 1 || (entry & NVI_MMU_LARGE) != 0);
}

/** Clears a leaf, in hardware's table and in the reverse map. */
void nvi_mmu_leaf_clear(struct nvi_mmu *mmu, nvi_mmu_id id, uint32_t index);

/** Takes everything out of @p root's tree but the top table. */
void nvi_mmu_tree_empty(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Makes a stale root fit for use: what L1 invalidated can be reached by hardware no more. */
void nvi_mmu_tree_make_good(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Gets at least one page back, or into limbo, from anywhere but the way to @p l2gpa in @p root; with
 *  @p root null no root is given up. @return false when there is nothing to take. */
bool nvi_mmu_make_room(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa);

/** After nvi_mmu_make_room() had nothing left: pages in limbo, if any, are made free by the flush
 *  before the next entry. */
enum nvi_fault nvi_mmu_without_room(struct nvi_mmu *mmu);

/* ---- subpage.c ---- */

/** A table without vectors, in *page. @return false when there is no page. */
bool nvi_subpage_begin(struct nvi_mmu *mmu, nvirt_hpa *page);

/** Takes all vectors of @p root away. @return false when it had none. */
bool nvi_subpage_cut(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Takes the table away, too. */
void nvi_subpage_end(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/* ---- roots.c ---- */

/** Gives up a root that is not in use and has an empty tree, its top table too. */
void nvi_mmu_root_release(struct nvi_mmu *mmu, struct nvi_mmu_root *root);

/** Ends what nvi_mmu_attach() began, if it did. Takes the VM's lock, so without the engine's. */
void nvi_mmu_detach(struct nvi_mmu *mmu);

/** Least recently used root with an empty tree, other than @p except; null when none. */
struct nvi_mmu_root *nvi_mmu_root_idle(struct nvi_mmu *mmu, const struct nvi_mmu_root *except);

#endif
