/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Flush decisions: events in, sets of invalidations out. Pure: no port, no instruction.
 *
 * One struct nvirt_tlb per vCPU knows which hardware tag (VPID or ASID) stands for which tag of
 * L1's, what has been asked for on each since it last ran, and on which CPU it last ran. Requests
 * are recorded lazily; nvirt_tlb_*_enter() says what must be carried out now, at the last moment
 * before entry.
 *
 * nvirt's vCPU objects contain one and call this module themselves; a host calls it only when it
 * uses the engine without them. No function fails but nvirt_tlb_init(). Pointers must not be null
 * and nvirt_tlb_init() must have succeeded: not checked. Calls on one object may not overlap; any
 * CPU.
 */
#ifndef NVIRT_TLBFLUSH_H
#define NVIRT_TLBFLUSH_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/** Most hardware tags of one vCPU. */
#define NVIRT_TLB_MAX_TAGS 32u
/** Single addresses remembered per tag; one more makes it a flush of the whole tag. */
#define NVIRT_TLB_MAX_ADDRESSES 8u
/** Most operations one entry can need. */
#define NVIRT_TLB_MAX_OPS (NVIRT_TLB_MAX_ADDRESSES + 2u)
/** "No CPU yet". */
#define NVIRT_TLB_NO_CPU UINT32_MAX

/** One invalidation of the hardware's TLB. */
enum nvirt_flush_kind {
    NVIRT_FLUSH_VPID_ADDRESS = 0, /**< INVVPID individual-address: tag, operand = linear address. */
    NVIRT_FLUSH_VPID_NOT_GLOBAL,  /**< INVVPID single-context retaining globals: tag. */
    NVIRT_FLUSH_VPID,             /**< INVVPID single-context: tag. */
    NVIRT_FLUSH_VPID_ALL,         /**< INVVPID all-context. */
    NVIRT_FLUSH_ROOT,             /**< INVEPT single-context: operand = EPTP. */
    NVIRT_FLUSH_ROOT_ALL,         /**< INVEPT all-context. */
    NVIRT_FLUSH_ASID_ADDRESS,     /**< INVLPGA: tag, operand = linear address. */
    NVIRT_FLUSH_ASID,             /**< TLB_CONTROL 3, this guest's: tag. */
    NVIRT_FLUSH_ASID_ALL          /**< TLB_CONTROL 1, everything. */
};

/** One operation; what its kind does not name is 0. */
struct nvirt_flush_op {
    enum nvirt_flush_kind kind; /**< What to do. */
    uint32_t tag;               /**< Hardware VPID or ASID. */
    uint64_t operand;           /**< Linear address (page-aligned) or EPTP. */
};

/** A set of operations, to be carried out in any order before the entry it was made for. */
struct nvirt_flush_set {
    uint32_t count;                              /**< Operations in use; 0: nothing to do. */
    struct nvirt_flush_op op[NVIRT_TLB_MAX_OPS]; /**< The operations. */
};

/** What the CPU's flush instructions can do; for what it cannot, the next larger flush serves
 *  [SDM 3D "VPID and EPT Capabilities"] [APM 2 "TLB Flush"]. */
struct nvirt_tlb_caps {
    bool invvpid_address;    /**< INVVPID individual-address. */
    bool invvpid_single;     /**< INVVPID single-context. */
    bool invvpid_not_global; /**< INVVPID single-context retaining globals. */
    bool invept_single;      /**< INVEPT single-context. */
    bool flush_by_asid;      /**< TLB_CONTROL 3. */
};

/** One hardware tag and what stands behind it. Members are the engine's. */
struct nvirt_tlb_tag {
    uint32_t tag02;     /**< The hardware's VPID or ASID. */
    uint32_t tag12;     /**< L1's; 0 on VMX for an L2 without VPID. */
    bool used;          /**< Stands for tag12. */
    bool flush;         /**< A flush of the whole tag is owed. */
    bool not_global;    /**< A flush of the non-global part is owed. */
    uint8_t addresses;  /**< Single addresses owed. */
    uint32_t cpu;       /**< Where it last ran. */
    uint64_t root;      /**< SVM: nested root it last ran with. */
    uint64_t last_use;  /**< Clock when it was last bound. */
    uint64_t address[NVIRT_TLB_MAX_ADDRESSES]; /**< Linear addresses of pages owed. */
};

/** State of the engine for one vCPU. Members are the engine's; initialise with nvirt_tlb_init(). */
struct nvirt_tlb {
    struct nvirt_tlb_caps caps;                    /**< As given. */
    uint32_t tag_count;                            /**< Hardware tags for L2. */
    uint64_t clock;                                /**< Counts bindings. */
    struct nvirt_tlb_tag l1;                       /**< vpid01 or asid01. */
    struct nvirt_tlb_tag tag[NVIRT_TLB_MAX_TAGS];  /**< vpid02 or asid02. */
};

