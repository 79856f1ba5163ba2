/* SPDX-License-Identifier: MIT */
/*
 * The world of the nested-SVM tests: a fake host with a fake CPU, one vCPU with an L1 in 64-bit
 * mode (identity page tables, CPL 0, EFER.SVME set), a vmcb12 that every rule accepts, and the
 * steps that a host, its CPU and an L1 take, one function each.
 */
#ifndef SVM_WORLD_H
#define SVM_WORLD_H

#include "fake_cpu.h"
#include "fake_port.h"
#include "nested/svm_internal.h"

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
#define L1_RIP UINT64_C(0x1000)
#define L2_RIP UINT64_C(0x9000)
#define VMCB12 UINT64_C(0x30000)
#define VMCB12_B UINT64_C(0x31000)
#define SAVE_AREA UINT64_C(0x32000)
#define IOPM12 UINT64_C(0x34000)
#define MSRPM12 UINT64_C(0x38000)
#define NPT12 UINT64_C(0x40000) /* PML4, PDPT, PD, PT in four pages */
#define BEYOND_RAM UINT64_C(0x8000000)
#define PAT_AT_RESET UINT64_C(0x0007040600070406)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_port_cpu cpu;
    struct nvirt_port_cpu *at, *second; /* Where the vCPU is; a second CPU where a test moves it. */
    struct nvirt_vm vm;
    struct nvirt_svm_caps caps;
    struct nvirt_svm_caps offer;
    struct nvirt_svm_vcpu_config config;
    struct nvirt_svm_vcpu *v;
    struct nvirt_vmcb *vmcb01;
    uint8_t *memory;
    uint32_t asids[4];
    uint64_t int_info; /* EXITINTINFO of the next exit */
    struct nvirt_gprs gprs;
    struct nvirt_svm_run run;
    struct nvirt_svm_exit exit;
    uint8_t maps02[NVIRT_SVM_MAP_PAGES * 4096];
    uint8_t msrpm01[NVIRT_SVM_MSRPM_BYTES];
    uint8_t iopm01[NVIRT_SVM_IOPM_BYTES];
};

static inline void world_caps(struct world *w)
{
    w->caps.asid_count = 16;
    w->caps.features = NVIRT_SVM_FEATURE_NP | NVIRT_SVM_FEATURE_FLUSH_BY_ASID;
    w->caps.physical_bits = 40;
    w->caps.linear_bits = 48;
    w->caps.long_mode = w->caps.nx = w->caps.pages_1g = w->caps.pse36 = true;
    w->caps.efer_valid = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_NXE |
                         NVIRT_EFER_SVME;
    w->caps.cr4_valid = NVIRT_CR4_PAE | NVIRT_CR4_PSE | NVIRT_CR4_PGE | NVIRT_CR4_LA57;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
}

/* 1 GiB of L1 mapped to itself in 2-MiB pages, user and writable. */
static inline void identity_tables(struct world *w)
{
    fake_vm_put64(w->port, L1_PML4, L1_PDPT | 7);
    fake_vm_put64(w->port, L1_PDPT, L1_PD | 7);
    for (uint64_t i = 0; i < 512; i++) {
        fake_vm_put64(w->port, L1_PD + i * 8, (i << 21) | 0x87);
    }
}

/* NPT12: the first 2 MiB to themselves in 4-KiB pages. */
static inline void nested_tables(struct world *w)
{
    fake_vm_put64(w->port, NPT12, (NPT12 + 0x1000) | 7);
    fake_vm_put64(w->port, NPT12 + 0x1000, (NPT12 + 0x2000) | 7);
    fake_vm_put64(w->port, NPT12 + 0x2000, (NPT12 + 0x3000) | 7);
    for (uint64_t i = 0; i < 512; i++) {
        fake_vm_put64(w->port, NPT12 + 0x3000 + i * 8, (i << 12) | 7);
    }
}

