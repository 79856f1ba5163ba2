/* SPDX-License-Identifier: MIT */
/*
 * What the shadow tables cost on the machine at hand, outside of any guest: root switches, first
 * touches, refaults after INVEPT, unmapping by the host, two vCPUs at once, memory. Counts repeat
 * exactly (instructions are those of a child that is single-stepped); nanoseconds are the best of
 * several rounds, and told only: who shares the machine changes them. Prints a table in Markdown, then one line
 * for each thing that must hold ("ok" or "not ok").
 */
#define PORT_PAGES 24576u
#define PORT_L1_PAGES 8192u
#include "../model/mmu_port.h"

#include "ept/ept.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define MAX_ROOTS 512u
#define DATA UINT64_C(0x40000000) /* L1 memory that L2 gets, from 1 GiB on. */
#define RWX UINT64_C(7)
#define WB (UINT64_C(6) << 3)
#define LARGE UINT64_C(0x80)
#define PAGE UINT64_C(4096)

static const struct nvi_ept_config config = { .physical_bits = 46, .execute_only = true,
                                              .page_2m = true, .page_1g = true, .cpu_2m = true,
                                              .cpu_1g = true, .cpu_wb = true };

static struct nvirt_port_vm port;
static struct nvirt_vm vm;
static uint64_t next_table; /* Of L1's, to be given out. */
static unsigned not_ok;

/* A vCPU's engine and what it runs. */
struct vcpu {
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[MAX_ROOTS];
    struct nvirt_stats stats;
    struct nvi_mmu_key key;
    struct nvi_mmu_root *root;
};

#define VCPUS 4u
static struct vcpu vcpus[VCPUS];

static void must(bool holds, const char *what)
{
    printf("%s %s\n", holds ? "ok" : "not ok", what);
    not_ok += !holds;
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- L1 ---- */

static uint64_t new_table(void)
{
    uint64_t table = next_table;

    next_table += PAGE;
    memset(port.l1[table / PAGE], 0, PAGE);
    return table;
}

static uint64_t *l1_entry(uint64_t top, uint64_t l2gpa, unsigned level)
{
    uint64_t table = top;

    for (unsigned l = 4; l > level; l--) {
        uint64_t *entry = port_word(&port, table + (l2gpa >> (3 + 9 * l) & 511) * 8);

        if (*entry == 0)
            *entry = new_table() | RWX;
        table = *entry & UINT64_C(0x000ffffffffff000);
    }
    return port_word(&port, table + (l2gpa >> (3 + 9 * level) & 511) * 8);
}

static void l1_map(uint64_t top, uint64_t pages, unsigned level)
{
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t at = i << (3 + 9 * level);

        *l1_entry(top, at, level) = (DATA + at) | RWX | WB | (level > 1 ? LARGE : 0);
    }
}

/* ---- a vCPU ---- */

static void start(struct vcpu *v, uint32_t roots)
{
    memset(v, 0, sizeof *v);
    if (nvi_mmu_init(&v->mmu, &vm, &v->stats, v->roots, roots) != NVIRT_OK)
        PORT_DIE("no engine");
    nvi_mmu_attach(&v->mmu, (uint32_t)(v - vcpus));
}

static void start_all(uint64_t block)
{
    const struct nvirt_vm_config vm_config = { .port = &port, .page_budget = PORT_PAGES,
                                               .physical_bits = 46 };

    memset(port.in_use, 0, sizeof port.in_use);
    port.next = 0;
    port.pages = 0;
    port.sequence = 2;
    port.block = block;
    port.open = DATA;
    port.counting = false;
    next_table = PAGE;
    if (nvirt_vm_init(&vm, &vm_config) != NVIRT_OK)
        PORT_DIE("no VM");
}

/* What nvirt does for an entry of L2 with EPTP @p top. */
static enum nvi_mmu_flush run(struct vcpu *v, uint64_t top)
{
    enum nvi_mmu_flush flush;

    v->key = nvi_ept_key(top | 6 | 3 << 3);
    if (nvi_ept_root(&v->mmu, &v->key, &v->root) != NVIRT_OK)
        PORT_DIE("no root");
    flush = nvi_mmu_enter(&v->mmu, v->root, 0);
    if (flush != NVI_MMU_FLUSH_NONE)
        nvi_mmu_flushed(&v->mmu, v->root, 0, flush);
    return flush;
}

