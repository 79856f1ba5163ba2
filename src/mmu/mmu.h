/* SPDX-License-Identifier: MIT */
/*
 * Shadow paging engine: trees of table pages that hardware walks for L2, one tree per root. It
 * knows no vendor: both formats have 512 entries of 8 bytes, an entry is present when any of
 * bits 2:0 or bit 10 is set, bit 7 marks a leaf above level 1, bits 51:12 hold the address. src/ept and
 * src/npt walk L1's tables and hand finished leaf entries to nvi_mmu_install().
 *
 * A tree is a TLB of L1's tables: L1 edits its tables without an exit and invalidates afterwards.
 * Trees are private to one vCPU and to one key (table address, role), so a stale entry cannot
 * leak from one root of L1's into another, and vCPUs that fault at once never wait for each other.
 * All calls for one struct nvi_mmu come from the CPU that has its vCPU, but for a change of L1's
 * memory by the host (nvirt_vm_change_begin()), which may come from any: the engine's lock orders
 * it against faults. The VM's page count is shared, and changed atomically.
 *
 * L1's invalidation of a root cuts the links of the top table, before the root's next use, and
 * makes all other tables old. A table that is old is compared with L1's before it is linked again:
 * what did not change stays. So a fault pays for the tables it touches, not for what was mapped.
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
 * The host's changes: nvirt_vm_change_begin() names the L1 memory, and the leaves on it go, found
 * by the reverse map. A change without it, that shows in nvirt_port_sequence(), drops all trees at
 * the next nvi_mmu_enter() or fault.
 */
#ifndef NVI_MMU_H
#define NVI_MMU_H

#include <nvirt/port.h>
#include <nvirt/vm.h>

/** struct nvirt_vm::magic of an initialised VM. */
#define NVI_VM_MAGIC 0x6d76766eu
/** Roots a vCPU keeps unless told otherwise. */
#define NVI_MMU_DEFAULT_ROOTS NVIRT_DEFAULT_ROOTS
/** Most roots: a full EPTP list. */
#define NVI_MMU_MAX_ROOTS NVIRT_MAX_ROOTS
/** Most levels of a tree. */
#define NVI_MMU_MAX_LEVELS 5u
/** "On no CPU yet". */
#define NVI_MMU_NO_CPU UINT32_MAX

/** Entry bits that both formats share. Bit 10, which an EPT entry for user-mode fetches alone has by
 *  itself, is in no other entry that is made here. */
#define NVI_MMU_PRESENT (UINT64_C(7) | NVIRT_BIT(10))
#define NVI_MMU_LARGE NVIRT_BIT(7)
#define NVI_MMU_ADDRESS NVIRT_BITS(51, 12)

/** Role: everything besides the table address that changes the meaning of L1's entries. */
#define NVI_ROLE_LEVELS 0x0fu       /**< Levels of L1's tables (of the tree when direct). */
#define NVI_ROLE_NPT NVIRT_BIT(4)   /**< NPT; else EPT. */
#define NVI_ROLE_DIRECT NVIRT_BIT(5) /**< No tables of L1's: L2-physical is L1-physical. */
#define NVI_ROLE_AD NVIRT_BIT(6)    /**< EPT with accessed and dirty flags. */
#define NVI_ROLE_NXE NVIRT_BIT(7)   /**< NPT with EFER.NXE of L1. */
#define NVI_ROLE_PSE NVIRT_BIT(8)   /**< Legacy NPT with CR4.PSE of L1. */

#define NVI_ROLE_MODE_EXECUTE NVIRT_BIT(9) /**< EPT with mode-based execute control. */
#define NVI_ROLE_SUBPAGES NVIRT_BIT(10) /**< EPT with sub-page write permissions: bits 51:12 of the
                                             role are the address of L1's table of them (SPPT). */

/** Complete identity of a root. */
struct nvi_mmu_key {
    uint64_t table; /**< L1-physical address of L1's top table. Direct roots: any number that tells
                         apart what must not share a tree (0 where nothing must; an L1 without EPT
                         that virtualizes APIC accesses: the APIC-access address | 1). */
    uint64_t pat;   /**< NPT with tables: L1's PAT. EPT with tables, of an L1 that virtualizes APIC
                         accesses: the APIC-access address | 1. Else 0. */
    uint64_t role;  /**< NVI_ROLE_*. */
};

