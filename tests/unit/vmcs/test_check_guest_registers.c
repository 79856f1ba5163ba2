/* SPDX-License-Identifier: MIT */
/* Rules of guest registers and MSRs, each by its name [SDM 3C "Checks on Guest Control Registers,
 * Debug Registers, and MSRs"]. */
#include "vmcs_fixture.h"

static void vmx_guest_cr0_fixed(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CR0_FIXED, v->guest_cr0 &= ~NVIRT_CR0_NE);
    REFUSES(VMX_GUEST_CR0_FIXED, v->guest_cr0 |= NVIRT_BIT(32));
    REFUSES(VMX_GUEST_CR0_FIXED, fixture_guest_32(f); v->guest_cr0 &= ~NVIRT_CR0_PG);
    REFUSES(VMX_GUEST_CR0_FIXED, fixture_guest_32(f);
            v->guest_cr0 &= ~(NVIRT_CR0_PG | NVIRT_CR0_PE));
    REFUSES(VMX_GUEST_CR0_FIXED, fixture_guest_real(f); v->guest_cr0 &= ~NVIRT_CR0_NE);
    /* Unrestricted guest frees PE and PG. */
    ACCEPTS(fixture_guest_32(f); fixture_unrestricted(f); v->guest_cr0 &= ~NVIRT_CR0_PG);
    ACCEPTS(fixture_guest_real(f));
    /* CD and NW are not loaded, whatever the MSRs say of them. */
    ACCEPTS(v->guest_cr0 |= NVIRT_CR0_CD | NVIRT_CR0_NW;
            f->offer.cr0_fixed1 &= ~(NVIRT_CR0_CD | NVIRT_CR0_NW));
}

static void vmx_guest_cr0_pg_pe(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CR0_PG_PE, fixture_guest_real(f); v->guest_cr0 |= NVIRT_CR0_PG);
    ACCEPTS(fixture_guest_32(f); fixture_unrestricted(f));
}

static void vmx_guest_cr4_fixed(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CR4_FIXED, v->guest_cr4 &= ~NVIRT_CR4_VMXE);
    REFUSES(VMX_GUEST_CR4_FIXED, v->guest_cr4 |= NVIRT_BIT(15));
    REFUSES(VMX_GUEST_CR4_FIXED, v->guest_cr4 |= NVIRT_BIT(63));
    /* Unrestricted guest frees nothing of CR4. */
    REFUSES(VMX_GUEST_CR4_FIXED, fixture_guest_real(f); v->guest_cr4 &= ~NVIRT_CR4_VMXE);
    ACCEPTS(v->guest_cr4 |= NVIRT_CR4_SMEP);
}

static void vmx_guest_cet_wp(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CET_WP, v->guest_cr4 |= NVIRT_CR4_CET; v->guest_cr0 &= ~NVIRT_CR0_WP);
    ACCEPTS(v->guest_cr4 |= NVIRT_CR4_CET; v->guest_cr0 |= NVIRT_CR0_WP);
    ACCEPTS(v->guest_cr0 &= ~NVIRT_CR0_WP);
}

static void vmx_guest_debugctl(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_DEBUGCTL, v->guest_debugctl = NVIRT_BIT(3));
    REFUSES(VMX_GUEST_DEBUGCTL, v->guest_debugctl = NVIRT_BIT(63));
    ACCEPTS(v->guest_debugctl = 3);
    ACCEPTS(v->guest_debugctl = NVIRT_BIT(3);
            v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG);
}

static void vmx_guest_ia32e_pg(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_IA32E_PG, fixture_unrestricted(f); v->guest_cr0 &= ~NVIRT_CR0_PG);
}

static void vmx_guest_ia32e_pae(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_IA32E_PAE, v->guest_cr4 &= ~NVIRT_CR4_PAE);
    ACCEPTS(fixture_guest_32(f); v->guest_cr4 &= ~NVIRT_CR4_PAE);
}

static void vmx_guest_legacy_pcide(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_LEGACY_PCIDE, fixture_guest_32(f); v->guest_cr4 |= NVIRT_CR4_PCIDE);
    ACCEPTS(v->guest_cr4 |= NVIRT_CR4_PCIDE);
}

static void vmx_guest_cr3_width(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CR3_WIDTH, v->guest_cr3 |= BEYOND);
    REFUSES(VMX_GUEST_CR3_WIDTH, v->guest_cr3 |= NVIRT_BIT(63));
    ACCEPTS(v->guest_cr3 = BEYOND - 1);
}

