/* SPDX-License-Identifier: MIT */
/*
 * vmcb12 and vmcb01 into vmcb02. Every bit of L1's that reaches hardware is named here: what is not
 * named does not pass. Encryption, AVIC, virtual GIF and NMI, LBR virtualization and virtual
 * VMLOAD/VMSAVE are not named.
 */
#include "vmcb/vmcb_core.h"

/* Intercepts of L1's that may reach hardware, by word: everything defined, except the write traps
 * of EFER and the control registers, which belong to encrypted guests. */
static const uint32_t intercepts_allowed[NVIRT_VMCB_INTERCEPT_WORDS] = {
    0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x00007fffu, 0x0000001fu,
};

/* Never given to L2 unintercepted: the instructions that reach a virtual-machine monitor's state,
 * accesses that the maps decide on, and the shutdown that would otherwise stop the machine. */
static const uint16_t intercepts_required[] = {
    NVIRT_SVM_EXIT_VMRUN,  NVIRT_SVM_EXIT_VMMCALL, NVIRT_SVM_EXIT_VMLOAD,  NVIRT_SVM_EXIT_VMSAVE,
    NVIRT_SVM_EXIT_STGI,   NVIRT_SVM_EXIT_CLGI,    NVIRT_SVM_EXIT_SKINIT,  NVIRT_SVM_EXIT_INVLPGA,
    NVIRT_SVM_EXIT_IOIO,   NVIRT_SVM_EXIT_MSR,     NVIRT_SVM_EXIT_SHUTDOWN,
};

/* Set in vmcb01 by nvi_svm_set_interrupts() for L1's sake where interrupts pass through to it: not
 * wishes of L0, so not L2's concern. The same call decides on them for vmcb02. */
static const uint16_t intercepts_of_interrupts[] = {
    NVIRT_SVM_EXIT_INTR, NVIRT_SVM_EXIT_NMI, NVIRT_SVM_EXIT_VINTR, NVIRT_SVM_EXIT_CR8_READ,
    NVIRT_SVM_EXIT_CR8_WRITE,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* int_ctl bits of L1's that mean the same for hardware. V_INTR_MASKING and V_IRQ depend on more
 * than vmcb12: nvi_svm_set_interrupts(). */
#define INT_CTL_ALLOWED                                                                            \
    (NVIRT_SVM_V_TPR | NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_IGN_TPR | NVIRT_SVM_V_INTR_VECTOR)

bool nvi_svm_np12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer)
{
    return (offer->features & NVIRT_SVM_FEATURE_NP) != 0 &&
           (vmcb12->np_control & NVIRT_SVM_NP_ENABLE) != 0;
}

static void merge_intercepts(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    uint32_t words[NVIRT_VMCB_INTERCEPT_WORDS];

    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        words[i] = in->vmcb01->intercepts[i];
    }
    for (uint32_t i = 0; i < COUNT(intercepts_of_interrupts); i++) {
        uint32_t code = intercepts_of_interrupts[i];

        words[code / 32u] &= ~(1u << (code % 32u));
    }
    for (uint32_t i = 0; i < COUNT(intercepts_required); i++) {
        uint32_t code = intercepts_required[i];

        words[code / 32u] |= 1u << (code % 32u);
    }
    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        words[i] |= in->vmcb12->intercepts[i] & intercepts_allowed[i];
        nvirt_vmcb_set_intercept_word(vmcb02, i, words[i]);
    }
}

/* L0's PAUSE filter counts for L2 as well, unless L1 wants every PAUSE. */
static void merge_pause_filter(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    bool every = nvirt_vmcb_intercepts(in->vmcb12, NVIRT_SVM_EXIT_PAUSE);

    nvirt_vmcb_set_pause_count(vmcb02, every ? 0 : in->vmcb01->pause_count);
    nvirt_vmcb_set_pause_threshold(vmcb02, every ? 0 : in->vmcb01->pause_threshold);
}

void nvi_svm_merge_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    merge_intercepts(in, vmcb02);
    merge_pause_filter(in, vmcb02);
    nvirt_vmcb_set_tsc_offset(vmcb02, in->vmcb01->tsc_offset + in->vmcb12->tsc_offset);
    nvirt_vmcb_set_iopm_base(vmcb02, in->iopm02.value);
    nvirt_vmcb_set_msrpm_base(vmcb02, in->msrpm02.value);
    nvirt_vmcb_set_asid(vmcb02, in->asid02);
    nvirt_vmcb_set_np_control(vmcb02, NVIRT_SVM_NP_ENABLE);
    nvirt_vmcb_set_virt_ext(vmcb02, 0);
}

