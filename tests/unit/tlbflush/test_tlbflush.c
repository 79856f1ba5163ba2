/* SPDX-License-Identifier: MIT */
/*
 * The flush-decision engine, event by event. That no history makes it unsound is the model checker's
 * business (tests/model); here stands what each event asks for, and what it does not ask for.
 */
#include <nvirt/tlbflush.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct nvirt_tlb_caps all_caps = {true, true, true, true, true};
static const uint32_t two_tags[] = {10, 11};

struct rig {
    struct nvirt_tlb tlb;
    struct nvirt_flush_set due;
};

static void make(struct rig *r, const struct nvirt_tlb_caps *caps)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(nvirt_tlb_init(&r->tlb, caps, 1, two_tags, 2), NVIRT_OK);
}

/* One residence of L2 on VMX: entry, everything due carried out. Returns the hardware tag. */
static uint32_t vmx_visit(struct rig *r, bool enabled, uint16_t vpid12, uint32_t cpu)
{
    const struct nvirt_tlb_vmx_entry entry = {.cpu = cpu,
                                              .vpid12_enabled = enabled,
                                              .vpid12 = vpid12,
                                              .eptp02 = 0x5000};
    uint32_t tag = nvirt_tlb_vmx_enter_l2(&r->tlb, &entry);

    nvirt_tlb_vmx_due_l2(&r->tlb, &entry, tag, &r->due);
    return tag;
}

static void vmx_l1(struct rig *r, bool enabled, uint32_t cpu)
{
    nvirt_tlb_vmx_leave_l2(&r->tlb, enabled);
    nvirt_tlb_due_l1(&r->tlb, cpu, false, &r->due);
}

static void assert_one(const struct rig *r, enum nvirt_flush_kind kind, uint32_t tag)
{
    assert_int_equal(r->due.count, 1);
    assert_int_equal(r->due.op[0].kind, kind);
    assert_int_equal(r->due.op[0].tag, tag);
}

static void test_init_refuses_null_and_too_many_tags(void **state)
{
    struct nvirt_tlb tlb;

    (void)state;
    assert_int_equal(nvirt_tlb_init(NULL, &all_caps, 1, two_tags, 2), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_init(&tlb, NULL, 1, two_tags, 2), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_init(&tlb, &all_caps, 1, NULL, 2), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_init(&tlb, &all_caps, 1, two_tags, NVIRT_TLB_MAX_TAGS + 1),
                     NVIRT_ERR_RANGE);
}

/* A hardware tag may hold what an earlier owner left: its first use flushes it. */
static void test_first_use_of_a_tag_flushes_it(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    assert_int_equal(vmx_visit(&r, true, 7, 0), 10);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_l1(&r, true, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
}

/* Entries and exits flush nothing while L1 uses its own tag and nothing changed. */
static void test_steady_state_flushes_nothing(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_l1(&r, true, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(vmx_visit(&r, true, 7, 0), 10);
        assert_int_equal(r.due.count, 0);
        vmx_l1(&r, true, 0);
        assert_int_equal(r.due.count, 0);
    }
}

/* L1 alternating between two VPIDs finds a tag for each: nothing is flushed. */
static void test_two_vpids_alternate_without_flush(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_visit(&r, true, 8, 0);
    assert_int_equal(vmx_visit(&r, true, 7, 0), 10);
    assert_int_equal(r.due.count, 0);
    assert_int_equal(vmx_visit(&r, true, 8, 0), 11);
    assert_int_equal(r.due.count, 0);
}

/* A third VPID takes the tag used longest ago, which is flushed before it serves the new one. */
static void test_recycled_tag_is_the_oldest_and_is_flushed(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_visit(&r, true, 8, 0);
    vmx_visit(&r, true, 7, 0);
    assert_int_equal(vmx_visit(&r, true, 9, 0), 11);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
}

/* [SDM 3C "Operations that Invalidate Cached Mappings"]: with VPID off, each transition invalidates
 * VPID 0: for L2 at the entry, for L1 at the exit. */
static void test_l1_without_vpid_flushes_both_ways(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, false, 0, 0);
    vmx_l1(&r, false, 0);
    for (int i = 0; i < 3; i++) {
        uint32_t tag = vmx_visit(&r, false, 0, 0);

        assert_one(&r, NVIRT_FLUSH_VPID, tag);
        vmx_l1(&r, false, 0);
        assert_one(&r, NVIRT_FLUSH_VPID, 1);
    }
}

