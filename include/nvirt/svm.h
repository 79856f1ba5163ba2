/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Nested SVM for one vCPU: the host's side of it. <nvirt/nvirt.h> tells how the calls follow each
 * other; this header is the contract of each.
 *
 * Common to all calls:
 *
 *   - One vCPU object is used by one CPU at a time: no two calls on it may overlap. Different
 *     vCPUs, also of one VM, are used by different CPUs at once. No call sleeps or waits.
 *   - "cpu" is the context of the CPU that executes the call, handed to the port as it is. A vCPU
 *     may go to another CPU at any prepare: nothing of it stays in the old one.
 *   - VMRUN is executed in 64-bit mode with four-level paging (CR4.LA57 clear) and EFER.NXE set, at
 *     all times: hardware reads the nested tables that nvirt makes for L2 in the host's own paging
 *     mode [APM 2 "Nested Paging and VMRUN/#VMEXIT"].
 *   - Only nvirt_svm_prepare() executes an SVM instruction (INVLPGA, through the port), so only it
 *     needs EFER.SVME of the host set. vmcb01 and vmcb02 must not be running meanwhile.
 *   - A @p vcpu that is not null must be one that nvirt_svm_vcpu_init() made and that was not
 *     destroyed: this is not checked.
 */
#ifndef NVIRT_SVM_H
#define NVIRT_SVM_H

#include <nvirt/event.h>
#include <nvirt/hyperv.h>
#include <nvirt/state.h>
#include <nvirt/tlbflush.h>
#include <nvirt/vm.h>
#include <nvirt/vmcb.h>

NVIRT_BEGIN_DECLS

/** One SVM vCPU: opaque, in memory of the host's, made by nvirt_svm_vcpu_init(). */
struct nvirt_svm_vcpu;

/** Bytes of the memory that holds one SVM vCPU object. */
#define NVIRT_SVM_VCPU_SIZE 32768u
/** The same for a vCPU that keeps @p roots roots (struct nvirt_svm_vcpu_config). */
#define NVIRT_SVM_VCPU_BYTES(roots) NVIRT_BYTES_WITH_ROOTS(NVIRT_SVM_VCPU_SIZE, roots)
/** Its alignment in bytes. */
#define NVIRT_SVM_VCPU_ALIGN 64u
/** Most ASIDs the host may lend to one vCPU for L2. */
#define NVIRT_SVM_MAX_ASIDS 32u

/** Bytes of the longest instruction. */
#define NVIRT_SVM_INSN_MAX 15u

/** Physically contiguous pages for the permission maps of L2: two of the MSR map, three of I/O. */
#define NVIRT_SVM_MAP_PAGES 5u

/** What the host decides about one vCPU. Read during nvirt_svm_vcpu_init() only; the VM, the pages
 *  and the two maps of L0 must stay as long as the vCPU. */
