/* SPDX-License-Identifier: MIT */
/*
 * vmcb02 from vmcb12 and vmcb01: what of L1's passes, what of L0's stays, and who owns interrupts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <nvirt/svm.h>

#include "vmcb/tsc.h"
#include "vmcb/vmcb_core.h"

static struct nvirt_vmcb vmcb12, vmcb01, vmcb02;
static struct nvirt_svm_caps offer;
static struct nvi_svm_merge_in in;

static int setup(void **state)
{
    (void)state;
    memset(&vmcb12, 0, sizeof vmcb12);
    memset(&vmcb01, 0, sizeof vmcb01);
    memset(&vmcb02, 0, sizeof vmcb02);
    memset(&offer, 0, sizeof offer);
    offer.features = NVIRT_SVM_FEATURE_NP;
    in.vmcb12 = &vmcb12;
    in.vmcb01 = &vmcb01;
    in.offer = &offer;
    in.iopm02 = nvirt_hpa_make(0x10000);
    in.msrpm02 = nvirt_hpa_make(0x20000);
    in.asid02 = 5;
    in.fresh = NVIRT_VMCB_CLEAN_ALL;
    in.tsc_ratio12 = NVIRT_SVM_TSC_RATIO_ONE;
    in.pass_through = true;
    return 0;
}

static void merge(void)
{
    nvi_svm_merge(&in, &vmcb02);
}

/* CVE-2019-3887 class: nothing that either level intercepts is let through. */
static void intercepts_are_the_union(void **state)
{
    (void)state;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_CPUID, true);
    nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_XSETBV, true);
    merge();
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_CPUID));
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_XSETBV));
    assert_false(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_RDTSC));
}

static void every_intercept_of_l1_is_kept(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0xa5; code++) {
        if (code >= NVIRT_SVM_EXIT_EFER_WRITE_TRAP && code < NVIRT_SVM_EXIT_INVLPGB) {
            continue;
        }
        setup(NULL);
        nvirt_vmcb_intercept(&vmcb12, code, true);
        merge();
        assert_true(nvirt_vmcb_intercepts(&vmcb02, code));
    }
}

/* CVE-2020-2732 class [APM 2 "MWAIT Intercept"; "SVM Intercept Exit Codes"]: an armed MWAIT under both
 * intercepts exits with the one or the other. L0's must not turn L1's exit into one that L1 did not ask for; and L2
 * never waits unseen where L0 intercepts either. */
static void l1s_choice_of_mwait_intercepts_stands_alone(void **state)
{
    (void)state;
    for (uint32_t both = 0; both < 16; both++) {
        uint32_t l1 = both & 3, l0 = both >> 2, l2;

        setup(NULL);
        nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_MWAIT, (l1 & 1) != 0);
        nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_MWAIT_ARMED, (l1 & 2) != 0);
        nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_MWAIT, (l0 & 1) != 0);
        nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_MWAIT_ARMED, (l0 & 2) != 0);
        merge();
        l2 = (nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_MWAIT) ? 1 : 0) |
             (nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_MWAIT_ARMED) ? 2 : 0);
        assert_int_equal(l2, l1 != 0 ? l1 : l0);
    }
}

/* Write traps belong to encrypted guests, bits beyond to no CPU yet. */
static void undefined_intercepts_do_not_pass(void **state)
{
    (void)state;
    memset(vmcb12.intercepts, 0xff, sizeof vmcb12.intercepts);
    merge();
    assert_int_equal(vmcb02.intercepts[4], 0x7fff);
    assert_int_equal(vmcb02.intercepts[5], 0x1f);
}

/* CVE-2021-3656, CVE-2022-3344: intercepted whatever either level asked for. */
static void svm_instructions_and_shutdown_are_always_intercepted(void **state)
{
    static const uint32_t codes[] = {
        NVIRT_SVM_EXIT_VMRUN,  NVIRT_SVM_EXIT_VMMCALL, NVIRT_SVM_EXIT_VMLOAD,
        NVIRT_SVM_EXIT_VMSAVE, NVIRT_SVM_EXIT_STGI,    NVIRT_SVM_EXIT_CLGI,
        NVIRT_SVM_EXIT_SKINIT, NVIRT_SVM_EXIT_INVLPGA, NVIRT_SVM_EXIT_SHUTDOWN,
        NVIRT_SVM_EXIT_IOIO,   NVIRT_SVM_EXIT_MSR,
    };

    (void)state;
    merge();
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_true(nvirt_vmcb_intercepts(&vmcb02, codes[i]));
    }
}

