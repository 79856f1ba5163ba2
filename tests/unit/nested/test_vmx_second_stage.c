/* SPDX-License-Identifier: MIT */
/*
 * L2's memory: what a violation comes to, with EPT12 and without, and the PDPTEs of an L2 without.
 */
#include "vmx_world.h"

static void a_first_touch_without_ept12_is_filled_in(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_violation(w, 0x5000, 0x181);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(nvirt_vmx_stats(w->v)->shadow_faults, 1);
    assert_true(nvi_mmu_lookup(&w->v->mmu, w->v->root, (nvirt_l2gpa){ 0x5000 }, &(uint32_t){ 0 })
                != 0);
    prepare(w);
}

static void memory_the_host_does_not_map_is_the_hosts(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_violation(w, L1_RAM + 0x5000, 0x181);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_true(w->exit.l1gpa.value == L1_RAM + 0x5000);
    assert_int_equal(w->exit.reason, NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void launch_with_ept12(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
    fake_vm_put64(w->port, EPT12_TOP, (EPT12_TOP + 0x1000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x1000, (EPT12_TOP + 0x2000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x2000, (EPT12_TOP + 0x3000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + 5 * 8, 0x8000 | 0x37);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + 6 * 8, 0x9000 | 0x32); /* Write without read. */
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void a_violation_in_ept12_is_l1s(void **state)
{
    struct world *w = *state;

    launch_with_ept12(w);
    l2_violation(w, 0x5123, 0x181);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    l2_violation(w, 0x7123, 0x182 | NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_true(w->v->vmcs12.guest_physical == 0x7123);
    assert_true(w->v->vmcs12.guest_linear == 0xabc);
    assert_true((w->v->vmcs12.exit_qualification & 7) == 2);
    assert_true((w->v->vmcs12.exit_qualification & NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING) != 0);
}

static void a_misconfiguration_in_ept12_is_l1s(void **state)
{
    struct world *w = *state;

    launch_with_ept12(w);
    l2_violation(w, 0x6000, 0x181);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION);
    assert_true(w->v->vmcs12.guest_physical == 0x6000);
}

/* INVEPT of L1 costs nothing then, and one INVEPT of the root when it is next used. */
static void invept_of_l1_falls_due_at_the_next_entry(void **state)
{
    struct world *w = *state;

    launch_with_ept12(w);
    l2_violation(w, 0x5123, 0x181);
    l2_cpuid(w);
    prepare(w);
    w->v->prepared = true;
    fake_cpu_log_reset(&w->cpu);
    fake_vm_put64(w->port, OPERAND, EPT12_TOP | 0x1e);
    fake_vm_put64(w->port, OPERAND + 8, 0);
    w->gprs.r[NVIRT_RCX] = 1;
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    expect_success(w);
    assert_int_equal(w->cpu.ops, 0);
    vmresume(w);
    prepare(w);
    assert_int_equal(w->cpu.count.invept, 1);
    assert_true(w->cpu.op[0].tag == HW(w, EPTP));
    w->v->prepared = true;
}

static void no_page_for_a_table_is_reported_and_repeatable(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    w->vm.page_budget = w->vm.pages_in_use;
    l2_violation(w, 0x5000, 0x181);
    assert_int_equal(w->status, NVIRT_ERR_NO_PAGE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    w->vm.page_budget = 64;
    l2_violation(w, 0x5000, 0x181);
    assert_int_equal(w->status, NVIRT_OK);
}

/* PDPTEs of a PAE L2 without EPT12 come from L1's memory, checked. */
static void pae_l2_without_ept12_gets_its_pdptes_from_memory(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr3 = 0x50020;
    w->v->vmcs12.guest_cs_ar = 0xc09b;
    for (uint64_t i = 0; i < 4; i++)
        fake_vm_put64(w->port, 0x50020 + i * 8, ((i + 1) << 12) | 1);
    vmlaunch(w);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, GUEST_PDPTE0) == 0x1001);
    assert_true(HW(w, GUEST_PDPTE3) == 0x4001);
    l2_cpuid(w);
    fake_vm_put64(w->port, 0x50028, 0x2007); /* R/W and U/S are reserved here. */
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == 0x80000021);
    assert_true(w->v->vmcs12.exit_qualification == NVIRT_VMX_ENTRY_FAIL_PDPTE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_touch_without_ept12_is_filled_in),
        TEST(memory_the_host_does_not_map_is_the_hosts),
        TEST(a_violation_in_ept12_is_l1s),
        TEST(a_misconfiguration_in_ept12_is_l1s),
        TEST(invept_of_l1_falls_due_at_the_next_entry),
        TEST(no_page_for_a_table_is_reported_and_repeatable),
        TEST(pae_l2_without_ept12_gets_its_pdptes_from_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