struct nvirt_svm_vcpu_config {
    struct nvirt_vm *vm;                /**< The VM it belongs to, initialised. */
    uint32_t index;                     /**< The vCPU's number in its VM, below
                                             NVIRT_VM_MAX_VCPUS, for nvirt_port_kick(). */
    const struct nvirt_svm_caps *cpu;   /**< What the CPUs can do, from CPUID. */
    const struct nvirt_svm_caps *offer; /**< What L1 may see (nvirt_svm_caps_offer()). */
    nvirt_hpa vmcb01;                   /**< The host's page for the VMCB that runs L1;
                                             nvirt_port_page_pointer() must reach it. */
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
    uint64_t tsc_ratio;                 /**< The host's TSC ratio for L1, 32 binary places; 0 is
                                             1.0. L1's offset is in vmcb01. */
    uint32_t asid01;                    /**< ASID of L1, as the host sets it in vmcb01. */
    const uint32_t *asids;              /**< ASIDs for L2, used by nobody else; read in the call. */
    uint32_t asid_count;                /**< 1 to NVIRT_SVM_MAX_ASIDS. */
    uint32_t roots;                     /**< Second-stage roots of L2 to keep, least recently used
                                             dropped first: up to NVIRT_MAX_ROOTS; 0 means
                                             NVIRT_DEFAULT_ROOTS. The object needs
                                             NVIRT_SVM_VCPU_BYTES(roots) bytes. */
    uint32_t flush_addresses;           /**< Single linear addresses that are flushed one by one, up
                                             to NVIRT_TLB_MAX_ADDRESSES; beyond, the whole tag is. 0
                                             means NVIRT_TLB_DEFAULT_ADDRESSES. */
    bool host_5_level;                  /**< The host executes VMRUN with CR4.LA57 set: refused.
                                             Hardware walks nested tables in the paging mode of the
                                             host, and those for L2 have four levels. */
    bool interrupts_pass_through;       /**< Physical interrupts and NMIs belong to L1: nvirt owns
                                             the INTR, NMI and CR8 intercepts and V_INTR_MASKING of
                                             vmcb01. Otherwise the host has INTR and NMI intercepted
                                             and V_INTR_MASKING set in vmcb01 at all times, and
                                             hands events over by nvirt_svm_inject(). In both cases
                                             nvirt owns V_GIF, V_GIF_ENABLE, the VMLOAD bit of
                                             virt_ext and the STGI, CLGI, VMLOAD and VMSAVE
                                             intercepts of vmcb01: where @p cpu has a virtual GIF or
                                             virtual VMLOAD, those instructions of L1 do not exit. A
                                             host that wants them to takes the feature off its copy
                                             of @p cpu. Intercepts of #DB and of writes of DR7 come
                                             and go with GIF; those that the host wants itself are
                                             in vmcb01 before L1 first runs. */
    struct nvirt_hv_vp *hyperv;         /**< The processor of Hyper-V's interface that this vCPU
                                             is (nvirt_hv_vp_init()), to live as long; null: none. */
};

/**
 * Makes a vCPU object at level 1 with GIF set, EFER.SVME of L1 clear.
 * The host fills vmcb01 itself, through nvirt_svm_vmcb(): nested paging must be enabled in it, and
 * EFER.SVME set (L1 sees its own SVME bit, which nvirt keeps), nvirt_svm_intercepts_require() and
 * nvirt_svm_msrpm_require() applied.
 * @param memory the host's, at least NVIRT_SVM_VCPU_BYTES(roots) bytes aligned to
 *        NVIRT_SVM_VCPU_ALIGN; the object's until destroyed.
 * @param bytes how many there are at @p memory.
 * @param config read during the call only.
 * @param vcpu where the object's address goes; written on NVIRT_OK only.
 * @return - NVIRT_OK with *vcpu.
 *         - NVIRT_ERR_NULL: an argument, or vm, cpu, offer, asids or maps02_memory of the config.
 *         - NVIRT_ERR_ALIGNMENT: memory, vmcb01 or maps02.
 *         - NVIRT_ERR_SIZE: bytes below NVIRT_SVM_VCPU_BYTES(roots).
 *         - NVIRT_ERR_RANGE: index or roots too large; asid_count 0 or too large; an ASID that is 0, beyond
 *           the CPU's or given twice, asid01 included; host_pat without the types it must name; tsc_ratio
 *           with more than 40 bits; or
 *           the VM has NVIRT_VM_MAX_VCPUS vCPUs already.
 *         - NVIRT_ERR_STATE: the VM is not initialised.
 *         - NVIRT_ERR_CAPABILITY: the CPU lacks nested paging or no-execute, the host runs with
 *           five-level paging, the offer is beyond what nvirt_svm_caps_offer() makes of it, or hyperv has
 *           no queue or is not null in a build without Hyper-V.
 *         - NVIRT_ERR_NO_PAGE: the port has no page for vmcb02.
 *
 *         Nothing is held on failure.
 *
 * Concurrency: vCPUs of one VM may be made at once. [APM 2 "Secure Virtual Machine"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vcpu_init(void *memory, size_t bytes,
                                                      const struct nvirt_svm_vcpu_config *config,
                                                      struct nvirt_svm_vcpu **vcpu);

/**
 * Ends a vCPU object: unpins and frees all it holds. vmcb12 is not written back.
 * @param vcpu the object; its memory, vmcb01 and the pages of maps02 are the host's again.
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 *
 * Any CPU; no CPU may be running the vCPU.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vcpu_destroy(struct nvirt_svm_vcpu *vcpu);

/**
 * Asks for a flush that the host's own doings make necessary: it changed its second stage for L1 (the
 * root of level 1), emulated what flushes a guest's TLB, or a flush queue of its overflowed. It is
 * due before what it names is next used, whatever level runs until then, and the vCPU is made to
 * leave its guest so that it comes through nvirt_svm_prepare(). docs/tlb.md.
 * @param vcpu the vCPU.
 * @param level 1: L1; 2: all L2s. Of no meaning for NVIRT_TLB_REQUEST_EVERYTHING.
 * @param kind what to flush.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (level or kind).
 *
 * Any CPU at any time, during other calls on the vCPU too. Does not wait.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_request_flush(struct nvirt_svm_vcpu *vcpu, uint32_t level,
                                                         enum nvirt_tlb_request kind);

/**
 * The level that runs next, or ran last.
 * @param vcpu the vCPU, or null.
 * @return 1: L1; 2: L2; 0 for null.
 */
