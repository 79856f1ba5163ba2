/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Nested VMX for one vCPU: the host's side of it. <nvirt/nvirt.h> tells how the calls follow each
 * other; this header is the contract of each.
 *
 * Common to all calls:
 *
 *   - One vCPU object is used by one CPU at a time: no two calls on it may overlap. Different
 *     vCPUs, also of one VM, are used by different CPUs at once. No call sleeps or waits.
 *   - "cpu" is the context of the CPU that executes the call, handed to the port as it is. The
 *     first call with a context binds the vCPU to that CPU until nvirt_vmx_leave_cpu(), because its
 *     VMCSs become active there; with another context every call answers NVIRT_ERR_STATE.
 *   - Where a call may execute VMX instructions ("needs VMX operation"), the CPU is in VMX root
 *     operation and the caller stays on it. A call may then make vmcs01 or vmcs02 current. Between
 *     nvirt_vmx_prepare() and the entry only nvirt_vmx_inject(), another prepare and
 *     nvirt_vmx_leave_cpu() may be called.
 *   - "not a vCPU": the object was destroyed, or nvirt_vmx_vcpu_init() never made it.
 *   - NVIRT_ERR_HARDWARE: an instruction that cannot fail in the documented state has failed;
 *     nvirt_port_trace() was told which. The object is fit for nvirt_vmx_vcpu_destroy() only.
 */
#ifndef NVIRT_VMX_H
#define NVIRT_VMX_H

#include <nvirt/event.h>
#include <nvirt/hyperv.h>
#include <nvirt/port_hot.h>
#include <nvirt/state.h>
#include <nvirt/tlbflush.h>
#include <nvirt/vm.h>
#include <nvirt/vmcs.h>

NVIRT_BEGIN_DECLS

/** One VMX vCPU: opaque, in memory of the host's, made by nvirt_vmx_vcpu_init(). */
struct nvirt_vmx_vcpu;

/** Bytes of the memory that holds one VMX vCPU object. */
#define NVIRT_VMX_VCPU_SIZE 49152u
/** The same for a vCPU that keeps @p roots roots (struct nvirt_vmx_vcpu_config). */
#define NVIRT_VMX_VCPU_BYTES(roots) NVIRT_BYTES_WITH_ROOTS(NVIRT_VMX_VCPU_SIZE, roots)
/** Its alignment in bytes. */
#define NVIRT_VMX_VCPU_ALIGN 64u
/** Bytes that nvirt_vmx_insn_bytes() gives at most: the longest instruction. */
#define NVIRT_VMX_INSN_MAX 15u
/** Most VPIDs the host may lend to one vCPU for L2. */
#define NVIRT_VMX_MAX_VPIDS 32u

/** What the host decides about one vCPU. Read during nvirt_vmx_vcpu_init() only; what the pointers
 *  @p vm and @p msr_bitmap name must stay as long as the vCPU. */
struct nvirt_vmx_vcpu_config {
    struct nvirt_vm *vm;                /**< The VM it belongs to, initialised. */
    uint32_t index;                     /**< The vCPU's number in its VM, below
                                             NVIRT_VM_MAX_VCPUS, for nvirt_port_kick(). */
    const struct nvirt_vmx_caps *cpu;   /**< What the CPUs can do (nvirt_vmx_caps_read()). */
    const struct nvirt_vmx_caps *offer; /**< What L1 may see (nvirt_vmx_caps_offer()). */
    nvirt_hpa vmcs01;                   /**< A page of the host's for the VMCS that runs L1, with
                                             the CPU's revision identifier in its first 4 bytes
                                             [SDM 3C "Format of the VMCS Region"]. */
    const uint8_t *msr_bitmap;          /**< The MSR bitmap that vmcs01 uses (4 KiB), to stay valid;
                                             null when every MSR access of L1 exits. */
    uint16_t vpid01;                    /**< VPID of L1, not 0 when the CPU has VPIDs; nvirt emits
                                             the flushes that nesting requires on it, the host
                                             those of its own doing. */
    const uint16_t *vpids;              /**< VPIDs for L2, used by nobody else; read in the call. */
    uint32_t vpid_count;                /**< 0 to NVIRT_VMX_MAX_VPIDS; 0: L2 runs without VPID. */
    uint32_t roots;                     /**< Second-stage roots of L2 to keep, least recently used
                                             dropped first: up to NVIRT_MAX_ROOTS; 0 means
                                             NVIRT_DEFAULT_ROOTS. The object needs
                                             NVIRT_VMX_VCPU_BYTES(roots) bytes. */
    uint32_t flush_addresses;           /**< Single linear addresses that are flushed one by one, up
                                             to NVIRT_TLB_MAX_ADDRESSES; beyond, the whole tag is. 0
                                             means NVIRT_TLB_DEFAULT_ADDRESSES. */
    bool cet;                           /**< L1 has CET (CPUID and CR4.CET show it shadow stacks or
                                             indirect branch tracking): vmcs01 holds its state. */
    struct nvirt_hv_vp *hyperv;         /**< The processor of Hyper-V's interface that this vCPU
                                             is (nvirt_hv_vp_init()), to live as long; null: none. */
};