/* CVE-2021-3653: every bit of the interrupt control and of the extensions, set by L1. */
static void only_named_bits_of_int_ctl_pass(void **state)
{
    (void)state;
    vmcb12.int_ctl = ~UINT64_C(0);
    vmcb12.virt_ext = ~UINT64_C(0);
    vmcb12.np_control = ~UINT64_C(0);
    vmcb12.rap_control = 0xff;
    vmcb12.int_state = ~UINT64_C(0);
    vmcb12.avic_apic_bar = vmcb12.avic_backing = vmcb12.avic_logical = ~UINT64_C(0);
    vmcb12.avic_physical = vmcb12.vmsa = vmcb12.ghcb = ~UINT64_C(0);
    merge();
    assert_int_equal(vmcb02.int_ctl, NVIRT_SVM_V_TPR | NVIRT_SVM_V_INTR_PRIO |
                                         NVIRT_SVM_V_IGN_TPR | NVIRT_SVM_V_INTR_VECTOR);
    assert_int_equal(vmcb02.virt_ext, 0);
    assert_int_equal(vmcb02.np_control, NVIRT_SVM_NP_ENABLE);
    assert_int_equal(vmcb02.rap_control, 0);
    assert_int_equal(vmcb02.int_state, NVIRT_SVM_INTERRUPT_SHADOW);
    assert_int_equal(vmcb02.avic_apic_bar | vmcb02.avic_backing | vmcb02.avic_logical, 0);
    assert_int_equal(vmcb02.avic_physical | vmcb02.vmsa | vmcb02.ghcb, 0);
}

static void addresses_and_asid_are_l0s(void **state)
{
    (void)state;
    vmcb12.iopm_base = 0x777000;
    vmcb12.msrpm_base = 0x888000;
    vmcb12.asid = 77;
    vmcb12.n_cr3 = 0x999000;
    merge();
    assert_int_equal(vmcb02.iopm_base, 0x10000);
    assert_int_equal(vmcb02.msrpm_base, 0x20000);
    assert_int_equal(vmcb02.asid, 5);
    assert_int_equal(vmcb02.n_cr3, 0);
}

static void tsc_offsets_add_up(void **state)
{
    (void)state;
    vmcb01.tsc_offset = ~UINT64_C(0);
    vmcb12.tsc_offset = 100;
    merge();
    assert_int_equal(vmcb02.tsc_offset, 99);
}

/* [APM 2 "TSC Ratio MSR (C000_0104h)"]: L2 reads (TSC x ratio01 + offset01) x ratio12 + offset12, which
 * hardware makes of one ratio and one offset. */
static void tsc_steps_compose(void **state)
{
    const uint64_t one = NVIRT_SVM_TSC_RATIO_ONE;

    (void)state;
    vmcb01.tsc_offset = (uint64_t)-1000;
    vmcb12.tsc_offset = 7;
    in.tsc_ratio12 = one / 2;
    merge();
    assert_int_equal(vmcb02.tsc_offset, (uint64_t)-500 + 7);
    vmcb01.tsc_offset = 1000;
    in.tsc_ratio12 = 3 * one;
    merge();
    assert_int_equal(vmcb02.tsc_offset, 3007);
    assert_int_equal(nvi_svm_tsc_ratio(one, one / 2), one / 2);
    assert_int_equal(nvi_svm_tsc_ratio(2 * one, 3 * one), 6 * one);
    assert_int_equal(nvi_svm_tsc_ratio(200 * one, 200 * one), NVI_SVM_TSC_RATIO_MAX);
    assert_int_equal(nvi_svm_tsc_ratio(one, 0), 0);
}

/* [APM 2 "Virtual GIF", "NMI Virtualization"]: the virtual GIF is nvirt's, virtual NMIs are the CPU's,
 * both only where they were offered. */
