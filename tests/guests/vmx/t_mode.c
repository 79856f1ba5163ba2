/* SPDX-License-Identifier: MIT */
/*
 * L2 outside long mode: real mode and unpaged protected mode as an unrestricted guest, PAE paging,
 * virtual-8086 mode, L2 that changes mode by itself, and task switches. [SDM 3C "Unrestricted
 * Guests"], [SDM 3C "PAE Paging and EPT"], [SDM 3C "Exit Qualification for Task Switches"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET16(r_none, "", "", "");
SNIPPET16(r_cpuid, "", "cpuid", "");
SNIPPET16(r_hlt, "", "hlt", "");
SNIPPET16(r_out, "movw $0x1234, %dx", "outw %ax, %dx", "");
SNIPPET16(r_outs, "movw $0x80, %dx\nmovw $0x10, %si\nmovw $3, %cx", "rep outsb", "");
SNIPPET16(r_int, "", "int $0x50", "");
SNIPPET16(r_ud, "", "ud2", "");
SNIPPET16(r_vmxon, "movw $0, %bx", "vmxon (%bx)", "");
SNIPPET16(r_read, "", "movl %ds:0x20, %eax", "");
SNIPPET16(r_write_cr0, "movl %cr0, %eax\norl $1, %eax", "movl %eax, %cr0", "nop");
SNIPPET16(r_regs, "", "addl $1, %eax\naddl $2, %ebx\naddl $3, %ecx\naddl $4, %edx\naddl $5, %esi\n"
          "addl $6, %edi\naddl $7, %ebp", "");
SNIPPET16(r_rdmsr, "movl $0x174, %ecx", "rdmsr", "");
SNIPPET16(r_lgdt, "", "lgdtl %ds:0x10", "");

SNIPPET32(f_none, "", "", "");
SNIPPET32(f_cpuid, "", "cpuid", "");
SNIPPET32(f_push, "pushl $0x11223344", "popl %eax", "");
SNIPPET32(f_write, "movl $0x40000010, %edi", "movl %eax, (%edi)", "");
SNIPPET32(f_ud, "", "ud2", "");
SNIPPET32(f_vmptrld, "movl $0x40000000, %ecx\nmovl $2, %edx", "vmptrld 0x10(%ecx,%edx,4)", "");
SNIPPET32(f_vmread, "movl $0x40000000, %ebx", "vmread %ecx, (%ebx)", "");
SNIPPET32(f_invlpg_cr3, "", "movl %cr3, %ebx", "movl %ebx, %cr3");
SNIPPET32(f_jmp_task, "", "ljmp $0x60, $0", "");
SNIPPET32(f_call_task, "", "lcall $0x60, $0", "");
SNIPPET32(f_int_task, "", "int $0x55", "");
SNIPPET32(f_iret_task, "pushfl\npopl %eax\norl $0x4000, %eax\npushl %eax\npopfl", "iret", "");
/* PAE paging, then long mode, both switched on by L2 itself. EBX is the PAE CR3, ESI the other. */
SNIPPET32(f_enable_pae, "movl %cr4, %eax\norl $0x20, %eax\nmovl %eax, %cr4\nmovl %ebx, %cr3\n"
          "movl %cr0, %eax\norl $0x80000000, %eax\nmovl %eax, %cr0", "movl (%edi), %edx", "");
SNIPPET32(f_enable_long, "movl %cr4, %eax\norl $0x20, %eax\nmovl %eax, %cr4\nmovl %esi, %cr3\n"
          "movl $0xc0000080, %ecx\nrdmsr\norl $0x100, %eax\nwrmsr\nmovl %cr0, %eax\n"
          "orl $0x80000000, %eax\nmovl %eax, %cr0", "nop", "");
SNIPPET32(f_reload_cr3, "movl %cr3, %eax", "movl %ebx, %cr3", "movl (%edi), %edx");

#define Q_LINEAR (1u << 7)

