/* SPDX-License-Identifier: MIT */
/*
 * Entries of L2 and exits from it: what reaches vmcs02, vmcs12 and vmcs01, whose an exit is, and
 * what a transition costs.
 */
#include "vmx_world.h"

static uint64_t vmcs02(struct world *w)
{
    return w->v->hw[NVI_02]->hpa.value;
}

/* ---- entry ---- */

static void vmlaunch_makes_vmcs02_current_with_l2s_state_and_l0s_host_state(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(w->run.launch);
    assert_true(w->cpu.current->hpa == vmcs02(w));
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    assert_true(HW(w, GUEST_CR3) == 0x50000);
    assert_true(HW(w, HOST_RIP) == UINT64_C(0xffff800000001000));
    assert_true(HW(w, HOST_CR3) == 0x1234000);
    assert_true(HW(w, VMCS_LINK) == ~UINT64_C(0));
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_HLT) != 0);
    /* A root of its own, never L1's, and a tag of its own. */
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_EPT) != 0);
    assert_true(HW(w, EPTP) != (0x50000 | 0x1e));
    assert_true(HW(w, VPID) >= 2 && HW(w, VPID) <= 5);
}

/* All fields of a region that never was a VMCS are written before it runs. */
static void the_first_commit_writes_every_field_of_vmcs02(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    prepare(w);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT
            && nvirt_vmcs_field_exists(&w->caps, field))
            assert_true(
                fake_cpu_field_written(&w->cpu, vmcs02(w), nvirt_vmcs_field_encoding(field)));
    }
}

static void l1s_rip_stays_at_vmlaunch_until_the_exit(void **state)
{
    struct world *w = *state;
    uint64_t rip;

    ready_to_launch(w);
    rip = GET1(w, GUEST_RIP);
    vmlaunch(w);
    assert_true(GET1(w, GUEST_RIP) == rip);
}

/* ---- exit ---- */

static void an_exit_saves_l2_and_loads_l1s_host_state(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 },      { 0x4408, 0 },    { 0x440c, 2 },
        { 0x681e, L2_RIP + 2 },           { 0x681c, 0xbbbb }, { 0x6820, 0x46 }, { 0x6802, 0x51000 },
        { 0x6800, 0x80010033 },           { 0x0800, 0x33 },
    };

    launch_l2(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->exit.level, 2);
    assert_true(w->exit.branch_barrier);
    prepare(w);
    assert_true(w->run.branch_barrier);
    assert_false(w->run.launch);
    assert_true(w->cpu.current->hpa == VMCS01_HPA);
    assert_true(HW(w, GUEST_RIP) == L1_EXIT_RIP);
    assert_true(HW(w, GUEST_RSP) == 0x6000);
    assert_true(HW(w, GUEST_RFLAGS) == 2);
    assert_true(HW(w, GUEST_CR3) == L1_CR3);
    assert_true(HW(w, GUEST_CS_AR) == 0xa09b);
    assert_true(HW(w, CR4_SHADOW) == 0x2020);
    assert_true(HW(w, GUEST_DR7) == 0x400);
    prepare(w);
    assert_false(w->run.branch_barrier);
    w->v->prepared = true;
    SET1(w, GUEST_RIP, L1_RIP);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_CPUID);
    assert_true(READ12(w, EXIT_INSN_LENGTH) == 2);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP + 2);
    assert_true(READ12(w, GUEST_RSP) == 0xbbbb);
    assert_true(READ12(w, GUEST_RFLAGS) == 0x46);
    assert_true(READ12(w, GUEST_CR3) == 0x51000);
    assert_true(READ12(w, GUEST_ES_SELECTOR) == 0x33);
}

/* The same L2 again: only what differs is written, and nothing is flushed when L1 uses its tag. */
static void a_second_entry_writes_little_and_flushes_nothing(void **state)
{
    struct world *w = *state;
    const struct nvirt_stats *stats = nvirt_vmx_stats(w->v);
    struct nvirt_stats before;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VPID;
    w->v->vmcs12.vpid = 9;
    vmlaunch(w);
    l2_cpuid(w);
    vmresume(w);
    l2_cpuid(w);
    prepare(w);
    w->v->prepared = true;
    before = *stats;
    fake_cpu_log_reset(&w->cpu);
    vmresume(w);
    l2_cpuid(w);
    prepare(w);
    assert_int_equal(w->cpu.ops, 0);
    assert_int_equal(w->cpu.count.vmclear, 0);
    assert_int_equal(w->cpu.count.vmptrld, 2);
    /* vmcs02 needs one; vmcs01 takes L1's whole host state over what the exit to L0 saved there,
     * and what was not read is written. */
    assert_true(stats->vmwrites - before.vmwrites <= 50);
    assert_true(stats->vmreads - before.vmreads <= 62);
    assert_int_equal(stats->nested_entries, 3);
    assert_int_equal(stats->nested_exits, 3);
    w->v->prepared = true;
}

