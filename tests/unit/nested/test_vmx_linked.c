/* SPDX-License-Identifier: MIT */
/*
 * VMCS shadowing as L1 has it: shadow VMCSs, and VMREAD and VMWRITE of L2 on the one that the link
 * pointer names, where L1's bitmaps let the field pass [SDM 3C "VMCS Shadowing", "VMCS Types: Ordinary
 * and Shadow", "VMREAD", "VMWRITE"].
 */
#include "vmx_world.h"

#define LINKED UINT64_C(0x38000)
#define READ_BITMAP UINT64_C(0x39000)
#define WRITE_BITMAP UINT64_C(0x3a000)
#define LEAVES (EPT12_TOP + 0x3000)
#define L2_ACCESS (INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX))
#define L2_MEMORY (INFO_PLAIN | INFO_REG2(NVIRT_RCX))
#define VALUE UINT64_C(0x123456789abcdef0)

static void ready_with_link(struct world *w)
{
    fake_vm_put32(w->port, LINKED, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING;
    w->v->vmcs12.vmread_bitmap = READ_BITMAP;
    w->v->vmcs12.vmwrite_bitmap = WRITE_BITMAP;
    w->v->vmcs12.vmcs_link = LINKED;
    w->v->vmcs12.guest_cr3 = L1_CR3; /* L2 without EPT has L1's tables as its own. */
}

static void launch_with_link(struct world *w)
{
    ready_with_link(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void intercept(struct world *w, uint64_t bitmap, enum nvirt_vmcs_field field)
{
    uint32_t encoding = nvirt_vmcs_field_encoding(field);
    uint8_t byte = (uint8_t)(1u << encoding % 8);

    fake_vm_put(w->port, bitmap + encoding / 8, &byte, 1);
}

/* L2 executes VMREAD or VMWRITE of what @p encoding names. */
static void l2_executes(struct world *w, uint32_t reason, uint64_t encoding, uint64_t info)
{
    w->gprs.r[NVIRT_RCX] = encoding;
    exit_with(w, reason, OPERAND, info);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
}

static void expect_completed(struct world *w, uint64_t flags)
{
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_false(w->v->pending.exception.waiting);
    assert_int_equal(GET2(w, GUEST_RFLAGS) & FLAGS_VMFAIL, flags);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP + INSN_LENGTH);
}

/* What L2 has in memory at OPERAND. */
static uint64_t l2_vmread(struct world *w, enum nvirt_vmcs_field field)
{
    w->gprs.r[NVIRT_RAX] = 0xbad;
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, nvirt_vmcs_field_encoding(field), L2_ACCESS);
    expect_completed(w, 0);
    return w->gprs.r[NVIRT_RAX];
}

static void l2_vmwrite(struct world *w, enum nvirt_vmcs_field field, uint64_t value)
{
    w->gprs.r[NVIRT_RAX] = value;
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, nvirt_vmcs_field_encoding(field), L2_ACCESS);
    expect_completed(w, 0);
}

/* L1 writes into the VMCS that is to be linked, and makes VMCS12 current again. */
static void fill_linked(struct world *w, enum nvirt_vmcs_field field, uint64_t value, bool clear)
{
    struct nvirt_vmcs current = w->v->vmcs12;

    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    expect_success(w);
    vmwrite12(w, field, value);
    if (clear)
        l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, LINKED);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    expect_success(w);
    assert_memory_equal(&current, &w->v->vmcs12, sizeof current);
}

/* ---- shadow VMCSs of L1 ---- */

