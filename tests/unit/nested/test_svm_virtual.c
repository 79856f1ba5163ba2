/* SPDX-License-Identifier: MIT */
/*
 * What L1 gives L2 of a CPU of its own, through whole runs: a virtual GIF, virtual NMIs, the TSC ratio,
 * and the state of options.c from VMRUN to #VMEXIT.
 */
#include "svm_world.h"

static int setup_all_features(void **state)
{
    struct world *w = world_new(true);

    w->caps.features = ~0u;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    world_start(w);
    w->v->cpu.features &= ~NVIRT_SVM_FEATURE_NRIPS; /* lengths by bytes, as the world has them */
    *state = w;
    return 0;
}

static uint64_t int_ctl12(struct world *w)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    return vmcb.int_ctl;
}

/* An L2 with a virtual interrupt pending and a virtual GIF. */
static void enter_with_vgif(struct world *w, bool gif)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_GIF_ENABLE | (gif ? NVIRT_SVM_V_GIF : 0) | NVIRT_SVM_V_IRQ |
                   NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IGN_TPR;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    enter_l2(w, &vmcb);
}

/* [APM 2 "Virtual GIF"]: STGI and CLGI of L2 act on V_GIF, and L1's GIF is not theirs. */
static void stgi_and_clgi_of_l2_act_on_its_virtual_gif(void **state)
{
    struct world *w = *state;

    enter_with_vgif(w, false);
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_STGI), NVIRT_VERDICT_DONE);
    assert_true(w->v->gif);
    assert_true(w->v->v_gif);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_true(w->v->gif);
    assert_false(w->v->v_gif);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_GIF, 0);
    w->vmcb01->rip = L1_RIP;
    enter_with_vgif(w, true);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_GIF, NVIRT_SVM_V_GIF);
}

/* A virtual interrupt waits for the virtual GIF and is still there afterwards. */
static void virtual_interrupts_wait_for_the_virtual_gif(void **state)
{
    struct world *w = *state;

    enter_with_vgif(w, false);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, 0);
    assert_int_equal(vmcb02(w)->int_ctl & (NVIRT_SVM_V_GIF | NVIRT_SVM_V_GIF_ENABLE), 0);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
    vmcb02(w)->int_ctl &= ~NVIRT_SVM_V_IRQ; /* taken */
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_IRQ, 0);
    enter_with_vgif(w, false);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
}

/* Physical interrupts are L1's whatever V_GIF says. */
static void the_virtual_gif_holds_no_physical_interrupt(void **state)
{
    struct world *w = *state;

    enter_with_vgif(w, false);
    w->v->l1_if = true;
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_INTR));
    assert_true(w->run.host_if);
    hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

/* Without the feature, or the bit, L2's STGI and CLGI act on the one GIF there is. */
static void without_it_l2_has_the_gif_of_l1(void **state)
{
    struct world *w = *state;

    w->v->offer.features &= ~NVIRT_SVM_FEATURE_VGIF;
    enter_with_vgif(w, false);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_false(w->v->gif);
    execute(w, NVIRT_SVM_EXIT_STGI);
    assert_true(w->v->gif);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_GIF, 0);
}

/* ---- virtual NMIs ---- */

static void enter_with_vnmi(struct world *w, uint64_t more)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_NMI_ENABLE | more;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    enter_l2(w, &vmcb);
}

/* [APM 2 "NMI Virtualization"]: pending and mask go to the CPU and come back. */
static void virtual_nmis_are_the_cpus_to_deliver(void **state)
{
    struct world *w = *state;

    enter_with_vnmi(w, NVIRT_SVM_V_NMI);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & (NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_ENABLE),
                     NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_ENABLE);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_NMI));
    vmcb02(w)->int_ctl &= ~NVIRT_SVM_V_NMI;
    vmcb02(w)->int_ctl |= NVIRT_SVM_V_NMI_MASK; /* its handler runs */
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & (NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK), NVIRT_SVM_V_NMI_MASK);
    w->vmcb01->rip = L1_RIP;
    enter_with_vnmi(w, NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & (NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK),
                     NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK);
}

static void virtual_nmis_wait_for_the_virtual_gif(void **state)
{
    struct world *w = *state;

    enter_with_vnmi(w, NVIRT_SVM_V_NMI | NVIRT_SVM_V_GIF_ENABLE);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_NMI, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & NVIRT_SVM_V_NMI, NVIRT_SVM_V_NMI);
    w->vmcb01->rip = L1_RIP;
    enter_with_vnmi(w, NVIRT_SVM_V_NMI | NVIRT_SVM_V_GIF_ENABLE | NVIRT_SVM_V_GIF);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_NMI, NVIRT_SVM_V_NMI);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
}

static void without_the_feature_the_bits_are_l1s_own(void **state)
{
    struct world *w = *state;
    const uint64_t bits = NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK | NVIRT_SVM_V_NMI_ENABLE;

    w->v->offer.features &= ~NVIRT_SVM_FEATURE_VNMI;
    enter_with_vnmi(w, bits);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & bits, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(int_ctl12(w) & bits, bits);
}

