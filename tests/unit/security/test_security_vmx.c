/* SPDX-License-Identifier: MIT */
/*
 * Published holes of nested VMX, played against the whole nested path: L1 as an attacker, the fake
 * CPU as hardware. docs/security.md says which case each test stands for.
 */
#include "../nested/vmx_world.h"
#include "hw_tables.h"

#define LINKED UINT64_C(0x37000)
#define PDPT12 UINT64_C(0x51000)
#define ROM UINT64_C(0x38000)
#define EPTP12 (EPT12_TOP | 0x1e)

/* ---- memory of L1 is read once ---- */

/* A PAE L2 without EPT12, an MSR bitmap, I/O bitmaps and both lists: all that an entry can read. */
static void ask_for_everything(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    c->proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS;
    c->msr_bitmap = MSR_BITMAP12;
    c->io_bitmap_a = BITMAP_A;
    c->io_bitmap_b = BITMAP_B;
    c->entry_msr_load_count = 1;
    c->entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_SYSENTER_CS);
    c->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    c->guest_efer = 0;
    c->guest_cr4 = 0x2020;
    c->guest_cr3 = PDPT12;
    c->guest_cs_ar = 0xc09b;
}

/* What was checked is what is used: whatever L1's other CPUs write between two looks, there is no
 * second look. */
static void an_entry_reads_no_byte_of_l1_twice(void **state)
{
    struct world *w = *state;
    const uint64_t evil[] = {~UINT64_C(0), ~UINT64_C(0)};
    uint64_t where = 0;

    ready_to_launch(w);
    ask_for_everything(w);
    for (unsigned i = 0; i < 4; i++)
        fake_vm_script(w->port, PDPT12 + i * 8, 8, evil, 2);
    fake_vm_script(w->port, MSR_LIST, 8, evil, 2);
    fake_vm_log_reset(w->port);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(fake_vm_bytes_read(w->port) > 32);
    assert_int_equal(fake_vm_most_reads(w->port, &where), 1);
    prepare(w);
    assert_int_equal(HW(w, GUEST_PDPTE0), 0);
    w->v->prepared = false;
}

/* The region of the current VMCS is L1's to write; what it then holds is nobody's concern. */
static void vmcs12_is_read_once_while_it_changes(void **state)
{
    struct world *w = *state;
    const uint64_t evil[] = {~UINT64_C(0)};
    uint8_t ones[4096];

    memset(ones, 0xff, sizeof ones);
    ready_to_launch(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    for (uint64_t i = 0; i < 8; i++) /* Words of the region turn bad as soon as they were read. */
        fake_vm_script(w->port, VMCS12 + 8 + i * 0x88, 8, evil, 1);
    fake_vm_log_reset(w->port);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    expect_success(w);
    fake_vm_put(w->port, VMCS12, ones, sizeof ones);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    w->v->prepared = true;
    l2_cpuid(w);
    assert_true(GET1(w, GUEST_RIP) == L1_EXIT_RIP);
    for (uint64_t i = 0; i < 4096; i++)
        assert_true(fake_vm_reads(w->port, VMCS12 + i) <= 1);
}

/* The bitmap says "let pass" at the first look and "exit" at the next: the access was decided. */
static void l1s_bitmap_is_not_looked_at_again_after_the_decision(void **state)
{
    struct world *w = *state;
    const uint64_t ones[] = {~UINT64_C(0), ~UINT64_C(0)};

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    fake_vm_msr_set(w->port, 0x1b, 0, false);
    fake_vm_log_reset(w->port);
    fake_vm_script(w->port, MSR_BITMAP12 + 2048, 8, ones, 2);
    w->gprs.r[NVIRT_RCX] = 0x1b;
    w->gprs.r[NVIRT_RAX] = 0x1234;
    w->gprs.r[NVIRT_RDX] = 0;
    exit_with(w, NVIRT_VMX_EXIT_WRMSR, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(fake_vm_msr_get(w->port, 0x1b), 0x1234);
    assert_int_equal(fake_vm_reads(w->port, MSR_BITMAP12 + 2048 + 3), 1);
}

/* Memory that L1 may only read can hold a VMCS; nothing is ever written into it. */
static void a_vmcs_in_read_only_memory_is_not_written(void **state)
{
    struct world *w = *state;
    uint8_t before[4096], after[4096];
    const struct fake_region_l1 rom = {.start = ROM, .bytes = 4096,
                                       .hpa = FAKE_VM_HPA_OFFSET + ROM, .block = 4096,
                                       .rights = NVIRT_ACCESS_READ, .memory_type = 6};

    memset(before, 0x5a, sizeof before);
    memcpy(before, &(uint32_t){revision12(w)}, 4);
    fake_vm_put(w->port, ROM, before, sizeof before);
    fake_vm_region(w->port, &rom);
    vmxon(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, ROM);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, ROM);
    expect_success(w);
    fill_vmcs12(w);
    vmlaunch(w);
    l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, ROM);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    fake_vm_get(w->port, ROM, after, sizeof after);
    assert_memory_equal(before, after, sizeof before);
}

