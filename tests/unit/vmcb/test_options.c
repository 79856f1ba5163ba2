/* SPDX-License-Identifier: MIT */
/*
 * Features that only some CPUs have: whose state L2 runs with, where it goes at #VMEXIT, and that
 * nothing of what L1 was not offered reaches hardware.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmcb/vmcb_core.h"

#include <nvirt/svm.h>

/* Of a host that asks for nothing. */
static const struct nvirt_vmcb no_vmcb01;

static struct nvirt_vmcb vmcb12, vmcb01, vmcb02, page;
static struct nvirt_svm_caps offer;
static struct nvi_svm_merge_in in;

static int setup(void **state)
{
    (void)state;
    memset(&vmcb12, 0, sizeof vmcb12);
    memset(&vmcb01, 0, sizeof vmcb01);
    memset(&vmcb02, 0, sizeof vmcb02);
    memset(&page, 0, sizeof page);
    memset(&offer, 0, sizeof offer);
    offer.features = NVIRT_SVM_FEATURE_NP;
    in.vmcb12 = &vmcb12;
    in.vmcb01 = &vmcb01;
    in.offer = &offer;
    in.fresh = NVIRT_VMCB_CLEAN_ALL;
    in.tsc_ratio12 = NVIRT_SVM_TSC_RATIO_ONE;
    return 0;
}

static void enter(void)
{
    nvi_svm_merge(&in, &vmcb02);
    nvi_svm_merge_option_state(&in, &vmcb02);
}

/* ---- VMLOAD and VMSAVE ---- */

/* [APM 2 "VMSAVE and VMLOAD Virtualization"]: with the bit, with nested paging, and where L1 intercepts
 * neither, L2 executes them on hardware. */
static void vmload_runs_on_hardware_where_l1_turned_it_on(void **state)
{
    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD;
    vmcb12.np_control = NVIRT_SVM_NP_ENABLE;
    vmcb12.virt_ext = NVIRT_SVM_VIRTUAL_VMLOAD;
    nvirt_svm_intercepts_require(&vmcb01);
    enter();
    assert_int_equal(vmcb02.virt_ext, NVIRT_SVM_VIRTUAL_VMLOAD);
    assert_false(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMLOAD));
    assert_false(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMSAVE));
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMRUN));
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_VMSAVE, true);
    enter();
    assert_false(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMLOAD));
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMSAVE));
}

/* Without tables of L1's the address would be one of L1's memory; without the offer it is no feature. */
static void vmload_is_intercepted_otherwise(void **state)
{
    (void)state;
    for (unsigned lacks = 0; lacks < 3; lacks++) {
        setup(NULL);
        offer.features |= lacks == 0 ? 0 : NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD;
        vmcb12.np_control = lacks == 1 ? 0 : NVIRT_SVM_NP_ENABLE;
        vmcb12.virt_ext = lacks == 2 ? 0 : NVIRT_SVM_VIRTUAL_VMLOAD;
        enter();
        assert_int_equal(vmcb02.virt_ext, 0);
        assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMLOAD));
        assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_VMSAVE));
    }
}

/* ---- last branches ---- */

static void fill_lbr(struct nvirt_vmcb *vmcb, uint64_t base)
{
    vmcb->dbgctl = (base | 3) & NVIRT_SVM_DEBUGCTL_VALID;
    vmcb->br_from = base + 1;
    vmcb->br_to = base + 2;
    vmcb->last_excp_from = base + 3;
    vmcb->last_excp_to = base + 4;
}

static void expect_lbr(const struct nvirt_vmcb *vmcb, uint64_t base)
{
    assert_int_equal(vmcb->dbgctl, (base | 3) & NVIRT_SVM_DEBUGCTL_VALID);
    assert_int_equal(vmcb->br_from, base + 1);
    assert_int_equal(vmcb->br_to, base + 2);
    assert_int_equal(vmcb->last_excp_from, base + 3);
    assert_int_equal(vmcb->last_excp_to, base + 4);
}

/* [APM 2 "Last Branch Record Virtualization"]: loaded from and stored to vmcb12; L1's stay what they
 * are, also where L0 keeps L1's in vmcb01. */
