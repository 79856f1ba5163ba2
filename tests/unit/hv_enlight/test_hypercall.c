/* SPDX-License-Identifier: MIT */
/* Hypercalls that flush: how they are made, what is refused, and whose queues get what. */
#include "hv_world.h"

#define SPACE 0x0002u
#define LIST 0x0003u
#define SPACE_EX 0x0013u
#define LIST_EX 0x0014u
#define NESTED_SPACE 0x00afu
#define NESTED_LIST 0x00b0u
#define FAST NVIRT_BIT(16)
#define REPS(n) ((uint64_t)(n) << 32)
#define START(n) ((uint64_t)(n) << 48)
#define BANKS_OF(n) ((uint64_t)(n) << 17)

#define ALL_PROCESSORS 1u
#define ALL_SPACES 2u
#define NOT_GLOBAL 4u

static void put_input(struct hv_world *w, const uint64_t *words, uint32_t count)
{
    fake_vm_put(w->port, INPUT, words, count * 8u);
}

/* Makes it with the input in memory. @return its result. */
static uint64_t call_at(struct hv_world *w, uint64_t control, uint64_t input)
{
    w->gprs.r[NVIRT_RCX] = control;
    w->gprs.r[NVIRT_RDX] = input;
    assert_int_equal(nvirt_hv_hypercall(&w->partition, &w->caller, &w->gprs), NVIRT_HV_DONE);
    return w->gprs.r[NVIRT_RAX];
}

static uint64_t call(struct hv_world *w, uint64_t control, const uint64_t *words, uint32_t count)
{
    put_input(w, words, count);
    return call_at(w, control, INPUT);
}

static uint64_t call_fast(struct hv_world *w, uint64_t control, const uint64_t *words,
                          uint32_t count)
{
    w->gprs.r[NVIRT_RCX] = control | FAST;
    w->gprs.r[NVIRT_RDX] = words[0];
    w->gprs.r[NVIRT_R8] = words[1];
    if (count > 2) {
        memcpy(w->xmm, words + 2, (count - 2) * 8u);
    }
    assert_int_equal(nvirt_hv_hypercall(&w->partition, &w->caller, &w->gprs), NVIRT_HV_DONE);
    return w->gprs.r[NVIRT_RAX];
}

/* What waits for a processor; entries are taken out. */
static uint32_t waits(struct hv_world *w, uint32_t vp, uint64_t *entries, uint32_t *count)
{
    return nvirt_hv_fifo_take(&w->vp[vp].fifo, entries, 16, count);
}

static void expect_waits(struct hv_world *w, uint32_t vp, uint32_t what)
{
    uint64_t entries[16];
    uint32_t count;

    assert_int_equal(waits(w, vp, entries, &count), what);
}

static void expect_nothing(struct hv_world *w)
{
    for (uint32_t i = 0; i < VPS; i++) {
        expect_waits(w, i, 0);
        assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[i]), 0);
    }
}

