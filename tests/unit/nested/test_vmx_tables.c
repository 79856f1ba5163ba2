/* SPDX-License-Identifier: MIT */
/*
 * Accesses of L2 that L1's tables refuse, as L1 sees them: violations, the page-modification log, and
 * the loads of PDPTEs that nvirt carries out for L2.
 */
#include "vmx_world.h"

#define LOG UINT64_C(0x37000)
#define PAGE UINT64_C(0x5000) /* Of L2: clean, */
#define ABSENT UINT64_C(0x7000)
#define OF_L1 UINT64_C(0x8000) /* and what L1 has at the first. */
#define LEAVES (EPT12_TOP + 0x3000)
#define LINEAR UINT64_C(0xabc)
#define EPT_A NVIRT_BIT(8)
#define EPT_D NVIRT_BIT(9)

/* An L2 with a few pages, accessed and dirty flags, and a log of which @p index is next. */
static void ready_with_log(struct world *w, uint64_t index)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |=
        NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_PML;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e | NVIRT_VMX_EPTP_ACCESSED_DIRTY;
    w->v->vmcs12.pml_addr = LOG;
    w->v->vmcs12.guest_pml_index = index;
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000,
                      (EPT12_TOP + (i + 1) * 0x1000) | 7 | EPT_A);
    fake_vm_put64(w->port, LEAVES + 5 * 8, OF_L1 | 0x37);
    fake_vm_put64(w->port, LEAVES + 6 * 8, 0x9000 | 0x31 | EPT_A);
}

static void launch_with_log(struct world *w, uint64_t index)
{
    ready_with_log(w, index);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void violation(struct world *w, uint64_t l2gpa, uint64_t qualification, uint64_t vectoring)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION },
        { 0x6400, qualification },
        { 0x2400, l2gpa },
        { 0x640a, LINEAR },
        { 0x4408, vectoring },
        { 0x440c, 3 },
        { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
}

/* ---- the log ---- */

/* The first write to a clean page sets its dirty flag and logs it; L1 finds the index in its VMCS,
 * and hardware has neither control nor log. */
