/* SPDX-License-Identifier: MIT */
/*
 * Checks of VM entry on controls and host state, which fail the instruction itself, and how such a
 * failure leaves everything as it was. [SDM 3C "Checks on VMX Controls and Host-State Area"].
 */
#include "entry_row.h"
#include "tests.h"

SNIPPET(entry_done, "", "", "");
SNIPPET16(entry_done16, "", "", "");
SNIPPET32(entry_done32, "", "", "");

static const char *code_for(enum l2_mode mode)
{
    if (mode == L2_REAL)
        return s_entry_done16;
    return mode == L2_EPT || mode == L2_PLAIN ? s_entry_done : s_entry_done32;
}

static void apply(const struct bend *b)
{
    if (b->clear != 0 || b->set != 0)
        vmwrite(b->field, (vmread(b->field) & ~b->clear) | b->set);
}

/*
 * Older CPUs lack controls and fields: what enters with them elsewhere cannot be tried there. An
 * event of type "other" is one of a CPU that has the monitor trap flag; Bochs 2.7 dies of it on
 * others.
 */
static bool cpu_has(const struct bend *b, enum outcome outcome)
{
    uint64_t value = 0;

    if (b->field == F_ENTRY_INTR && (b->set >> 8 & 7) == T_OTHER)
        return ctl_can(F_PROC, PROC_MTF);
    return outcome != ENTERS || (b->clear == 0 && b->set == 0) ||
           (vmx_read(b->field, &value) == VMX_OK &&
            (b->clear == ~0ull || ctl_can(b->field, (uint32_t)b->set)));
}

static void run_row(const struct entry_row *r)
{
    uint32_t error;

    l2_reset(r->mode);
    l2_start(code_for(r->mode));
    for (unsigned i = 0; i < 3; i++) {
        if (!cpu_has(&r->bend[i], r->outcome))
            return;
    }
    for (unsigned i = 0; i < 3; i++)
        apply(&r->bend[i]);
    (void)l2_run();
    error = (uint32_t)vmread(F_INSN_ERROR);
    switch (r->outcome) {
    case ENTERS:
        check_eq(l2.reason, R_VMCALL, "%s", r->name);
        break;
    case BAD_CONTROLS:
    case BAD_HOST:
        if (l2.reason != (L2_NOT_ENTERED | VMX_FAIL_VALID))
            check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "%s", r->name);
        else
            check_eq(error, r->outcome == BAD_HOST ? E_HOST_STATE : E_CONTROLS, "%s", r->name);
        break;
    case BAD_GUEST:
        if (l2.reason != (R_ENTRY_FAILURE | R_BAD_GUEST))
            check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "%s", r->name);
        else
            check_eq(vmread(F_QUALIFICATION), 0, "%s", r->name);
        break;
    }
}

void entry_rows(const struct entry_row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        run_row(&rows[i]);
}

#define INJ(type, v) (INTR_VALID | INTR_TYPE(type) | (v))

