/* SPDX-License-Identifier: MIT */
/*
 * Control registers that exit because bits of them are owned, the MSRs nvirt holds, the MSR
 * accesses of L2 that L1 lets pass, and the MSR lists of vmcs12.
 */
#include "vmx_world.h"

#define TO_CR(n, gpr) ((uint64_t)(n) | ((uint64_t)(gpr) << 8))
#define CLTS (UINT64_C(2) << 4)
#define LMSW(data) ((UINT64_C(3) << 4) | ((uint64_t)(data) << 16))

static void mov_to_cr(struct world *w, uint32_t number, uint64_t value)
{
    w->gprs.r[NVIRT_RBX] = value;
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, TO_CR(number, NVIRT_RBX), 0);
    assert_int_equal(w->status, NVIRT_OK);
}

static void expect_done(struct world *w)
{
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_false(w->v->pending.exception.waiting);
}

static void expect_gp(struct world *w)
{
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(w->v->pending.exception.waiting);
    assert_int_equal(w->v->pending.exception.vector, NVIRT_VECTOR_GP);
    assert_true(w->v->pending.exception.has_error);
    w->v->pending.exception.waiting = false;
}

/* ---- CR4 of L1 ---- */

static void l1_sees_vmxe_as_it_wrote_it(void **state)
{
    struct world *w = *state;

    mov_to_cr(w, 4, 0x20);
    expect_done(w);
    assert_true(GET1(w, CR4_SHADOW) == 0x20);
    assert_true(GET1(w, GUEST_CR4) == 0x2020);
    assert_true(GET1(w, GUEST_RIP) == L1_RIP + INSN_LENGTH);
    mov_to_cr(w, 4, 0x2020);
    assert_true(GET1(w, CR4_SHADOW) == 0x2020);
}

static void in_vmx_operation_vmxe_cannot_be_cleared(void **state)
{
    struct world *w = *state;

    vmxon(w);
    mov_to_cr(w, 4, 0x20);
    expect_gp(w);
    assert_true(GET1(w, CR4_SHADOW) == 0x2020);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    mov_to_cr(w, 4, 0x20);
    expect_done(w);
}

static void reserved_bits_of_cr4_are_gp(void **state)
{
    struct world *w = *state;

    for (uint32_t bit = 0; bit < 64; bit++) {
        if ((w->offer.cr4_fixed1 >> bit & 1) == 0) {
            mov_to_cr(w, 4, 0x2020 | NVIRT_BIT(bit));
            expect_gp(w);
        }
    }
}

static void in_long_mode_pae_and_la57_cannot_change(void **state)
{
    struct world *w = *state;

    mov_to_cr(w, 4, 0x2000);
    expect_gp(w);
    w->v->offer.cr4_fixed1 |= NVIRT_CR4_LA57;
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_LA57);
    expect_gp(w);
}

static void pcide_needs_long_mode_and_a_clear_pcid(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_CR3, L1_CR3 | 1);
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_PCIDE);
    expect_gp(w);
    SET1(w, GUEST_CR3, L1_CR3);
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_PCIDE);
    expect_done(w);
    mov_to_cr(w, 0, 0x10031); /* Paging off is impossible in 64-bit mode and with PCIDE. */
    expect_gp(w);
}

