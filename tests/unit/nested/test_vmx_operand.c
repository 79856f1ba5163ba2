/* SPDX-License-Identifier: MIT */
/*
 * Memory operands of L1's VMX instructions: effective addresses, segmentation, paging, and what L1
 * gets when one of them says no. VMPTRST (a write of 8 bytes) and VMPTRLD (a read) stand for all.
 */
#include "vmx_world.h"

#define VALUE UINT64_C(0x1122334455667788)
#define NO_BASE NVIRT_BIT(27)
#define NO_INDEX NVIRT_BIT(22)
#define ADDRESS(size) ((uint64_t)(size) << 7)
#define SEGMENT(n) ((uint64_t)(n) << 15)
#define INDEX(n) ((uint64_t)(n) << 18)
#define BASE(n) ((uint64_t)(n) << 23)
#define ES SEGMENT(0)
#define CS SEGMENT(1)
#define SS SEGMENT(2)
#define DS SEGMENT(3)
#define FS SEGMENT(4)

/* VMPTRST to the operand that info and displacement describe. */
static void store(struct world *w, uint64_t info, uint64_t displacement)
{
    exit_with(w, NVIRT_VMX_EXIT_VMPTRST, displacement, info);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
}

static void expect_stored_at(struct world *w, uint64_t address)
{
    assert_false(w->v->pending.exception.waiting);
    assert_true(fake_vm_get64(w->port, address) == ~UINT64_C(0));
    fake_vm_put64(w->port, address, 0);
}

static void expect_fault(struct world *w, uint8_t vector, uint32_t error)
{
    uint64_t rip = GET1(w, GUEST_RIP);

    expect_exception(w, vector, true, error);
    assert_true(HW(w, GUEST_RIP) == rip);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0); /* Delivered. */
}

static void base_index_scale_and_displacement_add_up(void **state)
{
    struct world *w = *state;

    vmxon(w);
    w->gprs.r[NVIRT_RBX] = 0x20000;
    w->gprs.r[NVIRT_R15] = 0x100;
    store(w, ADDRESS(2) | DS | BASE(NVIRT_RBX) | INDEX(NVIRT_R15) | 3, 0x10);
    expect_stored_at(w, 0x20000 + 0x800 + 0x10);
    store(w, ADDRESS(2) | DS | BASE(NVIRT_RBX) | NO_INDEX, ~UINT64_C(0xf));
    expect_stored_at(w, 0x1fff0);
    store(w, ADDRESS(2) | DS | NO_BASE | INDEX(NVIRT_RBX) | 1, 0);
    expect_stored_at(w, 0x40000);
    w->gprs.r[NVIRT_RSP] = 0x66666; /* RSP is the VMCS's, not this slot. */
    store(w, ADDRESS(2) | SS | BASE(NVIRT_RSP) | NO_INDEX, 8);
    expect_stored_at(w, 0x8008);
}

static void the_address_size_cuts_the_offset(void **state)
{
    struct world *w = *state;

    vmxon(w);
    w->gprs.r[NVIRT_RBX] = UINT64_C(0xffffffff00020000);
    store(w, ADDRESS(1) | DS | BASE(NVIRT_RBX) | NO_INDEX, 0);
    expect_stored_at(w, 0x20000);
}

static void in_64_bit_mode_only_fs_and_gs_have_bases(void **state)
{
    struct world *w = *state;

    vmxon(w);
    SET1(w, GUEST_DS_BASE, 0x10000);
    SET1(w, GUEST_DS_LIMIT, 0);
    SET1(w, GUEST_FS_BASE, 0x21000);
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, 0x20000);
    expect_stored_at(w, 0x20000);
    store(w, ADDRESS(2) | FS | NO_BASE | NO_INDEX, 0x100);
    expect_stored_at(w, 0x21100);
}

static void a_non_canonical_operand_is_gp_or_ss(void **state)
{
    struct world *w = *state;

    vmxon(w);
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, UINT64_C(0x800000000000));
    expect_fault(w, NVIRT_VECTOR_GP, 0);
    store(w, ADDRESS(2) | SS | NO_BASE | NO_INDEX, UINT64_C(0x800000000000));
    expect_fault(w, NVIRT_VECTOR_SS, 0);
    /* Its last byte only. */
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, UINT64_C(0x7ffffffffffc));
    expect_fault(w, NVIRT_VECTOR_GP, 0);
}

/* ---- paging ---- */

static void a_page_that_is_not_present_is_a_page_fault_with_its_address(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0);
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, 0x25010);
    prepare(w);
    assert_true(w->run.set_cr2);
    assert_true(w->run.cr2 == 0x25010);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 2);
    /* A read of the same page: another error code. */
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, 0x25010, INFO_PLAIN);
    expect_fault(w, NVIRT_VECTOR_PF, 0);
}

