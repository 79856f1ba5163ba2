/* SPDX-License-Identifier: MIT */
/*
 * Entries of L2 and exits from it: what reaches vmcs02, vmcs12 and vmcs01, what a failed entry
 * leaves, and what a transition costs.
 */
#include "vmx_world.h"

static uint64_t vmcs02(struct world *w)
{
    return w->v->hw[NVI_02].hpa.value;
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
    assert_true(stats->vmwrites - before.vmwrites <= 48);
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

/* ---- failed entries ---- */

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
    before = w->v->hw[NVI_01].image;
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
            assert_true(before.field[i] == w->v->hw[NVI_01].image.field[i]);
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

/* ---- pages that vmcs12 names ---- */

static void with_io_bitmaps(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    w->v->vmcs12.io_bitmap_a = BITMAP_A;
    w->v->vmcs12.io_bitmap_b = BITMAP_B;
}

static void io_bitmaps_are_pinned_and_kept_until_vmxoff(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    vmlaunch(w);
    prepare(w);
    assert_int_equal(w->port->pins, 2);
    assert_true(HW(w, IO_BITMAP_A) == FAKE_VM_HPA_OFFSET + BITMAP_A);
    assert_true(HW(w, IO_BITMAP_B) == FAKE_VM_HPA_OFFSET + BITMAP_B);
    for (int i = 0; i < 5; i++) {
        l2_cpuid(w);
        vmresume(w);
    }
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 2);
    l2_cpuid(w);
    w->v->vmcs12.io_bitmap_b = BITMAP_A;
    vmresume(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 3);
    assert_int_equal(w->port->pins, 2);
    l2_cpuid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    assert_int_equal(w->port->pins, 0);
}

static void an_io_bitmap_without_memory_is_all_ones_in_hardware(void **state)
{
    struct world *w = *state;
    const uint8_t *ones = nvirt_port_page_pointer(w->port, w->v->all_ones);

    with_io_bitmaps(w);
    w->v->vmcs12.io_bitmap_b = L1_RAM + 0x1000;
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_UNCONDITIONAL_IO) == 0);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_IO_BITMAPS) != 0);
    assert_true(HW(w, IO_BITMAP_A) == FAKE_VM_HPA_OFFSET + BITMAP_A);
    assert_true(HW(w, IO_BITMAP_B) == w->v->all_ones.value);
    for (uint32_t i = 0; i < NVIRT_PAGE_SIZE; i++)
        assert_int_equal(ones[i], 0xff);
    w->v->prepared = true;
    exit_with(w, NVIRT_VMX_EXIT_IO, UINT64_C(0x80000000) | (0x9000u << 16), 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_IO);
}

/* Hardware looked at L1's bitmap: the exit is L1's though L1 has cleared the bit meanwhile. */
static void a_port_exit_nobody_else_asked_for_is_l1s_without_a_second_read(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 1); /* Port 0x80. */
    vmlaunch(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 0);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x80u << 16, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

/* A port that L1's bitmap lets pass is the host's when the host looks at ports too. */
static void a_port_l1_lets_pass_is_the_hosts(void **state)
{
    struct world *w = *state;

    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_UNCONDITIONAL_IO);
    with_io_bitmaps(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 1); /* Port 0x80. */
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x81u << 16, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x80u << 16, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static bool bit_of(const uint8_t *bitmap, uint32_t msr, bool write)
{
    uint32_t byte = 0;
    uint8_t mask = 0;

    assert_true(nvi_vmx_msr_bitmap_bit(msr, &byte, &mask));
    return (bitmap[byte + (write ? 2048u : 0u)] & mask) != 0;
}

/* vmcs02's bitmap: an MSR passes only when L0 and L1 both let it pass, and it is on the list. */
static void the_msr_bitmap_is_the_union_of_both_levels(void **state)
{
    struct world *w = *state;
    const uint8_t *merged = nvirt_port_page_pointer(w->port, w->v->msr_bitmap02);
    uint32_t byte = 0;
    uint8_t mask = 0;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_LSTAR, &byte, &mask));
    fake_vm_put(w->port, MSR_BITMAP12 + byte + 2048, &mask, 1); /* L1 wants writes of LSTAR. */
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_PAT, &byte, &mask));
    w->msr_bitmap[byte] |= mask; /* L0 wants reads of PAT. */
    vmlaunch(w);
    prepare(w);
    assert_true(HW(w, MSR_BITMAP) == w->v->msr_bitmap02.value);
    assert_false(bit_of(merged, NVIRT_MSR_STAR, false));
    assert_false(bit_of(merged, NVIRT_MSR_STAR, true));
    assert_false(bit_of(merged, NVIRT_MSR_LSTAR, false));
    assert_true(bit_of(merged, NVIRT_MSR_LSTAR, true));
    assert_true(bit_of(merged, NVIRT_MSR_PAT, false));
    assert_false(bit_of(merged, NVIRT_MSR_PAT, true));
    assert_true(bit_of(merged, NVIRT_MSR_EFER, true));
    assert_true(bit_of(merged, 0x1b, false));
    /* L0 changes its mind while L2 runs (CVE-2026-74516). */
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_STAR, &byte, &mask));
    w->msr_bitmap[byte] |= mask;
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_true(bit_of(merged, NVIRT_MSR_STAR, false));
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    w->v->prepared = true;
}

/* ---- the second stage ---- */

static void violation(struct world *w, uint64_t l2gpa, uint64_t qualification)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION },
        { 0x6400, qualification },
        { 0x2400, l2gpa },
        { 0x640a, 0xabc },
        { 0x4408, 0 },
        { 0x440c, 3 },
        { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
}

static void a_first_touch_without_ept12_is_filled_in(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    violation(w, 0x5000, 0x181);
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
    violation(w, L1_RAM + 0x5000, 0x181);
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
    violation(w, 0x5123, 0x181);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    violation(w, 0x7123, 0x182 | NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING);
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
    violation(w, 0x6000, 0x181);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION);
    assert_true(w->v->vmcs12.guest_physical == 0x6000);
}

/* INVEPT of L1 costs nothing then, and one INVEPT of the root when it is next used. */
static void invept_of_l1_falls_due_at_the_next_entry(void **state)
{
    struct world *w = *state;

    launch_with_ept12(w);
    violation(w, 0x5123, 0x181);
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
    violation(w, 0x5000, 0x181);
    assert_int_equal(w->status, NVIRT_ERR_NO_PAGE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    w->vm.page_budget = 64;
    violation(w, 0x5000, 0x181);
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
    violation(w, 0x5000, 0x181);
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
        TEST(io_bitmaps_are_pinned_and_kept_until_vmxoff),
        TEST(an_io_bitmap_without_memory_is_all_ones_in_hardware),
        TEST(a_port_exit_nobody_else_asked_for_is_l1s_without_a_second_read),
        TEST(a_port_l1_lets_pass_is_the_hosts),
        TEST(the_msr_bitmap_is_the_union_of_both_levels),
        TEST(a_first_touch_without_ept12_is_filled_in),
        TEST(memory_the_host_does_not_map_is_the_hosts),
        TEST(a_violation_in_ept12_is_l1s),
        TEST(a_misconfiguration_in_ept12_is_l1s),
        TEST(invept_of_l1_falls_due_at_the_next_entry),
        TEST(no_page_for_a_table_is_reported_and_repeatable),
        TEST(pae_l2_without_ept12_gets_its_pdptes_from_memory),
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
