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

/* Which fields VMRUN looks at, by the rows of the field table. */
#define LOOKED_AT_CONTROL true
#define LOOKED_AT_UPDATED true
#define LOOKED_AT_STATE true
#define LOOKED_AT_EXIT false
#define LOOKED_AT_LOAD false
#define LOOKED_AT_OPTION false
#define LOOKED_AT_NEVER false

struct row {
    const char *name;
    size_t offset, bytes;
    uint32_t group;
    bool looked_at;
};

static const struct row rows[] = {
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text)                            \
    {#name, offset, bytes, NVIRT_VMCB_CLEAN_##clean, LOOKED_AT_##moves},
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text)                                       \
    {#name, offset, 16, NVIRT_VMCB_CLEAN_##clean, LOOKED_AT_##moves},
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text)                     \
    {#name, offset, bytes, NVIRT_VMCB_CLEAN_##clean, LOOKED_AT_##moves},
#define NVIRT_VMCB_RESERVED(name, offset, bytes) {#name, offset, bytes, 0, false},
#include <nvirt/vmcb_fields.def>
};
#define ROWS (sizeof rows / sizeof rows[0])

/* next_rip is the return address of an injected software interrupt; the clean word itself is read by
 * the caller, first. */
static bool is_looked_at(const struct row *row)
{
    if (row->offset == offsetof(struct nvirt_vmcb, next_rip)) {
        return true;
    }
    return row->looked_at && row->offset != offsetof(struct nvirt_vmcb, clean);
}

static bool was_copied(const struct row *row)
{
    return ((const uint8_t *)&vmcb12)[row->offset] == 0xa5;
}

/* [APM 2 "VMCB Clean Field"]: each field by its own bit, the uncovered ones always, no others. */
static void snapshot_reads_the_groups_that_are_not_clean(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= 13; i++) {
        uint32_t fresh = i < 13 ? 1u << i : NVIRT_VMCB_CLEAN_ALL;
        size_t bytes = 0;
        uint32_t read, unchanged;

        memset(&vmcb12, 0, sizeof vmcb12);
        read = nvi_svm_snapshot(&page, fresh, &vmcb12, &unchanged);
        assert_int_equal(unchanged, 0);
        for (size_t j = 0; j < ROWS; j++) {
            bool wanted = is_looked_at(&rows[j]) &&
                          (rows[j].group == 0 || (rows[j].group & fresh) != 0);

            if (was_copied(&rows[j]) != wanted) {
                fail_msg("%s with fresh groups 0x%x", rows[j].name, fresh);
            }
            bytes += wanted ? rows[j].bytes : 0;
        }
        assert_int_equal(read, bytes);
    }
}

#define CONTROLS                                                                                   \
    (NVIRT_VMCB_CLEAN_INTERCEPTS | NVIRT_VMCB_CLEAN_IOPM | NVIRT_VMCB_CLEAN_ASID |                 \
     NVIRT_VMCB_CLEAN_TPR | NVIRT_VMCB_CLEAN_NP)

