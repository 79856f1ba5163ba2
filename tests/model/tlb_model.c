/* SPDX-License-Identifier: MIT */
/*
 * Model checker of the VMX flush decisions: every history of a small machine.
 *
 * The machine: L1 with two VPIDs for its L2s and the choice of none, one or two hardware tags for L2,
 * two CPUs, one page. An L2 runs on one of two EPTs of L1's (A, B) or without. Two TLBs are kept side
 * by side. The virtual one is that of the CPU L1 believes it has; the physical one loses only what
 * is flushed and what the guest's own INVLPG takes away. Linear mappings carry the VPID, guest-physical
 * ones the EPT (EP4TA), combined ones both [SDM 3C "Information That May Be Cached"]; in hardware L2
 * always runs on tables of nvirt's, so what is linear to L1 is combined there.
 *
 * One *marked* translation is followed: one of L1's own page, of L2's page through A (global or not),
 * of L2's page without EPT, or the way through a table page of nvirt's, which must not be walked once
 * the page was given back. A set of holders is one bit each; unsound is that hardware may supply the
 * mark to a level whose virtual TLB may not hold it. The virtual CPU may fetch ahead, so it holds all
 * that was ever before it. At the start each hardware tag is full of marks of an earlier owner.
 *
 * The steps around the engine are those of src/nested/vmx_enter.c, vmx_run.c and vmx_leave.c.
 */
#include <nvirt/tlbflush.h>

#ifndef MODEL_TAGS
#define MODEL_TAGS 2 /* hardware tags for L2: with 1, every second VPID recycles it */
#endif

enum { TAGS02 = MODEL_TAGS, HW_TAGS = 1 + TAGS02, CPUS = 2, VPIDS12 = 2, OWNERS = 1 + VPIDS12,
       ROOTS = 3, ROOT_NONE = 0, ROOT_A = 1, TAG01 = 1, FIRST_TAG02 = 10, NO_CPU = 3 };

enum mark { MARK_L1, MARK_A, MARK_A_GLOBAL, MARK_NO_EPT, MARK_FREED, MARKS };
static const char *const mark_name[MARKS] = {"L1's own", "through A", "through A, global",
                                             "without EPT", "freed table page"};
static enum mark mark;

/* Faults put in on purpose, to see that the model finds them. */
enum fault { FAULT_NONE, FAULT_EVERY_ENTRY, FAULT_SAME_CPU, FAULT_LEAVE_UNTOLD, FAULT_FAILED_ENTRY,
             FAULT_NO_RECYCLE, FAULT_INVEPT_LOST, FAULT_FORGET, FAULTS };
static const char *const fault_name[FAULTS] = {
    "none", "everything flushed on every entry", "moves to another CPU unnoticed",
    "the engine is not told that L2 was left", "the engine is not told of an entry that failed late",
    "a recycled tag is not flushed", "L1's INVEPT ignored", "tags kept but not flushed at a reset"};
static enum fault fault;
static struct nvirt_tlb_caps caps = {true, true, true, true, true};

/* A universe: which events there are. All at once would be too many states. */
struct universe {
    const char *name;
    uint8_t roots; /* bit per EPT that L1 uses */
    uint8_t vpids;
    bool invvpid;  /* INVVPID in all its types */
    bool host;     /* what L0 does: reset, memory taken away, VMXOFF and paging changes emulated */
};
static const struct universe universes[] = {
    {"INVVPID", 2, 2, true, false},
    {"EPTs change", 7, 1, false, false},
    {"what L0 does", 3, 1, false, true},
};
enum { UNIVERSES = sizeof(universes) / sizeof(universes[0]) };
static const struct universe *universe = &universes[0];

enum content { CONTENT_NONE, CONTENT_OTHER, CONTENT_MARKED };

/* One root of nvirt's: see struct nvi_mmu_root. CPU: 0 this one, 1 the other, NO_CPU. */
struct root {
    uint8_t content, stale, changed, cpu;
};

