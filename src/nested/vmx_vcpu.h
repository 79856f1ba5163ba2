/* SPDX-License-Identifier: MIT */
/*
 * The vCPU object of nested VMX, and the types that it is made of: what is known of the VMCSs that
 * hardware has, of L1's VMX operation and each active vmcs12, of events that wait, and what was found
 * out earlier and still holds. The functions on it are in vmx_internal.h.
 */
#ifndef NVI_NESTED_VMX_VCPU_H
#define NVI_NESTED_VMX_VCPU_H

#include <nvirt/tlbflush.h>
#include <nvirt/vmx.h>
#include <nvirt/x86.h>

#include "ept/ept.h"
#include "mmu/mmu.h"
#include "nested/hyperv.h"
#include "nested/vm_internal.h"
#include "paging/paging.h"
#include "state/rows.h"
#include "vmcs/merge.h"
#include "vmcs/vmcs_internal.h"

#define NVI_VMX_MAGIC 0x786d766eu
#define NVI_FIELD_WORDS ((NVIRT_VMCS_FIELD_COUNT + 63u) / 64u)
/** "No VMCS", as VMPTRST stores it. */
#define NVI_NO_VMCS UINT64_MAX
/** CPUs that a vCPU remembers by number; more only cost flushes. */

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

/* Word by word without a loop: compilers keep the loop, which costs twice as much. */
NVIRT_STATIC_ASSERT(NVI_FIELD_WORDS == 4, "the functions below take four words");

static inline void nvi_field_add_all(struct nvi_field_set *set, const struct nvi_field_set *more)
{
    set->word[0] |= more->word[0];
    set->word[1] |= more->word[1];
    set->word[2] |= more->word[2];
    set->word[3] |= more->word[3];
}

static inline void nvi_field_remove_all(struct nvi_field_set *set, const struct nvi_field_set *less)
{
    set->word[0] &= ~less->word[0];
    set->word[1] &= ~less->word[1];
    set->word[2] &= ~less->word[2];
    set->word[3] &= ~less->word[3];
}

static inline void nvi_field_keep(struct nvi_field_set *set, const struct nvi_field_set *kept)
{
    set->word[0] &= kept->word[0];
    set->word[1] &= kept->word[1];
    set->word[2] &= kept->word[2];
    set->word[3] &= kept->word[3];
}

static inline bool nvi_field_has_none(const struct nvi_field_set *set,
                                      const struct nvi_field_set *part)
{
    return ((part->word[0] & set->word[0]) | (part->word[1] & set->word[1]) |
            (part->word[2] & set->word[2]) | (part->word[3] & set->word[3])) == 0;
}

static inline bool nvi_field_has_all(const struct nvi_field_set *set,
                                     const struct nvi_field_set *part)
{
    return ((part->word[0] & ~set->word[0]) | (part->word[1] & ~set->word[1]) |
            (part->word[2] & ~set->word[2]) | (part->word[3] & ~set->word[3])) == 0;
}

/** Which of the vCPU's hardware VMCSs: L1's, the one that stands for the current vmcs12 while L2
 *  runs, and the one that stands for it while L1 does. */
enum nvi_which {
    NVI_01 = 0,
    NVI_02,
    NVI_SHADOW,
    NVI_HW_COUNT
};

/** How many vmcs12 of L1's can have a vmcs02 at a time. */
#define NVI_VMX_PAIRS 4u

/** A group of fields as a bit. */
#define NVI_GROUP(NAME) (1u << NVIRT_VMCS_GROUP_##NAME)
#define NVI_ALL_GROUPS ((1u << NVIRT_VMCS_GROUP_COUNT) - 1u)
/** Groups of L2's state. */
#define NVI_GUEST_GROUPS                                                                           \
    (NVI_GROUP(FLOW) | NVI_GROUP(REGISTERS) | NVI_GROUP(SEGMENTS) | NVI_GROUP(STATE))

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
    bool is_shadow;   /**< A shadow VMCS: it has the fields of struct nvi_shadow alone. */
};

/** State of L1 that an exit of L2 loads into vmcs01 and that nvirt knows when it does: most keep their
 *  values. */
#define NVI_KEPT_FIELDS(X)                                                                         \
    X(GUEST_CR0)                                                                                   \
    X(GUEST_EFER)                                                                                  \
    X(GUEST_SS_AR)                                                                                 \
    X(GUEST_INTERRUPTIBILITY)                                                                      \
    X(CR0_SHADOW)                                                                                  \
    X(CR4_SHADOW)                                                                                  \
    X(ENTRY_CONTROLS)

