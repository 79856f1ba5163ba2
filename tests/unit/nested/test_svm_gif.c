/* SPDX-License-Identifier: MIT */
/*
 * L1's global interrupt flag where the CPU keeps it: STGI and CLGI of L1 act on V_GIF of vmcb01 and do
 * not exit. V_GIF holds virtual events only, so nothing physical may go to L1 unseen meanwhile.
 * [APM 2 "Virtual GIF"; "Global Interrupt Flag, STGI and CLGI Instructions"] And the same of VMLOAD and
 * VMSAVE [APM 2 "VMSAVE and VMLOAD Virtualization"].
 */
#include "svm_world.h"

static const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};
static const struct nvirt_event interrupt = {.type = NVIRT_EVENT_INTERRUPT, .vector = 0x40};

static bool has(const struct world *w, uint32_t code)
{
    return nvirt_vmcb_intercepts(w->vmcb01, code);
}

static bool cpu_keeps_gif(const struct world *w)
{
    return (w->vmcb01->int_ctl & NVIRT_SVM_V_GIF_ENABLE) != 0 && !has(w, NVIRT_SVM_EXIT_STGI) &&
           !has(w, NVIRT_SVM_EXIT_CLGI);
}

static bool nvirt_keeps_gif(const struct world *w)
{
    return (w->vmcb01->int_ctl & (NVIRT_SVM_V_GIF_ENABLE | NVIRT_SVM_V_GIF)) == 0 &&
           has(w, NVIRT_SVM_EXIT_STGI) && has(w, NVIRT_SVM_EXIT_CLGI);
}

static bool v_gif(const struct world *w)
{
    return (w->vmcb01->int_ctl & NVIRT_SVM_V_GIF) != 0;
}

static bool is_masked(const struct world *w)
{
    return (w->vmcb01->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
}

/* L1 runs, executes CLGI or STGI on hardware, and exits. */
static enum nvirt_verdict step_with_gif(struct world *w, bool gif, uint64_t code)
{
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    w->vmcb01->int_ctl &= ~NVIRT_SVM_V_GIF;
    w->vmcb01->int_ctl |= gif ? NVIRT_SVM_V_GIF : 0;
    assert_int_equal(hardware_exit(w, code, 0, 0), NVIRT_OK);
    return w->exit.verdict;
}

static struct world *world_with(uint32_t features, bool pass_through)
{
    struct world *w = world_new(pass_through);

    w->caps.features |= features;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    return w;
}

static int setup_vgif(void **state)
{
    struct world *w = world_with(NVIRT_SVM_FEATURE_VGIF, true);

    world_start(w);
    *state = w;
    return 0;
}

static int setup_vgif_host_owned(void **state)
{
    struct world *w = world_with(NVIRT_SVM_FEATURE_VGIF, false);

    world_start(w);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_NMI, true);
    w->vmcb01->int_ctl = NVIRT_SVM_V_INTR_MASKING;
    *state = w;
    return 0;
}

static int setup_vmload(void **state)
{
    struct world *w = world_with(NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD, true);

    world_start(w);
    *state = w;
    return 0;
}

/* ---- who keeps it ---- */

static void stgi_and_clgi_of_l1_do_not_exit(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_true(v_gif(w));
    assert_true(has(w, NVIRT_SVM_EXIT_VMRUN));
    assert_false(is_masked(w));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
}

/* GIF as L1 left it is L1's GIF, for the host and for the next entry. */
static void the_cpus_flag_is_l1s(void **state)
{
    struct world *w = *state;

    assert_int_equal(step_with_gif(w, false, NVIRT_SVM_EXIT_CPUID), NVIRT_VERDICT_L1);
    assert_false(nvirt_svm_gif(w->v));
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_false(v_gif(w));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    assert_int_equal(step_with_gif(w, true, NVIRT_SVM_EXIT_CPUID), NVIRT_VERDICT_L1);
    assert_true(nvirt_svm_gif(w->v));
}