struct machine {
    struct nvirt_tlb tlb;
    struct root root[ROOTS];
    uint8_t guest, nested, host; /* L1's page or L2's page table, A, and L0's mapping: as in the mark */
    uint8_t virt_linear[OWNERS], virt_nested; /* combined (linear without EPT); guest-physical of A */
    uint8_t linear[CPUS][HW_TAGS], nest[CPUS], freed[CPUS]; /* combined; guest-physical;
                                             through a freed page. CPU 0: where it runs */
    uint8_t level, owner, hw, current;
};

struct packed {
    uint8_t tag[HW_TAGS][3];
    uint8_t root[ROOTS];
    uint8_t virt, bits, phys[CPUS], where;
};

#define ENTER(root, vpid) ((uint32_t)ENTER_FIRST + (uint32_t)(root) * OWNERS + (vpid))
enum event {
    TOUCH, GUEST, NESTED, INVLPG, EXIT, MIGRATE, INVEPT_A, INVEPT_B, INVEPT_ALL, HOST, RESET, VMXOFF,
    PAGING, ADDRESS_1, ADDRESS_2, SINGLE_1, SINGLE_2, ALL, NOT_GLOBAL_1, NOT_GLOBAL_2, FAIL_FIRST,
    ENTER_FIRST = FAIL_FIRST + OWNERS, EVENTS = ENTER_FIRST + ROOTS * OWNERS
};

#define ENTERS(root)                                                                              \
    "L1 enters L2 without VPID, " root, "L1 enters L2 with VPID 1, " root,                        \
        "L1 enters L2 with VPID 2, " root
static const char *const event_name[EVENTS] = {
    "the running level touches the page",
    "the running level's page table changes (no INVLPG)",
    "EPT A changes",
    "the running level executes INVLPG",
    "L2 is left for L1 (an exit, or hardware refused the entry)",
    "the vCPU moves to the other CPU",
    "L1: INVEPT single-context A", "L1: INVEPT single-context B", "L1: INVEPT all-context",
    "the host takes the memory of the page away",
    "the vCPU is reset", "L1: VMXOFF", "the running level changes its paging mode",
    "L1: INVVPID address, VPID 1", "L1: INVVPID address, VPID 2",
    "L1: INVVPID single-context, VPID 1", "L1: INVVPID single-context, VPID 2",
    "L1: INVVPID all-context",
    "L1: INVVPID retaining globals, VPID 1", "L1: INVVPID retaining globals, VPID 2",
    "L1's entry of L2 without VPID fails at the MSR list",
    "L1's entry of L2 with VPID 1 fails at the MSR list",
    "L1's entry of L2 with VPID 2 fails at the MSR list",
    ENTERS("no EPT"), ENTERS("EPT A"), ENTERS("EPT B")};

static void start(struct machine *m);
static bool step(struct machine *m, uint32_t event);
static bool is_sound(const struct machine *m);
static void pack(const struct machine *m, struct packed *out);
static void unpack(const struct packed *in, struct machine *m);
static uint64_t key_of(const struct machine *m, uint32_t event);
static uint8_t reason_of(const struct machine *before, uint32_t event,
                         const struct nvirt_flush_op *op);
static const char *const reason_name[] = {
    "for no known reason", "INVEPT and INVVPID fall due together and overlap",
    "a root comes to a CPU that holds nothing stale of it",
    "the tag is new or comes to this CPU, where INVEPT took all it held before"};

#include "explore.h"

static bool follows_page(void)
{
    return mark == MARK_FREED;
}

/* ---- the hardware ---- */

static uint32_t hw_index(uint32_t tag02)
{
    return tag02 == TAG01 ? 0 : 1 + tag02 - FIRST_TAG02;
}

/* The root that the mark is in. L1's own is behind EPT01, which is the host's. */
static uint32_t marked_root(void)
{
    return mark == MARK_L1 ? ROOTS : mark == MARK_NO_EPT ? ROOT_NONE : ROOT_A;
}

/* INVEPT: everything of a root on this CPU, under each L2 tag. */
static void drop_root(struct machine *m)
{
    m->nest[0] = 0;
    m->freed[0] = 0;
    memset(m->linear[0] + 1, 0, TAGS02);
}

