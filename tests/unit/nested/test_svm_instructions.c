/* SPDX-License-Identifier: MIT */
/*
 * The SVM instructions: where they are undefined, where they fault, what they do.
 * [APM 3 "System Instruction Reference"]
 */
#include "svm_world.h"

static const uint16_t all[] = {
    NVIRT_SVM_EXIT_VMRUN, NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE, NVIRT_SVM_EXIT_STGI,
    NVIRT_SVM_EXIT_CLGI,  NVIRT_SVM_EXIT_SKINIT, NVIRT_SVM_EXIT_INVLPGA,
};
#define ALL (sizeof all / sizeof all[0])

/* What L1 got instead of the instruction; RIP must stay. */
static void expect_fault(struct world *w, uint64_t code, uint64_t event)
{
    w->vmcb01->event_inj = 0;
    assert_int_equal(execute(w, code), NVIRT_VERDICT_DONE);
    assert_int_equal(w->vmcb01->event_inj, event);
    assert_int_equal(w->vmcb01->rip, L1_RIP);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

/* CVE-2026-46082: every SVM instruction without EFER.SVME. */
static void undefined_without_svme(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    for (unsigned i = 0; i < ALL; i++) {
        expect_fault(w, all[i], EVENT_UD);
    }
}

/* CVE-2018-12904: in real and virtual-8086 mode, and without privilege. */
static void undefined_outside_protected_mode(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < ALL; i++) {
        w->vmcb01->rflags |= NVIRT_RFLAGS_VM;
        expect_fault(w, all[i], EVENT_UD);
        w->vmcb01->rflags &= ~NVIRT_RFLAGS_VM;
        w->vmcb01->cr0 = 0;
        expect_fault(w, all[i], EVENT_UD);
        w->vmcb01->cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG;
    }
}

static void privileged(void **state)
{
    struct world *w = *state;

    for (unsigned cpl = 1; cpl < 4; cpl++) {
        w->vmcb01->cpl = (uint8_t)cpl;
        for (unsigned i = 0; i < ALL; i++) {
            expect_fault(w, all[i], EVENT_GP);
        }
    }
    w->v->svme = false; /* #UD comes first */
    expect_fault(w, NVIRT_SVM_EXIT_VMRUN, EVENT_UD);
}

static void skinit_is_not_offered(void **state)
{
    expect_fault(*state, NVIRT_SVM_EXIT_SKINIT, EVENT_UD);
}

static void vmmcall_of_l1_is_the_hosts(void **state)
{
    struct world *w = *state;

    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMMCALL), NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.code, NVIRT_SVM_EXIT_VMMCALL);
    assert_int_equal(w->exit.level, 1);
}

static void addresses_are_pages_within_the_width(void **state)
{
    static const uint64_t bad[] = {1, 8, 0x800, NVIRT_BIT(40), NVIRT_BIT(51),
                                   NVIRT_BIT(63) | VMCB12, ~UINT64_C(0xfff)};
    struct world *w = *state;

    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < sizeof bad / sizeof bad[0]; j++) {
            w->vmcb01->rax = bad[j];
            expect_fault(w, all[i], EVENT_GP);
        }
    }
    assert_int_equal(pins_held(w), 0);
}

static void fill_state(struct nvirt_vmcb *vmcb, uint64_t seed)
{
    vmcb->fs.base = seed;
    vmcb->gs.selector = (uint16_t)(seed + 1);
    vmcb->tr.limit = (uint32_t)(seed + 2);
    vmcb->ldtr.attrib = (uint16_t)(seed + 3);
    vmcb->kernel_gs_base = seed + 4;
    vmcb->star = seed + 5;
    vmcb->lstar = seed + 6;
    vmcb->cstar = seed + 7;
    vmcb->sfmask = seed + 8;
    vmcb->sysenter_cs = seed + 9;
    vmcb->sysenter_esp = seed + 10;
    vmcb->sysenter_eip = seed + 11;
}

