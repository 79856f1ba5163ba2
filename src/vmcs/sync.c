/* SPDX-License-Identifier: MIT */
/*
 * VMCS contents when L2 is left: vmcs02 -> vmcs12, and vmcs12's host state -> vmcs01. Both follow
 * the order and the exceptions of the manual's chapter "VM Exits".
 */
#include "vmcs/merge.h"

#include <nvirt/x86.h>

/* Guest-state fields that a VM exit does not save just so: the first are no part of L2's registers,
 * the others depend on a control or on L2's mode. */
static inline bool saved_always(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_VMCS_LINK:
    case NVIRT_VMCS_GUEST_SMBASE:
    case NVIRT_VMCS_GUEST_PML_INDEX:
    case NVIRT_VMCS_GUEST_DEBUGCTL:
    case NVIRT_VMCS_GUEST_DR7:
    case NVIRT_VMCS_GUEST_PAT:
    case NVIRT_VMCS_GUEST_EFER:
    case NVIRT_VMCS_GUEST_PREEMPTION_TIMER:
    case NVIRT_VMCS_GUEST_PDPTE0:
    case NVIRT_VMCS_GUEST_PDPTE1:
    case NVIRT_VMCS_GUEST_PDPTE2:
    case NVIRT_VMCS_GUEST_PDPTE3:
        return false;
    default:
        return true;
    }
}

static bool uses_ept(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 &&
           (vmcs12->proc2_controls & NVIRT_VMX_PROC2_EPT) != 0;
}

/* What every exit of L2 to L1 looks at. */
static inline bool belongs_to_flow(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_GUEST_CR0:
    case NVIRT_VMCS_GUEST_CR4:
    case NVIRT_VMCS_GUEST_CS_AR:
    case NVIRT_VMCS_GUEST_SS_AR:
    case NVIRT_VMCS_GUEST_RIP:
    case NVIRT_VMCS_GUEST_RSP:
    case NVIRT_VMCS_GUEST_RFLAGS:
    case NVIRT_VMCS_GUEST_INTERRUPTIBILITY:
    case NVIRT_VMCS_GUEST_ACTIVITY:
    case NVIRT_VMCS_GUEST_PENDING_DEBUG:
        return true;
    default:
        return false;
    }
}

/* DR7 and the MSRs are saved under a control of L1's. */
static inline bool saved_if_asked(enum nvirt_vmcs_field field)
{
    return field == NVIRT_VMCS_GUEST_DR7 || field == NVIRT_VMCS_GUEST_DEBUGCTL ||
           field == NVIRT_VMCS_GUEST_PAT;
}

static inline bool is_lazy(enum nvirt_vmcs_field field, enum nvirt_vmcs_kind kind,
                           enum nvirt_vmcs_gate gate)
{
    return kind == NVIRT_VMCS_KIND_GUEST &&
           (nvi_vmx_is_l2_state(field, gate) || gate == NVIRT_VMCS_GATE_GUEST_CET) &&
           ((saved_always(field) && !belongs_to_flow(field)) || saved_if_asked(field));
}

bool nvi_vmx_is_saved_lazily(enum nvirt_vmcs_field field)
{
    return is_lazy(field, nvirt_vmcs_field_kind(field),
                   (enum nvirt_vmcs_gate)nvirt_vmcs_info(field)->gate);
}

/* Hardware saves PDPTEs if L2 uses PAE paging; otherwise they are undefined, and the values that
 * stand there may be kept. */
static void save_pdptes(const struct nvirt_vmcs *vmcs02, struct nvirt_vmcs *vmcs12)
{
    if (uses_ept(vmcs12) && (vmcs02->guest_cr0 & NVIRT_CR0_PG) != 0 &&
        (vmcs02->guest_cr4 & NVIRT_CR4_PAE) != 0 && (vmcs02->guest_efer & NVIRT_EFER_LMA) == 0) {
        vmcs12->guest_pdpte0 = vmcs02->guest_pdpte0;
        vmcs12->guest_pdpte1 = vmcs02->guest_pdpte1;
        vmcs12->guest_pdpte2 = vmcs02->guest_pdpte2;
        vmcs12->guest_pdpte3 = vmcs02->guest_pdpte3;
    }
}

