/* SPDX-License-Identifier: MIT */
/*
 * Rules of the VMX instructions of L1, one test per rule of the manual's instruction pages.
 */
#include "vmx_world.h"

static const uint32_t all_but_vmxon[] = {
    NVIRT_VMX_EXIT_VMXOFF, NVIRT_VMX_EXIT_VMCLEAR, NVIRT_VMX_EXIT_VMPTRLD,  NVIRT_VMX_EXIT_VMPTRST,
    NVIRT_VMX_EXIT_VMREAD, NVIRT_VMX_EXIT_VMWRITE, NVIRT_VMX_EXIT_VMLAUNCH, NVIRT_VMX_EXIT_VMRESUME,
    NVIRT_VMX_EXIT_INVEPT, NVIRT_VMX_EXIT_INVVPID,
};
#define INSTRUCTIONS (sizeof all_but_vmxon / sizeof all_but_vmxon[0])

static void expect_fault_and_nothing_else(struct world *w, uint8_t vector, bool has_error)
{
    expect_exception(w, vector, has_error, 0);
    assert_int_equal(GET1(w, GUEST_RIP), L1_RIP);
    w->v->prepared = true;
}

/* Every instruction before VMXON is an invalid opcode (a zeroed VMXON pointer is none:
 * CVE-2018-18883). */
static void outside_vmx_operation_all_are_ud(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < INSTRUCTIONS; i++) {
        l1_insn(w, all_but_vmxon[i], INFO_PLAIN);
        expect_fault_and_nothing_else(w, NVIRT_VECTOR_UD, false);
    }
    l1_insn(w, NVIRT_VMX_EXIT_VMFUNC, 0);
    expect_fault_and_nothing_else(w, NVIRT_VECTOR_UD, false);
}

/* [SDM 3C "Relative Priority of Faults and VM Exits"]: that an instruction of L1's exits proves
 * CR0.PE, RFLAGS.VM and the code segment, which the CPU tests first. They cost no VMREAD. */
static void the_exit_itself_proves_the_mode(void **state)
{
    static const enum nvirt_vmcs_field proven[] = { NVIRT_VMCS_GUEST_CR0, NVIRT_VMCS_GUEST_CS_AR,
                                                    NVIRT_VMCS_IDT_VECTORING };
    struct world *w = *state;

    ready_to_launch(w);
    (void)READ12(w, GUEST_RIP);
    for (size_t i = 0; i < sizeof proven / sizeof proven[0]; i++)
        assert_true(nvi_field_has(&w->v->hw[NVI_01]->stale, proven[i]));
}

/* CVE-2018-12904: none of them may run at CPL 3. */
static void at_cpl_3_all_are_gp(void **state)
{
    struct world *w = *state;

    l1_insn(w, NVIRT_VMX_EXIT_VMXON, INFO_PLAIN);
    SET1(w, GUEST_RIP, L1_RIP);
    vmxon(w);
    SET1(w, GUEST_RIP, L1_RIP);
    SET1(w, GUEST_SS_AR, 0xc0f3);
    for (size_t i = 0; i < INSTRUCTIONS; i++) {
        l1_insn(w, all_but_vmxon[i], INFO_PLAIN);
        expect_fault_and_nothing_else(w, NVIRT_VECTOR_GP, true);
    }
    l1_insn(w, NVIRT_VMX_EXIT_VMXON, INFO_PLAIN);
    expect_fault_and_nothing_else(w, NVIRT_VECTOR_GP, true);
}

/* ---- VMXON ---- */

static void vmxon_without_cr4_vmxe_is_ud(void **state)
{
    struct world *w = *state;

    SET1(w, CR4_SHADOW, 0x20);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_fault_and_nothing_else(w, NVIRT_VECTOR_UD, false);
    assert_false(w->v->vmx.on);
}

