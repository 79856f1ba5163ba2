/* SPDX-License-Identifier: MIT */
/*
 * Exits that are the host's own on SVM: CPUID, MSRs, INVD, first touches of memory, hypercalls,
 * and the ways L1 can end.
 */
#include "cpuid.h"
#include "hypercall.h"
#include "power.h"
#include "rt.h"
#include "svm.h"
#include "svm_cpu.h"

#define VECTOR_DB 1u
#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define RFLAGS_TF (UINT64_C(1) << 8)
#define IOIO_IN 1u
#define IOIO_STRING (1u << 2)
#define DR6_BS (UINT64_C(1) << 14)

static void inject(struct nvirt_vmcb *vmcb, uint32_t vector, bool has_error)
{
    vmcb->event_inj = vector | ((uint64_t)NVIRT_SVM_EVENT_EXCEPTION << NVIRT_SVM_EVENT_TYPE_SHIFT) |
                      (has_error ? NVIRT_SVM_EVENT_EV : 0) | NVIRT_SVM_EVENT_VALID;
}

/* What the end of each instruction does: no more interrupt shadow, single-step trap. */
static void finish_instruction(struct nvirt_vmcb *vmcb)
{
    vmcb->int_state &= ~NVIRT_SVM_INTERRUPT_SHADOW;
    if ((vmcb->rflags & RFLAGS_TF) != 0) {
        nvirt_vmcb_set_dr6(vmcb, vmcb->dr6 | DR6_BS);
        inject(vmcb, VECTOR_DB, false);
    }
}

/* Ends the emulated instruction as the CPU would. */
static void skip(struct nvirt_vmcb *vmcb)
{
    uint64_t mask = (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0 ? ~UINT64_C(0) : UINT64_C(0xffffffff);

    if (svm.has_nrips) {
        vmcb->rip = vmcb->next_rip;
    } else {
        uint32_t length = svm_insn_length(vmcb);

        if (length == 0) {
            inject(vmcb, VECTOR_UD, false);
            return;
        }
        vmcb->rip = (vmcb->rip + length) & mask;
    }
    finish_instruction(vmcb);
}

static void handle_cpuid(struct nvirt_vmcb *vmcb)
{
    uint32_t leaf = (uint32_t)vmcb->rax;
    struct rt_cpuid r = cpuid_for_guest(leaf, (uint32_t)svm.gprs.r[NVIRT_RCX], vmcb->cr4);

    if (leaf == 0x80000001u)
        r.ecx &= ~(1u << 2);
    if (leaf == 0x8000000au)
        memset(&r, 0, sizeof(r));
    vmcb->rax = r.eax;
    svm.gprs.r[NVIRT_RBX] = r.ebx;
    svm.gprs.r[NVIRT_RCX] = r.ecx;
    svm.gprs.r[NVIRT_RDX] = r.edx;
    skip(vmcb);
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
    static const uint32_t held[] = {NVIRT_SVM_MSR_EFER,    NVIRT_SVM_MSR_VM_CR,
                                    NVIRT_SVM_MSR_IGNNE,   NVIRT_SVM_MSR_SMM_CTL,
                                    NVIRT_SVM_MSR_HSAVE_PA, NVIRT_SVM_MSR_KEY};

    for (unsigned i = 0; i < sizeof(held) / sizeof(held[0]); i++)
        msrpm_set(msrpm, held[i], 3);
    /* MTRR writes go to the CPU, but the host's copy must follow. */
    for (uint32_t msr = 0x200; msr < 0x300; msr++) {
        if (bm_mtrrs_slot(&host.memory.mtrrs, msr) != NULL)
            msrpm_set(msrpm, msr, 2);
    }
}

static uint64_t efer_allowed(void)
{
    struct rt_cpuid r = rt_cpuid(0x80000001u, 0);
    uint64_t bits = NVIRT_SVM_EFER_SCE | NVIRT_SVM_EFER_LMA;

    bits |= (r.edx & (1u << 29)) != 0 ? NVIRT_SVM_EFER_LME : 0;
    bits |= (r.edx & (1u << 20)) != 0 ? NVIRT_SVM_EFER_NXE : 0;
    bits |= (r.edx & (1u << 25)) != 0 ? NVIRT_SVM_EFER_FFXSR : 0;
    bits |= (r.ecx & (1u << 17)) != 0 ? NVIRT_SVM_EFER_TCE : 0;
    return bits;
}

static bool write_efer(struct nvirt_vmcb *vmcb, uint64_t value)
{
    uint64_t changed = vmcb->efer ^ value;

    if ((value & ~efer_allowed()) != 0)
        return false;
    if ((changed & NVIRT_SVM_EFER_LME) != 0 && (vmcb->cr0 >> 31) != 0)
        return false;
    value = (value & ~NVIRT_SVM_EFER_LMA) | (vmcb->efer & NVIRT_SVM_EFER_LMA);
    nvirt_vmcb_set_efer(vmcb, value | NVIRT_SVM_EFER_SVME);
    return true;
}

static bool write_msr(struct nvirt_vmcb *vmcb, uint32_t msr, uint64_t value)
{
    uint64_t *slot = bm_mtrrs_slot(&host.memory.mtrrs, msr);

    if (msr == NVIRT_SVM_MSR_EFER)
        return write_efer(vmcb, value);
    if (slot != NULL) {
        if (!rt_wrmsr_safe(msr, value))
            return false;
        /* The CPU may drop bits: keep what it kept. */
        return rt_rdmsr_safe(msr, slot);
    }
    return false;
}

static bool read_msr(const struct nvirt_vmcb *vmcb, uint32_t msr, uint64_t *value)
{
    if (msr != NVIRT_SVM_MSR_EFER)
        return false;
    *value = vmcb->efer & ~NVIRT_SVM_EFER_SVME;
    return true;
}

static void handle_msr(struct nvirt_vmcb *vmcb)
{
    uint32_t msr = (uint32_t)svm.gprs.r[NVIRT_RCX];
    uint64_t value = (vmcb->rax & 0xffffffffu) | (svm.gprs.r[NVIRT_RDX] << 32);
    bool write = vmcb->exit_info1 == 1;
    bool ok = write ? write_msr(vmcb, msr, value) : read_msr(vmcb, msr, &value);

    log_trace("%s of MSR 0x%x%s", write ? "write" : "read", msr, ok ? "" : ": #GP");
    if (!ok) {
        inject(vmcb, VECTOR_GP, true);
        return;
    }
    if (!write) {
        vmcb->rax = value & 0xffffffffu;
        svm.gprs.r[NVIRT_RDX] = value >> 32;
    }
    skip(vmcb);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static void handle_vmmcall(struct nvirt_vmcb *vmcb)
{
    if (vmcb->rax != HYPERCALL_MAGIC || vmcb->cpl != 0) {
        inject(vmcb, VECTOR_UD, false);
        return;
    }
    vmcb->rax = hypercall(&svm.gprs);
    skip(vmcb);
}

/*
 * An access to one of the watched ports. EXITINFO1 says what kind, EXITINFO2 is the next RIP
 * [APM 2 "IOIO Intercept"]. String forms are let through by giving the watch up.
 */
static void handle_io(struct nvirt_vmcb *vmcb)
{
    uint32_t info = (uint32_t)vmcb->exit_info1;
    uint32_t bytes = (info >> 4) & 7u;
    uint32_t mask = bytes == 4 ? 0xffffffffu : (1u << (bytes * 8)) - 1;
    uint16_t port = (uint16_t)(info >> 16);

    if ((info & IOIO_STRING) != 0 || bytes == 0) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_IOIO, false);
        return;
    }
    if ((info & IOIO_IN) != 0) {
        uint32_t value = power_in(port, bytes);

        vmcb->rax = bytes == 4 ? value : (vmcb->rax & ~(uint64_t)mask) | (value & mask);
    } else {
        power_out(port, bytes, (uint32_t)vmcb->rax & mask);
    }
    vmcb->rip = vmcb->exit_info2;
    finish_instruction(vmcb);
}

