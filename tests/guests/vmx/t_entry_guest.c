/* SPDX-License-Identifier: MIT */
/*
 * Checks of VM entry on the guest-state area, whose failure is an exit of its own kind (reason 33),
 * MSR-load failures (34), and what such an exit does and does not do. [SDM 3C "Checks on the Guest
 * State Area"], [SDM 3C "VM-Entry Failures During or After Loading Guest State"].
 */
#include "entry_row.h"
#include "tests.h"

SNIPPET(guest_done, "", "", "");

#define INJ(type, v) (INTR_VALID | INTR_TYPE(type) | (v))
#define G(name, ...) {name, BAD_GUEST, L2_EPT, {__VA_ARGS__}}
#define OK(name, ...) {name, ENTERS, L2_EPT, {__VA_ARGS__}}

static const struct entry_row registers[] = {
    G("cr0_ne", CLEAR(F_G_CR0, CR0_NE)),
    G("cr0_pe", CLEAR(F_G_CR0, CR0_PE)),
    G("cr0_pg", CLEAR(F_G_CR0, CR0_PG)),
    {"cr0_pg_without_pe", BAD_GUEST, L2_FLAT32, {CHANGE(F_G_CR0, CR0_PE, CR0_PG)}},
    {"cr0_pe_unrestricted", ENTERS, L2_FLAT32, {CLEAR(F_G_CR0, CR0_PG)}},
    G("cr4_vmxe", CLEAR(F_G_CR4, CR4_VMXE)),
    G("cr4_reserved", SET(F_G_CR4, 1ull << 41)),
    G("cr4_pae_in_ia32e", CLEAR(F_G_CR4, CR4_PAE)),
    {"cr4_pcide_without_ia32e", BAD_GUEST, L2_PAE, {SET(F_G_CR4, CR4_PCIDE)}},
    G("cr3_width", SET(F_G_CR3, WIDE)),
    G("dr7_high", SET(F_G_DR7, 1ull << 32)),
    OK("dr7_unused", CLEAR(F_ENTRY, ENTRY_LOAD_DEBUG), SET(F_G_DR7, 1ull << 32)),
    G("sysenter_esp", TO(F_G_SYSENTER_ESP, NONCANONICAL)),
    G("sysenter_eip", TO(F_G_SYSENTER_EIP, NONCANONICAL)),
    G("pat_type", TO(F_G_PAT, 3)),
    OK("pat_unused", CLEAR(F_ENTRY, ENTRY_LOAD_PAT), TO(F_G_PAT, 3)),
    G("efer_reserved", SET(F_G_EFER, 1ull << 1)),
    G("efer_lma", CLEAR(F_G_EFER, EFER_LMA)),
    G("efer_lme", CLEAR(F_G_EFER, EFER_LME)),
    {"efer_lma_without_ia32e", BAD_GUEST, L2_PAE, {SET(F_G_EFER, EFER_LMA | EFER_LME)}},
    {"efer_lme_without_paging", ENTERS, L2_FLAT32, {SET(F_G_EFER, EFER_LME)}},
    {"rip_high", BAD_GUEST, L2_FLAT32, {SET(F_G_RIP, 1ull << 32)}},
    G("rflags_bit_1", CLEAR(F_G_RFLAGS, 2)),
    G("rflags_bit_3", SET(F_G_RFLAGS, 8)),
    G("rflags_bit_15", SET(F_G_RFLAGS, 1 << 15)),
    G("rflags_bit_22", SET(F_G_RFLAGS, 1 << 22)),
    G("rflags_bit_63", SET(F_G_RFLAGS, 1ull << 63)),
    G("rflags_vm_in_ia32e", SET(F_G_RFLAGS, 1 << 17)),
    G("rflags_if_for_extint", TO(F_ENTRY_INTR, INJ(T_EXTINT, 0x20))),
};

#define UNUSABLE 0x10000u

