/* SPDX-License-Identifier: MIT */
/*
 * What VMRUN reads of vmcb12 and what #VMEXIT writes to it, field by field: [APM 2 "VMRUN
 * Instruction"], [APM 2 "#VMEXIT"]. Not a byte more is written: L1 keeps data of its own in the
 * fields that hardware leaves alone.
 */
#include "vmcb/vmcb_core.h"

/* ---- VMRUN ---- */

/* One field from L1's page into the snapshot; its size is added to the bytes read. */
#define TAKE(field)                                                                                \
    do {                                                                                           \
        snapshot->field = page->field;                                                             \
        bytes += (uint32_t)sizeof page->field;                                                     \
    } while (0)

/* The same; @c same tells whether all of the group are what the snapshot had. */
static bool take16(const uint16_t *from, uint16_t *to)
{
    uint16_t before = *to;

    *to = *from;
    return *to == before;
}

static bool take32(const uint32_t *from, uint32_t *to)
{
    uint32_t before = *to;

    *to = *from;
    return *to == before;
}

static bool take64(const uint64_t *from, uint64_t *to)
{
    uint64_t before = *to;

    *to = *from;
    return *to == before;
}

#define TAKE_AND_COMPARE(take, field)                                                              \
    do {                                                                                           \
        same = take(&page->field, &snapshot->field) && same;                                       \
        bytes += (uint32_t)sizeof page->field;                                                     \
    } while (0)

static uint32_t take_intercepts(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot,
                                uint32_t *unchanged)
{
    uint32_t bytes = 0;
    bool same = true;

    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        TAKE_AND_COMPARE(take32, intercepts[i]);
    }
    TAKE_AND_COMPARE(take16, pause_threshold);
    TAKE_AND_COMPARE(take16, pause_count);
    TAKE_AND_COMPARE(take64, tsc_offset);
    *unchanged |= same ? NVIRT_VMCB_CLEAN_INTERCEPTS : 0;
    return bytes;
}

/* The other groups that are not L2's registers. */
static uint32_t take_controls(const struct nvirt_vmcb *page, uint32_t fresh,
                              struct nvirt_vmcb *snapshot, uint32_t *unchanged)
{
    uint32_t bytes = 0;
    bool same = true;

    if ((fresh & NVIRT_VMCB_CLEAN_IOPM) != 0) {
        TAKE_AND_COMPARE(take64, iopm_base);
        TAKE_AND_COMPARE(take64, msrpm_base);
        *unchanged |= same ? NVIRT_VMCB_CLEAN_IOPM : 0;
    }
    if ((fresh & NVIRT_VMCB_CLEAN_ASID) != 0) {
        same = true;
        TAKE_AND_COMPARE(take32, asid);
        *unchanged |= same ? NVIRT_VMCB_CLEAN_ASID : 0;
    }
    if ((fresh & NVIRT_VMCB_CLEAN_TPR) != 0) {
        same = true;
        TAKE_AND_COMPARE(take64, int_ctl);
        *unchanged |= same ? NVIRT_VMCB_CLEAN_TPR : 0;
    }
    if ((fresh & NVIRT_VMCB_CLEAN_NP) != 0) {
        same = true;
        TAKE_AND_COMPARE(take64, np_control);
        TAKE_AND_COMPARE(take64, n_cr3);
        TAKE_AND_COMPARE(take64, g_pat);
        *unchanged |= same ? NVIRT_VMCB_CLEAN_NP : 0;
    }
    return bytes;
}

static uint32_t take_segments(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = 0;

    TAKE(es);
    TAKE(cs);
    TAKE(ss);
    TAKE(ds);
    TAKE(cpl);
    return bytes;
}

static uint32_t take_control_registers(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = 0;

    TAKE(efer);
    TAKE(cr4);
    TAKE(cr3);
    TAKE(cr0);
    return bytes;
}

static uint32_t take_small_groups(const struct nvirt_vmcb *page, uint32_t fresh,
                                  struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = 0;

    if ((fresh & NVIRT_VMCB_CLEAN_DRX) != 0) {
        TAKE(dr7);
        TAKE(dr6);
    }
    if ((fresh & NVIRT_VMCB_CLEAN_DT) != 0) {
        TAKE(gdtr);
        TAKE(idtr);
    }
    if ((fresh & NVIRT_VMCB_CLEAN_CR2) != 0) {
        TAKE(cr2);
    }
    return bytes;
}

/* What no clean bit covers. */
static uint32_t take_uncovered(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = 0;

    TAKE(tlb_control);
    TAKE(int_state);
    TAKE(event_inj);
    TAKE(virt_ext);
    TAKE(bus_lock_count);
    TAKE(next_rip);
    TAKE(rflags);
    TAKE(rip);
    TAKE(rsp);
    TAKE(rax);
    return bytes;
}

#define CONTROL_GROUPS                                                                             \
    (NVIRT_VMCB_CLEAN_IOPM | NVIRT_VMCB_CLEAN_ASID | NVIRT_VMCB_CLEAN_TPR | NVIRT_VMCB_CLEAN_NP)

uint32_t nvi_svm_snapshot_uncovered(const struct nvirt_vmcb *page, struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = take_uncovered(page, snapshot);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return bytes;
}