static void touch(struct vcpu *v, uint64_t l2gpa)
{
    struct nvi_ept_verdict verdict;

    if (nvi_ept_fault(&v->mmu, v->root, &config, NVI_EPT_QUAL_READ, nvirt_l2gpa_make(l2gpa),
                      NULL, &verdict) != NVI_FAULT_INSTALLED)
        PORT_DIE("0x%llx is not installed", (unsigned long long)l2gpa);
}

static bool is_mapped(struct vcpu *v, uint64_t l2gpa)
{
    uint32_t level;

    return nvi_mmu_lookup(&v->mmu, v->root, nvirt_l2gpa_make(l2gpa), &level) != 0;
}

/* ---- switching roots ---- */

static uint64_t roots12[MAX_ROOTS]; /* L1's tops. */

static void prepare_roots(uint32_t count)
{
    start_all(PAGE);
    start(&vcpus[0], count);
    for (uint32_t i = 0; i < count; i++) {
        roots12[i] = new_table();
        l1_map(roots12[i], 1, 1);
        (void)run(&vcpus[0], roots12[i]);
        touch(&vcpus[0], 0);
    }
}

/* Instructions between two stops of a child that runs @p switches switches, counted by single
 * steps. */
static uint64_t steps_of(uint32_t count, uint32_t switches)
{
    uint64_t steps = 0;
    pid_t child = fork();
    int status;

    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        for (uint32_t i = 0; i < switches; i++)
            (void)run(&vcpus[0], roots12[(i * 7 + 3) % count]);
        raise(SIGSTOP);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return 0;
    do {
        steps++;
        ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
        if (waitpid(child, &status, 0) < 0)
            return 0;
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    (void)waitpid(child, &status, 0);
    return steps;
}

static double switch_ns(uint32_t count)
{
    struct vcpu *v = &vcpus[0];
    const uint32_t switches = 200000;
    uint64_t best = ~UINT64_C(0), flushes = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t begin = now();

        for (uint32_t i = 0, at = 0; i < switches; i++) {
            flushes += run(v, roots12[at]) != NVI_MMU_FLUSH_NONE;
            at = at + 1 == count ? 0 : at + 1;
        }
        begin = now() - begin;
        best = begin < best ? begin : best;
    }
    if (flushes != 0 || v->stats.root_misses != count)
        PORT_DIE("a revisit was none");
    return (double)best / switches;
}

/* The loop around costs the same at any number; two lengths of it tell one switch. */
static double switch_instructions(uint32_t count)
{
    uint64_t many = steps_of(count, 1 + 256), one = steps_of(count, 1);

    return (double)(many - one) / 256;
}

static void bench_switch(void)
{
    static const uint32_t counts[] = { 1, 4, 16, 64, 512 };
    double instructions[5];

    printf("| roots, run round-robin | ns per switch | instructions | flushes |\n"
           "|---|---|---|---|\n");
    for (unsigned i = 0; i < 5; i++) {
        prepare_roots(counts[i]);
        instructions[i] = switch_instructions(counts[i]);
        printf("| %u | %.1f | %.1f | 0 |\n", counts[i], switch_ns(counts[i]), instructions[i]);
        nvi_mmu_destroy(&vcpus[0].mmu);
    }
    printf("\n");
    for (unsigned i = 1; i < 5; i++) {
        must(instructions[i] <= instructions[0] * 1.2,
             "a switch takes as many instructions as entering the same root again, within 20 %");
    }
}

/* ---- first touch and memory ---- */

static void bench_first_touch(uint64_t pages, unsigned level, const char *name)
{
    struct vcpu *v = &vcpus[0];
    uint64_t top, best = ~UINT64_C(0), bytes = pages << (3 + 9 * level), reads = 0;
    double per_gib = 0;

    for (unsigned round = 0; round < 3; round++) {
        uint64_t begin;

        start_all(level == 1 ? PAGE : UINT64_C(1) << (3 + 9 * level));
        start(v, 16);
        top = new_table();
        l1_map(top, pages, level);
        (void)run(v, top);
        port.counting = true;
        port.reads = 0;
        begin = now();
        for (uint64_t i = 0; i < pages; i++)
            touch(v, i << (3 + 9 * level));
        begin = now() - begin;
        best = begin < best ? begin : best;
        reads = port.reads;
        per_gib = (double)vm.pages_in_use * (double)(UINT64_C(1) << 30) / (double)bytes;
        nvi_mmu_destroy(&v->mmu);
    }
    printf("| %s | %llu | %.0f | %.2f | %.0f KiB |\n", name, (unsigned long long)pages,
           (double)best / (double)pages, (double)reads / (double)pages, per_gib * 4);
}

/* ---- after INVEPT ---- */

