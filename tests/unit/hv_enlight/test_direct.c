/* SPDX-License-Identifier: MIT */
/* Flush hypercalls of L2s [TLFS "Direct Virtual Flush"]: which are nvirt's, whose queues get what,
 * and what a processor owes when another L2 comes to run on it. */
#include "hv_world.h"

#include "hv_enlight/direct.h"

#define SPACE 0x0002u
#define LIST 0x0003u
#define SPACE_EX 0x0013u
#define LIST_EX 0x0014u
#define FAST NVIRT_BIT(16)
#define REPS(n) ((uint64_t)(n) << 32)
#define BANKS_OF(n) ((uint64_t)(n) << 17)
#define ALL_PROCESSORS 1u
#define ALL_SPACES 2u
#define NOT_GLOBAL 4u

#define VM UINT64_C(0xffff888000000001)
#define OTHER_VM UINT64_C(0xffff888000000002)
#define TAG_A 2u
#define TAG_B 3u
#define ENGINES 6u
#define CPU 0u

/* A processor's flush engine, with two tags. */
struct engine {
    struct nvirt_tlb tlb;
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb_root root;
};

static struct engine engine[ENGINES];

static int direct_setup(void **state)
{
    static const uint32_t tags[] = {TAG_A, TAG_B};
    struct nvirt_tlb_config config = {.tags = tags, .tag_count = 2, .max_addresses = 8};

    config.caps = (struct nvirt_tlb_caps){.invvpid_address = true,
                                          .invvpid_single = true,
                                          .invvpid_not_global = true,
                                          .invept_single = true};
    for (uint32_t i = 0; i < ENGINES; i++) {
        nvirt_tlb_domain_init(&engine[i].domain, &engine[i].root, 1, false);
        config.domain = &engine[i].domain;
        assert_int_equal(nvirt_tlb_init(&engine[i].tlb, &config), NVIRT_OK);
    }
    return hv_setup(state);
}

/* L1 enters an L2 with VPID @p vpid at processor @p at. */
static void enter_with(struct hv_world *w, uint32_t at, uint16_t vpid, uint64_t vm, uint32_t vp)
{
    const struct nvi_hv_identity who = {.vm = vm, .vp = vp, .assist_page = 0x7000};
    uint32_t tag = nvirt_tlb_vmx_enter_l2(&engine[at].tlb, true, vpid);

    nvi_hv_direct_enter(&w->vp[at], &engine[at].tlb, &who, tag);
}

static void enter(struct hv_world *w, uint32_t at, uint64_t vm, uint32_t vp)
{
    enter_with(w, at, 1, vm, vp);
}

/* An L2 of which L1 says nothing. */
static void enter_plain(struct hv_world *w, uint32_t at, uint16_t vpid)
{
    uint32_t tag = nvirt_tlb_vmx_enter_l2(&engine[at].tlb, true, vpid);

    nvi_hv_direct_enter(&w->vp[at], &engine[at].tlb, NULL, tag);
}

/* L2 runs there. @return what that took. */
static struct nvirt_flush_set run(struct hv_world *w, uint32_t at)
{
    const struct nvirt_tlb_entry entry = {.level = 2, .cpu = CPU, .eptp = 0x1000};
    struct nvirt_flush_set due;

    if (nvi_hv_direct_is_active(&w->vp[at])) {
        nvirt_hv_flush_due(&w->vp[at].direct.fifo, &engine[at].tlb, &entry, 48, &due);
    } else {
        nvirt_tlb_due(&engine[at].tlb, &entry, &due);
    }
    for (uint32_t i = 0; i < due.count; i++) {
        nvirt_tlb_done(&engine[at].tlb, CPU, &due.op[i]);
    }
    nvirt_tlb_entered(&engine[at].tlb, &entry);
    return due;
}

static void expect_tag_flush(struct hv_world *w, uint32_t at, uint32_t tag)
{
    struct nvirt_flush_set due = run(w, at);

    assert_int_equal(due.count, 1);
    assert_int_equal(due.op[0].kind, NVIRT_FLUSH_VPID);
    assert_int_equal(due.op[0].tag, tag);
}

static void expect_no_flush(struct hv_world *w, uint32_t at)
{
    assert_int_equal(run(w, at).count, 0);
}