static void expect_entries(struct hv_world *w, uint32_t vp, const uint64_t *entries, uint32_t count)
{
    uint64_t out[16];
    uint32_t got;

    assert_int_equal(waits(w, vp, out, &got), NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(got, count);
    assert_memory_equal(out, entries, count * 8u);
}

/* ---- who may ---- */

static enum nvirt_hv_outcome try(struct hv_world *w)
{
    return nvirt_hv_hypercall(&w->partition, &w->caller, &w->gprs);
}

/* [TLFS "Legal Hypercall Environments"] */
static void test_hypercalls_need_ring_0_protected_mode_and_the_page(void **state)
{
    struct hv_world *w = *state;
    struct nvirt_gprs before = w->gprs;

    assert_int_equal(try(w), NVIRT_HV_UD);
    establish(w);
    w->caller.cpl = 3;
    assert_int_equal(try(w), NVIRT_HV_UD);
    w->caller.cpl = 0;
    w->caller.protected_mode = false;
    assert_int_equal(try(w), NVIRT_HV_UD);
    assert_memory_equal(&before, &w->gprs, sizeof(before));
    w->caller.protected_mode = true;
    assert_int_equal(try(w), NVIRT_HV_DONE);
}

static void test_a_code_that_is_not_offered_is_refused(void **state)
{
    static const uint16_t codes[] = {0, 1, 4, 0x12, 0x15, 0xae, 0xb1, 0x8001};
    struct hv_world *w = *state;

    establish(w);
    for (uint32_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(call_at(w, codes[i], INPUT), NVIRT_HV_INVALID_HYPERCALL_CODE);
    }
    w->partition.offer = NVIRT_HV_OFFER_FLUSH;
    assert_int_equal(call_at(w, NESTED_SPACE, INPUT), NVIRT_HV_INVALID_HYPERCALL_CODE);
    w->partition.offer = NVIRT_HV_OFFER_NESTED_FLUSH;
    assert_int_equal(call_at(w, SPACE, INPUT), NVIRT_HV_INVALID_HYPERCALL_CODE);
    expect_nothing(w);
}

/* [TLFS "Hypercall Inputs"] */
static void test_control_word_is_checked(void **state)
{
    static const uint64_t wrong[] = {
        SPACE | NVIRT_BIT(27), SPACE | NVIRT_BIT(31),     SPACE | NVIRT_BIT(44),
        SPACE | NVIRT_BIT(63), SPACE | NVIRT_BIT(60),     SPACE | REPS(1),
        SPACE | START(1),      SPACE | BANKS_OF(1),       LIST,
        LIST | REPS(2) | START(2), LIST | REPS(1) | BANKS_OF(1),
        NESTED_SPACE | REPS(1), NESTED_LIST | BANKS_OF(1) | REPS(1)};
    struct hv_world *w = *state;

    establish(w);
    for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal((uint16_t)call_at(w, wrong[i], INPUT), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    }
    expect_nothing(w);
}

/* [TLFS "Alignment Requirements"] */
static void test_input_is_aligned_within_a_page_and_in_memory(void **state)
{
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call_at(w, SPACE, INPUT + 4), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, SPACE, INPUT + 0x1000 - 16), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, LIST | REPS(2), INPUT + 0x1000 - 32), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, LIST | REPS(0xfff), INPUT), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, SPACE_EX | BANKS_OF(0x3ff), INPUT), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, SPACE, RAM), NVIRT_HV_INVALID_ALIGNMENT);
    assert_int_equal(call_at(w, SPACE, UINT64_C(0xfffffffffffff000)), NVIRT_HV_INVALID_ALIGNMENT);
    expect_nothing(w);
}

static void test_each_byte_of_input_is_read_once(void **state)
{
    const uint64_t input[] = {0, 0, 0, 7, 1, 1, 4, 0x1000, 0x2000};
    struct hv_world *w = *state;

    establish(w);
    fake_vm_log_reset(w->port);
    assert_int_equal(call(w, LIST_EX | BANKS_OF(3) | REPS(2), input, 9), REPS(2));
    assert_int_equal(fake_vm_most_reads(w->port, NULL), 1);
}

/* ---- which processors ---- */

/* [TLFS "HvCallFlushVirtualAddressSpace"] */
static void test_space_flushes_all_of_the_processors_named(void **state)
{
    const uint64_t input[] = {0x123000, ALL_SPACES, NVIRT_BIT(0) | NVIRT_BIT(63)};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, SPACE, input, 3), NVIRT_HV_SUCCESS);
    assert_int_equal(w->port->kicks[0], 1);
    assert_int_equal(w->port->kicks[1], 0);
    expect_waits(w, 0, NVIRT_HV_WAITS_ALL);
    expect_waits(w, 63, NVIRT_HV_WAITS_ALL);
    expect_nothing(w);
}

static void test_all_processors_ignores_the_set(void **state)
{
    const uint64_t plain[] = {0, ALL_PROCESSORS, 0};
    const uint64_t sparse[] = {0, ALL_PROCESSORS, 99, 7};
    const uint64_t format[] = {0, 0, 1, 0};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, SPACE, plain, 3), NVIRT_HV_SUCCESS);
    expect_waits(w, VPS - 1, NVIRT_HV_WAITS_ALL);
    assert_int_equal(call(w, SPACE_EX, sparse, 4), NVIRT_HV_SUCCESS);
    expect_waits(w, VPS - 1, NVIRT_HV_WAITS_ALL);
    assert_int_equal(call(w, SPACE_EX, format, 4), NVIRT_HV_SUCCESS);
    for (uint32_t i = 0; i < VPS; i++) {
        expect_waits(w, i, NVIRT_HV_WAITS_ALL);
    }
}

