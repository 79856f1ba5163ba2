/* SPDX-License-Identifier: MIT */
/* The APIC-access page of vmcs01 that the host manages and nvirt keeps: found when L1 is to run, found
 * anew after each move, asked for again while a move is under way, not touched while L2 runs, and never
 * L2's [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"]. */
#include "vmx_world.h"

#define APIC UINT64_C(0x3c000)
#define ELSEWHERE UINT64_C(0x3d000)
#define HPA(l1gpa) (FAKE_VM_HPA_OFFSET + (l1gpa))
#define MOVED UINT64_C(0x7a000000)
#define EPTP01 UINT64_C(0x5001e)

static void keep(struct world *w)
{
    assert_int_equal(nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(APIC), true), NVIRT_OK);
}

static enum nvirt_status prepare_status(struct world *w)
{
    return nvirt_vmx_prepare(w->v, &w->cpu, &w->run);
}

static void change_begin(struct world *w, uint64_t l1gpa)
{
    assert_int_equal(nvirt_vm_change_begin(&w->vm, nvirt_l1gpa_make(l1gpa), 4096), NVIRT_OK);
}

static void change_end(struct world *w)
{
    assert_int_equal(nvirt_vm_change_end(&w->vm), NVIRT_OK);
}

/* The host has the memory elsewhere now. */
static void move_to(struct world *w, uint64_t hpa)
{
    const struct fake_region_l1 region = { .start = APIC,
                                           .bytes = 4096,
                                           .hpa = hpa,
                                           .block = 4096,
                                           .rights = FAKE_ALL_RIGHTS,
                                           .memory_type = NVIRT_MEMORY_WB };

    fake_vm_region(w->port, &region);
}

/* Flushes of L1's second stage since. */
static unsigned flushes_of_root01(struct world *w, unsigned since)
{
    unsigned count = 0;

    for (unsigned i = since; i < w->cpu.ops && i < FAKE_CPU_LOG; i++) {
        const struct fake_op *op = &w->cpu.op[i];

        count += op->kind == FAKE_INVEPT &&
                 (op->type == 2 || (op->tag ^ EPTP01) >> 12 == 0);
    }
    return count;
}

static void the_page_is_found_before_l1_runs(void **state)
{
    struct world *w = *state;
    unsigned ops;

    prepare(w);
    w->v->prepared = false;
    ops = w->cpu.ops;
    keep(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == HPA(APIC));
    assert_int_equal(flushes_of_root01(w, ops), 1);
    w->v->prepared = false;
    assert_int_equal(w->port->pins, 0);
}

/* Asked again, not waited for; then the new address, and the flush that it takes. */
static void a_move_is_met_by_asking_again(void **state)
{
    struct world *w = *state;
    unsigned ops;

    keep(w);
    prepare(w);
    w->v->prepared = false;
    change_begin(w, APIC);
    ops = w->cpu.ops;
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    assert_false(w->v->prepared);
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    assert_int_equal(flushes_of_root01(w, ops), 0);
    move_to(w, MOVED);
    change_end(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    assert_int_equal(flushes_of_root01(w, ops), 1);
    w->v->prepared = false;
    /* Once. */
    ops = w->cpu.ops;
    prepare(w);
    assert_int_equal(flushes_of_root01(w, ops), 0);
    w->v->prepared = false;
}

/* A plain exit of L2 (vmx_switch.c) leaves for L1 as any other. */
static void a_move_counts_after_a_plain_exit(void **state)
{
    struct world *w = *state;

    keep(w);
    ready_to_launch(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    for (unsigned i = 0; i < 3; i++) {
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    }
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_true(w->v->switched);
    change_begin(w, APIC);
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    move_to(w, MOVED);
    change_end(w);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    w->v->prepared = false;
}

/* Whoever changes it waits for the vCPU to come back. */
static void the_vcpu_is_kicked_for_it_and_for_nothing_else(void **state)
{
    struct world *w = *state;
    unsigned ops;

    keep(w);
    prepare(w);
    w->v->prepared = false;
    change_begin(w, ELSEWHERE);
    assert_int_equal(w->port->kicks[0], 0);
    ops = w->cpu.ops;
    prepare(w);
    assert_int_equal(flushes_of_root01(w, ops), 0);
    w->v->prepared = false;
    change_end(w);
    change_begin(w, APIC);
    assert_int_equal(w->port->kicks[0], 1);
    change_end(w);
    prepare(w);
    w->v->prepared = false;
}

/* An L1 of which nothing is to be done takes a short way, which must not go past it. */
static void a_steady_l1_notices(void **state)
{
    struct world *w = *state;

    keep(w);
    vmxon(w);
    load_vmcs12(w, VMCS12);
    (void)READ12(w, GUEST_CR3);
    prepare(w);
    assert_true(w->v->steady);
    w->v->prepared = false;
    change_begin(w, APIC);
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    move_to(w, MOVED);
    change_end(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    w->v->prepared = false;
}

/* vmcs01 is not in use: L2 goes on, and the address is found when L2 has been left. */
static void while_l2_runs_it_waits_for_the_exit(void **state)
{
    struct world *w = *state;
    unsigned ops;

    keep(w);
    launch_l2(w);
    prepare(w);
    w->v->prepared = false;
    change_begin(w, APIC);
    ops = w->cpu.ops;
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(flushes_of_root01(w, ops), 0);
    w->v->prepared = false;
    move_to(w, MOVED);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    change_end(w);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    assert_int_equal(flushes_of_root01(w, ops), 1);
    w->v->prepared = false;
}

/* L2 leaving and entering after the move leaves no entry of L1 without it. */
static void a_flush_of_everything_for_l2_does_not_hide_it(void **state)
{
    struct world *w = *state;

    keep(w);
    launch_l2(w);
    prepare(w);
    w->v->prepared = false;
    change_begin(w, APIC);
    move_to(w, MOVED);
    change_end(w);
    nvirt_tlb_request(&w->v->tlb, 2, NVIRT_TLB_REQUEST_EVERYTHING);
    prepare(w);
    w->v->prepared = false;
    l2_cpuid(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    w->v->prepared = false;
}

static void what_the_port_says_is_handed_on(void **state)
{
    struct world *w = *state;

    keep(w);
    w->port->retries = 2;
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    assert_int_equal(prepare_status(w), NVIRT_ERR_RETRY);
    prepare(w);
    w->v->prepared = false;
    change_begin(w, APIC);
    fake_vm_hole(w->port, APIC, 4096);
    change_end(w);
    assert_int_equal(prepare_status(w), NVIRT_ERR_NO_MAPPING);
    move_to(w, MOVED);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == MOVED);
    w->v->prepared = false;
}

static void l2_touches(struct world *w, uint64_t l2gpa)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION },
        { 0x6400, 0x181 },
        { 0x2400, l2gpa },
        { 0x640a, l2gpa },
        { 0x4408, 0 },
        { 0x440c, INSN_LENGTH },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
}

/* Also between the move and the look-up, when vmcs01 has the old address. */
static void l2_never_gets_at_it(void **state)
{
    struct world *w = *state;
    uint32_t level = 0;

    launch_l2(w);
    l2_touches(w, APIC);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    keep(w);
    prepare(w);
    assert_true(nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(APIC), &level) == 0);
    w->v->prepared = false;
    change_begin(w, APIC);
    move_to(w, MOVED);
    change_end(w);
    l2_touches(w, APIC + 0x20);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.l1gpa.value, APIC + 0x20);
}

