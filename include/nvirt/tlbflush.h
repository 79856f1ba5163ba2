/* SPDX-License-Identifier: MIT */
/*
 * Flush decisions: events in, sets of invalidations out. Pure: no port, no instruction.
 *
 * One struct nvirt_tlb per vCPU knows which hardware tag (VPID or ASID) stands for which tag of
 * L1's, what has been asked for on each since it last ran, and on which CPU it last ran. Requests
 * are recorded lazily; nvirt_tlb_*_enter() says what must be carried out now, at the last moment
 * before entry.
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

struct nvirt_flush_op {
    enum nvirt_flush_kind kind;
    uint32_t tag;
    uint64_t operand;
};

/** A set of operations, to be carried out in any order before the entry it was made for. */
struct nvirt_flush_set {
    uint32_t count;
    struct nvirt_flush_op op[NVIRT_TLB_MAX_OPS];
};

/** What the CPU's flush instructions can do. */
struct nvirt_tlb_caps {
    bool invvpid_address;
    bool invvpid_single;
    bool invvpid_not_global;
    bool invept_single;
    bool flush_by_asid;
};

/** One hardware tag and what stands behind it. Members are the engine's. */
struct nvirt_tlb_tag {
    uint32_t tag02;
    uint32_t tag12;
    bool used;          /**< Stands for tag12. */
    bool flush;         /**< A flush of the whole tag is owed. */
    bool not_global;    /**< A flush of the non-global part is owed. */
    uint8_t addresses;  /**< Single addresses owed. */
    uint32_t cpu;       /**< Where it last ran. */
    uint64_t root;      /**< SVM: nested root it last ran with. */
    uint64_t last_use;
    uint64_t address[NVIRT_TLB_MAX_ADDRESSES];
};

/** State of the engine for one vCPU. Members are the engine's; initialise with nvirt_tlb_init(). */
struct nvirt_tlb {
    struct nvirt_tlb_caps caps;
    uint32_t tag_count;
    uint64_t clock;
    struct nvirt_tlb_tag l1;                       /**< vpid01 or asid01. */
    struct nvirt_tlb_tag tag[NVIRT_TLB_MAX_TAGS];  /**< vpid02 or asid02. */
};

/**
 * Sets up the engine.
 * @param tag01 hardware tag of L1.
 * @param tags hardware tags for L2; @param count 0 to NVIRT_TLB_MAX_TAGS.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (count).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_tlb_init(struct nvirt_tlb *tlb,
                                                 const struct nvirt_tlb_caps *caps, uint32_t tag01,
                                                 const uint32_t *tags, uint32_t count);

/** What an entry of L2 on VMX is made with. */
struct nvirt_tlb_vmx_entry {
    uint32_t cpu;        /**< Number of the CPU that enters. */
    bool vpid12_enabled; /**< "Enable VPID" of vmcs12. */
    uint16_t vpid12;
    uint64_t eptp02;     /**< The EPTP that hardware will use. */
    bool root_changed;   /**< Its tables lost or changed entries, or it is new, since it last ran on
                              this CPU. */
};

/* ---- VMX events ---- */

/**
 * L1 entered L2 (VMLAUNCH or VMRESUME passed its checks): binds a hardware tag for this residence
 * of L2. With VPID off in vmcs12, VPID 0 is flushed as the architecture does: L2's tag now, L1's
 * before L1 next runs [SDM 3C "Operations that Invalidate Cached Mappings"].
 * @return the hardware VPID to use; 0 when there is none (the hardware then flushes by itself).
 */
uint32_t nvirt_tlb_vmx_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry);

/** L2 was left for L1 by an exit or a failed entry that loaded L2's state. */
void nvirt_tlb_vmx_leave_l2(struct nvirt_tlb *tlb, bool vpid12_enabled);

/** INVVPID of L1, its operands already checked: types 0 to 3 [SDM 3C "INVVPID"]. */
void nvirt_tlb_vmx_invvpid(struct nvirt_tlb *tlb, uint32_t type, uint16_t vpid12, nvirt_gva address);

/** What is due right before hardware enters L2 with the hardware tag @p tag02. */
void nvirt_tlb_vmx_due_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry,
                          uint32_t tag02, struct nvirt_flush_set *due);

/* ---- SVM events ---- */

struct nvirt_tlb_svm_entry {
    uint32_t cpu;
    uint32_t asid12;
    uint64_t root12;     /**< nCR3 of vmcb12 with its role, or 0 when L1 does not use nested paging. */
    uint8_t tlb_control; /**< TLB_CONTROL of vmcb12: 0, 1, 3 or 7. */
};

/**
 * L1 entered L2 by VMRUN: binds a hardware tag.
 * @param revalidate set when the nested root must be compared with L1's tables before use: the
 *        (ASID, nCR3) pair has not run since that ASID was last flushed. An ASID tags nested
 *        translations too [APM 2 "TLB Flush"].
 * @return the hardware ASID.
 */
uint32_t nvirt_tlb_svm_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_svm_entry *entry,
                                bool *revalidate);

/** INVLPGA of L1 for @p address in @p asid12; ASID 0 names L1's own. */
void nvirt_tlb_svm_invlpga(struct nvirt_tlb *tlb, uint32_t asid12, nvirt_gva address);

/** What is due right before VMRUN of vmcb02 with @p tag02 on @p cpu. */
void nvirt_tlb_svm_due_l2(struct nvirt_tlb *tlb, uint32_t cpu, uint32_t tag02,
                          struct nvirt_flush_set *due);

/* ---- both ---- */

/** The nested tables that @p tag02 (0: every tag of L2) translates through lost or changed entries. */
void nvirt_tlb_tables_changed(struct nvirt_tlb *tlb, uint32_t tag02);

/** A flush of L1's own tag is owed (its second-stage root changed, its paging mode was emulated). */
void nvirt_tlb_flush_l1(struct nvirt_tlb *tlb);

/** What is due right before hardware enters L1 on @p cpu. */
void nvirt_tlb_due_l1(struct nvirt_tlb *tlb, uint32_t cpu, bool svm, struct nvirt_flush_set *due);

/** L1 left VMX operation, or the vCPU was reset: no tag stands for anything any more. */
void nvirt_tlb_forget(struct nvirt_tlb *tlb);

NVIRT_END_DECLS

#endif