static const struct entry_row controls[] = {
    {"plain", ENTERS, L2_EPT, {{0, 0, 0}}},
    {"pin_must_be_1", BAD_CONTROLS, L2_EPT, {CLEAR(F_PIN, 1u << 1)}},
    {"pin_must_be_0", BAD_CONTROLS, L2_EPT, {SET(F_PIN, 1u << 31)}},
    {"proc_must_be_1", BAD_CONTROLS, L2_EPT, {CLEAR(F_PROC, 1u << 1)}},
    {"proc_must_be_0", BAD_CONTROLS, L2_EPT, {SET(F_PROC, 1u << 0)}},
    {"proc2_must_be_0", BAD_CONTROLS, L2_EPT, {SET(F_PROC2, 1u << 31)}},
    {"proc2_unused", ENTERS, L2_PLAIN,
     {CLEAR(F_PROC, PROC_SECONDARY), TO(F_PROC2, 0xffffffff)}},
    {"exit_must_be_1", BAD_CONTROLS, L2_EPT, {CLEAR(F_EXIT, 1u << 0)}},
    {"exit_must_be_0", BAD_CONTROLS, L2_EPT, {SET(F_EXIT, 1u << 27)}},
    {"entry_must_be_1", BAD_CONTROLS, L2_EPT, {CLEAR(F_ENTRY, 1u << 0)}},
    {"entry_must_be_0", BAD_CONTROLS, L2_EPT, {SET(F_ENTRY, 1u << 31)}},
    {"cr3_target_count_4", ENTERS, L2_EPT, {TO(F_CR3_TARGET_COUNT, 4)}},
    {"cr3_target_count_5", BAD_CONTROLS, L2_EPT, {TO(F_CR3_TARGET_COUNT, 5)}},
    {"io_bitmap_a_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_IO_BITMAPS), SET(F_IO_BITMAP_A, 0x800)}},
    {"io_bitmap_b_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_IO_BITMAPS), SET(F_IO_BITMAP_B, 1)}},
    {"io_bitmap_a_width", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_IO_BITMAPS), SET(F_IO_BITMAP_A, WIDE)}},
    {"io_bitmap_b_width", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_IO_BITMAPS), SET(F_IO_BITMAP_B, WIDE)}},
    {"io_bitmap_unused", ENTERS, L2_EPT, {SET(F_IO_BITMAP_A, WIDE | 1)}},
    {"msr_bitmap_aligned", BAD_CONTROLS, L2_EPT, {SET(F_MSR_BITMAP, 0x10)}},
    {"msr_bitmap_width", BAD_CONTROLS, L2_EPT, {SET(F_MSR_BITMAP, WIDE)}},
    {"msr_bitmap_unused", ENTERS, L2_EPT,
     {CLEAR(F_PROC, PROC_MSR_BITMAPS), SET(F_MSR_BITMAP, WIDE | 1)}},
    {"virtual_apic_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_TPR_SHADOW), TO(F_VIRTUAL_APIC, 0x800)}},
    {"virtual_apic_width", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_TPR_SHADOW), TO(F_VIRTUAL_APIC, WIDE)}},
    {"virtual_apic_unused", ENTERS, L2_EPT, {TO(F_VIRTUAL_APIC, WIDE | 1)}},
    {"tpr_threshold_reserved", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC, PROC_TPR_SHADOW), TO(F_VIRTUAL_APIC, 0x1000), TO(F_TPR_THRESHOLD, 16)}},
    {"tpr_threshold_unused", ENTERS, L2_EPT, {TO(F_TPR_THRESHOLD, ~0ull)}},
    {"virtual_nmi_without_nmi", BAD_CONTROLS, L2_EPT, {SET(F_PIN, PIN_VIRTUAL_NMI)}},
    {"nmi_window_without_virtual", BAD_CONTROLS, L2_EPT,
     {SET(F_PIN, PIN_NMI), SET(F_PROC, PROC_NMI_WINDOW)}},
    {"vpid_0", BAD_CONTROLS, L2_EPT, {TO(F_VPID, 0)}},
    {"eptp_memory_type", BAD_CONTROLS, L2_EPT, {CHANGE(F_EPTP, 7, 1)}},
    {"eptp_walk_length", BAD_CONTROLS, L2_EPT, {CHANGE(F_EPTP, 0x38, 2 << 3)}},
    {"eptp_reserved", BAD_CONTROLS, L2_EPT, {SET(F_EPTP, 1 << 8)}},
    {"eptp_width", BAD_CONTROLS, L2_EPT, {SET(F_EPTP, WIDE)}},
    {"eptp_unused", ENTERS, L2_PLAIN, {TO(F_EPTP, WIDE)}},
    {"unrestricted_without_ept", BAD_CONTROLS, L2_PLAIN, {SET(F_PROC2, PROC2_UNRESTRICTED)}},
    {"vmfunc_reserved", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_VMFUNC), TO(F_VMFUNC_CONTROLS, 2)}},
    {"vmfunc_unused", ENTERS, L2_EPT, {TO(F_VMFUNC_CONTROLS, ~0ull), TO(F_EPTP_LIST, 1)}},
    {"eptp_switching_without_ept", BAD_CONTROLS, L2_PLAIN,
     {SET(F_PROC2, PROC2_VMFUNC), TO(F_VMFUNC_CONTROLS, 1)}},
    {"ve_info_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_EPT_VE), TO(F_VE_INFO, 0x800)}},
    {"ve_info_width", BAD_CONTROLS, L2_EPT, {SET(F_PROC2, PROC2_EPT_VE), TO(F_VE_INFO, WIDE)}},
    {"ve_info_unused", ENTERS, L2_EPT, {TO(F_VE_INFO, WIDE | 1)}},
    {"pml_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_PML), TO(F_PML_ADDR, 0x800)}},
    {"pml_width", BAD_CONTROLS, L2_EPT, {SET(F_PROC2, PROC2_PML), TO(F_PML_ADDR, WIDE)}},
    {"pml_without_ept", BAD_CONTROLS, L2_PLAIN,
     {SET(F_PROC, PROC_SECONDARY), SET(F_PROC2, PROC2_PML), TO(F_PML_ADDR, 0x1000)}},
    {"pml_unused", ENTERS, L2_EPT, {TO(F_PML_ADDR, WIDE | 1)}},
    {"spptp_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_SUBPAGES), TO(F_SPPTP, 0x800)}},
    {"spptp_width", BAD_CONTROLS, L2_EPT, {SET(F_PROC2, PROC2_SUBPAGES), TO(F_SPPTP, WIDE)}},
    {"spptp_without_ept", BAD_CONTROLS, L2_PLAIN,
     {SET(F_PROC, PROC_SECONDARY), SET(F_PROC2, PROC2_SUBPAGES), TO(F_SPPTP, 0x1000)}},
    {"spptp_unused", ENTERS, L2_EPT, {TO(F_SPPTP, WIDE | 1)}},
    {"eptp_list_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_VMFUNC), TO(F_VMFUNC_CONTROLS, 1), TO(F_EPTP_LIST, 0x800)}},
    {"eptp_list_width", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_VMFUNC), TO(F_VMFUNC_CONTROLS, 1), TO(F_EPTP_LIST, WIDE)}},
    {"eptp_list_unused", ENTERS, L2_EPT,
     {SET(F_PROC2, PROC2_VMFUNC), TO(F_VMFUNC_CONTROLS, 0), TO(F_EPTP_LIST, WIDE | 1)}},
    {"save_timer_without_timer", BAD_CONTROLS, L2_EPT, {SET(F_EXIT, EXIT_SAVE_TIMER)}},
    {"exit_store_aligned", BAD_CONTROLS, L2_EPT,
     {TO(F_EXIT_MSR_STORE_COUNT, 1), TO(F_EXIT_MSR_STORE, L2_DATA + 8)}},
    {"exit_store_width", BAD_CONTROLS, L2_EPT,
     {TO(F_EXIT_MSR_STORE_COUNT, 1), TO(F_EXIT_MSR_STORE, WIDE)}},
    {"exit_store_unused", ENTERS, L2_EPT, {TO(F_EXIT_MSR_STORE, WIDE | 1)}},
    {"exit_load_aligned", BAD_CONTROLS, L2_EPT,
     {TO(F_EXIT_MSR_LOAD_COUNT, 1), TO(F_EXIT_MSR_LOAD, L2_DATA + 4)}},
    {"exit_load_width", BAD_CONTROLS, L2_EPT,
     {TO(F_EXIT_MSR_LOAD_COUNT, 1), TO(F_EXIT_MSR_LOAD, WIDE)}},
    {"exit_load_unused", ENTERS, L2_EPT, {TO(F_EXIT_MSR_LOAD, WIDE | 1)}},
    {"entry_load_aligned", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_MSR_LOAD_COUNT, 1), TO(F_ENTRY_MSR_LOAD, L2_DATA + 1)}},
    {"entry_load_width", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_MSR_LOAD_COUNT, 1), TO(F_ENTRY_MSR_LOAD, WIDE)}},
    {"entry_load_unused", ENTERS, L2_EPT, {TO(F_ENTRY_MSR_LOAD, WIDE | 1)}},
    {"inject_type_1", BAD_CONTROLS, L2_EPT, {TO(F_ENTRY_INTR, INJ(1, 0x20))}},
    {"inject_nmi_vector", BAD_CONTROLS, L2_EPT, {TO(F_ENTRY_INTR, INJ(T_NMI, 3))}},
    {"inject_exception_vector", BAD_CONTROLS, L2_EPT, {TO(F_ENTRY_INTR, INJ(T_HARD, 32))}},
    {"inject_other_vector", BAD_CONTROLS, L2_EPT, {TO(F_ENTRY_INTR, INJ(T_OTHER, 1))}},
    {"inject_reserved", BAD_CONTROLS, L2_EPT, {TO(F_ENTRY_INTR, INJ(T_HARD, 6) | (1u << 13))}},
    {"inject_error_bits", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_INTR, INJ(T_HARD, 13) | INTR_ERROR), TO(F_ENTRY_INTR_ERROR, 0x10000)}},
    {"inject_soft_length_16", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_INTR, INJ(T_SOFTINT, 0x50)), TO(F_ENTRY_INSN_LEN, 16)}},
    {"inject_soft_exception_length_16", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_INTR, INJ(T_SOFT_EXC, 3)), TO(F_ENTRY_INSN_LEN, 16)}},
    {"inject_not_valid", ENTERS, L2_EPT,
     {TO(F_ENTRY_INTR, (INJ(1, 0xff) | (1u << 20)) & ~INTR_VALID)}},
    {"deactivate_dual_monitor", BAD_CONTROLS, L2_EPT, {SET(F_ENTRY, ENTRY_DUAL_MONITOR)}},
};

