/* SPDX-License-Identifier: MIT */
/*
 * Nested SVM for one vCPU: the host's side of it. <nvirt/nvirt.h> tells how the calls follow each
 * other; this header is the contract of each.
 */
#ifndef NVIRT_SVM_H
#define NVIRT_SVM_H

#include <nvirt/event.h>
#include <nvirt/vm.h>
#include <nvirt/vmcb.h>

NVIRT_BEGIN_DECLS

struct nvirt_svm_vcpu;

/** Bytes and alignment of the memory that holds one SVM vCPU object. */
#define NVIRT_SVM_VCPU_SIZE 32768u
#define NVIRT_SVM_VCPU_ALIGN 64u
/** Most ASIDs the host may lend to one vCPU for L2. */
#define NVIRT_SVM_MAX_ASIDS 32u

/** Physically contiguous pages for the permission maps of L2: two of the MSR map, three of I/O. */
#define NVIRT_SVM_MAP_PAGES 5u

/** What the host decides about one vCPU. */
struct nvirt_svm_vcpu_config {
    struct nvirt_vm *vm;
    uint32_t index;                     /**< The vCPU's number in its VM, for nvirt_port_kick(). */
    const struct nvirt_svm_caps *cpu;   /**< What the CPUs can do, from CPUID. */
    const struct nvirt_svm_caps *offer; /**< What L1 may see (nvirt_svm_caps_offer()). */
    nvirt_hpa vmcb01;                   /**< The host's page for the VMCB that runs L1. */
    nvirt_hpa maps02;                   /**< NVIRT_SVM_MAP_PAGES physically contiguous pages of the
                                             host's for the permission maps of L2, nvirt's until
                                             destroyed, */
    void *maps02_memory;                /**< and where nvirt reaches them: contiguous too. */
    const uint8_t *msrpm01;             /**< L0's MSR permission map for L1 (NVIRT_SVM_MSRPM_BYTES),
                                             as vmcb01 names it. Null: L0 wants every MSR of L2. */
    const uint8_t *iopm01;              /**< L0's I/O permission map for L1 (NVIRT_SVM_IOPM_BYTES).
                                             Null: L0 wants every port of L2. Both maps count only
                                             where vmcb01 has the MSR or IOIO intercept set. */
    uint64_t host_pat;                  /**< PAT of the host: nested tables use it. Must name WB
                                             and UC or UC-. */
    uint32_t asid01;                    /**< ASID of L1, as the host sets it in vmcb01. */
    const uint32_t *asids;              /**< ASIDs for L2, used by nobody else; read in the call. */
    uint32_t asid_count;                /**< 1 to NVIRT_SVM_MAX_ASIDS. */
    bool interrupts_pass_through;       /**< Physical interrupts and NMIs belong to L1: nvirt owns the
                                             INTR, NMI and CR8 intercepts and V_INTR_MASKING of
                                             vmcb01. Otherwise the host has INTR and NMI intercepted
                                             and V_INTR_MASKING set in vmcb01 at all times, and hands
                                             events over by nvirt_svm_inject(). */
};

/**
 * Makes a vCPU object at level 1 with GIF set, EFER.SVME of L1 clear.
 * The host fills vmcb01 itself, through nvirt_svm_vmcb(): nested paging must be enabled in it, and
 * EFER.SVME set (L1 sees its own SVME bit, which nvirt keeps).
 * @return NVIRT_OK with *vcpu; NVIRT_ERR_NULL, NVIRT_ERR_ALIGNMENT, NVIRT_ERR_SIZE, NVIRT_ERR_RANGE
 *         (index, ASIDs zero, repeated or beyond the CPU's; host_pat), NVIRT_ERR_STATE (vm not
 *         initialised, or full), NVIRT_ERR_CAPABILITY (CPU without nested paging or no-execute, offer
 *         beyond the CPU), NVIRT_ERR_NO_PAGE. Nothing is held on failure.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vcpu_init(void *memory, size_t bytes,
                                                      const struct nvirt_svm_vcpu_config *config,
                                                      struct nvirt_svm_vcpu **vcpu);

/** Ends a vCPU object: unpins and frees all it holds. @return NVIRT_OK or NVIRT_ERR_NULL. */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vcpu_destroy(struct nvirt_svm_vcpu *vcpu);

/** 1 while L1 is to run or ran, 2 while L2 is. 0 for null. */
uint32_t nvirt_svm_level(const struct nvirt_svm_vcpu *vcpu);

/**
 * The VMCB of the level, for the host to read and change between exit and prepare (level 1: L0's
 * own intercepts and L1's registers; level 2: L2's registers, only while L2 is active). Null when
 * there is none. Change fields by nvirt_vmcb_set_*() only: the clean bits are kept by them. After
 * changing L0's intercepts, TSC offset or permission maps, call nvirt_svm_vmcb01_changed(): they then
 * hold for L2 too.
 */
struct nvirt_vmcb *nvirt_svm_vmcb(struct nvirt_svm_vcpu *vcpu, uint32_t level);

