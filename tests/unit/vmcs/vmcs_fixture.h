/* SPDX-License-Identifier: MIT */
/*
 * A vmcs12 that passes every entry check, on a CPU like those of 2020: a 64-bit L1 enters a 64-bit
 * L2 with EPT and VPID. A case changes a copy of it and says which rule is to be broken, and no
 * other one.
 */
#ifndef VMCS_FIXTURE_H
#define VMCS_FIXTURE_H

#include "vmcs/vmcs_internal.h"

#include <nvirt/vmx.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PHYSICAL_BITS 40
#define BEYOND NVIRT_BIT(PHYSICAL_BITS)
#define NOT_CANONICAL NVIRT_BIT(47)
#define LINK UINT64_C(0x7000)
#define CURRENT UINT64_C(0x5000)

#define CODE64 UINT64_C(0xA09B)
#define CODE32 UINT64_C(0xC09B)
#define DATA UINT64_C(0xC093)
#define BUSY_TSS UINT64_C(0x8B)
#define LDT UINT64_C(0x82)
#define FLAT UINT64_C(0xFFFFFFFF)

#define FOR_EACH_SEGMENT(DO) DO(cs) DO(ss) DO(ds) DO(es) DO(fs) DO(gs)
#define FOR_EACH_DATA_SEGMENT(DO) DO(ds) DO(es) DO(fs) DO(gs)

struct fixture {
    struct nvirt_vmcs vmcs12;
    struct nvirt_vmx_caps cpu;
    struct nvirt_vmx_caps offer;
    struct nvi_vmx_check_in in;
    uint64_t pdpte[4];
};

static inline void fixture_cpu(struct nvirt_vmx_caps *cpu)
{
    memset(cpu, 0, sizeof *cpu);
    cpu->basic = 4 | (UINT64_C(4096) << 32) | (UINT64_C(6) << 50) | NVIRT_BIT(54) | NVIRT_BIT(55);
    cpu->pin = UINT64_C(0x0000007F00000016);
    cpu->true_pin = cpu->pin;
    cpu->proc = UINT64_C(0xFFF9FFFE0401E172);
    cpu->true_proc = UINT64_C(0xFFF9FFFE04006172);
    cpu->proc2 = UINT64_C(0x1E97FFFF00000000);
    cpu->exit = UINT64_C(0x007FFFFF00036DFF);
    cpu->true_exit = UINT64_C(0x007FFFFF00036DFB);
    cpu->entry = UINT64_C(0x0000FFFF000011FF);
    cpu->true_entry = UINT64_C(0x0000FFFF000011FB);
    cpu->misc = UINT64_C(0x600401E5);
    cpu->cr0_fixed0 = UINT64_C(0x80000021);
    cpu->cr0_fixed1 = UINT64_C(0xFFFFFFFF);
    cpu->cr4_fixed0 = UINT64_C(0x2000);
    cpu->cr4_fixed1 = UINT64_C(0x01F77FFF);
    cpu->vmcs_enum = 0x34;
    cpu->ept_vpid = UINT64_C(0xF0106B34141);
    cpu->vmfunc = 1;
    cpu->cpu.physical_bits = PHYSICAL_BITS;
    cpu->cpu.linear_bits = 48;
    cpu->cpu.long_mode = true;
    cpu->cpu.rtm = true;
    cpu->cpu.sgx = true;
    cpu->cpu.cr4_valid = ~UINT64_C(0);
    cpu->cpu.efer_valid = UINT64_C(0xD01);
    cpu->cpu.debugctl_valid = UINT64_C(0xFFC3);
    cpu->cpu.perf_global_valid = UINT64_C(0x70000000F);
}

static inline void fixture_controls(struct nvirt_vmcs *v, const struct nvirt_vmx_caps *offer)
{
    v->pin_controls = (offer->true_pin & FLAT) | NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI |
                      NVIRT_VMX_PIN_VIRTUAL_NMIS | NVIRT_VMX_PIN_PREEMPTION_TIMER;
    v->proc_controls = (offer->true_proc & FLAT) | NVIRT_VMX_PROC_SECONDARY |
                       NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_MSR_BITMAPS |
                       NVIRT_VMX_PROC_NMI_WINDOW;
    v->proc2_controls = NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID;
    v->exit_controls = (offer->true_exit & FLAT) | NVIRT_VMX_EXIT_CTL_HOST_64 |
                       NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_LOAD_EFER |
                       NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    v->entry_controls = (offer->true_entry & FLAT) | NVIRT_VMX_ENTRY_CTL_IA32E |
                        NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
                        NVIRT_VMX_ENTRY_CTL_LOAD_EFER;
    v->cr3_target_count = 4;
    v->io_bitmap_a = 0x1000;
    v->io_bitmap_b = 0x2000;
    v->msr_bitmap = 0x3000;
    v->vpid = 1;
    v->eptp = UINT64_C(0x4000) | NVIRT_VMX_EPTP_WALK_4 | 6;
    v->exit_msr_store_addr = 0x8000;
    v->exit_msr_store_count = 1;
    v->exit_msr_load_addr = 0x9000;
    v->exit_msr_load_count = 2;
    v->entry_msr_load_addr = 0xA000;
    v->entry_msr_load_count = 3;
}

