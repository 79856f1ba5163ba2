/* SPDX-License-Identifier: MIT */
/*
 * Control-register accesses of L2 under guest/host masks, read shadows and CR3-target values, and
 * the bits that VMX operation fixes also for L2. [SDM 3C "Guest/Host Masks and Read Shadows for CR0
 * and CR4"], [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"].
 */
#include "l2.h"
#include "tests.h"

/* RAX holds the value to write; R8 gets what L2 reads afterwards. */
SNIPPET(write_cr0, "", "movq %rax, %cr0", "movq %cr0, %r8");
SNIPPET(write_cr4, "", "movq %rax, %cr4", "movq %cr4, %r8");
SNIPPET(write_cr3, "", "movq %rax, %cr3", "movq %cr3, %r8");
SNIPPET(write_cr4_r15, "movq %rax, %r15", "movq %r15, %cr4", "");
SNIPPET(read_crs, "", "movq %cr0, %r8", "movq %cr4, %r9\nsmsw %r10\nmovq %cr3, %r11");
SNIPPET(clts, "", "clts", "movq %cr0, %r8");
SNIPPET(lmsw_reg, "", "lmsw %ax", "movq %cr0, %r8");
SNIPPET(lmsw_mem, "movw %ax, 0x40000010\nmovl $0x40000000, %ebx", "lmsw 0x10(%rbx)", "");
SNIPPET(mov_dr4, "", "movq %rax, %dr6\nmovq %dr6, %rbx", "");

static void run_with(const char *code, uint64_t rax)
{
    l2_start(code);
    l2.g.rax = rax;
    (void)l2_run();
}

static void cr0_mask(enum l2_mode mode)
{
    uint64_t cr0;

    l2_reset(mode);
    cr0 = vmread(F_G_CR0);
    vmwrite(F_CR0_MASK, CR0_TS | CR0_NE | CR0_MP);
    vmwrite(F_CR0_SHADOW, CR0_TS);
    run_with(s_read_crs, 0);
    check_eq(l2.g.r8, (cr0 & ~(CR0_NE | CR0_MP)) | CR0_TS, "cr0.read_shadow");
    check_eq(l2.g.r10 & 0xffff, ((cr0 & ~(CR0_NE | CR0_MP)) | CR0_TS) & 0xffff, "cr0.smsw_shadow");
    run_with(s_write_cr0, (cr0 & ~(CR0_NE | CR0_MP)) | CR0_TS);
    (void)expect_done("cr0.write_equal_to_shadow");
    check_eq(l2.g.r8, (cr0 & ~(CR0_NE | CR0_MP)) | CR0_TS, "cr0.write_equal_to_shadow_value");
    check_eq(vmread(F_G_CR0), cr0, "cr0.owned_bits_kept");
    run_with(s_write_cr0, cr0 | CR0_TS);
    (void)expect_exit("cr0.write_differs",
                      &(struct expect){R_CR, 0, 3, (uint64_t)i_write_cr0});
    check_eq(vmread(F_G_CR0), cr0, "cr0.unchanged_by_exit");
    run_with(s_write_cr0, cr0 & ~CR0_NE);
    (void)expect_exit("cr0.write_clears_owned",
                      &(struct expect){R_CR, 0, 3, (uint64_t)i_write_cr0});
    /* A bit that L2 owns goes straight to the register. */
    run_with(s_write_cr0, ((cr0 & ~(CR0_NE | CR0_MP)) | CR0_TS) ^ CR0_WP);
    (void)expect_done("cr0.write_own_bit");
    check_eq(vmread(F_G_CR0), cr0 ^ CR0_WP, "cr0.write_own_bit_value");
}

