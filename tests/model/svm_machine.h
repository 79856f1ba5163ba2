/* SPDX-License-Identifier: MIT */
/* The machine of svm_model.c: marks, universes, what there is, and what can happen. */
#ifndef NVIRT_TESTS_MODEL_SVM_MACHINE_H
#define NVIRT_TESTS_MODEL_SVM_MACHINE_H

enum { TAGS02 = 2, HW_TAGS = 1 + TAGS02, CPUS = 2, ASIDS12 = 2, OWNERS = 1 + ASIDS12, ROOTS = 3,
       TREES = 5, ROOT_NONE = 0, ROOT_A = 1, ASID01 = 1, FIRST_ASID02 = 10, NO_CPU = 3 };

#define PAGE_MARKED UINT64_C(0)
#define PAGE_OTHER NVIRT_PAGE_SIZE

enum mark { MARK_L1, MARK_A, MARK_A_UNNAMED, MARK_NO_TABLES, MARK_FREED, MARKS };
static const char *const mark_name[MARKS] = {
    "L1's own", "through A", "through A, of a page that no flush names", "without nested tables",
    "freed table page"};
static enum mark mark;

static bool flush_always;

/* A universe: which events there are. All at once would be too many states. */
struct universe {
    const char *name;
    uint8_t tags, asids;
    uint8_t roots;    /* bit per table that L1 uses */
    uint8_t controls; /* bit per TLB_CONTROL 0, 1, 3, 7 */
    bool pages;       /* INVLPGA, of two pages */
    bool host;        /* what L0 does: entries that do not happen, reset, memory taken away */
    bool full;        /* only in the full run */
    bool coarse;      /* a CPU without FlushByAsid and INVLPGA */
    bool walk;        /* for random walks only */
    bool queue;       /* Hyper-V's flush queues of both levels (src/hv_enlight) */
};
static const struct universe universes[] = {
    {"TLB_CONTROL and INVLPGA", 1, 1, 2, 15, true, false, false, false, false, false},
    {"two nested tables, one tag for two ASIDs", 1, 2, 6, 7, false, false, false, false, false,
     false},
    {"nested tables and none", 1, 1, 3, 7, true, false, false, false, false, false},
    {"two tags", 2, 2, 2, 7, true, false, false, false, false, false},
    {"what L0 does", 1, 1, 6, 5, false, true, false, false, false, false},
    {"no FlushByAsid, no INVLPGA", 1, 2, 2, 7, true, false, false, true, false, false},
    {"Hyper-V's queues", 1, 1, 6, 5, true, false, false, false, false, true},
    {"Hyper-V's queues, one tag for two ASIDs", 1, 2, 2, 5, false, false, false, false, false,
     true},
    {"two tags, two nested tables", 2, 2, 6, 7, true, false, true, false, false, false},
    {"two tags, nested tables and none", 2, 2, 3, 15, true, false, true, false, false, false},
    {"what L0 does, with nested tables and none", 1, 1, 3, 5, true, true, true, false, false,
     false},
    {"two tags, what L0 does", 2, 2, 2, 5, false, true, true, false, false, false},
    {"no FlushByAsid, what L0 does", 1, 2, 2, 7, true, true, true, true, false, false},
    {"all at once", 2, 2, 7, 15, true, true, false, false, true, true},
    {"all at once, no FlushByAsid", 2, 2, 7, 15, true, true, false, true, true, true},
};
enum { UNIVERSES = sizeof(universes) / sizeof(universes[0]) };
static const struct universe *universe = &universes[0];

enum content { CONTENT_NONE, CONTENT_OTHER, CONTENT_MARKED };

/* What the prepared entry is to do: the engine's operation, and what hardware will be told. */
struct pending {
    uint8_t open, by_control, control;
};

