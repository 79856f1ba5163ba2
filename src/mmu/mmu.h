/* SPDX-License-Identifier: MIT */
/*
 * Shadow paging engine: trees of table pages that hardware walks for L2, one tree per root. It
 * knows no vendor: both formats have 512 entries of 8 bytes, an entry is present when any of
 * bits 2:0 is set, bit 7 marks a leaf above level 1, bits 51:12 hold the address. src/ept and
 * src/npt walk L1's tables and hand finished leaf entries to nvi_mmu_install().
 *
 * A tree is a TLB of L1's tables: L1 edits its tables without an exit and invalidates afterwards.
 * Trees are private to one vCPU and to one key (table address, role), so a stale entry cannot
 * leak from one root of L1's into another. All calls for one struct nvi_mmu come from the CPU that
 * has its vCPU; only the VM's page count is shared, and changed atomically.
 *
 * Freed table pages wait in limbo: hardware may hold them in its paging-structure caches until the
 * root they hung under is flushed. The life of a root:
 *
 *   nvi_ept_root() / nvi_npt_root()   find or make it, when L1 enters L2 or switches tables
 *   nvi_mmu_enter()                   last thing before each hardware entry with it: answers what
 *                                     must be flushed (nothing, in the steady state)
 *   nvi_mmu_flushed()                 after that flush was carried out, or recorded so that it will
 *                                     be before any CPU next uses the root
 *   nvi_ept_fault() / nvi_npt_fault() fill it; nvi_mmu_invalidate*() make it stale
 *
 * A pointer to a root is valid until the next call that finds or makes one.
 *
 * Host invalidation: everything in the trees holds under one value of nvirt_port_sequence(). When
 * it has moved, nvi_mmu_enter() and the faults drop all trees. The host, after it made the
 * sequence odd, gets each vCPU out of its guest and has the flushes done at its next prepare; it
 * may reuse the memory when every vCPU has left.
 */
#ifndef NVI_MMU_H
#define NVI_MMU_H

#include <nvirt/port.h>
#include <nvirt/vm.h>

/** Roots a vCPU keeps unless told otherwise. */
#define NVI_MMU_DEFAULT_ROOTS 16u
/** Most roots: a full EPTP list. */
#define NVI_MMU_MAX_ROOTS 512u
/** Most levels of a tree. */
#define NVI_MMU_MAX_LEVELS 5u
/** "On no CPU yet". */
#define NVI_MMU_NO_CPU UINT32_MAX

/** Entry bits that both formats share. */
#define NVI_MMU_PRESENT UINT64_C(7)
#define NVI_MMU_LARGE NVIRT_BIT(7)
#define NVI_MMU_ADDRESS NVIRT_BITS(51, 12)

/** Role: everything besides the table address that changes the meaning of L1's entries. */
#define NVI_ROLE_LEVELS 0x0fu       /**< Levels of L1's tables (of the tree when direct). */
#define NVI_ROLE_NPT NVIRT_BIT(4)   /**< NPT; else EPT. */
#define NVI_ROLE_DIRECT NVIRT_BIT(5) /**< No tables of L1's: L2-physical is L1-physical. */
#define NVI_ROLE_AD NVIRT_BIT(6)    /**< EPT with accessed and dirty flags. */
#define NVI_ROLE_NXE NVIRT_BIT(7)   /**< NPT with EFER.NXE of L1. */
#define NVI_ROLE_PSE NVIRT_BIT(8)   /**< Legacy NPT with CR4.PSE of L1. */

/** Complete identity of a root. */
struct nvi_mmu_key {
    uint64_t table; /**< L1-physical address of L1's top table. Direct roots: any number that tells
                         apart what must not share a tree (0 where nothing must; an L1 without EPT
                         that virtualizes APIC accesses: the APIC-access address | 1). */
    uint64_t pat;   /**< NPT with tables: L1's PAT; else 0. */
    uint64_t role;  /**< NVI_ROLE_*. */
};

