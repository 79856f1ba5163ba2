/* SPDX-License-Identifier: MIT */
/*
 * The last steps before VMRUN: flushes, tags, clean bits, the move to another CPU; and that any cold
 * call of the port may fail, at any point of a long run, with nothing lost or leaked.
 */
#include "svm_world.h"

static void first_entries_flush_and_later_ones_do_not(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    enter_plain_l2(w);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
}

/* A round trip with the same ASID and tables costs no flush. */
static void round_trips_flush_nothing(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();
    uint64_t flushes;

    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    flushes = w->v->stats.flushes_tag + w->v->stats.flushes_all;
    for (unsigned i = 0; i < 5; i++) {
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    }
    assert_int_equal(w->v->stats.flushes_tag + w->v->stats.flushes_all, flushes);
    assert_int_equal(w->v->stats.root_misses, 1);
}

static void l1s_flush_requests_are_honoured(void **state)
{
    static const uint8_t controls[] = {1, 2, 3, 4, 5, 6, 7, 255};
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    for (unsigned i = 0; i < sizeof controls; i++) {
        w->vmcb01->rip = L1_RIP;
        vmcb.tlb_control = controls[i];
        enter_l2(w, &vmcb);
        prepare(w);
        assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
        hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    }
}

/* An entry of NPT12 that L1 changed and flushed is seen. */
static void flushed_tables_are_read_anew(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();
    uint32_t level;

    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, 0x5000);
    assert_int_not_equal(
        nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(0x5000), &level), 0);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    w->vmcb01->rip = L1_RIP;
    vmcb.tlb_control = NVIRT_SVM_TLB_ASID;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(0x5000), &level), 0);
}

static void a_cpu_without_flush_by_asid_flushes_all(void **state)
{
    struct world *w = *state;

    w->v->tlb.caps.flush_by_asid = false;
    enter_plain_l2(w);
    assert_int_equal(w->v->stats.flushes_all, 1);
    prepare(w); /* L1's flush was one of everything */
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    nvirt_tlb_request(&w->v->tlb, 2, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ALL);
}