static inline void fixture_host(struct nvirt_vmcs *v)
{
    v->host_cr0 = UINT64_C(0x80050033);
    v->host_cr3 = UINT64_C(0x10000);
    v->host_cr4 = UINT64_C(0x20E0);
    v->host_pat = UINT64_C(0x0007040600070406);
    v->host_efer = UINT64_C(0xD01);
    v->host_cs_selector = 0x10;
    v->host_ss_selector = 0x18;
    v->host_ds_selector = 0x18;
    v->host_tr_selector = 0x20;
    v->host_tr_base = UINT64_C(0xFFFF800000001000);
    v->host_gdtr_base = UINT64_C(0xFFFF800000002000);
    v->host_idtr_base = UINT64_C(0xFFFF800000003000);
    v->host_rip = UINT64_C(0xFFFF800000004000);
    v->host_rsp = UINT64_C(0xFFFF800000005000);
}

static inline void fixture_guest(struct nvirt_vmcs *v)
{
    v->guest_cr0 = UINT64_C(0x80050033);
    v->guest_cr3 = UINT64_C(0x20000);
    v->guest_cr4 = UINT64_C(0x20E0);
    v->guest_pat = UINT64_C(0x0007040600070406);
    v->guest_efer = UINT64_C(0xD01);
    v->guest_dr7 = 0x400;
    v->guest_rflags = 2;
    v->guest_rip = UINT64_C(0x100000);
    v->vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
#define FLAT_DATA(name)                                                                            \
    v->guest_##name##_selector = 0x18;                                                             \
    v->guest_##name##_limit = FLAT;                                                                \
    v->guest_##name##_ar = DATA;
    FLAT_DATA(ss)
    FOR_EACH_DATA_SEGMENT(FLAT_DATA)
#undef FLAT_DATA
    v->guest_cs_selector = 0x10;
    v->guest_cs_limit = FLAT;
    v->guest_cs_ar = CODE64;
    v->guest_tr_selector = 0x20;
    v->guest_tr_limit = 0x67;
    v->guest_tr_ar = BUSY_TSS;
    v->guest_ldtr_selector = 0x28;
    v->guest_ldtr_limit = 0xF;
    v->guest_ldtr_ar = LDT;
    v->guest_gdtr_limit = 0xFFFF;
    v->guest_idtr_limit = 0xFFFF;
}

static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    fixture_cpu(&f->cpu);
    assert_int_equal(nvirt_vmx_caps_offer(&f->cpu, &f->offer), NVIRT_OK);
    assert_int_equal(nvirt_vmx_caps_offer_subpages(&f->cpu, &f->offer), NVIRT_OK);
    fixture_controls(&f->vmcs12, &f->offer);
    fixture_host(&f->vmcs12);
    fixture_guest(&f->vmcs12);
    f->in.vmcs12 = &f->vmcs12;
    f->in.offer = &f->offer;
    f->in.l1_ia32e = true;
    f->in.current = CURRENT;
    f->in.link_revision = (uint32_t)(f->offer.basic & NVIRT_VMX_BASIC_REVISION);
}

/* ---- other kinds of guest and host ---- */

/* A CPU with shadow stacks and indirect branch tracking, whose switches L1 is offered. */
#define S_CET_VALID (NVIRT_BITS(63, 10) | NVIRT_BITS(5, 0))

static inline void fixture_cpu_cet(struct nvirt_vmx_caps *cpu)
{
    cpu->basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
    cpu->entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    cpu->true_entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    cpu->exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    cpu->true_exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    cpu->cpu.s_cet_valid = S_CET_VALID;
}

/* Entries and exits of such an L1 load CET state. */
static inline void fixture_cet(struct fixture *f)
{
    fixture_cpu_cet(&f->cpu);
    assert_int_equal(nvirt_vmx_caps_offer(&f->cpu, &f->offer), NVIRT_OK);
    assert_int_equal(nvirt_vmx_caps_offer_cet(&f->cpu, &f->offer), NVIRT_OK);
    f->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_CET;
    f->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_CET;
}

/* L2 in 32-bit protected mode with paging that needs no PDPTEs. */
static inline void fixture_guest_32(struct fixture *f)
{
    struct nvirt_vmcs *v = &f->vmcs12;

    v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    v->guest_efer &= ~(NVIRT_EFER_LMA | NVIRT_EFER_LME);
    v->guest_cr4 &= ~NVIRT_CR4_PAE;
    v->guest_cs_ar = CODE32;
}

static inline void fixture_guest_pae(struct fixture *f)
{
    fixture_guest_32(f);
    f->vmcs12.guest_cr4 |= NVIRT_CR4_PAE;
}