/* VMRUN sets GIF, #VMEXIT clears it [APM 2 "VMRUN Instruction"; "#VMEXIT"]. */
static void vmexit_clears_the_cpus_flag(void **state)
{
    struct world *w = *state;

    (void)step_with_gif(w, true, NVIRT_SVM_EXIT_CPUID);
    enter_plain_l2(w);
    assert_true(nvirt_svm_gif(w->v));
    nvirt_vmcb_intercept(&w->v->vmcb12, NVIRT_SVM_EXIT_CPUID, true);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(cpu_keeps_gif(w));
    assert_false(v_gif(w));
}

/* STGI and CLGI without SVME are #UD, which hardware, with SVME set, would not see. */
static void an_l1_without_svme_has_no_gif(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
}

static void without_the_feature_they_exit(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(nvirt_keeps_gif(w));
}

/* A VMCB that the CPU refused holds nothing that L1 did. */
static void a_refused_vmcb_tells_no_flag(void **state)
{
    struct world *w = *state;

    prepare(w);
    w->vmcb01->int_ctl = 0;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_INVALID, 0, 0), NVIRT_OK);
    assert_true(nvirt_svm_gif(w->v));
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_true(v_gif(w));
}

static void the_cpus_flag_is_saved(void **state)
{
    static uint8_t buffer[NVIRT_STATE_MAX_BYTES];
    struct world *w = *state;
    size_t used;

    (void)step_with_gif(w, false, NVIRT_SVM_EXIT_CPUID);
    assert_int_equal(nvirt_svm_save(w->v, buffer, sizeof buffer, &used), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_true(nvirt_svm_gif(w->v));
    assert_int_equal(nvirt_svm_restore(w->v, buffer, used), NVIRT_OK);
    prepare(w);
    assert_false(v_gif(w));
}

/* ---- physical events that are L1's ---- */

/* With GIF 1 an interrupt that met the intercept is L1's at the next entry, and those that follow need
 * no exit, until L1 clears GIF. */
static void an_interrupt_with_gif_goes_to_l1(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(has(w, NVIRT_SVM_EXIT_INTR));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_false(has(w, NVIRT_SVM_EXIT_INTR));
    assert_false(has(w, NVIRT_SVM_EXIT_NMI));
    assert_false(has(w, NVIRT_SVM_EXIT_CR8_WRITE));
    assert_false(is_masked(w));
    assert_true(w->run.host_if);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_false(v_gif(w));
    assert_true(has(w, NVIRT_SVM_EXIT_INTR));
}

/* With GIF 0 it stays in the interrupt controller, without an exit, until STGI. */
static void an_interrupt_without_gif_waits_for_stgi(void **state)
{
    struct world *w = *state;

    assert_int_equal(step_with_gif(w, false, NVIRT_SVM_EXIT_INTR), NVIRT_VERDICT_DONE);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_false(has(w, NVIRT_SVM_EXIT_INTR));
    assert_true(is_masked(w));
    assert_false(w->run.host_if);
    assert_true(has(w, NVIRT_SVM_EXIT_CR8_READ));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_false(has(w, NVIRT_SVM_EXIT_INTR));
    assert_false(is_masked(w));
    assert_true(w->run.host_if);
}

/* VMRUN in between: what L1 asked for decides, and after the #VMEXIT the CPU keeps GIF again. */
static void vmrun_ends_the_wait(void **state)
{
    struct world *w = *state;

    (void)step_with_gif(w, false, NVIRT_SVM_EXIT_INTR);
    enter_plain_l2(w);
    nvirt_vmcb_intercept(&w->v->vmcb12, NVIRT_SVM_EXIT_INTR, true);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_INTR, 0, 0), NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(cpu_keeps_gif(w));
    assert_false(v_gif(w));
}

static void an_nmi_with_gif_goes_to_l1(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(has(w, NVIRT_SVM_EXIT_NMI));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_NMI, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_false(has(w, NVIRT_SVM_EXIT_NMI));
    assert_true(nvirt_keeps_gif(w));
}

/* The host takes it off the CPU; it is L1's behind STGI. */
static void an_nmi_without_gif_waits_for_stgi(void **state)
{
    struct world *w = *state;

    assert_int_equal(step_with_gif(w, false, NVIRT_SVM_EXIT_NMI), NVIRT_VERDICT_L1);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_true(has(w, NVIRT_SVM_EXIT_NMI));
    assert_int_equal(w->vmcb01->event_inj, EVENT_NONE);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
}