static void last_branches_are_l2s_own_where_l1_turned_them_on(void **state)
{
    (void)state;
    for (unsigned l0_uses = 0; l0_uses < 2; l0_uses++) {
        setup(NULL);
        offer.features |= NVIRT_SVM_FEATURE_LBR;
        vmcb12.virt_ext = NVIRT_SVM_LBR_ENABLE;
        vmcb01.virt_ext = l0_uses != 0 ? NVIRT_SVM_LBR_ENABLE : 0;
        fill_lbr(&vmcb12, 0x1200);
        fill_lbr(&vmcb01, 0x0100);
        enter();
        assert_int_equal(vmcb02.virt_ext, NVIRT_SVM_LBR_ENABLE);
        expect_lbr(&vmcb02, 0x1200);
        fill_lbr(&vmcb02, 0x7770);
        nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
        expect_lbr(&page, 0x7770);
        expect_lbr(&vmcb01, 0x0100);
        nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, NULL);
        expect_lbr(&vmcb01, 0x0100);
    }
}

/* Where L1 does not, there is one DEBUGCTL for both levels: L1's, which L0 may keep in vmcb01. */
static void last_branches_are_shared_with_l1_otherwise(void **state)
{
    (void)state;
    vmcb12.virt_ext = NVIRT_SVM_LBR_ENABLE; /* not offered */
    vmcb01.virt_ext = NVIRT_SVM_LBR_ENABLE;
    fill_lbr(&vmcb12, 0x1200);
    fill_lbr(&vmcb01, 0x0100);
    enter();
    assert_int_equal(vmcb02.virt_ext, NVIRT_SVM_LBR_ENABLE);
    expect_lbr(&vmcb02, 0x0100);
    fill_lbr(&vmcb02, 0x7770);
    nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
    expect_lbr(&vmcb01, 0x7770);
    assert_int_equal(page.br_from, 0);
    vmcb01.virt_ext = 0;
    enter();
    assert_int_equal(vmcb02.virt_ext, 0);
}

static void reserved_bits_of_debugctl_do_not_pass(void **state)
{
    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_LBR;
    vmcb12.virt_ext = NVIRT_SVM_LBR_ENABLE;
    vmcb12.dbgctl = ~UINT64_C(0);
    enter();
    assert_int_equal(vmcb02.dbgctl, NVIRT_SVM_DEBUGCTL_VALID);
}

/* ---- SPEC_CTRL ---- */

/* [APM 2 "SPEC_CTRL Virtualization"]: L2 has one of its own when L1 was told so, with no reserved bit. */
static void spec_ctrl_is_l2s_own_where_it_was_offered(void **state)
{
    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_SPEC_CTRL;
    vmcb12.spec_ctrl = ~UINT64_C(0);
    vmcb01.spec_ctrl = 4;
    enter();
    assert_int_equal(vmcb02.spec_ctrl, NVIRT_SVM_SPEC_CTRL_VALID);
    vmcb02.spec_ctrl = 2;
    nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
    assert_int_equal(page.spec_ctrl, 2);
    assert_int_equal(vmcb01.spec_ctrl, 4);
}

/* On such a CPU L1, which was not told, believes in one SPEC_CTRL: what it set holds for L2, and what L2
 * set holds for L1. */
static void spec_ctrl_is_shared_with_l1_otherwise(void **state)
{
    (void)state;
    vmcb12.spec_ctrl = 1;
    vmcb01.spec_ctrl = 4;
    enter();
    assert_int_equal(vmcb02.spec_ctrl, 4);
    vmcb02.spec_ctrl = 2;
    nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
    assert_int_equal(page.spec_ctrl, 0);
    assert_int_equal(vmcb01.spec_ctrl, 2);
}

/* ---- bus locks ---- */

static void count_bus_locks(uint16_t used)
{
    uint16_t allowed = vmcb02.bus_lock_count;

    vmcb02.bus_lock_count = (uint16_t)(allowed - used);
    nvi_svm_count_bus_locks(&in, allowed, &vmcb02, &vmcb12, &vmcb01);
}