/* ---- TSC ratio ---- */

static void wrmsr_ratio(struct world *w, uint64_t value)
{
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = value & NVIRT_BITS(31, 0);
    w->gprs.r[NVIRT_RDX] = value >> 32;
    assert_int_equal(msr_access(w, NVIRT_SVM_MSR_TSC_RATIO, true), NVIRT_VERDICT_DONE);
}

/* [APM 2 "TSC Ratio MSR (C000_0104h)"]: 63:40 are reserved, 1.0 after reset; it counts for guests. */
static void l1s_tsc_ratio_counts_for_l2_only(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    msr_access(w, NVIRT_SVM_MSR_TSC_RATIO, false);
    assert_int_equal(w->gprs.r[NVIRT_RDX], 1);
    wrmsr_ratio(w, NVIRT_BIT(40));
    assert_int_equal(w->vmcb01->event_inj, EVENT_GP);
    w->vmcb01->event_inj = 0;
    w->vmcb01->tsc_offset = 1000;
    wrmsr_ratio(w, NVIRT_SVM_TSC_RATIO_ONE / 4);
    assert_int_equal(w->vmcb01->event_inj, 0);
    prepare(w);
    assert_int_equal(w->run.tsc_ratio, NVIRT_SVM_TSC_RATIO_ONE);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    vmcb.tsc_offset = 5;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(w->run.tsc_ratio, NVIRT_SVM_TSC_RATIO_ONE / 4);
    assert_int_equal(vmcb02(w)->tsc_offset, 255);
}

/* A new ratio reaches an L2 whose L1 says that it changed no control. */
static void a_new_ratio_reaches_a_clean_l2(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    w->vmcb01->tsc_offset = 1000;
    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    wrmsr_ratio(w, 2 * NVIRT_SVM_TSC_RATIO_ONE);
    get_vmcb12(w, &vmcb);
    vmcb.clean = NVIRT_VMCB_CLEAN_ALL;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    assert_int_equal(vmcb02(w)->tsc_offset, 2000);
}

static void a_ratio_of_the_hosts_is_multiplied_in(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    w->v->tsc_ratio01 = 3 * NVIRT_SVM_TSC_RATIO_ONE;
    wrmsr_ratio(w, 2 * NVIRT_SVM_TSC_RATIO_ONE);
    prepare(w);
    assert_int_equal(w->run.tsc_ratio, 3 * NVIRT_SVM_TSC_RATIO_ONE);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(w->run.tsc_ratio, 6 * NVIRT_SVM_TSC_RATIO_ONE);
}

static void the_ratio_msr_is_the_hosts_where_it_is_not_offered(void **state)
{
    struct world *w = *state;

    w->v->offer.features &= ~NVIRT_SVM_FEATURE_TSC_RATE;
    assert_int_equal(msr_access(w, NVIRT_SVM_MSR_TSC_RATIO, false), NVIRT_VERDICT_L1);
}

/* ---- options.c through a run ---- */

static void options_move_with_vmrun_and_vmexit(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.virt_ext = NVIRT_SVM_LBR_ENABLE | NVIRT_SVM_VIRTUAL_VMLOAD;
    vmcb.dbgctl = 1;
    vmcb.br_from = 0x111;
    vmcb.spec_ctrl = 4;
    w->vmcb01->spec_ctrl = 1;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->br_from, 0x111);
    assert_int_equal(vmcb02(w)->spec_ctrl, 4);
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMLOAD));
    vmcb02(w)->br_from = 0x222;
    vmcb02(w)->spec_ctrl = 2;
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.br_from, 0x222);
    assert_int_equal(vmcb.spec_ctrl, 2);
    assert_int_equal(w->vmcb01->spec_ctrl, 1);
    /* virt_ext has no clean bit: turned off, VMLOAD is intercepted again. */
    vmcb.virt_ext = 0;
    vmcb.clean = NVIRT_VMCB_CLEAN_ALL;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMLOAD));
    assert_int_equal(vmcb02(w)->virt_ext, 0);
}

/* [APM 2 "VMSAVE and VMLOAD Virtualization"]: the address is L2's. A CPU that exits all the same, as it
 * does outside long mode, tells L1, and nothing of L1's memory is read or written at that address. */
static void a_virtual_vmload_that_exits_is_l1s(void **state)
{
    static const uint32_t codes[] = { NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE };
    struct world *w = *state;

    for (unsigned i = 0; i < 2; i++) {
        struct nvirt_vmcb vmcb = nested_vmcb12();
        uint64_t read, written;

        vmcb.virt_ext = NVIRT_SVM_VIRTUAL_VMLOAD;
        vmcb.rax = 0x7000;
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        read = w->v->stats.bytes_read;
        written = w->v->stats.bytes_written;
        assert_int_equal(step(w, codes[i], 0, 0), NVIRT_VERDICT_DONE);
        assert_int_equal(nvirt_svm_level(w->v), 1);
        get_vmcb12(w, &vmcb);
        assert_int_equal(vmcb.exit_code, codes[i]);
        assert_int_equal(vmcb.rip, L2_RIP);
        assert_true(w->v->stats.bytes_read == read);
        assert_true(w->v->stats.bytes_written == written + NVI_SVM_SAVED_BYTES);
        assert_false(is_pinned(w, 0x7000));
    }
}

