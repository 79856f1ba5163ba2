/* SPDX-License-Identifier: MIT */
/*
 * The world of the nested-VMX tests: a fake host with a fake CPU, one vCPU with an L1 in 64-bit
 * mode (identity page tables, CPL 0), and the steps that a host and an L1 take, one function each.
 */
#ifndef VMX_WORLD_H
#define VMX_WORLD_H

#include "fake_cpu.h"
#include "fake_port.h"
#include "nested/vmx_internal.h"

#include <nvirt/nvirt.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define L1_RAM UINT64_C(0x1000000)
#define L1_PML4 UINT64_C(0x10000)
#define L1_PDPT UINT64_C(0x11000)
#define L1_PD UINT64_C(0x12000)
#define L1_PT UINT64_C(0x13000)   /* Maps the first 2 MiB in 4-KiB pages. */
#define OPERAND UINT64_C(0x20000) /* Where instructions find their memory operand. */
#define VMXON_REGION UINT64_C(0x30000)
#define VMCS12 UINT64_C(0x31000)
#define VMCS12_B UINT64_C(0x32000)
#define BITMAP_A UINT64_C(0x33000)
#define BITMAP_B UINT64_C(0x34000)
#define MSR_BITMAP12 UINT64_C(0x35000)
#define MSR_LIST UINT64_C(0x36000)
#define EPT12_TOP UINT64_C(0x40000)
#define L1_CR3 L1_PML4
#define L1_RIP UINT64_C(0x1000)
#define L1_EXIT_RIP UINT64_C(0x7000)
#define L2_RIP UINT64_C(0x9000)
#define REVISION 0x12u
#define VMCS01_HPA UINT64_C(0x7f000000)
#define VPID01 1u
#define INSN_LENGTH 4u

/* Instruction information: DS, 64-bit addresses, neither base nor index. */
#define INFO_PLAIN (NVIRT_BIT(27) | NVIRT_BIT(22) | (UINT64_C(3) << 15) | (UINT64_C(2) << 7))
#define INFO_REG NVIRT_BIT(10)
#define INFO_REG1(n) ((uint64_t)(n) << 3)
#define INFO_REG2(n) ((uint64_t)(n) << 28)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_port_cpu cpu;
    struct nvirt_vm vm;
    struct nvirt_vmx_caps caps;
    struct nvirt_vmx_caps offer;
    struct nvirt_vmx_vcpu_config config;
    struct nvirt_vmx_vcpu *v;
    uint16_t vpids[4];
    uint8_t *memory;
    uint8_t msr_bitmap[4096];
    struct nvirt_gprs gprs;
    struct nvirt_vmx_run run;
    struct nvirt_vmx_exit exit;
    enum nvirt_status status;
    bool with_timer; /* For what a test lets L1 use. */
    /* Where the vCPU is, and a second CPU where a test moves it; for the fake TLBs. */
    struct nvirt_port_cpu *at, *second;
    /* Of the last hardware entry, likewise. */
    uint32_t entered_level;
    bool had_vpid;
    uint64_t stay;
};

static inline uint64_t controls(uint32_t may_be_1, uint32_t must_be_1)
{
    return ((uint64_t)may_be_1 << 32) | must_be_1;
}

/* A CPU much like Bochs' tigerlake. */
static inline void world_caps(struct nvirt_vmx_caps *caps)
{
    memset(caps, 0, sizeof *caps);
    caps->basic = REVISION | (UINT64_C(4096) << 32) | (UINT64_C(6) << 50)
                  | NVIRT_VMX_BASIC_INS_OUTS_INFO | NVIRT_VMX_BASIC_TRUE;
    caps->pin = controls(0x7f, 0x16);
    caps->proc = controls(0xfff9fffe, 0x0401e172);
    caps->exit = controls(0x01ffffff, 0x00036dff);
    caps->entry = controls(0x0003ffff, 0x000011ff);
    caps->true_pin = controls(0x7f, 0x16);
    caps->true_proc = controls(0xfff9fffe, 0x04006172);
    caps->true_exit = controls(0x01ffffff, 0x00036dfb);
    caps->true_entry = controls(0x0003ffff, 0x000011fb);
    caps->misc = 5 | NVIRT_VMX_MISC_SAVES_LMA | (7u << 6) | (4u << 16) | NVIRT_VMX_MISC_VMWRITE_ANY;
    caps->cr0_fixed0 = 0x80000021;
    caps->cr0_fixed1 = 0xffffffff;
    caps->cr4_fixed0 = 0x2000;
    caps->cr4_fixed1 = 0x3767ff;
    caps->vmcs_enum = 0x2e;
    caps->proc2 = controls(0x1e97ffff, 0);
    caps->ept_vpid = UINT64_C(0xf0106b34141);
    caps->vmfunc = 1;
    caps->cpu.physical_bits = 40;
    caps->cpu.linear_bits = 48;
    caps->cpu.long_mode = true;
    caps->cpu.cr4_valid = ~UINT64_C(0);
    caps->cpu.efer_valid = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_NXE;
    caps->cpu.debugctl_valid = 3;
}