/** Number of a root: its place in the array plus one; 0 is none. */
typedef uint16_t nvi_mmu_slot;

/** A root's places in the cache: in two hash chains. */
struct nvi_mmu_place {
    nvi_mmu_slot same_key;   /**< Next in the chain of its key's hash; next free one when unused. */
    nvi_mmu_slot same_table; /**< Next in the chain of its table's hash. */
};

/** Chains of either hash: as many as there may be roots. */
#define NVI_MMU_ROOT_CHAINS NVI_MMU_MAX_ROOTS

/** What the entries of a shadow table were made from. */
enum nvi_shadow_kind {
    NVI_SHADOW_FREE = 0,
    NVI_SHADOW_TABLE, /**< Entries of a table of L1's: guest is where its first one lies. */
    NVI_SHADOW_SPLIT, /**< One page of L1's, or L1's memory as it is: guest is its first byte. */
    NVI_SHADOW_PLAIN  /**< A level that L1's tables have not: links only. */
};

/** The form of a tree and of L1's tables behind it: all that the engine has to know of a format. */
struct nvi_mmu_shape {
    uint64_t link;   /**< Low bits of an entry that points to a table. */
    uint64_t soft;   /**< Accessed and dirty bits of L1's entries: set, they change nothing. */
    uint8_t levels;  /**< Of the tree that hardware walks: 4 or 5. */
    uint8_t kind;    /**< enum nvi_shadow_kind of the top table. */
    bool words_of_4; /**< Entries of L1's have 4 bytes, pages of the second level 4 MiB. */
    bool subpages;   /**< Hardware has a table of sub-page permissions beside the tree. */
};

/** One root. Members are the engine's; table is for building an EPTP or nCR3. */
struct nvi_mmu_root {
    /* First what each entry looks at, so that a switch among many finds it in as few lines of the CPU's
     * cache as may be. */
    struct nvi_mmu_key key;
    struct nvi_mmu_place place; /**< Where the cache keeps it. */
    uint32_t cpu;         /**< Where it was last flushed for entry. */
    uint64_t last_use;    /**< Which use of any root its last one was. */
    uint64_t changes;     /**< Entries that went or changed; read without the lock. */
    uint64_t flushing;    /**< Of them, those that the flush asked for last covers, */
    uint64_t flushed;     /**< and those that were flushed. */
    uint64_t invalidations; /**< Of the engine, when it was last made good, */
    uint64_t drops;         /**< and likewise. */
    uint64_t serial;      /**< Number of this key since it got the slot; 0: not numbered yet. */
    bool used;            /**< Stands for key and has its table. */
    bool stale;           /**< L1 invalidated its table: must be emptied before use. */
    bool new_top;         /**< The top table's page is another than when this was last cleared. */
    uint32_t subpage_tables; /**< Pages below subpages. */
    struct nvi_mmu_shape shape;
    nvirt_hpa table;      /**< Top table in hardware's format; kept when the slot gets a new key. */
    nvirt_hpa limbo;      /**< Pages unlinked and not yet flushed; 0 when none. */
    nvirt_hpa subpages;   /**< Top of hardware's table of sub-page permissions; 0 without. The same
                               as long as the root stands for its key. */
    uint64_t generation;  /**< Counts invalidations that L1 made felt here. */
    uint64_t flushes;     /**< Flushes carried out. */
    uint32_t pages;       /**< Shadow tables, the top one and those to be dissolved included. */
    uint32_t top;         /**< Number of the top shadow table. */
};

/** Reclaimed pages sit in limbo: flush all to get them. */
#define NVI_MMU_STARVED 1u
/** The host dropped leaves since the last entry: the vCPU may be in L2 with copies of them. */
#define NVI_MMU_DROPPED 2u

/** A page of L1's that somebody beside the engine has to know the moves of. */
struct nvi_mmu_watch {
    uint64_t page;   /**< l1gpa, bit 0 set; 0: none. */
    uint32_t *asked; /**< When the host begins to change it these bits are set there, */
    uint32_t bits;
    uint32_t moved;  /**< and this becomes 1. Atomic, both. */
};

