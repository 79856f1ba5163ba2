/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Flush decisions: events in, sets of invalidations out. Pure: no port, no instruction. docs/tlb.md
 * tells why each decision is what it is.
 *
 * One struct nvirt_tlb per vCPU knows which hardware tag (VPID or ASID) stands for which tag of
 * L1's, what was asked for on each, and what each CPU may hold under it. One struct
 * nvirt_tlb_domain knows the second-stage roots of L2s and when each was flushed on each CPU; it
 * belongs to one vCPU, or to all that share those roots.
 *
 * A request costs O(1): it marks the tag or root that it names, on whichever CPU copies of it lie
 * (one for everything marks each root, of which a vCPU has as many as its host gave it), and
 * becomes an operation when that is about to be used. It cannot be lost or hit another context:
 * what was asked for while L1 ran is due before L1 next runs, however L2 is left in between.
 *
 * An entry has three steps, so that a flush counts only when it was carried out:
 *
 *   nvirt_tlb_due()      what must be carried out on this CPU before the entry
 *   nvirt_tlb_done()     for each operation, once it was
 *   nvirt_tlb_entered()  the guest runs (or may have run): hardware may cache from here on
 *
 * nvirt's vCPU objects contain an engine and do all this themselves; a host calls it only when it
 * uses the engine without them. Pointers must not be null and the objects must have been
 * initialised: not checked. Calls on one engine may not overlap, but for nvirt_tlb_post(); any CPU.
 */
