/* SPDX-License-Identifier: MIT */
/*
 * vmcs12 + vmcs01 -> vmcs02. Every control word is put together from three allow-lists: what of
 * L1's passes, what of L0's applies to L2 as well, and what vmcs02 needs for its own sake. A bit in
 * none of them stays 0.
 */
#include "vmcs/merge.h"

#include <nvirt/x86.h>

#include "vmcs/tsc.h"

/* ---- the allow-lists ---- */

#define PIN_FROM_12                                                                                \
    (NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS |                      \
     NVIRT_VMX_PIN_PREEMPTION_TIMER)
/* The timer is of one level only: nvi_vmx_l0_may_control(). */
#define PIN_FROM_01                                                                                \
    (NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_PREEMPTION_TIMER)

/* Exits that either level may want. */
#define PROC_EXITS                                                                                 \
    (NVIRT_VMX_PROC_HLT | NVIRT_VMX_PROC_INVLPG | NVIRT_VMX_PROC_MWAIT | NVIRT_VMX_PROC_RDPMC |    \
     NVIRT_VMX_PROC_RDTSC | NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE |                   \
     NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE | NVIRT_VMX_PROC_MOV_DR |                  \
     NVIRT_VMX_PROC_MONITOR | NVIRT_VMX_PROC_PAUSE)
/* L0's windows are about injecting into L1; only L1's say anything about L2. */
#define PROC_FROM_12                                                                               \
    (PROC_EXITS | NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW | NVIRT_VMX_PROC_MTF)
#define PROC_FROM_01 (PROC_EXITS | NVIRT_VMX_PROC_MTF)

#define PROC2_EXITS                                                                                \
    (NVIRT_VMX_PROC2_DESCRIPTOR_TABLE | NVIRT_VMX_PROC2_WBINVD | NVIRT_VMX_PROC2_RDRAND |          \
     NVIRT_VMX_PROC2_RDSEED | NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_ENCLS |                 \
     NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG)
/* Enables belong to the level that runs: without L1's, the instruction is #UD in L2. */
#define PROC2_FROM_12                                                                              \
    (PROC2_EXITS | NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_XSAVES |     \
     NVIRT_VMX_PROC2_USER_WAIT | NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_VMFUNC |       \
     NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS |     \
     NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS | NVIRT_VMX_PROC2_MODE_EXECUTE |                          \
     NVIRT_VMX_PROC2_SUBPAGE_WRITE)
/* Exits of instructions and events that L1 knows nothing of, and how PASIDs and traces are kept. */
#define PROC2_FROM_01                                                                              \
    (PROC2_EXITS | NVIRT_VMX_PROC2_PASID | NVIRT_VMX_PROC2_CONCEAL_PT | NVIRT_VMX_PROC2_BUS_LOCK | \
     NVIRT_VMX_PROC2_INSTRUCTION_TIMEOUT)

/* The host side of an exit is L0's alone. */
#define EXIT_FROM_01                                                                               \
    (NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_LOAD_EFER |     \
     NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_EXIT_CTL_CONCEAL_PT)
/* L1's CET state is in vmcs01, and so is L2's in vmcs02 (nvi_vmx_cet_control()). */
#define EXIT_WITH_CET (EXIT_FROM_01 | NVIRT_VMX_EXIT_CTL_LOAD_CET)
#define ENTRY_WITH_CET (ENTRY_FROM_01 | NVIRT_VMX_ENTRY_CTL_LOAD_CET)
/* What L2 leaves in these registers must be known at every exit, wanted by L1 or not. */
#define EXIT_ALWAYS                                                                                \
    (NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_SAVE_EFER)
#define ENTRY_FROM_12 NVIRT_VMX_ENTRY_CTL_IA32E
#define ENTRY_FROM_01 (NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_ENTRY_CTL_CONCEAL_PT)
#define ENTRY_ALWAYS                                                                               \
    (NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT | NVIRT_VMX_ENTRY_CTL_LOAD_EFER)

/* ---- what L0 may ask for ---- */

/* In vmcs02 in another shape (offsets and bitmaps are composed, CR8 exits stand for the TPR shadow)
 * or about L1 alone: windows for what is injected into L1, its virtual APIC, its enables. */