static void a_read_only_page_faults_on_write_under_wp(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0x25001);
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, 0x25010);
    expect_fault(w, NVIRT_VECTOR_PF, 3);
}

static void an_operand_across_pages_faults_before_anything_is_written(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, 0x25ff8, VALUE);
    fake_vm_put64(w->port, L1_PT + 0x26 * 8, 0);
    store(w, ADDRESS(2) | DS | NO_BASE | NO_INDEX, 0x25ffc);
    prepare(w);
    assert_true(w->run.cr2 == 0x26000);
    assert_true(fake_vm_get64(w->port, 0x25ff8) == VALUE);
}

static void accessed_and_dirty_bits_of_l1s_tables_are_set(void **state)
{
    struct world *w = *state;

    vmxon(w);
    store(w, INFO_PLAIN, 0x25010);
    assert_int_equal(fake_vm_get64(w->port, L1_PT + 0x25 * 8) & 0x60, 0x60);
    assert_int_equal(fake_vm_get64(w->port, L1_PML4) & 0x20, 0x20);
}

static void smap_stops_accesses_to_user_pages_unless_ac(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, L1_PML4, L1_PDPT | 7);
    fake_vm_put64(w->port, L1_PDPT, L1_PD | 7);
    fake_vm_put64(w->port, L1_PD, L1_PT | 7);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0x25007);
    SET1(w, GUEST_CR4, 0x2020 | NVIRT_CR4_SMAP);
    store(w, INFO_PLAIN, 0x25010);
    expect_fault(w, NVIRT_VECTOR_PF, 3);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_AC);
    store(w, INFO_PLAIN, 0x25010);
    expect_stored_at(w, 0x25010);
}

/* [SDM 3A "Protection Keys"]: PKRU guards user pages under CR4.PKE, IA32_PKRS the others under
 * CR4.PKS; bit 5 of the error code tells. */
static void protection_keys_guard_operands(void **state)
{
    static const struct {
        uint64_t page, cr4;
        uint32_t pkru, pkrs, error; /* 0: no fault. */
    } rows[] = {
        {7, NVIRT_CR4_PKE, 2u << 6, 0, 0x23},    /* Writes disabled for key 3. */
        {7, NVIRT_CR4_PKE, 1u << 6, 0, 0x23},    /* All accesses. */
        {7, NVIRT_CR4_PKE, ~(3u << 6), 0, 0},    /* All other keys. */
        {7, 0, 3u << 6, 3u << 6, 0},
        {7, NVIRT_CR4_PKS, 3u << 6, 3u << 6, 0}, /* Not of user pages. */
        {3, NVIRT_CR4_PKS, 0, 2u << 6, 0x23},
        {3, NVIRT_CR4_PKE, 3u << 6, 3u << 6, 0}, /* Not of supervisor pages. */
    };
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, L1_PML4, L1_PDPT | 7);
    fake_vm_put64(w->port, L1_PDPT, L1_PD | 7);
    fake_vm_put64(w->port, L1_PD, L1_PT | 7);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0x25000 | rows[i].page | UINT64_C(3) << 59);
        SET1(w, GUEST_CR4, 0x2020 | rows[i].cr4);
        w->port->pkru = rows[i].pkru;
        fake_vm_msr_set(w->port, NVIRT_MSR_PKRS, rows[i].pkrs, false);
        store(w, INFO_PLAIN, 0x25010);
        if (rows[i].error != 0) {
            expect_fault(w, NVIRT_VECTOR_PF, rows[i].error);
        } else {
            expect_stored_at(w, 0x25010);
        }
    }
}

/* A walk that is remembered for the next operand must not outlive the rights of a key. */
static void a_key_that_loses_its_rights_stops_the_next_operand(void **state)
{
    struct world *w = *state;

    vmxon(w);
    fake_vm_put64(w->port, L1_PML4, L1_PDPT | 7);
    fake_vm_put64(w->port, L1_PDPT, L1_PD | 7);
    fake_vm_put64(w->port, L1_PD, L1_PT | 7);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0x25007);
    fake_vm_put64(w->port, 0x25010, VMCS12);
    SET1(w, GUEST_CR4, 0x2020 | NVIRT_CR4_PKE);
    for (uint32_t i = 0; i < 3; i++) {
        exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, 0x25010, INFO_PLAIN);
        assert_true(w->v->vmx.current == VMCS12);
    }
    w->port->pkru = 1;
    exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, 0x25010, INFO_PLAIN);
    expect_fault(w, NVIRT_VECTOR_PF, 0x21);
}