/* EFER.LMA of the VMCB is what LME and PG make it: the emulators and old CPUs differ in what they do
 * with a value that disagrees, so they never see one. */
static uint64_t consistent_efer(const struct nvirt_vmcb *v)
{
    bool active = (v->efer & NVIRT_SVM_EFER_LME) != 0 && (v->cr0 & NVIRT_CR0_PG) != 0;

    return active ? (v->efer | NVIRT_SVM_EFER_LMA) : (v->efer & ~NVIRT_SVM_EFER_LMA);
}

/* Defined bits; what the others would mean on a CPU of the future is not known here. */
#define CR0_ALLOWED                                                                                \
    (NVIRT_BITS(5, 0) | NVIRT_BIT(16) | NVIRT_BIT(18) | NVIRT_BITS(31, 29))
#define RFLAGS_ALLOWED                                                                             \
    (NVIRT_BIT(0) | NVIRT_BIT(2) | NVIRT_BIT(4) | NVIRT_BITS(14, 6) | NVIRT_BITS(21, 16))

static void merge_registers(const struct nvirt_vmcb *vmcb12, struct nvirt_vmcb *vmcb02)
{
    nvirt_vmcb_set_es(vmcb02, vmcb12->es);
    nvirt_vmcb_set_cs(vmcb02, vmcb12->cs);
    nvirt_vmcb_set_ss(vmcb02, vmcb12->ss);
    nvirt_vmcb_set_ds(vmcb02, vmcb12->ds);
    nvirt_vmcb_set_gdtr(vmcb02, vmcb12->gdtr);
    nvirt_vmcb_set_idtr(vmcb02, vmcb12->idtr);
    nvirt_vmcb_set_cpl(vmcb02, vmcb12->cpl & 3u);
    nvirt_vmcb_set_efer(vmcb02, consistent_efer(vmcb12));
    nvirt_vmcb_set_cr4(vmcb02, vmcb12->cr4);
    nvirt_vmcb_set_cr3(vmcb02, vmcb12->cr3);
    nvirt_vmcb_set_cr0(vmcb02, vmcb12->cr0 & CR0_ALLOWED);
    nvirt_vmcb_set_dr7(vmcb02, vmcb12->dr7);
    nvirt_vmcb_set_dr6(vmcb02, vmcb12->dr6);
    nvirt_vmcb_set_rflags(vmcb02, (vmcb12->rflags & RFLAGS_ALLOWED) | NVIRT_RFLAGS_FIXED1);
    nvirt_vmcb_set_rip(vmcb02, vmcb12->rip);
    nvirt_vmcb_set_rsp(vmcb02, vmcb12->rsp);
    nvirt_vmcb_set_rax(vmcb02, vmcb12->rax);
    nvirt_vmcb_set_cr2(vmcb02, vmcb12->cr2);
    /* Shadow stacks are not offered: an L2 that turns them on leaves the next one nothing. */
    nvirt_vmcb_set_s_cet(vmcb02, 0);
    nvirt_vmcb_set_ssp(vmcb02, 0);
    nvirt_vmcb_set_isst_addr(vmcb02, 0);
}

/* An event that is not valid must not leave reserved bits behind. */
static uint64_t allowed_event(uint64_t event_inj)
{
    return (event_inj & NVIRT_SVM_EVENT_VALID) != 0 ? (event_inj & ~NVIRT_SVM_EVENT_RESERVED) : 0;
}

void nvi_svm_merge(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    const struct nvirt_vmcb *vmcb12 = in->vmcb12;
    bool nrips = (in->offer->features & NVIRT_SVM_FEATURE_NRIPS) != 0;

    nvi_svm_merge_controls(in, vmcb02);
    merge_registers(vmcb12, vmcb02);
    nvirt_vmcb_set_int_ctl(vmcb02, vmcb12->int_ctl & INT_CTL_ALLOWED);
    nvirt_vmcb_set_int_state(vmcb02, vmcb12->int_state & NVIRT_SVM_INTERRUPT_SHADOW);
    nvirt_vmcb_set_event_inj(vmcb02, allowed_event(vmcb12->event_inj));
    /* Injection of a software interrupt pushes this as the return address. */
    nvirt_vmcb_set_next_rip(vmcb02, nrips ? vmcb12->next_rip : 0);
    /* Without nested paging of its own L2 shares the one PAT register with L1. */
    nvirt_vmcb_set_g_pat(vmcb02,
                         nvi_svm_np12(vmcb12, in->offer) ? vmcb12->g_pat : in->vmcb01->g_pat);
}

