/* SPDX-License-Identifier: MIT */
/*
 * vmcs12 + vmcs01 -> vmcs02: what passes, what is added, and that nothing else gets through.
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
    struct nvirt_vmcs vmcs02;
    struct nvirt_vmx_caps cpu;
    struct nvi_vmx_merge_in in;
};

static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->cpu.basic = NVIRT_VMX_BASIC_TRUE;
    r->cpu.true_pin = UINT64_C(0xff) << 32 | NVIRT_VMX_PIN_DEFAULT1;
    r->cpu.true_proc = UINT64_C(0xffffffff) << 32 | UINT64_C(0x04006172);
    r->cpu.true_exit = UINT64_C(0xffffffff) << 32 | UINT64_C(0x00036dfb);
    r->cpu.true_entry = UINT64_C(0xffff) << 32 | UINT64_C(0x000011fb);
    r->cpu.cr0_fixed0 = NVIRT_CR0_PE | NVIRT_CR0_NE | NVIRT_CR0_PG;
    r->cpu.cr4_fixed0 = NVIRT_CR4_VMXE;
    r->vmcs01.exit_controls = NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_EFER;
    r->vmcs12.proc_controls = NVIRT_VMX_PROC_SECONDARY;
    r->vmcs01.proc_controls = NVIRT_VMX_PROC_SECONDARY;
    r->in.vmcs12 = &r->vmcs12;
    r->in.vmcs01 = &r->vmcs01;
    r->in.cpu = &r->cpu;
    r->in.eptp02 = UINT64_C(0x7000 | 0x1e);
    r->in.sppt02 = UINT64_C(0xb000);
}

static void merge(struct rig *r)
{
    nvi_vmx_merge(&r->in, &r->vmcs02);
}

/* L1's bits reach hardware by allow-list: with every bit of every word set, only these get through. */
static void test_only_allowed_control_bits_reach_hardware(void **state)
{
    struct rig r;
    const uint64_t proc_never = NVIRT_VMX_PROC_TERTIARY;
    const uint64_t proc2_never =
        NVIRT_VMX_PROC2_PML |
        NVIRT_VMX_PROC2_VMCS_SHADOWING | NVIRT_VMX_PROC2_EPT_VE |
        NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_BUS_LOCK |
        NVIRT_VMX_PROC2_INSTRUCTION_TIMEOUT;

    (void)state;
    make(&r);
    memset(&r.vmcs12, 0xff, sizeof(r.vmcs12));
    merge(&r);
    assert_int_equal(r.vmcs02.pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS, 0);
    assert_int_equal(r.vmcs02.proc_controls & proc_never, 0);
    assert_int_equal(r.vmcs02.proc2_controls & proc2_never, 0);
    /* The instruction exits; no function of the CPU's own is on. */
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_VMFUNC) != 0);
    assert_int_equal(r.vmcs02.vmfunc_controls, 0);
    assert_int_equal(r.vmcs02.entry_controls &
                         (NVIRT_VMX_ENTRY_CTL_SMM | NVIRT_VMX_ENTRY_CTL_DEACTIVATE_DUAL |
                          NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS),
                     0);
    assert_int_equal(r.vmcs02.exit_controls & NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS, 0);
    assert_int_equal(r.vmcs02.virtual_apic_addr, 0);
    assert_int_equal(r.vmcs02.apic_access_addr, 0);
    assert_int_equal(r.vmcs02.posted_descriptor, 0);
    assert_int_equal(r.vmcs02.pml_addr, 0);
    assert_int_equal(r.vmcs02.msr_bitmap, 0);
    assert_int_equal(r.vmcs02.io_bitmap_a, 0);
    assert_int_equal(r.vmcs02.vpid, 0);
    assert_int_equal(r.vmcs02.eptp, 0x701e);
    /* Sub-page permissions are looked for in nvirt's own table. */
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0);
    assert_int_equal(r.vmcs02.spp_table, 0xb000);
    assert_int_equal(r.vmcs02.vmcs_link, NVIRT_VMX_NO_VMCS_LINK);
    assert_int_equal(r.vmcs02.exit_msr_load_count, 0);
}

