/* SPDX-License-Identifier: MIT */
/*
 * What the two transitions load and save: host state at an exit, MSRs by field and by list, the
 * registers that L1 and L2 share, and several VMCSs in turn. [SDM 3C "Loading Host State"],
 * [SDM 3C "Saving Guest State"], [SDM 3C "Loading MSRs"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(x_done, "", "", "");
SNIPPET(x_shared, "movq %rax, %cr2\nmovq %rbx, %dr0\nmovq %rcx, %dr3", "movq %rdx, %cr8", "");
SNIPPET(x_read_shared, "movq %cr2, %rax\nmovq %dr1, %rbx\nmovq %dr2, %rcx", "movq %cr8, %rdx", "");
SNIPPET(x_xmm, "movq %xmm1, %r8", "movq %rax, %xmm0", "");
SNIPPET(x_segments, "movl $0x33, %eax\nmovl %eax, %fs\nmovl %eax, %gs\nxorl %eax, %eax\n"
        "movl %eax, %ds\nmovl $0x2b, %eax", "nop", "");
SNIPPET(x_counter, "1: incq %rax", "vmcall", "jmp 1b");
SNIPPET(x_rdmsr, "", "rdmsr", "");
SNIPPET(x_wrmsr3, "movl $0xc0000081, %ecx\nmovl $0x61, %eax\nxorl %edx, %edx\nwrmsr\n"
        "movl $0xc0000082, %ecx\nmovl $0x62, %eax\nwrmsr\nmovl $0xc0000102, %ecx\n"
        "movl $0x63, %eax", "wrmsr", "");

/* One list of each kind, long enough that a page boundary may fall inside. */
struct msr_entry {
    uint32_t index, reserved;
    uint64_t value;
};
static struct msr_entry lists[3][300] __attribute__((aligned(4096)));
static struct tables other_root __attribute__((aligned(4096)));

