/* SPDX-License-Identifier: MIT */
/*
 * Changes between two entries of a VMCS that is already launched: fields, and the memory that
 * fields point to, which no VMWRITE announces. An L0 that caches any of them has to notice. L1 as a
 * memory manager closes the file: L2's pages come one by one.
 */
#include "l2.h"
#include "tests.h"

SNIPPET(z_done, "", "", "");
SNIPPET(z_rdtsc, "", "rdtsc", "");
SNIPPET(z_sldt, "", "sldt %eax", "");
SNIPPET(z_out, "", "outb %al, $0x80", "");
SNIPPET(z_rdmsr, "movl $0x174, %ecx", "rdmsr", "");
SNIPPET(z_ud, "", "ud2", "");
SNIPPET(z_read, "", "movq (%rdi), %rax", "");
SNIPPET(z_fs, "", "movq %fs:0, %rax", "");
SNIPPET(z_cr0, "", "movq %cr0, %rax", "");
SNIPPET(z_sum, "1: addq (%rdi), %rax\naddq %rax, 8(%rdi)\naddq $4096, %rdi\ndecq %rcx\njnz 1b",
        "nop", "");

static void expect_reason_of(const char *code, uint32_t reason, const char *name)
{
    (void)l2_go(code);
    check_eq(l2.reason, reason, "%s", name);
}

static void controls(enum l2_mode mode)
{
    l2_reset(mode);
    expect_reason_of(s_z_rdtsc, R_VMCALL, "rdtsc.0");
    ctl_set(F_PROC, PROC_RDTSC);
    expect_reason_of(s_z_rdtsc, R_RDTSC, "rdtsc.1");
    ctl_clear(F_PROC, PROC_RDTSC);
    expect_reason_of(s_z_rdtsc, R_VMCALL, "rdtsc.2");
    ctl_set(F_PROC2, PROC2_DESC_TABLE);
    expect_reason_of(s_z_sldt, R_LDTR_TR, "sldt.1");
    ctl_clear(F_PROC2, PROC2_DESC_TABLE);
    expect_reason_of(s_z_sldt, R_VMCALL, "sldt.2");
    vmwrite(F_EXCEPTION_BITMAP, 1u << 6);
    expect_reason_of(s_z_ud, R_EXCEPTION, "exception_bitmap.1");
    vmwrite(F_EXCEPTION_BITMAP, 0);
    expect_reason_of(s_z_ud, R_VMCALL, "exception_bitmap.2");
    ctl_set(F_PIN, PIN_PREEMPTION);
    vmwrite(F_PREEMPTION_TIMER, 0);
    expect_reason_of(s_z_done, R_PREEMPTION, "pin.1");
    ctl_clear(F_PIN, PIN_PREEMPTION);
    expect_reason_of(s_z_done, R_VMCALL, "pin.2");
    ctl_set(F_PROC, PROC_TSC_OFFSET);
    for (uint64_t i = 1; i <= 3; i++) {
        uint64_t now = rt_rdtsc();

        vmwrite(F_TSC_OFFSET, i << 44);
        (void)l2_go(s_z_rdtsc);
        now = ((l2.g.rdx << 32) | (uint32_t)l2.g.rax) - now;
        check_eq(now >> 44, i, "tsc_offset.%lu", i);
    }
    vmwrite(F_CR0_MASK, CR0_TS);
    vmwrite(F_CR0_SHADOW, CR0_TS);
    (void)l2_go(s_z_cr0);
    check_eq(l2.g.rax & CR0_TS, CR0_TS, "cr0_shadow.1");
    vmwrite(F_CR0_SHADOW, 0);
    (void)l2_go(s_z_cr0);
    check_eq(l2.g.rax & CR0_TS, 0, "cr0_shadow.2");
    for (uint64_t i = 1; i <= 3; i++) {
        *(uint64_t *)&l2_data[i][0] = 0x4400 + i;
        vmwrite(F_G_FS_BASE, L2_DATA + i * 4096);
        (void)l2_go(s_z_fs);
        check_eq(l2.g.rax, 0x4400 + i, "fs_base.%lu", i);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        vmwrite(F_H_SYSENTER_ESP, 0x1000 * i);
        (void)l2_go(s_z_done);
        check_eq(rt_rdmsr(MSR_SYSENTER_ESP), 0x1000 * i, "host_sysenter_esp.%lu", i);
    }
    rt_wrmsr(MSR_SYSENTER_ESP, 0);
}

