/* SPDX-License-Identifier: MIT */
/*
 * Sub-page write permissions as L1 has them for its L2 [SDM 3C "Sub-Page Write Permissions", "Basic VM-Exit
 * Information"]: what hardware is given, what L1 sees, and what the vector is to a write that nvirt makes
 * for L2. The rules of the tables themselves: ept/test_ept_subpage.c.
 */
#include "vmx_world.h"

#define SPPT12 UINT64_C(0x3b000) /* Level n in its own page above this one. */
#define LEAVES (EPT12_TOP + 0x3000)
#define PAGE UINT64_C(0x5000)
#define LINEAR UINT64_C(0xabc)
#define LINKED UINT64_C(0x38000)
#define READ_BITMAP UINT64_C(0x39000)
#define WRITE_BITMAP UINT64_C(0x3a000)
#define EPT_D NVIRT_BIT(9)
#define SUBPAGES NVIRT_BIT(61)
#define READ_ONLY (UINT64_C(0x31) | SUBPAGES)
#define WRITE (NVI_EPT_QUAL_WRITE | NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL)
#define MISS NVIRT_BIT(11)
#define NMI NVIRT_BIT(12)
#define PART(n) (UINT64_C(1) << 2 * (n))

static void put_vector(struct world *w, uint64_t page, uint64_t vector)
{
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, SPPT12 + i * 0x1000, (SPPT12 + (i + 1) * 0x1000) | 1);
    fake_vm_put64(w->port, SPPT12 + 0x3000 + (page >> 12) * 8, vector);
}

/* L2's first 2 MiB onto L1's, page by page; one has sub-page permissions. */
static void ready_with_subpages(struct world *w, uint64_t flags)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |=
        NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_SUBPAGE_WRITE;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e | flags;
    w->v->vmcs12.spp_table = SPPT12;
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000, (EPT12_TOP + (i + 1) * 0x1000) | 7);
    for (uint64_t i = 0; i < 512; i++)
        fake_vm_put64(w->port, LEAVES + i * 8, i << 12 | 0x37);
    fake_vm_put64(w->port, LEAVES + (PAGE >> 12) * 8, PAGE | READ_ONLY);
}

static void launch(struct world *w)
{
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void exit_of_tables(struct world *w, uint32_t reason, uint64_t qualification, uint64_t l2gpa,
                           uint64_t vectoring)
{
    const struct fake_set set[] = {
        { 0x4402, reason }, { 0x6400, qualification }, { 0x2400, l2gpa }, { 0x640a, LINEAR },
        { 0x4408, vectoring }, { 0x440c, 3 }, { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
}

static void violation(struct world *w, uint64_t l2gpa)
{
    exit_of_tables(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE, l2gpa, 0);
}

static void spp_event(struct world *w, uint64_t l2gpa, uint64_t qualification)
{
    exit_of_tables(w, NVIRT_VMX_EXIT_SPP_EVENT, qualification, l2gpa, 0);
}

static uint64_t vector02(struct world *w, uint64_t l2gpa, enum hw_subpage *found)
{
    uint64_t vector;

    prepare(w);
    *found = hw_subpage_walk(w->port, HW(w, SPP_TABLE), l2gpa, &vector);
    w->v->prepared = false;
    return vector;
}

static void expect_exit(struct world *w, uint32_t reason, uint64_t qualification, uint64_t l2gpa)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), reason);
    assert_true(READ12(w, EXIT_QUALIFICATION) == qualification);
    assert_true(READ12(w, GUEST_PHYSICAL) == l2gpa);
    assert_true(READ12(w, GUEST_LINEAR) == LINEAR);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
}

