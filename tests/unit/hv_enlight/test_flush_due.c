/* SPDX-License-Identifier: MIT */
/* The flush queue at an entry: what waits becomes flushes, or is covered by one that is due. */
#include "../tlbflush/tlb_rig.h"

#include <nvirt/hyperv.h>

#define ROOT 3u

struct hv_rig {
    struct rig r;
    struct nvirt_hv_fifo fifo;
    struct nvirt_hv_slot slot[4];
};

static void hv_make(struct hv_rig *h, bool svm)
{
    make(&h->r, &all_caps, svm);
    assert_int_equal(nvirt_hv_fifo_init(&h->fifo, h->slot, 4), NVIRT_OK);
}

static void bind(struct hv_rig *h, uint32_t tag12)
{
    if (h->r.tlb.svm) {
        (void)nvirt_tlb_svm_enter_l2(&h->r.tlb, tag12, true, 0);
    } else {
        (void)nvirt_tlb_vmx_enter_l2(&h->r.tlb, true, (uint16_t)tag12);
    }
}

/* An entry of L2 with its queue; @p whole: everything due is carried out. */
static void hv_enter(struct hv_rig *h, uint32_t root, bool whole)
{
    const struct nvirt_tlb_entry entry = {.level = 2, .cpu = 0, .root = root, .eptp = 0x5000};

    nvirt_hv_flush_due(&h->fifo, &h->r.tlb, &entry, 48, &h->r.due);
    for (uint32_t i = 0; whole && i < h->r.due.count; i++) {
        nvirt_tlb_done(&h->r.tlb, 0, &h->r.due.op[i]);
    }
    if (whole) {
        nvirt_tlb_entered(&h->r.tlb, &entry);
    }
}

static void put(struct hv_rig *h, uint64_t entry)
{
    assert_true(nvirt_hv_fifo_put(&h->fifo, &entry, 1));
}

/* An L2 that ran and has nothing due. */
static void hv_settle(struct hv_rig *h, bool svm)
{
    hv_make(h, svm);
    bind(h, 7);
    hv_enter(h, ROOT, true);
    hv_enter(h, ROOT, true);
    assert_nothing(&h->r);
}

static uint64_t purged(const struct hv_rig *h)
{
    struct nvirt_hv_fifo_stats stats;

    nvirt_hv_fifo_stats(&h->fifo, &stats);
    return stats.purged;
}

static void test_pages_of_an_entry_are_flushed_one_by_one(void **state)
{
    struct hv_rig h;

    (void)state;
    for (uint32_t svm = 0; svm < 2; svm++) {
        hv_settle(&h, svm);
        put(&h, 0x7000 | 1); /* two pages */
        hv_enter(&h, ROOT, true);
        assert_int_equal(h.r.due.count, 2);
        assert_int_equal(h.r.due.op[0].kind,
                         svm ? NVIRT_FLUSH_ASID_ADDRESS : NVIRT_FLUSH_VPID_ADDRESS);
        assert_int_equal(h.r.due.op[0].operand, 0x7000);
        assert_int_equal(h.r.due.op[1].operand, 0x8000);
        hv_enter(&h, ROOT, true);
        assert_nothing(&h.r);
    }
}

static void test_many_pages_are_one_flush_of_the_tag(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    put(&h, 0x7000 | 0xfff);
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_VPID, 10);
}

static void test_overflow_is_one_flush_of_the_tag(void **state)
{
    uint64_t entries[5] = {0x1000, 0x2000, 0x3000, 0x4000, 0x5000};
    struct hv_rig h;

    (void)state;
    hv_settle(&h, true);
    assert_false(nvirt_hv_fifo_put(&h.fifo, entries, 5));
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_ASID, 10);
}

static void test_not_global_keeps_global_translations(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    nvirt_hv_fifo_put_all(&h.fifo, true);
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_VPID_NOT_GLOBAL, 10);
}

