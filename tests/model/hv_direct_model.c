/* SPDX-License-Identifier: MIT */
/*
 * Who runs where, under all interleavings (interleave.h): a processor of L1's changes its L2s while
 * an L2 on another processor asks for a flush. Both run src/hv_enlight/direct.c and fifo.c as they
 * are.
 *
 * The caller changes a word of its guest's page tables, looks which L2 the other processor tells of,
 * puts "all" into its queue where that is one that is meant, and kicks it if it is in its guest. The
 * other processor makes three visits to L2s, each under one of two tags: the L2 that is meant, with
 * the enlightenment or without, or another one. In a visit it says who is here and announces that it
 * enters its guest (VMX), or the other way round (SVM), does the flushes that are due by then, and
 * reads the word, which stays cached under the tag until a flush of that.
 *
 * Once the call has returned, and a kick was followed, no visit of the L2 that is meant uses the old
 * word; nor does one without the enlightenment, where the word was cached in one with it. In a visit
 * without it L1 sees to flushes itself: what was cached there is not judged there.
 *
 * Ends with `N passed, N failed`.
 */
#include "interleave_atomics.h"

#include "hv_enlight/direct.h"

#include <stdlib.h>

enum { CALLER, PROCESSOR, THREADS, VISITS = 3, TAGS = 2, SLOTS = 2 };

/* Of the word, as a TLB has it. */
enum cached { NOTHING, OLD, OLD_OF_L1S /* read in a visit without the enlightenment */, NEW };

struct memory {
    struct nvirt_hv_vp vp;        /* The processor, */
    struct nvirt_hv_slot slot[SLOTS];
    struct nvirt_hv_direct caller; /* and the caller's own. */
    uint64_t word;                 /* Of the page tables: 0, then 1. */
    uint32_t in_guest;
    /* Not seen by the code. */
    enum cached tlb[TAGS];
    bool owes[TAGS];
    bool is_guest, is_meant; /* The visit that the processor is in, and whose. */
    uint32_t tag;
    bool kicked, returned;
    bool stale;
};

#include "interleave.h"

#ifndef HV_DIRECT_SOURCE
#define HV_DIRECT_SOURCE "../../src/hv_enlight/direct.c"
#endif
#include HV_DIRECT_SOURCE
#include "../../src/hv_enlight/fifo.c"

/* The L2 that is meant, and another. */
static const struct nvi_hv_identity meant = { .vm = 7, .vp = 1 };
static const struct nvi_hv_identity others[] = { { .vm = 7, .vp = 2 }, { .vm = 8, .vp = 1 } };

enum who { MEANT, MEANT_WITHOUT, OTHER_VP, OTHER_VM, WHO_KINDS };
static const char *const names[WHO_KINDS] = { "meant", "without", "other VP", "other VM" };

struct visit {
    enum who who;
    uint32_t tag;
};
static struct visit visits[VISITS];
static bool tells_late;

void nvirt_tlb_request_tag(struct nvirt_tlb *tlb, uint32_t tag02)
{
    (void)tlb;
    if (first_time()) {
        now.memory.owes[tag02] = true;
    }
}

/* ---- what the threads do ---- */

static void call(void)
{
    struct memory *memory = &now.memory;
    uint32_t number = 0;
    bool kick = false;

    NVI_STORE(&memory->word, 1, __ATOMIC_RELAXED);
    nvi_hv_direct_begin(&memory->caller);
    if (nvi_hv_direct_runs(&memory->vp.direct, meant.vm, &number) && number == meant.vp) {
        nvirt_hv_fifo_put_all(&memory->vp.direct.fifo, false);
        kick = NVI_LOAD(&memory->in_guest, __ATOMIC_RELAXED) != 0;
    }
    if (first_time()) {
        memory->kicked = kick;
        memory->returned = !kick;
    }
}

static void flush(struct memory *memory, uint32_t tag)
{
    if (first_time()) {
        memory->tlb[tag] = NOTHING;
    }
}

/* Of this thread's own, told from its own past only. */
static bool owes(uint32_t tag)
{
    uint64_t owed;

    if (!replay(&owed)) {
        owed = now.memory.owes[tag];
        now.memory.owes[tag] = false;
        record(owed);
    }
    return owed != 0;
}

static void do_due(struct memory *memory, bool direct, uint32_t tag)
{
    struct nvirt_hv_fifo *fifo = &memory->vp.direct.fifo;
    uint64_t entries[SLOTS];
    uint32_t count = 0;
    uint32_t what;

    if (owes(tag)) {
        if (direct) {
            nvirt_hv_fifo_purge(fifo);
        }
        flush(memory, tag);
    } else if (direct) {
        what = nvirt_hv_fifo_take(fifo, entries, SLOTS, &count);
        if (what != 0 || count != 0) {
            flush(memory, tag);
        }
    }
}

static enum cached cached_of(uint32_t tag)
{
    uint64_t cached;

    if (!replay(&cached)) {
        cached = now.memory.tlb[tag];
        record(cached);
    }
    return (enum cached)cached;
}

