/* SPDX-License-Identifier: MIT */
/*
 * The APIC-access page of vmcs01, where the host has nvirt keep it: a page that the host manages for L1's
 * own APIC and may move like any other memory of L1's. It is not pinned. A move that the host announces
 * has it looked up again before L1 next runs; while L2 runs vmcs01 is not in use, so nothing happens until
 * L2 is left. A look-up that meets a change under way is not waited for: the host asks again.
 *
 * [SDM 3C "Virtualizing Memory-Mapped APIC Accesses", "APIC-Access Address"]
 */
#include "nested/vmx_internal.h"

#include "tlbflush/tlb_internal.h"

static bool cpu_has_the_page(const struct nvirt_vmx_vcpu *v)
{
    return nvi_field_has(&v->exists, NVIRT_VMCS_APIC_ACCESS_ADDR);
}

enum nvirt_status nvirt_vmx_keep_apic_page(struct nvirt_vmx_vcpu *vcpu, nvirt_l1gpa page, bool keep)
{
    /* What L1's own tables lead to is what moves. */
    const uint32_t flush = nvi_tlb_posted_bit(1, NVIRT_TLB_REQUEST_ROOT);

    if (vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vcpu->magic != NVI_VMX_MAGIC || vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    if ((page.value & ~NVIRT_PAGE_MASK) != 0) {
        return NVIRT_ERR_ALIGNMENT;
    }
    if (!cpu_has_the_page(vcpu)) {
        return NVIRT_ERR_CAPABILITY;
    }
    nvi_mmu_watch(&vcpu->mmu, keep ? page.value | 1u : 0, &vcpu->tlb.posted, flush);
    /* L2 may have a leaf on it from before, and L1 may have given it to its L2's APIC. */
    nvi_mmu_drop_all(&vcpu->mmu);
    nvi_vmx_unpin_page(vcpu, page.value);
    vcpu->epoch++;
    vcpu->remerge = vcpu->level == 2;
    vcpu->steady = false;
    return NVIRT_OK;
}

enum nvirt_status nvi_vmx_apic01_reload(struct nvirt_vmx_vcpu *v)
{
    nvirt_l1gpa page = nvirt_l1gpa_make(v->mmu.watch.page & NVIRT_PAGE_MASK);
    struct nvirt_translation found;
    enum nvirt_status status;

    /* First: a change that begins after this sets it again. */
    __atomic_store_n(&v->mmu.watch.moved, 0u, __ATOMIC_SEQ_CST);
    status = nvi_mmu_host_changing(v->vm, page)
                 ? NVIRT_ERR_RETRY
                 : nvirt_port_translate(v->port, page, NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE,
                                        &found);
    if (status == NVIRT_OK && !nvi_vmx_apic01_is_settled(v)) {
        status = NVIRT_ERR_RETRY;
    }
    if (status != NVIRT_OK) {
        __atomic_store_n(&v->mmu.watch.moved, 1u, __ATOMIC_RELEASE);
        return status == NVIRT_ERR_RETRY ? NVIRT_ERR_RETRY : NVIRT_ERR_NO_MAPPING;
    }
    NVI_SET01(v, APIC_ACCESS_ADDR, found.hpa.value & NVIRT_PAGE_MASK);
    /* What the CPU may have cached of where it was; on the way in L1's translations are looked at. */
    nvirt_tlb_request(&v->tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    return NVIRT_OK;
}
