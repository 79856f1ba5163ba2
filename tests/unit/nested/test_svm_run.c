/* SPDX-License-Identifier: MIT */
/*
 * The two transitions: what VMRUN takes from vmcb12 and refuses, what #VMEXIT gives back, and that
 * L1's own state is the same after as before.
 */
#include "svm_world.h"

static void vmrun_enters_l2(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.rax = 0x77;
    w->v->gif = false;
    enter_l2(w, &vmcb);
    assert_true(w->v->gif);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 3);
    assert_int_equal(w->vmcb01->rax, VMCB12);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(w->run.vmcb.value, w->v->vmcb02_hpa.value);
    assert_int_equal(w->run.state_vmcb.value, w->config.vmcb01.value);
    assert_int_equal(vmcb02(w)->rip, L2_RIP);
    assert_int_equal(vmcb02(w)->rax, 0x77);
    assert_int_equal(vmcb02(w)->n_cr3, w->v->root->table.value);
    assert_int_equal(vmcb02(w)->iopm_base, 0x66000 + NVIRT_SVM_MSRPM_BYTES);
    assert_int_equal(vmcb02(w)->msrpm_base, 0x66000);
    assert_ptr_equal(nvirt_svm_vmcb(w->v, 2), vmcb02(w));
}

/* CVE-2021-29657: each byte of vmcb12 is read once; later changes by L1 reach nobody. */
static void vmcb12_is_read_once(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_l2(w, &vmcb);
    memset(&vmcb, 0xff, sizeof vmcb);
    put_vmcb12(w, VMCB12, &vmcb);
    w->v->controls_changed = true;
    prepare(w);
    assert_int_equal(vmcb02(w)->rip, L2_RIP);
    assert_false(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_CPUID));
    assert_int_equal(vmcb02(w)->intercepts[0], 0);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2); /* as when VMRUN was executed */
}

static void expect_refused(struct world *w, const struct nvirt_vmcb *vmcb)
{
    struct nvirt_vmcb l1, after;
    uint64_t refused = w->v->stats.entries_refused;

    put_vmcb12(w, VMCB12, vmcb);
    w->v->gif = true;
    prepare(w); /* interrupt controls as with GIF set */
    l1 = *w->vmcb01;
    l1.rax = VMCB12;
    l1.tlb_control = 0; /* used up by the entry */
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_false(w->v->gif);
    assert_int_equal(w->v->stats.entries_refused, refused + 1);
    get_vmcb12(w, &after);
    assert_int_equal(after.exit_code, NVIRT_SVM_EXIT_INVALID);
    assert_int_equal(after.exit_info1, 0);
    after.exit_code = vmcb->exit_code;
    assert_memory_equal(&after, vmcb, sizeof after);
    /* CVE-2026-72287: L1's registers are untouched but for the step over VMRUN. */
    l1.rip += 3;
    l1.exit_code = w->vmcb01->exit_code;
    l1.clean = w->vmcb01->clean;
    assert_memory_equal(&l1, w->vmcb01, sizeof l1);
}

static void a_broken_rule_refuses_and_is_traced(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.asid = 0;
    expect_refused(w, &vmcb);
    assert_int_equal(fake_vm_traced(w->port, "SVM_ASID_ZERO"), 1);
}

/* Each kind of check, one after the other, with a good run in between; nothing sticks. */
static void refusals_leave_no_trace_in_the_next_run(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 6; i++) {
        struct nvirt_vmcb vmcb = nested_vmcb12();

        switch (i) {
        case 0: vmcb.efer = 0; break;
        case 1: vmcb.cr4 = 0; break;
        case 2: vmcb.intercepts[4] = 0; break;
        case 3: vmcb.n_cr3 = NVIRT_BIT(40); break;
        case 4: vmcb.g_pat = 0xff; break;
        default: vmcb.iopm_base = ~UINT64_C(0); break;
        }
        w->vmcb01->rip = L1_RIP;
        expect_refused(w, &vmcb);
        w->vmcb01->rip = L1_RIP;
        enter_plain_l2(w);
        step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
        assert_int_equal(nvirt_svm_level(w->v), 1);
    }
}

/* CVE-2026-68081, CVE-2017-2596: failing entries hold nothing more each time. */
static void refusals_do_not_leak_pins(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();
    uint32_t pages = w->port->pool_used;

    vmcb.asid = 0;
    for (unsigned i = 0; i < 50; i++) {
        w->vmcb01->rip = L1_RIP;
        expect_refused(w, &vmcb);
    }
    assert_int_equal(pins_held(w), 1);
    assert_int_equal(w->port->pool_used, pages);
}