struct nvi_kept {
#define X(NAME) uint64_t NAME;
    NVI_KEPT_FIELDS(X)
#undef X
};

/** Fields of vmcs01 that an exit of L2 loads and that are written each time (vmx_hw.c). */
#define NVI_BLOCK_FIELDS 48u

/**
 * What an entry of the general way put into vmcs02, and what that depended on beside what counts as
 * changed anyway.
 */
struct nvi_entry_memo {
    bool known;
    bool known_enlightened; /**< The same, of an enlightened VMCS: its next entry is no plain VMRESUME. */
    uint64_t epoch;
    uint64_t cr0; /**< Of vmcs12. */
    uint64_t cr4;
    uint64_t efer;
    uint64_t entry_controls;
    uint64_t l1_cr0; /**< L1's own, live. */
    uint64_t l1_efer;
    uint64_t placed_cr0; /**< Of vmcs02. */
    uint64_t placed_cr4;
    uint64_t placed_efer;
    uint64_t placed_cr0_shadow;
    uint64_t placed_cr4_shadow;
    struct nvi_mmu_root *root;
    struct nvi_mmu_key key;
    uint64_t serial;
};

/**
 * What an exit to L1 of the general way put into vmcs01, and what of this L2's and of the host's that
 * depended on. What it depends on in vmcs01, which every L2 of L1's leaves to, is compared at each exit.
 */
struct nvi_exit_memo {
    bool known;
    bool known_enlightened; /**< The same, of an enlightened VMCS. */
    uint64_t epoch;
    uint64_t l2_cr0;
    uint64_t l2_efer;
    uint64_t key; /**< Of the key of the pair the part that is about controls. */
    struct nvi_kept kept;
    uint64_t block[NVI_BLOCK_FIELDS];
};

/** A page of L1 that hardware may use. */
struct nvi_pin {
    bool used;
    bool written; /**< Hardware writes to it. */
    uint64_t page;
    nvirt_hpa hpa;
};

/**
 * A vmcs02, the vmcs12 that it stands for, and what is known of the two together. A VMCS of L1's
 * that was made current stays active, as on a CPU, until VMCLEAR, VMXOFF or until another needs its
 * place: its contents are here meanwhile, not in L1's memory. What was found out of it is kept with it
 * while others are current.
 */
struct nvi_pair {
    struct nvi_hw_vmcs hw;
    struct nvi_hw_vmcs shadow; /**< The shadow VMCS that stands for vmcs12 while L1 runs, if any is used. */
    bool shadow_due; /**< vmcs12 has changed in its fields since they were last written. */
    uint64_t region;           /**< Of vmcs12; NVI_NO_VMCS: the pair is free. */
    uint64_t last_use;
    bool is_enlightened;       /**< vmcs12 is an enlightened VMCS (vmx_evmcs.c), which L1's memory has */
    uint32_t enlightenments;   /**< as of the last exit. Its enlightenments control, */
    struct nvi_hv_identity who; /**< and who its L2 is, for those whose flushes are nvirt's. */
    bool launched;             /**< Launch state of vmcs12 while it is not current. */
    struct nvi_field_set lazy; /**< Fields of vmcs12 whose value is elsewhere: in vmcs02, because an
                                    exit saved them, or in the shadow VMCS, where L1 may have written
                                    them; and nobody has asked since. */
    uint32_t changed;          /**< Groups of vmcs12 to be looked at anew at the next entry. */
    uint64_t key;              /**< What rules about L2's state depend on beside it, at the last exit. */
    bool l1_ia32e;             /**< Under which the host state was found valid. */
    uint64_t epoch;            /**< v->epoch and the port's sequence that the controls of vmcs02 are */
    uint64_t sequence;         /**< put together under. */
    uint64_t proc02;           /**< Processor-based controls as the merge made them. */
    struct nvi_entry_memo memo;
    struct nvi_exit_memo exit_memo;
    struct nvi_pin io_pin[2];
    struct nvi_pin msr_pin;
    struct nvi_pin apic_pin;   /**< The virtual-APIC page, */
    struct nvi_pin access_pin; /**< the APIC-access page, */
    struct nvi_pin posted_pin; /**< and that of the posted-interrupt descriptor, where hardware uses it. */
    struct nvi_pin evmcs_pin;  /**< The enlightened VMCS itself, pinned at */
    uint64_t evmcs_sequence;   /**< this value of the port's sequence. */
    struct nvirt_vmcs vmcs12;  /**< While it is not current: then v->vmcs12 has it. */
};

