/* SPDX-License-Identifier: MIT */
/*
 * Life of a VMX vCPU object: made in the host's memory, with a page for each vmcs02, one for L2's MSR
 * bitmap and one of all ones; ended without a pin or page left behind.
 */
#include "nested/vmx_evmcs.h"

#include "nested/vm_internal.h"

NVIRT_STATIC_ASSERT(sizeof(struct nvirt_vmx_vcpu) <= NVIRT_VMX_VCPU_SIZE,
                    "the announced size must hold the object");

/* ---- checks of what the host gives ---- */

static bool vpids_are_usable(const struct nvirt_vmx_vcpu_config *config)
{
    for (uint32_t i = 0; i < config->vpid_count; i++) {
        if (config->vpids[i] == 0 || config->vpids[i] == config->vpid01) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (config->vpids[i] == config->vpids[j]) {
                return false;
            }
        }
    }
    return true;
}

/* Bits 63:32 of a capability MSR are the controls that may be 1. */
static bool may_be_one(uint64_t capability, uint64_t control)
{
    return ((capability >> 32) & control) != 0;
}

static bool cpu_suffices(const struct nvirt_vmx_caps *cpu)
{
    return may_be_one(cpu->proc, NVIRT_VMX_PROC_SECONDARY) &&
           may_be_one(cpu->proc, NVIRT_VMX_PROC_MSR_BITMAPS) &&
           may_be_one(cpu->proc2, NVIRT_VMX_PROC2_EPT) &&
           may_be_one(cpu->exit, NVIRT_VMX_EXIT_CTL_SAVE_EFER) &&
           may_be_one(cpu->exit, NVIRT_VMX_EXIT_CTL_SAVE_PAT) &&
           may_be_one(cpu->entry, NVIRT_VMX_ENTRY_CTL_LOAD_EFER) &&
           may_be_one(cpu->entry, NVIRT_VMX_ENTRY_CTL_LOAD_PAT) &&
           (cpu->ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT) != 0;
}

/* An offer of its switches comes with CET. */
static bool cet_is_possible(const struct nvirt_vmx_vcpu_config *config)
{
    return config->cet ? nvi_vmx_can_carry_cet(config->cpu)
                       : !may_be_one(config->offer->entry, NVIRT_VMX_ENTRY_CTL_LOAD_CET) &&
                             !may_be_one(config->offer->exit, NVIRT_VMX_EXIT_CTL_LOAD_CET);
}

static enum nvirt_status check_config(const void *memory, size_t bytes,
                                      const struct nvirt_vmx_vcpu_config *config)
{
    if (config->vm == NULL || config->cpu == NULL || config->offer == NULL ||
        (config->vpids == NULL && config->vpid_count != 0)) {
        return NVIRT_ERR_NULL;
    }
    if (((uintptr_t)memory & (NVIRT_VMX_VCPU_ALIGN - 1u)) != 0 ||
        (config->vmcs01.value & ~NVIRT_PAGE_MASK) != 0) {
        return NVIRT_ERR_ALIGNMENT;
    }
    if (bytes < NVIRT_VMX_VCPU_BYTES(config->roots)) {
        return NVIRT_ERR_SIZE;
    }
    if (config->index >= NVIRT_VM_MAX_VCPUS || config->vpid_count > NVIRT_VMX_MAX_VPIDS ||
        config->roots > NVIRT_MAX_ROOTS || config->flush_addresses > NVIRT_TLB_MAX_ADDRESSES ||
        !vpids_are_usable(config)) {
        return NVIRT_ERR_RANGE;
    }
    return nvi_hv_is_possible(config->hyperv) && cpu_suffices(config->cpu) &&
                   cet_is_possible(config) && nvi_vmx_offer_is_valid(config->cpu, config->offer)
               ? NVIRT_OK
               : NVIRT_ERR_CAPABILITY;
}

/* ---- init ---- */

