/* SPDX-License-Identifier: MIT */
/* L1's APIC-access page for L2: which page it is, who is told of an access, what a root holds of it;
 * and the page that the host manages for L1's own APIC [SDM 3C "Virtualizing Memory-Mapped APIC
 * Accesses", "Issues Pertaining to Page Size and TLB Management"]. */
#include "vmx_world.h"

#define ACCESS_PAGE UINT64_C(0x39000)
#define OTHER_PAGE UINT64_C(0x3a000)
#define HOSTS_PAGE UINT64_C(0x3b000)
#define HPA(l1gpa) (FAKE_VM_HPA_OFFSET + (l1gpa))
#define BLOCK_2M UINT64_C(0x200000)
#define L2_APIC UINT64_C(0xfee00000) /* Where an L2 with EPT has it. */
#define EPT12_ALL UINT64_C(7)

static void ready_with_page(struct world *w, uint64_t page)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    w->v->vmcs12.apic_access_addr = page;
}

static void launch_with_page(struct world *w, uint64_t page)
{
    ready_with_page(w, page);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* EPT12 leads L2's APIC to @page. */
static void map_apic(struct world *w, uint64_t page)
{
    fake_vm_put64(w->port, EPT12_TOP, (EPT12_TOP + 0x1000) | EPT12_ALL);
    fake_vm_put64(w->port, EPT12_TOP + 0x1000 + 3 * 8, (EPT12_TOP + 0x2000) | EPT12_ALL);
    fake_vm_put64(w->port, EPT12_TOP + 0x2000 + 0x1f7 * 8, (EPT12_TOP + 0x3000) | EPT12_ALL);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000, page | 0x30 | EPT12_ALL);
}

static void ready_with_ept(struct world *w, uint64_t page)
{
    ready_with_page(w, page);
    map_apic(w, page);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
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

/* What hardware finds of L2's address, and in a leaf of which size. */
static uint64_t leads_to(struct world *w, uint64_t l2gpa, uint32_t *level)
{
    uint64_t entry =
        nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(l2gpa), level);

    return entry & NVI_MMU_ADDRESS;
}

static void vmcs02_names_the_page_of_l1_pinned_once(void **state)
{
    struct world *w = *state;
    uint64_t pins;
    uint64_t flushes;

    launch_with_page(w, ACCESS_PAGE);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0);
    assert_true(HW(w, APIC_ACCESS_ADDR) == HPA(ACCESS_PAGE));
    w->v->prepared = false;
    pins = nvirt_vmx_stats(w->v)->pins;
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    flushes = nvirt_vmx_stats(w->v)->flushes_root;
    vmresume(w);
    l2_cpuid(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, pins);
    assert_int_equal(nvirt_vmx_stats(w->v)->flushes_root, flushes);
}

static void without_the_control_no_page_is_named(void **state)
{
    struct world *w = *state;

    ready_with_page(w, ACCESS_PAGE);
    w->v->vmcs12.proc2_controls = 0;
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_APIC_ACCESSES) == 0);
    assert_true(HW(w, APIC_ACCESS_ADDR) == 0);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 0);
}

/* [SDM 3C "APIC-Access VM Exits"]: offset and kind of access in the qualification, and the event in
 * whose delivery it was, if any. */
static void an_access_is_l1s_exit_with_qualification_and_event(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_APIC_ACCESS }, { 0x6400, 0x3310 }, { 0x4408, 0x80000020 },
        { 0x440c, 0 },
    };

    launch_with_page(w, ACCESS_PAGE);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_APIC_ACCESS);
    assert_int_equal(READ12(w, EXIT_QUALIFICATION), 0x3310);
    assert_int_equal(READ12(w, IDT_VECTORING), 0x80000020);
}

/* The host backs L1 by 2-MByte pages: the page still gets a leaf of 4 KBytes, because the control is
 * sure to apply to those only; its neighbours may share a large one as far as they are apart. */