/* A call of the L2 at processor 0, with its input in registers. @return its result. */
static uint64_t call_fast(struct hv_world *w, uint64_t control, uint64_t rdx, uint64_t r8)
{
    w->gprs.r[NVIRT_RCX] = control | FAST;
    w->gprs.r[NVIRT_RDX] = rdx;
    w->gprs.r[NVIRT_R8] = r8;
    (void)nvi_hv_direct_call(&w->vp[0], &w->caller, nvirt_l1gpa_make(0), &w->gprs);
    return w->gprs.r[NVIRT_RAX];
}

/* In memory: L1 has at INPUT what L2 knows by another address. */
static uint64_t call(struct hv_world *w, uint64_t control, const uint64_t *words, uint32_t count)
{
    fake_vm_put(w->port, INPUT, words, count * 8u);
    w->gprs.r[NVIRT_RCX] = control;
    w->gprs.r[NVIRT_RDX] = RAM + 0x5000;
    (void)nvi_hv_direct_call(&w->vp[0], &w->caller, nvirt_l1gpa_make(INPUT), &w->gprs);
    return w->gprs.r[NVIRT_RAX];
}

static uint32_t waits(struct hv_world *w, uint32_t at)
{
    return w->vp[at].direct.fifo.waits;
}

static uint32_t kicks(const struct hv_world *w)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < FAKE_VM_KICKS; i++) {
        sum += w->port->kicks[i];
    }
    return sum;
}

/* Of processors 0 to 5, a bit each. */
static uint32_t reached(struct hv_world *w)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < VPS; i++) {
        if (waits(w, i) != 0) {
            assert_true(i < ENGINES);
            set |= 1u << i;
            nvirt_hv_fifo_purge(&w->vp[i].direct.fifo);
        }
        assert_int_equal(w->vp[i].fifo.waits, 0);
    }
    return set;
}

static uint64_t flush_space(struct hv_world *w, uint64_t flags, uint64_t mask)
{
    const uint64_t words[] = {0x1234, flags, mask};

    return call(w, SPACE, words, 3);
}

/* ---- whose a call is ---- */

static enum nvi_hv_direct_kind look(struct hv_world *w, uint64_t control)
{
    nvirt_l2gpa input = nvirt_l2gpa_make(1);

    w->gprs.r[NVIRT_RCX] = control;
    w->gprs.r[NVIRT_RDX] = INPUT;
    return nvi_hv_direct_look(&w->vp[0], &w->caller, &w->gprs, &input);
}

/* [TLFS "Direct Virtual Flush"]: four hypercalls are delegated, no other. */
static void all_but_flushes_of_linear_addresses_are_l1s(void **state)
{
    struct hv_world *w = *state;

    for (uint32_t code = 0; code <= 0xffff; code++) {
        bool mine = code == SPACE || code == LIST || code == SPACE_EX || code == LIST_EX;

        assert_int_equal(look(w, code) != NVI_HV_DIRECT_NONE, mine);
    }
}

/* [TLFS "Legal Hypercall Environments"]: what L1 makes of others is its own affair. */
static void calls_outside_ring_0_or_protected_mode_are_l1s(void **state)
{
    struct hv_world *w = *state;

    assert_int_equal(look(w, SPACE), NVI_HV_DIRECT_MEMORY);
    w->caller.cpl = 3;
    assert_int_equal(look(w, SPACE), NVI_HV_DIRECT_NONE);
    w->caller.cpl = 0;
    w->caller.protected_mode = false;
    assert_int_equal(look(w, SPACE), NVI_HV_DIRECT_NONE);
}

static void the_place_of_input_is_asked_for_where_it_has_one(void **state)
{
    struct hv_world *w = *state;
    nvirt_l2gpa input = nvirt_l2gpa_make(0);

    assert_int_equal(look(w, LIST | REPS(1)), NVI_HV_DIRECT_MEMORY);
    assert_int_equal(look(w, SPACE | FAST), NVI_HV_DIRECT_XMM);
    assert_int_equal(look(w, LIST | FAST | REPS(11)), NVI_HV_DIRECT_XMM);
    /* More than any register holds, reserved bits: nothing is read, the answer is an error. */
    assert_int_equal(look(w, LIST | FAST | REPS(12)), NVI_HV_DIRECT_REGISTERS);
    assert_int_equal(look(w, SPACE | NVIRT_BIT(63)), NVI_HV_DIRECT_REGISTERS);
    w->gprs.r[NVIRT_RCX] = SPACE;
    w->gprs.r[NVIRT_RDX] = INPUT + 0xff0;
    assert_int_equal(nvi_hv_direct_look(&w->vp[0], &w->caller, &w->gprs, &input),
                     NVI_HV_DIRECT_REGISTERS);
    w->gprs.r[NVIRT_RDX] = INPUT + 0xfe8;
    assert_int_equal(nvi_hv_direct_look(&w->vp[0], &w->caller, &w->gprs, &input),
                     NVI_HV_DIRECT_MEMORY);
    assert_int_equal(input.value, INPUT + 0xfe8);
}