static void a_vmcb_without_memory_is_refused(void **state)
{
    struct world *w = *state;

    w->vmcb01->rax = BEYOND_RAM;
    execute(w, NVIRT_SVM_EXIT_VMRUN);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_false(w->v->gif);
    assert_int_equal(w->v->stats.entries_refused, 1);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 3);
}

static void nested_paging_needs_l1_paging(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    w->vmcb01->cr0 = NVIRT_CR0_PE;
    w->vmcb01->efer = NVIRT_EFER_SVME;
    w->vmcb01->cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    expect_refused(w, &vmcb);
    assert_int_equal(fake_vm_traced(w->port, "SVM_NP_HOST_PAGING"), 1);
}

static void vmexit_gives_l1_its_state_back(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12(), l1;

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_CPUID, true);
    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    w->vmcb01->dr7 = 0x455;
    w->vmcb01->gdtr.base = 0xaaaa;
    enter_l2(w, &vmcb);
    l1 = *w->vmcb01;
    prepare(w);
    vmcb02(w)->rip = 0xabcd;
    vmcb02(w)->rax = 0x1111;
    vmcb02(w)->cr2 = 0x2222;
    vmcb02(w)->dr6 = 0x3333;
    vmcb02(w)->cr3 = 0x4000;
    vmcb02(w)->gdtr.base = 0xbbbb;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 5, 6), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(w->exit.branch_barrier);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_false(w->v->gif);
    l1.dr7 = 0x400;
    l1.cr2 = 0x2222;
    l1.dr6 = 0x3333;
    l1.clean = w->vmcb01->clean;
    assert_memory_equal(&l1, w->vmcb01, sizeof l1);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_CPUID);
    assert_int_equal(vmcb.exit_info1, 5);
    assert_int_equal(vmcb.exit_info2, 6);
    assert_int_equal(vmcb.rip, 0xabcd);
    assert_int_equal(vmcb.rax, 0x1111);
    assert_int_equal(vmcb.cr3, 0x4000);
    assert_int_equal(vmcb.gdtr.base, 0xbbbb);
}

static void vmexit_survives_a_vmcb_that_is_gone(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    prepare(w);
    nvi_svm_unpin_all(w->v);
    fake_vm_hole(w->port, VMCB12, 0x1000);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

/* GIF after a failed VMRUN, and L1's registers when hardware is stricter than the checks. */
static void a_refusal_by_hardware_is_a_refused_vmrun(void **state)
{
    static const uint64_t codes[] = {NVIRT_SVM_EXIT_INVALID, NVIRT_SVM_EXIT_INVALID_LOW};
    struct world *w = *state;

    for (unsigned i = 0; i < 2; i++) {
        struct nvirt_vmcb vmcb = good_vmcb12(), after;

        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        assert_int_equal(step(w, codes[i], 7, 8), NVIRT_VERDICT_DONE);
        assert_int_equal(nvirt_svm_level(w->v), 1);
        assert_false(w->v->gif);
        get_vmcb12(w, &after);
        assert_int_equal(after.exit_code, NVIRT_SVM_EXIT_INVALID);
        assert_int_equal(after.rip, L2_RIP);
        assert_int_equal(w->v->stats.entries_refused, i + 1);
        assert_int_equal(w->v->stats.nested_entries, 0);
    }
}

static void single_stepped_vmrun_traps_after_the_exit(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    w->vmcb01->rflags |= NVIRT_RFLAGS_TF;
    enter_plain_l2(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
    assert_int_equal(w->vmcb01->dr6 & NVI_DR6_BS, NVI_DR6_BS);
    vmcb.asid = 0;
    put_vmcb12(w, VMCB12, &vmcb);
    vmrun(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
}

static void pat_is_shared_without_nested_paging(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    enter_plain_l2(w);
    prepare(w);
    vmcb02(w)->g_pat = 0x0606060606060606;
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(w->vmcb01->g_pat, 0x0606060606060606);
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->g_pat, PAT_AT_RESET);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(w->vmcb01->g_pat, 0x0606060606060606);
}

static void virtual_tpr_is_shared_with_a_host_that_owns_interrupts(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    w->vmcb01->int_ctl |= 5;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_TPR, 5);
    vmcb02(w)->int_ctl += 2;
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(w->vmcb01->int_ctl & NVIRT_SVM_V_TPR, 7);
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING | 3;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_TPR, 3);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(w->vmcb01->int_ctl & NVIRT_SVM_V_TPR, 7);
}

