/* SPDX-License-Identifier: MIT */
/*
 * Entries of L2 that fail, by nvirt's checks or by hardware's: what L1 sees, and what is left
 * behind.
 */
#include "vmx_world.h"

static uint64_t vmcs02(struct world *w)
{
    return w->v->hw[NVI_02]->hpa.value;
}

static void expect_l1_sees_entry_failure(struct world *w, uint32_t reason, uint64_t qualification)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(GET1(w, GUEST_RIP) == L1_EXIT_RIP);
    assert_true(w->v->vmcs12.exit_reason == (reason | 0x80000000u));
    assert_true(w->v->vmcs12.exit_qualification == qualification);
    assert_false(w->v->vmx.launched);
}

static void bad_guest_state_is_an_entry_failure_that_saves_nothing(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs before;

    ready_to_launch(w);
    w->v->vmcs12.vmcs_link = 0x123;
    w->v->vmcs12.entry_interruption = 0x80000020;
    w->v->vmcs12.guest_rflags = 2 | NVIRT_RFLAGS_IF;
    before = w->v->vmcs12;
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    expect_l1_sees_entry_failure(w, NVIRT_VMX_EXIT_ENTRY_GUEST_STATE, 4);
    before.exit_reason = w->v->vmcs12.exit_reason;
    before.exit_qualification = w->v->vmcs12.exit_qualification;
    assert_memory_equal(&before, &w->v->vmcs12, sizeof before);
}

/* [SDM 3C "Operations that Invalidate Cached Mappings"]: without VPID a failed entry flushes VPID 0
 * as every transition does. */
static void an_entry_failure_flushes_vpid_0_for_l1(void **state)
{
    struct world *w = *state;
    uint32_t flushes = 0;

    ready_to_launch(w);
    w->v->vmcs12.guest_cr4 = 0;
    prepare(w);
    fake_cpu_log_reset(&w->cpu);
    vmlaunch(w);
    expect_l1_sees_entry_failure(w, NVIRT_VMX_EXIT_ENTRY_GUEST_STATE, 0);
    prepare(w);
    for (uint32_t i = 0; i < w->cpu.ops; i++)
        flushes += w->cpu.op[i].kind == FAKE_INVVPID && w->cpu.op[i].tag == VPID01;
    assert_int_equal(flushes, 1);
    w->v->prepared = true;
}

static void bad_controls_and_host_state_fail_7_and_8_and_change_nothing_else(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs before;
    uint64_t rip;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls = 0;
    rip = GET1(w, GUEST_RIP);
    before = w->v->vmcs12;
    vmlaunch(w);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    before.vm_instruction_error = NVIRT_VMX_ERR_ENTRY_CONTROLS;
    assert_memory_equal(&before, &w->v->vmcs12, sizeof before);
    assert_true(GET1(w, GUEST_RIP) == rip + INSN_LENGTH);
    w->v->vmcs12.pin_controls = 0x16;
    w->v->vmcs12.host_cr0 = 0;
    vmlaunch(w);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_HOST_STATE);
    assert_int_equal(nvirt_vmx_stats(w->v)->entries_refused, 2);
}

/* Hardware says VMfail all the same: L1 meets the VMfail its own VMLAUNCH would have met. */
static void a_vmfail_of_vmcs02_becomes_l1s_vmfail(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;
    uint64_t rip;

    ready_to_launch(w);
    rip = GET1(w, GUEST_RIP);
    vmlaunch(w);
    prepare(w);
    fake_cpu_poke(&w->cpu, vmcs02(w), 0x4400, 7);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error),
                     NVIRT_OK);
    assert_int_equal(error, 7);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_true(GET1(w, GUEST_RIP) == rip + INSN_LENGTH);
    assert_false(w->v->vmx.launched);
    vmlaunch(w); /* And it may try again. */
    l2_cpuid(w);
}

static void a_vmfail_of_vmcs01_is_the_hosts_problem(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;

    prepare(w);
    fake_cpu_poke(&w->cpu, VMCS01_HPA, 0x4400, 8);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error),
                     NVIRT_ERR_HARDWARE);
    assert_int_equal(error, 8);
    prepare(w);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_GP, &error), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_INVALID, &error),
                     NVIRT_ERR_HARDWARE);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_INVALID, &error),
                     NVIRT_ERR_STATE);
}

