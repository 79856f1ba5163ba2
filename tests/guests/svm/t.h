/* SPDX-License-Identifier: MIT */
/*
 * How a test of the SVM hypervisor speaks: each check is one line with a name and a verdict, and
 * nothing in it differs from run to run. The verdicts are "ok", "not ok", "differs" (a fault of the
 * emulator that differences.c lists), "skipped" (one that would end the run), "absent" (not
 * announced).
 */
#ifndef SVM_TEST_T_H
#define SVM_TEST_T_H

#include <stdbool.h>
#include <stdint.h>

/* Names of the checks that follow begin with "subject." or "subject.variant.". */
void t_group(const char *subject, const char *variant);

/* One check; sub may be NULL. Named differences of the emulator at hand are accepted. */
void t_check(const char *name, const char *sub, bool ok);
void t_eq(const char *name, const char *sub, uint64_t got, uint64_t want);

/*
 * Is this check impossible on this emulator (it panics, hangs, or loses the state of the checks
 * that follow)? Then its line says so and the caller leaves it out.
 */
bool t_skip(const char *name);

/* A check this CPU does not announce the feature for; the line is there all the same. */
void t_absent(const char *name);

/* Comment lines, printed only after t_verbose(true). */
void t_verbose(bool on);
void t_note(const char *what, uint64_t a, uint64_t b);
_Noreturn void t_finish(void);
_Noreturn void t_fatal(const char *what, uint64_t a, uint64_t b, uint64_t c);

/* What differs where, from differences.c. */
enum t_policy { T_EXACT, T_ACCEPT, T_SKIP };
enum t_policy t_difference(const char *full_name);

#endif