#ifndef NVIRT_TLBFLUSH_H
#define NVIRT_TLBFLUSH_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/** @name Sizes; a build may set the first three, alike for the library and all that uses it
 * @{ */
#ifndef NVIRT_TLB_MAX_TAGS
#define NVIRT_TLB_MAX_TAGS 32u /**< Most hardware tags of one vCPU. */
#endif
#ifndef NVIRT_TLB_MAX_ADDRESSES
#define NVIRT_TLB_MAX_ADDRESSES 16u /**< Most single addresses remembered per tag. */
#endif
#ifndef NVIRT_TLB_MAX_CPUS
#define NVIRT_TLB_MAX_CPUS 8u /**< CPUs of which a domain knows what they hold; beyond, see
                                    nvirt_tlb_cpu(). */
#endif
#define NVIRT_TLB_DEFAULT_TAGS 8u      /**< Tags, where a host has no reason for another number. */
#define NVIRT_TLB_DEFAULT_ADDRESSES 8u /**< Addresses per tag, likewise. */
#define NVIRT_TLB_MAX_OPS (NVIRT_TLB_MAX_ADDRESSES + 2u) /**< Most operations one entry can need. */
/** @} */
/** A CPU of which nothing is known: each entry there flushes. */
#define NVIRT_TLB_NO_CPU UINT32_MAX

/** One invalidation of the hardware's TLB. */
enum nvirt_flush_kind {
    NVIRT_FLUSH_VPID_ADDRESS = 0, /**< INVVPID individual-address: tag, operand = linear address. */
    NVIRT_FLUSH_VPID_NOT_GLOBAL,  /**< INVVPID single-context retaining globals: tag. */
    NVIRT_FLUSH_VPID,             /**< INVVPID single-context: tag. */
    NVIRT_FLUSH_VPID_ALL,         /**< INVVPID all-context. */
    NVIRT_FLUSH_ROOT,             /**< INVEPT single-context: operand = EPTP; root is its number. */
    NVIRT_FLUSH_ROOT_ALL,         /**< INVEPT all-context. */
    NVIRT_FLUSH_ASID_ADDRESS,     /**< INVLPGA: tag, operand = linear address. */
    NVIRT_FLUSH_ASID,             /**< TLB_CONTROL 3, this guest's: tag. */
    NVIRT_FLUSH_ASID_ALL          /**< TLB_CONTROL 1, everything. */
};

/** One operation; what its kind does not name is 0. */
struct nvirt_flush_op {
    enum nvirt_flush_kind kind; /**< What to do. */
    uint32_t tag;               /**< Hardware VPID or ASID. */
    uint32_t root;              /**< NVIRT_FLUSH_ROOT: number of the root; NVIRT_TLB_ROOT_L1 for
                                     L1's. */
    uint64_t operand;           /**< Linear address (page-aligned) or EPTP. */
};

/** "Root" of L1 itself: the host's second stage for L1. */
#define NVIRT_TLB_ROOT_L1 UINT32_MAX

/** A set of operations, to be carried out in any order before the entry it was made for. */
struct nvirt_flush_set {
    uint32_t count;                              /**< Operations in use; 0: nothing to do. */
    bool covers_guest;                           /**< After them the tag that enters holds nothing:
                                                      single addresses that still wait elsewhere
                                                      for this level (a Hyper-V flush queue) are
                                                      covered. */
    struct nvirt_flush_op op[NVIRT_TLB_MAX_OPS]; /**< The operations. */
};

/** What the CPU's flush instructions can do; for what it cannot, the next larger flush serves
 *  [SDM 3D "VPID and EPT Capabilities"] [APM 2 "TLB Flush"]. */
struct nvirt_tlb_caps {
    bool invvpid_address;    /**< INVVPID individual-address. */
    bool invvpid_single;     /**< INVVPID single-context. */
    bool invvpid_not_global; /**< INVVPID single-context retaining globals. */
    bool invept_single;      /**< INVEPT single-context. */
    bool invlpga;            /**< INVLPGA does all that the manual says (no erratum). */
    bool flush_by_asid;      /**< TLB_CONTROL 3. */
};

/* ---- the roots of L2s, and the CPUs ---- */

/** One second-stage root. Members are the engine's. Times are those of the domain. */
struct nvirt_tlb_root {
    uint64_t changed;                     /**< When its tables last lost or changed entries. */
    uint64_t validated;                   /**< SVM: when it was last compared with L1's tables. */
    uint64_t flushed[NVIRT_TLB_MAX_CPUS]; /**< VMX, by CPU: when it was last flushed there. */
};

/** Roots that L2s run on. Members are the engine's; initialise with nvirt_tlb_domain_init(). */
struct nvirt_tlb_domain {
    uint64_t now;                           /**< Counts changes and flushes; atomic. */
    struct nvirt_tlb_root *root;            /**< The owner's memory. */
    uint32_t root_count;                    /**< Roots at @c root. */
    bool shared;                            /**< More than one engine uses it. */
    uint32_t next_cpu;                      /**< CPU number to be given out. */
    const void *cpu[NVIRT_TLB_MAX_CPUS];    /**< By CPU number: whose it is; atomic. */
    uint64_t flush[NVIRT_TLB_MAX_CPUS];     /**< By CPU: when a root was last flushed there. */
    uint64_t all_tags[NVIRT_TLB_MAX_CPUS];  /**< By CPU: when all tags were last flushed there. */
};

/**
 * Sets up a domain: all roots are unknown to every CPU, so the first use of each flushes it.
 * @param domain memory of the caller's; to outlive every engine on it.
 * @param roots @p count of them, memory of the caller's, to live as long; the roots are numbered
 *        from 0. May be null when count is 0.
 * @param count how many roots there can be at a time.
 * @param shared engines of several vCPUs will use it.
 */
void nvirt_tlb_domain_init(struct nvirt_tlb_domain *domain, struct nvirt_tlb_root *roots,
                           uint32_t count, bool shared);

/* ---- the engine ---- */

/** What a CPU may hold under one tag. */
struct nvirt_tlb_held {
    uint64_t under; /**< Bit n: translations through root n; bit 63: through any from 63 on. */
    uint64_t time;  /**< When the tag last ran there. */
};

/** One hardware tag and what stands behind it. Members are the engine's. */
struct nvirt_tlb_tag {
    uint32_t tag02;     /**< The hardware's VPID or ASID. */
    uint32_t tag12;     /**< L1's; 0 on VMX for an L2 without VPID. */
    bool used;          /**< Stands for tag12. */
    bool flush;         /**< A flush of the whole tag is owed. */
    bool not_global;    /**< A flush of the non-global part is owed. */
    bool nested;        /**< SVM: L1's nested paging was on when it was last bound. */
    uint8_t addresses;  /**< Single addresses owed. */
    uint32_t cpu;       /**< Where it last ran: copies on other CPUs are stale as a whole. */
    uint64_t requested; /**< SVM: when L1 last flushed tag12, or it was bound. */
    uint64_t last_use;  /**< Clock when it was last bound. */
    uint64_t address[NVIRT_TLB_MAX_ADDRESSES];        /**< Linear addresses of pages owed. */
    struct nvirt_tlb_held held[NVIRT_TLB_MAX_CPUS];   /**< By CPU. */
};

/** State of the engine for one vCPU. Members are the engine's; initialise with nvirt_tlb_init(). */
struct nvirt_tlb {
    struct nvirt_tlb_domain *domain;               /**< Roots of its L2s. */
    struct nvirt_tlb_caps caps;                    /**< As given. */
    bool svm;                                      /**< Tags are ASIDs. */
    uint32_t max_addresses;                        /**< Single addresses owed per tag, at most. */
    uint32_t tag_count;                            /**< Hardware tags for L2. */
    uint32_t posted;                               /**< Requests of other CPUs; atomic. */
    uint64_t clock;                                /**< Counts bindings. */
    uint64_t due_time;                             /**< When nvirt_tlb_due() last looked. */
    struct nvirt_tlb_tag *running;                 /**< Of the L2 that was entered last; or null. */
    uint32_t running_root;                         /**< What that L2 last ran on. */
    struct nvirt_tlb_root root01;                  /**< The host's second stage for L1. */
    struct nvirt_tlb_tag l1;                       /**< vpid01 or asid01. */
    struct nvirt_tlb_tag tag[NVIRT_TLB_MAX_TAGS];  /**< vpid02 or asid02. */
};

/** What an engine is made with. */
struct nvirt_tlb_config {
    struct nvirt_tlb_domain *domain; /**< Roots of the L2s, initialised. */
    struct nvirt_tlb_caps caps;      /**< Of the CPUs; the least common, where they differ. */
    bool svm;                        /**< ASIDs, not VPIDs. */
    uint32_t tag01;                  /**< Hardware tag of L1; 0 on VMX: none, hardware flushes L1's
                                          translations at every transition by itself. */
    const uint32_t *tags;            /**< Hardware tags for L2, all different, none 0; copied; may
                                          be null when tag_count is 0. */
    uint32_t tag_count;              /**< 0 to NVIRT_TLB_MAX_TAGS, 1 or more on SVM. */
    uint32_t max_addresses;          /**< Single addresses flushed one by one, 0 (none: always the
                                          whole tag) to NVIRT_TLB_MAX_ADDRESSES. */
};

/**
 * Sets up the engine: no tag stands for anything; whatever someone else left under one is flushed
 * before its first use on each CPU.
 *
 * The tags are the engine's alone while it lives; nothing of the host's may run under them. L1's
 * own tag and second stage (EPT01, NPT01) stay the host's: it flushes them as it would without
 * nvirt, or asks for it with nvirt_tlb_request(). The engine adds what nested transitions need.
 * @param tlb the object, memory of the caller's.
 * @param config read in the call only.
 * @return NVIRT_OK; NVIRT_ERR_NULL (an argument, domain, or tags with a count);
 *         NVIRT_ERR_RANGE (tag_count or max_addresses). On failure *tlb is untouched.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_tlb_init(struct nvirt_tlb *tlb,
                                                 const struct nvirt_tlb_config *config);

/**
 * Number of a CPU for the entries made there. A domain of one vCPU's gives the number of a CPU not
 * seen for long to a new one, and assumes that it holds anything. A shared domain cannot: from the
 * (NVIRT_TLB_MAX_CPUS + 1)-th on a CPU is NVIRT_TLB_NO_CPU, where every entry flushes.
 * @param tlb an engine of the domain.
 * @param identity what the host tells this CPU by; not null.
 * @return 0 to NVIRT_TLB_MAX_CPUS - 1, or NVIRT_TLB_NO_CPU.
 *
 * Concurrency: to be called on that CPU, not preempted; engines of a shared domain may call at
 * once.
 */
uint32_t nvirt_tlb_cpu(struct nvirt_tlb *tlb, const void *identity);

/* ---- a space of tags, for hosts that have none of their own ---- */

/** Words of 64 bits that a space of @p count tags needs. */
#define NVIRT_TLB_TAGS_WORDS(count) (((count) + 63u) / 64u)

/** Hardware tags of a host, from which vCPUs of any VM are given theirs. Members are nvirt's. */
struct nvirt_tlb_tags {
    uint32_t first; /**< Lowest tag. */
    uint32_t count; /**< How many from there on. */
    uint64_t *word; /**< A bit per tag, set when it is taken; atomic. */
};

/**
 * Makes a space of tags, all free. A host leaves out those it uses itself (VPID 0 and ASID 0 are
 * its own in any case) and gives nvirt_*_vcpu_init() what nvirt_tlb_tags_take() gave it.
 * @param tags memory of the caller's.
 * @param first lowest tag, not 0.
 * @param count how many, not 0.
 * @param words NVIRT_TLB_TAGS_WORDS(count) of them, memory of the caller's, to live as long.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (first or count).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_tlb_tags_init(struct nvirt_tlb_tags *tags, uint32_t first,
                                                      uint32_t count, uint64_t *words);

/**
 * Takes tags that nobody else has.
 * @param tags the space.
 * @param out where they go; on failure its contents are undefined.
 * @param count how many; NVIRT_TLB_DEFAULT_TAGS serve a vCPU well.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE when fewer are free: none is taken then.
 *
 * Concurrency: any CPUs at once, also with nvirt_tlb_tags_give(). Does not wait.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_tlb_tags_take(struct nvirt_tlb_tags *tags, uint32_t *out,
                                                      uint32_t count);

/**
 * Gives tags back, of a vCPU that no CPU runs any more. They need not be flushed: whoever gets them
 * next assumes that they hold anything.
 * @param tags the space.
 * @param given the tags; one that is not of this space is left alone.
 * @param count how many.
 *
 * Concurrency: as nvirt_tlb_tags_take().
 */
void nvirt_tlb_tags_give(struct nvirt_tlb_tags *tags, const uint32_t *given, uint32_t count);

/* ---- VMX events ---- */

/**
 * L1 entered L2 (VMLAUNCH or VMRESUME passed its checks): binds a hardware tag for this residence
 * of L2. With VPID off in vmcs12, VPID 0 is flushed as the architecture does: L2's tag now, L1's
 * before L1 next runs [SDM 3C "Operations that Invalidate Cached Mappings"].
 * @param tlb the engine.
 * @param vpid12_enabled "enable VPID" of vmcs12.
 * @param vpid12 "VPID" of vmcs12; counts when enabled.
 * @return the hardware VPID to use; 0 when there is none (the hardware then flushes by itself).
 */
uint32_t nvirt_tlb_vmx_enter_l2(struct nvirt_tlb *tlb, bool vpid12_enabled, uint16_t vpid12);

/**
 * L2 was left for L1: by an exit, by a failed entry that loaded L2's state or would have, by force.
 * @param tlb the engine.
 * @param vpid12_enabled "enable VPID" of the vmcs12 that ran; if not, L1's own tag owes a flush
 *        [SDM 3C "Operations that Invalidate Cached Mappings"].
 */
void nvirt_tlb_vmx_leave_l2(struct nvirt_tlb *tlb, bool vpid12_enabled);

/**
 * INVVPID of L1, its operands already checked [SDM 3C "INVVPID"].
 * @param tlb the engine.
 * @param type 0 to 3, as the instruction has them.
 * @param vpid12 the VPID L1 names; not looked at for type 2, 0 does nothing.
 * @param address the linear address L1 names, for type 0.
 */
void nvirt_tlb_vmx_invvpid(struct nvirt_tlb *tlb, uint32_t type, uint16_t vpid12,
                           nvirt_gva address);

/**
 * L2 changed its EPT pointer by VMFUNC: with VPID off in vmcs12, combined mappings of VPID 0 go
 * [SDM 3C "EPTP Switching"]; with VPID on nothing does.
 * @param tlb the engine, in L2.
 */
void nvirt_tlb_vmx_eptp_switch(struct nvirt_tlb *tlb);

/* ---- SVM events ---- */

/**
 * L1 entered L2 by VMRUN: binds a hardware tag and records what TLB_CONTROL asks for
 * [APM 2 "TLB Flush"]. An ASID that changes between nested paging and none is flushed: hardware has
 * nested paging on in either case, and would use the nested translations of the one for the other.
 * @param tlb the engine.
 * @param asid12 ASID of vmcb12, not 0.
 * @param nested nested paging of vmcb12.
 * @param tlb_control TLB_CONTROL of vmcb12: 0, 1, 3 or 7.
 * @return the hardware ASID; 0 when the engine was given none.
 */
uint32_t nvirt_tlb_svm_enter_l2(struct nvirt_tlb *tlb, uint32_t asid12, bool nested,
                                uint8_t tlb_control);

/**
 * Short for nvirt_tlb_svm_enter_l2() with TLB_CONTROL 0, where the L2 that ran last had the same
 * ASID.
 * @param tlb the engine.
 * @param asid12 ASID of vmcb12, not 0.
 * @param nested nested paging of vmcb12.
 * @return the hardware ASID; 0: not so, make the long call.
 */
static inline uint32_t nvirt_tlb_svm_enter_again(const struct nvirt_tlb *tlb, uint32_t asid12,
                                                 bool nested)
{
    const struct nvirt_tlb_tag *tag = tlb->running;

    /* It stays the one used last. */
    return tag != NULL && tag->used && tag->tag12 == asid12 && tag->nested == nested ? tag->tag02
                                                                                      : 0;
}

/**
 * Whether the nested root must be compared with L1's tables before use: the (ASID, nCR3) pair has
 * not run since that ASID was last flushed, as an ASID tags nested translations too [APM 2 "TLB
 * Flush"]. The engine takes it as done. A root stands for one table of L1's and one ASID.
 * @param tlb the engine, in L2.
 * @param root number of the root that L2 is about to run on.
 * @return true: compare before this entry; false: what is in it may be used.
 */
static inline bool nvirt_tlb_svm_revalidates(struct nvirt_tlb *tlb, uint32_t root)
{
    struct nvirt_tlb_root *r = &tlb->domain->root[root];

    if (tlb->running == NULL || r->validated >= tlb->running->requested) {
        return false;
    }
    r->validated = tlb->running->requested;
    return true;
}

/**
 * INVLPGA of L1 [APM 3 "INVLPGA"].
 * @param tlb the engine.
 * @param asid12 the ASID L1 names; 0 names L1's own.
 * @param address the linear address.
 */
void nvirt_tlb_svm_invlpga(struct nvirt_tlb *tlb, uint32_t asid12, nvirt_gva address);

/* ---- events of both ---- */

/**
 * A root lost or changed entries, or an L1 without EPT gave the page behind its "virtualize APIC
 * accesses" another address: whatever any CPU holds of it is flushed before the root (VMX) or a tag
 * that ran on it (SVM) is used there again. Table pages that were unlinked before may be reused.
 * @param tlb an engine of the domain.
 * @param root number of the root.
 *
 * Concurrency: other engines of a shared domain may decide meanwhile; calls for one root may not
 * overlap.
 */
void nvirt_tlb_root_changed(struct nvirt_tlb *tlb, uint32_t root);

/**
 * A root has another top page: what a CPU holds under that page's address is unknown.
 * @param tlb an engine of the domain; no CPU is running on the root.
 * @param root number of the root.
 */
void nvirt_tlb_root_new(struct nvirt_tlb *tlb, uint32_t root);

/** What a host asks for. */
enum nvirt_tlb_request {
    NVIRT_TLB_REQUEST_ROOT = 0,   /**< Second-stage translations of the level: L1's root (EPT01 or
                                       NPT01 changed), or the one that L2 runs on. */
    NVIRT_TLB_REQUEST_GUEST,      /**< All linear translations of the level: its paging mode
                                       changed, a hypercall flushes an address space, a flush queue
                                       overflowed. */
    NVIRT_TLB_REQUEST_NOT_GLOBAL, /**< The same but for global ones. */
    NVIRT_TLB_REQUEST_EVERYTHING  /**< Both levels, all roots and tags of the vCPU. */
};

/**
 * A flush for the level, due before what it names is next used, in whatever context that is.
 * @param tlb the engine, on the vCPU's own CPU.
 * @param level 1: L1; 2: the L2 that runs or ran last. Of no meaning for EVERYTHING.
 * @param kind what to flush.
 */
void nvirt_tlb_request(struct nvirt_tlb *tlb, uint32_t level, enum nvirt_tlb_request kind);

/**
 * All linear translations of one hardware tag of L2's, before anything next runs under it.
 * @param tlb the engine, on the vCPU's own CPU.
 * @param tag02 as nvirt_tlb_vmx_enter_l2() or nvirt_tlb_svm_enter_l2() gave it; one that is not of
 *        this engine names nothing.
 */
void nvirt_tlb_request_tag(struct nvirt_tlb *tlb, uint32_t tag02);

/**
 * nvirt_tlb_request() from any CPU at any time: taken in by the next nvirt_tlb_due(). The caller makes the
 * vCPU come through there (nvirt_port_kick()); nothing here waits. As L2 may have been left or
 * changed by then, level 2 means all L2s of the vCPU.
 * @param tlb the engine.
 * @param level 1 or 2.
 * @param kind what to flush.
 */
void nvirt_tlb_post(struct nvirt_tlb *tlb, uint32_t level, enum nvirt_tlb_request kind);

/**
 * Whether something was posted that no nvirt_tlb_due() has taken in.
 * @param tlb the engine.
 * @return true when so.
 */
static inline bool nvirt_tlb_is_asked(const struct nvirt_tlb *tlb)
{
    return __atomic_load_n(&tlb->posted, __ATOMIC_RELAXED) != 0;
}

/**
 * Single pages of linear addresses of the level (an entry of a Hyper-V flush list, INVLPG
 * emulated): one by one while few, else the whole tag.
 * @param tlb the engine.
 * @param level as for nvirt_tlb_request().
 * @param first linear address in the first page.
 * @param pages how many pages.
 */
void nvirt_tlb_request_addresses(struct nvirt_tlb *tlb, uint32_t level, nvirt_gva first,
                                 uint64_t pages);

/**
 * L1 left VMX operation, or the vCPU was reset: no tag stands for anything any more, L1's owes a
 * flush.
 * @param tlb the engine.
 */
void nvirt_tlb_forget(struct nvirt_tlb *tlb);

/* ---- entries ---- */

/** An entry that hardware is about to make. */
struct nvirt_tlb_entry {
    uint32_t level; /**< 1 or 2. */
    uint32_t cpu;   /**< By nvirt_tlb_cpu(). */
    uint32_t root;  /**< Level 2: number of the root. */
    uint64_t eptp;  /**< VMX: the EPTP that hardware will use at this level. */
};

/**
 * Makes the entry if nothing is due and nothing is to be noted that is not known: a short cut for
 * the entry that comes most often.
 * @param tlb the engine.
 * @param entry the entry.
 * @return true: nvirt_tlb_due() would give no operation, and the entry is noted. False: ask it.
 */
static inline bool nvirt_tlb_enter_settled(struct nvirt_tlb *tlb,
                                           const struct nvirt_tlb_entry *entry)
{
    const struct nvirt_tlb_tag *tag = entry->level == 1 ? &tlb->l1 : tlb->running;
    uint32_t root = entry->level == 1 ? 0 : entry->root;

    if (tag == NULL || tag->cpu != entry->cpu || entry->cpu >= NVIRT_TLB_MAX_CPUS || root >= 63) {
        return false;
    }
    /* Nothing was changed or flushed anywhere since it ran here, and nothing was asked for. */
    if (tag->flush || tag->not_global || tag->addresses != 0 ||
        nvirt_tlb_is_asked(tlb) ||
        __atomic_load_n(&tlb->domain->now, __ATOMIC_ACQUIRE) != tag->held[entry->cpu].time ||
        (tag->held[entry->cpu].under >> root & 1u) == 0) {
        return false;
    }
    if (!tlb->svm) {
        const struct nvirt_tlb_root *r =
            entry->level == 1 ? &tlb->root01 : &tlb->domain->root[root];

        /* It may be one that this CPU holds only an earlier owner's translations of. */
        if (r->flushed[entry->cpu] < __atomic_load_n(&r->changed, __ATOMIC_ACQUIRE)) {
            return false;
        }
    }
    if (entry->level == 2) {
        tlb->running_root = root;
    }
    return true;
}

/**
 * What is due right before the entry. Asking again gives the same until nvirt_tlb_done().
 * @param tlb the engine; for level 2, nvirt_tlb_*_enter_l2() bound the tag.
 * @param entry the entry.
 * @param due the operations; what it held is lost.
 */
void nvirt_tlb_due(struct nvirt_tlb *tlb, const struct nvirt_tlb_entry *entry,
                   struct nvirt_flush_set *due);

/**
 * An operation of the last set was carried out.
 * @param tlb the engine.
 * @param cpu where, by nvirt_tlb_cpu().
 * @param op the operation.
 */
void nvirt_tlb_done(struct nvirt_tlb *tlb, uint32_t cpu, const struct nvirt_flush_op *op);

/**
 * All of the last set was carried out and the entry follows, or it took place.
 * @param tlb the engine.
 * @param entry as at nvirt_tlb_due(), nothing having been asked for since.
 */
void nvirt_tlb_entered(struct nvirt_tlb *tlb, const struct nvirt_tlb_entry *entry);

NVIRT_END_DECLS

#endif
