/* SPDX-License-Identifier: MIT */
/*
 * Each intercept of the two instruction words, set and clear: [APM 2 "Instruction Intercepts"].
 * Set: the exit code is the bit's, RIP is still at the instruction, nRIP (where the CPU saves it)
 * after it. Clear: the instruction does what it does without virtualization.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define CR0_NE_FLIP "mov %cr0, %rax; btc $5, %rax"

SNIPPET(g_cr0_sel, CR0_NE_FLIP, "mov %rax, %cr0");
SNIPPET(g_cr0_ts, "mov %cr0, %rax; btc $3, %rax", "mov %rax, %cr0");
SNIPPET(g_sidt, "", "sidt l2_page(%rip)");
SNIPPET(g_sgdt, "", "sgdt l2_page(%rip)");
SNIPPET(g_sldt, "", "sldt %eax");
SNIPPET(g_str, "", "str %eax");
SNIPPET(g_lidt, "sidt l2_page(%rip)", "lidt l2_page(%rip)");
SNIPPET(g_lgdt, "sgdt l2_page(%rip)", "lgdt l2_page(%rip)");
SNIPPET(g_lldt, "xor %eax, %eax", "lldt %ax");
SNIPPET(g_ltr, "mov $0x38, %eax", "ltr %ax");
SNIPPET(g_rdtsc, "", "rdtsc");
SNIPPET(g_rdpmc, "xor %ecx, %ecx", "rdpmc");
SNIPPET(g_pushf, "", "pushfq");
SNIPPET(g_popf, "push $2", "popfq");
SNIPPET(g_cpuid, "xor %eax, %eax", "cpuid");
SNIPPET(g_rsm, "", "rsm");
SNIPPET(g_iret, "mov %rsp, %rax; push $0x10; push %rax; push $2; push $8; lea g_iret_next(%rip), "
                "%rax; push %rax", "iretq");
SNIPPET(g_int, "", "int $0x71");
SNIPPET(g_invd, "", "invd");
SNIPPET(g_pause, "", "pause");
SNIPPET(g_hlt, "", "hlt");
SNIPPET(g_invlpg, "", "invlpg l2_page(%rip)");
SNIPPET(g_invlpga, "lea l2_page(%rip), %rax; mov $1, %ecx", "invlpga %rax, %ecx");
SNIPPET(g_vmrun, "lea vmcb_scratch(%rip), %rax", "vmrun %rax");
SNIPPET(g_vmmcall2, "", "vmmcall");
SNIPPET(g_vmload, "lea vmcb_scratch(%rip), %rax", "vmload %rax");
SNIPPET(g_vmsave, "lea vmcb_scratch(%rip), %rax", "vmsave %rax");
SNIPPET(g_stgi, "", "stgi");
SNIPPET(g_clgi, "", "clgi");
SNIPPET(g_skinit, "xor %eax, %eax", "skinit");
SNIPPET(g_rdtscp, "", "rdtscp");
SNIPPET(g_icebp, "", ".byte 0xf1");
SNIPPET(g_wbinvd, "", "wbinvd");
SNIPPET(g_monitor, "lea l2_page(%rip), %rax; xor %ecx, %ecx; xor %edx, %edx", "monitor");
SNIPPET(g_mwait, "xor %eax, %eax; xor %ecx, %ecx", "mwait");
SNIPPET(g_xsetbv, "xor %ecx, %ecx; mov $1, %eax; xor %edx, %edx", "xsetbv");

/* What the instruction does with the bit clear. */
enum clear {
    GOES_ON, /* to the VMMCALL behind it */
    RAISES,  /* the exception named in vector */
    LEFT_OUT /* not safe, or not defined, to run */
};

enum need { NEED_NONE, NEED_RDTSCP, NEED_MONITOR, NEED_XSAVE, NEED_SKINIT };

struct row {
    const char *name;
    unsigned int bit;
    const uint8_t *code, *at, *next;
    enum clear clear;
    uint8_t vector;
    enum need need;
};