/* [SDM 3A "Operations that Invalidate TLBs"]: which changes of CR4 flush L1's own tag. */
static void changes_of_cr4_that_flush_are_flushed_and_others_not(void **state)
{
    struct world *w = *state;
    static const struct {
        uint64_t from, to;
        bool flush;
    } rows[] = {
        { 0x20, 0xa0, true },     { 0xa0, 0x20, true },      { 0x20, 0x620, false },
        { 0x20, 0x100020, true }, { 0x100020, 0x20, false }, { 0x20, 0x200020, false },
        { 0x20020, 0x20, true },  { 0x20, 0x20020, false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SET1(w, CR4_SHADOW, rows[i].from);
        SET1(w, GUEST_CR4, rows[i].from | 0x2000);
        prepare(w);
        fake_cpu_log_reset(&w->cpu);
        mov_to_cr(w, 4, rows[i].to);
        expect_done(w);
        prepare(w);
        assert_int_equal(w->cpu.ops, rows[i].flush ? 1 : 0);
        if (rows[i].flush)
            assert_true(w->cpu.op[0].kind == FAKE_INVVPID && w->cpu.op[0].tag == VPID01);
    }
}

/* ---- CR0 of L1 ---- */

static void impossible_values_of_cr0_are_gp(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { 0x80010030 /* PG without PE. */, 0xa0010031 /* NW without CD. */,
                             UINT64_C(0x180010031) /* High half. */, 0x10031 /* PG off, CS.L. */ };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mov_to_cr(w, 0, bad[i]);
        expect_gp(w);
        assert_true(GET1(w, GUEST_CR0) == 0x80010031);
    }
}

static void in_vmx_operation_the_fixed_bits_of_cr0_hold(void **state)
{
    struct world *w = *state;

    mov_to_cr(w, 0, 0x80010011); /* NE clear, outside. */
    expect_done(w);
    assert_true((GET1(w, GUEST_CR0) & NVIRT_CR0_NE) != 0);
    assert_true((GET1(w, CR0_SHADOW) & NVIRT_CR0_NE) == 0);
    mov_to_cr(w, 0, 0x80010031);
    vmxon(w);
    mov_to_cr(w, 0, 0x80010011);
    expect_gp(w);
}

static void undefined_bits_of_cr0_are_ignored_and_et_is_fixed(void **state)
{
    struct world *w = *state;

    mov_to_cr(w, 0, 0x80010021 | NVIRT_BIT(10) | NVIRT_BIT(28));
    expect_done(w);
    assert_true(GET1(w, CR0_SHADOW) == 0x80010031);
}

static void clts_and_lmsw_change_their_bits_only(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_CR0, 0x80010039);
    SET1(w, CR0_SHADOW, 0x80010039);
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, CLTS, 0);
    expect_done(w);
    assert_true(GET1(w, CR0_SHADOW) == 0x80010031);
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, LMSW(0xfffe), 0);
    expect_done(w);
    assert_true(GET1(w, CR0_SHADOW) == 0x8001003f); /* PE is not cleared. */
    assert_true(GET1(w, GUEST_CR0) == 0x8001003f);
}

static void accesses_to_cr3_and_cr8_are_the_hosts(void **state)
{
    struct world *w = *state;

    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, TO_CR(3, 0), 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, TO_CR(8, 0), 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, TO_CR(0, 0) | (1 << 4), 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
}

static void compatibility(struct world *w, uint64_t cr0)
{
    SET1(w, GUEST_CS_AR, 0xc09b);
    SET1(w, GUEST_CR0, cr0);
    SET1(w, CR0_SHADOW, cr0);
}

