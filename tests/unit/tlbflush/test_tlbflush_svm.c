/* SPDX-License-Identifier: MIT */
/* The flush-decision engine on SVM, event by event; see test_tlbflush.c. */
#include "tlb_rig.h"

static uint32_t svm_visit(struct rig *r, uint32_t asid12, uint8_t control, uint32_t root,
                          bool *revalidate)
{
    uint32_t tag = nvirt_tlb_svm_enter_l2(&r->tlb, asid12, true, control);

    *revalidate = nvirt_tlb_svm_revalidates(&r->tlb, root);
    enter(r, 2, 0, root);
    return tag;
}

static void test_steady_state_flushes_and_revalidates_nothing(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    assert_int_equal(svm_visit(&r, 3, 0, 0, &revalidate), 10);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_false(revalidate);
    assert_nothing(&r);
    enter(&r, 1, 0, 0);
    assert_nothing(&r);
}

/* [APM 2 "TLB Flush"]: an ASID tags nested translations too, so a fresh ASID, or a flushed one, sees
 * L1's nested tables as they are now. A root is one table of L1's under one ASID. */
static void test_fresh_or_flushed_asid_revalidates_each_root_once(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_visit(&r, 4, 0, 1, &revalidate);
    assert_true(revalidate);
    svm_visit(&r, 3, 0, 2, &revalidate);
    assert_true(revalidate);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_false(revalidate);
    svm_visit(&r, 3, 3, 0, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    svm_visit(&r, 3, 0, 2, &revalidate);
    assert_true(revalidate);
    svm_visit(&r, 3, 0, 2, &revalidate);
    assert_false(revalidate);
    svm_visit(&r, 4, 0, 1, &revalidate);
    assert_false(revalidate);
    svm_visit(&r, 4, 7, 1, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 11);
}

/* L1 may keep what it cached through one table while it runs another under the same ASID. */
static void test_two_tables_under_one_asid_alternate_without_flush(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_visit(&r, 3, 0, 1, &revalidate);
    assert_nothing(&r);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_nothing(&r);
}

/* Hardware runs both with nested paging on: nested translations of the one would serve the other. */
static void test_nested_paging_turned_on_or_off_under_an_asid_flushes_it(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    for (uint32_t i = 0; i < 2; i++) {
        (void)nvirt_tlb_svm_enter_l2(&r.tlb, 3, i == 1, 0);
        enter(&r, 2, 0, 1 - i);
        assert_one(&r, NVIRT_FLUSH_ASID, 10);
        enter(&r, 2, 0, 1 - i);
        assert_nothing(&r);
    }
}

/* Tables that changed: each ASID that ran on them, whatever it runs on next. */
static void test_changed_tables_flush_each_asid_that_ran_on_them(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    nvirt_tlb_domain_init(&r.domain, r.root, RIG_ROOTS, false);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_visit(&r, 3, 0, 1, &revalidate);
    svm_visit(&r, 4, 0, 2, &revalidate);
    nvirt_tlb_root_changed(&r.tlb, 0);
    svm_visit(&r, 4, 0, 2, &revalidate);
    assert_nothing(&r);
    svm_visit(&r, 3, 0, 1, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    nvirt_tlb_root_changed(&r.tlb, 0); /* not run on since */
    svm_visit(&r, 3, 0, 1, &revalidate);
    assert_nothing(&r);
    svm_visit(&r, 3, 0, 66, &revalidate);
    nvirt_tlb_root_changed(&r.tlb, 66);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
}

/* TLB_CONTROL 1 names the whole TLB of the CPU L1 believes it has, L1's own entries included. */
static void test_tlb_control_1_names_every_asid_and_l1(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_visit(&r, 4, 0, 1, &revalidate);
    enter(&r, 1, 0, 0);
    svm_visit(&r, 3, 1, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
    svm_visit(&r, 4, 0, 1, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 11);
}

static void test_without_flush_by_asid_one_flush_settles_all(void **state)
{
    struct nvirt_tlb_caps caps = all_caps;
    struct rig r;
    bool revalidate;

    (void)state;
    caps.flush_by_asid = false;
    make(&r, &caps, true);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID_ALL, 0);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_nothing(&r); /* L1's flush took what was there */
    assert_true(r.due.covers_guest);
    svm_visit(&r, 3, 1, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID_ALL, 0);
    enter(&r, 1, 0, 0);
    assert_nothing(&r);
}

/* [APM 3 "INVLPGA"]: the ASID operand is honoured; ASID 0 is L1's own. */
static void test_invlpga_names_one_address_of_its_asid(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    enter(&r, 1, 0, 0);
    nvirt_tlb_svm_invlpga(&r.tlb, 3, nvirt_gva_make(0x7fff));
    nvirt_tlb_svm_invlpga(&r.tlb, 55, nvirt_gva_make(0x7fff));
    enter(&r, 1, 0, 0);
    assert_nothing(&r);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID_ADDRESS, 10);
    assert_int_equal(r.due.op[0].operand, 0x7000);
    nvirt_tlb_svm_invlpga(&r.tlb, 0, nvirt_gva_make(0x1000));
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID_ADDRESS, 1);
}

