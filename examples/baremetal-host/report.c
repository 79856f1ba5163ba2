/* SPDX-License-Identifier: MIT */
/*
 * Reports and statistics (report.h).
 */
#include "hyperv.h"
#include "report.h"

#include "host.h"
#include "rt.h"

struct report_exits report_exits;
static bool stopping;

uint64_t report_exit_count(uint32_t level, uint32_t reason)
{
    if ((level != 1 && level != 2) || reason >= REASON_COUNT)
        return 0;
    return report_exits.count[reason][level];
}

uint64_t report_exit_total(uint32_t level)
{
    uint64_t total = 0;

    if (level != 1 && level != 2)
        return 0;
    for (uint32_t reason = 0; reason < REASON_COUNT; reason++)
        total += report_exits.count[reason][level];
    return total;
}

static const char *reason_text(uint32_t reason)
{
    const char *name = host.backend->reason_name(reason);

    return name != NULL ? name : "other";
}

static void print_counts(uint32_t level)
{
    log_line("exits of L%u: %lu", level, report_exit_total(level));
    for (uint32_t reason = 0; reason < REASON_COUNT; reason++) {
        if (report_exits.count[reason][level] != 0)
            log_line("  %-16s 0x%03x %12lu", reason_text(reason), reason,
                     report_exits.count[reason][level]);
    }
}

static void print_nvirt_stats(void)
{
    const struct nvirt_stats *stats = host.backend->stats();

    if (stats == NULL)
        return;
    log_line("nvirt:");
#define NVIRT_COUNTER(name, text) log_line("  %-18s %12lu  %s", #name, stats->name, text);
    NVIRT_COUNTERS(NVIRT_COUNTER)
#undef NVIRT_COUNTER
}

void report_statistics(void)
{
    log_line("statistics");
    print_counts(1);
    print_counts(2);
    print_nvirt_stats();
    hyperv_print();
    log_line("page pool: %lu pages, %lu in use, %lu at most, %lu requests refused", host.pool.total,
             host.pool.used, host.pool.peak, host.pool.refused);
}

static void print_segment(const char *name, const struct segment_view *s)
{
    log_line("  %-4s %04x base %016lx limit %08x attr %05x", name, s->selector, s->base, s->limit,
             s->attributes);
}

static void print_view(uint32_t level, const struct cpu_view *v)
{
    static const char segments[6][4] = {"es", "cs", "ss", "ds", "fs", "gs"};
    const uint64_t *r = v->gprs.r;

    log_line("registers of L%u", level);
    log_line("  rip %016lx rflags %08lx", v->rip, v->rflags);
    log_line("  rax %016lx rbx %016lx rcx %016lx rdx %016lx", r[NVIRT_RAX], r[NVIRT_RBX],
             r[NVIRT_RCX], r[NVIRT_RDX]);
    log_line("  rsi %016lx rdi %016lx rbp %016lx rsp %016lx", r[NVIRT_RSI], r[NVIRT_RDI],
             r[NVIRT_RBP], r[NVIRT_RSP]);
    log_line("  r8  %016lx r9  %016lx r10 %016lx r11 %016lx", r[8], r[9], r[10], r[11]);
    log_line("  r12 %016lx r13 %016lx r14 %016lx r15 %016lx", r[12], r[13], r[14], r[15]);
    log_line("  cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx dr6 %lx dr7 %lx", v->cr0, v->cr2, v->cr3,
             v->cr4, v->efer, v->dr6, v->dr7);
    for (unsigned i = 0; i < 6; i++)
        print_segment(segments[i], &v->segment[i]);
    print_segment("tr", &v->tr);
    print_segment("ldtr", &v->ldtr);
    print_segment("gdtr", &v->gdtr);
    print_segment("idtr", &v->idtr);
}

/* Of a backend that keeps them here. */
static void print_ring(void)
{
    if (report_exits.next == 0)
        return;
    log_line("last exits, oldest first");
    for (uint32_t i = 0; i < REPORT_RING; i++) {
        const struct exit_record *e = &report_exits.ring[(report_exits.next + i) % REPORT_RING];

        if (e->level != 0)
            log_line("  L%u %-16s code %lx info %lx %lx rip %lx", e->level, reason_text(e->reason),
                     e->code, e->info1, e->info2, e->rip);
    }
}

_Noreturn void report_stop(const char *format, ...)
{
    struct cpu_view view;
    char text[160];
    va_list ap;

    va_start(ap, format);
    rt_vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    log_error("%s", text);
    /* Something failing inside the report must not start another one. */
    if (!stopping) {
        stopping = true;
        host.backend->print_exit();
        for (uint32_t level = 1; level <= 2; level++) {
            if (host.backend->view(level, &view))
                print_view(level, &view);
        }
        print_ring();
        report_statistics();
    }
    rt_shutdown(1);
}