static void run_named(const char *name, const char *code, uint32_t reason, uint64_t qualification,
                      const char *insn, const char *end)
{
    (void)l2_go(code);
    (void)expect_exit(name, &(struct expect){reason, qualification, (uint64_t)(end - insn),
                                             (uint64_t)insn});
}

static void real_mode(void)
{
    l2_reset(L2_REAL);
    run_named("vmcall", s_r_none, R_VMCALL, 0, i_r_none, i_r_none + 3);
    run_named("cpuid", s_r_cpuid, R_CPUID, 0, i_r_cpuid, e_r_cpuid);
    (void)l2_skip_and_run();
    (void)expect_done("cpuid.goes_on");
    ctl_set(F_PROC, PROC_HLT | PROC_IO);
    run_named("hlt", s_r_hlt, R_HLT, 0, i_r_hlt, e_r_hlt);
    run_named("out", s_r_out, R_IO, (0x1234u << 16) | 1, i_r_out, e_r_out);
    vmwrite(F_G_DS_BASE, L2_DATA);
    run_named("outs", s_r_outs, R_IO, (0x80u << 16) | 0x30, i_r_outs, e_r_outs);
    check_eq(vmread(F_LINEAR), L2_DATA + 0x10, "outs.linear");
    check_eq(vmread(F_INSN_INFO) & (7u << 7), 0, "outs.address_size_16");
    msr_bitmap[MSR_SYSENTER_CS / 8] |= 1u << (MSR_SYSENTER_CS % 8);
    run_named("rdmsr", s_r_rdmsr, R_RDMSR, 0, i_r_rdmsr, e_r_rdmsr);
    ctl_set(F_PROC2, PROC2_DESC_TABLE);
    run_named("lgdt", s_r_lgdt, R_GDTR_IDTR, 0x10, i_r_lgdt, e_r_lgdt);
    vmwrite(F_CR0_MASK, CR0_PE);
    run_named("write_cr0", s_r_write_cr0, R_CR, 0, i_r_write_cr0, e_r_write_cr0);
}

static void real_mode_events(void)
{
    const uint16_t *frame;

    l2_reset(L2_REAL);
    (void)l2_go(s_r_int);
    check_eq((uint64_t)l2_handler_vector(), 0x50, "int_through_ivt");
    (void)l2_go(s_r_ud);
    check_eq((uint64_t)l2_handler_vector(), 6, "exception_through_ivt");
    (void)l2_go(s_r_vmxon);
    check_eq((uint64_t)l2_handler_vector(), 6, "vmxon_undefined");
    vmwrite(F_EXCEPTION_BITMAP, 1u << 6);
    (void)l2_go(s_r_ud);
    (void)expect_exit("exception_exits", &(struct expect){R_EXCEPTION, 0, ANY, (uint64_t)i_r_ud});
    check_eq(vmread(F_INTR), INTR_VALID | INTR_TYPE(T_HARD) | 6, "exception_exits.information");
    l2_start(s_r_none);
    vmwrite(F_G_RFLAGS, 0x202);
    vmwrite(F_ENTRY_INTR, INTR_VALID | 0x21);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 0x21, "injected");
    frame = (const uint16_t *)(vmread(F_G_SS_BASE) + vmread(F_G_RSP));
    check(frame[0] == ((uint64_t)s_r_none & 0xfff) && frame[2] == 0x202, "injected.frame");
    l2_start(s_r_none);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_SOFTINT) | 0x22);
    vmwrite(F_ENTRY_INSN_LEN, 2);
    (void)l2_run();
    frame = (const uint16_t *)(vmread(F_G_SS_BASE) + vmread(F_G_RSP));
    check(l2_handler_vector() == 0x22 && frame[0] == ((uint64_t)s_r_none & 0xfff) + 2,
          "injected_int");
    /* The IVT itself may be what EPT does not give: the interrupt is told with the violation. */
    l2_reset(L2_REAL);
    vmwrite(F_G_IDTR_BASE, L2_DATA + 4096);
    l2_ept.data_pt[1] = 0;
    (void)l2_go(s_r_int);
    check_eq(l2.reason, R_EPT_VIOLATION, "vectoring");
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_SOFTINT) | 0x50, "vectoring.information");
    check_eq(vmread(F_GUEST_PHYS) & ~3ull, L2_DATA + 4096 + 0x50 * 4, "vectoring.address");
}

