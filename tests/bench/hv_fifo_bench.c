/* SPDX-License-Identifier: MIT */
/*
 * The flush queue beside a ring guarded by a mutex: nanoseconds of one enqueue, of one drained
 * entry and of one enqueue that finds no room, with 1 to 8 threads that put in at once, and
 * instructions of each (counted by single steps of a child, so that they repeat exactly).
 *
 * Ends with `N passed, N failed`: each count of instructions has a bound.
 */
#include <nvirt/hyperv.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 8, CAPACITY = 16, CALLS = 200000, BIG = NVIRT_HV_FIFO_MAX };

/* ---- the two queues ---- */

static volatile uint64_t last_entry;
static uint64_t entries[BIG]; /* what was taken out */

static struct nvirt_hv_fifo fifo;
static struct nvirt_hv_slot slots[BIG];

static struct ring {
    pthread_mutex_t lock;
    uint64_t head, tail, mask;
    bool all;
    uint64_t entry[BIG];
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fifo_put(void)
{
    static const uint64_t entry = 0x1000;

    (void)nvirt_hv_fifo_put(&fifo, &entry, 1);
}

static uint32_t fifo_take(void)
{
    uint32_t count;

    (void)nvirt_hv_fifo_take(&fifo, entries, BIG, &count);
    return count;
}

static void fifo_make(uint32_t capacity)
{
    if (nvirt_hv_fifo_init(&fifo, slots, capacity) != NVIRT_OK) {
        _exit(1);
    }
}

static void ring_put(void)
{
    pthread_mutex_lock(&ring.lock);
    if (ring.tail - ring.head > ring.mask) {
        ring.all = true;
    } else {
        ring.entry[ring.tail++ & ring.mask] = 0x1000;
    }
    pthread_mutex_unlock(&ring.lock);
}

static uint32_t ring_take(void)
{
    uint32_t count = 0;

    pthread_mutex_lock(&ring.lock);
    while (ring.head != ring.tail) {
        entries[count++] = ring.entry[ring.head++ & ring.mask];
    }
    ring.all = false;
    pthread_mutex_unlock(&ring.lock);
    last_entry = entries[0];
    return count;
}

static void ring_make(uint32_t capacity)
{
    ring.head = ring.tail = 0;
    ring.all = false;
    ring.mask = capacity - 1;
}

struct queue {
    const char *name;
    void (*make)(uint32_t capacity);
    void (*put)(void);
    uint32_t (*take)(void);
};

static const struct queue queues[] = {
    {"flush queue", fifo_make, fifo_put, fifo_take},
    {"mutex ring", ring_make, ring_put, ring_take},
};

/* ---- nanoseconds ---- */

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static const struct queue *queue;
static pthread_barrier_t barrier;
static uint32_t puts_each;

static struct span {
    double start, end;
} span[MOST_THREADS];

static void *put_many(void *argument)
{
    struct span *own = argument;

    pthread_barrier_wait(&barrier);
    own->start = now_ns();
    for (uint32_t i = 0; i < puts_each; i++) {
        queue->put();
    }
    own->end = now_ns();
    return NULL;
}

/* Nanoseconds that a thread spends on one put, with so many of them at it. */
static double put_ns(uint32_t threads, uint32_t each)
{
    pthread_t thread[MOST_THREADS];
    double spent = 0;

    puts_each = each;
    pthread_barrier_init(&barrier, NULL, threads);
    for (uint32_t i = 0; i < threads; i++) {
        pthread_create(&thread[i], NULL, put_many, &span[i]);
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    for (uint32_t i = 0; i < threads; i++) {
        spent += span[i].end - span[i].start;
    }
    return spent / ((double)each * threads);
}

static void measure(const struct queue *which)
{
    queue = which;
    for (uint32_t threads = 1; threads <= MOST_THREADS; threads *= 2) {
        double enqueue = 0, drain = 0, overflow;
        uint64_t drained = 0, put = 0;

        /* The queue is filled to the last place, emptied, filled again. */
        for (uint32_t i = 0; i < CALLS / BIG; i++) {
            double start;

            queue->make(BIG);
            enqueue += put_ns(threads, BIG / threads) * BIG;
            put += BIG;
            start = now_ns();
            drained += queue->take();
            drain += now_ns() - start;
        }
        queue->make(CAPACITY);
        for (uint32_t i = 0; i <= CAPACITY; i++) {
            queue->put();
        }
        overflow = put_ns(threads, CALLS / threads);
        printf("| %s | %u | %.1f | %.1f | %.1f |\n", which->name, threads, enqueue / (double)put,
               drained == 0 ? 0.0 : drain / (double)drained, overflow);
    }
}

/* ---- instructions ---- */

enum what { NOTHING, ENQUEUE, OVERFLOW, DRAIN_EMPTY, DRAIN_1, DRAIN_16, WHATS };

static void prepare(const struct queue *which, enum what what)
{
    uint32_t filled = what == DRAIN_1 ? 1 : what == DRAIN_16 ? 16 : what == OVERFLOW ? 17 : 0;

    which->make(CAPACITY);
    which->put(); /* The dynamic linker has found everything. */
    (void)which->take();
    for (uint32_t i = 0; i < filled; i++) {
        which->put();
    }
}

static void do_it(const struct queue *which, enum what what)
{
    if (what == ENQUEUE || what == OVERFLOW) {
        which->put();
    } else if (what != NOTHING) {
        (void)which->take();
    }
}

/* Steps from one stop of the child's to the next. */
static uint64_t steps_between_stops(pid_t child)
{
    int status;
    uint64_t steps = 0;

    waitpid(child, &status, 0);
    for (;;) {
        ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
            break;
        }
        steps++;
    }
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    return steps;
}

static uint64_t raw_steps(const struct queue *which, enum what what)
{
    pid_t child = fork();

    if (child == 0) {
        prepare(which, what);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        do_it(which, what);
        raise(SIGUSR1);
        _exit(0);
    }
    return child < 0 ? 0 : steps_between_stops(child);
}

static const uint32_t bound[WHATS] = {[ENQUEUE] = 60, [OVERFLOW] = 30, [DRAIN_EMPTY] = 25,
                                      [DRAIN_1] = 80, [DRAIN_16] = 400};
static const char *const what_name[WHATS] = {[ENQUEUE] = "enqueue one",
                                             [OVERFLOW] = "enqueue, no room",
                                             [DRAIN_EMPTY] = "drain none",
                                             [DRAIN_1] = "drain 1",
                                             [DRAIN_16] = "drain 16"};

int main(void)
{
    uint32_t passed = 0, failed = 0;

    printf("Nanoseconds of one operation, by the thread that does it:\n\n"
           "| queue | threads | enqueue | drained entry | enqueue, no room |\n"
           "|---|---|---|---|---|\n");
    measure(&queues[0]);
    measure(&queues[1]);
    printf("\nInstructions:\n\n| | %s | %s | bound |\n|---|---|---|---|\n", queues[0].name,
           queues[1].name);
    for (uint32_t what = NOTHING + 1; what < WHATS; what++) {
        uint64_t own = raw_steps(&queues[0], (enum what)what) - raw_steps(&queues[0], NOTHING);
        uint64_t other = raw_steps(&queues[1], (enum what)what) - raw_steps(&queues[1], NOTHING);
        bool good = own > 0 && own <= bound[what];

        printf("| %s | %llu | %llu | %u |\n", what_name[what], (unsigned long long)own,
               (unsigned long long)other, bound[what]);
        passed += good;
        failed += !good;
    }
    printf("\n%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
