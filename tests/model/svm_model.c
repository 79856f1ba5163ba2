/* SPDX-License-Identifier: MIT */
/*
 * Model checker of the SVM flush decisions: every history of a small machine.
 *
 * The machine: L1 and its L2s with two ASIDs, one or two hardware ASIDs for them, two CPUs, one page.
 * An L2 runs on one of two nested tables of L1's (A, B) or on none (L1's memory as it is). The
 * virtual TLB is that of the CPU L1 believes it has and loses what the architecture takes away; the
 * physical one loses only what is flushed and what the guest's own INVLPG takes away. Both tag
 * everything with the ASID alone, nested translations too [APM 2 "TLB Control"]. nvirt's tables for L2
 * are a cache in between: hardware walks what is in them, whatever L1's tables say by now.
 *
 * One *marked* translation is followed. It is one of L1's own page, or of L2's page through A, or of
 * L2's page without nested tables; or it is the way through a table page of nvirt's, which must not
 * be walked once the page was given back. Versions of tables are "the marked one" and "another", so
 * that a set of holders is one bit each: unsound is that hardware may supply the mark to a level
 * whose virtual TLB may not hold it. What is sound for each mark is sound for all translations.
 * At the start each hardware ASID is full of marks that an earlier owner left.
 *
 * The steps around the engine are those of src/nested/svm_run.c and svm_prepare.c: TLB_CONTROL waits
 * in the VMCB until the entry really happens, CPU numbers count moves, tables are emptied and given
 * back at an entry, and there is a tree of nvirt's per nested root and ASID (nested_key() of svm_run.c).
 * One tree for all ASIDs would be unsound with two hardware ASIDs: the run prints that history as the
 * fault "tables of nvirt's shared between ASIDs".
 */
#include <nvirt/tlbflush.h>

#ifndef MODEL_TAGS
#define MODEL_TAGS 2 /* hardware ASIDs for L2: with 1, every second ASID recycles it */
#endif

enum { TAGS02 = MODEL_TAGS, HW_TAGS = 1 + TAGS02, CPUS = 2, ASIDS12 = 2, OWNERS = 1 + ASIDS12,
       ROOTS = 3, TREES = ROOTS + 2, ROOT_NONE = 0, ROOT_A = 1, ASID01 = 1, FIRST_ASID02 = 10 };

enum mark { MARK_L1, MARK_A, MARK_NO_TABLES, MARK_FREED, MARKS };
static const char *const mark_name[MARKS] = {"L1's own", "through A", "without nested tables",
                                             "freed table page"};
static enum mark mark;

/* Faults put in on purpose, to see that the model finds them. */
enum fault { FAULT_NONE, FAULT_EVERY_ENTRY, FAULT_NO_REVALIDATE, FAULT_TABLES_NOT_TOLD,
             FAULT_CONTROL_LOST, FAULT_L1_NOT_IN_ALL, FAULT_ASID0_IGNORED, FAULT_SAME_CPU,
             FAULT_SHARED_TREES, FAULTS };
static const char *const fault_name[FAULTS] = {
    "none", "everything flushed on every entry", "nested tables not revalidated",
    "tags not told that their tables changed", "TLB_CONTROL of an entry that did not happen is lost",
    "TLB_CONTROL 1 of L1 leaves its own ASID out", "INVLPGA with ASID 0 ignored",
    "moves to another CPU unnoticed", "tables of nvirt's shared between ASIDs"};
static enum fault fault;
static bool flush_by_asid = true;
static bool tree_per_asid = true;

/* A universe: which events there are. All at once would be too many states. */
struct universe {
    const char *name;
    uint8_t roots;    /* bit per root that L1 uses */
    uint8_t controls; /* bit per TLB_CONTROL 0, 1, 3, 7 */
    uint8_t asids;    /* ASIDs of L1's */
    bool host;        /* what L0 does: entries that do not happen, reset, memory taken away */
};
static const struct universe universes[] = {
    {"two nested tables", 6, 7, 2, false},
    {"nested tables and none", 3, 11, 2, false},
    {"what L0 does", 3, 7, 1, true},
};
enum { UNIVERSES = sizeof(universes) / sizeof(universes[0]) };
static const struct universe *universe = &universes[0];