static void expect_state(const struct nvirt_vmcb *vmcb, uint64_t seed)
{
    assert_int_equal(vmcb->fs.base, seed);
    assert_int_equal(vmcb->gs.selector, seed + 1);
    assert_int_equal(vmcb->tr.limit, seed + 2);
    assert_int_equal(vmcb->ldtr.attrib, seed + 3);
    assert_int_equal(vmcb->kernel_gs_base, seed + 4);
    assert_int_equal(vmcb->star, seed + 5);
    assert_int_equal(vmcb->lstar, seed + 6);
    assert_int_equal(vmcb->cstar, seed + 7);
    assert_int_equal(vmcb->sfmask, seed + 8);
    assert_int_equal(vmcb->sysenter_cs, seed + 9);
    assert_int_equal(vmcb->sysenter_esp, seed + 10);
    assert_int_equal(vmcb->sysenter_eip, seed + 11);
}

static void vmload_loads_into_vmcb01(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb area;

    memset(&area, 0, sizeof area);
    fill_state(&area, 0x1000);
    area.rip = 0x666;
    put_vmcb12(w, SAVE_AREA, &area);
    w->vmcb01->rax = SAVE_AREA;
    execute(w, NVIRT_SVM_EXIT_VMLOAD);
    expect_state(w->vmcb01, 0x1000);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 3);
    assert_int_equal(w->vmcb01->rax, SAVE_AREA);
}

static void vmsave_saves_from_vmcb01_and_touches_nothing_else(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb area;

    memset(&area, 0xa5, sizeof area);
    put_vmcb12(w, SAVE_AREA, &area);
    fill_state(w->vmcb01, 0x2000);
    w->vmcb01->rax = SAVE_AREA;
    execute(w, NVIRT_SVM_EXIT_VMSAVE);
    fake_vm_get(w->port, SAVE_AREA, &area, sizeof area);
    expect_state(&area, 0x2000);
    assert_int_equal(area.rip, 0xa5a5a5a5a5a5a5a5);
    assert_int_equal(area.gdtr.base, 0xa5a5a5a5a5a5a5a5);
    assert_int_equal(area.idtr.limit, 0xa5a5a5a5);
}

/* CVE-2026-43133: L2's VMLOAD and VMSAVE, which L1 lets pass, move the state both levels share. */
static void l2_uses_the_same_state(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb area, before;

    memset(&area, 0, sizeof area);
    fill_state(&area, 0x3000);
    put_vmcb12(w, SAVE_AREA, &area);
    enter_plain_l2(w);
    vmcb02(w)->rax = SAVE_AREA;
    before = *vmcb02(w);
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMLOAD), NVIRT_VERDICT_DONE);
    expect_state(w->vmcb01, 0x3000);
    assert_memory_equal(&before.fs, &vmcb02(w)->fs, 2 * sizeof before.fs);
    assert_int_equal(vmcb02(w)->rip, L2_RIP + 3);
    fill_state(w->vmcb01, 0x4000);
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMSAVE), NVIRT_VERDICT_DONE);
    fake_vm_get(w->port, SAVE_AREA, &area, sizeof area);
    expect_state(&area, 0x4000);
}

static void no_memory_no_effect(void **state)
{
    struct world *w = *state;

    fill_state(w->vmcb01, 0x5000);
    w->vmcb01->rax = BEYOND_RAM;
    execute(w, NVIRT_SVM_EXIT_VMLOAD);
    expect_state(w->vmcb01, 0x5000);
    execute(w, NVIRT_SVM_EXIT_VMSAVE);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 6);
    assert_int_equal(w->vmcb01->event_inj, 0);
}