/* [APM 2 "Bus Lock Threshold"] */
static void bus_locks_are_counted_for_l1(void **state)
{
    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_BUS_LOCK;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true);
    vmcb12.bus_lock_count = 5;
    vmcb01.bus_lock_count = 3; /* of no meaning: L0 does not intercept */
    enter();
    nvi_svm_merge_bus_locks(&in, &vmcb02);
    assert_true(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_BUS_LOCK));
    assert_int_equal(vmcb02.bus_lock_count, 5);
    count_bus_locks(2);
    assert_int_equal(vmcb12.bus_lock_count, 3);
    assert_int_equal(vmcb01.bus_lock_count, 3);
    nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
    assert_int_equal(page.bus_lock_count, 3);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true), NVI_SVM_HOST);
    vmcb12.bus_lock_count = 0;
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true), NVI_SVM_REFLECT);
}

/* An L1 that allows its L2 more than L0 allows L1 does not get it; each sees its own count run out. */
static void bus_locks_are_counted_for_both_levels(void **state)
{
    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_BUS_LOCK;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true);
    nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_BUS_LOCK, true);
    vmcb12.bus_lock_count = 0xffff;
    vmcb01.bus_lock_count = 4;
    nvi_svm_merge_bus_locks(&in, &vmcb02);
    assert_int_equal(vmcb02.bus_lock_count, 4);
    count_bus_locks(4);
    assert_int_equal(vmcb12.bus_lock_count, 0xfffb);
    assert_int_equal(vmcb01.bus_lock_count, 0);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true), NVI_SVM_HOST);
    vmcb01.bus_lock_count = 10; /* the host gives more */
    vmcb12.bus_lock_count = 7;
    nvi_svm_merge_bus_locks(&in, &vmcb02);
    assert_int_equal(vmcb02.bus_lock_count, 7);
    count_bus_locks(7);
    assert_int_equal(vmcb01.bus_lock_count, 3);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true), NVI_SVM_REFLECT);
}

/* An intercept that L1 was not offered neither reaches hardware nor makes an exit of L0's L1's. */
static void bus_locks_not_offered_are_l0s(void **state)
{
    (void)state;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true);
    enter();
    assert_false(nvirt_vmcb_intercepts(&vmcb02, NVIRT_SVM_EXIT_BUS_LOCK));
    nvi_svm_hide_intercepts(&offer, &vmcb12);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_BUS_LOCK, true), NVI_SVM_HOST);
    nvirt_vmcb_intercept(&vmcb01, NVIRT_SVM_EXIT_BUS_LOCK, true);
    vmcb01.bus_lock_count = 9;
    vmcb12.bus_lock_count = 1;
    nvi_svm_merge_bus_locks(&in, &vmcb02);
    assert_int_equal(vmcb02.bus_lock_count, 9);
    nvi_svm_save_option_state(&in, &vmcb02, &vmcb01, &page);
    assert_int_equal(page.bus_lock_count, 0);
}

/* ---- what VMRUN reads ---- */

static void options_are_read_where_they_are_offered_and_on(void **state)
{
    (void)state;
    memset(&page, 0xa5, sizeof page);
    assert_int_equal(nvi_svm_snapshot_options(&page, &offer, &vmcb12), 0);
    offer.features |= NVIRT_SVM_FEATURE_LBR | NVIRT_SVM_FEATURE_SPEC_CTRL;
    assert_int_equal(nvi_svm_snapshot_options(&page, &offer, &vmcb12), 8);
    assert_int_equal(vmcb12.spec_ctrl, page.spec_ctrl);
    assert_int_equal(vmcb12.dbgctl, 0);
    vmcb12.virt_ext = NVIRT_SVM_LBR_ENABLE;
    assert_int_equal(nvi_svm_snapshot_options(&page, &offer, &vmcb12), 48);
    assert_int_equal(vmcb12.dbgctl, page.dbgctl);
    assert_int_equal(vmcb12.last_excp_to, page.last_excp_to);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, setup)
    const struct CMUnitTest tests[] = {
        T(vmload_runs_on_hardware_where_l1_turned_it_on),
        T(vmload_is_intercepted_otherwise),
        T(last_branches_are_l2s_own_where_l1_turned_them_on),
        T(last_branches_are_shared_with_l1_otherwise),
        T(reserved_bits_of_debugctl_do_not_pass),
        T(spec_ctrl_is_l2s_own_where_it_was_offered),
        T(spec_ctrl_is_shared_with_l1_otherwise),
        T(bus_locks_are_counted_for_l1),
        T(bus_locks_are_counted_for_both_levels),
        T(bus_locks_not_offered_are_l0s),
        T(options_are_read_where_they_are_offered_and_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
