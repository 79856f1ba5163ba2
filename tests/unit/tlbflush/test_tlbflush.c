/* SPDX-License-Identifier: MIT */
/*
 * The flush-decision engine on VMX and its requests, event by event. That no history makes it unsound
 * and that no operation is too much is the model checker's business (tests/model); here stands what
 * each event asks for, and what it does not ask for.
 */
#include "tlb_rig.h"

static void test_init_refuses_null_and_ranges(void **state)
{
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb tlb;
    struct nvirt_tlb_config config = {.domain = &domain, .tags = two_tags, .tag_count = 2};

    (void)state;
    nvirt_tlb_domain_init(&domain, NULL, 0, false);
    assert_int_equal(nvirt_tlb_init(NULL, &config), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_init(&tlb, NULL), NVIRT_ERR_NULL);
    config.tags = NULL;
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_ERR_NULL);
    config.domain = NULL;
    config.tags = two_tags;
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_ERR_NULL);
    config.domain = &domain;
    config.tag_count = NVIRT_TLB_MAX_TAGS + 1;
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_ERR_RANGE);
    config.tag_count = 2;
    config.max_addresses = NVIRT_TLB_MAX_ADDRESSES + 1;
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_ERR_RANGE);
    config.max_addresses = 0;
    config.tag_count = 0;
    config.svm = true;
    assert_int_equal(nvirt_tlb_init(&tlb, &config), NVIRT_ERR_RANGE);
}

/* The page of a root, like a tag, had an earlier owner. INVEPT takes what lies under the tag too. */
static void test_first_use_of_a_root_flushes_it_and_that_is_enough(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    assert_int_equal(vmx_visit(&r, 7, 0, 0), 10);
    assert_root(&r, 0, 0x5000);
    assert_true(r.due.covers_guest);
    vmx_l1(&r, true, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
}

/* Entries and exits flush nothing while L1 uses its own tag and nothing changed. */
static void test_steady_state_flushes_nothing(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_l1(&r, true, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(vmx_visit(&r, 7, 0, 0), 10);
        assert_nothing(&r);
        assert_false(r.due.covers_guest);
        vmx_l1(&r, true, 0);
        assert_nothing(&r);
    }
}

/* L1 alternating between two VPIDs finds a tag for each: nothing is flushed. */
static void test_two_vpids_alternate_without_flush(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 1);
    assert_int_equal(vmx_visit(&r, 7, 0, 0), 10);
    assert_nothing(&r);
    assert_int_equal(vmx_visit(&r, 8, 0, 1), 11);
    assert_nothing(&r);
}

/* A third VPID takes the tag used longest ago, which is flushed before it serves the new one. */
static void test_recycled_tag_is_the_oldest_and_is_flushed(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 0);
    vmx_visit(&r, 7, 0, 0);
    assert_int_equal(vmx_visit(&r, 9, 0, 0), 11);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
    assert_int_equal(vmx_visit(&r, 7, 0, 0), 10);
    assert_nothing(&r);
}

/* [SDM 3C "Operations that Invalidate Cached Mappings"]: without VPID each transition flushes VPID 0,
 * which L1 and L2 share. */
static void test_l1_without_vpid_flushes_both_ways(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 0, 0, 0);
    vmx_l1(&r, false, 0);
    for (int i = 0; i < 2; i++) {
        vmx_visit(&r, 0, 0, 0);
        assert_one(&r, NVIRT_FLUSH_VPID, 10);
        vmx_l1(&r, false, 0);
        assert_one(&r, NVIRT_FLUSH_VPID, 1);
    }
}

/* [SDM 3C "EPTP Switching"]: VMFUNC invalidates VPID 0 where L1 gives no VPID, else nothing. */
static void test_eptp_switch_flushes_only_without_vpid(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    enter(&r, 2, 0, 1);
    nvirt_tlb_vmx_eptp_switch(&r.tlb);
    enter(&r, 2, 0, 0);
    assert_nothing(&r);
    vmx_l1(&r, true, 0);
    vmx_visit(&r, 0, 0, 0);
    nvirt_tlb_vmx_eptp_switch(&r.tlb);
    enter(&r, 2, 0, 1);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
}

