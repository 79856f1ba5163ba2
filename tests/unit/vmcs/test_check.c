/* SPDX-License-Identifier: MIT */
/* What the files of checks share: the valid vmcs12 itself, verdicts, names, small predicates. */
#include "vmcs_fixture.h"

static void the_fixtures_are_valid(void **state)
{
    (void)state;
    ACCEPTS((void)f);
    ACCEPTS(fixture_guest_32(f));
    ACCEPTS(fixture_guest_pae(f));
    ACCEPTS(fixture_guest_v86(f));
    ACCEPTS(fixture_guest_real(f));
    ACCEPTS(fixture_unrestricted(f));
    ACCEPTS(fixture_l1_32(f));
    /* Without any secondary control. */
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY);
}

static void a_zeroed_vmcs_is_refused_by_its_first_control(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PIN_RESERVED, memset(v, 0, sizeof *v));
    REFUSES(VMX_CTL_PIN_RESERVED, memset(v, 0xFF, sizeof *v));
}

/* Controls come before host state, host state before guest state. */
static void areas_are_checked_in_the_manuals_order(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_CR3_TARGET_COUNT, v->cr3_target_count = 5; v->host_cr0 = 0; v->guest_cr0 = 0);
    REFUSES(VMX_HOST_CR0_FIXED, v->host_cr0 = 0; v->guest_cr0 = 0);
    REFUSES(VMX_GUEST_CR0_FIXED, v->guest_cr0 = 0; v->guest_rflags = 0);
}

static void every_rule_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(nvi_vmx_rule_name(NVI_VMX_RULE_NONE), "");
    assert_string_equal(nvi_vmx_rule_name(NVI_VMX_RULE_COUNT), "");
    assert_string_equal(nvi_vmx_rule_name(NVI_RULE_VMX_CTL_PIN_RESERVED), "VMX_CTL_PIN_RESERVED");
    assert_string_equal(nvi_vmx_rule_name(NVI_RULE_VMX_GUEST_PDPTE), "VMX_GUEST_PDPTE");
    for (uint32_t i = 1; i < NVI_VMX_RULE_COUNT; i++) {
        assert_true(strncmp(nvi_vmx_rule_name((enum nvi_vmx_rule)i), "VMX_", 4) == 0);
    }
}

static void canonical_addresses(void **state)
{
    (void)state;
    assert_true(nvi_vmx_canonical(0, 48));
    assert_true(nvi_vmx_canonical(UINT64_C(0x00007FFFFFFFFFFF), 48));
    assert_false(nvi_vmx_canonical(UINT64_C(0x0000800000000000), 48));
    assert_false(nvi_vmx_canonical(UINT64_C(0xFFFF7FFFFFFFFFFF), 48));
    assert_true(nvi_vmx_canonical(UINT64_C(0xFFFF800000000000), 48));
    assert_true(nvi_vmx_canonical(UINT64_C(0x00FFFFFFFFFFFFFF), 57));
    assert_false(nvi_vmx_canonical(UINT64_C(0x0100000000000000), 57));
    assert_true(nvi_vmx_canonical(~UINT64_C(0), 57));
}

static void pat_types(void **state)
{
    (void)state;
    for (uint64_t type = 0; type < 256; type++) {
        bool defined = type == 0 || type == 1 || (type >= 4 && type <= 7);

        assert_int_equal(nvi_vmx_pat_is_valid(type), defined);
        assert_int_equal(nvi_vmx_pat_is_valid(type << 56), defined);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fixtures_are_valid),
        cmocka_unit_test(a_zeroed_vmcs_is_refused_by_its_first_control),
        cmocka_unit_test(areas_are_checked_in_the_manuals_order),
        cmocka_unit_test(every_rule_has_its_name),
        cmocka_unit_test(canonical_addresses),
        cmocka_unit_test(pat_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
