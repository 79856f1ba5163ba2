/* SPDX-License-Identifier: MIT */
/*
 * What the files of the nested-SVM state machine share: the vCPU object, and one section of
 * prototypes per file. Nothing here is for anyone outside src/nested/svm_*.c and their tests.
 *
 * Level 1 runs on vmcb01, which holds all of L1's registers while L2 runs on vmcb02; so leaving L2
 * needs no copy of L1's state. State that VMLOAD and VMSAVE move is always in vmcb01: both levels
 * share it, as they share the CPU.
 */
#ifndef NVI_NESTED_SVM_INTERNAL_H
#define NVI_NESTED_SVM_INTERNAL_H

#include <nvirt/port_hot.h>
#include <nvirt/svm.h>
#include <nvirt/tlbflush.h>

#include "mmu/mmu.h"
#include "npt/npt.h"
#include "vmcb/vmcb_core.h"

#define NVI_SVM_MAGIC 0x6d76736eu
/** VMCB pages of L1 kept pinned: those of a few L2s, and L1's own for VMLOAD and VMSAVE. */
#define NVI_SVM_PINS 4u
/** Accesses that the permission maps of L2 let pass, remembered so that they can be taken back. */
#define NVI_SVM_GRANTS 32u

struct nvi_svm_pin {
    bool used;
    uint64_t sequence; /**< Of the port, when it was pinned. */
    uint64_t page;
    nvirt_hpa hpa;
    uint64_t last_use;
};

/** @p count bits from @p bit that were cleared in a map of L2. */
struct nvi_svm_grant {
    bool io;
    uint8_t count;
    uint32_t bit;
};

/** Events that the host handed over and that could not be delivered yet. */
struct nvi_svm_waiting {
    bool nmi;
    bool interrupt;
    uint8_t vector;      /**< Of the interrupt. */
    uint64_t exception;  /**< EVENTINJ word; 0 for none. */
    uint64_t address;    /**< Its CR2, for #PF. */
    uint32_t exception_level; /**< The level it was raised at. */
    bool nmi_masked;     /**< nvirt injected one whose IRET was not seen. */
    bool iret_pending;   /**< IRET was intercepted at iret_rip and has yet to run. */
    uint64_t iret_rip;
    uint64_t iret_rsp;
};

/** What nvirt put for itself into the VMCB that was prepared, to be taken back after the entry, or
 *  instead of it. The flags stay readable while the exit is handled. */
struct nvi_svm_own {
    struct nvirt_vmcb *vmcb; /**< Null: nothing is in there. */
    uint32_t exceptions; /**< Bits added to the intercepts of exceptions, word 2. */
    uint32_t others;     /**< Bits added to word 3. */
    uint64_t int_ctl;    /**< What the window's V_IRQ replaced. */
    uint64_t rflags;     /**< RFLAGS and DR6 before the single step. */
    uint64_t dr6;
    bool window;         /**< An exit is wanted when an interrupt could be taken. */
    bool fake_irq;       /**< V_IRQ in hardware is nvirt's, not L1's. */
    bool iret_watch;     /**< The end of an NMI handler is waited for. */
    bool gp_watch;       /**< #GP of an L1 that has SVM off. */
    bool step;           /**< One IRET is single-stepped. */
};

/** Flushes that the prepared entry is to carry out. They count as done when it has. */
struct nvi_svm_flushing {
    bool open;
    uint32_t level;
    uint8_t control; /**< TLB_CONTROL for nvirt's reasons. */
    enum nvi_mmu_flush tables;
};

struct nvirt_svm_vcpu {
    uint32_t magic;
    uint32_t index;
    uint32_t level;
    bool prepared;
    bool pass_through;
    struct nvirt_vm *vm;
    struct nvirt_svm_caps cpu;
    struct nvirt_svm_caps offer;
    struct nvi_npt_config npt;