void nvi_vmx_save_flow(const struct nvirt_vmcs *vmcs02, struct nvirt_vmcs *vmcs12)
{
    uint64_t controls = vmcs12->exit_controls;
    bool nmis_held = nvi_vmx_nmis_are_held(vmcs12);

    /* Unrolled from the table: this is on the path of every exit to L1. */
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (belongs_to_flow(NVIRT_VMCS_##NAME)) {                                                      \
        vmcs12->member = vmcs02->member;                                                           \
    }
#include <nvirt/vmcs_fields.def>
    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_EFER) != 0) {
        vmcs12->guest_efer = vmcs02->guest_efer;
    }
    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER) != 0) {
        vmcs12->guest_preemption_timer = vmcs02->guest_preemption_timer;
    }
    save_pdptes(vmcs02, vmcs12);
    if (nvi_vmx_holds_nmis(vmcs12)) {
        vmcs12->guest_interruptibility &= ~(uint64_t)NVIRT_VMX_BLOCK_NMI;
        vmcs12->guest_interruptibility |= nmis_held ? NVIRT_VMX_BLOCK_NMI : 0;
    }
    /* An exit stores LMA into "IA-32e mode guest" and clears the valid bit of the event to inject
     * [SDM 3C "Recording VM-Exit Information and Updating VM-entry Control Fields"]. */
    vmcs12->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    if ((vmcs02->guest_efer & NVIRT_EFER_LMA) != 0) {
        vmcs12->entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E;
    }
    vmcs12->entry_interruption &= ~NVIRT_VMX_INTR_VALID;
}

void nvi_vmx_save_guest_state(const struct nvirt_vmcs *vmcs02, struct nvirt_vmcs *vmcs12)
{
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (is_lazy(NVIRT_VMCS_##NAME, NVIRT_VMCS_KIND_##kind, NVIRT_VMCS_GATE_##gate) &&              \
        !saved_if_asked(NVIRT_VMCS_##NAME)) {                                                      \
        vmcs12->member = vmcs02->member;                                                           \
    }
#include <nvirt/vmcs_fields.def>
    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_DEBUG) != 0) {
        vmcs12->guest_dr7 = vmcs02->guest_dr7;
        vmcs12->guest_debugctl = vmcs02->guest_debugctl;
    }
    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PAT) != 0) {
        vmcs12->guest_pat = vmcs02->guest_pat;
    }
    nvi_vmx_save_flow(vmcs02, vmcs12);
}

void nvi_vmx_save_exit_info(const struct nvi_vmx_exit_info *info, struct nvirt_vmcs *vmcs12)
{
    vmcs12->exit_reason = info->reason;
    vmcs12->exit_qualification = info->qualification;
    vmcs12->exit_interruption = info->interruption;
    vmcs12->exit_interruption_error = info->interruption_error;
    vmcs12->idt_vectoring = info->idt_vectoring;
    vmcs12->idt_vectoring_error = info->idt_vectoring_error;
    vmcs12->exit_insn_length = info->insn_length;
    vmcs12->exit_insn_info = info->insn_info;
    vmcs12->guest_linear = info->guest_linear;
    vmcs12->guest_physical = info->guest_physical;
}

void nvi_vmx_save_entry_failure(uint32_t reason, uint64_t qualification, struct nvirt_vmcs *vmcs12)
{
    vmcs12->exit_reason = reason | NVIRT_VMX_REASON_ENTRY_FAILURE;
    vmcs12->exit_qualification = qualification;
}

/* NMI blocking that L1 is left with: an NMI that caused the exit blocks further ones; under "virtual
 * NMIs" L2's blocking bit was not about real NMIs; otherwise L2's blocking stays in force. */
static bool nmi_blocked_after(const struct nvirt_vmcs *vmcs02, const struct nvirt_vmcs *vmcs12,
                              const struct nvi_vmx_exit_info *info)
{
    uint32_t type = (uint32_t)((info->interruption & NVIRT_VMX_INTR_TYPE) >>
                               NVIRT_VMX_INTR_TYPE_SHIFT);

    if ((info->reason & NVIRT_VMX_REASON_BASIC) == NVIRT_VMX_EXIT_EXCEPTION_NMI &&
        type == NVIRT_VMX_INTR_TYPE_NMI) {
        return true;
    }
    if ((vmcs12->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS) != 0) {
        return false;
    }
    /* What the exit saved, where L2's IRET counted for vmcs02 only. */
    return ((nvi_vmx_holds_nmis(vmcs12) ? vmcs12 : vmcs02)->guest_interruptibility &
            NVIRT_VMX_BLOCK_NMI) != 0;
}

