/* SPDX-License-Identifier: MIT */
/* The TPR shadow of L1's for L2: its page, its threshold, and what L1 can do to both meanwhile
 * [SDM 3C "Virtualizing CR8-Based TPR Accesses", "VM-Execution Control Fields"]. */
#include "vmx_world.h"

#define APIC_PAGE UINT64_C(0x38000)
#define VTPR (APIC_PAGE + 0x80)

static void ready_with_tpr(struct world *w, uint64_t threshold)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    w->v->vmcs12.virtual_apic_addr = APIC_PAGE;
    w->v->vmcs12.tpr_threshold = threshold;
}

static void launch_with_tpr(struct world *w, uint64_t threshold, uint32_t vtpr)
{
    fake_vm_put32(w->port, VTPR, vtpr);
    ready_with_tpr(w, threshold);
    vmlaunch(w);
}

static void l2_runs_on_the_page_of_l1_pinned_once(void **state)
{
    struct world *w = *state;
    uint64_t pins;

    launch_with_tpr(w, 3, 0x30);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_TPR_SHADOW) != 0);
    assert_true(HW(w, VIRTUAL_APIC_ADDR) == FAKE_VM_HPA_OFFSET + APIC_PAGE);
    assert_true(HW(w, TPR_THRESHOLD) == 3);
    w->v->prepared = false;
    pins = nvirt_vmx_stats(w->v)->pins;
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    l2_cpuid(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, pins);
}

static void a_threshold_above_vtpr_is_vmfail_7(void **state)
{
    struct world *w = *state;

    launch_with_tpr(w, 4, 0x3f);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
}

/* No field of vmcs12 changes between the two entries: the byte in memory does. */
static void vtpr_is_looked_at_for_each_entry(void **state)
{
    struct world *w = *state;

    launch_with_tpr(w, 3, 0x30);
    l2_cpuid(w);
    fake_vm_put32(w->port, VTPR, 0x20);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
}

static void tpr_below_threshold_is_l1s_exit(void **state)
{
    struct world *w = *state;

    launch_with_tpr(w, 3, 0x30);
    exit_with(w, NVIRT_VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == NVIRT_VMX_EXIT_TPR_BELOW_THRESHOLD);
    assert_true(READ12(w, EXIT_QUALIFICATION) == 0);
}

/* Another CPU of L1's lowers VTPR under an L2 that the host brought back for reasons of its own. The
 * entry that hardware refuses then is none that L1 asked for: L2 goes on. */
static void vtpr_lowered_under_a_running_l2_stops_nobody(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;

    launch_with_tpr(w, 3, 0x30);
    exit_with(w, NVIRT_VMX_EXIT_WBINVD, 0, 0); /* The host's. */
    fake_vm_put32(w->port, VTPR, 0);
    prepare(w);
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, 0x4400, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true(HW(w, TPR_THRESHOLD) == 0);
    /* Once: there is no threshold to blame now. */
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, 0x4400, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error),
                     NVIRT_ERR_HARDWARE);
}

/* The same between L1's VMLAUNCH and the entry of hardware: L1's instruction failed. */
static void vtpr_lowered_before_the_first_entry_is_vmfail_7(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;

    launch_with_tpr(w, 3, 0x30);
    prepare(w);
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, 0x4400, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
}

/* A bus without memory reads ones: VTPR is 0xff at each entry, and the page is nobody's else. */
static void a_page_without_memory_reads_ones_at_each_entry(void **state)
{
    struct world *w = *state;
    uint8_t *page;

    ready_with_tpr(w, 15);
    w->v->vmcs12.virtual_apic_addr = L1_RAM;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_true(HW(w, VIRTUAL_APIC_ADDR) == w->v->no_apic.value);
    assert_true(w->v->no_apic.value != w->v->all_ones.value);
    w->v->prepared = false;
    page = nvirt_port_page_pointer(w->port, w->v->no_apic);
    page[0x80] = 0; /* L2 wrote CR8. */
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(page[0x80], 0xff);
}

/* The threshold that was taken from one entry stands again in the next one of L1's. */
static void a_new_entry_has_its_threshold_again(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;

    launch_with_tpr(w, 3, 0x30);
    exit_with(w, NVIRT_VMX_EXIT_WBINVD, 0, 0); /* The host's. */
    fake_vm_put32(w->port, VTPR, 0);
    prepare(w);
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, 0x4400, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error), NVIRT_OK);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    fake_vm_put32(w->port, VTPR, 0x30);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(HW(w, TPR_THRESHOLD), 3);
}

/* An entry that failed changed nothing of the VMCS: not what the host wrote for L2 meanwhile. */
static void a_hosts_write_before_a_refused_entry_is_not_l1s(void **state)
{
    struct world *w = *state;
    uint32_t error = 0;
    uint64_t cr3;

    launch_with_tpr(w, 3, 0x30);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_CR3, &cr3), NVIRT_OK);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_CR3, cr3 + 0x1000),
                     NVIRT_OK);
    prepare(w);
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, 0x4400, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(nvi_vmcs12_get(w->v, NVIRT_VMCS_GUEST_CR3), cr3);
}

/* What another vCPU asked for is flushed also where nothing else changed since the last entry. */
static void a_posted_flush_reaches_a_steady_l1(void **state)
{
    struct world *w = *state;

    launch_with_tpr(w, 3, 0x30);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    prepare(w);
    w->v->prepared = false;
    nvirt_tlb_post(&w->v->tlb, 1, NVIRT_TLB_REQUEST_EVERYTHING);
    prepare(w);
    assert_int_equal(w->v->tlb.posted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(l2_runs_on_the_page_of_l1_pinned_once),
        TEST(a_threshold_above_vtpr_is_vmfail_7),
        TEST(vtpr_is_looked_at_for_each_entry),
        TEST(tpr_below_threshold_is_l1s_exit),
        TEST(vtpr_lowered_under_a_running_l2_stops_nobody),
        TEST(vtpr_lowered_before_the_first_entry_is_vmfail_7),
        TEST(a_page_without_memory_reads_ones_at_each_entry),
        TEST(a_new_entry_has_its_threshold_again),
        TEST(a_hosts_write_before_a_refused_entry_is_not_l1s),
        TEST(a_posted_flush_reaches_a_steady_l1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
