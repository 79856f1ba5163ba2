/* SPDX-License-Identifier: MIT */
/*
 * The task switch intercept and what is told about the switch, and a task switch left to L2.
 * [APM 2 "Task Switch Intercept"]. L2 is a 32-bit protected mode one without paging.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define SNIPPET32(name, setup, insn) SNIPPET(name, ".code32\n" setup, insn "\n.code64")

SNIPPET32(g_task_jmp, "", "ljmpl $0x60, $0");
SNIPPET32(g_task_call, "", "lcall $0x60, $0");
SNIPPET32(g_task_iret, "pushl $0x4002; popfl", "iretl");
/* What the delivery reads and writes is touched before: see l2_warm(). */
#define WARM                                                                                       \
    "orl $0, idt32; orl $0, idt32+0x200; orl $0, gdt_storage; orl $0, tss_a+8; orl $0, tss_b+8;"
SNIPPET32(g_task_int, WARM, "int $0x40");
/*
 * The error code goes to the new task's stack, after the switch: that page is touched before, so
 * that no fault of a level below falls there.
 */
SNIPPET32(g_task_gp, WARM "orl $0, l2_stack_top-68; mov $0x3f8, %eax", "mov %eax, %ds");
SNIPPET32(g_task_target, "mov $0x600d, %ebx", "nop");

#define INFO_IRET (1ull << 36)
#define INFO_JMP (1ull << 38)
#define INFO_ERROR (1ull << 44)

struct tss32 {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt, iomap;
};
_Static_assert(sizeof(struct tss32) == 104, "32-bit TSS");

_Alignas(128) struct tss32 tss_a, tss_b;
_Alignas(16) uint64_t idt32[256];

static uint64_t tss_descriptor(const struct tss32 *t, uint8_t type)
{
    return 103ull | ((pa(t) & 0xffffff) << 16) | ((uint64_t)type << 40) |
           ((pa(t) & 0xff000000) << 32);
}

static void flat_segment(struct vmcb_seg *s, uint16_t selector, uint16_t attrib)
{
    *s = (struct vmcb_seg){selector, attrib, 0xffffffff, 0};
}

static void prepare(enum l2_mode mode)
{
    struct vmcb *v;

    l2_reset(mode);
    v = l2.vmcb;
    v->efer &= ~(EFER_LME | EFER_LMA);
    v->cr0 &= ~CR0_PG;
    v->cr4 &= ~CR4_PAE;
    flat_segment(&v->cs, SEL_CODE32, 0xc9b);
    flat_segment(&v->ds, SEL_DATA, 0xc93);
    v->es = v->ss = v->fs = v->gs = v->ds;
    v->ldtr = (struct vmcb_seg){0, 0, 0, 0};
    v->tr = (struct vmcb_seg){SEL_TSS32_A, 0x8b, 103, pa(&tss_a)};
    memset(&tss_a, 0, sizeof tss_a);
    tss_a.link = SEL_TSS32_B;
    tss_b = (struct tss32){.eip = (uint32_t)pa(g_task_target), .eflags = 2, .cs = SEL_CODE32,
                           .ss = SEL_DATA, .ds = SEL_DATA, .es = SEL_DATA, .fs = SEL_DATA,
                           .gs = SEL_DATA, .esp = (uint32_t)AT(l2_stack_top) - 64,
                           .iomap = 104u << 16, .cr3 = (uint32_t)pa(l2.cr3)};
    *(uint64_t *)(void *)&gdt_storage[SEL_TSS32_A] = tss_descriptor(&tss_a, 0x8b);
    *(uint64_t *)(void *)&gdt_storage[SEL_TSS32_B] = tss_descriptor(&tss_b, 0x89);
    /* Vectors 40h and 13 are task gates to B. */
    idt32[0x40] = idt32[VEC_GP] = ((uint64_t)SEL_TSS32_B << 16) | (0x85ull << 40);
    v->idtr = (struct vmcb_seg){0, 0, sizeof idt32 - 1, pa(idt32)};
}

struct row {
    const char *name;
    const uint8_t *code, *at;
    uint64_t info2, event;
    bool busy_target; /* IRET goes back to a task that is marked busy */
};

#define G(g) g, g##_at
static const struct row rows[] = {
    {"jmp", G(g_task_jmp), INFO_JMP, 0, false},
    {"call", G(g_task_call), 0, 0, false},
    {"iret", G(g_task_iret), INFO_IRET, 0, true},
    {"int", G(g_task_int), 0, EVT_VALID | EVT_SOFT | 0x40, false},
    {"exception", G(g_task_gp), INFO_ERROR | 0x3f8, EVT_VALID | EVT_EXC | EVT_EV | VEC_GP, false},
};

static void start(enum l2_mode mode, const struct row *r)
{
    prepare(mode);
    l2.vmcb->exceptions &= ~(1u << VEC_GP);
    if (r->busy_target) {
        *(uint64_t *)(void *)&gdt_storage[SEL_TSS32_B] = tss_descriptor(&tss_b, 0x8b);
    }
}

static void intercepted(enum l2_mode mode, const struct row *r)
{
    start(mode, r);
    l2_intercept(ICPT_TASK, true);
    t_eq(r->name, "code", l2_run_at(r->code), EXIT_TASK);
    t_eq(r->name, "rip", l2.vmcb->rip, pa(r->at));
    t_eq(r->name, "selector", l2.vmcb->info1 & 0xffff, SEL_TSS32_B);
    t_eq(r->name, "info2", l2.vmcb->info2 & ~(1ull << 48), r->info2);
    t_eq(r->name, "event", l2.vmcb->exit_int & (EVT_VALID | 0xfff), r->event);
    t_eq(r->name, "tr-kept", l2.vmcb->tr.selector, SEL_TSS32_A);
}

static void left_to_l2(enum l2_mode mode, const struct row *r)
{
    start(mode, r);
    t_eq(r->name, "switches", l2_run_at(r->code), EXIT_VMMCALL);
    t_eq(r->name, "target-ran", l2.g.rbx & 0xffff, 0x600d);
    t_eq(r->name, "tr", l2.vmcb->tr.selector, SEL_TSS32_B);
}

/* A back link that is no TSS: #TS with that selector, before any switch. */
static void bad_back_link(enum l2_mode mode)
{
    prepare(mode);
    tss_a.link = SEL_DATA;
    t_eq("bad-link", "code", l2_run_at(g_task_iret), EXIT_EXC(VEC_TS));
    t_eq("bad-link", "error", l2.vmcb->info1, SEL_DATA);
    t_eq("bad-link", "rip", l2.vmcb->rip, pa(g_task_iret_at));
}

void test_task_switch(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            t_group("task-intercept", l2_mode_name(modes[m]));
            if (!t_skip(rows[i].name)) {
                intercepted(modes[m], &rows[i]);
            }
            t_group("task-switch", l2_mode_name(modes[m]));
            left_to_l2(modes[m], &rows[i]);
        }
        bad_back_link(modes[m]);
    }
}