enum content { CONTENT_NONE, CONTENT_OTHER, CONTENT_MARKED };

/* One root of nvirt's: see struct nvi_mmu_root. */
struct root {
    uint8_t content, stale, changed, here; /* here: last flushed on this CPU */
};

struct machine {
    struct nvirt_tlb tlb;
    struct root root[TREES];
    uint8_t guest, nested, host; /* L1's page or L2's page table, A, and L0's mapping: as in the mark */
    uint8_t virt_linear[OWNERS], virt_nested[OWNERS];
    uint8_t linear[CPUS][HW_TAGS], nest[CPUS][HW_TAGS]; /* CPU 0: the one it runs on */
    uint8_t level, owner, hw, current;
    uint8_t control[3]; /* per level: TLB_CONTROL that waits in vmcb01, vmcb02 */
    uint32_t cpu;
};

struct packed {
    uint8_t tag[HW_TAGS][3];
    struct root root[TREES];
    uint8_t virt, bits, phys[CPUS], where, control;
};

#define VMRUN(asid, root, control) (VMRUN_FIRST + (((asid) - 1) * ROOTS + (root)) * 4 + (control))
enum event {
    TOUCH, GUEST, NESTED, INVLPG, HOST, EXIT, EXIT_HOST, MIGRATE, RESET, NXE,
    INVLPGA_0, INVLPGA_1, INVLPGA_2, VMRUN_FIRST, EVENTS = VMRUN_FIRST + ASIDS12 * ROOTS * 4
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
    "the host takes the memory of the page away",
    "L2 exits to L1",
    "L0 leaves L2 for L1 before L2 ran, or hardware refuses the entry",
    "the vCPU moves to the other CPU",
    "the vCPU is reset",
    "the running level changes EFER.NXE",
    "L1: INVLPGA of the page, ASID 0",
    "L1: INVLPGA of the page, ASID 1",
    "L1: INVLPGA of the page, ASID 2",
    RUNS("1", "no nested tables"), RUNS("1", "tables A"), RUNS("1", "tables B"),
    RUNS("2", "no nested tables"), RUNS("2", "tables A"), RUNS("2", "tables B")};

static void start(struct machine *m);
static bool step(struct machine *m, uint32_t event);
static bool is_sound(const struct machine *m);
static void pack(const struct machine *m, struct packed *out);
static void unpack(const struct packed *in, struct machine *m);
static uint64_t key_of(const struct machine *m, uint32_t event);
static uint8_t reason_of(const struct machine *before, uint32_t event,
                         const struct nvirt_flush_op *op);

static const char *const reason_name[] = {
    "for no known reason", "another root under an ASID that L1 did not flush",
    "everything owed again after an entry that did not happen"};

#include "explore.h"

/* ---- the hardware ---- */

static uint32_t hw_index(uint32_t asid02)
{
    return asid02 == ASID01 ? 0 : 1 + asid02 - FIRST_ASID02;
}

static void drop_tag(struct machine *m, uint32_t hw)
{
    m->linear[0][hw] = 0;
    m->nest[0][hw] = 0;
}

/* The entry happens: what its TLB_CONTROL asks for is done now. */
static void run(struct machine *m)
{
    if (m->control[m->level] == 1) {
        memset(m->linear[0], 0, HW_TAGS);
        memset(m->nest[0], 0, HW_TAGS);
    } else if (m->control[m->level] == 3) {
        drop_tag(m, m->hw);
    }
    m->control[m->level] = 0;
}

/* ---- nvirt, around the engine ---- */

