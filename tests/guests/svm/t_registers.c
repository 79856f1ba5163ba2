/* SPDX-License-Identifier: MIT */
/*
 * Control and debug register intercepts, and exception intercepts with what they report:
 * [APM 2 "CRx/DRx Intercepts"], [APM 2 "Exception Intercepts"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define CR_PAIR(n)                                                                                 \
    SNIPPET(g_rcr##n, "", "mov %cr" #n ", %rax");                                                  \
    SNIPPET(g_wcr##n, "mov %cr" #n ", %rax", "mov %rax, %cr" #n)
#define DR_PAIR(n)                                                                                 \
    SNIPPET(g_rdr##n, "", "mov %dr" #n ", %rax");                                                  \
    SNIPPET(g_wdr##n, "mov %dr" #n ", %rax", "mov %rax, %dr" #n)

CR_PAIR(0);
CR_PAIR(2);
CR_PAIR(3);
CR_PAIR(4);
CR_PAIR(8);
DR_PAIR(0);
DR_PAIR(1);
DR_PAIR(2);
DR_PAIR(3);
DR_PAIR(6);
DR_PAIR(7);
SNIPPET(g_clts, "", "clts");
SNIPPET(g_smsw, "", "smsw %eax");
SNIPPET(g_lmsw, "smsw %eax", "lmsw %ax");

struct row {
    const char *name;
    uint8_t number, write, debug;
    const uint8_t *code, *at, *next;
};

#define CR(n) {"read-cr" #n, n, 0, 0, g_rcr##n, g_rcr##n##_at, g_rcr##n##_next},                   \
              {"write-cr" #n, n, 1, 0, g_wcr##n, g_wcr##n##_at, g_wcr##n##_next}
#define DR(n) {"read-dr" #n, n, 0, 1, g_rdr##n, g_rdr##n##_at, g_rdr##n##_next},                   \
              {"write-dr" #n, n, 1, 1, g_wdr##n, g_wdr##n##_at, g_wdr##n##_next}
static const struct row rows[] = {
    CR(0), CR(2), CR(3), CR(4), CR(8), DR(0), DR(1), DR(2), DR(3), DR(6), DR(7),
    {"clts", 0, 1, 0, g_clts, g_clts_at, g_clts_next},
    {"smsw", 0, 0, 0, g_smsw, g_smsw_at, g_smsw_next},
    {"lmsw", 0, 1, 0, g_lmsw, g_lmsw_at, g_lmsw_next},
};

static uint16_t *vector_of(const struct row *r)
{
    if (r->debug) {
        return r->write ? &l2.vmcb->dr_write : &l2.vmcb->dr_read;
    }
    return r->write ? &l2.vmcb->cr_write : &l2.vmcb->cr_read;
}

static void register_row(enum l2_mode mode, const struct row *r)
{
    uint32_t code = (uint32_t)r->number + (r->debug ? 0x20 : 0) + (r->write ? 0x10 : 0);

    l2_reset(mode);
    *vector_of(r) = (uint16_t)(1u << r->number);
    t_eq(r->name, "code", l2_run_at(r->code), code);
    t_eq(r->name, "rip", l2.vmcb->rip, pa(r->at));
    if (cpu_has_nrips()) {
        t_eq(r->name, "nrip", l2.vmcb->nrip, pa(r->next));
    }
    /* Every other register's bit must not fire, nor the other direction's. */
    l2_reset(mode);
    l2.vmcb->dr_read = l2.vmcb->dr_write = l2.vmcb->cr_read = l2.vmcb->cr_write = 0;
    *vector_of(r) = (uint16_t)~(1u << r->number);
    l2.vmcb->rip = pa(r->at);
    l2.vmcb->rax = r->number == 3 ? l2.vmcb->cr3 : r->number == 4 ? l2.vmcb->cr4 : l2.vmcb->cr0;
    l2.vmcb->rax = r->debug || r->number == 8 || r->number == 2 ? 0 : l2.vmcb->rax;
    t_eq(r->name, "others", l2_run(), EXIT_VMMCALL);
}

SNIPPET(g_div, "xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax", "div %ecx");
SNIPPET(g_bp, "", "int3");
SNIPPET(g_ud, "", "ud2");
SNIPPET(g_nm, "", "fwait");
SNIPPET(g_np, "mov $0x78, %eax", "mov %eax, %ds");
SNIPPET(g_ss, "mov $1, %rbp; ror $1, %rbp", "mov (%rbp), %rax");
SNIPPET(g_gp, "mov $1, %rax; ror $1, %rax", "mov (%rax), %rax");
SNIPPET(g_gp_sel, "mov $0x3f8, %eax", "mov %eax, %ds");
SNIPPET(g_pf_read, "", "mov l2_page(%rip), %rax");
SNIPPET(g_pf_write, "", "mov %rax, l2_page(%rip)");
SNIPPET(g_mf, "fninit; push $0x33b; fldcw (%rsp); fld1; fldz; fdivrp", "fwait");
SNIPPET(g_ac, "", "mov l2_page+1(%rip), %eax");
SNIPPET(g_tf, "pushfq; orl $0x100, (%rsp); popfq", "nop");

struct exception {
    const char *name;
    uint8_t vector;
    const uint8_t *code, *at;
    bool has_error;
    uint32_t error;
};