static void reset_ends_direct_delivery(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    w->v->svme = true;
    prepare(w);
    assert_true(cpu_keeps_gif(w));
}

/* ---- breakpoints and steps [APM 2 "Global Interrupt Flag, STGI and CLGI Instructions"] ---- */

#define DB (NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB)
#define DR6_CLEAR UINT64_C(0xffff0ff0)
#define WATCH_WRITES UINT64_C(0xd0402) /* DR0, writes of four bytes */
#define WATCH_CODE UINT64_C(0x402)     /* DR0, an instruction */

/* L1 has breakpoints, GIF 0, and meets #DB with @p dr6. */
static void meet_db(struct world *w, uint64_t dr7, uint64_t dr6, uint64_t flags)
{
    w->vmcb01->dr7 = dr7;
    w->v->gif = false;
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_true(has(w, DB));
    w->vmcb01->dr6 = dr6;
    w->vmcb01->rflags |= flags;
    assert_int_equal(hardware_exit(w, DB, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
}

static void a_breakpoint_without_gif_is_discarded(void **state)
{
    struct world *w = *state;

    meet_db(w, WATCH_WRITES, DR6_CLEAR | 1, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NONE);
    assert_int_equal(w->vmcb01->dr6, DR6_CLEAR);
    assert_int_equal(w->vmcb01->rflags & NVIRT_RFLAGS_RF, 0);
}

/* The instruction is still to come, and must not meet it again. */
static void an_instruction_breakpoint_is_passed(void **state)
{
    struct world *w = *state;

    meet_db(w, WATCH_CODE, DR6_CLEAR | 1, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NONE);
    assert_int_not_equal(w->vmcb01->rflags & NVIRT_RFLAGS_RF, 0);
}

static void a_single_step_without_gif_is_not(void **state)
{
    struct world *w = *state;

    meet_db(w, WATCH_WRITES, DR6_CLEAR | NVI_DR6_BS, NVIRT_RFLAGS_TF);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
    assert_int_equal(w->vmcb01->dr6, DR6_CLEAR | NVI_DR6_BS);
}

static void a_data_breakpoint_and_a_step_are_a_step(void **state)
{
    struct world *w = *state;

    meet_db(w, WATCH_WRITES, DR6_CLEAR | NVI_DR6_BS | 1, NVIRT_RFLAGS_TF);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
    assert_int_equal(w->vmcb01->dr6, DR6_CLEAR | NVI_DR6_BS);
}

static void an_access_to_debug_registers_is_told(void **state)
{
    struct world *w = *state;

    meet_db(w, WATCH_WRITES, DR6_CLEAR | NVI_DR6_BD, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
}

/* With GIF 1 nothing of it is looked at. */
static void with_gif_breakpoints_are_l1s_own(void **state)
{
    struct world *w = *state;

    w->vmcb01->dr7 = WATCH_WRITES;
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_false(has(w, DB));
    assert_false(has(w, NVI_SVM_EXIT_DR7_WRITE));
}

/* L2 cleared GIF, which L1 did not keep it from, and meets #DB with @p dr6. */
static void meet_db_in_l2(struct world *w, bool l1_wants_it, uint64_t dr6, uint64_t flags)
{
    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    enter_plain_l2(w);
    nvirt_vmcb_intercept(&w->v->vmcb12, DB, l1_wants_it);
    prepare(w);
    assert_false(!l1_wants_it && nvirt_vmcb_intercepts(vmcb02(w), DB));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    vmcb02(w)->dr7 = WATCH_CODE;
    vmcb02(w)->dr6 = DR6_CLEAR;
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), DB));
    vmcb02(w)->dr6 = dr6;
    vmcb02(w)->rflags |= flags;
    assert_int_equal(hardware_exit(w, DB, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
}

/* Nor does L1 hear of it, whatever it intercepts: there was no exception. */
static void a_breakpoint_of_l2_without_gif_is_discarded(void **state)
{
    struct world *w = *state;

    meet_db_in_l2(w, true, DR6_CLEAR | 1, 0);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_NONE);
    assert_int_equal(vmcb02(w)->dr6, DR6_CLEAR);
    assert_int_not_equal(vmcb02(w)->rflags & NVIRT_RFLAGS_RF, 0);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_STGI);
    nvirt_vmcb_intercept(&w->v->vmcb12, DB, false);
    prepare(w);
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), DB));
}