/* ---- interrupts ---- */

static bool wants(const struct nvirt_vmcb *vmcb, uint32_t code)
{
    return vmcb != NULL && nvirt_vmcb_intercepts(vmcb, code);
}

static void set_masking(struct nvirt_vmcb *vmcb, bool masking)
{
    uint64_t bits = vmcb->int_ctl & ~NVIRT_SVM_V_INTR_MASKING;

    nvirt_vmcb_set_int_ctl(vmcb, bits | (masking ? NVIRT_SVM_V_INTR_MASKING : 0));
}

static void set_v_irq(struct nvirt_vmcb *vmcb, bool pending)
{
    uint64_t bits = vmcb->int_ctl & ~NVIRT_SVM_V_IRQ;

    nvirt_vmcb_set_int_ctl(vmcb, bits | (pending ? NVIRT_SVM_V_IRQ : 0));
}

/* A virtual interrupt of the highest priority, taken by nobody: its interception says that the
 * guest could take an interrupt now. Where L1 uses the virtual interrupt itself, its own serves. */
static void open_window(struct nvirt_vmcb *vmcb, bool window, bool own_irq)
{
    if (!window) {
        return;
    }
    if (!own_irq) {
        uint64_t bits = vmcb->int_ctl & ~(NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_INTR_VECTOR);

        nvirt_vmcb_set_int_ctl(vmcb, bits | NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_PRIO |
                                         NVIRT_SVM_V_IGN_TPR);
    }
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_VINTR, true);
}

/* L1, physical interrupts its own. While its GIF is 0 nothing physical may arrive: RFLAGS.IF of the
 * host, clear, masks interrupts then, and CR8 must be the physical one all the same, so it is
 * intercepted. An NMI cannot be masked, only intercepted. */
static bool set_level1_pass_through(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_INTR, false);
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_NMI, !in->gif);
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_CR8_READ, !in->gif);
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_CR8_WRITE, !in->gif);
    set_masking(vmcb, !in->gif);
    return in->gif;
}

static bool set_level2_pass_through(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool masking = (in->vmcb12->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
    bool cr8 = !in->gif && !masking;

    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_INTR, wants(in->vmcb12, NVIRT_SVM_EXIT_INTR));
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_NMI,
                         !in->gif || wants(in->vmcb12, NVIRT_SVM_EXIT_NMI));
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_CR8_READ,
                         cr8 || wants(in->vmcb12, NVIRT_SVM_EXIT_CR8_READ));
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_CR8_WRITE,
                         cr8 || wants(in->vmcb12, NVIRT_SVM_EXIT_CR8_WRITE));
    set_masking(vmcb, masking || !in->gif);
    return in->gif && (!masking || in->l1_if);
}

/* The host takes every physical interrupt itself, so L2 never sees the physical TPR: CR8 is either
 * L2's virtual one, where L1 gave it one, or an access to L1's virtual TPR, treated as L0 treats
 * L1's own. */
static void set_level2_host_owned(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool own_tpr = (in->vmcb12->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
    static const uint16_t cr8[] = {NVIRT_SVM_EXIT_CR8_READ, NVIRT_SVM_EXIT_CR8_WRITE};

    for (uint32_t i = 0; i < COUNT(cr8); i++) {
        nvirt_vmcb_intercept(vmcb, cr8[i],
                             wants(in->vmcb12, cr8[i]) || (!own_tpr && wants(in->vmcb01, cr8[i])));
    }
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_NMI, true);
    set_masking(vmcb, true);
}

bool nvi_svm_set_interrupts(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool host_if = true;
    bool level2 = in->vmcb12 != NULL;
    bool v_irq = in->v_irq && in->gif;

    if (level2) {
        if (in->pass_through) {
            host_if = set_level2_pass_through(in, vmcb);
        } else {
            set_level2_host_owned(in, vmcb);
        }
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_VINTR, wants(in->vmcb12, NVIRT_SVM_EXIT_VINTR));
        set_v_irq(vmcb, v_irq);
    } else if (in->pass_through) {
        host_if = set_level1_pass_through(in, vmcb);
    }
    open_window(vmcb, in->window, level2 && v_irq);
    return host_if;
}