uint32_t nvirt_svm_level(const struct nvirt_svm_vcpu *vcpu);

/**
 * L1's global interrupt flag. While it is clear an INIT that the host intercepts is to be held,
 * like an NMI [APM 2 "Global Interrupt Flag, STGI and CLGI Instructions"].
 * @param vcpu the vCPU, or null.
 * @return true when set; true for null.
 */
bool nvirt_svm_gif(const struct nvirt_svm_vcpu *vcpu);

/**
 * The VMCB of the level, for the host to read and change between exit and prepare (level 1: L0's
 * own intercepts and L1's registers; level 2: L2's registers, only while L2 is active). Null when
 * there is none. Change fields by nvirt_vmcb_set_*() only: the clean bits are kept by them. After
 * changing L0's intercepts, TSC offset or permission maps, call nvirt_svm_vmcb01_changed(): they
 * then hold for L2 too.
 * @param vcpu the vCPU, or null.
 * @param level 1 or 2.
 * @return the VMCB, valid as long as the object for level 1 and until L2 is left for level 2; null
 *         for a null vcpu, for level 2 without L2 and for a level that does not exist.
 */
struct nvirt_vmcb *nvirt_svm_vmcb(struct nvirt_svm_vcpu *vcpu, uint32_t level);

/**
 * Tells that the host changed L0's own controls in vmcb01 or its permission maps: they are merged
 * anew before L2 runs.
 * @param vcpu the vCPU.
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_vmcb01_changed(struct nvirt_svm_vcpu *vcpu);

/** What the host executes next. */
struct nvirt_svm_run {
    nvirt_hpa vmcb;       /**< For VMRUN. */
    nvirt_hpa state_vmcb; /**< For VMLOAD before and VMSAVE after: always vmcb01, for the state that
                               L1 and L2 share (FS, GS, TR, LDTR, KERNEL_GS_BASE, STAR and so
                               on, SYSENTER) [APM 2 "VMSAVE and VMLOAD Instructions"]. */
    bool host_if;         /**< RFLAGS.IF under which VMRUN must be executed (inside CLGI): it
                               decides on physical interrupts where V_INTR_MASKING is set. */
    uint32_t level;       /**< The level that will run: 1 or 2. */
    uint64_t tsc_ratio;   /**< For the TSC_RATIO MSR before VMRUN, on a CPU that has it (CPUID
                               8000_000A EDX 4). It changes with the level only where L1 has set a
                               ratio of its own. */
    bool branch_barrier;  /**< L2 was left for L1 by an event that waited or by a reset: the
                               host's IBPB, if any, belongs here (also told by
                               nvirt_svm_exit()). */
    bool exit_soon;       /**< An interrupt or NMI of L1's CPU that L1 intercepts waits for no more than
                               the event that this entry delivers to L2. The host makes an interrupt of
                               its own pending on this CPU before VMRUN (a self-IPI), whose exit comes
                               when L2's event is delivered. Without it L1's waits for any next exit.
                               Never set where interrupts pass through. */
};