static void carry_out(struct machine *m, const struct nvirt_flush_set *due)
{
    for (uint32_t i = 0; i < due->count; i++) {
        const struct nvirt_flush_op *op = &due->op[i];

        if (!emit(op)) {
            continue;
        }
        switch (op->kind) {
        case NVIRT_FLUSH_VPID_ADDRESS:
        case NVIRT_FLUSH_VPID:
            m->linear[0][hw_index(op->tag)] = 0;
            break;
        case NVIRT_FLUSH_VPID_NOT_GLOBAL:
            m->linear[0][hw_index(op->tag)] &= mark == MARK_A_GLOBAL;
            break;
        case NVIRT_FLUSH_VPID_ALL:
            memset(m->linear[0], 0, HW_TAGS);
            break;
        case NVIRT_FLUSH_ROOT:
            if (op->operand == marked_root()) {
                drop_root(m);
            }
            break;
        default:
            if (mark != MARK_L1) {
                drop_root(m);
            }
            break;
        }
    }
}

/* ---- nvirt, around the engine ---- */

static struct nvirt_tlb_vmx_entry entry_of(const struct machine *m)
{
    struct nvirt_tlb_vmx_entry entry = {.cpu = 0,
                                        .vpid12_enabled = m->owner != 0,
                                        .vpid12 = m->owner,
                                        .eptp02 = m->current,
                                        .root_changed = false};

    return entry;
}

/* nvi_mmu_enter(); true when the pages of A went to limbo. */
static bool empty_if_stale(struct machine *m, struct root *root)
{
    bool freed = root->stale && root->content != CONTENT_NONE;

    if (freed) {
        root->content = CONTENT_NONE;
        root->changed = true;
    }
    root->stale = false;
    return freed && m->current == ROOT_A;
}

static void prepare_l2(struct machine *m)
{
    struct nvirt_tlb_vmx_entry entry = entry_of(m);
    struct root *root = &m->root[m->current];
    bool freed = empty_if_stale(m, root);
    struct nvirt_flush_set due;

    entry.root_changed = root->changed || root->cpu != 0;
    nvirt_tlb_vmx_due_l2(&m->tlb, &entry, m->tlb.tag[m->hw - 1].tag02, &due);
    carry_out(m, &due);
    root->changed = false;
    root->cpu = 0;
    if (freed && follows_page()) {
        /* Who walked them and did not flush holds the way to them. */
        m->freed[0] |= m->nest[0];
        m->freed[1] |= m->nest[1];
        m->nest[0] = 0;
        m->nest[1] = 0;
    }
}

static void prepare(struct machine *m)
{
    struct nvirt_flush_set due;

    if (fault == FAULT_EVERY_ENTRY) {
        nvirt_tlb_tables_changed(&m->tlb, 0);
        nvirt_tlb_flush_l1(&m->tlb);
    }
    if (m->level == 2) {
        prepare_l2(m);
        return;
    }
    nvirt_tlb_due_l1(&m->tlb, 0, false, &due);
    carry_out(m, &due);
}

/* Without VPID each transition flushes VPID 0. */
static void transition(struct machine *m)
{
    if (m->owner == 0) {
        m->virt_linear[0] = 0;
    }
}

static void back_to_l1(struct machine *m)
{
    m->level = 1;
    m->owner = 0;
    m->hw = 0;
    m->current = 0;
}

static bool bind(struct machine *m, uint32_t root, uint32_t vpid)
{
    struct nvirt_tlb_vmx_entry entry;

    if (m->level != 1 || (universe->roots >> root & 1u) == 0 || vpid > universe->vpids) {
        return false;
    }
    m->level = 2;
    m->owner = (uint8_t)vpid;
    m->current = (uint8_t)root;
    transition(m);
    entry = entry_of(m);
    m->hw = (uint8_t)hw_index(nvirt_tlb_vmx_enter_l2(&m->tlb, &entry));
    if (fault == FAULT_NO_RECYCLE && vpid != 0) {
        m->tlb.tag[m->hw - 1].flush = m->tlb.tag[m->hw - 1].cpu == NVIRT_TLB_NO_CPU;
    }
    return true;
}

static bool leave(struct machine *m, bool failed_late)
{
    if (m->level != 2) {
        return false;
    }
    transition(m);
    if (fault != (failed_late ? FAULT_FAILED_ENTRY : FAULT_LEAVE_UNTOLD)) {
        nvirt_tlb_vmx_leave_l2(&m->tlb, m->owner != 0);
    }
    back_to_l1(m);
    return true;
}

