/* SPDX-License-Identifier: MIT */
/*
 * Rules of nested SVM that hold in whatever order things come: flushes that are not lost, controls
 * of nvirt's that leave no trace, events that go to the level they are for. One test per rule.
 */
#include "svm_world.h"

#define NPF_FINAL_USER (NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL)

static const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};
static const struct nvirt_event interrupt = {.type = NVIRT_EVENT_INTERRUPT, .vector = 0x40};
static const struct nvirt_event gp = {
    .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true};

static void inject(struct world *w, const struct nvirt_event *event)
{
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, event), NVIRT_OK);
}

/* vmcb12 with nested tables, INTR intercepted, of one ASID. */
static struct nvirt_vmcb l2_of(uint32_t asid)
{
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.asid = asid;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    return vmcb;
}

/* One visit of L2 that ends with an interrupt before it ran an instruction. */
static void visit(struct world *w, const struct nvirt_vmcb *vmcb)
{
    enter_l2(w, vmcb);
    step(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void fill(struct world *w, const struct nvirt_vmcb *vmcb)
{
    enter_l2(w, vmcb);
    step(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, 0x5000);
    step(w, NVIRT_SVM_EXIT_INTR, 0, 0);
}

static int setup_clean(void **state)
{
    struct world *w = world_new(true);

    w->caps.features |= NVIRT_SVM_FEATURE_CLEAN;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    world_start(w);
    *state = w;
    return 0;
}

static int setup_nrips(void **state)
{
    struct world *w = world_new(true);

    w->caps.features |= NVIRT_SVM_FEATURE_NRIPS | NVIRT_SVM_FEATURE_DECODE_ASSISTS;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    world_start(w);
    *state = w;
    return 0;
}

/* ---- flushes ---- */

static void a_tag_whose_tables_were_recycled_is_flushed(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = l2_of(5), other = l2_of(6);

    fill(w, &a);
    for (unsigned i = 0; i <= NVI_MMU_DEFAULT_ROOTS; i++) {
        other.n_cr3 = 0x100000 + 0x1000 * i;
        visit(w, &other);
    }
    enter_l2(w, &a);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void nested_tables_never_share_a_number(void **state)
{
    struct world *w = *state;
    const struct nvi_mmu_key a = {.table = 0x1000, .pat = 1, .role = 4};
    /* The same under the fold of table, PAT and role into one word. */
    const struct nvi_mmu_key b = {.table = 0x1000 ^ UINT64_C(1) << 52, .pat = 1, .role = 5};

    assert_int_not_equal(nvi_mmu_serial(&w->v->mmu, &a), nvi_mmu_serial(&w->v->mmu, &b));
}

static void a_refused_entry_leaves_its_flush_owed(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = l2_of(5);

    fill(w, &a);
    a.tlb_control = NVIRT_SVM_TLB_ASID;
    enter_l2(w, &a);
    prepare(w);
    hardware_exit(w, NVIRT_SVM_EXIT_INVALID, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    a.tlb_control = NVIRT_SVM_TLB_NOTHING;
    enter_l2(w, &a);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
}

static void an_entry_that_did_not_come_leaves_its_flush_owed(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = l2_of(5), b = l2_of(6);

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_NMI, true);
    fill(w, &a);
    visit(w, &b);
    a.tlb_control = NVIRT_SVM_TLB_ASID;
    enter_l2(w, &a);
    prepare(w);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->v->waiting.nmi = false;
    enter_l2(w, &b);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    a.tlb_control = NVIRT_SVM_TLB_NOTHING;
    enter_l2(w, &a);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void a_refused_entry_of_l1_leaves_its_flush_owed(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_INVALID, 0, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void reserved_bits_in_own_tables_are_not_retried(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER | NVIRT_SVM_NPF_RSV,
                                   0x5000),
                     NVIRT_ERR_HARDWARE);
}

static void pins_do_not_outlive_a_change_of_the_hosts(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_INTR, true);
    visit(w, &a);
    assert_int_equal(pins_held(w), 2); /* VMCB and MSR map */
    fake_vm_invalidate(w->port);
    prepare(w);
    assert_int_equal(w->v->stats.pins, w->v->stats.unpins);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    enter_l2(w, &a);
    fake_vm_invalidate(w->port);
    prepare(w); /* #VMEXIT will write this one */
    assert_int_equal(w->v->stats.pins, w->v->stats.unpins + 1);
}

/* ---- permission maps ---- */

static void revoked_permissions_are_not_called_clean(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();
    const uint8_t all = 0xff;

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_INTR, true);
    enter_l2(w, &a);
    step(w, NVIRT_SVM_EXIT_IOIO, UINT64_C(0x80) << 16 | 1 << 4, 0);
    step(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    fake_vm_put(w->port, IOPM12 + 0x10, &all, 1);
    enter_l2(w, &a);
    prepare(w);
    assert_int_equal(w->v->iopm02[0x10] & 1, 1);
    assert_int_equal(vmcb02(w)->clean & NVIRT_VMCB_CLEAN_IOPM, 0);
}

/* ---- nvirt's own intercepts ---- */

static void no_window_where_only_l1s_if_counts(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    a.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_INTR, true);
    a.rflags |= NVIRT_RFLAGS_IF;
    enter_l2(w, &a);
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VINTR));
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, 0);
}