static void without_ept_the_page_has_a_leaf_of_its_own(void **state)
{
    struct world *w = *state;
    const struct fake_region_l1 large = { .start = 0,
                                          .bytes = L1_RAM,
                                          .hpa = FAKE_VM_HPA_OFFSET,
                                          .block = BLOCK_2M,
                                          .rights = FAKE_ALL_RIGHTS,
                                          .memory_type = NVIRT_MEMORY_WB };
    uint32_t level = 0;

    fake_vm_region(w->port, &large);
    launch_with_page(w, ACCESS_PAGE);
    l2_touches(w, ACCESS_PAGE + 0x80);
    assert_true(leads_to(w, ACCESS_PAGE, &level) == w->v->hw[NVI_02]->image.apic_access_addr);
    assert_int_equal(level, 1);
    l2_touches(w, ACCESS_PAGE + 0x1000);
    assert_true(leads_to(w, ACCESS_PAGE + 0x1000, &level) == HPA(ACCESS_PAGE + 0x1000));
    assert_int_equal(level, 1);
    l2_touches(w, BLOCK_2M);
    assert_true(leads_to(w, BLOCK_2M, &level) == HPA(BLOCK_2M));
    assert_int_equal(level, 2);
}

static void with_ept_the_leaf_of_l2_leads_to_the_page_of_vmcs02(void **state)
{
    struct world *w = *state;
    uint32_t level = 0;

    ready_with_ept(w, ACCESS_PAGE);
    vmlaunch(w);
    l2_touches(w, L2_APIC);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(leads_to(w, L2_APIC, &level) == HPA(ACCESS_PAGE));
    assert_int_equal(level, 1);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == HPA(ACCESS_PAGE));
}

/* EPT12 decides first: an access that it forbids is its violation. */
static void rights_of_ept12_come_before_the_apic(void **state)
{
    struct world *w = *state;

    ready_with_ept(w, ACCESS_PAGE);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000, 0);
    vmlaunch(w);
    l2_touches(w, L2_APIC);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_EPT_VIOLATION);
}

/* Accesses never get to the memory: none has to be there. */
static void a_page_without_memory_is_virtualized_all_the_same(void **state)
{
    struct world *w = *state;
    uint32_t level = 0;

    launch_with_page(w, L2_APIC);
    l2_touches(w, L2_APIC + 0x20);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(leads_to(w, L2_APIC, &level) == w->v->no_apic.value);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == w->v->no_apic.value);
    w->v->prepared = false;
    /* Without the control it is an address without memory again, and the host's to emulate. */
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    WRITE12(w, PROC2_CONTROLS, 0);
    vmresume(w);
    l2_touches(w, L2_APIC + 0x20);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.l1gpa.value, L2_APIC + 0x20);
}

/* What hardware may hold from before the change must not serve after it. L1 without EPT has no
 * instruction to invalidate it, and one with EPT may not have used it. */
static void hardware_runs_on_another_root_for_another_page(void **state)
{
    struct world *w = *state;
    uint64_t without, first, second;

    for (unsigned ept = 0; ept < 2; ept++) {
        ready_with_ept(w, ACCESS_PAGE);
        w->v->vmcs12.proc2_controls = ept != 0 ? NVIRT_VMX_PROC2_EPT : 0;
        vmlaunch(w);
        prepare(w);
        without = HW(w, EPTP);
        w->v->prepared = false;
        l2_cpuid(w);
        SET1(w, GUEST_RIP, L1_RIP);
        WRITE12(w, PROC2_CONTROLS,
                w->v->vmcs12.proc2_controls | NVIRT_VMX_PROC2_APIC_ACCESSES);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        prepare(w);
        first = HW(w, EPTP);
        assert_true(first != without);
        w->v->prepared = false;
        l2_cpuid(w);
        SET1(w, GUEST_RIP, L1_RIP);
        WRITE12(w, APIC_ACCESS_ADDR, OTHER_PAGE);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        prepare(w);
        second = HW(w, EPTP);
        assert_true(second != first && second != without);
        assert_true(HW(w, APIC_ACCESS_ADDR) == HPA(OTHER_PAGE));
        w->v->prepared = false;
        l2_cpuid(w);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    }
}

