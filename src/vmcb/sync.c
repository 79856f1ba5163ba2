/* SPDX-License-Identifier: MIT */
/*
 * What VMRUN reads of vmcb12 and what #VMEXIT writes to it, field by field: [APM 2 "VMRUN
 * Instruction"], [APM 2 "#VMEXIT"]. Not a byte more is written: L1 keeps data of its own in the
 * fields that hardware leaves alone.
 */
#include "vmcb/vmcb_core.h"

/* The two stretches of the page that VMRUN looks at. */
#define CONTROL_END offsetof(struct nvirt_vmcb, avic_backing)
#define SAVE_BEGIN offsetof(struct nvirt_vmcb, es)
#define SAVE_END offsetof(struct nvirt_vmcb, dbgctl)

NVIRT_STATIC_ASSERT(CONTROL_END + SAVE_END - SAVE_BEGIN == NVI_SVM_SNAPSHOT_BYTES,
                    "bytes of a snapshot");

void nvi_svm_snapshot(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot)
{
    const uint8_t *from = (const uint8_t *)page;
    uint8_t *to = (uint8_t *)snapshot;

    __builtin_memcpy(to, from, CONTROL_END);
    __builtin_memcpy(to + SAVE_BEGIN, from + SAVE_BEGIN, SAVE_END - SAVE_BEGIN);
    /* L1 writes its page while this runs if it likes: everything from here on uses the copy, and
     * the compiler must not fetch a field again. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void save_registers(const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *vmcb12)
{
    vmcb12->es = vmcb02->es;
    vmcb12->cs = vmcb02->cs;
    vmcb12->ss = vmcb02->ss;
    vmcb12->ds = vmcb02->ds;
    vmcb12->gdtr = vmcb02->gdtr;
    vmcb12->idtr = vmcb02->idtr;
    vmcb12->cpl = vmcb02->cpl;
    vmcb12->efer = vmcb02->efer;
    vmcb12->cr4 = vmcb02->cr4;
    vmcb12->cr3 = vmcb02->cr3;
    vmcb12->cr0 = vmcb02->cr0;
    vmcb12->dr7 = vmcb02->dr7;
    vmcb12->dr6 = vmcb02->dr6;
    vmcb12->rflags = vmcb02->rflags;
    vmcb12->rip = vmcb02->rip;
    vmcb12->rsp = vmcb02->rsp;
    vmcb12->rax = vmcb02->rax;
    vmcb12->cr2 = vmcb02->cr2;
}

void nvi_svm_save_guest(const struct nvirt_vmcb *vmcb02, const struct nvirt_svm_caps *offer,
                        const struct nvi_svm_exit_info *info, struct nvirt_vmcb *vmcb12)
{
    const uint64_t kept = ~(NVIRT_SVM_V_TPR | NVIRT_SVM_V_IRQ);

    save_registers(vmcb02, vmcb12);
    if (nvi_svm_np12(vmcb12, offer)) {
        vmcb12->g_pat = vmcb02->g_pat;
    }
    vmcb12->int_ctl = (vmcb12->int_ctl & kept) | (vmcb02->int_ctl & ~kept);
    vmcb12->int_state = vmcb02->int_state & NVIRT_SVM_INTERRUPT_SHADOW;
    vmcb12->exit_code = info->code;
    vmcb12->exit_info1 = info->info1;
    vmcb12->exit_info2 = info->info2;
    vmcb12->exit_int_info = info->int_info;
    vmcb12->event_inj &= ~NVIRT_SVM_EVENT_VALID;
    vmcb12->next_rip = vmcb02->next_rip;
    vmcb12->insn_count = vmcb02->insn_count;
    __builtin_memcpy(vmcb12->insn_bytes, vmcb02->insn_bytes, sizeof vmcb12->insn_bytes);
}

void nvi_svm_write_back(const struct nvirt_vmcb *snapshot, const struct nvirt_svm_caps *offer,
                        struct nvirt_vmcb *page)
{
    save_registers(snapshot, page);
    if (nvi_svm_np12(snapshot, offer)) {
        page->g_pat = snapshot->g_pat;
    }
    page->int_ctl = snapshot->int_ctl;
    page->int_state = snapshot->int_state;
    page->exit_code = snapshot->exit_code;
    page->exit_info1 = snapshot->exit_info1;
    page->exit_info2 = snapshot->exit_info2;
    page->exit_int_info = snapshot->exit_int_info;
    page->event_inj = snapshot->event_inj;
    if ((offer->features & NVIRT_SVM_FEATURE_NRIPS) != 0) {
        page->next_rip = snapshot->next_rip;
    }
    if ((offer->features & NVIRT_SVM_FEATURE_DECODE_ASSISTS) != 0) {
        page->insn_count = snapshot->insn_count;
        __builtin_memcpy(page->insn_bytes, snapshot->insn_bytes, sizeof page->insn_bytes);
    }
}

void nvi_svm_write_refusal(struct nvirt_vmcb *page)
{
    page->exit_code = NVIRT_SVM_EXIT_INVALID;
    page->exit_info1 = 0;
    page->exit_info2 = 0;
    page->exit_int_info = 0;
}

void nvi_svm_load_host(const struct nvirt_vmcb *vmcb02, bool np12, struct nvirt_vmcb *vmcb01)
{
    /* The registers that VMRUN saved are still in vmcb01: nothing ran on it meanwhile. What follows
     * is what #VMEXIT forces, and the registers that L1 and L2 share. */
    nvirt_vmcb_set_cr0(vmcb01, vmcb01->cr0 | NVIRT_CR0_PE);
    nvirt_vmcb_set_rflags(vmcb01, vmcb01->rflags & ~NVIRT_RFLAGS_VM);
    nvirt_vmcb_set_cpl(vmcb01, 0);
    nvirt_vmcb_set_dr7(vmcb01, NVIRT_DR7_DEFAULT);
    nvirt_vmcb_set_dr6(vmcb01, vmcb02->dr6);
    nvirt_vmcb_set_cr2(vmcb01, vmcb02->cr2);
    nvirt_vmcb_set_int_state(vmcb01, 0);
    if (!np12) {
        nvirt_vmcb_set_g_pat(vmcb01, vmcb02->g_pat);
    }
}