static void resume(struct world *w)
{
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* ---- what hardware is given ---- */

/* vmcs02 has the control exactly when vmcs12 has it, and then a table of nvirt's own. */
static void hardware_has_the_control_and_a_table_of_nvirts(void **state)
{
    struct world *w = *state;
    enum hw_subpage found;
    uint64_t table;

    ready_with_subpages(w, 0);
    put_vector(w, PAGE, PART(1));
    launch(w);
    assert_true(vector02(w, PAGE, &found) == 0);
    assert_int_equal(found, HW_SUBPAGE_MISS);
    table = HW(w, SPP_TABLE);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0);
    assert_true(table != 0 && (table & 0xfff) == 0 && table != SPPT12);
    l2_cpuid(w);
    WRITE12(w, PROC2_CONTROLS, READ12(w, PROC2_CONTROLS) & ~NVIRT_VMX_PROC2_SUBPAGE_WRITE);
    resume(w);
    prepare(w);
    assert_int_equal(HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_SUBPAGE_WRITE, 0);
    w->v->prepared = false;
    /* Another table of L1's: another of nvirt's. */
    l2_cpuid(w);
    WRITE12(w, PROC2_CONTROLS, READ12(w, PROC2_CONTROLS) | NVIRT_VMX_PROC2_SUBPAGE_WRITE);
    WRITE12(w, SPP_TABLE, SPPT12 + 0x4000);
    resume(w);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0);
    assert_true(HW(w, SPP_TABLE) != table);
    w->v->prepared = false;
    l2_cpuid(w);
    WRITE12(w, SPP_TABLE, SPPT12);
    resume(w);
    prepare(w);
    assert_true(HW(w, SPP_TABLE) == table);
}

/* A write: hardware asks for a vector, gets it, and decides from then on. */
static void a_write_is_hardwares_to_decide(void **state)
{
    struct world *w = *state;
    enum hw_subpage found;

    ready_with_subpages(w, 0);
    put_vector(w, PAGE, PART(1));
    launch(w);
    violation(w, PAGE + 0x80);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    spp_event(w, PAGE + 0x80, MISS);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(vector02(w, PAGE + 0x80, &found) == PART(1));
    assert_int_equal(found, HW_SUBPAGE_ALLOWED);
    /* The next part is not allowed, and hardware says so. */
    violation(w, PAGE + 0x100);
    expect_exit(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE | 1 << 3, PAGE + 0x100);
}