/**
 * Completes the VMCB to run: merges, injects, and sets TLB_CONTROL for the flushes that fell due.
 * To be called before every VMRUN, on the CPU that enters, between CLGI and VMRUN. It may be called
 * again without an entry in between; branch_barrier of the earlier *run is still due then.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU, the one that enters.
 * @param run what to execute; on NVIRT_ERR_NO_PAGE its branch_barrier only is written.
 * @return NVIRT_OK with *run; NVIRT_ERR_NULL; NVIRT_ERR_NO_PAGE (none for the root of L2's nested
 *         tables: call again when there is one; waiting events were delivered).
 *
 * [APM 2 "VMRUN Instruction"; "TLB Flush"; "VMCB State Caching"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_prepare(struct nvirt_svm_vcpu *vcpu,
                                                    struct nvirt_port_cpu *cpu,
                                                    struct nvirt_svm_run *run);

/** An exit as the host sees it [APM 2 "#VMEXIT"; "SVM Intercept Exit Codes"]. */
struct nvirt_svm_exit {
    enum nvirt_verdict verdict; /**< Whose it is. */
    uint32_t level;      /**< The level that ran when the exit was taken. */
    uint64_t code;       /**< EXITCODE. */
    uint64_t info1;      /**< EXITINFO1. */
    uint64_t info2;      /**< EXITINFO2. */
    uint64_t int_info;   /**< EXITINTINFO: the event whose delivery the exit interrupted; 0 for
                              none. With a verdict of L1 or L2 nvirt has it delivered again, but for
                              a task switch, which is the delivery; an exception that the host
                              injects instead is combined with it as the CPU would. */
    nvirt_l1gpa l1gpa;   /**< For nested page faults of L2 that are the host's (verdict L2): the L1
                              address behind. For L1's own, info2 is it. */
    bool branch_barrier; /**< L2 was left for L1: the host's IBPB, if any, belongs here. */
};

