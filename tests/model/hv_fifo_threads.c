/* SPDX-License-Identifier: MIT */
/*
 * The flush queue with real threads under ThreadSanitizer: eight producers, one consumer, with
 * plenty of room and with less than there are producers. A producer changes its page table (a
 * plain variable: ThreadSanitizer sees whether the consumer comes after), asks for the flush and
 * waits until it was made. An entry that comes out was put in with the number it has; one that
 * does not come out is stood for by "all"; nobody waits for ever.
 */
#include <nvirt/hyperv.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

enum { PRODUCERS = 8, ROUNDS = 4000, SCARCE = 4, PLENTY = 1024, SECONDS = 60 };

static struct nvirt_hv_fifo fifo;
static struct nvirt_hv_slot slots[PLENTY];
static uint64_t page_table[PRODUCERS]; /* plain */
static uint64_t answered[PRODUCERS];   /* last number that came out, by producer */
static uint64_t alls;                  /* how often "all" came out */
static uint32_t left = PRODUCERS, stuck;
static uint64_t failures, entries_out, overflowed, compared;

static bool is_answered(uint32_t self, uint64_t number, uint64_t alls_before)
{
    return __atomic_load_n(&answered[self], __ATOMIC_ACQUIRE) == number ||
           __atomic_load_n(&alls, __ATOMIC_ACQUIRE) != alls_before;
}

static void *produce(void *argument)
{
    uint32_t self = (uint32_t)(uintptr_t)argument;
    time_t limit = time(NULL) + SECONDS;

    for (uint64_t number = 1; number <= ROUNDS; number++) {
        uint64_t before = __atomic_load_n(&alls, __ATOMIC_ACQUIRE);
        uint64_t entry = (number << 32) | (before & 0xfffff) << 12 | self;
        bool in;

        page_table[self] = number;
        in = nvirt_hv_fifo_put(&fifo, &entry, 1);
        while (!is_answered(self, number, before) &&
               __atomic_load_n(&stuck, __ATOMIC_RELAXED) == 0) {
            if (time(NULL) > limit) {
                __atomic_store_n(&stuck, 1, __ATOMIC_RELAXED);
            }
            sched_yield();
        }
        __atomic_fetch_add(&overflowed, !in, __ATOMIC_RELAXED);
    }
    __atomic_fetch_sub(&left, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void check(uint64_t entry)
{
    uint32_t producer = (uint32_t)(entry & 0xfff);
    uint64_t number = entry >> 32;

    entries_out++;
    if (producer >= PRODUCERS || number == 0 || number > ROUNDS) {
        failures++;
        return;
    }
    __atomic_store_n(&answered[producer], number, __ATOMIC_RELEASE);
}

static void *consume(void *argument)
{
    (void)argument;
    while (__atomic_load_n(&left, __ATOMIC_ACQUIRE) != 0) {
        uint64_t entries[PLENTY];
        uint32_t count;
        uint32_t what = nvirt_hv_fifo_take(&fifo, entries, PLENTY, &count);

        for (uint32_t i = 0; i < count; i++) {
            uint32_t producer = (uint32_t)(entries[i] & 0xfff);

            /* The producer waits, unless an "all" freed it since it asked: then it may write by
             * now. */
            if (producer < PRODUCERS &&
                (__atomic_load_n(&alls, __ATOMIC_RELAXED) & 0xfffff) ==
                    (entries[i] >> 12 & 0xfffff)) {
                failures += page_table[producer] != entries[i] >> 32;
                compared++;
            }
            check(entries[i]);
        }
        if ((what & NVIRT_HV_WAITS_ALL) != 0) {
            __atomic_fetch_add(&alls, 1, __ATOMIC_RELEASE);
        }
        sched_yield();
    }
    return NULL;
}

static bool run(struct nvirt_hv_slot *memory, uint32_t capacity, uint32_t producers)
{
    pthread_t thread[PRODUCERS + 1];
    struct nvirt_hv_fifo_stats stats;

    left = producers;
    alls = entries_out = overflowed = compared = 0;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        answered[i] = 0;
    }
    if (nvirt_hv_fifo_init(&fifo, memory, capacity) != NVIRT_OK) {
        return false;
    }
    pthread_create(&thread[producers], NULL, consume, NULL);
    for (uint32_t i = 0; i < producers; i++) {
        pthread_create(&thread[i], NULL, produce, (void *)(uintptr_t)i);
    }
    for (uint32_t i = 0; i <= producers; i++) {
        pthread_join(thread[i], NULL);
    }
    nvirt_hv_fifo_stats(&fifo, &stats);
    printf("%u producers, %u places: %llu requests, %llu entries came out, %llu of them compared, "
           "%llu overflowed, %llu dropped for all\n",
           producers, capacity, (unsigned long long)producers * ROUNDS,
           (unsigned long long)entries_out, (unsigned long long)compared,
           (unsigned long long)overflowed, (unsigned long long)stats.purged);
    return failures == 0 && stuck == 0 && stats.drained == entries_out && compared != 0 &&
           stats.queued == stats.drained + stats.purged;
}

int main(void)
{
    bool plenty = run(slots, PLENTY, PRODUCERS); /* hardly any overflow */
    bool scarce = run(slots, SCARCE, PRODUCERS);

    if (stuck != 0) {
        printf("a request was lost: its producer waits for ever\n");
    }
    printf("%d passed, %d failed\n", plenty + scarce, 2 - plenty - scarce);
    return plenty && scarce ? 0 : 1;
}
