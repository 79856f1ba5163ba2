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
    uint32_t link_revision; /**< First 32 bits of the region that the VMCS link pointer names: read
                                 by the caller if nvi_vmx_link_to_read() says so. */
};

/** What L1 is to see of a rule that does not hold. */
struct nvi_vmx_check_out {
    enum nvi_vmx_rule rule; /**< For the trace. NVI_VMX_RULE_NONE when valid. */
    uint32_t vm_error;      /**< VMfailValid with this number; 0: an entry failure instead. */
    uint32_t exit_reason;   /**< Basic reason of the entry failure (the caller adds bit 31). */
    uint64_t qualification; /**< Its exit qualification. */
};

/** The name of a rule, for traces; "" for none. Never null. */
const char *nvi_vmx_rule_name(enum nvi_vmx_rule rule);

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

/** True when all eight entries of a PAT value are defined memory types. */
bool nvi_vmx_pat_is_valid(uint64_t pat);

/** True when @p offer goes nowhere beyond what nvirt_vmx_caps_offer() gives for @p cpu. */
bool nvi_vmx_offer_is_valid(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmx_caps *offer);

/** Secondary processor-based controls in force: 0 while they are not activated. */
static inline uint64_t nvi_vmx_proc2(const struct nvirt_vmcs *vmcs)
{
    return (vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs->proc2_controls : 0;
}

/** "Unrestricted guest" is in force. */
static inline bool nvi_vmx_unrestricted(const struct nvirt_vmcs *vmcs)
{
    return (nvi_vmx_proc2(vmcs) & NVIRT_VMX_PROC2_UNRESTRICTED) != 0;
}

#endif
