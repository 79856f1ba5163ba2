/* SPDX-License-Identifier: MIT */
/*
 * VMRUN by an L1 that is in compatibility mode, in legacy mode with PAE or two-level paging, or in
 * long mode with five levels. The mode L1 is in at VMRUN is also the format of its nested page
 * tables.
 * [APM 2 "Nested Paging Modes"]
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

/* Read by l1_modes.S. */
struct l1_mode {
    uint32_t change; /* 0: compatibility mode, 1: legacy mode, 2: compatibility, other CR4, CR3 */
    uint32_t cr4, cr3;
};

void l1_vmrun_in(struct l1_mode *m, struct vmcb *v, struct vmcb *host);

SNIPPET(g_l1_write, ".code32\nmov $0x600dcafe, %ecx", "mov %ecx, (%eax)\n.code64");
SNIPPET(g_l1_read, ".code32", "mov (%eax), %eax\n.code64");

enum format { COMPAT, PAE, TWO_LEVEL, FIVE_LEVEL };

static const char *const names[] = {"compat", "pae", "two-level", "five-level"};

/* A gpa in a large page of its own, over l2_page. */
#define REGION 0x60000000u

static struct l1_mode l1;
static uint64_t *large_entry;   /* PAE and long mode */
static uint32_t *large_entry32; /* two-level */

static uint32_t alias_of(enum format f)
{
    uint32_t mask = f == TWO_LEVEL ? 0x3fffff : 0x1fffff;

    return REGION | ((uint32_t)pa(l2_page) & mask);
}

static void set_entry(enum format f, uint32_t flags)
{
    if (f == TWO_LEVEL) {
        *large_entry32 = ((uint32_t)pa(l2_page) & ~0x3fffffu) | (uint32_t)PT_PS | flags;
    } else {
        *large_entry = (pa(l2_page) & ~0x1fffffull) | PT_PS | flags;
    }
}

static uint32_t entry_flags(enum format f)
{
    return (uint32_t)(f == TWO_LEVEL ? *large_entry32 : *large_entry) & 0x67;
}

static uint64_t *on_top_of(uint64_t *four_levels)
{
    uint64_t *top = page_get();

    top[0] = pa(four_levels) | 7;
    return top;
}

static void nested_tables(enum format f)
{
    if (f == TWO_LEVEL) {
        uint32_t *pd = pt_identity_legacy(7);

        large_entry32 = &pd[REGION >> 22];
        l2.vmcb->ncr3 = pa(pd);
    } else if (f == PAE) {
        uint64_t *pdpt = pt_identity_pae(7);
        uint64_t *pd = (uint64_t *)(uintptr_t)(pdpt[REGION >> 30] & ~0xfffull);

        large_entry = &pd[(REGION >> 21) & 511];
        l2.vmcb->ncr3 = pa(pdpt);
    } else {
        large_entry = pt_entry(l2.npt, REGION, 2);
        if (f == FIVE_LEVEL) {
            l2.vmcb->ncr3 = pa(on_top_of(l2.npt));
        }
    }
    set_entry(f, 7);
}

static void prepare(enum format f, enum l2_mode mode)
{
    struct vmcb *v;

    l2_reset(mode);
    v = l2.vmcb;
    l1.change = f == COMPAT ? 0 : f == FIVE_LEVEL ? 2 : 1;
    l1.cr4 = (uint32_t)rt_read_cr4() | (uint32_t)CR4_PSE;
    l1.cr3 = (uint32_t)pa(pt_identity_pae(PT_P | PT_W));
    if (f == TWO_LEVEL) {
        l1.cr4 &= ~(uint32_t)CR4_PAE;
        l1.cr3 = (uint32_t)pa(pt_identity_legacy(PT_P | PT_W));
    }
    if (f == FIVE_LEVEL) {
        l1.cr4 |= (uint32_t)CR4_LA57;
        l1.cr3 = (uint32_t)pa(on_top_of(pt_identity(PT_P | PT_W)));
    }
    v->efer &= ~(EFER_LME | EFER_LMA);
    v->cr0 &= ~CR0_PG;
    v->cr4 &= ~CR4_PAE;
    v->cs = (struct vmcb_seg){SEL_CODE32, 0xc9b, 0xffffffff, 0};
    v->ds = (struct vmcb_seg){SEL_DATA, 0xc93, 0xffffffff, 0};
    v->es = v->ss = v->ds;
    v->rax = pa(l2_page);
    if (mode == L2_NPT) {
        nested_tables(f);
        v->rax = alias_of(f);
    }
}

