/* SPDX-License-Identifier: MIT */
/*
 * Physical addresses within the CPU's width at which there is no memory. Reads there give ones and
 * writes vanish, on the bare machine and for an L1 whose L0 follows it; none of them may do worse.
 */
#include "l2.h"
#include "tests.h"

/* In the hole below 4 GiB, away from devices; and far above any memory. */
static const uint64_t holes[] = {0xd0000000ull, 0x8000000000ull};
static const char *const names[] = {"below_4g", "high"};

SNIPPET(o_done, "", "", "");
SNIPPET(o_out, "", "outb %al, $0x80", "");
SNIPPET(o_rdmsr, "movl $0x174, %ecx", "rdmsr", "");

static unsigned with_pointer(unsigned (*insn)(const volatile uint64_t *), uint64_t pa)
{
    return insn(&pa);
}

static void pointers(uint64_t hole, const char *name)
{
    uint64_t pa = 0;

    l2_reset(L2_EPT);
    check_eq(with_pointer(vmptrld, hole), VMX_FAIL_VALID, "%s.vmptrld", name);
    check_eq(vmread(F_INSN_ERROR), E_VMPTRLD_REVISION, "%s.vmptrld_error", name);
    (void)vmptrst(&pa);
    check_eq(pa, (uint64_t)vmcs_region[0], "%s.still_current", name);
    check_eq(with_pointer(vmclear, hole), VMX_OK, "%s.vmclear", name);
    check_eq(vmxoff(), VMX_OK, "%s.vmxoff", name);
    check_eq(with_pointer(vmxon, hole), VMX_FAIL_INVALID, "%s.vmxon", name);
    check(vmx_start(), "%s.vmxon_again", name);
}

/* Bitmaps of ones intercept everything; an MSR list of ones names an MSR that cannot be loaded. */
static void named_pages(uint64_t hole, const char *name)
{
    l2_reset(L2_EPT);
    vmwrite(F_MSR_BITMAP, hole);
    (void)l2_go(s_o_rdmsr);
    check_eq(l2.reason, R_RDMSR, "%s.msr_bitmap", name);
    l2_reset(L2_EPT);
    ctl_set(F_PROC, PROC_IO_BITMAPS);
    vmwrite(F_IO_BITMAP_A, hole);
    (void)l2_go(s_o_out);
    check_eq(l2.reason, R_IO, "%s.io_bitmap_a", name);
    l2_reset(L2_EPT);
    vmwrite(F_ENTRY_MSR_LOAD, hole);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 1);
    (void)l2_go(s_o_done);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_MSR, "%s.entry_msr_load", name);
    check_eq(vmread(F_QUALIFICATION), 1, "%s.entry_msr_load.index", name);
    l2_reset(L2_EPT);
    vmwrite(F_EPTP, hole | EPTP_WALK4 | EPTP_WB);
    (void)l2_go(s_o_done);
    check_eq(l2.reason, R_EPT_MISCONFIG, "%s.eptp", name);
    l2_reset(L2_EPT);
    l2_ept.data_pd[0] = hole | EPT_RWX;
    (void)l2_go(s_o_done);
    (void)expect_done("unused_ept_table");
}

void test_outside(void)
{
    for (unsigned i = 0; i < 2; i++) {
        check_group("no_memory");
        pointers(holes[i], names[i]);
        named_pages(holes[i], names[i]);
    }
}
