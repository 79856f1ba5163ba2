/* SPDX-License-Identifier: MIT */
/*
 * The flush queue under all interleavings (interleave.h): two producers and one consumer run
 * src/hv_enlight/fifo.c as it is.
 *
 * The consumer enters its guest in each round: says so, takes from the queue, and leaves but for
 * the last time. A producer looks after each request whether the consumer is in its guest, and
 * kicks it then.
 *
 * - what was put in by a call that has returned before a take begins comes out of that take, or
 *   of one
 *     before it, or "all" does;
 * - nothing comes out that was not put in, or twice;
 * - what is still in the queue while the consumer stays in its guest was put in by a producer
 *   that kicks;
 * - in the end one more take empties the queue, and each entry came out or "all" stood for it.
 *
 * Ends with `N passed, N failed`.
 */
#include "interleave_atomics.h"

#include <nvirt/hyperv.h>

enum { PRODUCERS = 2, THREADS = 3, CONSUMER = 2, MAX_CALLS = 2, MAX_LIST = 3, MAX_IDS = 16,
       MAX_SLOTS = 4 };

/* What each producer puts in: calls with lists of so many entries; 0 ends, ALL is
 * nvirt_hv_fifo_put_all(). */
enum { ALL = -1 };
struct scenario {
    const char *name;
    uint32_t capacity;
    int calls[PRODUCERS][MAX_CALLS];
    uint32_t rounds;
};

static const struct scenario scenarios[] = {
    {"size 2, one entry each, two rounds", 2, {{1}, {1}}, 2},
    {"size 2, two calls against one", 2, {{1, 1}, {1}}, 1},
    {"size 2, lists that overflow", 2, {{2}, {2}}, 1},
    {"size 2, two calls each", 2, {{1, 1}, {1, 1}}, 1},
    {"size 2, one entry against all, two rounds", 2, {{1}, {ALL}}, 2},
    {"size 2, a list against one entry, three rounds", 2, {{2}, {1}}, 3},
    {"size 4, lists of two", 4, {{2}, {2}}, 1},
    {"size 4, lists of three", 4, {{3}, {3}}, 1},
    {"size 4, two calls against one", 4, {{1, 1}, {1}}, 1},
    {"size 4, one entry each, two rounds", 4, {{1}, {1}}, 2},
};
enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };
static const struct scenario *scenario;

/* Shared memory, and what the checks note. */
struct memory {
    struct nvirt_hv_fifo fifo;
    struct nvirt_hv_slot slot[MAX_SLOTS];
    uint32_t in_guest;
    /* Not seen by the code: by entry (their numbers start at 1). */
    bool started[MAX_IDS], returned[MAX_IDS], kicked[MAX_IDS], taken[MAX_IDS], covered[MAX_IDS];
    bool twice, foreign, late;
};

#include "interleave.h"

/* ---- what the threads do ---- */

#ifndef HV_FIFO_SOURCE
#define HV_FIFO_SOURCE "../../src/hv_enlight/fifo.c"
#endif
#include HV_FIFO_SOURCE

static uint32_t id_of(uint32_t producer, uint32_t call, uint32_t index)
{
    return 1 + producer * MAX_CALLS * MAX_LIST + call * MAX_LIST + index;
}

static void call(uint32_t producer, uint32_t number, int length)
{
    uint64_t entries[MAX_LIST];
    uint32_t first = id_of(producer, number, 0);
    uint32_t ids = length == ALL ? 1 : (uint32_t)length;
    bool kick;

    for (uint32_t i = 0; i < ids; i++) {
        entries[i] = first + i;
    }
    if (first_time()) {
        memset(&now.memory.started[first], true, ids);
    }
    if (length == ALL) {
        nvirt_hv_fifo_put_all(&now.memory.fifo, false);
    } else {
        (void)nvirt_hv_fifo_put(&now.memory.fifo, entries, ids);
    }
    kick = NVI_LOAD(&now.memory.in_guest, __ATOMIC_RELAXED) != 0;
    if (first_time()) {
        memset(&now.memory.returned[first], true, ids);
        memset(&now.memory.kicked[first], kick, ids);
    }
}

static void produce(uint32_t producer)
{
    for (uint32_t i = 0; i < MAX_CALLS && scenario->calls[producer][i] != 0; i++) {
        call(producer, i, scenario->calls[producer][i]);
    }
}

