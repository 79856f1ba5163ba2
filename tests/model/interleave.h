/* SPDX-License-Identifier: MIT */
/*
 * All interleavings of a few threads that run code of nvirt's as it is, one access to shared memory at
 * a time, in every order, on the memory of x86: a store waits in its CPU's buffer and becomes visible
 * some time later, a locked instruction waits for the buffer.
 *
 * A thread is what it has read: run again from its start with the values it read before, it
 * comes to the same place. So a state is the shared memory, each thread's list of results and
 * its buffer; a step runs one thread from its start through what is recorded, makes one more
 * access, and records that.
 *
 * Included once by a model, which defines before: struct memory, shared memory and what the checks
 * note; THREADS. And after: the functions declared below.
 */
#ifndef TESTS_MODEL_INTERLEAVE_H
#define TESTS_MODEL_INTERLEAVE_H

#include "interleave_atomics.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPS = 96, MAX_BUFFER = 24 };

/* Runs a thread to its end: accesses to shared memory by the NVI_ macros only. */
static void run_thread(uint32_t number);
/* Of what only one thread uses no other can tell when. */
static bool is_private(size_t at);
static const char *fault_now(void);
/* All have finished, no store waits. */
static const char *fault_at_end(void);

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

static void step(uint32_t number)
{
    running = &now.thread[number];
    replayed = 0;
    stepped = false;
    if (setjmp(enough) == 0) {
        run_thread(number);
        running->finished = true;
    }
}

/* Thread @p number does one thing more, with nobody else there. */
static void run_alone(uint32_t number, void (*what)(void))
{
    volatile bool done = false;

    running = &now.thread[number];
    running->ops = 0;
    while (!done) {
        replayed = 0;
        stepped = false;
        if (setjmp(enough) == 0) {
            what();
            done = true;
        }
    }
    while (running->stores != 0) {
        commit(running);
    }
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

/* Every order from @p now on. @return what went wrong; null for nothing. */
static const char *explore_all(void)
{
    free(seen);
    states = 0;
    seen_mask = (UINT64_C(1) << 20) - 1;
    seen = calloc(seen_mask + 1, sizeof(*seen));
    return seen == NULL ? "no memory" : explore();
}

#endif