/* ---- failed entries ---- */

static bool belongs_to_l0(uint32_t field)
{
    enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind((enum nvirt_vmcs_field)field);

    if (field == NVIRT_VMCS_CR0_SHADOW || field == NVIRT_VMCS_CR4_SHADOW)
        return false;
    return kind == NVIRT_VMCS_KIND_HOST ||
           (kind == NVIRT_VMCS_KIND_CONTROL &&
            nvirt_vmcs_info((enum nvirt_vmcs_field)field)->group != NVIRT_VMCS_GROUP_EVENT);
}

static void expect_l0s_fields(struct world *w, const struct nvirt_vmcs *before)
{
    const uint64_t mode = NVIRT_VMX_ENTRY_CTL_IA32E;

    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        uint64_t changed = before->field[i] ^ w->v->hw[NVI_01]->image.field[i];

        if (i == NVIRT_VMCS_ENTRY_CONTROLS)
            changed &= ~mode;
        if (belongs_to_l0(i))
            assert_true(changed == 0);
    }
}

/* A VMfail changes RIP, flags and the blocking by MOV SS or STI, and nothing else of L1. */
static void expect_only_the_flags_changed(struct world *w, const struct nvirt_vmcs *before)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) != NVIRT_VMCS_KIND_EXIT &&
            i != NVIRT_VMCS_GUEST_RIP && i != NVIRT_VMCS_GUEST_RFLAGS &&
            i != NVIRT_VMCS_GUEST_INTERRUPTIBILITY && i != NVIRT_VMCS_ENTRY_INTERRUPTION)
            assert_true(before->field[i] == w->v->hw[NVI_01]->image.field[i]);
    }
}

static void start_over(struct world *w)
{
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    world_vmcs01(w);
    ready_to_launch(w);
    SET1(w, GUEST_RIP, L1_RIP);
}

/* Values that pass the checks and are not L0's: none may turn up in vmcs01. */
static void make_distinct(struct nvirt_vmcs *c)
{
    c->tsc_offset = 0x1111;
    c->exception_bitmap = 0x40;
    c->pf_error_mask = 5;
    c->pf_error_match = 1;
    c->cr3_target0 = c->cr3_target1 = 0x2222;
    c->host_cr3 = L1_CR3;
    c->host_sysenter_esp = c->host_sysenter_eip = 0x3333;
    c->host_fs_base = c->host_gs_base = 0x4444;
    c->host_gdtr_base = c->host_idtr_base = 0x5555;
    c->exit_msr_store_addr = c->exit_msr_load_addr = MSR_LIST;
    c->entry_msr_load_addr = MSR_LIST;
}

static void launch_with(struct world *w, uint32_t field, uint64_t value, unsigned *failed)
{
    struct nvirt_vmcs before;

    make_distinct(&w->v->vmcs12);
    w->v->vmcs12.field[field] = nvirt_vmcs_truncate((enum nvirt_vmcs_field)field, value);
    prepare(w);
    before = w->v->hw[NVI_01]->image;
    exit_with(w, NVIRT_VMX_EXIT_VMLAUNCH, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    expect_l0s_fields(w, &before);
    if (!w->v->dead && nvirt_vmx_level(w->v) == 1) {
        ++*failed;
        if ((GET1(w, GUEST_RFLAGS) & NVIRT_RFLAGS_ZF) != 0)
            expect_only_the_flags_changed(w, &before);
    }
    start_over(w);
    assert_int_equal(w->port->pins, 0);
}

/* Every field of vmcs12 with every kind of bad value, one at a time. */
static void no_failed_entry_changes_what_is_l0s(void **state)
{
    static const uint64_t values[] = {0, 1, 0xfff, 0x8000000000000000, 0x0000800000000000,
                                      0x00ff000000000000, ~UINT64_C(0)};
    struct world *w = *state;
    unsigned failed = 0;
    uint32_t pages = 0;

    ready_to_launch(w);
    for (uint32_t field = 0; field < NVIRT_VMCS_FIELD_COUNT; field++) {
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            launch_with(w, field, values[i], &failed);
            if (field == 0 && i == 0)
                pages = w->port->pool_used;
            assert_true(w->port->pool_used <= pages + 1);
        }
    }
    assert_true(failed > 200);
}

