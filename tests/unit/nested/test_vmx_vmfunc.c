/* SPDX-License-Identifier: MIT */
/* VMFUNC of L2: EPTP switching and the forms of it that are L1's exit [SDM 3C "VM Functions"]. */
#include "vmx_world.h"

#define EPTP_LIST UINT64_C(0x37000)
#define EPTP_A (EPT12_TOP | 0x1e)
#define EPTP_B ((EPT12_TOP + 0x1000) | 0x1e)

/* L2 with EPT and a list of two EPTPs, the first of which it has. */
static void ready_with_list(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |=
        NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_VMFUNC;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.eptp = EPTP_A;
    w->v->vmcs12.vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING;
    w->v->vmcs12.eptp_list = EPTP_LIST;
    fake_vm_put64(w->port, EPTP_LIST, EPTP_A);
    fake_vm_put64(w->port, EPTP_LIST + 8, EPTP_B);
}

static void launch_with_list(struct world *w)
{
    ready_with_list(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void vmfunc(struct world *w, uint64_t function, uint64_t index)
{
    w->gprs.r[NVIRT_RAX] = function;
    w->gprs.r[NVIRT_RCX] = index;
    exit_with(w, NVIRT_VMX_EXIT_VMFUNC, 0, 0);
}

/* The instruction was completed in L2. @return the EPTP that hardware runs with. */
static uint64_t switched(struct world *w, uint64_t function, uint64_t index)
{
    uint64_t rip = GET2(w, GUEST_RIP);
    uint64_t eptp;

    vmfunc(w, function, index);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(GET2(w, GUEST_RIP) == rip + INSN_LENGTH);
    prepare(w);
    eptp = HW(w, EPTP);
    w->v->prepared = false;
    return eptp;
}

/* Reason 59 with the length of the instruction, and nothing has changed. */
static void expect_exit_to_l1(struct world *w, uint64_t eptp)
{
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_VMFUNC);
    assert_true(READ12(w, EXIT_INSN_LENGTH) == INSN_LENGTH);
    assert_true(READ12(w, EXIT_QUALIFICATION) == 0);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    assert_true(READ12(w, EPTP) == eptp);
}

static void a_switch_gives_l2_another_root_and_vmcs12_its_eptp(void **state)
{
    struct world *w = *state;
    uint64_t a;
    uint64_t b;

    launch_with_list(w);
    prepare(w);
    a = HW(w, EPTP);
    w->v->prepared = false;
    b = switched(w, 0, 1);
    assert_true(a != b);
    /* Only the lower halves of the registers count. */
    assert_true(switched(w, UINT64_C(0x100000000), UINT64_C(0x7700000000)) == a);
    assert_true(switched(w, 0, 1) == b);
    l2_cpuid(w);
    assert_true(READ12(w, EPTP) == EPTP_B);
    /* Entered again, L2 is where the switch left it. */
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    prepare(w);
    assert_true(HW(w, EPTP) == b);
}

static void a_root_that_is_come_back_to_costs_no_flush_and_no_table(void **state)
{
    struct world *w = *state;
    struct nvirt_stats before;

    launch_with_list(w);
    (void)switched(w, 0, 1);
    (void)switched(w, 0, 0);
    before = *nvirt_vmx_stats(w->v);
    fake_cpu_log_reset(&w->cpu);
    for (int i = 0; i < 20; i++)
        (void)switched(w, 0, (uint64_t)(i + 1) % 2);
    assert_int_equal(w->cpu.ops, 0);
    assert_int_equal(nvirt_vmx_stats(w->v)->root_misses, before.root_misses);
    assert_int_equal(nvirt_vmx_stats(w->v)->shadow_pages, before.shadow_pages);
}

/* [SDM 3C "EPTP Switching"]: with "enable VPID" clear the combined mappings of VPID 0 go, also when
 * the EPTP stays the same. */
static void without_vpid_each_switch_flushes_l2s_tag(void **state)
{
    struct world *w = *state;

    ready_with_list(w);
    w->v->vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_VPID;
    vmlaunch(w);
    (void)switched(w, 0, 1);
    for (uint64_t i = 0; i < 4; i++) {
        fake_cpu_log_reset(&w->cpu);
        (void)switched(w, 0, i / 2); /* 0, 0, 1, 1 */
        assert_int_equal(w->cpu.ops, 1);
        assert_int_equal(w->cpu.op[0].kind, FAKE_INVVPID);
        assert_true(w->cpu.op[0].tag == w->v->vpid02);
    }
}

/* [SDM 3C "EPTP Switching"]: with EPT-violation #VE the number of the entry goes to the EPTP index. */
static void with_virtualization_exceptions_the_index_is_kept(void **state)
{
    struct world *w = *state;

    launch_with_list(w);
    w->v->vmcs12.eptp_index = 7;
    (void)switched(w, 0, 1);
    assert_int_equal(w->v->vmcs12.eptp_index, 7);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT_VE;
    (void)switched(w, 0, UINT64_C(0x700000001));
    assert_int_equal(w->v->vmcs12.eptp_index, 1);
    (void)switched(w, 0, 0);
    assert_int_equal(w->v->vmcs12.eptp_index, 0);
}

static void an_index_beyond_the_list_is_l1s_exit(void **state)
{
    struct world *w = *state;

    launch_with_list(w);
    /* What lies behind the list would do. */
    fake_vm_put64(w->port, EPTP_LIST + 512 * 8, EPTP_B);
    vmfunc(w, 0, 512);
    expect_exit_to_l1(*state, EPTP_A);
}

static void the_last_entry_of_the_list_is_used(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, EPTP_LIST + 511 * 8, EPTP_B);
    launch_with_list(w);
    (void)switched(w, 0, 511);
    assert_true(w->v->vmcs12.eptp == EPTP_B);
}