/**
 * Makes a vCPU object, level 1, L1 outside VMX operation.
 * All fields of the vmcs01 view are 0: the host sets each field it needs with nvirt_vmx_write()
 * before the first nvirt_vmx_prepare(), the controls included. vmcs01 must have
 *  - EPT and unrestricted guest on; "MSR bitmaps" on if msr_bitmap is given;
 *  - VM-exit controls save debug, save PAT, save EFER (and what the host loads for itself);
 *    VM-entry controls load debug, load PAT, load EFER: L1's live registers are then in vmcs01 at
 *    each exit;
 *  - CR0 and CR4 guest/host masks with at least nvirt_vmx_cr0_owned() and nvirt_vmx_cr4_owned(),
 *    the read shadows as L1 is to see them, and CR4.VMXE set in the guest's real CR4;
 *  - "virtual NMIs" if NMI exiting is on and the host injects NMIs;
 *  - for an L1 with CET (the config's cet) "load CET state" in both, from the first write of these
 *    controls on: IA32_S_CET, SSP and IA32_INTERRUPT_SSP_TABLE_ADDR of L1 are guest fields then, 0
 *    after reset, and the host's own, which L1 and L2 never see or change, are HOST_S_CET, HOST_SSP
 *    and HOST_SSP_TABLE (0 where it uses no CET). L1's accesses to the two MSRs need no exit.
 *    IA32_U_CET and IA32_PL0_SSP to PL3_SSP are in no VMCS: L1 and L2 share them as they do STAR or
 *    KERNEL_GS_BASE, and a host that uses them itself has them switched around its entries. Where
 *    the config has no cet and L1 is let at CET all the same, its state is in force in the host too,
 *    which a host bears that leaves CR4.CET at 0;
 *  - VMCS_LINK all ones, and an MSR bitmap that nvirt_vmx_msr_bitmap_require() went over.
 * One field the host may write itself, between a prepare and the entry: HOST_RSP, where its stack is not
 * the same at each entry. nvirt writes it when it first uses a VMCS and never reads it.
 *
 * What L0 may ask for in vmcs01's controls, nvirt_vmx_write() refuses the rest:
 *  - in force for L2 as well: every exit of the pin-based and primary controls, "monitor trap
 *    flag", exits on descriptor tables, WBINVD, RDRAND, RDSEED, ENCLS, ENCLV and PCONFIG (with their
 *    bitmaps), PAUSE loops (unless L1 has the CPU look for loops by its own rule), bus locks, the
 *    instruction timeout; PASID translation, concealment from Processor Trace, TSC offset and
 *    multiplier, loads of IA32_PERF_GLOBAL_CTRL by entry and exit unless the offer has them;
 *  - the preemption timer, when the offer has it not: its field then is the same for both levels;
 *  - for L1 alone: the windows, its virtual APIC and posted interrupts (no L2 gets at the page that
 *    APIC_ACCESS_ADDR names: its accesses to that L1 address are exits with verdict L2; CR8 of L2 exits under a TPR
 *    shadow; where L1 gives L2 a TPR shadow of its own, no wish of L0's about CR8 holds; an interrupt
 *    for L1 while L2 runs goes through nvirt_vmx_inject()), the enables of RDTSCP, INVPCID, XSAVES and
 *    user waits (of L2, L1 decides);
 *  - refused, because L2 would run without: PML, #VE, sub-page and mode-based permissions, VM
 *    functions, VMCS shadowing, an XSS-exiting bitmap other than 0, tertiary controls, guest-physical
 *    Processor Trace, secondary exit controls, and what switches IA32_BNDCFGS, IA32_RTIT_CTL,
 *    IA32_LBR_CTL, UINV, PKRS or FRED state or saves IA32_PERF_GLOBAL_CTRL; for an L1 without CET
 *    "load CET state" too, and for one with it the lack of it.
 *
 * Where the CPU has VMCS shadowing (and VMWRITE of read-only fields), nvirt uses it for vmcs01 while
 * L1 has a current VMCS: the control, VMCS_LINK and the two bitmap addresses are nvirt's then, and
 * the first two still read as the host wrote them. A host that does not want this clears the
 * control's allowed-1 bit in *cpu. The VMCS shadowing that L1 is offered for its L2 is nvirt's own
 * work and is there without; a host that does not want that clears the bit in the offer.
 *
 * CD and NW of CR0: no VM entry loads them into the CPU, so what L1 writes there is kept and read
 * back but caches nothing less. A host that cares owns them and acts on the exits.
 * @param memory the host's, at least NVIRT_VMX_VCPU_BYTES(roots) bytes aligned to
 *        NVIRT_VMX_VCPU_ALIGN; the object's until destroyed.
 * @param bytes how many there are at @p memory.
 * @param config read during the call only.
 * @param vcpu where the object's address goes; written on NVIRT_OK only.
 * @return - NVIRT_OK with *vcpu.
 *         - NVIRT_ERR_NULL: an argument, or vm, cpu or offer of the config is null, or vpids is
 *           with vpid_count not 0.
 *         - NVIRT_ERR_ALIGNMENT: memory, or vmcs01 is no page address.
 *         - NVIRT_ERR_SIZE: bytes below NVIRT_VMX_VCPU_BYTES(roots).
 *         - NVIRT_ERR_RANGE: index, vpid_count or roots too large; a VPID for L2 that is 0, vpid01 or
 *           given twice; or the VM has NVIRT_VM_MAX_VCPUS vCPUs already.
 *         - NVIRT_ERR_STATE: the VM is not initialised.
 *         - NVIRT_ERR_CAPABILITY: the CPU lacks secondary controls, MSR bitmaps, EPT, INVEPT, or
 *           saving and loading of EFER or PAT; or the offer is not what nvirt_vmx_caps_offer()
 *           makes of it with allowed-1 bits cleared; or cet is set and the CPU lacks "load CET
 *           state" of entries or exits or IA32_VMX_BASIC[56], or is not set and the offer has the
 *           controls; or hyperv has no queue or is not null in a build
 *           without Hyper-V.
 *         - NVIRT_ERR_NO_PAGE: the port has too few pages: four for VMCSs that run L2, one for their
 *           MSR bitmap, one of ones, one in place of an APIC page without memory; and with VMCS
 *           shadowing four for shadow VMCSs and two for their bitmaps.
 *
 *         Nothing is held on failure.
 *
 * Concurrency: vCPUs of one VM may be made at once. Any CPU; executes no VMX instruction.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vcpu_init(void *memory, size_t bytes,
                                                      const struct nvirt_vmx_vcpu_config *config,
                                                      struct nvirt_vmx_vcpu **vcpu);

/**
 * Ends a vCPU object: unpins and frees all it holds. L1's active VMCSs are written back first.
 * vmcs01 is VMCLEARed and the host's again.
 * @param vcpu the object; its memory is the host's again after any answer but NULL and STATE.
 * @param cpu context of the CPU the vCPU is bound to, where this call must run; may be null when it
 *        is bound to none.
 * @return NVIRT_OK; NVIRT_ERR_NULL (vcpu); NVIRT_ERR_STATE (not a vCPU, or bound to another CPU:
 *         nothing is ended); NVIRT_ERR_HARDWARE (VMCLEAR or VMREAD failed: it is ended all the
 *         same).
 *
 * Needs VMX operation when the vCPU is bound to a CPU.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vcpu_destroy(struct nvirt_vmx_vcpu *vcpu,
                                                         struct nvirt_port_cpu *cpu);

/**
 * Asks for a flush that the host's own doings make necessary: it changed its second stage for L1 (the
 * root of level 1), emulated what flushes a guest's TLB, or a flush queue of its overflowed. It is
 * due before what it names is next used, whatever level runs until then, and the vCPU is made to
 * leave its guest so that it comes through nvirt_vmx_prepare(). docs/tlb.md.
 * @param vcpu the vCPU.
 * @param level 1: L1; 2: all L2s. Of no meaning for NVIRT_TLB_REQUEST_EVERYTHING.
 * @param kind what to flush.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (level or kind).
 *
 * Any CPU at any time, during other calls on the vCPU too. Does not wait.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_request_flush(struct nvirt_vmx_vcpu *vcpu, uint32_t level,
                                                         enum nvirt_tlb_request kind);

/**
 * The level that runs next, or ran last.
 * @param vcpu the vCPU, or null.
 * @return 1: L1; 2: L2; 0 for null.
 */
