/* SPDX-License-Identifier: MIT */
/* Flushes that L1's processors ask for, taken in by an SVM vCPU before its entries. */
#include "../nested/svm_world.h"

struct queue {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp;
    struct nvirt_hv_slot slot[4];
    struct nvirt_hv_slot slot2[4];
};

static struct queue q;

/* A read of L2's own, of a page that is not there. */
#define NPF_USER_READ (NVIRT_BIT(32) | 4u)

static int hv_setup(void **state)
{
    struct world *w;

    assert_int_equal(setup(state), 0);
    w = *state;
    assert_int_equal(nvirt_hv_partition_init(&q.partition, w->port, &q.vp, 1, NVIRT_HV_OFFER_SVM,
                                             true),
                     NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init(&q.partition, 0, q.slot, 4), NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init_l2(&q.partition, 0, q.slot2, 4), NVIRT_OK);
    w->v->hv = &q.vp;
    return 0;
}

static void settle_l1(struct world *w)
{
    for (unsigned i = 0; i < 2; i++) {
        prepare(w);
        hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    }
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
}

static void a_vcpu_without_a_queue_is_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_svm_vcpu *vcpu;
    struct nvirt_hv_vp vp;
    void *memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);

    memset(&vp, 0, sizeof vp);
    w->config.hyperv = &vp;
    assert_int_equal(nvirt_svm_vcpu_init(memory, NVIRT_SVM_VCPU_SIZE, &w->config, &vcpu),
                     NVIRT_ERR_CAPABILITY);
    free(memory);
}

static void what_waits_is_flushed_before_l1_runs(void **state)
{
    struct world *w = *state;

    settle_l1(w);
    nvirt_hv_fifo_put_all(&q.vp.fifo, false);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
    assert_false(nvirt_hv_fifo_waits(&q.vp.fifo));
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
}

/* Hardware may never see the VMCB that was prepared: what was taken out for it stays due. */
static void what_was_taken_out_stays_due_when_the_entry_is_prepared_again(void **state)
{
    struct world *w = *state;

    settle_l1(w);
    nvirt_hv_fifo_put_all(&q.vp.fifo, false);
    prepare(w);
    nvirt_vmcb_set_tlb_control(w->vmcb01, NVIRT_SVM_TLB_NOTHING);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
}

/* L2's entry with @p table waiting. @return whether its ASID was flushed. */
static bool is_flushed(struct world *w, const struct nvirt_vmcb *vmcb, uint64_t table)
{
    bool flushed;

    w->vmcb01->rip = L1_RIP;
    enter_l2(w, vmcb);
    q.vp.nested_flush = table;
    prepare(w);
    flushed = vmcb02(w)->tlb_control == NVIRT_SVM_TLB_ASID;
    assert_int_equal(q.vp.nested_flush, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_NPF, NPF_USER_READ, 0x5000);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    return flushed;
}

/* [TLFS "HvCallFlushGuestPhysicalAddressSpace"] [APM 2 "TLB Flush"]: an ASID tags nested
 * translations. */
static void the_table_that_l1_names_is_flushed_before_l2_runs(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    (void)is_flushed(w, &vmcb, 0);
    assert_false(is_flushed(w, &vmcb, 0));
    assert_true(is_flushed(w, &vmcb, NPT12 | 1));
    assert_false(is_flushed(w, &vmcb, (NPT12 + 0x1000) | 1));
    assert_true(is_flushed(w, &vmcb, NVIRT_HV_NESTED_ALL));
}

/* ---- enlightenments in vmcb12 [TLFS "HV_SVM_ENLIGHTENED_VMCB_FIELDS"] ---- */

#define FIELDS 0x3e0u
#define MSR_BITMAP 2u
#define NPT_TLB 4u
#define HV_CLEAN NVIRT_BIT(31)
/* Byte and bits of STAR in an MSR map: reads and writes. */
#define STAR_BYTE 0x820u
#define STAR_BITS 0x0cu

/* VMRUN with the enlightenments and clean bits that L1 has put into vmcb12. */
static void run_enlightened(struct world *w, struct nvirt_vmcb *vmcb, uint32_t enlightenments,
                            uint64_t clean)
{
    memcpy((char *)vmcb + FIELDS, &enlightenments, sizeof enlightenments);
    vmcb->clean = (uint32_t)clean;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, vmcb);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
}