/* [APM 2 "Bus Lock Threshold"]: what L2 used stays used across exits that L1 does not see. */
static void bus_locks_run_out_across_exits(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_BUS_LOCK, true);
    vmcb.bus_lock_count = 3;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->bus_lock_count, 3);
    vmcb02(w)->bus_lock_count = 1;
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    prepare(w);
    assert_int_equal(vmcb02(w)->bus_lock_count, 1);
    vmcb02(w)->bus_lock_count = 0;
    hardware_exit(w, NVIRT_SVM_EXIT_BUS_LOCK, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_BUS_LOCK);
    assert_int_equal(vmcb.bus_lock_count, 0);
}

/* ---- saved state ---- */

static void virtual_state_survives_a_save(void **state)
{
    struct world *w = *state;
    static uint8_t buffer[NVIRT_STATE_MAX_BYTES];
    const uint64_t shown = NVIRT_SVM_V_IRQ | NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK |
                           NVIRT_SVM_V_NMI_ENABLE;
    uint64_t before;
    size_t used;

    wrmsr_ratio(w, NVIRT_SVM_TSC_RATIO_ONE / 4);
    w->vmcb01->rip = L1_RIP;
    enter_with_vnmi(w, NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK | NVIRT_SVM_V_GIF_ENABLE |
                           NVIRT_SVM_V_GIF | NVIRT_SVM_V_IRQ);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    before = vmcb02(w)->int_ctl & shown;
    assert_int_equal(before, shown);
    assert_int_equal(nvirt_svm_save(w->v, buffer, sizeof buffer, &used), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    w->v->tsc_ratio12 = NVIRT_SVM_TSC_RATIO_ONE;
    w->v->has_vgif = w->v->v_gif = w->v->v_nmi = false;
    assert_int_equal(nvirt_svm_restore(w->v, buffer, used), NVIRT_OK);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & shown, before);
    assert_int_equal(w->run.tsc_ratio, NVIRT_SVM_TSC_RATIO_ONE / 4);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_true(w->v->gif);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & (NVIRT_SVM_V_IRQ | NVIRT_SVM_V_NMI), 0);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
}

/* What L1 cannot have come to without the feature is refused. */
static void saved_virtual_state_needs_the_feature(void **state)
{
    struct world *w = *state;
    static uint8_t buffer[NVIRT_STATE_MAX_BYTES];
    static const uint32_t features[] = {NVIRT_SVM_FEATURE_VGIF, NVIRT_SVM_FEATURE_VNMI,
                                        NVIRT_SVM_FEATURE_TSC_RATE};
    size_t used;

    wrmsr_ratio(w, NVIRT_SVM_TSC_RATIO_ONE / 4);
    w->vmcb01->rip = L1_RIP;
    enter_with_vnmi(w, NVIRT_SVM_V_NMI | NVIRT_SVM_V_GIF_ENABLE | NVIRT_SVM_V_GIF);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    assert_int_equal(nvirt_svm_save(w->v, buffer, sizeof buffer, &used), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    for (unsigned i = 0; i < 3; i++) {
        w->v->offer.features &= ~features[i];
        assert_int_equal(nvirt_svm_restore(w->v, buffer, used), NVIRT_ERR_DATA);
        w->v->offer.features |= features[i];
    }
    assert_int_equal(nvirt_svm_restore(w->v, buffer, used), NVIRT_OK);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup_all_features, teardown)
    const struct CMUnitTest tests[] = {
        T(stgi_and_clgi_of_l2_act_on_its_virtual_gif),
        T(virtual_interrupts_wait_for_the_virtual_gif),
        T(the_virtual_gif_holds_no_physical_interrupt),
        T(without_it_l2_has_the_gif_of_l1),
        T(virtual_nmis_are_the_cpus_to_deliver),
        T(virtual_nmis_wait_for_the_virtual_gif),
        T(without_the_feature_the_bits_are_l1s_own),
        T(l1s_tsc_ratio_counts_for_l2_only),
        T(a_new_ratio_reaches_a_clean_l2),
        T(a_ratio_of_the_hosts_is_multiplied_in),
        T(the_ratio_msr_is_the_hosts_where_it_is_not_offered),
        T(options_move_with_vmrun_and_vmexit),
        T(a_virtual_vmload_that_exits_is_l1s),
        T(bus_locks_run_out_across_exits),
        T(virtual_state_survives_a_save),
        T(saved_virtual_state_needs_the_feature),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
