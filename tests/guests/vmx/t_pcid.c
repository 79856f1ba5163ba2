/* SPDX-License-Identifier: MIT */
/*
 * Process-context identifiers and global pages: CR3 of L1 and of L2 with a PCID, MOV CR3 that keeps
 * translations, INVPCID, and what INVVPID leaves. Stale translations may be used or not, so only
 * what must be seen is checked. [SDM 3A "Process-Context Identifiers (PCIDs)"].
 */
#include "l2.h"
#include "tests.h"

/* RDI: address in L2, RBX: its page-table entry, RSI: new entry, R8 and R9: values of CR3. */
SNIPPET(q_read, "", "movq (%rdi), %rax", "");
SNIPPET(q_switch, "movq (%rdi), %rax\nmovq %r8, %cr3\nmovq (%rdi), %rcx\nmovq %rsi, (%rbx)",
        "movq %r9, %cr3", "movq (%rdi), %rdx\nmovq %cr3, %r10");
SNIPPET(q_invpcid, "movq (%rdi), %rax\nmovq %rsi, (%rbx)", "invpcid (%r8), %r9",
        "movq (%rdi), %rdx");
SNIPPET(q_cr4, "", "movq %rax, %cr4", "movq %cr4, %rcx");
SNIPPET(q_global, "movq (%rdi), %rax\nmovq %rsi, (%rbx)\nmovq %cr4, %rcx\nmovq %rcx, %r8\n"
        "xorq $0x80, %rcx\nmovq %rcx, %cr4\nmovq %r8, %cr4", "nop", "movq (%rdi), %rdx");

static uint64_t frame(unsigned i)
{
    return l2.mode == L2_PLAIN ? (uint64_t)l2_data[i] : L2_DATA + i * 4096ull;
}

static void fresh(enum l2_mode mode)
{
    l2_reset(mode);
    for (uint64_t i = 0; i < L2_DATA_PAGES; i++)
        *(uint64_t *)&l2_data[i][0] = 0x2200 + i;
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_PCIDE | CR4_PGE);
}

static void start(const char *code)
{
    l2_start(code);
    l2.g.rdi = L2_DATA + 4096;
    l2.g.rbx = (uint64_t)&l2_paging.data_pt[1];
    l2.g.rsi = frame(3) | 7;
}

static void switching(enum l2_mode mode)
{
    uint64_t cr3 = (uint64_t)l2_paging.top;

    fresh(mode);
    vmwrite(F_G_CR3, cr3 | 5);
    start(s_q_switch);
    l2.g.r8 = cr3 | 6;
    l2.g.r9 = cr3 | 5;
    (void)l2_run();
    (void)expect_done("switch");
    check(l2.g.rax == 0x2201 && l2.g.rcx == 0x2201 && l2.g.rdx == 0x2203, "switch.values");
    check_eq(l2.g.r10, cr3 | 5, "switch.cr3");
    check_eq(vmread(F_G_CR3), cr3 | 5, "switch.cr3_saved");
    /* Bit 63 keeps translations and is not stored. */
    fresh(mode);
    start(s_q_switch);
    l2.g.r8 = cr3 | 6;
    l2.g.r9 = cr3 | 7 | (1ull << 63);
    (void)l2_run();
    (void)expect_done("no_flush");
    check_eq(l2.g.r10, cr3 | 7, "no_flush.cr3");
    check_eq(vmread(F_G_CR3), cr3 | 7, "no_flush.cr3_saved");
}

static void invpcid_types(enum l2_mode mode)
{
    static const struct {
        const char *name;
        uint64_t type, pcid, address;
    } t[] = {{"address", 0, 0, L2_DATA + 4096}, {"context", 1, 0, 0}, {"all", 2, 0, 0},
             {"all_but_global", 3, 0, 0}};

    for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        fresh(mode);
        start(s_q_invpcid);
        *(uint64_t *)&l2_data[6][0] = t[i].pcid;
        *(uint64_t *)&l2_data[6][8] = t[i].address;
        l2.g.r8 = L2_DATA + 6 * 4096;
        l2.g.r9 = t[i].type;
        (void)l2_run();
        check(l2.reason == R_VMCALL && l2.g.rax == 0x2201 && l2.g.rdx == 0x2203, "invpcid.%s",
              t[i].name);
    }
    fresh(mode);
    start(s_q_invpcid);
    l2.g.r8 = L2_DATA + 6 * 4096;
    l2.g.r9 = 4;
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 13, "invpcid.bad_type");
}