/* A shadow VMCS can be current, for VMREAD and VMWRITE; but no entry takes place with it. */
static void entry_with_a_shadow_vmcs_fails_invalid(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put32(w->port, VMCS12, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    load_vmcs12(w, VMCS12);
    WRITE12(w, GUEST_RIP, L2_RIP);
    assert_int_equal(READ12(w, GUEST_RIP), L2_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    expect_vmfail_invalid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail_invalid(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    /* VMfail with a number goes into it as into any. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMXON_REGION);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_VMXON);
}

/* The type is that of the VMCS, not of the CPU: another one can be launched, and so can this one once
 * VMPTRLD finds it ordinary; VMCLEAR takes both kinds. */
static void the_type_is_what_vmptrld_finds(void **state)
{
    struct world *w = *state;

    launch_with_link(w);
    l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    expect_vmfail_invalid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, LINKED);
    expect_success(w);
    fake_vm_put32(w->port, LINKED, revision12(w));
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
    /* The same pointer again, marked meanwhile. */
    fake_vm_put32(w->port, LINKED, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail_invalid(w);
    fake_vm_put32(w->port, LINKED, revision12(w));
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
}

/* [SDM 3C "VMXON"]: bit 31 of the identifier must be clear. */
static void vmxon_refuses_a_shadow_indicator(void **state)
{
    struct world *w = *state;

    fake_vm_put32(w->port, VMXON_REGION, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_vmfail_invalid(w);
    assert_false(w->v->vmx.on);
}

/* [SDM 3C "Checks on Guest Non-Register State"]: with the control the link must be a shadow VMCS,
 * without it an ordinary one; and it is not the current VMCS. */
static void the_link_is_of_the_kind_that_the_control_says(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    fake_vm_put32(w->port, LINKED, revision12(w));
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON),
                     NVIRT_VMX_REASON_ENTRY_FAILURE | NVIRT_VMX_EXIT_ENTRY_GUEST_STATE);
    assert_int_equal(READ12(w, EXIT_QUALIFICATION), NVIRT_VMX_ENTRY_FAIL_VMCS_LINK);
}

/* ---- L2's accesses ---- */

/* L1 clears its shadow VMCS before the entry, as hypervisors do, or leaves it active: L2 reads what L1
 * wrote, and L1 what L2 wrote. */
static void check_both_ways(struct world *w, bool clear)
{
    ready_with_link(w);
    fill_linked(w, NVIRT_VMCS_GUEST_RSP, VALUE, clear);
    vmlaunch(w);
    assert_true(l2_vmread(w, NVIRT_VMCS_GUEST_RSP) == VALUE);
    SET1(w, GUEST_RIP, L1_RIP);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, L2_RIP), NVIRT_OK);
    l2_vmwrite(w, NVIRT_VMCS_GUEST_CS_SELECTOR, 0x54321);
    l2_cpuid(w);
    assert_true(w->v->vmcs12.guest_rsp == 0xa000);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    assert_int_equal(READ12(w, GUEST_CS_SELECTOR), 0x4321);
    assert_true(READ12(w, GUEST_RSP) == VALUE);
}

static void l2_shares_a_cleared_vmcs_with_l1(void **state)
{
    check_both_ways(*state, true);
}

static void l2_shares_an_active_vmcs_with_l1(void **state)
{
    check_both_ways(*state, false);
}

/* Hardware knows nothing of it: vmcs02 has neither control nor link, so that no access of L2's gets at
 * a VMCS of nvirt's. */
static void hardware_has_no_link_for_l2(void **state)
{
    struct world *w = *state;

    launch_with_link(w);
    prepare(w);
    assert_int_equal(HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VMCS_SHADOWING, 0);
    assert_true(HW(w, VMCS_LINK) == NVIRT_VMX_NO_VMCS_LINK);
    w->v->prepared = false;
}

/* Bit N of each bitmap: exit for field N. One byte of L1's is read for it. */
static void the_bitmaps_decide_for_each_direction(void **state)
{
    struct world *w = *state;
    uint64_t before;

    intercept(w, READ_BITMAP, NVIRT_VMCS_GUEST_RSP);
    intercept(w, WRITE_BITMAP, NVIRT_VMCS_GUEST_RIP);
    launch_with_link(w);
    (void)l2_vmread(w, NVIRT_VMCS_GUEST_RIP);
    before = w->v->stats.bytes_read;
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_RSP),
                L2_ACCESS);
    assert_int_equal(w->v->stats.bytes_read - before, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_VMREAD);
    assert_true(READ12(w, EXIT_INSN_INFO) == L2_ACCESS);
    assert_int_equal(READ12(w, EXIT_INSN_LENGTH), INSN_LENGTH);
    SET1(w, GUEST_RIP, L1_RIP);
    WRITE12(w, GUEST_RIP, L2_RIP);
    vmresume(w);
    l2_vmwrite(w, NVIRT_VMCS_GUEST_RSP, 1);
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_RIP),
                L2_ACCESS);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_VMWRITE);
}

