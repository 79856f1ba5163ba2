/* SPDX-License-Identifier: MIT */
/* The life of an SVM vCPU object, and what the host's calls say to misuse. */
#include "svm_world.h"

static struct nvirt_svm_vcpu *out;

static enum nvirt_status init(struct world *w)
{
    return nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, &w->config, &out);
}

static int setup_unstarted(void **state)
{
    *state = world_new(true);
    return 0;
}

static int teardown_unstarted(void **state)
{
    world_delete(*state);
    return 0;
}

static void null_pointers_are_named(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_vcpu_init(NULL, NVIRT_SVM_VCPU_SIZE, &w->config, &out),
                     NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, NULL, &out),
                     NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, &w->config, NULL),
                     NVIRT_ERR_NULL);
    w->config.vm = NULL;
    assert_int_equal(init(w), NVIRT_ERR_NULL);
    w->config.vm = &w->vm;
    w->config.cpu = NULL;
    assert_int_equal(init(w), NVIRT_ERR_NULL);
    w->config.cpu = &w->caps;
    w->config.offer = NULL;
    assert_int_equal(init(w), NVIRT_ERR_NULL);
    w->config.offer = &w->offer;
    w->config.asids = NULL;
    assert_int_equal(init(w), NVIRT_ERR_NULL);
    w->config.asids = w->asids;
    w->config.maps02_memory = NULL;
    assert_int_equal(init(w), NVIRT_ERR_NULL);
}

static void alignment_and_size_are_checked(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_vcpu_init(w->memory + 8, NVIRT_SVM_VCPU_SIZE, &w->config, &out),
                     NVIRT_ERR_ALIGNMENT);
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE - 1, &w->config, &out),
                     NVIRT_ERR_SIZE);
    w->config.roots = NVIRT_MAX_ROOTS;
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_BYTES(NVIRT_MAX_ROOTS) - 1,
                                         &w->config, &out), NVIRT_ERR_SIZE);
    w->config.roots = NVIRT_MAX_ROOTS + 1;
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, SIZE_MAX, &w->config, &out), NVIRT_ERR_RANGE);
    w->config.roots = 0;
    w->config.maps02.value += 8;
    assert_int_equal(init(w), NVIRT_ERR_ALIGNMENT);
    w->config.maps02.value -= 8;
    w->config.vmcb01.value += 8;
    assert_int_equal(init(w), NVIRT_ERR_ALIGNMENT);
    w->config.vmcb01.value -= 8;
}

static void asids_are_checked(void **state)
{
    struct world *w = *state;

    w->config.asid_count = 0;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->config.asid_count = NVIRT_SVM_MAX_ASIDS + 1;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->config.asid_count = 4;
    w->asids[3] = 0;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->asids[3] = 16;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->asids[3] = w->asids[0];
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->asids[3] = w->config.asid01;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->asids[3] = 15;
    w->config.asid01 = 0;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->config.asid01 = 16;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
}

static void index_and_pat_are_checked(void **state)
{
    struct world *w = *state;

    w->config.index = NVIRT_VM_MAX_VCPUS;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
    w->config.index = 0;
    w->config.host_pat = 0x0404040404040404;
    assert_int_equal(init(w), NVIRT_ERR_RANGE);
}

static void offers_beyond_the_cpu_are_refused(void **state)
{
    struct world *w = *state;
    const struct nvirt_svm_caps good = w->offer;

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        w->offer = good;                                                                           \
        change;                                                                                    \
        assert_int_equal(init(w), NVIRT_ERR_CAPABILITY);                                           \
    } while (0)
    REFUSED(w->offer.features |= NVIRT_SVM_FEATURE_AVIC);
    REFUSED(w->offer.features |= NVIRT_SVM_FEATURE_NRIPS);
    REFUSED(w->offer.efer_valid |= NVIRT_EFER_TCE);
    REFUSED(w->offer.cr4_valid |= NVIRT_CR4_SMEP);
    REFUSED(w->offer.physical_bits = 41);
    REFUSED(w->offer.physical_bits = 31);
    REFUSED(w->offer.linear_bits = 57);
    w->offer = good;
    w->caps.features = 0;
    assert_int_equal(init(w), NVIRT_ERR_CAPABILITY);
}