static void another_function_is_l1s_exit(void **state)
{
    launch_with_list(*state);
    vmfunc(*state, 1, 0);
    expect_exit_to_l1(*state, EPTP_A);
}

static void a_function_that_l1_did_not_turn_on_is_its_exit(void **state)
{
    struct world *w = *state;

    ready_with_list(w);
    w->v->vmcs12.vmfunc_controls = 0;
    vmlaunch(w);
    vmfunc(w, 0, 1);
    expect_exit_to_l1(w, EPTP_A);
}

/* Then the instruction is #UD and does not exit; a CPU that says it did moves nothing. */
static void without_vm_functions_nothing_is_switched(void **state)
{
    struct world *w = *state;

    ready_with_list(w);
    w->v->vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_VMFUNC;
    vmlaunch(w);
    vmfunc(w, 0, 1);
    assert_true(w->v->vmcs12.eptp == EPTP_A);
}

static void an_eptp_that_no_entry_would_take_is_l1s_exit(void **state)
{
    static const uint64_t bad[] = {
        EPTP_B | NVIRT_BIT(11),
        EPTP_B & ~UINT64_C(0x38),
        (EPTP_B & ~UINT64_C(7)) | 1,
        EPTP_B | NVIRT_BIT(40),
        ~UINT64_C(0),
    };
    struct world *w = *state;

    launch_with_list(w);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fake_vm_put64(w->port, EPTP_LIST + 8, bad[i]);
        vmfunc(w, 0, 1);
        expect_exit_to_l1(w, EPTP_A);
        SET1(w, GUEST_RIP, L1_RIP);
        WRITE12(w, GUEST_RIP, L2_RIP);
        vmresume(w);
    }
}

/* A bus without memory reads ones. */
static void a_list_without_memory_is_l1s_exit(void **state)
{
    struct world *w = *state;

    ready_with_list(w);
    w->v->vmcs12.eptp_list = L1_RAM;
    vmlaunch(w);
    vmfunc(w, 0, 1);
    expect_exit_to_l1(w, EPTP_A);
}

/* L1 may change the list while its guest reads it: what was judged is what is used. */
static void the_entry_is_read_once(void **state)
{
    const uint64_t values[] = { ~UINT64_C(0) };
    struct world *w = *state;

    launch_with_list(w);
    fake_vm_script(w->port, EPTP_LIST + 8, 8, values, 1);
    (void)switched(w, 0, 1);
    assert_true(w->v->vmcs12.eptp == EPTP_B);
}