static void without_the_control_every_access_is_l1s(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    w->v->vmcs12.proc2_controls = 0;
    w->v->vmcs12.vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
    vmlaunch(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0x681c, L2_ACCESS);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_VMREAD);
}

/* What has more than 15 bits has no bit in a bitmap. */
static void wide_encodings_are_l1s(void **state)
{
    struct world *w = *state;

    launch_with_link(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0x681c | NVIRT_BIT(15), L2_ACCESS);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0x681c | NVIRT_BIT(40), L2_ACCESS);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

/* Outside 64-bit mode registers have 32 bits: the upper ones of the encoding are not there, and a
 * destination is written with 32. */
static void in_32_bit_mode_operands_have_32_bits(void **state)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_VMREAD }, { 0x440c, INSN_LENGTH }, { 0x440e, L2_ACCESS },
        { 0x2806, 0 },                     { 0x6400, 0 },           { 0x4408, 0 },
    };
    struct world *w = *state;

    ready_with_link(w);
    fill_linked(w, NVIRT_VMCS_GUEST_RSP, VALUE, true);
    vmlaunch(w);
    w->gprs.r[NVIRT_RCX] = 0x681c | NVIRT_BIT(40);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(w->gprs.r[NVIRT_RAX] == (VALUE & 0xffffffff));
}

/* The exit goes before the look at CPL, and #GP(0) is L2's, or L1's if L1 has asked for it. */
static void privilege_comes_after_the_bitmaps(void **state)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_VMREAD }, { 0x440c, INSN_LENGTH }, { 0x440e, L2_ACCESS },
        { 0x4818, 0xc0f3 },                { 0x6400, 0 },           { 0x4408, 0 },
    };
    struct world *w = *state;

    intercept(w, READ_BITMAP, NVIRT_VMCS_GUEST_RIP);
    launch_with_link(w);
    w->gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_RSP);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    expect_exception(w, NVIRT_VECTOR_GP, true, 0);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP);
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, sizeof set / sizeof set[0]),
                     NVIRT_HW_OK);
    w->gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(NVIRT_VMCS_GUEST_RIP);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_VMREAD);
}

/* Without a link there is no VMCS. */
static void a_link_of_all_ones_fails_invalid(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    w->v->vmcs12.vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
    vmlaunch(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0xffe, L2_ACCESS);
    expect_completed(w, NVIRT_RFLAGS_CF);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, L2_RIP), NVIRT_OK);
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, 0x681c, L2_ACCESS);
    expect_completed(w, NVIRT_RFLAGS_CF);
}

/* A field that L1's CPU has not: error 12, in the VMCS that L2 runs on. */
static void unknown_fields_fail_12(void **state)
{
    struct world *w = *state;

    launch_with_link(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0xffe, L2_ACCESS);
    expect_completed(w, NVIRT_RFLAGS_ZF);
    l2_cpuid(w);
    assert_int_equal(READ12(w, VM_INSTRUCTION_ERROR), NVIRT_VMX_ERR_FIELD_UNSUPPORTED);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, LINKED);
    assert_int_equal(READ12(w, VM_INSTRUCTION_ERROR), 0);
}

/* Fields of exit information can be written by VMWRITE as far as IA32_VMX_MISC says so. */
static void read_only_fields_follow_the_capability(void **state)
{
    struct world *w = *state;

    launch_with_link(w);
    w->v->offer.misc |= NVIRT_VMX_MISC_VMWRITE_ANY;
    l2_vmwrite(w, NVIRT_VMCS_EXIT_REASON, 48);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, L2_RIP), NVIRT_OK);
    assert_int_equal(l2_vmread(w, NVIRT_VMCS_EXIT_REASON), 48);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, L2_RIP), NVIRT_OK);
    w->v->offer.misc &= ~NVIRT_VMX_MISC_VMWRITE_ANY;
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, nvirt_vmcs_field_encoding(NVIRT_VMCS_EXIT_REASON),
                L2_ACCESS);
    expect_completed(w, NVIRT_RFLAGS_ZF);
    assert_int_equal(w->v->vmcs12.vm_instruction_error, NVIRT_VMX_ERR_FIELD_READ_ONLY);
}

