/* SPDX-License-Identifier: MIT */
/*
 * The consistency checks of VMRUN: for each rule a state that breaks it and nothing else, and its
 * neighbour that is legal. [APM 2 "Canonicalization and Consistency Checks"]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmcb/vmcb_core.h"

static struct nvirt_vmcb vmcb;
static struct nvirt_svm_caps offer;
static struct nvi_svm_check_in in;

/* A 64-bit guest without nested paging that every rule accepts. */
static int good(void **state)
{
    (void)state;
    memset(&vmcb, 0, sizeof vmcb);
    memset(&offer, 0, sizeof offer);
    offer.features = NVIRT_SVM_FEATURE_NP;
    offer.physical_bits = 40;
    offer.linear_bits = 48;
    offer.long_mode = true;
    offer.nx = true;
    offer.efer_valid = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_NXE |
                       NVIRT_EFER_SVME;
    offer.cr4_valid = NVIRT_CR4_PAE | NVIRT_CR4_PGE;
    vmcb.efer = NVIRT_EFER_SVME | NVIRT_EFER_LME | NVIRT_EFER_LMA;
    vmcb.cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG;
    vmcb.cr4 = NVIRT_CR4_PAE;
    vmcb.cr3 = 0x1000;
    vmcb.dr6 = 0xffff0ff0;
    vmcb.dr7 = 0x400;
    vmcb.cs.attrib = NVIRT_VMCB_SEG_L | 0x9b;
    vmcb.asid = 1;
    vmcb.iopm_base = 0x2000;
    vmcb.msrpm_base = 0x5000;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMRUN, true);
    in.vmcb12 = &vmcb;
    in.offer = &offer;
    in.host_paging = true;
    in.fresh = NVIRT_VMCB_CLEAN_ALL;
    return 0;
}

static void expect(enum nvi_svm_rule rule)
{
    enum nvi_svm_rule found = nvi_svm_check(&in);

    if (found != rule) {
        fail_msg("expected %s, got %s", nvi_svm_rule_name(rule), nvi_svm_rule_name(found));
    }
}

#define BROKEN(name) expect(NVI_RULE_##name)
#define HOLDS() expect(NVI_SVM_RULE_NONE)

static void a_plain_guest_is_accepted(void **state)
{
    (void)state;
    HOLDS();
}

static void efer_svme_must_be_set(void **state)
{
    (void)state;
    vmcb.efer &= ~NVIRT_EFER_SVME;
    BROKEN(SVM_EFER_SVME);
}

static void cr0_nw_needs_cd(void **state)
{
    (void)state;
    vmcb.cr0 |= NVIRT_CR0_NW;
    BROKEN(SVM_CR0_CD_NW);
    vmcb.cr0 |= NVIRT_CR0_CD;
    HOLDS();
    vmcb.cr0 &= ~NVIRT_CR0_NW;
    HOLDS();
}

static void cr0_has_32_bits(void **state)
{
    (void)state;
    vmcb.cr0 |= NVIRT_BIT(31);
    HOLDS();
    vmcb.cr0 |= NVIRT_BIT(32);
    BROKEN(SVM_CR0_HIGH);
    vmcb.cr0 ^= NVIRT_BIT(32) | NVIRT_BIT(63);
    BROKEN(SVM_CR0_HIGH);
}

static void cr3_ends_at_the_physical_width(void **state)
{
    (void)state;
    vmcb.cr3 = NVIRT_BITS(39, 12) | 0x18;
    HOLDS();
    vmcb.cr3 = NVIRT_BIT(40);
    BROKEN(SVM_CR3_RESERVED);
    vmcb.cr3 = NVIRT_BIT(63);
    BROKEN(SVM_CR3_RESERVED);
}

static void cr4_has_only_offered_features(void **state)
{
    (void)state;
    vmcb.cr4 |= NVIRT_CR4_PGE;
    HOLDS();
    vmcb.cr4 |= NVIRT_CR4_SMEP;
    BROKEN(SVM_CR4_RESERVED);
    vmcb.cr4 ^= NVIRT_CR4_SMEP | NVIRT_BIT(63);
    BROKEN(SVM_CR4_RESERVED);
}

