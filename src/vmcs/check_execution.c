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

static enum nvi_vmx_rule nmis(const struct nvirt_vmcs *vmcs12)
{
    bool virtual_nmis = (vmcs12->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS) != 0;

    NVIRT_RULE(VMX_CTL_VIRTUAL_NMIS,
               !virtual_nmis || (vmcs12->pin_controls & NVIRT_VMX_PIN_NMI) != 0);
    NVIRT_RULE(VMX_CTL_NMI_WINDOW,
               virtual_nmis || (vmcs12->proc_controls & NVIRT_VMX_PROC_NMI_WINDOW) == 0);
    return NVI_VMX_RULE_NONE;
}

static bool memory_type_is_offered(const struct nvi_vmx_check_in *in)
{
    switch (in->vmcs12->eptp & NVIRT_VMX_EPTP_MEMORY_TYPE) {
    case 0:
        return (in->offer->ept_vpid & NVIRT_VMX_EPT_CAP_UC) != 0;
    case 6:
        return (in->offer->ept_vpid & NVIRT_VMX_EPT_CAP_WB) != 0;
    default:
        return false;
    }
}

static bool walk_is_offered(const struct nvi_vmx_check_in *in)
{
    switch (in->vmcs12->eptp & NVIRT_VMX_EPTP_WALK) {
    case NVIRT_VMX_EPTP_WALK_4:
        return (in->offer->ept_vpid & NVIRT_VMX_EPT_CAP_WALK_4) != 0;
    case NVIRT_VMX_EPTP_WALK_5:
        return (in->offer->ept_vpid & NVIRT_VMX_EPT_CAP_WALK_5) != 0;
    default:
        return false;
    }
}

/* Supervisor shadow-stack control, bit 7, is not offered and therefore reserved. */
static enum nvi_vmx_rule eptp(const struct nvi_vmx_check_in *in)
{
    const uint64_t reserved = NVIRT_VMX_EPTP_RESERVED | NVIRT_VMX_EPTP_SHADOW_STACK;
    uint64_t value = in->vmcs12->eptp;

    NVIRT_RULE(VMX_CTL_EPTP_MEMORY_TYPE, memory_type_is_offered(in));
    NVIRT_RULE(VMX_CTL_EPTP_WALK, walk_is_offered(in));
    NVIRT_RULE(VMX_CTL_EPTP_ACCESSED_DIRTY,
               (value & NVIRT_VMX_EPTP_ACCESSED_DIRTY) == 0 ||
                   (in->offer->ept_vpid & NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY) != 0);
    NVIRT_RULE(VMX_CTL_EPTP_RESERVED, (value & reserved) == 0);
    NVIRT_RULE(VMX_CTL_EPTP_WIDTH, nvi_vmx_within_width(in, value));
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
    NVIRT_RULES(nmis(vmcs12));
    NVIRT_RULE(VMX_CTL_VPID_ZERO, (proc2 & NVIRT_VMX_PROC2_VPID) == 0 || vmcs12->vpid != 0);
    if (ept) {
        NVIRT_RULES(eptp(in));
    }
    NVIRT_RULE(VMX_CTL_UNRESTRICTED_EPT, !nvi_vmx_unrestricted(vmcs12) || ept);
    return NVI_VMX_RULE_NONE;
}
