/* SPDX-License-Identifier: MIT */
/*
 * What happens to VMCS contents at a nested transition, as pure functions: vmcs12 and vmcs01 into
 * vmcs02 before L2 runs, vmcs02 back into vmcs12 after it ran, vmcs12's host state into vmcs01, and
 * the question whose business an exit of L2 is.
 *
 * Contract with the host that all of this rests on: vmcs01 has "save debug controls", "save" and
 * "load" of IA32_PAT and IA32_EFER set in its exit and entry controls, so that vmcs01's image holds
 * L1's live DR7, IA32_DEBUGCTL, PAT and EFER after every exit. vmcs02 has them too. For an L1 with CET
 * vmcs01 has "load CET state" in both, and therefore vmcs02.
 */
#ifndef NVIRT_SRC_VMCS_MERGE_H
#define NVIRT_SRC_VMCS_MERGE_H

#include <nvirt/vmcs.h>
#include <nvirt/x86.h>

/** CET state that a VMCS holds: (NAME, member, member of the host state that an exit loads). */
#define NVI_CET_FIELDS(X)                                                                          \
    X(GUEST_S_CET, guest_s_cet, host_s_cet)                                                        \
    X(GUEST_SSP, guest_ssp, host_ssp)                                                              \
    X(GUEST_SSP_TABLE, guest_ssp_table, host_ssp_table)

/** One level's. */
struct nvi_cet {
#define X(NAME, member, host) uint64_t member;
    NVI_CET_FIELDS(X)
#undef X
};

/** The control of a word of vmcs01 by which CET state is switched, 0 for any other field. */
static inline uint64_t nvi_vmx_cet_control(enum nvirt_vmcs_field field)
{
    return field == NVIRT_VMCS_ENTRY_CONTROLS  ? NVIRT_VMX_ENTRY_CTL_LOAD_CET
           : field == NVIRT_VMCS_EXIT_CONTROLS ? NVIRT_VMX_EXIT_CTL_LOAD_CET
                                               : 0;
}

/** True when vmcs01 holds L1's CET state: vmcs02 then holds L2's. */
static inline bool nvi_vmx_has_cet(const struct nvirt_vmcs *vmcs01)
{
    return (vmcs01->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_CET) != 0;
}

/** What the merge needs beyond the two VMCSs. */
struct nvi_vmx_merge_in {
    const struct nvirt_vmcs *vmcs12; /**< Checked: every rule of the entry checks holds. */
    const struct nvirt_vmcs *vmcs01; /**< Known in full, guest state as L1 left it. */
    const struct nvirt_vmx_caps *cpu;
    uint64_t eptp02;
    uint64_t sppt02;            /**< With sub-page write permissions of L1's: the table for them. */
    uint32_t vpid02;            /**< 0: run L2 without VPID. */
    bool io_bitmaps_to_hardware; /**< L1's pages are pinned and L0 wants no port: use these. */
    uint64_t io_bitmap_a;
    uint64_t io_bitmap_b;
    bool msr_bitmap_to_hardware; /**< A merged bitmap page stands ready. */
    uint64_t msr_bitmap;
    uint64_t virtual_apic;       /**< With a TPR shadow of L1's: its page, pinned, or one for it. */
    uint64_t apic_access;        /**< With virtualized APIC accesses of L1's: likewise. */
    uint64_t posted_descriptor;  /**< L1's, pinned, for hardware to process; 0: nvirt does, if anybody. */
    bool pdptes_loaded;         /**< L2 uses PAE paging without EPT12: nvirt read its PDPTEs. */
    uint64_t pdpte[4];
};

/**
 * What a word of controls of vmcs01 may have: all that vmcs02 carries, that has its counterpart
 * there, or that is about L1 alone. Any other bit would be an intercept or a switch of state that
 * is lost while L2 runs, so the host is refused it. The XSS-exiting bitmap counts as such a word.
 * "Load CET state" is not among them: nvi_vmx_cet_control().
 * @return the bits; all ones for any other field.
 */
uint64_t nvi_vmx_l0_may_control(const struct nvirt_vmx_caps *cpu,
                                const struct nvirt_vmx_caps *offer, enum nvirt_vmcs_field field);