static void use_word(struct memory *memory, const struct visit *visit)
{
    bool without = visit->who == MEANT_WITHOUT;
    enum cached cached = cached_of(visit->tag);
    bool is_new;

    if (cached == NOTHING) {
        is_new = NVI_LOAD(&memory->word, __ATOMIC_RELAXED) != 0;
        if (first_time()) {
            memory->tlb[visit->tag] = is_new ? NEW : without ? OLD_OF_L1S : OLD;
        }
    } else if (first_time()) {
        memory->stale |= memory->returned && (cached == OLD || (cached == OLD_OF_L1S && !without));
    }
}

static void enter(struct memory *memory, const struct visit *visit)
{
    bool is_meant = visit->who == MEANT || visit->who == MEANT_WITHOUT;
    const struct nvi_hv_identity *who = visit->who == MEANT    ? &meant
                                        : visit->who == OTHER_VP ? &others[0]
                                        : visit->who == OTHER_VM ? &others[1]
                                                                 : NULL;

    if (!tells_late) {
        nvi_hv_direct_enter(&memory->vp, NULL, who, visit->tag);
    }
    (void)NVI_EXCHANGE(&memory->in_guest, 1, __ATOMIC_SEQ_CST);
    if (tells_late) {
        nvi_hv_direct_enter(&memory->vp, NULL, who, visit->tag);
    }
    if (first_time()) {
        memory->returned |= memory->kicked;
    }
    do_due(memory, who != NULL, visit->tag);
    if (is_meant) {
        use_word(memory, visit);
        use_word(memory, visit);
    }
    if (first_time()) {
        memory->is_guest = true;
        memory->is_meant = visit->who == MEANT;
        memory->tag = visit->tag;
    }
}

static void run_thread(uint32_t number)
{
    struct memory *memory = &now.memory;

    if (number == CALLER) {
        call();
        return;
    }
    /* Of the processor's own and not shared: as it is at the start of what is replayed. */
    memory->vp.direct.tag = 0;
    memory->vp.direct.active = false;
    memory->vp.direct.assist_page = 0;
    for (uint32_t i = 0; i < VISITS; i++) {
        enter(memory, &visits[i]);
        if (i + 1 < VISITS) {
            NVI_STORE(&memory->in_guest, 0, __ATOMIC_RELEASE);
        }
    }
}

/* Only the processor uses these, and the caller its own. */
static bool is_private(size_t at)
{
    size_t fifo = offsetof(struct memory, vp.direct.fifo);

    return at >= fifo + offsetof(struct nvirt_hv_fifo, head) &&
           at < fifo + sizeof(struct nvirt_hv_fifo);
}

/* ---- what must hold ---- */

static const char *fault_now(void)
{
    return now.memory.stale ? "the old word is used after the call" : NULL;
}

static struct visit last;
static uint32_t tag_at_end;

static void visit_last(void)
{
    now.memory.vp.direct.tag = tag_at_end;
    enter(&now.memory, &last);
}

/* The L2 that is meant comes once more, under each tag. */
static const char *fault_at_end(void)
{
    const struct state end = now;
    struct memory *memory = &now.memory;

    if (memory->is_guest && memory->is_meant && memory->tlb[memory->tag] == OLD &&
        !memory->kicked) {
        return "the guest runs with the old word, and nobody kicks";
    }
    tag_at_end = memory->vp.direct.tag;
    for (uint32_t i = 0; i < 2 * TAGS && fault_now() == NULL; i++) {
        now = end;
        last = (struct visit){ i < TAGS ? MEANT : MEANT_WITHOUT, i % TAGS };
        run_alone(PROCESSOR, visit_last);
    }
    return fault_now();
}

static uint64_t all_states;
static uint32_t histories;

static const char *run(uint32_t number)
{
    memset(&now, 0, sizeof(now));
    tells_late = number % 2 != 0;
    number /= 2;
    for (uint32_t i = 0; i < VISITS; i++, number /= WHO_KINDS * TAGS) {
        visits[i] = (struct visit){ (enum who)(number % WHO_KINDS),
                                    number / WHO_KINDS % TAGS };
    }
    if (nvirt_hv_fifo_init(&now.memory.vp.direct.fifo, now.memory.slot, SLOTS) != NVIRT_OK) {
        return "no queue";
    }
    const char *fault = explore_all();

    all_states += states;
    histories++;
    return fault;
}

/* With an argument: ends at the first fault, as one is expected. */
int main(int argc, char **argv)
{
    uint32_t failed = 0, all = 2;

    (void)argv;
    for (uint32_t i = 0; i < VISITS; i++) {
        all *= WHO_KINDS * TAGS;
    }
    for (uint32_t i = 0; i < all && (argc == 1 || failed == 0); i++) {
        const char *fault = run(i);

        if (fault != NULL) {
            failed++;
            for (uint32_t k = 0; k < VISITS; k++) {
                printf("%s under tag %u, ", names[visits[k].who], (unsigned)visits[k].tag);
            }
            printf("%s%llu states: %s\n", tells_late ? "told late, " : "",
                   (unsigned long long)states, fault);
        }
    }
    printf("%u histories of three visits, %llu states\n", (unsigned)histories,
           (unsigned long long)all_states);
    printf("%u passed, %u failed\n", (unsigned)(histories - failed), (unsigned)failed);
    return failed == 0 ? 0 : 1;
}
