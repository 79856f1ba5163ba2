/* SPDX-License-Identifier: MIT */
/*
 * Published holes of nested SVM, played against the whole nested path: L1 as an attacker, the fake
 * CPU as hardware. docs/security.md says which case each test stands for.
 */
#include "../nested/svm_world.h"

#define MAP_BITS (3u * 0x2000u * 2u) /* Of the MSR map that mean something. */
#define CPU_REFUSES NVIRT_SVM_EXIT_INVALID

/* ---- vmcb12 ---- */

/* A page that L1 may only read is no place for a VMCB: nothing is written there. */
static void a_vmcb_in_read_only_memory_is_not_written(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12(), after;
    const struct fake_region_l1 rom = {.start = VMCB12, .bytes = 4096,
                                       .hpa = FAKE_VM_HPA_OFFSET + VMCB12, .block = 4096,
                                       .rights = NVIRT_ACCESS_READ, .memory_type = 6};

    put_vmcb12(w, VMCB12, &vmcb);
    fake_vm_region(w->port, &rom);
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = VMCB12;
    execute(w, NVIRT_SVM_EXIT_VMSAVE);
    fake_vm_get(w->port, VMCB12, &after, sizeof after);
    assert_memory_equal(&vmcb, &after, sizeof vmcb);
    assert_int_equal(pins_held(w), 0);
}

/* Pins are bounded however many VMCBs L1 tries, and gone with a reset. */
static void failing_vmruns_of_many_pages_keep_few_pins(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();
    uint32_t pages = w->port->pool_used;

    vmcb.asid = 0;
    for (unsigned i = 0; i < 64; i++) {
        put_vmcb12(w, 0x100000 + i * 4096u, &vmcb);
        w->vmcb01->rip = L1_RIP;
        w->vmcb01->rax = 0x100000 + i * 4096u;
        execute(w, NVIRT_SVM_EXIT_VMRUN);
        assert_int_equal(nvirt_svm_level(w->v), 1);
        assert_true(w->port->pins <= NVI_SVM_PINS);
    }
    assert_int_equal(w->port->pool_used, pages);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(w->port->pins, 0);
}

/* ---- the interrupt flag ---- */

/* A #VMEXIT clears GIF, that of a refused VMRUN too: an NMI waits for STGI [APM 2 "#VMEXIT"]. */
static void gif_is_clear_after_every_failed_vmrun(void **state)
{
    struct world *w = *state;
    const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.asid = 0; /* Refused by a rule. */
    put_vmcb12(w, VMCB12, &vmcb);
    vmrun(w);
    assert_false(w->v->gif);
    w->v->gif = true;
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = BEYOND_RAM; /* Refused for want of memory. */
    execute(w, NVIRT_SVM_EXIT_VMRUN);
    assert_false(w->v->gif);
    w->v->gif = true;
    w->vmcb01->rip = L1_RIP;
    enter_plain_l2(w); /* Refused by hardware. */
    step(w, CPU_REFUSES, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_false(w->v->gif);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NONE);
    w->v->prepared = false;
}

/* ---- what of L1's reaches hardware ---- */

/* Each single bit of the interrupt control, of the virtualization extensions and of the nested
 * paging word: AVIC, virtual GIF, virtual NMI, LBR and encryption stay off in hardware. */
static void no_bit_turns_on_avic_or_any_other_extension(void **state)
{
    struct world *w = *state;
    const uint64_t allowed = NVIRT_SVM_V_TPR | NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_PRIO |
                             NVIRT_SVM_V_IGN_TPR | NVIRT_SVM_V_INTR_MASKING |
                             NVIRT_SVM_V_INTR_VECTOR;

    for (unsigned i = 0; i < 64; i++) {
        struct nvirt_vmcb vmcb = good_vmcb12();

        vmcb.int_ctl = NVIRT_BIT(i);
        vmcb.virt_ext = NVIRT_BIT(i);
        vmcb.np_control = NVIRT_BIT(i) & ~NVIRT_SVM_NP_ENABLE;
        vmcb.avic_backing = vmcb.avic_logical = vmcb.avic_physical = NVIRT_BIT(i);
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        prepare(w);
        assert_int_equal(vmcb02(w)->int_ctl & ~allowed, 0);
        assert_int_equal(vmcb02(w)->virt_ext, 0);
        assert_int_equal(vmcb02(w)->np_control, NVIRT_SVM_NP_ENABLE);
        assert_int_equal(vmcb02(w)->avic_backing | vmcb02(w)->avic_logical, 0);
        assert_int_equal(vmcb02(w)->avic_physical, 0);
        assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMLOAD));
        assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMSAVE));
        hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
        assert_int_equal(nvirt_svm_level(w->v), 1);
    }
}