uint32_t nvi_svm_snapshot(const struct nvirt_vmcb *page, uint32_t fresh,
                          struct nvirt_vmcb *snapshot, uint32_t *unchanged)
{
    uint32_t bytes = take_uncovered(page, snapshot);

    *unchanged = 0;
    if ((fresh & NVIRT_VMCB_CLEAN_INTERCEPTS) != 0) {
        bytes += take_intercepts(page, snapshot, unchanged);
    }
    if ((fresh & CONTROL_GROUPS) != 0) {
        bytes += take_controls(page, fresh, snapshot, unchanged);
    }
    if ((fresh & NVIRT_VMCB_CLEAN_SEG) != 0) {
        bytes += take_segments(page, snapshot);
    }
    if ((fresh & NVIRT_VMCB_CLEAN_CRX) != 0) {
        bytes += take_control_registers(page, snapshot);
    }
    if ((fresh & (NVIRT_VMCB_CLEAN_DRX | NVIRT_VMCB_CLEAN_DT | NVIRT_VMCB_CLEAN_CR2)) != 0) {
        bytes += take_small_groups(page, fresh, snapshot);
    }
    /* L1 writes its page while this runs if it likes: everything from here on uses the copy, and
     * the compiler must not fetch a field again. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return bytes;
}

uint32_t nvi_svm_snapshot_options(const struct nvirt_vmcb *page, const struct nvirt_svm_caps *offer,
                                  struct nvirt_vmcb *snapshot)
{
    uint32_t bytes = 0;

    /* The clean bit is not asked: L1 may have turned the recording on since. */
    if ((offer->features & NVIRT_SVM_FEATURE_LBR) != 0 &&
        (snapshot->virt_ext & NVIRT_SVM_LBR_ENABLE) != 0) {
        TAKE(dbgctl);
        TAKE(br_from);
        TAKE(br_to);
        TAKE(last_excp_from);
        TAKE(last_excp_to);
    }
    if ((offer->features & NVIRT_SVM_FEATURE_SPEC_CTRL) != 0) {
        TAKE(spec_ctrl);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return bytes;
}

/* ---- #VMEXIT ---- */

void nvi_svm_save_guest(const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *vmcb12)
{
    uint64_t kept = ~(NVIRT_SVM_V_TPR | NVIRT_SVM_V_IRQ);

    if ((vmcb02->int_ctl & NVIRT_SVM_V_NMI_ENABLE) != 0) {
        kept &= ~(NVIRT_SVM_V_NMI | NVIRT_SVM_V_NMI_MASK);
    }
    vmcb12->int_ctl = (vmcb12->int_ctl & kept) | (vmcb02->int_ctl & ~kept);
    vmcb12->event_inj &= ~NVIRT_SVM_EVENT_VALID;
    vmcb12->cs.attrib = vmcb02->cs.attrib;
    vmcb12->efer = vmcb02->efer;
    vmcb12->cr0 = vmcb02->cr0;
}

static void write_registers(const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *page)
{
    page->es = vmcb02->es;
    page->cs = vmcb02->cs;
    page->ss = vmcb02->ss;
    page->ds = vmcb02->ds;
    page->gdtr = vmcb02->gdtr;
    page->idtr = vmcb02->idtr;
    page->cpl = vmcb02->cpl;
    page->efer = vmcb02->efer;
    page->cr4 = vmcb02->cr4;
    page->cr3 = vmcb02->cr3;
    page->cr0 = vmcb02->cr0;
    page->dr7 = vmcb02->dr7;
    page->dr6 = vmcb02->dr6;
    page->rflags = vmcb02->rflags;
    page->rip = vmcb02->rip;
    page->rsp = vmcb02->rsp;
    page->rax = vmcb02->rax;
    page->cr2 = vmcb02->cr2;
}

void nvi_svm_write_back(const struct nvi_svm_write_back_in *in, struct nvirt_vmcb *page)
{
    const struct nvirt_vmcb *vmcb02 = in->vmcb02;

    write_registers(vmcb02, page);
    if (nvi_svm_np12(in->vmcb12, in->offer)) {
        page->g_pat = vmcb02->g_pat;
    }
    page->int_ctl = in->vmcb12->int_ctl;
    page->int_state = vmcb02->int_state & NVIRT_SVM_INTERRUPT_SHADOW;
    page->exit_code = in->info->code;
    page->exit_info1 = in->info->info1;
    page->exit_info2 = in->info->info2;
    page->exit_int_info = in->info->int_info;
    page->event_inj = in->vmcb12->event_inj;
    if ((in->offer->features & NVIRT_SVM_FEATURE_NRIPS) != 0) {
        page->next_rip = vmcb02->next_rip;
    }
    if ((in->offer->features & NVIRT_SVM_FEATURE_DECODE_ASSISTS) != 0) {
        page->insn_count = vmcb02->insn_count;
        __builtin_memcpy(page->insn_bytes, vmcb02->insn_bytes, sizeof page->insn_bytes);
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

uint64_t nvi_svm_normalize_event(uint64_t exit_int_info)
{
    uint64_t vector = exit_int_info & NVIRT_SVM_EVENT_VECTOR;
    uint64_t type = (exit_int_info & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;

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