/* ---- whose queues ---- */

/* [TLFS "Direct Virtual Flush"]: the caller's VM, and the VPs in the mask. */
static void the_vps_of_the_callers_vm_are_flushed_and_no_other(void **state)
{
    struct hv_world *w = *state;

    enter(w, 0, VM, 7);
    enter(w, 1, VM, 3);
    enter(w, 2, OTHER_VM, 3);
    enter(w, 3, VM, 63);
    assert_int_equal(flush_space(w, 0, NVIRT_BIT(3)), 0);
    assert_int_equal(reached(w), 1u << 1);
    assert_int_equal(flush_space(w, 0, NVIRT_BIT(7) | NVIRT_BIT(63)), 0);
    assert_int_equal(reached(w), 1u << 0 | 1u << 3);
    /* Their numbers are not those of L1's processors. */
    assert_int_equal(flush_space(w, 0, NVIRT_BIT(0) | NVIRT_BIT(1) | NVIRT_BIT(2)), 0);
    assert_int_equal(reached(w), 0);
    assert_int_equal(flush_space(w, ALL_PROCESSORS, 0), 0);
    assert_int_equal(reached(w), 1u << 0 | 1u << 1 | 1u << 3);
}

/* L1 may give the same number twice, or move a VP: both may hold what is to be flushed. */
static void each_processor_that_may_hold_it_is_flushed(void **state)
{
    struct hv_world *w = *state;

    enter(w, 0, VM, 0);
    enter(w, 1, VM, 5);
    enter(w, 2, VM, 5);
    assert_int_equal(flush_space(w, 0, NVIRT_BIT(5)), 0);
    assert_int_equal(reached(w), 1u << 1 | 1u << 2);
    assert_int_equal(kicks(w), 2);
}

/* [CVE-2026-64247]: the number of a VP is L1's, and no set has more than 64 banks of 64. */
static void a_vp_number_beyond_the_banks_is_in_no_set(void **state)
{
    const uint64_t full[] = {0, 0, 0, ~UINT64_C(0)};
    uint64_t words[4 + 64];
    struct hv_world *w = *state;

    enter(w, 0, VM, 0);
    enter(w, 1, VM, 4095);
    enter(w, 2, VM, 4096);
    enter(w, 3, VM, UINT32_MAX);
    memset(words, 0xff, sizeof words);
    memcpy(words, full, sizeof full);
    assert_int_equal(call(w, SPACE_EX | BANKS_OF(64), words, 4 + 64), 0);
    assert_int_equal(reached(w), 1u << 0 | 1u << 1);
    assert_int_equal(flush_space(w, 0, ~UINT64_C(0)), 0);
    assert_int_equal(reached(w), 1u << 0);
    assert_int_equal(flush_space(w, ALL_PROCESSORS, 0), 0);
    assert_int_equal(reached(w), 15);
}

