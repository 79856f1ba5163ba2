/* SPDX-License-Identifier: MIT */
/*
 * Whose an exit of L2 is.
 */
#include "vmcs/merge.h"

#include <nvirt/x86.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
    struct nvirt_vmcs vmcs12;
    struct nvirt_vmcs vmcs01;
    struct nvirt_gprs gprs;
    struct nvi_vmx_owner_in in;
    struct nvi_vmx_lookup lookup;
};

static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->vmcs12.proc_controls = NVIRT_VMX_PROC_SECONDARY;
    r->in.vmcs12 = &r->vmcs12;
    r->in.vmcs01 = &r->vmcs01;
    r->in.gprs = &r->gprs;
}

static enum nvi_vmx_owner owner(struct rig *r, uint32_t reason)
{
    r->in.reason = reason;
    return nvi_vmx_exit_owner(&r->in, &r->lookup);
}

/* [SDM 3C "Instructions That Cause VM Exits Unconditionally"], and what no control can keep from L1. */
static void test_unconditional_exits_are_l1s(void **state)
{
    static const uint32_t reasons[] = {
        NVIRT_VMX_EXIT_CPUID,   NVIRT_VMX_EXIT_GETSEC,  NVIRT_VMX_EXIT_INVD,
        NVIRT_VMX_EXIT_XSETBV,  NVIRT_VMX_EXIT_VMCALL,  NVIRT_VMX_EXIT_VMCLEAR,
        NVIRT_VMX_EXIT_VMLAUNCH, NVIRT_VMX_EXIT_VMPTRLD, NVIRT_VMX_EXIT_VMPTRST,
        NVIRT_VMX_EXIT_VMREAD,  NVIRT_VMX_EXIT_VMRESUME, NVIRT_VMX_EXIT_VMWRITE,
        NVIRT_VMX_EXIT_VMXOFF,  NVIRT_VMX_EXIT_VMXON,   NVIRT_VMX_EXIT_INVEPT,
        NVIRT_VMX_EXIT_INVVPID, NVIRT_VMX_EXIT_TRIPLE_FAULT, NVIRT_VMX_EXIT_TASK_SWITCH,
        NVIRT_VMX_EXIT_INIT,    NVIRT_VMX_EXIT_SIPI};
    struct rig r;

    (void)state;
    make(&r);
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        assert_int_equal(owner(&r, reasons[i]), NVI_VMX_OWNER_L1);
    }
}

/* Every other exit reason has a defined outcome, also numbers that mean nothing. */
static void test_every_exit_reason_has_an_owner(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    for (uint32_t reason = 0; reason < 0x10000; reason++) {
        enum nvi_vmx_owner result = owner(&r, reason);

        assert_true(result == NVI_VMX_OWNER_L1 || result == NVI_VMX_OWNER_L0 ||
                    result == NVI_VMX_OWNER_TABLES);
        if (reason >= NVIRT_VMX_EXIT_REASON_LIMIT) {
            assert_int_equal(result, NVI_VMX_OWNER_L0);
        }
    }
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EPT_VIOLATION), NVI_VMX_OWNER_TABLES);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EPT_MISCONFIGURATION), NVI_VMX_OWNER_TABLES);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_OTHER_SMI), NVI_VMX_OWNER_L0);
}