/** Fields that L1 writes in the shadow VMCS, that mean nothing before the next entry, and that each
 *  entry looks at. */
#define NVI_SHADOW_ENTRY_FIELDS(X)                                                                 \
    X(GUEST_RIP, guest_rip)                                                                        \
    X(GUEST_RSP, guest_rsp)                                                                        \
    X(GUEST_RFLAGS, guest_rflags)                                                                  \
    X(GUEST_INTERRUPTIBILITY, guest_interruptibility)                                              \
    X(ENTRY_INTERRUPTION, entry_interruption)                                                      \
    X(PROC_CONTROLS, proc_controls)

/** What all shadow VMCSs have in common. Which fields L1 may write there is in v->changes[NVI_SHADOW]. */
struct nvi_shadow {
    bool usable;
    bool attached;  /**< vmcs01's controls name one, */
    uint64_t epoch; /**< as they were made under this v->epoch. */
    struct nvi_field_set fields; /**< That L1 reads there, */
    struct nvi_field_set entry;  /**< and those of NVI_SHADOW_ENTRY_FIELDS(). */
    nvirt_hpa read_bitmap;
    nvirt_hpa write_bitmap;
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
    bool sipi; /**< One came for an L2 that waits for it. */
    uint8_t vector;
    uint8_t sipi_vector;
};

/**
 * The last walk of L1's page tables for an operand, and what of L1's state it depended on. Where all
 * that is as it was, it need not be done again: each entry is read again, once, and compared.
 */
struct nvi_operand_mode {
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    uint64_t rflags_ac;
};

struct nvi_operand_walk {
    uint64_t page;  /**< Linear address of the page. */
    uint64_t size;  /**< Bytes that the leaf maps; 0 when no walk is remembered. */
    uint64_t base;  /**< L1 physical address that it maps to. */
    struct nvi_operand_mode mode;
    uint32_t entries;
    struct {
        nvirt_l1gpa address;
        uint64_t value;
    } entry[5];
};

/** What L1 has of VMX: its processor state as the manual describes it. */
struct nvi_l1_vmx {
    bool on;
    bool launched;    /**< Launch state of the current VMCS. */
    bool is_shadow;   /**< VMPTRLD found the current VMCS to be a shadow VMCS. */
    uint64_t region;  /**< VMXON pointer. */
    uint64_t current; /**< Current-VMCS pointer, NVI_NO_VMCS for none. */
    uint64_t enlightened; /**< The enlightened VMCS that is current instead; NVI_NO_VMCS: none. */
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
    struct nvirt_port_cpu *home; /**< Where VMCSs may be active; null: nowhere. */
    const uint8_t *msr_bitmap01;
    struct nvirt_vmx_caps caps;
    struct nvirt_vmx_caps offer;
    struct nvirt_stats stats;

    struct nvi_field_set exists;  /**< Fields that this CPU has. */
    struct nvi_field_set offered; /**< Fields that L1's CPU has, */
    struct nvi_field_set writable; /**< and those of them whose VMWRITE has no further effect. */
    struct nvi_field_set vmread_set;  /**< What VMREAD and VMWRITE of a steady L1 are about: those two, or */
    struct nvi_field_set vmwrite_set; /**< nothing, where the current VMCS is enlightened. */
    struct nvi_field_set guest;    /**< Of those, the ones an exit to L1 shows it. */
    struct nvi_field_set merged;   /**< Of those, what an entry builds: no exit data, no PDPTEs, */
    struct nvi_field_set controls; /**< and of these the controls and the host state. */
    struct nvi_field_set saved;    /**< What an exit saves into vmcs12 and nobody looks at before L1. */
    struct nvi_field_set group[NVIRT_VMCS_GROUP_COUNT]; /**< The members of each group. */
    struct nvi_field_set block;    /**< What an exit to L1 loads into vmcs01 and writes as a rule. */
    struct nvi_field_set flow;     /**< Guest state that every exit to L1 looks at. */
    struct nvi_field_set unread;   /**< What a plain exit of L2 leaves stale in vmcs02. */
    struct nvi_field_set changes[NVI_HW_COUNT]; /**< What an exit may change in each VMCS. */
    struct nvi_hw_vmcs *hw[NVI_HW_COUNT];       /**< Into what follows. */
    struct nvi_hw_vmcs *current; /**< The CPU's current VMCS, as far as known; null: not known. */
    struct nvi_hw_vmcs hw01;
    struct nvi_shadow shadow;
    struct nvi_pair pair[NVI_VMX_PAIRS];
    struct nvi_pair *now; /**< The pair of the current vmcs12; some pair when there is none. */
    uint64_t clock;       /**< Of the pairs' use. */
    uint64_t epoch;       /**< Counts what L0 changes in vmcs01's controls and host state. */