static bool no_flush;

static uint64_t run_at(const uint8_t *code)
{
    l2.vmcb->rip = pa(code);
    l2.vmcb->tlb_control = no_flush ? 0 : 1;
    trap.in_l2 = true;
    l1_vmrun_in(&l1, l2.vmcb, &vmcb_host);
    trap.in_l2 = false;
    return l2.vmcb->exit_code;
}

static void runs(enum format f, enum l2_mode mode)
{
    uint64_t cr0 = rt_read_cr0(), cr4 = rt_read_cr4(), efer;

    prepare(f, mode);
    efer = rt_rdmsr(MSR_EFER);
    t_eq(names[f], "code", run_at(g_l1_write), EXIT_VMMCALL);
    t_eq(names[f], "rip", l2.vmcb->rip, pa(g_l1_write_next));
    t_eq(names[f], "written", *(uint32_t *)(void *)l2_page, 0x600dcafe);
    t_check(names[f], "l1-state",
            rt_read_cr0() == cr0 && rt_read_cr4() == cr4 && rt_rdmsr(MSR_EFER) == efer);
}

static void faults(enum format f)
{
    static const struct {
        const char *name;
        const uint8_t *code;
        uint32_t flags;
        uint64_t error;
    } rows[] = {
        {"absent-read", g_l1_read, 6, NPF_U},
        {"absent-write", g_l1_write, 6, NPF_U | NPF_W},
        {"readonly", g_l1_write, 5, NPF_U | NPF_W | NPF_P},
        {"supervisor", g_l1_read, 3, NPF_U | NPF_P},
    };

    for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        t_group("l1-mode.npt", names[f]);
        prepare(f, L2_NPT);
        set_entry(f, rows[i].flags);
        t_eq(rows[i].name, "code", run_at(rows[i].code), EXIT_NPF);
        t_eq(rows[i].name, "info1", l2.vmcb->info1, rows[i].error | NPF_FINAL);
        t_eq(rows[i].name, "info2", l2.vmcb->info2, alias_of(f));
        set_entry(f, 7);
        l2.vmcb->rax = alias_of(f);
        t_eq(rows[i].name, "repaired", run_at(rows[i].code), EXIT_VMMCALL);
    }
    t_group("l1-mode", "npt");
    prepare(f, L2_NPT);
    t_eq(names[f], "read", run_at(g_l1_read), EXIT_VMMCALL);
    t_eq(names[f], "accessed", entry_flags(f), 7 | PT_A);
    l2.vmcb->rax = alias_of(f);
    t_eq(names[f], "write", run_at(g_l1_write), EXIT_VMMCALL);
    t_eq(names[f], "dirty", entry_flags(f), 7 | PT_A | PT_D);
}

/* The region after REGION, of one directory entry: a table of small pages, a large page, or
 * nothing. */
static _Alignas(4096) uint8_t small_table[4096];

static void put_directory(enum format f, bool large, uint32_t flags)
{
    uint64_t to = large ? pa(l2_page) & (f == TWO_LEVEL ? ~0x3fffffull : ~0x1fffffull)
                        : pa(small_table);
    uint64_t value = flags == 0 ? 0 : to | flags | (large ? PT_PS : 0);

    if (f == TWO_LEVEL) {
        large_entry32[1] = (uint32_t)value;
    } else {
        large_entry[1] = value;
    }
}