static void vmxon_with_a_wrong_cr0_bit_is_gp(void **state)
{
    struct world *w = *state;

    SET1(w, CR0_SHADOW, 0x80010011); /* NE clear, as L1 wrote it. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_fault_and_nothing_else(w, NVIRT_VECTOR_GP, true);
    assert_false(w->v->vmx.on);
}

static void vmxon_with_feature_control_off_is_gp(void **state)
{
    struct world *w = *state;

    for (uint64_t value = 0; value < 8; value++) {
        if ((value & 5) == 5)
            continue;
        w->v->vmx.feature_control = value;
        l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
        expect_fault_and_nothing_else(w, NVIRT_VECTOR_GP, true);
    }
}

static void vmxon_with_a_bad_pointer_or_revision_fails_invalid(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { VMXON_REGION + 1, VMXON_REGION | (UINT64_C(1) << 40),
                             UINT64_C(1) << 63, OPERAND, L1_RAM };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        l1_pointer(w, NVIRT_VMX_EXIT_VMXON, bad[i]);
        expect_vmfail_invalid(w);
        assert_false(w->v->vmx.on);
    }
    fake_vm_put32(w->port, VMXON_REGION, revision12(w) | 0x80000000u);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_vmfail_invalid(w);
}

static void vmxon_in_vmx_operation_fails_15(void **state)
{
    struct world *w = *state;

    vmxon(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_vmfail_invalid(w); /* No current VMCS to hold the number. */
    load_vmcs12(w, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_vmfail(w, NVIRT_VMX_ERR_VMXON_ROOT);
}

/* CVE-2017-2596: entering and leaving VMX operation holds on to nothing (teardown counts). */
static void vmxon_and_vmxoff_in_turn_leak_nothing(void **state)
{
    struct world *w = *state;
    uint32_t used = w->port->pool_used;

    for (int i = 0; i < 100; i++) {
        vmxon(w);
        load_vmcs12(w, VMCS12);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
        expect_success(w);
        assert_false(w->v->vmx.on);
    }
    assert_int_equal(w->port->pool_used, used);
    assert_int_equal(w->port->pins, 0);
}

/* ---- VMCLEAR, VMPTRLD, VMPTRST ---- */

static void vmclear_and_vmptrld_refuse_bad_addresses(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { VMCS12_B + 8, UINT64_C(1) << 40, ~UINT64_C(0) };

    vmxon(w);
    load_vmcs12(w, VMCS12);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, bad[i]);
        expect_vmfail(w, NVIRT_VMX_ERR_VMCLEAR_ADDRESS);
        l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, bad[i]);
        expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_ADDRESS);
    }
    assert_int_equal(w->v->vmx.current, VMCS12);
}

static void vmclear_and_vmptrld_refuse_the_vmxon_region(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMXON_REGION);
    expect_vmfail(w, NVIRT_VMX_ERR_VMCLEAR_VMXON);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMXON_REGION);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_VMXON);
}

static void vmptrld_refuses_another_revision(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    fake_vm_put32(w->port, VMCS12_B, revision12(w) + 1);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_REVISION);
    /* A shadow VMCS, on a CPU without VMCS shadowing. */
    w->v->offer.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    fake_vm_put32(w->port, VMCS12_B, revision12(w) | 0x80000000u);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_REVISION);
    assert_int_equal(w->v->vmx.current, VMCS12);
}

/* No memory behind a pointer: the revision reads as all ones, which is none. */
static void vmptrld_of_a_hole_fails_11(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, L1_RAM + 0x1000);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_REVISION);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, L1_RAM + 0x1000);
    expect_success(w);
}