static inline void fixture_guest_v86(struct fixture *f)
{
    struct nvirt_vmcs *v = &f->vmcs12;

    fixture_guest_32(f);
    v->guest_rflags |= NVIRT_RFLAGS_VM;
#define V86(name)                                                                                  \
    v->guest_##name##_selector = 0x1235;                                                           \
    v->guest_##name##_base = 0x12350;                                                              \
    v->guest_##name##_limit = 0xFFFF;                                                              \
    v->guest_##name##_ar = 0xF3;
    FOR_EACH_SEGMENT(V86)
#undef V86
}

static inline void fixture_unrestricted(struct fixture *f)
{
    f->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
}

/* L2 in real mode, which takes unrestricted guest. */
static inline void fixture_guest_real(struct fixture *f)
{
    struct nvirt_vmcs *v = &f->vmcs12;

    fixture_guest_32(f);
    fixture_unrestricted(f);
    v->guest_cr0 &= ~(NVIRT_CR0_PG | NVIRT_CR0_PE);
#define REAL(name)                                                                                 \
    v->guest_##name##_selector = 0x1003;                                                           \
    v->guest_##name##_base = 0x10030;                                                              \
    v->guest_##name##_limit = 0xFFFF;                                                              \
    v->guest_##name##_ar = 0x93;
    FOR_EACH_SEGMENT(REAL)
#undef REAL
}

/* L1 outside IA-32e mode, with a guest to match. */
static inline void fixture_l1_32(struct fixture *f)
{
    struct nvirt_vmcs *v = &f->vmcs12;

    fixture_guest_32(f);
    f->in.l1_ia32e = false;
    v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_HOST_64;
    v->host_efer = 0;
    v->host_rip = 0x1000;
}

static inline void inject(struct nvirt_vmcs *v, uint64_t type, uint64_t vector)
{
    v->entry_interruption =
        NVIRT_VMX_INTR_VALID | (type << NVIRT_VMX_INTR_TYPE_SHIFT) | vector;
}

/* ---- verdicts ---- */

static inline enum nvi_vmx_rule fixture_verdict(struct fixture *f, struct nvi_vmx_check_out *out)
{
    if (nvi_vmx_check_controls(&f->in, out) && nvi_vmx_check_host(&f->in, out) &&
        nvi_vmx_check_guest(&f->in, out) &&
        nvi_vmx_pdptes_source(&f->vmcs12) != NVI_VMX_PDPTES_NONE) {
        (void)!nvi_vmx_check_pdptes(&f->in, f->pdpte, out);
    }
    return out->rule;
}

/* The outcome for L1 that belongs to a rule, by its name. */
static inline void fixture_assert_outcome(enum nvi_vmx_rule rule,
                                          const struct nvi_vmx_check_out *out)
{
    const char *name = nvi_vmx_rule_name(rule);
    bool control = strncmp(name, "VMX_CTL_", 8) == 0;
    bool host = strncmp(name, "VMX_HOST_", 9) == 0;
    bool guest = strncmp(name, "VMX_GUEST_", 10) == 0;
    uint64_t qualification = 0;

    if (strncmp(name, "VMX_GUEST_LINK_", 15) == 0) {
        qualification = 4;
    } else if (strcmp(name, "VMX_GUEST_PDPTE") == 0) {
        qualification = 2;
    }
    assert_int_equal(out->vm_error, control ? 7 : host ? 8 : 0);
    assert_int_equal(out->exit_reason, guest ? 33 : 0);
    assert_int_equal(out->qualification, qualification);
}

static inline void fixture_expect(struct fixture *f, enum nvi_vmx_rule rule, const char *file,
                                  int line)
{
    struct nvi_vmx_check_out out;
    enum nvi_vmx_rule found = fixture_verdict(f, &out);

    if (found != rule) {
        printf("%s:%d: expected \"%s\", got \"%s\"\n", file, line, nvi_vmx_rule_name(rule),
               nvi_vmx_rule_name(found));
        _fail(file, line);
    }
    fixture_assert_outcome(rule, &out);
}

/* The statements change the valid vmcs12 (v) or what goes with it (f); then RULE is broken first. */
#define REFUSES(RULE, ...)                                                                         \
    do {                                                                                           \
        struct fixture fixture;                                                                    \
        struct fixture *f = &fixture;                                                              \
        struct nvirt_vmcs *v = &fixture.vmcs12;                                                    \
                                                                                                   \
        fixture_init(f);                                                                           \
        (void)v;                                                                                   \
        __VA_ARGS__;                                                                               \
        fixture_expect(f, NVI_RULE_##RULE, __FILE__, __LINE__);                                    \
    } while (0)

/* The same, and no rule is broken. */
#define ACCEPTS(...)                                                                               \
    do {                                                                                           \
        struct fixture fixture;                                                                    \
        struct fixture *f = &fixture;                                                              \
        struct nvirt_vmcs *v = &fixture.vmcs12;                                                    \
                                                                                                   \
        fixture_init(f);                                                                           \
        (void)v;                                                                                   \
        __VA_ARGS__;                                                                               \
        fixture_expect(f, NVI_VMX_RULE_NONE, __FILE__, __LINE__);                                  \
    } while (0)

#endif