/**
 * To be called after every #VMEXIT, after VMSAVE of the state VMCB, on the CPU that took it.
 *
 * An exit is the host's (verdict L1 or L2) unless it is one of: SVM instructions but VMMCALL of L1,
 * the MSRs of nvirt_svm_msrpm_require(), windows that nvirt opened, nested page faults of L2 in
 * memory that the host maps, what L1 intercepts, and interrupts and NMIs that pass through to L1 on a CPU
 * that keeps its GIF: they exit once and come again at the next entry. An NMI that L1's GIF holds back is
 * the host's (verdict L1 or L2): it takes it off the CPU and hands it over. A SHUTDOWN of L1 is the host's (verdict L1).
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param gprs as saved by the trampoline, RAX and RSP excepted (they are in the VMCB); results for
 *        the guest are written there.
 * @param exit what it was; written unless NVIRT_ERR_NULL or NVIRT_ERR_STATE.
 * @return NVIRT_OK with *exit; NVIRT_ERR_NULL; NVIRT_ERR_STATE (no prepare before);
 *         NVIRT_ERR_NO_PAGE (a nested page fault of L2 found no table page: L2 will fault again
 *         when entered again; verdict DONE); NVIRT_ERR_HARDWARE (hardware found a reserved bit in
 *         the tables made for L2: the host does not run in the paging mode that is asked for above;
 *         entering again would fault again).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_exit(struct nvirt_svm_vcpu *vcpu,
                                                 struct nvirt_port_cpu *cpu,
                                                 struct nvirt_gprs *gprs,
                                                 struct nvirt_svm_exit *exit);

/**
 * Hands an event to the vCPU. If L2 is active and L1 intercepts that event, L1 gets the #VMEXIT;
 * otherwise it is injected into the level that runs. An interrupt or NMI waits while GIF is clear
 * or another event is being injected, an interrupt also while the level's RFLAGS.IF, interrupt
 * shadow or (where V_INTR_MASKING applies) the host's IF of L1 forbids it. One of each kind may
 * wait.
 * The event only waits here; nvirt_svm_prepare() delivers it, so one handed over after a prepare
 * needs another.
 * @param vcpu the vCPU.
 * @param cpu context of this CPU.
 * @param event copied during the call; an NMI's vector is not looked at.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (no such type; an exception's vector 2 or above
 *         31); NVIRT_ERR_STATE (an interrupt or exception waits already; NMIs merge).
 *
 * [APM 2 "Event Injection"; "Global Interrupt Flag, STGI and CLGI Instructions"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_inject(struct nvirt_svm_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu,
                                                   const struct nvirt_event *event);

/**
 * Which of the events handed over still wait. An interrupt that L1 intercepts in L2 goes on waiting
 * after that exit, as it would in an interrupt controller that was not acknowledged.
 * @param vcpu the vCPU, or null.
 * @return a set of NVIRT_WAITS_*; 0 for null.
 */
uint32_t nvirt_svm_waits(const struct nvirt_svm_vcpu *vcpu);

/**
 * Leaves L2 by force, vmcb12 not written, and clears L1's EFER.SVME, VM_CR.R_INIT, an unlocked
 * VM_CR.SVMDIS and waiting events; GIF set (reset or INIT of the vCPU). L1's registers in vmcb01
 * are the host's to set then.
 * @param vcpu the vCPU, not between an entry and its nvirt_svm_exit().
 * @return NVIRT_OK or NVIRT_ERR_NULL.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_reset(struct nvirt_svm_vcpu *vcpu);

/**
 * Writes L1's SVM state as <nvirt/state.h> lays it out. The host saves, at the same point: L1's
 * memory; the general-purpose and extended registers and DR0 to DR3 of the level that runs; and the
 * guest state of vmcb01, its V_TPR, interrupt shadow and EVENTINJ, and what VMLOAD and VMSAVE move.
 * The vCPU goes on as if nothing had been asked. The host finishes with the last exit first: nothing
 * of EXITCODE and its companions is saved.
 * @param vcpu the vCPU.
 * @param buffer where the state goes, any alignment; its contents mean nothing after any answer but
 *        NVIRT_OK.
 * @param bytes how many there are; NVIRT_STATE_MAX_BYTES always suffice.
 * @param used how many the state takes; written on NVIRT_OK and NVIRT_ERR_SIZE.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_SIZE (bytes below *used); NVIRT_ERR_STATE (between
 *         prepare and exit).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_save(struct nvirt_svm_vcpu *vcpu, void *buffer,
                                                 size_t bytes, size_t *used);

/**
 * Gives a vCPU the SVM state that nvirt_svm_save() wrote, on this machine or another whose offer is
 * the same or larger. The vCPU is fresh or reset; vmcb01 and L1's memory are what they were at the
 * save: an active L2 is checked and put together from vmcb01 and the state. The controls of vmcb01
 * are the host's as for any run.
 * @param vcpu the vCPU.
 * @param buffer the state, any alignment; not to change during the call.
 * @param bytes its length, exactly as saved.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE (L1 has EFER.SVME set: nvirt_svm_reset() first;
 *         between prepare and exit); NVIRT_ERR_DATA (damaged, another version or vendor, or state
 *         that L1 cannot have come to on this vCPU). L1's state is untouched then, and the call may
 *         be made again.
 *
 * Executes no SVM instruction.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_restore(struct nvirt_svm_vcpu *vcpu,
                                                    const void *buffer, size_t bytes);

/**
 * The counters.
 * @param vcpu the vCPU, or null.
 * @return them, valid as long as the object, to be read while no call on it is under way; null for
 *         null.
 */
