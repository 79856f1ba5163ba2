/* SPDX-License-Identifier: MIT */
/* The flush queue, one CPU at a time; several at once: tests/model/hv_fifo_model.c,
 * hv_fifo_threads.c. */
#include <nvirt/hyperv.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct queue {
    struct nvirt_hv_fifo fifo;
    struct nvirt_hv_slot slot[4];
    uint64_t out[8];
    uint32_t count;
};

static void make(struct queue *q)
{
    memset(q, 0xff, sizeof(*q));
    assert_int_equal(nvirt_hv_fifo_init(&q->fifo, q->slot, 4), NVIRT_OK);
}

static uint32_t take(struct queue *q)
{
    return nvirt_hv_fifo_take(&q->fifo, q->out, 8, &q->count);
}

static bool put(struct queue *q, uint64_t first, uint32_t count)
{
    uint64_t entries[8];

    for (uint32_t i = 0; i < count; i++) {
        entries[i] = first + i;
    }
    return nvirt_hv_fifo_put(&q->fifo, entries, count);
}

static void test_init_wants_a_power_of_two_and_memory(void **state)
{
    struct nvirt_hv_slot slot[8];
    struct nvirt_hv_fifo fifo;

    (void)state;
    assert_int_equal(nvirt_hv_fifo_init(NULL, slot, 4), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, NULL, 4), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, slot, 0), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, slot, 1), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, slot, 6), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, slot, 2 * NVIRT_HV_FIFO_MAX), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_fifo_init(&fifo, slot, 8), NVIRT_OK);
}

static void test_entries_come_out_once_in_order(void **state)
{
    struct queue q;

    (void)state;
    make(&q);
    assert_int_equal(take(&q), 0);
    assert_int_equal(q.count, 0);
    /* More laps than one, with every fill. */
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t count = 1 + i % 4;

        assert_false(nvirt_hv_fifo_waits(&q.fifo));
        assert_true(put(&q, 100 * i, count));
        assert_true(nvirt_hv_fifo_waits(&q.fifo));
        assert_int_equal(take(&q), NVIRT_HV_WAITS_ENTRIES);
        assert_int_equal(q.count, count);
        for (uint32_t j = 0; j < count; j++) {
            assert_int_equal(q.out[j], 100 * i + j);
        }
        assert_int_equal(take(&q), 0);
    }
}

static void test_what_finds_no_room_becomes_all(void **state)
{
    struct nvirt_hv_fifo_stats stats;
    struct queue q;

    (void)state;
    make(&q);
    assert_true(put(&q, 1, 3));
    assert_false(put(&q, 10, 2));
    assert_false(put(&q, 20, 1)); /* and takes no place: none is needed any more */
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ALL);
    assert_int_equal(q.count, 0);
    nvirt_hv_fifo_stats(&q.fifo, &stats);
    assert_int_equal(stats.queued, 4);
    assert_int_equal(stats.overflowed, 1);
    assert_int_equal(stats.purged, 4);
    assert_int_equal(stats.drained, 0);
    assert_true(put(&q, 30, 4));
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(q.count, 4);
}

static void test_more_than_the_taker_has_room_for_is_all(void **state)
{
    uint64_t out[2];
    uint32_t count;
    struct queue q;

    (void)state;
    make(&q);
    assert_true(put(&q, 1, 3));
    assert_int_equal(nvirt_hv_fifo_take(&q.fifo, out, 2, &count), NVIRT_HV_WAITS_ALL);
    assert_int_equal(count, 0);
    assert_int_equal(take(&q), 0);
}

static void test_not_global_waits_beside_entries(void **state)
{
    struct queue q;

    (void)state;
    make(&q);
    nvirt_hv_fifo_put_all(&q.fifo, true);
    assert_true(put(&q, 7, 1));
    assert_int_equal(take(&q), NVIRT_HV_WAITS_NOT_GLOBAL | NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.out[0], 7);
    nvirt_hv_fifo_put_all(&q.fifo, false);
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ALL);
}

static void test_no_entries_are_no_request(void **state)
{
    struct queue q;

    (void)state;
    make(&q);
    assert_true(nvirt_hv_fifo_put(&q.fifo, NULL, 0));
    assert_false(nvirt_hv_fifo_waits(&q.fifo));
}

static void test_purge_drops_and_counts(void **state)
{
    struct nvirt_hv_fifo_stats stats;
    struct queue q;

    (void)state;
    make(&q);
    nvirt_hv_fifo_purge(&q.fifo);
    assert_true(put(&q, 1, 3));
    nvirt_hv_fifo_put_all(&q.fifo, false);
    nvirt_hv_fifo_purge(&q.fifo);
    assert_false(nvirt_hv_fifo_waits(&q.fifo));
    assert_int_equal(take(&q), 0);
    nvirt_hv_fifo_stats(&q.fifo, &stats);
    assert_int_equal(stats.purged, 3);
    assert_true(put(&q, 1, 4));
}

static void test_a_producer_interrupted_half_way_delays_nobody(void **state)
{
    struct queue q;

    (void)state;
    make(&q);
    q.fifo.tail++; /* one has its place, and has not written yet */
    assert_true(put(&q, 50, 2));
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(q.count, 2);
    assert_int_equal(q.out[0], 50);
    /* Its place is not given to anybody else. */
    assert_true(put(&q, 60, 1));
    assert_false(put(&q, 70, 1));
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ALL);
    /* It goes on. */
    q.slot[0].entry = 9;
    q.slot[0].turn = 1;
    q.fifo.waits |= NVIRT_HV_WAITS_ENTRIES;
    assert_int_equal(take(&q), NVIRT_HV_WAITS_ENTRIES);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.out[0], 9);
    assert_true(put(&q, 1, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_wants_a_power_of_two_and_memory),
        cmocka_unit_test(test_entries_come_out_once_in_order),
        cmocka_unit_test(test_what_finds_no_room_becomes_all),
        cmocka_unit_test(test_more_than_the_taker_has_room_for_is_all),
        cmocka_unit_test(test_not_global_waits_beside_entries),
        cmocka_unit_test(test_no_entries_are_no_request),
        cmocka_unit_test(test_purge_drops_and_counts),
        cmocka_unit_test(test_a_producer_interrupted_half_way_delays_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