#define PIN_OF_L1 (NVIRT_VMX_PIN_VIRTUAL_NMIS | NVIRT_VMX_PIN_POSTED_INTERRUPTS)
#define PROC_OF_L1                                                                                 \
    (NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW | NVIRT_VMX_PROC_TSC_OFFSET |     \
     NVIRT_VMX_PROC_TPR_SHADOW | NVIRT_VMX_PROC_UNCONDITIONAL_IO | NVIRT_VMX_PROC_IO_BITMAPS |     \
     NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_SECONDARY)
#define PROC2_OF_L1                                                                                \
    (NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_UNRESTRICTED |                   \
     NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_XSAVES |                   \
     NVIRT_VMX_PROC2_USER_WAIT | NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC |          \
     NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS |                         \
     NVIRT_VMX_PROC2_TSC_SCALING)
#define EXIT_OF_L1                                                                                 \
    (NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT | NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER)

static uint64_t required(const struct nvirt_vmx_caps *cpu, uint64_t plain, uint64_t refined);

uint64_t nvi_vmx_l0_may_control(const struct nvirt_vmx_caps *cpu,
                                const struct nvirt_vmx_caps *offer, enum nvirt_vmcs_field field)
{
    uint64_t timer = (offer->pin >> 32) & NVIRT_VMX_PIN_PREEMPTION_TIMER;

    switch (field) {
    case NVIRT_VMCS_PIN_CONTROLS:
        return NVIRT_VMX_PIN_DEFAULT1 | required(cpu, cpu->pin, cpu->true_pin) | PIN_OF_L1 |
               (PIN_FROM_01 & ~timer);
    case NVIRT_VMCS_PROC_CONTROLS:
        return NVIRT_VMX_PROC_DEFAULT1 | required(cpu, cpu->proc, cpu->true_proc) | PROC_OF_L1 |
               PROC_FROM_01;
    case NVIRT_VMCS_PROC2_CONTROLS:
        return (cpu->proc2 & NVIRT_BITS(31, 0)) | PROC2_OF_L1 | PROC2_FROM_01;
    case NVIRT_VMCS_EXIT_CONTROLS:
        return NVIRT_VMX_EXIT_CTL_DEFAULT1 | required(cpu, cpu->exit, cpu->true_exit) |
               EXIT_OF_L1 | EXIT_ALWAYS |
               (EXIT_FROM_01 & ~(offer->exit >> 32 & NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL));
    case NVIRT_VMCS_ENTRY_CONTROLS:
        return NVIRT_VMX_ENTRY_CTL_DEFAULT1 | required(cpu, cpu->entry, cpu->true_entry) |
               ENTRY_FROM_12 | ENTRY_ALWAYS | (ENTRY_FROM_01 & ~(offer->entry >> 32));
    case NVIRT_VMCS_PROC3_CONTROLS:
    case NVIRT_VMCS_EXIT2_CONTROLS:
    case NVIRT_VMCS_VMFUNC_CONTROLS:
    /* Whose an exit of XSAVES is could not be told without IA32_XSS, were there two bitmaps. */
    case NVIRT_VMCS_XSS_EXIT_BITMAP:
        return 0;
    default:
        return ~UINT64_C(0);
    }
}

/* Bits a control word must have whatever anybody wants: low half of the capability MSR. The TRUE
 * MSR, where there is one, leaves more to choose. */
static uint64_t required(const struct nvirt_vmx_caps *cpu, uint64_t plain, uint64_t refined)
{
    uint64_t msr = (cpu->basic & NVIRT_VMX_BASIC_TRUE) != 0 ? refined : plain;

    return msr & NVIRT_BITS(31, 0);
}

bool nvi_vmx_l0_wants_no_port(const struct nvirt_vmcs *vmcs01)
{
    return (vmcs01->proc_controls &
            (NVIRT_VMX_PROC_UNCONDITIONAL_IO | NVIRT_VMX_PROC_IO_BITMAPS)) == 0;
}

static void merge_pin(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    uint64_t pin12 = in->vmcs12->pin_controls & PIN_FROM_12;
    uint64_t pin01 = in->vmcs01->pin_controls & PIN_FROM_01;

    if ((pin12 & NVIRT_VMX_PIN_NMI) == 0) {
        pin12 &= ~NVIRT_VMX_PIN_VIRTUAL_NMIS;
    }
    /* Where L0 takes the NMIs, L2's blocking is virtual for its sake, whatever L1 makes of it. */
    pin01 |= in->vmcs01->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS;
    out->pin_controls = required(in->cpu, in->cpu->pin, in->cpu->true_pin) | pin12 | pin01;
    if (in->posted_descriptor != 0) {
        out->pin_controls |= NVIRT_VMX_PIN_POSTED_INTERRUPTS;
        out->posted_descriptor = in->posted_descriptor;
        out->posted_vector = in->vmcs12->posted_vector;
    }
}