static void vmptrst_stores_the_pointer_or_all_ones(void **state)
{
    struct world *w = *state;

    vmxon(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    expect_success(w);
    assert_true(fake_vm_get64(w->port, OPERAND) == ~UINT64_C(0));
    load_vmcs12(w, VMCS12);
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    assert_true(fake_vm_get64(w->port, OPERAND) == VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    assert_true(fake_vm_get64(w->port, OPERAND) == ~UINT64_C(0));
}

static void fields_survive_a_change_of_the_current_vmcs(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    WRITE12(w, GUEST_RIP, 0x1111);
    WRITE12(w, GUEST_ES_SELECTOR, 0x12345);
    load_vmcs12(w, VMCS12_B);
    WRITE12(w, GUEST_RIP, 0x2222);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    assert_int_equal(READ12(w, GUEST_RIP), 0x1111);
    assert_int_equal(READ12(w, GUEST_ES_SELECTOR), 0x2345);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    assert_int_equal(READ12(w, GUEST_RIP), 0x2222);
}

/* CVE-2021-29657: no byte of the region is read twice for one VMPTRLD. */
static void vmptrld_reads_each_byte_once(void **state)
{
    struct world *w = *state;

    vmxon(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    fake_vm_log_reset(w->port);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    for (uint64_t i = 0; i < 4096; i++)
        assert_true(fake_vm_reads(w->port, VMCS12 + i) <= 1);
}

/* Whatever the region holds, fields come out no wider than they are. */
static void a_region_of_all_ones_loads_within_widths(void **state)
{
    struct world *w = *state;
    uint8_t ones[4092];

    memset(ones, 0xff, sizeof ones);
    fake_vm_put(w->port, VMCS12 + 4, ones, sizeof ones);
    vmxon(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    assert_true(READ12(w, GUEST_ES_SELECTOR) == 0xffff);
    assert_true(READ12(w, PIN_CONTROLS) == 0xffffffff);
    assert_true(READ12(w, GUEST_RIP) == ~UINT64_C(0));
    vmlaunch(w); /* All controls set: refused, nothing worse. */
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
}

/* ---- VMREAD, VMWRITE ---- */

static void vmread_without_current_vmcs_fails_invalid(void **state)
{
    struct world *w = *state;

    vmxon(w);
    w->gprs.r[NVIRT_RCX] = 0x681e;
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG2(NVIRT_RCX));
    expect_vmfail_invalid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG2(NVIRT_RCX));
    expect_vmfail_invalid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    expect_vmfail_invalid(w);
}

static void unknown_encodings_fail_12(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { 0x1fe,        0x6821, 0x8000, 0x10000, UINT64_C(0x10000681e),
                             ~UINT64_C(0), 0x4401, 0x2034 /* Tertiary controls: not offered. */ };

    vmxon(w);
    load_vmcs12(w, VMCS12);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        w->gprs.r[NVIRT_RCX] = bad[i];
        l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG2(NVIRT_RCX));
        expect_vmfail(w, NVIRT_VMX_ERR_FIELD_UNSUPPORTED);
        l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG2(NVIRT_RCX));
        expect_vmfail(w, NVIRT_VMX_ERR_FIELD_UNSUPPORTED);
    }
}

static void read_only_fields_refuse_vmwrite_unless_offered(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    w->v->offer.misc &= ~NVIRT_VMX_MISC_VMWRITE_ANY;
    WRITE12(w, EXIT_REASON, 7);
    expect_vmfail(w, NVIRT_VMX_ERR_FIELD_READ_ONLY);
    w->v->offer.misc |= NVIRT_VMX_MISC_VMWRITE_ANY;
    WRITE12(w, EXIT_REASON, 7);
    expect_success(w);
    assert_int_equal(READ12(w, EXIT_REASON), 7);
}

static void high_access_reads_and_writes_the_upper_half(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    WRITE12(w, TSC_OFFSET, UINT64_C(0x1122334455667788));
    w->gprs.r[NVIRT_RCX] = 0x2011;
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RDX) | INFO_REG2(NVIRT_RCX));
    assert_int_equal(w->gprs.r[NVIRT_RDX], 0x11223344);
    w->gprs.r[NVIRT_RDX] = UINT64_C(0xffffffff99999999);
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG1(NVIRT_RDX) | INFO_REG2(NVIRT_RCX));
    assert_true(READ12(w, TSC_OFFSET) == UINT64_C(0x9999999955667788));
}

static void vmread_to_memory_and_vmwrite_from_memory_move_8_bytes(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    fake_vm_put64(w->port, OPERAND, UINT64_C(0x123456789abcdef0));
    w->gprs.r[NVIRT_RCX] = 0x681e;
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    expect_success(w);
    fake_vm_put64(w->port, OPERAND, 0);
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    assert_true(fake_vm_get64(w->port, OPERAND) == UINT64_C(0x123456789abcdef0));
}

