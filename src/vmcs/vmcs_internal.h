/* SPDX-License-Identifier: MIT */
/*
 * The checks of VM entry as pure functions, and what else this module offers inside the library.
 * The caller reads what lies in L1's memory and passes it in; it looks at the outcome in the order
 * in which the functions stand here, and stops at the first that says no.
 */
#ifndef NVIRT_SRC_VMCS_INTERNAL_H
#define NVIRT_SRC_VMCS_INTERNAL_H

#include <nvirt/vmcs.h>
#include <nvirt/x86.h>

/** Bytes of the longest instruction. */
#define NVI_VMX_INSN_LENGTH_MAX 15u

enum nvi_vmx_rule {
    NVI_VMX_RULE_NONE = 0, /**< Every rule holds. */
#define NVI_VMX_RULE(name, manual, section, text) NVI_RULE_##name,
#include "vmcs/rules.def"
#undef NVI_VMX_RULE
    NVI_VMX_RULE_COUNT
};

/** What the rules look at besides vmcs12. */
struct nvi_vmx_check_in {
    const struct nvirt_vmcs *vmcs12;
    const struct nvirt_vmx_caps *offer; /**< What L1 was told the CPU has. */
    bool l1_ia32e;          /**< L1 executes the entry with IA32_EFER.LMA set. */
    uint64_t current;       /**< L1's current-VMCS pointer. */
    uint32_t known;         /**< NVI_VMX_KNOWN_*: parts whose rules held before and whose fields have
                                 not changed since, to be left out. */
    uint8_t vtpr;           /**< VTPR, read by the caller if nvi_vmx_vtpr_to_read() says so. */
    uint32_t link_revision; /**< First 32 bits of the region that the VMCS link pointer names: read
                                 by the caller if nvi_vmx_link_to_read() says so. */
};

/** Parts of the checks, by the fields that their rules are about. */
#define NVI_VMX_KNOWN_CONTROLS 1u  /**< Controls, and the event to inject. */
#define NVI_VMX_KNOWN_HOST 2u      /**< Host state. */
#define NVI_VMX_KNOWN_REGISTERS 4u /**< Guest control registers, debug registers and MSRs. */
#define NVI_VMX_KNOWN_SEGMENTS 8u  /**< Guest segments and descriptor tables. */
#define NVI_VMX_KNOWN_FLOW 16u     /**< RIP, RFLAGS, activity, blocking, pending #DB, VMCS link. */

#define NVI_VMX_KNOWN_ALL 31u

/** What L1 is to see of a rule that does not hold. */
struct nvi_vmx_check_out {
    enum nvi_vmx_rule rule; /**< For the trace. NVI_VMX_RULE_NONE when valid. */
    uint32_t vm_error;      /**< VMfailValid with this number; 0: an entry failure instead. */
    uint32_t exit_reason;   /**< Basic reason of the entry failure (the caller adds bit 31). */
    uint64_t qualification; /**< Its exit qualification. */
};

/** The name of a rule, for traces; "" for none. Never null. */
const char *nvi_vmx_rule_name(enum nvi_vmx_rule rule);