/* Small page @page of the region leads to the two pages of L2's in turn, the other way round. */
static void put_small(enum format f, unsigned int page, uint32_t flags)
{
    uint64_t value = (pa(l2_page) + (page % 2 == 0 ? 4096 : 0)) | flags;

    if (f == TWO_LEVEL) {
        ((uint32_t *)(void *)small_table)[page] = (uint32_t)value;
    } else {
        ((uint64_t *)(void *)small_table)[page] = value;
    }
}

static uint32_t small_flags(enum format f, unsigned int page)
{
    return (uint32_t)(f == TWO_LEVEL ? ((uint32_t *)(void *)small_table)[page]
                                     : ((uint64_t *)(void *)small_table)[page]) & 0x67;
}

static uint64_t read_at(uint32_t address)
{
    l2.vmcb->rax = address;
    return run_at(g_l1_read) == EXIT_VMMCALL ? (uint32_t)l2.vmcb->rax : l2.vmcb->exit_code;
}

/* Small pages beside a large one, their flags, and one size exchanged for the other: L1 flushes at
 * each entry but the last. [APM 2 "Nested Paging", "Legacy-Paging"] */
static void mixes(enum format f)
{
    uint32_t next = REGION + (f == TWO_LEVEL ? 0x400000u : 0x200000u);
    uint32_t in_large = next + (alias_of(f) - REGION);
    uint32_t last = f == TWO_LEVEL ? 1023 : 511;

    t_group("l1-mode.mix", names[f]);
    prepare(f, L2_NPT);
    *(uint32_t *)(void *)l2_page = 0x1111;
    *(uint32_t *)(void *)&l2_page[4096] = 0x2222;
    memset(small_table, 0, sizeof small_table);
    put_small(f, 0, 7);
    put_small(f, 1, 7);
    put_small(f, last, 5);
    put_directory(f, false, 7);
    t_eq("small", "first", read_at(next), 0x2222);
    t_eq("small", "second", read_at(next + 4096), 0x1111);
    t_eq("small", "last", read_at(next + last * 4096), 0x1111);
    t_eq("small", "absent", read_at(next + 2 * 4096), EXIT_NPF);
    t_eq("large", "beside", read_at(alias_of(f)), 0x1111);
    t_eq("small", "accessed", small_flags(f, 0), 7 | PT_A);
    l2.vmcb->rax = next + last * 4096;
    t_eq("small", "readonly", run_at(g_l1_write), EXIT_NPF);
    l2.vmcb->rax = next;
    t_eq("small", "write", run_at(g_l1_write), EXIT_VMMCALL);
    t_eq("small", "dirty", small_flags(f, 0), 7 | PT_A | PT_D);
    t_eq("small", "not-dirty", small_flags(f, 1), 7 | PT_A);
    t_eq("small", "written", *(uint32_t *)(void *)&l2_page[4096], 0x600dcafe);
    put_directory(f, true, 7);
    t_eq("merged", "value", read_at(in_large), 0x1111);
    t_eq("merged", "next", read_at(in_large + 4096), 0x600dcafe);
    put_directory(f, false, 5);
    t_eq("split", "value", read_at(next + 4096), 0x1111);
    l2.vmcb->rax = next;
    t_eq("split", "directory-readonly", run_at(g_l1_write), EXIT_NPF);
    put_directory(f, false, 0);
    t_eq("gone", "value", read_at(next), EXIT_NPF);
    /* Nothing was there: what is put there needs no flush. */
    put_directory(f, true, 7);
    no_flush = true;
    t_eq("back", "value", read_at(in_large), 0x1111);
    no_flush = false;
}

void test_l1_modes(void)
{
    for (unsigned int f = COMPAT; f <= FIVE_LEVEL; f++) {
        t_group("l1-mode", "npt");
        if (f == FIVE_LEVEL && !cpu_has_la57()) {
            t_absent(names[f]);
            continue;
        }
        if (!t_skip(names[f])) {
            runs((enum format)f, L2_NPT);
            faults((enum format)f);
            mixes((enum format)f);
        }
        t_group("l1-mode", "shadow");
        if (!t_skip(names[f])) {
            runs((enum format)f, L2_SHADOW);
        }
    }
}