/* [SDM 3C "INVVPID"]: type 0 names one address, and only the tag it names pays, when it next runs. */
static void test_invvpid_address_is_one_address_of_that_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_visit(&r, true, 8, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x1234567));
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x1234000));
    vmx_visit(&r, true, 8, 0);
    assert_int_equal(r.due.count, 0);
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_ADDRESS, 10);
    assert_int_equal(r.due.op[0].operand, 0x1234000);
    vmx_visit(&r, true, 7, 0);
    assert_int_equal(r.due.count, 0);
}

static void test_more_addresses_than_remembered_flush_the_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    for (uint64_t i = 0; i < NVIRT_TLB_MAX_ADDRESSES; i++) {
        nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(i << 12));
    }
    vmx_visit(&r, true, 7, 0);
    assert_int_equal(r.due.count, NVIRT_TLB_MAX_ADDRESSES);
    for (uint64_t i = 0; i <= NVIRT_TLB_MAX_ADDRESSES; i++) {
        nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(i << 12));
    }
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

static void test_invvpid_single_all_and_retaining_globals(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_visit(&r, true, 8, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 7, nvirt_gva_make(0));
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    nvirt_tlb_vmx_invvpid(&r.tlb, 3, 7, nvirt_gva_make(0));
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID_NOT_GLOBAL, 10);
    nvirt_tlb_vmx_invvpid(&r.tlb, 2, 0, nvirt_gva_make(0));
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_visit(&r, true, 8, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 11);
}

/* An address may be a global page: a flush that retains globals does not settle it. */
static void test_address_and_retaining_globals_together_flush_the_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x1000));
    nvirt_tlb_vmx_invvpid(&r.tlb, 3, 7, nvirt_gva_make(0));
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

/* A VPID of L1's that no hardware tag stands for has nothing cached. */
static void test_invvpid_of_an_unknown_vpid_asks_for_nothing(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 1, 99, nvirt_gva_make(0));
    vmx_visit(&r, true, 7, 0);
    assert_int_equal(r.due.count, 0);
}

/* Guest MOV CR3, INVLPG and INVPCID act on one CPU: a tag that moves is flushed where it arrives. */
static void test_moving_to_another_cpu_flushes_the_tag_there(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_visit(&r, true, 7, 1);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_visit(&r, true, 7, 1);
    assert_int_equal(r.due.count, 0);
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
    vmx_l1(&r, true, 0);
    vmx_l1(&r, true, 1);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
}

static void test_changed_root_is_flushed_by_its_eptp(void **state)
{
    struct rig r;
    const struct nvirt_tlb_vmx_entry entry = {
        .vpid12_enabled = true, .vpid12 = 7, .eptp02 = 0x5000, .root_changed = true};

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    nvirt_tlb_vmx_due_l2(&r.tlb, &entry, 10, &r.due);
    assert_one(&r, NVIRT_FLUSH_ROOT, 0);
    assert_int_equal(r.due.op[0].operand, 0x5000);
}

/* A CPU that lacks a type gets the next larger one. */
static void test_missing_invvpid_and_invept_types_fall_back(void **state)
{
    const struct nvirt_tlb_caps none = {false, false, false, false, false};
    const struct nvirt_tlb_vmx_entry entry = {
        .vpid12_enabled = true, .vpid12 = 7, .eptp02 = 0x5000, .root_changed = true};
    struct rig r;

    (void)state;
    make(&r, &none);
    vmx_visit(&r, true, 7, 0);
    nvirt_tlb_vmx_invvpid(&r.tlb, 0, 7, nvirt_gva_make(0x1000));
    nvirt_tlb_vmx_due_l2(&r.tlb, &entry, 10, &r.due);
    assert_int_equal(r.due.count, 2);
    assert_int_equal(r.due.op[0].kind, NVIRT_FLUSH_ROOT_ALL);
    assert_int_equal(r.due.op[1].kind, NVIRT_FLUSH_VPID_ALL);
}