bool nvi_vmx_hardware_may_post(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmcs *vmcs12,
                               const struct nvirt_vmcs *vmcs01)
{
    return (vmcs12->pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS) != 0 &&
           (cpu->pin >> 32 & NVIRT_VMX_PIN_POSTED_INTERRUPTS) != 0 &&
           (vmcs01->pin_controls & NVIRT_VMX_PIN_EXT_INT) == 0;
}

static void merge_io(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    uint64_t proc12 = in->vmcs12->proc_controls;
    uint64_t proc01 = in->vmcs01->proc_controls;

    if (in->io_bitmaps_to_hardware) {
        out->proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS;
        out->io_bitmap_a = in->io_bitmap_a;
        out->io_bitmap_b = in->io_bitmap_b;
    } else if ((proc12 & (NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_UNCONDITIONAL_IO)) != 0) {
        /* Both levels look at ports: let every access exit and decide in software. */
        out->proc_controls |= NVIRT_VMX_PROC_UNCONDITIONAL_IO;
    } else {
        out->proc_controls |=
            proc01 & (NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_UNCONDITIONAL_IO);
        out->io_bitmap_a = in->vmcs01->io_bitmap_a;
        out->io_bitmap_b = in->vmcs01->io_bitmap_b;
    }
}

/* With a TPR shadow CR8 of L2 is a byte of L1's, and no business of L0's. Without, it is the TPR of
 * L1, which L0 may keep in memory or want to see changed. */