#define S(g) g, g##_at, g##_next
static const struct row rows[] = {
    {"cr0-sel-write", ICPT_CR0_SEL, S(g_cr0_sel), GOES_ON, 0, NEED_NONE},
    {"sidt", ICPT_SIDT, S(g_sidt), GOES_ON, 0, NEED_NONE},
    {"sgdt", ICPT_SGDT, S(g_sgdt), GOES_ON, 0, NEED_NONE},
    {"sldt", ICPT_SLDT, S(g_sldt), GOES_ON, 0, NEED_NONE},
    {"str", ICPT_STR, S(g_str), GOES_ON, 0, NEED_NONE},
    {"lidt", ICPT_LIDT, S(g_lidt), GOES_ON, 0, NEED_NONE},
    {"lgdt", ICPT_LGDT, S(g_lgdt), GOES_ON, 0, NEED_NONE},
    {"lldt", ICPT_LLDT, S(g_lldt), GOES_ON, 0, NEED_NONE},
    {"ltr", ICPT_LTR, S(g_ltr), GOES_ON, 0, NEED_NONE},
    {"rdtsc", ICPT_RDTSC, S(g_rdtsc), GOES_ON, 0, NEED_NONE},
    {"rdpmc", ICPT_RDPMC, S(g_rdpmc), LEFT_OUT, 0, NEED_NONE},
    {"pushf", ICPT_PUSHF, S(g_pushf), GOES_ON, 0, NEED_NONE},
    {"popf", ICPT_POPF, S(g_popf), GOES_ON, 0, NEED_NONE},
    {"cpuid", ICPT_CPUID, S(g_cpuid), GOES_ON, 0, NEED_NONE},
    {"rsm", ICPT_RSM, S(g_rsm), RAISES, VEC_UD, NEED_NONE},
    {"iret", ICPT_IRET, S(g_iret), GOES_ON, 0, NEED_NONE},
    {"int-n", ICPT_INTN, S(g_int), GOES_ON, 0, NEED_NONE},
    {"invd", ICPT_INVD, S(g_invd), LEFT_OUT, 0, NEED_NONE},
    {"pause", ICPT_PAUSE, S(g_pause), GOES_ON, 0, NEED_NONE},
    {"hlt", ICPT_HLT, S(g_hlt), LEFT_OUT, 0, NEED_NONE},
    {"invlpg", ICPT_INVLPG, S(g_invlpg), GOES_ON, 0, NEED_NONE},
    {"invlpga", ICPT_INVLPGA, S(g_invlpga), GOES_ON, 0, NEED_NONE},
    {"vmrun", ICPT_VMRUN, S(g_vmrun), LEFT_OUT, 0, NEED_NONE},
    {"vmmcall", ICPT_VMMCALL, S(g_vmmcall2), RAISES, VEC_UD, NEED_NONE},
    {"vmload", ICPT_VMLOAD, S(g_vmload), GOES_ON, 0, NEED_NONE},
    {"vmsave", ICPT_VMSAVE, S(g_vmsave), GOES_ON, 0, NEED_NONE},
    {"stgi", ICPT_STGI, S(g_stgi), GOES_ON, 0, NEED_NONE},
    {"clgi", ICPT_CLGI, S(g_clgi), GOES_ON, 0, NEED_NONE},
    {"skinit", ICPT_SKINIT, S(g_skinit), LEFT_OUT, 0, NEED_SKINIT},
    {"rdtscp", ICPT_RDTSCP, S(g_rdtscp), GOES_ON, 0, NEED_RDTSCP},
    {"icebp", ICPT_ICEBP, S(g_icebp), LEFT_OUT, 0, NEED_NONE},
    {"wbinvd", ICPT_WBINVD, S(g_wbinvd), GOES_ON, 0, NEED_NONE},
    {"monitor", ICPT_MONITOR, S(g_monitor), GOES_ON, 0, NEED_MONITOR},
    {"mwait", ICPT_MWAIT, S(g_mwait), LEFT_OUT, 0, NEED_MONITOR},
    {"xsetbv", ICPT_XSETBV, S(g_xsetbv), GOES_ON, 0, NEED_XSAVE},
};

static bool announced(enum need need)
{
    switch (need) {
    case NEED_NONE: return true;
    case NEED_RDTSCP: return ((rt_cpuid(0x80000001, 0).edx >> 27) & 1) != 0;
    case NEED_MONITOR: return ((rt_cpuid(1, 0).ecx >> 3) & 1) != 0;
    case NEED_XSAVE: return ((rt_cpuid(1, 0).ecx >> 26) & 1) != 0;
    case NEED_SKINIT: return ((rt_cpuid(0x80000001, 0).ecx >> 12) & 1) != 0;
    }
    return false;
}

static void prepare(enum l2_mode mode, const struct row *r)
{
    l2_reset(mode);
    x_vmsave(&vmcb_scratch);
    /* LTR wants an available TSS; the L2 shares L1's GDT. */
    gdt_storage[SEL_TSS + 5] = 0x89;
    if (r->need == NEED_XSAVE) {
        l2.vmcb->cr4 |= 1ull << 18;
    }
}