static const struct entry_row segments[] = {
    G("tr_ti", SET(F_G_TR_SEL, 4)),
    G("ldtr_ti", TO(F_G_LDTR_AR, 0x82), SET(F_G_LDTR_SEL, 4)),
    OK("ldtr_ti_unusable", SET(F_G_LDTR_SEL, 4)),
    G("ss_rpl", SET(F_G_SS_SEL, 3)),
    G("tr_base", TO(F_G_TR_BASE, NONCANONICAL)),
    G("fs_base", TO(F_G_FS_BASE, NONCANONICAL)),
    G("gs_base", TO(F_G_GS_BASE, NONCANONICAL)),
    G("ldtr_base", TO(F_G_LDTR_AR, 0x82), TO(F_G_LDTR_BASE, NONCANONICAL)),
    G("cs_base_high", SET(F_G_CS_BASE, 1ull << 32)),
    G("ss_base_high", SET(F_G_SS_BASE, 1ull << 32)),
    G("ds_base_high", SET(F_G_DS_BASE, 1ull << 32)),
    G("es_base_high", SET(F_G_ES_BASE, 1ull << 32)),
    G("cs_type", CHANGE(F_G_CS_AR, 0xf, 3)),
    G("cs_not_accessed", CLEAR(F_G_CS_AR, 1)),
    G("cs_s", CLEAR(F_G_CS_AR, 0x10)),
    G("cs_dpl", SET(F_G_CS_AR, 0x60)),
    G("cs_p", CLEAR(F_G_CS_AR, 0x80)),
    G("cs_reserved_8", SET(F_G_CS_AR, 0x100)),
    G("cs_reserved_17", SET(F_G_CS_AR, 1 << 17)),
    G("cs_l_and_d", SET(F_G_CS_AR, 0x4000)),
    G("cs_granularity_low", TO(F_G_CS_LIMIT, 0xfffffff0)),
    G("cs_granularity_high", CLEAR(F_G_CS_AR, 0x8000)),
    G("ss_type", CHANGE(F_G_SS_AR, 0xf, 5)),
    G("ss_s", CLEAR(F_G_SS_AR, 0x10)),
    G("ss_dpl", SET(F_G_SS_AR, 0x20)),
    G("ss_p", CLEAR(F_G_SS_AR, 0x80)),
    G("ss_reserved", SET(F_G_SS_AR, 0x400)),
    OK("ss_unusable", SET(F_G_SS_AR, UNUSABLE)),
    G("ds_not_accessed", CLEAR(F_G_DS_AR, 1)),
    G("ds_code_not_readable", CHANGE(F_G_DS_AR, 0xf, 9)),
    G("ds_s", CLEAR(F_G_DS_AR, 0x10)),
    G("ds_p", CLEAR(F_G_DS_AR, 0x80)),
    G("ds_rpl_above_dpl", SET(F_G_DS_SEL, 3)),
    G("ds_reserved", SET(F_G_DS_AR, 0x800)),
    G("ds_granularity", CLEAR(F_G_DS_AR, 0x8000)),
    OK("ds_unusable", TO(F_G_DS_AR, UNUSABLE)),
    G("es_not_accessed", CLEAR(F_G_ES_AR, 1)),
    G("es_p", CLEAR(F_G_ES_AR, 0x80)),
    G("fs_s", CLEAR(F_G_FS_AR, 0x10)),
    G("fs_reserved", SET(F_G_FS_AR, 1 << 20)),
    G("gs_granularity", TO(F_G_GS_LIMIT, 0xfffff000)),
    OK("gs_unusable", TO(F_G_GS_AR, UNUSABLE)),
    G("tr_type", CHANGE(F_G_TR_AR, 0xf, 9)),
    G("tr_type_3_in_ia32e", CHANGE(F_G_TR_AR, 0xf, 3)),
    G("tr_s", SET(F_G_TR_AR, 0x10)),
    G("tr_p", CLEAR(F_G_TR_AR, 0x80)),
    G("tr_reserved", SET(F_G_TR_AR, 0x200)),
    G("tr_unusable", SET(F_G_TR_AR, UNUSABLE)),
    G("tr_granularity", SET(F_G_TR_AR, 0x8000)),
    G("ldtr_type", TO(F_G_LDTR_AR, 0x83)),
    G("ldtr_s", TO(F_G_LDTR_AR, 0x92)),
    G("ldtr_p", TO(F_G_LDTR_AR, 0x02)),
    OK("ldtr_usable", TO(F_G_LDTR_AR, 0x82)),
    G("gdtr_base", TO(F_G_GDTR_BASE, NONCANONICAL)),
    G("idtr_base", TO(F_G_IDTR_BASE, NONCANONICAL)),
    G("gdtr_limit", TO(F_G_GDTR_LIMIT, 0x10000)),
    G("idtr_limit", TO(F_G_IDTR_LIMIT, 0x10000)),
};

