/* SPDX-License-Identifier: MIT */
/*
 * The life of an SVM vCPU object, and the small calls around it.
 */
#include "nested/svm_internal.h"
#include "nested/vm_internal.h"
#include "vmcb/tsc.h"

NVIRT_STATIC_ASSERT(sizeof(struct nvirt_svm_vcpu) <= NVIRT_SVM_VCPU_SIZE, "vCPU object size");

#define IOPM_OFFSET ((uint64_t)NVIRT_SVM_MSRPM_BYTES)

static bool is_page(nvirt_hpa hpa)
{
    return (hpa.value & ~NVIRT_PAGE_MASK) == 0;
}

static bool asids_are_valid(const struct nvirt_svm_vcpu_config *config)
{
    if (config->asid_count == 0 || config->asid_count > NVIRT_SVM_MAX_ASIDS ||
        config->asid01 == 0 || config->asid01 >= config->cpu->asid_count) {
        return false;
    }
    for (uint32_t i = 0; i < config->asid_count; i++) {
        uint32_t asid = config->asids[i];

        if (asid == 0 || asid >= config->cpu->asid_count || asid == config->asid01) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (config->asids[j] == asid) {
                return false;
            }
        }
    }
    return true;
}

/* Offered beyond the CPU's: what nvirt does in software. */
#define FEATURES_IN_SOFTWARE                                                                       \
    (NVIRT_SVM_FEATURE_FLUSH_BY_ASID | NVIRT_SVM_FEATURE_CLEAN | NVIRT_SVM_FEATURE_VGIF)

static bool offer_is_possible(const struct nvirt_svm_caps *cpu, const struct nvirt_svm_caps *offer)
{
    struct nvirt_svm_caps most;

    if (nvirt_svm_caps_offer(cpu, &most) != NVIRT_OK) {
        return false;
    }
    return (offer->features & ~(most.features | FEATURES_IN_SOFTWARE)) == 0 &&
           (offer->efer_valid & ~most.efer_valid) == 0 &&
           (offer->cr4_valid & ~most.cr4_valid) == 0 &&
           offer->physical_bits <= most.physical_bits && offer->physical_bits >= 32 &&
           offer->linear_bits <= most.linear_bits && (!offer->pages_1g || most.pages_1g) &&
           (!offer->long_mode || most.long_mode) && (!offer->nx || most.nx);
}