/* Pins do not add up over failed entries, whatever pages vmcs12 names (CVE-2026-68081). */
static void failed_entries_with_ever_new_bitmaps_keep_two_pins(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    w->v->vmcs12.entry_msr_load_count = 1;
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    for (uint64_t i = 0; i < 100; i++) {
        w->v->vmcs12.io_bitmap_a = 0x100000 + i * 0x2000;
        w->v->vmcs12.io_bitmap_b = 0x101000 + i * 0x2000;
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_true(w->port->pins <= 2);
    }
    assert_true(w->v->vmcs12.exit_reason == 0x80000022);
}

/* ---- activity state ---- */

/* In shutdown and wait-for-SIPI the CPU takes no interrupt of the host's: L1 cannot put it there,
 * whatever the CPU itself offers [SDM 3C "Guest Non-Register State"]. */
static void l2_cannot_stop_the_cpu_by_its_activity_state(void **state)
{
    struct world *w = *state;

    assert_int_equal(w->caps.misc & (7u << 6), 7u << 6);
    assert_int_equal(w->offer.misc & (7u << 6), NVIRT_VMX_MISC_ACTIVITY_HLT);
    ready_to_launch(w);
    for (uint64_t activity = 2; activity < 9; activity++) {
        w->v->vmcs12.guest_activity = activity;
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_true(w->v->vmcs12.exit_reason == 0x80000021);
    }
    w->v->vmcs12.guest_activity = NVIRT_VMX_ACTIVITY_HLT;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(HW(w, GUEST_ACTIVITY), NVIRT_VMX_ACTIVITY_HLT);
    w->v->prepared = true;
    l2_cpuid(w);
    assert_int_equal(GET1(w, GUEST_ACTIVITY), NVIRT_VMX_ACTIVITY_ACTIVE);
}

/* ---- exits ---- */

static void l2_exit(struct world *w, uint32_t reason)
{
    if (nvirt_vmx_level(w->v) == 1) {
        w->v->vmx.launched = false;
        fill_vmcs12(w);
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
    exit_with(w, reason, 0, 0);
    if (reason == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION) {
        /* nvirt's own tables hold no such entry: the host is told that hardware disagrees. */
        assert_int_equal(w->status, NVIRT_ERR_HARDWARE);
        start_over(w);
        return;
    }
    assert_int_equal(w->status, NVIRT_OK);
    if (nvirt_vmx_level(w->v) == 1) {
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
        assert_true(w->v->vmcs12.exit_reason == reason);
    } else {
        assert_true(w->exit.verdict == NVIRT_VERDICT_DONE || w->exit.verdict == NVIRT_VERDICT_L2);
    }
    if (reason >= NVIRT_VMX_EXIT_REASON_LIMIT)
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
}

static void l1_exit(struct world *w, uint32_t reason)
{
    SET1(w, GUEST_RIP, L1_RIP);
    exit_with(w, reason, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    if (reason == NVIRT_VMX_EXIT_TRIPLE_FAULT) {
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1_SHUTDOWN);
        assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
        return;
    }
    assert_true(w->exit.verdict == NVIRT_VERDICT_DONE || w->exit.verdict == NVIRT_VERDICT_L1);
    if (reason >= NVIRT_VMX_EXIT_REASON_LIMIT)
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
}

/* No exit reason, known or not, of either level leaves anything undefined or ends the host. */
static void every_exit_reason_has_an_outcome(void **state)
{
    struct world *w = *state;

    for (uint32_t reason = 0; reason < 0x10000; reason++)
        l1_exit(w, reason);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    world_vmcs01(w);
    ready_to_launch(w);
    for (uint32_t reason = 0; reason < 0x10000; reason++)
        l2_exit(w, reason);
}

/* VMCALL of L2 is L1's exit; no host sees it as a call of L1's. */
static void a_hypercall_of_l2_is_never_one_of_l1(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_VMCALL);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.level, 1);
}