/* Another EPTP of L1's list has another root, and that another table for the same SPPT of L1's. */
static void vmfunc_switches_the_table_too(void **state)
{
    struct world *w = *state;
    enum hw_subpage found;
    uint64_t table;

    ready_with_subpages(w, 0);
    put_vector(w, PAGE, PART(1));
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VMFUNC;
    w->v->vmcs12.vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING;
    w->v->vmcs12.eptp_list = 0x37000;
    fake_vm_put64(w->port, 0x37000, EPT12_TOP | 0x1e);
    fake_vm_put64(w->port, 0x37008, EPT12_TOP | 0x1e | NVIRT_VMX_EPTP_ACCESSED_DIRTY);
    launch(w);
    violation(w, PAGE + 0x80);
    spp_event(w, PAGE + 0x80, MISS);
    assert_true(vector02(w, PAGE, &found) == PART(1));
    table = HW(w, SPP_TABLE);
    w->gprs.r[NVIRT_RAX] = 0;
    w->gprs.r[NVIRT_RCX] = 1;
    exit_with(w, NVIRT_VMX_EXIT_VMFUNC, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(vector02(w, PAGE, &found) == 0);
    assert_true(HW(w, SPP_TABLE) != table);
    w->gprs.r[NVIRT_RCX] = 0;
    exit_with(w, NVIRT_VMX_EXIT_VMFUNC, 0, 0);
    assert_true(vector02(w, PAGE, &found) == PART(1));
    assert_true(HW(w, SPP_TABLE) == table);
}

/* A root that was made anew under its old key has another page: an entry that looks at no control
 * gives hardware that one. */
static void a_root_made_anew_brings_its_table(void **state)
{
    struct world *w = *state;
    struct nvi_mmu_root *other;
    struct nvi_mmu_key key;
    uint64_t before;

    ready_with_subpages(w, 0);
    launch(w);
    prepare(w);
    before = HW(w, SPP_TABLE);
    w->v->prepared = false;
    key = w->v->root->key;
    l2_cpuid(w);
    for (uint64_t i = 1; i <= NVIRT_DEFAULT_ROOTS; i++) {
        key.table = EPT12_TOP + i * 0x1000;
        assert_int_equal(nvi_ept_root(&w->v->mmu, &key, &other), NVIRT_OK);
    }
    resume(w);
    prepare(w);
    assert_true(HW(w, SPP_TABLE) == w->v->root->subpages.value);
    assert_true(HW(w, SPP_TABLE) != before);
}

/* ---- what L1 sees ---- */

/* Reason 66, bit 11 for a miss; both addresses; bit 12 tells of an IRET, and what was being delivered is
 * in the IDT-vectoring field. */
static void events_are_l1s(void **state)
{
    struct world *w = *state;

    ready_with_subpages(w, 0);
    launch(w);
    violation(w, PAGE + 0x80);
    spp_event(w, PAGE + 0x80, MISS | NMI);
    expect_exit(w, NVIRT_VMX_EXIT_SPP_EVENT, MISS | NMI, PAGE + 0x80);
    put_vector(w, PAGE, PART(1) | 2);
    resume(w);
    /* Hardware knows of no table yet: what L1 is told is what is in its tables now. */
    exit_of_tables(w, NVIRT_VMX_EXIT_SPP_EVENT, MISS, PAGE + 0x88, 0x80000020);
    expect_exit(w, NVIRT_VMX_EXIT_SPP_EVENT, 0, PAGE + 0x88);
    assert_true(READ12(w, IDT_VECTORING) == 0x80000020);
}

/* An event that is nobody's has L2 deliver again what it delivered, and an IRET blocked again. */
static void a_vector_that_was_missing_loses_no_event(void **state)
{
    struct world *w = *state;

    ready_with_subpages(w, 0);
    put_vector(w, PAGE, PART(1));
    launch(w);
    violation(w, PAGE + 0x80);
    spp_event(w, PAGE + 0x80, MISS);
    prepare(w);
    assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) == 0);
    w->v->prepared = false;
    spp_event(w, PAGE + 0x80, NMI);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) != 0);
    w->v->prepared = false;
    exit_of_tables(w, NVIRT_VMX_EXIT_SPP_EVENT, MISS, PAGE + 0x80, 0x80000020);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000020);
}

/* A write that the vector refuses is a violation like others: an exception of L2's where L1 gave those to
 * it. Events never are. */
static void a_refused_write_is_convertible_and_an_event_is_not(void **state)
{
    struct world *w = *state;

    ready_with_subpages(w, 0);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT_VE;
    w->v->vmcs12.ve_info_addr = 0x37000;
    fake_vm_put64(w->port, 0x37000, 0);
    launch(w);
    violation(w, PAGE);
    spp_event(w, PAGE, MISS);
    expect_exit(w, NVIRT_VMX_EXIT_SPP_EVENT, MISS, PAGE);
    put_vector(w, PAGE, PART(1));
    resume(w);
    spp_event(w, PAGE, MISS);
    violation(w, PAGE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(w->v->pending.exception.waiting);
    assert_true(fake_vm_get64(w->port, 0x37008) == (WRITE | 1 << 3));
}

/* ---- what nvirt writes for L2 ---- */

/* VMREAD of L2 to memory, by L1's leave [SDM 3C "VMREAD"]. */
static void launch_with_operand(struct world *w, uint64_t flags)
{
    fake_vm_put32(w->port, LINKED, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    ready_with_subpages(w, flags);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING;
    w->v->vmcs12.vmread_bitmap = READ_BITMAP;
    w->v->vmcs12.vmwrite_bitmap = WRITE_BITMAP;
    w->v->vmcs12.vmcs_link = LINKED;
    w->v->vmcs12.guest_cr3 = L1_CR3;
    fake_vm_put64(w->port, LEAVES + (OPERAND >> 12) * 8, OPERAND | READ_ONLY);
    launch(w);
}

static void l2_writes_operand(struct world *w, uint64_t offset)
{
    w->gprs.r[NVIRT_RCX] = 0x681c;
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, OPERAND + offset, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    assert_int_equal(w->status, NVIRT_OK);
}

static void expect_refused(struct world *w, uint32_t reason, uint64_t qualification,
                           uint64_t offset)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), reason);
    assert_true(READ12(w, EXIT_QUALIFICATION) == qualification);
    assert_true(READ12(w, GUEST_PHYSICAL) == OPERAND + offset);
    assert_true(READ12(w, GUEST_LINEAR) == OPERAND + offset);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    resume(w);
}

