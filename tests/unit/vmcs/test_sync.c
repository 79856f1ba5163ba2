/* SPDX-License-Identifier: MIT */
/*
 * What a VM exit saves into vmcs12 and loads from it.
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
    struct nvirt_vmcs vmcs02;
    struct nvirt_vmcs vmcs01;
    struct nvirt_vmx_caps cpu;
    struct nvi_vmx_live live;
    struct nvi_vmx_exit_info info;
};

static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->cpu.cpu.physical_bits = 40;
}

/* [SDM 3C "Saving Guest State"] */
static void test_registers_and_segments_are_saved(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        r.vmcs02.field[i] = 0x1000 + i;
    }
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_int_equal(r.vmcs12.guest_rip, r.vmcs02.guest_rip);
    assert_int_equal(r.vmcs12.guest_rsp, r.vmcs02.guest_rsp);
    assert_int_equal(r.vmcs12.guest_rflags, r.vmcs02.guest_rflags);
    assert_int_equal(r.vmcs12.guest_cr0, r.vmcs02.guest_cr0);
    assert_int_equal(r.vmcs12.guest_cr3, r.vmcs02.guest_cr3);
    assert_int_equal(r.vmcs12.guest_cr4, r.vmcs02.guest_cr4);
    assert_int_equal(r.vmcs12.guest_cs_ar, r.vmcs02.guest_cs_ar);
    assert_int_equal(r.vmcs12.guest_ldtr_base, r.vmcs02.guest_ldtr_base);
    assert_int_equal(r.vmcs12.guest_idtr_limit, r.vmcs02.guest_idtr_limit);
    assert_int_equal(r.vmcs12.guest_activity, r.vmcs02.guest_activity);
    assert_int_equal(r.vmcs12.guest_interruptibility, r.vmcs02.guest_interruptibility);
    assert_int_equal(r.vmcs12.guest_pending_debug, r.vmcs02.guest_pending_debug);
    assert_int_equal(r.vmcs12.guest_sysenter_eip, r.vmcs02.guest_sysenter_eip);
    /* Not L2's, or not saved without their control. */
    assert_int_equal(r.vmcs12.vmcs_link, 0);
    assert_int_equal(r.vmcs12.guest_smbase, 0);
    assert_int_equal(r.vmcs12.guest_dr7, 0);
    assert_int_equal(r.vmcs12.guest_debugctl, 0);
    assert_int_equal(r.vmcs12.guest_pat, 0);
    assert_int_equal(r.vmcs12.guest_efer, 0);
    assert_int_equal(r.vmcs12.guest_preemption_timer, 0);
    assert_int_equal(r.vmcs12.guest_pdpte0, 0);
    /* Nothing of L0's is handed to L1. */
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) == NVIRT_VMCS_KIND_HOST ||
            nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) == NVIRT_VMCS_KIND_EXIT) {
            assert_int_equal(r.vmcs12.field[i], 0);
        }
    }
}

static void test_msrs_and_debug_registers_are_saved_by_their_controls(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.exit_controls =
        NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_SAVE_PAT |
        NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    r.vmcs02.guest_dr7 = 0x401;
    r.vmcs02.guest_debugctl = 2;
    r.vmcs02.guest_pat = 3;
    r.vmcs02.guest_efer = 4;
    r.vmcs02.guest_preemption_timer = 5;
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_int_equal(r.vmcs12.guest_dr7, 0x401);
    assert_int_equal(r.vmcs12.guest_debugctl, 2);
    assert_int_equal(r.vmcs12.guest_pat, 3);
    assert_int_equal(r.vmcs12.guest_efer, 4);
    assert_int_equal(r.vmcs12.guest_preemption_timer, 5);
}

