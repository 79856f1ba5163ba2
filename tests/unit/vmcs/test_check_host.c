/* SPDX-License-Identifier: MIT */
/* Rules of the host-state area [SDM 3C "Checks on Host-State Area"], each by its name. */
#include "vmcs_fixture.h"

static void vmx_host_cr0_fixed(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_CR0_FIXED, v->host_cr0 &= ~NVIRT_CR0_PE);
    REFUSES(VMX_HOST_CR0_FIXED, v->host_cr0 &= ~NVIRT_CR0_NE);
    REFUSES(VMX_HOST_CR0_FIXED, v->host_cr0 &= ~NVIRT_CR0_PG);
    REFUSES(VMX_HOST_CR0_FIXED, v->host_cr0 |= NVIRT_BIT(32));
    /* Unrestricted guest frees nothing of the host's. */
    REFUSES(VMX_HOST_CR0_FIXED, fixture_unrestricted(f); v->host_cr0 &= ~NVIRT_CR0_PG);
    ACCEPTS(v->host_cr0 = f->offer.cr0_fixed0);
}

static void vmx_host_cr4_fixed(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_CR4_FIXED, v->host_cr4 &= ~NVIRT_CR4_VMXE);
    REFUSES(VMX_HOST_CR4_FIXED, v->host_cr4 |= NVIRT_BIT(15));
    REFUSES(VMX_HOST_CR4_FIXED, v->host_cr4 |= NVIRT_BIT(63));
    /* A bit that CPUID hides from L1. */
    REFUSES(VMX_HOST_CR4_FIXED, v->host_cr4 |= NVIRT_CR4_SMAP;
            f->offer.cr4_fixed1 &= ~NVIRT_CR4_SMAP);
    ACCEPTS(v->host_cr4 |= NVIRT_CR4_SMAP);
}

static void vmx_host_cet_wp(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_CET_WP, v->host_cr4 |= NVIRT_CR4_CET; v->host_cr0 &= ~NVIRT_CR0_WP);
    ACCEPTS(v->host_cr4 |= NVIRT_CR4_CET; v->host_cr0 |= NVIRT_CR0_WP);
    ACCEPTS(v->host_cr0 &= ~NVIRT_CR0_WP);
}

static void vmx_host_cr3_width(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_CR3_WIDTH, v->host_cr3 |= BEYOND);
    REFUSES(VMX_HOST_CR3_WIDTH, v->host_cr3 |= NVIRT_BIT(63));
    ACCEPTS(v->host_cr3 = BEYOND - 1);
}

static void vmx_host_sysenter_esp(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_SYSENTER_ESP, v->host_sysenter_esp = NOT_CANONICAL);
    REFUSES(VMX_HOST_SYSENTER_ESP, v->host_sysenter_esp = NVIRT_BIT(63));
    ACCEPTS(v->host_sysenter_esp = NOT_CANONICAL - 1);
    ACCEPTS(v->host_sysenter_esp = NVIRT_BITS(63, 47));
}

static void vmx_host_sysenter_eip(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_SYSENTER_EIP, v->host_sysenter_eip = NOT_CANONICAL);
    REFUSES(VMX_HOST_SYSENTER_EIP, v->host_sysenter_eip = NVIRT_BIT(63));
    ACCEPTS(v->host_sysenter_eip = NVIRT_BITS(63, 47));
}

static void vmx_host_pat(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        REFUSES(VMX_HOST_PAT, v->host_pat |= UINT64_C(8) << (8 * i));
        REFUSES(VMX_HOST_PAT, v->host_pat &= ~(UINT64_C(0xFF) << (8 * i));
                v->host_pat |= UINT64_C(2) << (8 * i));
    }
    ACCEPTS(v->host_pat = UINT64_C(0x0706050401000007));
    ACCEPTS(v->host_pat = ~UINT64_C(0); v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_LOAD_PAT);
}

/* An offer of the MSRs that the host's port switches, and those of exits loaded. */
static void load_all(struct fixture *f)
{
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f->offer, 7), NVIRT_OK);
    f->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL |
                               NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS | NVIRT_VMX_EXIT_CTL_LOAD_PKRS;
}

static void vmx_host_perf_global(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_PERF_GLOBAL, load_all(f); v->host_perf_global = 0x10);
    REFUSES(VMX_HOST_PERF_GLOBAL, load_all(f); v->host_perf_global = NVIRT_BIT(35));
    ACCEPTS(load_all(f); v->host_perf_global = UINT64_C(0x70000000F));
    ACCEPTS(v->host_perf_global = ~UINT64_C(0));
}

static void vmx_host_pkrs(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_PKRS, load_all(f); v->host_pkrs = NVIRT_BIT(32));
    ACCEPTS(load_all(f); v->host_pkrs = UINT64_C(0xFFFFFFFF));
    ACCEPTS(v->host_pkrs = NVIRT_BIT(32));
}