static void a_write_is_logged_and_the_index_is_l1s_to_read(void **state)
{
    struct world *w = *state;

    launch_with_log(w, 511);
    violation(w, PAGE | 0x123, 0x183, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(fake_vm_get64(w->port, LOG + 511 * 8) == PAGE);
    assert_true((fake_vm_get64(w->port, LEAVES + 5 * 8) & (EPT_A | EPT_D)) == (EPT_A | EPT_D));
    prepare(w);
    assert_int_equal(HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_PML, 0);
    w->v->prepared = false;
    l2_cpuid(w);
    assert_true(READ12(w, GUEST_PML_INDEX) == 510);
    /* L1 starts it anew, and it is read at no entry. */
    WRITE12(w, GUEST_PML_INDEX, 0xffff);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    l2_cpuid(w);
    assert_true(READ12(w, GUEST_PML_INDEX) == 0xffff);
}

/* [SDM 3C "Page-Modification Logging", "Basic VM-Exit Information"]: reason 62 before the access, of
 * which nothing is told but what an IRET had unblocked; what was being delivered is in the
 * IDT-vectoring field. */
static void a_full_log_is_an_exit_before_the_write(void **state)
{
    struct world *w = *state;

    launch_with_log(w, 0xffff);
    violation(w, PAGE, 0x183 | NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING, 0x80000020);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_PML_FULL);
    assert_true(READ12(w, EXIT_QUALIFICATION) == NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING);
    assert_true(READ12(w, IDT_VECTORING) == 0x80000020);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    assert_true((fake_vm_get64(w->port, LEAVES + 5 * 8) & (EPT_A | EPT_D)) == 0);
    /* L1 empties it and enters again: now the write is logged. */
    WRITE12(w, GUEST_PML_INDEX, 511);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    violation(w, PAGE, 0x183, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(fake_vm_get64(w->port, LOG + 511 * 8) == PAGE);
}

/* Without the control nobody looks at index or address. */
static void without_the_control_there_is_no_log(void **state)
{
    struct world *w = *state;

    ready_with_log(w, 0xffff);
    w->v->vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_PML;
    w->v->vmcs12.pml_addr = 0x123;
    vmlaunch(w);
    violation(w, PAGE, 0x183, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    l2_cpuid(w);
    assert_true(READ12(w, GUEST_PML_INDEX) == 0xffff);
}

/* The world with another CPU. */
static int setup_on(void **state, uint64_t without, uint64_t with, uint64_t ept)
{
    int result = setup(state);
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    w->caps.proc2 = (w->caps.proc2 & ~(without << 32)) | with << 32;
    w->caps.ept_vpid |= ept;
    assert_int_equal(nvirt_vmx_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    world_vcpu(w);
    return result;
}

/* A CPU without page-modification logging: L1 has it all the same, where EPT has dirty flags. */
static int setup_without_pml(void **state)
{
    return setup_on(state, NVIRT_VMX_PROC2_PML, 0, 0);
}

/* ---- mode-based execute control ---- */

static int setup_with_modes(void **state)
{
    return setup_on(state, 0, NVIRT_VMX_PROC2_MODE_EXECUTE, NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO);
}

#define FETCH (NVI_EPT_QUAL_FETCH | NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL)

/* vmcs02 has the control exactly when vmcs12 has it, and another root with it than without. */
static void the_control_goes_to_hardware_with_a_root_of_its_own(void **state)
{
    struct world *w = *state;
    uint64_t without;

    ready_with_log(w, 511);
    /* A page for user fetches alone. */
    fake_vm_put64(w->port, LEAVES + 7 * 8, 0x9000 | 0x30 | NVIRT_BIT(10));
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000,
                      (EPT12_TOP + (i + 1) * 0x1000) | 7 | EPT_A | NVIRT_BIT(10));
    vmlaunch(w);
    prepare(w);
    assert_int_equal(HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_MODE_EXECUTE, 0);
    without = HW(w, EPTP);
    w->v->prepared = false;
    l2_cpuid(w);
    WRITE12(w, PROC2_CONTROLS, READ12(w, PROC2_CONTROLS) | NVIRT_VMX_PROC2_MODE_EXECUTE);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_MODE_EXECUTE) != 0);
    assert_true(HW(w, EPTP) != without);
    w->v->prepared = false;
    violation(w, ABSENT, FETCH | NVI_EPT_QUAL_USER, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(nvirt_vmx_stats(w->v)->shadow_faults, 1);
    violation(w, ABSENT, FETCH, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_true(READ12(w, EXIT_QUALIFICATION) == (FETCH | NVI_EPT_QUAL_USER_EXECUTABLE));
}

/* What L1 is told of a violation's linear address and L2's own tables comes from hardware. */
static void advanced_information_is_l1s(void **state)
{
    struct world *w = *state;

    ready_with_log(w, 511);
    vmlaunch(w);
    violation(w, ABSENT, FETCH | NVI_EPT_QUAL_ADVANCED, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_QUALIFICATION) == (FETCH | NVI_EPT_QUAL_ADVANCED));
}

/* ---- virtualization exceptions ---- */

#define AREA UINT64_C(0x38000)
#define VE_WORD UINT64_C(0x80000314)
#define SUPPRESS NVIRT_BIT(63)

static void ready_with_exceptions(struct world *w)
{
    ready_with_log(w, 511);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT_VE;
    w->v->vmcs12.ve_info_addr = AREA;
    w->v->vmcs12.eptp_index = 0x123;
    fake_vm_put64(w->port, AREA, 0x1111111111111111 & 0xffffffff);
}

static void launch_with_exceptions(struct world *w)
{
    ready_with_exceptions(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 gets exception 20 at the instruction, without an error code, and finds the area written. */
static void expect_ve(struct world *w, uint64_t qualification, uint64_t linear, uint64_t l2gpa)
{
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == VE_WORD);
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    assert_true((HW(w, GUEST_RFLAGS) & NVIRT_RFLAGS_RF) != 0);
    assert_int_equal(HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_EPT_VE, 0);
    assert_true(fake_vm_get64(w->port, AREA) == (UINT64_C(0xffffffff00000000) | 48));
    assert_true(fake_vm_get64(w->port, AREA + 8) == qualification);
    assert_true(fake_vm_get64(w->port, AREA + 16) == linear);
    assert_true(fake_vm_get64(w->port, AREA + 24) == l2gpa);
    assert_true((fake_vm_get64(w->port, AREA + 32) & 0xffff) == 0x123);
    w->v->prepared = false;
}

static void expect_violation(struct world *w)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_false(w->v->pending.exception.waiting);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_EPT_VIOLATION);
}