/** One root. Members are the engine's; table is for building an EPTP or nCR3. */
struct nvi_mmu_root {
    struct nvi_mmu_key key;
    uint64_t serial;      /**< Number of this key since it got the slot; 0: not numbered yet. */
    nvirt_hpa table;      /**< Top table in hardware's format; kept when the slot gets a new key. */
    nvirt_hpa limbo;      /**< Pages unlinked and not yet flushed; 0 when none. */
    uint64_t link;        /**< Low bits of an entry that points to a table. */
    uint64_t last_use;
    uint32_t cpu;         /**< Where it was last flushed for entry. */
    uint32_t pages;       /**< Table pages linked, the top one included. */
    uint8_t levels;       /**< Of the tree that hardware walks: 4 or 5. */
    bool used;            /**< Stands for key and has its table. */
    bool stale;           /**< Must be emptied before use. */
    bool changed;         /**< New, or entries went or changed, since it was last flushed. */
};

/** The engine's state for one vCPU. */
struct nvi_mmu {
    struct nvirt_vm *vm;
    struct nvirt_stats *stats;
    struct nvi_mmu_root *roots;
    uint32_t capacity;
    bool starved;         /**< Reclaimed pages sit in limbo: flush all to get them. */
    bool self_emptied;    /**< A fault emptied its own root for room and none succeeded since. */
    uint64_t clock;
    uint64_t serials;     /**< Numbers of roots given out. */
    uint64_t sequence;    /**< Of the port, under which everything in the trees holds. */
};

/** What a second-stage fault of L2 came to. */
enum nvi_fault {
    NVI_FAULT_INSTALLED = 0,     /**< Entry in place: nvi_mmu_enter() and run L2 again. */
    NVI_FAULT_RETRY,             /**< Nothing installed, something moved: nvi_mmu_enter() and
                                      run L2 again; it will fault again. */
    NVI_FAULT_REFLECT,           /**< L1's: EPT violation with qualification, or nested page fault
                                      with error code. */
    NVI_FAULT_REFLECT_MISCONFIG, /**< L1's: EPT misconfiguration. */
    NVI_FAULT_HOST,              /**< The host's: nothing at l1gpa, or not with these rights. */
    NVI_FAULT_NO_PAGE            /**< Neither budget nor port has a page, with all trees of this
                                      vCPU empty: the host's NVIRT_ERR_NO_PAGE. */
};

/** What must be flushed before hardware enters with a root. */
enum nvi_mmu_flush {
    NVI_MMU_FLUSH_NONE = 0,
    NVI_MMU_FLUSH_ROOT, /**< INVEPT single-context of its EPTP; SVM: every ASID that ran with it. */
    NVI_MMU_FLUSH_ALL   /**< INVEPT all-context; SVM: every ASID of this vCPU's L2s. */
};

/**
 * Sets up the engine with no roots.
 * @param roots @p capacity of them, the caller's memory, to live as long as @p mmu.
 * @param stats counters to keep: root_hits, root_misses, shadow_pages, shadow_reclaimed,
 *        shadow_faults, shadow_reflected.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (capacity 0 or above NVI_MMU_MAX_ROOTS).
 */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_init(struct nvi_mmu *mmu, struct nvirt_vm *vm,
                                               struct nvirt_stats *stats,
                                               struct nvi_mmu_root *roots, uint32_t capacity);

/**
 * Gives all pages back. The caller has made sure that no CPU can use a root's tag again before it
 * is flushed (a new root is always flushed before its first use on a CPU).
 */
void nvi_mmu_destroy(struct nvi_mmu *mmu);

/**
 * Finds the root for @p key, or makes one: in an empty slot, else in place of the least recently
 * used. The top table starts empty.
 * @param levels 4 or 5, of the tree; @param link low bits of table entries in the tree's format.
 * @return NVIRT_OK with *root; NVIRT_ERR_NO_PAGE when there is neither a page nor a root to take.
 */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_root_get(struct nvi_mmu *mmu,
                                                   const struct nvi_mmu_key *key, uint8_t levels,
                                                   uint64_t link, struct nvi_mmu_root **root);

/**
 * A number that no other key ever had: the serial of the root that stands for @p key, or a new one
 * for the root that is to be made for it (the caller stores it there). A key whose root was
 * recycled gets another number when it comes back, so what ran under the old one can be told.
 */