/** The engine's state for one vCPU. */
struct nvi_mmu {
    struct nvirt_vm *vm;
    struct nvirt_stats *stats;
    struct nvi_mmu_root *roots;
    uint32_t capacity;
    uint32_t attention;   /**< NVI_MMU_*: what the next entry sees to; read without the lock. */
    uint32_t lock;        /**< Of tables, reverse map and lists. */
    uint32_t index;       /**< Of the vCPU in its VM. */
    uint32_t pages;       /**< Held, of the VM's budget. */
    struct nvi_mmu *next; /**< Of the VM's engines. */
    struct nvi_mmu_watch watch;
    nvirt_hpa slabs;      /**< Page of addresses of pages of descriptors. */
    nvirt_hpa heads;      /**< Page of addresses of pages of list heads. */
    uint32_t slab_count;
    uint32_t free_shadow; /**< Heads and ends of lists of shadow tables, by number. */
    uint32_t newest_shadow;
    uint32_t oldest_shadow;
    uint32_t orphan;
    uint32_t head_count;  /**< Of the reverse map; the power of two below it, */
    uint32_t head_base;
    uint32_t leaf_count;  /**< and leaves in it, */
    uint32_t leaves[3];   /**< by level. */
    uint64_t uses;        /**< Of roots: a clock for struct nvi_mmu_root::last_use. */
    nvi_mmu_slot unused;  /**< Roots that stand for nothing. */
    nvi_mmu_slot by_key[NVI_MMU_ROOT_CHAINS];
    nvi_mmu_slot by_table[NVI_MMU_ROOT_CHAINS];
    uint64_t invalidations; /**< Of everything, by L1. */
    uint64_t drops;         /**< Of everything, direct roots too. */
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
    NVI_FAULT_REFLECT_LOG_FULL,  /**< L1's: page-modification log full. */
    NVI_FAULT_REFLECT_SUBPAGE,   /**< L1's: SPP miss or SPP misconfiguration, with qualification. */
    NVI_FAULT_HOST,              /**< The host's: nothing at l1gpa, or not with these rights. */
    NVI_FAULT_NO_PAGE            /**< Neither budget nor port has a page, with all trees of this
                                      vCPU empty: the host's NVIRT_ERR_NO_PAGE. */
};

/** True when a fault is L1's. */
static inline bool nvi_mmu_is_reflected(enum nvi_fault fault)
{
    return fault == NVI_FAULT_REFLECT || fault == NVI_FAULT_REFLECT_MISCONFIG ||
           fault == NVI_FAULT_REFLECT_LOG_FULL || fault == NVI_FAULT_REFLECT_SUBPAGE;
}

/** True when what @p root holds must go before it is used: L1 or the host invalidated it. */
static inline bool nvi_mmu_root_is_stale(const struct nvi_mmu *mmu,
                                         const struct nvi_mmu_root *root)
{
    return root->stale || root->drops != mmu->drops ||
           (root->invalidations != mmu->invalidations && (root->key.role & NVI_ROLE_DIRECT) == 0);
}

NVIRT_STATIC_ASSERT(sizeof(struct nvi_mmu_root) <= NVIRT_ROOT_BYTES, "bytes of a root");

/**
 * The roots of a vCPU object: @p own, which are its own NVIRT_DEFAULT_ROOTS, or, when the host
 * wants more, the memory behind the object (*capacity of them).
 * @param wanted of the host's config; @param behind the first byte after the object.
 */
static inline struct nvi_mmu_root *nvi_mmu_roots_of(struct nvi_mmu_root *own, void *behind,
                                                    uint32_t wanted, uint32_t *capacity)
{
    *capacity = wanted == 0 ? NVI_MMU_DEFAULT_ROOTS : wanted;
    return wanted > NVI_MMU_DEFAULT_ROOTS ? behind : own;
}

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
 *        shadow_faults, shadow_reflected, shadow_revalidated, shadow_dropped.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (capacity 0 or above NVI_MMU_MAX_ROOTS).
 */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_init(struct nvi_mmu *mmu, struct nvirt_vm *vm,
                                               struct nvirt_stats *stats,
                                               struct nvi_mmu_root *roots, uint32_t capacity);

