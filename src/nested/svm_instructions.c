/* SPDX-License-Identifier: MIT */
/*
 * The SVM instructions, of L1, and of L2 where L1 lets it execute them. Each checks in the order of
 * [APM 3 "System Instruction Reference"]: undefined, privilege, operand.
 */
#include "nested/svm_internal.h"

enum permission {
    PERMITTED,
    UNDEFINED,
    NOT_PRIVILEGED
};

/* Hardware checked the same, but with the SVME bit it really runs under. */
static enum permission permission(const struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb)
{
    bool svme = v->level == 2 || v->svme;

    if (!svme || (vmcb->cr0 & NVIRT_CR0_PE) == 0 || (vmcb->rflags & NVIRT_RFLAGS_VM) != 0) {
        return UNDEFINED;
    }
    return vmcb->cpl == 0 ? PERMITTED : NOT_PRIVILEGED;
}

/* rAX as wide as the address size says. */
static uint64_t rax_address(const struct nvirt_vmcb *vmcb, const struct nvi_svm_insn *insn)
{
    switch (insn->address_bits) {
    case 16:
        return vmcb->rax & NVIRT_BITS(15, 0);
    case 32:
        return vmcb->rax & NVIRT_BITS(31, 0);
    default:
        return vmcb->rax;
    }
}

static bool is_vmcb_address(const struct nvirt_svm_vcpu *v, uint64_t address)
{
    return (address & ~NVIRT_PAGE_MASK) == 0 && (address >> v->offer.physical_bits) == 0;
}

/* FS, GS, LDTR, TR and the MSRs of VMLOAD always live in vmcb01, where the host has put them by its
 * own VMSAVE: also when it is L2 that executes this, since hardware has one set of them. */
static void vmload(struct nvirt_svm_vcpu *v, nvirt_l1gpa address)
{
    const struct nvirt_vmcb *page = nvi_svm_page(v, address, NVI_SVM_USE_STATE);

    if (page != NULL) {
        nvi_svm_copy_vmload(page, v->vmcb01, v->cpu.linear_bits);
        v->stats.bytes_read += NVI_SVM_VMLOAD_BYTES;
    }
}

static void vmsave(struct nvirt_svm_vcpu *v, nvirt_l1gpa address)
{
    struct nvirt_vmcb *page = nvi_svm_page(v, address, NVI_SVM_USE_STATE);

    if (page != NULL) {
        nvi_svm_copy_vmload(v->vmcb01, page, v->cpu.linear_bits);
        v->stats.bytes_written += NVI_SVM_VMLOAD_BYTES;
    }
}

/* VMRUN, VMLOAD and VMSAVE: rAX names a page. @return false when #GP was raised. */
static bool take_vmcb_address(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                              const struct nvi_svm_insn *insn, uint64_t *address)
{
    *address = rax_address(vmcb, insn);
    if (!is_vmcb_address(v, *address)) {
        nvi_svm_raise(v, NVIRT_VECTOR_GP, true, 0);
        return false;
    }
    return true;
}

/* L2 does not come here: vmcb12 intercepts VMRUN, a rule says so. */
static void vmrun(struct nvirt_svm_vcpu *v, const struct nvi_svm_insn *insn)
{
    uint64_t address;

    if (take_vmcb_address(v, v->vmcb01, insn, &address)) {
        nvi_svm_vmrun(v, nvirt_l1gpa_make(address), insn->length);
    }
}

static void move_state(struct nvirt_svm_vcpu *v, uint64_t code, const struct nvi_svm_insn *insn)
{
    uint64_t address;

    if (!take_vmcb_address(v, nvi_svm_current(v), insn, &address)) {
        return;
    }
    if (code == NVIRT_SVM_EXIT_VMLOAD) {
        vmload(v, nvirt_l1gpa_make(address));
    } else {
        vmsave(v, nvirt_l1gpa_make(address));
    }
    nvi_svm_retire(v, insn->length);
}

NVIRT_NOINLINE static void invlpga(struct nvirt_svm_vcpu *v, const struct nvi_svm_insn *insn,
                    const struct nvirt_gprs *gprs)
{
    uint64_t address = rax_address(nvi_svm_current(v), insn);
    uint32_t asid12 = (uint32_t)gprs->r[NVIRT_RCX];

    nvirt_tlb_svm_invlpga(&v->tlb, asid12, nvirt_gva_make(address));
    nvi_svm_retire(v, insn->length);
}

static void set_gif(struct nvirt_svm_vcpu *v, bool gif, const struct nvi_svm_insn *insn)
{
    if (v->level == 2 && v->has_vgif) {
        v->v_gif = gif; /* [APM 2 "Virtual GIF"] */
    } else {
        v->gif = gif;
        /* Breakpoints that L1 set are looked at while nvirt keeps GIF. */
        v->direct = v->direct && (gif || nvi_svm_has_breakpoints(v->vmcb01));
    }
    nvi_svm_retire(v, insn->length);
}

NVIRT_NOINLINE static void execute(struct nvirt_svm_vcpu *v, uint64_t code,
                                   const struct nvi_svm_insn *insn, const struct nvirt_gprs *gprs)
{
    switch (code) {
    case NVIRT_SVM_EXIT_VMLOAD:
    case NVIRT_SVM_EXIT_VMSAVE:
        move_state(v, code, insn);
        return;
    case NVIRT_SVM_EXIT_INVLPGA:
        invlpga(v, insn, gprs);
        return;
    default:
        /* SKINIT is not offered. */
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
    }
}

enum nvirt_verdict nvi_svm_instruction(struct nvirt_svm_vcpu *v, uint64_t code,
                                       struct nvirt_gprs *gprs)
{
    struct nvi_svm_insn insn;

    switch (permission(v, nvi_svm_current(v))) {
    case UNDEFINED:
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        break;
    case NOT_PRIVILEGED:
        nvi_svm_raise(v, NVIRT_VECTOR_GP, true, 0);
        break;
    case PERMITTED:
        /* Bytes that are another instruction by now are left to run. */
        if (!nvi_svm_fetch(v, code, &insn)) {
            break;
        }
        v->stats.instructions++;
        if (code == NVIRT_SVM_EXIT_VMRUN) {
            vmrun(v, &insn);
        } else if (code == NVIRT_SVM_EXIT_STGI || code == NVIRT_SVM_EXIT_CLGI) {
            set_gif(v, code == NVIRT_SVM_EXIT_STGI, &insn);
        } else {
            execute(v, code, &insn, gprs);
        }
        break;
    }
    return NVIRT_VERDICT_DONE;
}

/* Hardware has SVME set and raises the #GP of the privilege and address checks, where a CPU with SVME
 * clear would know no such instruction. */
enum nvirt_verdict nvi_svm_watched_gp(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = v->vmcb01;

    if (vmcb->exit_info1 == 0 && (vmcb->exit_int_info & NVIRT_SVM_EVENT_VALID) == 0 &&
        nvi_svm_is_svm_instruction(v)) {
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        return NVIRT_VERDICT_DONE;
    }
    return nvi_svm_return_gp(v) ? NVIRT_VERDICT_DONE : NVIRT_VERDICT_L1_SHUTDOWN;
}
