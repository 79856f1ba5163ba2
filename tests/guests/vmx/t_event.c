/* SPDX-License-Identifier: MIT */
/*
 * Events: exceptions of L2 that the bitmap selects, events that L1 injects, and what an exit during
 * the delivery of an event tells. [SDM 3C "Exceptions"], [SDM 3C "Event Injection"],
 * [SDM 3C "Information for VM Exits During Event Delivery"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(e_ud, "", "ud2", "");
SNIPPET(e_de, "xorl %ecx, %ecx\nmovl $1, %eax\nxorl %edx, %edx", "divl %ecx", "");
SNIPPET(e_bp, "", "int3", "");
SNIPPET(e_db, "", ".byte 0xf1", "");
SNIPPET(e_gp, "movl $0x100000, %eax", "movw %ax, %ds", "");
SNIPPET(e_gp0, "movabsq $0x8000000000000000, %rax", "movq (%rax), %rbx", "");
SNIPPET(e_ss0, "movabsq $0x8000000000000000, %rbp", "movq (%rbp), %rbx", "");
SNIPPET(e_np, "movl $0x60, %eax", "movw %ax, %fs", "");
SNIPPET(e_pf_read, "movl $0x7000, %eax\nshlq $24, %rax", "movq 0x18(%rax), %rbx", "");
SNIPPET(e_pf_write, "movl $0x7000, %eax\nshlq $24, %rax", "movq %rbx, 0x20(%rax)", "");
SNIPPET(e_pf_fetch, "movl $0x7000, %eax\nshlq $24, %rax\npushq $0x202", "jmpq *%rax", "");
SNIPPET(e_nm, "movq %cr0, %rax\norq $8, %rax\nmovq %rax, %cr0", "fninit", "");
SNIPPET(e_tf, "pushq $0x102\npopfq", "nop", "");
SNIPPET(e_dr, "movl $0x40000010, %eax\nmovq %rax, %dr0", "movb $1, 0x40000010", "");
SNIPPET(e_int50, "", "int $0x50", "");
SNIPPET(e_nop, "", "nop", "");

static void run_with_bitmap(const char *code, uint32_t bitmap, enum l2_mode mode)
{
    l2_reset(mode);
    l2_gdt[0x60 / 8] = 0x00cf13000000ffffull; /* present bit clear */
    vmwrite(F_EXCEPTION_BITMAP, bitmap);
    (void)l2_go(code);
}

struct row {
    const char *name, *code, *insn;
    uint32_t info;
    uint64_t error, qualification, length;
};

#define HARD(v) (INTR_VALID | INTR_TYPE(T_HARD) | (v))
#define HARD_E(v) (HARD(v) | INTR_ERROR)
#define FAR_PAGE 0x7000000000ull

static const struct row rows[] = {
    {"de", s_e_de, i_e_de, HARD(0), ANY, 0, ANY},
    {"db_int1", s_e_db, i_e_db, INTR_VALID | INTR_TYPE(T_PRIV_SOFT) | 1, ANY, 0, 1},
    {"bp", s_e_bp, i_e_bp, INTR_VALID | INTR_TYPE(T_SOFT_EXC) | 3, ANY, 0, 1},
    {"ud", s_e_ud, i_e_ud, HARD(6), ANY, 0, ANY},
    {"nm", s_e_nm, i_e_nm, HARD(7), ANY, 0, ANY},
    {"np", s_e_np, i_e_np, HARD_E(11), 0x60, 0, ANY},
    {"ss", s_e_ss0, i_e_ss0, HARD_E(12), 0, 0, ANY},
    {"gp", s_e_gp0, i_e_gp0, HARD_E(13), 0, 0, ANY},
    {"pf_read", s_e_pf_read, i_e_pf_read, HARD_E(14), 0, FAR_PAGE + 0x18, ANY},
    {"pf_write", s_e_pf_write, i_e_pf_write, HARD_E(14), 2, FAR_PAGE + 0x20, ANY},
    {"pf_fetch", s_e_pf_fetch, (const char *)FAR_PAGE, HARD_E(14), 0x10, FAR_PAGE, ANY},
};