static void vmx_guest_dr7_high(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_DR7_HIGH, v->guest_dr7 |= NVIRT_BIT(32));
    REFUSES(VMX_GUEST_DR7_HIGH, v->guest_dr7 |= NVIRT_BIT(63));
    ACCEPTS(v->guest_dr7 = FLAT);
    ACCEPTS(v->guest_dr7 |= NVIRT_BIT(32);
            v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG);
}

static void vmx_guest_sysenter_esp(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SYSENTER_ESP, v->guest_sysenter_esp = NOT_CANONICAL);
    REFUSES(VMX_GUEST_SYSENTER_ESP, v->guest_sysenter_esp = NVIRT_BIT(63));
    ACCEPTS(v->guest_sysenter_esp = NVIRT_BITS(63, 47));
}

static void vmx_guest_sysenter_eip(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SYSENTER_EIP, v->guest_sysenter_eip = NOT_CANONICAL);
    REFUSES(VMX_GUEST_SYSENTER_EIP, v->guest_sysenter_eip = NVIRT_BIT(63));
    ACCEPTS(v->guest_sysenter_eip = NVIRT_BITS(63, 47));
}

static void vmx_guest_pat(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        REFUSES(VMX_GUEST_PAT, v->guest_pat |= UINT64_C(0x80) << (8 * i));
        REFUSES(VMX_GUEST_PAT, v->guest_pat &= ~(UINT64_C(0xFF) << (8 * i));
                v->guest_pat |= UINT64_C(3) << (8 * i));
    }
    ACCEPTS(v->guest_pat = ~UINT64_C(0); v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_PAT);
}

/* An offer of the MSRs that the host's port switches, and all of them loaded. */
static void load_all(struct fixture *f)
{
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f->offer, 7), NVIRT_OK);
    f->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL |
                                NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS | NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
}

static void vmx_guest_perf_global(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PERF_GLOBAL, load_all(f); v->guest_perf_global = 0x10);
    REFUSES(VMX_GUEST_PERF_GLOBAL, load_all(f); v->guest_perf_global = NVIRT_BIT(35));
    ACCEPTS(load_all(f); v->guest_perf_global = UINT64_C(0x70000000F));
    ACCEPTS(v->guest_perf_global = ~UINT64_C(0));
}

static void vmx_guest_bndcfgs_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 2; bit < 12; bit++) {
        REFUSES(VMX_GUEST_BNDCFGS_RESERVED, load_all(f); v->guest_bndcfgs = NVIRT_BIT(bit));
    }
    ACCEPTS(load_all(f); v->guest_bndcfgs = 0x1003);
    ACCEPTS(v->guest_bndcfgs = ~UINT64_C(0));
}

static void vmx_guest_bndcfgs_canonical(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BNDCFGS_CANONICAL, load_all(f); v->guest_bndcfgs = NOT_CANONICAL | 3);
    ACCEPTS(load_all(f); v->guest_bndcfgs = (NOT_CANONICAL - 0x1000) | 3);
    ACCEPTS(load_all(f); v->guest_bndcfgs = NVIRT_BITS(63, 47) | 3);
    ACCEPTS(v->guest_bndcfgs = NOT_CANONICAL);
}

static void vmx_guest_pkrs(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PKRS, load_all(f); v->guest_pkrs = NVIRT_BIT(32));
    REFUSES(VMX_GUEST_PKRS, load_all(f); v->guest_pkrs = NVIRT_BIT(63));
    ACCEPTS(load_all(f); v->guest_pkrs = UINT64_C(0xFFFFFFFF));
    ACCEPTS(v->guest_pkrs = NVIRT_BIT(32));
}

