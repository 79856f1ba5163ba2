/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on VM-execution control fields [SDM 3C "VM-Execution Control Fields", under "Checks
 * on VMX Controls"]. The rules stand in manual order. Those about controls that L1 is not offered
 * are covered by the reserved bits of their control word.
 */
#include "vmcs/check.h"

static enum nvi_vmx_rule control_words(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmx_caps *offer = in->offer;
    uint64_t pin = nvi_vmx_governing(offer, offer->pin, offer->true_pin);
    uint64_t proc = nvi_vmx_governing(offer, offer->proc, offer->true_proc);

    NVIRT_RULE(VMX_CTL_PIN_RESERVED, nvi_vmx_controls_fit(vmcs12->pin_controls, pin));
    NVIRT_RULE(VMX_CTL_PROC_RESERVED, nvi_vmx_controls_fit(vmcs12->proc_controls, proc));
    NVIRT_RULE(VMX_CTL_PROC2_RESERVED, nvi_vmx_controls_fit(nvi_vmx_proc2(vmcs12), offer->proc2));
    return NVI_VMX_RULE_NONE;
}

static uint64_t cr3_targets(const struct nvirt_vmx_caps *offer)
{
    return (offer->misc & NVIRT_VMX_MISC_CR3_TARGETS) >> NVIRT_VMX_MISC_CR3_TARGETS_SHIFT;
}

static enum nvi_vmx_rule bitmaps(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t proc = vmcs12->proc_controls;

    if ((proc & NVIRT_VMX_PROC_IO_BITMAPS) != 0) {
        NVIRT_RULE(VMX_CTL_IO_BITMAP_ALIGNED,
                   nvi_vmx_page_aligned(vmcs12->io_bitmap_a | vmcs12->io_bitmap_b));
        NVIRT_RULE(VMX_CTL_IO_BITMAP_WIDTH,
                   nvi_vmx_within_width(in, vmcs12->io_bitmap_a | vmcs12->io_bitmap_b));
    }
    if ((proc & NVIRT_VMX_PROC_MSR_BITMAPS) != 0) {
        NVIRT_RULE(VMX_CTL_MSR_BITMAP_ALIGNED, nvi_vmx_page_aligned(vmcs12->msr_bitmap));
        NVIRT_RULE(VMX_CTL_MSR_BITMAP_WIDTH, nvi_vmx_within_width(in, vmcs12->msr_bitmap));
    }
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule tpr_shadow(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;

    NVIRT_RULE(VMX_CTL_VIRTUAL_APIC_ALIGNED, nvi_vmx_page_aligned(vmcs12->virtual_apic_addr));
    NVIRT_RULE(VMX_CTL_VIRTUAL_APIC_WIDTH, nvi_vmx_within_width(in, vmcs12->virtual_apic_addr));
    NVIRT_RULE(VMX_CTL_TPR_THRESHOLD_RESERVED,
               (nvi_vmx_proc2(vmcs12) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0 ||
                   vmcs12->tpr_threshold <= 15);
    NVIRT_RULE(VMX_CTL_TPR_THRESHOLD,
               !nvi_vmx_reads_vtpr(vmcs12) || vmcs12->tpr_threshold <= (in->vtpr >> 4));
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule apic_access_page(const struct nvi_vmx_check_in *in)
{
    uint64_t page = in->vmcs12->apic_access_addr;

    if ((nvi_vmx_proc2(in->vmcs12) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0) {
        NVIRT_RULE(VMX_CTL_APIC_ACCESS_ALIGNED, nvi_vmx_page_aligned(page));
        NVIRT_RULE(VMX_CTL_APIC_ACCESS_WIDTH, nvi_vmx_within_width(in, page));
    }
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule apic_virtualization(const struct nvirt_vmcs *vmcs12)
{
    const uint64_t shadowed = NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS |
                              NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    const uint64_t both = NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_ACCESSES;
    uint64_t proc2 = nvi_vmx_proc2(vmcs12);

    NVIRT_RULE(VMX_CTL_APIC_TPR_SHADOW,
               (vmcs12->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0 || (proc2 & shadowed) == 0);
    NVIRT_RULE(VMX_CTL_X2APIC_ACCESSES, (proc2 & both) != both);
    NVIRT_RULE(VMX_CTL_VIRTUAL_INTERRUPTS,
               (proc2 & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) == 0 ||
                   (vmcs12->pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule posted_interrupts(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t descriptor = vmcs12->posted_descriptor;

    if ((vmcs12->pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS) == 0) {
        return NVI_VMX_RULE_NONE;
    }
    NVIRT_RULE(VMX_CTL_POSTED_DELIVERY,
               (nvi_vmx_proc2(vmcs12) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0);
    NVIRT_RULE(VMX_CTL_POSTED_ACKNOWLEDGE,
               (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) != 0);
    NVIRT_RULE(VMX_CTL_POSTED_VECTOR, vmcs12->posted_vector <= 0xff);
    NVIRT_RULE(VMX_CTL_POSTED_ALIGNED, (descriptor & NVIRT_BITS(5, 0)) == 0);
    NVIRT_RULE(VMX_CTL_POSTED_WIDTH, nvi_vmx_within_width(in, descriptor));
    return NVI_VMX_RULE_NONE;
}

bool nvi_vmx_vtpr_to_read(const struct nvi_vmx_check_in *in, nvirt_l1gpa *address)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;

    *address = nvirt_l1gpa_make(vmcs12->virtual_apic_addr + NVI_VMX_VTPR);
    return nvi_vmx_reads_vtpr(vmcs12) && nvi_vmx_page_aligned(vmcs12->virtual_apic_addr) &&
           nvi_vmx_within_width(in, vmcs12->virtual_apic_addr);
}

static enum nvi_vmx_rule nmis(const struct nvirt_vmcs *vmcs12)
{
    bool virtual_nmis = (vmcs12->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS) != 0;

    NVIRT_RULE(VMX_CTL_VIRTUAL_NMIS,
               !virtual_nmis || (vmcs12->pin_controls & NVIRT_VMX_PIN_NMI) != 0);
    NVIRT_RULE(VMX_CTL_NMI_WINDOW,
               virtual_nmis || (vmcs12->proc_controls & NVIRT_VMX_PROC_NMI_WINDOW) == 0);
    return NVI_VMX_RULE_NONE;
}

static bool memory_type_is_offered(const struct nvirt_vmx_caps *offer, uint64_t eptp)
{
    switch (eptp & NVIRT_VMX_EPTP_MEMORY_TYPE) {
    case 0:
        return (offer->ept_vpid & NVIRT_VMX_EPT_CAP_UC) != 0;
    case 6:
        return (offer->ept_vpid & NVIRT_VMX_EPT_CAP_WB) != 0;
    default:
        return false;
    }
}

static bool walk_is_offered(const struct nvirt_vmx_caps *offer, uint64_t eptp)
{
    switch (eptp & NVIRT_VMX_EPTP_WALK) {
    case NVIRT_VMX_EPTP_WALK_4:
        return (offer->ept_vpid & NVIRT_VMX_EPT_CAP_WALK_4) != 0;
    case NVIRT_VMX_EPTP_WALK_5:
        return (offer->ept_vpid & NVIRT_VMX_EPT_CAP_WALK_5) != 0;
    default:
        return false;
    }
}

/* Supervisor shadow-stack control, bit 7, is not offered and therefore reserved. */
static enum nvi_vmx_rule eptp_rules(const struct nvirt_vmx_caps *offer, uint64_t eptp)
{
    const uint64_t reserved = NVIRT_VMX_EPTP_RESERVED | NVIRT_VMX_EPTP_SHADOW_STACK;

    NVIRT_RULE(VMX_CTL_EPTP_MEMORY_TYPE, memory_type_is_offered(offer, eptp));
    NVIRT_RULE(VMX_CTL_EPTP_WALK, walk_is_offered(offer, eptp));
    NVIRT_RULE(VMX_CTL_EPTP_ACCESSED_DIRTY,
               (eptp & NVIRT_VMX_EPTP_ACCESSED_DIRTY) == 0 ||
                   (offer->ept_vpid & NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY) != 0);
    NVIRT_RULE(VMX_CTL_EPTP_RESERVED, (eptp & reserved) == 0);
    NVIRT_RULE(VMX_CTL_EPTP_WIDTH, (eptp >> offer->cpu.physical_bits) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule vm_functions(const struct nvi_vmx_check_in *in, bool ept)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t list = vmcs12->eptp_list;

    NVIRT_RULE(VMX_CTL_VMFUNC_RESERVED, (vmcs12->vmfunc_controls & ~in->offer->vmfunc) == 0);
    if ((vmcs12->vmfunc_controls & NVIRT_VMX_VMFUNC_EPTP_SWITCHING) != 0) {
        NVIRT_RULE(VMX_CTL_EPTP_SWITCHING_EPT, ept);
        NVIRT_RULE(VMX_CTL_EPTP_LIST,
                   nvi_vmx_page_aligned(list) && nvi_vmx_within_width(in, list));
    }
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule shadowing_bitmaps(const struct nvi_vmx_check_in *in)
{
    uint64_t bitmaps = in->vmcs12->vmread_bitmap | in->vmcs12->vmwrite_bitmap;

    NVIRT_RULE(VMX_CTL_SHADOWING_ALIGNED, nvi_vmx_page_aligned(bitmaps));
    NVIRT_RULE(VMX_CTL_SHADOWING_WIDTH, nvi_vmx_within_width(in, bitmaps));
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_execution(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t proc2 = nvi_vmx_proc2(vmcs12);
    bool ept = (proc2 & NVIRT_VMX_PROC2_EPT) != 0;

    NVIRT_RULES(control_words(in));
    NVIRT_RULE(VMX_CTL_CR3_TARGET_COUNT, vmcs12->cr3_target_count <= cr3_targets(in->offer));
    NVIRT_RULES(bitmaps(in));
    if ((vmcs12->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
        NVIRT_RULES(tpr_shadow(in));
    }
    NVIRT_RULES(nmis(vmcs12));
    NVIRT_RULES(apic_access_page(in));
    NVIRT_RULES(apic_virtualization(vmcs12));
    NVIRT_RULES(posted_interrupts(in));
    NVIRT_RULE(VMX_CTL_VPID_ZERO, (proc2 & NVIRT_VMX_PROC2_VPID) == 0 || vmcs12->vpid != 0);
    if (ept) {
        NVIRT_RULES(eptp_rules(in->offer, vmcs12->eptp));
    }
    if ((proc2 & NVIRT_VMX_PROC2_PML) != 0) {
        NVIRT_RULE(VMX_CTL_PML_EPT, ept);
        NVIRT_RULE(VMX_CTL_PML_ALIGNED, nvi_vmx_page_aligned(vmcs12->pml_addr));
        NVIRT_RULE(VMX_CTL_PML_WIDTH, nvi_vmx_within_width(in, vmcs12->pml_addr));
    }
    NVIRT_RULE(VMX_CTL_UNRESTRICTED_EPT, !nvi_vmx_unrestricted(vmcs12) || ept);
    NVIRT_RULE(VMX_CTL_MODE_EXECUTE_EPT, (proc2 & NVIRT_VMX_PROC2_MODE_EXECUTE) == 0 || ept);
    if ((proc2 & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0) {
        NVIRT_RULE(VMX_CTL_SUBPAGES_EPT, ept);
        NVIRT_RULE(VMX_CTL_SUBPAGES_ALIGNED, nvi_vmx_page_aligned(vmcs12->spp_table));
        NVIRT_RULE(VMX_CTL_SUBPAGES_WIDTH, nvi_vmx_within_width(in, vmcs12->spp_table));
    }
    if ((proc2 & NVIRT_VMX_PROC2_VMFUNC) != 0) {
        NVIRT_RULES(vm_functions(in, ept));
    }
    if ((proc2 & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0) {
        NVIRT_RULES(shadowing_bitmaps(in));
    }
    if ((proc2 & NVIRT_VMX_PROC2_EPT_VE) != 0) {
        NVIRT_RULE(VMX_CTL_VE_INFO_ALIGNED, nvi_vmx_page_aligned(vmcs12->ve_info_addr));
        NVIRT_RULE(VMX_CTL_VE_INFO_WIDTH, nvi_vmx_within_width(in, vmcs12->ve_info_addr));
    }
    return NVI_VMX_RULE_NONE;
}

bool nvi_vmx_eptp_is_valid(const struct nvirt_vmx_caps *offer, uint64_t eptp)
{
    return eptp_rules(offer, eptp) == NVI_VMX_RULE_NONE;
}
