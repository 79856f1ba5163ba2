/* SPDX-License-Identifier: MIT */
/*
 * The space of tags and requests of other CPUs, with real threads under ThreadSanitizer. Eight
 * vCPUs take tags and give them back: no tag has two owners, and what one owner wrote is seen by
 * the next. One vCPU enters all the time while two other CPUs post requests: none is lost.
 */
#include <nvirt/tlbflush.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS = 8, ROUNDS = 5000, COUNT = 20, EACH = 3, POSTS = 3000 };

static struct nvirt_tlb_tags tags;
static uint64_t words[NVIRT_TLB_TAGS_WORDS(COUNT)];
static uint32_t owner[1 + COUNT]; /* not atomic: ThreadSanitizer sees who is not alone */
static uint64_t failures, refused;

static void *take_and_give(void *argument)
{
    uint32_t self = 1 + (uint32_t)(uintptr_t)argument;
    uint32_t own[EACH];

    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (nvirt_tlb_tags_take(&tags, own, EACH) != NVIRT_OK) {
            __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
            continue;
        }
        for (uint32_t i = 0; i < EACH; i++) {
            if (owner[own[i]] != 0) {
                __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
            }
            owner[own[i]] = self;
        }
        sched_yield(); /* others come while these are taken */
        for (uint32_t i = 0; i < EACH; i++) {
            if (owner[own[i]] != self) {
                __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
            }
            owner[own[i]] = 0;
        }
        nvirt_tlb_tags_give(&tags, own, EACH);
    }
    return NULL;
}

static struct nvirt_tlb_root root;
static struct nvirt_tlb_domain domain;
static struct nvirt_tlb tlb;
static uint64_t asked[2], answered[2]; /* by level */
static uint32_t posters, stop;

/* One request at a time, of a kind of its own: the next when a flush has answered it. */
static void *post(void *argument)
{
    uint32_t level = (uint32_t)(uintptr_t)argument;

    for (uint32_t i = 0; i < POSTS && __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0; i++) {
        uint64_t number = __atomic_add_fetch(&asked[level], 1, __ATOMIC_RELEASE);

        nvirt_tlb_post(&tlb, level + 1, NVIRT_TLB_REQUEST_GUEST);
        while (__atomic_load_n(&answered[level], __ATOMIC_ACQUIRE) < number &&
               __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0) {
            sched_yield();
        }
    }
    __atomic_fetch_sub(&posters, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void enter(uint32_t level)
{
    const struct nvirt_tlb_entry entry = { .level = level + 1, .cpu = 0 };
    struct nvirt_flush_set due;
    uint64_t number;

    if (nvirt_tlb_enter_settled(&tlb, &entry)) {
        return;
    }
    nvirt_tlb_due(&tlb, &entry, &due);
    /* What was taken in has been counted by now. */
    number = __atomic_load_n(&asked[level], __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < due.count; i++) {
        nvirt_tlb_done(&tlb, 0, &due.op[i]);
    }
    nvirt_tlb_entered(&tlb, &entry);
    if (due.count != 0) {
        __atomic_store_n(&answered[level], number, __ATOMIC_RELEASE);
    }
}

/* A request that is lost is never answered. The posters may wait long for a CPU. */
static void enter_until_answered(void)
{
    time_t since = time(NULL);
    uint64_t last = 0;

    while (__atomic_load_n(&posters, __ATOMIC_ACQUIRE) != 0 && time(NULL) < since + 15) {
        enter(0);
        enter(1);
        if (answered[0] + answered[1] != last) {
            last = answered[0] + answered[1];
            since = time(NULL);
        } else {
            sched_yield();
        }
    }
    failures += __atomic_load_n(&posters, __ATOMIC_ACQUIRE) != 0;
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

static void run_threads(void *(*what)(void *), uint32_t count, void (*meanwhile)(void))
{
    pthread_t thread[THREADS];

    for (uintptr_t i = 0; i < count; i++) {
        if (pthread_create(&thread[i], NULL, what, (void *)i) != 0) {
            abort();
        }
    }
    if (meanwhile != NULL) {
        meanwhile();
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
    }
}

int main(void)
{
    static const uint32_t tag = 2;
    const struct nvirt_tlb_config config = {
        .domain = &domain, .svm = true, .caps = { .flush_by_asid = true }, .tag01 = 1, .tags = &tag,
        .tag_count = 1 };

    if (nvirt_tlb_tags_init(&tags, 1, COUNT, words) != NVIRT_OK) {
        return 2;
    }
    run_threads(take_and_give, THREADS, NULL);
    for (uint32_t i = 0; i < NVIRT_TLB_TAGS_WORDS(COUNT); i++) {
        failures += words[i] != 0;
    }
    nvirt_tlb_domain_init(&domain, &root, 1, false);
    if (nvirt_tlb_init(&tlb, &config) != NVIRT_OK) {
        return 2;
    }
    (void)nvirt_tlb_svm_enter_l2(&tlb, 1, true, 0);
    posters = 2;
    run_threads(post, 2, enter_until_answered);
    printf("requests answered: %llu; tags refused when all were taken: %llu; failures: %llu\n",
           (unsigned long long)(answered[0] + answered[1]),
           (unsigned long long)refused, (unsigned long long)failures);
    return failures == 0 ? 0 : 1;
}