/* 64-bit linear congruential steps: the same inputs in every run. */
static uint32_t random32(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 32);
}

static void random_map(uint64_t *seed, uint8_t *map, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        map[i] = (uint8_t)(random32(seed) & random32(seed));
    }
}

static bool bit_of(const uint8_t *map, uint32_t bit)
{
    return (map[bit / 8u] >> (bit % 8u) & 1u) != 0;
}

static void expect_union(struct world *w, const uint8_t *msrpm12, const uint8_t *iopm12)
{
    for (uint32_t i = 0; i < MAP_BITS; i++) {
        if (!bit_of(w->v->msrpm02, i)) {
            assert_false(bit_of(msrpm12, i));
            assert_false(bit_of(w->msrpm01, i));
        }
    }
    for (uint32_t i = 0; i < 0x10000; i++) {
        if (!bit_of(w->v->iopm02, i)) {
            assert_false(bit_of(iopm12, i));
            assert_false(bit_of(w->iopm01, i));
        }
    }
}

/* Random maps on both sides, random accesses of L2, more of them than are remembered one by one:
 * whatever hardware lets pass, both levels let pass. */
static void maps_of_l2_never_let_more_pass_than_both_levels(void **state)
{
    struct world *w = *state;
    uint64_t seed = 1;
    static uint8_t msrpm12[NVIRT_SVM_MSRPM_BYTES], iopm12[NVIRT_SVM_IOPM_BYTES];

    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_IOIO, true);
    for (unsigned round = 0; round < 4; round++) {
        random_map(&seed, msrpm12, sizeof msrpm12);
        random_map(&seed, iopm12, sizeof iopm12);
        random_map(&seed, w->msrpm01, sizeof w->msrpm01);
        random_map(&seed, w->iopm01, sizeof w->iopm01);
        nvirt_svm_msrpm_require(w->msrpm01);
        fake_vm_put(w->port, MSRPM12, msrpm12, sizeof msrpm12);
        fake_vm_put(w->port, IOPM12, iopm12, sizeof iopm12);
        for (unsigned i = 0; i < 200; i++) {
            uint32_t range = i % 3u == 0 ? 0 : i % 3u == 1 ? 0xc0000000u : 0xc0010000u;
            uint64_t size = UINT64_C(0x10) << (random32(&seed) % 3u);

            if (nvirt_svm_level(w->v) == 1) {
                w->vmcb01->rip = L1_RIP;
                enter_plain_l2(w);
            }
            if (random32(&seed) % 2u == 0) {
                msr_access(w, range + random32(&seed) % 0x2000u, random32(&seed) % 2u != 0);
            } else {
                step(w, NVIRT_SVM_EXIT_IOIO, (uint64_t)(random32(&seed) % 0x10000u) << 16 | size,
                     0);
            }
            if (i % 40u == 39) {
                expect_union(w, msrpm12, iopm12);
            }
        }
        assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
        w->v->svme = true;
    }
}

/* ---- exits ---- */

/* What L0 would do in place for L2 is L1's where L1 intercepts it, whatever it is. */
static void every_intercept_of_l1s_is_asked_for_what_l0_emulates(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, MSRPM12, ~UINT64_C(0));
    fake_vm_put64(w->port, IOPM12, ~UINT64_C(0));
    for (uint32_t code = 0; code < 0xa5; code++) {
        struct nvirt_vmcb vmcb = good_vmcb12();

        if (code >= NVIRT_SVM_EXIT_EFER_WRITE_TRAP && code < NVIRT_SVM_EXIT_INVLPGB) {
            continue; /* traps of encrypted guests: not offered */
        }
        nvirt_vmcb_intercept(&vmcb, code, true);
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        w->gprs.r[NVIRT_RCX] = 0;
        step(w, code, 0, 0);
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
        assert_int_equal(nvirt_svm_level(w->v), 1);
        get_vmcb12(w, &vmcb);
        assert_int_equal(vmcb.exit_code, code);
    }
}