/* Everything that a plain exit loads, with values unlike those before. */
static void host_state(enum l2_mode mode)
{
    uint64_t cr3 = rt_read_cr3(), cr4 = rt_read_cr4(), efer = rt_rdmsr(MSR_EFER);
    uint64_t pat = rt_rdmsr(MSR_PAT), rsp;
    struct rt_dtr gdtr = rt_sgdt(), idtr = rt_sidt(), after;

    l2_reset(mode);
    memcpy(&other_root, (void *)rt_page_root(), 4096);
    vmwrite(F_H_CR3, (uint64_t)&other_root);
    vmwrite(F_H_CR4, cr4 ^ (CR4_PGE | CR4_DE));
    vmwrite(F_H_EFER, efer ^ EFER_SCE);
    vmwrite(F_H_PAT, 0x0606060606060606ull);
    vmwrite(F_H_FS_SEL, RT_SEL_DS32);
    vmwrite(F_H_GS_SEL, RT_SEL_DS);
    vmwrite(F_H_DS_SEL, 0);
    vmwrite(F_H_ES_SEL, RT_SEL_DS32);
    vmwrite(F_H_FS_BASE, 0x11223344000ull);
    vmwrite(F_H_GS_BASE, 0xffff800000000000ull);
    vmwrite(F_H_SYSENTER_CS, 0x1234);
    vmwrite(F_H_SYSENTER_ESP, 0x5678);
    vmwrite(F_H_SYSENTER_EIP, 0xffffffff80001000ull);
    vmwrite(F_G_RFLAGS, 0xcd7);
    l2_start(s_x_segments);
    vmwrite(F_G_RFLAGS, 0xcd7);
    vmwrite(F_G_DR7, 0x455);
    (void)l2_run();
    rsp = vmread(F_H_RSP);
    check_eq(l2.reason, R_VMCALL, "reason");
    check_eq(rt_read_cr3(), (uint64_t)&other_root, "cr3");
    check_eq(rt_read_cr4(), cr4 ^ (CR4_PGE | CR4_DE), "cr4");
    check_eq(rt_rdmsr(MSR_EFER), efer ^ EFER_SCE, "efer");
    check_eq(rt_rdmsr(MSR_PAT), 0x0606060606060606ull, "pat");
    check_eq(rt_read_cs(), RT_SEL_CS64, "cs");
    check_eq(rt_read_ss(), RT_SEL_DS, "ss");
    check_eq(rt_read_ds(), 0, "ds");
    check_eq(rt_read_es(), RT_SEL_DS32, "es");
    check_eq(rt_read_fs(), RT_SEL_DS32, "fs");
    check_eq(rt_read_gs(), RT_SEL_DS, "gs");
    check_eq(rt_str(), RT_SEL_TSS, "tr");
    check_eq(rt_sldt(), 0, "ldtr");
    check_eq(rt_rdmsr(MSR_FS_BASE), 0x11223344000ull, "fs_base");
    check_eq(rt_rdmsr(MSR_GS_BASE), 0xffff800000000000ull, "gs_base");
    check_eq(rt_rdmsr(MSR_SYSENTER_CS), 0x1234, "sysenter_cs");
    check_eq(rt_rdmsr(MSR_SYSENTER_ESP), 0x5678, "sysenter_esp");
    check_eq(rt_rdmsr(MSR_SYSENTER_EIP), 0xffffffff80001000ull, "sysenter_eip");
    check_eq(rt_read_dr7(), 0x400, "dr7");
    check_eq(l2.host_rflags, 2, "rflags");
    check_eq(l2.host_rsp, rsp, "rsp");
    after = rt_sgdt();
    check(after.base == gdtr.base && after.limit == 0xffff, "gdtr");
    after = rt_sidt();
    check(after.base == idtr.base && after.limit == 0xffff, "idtr");
    check_eq(rt_read_cr0() & (CR0_PE | CR0_PG | CR0_NE | CR0_WP),
             vmread(F_H_CR0) & (CR0_PE | CR0_PG | CR0_NE | CR0_WP), "cr0");
    /* What L2 left in its own segments is in the VMCS. */
    check_eq(vmread(F_G_FS_SEL), 0x33, "guest_fs");
    check_eq(vmread(F_G_FS_AR), 0xc0f3, "guest_fs_access");
    check_eq(vmread(F_G_DS_AR) & 0x10000, 0x10000, "guest_ds_unusable");
    check_eq(vmread(F_G_CS_AR), 0xa09b, "guest_cs_access");
    check_eq(vmread(F_G_TR_AR), 0x8b, "guest_tr_access");
    rt_write_cr3(cr3);
    rt_write_cr4(cr4);
    rt_wrmsr(MSR_EFER, efer);
    rt_wrmsr(MSR_PAT, pat);
    rt_write_ds(RT_SEL_DS);
    rt_write_es(RT_SEL_DS);
    rt_write_fs(0);
    rt_write_gs(0);
    rt_wrmsr(MSR_FS_BASE, 0);
    rt_wrmsr(MSR_GS_BASE, 0);
    rt_wrmsr(MSR_SYSENTER_CS, 0);
    rt_wrmsr(MSR_SYSENTER_ESP, 0);
    rt_wrmsr(MSR_SYSENTER_EIP, 0);
    rt_lgdt(&gdtr);
    rt_lidt(&idtr);
}

static uint64_t l2_msr(uint32_t msr)
{
    l2_start(s_x_rdmsr);
    l2.g.rcx = msr;
    (void)l2_run();
    return (l2.g.rdx << 32) | (uint32_t)l2.g.rax;
}