/* vmcs02 intercepts at least what vmcs01 and vmcs12 do. */
static void test_intercepts_are_the_union_of_both_levels(void **state)
{
    static const uint64_t exits[] = {
        NVIRT_VMX_PROC_HLT, NVIRT_VMX_PROC_INVLPG, NVIRT_VMX_PROC_MWAIT, NVIRT_VMX_PROC_RDPMC,
        NVIRT_VMX_PROC_RDTSC, NVIRT_VMX_PROC_CR3_LOAD, NVIRT_VMX_PROC_CR3_STORE,
        NVIRT_VMX_PROC_CR8_LOAD, NVIRT_VMX_PROC_CR8_STORE, NVIRT_VMX_PROC_MOV_DR,
        NVIRT_VMX_PROC_MONITOR, NVIRT_VMX_PROC_PAUSE};
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
        make(&r);
        r.vmcs12.proc_controls |= exits[i];
        merge(&r);
        assert_true((r.vmcs02.proc_controls & exits[i]) != 0);
        make(&r);
        r.vmcs01.proc_controls |= exits[i];
        merge(&r);
        assert_true((r.vmcs02.proc_controls & exits[i]) != 0);
    }
    make(&r);
    r.vmcs12.exception_bitmap = NVIRT_BIT(3);
    r.vmcs01.exception_bitmap = NVIRT_BIT(1);
    r.vmcs01.pin_controls = NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI;
    merge(&r);
    assert_int_equal(r.vmcs02.exception_bitmap, NVIRT_BIT(3) | NVIRT_BIT(1));
    assert_true((r.vmcs02.pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0);
    assert_true((r.vmcs02.pin_controls & NVIRT_VMX_PIN_NMI) != 0);
}

/* L0's windows ask about L1's readiness, never about L2's. */
static void test_windows_of_l0_do_not_apply_to_l2(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW;
    merge(&r);
    assert_int_equal(r.vmcs02.proc_controls &
                         (NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW),
                     0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_INTERRUPT_WINDOW;
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
}

/* With L1's TPR in L0's memory, an L2 that L1 lets at CR8 must not reach the real one. */
static void test_cr8_exits_when_l0_has_a_tpr_shadow(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_CR8_LOAD) != 0);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_CR8_STORE) != 0);
    assert_int_equal(r.vmcs02.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW, 0);
}

/* [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"]: L1's control, and the page that nvirt found for
 * L1's address; of L0's own neither. */
static void test_an_apic_access_page_is_the_one_l1_gave(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    r.vmcs01.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    r.vmcs01.apic_access_addr = 0x1000;
    r.in.apic_access = 0x3000;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_APIC_ACCESSES, 0);
    assert_int_equal(r.vmcs02.apic_access_addr, 0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    r.vmcs12.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    r.vmcs12.apic_access_addr = 0x2000;
    merge(&r);
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0);
    assert_int_equal(r.vmcs02.apic_access_addr, 0x3000);
}

/* [SDM 3C "APIC Virtualization and Virtual Interrupts"]: L1's controls, its EOI-exit bitmap and the
 * guest interrupt status are L2's; of L0's own none is. */
static void test_virtual_interrupts_of_l2_are_l1s_to_control(void **state)
{
    const uint64_t apic = NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS |
                          NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    r.vmcs01.proc2_controls |= apic;
    r.vmcs01.eoi_exit0 = r.vmcs01.eoi_exit1 = r.vmcs01.eoi_exit2 = r.vmcs01.eoi_exit3 = 0xf;
    r.vmcs01.guest_interrupt_status = 0x5050;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & apic, 0);
    assert_int_equal(r.vmcs02.eoi_exit0 | r.vmcs02.eoi_exit3, 0);
    assert_int_equal(r.vmcs02.guest_interrupt_status, 0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    r.vmcs12.proc2_controls |= apic;
    r.vmcs12.eoi_exit0 = 1;
    r.vmcs12.eoi_exit1 = 2;
    r.vmcs12.eoi_exit2 = 3;
    r.vmcs12.eoi_exit3 = 4;
    r.vmcs12.guest_interrupt_status = 0x2131;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & apic, apic);
    assert_int_equal(r.vmcs02.eoi_exit0, 1);
    assert_int_equal(r.vmcs02.eoi_exit1, 2);
    assert_int_equal(r.vmcs02.eoi_exit2, 3);
    assert_int_equal(r.vmcs02.eoi_exit3, 4);
    assert_int_equal(r.vmcs02.guest_interrupt_status, 0x2131);
    /* One without the others. */
    r.vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & apic, apic & ~NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
    assert_int_equal(r.vmcs02.eoi_exit0, 0);
}

/* [SDM 3C "Posted-Interrupt Processing"]: a vector is L1's to hardware only where L0 takes no
 * interrupts itself; else L0's own interrupt of that number would be eaten. */
