/* SPDX-License-Identifier: MIT */
/*
 * Exhaustive search of a small machine, for the model checkers of this folder. The file that
 * includes it has declared before: EVENTS, event_name[], struct machine, struct packed (all that can
 * differ between two machines, without padding), start(), step(), is_sound(), pack(), unpack(),
 * key_of() and, for emissions that no history needs, reason_of().
 *
 * Soundness: breadth first over every state; the first unsound one is printed with its history.
 *
 * Minimality: an emission is (state of the engine, event, operation). It is needed when some machine
 * whose engine is in that state becomes unsound, at once or later, once that one operation is left
 * out there and nowhere else. The machines that leave an operation out are explored to the end: a
 * path that comes back to a state of the untouched machine is harmless, because those are all
 * sound. So the answer is exact, not bounded.
 */
#ifndef NVIRT_TESTS_MODEL_EXPLORE_H
#define NVIRT_TESTS_MODEL_EXPLORE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef MODEL_MAX_STATES
#define MODEL_MAX_STATES 800000 /* per search; beyond, only the nearest to the start */
#endif

enum { MAX_NODES = 4000000, TABLE_SIZE = 1 << 23, MAX_KEYS = 1 << 20, KEY_TABLE = 1 << 21,
       MAX_EDGES = 40000000, MAX_LINKS = 8000000, MAX_BASE = MODEL_MAX_STATES, MAX_HISTORY = 40, NO_NODE = 0 };

#define BAD_ITSELF UINT32_MAX

struct node {
    struct packed state;
    uint32_t parent; /* NO_NODE: the start, or a machine that left an operation out */
    uint8_t event;
};

/* An emission, with one history that leads to it. */
struct key {
    uint64_t id;
    uint8_t event;
    uint8_t kind;
    uint8_t reason;
    bool needed;
    uint8_t length;
    uint8_t history[MAX_HISTORY];
};

/* A machine outside the untouched ones and one of its successors. */
struct edge {
    uint32_t from, to, event;
};

/* The emission that was left out to get to a machine. */
struct link {
    uint32_t key, node, from;
    uint8_t event, op;
};

static struct machine prototype; /* what unpack() does not write is the same in every machine */
static struct node *nodes;
static uint32_t node_count, base_count;
static uint32_t *table;
static struct key *keys;
static uint32_t key_count;
static uint32_t *key_table;
static struct edge *edges;
static uint32_t edge_count;
static struct link *links;
static uint32_t link_count;
static uint32_t *next_bad; /* per node: the edge on a path to an unsound one; 0: none */
static bool overflow; /* something was bounded */
static uint64_t states_explored;
static bool kind_shown[16];

/* ---- what a step emits ---- */

static struct {
    uint32_t count;
    int left_out;
    uint32_t together; /* operations of the step that is judged */
    struct nvirt_flush_op op[NVIRT_TLB_MAX_OPS];
} emitted = {.left_out = -1};

/* True when @p op is to be carried out. */
static bool emit(const struct nvirt_flush_op *op)
{
    emitted.op[emitted.count] = *op;
    return (int)emitted.count++ != emitted.left_out;
}

static const char *const kind_name[] = {
    "INVVPID address", "INVVPID retaining globals", "INVVPID single-context", "INVVPID all-context",
    "INVEPT single-context", "INVEPT all-context", "INVLPGA", "TLB_CONTROL 3 (this ASID)",
    "TLB_CONTROL 1 (everything)"};

/* ---- tables ---- */

static uint64_t hash_of(const void *data, size_t size, uint64_t hash)
{
    const unsigned char *byte = data;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    }
    return hash ^ hash >> 29;
}

#define HASH_START UINT64_C(14695981039346656037)

static uint32_t slot_of(const struct packed *state)
{
    return (uint32_t)(hash_of(state, sizeof(*state), HASH_START) % TABLE_SIZE);
}

/* The number of @p m's node; *is_new tells whether it was made. */
static uint32_t node_of(const struct machine *m, uint32_t parent, uint32_t event, bool *is_new)
{
    struct packed state;
    uint32_t slot;

    memset(&state, 0, sizeof(state));
    pack(m, &state);
    slot = slot_of(&state);
    *is_new = false;
    while (table[slot] != NO_NODE) {
        if (memcmp(&nodes[table[slot]].state, &state, sizeof(state)) == 0) {
            return table[slot];
        }
        slot = (slot + 1) % TABLE_SIZE;
    }
    if (node_count == MAX_NODES) {
        overflow = true;
        return NO_NODE;
    }
    nodes[node_count].state = state;
    nodes[node_count].parent = parent;
    nodes[node_count].event = (uint8_t)event;
    table[slot] = node_count;
    *is_new = true;
    return node_count++;
}