/**
 * Makes the engine known to its VM, whose changes of memory reach it from then on, until
 * nvi_mmu_destroy(). @param index number of the vCPU, for nvirt_port_kick().
 */
void nvi_mmu_attach(struct nvi_mmu *mmu, uint32_t index);

/**
 * Gives all pages back. The caller has made sure that no CPU can use a root's tag again before it
 * is flushed (a new root is always flushed before its first use on a CPU).
 */
void nvi_mmu_destroy(struct nvi_mmu *mmu);

/**
 * Finds the root for @p key, or makes one: in an empty slot, else in place of the least recently
 * used. The top table starts empty.
 * @param shape the same for the same key.
 * @return NVIRT_OK with *root; NVIRT_ERR_NO_PAGE when there is neither a page nor a root to take.
 */
NVIRT_NODISCARD enum nvirt_status nvi_mmu_root_get(struct nvi_mmu *mmu,
                                                   const struct nvi_mmu_key *key,
                                                   const struct nvi_mmu_shape *shape,
                                                   struct nvi_mmu_root **root);

/**
 * Short for nvi_mmu_root_get(), for the root that it gave last, which is the newest in the order of
 * use: whether @p root still stands for @p key under number @p serial.
 */
static inline bool nvi_mmu_root_again(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                      const struct nvi_mmu_key *key, uint64_t serial)
{
    if (!root->used || root->serial != serial || root->key.table != key->table ||
        root->key.pat != key->pat || root->key.role != key->role) {
        return false;
    }
    mmu->stats->root_hits++;
    return true;
}

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

/** L1's entries on the way to a leaf, each as it was read, or as it is with accessed and dirty bits
 *  set since. Indexed by the level of the shadow table that they belong to. */
struct nvi_mmu_path {
    uint32_t top;    /**< Highest level that L1's tables have; 0: L1 has none. */
    uint32_t bottom; /**< Level of L1's leaf. */
    nvirt_l1gpa word[NVI_MMU_MAX_LEVELS + 1];
    uint64_t value[NVI_MMU_MAX_LEVELS + 1];
};

/** A finished leaf. */
struct nvi_mmu_leaf {
    struct nvi_mmu_path path;
    nvirt_l1gpa l1gpa; /**< What L1 has at the address that the leaf is installed for. */
    uint64_t entry;    /**< All bits, NVI_MMU_LARGE where the level needs it. */
    uint32_t level;    /**< 1: 4 KiB, 2: 2 MiB, 3: 1 GiB. */
    uint64_t sequence; /**< Of the translation it was made from, by the port, */
    uint64_t changes;  /**< and by nvi_mmu_host_changes(). */
    uint64_t grants;   /**< Bits that, when set, only allow more: such a change needs no flush. */
    uint64_t denies;   /**< Bits that, when cleared, only allow more. */
};

/**
 * Short for nvi_mmu_enter() where nothing happened since: it would change nothing and ask for no flush.
 * @param sequence of the port, read for this entry.
 */
static inline bool nvi_mmu_is_settled(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                                      uint64_t sequence, uint32_t cpu)
{
    return mmu->sequence == sequence && (sequence & 1) == 0 && !nvi_mmu_root_is_stale(mmu, root) &&
           __atomic_load_n(&mmu->attention, __ATOMIC_ACQUIRE) == 0 &&
           __atomic_load_n(&root->changes, __ATOMIC_ACQUIRE) == root->flushed &&
           root->cpu == cpu && !root->new_top;
}

/** True when @p mmu's trees hold under the port's present sequence; else all are stale now. */
bool nvi_mmu_current(struct nvi_mmu *mmu);

/**
 * From here on a change of @p page by the host is told as struct nvi_mmu_watch says, and the vCPU is
 * kicked for it; as if it had just been changed.
 * @param page l1gpa with bit 0 set; 0: no page any more.
 */
void nvi_mmu_watch(struct nvi_mmu *mmu, uint64_t page, uint32_t *asked, uint32_t bits);