static void l1_wants_star(struct world *w, uint64_t map, bool wants)
{
    uint8_t byte = wants ? STAR_BITS : 0;

    fake_vm_put(w->port, map + STAR_BYTE, &byte, 1);
}

static bool star_is_intercepted(struct world *w)
{
    return (w->v->msrpm02[STAR_BYTE] & STAR_BITS) != 0;
}

static void an_msr_map_that_l1_calls_clean_is_not_read(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    run_enlightened(w, &vmcb, MSR_BITMAP, 0);
    assert_false(star_is_intercepted(w));
    l1_wants_star(w, MSRPM12, true);
    fake_vm_log_reset(w->port);
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_int_equal(w->v->stats.maps_clean, 1);
    assert_false(star_is_intercepted(w));
    run_enlightened(w, &vmcb, MSR_BITMAP, 0);
    assert_true(star_is_intercepted(w));
    assert_int_equal(w->v->stats.maps_clean, 1);
}

/* Clean means: since the last VMRUN of this VMCB, with this map; and only where L1 asked for it. */
static void a_clean_bit_that_means_nothing_is_not_believed(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN); /* the first one */
    l1_wants_star(w, MSRPM12, true);
    run_enlightened(w, &vmcb, 0, HV_CLEAN);
    assert_true(star_is_intercepted(w));
    l1_wants_star(w, MSRPM12, false);
    q.vp.offer = 0;
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_false(star_is_intercepted(w));
    q.vp.offer = NVIRT_HV_OFFER_SVM;
    l1_wants_star(w, MSRPM12 + 0x10000, true);
    vmcb.msrpm_base = MSRPM12 + 0x10000;
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_true(star_is_intercepted(w));
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_MSR, false);
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_false(star_is_intercepted(w));
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_MSR, true);
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_true(star_is_intercepted(w));
    assert_int_equal(w->v->stats.maps_clean, 0);
}

/* What L0 wants holds whatever L1 calls clean. */
static void l0s_new_wish_reaches_a_clean_map(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    run_enlightened(w, &vmcb, MSR_BITMAP, 0);
    assert_false(star_is_intercepted(w));
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_MSR, true);
    w->msrpm01[STAR_BYTE] |= STAR_BITS;
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    run_enlightened(w, &vmcb, MSR_BITMAP, HV_CLEAN);
    assert_true(star_is_intercepted(w));
}

/* A flush of L2's ASID by L1 makes nested tables stale, unless L1 is enlightened. */
static void an_enlightened_l1s_asid_flush_does_not_compare_nested_tables(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();
    uint64_t before;

    for (uint32_t enlightened = 0; enlightened < 2; enlightened++) {
        for (unsigned i = 0; i < 3; i++) {
            uint32_t fields = enlightened ? NPT_TLB : 0;

            memcpy((char *)&vmcb + FIELDS, &fields, sizeof fields);
            vmcb.tlb_control = 3;
            before = w->v->stats.shadow_revalidated;
            (void)is_flushed(w, &vmcb, 0);
            assert_int_equal(w->v->stats.shadow_revalidated != before, i != 0 && !enlightened);
        }
    }
    /* Its hypercall does. */
    before = w->v->stats.shadow_revalidated;
    assert_true(is_flushed(w, &vmcb, NPT12 | 1));
    assert_true(w->v->stats.shadow_revalidated != before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_vcpu_without_a_queue_is_refused, hv_setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_is_flushed_before_l1_runs, hv_setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_was_taken_out_stays_due_when_the_entry_is_prepared_again, hv_setup, teardown),
        cmocka_unit_test_setup_teardown(the_table_that_l1_names_is_flushed_before_l2_runs, hv_setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_msr_map_that_l1_calls_clean_is_not_read, hv_setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_clean_bit_that_means_nothing_is_not_believed, hv_setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(l0s_new_wish_reaches_a_clean_map, hv_setup, teardown),
        cmocka_unit_test_setup_teardown(
            an_enlightened_l1s_asid_flush_does_not_compare_nested_tables, hv_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