static void real_mode_memory(void)
{
    l2_reset(L2_REAL);
    *(uint32_t *)&l2_data[0][0x20] = 0x13579bdf;
    vmwrite(F_G_DS_BASE, L2_DATA);
    (void)l2_go(s_r_read);
    check_eq(l2.g.rax, 0x13579bdf, "read");
    l2_ept.data_pt[0] = 0;
    flush_everything();
    (void)l2_go(s_r_read);
    (void)expect_exit("violation", &(struct expect){R_EPT_VIOLATION, 0x181, ANY,
                                                    (uint64_t)i_r_read});
    check(vmread(F_GUEST_PHYS) == L2_DATA + 0x20 && vmread(F_LINEAR) == L2_DATA + 0x20,
          "violation.address");
    l2_start(s_r_regs);
    l2.g.rax = 0xfffffffffull;
    (void)l2_run();
    check(l2.g.rbx == 2 && l2.g.rcx == 3 && l2.g.rdx == 4 && l2.g.rsi == 5 && l2.g.rdi == 6 &&
              l2.g.rbp == 7 && (uint32_t)l2.g.rax == 0, "registers");
    check_eq(vmread(F_G_CR0) & (CR0_PE | CR0_PG), 0, "cr0_saved");
    /* Protected mode switched on by L2: the exit saves it. */
    (void)l2_go(s_r_write_cr0);
    (void)expect_done("enters_protected_mode");
    check_eq(vmread(F_G_CR0) & (CR0_PE | CR0_PG), CR0_PE, "enters_protected_mode.cr0");
}

static void flat_mode(void)
{
    l2_reset(L2_FLAT32);
    run_named("cpuid", s_f_cpuid, R_CPUID, 0, i_f_cpuid, e_f_cpuid);
    (void)l2_go(s_f_push);
    check(l2.reason == R_VMCALL && l2.g.rax == 0x11223344, "stack");
    run_named("vmptrld", s_f_vmptrld, R_VMPTRLD, 0x10, i_f_vmptrld, e_f_vmptrld);
    check_eq(vmread(F_INSN_INFO) & 0x0fff8783u,
             2u | (1u << 7) | (3u << 15) | (2u << 18) | (1u << 23), "vmptrld.info");
    run_named("vmread", s_f_vmread, R_VMREAD, 0, i_f_vmread, e_f_vmread);
    check_eq(vmread(F_INSN_INFO) & 0xffc38780u,
             (1u << 7) | (3u << 15) | (1u << 22) | (3u << 23) | (1u << 28), "vmread.info");
    (void)l2_go(s_f_ud);
    check_eq((uint64_t)l2_handler_vector(), 6, "exception");
    ctl_set(F_PROC, PROC_CR3_LOAD | PROC_CR3_STORE);
    run_named("cr3", s_f_invlpg_cr3, R_CR, 3 | 0x10 | (3 << 8), i_f_invlpg_cr3, e_f_invlpg_cr3);
    l2_ept.data_pt[0] &= ~EPT_W;
    flush_everything();
    (void)l2_go(s_f_write);
    check_eq(l2.reason, R_EPT_VIOLATION, "violation");
    check_eq(vmread(F_QUALIFICATION) & 0x1be, 0x1aa, "violation.qualification");
}

