/* SPDX-License-Identifier: MIT */
/*
 * L2's accesses that its second-stage tables do not let pass, and what L1 sees of those that are its
 * own: EPT violation, EPT misconfiguration, page-modification log full, SPP-related event; or what L2
 * sees, where L1 gave its violations to L2 as virtualization exceptions.
 *
 * The log is nvirt's own work. Hardware's leaf for a page whose dirty flag L1 has clear allows no
 * write, so the first write exits, and the walk of EPT12 sets the flag and logs the page as hardware
 * would: vmcs02 needs neither the control nor the CPU the feature.
 *
 * Virtualization exceptions are nvirt's own work too. vmcs02's tables have holes where L1's have
 * none, leaves that wait for L1's dirty flag, and leaves that the host protects: hardware would give
 * L2 an exception for each of those. So vmcs02 has not the control, each violation exits, and where
 * it is L1's and convertible the area is written and the exception raised here.
 *
 * [SDM 3C "The Extended Page Table Mechanism (EPT)", "Page-Modification Logging", "Virtualization
 * Exceptions", "Sub-Page Write Permissions"]
 */
#include "nested/vmx_internal.h"

/* ---- the log ---- */

/* @return @p log as vmcs12 has it; null when L1 has none. */
static struct nvi_ept_log *log_of(const struct nvirt_vmx_vcpu *v, struct nvi_ept_log *log)
{
    log->address = v->vmcs12.pml_addr;
    log->index = (uint16_t)v->vmcs12.guest_pml_index;
    return (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_PML) != 0 ? log : NULL;
}

/* No entry looks at the index and no exit saves it from anywhere: it is vmcs12's alone. */
static void keep_log(struct nvirt_vmx_vcpu *v, const struct nvi_ept_log *log)
{
    if (log != NULL) {
        v->vmcs12.guest_pml_index = log->index;
    }
}

/* ---- virtualization exceptions ---- */

/* [SDM 3C "Virtualization-Exception Information"] */
struct ve_info {
    uint32_t reason;
    uint32_t busy;
    uint64_t qualification;
    uint64_t guest_linear;
    uint64_t guest_physical;
    uint16_t eptp_index;
};

#define VE_INFO_BYTES 34u
NVIRT_STATIC_ASSERT(offsetof(struct ve_info, busy) == 4 &&
                        offsetof(struct ve_info, qualification) == 8 &&
                        offsetof(struct ve_info, eptp_index) == 32 &&
                        sizeof(struct ve_info) >= VE_INFO_BYTES,
                    "the area as L2 finds it");

/* [SDM 3C "Convertible EPT Violations"]: not outside protected mode, not while an event is delivered,
 * and not while L2 has the area in use. */
static bool is_exception_of_l2(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info)
{
    uint32_t busy;

    if ((nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_EPT_VE) == 0 ||
        (info->idt_vectoring & NVIRT_VMX_INTR_VALID) != 0 ||
        (NVI_GET02(v, GUEST_CR0) & NVIRT_CR0_PE) == 0) {
        return false;
    }
    nvi_vmx_l1_read(v, v->vmcs12.ve_info_addr + offsetof(struct ve_info, busy), &busy, sizeof busy);
    return busy == 0;
}

/* What an IRET had unblocked stays so: the exception is delivered, as any other of that IRET's. */
static void raise_virtualization_exception(struct nvirt_vmx_vcpu *v,
                                           const struct nvi_vmx_exit_info *info)
{
    struct ve_info area;

    __builtin_memset(&area, 0, sizeof area);
    area.reason = NVIRT_VMX_EXIT_EPT_VIOLATION;
    area.busy = UINT32_MAX;
    area.qualification = info->qualification;
    area.guest_linear = info->guest_linear;
    area.guest_physical = info->guest_physical;
    area.eptp_index = (uint16_t)v->vmcs12.eptp_index;
    nvi_vmx_l1_write(v, v->vmcs12.ve_info_addr, &area, VE_INFO_BYTES);
    nvi_vmx_raise(v, NVIRT_VECTOR_VE);
}

/* ---- what L1 sees ---- */

/* @p info is that of an EPT violation or an SPP-related event, its qualification hardware's. */
static void refuse(struct nvirt_vmx_vcpu *v, enum nvi_fault fault,
                   const struct nvi_ept_verdict *verdict, struct nvi_vmx_exit_info *info)
{
    uint64_t nmi = info->qualification & NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING;

    switch (fault) {
    case NVI_FAULT_REFLECT_MISCONFIG:
        info->reason = NVIRT_VMX_EXIT_EPT_MISCONFIGURATION;
        info->qualification = 0;
        break;
    case NVI_FAULT_REFLECT_LOG_FULL:
        /* [SDM 3C "Basic VM-Exit Information"]: of the access itself nothing is told. */
        info->reason = NVIRT_VMX_EXIT_PML_FULL;
        info->qualification = nmi;
        info->guest_linear = 0;
        info->guest_physical = 0;
        break;
    case NVI_FAULT_REFLECT_SUBPAGE:
        info->reason = NVIRT_VMX_EXIT_SPP_EVENT;
        info->qualification = verdict->qualification | nmi;
        break;
    default:
        info->qualification = verdict->qualification | nmi;
        if (verdict->convertible && is_exception_of_l2(v, info)) {
            raise_virtualization_exception(v, info);
            return;
        }
        break;
    }
    nvi_vmx_leave(v, info);
}