static void with_bit_set(enum l2_mode mode, const struct row *r)
{
    prepare(mode, r);
    l2.g.rbx = 0x1234;
    l2_intercept(r->bit, true);
    if (l2_run_at(r->code) != EXIT_MISC(r->bit)) {
        t_eq(r->name, "code", l2.vmcb->exit_code, EXIT_MISC(r->bit));
        return;
    }
    t_check(r->name, "code", true);
    t_eq(r->name, "rip", l2.vmcb->rip, pa(r->at));
    if (cpu_has_nrips()) {
        t_eq(r->name, "nrip", l2.vmcb->nrip, pa(r->next));
    }
    t_eq(r->name, "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    t_eq(r->name, "rbx", l2.g.rbx, 0x1234);
    if (r->bit != ICPT_VMRUN && r->bit != ICPT_VMMCALL && r->bit != ICPT_IRET) {
        t_eq(r->name, "skipped", l2_resume((unsigned int)(r->next - r->at)), EXIT_VMMCALL);
    }
}

static void with_bit_clear(enum l2_mode mode, const struct row *r)
{
    uint64_t want = r->clear == RAISES ? EXIT_EXC(r->vector) : EXIT_VMMCALL;

    prepare(mode, r);
    l2_warm();
    l2_intercept(r->bit, false);
    t_eq(r->name, "clear", l2_run_at(r->code), want);
    if (r->clear == GOES_ON) {
        t_eq(r->name, "clear-rip", l2.vmcb->rip, pa(r->next));
    }
}

/* The selective intercept looks at bits other than TS and MP; a full CR0 intercept comes first. */
static void cr0_selective(enum l2_mode mode)
{
    l2_reset(mode);
    l2_intercept(ICPT_CR0_SEL, true);
    t_eq("cr0-sel-write", "ts-only", l2_run_at(g_cr0_ts), EXIT_VMMCALL);
    l2_reset(mode);
    l2_intercept(ICPT_CR0_SEL, true);
    l2.vmcb->cr_write = 1;
    t_eq("cr0-sel-write", "cr0-write-first", l2_run_at(g_cr0_sel), EXIT_CR_WRITE(0));
}

/* CPL and CR4 come before these intercepts: at CPL 3 the exit is the exception's. */
static void privilege_first(enum l2_mode mode)
{
    static const struct {
        const char *name;
        unsigned int bit;
        const uint8_t *at;
    } cases[] = {
        {"rdtsc", ICPT_RDTSC, g_rdtsc_at},   {"rdpmc", ICPT_RDPMC, g_rdpmc_at},
        {"invd", ICPT_INVD, g_invd_at},      {"wbinvd", ICPT_WBINVD, g_wbinvd_at},
        {"hlt", ICPT_HLT, g_hlt_at},         {"invlpg", ICPT_INVLPG, g_invlpg_at},
        {"lgdt", ICPT_LGDT, g_lgdt_at},      {"lidt", ICPT_LIDT, g_lidt_at},
        {"lldt", ICPT_LLDT, g_lldt_at},      {"ltr", ICPT_LTR, g_ltr_at},
        {"cr0-sel", ICPT_CR0_SEL, g_cr0_sel_at},
    };

    for (unsigned int i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        l2_reset(mode);
        l2_user();
        l2.vmcb->cr4 |= CR4_TSD;
        l2_intercept(cases[i].bit, true);
        l2.vmcb->cr_write = 1;
        t_eq("gp-first", cases[i].name, l2_run_at(cases[i].at), EXIT_EXC(VEC_GP));
    }
}

/* ICEBP goes through vector 1 and yet is out of reach of the #DB intercept. */
static void icebp_is_no_db(enum l2_mode mode)
{
    if (t_skip("icebp-no-db")) {
        return;
    }
    l2_reset(mode);
    l2.vmcb->exceptions = 1u << VEC_DB;
    l2_warm();
    t_eq("icebp-no-db", "delivered", l2_run_at(g_icebp), EXIT_VMMCALL);
    t_eq("icebp-no-db", "vector", trap.vector, VEC_DB);
    t_eq("icebp-no-db", "rip", trap.rip, pa(g_icebp_next));
}

void test_intercepts(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("intercept", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (!announced(rows[i].need)) {
                t_absent(rows[i].name);
                continue;
            }
            if (t_skip(rows[i].name)) {
                continue;
            }
            with_bit_set(modes[m], &rows[i]);
            if (rows[i].clear != LEFT_OUT) {
                with_bit_clear(modes[m], &rows[i]);
            }
        }
        cr0_selective(modes[m]);
        icebp_is_no_db(modes[m]);
        privilege_first(modes[m]);
    }
}