struct machine {
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb_root root[TREES];
    struct nvirt_tlb tlb;
    uint8_t content[TREES], stale[TREES], changed[TREES]; /* nvirt's tables; engine not told yet */
    uint8_t guest, nested, host; /* L1's page or L2's page table, A, and L0's mapping: as in the
                                    mark */
    uint8_t virt_linear[OWNERS], virt_nested[OWNERS];
    uint8_t linear[CPUS][HW_TAGS], nest[CPUS][HW_TAGS];
    uint8_t level, owner, hw, current;
    uint8_t queued; /* bit per level: the page waits in its queue */
    struct pending pending;
};

struct packed {
    uint16_t tag[HW_TAGS];
    uint8_t held[HW_TAGS]; /* on CPU 0: trees; all bits: stale as a whole */
    uint16_t engine;
    uint8_t tree[TREES];
    uint8_t bits, where, pending, unused[3];
};

/* What an emission is told by, as plain numbers, so that mirror images can be made of it. */
struct image {
    uint32_t tag[HW_TAGS], held[HW_TAGS], engine, entry, posted, kind, op_tag, page;
};

#define VMRUN(asid, root, control) (VMRUN_FIRST + (((asid) - 1) * ROOTS + (root)) * 4 + (control))
enum event {
    TOUCH, GUEST, NESTED, INVLPG, EXIT, EXIT_HOST, MIGRATE, INVLPGA_0, INVLPGA_1, INVLPGA_2,
    OTHER_0, OTHER_1, OTHER_2, HOST, HOST_OTHER, HOST_L1, HOST_L1_POSTED, HOST_L2,
    HOST_ALL, HOST_BACK, RESET, NXE, QUEUE, QUEUE_POSTED, PUT_L1, PUT_L2, VMRUN_FIRST,
    EVENTS = VMRUN_FIRST + ASIDS12 * ROOTS * 4
};

#define RUNS(asid, root)                                                                          \
    "L1: VMRUN ASID " asid ", " root, "L1: VMRUN ASID " asid ", " root ", TLB_CONTROL 1",         \
        "L1: VMRUN ASID " asid ", " root ", TLB_CONTROL 3",                                       \
        "L1: VMRUN ASID " asid ", " root ", TLB_CONTROL 7"
static const char *const event_name[EVENTS] = {
    "the running level touches the page",
    "the running level's page table changes (no INVLPG)",
    "nested table A changes",
    "the running level executes INVLPG",
    "L2 exits to L1",
    "L0 leaves L2 for L1 before L2 ran, or hardware refuses the entry",
    "the vCPU moves to the other CPU",
    "L1: INVLPGA of the page, ASID 0", "L1: INVLPGA of the page, ASID 1",
    "L1: INVLPGA of the page, ASID 2",
    "L1: INVLPGA of another page, ASID 0", "L1: INVLPGA of another page, ASID 1",
    "L1: INVLPGA of another page, ASID 2",
    "the host takes the memory of the page away from L2",
    "the host takes memory away that L2 has through A under ASID 2",
    "the host takes the memory of the page away from L1 and requests its root",
    "the host takes the memory of the page away from L1 and posts that from another CPU",
    "the host takes the memory of the page away and requests the running L2's root",
    "the host takes all memory away and requests everything",
    "the host gives the page its memory back",
    "the vCPU is reset",
    "the running level changes EFER.NXE",
    "a queue of flushes (Hyper-V) with the page falls due for the running level",
    "a queue of flushes overflowed, posted from another CPU",
    "another CPU puts the page into L1's queue (Hyper-V)",
    "another CPU puts the page into the queue of the L2 that ran last (Hyper-V)",
    RUNS("1", "no nested tables"), RUNS("1", "tables A"), RUNS("1", "tables B"),
    RUNS("2", "no nested tables"), RUNS("2", "tables A"), RUNS("2", "tables B")};

static void start(struct machine *m);
static bool step(struct machine *m, uint32_t event);
static bool is_sound(const struct machine *m);
static uint32_t pack(const struct machine *m, struct packed *out);
static void unpack(const struct packed *in, uint32_t held, struct machine *m);

#endif