/* PAT and EFER with their controls off: what is in the register stays there. */
static void optional_loads(enum l2_mode mode)
{
    const uint64_t strange = 0x0007040600070404ull;
    uint64_t pat = rt_rdmsr(MSR_PAT), efer = rt_rdmsr(MSR_EFER);

    l2_reset(mode);
    ctl_clear(F_ENTRY, ENTRY_LOAD_PAT);
    vmwrite(F_G_PAT, strange);
    check_eq(l2_msr(MSR_PAT), pat, "pat_not_loaded_at_entry");
    check_eq(vmread(F_G_PAT), pat, "pat_saved");
    l2_reset(mode);
    ctl_clear(F_EXIT, EXIT_SAVE_PAT);
    vmwrite(F_G_PAT, strange);
    check_eq(l2_msr(MSR_PAT), strange, "pat_loaded");
    check_eq(vmread(F_G_PAT), strange, "pat_not_saved");
    l2_reset(mode);
    ctl_clear(F_EXIT, EXIT_LOAD_PAT);
    vmwrite(F_G_PAT, strange);
    (void)l2_go(s_x_done);
    check_eq(rt_rdmsr(MSR_PAT), strange, "pat_not_loaded_at_exit");
    rt_wrmsr(MSR_PAT, pat);

    l2_reset(mode);
    ctl_clear(F_ENTRY, ENTRY_LOAD_EFER);
    rt_wrmsr(MSR_EFER, efer | EFER_SCE);
    vmwrite(F_G_EFER, 0);
    check_eq(l2_msr(MSR_EFER), efer | EFER_SCE, "efer_not_loaded_at_entry");
    rt_wrmsr(MSR_EFER, efer);
    l2_reset(mode);
    ctl_clear(F_EXIT, EXIT_LOAD_EFER);
    vmwrite(F_G_EFER, efer ^ EFER_SCE);
    (void)l2_go(s_x_done);
    check_eq(rt_rdmsr(MSR_EFER), efer ^ EFER_SCE, "efer_not_loaded_at_exit");
    rt_wrmsr(MSR_EFER, efer);
    l2_reset(mode);
    ctl_clear(F_EXIT, EXIT_SAVE_EFER);
    vmwrite(F_G_EFER, efer ^ EFER_SCE);
    check_eq(l2_msr(MSR_EFER), efer ^ EFER_SCE, "efer_loaded");
    check_eq(vmread(F_G_EFER), efer ^ EFER_SCE, "efer_not_saved");
}

static void msr_lists(enum l2_mode mode)
{
    static const uint32_t msrs[] = {MSR_STAR, MSR_LSTAR, MSR_KERNEL_GS_BASE};
    uint64_t before[3];

    l2_reset(mode);
    for (unsigned i = 0; i < 3; i++) {
        before[i] = rt_rdmsr(msrs[i]);
        lists[0][i] = (struct msr_entry){msrs[i], 0, 0x41 + i};
        lists[1][i] = (struct msr_entry){msrs[i], 0, 0};
        lists[2][i] = (struct msr_entry){msrs[i], 0, 0x51 + i};
    }
    vmwrite(F_ENTRY_MSR_LOAD, (uint64_t)lists[0]);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 3);
    check_eq(l2_msr(MSR_STAR), 0x41, "list.entry_load.0");
    check_eq(l2_msr(MSR_LSTAR), 0x42, "list.entry_load.1");
    check_eq(l2_msr(MSR_KERNEL_GS_BASE), 0x43, "list.entry_load.2");
    vmwrite(F_EXIT_MSR_STORE, (uint64_t)lists[1]);
    vmwrite(F_EXIT_MSR_STORE_COUNT, 3);
    vmwrite(F_EXIT_MSR_LOAD, (uint64_t)lists[2]);
    vmwrite(F_EXIT_MSR_LOAD_COUNT, 2);
    (void)l2_go(s_x_wrmsr3);
    (void)expect_done("list.all_three");
    for (uint64_t i = 0; i < 3; i++)
        check_eq(lists[1][i].value, 0x61 + i, "list.exit_store.%lu", i);
    check_eq(rt_rdmsr(MSR_STAR), 0x51, "list.exit_load.0");
    check_eq(rt_rdmsr(MSR_LSTAR), 0x52, "list.exit_load.1");
    check_eq(rt_rdmsr(MSR_KERNEL_GS_BASE), 0x63, "list.exit_load.beyond_count");
    /* The same MSR twice: the later entry wins. */
    lists[0][0] = (struct msr_entry){MSR_LSTAR, 0, 0x71};
    lists[0][1] = (struct msr_entry){MSR_LSTAR, 0, 0x72};
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 2);
    check_eq(l2_msr(MSR_LSTAR), 0x72, "list.last_wins");
    /* A list across a page boundary. */
    for (unsigned i = 0; i < 300; i++)
        lists[0][i] = (struct msr_entry){i == 299 ? MSR_STAR : MSR_KERNEL_GS_BASE, 0, 0x9000 + i};
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 300);
    check_eq(l2_msr(MSR_STAR), 0x9000 + 299, "list.long.last");
    check_eq(l2_msr(MSR_KERNEL_GS_BASE), 0x9000 + 298, "list.long.before_last");
    for (unsigned i = 0; i < 3; i++)
        rt_wrmsr(msrs[i], before[i]);
}