/* INVEPT names tables of L1's, whatever page stands apart in what was made of them. */
static void invept_reaches_the_root_of_the_page(void **state)
{
    struct world *w = *state;

    ready_with_ept(w, ACCESS_PAGE);
    vmlaunch(w);
    l2_touches(w, L2_APIC);
    l2_cpuid(w);
    nvi_mmu_invalidate(&w->v->mmu, EPT12_TOP);
    SET1(w, GUEST_RIP, L1_RIP);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000, 0);
    vmresume(w);
    l2_touches(w, L2_APIC);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_EPT_VIOLATION);
}

/* ---- the page that the host manages for L1 ---- */

static void host_takes(struct world *w, uint64_t l1gpa)
{
    SET1(w, APIC_ACCESS_ADDR, HPA(l1gpa));
    SET1(w, PROC2_CONTROLS,
         NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_UNRESTRICTED |
             NVIRT_VMX_PROC2_APIC_ACCESSES);
}

static void the_hosts_page_for_l1_is_never_mapped_for_l2(void **state)
{
    struct world *w = *state;
    const struct fake_region_l1 large = { .start = 0,
                                          .bytes = L1_RAM,
                                          .hpa = FAKE_VM_HPA_OFFSET,
                                          .block = BLOCK_2M,
                                          .rights = FAKE_ALL_RIGHTS,
                                          .memory_type = NVIRT_MEMORY_WB };
    uint32_t level = 0;

    fake_vm_region(w->port, &large);
    host_takes(w, HOSTS_PAGE);
    launch_l2(w);
    l2_touches(w, HOSTS_PAGE + 0x300);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.l1gpa.value, HOSTS_PAGE + 0x300);
    /* Nor in the large page around it. */
    l2_touches(w, HOSTS_PAGE + 0x1000);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(leads_to(w, HOSTS_PAGE + 0x1000, &level) == HPA(HOSTS_PAGE + 0x1000));
    assert_int_equal(level, 1);
    assert_true(leads_to(w, HOSTS_PAGE, &level) == 0);
    /* vmcs02 has it neither. */
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == 0);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_APIC_ACCESSES) == 0);
}

static void a_page_that_l2_had_is_taken_from_it(void **state)
{
    struct world *w = *state;
    uint32_t level = 0;

    launch_l2(w);
    l2_touches(w, HOSTS_PAGE);
    assert_true(leads_to(w, HOSTS_PAGE, &level) == HPA(HOSTS_PAGE));
    host_takes(w, HOSTS_PAGE);
    prepare(w);
    assert_true(leads_to(w, HOSTS_PAGE, &level) == 0);
    w->v->prepared = false;
    l2_touches(w, HOSTS_PAGE);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
}

/* L1 gives it for its L2's APIC, as the one page or the other: it is not L1's to give. */
static void l1_cannot_give_the_hosts_page_to_hardware(void **state)
{
    struct world *w = *state;

    host_takes(w, HOSTS_PAGE);
    ready_with_page(w, HOSTS_PAGE);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    w->v->vmcs12.virtual_apic_addr = HOSTS_PAGE;
    vmlaunch(w);
    prepare(w);
    assert_true(HW(w, APIC_ACCESS_ADDR) == w->v->no_apic.value);
    assert_true(HW(w, VIRTUAL_APIC_ADDR) == w->v->no_apic.value);
    assert_int_equal(w->port->pins, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vmcs02_names_the_page_of_l1_pinned_once),
        TEST(without_the_control_no_page_is_named),
        TEST(an_access_is_l1s_exit_with_qualification_and_event),
        TEST(without_ept_the_page_has_a_leaf_of_its_own),
        TEST(with_ept_the_leaf_of_l2_leads_to_the_page_of_vmcs02),
        TEST(rights_of_ept12_come_before_the_apic),
        TEST(a_page_without_memory_is_virtualized_all_the_same),
        TEST(hardware_runs_on_another_root_for_another_page),
        TEST(invept_reaches_the_root_of_the_page),
        TEST(the_hosts_page_for_l1_is_never_mapped_for_l2),
        TEST(a_page_that_l2_had_is_taken_from_it),
        TEST(l1_cannot_give_the_hosts_page_to_hardware),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