static const struct entry_row host[] = {
    {"cr0_ne", BAD_HOST, L2_EPT, {CLEAR(F_H_CR0, CR0_NE)}},
    {"cr0_pe", BAD_HOST, L2_EPT, {CLEAR(F_H_CR0, CR0_PE)}},
    {"cr0_pg", BAD_HOST, L2_EPT, {CLEAR(F_H_CR0, CR0_PG)}},
    {"cr4_vmxe", BAD_HOST, L2_EPT, {CLEAR(F_H_CR4, CR4_VMXE)}},
    {"cr4_reserved", BAD_HOST, L2_EPT, {SET(F_H_CR4, 1ull << 40)}},
    {"cr4_pae", BAD_HOST, L2_EPT, {CLEAR(F_H_CR4, CR4_PAE)}},
    {"cr3_width", BAD_HOST, L2_EPT, {SET(F_H_CR3, WIDE)}},
    {"sysenter_esp", BAD_HOST, L2_EPT, {TO(F_H_SYSENTER_ESP, NONCANONICAL)}},
    {"sysenter_eip", BAD_HOST, L2_EPT, {TO(F_H_SYSENTER_EIP, NONCANONICAL)}},
    {"pat_type", BAD_HOST, L2_EPT, {TO(F_H_PAT, 2)}},
    {"pat_unused", ENTERS, L2_EPT, {CLEAR(F_EXIT, EXIT_LOAD_PAT), TO(F_H_PAT, 2)}},
    {"efer_reserved", BAD_HOST, L2_EPT, {SET(F_H_EFER, 1ull << 1)}},
    {"efer_lma", BAD_HOST, L2_EPT, {CLEAR(F_H_EFER, EFER_LMA)}},
    {"efer_lme", BAD_HOST, L2_EPT, {CLEAR(F_H_EFER, EFER_LME)}},
    {"cs_null", BAD_HOST, L2_EPT, {TO(F_H_CS_SEL, 0)}},
    {"tr_null", BAD_HOST, L2_EPT, {TO(F_H_TR_SEL, 0)}},
    {"cs_rpl", BAD_HOST, L2_EPT, {SET(F_H_CS_SEL, 1)}},
    {"ss_rpl", BAD_HOST, L2_EPT, {SET(F_H_SS_SEL, 3)}},
    {"ds_rpl", BAD_HOST, L2_EPT, {SET(F_H_DS_SEL, 2)}},
    {"es_rpl", BAD_HOST, L2_EPT, {SET(F_H_ES_SEL, 1)}},
    {"fs_rpl", BAD_HOST, L2_EPT, {SET(F_H_FS_SEL, 1)}},
    {"gs_rpl", BAD_HOST, L2_EPT, {SET(F_H_GS_SEL, 1)}},
    {"tr_rpl", BAD_HOST, L2_EPT, {SET(F_H_TR_SEL, 1)}},
    {"cs_ti", BAD_HOST, L2_EPT, {SET(F_H_CS_SEL, 4)}},
    {"ss_ti", BAD_HOST, L2_EPT, {SET(F_H_SS_SEL, 4)}},
    {"ds_ti", BAD_HOST, L2_EPT, {SET(F_H_DS_SEL, 4)}},
    {"es_ti", BAD_HOST, L2_EPT, {SET(F_H_ES_SEL, 4)}},
    {"fs_ti", BAD_HOST, L2_EPT, {SET(F_H_FS_SEL, 4)}},
    {"gs_ti", BAD_HOST, L2_EPT, {SET(F_H_GS_SEL, 4)}},
    {"tr_ti", BAD_HOST, L2_EPT, {SET(F_H_TR_SEL, 4)}},
    {"fs_base", BAD_HOST, L2_EPT, {TO(F_H_FS_BASE, NONCANONICAL)}},
    {"gs_base", BAD_HOST, L2_EPT, {TO(F_H_GS_BASE, NONCANONICAL)}},
    {"tr_base", BAD_HOST, L2_EPT, {TO(F_H_TR_BASE, NONCANONICAL)}},
    {"gdtr_base", BAD_HOST, L2_EPT, {TO(F_H_GDTR_BASE, NONCANONICAL)}},
    {"idtr_base", BAD_HOST, L2_EPT, {TO(F_H_IDTR_BASE, NONCANONICAL)}},
    {"rip", BAD_HOST, L2_EPT, {TO(F_H_RIP, NONCANONICAL)}},
    {"not_64_bit", BAD_HOST, L2_EPT, {CLEAR(F_EXIT, EXIT_HOST64)}},
};