/* [SDM 3C "Virtualization-Exception Information"] */
static void a_convertible_violation_is_an_exception_of_l2(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    violation(w, ABSENT | 0x10, 0x181, 0);
    expect_ve(w, 0x181, LINEAR, ABSENT | 0x10);
    /* The rest of the area is nobody's. */
    assert_true(fake_vm_get64(w->port, AREA + 32) == 0x123);
}

/* A write to a page that L1 maps read-only; the rights are those of L1's entries. */
static void so_is_one_of_rights(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    violation(w, 0x6000, 0x182, 0);
    expect_ve(w, 0x182 | 1 << 3, LINEAR, 0x6000);
}

/* Until L2 clears the word at offset 4 there is no second one. */
static void not_while_the_area_is_in_use(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    violation(w, ABSENT, 0x181, 0);
    expect_ve(w, 0x181, LINEAR, ABSENT);
    fake_vm_put64(w->port, AREA, NVIRT_BIT(63));
    violation(w, ABSENT | 8, 0x181, 0);
    expect_violation(w);
    assert_true(fake_vm_get64(w->port, AREA + 24) == ABSENT);
    fake_vm_put64(w->port, AREA, 0x77);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    violation(w, ABSENT | 8, 0x181, 0);
    expect_ve(w, 0x181, LINEAR, ABSENT | 8);
}

static void not_where_l1_suppresses_it(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    fake_vm_put64(w->port, LEAVES + 7 * 8, SUPPRESS);
    violation(w, ABSENT, 0x181, 0);
    expect_violation(w);
}

static void not_while_an_event_is_delivered(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    violation(w, ABSENT, 0x181, 0x80000020);
    expect_violation(w);
    assert_true(READ12(w, IDT_VECTORING) == 0x80000020);
}

static void not_outside_protected_mode(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr0 = 0x30;
    for (uint32_t i = 0; i < 6; i++) {
        w->v->vmcs12.field[NVIRT_VMCS_GUEST_ES_AR + i] = i == 1 ? 0x9b : 0x93;
        w->v->vmcs12.field[NVIRT_VMCS_GUEST_ES_LIMIT + i] = 0xffff;
    }
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    violation(w, ABSENT, 0x181, 0);
    expect_violation(w);
}

static void not_without_the_control(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    w->v->vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_EPT_VE;
    vmlaunch(w);
    violation(w, ABSENT, 0x181, 0);
    expect_violation(w);
}

/* An area without memory reads as ones: it is in use. */
static void not_without_memory_behind_the_area(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    w->v->vmcs12.ve_info_addr = L1_RAM + 0x1000;
    vmlaunch(w);
    violation(w, ABSENT, 0x181, 0);
    expect_violation(w);
}