static void test_pdptes_are_saved_for_a_pae_guest_under_ept(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs02.guest_pdpte2 = 0x2001;
    r.vmcs02.guest_cr0 = NVIRT_CR0_PG;
    r.vmcs02.guest_cr4 = NVIRT_CR4_PAE;
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_int_equal(r.vmcs12.guest_pdpte2, 0);
    r.vmcs12.proc_controls = NVIRT_VMX_PROC_SECONDARY;
    r.vmcs12.proc2_controls = NVIRT_VMX_PROC2_EPT;
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_int_equal(r.vmcs12.guest_pdpte2, 0x2001);
}

/* [SDM 3C "Recording VM-Exit Information and Updating VM-entry Control Fields"] */
static void test_ia32e_mode_and_event_valid_bit_are_updated(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.entry_controls = NVIRT_VMX_ENTRY_CTL_IA32E | NVIRT_VMX_ENTRY_CTL_LOAD_PAT;
    r.vmcs12.entry_interruption = NVIRT_VMX_INTR_VALID | 0x30d;
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_int_equal(r.vmcs12.entry_controls, NVIRT_VMX_ENTRY_CTL_LOAD_PAT);
    assert_int_equal(r.vmcs12.entry_interruption, 0x30d);
    r.vmcs02.guest_efer = NVIRT_EFER_LMA;
    nvi_vmx_save_guest_state(&r.vmcs02, &r.vmcs12);
    assert_true((r.vmcs12.entry_controls & NVIRT_VMX_ENTRY_CTL_IA32E) != 0);
}

static void test_exit_information_is_recorded_whole(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.info = (struct nvi_vmx_exit_info){.reason = 48,
                                        .qualification = 1,
                                        .interruption = 2,
                                        .interruption_error = 3,
                                        .idt_vectoring = 4,
                                        .idt_vectoring_error = 5,
                                        .insn_length = 6,
                                        .insn_info = 7,
                                        .guest_linear = 8,
                                        .guest_physical = 9};
    nvi_vmx_save_exit_info(&r.info, &r.vmcs12);
    assert_int_equal(r.vmcs12.exit_reason, 48);
    assert_int_equal(r.vmcs12.exit_qualification, 1);
    assert_int_equal(r.vmcs12.exit_interruption, 2);
    assert_int_equal(r.vmcs12.exit_interruption_error, 3);
    assert_int_equal(r.vmcs12.idt_vectoring, 4);
    assert_int_equal(r.vmcs12.idt_vectoring_error, 5);
    assert_int_equal(r.vmcs12.exit_insn_length, 6);
    assert_int_equal(r.vmcs12.exit_insn_info, 7);
    assert_int_equal(r.vmcs12.guest_linear, 8);
    assert_int_equal(r.vmcs12.guest_physical, 9);
}

/* [SDM 3C "VM-Entry Failures During or After Loading Guest State"]: reason and qualification only. */
static void test_an_entry_failure_changes_reason_and_qualification_only(void **state)
{
    struct rig r;
    struct nvirt_vmcs before;

    (void)state;
    make(&r);
    memset(&r.vmcs12, 0x5a, sizeof(r.vmcs12));
    before = r.vmcs12;
    nvi_vmx_save_entry_failure(33, 4, &r.vmcs12);
    assert_int_equal(r.vmcs12.exit_reason, 0x80000021);
    assert_int_equal(r.vmcs12.exit_qualification, 4);
    before.exit_reason = r.vmcs12.exit_reason;
    before.exit_qualification = r.vmcs12.exit_qualification;
    assert_memory_equal(&before, &r.vmcs12, sizeof(before));
}