static inline void set01(struct world *w, enum nvirt_vmcs_field field, uint64_t value)
{
    assert_int_equal(nvirt_vmx_write(w->v, w->at, 1, field, value), NVIRT_OK);
}

static inline uint64_t get_level(struct world *w, uint32_t level, enum nvirt_vmcs_field field)
{
    uint64_t value = 0;

    assert_int_equal(nvirt_vmx_read(w->v, w->at, level, field, &value), NVIRT_OK);
    return value;
}

#define GET1(w, NAME) get_level((w), 1, NVIRT_VMCS_##NAME)
#define GET2(w, NAME) get_level((w), 2, NVIRT_VMCS_##NAME)
#define SET1(w, NAME, value) set01((w), NVIRT_VMCS_##NAME, (value))

static inline void world_l1_tables(struct world *w)
{
    fake_vm_put64(w->port, L1_PML4, L1_PDPT | 3);
    fake_vm_put64(w->port, L1_PDPT, L1_PD | 3);
    fake_vm_put64(w->port, L1_PD, L1_PT | 3);
    for (uint64_t i = 1; i < 8; i++)
        fake_vm_put64(w->port, L1_PD + i * 8, (i << 21) | 0x83);
    for (uint64_t i = 0; i < 512; i++)
        fake_vm_put64(w->port, L1_PT + i * 8, (i << 12) | 3);
}

static inline void world_segment(struct world *w, uint32_t number, uint64_t selector, uint64_t ar)
{
    set01(w, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_SELECTOR + number), selector);
    set01(w, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_LIMIT + number), 0xffffffff);
    set01(w, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_AR + number), ar);
    set01(w, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_BASE + number), 0);
}

/* vmcs01 as a host sets it up, L1 in 64-bit mode with CR4.VMXE. */
static inline void world_vmcs01(struct world *w)
{
    SET1(w, PIN_CONTROLS, 0x16 | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS);
    SET1(w, PROC_CONTROLS, 0x04006172 | NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_SECONDARY);
    SET1(w, PROC2_CONTROLS,
         NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_UNRESTRICTED);
    SET1(w, EXIT_CONTROLS,
         0x36dfb | NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_HOST_64
             | NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_LOAD_PAT
             | NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER
             | (w->config.cet ? NVIRT_VMX_EXIT_CTL_LOAD_CET : 0));
    SET1(w, ENTRY_CONTROLS,
         0x11fb | NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_IA32E
             | NVIRT_VMX_ENTRY_CTL_LOAD_PAT | NVIRT_VMX_ENTRY_CTL_LOAD_EFER
             | (w->config.cet ? NVIRT_VMX_ENTRY_CTL_LOAD_CET : 0));
    SET1(w, VPID, VPID01);
    SET1(w, EPTP, 0x50000 | 0x1e);
    SET1(w, MSR_BITMAP, 0x7e000000);
    SET1(w, VMCS_LINK, ~UINT64_C(0));
    SET1(w, CR0_MASK, nvirt_vmx_cr0_owned(w->v));
    SET1(w, CR4_MASK, nvirt_vmx_cr4_owned(w->v));
    SET1(w, CR0_SHADOW, 0x80010031);
    SET1(w, CR4_SHADOW, 0x2020);
    SET1(w, HOST_CR0, 0x80010031);
    SET1(w, HOST_CR3, 0x1234000);
    SET1(w, HOST_CR4, 0x2020);
    SET1(w, HOST_RIP, 0xffff800000001000);
    SET1(w, HOST_CS_SELECTOR, 8);
    SET1(w, HOST_TR_SELECTOR, 0x18);
    SET1(w, HOST_EFER, 0x500);
    SET1(w, HOST_PAT, 0x0007040600070406);
    SET1(w, GUEST_CR0, 0x80010031);
    SET1(w, GUEST_CR3, L1_CR3);
    SET1(w, GUEST_CR4, 0x2020);
    SET1(w, GUEST_EFER, 0x500);
    SET1(w, GUEST_PAT, 0x0007040600070406);
    SET1(w, GUEST_DR7, 0x400);
    SET1(w, GUEST_RIP, L1_RIP);
    SET1(w, GUEST_RSP, 0x8000);
    SET1(w, GUEST_RFLAGS, 2);
    for (uint32_t i = 0; i < 6; i++)
        world_segment(w, i, i == 1 ? 8 : 0x10, i == 1 ? 0xa09b : 0xc093);
    world_segment(w, 6, 0, 0x10000);
    world_segment(w, 7, 0x18, 0x8b);
}

