/* SPDX-License-Identifier: MIT */
/*
 * Events that L1 injects, and events caught in the middle of their delivery: [APM 2 "Event
 * Injection"], [APM 2 "EXITINTINFO Pseudo-Code"]. Delivery is interrupted by taking away the page
 * of L2's IDT, in its own tables (#PF exit) or in the nested ones (NPF exit).
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define VEC_FREE 0x72

SNIPPET(g_e_nop, "", "nop");
SNIPPET(g_e_ud, "", "ud2");
SNIPPET(g_e_int, "", "int $0x72");
SNIPPET(g_e_bp, "", "int3");
SNIPPET(g_e_gp, "mov $0x3f8, %eax", "mov %eax, %ds");

/* L2's own IDT, alone in its page, so that mapping it away touches nothing else. */
static _Alignas(4096) uint8_t l2_idt[4096];

struct row {
    const char *name;
    uint64_t event;
    uint8_t vector;
    bool has_error;
    uint32_t error;
};

static const struct row rows[] = {
    {"interrupt", EVT_INTR | VEC_FREE, VEC_FREE, false, 0},
    {"interrupt-low-vector", EVT_INTR | 0x20, 0x20, false, 0},
    {"interrupt-255", EVT_INTR | 0xff, 0xff, false, 0},
    {"nmi", EVT_NMI | 2, VEC_NMI, false, 0},
    {"nmi-any-vector", EVT_NMI | 0x33, VEC_NMI, false, 0},
    {"software", EVT_SOFT | VEC_FREE, VEC_FREE, false, 0},
    {"de", EVT_EXC | VEC_DE, VEC_DE, false, 0},
    {"db", EVT_EXC | VEC_DB, VEC_DB, false, 0},
    {"ud", EVT_EXC | VEC_UD, VEC_UD, false, 0},
    {"nm", EVT_EXC | VEC_NM, VEC_NM, false, 0},
    {"df", EVT_EXC | EVT_EV | VEC_DF | EVT_ERR(0), VEC_DF, true, 0},
    {"ts", EVT_EXC | EVT_EV | VEC_TS | EVT_ERR(0x28), VEC_TS, true, 0x28},
    {"np", EVT_EXC | EVT_EV | VEC_NP | EVT_ERR(0x78), VEC_NP, true, 0x78},
    {"ss", EVT_EXC | EVT_EV | VEC_SS | EVT_ERR(0x10), VEC_SS, true, 0x10},
    {"gp", EVT_EXC | EVT_EV | VEC_GP | EVT_ERR(0x1238), VEC_GP, true, 0x1238},
    {"gp-0", EVT_EXC | EVT_EV | VEC_GP, VEC_GP, true, 0},
    {"pf", EVT_EXC | EVT_EV | VEC_PF | EVT_ERR(7), VEC_PF, true, 7},
    {"ac", EVT_EXC | EVT_EV | VEC_AC | EVT_ERR(0), VEC_AC, true, 0},
};

/*
 * L2's handler returns, to the VMMCALL. The exception intercepts stay on: an injected event is not
 * intercepted, nor is the interrupt held by IF 0.
 */
static void delivered(enum l2_mode mode, const struct row *r)
{
    uint32_t before;

    if (t_skip(r->name)) {
        return;
    }
    l2_reset(mode);
    before = trap.count[r->vector];
    trap.vector = ~0ull;
    trap.resume = true;
    trap.skip = 0;
    l2.vmcb->cr2 = 0xabc000;
    l2.vmcb->nrip = pa(g_e_nop);
    l2.vmcb->event_inj = EVT_VALID | r->event;
    l2_intercept(ICPT_INTR, true);
    l2_intercept(ICPT_NMI, true);
    l2_intercept(ICPT_INTN, true);
    t_eq(r->name, "code", l2_run_at(g_e_nop), EXIT_VMMCALL);
    t_eq(r->name, "count", trap.count[r->vector] - before, 1);
    t_eq(r->name, "vector", trap.vector, r->vector);
    t_eq(r->name, "rip", trap.rip, pa(g_e_nop));
    if (r->has_error) {
        t_eq(r->name, "error", trap.error, r->error);
    }
    if (r->vector == VEC_PF) {
        t_eq(r->name, "cr2", trap.cr2, 0xabc000);
    }
    t_eq(r->name, "consumed", l2.vmcb->event_inj & EVT_VALID, 0);
    t_eq(r->name, "no-exit-event", l2.vmcb->exit_int & EVT_VALID, 0);
    t_eq(r->name, "not-again", l2_run_at(g_e_nop), EXIT_VMMCALL);
    t_eq(r->name, "count-again", trap.count[r->vector] - before, 1);
}

static void use_own_idt(void)
{
    memcpy(l2_idt, idt_storage, IDT_LIMIT + 1);
    l2.vmcb->idtr.base = pa(l2_idt);
}

/* The event as EXITINTINFO has it, without the error code where there is none. */
static uint64_t event_of(uint64_t info)
{
    uint64_t v = info & 0xfff;

    return (info & EVT_VALID) | v | ((v & EVT_EV) != 0 ? info & ~0xffffffffull : 0);
}

struct broken {
    const char *name;
    uint64_t inject;         /* 0: L2 raises it itself */
    const uint8_t *code, *at;
    uint64_t event;          /* what EXITINTINFO must say */
    uint8_t vector;
};