uint32_t nvirt_vmx_level(const struct nvirt_vmx_vcpu *vcpu);

/**
 * Reads a field of the VMCS of @p level (1: vmcs01, 2: vmcs02), from hardware only when hardware
 * may have changed it since it was last known. The host's primary processor-based controls are
 * returned as it set them, without the windows that nvirt adds.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param level 1, or 2 while L2 is active.
 * @param field which; one that the CPU has.
 * @param value where it goes, zero-extended from the field's width; written on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (no such field, or not on this CPU; level);
 *         NVIRT_ERR_STATE (level 2 without L2; not a vCPU; bound to another CPU);
 *         NVIRT_ERR_HARDWARE (VMPTRLD, VMCLEAR or VMREAD).
 *
 * Needs VMX operation; not between prepare and exit.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_read(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu, uint32_t level,
                                                 enum nvirt_vmcs_field field, uint64_t *value);

/**
 * Sets a field of the VMCS of @p level; it reaches hardware with the next prepare.
 * Level 1 also takes L0's own controls and host state: while L2 is active a change there is merged
 * into vmcs02 too, so an intercept that the host adds holds at once for both levels.
 * Level 2 takes guest state only.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param level 1, or 2 while L2 is active.
 * @param field which; one that the CPU has.
 * @param value its new value; bits above the field's width are dropped. Physical addresses are
 *        nvirt_hpa, as the host's VMCS has them.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (no such field, or not on this CPU; level; a
 *         read-only field; a level-2 field that is no guest state); NVIRT_ERR_CAPABILITY (a control
 *         of level 1 that nvirt could not keep in force while L2 runs: nvirt_vmx_vcpu_init() lists
 *         them); NVIRT_ERR_STATE (level 2 without L2; APIC_ACCESS_ADDR while nvirt keeps it; not a vCPU;
 *         bound to another CPU).
 *
 * Executes no VMX instruction; not between prepare and exit.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_write(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu, uint32_t level,
                                                  enum nvirt_vmcs_field field, uint64_t value);

/**
 * Has nvirt keep APIC_ACCESS_ADDR of vmcs01, for a host that backs L1's APIC by a page of L1's memory that
 * it manages itself and may move. nvirt looks up what is behind the L1 address before L1 next runs, and
 * again whenever the host announced a change of it by nvirt_vm_change_begin(), which kicks this vCPU
 * for it: nvirt_vmx_prepare() answers NVIRT_ERR_RETRY until nvirt_vm_change_end(), and L1's second-stage
 * translations are flushed with the new address. While L2 runs nothing is to be done; it is when L2 has
 * been left. The page is not pinned, and no L2 gets at it: its accesses to that L1 address are exits with
 * verdict L2, and an address that L1 gives away for its L2's APIC counts as one without memory there.
 * The control "virtualize APIC accesses" stays the host's. Not part of the saved state.
 * @param vcpu the vCPU, not between prepare and exit.
 * @param page where L1 has its APIC, 4 KiB aligned.
 * @param keep false: the field is the host's again, and keeps its value until the host writes it.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (between prepare and exit; not a vCPU);
 *         NVIRT_ERR_ALIGNMENT; NVIRT_ERR_CAPABILITY when the CPU does not virtualize APIC accesses.
 *
 * Executes no VMX instruction. [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_keep_apic_page(struct nvirt_vmx_vcpu *vcpu,
                                                           nvirt_l1gpa page, bool keep);

/** What the host executes next. */
struct nvirt_vmx_run {
    bool launch;         /**< VMLAUNCH when true, else VMRESUME: the VMCS to run is current. */
    uint32_t level;      /**< The level that will run: 1 or 2. */
    bool branch_barrier; /**< L2 was left for L1 since the last run: the host's IBPB, if any. */
    bool set_cr2;        /**< Load cr2 into CR2 before the entry: a page fault is injected. */
    uint64_t cr2;        /**< The faulting linear address; meaningful with set_cr2 only. */
};

