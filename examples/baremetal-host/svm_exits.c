/* SPDX-License-Identifier: MIT */
/*
 * Exits that are the host's own on SVM: CPUID, MSRs, INVD, first touches of memory, hypercalls,
 * and the ways L1 can end.
 */
#include "cpuid.h"
#include "hypercall.h"
#include "hyperv.h"
#include "power.h"
#include "rt.h"
#include "svm.h"
#include "svm_cpu.h"

#include <nvirt/x86.h>

#define VECTOR_DB 1u
#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define RFLAGS_TF (UINT64_C(1) << 8)
#define RFLAGS_RF (UINT64_C(1) << 16)
#define BIT(n) (UINT32_C(1) << (n))
#define IOIO_IN 1u
#define IOIO_STRING (1u << 2)
#define DR6_BS (UINT64_C(1) << 14)

/* An exception for the level that exited; when L1 intercepts it in L2, nvirt makes it L1's exit. */
static void inject(uint8_t vector, bool has_error)
{
    const struct nvirt_event event = {
        .type = NVIRT_EVENT_EXCEPTION, .vector = vector, .has_error_code = has_error};

    svm_must(nvirt_svm_inject(svm.vcpu, &svm.cpu, &event), "injection of an exception");
}

/* What the end of each instruction does: interrupt shadow and resume flag go, single-step trap. */
static void finish_instruction(struct nvirt_vmcb *vmcb)
{
    nvirt_vmcb_set_int_state(vmcb, vmcb->int_state & ~NVIRT_SVM_INTERRUPT_SHADOW);
    nvirt_vmcb_set_rflags(vmcb, vmcb->rflags & ~RFLAGS_RF);
    if ((vmcb->rflags & RFLAGS_TF) != 0) {
        nvirt_vmcb_set_dr6(vmcb, vmcb->dr6 | DR6_BS);
        inject(VECTOR_DB, false);
    }
}

