/* SPDX-License-Identifier: MIT */
/*
 * What VMRUN reads of L1's page and what #VMEXIT writes there, byte for byte, and what L1 is left
 * with. [APM 2 "#VMEXIT"]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmcb/vmcb_core.h"

static struct nvirt_vmcb page, vmcb12, vmcb01, vmcb02;
static struct nvirt_svm_caps offer;

static int setup(void **state)
{
    (void)state;
    memset(&page, 0xa5, sizeof page);
    memset(&vmcb12, 0, sizeof vmcb12);
    memset(&vmcb01, 0, sizeof vmcb01);
    memset(&vmcb02, 0x5a, sizeof vmcb02);
    memset(&offer, 0, sizeof offer);
    offer.features = NVIRT_SVM_FEATURE_NP;
    return 0;
}

static void snapshot_takes_what_vmrun_reads_and_nothing_else(void **state)
{
    const uint8_t *bytes = (const uint8_t *)&vmcb12;

    (void)state;
    nvi_svm_snapshot(&page, &vmcb12);
    assert_int_equal(vmcb12.intercepts[0], 0xa5a5a5a5);
    assert_int_equal(vmcb12.asid, 0xa5a5a5a5);
    assert_int_equal(vmcb12.event_inj, UINT64_C(0xa5a5a5a5a5a5a5a5));
    assert_int_equal(vmcb12.rax, UINT64_C(0xa5a5a5a5a5a5a5a5));
    assert_int_equal(vmcb12.g_pat, UINT64_C(0xa5a5a5a5a5a5a5a5));
    for (size_t i = offsetof(struct nvirt_vmcb, avic_backing); i < 0x400; i++) {
        assert_int_equal(bytes[i], 0);
    }
    for (size_t i = offsetof(struct nvirt_vmcb, dbgctl); i < sizeof vmcb12; i++) {
        assert_int_equal(bytes[i], 0);
    }
}

struct range {
    size_t begin, end;
};

static bool in_ranges(size_t at, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (at >= ranges[i].begin && at < ranges[i].end) {
            return true;
        }
    }
    return false;
}

/* Everything #VMEXIT writes on a CPU with NRIPS and DecodeAssists, with nested paging. */
static const struct range written[] = {
    {0x060, 0x090}, {0x0a8, 0x0b0}, {0x0c8, 0x0e0}, {0x400, 0x440}, {0x460, 0x470},
    {0x480, 0x490}, {0x4cb, 0x4cc}, {0x4d0, 0x4d8}, {0x548, 0x580}, {0x5d8, 0x5e0},
    {0x5f8, 0x600}, {0x640, 0x648}, {0x668, 0x670},
};

static void only_the_fields_of_vmexit_are_written(void **state)
{
    const uint8_t *bytes = (const uint8_t *)&page;
    struct nvirt_vmcb snapshot;

    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_NRIPS | NVIRT_SVM_FEATURE_DECODE_ASSISTS;
    memset(&snapshot, 0x77, sizeof snapshot);
    nvi_svm_write_back(&snapshot, &offer, &page);
    for (size_t i = 0; i < sizeof page; i++) {
        bool expected = in_ranges(i, written, sizeof written / sizeof written[0]);

        assert_int_equal(bytes[i], expected ? 0x77 : 0xa5);
    }
}

static void features_not_offered_write_nothing(void **state)
{
    struct nvirt_vmcb snapshot;

    (void)state;
    memset(&snapshot, 0x77, sizeof snapshot);
    snapshot.np_control = 0;
    nvi_svm_write_back(&snapshot, &offer, &page);
    assert_int_equal(page.next_rip, UINT64_C(0xa5a5a5a5a5a5a5a5));
    assert_int_equal(page.insn_count, 0xa5);
    assert_int_equal(page.g_pat, UINT64_C(0xa5a5a5a5a5a5a5a5));
}