static void v_irq_comes_back_as_hardware_left_it(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IRQ;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    prepare(w);
    vmcb02(w)->int_ctl &= ~NVIRT_SVM_V_IRQ; /* taken */
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.int_ctl, NVIRT_SVM_V_INTR_MASKING);
}

/* The pages of a few VMCBs stay pinned; more cost an unpin each, never an error. */
static void pins_are_kept_and_recycled(void **state)
{
    struct world *w = *state;

    for (unsigned round = 0; round < 3; round++) {
        w->vmcb01->rax = SAVE_AREA;
        execute(w, NVIRT_SVM_EXIT_VMSAVE);
    }
    assert_int_equal(pins_held(w), 1);
    for (unsigned i = 0; i < NVI_SVM_PINS + 2; i++) {
        w->vmcb01->rax = 0x60000 + i * 0x1000;
        execute(w, NVIRT_SVM_EXIT_VMSAVE);
        assert_true(is_pinned(w, 0x60000 + i * 0x1000));
    }
    assert_int_equal(w->port->pins, NVI_SVM_PINS);
    assert_int_equal(w->v->stats.pins, w->v->stats.unpins + NVI_SVM_PINS);
}

/* An L2 that is allowed VMSAVE pushes vmcb12's page out; #VMEXIT finds it again. */
static void vmcb12_is_found_again_after_its_pin_went(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb;

    enter_plain_l2(w);
    for (unsigned i = 0; i < NVI_SVM_PINS + 2; i++) {
        vmcb02(w)->rax = 0x60000 + i * 0x1000;
        execute(w, NVIRT_SVM_EXIT_VMSAVE);
    }
    step(w, NVIRT_SVM_EXIT_VMRUN, 9, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_VMRUN);
    assert_int_equal(vmcb.exit_info1, 9);
}

/* ---- clean bits ---- */

/* One run of VMCB12 as it lies in memory, to the exit at VMRUN that follows. */
static void run_again(struct world *w)
{
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void set_clean(struct world *w, uint32_t clean)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    vmcb.clean = clean;
    put_vmcb12(w, VMCB12, &vmcb);
}

/* Controls that an L1 without clean bits left as they were are not taken anew; what L2 changed of them
 * and L1 put back is. */
static void a_pat_that_l1_puts_back_is_loaded(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    vmcb02(w)->g_pat = 0x0606060606060606; /* L2 writes its PAT. */
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.g_pat, 0x0606060606060606);
    vmcb.g_pat = PAT_AT_RESET;
    put_vmcb12(w, VMCB12, &vmcb);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    assert_int_equal(vmcb02(w)->g_pat, PAT_AT_RESET);
}

/* One changed control is enough, whichever group it is in. */
static void a_changed_control_counts_without_clean_bits(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    vmcb.tsc_offset = 5;
    vmcb.asid = 3;
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_CPUID, true);
    put_vmcb12(w, VMCB12, &vmcb);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    prepare(w);
    assert_int_equal(vmcb02(w)->tsc_offset, 5);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_CPUID));
    assert_int_not_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_INTR_MASKING, 0);
    assert_int_equal(w->v->key.role >> 32, 3);
}

/* A round trip of an L1 that changed nothing: read is what no clean bit covers, and three words of the
 * MSR map; nothing is pinned, flushed or looked up anew. */
static void a_clean_round_trip_reads_what_no_bit_covers(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();
    struct nvirt_stats before;

    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    set_clean(w, NVIRT_VMCB_CLEAN_ALL);
    run_again(w);
    before = w->v->stats;
    run_again(w);
    /* Clean word, uncovered fields, MSR map; a word with VMRUN in it through three tables. */
    assert_int_equal(w->v->stats.bytes_read - before.bytes_read, 4 + 67 + 3 * 8 + 4 + 3 * 8);
    assert_int_equal(w->v->stats.pins, before.pins);
    assert_int_equal(w->v->stats.flushes_tag, before.flushes_tag);
    assert_int_equal(w->v->stats.flushes_all, before.flushes_all);
    assert_int_equal(w->v->stats.root_misses, before.root_misses);
}

