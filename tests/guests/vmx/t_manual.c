/* SPDX-License-Identifier: MIT */
/*
 * Rules of the manual that Bochs 2.7 breaks (differences.md), but that an L0 can keep by its own
 * checks. They would spoil the comparison of a bare and a nested log, so they run only when the
 * command line names the subject "manual"; on a bare Bochs most of them fail.
 */
#include "entry_row.h"
#include "tests.h"

#define INJ(type, v) (INTR_VALID | INTR_TYPE(type) | (v))
#define G(name, ...) {name, BAD_GUEST, L2_EPT, {__VA_ARGS__}}

static const struct entry_row rows[] = {
    {"entry_to_smm", BAD_CONTROLS, L2_EPT, {SET(F_ENTRY, ENTRY_SMM)}},
    {"inject_error_code_with_nmi", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_INTR, INJ(T_NMI, 2) | INTR_ERROR)}},
    {"inject_error_code_with_interrupt", BAD_CONTROLS, L2_EPT,
     {TO(F_ENTRY_INTR, INJ(T_EXTINT, 0x20) | INTR_ERROR), TO(F_G_RFLAGS, 0x202)}},
    {"inject_error_code_in_real_mode", BAD_CONTROLS, L2_REAL,
     {TO(F_ENTRY_INTR, INJ(T_HARD, 13) | INTR_ERROR)}},
    {"ia32e_without_paging", BAD_GUEST, L2_FLAT32,
     {SET(F_ENTRY, ENTRY_IA32E), SET(F_G_EFER, EFER_LMA | EFER_LME), SET(F_G_CR4, CR4_PAE)}},
    G("rip_noncanonical", TO(F_G_RIP, NONCANONICAL)),
    G("hlt_injecting_ud", TO(F_G_ACTIVITY, ACTIVITY_HLT), TO(F_ENTRY_INTR, INJ(T_HARD, 6))),
    G("virtual_nmi_blocked", SET(F_PIN, PIN_NMI | PIN_VIRTUAL_NMI),
      TO(F_G_INTERRUPTIBILITY, BLOCK_NMI), TO(F_ENTRY_INTR, INJ(T_NMI, 2))),
    G("pending_debug_high", SET(F_G_PENDING_DEBUG, 1ull << 32)),
    G("pending_debug_bs_missing", TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS), SET(F_G_RFLAGS, 0x100)),
    G("pending_debug_bs_without_tf", TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS),
      SET(F_G_PENDING_DEBUG, 1 << 14)),
    G("debugctl_reserved", SET(F_G_DEBUGCTL, 1ull << 40)),
};

static void large_leaf_bit_12(void)
{
    l2_reset(L2_EPT);
    l2_ept.data_pd[0] = (uint64_t)l2_data[0] & ~0x1fffffull;
    l2_ept.data_pd[0] |= EPT_RWX | EPT_WB | EPT_LARGE | (1ull << 12);
    l2_paging.data_pd[0] = L2_DATA | 0x87;
    l2_start((const char *)L2_DATA);
    (void)l2_run();
    check_eq(l2.reason, R_EPT_MISCONFIG, "large_leaf_bit_12");
}

static void in_root_operation(void)
{
    struct inv_desc d = {(uint64_t)l2_ept.top | EPTP_WALK4 | EPTP_WB, 0};

    l2_reset(L2_EPT);
    check_eq(invept(1ull << 32 | 1, &d), VMX_FAIL_VALID, "invept_type_is_64_bit");
    check_eq(vmread(F_INSN_ERROR), E_INV_OPERAND, "invept_type_is_64_bit.error");
    /* Last: a bare Bochs stops here. */
    check_eq(vmcall(), VMX_FAIL_VALID, "vmcall_in_root");
    check_eq(vmread(F_INSN_ERROR), E_VMCALL_ROOT, "vmcall_in_root.error");
}

void test_manual(void)
{
    check_group("manual");
    entry_rows(rows, sizeof(rows) / sizeof(rows[0]));
    large_leaf_bit_12();
    test_pml_manual();
    test_ve_manual();
    test_spp_manual();
    test_shadow_manual();
    check_group("manual");
    in_root_operation();
}