/**
 * Makes the VMCS to run current and complete: commits changed fields, carries out the flushes that
 * fell due, and delivers waiting events, which may take L2 out to L1. To be called before every
 * entry, on the CPU that enters, with interrupts off until then.
 * From here to nvirt_vmx_exit() the VMCS stays current. If the host makes another VMCS current on
 * this CPU at any other time, it says so with nvirt_vmx_forget_current().
 * It may be called again without an entry in between (after nvirt_vmx_inject() for an NMI that came
 * late): branch_barrier and cr2 of the earlier *run are still due then.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU, the one that enters.
 * @param run what to execute; written on NVIRT_OK only.
 * @return NVIRT_OK with *run; NVIRT_ERR_NULL; NVIRT_ERR_STATE (not a vCPU; bound to another CPU; or
 *         L1 is shut down and was not reset); NVIRT_ERR_HARDWARE (VMPTRLD, VMCLEAR, VMREAD,
 *         VMWRITE, INVEPT or INVVPID: nvirt_port_trace() has the field's encoding); and with
 *         nvirt_vmx_keep_apic_page() NVIRT_ERR_RETRY (the host is changing that page: to be called
 *         again, best after other work) or NVIRT_ERR_NO_MAPPING (nothing is there); and with
 *         nvirt_vmx_caps_offer_activity() NVIRT_ERR_ASLEEP (there is nothing to enter:
 *         nvirt_vmx_sleeps() tells for what L2 waits).
 *
 * Needs VMX operation. [SDM 3C "VM Entries"; "Operations that Invalidate Cached Mappings"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_prepare(struct nvirt_vmx_vcpu *vcpu,
                                                    struct nvirt_port_cpu *cpu,
                                                    struct nvirt_vmx_run *run);

/** An exit as the host sees it [SDM 3C "VM-Exit Information Fields"]. */
struct nvirt_vmx_exit {
    enum nvirt_verdict verdict; /**< Whose it is. */
    uint32_t level;           /**< The level that ran when the exit was taken. */
    uint32_t reason;          /**< Exit reason, all 32 bits. */
    uint64_t qualification;   /**< Exit qualification (0 when the verdict is DONE). */
    uint32_t interruption;    /**< VM-exit interruption information for reasons 0 and 1, else 0. */
    nvirt_l1gpa l1gpa;        /**< For EPT violations that are the host's, of either level: the L1
                                   address behind. */
    bool branch_barrier;      /**< L2 was left for L1: the host's IBPB, if any, belongs here. */
};