static void init_ept_config(struct nvirt_vmx_vcpu *v)
{
    uint64_t offer = v->offer.ept_vpid;
    uint64_t cpu = v->caps.ept_vpid;

    v->ept.physical_bits = v->offer.cpu.physical_bits;
    v->ept.execute_only = (offer & NVIRT_VMX_EPT_CAP_EXECUTE_ONLY) != 0;
    v->ept.page_2m = (offer & NVIRT_VMX_EPT_CAP_2M) != 0;
    v->ept.page_1g = (offer & NVIRT_VMX_EPT_CAP_1G) != 0;
    v->ept.cpu_2m = (cpu & NVIRT_VMX_EPT_CAP_2M) != 0;
    v->ept.cpu_1g = (cpu & NVIRT_VMX_EPT_CAP_1G) != 0;
    v->ept.advanced_info = (offer & NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO) != 0;
    v->ept.shadow_stacks = v->cet;
    v->ept.cpu_wb = (cpu & NVIRT_VMX_EPT_CAP_WB) != 0;
}

static enum nvirt_status init_tlb(struct nvirt_vmx_vcpu *v,
                                  const struct nvirt_vmx_vcpu_config *config)
{
    uint64_t cpu = v->caps.ept_vpid;
    uint32_t tags[NVIRT_VMX_MAX_VPIDS];
    struct nvirt_tlb_config tlb;
    bool vpids = may_be_one(v->caps.proc2, NVIRT_VMX_PROC2_VPID) &&
                 (cpu & NVIRT_VMX_VPID_CAP_INVVPID) != 0;

    __builtin_memset(&tlb, 0, sizeof tlb);
    tlb.caps.invvpid_address = (cpu & NVIRT_VMX_VPID_CAP_ADDRESS) != 0;
    tlb.caps.invvpid_single = (cpu & NVIRT_VMX_VPID_CAP_SINGLE) != 0;
    tlb.caps.invvpid_not_global = (cpu & NVIRT_VMX_VPID_CAP_SINGLE_NON_GLOBAL) != 0;
    tlb.caps.invept_single = (cpu & NVIRT_VMX_EPT_CAP_INVEPT_SINGLE) != 0;
    for (uint32_t i = 0; i < config->vpid_count; i++) {
        tags[i] = config->vpids[i];
    }
    tlb.domain = &v->tlb_domain;
    tlb.tag01 = vpids ? config->vpid01 : 0;
    tlb.tags = tags;
    tlb.tag_count = vpids ? config->vpid_count : 0;
    tlb.max_addresses = nvi_flush_addresses(config->flush_addresses);
    return nvirt_tlb_init(&v->tlb, &tlb);
}

/* The pages that a vCPU has of its own, one after the other. @return null after the last. */
static nvirt_hpa *own_page(struct nvirt_vmx_vcpu *v, uint32_t number)
{
    if (number < NVI_VMX_PAIRS) {
        return &v->pair[number].hw.hpa;
    }
    switch (number - NVI_VMX_PAIRS) {
    case 0:
        return &v->msr_bitmap02;
    case 1:
        return &v->all_ones;
    case 2:
        return &v->no_apic;
    case 3:
        return v->shadow.usable ? &v->shadow.read_bitmap : NULL;
    case 4:
        return v->shadow.usable ? &v->shadow.write_bitmap : NULL;
    default:
        number -= NVI_VMX_PAIRS + 5u;
        return v->shadow.usable && number < NVI_VMX_PAIRS ? &v->pair[number].shadow.hpa : NULL;
    }
}

static uint32_t own_pages(struct nvirt_vmx_vcpu *v)
{
    uint32_t count = 0;

    while (own_page(v, count) != NULL) {
        count++;
    }
    return count;
}

static void free_pages(struct nvirt_vmx_vcpu *v, uint32_t count)
{
    while (count > 0) {
        nvirt_port_page_free(v->port, *own_page(v, --count));
    }
}

static enum nvirt_status alloc_pages(struct nvirt_vmx_vcpu *v)
{
    nvirt_hpa *page;

    for (uint32_t i = 0; (page = own_page(v, i)) != NULL; i++) {
        enum nvirt_status status = nvirt_port_page_alloc(v->port, page);

        if (status != NVIRT_OK) {
            free_pages(v, i);
            return status;
        }
    }
    return NVIRT_OK;
}

