/* SPDX-License-Identifier: MIT */
/*
 * The flush queue: a ring in which each place says whose turn it is. Positions count up for
 * ever; position p lies in place p mod capacity, whose turn is
 *
 *   p              free for the producer that takes position p,
 *   p + 1          full: its entry may be taken out,
 *   p + capacity   taken out: free for the position one lap later.
 *
 * A producer takes a position by moving the tail, writes the entry, then turns the place. The
 * consumer walks from head to tail and takes what is full. A place between two full ones may
 * belong to a producer that was interrupted in between: its call has not returned, so nobody
 * relies on it, and the consumer goes on behind it. So no producer delays another's request,
 * however long it is interrupted. Head stays at such a gap. The tail cannot pass it by more than
 * one lap, because its place is not free then; what finds no place becomes "all".
 *
 * Order. All that a producer's guest stored must be seen by what the consumer's guest reads
 * after the flush: the or on `waits` is a release at the end of each request, the exchange of
 * the consumer an acquire. Both are locked instructions, full barriers on x86, and that is
 * needed too: a producer's look at whether the target is in its guest must not be done before
 * its request is visible, nor the consumer's look at the queue before it said that it is about
 * to enter. A place's turn is a release store and an acquire load each way: the entry is there
 * when the place is full, and was read when it is free. Taking a position needs no order, as
 * nothing is read or written because of it but the place, which its turn guards.
 *
 * tests/model/hv_fifo_model.c tries all interleavings, with stores that become visible late as
 * on x86.
 */
#include "hv_enlight/atomics.h"

#include <nvirt/hyperv.h>

enum nvirt_status nvirt_hv_fifo_init(struct nvirt_hv_fifo *fifo, struct nvirt_hv_slot *slots,
                                     uint32_t capacity)
{
    if (fifo == NULL || slots == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (capacity < 2 || capacity > NVIRT_HV_FIFO_MAX || (capacity & (capacity - 1)) != 0) {
        return NVIRT_ERR_RANGE;
    }
    __builtin_memset(fifo, 0, sizeof(*fifo));
    fifo->slot = slots;
    fifo->mask = capacity - 1;
    for (uint32_t i = 0; i < capacity; i++) {
        slots[i].turn = i;
        slots[i].entry = 0;
    }
    return NVIRT_OK;
}

/* ---- producers ---- */

/* A place for one entry; null when there is none. Losing against others all the time counts as
 * none, so that no guest's hypercalls can keep another's in this loop. */
static struct nvirt_hv_slot *take_place(struct nvirt_hv_fifo *fifo, uint64_t *position)
{
    uint64_t at = NVI_LOAD(&fifo->tail, __ATOMIC_RELAXED);

    for (uint64_t tries = 0; tries <= fifo->mask; tries++) {
        struct nvirt_hv_slot *slot = &fifo->slot[at & fifo->mask];
        uint64_t turn = NVI_LOAD(&slot->turn, __ATOMIC_ACQUIRE);

        if (turn == at) {
            if (NVI_TAKE_TURN(&fifo->tail, &at, at + 1)) {
                *position = at;
                return slot;
            }
        } else if ((int64_t)(turn - at) < 0) {
            return NULL; /* What was put there a lap ago is still there: turns only go up. */
        } else {
            at = NVI_LOAD(&fifo->tail, __ATOMIC_RELAXED); /* Others were faster. */
        }
    }
    return NULL;
}

static bool put_one(struct nvirt_hv_fifo *fifo, uint64_t entry)
{
    uint64_t position;
    struct nvirt_hv_slot *slot = take_place(fifo, &position);

    if (slot == NULL) {
        return false;
    }
    NVI_STORE(&slot->entry, entry, __ATOMIC_RELAXED);
    NVI_STORE(&slot->turn, position + 1, __ATOMIC_RELEASE);
    return true;
}

static void announce(struct nvirt_hv_fifo *fifo, uint32_t what)
{
    (void)NVI_OR(&fifo->waits, what, __ATOMIC_SEQ_CST);
}

bool nvirt_hv_fifo_put(struct nvirt_hv_fifo *fifo, const uint64_t *entries, uint32_t count)
{
    if (count == 0) {
        return true;
    }
    /* With "all" waiting no place is needed. It is announced once more, not just seen: the
     * consumer that takes it must come after what this producer's guest stored. */
    if ((NVI_LOAD(&fifo->waits, __ATOMIC_RELAXED) & NVIRT_HV_WAITS_ALL) != 0) {
        announce(fifo, NVIRT_HV_WAITS_ALL);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!put_one(fifo, entries[i])) {
            (void)NVI_ADD(&fifo->overflows, 1, __ATOMIC_RELAXED);
            announce(fifo, NVIRT_HV_WAITS_ALL);
            return false;
        }
    }
    announce(fifo, NVIRT_HV_WAITS_ENTRIES);
    return true;
}

