/* SPDX-License-Identifier: MIT */
/* The report of a test guest: see check.h for the form of the log. */
#include "check.h"

static char group[64];
static unsigned passed, failed;

void check_group(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    rt_vsnprintf(group, sizeof(group), format, ap);
    va_end(ap);
}

static void line(bool ok, const char *name, va_list ap)
{
    if (ok)
        passed++;
    else
        failed++;
    rt_printf("%s %s%s", ok ? "ok" : "not ok", group, group[0] != '\0' ? "." : "");
    rt_vprintf(name, ap);
}

bool check(bool ok, const char *name, ...)
{
    va_list ap;

    va_start(ap, name);
    line(ok, name, ap);
    va_end(ap);
    rt_printf("\n");
    return ok;
}

bool check_eq(uint64_t got, uint64_t want, const char *name, ...)
{
    va_list ap;

    va_start(ap, name);
    line(got == want, name, ap);
    va_end(ap);
    if (got != want)
        rt_printf(": got 0x%lx want 0x%lx", got, want);
    rt_printf("\n");
    return got == want;
}

_Noreturn void check_done(void)
{
    rt_printf("%u passed, %u failed\n", passed, failed);
    rt_shutdown(failed == 0 ? 0 : 1);
}