static enum nvirt_status check_config(const struct nvirt_svm_vcpu_config *config)
{
    if (config->vm == NULL || config->cpu == NULL || config->offer == NULL ||
        config->asids == NULL || config->maps02_memory == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (!is_page(config->vmcb01) || !is_page(config->maps02)) {
        return NVIRT_ERR_ALIGNMENT;
    }
    if (config->index >= NVIRT_VM_MAX_VCPUS || config->roots > NVIRT_MAX_ROOTS ||
        config->flush_addresses > NVIRT_TLB_MAX_ADDRESSES || !asids_are_valid(config) ||
        !nvi_npt_pat_is_usable(config->host_pat) || config->tsc_ratio > NVI_SVM_TSC_RATIO_MAX) {
        return NVIRT_ERR_RANGE;
    }
    if (config->host_5_level || !nvi_hv_is_possible(config->hyperv)) {
        return NVIRT_ERR_CAPABILITY;
    }
    return offer_is_possible(config->cpu, config->offer) ? NVIRT_OK : NVIRT_ERR_CAPABILITY;
}

static enum nvirt_status init_engines(struct nvirt_svm_vcpu *v,
                                      const struct nvirt_svm_vcpu_config *config)
{
    struct nvirt_tlb_config tlb = { .domain = &v->tlb_domain,
                                    .svm = true,
                                    .tag01 = config->asid01,
                                    .tags = config->asids,
                                    .tag_count = config->asid_count,
                                    .max_addresses = nvi_flush_addresses(config->flush_addresses) };
    enum nvirt_status status;
    uint32_t count;
    struct nvi_mmu_root *roots =
        nvi_mmu_roots_of(v->roots, (uint8_t *)v + NVIRT_SVM_VCPU_SIZE, config->roots, &count);

    tlb.caps.flush_by_asid = (config->cpu->features & NVIRT_SVM_FEATURE_FLUSH_BY_ASID) != 0;
    tlb.caps.invlpga = config->cpu->invlpga_exact;
    nvirt_tlb_domain_init(&v->tlb_domain, nvi_tlb_roots_of(v->tlb_roots, roots, count), count,
                          false);
    status = nvirt_tlb_init(&v->tlb, &tlb);
    if (status != NVIRT_OK) {
        return status;
    }
    v->npt.physical_bits = config->offer->physical_bits;
    v->npt.page_1g = config->offer->pages_1g;
    v->npt.pse36 = config->offer->pse36;
    v->npt.cpu_1g = config->cpu->pages_1g;
    v->npt.cpu_pat = config->host_pat;
    return nvi_mmu_init(&v->mmu, config->vm, &v->stats, roots, count);
}

static void init_maps(struct nvirt_svm_vcpu *v, const struct nvirt_svm_vcpu_config *config)
{
    v->msrpm02_hpa = config->maps02;
    v->iopm02_hpa.value = config->maps02.value + IOPM_OFFSET;
    v->msrpm02 = config->maps02_memory;
    v->iopm02 = v->msrpm02 + IOPM_OFFSET;
    v->msrpm01 = config->msrpm01;
    v->iopm01 = config->iopm01;
    /* As if every grant had to be taken back: the host's pages hold anything. */
    v->grants = NVI_SVM_GRANTS_LOST;
    v->controls_changed = true;
}

static enum nvirt_status init_vcpu(struct nvirt_svm_vcpu *v,
                                   const struct nvirt_svm_vcpu_config *config)
{
    enum nvirt_status status;

    __builtin_memset(v, 0, sizeof *v);
    nvi_svm_forget_found(v);
    v->index = config->index;
    v->hv = config->hyperv;
    v->vm = config->vm;
    v->cpu = *config->cpu;
    v->offer = *config->offer;
    v->pass_through = config->interrupts_pass_through;
    v->moves_options = (v->cpu.features & NVI_SVM_STATE_OPTIONS) != 0;
    v->cpu_has_vgif = (v->cpu.features & NVIRT_SVM_FEATURE_VGIF) != 0;
    /* The CPU refuses addresses by its own width. */
    v->cpu_has_vmload = (v->cpu.features & NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD) != 0 &&
                        v->cpu.physical_bits == v->offer.physical_bits;
    v->level = 1;
    v->gif = true;
    v->events02 = NVI_SVM_EVENTS_UNKNOWN;
    v->tsc_ratio12 = NVIRT_SVM_TSC_RATIO_ONE;
    v->tsc_ratio01 = config->tsc_ratio != 0 ? config->tsc_ratio : NVIRT_SVM_TSC_RATIO_ONE;
    status = init_engines(v, config);
    if (status != NVIRT_OK) {
        return status;
    }
    status = nvirt_port_page_alloc(v->vm->port, &v->vmcb02_hpa);
    if (status != NVIRT_OK) {
        return status;
    }
    v->vmcb01_hpa = config->vmcb01;
    v->vmcb01 = nvirt_port_page_pointer(v->vm->port, v->vmcb01_hpa);
    v->vmcb02 = nvirt_port_page_pointer(v->vm->port, v->vmcb02_hpa);
    __builtin_memset(v->vmcb02, 0, sizeof *v->vmcb02);
    init_maps(v, config);
    v->magic = NVI_SVM_MAGIC;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_vcpu_init(void *memory, size_t bytes,
                                      const struct nvirt_svm_vcpu_config *config,
                                      struct nvirt_svm_vcpu **vcpu)
{
    struct nvirt_svm_vcpu *v = memory;
    enum nvirt_status status;

    if (memory == NULL || config == NULL || vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (((uintptr_t)memory & (NVIRT_SVM_VCPU_ALIGN - 1)) != 0) {
        return NVIRT_ERR_ALIGNMENT;
    }
    if (bytes < NVIRT_SVM_VCPU_BYTES(config->roots)) {
        return NVIRT_ERR_SIZE;
    }
    status = check_config(config);
    if (status != NVIRT_OK) {
        return status;
    }
    status = nvi_vm_add_vcpu(config->vm);
    if (status != NVIRT_OK) {
        return status;
    }
    status = init_vcpu(v, config);
    if (status != NVIRT_OK) {
        nvi_vm_remove_vcpu(config->vm);
        return status;
    }
    nvi_mmu_attach(&v->mmu, config->index);
    *vcpu = v;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_vcpu_destroy(struct nvirt_svm_vcpu *v)
{
    if (v == NULL) {
        return NVIRT_ERR_NULL;
    }
    nvi_svm_abandon(v);
    nvi_svm_leave_vmcb01(v);
    nvi_svm_unpin_all(v);
    nvi_hv_forget_l2(v->hv, &v->tlb);
    nvi_mmu_destroy(&v->mmu);
    nvirt_port_page_free(v->vm->port, v->vmcb02_hpa);
    nvi_vm_remove_vcpu(v->vm);
    v->magic = 0;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_reset(struct nvirt_svm_vcpu *v)
{
    if (v == NULL) {
        return NVIRT_ERR_NULL;
    }
    nvi_svm_abandon(v);
    nvi_svm_unpin_all(v);
    __builtin_memset(&v->waiting, 0, sizeof v->waiting);
    nvirt_vmcb_set_event_inj(v->vmcb01, 0);
    nvi_mmu_drop_all(&v->mmu);
    nvirt_tlb_forget(&v->tlb);
    nvi_hv_forget_l2(v->hv, &v->tlb);
    v->svme = false;
    v->gif = true;
    v->vm_cr &= ~NVIRT_SVM_VM_CR_R_INIT;
    if ((v->vm_cr & NVIRT_SVM_VM_CR_LOCK) == 0) {
        v->vm_cr &= ~NVIRT_SVM_VM_CR_SVMDIS; /* [APM 2 "SVM Related MSRs"] */
    }
    v->requeued = 0;
    v->controls_changed = true;
    nvi_svm_leave_vmcb01(v);
    v->direct = false;
    v->prepared = false;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_request_flush(struct nvirt_svm_vcpu *v, uint32_t level,
                                          enum nvirt_tlb_request kind)
{
    if (v == NULL) {
        return NVIRT_ERR_NULL;
    }
    return nvi_vm_request_flush(v->vm, v->index, &v->tlb, level, kind);
}

uint32_t nvirt_svm_level(const struct nvirt_svm_vcpu *v)
{
    return v == NULL ? 0 : v->level;
}

bool nvirt_svm_gif(const struct nvirt_svm_vcpu *v)
{
    return v == NULL || v->gif;
}

struct nvirt_vmcb *nvirt_svm_vmcb(struct nvirt_svm_vcpu *v, uint32_t level)
{
    if (v == NULL || level == 0 || level > v->level) {
        return NULL;
    }
    return level == 2 ? v->vmcb02 : v->vmcb01;
}

enum nvirt_status nvirt_svm_vmcb01_changed(struct nvirt_svm_vcpu *v)
{
    if (v == NULL) {
        return NVIRT_ERR_NULL;
    }
    v->controls_changed = true;
    v->gif01 = NVI_SVM_GIF_UNKNOWN;
    return NVIRT_OK;
}

const struct nvirt_stats *nvirt_svm_stats(const struct nvirt_svm_vcpu *v)
{
    return v == NULL ? NULL : &v->stats;
}
