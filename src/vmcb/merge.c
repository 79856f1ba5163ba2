/* SPDX-License-Identifier: MIT */
/*
 * vmcb12 and vmcb01 into vmcb02. Every bit of L1's that reaches hardware is named here or in options.c:
 * what is not named does not pass. Encryption and AVIC are not named.
 */
#include "vmcb/tsc.h"
#include "vmcb/vmcb_core.h"

/* Intercepts of L1's that may reach hardware, by word: everything defined, except the write traps
 * of EFER and the control registers, which belong to encrypted guests. */
static const uint32_t intercepts_allowed[NVIRT_VMCB_INTERCEPT_WORDS] = {
    0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x00007fffu, 0x0000003fu,
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

/* Virtual NMIs are the CPU's to deliver. The virtual GIF is nvirt's: hardware of L2's sees no virtual
 * event while it is 0. */
uint64_t nvi_svm_int_ctl_of_l2(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer)
{
    const uint64_t always = NVIRT_SVM_V_TPR | NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_IGN_TPR |
                            NVIRT_SVM_V_INTR_VECTOR;

    return nvi_svm_vnmi12(vmcb12, offer) ? always | NVIRT_SVM_V_NMI_ENABLE | NVIRT_SVM_V_NMI_MASK
                                         : always;
}

bool nvi_svm_vgif12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer)
{
    return (offer->features & NVIRT_SVM_FEATURE_VGIF) != 0 &&
           (vmcb12->int_ctl & NVIRT_SVM_V_GIF_ENABLE) != 0;
}

bool nvi_svm_vnmi12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer)
{
    return (offer->features & NVIRT_SVM_FEATURE_VNMI) != 0 &&
           (vmcb12->int_ctl & NVIRT_SVM_V_NMI_ENABLE) != 0;
}

bool nvi_svm_np12(const struct nvirt_vmcb *vmcb12, const struct nvirt_svm_caps *offer)
{
    return (offer->features & NVIRT_SVM_FEATURE_NP) != 0 &&
           (vmcb12->np_control & NVIRT_SVM_NP_ENABLE) != 0;
}

static uint32_t allowed_word(const struct nvirt_svm_caps *offer, uint32_t word)
{
    uint32_t bits = intercepts_allowed[word];

    if (word == NVIRT_SVM_EXIT_BUS_LOCK / 32u &&
        (offer->features & NVIRT_SVM_FEATURE_BUS_LOCK) == 0) {
        bits &= ~(1u << (NVIRT_SVM_EXIT_BUS_LOCK % 32u));
    }
    return bits;
}

static void drop_intercept(uint32_t *words, bool drop, uint32_t code)
{
    words[code / 32u] &= ~(drop ? 1u << (code % 32u) : 0);
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
    drop_intercept(words, in->dr7_watch, NVIRT_SVM_EXIT_DR0_WRITE + 7u);
    drop_intercept(words, in->db_watch, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB);
    for (uint32_t i = 0; i < COUNT(intercepts_required); i++) {
        uint32_t code = intercepts_required[i];

        words[code / 32u] |= 1u << (code % 32u);
    }
    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        words[i] |= in->vmcb12->intercepts[i] & allowed_word(in->offer, i);
        nvirt_vmcb_set_intercept_word(vmcb02, i, words[i]);
    }
}

#define MWAIT_BITS                                                                                 \
    (1u << (NVIRT_SVM_EXIT_MWAIT % 32u) | 1u << (NVIRT_SVM_EXIT_MWAIT_ARMED % 32u))

NVIRT_STATIC_ASSERT(NVIRT_SVM_EXIT_MWAIT / 32u == NVIRT_SVM_EXIT_MWAIT_ARMED / 32u,
                    "one word for MWAIT");

/* Which of the two an armed MWAIT exits with is the CPU's choice where both are set, and L1 may have set the other
 * one. So L1's choice stands alone: either one keeps L2 from waiting, as MWAIT does nothing unless armed. */
static void choose_mwait(const struct nvirt_vmcb *vmcb12, struct nvirt_vmcb *vmcb02)
{
    const uint32_t word = NVIRT_SVM_EXIT_MWAIT / 32u;
    uint32_t l1 = vmcb12->intercepts[word] & MWAIT_BITS;

    if (l1 != 0) {
        nvirt_vmcb_set_intercept_word(vmcb02, word,
                                      (vmcb02->intercepts[word] & ~MWAIT_BITS) | l1);
    }
}