/**
 * To be called after every VM exit, on the CPU that took it, with the VMCS that ran still current.
 *
 * An exit is the host's (verdict L1 or L2) unless it is one of: VMX instructions (VMCALL of L1 is
 * the host's), MOV to CR0 and CR4, CLTS, LMSW, RDMSR and WRMSR of the VMX MSRs and
 * IA32_FEATURE_CONTROL, windows that nvirt opened, second-stage faults of L2 in memory that the
 * host maps, and what L1 wants. MSR accesses of L2 that L1 lets pass are carried out through
 * nvirt_port_l1_rdmsr() and nvirt_port_l1_wrmsr(). An event of either level whose delivery the exit
 * interrupted is delivered again at the next entry; a host that does otherwise writes 0 to level
 * 1's entry-interruption field.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param gprs as saved by the trampoline; instruction results for L1 are written there.
 * @param exit what it was. Whole on NVIRT_OK and NVIRT_ERR_NO_PAGE, partly written on
 *        NVIRT_ERR_HARDWARE.
 * @return NVIRT_OK with *exit; NVIRT_ERR_NULL; NVIRT_ERR_STATE (no prepare before; not a vCPU;
 *         bound to another CPU); NVIRT_ERR_HARDWARE (VMREAD, VMPTRLD or VMCLEAR; an EPT
 *         misconfiguration in nvirt's own tables); NVIRT_ERR_NO_PAGE (no page for L2's second-stage
 *         tables: the VMLAUNCH, VMRESUME or access of L2 that needed it was not completed and runs
 *         again at the next entry; verdict DONE).
 *
 * Needs VMX operation. [SDM 3C "VM Exits"; "VMX Non-Root Operation"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_exit(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu,
                                                 struct nvirt_gprs *gprs,
                                                 struct nvirt_vmx_exit *exit);

/**
 * To be called instead of nvirt_vmx_exit() when VMLAUNCH or VMRESUME itself failed (CF or ZF set).
 * When vmcs02 was refused, L1 is given the VMfail its own VMLAUNCH would have met, with everything
 * unwound; when vmcs01 was, or an L2 that had run already, the host's fields are at fault.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param outcome NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 * @param error the hardware's VM-instruction error [SDM 3C "VM Instruction Error Numbers"], 0 for
 *        NVIRT_HW_VMFAIL_INVALID; written on NVIRT_OK and NVIRT_ERR_HARDWARE.
 * @return NVIRT_OK (L1 goes on: prepare again); NVIRT_ERR_HARDWARE (not to be laid on L1, or VMREAD
 *         failed); NVIRT_ERR_NULL; NVIRT_ERR_RANGE (outcome); NVIRT_ERR_STATE (no prepare before;
 *         not a vCPU; bound to another CPU).
 *
 * Needs VMX operation, the refused VMCS current.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_entry_failed(struct nvirt_vmx_vcpu *vcpu,
                                                         struct nvirt_port_cpu *cpu,
                                                         enum nvirt_hw outcome, uint32_t *error);

/**
 * Hands an event to the vCPU: an NMI, external interrupt or exception that the host wants L1 to
 * have. If L2 is active and L1 asked for that event's exit, L1 gets the exit (the qualification of
 * #DB is event->address then: the bits of DR6 it stands for); otherwise the event is injected into
 * the level that runs, when that may take it. One of each kind can wait. An L2 that has not run
 * since its VMLAUNCH or VMRESUME first gets through that entry.
 * The event only waits here; nvirt_vmx_prepare() delivers it, so one handed over after a prepare
 * needs another.
 *
 * INIT and SIPI are for an L1 in VMX operation only; outside of it they are the host's to carry out.
 * An INIT waits until L2 runs, which it makes leave, or until VMXOFF, after which the exit call
 * tells the host of it; an L2 that waits for a SIPI blocks it further. A SIPI is the exit of an L2
 * that waits for one (nvirt_vmx_caps_offer_activity()) and is lost at any other time.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param event copied during the call.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (no such type; an NMI's vector not 2; an
 *         exception's vector 2 or above 31; an error code wider than 15 bits, missing, or of a
 *         vector that has none; an INIT with a vector); NVIRT_ERR_STATE (an interrupt or exception
 *         waits already, an NMI and an INIT merge with NVIRT_OK; INIT or SIPI and L1 is outside VMX
 *         operation; not a vCPU; bound to another CPU).
 *
 * Executes no VMX instruction. [SDM 3C "Event Injection"; "Checks on VM-Entry Control Fields";
 * "VMX Operation"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_inject(struct nvirt_vmx_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu,
                                                   const struct nvirt_event *event);

/**
 * Whether an interrupt of L1's was a notification of posted interrupts to the L2 that is active, and was
 * processed. No handler of L1's runs for it: the host writes the EOI register of L1's APIC. To be asked
 * on a host that offers posted interrupts (nvirt_vmx_caps_offer_posted()): after the prepare that
 * follows an nvirt_vmx_inject() of an interrupt; and, on a host that passes interrupts through, after an
 * external-interrupt exit with verdict L2, which is a notification. Elsewhere the answer is no.
 * @param vcpu the vCPU, or null.
 * @return true once for each.
 *
 * Executes no VMX instruction. [SDM 3C "Posted-Interrupt Processing"]
 */
NVIRT_NODISCARD bool nvirt_vmx_notified(struct nvirt_vmx_vcpu *vcpu);

/**
 * Lets the level that ran have the exception that made it exit (reason 0): for a host that intercepts one
 * for its own sake, such as #DB and #AC against endless delivery. The event is the exit's own, so INT1,
 * INT3 and INTO stay what they are; in whose delivery it arose counts as on a CPU. DR6, and DR7.GD of a
 * #DB, are the host's to update before [SDM 3C "Basic VM-Exit Information"].
 * Between an exit with verdict L1 or L2 and the next prepare, once.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (the last exit was for no exception, or another
 *         exception waits already; between prepare and exit; not a vCPU; bound to another CPU);
 *         NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation. [SDM 3C "Event Injection"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_reinject(struct nvirt_vmx_vcpu *vcpu,
                                                     struct nvirt_port_cpu *cpu);

/**
 * Which of the events handed over still wait. An interrupt that L1 intercepts in L2 goes on waiting
 * after that exit unless L1 asked for its acknowledgment, as it would in an interrupt controller; one
 * whose delivery another event cut short waits again.
 * @param vcpu the vCPU, or null.
 * @return a set of NVIRT_WAITS_*; 0 for null.
 */
uint32_t nvirt_vmx_waits(const struct nvirt_vmx_vcpu *vcpu);

/**
 * The state in which L2 waits after nvirt_vmx_prepare() answered NVIRT_ERR_ASLEEP. The host enters
 * nothing then and does what it does for a vCPU that halted, until an event for L1 comes, which it
 * hands over by nvirt_vmx_inject(), or until the ticks have passed; then it prepares again.
 * @param vcpu the vCPU, or null.
 * @param tsc this CPU's time-stamp counter now.
 * @param ticks where it goes in how many TSC ticks L1's preemption timer ends the wait; all ones when
 *        it does not, and when L2 does not sleep. May be null.
 * @return NVIRT_VMX_ACTIVITY_SHUTDOWN: an NMI, an INIT or a machine check ends it;
 *         NVIRT_VMX_ACTIVITY_WAIT_SIPI: a SIPI does; 0: L2 does not sleep.
 *
 * Executes no VMX instruction. [SDM 3C "Guest Non-Register State"; "Activity State"]
 */
