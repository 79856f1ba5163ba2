/* SPDX-License-Identifier: MIT */
/*
 * Nested paging: what faults, with which EXITINFO1 and EXITINFO2, what is set Accessed and Dirty,
 * and which tables are walked. [APM 2 "Nested Paging"], [APM 2 "Nested versus Guest Page Faults,
 * Fault Ordering"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

SNIPPET(g_n_read, "", "mov l2_page+0x128(%rip), %rax");
SNIPPET(g_n_write, "", "mov %rax, l2_page+0x128(%rip)");
SNIPPET(g_n_rmw, "", "lock incl l2_page+0x128(%rip)");
SNIPPET(g_n_fetch, "lea l2_page(%rip), %rax", "call *%rax");
SNIPPET(g_n_cross, "", "mov l2_page+0xffc(%rip), %rax");
SNIPPET(g_n_push, "lea l2_page+0x130(%rip), %rsp", "push %rax");

#define AT128 (pa(l2_page) + 0x128)
#define RET 0xc3

struct row {
    const char *name;
    const uint8_t *code, *at;
    uint64_t clear, set; /* change of the nested leaf entry */
    unsigned int level;  /* whose entry */
    uint64_t error;
    uint32_t offset;
};

#define G(g) g, g##_at
static const struct row rows[] = {
    {"read-absent", G(g_n_read), PT_P, 0, 1, NPF_U, 0x128},
    {"write-absent", G(g_n_write), PT_P, 0, 1, NPF_U | NPF_W, 0x128},
    {"rmw-absent", G(g_n_rmw), PT_P, 0, 1, NPF_U | NPF_W, 0x128},
    {"push-absent", G(g_n_push), PT_P, 0, 1, NPF_U | NPF_W, 0x128},
    {"fetch-absent", G(g_n_fetch), PT_P, 0, 1, NPF_U | NPF_ID, 0},
    {"write-readonly", G(g_n_write), PT_W, 0, 1, NPF_P | NPF_U | NPF_W, 0x128},
    {"rmw-readonly", G(g_n_rmw), PT_W, 0, 1, NPF_P | NPF_U | NPF_W, 0x128},
    {"fetch-nx", G(g_n_fetch), 0, PT_NX, 1, NPF_P | NPF_U | NPF_ID, 0},
    {"read-supervisor", G(g_n_read), PT_U, 0, 1, NPF_P | NPF_U, 0x128},
    {"write-supervisor", G(g_n_write), PT_U, 0, 1, NPF_P | NPF_U | NPF_W, 0x128},
    {"fetch-supervisor", G(g_n_fetch), PT_U, 0, 1, NPF_P | NPF_U | NPF_ID, 0},
    {"read-absent-pde", G(g_n_read), PT_P, 0, 2, NPF_U, 0x128},
    {"write-readonly-pde", G(g_n_write), PT_W, 0, 2, NPF_P | NPF_U | NPF_W, 0x128},
    {"read-supervisor-pde", G(g_n_read), PT_U, 0, 2, NPF_P | NPF_U, 0x128},
    {"fetch-nx-pde", G(g_n_fetch), 0, PT_NX, 2, NPF_P | NPF_U | NPF_ID, 0},
    {"reserved-bit-pte", G(g_n_read), 0, 1ull << 51, 1, NPF_P | NPF_U | NPF_RSV, 0x128},
    {"reserved-bit-pde", G(g_n_read), 0, 1ull << 51, 2, NPF_P | NPF_U | NPF_RSV, 0x128},
    {"reserved-bit-write", G(g_n_write), 0, 1ull << 51, 1, NPF_P | NPF_U | NPF_W | NPF_RSV, 0x128},
};

/*
 * l2_page must have a 2 MiB region of its own for the level-2 rows, which it has not: there the
 * region holds L2's code as well. So those rows run on an alias: gva l2_page -> gpa ALIAS, whose
 * nested 2 MiB region nothing else uses, -> l2_page.
 */
#define ALIAS 0x60000000ull

static uint64_t *alias(void)
{
    const uint64_t flags = PT_P | PT_W | PT_U | PT_A | PT_D;

    *pt_entry(l2.cr3, pa(l2_page), 1) = ALIAS | flags;
    *pt_entry(l2.cr3, pa(l2_page) + 0x1000, 1) = (ALIAS + 0x1000) | flags;
    *pt_entry(l2.npt, ALIAS, 1) = pa(l2_page) | PT_P | PT_W | PT_U;
    *pt_entry(l2.npt, ALIAS + 0x1000, 1) = (pa(l2_page) + 0x1000) | PT_P | PT_W | PT_U;
    return pt_entry(l2.npt, ALIAS, 1);
}