static void address_size_cuts_rax(void **state)
{
    static const uint8_t vmsave32[] = {0x67, 0x0f, 0x01, 0xdb};
    struct world *w = *state;

    fake_vm_put(w->port, L1_RIP, vmsave32, sizeof vmsave32);
    w->vmcb01->rax = SAVE_AREA | NVIRT_BIT(45);
    step(w, NVIRT_SVM_EXIT_VMSAVE, 0, 0);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 4);
    assert_int_equal(w->vmcb01->event_inj, 0);
    /* A 16-bit address can name the first 64 KiB. */
    w->vmcb01->efer &= ~NVIRT_EFER_LMA;
    w->vmcb01->cr0 = NVIRT_CR0_PE;
    w->vmcb01->cs.attrib = 0x9b;
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = 0x12345000;
    execute(w, NVIRT_SVM_EXIT_VMSAVE);
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_true(is_pinned(w, 0x5000));
}

static void stgi_and_clgi_set_gif(void **state)
{
    struct world *w = *state;

    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_false(w->v->gif);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_false(w->v->gif);
    execute(w, NVIRT_SVM_EXIT_STGI);
    assert_true(w->v->gif);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 9);
}

static void l2_may_be_allowed_its_gif(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_false(w->v->gif);
    prepare(w);
    assert_false(w->run.host_if);
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    execute(w, NVIRT_SVM_EXIT_STGI);
    assert_true(w->v->gif);
}

/* A CPU that does not drop one address reliably drops them all. */
static void invlpga_of_doubtful_cpus_flushes_the_asid(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
    w->vmcb01->rax = 0x123456;
    w->gprs.r[NVIRT_RCX] = 1;
    execute(w, NVIRT_SVM_EXIT_INVLPGA);
    vmrun(w);
    prepare(w);
    assert_int_equal(w->cpu.count.invlpga, 0);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    w->gprs.r[NVIRT_RCX] = 0; /* L1's own */
    execute(w, NVIRT_SVM_EXIT_INVLPGA);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void invlpga_names_a_tag_and_an_address(void **state)
{
    struct world *w = *state;

    w->v->tlb.caps.invlpga = true;
    enter_plain_l2(w);
    prepare(w); /* flushes the tag, new on this CPU */
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
    w->vmcb01->rax = 0x123456;
    w->gprs.r[NVIRT_RCX] = 1;
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_INVLPGA), NVIRT_VERDICT_DONE);
    assert_int_equal(w->cpu.count.invlpga, 0); /* not loaded: nothing yet */
    vmrun(w);
    prepare(w);
    assert_int_equal(w->cpu.count.invlpga, 1);
    assert_int_equal(w->cpu.op[0].address, 0x123000);
    assert_int_equal(w->cpu.op[0].tag, vmcb02(w)->asid);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
}

static void single_step_traps_after_the_instruction(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_TF | NVIRT_RFLAGS_RF;
    w->vmcb01->int_state = NVIRT_SVM_INTERRUPT_SHADOW;
    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_int_equal(w->vmcb01->rip, L1_RIP + 3);
    assert_int_equal(w->vmcb01->event_inj, EVENT_DB);
    assert_int_equal(w->vmcb01->dr6 & NVI_DR6_BS, NVI_DR6_BS);
    assert_int_equal(w->vmcb01->int_state, 0);
    assert_int_equal(w->vmcb01->rflags & NVIRT_RFLAGS_RF, 0);
}

static void rip_wraps_outside_64_bit_mode(void **state)
{
    struct world *w = *state;

    w->vmcb01->efer &= ~NVIRT_EFER_LMA;
    w->vmcb01->cr0 = NVIRT_CR0_PE;
    w->vmcb01->cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    w->vmcb01->rip = 0xfffffffe;
    nvi_svm_advance(w->vmcb01, 3);
    assert_int_equal(w->vmcb01->rip, 1);
}

/* L1 changed its code between the exit and the decode: what stands there now is executed. */
static void changed_bytes_are_left_to_run(void **state)
{
    static const uint8_t nop[] = {0x90, 0x90, 0x90};
    struct world *w = *state;

    w->vmcb01->rax = VMCB12;
    fake_vm_put(w->port, L1_RIP, nop, sizeof nop);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(w->vmcb01->rip, L1_RIP);
    assert_int_equal(w->vmcb01->event_inj, 0);
}

