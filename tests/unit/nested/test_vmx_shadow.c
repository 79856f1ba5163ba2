/* SPDX-License-Identifier: MIT */
/*
 * The shadow VMCS: which fields L1 reaches without an exit, that it reads there what vmcs12 says, and
 * that what it writes there is seen by whatever comes next.
 */
#include "vmx_world.h"

static uint64_t shadow_hpa(struct world *w)
{
    return w->v->now->shadow.hpa.value;
}

static uint64_t in_shadow(struct world *w, enum nvirt_vmcs_field field)
{
    return fake_cpu_field(&w->cpu, shadow_hpa(w), nvirt_vmcs_field_encoding(field));
}

static bool passes(struct world *w, bool write, uint32_t encoding)
{
    const uint8_t *bitmap = nvirt_port_page_pointer(
        w->port, write ? w->v->shadow.write_bitmap : w->v->shadow.read_bitmap);

    return (bitmap[encoding / 8] >> encoding % 8 & 1) == 0;
}

/* [SDM 3C "VMCS-Shadowing Bitmap Addresses"]: a set bit is an exit. Just these pass; upper halves,
 * encodings of nothing and fields that L1 is not offered exit. */
static void only_listed_fields_pass(void **state)
{
    static const uint16_t reads[] = {
        0x2400, 0x4400, 0x4402, 0x4404, 0x4406, 0x4408, 0x440a, 0x440c, 0x440e, 0x6400, 0x640a,
        0x4816, 0x4818, 0x6800, 0x6804, 0x681c, 0x681e, 0x6820, 0x4824, 0x4016, 0x4018, 0x401a,
        0x4002,
    };
    static const uint16_t writes[] = { 0x681c, 0x681e, 0x6820, 0x4824, 0x4016, 0x4018, 0x401a,
                                       0x4002 };
    struct world *w = *state;
    uint32_t found = 0;

    for (uint32_t encoding = 0; encoding < 0x8000; encoding++)
        found += (passes(w, false, encoding) ? 1u : 0u) + (passes(w, true, encoding) ? 0x100u : 0u);
    assert_int_equal(found & 0xff, sizeof reads / sizeof reads[0]);
    assert_int_equal(found >> 8, sizeof writes / sizeof writes[0]);
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++)
        assert_true(passes(w, false, reads[i]));
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++)
        assert_true(passes(w, true, writes[i]));
}

/* An L1 without EPT has no guest-physical address to read: VMfail, which takes the exit. */
static void a_field_that_is_not_offered_exits(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_caps narrow = w->offer;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    narrow.proc2 &= ~((NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED) << 32);
    narrow.ept_vpid &= ~(NVIRT_VMX_EPT_CAP_INVEPT | NVIRT_VMX_EPT_CAP_INVEPT_SINGLE |
                         NVIRT_VMX_EPT_CAP_INVEPT_ALL);
    w->offer = narrow;
    world_vcpu(w);
    assert_false(passes(w, false, 0x2400));
    assert_true(passes(w, false, 0x4402));
}

/* [SDM 3C "VMREAD"]: without a current VMCS, and outside VMX operation, the instruction is to fail or
 * fault as ever, so the control is off. The host reads its own fields. */
static void it_is_used_while_there_is_a_current_vmcs(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0);
    assert_true(HW(w, VMCS_LINK) == ~UINT64_C(0));
    vmxon(w);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0);
    load_vmcs12(w, VMCS12);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0);
    assert_true(HW(w, VMCS_LINK) == shadow_hpa(w));
    assert_true(HW(w, VMREAD_BITMAP) == w->v->shadow.read_bitmap.value);
    assert_true(HW(w, VMWRITE_BITMAP) == w->v->shadow.write_bitmap.value);
    assert_true((GET1(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0);
    assert_true(GET1(w, VMCS_LINK) == ~UINT64_C(0));
    SET1(w, PROC2_CONTROLS, GET1(w, PROC2_CONTROLS) | NVIRT_VMX_PROC2_WBINVD);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_WBINVD) != 0);
    fill_vmcs12(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0);
    assert_true(HW(w, VMCS_LINK) == ~UINT64_C(0));
    w->v->prepared = true;
    l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0);
}

/* [SDM 3C "Format of the VMCS Region"]: bit 31 of the first word. */
static void its_region_is_marked_as_a_shadow(void **state)
{
    struct world *w = *state;
    uint32_t word;

    memcpy(&word, nvirt_port_page_pointer(w->port, w->v->now->shadow.hpa), sizeof word);
    assert_int_equal(word, 0x80000000u | REVISION);
}

static void a_cpu_that_lacks_a_part_of_it_does_without(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_caps caps = w->caps;

    assert_true(nvi_shadow_is_usable(&caps));
    caps.misc &= ~NVIRT_VMX_MISC_VMWRITE_ANY;
    assert_false(nvi_shadow_is_usable(&caps));
    caps = w->caps;
    caps.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    assert_false(nvi_shadow_is_usable(&caps));
}