static void test_hardware_processes_posted_interrupts_where_vectors_are_l1s(void **state)
{
    const uint64_t posted = NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.pin_controls |= posted | NVIRT_VMX_PIN_EXT_INT;
    r.vmcs12.posted_vector = 0xf2;
    r.vmcs12.posted_descriptor = 0x2040;
    r.vmcs01.pin_controls &= ~NVIRT_VMX_PIN_EXT_INT;
    r.cpu.pin |= posted << 32;
    assert_true(nvi_vmx_hardware_may_post(&r.cpu, &r.vmcs12, &r.vmcs01));
    merge(&r);
    assert_int_equal(r.vmcs02.pin_controls & posted, 0);
    assert_int_equal(r.vmcs02.posted_descriptor | r.vmcs02.posted_vector, 0);
    r.in.posted_descriptor = 0x5040;
    merge(&r);
    assert_true((r.vmcs02.pin_controls & posted) != 0);
    assert_int_equal(r.vmcs02.posted_descriptor, 0x5040);
    assert_int_equal(r.vmcs02.posted_vector, 0xf2);
    r.vmcs01.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    assert_false(nvi_vmx_hardware_may_post(&r.cpu, &r.vmcs12, &r.vmcs01));
    r.vmcs01.pin_controls &= ~NVIRT_VMX_PIN_EXT_INT;
    r.cpu.pin &= ~(posted << 32);
    assert_false(nvi_vmx_hardware_may_post(&r.cpu, &r.vmcs12, &r.vmcs01));
    r.cpu.pin |= posted << 32;
    r.vmcs12.pin_controls &= ~posted;
    assert_false(nvi_vmx_hardware_may_post(&r.cpu, &r.vmcs12, &r.vmcs01));
}

/* With a TPR shadow of L1's CR8 of L2 is a byte of L1's memory: L0's wishes about CR8 are about
 * another register [SDM 3C "Virtualizing CR8-Based TPR Accesses"]. */
static void test_a_tpr_shadow_of_l1_gives_l2_its_page(void **state)
{
    const uint64_t cr8 = NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE;
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW | cr8;
    r.vmcs01.virtual_apic_addr = 0x1000;
    r.vmcs01.tpr_threshold = 9;
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    r.vmcs12.virtual_apic_addr = 0x2000;
    r.vmcs12.tpr_threshold = 3;
    r.in.virtual_apic = 0x3000;
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0);
    assert_int_equal(r.vmcs02.proc_controls & cr8, 0);
    assert_int_equal(r.vmcs02.virtual_apic_addr, 0x3000);
    assert_int_equal(r.vmcs02.tpr_threshold, 3);
    /* L1's own wishes hold beside it. */
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_CR8_STORE;
    merge(&r);
    assert_int_equal(r.vmcs02.proc_controls & cr8, NVIRT_VMX_PROC_CR8_STORE);
}

/* Those of L1's only with the NMI exiting that they belong to; those of L0's always: without them blocking of
 * L2's would be of the CPU's NMIs. */
static void test_virtual_nmis_of_both_levels(void **state)
{
    static const uint64_t nmi = NVIRT_VMX_PIN_NMI, tracked = NVIRT_VMX_PIN_VIRTUAL_NMIS;
    static const struct {
        uint64_t pin12, pin01, expected;
    } rows[] = {
        { nmi | tracked, 0, nmi | tracked },  { tracked, 0, 0 },
        { tracked, nmi, nmi },                { nmi, nmi | tracked, nmi | tracked },
        { 0, nmi | tracked, nmi | tracked },  { nmi, 0, nmi },
    };
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make(&r);
        r.vmcs12.pin_controls = rows[i].pin12;
        r.vmcs01.pin_controls = rows[i].pin01;
        merge(&r);
        assert_int_equal(r.vmcs02.pin_controls & (nmi | tracked), rows[i].expected);
    }
}

/* [SDM 3C "I/O-Bitmap Addresses"]: L1's pinned pages serve hardware, or every port exits. */
static void test_io_bitmaps_to_hardware_or_every_port_exits(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0);
    assert_int_equal(r.vmcs02.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS, 0);
    r.in.io_bitmaps_to_hardware = true;
    r.in.io_bitmap_a = 0x3000;
    r.in.io_bitmap_b = 0x4000;
    merge(&r);
    assert_int_equal(r.vmcs02.proc_controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO, 0);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0);
    assert_int_equal(r.vmcs02.io_bitmap_a, 0x3000);
    assert_int_equal(r.vmcs02.io_bitmap_b, 0x4000);
}

static void test_io_of_an_l1_without_interest_is_l0s_choice(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    assert_true(nvi_vmx_l0_wants_no_port(&r.vmcs01));
    merge(&r);
    assert_int_equal(r.vmcs02.proc_controls &
                         (NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_UNCONDITIONAL_IO),
                     0);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    r.vmcs01.io_bitmap_a = 0x9000;
    assert_false(nvi_vmx_l0_wants_no_port(&r.vmcs01));
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0);
    assert_int_equal(r.vmcs02.io_bitmap_a, 0x9000);
}