static void a_vm_that_was_not_initialised_is_refused(void **state)
{
    struct world *w = *state;
    uint32_t magic = w->vm.magic;

    w->vm.magic = 0;
    assert_int_equal(init(w), NVIRT_ERR_STATE);
    w->vm.magic = magic;
    assert_int_equal(w->vm.vcpu_count, 0);
}

static void no_page_leaves_nothing_behind(void **state)
{
    struct world *w = *state;

    fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(init(w), NVIRT_ERR_NO_PAGE);
    assert_int_equal(w->vm.vcpu_count, 0);
    assert_int_equal(w->port->pool_used, 1); /* vmcb01 */
}

static void a_new_vcpu_runs_l1_with_gif(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_true(w->v->gif);
    assert_ptr_equal(nvirt_svm_vmcb(w->v, 1), w->vmcb01);
    assert_null(nvirt_svm_vmcb(w->v, 2));
    assert_null(nvirt_svm_vmcb(w->v, 0));
    assert_null(nvirt_svm_vmcb(w->v, 3));
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(w->run.vmcb.value, w->config.vmcb01.value);
    assert_int_equal(w->run.state_vmcb.value, w->config.vmcb01.value);
}

static void calls_without_an_object_say_so(void **state)
{
    struct world *w = *state;
    const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI};
    uint32_t length;

    assert_int_equal(nvirt_svm_level(NULL), 0);
    assert_null(nvirt_svm_vmcb(NULL, 1));
    assert_null(nvirt_svm_stats(NULL));
    assert_int_equal(nvirt_svm_vcpu_destroy(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_reset(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_vmcb01_changed(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_prepare(NULL, &w->cpu, &w->run), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_prepare(w->v, NULL, &w->run), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_prepare(w->v, &w->cpu, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_exit(NULL, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_exit(w->v, NULL, &w->gprs, &w->exit), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_exit(w->v, &w->cpu, NULL, &w->exit), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_exit(w->v, &w->cpu, &w->gprs, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_inject(NULL, &w->cpu, &nmi), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_insn_length(NULL, 0, &length), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_insn_length(w->v, 0, NULL), NVIRT_ERR_NULL);
}

static void an_exit_needs_a_prepare(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_svm_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
}

/* Destroyed in every state, nothing stays pinned or allocated (teardown counts). */
static void destroy_while_l2_runs_gives_everything_back(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    enter_l2(w, &vmcb);
    prepare(w);
    assert_true(w->port->pins > 0);
    assert_true(w->port->pool_used > 2);
}

static void reset_leaves_l2_and_svm(void **state)
{
    struct world *w = *state;
    const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};

    enter_plain_l2(w);
    w->v->vm_cr = NVIRT_SVM_VM_CR_R_INIT | NVIRT_SVM_VM_CR_LOCK;
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_true(w->v->gif);
    assert_false(w->v->svme);
    assert_false(w->v->waiting.nmi);
    assert_int_equal(w->v->vm_cr, NVIRT_SVM_VM_CR_LOCK);
    assert_int_equal(w->port->pins, 0);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(w->vmcb01->event_inj, 0);
}

static void counters_are_shown(void **state)
{
    struct world *w = *state;
    const struct nvirt_stats *stats = nvirt_svm_stats(w->v);

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(stats->exits_l1, 1);
    assert_int_equal(stats->exits_l2, 1);
    assert_int_equal(stats->nested_entries, 1);
    assert_int_equal(stats->nested_exits, 1);
    assert_int_equal(stats->instructions, 1);
    assert_int_equal(stats->pins, 2 + 3); /* VMCB and MSR map; L1's page tables */
}

int main(void)
{
#define UNSTARTED(test) cmocka_unit_test_setup_teardown(test, setup_unstarted, teardown_unstarted)
#define STARTED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        UNSTARTED(null_pointers_are_named),
        UNSTARTED(alignment_and_size_are_checked),
        UNSTARTED(asids_are_checked),
        UNSTARTED(index_and_pat_are_checked),
        UNSTARTED(offers_beyond_the_cpu_are_refused),
        UNSTARTED(a_vm_that_was_not_initialised_is_refused),
        UNSTARTED(no_page_leaves_nothing_behind),
        STARTED(a_new_vcpu_runs_l1_with_gif),
        STARTED(calls_without_an_object_say_so),
        STARTED(an_exit_needs_a_prepare),
        STARTED(destroy_while_l2_runs_gives_everything_back),
        STARTED(reset_leaves_l2_and_svm),
        STARTED(counters_are_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