/* A group of controls is unchanged when every field of it is. */
static void unchanged_controls_are_told(void **state)
{
    uint32_t unchanged;

    (void)state;
    for (size_t j = 0; j < ROWS; j++) {
        if (!is_looked_at(&rows[j]) || (rows[j].group & CONTROLS) == 0) {
            continue;
        }
        vmcb12 = page;
        nvi_svm_snapshot(&page, NVIRT_VMCB_CLEAN_ALL, &vmcb12, &unchanged);
        assert_int_equal(unchanged, CONTROLS);
        ((uint8_t *)&vmcb12)[rows[j].offset + rows[j].bytes - 1] ^= 1;
        nvi_svm_snapshot(&page, NVIRT_VMCB_CLEAN_ALL, &vmcb12, &unchanged);
        assert_int_equal(unchanged, CONTROLS & ~rows[j].group);
    }
    vmcb12 = page;
    nvi_svm_snapshot(&page, NVIRT_VMCB_CLEAN_ASID, &vmcb12, &unchanged);
    assert_int_equal(unchanged, NVIRT_VMCB_CLEAN_ASID);
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

static const struct nvi_svm_exit_info ones = {
    UINT64_C(0x7777777777777777), UINT64_C(0x7777777777777777), UINT64_C(0x7777777777777777),
    UINT64_C(0x7777777777777777)};
static struct nvi_svm_write_back_in back = {&vmcb12, &vmcb02, &offer, &ones};

static void only_the_fields_of_vmexit_are_written(void **state)
{
    const uint8_t *bytes = (const uint8_t *)&page;

    (void)state;
    offer.features |= NVIRT_SVM_FEATURE_NRIPS | NVIRT_SVM_FEATURE_DECODE_ASSISTS;
    memset(&vmcb02, 0x77, sizeof vmcb02);
    memset(&vmcb12, 0x77, sizeof vmcb12);
    vmcb02.int_state = NVIRT_SVM_INTERRUPT_SHADOW;
    nvi_svm_write_back(&back, &page);
    assert_int_equal(page.int_state, NVIRT_SVM_INTERRUPT_SHADOW);
    memset(&page.int_state, 0x77, sizeof page.int_state);
    for (size_t i = 0; i < sizeof page; i++) {
        bool expected = in_ranges(i, written, sizeof written / sizeof written[0]);

        assert_int_equal(bytes[i], expected ? 0x77 : 0xa5);
    }
}

static void features_not_offered_write_nothing(void **state)
{
    (void)state;
    memset(&vmcb02, 0x77, sizeof vmcb02);
    vmcb12.np_control = 0;
    nvi_svm_write_back(&back, &page);
    assert_int_equal(page.next_rip, UINT64_C(0xa5a5a5a5a5a5a5a5));
    assert_int_equal(page.insn_count, 0xa5);
    assert_int_equal(page.g_pat, UINT64_C(0xa5a5a5a5a5a5a5a5));
    vmcb12.np_control = NVIRT_SVM_NP_ENABLE;
    nvi_svm_write_back(&back, &page);
    assert_int_equal(page.g_pat, UINT64_C(0x7777777777777777));
}

static void guest_state_is_saved(void **state)
{
    const struct nvi_svm_exit_info info = {0x72, 1, 2, 3};

    (void)state;
    vmcb12.int_ctl = NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IRQ | 3;
    vmcb12.event_inj = NVIRT_SVM_EVENT_VALID | 0x30e;
    vmcb02.int_ctl = NVIRT_SVM_V_IGN_TPR | 9;
    vmcb02.int_state = ~UINT64_C(0);
    nvi_svm_save_guest(&vmcb02, &vmcb12);
    assert_int_equal(vmcb12.int_ctl, NVIRT_SVM_V_INTR_MASKING | 9);
    assert_int_equal(vmcb12.event_inj, 0x30e);
    /* What rules about two groups look at when one of them is clean. */
    assert_int_equal(vmcb12.efer, vmcb02.efer);
    assert_int_equal(vmcb12.cr0, vmcb02.cr0);
    assert_int_equal(vmcb12.cs.attrib, vmcb02.cs.attrib);
    back.info = &info;
    nvi_svm_write_back(&back, &page);
    back.info = &ones;
    assert_int_equal(page.exit_code, 0x72);
    assert_int_equal(page.exit_info1, 1);
    assert_int_equal(page.exit_info2, 2);
    assert_int_equal(page.exit_int_info, 3);
    assert_int_equal(page.int_ctl, NVIRT_SVM_V_INTR_MASKING | 9);
    assert_int_equal(page.int_state, NVIRT_SVM_INTERRUPT_SHADOW);
    assert_int_equal(page.event_inj, 0x30e);
    assert_int_equal(page.rip, UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(page.cr2, UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(page.cpl, 0x5a);
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
        cmocka_unit_test_setup(snapshot_reads_the_groups_that_are_not_clean, setup),
        cmocka_unit_test_setup(unchanged_controls_are_told, setup),
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
