/* SPDX-License-Identifier: MIT */
/*
 * The measuring half of the benchmark hypervisors (bench.h), and L1's side of what L2 asks for.
 */
#include "bench.h"

#define HYPERCALL_NVIRT 0x1000u

struct sample {
    uint64_t ticks;
    uint64_t counter[NVIRT_STATS_COUNT];
};

static const char *const counter_names[] = {
#define NVIRT_COUNTER(name, text) #name,
    NVIRT_COUNTERS(NVIRT_COUNTER)
#undef NVIRT_COUNTER
};

static struct sample begin, own_cost;
static bool nested, profile;
static const char *options;
static struct rt_cpuid vendor;
static bool l2_line_begun;

bool bench_profile(void)
{
    return profile;
}

static void read_counters(struct sample *s)
{
    for (uint64_t i = 0; nested && i < NVIRT_STATS_COUNT; i++) {
        if (bench_hypercall(HYPERCALL_NVIRT + i, &s->counter[i]) != 0)
            rt_panic("the host has no counter %lu", i);
    }
}

/* Counters are read outside the two time stamps, in an order that makes their own cost constant. */
void bench_begin(void)
{
    read_counters(&begin);
    begin.ticks = bench_ticks();
}

static void take(struct sample *s)
{
    uint64_t now = bench_ticks();

    read_counters(s);
    s->ticks = now - begin.ticks - own_cost.ticks;
    for (uint64_t i = 0; nested && i < NVIRT_STATS_COUNT; i++)
        s->counter[i] -= begin.counter[i] + own_cost.counter[i];
}

/* Three decimals, rounded down; a level that fell is printed with its sign. */
static void print_value(const char *name, uint64_t total, uint64_t count, const char *unit)
{
    bool negative = (int64_t)total < 0;
    uint64_t size = negative ? 0 - total : total;

    rt_printf("BENCH %s %s%lu.%03lu %s\n", name, negative ? "-" : "", size / count,
              size % count * 1000 / count, unit);
}

void bench_end(const char *name, uint64_t count)
{
    struct sample s;

    take(&s);
    print_value(name, s.ticks, count, "ticks");
    for (uint64_t i = 0; nested && i < NVIRT_STATS_COUNT; i++) {
        if (s.counter[i] != 0)
            print_value(name, s.counter[i], count, counter_names[i]);
    }
}

_Noreturn void bench_finish(void)
{
    struct sample s = {0};

    read_counters(&s);
    for (uint64_t i = 0; nested && i < NVIRT_STATS_COUNT; i++)
        rt_printf("BENCH total %lu %s\n", s.counter[i], counter_names[i]);
    rt_printf("BENCH end 0 -\n");
    rt_shutdown(0);
}

static void calibrate(void)
{
    struct sample s = {0};

    /* The first readings warm up what the host keeps between exits. */
    for (unsigned i = 0; i < 3; i++) {
        own_cost = (struct sample){0};
        bench_begin();
        take(&s);
    }
    own_cost = s;
}

static void print_brand(void)
{
    uint32_t brand[13] = {0};
    const char *text = (const char *)brand;

    for (uint32_t i = 0; i < 3; i++) {
        struct rt_cpuid r = rt_cpuid(0x80000002u + i, 0);

        brand[4 * i] = r.eax;
        brand[4 * i + 1] = r.ebx;
        brand[4 * i + 2] = r.ecx;
        brand[4 * i + 3] = r.edx;
    }
    while (*text == ' ')
        text++;
    rt_printf("%s", text);
}

static bool has_word(const char *line, const char *word)
{
    size_t n = strlen(word);

    for (; *line != '\0'; line++) {
        if (strncmp(line, word, n) == 0)
            return true;
    }
    return false;
}

bool bench_profiles(const char *scene)
{
    return profile && has_word(options, scene);
}

void bench_init(const char *image, uint32_t magic, uint32_t mbi)
{
    const struct rt_mb_info *info = (const struct rt_mb_info *)(uint64_t)mbi;
    uint64_t value;

    if (magic == RT_MB_MAGIC && (info->flags & RT_MB_CMDLINE) != 0)
        options = (const char *)(uint64_t)info->cmdline;
    profile = options != NULL && has_word(options, "profile");
    rt_pic_mask_all();
    nested = bench_hypercall(1, &value) == 0;
    vendor = rt_cpuid(0, 0);
    rt_printf("L1 says: I am %s on %s: ", image, nested ? "nvirt" : "a bare CPU");
    print_brand();
    rt_printf("\n");
    calibrate();
}

void bench_l2_char(char c)
{
    if (!l2_line_begun)
        rt_printf("L2 says: ");
    l2_line_begun = c != '\n';
    rt_printf("%c", c);
}

/* A real L1 answers from a table too: executing CPUID would be an exit of its own. */
void bench_l2_cpuid(uint64_t *rax, uint64_t *rbx, uint64_t *rcx, uint64_t *rdx)
{
    struct rt_cpuid r = {0};

    if (*rax == 0) {
        r = vendor;
        r.eax = 0;
    } else if (*rax == 0x40000000) {
        r = (struct rt_cpuid){0x40000000, 0x69766e20, 0x62207472, 0x68636e65}; /* " nvirt bench" */
    }
    *rax = r.eax;
    *rbx = r.ebx;
    *rcx = r.ecx;
    *rdx = r.edx;
}