static void an_entry_failure_of_vmcs02_is_reported_to_l1(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };

    launch_l2(w);
    run_to(w, set, 2);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    expect_l1_sees_entry_failure(w, NVIRT_VMX_EXIT_ENTRY_GUEST_STATE, 0);
    assert_true(w->v->vmcs12.guest_rip == L2_RIP);
}

/* What hardware refuses once L2 has run is no fault of L1's. */
static void an_entry_failure_after_l2_ran_is_the_hosts_problem(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };

    launch_l2(w);
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    run_to(w, set, 2);
    assert_int_equal(w->status, NVIRT_ERR_HARDWARE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(w->v->vmcs12.exit_reason == 0);
}

/* Only errors 7 and 8 say anything of vmcs12. */
static void other_vmfails_of_vmcs02_are_the_hosts_problem(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;

    launch_l2(w);
    prepare(w);
    fake_cpu_poke(&w->cpu, vmcs02(w), 0x4400, NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error),
                     NVIRT_ERR_HARDWARE);
    assert_int_equal(error, NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* CVE-2026-72287: after entries that failed at each stage, what the host put into vmcs01 is there.
 * */
static void failed_entries_leave_l0s_fields_alone(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs before;
    const struct fake_set refused[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };

    ready_to_launch(w);
    before = w->v->hw[NVI_01]->image;
    w->v->vmcs12.pin_controls = 0;
    vmlaunch(w);
    w->v->vmcs12.pin_controls = 0x16;
    w->v->vmcs12.vmcs_link = 1;
    vmlaunch(w);
    w->v->vmcs12.vmcs_link = ~UINT64_C(0);
    w->v->vmcs12.entry_msr_load_count = 1;
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    vmlaunch(w);
    w->v->vmcs12.entry_msr_load_count = 0;
    vmlaunch(w);
    run_to(w, refused, 2);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i);

        if (kind == NVIRT_VMCS_KIND_HOST
            || (kind == NVIRT_VMCS_KIND_CONTROL && i != NVIRT_VMCS_CR0_SHADOW
                && i != NVIRT_VMCS_CR4_SHADOW
                && nvirt_vmcs_info((enum nvirt_vmcs_field)i)->group != NVIRT_VMCS_GROUP_EVENT))
            assert_true(before.field[i] == w->v->hw[NVI_01]->image.field[i]);
    }
}

/* CVE-2026-68081: entries that fail over and over hold on to nothing more. */
static void failing_entries_leak_no_pins_and_no_pages(void **state)
{
    struct world *w = *state;
    uint32_t pool = 0;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    w->v->vmcs12.io_bitmap_a = BITMAP_A;
    w->v->vmcs12.io_bitmap_b = BITMAP_B;
    w->v->vmcs12.entry_msr_load_count = 1;
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    for (int i = 0; i < 100; i++) {
        vmlaunch(w);
        assert_true(w->v->vmcs12.exit_reason == 0x80000022);
        if (i == 0)
            pool = w->port->pool_used;
        assert_int_equal(w->port->pool_used, pool);
        assert_true(w->port->pins <= 2);
    }
}

/* No page for the root: the host hears of it, L1 has not moved and may try again. */
static void without_a_page_for_the_root_vmlaunch_can_be_repeated(void **state)
{
    struct world *w = *state;
    uint64_t rip;

    ready_to_launch(w);
    rip = GET1(w, GUEST_RIP);
    fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, 1);
    exit_with(w, NVIRT_VMX_EXIT_VMLAUNCH, 0, 0);
    assert_int_equal(w->status, NVIRT_ERR_NO_PAGE);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(GET1(w, GUEST_RIP) == rip);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bad_guest_state_is_an_entry_failure_that_saves_nothing),
        TEST(an_entry_failure_flushes_vpid_0_for_l1),
        TEST(bad_controls_and_host_state_fail_7_and_8_and_change_nothing_else),
        TEST(a_vmfail_of_vmcs02_becomes_l1s_vmfail),
        TEST(a_vmfail_of_vmcs01_is_the_hosts_problem),
        TEST(an_entry_failure_of_vmcs02_is_reported_to_l1),
        TEST(an_entry_failure_after_l2_ran_is_the_hosts_problem),
        TEST(other_vmfails_of_vmcs02_are_the_hosts_problem),
        TEST(failed_entries_leave_l0s_fields_alone),
        TEST(failing_entries_leak_no_pins_and_no_pages),
        TEST(without_a_page_for_the_root_vmlaunch_can_be_repeated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
