/* SPDX-License-Identifier: MIT */
/*
 * What the files of the nested-VMX state machine share: the vCPU object, and one section of
 * prototypes per file. Nothing here is for anyone outside src/nested/vmx_*.c and their tests.
 *
 * Conventions. While a call of the host's is under way, v->cpu is the CPU it runs on. A hardware
 * instruction that fails although it must not is recorded once in v->error, the value read is then
 * 0, and the call returns NVIRT_ERR_HARDWARE at its end: no path ends as if nothing had happened,
 * and none needs a check per VMREAD.
 */
#ifndef NVI_NESTED_VMX_INTERNAL_H
#define NVI_NESTED_VMX_INTERNAL_H

#include <nvirt/tlbflush.h>
#include <nvirt/vmx.h>
#include <nvirt/x86.h>

#include "ept/ept.h"
#include "mmu/mmu.h"
#include "paging/paging.h"
#include "vmcs/merge.h"
#include "vmcs/vmcs_internal.h"

#define NVI_VMX_MAGIC 0x786d766eu
#define NVI_FIELD_WORDS ((NVIRT_VMCS_FIELD_COUNT + 63u) / 64u)
/** "No VMCS", as VMPTRST stores it. */
#define NVI_NO_VMCS UINT64_MAX
/** CPUs that a vCPU remembers by number; more only cost flushes. */
#define NVI_VMX_KNOWN_CPUS 8u

/** A set of fields. */
struct nvi_field_set {
    uint64_t word[NVI_FIELD_WORDS];
};

static inline bool nvi_field_has(const struct nvi_field_set *set, uint32_t field)
{
    return (set->word[field / 64u] >> (field % 64u) & 1u) != 0;
}

static inline void nvi_field_add(struct nvi_field_set *set, uint32_t field)
{
    set->word[field / 64u] |= UINT64_C(1) << (field % 64u);
}

static inline void nvi_field_remove(struct nvi_field_set *set, uint32_t field)
{
    set->word[field / 64u] &= ~(UINT64_C(1) << (field % 64u));
}

/** Which of the vCPU's hardware VMCSs. */
enum nvi_which {
    NVI_01 = 0,
    NVI_02,
    NVI_HW_COUNT,
    NVI_NONE = NVI_HW_COUNT
};

/**
 * One VMCS of the hardware and what is known of it. A field is in one of three conditions: known
 * (image and hardware are equal), stale (hardware may have changed it since), dirty (the image is
 * newer).
 */
struct nvi_hw_vmcs {
    struct nvirt_vmcs image;
    struct nvi_field_set stale;
    struct nvi_field_set dirty;
    nvirt_hpa hpa;
    bool initialised; /**< VMCLEARed since the object was made: before, its contents are chance. */
    bool active;      /**< Its data may be in the CPU v->home. */
    bool launched;
};

/** A page of L1 that hardware may use. */
struct nvi_pin {
    bool used;
    uint64_t page;
    nvirt_hpa hpa;
};

/** An exception that waits for the level that runs. */
struct nvi_exception {
    bool waiting;
    bool has_error;
    uint8_t vector;
    uint32_t error_code;
    uint64_t address; /**< Qualification of the exit: CR2 of #PF, bits of DR6 of #DB. */
};

/** Events that wait; one of each kind. */
struct nvi_pending {
    struct nvi_exception exception;
    bool nmi;
    bool interrupt;
    bool mtf;  /**< An instruction of L2 was completed under L1's monitor trap flag. */
    bool init; /**< An INIT came while L1 was in VMX root operation, which blocks it. */
    uint8_t vector;
};

/** What L1 has of VMX: its processor state as the manual describes it. */
struct nvi_l1_vmx {
    bool on;
    bool launched;    /**< Launch state of the current VMCS. */
    uint64_t region;  /**< VMXON pointer. */
    uint64_t current; /**< Current-VMCS pointer, NVI_NO_VMCS for none. */
    uint64_t feature_control;
};

struct nvirt_vmx_vcpu {
    uint32_t magic;
    uint32_t index;
    uint32_t level;
    enum nvirt_status error; /**< Of the call under way. */
    struct nvirt_vm *vm;
    struct nvirt_port_vm *port;
    struct nvirt_port_cpu *cpu;  /**< Of the call under way. */
    struct nvirt_port_cpu *home; /**< Where VMCSs may be active; null for nowhere. */
    struct nvirt_port_cpu *known_cpu[NVI_VMX_KNOWN_CPUS];
    uint32_t known_number[NVI_VMX_KNOWN_CPUS];
    uint32_t next_number;
    const uint8_t *msr_bitmap01;
    struct nvirt_vmx_caps caps;
    struct nvirt_vmx_caps offer;
    struct nvirt_stats stats;