void nvi_svm_hide_intercepts(const struct nvirt_svm_caps *offer, struct nvirt_vmcb *vmcb12)
{
    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        vmcb12->intercepts[i] &= allowed_word(offer, i);
    }
}

void nvi_svm_merge_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    merge_intercepts(in, vmcb02);
    choose_mwait(in->vmcb12, vmcb02);
    nvirt_vmcb_set_tsc_offset(
        vmcb02, nvi_svm_tsc_offset(in->vmcb01->tsc_offset, in->tsc_ratio12) +
                    in->vmcb12->tsc_offset);
    nvirt_vmcb_set_iopm_base(vmcb02, in->iopm02.value);
    nvirt_vmcb_set_msrpm_base(vmcb02, in->msrpm02.value);
    nvirt_vmcb_set_np_control(vmcb02, NVIRT_SVM_NP_ENABLE);
    nvi_svm_merge_option_controls(in, vmcb02);
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

/* A clean group is in vmcb02 already, as L2 left it. */
static void merge_segments(const struct nvirt_vmcb *vmcb12, struct nvirt_vmcb *vmcb02)
{
    nvirt_vmcb_set_es(vmcb02, vmcb12->es);
    nvirt_vmcb_set_cs(vmcb02, vmcb12->cs);
    nvirt_vmcb_set_ss(vmcb02, vmcb12->ss);
    nvirt_vmcb_set_ds(vmcb02, vmcb12->ds);
    nvirt_vmcb_set_cpl(vmcb02, vmcb12->cpl & 3u);
}

static void merge_control_registers(const struct nvirt_vmcb *vmcb12, struct nvirt_vmcb *vmcb02)
{
    nvirt_vmcb_set_efer(vmcb02, consistent_efer(vmcb12));
    nvirt_vmcb_set_cr4(vmcb02, vmcb12->cr4);
    nvirt_vmcb_set_cr3(vmcb02, vmcb12->cr3);
    nvirt_vmcb_set_cr0(vmcb02, vmcb12->cr0 & CR0_ALLOWED);
    /* Shadow stacks are not offered: an L2 that turns them on leaves the next one nothing. */
    nvirt_vmcb_set_s_cet(vmcb02, 0);
    nvirt_vmcb_set_ssp(vmcb02, 0);
    nvirt_vmcb_set_isst_addr(vmcb02, 0);
}

static void merge_covered_registers(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    const struct nvirt_vmcb *vmcb12 = in->vmcb12;

    if ((in->fresh & NVIRT_VMCB_CLEAN_SEG) != 0) {
        merge_segments(vmcb12, vmcb02);
    }
    if ((in->fresh & NVIRT_VMCB_CLEAN_CRX) != 0) {
        merge_control_registers(vmcb12, vmcb02);
    }
    if ((in->fresh & NVIRT_VMCB_CLEAN_DT) != 0) {
        nvirt_vmcb_set_gdtr(vmcb02, vmcb12->gdtr);
        nvirt_vmcb_set_idtr(vmcb02, vmcb12->idtr);
    }
    if ((in->fresh & NVIRT_VMCB_CLEAN_DRX) != 0) {
        nvirt_vmcb_set_dr7(vmcb02, vmcb12->dr7);
        nvirt_vmcb_set_dr6(vmcb02, vmcb12->dr6);
    }
    if ((in->fresh & NVIRT_VMCB_CLEAN_CR2) != 0) {
        nvirt_vmcb_set_cr2(vmcb02, vmcb12->cr2);
    }
}

#define REGISTER_GROUPS                                                                            \
    (NVIRT_VMCB_CLEAN_SEG | NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_DT | NVIRT_VMCB_CLEAN_DRX |    \
     NVIRT_VMCB_CLEAN_CR2)

/* The rest is set at the entry: to clear it before would cost the clean bit. */
static void merge_int_ctl(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    uint64_t passes = nvi_svm_int_ctl_of_l2(in->vmcb12, in->offer);

    nvirt_vmcb_set_int_ctl(vmcb02, (in->vmcb12->int_ctl & passes) |
                                       (vmcb02->int_ctl & NVI_SVM_INT_CTL_OF_ENTRY));
}

/* Without nested paging of its own L2 shares the one PAT register with L1. */
static void merge_pat(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    if (!nvi_svm_np12(in->vmcb12, in->offer)) {
        nvirt_vmcb_set_g_pat(vmcb02, in->vmcb01->g_pat);
    } else if ((in->fresh & NVIRT_VMCB_CLEAN_NP) != 0) {
        nvirt_vmcb_set_g_pat(vmcb02, in->vmcb12->g_pat);
    }
}

