/* SPDX-License-Identifier: MIT */
/*
 * The flush queue under all interleavings: two producers and one consumer run
 * src/hv_enlight/fifo.c as it is, one access to shared memory at a time, in every order, on the
 * memory of x86: a store waits in its CPU's buffer and becomes visible some time later, a locked
 * instruction waits for the buffer.
 *
 * A thread is what it has read: run again from its start with the values it read before, it
 * comes to the same place. So a state is the shared memory, each thread's list of results and
 * its buffer; a step runs one thread from its start through what is recorded, makes one more
 * access, and records that.
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
#include "hv_fifo_model.h"

#include <nvirt/hyperv.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCERS = 2, THREADS = 3, CONSUMER = 2, MAX_CALLS = 2, MAX_LIST = 3, MAX_OPS = 96,
       MAX_BUFFER = 24, MAX_IDS = 16, MAX_SLOTS = 4 };

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

struct store {
    uint16_t at;
    uint8_t size;
    uint64_t value;
};

struct thread {
    uint32_t ops;
    bool finished;
    uint32_t stores;
    struct store store[MAX_BUFFER];
    uint64_t result[MAX_OPS];
};

struct state {
    struct memory memory;
    struct thread thread[THREADS];
};

/* The code has pointers into this one. */
static struct state now;
static struct thread *running;
static uint32_t replayed;
static bool stepped;
static jmp_buf enough;

/* ---- memory ---- */

static uint64_t get(const struct memory *memory, size_t at, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)memory + at, size);
    return value;
}

static void set(struct memory *memory, size_t at, size_t size, uint64_t value)
{
    memcpy((char *)memory + at, &value, size);
}

static void commit(struct thread *thread)
{
    set(&now.memory, thread->store[0].at, thread->store[0].size, thread->store[0].value);
    thread->stores--;
    memmove(thread->store, thread->store + 1, thread->stores * sizeof(thread->store[0]));
    memset(&thread->store[thread->stores], 0, sizeof(thread->store[0]));
}

static uint64_t load(size_t at, size_t size)
{
    for (uint32_t i = running->stores; i-- > 0;) {
        if (running->store[i].at == at) {
            return running->store[i].value;
        }
    }
    return get(&now.memory, at, size);
}

static uint64_t locked(enum mc_kind kind, size_t at, size_t size, uint64_t value, uint64_t expected)
{
    uint64_t old;

    while (running->stores != 0) {
        commit(running);
    }
    old = get(&now.memory, at, size);
    switch (kind) {
    case MC_EXCHANGE:
        break;
    case MC_OR:
        value |= old;
        break;
    case MC_ADD:
        value += old;
        break;
    default:
        if (old != expected) {
            return old;
        }
    }
    set(&now.memory, at, size, value);
    return old;
}

/* Only the consumer uses these: no other thread can tell when. */
static bool is_private(size_t at)
{
    return at >= offsetof(struct memory, fifo.head) && at < sizeof(struct nvirt_hv_fifo);
}

/* Recorded results first; then one access of the thread's; then no more. */
static bool replay(uint64_t *result)
{
    if (replayed < running->ops) {
        *result = running->result[replayed++];
        return true;
    }
    return false;
}

static void record(uint64_t result)
{
    if (running->ops == MAX_OPS) {
        fprintf(stderr, "a thread makes too many accesses for this model\n");
        exit(1);
    }
    running->result[running->ops++] = result;
    replayed = running->ops;
}

uint64_t mc_access(enum mc_kind kind, const void *where, size_t size, uint64_t value,
                   uint64_t expected)
{
    size_t at = (size_t)((const char *)where - (const char *)&now.memory);
    uint64_t result = 0;

    if (replay(&result)) {
        return result;
    }
    if (is_private(at)) {
        result = get(&now.memory, at, size);
        if (kind == MC_STORE) {
            set(&now.memory, at, size, value);
        }
        record(result);
        return result;
    }
    if (stepped) {
        longjmp(enough, 1);
    }
    stepped = true;
    if (kind == MC_LOAD) {
        result = load(at, size);
    } else if (kind == MC_STORE) {
        if (running->stores == MAX_BUFFER) {
            fprintf(stderr, "too many stores wait for this model\n");
            exit(1);
        }
        running->store[running->stores++] = (struct store){(uint16_t)at, (uint8_t)size, value};
    } else {
        result = locked(kind, at, size, value, expected);
    }
    record(result);
    return result;
}