    nvirt_hpa vmcb01_hpa;
    nvirt_hpa vmcb02_hpa;
    struct nvirt_vmcb *vmcb01;
    struct nvirt_vmcb *vmcb02;
    nvirt_hpa msrpm02_hpa;
    nvirt_hpa iopm02_hpa;
    uint8_t *msrpm02;
    uint8_t *iopm02;
    const uint8_t *msrpm01;
    const uint8_t *iopm01;

    /* What L1 believes its CPU to be in. */
    bool svme;
    bool gif;
    uint64_t vm_cr;
    uint64_t hsave_pa;
    uint64_t svm_key;

    /* L2, from VMRUN to #VMEXIT. */
    struct nvirt_vmcb vmcb12;     /**< Snapshot taken by VMRUN; what #VMEXIT will write. */
    nvirt_l1gpa vmcb12_address;
    bool np12;
    bool l1_if;
    bool v_irq;                   /**< V_IRQ as L1 will see it. */
    bool controls_changed;
    uint64_t requeued;            /**< Event injected at the last entry; 0 for none. */
    uint64_t requeued_next_rip;   /**< Return address that went with it. */
    uint32_t asid02;
    struct nvi_mmu_key key;
    uint64_t root_number;         /**< Stands for key; never for another one. */
    struct nvi_mmu_root *root;    /**< Null until the first prepare after VMRUN. */

    struct nvi_svm_waiting waiting;
    struct nvi_svm_own own;
    struct nvi_svm_flushing flushing;
    bool barrier;                 /**< L2 was left for L1 and the host was not told yet. */

    struct nvirt_port_cpu *last_cpu;
    uint32_t cpu_number;          /**< Counts moves: a CPU that is come back to is a new one. */

    struct nvi_svm_pin pin[NVI_SVM_PINS];
    uint64_t pin_clock;
    uint32_t grants;
    bool grants_overflow;
    struct nvi_svm_grant grant[NVI_SVM_GRANTS];

    struct nvirt_tlb tlb;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[NVI_MMU_DEFAULT_ROOTS];
    struct nvirt_stats stats;
};

/** The VMCB of the level that runs. */
static inline struct nvirt_vmcb *nvi_svm_current(struct nvirt_svm_vcpu *v)
{
    return v->level == 2 ? v->vmcb02 : v->vmcb01;
}