static void merge_cr8(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const uint64_t cr8 = NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE;

    if ((in->vmcs12->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
        out->proc_controls &= ~cr8 | in->vmcs12->proc_controls;
        out->proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
        out->virtual_apic_addr = in->virtual_apic;
        out->tpr_threshold = in->vmcs12->tpr_threshold;
    } else if ((in->vmcs01->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
        out->proc_controls |= cr8;
    }
}

static void merge_proc(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;

    out->proc_controls = required(in->cpu, in->cpu->proc, in->cpu->true_proc) |
                         (vmcs12->proc_controls & PROC_FROM_12) |
                         (vmcs01->proc_controls & PROC_FROM_01) | NVIRT_VMX_PROC_SECONDARY;
    /* The capability MSR demands CR3 exiting of a CPU without EPT only; the merge must not lose L0's. */
    merge_cr8(in, out);
    merge_io(in, out);
    if (in->msr_bitmap_to_hardware) {
        out->proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
        out->msr_bitmap = in->msr_bitmap;
    }
}

/* Secondary controls of a VMCS, 0 while they are not activated. */
static uint64_t secondary(const struct nvirt_vmcs *vmcs)
{
    return (vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs->proc2_controls : 0;
}

/* L1 scales and offsets the counter that L0 shows it. */
static void merge_tsc(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvi_tsc_view view01 = nvi_tsc_view_of(in->vmcs01);
    const struct nvi_tsc_view view12 = nvi_tsc_view_of(in->vmcs12);
    struct nvi_tsc_view view02;

    out->tsc_offset = 0;
    if (((in->vmcs01->proc_controls | in->vmcs12->proc_controls) & NVIRT_VMX_PROC_TSC_OFFSET) ==
        0) {
        return;
    }
    view02 = nvi_tsc_compose(&view01, &view12);
    out->proc_controls |= NVIRT_VMX_PROC_TSC_OFFSET;
    out->tsc_offset = view02.offset;
    if (view02.multiplier != NVI_TSC_ONE) {
        out->proc2_controls |= NVIRT_VMX_PROC2_TSC_SCALING;
        out->tsc_multiplier = view02.multiplier;
    }
}

/* Leaves of ENCLS, ENCLV and PCONFIG that either level wants. */
static uint64_t leaves(const struct nvi_vmx_merge_in *in, uint64_t control,
                       enum nvirt_vmcs_field bitmap)
{
    uint64_t of12 = (secondary(in->vmcs12) & control) != 0 ? in->vmcs12->field[bitmap] : 0;
    uint64_t of01 = (secondary(in->vmcs01) & control) != 0 ? in->vmcs01->field[bitmap] : 0;

    return of12 | of01;
}

/*
 * What the secondary controls take their values from; without the control nobody looks. The CPU finds
 * loops for one level: L1's where L1 asks for it, because L0 wants a hint that it may miss, and has
 * the CPU back at L1's exit as well.
 */
static void merge_values(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;
    const struct nvirt_vmcs *loops =
        (secondary(in->vmcs12) & NVIRT_VMX_PROC2_PAUSE_LOOP) != 0 ? in->vmcs12 : vmcs01;

    out->ple_gap = loops->ple_gap;
    out->ple_window = loops->ple_window;
    out->encls_exit_bitmap = leaves(in, NVIRT_VMX_PROC2_ENCLS, NVIRT_VMCS_ENCLS_EXIT_BITMAP);
    out->enclv_exit_bitmap = leaves(in, NVIRT_VMX_PROC2_ENCLV, NVIRT_VMCS_ENCLV_EXIT_BITMAP);
    out->pconfig_exit_bitmap = leaves(in, NVIRT_VMX_PROC2_PCONFIG, NVIRT_VMCS_PCONFIG_EXIT_BITMAP);
    out->xss_exit_bitmap = in->vmcs12->xss_exit_bitmap;
    out->low_pasid_directory = vmcs01->low_pasid_directory;
    out->high_pasid_directory = vmcs01->high_pasid_directory;
    out->instruction_timeout = vmcs01->instruction_timeout;
}

static void merge_proc2(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    out->proc2_controls = (in->cpu->proc2 & NVIRT_BITS(31, 0)) |
                          (secondary(in->vmcs12) & PROC2_FROM_12) |
                          (secondary(in->vmcs01) & PROC2_FROM_01) | NVIRT_VMX_PROC2_EPT;
    out->eptp = in->eptp02;
    if ((out->proc2_controls & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0) {
        out->spp_table = in->sppt02;
    }
    if (in->vpid02 != 0) {
        out->proc2_controls |= NVIRT_VMX_PROC2_VPID;
        out->vpid = in->vpid02;
    }
    if ((out->proc2_controls & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0) {
        out->apic_access_addr = in->apic_access;
    }
    if ((out->proc2_controls & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0) {
        out->eoi_exit0 = in->vmcs12->eoi_exit0;
        out->eoi_exit1 = in->vmcs12->eoi_exit1;
        out->eoi_exit2 = in->vmcs12->eoi_exit2;
        out->eoi_exit3 = in->vmcs12->eoi_exit3;
    }
    merge_tsc(in, out);
    merge_values(in, out);
}

/* [SDM 3C "Exception Bitmap"]: a page fault exits if bit 14 is set and the error code matches, or
 * bit 14 is clear and it does not. */
static bool wants_no_page_fault(const struct nvirt_vmcs *vmcs)
{
    return (vmcs->exception_bitmap & NVIRT_BIT(NVIRT_VECTOR_PF)) == 0 &&
           (vmcs->pf_error_mask & vmcs->pf_error_match) == vmcs->pf_error_match &&
           vmcs->pf_error_mask == 0;
}

static void merge_exceptions(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    out->exception_bitmap = in->vmcs12->exception_bitmap | in->vmcs01->exception_bitmap;
    if (wants_no_page_fault(in->vmcs01)) {
        out->pf_error_mask = in->vmcs12->pf_error_mask;
        out->pf_error_match = in->vmcs12->pf_error_match;
    } else {
        out->exception_bitmap |= NVIRT_BIT(NVIRT_VECTOR_PF);
        out->pf_error_mask = 0;
        out->pf_error_match = 0;
    }
}

/* A bit that only L0 owns reads as L1 set it in the register; CD and NW, which an entry does not
 * load, as L1 sees them in its own. */
static void merge_cr_shadows(const struct nvirt_vmcs *vmcs12, const struct nvirt_vmcs *vmcs01,
                             struct nvirt_vmcs *out)
{
    out->cr0_shadow = (vmcs12->cr0_shadow & vmcs12->cr0_mask) |
                      (nvi_vmx_cr0_before_l2(vmcs12, vmcs01) & ~vmcs12->cr0_mask);
    out->cr4_shadow =
        (vmcs12->cr4_shadow & vmcs12->cr4_mask) | (vmcs12->guest_cr4 & ~vmcs12->cr4_mask);
}

/*
 * CR0 and CR4 of L2. What L0 owns for the sake of VMX operation alone (the fixed bits, VMXE) needs no
 * intercept while L2 runs: non-root operation refuses to change those bits by itself, with the #GP
 * the architecture asks for.
 */
static void merge_cr(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;
    uint64_t cr0_l0 = vmcs01->cr0_mask & ~in->cpu->cr0_fixed0;
    uint64_t cr4_l0 = vmcs01->cr4_mask & ~(in->cpu->cr4_fixed0 | NVIRT_CR4_VMXE);

    out->cr0_mask = vmcs12->cr0_mask | cr0_l0;
    out->cr4_mask = vmcs12->cr4_mask | cr4_l0;
    merge_cr_shadows(vmcs12, vmcs01, out);
    /* A target lets MOV to CR3 pass: not where L0 wants to see them all. L1's targets are then
     * looked at when the exit is. */
    out->cr3_target_count = (vmcs01->proc_controls & NVIRT_VMX_PROC_CR3_LOAD) != 0
                                ? 0
                                : vmcs12->cr3_target_count;
    out->cr3_target0 = vmcs12->cr3_target0;
    out->cr3_target1 = vmcs12->cr3_target1;
    out->cr3_target2 = vmcs12->cr3_target2;
    out->cr3_target3 = vmcs12->cr3_target3;
}

static void merge_exit_entry(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;
    uint64_t acknowledge = (vmcs01->pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0
                               ? vmcs01->exit_controls
                               : vmcs12->exit_controls;

    out->exit_controls = required(in->cpu, in->cpu->exit, in->cpu->true_exit) |
                         (vmcs01->exit_controls & EXIT_WITH_CET) |
                         (acknowledge & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) | EXIT_ALWAYS;
    /* An exit that L0 keeps to itself must not wind L2's timer up again, so what is left of it is
     * saved whether or not L1 wants to see that. */
    if ((vmcs01->pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0) {
        out->exit_controls |= vmcs01->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    } else if ((out->pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0) {
        out->exit_controls |= (in->cpu->exit >> 32) & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    }
    out->entry_controls = required(in->cpu, in->cpu->entry, in->cpu->true_entry) |
                          (vmcs12->entry_controls & ENTRY_FROM_12) |
                          (vmcs01->entry_controls & ENTRY_WITH_CET) | ENTRY_ALWAYS;
    /* MSRs that hardware switches are L0's own; L1's lists are carried out in software. */
    out->exit_msr_store_addr = vmcs01->exit_msr_store_addr;
    out->exit_msr_store_count = vmcs01->exit_msr_store_count;
    out->exit_msr_load_addr = vmcs01->exit_msr_load_addr;
    out->exit_msr_load_count = vmcs01->exit_msr_load_count;
    out->entry_msr_load_addr = vmcs01->entry_msr_load_addr;
    out->entry_msr_load_count = vmcs01->entry_msr_load_count;
}

/* Unrolled from the table. */
static void copy_host_state(const struct nvirt_vmcs *from, struct nvirt_vmcs *to)
{
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (NVIRT_VMCS_KIND_##kind == NVIRT_VMCS_KIND_HOST) {                                          \
        to->member = from->member;                                                                 \
    }
#include <nvirt/vmcs_fields.def>
}

static void copy_guest_state(const struct nvirt_vmcs *from, struct nvirt_vmcs *to)
{
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (NVIRT_VMCS_KIND_##kind == NVIRT_VMCS_KIND_GUEST &&                                         \
        nvi_vmx_is_l2_state(NVIRT_VMCS_##NAME, NVIRT_VMCS_GATE_##gate)) {                          \
        to->member = from->member;                                                                 \
    }
#include <nvirt/vmcs_fields.def>
}

/* EFER that L2 starts with: vmcs12's, or else L1's with LMA and LME as the entry sets them
 * [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"]. */
static uint64_t entry_efer(const struct nvirt_vmcs *vmcs12, const struct nvirt_vmcs *vmcs01)
{
    uint64_t efer = vmcs01->guest_efer & ~NVIRT_EFER_LMA;

    if ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_EFER) != 0) {
        return vmcs12->guest_efer;
    }
    if ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_IA32E) != 0) {
        return efer | NVIRT_EFER_LMA | NVIRT_EFER_LME;
    }
    /* Without IA-32e mode LMA is cleared; LME follows it if paging is on. */
    return (vmcs12->guest_cr0 & NVIRT_CR0_PG) != 0 ? efer & ~NVIRT_EFER_LME : efer;
}

/* The bits that the host keeps for itself have the host's value at both levels. */
static void merge_cr_state(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;
    uint64_t cr0_l0 = vmcs01->cr0_mask & ~in->cpu->cr0_fixed0;
    uint64_t cr4_l0 = vmcs01->cr4_mask & ~(in->cpu->cr4_fixed0 | NVIRT_CR4_VMXE);

    out->guest_cr0 = (nvi_vmx_cr0_before_l2(vmcs12, vmcs01) & ~cr0_l0) |
                     (vmcs01->guest_cr0 & cr0_l0);
    out->guest_cr4 = (vmcs12->guest_cr4 & ~cr4_l0) | (vmcs01->guest_cr4 & cr4_l0);
    out->guest_efer = entry_efer(vmcs12, vmcs01);
}

static void merge_event(const struct nvirt_vmcs *vmcs12, struct nvirt_vmcs *out)
{
    out->entry_interruption = vmcs12->entry_interruption;
    out->entry_error_code = vmcs12->entry_error_code;
    out->entry_insn_length = vmcs12->entry_insn_length;
    if (nvi_vmx_holds_nmis(vmcs12) && nvi_vmx_injects_nmi(vmcs12)) {
        /* Its delivery blocks NMIs in any case; with "virtual NMIs" none may be blocked before. */
        out->guest_interruptibility &= ~(uint64_t)NVIRT_VMX_BLOCK_NMI;
    }
}

void nvi_vmx_merge_flow(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;

    vmcs02->guest_rip = vmcs12->guest_rip;
    vmcs02->guest_rsp = vmcs12->guest_rsp;
    vmcs02->guest_rflags = vmcs12->guest_rflags;
    vmcs02->guest_interruptibility = vmcs12->guest_interruptibility;
    vmcs02->guest_activity = vmcs12->guest_activity;
    vmcs02->guest_pending_debug = vmcs12->guest_pending_debug;
    merge_cr_state(in, vmcs02);
    merge_cr_shadows(vmcs12, in->vmcs01, vmcs02);
    merge_event(vmcs12, vmcs02);
}

static void merge_cet(const struct nvirt_vmcs *vmcs12, const struct nvirt_vmcs *vmcs01,
                      struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *from =
        (vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_CET) != 0 ? vmcs12 : vmcs01;

#define X(NAME, member, host) out->member = from->member;
    NVI_CET_FIELDS(X)
#undef X
}

static void merge_guest(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *out)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    const struct nvirt_vmcs *vmcs01 = in->vmcs01;

    copy_guest_state(vmcs12, out);
    out->vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
    /* What belongs to controls of L0's: its timer, its way of counting. */
    if ((vmcs01->pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0) {
        out->guest_preemption_timer = vmcs01->guest_preemption_timer;
    }
    if ((vmcs01->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL) != 0) {
        out->guest_perf_global = vmcs01->guest_perf_global;
    }
    merge_cr_state(in, out);
    if ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_PAT) == 0) {
        out->guest_pat = vmcs01->guest_pat;
    }
    if ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG) == 0) {
        out->guest_dr7 = vmcs01->guest_dr7;
        out->guest_debugctl = vmcs01->guest_debugctl;
    }
    if (nvi_vmx_has_cet(vmcs01)) {
        merge_cet(vmcs12, vmcs01, out);
    }
    if (in->pdptes_loaded) {
        out->guest_pdpte0 = in->pdpte[0];
        out->guest_pdpte1 = in->pdpte[1];
        out->guest_pdpte2 = in->pdpte[2];
        out->guest_pdpte3 = in->pdpte[3];
    }
    merge_event(vmcs12, out);
}

void nvi_vmx_merge_controls(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02)
{
    merge_pin(in, vmcs02);
    merge_proc(in, vmcs02);
    merge_proc2(in, vmcs02);
    merge_exceptions(in, vmcs02);
    merge_cr(in, vmcs02);
    merge_exit_entry(in, vmcs02);
    copy_host_state(in->vmcs01, vmcs02);
}

void nvi_vmx_merge(const struct nvi_vmx_merge_in *in, struct nvirt_vmcs *vmcs02)
{
    __builtin_memset(vmcs02, 0, sizeof *vmcs02);
    nvi_vmx_merge_controls(in, vmcs02);
    merge_guest(in, vmcs02);
}