/* Each exit that hangs on one control of vmcs12: L1's with the bit, L0's without. */
static void test_conditional_exits_follow_their_control(void **state)
{
    static const struct {
        uint32_t reason;
        uint64_t pin, proc, proc2;
    } rows[] = {
        {NVIRT_VMX_EXIT_INTERRUPT_WINDOW, 0, NVIRT_VMX_PROC_INTERRUPT_WINDOW, 0},
        {NVIRT_VMX_EXIT_NMI_WINDOW, 0, NVIRT_VMX_PROC_NMI_WINDOW, 0},
        {NVIRT_VMX_EXIT_HLT, 0, NVIRT_VMX_PROC_HLT, 0},
        {NVIRT_VMX_EXIT_INVLPG, 0, NVIRT_VMX_PROC_INVLPG, 0},
        {NVIRT_VMX_EXIT_INVPCID, 0, NVIRT_VMX_PROC_INVLPG, 0},
        {NVIRT_VMX_EXIT_RDPMC, 0, NVIRT_VMX_PROC_RDPMC, 0},
        {NVIRT_VMX_EXIT_RDTSC, 0, NVIRT_VMX_PROC_RDTSC, 0},
        {NVIRT_VMX_EXIT_RDTSCP, 0, NVIRT_VMX_PROC_RDTSC, 0},
        {NVIRT_VMX_EXIT_MOV_DR, 0, NVIRT_VMX_PROC_MOV_DR, 0},
        {NVIRT_VMX_EXIT_MWAIT, 0, NVIRT_VMX_PROC_MWAIT, 0},
        {NVIRT_VMX_EXIT_MONITOR, 0, NVIRT_VMX_PROC_MONITOR, 0},
        {NVIRT_VMX_EXIT_PAUSE, 0, NVIRT_VMX_PROC_PAUSE, 0},
        {NVIRT_VMX_EXIT_PREEMPTION_TIMER, NVIRT_VMX_PIN_PREEMPTION_TIMER, 0, 0},
        {NVIRT_VMX_EXIT_GDTR_IDTR, 0, 0, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
        {NVIRT_VMX_EXIT_LDTR_TR, 0, 0, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
        {NVIRT_VMX_EXIT_WBINVD, 0, 0, NVIRT_VMX_PROC2_WBINVD},
        {NVIRT_VMX_EXIT_RDRAND, 0, 0, NVIRT_VMX_PROC2_RDRAND},
        {NVIRT_VMX_EXIT_RDSEED, 0, 0, NVIRT_VMX_PROC2_RDSEED},
    };
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make(&r);
        assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L0);
        r.vmcs12.pin_controls = rows[i].pin;
        r.vmcs12.proc_controls |= rows[i].proc;
        r.vmcs12.proc2_controls = rows[i].proc2;
        assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L1);
        if (rows[i].proc2 != 0) {
            /* Secondary controls count only while they are activated. */
            r.vmcs12.proc_controls = 0;
            assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L0);
        }
    }
}

static void test_interrupts_and_nmis_are_l0s_only_if_l0_takes_them(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.in.interruption = (uint32_t)(NVIRT_VMX_INTR_VALID |
                                   NVIRT_VMX_INTR_TYPE_NMI << NVIRT_VMX_INTR_TYPE_SHIFT | 2);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L1);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXCEPTION_NMI), NVI_VMX_OWNER_L1);
    r.vmcs01.pin_controls = NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L0);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXCEPTION_NMI), NVI_VMX_OWNER_L0);
}

/* [SDM 3C "Exception Bitmap"] */
static void test_exceptions_follow_the_bitmap_and_the_page_fault_rule(void **state)
{
    struct rig r;
    const uint32_t exception = (uint32_t)(
        NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION << NVIRT_VMX_INTR_TYPE_SHIFT);

    (void)state;
    make(&r);
    r.in.interruption = exception | NVIRT_VECTOR_GP;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L0);
    r.vmcs12.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_GP);
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L1);

    r.in.interruption = exception | NVIRT_VECTOR_PF;
    r.vmcs12.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_PF);
    r.vmcs12.pf_error_mask = 2;
    r.vmcs12.pf_error_match = 2;
    r.in.interruption_error = 2;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L1);
    r.in.interruption_error = 0;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L0);
    /* With bit 14 clear the sense is reversed: what does not match exits. */
    r.vmcs12.exception_bitmap = 0;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L1);
    r.in.interruption_error = 2;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L0);
}

static uint64_t mov_to(uint64_t cr, uint64_t gpr)
{
    return cr | gpr << NVIRT_VMX_QUAL_CR_GPR_SHIFT;
}

/* [SDM 3C "Instructions That Cause VM Exits Conditionally"], MOV to and from control registers. */
static void test_mov_to_cr0_and_cr4_is_l1s_where_an_owned_bit_differs(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.cr0_mask = NVIRT_CR0_TS;
    r.vmcs12.cr4_mask = NVIRT_CR4_PGE;
    r.vmcs12.cr4_shadow = NVIRT_CR4_PGE;
    r.gprs.r[NVIRT_RBX] = NVIRT_CR0_TS;
    r.in.qualification = mov_to(0, NVIRT_RBX);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.gprs.r[NVIRT_RBX] = NVIRT_CR0_MP;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    r.in.qualification = mov_to(4, NVIRT_RBX);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.gprs.r[NVIRT_RBX] = NVIRT_CR4_PGE;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    /* RSP is in the VMCS, not among the saved registers. */
    r.in.qualification = mov_to(4, NVIRT_RSP);
    r.gprs.r[NVIRT_RSP] = 0;
    r.in.rsp = NVIRT_CR4_PGE;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    r.in.rsp = 0;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
}

