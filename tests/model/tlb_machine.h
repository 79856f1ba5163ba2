/* SPDX-License-Identifier: MIT */
/* The machine of tlb_model.c: marks, universes, what there is, and what can happen. */
#ifndef NVIRT_TESTS_MODEL_TLB_MACHINE_H
#define NVIRT_TESTS_MODEL_TLB_MACHINE_H

enum { TAGS02 = 2, HW_TAGS = 1 + TAGS02, CPUS = 2, VCPUS = 2, OWNERS = 3, ROOTS = 3, ROOT_NONE = 0,
       ROOT_A = 1, ROOT_B = 2, TAG01 = 1, FIRST_TAG02 = 10, NO_CPU = 3, NOBODY = 2 };

#define PAGE_MARKED UINT64_C(0)
#define PAGE_OTHER NVIRT_PAGE_SIZE

enum mark {
    MARK_L1, MARK_A, MARK_A_GLOBAL, MARK_A_UNNAMED, MARK_NO_EPT, MARK_EARLIER, MARK_FREED, MARKS
};
static const char *const mark_name[MARKS] = {
    "L1's own", "through A", "through A, global", "through A, of a page that no flush names",
    "without EPT", "an earlier owner's, where L2 runs without EPT", "freed table page"};
static enum mark mark;

/* "Flush on every entry": sound, and must be found not minimal. */
static bool flush_always;

/* States that differ in what the other vCPU knows of its own tags count as different. */
static bool other_in_full;

/* A universe: which events there are. All at once would be too many states. */
struct universe {
    const char *name;
    uint8_t vcpus, tags;
    uint8_t roots; /* bit per EPT that L1 uses */
    uint8_t vpids;
    bool no_vpid;  /* L2s without VPID too */
    bool invvpid;  /* INVVPID in all its types */
    bool pages;    /* addresses of the other page too */
    bool pcid;     /* two PCIDs, between which MOV CR3 goes without a flush */
    bool host;     /* what L0 does: memory taken away, requests, reset */
    bool off;      /* VMXOFF, entries that fail late */
    bool full;     /* only in the full run */
    bool coarse;   /* a CPU with all-context operations only */
    bool walk;     /* for random walks only */
    bool queue;    /* Hyper-V's flush queues of both levels (src/hv_enlight) */
};
static const struct universe universes[] = {
    {"INVVPID",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 1, .no_vpid = true, .invvpid = true,
     .pages = true},
    {"PCIDs",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 1, .pcid = true, .no_vpid = true, .invvpid = true},
    {"PCIDs, two EPTs",
     .vcpus = 1, .tags = 1, .roots = 6, .vpids = 1, .pcid = true, .no_vpid = true, .invvpid = true,
     .full = true},
    {"one tag for two VPIDs",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 2, .no_vpid = true, .invvpid = true},
    {"EPTs change",
     .vcpus = 1, .tags = 1, .roots = 6, .vpids = 1, .no_vpid = true},
    {"two tags",
     .vcpus = 1, .tags = 2, .roots = 2, .vpids = 2},
    {"what L0 does",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 1, .no_vpid = true, .host = true, .off = true},
    {"two vCPUs share a root",
     .vcpus = 2, .tags = 1, .roots = 2, .vpids = 1},
    {"VMXOFF and reset, without EPT",
     .vcpus = 1, .tags = 1, .roots = 1, .vpids = 1, .no_vpid = true, .off = true},
    {"all-context operations only",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 1, .no_vpid = true, .invvpid = true,
     .coarse = true},
    {"all-context operations only, what L0 does",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 1, .no_vpid = true, .invvpid = true, .host = true,
     .off = true, .full = true, .coarse = true},
    {"Hyper-V's queues",
     .vcpus = 1, .tags = 1, .roots = 6, .vpids = 1, .queue = true},
    {"Hyper-V's queues, one tag for two VPIDs",
     .vcpus = 1, .tags = 1, .roots = 2, .vpids = 2, .queue = true},
    {"three roots",
     .vcpus = 1, .tags = 1, .roots = 7, .vpids = 1, .full = true},
    {"two tags, INVVPID",
     .vcpus = 1, .tags = 2, .roots = 2, .vpids = 2, .invvpid = true, .full = true},
    {"two tags, recycled",
     .vcpus = 1, .tags = 2, .roots = 2, .vpids = 2, .no_vpid = true, .full = true},
    {"what L0 does, two EPTs",
     .vcpus = 1, .tags = 1, .roots = 6, .vpids = 1, .no_vpid = true, .host = true, .off = true,
     .full = true},
    {"two vCPUs share a root, and what L0 does",
     .vcpus = 2, .tags = 1, .roots = 2, .vpids = 1, .host = true, .full = true},
    {"two vCPUs share two roots",
     .vcpus = 2, .tags = 1, .roots = 6, .vpids = 1, .full = true},
    {"all at once",
     .vcpus = 1, .tags = 2, .roots = 7, .vpids = 2, .pcid = true, .no_vpid = true, .invvpid = true,
     .pages = true, .host = true, .off = true, .walk = true, .queue = true},
    {"all at once, two vCPUs",
     .vcpus = 2, .tags = 2, .roots = 7, .vpids = 2, .pcid = true, .no_vpid = true, .invvpid = true,
     .pages = true, .host = true, .off = true, .walk = true, .queue = true},
    {"all at once, all-context only",
     .vcpus = 1, .tags = 2, .roots = 7, .vpids = 2, .pcid = true, .no_vpid = true, .invvpid = true,
     .pages = true, .host = true, .off = true, .coarse = true, .walk = true, .queue = true},
};
enum { UNIVERSES = sizeof(universes) / sizeof(universes[0]) };
static const struct universe *universe = &universes[0];