/** True for guest state that belongs to what L1 is offered: the only one that passes between vmcs12
 *  and vmcs02. */
static inline bool nvi_vmx_is_l2_state(enum nvirt_vmcs_field field, enum nvirt_vmcs_gate gate)
{
    return (gate == NVIRT_VMCS_GATE_ALWAYS || gate == NVIRT_VMCS_GATE_GUEST_PAT ||
            gate == NVIRT_VMCS_GATE_GUEST_EFER || gate == NVIRT_VMCS_GATE_EPT ||
            gate == NVIRT_VMCS_GATE_PREEMPTION || gate == NVIRT_VMCS_GATE_VID) &&
           field != NVIRT_VMCS_GUEST_SMBASE;
}

/**
 * True for guest state that an exit saves into vmcs12 as it is, and that nothing but L1's own VMREAD
 * and an entry that changes more than the flow of L2 looks at: it may stay in vmcs02 until then.
 * DR7, IA32_DEBUGCTL and IA32_PAT are such only where the exit saves them.
 */
bool nvi_vmx_is_saved_lazily(enum nvirt_vmcs_field field);

/** CR0 that L1 means L2 to begin with: vmcs12's but for ET, CD and NW, which an entry leaves as L1
 *  has them [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"]. */
static inline uint64_t nvi_vmx_cr0_before_l2(const struct nvirt_vmcs *vmcs12,
                                             const struct nvirt_vmcs *vmcs01)
{
    const uint64_t kept = NVIRT_CR0_ET | NVIRT_CR0_CD | NVIRT_CR0_NW;
    uint64_t cr0 =
        (vmcs01->guest_cr0 & ~vmcs01->cr0_mask) | (vmcs01->cr0_shadow & vmcs01->cr0_mask);

    return (vmcs12->guest_cr0 & ~kept) | (cr0 & kept);
}

/** True when L0 lets every port of L1 pass: only then can L1's own I/O bitmaps serve hardware. */
bool nvi_vmx_l0_wants_no_port(const struct nvirt_vmcs *vmcs01);

/**
 * Builds all of vmcs02 for the first entry after L1's VMLAUNCH or VMRESUME: controls, host state
 * (L0's), guest state and event of vmcs12. Fields that no control puts to use are 0.
 */
void nvi_vmx_merge(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02);

/**
 * The part of nvi_vmx_merge() for an entry after which most of vmcs02 stays as the last exit left
 * it: CR0, CR4 and their shadows, EFER, what the flow of L2 is, and the event. Nothing else is
 * written.
 */
void nvi_vmx_merge_flow(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02);

/** True when hardware may process L1's posted interrupts: where interrupts are L1's own, a vector means
 *  to hardware what it means to L1. */
bool nvi_vmx_hardware_may_post(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmcs *vmcs12,
                               const struct nvirt_vmcs *vmcs01);

/** Builds only controls and host state (after L0 changed its wants while L2 runs). */
void nvi_vmx_merge_controls(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02);

/**
 * Saves L2's state into vmcs12 as a VM exit does [SDM 3C "Saving Guest State"], with the changes
 * that the exit makes to VM-entry control fields, but for the fields of nvi_vmx_is_saved_lazily().
 * Exit-information fields are not touched.
 */
void nvi_vmx_save_flow(const struct nvirt_vmcs *vmcs02, struct nvirt_vmcs *vmcs12);

/** The same with all fields: everything in @p vmcs02 is known. */
void nvi_vmx_save_guest_state(const struct nvirt_vmcs *vmcs02, struct nvirt_vmcs *vmcs12);

/** What an exit tells L1: the read-only fields of vmcs12. */
struct nvi_vmx_exit_info {
    uint32_t reason; /**< All 32 bits. */
    uint64_t qualification;
    uint32_t interruption;
    uint32_t interruption_error;
    uint32_t idt_vectoring;
    uint32_t idt_vectoring_error;
    uint32_t insn_length;
    uint32_t insn_info;
    uint64_t guest_linear;
    uint64_t guest_physical;
};

