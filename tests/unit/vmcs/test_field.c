/* SPDX-License-Identifier: MIT */
/* The table of fields and the questions about single fields [SDM 3D "Field Encoding in VMCS"]. */
#include "vmcs_fixture.h"

static void lookup_finds_every_field_and_nothing_else(void **state)
{
    uint32_t found = 0;

    (void)state;
    for (uint64_t encoding = 0; encoding < 0x20000; encoding++) {
        enum nvirt_vmcs_field field = NVIRT_VMCS_FIELD_COUNT;
        bool high = false;

        if (!nvirt_vmcs_lookup(encoding, &field, &high)) {
            assert_int_equal(field, NVIRT_VMCS_FIELD_COUNT);
            continue;
        }
        assert_int_equal(nvirt_vmcs_field_encoding(field), encoding & ~UINT64_C(1));
        assert_int_equal(high, encoding & 1);
        found += !high;
        if (high) {
            assert_int_equal(nvirt_vmcs_field_width(field), NVIRT_VMCS_WIDTH_64);
        }
    }
    assert_int_equal(found, NVIRT_VMCS_FIELD_COUNT);
}

static void every_64_bit_field_has_a_high_half(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i, found;
        bool high;
        bool wide = nvirt_vmcs_field_width(field) == NVIRT_VMCS_WIDTH_64;

        assert_int_equal(nvirt_vmcs_lookup(nvirt_vmcs_field_encoding(field) | 1, &found, &high),
                         wide);
    }
}

static void lookup_refuses_reserved_bits_of_the_operand(void **state)
{
    enum nvirt_vmcs_field field;
    bool high;

    (void)state;
    assert_true(nvirt_vmcs_lookup(0x6800, &field, &high));
    assert_int_equal(field, NVIRT_VMCS_GUEST_CR0);
    for (uint32_t bit = 15; bit < 64; bit++) {
        assert_false(nvirt_vmcs_lookup(0x6800 | NVIRT_BIT(bit), &field, &high));
    }
    assert_false(nvirt_vmcs_lookup(0x6800 | NVIRT_BIT(12), &field, &high));
    /* An index beyond every table must not alias one inside. */
    for (uint64_t index = 64; index < 512; index++) {
        assert_false(nvirt_vmcs_lookup(0x6800 | index << 1, &field, &high));
        assert_false(nvirt_vmcs_lookup(0x2000 | index << 1, &field, &high));
    }
}

static void rows_agree_with_the_manual(void **state)
{
    (void)state;
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_VPID), 0);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_HOST_TR_SELECTOR), 0xC0C);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_EPTP), 0x201A);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_PHYSICAL), 0x2400);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_PDPTE3), 0x2810);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_EXIT_REASON), 0x4402);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_TR_AR), 0x4822);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_PREEMPTION_TIMER), 0x482E);
    assert_int_equal(nvirt_vmcs_field_encoding(NVIRT_VMCS_HOST_RIP), 0x6C16);
    assert_int_equal(nvirt_vmcs_field_kind(NVIRT_VMCS_EXIT_REASON), NVIRT_VMCS_KIND_EXIT);
    assert_int_equal(nvirt_vmcs_field_kind(NVIRT_VMCS_EPTP), NVIRT_VMCS_KIND_CONTROL);
    assert_int_equal(nvirt_vmcs_field_kind(NVIRT_VMCS_VMCS_LINK), NVIRT_VMCS_KIND_GUEST);
    assert_int_equal(nvirt_vmcs_field_kind(NVIRT_VMCS_HOST_RIP), NVIRT_VMCS_KIND_HOST);
    assert_string_equal(nvirt_vmcs_field_name(NVIRT_VMCS_GUEST_CR0), "GUEST_CR0");
    assert_int_equal(nvirt_vmcs_info(NVIRT_VMCS_EPTP)->group, NVIRT_VMCS_GROUP_POINTERS);
}

static void a_number_that_is_no_field_has_a_row_of_its_own(void **state)
{
    enum nvirt_vmcs_field none = (enum nvirt_vmcs_field)(NVIRT_VMCS_FIELD_COUNT + 7);

    (void)state;
    assert_string_equal(nvirt_vmcs_field_name(NVIRT_VMCS_FIELD_COUNT), "?");
    assert_string_equal(nvirt_vmcs_field_name(none), "?");
    assert_int_equal(nvirt_vmcs_field_encoding(none), 0xFFFF);
}

static void truncation_follows_the_width(void **state)
{
    const uint64_t all = ~UINT64_C(0);

    (void)state;
    assert_int_equal(nvirt_vmcs_truncate(NVIRT_VMCS_VPID, all), 0xFFFF);
    assert_int_equal(nvirt_vmcs_truncate(NVIRT_VMCS_PIN_CONTROLS, all), 0xFFFFFFFF);
    assert_true(nvirt_vmcs_truncate(NVIRT_VMCS_EPTP, all) == all);
    assert_true(nvirt_vmcs_truncate(NVIRT_VMCS_GUEST_CR3, all) == all);
}