/* The tables that nvirt keeps for root @p root of L1's under ASID @p asid12. */
static uint32_t tree_of(uint32_t root, uint32_t asid12)
{
    return root != ROOT_NONE && asid12 == 2 && tree_per_asid ? root + 2u : root;
}

static bool follows_page(void)
{
    return mark == MARK_FREED;
}

/* The tables that a mark is in. With tables per ASID it is ASID 1's; the other is its mirror. */
static bool is_marked_tree(uint32_t tree)
{
    return mark == MARK_NO_TABLES ? tree == ROOT_NONE : mark != MARK_L1 && tree == ROOT_A;
}

/* Tables of one ASID only make the engine flush what it owes at the same entry anyway, unless L0
 * empties them: without a mark in them their state is left out. */
static bool is_followed(uint32_t tree)
{
    return universe->host || tree == ROOT_NONE || is_marked_tree(tree);
}

static void carry_out(struct machine *m, const struct nvirt_flush_set *due)
{
    uint8_t *control = &m->control[m->level];

    for (uint32_t i = 0; i < due->count; i++) {
        const struct nvirt_flush_op *op = &due->op[i];

        if (!emit(op)) {
            continue;
        }
        if (op->kind == NVIRT_FLUSH_ASID) {
            *control = *control == 1 ? 1 : 3;
        } else if (op->kind == NVIRT_FLUSH_ASID_ADDRESS) {
            m->linear[0][hw_index(op->tag)] = 0;
        } else {
            *control = 1;
        }
    }
}

static void tables_changed(struct machine *m)
{
    if (fault == FAULT_TABLES_NOT_TOLD) {
        return;
    }
    if (tree_per_asid && m->current != ROOT_NONE) {
        nvirt_tlb_tables_changed(&m->tlb, m->tlb.tag[m->hw - 1].tag02);
        return;
    }
    for (uint32_t i = 0; i < TAGS02; i++) {
        if (m->tlb.tag[i].root == m->current) {
            nvirt_tlb_tables_changed(&m->tlb, m->tlb.tag[i].tag02);
        }
    }
}

/* nvi_mmu_enter() and nvi_mmu_flushed(). */
static void enter_root(struct machine *m)
{
    uint32_t tree = tree_of(m->current, m->owner);
    struct root *root = &m->root[tree];
    bool freed = false;

    if (!is_followed(tree)) {
        *root = (struct root){.content = CONTENT_OTHER, .stale = root->stale, .here = true};
    }
    if (root->stale && root->content != CONTENT_NONE) {
        root->content = CONTENT_NONE;
        root->changed = true;
        freed = is_marked_tree(tree);
    }
    root->stale = false;
    if (root->changed || !root->here) {
        tables_changed(m);
        root->changed = false;
        root->here = true;
    }
    if (!is_followed(tree)) {
        *root = (struct root){0};
    }
    if (freed && follows_page()) {
        /* Who walked them may hold the way to them. */
        for (uint32_t hw = 0; hw < CPUS * HW_TAGS; hw++) {
            m->linear[hw / HW_TAGS][hw % HW_TAGS] |= m->nest[hw / HW_TAGS][hw % HW_TAGS];
            m->nest[hw / HW_TAGS][hw % HW_TAGS] = 0;
        }
    }
}

static void prepare(struct machine *m)
{
    struct nvirt_flush_set due = {0};
    uint32_t cpu = fault == FAULT_SAME_CPU ? 1 : m->cpu;

    if (fault == FAULT_EVERY_ENTRY) {
        nvirt_tlb_tables_changed(&m->tlb, 0);
        nvirt_tlb_flush_l1(&m->tlb);
    }
    if (m->level == 1) {
        nvirt_tlb_due_l1(&m->tlb, cpu, true, &due);
    } else {
        enter_root(m);
        nvirt_tlb_svm_due_l2(&m->tlb, cpu, m->tlb.tag[m->hw - 1].tag02, &due);
    }
    carry_out(m, &due);
    if (!universe->host) {
        run(m);
    }
}