static void test_invvpid_address_is_one_address_of_that_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x12345));
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x12fff));
    vmx_visit(&r, 8, 0, 0);
    assert_nothing(&r);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_ADDRESS, 10);
    assert_int_equal(r.due.op[0].operand, 0x12000);
    assert_false(r.due.covers_guest);
}

static void test_more_addresses_than_the_hosts_threshold_flush_the_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    for (uint64_t i = 0; i < 4; i++) {
        nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(i << 12));
    }
    vmx_visit(&r, 7, 0, 0);
    assert_int_equal(r.due.count, 4);
    for (uint64_t i = 0; i < 5; i++) {
        nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(i << 12));
    }
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

static void test_invvpid_single_all_and_retaining_globals(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 3, 7, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_NOT_GLOBAL, 10);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 7, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    nvirt_tlb_vmx_invvpid(&r.tlb, 2, 0, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_visit(&r, 8, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
}

/* An address may be that of a global page, which retaining globals would leave. */
static void test_an_address_is_owed_beside_retaining_globals(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x3000));
    nvirt_tlb_vmx_invvpid(&r.tlb, 3, 7, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_int_equal(r.due.count, 2);
    assert_int_equal(r.due.op[0].kind, NVIRT_FLUSH_VPID_NOT_GLOBAL);
    assert_int_equal(r.due.op[1].kind, NVIRT_FLUSH_VPID_ADDRESS);
}

static void test_invvpid_of_an_unknown_vpid_asks_for_nothing(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 55, nvirt_gva_make(0));
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 0, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_nothing(&r);
}

/* Guest MOV CR3, INVLPG and INVPCID act on one CPU. A CPU that the tag was never on holds nothing of it
 * but what the root's first flush there takes. */
static void test_coming_back_to_a_cpu_flushes_the_tag_there_and_no_root(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 7, 1, 0);
    assert_root(&r, 0, 0x5000);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    assert_true(r.due.covers_guest);
    vmx_visit(&r, 7, 0, 0);
    assert_nothing(&r);
}

/* O(1) and lazy: a changed root is flushed on each CPU that ran it, when it next runs there. */
static void test_changed_root_is_flushed_on_each_cpu_once(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 2);
    vmx_visit(&r, 8, 1, 2);
    nvirt_tlb_root_changed(&r.tlb, 2);
    vmx_visit(&r, 8, 1, 2);
    assert_root(&r, 2, 0x7000);
    vmx_visit(&r, 8, 1, 2);
    assert_nothing(&r);
    vmx_visit(&r, 7, 0, 2);
    assert_root(&r, 2, 0x7000);
    vmx_visit(&r, 7, 0, 2);
    assert_nothing(&r);
}

/* A root that left for another is found as it was: no flush at a revisit. */
static void test_sixteen_roots_are_revisited_without_flush(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t root = 0; root < 16; root++) {
            vmx_visit(&r, 7, 0, root);
            assert_int_equal(r.due.count, round == 0);
        }
    }
}

/* Roots from 63 on are not told apart; what is owed under one of them is not lost. */
static void test_tag_under_more_roots_than_are_told_apart_is_flushed(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    nvirt_tlb_domain_init(&r.domain, r.root, RIG_ROOTS, false);
    vmx_visit(&r, 7, 0, 65);
    vmx_visit(&r, 7, 0, 66);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 7, nvirt_gva_make(0));
    nvirt_tlb_root_changed(&r.tlb, 66);
    vmx_visit(&r, 7, 0, 66);
    assert_int_equal(r.due.count, 2);
    vmx_visit(&r, 7, 0, 65);
    assert_nothing(&r);
}

static void test_missing_invvpid_and_invept_types_fall_back(void **state)
{
    struct nvirt_tlb_caps caps = all_caps;
    struct rig r;

    (void)state;
    caps.invvpid_address = false;
    caps.invvpid_not_global = false;
    make(&r, &caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x1000));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    nvirt_tlb_vmx_invvpid(&r.tlb, 3, 7, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);

    caps.invvpid_single = false;
    caps.invept_single = false;
    make(&r, &caps, false);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ROOT_ALL, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 7, nvirt_gva_make(0));
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_ALL, 0);
}