/* A tree of @p pages, of which ten changed. @return reads of L1's memory to touch the ten again. */
static uint64_t bench_refault(uint64_t pages)
{
    struct vcpu *v = &vcpus[0];
    uint64_t top, begin, invept = ~UINT64_C(0), entry = ~UINT64_C(0), ten = ~UINT64_C(0), reads = 0;
    uint64_t faults = 0, all = 0, all_faults = 0, compared = 0;

    start_all(PAGE);
    start(v, 16);
    top = new_table();
    l1_map(top, pages, 1);
    (void)run(v, top);
    for (uint64_t i = 0; i < pages; i++)
        touch(v, i * PAGE);
    for (unsigned round = 0; round < ROUNDS; round++) {
        /* Ten pages, far from each other, each time to another place. */
        for (uint64_t i = 0; i < 10; i++)
            *l1_entry(top, i * (pages / 10) * PAGE, 1) =
                (DATA + (pages + round * 10 + i) * PAGE) | RWX | WB;
        begin = now();
        nvi_mmu_invalidate(&v->mmu, top);
        begin = now() - begin;
        invept = begin < invept ? begin : invept;
        begin = now();
        (void)run(v, top);
        begin = now() - begin;
        entry = begin < entry ? begin : entry;
        port.counting = true;
        port.reads = 0;
        faults = v->stats.shadow_faults;
        compared = v->stats.shadow_revalidated;
        begin = now();
        for (uint64_t i = 0; i < 10; i++)
            touch(v, i * (pages / 10) * PAGE);
        begin = now() - begin;
        ten = begin < ten ? begin : ten;
        reads = port.reads;
        port.counting = false;
        faults = v->stats.shadow_faults - faults;
        compared = v->stats.shadow_revalidated - compared;
        /* The rest as L2 comes to it. */
        all_faults = v->stats.shadow_faults;
        begin = now();
        for (uint64_t i = 0; i < pages; i++) {
            if (!is_mapped(v, i * PAGE))
                touch(v, i * PAGE);
        }
        all = now() - begin;
        all_faults = v->stats.shadow_faults - all_faults;
    }
    printf("| %llu | %llu ns | %llu ns | %llu faults, %llu tables compared, %llu reads, %.1f us | "
           "%llu faults, %.0f us |\n", (unsigned long long)pages, (unsigned long long)invept,
           (unsigned long long)entry, (unsigned long long)faults, (unsigned long long)compared,
           (unsigned long long)reads, (double)ten / 1000, (unsigned long long)all_faults,
           (double)all / 1000);
    nvi_mmu_destroy(&v->mmu);
    return all_faults;
}

/* ---- the host unmaps ---- */

static void bench_unmap(uint32_t roots, uint64_t others)
{
    struct vcpu *v = &vcpus[0];
    uint64_t best = ~UINT64_C(0), dropped = 0;

    start_all(PAGE);
    start(v, 64);
    for (uint32_t i = 0; i < roots; i++) {
        uint64_t top = new_table();

        l1_map(top, others, 1);
        (void)run(v, top);
        for (uint64_t page = 0; page < others; page++)
            touch(v, page * PAGE);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t begin = now();

        if (nvirt_vm_change_begin(&vm, nvirt_l1gpa_make(DATA + round * PAGE), PAGE) != NVIRT_OK ||
            nvirt_vm_change_end(&vm) != NVIRT_OK)
            PORT_DIE("a change was refused");
        begin = now() - begin;
        best = begin < best ? begin : best;
    }
    dropped = v->stats.shadow_dropped / ROUNDS;
    printf("| %u | %llu | %llu | %llu |\n", roots, (unsigned long long)(roots * others),
           (unsigned long long)dropped, (unsigned long long)best);
    nvi_mmu_destroy(&v->mmu);
}

/* ---- two vCPUs ---- */

#define PARALLEL_PAGES UINT64_C(40000)

/* What one thread faults in: every @step-th page from @first on, in the tree of @v. */
struct share {
    struct vcpu *v;
    uint64_t first, step;
};

static void *fault_all(void *argument)
{
    const struct share *share = argument;

    for (uint64_t i = share->first; i < PARALLEL_PAGES; i += share->step)
        touch(share->v, i * PAGE);
    return NULL;
}

/* @p threads fault at once, each on its own tree, or on the one of the first. @return ns until all
 * have all. */