static void test_without_vpids_for_l2_hardware_flushes_by_itself(void **state)
{
    struct nvirt_tlb tlb;
    struct nvirt_flush_set due;
    const struct nvirt_tlb_vmx_entry entry = {.vpid12_enabled = true, .vpid12 = 7};

    (void)state;
    assert_int_equal(nvirt_tlb_init(&tlb, &all_caps, 0, NULL, 0), NVIRT_OK);
    assert_int_equal(nvirt_tlb_vmx_enter_l2(&tlb, &entry), 0);
    nvirt_tlb_vmx_due_l2(&tlb, &entry, 0, &due);
    assert_int_equal(due.count, 0);
    nvirt_tlb_due_l1(&tlb, 0, false, &due);
    assert_int_equal(due.count, 0);
}

/* VMXOFF: VPID numbers mean nothing any more, a new owner must not see old translations. */
static void test_forget_unbinds_every_tag(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    vmx_visit(&r, true, 7, 0);
    vmx_l1(&r, true, 0);
    nvirt_tlb_forget(&r.tlb);
    nvirt_tlb_due_l1(&r.tlb, 0, false, &r.due);
    assert_one(&r, NVIRT_FLUSH_VPID, 1);
    vmx_visit(&r, true, 7, 0);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

/* ---- SVM ---- */

static uint32_t svm_visit(struct rig *r, uint32_t asid12, uint64_t root12, uint8_t control,
                          bool *revalidate)
{
    const struct nvirt_tlb_svm_entry entry = {
        .cpu = 0, .asid12 = asid12, .root12 = root12, .tlb_control = control};
    uint32_t tag = nvirt_tlb_svm_enter_l2(&r->tlb, &entry, revalidate);

    nvirt_tlb_svm_due_l2(&r->tlb, 0, tag, &r->due);
    return tag;
}

static void svm_l1(struct rig *r)
{
    nvirt_tlb_due_l1(&r->tlb, 0, true, &r->due);
}

static void test_svm_steady_state_flushes_and_revalidates_nothing(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    assert_int_equal(svm_visit(&r, 3, 0x9000, 0, &revalidate), 10);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    svm_l1(&r);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
    svm_visit(&r, 3, 0x9000, 0, &revalidate);
    assert_false(revalidate);
    assert_int_equal(r.due.count, 0);
    svm_l1(&r);
    assert_int_equal(r.due.count, 0);
}

/* [APM 2 "TLB Flush"]: an ASID tags nested translations too, so a fresh ASID, or a flushed one, sees
 * L1's nested tables as they are now. */
static void test_svm_fresh_or_flushed_asid_revalidates_the_root(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    svm_visit(&r, 3, 0x9000, 0, &revalidate);
    svm_visit(&r, 4, 0x9000, 0, &revalidate);
    assert_true(revalidate);
    svm_visit(&r, 3, 0x9000, 0, &revalidate);
    assert_false(revalidate);
    svm_visit(&r, 3, 0x9000, 3, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    svm_visit(&r, 3, 0xa000, 0, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
}

/* Without nested paging of L1 there are no tables of L1's behind the translations. */
static void test_svm_without_nested_paging_never_revalidates(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    svm_visit(&r, 3, 0, 3, &revalidate);
    assert_false(revalidate);
}

/* TLB_CONTROL 1 names the whole TLB of the CPU L1 believes it has, L1's own entries included. */
static void test_svm_tlb_control_1_names_every_asid_and_l1(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    svm_visit(&r, 3, 0x9000, 0, &revalidate);
    svm_visit(&r, 4, 0x9000, 0, &revalidate);
    svm_l1(&r);
    svm_visit(&r, 3, 0x9000, 1, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    svm_l1(&r);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
    svm_visit(&r, 4, 0x9000, 0, &revalidate);
    assert_true(revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 11);
}

static void test_svm_without_flush_by_asid_one_flush_settles_all(void **state)
{
    const struct nvirt_tlb_caps caps = {true, true, true, true, false};
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &caps);
    svm_l1(&r);
    assert_one(&r, NVIRT_FLUSH_ASID_ALL, 0);
    svm_visit(&r, 3, 0x9000, 1, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID_ALL, 0);
    svm_l1(&r);
    assert_int_equal(r.due.count, 0);
}

/* [APM 3 "INVLPGA"]: the ASID operand is honoured; ASID 0 is L1's own. */
static void test_svm_invlpga_names_one_address_of_its_asid(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_l1(&r);
    nvirt_tlb_svm_invlpga(&r.tlb, 3, nvirt_gva_make(0x7fff));
    nvirt_tlb_svm_invlpga(&r.tlb, 55, nvirt_gva_make(0x7fff));
    svm_l1(&r);
    assert_int_equal(r.due.count, 0);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID_ADDRESS, 10);
    assert_int_equal(r.due.op[0].operand, 0x7000);
    nvirt_tlb_svm_invlpga(&r.tlb, 0, nvirt_gva_make(0x1000));
    svm_l1(&r);
    assert_one(&r, NVIRT_FLUSH_ASID_ADDRESS, 1);
}

static void test_svm_changed_tables_flush_one_or_every_tag(void **state)
{
    struct rig r;
    bool revalidate;

    (void)state;
    make(&r, &all_caps);
    svm_visit(&r, 3, 0, 0, &revalidate);
    svm_visit(&r, 4, 0, 0, &revalidate);
    nvirt_tlb_tables_changed(&r.tlb, 10);
    svm_visit(&r, 4, 0, 0, &revalidate);
    assert_int_equal(r.due.count, 0);
    svm_visit(&r, 3, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 10);
    nvirt_tlb_tables_changed(&r.tlb, 0);
    svm_visit(&r, 4, 0, 0, &revalidate);
    assert_one(&r, NVIRT_FLUSH_ASID, 11);
}

static void test_flush_of_l1_is_owed_until_l1_runs(void **state)
{
    struct rig r;

    (void)state;
    make(&r, &all_caps);
    svm_l1(&r);
    nvirt_tlb_flush_l1(&r.tlb);
    svm_l1(&r);
    assert_one(&r, NVIRT_FLUSH_ASID, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_refuses_null_and_too_many_tags),
        cmocka_unit_test(test_first_use_of_a_tag_flushes_it),
        cmocka_unit_test(test_steady_state_flushes_nothing),
        cmocka_unit_test(test_two_vpids_alternate_without_flush),
        cmocka_unit_test(test_recycled_tag_is_the_oldest_and_is_flushed),
        cmocka_unit_test(test_l1_without_vpid_flushes_both_ways),
        cmocka_unit_test(test_invvpid_address_is_one_address_of_that_tag),
        cmocka_unit_test(test_more_addresses_than_remembered_flush_the_tag),
        cmocka_unit_test(test_invvpid_single_all_and_retaining_globals),
        cmocka_unit_test(test_address_and_retaining_globals_together_flush_the_tag),
        cmocka_unit_test(test_invvpid_of_an_unknown_vpid_asks_for_nothing),
        cmocka_unit_test(test_moving_to_another_cpu_flushes_the_tag_there),
        cmocka_unit_test(test_changed_root_is_flushed_by_its_eptp),
        cmocka_unit_test(test_missing_invvpid_and_invept_types_fall_back),
        cmocka_unit_test(test_without_vpids_for_l2_hardware_flushes_by_itself),
        cmocka_unit_test(test_forget_unbinds_every_tag),
        cmocka_unit_test(test_svm_steady_state_flushes_and_revalidates_nothing),
        cmocka_unit_test(test_svm_fresh_or_flushed_asid_revalidates_the_root),
        cmocka_unit_test(test_svm_without_nested_paging_never_revalidates),
        cmocka_unit_test(test_svm_tlb_control_1_names_every_asid_and_l1),
        cmocka_unit_test(test_svm_without_flush_by_asid_one_flush_settles_all),
        cmocka_unit_test(test_svm_invlpga_names_one_address_of_its_asid),
        cmocka_unit_test(test_svm_changed_tables_flush_one_or_every_tag),
        cmocka_unit_test(test_flush_of_l1_is_owed_until_l1_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