/*
 * The error-code bit has to fit the vector, unless IA32_VMX_BASIC bit 56 says that it need not;
 * then the event is delivered as asked.
 */
static void error_code_consistency(void)
{
    static const struct {
        const char *name;
        uint32_t info;
    } rows[] = {{"inject_error_missing", INJ(T_HARD, 13)},
                {"inject_error_unwanted", INJ(T_HARD, 6) | INTR_ERROR}};
    bool free_choice = (rt_rdmsr(MSR_VMX_BASIC) >> 56 & 1) != 0;

    for (unsigned i = 0; i < 2; i++) {
        l2_reset(L2_EPT);
        l2_start(s_entry_done);
        vmwrite(F_ENTRY_INTR, rows[i].info);
        (void)l2_run();
        if (free_choice)
            check_eq((uint64_t)l2_handler_vector(), rows[i].info & 0xff, "%s", rows[i].name);
        else
            check(l2.reason == (L2_NOT_ENTERED | VMX_FAIL_VALID) &&
                      vmread(F_INSN_ERROR) == E_CONTROLS, "%s", rows[i].name);
    }
}

/* Both kinds wrong at once: controls and host state come before guest state, in either order. */
static void order(void)
{
    l2_reset(L2_EPT);
    l2_start(s_entry_done);
    vmwrite(F_H_CR3, WIDE);
    vmwrite(F_G_RFLAGS, 0);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "order.host_before_guest");
    l2_reset(L2_EPT);
    l2_start(s_entry_done);
    vmwrite(F_CR3_TARGET_COUNT, 9);
    vmwrite(F_G_RFLAGS, 0);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "order.controls_before_guest");
}