static bool vmrun(struct machine *m, uint32_t code)
{
    static const uint8_t controls[] = {0, 1, 3, 7};
    uint32_t root12 = code / 4 % ROOTS;
    struct nvirt_tlb_svm_entry entry = {.cpu = m->cpu,
                                        .asid12 = 1 + code / (ROOTS * 4),
                                        .root12 = root12,
                                        .tlb_control = controls[code % 4]};
    bool revalidate = false;

    if (m->level != 1 || entry.asid12 > universe->asids ||
        (universe->roots >> entry.root12 & 1u) == 0 || (universe->controls >> code % 4 & 1u) == 0) {
        return false;
    }
    run(m);
    if (entry.tlb_control == 1) {
        memset(m->virt_linear, 0, OWNERS);
        memset(m->virt_nested, 0, OWNERS);
    } else if (entry.tlb_control != 0) {
        m->virt_linear[entry.asid12] = 0;
        m->virt_nested[entry.asid12] = 0;
    }
    {
        struct nvirt_tlb_tag l1 = m->tlb.l1;

        m->hw = (uint8_t)hw_index(nvirt_tlb_svm_enter_l2(&m->tlb, &entry, &revalidate));
        if (fault == FAULT_L1_NOT_IN_ALL) {
            m->tlb.l1 = l1;
        }
    }
    if (revalidate && entry.root12 != ROOT_NONE && fault != FAULT_NO_REVALIDATE) {
        m->root[tree_of(root12, entry.asid12)].stale = true;
    }
    m->level = 2;
    m->owner = (uint8_t)entry.asid12;
    m->current = (uint8_t)entry.root12;
    return true;
}

static void back_to_l1(struct machine *m)
{
    m->level = 1;
    m->owner = 0;
    m->hw = 0;
    m->current = 0;
}

static bool leave(struct machine *m, bool ran)
{
    if (m->level != 2) {
        return false;
    }
    if (ran) {
        run(m);
    } else if (m->control[2] != 0) {
        /* TLB_CONTROL of an entry that did not happen: all of it is owed again. */
        if (fault != FAULT_CONTROL_LOST) {
            m->control[2] = 0;
            nvirt_tlb_tables_changed(&m->tlb, 0);
            nvirt_tlb_flush_l1(&m->tlb);
        }
    }
    back_to_l1(m);
    return true;
}

static void reset(struct machine *m)
{
    back_to_l1(m);
    m->control[2] = 0;
    memset(m->virt_linear, 0, OWNERS);
    memset(m->virt_nested, 0, OWNERS);
    for (uint32_t i = 0; i < TREES; i++) {
        m->root[i].stale = true;
    }
    nvirt_tlb_forget(&m->tlb);
}

/* ---- what the levels do ---- */

/* What the level that runs has before it now is the marked translation. */
static uint8_t marked_now(const struct machine *m)
{
    switch (mark) {
    case MARK_L1:
        return m->level == 1;
    case MARK_A:
        return m->level == 2 && m->current == ROOT_A && m->nested &&
               (m->owner == 1 || !tree_per_asid);
    case MARK_NO_TABLES:
        return m->level == 2 && m->current == ROOT_NONE;
    default:
        return 0;
    }
}

/* The virtual CPU may fetch ahead: it may hold all that was ever before it. */
static void fetch_ahead(struct machine *m)
{
    uint8_t *linear = &m->virt_linear[m->owner];

    *linear |= m->guest & marked_now(m);
    if (m->level == 2 && m->current != ROOT_NONE) {
        m->virt_nested[m->owner] |= marked_now(m);
        *linear |= m->guest & m->virt_nested[m->owner];
    }
}