static void own_mode_changes(void)
{
    static struct tables pae __attribute__((aligned(4096)));

    l2_reset(L2_PAE);
    pae = l2_paging;
    pae.pdpt[0] = (uint64_t)pae.low | 1;
    pae.pdpt[1] = (uint64_t)pae.data_pd | 1;
    pae.data_pd[0] = (uint64_t)pae.data_pt | 7;
    l2_reset(L2_FLAT32);
    *(uint32_t *)&l2_data[2][0] = 0x2468ace0;
    l2_start(s_f_enable_pae);
    l2.g.rbx = (uint64_t)pae.pdpt;
    l2.g.rdi = L2_DATA + 0x2000;
    (void)l2_run();
    (void)expect_done("enables_pae");
    check_eq(l2.g.rdx, 0x2468ace0, "enables_pae.read");
    check_eq(vmread(F_G_PDPTE0), pae.pdpt[0], "enables_pae.pdpte0");
    check_eq(vmread(F_G_PDPTE0 + 2), pae.pdpt[1], "enables_pae.pdpte1");
    check_eq(vmread(F_ENTRY) & ENTRY_IA32E, 0, "enables_pae.entry_control");
    l2_reset(L2_FLAT32);
    l2_start(s_f_enable_long);
    l2.g.rsi = (uint64_t)l2_paging.top;
    (void)l2_run();
    (void)expect_done("enables_long_mode");
    check_eq(vmread(F_ENTRY) & ENTRY_IA32E, ENTRY_IA32E, "enables_long_mode.entry_control");
    check_eq(vmread(F_G_EFER) & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME,
             "enables_long_mode.efer");
    /* And it can be entered again like that. */
    (void)l2_go(s_f_none);
    (void)expect_done("enables_long_mode.again");
}

static void pae_mode(void)
{
    static uint64_t other[4] __attribute__((aligned(32)));

    l2_reset(L2_PAE);
    run_named("cpuid", s_f_cpuid, R_CPUID, 0, i_f_cpuid, e_f_cpuid);
    *(uint32_t *)&l2_data[2][0] = 0x1234;
    memcpy(other, l2_paging.pdpt, sizeof(other));
    other[3] = 0;
    l2_start(s_f_reload_cr3);
    l2.g.rbx = (uint64_t)other;
    l2.g.rdi = L2_DATA + 0x2000;
    (void)l2_run();
    (void)expect_done("reload_cr3");
    check_eq(l2.g.rdx, 0x1234, "reload_cr3.read");
    check_eq(vmread(F_G_CR3), (uint64_t)other, "reload_cr3.saved");
    check_eq(vmread(F_G_PDPTE0 + 2), other[1], "reload_cr3.pdpte_saved");
    /* PDPTEs come from the VMCS at entry, not from memory. */
    l2_reset(L2_PAE);
    l2_paging.pdpt[1] = 0;
    l2_start(s_f_write);
    (void)l2_run();
    (void)expect_done("entry_uses_vmcs_pdptes");
    /* The load of PDPTEs is an access without a linear address. */
    l2_reset(L2_PAE);
    l2_ept.data_pt[3] = 0;
    l2_start(s_f_reload_cr3);
    l2.g.rbx = L2_DATA + 0x3000;
    (void)l2_run();
    check_eq(l2.reason, R_EPT_VIOLATION, "pdpte_violation");
    check_eq(vmread(F_QUALIFICATION) & (Q_LINEAR | 7), 1, "pdpte_violation.qualification");
    check_eq(vmread(F_GUEST_PHYS) & ~31ull, L2_DATA + 0x3000, "pdpte_violation.address");
    check_eq(vmread(F_G_RIP), (uint64_t)i_f_reload_cr3, "pdpte_violation.rip");
}

/* 32-bit TSS descriptors for both ends of a task switch. */
static void task_descriptors(void)
{
    uint64_t base = (uint64_t)&l2_data[5][0];

    memset(l2_data[5], 0, 4096);
    l2_gdt[0x60 / 8] = 0x67 | ((base & 0xffffffull) << 16) | (0x89ull << 40) |
                       ((base >> 24 & 0xff) << 56);
    l2_idt[0x55] = (0x60ull << 16) | (0x8500ull << 32);
}