/* A flush of everything leaves nothing of any root, however it changes before it runs again. */
static void test_a_flush_of_all_roots_covers_changes_until_they_run_again(void **state)
{
    struct nvirt_tlb_caps caps = all_caps;
    struct rig r;

    (void)state;
    caps.invept_single = false;
    make(&r, &caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_root_changed(&r.tlb, 1);
    vmx_visit(&r, 7, 0, 1);
    assert_nothing(&r);
    nvirt_tlb_root_changed(&r.tlb, 1);
    vmx_visit(&r, 7, 0, 1);
    assert_one(&r, NVIRT_FLUSH_ROOT_ALL, 0);
    /* Another page as top table: others may have used it since. */
    nvirt_tlb_root_new(&r.tlb, 0);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ROOT_ALL, 0);
}

static void test_without_vpids_for_l2_hardware_flushes_by_itself(void **state)
{
    struct rig r;
    struct nvirt_tlb_config config = {.domain = &r.domain, .caps = all_caps};

    (void)state;
    memset(&r, 0, sizeof(r));
    nvirt_tlb_domain_init(&r.domain, r.root, 16, false);
    assert_int_equal(nvirt_tlb_init(&r.tlb, &config), NVIRT_OK);
    assert_int_equal(vmx_visit(&r, 7, 0, 0), 0);
    assert_root(&r, 0, 0x5000);
    assert_int_equal(vmx_visit(&r, 7, 0, 0), 0);
    assert_nothing(&r);
    assert_true(r.due.covers_guest);
    vmx_l1(&r, true, 0);
    assert_nothing(&r);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_GUEST);
    nvirt_tlb_request_addresses(&r.tlb, 2, nvirt_gva_make(0), 1);
    vmx_visit(&r, 7, 0, 0);
    assert_nothing(&r);
}

static void test_forget_unbinds_every_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_l1(&r, true, 0);
    nvirt_tlb_forget(&r.tlb);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

/* ---- requests ---- */

/* Raised while L1 ran: due when L1 next runs, whatever happens to L2 in between. */
static void test_a_request_for_l1_outlives_a_visit_of_l2(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_l1(&r, true, 0);
    nvirt_tlb_request(&r.tlb, 1, NVIRT_TLB_REQUEST_GUEST);
    vmx_visit(&r, 7, 0, 0);
    assert_nothing(&r);
    vmx_l1(&r, true, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
}

/* Raised while L2 ran, which is then left by force: due when that L2 next runs. */
static void test_a_request_for_l2_outlives_its_being_left(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 0);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_NOT_GLOBAL);
    vmx_l1(&r, true, 0);
    vmx_visit(&r, 7, 0, 0);
    assert_nothing(&r);
    vmx_visit(&r, 8, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_NOT_GLOBAL, 11);
}

static void test_a_request_for_the_root_names_that_of_its_level(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 1);
    vmx_l1(&r, true, 0);
    nvirt_tlb_request(&r.tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ROOT, 0);
    assert_int_equal(r.due.op[0].root, NVIRT_TLB_ROOT_L1);
    vmx_visit(&r, 7, 0, 1);
    assert_nothing(&r);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_ROOT);
    enter(&r, 2, 0, 1);
    assert_root(&r, 1, 0x6000);
    vmx_l1(&r, true, 0);
    assert_nothing(&r);
}

/* L2 is entered but did not run yet: which root it will be is not known. */
static void test_a_request_for_the_root_of_an_l2_that_did_not_run_names_all(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 1);
    (void)nvirt_tlb_vmx_enter_l2(&r.tlb, true, 7);
    nvirt_tlb_request(&r.tlb, 2, NVIRT_TLB_REQUEST_ROOT);
    enter(&r, 2, 0, 1);
    assert_root(&r, 1, 0x6000);
}

