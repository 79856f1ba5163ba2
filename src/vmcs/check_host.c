/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on the host-state area [SDM 3C "Checks on Host-State Area"], in manual order. What
 * they let pass is what a VM exit loads into L1 without further question.
 */
#include "vmcs/check.h"

#define SELECTOR_RPL_TI NVIRT_BITS(2, 0)

static bool host_is_64bit(const struct nvirt_vmcs *v12)
{
    return (v12->exit_controls & NVIRT_VMX_EXIT_CTL_HOST_64) != 0;
}

static enum nvi_vmx_rule efer(const struct nvi_vmx_check_in *in)
{
    uint64_t value = in->vmcs12->host_efer;
    bool wide = host_is_64bit(in->vmcs12);

    NVIRT_RULE(VMX_HOST_EFER_RESERVED, (value & ~in->offer->cpu.efer_valid) == 0);
    NVIRT_RULE(VMX_HOST_EFER_LMA, ((value & NVIRT_EFER_LMA) != 0) == wide);
    NVIRT_RULE(VMX_HOST_EFER_LME, ((value & NVIRT_EFER_LME) != 0) == wide);
    return NVI_VMX_RULE_NONE;
}

static bool loads_cet(const struct nvirt_vmcs *v12)
{
    return (v12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_CET) != 0;
}

static enum nvi_vmx_rule cet(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    NVIRT_RULE(VMX_HOST_S_CET_RESERVED, (v12->host_s_cet & ~in->offer->cpu.s_cet_valid) == 0);
    NVIRT_RULE(VMX_HOST_S_CET_TRACKER, nvi_vmx_s_cet_tracks(v12->host_s_cet));
    NVIRT_RULE(VMX_HOST_SSP_ALIGNED, (v12->host_ssp & NVIRT_BITS(1, 0)) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule registers(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    const struct nvirt_vmx_caps *offer = in->offer;

    NVIRT_RULE(VMX_HOST_CR0_FIXED,
               nvi_vmx_cr_fits(v12->host_cr0, offer->cr0_fixed0, offer->cr0_fixed1, 0));
    NVIRT_RULE(VMX_HOST_CR4_FIXED,
               nvi_vmx_cr_fits(v12->host_cr4, offer->cr4_fixed0, offer->cr4_fixed1, 0));
    NVIRT_RULE(VMX_HOST_CET_WP,
               (v12->host_cr4 & NVIRT_CR4_CET) == 0 || (v12->host_cr0 & NVIRT_CR0_WP) != 0);
    NVIRT_RULE(VMX_HOST_CR3_WIDTH, nvi_vmx_within_width(in, v12->host_cr3));
    NVIRT_RULE(VMX_HOST_SYSENTER_ESP, nvi_vmx_is_canonical_in(in, v12->host_sysenter_esp));
    NVIRT_RULE(VMX_HOST_SYSENTER_EIP, nvi_vmx_is_canonical_in(in, v12->host_sysenter_eip));
    NVIRT_RULE(VMX_HOST_SSP_TABLE,
               !loads_cet(v12) || nvi_vmx_is_canonical_in(in, v12->host_ssp_table));
    NVIRT_RULE(VMX_HOST_PERF_GLOBAL,
               (v12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL) == 0 ||
                   (v12->host_perf_global & ~offer->cpu.perf_global_valid) == 0);
    NVIRT_RULE(VMX_HOST_PAT, (v12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_PAT) == 0 ||
                                 nvi_vmx_pat_is_valid(v12->host_pat));
    if ((v12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_EFER) != 0) {
        NVIRT_RULES(efer(in));
    }
    if (loads_cet(v12)) {
        NVIRT_RULES(cet(in));
    }
    NVIRT_RULE(VMX_HOST_PKRS, (v12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_PKRS) == 0 ||
                                  v12->host_pkrs >> 32 == 0);
    return NVI_VMX_RULE_NONE;
}

static bool bases_are_canonical(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    return nvi_vmx_is_canonical_in(in, v12->host_fs_base) &&
           nvi_vmx_is_canonical_in(in, v12->host_gs_base) &&
           nvi_vmx_is_canonical_in(in, v12->host_tr_base) &&
           nvi_vmx_is_canonical_in(in, v12->host_gdtr_base) &&
           nvi_vmx_is_canonical_in(in, v12->host_idtr_base);
}

static enum nvi_vmx_rule segments(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    uint64_t selectors = v12->host_cs_selector | v12->host_ss_selector | v12->host_ds_selector |
                         v12->host_es_selector | v12->host_fs_selector | v12->host_gs_selector |
                         v12->host_tr_selector;

    NVIRT_RULE(VMX_HOST_SELECTORS, (selectors & SELECTOR_RPL_TI) == 0);
    NVIRT_RULE(VMX_HOST_CS_NULL, v12->host_cs_selector != 0);
    NVIRT_RULE(VMX_HOST_TR_NULL, v12->host_tr_selector != 0);
    NVIRT_RULE(VMX_HOST_SS_NULL, host_is_64bit(v12) || v12->host_ss_selector != 0);
    NVIRT_RULE(VMX_HOST_BASES, bases_are_canonical(in));
    return NVI_VMX_RULE_NONE;
}

/* By the paging mode that the exit starts, not by what the CPU could do. */
static bool rip_is_canonical(const struct nvi_vmx_check_in *in)
{
    bool la57 = (in->vmcs12->host_cr4 & NVIRT_CR4_LA57) != 0;

    return nvi_vmx_canonical(in->vmcs12->host_rip, la57 ? in->offer->cpu.linear_bits : 48);
}

static enum nvi_vmx_rule address_space(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool wide = host_is_64bit(v12);

    NVIRT_RULE(VMX_HOST_LEGACY_ENTRY, in->l1_ia32e || !nvi_vmx_guest_ia32e(v12));
    NVIRT_RULE(VMX_HOST_LEGACY_SIZE, in->l1_ia32e || !wide);
    NVIRT_RULE(VMX_HOST_IA32E_SIZE, !in->l1_ia32e || wide);
    if (!wide) {
        /* Only an L1 outside IA-32e mode comes here, whose IA-32e-mode guest is refused above. */
        NVIRT_RULE(VMX_HOST_32_PCIDE, (v12->host_cr4 & NVIRT_CR4_PCIDE) == 0);
        NVIRT_RULE(VMX_HOST_32_RIP, v12->host_rip >> 32 == 0);
        NVIRT_RULE(VMX_HOST_32_CET,
                   !loads_cet(v12) || (v12->host_s_cet | v12->host_ssp) >> 32 == 0);
    } else {
        NVIRT_RULE(VMX_HOST_64_PAE, (v12->host_cr4 & NVIRT_CR4_PAE) != 0);
        NVIRT_RULE(VMX_HOST_64_RIP, rip_is_canonical(in));
        NVIRT_RULE(VMX_HOST_64_CET, !loads_cet(v12) ||
                                        (nvi_vmx_is_canonical_in(in, v12->host_s_cet) &&
                                         nvi_vmx_is_canonical_in(in, v12->host_ssp)));
    }
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_host(const struct nvi_vmx_check_in *in)
{
    NVIRT_RULES(registers(in));
    NVIRT_RULES(segments(in));
    NVIRT_RULES(address_space(in));
    return NVI_VMX_RULE_NONE;
}