void nvi_svm_merge(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    if ((in->fresh & NVI_SVM_MERGES_CONTROLS) != 0) {
        nvi_svm_merge_controls(in, vmcb02);
    }
    if ((in->fresh & REGISTER_GROUPS) != 0) {
        merge_covered_registers(in, vmcb02);
    }
    if ((in->fresh & NVIRT_VMCB_CLEAN_TPR) != 0) {
        merge_int_ctl(in, vmcb02);
    }
    nvi_svm_merge_uncovered(in->vmcb12, in->offer, in->asid02, vmcb02);
    merge_pat(in, vmcb02);
}

/* ---- interrupts ---- */

#define BIT_OF(code) (1u << ((code) % 32u))
#define WORD_CR8 (NVIRT_SVM_EXIT_CR8_READ / 32u)
#define WORD_EVENTS (NVIRT_SVM_EXIT_INTR / 32u)
#define CR8_BITS (BIT_OF(NVIRT_SVM_EXIT_CR8_READ) | BIT_OF(NVIRT_SVM_EXIT_CR8_WRITE))
#define INTR_BIT BIT_OF(NVIRT_SVM_EXIT_INTR)
#define NMI_BIT BIT_OF(NVIRT_SVM_EXIT_NMI)
#define VINTR_BIT BIT_OF(NVIRT_SVM_EXIT_VINTR)
#define WORD_GIF (NVIRT_SVM_EXIT_STGI / 32u)
#define GIF_BITS (BIT_OF(NVIRT_SVM_EXIT_STGI) | BIT_OF(NVIRT_SVM_EXIT_CLGI))
#define VMLOAD_BITS (BIT_OF(NVIRT_SVM_EXIT_VMLOAD) | BIT_OF(NVIRT_SVM_EXIT_VMSAVE))

NVIRT_STATIC_ASSERT(NVIRT_SVM_EXIT_CR8_WRITE / 32u == WORD_CR8, "one word for CR8");
NVIRT_STATIC_ASSERT(NVIRT_SVM_EXIT_NMI / 32u == WORD_EVENTS &&
                        NVIRT_SVM_EXIT_VINTR / 32u == WORD_EVENTS, "one word for events");

static void replace_bits(struct nvirt_vmcb *vmcb, uint32_t word, uint32_t mask, uint32_t bits)
{
    nvirt_vmcb_set_intercept_word(vmcb, word, (vmcb->intercepts[word] & ~mask) | bits);
}

static void set_masking(struct nvirt_vmcb *vmcb, bool masking)
{
    uint64_t bits = vmcb->int_ctl & ~NVIRT_SVM_V_INTR_MASKING;

    nvirt_vmcb_set_int_ctl(vmcb, bits | (masking ? NVIRT_SVM_V_INTR_MASKING : 0));
}

static void set_virtual_events(struct nvirt_vmcb *vmcb, bool irq, bool nmi)
{
    uint64_t bits = vmcb->int_ctl & ~(NVIRT_SVM_V_IRQ | NVIRT_SVM_V_NMI);

    nvirt_vmcb_set_int_ctl(vmcb, bits | (irq ? NVIRT_SVM_V_IRQ : 0) | (nmi ? NVIRT_SVM_V_NMI : 0));
}

/* A virtual interrupt of the highest priority, taken by nobody: its interception says that the
 * guest could take an interrupt now. Where L1 uses the virtual interrupt itself, its own serves. */
static void open_window(struct nvirt_vmcb *vmcb, bool own_irq)
{
    if (!own_irq) {
        uint64_t bits = vmcb->int_ctl & ~(NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_INTR_VECTOR);

        nvirt_vmcb_set_int_ctl(vmcb, bits | NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_PRIO |
                                         NVIRT_SVM_V_IGN_TPR);
    }
    nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_VINTR, true);
}

static void set_keeper_of_gif(struct nvirt_vmcb *vmcb, bool cpu)
{
    uint64_t bits = vmcb->int_ctl & ~(NVIRT_SVM_V_GIF_ENABLE | NVIRT_SVM_V_GIF);

    replace_bits(vmcb, WORD_GIF, GIF_BITS, cpu ? 0 : GIF_BITS);
    nvirt_vmcb_set_int_ctl(vmcb, cpu ? vmcb->int_ctl | NVIRT_SVM_V_GIF_ENABLE : bits);
}