static void guest_state_is_saved(void **state)
{
    const struct nvi_svm_exit_info info = {0x72, 1, 2, 3};

    (void)state;
    vmcb12.int_ctl = NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IRQ | 3;
    vmcb12.event_inj = NVIRT_SVM_EVENT_VALID | 0x30e;
    vmcb02.int_ctl = NVIRT_SVM_V_IGN_TPR | 9;
    vmcb02.int_state = ~UINT64_C(0);
    vmcb12.fs.base = 0x111;
    nvi_svm_save_guest(&vmcb02, &offer, &info, &vmcb12);
    assert_int_equal(vmcb12.exit_code, 0x72);
    assert_int_equal(vmcb12.exit_info1, 1);
    assert_int_equal(vmcb12.exit_info2, 2);
    assert_int_equal(vmcb12.exit_int_info, 3);
    assert_int_equal(vmcb12.int_ctl, NVIRT_SVM_V_INTR_MASKING | 9);
    assert_int_equal(vmcb12.int_state, NVIRT_SVM_INTERRUPT_SHADOW);
    assert_int_equal(vmcb12.event_inj, 0x30e);
    assert_int_equal(vmcb12.rip, UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(vmcb12.cr2, UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(vmcb12.cpl, 0x5a);
    assert_int_equal(vmcb12.fs.base, 0x111); /* VMSAVE's */
    assert_int_equal(vmcb12.g_pat, 0);       /* without nested paging */
    vmcb12.np_control = NVIRT_SVM_NP_ENABLE;
    nvi_svm_save_guest(&vmcb02, &offer, &info, &vmcb12);
    assert_int_equal(vmcb12.g_pat, UINT64_C(0x5a5a5a5a5a5a5a5a));
}

static void a_refusal_writes_the_exit_code_only(void **state)
{
    static const struct range refusal[] = {{0x070, 0x090}};
    const uint8_t *bytes = (const uint8_t *)&page;

    (void)state;
    nvi_svm_write_refusal(&page);
    assert_int_equal(page.exit_code, ~UINT64_C(0));
    assert_int_equal(page.exit_info1, 0);
    assert_int_equal(page.exit_info2, 0);
    for (size_t i = 0; i < sizeof page; i++) {
        if (!in_ranges(i, refusal, 1)) {
            assert_int_equal(bytes[i], 0xa5);
        }
    }
}

/* CVE-2026-72287: of L1's registers only what #VMEXIT forces, or both levels share, changes. */
static void l1_gets_what_vmexit_forces(void **state)
{
    struct nvirt_vmcb before;

    (void)state;
    memset(&vmcb01, 0x33, sizeof vmcb01);
    vmcb01.rflags = NVIRT_RFLAGS_VM | 2;
    vmcb01.cr0 = NVIRT_CR0_PG;
    vmcb01.clean = NVIRT_VMCB_CLEAN_ALL;
    vmcb02.dr6 = 0x1111;
    vmcb02.cr2 = 0x2222;
    vmcb02.g_pat = 0x3333;
    before = vmcb01;
    nvi_svm_load_host(&vmcb02, true, &vmcb01);
    before.cr0 |= NVIRT_CR0_PE;
    before.rflags = 2;
    before.cpl = 0;
    before.dr7 = 0x400;
    before.dr6 = 0x1111;
    before.cr2 = 0x2222;
    before.int_state = 0;
    before.clean &= ~(NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_DRX | NVIRT_VMCB_CLEAN_CR2 |
                      NVIRT_VMCB_CLEAN_SEG);
    assert_memory_equal(&before, &vmcb01, sizeof before);
    nvi_svm_load_host(&vmcb02, false, &vmcb01);
    assert_int_equal(vmcb01.g_pat, 0x3333);
}

static void vmload_moves_its_fields_with_canonical_bases(void **state)
{
    static const struct range moved[] = {
        {0x440, 0x460}, {0x470, 0x480}, {0x490, 0x4a0}, {0x600, 0x640}};
    const uint8_t *bytes = (const uint8_t *)&vmcb01;

    (void)state;
    memset(&vmcb01, 0xee, sizeof vmcb01);
    memset(&page, 0, sizeof page);
    page.fs.base = 0x1234812345678000;
    page.gs.base = 0xffff7fffffffffff;
    page.kernel_gs_base = 0x0000912345678000;
    page.star = 0x1234567812345678;
    page.tr.selector = 0x40;
    nvi_svm_copy_vmload(&page, &vmcb01, 48);
    assert_int_equal(vmcb01.fs.base, 0xffff812345678000);
    assert_int_equal(vmcb01.gs.base, 0x00007fffffffffff);
    assert_int_equal(vmcb01.kernel_gs_base, 0xffff912345678000);
    assert_int_equal(vmcb01.star, 0x1234567812345678);
    assert_int_equal(vmcb01.tr.selector, 0x40);
    for (size_t i = 0; i < sizeof vmcb01; i++) {
        if (!in_ranges(i, moved, 4)) {
            assert_int_equal(bytes[i], 0xee);
        }
    }
    page.fs.base = 0x01ff812345678000;
    nvi_svm_copy_vmload(&page, &vmcb01, 57);
    assert_int_equal(vmcb01.fs.base, 0xffff812345678000);
}

/* An emulator calls an interrupted hardware interrupt an exception. */
static void misreported_events_are_put_right(void **state)
{
    const uint64_t valid = NVIRT_SVM_EVENT_VALID;

    (void)state;
    assert_int_equal(nvi_svm_normal_event(0x330), 0);
    assert_int_equal(nvi_svm_normal_event(valid | 0x330), valid | 0x030);
    assert_int_equal(nvi_svm_normal_event(valid | NVIRT_BIT(40) | 0xb30), valid | 0x030);
    assert_int_equal(nvi_svm_normal_event(valid | 0x302), valid | 0x202);
    assert_int_equal(nvi_svm_normal_event(valid | 0x30e | NVIRT_BIT(11) | NVIRT_BIT(33)),
                     valid | 0x30e | NVIRT_BIT(11) | NVIRT_BIT(33));
    assert_int_equal(nvi_svm_normal_event(valid | 0x480), valid | 0x480);
    assert_int_equal(nvi_svm_normal_event(valid | NVIRT_BIT(20) | 0x30d), valid | 0x30d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(snapshot_takes_what_vmrun_reads_and_nothing_else, setup),
        cmocka_unit_test_setup(only_the_fields_of_vmexit_are_written, setup),
        cmocka_unit_test_setup(features_not_offered_write_nothing, setup),
        cmocka_unit_test_setup(guest_state_is_saved, setup),
        cmocka_unit_test_setup(a_refusal_writes_the_exit_code_only, setup),
        cmocka_unit_test_setup(l1_gets_what_vmexit_forces, setup),
        cmocka_unit_test_setup(vmload_moves_its_fields_with_canonical_bases, setup),
        cmocka_unit_test_setup(misreported_events_are_put_right, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
