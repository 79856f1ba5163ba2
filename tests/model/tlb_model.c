/* SPDX-License-Identifier: MIT */
/*
 * Model checker of the VMX flush decisions: every history of a small machine, breadth first.
 *
 * The machine: L1 with two VPIDs for its L2s and the choice of none, one or two hardware tags for L2, two
 * CPUs, one page whose translation changes between two versions. Two TLBs are kept side by side.
 * The virtual one is that of the CPU L1 believes it has: it loses exactly what the architecture
 * takes away. The physical one is that of the real CPUs: it loses exactly what the emitted
 * operations and the guest's own INVLPG take away, and keeps everything else.
 *
 * Sound: whenever a level runs, each translation that the physical TLB may supply for the current
 * tag is one that the virtual TLB may hold, or the current one. A counterexample is printed as the
 * shortest history. To show that the check can fail, the run is repeated with each kind of emitted
 * operation left out: each time a counterexample must appear.
 */
#include <nvirt/tlbflush.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef MODEL_TAGS
#define MODEL_TAGS 2 /* hardware tags for L2: with 1, every second VPID recycles it */
#endif

enum { PAGES = 1, VERSIONS = 2, CPUS = 2, TAGS02 = MODEL_TAGS, TAG01 = 1, VPIDS12 = 2, MAX_STATES = 4000000 };
enum { OWNER_L1 = 0, OWNERS = 1 + VPIDS12, HW_TAGS = 1 + TAGS02 };

/* Virtual tag 0 is VPID 0: L1 itself, and an L2 of L1's without VPID. */
struct machine {
    struct nvirt_tlb tlb;
    uint8_t version[PAGES];
    uint8_t virt[OWNERS][PAGES];          /* bit v: version v may be held */
    uint8_t phys[CPUS][HW_TAGS][PAGES];
    uint8_t level, owner, hw, cpu, vpid_on;
};

/* A state as it is stored and compared: what of the engine can differ in this universe. */
struct packed {
    uint8_t tag[HW_TAGS][4]; /* L1's, then L2's: binding, marks, CPU, order of use */
    uint8_t version[PAGES];
    uint8_t virt[OWNERS][PAGES];
    uint8_t phys[CPUS][HW_TAGS][PAGES];
    uint8_t level, owner, hw, cpu, vpid_on;
};

struct node {
    struct packed state;
    uint32_t parent;
    uint8_t event;
};

enum event {
    TOUCH, CHANGE, INVLPG, ENTER_NO_VPID, ENTER_1, ENTER_2, EXIT,
    INVVPID_ADDRESS_1, INVVPID_ADDRESS_2, INVVPID_SINGLE_1, INVVPID_SINGLE_2, INVVPID_ALL,
    INVVPID_NOT_GLOBAL_1, MIGRATE, EVENTS
};

static const char *const event_name[EVENTS] = {
    "the running level touches the page", "the translation of the page changes",
    "the running level executes INVLPG",
    "L1 enters L2 without VPID", "L1 enters L2 with VPID 1", "L1 enters L2 with VPID 2", "L2 exits to L1",
    "L1: INVVPID address, VPID 1", "L1: INVVPID address, VPID 2",
    "L1: INVVPID single-context VPID 1", "L1: INVVPID single-context VPID 2", "L1: INVVPID all",
    "L1: INVVPID retaining globals VPID 1", "the vCPU moves to the other CPU"};

static int left_out = -1; /* an operation kind that the model ignores */

static uint32_t hw_index(uint32_t tag02)
{
    return tag02 - TAG01;
}

static void carry_out(struct machine *m, const struct nvirt_flush_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct nvirt_flush_op *op = &set->op[i];

        if ((int)op->kind == left_out) {
            continue;
        }
        switch (op->kind) {
        case NVIRT_FLUSH_VPID_ADDRESS:
            m->phys[m->cpu][hw_index(op->tag)][op->operand >> 12] = 0;
            break;
        case NVIRT_FLUSH_VPID:
        case NVIRT_FLUSH_VPID_NOT_GLOBAL: /* no page is global here */
            memset(m->phys[m->cpu][hw_index(op->tag)], 0, PAGES);
            break;
        default:
            memset(m->phys[m->cpu], 0, sizeof(m->phys[m->cpu]));
            break;
        }
    }
}

static struct nvirt_tlb_vmx_entry entry_of(const struct machine *m)
{
    struct nvirt_tlb_vmx_entry entry = {.cpu = m->cpu,
                                        .vpid12_enabled = m->vpid_on != 0,
                                        .vpid12 = m->vpid_on ? m->owner : 0,
                                        .eptp02 = 0x1000,
                                        .root_changed = false};

    return entry;
}

/* What nvirt does right before any hardware entry. */
static void hardware_entry(struct machine *m)
{
    struct nvirt_flush_set due;
    struct nvirt_tlb_vmx_entry entry = entry_of(m);

    if (m->level == 1) {
        nvirt_tlb_due_l1(&m->tlb, m->cpu, false, &due);
    } else {
        nvirt_tlb_vmx_due_l2(&m->tlb, &entry, m->hw + TAG01, &due);
    }
    carry_out(m, &due);
}