/* L1 keeps changing its tables under the walk: the instruction runs again, nothing is lost. */
static void tables_that_keep_changing_make_l1_execute_again(void **state)
{
    struct world *w = *state;
    uint64_t rip;

    vmxon(w);
    rip = GET1(w, GUEST_RIP);
    fake_vm_race(w->port, L1_PT + 0x25 * 8, 8, UINT64_C(1) << 52, 1000);
    store(w, INFO_PLAIN, 0x25010);
    assert_true(GET1(w, GUEST_RIP) == rip);
    assert_false(w->v->pending.exception.waiting);
}

/* No memory behind the operand: reads give all ones, writes vanish. */
static void an_operand_without_memory_is_a_bus_that_answers_ones(void **state)
{
    struct world *w = *state;

    vmxon(w);
    load_vmcs12(w, VMCS12);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, (L1_RAM + 0x1000) | 3);
    store(w, INFO_PLAIN, 0x25010);
    expect_success(w);
    exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, 0x25010, INFO_PLAIN);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_ADDRESS);
}

/* ---- 32-bit protected mode ---- */

/* Paging off keeps the tests about segments. L1 cannot enter VMX operation without paging, so it is
 * in it already. */
static void flat_32(struct world *w)
{
    vmxon(w);
    SET1(w, GUEST_CR0, 0x31);
    SET1(w, GUEST_EFER, 0);
    SET1(w, GUEST_CS_AR, 0xc09b);
}

static void in_32_bit_mode_bases_and_limits_hold(void **state)
{
    struct world *w = *state;

    flat_32(w);
    SET1(w, GUEST_ES_BASE, 0x20000);
    SET1(w, GUEST_ES_LIMIT, 0xfff);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0xff8);
    expect_stored_at(w, 0x20ff8);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0xff9);
    expect_fault(w, NVIRT_VECTOR_GP, 0);
    SET1(w, GUEST_SS_LIMIT, 0xfff);
    store(w, ADDRESS(1) | SS | NO_BASE | NO_INDEX, 0x1000);
    expect_fault(w, NVIRT_VECTOR_SS, 0);
}

static void a_32_bit_address_wraps_at_4_gib(void **state)
{
    struct world *w = *state;

    flat_32(w);
    SET1(w, GUEST_ES_BASE, 0xfffff000);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0x21000);
    expect_stored_at(w, 0x20000);
    w->gprs.r[NVIRT_RBX] = UINT64_C(0xdead00020000);
    store(w, ADDRESS(1) | DS | BASE(NVIRT_RBX) | NO_INDEX, 0);
    expect_stored_at(w, 0x20000);
    w->gprs.r[NVIRT_RBX] = 0x12340100;
    SET1(w, GUEST_DS_BASE, 0x20000);
    store(w, ADDRESS(0) | DS | BASE(NVIRT_RBX) | NO_INDEX, 0);
    expect_stored_at(w, 0x20100);
}

static void in_32_bit_mode_segment_types_are_checked(void **state)
{
    struct world *w = *state;
    static const struct {
        uint64_t ar;
        bool read, write;
    } rows[] = {
        { 0xc093, true, true },   /* Data, writable. */
        { 0xc091, true, false },  /* Data, read-only. */
        { 0xc09b, true, false },  /* Code, readable. */
        { 0xc099, false, false }, /* Code, execute-only. */
        { 0x10000, false, false },
    };

    flat_32(w);
    fake_vm_put64(w->port, OPERAND, VMXON_REGION);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SET1(w, GUEST_ES_AR, rows[i].ar);
        store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0x21000);
        if (rows[i].write)
            expect_stored_at(w, 0x21000);
        else
            expect_fault(w, NVIRT_VECTOR_GP, 0);
        exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, OPERAND, ADDRESS(1) | ES | NO_BASE | NO_INDEX);
        if (rows[i].read)
            expect_vmfail_invalid(w); /* The operand was read: it is the VMXON pointer. */
        else
            expect_fault(w, NVIRT_VECTOR_GP, 0);
        SET1(w, GUEST_RFLAGS, 2);
    }
}

static void expand_down_segments_hold_what_is_above_the_limit(void **state)
{
    struct world *w = *state;

    flat_32(w);
    SET1(w, GUEST_ES_AR, 0xc097);
    SET1(w, GUEST_ES_LIMIT, 0x20fff);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0x21000);
    expect_stored_at(w, 0x21000);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0x20ffc);
    expect_fault(w, NVIRT_VECTOR_GP, 0);
    SET1(w, GUEST_ES_AR, 0x8097); /* 16-bit: nothing above 0xffff. */
    SET1(w, GUEST_ES_LIMIT, 0xfff);
    store(w, ADDRESS(1) | ES | NO_BASE | NO_INDEX, 0xfffc);
    expect_fault(w, NVIRT_VECTOR_GP, 0);
}

