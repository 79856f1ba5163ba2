/* SPDX-License-Identifier: MIT */
/*
 * L2's own paging: every page fault error code it can raise, the rules of CR0.WP, EFER.NXE and
 * CR4.SMEP/SMAP, and demand paging, where L1 (or L2's own handler) maps pages one by one as they
 * are touched. With nested paging and without. [APM 2 "Page Translation and Protection"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

SNIPPET(g_p_read, "", "mov l2_page+0x40(%rip), %rax");
SNIPPET(g_p_write, "", "mov %rax, l2_page+0x40(%rip)");
SNIPPET(g_p_fetch, "lea l2_page(%rip), %rax", "call *%rax");

#define RET 0xc3
#define NONE 0xffffffffu
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)

enum feature { ALWAYS, WITH_SMEP, WITH_SMAP };

struct row {
    const char *name;
    const uint8_t *code;
    bool at_cpl3;
    uint64_t leaf;     /* flags of the leaf entry */
    uint64_t cr0_off, cr4_on, efer_off;
    uint32_t error;    /* NONE: no fault */
    enum feature need;
};

#define ALL (PT_P | PT_W | PT_U)
static const struct row rows[] = {
    {"user-read", g_p_read, true, ALL, 0, 0, 0, NONE, ALWAYS},
    {"user-read-absent", g_p_read, true, 0, 0, 0, 0, 4, ALWAYS},
    {"user-write-absent", g_p_write, true, 0, 0, 0, 0, 6, ALWAYS},
    {"user-read-supervisor", g_p_read, true, PT_P | PT_W, 0, 0, 0, 5, ALWAYS},
    {"user-write-supervisor", g_p_write, true, PT_P | PT_W, 0, 0, 0, 7, ALWAYS},
    {"user-write-readonly", g_p_write, true, PT_P | PT_U, 0, 0, 0, 7, ALWAYS},
    {"user-write-readonly-wp0", g_p_write, true, PT_P | PT_U, CR0_WP, 0, 0, 7, ALWAYS},
    {"user-fetch", g_p_fetch, true, ALL, 0, 0, 0, NONE, ALWAYS},
    {"user-fetch-nx", g_p_fetch, true, ALL | PT_NX, 0, 0, 0, 0x15, ALWAYS},
    {"user-fetch-supervisor", g_p_fetch, true, PT_P | PT_W, 0, 0, 0, 0x15, ALWAYS},
    {"user-fetch-absent", g_p_fetch, true, 0, 0, 0, 0, 0x14, ALWAYS},
    {"user-reserved", g_p_read, true, ALL | 1ull << 51, 0, 0, 0, 0xd, ALWAYS},
    {"absent", g_p_read, false, 0, 0, 0, 0, 0, ALWAYS},
    {"write-readonly", g_p_write, false, PT_P | PT_U, 0, 0, 0, 3, ALWAYS},
    {"write-readonly-wp0", g_p_write, false, PT_P | PT_U, CR0_WP, 0, 0, NONE, ALWAYS},
    {"fetch-nx", g_p_fetch, false, ALL | PT_NX, 0, 0, 0, 0x11, ALWAYS},
    {"fetch-user", g_p_fetch, false, ALL, 0, 0, 0, NONE, ALWAYS},
    {"fetch-absent", g_p_fetch, false, 0, 0, 0, 0, 0x10, ALWAYS},
    {"reserved-read", g_p_read, false, ALL | 1ull << 51, 0, 0, 0, 9, ALWAYS},
    {"reserved-write", g_p_write, false, ALL | 1ull << 51, 0, 0, 0, 0xb, ALWAYS},
    {"nx-reserved-without-nxe", g_p_read, false, ALL | PT_NX, 0, 0, EFER_NX, 9, ALWAYS},
    {"fetch-absent-without-nxe", g_p_fetch, false, 0, 0, 0, EFER_NX, 0, ALWAYS},
    {"smep-fetch-user", g_p_fetch, false, ALL, 0, CR4_SMEP, 0, 0x11, WITH_SMEP},
    {"smap-read-user", g_p_read, false, ALL, 0, CR4_SMAP, 0, 1, WITH_SMAP},
    {"smap-write-user", g_p_write, false, ALL, 0, CR4_SMAP, 0, 3, WITH_SMAP},
    {"smap-read-supervisor", g_p_read, false, PT_P | PT_W, 0, CR4_SMAP, 0, NONE, WITH_SMAP},
};

static bool announced(enum feature f)
{
    uint32_t leaf7 = rt_cpuid(0, 0).eax >= 7 ? rt_cpuid(7, 0).ebx : 0;

    return f == ALWAYS || (f == WITH_SMEP && (leaf7 >> 7 & 1) != 0) ||
           (f == WITH_SMAP && (leaf7 >> 20 & 1) != 0);
}