static void test_a_request_for_everything_flushes_each_root_when_used(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 7, 0, 1);
    vmx_l1(&r, true, 0);
    nvirt_tlb_request(&r.tlb, 1, NVIRT_TLB_REQUEST_EVERYTHING);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_ROOT, 0);
    vmx_visit(&r, 7, 0, 0);
    assert_root(&r, 0, 0x5000);
    vmx_visit(&r, 7, 0, 1);
    assert_root(&r, 1, 0x6000);
}

static void test_a_posted_request_is_taken_in_at_the_next_entry(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    vmx_visit(&r, 8, 0, 1);
    nvirt_tlb_post(&r.tlb, 2, NVIRT_TLB_REQUEST_GUEST);
    nvirt_tlb_post(&r.tlb, 1, NVIRT_TLB_REQUEST_NOT_GLOBAL);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 1); /* and not only what is not global: first use */
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_visit(&r, 8, 0, 1);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
    nvirt_tlb_post(&r.tlb, 2, NVIRT_TLB_REQUEST_ROOT);
    vmx_visit(&r, 7, 0, 0);
    assert_root(&r, 0, 0x5000);
    vmx_visit(&r, 8, 0, 1);
    assert_root(&r, 1, 0x6000);
    nvirt_tlb_post(&r.tlb, 2, NVIRT_TLB_REQUEST_EVERYTHING);
    vmx_l1(&r, true, 0);
    assert_one(&r, NVIRT_FLUSH_ROOT, 0);
}

/* A list of a flush hypercall: page by page while few. */
static void test_request_of_pages_flushes_them_or_the_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_request_addresses(&r.tlb, 2, nvirt_gva_make(0x10123), 3);
    enter(&r, 2, 0, 0);
    assert_int_equal(r.due.count, 3);
    assert_int_equal(r.due.op[0].operand, 0x10000);
    assert_int_equal(r.due.op[2].operand, 0x12000);
    nvirt_tlb_request_addresses(&r.tlb, 2, nvirt_gva_make(0x10123), UINT64_C(1) << 52);
    enter(&r, 2, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    nvirt_tlb_request_addresses(&r.tlb, 1, nvirt_gva_make(0x1000), 1);
    vmx_l1(&r, true, 0);
    vmx_l1(&r, true, 0);
    nvirt_tlb_request_addresses(&r.tlb, 1, nvirt_gva_make(0x1000), 1);
    enter(&r, 1, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_ADDRESS, 1);
}

