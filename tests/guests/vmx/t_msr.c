/* SPDX-License-Identifier: MIT */
/*
 * RDMSR and WRMSR of L2 under the MSR bitmap, and the MSRs that have a field in the VMCS.
 * [SDM 3C "MSR-Bitmap Address"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(rdmsr, "", "rdmsr", "");
SNIPPET(wrmsr, "", "wrmsr", "");
SNIPPET(wrmsr_rdmsr, "", "wrmsr", "xorl %eax, %eax\nxorl %edx, %edx\nrdmsr");

/* Offsets of the four quarters of the bitmap. */
#define READ_LOW 0x000u
#define READ_HIGH 0x400u
#define WRITE_LOW 0x800u
#define WRITE_HIGH 0xc00u

static void start(const char *code, uint32_t msr, uint64_t value)
{
    l2_start(code);
    l2.g.rcx = msr;
    l2.g.rax = (uint32_t)value;
    l2.g.rdx = value >> 32;
    (void)l2_run();
}

static void intercept(uint32_t quarter, uint32_t msr)
{
    msr &= 0x1fff;
    msr_bitmap[quarter + msr / 8] = (uint8_t)(msr_bitmap[quarter + msr / 8] | 1u << (msr & 7));
}

static uint64_t l2_value(void)
{
    return (l2.g.rdx << 32) | (uint32_t)l2.g.rax;
}

static void bitmap(enum l2_mode mode)
{
    static const struct {
        const char *name;
        bool write;
        uint32_t quarter, set, msr;
        bool exits;
    } rows[] = {
        {"read_low", false, READ_LOW, MSR_SYSENTER_CS, MSR_SYSENTER_CS, true},
        {"read_low_other", false, READ_LOW, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, false},
        {"read_low_by_write_bit", false, WRITE_LOW, MSR_SYSENTER_CS, MSR_SYSENTER_CS, false},
        {"read_low_by_high_bit", false, READ_HIGH, MSR_SYSENTER_CS, MSR_SYSENTER_CS, false},
        {"read_high", false, READ_HIGH, MSR_LSTAR, MSR_LSTAR, true},
        {"read_high_by_low_bit", false, READ_LOW, MSR_LSTAR, MSR_LSTAR, false},
        {"write_low", true, WRITE_LOW, MSR_SYSENTER_EIP, MSR_SYSENTER_EIP, true},
        {"write_low_by_read_bit", true, READ_LOW, MSR_SYSENTER_EIP, MSR_SYSENTER_EIP, false},
        {"write_high", true, WRITE_HIGH, MSR_LSTAR, MSR_LSTAR, true},
        {"write_high_other", true, WRITE_HIGH, MSR_STAR, MSR_LSTAR, false},
        {"first_low", false, READ_LOW, 0, 0, true},
        {"last_low", false, READ_LOW, 0x1fff, 0x1fff, true},
        {"first_high", false, READ_HIGH, 0xc0000000, 0xc0000000, true},
        {"last_high", true, WRITE_HIGH, 0xc0001fff, 0xc0001fff, true},
        {"above_low", false, READ_LOW, 0, 0x2000, true},
        {"below_high", false, READ_HIGH, 0, 0xbfffffff, true},
        {"above_high", true, WRITE_HIGH, 0, 0xc0002000, true},
        {"middle", true, WRITE_LOW, 0, 0x40000000, true},
        {"last", false, READ_LOW, 0, 0xffffffff, true},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l2_reset(mode);
        intercept(rows[i].quarter, rows[i].set);
        start(rows[i].write ? s_wrmsr : s_rdmsr, rows[i].msr, 0);
        if (!rows[i].exits)
            (void)expect_done(rows[i].name);
        else if (rows[i].write)
            (void)expect_exit(rows[i].name,
                              &(struct expect){R_WRMSR, 0, 2, (uint64_t)i_wrmsr});
        else
            (void)expect_exit(rows[i].name,
                              &(struct expect){R_RDMSR, 0, 2, (uint64_t)i_rdmsr});
    }
}

static void without_bitmap(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_clear(F_PROC, PROC_MSR_BITMAPS);
    start(s_rdmsr, MSR_LSTAR, 0);
    (void)expect_exit("no_bitmap.rdmsr", &(struct expect){R_RDMSR, 0, 2, (uint64_t)i_rdmsr});
    start(s_wrmsr, MSR_SYSENTER_CS, 0);
    (void)expect_exit("no_bitmap.wrmsr", &(struct expect){R_WRMSR, 0, 2, (uint64_t)i_wrmsr});
    /* ECX is 32 bits wide: the upper half of RCX is not part of the number. */
    l2_reset(mode);
    l2_start(s_rdmsr);
    l2.g.rcx = 0x100000000ull | MSR_SYSENTER_CS;
    (void)l2_run();
    (void)expect_done("upper_half_of_rcx");
}