enum nvi_fault nvi_vmx_second_stage(struct nvirt_vmx_vcpu *v, uint32_t basic, nvirt_l1gpa *l1gpa)
{
    nvirt_l2gpa l2gpa = nvirt_l2gpa_make(NVI_GET02(v, GUEST_PHYSICAL));
    struct nvi_vmx_exit_info info;
    struct nvi_ept_verdict verdict;
    struct nvi_ept_log place;
    struct nvi_ept_log *log = log_of(v, &place);
    enum nvi_fault fault;

    __builtin_memset(&verdict, 0, sizeof verdict);
    nvi_vmx_tell_apic_pages(v);
    if (basic == NVIRT_VMX_EXIT_SPP_EVENT) {
        fault = nvi_ept_subpage_event(&v->mmu, v->root, &v->ept, l2gpa, log, &verdict);
    } else {
        fault = nvi_ept_fault(&v->mmu, v->root, &v->ept, NVI_GET02(v, EXIT_QUALIFICATION), l2gpa,
                              log, &verdict);
    }
    keep_log(v, log);
    *l1gpa = verdict.l1gpa;
    if (nvi_mmu_is_reflected(fault)) {
        nvi_vmx_exit_info(v, basic, &info);
        refuse(v, fault, &verdict, &info);
    }
    return fault;
}

/* What L1's tables say of an access of nvirt's own, and of one of its sub-pages, if they have those. */
static enum nvi_ept_result look_up(struct nvirt_vmx_vcpu *v, const struct nvi_l2_access *access,
                                   struct nvi_ept_log *log, struct nvi_ept_out *out,
                                   enum nvi_subpage *subpage)
{
    const struct nvi_mmu_key *key = &v->root->key;
    enum nvi_ept_result result =
        nvi_ept_walk(v->vm, &v->ept, key, access->l2gpa, access->access, log, out);

    *subpage = NVI_SUBPAGE_DENIED;
    if (result != NVI_EPT_SUBPAGE) {
        return result;
    }
    if (nvi_ept_may_be_eligible(access->qualification)) {
        *subpage = nvi_ept_subpage(v->vm, &v->ept, key, access->l2gpa, access->bytes);
    }
    return *subpage == NVI_SUBPAGE_ALLOWED
               ? nvi_ept_settle(v->vm, key, access->l2gpa, access->access, log, out)
               : result;
}

bool nvi_vmx_reach(struct nvirt_vmx_vcpu *v, const struct nvi_l2_access *access,
                   nvirt_l1gpa *l1gpa)
{
    struct nvi_vmx_exit_info info;
    struct nvi_ept_verdict verdict;
    struct nvi_ept_out out;
    struct nvi_ept_log place;
    struct nvi_ept_log *log = log_of(v, &place);
    enum nvi_fault fault = NVI_FAULT_REFLECT;
    enum nvi_subpage subpage;

    __builtin_memset(&info, 0, sizeof info);
    __builtin_memset(&verdict, 0, sizeof verdict);
    __builtin_memset(&out, 0, sizeof out); /* Not every outcome tells all. */
    verdict.qualification = access->access | access->qualification;
    switch (look_up(v, access, log, &out, &subpage)) {
    case NVI_EPT_OK:
        keep_log(v, log);
        *l1gpa = out.l1gpa;
        return true;
    case NVI_EPT_RETRY:
        return false;
    case NVI_EPT_MISCONFIG:
        fault = NVI_FAULT_REFLECT_MISCONFIG;
        break;
    case NVI_EPT_LOG_FULL:
        fault = NVI_FAULT_REFLECT_LOG_FULL;
        break;
    case NVI_EPT_SUBPAGE:
        if (subpage != NVI_SUBPAGE_DENIED) {
            fault = NVI_FAULT_REFLECT_SUBPAGE;
            verdict.qualification = nvi_ept_subpage_qualification(subpage);
        }
        break;
    case NVI_EPT_VIOLATION:
        break;
    }
    v->stats.shadow_reflected++;
    info.reason = NVIRT_VMX_EXIT_EPT_VIOLATION;
    info.guest_physical = access->l2gpa.value;
    info.guest_linear = access->linear;
    if (fault == NVI_FAULT_REFLECT) {
        verdict.qualification |= nvi_ept_told_rights(out.rights);
    }
    verdict.convertible = out.convertible;
    refuse(v, fault, &verdict, &info);
    return false;
}

NVIRT_STATIC_ASSERT(NVI_EPT_QUAL_READ == NVIRT_ACCESS_READ &&
                        NVI_EPT_QUAL_WRITE == NVIRT_ACCESS_WRITE &&
                        NVI_EPT_QUAL_FETCH == NVIRT_ACCESS_EXECUTE,
                    "a qualification begins with the access");

/*
 * The load of PDPTEs is an access to L2's memory like any other, but for its qualification: no linear
 * address, and a read although EPT has accessed and dirty flags [SDM 3C "Exit Qualification for EPT
 * Violations"].
 */
enum nvi_cr_load nvi_vmx_pdptes_address(struct nvirt_vmx_vcpu *v, nvirt_l2gpa l2gpa,
                                        nvirt_l1gpa *l1gpa)
{
    const struct nvi_l2_access access = { .l2gpa = l2gpa, .access = NVIRT_ACCESS_READ };

    return nvi_vmx_reach(v, &access, l1gpa) ? NVI_CR_LOADED : NVI_CR_ELSEWHERE;
}
