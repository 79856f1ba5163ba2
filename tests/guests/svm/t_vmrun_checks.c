/* SPDX-License-Identifier: MIT */
/*
 * The states VMRUN refuses with VMEXIT_INVALID: [APM 2 "Canonicalization and Consistency Checks"]
 * and, with nested paging, [APM 2 "Nested Paging and VMRUN/#VMEXIT"]. One row bends one thing in
 * an otherwise good VMCB; after each, L1 must be as it was with GIF 0 (which l2_switch ends).
 * The second table holds states that look odd and are legal.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

SNIPPET(g_vmmcall, "", "nop");

enum field {
    CR0, CR3, CR4, DR6, DR7, EFER, CS_ATTR, ICPT2, ASID, IOPM, MSRPM, INJ, NCR3, GPAT, RFLAGS
};

/* value = (value & ~clear) | set */
struct row {
    const char *name;
    enum field field;
    uint64_t clear, set;
};

static const struct row bad[] = {
    {"efer-svme-0", EFER, EFER_SVME, 0},
    {"cr0-nw-without-cd", CR0, CR0_CD, CR0_NW},
    {"cr0-bit-32", CR0, 0, 1ull << 32},
    {"cr0-bit-63", CR0, 0, 1ull << 63},
    {"cr3-bit-52", CR3, 0, 1ull << 52},
    {"cr3-bit-63", CR3, 0, 1ull << 63},
    {"cr4-bit-15", CR4, 0, 1ull << 15},
    {"cr4-bit-19", CR4, 0, 1ull << 19},
    {"cr4-bit-31", CR4, 0, 1ull << 31},
    {"cr4-bit-32", CR4, 0, 1ull << 32},
    {"cr4-bit-63", CR4, 0, 1ull << 63},
    {"dr6-bit-32", DR6, 0, 1ull << 32},
    {"dr6-bit-63", DR6, 0, 1ull << 63},
    {"dr7-bit-32", DR7, 0, 1ull << 32},
    {"dr7-bit-63", DR7, 0, 1ull << 63},
    {"efer-bit-1", EFER, 0, 1ull << 1},
    {"efer-bit-9", EFER, 0, 1ull << 9},
    {"efer-bit-19", EFER, 0, 1ull << 19},
    {"efer-bit-32", EFER, 0, 1ull << 32},
    {"efer-bit-63", EFER, 0, 1ull << 63},
    {"lme-pg-without-pae", CR4, CR4_PAE, 0},
    {"lme-pg-without-pe", CR0, CR0_PE, 0},
    {"long-mode-cs-l-and-d", CS_ATTR, 0, 0x400},
    {"vmrun-intercept-clear", ICPT2, 1, 0},
    {"asid-0", ASID, ~0ull, 0},
    {"iopm-bit-51", IOPM, 0, 1ull << 51},
    {"iopm-bit-63", IOPM, 0, 1ull << 63},
    {"msrpm-bit-51", MSRPM, 0, 1ull << 51},
    {"msrpm-bit-63", MSRPM, 0, 1ull << 63},
    {"inject-type-1", INJ, ~0ull, EVT_VALID | 1ull << 8 | 0x20},
    {"inject-type-5", INJ, ~0ull, EVT_VALID | 5ull << 8 | 0x20},
    {"inject-type-6", INJ, ~0ull, EVT_VALID | 6ull << 8 | 0x20},
    {"inject-type-7", INJ, ~0ull, EVT_VALID | 7ull << 8 | 0x20},
    {"inject-exception-2", INJ, ~0ull, EVT_VALID | EVT_EXC | 2},
    {"inject-exception-32", INJ, ~0ull, EVT_VALID | EVT_EXC | 32},
    {"inject-exception-255", INJ, ~0ull, EVT_VALID | EVT_EXC | 255},
};

static const struct row bad_npt[] = {
    {"ncr3-bit-52", NCR3, 0, 1ull << 52},
    {"ncr3-bit-63", NCR3, 0, 1ull << 63},
    {"pat-type-2", GPAT, 0xff, 2},
    {"pat-type-3", GPAT, 0xff00, 0x300},
    {"pat-type-8", GPAT, 0xff, 8},
    {"pat-reserved-bit", GPAT, 0, 1ull << 63},
};

static const struct row good[] = {
    {"unchanged", CR0, 0, 0},
    {"cr0-cd", CR0, 0, CR0_CD},
    {"cr0-cd-nw", CR0, 0, CR0_CD | CR0_NW},
    {"cr3-low-bits", CR3, 0, 0x18},
    {"dr6-0", DR6, ~0ull, 0},
    {"dr7-0", DR7, ~0ull, 0},
    {"asid-7", ASID, ~0ull, 7},
    {"iopm-low-bits", IOPM, 0, 0xfff},
    {"msrpm-low-bits", MSRPM, 0, 0xfff},
    {"inject-not-valid", INJ, ~0ull, 7ull << 8 | 2},
    {"rflags-0", RFLAGS, ~0ull, 0},
};