enum content { CONTENT_NONE, CONTENT_OTHER, CONTENT_MARKED };

struct vcpu {
    struct nvirt_tlb tlb;
    uint8_t level, owner, hw, current, cpu;
};

struct machine {
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb_root root[ROOTS];
    struct vcpu vcpu[VCPUS]; /* vcpu[0] is the one under test */
    uint8_t content[ROOTS], stale[ROOTS], changed[ROOTS]; /* nvirt's tables; engine not told yet */
    uint8_t running[CPUS];   /* vCPU, or NOBODY */
    uint8_t queued;          /* bit per level: the page waits in its queue */
    uint8_t pcid;            /* 0: that of the mark, 1: another */
    uint8_t guest, nested, host; /* page table of L1 or L2, A, and L0's mapping: as in the mark */
    uint8_t virt_linear[OWNERS]; /* combined, or linear without EPT */
    uint8_t virt_nested;         /* guest-physical of A */
    uint8_t linear[CPUS][HW_TAGS], nest[CPUS], freed[CPUS]; /* combined; guest-physical; through a
                                                                freed page */
};

/* All that can differ, 16 bits a tag. */
struct packed {
    uint16_t tag[VCPUS][HW_TAGS];
    uint16_t engine[VCPUS];
    uint8_t root[ROOTS], tree;
    uint8_t where[VCPUS], bits, unused;
};

/* What an emission is told by, as plain numbers, so that mirror images can be made of it. */
struct image {
    uint32_t tag[HW_TAGS], root[ROOTS], engine, entry, posted, kind, op_tag, op_root, page;
};