static void test_mov_to_cr3_is_l1s_unless_a_target_matches(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.in.qualification = mov_to(3, NVIRT_RAX);
    r.gprs.r[NVIRT_RAX] = 0x5000;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_CR3_LOAD;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.vmcs12.cr3_target1 = 0x5000;
    r.vmcs12.cr3_target_count = 1;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.vmcs12.cr3_target_count = 2;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
}

static void test_cr8_and_mov_from_cr3_follow_their_controls(void **state)
{
    static const struct {
        uint64_t qualification, control;
    } rows[] = {
        {8, NVIRT_VMX_PROC_CR8_LOAD},
        {8 | NVIRT_VMX_QUAL_CR_ACCESS_FROM << NVIRT_VMX_QUAL_CR_ACCESS_SHIFT,
         NVIRT_VMX_PROC_CR8_STORE},
        {3 | NVIRT_VMX_QUAL_CR_ACCESS_FROM << NVIRT_VMX_QUAL_CR_ACCESS_SHIFT,
         NVIRT_VMX_PROC_CR3_STORE},
    };
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make(&r);
        r.in.qualification = rows[i].qualification;
        assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
        r.vmcs12.proc_controls |= rows[i].control;
        assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    }
}

static void test_clts_is_l1s_with_ts_owned_and_set_in_the_shadow(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.in.qualification = NVIRT_VMX_QUAL_CR_ACCESS_CLTS << NVIRT_VMX_QUAL_CR_ACCESS_SHIFT;
    r.vmcs12.cr0_mask = NVIRT_CR0_TS;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    r.vmcs12.cr0_shadow = NVIRT_CR0_TS;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.vmcs12.cr0_mask = 0;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
}

static void test_lmsw_is_l1s_for_changed_owned_bits_and_never_for_clearing_pe(void **state)
{
    const uint64_t lmsw = NVIRT_VMX_QUAL_CR_ACCESS_LMSW << NVIRT_VMX_QUAL_CR_ACCESS_SHIFT;
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.cr0_mask = NVIRT_CR0_PE | NVIRT_CR0_MP;
    r.vmcs12.cr0_shadow = NVIRT_CR0_PE;
    r.in.qualification = lmsw | NVIRT_CR0_MP << NVIRT_VMX_QUAL_CR_LMSW_DATA_SHIFT;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.in.qualification = lmsw;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L0);
    r.vmcs12.cr0_shadow = 0;
    r.in.qualification = lmsw | NVIRT_CR0_PE << NVIRT_VMX_QUAL_CR_LMSW_DATA_SHIFT;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
}

static uint64_t io(uint64_t port, uint64_t bytes)
{
    return port << NVIRT_VMX_QUAL_IO_PORT_SHIFT | (bytes - 1);
}

/* [SDM 3C "Monitor Trap Flag"]: by L1's control or L1's injection; else it is L0 that steps. */
static void test_a_monitor_trap_is_l1s_if_l1_asked_for_it(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_MTF), NVI_VMX_OWNER_L0);
    r.vmcs12.entry_interruption = NVIRT_VMX_INTR_VALID | 0x700;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_MTF), NVI_VMX_OWNER_L1);
    r.vmcs12.entry_interruption = 0;
    r.vmcs12.proc_controls = NVIRT_VMX_PROC_MTF;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_MTF), NVI_VMX_OWNER_L1);
}

/* [SDM 3C "I/O-Bitmap Addresses"] */
static void test_io_by_bitmap_names_the_bits_of_every_port_touched(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.in.qualification = io(0x80, 1);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_L0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_UNCONDITIONAL_IO;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_L1);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    r.vmcs12.io_bitmap_a = 0x10000;
    r.vmcs12.io_bitmap_b = 0x20000;
    /* Hardware had L1's bitmaps. */
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_L1);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_UNCONDITIONAL_IO;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_LOOKUP);
    assert_int_equal(r.lookup.count, 1);
    assert_int_equal(r.lookup.byte[0], 0x10010);
    assert_int_equal(r.lookup.mask[0], 1);
    r.in.qualification = io(0x7ffe, 4); /* across both bitmaps */
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_LOOKUP);
    assert_int_equal(r.lookup.count, 2);
    assert_int_equal(r.lookup.byte[0], 0x10fff);
    assert_int_equal(r.lookup.mask[0], 0xc0);
    assert_int_equal(r.lookup.byte[1], 0x20000);
    assert_int_equal(r.lookup.mask[1], 0x03);
}

static void test_io_that_wraps_past_ffff_is_l1s(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_UNCONDITIONAL_IO;
    r.in.qualification = io(0xfffe, 4);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_L1);
    r.in.qualification = io(0xfffc, 4);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_IO), NVI_VMX_OWNER_LOOKUP);
}