static void cr0_fixed(enum l2_mode mode)
{
    uint64_t cr0;

    l2_reset(mode);
    cr0 = vmread(F_G_CR0);
    run_with(s_write_cr0, cr0 & ~CR0_NE);
    check_eq((uint64_t)l2_handler_vector(), 13, "cr0.ne_fixed");
    run_with(s_write_cr0, cr0 & ~(CR0_PG | CR0_PE));
    check_eq((uint64_t)l2_handler_vector(), 13, "cr0.pg_pe_fixed");
    run_with(s_write_cr0, (cr0 | CR0_NW) & ~CR0_CD);
    check_eq((uint64_t)l2_handler_vector(), 13, "cr0.nw_without_cd");
    run_with(s_write_cr0, cr0 | (1ull << 32));
    check_eq((uint64_t)l2_handler_vector(), 13, "cr0.bit_32");
    check_eq(vmread(F_G_CR0), cr0, "cr0.unchanged_by_faults");
}

static void clts_lmsw(enum l2_mode mode)
{
    uint64_t cr0;

    l2_reset(mode);
    cr0 = vmread(F_G_CR0);
    vmwrite(F_G_CR0, cr0 | CR0_TS);
    run_with(s_clts, 0);
    (void)expect_done("clts.own_bit");
    check_eq(vmread(F_G_CR0), cr0, "clts.own_bit_value");
    vmwrite(F_CR0_MASK, CR0_TS);
    vmwrite(F_CR0_SHADOW, CR0_TS);
    run_with(s_clts, 0);
    (void)expect_exit("clts.exits", &(struct expect){R_CR, 0x20, 2, (uint64_t)i_clts});
    vmwrite(F_CR0_SHADOW, 0);
    vmwrite(F_G_CR0, cr0 | CR0_TS);
    run_with(s_clts, 0);
    (void)expect_done("clts.shadow_clear");
    check_eq(vmread(F_G_CR0), cr0 | CR0_TS, "clts.shadow_clear_keeps_bit");
    check_eq(l2.g.r8 & CR0_TS, 0, "clts.shadow_clear_reads");

    l2_reset(mode);
    run_with(s_lmsw_reg, (cr0 & 0xf) | CR0_TS);
    (void)expect_done("lmsw.own_bit");
    check_eq(vmread(F_G_CR0), cr0 | CR0_TS, "lmsw.own_bit_value");
    l2_reset(mode);
    vmwrite(F_CR0_MASK, CR0_TS);
    run_with(s_lmsw_reg, 0xff00 | (cr0 & 0xf) | CR0_TS);
    (void)expect_exit("lmsw.register",
                      &(struct expect){R_CR, 0x30 | ((0xff00 | (cr0 & 0xf) | CR0_TS) << 16), 3,
                                       (uint64_t)i_lmsw_reg});
    run_with(s_lmsw_mem, (cr0 & 0xf) | CR0_TS);
    (void)expect_exit("lmsw.memory",
                      &(struct expect){R_CR, 0x70 | (((cr0 & 0xf) | CR0_TS) << 16), 4,
                                       (uint64_t)i_lmsw_mem});
    check_eq(vmread(F_LINEAR), L2_DATA + 0x10, "lmsw.memory_linear_address");
    run_with(s_lmsw_reg, cr0 & 0xf);
    (void)expect_done("lmsw.equal_to_shadow");
}

static void cr4_mask(enum l2_mode mode)
{
    uint64_t cr4;

    l2_reset(mode);
    cr4 = vmread(F_G_CR4);
    vmwrite(F_CR4_MASK, CR4_VMXE | CR4_PGE | CR4_TSD);
    vmwrite(F_CR4_SHADOW, CR4_TSD);
    run_with(s_read_crs, 0);
    check_eq(l2.g.r9, (cr4 & ~(CR4_VMXE | CR4_PGE)) | CR4_TSD, "cr4.read_shadow");
    run_with(s_write_cr4, (cr4 & ~CR4_VMXE) | CR4_TSD);
    (void)expect_done("cr4.write_equal_to_shadow");
    check_eq(vmread(F_G_CR4), cr4, "cr4.owned_bits_kept");
    run_with(s_write_cr4, cr4 | CR4_TSD);
    (void)expect_exit("cr4.write_differs", &(struct expect){R_CR, 4, 3, (uint64_t)i_write_cr4});
    run_with(s_write_cr4_r15, cr4 | CR4_PGE);
    (void)expect_exit("cr4.write_differs_r15",
                      &(struct expect){R_CR, 4 | (15 << 8), 4, (uint64_t)i_write_cr4_r15});
    run_with(s_write_cr4, (cr4 & ~CR4_VMXE) | CR4_TSD | CR4_DE | CR4_PCE);
    (void)expect_done("cr4.write_own_bits");
    check_eq(vmread(F_G_CR4), cr4 | CR4_DE | CR4_PCE, "cr4.write_own_bits_value");

    l2_reset(mode);
    run_with(s_write_cr4, cr4 & ~CR4_VMXE);
    check_eq((uint64_t)l2_handler_vector(), 13, "cr4.vmxe_fixed");
    run_with(s_write_cr4, cr4 | (1ull << 63));
    check_eq((uint64_t)l2_handler_vector(), 13, "cr4.bit_63");
    run_with(s_write_cr4, cr4 & ~CR4_PAE);
    check_eq((uint64_t)l2_handler_vector(), 13, "cr4.pae_in_long_mode");
    check_eq(vmread(F_G_CR4), cr4, "cr4.unchanged_by_faults");
}

