/* SPDX-License-Identifier: MIT */
/*
 * Nested VMX for one vCPU: the host's side of it. <nvirt/nvirt.h> tells how the calls follow each
 * other; this header is the contract of each.
 */
#ifndef NVIRT_VMX_H
#define NVIRT_VMX_H

#include <nvirt/event.h>
#include <nvirt/port_hot.h>
#include <nvirt/vm.h>
#include <nvirt/vmcs.h>

NVIRT_BEGIN_DECLS

struct nvirt_vmx_vcpu;

/** Bytes and alignment of the memory that holds one VMX vCPU object. */
#define NVIRT_VMX_VCPU_SIZE 32768u
#define NVIRT_VMX_VCPU_ALIGN 64u
/** Most VPIDs the host may lend to one vCPU for L2. */
#define NVIRT_VMX_MAX_VPIDS 32u

/** What the host decides about one vCPU. */
struct nvirt_vmx_vcpu_config {
    struct nvirt_vm *vm;
    uint32_t index;                     /**< The vCPU's number in its VM, for nvirt_port_kick(). */
    const struct nvirt_vmx_caps *cpu;   /**< What the CPUs can do (nvirt_vmx_caps_read()). */
    const struct nvirt_vmx_caps *offer; /**< What L1 may see (nvirt_vmx_caps_offer()). */
    nvirt_hpa vmcs01;                   /**< A page of the host's for the VMCS that runs L1, with
                                             the CPU's revision identifier in its first 4 bytes. */
    const uint8_t *msr_bitmap;          /**< The MSR bitmap that vmcs01 uses (4 KiB), to stay valid;
                                             null when every MSR access of L1 exits. */
    uint16_t vpid01;                    /**< VPID of L1, not 0 when the CPU has VPIDs; nvirt emits
                                             the flushes that nesting requires on it, the host
                                             those of its own doing. */
    const uint16_t *vpids;              /**< VPIDs for L2, used by nobody else; read in the call. */
    uint32_t vpid_count;                /**< 0 to NVIRT_VMX_MAX_VPIDS; 0: L2 runs without VPID. */
};

/**
 * Makes a vCPU object, level 1, L1 outside VMX operation.
 * All fields of the vmcs01 view are 0: the host sets each field it needs with nvirt_vmx_write()
 * before the first nvirt_vmx_prepare(), the controls included. vmcs01 must have
 *  - EPT and unrestricted guest on; "MSR bitmaps" on if msr_bitmap is given;
 *  - VM-exit controls save debug, save PAT, save EFER (and what the host loads for itself); VM-entry
 *    controls load debug, load PAT, load EFER: L1's live registers are then in vmcs01 at each exit;
 *  - CR0 and CR4 guest/host masks with at least nvirt_vmx_cr0_owned() and nvirt_vmx_cr4_owned(), the
 *    read shadows as L1 is to see them, and CR4.VMXE set in the guest's real CR4;
 *  - "virtual NMIs" if NMI exiting is on and the host injects NMIs;
 *  - VMCS_LINK all ones, and an MSR bitmap that nvirt_vmx_msr_bitmap_require() went over.
 * @param memory the host's, at least NVIRT_VMX_VCPU_SIZE bytes aligned to NVIRT_VMX_VCPU_ALIGN.
 * @return NVIRT_OK with *vcpu; NVIRT_ERR_NULL, NVIRT_ERR_ALIGNMENT (memory or vmcs01),
 *         NVIRT_ERR_SIZE, NVIRT_ERR_RANGE (index, VPIDs zero or repeated), NVIRT_ERR_STATE (vm not
 *         initialised), NVIRT_ERR_CAPABILITY (CPU without EPT, MSR bitmaps, or saving and loading of
 *         EFER and PAT; or an offer beyond the CPU),
 *         NVIRT_ERR_NO_PAGE (the pages for vmcs02 and its bitmaps). Nothing is held on failure.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vcpu_init(void *memory, size_t bytes,
                                                      const struct nvirt_vmx_vcpu_config *config,
                                                      struct nvirt_vmx_vcpu **vcpu);

/**
 * Ends a vCPU object: unpins and frees all it holds. L1's current VMCS is written back first.
 * @param cpu the CPU it was last prepared on, where this call must run; may be null if never run.
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vcpu_destroy(struct nvirt_vmx_vcpu *vcpu,
                                                         struct nvirt_port_cpu *cpu);

/** 1 while L1 is to run or ran, 2 while L2 is. 0 for null. */
uint32_t nvirt_vmx_level(const struct nvirt_vmx_vcpu *vcpu);

