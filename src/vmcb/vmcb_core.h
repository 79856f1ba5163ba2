/* SPDX-License-Identifier: MIT */
/*
 * The pure half of nested SVM: what VMRUN refuses, how vmcb12 and vmcb01 make vmcb02, whose an exit
 * of L2 is, and what #VMEXIT leaves in vmcb12 and in L1's registers. Plain structs in, plain
 * structs out; no port is called.
 */
#ifndef NVIRT_SRC_VMCB_CORE_H
#define NVIRT_SRC_VMCB_CORE_H

#include <nvirt/vmcb.h>
#include <nvirt/x86.h>

/** DR6.BS: a single step. */
#define NVI_DR6_BS NVIRT_BIT(14)
/** DR6.BD, BT: an access to the debug registers, a task switch. */
#define NVI_DR6_BD NVIRT_BIT(13)
#define NVI_DR6_BT NVIRT_BIT(15)

/* ---- check.c ---- */

enum nvi_svm_rule {
    NVI_SVM_RULE_NONE = 0, /**< Every rule holds. */
#define NVI_SVM_RULE(name, manual, section, text) NVI_RULE_##name,
#include "vmcb/rules.def"
#undef NVI_SVM_RULE
    NVI_SVM_RULE_COUNT
};

/** What the rules look at besides vmcb12. */
struct nvi_svm_check_in {
    const struct nvirt_vmcb *vmcb12;
    const struct nvirt_svm_caps *offer; /**< What L1 was told the CPU has. */
    bool host_paging;                   /**< CR0.PG of L1. */
    uint32_t fresh;                     /**< Groups (NVIRT_VMCB_CLEAN_*) that may have changed since
                                             the last check of @p vmcb12; the others passed it. */
};

/** Short for nvi_svm_check(): a VMCB that passed it, of which nothing is fresh, passes it again. No
 *  clean bit covers the event and L1's own paging. */
static inline bool nvi_svm_passes_again(const struct nvirt_vmcb *vmcb12, uint32_t fresh,
                                        bool host_paging)
{
    return fresh == 0 && (vmcb12->event_inj & NVIRT_SVM_EVENT_VALID) == 0 && host_paging;
}

/** The first rule that @p in breaks, in the order of rules.def, of those that look at a fresh group
 *  or at what no clean bit covers. */
enum nvi_svm_rule nvi_svm_check(const struct nvi_svm_check_in *in);

/** Name of a rule for traces; "" for none. Constant. */
const char *nvi_svm_rule_name(enum nvi_svm_rule rule);

/* ---- maps.c: permission maps [APM 2 "IOIO Intercepts", "MSR Intercepts"] ---- */

/**
 * Where the two bits of @p msr lie in an MSR map: number of the read bit, the write bit follows.
 * @return false when the map has none: such an MSR is intercepted whenever the map is in use.
 */
bool nvi_svm_msrpm_position(uint32_t msr, uint32_t *bit);

/** Whether map @p msrpm (NVIRT_SVM_MSRPM_BYTES) intercepts the access. */
bool nvi_svm_msrpm_intercepts(const uint8_t *msrpm, uint32_t msr, bool write);

/** First bit and number of bits (1, 2 or 4) that an IOIO exit with @p info1 is decided by. */
void nvi_svm_iopm_position(uint64_t info1, uint32_t *bit, uint32_t *count);

/** Whether any of @p count bits from @p bit is set in @p map. The caller has bounded both. */
bool nvi_svm_map_any(const uint8_t *map, uint32_t bit, uint32_t count);

/** Sets or clears @p count bits from @p bit. */
void nvi_svm_map_write(uint8_t *map, uint32_t bit, uint32_t count, bool value);

/* ---- merge.c ---- */

/** int_ctl bits that depend on more than vmcb12: set at each entry. */
#define NVI_SVM_INT_CTL_OF_ENTRY (NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IRQ | NVIRT_SVM_V_NMI)

/** int_ctl bits of L1's that mean the same for hardware. V_INTR_MASKING, V_IRQ and V_NMI depend on
 *  more than vmcb12: nvi_svm_set_interrupts(). */