/* [SDM 3C "MSR-Bitmap Address"] */
static void test_msr_by_bitmap_names_its_bit_and_outside_the_ranges_exits(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_RDMSR), NVI_VMX_OWNER_L1);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    r.vmcs12.msr_bitmap = 0x30000;
    r.gprs.r[NVIRT_RCX] = UINT64_C(0xdead000000000174);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_RDMSR), NVI_VMX_OWNER_LOOKUP);
    assert_int_equal(r.lookup.byte[0], 0x30000 + 0x174 / 8);
    assert_int_equal(r.lookup.mask[0], 1 << (0x174 % 8));
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_WRMSR), NVI_VMX_OWNER_LOOKUP);
    assert_int_equal(r.lookup.byte[0], 0x30000 + 2048 + 0x174 / 8);
    r.gprs.r[NVIRT_RCX] = 0xc0000080;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_WRMSR), NVI_VMX_OWNER_LOOKUP);
    assert_int_equal(r.lookup.byte[0], 0x30000 + 3072 + 0x80 / 8);
    r.gprs.r[NVIRT_RCX] = 0x2000;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_RDMSR), NVI_VMX_OWNER_L1);
    r.gprs.r[NVIRT_RCX] = 0xc0010000;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_RDMSR), NVI_VMX_OWNER_L1);
}

/* An MSR passes only where neither level intercepts it. */
static void test_merged_msr_bitmap_is_the_union(void **state)
{
    uint8_t bitmap02[4096];
    uint8_t bitmap01[4096];

    (void)state;
    memset(bitmap02, 0xff, sizeof(bitmap02));
    memset(bitmap01, 0, sizeof(bitmap01));
    nvi_vmx_msr_bitmap_set(bitmap02, bitmap01, 0x10, false, true);
    assert_int_equal(bitmap02[2], 0xfe);
    assert_int_equal(bitmap02[2048 + 2], 0xff);
    nvi_vmx_msr_bitmap_set(bitmap02, bitmap01, 0x10, true, false);
    assert_int_equal(bitmap02[2], 0xff);
    assert_int_equal(bitmap02[2048 + 2], 0xfe);
    bitmap01[2048 + 2] = 1;
    nvi_vmx_msr_bitmap_set(bitmap02, bitmap01, 0x10, false, false);
    assert_int_equal(bitmap02[2], 0xfe);
    assert_int_equal(bitmap02[2048 + 2], 0xff);
    nvi_vmx_msr_bitmap_set(bitmap02, NULL, 0x10, false, false);
    assert_int_equal(bitmap02[2], 0xff);
    nvi_vmx_msr_bitmap_set(bitmap02, bitmap01, 0x2000, false, false);
    assert_int_equal(bitmap02[0x400], 0xff);
    for (uint32_t i = 0; nvi_vmx_passable_msrs[i] != 0; i++) {
        uint32_t byte;
        uint8_t mask;

        assert_true(nvi_vmx_msr_bitmap_bit(nvi_vmx_passable_msrs[i], &byte, &mask));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unconditional_exits_are_l1s),
        cmocka_unit_test(test_every_exit_reason_has_an_owner),
        cmocka_unit_test(test_conditional_exits_follow_their_control),
        cmocka_unit_test(test_interrupts_and_nmis_are_l0s_only_if_l0_takes_them),
        cmocka_unit_test(test_exceptions_follow_the_bitmap_and_the_page_fault_rule),
        cmocka_unit_test(test_mov_to_cr0_and_cr4_is_l1s_where_an_owned_bit_differs),
        cmocka_unit_test(test_mov_to_cr3_is_l1s_unless_a_target_matches),
        cmocka_unit_test(test_cr8_and_mov_from_cr3_follow_their_controls),
        cmocka_unit_test(test_clts_is_l1s_with_ts_owned_and_set_in_the_shadow),
        cmocka_unit_test(test_lmsw_is_l1s_for_changed_owned_bits_and_never_for_clearing_pe),
        cmocka_unit_test(test_a_monitor_trap_is_l1s_if_l1_asked_for_it),
        cmocka_unit_test(test_io_by_bitmap_names_the_bits_of_every_port_touched),
        cmocka_unit_test(test_io_that_wraps_past_ffff_is_l1s),
        cmocka_unit_test(test_msr_by_bitmap_names_its_bit_and_outside_the_ranges_exits),
        cmocka_unit_test(test_merged_msr_bitmap_is_the_union),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