/* From any CPU: the vCPU is made to come by, and the flush is due before its level runs again. */
static void a_requested_flush_is_due_when_its_level_runs(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    request_flush(w, 1, NVIRT_TLB_REQUEST_ROOT);
    assert_int_equal(w->port->kicks[w->v->index], 1);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    request_flush(w, 2, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void a_flush_request_is_checked(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_request_flush(NULL, 1, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_request_flush(w->v, 0, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_svm_request_flush(w->v, 3, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_RANGE);
}

static void the_hosts_own_flush_request_is_kept(void **state)
{
    struct world *w = *state;

    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    nvirt_vmcb_set_tlb_control(w->vmcb01, NVIRT_SVM_TLB_ALL);
    nvirt_tlb_request(&w->v->tlb, 1, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ALL);
}

static void another_cpu_has_nothing_cached(void **state)
{
    struct world *w = *state;
    static struct nvirt_port_cpu other;

    w->v->cpu.features |= NVIRT_SVM_FEATURE_CLEAN;
    fake_cpu_init(&other);
    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    prepare(w);
    assert_int_not_equal(vmcb02(w)->clean, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    assert_int_equal(nvirt_svm_prepare(w->v, &other, &w->run), NVIRT_OK);
    assert_int_equal(vmcb02(w)->clean, 0);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    prepare(w); /* and back */
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void vmcb01_is_never_called_clean(void **state)
{
    struct world *w = *state;

    w->v->cpu.features |= NVIRT_SVM_FEATURE_CLEAN;
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->vmcb01->clean = NVIRT_VMCB_CLEAN_ALL;
    prepare(w);
    assert_int_equal(w->vmcb01->clean, 0);
}

/* L1 alternates between two L2s: each keeps its tag and tables. */
static void two_l2s_keep_their_tags(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = nested_vmcb12(), b = nested_vmcb12();
    uint32_t tag_a, tag_b;
    uint64_t flushes;

    b.asid = 2;
    b.g_pat = 0x0606060606060606;
    enter_l2(w, &a);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    tag_a = vmcb02(w)->asid;
    enter_l2(w, &b);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    tag_b = vmcb02(w)->asid;
    assert_int_not_equal(tag_a, tag_b);
    flushes = w->v->stats.flushes_tag;
    for (unsigned i = 0; i < 4; i++) {
        enter_l2(w, i % 2 == 0 ? &a : &b);
        step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
        assert_int_equal(vmcb02(w)->asid, i % 2 == 0 ? tag_a : tag_b);
    }
    assert_int_equal(w->v->stats.flushes_tag, flushes);
}

/* The entry of NPT02 for page 5 of L2, filled by a fault if there is none. */
static uint64_t page_5(struct world *w)
{
    uint32_t level;
    uint64_t entry;

    prepare(w);
    entry = nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(0x5000), &level);
    if (entry == 0) {
        step(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, 0x5000);
        prepare(w);
        entry = nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(0x5000), &level);
    }
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    return entry & NVI_MMU_ADDRESS;
}

/* [APM 2 "TLB Flush"]: an ASID tags nested translations too. What one ASID fetched while L1's tables said
 * something else must not turn up under another that was flushed before or after. */
static void each_asid_has_nested_tables_of_its_own(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = nested_vmcb12(), b = nested_vmcb12();
    uint64_t first, between;

    b.asid = 2;
    enter_l2(w, &a);
    (void)page_5(w);
    fake_vm_put64(w->port, NPT12 + 0x3000 + 5 * 8, (UINT64_C(6) << 12) | 7);
    enter_l2(w, &b);
    between = page_5(w);
    fake_vm_put64(w->port, NPT12 + 0x3000 + 5 * 8, (UINT64_C(5) << 12) | 7);
    enter_l2(w, &a);
    first = page_5(w);
    assert_int_not_equal(first, between);
    enter_l2(w, &b);
    assert_int_equal(page_5(w), between);
}

/* Host invalidation empties the tables before the next entry and flushes. */
static void moved_memory_is_dropped_before_entry(void **state)
{
    struct world *w = *state;
    uint32_t level;

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, 0x5000);
    prepare(w);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    fake_vm_invalidate(w->port);
    prepare(w);
    assert_int_equal(nvi_mmu_lookup(&w->v->mmu, w->v->root, nvirt_l2gpa_make(0x5000), &level), 0);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
}

static const struct fake_pin *pin_of(const struct world *w, uint64_t l1gpa)
{
    for (uint32_t i = 0; i < FAKE_VM_PINS; i++)
        if (w->port->pin[i].used && w->port->pin[i].l1gpa == l1gpa)
            return &w->port->pin[i];
    return NULL;
}

/*
 * #VMEXIT writes to where L1 has its VMCB at that time: a page that was put in its place while L2 was active is the
 * one that is written. When L1 has nothing there any more the old page stays. [APM 2 "#VMEXIT"]
 */
static void a_vmcb_that_moved_under_l2_is_pinned_where_it_is_now(void **state)
{
    struct world *w = *state;
    struct fake_region_l1 region = {
        .start = VMCB12, .bytes = NVIRT_PAGE_SIZE, .hpa = FAKE_VM_HPA_OFFSET * 2,
        .block = NVIRT_PAGE_SIZE, .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB,
    };

    enter_plain_l2(w);
    assert_int_equal(pin_of(w, VMCB12)->hpa, FAKE_VM_HPA_OFFSET + VMCB12);
    prepare(w);
    fake_vm_region(w->port, &region);
    fake_vm_invalidate(w->port);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    prepare(w);
    assert_int_equal(pin_of(w, VMCB12)->hpa, region.hpa);
    region.absent = true;
    fake_vm_region(w->port, &region);
    fake_vm_invalidate(w->port);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    prepare(w);
    assert_int_equal(pin_of(w, VMCB12)->hpa, FAKE_VM_HPA_OFFSET * 2);
}

static void no_page_for_a_root_can_be_repeated(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(nvirt_svm_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_NO_PAGE);
    assert_int_equal(nvirt_svm_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
    prepare(w);
    assert_int_equal(w->run.level, 2);
}

/* ---- the n-th call of the port fails ---- */

static bool try_prepare(struct world *w)
{
    enum nvirt_status status = nvirt_svm_prepare(w->v, &w->cpu, &w->run);

    if (status != NVIRT_OK) {
        assert_int_equal(status, NVIRT_ERR_NO_PAGE);
    }
    return status == NVIRT_OK;
}

static void try_exit(struct world *w, uint64_t code, uint64_t info1, uint64_t info2)
{
    enum nvirt_status status;

    if (!try_prepare(w) && !try_prepare(w)) {
        return;
    }
    status = hardware_exit(w, code, info1, info2);
    if (status != NVIRT_OK) {
        assert_int_equal(status, NVIRT_ERR_NO_PAGE);
    }
}

static void try_instruction(struct world *w, uint8_t last, uint64_t code)
{
    const uint8_t bytes[3] = {0x0f, 0x01, last};

    fake_vm_put(w->port, L1_RIP, bytes, 3);
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->event_inj = 0;
    try_exit(w, code, 0, 0);
}

/* A bit of everything: VMSAVE, VMRUN, faults, I/O, MSR, an exit; and once more. */
static void scenario(struct world *w)
{
    for (unsigned round = 0; round < 2; round++) {
        w->vmcb01->rax = SAVE_AREA;
        try_instruction(w, 0xdb, NVIRT_SVM_EXIT_VMSAVE);
        w->vmcb01->rax = VMCB12;
        try_instruction(w, 0xd8, NVIRT_SVM_EXIT_VMRUN);
        if (nvirt_svm_level(w->v) == 2) {
            try_exit(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, 0x5000);
        }
        if (nvirt_svm_level(w->v) == 2) {
            try_exit(w, NVIRT_SVM_EXIT_IOIO, UINT64_C(0x80) << 16 | 1 << 4, 0);
        }
        w->gprs.r[NVIRT_RCX] = 0x1b;
        if (nvirt_svm_level(w->v) == 2) {
            try_exit(w, NVIRT_SVM_EXIT_MSR, 0, 0);
        }
        if (nvirt_svm_level(w->v) == 2) {
            try_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
        }
        assert_int_equal(nvirt_svm_level(w->v), 1);
    }
}

/* Level 1 again, nothing leaked (teardown), and a run without failures works as ever. */
static void any_cold_call_may_fail(void **state)
{
    struct nvirt_vmcb vmcb = nested_vmcb12();
    unsigned n = 1;
    bool failed = true;

    (void)state;
    for (; failed; n++) {
        void *world = NULL;
        struct world *w;

        assert_int_equal(setup(&world), 0);
        w = world;
        put_vmcb12(w, VMCB12, &vmcb);
        fake_vm_fail(w->port, FAKE_CALL_ANY, n);
        scenario(w);
        failed = w->port->failed;
        fake_vm_fail(w->port, FAKE_CALL_ANY, 0);
        scenario(w);
        assert_true(w->v->stats.nested_exits >= 2);
        assert_int_equal(teardown(&world), 0);
    }
    assert_true(n > 15);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(first_entries_flush_and_later_ones_do_not),
        T(round_trips_flush_nothing),
        T(l1s_flush_requests_are_honoured),
        T(flushed_tables_are_read_anew),
        T(a_cpu_without_flush_by_asid_flushes_all),
        T(the_hosts_own_flush_request_is_kept),
        T(a_requested_flush_is_due_when_its_level_runs),
        T(a_flush_request_is_checked),
        T(another_cpu_has_nothing_cached),
        T(vmcb01_is_never_called_clean),
        T(two_l2s_keep_their_tags),
        T(each_asid_has_nested_tables_of_its_own),
        T(moved_memory_is_dropped_before_entry),
        T(a_vmcb_that_moved_under_l2_is_pinned_where_it_is_now),
        T(no_page_for_a_root_can_be_repeated),
        cmocka_unit_test(any_cold_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