/** Secondary processor-based controls in force: 0 while they are not activated. */
static inline uint64_t nvi_vmx_proc2(const struct nvirt_vmcs *vmcs)
{
    return (vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs->proc2_controls : 0;
}

/** Offset of the virtual TPR in the virtual-APIC page [SDM 3C "Virtual APIC State"]. */
#define NVI_VMX_VTPR 0x80u

/** Whether a rule compares the TPR threshold with the virtual-APIC page, which is memory of L1's and
 *  may have changed though no field has. With virtualized APIC accesses a threshold that is too high
 *  is no error but an exit right after the entry [SDM 3C "VM Exits Induced by the TPR Threshold"];
 *  with virtual-interrupt delivery there is no threshold. */
static inline bool nvi_vmx_reads_vtpr(const struct nvirt_vmcs *vmcs12)
{
    const uint64_t otherwise =
        NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;

    return (vmcs12->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0 && vmcs12->tpr_threshold != 0 &&
           (nvi_vmx_proc2(vmcs12) & otherwise) == 0;
}

/**
 * The address of the byte that the caller must put into vtpr before it calls
 * nvi_vmx_check_controls(). @return false when there is none to read.
 */
bool nvi_vmx_vtpr_to_read(const struct nvi_vmx_check_in *in, nvirt_l1gpa *address);

/** [SDM 3C "Checks on VMX Controls"]. @return true when valid; else *out is VMfail 7. */
bool nvi_vmx_check_controls(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out);

/** [SDM 3C "Checks on Host-State Area"]. @return true when valid; else *out is VMfail 8. */
bool nvi_vmx_check_host(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out);

/**
 * The address whose first 32 bits the caller must put into link_revision before it calls
 * nvi_vmx_check_guest(). @return false when there is none to read.
 */
bool nvi_vmx_link_to_read(const struct nvi_vmx_check_in *in, nvirt_l1gpa *address);

/** [SDM 3C "Checks on the Guest State Area"], all but the PDPTEs.
 *  @return true when valid; else *out is an entry failure 33. */
bool nvi_vmx_check_guest(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out);

/** Where the PDPTEs of L2 come from. */
enum nvi_vmx_pdptes {
    NVI_VMX_PDPTES_NONE,  /**< L2 does not use PAE paging. */
    NVI_VMX_PDPTES_VMCS,  /**< From vmcs12: EPT is on. */
    NVI_VMX_PDPTES_MEMORY /**< From L1's memory at bits 31:5 of guest CR3. */
};

enum nvi_vmx_pdptes nvi_vmx_pdptes_source(const struct nvirt_vmcs *vmcs12);

/**
 * [SDM 3C "Checks on Guest Page-Directory-Pointer-Table Entries"]; for every source but "none".
 * @param pdpte the four entries, from where nvi_vmx_pdptes_source() says.
 * @return true when valid; else *out is an entry failure 33 with qualification 2.
 */
bool nvi_vmx_check_pdptes(const struct nvi_vmx_check_in *in, const uint64_t pdpte[4],
                          struct nvi_vmx_check_out *out);

/** True when a PDPTE is absent or has no reserved bit set [SDM 3A "PAE Paging"]. */
bool nvi_vmx_pdpte_is_valid(uint64_t pdpte, uint32_t physical_bits);

/** True when bits 63:@p linear_bits of @p address all equal bit @p linear_bits - 1. */
bool nvi_vmx_canonical(uint64_t address, uint32_t linear_bits);

/** True when an entry with this EPTP is possible, by the rules of it [SDM 3C "VM-Execution Control
 *  Fields"]; what INVEPT and EPTP switching ask. */
bool nvi_vmx_eptp_is_valid(const struct nvirt_vmx_caps *offer, uint64_t eptp);

/** True when all eight entries of a PAT value are defined memory types. */
bool nvi_vmx_pat_is_valid(uint64_t pat);

/** True when @p offer goes nowhere beyond what nvirt_vmx_caps_offer() gives for @p cpu. */
bool nvi_vmx_offer_is_valid(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmx_caps *offer);

/** True when vmcs01 and vmcs02 can switch CET state on a CPU with @p cpu. */
bool nvi_vmx_can_carry_cet(const struct nvirt_vmx_caps *cpu);

/** True when IA32_S_CET could be written @p value: no reserved bit, not both SUPPRESS and TRACKER, and
 *  canonical. */
bool nvi_vmx_s_cet_is_valid(const struct nvirt_vmx_cpu_facts *facts, uint64_t value);
/** SUPPRESS and TRACKER are not both set [SDM 4 "Architectural MSRs"]. */
static inline bool nvi_vmx_s_cet_tracks(uint64_t value)
{
    const uint64_t both = NVIRT_BIT(10) | NVIRT_BIT(11);

    return (value & both) != both;
}

/** Takes the capabilities away that @p field depends on, and what makes no sense without them. */
void nvi_vmcs_withdraw(struct nvirt_vmx_caps *caps, enum nvirt_vmcs_field field);

/**
 * A look at L2's RIP, RFLAGS, interruptibility, activity and pending debug exceptions that finds nothing
 * that a rule could be about, where no event is injected and RFLAGS.VM has not changed. @return true
 * only if the rules of NVI_VMX_KNOWN_FLOW hold, the one of the VMCS link apart.
 */
static inline bool nvi_vmx_flow_is_plain(const struct nvirt_vmcs *vmcs12)
{
    /* Those that may be either: all but TF, VM and VIP. */
    const uint64_t free = UINT64_C(0x2D7ED5);
    uint64_t rip = vmcs12->guest_rip;
    uint64_t upper = rip >> 47;
    bool wide = (vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_IA32E) != 0 &&
                (vmcs12->guest_cs_ar & NVIRT_VMX_AR_L) != 0;

    return (vmcs12->guest_interruptibility | vmcs12->guest_activity |
            vmcs12->guest_pending_debug) == 0 &&
           (vmcs12->guest_rflags & ~free) == NVIRT_RFLAGS_FIXED1 &&
           (rip >> 32 == 0 || (wide && (upper == 0 || upper == NVIRT_BITS(16, 0))));
}

/** "Unrestricted guest" is in force. */
static inline bool nvi_vmx_unrestricted(const struct nvirt_vmcs *vmcs)
{
    return (nvi_vmx_proc2(vmcs) & NVIRT_VMX_PROC2_UNRESTRICTED) != 0;
}

/** Encodings by name, as constants for the hot path. */
enum {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) NVI_ENCODING_##NAME = (encoding),
#include <nvirt/vmcs_fields.def>
};

/** Encodings side by side, the bits that each field holds, its group: looked up at every VMREAD and
 *  VMWRITE. */
extern const uint16_t nvi_vmcs_encodings[NVIRT_VMCS_FIELD_COUNT];
extern const uint64_t nvi_vmcs_masks[NVIRT_VMCS_FIELD_COUNT];
extern const uint8_t nvi_vmcs_groups[NVIRT_VMCS_FIELD_COUNT];

/* Encodings in a table whose rows are bits 14:10 (width, a reserved bit, kind), with as many columns as
 * any kind has indices [SDM 3C "VMREAD, VMWRITE, and Encodings of VMCS Fields"]. */
#define NVI_VMCS_COLUMN_BITS 6u
#define NVI_VMCS_SLOTS (32u << NVI_VMCS_COLUMN_BITS)
#define NVI_VMCS_SLOT(encoding)                                                                    \
    ((uint32_t)(((encoding) >> 4 & 0x7C0u) | ((encoding) >> 1 & 0x3Fu)))
/* Bits that the encoding of a whole field may have: the access type is "full". */
#define NVI_VMCS_FULL_ENCODING UINT64_C(0x6C7E)

/** Field plus one by slot; 0 where there is no field. */
extern const uint8_t nvi_vmcs_fields_by_slot[NVI_VMCS_SLOTS];

/** A lookup for the hot path: whole fields only. @return the field plus one, 0 for none. The slot's
 *  parts are masked, so the index stays inside the table whatever is guessed above. */
static inline uint32_t nvi_vmcs_find_full(uint64_t encoding)
{
    return (encoding & ~NVI_VMCS_FULL_ENCODING) != 0
               ? 0
               : nvi_vmcs_fields_by_slot[NVI_VMCS_SLOT(encoding)];
}

#endif