/* ---- second-stage tables ---- */

#define PT12 (EPT12_TOP + 0x3000)
#define RWX_WB UINT64_C(0x37)

static void launch_with_ept12(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPTP12;
    fake_vm_put64(w->port, EPT12_TOP, (EPT12_TOP + 0x1000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x1000, (EPT12_TOP + 0x2000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x2000, PT12 | 7);
    fake_vm_put64(w->port, PT12 + 5 * 8, 0x8000 | RWX_WB);
    fake_vm_put64(w->port, PT12 + 7 * 8, 0xa000 | RWX_WB);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 reads @p l2gpa, which faults in EPT02. */
static void touch(struct world *w, uint64_t l2gpa)
{
    const struct fake_set set[] = {{0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION}, {0x6400, 0x181},
                                   {0x4404, 0}, {0x4408, 0}, {0x440c, 0}, {0x440e, 0},
                                   {0x2400, l2gpa}, {0x640a, 0}};

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
}

/* What hardware finds for L2 now: L1's page @p l1gpa, or nothing for UINT64_MAX. */
static void expect_l2_finds(struct world *w, uint64_t l2gpa, uint64_t l1gpa)
{
    struct hw_page page;
    enum hw_result result;

    prepare(w);
    assert_int_equal(w->run.level, 2);
    result = hw_ept_walk(w->port, HW(w, EPTP), l2gpa, &page);
    w->v->prepared = false;
    if (l1gpa == UINT64_MAX) {
        assert_int_equal(result, HW_NOT_PRESENT);
        return;
    }
    assert_int_equal(result, HW_PAGE);
    assert_true(page.hpa == l1gpa + FAKE_VM_HPA_OFFSET);
}

/* A 2-MiB leaf of EPT12 becomes a table by a write that nvirt does not see, and a leaf again; then
 * the host moves everything. L2 finds L1's old page or its new one, never a third, and at the end
 * nothing of before (CVE-2026-53359, CVE-2026-46113). */
static void a_leaf_that_became_a_table_behind_our_back(void **state)
{
    struct world *w = *state;
    const uint64_t pde = EPT12_TOP + 0x2000;
    const struct fake_region_l1 big = {.start = 0x200000, .bytes = 0x400000,
                                       .hpa = FAKE_VM_HPA_OFFSET + 0x200000, .block = 0x200000,
                                       .rights = FAKE_ALL_RIGHTS, .memory_type = 6};

    fake_vm_region(w->port, &big);
    launch_with_ept12(w);
    fake_vm_put64(w->port, pde, 0x200000 | RWX_WB | NVIRT_BIT(7));
    touch(w, 0x5000);
    expect_l2_finds(w, 0x5000, 0x205000);
    fake_vm_put64(w->port, pde, PT12 | 7);
    touch(w, 0x7000);
    expect_l2_finds(w, 0x7000, 0xa000);
    fake_vm_put64(w->port, pde, 0x400000 | RWX_WB | NVIRT_BIT(7));
    touch(w, 0x9000);
    expect_l2_finds(w, 0x9000, 0x409000);
    fake_vm_invalidate(w->port);
    expect_l2_finds(w, 0x5000, UINT64_MAX);
    expect_l2_finds(w, 0x7000, UINT64_MAX);
    expect_l2_finds(w, 0x9000, UINT64_MAX);
    fake_vm_put64(w->port, pde, PT12 | 7);
    touch(w, 0x5000);
    expect_l2_finds(w, 0x5000, 0x8000);
}

/* L0 itself writes into EPT12: a VMPTRST of L1's whose operand is a page-table entry. After INVEPT
 * L2 finds what the entry says now, which is for L1 to deal with (CVE-2026-23401, -23402). */
static void an_operand_inside_ept12_is_only_memory(void **state)
{
    struct world *w = *state;

    launch_with_ept12(w);
    touch(w, 0x5000);
    expect_l2_finds(w, 0x5000, 0x8000);
    l2_cpuid(w);
    exit_with(w, NVIRT_VMX_EXIT_VMPTRST, PT12 + 5 * 8, INFO_PLAIN);
    expect_success(w);
    assert_true(fake_vm_get64(w->port, PT12 + 5 * 8) == VMCS12);
    fake_vm_put64(w->port, OPERAND, EPTP12);
    fake_vm_put64(w->port, OPERAND + 8, 0);
    w->gprs.r[NVIRT_RCX] = NVIRT_VMX_INVEPT_SINGLE;
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    expect_success(w);
    vmresume(w);
    expect_l2_finds(w, 0x5000, UINT64_MAX);
    touch(w, 0x5000); /* The entry has no rights now. */
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_EPT_VIOLATION);
}

/* ---- the end of a vCPU ---- */

enum stage { OFF, ON, CURRENT, LAUNCHED, PREPARED, RAN, BACK, STAGES };

static void reach(struct world *w, enum stage stage)
{
    if (stage >= ON)
        vmxon(w);
    if (stage >= CURRENT) {
        load_vmcs12(w, VMCS12);
        fill_vmcs12(w);
        w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS;
        w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
        w->v->vmcs12.io_bitmap_a = BITMAP_A;
        w->v->vmcs12.io_bitmap_b = BITMAP_B;
    }
    if (stage >= LAUNCHED) {
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
    if (stage == PREPARED)
        prepare(w);
    if (stage >= RAN)
        exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    if (stage == BACK)
        l2_cpuid(w);
}

static void expect_nothing_active(struct world *w)
{
    for (uint32_t i = 0; i < FAKE_CPU_REGIONS; i++)
        assert_false(w->cpu.region[i].active);
}

/* Destroyed in any state, a vCPU leaves no pin, no page and no VMCS that is still in the CPU. */
static void a_vcpu_destroyed_in_any_state_leaves_nothing(void **state)
{
    struct world *w = *state;
    uint32_t pages = w->port->pool_used;

    for (enum stage stage = OFF; stage < STAGES; stage++) {
        reach(w, stage);
        assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
        expect_nothing_active(w);
        assert_int_equal(w->port->pins, 0);
        assert_true(w->port->pool_used < pages);
        world_vcpu(w);
        assert_int_equal(w->port->pool_used, pages);
    }
}

/* After VMXOFF and after a reset no page that vmcs12 named is held; VMCLEAR of the current VMCS and
 * of any other leaves a vCPU that can go on. */
static void vmxoff_vmclear_and_reset_release_what_vmcs12_named(void **state)
{
    struct world *w = *state;

    for (enum stage stage = OFF; stage < STAGES; stage++) {
        reach(w, stage);
        if (nvirt_vmx_level(w->v) == 1 && w->v->vmx.on) {
            l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12_B);
            l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
            l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
            expect_vmfail_invalid(w);
            l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
            assert_int_equal(w->port->pins, 0);
        }
        assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
        assert_int_equal(w->port->pins, 0);
        assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
        expect_nothing_active(w);
        world_vmcs01(w);
        prepare(w);
        w->v->prepared = false;
    }
}

/* ---- leaving L2: barriers and flushes ---- */

/* However L2 is left for L1, the host is told that predictors still hold L2's (CVE-2022-2196). */
static void each_way_from_l2_to_l1_asks_for_a_barrier(void **state)
{
    struct world *w = *state;
    const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI;
    vmlaunch(w);
    prepare(w);
    assert_false(w->run.branch_barrier);
    w->v->prepared = true;
    l2_cpuid(w); /* by an exit */
    prepare(w);
    assert_true(w->run.branch_barrier);
    prepare(w);
    assert_false(w->run.branch_barrier);
    vmresume(w);
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w); /* by an event */
    assert_int_equal(w->run.level, 1);
    assert_true(w->run.branch_barrier);
    vmresume(w);
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK); /* by force */
    prepare(w);
    assert_true(w->run.branch_barrier);
    w->v->prepared = false;
}