/* Holes in vmcs02's tables, clean pages and what the host protects are no business of L2's. */
static void violations_that_are_not_l1s_never_are(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    fake_vm_put64(w->port, LEAVES + 7 * 8, (L1_RAM + 0x1000) | 0x37);
    vmlaunch(w);
    violation(w, PAGE, 0x181, 0);
    assert_false(w->v->pending.exception.waiting);
    violation(w, PAGE, 0x18a, 0); /* To be dirty. */
    assert_false(w->v->pending.exception.waiting);
    violation(w, ABSENT, 0x181, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_false(w->v->pending.exception.waiting);
    assert_true(fake_vm_get64(w->port, AREA) == 0x11111111);
}

/* A misconfiguration and a full log are always L1's. */
static void misconfigurations_and_a_full_log_never_are(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    w->v->vmcs12.guest_pml_index = 0xffff;
    fake_vm_put64(w->port, LEAVES + 7 * 8, 0x9000 | 0x32);
    vmlaunch(w);
    violation(w, ABSENT, 0x181, 0);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    violation(w, PAGE, 0x182, 0);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_PML_FULL);
}

/* [SDM 3C "Delivery of Virtualization Exceptions"]: it is an exception as others are, bit 20 of the
 * bitmap; the area is written before. */
static void l1_may_intercept_the_exception(void **state)
{
    struct world *w = *state;

    ready_with_exceptions(w);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(20);
    vmlaunch(w);
    violation(w, ABSENT, 0x181, 0);
    prepare(w);
    w->v->prepared = false;
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_EXCEPTION_NMI);
    assert_true(READ12(w, EXIT_INTERRUPTION) == VE_WORD);
    assert_true(READ12(w, EXIT_QUALIFICATION) == 0);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    assert_true(fake_vm_get64(w->port, AREA + 24) == ABSENT);
}

/* With respect to double faults it is of the class of page faults. */
static void a_fault_in_its_delivery_is_a_double_fault(void **state)
{
    struct world *w = *state;
    const struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = NVIRT_VECTOR_GP,
                                    .has_error_code = true };

    launch_with_exceptions(w);
    violation(w, ABSENT, 0x181, 0);
    expect_ve(w, 0x181, LINEAR, ABSENT);
    /* Its delivery faults on a page of the host's, which has nothing there. */
    violation(w, PAGE, 0x183, VE_WORD);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == UINT64_C(0x80000b08));
    w->v->prepared = false;
}

/* An IRET that had ended NMI blocking when it faulted: its exception finds NMIs unblocked, the area has
 * bit 12. */
static void an_iret_stays_unblocked(void **state)
{
    struct world *w = *state;

    launch_with_exceptions(w);
    violation(w, ABSENT, 0x181 | NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING, 0);
    expect_ve(w, 0x181 | NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING, LINEAR, ABSENT);
    assert_true((GET2(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) == 0);
}

/* ---- PDPTEs ---- */

/* L2 outside paging with PAE on, and L0 that looks at its CR0. */
static void launch_with_pdptes_at(struct world *w, uint64_t cr3, uint64_t index)
{
    SET1(w, CR0_MASK, GET1(w, CR0_MASK) | NVIRT_CR0_CD | NVIRT_CR0_PG);
    ready_with_log(w, index);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr0 = 0x31;
    w->v->vmcs12.guest_cr3 = cr3;
    w->v->vmcs12.field[NVIRT_VMCS_GUEST_CS_AR] = 0xc09b;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    w->gprs.r[NVIRT_RAX] = 0x80000031;
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
}

static void expect_exit_at_the_instruction(struct world *w, uint32_t reason, uint64_t qualification,
                                           uint64_t l2gpa)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_false(w->v->pending.exception.waiting);
    assert_true(READ12(w, EXIT_REASON) == reason);
    assert_true(READ12(w, EXIT_QUALIFICATION) == qualification);
    assert_true(READ12(w, GUEST_PHYSICAL) == l2gpa);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    assert_true(READ12(w, GUEST_CR0) == 0x31);
}