static void vmx_host_ssp_table(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_SSP_TABLE, fixture_cet(f); v->host_ssp_table = NOT_CANONICAL);
    REFUSES(VMX_HOST_SSP_TABLE, fixture_cet(f); fixture_l1_32(f);
            v->host_ssp_table = NVIRT_BIT(63));
    ACCEPTS(fixture_cet(f); v->host_ssp_table = NVIRT_BITS(63, 47));
    ACCEPTS(v->host_ssp_table = NOT_CANONICAL);
}

static void vmx_host_s_cet_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 6; bit < 10; bit++) {
        REFUSES(VMX_HOST_S_CET_RESERVED, fixture_cet(f); v->host_s_cet = NVIRT_BIT(bit));
    }
    REFUSES(VMX_HOST_S_CET_RESERVED, fixture_cet(f); f->offer.cpu.s_cet_valid = 3;
            v->host_s_cet = 4);
    ACCEPTS(fixture_cet(f); v->host_s_cet = 0x83f);
    ACCEPTS(v->host_s_cet = NVIRT_BIT(6));
}

static void vmx_host_s_cet_tracker(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_S_CET_TRACKER, fixture_cet(f); v->host_s_cet = 0xc00);
    ACCEPTS(fixture_cet(f); v->host_s_cet = 0x400);
    ACCEPTS(fixture_cet(f); v->host_s_cet = 0x800);
    ACCEPTS(v->host_s_cet = 0xc00);
}

static void vmx_host_ssp_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_SSP_ALIGNED, fixture_cet(f); v->host_ssp = 0x1001);
    REFUSES(VMX_HOST_SSP_ALIGNED, fixture_cet(f); v->host_ssp = 0x1002);
    ACCEPTS(fixture_cet(f); v->host_ssp = 0x1004);
    ACCEPTS(v->host_ssp = 3);
}

static void vmx_host_32_cet(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_32_CET, fixture_cet(f); fixture_l1_32(f); v->host_s_cet = NVIRT_BIT(32));
    REFUSES(VMX_HOST_32_CET, fixture_cet(f); fixture_l1_32(f); v->host_ssp = NVIRT_BIT(32));
    ACCEPTS(fixture_cet(f); fixture_l1_32(f); v->host_s_cet = 0xfffff000;
            v->host_ssp = 0xfffffffc);
    ACCEPTS(fixture_l1_32(f); v->host_s_cet = v->host_ssp = NVIRT_BIT(32));
}

static void vmx_host_64_cet(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_64_CET, fixture_cet(f); v->host_s_cet = NOT_CANONICAL);
    REFUSES(VMX_HOST_64_CET, fixture_cet(f); v->host_ssp = NOT_CANONICAL);
    ACCEPTS(fixture_cet(f); v->host_s_cet = v->host_ssp = NVIRT_BITS(63, 47));
    ACCEPTS(v->host_s_cet = v->host_ssp = NOT_CANONICAL);
}

static void vmx_host_efer_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_EFER_RESERVED, v->host_efer |= NVIRT_BIT(1));
    REFUSES(VMX_HOST_EFER_RESERVED, v->host_efer |= NVIRT_EFER_SVME);
    REFUSES(VMX_HOST_EFER_RESERVED, v->host_efer |= NVIRT_BIT(63));
    ACCEPTS(v->host_efer |= NVIRT_BIT(1); v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_LOAD_EFER);
}

static void vmx_host_efer_lma(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_EFER_LMA, v->host_efer &= ~NVIRT_EFER_LMA);
    REFUSES(VMX_HOST_EFER_LMA, fixture_l1_32(f); v->host_efer |= NVIRT_EFER_LMA);
    ACCEPTS(v->host_efer = 0; v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_LOAD_EFER);
}

static void vmx_host_efer_lme(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_EFER_LME, v->host_efer &= ~NVIRT_EFER_LME);
    REFUSES(VMX_HOST_EFER_LME, fixture_l1_32(f); v->host_efer |= NVIRT_EFER_LME);
    ACCEPTS(fixture_l1_32(f));
}

static void vmx_host_selectors(void **state)
{
    (void)state;
    for (uint64_t bit = 1; bit <= 4; bit <<= 1) {
        REFUSES(VMX_HOST_SELECTORS, v->host_cs_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_ss_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_ds_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_es_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_fs_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_gs_selector |= bit);
        REFUSES(VMX_HOST_SELECTORS, v->host_tr_selector |= bit);
    }
    ACCEPTS(v->host_fs_selector = 0xFFF8; v->host_gs_selector = 8);
}

static void vmx_host_cs_null(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_CS_NULL, v->host_cs_selector = 0);
    ACCEPTS(v->host_cs_selector = 8);
}

static void vmx_host_tr_null(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_TR_NULL, v->host_tr_selector = 0);
    ACCEPTS(v->host_tr_selector = 8);
}

