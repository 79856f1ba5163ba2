/* SPDX-License-Identifier: MIT */
/*
 * The MSRs of SVM that L1 sees: EFER with its own SVME bit, VM_CR, VM_HSAVE_PA, SVM_KEY and
 * TSC_RATIO.
 * [APM 2 "Enabling SVM"], [APM 2 "SVM Related MSRs"], [APM 2 "SVM-Lock"]
 */
#include "nested/svm_internal.h"
#include "vmcb/tsc.h"

static bool has_ratio(const struct nvirt_svm_vcpu *v)
{
    return (v->offer.features & NVIRT_SVM_FEATURE_TSC_RATE) != 0;
}

static bool has_lock(const struct nvirt_svm_vcpu *v)
{
    return (v->offer.features & NVIRT_SVM_FEATURE_SVM_LOCK) != 0;
}

bool nvi_svm_msr_is_held(const struct nvirt_svm_vcpu *v, uint32_t msr)
{
    switch (msr) {
    case NVIRT_SVM_MSR_EFER:
    case NVIRT_SVM_MSR_VM_CR:
    case NVIRT_SVM_MSR_HSAVE_PA:
        return true;
    case NVIRT_SVM_MSR_KEY:
        return has_lock(v);
    case NVIRT_SVM_MSR_TSC_RATIO:
        return has_ratio(v);
    default:
        return false;
    }
}

static uint64_t read_efer(struct nvirt_svm_vcpu *v)
{
    uint64_t efer = nvi_svm_current(v)->efer;

    /* L1 runs with SVME set whether it knows or not; L2's SVME is what vmcb12 says, set. */
    if (v->level == 1 && !v->svme) {
        efer &= ~NVIRT_SVM_EFER_SVME;
    }
    return efer;
}

static uint64_t read_msr(struct nvirt_svm_vcpu *v, uint32_t msr)
{
    switch (msr) {
    case NVIRT_SVM_MSR_EFER:
        return read_efer(v);
    case NVIRT_SVM_MSR_VM_CR:
        return v->vm_cr;
    case NVIRT_SVM_MSR_HSAVE_PA:
        return v->hsave_pa;
    case NVIRT_SVM_MSR_TSC_RATIO:
        return v->tsc_ratio12;
    default:
        return 0; /* SVM_KEY reads as zero. */
    }
}

/* L1 gives up SVM: nothing of L2 may be used from now on, and events are held back no more. */
static void set_svme(struct nvirt_svm_vcpu *v, bool on)
{
    if (v->svme && !on) {
        v->gif = true;
        v->vmcb12_kept = false;
        nvi_svm_unpin_all(v);
        nvi_hv_forget_l2(v->hv, &v->tlb);
    }
    v->svme = on;
}

static bool write_efer(struct nvirt_svm_vcpu *v, uint64_t value)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint64_t old = vmcb->efer;
    bool svme = (value & NVIRT_SVM_EFER_SVME) != 0;
    bool lme_changes = ((value ^ old) & NVIRT_SVM_EFER_LME) != 0;

    if ((value & ~v->offer.efer_valid) != 0 ||
        (svme && (v->vm_cr & NVIRT_SVM_VM_CR_SVMDIS) != 0) ||
        (lme_changes && (vmcb->cr0 & NVIRT_CR0_PG) != 0)) {
        return false;
    }
    /* LMA is the CPU's. What an L2 without SVME would do is undefined: it keeps it. */
    nvirt_vmcb_set_efer(vmcb, (value & ~NVIRT_SVM_EFER_LMA) | (old & NVIRT_SVM_EFER_LMA) |
                                  NVIRT_SVM_EFER_SVME);
    if (v->level == 1) {
        set_svme(v, svme);
    }
    if (((value ^ old) & NVIRT_SVM_EFER_NXE) != 0) {
        /* The meaning of every table entry changed. */
        nvirt_tlb_request(&v->tlb, v->level, NVIRT_TLB_REQUEST_GUEST);
    }
    return true;
}

static bool write_vm_cr(struct nvirt_svm_vcpu *v, uint64_t value)
{
    const uint64_t lockable = NVIRT_SVM_VM_CR_LOCK | NVIRT_SVM_VM_CR_SVMDIS;

    /* SVMDIS faults under EFER.SVME whether or not LOCK would have it ignored. */
    if ((value & ~NVI_SVM_VM_CR_WRITABLE) != 0 ||
        ((value & NVIRT_SVM_VM_CR_SVMDIS) != 0 && v->svme)) {
        return false;
    }
    if ((v->vm_cr & NVIRT_SVM_VM_CR_LOCK) != 0) {
        value = (value & ~lockable) | (v->vm_cr & lockable);
    }
    v->vm_cr = value;
    return true;
}

static bool write_hsave(struct nvirt_svm_vcpu *v, uint64_t value)
{
    if ((value & ~NVIRT_PAGE_MASK) != 0 || (value >> v->offer.physical_bits) != 0) {
        return false;
    }
    /* Kept for L1 to read. Where L1's state is saved is no business of L1's memory. */
    v->hsave_pa = value;
    return true;
}

static bool write_key(struct nvirt_svm_vcpu *v, uint64_t value)
{
    if ((v->vm_cr & NVIRT_SVM_VM_CR_LOCK) == 0) {
        v->svm_key = value;
    } else if (v->svm_key != 0 && v->svm_key == value) {
        v->vm_cr &= ~NVIRT_SVM_VM_CR_LOCK;
    }
    return true;
}

static bool write_ratio(struct nvirt_svm_vcpu *v, uint64_t value)
{
    if (value > NVI_SVM_TSC_RATIO_MAX) {
        return false;
    }
    /* L1's own counter does not run by it: it is for guests [APM 2 "TSC Ratio MSR (C000_0104h)"]. */
    v->tsc_ratio12 = value;
    v->controls_changed = true;
    return true;
}

static bool write_msr(struct nvirt_svm_vcpu *v, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case NVIRT_SVM_MSR_EFER:
        return write_efer(v, value);
    case NVIRT_SVM_MSR_VM_CR:
        return write_vm_cr(v, value);
    case NVIRT_SVM_MSR_HSAVE_PA:
        return write_hsave(v, value);
    case NVIRT_SVM_MSR_TSC_RATIO:
        return write_ratio(v, value);
    default:
        return write_key(v, value);
    }
}

void nvi_svm_msr(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs, bool write)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint32_t msr = (uint32_t)gprs->r[NVIRT_RCX];
    struct nvi_svm_insn insn;

    if (!nvi_svm_fetch(v, NVIRT_SVM_EXIT_MSR, &insn)) {
        return;
    }
    if (write) {
        uint64_t value = (gprs->r[NVIRT_RDX] << 32) | (vmcb->rax & NVIRT_BITS(31, 0));

        if (!write_msr(v, msr, value)) {
            nvi_svm_raise(v, NVIRT_VECTOR_GP, true, 0);
            return;
        }
    } else {
        uint64_t value = read_msr(v, msr);

        nvirt_vmcb_set_rax(vmcb, value & NVIRT_BITS(31, 0));
        gprs->r[NVIRT_RDX] = value >> 32;
    }
    nvi_svm_retire(v, insn.length);
}
