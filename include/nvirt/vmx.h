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
    nvirt_hpa vmcs01;                   /**< A page of the host's for the VMCS that runs L1. */
    uint16_t vpid01;                    /**< VPID of L1, not 0 when the CPU has VPIDs; nvirt emits
                                             the flushes that nesting requires on it, the host
                                             those of its own doing. */
    const uint16_t *vpids;              /**< VPIDs for L2, used by nobody else; read in the call. */
    uint32_t vpid_count;                /**< 0 to NVIRT_VMX_MAX_VPIDS; 0: L2 runs without VPID. */
};

/**
 * Makes a vCPU object in VMX root operation, level 1, L1 outside VMX operation.
 * All fields of the vmcs01 view are 0: the host sets each field it needs with nvirt_vmx_write()
 * before the first nvirt_vmx_prepare(), the controls included.
 * @param memory the host's, at least NVIRT_VMX_VCPU_SIZE bytes aligned to NVIRT_VMX_VCPU_ALIGN.
 * @return NVIRT_OK with *vcpu; NVIRT_ERR_NULL, NVIRT_ERR_ALIGNMENT (memory or vmcs01),
 *         NVIRT_ERR_SIZE, NVIRT_ERR_RANGE (index, VPIDs zero or repeated), NVIRT_ERR_STATE (vm not
 *         initialised), NVIRT_ERR_CAPABILITY (CPU without EPT, or an offer beyond the CPU),
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
    bool launch; /**< VMLAUNCH when true, else VMRESUME: the VMCS to run is current. */
    uint32_t level;
};

/**
 * Makes the VMCS to run current and complete: commits changed fields, carries out the flushes that
 * fell due. To be called before every entry, on the CPU that enters, with interrupts off until then.
 * @return NVIRT_OK with *run; NVIRT_ERR_NULL; NVIRT_ERR_HARDWARE (VMPTRLD or VMWRITE refused: the
 *         field is reported by nvirt_port_trace()); NVIRT_ERR_NO_PAGE.
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
 * @param gprs as saved by the trampoline; instruction results for L1 are written there.
 * @return NVIRT_OK with *exit; NVIRT_ERR_NULL; NVIRT_ERR_STATE (no prepare before);
 *         NVIRT_ERR_HARDWARE (VMREAD refused).
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
 * is injected into the level that runs. Several wait in a queue of one each kind.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (type, vector); NVIRT_ERR_STATE (one of this kind
 *         is waiting already: an NMI then merges and the answer is NVIRT_OK).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_inject(struct nvirt_vmx_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu,
                                                   const struct nvirt_event *event);

/**
 * Leaves L2 and VMX operation of L1 by force (reset or INIT of the vCPU): level 1, VMXOFF, pins
 * dropped, flushes recorded. L1's registers in vmcs01 are the host's to set then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_reset(struct nvirt_vmx_vcpu *vcpu,
                                                  struct nvirt_port_cpu *cpu);

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
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (address widths); NVIRT_ERR_CAPABILITY when the
 *         CPU has no VMX capability MSRs, or none of the TRUE ones. *caps is written on NVIRT_OK
 *         only.
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
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when a page is not present or has no memory behind it;
 *         NVIRT_ERR_STATE while L2 runs.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vmx_l1_read_linear(struct nvirt_vmx_vcpu *vcpu,
                                                           struct nvirt_port_cpu *cpu,
                                                           nvirt_gva from, void *to, size_t bytes);

NVIRT_END_DECLS

#endif