/* L1 without VPID: the architecture flushes VPID 0 at each transition, for L2 now, for L1 after. */
static void without_vpid_in_vmcs12_both_transitions_flush_the_tag_that_runs(void **state)
{
    struct world *w = *state;
    uint64_t tag;

    launch_l2(w);
    l2_cpuid(w);
    prepare(w);
    w->v->prepared = true;
    fake_cpu_log_reset(&w->cpu);
    vmresume(w);
    assert_int_equal(w->cpu.ops, 0);
    prepare(w);
    tag = HW(w, VPID);
    assert_int_equal(w->cpu.ops, 1);
    assert_int_equal(w->cpu.op[0].kind, FAKE_INVVPID);
    assert_true(w->cpu.op[0].tag == tag);
    l2_cpuid(w);
    prepare(w);
    assert_int_equal(w->cpu.ops, 2);
    assert_int_equal(w->cpu.op[1].kind, FAKE_INVVPID);
    assert_true(w->cpu.op[1].tag == VPID01);
}

/* ---- whose an exit is ---- */

static void an_exit_l0_asked_for_is_the_hosts_and_redelivers_the_event(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT },
        { 0x6400, 0 },
        { 0x4404, 0x80000030 },
        { 0x4408, 0x80000b0d },
        { 0x440a, 0x18 },
        { 0x440c, 0 },
    };

    SET1(w, PIN_CONTROLS, 0x16 | NVIRT_VMX_PIN_EXT_INT);
    SET1(w, EXIT_CONTROLS, GET1(w, EXIT_CONTROLS) | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
    launch_l2(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.interruption, 0x80000030);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0d);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 0x18);
    w->v->prepared = true;
}

/* CVE-2014-3645: a reason nobody knows has an outcome too: the host's. */
static void every_exit_reason_has_an_outcome(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    for (uint32_t reason = 0; reason < 128; reason++) {
        w->v->vmx.launched = false;
        fill_vmcs12(w);
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        exit_with(w, reason, 0, 0);
        /* A misconfiguration of tables that are nvirt's own is no state to go on from. */
        assert_int_equal(w->status, reason == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION
                                        ? NVIRT_ERR_HARDWARE
                                        : NVIRT_OK);
        if (nvirt_vmx_level(w->v) == 2) {
            assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
            vmxon(w);
            load_vmcs12(w, VMCS12);
        }
    }
}

static void a_triple_fault_of_l2_is_l1s_and_one_of_l1_ends_it(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    exit_with(w, NVIRT_VMX_EXIT_TRIPLE_FAULT, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_TRIPLE_FAULT);
    exit_with(w, NVIRT_VMX_EXIT_TRIPLE_FAULT, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1_SHUTDOWN);
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
}

/* L0 adds an intercept while L2 runs: it holds at once for both levels. */
static void a_control_l0_changes_while_l2_runs_reaches_vmcs02(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_RDTSC) == 0);
    w->v->prepared = true;
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_RDTSC);
    SET1(w, HOST_CR3, 0x7777000);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_RDTSC) != 0);
    assert_true(HW(w, HOST_CR3) == 0x7777000);
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    w->v->prepared = true;
    l2_cpuid(w);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_RDTSC) != 0);
    w->v->prepared = true;
}

/* An exit that L0 handles must not wind up L2's preemption timer again; L1 sees what is left of it
 * only if it asked for that. */