static inline void l1_registers(struct nvirt_vmcb *v)
{
    v->efer = NVIRT_EFER_SVME | NVIRT_EFER_LME | NVIRT_EFER_LMA | NVIRT_EFER_NXE;
    v->cr0 = NVIRT_CR0_PE | NVIRT_CR0_PG;
    v->cr4 = NVIRT_CR4_PAE;
    v->cr3 = L1_PML4;
    v->cs.attrib = NVIRT_VMCB_SEG_L | 0x9b;
    v->rip = L1_RIP;
    v->rflags = 2;
    v->dr6 = 0xffff0ff0;
    v->dr7 = 0x400;
    v->g_pat = PAT_AT_RESET;
}

static inline void put_vmcb12(struct world *w, uint64_t at, const struct nvirt_vmcb *vmcb)
{
    fake_vm_put(w->port, at, vmcb, sizeof *vmcb);
}

static inline void get_vmcb12(struct world *w, struct nvirt_vmcb *vmcb)
{
    fake_vm_get(w->port, VMCB12, vmcb, sizeof *vmcb);
}

/* A 64-bit L2 without nested paging that intercepts VMRUN, MSR and IOIO, with clear maps. */
static inline struct nvirt_vmcb good_vmcb12(void)
{
    struct nvirt_vmcb vmcb;

    memset(&vmcb, 0, sizeof vmcb);
    l1_registers(&vmcb);
    vmcb.rip = L2_RIP;
    vmcb.asid = 1;
    vmcb.iopm_base = IOPM12;
    vmcb.msrpm_base = MSRPM12;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMRUN, true);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_MSR, true);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_IOIO, true);
    return vmcb;
}

static inline struct nvirt_vmcb nested_vmcb12(void)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.np_control = NVIRT_SVM_NP_ENABLE;
    vmcb.n_cr3 = NPT12;
    vmcb.g_pat = PAT_AT_RESET;
    return vmcb;
}

static inline void world_config(struct world *w)
{
    nvirt_hpa vmcb01;

    assert_int_equal(nvirt_port_page_alloc(w->port, &vmcb01), NVIRT_OK);
    w->vmcb01 = nvirt_port_page_pointer(w->port, vmcb01);
    memset(w->vmcb01, 0, sizeof *w->vmcb01);
    w->vmcb01->asid = 1;
    w->config.vm = &w->vm;
    w->config.cpu = &w->caps;
    w->config.offer = &w->offer;
    w->config.vmcb01 = vmcb01;
    w->config.maps02 = nvirt_hpa_make(0x66000);
    w->config.maps02_memory = w->maps02;
    w->config.msrpm01 = w->msrpm01;
    w->config.iopm01 = w->iopm01;
    w->config.host_pat = PAT_AT_RESET;
    w->config.asid01 = 1;
    w->config.asids = w->asids;
    w->config.asid_count = 4;
    w->config.interrupts_pass_through = true;
}

static inline struct world *world_new(bool pass_through)
{
    struct world *w = calloc(1, sizeof *w);
    const struct nvirt_vm_config vm = {NULL, 1000, 40};

    w->port = fake_vm_new();
    fake_vm_ram(w->port, 0, L1_RAM);
    fake_cpu_init(&w->cpu);
    w->at = &w->cpu;
    assert_int_equal(nvirt_vm_init(&w->vm, &vm), NVIRT_OK);
    w->vm.port = w->port;
    world_caps(w);
    for (uint32_t i = 0; i < 4; i++) {
        w->asids[i] = 2 + i;
    }
    world_config(w);
    w->config.interrupts_pass_through = pass_through;
    w->memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);
    return w;
}

static inline void world_start(struct world *w)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
    identity_tables(w);
    nested_tables(w);
    l1_registers(w->vmcb01);
    w->vmcb01->np_control = NVIRT_SVM_NP_ENABLE;
    nvirt_svm_intercepts_require(w->vmcb01);
    nvirt_svm_msrpm_require(w->msrpm01);
    w->v->svme = true;
    put_vmcb12(w, VMCB12, &vmcb);
}

static inline int setup(void **state)
{
    struct world *w = world_new(true);

    world_start(w);
    *state = w;
    return 0;
}

static inline int setup_host_owned(void **state)
{
    struct world *w = world_new(false);

    world_start(w);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_NMI, true);
    w->vmcb01->int_ctl = NVIRT_SVM_V_INTR_MASKING;
    *state = w;
    return 0;
}