/* [SDM 3C "Loading Host Control Registers, Debug Registers, MSRs"] */
static void test_host_control_registers_are_loaded_with_their_exceptions(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.host_cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG | NVIRT_CR0_NE | NVIRT_CR0_CD;
    r.vmcs12.host_cr3 = NVIRT_BIT(45) | 0x7000;
    r.vmcs12.host_cr4 = NVIRT_CR4_VMXE | NVIRT_CR4_PCIDE;
    r.live.cr0 = NVIRT_CR0_ET | NVIRT_CR0_NW | NVIRT_CR0_TS;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_cr0, NVIRT_CR0_PE | NVIRT_CR0_PG | NVIRT_CR0_NE |
                                             NVIRT_CR0_ET | NVIRT_CR0_NW);
    assert_int_equal(r.vmcs01.cr0_shadow, r.vmcs01.guest_cr0);
    assert_int_equal(r.vmcs01.guest_cr3, 0x7000);
    /* A 32-bit L1 loses PCIDE, a 64-bit one gains PAE. */
    assert_int_equal(r.vmcs01.guest_cr4, NVIRT_CR4_VMXE);
    r.vmcs12.exit_controls = NVIRT_VMX_EXIT_CTL_HOST_64;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_cr4, NVIRT_CR4_VMXE | NVIRT_CR4_PCIDE | NVIRT_CR4_PAE);
    assert_int_equal(r.vmcs01.cr4_shadow, r.vmcs01.guest_cr4);
}

static void test_host_msrs_and_debug_registers_after_an_exit(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs01.guest_dr7 = 0x7ff;
    r.vmcs01.guest_debugctl = 3;
    r.live.pat = 0x11;
    r.live.efer = NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_SCE;
    r.vmcs12.host_pat = 0x22;
    r.vmcs12.host_efer = NVIRT_EFER_NXE;
    r.vmcs12.host_sysenter_cs = 8;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_dr7, 0x400);
    assert_int_equal(r.vmcs01.guest_debugctl, 0);
    assert_int_equal(r.vmcs01.guest_sysenter_cs, 8);
    assert_int_equal(r.vmcs01.guest_pat, 0x11);
    assert_int_equal(r.vmcs01.guest_efer, NVIRT_EFER_SCE);
    assert_int_equal(r.vmcs01.entry_controls & NVIRT_VMX_ENTRY_CTL_IA32E, 0);
    r.vmcs12.exit_controls = NVIRT_VMX_EXIT_CTL_HOST_64;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_efer, NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA);
    assert_true((r.vmcs01.entry_controls & NVIRT_VMX_ENTRY_CTL_IA32E) != 0);
    r.vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_LOAD_EFER;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_pat, 0x22);
    assert_int_equal(r.vmcs01.guest_efer, NVIRT_EFER_NXE);
}

/* [SDM 3C "Loading Host Segment and Descriptor-Table Registers"] */
static void test_host_segments_have_their_fixed_shapes(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.host_cs_selector = 0x10;
    r.vmcs12.host_ss_selector = 0x18;
    r.vmcs12.host_tr_selector = 0x40;
    r.vmcs12.host_tr_base = 0x5000;
    r.vmcs12.host_fs_base = 0x6000;
    r.vmcs12.host_gdtr_base = 0x7000;
    r.vmcs01.guest_ldtr_selector = 0x20;
    r.vmcs12.exit_controls = NVIRT_VMX_EXIT_CTL_HOST_64;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_cs_ar, 0xa09b);
    assert_int_equal(r.vmcs01.guest_cs_limit, 0xffffffff);
    assert_int_equal(r.vmcs01.guest_ss_ar, 0xc093);
    assert_int_equal(r.vmcs01.guest_ds_ar, 0x10000);
    assert_int_equal(r.vmcs01.guest_fs_base, 0x6000);
    assert_int_equal(r.vmcs01.guest_tr_ar, 0x8b);
    assert_int_equal(r.vmcs01.guest_tr_limit, 0x67);
    assert_int_equal(r.vmcs01.guest_tr_base, 0x5000);
    assert_int_equal(r.vmcs01.guest_ldtr_selector, 0);
    assert_int_equal(r.vmcs01.guest_ldtr_ar, 0x10000);
    assert_int_equal(r.vmcs01.guest_gdtr_base, 0x7000);
    assert_int_equal(r.vmcs01.guest_gdtr_limit, 0xffff);
    assert_int_equal(r.vmcs01.guest_idtr_limit, 0xffff);
    r.vmcs12.exit_controls = 0;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_cs_ar, 0xc09b);
}