/* What is not told to be done is asked for again. */
static void test_a_flush_that_was_not_carried_out_stays_due(void **state)
{
    const struct nvirt_tlb_entry entry = {.level = 2, .cpu = 0, .root = 0, .eptp = 0x5000};
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 7, nvirt_gva_make(0));
    (void)nvirt_tlb_vmx_enter_l2(&r.tlb, true, 7);
    nvirt_tlb_due(&r.tlb, &entry, &r.due);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_l1(&r, true, 0);
    vmx_visit(&r, 7, 0, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

/* ---- CPUs ---- */

static void test_a_cpu_keeps_its_number_until_too_many_others_came(void **state)
{
    static const char cpus[NVIRT_TLB_MAX_CPUS + 1];
    struct rig r;
    uint32_t first;

    (void)state;
    make(&r, &all_caps, false);
    first = nvirt_tlb_cpu(&r.tlb, &cpus[0]);
    vmx_visit(&r, 7, first, 0);
    vmx_l1(&r, true, first);
    for (uint32_t i = 1; i < NVIRT_TLB_MAX_CPUS; i++) {
        assert_int_not_equal(nvirt_tlb_cpu(&r.tlb, &cpus[i]), first);
    }
    assert_int_equal(nvirt_tlb_cpu(&r.tlb, &cpus[0]), first);
    vmx_visit(&r, 7, first, 0);
    assert_nothing(&r);
    /* The next one gets the number of the first: what that one holds says nothing of it. */
    assert_int_equal(nvirt_tlb_cpu(&r.tlb, &cpus[NVIRT_TLB_MAX_CPUS]), first);
    vmx_visit(&r, 7, first, 0);
    assert_root(&r, 0, 0x5000);
    vmx_l1(&r, true, first);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
}

static void test_a_cpu_too_many_of_a_shared_domain_flushes_at_every_entry(void **state)
{
    static const char cpus[NVIRT_TLB_MAX_CPUS + 1];
    struct rig r;

    (void)state;
    make(&r, &all_caps, false);
    r.domain.shared = true;
    for (uint32_t i = 0; i < NVIRT_TLB_MAX_CPUS; i++) {
        assert_int_equal(nvirt_tlb_cpu(&r.tlb, &cpus[i]), i);
    }
    assert_int_equal(nvirt_tlb_cpu(&r.tlb, &cpus[NVIRT_TLB_MAX_CPUS]), NVIRT_TLB_NO_CPU);
    assert_int_equal(nvirt_tlb_cpu(&r.tlb, &cpus[3]), 3);
    for (int i = 0; i < 2; i++) {
        vmx_visit(&r, 7, NVIRT_TLB_NO_CPU, 0);
        assert_int_equal(r.due.count, 2);
        vmx_l1(&r, true, NVIRT_TLB_NO_CPU);
        assert_int_equal(r.due.count, 2);
    }
    vmx_visit(&r, 7, 3, 0);
    assert_root(&r, 0, 0x5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_refuses_null_and_ranges),
        cmocka_unit_test(test_first_use_of_a_root_flushes_it_and_that_is_enough),
        cmocka_unit_test(test_steady_state_flushes_nothing),
        cmocka_unit_test(test_two_vpids_alternate_without_flush),
        cmocka_unit_test(test_recycled_tag_is_the_oldest_and_is_flushed),
        cmocka_unit_test(test_l1_without_vpid_flushes_both_ways),
        cmocka_unit_test(test_eptp_switch_flushes_only_without_vpid),
        cmocka_unit_test(test_invvpid_address_is_one_address_of_that_tag),
        cmocka_unit_test(test_more_addresses_than_the_hosts_threshold_flush_the_tag),
        cmocka_unit_test(test_invvpid_single_all_and_retaining_globals),
        cmocka_unit_test(test_an_address_is_owed_beside_retaining_globals),
        cmocka_unit_test(test_invvpid_of_an_unknown_vpid_asks_for_nothing),
        cmocka_unit_test(test_coming_back_to_a_cpu_flushes_the_tag_there_and_no_root),
        cmocka_unit_test(test_changed_root_is_flushed_on_each_cpu_once),
        cmocka_unit_test(test_sixteen_roots_are_revisited_without_flush),
        cmocka_unit_test(test_tag_under_more_roots_than_are_told_apart_is_flushed),
        cmocka_unit_test(test_missing_invvpid_and_invept_types_fall_back),
        cmocka_unit_test(test_a_flush_of_all_roots_covers_changes_until_they_run_again),
        cmocka_unit_test(test_without_vpids_for_l2_hardware_flushes_by_itself),
        cmocka_unit_test(test_forget_unbinds_every_tag),
        cmocka_unit_test(test_a_request_for_l1_outlives_a_visit_of_l2),
        cmocka_unit_test(test_a_request_for_l2_outlives_its_being_left),
        cmocka_unit_test(test_a_request_for_the_root_names_that_of_its_level),
        cmocka_unit_test(test_a_request_for_the_root_of_an_l2_that_did_not_run_names_all),
        cmocka_unit_test(test_a_request_for_everything_flushes_each_root_when_used),
        cmocka_unit_test(test_a_posted_request_is_taken_in_at_the_next_entry),
        cmocka_unit_test(test_request_of_pages_flushes_them_or_the_tag),
        cmocka_unit_test(test_a_flush_that_was_not_carried_out_stays_due),
        cmocka_unit_test(test_a_cpu_keeps_its_number_until_too_many_others_came),
        cmocka_unit_test(test_a_cpu_too_many_of_a_shared_domain_flushes_at_every_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