/* Goes on behind the intercepted instruction. */
static void skip(const struct svm_exit *exit)
{
    struct nvirt_vmcb *vmcb = exit->vmcb;
    bool is_64bit = (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0 &&
                    (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0;
    uint32_t length;

    if (svm.has_nrips) {
        nvirt_vmcb_set_rip(vmcb, vmcb->next_rip);
    } else if (nvirt_svm_insn_length(svm.vcpu, exit->nvirt.code, &length) == NVIRT_OK) {
        nvirt_vmcb_set_rip(vmcb, (vmcb->rip + length) & (is_64bit ? ~UINT64_C(0) : 0xffffffffu));
    } else {
        /* The bytes were changed behind the CPU's back: what is there now is not known. */
        inject(VECTOR_UD, false);
        return;
    }
    finish_instruction(vmcb);
}

/* Features whose state VMRUN would carry for L2 and nvirt does not, and instructions that act past
 * L1's own tags. [APM 3 "CPUID"] */
static void hide_features(uint32_t leaf, uint32_t subleaf, struct rt_cpuid *r)
{
    if (leaf == 7 && subleaf == 0 && (svm.offer.cr4_valid & NVIRT_CR4_CET) == 0) {
        r->ecx &= ~BIT(7);  /* shadow stacks */
        r->edx &= ~BIT(20); /* branch tracking */
    } else if (leaf == 0xd && subleaf == 1 && (svm.offer.cr4_valid & NVIRT_CR4_CET) == 0) {
        r->ecx &= ~(BIT(11) | BIT(12)); /* their state in XSS */
    } else if (leaf == 0x80000001u) {
        r->ecx &= ~BIT(12); /* SKINIT */
    } else if (leaf == 0x80000008u) {
        r->ebx &= ~(BIT(3) | BIT(21)); /* INVLPGB and TLBSYNC, and their nested form */
        r->edx &= 0xffff0000u;
    } else if (leaf == 0x8000001fu) {
        *r = (struct rt_cpuid){0, 0, 0, 0}; /* encrypted memory */
    }
}

/* L1 finds what nvirt has for it; an L2 whose CPUID L1 lets pass finds the same. */
static void show_hyperv(uint32_t leaf, struct rt_cpuid *r)
{
    struct nvirt_hv_cpuid seen = {r->eax, r->ebx, r->ecx, r->edx};

    hyperv_cpuid(leaf, &seen);
    *r = (struct rt_cpuid){seen.eax, seen.ebx, seen.ecx, seen.edx};
}

static void handle_cpuid(const struct svm_exit *exit)
{
    struct nvirt_vmcb *vmcb = exit->vmcb;
    uint32_t leaf = (uint32_t)vmcb->rax;
    struct rt_cpuid r = cpuid_for_guest(leaf, (uint32_t)svm.gprs.r[NVIRT_RCX], vmcb->cr4);

    hide_features(leaf, (uint32_t)svm.gprs.r[NVIRT_RCX], &r);
    if (leaf == 0x8000000au)
        r = (struct rt_cpuid){svm.offer.revision, svm.offer.asid_count, 0, svm.offer.features};
    show_hyperv(leaf, &r);
    nvirt_vmcb_set_rax(vmcb, r.eax);
    svm.gprs.r[NVIRT_RBX] = r.ebx;
    svm.gprs.r[NVIRT_RCX] = r.ecx;
    svm.gprs.r[NVIRT_RDX] = r.edx;
    skip(exit);
}

/* --- MSRs ---------------------------------------------------------------------------------------- */

/* Two bits per MSR, read and write, in three ranges [APM 2 "MSR Intercepts"]. */
static void msrpm_set(uint8_t *msrpm, uint32_t msr, uint32_t bits)
{
    static const uint32_t ranges[] = {0, 0xc0000000u, 0xc0010000u};

    for (uint32_t i = 0; i < 3; i++) {
        uint32_t offset = msr - ranges[i];

        if (offset < 0x2000)
            msrpm[i * 2048 + offset / 4] |= (uint8_t)(bits << (offset % 4 * 2));
    }
}

void svm_msrpm_fill(uint8_t *msrpm)
{
    static const uint32_t held[] = {NVIRT_SVM_MSR_IGNNE, NVIRT_SVM_MSR_SMM_CTL};

    nvirt_svm_msrpm_require(msrpm);
    for (unsigned i = 0; i < sizeof(held) / sizeof(held[0]); i++)
        msrpm_set(msrpm, held[i], 3);
    /* MTRR writes go to the CPU, but the host's copy must follow. */
    for (uint32_t msr = 0x200; msr < 0x300; msr++) {
        if (bm_mtrrs_slot(&host.memory.mtrrs, msr) != NULL)
            msrpm_set(msrpm, msr, 2);
    }
}

bool svm_write_msr(uint32_t msr, uint64_t value)
{
    uint64_t *slot = bm_mtrrs_slot(&host.memory.mtrrs, msr);

    if (slot == NULL || !rt_wrmsr_safe(msr, value))
        return false;
    bm_port_memory_changed(&svm.port);
    /* The CPU may drop bits: keep what it kept. */
    return rt_rdmsr_safe(msr, slot);
}

bool svm_read_msr(uint32_t msr, uint64_t *value)
{
    const uint64_t *slot = bm_mtrrs_slot(&host.memory.mtrrs, msr);

    if (slot == NULL)
        return false;
    *value = *slot;
    return true;
}

static void handle_msr(const struct svm_exit *exit)
{
    uint32_t msr = (uint32_t)svm.gprs.r[NVIRT_RCX];
    uint64_t value = (exit->vmcb->rax & 0xffffffffu) | (svm.gprs.r[NVIRT_RDX] << 32);
    bool write = exit->nvirt.info1 == 1;
    bool ok;

    if (!hyperv_msr(msr, write, &value, &ok))
        ok = write ? svm_write_msr(msr, value) : svm_read_msr(msr, &value);
    log_trace("L%u: %s of MSR 0x%x%s", exit->nvirt.level, write ? "write" : "read", msr,
              ok ? "" : ": #GP");
    if (!ok) {
        inject(VECTOR_GP, true);
        return;
    }
    if (!write) {
        nvirt_vmcb_set_rax(exit->vmcb, value & 0xffffffffu);
        svm.gprs.r[NVIRT_RDX] = value >> 32;
    }
    skip(exit);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static bool hyperv_vmmcall(struct nvirt_vmcb *vmcb)
{
    const struct nvirt_hv_caller caller = {
        .cpl = vmcb->cpl,
        .protected_mode = (vmcb->cr0 & NVIRT_CR0_PE) != 0 && (vmcb->rflags & NVIRT_RFLAGS_VM) == 0,
        .is_64bit = (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0 &&
                    (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0};

    svm.gprs.r[NVIRT_RAX] = vmcb->rax;
    if (!hyperv_call(&caller, &svm.gprs))
        return false;
    nvirt_vmcb_set_rax(vmcb, svm.gprs.r[NVIRT_RAX]);
    return true;
}

static void handle_vmmcall(const struct svm_exit *exit)
{
    struct nvirt_vmcb *vmcb = exit->vmcb;

    if (exit->nvirt.level == 1 && vmcb->rax != HYPERCALL_MAGIC && hyperv_vmmcall(vmcb)) {
        skip(exit);
        return;
    }

    if (exit->nvirt.level != 1 || vmcb->rax != HYPERCALL_MAGIC || vmcb->cpl != 0) {
        inject(VECTOR_UD, false);
        return;
    }
    nvirt_vmcb_set_rax(vmcb, hypercall(&svm.gprs));
    skip(exit);
}

/* An NMI while L1's GIF is 0: the host takes it off the CPU and nvirt keeps it for L1. */
static void handle_nmi(void)
{
    static const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};

    svm.nmi_taken = false;
    bm_svm_take_nmi(svm.host_state);
    if (svm.nmi_taken)
        svm_must(nvirt_svm_inject(svm.vcpu, &svm.cpu, &nmi), "injection of an NMI");
}

static void reset_l1(void)
{
    log_info("INIT: L1's processor is reset");
    svm_must(nvirt_svm_reset(svm.vcpu), "reset");
    svm_set_init_state(svm_vmcb01());
}

/* Taken off the CPU in any case; L1 meets it when its GIF is set. */
static void handle_init(void)
{
    bm_svm_take_nmi(svm.host_state);
    svm.init_held = true;
    svm_take_held_init();
}

void svm_take_held_init(void)
{
    if (svm.init_held && nvirt_svm_gif(svm.vcpu)) {
        svm.init_held = false;
        reset_l1();
    }
}

static void handle_cr8(const struct svm_exit *exit)
{
    bool legal;

    if (!svm_move_cr8(exit->vmcb, &legal))
        inject(VECTOR_UD, false);
    else if (!legal)
        inject(VECTOR_GP, true);
    else
        skip(exit);
}

/*
 * An access to one of the watched ports. EXITINFO1 says what kind, EXITINFO2 is the next RIP
 * [APM 2 "IOIO Intercept"]. String forms are let through by giving the watch up.
 */
static void handle_io(const struct svm_exit *exit)
{
    struct nvirt_vmcb *vmcb = exit->vmcb;
    uint32_t info = (uint32_t)exit->nvirt.info1;
    uint32_t bytes = (info >> 4) & 7u;
    uint32_t mask = bytes == 4 ? 0xffffffffu : (1u << (bytes * 8)) - 1;
    uint16_t port = (uint16_t)(info >> 16);

    if ((info & IOIO_STRING) != 0 || bytes == 0) {
        nvirt_vmcb_intercept(svm_vmcb01(), NVIRT_SVM_EXIT_IOIO, false);
        svm_must(nvirt_svm_vmcb01_changed(svm.vcpu), "change of intercepts");
        return;
    }
    if ((info & IOIO_IN) != 0) {
        uint32_t value = power_in(port, bytes);

        nvirt_vmcb_set_rax(
            vmcb, bytes == 4 ? value : (vmcb->rax & ~(uint64_t)mask) | (value & mask));
    } else {
        power_out(port, bytes, (uint32_t)vmcb->rax & mask);
    }
    nvirt_vmcb_set_rip(vmcb, exit->nvirt.info2);
    finish_instruction(vmcb);
}

static void handle_npf(const struct svm_exit *exit)
{
    uint64_t address = exit->nvirt.level == 2 ? exit->nvirt.l1gpa.value : exit->nvirt.info2;
    struct bm_block block;

    if (!bm_translate(&host.memory, address, &block))
        report_stop("L%u touched 0x%lx, which is %s", exit->nvirt.level, address,
                    address < host.memory.limit ? "the host's own memory"
                                                : "beyond the CPU's physical addresses");
    if (!bm_stage2_map(&svm.stage2, address))
        report_stop("no page left for L1's nested page tables: give pool=MIB more");
    log_trace("NPT01: 0x%lx mapped", address);
}

void svm_handle_exit(const struct svm_exit *exit)
{
    if (exit->nvirt.verdict == NVIRT_VERDICT_L1_SHUTDOWN)
        report_stop("L1 met a shutdown");
    switch (exit->nvirt.code) {
    case NVIRT_SVM_EXIT_CPUID:
        handle_cpuid(exit);
        break;
    case NVIRT_SVM_EXIT_MSR:
        handle_msr(exit);
        break;
    case NVIRT_SVM_EXIT_VMMCALL:
        handle_vmmcall(exit);
        break;
    case NVIRT_SVM_EXIT_IOIO:
        handle_io(exit);
        break;
    case NVIRT_SVM_EXIT_NPF:
        handle_npf(exit);
        break;
    case NVIRT_SVM_EXIT_CR8_READ:
    case NVIRT_SVM_EXIT_CR8_WRITE:
        handle_cr8(exit);
        break;
    case NVIRT_SVM_EXIT_NMI:
        handle_nmi();
        break;
    case NVIRT_SVM_EXIT_INVD:
        /* INVD would throw away the host's cached writes too. */
        __asm__ volatile("wbinvd" : : : "memory");
        skip(exit);
        break;
    case NVIRT_SVM_EXIT_INIT:
        handle_init();
        break;
    case NVIRT_SVM_EXIT_SHUTDOWN:
        report_stop("L%u met a shutdown (triple fault)", exit->nvirt.level);
    default:
        report_stop("unhandled exit 0x%lx of L%u", exit->nvirt.code, exit->nvirt.level);
    }
}