/* ---- #GP that hardware raises because it runs L1 with SVME set ---- */

#define EXIT_GP (NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP)

static void put_code(struct world *w, uint8_t last)
{
    const uint8_t bytes[] = {0x0f, 0x01, last};

    fake_vm_put(w->port, L1_RIP, bytes, sizeof bytes);
}

static void gp_is_watched_while_svme_is_clear(void **state)
{
    struct world *w = *state;

    prepare(w);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, EXIT_GP));
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->v->svme = false;
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, EXIT_GP));
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, EXIT_GP));
}

static void gp_of_svm_instructions_becomes_ud(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    for (uint8_t last = 0xd8; last <= 0xdf; last++) {
        put_code(w, last);
        w->vmcb01->event_inj = 0;
        assert_int_equal(step(w, EXIT_GP, 0, 0), NVIRT_VERDICT_DONE);
        assert_int_equal(w->vmcb01->event_inj, last == 0xd9 ? EVENT_GP : EVENT_UD);
    }
}

static void other_gps_are_given_back(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    put_code(w, 0xd1); /* XSETBV */
    step(w, EXIT_GP, 0, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_GP);
    put_code(w, 0xd8);
    w->vmcb01->event_inj = 0;
    step(w, EXIT_GP, 0x28, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_GP | UINT64_C(0x28) << 32);
}

static void gp_during_an_exception_is_a_double_fault(void **state)
{
    static const uint8_t contributory[] = {0, 10, 11, 12, 13, 14};
    struct world *w = *state;

    w->v->svme = false;
    for (unsigned i = 0; i < sizeof contributory; i++) {
        w->vmcb01->event_inj = 0;
        w->int_info = NVIRT_SVM_EVENT_VALID | 0x300 | contributory[i];
        assert_int_equal(step(w, EXIT_GP, 0, 0), NVIRT_VERDICT_DONE);
        assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0xb08);
    }
    w->vmcb01->event_inj = 0;
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x301;
    step(w, EXIT_GP, 0, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_GP);
    w->vmcb01->event_inj = 0;
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x030;
    step(w, EXIT_GP, 0, 0);
    assert_int_equal(w->vmcb01->event_inj, EVENT_GP);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0xb08;
    assert_int_equal(step(w, EXIT_GP, 0, 0), NVIRT_VERDICT_L1_SHUTDOWN);
}

static void a_host_that_intercepts_gp_keeps_it(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    nvirt_vmcb_intercept(w->vmcb01, EXIT_GP, true);
    assert_int_equal(step(w, EXIT_GP, 0, 0), NVIRT_VERDICT_L1);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, EXIT_GP));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(undefined_without_svme),
        T(undefined_outside_protected_mode),
        T(privileged),
        T(skinit_is_not_offered),
        T(vmmcall_of_l1_is_the_hosts),
        T(addresses_are_pages_within_the_width),
        T(vmload_loads_into_vmcb01),
        T(vmsave_saves_from_vmcb01_and_touches_nothing_else),
        T(l2_uses_the_same_state),
        T(no_memory_no_effect),
        T(address_size_cuts_rax),
        T(stgi_and_clgi_set_gif),
        T(l2_may_be_allowed_its_gif),
        T(invlpga_of_doubtful_cpus_flushes_the_asid),
        T(invlpga_names_a_tag_and_an_address),
        T(single_step_traps_after_the_instruction),
        T(rip_wraps_outside_64_bit_mode),
        T(changed_bytes_are_left_to_run),
        T(gp_is_watched_while_svme_is_clear),
        T(gp_of_svm_instructions_becomes_ud),
        T(other_gps_are_given_back),
        T(gp_during_an_exception_is_a_double_fault),
        T(a_host_that_intercepts_gp_keeps_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