uint64_t nvirt_vmx_sleeps(const struct nvirt_vmx_vcpu *vcpu, uint64_t tsc, uint64_t *ticks);

/**
 * Counts L1's preemption timer down for the time that L2 slept, by 1 for each change of the TSC's bit X
 * in it, X being that of IA32_VMX_MISC: for a host whose offer has the timer, before each prepare that
 * follows NVIRT_ERR_ASLEEP. A sleep told in parts, each from where the last one ended, counts as one.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param since the time-stamp counter at that answer, or at the last such call since.
 * @param tsc the time-stamp counter now. A vCPU that moved to a CPU whose counter is another is told of
 *        by values of one of the two.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (L2 does not sleep; not a vCPU; bound to another
 *         CPU); NVIRT_ERR_RANGE (@p tsc is before @p since): nothing has changed.
 *
 * Executes no VMX instruction. [SDM 3C "VMX-Preemption Timer"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_slept(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu, uint64_t since,
                                                  uint64_t tsc);

/**
 * Completes the instruction whose exit the host emulated, as the CPU would: RIP, RFLAGS.RF, the
 * shadows of STI and MOV SS, a single step that is due (TF, unless IA32_DEBUGCTL.BTF), the monitor
 * trap of whoever asked for it. For the level that runs, between an exit with verdict L1 or L2 and
 * the next prepare, once, and after the instruction's effects.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (between prepare and exit; not a vCPU; bound to
 *         another CPU); NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation. [SDM 3C "Monitor Trap Flag"; SDM 3B "Single-Step Exception Condition"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_skip(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu);

/**
 * For a VMCALL of L1 that is no hypercall of the host's: gives L1 what the architecture has for it
 * [SDM 3C "VMCALL"]: #UD outside VMX operation, #GP above CPL 0, else VMfail with error 1.
 * To be called between the exit (reason 18, level 1) and the next prepare.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (L2 is active; the exit was another; between
 *         prepare and exit; not a vCPU; bound to another CPU); NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vmcall_refuse(struct nvirt_vmx_vcpu *vcpu,
                                                          struct nvirt_port_cpu *cpu);

/**
 * Leaves L2 and VMX operation of L1 by force (reset or INIT of the vCPU): level 1, VMXOFF, pins,
 * waiting events and a shutdown of L1's dropped, flushes recorded. L1's active VMCSs are not written
 * back, because L1's memory may have been rewritten by then: as after a real reset, what their regions
 * hold is chance. IA32_FEATURE_CONTROL of L1 stays. L1's registers in vmcs01 are the host's to set
 * then.
 * @param vcpu the vCPU, not between an entry and its nvirt_vmx_exit().
 * @param cpu context of this CPU.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (not a vCPU; bound to another CPU);
 *         NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_reset(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu);

/**
 * Tells that the CPU's current VMCS may be another than nvirt left there: the host ran another vCPU
 * or executed VMPTRLD itself.
 * @param vcpu the vCPU whose VMCS was current.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (between prepare and exit; not a vCPU).
 *
 * Executes no VMX instruction.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_forget_current(struct nvirt_vmx_vcpu *vcpu);

/**
 * Tells that the host changed the MSR bitmap given at init: from the next prepare on the change
 * holds for L2 too, if L2 is active.
 * @param vcpu the vCPU.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (not a vCPU).
 *
 * Executes no VMX instruction.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_msr_bitmap_changed(struct nvirt_vmx_vcpu *vcpu);

/**
 * VMCLEARs every VMCS of this vCPU that is active on this CPU and ends the binding to it: before
 * the vCPU moves to another. A prepare without entry is undone, so it must be repeated there.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU, the one the vCPU is bound to.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (not a vCPU; bound to another CPU);
 *         NVIRT_ERR_HARDWARE (VMCLEAR; still bound).
 *
 * Needs VMX operation. [SDM 3C "VMCLEAR"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_leave_cpu(struct nvirt_vmx_vcpu *vcpu,
                                                      struct nvirt_port_cpu *cpu);

/**
 * The counters.
 * @param vcpu the vCPU, or null.
 * @return them, valid as long as the object, to be read while no call on it is under way; null for
 *         null.
 */
const struct nvirt_stats *nvirt_vmx_stats(const struct nvirt_vmx_vcpu *vcpu);

/* ---- helpers for what the host virtualizes for L1 ---- */

