/* SPDX-License-Identifier: MIT */
/*
 * The MSRs of SVM: EFER.SVME, VM_CR, VM_HSAVE_PA. [APM 2 "Enabling SVM"], [APM 2 "SVM Related
 * MSRs"]. What the host save area holds is the implementation's own affair and not looked at.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define VM_CR_LOCK (1ull << 3)
#define VM_CR_SVMDIS (1ull << 4)

static void wrmsr_op(uint64_t msr, uint64_t value)
{
    rt_wrmsr((uint32_t)msr, value);
}

static void rdmsr_op(uint64_t msr, uint64_t unused)
{
    (void)unused;
    (void)rt_rdmsr((uint32_t)msr);
}

static void expect_write(const char *name, const char *sub, uint32_t msr, uint64_t value, int want)
{
    t_eq(name, sub, (uint64_t)try_call(wrmsr_op, msr, value), (uint64_t)want);
}

static void efer(void)
{
    uint64_t old = rt_rdmsr(MSR_EFER);

    expect_write("efer", "clear-svme", MSR_EFER, old & ~EFER_SVME, NO_TRAP);
    t_eq("efer", "svme-reads-0", rt_rdmsr(MSR_EFER) & EFER_SVME, 0);
    expect_write("efer", "set-svme", MSR_EFER, old | EFER_SVME, NO_TRAP);
    t_eq("efer", "svme-reads-1", rt_rdmsr(MSR_EFER) & EFER_SVME, EFER_SVME);
    t_eq("efer", "rest-kept", rt_rdmsr(MSR_EFER) | EFER_SVME, old | EFER_SVME);
    expect_write("efer", "reserved-bit-1", MSR_EFER, old | 2, VEC_GP);
    expect_write("efer", "reserved-bit-19", MSR_EFER, old | 1ull << 19, VEC_GP);
    expect_write("efer", "reserved-bit-32", MSR_EFER, old | 1ull << 32, VEC_GP);
    expect_write("efer", "reserved-bit-63", MSR_EFER, old | 1ull << 63, VEC_GP);
    t_eq("efer", "unchanged-by-gp", rt_rdmsr(MSR_EFER), old | EFER_SVME);
}

/* A locked VM_CR is legal; then SVMDIS only reads as 0, and the rest cannot be looked at. */
static void vm_cr(void)
{
    uint64_t old = rt_rdmsr(MSR_VM_CR);
    uint64_t efer_on = rt_rdmsr(MSR_EFER) | EFER_SVME;

    if (t_skip("vm-cr.writes")) {
        return;
    }
    t_eq("vm-cr", "svmdis-clear", old & VM_CR_SVMDIS, 0);
    expect_write("vm-cr", "reserved-bit-5", MSR_VM_CR, old | 1 << 5, VEC_GP);
    expect_write("vm-cr", "reserved-bit-63", MSR_VM_CR, old | 1ull << 63, VEC_GP);
    expect_write("vm-cr", "svmdis-while-svme", MSR_VM_CR, old | VM_CR_SVMDIS, VEC_GP);
    t_eq("vm-cr", "unchanged-by-gp", rt_rdmsr(MSR_VM_CR), old);
    if ((old & VM_CR_LOCK) != 0) {
        t_absent("vm-cr.svmdis");
        return;
    }
    rt_wrmsr(MSR_EFER, efer_on & ~EFER_SVME);
    expect_write("vm-cr", "svmdis-set", MSR_VM_CR, old | VM_CR_SVMDIS, NO_TRAP);
    t_eq("vm-cr", "svmdis-reads", rt_rdmsr(MSR_VM_CR) & VM_CR_SVMDIS, VM_CR_SVMDIS);
    expect_write("vm-cr", "svmdis-blocks-svme", MSR_EFER, efer_on, VEC_GP);
    expect_write("vm-cr", "svmdis-cleared", MSR_VM_CR, old, NO_TRAP);
    expect_write("vm-cr", "svme-again", MSR_EFER, efer_on, NO_TRAP);
}

static void hsave(void)
{
    uint64_t old = rt_rdmsr(MSR_VM_HSAVE_PA);
    uint64_t limit = 1ull << cpu_phys_bits();

    t_eq("hsave", "reads-back", old & 0xfff, 0);
    expect_write("hsave", "other-page", MSR_VM_HSAVE_PA, pa(&vmcb_scratch), NO_TRAP);
    t_eq("hsave", "other-page-reads", rt_rdmsr(MSR_VM_HSAVE_PA), pa(&vmcb_scratch));
    expect_write("hsave", "zero", MSR_VM_HSAVE_PA, 0, NO_TRAP);
    rt_wrmsr(MSR_VM_HSAVE_PA, old);
    expect_write("hsave", "unaligned-1", MSR_VM_HSAVE_PA, old | 1, VEC_GP);
    expect_write("hsave", "unaligned-800", MSR_VM_HSAVE_PA, old | 0x800, VEC_GP);
    expect_write("hsave", "beyond-maxphyaddr", MSR_VM_HSAVE_PA, limit, VEC_GP);
    expect_write("hsave", "bit-63", MSR_VM_HSAVE_PA, old | 1ull << 63, VEC_GP);
    rt_wrmsr(MSR_VM_HSAVE_PA, old);
}

/* The MSRs exist, and can be written, before EFER.SVME is ever set. */
static void without_svme(void)
{
    uint64_t efer_on = rt_rdmsr(MSR_EFER) | EFER_SVME;
    uint64_t old = rt_rdmsr(MSR_VM_HSAVE_PA);

    rt_wrmsr(MSR_EFER, efer_on & ~EFER_SVME);
    t_eq("without-svme", "hsave-read", (uint64_t)try_call(rdmsr_op, MSR_VM_HSAVE_PA, 0),
         (uint64_t)NO_TRAP);
    expect_write("without-svme", "hsave-write", MSR_VM_HSAVE_PA, old, NO_TRAP);
    t_eq("without-svme", "vm-cr-read", (uint64_t)try_call(rdmsr_op, MSR_VM_CR, 0),
         (uint64_t)NO_TRAP);
    rt_wrmsr(MSR_EFER, efer_on);
}

void test_msrs(void)
{
    t_group("msr", NULL);
    l2_reset(L2_NPT);
    efer();
    vm_cr();
    hsave();
    without_svme();
}