uint64_t nvi_svm_int_ctl_of_l2(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer);

struct nvi_svm_merge_in {
    const struct nvirt_vmcb *vmcb12; /**< Checked. */
    const struct nvirt_vmcb *vmcb01;
    const struct nvirt_svm_caps *offer;
    nvirt_hpa iopm02;
    nvirt_hpa msrpm02;
    uint32_t asid02;
    uint32_t fresh;    /**< Groups of vmcb12 that vmcb02 does not hold yet. */
    uint64_t tsc_ratio12; /**< L1's TSC_RATIO, NVIRT_SVM_TSC_RATIO_ONE where it has none. */
    bool pass_through; /**< Interrupts belong to L1: INTR, NMI and CR8 bits of vmcb01 are not L0's. */
    bool dr7_watch;    /**< Nor is its intercept of writes of DR7, */
    bool db_watch;     /**< nor that of #DB. */
};

/** L1's NP_ENABLE, where L1 was offered it. */
bool nvi_svm_np12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer);

/** L1's virtual GIF and virtual NMIs for L2 are on, where L1 was offered them. */
bool nvi_svm_vgif12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer);
bool nvi_svm_vnmi12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer);

/** Fresh groups with which nvi_svm_merge() merges the controls, nvi_svm_merge_controls(), too. Nested
 *  paging decides on an intercept: see options.c. */
#define NVI_SVM_MERGES_CONTROLS (NVIRT_VMCB_CLEAN_INTERCEPTS | NVIRT_VMCB_CLEAN_NP)

/** All of vmcb02 for the first entry after L1's VMRUN, except n_cr3, TLB_CONTROL and the bits of int_ctl
 *  that are set at the entry. */