static void what_waits_is_what_was_asked_for(void **state)
{
    const uint64_t list[] = {0, 0, 1, 0x5000, 0x6001};
    struct hv_world *w = *state;
    uint64_t entries[4];
    uint32_t count;

    enter(w, 0, VM, 0);
    assert_int_equal(call(w, LIST | REPS(2), list, 5), REPS(2));
    assert_int_equal(nvirt_hv_fifo_take(&w->vp[0].direct.fifo, entries, 4, &count),
                     NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(count, 2);
    assert_memory_equal(entries, list + 3, 16);
    assert_int_equal(flush_space(w, NOT_GLOBAL, 1), 0);
    assert_int_equal(waits(w, 0), NVIRT_HV_WAITS_NOT_GLOBAL);
    (void)reached(w);
    assert_int_equal(flush_space(w, ALL_SPACES, 1), 0);
    assert_int_equal(waits(w, 0), NVIRT_HV_WAITS_ALL);
}

/* As for L1's own calls; nothing is flushed. */
static void a_call_that_is_wrong_is_answered_and_flushes_nothing(void **state)
{
    struct hv_world *w = *state;

    w->caller.xmm = NULL;
    enter(w, 0, VM, 0);
    assert_int_equal(flush_space(w, 8, 1), NVIRT_HV_INVALID_PARAMETER);
    assert_int_equal(call_fast(w, SPACE, 0, ALL_PROCESSORS), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call_fast(w, SPACE | NVIRT_BIT(63), 0, 1), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call_fast(w, LIST | REPS(1), 0, 1), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    assert_int_equal(reached(w), 0);
    assert_int_equal(kicks(w), 0);
}

/* ---- the L2 that runs ---- */

static void an_l2_that_stays_needs_no_flush(void **state)
{
    struct hv_world *w = *state;

    enter(w, 0, VM, 4);
    (void)run(w, 0);
    enter(w, 0, VM, 4);
    expect_no_flush(w, 0);
}

/* What others wanted flushed of either went past this processor while it was not here. */
static void an_l2_that_comes_back_finds_its_tag_flushed(void **state)
{
    struct hv_world *w = *state;

    enter_with(w, 0, 1, VM, 4);
    (void)run(w, 0);
    enter_with(w, 0, 2, VM, 5);
    (void)run(w, 0);
    enter_with(w, 0, 1, VM, 4);
    expect_tag_flush(w, 0, TAG_A);
    enter_with(w, 0, 2, VM, 5);
    expect_tag_flush(w, 0, TAG_B);
}

/* Its number, its VM, or its tag alone. */
static void each_part_of_what_an_l2_is_counts(void **state)
{
    struct hv_world *w = *state;

    enter_with(w, 0, 1, VM, 4);
    (void)run(w, 0);
    enter_with(w, 0, 1, VM, 5);
    expect_tag_flush(w, 0, TAG_A);
    enter_with(w, 0, 1, OTHER_VM, 5);
    expect_tag_flush(w, 0, TAG_A);
    enter_with(w, 0, 2, OTHER_VM, 5);
    (void)run(w, 0);
    enter_with(w, 0, 1, OTHER_VM, 5);
    expect_tag_flush(w, 0, TAG_A);
}

/* What was wanted flushed of it before L1 left that to nvirt went past this processor. */
static void an_l2_that_becomes_one_of_nvirts_finds_its_tag_flushed(void **state)
{
    struct hv_world *w = *state;

    enter_plain(w, 0, 1);
    (void)run(w, 0);
    enter(w, 0, VM, 4);
    expect_tag_flush(w, 0, TAG_A);
}

/* What was wanted of it while another was here: its tag is used by one whose flushes are L1's. */
static void a_tag_that_an_l2_left_is_flushed_whoever_uses_it(void **state)
{
    struct hv_world *w = *state;

    enter_with(w, 0, 1, VM, 4);
    (void)run(w, 0);
    enter_with(w, 0, 2, VM, 5);
    (void)run(w, 0);
    enter_plain(w, 0, 1);
    expect_tag_flush(w, 0, TAG_A);
}

/* What was cached of it is used under the same tag, by an L2 whose flushes are L1's. */
static void an_l2_whose_flushes_are_nvirts_no_more_is_flushed(void **state)
{
    struct hv_world *w = *state;

    enter(w, 0, VM, 4);
    (void)run(w, 0);
    enter(w, 1, VM, 0);
    nvirt_hv_fifo_put_all(&w->vp[0].direct.fifo, false);
    enter_plain(w, 0, 1);
    assert_false(nvi_hv_direct_is_active(&w->vp[0]));
    expect_tag_flush(w, 0, TAG_A);
    enter_plain(w, 0, 1);
    expect_no_flush(w, 0);
}

/* One under another tag changes nothing: what waits is for the tag that it was put in for. */
static void what_waits_for_an_l2_waits_while_another_runs(void **state)
{
    struct hv_world *w = *state;
    const uint64_t entry = 0x5000;
    struct nvirt_flush_set due;

    enter_with(w, 0, 1, VM, 4);
    (void)run(w, 0);
    assert_true(nvirt_hv_fifo_put(&w->vp[0].direct.fifo, &entry, 1));
    enter_plain(w, 0, 2);
    (void)run(w, 0);
    assert_int_equal(waits(w, 0), NVIRT_HV_WAITS_ENTRIES);
    enter_with(w, 0, 1, VM, 4);
    due = run(w, 0);
    assert_int_equal(due.count, 1);
    assert_int_equal(due.op[0].kind, NVIRT_FLUSH_VPID_ADDRESS);
    assert_int_equal(due.op[0].tag, TAG_A);
    assert_int_equal(due.op[0].operand, 0x5000);
}

static void an_l2_that_has_left_is_nobodys_target(void **state)
{
    struct hv_world *w = *state;

    enter(w, 0, VM, 0);
    enter(w, 1, VM, 1);
    (void)run(w, 1);
    nvi_hv_direct_leave(&w->vp[1], &engine[1].tlb);
    assert_int_equal(flush_space(w, ALL_PROCESSORS, 0), 0);
    assert_int_equal(reached(w), 1u << 0);
    enter(w, 1, VM, 1);
    expect_tag_flush(w, 1, TAG_A);
    assert_int_equal(flush_space(w, ALL_PROCESSORS, 0), 0);
    assert_int_equal(reached(w), 3);
}

static void a_queue_of_l2s_is_given_to_a_processor_that_there_is(void **state)
{
    struct hv_world *w = *state;

    assert_int_equal(nvirt_hv_vp_init_l2(NULL, 0, w->slot2[0], 4), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_vp_init_l2(&w->partition, 0, NULL, 4), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_vp_init_l2(&w->partition, 0, w->slot2[0], 3), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_vp_init_l2(&w->partition, VPS, w->slot2[0], 4), NVIRT_ERR_RANGE);
}

static void what_went_through_the_queue_is_counted(void **state)
{
    const uint64_t entries[] = {0x1000, 0x2000, 0x3000, 0x4000, 0x5000};
    struct nvirt_hv_fifo_stats stats;
    struct hv_world *w = *state;

    enter(w, 0, VM, 4);
    (void)run(w, 0);
    assert_true(nvirt_hv_fifo_put(&w->vp[0].direct.fifo, entries, 2));
    (void)run(w, 0);
    assert_false(nvirt_hv_fifo_put(&w->vp[0].direct.fifo, entries, 5));
    (void)run(w, 0);
    nvirt_hv_l2_stats(&w->vp[0], &stats);
    assert_int_equal(stats.queued, 6);
    assert_int_equal(stats.drained, 2);
    assert_int_equal(stats.purged, 4);
    assert_int_equal(stats.overflowed, 1);
}

#define TEST_DIRECT(name) cmocka_unit_test_setup_teardown(name, direct_setup, hv_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_DIRECT(all_but_flushes_of_linear_addresses_are_l1s),
        TEST_DIRECT(calls_outside_ring_0_or_protected_mode_are_l1s),
        TEST_DIRECT(the_place_of_input_is_asked_for_where_it_has_one),
        TEST_DIRECT(the_vps_of_the_callers_vm_are_flushed_and_no_other),
        TEST_DIRECT(each_processor_that_may_hold_it_is_flushed),
        TEST_DIRECT(a_vp_number_beyond_the_banks_is_in_no_set),
        TEST_DIRECT(what_waits_is_what_was_asked_for),
        TEST_DIRECT(a_call_that_is_wrong_is_answered_and_flushes_nothing),
        TEST_DIRECT(an_l2_that_stays_needs_no_flush),
        TEST_DIRECT(an_l2_that_comes_back_finds_its_tag_flushed),
        TEST_DIRECT(each_part_of_what_an_l2_is_counts),
        TEST_DIRECT(an_l2_that_becomes_one_of_nvirts_finds_its_tag_flushed),
        TEST_DIRECT(a_tag_that_an_l2_left_is_flushed_whoever_uses_it),
        TEST_DIRECT(an_l2_whose_flushes_are_nvirts_no_more_is_flushed),
        TEST_DIRECT(what_waits_for_an_l2_waits_while_another_runs),
        TEST_DIRECT(an_l2_that_has_left_is_nobodys_target),
        TEST_DIRECT(a_queue_of_l2s_is_given_to_a_processor_that_there_is),
        TEST_DIRECT(what_went_through_the_queue_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