/** How many changes of memory the host has begun: what was translated before one does not hold. */
uint64_t nvi_mmu_host_changes(const struct nvirt_vm *vm);

/** True while the host changes memory that @p l1gpa is part of. */
bool nvi_mmu_host_changing(const struct nvirt_vm *vm, nvirt_l1gpa l1gpa);

/**
 * Puts @p leaf in place for @p l2gpa, if neither the host nor L1 changed what it was made from.
 * Tables on the way that were made from other entries of L1's are replaced; those that are older
 * than L1's last invalidation are compared with what L1 has now. A present entry in the way is
 * exchanged whole: a bigger leaf for a table, a table for a leaf (its pages go to limbo). When
 * room is short, the subtrees used longest ago go, of any root.
 * @return NVI_FAULT_INSTALLED, NVI_FAULT_RETRY or NVI_FAULT_NO_PAGE.
 */
NVIRT_NODISCARD enum nvi_fault nvi_mmu_install(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                               nvirt_l2gpa l2gpa, const struct nvi_mmu_leaf *leaf);

/**
 * Asks the port for @p l1gpa and picks the leaf size: the smaller of @p size (of L1's leaf) and the
 * host's block, at most @p max_level.
 * @param access NVIRT_ACCESS_*, what L2 attempts.
 * @return NVI_FAULT_INSTALLED with *out and *level; NVI_FAULT_RETRY; NVI_FAULT_HOST.
 *         out->hpa is then the base of the leaf; *changes is for the leaf.
 */
NVIRT_NODISCARD enum nvi_fault nvi_mmu_translate(struct nvi_mmu *mmu, nvirt_l1gpa l1gpa,
                                                 uint64_t size, uint32_t max_level, uint32_t access,
                                                 struct nvirt_translation *out, uint32_t *level,
                                                 uint64_t *changes);

/**
 * Memory type of a leaf that L1 gave type @p l1 (enum nvirt_memory_type) and the host @p host:
 * write-back gives way to the other, equals stay, uncached wins, everything else is uncached. This
 * is the rule for overlapping MTRRs, made total [SDM 3A "MTRR Precedences"].
 */
uint8_t nvi_mmu_memory_type(uint8_t l1, uint8_t host);

/* ---- sub-page write permissions (subpage.c) ---- */

/** Hardware's vector of permissions for the page at @p l2gpa; null: its SPPT has none for it. */
const uint64_t *nvi_mmu_subpage_vector(const struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                                       nvirt_l2gpa l2gpa);

/**
 * A table of 512 vectors, all 0, that hardware does not see yet, for the 2 MiB around @p l2gpa. When
 * room is short, other tables go, but never those on the way to the address.
 * @return its words; null with *page 0 when there is no page: NVI_FAULT_NO_PAGE or, when some wait
 *         for a flush, NVI_FAULT_RETRY, in *fault.
 */
NVIRT_NODISCARD uint64_t *nvi_mmu_subpage_table(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                                nvirt_l2gpa l2gpa, nvirt_hpa *page,
                                                enum nvi_fault *fault);

/**
 * Has hardware find @p page, of nvi_mmu_subpage_table() and filled, for the 2 MiB around @p l2gpa, for
 * which it had none. The page is the engine's, whatever comes of it.
 * @return NVI_FAULT_RETRY: hardware looks again; NVI_FAULT_NO_PAGE.
 */
NVIRT_NODISCARD enum nvi_fault nvi_mmu_subpage_link(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                                    nvirt_l2gpa l2gpa, nvirt_hpa page);

/** Changes the vector for the page at @p l2gpa, where hardware has one. A flush is due. */
void nvi_mmu_subpage_change(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                            uint64_t vector);

/** Takes all vectors for the 2 MiB around @p l2gpa away. A flush is due. */
void nvi_mmu_subpage_forget(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa);

/** Takes the leaf for @p l2gpa out, if there is one. */
void nvi_mmu_forget(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa);

/** Entry of the tree that translates @p l2gpa, and its level; 0 when none. */
uint64_t nvi_mmu_lookup(struct nvi_mmu *mmu, const struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                        uint32_t *level);

#endif