/* Outside 64-bit mode VMREAD and VMWRITE move 32 bits, and the encoding has no more either. */
static void in_32_bit_mode_fields_move_as_32_bits(void **state)
{
    struct world *w = *state;

    flat_32(w);
    w->v->vmx.current = VMCS12;
    w->gprs.r[NVIRT_RAX] = VALUE;
    w->gprs.r[NVIRT_RCX] = UINT64_C(0xffffffff0000681e);
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
    assert_true(w->v->vmcs12.guest_rip == (VALUE & 0xffffffff));
    w->v->vmcs12.guest_rip = VALUE;
    fake_vm_put64(w->port, OPERAND, ~UINT64_C(0));
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, OPERAND,
              ADDRESS(1) | DS | NO_BASE | NO_INDEX | INFO_REG2(NVIRT_RCX));
    assert_true(fake_vm_get64(w->port, OPERAND) == UINT64_C(0xffffffff55667788));
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RDX) | INFO_REG2(NVIRT_RCX));
    assert_true(w->gprs.r[NVIRT_RDX] == 0x55667788);
}

static void a_pae_l1_is_walked_with_its_pdptes(void **state)
{
    struct world *w = *state;

    flat_32(w);
    SET1(w, GUEST_CR0, 0x80010031);
    SET1(w, GUEST_PDPTE0, L1_PD | 1);
    store(w, ADDRESS(1) | DS | NO_BASE | NO_INDEX, 0x25010);
    expect_stored_at(w, 0x25010);
    SET1(w, GUEST_PDPTE0, 0);
    store(w, ADDRESS(1) | DS | NO_BASE | NO_INDEX, 0x25010);
    expect_fault(w, NVIRT_VECTOR_PF, 2);
}

/* ---- the host's own look at L1's memory ---- */

static void the_host_reads_l1s_memory_by_linear_address(void **state)
{
    struct world *w = *state;
    uint64_t value = 0;

    fake_vm_put64(w->port, 0x25ffc, VALUE);
    assert_int_equal(nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(0x25ffc), &value, 8),
                     NVIRT_OK);
    assert_true(value == VALUE);
    assert_int_equal(fake_vm_get64(w->port, L1_PT + 0x25 * 8) & 0x20, 0);
    assert_int_equal(
        nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(NVIRT_BIT(40)), &value, 8),
        NVIRT_ERR_NO_MAPPING);
    assert_int_equal(
        nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(NVIRT_BIT(47)), &value, 8),
        NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(0), &value, 0),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(0), NULL, 8),
                     NVIRT_ERR_NULL);
    launch_l2(w);
    assert_int_equal(nvirt_vmx_l1_read_linear(w->v, &w->cpu, nvirt_gva_make(0), &value, 8),
                     NVIRT_ERR_STATE);
}

/* [SDM 3A "Canonical Addressing"]: by the paging mode, not by what the CPU could do. */
static void an_operand_is_canonical_by_the_paging_mode(void **state)
{
    struct world *w = *state;

    w->v->caps.cpu.linear_bits = w->v->offer.cpu.linear_bits = 57;
    fake_vm_put64(w->port, OPERAND, VMXON_REGION);
    exit_with(w, NVIRT_VMX_EXIT_VMXON, UINT64_C(0x0002000000000000) | OPERAND, INFO_PLAIN);
    assert_false(w->v->vmx.on);
    assert_true(w->v->pending.exception.waiting);
    assert_int_equal(w->v->pending.exception.vector, NVIRT_VECTOR_GP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_operand_is_canonical_by_the_paging_mode),
        TEST(base_index_scale_and_displacement_add_up),
        TEST(the_address_size_cuts_the_offset),
        TEST(in_64_bit_mode_only_fs_and_gs_have_bases),
        TEST(a_non_canonical_operand_is_gp_or_ss),
        TEST(a_page_that_is_not_present_is_a_page_fault_with_its_address),
        TEST(a_read_only_page_faults_on_write_under_wp),
        TEST(an_operand_across_pages_faults_before_anything_is_written),
        TEST(accessed_and_dirty_bits_of_l1s_tables_are_set),
        TEST(smap_stops_accesses_to_user_pages_unless_ac),
        TEST(protection_keys_guard_operands),
        TEST(a_key_that_loses_its_rights_stops_the_next_operand),
        TEST(tables_that_keep_changing_make_l1_execute_again),
        TEST(an_operand_without_memory_is_a_bus_that_answers_ones),
        TEST(in_32_bit_mode_bases_and_limits_hold),
        TEST(a_32_bit_address_wraps_at_4_gib),
        TEST(in_32_bit_mode_segment_types_are_checked),
        TEST(expand_down_segments_hold_what_is_above_the_limit),
        TEST(in_32_bit_mode_fields_move_as_32_bits),
        TEST(a_pae_l1_is_walked_with_its_pdptes),
        TEST(the_host_reads_l1s_memory_by_linear_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