static void flush_vpid0(struct machine *m)
{
    memset(m->virt[OWNER_L1], 0, PAGES);
}

static bool enter(struct machine *m, uint8_t owner)
{
    struct nvirt_tlb_vmx_entry entry;

    if (m->level != 1) {
        return false;
    }
    m->level = 2;
    m->vpid_on = owner != 0;
    m->owner = owner;
    if (!m->vpid_on) {
        flush_vpid0(m);
    }
    entry = entry_of(m);
    m->hw = (uint8_t)hw_index(nvirt_tlb_vmx_enter_l2(&m->tlb, &entry));
    return true;
}

static bool leave(struct machine *m)
{
    if (m->level != 2) {
        return false;
    }
    if (!m->vpid_on) {
        flush_vpid0(m);
    }
    nvirt_tlb_vmx_leave_l2(&m->tlb, m->vpid_on != 0);
    m->level = 1;
    m->owner = OWNER_L1;
    m->hw = 0;
    return true;
}

static bool invvpid(struct machine *m, uint32_t type, uint16_t vpid)
{
    if (m->level != 1) {
        return false;
    }
    if (type == 0) {
        m->virt[vpid][0] = 0;
    } else if (type == 2) {
        memset(m->virt[1], 0, VPIDS12 * PAGES);
    } else {
        memset(m->virt[vpid], 0, PAGES);
    }
    nvirt_tlb_vmx_invvpid(&m->tlb, type, vpid, nvirt_gva_make(0));
    return true;
}

static bool step(struct machine *m, enum event event)
{
    bool possible = true;

    switch (event) {
    case TOUCH:
        m->virt[m->owner][0] |= (uint8_t)(1u << m->version[0]);
        m->phys[m->cpu][m->hw][0] |= (uint8_t)(1u << m->version[0]);
        return true; /* no exit, no entry */
    case CHANGE:
        m->version[0] ^= 1u;
        return true;
    case INVLPG:
        m->virt[m->owner][0] = 0;
        m->phys[m->cpu][m->hw][0] = 0;
        return true;
    case ENTER_NO_VPID:
    case ENTER_1:
    case ENTER_2:
        possible = enter(m, (uint8_t)(event - ENTER_NO_VPID));
        break;
    case EXIT:
        possible = leave(m);
        break;
    case INVVPID_ADDRESS_1:
    case INVVPID_ADDRESS_2:
        possible = invvpid(m, 0, (uint16_t)(event - INVVPID_ADDRESS_1 + 1));
        break;
    case INVVPID_SINGLE_1:
    case INVVPID_SINGLE_2:
        possible = invvpid(m, 1, (uint16_t)(event - INVVPID_SINGLE_1 + 1));
        break;
    case INVVPID_ALL:
        possible = invvpid(m, 2, 0);
        break;
    case INVVPID_NOT_GLOBAL_1:
        possible = invvpid(m, 3, 1);
        break;
    default:
        m->cpu ^= 1u;
        break;
    }
    if (possible) {
        hardware_entry(m);
    }
    return possible;
}

static bool sound(const struct machine *m)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        uint8_t allowed = (uint8_t)(m->virt[m->owner][page] | (1u << m->version[page]));

        if ((m->phys[m->cpu][m->hw][page] & ~allowed) != 0) {
            return false;
        }
    }
    return true;
}

static void pack_tag(const struct nvirt_tlb_tag *tag, uint8_t order, uint8_t out[4])
{
    if (tag->addresses > 1 || (tag->addresses == 1 && tag->address[0] != 0)) {
        abort(); /* only page 0 is ever named */
    }
    out[0] = (uint8_t)(tag->tag12 << 1 | tag->used);
    out[1] = (uint8_t)(tag->flush | tag->not_global << 1 | tag->addresses << 2);
    out[2] = (uint8_t)tag->cpu;
    out[3] = order;
}

static void unpack_tag(const uint8_t in[4], struct nvirt_tlb_tag *tag)
{
    tag->tag12 = in[0] >> 1;
    tag->used = (in[0] & 1u) != 0;
    tag->flush = (in[1] & 1u) != 0;
    tag->not_global = (in[1] & 2u) != 0;
    tag->addresses = in[1] >> 2;
    tag->address[0] = 0;
    tag->cpu = in[2] == 0xff ? NVIRT_TLB_NO_CPU : in[2];
    tag->last_use = in[3];
}

/* The clock only orders the tags: equal orders are one state. */
static uint8_t order_of(const struct nvirt_tlb *tlb, uint32_t tag)
{
    uint8_t order = 0;

    for (uint32_t i = 0; i < TAGS02; i++) {
        order = (uint8_t)(order + (tlb->tag[i].last_use < tlb->tag[tag].last_use));
    }
    return order;
}