static void fault_row(const struct row *r)
{
    uint64_t *entry, old;

    l2_reset(L2_NPT);
    l2_page[0] = RET;
    alias();
    entry = pt_entry(l2.npt, ALIAS, r->level);
    old = *entry;
    *entry = (old & ~r->clear) | r->set;
    t_eq(r->name, "code", l2_run_at(r->code), EXIT_NPF);
    t_eq(r->name, "info1", l2.vmcb->info1, r->error | NPF_FINAL);
    t_eq(r->name, "info2", l2.vmcb->info2, ALIAS + r->offset);
    t_eq(r->name, "rip", l2.vmcb->rip, r->error & NPF_ID ? pa(l2_page) : pa(r->at));
    t_eq(r->name, "cr2-kept", l2.vmcb->cr2, 0);
    t_eq(r->name, "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    *entry = old;
    l2.vmcb->tlb_control = 1;
    t_eq(r->name, "repaired", l2_run(), EXIT_VMMCALL);
}

/* The second page of an access that crosses is reported by its own address. */
static void crossing(void)
{
    uint64_t *second;

    l2_reset(L2_NPT);
    alias();
    second = pt_entry(l2.npt, ALIAS + 0x1000, 1);
    *second = 0;
    t_eq("cross", "code", l2_run_at(g_n_cross), EXIT_NPF);
    t_eq("cross", "info1", l2.vmcb->info1, NPF_U | NPF_FINAL);
    t_eq("cross", "page", l2.vmcb->info2 & ~0xfffull, ALIAS + 0x1000);
}

/*
 * L2's own page tables are reached through the nested ones as user writes, because the walk may
 * set A and D. Absent: error W|U. Read-only: the same with P.
 */
static void guest_walk(void)
{
    uint64_t *pde, *pte, *leaf;

    for (unsigned int readonly = 0; readonly < 2; readonly++) {
        const char *name = readonly ? "walk-readonly" : "walk-absent";

        l2_reset(L2_NPT);
        alias();
        pte = pt_entry(l2.cr3, pa(l2_page), 1);
        pde = pt_entry(l2.cr3, pa(l2_page), 2);
        /* The leaf table moves to a page of its own, seen through the alias region. */
        *pde = (ALIAS + 0x5000) | PT_P | PT_W | PT_U | PT_A;
        leaf = pt_entry(l2.npt, ALIAS + 0x5000, 1);
        *leaf = (pa(pte) & ~0xfffull) | PT_U | (readonly ? PT_P : PT_W);
        t_eq(name, "code", l2_run_at(g_n_read), EXIT_NPF);
        t_eq(name, "info1", l2.vmcb->info1,
             NPF_U | NPF_W | NPF_WALK | (readonly ? NPF_P : 0));
        t_eq(name, "info2-page", l2.vmcb->info2 & ~0xfffull, ALIAS + 0x5000);
        t_eq(name, "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
        *leaf |= PT_P | PT_W;
        l2.vmcb->tlb_control = 1;
        t_eq(name, "repaired", l2_run(), EXIT_VMMCALL);
    }
}

/* A guest page fault comes before the nested fault of the page it would have been. */
static void guest_fault_first(void)
{
    l2_reset(L2_NPT);
    alias();
    *pt_entry(l2.npt, ALIAS, 1) = 0;
    *pt_entry(l2.cr3, pa(l2_page), 1) = 0;
    t_eq("guest-first", "code", l2_run_at(g_n_read), EXIT_EXC(VEC_PF));
    t_eq("guest-first", "error", l2.vmcb->info1, 0);
    t_eq("guest-first", "address", l2.vmcb->info2, AT128);
    /* And the guest's own read-only page, writable below. */
    l2_reset(L2_NPT);
    *pt_entry(l2.cr3, pa(l2_page), 1) &= ~PT_W;
    t_eq("guest-readonly", "code", l2_run_at(g_n_write), EXIT_EXC(VEC_PF));
    t_eq("guest-readonly", "error", l2.vmcb->info1, 3);
}

static void accessed_dirty(void)
{
    uint64_t *leaf, *pde;

    l2_reset(L2_NPT);
    leaf = alias();
    pde = pt_entry(l2.npt, ALIAS, 2);
    t_eq("nested-ad", "read", l2_run_at(g_n_read), EXIT_VMMCALL);
    t_eq("nested-ad", "read-leaf", *leaf & (PT_A | PT_D), PT_A);
    t_eq("nested-ad", "read-pde", *pde & PT_A, PT_A);
    t_eq("nested-ad", "write", l2_run_at(g_n_write), EXIT_VMMCALL);
    t_eq("nested-ad", "write-leaf", *leaf & (PT_A | PT_D), PT_A | PT_D);
    *leaf &= ~(PT_A | PT_D);
    l2.vmcb->tlb_control = 1;
    t_eq("nested-ad", "cleared", l2_run_at(g_n_read), EXIT_VMMCALL);
    t_eq("nested-ad", "set-again", *leaf & (PT_A | PT_D), PT_A);
}

/* L2's own tables get A and D too. */
static void guest_accessed_dirty(enum l2_mode mode)
{
    uint64_t *leaf;

    l2_reset(mode);
    leaf = pt_entry(l2.cr3, pa(l2_page), 1);
    *leaf &= ~(PT_A | PT_D);
    t_eq("guest-ad", "read", l2_run_at(g_n_read), EXIT_VMMCALL);
    t_eq("guest-ad", "read-leaf", *leaf & (PT_A | PT_D), PT_A);
    t_eq("guest-ad", "write", l2_run_at(g_n_write), EXIT_VMMCALL);
    t_eq("guest-ad", "write-leaf", *leaf & (PT_A | PT_D), PT_A | PT_D);
    *leaf &= ~(PT_A | PT_D);
    l2.vmcb->tlb_control = 1;
    t_eq("guest-ad", "write-first", l2_run_at(g_n_write), EXIT_VMMCALL);
    t_eq("guest-ad", "write-first-leaf", *leaf & (PT_A | PT_D), PT_A | PT_D);
}

/* 4 KiB, 2 MiB and 1 GiB nested pages translate alike. */
static void page_sizes(void)
{
    static const char *const names[] = {"", "4k", "2m", "1g"};

    for (unsigned int level = 1; level <= 3; level++) {
        uint64_t size = 1ull << (12 + 9 * (level - 1));

        if (level == 3 && ((rt_cpuid(0x80000001, 0).edx >> 26) & 1) == 0) {
            t_absent("page-size.1g");
            continue;
        }
        l2_reset(L2_NPT);
        *(uint64_t *)(void *)&l2_page[0x128] = 0x1357 + level;
        *pt_entry(l2.cr3, pa(l2_page), 1) =
            (0x40000000ull + (pa(l2_page) & (size - 1))) | PT_P | PT_W | PT_U | PT_A | PT_D;
        *pt_entry(l2.npt, 0x40000000ull + (pa(l2_page) & (size - 1)), level) =
            (pa(l2_page) & ~(size - 1)) | PT_P | PT_W | PT_U | (level > 1 ? PT_PS : 0);
        t_eq("page-size", names[level], l2_run_at(g_n_read), EXIT_VMMCALL);
        t_eq("page-size-value", names[level], l2.vmcb->rax, 0x1357 + level);
    }
}

/* nCR3's low bits are cache controls, not an address. */
static void ncr3_low_bits(void)
{
    l2_reset(L2_NPT);
    l2.vmcb->ncr3 |= PT_PWT | PT_PCD;
    t_eq("ncr3", "cache-bits", l2_run_at(g_n_read), EXIT_VMMCALL);
    l2_reset(L2_NPT);
    l2.vmcb->ncr3 = pa(l2_page);
    t_eq("ncr3", "empty-root", l2_run_at(g_n_read), EXIT_NPF);
    t_eq("ncr3", "empty-root-page", l2.vmcb->info2 & ~0xfffull, pa(l2.cr3));
    t_eq("ncr3", "empty-root-info1", l2.vmcb->info1, NPF_U | NPF_W | NPF_WALK);
}

/* L1's CR0.WP and EFER.NXE shape the nested walk, L2's do not. [APM 2 "Nested Paging Modes"] */
static void guest_controls_do_not_count(void)
{
    l2_reset(L2_NPT);
    alias();
    l2.vmcb->cr0 &= ~CR0_WP;
    *pt_entry(l2.npt, ALIAS, 1) &= ~PT_W;
    t_eq("guest-wp-0", "code", l2_run_at(g_n_write), EXIT_NPF);
    t_eq("guest-wp-0", "info1", l2.vmcb->info1, NPF_P | NPF_W | NPF_U | NPF_FINAL);
    l2_reset(L2_NPT);
    l2_page[0] = RET;
    alias();
    l2.vmcb->efer &= ~EFER_NX;
    *pt_entry(l2.npt, ALIAS, 1) |= PT_NX;
    t_eq("guest-nxe-0", "code", l2_run_at(g_n_fetch), EXIT_NPF);
    t_eq("guest-nxe-0", "info1", l2.vmcb->info1, NPF_P | NPF_ID | NPF_U | NPF_FINAL);
}

void test_npt(void)
{
    t_group("npt", NULL);
    for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fault_row(&rows[i]);
    }
    crossing();
    guest_walk();
    guest_fault_first();
    accessed_dirty();
    guest_accessed_dirty(L2_NPT);
    page_sizes();
    ncr3_low_bits();
    guest_controls_do_not_count();
    t_group("shadow", NULL);
    guest_accessed_dirty(L2_SHADOW);
}
