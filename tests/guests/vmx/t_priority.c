/* SPDX-License-Identifier: MIT */
/*
 * Which comes first, an exit or a fault: privilege and invalid-opcode faults come before exits by
 * instruction, page faults of the operand after. L2 also runs at CPL 3 here.
 * [SDM 3C "Relative Priority of Faults and VM Exits"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(u_cpuid, "", "cpuid", "");
SNIPPET(u_hlt, "", "hlt", "");
SNIPPET(u_rdtsc, "", "rdtsc", "");
SNIPPET(u_rdmsr, "", "rdmsr", "");
SNIPPET(u_in, "movl $0x80, %edx", "inb %dx, %al", "");
SNIPPET(u_cr3, "", "movq %cr3, %rax", "");
SNIPPET(u_vmcall, "", "vmcall", "");
SNIPPET(u_vmxoff, "", "vmxoff", "");
SNIPPET(u_vmread, "", "vmread %rax, %rbx", "");
SNIPPET(u_invlpg, "movl $0x40000000, %eax", "invlpg (%rax)", "");
SNIPPET(u_invd, "", "invd", "");
SNIPPET(u_wbinvd, "", "wbinvd", "");
SNIPPET(u_pause, "", "pause", "");
SNIPPET(u_lgdt, "movl $0x40000000, %eax", "lgdt (%rax)", "");
SNIPPET(u_sgdt, "movl $0x40000000, %eax", "sgdt (%rax)", "");
SNIPPET(u_clts, "", "clts", "");
SNIPPET(u_rdrand, "", "rdrand %eax", "");
SNIPPET(u_lock, "", ".byte 0xf0, 0x0f, 0xa2", "");
SNIPPET(k_vmptrld_far, "movl $0x7000, %eax\nshlq $24, %rax", "vmptrld (%rax)", "");
SNIPPET(k_lgdt_far, "movl $0x7000, %eax\nshlq $24, %rax", "lgdt (%rax)", "");

#define EXITS(reason) (0x100u | (reason))

static const struct row {
    const char *name, *code;
    uint32_t expect; /* EXITS(reason), or the vector that L2's handler gets */
} user[] = {
    {"cpuid", s_u_cpuid, EXITS(R_CPUID)},
    {"hlt", s_u_hlt, 13},
    {"rdtsc", s_u_rdtsc, EXITS(R_RDTSC)},
    {"rdmsr", s_u_rdmsr, 13},
    {"in_without_iopl", s_u_in, 13},
    {"mov_cr3", s_u_cr3, 13},
    {"vmcall", s_u_vmcall, EXITS(R_VMCALL)},
    {"vmxoff", s_u_vmxoff, EXITS(R_VMXOFF)},
    {"vmread", s_u_vmread, EXITS(R_VMREAD)},
    {"invlpg", s_u_invlpg, 13},
    {"invd", s_u_invd, 13},
    {"wbinvd", s_u_wbinvd, 13},
    {"pause", s_u_pause, EXITS(R_PAUSE)},
    {"lgdt", s_u_lgdt, 13},
    {"sgdt", s_u_sgdt, EXITS(R_GDTR_IDTR)},
    {"clts", s_u_clts, 13},
    {"rdrand", s_u_rdrand, EXITS(R_RDRAND)},
    {"lock_cpuid", s_u_lock, 6},
};

/* Every control that lets the instructions above exit. */
static void intercept_all(void)
{
    ctl_set(F_PROC, PROC_HLT | PROC_INVLPG | PROC_RDTSC | PROC_RDPMC | PROC_CR3_LOAD |
                        PROC_CR3_STORE | PROC_MOV_DR | PROC_IO | PROC_PAUSE);
    ctl_clear(F_PROC, PROC_MSR_BITMAPS);
    ctl_set(F_PROC2, PROC2_DESC_TABLE | PROC2_WBINVD);
    if (ctl_can(F_PROC2, PROC2_RDRAND))
        ctl_set(F_PROC2, PROC2_RDRAND);
    vmwrite(F_CR0_MASK, CR0_TS);
    vmwrite(F_CR0_SHADOW, CR0_TS);
}

static void enter_user(const char *code)
{
    l2_start(code);
    vmwrite(F_G_CS_SEL, RT_SEL_USER_CS64);
    vmwrite(F_G_CS_AR, 0xa0fb);
    vmwrite(F_G_SS_SEL, RT_SEL_USER_DS);
    vmwrite(F_G_SS_AR, 0xc0f3);
}

static void check_row(const struct row *r, const char *prefix)
{
    if ((r->expect & 0x100) != 0)
        check_eq(l2.reason, r->expect & 0xff, "%s.%s", prefix, r->name);
    else
        check_eq((uint64_t)l2_handler_vector(), r->expect, "%s.%s", prefix, r->name);
}

static void at_user_level(enum l2_mode mode)
{
    for (unsigned i = 0; i < sizeof(user) / sizeof(user[0]); i++) {
        if (user[i].expect == EXITS(R_RDRAND) && !ctl_can(F_PROC2, PROC2_RDRAND))
            continue;
        l2_reset(mode);
        intercept_all();
        enter_user(user[i].code);
        (void)l2_run();
        check_row(&user[i], "user");
    }
    l2_reset(mode);
    intercept_all();
    enter_user(s_u_in);
    vmwrite(F_G_RFLAGS, 0x3002);
    (void)l2_run();
    check_eq(l2.reason, R_IO, "user.in_with_iopl");
    l2_reset(mode);
    intercept_all();
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_TSD);
    enter_user(s_u_rdtsc);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 13, "user.rdtsc_with_tsd");
    /* The saved state shows the privilege level L2 had. */
    l2_reset(mode);
    enter_user(s_u_cpuid);
    (void)l2_run();
    check(vmread(F_G_CS_SEL) == RT_SEL_USER_CS64 && (vmread(F_G_SS_AR) & 0x60) == 0x60,
          "user.state_saved");
    check_eq(vmread(F_G_RIP), (uint64_t)i_u_cpuid, "user.rip_saved");
}

static void at_kernel_level(enum l2_mode mode)
{
    static const struct row kernel[] = {
        {"vmptrld_unmapped_operand", s_k_vmptrld_far, EXITS(R_VMPTRLD)},
        {"lgdt_unmapped_operand", s_k_lgdt_far, EXITS(R_GDTR_IDTR)},
    };

    for (unsigned i = 0; i < sizeof(kernel) / sizeof(kernel[0]); i++) {
        l2_reset(mode);
        intercept_all();
        (void)l2_go(kernel[i].code);
        check_row(&kernel[i], "kernel");
    }
}

void test_priority(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("priority.%s", l2_mode_name(modes[m]));
        at_user_level(modes[m]);
        at_kernel_level(modes[m]);
    }
}