/*
 * L1, physical interrupts its own. While its GIF is 0 nothing physical may arrive: RFLAGS.IF of the
 * host, clear, masks interrupts then, and CR8 must be the physical one all the same, so it is
 * intercepted. An NMI cannot be masked, only intercepted.
 *
 * A GIF that the CPU keeps holds virtual events only. So interrupts and NMIs exit meanwhile: what they
 * met, a GIF of 0 or 1, is then arranged as above, and they come again.
 */
bool nvi_svm_set_interrupts_of_l1(bool pass_through, enum nvi_svm_gif gif, struct nvirt_vmcb *vmcb)
{
    set_keeper_of_gif(vmcb, gif == NVI_SVM_GIF_CPUS);
    if (!pass_through) {
        return true;
    }
    nvi_svm_switch_gif_of_l1(gif == NVI_SVM_GIF_CLEAR, vmcb);
    if (gif == NVI_SVM_GIF_CPUS) {
        replace_bits(vmcb, WORD_EVENTS, INTR_BIT | NMI_BIT, INTR_BIT | NMI_BIT);
    }
    return gif != NVI_SVM_GIF_CLEAR;
}

void nvi_svm_switch_gif_of_l1(bool held, struct nvirt_vmcb *vmcb)
{
    replace_bits(vmcb, WORD_CR8, CR8_BITS, held ? CR8_BITS : 0);
    replace_bits(vmcb, WORD_EVENTS, INTR_BIT | NMI_BIT, held ? NMI_BIT : 0);
    set_masking(vmcb, held);
}

void nvi_svm_give_vmload_to_l1(bool on, struct nvirt_vmcb *vmcb)
{
    uint64_t bits = vmcb->virt_ext & ~NVIRT_SVM_VIRTUAL_VMLOAD;

    replace_bits(vmcb, WORD_GIF, VMLOAD_BITS, on ? 0 : VMLOAD_BITS);
    nvirt_vmcb_set_virt_ext(vmcb, on ? bits | NVIRT_SVM_VIRTUAL_VMLOAD : bits);
}

static bool set_level2_pass_through(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool masking = (in->vmcb12->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
    uint32_t cr8 = in->vmcb12->intercepts[WORD_CR8] & CR8_BITS;
    uint32_t events = in->vmcb12->intercepts[WORD_EVENTS] & (INTR_BIT | NMI_BIT | VINTR_BIT);

    if (!in->gif) {
        events |= NMI_BIT;
        cr8 = masking ? cr8 : CR8_BITS;
    }
    replace_bits(vmcb, WORD_CR8, CR8_BITS, cr8);
    replace_bits(vmcb, WORD_EVENTS, INTR_BIT | NMI_BIT | VINTR_BIT, events);
    set_masking(vmcb, masking || !in->gif);
    return in->gif && (!masking || in->l1_if);
}

/* The host takes every physical interrupt itself, so L2 never sees the physical TPR: CR8 is either
 * L2's virtual one, where L1 gave it one, or an access to L1's virtual TPR, treated as L0 treats
 * L1's own. */
static void set_level2_host_owned(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool own_tpr = (in->vmcb12->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
    uint32_t cr8 = in->vmcb12->intercepts[WORD_CR8];
    uint32_t events = in->vmcb12->intercepts[WORD_EVENTS] & VINTR_BIT;

    if (!own_tpr) {
        cr8 |= in->vmcb01->intercepts[WORD_CR8];
    }
    replace_bits(vmcb, WORD_CR8, CR8_BITS, cr8 & CR8_BITS);
    replace_bits(vmcb, WORD_EVENTS, INTR_BIT | NMI_BIT | VINTR_BIT, events | INTR_BIT | NMI_BIT);
    set_masking(vmcb, true);
}

bool nvi_svm_set_interrupts(const struct nvi_svm_interrupt_in *in, struct nvirt_vmcb *vmcb)
{
    bool host_if = true;
    bool own_irq = false;

    if (in->vmcb12 != NULL) {
        if (in->pass_through) {
            host_if = set_level2_pass_through(in, vmcb);
        } else {
            set_level2_host_owned(in, vmcb);
        }
        own_irq = in->v_irq && in->gif;
        set_virtual_events(vmcb, own_irq, in->v_nmi && in->gif);
    } else {
        host_if = nvi_svm_set_interrupts_of_l1(
            in->pass_through, in->gif ? NVI_SVM_GIF_SET : NVI_SVM_GIF_CLEAR, vmcb);
    }
    if (in->window) {
        open_window(vmcb, own_irq);
    }
    return host_if;
}