static void virtual_nmis_pass_where_they_were_offered(void **state)
{
    const uint64_t vnmi = NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK | NVIRT_SVM_V_NMI_ENABLE;

    (void)state;
    vmcb12.int_ctl = vnmi | NVIRT_SVM_V_GIF | NVIRT_SVM_V_GIF_ENABLE;
    merge();
    assert_int_equal(vmcb02.int_ctl, 0);
    offer.features |= NVIRT_SVM_FEATURE_VNMI | NVIRT_SVM_FEATURE_VGIF;
    merge();
    assert_int_equal(vmcb02.int_ctl, vnmi & ~NVIRT_SVM_V_NMI);
    vmcb12.int_ctl &= ~NVIRT_SVM_V_NMI_ENABLE;
    merge();
    assert_int_equal(vmcb02.int_ctl, 0);
}

static void registers_are_l2s(void **state)
{
    (void)state;
    vmcb12.cs.selector = 8;
    vmcb12.rip = 0x1234;
    vmcb12.rsp = 0x5678;
    vmcb12.rax = 0x9abc;
    vmcb12.cr0 = NVIRT_CR0_PE;
    vmcb12.cr2 = 0xdef0;
    vmcb12.cr3 = 0x3000;
    vmcb12.cr4 = NVIRT_CR4_PAE;
    vmcb12.dr6 = 0x11;
    vmcb12.dr7 = 0x22;
    vmcb12.cpl = 0xff;
    vmcb12.gdtr.base = 0x4000;
    vmcb12.idtr.base = 0x5000;
    vmcb12.fs.base = 0x6000;
    merge();
    assert_int_equal(vmcb02.cs.selector, 8);
    assert_int_equal(vmcb02.rip, 0x1234);
    assert_int_equal(vmcb02.rsp, 0x5678);
    assert_int_equal(vmcb02.rax, 0x9abc);
    assert_int_equal(vmcb02.cr0, NVIRT_CR0_PE);
    assert_int_equal(vmcb02.cr2, 0xdef0);
    assert_int_equal(vmcb02.cr3, 0x3000);
    assert_int_equal(vmcb02.cr4, NVIRT_CR4_PAE);
    assert_int_equal(vmcb02.dr6, 0x11);
    assert_int_equal(vmcb02.dr7, 0x22);
    assert_int_equal(vmcb02.cpl, 3);
    assert_int_equal(vmcb02.gdtr.base, 0x4000);
    assert_int_equal(vmcb02.idtr.base, 0x5000);
    assert_int_equal(vmcb02.fs.base, 0); /* VMLOAD's */
    assert_int_equal(vmcb02.rflags, NVIRT_RFLAGS_FIXED1);
}

static void lma_follows_lme_and_paging(void **state)
{
    (void)state;
    vmcb12.efer = NVIRT_EFER_SVME | NVIRT_EFER_LME;
    vmcb12.cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG;
    merge();
    assert_int_equal(vmcb02.efer, NVIRT_EFER_SVME | NVIRT_EFER_LME | NVIRT_EFER_LMA);
    vmcb12.efer |= NVIRT_EFER_LMA;
    vmcb12.cr0 = NVIRT_CR0_PE;
    merge();
    assert_int_equal(vmcb02.efer, NVIRT_EFER_SVME | NVIRT_EFER_LME);
    vmcb12.efer = NVIRT_EFER_SVME | NVIRT_EFER_LMA;
    vmcb12.cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG;
    merge();
    assert_int_equal(vmcb02.efer, NVIRT_EFER_SVME);
}

static void events_pass_without_reserved_bits(void **state)
{
    (void)state;
    vmcb12.event_inj = NVIRT_SVM_EVENT_VALID | NVIRT_SVM_EVENT_RESERVED | 0x30b | NVIRT_BIT(40);
    merge();
    assert_int_equal(vmcb02.event_inj, NVIRT_SVM_EVENT_VALID | 0x30b | NVIRT_BIT(40));
    vmcb12.event_inj &= ~NVIRT_SVM_EVENT_VALID;
    merge();
    assert_int_equal(vmcb02.event_inj, 0);
}

/* [APM 2 "Event Injection"]: an injected software interrupt pushes nRIP as the return address, and on a
 * CPU without nRIP, such as L1 was shown here, RIP. */
