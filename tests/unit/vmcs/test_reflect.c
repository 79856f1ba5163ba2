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
    r->in.in_64bit_mode = true;
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
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_SPP_EVENT), NVI_VMX_OWNER_TABLES);
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
        {NVIRT_VMX_EXIT_PAUSE, 0, 0, NVIRT_VMX_PROC2_PAUSE_LOOP},
        {NVIRT_VMX_EXIT_UMWAIT, 0, NVIRT_VMX_PROC_RDTSC, 0},
        {NVIRT_VMX_EXIT_TPAUSE, 0, NVIRT_VMX_PROC_RDTSC, 0},
        {NVIRT_VMX_EXIT_TPR_BELOW_THRESHOLD, 0, NVIRT_VMX_PROC_TPR_SHADOW, 0},
        {NVIRT_VMX_EXIT_PREEMPTION_TIMER, NVIRT_VMX_PIN_PREEMPTION_TIMER, 0, 0},
        {NVIRT_VMX_EXIT_GDTR_IDTR, 0, 0, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
        {NVIRT_VMX_EXIT_LDTR_TR, 0, 0, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
        {NVIRT_VMX_EXIT_WBINVD, 0, 0, NVIRT_VMX_PROC2_WBINVD},
        {NVIRT_VMX_EXIT_APIC_ACCESS, 0, 0, NVIRT_VMX_PROC2_APIC_ACCESSES},
        {NVIRT_VMX_EXIT_APIC_WRITE, 0, 0, NVIRT_VMX_PROC2_APIC_ACCESSES},
        {NVIRT_VMX_EXIT_APIC_WRITE, 0, 0, NVIRT_VMX_PROC2_X2APIC},
        {NVIRT_VMX_EXIT_VIRTUALIZED_EOI, 0, 0, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS},
        {NVIRT_VMX_EXIT_RDRAND, 0, 0, NVIRT_VMX_PROC2_RDRAND},
        {NVIRT_VMX_EXIT_RDSEED, 0, 0, NVIRT_VMX_PROC2_RDSEED},
        {NVIRT_VMX_EXIT_XSAVES, 0, 0, NVIRT_VMX_PROC2_XSAVES},
        {NVIRT_VMX_EXIT_XRSTORS, 0, 0, NVIRT_VMX_PROC2_XSAVES},
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

/* [SDM 3C "ENCLS-Exiting Bitmap", "ENCLV-Exiting Bitmap", "PCONFIG-Exiting Bitmap"]: the bit of the
 * leaf in EAX, and bit 63 for all leaves from 63 on. */
static void test_leaf_functions_are_l1s_by_their_bitmap(void **state)
{
    static const struct {
        uint32_t reason;
        uint64_t control;
        enum nvirt_vmcs_field bitmap;
    } rows[] = {
        {NVIRT_VMX_EXIT_ENCLS, NVIRT_VMX_PROC2_ENCLS, NVIRT_VMCS_ENCLS_EXIT_BITMAP},
        {NVIRT_VMX_EXIT_ENCLV, NVIRT_VMX_PROC2_ENCLV, NVIRT_VMCS_ENCLV_EXIT_BITMAP},
        {NVIRT_VMX_EXIT_PCONFIG, NVIRT_VMX_PROC2_PCONFIG, NVIRT_VMCS_PCONFIG_EXIT_BITMAP},
    };
    static const uint64_t leaf[] = {0, 5, 62, 63, 64, 0x7fffffff, 0xffffffff};
    static const uint32_t bit[] = {0, 5, 62, 63, 63, 63, 63};
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t l = 0; l < sizeof(leaf) / sizeof(leaf[0]); l++) {
            make(&r);
            r.gprs.r[NVIRT_RAX] = leaf[l] | UINT64_C(0x100000000);
            r.vmcs12.proc2_controls = rows[i].control;
            r.vmcs12.field[rows[i].bitmap] = ~NVIRT_BIT(bit[l]);
            assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L0);
            r.vmcs12.field[rows[i].bitmap] = NVIRT_BIT(bit[l]);
            assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L1);
            r.vmcs12.proc2_controls = ~rows[i].control;
            assert_int_equal(owner(&r, rows[i].reason), NVI_VMX_OWNER_L0);
        }
    }
}

/* [SDM 3C "Instructions That Cause VM Exits Conditionally"]: under PAUSE exiting, here L0's, the CPU
 * looks for no loops, so none has been found for L1. */