static void an_operand_goes_by_the_vector(void **state)
{
    struct world *w = *state;

    launch_with_operand(w, 0);
    l2_writes_operand(w, 0x80);
    expect_refused(w, NVIRT_VMX_EXIT_SPP_EVENT, MISS, 0x80);
    put_vector(w, OPERAND, PART(1) | NVIRT_BIT(63));
    l2_writes_operand(w, 0x80);
    expect_refused(w, NVIRT_VMX_EXIT_SPP_EVENT, 0, 0x80);
    put_vector(w, OPERAND, PART(1));
    l2_writes_operand(w, 0x78);
    expect_refused(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE | 1 << 3, 0x78);
    /* Eight bytes from there on touch the next part as well. */
    l2_writes_operand(w, 0xfc);
    expect_refused(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE | 1 << 3, 0xfc);
    l2_writes_operand(w, 0xf8);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP + INSN_LENGTH);
}

/* A write across pages: each has its own, for the bytes in it. */
static void an_operand_in_two_pages_goes_by_both(void **state)
{
    struct world *w = *state;

    launch_with_operand(w, 0);
    put_vector(w, OPERAND, PART(31));
    fake_vm_put64(w->port, LEAVES + (OPERAND >> 12) * 8 + 8, (OPERAND + 0x1000) | READ_ONLY);
    l2_writes_operand(w, 0xffc);
    expect_refused(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE | 1 << 3, 0x1000);
    put_vector(w, OPERAND + 0x1000, PART(0));
    l2_writes_operand(w, 0xffc);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP + INSN_LENGTH);
}

/* With flags of EPT the page becomes dirty by a write that is made, and by no other; the flags of L2's own
 * tables are set in pages that no vector is asked for. */
static void an_operand_makes_its_page_dirty(void **state)
{
    struct world *w = *state;

    launch_with_operand(w, NVIRT_VMX_EPTP_ACCESSED_DIRTY);
    put_vector(w, OPERAND, PART(1));
    l2_writes_operand(w, 0);
    expect_refused(w, NVIRT_VMX_EXIT_EPT_VIOLATION, WRITE | 1 << 3, 0);
    assert_int_equal(fake_vm_get64(w->port, LEAVES + (OPERAND >> 12) * 8) & EPT_D, 0);
    l2_writes_operand(w, 0x80);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true((fake_vm_get64(w->port, LEAVES + (OPERAND >> 12) * 8) & EPT_D) != 0);
    /* L2's table lies in such a page: no write to it is eligible. */
    l2_cpuid(w);
    w->v->vmcs12.guest_rip = L2_RIP;
    fake_vm_put64(w->port, LEAVES + (L1_PT >> 12) * 8, L1_PT | READ_ONLY);
    put_vector(w, L1_PT, UINT64_C(0x5555555555555555));
    resume(w);
    l2_writes_operand(w, 0x80);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_true(READ12(w, EXIT_QUALIFICATION) ==
                (NVI_EPT_QUAL_READ | NVI_EPT_QUAL_WRITE | 1 << 3 | NVI_EPT_QUAL_LINEAR));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hardware_has_the_control_and_a_table_of_nvirts),
        TEST(a_write_is_hardwares_to_decide),
        TEST(vmfunc_switches_the_table_too),
        TEST(a_root_made_anew_brings_its_table),
        TEST(events_are_l1s),
        TEST(a_vector_that_was_missing_loses_no_event),
        TEST(a_refused_write_is_convertible_and_an_event_is_not),
        TEST(an_operand_goes_by_the_vector),
        TEST(an_operand_in_two_pages_goes_by_both),
        TEST(an_operand_makes_its_page_dirty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