/* [APM 2 "VMCB Clean Bits"]: a group is taken over from the last run exactly when its bit says so. */
static void each_group_is_taken_anew_unless_it_is_clean(void **state)
{
    struct world *w = *state;

    for (uint32_t group = 1; group <= NVIRT_VMCB_CLEAN_CR2; group <<= 1) {
        struct nvirt_vmcb vmcb = nested_vmcb12(), changed;
        bool clean = true;

        put_vmcb12(w, VMCB12, &vmcb);
        run_again(w);
        get_vmcb12(w, &vmcb);
        changed = vmcb;
        changed.intercepts[0] = 0x10000;
        changed.iopm_base = IOPM12 + 0x4000;
        changed.asid = 3;
        changed.int_ctl = NVIRT_SVM_V_IGN_TPR;
        changed.g_pat = 0x0606060606060606;
        changed.cr3 = 0x5000;
        changed.dr7 = 0x455;
        changed.gdtr.limit = 0x77;
        changed.es.base = 0x1234;
        changed.cr2 = 0x9999;
        do {
            struct nvirt_vmcb *c = vmcb02(w);

            changed.clean = clean ? NVIRT_VMCB_CLEAN_ALL : NVIRT_VMCB_CLEAN_ALL & ~group;
            put_vmcb12(w, VMCB12, &changed);
            w->vmcb01->rip = L1_RIP;
            vmrun(w);
            prepare(w);
            assert_int_equal((c->intercepts[0] & 0x10000) != 0,
                             !clean && group == NVIRT_VMCB_CLEAN_INTERCEPTS);
            assert_int_equal(w->v->vmcb12.iopm_base == changed.iopm_base,
                             !clean && group == NVIRT_VMCB_CLEAN_IOPM);
            assert_int_equal(w->v->vmcb12.asid == 3, !clean && group == NVIRT_VMCB_CLEAN_ASID);
            assert_int_equal((c->int_ctl & NVIRT_SVM_V_IGN_TPR) != 0,
                             !clean && group == NVIRT_VMCB_CLEAN_TPR);
            assert_int_equal(c->g_pat == changed.g_pat, !clean && group == NVIRT_VMCB_CLEAN_NP);
            assert_int_equal(c->cr3 == 0x5000, !clean && group == NVIRT_VMCB_CLEAN_CRX);
            assert_int_equal(c->dr7 == 0x455, !clean && group == NVIRT_VMCB_CLEAN_DRX);
            assert_int_equal(c->gdtr.limit == 0x77, !clean && group == NVIRT_VMCB_CLEAN_DT);
            assert_int_equal(c->es.base == 0x1234, !clean && group == NVIRT_VMCB_CLEAN_SEG);
            assert_int_equal(c->cr2 == 0x9999, !clean && group == NVIRT_VMCB_CLEAN_CR2);
            hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
            clean = !clean;
        } while (!clean);
    }
}

/* What L2 itself changed is what L1 sees, and what L2 goes on with when L1 calls it clean. */
static void l2_goes_on_with_registers_of_its_own(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12(), after;

    enter_l2(w, &vmcb);
    prepare(w);
    vmcb02(w)->cr3 = 0x7000;
    vmcb02(w)->g_pat = 0x0404040404040404;
    vmcb02(w)->ds.base = 0x888;
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    get_vmcb12(w, &after);
    assert_int_equal(after.cr3, 0x7000);
    assert_int_equal(after.g_pat, 0x0404040404040404);
    set_clean(w, NVIRT_VMCB_CLEAN_ALL);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    prepare(w);
    assert_int_equal(vmcb02(w)->cr3, 0x7000);
    assert_int_equal(vmcb02(w)->g_pat, 0x0404040404040404);
    assert_int_equal(vmcb02(w)->ds.base, 0x888);
}

/* Everything is read anew when something other than this VMCB's last run was in between. */
static void expect_all_anew(struct world *w)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    vmcb.clean = NVIRT_VMCB_CLEAN_ALL;
    vmcb.cr3 = 0x6000;
    vmcb.intercepts[0] = 0x10000;
    put_vmcb12(w, VMCB12, &vmcb);
    w->vmcb01->rip = L1_RIP;
    w->v->svme = true;
    vmrun(w);
    assert_int_equal(vmcb02(w)->cr3, 0x6000);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_CR0_WRITE));
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    vmcb = nested_vmcb12();
    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
}

static void clean_bits_count_for_the_last_vmcb_only(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12(), refused = nested_vmcb12();

    expect_all_anew(w); /* the first run */
    put_vmcb12(w, VMCB12_B, &vmcb);
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = VMCB12_B;
    execute(w, NVIRT_SVM_EXIT_VMRUN);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    expect_all_anew(w); /* another VMCB */
    refused.asid = 0;
    put_vmcb12(w, VMCB12, &refused);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    put_vmcb12(w, VMCB12, &vmcb);
    expect_all_anew(w); /* a refused VMRUN */
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    step(w, NVIRT_SVM_EXIT_INVALID, 0, 0);
    expect_all_anew(w); /* one that hardware refused */
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    expect_all_anew(w); /* a reset */
    w->gprs.r[NVIRT_RDX] = 0;
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = w->vmcb01->efer & ~NVIRT_EFER_SVME & ~NVIRT_EFER_LMA;
    msr_access(w, NVIRT_SVM_MSR_EFER, true);
    assert_false(w->v->svme);
    expect_all_anew(w); /* SVM switched off and on */
}