static uint64_t get(const struct vmcb *v, enum field f)
{
    switch (f) {
    case CR0: return v->cr0;
    case CR3: return v->cr3;
    case CR4: return v->cr4;
    case DR6: return v->dr6;
    case DR7: return v->dr7;
    case EFER: return v->efer;
    case CS_ATTR: return v->cs.attrib;
    case ICPT2: return v->misc[1];
    case ASID: return v->asid;
    case IOPM: return v->iopm_pa;
    case MSRPM: return v->msrpm_pa;
    case INJ: return v->event_inj;
    case NCR3: return v->ncr3;
    case GPAT: return v->g_pat;
    case RFLAGS: return v->rflags;
    }
    return 0;
}

static void put(struct vmcb *v, enum field f, uint64_t value)
{
    switch (f) {
    case CR0: v->cr0 = value; break;
    case CR3: v->cr3 = value; break;
    case CR4: v->cr4 = value; break;
    case DR6: v->dr6 = value; break;
    case DR7: v->dr7 = value; break;
    case EFER: v->efer = value; break;
    case CS_ATTR: v->cs.attrib = (uint16_t)value; break;
    case ICPT2: v->misc[1] = (uint32_t)value; break;
    case ASID: v->asid = (uint32_t)value; break;
    case IOPM: v->iopm_pa = value; break;
    case MSRPM: v->msrpm_pa = value; break;
    case INJ: v->event_inj = value; break;
    case NCR3: v->ncr3 = value; break;
    case GPAT: v->g_pat = value; break;
    case RFLAGS: v->rflags = value; break;
    }
}

static uint64_t run_bent(const struct row *r)
{
    put(l2.vmcb, r->field, (get(l2.vmcb, r->field) & ~r->clear) | r->set);
    return l2_run_at(g_vmmcall);
}

/* L1's state that a refused VMRUN must leave alone, besides GIF. */
static bool host_is_whole(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
    return rt_read_cr0() == cr0 && rt_read_cr3() == cr3 && rt_read_cr4() == cr4 &&
           rt_rdmsr(MSR_EFER) == efer && rt_read_cs() == SEL_CODE64 && rt_read_ss() == SEL_DATA &&
           rt_sgdt().base == pa(gdt_storage) && rt_sidt().base == pa(idt_storage) &&
           l2.g.host_rax == pa(l2.vmcb);
}

static void refused(enum l2_mode mode, const struct row *r)
{
    uint64_t cr0, cr3, cr4, efer;

    if (t_skip(r->name)) {
        return;
    }
    l2_reset(mode);
    cr0 = rt_read_cr0();
    cr3 = rt_read_cr3();
    cr4 = rt_read_cr4();
    efer = rt_rdmsr(MSR_EFER);
    t_check(r->name, NULL, l2_is_invalid(run_bent(r)));
    t_check(r->name, "host", host_is_whole(cr0, cr3, cr4, efer));
}

static void physical_width(enum l2_mode mode)
{
    unsigned int bits = cpu_phys_bits();
    const struct row rows[] = {
        {"iopm-maxphyaddr", IOPM, ~0ull, 1ull << bits},
        {"msrpm-maxphyaddr", MSRPM, ~0ull, 1ull << bits},
        {"iopm-runs-over", IOPM, ~0ull, (1ull << bits) - 0x1000},
        {"msrpm-runs-over", MSRPM, ~0ull, (1ull << bits) - 0x1000},
        {"cr3-maxphyaddr", CR3, 0, 1ull << bits},
        {"ncr3-maxphyaddr", NCR3, 0, 1ull << bits},
    };

    for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].field != NCR3 || mode == L2_NPT) {
            refused(mode, &rows[i]);
        }
    }
}

static void accepted(enum l2_mode mode, const struct row *r)
{
    if (t_skip(r->name)) {
        return;
    }
    l2_reset(mode);
    t_eq(r->name, NULL, run_bent(r), EXIT_VMMCALL);
}

/* After a refusal the exit information of an earlier run must not look like a new one. */
static void recovers(enum l2_mode mode)
{
    l2_reset(mode);
    t_eq("recovers", "first", l2_run_at(g_vmmcall), EXIT_VMMCALL);
    l2.vmcb->asid = 0;
    t_check("recovers", "refused", l2_is_invalid(l2_run_at(g_vmmcall)));
    l2_reset(mode);
    t_eq("recovers", "again", l2_run_at(g_vmmcall), EXIT_VMMCALL);
}

void test_vmrun_checks(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("vmrun-good", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof good / sizeof good[0]; i++) {
            accepted(modes[m], &good[i]);
        }
        t_group("vmrun-check", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            refused(modes[m], &bad[i]);
        }
        physical_width(modes[m]);
        for (unsigned int i = 0; modes[m] == L2_NPT && i < sizeof bad_npt / sizeof bad_npt[0];
             i++) {
            refused(modes[m], &bad_npt[i]);
        }
        recovers(modes[m]);
    }
}
