/* SPDX-License-Identifier: MIT */
/*
 * Exhaustive search of a small machine, for the model checkers of this folder. The file that
 * includes it has declared before: EVENTS, event_name[], struct machine, struct packed (all that
 * can differ between two machines but what is held, without padding, a multiple of 4 bytes),
 * start(), step(), is_sound(), pack(), which returns what is held, and unpack(). What the engine
 * under test has flushed goes through emit().
 *
 * Soundness: breadth first over every state; an unsound one is printed with its history.
 *
 * States that are *covered* by another are not searched: those that differ from it only in that
 * hardware holds the mark in fewer places, or the virtual TLB in more. No event is possible in the
 * one and not in the other, none lets what is held make a difference to the engine or to tables,
 * and none makes the one hold in hardware what the other does not. So each unsound history of a
 * covered state is one of the covering state. check_covering() of runs.h puts this to the test. An
 * operation is needed where its key says, so a covering state, which has the same engine, answers
 * for those it covers.
 *
 * Minimality: an emission is (state of the engine, entry to be made, operation). It is needed when
 * some machine whose engine is in that state becomes unsound, at once or later, once that one
 * operation is left out there and nowhere else. The machines that leave an operation out are
 * explored to the end: a path that comes back to a state of the untouched machine, or one covered
 * by it, is harmless, because those are all sound. These machines themselves count as different in
 * every bit. So the answer is exact, not bounded.
 */
#ifndef NVIRT_TESTS_MODEL_EXPLORE_H
#define NVIRT_TESTS_MODEL_EXPLORE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of a search; what is beyond them fails the run. */
enum { MAX_NODES = 12000000, TABLE_SIZE = 1 << 25, MAX_KEYS = 1 << 20, KEY_TABLE = 1 << 21,
       MAX_EDGES = 60000000, MAX_LINKS = 16000000, MAX_BASE = 8000000, MAX_HISTORY = 40,
       NO_NODE = 0 };
#define SKIPPED UINT32_MAX
#define BAD_ITSELF UINT32_MAX

struct node {
    struct packed state;
    uint32_t held;   /* by hardware, and not by the virtual TLB: see pack() */
    uint32_t parent; /* NO_NODE: the start, or a machine that left an operation out */
    uint32_t slot;   /* in the table */
    uint32_t next;   /* the same but for what is held */
    uint8_t event;
    bool covered;    /* what can become of it can become of another one */
};