static enum nvirt_status init_parts(struct nvirt_vmx_vcpu *v,
                                    const struct nvirt_vmx_vcpu_config *config)
{
    uint32_t count;
    struct nvi_mmu_root *roots =
        nvi_mmu_roots_of(v->roots, (uint8_t *)v + NVIRT_VMX_VCPU_SIZE, config->roots, &count);
    enum nvirt_status status;

    nvirt_tlb_domain_init(&v->tlb_domain, nvi_tlb_roots_of(v->tlb_roots, roots, count), count,
                          false);
    status = init_tlb(v, config);
    if (status == NVIRT_OK) {
        status = nvi_mmu_init(&v->mmu, v->vm, &v->stats, roots, count);
    }
    return status == NVIRT_OK ? alloc_pages(v) : status;
}

static void init_pages(struct nvirt_vmx_vcpu *v)
{
    uint32_t revision = (uint32_t)(v->caps.basic & NVIRT_VMX_BASIC_REVISION);

    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        uint8_t *vmcs02 = nvirt_port_page_pointer(v->port, v->pair[i].hw.hpa);

        __builtin_memset(vmcs02, 0, NVIRT_PAGE_SIZE);
        __builtin_memcpy(vmcs02, &revision, sizeof revision);
    }
    /* Every MSR exits; the few that may pass are opened at each entry. */
    __builtin_memset(nvirt_port_page_pointer(v->port, v->msr_bitmap02), 0xff, NVIRT_PAGE_SIZE);
    __builtin_memset(nvirt_port_page_pointer(v->port, v->all_ones), 0xff, NVIRT_PAGE_SIZE);
    __builtin_memset(nvirt_port_page_pointer(v->port, v->no_apic), 0xff, NVIRT_PAGE_SIZE);
}

static void init_object(struct nvirt_vmx_vcpu *v, const struct nvirt_vmx_vcpu_config *config)
{
    __builtin_memset(v, 0, sizeof *v);
    v->index = config->index;
    v->hv = config->hyperv;
    v->level = 1;
    v->vm = config->vm;
    v->port = config->vm->port;
    v->msr_bitmap01 = config->msr_bitmap;
    v->caps = *config->cpu;
    v->offer = *config->offer;
    v->cet = config->cet;
    if (nvi_evmcs_is_offered(v)) {
        nvi_evmcs_narrow(&v->offer);
    }
    v->hw01.hpa = config->vmcs01;
    v->hw[NVI_01] = &v->hw01;
    v->hw[NVI_02] = &v->pair[0].hw;
    v->hw[NVI_SHADOW] = &v->pair[0].shadow;
    v->shadow.usable = nvi_shadow_is_usable(&v->caps);
    v->now = &v->pair[0];
    nvi_vmcs12_drop_all(v);
    v->vmx.feature_control = NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX;
    init_ept_config(v);
    v->msr_bytes = nvi_vmx_passable_bytes(v->msr_byte);
    nvi_hw_field_sets(v);
}

enum nvirt_status nvirt_vmx_vcpu_init(void *memory, size_t bytes,
                                      const struct nvirt_vmx_vcpu_config *config,
                                      struct nvirt_vmx_vcpu **vcpu)
{
    struct nvirt_vmx_vcpu *v = memory;
    enum nvirt_status status;

    if (memory == NULL || config == NULL || vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    status = check_config(memory, bytes, config);
    if (status == NVIRT_OK) {
        status = nvi_vm_add_vcpu(config->vm);
    }
    if (status != NVIRT_OK) {
        return status;
    }
    init_object(v, config);
    status = init_parts(v, config);
    if (status != NVIRT_OK) {
        nvi_vm_remove_vcpu(config->vm);
        return status;
    }
    init_pages(v);
    nvi_shadow_init(v);
    nvi_mmu_attach(&v->mmu, config->index);
    v->magic = NVI_VMX_MAGIC;
    *vcpu = v;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_vcpu_destroy(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    if (vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vcpu->magic != NVI_VMX_MAGIC || (vcpu->home != NULL && vcpu->home != cpu)) {
        return NVIRT_ERR_STATE;
    }
    vcpu->cpu = cpu;
    vcpu->error = NVIRT_OK;
    nvi_vmcs12_store_all(vcpu);
    nvi_hv_forget_l2(vcpu->hv, &vcpu->tlb);
    nvi_hw_clear_all(vcpu);
    nvi_vmx_unpin_all(vcpu);
    nvi_mmu_destroy(&vcpu->mmu);
    free_pages(vcpu, own_pages(vcpu));
    nvi_vm_remove_vcpu(vcpu->vm);
    vcpu->magic = 0;
    return vcpu->error;
}