/* A VMfail leaves the launch state, the injected event and L1 itself as they were. */
static void vmfail_changes_nothing(void)
{
    uint64_t cr0 = rt_read_cr0(), cr3 = rt_read_cr3(), cr4 = rt_read_cr4();

    l2_reset(L2_EPT);
    l2_start(s_entry_done);
    vmwrite(F_CR3_TARGET_COUNT, 5);
    vmwrite(F_ENTRY_INTR, INJ(T_EXTINT, 0x20));
    vmwrite(F_G_RFLAGS, 0x202);
    (void)l2_run();
    check_eq(vmread(F_ENTRY_INTR), INJ(T_EXTINT, 0x20), "vmfail.event_kept");
    l2.launched = true;
    (void)l2_run();
    check_eq(vmread(F_INSN_ERROR), E_RESUME_NOT_LAUNCHED, "vmfail.still_clear");
    check(rt_read_cr0() == cr0 && rt_read_cr3() == cr3 && rt_read_cr4() == cr4,
          "vmfail.l1_unchanged");
    l2.launched = false;
    vmwrite(F_CR3_TARGET_COUNT, 0);
    vmwrite(F_ENTRY_INTR, 0);
    (void)l2_run();
    (void)expect_done("vmfail.then_enters");
    l2.launched = false;
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "launched.vmlaunch_fails");
    check_eq(vmread(F_INSN_ERROR), E_LAUNCH_NOT_CLEAR, "launched.vmlaunch_error");
    l2.launched = true;
    vmwrite(F_CR3_TARGET_COUNT, 5);
    (void)l2_run();
    check_eq(vmread(F_INSN_ERROR), E_CONTROLS, "launched.vmresume_controls");
    vmwrite(F_CR3_TARGET_COUNT, 0);
    (void)l2_run();
    (void)expect_done("launched.vmresume");
    /* VMCLEAR makes it clear again. */
    uint64_t pa = (uint64_t)vmcs_region[0];
    (void)vmclear(&pa);
    (void)vmptrld(&pa);
    l2.launched = true;
    (void)l2_run();
    check_eq(vmread(F_INSN_ERROR), E_RESUME_NOT_LAUNCHED, "cleared.vmresume_fails");
    l2.launched = false;
    (void)l2_run();
    (void)expect_done("cleared.vmlaunch");
}

void test_entry_controls(void)
{
    check_group("entry.controls");
    entry_rows(controls, sizeof(controls) / sizeof(controls[0]));
    error_code_consistency();
    check_group("entry.host");
    entry_rows(host, sizeof(host) / sizeof(host[0]));
    check_group("entry");
    order();
    vmfail_changes_nothing();
}