static inline void world_vcpu(struct world *w)
{
    w->config.vm = &w->vm;
    w->config.cpu = &w->caps;
    w->config.offer = &w->offer;
    w->config.vmcs01 = nvirt_hpa_make(VMCS01_HPA);
    w->config.msr_bitmap = w->msr_bitmap;
    w->config.vpid01 = VPID01;
    for (uint16_t i = 0; i < 4; i++)
        w->vpids[i] = (uint16_t)(i + 2);
    w->config.vpids = w->vpids;
    w->config.vpid_count = 4;
    nvirt_vmx_msr_bitmap_require(w->msr_bitmap);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
    world_vmcs01(w);
}

/* The identifier that L1 is told. */
static inline uint32_t revision12(const struct world *w)
{
    return (uint32_t)(w->offer.basic & NVIRT_VMX_BASIC_REVISION);
}

static inline int setup_with(void **state, bool shadowing)
{
    struct world *w = calloc(1, sizeof *w);
    struct nvirt_vm_config config = { .page_budget = 64, .physical_bits = 40 };

    w->port = fake_vm_new();
    fake_vm_ram(w->port, 0, L1_RAM);
    fake_cpu_init(&w->cpu);
    w->at = &w->cpu;
    config.port = w->port;
    assert_int_equal(nvirt_vm_init(&w->vm, &config), NVIRT_OK);
    world_caps(&w->caps);
    if (!shadowing)
        w->caps.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    assert_int_equal(nvirt_vmx_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    assert_int_equal(nvirt_vmx_caps_offer_subpages(&w->caps, &w->offer), NVIRT_OK);
    w->memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    world_l1_tables(w);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    fake_vm_put32(w->port, VMCS12_B, revision12(w));
    world_vcpu(w);
    *state = w;
    return 0;
}

/* Every VMREAD and VMWRITE of L1 exits, */
static inline int setup(void **state)
{
    return setup_with(state, false);
}

/* or those of the fields that nvirt shadows do not. */
static inline int setup_shadowed(void **state)
{
    return setup_with(state, true);
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, w->at), NVIRT_OK);
    assert_int_equal(nvirt_vm_destroy(&w->vm), NVIRT_OK);
    assert_int_equal(w->cpu.undefined_reads, 0);
    fake_vm_delete(w->port); /* Aborts if a page or pin is left. */
    free(w->memory);
    free(w);
    return 0;
}

/* ---- what a host does ---- */

static inline void lose(struct world *w, const struct fake_tlb_lost *lost)
{
    fake_tlb_lose(&w->cpu.tlb, lost);
    if (w->second != NULL)
        fake_tlb_lose(&w->second->tlb, lost);
}

/* A flush that the host asks for, level 2 being all L2s. */
static inline void request_flush(struct world *w, uint32_t level, enum nvirt_tlb_request kind)
{
    bool all = kind == NVIRT_TLB_REQUEST_EVERYTHING;

    assert_int_equal(nvirt_vmx_request_flush(w->v, level, kind), NVIRT_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        const struct fake_tlb_lost lost = {
            .level = i, .combined = !all && kind != NVIRT_TLB_REQUEST_ROOT,
            .not_global = kind == NVIRT_TLB_REQUEST_NOT_GLOBAL };

        if (all || i == level)
            lose(w, &lost);
    }
}

