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
};

/** The first rule that @p in breaks, in the order of rules.def. */
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

struct nvi_svm_merge_in {
    const struct nvirt_vmcb *vmcb12; /**< Checked. */
    const struct nvirt_vmcb *vmcb01;
    const struct nvirt_svm_caps *offer;
    nvirt_hpa iopm02;
    nvirt_hpa msrpm02;
    uint32_t asid02;
    bool pass_through; /**< Interrupts belong to L1: INTR, NMI and CR8 bits of vmcb01 are not L0's. */
};

/** L1's NP_ENABLE, where L1 was offered it. */
bool nvi_svm_np12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer);

/** All of vmcb02 for the first entry after L1's VMRUN, except n_cr3 and TLB_CONTROL. */
void nvi_svm_merge(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** Only what depends on vmcb01's controls, after L0 changed them. */
void nvi_svm_merge_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02);

/** What decides on interrupts at an entry. */
struct nvi_svm_interrupt_in {
    const struct nvirt_vmcb *vmcb12; /**< Null at level 1. */
    const struct nvirt_vmcb *vmcb01;
    bool pass_through;
    bool gif;
    bool l1_if;  /**< RFLAGS.IF of L1 when it executed VMRUN. */
    bool v_irq;  /**< V_IRQ of L2 is pending (kept apart while GIF is 0). */
    bool window; /**< nvirt wants to know when an interrupt could be taken. */
};

/**
 * Sets INTR, NMI, VINTR and CR8 intercepts, V_INTR_MASKING and V_IRQ of the VMCB of the level.
 * @return RFLAGS.IF that VMRUN needs: nvirt_svm_run::host_if.
 */
bool nvi_svm_set_interrupts(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb);

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

/** Decides by vmcb12's intercepts alone. Every code has an answer. */
enum nvi_svm_action nvi_svm_reflect(const struct nvirt_vmcb *vmcb12, uint64_t code,
                                    bool pass_through);

/* ---- sync.c ---- */

/** Bytes of L1's page that a snapshot reads, that a #VMEXIT writes where no feature adds to it, and
 *  that VMLOAD and VMSAVE move: for the counters. */
#define NVI_SVM_SNAPSHOT_BYTES 848u
#define NVI_SVM_SAVED_BYTES 241u
#define NVI_SVM_VMLOAD_BYTES 128u

/** How L1 was left. */
struct nvi_svm_exit_info {
    uint64_t code;
    uint64_t info1;
    uint64_t info2;
    uint64_t int_info; /**< EXITINTINFO. */
};

/** Moves into the snapshot @p vmcb12 what VMRUN and #VMEXIT save [APM 2 "#VMEXIT"]. */
void nvi_svm_save_guest(const struct nvirt_vmcb *vmcb02, const struct nvirt_svm_caps *offer,
                        const struct nvi_svm_exit_info *info, struct nvirt_vmcb *vmcb12);

/** Copies exactly the fields that #VMEXIT writes from the snapshot to L1's page. */
void nvi_svm_write_back(const struct nvirt_vmcb *snapshot, const struct nvirt_svm_caps *offer,
                        struct nvirt_vmcb *page);

/** Only the exit code and the fields that go with it, for a VMRUN that was refused. */
void nvi_svm_write_refusal(struct nvirt_vmcb *page);

/** Gives vmcb01 the state that #VMEXIT leaves L1 with beyond what VMRUN saved. */
void nvi_svm_load_host(const struct nvirt_vmcb *vmcb02, bool np12, struct nvirt_vmcb *vmcb01);

/** Reads the parts of @p page that VMRUN looks at, each byte once; the rest of the snapshot, 0 from
 *  the start, is not touched. */
void nvi_svm_snapshot(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot);

/** Copies what VMLOAD and VMSAVE move, bases made canonical for @p linear_bits. */
void nvi_svm_copy_vmload(const struct nvirt_vmcb *from, struct nvirt_vmcb *to,
                         uint32_t linear_bits);

/** Event type and vector that EXITINTINFO really means, where the CPU misreports it. */
uint64_t nvi_svm_normal_event(uint64_t exit_int_info);

#endif
