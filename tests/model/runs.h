/* SPDX-License-Identifier: MIT */
/*
 * The runs of a model checker: the quick one without an argument, `full`, that of a universe by its
 * name, and `kill` for a mutant of the engine, in all universes of the quick run or a named one.
 * Included at the end of a model, which has declared universe, universes[], MARKS, mark,
 * mark_name[] and flush_always. NVIRT_COUNTEREXAMPLES=FILE: there goes a history for each emission
 * that was found needed.
 */
#ifndef NVIRT_TESTS_MODEL_RUNS_H
#define NVIRT_TESTS_MODEL_RUNS_H

/* Every mark in one universe. */
static bool run_universe(const struct universe *which, bool judge)
{
    bool sound = true;

    universe = which;
    overflow = false;
    forget_emissions();
    for (mark = 0; sound && mark < MARKS; mark++) {
        uint32_t bad = mark_counts() ? search(judge) : SKIPPED;

        if (bad == SKIPPED) {
            continue;
        }
        if (bad != NO_NODE) {
            printf("unsound (mark: %s):\n", mark_name[mark]);
            print_path(stdout, bad);
            sound = false;
        } else if (judge) {
            judge_emissions();
            if (every != NULL) {
                fprintf(every, "(%s, mark: %s)\n\n", which->name, mark_name[mark]);
            }
        }
    }
    return sound;
}

static void check_universe(const struct universe *which)
{
    uint64_t before = states_explored;
    bool sound = run_universe(which, true);

    printf("%s: %llu states%s\n", which->name, (unsigned long long)(states_explored - before),
           overflow ? ", the nearest to the start" : ", all there are");
    result(sound, "sound", which->name);
    if (sound) {
        result(report_emissions(true) == 0 && !overflow, "minimal", which->name);
    }
}

/* An engine that flushes everything on every entry is sound; it must be found not minimal. */
static void check_flush_always(void)
{
    flush_always = true;
    result(run_universe(&universes[0], true) && report_emissions(false) != 0,
           "sound but not minimal", "an engine that flushes on every entry");
    flush_always = false;
}

/* ---- random walks ----
 *
 * The search goes on from states as they were packed, in which what cannot matter to the engine is
 * gone. A walk keeps the engine as it is, times and all, and so sees that nothing of that matters.
 */

enum { WALK_STEPS = 1000 };

/* The step at which a walk became unsound; its length if it did not. Impossible events are left
 * out. */
static uint32_t walk(uint8_t *history, uint32_t length, uint64_t *random, uint32_t *done)
{
    static struct machine m;
    static struct machine before;

    start(&m);
    *done = 0;
    for (uint32_t i = 0; i < length; i++) {
        uint32_t event = history[i];

        if (random != NULL) {
            *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            event = (uint32_t)(*random >> 33) % EVENTS;
        }
        emitted.count = 0;
        before = m;
        if (!step(&m, event)) {
            m = before; /* an event that is not possible may have been half done */
            continue;
        }
        history[(*done)++] = (uint8_t)event;
        if (!is_sound(&m)) {
            return i;
        }
    }
    return length;
}

/* Leaves out whatever can be left out of an unsound history. */
static uint32_t shorten(uint8_t *history, uint32_t length)
{
    static uint8_t shorter[WALK_STEPS];
    bool again = true;

    while (again) {
        again = false;
        for (uint32_t i = 0; i < length; i++) {
            uint32_t done;

            memcpy(shorter, history, i);
            memcpy(shorter + i, history + i + 1, length - i - 1);
            if (walk(shorter, length - 1, NULL, &done) != length - 1) {
                memcpy(history, shorter, done);
                length = done;
                again = true;
                break;
            }
        }
    }
    return length;
}

static bool walks_are_sound(uint32_t walks, uint64_t *steps)
{
    static uint8_t history[WALK_STEPS];
    uint64_t random = 1;

    for (uint32_t i = 0; i < walks; i++) {
        uint32_t done;

        if (walk(history, WALK_STEPS, &random, &done) != WALK_STEPS) {
            printf("unsound in a walk (%s, mark: %s):\n", universe->name, mark_name[mark]);
            print_history(stdout, history, shorten(history, done));
            return false;
        }
        *steps += done;
    }
    return true;
}

static bool check_walks(uint32_t walks)
{
    uint64_t steps = 0;
    bool sound = true;

    for (uint32_t i = 0; i < UNIVERSES && sound; i++) {
        universe = &universes[i];
        for (mark = 0; mark < MARKS && sound; mark++) {
            sound = !mark_counts() || walks_are_sound(universe->walk ? 10 * walks : walks, &steps);
        }
    }
    printf("walks: %llu steps\n", (unsigned long long)steps);
    return sound;
}