/* Without a merged bitmap page every MSR access exits. */
static void test_msr_bitmap_only_when_a_merged_page_is_ready(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    r.vmcs12.msr_bitmap = 0x6000;
    merge(&r);
    assert_int_equal(r.vmcs02.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS, 0);
    r.in.msr_bitmap_to_hardware = true;
    r.in.msr_bitmap = 0x8000;
    merge(&r);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) != 0);
    assert_int_equal(r.vmcs02.msr_bitmap, 0x8000);
}

/* Bits of vmcs01 that vmcs02 has in another shape or that are about L1 alone, as in vmx.h. */
static uint64_t in_another_shape(enum nvirt_vmcs_field word)
{
    switch (word) {
    case NVIRT_VMCS_PIN_CONTROLS:
        return NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    case NVIRT_VMCS_PROC_CONTROLS:
        return NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW |
               NVIRT_VMX_PROC_TPR_SHADOW | NVIRT_VMX_PROC_MSR_BITMAPS;
    case NVIRT_VMCS_PROC2_CONTROLS:
        return NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_RDTSCP |
               NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_XSAVES | NVIRT_VMX_PROC2_USER_WAIT |
               NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC |
               NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    case NVIRT_VMCS_ENTRY_CONTROLS:
        return NVIRT_VMX_ENTRY_CTL_IA32E;
    default:
        return 0;
    }
}

/* A control of L0's is in vmcs02 too, or the host is refused it. */
static void test_no_control_of_l0_is_lost_silently(void **state)
{
    static const enum nvirt_vmcs_field words[] = {
        NVIRT_VMCS_PIN_CONTROLS,  NVIRT_VMCS_PROC_CONTROLS,  NVIRT_VMCS_PROC2_CONTROLS,
        NVIRT_VMCS_EXIT_CONTROLS, NVIRT_VMCS_ENTRY_CONTROLS, NVIRT_VMCS_PROC3_CONTROLS,
        NVIRT_VMCS_EXIT2_CONTROLS};
    struct nvirt_vmx_caps offer;
    struct rig r;

    (void)state;
    memset(&offer, 0, sizeof(offer));
    for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        make(&r);
        uint64_t may = nvi_vmx_l0_may_control(&r.cpu, &offer, words[w]);

        for (uint32_t bit = 0; bit < 32; bit++) {
            uint64_t control = NVIRT_BIT(bit);

            if ((may & control) == 0 || (in_another_shape(words[w]) & control) != 0)
                continue;
            make(&r);
            /* Secondary controls count when activated, scaling needs offsetting, a saved timer one
             * that counts. */
            r.vmcs01.proc_controls = NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TSC_OFFSET;
            r.vmcs01.pin_controls = NVIRT_VMX_PIN_PREEMPTION_TIMER;
            if (words[w] == NVIRT_VMCS_EXIT_CONTROLS)
                r.vmcs01.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
            r.vmcs01.field[words[w]] |= control;
            merge(&r);
            if ((r.vmcs02.field[words[w]] & control) == 0)
                assert_true((NVIRT_VMX_PROC_DEFAULT1 & control) != 0 &&
                            words[w] == NVIRT_VMCS_PROC_CONTROLS);
        }
    }
}

/* The values that L0's controls use come with them. */
static void test_values_of_l0s_controls_are_carried(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.pin_controls = NVIRT_VMX_PIN_PREEMPTION_TIMER;
    r.vmcs01.guest_preemption_timer = 5000;
    r.vmcs01.entry_controls = NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL;
    r.vmcs01.guest_perf_global = 7;
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    r.vmcs01.proc2_controls = NVIRT_VMX_PROC2_ENCLS | NVIRT_VMX_PROC2_TSC_SCALING |
                              NVIRT_VMX_PROC2_INSTRUCTION_TIMEOUT;
    r.vmcs01.encls_exit_bitmap = 0xe;
    r.vmcs01.tsc_multiplier = NVIRT_BIT(49);
    r.vmcs01.tsc_offset = 100;
    r.vmcs01.instruction_timeout = 9;
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    r.vmcs12.tsc_offset = 7;
    r.vmcs12.guest_preemption_timer = 1;
    r.vmcs12.guest_perf_global = 1;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_preemption_timer, 5000);
    assert_int_equal(r.vmcs02.guest_perf_global, 7);
    assert_int_equal(r.vmcs02.encls_exit_bitmap, 0xe);
    assert_true(r.vmcs02.tsc_multiplier == NVIRT_BIT(49));
    assert_int_equal(r.vmcs02.tsc_offset, 107);
    assert_int_equal(r.vmcs02.instruction_timeout, 9);
    /* Without an offset of L0's its multiplier is not in force for L1, and so not for L2. */
    r.vmcs01.proc_controls &= ~NVIRT_VMX_PROC_TSC_OFFSET;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_TSC_SCALING, 0);
}