/** Records the exit in vmcs12's read-only fields [SDM 3C "Recording VM-Exit Information"]. */
void nvi_vmx_save_exit_info(const struct nvi_vmx_exit_info *info, struct nvirt_vmcs *vmcs12);

/**
 * An entry failure (reason 33, 34 or 41) saves no guest state and changes only reason and
 * qualification [SDM 3C "VM-Entry Failures During or After Loading Guest State"].
 */
void nvi_vmx_save_entry_failure(uint32_t reason, uint64_t qualification, struct nvirt_vmcs *vmcs12);

/** L2's live state that vmcs12 does not load and L1 therefore inherits at the exit. */
struct nvi_vmx_live {
    uint64_t cr0;  /**< CR0 in force: its CD, NW and ET bits survive the exit. */
    uint64_t efer;
    uint64_t pat;
    struct nvi_cet cet; /**< Of an L1 with CET. */
    bool nmi_blocked; /**< NMIs stay blocked in L1. */
};

/** The live state that vmcs02 holds at an exit with @p info. */
struct nvi_vmx_live nvi_vmx_live_at_exit(const struct nvirt_vmcs *vmcs02,
                                         const struct nvirt_vmcs *vmcs12,
                                         const struct nvi_vmx_exit_info *info);

/** The live state at an entry failure: L1's own. */
struct nvi_vmx_live nvi_vmx_live_at_entry_failure(const struct nvirt_vmcs *vmcs01);

/**
 * Loads vmcs12's host state into the guest state of vmcs01 [SDM 3C "Loading Host State"]. PDPTEs of
 * an L1 with PAE paging are the caller's, they are in memory. L0's own controls stay as they are,
 * but for IA-32e-mode guest, which follows "host address-space size".
 */
void nvi_vmx_load_host_state(const struct nvirt_vmcs *vmcs12, const struct nvi_vmx_live *live,
                             const struct nvirt_vmx_caps *cpu, struct nvirt_vmcs *vmcs01);

/** Whose an exit of L2 is. */
enum nvi_vmx_owner {
    NVI_VMX_OWNER_L1,     /**< Reflect it. */
    NVI_VMX_OWNER_L0,     /**< The host's, on behalf of the level that runs. */
    NVI_VMX_OWNER_TABLES, /**< An EPT violation or misconfiguration: second-stage code decides. */
    NVI_VMX_OWNER_POSTED, /**< A notification of L1's posted interrupts: to be processed, no exit. */
    NVI_VMX_OWNER_LOOKUP  /**< L1's if any of the bits named in *lookup is set in L1's memory. */
};

/** Which bits of a bitmap of L1's decide. Read each byte once. */
struct nvi_vmx_lookup {
    uint64_t byte[2];  /**< L1 physical addresses of the bytes, count of them valid. */
    uint8_t mask[2];
    uint32_t count;
};

/** L1 exits on NMIs without "virtual NMIs": they are blocked as the entry left them for as long as L2 runs,
 *  whatever IRET it executes [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"]. In
 *  vmcs02 the blocking is virtual all the same, where vmcs01's is: L1 blocks no NMI of the host's. */
static inline bool nvi_vmx_holds_nmis(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->pin_controls & (NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS)) ==
           NVIRT_VMX_PIN_NMI;
}

/** vmcs12's entry injects an NMI. */
static inline bool nvi_vmx_injects_nmi(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->entry_interruption & (NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_TYPE)) ==
           (NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_TYPE_NMI << NVIRT_VMX_INTR_TYPE_SHIFT);
}

/** So they are, by the entry of vmcs12, which nothing has been saved into since. */
static inline bool nvi_vmx_nmis_are_held(const struct nvirt_vmcs *vmcs12)
{
    return nvi_vmx_holds_nmis(vmcs12) &&
           ((vmcs12->guest_interruptibility & NVIRT_VMX_BLOCK_NMI) != 0 ||
            nvi_vmx_injects_nmi(vmcs12));
}