#define G(g) g, g##_at
static const struct exception exceptions[] = {
    {"de", VEC_DE, G(g_div), false, 0},
    {"bp", VEC_BP, G(g_bp), false, 0},
    {"ud", VEC_UD, G(g_ud), false, 0},
    {"nm", VEC_NM, G(g_nm), false, 0},
    {"np", VEC_NP, G(g_np), true, SEL_ABSENT},
    {"ss", VEC_SS, G(g_ss), true, 0},
    {"gp", VEC_GP, G(g_gp), true, 0},
    {"gp-selector", VEC_GP, G(g_gp_sel), true, 0x3f8},
    {"mf", VEC_MF, G(g_mf), false, 0},
    {"ac", VEC_AC, G(g_ac), true, 0},
    {"pf-read", VEC_PF, G(g_pf_read), true, 0},
    {"pf-write", VEC_PF, G(g_pf_write), true, 2},
};

static void bend(const struct exception *e)
{
    if (e->vector == VEC_NM) {
        l2.vmcb->cr0 |= CR0_TS | CR0_MP;
    }
    if (e->vector == VEC_AC) {
        l2_user();
        l2.vmcb->cr0 |= 1ull << 18;
        l2.vmcb->rflags |= 1ull << 18;
    }
    if (e->vector == VEC_PF) {
        *pt_entry(l2.cr3, pa(l2_page), 1) = 0;
        l2.vmcb->cr2 = 0x5555;
    }
}

static void exception_row(enum l2_mode mode, const struct exception *e)
{
    if (t_skip(e->name)) {
        return;
    }
    l2_reset(mode);
    bend(e);
    l2.vmcb->exceptions = 1u << e->vector;
    t_eq(e->name, "code", l2_run_at(e->code), EXIT_EXC(e->vector));
    t_eq(e->name, "rip", l2.vmcb->rip, pa(e->at));
    t_eq(e->name, "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    if (e->has_error) {
        t_eq(e->name, "error", l2.vmcb->info1, e->error);
    }
    if (e->vector == VEC_PF) {
        t_eq(e->name, "address", l2.vmcb->info2, pa(l2_page));
        t_eq(e->name, "cr2-kept", l2.vmcb->cr2, 0x5555);
    }
}

/* Not intercepted, the same exceptions arrive in L2's own handler with the same particulars. */
static void l2_own_handler(void)
{
    trap.vector = ~0ull;
    l2.g.rbx = (uint64_t)try_call((void (*)(uint64_t, uint64_t))l2.g.r15, 0, 0);
    l2.g.rcx = trap.error;
    l2.g.rdx = trap.cr2;
    __asm__ volatile("vmmcall");
}

static void exception_delivered(enum l2_mode mode, const struct exception *e)
{
    l2_reset(mode);
    bend(e);
    l2.vmcb->exceptions = 0;
    l2.g.r15 = pa(e->code);
    t_eq(e->name, "delivered", l2_run_at((const void *)l2_own_handler), EXIT_VMMCALL);
    t_eq(e->name, "vector", trap.vector, e->vector);
    t_eq(e->name, "vector-rip", trap.rip, pa(e->at) + (e->vector == VEC_BP));
    if (e->has_error) {
        t_eq(e->name, "pushed-error", trap.error, e->error);
    }
    if (e->vector == VEC_PF) {
        t_eq(e->name, "cr2-set", l2.vmcb->cr2, pa(l2_page));
    }
}

static void single_step(enum l2_mode mode)
{
    l2_reset(mode);
    l2.vmcb->exceptions = 1u << VEC_DB;
    t_eq("db-step", "code", l2_run_at(g_tf), EXIT_EXC(VEC_DB));
    t_eq("db-step", "rip", l2.vmcb->rip, pa(g_tf_next));
}

SNIPPET(g_watched, "", "movl $1, l2_page(%rip)");

/* DR7 is L2's own while it runs, DR0-DR3 are shared: L1's breakpoints must not hit L2. */
static void breakpoints(enum l2_mode mode)
{
    if (t_skip("watch")) {
        return;
    }
    l2_reset(mode);
    rt_write_dr0(pa(l2_page));
    rt_write_dr7(0xd0401); /* break on writes of 4 bytes at DR0 */
    t_eq("watch", "of-l1", l2_run_at(g_watched), EXIT_VMMCALL);
    rt_write_dr7(0x400);
    l2_reset(mode);
    l2.vmcb->dr7 = 0xd0401;
    t_eq("watch", "of-l2-code", l2_run_at(g_watched), EXIT_EXC(VEC_DB));
    t_eq("watch", "of-l2-rip", l2.vmcb->rip, pa(g_watched_next));
    t_eq("watch", "of-l2-dr6", l2.vmcb->dr6 & 0xf, 1);
    rt_write_dr0(0);
    rt_write_dr7(0x400);
    rt_write_dr6(0xffff0ff0);
}

void test_registers(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("register", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            register_row(modes[m], &rows[i]);
        }
        t_group("exception", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
            exception_row(modes[m], &exceptions[i]);
            if (exceptions[i].vector != VEC_AC) {
                exception_delivered(modes[m], &exceptions[i]);
            }
        }
        single_step(modes[m]);
        breakpoints(modes[m]);
    }
}