static void the_high_half_has_an_encoding_of_its_own(void **state)
{
    struct world *w = *state;
    uint32_t encoding = nvirt_vmcs_field_encoding(NVIRT_VMCS_EPTP);

    ready_with_link(w);
    fill_linked(w, NVIRT_VMCS_EPTP, VALUE, true);
    vmlaunch(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, encoding | 1, L2_ACCESS);
    assert_true(w->gprs.r[NVIRT_RAX] == VALUE >> 32);
    w->gprs.r[NVIRT_RAX] = 0x77;
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, encoding | 1, L2_ACCESS);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, encoding, L2_ACCESS);
    assert_true(w->gprs.r[NVIRT_RAX] == (UINT64_C(0x77) << 32 | (VALUE & 0xffffffff)));
}

/* ---- operands in memory ---- */

/* L2 without EPT: its linear addresses go through its own tables into L1's memory. */
static void operands_in_memory_are_l2s(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    fill_linked(w, NVIRT_VMCS_GUEST_RSP, VALUE, true);
    vmlaunch(w);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0x681c, L2_MEMORY);
    expect_completed(w, 0);
    assert_true(fake_vm_get64(w->port, OPERAND) == VALUE);
    /* Accessed and dirty, as by the instruction itself. */
    assert_int_equal(fake_vm_get64(w->port, L1_PT + (OPERAND >> 12) * 8) & 0x60, 0x60);
    fake_vm_put64(w->port, OPERAND, 0x1111);
    l2_executes(w, NVIRT_VMX_EXIT_VMWRITE, 0x681c, L2_MEMORY);
    l2_executes(w, NVIRT_VMX_EXIT_VMREAD, 0x681c, L2_ACCESS);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0x1111);
}

/* Across a page boundary both pages are translated before a byte is written. */
static void an_operand_across_pages_is_all_or_nothing(void **state)
{
    struct world *w = *state;
    uint64_t place = OPERAND + 0xffc;

    ready_with_link(w);
    fill_linked(w, NVIRT_VMCS_GUEST_RSP, VALUE, true);
    /* The second page is not the next one in memory. */
    fake_vm_put64(w->port, L1_PT + (0x21000 >> 12) * 8, 0x25003);
    vmlaunch(w);
    w->gprs.r[NVIRT_RCX] = 0x681c;
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, place, L2_MEMORY);
    expect_completed(w, 0);
    assert_true((uint32_t)fake_vm_get64(w->port, place) == (uint32_t)VALUE);
    assert_true((uint32_t)fake_vm_get64(w->port, 0x25000) == VALUE >> 32);
    fake_vm_put64(w->port, L1_PT + (0x21000 >> 12) * 8, 0);
    fake_vm_put64(w->port, place, 0);
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, place, L2_MEMORY);
    assert_true(fake_vm_get64(w->port, place) == 0);
    expect_exception(w, NVIRT_VECTOR_PF, true, NVI_PF_W);
    assert_true(w->run.set_cr2);
    assert_true(w->run.cr2 == OPERAND + 0x1000);
}

/* L1 sees page faults of L2 that it has asked for, this one too. */
static void a_page_fault_of_the_operand_may_be_l1s(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_PF);
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, 0);
    vmlaunch(w);
    w->gprs.r[NVIRT_RCX] = 0x681c;
    exit_with(w, NVIRT_VMX_EXIT_VMWRITE, OPERAND, L2_MEMORY);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    w->v->prepared = false;
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_EXCEPTION_NMI);
    assert_true(READ12(w, EXIT_QUALIFICATION) == OPERAND);
    assert_int_equal(READ12(w, EXIT_INTERRUPTION_ERROR), 0);
}