static void clean_bits_count_only_where_they_are_offered(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    w->v->offer.features &= ~NVIRT_SVM_FEATURE_CLEAN;
    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    expect_all_anew(w);
}

/* A hostile L1 calls clean what it broke: what runs is what was checked. */
static void a_lie_about_clean_bits_brings_nothing_unchecked(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    get_vmcb12(w, &vmcb);
    memset(vmcb.intercepts, 0, sizeof vmcb.intercepts);
    vmcb.asid = 0;
    vmcb.n_cr3 = ~UINT64_C(0);
    vmcb.cr0 = vmcb.cr4 = vmcb.efer = ~UINT64_C(0);
    vmcb.clean = ~UINT32_C(0);
    put_vmcb12(w, VMCB12, &vmcb);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    prepare(w);
    vmcb = nested_vmcb12();
    assert_int_equal(vmcb02(w)->cr0, vmcb.cr0);
    assert_int_equal(vmcb02(w)->cr4, vmcb.cr4);
    assert_int_equal(vmcb02(w)->efer, vmcb.efer);
    assert_true(nvirt_vmcb_intercepts(&w->v->vmcb12, NVIRT_SVM_EXIT_VMRUN));
    assert_int_equal(w->v->vmcb12.asid, vmcb.asid);
}

/* L0's intercepts reach an L2 whose L1 changed nothing. */
static void changed_controls_of_l0_reach_a_clean_l2(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_XSETBV, true);
    nvirt_vmcb_set_tsc_offset(w->vmcb01, 77);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    set_clean(w, NVIRT_VMCB_CLEAN_ALL);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_XSETBV));
    assert_int_equal(vmcb02(w)->tsc_offset, 77);
}

/* The clean bit of the maps covers their addresses: their contents count at each entry. */
static void a_changed_msr_map_counts_without_a_clean_bit(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();
    uint32_t bit;

    assert_true(nvi_svm_msrpm_position(0xc0000081, &bit)); /* STAR */
    put_vmcb12(w, VMCB12, &vmcb);
    run_again(w);
    assert_false(nvi_svm_map_any(w->v->msrpm02, bit, 2));
    fake_vm_put64(w->port, MSRPM12 + bit / 64 * 8, UINT64_C(3) << (bit % 64));
    set_clean(w, NVIRT_VMCB_CLEAN_ALL);
    run_again(w);
    assert_true(nvi_svm_map_any(w->v->msrpm02, bit, 2));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(vmrun_enters_l2),
        T(vmcb12_is_read_once),
        T(a_broken_rule_refuses_and_is_traced),
        T(refusals_leave_no_trace_in_the_next_run),
        T(refusals_do_not_leak_pins),
        T(a_vmcb_without_memory_is_refused),
        T(nested_paging_needs_l1_paging),
        T(vmexit_gives_l1_its_state_back),
        T(vmexit_survives_a_vmcb_that_is_gone),
        T(a_refusal_by_hardware_is_a_refused_vmrun),
        T(single_stepped_vmrun_traps_after_the_exit),
        T(pat_is_shared_without_nested_paging),
        cmocka_unit_test_setup_teardown(virtual_tpr_is_shared_with_a_host_that_owns_interrupts,
                                        setup_host_owned, teardown),
        T(v_irq_comes_back_as_hardware_left_it),
        T(pins_are_kept_and_recycled),
        T(vmcb12_is_found_again_after_its_pin_went),
        T(a_pat_that_l1_puts_back_is_loaded),
        T(a_changed_control_counts_without_clean_bits),
        T(a_clean_round_trip_reads_what_no_bit_covers),
        T(each_group_is_taken_anew_unless_it_is_clean),
        T(l2_goes_on_with_registers_of_its_own),
        T(clean_bits_count_for_the_last_vmcb_only),
        T(clean_bits_count_only_where_they_are_offered),
        T(a_lie_about_clean_bits_brings_nothing_unchecked),
        T(changed_controls_of_l0_reach_a_clean_l2),
        T(a_changed_msr_map_counts_without_a_clean_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