/* L1 executed INVVPID with its descriptor at @p at [SDM 3C "INVVPID"]. */
static inline void note_invvpid(struct world *w, uint64_t at, uint64_t info)
{
    uint64_t type = w->gprs.r[info >> 28 & 15];
    struct fake_tlb_lost lost = { .level = 2, .combined = true, .tagged = true,
                                  .one_owner = type != 2, .owner = fake_vm_get64(w->port, at),
                                  .not_global = type == 3, .one_page = type == 0,
                                  .page = fake_vm_get64(w->port, at + 8) & NVIRT_PAGE_MASK };

    if (type <= 3 && (type == 2 || (lost.owner != 0 && lost.owner <= 0xffff)))
        lose(w, &lost);
}

/* Hardware enters now: what its TLB may supply is looked at. An L2 without VPID flushes VPID 0 on
 * its way in and out. */
static inline void enter_hardware(struct world *w)
{
    struct fake_tlb_context now = { .level = w->run.level };
    struct fake_tlb_lost gone;
    uint64_t current = w->at->current->hpa;
    uint64_t proc2 = fake_cpu_field(w->at, current, 0x401e);

    if (now.level != w->entered_level && !(now.level == 2 ? w->v->vpid12_enabled : w->had_vpid))
        w->stay++;
    w->had_vpid = w->v->vpid12_enabled;
    w->entered_level = now.level;
    now.without = now.level == 1 || !w->v->vpid12_enabled;
    now.stay = w->stay;
    now.root = fake_cpu_field(w->at, current, 0x201a);
    now.modes = now.level == 2 && (proc2 & NVIRT_VMX_PROC2_MODE_EXECUTE) != 0;
    if ((proc2 & NVIRT_VMX_PROC2_VPID) != 0)
        now.tag = (uint32_t)fake_cpu_field(w->at, current, 0x0000);
    now.owner = now.level == 1 ? UINT64_MAX : w->v->vpid12_enabled ? w->v->vmcs12.vpid : 0;
    /* What the guest flushes there it does not flush elsewhere. */
    gone = (struct fake_tlb_lost){ .level = now.level, .combined = true, .one_owner = true,
                                   .owner = now.owner };
    if (w->second != NULL)
        fake_tlb_lose(w->at == &w->cpu ? &w->second->tlb : &w->cpu.tlb, &gone);
    fake_tlb_enter(&w->at->tlb, w->port, &now);
}

static inline void prepare(struct world *w)
{
    assert_int_equal(nvirt_vmx_prepare(w->v, w->at, &w->run), NVIRT_OK);
    enter_hardware(w);
}

/* Runs to an exit that leaves @p set, and lets nvirt look at it. */
static inline void run_to(struct world *w, const struct fake_set *set, size_t count)
{
    prepare(w);
    assert_int_equal(fake_cpu_run(w->at, w->run.launch, set, count), NVIRT_HW_OK);
    w->status = nvirt_vmx_exit(w->v, w->at, &w->gprs, &w->exit);
}

/* A plain exit: reason, qualification, instruction information; nothing else happens. */
static inline void exit_with(struct world *w, uint32_t reason, uint64_t qualification,
                             uint64_t info)
{
    const struct fake_set set[] = {
        { 0x4402, reason },      { 0x6400, qualification },
        { 0x4404, 0 },           { 0x4406, 0 },
        { 0x4408, 0 },           { 0x440a, 0 },
        { 0x440c, INSN_LENGTH }, { 0x440e, info },
        { 0x2400, 0 },           { 0x640a, 0 },
    };

    if (reason == NVIRT_VMX_EXIT_INVVPID && nvirt_vmx_level(w->v) == 1 && w->v->vmx.on)
        note_invvpid(w, qualification, info);
    run_to(w, set, sizeof set / sizeof set[0]);
}

/* ---- what L1 does ---- */

static inline void l1_insn(struct world *w, uint32_t reason, uint64_t info)
{
    exit_with(w, reason, OPERAND, info);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
}

static inline void l1_pointer(struct world *w, uint32_t reason, uint64_t pointer)
{
    fake_vm_put64(w->port, OPERAND, pointer);
    l1_insn(w, reason, INFO_PLAIN);
}