#define G(g) g, g##_at
static const struct broken broken[] = {
    {"injected-interrupt", EVT_INTR | VEC_FREE, G(g_e_nop), EVT_INTR | VEC_FREE, VEC_FREE},
    {"injected-nmi", EVT_NMI | 2, G(g_e_nop), EVT_NMI | 2, VEC_NMI},
    {"injected-ud", EVT_EXC | VEC_UD, G(g_e_nop), EVT_EXC | VEC_UD, VEC_UD},
    {"injected-gp", EVT_EXC | EVT_EV | VEC_GP | EVT_ERR(0x18), G(g_e_nop),
     EVT_EXC | EVT_EV | VEC_GP | EVT_ERR(0x18), VEC_GP},
    {"injected-software", EVT_SOFT | VEC_FREE, G(g_e_nop), EVT_SOFT | VEC_FREE, VEC_FREE},
    {"own-ud", 0, G(g_e_ud), EVT_EXC | VEC_UD, VEC_UD},
    {"own-gp", 0, G(g_e_gp), EVT_EXC | EVT_EV | VEC_GP | EVT_ERR(0x3f8), VEC_GP},
    {"own-int", 0, G(g_e_int), EVT_SOFT | VEC_FREE, VEC_FREE},
};

/* Only the vectors a row does not raise itself are intercepted, else there would be no delivery. */
static void prepare_broken(enum l2_mode mode, const struct broken *b)
{
    l2_reset(mode);
    use_own_idt();
    l2.vmcb->exceptions &= ~(1u << VEC_UD | 1u << VEC_GP);
    l2.vmcb->event_inj = b->inject != 0 ? EVT_VALID | b->inject : 0;
    l2.vmcb->nrip = pa(b->code);
}

/* Then L1 repairs the tables and injects what EXITINTINFO said: nothing is lost. */
static void redeliver(const struct broken *b)
{
    uint32_t before = trap.count[b->vector];
    bool software = (b->event & EVT_TYPE_MASK) == EVT_SOFT;

    trap.resume = true;
    trap.skip = 0;
    l2.vmcb->event_inj = l2.vmcb->exit_int;
    l2.vmcb->tlb_control = 1;
    l2.vmcb->rip = pa(software ? g_e_nop : b->at);
    l2.vmcb->nrip = l2.vmcb->rip;
    if (b->at == g_e_ud_at) {
        trap.skip = 2;
    } else if (b->at == g_e_gp_at) {
        trap.skip = (uint64_t)(g_e_gp_next - g_e_gp_at);
    }
    t_eq(b->name, "redelivered", l2_run(), EXIT_VMMCALL);
    t_eq(b->name, "redelivered-once", trap.count[b->vector] - before, 1);
}

static void through_npf(const struct broken *b)
{
    uint64_t *entry;

    if (t_skip(b->name)) {
        return;
    }
    prepare_broken(L2_NPT, b);
    entry = pt_entry(l2.npt, pa(l2_idt), 1);
    *entry &= ~PT_P;
    t_eq(b->name, "npf", l2_run_at(b->code), EXIT_NPF);
    t_eq(b->name, "npf-page", l2.vmcb->info2 & ~0xfffull, pa(l2_idt));
    t_eq(b->name, "npf-error", l2.vmcb->info1, NPF_U | NPF_FINAL);
    t_eq(b->name, "event", event_of(l2.vmcb->exit_int), EVT_VALID | b->event);
    t_eq(b->name, "rip", l2.vmcb->rip, pa(b->at));
    *entry |= PT_P;
    redeliver(b);
}

static void through_pf(enum l2_mode mode, const struct broken *b)
{
    uint64_t *entry;

    if (t_skip(b->name)) {
        return;
    }
    prepare_broken(mode, b);
    entry = pt_entry(l2.cr3, pa(l2_idt), 1);
    *entry &= ~PT_P;
    t_eq(b->name, "pf", l2_run_at(b->code), EXIT_EXC(VEC_PF));
    t_eq(b->name, "pf-page", l2.vmcb->info2 & ~0xfffull, pa(l2_idt));
    t_eq(b->name, "event", event_of(l2.vmcb->exit_int), EVT_VALID | b->event);
    t_eq(b->name, "rip", l2.vmcb->rip, pa(b->at));
    *entry |= PT_P;
    redeliver(b);
}

/* Too short an IDT: #DF, and with that gone too, shutdown. */
static void double_and_triple(enum l2_mode mode)
{
    l2_reset(mode);
    use_own_idt();
    l2.vmcb->idtr.limit = 0;
    l2.vmcb->exceptions = 1u << VEC_DF;
    t_eq("double-fault", "code", l2_run_at(g_e_ud), EXIT_EXC(VEC_DF));
    t_eq("double-fault", "error", l2.vmcb->info1, 0);
    if (t_skip("triple-fault")) {
        return;
    }
    l2_reset(mode);
    l2.vmcb->idtr.limit = 0;
    l2.vmcb->exceptions = 0;
    t_eq("triple-fault", "code", l2_run_at(g_e_ud), EXIT_SHUTDOWN);
    l2_reset(mode);
    t_eq("triple-fault", "next-run", l2_run_at(g_e_nop), EXIT_VMMCALL);
}

void test_events(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("inject", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            delivered(modes[m], &rows[i]);
        }
        t_group("interrupted-pf", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof broken / sizeof broken[0]; i++) {
            through_pf(modes[m], &broken[i]);
        }
        t_group("fault", l2_mode_name(modes[m]));
        double_and_triple(modes[m]);
    }
    t_group("interrupted-npf", NULL);
    for (unsigned int i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        through_npf(&broken[i]);
    }
}