static void stale_roots(struct machine *m, bool all)
{
    for (uint32_t i = all ? ROOT_NONE : ROOT_A; i < ROOTS; i++) {
        m->root[i].stale = m->root[i].content != CONTENT_NONE;
    }
}

static void reset(struct machine *m)
{
    struct nvirt_tlb kept;

    (void)leave(m, false);
    memset(m->virt_linear, 0, OWNERS);
    m->virt_nested = 0;
    kept = m->tlb;
    nvirt_tlb_forget(&m->tlb);
    nvirt_tlb_flush_l1(&m->tlb);
    if (fault == FAULT_FORGET) {
        m->tlb = kept;
    }
    stale_roots(m, true);
}

static bool vmxoff(struct machine *m)
{
    if (m->level != 1) {
        return false;
    }
    /* It need not invalidate anything; that L1 counts on it is the demanding case. */
    memset(m->virt_linear, 0, OWNERS);
    m->virt_nested = 0;
    nvirt_tlb_forget(&m->tlb);
    stale_roots(m, false);
    return true;
}

static void change_paging(struct machine *m)
{
    m->virt_linear[m->owner] = 0;
    if (m->level == 1) {
        nvirt_tlb_flush_l1(&m->tlb);
    } else {
        m->tlb.tag[m->hw - 1].flush = true; /* as flush_running() in src/nested/vmx_cr.c */
    }
}

static bool invept(struct machine *m, uint32_t event)
{
    if (m->level != 1) {
        return false;
    }
    if (event != INVEPT_B) {
        m->virt_nested = 0;
        if (mark == MARK_A || mark == MARK_A_GLOBAL) {
            memset(m->virt_linear, 0, OWNERS);
        }
    }
    if (fault == FAULT_INVEPT_LOST) {
        return true;
    }
    if (event == INVEPT_ALL) {
        stale_roots(m, false);
    } else {
        struct root *root = &m->root[event == INVEPT_A ? ROOT_A : ROOT_A + 1];

        root->stale = root->content != CONTENT_NONE;
    }
    return true;
}

static bool invvpid(struct machine *m, uint32_t type, uint32_t vpid)
{
    if (m->level != 1 || !universe->invvpid) {
        return false;
    }
    if (type == 2) {
        m->virt_linear[1] = 0;
        m->virt_linear[2] = 0;
    } else {
        m->virt_linear[vpid] &= type == 3 && mark == MARK_A_GLOBAL;
    }
    nvirt_tlb_vmx_invvpid(&m->tlb, type, (uint16_t)vpid, nvirt_gva_make(0));
    return true;
}

static void swap_bits(uint8_t bit[CPUS])
{
    uint8_t first = bit[0];

    bit[0] = bit[1];
    bit[1] = first;
}

static void move_cpu(struct machine *m)
{
    for (uint32_t i = 0; i < HW_TAGS; i++) {
        uint8_t bit = m->linear[0][i];
        struct nvirt_tlb_tag *tag = i == 0 ? &m->tlb.l1 : &m->tlb.tag[i - 1];

        m->linear[0][i] = m->linear[1][i];
        m->linear[1][i] = bit;
        if (tag->cpu != NVIRT_TLB_NO_CPU && fault != FAULT_SAME_CPU) {
            tag->cpu ^= 1u; /* CPU 0 is always the one it runs on */
        }
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        m->root[i].cpu = m->root[i].cpu == NO_CPU ? NO_CPU : m->root[i].cpu ^ 1u;
    }
    swap_bits(m->nest);
    swap_bits(m->freed);
}

/* ---- what the levels do ---- */

/* What the level that runs has before it now is the marked translation. */
static uint8_t marked_now(const struct machine *m)
{
    switch (mark) {
    case MARK_L1:
        return m->level == 1;
    case MARK_A:
    case MARK_A_GLOBAL:
        return m->level == 2 && m->current == ROOT_A && m->nested;
    case MARK_NO_EPT:
        return m->level == 2 && m->current == ROOT_NONE;
    default:
        return 0;
    }
}