    struct nvi_field_set exists;  /**< Fields that this CPU has. */
    struct nvi_field_set guest;   /**< Of those, the ones an exit to L1 shows it. */
    struct nvi_field_set merged;  /**< Of those, what an entry builds: no exit data, no PDPTEs. */
    struct nvi_field_set loaded;  /**< Of those, the ones of vmcs01 that an exit to L1 loads. */
    struct nvi_field_set changes[NVI_HW_COUNT]; /**< What an exit may change in each VMCS. */
    struct nvi_hw_vmcs hw[NVI_HW_COUNT];
    enum nvi_which current; /**< Which of them is the CPU's current VMCS, as far as known. */

    struct nvi_l1_vmx vmx;
    struct nvirt_vmcs vmcs12;
    struct nvirt_vmcs next; /**< Scratch: an image being built. */

    bool prepared;      /**< What comes next is an exit. */
    bool entry_pending; /**< vmcs02 was built for VMLAUNCH or VMRESUME and has not run yet. */
    bool entry_launch;  /**< That entry is a VMLAUNCH. */
    bool dead;          /**< Shutdown or VMX abort: over until reset. */
    bool remerge;       /**< L0 changed vmcs01 while L2 is active. */
    bool barrier;       /**< L2 was left for L1 since the last prepare. */
    bool forced_exit;   /**< vmcs02 has nvirt's own preemption timer of 0. */
    bool set_cr2;
    uint64_t cr2;
    uint64_t proc01;  /**< Processor-based controls as the host wrote them, */
    uint64_t proc02;  /**< and as the merge made them: nvirt adds windows to both. */
    uint64_t pin02;
    uint64_t host_cr0; /**< Bits the host owns in vmcs02's CR0 and CR4 since the last merge. */
    uint64_t host_cr4;
    uint64_t timer02;
    struct nvi_pending pending;

    nvirt_hpa msr_bitmap02;
    nvirt_hpa all_ones; /**< Stands for an I/O bitmap of L1's that has no memory behind it. */
    struct nvi_pin io_pin[2];
    struct nvirt_tlb tlb;
    struct nvirt_tlb_vmx_entry tlb_entry; /**< Of the L2 that is active. */
    uint32_t vpid02;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[NVI_MMU_DEFAULT_ROOTS];
    struct nvi_mmu_root *root; /**< Of the L2 that is active. */
    struct nvi_ept_config ept;
};

/* ---- vmx_hw.c: the only file that executes VMX instructions ---- */

/** Reads a stale field from hardware. */
uint64_t nvi_hw_get_stale(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field);

/** A field as hardware has it now, or as it will be written. Most are known: no call then. */
static inline uint64_t nvi_hw_get(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                                  enum nvirt_vmcs_field field)
{
    const struct nvi_hw_vmcs *hw = &v->hw[which];

    return nvi_field_has(&hw->stale, (uint32_t)field) ? nvi_hw_get_stale(v, which, field)
                                                      : hw->image.field[field];
}

void nvi_hw_set(struct nvirt_vmx_vcpu *v, enum nvi_which which, enum nvirt_vmcs_field field,
                uint64_t value);
/** Fetches those of @p set that are stale. */
void nvi_hw_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvi_field_set *set);
/** Makes the image equal to @p next in the fields of @p set. */
void nvi_hw_replace(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvirt_vmcs *next,
                    const struct nvi_field_set *set);
