/* SPDX-License-Identifier: MIT */
/* EFER, VM_CR, VM_HSAVE_PA and SVM_KEY as L1 sees them. [APM 2 "SVM Related MSRs"] */
#include "svm_world.h"

static uint64_t rdmsr(struct world *w, uint32_t msr)
{
    assert_int_equal(msr_access(w, msr, false), NVIRT_VERDICT_DONE);
    assert_int_equal(nvi_svm_current(w->v)->event_inj, EVENT_NONE);
    return (w->gprs.r[NVIRT_RDX] << 32) | (nvi_svm_current(w->v)->rax & 0xffffffff);
}

static void write_value(struct world *w, uint32_t msr, uint64_t value)
{
    nvi_svm_current(w->v)->event_inj = 0;
    nvi_svm_current(w->v)->rax = value & 0xffffffff;
    w->gprs.r[NVIRT_RDX] = value >> 32;
    assert_int_equal(msr_access(w, msr, true), NVIRT_VERDICT_DONE);
}

static void wrmsr(struct world *w, uint32_t msr, uint64_t value)
{
    uint64_t rip = nvi_svm_current(w->v)->rip;

    write_value(w, msr, value);
    assert_int_equal(nvi_svm_current(w->v)->event_inj, EVENT_NONE);
    assert_int_equal(nvi_svm_current(w->v)->rip, rip + 2);
}

static void wrmsr_faults(struct world *w, uint32_t msr, uint64_t value)
{
    uint64_t rip = nvi_svm_current(w->v)->rip;

    write_value(w, msr, value);
    assert_int_equal(nvi_svm_current(w->v)->event_inj, EVENT_GP);
    assert_int_equal(nvi_svm_current(w->v)->rip, rip);
    nvi_svm_current(w->v)->event_inj = 0;
}

#define EFER_ON (NVIRT_EFER_SVME | NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_NXE)

static void other_msrs_are_the_hosts(void **state)
{
    struct world *w = *state;

    assert_int_equal(msr_access(w, 0x1b, false), NVIRT_VERDICT_L1);
    assert_int_equal(msr_access(w, NVIRT_SVM_MSR_KEY, true), NVIRT_VERDICT_L1); /* not offered */
}

static void svme_is_l1s_own_bit(void **state)
{
    struct world *w = *state;

    assert_int_equal(rdmsr(w, NVIRT_MSR_EFER), EFER_ON);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_SVME);
    assert_false(w->v->svme);
    assert_int_equal(w->vmcb01->efer, EFER_ON); /* hardware needs it set */
    assert_int_equal(rdmsr(w, NVIRT_MSR_EFER), EFER_ON & ~NVIRT_EFER_SVME);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON);
    assert_true(w->v->svme);
}

static void clearing_svme_sets_gif_and_drops_pins(void **state)
{
    struct world *w = *state;

    w->vmcb01->rax = SAVE_AREA;
    execute(w, NVIRT_SVM_EXIT_VMSAVE);
    assert_int_equal(pins_held(w), 1);
    execute(w, NVIRT_SVM_EXIT_CLGI);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_SVME);
    assert_true(w->v->gif);
    assert_int_equal(w->port->pins, 0);
}

static void efer_refuses_what_was_not_offered(void **state)
{
    struct world *w = *state;

    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t changed = EFER_ON | NVIRT_BIT(bit);

        if ((changed & ~w->offer.efer_valid) != 0) {
            wrmsr_faults(w, NVIRT_MSR_EFER, changed);
        } else {
            wrmsr(w, NVIRT_MSR_EFER, changed);
        }
    }
}

static void lme_cannot_change_under_paging(void **state)
{
    struct world *w = *state;

    wrmsr_faults(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_LME);
    w->vmcb01->cr0 = NVIRT_CR0_PE;
    w->vmcb01->efer &= ~NVIRT_EFER_LMA;
    w->vmcb01->cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    wrmsr(w, NVIRT_MSR_EFER, NVIRT_EFER_SVME | NVIRT_EFER_LMA);
    assert_int_equal(w->vmcb01->efer, NVIRT_EFER_SVME); /* LMA is the CPU's */
}

static void nxe_changes_flush_the_level_that_runs(void **state)
{
    struct world *w = *state;

    prepare(w);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_NOTHING);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_NXE);
    prepare(w);
    assert_int_equal(w->vmcb01->tlb_control, NVIRT_SVM_TLB_ASID);
}

static void l2_writes_its_own_efer(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    wrmsr(w, NVIRT_MSR_EFER, NVIRT_EFER_LME | NVIRT_EFER_LMA);
    assert_int_equal(vmcb02(w)->efer, NVIRT_EFER_SVME | NVIRT_EFER_LME | NVIRT_EFER_LMA);
    assert_int_equal(w->vmcb01->efer, EFER_ON);
    assert_true(w->v->svme);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID); /* NXE changed */
    hardware_exit(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    wrmsr_faults(w, NVIRT_MSR_EFER, NVIRT_BIT(1));
}

static void vm_cr_has_five_bits(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    for (unsigned bit = 5; bit < 64; bit++) {
        wrmsr_faults(w, NVIRT_SVM_MSR_VM_CR, NVIRT_BIT(bit));
    }
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, 0x17);
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_VM_CR), 0x17);
}

static void svmdis_and_svme_exclude_each_other(void **state)
{
    struct world *w = *state;

    wrmsr_faults(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_SVMDIS);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_SVME);
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_SVMDIS);
    wrmsr_faults(w, NVIRT_MSR_EFER, EFER_ON);
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, 0);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON);
}

