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
#include "nested/hyperv.h"
#include "nested/vm_internal.h"
#include "npt/npt.h"
#include "vmcb/vmcb_core.h"

#define NVI_SVM_MAGIC 0x6d76736eu
/** No value of nvirt_svm_vcpu.events. */
#define NVI_SVM_EVENTS_UNKNOWN (~UINT64_C(0))
/** Pages of L1 kept pinned: the VMCBs of a few L2s and L1's own for VMLOAD and VMSAVE, those of
 *  permission maps, page tables and code. */
#define NVI_SVM_PINS 16u
/** Words of the MSR map that are looked at in advance. */
#define NVI_SVM_CHUNKS 3u
/** Accesses that the permission maps of L2 let pass, remembered so that they can be taken back. */
#define NVI_SVM_GRANTS 32u
#define NVI_SVM_GRANTS_LOST (NVI_SVM_GRANTS + 1u)

/** What a page of L1 is pinned for. The pin found last for each use is looked at first. */
enum nvi_svm_use {
    NVI_SVM_USE_VMCB = 0, /**< vmcb12. */
    NVI_SVM_USE_STATE,    /**< Of VMLOAD and VMSAVE. */
    NVI_SVM_USE_MAP,      /**< A permission map; read only from here on. */
    NVI_SVM_USE_TABLE,    /**< Page tables that an instruction fetch went through, */
    NVI_SVM_USE_CODE,     /**< and the instructions. */
    NVI_SVM_USES
};

struct nvi_svm_pin {
    bool used;
    bool writable;
    uint64_t sequence; /**< Of the port, when it was pinned. */
    uint64_t page;
    nvirt_hpa hpa;
    uint64_t last_use;
};

/** No page has this address. */
#define NVI_SVM_NOWHERE (~UINT64_C(0))

struct nvi_svm_found {
    uint64_t page; /**< NVI_SVM_NOWHERE: none. */
    void *pointer;
};

/** Most levels of L1's page tables. */
#define NVI_SVM_WALK_ENTRIES 5u

/** The walk of L1's page tables that found its last instruction: see svm_fetch.c. */
struct nvi_svm_walk {
    bool used;
    bool user;       /**< CPL was 3. */
    uint32_t count;  /**< Entries. */
    uint64_t cr0, cr3, cr4, efer;
    uint64_t mask;   /**< Of the page's number in an address. */
    uint64_t linear; /**< Of the page, */
    nvirt_l1gpa base; /**< and where it is. */
    const volatile uint64_t *entry[NVI_SVM_WALK_ENTRIES]; /**< In pinned pages, top level first, */
    uint64_t value[NVI_SVM_WALK_ENTRIES];                 /**< and what they were. */
};

/** @p count bits from @p bit that were cleared in a map of L2. */
struct nvi_svm_grant {
    bool io;
    uint8_t count;
    uint32_t bit;
};

/** Events that the host handed over and that could not be delivered yet. */
struct nvi_svm_waiting {
    union {
        struct {
            bool nmi;
            bool interrupt;
            bool exception_waits;
            bool nmi_masked; /**< nvirt injected one whose IRET was not seen. */
        };
        uint32_t any;        /**< 0: none of these. */
    };
    uint8_t vector;      /**< Of the interrupt. */
    uint64_t exception;  /**< EVENTINJ word; 0 for none. */
    uint64_t address;    /**< Its CR2, for #PF. */
    uint32_t exception_level; /**< The level it was raised at. */
    bool iret_pending;   /**< IRET was intercepted at iret_rip and has yet to run. */
    uint64_t iret_rip;
    uint64_t iret_rsp;
};

/** What nvirt put for itself into the VMCB that was prepared, to be taken back after the entry, or
 *  instead of it. The flags stay readable while the exit is handled. */
struct nvi_svm_own {
    struct nvirt_vmcb *vmcb; /**< Null: nothing is in there. */
    bool active;         /**< Something is watched for: else all that follows is 0. */
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
    bool exit_soon;      /**< The host is to make an exit right after the delivery of EVENTINJ. */
};