static void dr6_and_dr7_have_32_bits(void **state)
{
    (void)state;
    vmcb.dr6 = NVIRT_BITS(31, 0);
    vmcb.dr7 = NVIRT_BITS(31, 0);
    HOLDS();
    vmcb.dr6 = NVIRT_BIT(32);
    BROKEN(SVM_DR6_HIGH);
    vmcb.dr6 = 0;
    vmcb.dr7 = NVIRT_BIT(32);
    BROKEN(SVM_DR7_HIGH);
}

static void long_mode_bits_need_long_mode(void **state)
{
    (void)state;
    offer.long_mode = false;
    BROKEN(SVM_EFER_LONG_MODE);
    vmcb.efer = NVIRT_EFER_SVME | NVIRT_EFER_LMA;
    BROKEN(SVM_EFER_LONG_MODE);
    vmcb.efer = NVIRT_EFER_SVME;
    vmcb.cs.attrib = 0x9b;
    HOLDS();
}

static void efer_has_only_offered_features(void **state)
{
    (void)state;
    vmcb.efer |= NVIRT_EFER_NXE | NVIRT_EFER_SCE;
    HOLDS();
    vmcb.efer |= NVIRT_EFER_TCE;
    BROKEN(SVM_EFER_RESERVED);
}

static void long_mode_needs_pae(void **state)
{
    (void)state;
    vmcb.cr4 &= ~NVIRT_CR4_PAE;
    BROKEN(SVM_LONG_MODE_PAE);
    vmcb.cr0 &= ~NVIRT_CR0_PG;
    HOLDS();
}

/* CVE-2023-30456: contradictions between CR0, CR4 and EFER that L1 gives L2. */
static void long_mode_needs_protection(void **state)
{
    (void)state;
    vmcb.cr0 &= ~NVIRT_CR0_PE;
    BROKEN(SVM_LONG_MODE_PE);
    /* [APM 2 "Paged Real Mode"]: PG without PE is legal outside long mode. */
    vmcb.efer = NVIRT_EFER_SVME;
    HOLDS();
}

static void long_code_segment_is_not_also_32_bit(void **state)
{
    (void)state;
    vmcb.cs.attrib |= NVIRT_VMCB_SEG_DB;
    BROKEN(SVM_LONG_MODE_CS);
    vmcb.cs.attrib &= (uint16_t)~NVIRT_VMCB_SEG_L;
    HOLDS();
    vmcb.cs.attrib |= NVIRT_VMCB_SEG_L;
    vmcb.efer = NVIRT_EFER_SVME;
    HOLDS();
}

static void vmrun_must_be_intercepted(void **state)
{
    (void)state;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMRUN, false);
    BROKEN(SVM_VMRUN_INTERCEPT);
}

/* Xen: an address of a permission map that was not range-checked. */
static void msr_map_lies_below_the_limit(void **state)
{
    (void)state;
    vmcb.msrpm_base = NVIRT_BIT(40) - 0x2000;
    HOLDS();
    vmcb.msrpm_base = NVIRT_BIT(40) - 0x2000 + 0xfff; /* the low bits are ignored */
    HOLDS();
    vmcb.msrpm_base = NVIRT_BIT(40) - 0x1000;
    BROKEN(SVM_MSRPM_RANGE);
    vmcb.msrpm_base = NVIRT_BIT(40);
    BROKEN(SVM_MSRPM_RANGE);
    vmcb.msrpm_base = ~UINT64_C(0);
    BROKEN(SVM_MSRPM_RANGE);
}

static void io_map_lies_below_the_limit(void **state)
{
    (void)state;
    vmcb.iopm_base = NVIRT_BIT(40) - 0x3000;
    HOLDS();
    vmcb.iopm_base = NVIRT_BIT(40) - 0x2000;
    BROKEN(SVM_IOPM_RANGE);
    vmcb.iopm_base = NVIRT_BIT(63);
    BROKEN(SVM_IOPM_RANGE);
}

static uint64_t event(uint64_t type, uint64_t vector)
{
    return NVIRT_SVM_EVENT_VALID | type << NVIRT_SVM_EVENT_TYPE_SHIFT | vector;
}