/* The virtual CPU may hold all that was ever before it. */
static void fetch_ahead(struct machine *m)
{
    uint8_t through_a = m->level == 2 && m->current == ROOT_A;

    m->virt_nested |= through_a && marked_now(m);
    m->virt_linear[m->owner] |= m->guest & (marked_now(m) | (through_a & m->virt_nested));
}

static void touch(struct machine *m)
{
    struct root *root = &m->root[m->current];
    uint8_t *linear = &m->linear[0][m->hw];

    if (m->level == 1) {
        *linear |= m->guest & marked_now(m);
        return;
    }
    if (root->content == CONTENT_NONE) {
        root->content = marked_now(m) && m->host ? CONTENT_MARKED : CONTENT_OTHER;
    }
    if (m->current != marked_root()) {
        return;
    }
    if (follows_page()) {
        m->nest[0] = 1;
        return;
    }
    m->nest[0] |= root->content == CONTENT_MARKED;
    *linear |= m->guest & m->nest[0];
}

static bool take_memory_away(struct machine *m)
{
    if (mark != MARK_L1 && !follows_page()) {
        m->host = 0; /* L1's own memory is the host's to flush */
    }
    stale_roots(m, true);
    return true;
}

/* Events without a hardware entry. */
static bool quiet_step(struct machine *m, uint32_t event)
{
    switch (event) {
    case TOUCH:
        touch(m);
        return true;
    case GUEST:
        m->guest ^= 1u;
        return !follows_page();
    case NESTED:
        m->nested ^= 1u;
        return mark == MARK_A || mark == MARK_A_GLOBAL;
    default: /* For the current VPID, under all EPTs; not guest-physical ones. */
        m->virt_linear[m->owner] = 0;
        if (!follows_page()) {
            m->linear[0][m->hw] = 0;
        }
        return !follows_page();
    }
}

static bool l0_step(struct machine *m, uint32_t event)
{
    if (!universe->host) {
        return false;
    }
    switch (event) {
    case HOST:
        return take_memory_away(m);
    case RESET:
        reset(m);
        return true;
    case VMXOFF:
        return vmxoff(m);
    default:
        change_paging(m);
        return true;
    }
}

static bool loud_step(struct machine *m, uint32_t event)
{
    if (event == EXIT) {
        return leave(m, false);
    } else if (event == MIGRATE) {
        move_cpu(m);
        return true;
    } else if (event <= INVEPT_ALL) {
        return invept(m, event);
    } else if (event <= PAGING) {
        return l0_step(m, event);
    } else if (event <= ADDRESS_2) {
        return invvpid(m, 0, event - ADDRESS_1 + 1);
    } else if (event <= SINGLE_2) {
        return invvpid(m, 1, event - SINGLE_1 + 1);
    } else if (event == ALL) {
        return invvpid(m, 2, 0);
    } else if (event <= NOT_GLOBAL_2) {
        return invvpid(m, 3, event - NOT_GLOBAL_1 + 1);
    } else if (event < ENTER_FIRST) {
        return bind(m, ROOT_A, event - FAIL_FIRST) && leave(m, true);
    }
    return bind(m, (event - ENTER_FIRST) / OWNERS, (event - ENTER_FIRST) % OWNERS);
}

static bool step(struct machine *m, uint32_t event)
{
    bool loud = event > INVLPG;
    bool possible = loud ? loud_step(m, event) : quiet_step(m, event);

    if (possible && loud) {
        prepare(m);
    }
    if (possible) {
        fetch_ahead(m);
    }
    return possible;
}