/* L2 behind EPT12 that maps its first 2 MiB page by page onto themselves. */
static void ready_with_ept(struct world *w, uint64_t flags)
{
    ready_with_link(w);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e | flags;
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000, (EPT12_TOP + (i + 1) * 0x1000) | 7);
    for (uint64_t i = 0; i < 512; i++)
        fake_vm_put64(w->port, LEAVES + i * 8, i << 12 | 0x37);
}

static void l2_vmread_to_memory(struct world *w)
{
    w->gprs.r[NVIRT_RCX] = 0x681c;
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, OPERAND, L2_MEMORY);
    assert_int_equal(w->status, NVIRT_OK);
}

static void expect_violation(struct world *w, uint64_t l2gpa, uint64_t qualification)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_true(READ12(w, GUEST_PHYSICAL) == l2gpa);
    assert_true(READ12(w, GUEST_LINEAR) == OPERAND);
    assert_true(READ12(w, EXIT_QUALIFICATION) == qualification);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
}

static void operands_go_through_ept12(void **state)
{
    struct world *w = *state;

    ready_with_ept(w, 0);
    fill_linked(w, NVIRT_VMCS_GUEST_RSP, VALUE, true);
    fake_vm_put64(w->port, LEAVES + (OPERAND >> 12) * 8, 0x26037);
    fake_vm_put64(w->port, OPERAND, 0);
    vmlaunch(w);
    l2_vmread_to_memory(w);
    expect_completed(w, 0);
    assert_true(fake_vm_get64(w->port, 0x26000) == VALUE);
    assert_true(fake_vm_get64(w->port, OPERAND) == 0);
}

/* [SDM 3C "Exit Qualification for EPT Violations"]: bit 8 tells the access itself from one to L2's
 * tables; nothing has been written. */
static void a_violation_of_the_operand_is_l1s(void **state)
{
    struct world *w = *state;

    ready_with_ept(w, 0);
    fake_vm_put64(w->port, LEAVES + (OPERAND >> 12) * 8, OPERAND | 0x35);
    vmlaunch(w);
    l2_vmread_to_memory(w);
    expect_violation(w, OPERAND, 2 | 5 << 3 | 0x180);
    assert_int_equal(fake_vm_get64(w->port, L1_PT + (OPERAND >> 12) * 8) & 0x40, 0);
}

/* The same where L1's CPU tells more: what L2's tables allow at the address. */
static void a_violation_tells_of_l2s_page(void **state)
{
    struct world *w = *state;

    w->v->offer.ept_vpid |= NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO;
    ready_with_ept(w, 0);
    w->v->vmcs12.guest_efer |= NVIRT_EFER_NXE;
    fake_vm_put64(w->port, LEAVES + (OPERAND >> 12) * 8, 0);
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, OPERAND | 7 | NVIRT_BIT(63));
    vmlaunch(w);
    l2_vmread_to_memory(w);
    expect_violation(w, OPERAND, 2 | 0x180 | 6 << 9); /* Writable, no fetches; not user above. */
}

static void a_violation_of_l2s_tables_is_l1s(void **state)
{
    struct world *w = *state;
    uint64_t pte = L1_PT + (OPERAND >> 12) * 8;

    ready_with_ept(w, 0);
    fake_vm_put64(w->port, LEAVES + (L1_PT >> 12) * 8, L1_PT | 0x30);
    vmlaunch(w);
    l2_vmread_to_memory(w);
    expect_violation(w, pte, 1 | 0x80);
}

/* Tables that may be read only: a violation where a flag of L2's must be set, and none where all are;
 * with flags of EPT each look counts as a write. */