static void a_step_of_l2_without_gif_is_l2s(void **state)
{
    struct world *w = *state;

    meet_db_in_l2(w, false, DR6_CLEAR | NVI_DR6_BS | 1, NVIRT_RFLAGS_TF);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_DB);
    assert_int_equal(vmcb02(w)->dr6, DR6_CLEAR | NVI_DR6_BS);
}

static void a_step_of_l2_without_gif_is_l1s_where_it_intercepts(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a;

    meet_db_in_l2(w, true, DR6_CLEAR | NVI_DR6_BS | 1, NVIRT_RFLAGS_TF);
    assert_int_equal(w->run.level, 1);
    get_vmcb12(w, &a);
    assert_int_equal(a.exit_code, DB);
    assert_int_equal(a.dr6, DR6_CLEAR | NVI_DR6_BS);
}

/* While the CPU keeps GIF nobody sees it go to 0, so breakpoints must be known of before. */
static void a_write_of_dr7_gives_the_flag_to_nvirt(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_true(has(w, NVI_SVM_EXIT_DR7_WRITE));
    assert_int_equal(hardware_exit(w, NVI_SVM_EXIT_DR7_WRITE, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_false(has(w, NVI_SVM_EXIT_DR7_WRITE));
    w->vmcb01->dr7 = WATCH_WRITES; /* It is executed now. */
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_true(has(w, DB));
    w->vmcb01->dr7 = 0x400;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_STGI);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_false(has(w, DB));
}

static void l1s_watch_is_not_l2s(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    enter_plain_l2(w);
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), NVI_SVM_EXIT_DR7_WRITE));
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), DB));
}

/* What the host copies of vmcb01, or gives to the next vCPU, has no intercept of nvirt's own in it. */
static void a_saved_vcpu_leaves_no_watch_behind(void **state)
{
    static uint8_t buffer[NVIRT_STATE_MAX_BYTES];
    struct world *w = *state;
    size_t used;

    (void)step_with_gif(w, false, NVIRT_SVM_EXIT_CPUID);
    assert_true(has(w, NVI_SVM_EXIT_DR7_WRITE));
    assert_int_equal(nvirt_svm_save(w->v, buffer, sizeof buffer, &used), NVIRT_OK);
    assert_false(has(w, NVI_SVM_EXIT_DR7_WRITE));
    w->vmcb01->dr7 = WATCH_WRITES;
    prepare(w);
    assert_true(has(w, DB));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_false(has(w, DB));
}

static void an_intercept_of_the_hosts_stays(void **state)
{
    struct world *w = *state;

    nvirt_vmcb_intercept(w->vmcb01, NVI_SVM_EXIT_DR7_WRITE, true);
    nvirt_vmcb_intercept(w->vmcb01, DB, true);
    assert_int_equal(step_with_gif(w, false, NVI_SVM_EXIT_DR7_WRITE), NVIRT_VERDICT_L1);
    assert_int_equal(step(w, DB, 0, 0), NVIRT_VERDICT_L1);
    w->v->direct = true;
    w->v->gif = true;
    prepare(w);
    assert_true(has(w, NVI_SVM_EXIT_DR7_WRITE));
    assert_true(has(w, DB));
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    enter_plain_l2(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVI_SVM_EXIT_DR7_WRITE));
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), DB));
}

/* ---- a host that owns them ---- */

/* Physical events are the host's, whatever GIF says; its controls stay as it set them. */
static void a_hosts_interrupt_is_the_hosts(void **state)
{
    struct world *w = *state;

    assert_int_equal(step_with_gif(w, false, NVIRT_SVM_EXIT_INTR), NVIRT_VERDICT_L1);
    assert_int_equal(step_with_gif(w, true, NVIRT_SVM_EXIT_NMI), NVIRT_VERDICT_L1);
    prepare(w);
    assert_true(cpu_keeps_gif(w));
    assert_true(has(w, NVIRT_SVM_EXIT_INTR));
    assert_true(has(w, NVIRT_SVM_EXIT_NMI));
    assert_true(is_masked(w));
}