/**
 * Sets up the engine: no tag stands for anything, each owes a flush for what someone else left.
 * @param tlb the object, memory of the caller's.
 * @param caps of the CPU; copied.
 * @param tag01 hardware tag of L1; 0 on VMX: none, nothing is ever due for L1.
 * @param tags hardware tags for L2, all different, none 0; copied; may be null when count is 0.
 * @param count 0 to NVIRT_TLB_MAX_TAGS, 1 or more on SVM.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (count). On failure *tlb is untouched.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_tlb_init(struct nvirt_tlb *tlb,
                                                 const struct nvirt_tlb_caps *caps, uint32_t tag01,
                                                 const uint32_t *tags, uint32_t count);

/** What an entry of L2 on VMX is made with. */
struct nvirt_tlb_vmx_entry {
    uint32_t cpu;        /**< Number of the CPU that enters. */
    bool vpid12_enabled; /**< "Enable VPID" of vmcs12. */
    uint16_t vpid12;     /**< "VPID" of vmcs12; counts when enabled. */
    uint64_t eptp02;     /**< The EPTP that hardware will use. */
    bool root_changed;   /**< Its tables lost or changed entries, or it is new, since it last ran on
                              this CPU. */
};

/* ---- VMX events ---- */

/**
 * L1 entered L2 (VMLAUNCH or VMRESUME passed its checks): binds a hardware tag for this residence
 * of L2. With VPID off in vmcs12, VPID 0 is flushed as the architecture does: L2's tag now, L1's
 * before L1 next runs [SDM 3C "Operations that Invalidate Cached Mappings"].
 * @param tlb the engine.
 * @param entry what L2 is entered with; cpu, eptp02 and root_changed do not matter yet.
 * @return the hardware VPID to use; 0 when there is none (the hardware then flushes by itself).
 */
uint32_t nvirt_tlb_vmx_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry);

/**
 * L2 was left for L1 by an exit or a failed entry that loaded L2's state.
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
 * What is due right before hardware enters L2. The engine takes it as carried out.
 * @param tlb the engine.
 * @param entry as at nvirt_tlb_vmx_enter_l2(), cpu, eptp02 and root_changed as they are now.
 * @param tag02 what nvirt_tlb_vmx_enter_l2() returned.
 * @param due the operations; what it held is lost.
 */
void nvirt_tlb_vmx_due_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry,
                          uint32_t tag02, struct nvirt_flush_set *due);

/* ---- SVM events ---- */

/** What an entry of L2 on SVM is made with. */
struct nvirt_tlb_svm_entry {
    uint32_t cpu;        /**< Number of the CPU that enters. */
    uint32_t asid12;     /**< ASID of vmcb12, not 0. */
    uint64_t root12;     /**< A number for nCR3 of vmcb12 and its role; 0: no nested paging. */
    uint8_t tlb_control; /**< TLB_CONTROL of vmcb12: 0, 1, 3 or 7. */
};

/**
 * L1 entered L2 by VMRUN: binds a hardware tag and records what TLB_CONTROL asks for.
 * @param tlb the engine.
 * @param entry what L2 is entered with; cpu does not matter yet.
 * @param revalidate set when the nested root must be compared with L1's tables before use: the
 *        (ASID, nCR3) pair has not run since that ASID was last flushed. An ASID tags nested
 *        translations too [APM 2 "TLB Flush"].
 * @return the hardware ASID; 0 when the engine was given none.
 */
uint32_t nvirt_tlb_svm_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_svm_entry *entry,
                                bool *revalidate);

/**
 * INVLPGA of L1 [APM 3 "INVLPGA"].
 * @param tlb the engine.
 * @param asid12 the ASID L1 names; 0 names L1's own.
 * @param address the linear address.
 */
void nvirt_tlb_svm_invlpga(struct nvirt_tlb *tlb, uint32_t asid12, nvirt_gva address);

/**
 * What is due right before VMRUN of vmcb02. The engine takes it as carried out.
 * @param tlb the engine.
 * @param cpu number of the CPU that enters.
 * @param tag02 what nvirt_tlb_svm_enter_l2() returned.
 * @param due the operations; what it held is lost.
 */
void nvirt_tlb_svm_due_l2(struct nvirt_tlb *tlb, uint32_t cpu, uint32_t tag02,
                          struct nvirt_flush_set *due);

/* ---- both ---- */

/**
 * The nested tables that a tag translates through lost or changed entries: it owes a flush.
 * @param tlb the engine.
 * @param tag02 the hardware tag; 0: every tag of L2.
 */
void nvirt_tlb_tables_changed(struct nvirt_tlb *tlb, uint32_t tag02);

/**
 * A flush of L1's own tag is owed (its second-stage root changed, its paging mode was emulated).
 * @param tlb the engine.
 */
void nvirt_tlb_flush_l1(struct nvirt_tlb *tlb);

/**
 * What is due right before hardware enters L1. The engine takes it as carried out.
 * @param tlb the engine.
 * @param cpu number of the CPU that enters.
 * @param svm true: operations on ASIDs; false: on VPIDs.
 * @param due the operations; what it held is lost. None without a tag of L1.
 */
void nvirt_tlb_due_l1(struct nvirt_tlb *tlb, uint32_t cpu, bool svm, struct nvirt_flush_set *due);

/**
 * L1 left VMX operation, or the vCPU was reset: no tag stands for anything any more, L1's owes a
 * flush.
 * @param tlb the engine.
 */
void nvirt_tlb_forget(struct nvirt_tlb *tlb);

NVIRT_END_DECLS

#endif