static void members_and_array_are_the_same_storage(void **state)
{
    static struct nvirt_vmcs vmcs;

    (void)state;
    vmcs.guest_cr3 = 5;
    vmcs.field[NVIRT_VMCS_HOST_RIP] = 7;
    assert_int_equal(vmcs.field[NVIRT_VMCS_GUEST_CR3], 5);
    assert_int_equal(vmcs.host_rip, 7);
}

/* What exists for L1 is what the offer says; every gate opens with its own control alone. */
static void fields_exist_by_capability(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_CR0));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_EPTP));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_PDPTE0));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_CR3_TARGET3));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_PREEMPTION_TIMER));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_VIRTUAL_APIC_ADDR));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_APIC_ACCESS_ADDR));
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_POSTED_DESCRIPTOR));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_VMREAD_BITMAP));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_EPTP_LIST));
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_PROC3_CONTROLS));
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_S_CET));
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_FIELD_COUNT));
    assert_true(nvirt_vmcs_field_exists(&f.cpu, NVIRT_VMCS_EPTP_LIST));
}

static void each_gate_opens_with_its_control(void **state)
{
    struct nvirt_vmx_caps caps;

    (void)state;
#define OPENS(FIELD, word, mask, activate)                                                         \
    do {                                                                                           \
        memset(&caps, 0, sizeof caps);                                                             \
        assert_false(nvirt_vmcs_field_exists(&caps, NVIRT_VMCS_##FIELD));                          \
        activate;                                                                                  \
        assert_false(nvirt_vmcs_field_exists(&caps, NVIRT_VMCS_##FIELD));                          \
        caps.word |= mask;                                                                         \
        assert_true(nvirt_vmcs_field_exists(&caps, NVIRT_VMCS_##FIELD));                           \
    } while (0)
#define SECONDARY caps.proc |= NVIRT_VMX_PROC_SECONDARY << 32
#define TERTIARY caps.proc |= NVIRT_VMX_PROC_TERTIARY << 32
#define EXIT2 caps.exit |= NVIRT_VMX_EXIT_CTL_SECONDARY << 32
    OPENS(POSTED_VECTOR, pin, NVIRT_VMX_PIN_POSTED_INTERRUPTS << 32, (void)0);
    OPENS(TPR_THRESHOLD, proc, NVIRT_VMX_PROC_TPR_SHADOW << 32, (void)0);
    OPENS(PROC2_CONTROLS, proc, NVIRT_VMX_PROC_SECONDARY << 32, (void)0);
    OPENS(VPID, proc2, NVIRT_VMX_PROC2_VPID << 32, SECONDARY);
    OPENS(HLATP, proc3, NVIRT_VMX_PROC3_HLAT, TERTIARY);
    OPENS(EXIT2_CONTROLS, exit, NVIRT_VMX_EXIT_CTL_SECONDARY << 32, (void)0);
    OPENS(HOST_FRED_CONFIG, exit2, NVIRT_VMX_EXIT2_LOAD_FRED, EXIT2);
    OPENS(GUEST_FRED_CONFIG, exit2, NVIRT_VMX_EXIT2_SAVE_FRED, EXIT2);
    OPENS(GUEST_FRED_CONFIG, entry, NVIRT_VMX_ENTRY_CTL_LOAD_FRED << 32, EXIT2);
    OPENS(GUEST_PAT, entry, NVIRT_VMX_ENTRY_CTL_LOAD_PAT << 32, (void)0);
    OPENS(GUEST_PAT, exit, NVIRT_VMX_EXIT_CTL_SAVE_PAT << 32, (void)0);
    OPENS(HOST_PAT, exit, NVIRT_VMX_EXIT_CTL_LOAD_PAT << 32, (void)0);
    OPENS(EPTP_LIST, vmfunc, NVIRT_VMX_VMFUNC_EPTP_SWITCHING, SECONDARY;
          caps.proc2 |= NVIRT_VMX_PROC2_VMFUNC << 32);
    OPENS(CR3_TARGET0, misc, UINT64_C(1) << 16, (void)0);
    OPENS(CR3_TARGET3, misc, UINT64_C(4) << 16, caps.misc |= UINT64_C(3) << 16);
}

static void exit_reasons_have_names(void **state)
{
    (void)state;
    assert_string_equal(nvirt_vmx_exit_reason_name(10), "CPUID");
    assert_string_equal(nvirt_vmx_exit_reason_name(48), "EPT_VIOLATION");
    assert_string_equal(nvirt_vmx_exit_reason_name(35), "?");
    assert_string_equal(nvirt_vmx_exit_reason_name(NVIRT_VMX_EXIT_REASON_LIMIT), "?");
    assert_string_equal(nvirt_vmx_exit_reason_name(UINT32_MAX), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_finds_every_field_and_nothing_else),
        cmocka_unit_test(every_64_bit_field_has_a_high_half),
        cmocka_unit_test(lookup_refuses_reserved_bits_of_the_operand),
        cmocka_unit_test(rows_agree_with_the_manual),
        cmocka_unit_test(a_number_that_is_no_field_has_a_row_of_its_own),
        cmocka_unit_test(truncation_follows_the_width),
        cmocka_unit_test(members_and_array_are_the_same_storage),
        cmocka_unit_test(fields_exist_by_capability),
        cmocka_unit_test(each_gate_opens_with_its_control),
        cmocka_unit_test(exit_reasons_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