static uint32_t history_of(uint32_t node, uint8_t *history)
{
    uint32_t length = 0;

    for (uint32_t i = node; nodes[i].parent != NO_NODE; i = nodes[i].parent) {
        length++;
    }
    for (uint32_t i = node, at = length; nodes[i].parent != NO_NODE; i = nodes[i].parent) {
        at--;
        if (at < MAX_HISTORY) {
            history[at] = nodes[i].event;
        }
    }
    return length < MAX_HISTORY ? length : MAX_HISTORY;
}

static void print_history(const uint8_t *history, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        printf("    %s\n", event_name[history[i]]);
    }
}

static void print_path(uint32_t node)
{
    uint8_t history[MAX_HISTORY];
    uint32_t length = history_of(node, history);

    print_history(history, length);
}

/* The emission of operation @p op when @p event meets the engine of @p before. */
static uint32_t key_number(const struct machine *before, uint32_t node, uint32_t event,
                           const struct nvirt_flush_op *op)
{
    uint64_t id = key_of(before, event);
    uint32_t what[2] = {(uint32_t)op->kind, op->tag};
    uint32_t slot;

    id = hash_of(&op->operand, sizeof(op->operand), hash_of(what, sizeof(what), id));
    slot = (uint32_t)(id % KEY_TABLE);
    while (key_table[slot] != 0) {
        if (keys[key_table[slot]].id == id) {
            return key_table[slot];
        }
        slot = (slot + 1) % KEY_TABLE;
    }
    if (key_count == MAX_KEYS) {
        overflow = true;
        return 0;
    }
    keys[key_count].id = id;
    keys[key_count].event = (uint8_t)event;
    keys[key_count].kind = (uint8_t)op->kind;
    keys[key_count].reason = reason_of(before, event, op);
    keys[key_count].needed = false;
    keys[key_count].length = (uint8_t)history_of(node, keys[key_count].history);
    key_table[slot] = key_count;
    return key_count++;
}

/* ---- soundness and minimality ---- */

static void unpack_node(uint32_t node, struct machine *m)
{
    unpack(&nodes[node].state, m);
    emitted.count = 0;
    emitted.left_out = -1;
}

static void show_needed(const struct link *link)
{
    if (kind_shown[keys[link->key].kind]) {
        return;
    }
    kind_shown[keys[link->key].kind] = true;
    printf("leaving out one %s is unsound:\n", kind_name[keys[link->key].kind]);
    print_path(link->from);
    printf("    %s   <- left out here\n", event_name[link->event]);
    for (uint32_t i = link->node; i != NO_NODE && next_bad[i] != BAD_ITSELF;
         i = edges[next_bad[i]].to) {
        printf("    %s\n", event_name[edges[next_bad[i]].event]);
    }
}

/* Leaves out, one by one, what @p event emitted in node @p from. */
static void leave_out_each(uint32_t from, uint32_t event)
{
    static struct machine m;
    const struct nvirt_flush_op *ops = emitted.op;
    uint32_t count = emitted.count;
    struct nvirt_flush_op op[NVIRT_TLB_MAX_OPS];

    memcpy(op, ops, count * sizeof(*ops));
    emitted.together = count;
    for (uint32_t i = 0; i < count; i++) {
        struct link link = {.from = from, .event = (uint8_t)event, .op = (uint8_t)i};

        m = prototype;
        unpack_node(from, &m);
        link.key = key_number(&m, from, event, &op[i]);
        if (keys[link.key].needed) {
            continue;
        }
        emitted.left_out = (int)i;
        (void)step(&m, event);
        emitted.left_out = -1;
        if (!is_sound(&m)) {
            keys[link.key].needed = true;
            show_needed(&link);
        } else if (link_count < MAX_LINKS) {
            links[link_count++] = link;
        } else {
            overflow = true;
        }
    }
}

/* Few slots are used by most searches. */
static void clear_table(void)
{
    for (uint32_t i = 1; i < node_count; i++) {
        uint32_t slot = slot_of(&nodes[i].state);

        while (table[slot] != NO_NODE) {
            table[slot] = NO_NODE;
            slot = (slot + 1) % TABLE_SIZE;
        }
    }
}

/* Every state there is. Returns an unsound one, or NO_NODE. */
static uint32_t search(bool judge)
{
    static struct machine m;
    bool is_new;

    clear_table();
    node_count = 1;
    edge_count = 1; /* 0: none */
    link_count = 0;
    start(&prototype);
    m = prototype;
    node_of(&m, NO_NODE, 0, &is_new);
    for (uint32_t i = 1; i < node_count; i++) {
        if (node_count > MAX_BASE) {
            overflow = true;
            break;
        }
        for (uint32_t event = 0; event < EVENTS; event++) {
            uint32_t node;

            unpack_node(i, &m);
            if (!step(&m, event)) {
                continue;
            }
            node = node_of(&m, i, event, &is_new);
            if (is_new && !is_sound(&m)) {
                return node;
            }
            if (judge && emitted.count != 0) {
                leave_out_each(i, event);
            }
        }
    }
    base_count = node_count;
    states_explored += base_count - 1;
    return NO_NODE;
}