/* [SDM 3C "Loading Host RIP, RSP, RFLAGS, and SSP"] and "Updating Non-Register State". */
static void test_rip_rsp_rflags_and_non_register_state_after_an_exit(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.vmcs12.host_rip = 0x1234;
    r.vmcs12.host_rsp = 0x5678;
    r.vmcs01.guest_interruptibility = NVIRT_VMX_BLOCK_STI;
    r.vmcs01.guest_activity = NVIRT_VMX_ACTIVITY_HLT;
    r.vmcs01.guest_pending_debug = NVIRT_BIT(14);
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_rip, 0x1234);
    assert_int_equal(r.vmcs01.guest_rsp, 0x5678);
    assert_int_equal(r.vmcs01.guest_rflags, 2);
    assert_int_equal(r.vmcs01.guest_activity, 0);
    assert_int_equal(r.vmcs01.guest_interruptibility, 0);
    assert_int_equal(r.vmcs01.guest_pending_debug, 0);
    r.live.nmi_blocked = true;
    nvi_vmx_load_host_state(&r.vmcs12, &r.live, &r.cpu, &r.vmcs01);
    assert_int_equal(r.vmcs01.guest_interruptibility, NVIRT_VMX_BLOCK_NMI);
}

static void test_nmi_blocking_that_l1_is_left_with(void **state)
{
    struct rig r;

    (void)state;
    make(&r);
    r.info.reason = NVIRT_VMX_EXIT_HLT;
    assert_false(nvi_vmx_live_at_exit(&r.vmcs02, &r.vmcs12, &r.info).nmi_blocked);
    r.vmcs02.guest_interruptibility = NVIRT_VMX_BLOCK_NMI;
    assert_true(nvi_vmx_live_at_exit(&r.vmcs02, &r.vmcs12, &r.info).nmi_blocked);
    r.vmcs12.pin_controls = NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS;
    assert_false(nvi_vmx_live_at_exit(&r.vmcs02, &r.vmcs12, &r.info).nmi_blocked);
    r.info.reason = NVIRT_VMX_EXIT_EXCEPTION_NMI;
    r.info.interruption = (uint32_t)(NVIRT_VMX_INTR_TYPE_NMI << NVIRT_VMX_INTR_TYPE_SHIFT | 2);
    assert_true(nvi_vmx_live_at_exit(&r.vmcs02, &r.vmcs12, &r.info).nmi_blocked);
    r.vmcs01.guest_interruptibility = NVIRT_VMX_BLOCK_NMI;
    r.vmcs01.guest_pat = 9;
    assert_true(nvi_vmx_live_at_entry_failure(&r.vmcs01).nmi_blocked);
    assert_int_equal(nvi_vmx_live_at_entry_failure(&r.vmcs01).pat, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers_and_segments_are_saved),
        cmocka_unit_test(test_msrs_and_debug_registers_are_saved_by_their_controls),
        cmocka_unit_test(test_pdptes_are_saved_for_a_pae_guest_under_ept),
        cmocka_unit_test(test_ia32e_mode_and_event_valid_bit_are_updated),
        cmocka_unit_test(test_exit_information_is_recorded_whole),
        cmocka_unit_test(test_an_entry_failure_changes_reason_and_qualification_only),
        cmocka_unit_test(test_host_control_registers_are_loaded_with_their_exceptions),
        cmocka_unit_test(test_host_msrs_and_debug_registers_after_an_exit),
        cmocka_unit_test(test_host_segments_have_their_fixed_shapes),
        cmocka_unit_test(test_rip_rsp_rflags_and_non_register_state_after_an_exit),
        cmocka_unit_test(test_nmi_blocking_that_l1_is_left_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