/* RSP as a register operand is the guest's, which the VMCS holds. */
static void vmread_into_rsp_goes_to_the_vmcs(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    WRITE12(w, GUEST_RIP, 0x4444);
    w->gprs.r[NVIRT_RCX] = 0x681e;
    w->gprs.r[NVIRT_RSP] = 0x5555;
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RSP) | INFO_REG2(NVIRT_RCX));
    assert_int_equal(GET1(w, GUEST_RSP), 0x4444);
    assert_int_equal(w->gprs.r[NVIRT_RSP], 0x5555);
}

/* ---- VMLAUNCH and VMRESUME, before vmcs12 is looked at ---- */

static void entry_under_mov_ss_blocking_fails_26(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmx.launched = true;
    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_MOV_SS);
    vmlaunch(w); /* Comes before the launch state. */
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_MOV_SS);
    assert_int_equal(GET1(w, GUEST_INTERRUPTIBILITY), 0);
}

static void launch_state_is_kept_per_region(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    vmresume(w);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
    vmlaunch(w);
    l2_cpuid(w);
    vmlaunch(w);
    expect_vmfail(w, NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR);
    load_vmcs12(w, VMCS12_B);
    vmresume(w);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    vmresume(w); /* Its launch state came back from memory. */
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    vmresume(w);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
}

/* VMCLEAR of a region that is not current clears its launch state in memory. */
static void vmclear_of_another_region_clears_its_launch_state(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_cpuid(w);
    load_vmcs12(w, VMCS12_B);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    assert_int_equal(w->v->vmx.current, VMCS12_B);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    vmresume(w);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
}

/* ---- INVEPT, INVVPID ---- */

static void flush_insn(struct world *w, uint32_t reason, uint64_t type, uint64_t low, uint64_t high)
{
    fake_vm_put64(w->port, OPERAND, low);
    fake_vm_put64(w->port, OPERAND + 8, high);
    w->gprs.r[NVIRT_RCX] = type;
    l1_insn(w, reason, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
}

static void invept_checks_type_and_eptp(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { EPT12_TOP | 0x1c /* Type 4. */, EPT12_TOP | 0x16 /* 3 levels. */,
                             EPT12_TOP | 0x9e /* Reserved bit 7. */,
                             EPT12_TOP | 0x1e | (UINT64_C(1) << 40) };

    vmxon(w);
    load_vmcs12(w, VMCS12);
    for (uint64_t type = 0; type < 5; type++) {
        flush_insn(w, NVIRT_VMX_EXIT_INVEPT, type == 1 ? 0 : type, 0, 0);
        if (type == 2)
            expect_success(w);
        else
            expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        flush_insn(w, NVIRT_VMX_EXIT_INVEPT, 1, bad[i], 0);
        expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
    }
    flush_insn(w, NVIRT_VMX_EXIT_INVEPT, 1, EPT12_TOP | 0x1e, 0);
    expect_success(w);
    flush_insn(w, NVIRT_VMX_EXIT_INVEPT, UINT64_C(0x100000001), EPT12_TOP | 0x1e, 0);
    expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND); /* All 64 bits are the type. */
}

static void invvpid_checks_type_vpid_and_address(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    flush_insn(w, NVIRT_VMX_EXIT_INVVPID, 4, 1, 0);
    expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
    for (uint64_t type = 0; type < 4; type++) {
        flush_insn(w, NVIRT_VMX_EXIT_INVVPID, type, 0x10001, 0); /* Reserved bits. */
        expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        flush_insn(w, NVIRT_VMX_EXIT_INVVPID, type, 0, 0);
        if (type == 2)
            expect_success(w);
        else
            expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        flush_insn(w, NVIRT_VMX_EXIT_INVVPID, type, 5, 0x1000);
        expect_success(w);
        /* CVE-2025-38351: an address that is not canonical must not reach hardware. */
        flush_insn(w, NVIRT_VMX_EXIT_INVVPID, type, 5, UINT64_C(0x800000000000));
        if (type == 0)
            expect_vmfail(w, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        else
            expect_success(w);
    }
    assert_int_equal(w->cpu.count.invvpid,
                     1); /* L1's own tag, before it first ran; none of these. */
}

static void flush_instructions_that_are_not_offered_are_ud(void **state)
{
    struct world *w = *state;

    vmxon(w);
    w->v->offer.ept_vpid = 0;
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN);
    expect_exception(w, NVIRT_VECTOR_UD, false, 0);
    w->v->prepared = true;
    l1_insn(w, NVIRT_VMX_EXIT_INVVPID, INFO_PLAIN);
    expect_exception(w, NVIRT_VECTOR_UD, false, 0);
    w->v->prepared = true;
    /* Whatever the privilege is that a CPU with them would ask for. */
    SET1(w, GUEST_SS_AR, 0xc0f3);
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN);
    expect_exception(w, NVIRT_VECTOR_UD, false, 0);
}