/* Given to L2's APIC before or after the host took it, it is an address without memory. */
static void l1_cannot_give_it_away(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    w->v->vmcs12.apic_access_addr = APIC;
    w->v->vmcs12.virtual_apic_addr = ELSEWHERE;
    vmlaunch(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == HPA(APIC));
    w->v->prepared = false;
    keep(w);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, APIC_ACCESS_ADDR) == w->v->no_apic.value);
    assert_true(HW(w, VIRTUAL_APIC_ADDR) == HPA(ELSEWHERE));
    assert_int_equal(w->port->pins, 1);
    w->v->prepared = false;
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == w->v->no_apic.value);
    w->v->prepared = false;
}

static void meanwhile_the_field_is_not_the_hosts(void **state)
{
    struct world *w = *state;

    keep(w);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 1, NVIRT_VMCS_APIC_ACCESS_ADDR, 0x1000),
                     NVIRT_ERR_STATE);
    prepare(w);
    w->v->prepared = false;
    assert_true(GET1(w, APIC_ACCESS_ADDR) == HPA(APIC));
    assert_int_equal(nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(APIC), false), NVIRT_OK);
    SET1(w, APIC_ACCESS_ADDR, 0x1000);
    change_begin(w, APIC);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == 0x1000);
    w->v->prepared = false;
    change_end(w);
}

/* A CPU that fails is not a move under way: the host would ask again for ever. */
static void a_refused_read_comes_before_asking_again(void **state)
{
    const struct nvirt_event event = { .type = NVIRT_EVENT_EXCEPTION, .vector = 6 };
    struct world *w = *state;

    keep(w);
    prepare(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_OK);
    change_begin(w, APIC);
    w->cpu.fail_vmread = 1;
    assert_int_equal(prepare_status(w), NVIRT_ERR_HARDWARE);
    assert_int_equal(w->cpu.fail_vmread, 0);
    change_end(w);
}

static void bad_input_is_refused(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_keep_apic_page(NULL, nvirt_l1gpa_make(APIC), true), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(APIC + 8), true),
                     NVIRT_ERR_ALIGNMENT);
    prepare(w);
    assert_int_equal(nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(APIC), true), NVIRT_ERR_STATE);
    w->v->prepared = false;
    nvi_field_remove(&w->v->exists, NVIRT_VMCS_APIC_ACCESS_ADDR);
    assert_int_equal(nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(APIC), true),
                     NVIRT_ERR_CAPABILITY);
    nvi_field_add(&w->v->exists, NVIRT_VMCS_APIC_ACCESS_ADDR);
    assert_true(nvi_vmx_apic01_is_settled(w->v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_page_is_found_before_l1_runs),
        TEST(a_move_is_met_by_asking_again),
        TEST(a_move_counts_after_a_plain_exit),
        TEST(the_vcpu_is_kicked_for_it_and_for_nothing_else),
        TEST(a_steady_l1_notices),
        TEST(while_l2_runs_it_waits_for_the_exit),
        TEST(a_flush_of_everything_for_l2_does_not_hide_it),
        TEST(what_the_port_says_is_handed_on),
        TEST(l2_never_gets_at_it),
        TEST(l1_cannot_give_it_away),
        TEST(meanwhile_the_field_is_not_the_hosts),
        TEST(a_refused_read_comes_before_asking_again),
        TEST(bad_input_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