/* ---- covering ---- */

/* One step of a machine that holds @p held and of one that holds @p less of it. */
static bool covering_is_kept(const struct packed *state, uint32_t held, uint32_t less,
                             uint32_t event)
{
    static struct machine more, fewer;
    struct packed after[2];
    uint32_t then[2];
    bool possible;

    memset(after, 0, sizeof(after));
    start(&more);
    fewer = more;
    unpack(state, held, &more);
    unpack(state, less, &fewer);
    emitted.count = 0;
    possible = step(&more, event);
    emitted.count = 0;
    if (step(&fewer, event) != possible) {
        return false;
    }
    then[0] = pack(&more, &after[0]);
    then[1] = pack(&fewer, &after[1]);
    return !possible || (memcmp(&after[0], &after[1], sizeof(after[0])) == 0 &&
                         (then[1] & ~then[0]) == 0 && (is_sound(&fewer) || !is_sound(&more)));
}

/* Of each state that is reached, some that it covers: every event keeps it so, and none is unsound
 * where the covering one is sound. */
static bool check_covering_in(const struct universe *which, uint64_t *compared)
{
    uint64_t random = 1;

    universe = which;
    for (mark = 0; mark < MARKS; mark++) {
        if (!mark_counts() || search(false) != NO_NODE) {
            continue;
        }
        for (uint32_t i = 1; i < base_count; i += 7) {
            struct packed state = nodes[i].state;
            uint32_t held = nodes[i].held;

            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            for (uint32_t event = 0; event < EVENTS; event++) {
                if (!covering_is_kept(&state, held, held & (uint32_t)(random >> 32), event)) {
                    return false;
                }
                ++*compared;
            }
        }
    }
    return true;
}

/* The argument that spares covered states, tried in states of every small universe; and one
 * searched with and without it. */
static void check_covering(void)
{
    uint64_t compared = 0;
    uint32_t emissions;
    bool kept = true, same;

    for (uint32_t i = 0; i < UNIVERSES && kept; i++) {
        kept = universes[i].full || universes[i].walk ||
               check_covering_in(&universes[i], &compared);
    }
    printf("covered states: %llu steps compared\n", (unsigned long long)compared);
    result(kept, "what is held makes a difference to nothing else", "covered states");
    same = run_universe(&universes[0], true);
    emissions = key_count;
    plain = true;
    same = same && run_universe(&universes[0], true) && report_emissions(false) == 0;
    plain = false;
    result(same && key_count == emissions,
           "as many emissions, all needed, when covered states count too", universes[0].name);
}

/* ---- what to run ---- */

/* That the search itself is right, and finds what is not minimal. */
static void check_search(void);

static int kill_mutant(const char *name)
{
    for (uint32_t i = 0; i < UNIVERSES; i++) {
        bool chosen = name == NULL ? !universes[i].full && !universes[i].walk
                                   : strcmp(name, universes[i].name) == 0;

        if (chosen && !run_universe(&universes[i], false)) {
            printf("killed\n");
            return 0;
        }
    }
    if (!check_walks(50)) {
        printf("killed\n");
        return 0;
    }
    return 1;
}

static void close_every(void)
{
    if (every != NULL) {
        fclose(every);
        every = NULL;
    }
}

int main(int count, char **argument)
{
    bool full = count == 2 && strcmp(argument[1], "full") == 0;
    const char *file = getenv("NVIRT_COUNTEREXAMPLES");

    every = file == NULL ? NULL : fopen(file, "w");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!explore_init()) {
        return 2;
    }
    if (count >= 2 && strcmp(argument[1], "kill") == 0) {
        return kill_mutant(count > 2 ? argument[2] : NULL);
    }
    for (uint32_t i = 0; i < UNIVERSES; i++) {
        bool named = count == 2 && strcmp(argument[1], universes[i].name) == 0;

        if (named || (!universes[i].walk && (full || (count == 1 && !universes[i].full)))) {
            check_universe(&universes[i]);
        }
    }
    result(check_walks(full ? 2000 : 100), "sound", "random walks");
    close_every();
    check_search();
    printf("states explored: %llu\n", (unsigned long long)states_explored);
    printf("%u passed, %u failed\n", passed_count, failed_count);
    return failed_count == 0 ? 0 : 1;
}

#endif