void nvi_svm_merge(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** RFLAGS bits that exist. */
#define NVI_SVM_RFLAGS_ALLOWED                                                                     \
    (NVIRT_BIT(0) | NVIRT_BIT(2) | NVIRT_BIT(4) | NVIRT_BITS(14, 6) | NVIRT_BITS(21, 16))

/** Of nvi_svm_merge(), what no clean bit covers: all of it for an L2 with nested paging and no fresh
 *  group. */
static inline void nvi_svm_merge_uncovered(const struct nvirt_vmcb *vmcb12,
                                           const struct nvirt_svm_caps *offer, uint32_t asid02,
                                           struct nvirt_vmcb *vmcb02)
{
    bool injects = (vmcb12->event_inj & NVIRT_SVM_EVENT_VALID) != 0;
    bool nrips = (offer->features & NVIRT_SVM_FEATURE_NRIPS) != 0;

    nvirt_vmcb_set_asid(vmcb02, asid02);
    nvirt_vmcb_set_rflags(vmcb02,
                          (vmcb12->rflags & NVI_SVM_RFLAGS_ALLOWED) | NVIRT_RFLAGS_FIXED1);
    nvirt_vmcb_set_rip(vmcb02, vmcb12->rip);
    nvirt_vmcb_set_rsp(vmcb02, vmcb12->rsp);
    nvirt_vmcb_set_rax(vmcb02, vmcb12->rax);
    nvirt_vmcb_set_int_state(vmcb02, vmcb12->int_state & NVIRT_SVM_INTERRUPT_SHADOW);
    /* An event that is not valid must not leave reserved bits behind. */
    nvirt_vmcb_set_event_inj(vmcb02, injects ? vmcb12->event_inj & ~NVIRT_SVM_EVENT_RESERVED : 0);
    /* Injection of a software interrupt pushes this as the return address; where the CPU has no such
     * field, RIP. */
    nvirt_vmcb_set_next_rip(vmcb02, nrips ? vmcb12->next_rip : vmcb12->rip);
}

/** Only what depends on vmcb01's controls, after L0 changed them. */
void nvi_svm_merge_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** An intercept of L1's that it was not offered is none. */
void nvi_svm_hide_intercepts(const struct nvirt_svm_caps *offer, struct nvirt_vmcb *vmcb12);

/* ---- options.c: what only some CPUs have ---- */

/** Features of options.c whose state moves: where the CPU has none of them, nothing of it is called. */
#define NVI_SVM_STATE_OPTIONS                                                                      \
    (NVIRT_SVM_FEATURE_LBR | NVIRT_SVM_FEATURE_SPEC_CTRL | NVIRT_SVM_FEATURE_BUS_LOCK)

/** The part of nvi_svm_merge_controls() that comes last: virt_ext, PAUSE filter, and the intercepts
 *  that they lift. */
void nvi_svm_merge_option_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** Last branches and SPEC_CTRL for the first entry after VMRUN. */
void nvi_svm_merge_option_state(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** What #VMEXIT makes of them: they go to L1's page (null without memory) where they were L2's own,
 *  else back to L1. */
void nvi_svm_save_option_state(const struct nvi_svm_merge_in *in, const struct nvirt_vmcb *vmcb02,
                               struct nvirt_vmcb *vmcb01, struct nvirt_vmcb *page);

/** Sets the bus locks that L2 may make until the next exit. */
void nvi_svm_merge_bus_locks(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** After an exit, @p allowed of which were left: takes those that L2 made off both levels' counts. */
void nvi_svm_count_bus_locks(const struct nvi_svm_merge_in *in, uint16_t allowed,
                             const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *vmcb12,
                             struct nvirt_vmcb *vmcb01);

/* ---- merge.c, continued ---- */

/** What decides on interrupts at an entry. */
struct nvi_svm_interrupt_in {
    const struct nvirt_vmcb *vmcb12; /**< Null at level 1. */
    const struct nvirt_vmcb *vmcb01;
    bool pass_through;
    bool gif;
    bool l1_if;  /**< RFLAGS.IF of L1 when it executed VMRUN. */
    bool v_irq;  /**< V_IRQ of L2 is pending, and its virtual GIF, if it has one, is 1. */
    bool v_nmi;  /**< Likewise a virtual NMI. */
    bool window; /**< nvirt wants to know when an interrupt could be taken. */
};

/**
 * Sets INTR, NMI, VINTR and CR8 intercepts, V_INTR_MASKING and V_IRQ of the VMCB of the level.
 * @return RFLAGS.IF that VMRUN needs: nvirt_svm_run::host_if.
 */
bool nvi_svm_set_interrupts(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb);

/** Who keeps L1's GIF while L1 runs. */
enum nvi_svm_gif {
    NVI_SVM_GIF_UNKNOWN = 0,
    NVI_SVM_GIF_CLEAR, /**< nvirt, which intercepts STGI and CLGI; it is 0, */
    NVI_SVM_GIF_SET,   /**< or 1. */
    NVI_SVM_GIF_CPUS   /**< The CPU, as V_GIF; STGI and CLGI do not exit. */
};

/**
 * The same for level 1 without a window. Where the CPU keeps the flag, V_GIF has its value.
 * [APM 2 "Virtual GIF"]
 */
bool nvi_svm_set_interrupts_of_l1(bool pass_through, enum nvi_svm_gif gif,
                                  struct nvirt_vmcb *vmcb01);

/** Of that, what follows from GIF where interrupts pass through and nvirt keeps it: @p held is GIF 0. */
void nvi_svm_switch_gif_of_l1(bool held, struct nvirt_vmcb *vmcb01);

/** Lets L1 execute VMLOAD and VMSAVE on hardware, or intercepts them.
 *  [APM 2 "VMSAVE and VMLOAD Virtualization"] */
void nvi_svm_give_vmload_to_l1(bool on, struct nvirt_vmcb *vmcb01);

/* ---- reflect.c ---- */

/** What is to be done about an exit of L2. */
enum nvi_svm_action {
    NVI_SVM_REFLECT = 0,  /**< L1's. */
    NVI_SVM_HOST,         /**< The host's. */
    NVI_SVM_NESTED_FAULT, /**< Nested page fault: the tables decide. */
    NVI_SVM_IO,           /**< The I/O maps decide. */
    NVI_SVM_MSR,          /**< The MSR maps decide. */
    NVI_SVM_INSTRUCTION,  /**< An SVM instruction L1 lets L2 execute: nvirt does it. */
    NVI_SVM_UNDEFINED,    /**< An instruction that is #UD for L2. */
    NVI_SVM_DEAD,         /**< Shutdown of L2 that L1 did not ask for: L1 is gone too. */
    NVI_SVM_REFUSED,      /**< Hardware refused vmcb02. */
    NVI_SVM_RESUME        /**< Nobody's any more: L2 goes on. */
};

/** Decides by vmcb12's intercepts; by vmcb01's only whether a machine check is the host's.
 *  Every code has an answer. */
enum nvi_svm_action nvi_svm_reflect(const struct nvirt_vmcb *vmcb01,
                                    const struct nvirt_vmcb *vmcb12, uint64_t code,
                                    bool pass_through);

/* ---- sync.c ---- */

/** Bytes of L1's page that a #VMEXIT writes where no feature adds to it, and that VMLOAD and VMSAVE
 *  move: for the counters. */
#define NVI_SVM_SAVED_BYTES 241u
#define NVI_SVM_VMLOAD_BYTES 128u

/** How L1 was left. */
struct nvi_svm_exit_info {
    uint64_t code;
    uint64_t info1;
    uint64_t info2;
    uint64_t int_info; /**< EXITINTINFO. */
};

/**
 * Brings the snapshot @p vmcb12 up to what #VMEXIT leaves in L1's page, as far as VMRUN may look at
 * it with the clean bits set: virtual interrupts, the event used up, and the registers that a rule
 * compares with another group. The other registers stay in vmcb02.
 */
void nvi_svm_save_guest(const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *vmcb12);

/** Reads of @p page the fields of options.c that @p offer has and vmcb12 (its snapshot) turns on.
 *  @return bytes read. */
uint32_t nvi_svm_snapshot_options(const struct nvirt_vmcb *page, const struct nvirt_svm_caps *offer,
                                  struct nvirt_vmcb *snapshot);

/** What #VMEXIT writes to L1's page. */
struct nvi_svm_write_back_in {
    const struct nvirt_vmcb *vmcb12; /**< The snapshot, after nvi_svm_save_guest(). */
    const struct nvirt_vmcb *vmcb02;
    const struct nvirt_svm_caps *offer;
    const struct nvi_svm_exit_info *info;
};

/** Writes exactly the fields of [APM 2 "#VMEXIT"]. */
void nvi_svm_write_back(const struct nvi_svm_write_back_in *in, struct nvirt_vmcb *page);

/** Only the exit code and the fields that go with it, for a VMRUN that was refused. */
void nvi_svm_write_refusal(struct nvirt_vmcb *page);

/** Gives vmcb01 the state that #VMEXIT leaves L1 with beyond what VMRUN saved. */
void nvi_svm_load_host(const struct nvirt_vmcb *vmcb02, bool np12, struct nvirt_vmcb *vmcb01);

/**
 * Reads of @p page what VMRUN looks at and may have changed: what no clean bit covers and the groups
 * @p fresh, each byte once; the rest of the snapshot is not touched.
 * @param unchanged of them, those of controls that were in the snapshot as they are: where that is what
 *        L2 last ran with, they are as good as clean.
 * @return bytes read.
 */
uint32_t nvi_svm_snapshot(const struct nvirt_vmcb *page, uint32_t fresh,
                          struct nvirt_vmcb *snapshot, uint32_t *unchanged);

/** The same where nothing is fresh. */
uint32_t nvi_svm_snapshot_uncovered(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot);

/** Copies what VMLOAD and VMSAVE move, bases made canonical for @p linear_bits. */
void nvi_svm_copy_vmload(const struct nvirt_vmcb *from, struct nvirt_vmcb *to,
                         uint32_t linear_bits);

/** As nvi_svm_normal_event(), of a valid event. */
uint64_t nvi_svm_normalize_event(uint64_t exit_int_info);

/** Event type and vector that EXITINTINFO really means, where the CPU misreports it; 0 for none. */
static inline uint64_t nvi_svm_normal_event(uint64_t exit_int_info)
{
    bool valid = (exit_int_info & NVIRT_SVM_EVENT_VALID) != 0;

    return valid ? nvi_svm_normalize_event(exit_int_info) : 0;
}

#endif