/* Bitmaps and lists are memory: they count as they are at each entry or access. */
static void bitmaps(enum l2_mode mode)
{
    static uint8_t other_bitmap[4096] __attribute__((aligned(4096)));

    l2_reset(mode);
    expect_reason_of(s_z_rdmsr, R_VMCALL, "msr_bitmap.0");
    msr_bitmap[0x174 / 8] = 1u << 4;
    expect_reason_of(s_z_rdmsr, R_RDMSR, "msr_bitmap.1");
    msr_bitmap[0x174 / 8] = 0;
    expect_reason_of(s_z_rdmsr, R_VMCALL, "msr_bitmap.2");
    memset(other_bitmap, 0xff, sizeof(other_bitmap));
    vmwrite(F_MSR_BITMAP, (uint64_t)other_bitmap);
    expect_reason_of(s_z_rdmsr, R_RDMSR, "msr_bitmap.other_page");
    vmwrite(F_MSR_BITMAP, (uint64_t)msr_bitmap);
    expect_reason_of(s_z_rdmsr, R_VMCALL, "msr_bitmap.first_page");
    ctl_set(F_PROC, PROC_IO_BITMAPS);
    expect_reason_of(s_z_out, R_VMCALL, "io_bitmap.0");
    io_bitmap[0][0x80 / 8] = 1;
    expect_reason_of(s_z_out, R_IO, "io_bitmap.1");
    io_bitmap[0][0x80 / 8] = 0;
    expect_reason_of(s_z_out, R_VMCALL, "io_bitmap.2");
    vmwrite(F_IO_BITMAP_A, (uint64_t)other_bitmap);
    expect_reason_of(s_z_out, R_IO, "io_bitmap.other_page");
}

/* Launched VMCSs share nothing but memory: a bitmap changed for one counts for the other too. */
static void shared_bitmap(enum l2_mode mode)
{
    struct l2 saved[2];
    uint64_t pa[2] = {(uint64_t)vmcs_region[0], (uint64_t)vmcs_region[1]};

    for (unsigned i = 0; i < 2; i++) {
        l2_reset_in(mode, vmcs_region[i]);
        (void)l2_go(s_z_rdmsr);
        saved[i] = l2;
    }
    msr_bitmap[0x174 / 8] = 1u << 4;
    for (unsigned i = 0; i < 2; i++) {
        (void)vmptrld(&pa[i]);
        l2 = saved[i];
        expect_reason_of(s_z_rdmsr, R_RDMSR, i == 0 ? "shared_bitmap.0" : "shared_bitmap.1");
    }
}

#define PAGES 256u

/* L2 touches 1 MiB; each page is mapped when the violation for it comes. */
static void demand_paging(void)
{
    static uint8_t memory[PAGES][4096] __attribute__((aligned(4096)));
    unsigned violations = 0, wrong_order = 0;
    uint64_t sum = 0;

    l2_reset(L2_EPT);
    for (uint64_t i = 0; i < PAGES; i++) {
        *(uint64_t *)&memory[i][0] = i * i;
        *(uint64_t *)&memory[i][8] = 0;
        l2_paging.data_pt[i] = (L2_DATA + i * 4096) | 7;
        l2_ept.data_pt[i] = 0;
    }
    l2_start(s_z_sum);
    l2.g.rdi = L2_DATA;
    l2.g.rcx = PAGES;
    while (l2_run() == R_EPT_VIOLATION && violations < PAGES + 1) {
        uint64_t gpa = vmread(F_GUEST_PHYS);

        if (gpa != L2_DATA + violations * 4096ull)
            wrong_order++;
        l2_ept.data_pt[violations & 511] = (uint64_t)memory[violations % PAGES] | EPT_RWX | EPT_WB;
        violations++;
    }
    (void)expect_done("demand_paging");
    check_eq(violations, PAGES, "demand_paging.violations");
    check_eq(wrong_order, 0, "demand_paging.order");
    for (uint64_t i = 0; i < PAGES; i++) {
        sum += i * i;
        if (*(uint64_t *)&memory[i][8] != sum)
            wrong_order++;
    }
    check_eq(l2.g.rax, sum, "demand_paging.sum");
    check_eq(wrong_order, 0, "demand_paging.memory");
    /* Taken away again: the same number of violations after one INVEPT. */
    memset(l2_ept.data_pt, 0, sizeof(l2_ept.data_pt));
    (void)invept(1, &(struct inv_desc){vmread(F_EPTP), 0});
    l2_start(s_z_sum);
    l2.g.rdi = L2_DATA;
    l2.g.rcx = PAGES;
    for (violations = 0; l2_run() == R_EPT_VIOLATION && violations <= PAGES; violations++)
        l2_ept.data_pt[violations & 511] = (uint64_t)memory[violations % PAGES] | EPT_RWX | EPT_WB;
    check_eq(violations, PAGES, "demand_paging.again");
    check_eq(l2.reason, R_VMCALL, "demand_paging.again_done");
}

/* Without EPT, L2's pages move under it by L2's own tables and by L1 between two entries. */
static void moving_pages(void)
{
    unsigned good = 0;

    l2_reset(L2_PLAIN);
    for (uint64_t i = 0; i < L2_DATA_PAGES; i++)
        *(uint64_t *)&l2_data[i][0] = 0x7700 + i;
    for (uint64_t i = 0; i < 3 * L2_DATA_PAGES; i++) {
        l2_paging.data_pt[1] = (uint64_t)l2_data[i % L2_DATA_PAGES] | 7;
        l2_start(s_z_read);
        l2.g.rdi = L2_DATA + 4096;
        (void)l2_run();
        good += l2.g.rax == 0x7700 + i % L2_DATA_PAGES;
    }
    check_eq(good, 3 * L2_DATA_PAGES, "moving_pages");
}

void test_resume(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("resume.%s", l2_mode_name(modes[m]));
        controls(modes[m]);
        bitmaps(modes[m]);
        shared_bitmap(modes[m]);
    }
    check_group("memory");
    demand_paging();
    moving_pages();
}