/** Makes it current and writes what is dirty. */
void nvi_hw_commit(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** The exit reason of the VMCS that just ran. Notes what the exit, or the failed entry, changed. */
uint32_t nvi_hw_exit(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** VMCLEARs it if it is active. */
void nvi_hw_clear(struct nvirt_vmx_vcpu *v, enum nvi_which which);
void nvi_hw_flush(struct nvirt_vmx_vcpu *v, const struct nvirt_flush_set *set);
/** The VM-instruction error of the VMCS that is current, for a failed entry. */
uint32_t nvi_hw_instruction_error(struct nvirt_vmx_vcpu *v);
void nvi_hw_field_sets(struct nvirt_vmx_vcpu *v);

#define NVI_GET01(v, NAME) nvi_hw_get((v), NVI_01, NVIRT_VMCS_##NAME)
#define NVI_GET02(v, NAME) nvi_hw_get((v), NVI_02, NVIRT_VMCS_##NAME)
#define NVI_SET01(v, NAME, value) nvi_hw_set((v), NVI_01, NVIRT_VMCS_##NAME, (value))
#define NVI_SET02(v, NAME, value) nvi_hw_set((v), NVI_02, NVIRT_VMCS_##NAME, (value))

/** The VMCS of the level that runs. */
static inline enum nvi_which nvi_vmx_running(const struct nvirt_vmx_vcpu *v)
{
    return v->level == 2 ? NVI_02 : NVI_01;
}

#define NVI_GET(v, NAME) nvi_hw_get((v), nvi_vmx_running(v), NVIRT_VMCS_##NAME)
#define NVI_SET(v, NAME, value) nvi_hw_set((v), nvi_vmx_running(v), NVIRT_VMCS_##NAME, (value))

/** The preemption timer is the host's, at both levels. */
static inline bool nvi_vmx_l0_has_timer(const struct nvirt_vmx_vcpu *v)
{
    return (v->hw[NVI_01].image.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0;
}

/** IA32_PERF_GLOBAL_CTRL of both levels is loaded from vmcs01's field. */
static inline bool nvi_vmx_l0_has_counters(const struct nvirt_vmx_vcpu *v)
{
    return (v->hw[NVI_01].image.entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL) != 0;
}

/* ---- vmx_vcpu.c ---- */

/** A number that tells the CPU of the call under way from the others this vCPU ran on. */
uint32_t nvi_vmx_cpu_number(struct nvirt_vmx_vcpu *v);
/** Drops the pins of vmcs12's pages. */
void nvi_vmx_unpin_all(struct nvirt_vmx_vcpu *v);

/* ---- vmx_event.c ---- */

/** Queues an exception for the level that runs. */
void nvi_vmx_raise(struct nvirt_vmx_vcpu *v, uint8_t vector);
void nvi_vmx_raise_error(struct nvirt_vmx_vcpu *v, uint8_t vector, uint32_t error_code);
void nvi_vmx_raise_page_fault(struct nvirt_vmx_vcpu *v, uint32_t error_code, uint64_t address);
/** Completes the instruction that exited, at the level that runs. */
void nvi_vmx_skip(struct nvirt_vmx_vcpu *v);
/** An event whose delivery the exit interrupted is delivered again at the next entry. */
void nvi_vmx_redeliver(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                       uint32_t interruption);
/** Turns waiting events into injections, exits to L1, or windows. Right before an entry. */
void nvi_vmx_deliver(struct nvirt_vmx_vcpu *v);
/** Forgets nvirt's forced exit after any exit of L2. */
void nvi_vmx_forced_exit_done(struct nvirt_vmx_vcpu *v);

static inline bool nvi_vmx_is_canonical(const struct nvirt_vmx_vcpu *v, uint64_t address)
{
    return nvi_vmx_canonical(address, v->offer.cpu.linear_bits);
}

/* ---- vmx_operand.c ---- */

bool nvi_vmx_in_64bit_mode(struct nvirt_vmx_vcpu *v);
/** A linear address that is canonical in L1's paging mode. */
bool nvi_vmx_l1_can_access(struct nvirt_vmx_vcpu *v, uint64_t linear);
/** For a VMX instruction of L1, which has none in compatibility mode: no look at CS is needed. */
static inline bool nvi_vmx_insn_is_64bit(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET01(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0;
}

uint32_t nvi_vmx_cpl(struct nvirt_vmx_vcpu *v);
/** L1's paging mode, for the walker. */
void nvi_vmx_paging(struct nvirt_vmx_vcpu *v, struct nvi_paging *mode);
/** A register of the level that runs, RSP included. */
uint64_t nvi_vmx_gpr(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, uint32_t number);
void nvi_vmx_gpr_set(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t number,
                     uint64_t value);
/**
 * Reads or writes the memory operand of L1's VMX instruction.
 * @return false when the instruction ends here: a fault was raised, or it is to be executed again.
 */
bool nvi_vmx_operand_read(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, void *to,
                          size_t bytes);
bool nvi_vmx_operand_write(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                           const void *from, size_t bytes);

/* ---- vmx_vmcs12.c ---- */

/** Reads L1 memory; where there is none, all ones. */
void nvi_vmx_l1_read(struct nvirt_vmx_vcpu *v, uint64_t from, void *to, size_t bytes);
/** Writes L1 memory; where there is none, nothing happens. */
void nvi_vmx_l1_write(struct nvirt_vmx_vcpu *v, uint64_t to, const void *from, size_t bytes);
bool nvi_vmx_l1_address_fits(const struct nvirt_vmx_vcpu *v, uint64_t address);
uint32_t nvi_vmcs12_revision(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Makes the region current: reads it once into v->vmcs12. */
void nvi_vmcs12_load(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Writes the current region back and leaves none current. */
void nvi_vmcs12_store(struct nvirt_vmx_vcpu *v);
/** Sets the launch state in a region that is not current to clear. */
void nvi_vmcs12_clear(struct nvirt_vmx_vcpu *v, uint64_t region);
void nvi_vmcs12_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator);

/* ---- vmx_insn.c ---- */

void nvi_vmx_succeed(struct nvirt_vmx_vcpu *v);
void nvi_vmx_fail_invalid(struct nvirt_vmx_vcpu *v);
/** VMfail with an error number if there is a current VMCS, else without. */
void nvi_vmx_fail(struct nvirt_vmx_vcpu *v, uint32_t error);
/** VMCALL of L1 that nobody answers: there is no dual-monitor treatment. */
void nvi_vmx_vmcall_in_root(struct nvirt_vmx_vcpu *v);
/** True when @p reason was an instruction of L1's that nvirt has now dealt with. */
bool nvi_vmx_instruction(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t reason);

/* ---- vmx_insn_flush.c ---- */

void nvi_vmx_invept(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
void nvi_vmx_invvpid(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);

/* ---- vmx_cr.c ---- */

/** What became of an exit that nvirt may or may not deal with. */
enum nvi_handled {
    NVI_NOT_MINE = 0,
    NVI_HANDLED
};

enum nvi_handled nvi_vmx_cr_access(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                   uint64_t qualification);
/** Bits of CR0 and CR4 that the host owns beyond those that nvirt wants. */
uint64_t nvi_vmx_host_cr0(struct nvirt_vmx_vcpu *v);
uint64_t nvi_vmx_host_cr4(struct nvirt_vmx_vcpu *v);
/** CR0 and CR4 of L2 as L1 knows them: without what the host does to its own bits beneath. */
uint64_t nvi_vmx_cr0_of_l2(struct nvirt_vmx_vcpu *v);
uint64_t nvi_vmx_cr4_of_l2(struct nvirt_vmx_vcpu *v);
/** Reads four PDPTEs at @p cr3. @return false when one has reserved bits set. */
bool nvi_vmx_pdptes_read(struct nvirt_vmx_vcpu *v, uint64_t cr3, uint64_t pdpte[4]);

/* ---- vmx_msr.c ---- */

enum nvi_handled nvi_vmx_rdmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
enum nvi_handled nvi_vmx_wrmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
/** An MSR that nvirt holds for L1; false when it is none of those. */
bool nvi_vmx_msr_is_mine(uint32_t msr);
bool nvi_vmx_msr_read(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t *value);
/** @return false for #GP. */
bool nvi_vmx_msr_write(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t value);

/** The VMCS field that holds @p msr while a guest runs; false when there is none. */
bool nvi_vmx_msr_field(uint32_t msr, enum nvirt_vmcs_field *field);
/** What WRMSR does to such a field, under @p cr0. @return false for #GP. */
bool nvi_vmx_msr_field_write(const struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t cr0,
                             uint64_t *field, uint64_t value);

/* ---- vmx_msrlist.c ---- */

/**
 * Carries out a VM-entry or VM-exit MSR-load list of L1's on @p image, the state being loaded.
 * @return 0, or the number of the entry that failed, from 1.
 */
uint32_t nvi_vmx_msr_list_load(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                               struct nvirt_vmcs *image);
/** Carries out the VM-exit MSR-store list, from L2's state in @p image. @return as above. */
uint32_t nvi_vmx_msr_list_store(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                                const struct nvirt_vmcs *image);

/* ---- vmx_enter.c ---- */

/** VMLAUNCH or VMRESUME of L1, after the rules that need no look at vmcs12. */
void nvi_vmx_enter(struct nvirt_vmx_vcpu *v, bool launch);
/** L1's own live state, for an entry that fails. */
struct nvi_vmx_live nvi_vmx_l1_live(struct nvirt_vmx_vcpu *v);
/** Builds vmcs02's controls and host state again after L0 changed its own. */
void nvi_vmx_remerge(struct nvirt_vmx_vcpu *v);

/* ---- vmx_leave.c ---- */

/** L2 exits to L1 with @p info. */
void nvi_vmx_leave(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info);
/** The entry fails after its checks of controls and host state: reason 33, 34 or 41. */
void nvi_vmx_entry_failure(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                           const struct nvi_vmx_live *live);
/** What the last exit of L2 told, for an exit to L1. */
void nvi_vmx_exit_info(struct nvirt_vmx_vcpu *v, uint32_t reason, struct nvi_vmx_exit_info *info);
/** The exit qualification, 0 for a reason that has none: no VMREAD then. */
uint64_t nvi_vmx_qualification(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason);
/** The IDT-vectoring information, 0 for a reason that occurs during no event delivery. */
uint32_t nvi_vmx_vectoring(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason);
/** Level 1 again without an exit: L2 never ran, or the vCPU is reset. */
void nvi_vmx_abandon_l2(struct nvirt_vmx_vcpu *v);
void nvi_vmx_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator);

/* ---- vmx_exit.c ---- */

NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_l1(struct nvirt_vmx_vcpu *v,
                                                  struct nvirt_gprs *gprs,
                                                  struct nvirt_vmx_exit *exit);
NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_l2(struct nvirt_vmx_vcpu *v,
                                                  struct nvirt_gprs *gprs,
                                                  struct nvirt_vmx_exit *exit);

#endif
