/* SPDX-License-Identifier: MIT */
/*
 * What the host tells at the end: both levels' registers, the last exits, counts per exit reason.
 * Vendor-neutral; a backend fills in the structs.
 */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include <nvirt/types.h>

/* Reasons that are counted one by one; a backend maps its own numbers to these, the last for all
 * others. */
#define REASON_COUNT 176u
#define REASON_OTHER (REASON_COUNT - 1)

struct segment_view {
    uint16_t selector;
    uint32_t attributes, limit;
    uint64_t base;
};

/* The registers of one level, in the order of struct nvirt_gprs; segments ES CS SS DS FS GS. */
struct cpu_view {
    struct nvirt_gprs gprs;
    uint64_t rip, rflags, cr0, cr2, cr3, cr4, efer, dr6, dr7;
    struct segment_view segment[6], tr, ldtr, gdtr, idtr;
};

/* One exit, for the ring of the last ones and the counts. */
struct exit_record {
    uint32_t level, reason; /* reason: below REASON_COUNT */
    uint64_t code, info1, info2, rip;
} __attribute__((aligned(64)));

#define REPORT_RING 16u

struct report_exits {
    uint64_t count[REASON_COUNT][4]; /* The second index is the level, 1 or 2. */
    struct exit_record ring[REPORT_RING];
    uint64_t next;
};

extern struct report_exits report_exits;

static inline void report_count(uint32_t level, uint32_t reason)
{
    report_exits.count[reason][level]++;
}

/* Counts an exit and makes room for it among the last ones: the caller fills in the rest. */
static inline struct exit_record *report_exit(uint32_t level, uint32_t reason)
{
    struct exit_record *kept = &report_exits.ring[report_exits.next++ % REPORT_RING];

    report_count(level, reason);
    kept->level = level;
    kept->reason = reason;
    return kept;
}

/* Exits of a level (1, 2) with that reason; 0 for numbers out of range. */
uint64_t report_exit_count(uint32_t level, uint32_t reason);
uint64_t report_exit_total(uint32_t level);

/* Prints exits per reason, nvirt's counters, the page pool. */
void report_statistics(void);

/* Prints everything about why L1 cannot go on, and stops the machine. */
_Noreturn void report_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