/* Registers that no transition touches. */
static void shared_registers(enum l2_mode mode)
{
    uint64_t cr4 = rt_read_cr4(), value = 0;

    l2_reset(mode);
    l2_start(s_x_shared);
    l2.g.rax = 0x123456;
    l2.g.rbx = 0x1111;
    l2.g.rcx = 0x3333;
    l2.g.rdx = 5;
    (void)l2_run();
    check_eq(rt_read_cr2(), 0x123456, "shared.cr2_from_l2");
    check_eq(rt_read_dr0(), 0x1111, "shared.dr0_from_l2");
    check_eq(rt_read_dr3(), 0x3333, "shared.dr3_from_l2");
    check_eq(rt_read_cr8(), 5, "shared.cr8_from_l2");
    rt_write_cr2(0x654321);
    rt_write_dr1(0x2222);
    rt_write_dr2(0x4444);
    rt_write_cr8(3);
    (void)l2_go(s_x_read_shared);
    check(l2.g.rax == 0x654321 && l2.g.rbx == 0x2222 && l2.g.rcx == 0x4444 && l2.g.rdx == 3,
          "shared.from_l1");
    rt_write_cr8(0);
    rt_write_dr0(0);
    rt_write_dr1(0);
    rt_write_dr2(0);
    rt_write_dr3(0);

    rt_write_cr4(cr4 | 0x200);
    l2_reset(mode);
    __asm__ volatile("movq %0, %%xmm1" : : "r"(0x1122334455667788ull));
    l2_start(s_x_xmm);
    l2.g.rax = 0x8877665544332211ull;
    (void)l2_run();
    __asm__ volatile("movq %%xmm0, %0" : "=r"(value));
    check_eq(l2.g.r8, 0x1122334455667788ull, "shared.xmm_to_l2");
    check_eq(value, 0x8877665544332211ull, "shared.xmm_from_l2");
    rt_write_cr4(cr4);
}

/* Three L2s in turn: each VMCS keeps its registers, its launch state and its controls. */
static void alternate(void)
{
    struct l2 saved[3];
    bool ok = true;

    for (unsigned i = 0; i < 3; i++) {
        l2_reset_in(L2_EPT, vmcs_region[i]);
        vmwrite(F_VPID, i + 1);
        l2_start(s_x_counter);
        l2.g.rax = 1000 * i;
        vmwrite(F_G_SYSENTER_EIP, 0x100 + i);
        vmwrite(F_TSC_OFFSET, i);
        saved[i] = l2;
    }
    for (uint64_t round = 1; round <= 4; round++) {
        for (uint64_t i = 0; i < 3; i++) {
            uint64_t pa = (uint64_t)vmcs_region[i];

            ok = ok && vmptrld(&pa) == VMX_OK;
            l2 = saved[i];
            (void)l2_run();
            ok = ok && l2.reason == R_VMCALL && l2.g.rax == 1000 * i + round &&
                 vmread(F_G_SYSENTER_EIP) == 0x100 + i && vmread(F_TSC_OFFSET) == i &&
                 vmread(F_G_RIP) == (uint64_t)i_x_counter;
            vmwrite(F_G_RIP, vmread(F_G_RIP) + 3);
            saved[i] = l2;
            check(ok, "alternate.%lu.%lu", round, i);
        }
    }
}

void test_switch(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("host_state.%s", l2_mode_name(modes[m]));
        host_state(modes[m]);
        check_group("switch.%s", l2_mode_name(modes[m]));
        optional_loads(modes[m]);
        msr_lists(modes[m]);
        shared_registers(modes[m]);
    }
    check_group("switch");
    alternate();
}