static void a_second_prepare_keeps_the_watches(void **state)
{
    struct world *w = *state;
    const uint8_t vmrun_bytes[] = {0x0f, 0x01, 0xd8};

    w->v->svme = false;
    fake_vm_put(w->port, w->vmcb01->rip, vmrun_bytes, sizeof vmrun_bytes);
    prepare(w);
    prepare(w);
    hardware_exit(w, NVIRT_SVM_EXIT_EXCEPTION + 13, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_EXCEPTION + 13));
}

static void reset_takes_the_window_out_of_vmcb01(void **state)
{
    struct world *w = *state;
    uint64_t int_ctl = w->vmcb01->int_ctl;

    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(w->vmcb01->int_ctl, int_ctl);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
}

static void the_hosts_own_intercepts_survive_watches(void **state)
{
    struct world *w = *state;

    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_IRET, true);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_VINTR, true);
    inject(w, &nmi);
    inject(w, &interrupt);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_IRET));
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IRET, 0, 0), NVIRT_VERDICT_L1);
}

static void merging_again_keeps_the_iret_watch(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    inject(w, &nmi);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_NMI);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_IRET));
}

/* ---- NMI behind an IRET ---- */

static void masked_nmi_at_iret(struct world *w)
{
    inject(w, &nmi);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    inject(w, &nmi);
    step(w, NVIRT_SVM_EXIT_IRET, 0, 0);
    prepare(w);
}

static void the_iret_before_an_nmi_is_stepped(void **state)
{
    struct world *w = *state;

    masked_nmi_at_iret(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
    assert_true((w->vmcb01->rflags & NVIRT_RFLAGS_TF) != 0);
    /* The IRET ran: registers from its frame, interrupts still masked. */
    w->vmcb01->rip += 0x100;
    w->vmcb01->rflags = 2;
    w->vmcb01->dr6 |= NVI_DR6_BS;
    hardware_exit(w, NVIRT_SVM_EXIT_EXCEPTION + 1, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(w->vmcb01->dr6 & NVI_DR6_BS, 0);
    assert_int_equal(w->vmcb01->event_inj, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
    assert_int_equal(w->vmcb01->intercepts[2], 0);
}

static void a_fault_of_the_stepped_iret_is_the_guests(void **state)
{
    struct world *w = *state;

    masked_nmi_at_iret(w);
    hardware_exit(w, NVIRT_SVM_EXIT_EXCEPTION + 14, 2, 0xbad000);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(w->vmcb01->rflags & NVIRT_RFLAGS_TF, 0);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0xb0e | UINT64_C(2) << 32);
    assert_int_equal(w->vmcb01->cr2, 0xbad000);
}

static void another_exit_at_the_iret_restores_the_trap_flag(void **state)
{
    struct world *w = *state;

    masked_nmi_at_iret(w);
    hardware_exit(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, 0x5000);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(w->vmcb01->rflags & NVIRT_RFLAGS_TF, 0);
    prepare(w);
    assert_true((w->vmcb01->rflags & NVIRT_RFLAGS_TF) != 0);
}

static void a_guest_that_steps_itself_sees_its_own_trap(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_TF;
    masked_nmi_at_iret(w);
    w->vmcb01->rip += 0x100;
    w->vmcb01->dr6 |= NVI_DR6_BS;
    hardware_exit(w, NVIRT_SVM_EXIT_EXCEPTION + 1, 0, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
    assert_true((w->vmcb01->dr6 & NVI_DR6_BS) != 0);
}

static void nmi_is_held_while_l2_has_gif_clear(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_NMI, true);
    enter_l2(w, &a);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NMI, 0, 0), NVIRT_VERDICT_L2);
    assert_int_equal(nvirt_svm_level(w->v), 2);
}