static void next_rip_is_an_input_only_where_offered(void **state)
{
    (void)state;
    vmcb12.next_rip = 0x4444;
    vmcb12.rip = 0x3333;
    merge();
    assert_int_equal(vmcb02.next_rip, 0x3333);
    offer.features |= NVIRT_SVM_FEATURE_NRIPS;
    merge();
    assert_int_equal(vmcb02.next_rip, 0x4444);
}

static void pat_is_l2s_with_nested_paging_else_l1s(void **state)
{
    (void)state;
    vmcb12.g_pat = 0x0606060606060606;
    vmcb01.g_pat = 0x0007040600070406;
    merge();
    assert_int_equal(vmcb02.g_pat, vmcb01.g_pat);
    vmcb12.np_control = NVIRT_SVM_NP_ENABLE;
    merge();
    assert_int_equal(vmcb02.g_pat, vmcb12.g_pat);
    offer.features = 0;
    merge();
    assert_int_equal(vmcb02.g_pat, vmcb01.g_pat);
}

/* [APM 2 "Pause Intercept Filtering"]: an L1 that was offered the filter has its own. */
static void pause_filter_is_l1s_where_it_was_offered(void **state)
{
    (void)state;
    vmcb01.pause_count = 100;
    vmcb01.pause_threshold = 10;
    vmcb12.pause_count = 55;
    vmcb12.pause_threshold = 5;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_PAUSE, true);
    offer.features |= NVIRT_SVM_FEATURE_PAUSE_FILTER;
    merge();
    assert_int_equal(vmcb02.pause_count, 55);
    assert_int_equal(vmcb02.pause_threshold, 0);
    offer.features |= NVIRT_SVM_FEATURE_PAUSE_THRESHOLD;
    merge();
    assert_int_equal(vmcb02.pause_threshold, 5);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_PAUSE, false);
    merge();
    assert_int_equal(vmcb02.pause_count, 100);
    assert_int_equal(vmcb02.pause_threshold, 10);
}

static void pause_filter_is_l0s_unless_l1_wants_every_pause(void **state)
{
    (void)state;
    vmcb01.pause_count = 100;
    vmcb01.pause_threshold = 10;
    vmcb12.pause_count = 55;
    merge();
    assert_int_equal(vmcb02.pause_count, 100);
    assert_int_equal(vmcb02.pause_threshold, 10);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_PAUSE, true);
    merge();
    assert_int_equal(vmcb02.pause_count, 0);
    assert_int_equal(vmcb02.pause_threshold, 0);
}

/* CVE-2026-74516: a change of L0's while L2 runs reaches vmcb02, and only the controls change. */
static void controls_can_be_merged_alone(void **state)
{
    (void)state;
    merge();
    vmcb02.rip = 0x42;
    nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_RDTSC, true);
    vmcb01.tsc_offset = 7;
    nvi_svm_merge_controls(&in, &vmcb02);
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_RDTSC));
    assert_int_equal(vmcb02.tsc_offset, 7);
    assert_int_equal(vmcb02.rip, 0x42);
}

/* A merge of what is there already leaves every clean bit set. */
static void clean_bits_go_only_with_changes(void **state)
{
    (void)state;
    merge();
    vmcb02.clean = NVIRT_VMCB_CLEAN_ALL;
    merge();
    assert_int_equal(vmcb02.clean, NVIRT_VMCB_CLEAN_ALL);
    vmcb12.cr3 = 0x5000;
    merge();
    assert_int_equal(vmcb02.clean, NVIRT_VMCB_CLEAN_ALL & ~NVIRT_VMCB_CLEAN_CRX);
    vmcb12.cs.limit = 5;
    vmcb12.tsc_offset = 1;
    merge();
    assert_int_equal(vmcb02.clean, NVIRT_VMCB_CLEAN_ALL & ~NVIRT_VMCB_CLEAN_CRX &
                                       ~NVIRT_VMCB_CLEAN_SEG & ~NVIRT_VMCB_CLEAN_INTERCEPTS);
}

/* ---- interrupts ---- */

static struct nvi_svm_interrupt_in irq;

static int setup_interrupts(void **state)
{
    setup(state);
    memset(&irq, 0, sizeof irq);
    irq.vmcb01 = &vmcb01;
    irq.pass_through = true;
    irq.gif = true;
    irq.l1_if = true;
    return 0;
}