/** Tells that the host changed L0's own controls in vmcb01: they are merged anew before L2 runs. */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vmcb01_changed(struct nvirt_svm_vcpu *vcpu);

/** What the host executes next. */
struct nvirt_svm_run {
    nvirt_hpa vmcb;       /**< For VMRUN. */
    nvirt_hpa state_vmcb; /**< For VMLOAD before and VMSAVE after: always vmcb01, for the state that
                               L1 and L2 share (FS, GS, TR, LDTR, KERNEL_GS_BASE, STAR, SYSENTER). */
    bool host_if;         /**< RFLAGS.IF under which VMRUN must be executed (inside CLGI): it decides
                               on physical interrupts where V_INTR_MASKING is set. */
    uint32_t level;
    bool branch_barrier;  /**< L2 was left for L1 by an event that waited: the host's IBPB, if any,
                               belongs here (also told by nvirt_svm_exit()). */
};

/**
 * Completes the VMCB to run: merges, injects, and sets TLB_CONTROL for the flushes that fell due.
 * To be called before every VMRUN, on the CPU that enters, between CLGI and VMRUN.
 * @return NVIRT_OK with *run; NVIRT_ERR_NULL; NVIRT_ERR_NO_PAGE.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_prepare(struct nvirt_svm_vcpu *vcpu,
                                                    struct nvirt_port_cpu *cpu,
                                                    struct nvirt_svm_run *run);

/** An exit as the host sees it. */
struct nvirt_svm_exit {
    enum nvirt_verdict verdict;
    uint32_t level;      /**< The level that ran when the exit was taken. */
    uint64_t code;       /**< EXITCODE. */
    uint64_t info1;      /**< EXITINFO1. */
    uint64_t info2;      /**< EXITINFO2. */
    nvirt_l1gpa l1gpa;   /**< For nested page faults that are the host's: the L1 address behind. */
    bool branch_barrier; /**< L2 was left for L1: the host's IBPB, if any, belongs here. */
};

/**
 * To be called after every #VMEXIT, after VMSAVE of the state VMCB, on the CPU that took it.
 * @param gprs as saved by the trampoline, RAX excepted (it is in the VMCB).
 * @return NVIRT_OK with *exit; NVIRT_ERR_NULL; NVIRT_ERR_STATE (no prepare before); NVIRT_ERR_NO_PAGE
 *         (a nested page fault of L2 found no table page: L2 will fault again when entered again).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_exit(struct nvirt_svm_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu,
                                                 struct nvirt_gprs *gprs,
                                                 struct nvirt_svm_exit *exit);

/**
 * Hands an event to the vCPU. If L2 is active and L1 intercepts that event, L1 gets the #VMEXIT;
 * otherwise it is injected into the level that runs. An interrupt or NMI waits while GIF is clear or
 * another event is being injected, an interrupt also while the level's RFLAGS.IF, interrupt shadow or
 * (where V_INTR_MASKING applies) the host's IF of L1 forbids it. One of each kind may wait.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (type, vector); NVIRT_ERR_STATE (an interrupt or
 *         exception waits already; NMIs merge).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_inject(struct nvirt_svm_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu,
                                                   const struct nvirt_event *event);

/**
 * Leaves L2 by force and clears L1's EFER.SVME, VM_CR.R_INIT and waiting events; GIF set (reset or
 * INIT of the vCPU). L1's registers in vmcb01 are the host's to set then.
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_reset(struct nvirt_svm_vcpu *vcpu);

/** The counters; null for null. */
const struct nvirt_stats *nvirt_svm_stats(const struct nvirt_svm_vcpu *vcpu);

/* ---- helpers for what the host virtualizes for L1 ---- */

/** What nvirt can offer an L1 on a CPU with @p cpu: by allow-list. */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_caps_offer(const struct nvirt_svm_caps *cpu,
                                                       struct nvirt_svm_caps *offer);

/** Sets in L0's MSRPM (8 KiB) the intercepts nvirt needs: EFER, VM_CR, VM_HSAVE_PA, SVM_KEY. */
void nvirt_svm_msrpm_require(uint8_t *msrpm);

/** Sets in vmcb01 the instruction intercepts that nvirt needs: all of SVM's. */
void nvirt_svm_intercepts_require(struct nvirt_vmcb *vmcb01);

/**
 * Length of the instruction at CS:RIP of the level that runs, for the instructions that can be
 * intercepted without NRIPS (CPUID, RDMSR, WRMSR, HLT, INVD, ...; see nvirt_svm_insn).
 * @return NVIRT_OK with *length 1 to 15; NVIRT_ERR_NO_MAPPING; NVIRT_ERR_RANGE when the bytes there are
 *         another instruction (L1 changed them meanwhile): nothing should be skipped then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_insn_length(struct nvirt_svm_vcpu *vcpu,
                                                        uint64_t exit_code, uint32_t *length);

NVIRT_END_DECLS

#endif