/**
 * Reads a field of the VMCS of @p level (1: vmcs01, 2: vmcs02), from hardware only when hardware
 * may have changed it since it was last known. Level 2 only while L2 is active.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (field, level); NVIRT_ERR_STATE (level 2 without
 *         L2); NVIRT_ERR_HARDWARE.
 * Must run on the CPU of the last nvirt_vmx_prepare().
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_read(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu, uint32_t level,
                                                 enum nvirt_vmcs_field field, uint64_t *value);

/**
 * Sets a field of the VMCS of @p level; it reaches hardware with the next prepare.
 * Level 1 also takes L0's own controls and host state: while L2 is active a change there is merged
 * into vmcs02 too, so an intercept that the host adds holds at once for both levels.
 * Level 2 takes guest state only.
 * @return as nvirt_vmx_read(), and NVIRT_ERR_RANGE for a read-only field or a level-2 control.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_write(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu, uint32_t level,
                                                  enum nvirt_vmcs_field field, uint64_t value);

/** What the host executes next. */
struct nvirt_vmx_run {
    bool launch;         /**< VMLAUNCH when true, else VMRESUME: the VMCS to run is current. */
    uint32_t level;
    bool branch_barrier; /**< L2 was left for L1 since the last run: the host's IBPB belongs here. */
    bool set_cr2;        /**< Load cr2 into CR2 before the entry: a page fault is injected. */
    uint64_t cr2;
};

/**
 * Makes the VMCS to run current and complete: commits changed fields, carries out the flushes that
 * fell due, and delivers waiting events, which may take L2 out to L1. To be called before every
 * entry, on the CPU that enters, with interrupts off until then.
 * From here to nvirt_vmx_exit() the VMCS stays current. If the host makes another VMCS current on
 * this CPU at any other time, it says so with nvirt_vmx_forget_current().
 * @return NVIRT_OK with *run; NVIRT_ERR_NULL; NVIRT_ERR_STATE (last used on another CPU without
 *         nvirt_vmx_leave_cpu(); or L1 is shut down and was not reset); NVIRT_ERR_HARDWARE (VMPTRLD,
 *         VMWRITE, INVEPT or INVVPID refused: nvirt_port_trace() has the field's encoding).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_prepare(struct nvirt_vmx_vcpu *vcpu,
                                                    struct nvirt_port_cpu *cpu,
                                                    struct nvirt_vmx_run *run);

/** An exit as the host sees it. */
struct nvirt_vmx_exit {
    enum nvirt_verdict verdict;
    uint32_t level;           /**< The level that ran when the exit was taken. */
    uint32_t reason;          /**< Exit reason, all 32 bits. */
    uint64_t qualification;   /**< Exit qualification (0 when the verdict is DONE). */
    uint32_t interruption;    /**< VM-exit interruption information, for reason 0 and 1 only. */
    nvirt_l1gpa l1gpa;        /**< For EPT violations that are the host's: the L1 address behind. */
    bool branch_barrier;      /**< L2 was left for L1: the host's IBPB, if any, belongs here. */
};