/* What an exit and what a failed instruction tell is there when L1 goes on. */
static void l1_reads_there_what_the_exit_told(void **state)
{
    static const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x440c, 2 }, { 0x6400, 0 },
        { 0x681e, 0x1111 }, { 0x681c, 0x2222 }, { 0x6820, 0x246 }, { 0x4824, 8 },
        { 0x4816, 0xa0fb }, { 0x6800, 0x80010033 },
    };
    struct world *w = *state;

    launch_l2(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    prepare(w);
    assert_true(in_shadow(w, NVIRT_VMCS_EXIT_REASON) == NVIRT_VMX_EXIT_CPUID);
    assert_true(in_shadow(w, NVIRT_VMCS_EXIT_INSN_LENGTH) == 2);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_RIP) == 0x1111);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_RSP) == 0x2222);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_RFLAGS) == 0x246);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_INTERRUPTIBILITY) == 8);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_CS_AR) == 0xa0fb);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_CR0) == 0x80010033);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0); /* It is launched: VMfail. */
    prepare(w);
    assert_true(in_shadow(w, NVIRT_VMCS_VM_INSTRUCTION_ERROR) ==
                NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR);
    /* A write that exits, of a field whose reads do not. */
    w->gprs.r[NVIRT_RAX] = 0x80010035;
    w->gprs.r[NVIRT_RCX] = 0x6800;
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
    prepare(w);
    assert_true(in_shadow(w, NVIRT_VMCS_GUEST_CR0) == 0x80010035);
}

/* An error code that L1 wrote earlier goes with an event that it makes valid entries later. */
static void what_an_entry_does_not_look_at_is_not_lost(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_cpuid(w);
    WRITE12(w, ENTRY_ERROR_CODE, 0x55);
    WRITE12(w, ENTRY_INSN_LENGTH, 3);
    for (size_t i = 0; i < 3; i++) {
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
    }
    WRITE12(w, ENTRY_INTERRUPTION, 0x80000b0d);
    assert_true(READ12(w, ENTRY_ERROR_CODE) == 0x55);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0d);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 0x55);
    w->v->prepared = true;
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_true(READ12(w, ENTRY_INTERRUPTION) == 0xb0d); /* The valid bit is cleared. */
    assert_true(READ12(w, ENTRY_INSN_LENGTH) == 3);
}

/* VMCLEAR, VMPTRLD of another and back, leave_cpu: each takes along what L1 wrote. */
static void what_l1_wrote_there_goes_where_vmcs12_goes(void **state)
{
    struct world *w = *state;
    uint64_t field = 16 + 8 * NVIRT_VMCS_GUEST_RSP;

    launch_l2(w);
    l2_cpuid(w);
    WRITE12(w, GUEST_RSP, 0x1234);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    WRITE12(w, GUEST_RSP, 0x5678);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    assert_true(READ12(w, GUEST_RSP) == 0x1234);
    WRITE12(w, GUEST_RSP, 0x9abc);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    assert_false(fake_cpu_region(&w->cpu, shadow_hpa(w))->active);
    assert_true(READ12(w, GUEST_RSP) == 0x9abc);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    assert_true(fake_vm_get64(w->port, VMCS12 + field) == 0x9abc);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12_B);
    assert_true(fake_vm_get64(w->port, VMCS12_B + field) == 0x5678);
}

/* The upper half of a field is no field of the bitmaps: it exits, and has what the lower one has. */
static void upper_halves_go_with_the_lower_ones(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_cpuid(w);
    w->v->vmcs12.guest_physical = UINT64_C(0x1234567000);
    w->gprs.r[NVIRT_RCX] = 0x2401;
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
    assert_true(w->gprs.r[NVIRT_RAX] == 0x12);
}

/* The round trip of an L1 that reads eight of its fields and writes three: no exit but VMRESUME. */
static void a_round_trip_costs_at_most_ninety_accesses(void **state)
{
    struct world *w = *state;
    struct nvirt_stats before;
    const struct nvirt_stats *now = &w->v->stats;

    ready_to_launch(w);
    w->v->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_LOAD_PAT;
    w->v->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PAT;
    w->v->vmcs12.guest_pat = w->v->vmcs12.host_pat = 0x0007040600070406;
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    for (uint64_t round = 0; round < 3; round++) {
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        prepare(w);
        before = *now;
        WRITE12(w, GUEST_RIP, READ12(w, GUEST_RIP) + 2);
        WRITE12(w, GUEST_INTERRUPTIBILITY, READ12(w, GUEST_INTERRUPTIBILITY) & ~UINT64_C(3));
        WRITE12(w, ENTRY_INTERRUPTION, 0);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    prepare(w);
    assert_in_range(now->vmreads - before.vmreads + now->vmwrites - before.vmwrites, 60, 90);
    assert_int_equal(now->vmptrlds - before.vmptrlds, 4);
    w->v->prepared = false;
}

/* [SDM 3C "VMCLEAR"]: until it has been executed on the region, the region is no VMCS. What hardware refused is
 * not made current later, to look for values of L1's in it. */
static void one_that_could_not_be_cleared_is_not_active(void **state)
{
    struct world *w = *state;

    prepare(w);
    w->v->prepared = false;
    vmxon(w);
    load_vmcs12(w, VMCS12);
    w->v->now->shadow.initialised = false;
    w->v->now->shadow_due = true;
    w->cpu.fail_vmclear = 1;
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_HARDWARE);
    assert_false(w->v->now->shadow.active);
    prepare(w);
    assert_true(w->v->now->shadow.active);
    w->v->prepared = false;
}

#define TEST_HERE(name) cmocka_unit_test_setup_teardown(name, setup_shadowed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_HERE(only_listed_fields_pass),
        TEST_HERE(a_field_that_is_not_offered_exits),
        TEST_HERE(it_is_used_while_there_is_a_current_vmcs),
        TEST_HERE(its_region_is_marked_as_a_shadow),
        TEST_HERE(a_cpu_that_lacks_a_part_of_it_does_without),
        TEST_HERE(l1_reads_there_what_the_exit_told),
        TEST_HERE(what_an_entry_does_not_look_at_is_not_lost),
        TEST_HERE(what_l1_wrote_there_goes_where_vmcs12_goes),
        TEST_HERE(upper_halves_go_with_the_lower_ones),
        TEST_HERE(a_round_trip_costs_at_most_ninety_accesses),
        TEST_HERE(one_that_could_not_be_cleared_is_not_active),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