static void the_preemption_timer_runs_on_across_exits_of_l0(void **state)
{
    struct world *w = *state;
    const struct fake_set smi[] = {
        { 0x4402, NVIRT_VMX_EXIT_OTHER_SMI },
        { 0x6400, 0 },
        { 0x4408, 0 },
        { 0x482e, 40 },
    };

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_PREEMPTION_TIMER;
    w->v->vmcs12.guest_preemption_timer = 1000;
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, EXIT_CONTROLS) & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER) != 0);
    assert_true(HW(w, GUEST_PREEMPTION_TIMER) == 1000);
    run_to(w, smi, 4);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true(HW(w, GUEST_PREEMPTION_TIMER) == 40);
    exit_with(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.guest_preemption_timer == 1000);
    vmresume(w);
    prepare(w);
    assert_true(HW(w, GUEST_PREEMPTION_TIMER) == 1000);
}

/* ---- aborts ---- */

static void expect_abort(struct world *w, uint32_t indicator)
{
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1_SHUTDOWN);
    assert_int_equal(fake_vm_get32(w->port, VMCS12 + 4), indicator);
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_STATE);
}

static void bad_host_pdptes_are_a_vmx_abort(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    /* L1 becomes a 32-bit PAE host in vmcs12 while L2 runs; its CR3 names rubbish. */
    w->v->vmcs12.exit_controls &= ~(NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_EFER);
    w->v->vmcs12.host_cr3 = 0x52000;
    fake_vm_put64(w->port, 0x52000, 0xfff);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    expect_abort(w, NVIRT_VMX_ABORT_HOST_PDPTE);
}

static void pdptes_of_a_pae_l1_are_loaded_at_the_exit(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    w->v->vmcs12.exit_controls &= ~(NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_EFER);
    w->v->vmcs12.host_cr3 = 0x52000 | 0x18; /* CVE-2024-50115: low bits are no address. */
    fake_vm_put64(w->port, 0x52000, 0x53001);
    fake_vm_put64(w->port, 0x52018, 0x54001);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    prepare(w);
    assert_true(HW(w, GUEST_PDPTE0) == 0x53001);
    assert_true(HW(w, GUEST_PDPTE3) == 0x54001);
    assert_true((HW(w, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E) == 0);
    assert_true((HW(w, GUEST_EFER) & NVIRT_EFER_LMA) == 0);
}

static void an_exit_msr_list_that_fails_is_a_vmx_abort(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.exit_msr_store_count = 1;
    w->v->vmcs12.exit_msr_store_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, 0x802); /* x2APIC. */
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    expect_abort(w, NVIRT_VMX_ABORT_SAVE_MSR);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    ready_to_launch(w);
    w->v->vmcs12.exit_msr_load_count = 1;
    w->v->vmcs12.exit_msr_load_addr = MSR_LIST;
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    expect_abort(w, NVIRT_VMX_ABORT_LOAD_MSR);
}

/* ---- every state can be ended (CVE-2026-64562; teardown looks for leaks) ---- */

static void the_vcpu_can_be_destroyed_with_l2_active(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    vmlaunch(w);
    l2_violation(w, 0x5000, 0x181);
    prepare(w);
}

static void reset_with_l2_active_ends_vmx_operation(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    vmlaunch(w);
    prepare(w);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->port->pins, 0);
    assert_false(w->v->vmx.on);
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    expect_exception(w, NVIRT_VECTOR_UD, false, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vmlaunch_makes_vmcs02_current_with_l2s_state_and_l0s_host_state),
        TEST(the_first_commit_writes_every_field_of_vmcs02),
        TEST(l1s_rip_stays_at_vmlaunch_until_the_exit),
        TEST(an_exit_saves_l2_and_loads_l1s_host_state),
        TEST(a_second_entry_writes_little_and_flushes_nothing),
        TEST(without_vpid_in_vmcs12_both_transitions_flush_the_tag_that_runs),
        TEST(an_exit_l0_asked_for_is_the_hosts_and_redelivers_the_event),
        TEST(every_exit_reason_has_an_outcome),
        TEST(a_triple_fault_of_l2_is_l1s_and_one_of_l1_ends_it),
        TEST(a_control_l0_changes_while_l2_runs_reaches_vmcs02),
        TEST(the_preemption_timer_runs_on_across_exits_of_l0),
        TEST(bad_host_pdptes_are_a_vmx_abort),
        TEST(pdptes_of_a_pae_l1_are_loaded_at_the_exit),
        TEST(an_exit_msr_list_that_fails_is_a_vmx_abort),
        TEST(the_vcpu_can_be_destroyed_with_l2_active),
        TEST(reset_with_l2_active_ends_vmx_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
