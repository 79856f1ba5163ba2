/* SPDX-License-Identifier: MIT */
/*
 * Message levels on top of rt's printf (log.h). Each line begins with "nvirt-host: ", so that it
 * can be told from what an L1 writes to the same port.
 */
#include "log.h"

#include "rt.h"

static enum log_level threshold = LOG_INFO;

void log_init(enum log_level level)
{
    rt_set_putc(rt_putc_e9);
    threshold = level;
}

enum log_level log_level(void)
{
    return threshold;
}

static void print_line(const char *tag, const char *format, va_list ap)
{
    rt_printf("nvirt-host: %s", tag);
    rt_vprintf(format, ap);
    rt_printf("\n");
}

void log_error(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_line("error: ", format, ap);
    va_end(ap);
}

void log_info(const char *format, ...)
{
    va_list ap;

    if (threshold < LOG_INFO)
        return;
    va_start(ap, format);
    print_line("", format, ap);
    va_end(ap);
}

void log_trace(const char *format, ...)
{
    va_list ap;

    if (threshold < LOG_TRACE)
        return;
    va_start(ap, format);
    print_line("trace: ", format, ap);
    va_end(ap);
}

void log_line(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_line("", format, ap);
    va_end(ap);
}

_Noreturn void log_fatal(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_line("error: ", format, ap);
    va_end(ap);
    rt_shutdown(1);
}