static struct nvi_cet cet_of(const struct nvirt_vmcs *vmcs)
{
    struct nvi_cet cet;

#define X(NAME, member, host) cet.member = vmcs->member;
    NVI_CET_FIELDS(X)
#undef X
    return cet;
}

struct nvi_vmx_live nvi_vmx_live_at_exit(const struct nvirt_vmcs *vmcs02,
                                         const struct nvirt_vmcs *vmcs12,
                                         const struct nvi_vmx_exit_info *info)
{
    struct nvi_vmx_live live;

    live.cr0 = vmcs02->guest_cr0;
    live.efer = vmcs02->guest_efer;
    live.pat = vmcs02->guest_pat;
    live.cet = cet_of(vmcs02);
    live.nmi_blocked = nmi_blocked_after(vmcs02, vmcs12, info);
    return live;
}

struct nvi_vmx_live nvi_vmx_live_at_entry_failure(const struct nvirt_vmcs *vmcs01)
{
    struct nvi_vmx_live live;

    live.cr0 = vmcs01->guest_cr0;
    live.efer = vmcs01->guest_efer;
    live.pat = vmcs01->guest_pat;
    live.cet = cet_of(vmcs01);
    live.nmi_blocked = (vmcs01->guest_interruptibility & NVIRT_VMX_BLOCK_NMI) != 0;
    return live;
}

/* ---- [SDM 3C "Loading Host Control Registers, Debug Registers, MSRs"] ---- */

static void load_registers(const struct nvirt_vmcs *vmcs12, const struct nvi_vmx_live *live,
                           const struct nvirt_vmx_caps *cpu, struct nvirt_vmcs *vmcs01)
{
    /* Not changed by an exit: ET, CD, NW and the reserved bits 63:32, 28:19, 17 and 15:6. */
    const uint64_t cr0_kept = NVIRT_BITS(63, 32) | NVIRT_BITS(28, 19) | NVIRT_BIT(17) |
                              NVIRT_BITS(15, 6) | NVIRT_CR0_ET | NVIRT_CR0_CD | NVIRT_CR0_NW;
    bool host_64 = (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_HOST_64) != 0;
    uint64_t cr4 = vmcs12->host_cr4;

    cr4 = host_64 ? cr4 | NVIRT_CR4_PAE : cr4 & ~NVIRT_CR4_PCIDE;
    vmcs01->guest_cr0 = (vmcs12->host_cr0 & ~cr0_kept) | (live->cr0 & cr0_kept);
    vmcs01->guest_cr3 = vmcs12->host_cr3 & ~NVIRT_BITS(63, cpu->cpu.physical_bits);
    vmcs01->guest_cr4 = cr4;
    /* The fixed bits hold in host_cr0 and host_cr4 by the checks; what L0 owns reads as L1 set it. */
    vmcs01->cr0_shadow = vmcs01->guest_cr0;
    vmcs01->cr4_shadow = vmcs01->guest_cr4;
    vmcs01->guest_dr7 = NVIRT_DR7_DEFAULT;
    vmcs01->guest_debugctl = 0;
    vmcs01->guest_sysenter_cs = vmcs12->host_sysenter_cs;
    vmcs01->guest_sysenter_esp = vmcs12->host_sysenter_esp;
    vmcs01->guest_sysenter_eip = vmcs12->host_sysenter_eip;
    vmcs01->guest_pat = (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_PAT) != 0
                            ? vmcs12->host_pat
                            : live->pat;
    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_EFER) != 0) {
        vmcs01->guest_efer = vmcs12->host_efer;
    } else {
        vmcs01->guest_efer = live->efer & ~(NVIRT_EFER_LMA | NVIRT_EFER_LME);
        if (host_64) {
            vmcs01->guest_efer |= NVIRT_EFER_LMA | NVIRT_EFER_LME;
        }
    }
    vmcs01->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    if (host_64) {
        vmcs01->entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E;
    }
}

/* ---- [SDM 3C "Loading Host Segment and Descriptor-Table Registers"] ---- */

#define FLAT_LIMIT UINT64_C(0xFFFFFFFF)
#define AR_CODE (UINT64_C(0xB) | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P | NVIRT_VMX_AR_G)
#define AR_DATA (UINT64_C(0x3) | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P | NVIRT_VMX_AR_DB | NVIRT_VMX_AR_G)
#define AR_TSS (UINT64_C(0xB) | NVIRT_VMX_AR_P)
#define TSS_LIMIT UINT64_C(0x67)
#define TABLE_LIMIT UINT64_C(0xFFFF)