#define ENTER(root, vpid) ((uint32_t)ENTER_FIRST + (uint32_t)(root) * OWNERS + (vpid))
enum event {
    TOUCH, GUEST, NESTED, MOV_CR3, OTHER_PCID, INVLPG, EXIT, MIGRATE, INVEPT_A, INVEPT_B,
    INVEPT_ALL, SWITCH_A, SWITCH_B, HOST, HOST_B, HOST_L1, HOST_L1_POSTED, HOST_L2, HOST_ALL,
    HOST_BACK, RESET, VMXOFF, PAGING, NOT_GLOBAL, QUEUE, QUEUE_POSTED, ADDRESS_1, ADDRESS_2,
    OTHER_1, OTHER_2, SINGLE_1, SINGLE_2, ALL, NOT_GLOBAL_1, NOT_GLOBAL_2, PUT_L1, PUT_L2,
    OTHER_RUNS, OTHER_TOUCHES, OTHER_MOVES, OTHER_INVEPT_A, OTHER_INVEPT_B, OTHER_EXIT,
    OTHER_ENTER_A, OTHER_ENTER_B, RUNS, FAIL_FIRST, ENTER_FIRST = FAIL_FIRST + OWNERS,
    EVENTS = ENTER_FIRST + ROOTS * OWNERS
};

#define ENTERS(root)                                                                              \
    "L1 enters L2 without VPID, " root, "L1 enters L2 with VPID 1, " root,                        \
        "L1 enters L2 with VPID 2, " root
static const char *const event_name[EVENTS] = {
    "the running level touches the page",
    "the running level's page table changes (no INVLPG)",
    "EPT A changes",
    "the running level executes MOV CR3: what is not global of its PCID goes",
    "the running level executes MOV CR3 with bit 63 set: another PCID, nothing goes",
    "the running level executes INVLPG",
    "L2 is left for L1 (an exit, by force, or hardware refused the entry)",
    "the vCPU moves to the other CPU",
    "L1: INVEPT single-context A", "L1: INVEPT single-context B", "L1: INVEPT all-context",
    "L2: VMFUNC switches to EPT A", "L2: VMFUNC switches to EPT B",
    "the host takes the memory of the page away from L2",
    "the host takes memory away that L2 has through EPT B",
    "the host takes the memory of the page away from L1 and requests its root",
    "the host takes the memory of the page away from L1 and posts that from another CPU",
    "the host takes the memory of the page away and requests the running L2's root",
    "the host takes all memory away and requests everything",
    "the host gives the page its memory back",
    "the vCPU is reset", "L1: VMXOFF", "the running level changes its paging mode",
    "a hypercall flushes what is not global of the running level",
    "a queue of flushes (Hyper-V) with the page falls due for the running level",
    "a queue of flushes overflowed, posted from another CPU",
    "L1: INVVPID address, VPID 1", "L1: INVVPID address, VPID 2",
    "L1: INVVPID address of another page, VPID 1", "L1: INVVPID address of another page, VPID 2",
    "L1: INVVPID single-context, VPID 1", "L1: INVVPID single-context, VPID 2",
    "L1: INVVPID all-context",
    "L1: INVVPID retaining globals, VPID 1", "L1: INVVPID retaining globals, VPID 2",
    "another CPU puts the page into L1's queue (Hyper-V)",
    "another CPU puts the page into the queue of the L2 that ran last (Hyper-V)",
    "the other vCPU runs on its CPU", "the other vCPU's L2 touches the page",
    "the other vCPU moves to the other CPU", "the other vCPU's L1: INVEPT A",
    "the other vCPU's L1: INVEPT B", "the other vCPU's L2 is left",
    "the other vCPU's L1 enters L2, EPT A", "the other vCPU's L1 enters L2, EPT B",
    "the vCPU runs on its CPU again",
    "L1's entry of L2 without VPID fails at the MSR list",
    "L1's entry of L2 with VPID 1 fails at the MSR list",
    "L1's entry of L2 with VPID 2 fails at the MSR list",
    ENTERS("no EPT"), ENTERS("EPT A"), ENTERS("EPT B")};

static void start(struct machine *m);
static bool step(struct machine *m, uint32_t event);
static bool is_sound(const struct machine *m);
static uint32_t pack(const struct machine *m, struct packed *out);
static void unpack(const struct packed *in, uint32_t held, struct machine *m);

#endif