/* An erratum of INVLPGA, or the host's choice: the next larger flush. */
static void test_without_invlpga_an_address_flushes_the_asid(void **state)
{
    struct nvirt_tlb_caps caps = all_caps;
    struct rig r;
    bool revalidate;

    (void)state;
    caps.invlpga = false;
    make(&r, &caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    nvirt_tlb_svm_invlpga(&r.tlb, 3, nvirt_gva_make(0x7fff));
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    assert_false(revalidate);
}

/* A flush of the whole ASID covers single addresses that wait, here or in a Hyper-V queue. */
static void test_a_flush_of_the_asid_covers_pending_addresses(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    nvirt_tlb_request_addresses(&r.tlb, 2, nvirt_gva_make(0x1000), 2);
    nvirt_tlb_root_changed(&r.tlb, 0);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    assert_true(r.due.covers_guest);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_nothing(&r);
    assert_false(r.due.covers_guest);
}

/* Requests of the host: the level's root is its ASID's to flush; everything is every ASID's. */
static void test_requests_flush_the_asid_of_their_level(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    enter(&r, 1, 0, 0);
    nvirt_tlb_request(&r.tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_nothing(&r);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_NOT_GLOBAL);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_EVERYTHING);
    enter(&r, 2, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
}

/* TLB_CONTROL acts when VMRUN does. An entry that never came leaves all of it due. */
static void test_an_entry_that_did_not_happen_leaves_its_flush_due(void **state)
{
    const struct nvirt_tlb_entry entry = {.level = 2, .cpu = 0, .root = 0};
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps, true);
    svm_visit(&r, 3, 0, 0, &revalidate);
    (void)nvirt_tlb_svm_enter_l2(&r.tlb, 3, true, 3);
    nvirt_tlb_due(&r.tlb, &entry, &r.due);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    enter(&r, 1, 0, 0);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_nothing(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_state_flushes_and_revalidates_nothing),
        cmocka_unit_test(test_fresh_or_flushed_asid_revalidates_each_root_once),
        cmocka_unit_test(test_two_tables_under_one_asid_alternate_without_flush),
        cmocka_unit_test(test_nested_paging_turned_on_or_off_under_an_asid_flushes_it),
        cmocka_unit_test(test_changed_tables_flush_each_asid_that_ran_on_them),
        cmocka_unit_test(test_tlb_control_1_names_every_asid_and_l1),
        cmocka_unit_test(test_without_flush_by_asid_one_flush_settles_all),
        cmocka_unit_test(test_invlpga_names_one_address_of_its_asid),
        cmocka_unit_test(test_without_invlpga_an_address_flushes_the_asid),
        cmocka_unit_test(test_a_flush_of_the_asid_covers_pending_addresses),
        cmocka_unit_test(test_requests_flush_the_asid_of_their_level),
        cmocka_unit_test(test_an_entry_that_did_not_happen_leaves_its_flush_due),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