static uint64_t data_ar(uint64_t selector)
{
    return selector == 0 ? NVIRT_VMX_AR_UNUSABLE : AR_DATA;
}

static void load_segments(const struct nvirt_vmcs *vmcs12, struct nvirt_vmcs *vmcs01)
{
    bool host_64 = (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_HOST_64) != 0;

    vmcs01->guest_cs_selector = vmcs12->host_cs_selector;
    vmcs01->guest_cs_base = 0;
    vmcs01->guest_cs_limit = FLAT_LIMIT;
    vmcs01->guest_cs_ar = AR_CODE | (host_64 ? NVIRT_VMX_AR_L : NVIRT_VMX_AR_DB);
    vmcs01->guest_ss_selector = vmcs12->host_ss_selector;
    vmcs01->guest_ds_selector = vmcs12->host_ds_selector;
    vmcs01->guest_es_selector = vmcs12->host_es_selector;
    vmcs01->guest_fs_selector = vmcs12->host_fs_selector;
    vmcs01->guest_gs_selector = vmcs12->host_gs_selector;
    vmcs01->guest_ss_base = 0;
    vmcs01->guest_ds_base = 0;
    vmcs01->guest_es_base = 0;
    vmcs01->guest_fs_base = vmcs12->host_fs_base;
    vmcs01->guest_gs_base = vmcs12->host_gs_base;
    vmcs01->guest_ss_limit = FLAT_LIMIT;
    vmcs01->guest_ds_limit = FLAT_LIMIT;
    vmcs01->guest_es_limit = FLAT_LIMIT;
    vmcs01->guest_fs_limit = FLAT_LIMIT;
    vmcs01->guest_gs_limit = FLAT_LIMIT;
    /* SS with a null selector occurs in a 64-bit L1 only, and its DPL is 0 there. */
    vmcs01->guest_ss_ar = data_ar(vmcs12->host_ss_selector);
    vmcs01->guest_ds_ar = data_ar(vmcs12->host_ds_selector);
    vmcs01->guest_es_ar = data_ar(vmcs12->host_es_selector);
    vmcs01->guest_fs_ar = data_ar(vmcs12->host_fs_selector);
    vmcs01->guest_gs_ar = data_ar(vmcs12->host_gs_selector);
    vmcs01->guest_tr_selector = vmcs12->host_tr_selector;
    vmcs01->guest_tr_base = vmcs12->host_tr_base;
    vmcs01->guest_tr_limit = TSS_LIMIT;
    vmcs01->guest_tr_ar = AR_TSS;
    vmcs01->guest_ldtr_selector = 0;
    vmcs01->guest_ldtr_base = 0;
    vmcs01->guest_ldtr_limit = 0;
    vmcs01->guest_ldtr_ar = NVIRT_VMX_AR_UNUSABLE;
    vmcs01->guest_gdtr_base = vmcs12->host_gdtr_base;
    vmcs01->guest_gdtr_limit = TABLE_LIMIT;
    vmcs01->guest_idtr_base = vmcs12->host_idtr_base;
    vmcs01->guest_idtr_limit = TABLE_LIMIT;
}

static void load_cet(const struct nvirt_vmcs *vmcs12, const struct nvi_vmx_live *live,
                     struct nvirt_vmcs *vmcs01)
{
    bool loads = (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_CET) != 0;

#define X(NAME, member, host) vmcs01->member = loads ? vmcs12->host : live->cet.member;
    NVI_CET_FIELDS(X)
#undef X
}

void nvi_vmx_load_host_state(const struct nvirt_vmcs *vmcs12, const struct nvi_vmx_live *live,
                             const struct nvirt_vmx_caps *cpu, struct nvirt_vmcs *vmcs01)
{
    load_registers(vmcs12, live, cpu, vmcs01);
    load_segments(vmcs12, vmcs01);
    if (nvi_vmx_has_cet(vmcs01)) {
        load_cet(vmcs12, live, vmcs01);
    }
    vmcs01->guest_rip = vmcs12->host_rip;
    vmcs01->guest_rsp = vmcs12->host_rsp;
    vmcs01->guest_rflags = NVIRT_RFLAGS_FIXED1;
    vmcs01->guest_activity = NVIRT_VMX_ACTIVITY_ACTIVE;
    vmcs01->guest_interruptibility = live->nmi_blocked ? NVIRT_VMX_BLOCK_NMI : 0;
    vmcs01->guest_pending_debug = 0;
}