static void long_mode_starts_and_ends_with_paging(void **state)
{
    struct world *w = *state;

    compatibility(w, 0x80010031);
    prepare(w);
    fake_cpu_log_reset(&w->cpu);
    mov_to_cr(w, 0, 0x10031);
    expect_done(w);
    assert_true(GET1(w, GUEST_EFER) == NVIRT_EFER_LME);
    assert_true((GET1(w, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E) == 0);
    assert_true(GET1(w, GUEST_CR0) == 0x10031);
    prepare(w);
    assert_int_equal(w->cpu.ops, 1); /* Paging went off: L1's own tag is flushed. */
    mov_to_cr(w, 0, 0x80010031);
    expect_done(w);
    assert_true(GET1(w, GUEST_EFER) == 0x500);
    assert_true((GET1(w, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E) != 0);
    prepare(w);
    assert_int_equal(w->cpu.ops, 1);
}

static void long_mode_needs_pae_a_32_bit_cs_and_a_32_bit_tss(void **state)
{
    struct world *w = *state;

    compatibility(w, 0x10031);
    SET1(w, GUEST_EFER, NVIRT_EFER_LME);
    SET1(w, CR4_SHADOW, 0x2000);
    SET1(w, GUEST_CR4, 0x2000);
    mov_to_cr(w, 0, 0x80010031);
    expect_gp(w);
    SET1(w, GUEST_CR4, 0x2020);
    SET1(w, CR4_SHADOW, 0x2020);
    SET1(w, GUEST_CS_AR, 0xa09b);
    mov_to_cr(w, 0, 0x80010031);
    expect_gp(w);
    SET1(w, GUEST_CS_AR, 0xc09b);
    SET1(w, GUEST_TR_AR, 0x83);
    mov_to_cr(w, 0, 0x80010031);
    expect_gp(w);
    SET1(w, GUEST_TR_AR, 0x8b);
    mov_to_cr(w, 0, 0x80010031);
    expect_done(w);
}

static void pae_paging_loads_and_checks_its_pdptes(void **state)
{
    struct world *w = *state;

    compatibility(w, 0x10031);
    SET1(w, GUEST_EFER, 0);
    SET1(w, GUEST_CR3, 0x50020);
    fake_vm_put64(w->port, 0x50020, 0x61001);
    fake_vm_put64(w->port, 0x50028, 0x62002); /* Not present: its other bits do not matter. */
    mov_to_cr(w, 0, 0x80010031);
    expect_done(w);
    assert_true(GET1(w, GUEST_PDPTE0) == 0x61001);
    fake_vm_put64(w->port, 0x50028, 0x62003);
    mov_to_cr(w, 4, 0x20a0); /* PGE: loads them again. */
    expect_gp(w);
    assert_true(GET1(w, CR4_SHADOW) == 0x2020);
    assert_true(GET1(w, GUEST_PDPTE1) == 0x62002);
    fake_vm_put64(w->port, 0x50028, 0x62001 | NVIRT_BIT(40));
    mov_to_cr(w, 0, 0xc0010031);
    expect_gp(w);
    fake_vm_put64(w->port, 0x50028, 0x62001);
    mov_to_cr(w, 4, 0x20a0);
    expect_done(w);
    assert_true(GET1(w, GUEST_PDPTE1) == 0x62001);
}

/* A bit the host keeps for itself: L1 reads what it wrote, hardware keeps the host's. */
static void bits_the_host_owns_stay_as_the_host_set_them(void **state)
{
    struct world *w = *state;

    SET1(w, CR4_MASK, GET1(w, CR4_MASK) | NVIRT_CR4_TSD);
    SET1(w, GUEST_CR4, 0x2020 | NVIRT_CR4_TSD);
    mov_to_cr(w, 4, 0x2020);
    expect_done(w);
    assert_true(GET1(w, GUEST_CR4) == (0x2020 | NVIRT_CR4_TSD));
    launch_l2(w);
    l2_cpuid(w);
    assert_true(GET1(w, GUEST_CR4) == (0x2020 | NVIRT_CR4_TSD));
    assert_true(GET1(w, CR4_SHADOW) == 0x2020);
}

static void owned_bits_cover_fixed_and_unoffered_ones(void **state)
{
    struct world *w = *state;

    assert_true((nvirt_vmx_cr0_owned(w->v) & 0x80000021) == 0x80000021);
    assert_true((nvirt_vmx_cr4_owned(w->v) & 0x2000) != 0);
    w->v->offer.cr4_fixed1 &= ~NVIRT_CR4_SMEP;
    assert_true((nvirt_vmx_cr4_owned(w->v) & NVIRT_CR4_SMEP) != 0);
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_SMEP);
    expect_gp(w);
    assert_int_equal(nvirt_vmx_cr0_owned(NULL), 0);
    assert_int_equal(nvirt_vmx_cr4_owned(NULL), 0);
}

/* ---- CR0 and CR4 of L2, where only the host looks at them ---- */

static void a_write_of_l2_that_only_l0_intercepts_is_carried_out_for_l2(void **state)
{
    struct world *w = *state;

    SET1(w, CR4_MASK, GET1(w, CR4_MASK) | NVIRT_CR4_TSD);
    launch_l2(w);
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_TSD);
    expect_done(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(GET2(w, CR4_SHADOW) == (0x2020 | NVIRT_CR4_TSD));
    assert_true(GET2(w, GUEST_CR4) == 0x2020);
    mov_to_cr(w, 4, 0x2020 | NVIRT_BIT(63));
    expect_gp(w);
}

static void a_write_of_l2_that_l1_intercepts_is_l1s(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.cr4_mask = NVIRT_CR4_TSD;
    w->v->vmcs12.cr4_shadow = 0;
    vmlaunch(w);
    mov_to_cr(w, 4, 0x2020 | NVIRT_CR4_TSD);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_CR_ACCESS);
}