static void handle_npf(struct nvirt_vmcb *vmcb)
{
    uint64_t address = vmcb->exit_info2;
    struct bm_block block;

    if (!bm_translate(&host.memory, address, &block))
        report_stop("L1 touched 0x%lx, which is %s", address,
                    address < host.memory.limit ? "the host's own memory"
                                                : "beyond the CPU's physical addresses");
    if (!bm_stage2_map(&svm.stage2, address))
        report_stop("no page left for L1's nested page tables: give pool=MIB more");
    log_trace("NPT01: 0x%lx mapped", address);
}

void svm_handle_exit(struct nvirt_vmcb *vmcb)
{
    switch (vmcb->exit_code) {
    case NVIRT_SVM_EXIT_CPUID:
        handle_cpuid(vmcb);
        break;
    case NVIRT_SVM_EXIT_MSR:
        handle_msr(vmcb);
        break;
    case NVIRT_SVM_EXIT_VMMCALL:
        handle_vmmcall(vmcb);
        break;
    case NVIRT_SVM_EXIT_IOIO:
        handle_io(vmcb);
        break;
    case NVIRT_SVM_EXIT_NPF:
        handle_npf(vmcb);
        break;
    case NVIRT_SVM_EXIT_INVD:
        /* INVD would throw away the host's cached writes too. */
        __asm__ volatile("wbinvd" : : : "memory");
        skip(vmcb);
        break;
    case NVIRT_SVM_EXIT_VMRUN:
    case NVIRT_SVM_EXIT_VMLOAD:
    case NVIRT_SVM_EXIT_VMSAVE:
    case NVIRT_SVM_EXIT_STGI:
    case NVIRT_SVM_EXIT_CLGI:
    case NVIRT_SVM_EXIT_SKINIT:
    case NVIRT_SVM_EXIT_INVLPGA:
        inject(vmcb, VECTOR_UD, false);
        break;
    case NVIRT_SVM_EXIT_INIT:
        log_info("INIT: L1's processor is reset");
        svm_set_init_state(vmcb);
        break;
    case NVIRT_SVM_EXIT_SHUTDOWN:
        report_stop("L1 met a shutdown (triple fault)");
    default:
        report_stop("unhandled exit 0x%lx of L1", vmcb->exit_code);
    }
}