    struct nvi_l1_vmx vmx;
    struct nvirt_vmcs vmcs12;
    struct nvirt_vmcs next; /**< Scratch: an image being built. */

    bool cet;           /**< L1 has CET: vmcs01 and vmcs02 switch its state (vmx_cet.c). */
    bool prepared;      /**< What comes next is an exit. */
    bool steady;        /**< L1 runs, and its next prepare has nothing to do (vmx_fast.c). */
    bool steady_l2;     /**< L2 runs, and its exit may be a plain switch (vmx_switch.c). */
    bool switched;      /**< The last call made a plain switch, and only a prepare is missing. */
    bool block_due;     /**< That switch was to L1: vmcs01 is to get the block of its exit_memo. */
    bool entry_pending; /**< vmcs02 was built for VMLAUNCH or VMRESUME and has not run yet. */
    bool dead;          /**< Shutdown or VMX abort: over until reset. */
    bool remerge;       /**< L0 changed vmcs01 while L2 is active. */
    bool barrier;       /**< L2 was left for L1 since the last prepare. */
    bool forced_exit;   /**< vmcs02 has nvirt's own preemption timer of 0. */
    bool notified;      /**< A notification of L1's posted interrupts was processed, and the host owes its
                             EOI. */
    bool x2apic_open;   /**< MSRs of the x2APIC may pass in msr_bitmap02. */
    uint8_t evmcs_begun; /**< What nvi_evmcs_begin() came to for the VMRESUME under way, and 1. */
    bool evmcs_direct;  /**< L1's VP assist page lets flush hypercalls of L2 be nvirt's. */
    bool bitmap_clean;  /**< L1 says so of the bitmap that msr_bitmap02 was made of. */
    const struct nvi_pair *bitmap_of; /**< For which vmcs12 that was; null: not known. */
    bool set_cr2;
    uint64_t cr2;
    uint64_t proc01;  /**< Processor-based controls as the host wrote them: nvirt adds windows. */
    uint64_t proc2_01; /**< Secondary controls as the host wrote them: nvirt adds VMCS shadowing. */
    uint64_t link01;   /**< The VMCS link pointer as the host wrote it. */
    uint64_t pin02;
    uint64_t host_cr0; /**< Bits the host owns in vmcs02's CR0 and CR4 since the last merge. */
    uint64_t host_cr4;
    uint64_t host_epoch; /**< v->epoch when they were. */
    uint64_t timer02;
    struct nvi_pending pending;

    nvirt_hpa msr_bitmap02;
    struct nvi_vmx_msr_byte msr_byte[NVI_VMX_MSR_BYTES];
    uint32_t msr_bytes;
    nvirt_hpa no_apic;  /**< Stands for a virtual-APIC or APIC-access page of L1's that has no memory
                             behind it. */
    nvirt_hpa all_ones; /**< Stands for an I/O bitmap of L1's that has no memory behind it. */
    struct nvi_operand_walk walk;
    uint64_t eptp_valid; /**< An EPTP of an INVEPT that was found valid; 0, which is not, for none. */
    struct nvirt_hv_vp *hv; /**< Or null. */
    uint32_t cpu_number; /**< Of the CPU used last, in the flush engine. */
    struct nvirt_tlb tlb;
    struct nvirt_tlb_domain tlb_domain;
    struct nvirt_tlb_root tlb_roots[NVI_MMU_DEFAULT_ROOTS];
    bool vpid12_enabled; /**< Of the L2 that is active. */
    uint32_t vpid02;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[NVI_MMU_DEFAULT_ROOTS];
    struct nvi_mmu_root *root; /**< Of the L2 that is active. */
    struct nvi_ept_config ept;
};

#endif