/* [APM 2 "SVM Related MSRs"]: #GP whatever VM_CR.LOCK is, which has other writes ignored. */
static void svmdis_faults_under_svme_also_when_locked(void **state)
{
    struct world *w = *state;

    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_LOCK);
    wrmsr_faults(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_SVMDIS);
    wrmsr(w, NVIRT_MSR_EFER, EFER_ON & ~NVIRT_EFER_SVME);
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_SVMDIS);
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_VM_CR), NVIRT_SVM_VM_CR_LOCK);
}

/* [APM 2 "SVM Related MSRs"]: INIT clears SVMDIS unless it is locked, and never LOCK. */
static void an_init_clears_svmdis_unless_locked(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_SVMDIS | NVIRT_SVM_VM_CR_R_INIT);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(w->v->vm_cr, 0);
    w->v->vm_cr = NVIRT_SVM_VM_CR_SVMDIS | NVIRT_SVM_VM_CR_LOCK;
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(w->v->vm_cr, NVIRT_SVM_VM_CR_SVMDIS | NVIRT_SVM_VM_CR_LOCK);
}

static void a_locked_vm_cr_keeps_lock_and_svmdis(void **state)
{
    struct world *w = *state;

    w->v->svme = false;
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_LOCK | NVIRT_SVM_VM_CR_SVMDIS);
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_DPD);
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_VM_CR),
                     NVIRT_SVM_VM_CR_LOCK | NVIRT_SVM_VM_CR_SVMDIS | NVIRT_SVM_VM_CR_DPD);
}

static void the_key_opens_the_lock(void **state)
{
    struct world *w = *state;

    w->v->offer.features |= NVIRT_SVM_FEATURE_SVM_LOCK;
    wrmsr(w, NVIRT_SVM_MSR_KEY, 0x1122334455667788);
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_KEY), 0);
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_LOCK);
    wrmsr(w, NVIRT_SVM_MSR_KEY, 0x1122334455667789);
    assert_int_equal(w->v->vm_cr, NVIRT_SVM_VM_CR_LOCK);
    wrmsr(w, NVIRT_SVM_MSR_KEY, 0x1122334455667788);
    assert_int_equal(w->v->vm_cr, 0);
}

static void a_zero_key_opens_nothing(void **state)
{
    struct world *w = *state;

    w->v->offer.features |= NVIRT_SVM_FEATURE_SVM_LOCK;
    wrmsr(w, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_VM_CR_LOCK);
    wrmsr(w, NVIRT_SVM_MSR_KEY, 0);
    assert_int_equal(w->v->vm_cr, NVIRT_SVM_VM_CR_LOCK);
}

static void hsave_pa_is_a_page_address(void **state)
{
    struct world *w = *state;

    wrmsr(w, NVIRT_SVM_MSR_HSAVE_PA, 0x123000);
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_HSAVE_PA), 0x123000);
    wrmsr_faults(w, NVIRT_SVM_MSR_HSAVE_PA, 0x123001);
    wrmsr_faults(w, NVIRT_SVM_MSR_HSAVE_PA, 0x123800);
    wrmsr_faults(w, NVIRT_SVM_MSR_HSAVE_PA, NVIRT_BIT(40));
    wrmsr_faults(w, NVIRT_SVM_MSR_HSAVE_PA, NVIRT_BIT(63));
    assert_int_equal(rdmsr(w, NVIRT_SVM_MSR_HSAVE_PA), 0x123000);
}

/* Nothing of the host's, or of L1's own state, is ever stored where L1 says. */
static void nothing_is_stored_in_the_save_area(void **state)
{
    struct world *w = *state;
    uint8_t page[4096], zero[4096] = {0};

    wrmsr(w, NVIRT_SVM_MSR_HSAVE_PA, 0x123000);
    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    fake_vm_get(w->port, 0x123000, page, sizeof page);
    assert_memory_equal(page, zero, sizeof page);
}

static void changed_bytes_do_nothing(void **state)
{
    struct world *w = *state;
    static const uint8_t nop[] = {0x90, 0x90};

    fake_vm_put(w->port, L1_RIP, nop, 2);
    w->gprs.r[NVIRT_RCX] = NVIRT_SVM_MSR_HSAVE_PA;
    w->vmcb01->rax = 0x5000;
    step(w, NVIRT_SVM_EXIT_MSR, 1, 0);
    assert_int_equal(w->v->hsave_pa, 0);
    assert_int_equal(w->vmcb01->rip, L1_RIP);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(other_msrs_are_the_hosts),
        T(svme_is_l1s_own_bit),
        T(clearing_svme_sets_gif_and_drops_pins),
        T(efer_refuses_what_was_not_offered),
        T(lme_cannot_change_under_paging),
        T(nxe_changes_flush_the_level_that_runs),
        T(l2_writes_its_own_efer),
        T(vm_cr_has_five_bits),
        T(svmdis_and_svme_exclude_each_other),
        T(svmdis_faults_under_svme_also_when_locked),
        T(an_init_clears_svmdis_unless_locked),
        T(a_locked_vm_cr_keeps_lock_and_svmdis),
        T(the_key_opens_the_lock),
        T(a_zero_key_opens_nothing),
        T(hsave_pa_is_a_page_address),
        T(nothing_is_stored_in_the_save_area),
        T(changed_bytes_do_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