/* An emission, with one history that leads to it. */
struct key {
    uint64_t id;
    uint8_t event;
    uint8_t kind;
    bool needed;
    uint32_t tried; /* machines made to see whether it is missed */
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
static bool plain; /* machines that are covered by others count, too */
static bool overflow; /* something was bounded */
static uint64_t states_explored;
static bool kind_shown[16];
static FILE *every; /* where the history goes that needs an emission, of each one; or null */

/* ---- what a step emits ---- */

static struct {
    uint32_t count;
    int left_out;
    struct nvirt_flush_op op[2 * NVIRT_TLB_MAX_OPS];
    uint64_t key[2 * NVIRT_TLB_MAX_OPS];
} emitted = {.left_out = -1};

/* True when @p op is to be carried out. @p key names the engine's state, the entry and @p op,
 * mirror images alike. */
static bool emit(const struct nvirt_flush_op *op, uint64_t key)
{
    emitted.op[emitted.count] = *op;
    emitted.key[emitted.count] = key;
    return (int)emitted.count++ != emitted.left_out;
}

static const char *const kind_name[] = {
    "INVVPID address", "INVVPID retaining globals", "INVVPID single-context", "INVVPID all-context",
    "INVEPT single-context", "INVEPT all-context", "INVLPGA", "TLB_CONTROL 3 (this ASID)",
    "TLB_CONTROL 1 (everything)"};

/* ---- tables ---- */

/* @p size is a multiple of 4. */
static uint64_t hash_of(const void *data, size_t size)
{
    const unsigned char *byte = data;
    uint64_t hash = size;

    for (size_t i = 0; i < size; i += 4) {
        uint32_t word;

        memcpy(&word, byte + i, 4);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Where the nodes that differ in what is held only hang, or would. */
static uint32_t slot_of(const struct packed *state)
{
    uint32_t slot = (uint32_t)(hash_of(state, sizeof(*state)) % TABLE_SIZE);

    while (table[slot] != NO_NODE &&
           memcmp(&nodes[table[slot]].state, state, sizeof(*state)) != 0) {
        slot = (slot + 1) % TABLE_SIZE;
    }
    return slot;
}

/* Whether what can become of a machine that holds @p held can become of node @p i, too. */
static bool covers(uint32_t i, uint32_t held)
{
    return plain || i >= base_count ? nodes[i].held == held : (held & ~nodes[i].held) == 0;
}

/* Out of the nodes that are the same but for what is held: those that node @p by covers. */
static void drop_covered(uint32_t by)
{
    uint32_t *link = &nodes[by].next;

    while (*link != NO_NODE) {
        struct node *node = &nodes[*link];

        if (covers(by, node->held)) {
            node->covered = true;
            *link = node->next;
        } else {
            link = &node->next;
        }
    }
}

/* The number of @p m's node, or of one that covers it; *is_new tells whether it was made. */
static uint32_t node_of(const struct machine *m, uint32_t parent, uint32_t event, bool *is_new)
{
    struct packed state;
    uint32_t held, slot;

    memset(&state, 0, sizeof(state));
    held = pack(m, &state);
    slot = slot_of(&state);
    *is_new = false;
    for (uint32_t i = table[slot]; i != NO_NODE; i = nodes[i].next) {
        if (covers(i, held)) {
            return i;
        }
    }
    if (node_count == MAX_NODES) {
        overflow = true;
        return NO_NODE;
    }
    nodes[node_count] = (struct node){ .state = state, .held = held, .parent = parent,
                                       .slot = slot, .next = table[slot],
                                       .event = (uint8_t)event };
    table[slot] = node_count;
    if (!plain && base_count == UINT32_MAX) {
        drop_covered(node_count);
    }
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

static void print_history(FILE *file, const uint8_t *history, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        fprintf(file, "    %s\n", event_name[history[i]]);
    }
}

static void print_path(FILE *file, uint32_t node)
{
    uint8_t history[MAX_HISTORY];
    uint32_t length = history_of(node, history);

    print_history(file, history, length);
}

/* The emission of operation @p op that @p event leads to. */
static uint32_t key_number(uint64_t id, uint32_t node, uint32_t event,
                           const struct nvirt_flush_op *op)
{
    uint32_t slot = (uint32_t)(id % KEY_TABLE);

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
    keys[key_count].needed = false;
    keys[key_count].tried = 0;
    keys[key_count].length = (uint8_t)history_of(node, keys[key_count].history);
    key_table[slot] = key_count;
    return key_count++;
}

/* ---- soundness and minimality ---- */

static void unpack_node(uint32_t node, struct machine *m)
{
    unpack(&nodes[node].state, nodes[node].held, m);
    emitted.count = 0;
    emitted.left_out = -1;
}

static void print_needed(FILE *file, const struct link *link)
{
    fprintf(file, "leaving out one %s is unsound:\n", kind_name[keys[link->key].kind]);
    print_path(file, link->from);
    fprintf(file, "    %s   <- left out here\n", event_name[link->event]);
    for (uint32_t i = link->node; i != NO_NODE && next_bad[i] != BAD_ITSELF;
         i = edges[next_bad[i]].to) {
        fprintf(file, "    %s\n", event_name[edges[next_bad[i]].event]);
    }
}

/* One of each kind in the run's own output; each there is where all are wanted. */
static void show_needed(const struct link *link)
{
    if (!kind_shown[keys[link->key].kind]) {
        kind_shown[keys[link->key].kind] = true;
        print_needed(stdout, link);
    }
    if (every != NULL) {
        print_needed(every, link);
    }
}

/* Leaves out, one by one, what @p event emitted in node @p from. */
static void leave_out_each(uint32_t from, uint32_t event)
{
    static struct machine m;
    uint32_t count = emitted.count;
    struct nvirt_flush_op op[2 * NVIRT_TLB_MAX_OPS];
    uint64_t key[2 * NVIRT_TLB_MAX_OPS];

    memcpy(op, emitted.op, sizeof(op));
    memcpy(key, emitted.key, sizeof(key));
    for (uint32_t i = 0; i < count; i++) {
        struct link link = {.from = from, .event = (uint8_t)event, .op = (uint8_t)i};

        link.key = key_number(key[i], from, event, &op[i]);
        if (keys[link.key].needed) {
            continue;
        }
        m = prototype;
        unpack_node(from, &m);
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
        table[nodes[i].slot] = NO_NODE;
    }
}

/* Every state there is. Returns an unsound one, or NO_NODE. */
static uint32_t search(bool judge)
{
    static struct machine m, kept;
    bool is_new;

    clear_table();
    node_count = 1;
    base_count = UINT32_MAX;
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
        if (nodes[i].covered) {
            continue;
        }
        unpack_node(i, &m);
        kept = m;
        for (uint32_t event = 0; event < EVENTS; event++) {
            uint32_t node;

            m = kept; /* what it points to are its own members */
            emitted.count = 0;
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

/* Makes up to @p quota machines per key whose left-out operation was not missed at once. Those that
 * are the same as an untouched one, or covered by it, will never miss it. Returns how many were
 * made. */
static uint32_t make_left_out(uint32_t quota)
{
    static struct machine m;
    uint32_t made = 0;
    bool is_new;

    m = prototype;
    for (uint32_t i = 0; i < link_count; i++) {
        struct link *link = &links[i];

        if (keys[link->key].needed || keys[link->key].tried >= quota || link->node != NO_NODE) {
            continue;
        }
        unpack_node(link->from, &m);
        emitted.left_out = link->op;
        (void)step(&m, link->event);
        link->node = node_of(&m, NO_NODE, link->event, &is_new);
        keys[link->key].tried += link->node >= base_count;
        made++;
    }
    emitted.left_out = -1;
    return made;
}

/* The nodes from @p first on. */
static void expand_left_out(uint32_t first)
{
    static struct machine m, kept;
    bool is_new;

    m = prototype;
    for (uint32_t i = first; i < node_count; i++) {
        unpack_node(i, &m);
        if (!is_sound(&m)) {
            next_bad[i] = BAD_ITSELF;
            continue;
        }
        kept = m;
        for (uint32_t event = 0; event < EVENTS; event++) {
            uint32_t to;

            m = kept;
            emitted.count = 0;
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

static void judge_links(void)
{
    for (uint32_t i = 0; i < link_count; i++) {
        const struct link *link = &links[i];

        if (link->node >= base_count && next_bad[link->node] != 0 && !keys[link->key].needed) {
            keys[link->key].needed = true;
            show_needed(link);
        }
    }
}

/* After search() found everything sound. The verdicts add up over several searches. Most keys need
 * few of the machines that can be made for them; what is not needed is said only after all. */
static void judge_emissions(void)
{
    static const uint32_t quotas[] = {1, 32, UINT32_MAX};
    uint32_t first = base_count;

    if (link_count == 0 || overflow) {
        return;
    }
    for (uint32_t i = 1; i < key_count; i++) {
        keys[i].tried = 0;
    }
    memset(next_bad, 0, MAX_NODES * sizeof(*next_bad));
    for (uint32_t i = 0; i < sizeof(quotas) / sizeof(quotas[0]) && !overflow; i++) {
        if (make_left_out(quotas[i]) != 0) {
            expand_left_out(first);
            first = node_count;
            spread_backwards();
            judge_links();
        }
    }
    states_explored += node_count - base_count;
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
 * Returns how many. */
static uint32_t report_emissions(bool print)
{
    uint32_t unneeded = 0;

    for (uint32_t i = 1; i < key_count; i++) {
        unneeded += !keys[i].needed;
    }
    printf("emissions: %u, %u of them needed, %u not needed\n", key_count - 1,
           key_count - 1 - unneeded, unneeded);
    for (uint32_t what = 0; print && what < EVENTS * 16; what++) {
        uint32_t count = 0;
        uint32_t shortest = 0;

        for (uint32_t i = 1; i < key_count; i++) {
            if (!keys[i].needed && keys[i].event * 16u + keys[i].kind == what) {
                count++;
                if (shortest == 0 || keys[i].length < keys[shortest].length) {
                    shortest = i;
                }
            }
        }
        if (count != 0) {
            printf("  not needed in %u states: %s at \"%s\", as after\n", count,
                   kind_name[what % 16], event_name[what / 16]);
            print_history(stdout, keys[shortest].history, keys[shortest].length);
        }
    }
    return unneeded;
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