static void event_types_exist(void **state)
{
    static const uint8_t legal[] = {0, 2, 3, 4}, reserved[] = {1, 5, 6, 7};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        vmcb.event_inj = event(legal[i], 13);
        HOLDS();
        vmcb.event_inj = event(reserved[i], 13);
        BROKEN(SVM_EVENT_TYPE);
        vmcb.event_inj &= ~NVIRT_SVM_EVENT_VALID;
        HOLDS();
    }
}

static void exception_vectors_exist(void **state)
{
    (void)state;
    vmcb.event_inj = event(3, 31);
    HOLDS();
    vmcb.event_inj = event(3, 32);
    BROKEN(SVM_EVENT_VECTOR);
    vmcb.event_inj = event(3, 2);
    BROKEN(SVM_EVENT_VECTOR);
    vmcb.event_inj = event(0, 255);
    HOLDS();
}

static void asid_is_not_the_hosts(void **state)
{
    (void)state;
    vmcb.asid = 0;
    BROKEN(SVM_ASID_ZERO);
}

static void nested_paging(uint64_t n_cr3, uint64_t pat)
{
    vmcb.np_control = NVIRT_SVM_NP_ENABLE;
    vmcb.n_cr3 = n_cr3;
    vmcb.g_pat = pat;
}

#define PAT_AT_RESET UINT64_C(0x0007040600070406)

static void nested_paging_needs_a_paging_host(void **state)
{
    (void)state;
    nested_paging(0x1000, PAT_AT_RESET);
    HOLDS();
    in.host_paging = false;
    BROKEN(SVM_NP_HOST_PAGING);
    vmcb.np_control = 0;
    HOLDS();
}

static void nested_cr3_ends_at_the_physical_width(void **state)
{
    (void)state;
    nested_paging(NVIRT_BITS(39, 0), PAT_AT_RESET);
    HOLDS();
    vmcb.n_cr3 = NVIRT_BIT(40);
    BROKEN(SVM_NP_CR3);
    vmcb.np_control = 0;
    HOLDS();
    vmcb.np_control = NVIRT_SVM_NP_ENABLE;
    offer.features = 0; /* a CPU without it does not look at the bit */
    HOLDS();
}

static void nested_pat_types_exist(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < 8; slot++) {
        for (uint64_t type = 0; type < 256; type++) {
            nested_paging(0x1000, type << (slot * 8));
            expect(type < 8 && type != 2 && type != 3 ? NVI_SVM_RULE_NONE : NVI_RULE_SVM_NP_PAT);
        }
    }
    vmcb.np_control = 0;
    HOLDS();
}

/* [APM 2 "NMI Virtualization"] */
static void virtual_nmis_need_the_nmi_intercept(void **state)
{
    (void)state;
    vmcb.int_ctl = NVIRT_SVM_V_NMI_ENABLE;
    HOLDS(); /* not offered: no such bit */
    offer.features |= NVIRT_SVM_FEATURE_VNMI;
    BROKEN(SVM_VNMI_INTERCEPT);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    HOLDS();
    vmcb.int_ctl = 0;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, false);
    HOLDS();
    vmcb.int_ctl = NVIRT_SVM_V_NMI_ENABLE;
    in.fresh = NVIRT_VMCB_CLEAN_TPR;
    BROKEN(SVM_VNMI_INTERCEPT);
}

/* [APM 2 "VMCB Clean Field"]: what did not change since it was accepted is not looked at again; the
 * event, which no bit covers, always is, and so is L1's own paging. */