/** What the prepared entry is to carry out by TLB_CONTROL. It counts as done when VMRUN took place. */
struct nvi_svm_flushing {
    bool open;
    struct nvirt_tlb_entry entry;
    bool by_control;          /**< TLB_CONTROL is set for op. */
    struct nvirt_flush_op op;
};

struct nvirt_svm_vcpu {
    uint32_t magic;
    uint32_t index;
    uint32_t level;
    bool prepared;
    bool pass_through;
    bool moves_options;           /**< The CPU has any of NVI_SVM_STATE_OPTIONS. */
    uint16_t bus_locks;           /**< That L2 was allowed at the last entry. */
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
    uint64_t vm_cr;
    uint64_t hsave_pa;
    uint64_t svm_key;
    uint64_t tsc_ratio12;         /**< L1's TSC_RATIO MSR. */
    uint64_t tsc_ratio01;         /**< The host's for L1. */

    /* L2, from VMRUN to #VMEXIT. */
    struct nvirt_vmcb vmcb12;     /**< Snapshot taken by VMRUN. Registers of L2 are in vmcb02 once
                                       it runs (nvi_svm_save_guest()). */
    nvirt_l1gpa vmcb12_address;
    bool vmcb12_kept;             /**< Snapshot and vmcb02 are as the last run of it left them. */
    union {
        struct {
            bool gif;             /**< Of L1's CPU, whatever level runs. */
            bool np12;
            bool l1_if;
            bool masking12;       /**< V_INTR_MASKING. */
            bool v_irq;           /**< V_IRQ as L1 will see it. */
            bool v_nmi;           /**< Likewise V_NMI. */
            bool has_vgif;        /**< L1 gave L2 a virtual GIF, */
            bool v_gif;           /**< which is this. */
        };
        uint64_t events;          /**< All of them, to be compared: what decides on interrupts of L2
                                       besides vmcb12's intercepts. */
    };
    bool controls_changed;
    uint64_t requeued;            /**< Event injected at the last entry; 0 for none. */
    uint64_t requeued_next_rip;   /**< Return address that went with it. */
    uint32_t asid02;
    struct nvi_mmu_key key;
    struct nvi_npt_mode key_mode; /**< What it was made from, besides vmcb12, where np12 was set. */
    uint64_t root_number;         /**< Stands for key; never for another one. */
    struct nvi_mmu_root *root;    /**< Null until the first prepare after VMRUN. */

    struct nvi_svm_waiting waiting;
    struct nvi_svm_own own;
    struct nvi_svm_flushing flushing;
    bool cpu_has_vgif;            /**< Constant: the CPU can keep L1's GIF, */
    bool cpu_has_vmload;          /**< and execute L1's VMLOAD and VMSAVE. */
    bool direct;                  /**< A physical event met L1 while the CPU kept its GIF: they go to
                                       L1 as they come until L1 clears GIF, or wait until it sets it. */
    bool dr7_watch;               /**< nvirt's own intercepts in vmcb01: of writes of DR7, */
    bool db_watch;                /**< and of #DB. */
    uint64_t dr6_before;          /**< DR6 at L1's last entry. */
    enum nvi_svm_gif gif01;       /**< What vmcb01's controls were last set for. */
    uint64_t events02;            /**< The value of events that vmcb02's were last set for, or
                                       NVI_SVM_EVENTS_UNKNOWN: then int_ctl has these bits, */
    uint64_t int_ctl02;
    bool host_if02;               /**< and VMRUN needs this RFLAGS.IF. */
    bool barrier;                 /**< L2 was left for L1 and the host was not told yet. */

    struct nvirt_port_cpu *last_cpu;
    uint32_t cpu_number;          /**< Of it, in the flush engine. */

    struct nvi_svm_pin pin[NVI_SVM_PINS];
    struct nvi_svm_found found[NVI_SVM_USES]; /**< The page found last; none while pins change. */
    struct nvi_svm_walk walk;     /**< Forgotten when a page is unpinned. */
    uint64_t pin_clock;
    uint64_t pins_sequence;       /**< Of the port, under which all pins hold. */
    uint64_t chunk01[NVI_SVM_CHUNKS]; /**< What L0 wants of the words looked at in advance. */
    uint32_t grants;              /**< NVI_SVM_GRANTS_LOST: more than are remembered. */
    struct nvi_svm_grant grant[NVI_SVM_GRANTS];

