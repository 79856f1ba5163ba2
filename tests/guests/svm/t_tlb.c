/* SPDX-License-Identifier: MIT */
/*
 * Translations that change: what L1 or L2 flushes must be seen at once, and two L2s must not see
 * each other's. Stale translations that the manual merely allows are never asked for.
 * [APM 2 "TLB Control"], [APM 2 "INVLPGA"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

SNIPPET(g_t_read, "", "mov l2_page(%rip), %rax");
SNIPPET(g_t_write, "movabs $0x5a5a, %rax", "mov %rax, l2_page(%rip)");
/* L2 changes its own entry (RBX, to RCX), then reads: behind INVLPG, or a CR3 reload. */
SNIPPET(g_t_invlpg, "mov l2_page(%rip), %rax; mov %rcx, (%rbx); invlpg l2_page(%rip)",
        "mov l2_page(%rip), %rax");
SNIPPET(g_t_cr3, "mov l2_page(%rip), %rax; mov %rcx, (%rbx); mov %cr3, %rax; mov %rax, %cr3",
        "mov l2_page(%rip), %rax");
SNIPPET(g_t_pge, "mov l2_page(%rip), %rax; mov %rcx, (%rbx); mov %cr4, %rax; btc $7, %rax;"
                 "mov %rax, %cr4; btc $7, %rax; mov %rax, %cr4",
        "mov l2_page(%rip), %rax");

static _Alignas(4096) uint64_t one[512], two[512];

static void fill_pages(void)
{
    one[0] = 0x1111;
    two[0] = 0x2222;
}

static uint64_t leaf_to(const void *page)
{
    return pa(page) | PT_P | PT_W | PT_U | PT_A | PT_D;
}

static uint64_t read_page(void)
{
    return l2_run_at(g_t_read) == EXIT_VMMCALL ? l2.vmcb->rax : ~0ull;
}

enum how { FLUSH_ALL, FLUSH_ASID, FLUSH_INVLPGA, FLUSH_NEW_ASID };

static void flush(enum how how, uint64_t address)
{
    switch (how) {
    case FLUSH_ALL:
        l2.vmcb->tlb_control = 1;
        break;
    case FLUSH_ASID:
        l2.vmcb->tlb_control = cpu_has_flush_by_asid() ? 3 : 1;
        break;
    case FLUSH_INVLPGA:
        __asm__ volatile("invlpga %%rax, %%ecx" ::"a"(address), "c"(l2.vmcb->asid) : "memory");
        break;
    case FLUSH_NEW_ASID:
        l2.vmcb->asid++;
        break;
    }
}

struct change {
    const char *name;
    enum how how;
    bool nested; /* the nested entry changes, not L2's own */
};

static const struct change changes[] = {
    {"own-entry-flush-all", FLUSH_ALL, false},
    {"own-entry-flush-asid", FLUSH_ASID, false},
    {"own-entry-invlpga", FLUSH_INVLPGA, false},
    {"own-entry-new-asid", FLUSH_NEW_ASID, false},
    {"nested-entry-flush-all", FLUSH_ALL, true},
    {"nested-entry-flush-asid", FLUSH_ASID, true},
    {"nested-entry-new-asid", FLUSH_NEW_ASID, true},
};

static void change_row(enum l2_mode mode, const struct change *c)
{
    uint64_t *leaf;

    l2_reset(mode);
    fill_pages();
    /* A fresh ASID of its own is only fresh if nothing before used it since a full flush. */
    l2.vmcb->asid = 2;
    leaf = pt_entry(c->nested ? l2.npt : l2.cr3, pa(l2_page), 1);
    *leaf = leaf_to(one);
    t_eq(c->name, "before", read_page(), 0x1111);
    *leaf = leaf_to(two);
    flush(c->how, pa(l2_page));
    t_eq(c->name, "after", read_page(), 0x2222);
    *leaf = leaf_to(two) & ~PT_P;
    flush(c->how, pa(l2_page));
    t_eq(c->name, "gone", l2_run_at(g_t_read), c->nested ? EXIT_NPF : EXIT_EXC(VEC_PF));
    /* From not present to present nothing need be flushed. */
    *leaf = leaf_to(one);
    t_eq(c->name, "back-unflushed", read_page(), 0x1111);
    *leaf = leaf_to(one) & ~PT_W;
    flush(c->how, pa(l2_page));
    t_eq(c->name, "read-only", l2_run_at(g_t_write), c->nested ? EXIT_NPF : EXIT_EXC(VEC_PF));
    t_eq(c->name, "not-written", one[0], 0x1111);
}