/**
 * Fills @p caps by reading the capability MSRs of this CPU; @p facts come from the host's CPUID
 * [SDM 3D "VMX Capability Reporting Facility"].
 * @param cpu context of this CPU, which has VMX; only handed to nvirt_port_rdmsr().
 * @param facts what the CPU itself has. Before nvirt_vmx_caps_offer() the host may narrow
 *        caps->cpu to what the CPUID it shows L1 says: offers and checks go by it.
 *        May be &caps->cpu itself.
 * @param caps the result; written on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL (facts, caps); NVIRT_ERR_RANGE (physical_bits not 32 to 52, or
 *         linear_bits neither 48 nor 57); NVIRT_ERR_CAPABILITY when a capability MSR that must
 *         exist cannot be read. On a CPU without the TRUE MSRs their members hold what the plain
 *         ones say.
 *
 * Pure but for RDMSR: CPUs may call it at once. VMX operation is not needed.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_read(struct nvirt_port_cpu *cpu,
                                                      const struct nvirt_vmx_cpu_facts *facts,
                                                      struct nvirt_vmx_caps *caps);

/**
 * What nvirt can offer an L1 on a CPU with @p cpu: by allow-list, everything else reads as absent.
 * The host may clear further allowed-1 bits before it hands the struct to nvirt_vmx_vcpu_init(),
 * the same ones in a TRUE member as in the plain one.
 * @param cpu what the CPU can do, its facts as L1's CPUID says them.
 * @param offer the result; may be the same struct; written on NVIRT_OK only.
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 *
 * Pure: any CPU, at any time. [SDM 3D "VMX Capability Reporting Facility"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer(const struct nvirt_vmx_caps *cpu,
                                                       struct nvirt_vmx_caps *offer);

/**
 * Adds "process posted interrupts" to an offer. The CPU need not have it: nvirt processes the
 * notifications. A host that calls this asks nvirt_vmx_notified() as told there, because a notification
 * runs no handler of L1's that would end it.
 * @param offer what nvirt_vmx_caps_offer() made; changed on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_CAPABILITY when it has no virtual-interrupt delivery or
 *         does not let an exit acknowledge interrupts.
 *
 * Pure: any CPU, at any time. [SDM 3C "Posted-Interrupt Processing"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer_posted(struct nvirt_vmx_caps *offer);

/**
 * Adds "sub-page write permissions for EPT" to an offer. On the host's word only: Intel advises hypervisors
 * not to use the feature any more (CVE-2024-36242, CVE-2024-38660) and leaves it out of later CPUs. What it
 * would let through are writes of an L2 to pages that L1 made read-only and the host lets L1 write.
 * @param cpu what the CPU can do.
 * @param offer what nvirt_vmx_caps_offer() made of it; changed on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_CAPABILITY: the CPU lacks the control, or L1 has no EPT.
 *
 * Pure: any CPU, at any time. [SDM 3C "Sub-Page Write Permissions"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer_subpages(const struct nvirt_vmx_caps *cpu,
                                                                struct nvirt_vmx_caps *offer);

/** @name MSRs that entries and exits of L1's L2s switch: a set of these bits
 * @{ */
#define NVIRT_VMX_SWITCH_PERF_GLOBAL 1u /**< IA32_PERF_GLOBAL_CTRL */
#define NVIRT_VMX_SWITCH_BNDCFGS 2u     /**< IA32_BNDCFGS */
#define NVIRT_VMX_SWITCH_PKRS 4u        /**< IA32_PKRS */
/** @} */

/**
 * Adds to an offer the VM-entry and VM-exit controls that load, clear and save these MSRs. L1 and L2
 * share them as they do all MSRs outside the VMCS: where L1 asks for it, a nested transition reads and
 * writes them by nvirt_port_l1_rdmsr() and nvirt_port_l1_wrmsr(). A host that calls this lets L1 have
 * the MSR, and its port reads and writes it as L1 would. The CPU need not have the controls. With
 * IA32_PERF_GLOBAL_CTRL in it, vmcs01 may not load that MSR itself.
 * @param offer what nvirt_vmx_caps_offer() made; changed on NVIRT_OK only.
 * @param msrs a set of NVIRT_VMX_SWITCH_*.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (no such bit); NVIRT_ERR_CAPABILITY: by the facts
 *         of the offer L1 has no IA32_PERF_GLOBAL_CTRL, or no CR4.PKS.
 *
 * Pure: any CPU, at any time. [SDM 3C "VM-Exit Controls"; "VM-Entry Controls"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer_msrs(struct nvirt_vmx_caps *offer,
                                                            uint32_t msrs);

/**
 * Adds "load CET state" of VM entries and VM exits to an offer, for a vCPU whose config has cet:
 * L1's L2s may then have CET state of their own. Without, L1 and L2 share one set, as on a CPU without
 * these controls; and so do those of an L1 that may use enlightened VMCSs, which have no place for the
 * fields.
 * @param cpu what the CPU can do.
 * @param offer what nvirt_vmx_caps_offer() made of it; changed on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_CAPABILITY: the CPU lacks the controls, or
 *         IA32_VMX_BASIC[56], without which a #CP whose delivery an exit cut short could not be
 *         delivered again; or by the facts of the offer L1 has no IA32_S_CET, or no CR4.CET.
 *
 * Pure: any CPU, at any time. [SDM 3C "VM-Exit Controls"; "VM-Entry Controls"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer_cet(const struct nvirt_vmx_caps *cpu,
                                                           struct nvirt_vmx_caps *offer);

/**
 * Adds the activity states shutdown and wait-for-SIPI to an offer, for L1s that put an L2 there. A CPU
 * in one of them would take no interrupt of the host's, so hardware is never entered: a host that calls
 * this knows NVIRT_ERR_ASLEEP of nvirt_vmx_prepare(), and hands INITs and SIPIs that other processors
 * of L1's send to this one over by nvirt_vmx_inject(). The CPU need not have the states.
 * @param offer what nvirt_vmx_caps_offer() made.
 * @return NVIRT_OK; NVIRT_ERR_NULL.
 *
 * Pure: any CPU, at any time. [SDM 3D "Miscellaneous Data"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer_activity(struct nvirt_vmx_caps *offer);

/**
 * Sets in L0's MSR bitmap the intercepts nvirt needs to hold the VMX MSRs and IA32_FEATURE_CONTROL
 * for L1, reads and writes [SDM 3C "MSR-Bitmap Address"].
 * @param msr_bitmap 4096 bytes of the host's; null does nothing.
 *
 * Pure: on the caller's memory only.
 */