/**
 * To be called after every VM exit, on the CPU that took it, with the VMCS that ran still current.
 *
 * An exit is the host's (verdict L1 or L2) unless it is one of: VMX instructions (VMCALL of L1 is the
 * host's), MOV to CR0 and CR4, CLTS, LMSW, RDMSR and WRMSR of the VMX MSRs and
 * IA32_FEATURE_CONTROL, windows that nvirt opened, second-stage faults of L2 in memory that the host
 * maps, and what L1 wants. MSR accesses of L2 that L1 lets pass are carried out through
 * nvirt_port_l1_rdmsr() and nvirt_port_l1_wrmsr(). An event of either level whose delivery the exit
 * interrupted is delivered again at the next entry; a host that does otherwise writes 0 to level 1's
 * entry-interruption field.
 * @param gprs as saved by the trampoline; instruction results for L1 are written there.
 * @return NVIRT_OK with *exit; NVIRT_ERR_NULL; NVIRT_ERR_STATE (no prepare before);
 *         NVIRT_ERR_HARDWARE (VMREAD refused); NVIRT_ERR_NO_PAGE (no page for L2's second-stage
 *         tables: the instruction that needed it was not completed and may simply run again).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_exit(struct nvirt_vmx_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu,
                                                 struct nvirt_gprs *gprs,
                                                 struct nvirt_vmx_exit *exit);

/**
 * To be called instead of nvirt_vmx_exit() when VMLAUNCH or VMRESUME itself failed (CF or ZF set).
 * When vmcs02 was refused, L1 is given the VMfail its own VMLAUNCH would have met, with everything
 * unwound; when vmcs01 was, the host's fields are at fault.
 * @param outcome NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 * @return NVIRT_OK (L1 goes on); NVIRT_ERR_HARDWARE (vmcs01: *error is the VM-instruction error);
 *         NVIRT_ERR_NULL; NVIRT_ERR_STATE; NVIRT_ERR_RANGE.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_entry_failed(struct nvirt_vmx_vcpu *vcpu,
                                                         struct nvirt_port_cpu *cpu,
                                                         enum nvirt_hw outcome, uint32_t *error);

/**
 * Hands an event to the vCPU: an NMI, external interrupt or exception that the host wants L1 to
 * have. If L2 is active and L1 asked for that event's exit, L1 gets the exit; otherwise the event
 * is injected into the level that runs, when that may take it. One of each kind can wait. An L2 that
 * has not run since its VMLAUNCH or VMRESUME first gets through that entry.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (type, vector); NVIRT_ERR_STATE (one of this kind
 *         is waiting already: an NMI then merges and the answer is NVIRT_OK).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_inject(struct nvirt_vmx_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu,
                                                   const struct nvirt_event *event);

/**
 * For a VMCALL of L1 that is no hypercall of the host's: gives L1 what the architecture has for it
 * [SDM 3C "VMCALL"]: #UD outside VMX operation, #GP above CPL 0, else VMfail with error 1.
 * To be called between the exit (reason 18, level 1) and the next prepare.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (L2 runs); NVIRT_ERR_HARDWARE.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_vmcall_refuse(struct nvirt_vmx_vcpu *vcpu,
                                                          struct nvirt_port_cpu *cpu);

/**
 * Leaves L2 and VMX operation of L1 by force (reset or INIT of the vCPU): level 1, VMXOFF, pins
 * dropped, flushes recorded. L1's registers in vmcs01 are the host's to set then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_reset(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu);

/**
 * Tells that the CPU's current VMCS may be another than nvirt left there: the host ran another vCPU
 * or executed VMPTRLD itself.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (between prepare and exit).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_forget_current(struct nvirt_vmx_vcpu *vcpu);

/**
 * Tells that the host changed the MSR bitmap given at init: from the next prepare on the change
 * holds for L2 too, if L2 is active.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (not a vCPU).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_msr_bitmap_changed(struct nvirt_vmx_vcpu *vcpu);

/** VMCLEARs every VMCS of this vCPU that is active on @p cpu: before the vCPU moves to another CPU. */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_leave_cpu(struct nvirt_vmx_vcpu *vcpu,
                                                      struct nvirt_port_cpu *cpu);

/** The counters; null for null. */
const struct nvirt_stats *nvirt_vmx_stats(const struct nvirt_vmx_vcpu *vcpu);

/* ---- helpers for what the host virtualizes for L1 ---- */

/**
 * Fills @p caps by reading the capability MSRs of this CPU; @p facts come from the host's CPUID.
 * @param facts what the CPU itself has. Before nvirt_vmx_caps_offer() the host may narrow
 *        caps->cpu to what the CPUID it shows L1 says: offers and checks go by it.
 *        May be &caps->cpu itself.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (address widths); NVIRT_ERR_CAPABILITY when a
 *         capability MSR that must exist cannot be read. *caps is written on NVIRT_OK only. On a CPU
 *         without the TRUE MSRs their members hold what the plain ones say.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_read(struct nvirt_port_cpu *cpu,
                                                      const struct nvirt_vmx_cpu_facts *facts,
                                                      struct nvirt_vmx_caps *caps);

/**
 * What nvirt can offer an L1 on a CPU with @p cpu: by allow-list, everything else reads as absent.
 * The host may clear further allowed-1 bits before it hands the struct to nvirt_vmx_vcpu_init().
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_caps_offer(const struct nvirt_vmx_caps *cpu,
                                                       struct nvirt_vmx_caps *offer);

/**
 * Sets in L0's MSR bitmap (4 KiB) the intercepts nvirt needs to hold the VMX MSRs and
 * IA32_FEATURE_CONTROL for L1; and the CR0 and CR4 bits the host must own (guest/host masks).
 */
void nvirt_vmx_msr_bitmap_require(uint8_t *msr_bitmap);

/** Bits of CR0 and CR4 that must be set in vmcs01's guest/host masks: nvirt handles their exits. */
uint64_t nvirt_vmx_cr0_owned(const struct nvirt_vmx_vcpu *vcpu);
uint64_t nvirt_vmx_cr4_owned(const struct nvirt_vmx_vcpu *vcpu);

/**
 * Copies from a linear address of the level that runs (its segmentation is the caller's business),
 * through its paging, as a supervisor read. For hosts that must look at L1's instruction bytes.
 * @param bytes 1 to 4096.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when a page is not present or has no memory behind it;
 *         NVIRT_ERR_RANGE (bytes, or an address that is not canonical); NVIRT_ERR_STATE while L2
 *         runs; NVIRT_ERR_RETRY while L1's tables keep changing; NVIRT_ERR_NULL; NVIRT_ERR_HARDWARE.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_l1_read_linear(struct nvirt_vmx_vcpu *vcpu,
                                                           struct nvirt_port_cpu *cpu,
                                                           nvirt_gva from, void *to, size_t bytes);

NVIRT_END_DECLS

#endif