/* What L2 flushes itself. */
static void own_flushes(enum l2_mode mode)
{
    static const struct {
        const char *name;
        const uint8_t *code;
        bool global;
    } cases[] = {
        {"invlpg", g_t_invlpg, false},
        {"invlpg-global", g_t_invlpg, true},
        {"mov-cr3", g_t_cr3, false},
        {"mov-cr4-pge", g_t_pge, true},
    };

    for (unsigned int i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t *leaf;
        uint64_t global = cases[i].global ? 1ull << 8 : 0;

        l2_reset(mode);
        fill_pages();
        leaf = pt_entry(l2.cr3, pa(l2_page), 1);
        *leaf = leaf_to(one) | global;
        l2.g.rbx = pa(leaf);
        l2.g.rcx = leaf_to(two) | global;
        t_eq(cases[i].name, "code", l2_run_at(cases[i].code), EXIT_VMMCALL);
        t_eq(cases[i].name, "sees-new", l2.vmcb->rax, 0x2222);
    }
}

/* Two L2s with an ASID each, one address, different pages: no flush in between. */
static void alternate(enum l2_mode mode, bool nested, bool global, const char *name)
{
    uint64_t *other;
    uint64_t extra = global ? 1ull << 8 : 0;
    unsigned int wrong = 0;

    l2_reset(mode);
    fill_pages();
    other = pt_identity(PT_P | PT_W | PT_U | PT_A | PT_D);
    *pt_entry(nested ? l2.npt : l2.cr3, pa(l2_page), 1) = leaf_to(one) | extra;
    *pt_entry(other, pa(l2_page), 1) = leaf_to(two) | extra;
    l2_init_vmcb(&vmcb_b, mode);
    vmcb_b.asid = 2;
    if (nested) {
        vmcb_b.ncr3 = pa(other);
    } else {
        vmcb_b.cr3 = pa(other);
    }
    for (unsigned int i = 0; i < 16; i++) {
        l2.vmcb = i % 2 == 0 ? &vmcb_a : &vmcb_b;
        wrong += read_page() != (i % 2 == 0 ? 0x1111u : 0x2222u);
    }
    t_eq("alternate", name, wrong, 0);
    l2.vmcb = &vmcb_a;
}

/* One VMCB, one ASID, nCR3 or CR3 changed by L1 with a flush. */
static void switch_root(enum l2_mode mode)
{
    uint64_t *roots[2];
    unsigned int wrong = 0;

    l2_reset(mode);
    fill_pages();
    roots[0] = mode == L2_NPT ? l2.npt : l2.cr3;
    roots[1] = pt_identity(PT_P | PT_W | PT_U | PT_A | PT_D);
    *pt_entry(roots[0], pa(l2_page), 1) = leaf_to(one);
    *pt_entry(roots[1], pa(l2_page), 1) = leaf_to(two);
    for (unsigned int i = 0; i < 8; i++) {
        if (mode == L2_NPT) {
            l2.vmcb->ncr3 = pa(roots[i % 2]);
        } else {
            l2.vmcb->cr3 = pa(roots[i % 2]);
        }
        l2.vmcb->tlb_control = 1;
        wrong += read_page() != (i % 2 == 0 ? 0x1111u : 0x2222u);
    }
    t_eq("switch-root", "values", wrong, 0);
}

/* Many ASIDs, few tags below: nothing may be mixed up when tags are taken again. */
static void many_asids(enum l2_mode mode)
{
    unsigned int wrong = 0;
    uint64_t *leaf;

    l2_reset(mode);
    fill_pages();
    leaf = pt_entry(l2.cr3, pa(l2_page), 1);
    for (unsigned int round = 0; round < 3; round++) {
        for (uint32_t asid = 1; asid < 8; asid++) {
            *leaf = leaf_to((asid + round) % 2 != 0 ? one : two);
            l2.vmcb->asid = asid;
            l2.vmcb->tlb_control = 1;
            wrong += read_page() != ((asid + round) % 2 != 0 ? 0x1111u : 0x2222u);
        }
    }
    t_eq("many-asids", "values", wrong, 0);
}

/* L1's own TLB: its mapping of a page changes, INVLPG, and L2's ASIDs have no part in it. */
static void host_unaffected(enum l2_mode mode)
{
    l2_reset(mode);
    fill_pages();
    *pt_entry(l2.cr3, pa(one), 1) = leaf_to(two);
    *pt_entry(l2.cr3, pa(l2_page), 1) = leaf_to(two);
    t_eq("host", "l2-sees", read_page(), 0x2222);
    t_eq("host", "l1-sees", *(volatile uint64_t *)one, 0x1111);
}

void test_tlb(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("tlb", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            if (!changes[i].nested || modes[m] == L2_NPT) {
                change_row(modes[m], &changes[i]);
            }
        }
        own_flushes(modes[m]);
        alternate(modes[m], false, false, "cr3");
        alternate(modes[m], false, true, "cr3-global");
        if (modes[m] == L2_NPT) {
            alternate(modes[m], true, false, "ncr3");
        }
        switch_root(modes[m]);
        many_asids(modes[m]);
        host_unaffected(modes[m]);
    }
}