static void test_not_global_may_leave_global_translations(void **state)
{
    const uint64_t input[] = {0, NOT_GLOBAL, 2};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, SPACE, input, 3), NVIRT_HV_SUCCESS);
    expect_waits(w, 1, NVIRT_HV_WAITS_NOT_GLOBAL);
    expect_nothing(w);
}

static void test_flags_that_there_are_not_are_refused(void **state)
{
    static const uint32_t codes[] = {SPACE, LIST, SPACE_EX, LIST_EX};
    struct hv_world *w = *state;

    establish(w);
    for (uint32_t i = 0; i < 4; i++) {
        bool list = codes[i] == LIST || codes[i] == LIST_EX;
        uint64_t control = codes[i] | (list ? REPS(1) : 0);

        for (uint32_t bit = list ? 2 : 3; bit < 64; bit++) {
            const uint64_t input[] = {0, NVIRT_BIT(bit), 1, 0, 0x1000};

            assert_int_equal(call(w, control, input, 5), NVIRT_HV_INVALID_PARAMETER);
        }
    }
    expect_nothing(w);
}

/* [TLFS "HV_VP_SET"]: the set { 0, 5, 128 }; a valid bank may be empty; processors there are not
 * are none. */
static void test_sparse_sets_name_banks(void **state)
{
    const uint64_t input[] = {0, 0, 0, 0x8000000000000005, 0x21, 0x1, UINT64_MAX};
    const uint64_t empty[] = {0, 0, 0, 2, 0};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, SPACE_EX | BANKS_OF(3), input, 7), NVIRT_HV_SUCCESS);
    expect_waits(w, 0, NVIRT_HV_WAITS_ALL);
    expect_waits(w, 5, NVIRT_HV_WAITS_ALL);
    expect_waits(w, 128, NVIRT_HV_WAITS_ALL);
    expect_nothing(w);
    assert_int_equal(call(w, SPACE_EX | BANKS_OF(1), empty, 5), NVIRT_HV_SUCCESS);
    expect_nothing(w);
}

static void test_sparse_sets_of_all_64_banks_fit(void **state)
{
    uint64_t input[4 + 64] = {0, 0, 0, UINT64_MAX};
    struct hv_world *w = *state;

    establish(w);
    input[4 + 1] = 1;
    assert_int_equal(call(w, SPACE_EX | BANKS_OF(64), input, 68), NVIRT_HV_SUCCESS);
    expect_waits(w, 64, NVIRT_HV_WAITS_ALL);
    expect_nothing(w);
}

/* CVE-2025-58147, -58148: banks beyond those that came with the call. */
static void test_sparse_sets_have_as_many_banks_as_they_say(void **state)
{
    struct hv_world *w = *state;

    establish(w);
    for (uint32_t valid = 0; valid < 16; valid++) {
        for (uint32_t banks = 0; banks < 6; banks++) {
            const uint64_t input[10] = {0, 0, 0, valid};
            uint64_t status = call(w, SPACE_EX | BANKS_OF(banks), input, 10);
            bool fits = banks == (uint32_t)__builtin_popcount(valid);

            assert_int_equal(status,
                             fits ? NVIRT_HV_SUCCESS : NVIRT_HV_INVALID_HYPERCALL_INPUT);
        }
    }
    expect_nothing(w);
}

static void test_formats_that_there_are_not_are_refused(void **state)
{
    const uint64_t input[] = {0, 0, 2, 0};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, SPACE_EX, input, 4), NVIRT_HV_INVALID_PARAMETER);
    expect_nothing(w);
}

/* ---- lists ---- */

