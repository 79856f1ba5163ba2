/* SPDX-License-Identifier: MIT */
/*
 * The TPR shadow: MOV to and from CR8 in L2 use a byte of a page of L1's; the threshold makes them
 * exit. [SDM 3C "Virtualizing CR8-Based TPR Accesses"].
 */
#include "l2.h"
#include "tests.h"

static uint8_t apic_page[2][4096] __attribute__((aligned(4096)));

/* RAX to CR8, what is there to RDX. */
SNIPPET(cr8, "", "movq %rax, %cr8", "movq %cr8, %rdx");
SNIPPET(read_cr8, "", "movq %cr8, %rdx", "");

static void reset(enum l2_mode mode, uint64_t threshold, uint8_t vtpr)
{
    l2_reset(mode);
    memset(apic_page, 0, sizeof(apic_page));
    apic_page[0][0x80] = vtpr;
    ctl_set(F_PROC, PROC_TPR_SHADOW);
    vmwrite(F_VIRTUAL_APIC, (uint64_t)apic_page[0]);
    vmwrite(F_TPR_THRESHOLD, threshold);
    rt_write_cr8(0);
}

static void write_cr8(uint64_t value)
{
    l2_start(s_cr8);
    l2.g.rax = value;
    (void)l2_run();
}

static void accesses(enum l2_mode mode)
{
    reset(mode, 0, 0x70);
    (void)l2_go(s_read_cr8);
    expect_done("read");
    check_eq(l2.g.rdx, 7, "read.value");
    write_cr8(9);
    expect_done("write");
    check_eq(l2.g.rdx, 9, "write.read_again");
    check_eq(apic_page[0][0x80], 0x90, "write.in_the_page");
    check_eq(rt_read_cr8(), 0, "write.not_l1s");
    for (unsigned i = 0; i < 4096; i++) {
        if (i != 0x80 && apic_page[0][i] != 0)
            check_eq(apic_page[0][i], 0, "write.nothing_else");
    }
    /* The register faults as ever. */
    write_cr8(16);
    check_eq((uint64_t)l2_handler_vector(), 13, "write.reserved");
    check_eq(apic_page[0][0x80], 0x90, "write.reserved.unchanged");
    /* L1 changes the byte between two entries, and the page. */
    apic_page[0][0x80] = 0x30;
    (void)l2_go(s_read_cr8);
    check_eq(l2.g.rdx, 3, "changed_by_l1");
    apic_page[1][0x80] = 0xc0;
    vmwrite(F_VIRTUAL_APIC, (uint64_t)apic_page[1]);
    write_cr8(2);
    expect_done("another_page");
    check_eq(apic_page[0][0x80], 0x30, "another_page.first");
    check_eq(apic_page[1][0x80], 0x20, "another_page.second");
    /* Without the shadow the register is L1's. */
    ctl_clear(F_PROC, PROC_TPR_SHADOW);
    write_cr8(5);
    expect_done("without");
    check_eq(rt_read_cr8(), 5, "without.l1s");
    check_eq(apic_page[1][0x80], 0x20, "without.page");
    rt_write_cr8(0);
}

static void thresholds(enum l2_mode mode)
{
    reset(mode, 6, 0x60);
    write_cr8(8);
    expect_done("above");
    write_cr8(6);
    expect_done("equal");
    write_cr8(5);
    /* A trap: the instruction is done. */
    expect_exit("below", &(struct expect){R_TPR_BELOW_THRESHOLD, 0, ANY, (uint64_t)e_cr8});
    check_eq(apic_page[0][0x80], 0x50, "below.written");
    /* Now VTPR is below the threshold, and no entry is possible. */
    l2_start(s_read_cr8);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "entry_below");
    check_eq(vmread(F_INSN_ERROR), 7, "entry_below.error");
    apic_page[0][0x80] = 0x60;
    (void)l2_go(s_read_cr8);
    expect_done("entry_equal");
    vmwrite(F_TPR_THRESHOLD, 15);
    apic_page[0][0x80] = 0xf0;
    (void)l2_go(s_read_cr8);
    expect_done("entry_highest");
    check_eq(l2.g.rdx, 15, "entry_highest.value");
}

static void exiting(enum l2_mode mode)
{
    reset(mode, 0, 0x40);
    ctl_set(F_PROC, PROC_CR8_LOAD);
    write_cr8(8);
    expect_exit("load_exiting", &(struct expect){R_CR, 8, 4, (uint64_t)i_cr8});
    check_eq(apic_page[0][0x80], 0x40, "load_exiting.unchanged");
    ctl_clear(F_PROC, PROC_CR8_LOAD);
    ctl_set(F_PROC, PROC_CR8_STORE);
    (void)l2_go(s_read_cr8);
    expect_exit("store_exiting", &(struct expect){R_CR, 8 | 0x10 | (2 << 8), 4,
                                                  (uint64_t)i_read_cr8});
}

void test_tpr(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("tpr.%s", l2_mode_name(modes[m]));
        accesses(modes[m]);
        thresholds(modes[m]);
        exiting(modes[m]);
    }
}