static void exceptions(enum l2_mode mode)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        uint32_t vector = r->info & 0xff;
        uint64_t cr2 = rt_read_cr2();

        run_with_bitmap(r->code, 1u << vector, mode);
        (void)expect_exit(r->name, &(struct expect){R_EXCEPTION, r->qualification, r->length,
                                                    (uint64_t)r->insn});
        check_eq(vmread(F_INTR), r->info, "%s.information", r->name);
        if ((r->info & INTR_ERROR) != 0)
            check_eq(vmread(F_INTR_ERROR), r->error, "%s.error", r->name);
        check_eq(vmread(F_IDTV) & INTR_VALID, 0, "%s.no_vectoring", r->name);
        /* The exit comes instead of the delivery, so CR2 is not written. */
        check_eq(rt_read_cr2(), cr2, "%s.cr2_unchanged", r->name);
        run_with_bitmap(r->code, ~(1u << vector) & ~(1u << 14), mode);
        if (vector != 14)
            check_eq((uint64_t)l2_handler_vector(), vector, "%s.not_selected", r->name);
    }
}

/* #DB: what the exit qualification holds, and RFLAGS.TF against DR7. */
static void debug_exceptions(enum l2_mode mode)
{
    run_with_bitmap(s_e_tf, 1u << 1, mode);
    (void)expect_exit("db_single_step",
                      &(struct expect){R_EXCEPTION, 0x4000, ANY, (uint64_t)e_e_tf});
    check_eq(vmread(F_INTR), HARD(1), "db_single_step.information");
    l2_reset(mode);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 1);
    vmwrite(F_G_DR7, 0x400 | 0x10000 | 2);
    (void)l2_go(s_e_dr);
    (void)expect_exit("db_data_breakpoint",
                      &(struct expect){R_EXCEPTION, 1, ANY, (uint64_t)e_e_dr});
    check_eq(vmread(F_INTR), HARD(1), "db_data_breakpoint.information");
    rt_write_dr0(0);
    rt_write_dr6(0xffff0ff0);
}

/* [SDM 3C "Exceptions"]: a page fault exits if (error & mask) == match equals the bitmap's bit. */
static void page_fault_filter(enum l2_mode mode)
{
    static const struct {
        const char *name;
        uint32_t mask, match;
        bool read_selected, write_selected;
    } f[] = {
        {"none", 0, 0, true, true},
        {"never_match", 0, 1, false, false},
        {"writes", 2, 2, false, true},
        {"reads", 2, 0, true, false},
        {"present", 1, 1, false, false},
        {"all_bits", 0xffffffff, 2, false, true},
    };

    for (unsigned i = 0; i < sizeof(f) / sizeof(f[0]); i++) {
        for (unsigned bit = 0; bit < 2; bit++) {
            for (unsigned w = 0; w < 2; w++) {
                bool selected = w ? f[i].write_selected : f[i].read_selected;
                bool exits = bit ? selected : !selected;

                l2_reset(mode);
                vmwrite(F_EXCEPTION_BITMAP, bit << 14);
                vmwrite(F_PF_MASK, f[i].mask);
                vmwrite(F_PF_MATCH, f[i].match);
                (void)l2_go(w ? s_e_pf_write : s_e_pf_read);
                check(exits ? l2.reason == R_EXCEPTION : l2_handler_vector() == 14,
                      "pf_filter.%s.%s.%s", f[i].name, bit ? "bit_set" : "bit_clear",
                      w ? "write" : "read");
            }
        }
    }
}

struct injection {
    const char *name;
    uint32_t info, error, length;
    unsigned vector;
};

#define INJ(type, v) (INTR_VALID | INTR_TYPE(type) | (v))
static const struct injection injections[] = {
    {"extint_40", INJ(T_EXTINT, 0x40), 0, 0, 0x40},
    {"extint_ff", INJ(T_EXTINT, 0xff), 0, 0, 0xff},
    {"extint_20", INJ(T_EXTINT, 0x20), 0, 0, 0x20},
    {"nmi", INJ(T_NMI, 2), 0, 0, 2},
    {"de", INJ(T_HARD, 0), 0, 0, 0},
    {"db", INJ(T_HARD, 1), 0, 0, 1},
    {"ud", INJ(T_HARD, 6), 0, 0, 6},
    {"df", INJ(T_HARD, 8) | INTR_ERROR, 0, 0, 8},
    {"ts", INJ(T_HARD, 10) | INTR_ERROR, 0x28, 0, 10},
    {"np", INJ(T_HARD, 11) | INTR_ERROR, 0xfff8, 0, 11},
    {"ss", INJ(T_HARD, 12) | INTR_ERROR, 0, 0, 12},
    {"gp", INJ(T_HARD, 13) | INTR_ERROR, 0x1234, 0, 13},
    {"pf", INJ(T_HARD, 14) | INTR_ERROR, 7, 0, 14},
    {"mf", INJ(T_HARD, 16), 0, 0, 16},
    {"ac", INJ(T_HARD, 17) | INTR_ERROR, 0, 0, 17},
    {"mc", INJ(T_HARD, 18), 0, 0, 18},
    {"int_50", INJ(T_SOFTINT, 0x50), 0, 2, 0x50},
    {"int_ff", INJ(T_SOFTINT, 0xff), 0, 2, 0xff},
    {"int1", INJ(T_PRIV_SOFT, 1), 0, 1, 1},
    {"int3", INJ(T_SOFT_EXC, 3), 0, 1, 3},
};