static inline void world_delete(struct world *w)
{
    nvirt_port_page_free(w->port, w->config.vmcb01);
    assert_int_equal(nvirt_vm_destroy(&w->vm), NVIRT_OK);
    assert_int_equal(w->vm.pages_in_use, 0);
    fake_vm_delete(w->port); /* aborts if a page or a pin is still held */
    free(w->memory);
    free(w);
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_svm_vcpu_destroy(w->v), NVIRT_OK);
    assert_int_equal(w->v->stats.pins, w->v->stats.unpins);
    world_delete(w);
    return 0;
}

/* ---- steps ---- */

static inline struct nvirt_vmcb *vmcb02(struct world *w)
{
    return w->v->vmcb02;
}

static inline void prepare(struct world *w)
{
    assert_int_equal(nvirt_svm_prepare(w->v, w->at, &w->run), NVIRT_OK);
}

/* Whether a page is pinned for the fetch of L1's instructions: its three tables and the code. */
static inline bool is_for_fetch(uint64_t page)
{
    return page == L1_PML4 || page == L1_PDPT || page == L1_PD || page == L1_RIP;
}

/* Pages of L1 that are pinned, those for the fetch left out. */
static inline uint32_t pins_held(const struct world *w)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        count += w->v->pin[i].used && !is_for_fetch(w->v->pin[i].page);
    }
    return count;
}

static inline bool is_pinned(const struct world *w, uint64_t page)
{
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        if (w->v->pin[i].used && w->v->pin[i].page == page) {
            return true;
        }
    }
    return false;
}

/* ---- what the TLBs must not supply any more (fake_tlb.h) ---- */

static inline void lose(struct world *w, const struct fake_tlb_lost *lost)
{
    fake_tlb_lose(&w->cpu.tlb, lost);
    if (w->second != NULL)
        fake_tlb_lose(&w->second->tlb, lost);
}

/* What of L1's and its L2s' is tagged with @p asid12, which is L1's own when 0; at one page or all.
 * Nested paging on or off is no part of the tag. */
static inline void lose_asid(struct world *w, uint32_t asid12, const uint64_t *page)
{
    struct fake_tlb_lost lost = { .level = asid12 == 0 ? 1 : 2, .one_owner = asid12 != 0,
                                  .owner = (uint64_t)asid12 << 1, .one_page = page != NULL,
                                  .page = page == NULL ? 0 : *page & NVIRT_PAGE_MASK };

    lose(w, &lost);
    lost.owner |= 1;
    lose(w, &lost);
}

/* L1's TLB_CONTROL [APM 2 "TLB Flush"]; 7, all but what is global, is taken for 3. */
static inline void note_tlb_control(struct world *w)
{
    const struct fake_tlb_lost l1 = { .level = 1 };
    const struct fake_tlb_lost l2 = { .level = 2 };

    if (w->v->vmcb12.tlb_control == NVIRT_SVM_TLB_ALL) {
        lose(w, &l1);
        lose(w, &l2);
    } else if (w->v->vmcb12.tlb_control != NVIRT_SVM_TLB_NOTHING) {
        lose_asid(w, w->v->vmcb12.asid, NULL);
    }
}

/* A flush that the host asks for, level 2 being all L2s. */
static inline void request_flush(struct world *w, uint32_t level, enum nvirt_tlb_request kind)
{
    assert_int_equal(nvirt_svm_request_flush(w->v, level, kind), NVIRT_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        const struct fake_tlb_lost lost = { .level = i };

        if (i == level || kind == NVIRT_TLB_REQUEST_EVERYTHING)
            lose(w, &lost);
    }
}

/* VMRUN takes place: TLB_CONTROL acts, then what the TLB may supply is looked at. What the guest
 * flushes here it does not flush on the other CPU. */
static inline void enter_hardware(struct world *w, const struct nvirt_vmcb *vmcb)
{
    struct fake_tlb_context now = { .svm = true, .level = w->run.level, .tag = vmcb->asid };
    struct fake_tlb_lost gone;

    if (vmcb->tlb_control != NVIRT_SVM_TLB_NOTHING)
        fake_tlb_flush_tag(&w->at->tlb, vmcb->tlb_control == NVIRT_SVM_TLB_ALL ? 0 : vmcb->asid,
                           true);
    if (now.level == 2) {
        now.root = vmcb->n_cr3;
        now.owner = (uint64_t)w->v->vmcb12.asid << 1 | w->v->np12;
    }
    gone = (struct fake_tlb_lost){ .level = now.level, .one_owner = true, .owner = now.owner };
    if (w->second != NULL)
        fake_tlb_lose(w->at == &w->cpu ? &w->second->tlb : &w->cpu.tlb, &gone);
    fake_tlb_enter(&w->at->tlb, w->port, &now);
}