static uint64_t fault_ns(unsigned threads, bool together)
{
    uint64_t best = ~UINT64_C(0);

    for (unsigned round = 0; round < 5; round++) {
        struct share share[2];
        pthread_t thread[2];
        uint64_t begin, top;

        start_all(PAGE);
        top = new_table();
        l1_map(top, PARALLEL_PAGES, 1);
        for (unsigned i = 0; i < threads; i++) {
            start(&vcpus[i], 16);
            (void)run(&vcpus[i], top);
            share[i] = (struct share){ .v = &vcpus[together ? 0 : i],
                                       .first = together ? i : 0,
                                       .step = together ? threads : 1 };
        }
        begin = now();
        for (unsigned i = 0; i < threads; i++)
            pthread_create(&thread[i], NULL, fault_all, &share[i]);
        for (unsigned i = 0; i < threads; i++)
            pthread_join(thread[i], NULL);
        begin = now() - begin;
        best = begin < best ? begin : best;
        for (unsigned i = 0; i < threads; i++)
            nvi_mmu_destroy(&vcpus[i].mmu);
    }
    return best;
}

/* The last row is what the engine is not used as: one tree for both, under one lock. */
static void bench_parallel(void)
{
    static const struct {
        unsigned threads;
        bool together;
        const char *name;
    } rows[] = { { 1, false, "one" },
                 { 2, false, "two, a tree each" },
                 { 2, true, "two, on one tree under one lock" } };

    printf("| vCPUs that fault at once | faults | ns per fault of each | faults per second, all |\n"
           "|---|---|---|---|\n");
    for (unsigned i = 0; i < 3; i++) {
        uint64_t ns = fault_ns(rows[i].threads, rows[i].together);
        uint64_t each = rows[i].together ? PARALLEL_PAGES / rows[i].threads : PARALLEL_PAGES;

        printf("| %s | %llu | %.0f | %.1f million |\n", rows[i].name,
               (unsigned long long)(each * rows[i].threads), (double)ns / (double)each,
               (double)(each * rows[i].threads) * 1000 / (double)ns);
    }
    printf("\n");
}

/* What it costs that each vCPU has a tree of its own: pages, by vCPUs that all touch the same. */
static void bench_vcpus(uint64_t pages, unsigned level, const char *name)
{
    uint64_t top, bytes = pages << (3 + 9 * level);

    start_all(level == 1 ? PAGE : UINT64_C(1) << (3 + 9 * level));
    top = new_table();
    l1_map(top, pages, level);
    printf("| %s |", name);
    for (unsigned i = 0; i < VCPUS; i++) {
        start(&vcpus[i], 16);
        (void)run(&vcpus[i], top);
        for (uint64_t page = 0; page < pages; page++)
            touch(&vcpus[i], page << (3 + 9 * level));
        if ((i & (i + 1)) == 0)
            printf(" %.0f KiB (%.2f %%) |",
                   (double)vm.pages_in_use * 4 * (double)(UINT64_C(1) << 30) / (double)bytes,
                   (double)vm.pages_in_use * 4096 * 100 / (double)bytes);
    }
    printf("\n");
    for (unsigned i = 0; i < VCPUS; i++)
        nvi_mmu_destroy(&vcpus[i].mmu);
}

int main(void)
{
    uint64_t small, large;

    port_init(&port);
    printf("# Shadow tables, natively\n\n");
    printf("| first touch | pages | ns | reads of L1's memory | memory per GiB mapped |\n"
           "|---|---|---|---|---|\n");
    bench_first_touch(262144, 1, "4 KiB on 4 KiB");
    bench_first_touch(4096, 2, "2 MiB on 2 MiB");
    printf("\n| pages mapped, 10 of them changed | INVEPT | next entry | touching the 10 | touching the rest |\n"
           "|---|---|---|---|---|\n");
    small = bench_refault(1000);
    large = bench_refault(100000);
    printf("\n| roots that map the page | leaves in all | dropped | ns |\n|---|---|---|---|\n");
    bench_unmap(1, 1000);
    bench_unmap(64, 16);
    bench_unmap(64, 1000);
    printf("\n");
    bench_parallel();
    printf("| memory per GiB that every vCPU touched | 1 vCPU | 2 | 4 |\n|---|---|---|---|\n");
    bench_vcpus(262144, 1, "4 KiB on 4 KiB");
    bench_vcpus(4096, 2, "2 MiB on 2 MiB");
    printf("\n");
    /* Last, because a child that shares the memory changes how it is mapped. */
    bench_switch();
    must(small <= 2 + 1000 / 512, "1,000 unchanged pages come back with a fault per table");
    must(large <= 2 + 100000 / 512, "100,000 unchanged pages come back with a fault per table");
    return not_ok != 0;
}