/* [TLFS "HvCallFlushVirtualAddressList"] */
static void test_lists_go_into_the_queues_from_their_start_index_on(void **state)
{
    const uint64_t input[] = {0, 0, 3, 0x1000, 0x2001, 0x3000};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, LIST | REPS(3) | START(1), input, 6), REPS(3));
    expect_entries(w, 0, input + 4, 2);
    expect_entries(w, 1, input + 4, 2);
    expect_nothing(w);
}

static void test_lists_behind_sparse_sets(void **state)
{
    const uint64_t input[] = {0, 0, 0, 4, 2, 0x1000, 0x2000};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, LIST_EX | BANKS_OF(1) | REPS(2), input, 7), REPS(2));
    expect_entries(w, 129, input + 5, 2);
    expect_nothing(w);
}

static void test_long_lists_become_one_flush(void **state)
{
    uint64_t input[3 + 17] = {0, 0, 1};
    const uint64_t pages[] = {0, 0, 1, 0x1000 | 16};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, LIST | REPS(17), input, 20), REPS(17));
    expect_waits(w, 0, NVIRT_HV_WAITS_ALL);
    assert_int_equal(call(w, LIST | REPS(1), pages, 4), REPS(1));
    expect_waits(w, 0, NVIRT_HV_WAITS_ALL);
    expect_nothing(w);
}

/* [TLFS "Hypercall Classes"]: of what is wrong nothing is done beyond the start index. */
static void test_a_list_that_cannot_be_read_completes_nothing(void **state)
{
    const uint64_t input[] = {0, 0, 1, 0x1000, 0x2000};
    struct hv_world *w = *state;

    establish(w);
    put_input(w, input, 5);
    fake_vm_fail(w->port, FAKE_CALL_READ, 2);
    assert_int_equal(call_at(w, LIST | REPS(2) | START(1), INPUT),
                     NVIRT_HV_INVALID_ALIGNMENT | REPS(1));
    expect_nothing(w);
}

/* ---- registers ---- */

/* [TLFS "XMM Fast Hypercall Input"] */
static void test_fast_input_is_in_registers(void **state)
{
    const uint64_t input[14] = {0, 0, 1, 0x1000, 0x2000, 0x3000, 0x4000};
    uint64_t sparse[14] = {0, 0, 0, 6, 1, 2, 0x7000};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call_fast(w, LIST | REPS(4), input, 14), REPS(4));
    expect_entries(w, 0, input + 3, 4);
    assert_int_equal(call_fast(w, LIST_EX | BANKS_OF(2) | REPS(1), sparse, 14), REPS(1));
    expect_entries(w, 64, sparse + 6, 1);
    expect_entries(w, 129, sparse + 6, 1);
    expect_nothing(w);
}

