/* SPDX-License-Identifier: MIT */
/*
 * MSR intercepts: the three ranges of the MSR permission map, two bits per MSR, and everything
 * outside them always intercepted. [APM 2 "MSR Intercepts"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

SNIPPET(g_rdmsr, "", "rdmsr");
SNIPPET(g_wrmsr, "", "wrmsr");

struct row {
    const char *name;
    uint32_t msr;
    bool in_map;
    bool usable; /* exists on every CPU and may be written with the value it has */
};

static const struct row rows[] = {
    {"0000-0000", 0, true, false},
    {"sysenter-cs", MSR_SYSENTER_CS, true, true},
    {"pat", MSR_PAT, true, true},
    {"0000-1fff", 0x1fff, true, false},
    {"0000-2000", 0x2000, false, false},
    {"4000-0000", 0x40000000, false, false},
    {"bfff-ffff", 0xbfffffff, false, false},
    {"c000-0000", 0xc0000000, true, false},
    {"efer", MSR_EFER, true, true},
    {"star", MSR_STAR, true, true},
    {"gs-base", MSR_GS_BASE, true, true},
    {"c000-1fff", 0xc0001fff, true, false},
    {"c000-2000", 0xc0002000, false, false},
    {"c000-ffff", 0xc000ffff, false, false},
    {"c001-0000", 0xc0010000, true, false},
    {"vm-hsave-pa", MSR_VM_HSAVE_PA, true, false},
    {"c001-1fff", 0xc0011fff, true, false},
    {"c001-2000", 0xc0012000, false, false},
    {"ffff-ffff", 0xffffffff, false, false},
};

static void map(uint32_t msr, bool write, bool on)
{
    uint32_t range = msr >= 0xc0010000 ? 2 : msr >= 0xc0000000 ? 1 : 0;
    uint32_t bit = range * 0x4000 + (msr & 0x1fff) * 2 + (write ? 1 : 0);
    uint8_t mask = (uint8_t)(1u << (bit % 8));

    msrpm[bit / 8] = (uint8_t)(on ? msrpm[bit / 8] | mask : msrpm[bit / 8] & ~mask);
}

static uint64_t run(const struct row *r, bool write)
{
    uint64_t value = r->usable ? rt_rdmsr(r->msr) : 0;

    l2.g.rcx = r->msr;
    l2.vmcb->rax = 0xffffffff00000000 | (uint32_t)value;
    l2.g.rdx = value >> 32;
    return l2_run_at(write ? g_wrmsr : g_rdmsr);
}

static void intercepted(enum l2_mode mode, const struct row *r, bool write)
{
    const char *code = write ? "write" : "read";

    l2_reset(mode);
    l2_intercept(ICPT_MSR, true);
    if (r->in_map) {
        map(r->msr, write, true);
    }
    t_eq(r->name, code, run(r, write), EXIT_MSR);
    t_eq(r->name, write ? "write-info1" : "read-info1", l2.vmcb->info1, write);
    t_eq(r->name, write ? "write-rip" : "read-rip", l2.vmcb->rip,
         pa(write ? g_wrmsr_at : g_rdmsr_at));
    if (cpu_has_nrips()) {
        t_eq(r->name, write ? "write-nrip" : "read-nrip", l2.vmcb->nrip,
             pa(write ? g_wrmsr_next : g_rdmsr_next));
    }
    t_eq(r->name, write ? "write-rax-kept" : "read-rax-kept", l2.vmcb->rax >> 32, 0xffffffff);
}

/* Every bit but its own: the access happens in L2 itself. */
static void allowed(enum l2_mode mode, const struct row *r, bool write)
{
    uint64_t value = rt_rdmsr(r->msr);

    l2_reset(mode);
    l2_intercept(ICPT_MSR, true);
    memset(msrpm, 0xff, sizeof msrpm);
    map(r->msr, write, false);
    t_eq(r->name, write ? "write-allowed" : "read-allowed", run(r, write), EXIT_VMMCALL);
    if (!write) {
        t_eq(r->name, "read-value", (l2.g.rdx << 32) | l2.vmcb->rax, value);
    }
    l2_reset(mode);
    memset(msrpm, 0xff, sizeof msrpm);
    t_eq(r->name, write ? "write-bit-clear" : "read-bit-clear", run(r, write), EXIT_VMMCALL);
}

/* A value written by L2 where it may is L2's: VMSAVE-class MSRs show it after the exit. */
static void passes_values(enum l2_mode mode)
{
    l2_reset(mode);
    l2.g.rcx = MSR_KERNEL_GS_BASE;
    l2.vmcb->rax = 0x81234000;
    l2.g.rdx = 0xffffffff;
    t_eq("kernel-gs-base", "written", l2_run_at(g_wrmsr), EXIT_VMMCALL);
    t_eq("kernel-gs-base", "saved", l2.vmcb->kernel_gs_base, 0xffffffff81234000);
    l2.g.rcx = MSR_KERNEL_GS_BASE;
    t_eq("kernel-gs-base", "read", l2_run_at(g_rdmsr), EXIT_VMMCALL);
    t_eq("kernel-gs-base", "low", l2.vmcb->rax, 0x81234000);
    t_eq("kernel-gs-base", "high", l2.g.rdx, 0xffffffff);
}

/* The MSR's number is ECX: what stands above it in RCX changes nothing. */
static void only_ecx(enum l2_mode mode)
{
    l2_reset(mode);
    l2_intercept(ICPT_MSR, true);
    map(MSR_SYSENTER_CS, false, true);
    l2.g.rcx = 0xabcd00000000 | MSR_SYSENTER_CS;
    t_eq("rcx-high", "ignored", l2_run_at(g_rdmsr), EXIT_MSR);
}

/* CPL is checked before the map. */
static void privilege_first(enum l2_mode mode)
{
    l2_reset(mode);
    l2_intercept(ICPT_MSR, true);
    memset(msrpm, 0xff, sizeof msrpm);
    l2_user();
    l2.g.rcx = MSR_EFER;
    t_eq("cpl3", "read-gp-first", l2_run_at(g_rdmsr), EXIT_EXC(VEC_GP));
    t_eq("cpl3", "write-gp-first", l2_run_at(g_wrmsr), EXIT_EXC(VEC_GP));
}

void test_msrpm(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("msrpm", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
            const struct row *r = &rows[i / 2];

            intercepted(modes[m], r, i % 2 != 0);
            if (r->usable) {
                allowed(modes[m], r, i % 2 != 0);
            }
        }
        passes_values(modes[m]);
        only_ecx(modes[m]);
        privilege_first(modes[m]);
    }
}