static void clean_groups_are_not_checked_again(void **state)
{
    static const struct nvirt_svm_caps none;

    (void)state;
    in.fresh = 0;
    in.offer = &none;
    vmcb.cr0 = vmcb.cr3 = vmcb.cr4 = vmcb.dr6 = vmcb.dr7 = ~UINT64_C(0);
    vmcb.intercepts[4] = 0;
    vmcb.iopm_base = ~UINT64_C(0);
    vmcb.asid = 0;
    HOLDS();
    for (uint32_t group = 1; group < NVIRT_VMCB_CLEAN_CR2; group <<= 1) {
        in.fresh = group;
        if ((group & (NVIRT_VMCB_CLEAN_TPR | NVIRT_VMCB_CLEAN_NP | NVIRT_VMCB_CLEAN_DT |
                      NVIRT_VMCB_CLEAN_SEG)) == 0) {
            assert_int_not_equal(nvi_svm_check(&in), NVI_SVM_RULE_NONE);
        }
    }
    in.fresh = 0;
    vmcb.event_inj = NVIRT_SVM_EVENT_VALID | 1 << NVIRT_SVM_EVENT_TYPE_SHIFT;
    BROKEN(SVM_EVENT_TYPE);
}

static void a_clean_nested_paging_still_needs_a_paging_host(void **state)
{
    (void)state;
    nested_paging(~UINT64_C(0), ~UINT64_C(0));
    in.fresh = 0;
    HOLDS();
    in.host_paging = false;
    BROKEN(SVM_NP_HOST_PAGING);
}

/* A rule about two groups is asked when either changed. */
static void long_code_segment_is_checked_with_either_group(void **state)
{
    (void)state;
    vmcb.cs.attrib |= NVIRT_VMCB_SEG_DB;
    in.fresh = NVIRT_VMCB_CLEAN_SEG;
    BROKEN(SVM_LONG_MODE_CS);
    in.fresh = NVIRT_VMCB_CLEAN_CRX;
    BROKEN(SVM_LONG_MODE_CS);
    in.fresh = ~(uint32_t)(NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_SEG);
    HOLDS();
}

static void rules_have_names(void **state)
{
    (void)state;
    assert_string_equal(nvi_svm_rule_name(NVI_RULE_SVM_ASID_ZERO), "SVM_ASID_ZERO");
    assert_string_equal(nvi_svm_rule_name(NVI_SVM_RULE_NONE), "");
    assert_string_equal(nvi_svm_rule_name(NVI_SVM_RULE_COUNT), "");
    for (int rule = 1; rule < NVI_SVM_RULE_COUNT; rule++) {
        assert_int_not_equal(strlen(nvi_svm_rule_name((enum nvi_svm_rule)rule)), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_plain_guest_is_accepted, good),
        cmocka_unit_test_setup(efer_svme_must_be_set, good),
        cmocka_unit_test_setup(cr0_nw_needs_cd, good),
        cmocka_unit_test_setup(cr0_has_32_bits, good),
        cmocka_unit_test_setup(cr3_ends_at_the_physical_width, good),
        cmocka_unit_test_setup(cr4_has_only_offered_features, good),
        cmocka_unit_test_setup(dr6_and_dr7_have_32_bits, good),
        cmocka_unit_test_setup(long_mode_bits_need_long_mode, good),
        cmocka_unit_test_setup(efer_has_only_offered_features, good),
        cmocka_unit_test_setup(long_mode_needs_pae, good),
        cmocka_unit_test_setup(long_mode_needs_protection, good),
        cmocka_unit_test_setup(long_code_segment_is_not_also_32_bit, good),
        cmocka_unit_test_setup(vmrun_must_be_intercepted, good),
        cmocka_unit_test_setup(msr_map_lies_below_the_limit, good),
        cmocka_unit_test_setup(io_map_lies_below_the_limit, good),
        cmocka_unit_test_setup(event_types_exist, good),
        cmocka_unit_test_setup(exception_vectors_exist, good),
        cmocka_unit_test_setup(asid_is_not_the_hosts, good),
        cmocka_unit_test_setup(nested_paging_needs_a_paging_host, good),
        cmocka_unit_test_setup(nested_cr3_ends_at_the_physical_width, good),
        cmocka_unit_test_setup(nested_pat_types_exist, good),
        cmocka_unit_test_setup(virtual_nmis_need_the_nmi_intercept, good),
        cmocka_unit_test_setup(clean_groups_are_not_checked_again, good),
        cmocka_unit_test_setup(a_clean_nested_paging_still_needs_a_paging_host, good),
        cmocka_unit_test_setup(long_code_segment_is_checked_with_either_group, good),
        cmocka_unit_test(rules_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