/* What it injects meets GIF 0, waits for the STGI, which exits, and comes once. */
static void what_the_host_injects_waits_for_stgi(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    (void)step_with_gif(w, false, NVIRT_SVM_EXIT_INTR);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &interrupt), NVIRT_OK);
    prepare(w);
    assert_true(nvirt_keeps_gif(w));
    assert_int_equal(w->vmcb01->event_inj, EVENT_NONE);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0x40);
    assert_true(cpu_keeps_gif(w));
    assert_true(v_gif(w));
}

/* ---- VMLOAD and VMSAVE ---- */

static bool runs_vmload(const struct world *w)
{
    bool exits = has(w, NVIRT_SVM_EXIT_VMLOAD) || has(w, NVIRT_SVM_EXIT_VMSAVE);

    return (w->vmcb01->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) != 0 && !exits;
}

static bool intercepts_vmload(const struct world *w)
{
    return (w->vmcb01->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) == 0 &&
           has(w, NVIRT_SVM_EXIT_VMLOAD) && has(w, NVIRT_SVM_EXIT_VMSAVE);
}

static void vmload_of_l1_does_not_exit(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_true(runs_vmload(w));
}

static void an_l1_without_svme_has_no_vmload(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    prepare(w);
    assert_true(intercepts_vmload(w));
}

/* L2's are L1's to allow: what L1 may do says nothing. */
static void l2_does_not_inherit_it(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    enter_plain_l2(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMLOAD));
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMSAVE));
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_STGI));
    assert_int_equal(vmcb02(w)->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD, 0);
}

/* The CPU's own check of rAX knows its own width only. */
static void an_l1_with_fewer_address_bits_exits(void **state)
{
    struct world *w = world_with(NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD, true);

    (void)state;
    w->offer.physical_bits = 36;
    world_start(w);
    prepare(w);
    assert_true(intercepts_vmload(w));
    assert_int_equal(nvirt_svm_vcpu_destroy(w->v), NVIRT_OK);
    world_delete(w);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup_vgif, teardown)
#define H(test) cmocka_unit_test_setup_teardown(test, setup_vgif_host_owned, teardown)
#define V(test) cmocka_unit_test_setup_teardown(test, setup_vmload, teardown)
    const struct CMUnitTest tests[] = {
        T(stgi_and_clgi_of_l1_do_not_exit),
        T(the_cpus_flag_is_l1s),
        T(vmexit_clears_the_cpus_flag),
        T(an_l1_without_svme_has_no_gif),
        V(without_the_feature_they_exit),
        T(a_refused_vmcb_tells_no_flag),
        T(the_cpus_flag_is_saved),
        T(an_interrupt_with_gif_goes_to_l1),
        T(an_interrupt_without_gif_waits_for_stgi),
        T(vmrun_ends_the_wait),
        T(an_nmi_with_gif_goes_to_l1),
        T(an_nmi_without_gif_waits_for_stgi),
        T(reset_ends_direct_delivery),
        T(a_breakpoint_without_gif_is_discarded),
        T(an_instruction_breakpoint_is_passed),
        T(a_single_step_without_gif_is_not),
        T(a_data_breakpoint_and_a_step_are_a_step),
        T(an_access_to_debug_registers_is_told),
        T(with_gif_breakpoints_are_l1s_own),
        T(a_breakpoint_of_l2_without_gif_is_discarded),
        T(a_step_of_l2_without_gif_is_l2s),
        T(a_step_of_l2_without_gif_is_l1s_where_it_intercepts),
        T(a_write_of_dr7_gives_the_flag_to_nvirt),
        T(l1s_watch_is_not_l2s),
        T(a_saved_vcpu_leaves_no_watch_behind),
        T(an_intercept_of_the_hosts_stays),
        H(a_hosts_interrupt_is_the_hosts),
        H(what_the_host_injects_waits_for_stgi),
        V(vmload_of_l1_does_not_exit),
        V(an_l1_without_svme_has_no_vmload),
        V(l2_does_not_inherit_it),
        cmocka_unit_test(an_l1_with_fewer_address_bits_exits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