/* A leaf function that either level wants exits; the bitmap of a control that is 0 says nothing. */
static void test_leaf_bitmaps_are_the_union_of_both_levels(void **state)
{
    static const struct {
        uint64_t control;
        enum nvirt_vmcs_field bitmap;
    } rows[] = {
        {NVIRT_VMX_PROC2_ENCLS, NVIRT_VMCS_ENCLS_EXIT_BITMAP},
        {NVIRT_VMX_PROC2_ENCLV, NVIRT_VMCS_ENCLV_EXIT_BITMAP},
        {NVIRT_VMX_PROC2_PCONFIG, NVIRT_VMCS_PCONFIG_EXIT_BITMAP},
    };
    struct rig r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t levels = 0; levels < 4; levels++) {
            uint64_t wanted = ((levels & 1u) != 0 ? 0x0f : 0) | ((levels & 2u) != 0 ? 0x3c : 0);

            make(&r);
            r.vmcs12.field[rows[i].bitmap] = 0x0f;
            r.vmcs01.field[rows[i].bitmap] = 0x3c;
            r.vmcs12.proc2_controls = (levels & 1u) != 0 ? rows[i].control : 0;
            r.vmcs01.proc2_controls = (levels & 2u) != 0 ? rows[i].control : 0;
            merge(&r);
            assert_int_equal((r.vmcs02.proc2_controls & rows[i].control) != 0, levels != 0);
            assert_int_equal(r.vmcs02.field[rows[i].bitmap], wanted);
        }
    }
}

/* One level's gap and window make up a rule: they are never taken from two. */
static void test_pause_loops_are_found_by_the_rule_of_one_level(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.ple_gap = 12;
    r.vmcs12.ple_window = 1200;
    r.vmcs01.ple_gap = 1;
    r.vmcs01.ple_window = 100;
    r.vmcs01.proc2_controls = NVIRT_VMX_PROC2_PAUSE_LOOP;
    merge(&r);
    assert_int_equal(r.vmcs02.ple_gap, 1);
    assert_int_equal(r.vmcs02.ple_window, 100);
    r.vmcs12.proc2_controls = NVIRT_VMX_PROC2_PAUSE_LOOP;
    merge(&r);
    assert_int_equal(r.vmcs02.ple_gap, 12);
    assert_int_equal(r.vmcs02.ple_window, 1200);
    r.vmcs01.proc2_controls = 0;
    merge(&r);
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_PAUSE_LOOP) != 0);
    assert_int_equal(r.vmcs02.ple_gap, 12);
}

/* XSAVES and user waits are #UD in L2 without the control of L1's, whatever L1 itself may do. */
static void test_xsaves_and_user_waits_are_l1s_to_enable(void **state)
{
    const uint64_t enables = NVIRT_VMX_PROC2_XSAVES | NVIRT_VMX_PROC2_USER_WAIT;
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.proc2_controls = enables;
    r.vmcs12.xss_exit_bitmap = 0x1800;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & enables, 0);
    r.vmcs12.proc2_controls = enables;
    r.vmcs01.proc2_controls = 0;
    merge(&r);
    assert_int_equal(r.vmcs02.proc2_controls & enables, enables);
    assert_int_equal(r.vmcs02.xss_exit_bitmap, 0x1800);
}

/* Two XSS-exiting bitmaps could not be told apart at an exit: L0 has none. */
static void test_l0_may_have_no_xss_exiting_bitmap(void **state)
{
    struct nvirt_vmx_caps offer;
    struct rig r;

    (void)state;
    make(&r);
    memset(&offer, 0, sizeof(offer));
    assert_int_equal(nvi_vmx_l0_may_control(&r.cpu, &offer, NVIRT_VMCS_XSS_EXIT_BITMAP), 0);
    assert_true(nvi_vmx_l0_may_control(&r.cpu, &offer, NVIRT_VMCS_ENCLS_EXIT_BITMAP) ==
                ~UINT64_C(0));
}

/* The bytes of L1's region behind fields that it is not offered go nowhere. */
static void test_guest_state_l1_is_not_offered_stays_out_of_hardware(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    memset(&r.vmcs12, 0xff, sizeof(r.vmcs12));
    merge(&r);
    assert_int_equal(r.vmcs02.guest_smbase, 0);
    assert_int_equal(r.vmcs02.guest_pml_index, 0);
    assert_int_equal(r.vmcs02.guest_bndcfgs, 0);
    assert_int_equal(r.vmcs02.guest_pkrs, 0);
    assert_int_equal(r.vmcs02.guest_s_cet, 0);
    assert_int_equal(r.vmcs02.guest_fred_config, 0);
    assert_int_equal(r.vmcs02.guest_rtit_ctl, 0);
    assert_int_equal(r.vmcs02.guest_perf_global, 0);
}