bool mc_take_turn(uint64_t *at, uint64_t *expected, uint64_t value)
{
    uint64_t old = mc_access(MC_TAKE_TURN, at, sizeof(*at), value, *expected);
    bool taken = old == *expected;

    *expected = old;
    return taken;
}

/* Something the checks do between two accesses: done once, not when replayed. */
static bool first_time(void)
{
    uint64_t result;

    if (replay(&result)) {
        return false;
    }
    record(0);
    return true;
}

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

static void step(uint32_t number)
{
    running = &now.thread[number];
    replayed = 0;
    stepped = false;
    if (setjmp(enough) != 0) {
        return;
    }
    if (number == CONSUMER) {
        consume();
    } else {
        produce(number);
    }
    running->finished = true;
}

/* ---- all states ---- */

static uint64_t *seen;
static uint64_t seen_mask = (UINT64_C(1) << 20) - 1, states;

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    uint64_t word;

    for (; bytes >= 8; bytes -= 8, byte += 8) {
        memcpy(&word, byte, 8);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (; bytes != 0; bytes--, byte++) {
        hash = (hash ^ *byte) * UINT64_C(0x100000001b3);
        hash ^= hash >> 32;
    }
    return hash;
}

static uint64_t hash_of(const struct state *state)
{
    uint64_t hash = mix(1, &state->memory, sizeof(state->memory));

    for (uint32_t i = 0; i < THREADS; i++) {
        const struct thread *thread = &state->thread[i];

        hash = mix(hash, &thread->ops, sizeof(thread->ops));
        hash = mix(hash, thread->result, thread->ops * sizeof(thread->result[0]));
        hash = mix(hash, thread->store, thread->stores * sizeof(thread->store[0]));
        hash = mix(hash, &thread->stores, sizeof(thread->stores));
    }
    return hash | 1;
}

static bool insert(uint64_t hash)
{
    uint64_t at = hash & seen_mask;

    while (seen[at] != 0) {
        if (seen[at] == hash) {
            return false;
        }
        at = (at + 1) & seen_mask;
    }
    seen[at] = hash;
    return true;
}

static bool is_new(const struct state *state)
{
    if (states * 2 > seen_mask) {
        uint64_t *old = seen, size = seen_mask + 1;

        seen_mask = size * 2 - 1;
        seen = calloc(seen_mask + 1, sizeof(*seen));
        if (seen == NULL) {
            exit(1);
        }
        for (uint64_t i = 0; i < size; i++) {
            if (old[i] != 0) {
                (void)insert(old[i]);
            }
        }
        free(old);
    }
    if (!insert(hash_of(state))) {
        return false;
    }
    states++;
    return true;
}

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

/* The consumer takes once more, with nobody else there. */
static void take_alone(void)
{
    volatile bool done = false;

    running = &now.thread[CONSUMER];
    running->ops = 0;
    while (!done) {
        replayed = 0;
        stepped = false;
        if (setjmp(enough) == 0) {
            take();
            done = true;
        }
    }
    while (running->stores != 0) {
        commit(running);
    }
}

/* All have finished, no store waits. */
static const char *fault_at_end(void)
{
    struct memory *memory = &now.memory;

    for (uint32_t i = 1; i < MAX_IDS; i++) {
        if (memory->returned[i] && !memory->taken[i] && !memory->covered[i] && !memory->kicked[i]) {
            return "the guest runs, an entry waits, and nobody kicks";
        }
    }
    take_alone();
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

static const char *explore(void)
{
    const struct state here = now;
    const char *fault = fault_now();
    bool end = true;

    for (uint32_t i = 0; i < 2 * THREADS && fault == NULL; i++) {
        uint32_t number = i % THREADS;
        bool steps = i < THREADS;

        if (steps ? here.thread[number].finished : here.thread[number].stores == 0) {
            continue;
        }
        end = false;
        now = here;
        if (steps) {
            step(number);
        } else {
            commit(&now.thread[number]);
        }
        if (is_new(&now)) {
            fault = explore();
        }
    }
    if (end && fault == NULL) {
        fault = fault_at_end();
    }
    return fault;
}

static const char *run(void)
{
    memset(&now, 0, sizeof(now));
    if (nvirt_hv_fifo_init(&now.memory.fifo, now.memory.slot, scenario->capacity) != NVIRT_OK) {
        return "no queue";
    }
    free(seen);
    states = 0;
    seen_mask = (UINT64_C(1) << 20) - 1;
    seen = calloc(seen_mask + 1, sizeof(*seen));
    return seen == NULL ? "no memory" : explore();
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