/* An access: hardware caches what it finds. */
static void touch(struct machine *m)
{
    uint32_t tree = tree_of(m->current, m->owner);
    uint8_t *linear = &m->linear[0][m->hw];
    uint8_t *nest = &m->nest[0][m->hw];

    if (m->level == 1) {
        *linear |= m->guest & marked_now(m);
        return;
    }
    if (m->root[tree].content == CONTENT_NONE && is_followed(tree)) {
        m->root[tree].content = marked_now(m) && m->host ? CONTENT_MARKED : CONTENT_OTHER;
    }
    if (follows_page()) {
        *nest |= is_marked_tree(tree);
        return;
    }
    *nest |= m->root[tree].content == CONTENT_MARKED;
    *linear |= m->guest & *nest;
}

static bool invlpga(struct machine *m, uint32_t asid12)
{
    if (m->level != 1 || asid12 > universe->asids) {
        return false;
    }
    run(m);
    m->virt_linear[asid12] = 0;
    if (asid12 != 0 || fault != FAULT_ASID0_IGNORED) {
        nvirt_tlb_svm_invlpga(&m->tlb, asid12, nvirt_gva_make(0));
    }
    return true;
}

/* MOV to EFER is intercepted; L0 flushes what hardware would have. */
static void change_nxe(struct machine *m)
{
    run(m);
    m->virt_linear[m->owner] = 0;
    if (m->level == 1) {
        nvirt_tlb_flush_l1(&m->tlb);
    } else {
        nvirt_tlb_tables_changed(&m->tlb, m->tlb.tag[m->hw - 1].tag02);
    }
}

static bool take_memory_away(struct machine *m)
{
    /* L1's own memory is the host's to flush. */
    if (mark == MARK_A || mark == MARK_NO_TABLES) {
        m->host = 0;
    }
    for (uint32_t i = 0; i < TREES; i++) {
        m->root[i].stale = true;
    }
    return true;
}

static void move_cpu(struct machine *m)
{
    uint8_t swap[HW_TAGS];

    memcpy(swap, m->linear[0], HW_TAGS);
    memcpy(m->linear[0], m->linear[1], HW_TAGS);
    memcpy(m->linear[1], swap, HW_TAGS);
    memcpy(swap, m->nest[0], HW_TAGS);
    memcpy(m->nest[0], m->nest[1], HW_TAGS);
    memcpy(m->nest[1], swap, HW_TAGS);
    for (uint32_t i = 0; i < TREES; i++) {
        m->root[i].here = false;
    }
    m->cpu++;
}

/* Events without a hardware entry. */
static bool quiet_step(struct machine *m, uint32_t event)
{
    switch (event) {
    case TOUCH:
        run(m);
        touch(m);
        return true;
    case GUEST:
        run(m);
        m->guest ^= 1u;
        return !follows_page();
    case NESTED:
        m->nested ^= 1u;
        return mark == MARK_A;
    default: /* INVLPG need not drop nested translations. */
        run(m);
        m->virt_linear[m->owner] = 0;
        if (!follows_page()) {
            m->linear[0][m->hw] = 0;
        }
        return !follows_page();
    }
}

static bool loud_step(struct machine *m, uint32_t event)
{
    bool possible = true;

    if (!universe->host && (event == HOST || event == EXIT_HOST || event == RESET || event == NXE)) {
        return false;
    }
    switch (event) {
    case HOST:
        possible = take_memory_away(m);
        break;
    case EXIT:
    case EXIT_HOST:
        possible = leave(m, event == EXIT);
        break;
    case MIGRATE:
        move_cpu(m);
        break;
    case RESET:
        reset(m);
        break;
    case NXE:
        change_nxe(m);
        break;
    case INVLPGA_0:
    case INVLPGA_1:
    case INVLPGA_2:
        possible = invlpga(m, event - INVLPGA_0);
        break;
    default:
        possible = vmrun(m, event - VMRUN_FIRST);
        break;
    }
    if (possible) {
        prepare(m);
    }
    return possible;
}