static void init_is_held_while_l2_has_gif_clear(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_INIT, true);
    enter_l2(w, &a);
    assert_true(nvirt_svm_gif(w->v));
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_false(nvirt_svm_gif(w->v));
    assert_int_equal(step(w, NVIRT_SVM_EXIT_INIT, 0, 0), NVIRT_VERDICT_L2);
    execute(w, NVIRT_SVM_EXIT_STGI);
    step(w, NVIRT_SVM_EXIT_INIT, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void a_host_with_five_levels_is_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_svm_vcpu *other = NULL;
    void *memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);

    w->config.host_5_level = true;
    assert_int_equal(nvirt_svm_vcpu_init(memory, NVIRT_SVM_VCPU_SIZE, &w->config, &other),
                     NVIRT_ERR_CAPABILITY);
    free(memory);
}

static void undefined_bits_of_cr0_and_rflags_stay_away(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    a.cr0 |= UINT64_C(0xffffffc0) & ~UINT64_C(0x60000000);
    a.rflags = ~UINT64_C(0) & ~NVIRT_RFLAGS_VM;
    enter_l2(w, &a);
    assert_int_equal(vmcb02(w)->cr0, 0x80050001u);
    assert_int_equal(vmcb02(w)->rflags, 0x003d7fd7u);
}

/* ---- events ---- */

static void a_software_event_keeps_its_return_address(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = l2_of(5);

    a.event_inj = NVIRT_SVM_EVENT_VALID | 0x480;
    a.next_rip = L2_RIP + 2;
    enter_l2(w, &a);
    prepare(w);
    vmcb02(w)->next_rip = 0;
    w->int_info = a.event_inj;
    hardware_exit(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, 0x5000);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, a.event_inj);
    assert_int_equal(vmcb02(w)->next_rip, L2_RIP + 2);
}

static void an_exception_stays_with_its_level(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12();

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_HLT, true);
    enter_l2(w, &a);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x40;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, BEYOND_RAM), NVIRT_VERDICT_L2);
    inject(w, &gp);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_GP); /* over the interrupt it met */
    hardware_exit(w, NVIRT_SVM_EXIT_HLT, 0, 0);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(w->vmcb01->event_inj, 0);
}

static void two_faults_make_a_double_fault(void **state)
{
    struct world *w = *state;

    w->int_info = NVIRT_SVM_EVENT_VALID | 0xb0e;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, BEYOND_RAM);
    inject(w, &gp);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0xb08);
}

static void l1_may_intercept_before_faults_are_combined(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12(), out;

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_EXCEPTION + 13, true);
    enter_l2(w, &a);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0xb0e;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_FINAL_USER, BEYOND_RAM);
    inject(w, &gp);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    get_vmcb12(w, &out);
    assert_int_equal(out.exit_code, NVIRT_SVM_EXIT_EXCEPTION + 13);
    assert_int_equal(out.exit_int_info, NVIRT_SVM_EVENT_VALID | 0xb0e);
}