    struct nvirt_hv_vp *hv;      /**< Or null. */
    uint32_t hv_enlightenments;  /**< Of vmcb12, as L1 was offered them. */
    bool hv_entered;             /**< By a VMRUN whose L2 has not been prepared yet. */
    bool hv_direct;              /**< L1 leaves flushes of this L2 to nvirt, */
    struct nvi_hv_identity who;  /**< which is this one. */
    uint64_t hv_maps_source;     /**< Which MSR map of L1's L2 runs under, bit 0: if any. */
    bool hv_maps_clean;          /**< L1 says that its MSR map is as at the last VMRUN. */
    struct nvirt_tlb tlb;
    struct nvirt_tlb_domain tlb_domain;
    struct nvi_vm_told told;
    struct nvirt_tlb_root tlb_roots[NVI_MMU_DEFAULT_ROOTS];
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[NVI_MMU_DEFAULT_ROOTS];
    struct nvirt_stats stats;
};

/** The VMCB of the level that runs. */
static inline struct nvirt_vmcb *nvi_svm_current(struct nvirt_svm_vcpu *v)
{
    return v->level == 2 ? v->vmcb02 : v->vmcb01;
}

/** Whether virtual events of L2 are in hardware's hands: neither GIF holds them back. */
static inline bool nvi_svm_takes_virtual_events(const struct nvirt_svm_vcpu *v)
{
    return v->gif && (!v->has_vgif || v->v_gif);
}

#define NVI_SVM_EXIT_DR7_WRITE (NVIRT_SVM_EXIT_DR0_WRITE + 7u)