static bool has(const struct nvirt_vmcb *vmcb, uint32_t code)
{
    return nvirt_vmcb_intercepts(vmcb, code);
}

static bool masks(const struct nvirt_vmcb *vmcb)
{
    return (vmcb->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
}

static void l1_with_gif_takes_its_own_interrupts(void **state)
{
    (void)state;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb01));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_INTR));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_NMI));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_CR8_READ));
    assert_false(masks(&vmcb01));
}

/* Nothing physical reaches L1 while its GIF is 0, and no exit storms: interrupts stay pending. */
static void l1_without_gif_is_shielded(void **state)
{
    (void)state;
    irq.gif = false;
    assert_false(nvi_svm_set_interrupts(&irq, &vmcb01));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_INTR));
    assert_true(has(&vmcb01, NVIRT_SVM_EXIT_NMI));
    assert_true(has(&vmcb01, NVIRT_SVM_EXIT_CR8_READ));
    assert_true(has(&vmcb01, NVIRT_SVM_EXIT_CR8_WRITE));
    assert_true(masks(&vmcb01));
    irq.gif = true;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb01));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_NMI));
    assert_false(has(&vmcb01, NVIRT_SVM_EXIT_CR8_WRITE));
    assert_false(masks(&vmcb01));
}

static void l2_interrupts_are_as_l1_says(void **state)
{
    (void)state;
    irq.vmcb12 = &vmcb12;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_INTR));
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_NMI));
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_NMI, true);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_CR8_WRITE, true);
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_INTR));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_NMI));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_CR8_WRITE));
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_CR8_READ));
}

/* [APM 2 "Virtualizing APIC.TPR"]: with V_INTR_MASKING the host's IF decides, which is L1's. */
static void l1s_if_decides_with_masking(void **state)
{
    (void)state;
    irq.vmcb12 = &vmcb12;
    vmcb12.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_true(masks(&vmcb02));
    irq.l1_if = false;
    assert_false(nvi_svm_set_interrupts(&irq, &vmcb02));
    vmcb12.int_ctl = 0;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_false(masks(&vmcb02));
}

static void l2_that_cleared_gif_is_shielded(void **state)
{
    (void)state;
    irq.vmcb12 = &vmcb12;
    irq.gif = false;
    irq.v_irq = true;
    assert_false(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_NMI));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_CR8_READ));
    assert_true(masks(&vmcb02));
    assert_int_equal(vmcb02.int_ctl & NVIRT_SVM_V_IRQ, 0);
    vmcb12.int_ctl = NVIRT_SVM_V_INTR_MASKING; /* L2 has a TPR of its own then */
    assert_false(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_CR8_READ));
}

static void virtual_interrupts_of_l1s_pass(void **state)
{
    (void)state;
    irq.vmcb12 = &vmcb12;
    irq.v_irq = true;
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_int_equal(vmcb02.int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_VINTR));
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_VINTR, true);
    irq.v_irq = false;
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_int_equal(vmcb02.int_ctl & NVIRT_SVM_V_IRQ, 0);
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_VINTR));
}

/* A host that keeps interrupts loses none to L2, whatever L1 asks for. */
static void a_host_that_owns_interrupts_keeps_them(void **state)
{
    (void)state;
    irq.pass_through = false;
    irq.vmcb12 = &vmcb12;
    irq.l1_if = false;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb02));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_INTR));
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_NMI));
    assert_true(masks(&vmcb02));
}

/* CVE-2017-12154: without a TPR of its own, L2's CR8 is L1's, which L0 may intercept. */
static void cr8_without_own_tpr_is_treated_as_l1s(void **state)
{
    (void)state;
    irq.pass_through = false;
    irq.vmcb12 = &vmcb12;
    nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_CR8_WRITE, true);
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_CR8_WRITE));
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_CR8_READ));
    vmcb12.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_false(has(&vmcb02, NVIRT_SVM_EXIT_CR8_WRITE));
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_CR8_WRITE, true);
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_CR8_WRITE));
}