/* A CR3 target lets MOV to CR3 pass, which L0's CR3-load exiting must not allow. */
static void test_cr3_targets_yield_to_l0s_cr3_load_exiting(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.cr3_target_count = 2;
    merge(&r);
    assert_int_equal(r.vmcs02.cr3_target_count, 2);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_CR3_LOAD;
    merge(&r);
    assert_int_equal(r.vmcs02.cr3_target_count, 0);
}

static void test_tsc_offsets_add_up(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.tsc_offset = 100;
    r.vmcs12.tsc_offset = 7;
    merge(&r);
    assert_int_equal(r.vmcs02.tsc_offset, 0);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    merge(&r);
    assert_int_equal(r.vmcs02.tsc_offset, 7);
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    merge(&r);
    assert_int_equal(r.vmcs02.tsc_offset, 107);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_TSC_OFFSET) != 0);
}

/* [SDM 3C "Exception Bitmap"]: L1's mask and match rule page faults unless L0 wants any of them. */
static void test_page_fault_mask_is_l1s_unless_l0_wants_page_faults(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.pf_error_mask = 0x10;
    r.vmcs12.pf_error_match = 0x10;
    merge(&r);
    assert_int_equal(r.vmcs02.pf_error_mask, 0x10);
    assert_int_equal(r.vmcs02.pf_error_match, 0x10);
    r.vmcs01.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_PF);
    merge(&r);
    assert_int_equal(r.vmcs02.pf_error_mask, 0);
    assert_int_equal(r.vmcs02.pf_error_match, 0);
    assert_true((r.vmcs02.exception_bitmap & NVIRT_BIT(NVIRT_VECTOR_PF)) != 0);
}

/* Fixed bits that L0 owns only because of VMX operation need no intercept in L2. */
static void test_cr_masks_drop_the_fixed_bits_of_l0(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.cr0_mask = NVIRT_CR0_NE | NVIRT_CR0_CD;
    r.vmcs01.cr4_mask = NVIRT_CR4_VMXE | NVIRT_CR4_SMEP;
    r.vmcs12.cr0_mask = NVIRT_CR0_TS;
    r.vmcs12.cr0_shadow = NVIRT_CR0_TS;
    r.vmcs12.guest_cr0 = NVIRT_CR0_CD | NVIRT_CR0_PE;
    r.vmcs12.guest_cr4 = NVIRT_CR4_SMEP;
    merge(&r);
    assert_int_equal(r.vmcs02.cr0_mask, NVIRT_CR0_TS | NVIRT_CR0_CD);
    assert_int_equal(r.vmcs02.cr4_mask, NVIRT_CR4_SMEP);
    /* A bit that only L0 owns reads as L1 set it; CD, which no entry loads, as L1 sees its own. */
    assert_int_equal(r.vmcs02.cr0_shadow & NVIRT_CR0_CD, 0);
    r.vmcs01.cr0_shadow = NVIRT_CR0_CD;
    merge(&r);
    assert_int_equal(r.vmcs02.cr0_shadow & NVIRT_CR0_CD, NVIRT_CR0_CD);
    /* In the register are the host's values. */
    assert_int_equal(r.vmcs02.guest_cr0 & NVIRT_CR0_CD, 0);
    assert_int_equal(r.vmcs02.guest_cr4 & NVIRT_CR4_SMEP, 0);
    r.vmcs01.guest_cr4 = NVIRT_CR4_SMEP;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_cr4 & NVIRT_CR4_SMEP, NVIRT_CR4_SMEP);
    assert_int_equal(r.vmcs02.cr0_shadow & NVIRT_CR0_TS, NVIRT_CR0_TS);
    assert_int_equal(r.vmcs02.cr4_shadow & NVIRT_CR4_SMEP, NVIRT_CR4_SMEP);
}

/* The host side of an exit is L0's alone: nothing of vmcs12's host state gets there. */
static void test_host_state_is_l0s(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.host_rip = 0x1111;
    r.vmcs12.host_cr3 = 0x2222;
    r.vmcs01.host_rip = 0x3333;
    r.vmcs01.host_cr3 = 0x4000;
    merge(&r);
    assert_int_equal(r.vmcs02.host_rip, 0x3333);
    assert_int_equal(r.vmcs02.host_cr3, 0x4000);
    assert_true((r.vmcs02.exit_controls & NVIRT_VMX_EXIT_CTL_HOST_64) != 0);
}

/* Whoever takes external interrupts decides on acknowledging them. */
static void test_acknowledge_interrupt_is_of_the_level_that_takes_them(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.exit_controls = NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT;
    merge(&r);
    assert_true((r.vmcs02.exit_controls & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) != 0);
    r.vmcs01.pin_controls = NVIRT_VMX_PIN_EXT_INT;
    merge(&r);
    assert_int_equal(r.vmcs02.exit_controls & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT, 0);
}