static void vmx_host_ss_null(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_SS_NULL, fixture_l1_32(f); v->host_ss_selector = 0);
    ACCEPTS(v->host_ss_selector = 0);
}

static void vmx_host_bases(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_BASES, v->host_fs_base = NOT_CANONICAL);
    REFUSES(VMX_HOST_BASES, v->host_gs_base = NOT_CANONICAL);
    REFUSES(VMX_HOST_BASES, v->host_tr_base = NOT_CANONICAL);
    REFUSES(VMX_HOST_BASES, v->host_gdtr_base = NOT_CANONICAL);
    REFUSES(VMX_HOST_BASES, v->host_idtr_base = NOT_CANONICAL);
    /* The width is the CPU's, not that of the paging mode. */
    ACCEPTS(v->host_fs_base = NOT_CANONICAL; f->offer.cpu.linear_bits = 57);
    REFUSES(VMX_HOST_BASES, v->host_fs_base = NVIRT_BIT(56); f->offer.cpu.linear_bits = 57);
}

static void vmx_host_legacy_entry(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_LEGACY_ENTRY, f->in.l1_ia32e = false);
    REFUSES(VMX_HOST_LEGACY_ENTRY, fixture_l1_32(f);
            v->entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E);
}

static void vmx_host_legacy_size(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_LEGACY_SIZE, fixture_guest_32(f); f->in.l1_ia32e = false);
}

static void vmx_host_ia32e_size(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_IA32E_SIZE, fixture_l1_32(f); f->in.l1_ia32e = true);
}

static void vmx_host_32_pcide(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_32_PCIDE, fixture_l1_32(f); v->host_cr4 |= NVIRT_CR4_PCIDE);
    ACCEPTS(v->host_cr4 |= NVIRT_CR4_PCIDE);
}

static void vmx_host_32_rip(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_32_RIP, fixture_l1_32(f); v->host_rip = NVIRT_BIT(32));
    REFUSES(VMX_HOST_32_RIP, fixture_l1_32(f); v->host_rip = NVIRT_BIT(63));
    ACCEPTS(fixture_l1_32(f); v->host_rip = FLAT);
}

static void vmx_host_64_pae(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_64_PAE, v->host_cr4 &= ~NVIRT_CR4_PAE);
    ACCEPTS(fixture_l1_32(f); v->host_cr4 &= ~NVIRT_CR4_PAE);
}

static void vmx_host_64_rip(void **state)
{
    (void)state;
    REFUSES(VMX_HOST_64_RIP, v->host_rip = NOT_CANONICAL);
    REFUSES(VMX_HOST_64_RIP, v->host_rip = NVIRT_BIT(63));
    ACCEPTS(v->host_rip = NOT_CANONICAL - 1);
    /* By the mode the exit starts: wider with CR4.LA57 only. */
    REFUSES(VMX_HOST_64_RIP, f->offer.cpu.linear_bits = 57; v->host_rip = NOT_CANONICAL);
    ACCEPTS(f->offer.cpu.linear_bits = 57; f->offer.cr4_fixed1 |= NVIRT_CR4_LA57;
            v->host_cr4 |= NVIRT_CR4_LA57; v->host_rip = NOT_CANONICAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_host_cr0_fixed),    cmocka_unit_test(vmx_host_cr4_fixed),
        cmocka_unit_test(vmx_host_cet_wp),       cmocka_unit_test(vmx_host_cr3_width),
        cmocka_unit_test(vmx_host_sysenter_esp), cmocka_unit_test(vmx_host_sysenter_eip),
        cmocka_unit_test(vmx_host_perf_global),
        cmocka_unit_test(vmx_host_pkrs),
        cmocka_unit_test(vmx_host_ssp_table),    cmocka_unit_test(vmx_host_s_cet_reserved),
        cmocka_unit_test(vmx_host_s_cet_tracker), cmocka_unit_test(vmx_host_ssp_aligned),
        cmocka_unit_test(vmx_host_32_cet),       cmocka_unit_test(vmx_host_64_cet),
        cmocka_unit_test(vmx_host_pat),          cmocka_unit_test(vmx_host_efer_reserved),
        cmocka_unit_test(vmx_host_efer_lma),     cmocka_unit_test(vmx_host_efer_lme),
        cmocka_unit_test(vmx_host_selectors),    cmocka_unit_test(vmx_host_cs_null),
        cmocka_unit_test(vmx_host_tr_null),      cmocka_unit_test(vmx_host_ss_null),
        cmocka_unit_test(vmx_host_bases),        cmocka_unit_test(vmx_host_legacy_entry),
        cmocka_unit_test(vmx_host_legacy_size),  cmocka_unit_test(vmx_host_ia32e_size),
        cmocka_unit_test(vmx_host_32_pcide),     cmocka_unit_test(vmx_host_32_rip),
        cmocka_unit_test(vmx_host_64_pae),       cmocka_unit_test(vmx_host_64_rip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