const struct nvirt_stats *nvirt_svm_stats(const struct nvirt_svm_vcpu *vcpu);

/* ---- helpers for what the host virtualizes for L1 ---- */

/**
 * What nvirt can offer an L1 on a CPU with @p cpu: by allow-list. The host may take further
 * features and register bits away before it hands the struct to nvirt_svm_vcpu_init(), and
 * shows L1 in CPUID what is left.
 * @param cpu what the CPU can do (nvirt_svm_caps_decode()).
 * @param offer the result; may be the same struct; written on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_CAPABILITY (CPU without nested paging or no-execute).
 *
 * Pure: any CPU, at any time.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_caps_offer(const struct nvirt_svm_caps *cpu,
                                                       struct nvirt_svm_caps *offer);

/**
 * Sets in L0's MSR permission map the intercepts nvirt needs, reads and writes of EFER, VM_CR,
 * VM_HSAVE_PA, SVM_KEY and TSC_RATIO [APM 2 "MSR Intercepts"].
 * @param msrpm NVIRT_SVM_MSRPM_BYTES of the host's; null does nothing.
 *
 * Pure: on the caller's memory only.
 */
void nvirt_svm_msrpm_require(uint8_t *msrpm);

/**
 * Sets in vmcb01 the intercepts that nvirt needs: all instructions of SVM, MSR_PROT (the MSR
 * permission map counts) and SHUTDOWN.
 * @param vmcb01 the VMCB, its clean bits are kept; null does nothing.
 */
void nvirt_svm_intercepts_require(struct nvirt_vmcb *vmcb01);

/**
 * Length of the instruction at CS:RIP of the level that runs, for the instructions that can be
 * intercepted without NRIPS (CPUID, RDMSR, WRMSR, HLT, INVD and so on), and for IOIO, whose
 * EXITINFO2 is the next RIP. To be called between nvirt_svm_exit() and the next prepare.
 * @param vcpu the vCPU.
 * @param exit_code EXITCODE of the exit that is looked at.
 * @param length bytes of the instruction, 1 to 15; written on NVIRT_OK only.
 * @return NVIRT_OK with *length; NVIRT_ERR_NULL; NVIRT_ERR_NO_MAPPING (CS:RIP cannot be fetched
 *         from); NVIRT_ERR_RANGE when the bytes there are another instruction (L1 changed them
 *         meanwhile) or the code is of none that has one opcode: nothing should be skipped then.
 *
 * Reads L1's memory; executes no SVM instruction. [APM 2 "State Saved on Exit"]
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_insn_length(struct nvirt_svm_vcpu *vcpu,
                                                        uint64_t exit_code, uint32_t *length);

/**
 * The bytes at CS:RIP of the level that runs, through its paging (and L1's nested tables, for an L2
 * on such): for a host that emulates an access of L1's or L2's to a device. To be called between
 * nvirt_svm_exit() and the next prepare.
 * @param vcpu the vCPU.
 * @param bytes where they go: room for NVIRT_SVM_INSN_MAX.
 * @param count how many there are: fewer than NVIRT_SVM_INSN_MAX when the next page cannot be read;
 *        written on NVIRT_OK only.
 * @return NVIRT_OK with *count; NVIRT_ERR_NULL; NVIRT_ERR_NO_MAPPING (CS:RIP cannot be fetched from).
 *
 * Reads L1's memory; executes no SVM instruction.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_insn_bytes(struct nvirt_svm_vcpu *vcpu, uint8_t *bytes,
                                                       uint32_t *count);

NVIRT_END_DECLS

#endif