struct nvi_vmx_owner_in {
    const struct nvirt_vmcs *vmcs12;
    const struct nvirt_vmcs *vmcs01;
    uint32_t reason;       /**< Basic exit reason (bits 15:0). */
    uint64_t qualification;
    uint32_t interruption; /**< For reason 0; for reason 1 where vmcs12 processes posted interrupts. */
    uint32_t interruption_error;
    const struct nvirt_gprs *gprs; /**< L2's, for MOV CR and the MSR index. */
    uint64_t rsp;          /**< L2's RSP, for MOV CR from it. */
    bool in_64bit_mode;    /**< L2's, for the width of MOV CR. */
    uint64_t encoding;     /**< Of the field that VMREAD or VMWRITE names, in the width of L2's mode. */
};

/** True when an external interrupt with @p vector that L1 takes is the notification of its posted
 *  interrupts while this vmcs12 runs [SDM 3C "Posted-Interrupt Processing"]. */
static inline bool nvi_vmx_is_notification(const struct nvirt_vmcs *vmcs12, uint8_t vector)
{
    return (vmcs12->pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS) != 0 &&
           vmcs12->posted_vector == vector;
}

/** @param lookup written when the answer is NVI_VMX_OWNER_LOOKUP. */
enum nvi_vmx_owner nvi_vmx_exit_owner(const struct nvi_vmx_owner_in *in,
                                      struct nvi_vmx_lookup *lookup);

/**
 * MSRs whose accesses by L2 may reach hardware when neither level wants them. All others always
 * exit. 0 ends the list.
 */
extern const uint32_t nvi_vmx_passable_msrs[];

/** A byte of an MSR bitmap that has bits of passable MSRs: of reads here, of writes 2048 further. */
struct nvi_vmx_msr_byte {
    uint16_t offset;
    uint8_t fixed; /**< Bits that always intercept. */
};

/** How many bytes the list touches at most. */
#define NVI_VMX_MSR_BYTES 8u

/** The bytes of nvi_vmx_passable_msrs[]. @return how many. */
uint32_t nvi_vmx_passable_bytes(struct nvi_vmx_msr_byte bytes[NVI_VMX_MSR_BYTES]);

/**
 * Merges those bytes: vmcs02's bitmap intercepts what either level does and every MSR that may not
 * pass. L1 may rewrite its bitmap at any time and without a word: each of its bytes is read once.
 * @param bitmap02 of L2; its other bytes are all ones already, or become so.
 * @param l0_bitmap null: L0 intercepts all MSRs.
 * @param l1_bitmap null: there is no memory behind L1's, which reads as all ones.
 */
void nvi_vmx_msr_bitmap_merge(const struct nvi_vmx_msr_byte *bytes, uint32_t count,
                              uint8_t *bitmap02, const uint8_t *l0_bitmap,
                              const uint8_t *l1_bitmap);

/** MSRs of the x2APIC, for which an MSR bitmap has this byte of reads, and 31 more. */
#define NVI_VMX_X2APIC_BYTE (NVIRT_MSR_X2APIC_FIRST / 8u)
#define NVI_VMX_X2APIC_BYTES 32u

/**
 * True when hardware with secondary controls @p proc2 carries out an access of L2's to @p msr on the
 * virtual-APIC page [SDM 3C "Virtualizing MSR-Based APIC Accesses"]. All other accesses to MSRs of the
 * x2APIC that a bitmap lets pass are to the APIC of the CPU itself.
 */
bool nvi_vmx_x2apic_is_virtual(uint64_t proc2, uint32_t msr, bool write);

/**
 * The part of vmcs02's bitmap about the x2APIC: an MSR passes where hardware virtualizes the access
 * and L1 does not intercept it. L0's bitmap is about the APIC of L1, which such an access does not reach.
 * Bits of L1's are read once.
 * @param proc2 secondary controls of vmcs02. @param l1_bitmap null: reads as all ones.
 */
void nvi_vmx_x2apic_bitmap_merge(uint64_t proc2, uint8_t *bitmap02,
                                 const volatile uint8_t *l1_bitmap);

/** Byte offset and mask of an MSR's read bit in an MSR bitmap; write bits are 2048 bytes later.
 * @return false for an MSR outside both ranges, which always exits [SDM 3C "MSR-Bitmap Address"]. */
bool nvi_vmx_msr_bitmap_bit(uint32_t msr, uint32_t *byte, uint8_t *mask);

#endif