NVIRT_NODISCARD uint64_t nvi_mmu_serial(struct nvi_mmu *mmu, const struct nvi_mmu_key *key);

/** L1 invalidated what it has at @p table (bits 51:12), in any role (INVEPT single-context). */
void nvi_mmu_invalidate(struct nvi_mmu *mmu, uint64_t table);

/** L1 invalidated everything (INVEPT all-context, TLB_CONTROL 1). Direct roots have no L1 tables
 *  behind them and stay. */
void nvi_mmu_invalidate_all(struct nvi_mmu *mmu);

/** Makes every root stale, direct ones too: the host changed L1's memory without the sequence, the
 *  vCPU was reset, or L1's APIC-access page changed. */
void nvi_mmu_drop_all(struct nvi_mmu *mmu);

/**
 * Makes @p root fit to run: drops what the host or L1 invalidated. To be called before every
 * hardware entry, with interrupts off from here to the entry.
 * @param cpu number of the CPU that enters.
 * @return what must be flushed on this CPU before the entry.
 */
NVIRT_NODISCARD enum nvi_mmu_flush nvi_mmu_enter(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                                 uint32_t cpu);

/** Tells that the flush nvi_mmu_enter() asked for was carried out, or recorded as due before any
 *  further use: pages in limbo go back to the port. */
void nvi_mmu_flushed(struct nvi_mmu *mmu, struct nvi_mmu_root *root, uint32_t cpu,
                     enum nvi_mmu_flush flush);

/* ---- for the formats ---- */

/** A finished leaf. */
struct nvi_mmu_leaf {
    uint64_t entry;    /**< All bits, NVI_MMU_LARGE where the level needs it. */
    uint32_t level;    /**< 1: 4 KiB, 2: 2 MiB, 3: 1 GiB. */
    uint64_t sequence; /**< Of the translation it was made from. */
    uint64_t grants;   /**< Bits that, when set, only allow more: such a change needs no flush. */
    uint64_t denies;   /**< Bits that, when cleared, only allow more. */
};

/** True when @p mmu's trees hold under the port's present sequence; else all are stale now. */
bool nvi_mmu_current(struct nvi_mmu *mmu);

/**
 * Puts @p leaf in place for @p l2gpa, if the port's sequence is still the leaf's. A present entry
 * in the way is exchanged whole: a bigger leaf for a table, a table for a leaf (its pages go to
 * limbo). When room is short, other roots are emptied first, least recently used first, then
 * this one.
 * @return NVI_FAULT_INSTALLED, NVI_FAULT_RETRY or NVI_FAULT_NO_PAGE.
 */
NVIRT_NODISCARD enum nvi_fault nvi_mmu_install(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                               nvirt_l2gpa l2gpa, const struct nvi_mmu_leaf *leaf);

/**
 * Asks the port for @p l1gpa and picks the leaf size: the smaller of @p size (of L1's leaf) and the
 * host's block, at most @p max_level.
 * @param access NVIRT_ACCESS_*, what L2 attempts.
 * @return NVI_FAULT_INSTALLED with *out and *level; NVI_FAULT_RETRY; NVI_FAULT_HOST.
 *         out->hpa is then the base of the leaf.
 */
NVIRT_NODISCARD enum nvi_fault nvi_mmu_translate(struct nvi_mmu *mmu, nvirt_l1gpa l1gpa,
                                                 uint64_t size, uint32_t max_level, uint32_t access,
                                                 struct nvirt_translation *out, uint32_t *level);

/**
 * Memory type of a leaf that L1 gave type @p l1 (enum nvirt_memory_type) and the host @p host:
 * write-back gives way to the other, equals stay, uncached wins, everything else is uncached. This
 * is the rule for overlapping MTRRs, made total [SDM 3A "MTRR Precedences"].
 */
uint8_t nvi_mmu_memory_type(uint8_t l1, uint8_t host);

/** Entry of the tree that translates @p l2gpa, and its level; 0 when none. For tests and traces. */
uint64_t nvi_mmu_lookup(struct nvi_mmu *mmu, const struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                        uint32_t *level);

#endif