/* What the CPU does before it lets VMREAD or VMWRITE exit [SDM 3C "VMREAD", "VMWRITE"]: bit 14 of
 * the secondary controls, the bitmap, the VMCS that the link pointer names. 0 when it exits. */
static inline uint64_t shadow_of(struct world *w, enum nvirt_vmcs_field field, bool write)
{
    const struct fake_region *region;
    const uint8_t *bitmap;
    uint64_t encoding = nvirt_vmcs_field_encoding(field);

    if (!w->v->shadow.usable)
        return 0;
    prepare(w);
    region = w->at->current;
    if (region->hpa != VMCS01_HPA ||
        (fake_cpu_field(w->at, region->hpa, 0x401e) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0)
        return 0;
    bitmap = nvirt_port_page_pointer(
        w->port, nvirt_hpa_make(fake_cpu_field(w->at, region->hpa, write ? 0x2028 : 0x2026)));
    return (bitmap[encoding / 8] >> encoding % 8 & 1) != 0
               ? 0
               : fake_cpu_field(w->at, region->hpa, 0x2800);
}

static inline void vmwrite12(struct world *w, enum nvirt_vmcs_field field, uint64_t value)
{
    uint64_t shadow = shadow_of(w, field, true);

    if (shadow != 0) {
        fake_cpu_poke(w->at, shadow, nvirt_vmcs_field_encoding(field), value);
        return;
    }
    w->gprs.r[NVIRT_RAX] = value;
    w->gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(field);
    l1_insn(w, NVIRT_VMX_EXIT_VMWRITE, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
}

static inline uint64_t vmread12(struct world *w, enum nvirt_vmcs_field field)
{
    uint64_t shadow = shadow_of(w, field, false);

    if (shadow != 0)
        return fake_cpu_field(w->at, shadow, nvirt_vmcs_field_encoding(field));
    w->gprs.r[NVIRT_RAX] = 0xbad;
    w->gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(field);
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
    return w->gprs.r[NVIRT_RAX];
}

#define WRITE12(w, NAME, value) vmwrite12((w), NVIRT_VMCS_##NAME, (value))
#define READ12(w, NAME) vmread12((w), NVIRT_VMCS_##NAME)

/* ---- how L1's instruction ended ---- */

#define FLAGS_VMFAIL (NVIRT_RFLAGS_CF | NVIRT_RFLAGS_ZF)

static inline void expect_success(struct world *w)
{
    assert_int_equal(GET1(w, GUEST_RFLAGS) & FLAGS_VMFAIL, 0);
    assert_false(w->v->pending.exception.waiting);
}

static inline void expect_vmfail_invalid(struct world *w)
{
    assert_int_equal(GET1(w, GUEST_RFLAGS) & FLAGS_VMFAIL, NVIRT_RFLAGS_CF);
}

static inline void expect_vmfail(struct world *w, uint32_t error)
{
    assert_int_equal(GET1(w, GUEST_RFLAGS) & FLAGS_VMFAIL, NVIRT_RFLAGS_ZF);
    assert_int_equal(w->v->vmcs12.vm_instruction_error, error);
}

/* The next entry injects this exception into the level that runs. */
static inline void expect_exception(struct world *w, uint8_t vector, bool has_error, uint32_t error)
{
    uint32_t word = 0x80000300u | vector | (has_error ? 0x800u : 0u);
    uint64_t hpa;

    prepare(w);
    hpa = w->at->current->hpa;
    assert_int_equal(fake_cpu_field(w->at, hpa, 0x4016), word);
    if (has_error)
        assert_int_equal(fake_cpu_field(w->at, hpa, 0x4018), error);
}

static inline void vmxon(struct world *w)
{
    l1_pointer(w, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    expect_success(w);
    assert_true(w->v->vmx.on);
}

static inline void load_vmcs12(struct world *w, uint64_t region)
{
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, region);
    expect_success(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, region);
    expect_success(w);
}

/* vmcs12 with which an entry succeeds: L2 in 64-bit mode, no EPT, no VPID. Written past the VMWRITE
 * exits, which have tests of their own. */
static inline void fill_vmcs12(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    memset(c, 0, sizeof *c);
    memset(&w->v->now->lazy, 0, sizeof w->v->now->lazy);
    w->v->now->changed = NVI_ALL_GROUPS;
    w->v->now->shadow_due = true;
    w->v->steady = false;
    c->pin_controls = 0x16;
    c->proc_controls = 0x04006172 | NVIRT_VMX_PROC_HLT;
    c->exit_controls = 0x36dfb | NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_SAVE_DEBUG
                       | NVIRT_VMX_EXIT_CTL_LOAD_EFER | NVIRT_VMX_EXIT_CTL_SAVE_EFER
                       | NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_SAVE_PAT;
    c->entry_controls = 0x11fb | NVIRT_VMX_ENTRY_CTL_IA32E | NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG
                        | NVIRT_VMX_ENTRY_CTL_LOAD_EFER | NVIRT_VMX_ENTRY_CTL_LOAD_PAT;
    c->guest_pat = c->host_pat = 0x0007040600070406;
    c->vmcs_link = ~UINT64_C(0);
    c->host_cr0 = 0x80010031;
    c->host_cr3 = L1_CR3;
    c->host_cr4 = 0x2020;
    c->host_efer = 0x500;
    c->host_rip = L1_EXIT_RIP;
    c->host_rsp = 0x6000;
    c->host_cs_selector = 8;
    c->host_ss_selector = c->host_ds_selector = c->host_es_selector = 0x10;
    c->host_fs_selector = c->host_gs_selector = 0x10;
    c->host_tr_selector = 0x18;
    c->guest_cr0 = 0x80010031;
    c->guest_cr3 = 0x50000;
    c->guest_cr4 = 0x2020;
    c->guest_efer = 0x500;
    c->guest_dr7 = 0x400;
    c->guest_rip = L2_RIP;
    c->guest_rsp = 0xa000;
    c->guest_rflags = 2;
    for (uint32_t i = 0; i < 6; i++) {
        c->field[NVIRT_VMCS_GUEST_ES_SELECTOR + i] = i == 1 ? 8 : 0x10;
        c->field[NVIRT_VMCS_GUEST_ES_LIMIT + i] = 0xffffffff;
        c->field[NVIRT_VMCS_GUEST_ES_AR + i] = i == 1 ? 0xa09b : 0xc093;
    }
    c->guest_ldtr_ar = 0x10000;
    c->guest_tr_selector = 0x18;
    c->guest_tr_limit = 0x67;
    c->guest_tr_ar = 0x8b;
}

static inline void ready_to_launch(struct world *w)
{
    vmxon(w);
    load_vmcs12(w, VMCS12);
    fill_vmcs12(w);
}

/* Tests write to vmcs12 past VMWRITE: nothing that nvirt remembers of it holds then. */
static inline void changed12(struct world *w)
{
    w->v->now->changed = NVI_ALL_GROUPS;
}

static inline void vmlaunch(struct world *w)
{
    changed12(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
}

static inline void vmresume(struct world *w)
{
    changed12(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
}

static inline void launch_l2(struct world *w)
{
    ready_to_launch(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 exits with a reason that is always L1's. */
static inline void l2_cpuid(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    nvi_vmcs12_settle(w->v, NULL); /* For tests that look at vmcs12 past VMREAD. */
}

/* L1 has ports of L2 exit by bitmaps of its own. */
static inline void with_io_bitmaps(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
    w->v->vmcs12.io_bitmap_a = BITMAP_A;
    w->v->vmcs12.io_bitmap_b = BITMAP_B;
}

/* L2 touches memory that its second-stage tables do not map. */
static inline void l2_violation(struct world *w, uint64_t l2gpa, uint64_t qualification)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION },
        { 0x6400, qualification },
        { 0x2400, l2gpa },
        { 0x640a, 0xabc },
        { 0x4408, 0 },
        { 0x440c, 3 },
        { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
}

/* What hardware holds for the level that runs, after prepare. */
static inline uint64_t hw_field(struct world *w, enum nvirt_vmcs_field field)
{
    return fake_cpu_field(w->at, w->at->current->hpa, nvirt_vmcs_field_encoding(field));
}

#define HW(w, NAME) hw_field((w), NVIRT_VMCS_##NAME)

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SHADOWED(name)                                                                        \
    { #name " with a shadow VMCS", name, setup_shadowed, teardown, NULL }

#endif