/* L2's PDPTEs lie in L2's memory, which L1's tables map. */
static void pdptes_are_loaded_through_ept12(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, OF_L1 + 0x20, 0x61001);
    launch_with_pdptes_at(w, PAGE + 0x20, 511);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(GET2(w, GUEST_PDPTE0) == 0x61001);
    assert_true(GET2(w, GUEST_RIP) == L2_RIP + INSN_LENGTH);
    /* A read, although EPT has dirty flags: nothing is logged. */
    assert_true((fake_vm_get64(w->port, LEAVES + 5 * 8) & (EPT_A | EPT_D)) == EPT_A);
    assert_true(w->v->vmcs12.guest_pml_index == 511);
}

/* [SDM 3C "Exit Qualification for EPT Violations"]: a load that L1's tables refuse is a read without
 * a linear address. Nothing of the instruction has happened. */
static void a_load_of_pdptes_that_l1_refuses_is_a_violation(void **state)
{
    struct world *w = *state;

    launch_with_pdptes_at(w, ABSENT + 0x40, 511);
    expect_exit_at_the_instruction(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 1, ABSENT + 0x40);
}

static void a_load_of_pdptes_may_be_a_misconfiguration(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, LEAVES + 7 * 8, 0x9000 | 0x32);
    launch_with_pdptes_at(w, ABSENT + 0x40, 511);
    expect_exit_at_the_instruction(w, NVIRT_VMX_EXIT_EPT_MISCONFIGURATION, 0, ABSENT + 0x40);
}

/* Such a violation is convertible as any other. */
static void a_load_of_pdptes_may_be_an_exception(void **state)
{
    struct world *w = *state;

    SET1(w, CR0_MASK, GET1(w, CR0_MASK) | NVIRT_CR0_CD | NVIRT_CR0_PG);
    ready_with_exceptions(w);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr0 = 0x31;
    w->v->vmcs12.guest_cr3 = ABSENT;
    w->v->vmcs12.field[NVIRT_VMCS_GUEST_CS_AR] = 0xc09b;
    vmlaunch(w);
    w->gprs.r[NVIRT_RAX] = 0x80000031;
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, 0, 0);
    expect_ve(w, 1, 0, ABSENT);
}

/* It would set an accessed flag, and the log is full. */
static void a_load_of_pdptes_may_find_the_log_full(void **state)
{
    struct world *w = *state;

    launch_with_pdptes_at(w, PAGE + 0x20, 512);
    expect_exit_at_the_instruction(w, NVIRT_VMX_EXIT_PML_FULL, 0, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_write_is_logged_and_the_index_is_l1s_to_read),
        cmocka_unit_test_setup_teardown(a_write_is_logged_and_the_index_is_l1s_to_read,
                                        setup_without_pml, teardown),
        TEST(a_full_log_is_an_exit_before_the_write),
        TEST(without_the_control_there_is_no_log),
        cmocka_unit_test_setup_teardown(the_control_goes_to_hardware_with_a_root_of_its_own,
                                        setup_with_modes, teardown),
        cmocka_unit_test_setup_teardown(advanced_information_is_l1s, setup_with_modes, teardown),
        TEST(a_convertible_violation_is_an_exception_of_l2),
        TEST(so_is_one_of_rights),
        TEST(not_while_the_area_is_in_use),
        TEST(not_where_l1_suppresses_it),
        TEST(not_while_an_event_is_delivered),
        TEST(not_outside_protected_mode),
        TEST(not_without_the_control),
        TEST(not_without_memory_behind_the_area),
        TEST(violations_that_are_not_l1s_never_are),
        TEST(misconfigurations_and_a_full_log_never_are),
        TEST(l1_may_intercept_the_exception),
        TEST(a_fault_in_its_delivery_is_a_double_fault),
        TEST(an_iret_stays_unblocked),
        TEST(a_load_of_pdptes_may_be_an_exception),
        TEST(pdptes_are_loaded_through_ept12),
        TEST(a_load_of_pdptes_that_l1_refuses_is_a_violation),
        TEST(a_load_of_pdptes_may_be_a_misconfiguration),
        TEST(a_load_of_pdptes_may_find_the_log_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