static void test_a_pause_that_l0_alone_wants_is_no_loop_of_l1s(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.proc2_controls = NVIRT_VMX_PROC2_PAUSE_LOOP;
    r.vmcs01.proc_controls = NVIRT_VMX_PROC_PAUSE;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_PAUSE), NVI_VMX_OWNER_L0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_PAUSE;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_PAUSE), NVI_VMX_OWNER_L1);
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
/* No instruction raises one: it is the machine's, and goes to L0 first, if L0 asked for it, whoever else did. */
static void test_machine_checks_are_l0s_if_l0_takes_them(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.in.interruption = (uint32_t)(
        NVIRT_VMX_INTR_VALID | NVIRT_VECTOR_MC |
        NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION << NVIRT_VMX_INTR_TYPE_SHIFT);
    r.vmcs12.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_MC);
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L1);
    r.vmcs01.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_MC);
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L0);
    r.vmcs12.exception_bitmap = 0;
    assert_int_equal(owner(&r, 0), NVI_VMX_OWNER_L0);
}

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
    /* What a register of 64 bits has above its 32 is no operand outside 64-bit mode. */
    r.gprs.r[NVIRT_RAX] = UINT64_C(0xffffffff00005000);
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_CR_ACCESS), NVI_VMX_OWNER_L1);
    r.in.in_64bit_mode = false;
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

/* An MSR passes only where neither level intercepts it, and only one of the list. */
static void test_merged_msr_bitmap_is_the_union(void **state)
{
    struct nvi_vmx_msr_byte bytes[NVI_VMX_MSR_BYTES];
    uint32_t count = nvi_vmx_passable_bytes(bytes);
    uint8_t bitmap02[4096];
    uint8_t bitmap01[4096];
    uint8_t bitmap12[4096];

    (void)state;
    memset(bitmap02, 0xff, sizeof(bitmap02));
    memset(bitmap01, 0, sizeof(bitmap01));
    memset(bitmap12, 0, sizeof(bitmap12));
    bitmap12[2048 + 2] = 1; /* Writes of the TSC. */
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, bitmap01, bitmap12);
    assert_int_equal(bitmap02[2], 0xfe);
    assert_int_equal(bitmap02[2048 + 2], 0xff);
    bitmap12[2] = 1;
    bitmap12[2048 + 2] = 0;
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, bitmap01, bitmap12);
    assert_int_equal(bitmap02[2], 0xff);
    assert_int_equal(bitmap02[2048 + 2], 0xfe);
    bitmap12[2] = 0;
    bitmap01[2048 + 2] = 1;
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, bitmap01, bitmap12);
    assert_int_equal(bitmap02[2], 0xfe);
    assert_int_equal(bitmap02[2048 + 2], 0xff);
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, NULL, bitmap12);
    assert_int_equal(bitmap02[2], 0xff);
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, bitmap01, bitmap12);
    assert_int_equal(bitmap02[2], 0xfe);
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, bitmap01, NULL);
    assert_int_equal(bitmap02[2], 0xff);
}

/* [SDM 3C "Posted-Interrupt Processing"]: the notification is no exit for L1, any other vector is, and
 * none where interrupts are L0's, whose vectors mean nothing to L1. */
static void test_a_notification_of_l1s_is_processed_and_no_exit(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.pin_controls = NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    r.vmcs12.posted_vector = 0xf2;
    r.in.interruption = 0x800000f2;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_POSTED);
    r.in.interruption = 0x800000f3;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L1);
    /* Not acknowledged: no vector is known. */
    r.vmcs12.posted_vector = 0;
    r.in.interruption = 0;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L1);
    r.vmcs12.posted_vector = 0xf2;
    r.in.interruption = 0x800000f2;
    r.vmcs12.pin_controls = NVIRT_VMX_PIN_EXT_INT;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L1);
    r.vmcs12.pin_controls |= NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    r.vmcs01.pin_controls = NVIRT_VMX_PIN_EXT_INT;
    assert_int_equal(owner(&r, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT), NVI_VMX_OWNER_L0);
}

/* Typed from the manual [SDM 3C "Virtualizing MSR-Based APIC Accesses"]: what hardware does on the
 * virtual-APIC page. */