static inline bool nvi_svm_is_long64(const struct nvirt_vmcb *vmcb)
{
    return (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0 && (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0;
}

/* ---- svm_insn.c: lengths of intercepted instructions ---- */

struct nvi_svm_insn {
    uint8_t length;       /**< 1 to 15. */
    uint8_t address_bits; /**< 16, 32 or 64. */
};

/** Longest instruction. */
#define NVI_SVM_INSN_MAX 15u

/**
 * Decodes one of the instructions that cause exit @p code.
 * @param bits 16, 32 or 64: of the code segment.
 * @return false when the bytes are no such instruction, or not all of it.
 */
bool nvi_svm_decode(const uint8_t *bytes, uint32_t count, uint32_t bits, uint64_t code,
                    struct nvi_svm_insn *insn);

/** The instruction that caused exit @p code, by nRIP where that is enough, else by its bytes. */
bool nvi_svm_fetch(struct nvirt_svm_vcpu *v, uint64_t code, struct nvi_svm_insn *insn);

/** True when an SVM instruction other than VMMCALL stands at CS:RIP. */
bool nvi_svm_is_svm_instruction(struct nvirt_svm_vcpu *v);

/* ---- svm_event.c ---- */

/** Raises an exception at the level that runs: injected, or L1's exit when L1 intercepts it. */
void nvi_svm_raise(struct nvirt_svm_vcpu *v, uint32_t vector, bool has_error, uint32_t error);
/** Gives the level that runs the #GP that was intercepted for nvirt; a double fault where it met
 *  another exception. @return false when that makes a shutdown. */
bool nvi_svm_return_gp(struct nvirt_svm_vcpu *v);
/** Steps over an instruction: RIP, interrupt shadow, RF. */
void nvi_svm_advance(struct nvirt_vmcb *vmcb, uint32_t length);
/** nvi_svm_advance() at the level that runs, and the single-step trap that may follow. */
void nvi_svm_retire(struct nvirt_svm_vcpu *v, uint32_t length);
/** Before an entry: delivers what waits, as far as it can be. May leave L2. */
void nvi_svm_deliver(struct nvirt_svm_vcpu *v);
/** Last before an entry: interrupt controls, and what nvirt watches for itself.
 *  @return RFLAGS.IF that VMRUN needs. */
bool nvi_svm_watch(struct nvirt_svm_vcpu *v);
/** Takes nvi_svm_watch()'s work back: the entry did not take place. */
void nvi_svm_unwatch(struct nvirt_svm_vcpu *v);
/** After an exit: gives up nvirt's own intercepts. @return true when the exit was one of them. */
bool nvi_svm_close_window(struct nvirt_svm_vcpu *v, uint64_t code);
/** The interrupted event of @p exit_int_info is delivered again at the next entry. */
void nvi_svm_requeue(struct nvirt_svm_vcpu *v, uint64_t exit_int_info);

/* ---- svm_run.c ---- */

/** VMRUN of L1, its operand checked. */
void nvi_svm_vmrun(struct nvirt_svm_vcpu *v, nvirt_l1gpa vmcb12, uint32_t length);
/** #VMEXIT: L2 is left, L1 sees @p info. */
void nvi_svm_leave(struct nvirt_svm_vcpu *v, const struct nvi_svm_exit_info *info);
/** Hardware refused vmcb02: to L1 its VMRUN failed. */
void nvi_svm_refused(struct nvirt_svm_vcpu *v);
/** Leaves L2 without a trace: reset. */
void nvi_svm_abandon(struct nvirt_svm_vcpu *v);
/** Pointer to a page of L1 that stays valid while pinned; null without memory there. */
struct nvirt_vmcb *nvi_svm_page(struct nvirt_svm_vcpu *v, nvirt_l1gpa page);
void nvi_svm_unpin_all(struct nvirt_svm_vcpu *v);
/** Unpins what was pinned before the host changed its memory; the page of an active L2 stays. */
void nvi_svm_unpin_moved(struct nvirt_svm_vcpu *v);
/** Merge input for this vCPU. */
struct nvi_svm_merge_in nvi_svm_merge_input(const struct nvirt_svm_vcpu *v);

/* ---- svm_prepare.c ---- */

/** The prepared entry completed: its flushes are done. */
void nvi_svm_flushes_done(struct nvirt_svm_vcpu *v);
/** It did not, and will not as it is: they are owed again. */
void nvi_svm_flushes_owed(struct nvirt_svm_vcpu *v);

/* ---- svm_instructions.c ---- */

/** Exit @p code, an SVM instruction of the level that runs. @return the verdict. */
enum nvirt_verdict nvi_svm_instruction(struct nvirt_svm_vcpu *v, uint64_t code,
                                       struct nvirt_gprs *gprs);
/** #GP of L1 while it has SVM off: #UD if an SVM instruction raised it. @return the verdict. */
enum nvirt_verdict nvi_svm_watched_gp(struct nvirt_svm_vcpu *v);

/* ---- svm_msr.c ---- */

/** True for an MSR that nvirt keeps for L1. */
bool nvi_svm_msr_is_held(const struct nvirt_svm_vcpu *v, uint32_t msr);
/** RDMSR or WRMSR of such an MSR at the level that runs. */
void nvi_svm_msr(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs, bool write);

/* ---- svm_maps.c: permission maps of L2 ---- */

/** Takes back what L1 or L0 wants by now; lets through at once what L1's map allows of the usual
 *  MSRs. */
void nvi_svm_maps_reset(struct nvirt_svm_vcpu *v);
/** Whose an IOIO or MSR exit of L2 is; what neither level wants is let through from now on. */
enum nvi_svm_action nvi_svm_maps_decide_io(struct nvirt_svm_vcpu *v, uint64_t info1);
enum nvi_svm_action nvi_svm_maps_decide_msr(struct nvirt_svm_vcpu *v, uint32_t msr, bool write);

#endif
