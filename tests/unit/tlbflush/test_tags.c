/* SPDX-License-Identifier: MIT */
/* The space of hardware tags, one CPU at a time; several at once: tests/model/tags_threads.c. */
#include "tlb_rig.h"

#define COUNT 70u

struct space {
    struct nvirt_tlb_tags tags;
    uint64_t word[NVIRT_TLB_TAGS_WORDS(COUNT)];
};

static void make_space(struct space *s)
{
    memset(s->word, 0xff, sizeof(s->word));
    assert_int_equal(nvirt_tlb_tags_init(&s->tags, 5, COUNT, s->word), NVIRT_OK);
}

static void test_init_refuses_null_and_tag_0(void **state)
{
    struct nvirt_tlb_tags tags;
    uint64_t word;

    (void)state;
    assert_int_equal(nvirt_tlb_tags_init(NULL, 1, 1, &word), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_tags_init(&tags, 1, 1, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_tags_init(&tags, 0, 1, &word), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_tlb_tags_init(&tags, 1, 0, &word), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_tlb_tags_init(&tags, 2, UINT32_MAX - 1, &word), NVIRT_ERR_RANGE);
}

static void test_each_tag_is_given_out_once(void **state)
{
    bool seen[5 + COUNT] = {false};
    struct space s;

    (void)state;
    make_space(&s);
    for (uint32_t i = 0; i < COUNT / 7; i++) {
        uint32_t tags[7];

        assert_int_equal(nvirt_tlb_tags_take(&s.tags, tags, 7), NVIRT_OK);
        for (uint32_t j = 0; j < 7; j++) {
            assert_in_range(tags[j], 5, 5 + COUNT - 1);
            assert_false(seen[tags[j]]);
            seen[tags[j]] = true;
        }
    }
}

static void test_too_few_free_tags_take_none(void **state)
{
    uint32_t tags[COUNT + 1];
    struct space s;

    (void)state;
    make_space(&s);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, tags, COUNT + 1), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, tags, COUNT), NVIRT_OK);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, tags + COUNT, 1), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, NULL, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_tlb_tags_take(NULL, tags, 1), NVIRT_ERR_NULL);
}

static void test_given_back_tags_are_given_out_again(void **state)
{
    uint32_t tags[COUNT];
    const uint32_t strange[] = {0, 4, 5 + COUNT, UINT32_MAX};
    uint32_t again;
    struct space s;

    (void)state;
    make_space(&s);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, tags, COUNT), NVIRT_OK);
    nvirt_tlb_tags_give(&s.tags, strange, 4);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, &again, 1), NVIRT_ERR_RANGE);
    nvirt_tlb_tags_give(&s.tags, &tags[66], 1);
    assert_int_equal(nvirt_tlb_tags_take(&s.tags, &again, 1), NVIRT_OK);
    assert_int_equal(again, tags[66]);
}

/* A tag moves to another vCPU that shares the roots: what its last owner cached under them is there, and
 * no flush of a root since then took it. */
static void test_a_tag_second_hand_is_flushed_under_shared_roots(void **state)
{
    struct rig r;
    struct nvirt_tlb next;
    const struct nvirt_tlb_config config = {.domain = &r.domain,
                                            .caps = all_caps,
                                            .tag01 = 1,
                                            .tags = two_tags,
                                            .tag_count = 2};
    const struct nvirt_tlb_entry entry = {.level = 2, .cpu = 0, .root = 0, .eptp = 0x5000};

    (void)state;
    make(&r, &all_caps, false);
    vmx_visit(&r, 7, 0, 0);
    assert_int_equal(nvirt_tlb_init(&next, &config), NVIRT_OK);
    assert_int_equal(nvirt_tlb_vmx_enter_l2(&next, true, 7), 10);
    assert_false(nvirt_tlb_enter_settled(&next, &entry));
    nvirt_tlb_due(&next, &entry, &r.due);
    assert_one(&r, NVIRT_FLUSH_VPID, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_refuses_null_and_tag_0),
        cmocka_unit_test(test_each_tag_is_given_out_once),
        cmocka_unit_test(test_too_few_free_tags_take_none),
        cmocka_unit_test(test_given_back_tags_are_given_out_again),
        cmocka_unit_test(test_a_tag_second_hand_is_flushed_under_shared_roots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