static bool virtualized(uint64_t proc2, uint32_t msr, bool write)
{
    bool x2apic = (proc2 & NVIRT_VMX_PROC2_X2APIC) != 0;
    bool registers = (proc2 & NVIRT_VMX_PROC2_APIC_REGISTERS) != 0;
    bool interrupts = (proc2 & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0;

    if (!x2apic || msr < 0x800 || msr > 0x8ff) {
        return false;
    }
    if (write) {
        return msr == 0x808 || (interrupts && (msr == 0x80b || msr == 0x83f));
    }
    return msr == 0x808 || registers;
}

static const uint64_t apic_controls[] = {NVIRT_VMX_PROC2_X2APIC, NVIRT_VMX_PROC2_APIC_REGISTERS,
                                         NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS};

static uint64_t apic_choice(uint32_t choice)
{
    uint64_t proc2 = 0;

    for (uint32_t i = 0; i < 3; i++) {
        proc2 |= (choice >> i & 1u) != 0 ? apic_controls[i] : 0;
    }
    return proc2;
}

static bool is_set(const uint8_t *bitmap, uint32_t msr, bool write)
{
    return (bitmap[msr / 8 + (write ? 2048u : 0u)] >> (msr & 7u) & 1u) != 0;
}

/* An access that a bitmap lets pass and hardware does not virtualize goes to the APIC of the CPU, which is
 * L0's (CVE-2019-3887 and its successor): for every control and every MSR a bit is clear just where
 * hardware virtualizes and L1 does not intercept. */
static void test_no_x2apic_msr_passes_but_to_the_virtual_apic_page(void **state)
{
    uint8_t bitmap02[4096], bitmap12[4096], before[4096];

    (void)state;
    for (uint32_t round = 0; round < 8 * 3; round++) {
        uint64_t proc2 = apic_choice(round % 8);

        for (uint32_t i = 0; i < sizeof bitmap12; i++) {
            bitmap12[i] = round < 8 ? 0 : round < 16 ? (uint8_t)(i * 37u + round) : 0xff;
            bitmap02[i] = before[i] = (uint8_t)(i + round);
        }
        nvi_vmx_x2apic_bitmap_merge(proc2, bitmap02, bitmap12);
        for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
            for (uint32_t write = 0; write < 2; write++) {
                assert_int_equal(nvi_vmx_x2apic_is_virtual(proc2, msr, write != 0),
                                 virtualized(proc2, msr, write != 0));
                assert_int_equal(is_set(bitmap02, msr, write != 0),
                                 !virtualized(proc2, msr, write != 0) ||
                                     is_set(bitmap12, msr, write != 0));
            }
        }
        /* Nothing else is touched. */
        memset(bitmap02 + 0x100, 0, 32);
        memset(before + 0x100, 0, 32);
        memset(bitmap02 + 0x900, 0, 32);
        memset(before + 0x900, 0, 32);
        assert_memory_equal(bitmap02, before, sizeof before);
        /* Without memory behind L1's bitmap everything is intercepted. */
        nvi_vmx_x2apic_bitmap_merge(proc2, bitmap02, NULL);
        for (uint32_t i = 0; i < 32; i++) {
            assert_int_equal(bitmap02[0x100 + i] & bitmap02[0x900 + i], 0xff);
        }
    }
    assert_false(nvi_vmx_x2apic_is_virtual(~UINT64_C(0), 0x7ff, false));
    assert_false(nvi_vmx_x2apic_is_virtual(~UINT64_C(0), 0x900, false));
}

/* What hardware would have virtualized exits for L1's bit only: L1 may have cleared it since, and L2 is
 * not to reach the APIC of L1 by that. */
static void test_an_exit_of_a_virtualized_x2apic_msr_is_l1s(void **state)
{
    struct rig r;

    (void)state;
    for (uint32_t choice = 0; choice < 8; choice++) {
        for (uint32_t msr = 0x7ff; msr <= 0x900; msr++) {
            make(&r);
            r.vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
            r.vmcs12.proc2_controls = apic_choice(choice);
            r.gprs.r[NVIRT_RCX] = msr;
            assert_int_equal(owner(&r, NVIRT_VMX_EXIT_RDMSR),
                             virtualized(r.vmcs12.proc2_controls, msr, false)
                                 ? NVI_VMX_OWNER_L1
                                 : NVI_VMX_OWNER_LOOKUP);
            assert_int_equal(owner(&r, NVIRT_VMX_EXIT_WRMSR),
                             virtualized(r.vmcs12.proc2_controls, msr, true)
                                 ? NVI_VMX_OWNER_L1
                                 : NVI_VMX_OWNER_LOOKUP);
        }
    }
}

static void test_just_the_listed_msrs_may_pass(void **state)
{
    struct nvi_vmx_msr_byte bytes[NVI_VMX_MSR_BYTES];
    uint32_t count = nvi_vmx_passable_bytes(bytes);
    uint8_t bitmap02[4096];
    static const uint8_t none[4096];
    uint8_t expected[4096];

    (void)state;
    memset(bitmap02, 0xff, sizeof(bitmap02));
    memset(expected, 0xff, sizeof(expected));
    nvi_vmx_msr_bitmap_merge(bytes, count, bitmap02, none, none);
    for (uint32_t i = 0; nvi_vmx_passable_msrs[i] != 0; i++) {
        uint32_t byte;
        uint8_t mask;

        assert_true(nvi_vmx_msr_bitmap_bit(nvi_vmx_passable_msrs[i], &byte, &mask));
        expected[byte] &= (uint8_t)~mask;
        expected[byte + 2048] &= (uint8_t)~mask;
    }
    assert_memory_equal(bitmap02, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unconditional_exits_are_l1s),
        cmocka_unit_test(test_every_exit_reason_has_an_owner),
        cmocka_unit_test(test_conditional_exits_follow_their_control),
        cmocka_unit_test(test_leaf_functions_are_l1s_by_their_bitmap),
        cmocka_unit_test(test_a_pause_that_l0_alone_wants_is_no_loop_of_l1s),
        cmocka_unit_test(test_interrupts_and_nmis_are_l0s_only_if_l0_takes_them),
        cmocka_unit_test(test_machine_checks_are_l0s_if_l0_takes_them),
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
        cmocka_unit_test(test_a_notification_of_l1s_is_processed_and_no_exit),
        cmocka_unit_test(test_no_x2apic_msr_passes_but_to_the_virtual_apic_page),
        cmocka_unit_test(test_an_exit_of_a_virtualized_x2apic_msr_is_l1s),
        cmocka_unit_test(test_just_the_listed_msrs_may_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