/* A global translation goes with a change of CR4.PGE, and with the INVVPID types that say so. */
static void global_pages(enum l2_mode mode)
{
    fresh(mode);
    l2_paging.data_pt[1] |= 0x100;
    start(s_q_global);
    (void)l2_run();
    check(l2.reason == R_VMCALL && l2.g.rax == 0x2201 && l2.g.rdx == 0x2203, "global.pge_toggle");
    fresh(mode);
    l2_paging.data_pt[1] |= 0x100;
    start(s_q_read);
    (void)l2_run();
    l2_paging.data_pt[1] = frame(4) | 7 | 0x100;
    (void)invvpid(1, &(struct inv_desc){1, 0});
    start(s_q_read);
    (void)l2_run();
    check_eq(l2.g.rax, 0x2204, "global.invvpid_single");
    l2_paging.data_pt[1] = frame(5) | 7 | 0x100;
    (void)invvpid(0, &(struct inv_desc){1, L2_DATA + 4096});
    start(s_q_read);
    (void)l2_run();
    check_eq(l2.g.rax, 0x2205, "global.invvpid_address");
}

/* Setting CR4.PCIDE asks for a CR3 whose low twelve bits are zero. */
static void enabling(enum l2_mode mode)
{
    uint64_t cr4;

    l2_reset(mode);
    cr4 = vmread(F_G_CR4);
    l2_start(s_q_cr4);
    l2.g.rax = cr4 | CR4_PCIDE;
    (void)l2_run();
    check(l2.reason == R_VMCALL && l2.g.rcx == (cr4 | CR4_PCIDE), "enable");
    l2_reset(mode);
    vmwrite(F_G_CR3, vmread(F_G_CR3) | 0x18);
    l2_start(s_q_cr4);
    l2.g.rax = cr4 | CR4_PCIDE;
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 13, "enable_with_low_bits");
}

/* L1 itself runs with a PCID; exits bring it back, with or without one for L2. */
static void in_l1(enum l2_mode mode)
{
    uint64_t cr3 = rt_read_cr3(), cr4 = rt_read_cr4();

    rt_write_cr4(cr4 | CR4_PCIDE);
    rt_write_cr3(cr3 | 9);
    check_eq(rt_read_cr3(), cr3 | 9, "l1.cr3");
    l2_reset(mode);
    vmwrite(F_G_CR3, (uint64_t)l2_paging.top | 3);
    (void)l2_go(s_q_read);
    check_eq(rt_read_cr3(), cr3 | 9, "l1.cr3_after_exit");
    vmwrite(F_H_CR3, cr3 | 11);
    start(s_q_read);
    (void)l2_run();
    (void)expect_done("l1.runs");
    check_eq(rt_read_cr3(), cr3 | 11, "l1.other_pcid");
    check_eq(rt_read_cr4(), cr4 | CR4_PCIDE, "l1.cr4");
    check_eq(vmread(F_G_CR3), (uint64_t)l2_paging.top | 3, "l1.guest_cr3");
    rt_write_cr3(cr3);
    rt_write_cr4(cr4);
}

void test_pcid(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    if ((rt_cpuid(1, 0).ecx & (1u << 17)) == 0)
        return;
    for (unsigned m = 0; m < 2; m++) {
        check_group("pcid.%s", l2_mode_name(modes[m]));
        enabling(modes[m]);
        switching(modes[m]);
        if (ctl_can(F_PROC2, PROC2_INVPCID))
            invpcid_types(modes[m]);
        global_pages(modes[m]);
        in_l1(modes[m]);
    }
}