/* Frame that L2's handler finds: RIP moves past the instruction for the software types only. */
static void inject_one(const struct injection *j, enum l2_mode mode)
{
    const uint64_t *frame;
    uint64_t rflags = 0x202, cr2 = rt_read_cr2();

    l2_reset(mode);
    l2_start(s_e_nop);
    vmwrite(F_G_RFLAGS, rflags);
    vmwrite(F_ENTRY_INTR, j->info);
    vmwrite(F_ENTRY_INTR_ERROR, j->error);
    vmwrite(F_ENTRY_INSN_LEN, j->length);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), j->vector, "inject.%s", j->name);
    if (l2_handler_vector() != (int)j->vector)
        return;
    frame = l2_frame();
    if ((j->info & INTR_ERROR) != 0)
        check_eq(*frame++, j->error, "inject.%s.error", j->name);
    check(frame[0] == (uint64_t)s_e_nop + j->length && frame[1] == RT_SEL_CS64 &&
              frame[2] == rflags && frame[3] == l2_stack_top() && frame[4] == RT_SEL_DS,
          "inject.%s.frame", j->name);
    check_eq(vmread(F_ENTRY_INTR) & INTR_VALID, 0, "inject.%s.valid_cleared", j->name);
    check_eq(vmread(F_IDTV) & INTR_VALID, 0, "inject.%s.no_vectoring", j->name);
    check_eq(rt_read_cr2(), cr2, "inject.%s.cr2_unchanged", j->name);
    check_eq(vmread(F_G_RFLAGS) & 0x300, 0, "inject.%s.if_cleared", j->name);
}

static void injections_all(enum l2_mode mode)
{
    for (unsigned i = 0; i < sizeof(injections) / sizeof(injections[0]); i++)
        inject_one(&injections[i], mode);
    /* Injection does not look at the exception bitmap or at external-interrupt exiting. */
    l2_reset(mode);
    ctl_set(F_PIN, PIN_EXTINT | PIN_NMI);
    vmwrite(F_EXCEPTION_BITMAP, ~0u);
    l2_start(s_e_nop);
    vmwrite(F_ENTRY_INTR, INJ(T_HARD, 6));
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 6, "inject.ignores_bitmap");
    /* An event wakes L2 from HLT. */
    l2_reset(mode);
    l2_start(s_e_nop);
    vmwrite(F_G_RFLAGS, 0x202);
    vmwrite(F_G_ACTIVITY, ACTIVITY_HLT);
    vmwrite(F_ENTRY_INTR, INJ(T_EXTINT, 0x61));
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 0x61, "inject.wakes_from_hlt");
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_ACTIVE, "inject.wakes_from_hlt.activity");
}

/* L2's IDT is out of reach while an event is delivered. */
static void hide_idt(void)
{
    memcpy(l2_data[2], l2_idt, 4096);
    vmwrite(F_G_IDTR_BASE, L2_DATA + 2 * 4096);
    if (l2.mode == L2_PLAIN)
        l2_paging.data_pt[2] = 0;
    else
        l2_ept.data_pt[2] = 0;
}

