/* SPDX-License-Identifier: MIT */
/* Flushes that L1's processors ask for, taken in by a VMX vCPU before its entries. */
#include "../nested/vmx_world.h"

struct queue {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp;
    struct nvirt_hv_slot slot[4];
};

static struct queue q;

static int hv_setup(void **state)
{
    struct world *w;

    assert_int_equal(setup(state), 0);
    w = *state;
    assert_int_equal(nvirt_hv_partition_init(&q.partition, w->port, &q.vp, 1,
                                             NVIRT_HV_OFFER_NESTED_FLUSH, false),
                     NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init(&q.partition, 0, q.slot, 4), NVIRT_OK);
    w->v->hv = &q.vp;
    return 0;
}

static void l1_cpuid(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
}

static void put(uint64_t entry)
{
    assert_true(nvirt_hv_fifo_put(&q.vp.fifo, &entry, 1));
}

static void a_vcpu_without_a_queue_is_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_vcpu_config config = w->config;
    void *memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    struct nvirt_vmx_vcpu *vcpu;
    struct nvirt_hv_vp vp;

    memset(&vp, 0, sizeof vp);
    config.index = 1;
    config.hyperv = &vp;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_SIZE, &config, &vcpu),
                     NVIRT_ERR_CAPABILITY);
    config.hyperv = &q.vp;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_SIZE, &config, &vcpu), NVIRT_OK);
    assert_ptr_equal(vcpu->hv, &q.vp);
    assert_int_equal(nvirt_vmx_vcpu_destroy(vcpu, NULL), NVIRT_OK);
    free(memory);
}

/* Also for an L1 whose exits leave nothing to be prepared. */
static void pages_that_wait_are_flushed_before_l1_runs(void **state)
{
    struct world *w = *state;
    uint64_t before;

    ready_to_launch(w);
    l1_cpuid(w);
    prepare(w);
    assert_true(w->v->steady);
    before = w->v->stats.flushes_address;
    l1_cpuid(w);
    assert_int_equal(w->v->stats.flushes_address, before);
    put(0x5000 | 1);
    l1_cpuid(w);
    assert_int_equal(w->v->stats.flushes_address, before + 2);
    assert_false(nvirt_hv_fifo_waits(&q.vp.fifo));
    l1_cpuid(w);
    assert_int_equal(w->v->stats.flushes_address, before + 2);
}

static void what_waits_for_l1_waits_while_l2_runs(void **state)
{
    struct world *w = *state;
    uint64_t before;

    launch_l2(w);
    nvirt_hv_fifo_put_all(&q.vp.fifo, false);
    l2_cpuid(w);
    assert_true(nvirt_hv_fifo_waits(&q.vp.fifo));
    before = w->v->stats.flushes_tag;
    l1_cpuid(w);
    assert_false(nvirt_hv_fifo_waits(&q.vp.fifo));
    assert_int_equal(w->v->stats.flushes_tag, before + 1);
}

/* L2 touches a page that EPT12 maps, so that there is something to flush. */
static void touch(struct world *w)
{
    const struct fake_set set[] = {{0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION}, {0x6400, 0x181},
                                   {0x2400, 0x5000}, {0x640a, 0x5000}, {0x4408, 0},
                                   {0x440c, INSN_LENGTH}};

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 has a root of its own, made for L1's tables. */
static void launch_with_ept(struct world *w)
{
    for (uint64_t i = 0; i < 3; i++) {
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000, (EPT12_TOP + (i + 1) * 0x1000) | 7);
    }
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + 5 * 8, 0x5000 | 0x37);
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
    changed12(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    touch(w);
    l2_cpuid(w);
}

/* L2 runs again after L1 wanted @p table flushed. @return whether its root was flushed for that. */
static bool is_flushed(struct world *w, uint64_t table)
{
    uint64_t before;

    q.vp.nested_flush = table;
    vmresume(w);
    before = w->v->stats.flushes_root;
    prepare(w);
    assert_int_equal(q.vp.nested_flush, 0);
    before = w->v->stats.flushes_root - before;
    touch(w);
    l2_cpuid(w);
    return before == 1;
}

/* [TLFS "HvCallFlushGuestPhysicalAddressSpace"]: as INVEPT of the table that L1 names. */
static void the_table_that_l1_names_is_flushed_before_l2_runs(void **state)
{
    struct world *w = *state;

    launch_with_ept(w);
    assert_false(is_flushed(w, 0));
    assert_true(is_flushed(w, EPT12_TOP | 1));
    assert_false(is_flushed(w, 0));
    assert_false(is_flushed(w, (EPT12_TOP + 0x1000) | 1));
    assert_true(is_flushed(w, NVIRT_HV_NESTED_ALL));
}

#define TEST_HV(name) cmocka_unit_test_setup_teardown(name, hv_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_HV(a_vcpu_without_a_queue_is_refused),
        TEST_HV(pages_that_wait_are_flushed_before_l1_runs),
        TEST_HV(what_waits_for_l1_waits_while_l2_runs),
        TEST_HV(the_table_that_l1_names_is_flushed_before_l2_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