/* [APM 2 "TLB Flush"] An ASID's flush takes everything under it: what waits is covered. */
static void test_svm_any_flush_of_the_asid_purges(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, true);
    put(&h, 0x7000);
    nvirt_tlb_root_changed(&h.r.tlb, ROOT);
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_ASID, 10);
    assert_int_equal(purged(&h), 1);
    hv_enter(&h, ROOT, true);
    assert_nothing(&h.r);
}

/* [SDM 3C "INVEPT"] It takes what lies under its root; the VPID may hold translations under
 * another. */
static void test_vmx_a_flush_of_the_root_does_not_purge(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    hv_enter(&h, ROOT + 1, true); /* the tag holds something under two roots */
    put(&h, 0x7000);
    nvirt_tlb_root_changed(&h.r.tlb, ROOT + 1);
    hv_enter(&h, ROOT + 1, true);
    assert_int_equal(purged(&h), 0);
    assert_int_equal(h.r.due.count, 2);
    assert_int_equal(h.r.due.op[0].kind, NVIRT_FLUSH_ROOT);
    assert_int_equal(h.r.due.op[1].kind, NVIRT_FLUSH_VPID_ADDRESS);
    assert_int_equal(h.r.due.op[1].operand, 0x7000);
}

static void test_vmx_a_flush_of_the_tag_purges(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    put(&h, 0x7000);
    nvirt_tlb_vmx_invvpid(&h.r.tlb, 1, 7, nvirt_gva_make(0));
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_VPID, 10);
    assert_int_equal(purged(&h), 1);
}

/* A flush that covered the queue and was not carried out is still due. */
static void test_what_was_dropped_for_a_flush_stays_covered_when_the_entry_fails(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, true);
    put(&h, 0x7000);
    nvirt_tlb_root_changed(&h.r.tlb, ROOT);
    hv_enter(&h, ROOT, false);
    assert_int_equal(purged(&h), 1);
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_ASID, 10);
}

/* INVVPID fails on an address that is not canonical [SDM 3C "INVVPID"]; the TLFS ignores such
 * entries. */
static void test_addresses_that_are_not_canonical_reach_no_instruction(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    put(&h, UINT64_C(0x0200000000000000));
    hv_enter(&h, ROOT, true);
    assert_nothing(&h.r);
    /* The last page below the hole, the first of it: only in a wider mode an address. */
    put(&h, UINT64_C(0x00007ffffffff000) | 1);
    hv_enter(&h, ROOT, true);
    assert_one(&h.r, NVIRT_FLUSH_VPID, 10);
    /* Up to the end of addresses, and on from 0. */
    put(&h, UINT64_C(0xfffffffffffff000) | 1);
    hv_enter(&h, ROOT, true);
    assert_int_equal(h.r.due.count, 2);
    assert_int_equal(h.r.due.op[0].operand, UINT64_C(0xfffffffffffff000));
    assert_int_equal(h.r.due.op[1].operand, 0);
}

static void test_an_empty_queue_changes_nothing(void **state)
{
    struct hv_rig h;

    (void)state;
    hv_settle(&h, false);
    nvirt_tlb_root_changed(&h.r.tlb, ROOT);
    hv_enter(&h, ROOT, true);
    assert_root(&h.r, ROOT, 0x5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_of_an_entry_are_flushed_one_by_one),
        cmocka_unit_test(test_many_pages_are_one_flush_of_the_tag),
        cmocka_unit_test(test_overflow_is_one_flush_of_the_tag),
        cmocka_unit_test(test_not_global_keeps_global_translations),
        cmocka_unit_test(test_svm_any_flush_of_the_asid_purges),
        cmocka_unit_test(test_vmx_a_flush_of_the_root_does_not_purge),
        cmocka_unit_test(test_vmx_a_flush_of_the_tag_purges),
        cmocka_unit_test(test_what_was_dropped_for_a_flush_stays_covered_when_the_entry_fails),
        cmocka_unit_test(test_addresses_that_are_not_canonical_reach_no_instruction),
        cmocka_unit_test(test_an_empty_queue_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