static void task_switch(void)
{
    static const struct {
        const char *name, *code, *insn, *end;
        uint64_t source, selector;
    } rows[] = {
        {"jmp", s_f_jmp_task, i_f_jmp_task, e_f_jmp_task, 2, 0x60},
        {"call", s_f_call_task, i_f_call_task, e_f_call_task, 0, 0x60},
        {"task_gate", s_f_int_task, i_f_int_task, e_f_int_task, 3, 0x60},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l2_reset(L2_FLAT32);
        task_descriptors();
        run_named(rows[i].name, rows[i].code, R_TASK_SWITCH,
                  (rows[i].source << 30) | rows[i].selector, rows[i].insn, rows[i].end);
        check_eq(vmread(F_IDTV), rows[i].source == 3 ? INTR_VALID | INTR_TYPE(T_SOFTINT) | 0x55 : 0,
                 "%s.vectoring", rows[i].name);
        check_eq(vmread(F_G_TR_SEL), RT_SEL_TSS, "%s.tr_unchanged", rows[i].name);
    }
    /* An exception through a task gate, and one injected. */
    l2_reset(L2_FLAT32);
    task_descriptors();
    l2_idt[6] = l2_idt[0x55];
    (void)l2_go(s_f_ud);
    (void)expect_exit("exception", &(struct expect){R_TASK_SWITCH, (3ull << 30) | 0x60, ANY,
                                                    (uint64_t)i_f_ud});
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_HARD) | 6, "exception.vectoring");
    l2_start(s_f_none);
    vmwrite(F_G_RFLAGS, 0x202);
    vmwrite(F_ENTRY_INTR, INTR_VALID | 0x55);
    (void)l2_run();
    check_eq(l2.reason, R_TASK_SWITCH, "injected");
    check_eq(vmread(F_IDTV), INTR_VALID | 0x55, "injected.vectoring");
}

#define V86_CODE 0x7000u

static void virtual_8086(void)
{
    /* NOP, CPUID, HLT */
    memcpy((void *)(uint64_t)V86_CODE, "\x90\x0f\xa2\xf4", 4);
    l2_reset(L2_PAE);
    l2_start((const char *)0x10ull);
    for (uint32_t i = 0; i < 6; i++) {
        vmwrite(F_G_ES_SEL + 2 * i, V86_CODE >> 4);
        vmwrite(F_G_ES_BASE + 2 * i, V86_CODE);
        vmwrite(F_G_ES_LIMIT + 2 * i, 0xffff);
        vmwrite(F_G_ES_AR + 2 * i, 0xf3);
    }
    vmwrite(F_G_RIP, 0);
    vmwrite(F_G_RSP, 0x800);
    vmwrite(F_G_RFLAGS, 0x20002);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 13);
    (void)l2_run();
    (void)expect_exit("cpuid", &(struct expect){R_CPUID, 0, 2, 1});
    check_eq(vmread(F_G_RFLAGS) & 0x20000, 0x20000, "rflags_saved");
    check_eq(vmread(F_G_CS_AR), 0xf3, "cs_saved");
    (void)l2_skip_and_run();
    (void)expect_exit("hlt_faults", &(struct expect){R_EXCEPTION, 0, ANY, 3});
    check_eq(vmread(F_INTR), INTR_VALID | INTR_TYPE(T_HARD) | INTR_ERROR | 13,
             "hlt_faults.information");
    vmwrite(F_G_CS_BASE, V86_CODE + 0x10);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "cs_base_is_selector");
    vmwrite(F_G_CS_BASE, V86_CODE);
    vmwrite(F_G_SS_LIMIT, 0xfffff);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "limit_is_64k");
    vmwrite(F_G_SS_LIMIT, 0xffff);
    vmwrite(F_G_DS_AR, 0x93);
    (void)l2_run();
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "access_rights");
}

void test_modes(void)
{
    check_group("real");
    real_mode();
    real_mode_events();
    real_mode_memory();
    check_group("flat32");
    flat_mode();
    own_mode_changes();
    check_group("pae");
    pae_mode();
    check_group("task_switch");
    task_switch();
    check_group("v86");
    virtual_8086();
}
