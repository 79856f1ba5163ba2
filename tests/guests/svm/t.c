/* SPDX-License-Identifier: MIT */
/*
 * Names and verdicts. A difference of the emulator that differences.c lists is printed as such
 * whatever the outcome, because a nested run may well be the more faithful one. The outcome itself
 * follows on a comment line only if the command line says "verbose": it would break comparisons.
 */
#include "t.h"

#include "check.h"

static char group[48];
static unsigned int accepted, skipped, absent;
static bool verbose;

static void join(char *out, size_t size, const char *a, const char *b)
{
    if (b != NULL && b[0] != '\0') {
        rt_snprintf(out, size, "%s.%s", a, b);
    } else {
        rt_snprintf(out, size, "%s", a);
    }
}

void t_verbose(bool on)
{
    verbose = on;
}

void t_group(const char *subject, const char *variant)
{
    join(group, sizeof group, subject, variant);
}

static void full_name(char *out, size_t size, const char *name, const char *sub)
{
    char tail[64];

    join(tail, sizeof tail, name, sub);
    join(out, size, group, tail);
}

static bool is_accepted(const char *full, bool ok)
{
    if (t_difference(full) == T_EXACT) {
        return false;
    }
    accepted++;
    rt_printf("differs %s\n", full);
    if (verbose) {
        rt_printf("# %s here\n", ok ? "right" : "wrong");
    }
    return true;
}

void t_check(const char *name, const char *sub, bool ok)
{
    char full[112];

    full_name(full, sizeof full, name, sub);
    if (!is_accepted(full, ok)) {
        check(ok, "%s", full);
    }
}

void t_eq(const char *name, const char *sub, uint64_t got, uint64_t want)
{
    char full[112];

    full_name(full, sizeof full, name, sub);
    if (!is_accepted(full, got == want)) {
        check_eq(got, want, "%s", full);
    } else if (got != want) {
        t_note("got, wanted", got, want);
    }
}

bool t_skip(const char *name)
{
    char full[112];

    full_name(full, sizeof full, name, NULL);
    if (t_difference(full) != T_SKIP) {
        return false;
    }
    skipped++;
    rt_printf("skipped %s\n", full);
    return true;
}

void t_absent(const char *name)
{
    char full[112];

    full_name(full, sizeof full, name, NULL);
    absent++;
    rt_printf("absent %s\n", full);
}

void t_note(const char *what, uint64_t a, uint64_t b)
{
    if (verbose) {
        rt_printf("# %s: 0x%lx 0x%lx\n", what, a, b);
    }
}

void t_finish(void)
{
    rt_printf("%u accepted differences, %u skipped, %u absent\n", accepted, skipped, absent);
    check_done();
}

void t_fatal(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    rt_printf("not ok %s: %s 0x%lx 0x%lx 0x%lx\n", group, what, a, b, c);
    rt_shutdown(2);
}