static void note_taken(const uint64_t *entries, uint32_t count, uint32_t what,
                       const bool *had_returned)
{
    struct memory *memory = &now.memory;

    for (uint32_t i = 0; i < count; i++) {
        if (entries[i] == 0 || entries[i] >= MAX_IDS || !memory->started[entries[i]]) {
            memory->foreign = true;
        } else {
            memory->twice |= memory->taken[entries[i]];
            memory->taken[entries[i]] = true;
        }
    }
    for (uint32_t i = 0; i < MAX_IDS; i++) {
        memory->covered[i] |= (what & NVIRT_HV_WAITS_ALL) != 0 && memory->started[i];
        memory->late |= had_returned[i] && !memory->taken[i] && !memory->covered[i];
    }
}

static void take(void)
{
    bool had_returned[MAX_IDS] = {false};
    uint64_t entries[MAX_SLOTS];
    uint32_t count;
    uint32_t what;

    /* A recorded bit each: who had returned when the take began. */
    for (uint32_t i = 1; i < MAX_IDS; i++) {
        uint64_t returned;

        if (!replay(&returned)) {
            returned = now.memory.returned[i];
            record(returned);
        }
        had_returned[i] = returned != 0;
    }
    what = nvirt_hv_fifo_take(&now.memory.fifo, entries, MAX_SLOTS, &count);
    if (first_time()) {
        note_taken(entries, count, what, had_returned);
    }
}

static void consume(void)
{
    for (uint32_t round = 0; round < scenario->rounds; round++) {
        (void)NVI_EXCHANGE(&now.memory.in_guest, 1, __ATOMIC_SEQ_CST);
        take();
        if (round + 1 < scenario->rounds) {
            NVI_STORE(&now.memory.in_guest, 0, __ATOMIC_RELEASE);
        }
    }
}

/* Only the consumer uses these: no other thread can tell when. */
static bool is_private(size_t at)
{
    return at >= offsetof(struct memory, fifo.head) && at < sizeof(struct nvirt_hv_fifo);
}

static void run_thread(uint32_t number)
{
    if (number == CONSUMER) {
        consume();
    } else {
        produce(number);
    }
}

/* ---- what must hold ---- */

static const char *fault_now(void)
{
    const struct memory *memory = &now.memory;

    if (memory->twice) {
        return "an entry came out twice";
    }
    if (memory->foreign) {
        return "something came out that was not put in";
    }
    if (memory->late) {
        return "a take missed what was put in before it began";
    }
    return NULL;
}

static const char *fault_at_end(void)
{
    struct memory *memory = &now.memory;

    for (uint32_t i = 1; i < MAX_IDS; i++) {
        if (memory->returned[i] && !memory->taken[i] && !memory->covered[i] && !memory->kicked[i]) {
            return "the guest runs, an entry waits, and nobody kicks";
        }
    }
    /* The consumer takes once more. */
    run_alone(CONSUMER, take);
    for (uint32_t i = 1; i < MAX_IDS; i++) {
        if (memory->started[i] && !memory->taken[i] && !memory->covered[i]) {
            return "an entry is lost";
        }
    }
    if (memory->fifo.head != memory->fifo.tail || memory->fifo.waits != 0 ||
        memory->fifo.drained + memory->fifo.purged != memory->fifo.tail) {
        return "the queue is not empty after a take without anybody else";
    }
    return fault_now();
}

static const char *run(void)
{
    memset(&now, 0, sizeof(now));
    if (nvirt_hv_fifo_init(&now.memory.fifo, now.memory.slot, scenario->capacity) != NVIRT_OK) {
        return "no queue";
    }
    return explore_all();
}

/* With an argument: ends at the first fault, as one is expected. */
int main(int argc, char **argv)
{
    uint32_t failed = 0;

    (void)argv;
    for (uint32_t i = 0; i < SCENARIOS && (argc == 1 || failed == 0); i++) {
        const char *fault;

        scenario = &scenarios[i];
        fault = run();
        printf("%s: %llu states%s%s\n", scenario->name, (unsigned long long)states,
               fault == NULL ? "" : ": ", fault == NULL ? "" : fault);
        fflush(stdout);
        failed += fault != NULL;
    }
    printf("%u passed, %u failed\n", (unsigned)SCENARIOS - failed, failed);
    return failed == 0 ? 0 : 1;
}