static void with_vpid(struct world *w, uint16_t vpid12)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VPID;
    w->v->vmcs12.vpid = vpid12;
}

static void invvpid_all(struct world *w)
{
    fake_vm_put64(w->port, OPERAND, 0);
    fake_vm_put64(w->port, OPERAND + 8, 0);
    w->gprs.r[NVIRT_RDX] = NVIRT_VMX_INVVPID_ALL;
    l1_insn(w, NVIRT_VMX_EXIT_INVVPID, INFO_PLAIN | INFO_REG2(NVIRT_RDX));
    expect_success(w);
}

static bool flushed(struct world *w, uint32_t vpid)
{
    for (uint32_t i = 0; i < w->cpu.ops && i < FAKE_CPU_LOG; i++) {
        const struct fake_op *op = &w->cpu.op[i];

        if (op->kind == FAKE_INVVPID && (op->type == 2 || (op->type == 1 && op->tag == vpid)))
            return true;
        /* Takes what lies under every VPID. */
        if (op->kind == FAKE_INVEPT && (op->type == 2 || op->tag == HW(w, EPTP)))
            return true;
    }
    return false;
}

/* L2 is about to run: what prepare has flushed is in the log. */
static void expect_l2_flushed(struct world *w, bool expected)
{
    fake_cpu_log_reset(&w->cpu);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(flushed(w, (uint32_t)HW(w, VPID)), expected);
    w->v->prepared = true;
    l2_cpuid(w);
}