static void an_event_that_a_hosts_exit_interrupted_comes_again(void **state)
{
    struct world *w = *state;

    w->int_info = NVIRT_SVM_EVENT_VALID | 0x55;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_EXCEPTION + 18, 0, 0), NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.int_info, NVIRT_SVM_EVENT_VALID | 0x55);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0x55);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x55;
    hardware_exit(w, NVIRT_SVM_EXIT_TASK_SWITCH, 0, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
}

/* Hardware refused the VMCB: the guest did not run, so EXITINTINFO there is of an earlier exit. */
static void a_refused_entry_interrupted_no_delivery(void **state)
{
    static const uint64_t refusals[] = {NVIRT_SVM_EXIT_INVALID, NVIRT_SVM_EXIT_INVALID_LOW};
    struct world *w = *state;

    for (unsigned i = 0; i < 2; i++) {
        w->int_info = NVIRT_SVM_EVENT_VALID | 0x202;
        assert_int_equal(step(w, refusals[i], 0, 0), NVIRT_VERDICT_L1);
        assert_int_equal(w->exit.int_info, 0);
        prepare(w);
        assert_int_equal(w->vmcb01->event_inj, 0);
        assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_OK);
    }
}

static void synthetic_exits_tell_no_instruction(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb a = good_vmcb12(), out;

    nvirt_vmcb_intercept(&a, NVIRT_SVM_EXIT_NMI, true);
    enter_l2(w, &a);
    prepare(w);
    vmcb02(w)->next_rip = 0x1234;
    vmcb02(w)->insn_count = 3;
    vmcb02(w)->insn_bytes[0] = 0x0f;
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    inject(w, &nmi);
    prepare(w);
    get_vmcb12(w, &out);
    assert_int_equal(out.exit_code, NVIRT_SVM_EXIT_NMI);
    assert_int_equal(out.next_rip, 0);
    assert_int_equal(out.insn_count, 0);
    assert_int_equal(out.insn_bytes[0], 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define H(test) cmocka_unit_test_setup_teardown(test, setup_host_owned, teardown)
    const struct CMUnitTest tests[] = {
        T(a_tag_whose_tables_were_recycled_is_flushed),
        T(nested_tables_never_share_a_number),
        T(a_refused_entry_leaves_its_flush_owed),
        T(an_entry_that_did_not_come_leaves_its_flush_owed),
        T(a_refused_entry_of_l1_leaves_its_flush_owed),
        T(reserved_bits_in_own_tables_are_not_retried),
        T(pins_do_not_outlive_a_change_of_the_hosts),
        cmocka_unit_test_setup_teardown(revoked_permissions_are_not_called_clean, setup_clean,
                                        teardown),
        H(no_window_where_only_l1s_if_counts),
        T(a_second_prepare_keeps_the_watches),
        H(reset_takes_the_window_out_of_vmcb01),
        T(the_hosts_own_intercepts_survive_watches),
        T(merging_again_keeps_the_iret_watch),
        T(the_iret_before_an_nmi_is_stepped),
        T(a_fault_of_the_stepped_iret_is_the_guests),
        T(another_exit_at_the_iret_restores_the_trap_flag),
        T(a_guest_that_steps_itself_sees_its_own_trap),
        T(nmi_is_held_while_l2_has_gif_clear),
        T(init_is_held_while_l2_has_gif_clear),
        T(a_host_with_five_levels_is_refused),
        T(undefined_bits_of_cr0_and_rflags_stay_away),
        cmocka_unit_test_setup_teardown(a_software_event_keeps_its_return_address, setup_nrips,
                                        teardown),
        T(an_exception_stays_with_its_level),
        T(two_faults_make_a_double_fault),
        T(l1_may_intercept_before_faults_are_combined),
        T(an_event_that_a_hosts_exit_interrupted_comes_again),
        T(a_refused_entry_interrupted_no_delivery),
        cmocka_unit_test_setup_teardown(synthetic_exits_tell_no_instruction, setup_nrips, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