/* [APM 2 "Canonicalization and Consistency Checks"]: bases are sign-extended, not refused. */
static uint64_t canonical(uint64_t address, uint32_t linear_bits)
{
    uint64_t sign = UINT64_C(1) << (linear_bits - 1);
    uint64_t low = address & ((sign << 1) - 1);

    return (low ^ sign) - sign;
}

static struct nvirt_vmcb_segment canonical_segment(const struct nvirt_vmcb_segment *from,
                                                   uint32_t linear_bits)
{
    struct nvirt_vmcb_segment segment = *from;

    segment.base = canonical(segment.base, linear_bits);
    return segment;
}

void nvi_svm_copy_vmload(const struct nvirt_vmcb *from, struct nvirt_vmcb *to, uint32_t linear_bits)
{
    to->fs = canonical_segment(&from->fs, linear_bits);
    to->gs = canonical_segment(&from->gs, linear_bits);
    to->ldtr = canonical_segment(&from->ldtr, linear_bits);
    to->tr = canonical_segment(&from->tr, linear_bits);
    to->kernel_gs_base = canonical(from->kernel_gs_base, linear_bits);
    to->star = from->star;
    to->lstar = from->lstar;
    to->cstar = from->cstar;
    to->sfmask = from->sfmask;
    to->sysenter_cs = from->sysenter_cs;
    to->sysenter_esp = from->sysenter_esp;
    to->sysenter_eip = from->sysenter_eip;
}

uint64_t nvi_svm_normal_event(uint64_t exit_int_info)
{
    uint64_t vector = exit_int_info & NVIRT_SVM_EVENT_VECTOR;
    uint64_t type = (exit_int_info & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;

    if ((exit_int_info & NVIRT_SVM_EVENT_VALID) == 0) {
        return 0;
    }
    exit_int_info &= ~NVIRT_SVM_EVENT_RESERVED;
    /* Exceptions have vectors below 32, and 2 is the NMI's. An emulator that calls an interrupted
     * interrupt an exception would have its own report refused when it is injected again. */
    if (type == NVIRT_SVM_EVENT_EXCEPTION && (vector >= 32 || vector == NVIRT_VECTOR_NMI)) {
        uint64_t real = vector == NVIRT_VECTOR_NMI ? NVIRT_SVM_EVENT_NMI : NVIRT_SVM_EVENT_INTR;

        exit_int_info &= ~(NVIRT_SVM_EVENT_TYPE | NVIRT_SVM_EVENT_EV);
        exit_int_info &= NVIRT_BITS(31, 0);
        exit_int_info |= real << NVIRT_SVM_EVENT_TYPE_SHIFT;
    }
    return exit_int_info;
}
