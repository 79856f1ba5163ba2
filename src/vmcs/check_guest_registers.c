/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on guest control registers, debug registers and MSRs, in manual order [SDM 3C
 * "Checks on Guest Control Registers, Debug Registers, and MSRs"].
 */
#include "vmcs/check.h"

/* Bits of CR0 that an entry does not change, and which are therefore not looked at. */
#define CR0_NOT_LOADED (NVIRT_CR0_NW | NVIRT_CR0_CD)

static enum nvi_vmx_rule control_registers(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    const struct nvirt_vmx_caps *offer = in->offer;
    uint64_t cr0_free = CR0_NOT_LOADED;

    if (nvi_vmx_unrestricted(v12)) {
        cr0_free |= NVIRT_CR0_PE | NVIRT_CR0_PG;
    }
    NVIRT_RULE(VMX_GUEST_CR0_FIXED,
               nvi_vmx_cr_fits(v12->guest_cr0, offer->cr0_fixed0, offer->cr0_fixed1, cr0_free));
    NVIRT_RULE(VMX_GUEST_CR0_PG_PE,
               (v12->guest_cr0 & NVIRT_CR0_PG) == 0 || (v12->guest_cr0 & NVIRT_CR0_PE) != 0);
    NVIRT_RULE(VMX_GUEST_CR4_FIXED,
               nvi_vmx_cr_fits(v12->guest_cr4, offer->cr4_fixed0, offer->cr4_fixed1, 0));
    NVIRT_RULE(VMX_GUEST_CET_WP,
               (v12->guest_cr4 & NVIRT_CR4_CET) == 0 || (v12->guest_cr0 & NVIRT_CR0_WP) != 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule paging(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool ia32e = nvi_vmx_guest_ia32e(v12);

    NVIRT_RULE(VMX_GUEST_IA32E_PG, !ia32e || (v12->guest_cr0 & NVIRT_CR0_PG) != 0);
    NVIRT_RULE(VMX_GUEST_IA32E_PAE, !ia32e || (v12->guest_cr4 & NVIRT_CR4_PAE) != 0);
    NVIRT_RULE(VMX_GUEST_LEGACY_PCIDE, ia32e || (v12->guest_cr4 & NVIRT_CR4_PCIDE) == 0);
    NVIRT_RULE(VMX_GUEST_CR3_WIDTH, nvi_vmx_within_width(in, v12->guest_cr3));
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule efer(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool lma = (v12->guest_efer & NVIRT_EFER_LMA) != 0;
    bool lme = (v12->guest_efer & NVIRT_EFER_LME) != 0;

    NVIRT_RULE(VMX_GUEST_EFER_RESERVED, (v12->guest_efer & ~in->offer->cpu.efer_valid) == 0);
    NVIRT_RULE(VMX_GUEST_EFER_LMA, lma == nvi_vmx_guest_ia32e(v12));
    NVIRT_RULE(VMX_GUEST_EFER_LME, (v12->guest_cr0 & NVIRT_CR0_PG) == 0 || lme == lma);
    return NVI_VMX_RULE_NONE;
}

#define BNDCFGS_RESERVED NVIRT_BITS(11, 2)

static enum nvi_vmx_rule bounds(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    if (nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS)) {
        NVIRT_RULE(VMX_GUEST_BNDCFGS_RESERVED, (v12->guest_bndcfgs & BNDCFGS_RESERVED) == 0);
        NVIRT_RULE(VMX_GUEST_BNDCFGS_CANONICAL,
                   nvi_vmx_is_canonical_in(in, v12->guest_bndcfgs & NVIRT_BITS(63, 12)));
    }
    return NVI_VMX_RULE_NONE;
}

static bool loads_cet(const struct nvirt_vmcs *v12)
{
    return nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_CET);
}

static enum nvi_vmx_rule cet(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    NVIRT_RULE(VMX_GUEST_S_CET_RESERVED, (v12->guest_s_cet & ~in->offer->cpu.s_cet_valid) == 0);
    NVIRT_RULE(VMX_GUEST_S_CET_TRACKER, nvi_vmx_s_cet_tracks(v12->guest_s_cet));
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_guest_registers(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool debug = nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG);

    NVIRT_RULES(control_registers(in));
    NVIRT_RULE(VMX_GUEST_DEBUGCTL,
               !debug || (v12->guest_debugctl & ~in->offer->cpu.debugctl_valid) == 0);
    NVIRT_RULES(paging(in));
    NVIRT_RULE(VMX_GUEST_DR7_HIGH, !debug || v12->guest_dr7 >> 32 == 0);
    NVIRT_RULE(VMX_GUEST_SYSENTER_ESP, nvi_vmx_is_canonical_in(in, v12->guest_sysenter_esp));
    NVIRT_RULE(VMX_GUEST_SYSENTER_EIP, nvi_vmx_is_canonical_in(in, v12->guest_sysenter_eip));
    NVIRT_RULE(VMX_GUEST_CET_CANONICAL, !loads_cet(v12) ||
                                            (nvi_vmx_is_canonical_in(in, v12->guest_s_cet) &&
                                             nvi_vmx_is_canonical_in(in, v12->guest_ssp_table)));
    NVIRT_RULE(VMX_GUEST_PERF_GLOBAL,
               !nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL) ||
                   (v12->guest_perf_global & ~in->offer->cpu.perf_global_valid) == 0);
    NVIRT_RULE(VMX_GUEST_PAT, !nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_PAT) ||
                                  nvi_vmx_pat_is_valid(v12->guest_pat));
    if (nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_EFER)) {
        NVIRT_RULES(efer(in));
    }
    NVIRT_RULES(bounds(in));
    if (loads_cet(v12)) {
        NVIRT_RULES(cet(in));
    }
    NVIRT_RULE(VMX_GUEST_PKRS, !nvi_vmx_entry_has(v12, NVIRT_VMX_ENTRY_CTL_LOAD_PKRS) ||
                                   v12->guest_pkrs >> 32 == 0);
    return NVI_VMX_RULE_NONE;
}