/** Whether DR7 turns on any of DR0 to DR3. */
static inline bool nvi_svm_has_breakpoints(const struct nvirt_vmcb *vmcb)
{
    return (vmcb->dr7 & NVIRT_BITS(7, 0)) != 0;
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
#define NVI_SVM_INSN_MAX NVIRT_SVM_INSN_MAX

/**
 * Decodes one of the instructions that cause exit @p code.
 * @param bits 16, 32 or 64: of the code segment.
 * @return false when the bytes are no such instruction, or not all of it.
 */
bool nvi_svm_decode(const uint8_t *bytes, uint32_t count, uint32_t bits, uint64_t code,
                    struct nvi_svm_insn *insn);

/* ---- svm_fetch.c: the bytes of instructions ---- */

/** 16, 32 or 64: of the code segment. */
uint32_t nvi_svm_code_bits(const struct nvirt_vmcb *vmcb);

/** Copies up to NVI_SVM_INSN_MAX bytes at CS:RIP. @return how many; 0 when none can be fetched. */
uint32_t nvi_svm_fetch_bytes(struct nvirt_svm_vcpu *v, uint8_t *to);

/** True when it took little to see that L1 is at 0F 01 @p last, without a prefix; false tells
 *  nothing. */
bool nvi_svm_is_bare(struct nvirt_svm_vcpu *v, uint8_t last);

/* ---- svm_insn.c, continued ---- */

/** The instruction that caused exit @p code, by nRIP where that is enough, else by its bytes. */
bool nvi_svm_fetch(struct nvirt_svm_vcpu *v, uint64_t code, struct nvi_svm_insn *insn);

/** True when an SVM instruction other than VMMCALL stands at CS:RIP. */
bool nvi_svm_is_svm_instruction(struct nvirt_svm_vcpu *v);

/* ---- svm_event.c ---- */

/** Raises an exception at the level that runs: injected, or L1's exit when L1 intercepts it. */
NVIRT_COLD void nvi_svm_raise(struct nvirt_svm_vcpu *v, uint32_t vector, bool has_error,
                              uint32_t error);
/** Gives the level that runs the #GP that was intercepted for nvirt; a double fault where it met
 *  another exception. @return false when that makes a shutdown. */
bool nvi_svm_return_gp(struct nvirt_svm_vcpu *v);
/** Steps over an instruction: RIP, interrupt shadow, RF. */
void nvi_svm_advance(struct nvirt_vmcb *vmcb, uint32_t length);
/** nvi_svm_advance() at the level that runs, and the single-step trap that may follow. */
void nvi_svm_retire(struct nvirt_svm_vcpu *v, uint32_t length);
/** Whether an exception that waits can be @p event, in the form of EVENTINJ. */
bool nvi_svm_is_waiting_exception(uint64_t event);
/** Before an entry: delivers what waits, as far as it can be. May leave L2. */
NVIRT_COLD void nvi_svm_deliver(struct nvirt_svm_vcpu *v);
/** Last before an entry: interrupt controls, and what nvirt watches for itself.
 *  @return RFLAGS.IF that VMRUN needs. */
bool nvi_svm_watch(struct nvirt_svm_vcpu *v);
/** Takes nvi_svm_watch()'s work back: the entry did not take place. */
void nvi_svm_unwatch(struct nvirt_svm_vcpu *v);
/** After an exit: gives up nvirt's own intercepts. @return true when the exit was one of them. */
bool nvi_svm_close_window(struct nvirt_svm_vcpu *v, uint64_t code);
/** #DB met with GIF 0, intercepted for that: takes what is discarded out of DR6.
 *  [APM 2 "Global Interrupt Flag, STGI and CLGI Instructions"]
 *  @return true when something is left of it that is delivered. */
NVIRT_COLD bool nvi_svm_discard_breakpoints(struct nvirt_svm_vcpu *v);
/** Takes nvirt's own intercepts out of vmcb01, which the host may copy now, or give to another vCPU. The
 *  next entry of L1 puts them in again. */
NVIRT_COLD void nvi_svm_leave_vmcb01(struct nvirt_svm_vcpu *v);
/** The interrupted event of @p exit_int_info is delivered again at the next entry. */
NVIRT_COLD void nvi_svm_requeue(struct nvirt_svm_vcpu *v, uint64_t exit_int_info);

/* ---- svm_run.c ---- */

/** Enters L2 with v->vmcb12, which has passed the checks. @p fresh: groups of it that vmcb02 does not
 *  hold yet. */
void nvi_svm_enter(struct nvirt_svm_vcpu *v, uint32_t fresh);
/** VMRUN of L1, its operand checked. */
void nvi_svm_vmrun(struct nvirt_svm_vcpu *v, nvirt_l1gpa vmcb12, uint32_t length);
/** #VMEXIT: L2 is left, L1 sees @p info. */
void nvi_svm_leave(struct nvirt_svm_vcpu *v, const struct nvi_svm_exit_info *info);
/** Hardware refused vmcb02: to L1 its VMRUN failed. */
NVIRT_COLD void nvi_svm_refused(struct nvirt_svm_vcpu *v);
/** Leaves L2 without a trace: reset. */
void nvi_svm_abandon(struct nvirt_svm_vcpu *v);
/** As nvi_svm_page(), of a page that is not the one found last. */
NVIRT_COLD void *nvi_svm_find_page(struct nvirt_svm_vcpu *v, nvirt_l1gpa page,
                                   enum nvi_svm_use use);
/** Pointer to a page of L1 that stays valid while pinned; null where there is no memory for @p use. */
static inline void *nvi_svm_page(struct nvirt_svm_vcpu *v, nvirt_l1gpa page, enum nvi_svm_use use)
{
    const struct nvi_svm_found *found = &v->found[use];

    return found->page == page.value ? found->pointer : nvi_svm_find_page(v, page, use);
}
/** No page was found yet, or the pins have changed since. */
void nvi_svm_forget_found(struct nvirt_svm_vcpu *v);
void nvi_svm_unpin_all(struct nvirt_svm_vcpu *v);
/** Unpins what was pinned before the host changed its memory; the page of an active L2 stays. */
void nvi_svm_unpin_moved(struct nvirt_svm_vcpu *v);
/** Merge input for this vCPU. @p fresh: groups of vmcb12 that vmcb02 does not hold yet. */
struct nvi_svm_merge_in nvi_svm_merge_input(const struct nvirt_svm_vcpu *v, uint32_t fresh);

/* ---- svm_prepare.c ---- */

/** The prepared entry completed: the flushes that are open are done. */
NVIRT_COLD void nvi_svm_flushes_done(struct nvirt_svm_vcpu *v);
/** It did not, and will not as it is: they are owed again. */
NVIRT_COLD void nvi_svm_flushes_owed(struct nvirt_svm_vcpu *v);

/* ---- svm_instructions.c ---- */

/** Exit @p code, an SVM instruction of the level that runs. @return the verdict. */
enum nvirt_verdict nvi_svm_instruction(struct nvirt_svm_vcpu *v, uint64_t code,
                                       struct nvirt_gprs *gprs);
/** #GP of L1 while it has SVM off: #UD if an SVM instruction raised it. @return the verdict. */
enum nvirt_verdict nvi_svm_watched_gp(struct nvirt_svm_vcpu *v);

/* ---- svm_direct.c ---- */

/** Whether L1 may leave flush hypercalls of its L2s to nvirt. */
static inline bool nvi_svm_direct_is_offered(const struct nvirt_svm_vcpu *v)
{
    return v->hv != NULL && (v->hv->offer & NVIRT_HV_OFFER_DIRECT_FLUSH) != 0;
}

#ifdef NVIRT_HYPERV

/** VMRUN: whether it does, by vmcb12 at @p page and the VP assist page. */
void nvi_svm_direct_take(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page);
/** Whether the L2 that is active is such a one. */
static inline bool nvi_svm_is_direct(const struct nvirt_svm_vcpu *v)
{
    return v->hv_direct && v->np12;
}
/** Before L2 first runs, its tag bound: says who it is, where it is such a one. */
void nvi_svm_direct_enter(struct nvirt_svm_vcpu *v);
/** VMMCALL of an L2 that is such a one. @return false when it is L1's, or undefined: nothing has
 *  happened then. */
bool nvi_svm_direct_vmmcall(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs);

#else

static inline void nvi_svm_direct_take(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page)
{
    (void)v;
    (void)page;
}

static inline bool nvi_svm_is_direct(const struct nvirt_svm_vcpu *v)
{
    (void)v;
    return false;
}

static inline void nvi_svm_direct_enter(struct nvirt_svm_vcpu *v)
{
    (void)v;
}

static inline bool nvi_svm_direct_vmmcall(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs)
{
    (void)v;
    (void)gprs;
    return false;
}

#endif

/* ---- svm_msr.c ---- */

/** Bits of VM_CR that L1 may set. */
#define NVI_SVM_VM_CR_WRITABLE                                                                     \
    (NVIRT_SVM_VM_CR_DPD | NVIRT_SVM_VM_CR_R_INIT | NVIRT_SVM_VM_CR_DIS_A20M |                     \
     NVIRT_SVM_VM_CR_LOCK | NVIRT_SVM_VM_CR_SVMDIS)

/** True for an MSR that nvirt keeps for L1. */
bool nvi_svm_msr_is_held(const struct nvirt_svm_vcpu *v, uint32_t msr);
/** RDMSR or WRMSR of such an MSR at the level that runs. */
void nvi_svm_msr(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs, bool write);

/* ---- svm_maps.c: permission maps of L2 ---- */

/** L0 changed its own maps or intercepts. */
NVIRT_COLD void nvi_svm_maps_l0_changed(struct nvirt_svm_vcpu *v);
/** Takes back what L1 or L0 wants by now; lets through at once what L1's map allows of the usual
 *  MSRs. */
void nvi_svm_maps_reset(struct nvirt_svm_vcpu *v);
/** Whose an IOIO or MSR exit of L2 is; what neither level wants is let through from now on. */
enum nvi_svm_action nvi_svm_maps_decide_io(struct nvirt_svm_vcpu *v, uint64_t info1);
enum nvi_svm_action nvi_svm_maps_decide_msr(struct nvirt_svm_vcpu *v, uint32_t msr, bool write);

#endif