/* [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"] */
static void test_unloaded_registers_come_from_l1s_live_state(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.guest_dr7 = 0x455;
    r.vmcs01.guest_debugctl = 1;
    r.vmcs01.guest_pat = 0x0706;
    r.vmcs01.guest_efer = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA;
    r.vmcs12.guest_dr7 = 0x400;
    r.vmcs12.guest_pat = 0x1234;
    r.vmcs12.guest_efer = NVIRT_EFER_NXE;
    r.vmcs12.guest_cr0 = NVIRT_CR0_PG | NVIRT_CR0_PE;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_dr7, 0x455);
    assert_int_equal(r.vmcs02.guest_debugctl, 1);
    assert_int_equal(r.vmcs02.guest_pat, 0x0706);
    /* Not an IA-32e guest: LMA is cleared, and LME with it because paging is on. */
    assert_int_equal(r.vmcs02.guest_efer, NVIRT_EFER_SCE);
    r.vmcs12.entry_controls = NVIRT_VMX_ENTRY_CTL_IA32E;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_efer, NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA);
    r.vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
                               NVIRT_VMX_ENTRY_CTL_LOAD_EFER;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_dr7, 0x400);
    assert_int_equal(r.vmcs02.guest_pat, 0x1234);
    assert_int_equal(r.vmcs02.guest_efer, NVIRT_EFER_NXE);
}

static void test_event_vpid_and_pdptes_are_handed_on(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.entry_interruption = NVIRT_VMX_INTR_VALID | 0x30e;
    r.vmcs12.entry_error_code = 4;
    r.vmcs12.guest_pdpte1 = 0x9001;
    r.in.vpid02 = 12;
    merge(&r);
    assert_int_equal(r.vmcs02.entry_interruption, NVIRT_VMX_INTR_VALID | 0x30e);
    assert_int_equal(r.vmcs02.entry_error_code, 4);
    assert_int_equal(r.vmcs02.vpid, 12);
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_VPID) != 0);
    assert_int_equal(r.vmcs02.guest_pdpte1, 0x9001);
    r.in.pdptes_loaded = true;
    r.in.pdpte[1] = 0xa001;
    merge(&r);
    assert_int_equal(r.vmcs02.guest_pdpte1, 0xa001);
}

/* A change of L0's wants while L2 runs leaves L2's registers and its event alone. */
static void test_merging_controls_again_keeps_guest_state(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.pin_controls = NVIRT_VMX_PIN_PREEMPTION_TIMER;
    r.vmcs12.guest_preemption_timer = 1000;
    merge(&r);
    r.vmcs02.guest_rip = 0x1234;
    r.vmcs02.guest_preemption_timer = 400;
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_RDTSC;
    nvi_vmx_merge_controls(&r.in, &r.vmcs02);
    assert_int_equal(r.vmcs02.guest_rip, 0x1234);
    assert_int_equal(r.vmcs02.guest_preemption_timer, 400);
    assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_RDTSC) != 0);
}

/* The CPU's counter as L2 reads it through vmcs02 [SDM 3C "Changes to Instruction Behavior in VMX
 * Non-Root Operation"]. */