static bool step(struct machine *m, uint32_t event)
{
    bool possible = event <= INVLPG ? quiet_step(m, event) : loud_step(m, event);

    if (possible) {
        fetch_ahead(m);
    }
    return possible;
}

/* Seen from the moment the entry that was prepared happens. */
static bool is_sound(const struct machine *m)
{
    bool flushed = m->control[m->level] != 0; /* 1 or 3: the tag that enters either way */
    uint8_t linear = flushed ? 0 : m->linear[0][m->hw];
    uint8_t nest = flushed ? 0 : m->nest[0][m->hw];
    uint8_t supplied = linear | (m->guest & nest);
    uint8_t allowed = m->virt_linear[m->owner];

    if (follows_page()) {
        return linear == 0;
    }
    if (m->level == 1) {
        return (supplied & ~(allowed | m->guest)) == 0;
    }
    if (m->current != ROOT_NONE) {
        allowed |= m->guest & m->virt_nested[m->owner];
    }
    return (supplied & ~(allowed & m->host)) == 0;
}

/* ---- states ---- */

/* The clock only orders the tags: equal orders are one state. */
static uint8_t order_of(const struct nvirt_tlb *tlb, uint32_t tag)
{
    uint8_t order = 0;

    for (uint32_t i = 0; i < TAGS02; i++) {
        order = (uint8_t)(order + (tlb->tag[i].last_use < tlb->tag[tag].last_use));
    }
    return order;
}

static void pack_tag(const struct machine *m, const struct nvirt_tlb_tag *tag, uint8_t order,
                     uint8_t out[3])
{
    uint32_t cpu = fault == FAULT_SAME_CPU ? 1 : m->cpu;

    out[0] = (uint8_t)(tag->used | tag->tag12 << 1 | tag->root << 4);
    out[1] = (uint8_t)(tag->flush | tag->addresses << 1 | (tag->cpu == cpu) << 2);
    out[2] = tag->used ? order : 0;
}

/* CPU numbers only grow, so a CPU is this one or none that comes back. */
static void unpack_tag(const uint8_t in[3], struct nvirt_tlb_tag *tag)
{
    tag->used = (in[0] & 1u) != 0;
    tag->tag12 = in[0] >> 1 & 3u;
    tag->root = in[0] >> 4;
    tag->flush = (in[1] & 1u) != 0;
    tag->not_global = false;
    tag->addresses = in[1] >> 1 & 1u;
    tag->address[0] = 0;
    tag->cpu = in[1] >> 2 & 1u;
    tag->last_use = in[2];
}

static uint8_t bits_of(const uint8_t *bit, uint32_t count)
{
    uint8_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        bits = (uint8_t)(bits | bit[i] << i);
    }
    return bits;
}

static void set_bits(uint8_t bits, uint8_t *bit, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bit[i] = bits >> i & 1u;
    }
}

static void pack(const struct machine *m, struct packed *out)
{
    pack_tag(m, &m->tlb.l1, 0, out->tag[0]);
    for (uint32_t i = 0; i < TAGS02; i++) {
        pack_tag(m, &m->tlb.tag[i], order_of(&m->tlb, i), out->tag[1 + i]);
    }
    memcpy(out->root, m->root, sizeof(out->root));
    out->virt = (uint8_t)(bits_of(m->virt_linear, OWNERS) | bits_of(m->virt_nested, OWNERS) << 4);
    out->bits = (uint8_t)(m->guest | m->nested << 1 | m->host << 2);
    for (uint32_t i = 0; i < CPUS; i++) {
        out->phys[i] = (uint8_t)(bits_of(m->linear[i], HW_TAGS) | bits_of(m->nest[i], HW_TAGS) << 4);
    }
    out->where = (uint8_t)(m->level | m->owner << 2 | m->hw << 4 | m->current << 6);
    out->control = (uint8_t)(m->control[1] | m->control[2] << 4);
}