static void expect_outcome(struct world *w, uint64_t code)
{
    if (w->exit.verdict == NVIRT_VERDICT_L1_SHUTDOWN) {
        assert_int_equal(code, NVIRT_SVM_EXIT_SHUTDOWN);
        return;
    }
    if (w->exit.level == 2) {
        assert_true(w->exit.verdict == NVIRT_VERDICT_DONE || w->exit.verdict == NVIRT_VERDICT_L2);
    } else {
        assert_true(w->exit.verdict == NVIRT_VERDICT_DONE || w->exit.verdict == NVIRT_VERDICT_L1);
    }
    if (code >= NVIRT_SVM_EXIT_INTERCEPTS_END && code != NVIRT_SVM_EXIT_NPF &&
        code != NVIRT_SVM_EXIT_INVALID && code != NVIRT_SVM_EXIT_INVALID_LOW) {
        assert_int_equal(w->exit.verdict,
                         w->exit.level == 2 ? NVIRT_VERDICT_L2 : NVIRT_VERDICT_L1);
    }
}

/* An L1 that intercepts everything there is, and all bits beyond. */
static void enter_intercepted_l2(struct world *w)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    memset(vmcb.intercepts, 0xff, sizeof vmcb.intercepts);
    enter_l2(w, &vmcb);
}

static void exit_code(struct world *w, uint32_t level, uint64_t code)
{
    if (level == 2 && nvirt_svm_level(w->v) == 1) {
        w->vmcb01->rip = L1_RIP;
        w->v->svme = true;
        if (code < NVIRT_SVM_EXIT_INTERCEPTS_END) {
            enter_plain_l2(w);
        } else {
            enter_intercepted_l2(w);
        }
    }
    if (level == 1) {
        w->vmcb01->rip = L1_RIP;
    }
    step(w, code, 0, 0);
    expect_outcome(w, code);
    if (level == 1 && nvirt_svm_level(w->v) == 2) {
        assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    }
}

/* No exit code, known or not, of either level leaves anything undefined or ends the host. */
static void every_exit_code_has_an_outcome(void **state)
{
    static const uint64_t beyond[] = {CPU_REFUSES, NVIRT_SVM_EXIT_INVALID_LOW, NVIRT_SVM_EXIT_BUSY,
                                      UINT64_C(0x100000072), NVIRT_BIT(63)};
    struct world *w = *state;

    for (uint32_t level = 1; level <= 2; level++) {
        for (uint32_t code = 0; code < 0x10000; code++) {
            if (code == NVIRT_SVM_EXIT_INTERCEPTS_END) {
                assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
            }
            exit_code(w, level, code);
        }
        for (unsigned i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
            exit_code(w, level, beyond[i]);
        }
        assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    }
}

/* L1's map says no at the first look and yes at the next: the access was decided by the first. */
static void l1s_map_is_not_looked_at_again_after_the_decision(void **state)
{
    struct world *w = *state;
    const uint64_t intercept[] = {~UINT64_C(0), ~UINT64_C(0)};

    enter_plain_l2(w);
    fake_vm_script(w->port, MSRPM12 + 0x1b * 2 / 8 / 8 * 8, 8, intercept, 2);
    assert_int_equal(msr_access(w, 0x1b, true), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(fake_vm_reads(w->port, MSRPM12 + 0x1b * 2 / 8), 1);
}

/* ---- leaving L2: barriers and flushes ---- */

/* However L2 is left for L1, the host is told once that predictors hold L2's (CVE-2022-2196). */
static void each_way_from_l2_to_l1_asks_for_a_barrier(void **state)
{
    struct world *w = *state;
    const struct nvirt_event irq = {.type = NVIRT_EVENT_INTERRUPT, .vector = 0x40};
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0); /* by an exit */
    assert_true(w->exit.branch_barrier);
    prepare(w);
    assert_false(w->run.branch_barrier);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_false(w->exit.branch_barrier);

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    vmcb.rflags |= NVIRT_RFLAGS_IF;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &irq), NVIRT_OK);
    prepare(w); /* by an event */
    assert_int_equal(w->run.level, 1);
    assert_true(w->run.branch_barrier);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);

    w->vmcb01->rip = L1_RIP;
    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK); /* by force */
    prepare(w);
    assert_true(w->run.branch_barrier);
    prepare(w);
    assert_false(w->run.branch_barrier);
    w->v->prepared = false;
}

/* L2 ran with ASID 1 of L1's and owes nothing; then @p asid12 is entered with a flush asked for. */
static void enter_with_flush(struct world *w, uint32_t asid12)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.asid = asid12;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    vmcb.tlb_control = NVIRT_SVM_TLB_ASID;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
}

static void expect_flush_at_next_entry(struct world *w, uint32_t asid12)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.asid = asid12;
    w->v->gif = true;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_not_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING); /* and once is enough */
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
}