static uint64_t rdtsc_under(const struct nvirt_vmcs *vmcs, uint64_t tsc)
{
    uint64_t multiplier = (uint64_t)1 << 48;

    if ((vmcs->proc_controls & NVIRT_VMX_PROC_TSC_OFFSET) == 0)
        return tsc;
    if ((vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 &&
        (vmcs->proc2_controls & NVIRT_VMX_PROC2_TSC_SCALING) != 0)
        multiplier = vmcs->tsc_multiplier;
    return (uint64_t)((unsigned __int128)tsc * multiplier >> 48) + vmcs->tsc_offset;
}

/* For each setting of both levels' controls L2 reads what L1's multiplier and offset make of the
 * counter that L1 reads. */
static void test_l2_reads_the_counter_of_l1_scaled_and_offset_by_l1(void **state)
{
    static const uint64_t multipliers[] = {
        NVIRT_BIT(48), NVIRT_BIT(49), NVIRT_BIT(47), NVIRT_BIT(48) * 3 / 2, 7 * NVIRT_BIT(46),
    };
    static const uint64_t offsets[] = { 0, 1000003, (uint64_t)-70000, NVIRT_BIT(50) };
    const uint64_t tsc = UINT64_C(0x123456789abc);
    struct rig r;

    (void)state;
    for (unsigned n = 0; n < 16 * 5 * 5 * 4 * 4; n++) {
        uint64_t l1, l2, expected;

        make(&r);
        r.vmcs01.proc_controls |= (n & 1) != 0 ? NVIRT_VMX_PROC_TSC_OFFSET : 0;
        r.vmcs01.proc2_controls |= (n & 2) != 0 ? NVIRT_VMX_PROC2_TSC_SCALING : 0;
        r.vmcs12.proc_controls |= (n & 4) != 0 ? NVIRT_VMX_PROC_TSC_OFFSET : 0;
        r.vmcs12.proc2_controls |= (n & 8) != 0 ? NVIRT_VMX_PROC2_TSC_SCALING : 0;
        r.vmcs01.tsc_multiplier = multipliers[n / 16 % 5];
        r.vmcs12.tsc_multiplier = multipliers[n / 80 % 5];
        r.vmcs01.tsc_offset = offsets[n / 400 % 4];
        r.vmcs12.tsc_offset = offsets[n / 1600];
        merge(&r);
        l1 = rdtsc_under(&r.vmcs01, tsc);
        expected = rdtsc_under(&r.vmcs12, l1);
        l2 = rdtsc_under(&r.vmcs02, tsc);
        /* Each of the roundings is worth a tick at most. */
        assert_true(l2 - expected + 2 <= 4);
    }
}

/* A multiplier of 0 is L1's affair: it stays one, so that the CPU says what it thinks of it. One that
 * only rounding made is none of L1's doing. */
static void test_a_tsc_multiplier_of_0_is_l1s_alone(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    r.vmcs12.proc2_controls |= NVIRT_VMX_PROC2_TSC_SCALING;
    merge(&r);
    assert_true((r.vmcs02.proc2_controls & NVIRT_VMX_PROC2_TSC_SCALING) != 0);
    assert_int_equal(r.vmcs02.tsc_multiplier, 0);
    r.vmcs12.tsc_multiplier = 1;
    r.vmcs01.proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    r.vmcs01.proc2_controls |= NVIRT_VMX_PROC2_TSC_SCALING;
    r.vmcs01.tsc_multiplier = NVIRT_BIT(47);
    merge(&r);
    assert_int_equal(r.vmcs02.tsc_multiplier, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_allowed_control_bits_reach_hardware),
        cmocka_unit_test(test_intercepts_are_the_union_of_both_levels),
        cmocka_unit_test(test_windows_of_l0_do_not_apply_to_l2),
        cmocka_unit_test(test_cr8_exits_when_l0_has_a_tpr_shadow),
        cmocka_unit_test(test_a_tpr_shadow_of_l1_gives_l2_its_page),
        cmocka_unit_test(test_an_apic_access_page_is_the_one_l1_gave),
        cmocka_unit_test(test_virtual_interrupts_of_l2_are_l1s_to_control),
        cmocka_unit_test(test_hardware_processes_posted_interrupts_where_vectors_are_l1s),
        cmocka_unit_test(test_virtual_nmis_of_both_levels),
        cmocka_unit_test(test_io_bitmaps_to_hardware_or_every_port_exits),
        cmocka_unit_test(test_io_of_an_l1_without_interest_is_l0s_choice),
        cmocka_unit_test(test_msr_bitmap_only_when_a_merged_page_is_ready),
        cmocka_unit_test(test_no_control_of_l0_is_lost_silently),
        cmocka_unit_test(test_values_of_l0s_controls_are_carried),
        cmocka_unit_test(test_leaf_bitmaps_are_the_union_of_both_levels),
        cmocka_unit_test(test_pause_loops_are_found_by_the_rule_of_one_level),
        cmocka_unit_test(test_xsaves_and_user_waits_are_l1s_to_enable),
        cmocka_unit_test(test_l0_may_have_no_xss_exiting_bitmap),
        cmocka_unit_test(test_guest_state_l1_is_not_offered_stays_out_of_hardware),
        cmocka_unit_test(test_cr3_targets_yield_to_l0s_cr3_load_exiting),
        cmocka_unit_test(test_tsc_offsets_add_up),
        cmocka_unit_test(test_l2_reads_the_counter_of_l1_scaled_and_offset_by_l1),
        cmocka_unit_test(test_a_tsc_multiplier_of_0_is_l1s_alone),
        cmocka_unit_test(test_page_fault_mask_is_l1s_unless_l0_wants_page_faults),
        cmocka_unit_test(test_cr_masks_drop_the_fixed_bits_of_l0),
        cmocka_unit_test(test_host_state_is_l0s),
        cmocka_unit_test(test_acknowledge_interrupt_is_of_the_level_that_takes_them),
        cmocka_unit_test(test_unloaded_registers_come_from_l1s_live_state),
        cmocka_unit_test(test_event_vpid_and_pdptes_are_handed_on),
        cmocka_unit_test(test_merging_controls_again_keeps_guest_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
