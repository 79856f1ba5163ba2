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
static enum permission permission(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
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
    const struct nvirt_vmcb *page = nvi_svm_page(v, address);

    if (page != NULL) {
        nvi_svm_copy_vmload(page, v->vmcb01, v->cpu.linear_bits);
        v->stats.bytes_read += NVI_SVM_VMLOAD_BYTES;
    }
}

static void vmsave(struct nvirt_svm_vcpu *v, nvirt_l1gpa address)
{
    struct nvirt_vmcb *page = nvi_svm_page(v, address);

    if (page != NULL) {
        nvi_svm_copy_vmload(v->vmcb01, page, v->cpu.linear_bits);
        v->stats.bytes_written += NVI_SVM_VMLOAD_BYTES;
    }
}

/* VMRUN, VMLOAD and VMSAVE: rAX names a page. */
static void with_vmcb(struct nvirt_svm_vcpu *v, uint64_t code, const struct nvi_svm_insn *insn)
{
    uint64_t address = rax_address(nvi_svm_current(v), insn);

    if (!is_vmcb_address(v, address)) {
        nvi_svm_raise(v, NVIRT_VECTOR_GP, true, 0);
        return;
    }
    if (code == NVIRT_SVM_EXIT_VMRUN) {
        nvi_svm_vmrun(v, nvirt_l1gpa_make(address), insn->length);
        return;
    }
    if (code == NVIRT_SVM_EXIT_VMLOAD) {
        vmload(v, nvirt_l1gpa_make(address));
    } else {
        vmsave(v, nvirt_l1gpa_make(address));
    }
    nvi_svm_retire(v, insn->length);
}

/* For INVLPGA on a CPU where that instruction is not relied on. */
static void flush_asid12(struct nvirt_svm_vcpu *v, uint32_t asid12)
{
    if (asid12 == 0) {
        nvirt_tlb_flush_l1(&v->tlb);
    }
    for (uint32_t i = 0; i < v->tlb.tag_count; i++) {
        const struct nvirt_tlb_tag *tag = &v->tlb.tag[i];

        if (tag->used && tag->tag12 == asid12) {
            nvirt_tlb_tables_changed(&v->tlb, tag->tag02);
        }
    }
}

static void invlpga(struct nvirt_svm_vcpu *v, const struct nvi_svm_insn *insn,
                    const struct nvirt_gprs *gprs)
{
    uint64_t address = rax_address(nvi_svm_current(v), insn);
    uint32_t asid12 = (uint32_t)gprs->r[NVIRT_RCX];

    if (v->cpu.invlpga_exact) {
        nvirt_tlb_svm_invlpga(&v->tlb, asid12, nvirt_gva_make(address));
    } else {
        flush_asid12(v, asid12);
    }
    nvi_svm_retire(v, insn->length);
}

static void set_gif(struct nvirt_svm_vcpu *v, bool gif, const struct nvi_svm_insn *insn)
{
    v->gif = gif;
    nvi_svm_retire(v, insn->length);
}

static void execute(struct nvirt_svm_vcpu *v, uint64_t code, const struct nvi_svm_insn *insn,
                    const struct nvirt_gprs *gprs)
{
    v->stats.instructions++;
    switch (code) {
    case NVIRT_SVM_EXIT_VMRUN:
    case NVIRT_SVM_EXIT_VMLOAD:
    case NVIRT_SVM_EXIT_VMSAVE:
        with_vmcb(v, code, insn);
        return;
    case NVIRT_SVM_EXIT_STGI:
        set_gif(v, true, insn);
        return;
    case NVIRT_SVM_EXIT_CLGI:
        set_gif(v, false, insn);
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

    switch (permission(v)) {
    case UNDEFINED:
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        break;
    case NOT_PRIVILEGED:
        nvi_svm_raise(v, NVIRT_VECTOR_GP, true, 0);
        break;
    case PERMITTED:
        /* Bytes that are another instruction by now are left to run. */
        if (nvi_svm_fetch(v, code, &insn)) {
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