static void pack(const struct machine *m, struct packed *out)
{
    memset(out, 0, sizeof(*out));
    pack_tag(&m->tlb.l1, 0, out->tag[0]);
    for (uint32_t i = 0; i < TAGS02; i++) {
        pack_tag(&m->tlb.tag[i], order_of(&m->tlb, i), out->tag[1 + i]);
    }
    memcpy(out->version, m->version, sizeof(out->version));
    memcpy(out->virt, m->virt, sizeof(out->virt));
    memcpy(out->phys, m->phys, sizeof(out->phys));
    out->level = m->level;
    out->owner = m->owner;
    out->hw = m->hw;
    out->cpu = m->cpu;
    out->vpid_on = m->vpid_on;
}

static void unpack(const struct packed *in, struct machine *m)
{
    /* The rest of the engine's state is the same in every machine. */
    m->tlb.clock = TAGS02;
    unpack_tag(in->tag[0], &m->tlb.l1);
    for (uint32_t i = 0; i < TAGS02; i++) {
        unpack_tag(in->tag[1 + i], &m->tlb.tag[i]);
    }
    memcpy(m->version, in->version, sizeof(in->version));
    memcpy(m->virt, in->virt, sizeof(in->virt));
    memcpy(m->phys, in->phys, sizeof(in->phys));
    m->level = in->level;
    m->owner = in->owner;
    m->hw = in->hw;
    m->cpu = in->cpu;
    m->vpid_on = in->vpid_on;
}

/* ---- the search ---- */

static struct node *nodes;
static uint32_t node_count;
static uint32_t *table;
enum { TABLE = 1 << 24 };

static uint64_t hash_of(const struct packed *m)
{
    const unsigned char *byte = (const unsigned char *)m;
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < sizeof(*m); i++) {
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static bool add(const struct machine *m, uint32_t parent, enum event event)
{
    struct packed state;
    uint32_t slot;

    pack(m, &state);
    slot = (uint32_t)(hash_of(&state) % TABLE);

    while (table[slot] != 0) {
        if (memcmp(&nodes[table[slot] - 1].state, &state, sizeof(state)) == 0) {
            return false;
        }
        slot = (slot + 1) % TABLE;
    }
    if (node_count == MAX_STATES) {
        return false;
    }
    nodes[node_count].state = state;
    nodes[node_count].parent = parent;
    nodes[node_count].event = (uint8_t)event;
    table[slot] = ++node_count;
    return true;
}

static void print_history(uint32_t index)
{
    if (index != 0) {
        print_history(nodes[index].parent);
        printf("    %s\n", event_name[nodes[index].event]);
    }
}

/* Returns the number of the first unsound state, or 0 when there is none. */
static uint32_t search(void)
{
    static const struct nvirt_tlb_caps caps = {true, true, true, true, true};
    static const uint32_t tags[] = {TAG01 + 1, TAG01 + 2};
    struct machine start;
    struct machine next;

    memset(&start, 0, sizeof(start));
    if (nvirt_tlb_init(&start.tlb, &caps, TAG01, tags, TAGS02) != NVIRT_OK) {
        abort();
    }
    start.level = 1;
    node_count = 0;
    memset(table, 0, TABLE * sizeof(*table));
    hardware_entry(&start);
    add(&start, 0, TOUCH);
    next = start;
    for (uint32_t i = 0; i < node_count; i++) {
        for (int event = 0; event < EVENTS; event++) {
            unpack(&nodes[i].state, &next);
            if (!step(&next, (enum event)event)) {
                continue;
            }
            if (add(&next, i, (enum event)event) && !sound(&next)) {
                return node_count - 1;
            }
        }
    }
    return 0;
}

int main(void)
{
    static const enum nvirt_flush_kind kinds[] = {NVIRT_FLUSH_VPID_ADDRESS, NVIRT_FLUSH_VPID,
                                                  NVIRT_FLUSH_VPID_NOT_GLOBAL};
    static const char *const kind_name[] = {"INVVPID address", "INVVPID single-context",
                                            "INVVPID retaining globals"};
    uint32_t passed = 0;
    uint32_t failed = 0;
    uint32_t found;

    nodes = calloc(MAX_STATES, sizeof(*nodes));
    table = calloc(TABLE, sizeof(*table));
    if (nodes == NULL || table == NULL) {
        return 2;
    }
    found = search();
    if (found != 0) {
        printf("UNSOUND:\n");
        print_history(found);
        failed++;
    } else {
        printf("sound: %u states%s\n", node_count,
               node_count == MAX_STATES ? ", the nearest to the start" : ", all there are");
        passed++;
    }
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        left_out = (int)kinds[i];
        found = search();
        if (found == 0) {
            printf("leaving out %s goes unnoticed\n", kind_name[i]);
            failed++;
        } else {
            printf("leaving out %s is unsound:\n", kind_name[i]);
            print_history(found);
            passed++;
        }
    }
    printf("%u passed, %u failed\n", passed, failed);
    free(nodes);
    free(table);
    return failed == 0 ? 0 : 1;
}