/* What VMRUN of hardware and the #VMEXIT that follows leave in the VMCB. */
static inline enum nvirt_status hardware_exit(struct world *w, uint64_t code, uint64_t info1,
                                              uint64_t info2)
{
    struct nvirt_vmcb *vmcb = w->run.level == 2 ? vmcb02(w) : w->vmcb01;
    enum nvirt_status status;
    uint64_t rip = vmcb->rip;

    if (code != NVIRT_SVM_EXIT_INVALID && w->v->prepared)
        enter_hardware(w, vmcb);

    vmcb->event_inj &= ~NVIRT_SVM_EVENT_VALID;
    vmcb->exit_code = code;
    vmcb->exit_info1 = info1;
    vmcb->exit_info2 = info2;
    vmcb->exit_int_info = w->int_info;
    w->int_info = 0;
    status = nvirt_svm_exit(w->v, w->at, &w->gprs, &w->exit);
    if (code == NVIRT_SVM_EXIT_VMRUN && w->run.level == 1 && nvirt_svm_level(w->v) == 2)
        note_tlb_control(w);
    if (code == NVIRT_SVM_EXIT_INVLPGA && w->run.level == 1 && vmcb->rip != rip) /* completed */
        lose_asid(w, (uint32_t)w->gprs.r[NVIRT_RCX], &vmcb->rax);
    return status;
}

/* One entry and its exit. @return the verdict. */
static inline enum nvirt_verdict step(struct world *w, uint64_t code, uint64_t info1,
                                      uint64_t info2)
{
    prepare(w);
    assert_int_equal(hardware_exit(w, code, info1, info2), NVIRT_OK);
    return w->exit.verdict;
}

/* The level that runs executes the instruction that causes exit @p code. */
static inline enum nvirt_verdict execute(struct world *w, uint64_t code)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(w->v);
    uint8_t bytes[3] = {0x0f, 0x01, (uint8_t)(0xd8 + (code - NVIRT_SVM_EXIT_VMRUN))};

    if (code == NVIRT_SVM_EXIT_INVLPGA) {
        bytes[2] = 0xdf;
    }
    fake_vm_put(w->port, vmcb->rip, bytes, sizeof bytes);
    return step(w, code, 0, 0);
}

static inline void vmrun(struct world *w)
{
    w->vmcb01->rax = VMCB12;
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMRUN), NVIRT_VERDICT_DONE);
}

/* VMRUN of @p vmcb, which must be accepted. */
static inline void enter_l2(struct world *w, const struct nvirt_vmcb *vmcb)
{
    put_vmcb12(w, VMCB12, vmcb);
    vmrun(w);
    assert_int_equal(nvirt_svm_level(w->v), 2);
}

static inline void enter_plain_l2(struct world *w)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_l2(w, &vmcb);
}

/* RDMSR or WRMSR by the level that runs. */
static inline enum nvirt_verdict msr_access(struct world *w, uint32_t msr, bool write)
{
    static const uint8_t rdmsr[] = {0x0f, 0x32}, wrmsr[] = {0x0f, 0x30};

    fake_vm_put(w->port, nvi_svm_current(w->v)->rip, write ? wrmsr : rdmsr, 2);
    w->gprs.r[NVIRT_RCX] = msr;
    return step(w, NVIRT_SVM_EXIT_MSR, write, 0);
}

#define EVENT_NONE UINT64_C(0)
#define EVENT_UD (NVIRT_SVM_EVENT_VALID | 0x306)
#define EVENT_GP (NVIRT_SVM_EVENT_VALID | 0xb0d)
#define EVENT_DB (NVIRT_SVM_EVENT_VALID | 0x301)
#define EVENT_NMI (NVIRT_SVM_EVENT_VALID | 0x202)

#endif