static void unpack(const struct packed *in, struct machine *m)
{
    m->tlb.clock = TAGS02;
    m->cpu = 1;
    unpack_tag(in->tag[0], &m->tlb.l1);
    for (uint32_t i = 0; i < TAGS02; i++) {
        unpack_tag(in->tag[1 + i], &m->tlb.tag[i]);
    }
    memcpy(m->root, in->root, sizeof(in->root));
    set_bits(in->virt & 15u, m->virt_linear, OWNERS);
    set_bits(in->virt >> 4, m->virt_nested, OWNERS);
    m->guest = in->bits & 1u;
    m->nested = in->bits >> 1 & 1u;
    m->host = in->bits >> 2 & 1u;
    for (uint32_t i = 0; i < CPUS; i++) {
        set_bits(in->phys[i] & 15u, m->linear[i], HW_TAGS);
        set_bits(in->phys[i] >> 4, m->nest[i], HW_TAGS);
    }
    m->level = in->where & 3u;
    m->owner = in->where >> 2 & 3u;
    m->hw = in->where >> 4 & 3u;
    m->current = in->where >> 6;
    m->control[1] = in->control & 15u;
    m->control[2] = in->control >> 4;
}

static uint64_t engine_hash(const struct machine *m, uint32_t event)
{
    struct packed state;

    memset(&state, 0, sizeof(state));
    pack(m, &state);
    state.bits = (uint8_t)event;
    return hash_of(&state.bits, 1, hash_of(&state.where, 1,
                                           hash_of(state.tag, sizeof(state.tag), HASH_START)));
}

static uint8_t other_root(uint64_t root)
{
    return (uint8_t)(root == ROOT_NONE ? ROOT_NONE : 3 - root);
}

/* The event with the roots A and B exchanged, or the ASIDs. */
static uint32_t mirrored(uint32_t event, bool roots, bool asids)
{
    uint32_t code = event - VMRUN_FIRST;
    uint32_t asid = code / (ROOTS * 4);
    uint32_t root = code / 4 % ROOTS;

    if (event == INVLPGA_1 || event == INVLPGA_2) {
        return asids ? INVLPGA_1 + INVLPGA_2 - event : event;
    }
    if (event < VMRUN_FIRST) {
        return event;
    }
    return VMRUN(1 + (asids ? 1 - asid : asid), roots ? other_root(root) : root, code % 4);
}

/* The engine's state and the event. No mark goes through B, or A under ASID 2: mirror images count as
 * one. */
static uint64_t key_of(const struct machine *m, uint32_t event)
{
    static struct machine other;
    uint64_t key = UINT64_MAX;

    for (uint32_t image = 0; image < (universe->asids == 2 ? 4u : 2u); image++) {
        bool roots = (image & 1u) != 0;
        bool asids = (image & 2u) != 0;
        uint64_t hash;

        other = *m;
        if (roots) {
            other.current = other_root(m->current);
        }
        if (asids && m->owner != 0) {
            other.owner = (uint8_t)(3 - m->owner);
        }
        for (uint32_t i = 0; i < TAGS02; i++) {
            struct nvirt_tlb_tag *tag = &other.tlb.tag[i];

            tag->root = roots ? other_root(tag->root) : tag->root;
            tag->tag12 = asids && tag->tag12 != 0 ? 3 - tag->tag12 : tag->tag12;
        }
        hash = engine_hash(&other, mirrored(event, roots, asids));
        key = hash < key ? hash : key;
    }
    return key;
}