/* With EPT the delivery ends in an EPT violation, without in a page fault that L1 takes. */
static void vectoring(enum l2_mode mode)
{
    static const struct {
        const char *name;
        const char *code;
        uint32_t inject, error, length;
        uint32_t idtv;
    } v[] = {
        {"int", s_e_int50, 0, 0, 2, INJ(T_SOFTINT, 0x50)},
        {"exception", s_e_ud, 0, 0, 0, INJ(T_HARD, 6)},
        {"exception_with_error", s_e_gp0, 0, 0, 0, INJ(T_HARD, 13) | INTR_ERROR},
        {"int3", s_e_bp, 0, 0, 1, INJ(T_SOFT_EXC, 3)},
        {"int1", s_e_db, 0, 0, 1, INJ(T_PRIV_SOFT, 1)},
        {"injected_extint", s_e_nop, INJ(T_EXTINT, 0x77), 0, 0, INJ(T_EXTINT, 0x77)},
        {"injected_nmi", s_e_nop, INJ(T_NMI, 2), 0, 0, INJ(T_NMI, 2)},
        {"injected_exception", s_e_nop, INJ(T_HARD, 17) | INTR_ERROR, 0, 0,
         INJ(T_HARD, 17) | INTR_ERROR},
        {"injected_int", s_e_nop, INJ(T_SOFTINT, 0x80), 0, 2, INJ(T_SOFTINT, 0x80)},
    };

    for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        uint64_t gate = L2_DATA + 0x2000 + (v[i].idtv & 0xff) * 16;
        bool software = v[i].length != 0;

        l2_reset(mode);
        hide_idt();
        vmwrite(F_EXCEPTION_BITMAP, 1u << 14);
        l2_start(v[i].code);
        vmwrite(F_G_RFLAGS, 0x202);
        vmwrite(F_ENTRY_INTR, v[i].inject);
        vmwrite(F_ENTRY_INTR_ERROR, v[i].error);
        vmwrite(F_ENTRY_INSN_LEN, v[i].length);
        (void)l2_run();
        check_eq(l2.reason, mode == L2_PLAIN ? R_EXCEPTION : R_EPT_VIOLATION, "vectoring.%s",
                 v[i].name);
        check_eq(vmread(F_IDTV) & ~(uint64_t)INTR_NMI_UNBLOCKED, v[i].idtv,
                 "vectoring.%s.information", v[i].name);
        if ((v[i].idtv & INTR_ERROR) != 0)
            check_eq(vmread(F_IDTV_ERROR), 0, "vectoring.%s.error", v[i].name);
        if (software)
            check_eq(vmread(F_INSN_LEN), v[i].length, "vectoring.%s.length", v[i].name);
        if (mode == L2_PLAIN) {
            check_eq(vmread(F_QUALIFICATION) & ~15ull, gate & ~15ull, "vectoring.%s.address",
                     v[i].name);
            check_eq(vmread(F_INTR), HARD_E(14), "vectoring.%s.page_fault", v[i].name);
        } else {
            check_eq(vmread(F_GUEST_PHYS) & ~15ull, gate & ~15ull, "vectoring.%s.address",
                     v[i].name);
        }
        check_eq(vmread(F_ENTRY_INTR) & INTR_VALID, 0, "vectoring.%s.entry_valid_cleared",
                 v[i].name);
    }
}

/* The fault of a fault: double fault, and a triple fault when that cannot be delivered either. */
static void double_and_triple(enum l2_mode mode)
{
    l2_reset(mode);
    vmwrite(F_G_IDTR_LIMIT, 13 * 16 - 1);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 8);
    (void)l2_go(s_e_gp0);
    (void)expect_exit("double_fault", &(struct expect){R_EXCEPTION, 0, ANY, (uint64_t)i_e_gp0});
    check_eq(vmread(F_INTR), HARD_E(8), "double_fault.information");
    check_eq(vmread(F_INTR_ERROR), 0, "double_fault.error");
    l2_reset(mode);
    vmwrite(F_G_IDTR_LIMIT, 0);
    (void)l2_go(s_e_ud);
    (void)expect_exit("triple_fault", &(struct expect){R_TRIPLE_FAULT, 0, ANY, (uint64_t)i_e_ud});
    check_eq(vmread(F_INTR) & INTR_VALID, 0, "triple_fault.no_information");
    l2_reset(mode);
    vmwrite(F_G_IDTR_LIMIT, 0);
    l2_start(s_e_nop);
    vmwrite(F_ENTRY_INTR, INJ(T_HARD, 6));
    (void)l2_run();
    (void)expect_reason("triple_fault_injected", R_TRIPLE_FAULT);
}

void test_events(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("event.%s", l2_mode_name(modes[m]));
        exceptions(modes[m]);
        debug_exceptions(modes[m]);
        page_fault_filter(modes[m]);
        injections_all(modes[m]);
        vectoring(modes[m]);
        double_and_triple(modes[m]);
    }
}