static void cr3_targets(enum l2_mode mode)
{
    uint64_t cr3;

    l2_reset(mode);
    cr3 = vmread(F_G_CR3);
    ctl_set(F_PROC, PROC_CR3_LOAD);
    run_with(s_write_cr3, cr3);
    (void)expect_exit("cr3.no_targets", &(struct expect){R_CR, 3, 3, (uint64_t)i_write_cr3});
    vmwrite(F_CR3_TARGET0, 0x5000);
    vmwrite(F_CR3_TARGET0 + 6, cr3);
    vmwrite(F_CR3_TARGET_COUNT, 3);
    run_with(s_write_cr3, cr3);
    (void)expect_exit("cr3.beyond_count", &(struct expect){R_CR, 3, 3, (uint64_t)i_write_cr3});
    vmwrite(F_CR3_TARGET_COUNT, 4);
    run_with(s_write_cr3, cr3);
    (void)expect_done("cr3.target_3");
    check_eq(l2.g.r8, cr3, "cr3.target_3_value");
    vmwrite(F_CR3_TARGET0, cr3);
    vmwrite(F_CR3_TARGET0 + 6, 0x6000);
    vmwrite(F_CR3_TARGET_COUNT, 1);
    run_with(s_write_cr3, cr3);
    (void)expect_done("cr3.target_0");
    run_with(s_write_cr3, cr3 | 0x18);
    (void)expect_exit("cr3.not_a_target", &(struct expect){R_CR, 3, 3, (uint64_t)i_write_cr3});
    /* The value written without an exit is what the VMCS holds after the next exit. */
    ctl_clear(F_PROC, PROC_CR3_LOAD);
    run_with(s_write_cr3, cr3 | 0x18);
    (void)expect_done("cr3.free");
    check_eq(vmread(F_G_CR3), cr3 | 0x18, "cr3.free_value");
    run_with(s_read_crs, 0);
    check_eq(l2.g.r11, cr3 | 0x18, "cr3.free_reads");
}

static void debug_registers(enum l2_mode mode)
{
    l2_reset(mode);
    vmwrite(F_G_DR7, 0x455);
    run_with(s_mov_dr4, 0xffff0ff0);
    (void)expect_done("dr.free");
    check_eq(vmread(F_G_DR7), 0x455, "dr7.saved");
    check_eq(rt_read_dr7(), 0x400, "dr7.host_value");
    l2_reset(mode);
    ctl_clear(F_EXIT, EXIT_SAVE_DEBUG);
    vmwrite(F_G_DR7, 0x401);
    rt_write_dr7(0x400);
    ctl_clear(F_ENTRY, ENTRY_LOAD_DEBUG);
    run_with(s_mov_dr4, 0xffff0ff0);
    check_eq(vmread(F_G_DR7), 0x401, "dr7.not_saved");
}

void test_cr(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("cr.%s", l2_mode_name(modes[m]));
        cr0_mask(modes[m]);
        cr0_fixed(modes[m]);
        clts_lmsw(modes[m]);
        cr4_mask(modes[m]);
        cr3_targets(modes[m]);
        debug_registers(modes[m]);
    }
}