/* MSRs that entry loads and exit saves by a field of the VMCS. */
static void vmcs_msrs(enum l2_mode mode)
{
    static const struct {
        const char *name;
        uint32_t msr, field;
        uint64_t entry, written;
    } rows[] = {
        {"sysenter_cs", MSR_SYSENTER_CS, F_G_SYSENTER_CS, 0x1234, 0x4321},
        {"sysenter_esp", MSR_SYSENTER_ESP, F_G_SYSENTER_ESP, 0x11112222, 0xffff800000001111ull},
        {"sysenter_eip", MSR_SYSENTER_EIP, F_G_SYSENTER_EIP, 0x7fff12345678ull, 0x33334444},
        {"fs_base", MSR_FS_BASE, F_G_FS_BASE, 0x123456789000ull, 0xffff888000000000ull},
        {"gs_base", MSR_GS_BASE, F_G_GS_BASE, 0xffffffff80000000ull, 0x5555},
        {"pat", MSR_PAT, F_G_PAT, 0x0007040600070406ull, 0x0606060606060606ull},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l2_reset(mode);
        vmwrite(rows[i].field, rows[i].entry);
        uint64_t host = rt_rdmsr(rows[i].msr);
        start(s_rdmsr, rows[i].msr, 0);
        check_eq(l2_value(), rows[i].entry, "loaded.%s", rows[i].name);
        start(s_wrmsr_rdmsr, rows[i].msr, rows[i].written);
        check_eq(l2_value(), rows[i].written, "written.%s", rows[i].name);
        check_eq(vmread(rows[i].field), rows[i].written, "saved.%s", rows[i].name);
        check_eq(rt_rdmsr(rows[i].msr), host, "host.%s", rows[i].name);
    }
}

/* MSRs that no transition touches: L1 and L2 share one. */
static void shared_msrs(enum l2_mode mode)
{
    static const struct {
        const char *name;
        uint32_t msr;
    } rows[] = {
        {"star", MSR_STAR}, {"lstar", MSR_LSTAR}, {"kernel_gs_base", MSR_KERNEL_GS_BASE},
        {"tsc_aux", MSR_TSC_AUX},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = rt_rdmsr(rows[i].msr);

        l2_reset(mode);
        rt_wrmsr(rows[i].msr, 0x1111);
        start(s_rdmsr, rows[i].msr, 0);
        check_eq(l2_value(), 0x1111, "shared.%s.l2_sees", rows[i].name);
        start(s_wrmsr, rows[i].msr, 0x2222);
        check_eq(rt_rdmsr(rows[i].msr), 0x2222, "shared.%s.l1_sees", rows[i].name);
        rt_wrmsr(rows[i].msr, before);
    }
}

static void faults(enum l2_mode mode)
{
    uint64_t efer;

    l2_reset(mode);
    start(s_wrmsr, MSR_LSTAR, 0x8000000000000000ull);
    check_eq((uint64_t)l2_handler_vector(), 13, "noncanonical_lstar");
    start(s_wrmsr, MSR_PAT, 0x02);
    check_eq((uint64_t)l2_handler_vector(), 13, "bad_pat");
    l2_reset(mode);
    efer = vmread(F_G_EFER);
    start(s_wrmsr, MSR_EFER, efer & ~EFER_LME);
    check_eq((uint64_t)l2_handler_vector(), 13, "efer_lme_with_paging");
    start(s_wrmsr, MSR_EFER, efer | EFER_SCE);
    (void)expect_done("efer_sce");
    check_eq(vmread(F_G_EFER), efer | EFER_SCE, "efer_sce_saved");
    /* L2 finds in the capability MSRs what L1 finds. */
    l2_reset(mode);
    start(s_rdmsr, MSR_VMX_BASIC, 0);
    check_eq(l2_value(), rt_rdmsr(MSR_VMX_BASIC), "vmx_basic_as_l1");
    start(s_wrmsr, MSR_VMX_BASIC, 0);
    check_eq((uint64_t)l2_handler_vector(), 13, "vmx_basic_is_read_only");
}

void test_msr(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("msr.%s", l2_mode_name(modes[m]));
        bitmap(modes[m]);
        without_bitmap(modes[m]);
        vmcs_msrs(modes[m]);
        shared_msrs(modes[m]);
        faults(modes[m]);
    }
}