static void vmcb01_of_such_a_host_is_left_alone(void **state)
{
    struct nvirt_vmcb before;

    (void)state;
    irq.pass_through = false;
    irq.gif = false;
    vmcb01.int_ctl = NVIRT_SVM_V_INTR_MASKING | 5;
    nvirt_svm_intercepts_require(&vmcb01);
    before = vmcb01;
    assert_true(nvi_svm_set_interrupts(&irq, &vmcb01));
    assert_memory_equal(&before, &vmcb01, sizeof before);
}

static void a_window_is_a_virtual_interrupt_nobody_takes(void **state)
{
    (void)state;
    irq.window = true;
    nvi_svm_set_interrupts(&irq, &vmcb01);
    assert_true(has(&vmcb01, NVIRT_SVM_EXIT_VINTR));
    assert_int_equal(vmcb01.int_ctl & (NVIRT_SVM_V_IRQ | NVIRT_SVM_V_IGN_TPR),
                     NVIRT_SVM_V_IRQ | NVIRT_SVM_V_IGN_TPR);
    irq.vmcb12 = &vmcb12;
    irq.v_irq = true;
    vmcb02.int_ctl = UINT64_C(0x33) << NVIRT_SVM_V_INTR_VECTOR_SHIFT;
    nvi_svm_set_interrupts(&irq, &vmcb02);
    assert_true(has(&vmcb02, NVIRT_SVM_EXIT_VINTR));
    /* L1's own interrupt serves, and is not lost. */
    assert_int_equal(vmcb02.int_ctl, UINT64_C(0x33) << NVIRT_SVM_V_INTR_VECTOR_SHIFT |
                                         NVIRT_SVM_V_IRQ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(intercepts_are_the_union, setup),
        cmocka_unit_test_setup(every_intercept_of_l1_is_kept, setup),
        cmocka_unit_test_setup(l1s_choice_of_mwait_intercepts_stands_alone, setup),
        cmocka_unit_test_setup(undefined_intercepts_do_not_pass, setup),
        cmocka_unit_test_setup(svm_instructions_and_shutdown_are_always_intercepted, setup),
        cmocka_unit_test_setup(only_named_bits_of_int_ctl_pass, setup),
        cmocka_unit_test_setup(addresses_and_asid_are_l0s, setup),
        cmocka_unit_test_setup(tsc_offsets_add_up, setup),
        cmocka_unit_test_setup(tsc_steps_compose, setup),
        cmocka_unit_test_setup(virtual_nmis_pass_where_they_were_offered, setup),
        cmocka_unit_test_setup(registers_are_l2s, setup),
        cmocka_unit_test_setup(lma_follows_lme_and_paging, setup),
        cmocka_unit_test_setup(events_pass_without_reserved_bits, setup),
        cmocka_unit_test_setup(next_rip_is_an_input_only_where_offered, setup),
        cmocka_unit_test_setup(pat_is_l2s_with_nested_paging_else_l1s, setup),
        cmocka_unit_test_setup(pause_filter_is_l0s_unless_l1_wants_every_pause, setup),
        cmocka_unit_test_setup(pause_filter_is_l1s_where_it_was_offered, setup),
        cmocka_unit_test_setup(controls_can_be_merged_alone, setup),
        cmocka_unit_test_setup(clean_bits_go_only_with_changes, setup),
        cmocka_unit_test_setup(l1_with_gif_takes_its_own_interrupts, setup_interrupts),
        cmocka_unit_test_setup(l1_without_gif_is_shielded, setup_interrupts),
        cmocka_unit_test_setup(l2_interrupts_are_as_l1_says, setup_interrupts),
        cmocka_unit_test_setup(l1s_if_decides_with_masking, setup_interrupts),
        cmocka_unit_test_setup(l2_that_cleared_gif_is_shielded, setup_interrupts),
        cmocka_unit_test_setup(virtual_interrupts_of_l1s_pass, setup_interrupts),
        cmocka_unit_test_setup(a_host_that_owns_interrupts_keeps_them, setup_interrupts),
        cmocka_unit_test_setup(cr8_without_own_tpr_is_treated_as_l1s, setup_interrupts),
        cmocka_unit_test_setup(vmcb01_of_such_a_host_is_left_alone, setup_interrupts),
        cmocka_unit_test_setup(a_window_is_a_virtual_interrupt_nobody_takes, setup_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