/* SMEP and SMAP need supervisor pages elsewhere: all of L2's map but the page under test. */
static void all_supervisor(void)
{
    uint64_t *pdpt = (uint64_t *)(uintptr_t)(l2.cr3[0] & ~0xfffull);

    for (unsigned int i = 0; i < 4; i++) {
        uint64_t *pd = (uint64_t *)(uintptr_t)(pdpt[i] & ~0xfffull);

        for (unsigned int j = 0; j < 512; j++) {
            pd[j] &= ~PT_U;
        }
    }
}

static void page_row(enum l2_mode mode, const struct row *r)
{
    uint64_t *leaf;

    if (!announced(r->need)) {
        t_absent(r->name);
        return;
    }
    l2_reset(mode);
    l2_page[0] = RET;
    if (r->need != ALWAYS) {
        all_supervisor();
    }
    leaf = pt_entry(l2.cr3, pa(l2_page), 1);
    *pt_entry(l2.cr3, pa(l2_page), 2) |= PT_U;
    *leaf = pa(l2_page) | r->leaf;
    if (r->at_cpl3) {
        l2_user();
    }
    l2.vmcb->cr0 &= ~r->cr0_off;
    l2.vmcb->cr4 |= r->cr4_on;
    l2.vmcb->efer &= ~r->efer_off;
    if (r->error == NONE) {
        t_eq(r->name, "code", l2_run_at(r->code), EXIT_VMMCALL);
        return;
    }
    t_eq(r->name, "code", l2_run_at(r->code), EXIT_EXC(VEC_PF));
    t_eq(r->name, "error", l2.vmcb->info1, r->error);
    t_eq(r->name, "address", l2.vmcb->info2,
         pa(l2_page) + (r->code == g_p_fetch ? 0 : 0x40));
    *leaf = pa(l2_page) | ALL;
    if (r->need == ALWAYS) {
        l2.vmcb->tlb_control = 1;
        t_eq(r->name, "repaired", l2_run(), EXIT_VMMCALL);
    }
}

/* A window of gva (and gpa) without memory of its own, filled page by page from a small set. */
#define WINDOW 0x50000000ull
#define PAGES 64u

static _Alignas(4096) uint8_t backing[16][4096];

/* RSI: the window. Writes its number to each page, then sums all up. */
SNIPPET(g_demand,
        "xor %ecx, %ecx; mov %rsi, %rdi; 1: mov %rcx, (%rdi); add $0x1000, %rdi; inc %ecx;"
        "cmp $64, %ecx; jb 1b; xor %ecx, %ecx; xor %ebx, %ebx; mov %rsi, %rdi;"
        "2: add (%rdi), %rbx; add $0x1000, %rdi; inc %ecx; cmp $64, %ecx; jb 2b",
        "nop");

/* Pages share backing 4:1 and so must hold the last number written to each: 48..63. */
static void demand(enum l2_mode mode, bool nested)
{
    const char *name = nested ? "demand-nested" : "demand-own";
    unsigned int faults = 0, wrong = 0;
    uint64_t code;

    l2_reset(mode);
    for (uint64_t i = 0; i < PAGES; i++) {
        *pt_entry(nested ? l2.npt : l2.cr3, WINDOW + i * 4096, 1) = 0;
    }
    l2.g.rsi = WINDOW;
    code = l2_run_at(g_demand);
    while (code == (nested ? EXIT_NPF : EXIT_EXC(VEC_PF)) && faults < 2 * PAGES) {
        uint64_t at = l2.vmcb->info2 - WINDOW;

        wrong += at != faults * 4096ull;
        *pt_entry(nested ? l2.npt : l2.cr3, l2.vmcb->info2, 1) =
            pa(backing[(at / 4096) % 16]) | ALL;
        faults++;
        code = l2_run();
    }
    t_eq(name, "code", code, EXIT_VMMCALL);
    t_eq(name, "faults", faults, PAGES);
    t_eq(name, "in-order", wrong, 0);
    t_eq(name, "sum", l2.g.rbx, 4u * (48 + 63) * 16 / 2);
}

/* L2 touches 4 MiB that its tables map all along. */
SNIPPET(g_touch,
        "mov $1024, %ecx; mov %rsi, %rdi;"
        "1: lock incl (%rdi); add $0x1000, %rdi; dec %ecx; jnz 1b", "nop");
static _Alignas(4096) uint8_t large[4u << 20];

static void touches_much(enum l2_mode mode)
{
    unsigned int wrong = 0;

    l2_reset(mode);
    memset(large, 0, sizeof large);
    l2.g.rsi = pa(large);
    t_eq("touch", "first", l2_run_at(g_touch), EXIT_VMMCALL);
    t_eq("touch", "second", l2_run_at(g_touch), EXIT_VMMCALL);
    for (unsigned int i = 0; i < sizeof large; i += 4096) {
        wrong += large[i] != 2;
    }
    t_eq("touch", "values", wrong, 0);
}

void test_paging(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("paging", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            page_row(modes[m], &rows[i]);
        }
        demand(modes[m], false);
        if (modes[m] == L2_NPT) {
            demand(modes[m], true);
        }
        touches_much(modes[m]);
    }
}