static void tables_that_l2_may_not_write(void **state)
{
    struct world *w = *state;
    uint64_t pte = L1_PT + (OPERAND >> 12) * 8;

    ready_with_ept(w, 0);
    fake_vm_put64(w->port, LEAVES + (L1_PT >> 12) * 8, L1_PT | 0x31);
    fake_vm_put64(w->port, pte, OPERAND | 0x23); /* Accessed, not dirty. */
    vmlaunch(w);
    l2_vmread_to_memory(w);
    expect_violation(w, pte, 2 | 1 << 3 | 0x80);
    fake_vm_put64(w->port, pte, OPERAND | 0x63);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    l2_vmread_to_memory(w);
    expect_completed(w, 0);
    l2_cpuid(w);
    w->v->vmcs12.eptp |= NVIRT_VMX_EPTP_ACCESSED_DIRTY;
    w->v->vmcs12.guest_rip = L2_RIP;
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    l2_vmread_to_memory(w);
    expect_violation(w, pte, 3 | 1 << 3 | 0x80);
}

/* [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"]: the page is not memory for L2. */
static void an_operand_in_the_apic_access_page_is_l1s(void **state)
{
    struct world *w = *state;

    ready_with_link(w);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    w->v->vmcs12.apic_access_addr = OPERAND;
    vmlaunch(w);
    w->gprs.r[NVIRT_RCX] = 0x681c;
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, OPERAND + 0x310, L2_MEMORY);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_APIC_ACCESS);
    assert_int_equal(READ12(w, EXIT_QUALIFICATION), 0x1310);
    assert_true(fake_vm_get64(w->port, OPERAND + 0x310) == 0);
}

/* ---- saved state ---- */

/* That the current VMCS is a shadow VMCS is L1's state, and the region may tell otherwise by now. */
static void the_type_is_saved_and_restored(void **state)
{
    static uint8_t first[NVIRT_STATE_MAX_BYTES];
    static uint8_t second[NVIRT_STATE_MAX_BYTES];
    struct world *w = *state;
    size_t bytes;
    size_t again;

    vmxon(w);
    fake_vm_put32(w->port, VMCS12, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    load_vmcs12(w, VMCS12);
    w->v->prepared = false;
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, first, sizeof first, &bytes), NVIRT_OK);
    fake_vm_put32(w->port, VMCS12, revision12(w));
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, first, bytes), NVIRT_OK);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, second, sizeof second, &again), NVIRT_OK);
    assert_int_equal(bytes, again);
    assert_memory_equal(first, second, bytes);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    expect_vmfail_invalid(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(entry_with_a_shadow_vmcs_fails_invalid),
        TEST(the_type_is_what_vmptrld_finds),
        TEST_SHADOWED(the_type_is_what_vmptrld_finds),
        TEST(vmxon_refuses_a_shadow_indicator),
        TEST(the_link_is_of_the_kind_that_the_control_says),
        TEST(l2_shares_a_cleared_vmcs_with_l1),
        TEST_SHADOWED(l2_shares_a_cleared_vmcs_with_l1),
        TEST(l2_shares_an_active_vmcs_with_l1),
        TEST_SHADOWED(l2_shares_an_active_vmcs_with_l1),
        TEST(hardware_has_no_link_for_l2),
        TEST_SHADOWED(hardware_has_no_link_for_l2),
        TEST(the_bitmaps_decide_for_each_direction),
        TEST(without_the_control_every_access_is_l1s),
        TEST(wide_encodings_are_l1s),
        TEST(in_32_bit_mode_operands_have_32_bits),
        TEST(privilege_comes_after_the_bitmaps),
        TEST(a_link_of_all_ones_fails_invalid),
        TEST(unknown_fields_fail_12),
        TEST(read_only_fields_follow_the_capability),
        TEST(the_high_half_has_an_encoding_of_its_own),
        TEST(operands_in_memory_are_l2s),
        TEST(an_operand_across_pages_is_all_or_nothing),
        TEST(a_page_fault_of_the_operand_may_be_l1s),
        TEST(operands_go_through_ept12),
        TEST(a_violation_of_the_operand_is_l1s),
        TEST(a_violation_tells_of_l2s_page),
        TEST(a_violation_of_l2s_tables_is_l1s),
        TEST(tables_that_l2_may_not_write),
        TEST(an_operand_in_the_apic_access_page_is_l1s),
        TEST(the_type_is_saved_and_restored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