/* Without a page for another root, the one that L2 leaves makes place. @return INVEPTs executed. */
static unsigned invepts_without_a_page(struct world *w)
{
    unsigned invepts = 0;

    w->vm.page_budget = 0;
    fake_cpu_log_reset(&w->cpu);
    (void)switched(w, 0, 1);
    assert_true(w->v->vmcs12.eptp == EPTP_B);
    for (unsigned i = 0; i < w->cpu.ops; i++) {
        invepts += w->cpu.op[i].kind == FAKE_INVEPT;
    }
    return invepts;
}

/* Its table is emptied and flushed before it serves another. */
static void without_a_page_the_root_of_before_is_used_again(void **state)
{
    struct world *w = *state;

    launch_with_list(w);
    for (uint64_t table = 0; table < 3; table++) {
        fake_vm_put64(w->port, EPT12_TOP + table * 0x1000, (EPT12_TOP + (table + 1) * 0x1000) | 7);
    }
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + 5 * 8, 0x8000 | 0x37);
    l2_violation(w, 0x5000, 0x181);
    prepare(w);
    w->v->prepared = false;
    assert_int_equal(invepts_without_a_page(w), 1);
}

/* If it held nothing since it was flushed, no CPU has anything of it: it serves another as it is. */
static void an_empty_root_of_before_is_not_flushed_again(void **state)
{
    struct world *w = *state;

    launch_with_list(w);
    prepare(w);
    w->v->prepared = false;
    assert_int_equal(invepts_without_a_page(w), 0);
}

/* [SDM 3C "EPTP Switching"]: the PDPTEs are not loaded anew, though CR3 may now mean another page. */
static void pdptes_of_a_pae_l2_stay(void **state)
{
    struct world *w = *state;

    ready_with_list(w);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr4 |= NVIRT_CR4_PAE;
    w->v->vmcs12.guest_cs_ar = 0xc09b;
    w->v->vmcs12.guest_pdpte0 = 0x61001;
    w->v->vmcs12.guest_pdpte3 = 0x63001;
    vmlaunch(w);
    (void)switched(w, 0, 1);
    prepare(w);
    assert_true(HW(w, GUEST_PDPTE0) == 0x61001);
    assert_true(HW(w, GUEST_PDPTE3) == 0x63001);
}

/* [SDM 3C "EPTP Switching"]: the VMCS has the new EPTP from then on. Entries take the short way here. */
static void later_entries_are_on_the_new_root(void **state)
{
    struct world *w = *state;
    uint64_t eptp = 0;

    launch_with_list(w);
    for (uint64_t i = 0; i < 6; i++) {
        if (i % 3 == 1)
            eptp = switched(w, 0, i == 1 ? 1 : 0);
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        exit_with(w, NVIRT_VMX_EXIT_VMRESUME, 0, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        assert_true(i == 0 || w->v->switched == (i % 3 != 1));
        prepare(w);
        assert_true(eptp == 0 || HW(w, EPTP) == eptp);
        w->v->prepared = false;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_switch_gives_l2_another_root_and_vmcs12_its_eptp),
        TEST(a_root_that_is_come_back_to_costs_no_flush_and_no_table),
        TEST(without_vpid_each_switch_flushes_l2s_tag),
        TEST(with_virtualization_exceptions_the_index_is_kept),
        TEST(an_index_beyond_the_list_is_l1s_exit),
        TEST(the_last_entry_of_the_list_is_used),
        TEST(another_function_is_l1s_exit),
        TEST(a_function_that_l1_did_not_turn_on_is_its_exit),
        TEST(without_vm_functions_nothing_is_switched),
        TEST(an_eptp_that_no_entry_would_take_is_l1s_exit),
        TEST(a_list_without_memory_is_l1s_exit),
        TEST(the_entry_is_read_once),
        TEST(without_a_page_the_root_of_before_is_used_again),
        TEST(an_empty_root_of_before_is_not_flushed_again),
        TEST(pdptes_of_a_pae_l2_stay),
        TEST(later_entries_are_on_the_new_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