/* The machines whose left-out operation was not missed at once. Those that are the same as an
 * untouched one will never miss it. */
static void make_left_out(void)
{
    static struct machine m;
    bool is_new;
    uint32_t kept = 0;

    m = prototype;
    for (uint32_t i = 0; i < link_count; i++) {
        struct link link = links[i];

        if (keys[link.key].needed) {
            continue;
        }
        unpack_node(link.from, &m);
        emitted.left_out = link.op;
        (void)step(&m, link.event);
        link.node = node_of(&m, NO_NODE, link.event, &is_new);
        if (link.node >= base_count) {
            links[kept++] = link;
        }
    }
    link_count = kept;
    emitted.left_out = -1;
}

static void expand_left_out(void)
{
    struct machine m = prototype;
    bool is_new;

    for (uint32_t i = base_count; i < node_count; i++) {
        unpack_node(i, &m);
        if (!is_sound(&m)) {
            next_bad[i] = BAD_ITSELF;
            continue;
        }
        for (uint32_t event = 0; event < EVENTS; event++) {
            uint32_t to;

            unpack_node(i, &m);
            if (!step(&m, event)) {
                continue;
            }
            to = node_of(&m, NO_NODE, event, &is_new);
            if (to < base_count) {
                continue;
            }
            if (edge_count == MAX_EDGES) {
                overflow = true;
                return;
            }
            edges[edge_count++] = (struct edge){i, to, event};
        }
    }
}

static void spread_backwards(void)
{
    bool again = true;

    while (again) {
        again = false;
        for (uint32_t i = edge_count - 1; i > 0; i--) {
            if (next_bad[edges[i].from] == 0 && next_bad[edges[i].to] != 0) {
                next_bad[edges[i].from] = i;
                again = true;
            }
        }
    }
}

/* After search() found everything sound. The verdicts add up over several searches. */
static void judge_emissions(void)
{
    make_left_out();
    if (link_count == 0 || overflow) {
        return;
    }
    memset(next_bad, 0, MAX_NODES * sizeof(*next_bad));
    expand_left_out();
    states_explored += node_count - base_count;
    spread_backwards();
    for (uint32_t i = 0; i < link_count; i++) {
        if (next_bad[links[i].node] != 0) {
            keys[links[i].key].needed = true;
            show_needed(&links[i]);
        }
    }
}

static void forget_emissions(void)
{
    key_count = 1;
    memset(key_table, 0, KEY_TABLE * sizeof(*key_table));
}

static uint32_t passed_count, failed_count;

static void result(bool good, const char *what, const char *which)
{
    printf("%s: %s%s%s\n", good ? "ok" : "FAILED", what, *which == '\0' ? "" : ": ", which);
    passed_count += good;
    failed_count += !good;
}

/* Counts the emissions; those that no history needs come by event and operation, one history each.
 * Returns how many have no reason. */
static uint32_t report_emissions(bool print)
{
    uint32_t needed = 0;
    uint32_t unexplained = 0;

    for (uint32_t i = 1; i < key_count; i++) {
        needed += keys[i].needed;
        unexplained += !keys[i].needed && keys[i].reason == 0;
    }
    printf("emissions: %u, %u of them needed, %u not but explained, %u not needed\n", key_count - 1,
           needed, key_count - 1 - needed - unexplained, unexplained);
    for (uint32_t what = 0; print && what < EVENTS * 64; what++) {
        uint32_t count = 0;
        uint32_t shortest = 0;

        for (uint32_t i = 1; i < key_count; i++) {
            if (!keys[i].needed && keys[i].event * 64u + keys[i].kind * 4u + keys[i].reason == what) {
                count++;
                if (shortest == 0 || keys[i].length < keys[shortest].length) {
                    shortest = i;
                }
            }
        }
        if (count != 0) {
            printf("  not needed in %u states: %s at \"%s\" (%s), as after\n", count,
                   kind_name[what % 64 / 4], event_name[what / 64], reason_name[keys[shortest].reason]);
            print_history(keys[shortest].history, keys[shortest].length);
        }
    }
    return unexplained;
}

static bool explore_init(void)
{
    nodes = malloc(MAX_NODES * sizeof(*nodes));
    table = calloc(TABLE_SIZE, sizeof(*table));
    keys = malloc(MAX_KEYS * sizeof(*keys));
    key_table = malloc(KEY_TABLE * sizeof(*key_table));
    edges = malloc(MAX_EDGES * sizeof(*edges));
    links = malloc(MAX_LINKS * sizeof(*links));
    next_bad = malloc(MAX_NODES * sizeof(*next_bad));
    return nodes != NULL && table != NULL && keys != NULL && key_table != NULL && edges != NULL &&
           links != NULL && next_bad != NULL;
}

#endif