/* A VMRUN that hardware refuses has flushed nothing: the flush is due with the next one. */
static void a_refused_vmrun_loses_no_flush(void **state)
{
    struct world *w = *state;

    enter_with_flush(w, 7);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, CPU_REFUSES, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    nvirt_tlb_request(&w->v->tlb, 1, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_not_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
    nvirt_vmcb_set_tlb_control(w->vmcb01, NVIRT_SVM_TLB_NOTHING); /* no thanks to the host's copy */
    hardware_exit(w, CPU_REFUSES, 0, 0);
    prepare(w); /* that was refused as well */
    assert_int_not_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    expect_flush_at_next_entry(w, 7);
}

/* vmcb02 was prepared, then an interrupt took L2 out before it ran: the flush written into it was
 * for that L2's tag, and the next L2 has another. */
static void a_prepared_l2_that_never_ran_loses_no_flush(void **state)
{
    struct world *w = *state;
    const struct nvirt_event irq = {.type = NVIRT_EVENT_INTERRUPT, .vector = 0x40};
    struct nvirt_vmcb vmcb = good_vmcb12();

    expect_flush_at_next_entry(w, 8);
    enter_with_flush(w, 7);
    nvirt_vmcb_intercept(&w->v->vmcb12, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_set_rflags(vmcb02(w), vmcb02(w)->rflags | NVIRT_RFLAGS_IF);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &irq), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->v->waiting.interrupt = false;
    vmcb.asid = 8;
    w->v->gif = true;
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    prepare(w);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    expect_flush_at_next_entry(w, 7);
}

/* After a forced leave no tag is trusted: neither L1's nor any of L2's. */
static void a_forced_leave_flushes_every_tag(void **state)
{
    struct world *w = *state;

    expect_flush_at_next_entry(w, 7);
    w->vmcb01->rip = L1_RIP;
    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->v->svme = true;
    expect_flush_at_next_entry(w, 7);
}

/* What L2 did by itself on one CPU (MOV CR3, INVLPG) did not reach the copies on another: a tag
 * that comes back there is flushed first. Asked of the engine, for the whole path flushes nested
 * tables as well and would hide it. */
static void an_asid_is_trusted_only_on_the_cpu_it_ran_on(void **state)
{
    const uint32_t tags[] = {5, 6};
    const bool expected[] = {true, false, true, true, false};
    const uint32_t cpus[] = {0, 0, 1, 0, 0};
    static struct nvirt_tlb_root root;
    static struct nvirt_tlb_domain domain;
    static struct nvirt_tlb tlb;
    const struct nvirt_tlb_config config = {.domain = &domain,
                                            .caps = {.flush_by_asid = true},
                                            .svm = true,
                                            .tag01 = 1,
                                            .tags = tags,
                                            .tag_count = 2};

    (void)state;
    nvirt_tlb_domain_init(&domain, &root, 1, false);
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_OK);
    for (unsigned i = 0; i < sizeof cpus / sizeof cpus[0]; i++) {
        (void)nvirt_tlb_svm_enter_l2(&tlb, 9, true, 0);
        for (uint32_t level = 2; level > 0; level--) {
            const struct nvirt_tlb_entry entry = {.level = level, .cpu = cpus[i]};
            struct nvirt_flush_set due;

            nvirt_tlb_due(&tlb, &entry, &due);
            assert_int_equal(due.count != 0, expected[i]);
            for (uint32_t j = 0; j < due.count; j++) {
                nvirt_tlb_done(&tlb, cpus[i], &due.op[j]);
            }
            nvirt_tlb_entered(&tlb, &entry);
        }
    }
}

/* More ASIDs of L1's than hardware tags: whoever gets a tag second hand flushes it first. */
static void a_recycled_tag_is_flushed_before_its_first_use(void **state)
{
    struct world *w = *state;

    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t asid12 = 1; asid12 <= 6; asid12++) {
            expect_flush_at_next_entry(w, asid12);
        }
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_vmcb_in_read_only_memory_is_not_written),
        T(failing_vmruns_of_many_pages_keep_few_pins),
        T(gif_is_clear_after_every_failed_vmrun),
        T(no_bit_turns_on_avic_or_any_other_extension),
        T(maps_of_l2_never_let_more_pass_than_both_levels),
        T(every_intercept_of_l1s_is_asked_for_what_l0_emulates),
        T(every_exit_code_has_an_outcome),
        T(l1s_map_is_not_looked_at_again_after_the_decision),
        T(each_way_from_l2_to_l1_asks_for_a_barrier),
        T(a_refused_vmrun_loses_no_flush),
        T(a_prepared_l2_that_never_ran_loses_no_flush),
        T(a_forced_leave_flushes_every_tag),
        T(an_asid_is_trusted_only_on_the_cpu_it_ran_on),
        T(a_recycled_tag_is_flushed_before_its_first_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