/* L1 asks for a flush, then its entry fails in each way there is: the next good one flushes. */
static void a_failed_entry_loses_no_flush(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    with_vpid(w, 9);
    vmlaunch(w);
    expect_l2_flushed(w, true);
    vmresume(w);
    expect_l2_flushed(w, false);
    invvpid_all(w);
    w->v->vmcs12.pin_controls = 0; /* VMfail */
    vmresume(w);
    w->v->vmcs12.pin_controls = 0x16;
    w->v->vmcs12.guest_rflags = 0; /* entry failure */
    vmresume(w);
    w->v->vmcs12.guest_rflags = 2;
    w->v->vmcs12.entry_msr_load_count = 1; /* entry failure after the tag was bound */
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    w->v->vmcs12.entry_msr_load_count = 0;
    vmresume(w);
    expect_l2_flushed(w, true);
}

/* A tag that ran elsewhere, was forgotten by force, or stood for another VPID of L1's is flushed
 * before its first use; one that merely comes back is not. */
static void a_tag_is_trusted_only_where_and_while_it_is_known(void **state)
{
    struct world *w = *state;
    struct nvirt_port_cpu *other = calloc(1, sizeof *other);

    ready_to_launch(w);
    with_vpid(w, 1);
    vmlaunch(w);
    expect_l2_flushed(w, true);
    /* What an earlier owner left under the other tags went with the root's first flush. There are
     * four: the fifth VPID gets a tag second hand. */
    for (uint16_t vpid12 = 2; vpid12 <= 5; vpid12++) {
        with_vpid(w, vpid12);
        vmresume(w);
        expect_l2_flushed(w, vpid12 == 5);
    }
    with_vpid(w, 1); /* second hand */
    vmresume(w);
    expect_l2_flushed(w, true);
    vmresume(w);
    expect_l2_flushed(w, false);
    start_over(w); /* by force */
    with_vpid(w, 1);
    vmlaunch(w);
    expect_l2_flushed(w, true);
    vmresume(w);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    *other = w->cpu; /* another CPU; the regions are memory, which both see */
    fake_cpu_log_reset(other);
    assert_int_equal(nvirt_vmx_prepare(w->v, other, &w->run), NVIRT_OK);
    assert_int_equal(w->run.level, 2);
    assert_int_not_equal(other->count.invept, 0); /* takes what lies under the tag too */
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, other), NVIRT_OK);
    memcpy(w->cpu.region, other->region, sizeof other->region);
    expect_l2_flushed(w, true); /* and back */
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_reads_no_byte_of_l1_twice),
        TEST(vmcs12_is_read_once_while_it_changes),
        TEST(l1s_bitmap_is_not_looked_at_again_after_the_decision),
        TEST(a_vmcs_in_read_only_memory_is_not_written),
        TEST(no_failed_entry_changes_what_is_l0s),
        TEST(failed_entries_with_ever_new_bitmaps_keep_two_pins),
        TEST(l2_cannot_stop_the_cpu_by_its_activity_state),
        TEST(every_exit_reason_has_an_outcome),
        TEST(a_hypercall_of_l2_is_never_one_of_l1),
        TEST(a_leaf_that_became_a_table_behind_our_back),
        TEST(an_operand_inside_ept12_is_only_memory),
        TEST(a_vcpu_destroyed_in_any_state_leaves_nothing),
        TEST(vmxoff_vmclear_and_reset_release_what_vmcs12_named),
        TEST(each_way_from_l2_to_l1_asks_for_a_barrier),
        TEST(a_failed_entry_loses_no_flush),
        TEST(a_tag_is_trusted_only_where_and_while_it_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