static void vmx_guest_cet_canonical(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CET_CANONICAL, fixture_cet(f); v->guest_s_cet = NOT_CANONICAL);
    REFUSES(VMX_GUEST_CET_CANONICAL, fixture_cet(f); v->guest_ssp_table = NOT_CANONICAL);
    REFUSES(VMX_GUEST_CET_CANONICAL, fixture_cet(f); v->guest_ssp_table = NVIRT_BIT(63));
    ACCEPTS(fixture_cet(f); v->guest_s_cet = v->guest_ssp_table = NVIRT_BITS(63, 47));
    /* Outside IA-32e mode too. */
    ACCEPTS(fixture_cet(f); fixture_guest_32(f); v->guest_s_cet = NOT_CANONICAL - 0x1000);
    /* The width is the CPU's, not that of the paging mode. */
    ACCEPTS(fixture_cet(f); f->offer.cpu.linear_bits = 57;
            v->guest_s_cet = v->guest_ssp_table = NOT_CANONICAL);
    ACCEPTS(fixture_cet(f); v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_CET;
            v->guest_s_cet = v->guest_ssp_table = NOT_CANONICAL);
}

static void vmx_guest_s_cet_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 6; bit < 10; bit++) {
        REFUSES(VMX_GUEST_S_CET_RESERVED, fixture_cet(f); v->guest_s_cet = NVIRT_BIT(bit));
    }
    ACCEPTS(fixture_cet(f); v->guest_s_cet = 0x43f);
    /* A CPU without indirect branch tracking has two bits. */
    REFUSES(VMX_GUEST_S_CET_RESERVED, fixture_cet(f); f->offer.cpu.s_cet_valid = 3;
            v->guest_s_cet = 4);
    ACCEPTS(fixture_cet(f); f->offer.cpu.s_cet_valid = 3; v->guest_s_cet = 3);
    ACCEPTS(v->guest_s_cet = NVIRT_BIT(6));
}

static void vmx_guest_s_cet_tracker(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_S_CET_TRACKER, fixture_cet(f); v->guest_s_cet = 0xc04);
    ACCEPTS(fixture_cet(f); v->guest_s_cet = 0x404);
    ACCEPTS(fixture_cet(f); v->guest_s_cet = 0x804);
    ACCEPTS(v->guest_s_cet = 0xc04);
}

static void vmx_guest_efer_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_EFER_RESERVED, v->guest_efer |= NVIRT_BIT(1));
    REFUSES(VMX_GUEST_EFER_RESERVED, v->guest_efer |= NVIRT_EFER_SVME);
    ACCEPTS(v->guest_efer = ~UINT64_C(0); v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_EFER);
}

static void vmx_guest_efer_lma(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_EFER_LMA, v->guest_efer &= ~NVIRT_EFER_LMA);
    REFUSES(VMX_GUEST_EFER_LMA, fixture_guest_32(f); v->guest_efer |= NVIRT_EFER_LMA);
    ACCEPTS(v->guest_efer = 0; v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_EFER);
}

static void vmx_guest_efer_lme(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_EFER_LME, v->guest_efer &= ~NVIRT_EFER_LME);
    REFUSES(VMX_GUEST_EFER_LME, fixture_guest_32(f); v->guest_efer |= NVIRT_EFER_LME);
    /* Without paging LME may stand alone. */
    ACCEPTS(fixture_guest_real(f); v->guest_efer |= NVIRT_EFER_LME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_guest_cr0_fixed),    cmocka_unit_test(vmx_guest_cr0_pg_pe),
        cmocka_unit_test(vmx_guest_cr4_fixed),    cmocka_unit_test(vmx_guest_cet_wp),
        cmocka_unit_test(vmx_guest_debugctl),     cmocka_unit_test(vmx_guest_ia32e_pg),
        cmocka_unit_test(vmx_guest_ia32e_pae),    cmocka_unit_test(vmx_guest_legacy_pcide),
        cmocka_unit_test(vmx_guest_cr3_width),    cmocka_unit_test(vmx_guest_dr7_high),
        cmocka_unit_test(vmx_guest_sysenter_esp), cmocka_unit_test(vmx_guest_sysenter_eip),
        cmocka_unit_test(vmx_guest_perf_global),
        cmocka_unit_test(vmx_guest_bndcfgs_reserved),
        cmocka_unit_test(vmx_guest_bndcfgs_canonical),
        cmocka_unit_test(vmx_guest_pkrs),
        cmocka_unit_test(vmx_guest_cet_canonical),
        cmocka_unit_test(vmx_guest_s_cet_reserved),
        cmocka_unit_test(vmx_guest_s_cet_tracker),
        cmocka_unit_test(vmx_guest_pat),          cmocka_unit_test(vmx_guest_efer_reserved),
        cmocka_unit_test(vmx_guest_efer_lma),     cmocka_unit_test(vmx_guest_efer_lme),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