void nvirt_hv_fifo_put_all(struct nvirt_hv_fifo *fifo, bool not_global)
{
    announce(fifo, not_global ? NVIRT_HV_WAITS_NOT_GLOBAL : NVIRT_HV_WAITS_ALL);
}

/* ---- the consumer ---- */

/* Frees every full place; the first entries go to @p entries. How many there were. */
static uint64_t empty_places(struct nvirt_hv_fifo *fifo, uint64_t *entries, uint32_t room)
{
    uint64_t head = NVI_LOAD(&fifo->head, __ATOMIC_RELAXED);
    uint64_t tail = NVI_LOAD(&fifo->tail, __ATOMIC_RELAXED);
    uint64_t first_gap = tail;
    uint64_t found = 0;

    for (uint64_t at = head; at != tail; at++) {
        struct nvirt_hv_slot *slot = &fifo->slot[at & fifo->mask];
        uint64_t turn = NVI_LOAD(&slot->turn, __ATOMIC_ACQUIRE);

        if (turn == at + 1) {
            if (found < room) {
                entries[found] = NVI_LOAD(&slot->entry, __ATOMIC_RELAXED);
            }
            found++;
            NVI_STORE(&slot->turn, at + fifo->mask + 1, __ATOMIC_RELEASE);
        } else if (turn == at && first_gap == tail) {
            first_gap = at;
        }
    }
    NVI_STORE(&fifo->head, first_gap, __ATOMIC_RELAXED);
    return found;
}

static void count_up(uint64_t *counter, uint64_t by)
{
    NVI_STORE(counter, NVI_LOAD(counter, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

uint32_t nvirt_hv_fifo_take(struct nvirt_hv_fifo *fifo, uint64_t *entries, uint32_t room,
                            uint32_t *count)
{
    uint32_t waits;
    uint64_t found;

    *count = 0;
    if (NVI_LOAD(&fifo->waits, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
    /* First what was announced, then the places: an announcement that comes now stays for the
     * next. */
    waits = NVI_EXCHANGE(&fifo->waits, 0, __ATOMIC_SEQ_CST);
    found = empty_places(fifo, entries, room);
    if (found > room || (waits & NVIRT_HV_WAITS_ALL) != 0) {
        count_up(&fifo->purged, found);
        return NVIRT_HV_WAITS_ALL;
    }
    count_up(&fifo->drained, found);
    *count = (uint32_t)found;
    return waits;
}

void nvirt_hv_fifo_purge(struct nvirt_hv_fifo *fifo)
{
    if (NVI_LOAD(&fifo->waits, __ATOMIC_RELAXED) == 0) {
        return;
    }
    (void)NVI_EXCHANGE(&fifo->waits, 0, __ATOMIC_SEQ_CST);
    count_up(&fifo->purged, empty_places(fifo, NULL, 0));
}

void nvirt_hv_fifo_stats(const struct nvirt_hv_fifo *fifo, struct nvirt_hv_fifo_stats *stats)
{
    stats->queued = NVI_LOAD(&fifo->tail, __ATOMIC_RELAXED);
    stats->drained = NVI_LOAD(&fifo->drained, __ATOMIC_RELAXED);
    stats->purged = NVI_LOAD(&fifo->purged, __ATOMIC_RELAXED);
    stats->overflowed = NVI_LOAD(&fifo->overflows, __ATOMIC_RELAXED);
}