static const struct entry_row state[] = {
    G("activity_4", TO(F_G_ACTIVITY, 4)),
    G("hlt_with_dpl_3", TO(F_G_ACTIVITY, ACTIVITY_HLT), SET(F_G_SS_AR, 0x60)),
    G("hlt_with_sti_blocking", TO(F_G_ACTIVITY, ACTIVITY_HLT), TO(F_G_RFLAGS, 0x202),
      TO(F_G_INTERRUPTIBILITY, BLOCK_STI)),
    G("hlt_with_mov_ss_blocking", TO(F_G_ACTIVITY, ACTIVITY_HLT),
      TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS)),
    G("interruptibility_reserved", TO(F_G_INTERRUPTIBILITY, 1 << 5)),
    G("interruptibility_bit_31", TO(F_G_INTERRUPTIBILITY, 1u << 31)),
    G("sti_and_mov_ss", TO(F_G_INTERRUPTIBILITY, BLOCK_STI | BLOCK_MOV_SS),
      TO(F_G_RFLAGS, 0x202)),
    G("sti_without_if", TO(F_G_INTERRUPTIBILITY, BLOCK_STI)),
    G("extint_with_sti_blocking", TO(F_G_INTERRUPTIBILITY, BLOCK_STI), TO(F_G_RFLAGS, 0x202),
      TO(F_ENTRY_INTR, INJ(T_EXTINT, 0x20))),
    G("extint_with_mov_ss_blocking", TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS), TO(F_G_RFLAGS, 0x202),
      TO(F_ENTRY_INTR, INJ(T_EXTINT, 0x20))),
    G("nmi_with_mov_ss_blocking", TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS),
      TO(F_ENTRY_INTR, INJ(T_NMI, 2))),
    G("smi_blocking_outside_smm", TO(F_G_INTERRUPTIBILITY, BLOCK_SMI)),
    OK("mov_ss_blocking", TO(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS)),
    OK("sti_blocking", TO(F_G_INTERRUPTIBILITY, BLOCK_STI), TO(F_G_RFLAGS, 0x202)),
    G("pending_debug_reserved_4", SET(F_G_PENDING_DEBUG, 1 << 4)),
    G("pending_debug_reserved_13", SET(F_G_PENDING_DEBUG, 1 << 13)),
};

/* Failures that the exit qualification tells apart. */
static void qualified(void)
{
    l2_reset(L2_EPT);
    l2_start(s_guest_done);
    vmwrite(F_G_LINK, 0x123);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "link_pointer_misaligned");
    check_eq(vmread(F_QUALIFICATION), 4, "link_pointer_misaligned.qualification");
    l2_reset(L2_EPT);
    l2_start(s_guest_done);
    vmwrite(F_G_LINK, WIDE);
    (void)l2_run();
    check_eq(vmread(F_QUALIFICATION), 4, "link_pointer_width.qualification");
    l2_reset(L2_EPT);
    l2_start(s_guest_done);
    l2_data[3][0] = 0x55;
    l2_data[3][1] = 0x55;
    vmwrite(F_G_LINK, (uint64_t)l2_data[3]);
    (void)l2_run();
    check_eq(vmread(F_QUALIFICATION), 4, "link_pointer_revision.qualification");
    l2_reset(L2_PAE);
    l2_start(s_guest_done);
    vmwrite(F_G_PDPTE0 + 4, 0x7000 | 1 | 2);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "pdpte_reserved");
    check_eq(vmread(F_QUALIFICATION), 2, "pdpte_reserved.qualification");
}