/* ---- completion ---- */

static void completion_moves_rip_and_clears_flags_and_shadows(void **state)
{
    struct world *w = *state;
    const uint64_t status = NVIRT_RFLAGS_CF | NVIRT_RFLAGS_PF | NVIRT_RFLAGS_AF | NVIRT_RFLAGS_ZF
                            | NVIRT_RFLAGS_SF | NVIRT_RFLAGS_OF;

    SET1(w, GUEST_RFLAGS, 2 | status | NVIRT_RFLAGS_RF | NVIRT_RFLAGS_IF);
    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_STI);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    assert_int_equal(GET1(w, GUEST_RFLAGS), 2 | NVIRT_RFLAGS_IF);
    assert_int_equal(GET1(w, GUEST_RIP), L1_RIP + INSN_LENGTH);
    assert_int_equal(GET1(w, GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(GET1(w, GUEST_PENDING_DEBUG), 0);
}

static void single_step_becomes_a_pending_debug_exception(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_TF);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    assert_int_equal(GET1(w, GUEST_PENDING_DEBUG), NVIRT_VMX_PENDING_BS);
    SET1(w, GUEST_PENDING_DEBUG, 0);
    SET1(w, GUEST_DEBUGCTL, 2); /* BTF: branches only. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    assert_int_equal(GET1(w, GUEST_PENDING_DEBUG), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(outside_vmx_operation_all_are_ud),
        TEST(the_exit_itself_proves_the_mode),
        TEST(at_cpl_3_all_are_gp),
        TEST(vmxon_without_cr4_vmxe_is_ud),
        TEST(vmxon_with_a_wrong_cr0_bit_is_gp),
        TEST(vmxon_with_feature_control_off_is_gp),
        TEST(vmxon_with_a_bad_pointer_or_revision_fails_invalid),
        TEST(vmxon_in_vmx_operation_fails_15),
        TEST(vmxon_and_vmxoff_in_turn_leak_nothing),
        TEST(vmclear_and_vmptrld_refuse_bad_addresses),
        TEST(vmclear_and_vmptrld_refuse_the_vmxon_region),
        TEST(vmptrld_refuses_another_revision),
        TEST(vmptrld_of_a_hole_fails_11),
        TEST(vmptrst_stores_the_pointer_or_all_ones),
        TEST(fields_survive_a_change_of_the_current_vmcs),
        TEST(vmptrld_reads_each_byte_once),
        TEST(a_region_of_all_ones_loads_within_widths),
        TEST(vmread_without_current_vmcs_fails_invalid),
        TEST(unknown_encodings_fail_12),
        TEST(read_only_fields_refuse_vmwrite_unless_offered),
        TEST(high_access_reads_and_writes_the_upper_half),
        TEST(vmread_to_memory_and_vmwrite_from_memory_move_8_bytes),
        TEST(vmread_into_rsp_goes_to_the_vmcs),
        TEST(entry_under_mov_ss_blocking_fails_26),
        TEST(launch_state_is_kept_per_region),
        TEST(vmclear_of_another_region_clears_its_launch_state),
        TEST(invept_checks_type_and_eptp),
        TEST(invvpid_checks_type_vpid_and_address),
        TEST(flush_instructions_that_are_not_offered_are_ud),
        TEST(completion_moves_rip_and_clears_flags_and_shadows),
        TEST(single_step_becomes_a_pending_debug_exception),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