static void start(struct machine *m)
{
    static const uint32_t tags[] = {FIRST_ASID02, FIRST_ASID02 + 1};
    struct nvirt_tlb_caps caps = {.flush_by_asid = flush_by_asid};

    memset(m, 0, sizeof(*m));
    if (nvirt_tlb_init(&m->tlb, &caps, ASID01, tags, TAGS02) != NVIRT_OK) {
        abort();
    }
    m->level = 1;
    m->cpu = 1;
    m->host = 1;
    memset(m->linear, 1, sizeof(m->linear));
    memset(m->nest, mark == MARK_A || mark == MARK_NO_TABLES, sizeof(m->nest));
    prepare(m);
    fetch_ahead(m);
}

static uint8_t reason_of(const struct machine *before, uint32_t event,
                         const struct nvirt_flush_op *op)
{
    uint32_t code = event - VMRUN_FIRST;

    if (event == EXIT_HOST) {
        return 2;
    }
    if (event < VMRUN_FIRST || op->kind != NVIRT_FLUSH_ASID) {
        return 0;
    }
    for (uint32_t i = 0; i < TAGS02; i++) {
        const struct nvirt_tlb_tag *tag = &before->tlb.tag[i];

        if (tag->used && tag->tag12 == 1 + code / (ROOTS * 4) && tag->root != ROOT_NONE &&
            code / 4 % ROOTS != ROOT_NONE && tag->root != code / 4 % ROOTS) {
            return 1;
        }
    }
    return 0;
}

/* ---- the runs ---- */

/* Every mark in one universe. */
static bool run_universe(const struct universe *which, bool judge)
{
    bool sound = true;

    universe = which;
    overflow = false;
    forget_emissions();
    for (mark = 0; sound && mark < MARKS; mark++) {
        uint32_t bad = search(judge);

        if (bad != NO_NODE) {
            printf("unsound (mark: %s):\n", mark_name[mark]);
            print_path(bad);
            sound = false;
        } else if (judge) {
            judge_emissions();
        }
    }
    return sound;
}

static void check_engine(void)
{
    for (uint32_t i = 0; i < 2 * UNIVERSES; i++) {
        uint64_t before = states_explored;
        bool sound;

        flush_by_asid = i < UNIVERSES;
        sound = run_universe(&universes[i % UNIVERSES], flush_by_asid);
        printf("%s%s: %llu states%s\n", universe->name, flush_by_asid ? "" : ", no FlushByAsid",
               (unsigned long long)(states_explored - before),
               overflow ? ", the nearest to the start" : ", all there are");
        result(sound, "sound", universe->name);
        if (sound && flush_by_asid) {
            bool bounded = overflow;
            uint32_t unneeded = report_emissions(true);

            if (bounded) {
                printf("undecided: minimal: %s\n", universe->name);
            } else {
                result(unneeded == 0, "minimal, but for the reasons listed", universe->name);
            }
        }
    }
    flush_by_asid = true;
}

static void check_faults(void)
{
    for (fault = FAULT_NO_REVALIDATE; fault < FAULTS; fault++) {
        bool found = false;

        tree_per_asid = fault != FAULT_SHARED_TREES;
        if (fault == FAULT_SHARED_TREES && TAGS02 == 1) {
            continue; /* the one tag is flushed at each change of ASID, and revalidates */
        }
        printf("fault: %s\n", fault_name[fault]);
        for (uint32_t i = 0; i < 4 && !found; i++) {
            flush_by_asid = i < 2;
            found = !run_universe(&universes[1 + i % 2], false);
        }
        result(found, "found", fault_name[fault]);
    }
    flush_by_asid = true;
    tree_per_asid = true;
    fault = FAULT_EVERY_ENTRY;
    result(run_universe(&universes[1], true) && report_emissions(false) != 0,
           "sound but not minimal", fault_name[fault]);
    fault = FAULT_NONE;
}

int main(void)
{
    if (!explore_init()) {
        return 2;
    }
    check_engine();
    check_faults();
    printf("states explored: %llu\n", (unsigned long long)states_explored);
    printf("%u passed, %u failed\n", passed_count, failed_count);
    return failed_count == 0 ? 0 : 1;
}