/* ---- MSRs ---- */

static void rdmsr(struct world *w, uint32_t msr)
{
    w->gprs.r[NVIRT_RCX] = msr;
    w->gprs.r[NVIRT_RAX] = w->gprs.r[NVIRT_RDX] = ~UINT64_C(0);
    exit_with(w, NVIRT_VMX_EXIT_RDMSR, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
}

static uint64_t msr_value(const struct world *w)
{
    assert_true((w->gprs.r[NVIRT_RAX] >> 32) == 0 && (w->gprs.r[NVIRT_RDX] >> 32) == 0);
    return w->gprs.r[NVIRT_RAX] | (w->gprs.r[NVIRT_RDX] << 32);
}

static void wrmsr(struct world *w, uint32_t msr, uint64_t value)
{
    w->gprs.r[NVIRT_RCX] = msr;
    w->gprs.r[NVIRT_RAX] = (value & 0xffffffff) | (UINT64_C(0x5a) << 32);
    w->gprs.r[NVIRT_RDX] = value >> 32;
    exit_with(w, NVIRT_VMX_EXIT_WRMSR, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
}

static void l1_reads_the_offer_from_the_capability_msrs(void **state)
{
    struct world *w = *state;

    for (uint32_t msr = 0x480; msr <= 0x493; msr++) {
        uint64_t expected = 0;
        bool exists = nvirt_vmx_caps_msr(&w->offer, msr, &expected);

        rdmsr(w, msr);
        if (exists) {
            expect_done(w);
            assert_true(msr_value(w) == expected);
        } else {
            expect_gp(w);
            assert_true(w->gprs.r[NVIRT_RAX] == ~UINT64_C(0));
        }
        wrmsr(w, msr, expected);
        expect_gp(w);
    }
}

static void feature_control_is_locked_as_firmware_leaves_it(void **state)
{
    struct world *w = *state;

    rdmsr(w, 0x3a);
    expect_done(w);
    assert_int_equal(msr_value(w), 5);
    wrmsr(w, 0x3a, 5);
    expect_gp(w);
    w->v->vmx.feature_control = 0;
    wrmsr(w, 0x3a, 7);
    expect_gp(w);
    wrmsr(w, 0x3a, 4);
    expect_done(w);
    wrmsr(w, 0x3a, 5);
    expect_done(w);
    wrmsr(w, 0x3a, 0);
    expect_gp(w);
}

static void other_msrs_of_l1_are_the_hosts(void **state)
{
    struct world *w = *state;

    rdmsr(w, 0x1b);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    wrmsr(w, NVIRT_MSR_EFER, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
}

static void launch_with_msr_bitmap(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void without_msr_bitmaps_every_access_of_l2_is_l1s(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    rdmsr(w, NVIRT_MSR_EFER);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_RDMSR);
}

static void l2_sees_the_vmx_msrs_that_l1_sees(void **state)
{
    struct world *w = *state;

    launch_with_msr_bitmap(w);
    rdmsr(w, 0x480);
    expect_done(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(msr_value(w) == w->offer.basic);
    wrmsr(w, 0x480, 0);
    expect_gp(w);
}

static void msrs_in_vmcs_fields_that_l1_lets_pass_are_l2s(void **state)
{
    struct world *w = *state;

    launch_with_msr_bitmap(w);
    rdmsr(w, NVIRT_MSR_EFER);
    expect_done(w);
    assert_int_equal(msr_value(w), 0x500);
    wrmsr(w, NVIRT_MSR_EFER, 0xd00);
    expect_done(w);
    assert_true(GET2(w, GUEST_EFER) == 0xd00);
    wrmsr(w, NVIRT_MSR_EFER, 0x900); /* LMA is not writable, and stays. */
    assert_true(GET2(w, GUEST_EFER) == 0xd00);
    wrmsr(w, NVIRT_MSR_EFER, 0xc00); /* LME under paging. */
    expect_gp(w);
    wrmsr(w, NVIRT_MSR_EFER, 0xd00 | NVIRT_EFER_SVME);
    expect_gp(w);
    wrmsr(w, NVIRT_MSR_PAT, 0x0007040600070402);
    expect_gp(w);
    wrmsr(w, NVIRT_MSR_PAT, 0x0007040600070405);
    expect_done(w);
    assert_true(GET2(w, GUEST_PAT) == 0x0007040600070405);
    wrmsr(w, NVIRT_MSR_DEBUGCTL, 4);
    expect_gp(w);
    wrmsr(w, NVIRT_MSR_DEBUGCTL, 1);
    expect_done(w);
    wrmsr(w, NVIRT_MSR_SYSENTER_CS, UINT64_C(0x100000008));
    assert_true(GET2(w, GUEST_SYSENTER_CS) == 8);
    wrmsr(w, NVIRT_MSR_SYSENTER_EIP, NVIRT_BIT(47));
    expect_gp(w);
    wrmsr(w, NVIRT_MSR_GS_BASE, 0x1234);
    assert_true(GET2(w, GUEST_GS_BASE) == 0x1234);
    rdmsr(w, NVIRT_MSR_FS_BASE);
    assert_int_equal(msr_value(w), 0);
}

static void other_msrs_that_l1_lets_pass_are_l1s_own(void **state)
{
    struct world *w = *state;

    launch_with_msr_bitmap(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    w->v->vmcs12.tsc_offset = 0x100;
    fake_vm_msr_set(w->port, 0x1b, 0xfee00900, false);
    fake_vm_msr_set(w->port, NVIRT_MSR_TSC, 0x5000, false);
    rdmsr(w, 0x1b);
    assert_true(msr_value(w) == 0xfee00900);
    wrmsr(w, 0x1b, 0xfee00800);
    expect_done(w);
    assert_true(fake_vm_msr_get(w->port, 0x1b) == 0xfee00800);
    rdmsr(w, 0x1234);
    expect_gp(w);
    wrmsr(w, 0x1234, 0);
    expect_gp(w);
    rdmsr(w, NVIRT_MSR_TSC);
    assert_true(msr_value(w) == 0x5100);
}

static void the_hosts_bitmap_intercepts_what_nvirt_holds(void **state)
{
    struct world *w = *state;

    for (uint32_t msr = 0x480; msr <= 0x493; msr++) {
        assert_true((w->msr_bitmap[msr / 8] >> (msr % 8) & 1) != 0);
        assert_true((w->msr_bitmap[2048 + msr / 8] >> (msr % 8) & 1) != 0);
    }
    assert_true((w->msr_bitmap[0x3a / 8] >> (0x3a % 8) & 1) != 0);
    assert_int_equal(w->msr_bitmap[0x10 / 8], 0);
    nvirt_vmx_msr_bitmap_require(NULL);
}

/* ---- MSR lists ---- */

static void list_entry(struct world *w, uint32_t index, uint32_t msr, uint32_t reserved,
                       uint64_t value)
{
    fake_vm_put32(w->port, MSR_LIST + index * 16, msr);
    fake_vm_put32(w->port, MSR_LIST + index * 16 + 4, reserved);
    fake_vm_put64(w->port, MSR_LIST + index * 16 + 8, value);
}

static void launch_with_entry_list(struct world *w, uint32_t count)
{
    ready_to_launch(w);
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = count;
    vmlaunch(w);
}

static void the_entry_list_loads_fields_and_other_msrs(void **state)
{
    struct world *w = *state;

    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    list_entry(w, 0, NVIRT_MSR_LSTAR, 0, 0x777);
    list_entry(w, 1, NVIRT_MSR_PAT, 0, 0x0606060606060606);
    list_entry(w, 2, NVIRT_MSR_SYSENTER_ESP, 0, 0x888);
    launch_with_entry_list(w, 3);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(fake_vm_msr_get(w->port, NVIRT_MSR_LSTAR) == 0x777);
    prepare(w);
    assert_true(HW(w, GUEST_PAT) == 0x0606060606060606);
    assert_true(HW(w, GUEST_SYSENTER_ESP) == 0x888);
}

static void forbidden_entries_fail_the_entry_with_their_number(void **state)
{
    struct world *w = *state;
    static const struct {
        uint32_t msr, reserved;
        uint64_t value;
    } bad[] = {
        { NVIRT_MSR_FS_BASE, 0, 0 },
        { NVIRT_MSR_GS_BASE, 0, 0 },
        { 0x800, 0, 0 },
        { 0x8ff, 0, 0 },
        { 0x9b, 0, 0 },
        { 0x79, 0, 0 },
        { NVIRT_MSR_LSTAR, 1, 0 },
        { NVIRT_MSR_PAT, 0, 2 },
        { 0x480, 0, 0 },
        { 0x3a, 0, 5 },
        { NVIRT_MSR_EFER, 0, NVIRT_BIT(12) },
        { 0x4321, 0, 0 },
        { NVIRT_MSR_EFER, 0, 0 } /* LME under paging. */,
    };

    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    ready_to_launch(w);
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = 3;
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        list_entry(w, 0, NVIRT_MSR_LSTAR, 0, 0x1000 + i);
        list_entry(w, 1, bad[i].msr, bad[i].reserved, bad[i].value);
        list_entry(w, 2, NVIRT_MSR_LSTAR, 0, 0xbad);
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_true(w->v->vmcs12.exit_reason == 0x80000022);
        assert_true(w->v->vmcs12.exit_qualification == 2);
        assert_true(GET1(w, GUEST_RIP) == L1_EXIT_RIP);
        assert_false(w->v->vmx.launched);
        /* What was loaded before stays loaded. */
        assert_true(fake_vm_msr_get(w->port, NVIRT_MSR_LSTAR) == 0x1000 + i);
    }
}

/* After the guest state was loaded, an MSR that no host field replaces keeps L2's value. */
static void after_a_failed_list_pat_stays_as_it_was_loaded(void **state)
{
    struct world *w = *state;

    list_entry(w, 0, NVIRT_MSR_PAT, 0, 0x0606060606060606);
    list_entry(w, 1, NVIRT_MSR_FS_BASE, 0, 0);
    ready_to_launch(w);
    w->v->vmcs12.exit_controls &= ~NVIRT_VMX_EXIT_CTL_LOAD_PAT;
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = 2;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(GET1(w, GUEST_PAT) == 0x0606060606060606);
}

/* No list of L1's keeps the host busy for longer than the longest the CPU recommends. */
static void a_list_longer_than_announced_fails_there(void **state)
{
    struct world *w = *state;
    uint64_t limit = 512 * (1 + ((w->offer.misc >> 25) & 7));

    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    for (uint32_t i = 0; i <= limit; i++)
        list_entry(w, i, NVIRT_MSR_LSTAR, 0, i);
    launch_with_entry_list(w, 0xffffffff);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_qualification == limit + 1);
}

static void exit_lists_store_l2s_and_load_l1s_msrs(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID },
        { 0x4408, 0 },
        { 0x440c, 2 },
        { 0x6400, 0 },
        { 0x2804, 0x0505 },
    };

    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0x999, false);
    list_entry(w, 0, NVIRT_MSR_LSTAR, 0, 0);
    list_entry(w, 1, NVIRT_MSR_PAT, 0, 0);
    list_entry(w, 2, 0x480, 0, 0);
    list_entry(w, 3, NVIRT_MSR_LSTAR, 0, 0x444);
    list_entry(w, 4, NVIRT_MSR_SYSENTER_CS, 0, 0x18);
    ready_to_launch(w);
    w->v->vmcs12.exit_msr_store_addr = MSR_LIST;
    w->v->vmcs12.exit_msr_store_count = 3;
    w->v->vmcs12.exit_msr_load_addr = MSR_LIST + 48;
    w->v->vmcs12.exit_msr_load_count = 2;
    vmlaunch(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(fake_vm_get64(w->port, MSR_LIST + 8) == 0x999);
    assert_true(fake_vm_get64(w->port, MSR_LIST + 24) == 0x0505);
    assert_true(fake_vm_get64(w->port, MSR_LIST + 40) == w->offer.basic);
    assert_true(fake_vm_msr_get(w->port, NVIRT_MSR_LSTAR) == 0x444);
    assert_true(GET1(w, GUEST_SYSENTER_CS) == 0x18);
}

/* CVE-2021-29657: list entries are read once each. */
static void list_entries_are_read_once(void **state)
{
    struct world *w = *state;

    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    list_entry(w, 0, NVIRT_MSR_LSTAR, 0, 1);
    ready_to_launch(w);
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = 1;
    fake_vm_log_reset(w->port);
    vmlaunch(w);
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(fake_vm_reads(w->port, MSR_LIST + i), 1);
}

/* [SDM 3C "Guest/Host Masks and Read Shadows for CR0 and CR4"]: in L2 a bit of the host's keeps the
 * host's value and one of L1's keeps L1's, whatever L2 writes; L1 is shown what L2 wrote. */
static void in_l2_bits_of_host_and_l1_keep_their_values(void **state)
{
    struct world *w = *state;

    SET1(w, CR0_MASK, nvirt_vmx_cr0_owned(w->v) | NVIRT_CR0_TS);
    SET1(w, GUEST_CR0, GET1(w, GUEST_CR0) | NVIRT_CR0_TS);
    ready_to_launch(w);
    w->v->vmcs12.cr0_mask = NVIRT_CR0_WP;
    w->v->vmcs12.guest_cr0 = 0x80010031;
    w->v->vmcs12.cr0_shadow = 0x80000031;
    vmlaunch(w);
    prepare(w);
    assert_true(HW(w, GUEST_CR0) == (0x80010031 | NVIRT_CR0_TS));
    assert_true((HW(w, CR0_SHADOW) & (NVIRT_CR0_TS | NVIRT_CR0_WP)) == 0);
    mov_to_cr(w, 0, 0x80000031 | NVIRT_CR0_TS);
    expect_done(w);
    prepare(w);
    assert_true(HW(w, GUEST_CR0) == (0x80010031 | NVIRT_CR0_TS));
    assert_true((HW(w, CR0_SHADOW) & (NVIRT_CR0_TS | NVIRT_CR0_WP)) == NVIRT_CR0_TS);
    mov_to_cr(w, 0, 0x80000031 | NVIRT_CR0_MP);
    expect_done(w);
    prepare(w);
    assert_true(HW(w, GUEST_CR0) == (0x80010031 | NVIRT_CR0_TS | NVIRT_CR0_MP));
    l2_cpuid(w);
    assert_true(w->v->vmcs12.guest_cr0 == (0x80010031 | NVIRT_CR0_MP));
    assert_true((GET1(w, GUEST_CR0) & NVIRT_CR0_TS) != 0);
    assert_true((GET1(w, CR0_SHADOW) & NVIRT_CR0_TS) == 0);
}

/* A bit the host takes while L2 runs gets the host's value and reads as before; back again too. */
static void bits_the_host_takes_while_l2_runs_read_as_before(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    SET1(w, GUEST_CR0, GET1(w, GUEST_CR0) | NVIRT_CR0_TS);
    SET1(w, CR0_MASK, nvirt_vmx_cr0_owned(w->v) | NVIRT_CR0_TS);
    prepare(w);
    assert_true((HW(w, GUEST_CR0) & NVIRT_CR0_TS) != 0);
    assert_true((HW(w, CR0_SHADOW) & NVIRT_CR0_TS) == 0);
    SET1(w, CR0_MASK, nvirt_vmx_cr0_owned(w->v));
    prepare(w);
    assert_true((HW(w, GUEST_CR0) & NVIRT_CR0_TS) == 0);
    w->v->prepared = true;
}

/* [SDM 3C "Instructions That Cause VM Exits Conditionally"]: the operand of an L2 outside 64-bit mode has 32
 * bits, whatever its register has above them. */
static void a_cr3_target_of_a_32_bit_l2_is_one(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs *c;

    SET1(w, PROC_CONTROLS, GET1(w, PROC_CONTROLS) | NVIRT_VMX_PROC_CR3_LOAD);
    ready_to_launch(w);
    c = &w->v->vmcs12;
    c->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    c->guest_efer = 0;
    c->guest_cr4 = 0x2000;
    c->guest_cs_ar = 0xc09b;
    c->proc_controls |= NVIRT_VMX_PROC_CR3_LOAD;
    c->cr3_target_count = 1;
    c->cr3_target0 = 0x51000;
    vmlaunch(w);
    w->gprs.r[NVIRT_RBX] = UINT64_C(0xffffffff00051000);
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, 3 | NVIRT_RBX << 8, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    w->gprs.r[NVIRT_RBX] = 0x52000;
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, 3 | NVIRT_RBX << 8, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_l2_bits_of_host_and_l1_keep_their_values),
        TEST(a_cr3_target_of_a_32_bit_l2_is_one),
        TEST(bits_the_host_takes_while_l2_runs_read_as_before),
        TEST(l1_sees_vmxe_as_it_wrote_it),
        TEST(in_vmx_operation_vmxe_cannot_be_cleared),
        TEST(reserved_bits_of_cr4_are_gp),
        TEST(in_long_mode_pae_and_la57_cannot_change),
        TEST(pcide_needs_long_mode_and_a_clear_pcid),
        TEST(changes_of_cr4_that_flush_are_flushed_and_others_not),
        TEST(impossible_values_of_cr0_are_gp),
        TEST(in_vmx_operation_the_fixed_bits_of_cr0_hold),
        TEST(undefined_bits_of_cr0_are_ignored_and_et_is_fixed),
        TEST(clts_and_lmsw_change_their_bits_only),
        TEST(accesses_to_cr3_and_cr8_are_the_hosts),
        TEST(long_mode_starts_and_ends_with_paging),
        TEST(long_mode_needs_pae_a_32_bit_cs_and_a_32_bit_tss),
        TEST(pae_paging_loads_and_checks_its_pdptes),
        TEST(bits_the_host_owns_stay_as_the_host_set_them),
        TEST(owned_bits_cover_fixed_and_unoffered_ones),
        TEST(a_write_of_l2_that_only_l0_intercepts_is_carried_out_for_l2),
        TEST(a_write_of_l2_that_l1_intercepts_is_l1s),
        TEST(l1_reads_the_offer_from_the_capability_msrs),
        TEST(feature_control_is_locked_as_firmware_leaves_it),
        TEST(other_msrs_of_l1_are_the_hosts),
        TEST(without_msr_bitmaps_every_access_of_l2_is_l1s),
        TEST(l2_sees_the_vmx_msrs_that_l1_sees),
        TEST(msrs_in_vmcs_fields_that_l1_lets_pass_are_l2s),
        TEST(other_msrs_that_l1_lets_pass_are_l1s_own),
        TEST(the_hosts_bitmap_intercepts_what_nvirt_holds),
        TEST(the_entry_list_loads_fields_and_other_msrs),
        TEST(forbidden_entries_fail_the_entry_with_their_number),
        TEST(after_a_failed_list_pat_stays_as_it_was_loaded),
        TEST(a_list_longer_than_announced_fails_there),
        TEST(exit_lists_store_l2s_and_load_l1s_msrs),
        TEST(list_entries_are_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