static void test_fast_input_is_bounded_by_the_registers(void **state)
{
    const uint64_t input[14] = {0, 0, 1};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call_fast(w, LIST | REPS(11), input, 14), REPS(11)); /* 112 bytes */
    expect_waits(w, 0, NVIRT_HV_WAITS_ALL); /* more than four places */
    assert_int_equal(call_fast(w, LIST | REPS(12), input, 14), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    assert_int_equal(call_fast(w, LIST_EX | BANKS_OF(0x3ff) | REPS(0xfff), input, 14),
                     NVIRT_HV_INVALID_HYPERCALL_INPUT);
    /* Without XMM there is room for two words only. */
    w->partition.offer &= ~NVIRT_HV_OFFER_XMM;
    assert_int_equal(call_fast(w, SPACE, input, 3), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    w->partition.offer |= NVIRT_HV_OFFER_XMM;
    w->caller.xmm = NULL;
    assert_int_equal(call_fast(w, SPACE, input, 3), NVIRT_HV_INVALID_HYPERCALL_INPUT);
    expect_nothing(w);
    assert_int_equal(call_fast(w, NESTED_SPACE, input, 2), NVIRT_HV_SUCCESS);
}

/* [TLFS "Hypercall Inputs"]: EDX:EAX, EBX:ECX, EDI:ESI; the result in EDX:EAX. */
static void test_callers_in_32_bit_modes_have_pairs_of_registers(void **state)
{
    const uint64_t input[] = {0, 0, 1, 0x1000};
    struct hv_world *w = *state;
    uint64_t control = LIST | REPS(1);

    establish(w);
    put_input(w, input, 4);
    w->caller.is_64bit = false;
    w->gprs.r[NVIRT_RAX] = UINT64_C(0xdead00000000) | (uint32_t)control;
    w->gprs.r[NVIRT_RDX] = control >> 32;
    w->gprs.r[NVIRT_RBX] = 0;
    w->gprs.r[NVIRT_RCX] = UINT64_C(0xbeef00000000) | INPUT;
    assert_int_equal(try(w), NVIRT_HV_DONE);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(w->gprs.r[NVIRT_RDX], 1);
    expect_entries(w, 0, input + 3, 1);
}

/* ---- the second stage ---- */

/* [TLFS "HvCallFlushGuestPhysicalAddressSpace"] */
static void test_second_stage_flushes_wait_for_every_processor(void **state)
{
    const uint64_t input[] = {0x77000 | 0x1e, 0};
    const uint64_t flags[] = {0x77000, 1};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, NESTED_SPACE, flags, 2), NVIRT_HV_INVALID_PARAMETER);
    expect_nothing(w);
    assert_int_equal(call(w, NESTED_SPACE, input, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(call(w, NESTED_SPACE, input, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(w->port->kicks[0], 2);
    for (uint32_t i = 0; i < VPS; i++) {
        assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[i]), 0x77000);
    }
    expect_nothing(w);
}

static void test_second_stage_flushes_of_two_tables_are_of_all(void **state)
{
    const uint64_t one[] = {0x77000, 0};
    const uint64_t two[] = {0x78000, 0};
    const uint64_t none[] = {0, 0};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, NESTED_SPACE, one, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(call(w, NESTED_SPACE, two, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[0]), NVIRT_HV_NESTED_ALL);
    assert_int_equal(call(w, NESTED_SPACE, one, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[1]), NVIRT_HV_NESTED_ALL);
    assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[0]), 0x77000);
    assert_int_equal(call(w, NESTED_SPACE, none, 2), NVIRT_HV_SUCCESS);
    assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[0]), NVIRT_HV_NESTED_ALL);
}

static void test_second_stage_lists_count_their_elements(void **state)
{
    const uint64_t input[] = {0x77000, 0, 0x1000, 0x2000};
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(call(w, NESTED_LIST | REPS(2), input, 4), REPS(2));
    assert_int_equal(nvirt_hv_take_nested_flush(&w->vp[0]), 0x77000);
    assert_int_equal(call_at(w, NESTED_LIST | REPS(2), INPUT + 0x1000 - 24),
                     NVIRT_HV_INVALID_ALIGNMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hv_setup, hv_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hypercalls_need_ring_0_protected_mode_and_the_page),
        TEST(test_a_code_that_is_not_offered_is_refused),
        TEST(test_control_word_is_checked),
        TEST(test_input_is_aligned_within_a_page_and_in_memory),
        TEST(test_each_byte_of_input_is_read_once),
        TEST(test_space_flushes_all_of_the_processors_named),
        TEST(test_all_processors_ignores_the_set),
        TEST(test_not_global_may_leave_global_translations),
        TEST(test_flags_that_there_are_not_are_refused),
        TEST(test_sparse_sets_name_banks),
        TEST(test_sparse_sets_of_all_64_banks_fit),
        TEST(test_sparse_sets_have_as_many_banks_as_they_say),
        TEST(test_formats_that_there_are_not_are_refused),
        TEST(test_lists_go_into_the_queues_from_their_start_index_on),
        TEST(test_lists_behind_sparse_sets),
        TEST(test_long_lists_become_one_flush),
        TEST(test_a_list_that_cannot_be_read_completes_nothing),
        TEST(test_fast_input_is_in_registers),
        TEST(test_fast_input_is_bounded_by_the_registers),
        TEST(test_callers_in_32_bit_modes_have_pairs_of_registers),
        TEST(test_second_stage_flushes_wait_for_every_processor),
        TEST(test_second_stage_flushes_of_two_tables_are_of_all),
        TEST(test_second_stage_lists_count_their_elements),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