void nvirt_vmx_msr_bitmap_require(uint8_t *msr_bitmap);

/**
 * Bits of CR0 that must be set in vmcs01's guest/host mask: those that VMX operation fixes. nvirt
 * handles their exits [SDM 3C "Guest/Host Masks and Read Shadows for CR0 and CR4"].
 * @param vcpu the vCPU.
 * @return the bits, the same for the life of the vCPU; 0 for null.
 */
uint64_t nvirt_vmx_cr0_owned(const struct nvirt_vmx_vcpu *vcpu);

/**
 * The same of CR4: bits that VMX operation fixes, VMXE, and those that the CPU has and L1 is not
 * offered, which must fault as reserved ones do.
 * @param vcpu the vCPU.
 * @return the bits, the same for the life of the vCPU; 0 for null.
 */
uint64_t nvirt_vmx_cr4_owned(const struct nvirt_vmx_vcpu *vcpu);

/**
 * Writes L1's VMX state as <nvirt/state.h> lays it out. The host saves, at the same point: L1's
 * memory; the general-purpose and extended registers, CR2 and DR0 to DR3 and DR6 of the level that
 * runs; and of vmcs01 the guest state, CR0_SHADOW, CR4_SHADOW, IA-32e-mode guest of the entry
 * controls, ENTRY_INTERRUPTION, ENTRY_ERROR_CODE and ENTRY_INSN_LENGTH (nvirt_vmx_read()).
 * VMCSs of L1's that are active and not current are written back to L1's memory by this call, as a
 * CPU may do at any time: that memory is to be saved after it.
 * The vCPU goes on as if nothing had been asked. The host finishes with the last exit first:
 * nothing of the exit-information fields is saved but the instruction length.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param buffer where the state goes, any alignment; its contents mean nothing after any answer but
 *        NVIRT_OK.
 * @param bytes how many there are; NVIRT_STATE_MAX_BYTES always suffice.
 * @param used how many the state takes; written on NVIRT_OK and NVIRT_ERR_SIZE.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_SIZE (bytes below *used); NVIRT_ERR_STATE (between
 *         prepare and exit; not a vCPU; bound to another CPU); NVIRT_ERR_HARDWARE (VMPTRLD, VMCLEAR
 *         or VMREAD).
 *
 * Needs VMX operation.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_save(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu, void *buffer,
                                                 size_t bytes, size_t *used);

/**
 * Gives a vCPU the VMX state that nvirt_vmx_save() wrote, on this machine or another whose offer is
 * the same or larger. The vCPU is fresh or reset, L1's memory and vmcs01 are what they were at the
 * save: an active L2 is checked and put together from both. What vmcs01 has of the host's own
 * (controls, host state) is as for any run.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param buffer the state, any alignment; not to change during the call.
 * @param bytes its length, exactly as saved.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (L1 is in VMX operation: nvirt_vmx_reset()
 *         first; between prepare and exit; not a vCPU; bound to another CPU); NVIRT_ERR_DATA
 *         (damaged, another version or vendor, or state that L1 cannot have come to on this vCPU);
 *         NVIRT_ERR_NO_PAGE (no page for L2's second-stage tables); NVIRT_ERR_HARDWARE (VMPTRLD,
 *         VMCLEAR or VMREAD). L1's state is untouched then, and the call may be made again.
 *
 * Needs VMX operation.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_restore(struct nvirt_vmx_vcpu *vcpu,
                                                    struct nvirt_port_cpu *cpu, const void *buffer,
                                                    size_t bytes);

/**
 * Copies from a linear address of L1 (its segmentation is the caller's business), through its
 * paging, as a supervisor read that SMAP does not stop. For hosts that must look at L1's
 * instruction bytes.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param from linear address of the first byte.
 * @param to where the bytes go; undefined unless NVIRT_OK.
 * @param bytes 1 to 4096.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when a page is not present or has no memory behind it;
 *         NVIRT_ERR_RANGE (bytes, or an address that is not canonical); NVIRT_ERR_STATE (L2 is
 *         active; not a vCPU; bound to another CPU); NVIRT_ERR_RETRY while L1's tables keep
 *         changing; NVIRT_ERR_NULL; NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation; not between prepare and exit.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_l1_read_linear(struct nvirt_vmx_vcpu *vcpu,
                                                           struct nvirt_port_cpu *cpu,
                                                           nvirt_gva from, void *to, size_t bytes);

/**
 * The bytes at CS:RIP of the level that runs, through its paging and, for an L2 with EPT, through
 * EPT12: for a host that emulates an access of L1's or L2's to a device. To be called between
 * nvirt_vmx_exit() and the next prepare.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param bytes where they go: room for NVIRT_VMX_INSN_MAX; undefined unless NVIRT_OK.
 * @param count how many there are: fewer than NVIRT_VMX_INSN_MAX when the next page cannot be read;
 *        written on NVIRT_OK only.
 * @return NVIRT_OK with *count; NVIRT_ERR_NULL; NVIRT_ERR_NO_MAPPING (nothing at CS:RIP can be read);
 *         NVIRT_ERR_STATE (between prepare and exit; not a vCPU; bound to another CPU);
 *         NVIRT_ERR_HARDWARE (VMREAD or VMPTRLD).
 *
 * Needs VMX operation.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_insn_bytes(struct nvirt_vmx_vcpu *vcpu,
                                                       struct nvirt_port_cpu *cpu, uint8_t *bytes,
                                                       uint32_t *count);

NVIRT_END_DECLS

#endif