/* Such an exit loads host state, saves no guest state, and leaves the VMCS clear. */
static void failure_effects(void)
{
    l2_reset(L2_EPT);
    l2_start(s_guest_done);
    vmwrite(F_G_RFLAGS, 0x20a);
    vmwrite(F_G_RSP, 0x1234);
    vmwrite(F_G_DR7, 0x455);
    vmwrite(F_ENTRY_INTR, INJ(T_EXTINT, 0x20));
    vmwrite(F_H_SYSENTER_CS, 0x77);
    vmwrite(F_H_FS_BASE, 0x123000);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "effects.reason");
    check_eq(vmread(F_G_RFLAGS), 0x20a, "effects.rflags_kept");
    check_eq(vmread(F_G_RSP), 0x1234, "effects.rsp_kept");
    check_eq(vmread(F_G_DR7), 0x455, "effects.dr7_kept");
    check_eq(vmread(F_ENTRY_INTR), INJ(T_EXTINT, 0x20), "effects.event_kept");
    check_eq(rt_rdmsr(MSR_SYSENTER_CS), 0x77, "effects.host_sysenter_cs");
    check_eq(rt_rdmsr(MSR_FS_BASE), 0x123000, "effects.host_fs_base");
    check_eq(l2.host_rflags, 2, "effects.host_rflags");
    check_eq(rt_read_dr7(), 0x400, "effects.host_dr7");
    rt_wrmsr(MSR_SYSENTER_CS, 0);
    rt_wrmsr(MSR_FS_BASE, 0);
    l2.launched = true;
    (void)l2_run();
    check_eq(vmread(F_INSN_ERROR), E_RESUME_NOT_LAUNCHED, "effects.still_clear");
    l2.launched = false;
    vmwrite(F_H_SYSENTER_CS, 0);
    vmwrite(F_H_FS_BASE, 0);
    vmwrite(F_ENTRY_INTR, 0);
    (void)l2_go(s_guest_done);
    (void)expect_done("effects.then_enters");
    vmwrite(F_G_RFLAGS, 0);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "effects.launched_vmcs");
    (void)l2_go(s_guest_done);
    (void)expect_done("effects.launched_vmcs_then_resumes");
}

struct msr_entry {
    uint32_t index, reserved;
    uint64_t value;
};

static struct msr_entry list[4] __attribute__((aligned(16)));

static void msr_load_failure(const char *name, struct msr_entry bad)
{
    uint64_t before = rt_rdmsr(MSR_STAR);

    l2_reset(L2_EPT);
    l2_start(s_guest_done);
    list[0] = (struct msr_entry){MSR_STAR, 0, 0x5151};
    list[1] = bad;
    list[2] = (struct msr_entry){MSR_LSTAR, 0, 0x5252};
    vmwrite(F_ENTRY_MSR_LOAD, (uint64_t)list);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 3);
    rt_wrmsr(MSR_LSTAR, 0x1010);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_MSR, "%s", name);
    check_eq(vmread(F_QUALIFICATION), 2, "%s.qualification", name);
    /* Those before the failing one stay loaded, those after are not reached. */
    check_eq(rt_rdmsr(MSR_STAR), 0x5151, "%s.first_stays", name);
    check_eq(rt_rdmsr(MSR_LSTAR), 0x1010, "%s.third_untouched", name);
    rt_wrmsr(MSR_STAR, before);
}

void test_entry_guest(void)
{
    check_group("entry.guest");
    entry_rows(registers, sizeof(registers) / sizeof(registers[0]));
    entry_rows(segments, sizeof(segments) / sizeof(segments[0]));
    entry_rows(state, sizeof(state) / sizeof(state[0]));
    qualified();
    failure_effects();
    check_group("entry.msr_load");
    msr_load_failure("fs_base", (struct msr_entry){MSR_FS_BASE, 0, 0});
    msr_load_failure("gs_base", (struct msr_entry){MSR_GS_BASE, 0, 0});
    msr_load_failure("reserved_word", (struct msr_entry){MSR_KERNEL_GS_BASE, 1, 0});
    msr_load_failure("noncanonical", (struct msr_entry){MSR_KERNEL_GS_BASE, 0, NONCANONICAL});
    msr_load_failure("bad_pat", (struct msr_entry){MSR_PAT, 0, 2});
    msr_load_failure("read_only", (struct msr_entry){MSR_VMX_BASIC, 0, 0});
}