static bool is_sound(const struct machine *m)
{
    uint8_t supplied = m->linear[0][m->hw];

    if (follows_page()) {
        return m->level == 1 || m->current != ROOT_A || m->freed[0] == 0;
    }
    if (m->level == 1) {
        return mark != MARK_L1 || (supplied & ~m->virt_linear[0] & 1u) == 0;
    }
    if (m->current != marked_root()) {
        return true;
    }
    supplied |= m->guest & m->nest[0];
    return (supplied & ~(m->virt_linear[m->owner] & m->host) & 1u) == 0;
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

static void pack_tag(const struct nvirt_tlb_tag *tag, uint8_t order, uint8_t out[3])
{
    uint8_t cpu = tag->cpu == NVIRT_TLB_NO_CPU ? NO_CPU : (uint8_t)tag->cpu;

    out[0] = (uint8_t)(tag->used | tag->tag12 << 1);
    out[1] = (uint8_t)(tag->flush | tag->not_global << 1 | tag->addresses << 2 | cpu << 4);
    out[2] = tag->used ? order : 0;
}

static void unpack_tag(const uint8_t in[3], struct nvirt_tlb_tag *tag)
{
    tag->used = (in[0] & 1u) != 0;
    tag->tag12 = in[0] >> 1;
    tag->flush = (in[1] & 1u) != 0;
    tag->not_global = (in[1] & 2u) != 0;
    tag->addresses = in[1] >> 2 & 1u;
    tag->address[0] = 0;
    tag->cpu = in[1] >> 4 == NO_CPU ? NVIRT_TLB_NO_CPU : in[1] >> 4;
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
    pack_tag(&m->tlb.l1, 0, out->tag[0]);
    for (uint32_t i = 0; i < TAGS02; i++) {
        pack_tag(&m->tlb.tag[i], order_of(&m->tlb, i), out->tag[1 + i]);
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        const struct root *root = &m->root[i];

        out->root[i] = (uint8_t)(root->content | root->stale << 2 | root->changed << 3 |
                                 root->cpu << 4);
    }
    out->virt = (uint8_t)(bits_of(m->virt_linear, OWNERS) | m->virt_nested << 4);
    out->bits = (uint8_t)(m->guest | m->nested << 1 | m->host << 2);
    for (uint32_t i = 0; i < CPUS; i++) {
        out->phys[i] = (uint8_t)(bits_of(m->linear[i], HW_TAGS) | m->nest[i] << 4 |
                                 m->freed[i] << 5);
    }
    out->where = (uint8_t)(m->level | m->owner << 2 | m->hw << 4 | m->current << 6);
}

static void unpack(const struct packed *in, struct machine *m)
{
    m->tlb.clock = TAGS02;
    unpack_tag(in->tag[0], &m->tlb.l1);
    for (uint32_t i = 0; i < TAGS02; i++) {
        unpack_tag(in->tag[1 + i], &m->tlb.tag[i]);
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        m->root[i].content = in->root[i] & 3u;
        m->root[i].stale = in->root[i] >> 2 & 1u;
        m->root[i].changed = in->root[i] >> 3 & 1u;
        m->root[i].cpu = in->root[i] >> 4;
    }
    set_bits(in->virt & 15u, m->virt_linear, OWNERS);
    m->virt_nested = in->virt >> 4;
    m->guest = in->bits & 1u;
    m->nested = in->bits >> 1 & 1u;
    m->host = in->bits >> 2;
    for (uint32_t i = 0; i < CPUS; i++) {
        set_bits(in->phys[i] & 15u, m->linear[i], HW_TAGS);
        m->nest[i] = in->phys[i] >> 4 & 1u;
        m->freed[i] = in->phys[i] >> 5;
    }
    m->level = in->where & 3u;
    m->owner = in->where >> 2 & 3u;
    m->hw = in->where >> 4 & 3u;
    m->current = in->where >> 6;
}

static uint8_t other_root(uint32_t root)
{
    return (uint8_t)(root == ROOT_NONE ? ROOT_NONE : 3 - root);
}

static uint64_t engine_hash(const struct machine *m, uint32_t event)
{
    struct packed state;
    uint8_t extra[ROOTS + 2];

    memset(&state, 0, sizeof(state));
    pack(m, &state);
    for (uint32_t i = 0; i < ROOTS; i++) {
        const struct root *root = &m->root[i];
        bool changed = root->changed || (root->stale && root->content != CONTENT_NONE);

        extra[i] = (uint8_t)(changed | root->cpu << 1);
    }
    extra[ROOTS] = state.where;
    extra[ROOTS + 1] = (uint8_t)event;
    return hash_of(extra, sizeof(extra), hash_of(state.tag, sizeof(state.tag), HASH_START));
}

/* The state of the engine and of the roots' bookkeeping, and the event. No mark goes through B: with A
 * and B exchanged it is the same. */
static uint64_t key_of(const struct machine *m, uint32_t event)
{
    static struct machine other;
    uint64_t a = engine_hash(m, event);
    uint64_t b;

    other = *m;
    other.current = other_root(m->current);
    other.root[ROOT_A] = m->root[ROOT_A + 1];
    other.root[ROOT_A + 1] = m->root[ROOT_A];
    if (event == INVEPT_A || event == INVEPT_B) {
        event = INVEPT_A + INVEPT_B - event;
    } else if (event >= ENTER_FIRST) {
        uint32_t code = event - ENTER_FIRST;

        event = ENTER(other_root(code / OWNERS), code % OWNERS);
    }
    b = engine_hash(&other, event);
    return a < b ? a : b;
}

static uint8_t reason_of(const struct machine *before, uint32_t event,
                         const struct nvirt_flush_op *op)
{
    if (emitted.together > 1) {
        return 1;
    }
    if (op->kind == NVIRT_FLUSH_ROOT) {
        return 2;
    }
    if (event >= ENTER_FIRST && hw_index(op->tag) != 0) {
        const struct nvirt_tlb_tag *tag = &before->tlb.tag[hw_index(op->tag) - 1];

        return !tag->used || tag->tag12 != (event - ENTER_FIRST) % OWNERS || tag->cpu != 0 ? 3 : 0;
    }
    return 0;
}

static void start(struct machine *m)
{
    static const uint32_t tags[] = {FIRST_TAG02, FIRST_TAG02 + 1};

    memset(m, 0, sizeof(*m));
    if (nvirt_tlb_init(&m->tlb, &caps, TAG01, tags, TAGS02) != NVIRT_OK) {
        abort();
    }
    m->level = 1;
    m->host = 1;
    for (uint32_t i = 0; i < ROOTS; i++) {
        m->root[i].cpu = NO_CPU;
    }
    for (uint32_t i = 0; i < CPUS; i++) {
        memset(m->linear[i], !follows_page(), HW_TAGS);
        m->nest[i] = mark != MARK_L1 && !follows_page();
        m->freed[i] = follows_page();
    }
    prepare(m);
    fetch_ahead(m);
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

static void check_universe(const struct universe *which, const char *on, bool judge)
{
    uint64_t before = states_explored;
    bool sound = run_universe(which, judge);
    bool bounded = overflow;

    printf("%s%s: %llu states%s\n", which->name, on,
           (unsigned long long)(states_explored - before),
           bounded ? ", the nearest to the start" : ", all there are");
    result(sound, "sound", which->name);
    if (sound && judge) {
        uint32_t unneeded = report_emissions(true);

        if (bounded) {
            printf("undecided: minimal: %s: the states nearest to the start do not tell\n",
                   which->name);
        } else {
            result(unneeded == 0, "minimal, but for the reasons listed", which->name);
        }
    }
}

/* Only soundness is asked of a CPU whose operations are coarser. */
static void check_engine(void)
{
    static const struct nvirt_tlb_caps all = {true, true, true, true, true};

    for (uint32_t i = 0; i < UNIVERSES; i++) {
        check_universe(&universes[i], "", true);
    }
    caps.invvpid_address = false;
    caps.invvpid_not_global = false;
    check_universe(&universes[0], ", INVVPID single-context only", false);
    caps.invvpid_single = false;
    caps.invept_single = false;
    check_universe(&universes[0], ", all-context types only", false);
    check_universe(&universes[1], ", all-context types only", false);
    caps = all;
}

static void check_faults(void)
{
    for (fault = FAULT_SAME_CPU; fault < FAULTS; fault++) {
        bool found = false;

        printf("fault: %s\n", fault_name[fault]);
        for (uint32_t i = UNIVERSES; i-- > 0 && !found;) {
            found = !run_universe(&universes[i], false);
        }
        result(found, "found", fault_name[fault]);
    }
    fault = FAULT_EVERY_ENTRY;
    if (run_universe(&universes[1], true) && overflow) {
        printf("undecided: not minimal: %s\n", fault_name[fault]);
    } else {
        result(report_emissions(false) != 0, "reported as not minimal", fault_name[fault]);
    }
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
