/* SPDX-License-Identifier: MIT */
/*
 * Exits that are the host's own on VMX: CPUID, XSETBV, the MTRRs that the host follows, INVD, first touches of memory, hypercalls, and the ways L1 can end.
 */
#include <nvirt/x86.h>

#include "cpuid.h"
#include "hypercall.h"
#include "hyperv.h"
#include "nvirt_hot.h"
#include "rt.h"
#include "vmx.h"

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC NVIRT_BIT(10)
#define APIC_BASE_ADDRESS UINT64_C(0x000ffffffffff000)
#define APIC_EOI 0xb0u

/* --- completing an instruction ------------------------------------------------------------------ */

static void inject(uint32_t level, uint8_t vector, bool has_error)
{
    const struct nvirt_event event = {
        .type = NVIRT_EVENT_EXCEPTION, .vector = vector, .has_error_code = has_error};

    (void)level;
    if (nvirt_vmx_inject(vmx.vcpu, vmx.cpu, &event) != NVIRT_OK)
        report_stop("exception %u could not be injected", vector);
}

/* Ends the emulated instruction as the CPU would. */
static void skip(void)
{
    if (nvirt_vmx_skip(vmx.vcpu, vmx.cpu) != NVIRT_OK)
        report_stop("an instruction could not be completed");
}

/* --- instructions ------------------------------------------------------------------------------- */

static uint64_t seen_cr4(uint32_t level)
{
    uint64_t mask = vmx_get(level, NVIRT_VMCS_CR4_MASK);

    return (vmx_get(level, NVIRT_VMCS_GUEST_CR4) & ~mask) |
           (vmx_get(level, NVIRT_VMCS_CR4_SHADOW) & mask);
}

static void handle_cpuid(uint32_t level)
{
    uint32_t leaf = (uint32_t)vmx.gprs.r[NVIRT_RAX];
    uint64_t cr4 = cpuid_needs_cr4(leaf) ? seen_cr4(level) : 0;
    struct rt_cpuid r = cpuid_for_guest(leaf, (uint32_t)vmx.gprs.r[NVIRT_RCX], cr4);

    struct nvirt_hv_cpuid seen = {r.eax, r.ebx, r.ecx, r.edx};

    hyperv_cpuid(leaf, &seen);
    vmx.gprs.r[NVIRT_RAX] = seen.eax;
    vmx.gprs.r[NVIRT_RBX] = seen.ebx;
    vmx.gprs.r[NVIRT_RCX] = seen.ecx;
    vmx.gprs.r[NVIRT_RDX] = seen.edx;
    skip();
}

static bool xsetbv_safe(uint32_t index, uint64_t value)
{
    uint32_t failed = 1;

    __asm__ volatile("1: xsetbv\n"
                     "xorl %0, %0\n"
                     "2:\n" RT_FIXUP("1b", "2b")
                     : "+r"(failed)
                     : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory", "cc");
    return failed == 0;
}

/* Always exits; the CPU has checked CR4.OSXSAVE and CPL before [SDM 3C "Instructions That Cause VM
 * Exits Unconditionally"]. XCR0 is L1's and L2's alike. */
static void handle_xsetbv(uint32_t level)
{
    uint64_t value = (vmx.gprs.r[NVIRT_RAX] & 0xffffffffu) | (vmx.gprs.r[NVIRT_RDX] << 32);

    if (xsetbv_safe((uint32_t)vmx.gprs.r[NVIRT_RCX], value))
        skip();
    else
        inject(level, NVIRT_VECTOR_GP, true);
}

static bool hyperv_vmcall(uint32_t level, uint64_t dpl)
{
    const struct nvirt_hv_caller caller = {
        .cpl = (uint8_t)dpl,
        .protected_mode = (vmx_get(level, NVIRT_VMCS_GUEST_CR0) & NVIRT_CR0_PE) != 0 &&
                          (vmx_get(level, NVIRT_VMCS_GUEST_RFLAGS) & NVIRT_RFLAGS_VM) == 0,
        .is_64bit = (vmx_get(level, NVIRT_VMCS_GUEST_EFER) & NVIRT_EFER_LMA) != 0 &&
                    (vmx_get(level, NVIRT_VMCS_GUEST_CS_AR) & NVIRT_VMX_AR_L) != 0};

    return hyperv_call(&caller, &vmx.gprs);
}

static void handle_vmcall(uint32_t level)
{
    uint64_t dpl = (vmx_get(level, NVIRT_VMCS_GUEST_SS_AR) & NVIRT_VMX_AR_DPL) >>
                   NVIRT_VMX_AR_DPL_SHIFT;

    /* VMCALL of L2 is always L1's. */
    if (vmx.gprs.r[NVIRT_RAX] != HYPERCALL_MAGIC && hyperv_vmcall(level, dpl)) {
        skip();
        return;
    }
    if (vmx.gprs.r[NVIRT_RAX] != HYPERCALL_MAGIC || dpl != 0) {
        if (nvirt_vmx_vmcall_refuse(vmx.vcpu, vmx.cpu) != NVIRT_OK)
            report_stop("a VMCALL could not be refused");
        return;
    }
    vmx.gprs.r[NVIRT_RAX] = hypercall(&vmx.gprs);
    skip();
}

/* --- MSRs --------------------------------------------------------------------------------------- */

void vmx_msr_bitmap_fill(uint8_t *bitmap)
{
    nvirt_vmx_msr_bitmap_require(bitmap);
    /* MTRR writes go to the CPU, but EPT01 carries their types, so the host must follow. */
    for (uint32_t msr = 0x200; msr < 0x300; msr++) {
        if (bm_mtrrs_slot(&host.memory.mtrrs, msr) != NULL)
            bitmap[2048 + msr / 8] |= (uint8_t)(1u << (msr % 8));
    }
}

static void follow_mtrrs(void)
{
    if (!bm_stage2_rebuild(&vmx.stage2))
        report_stop("no page left for L1's extended page tables: give pool=MIB more");
    if (nvirt_vmx_request_flush(vmx.vcpu, 1, NVIRT_TLB_REQUEST_ROOT) != NVIRT_OK)
        report_stop("a flush was refused");
    bm_port_memory_changed(&vmx.port);
}

bool vmx_l1_rdmsr(uint32_t msr, uint64_t *value)
{
    return rt_rdmsr_safe(msr, value);
}

bool vmx_l1_wrmsr(uint32_t msr, uint64_t value)
{
    uint64_t *slot = bm_mtrrs_slot(&host.memory.mtrrs, msr);

    if (!rt_wrmsr_safe(msr, value))
        return false;
    if (slot == NULL)
        return true;
    /* The CPU may drop bits: keep what it kept. */
    if (!rt_rdmsr_safe(msr, slot))
        return false;
    follow_mtrrs();
    return true;
}

static void handle_msr(uint32_t level, bool write)
{
    uint32_t msr = (uint32_t)vmx.gprs.r[NVIRT_RCX];
    uint64_t value = (vmx.gprs.r[NVIRT_RAX] & 0xffffffffu) | (vmx.gprs.r[NVIRT_RDX] << 32);
    bool ok;

    if (!hyperv_msr(msr, write, &value, &ok))
        ok = write ? vmx_l1_wrmsr(msr, value) : vmx_l1_rdmsr(msr, &value);
    log_trace("%s of MSR 0x%x by L%u%s", write ? "write" : "read", msr, level, ok ? "" : ": #GP");
    if (!ok) {
        inject(level, NVIRT_VECTOR_GP, true);
        return;
    }
    if (!write) {
        vmx.gprs.r[NVIRT_RAX] = value & 0xffffffffu;
        vmx.gprs.r[NVIRT_RDX] = value >> 32;
    }
    skip();
}

/* --- memory ------------------------------------------------------------------------------------- */

static const char *why_unmapped(uint64_t address)
{
    return address < host.memory.limit ? "the host's own memory"
                                       : "beyond the CPU's physical addresses";
}

static void handle_ept_violation(const struct nvirt_vmx_exit *exit)
{
    uint64_t address =
        exit->level == 2 ? exit->l1gpa.value : vmx_get(1, NVIRT_VMCS_GUEST_PHYSICAL);
    struct bm_block block;

    if (exit->level == 2 || !bm_translate(&host.memory, address, &block))
        report_stop("L%u touched L1's address 0x%lx, which is %s", exit->level, address,
                    why_unmapped(address));
    if (!bm_stage2_map(&vmx.stage2, address))
        report_stop("no page left for L1's extended page tables: give pool=MIB more");
    log_trace("EPT01: 0x%lx mapped", address);
}

/* --- dispatch ----------------------------------------------------------------------------------- */

static void handle_init(void)
{
    if (nvirt_vmx_reset(vmx.vcpu, vmx.cpu) != NVIRT_OK)
        report_stop("INIT: the vCPU could not be reset");
    log_info("INIT: L1's processor is reset");
    vmx_set_init_state();
}

/* Interrupts are L1's, so only one comes here: a notification of L1's posted interrupts, which nvirt has
 * processed. L1's APIC, which is the CPU's, waits for the EOI. */
static void handle_notification(void)
{
    uint64_t base = rt_rdmsr(MSR_APIC_BASE);

    if (!nvirt_vmx_notified(vmx.vcpu))
        report_stop("an external interrupt came that was not L1's");
    if ((base & APIC_BASE_X2APIC) != 0)
        rt_wrmsr(NVIRT_MSR_X2APIC_EOI, 0);
    else
        *(volatile uint32_t *)((base & APIC_BASE_ADDRESS) + APIC_EOI) = 0;
}

static void handle_host_exit(const struct nvirt_vmx_exit *exit)
{
    switch (exit->reason & 0xffffu) {
    case NVIRT_VMX_EXIT_CPUID:
        handle_cpuid(exit->level);
        break;
    case NVIRT_VMX_EXIT_XSETBV:
        handle_xsetbv(exit->level);
        break;
    case NVIRT_VMX_EXIT_RDMSR:
        handle_msr(exit->level, false);
        break;
    case NVIRT_VMX_EXIT_WRMSR:
        handle_msr(exit->level, true);
        break;
    case NVIRT_VMX_EXIT_INVD:
        /* INVD would throw away the host's cached writes too. */
        __asm__ volatile("wbinvd" : : : "memory");
        skip();
        break;
    case NVIRT_VMX_EXIT_VMCALL:
        handle_vmcall(exit->level);
        break;
    case NVIRT_VMX_EXIT_IO:
        if (vmx_io(exit))
            skip();
        break;
    case NVIRT_VMX_EXIT_GETSEC:
        /* Safer mode is not offered: as on a CPU without it. */
        inject(exit->level, NVIRT_VECTOR_UD, false);
        break;
    case NVIRT_VMX_EXIT_EPT_VIOLATION:
        handle_ept_violation(exit);
        break;
    case NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT:
        handle_notification();
        break;
    case NVIRT_VMX_EXIT_INIT:
        handle_init();
        break;
    case NVIRT_VMX_EXIT_TRIPLE_FAULT:
        report_stop("L%u met a triple fault", exit->level);
    default:
        report_stop("unhandled exit %u (%s) of L%u", exit->reason & 0xffffu,
                    nvirt_vmx_exit_reason_name(exit->reason & 0xffffu), exit->level);
    }
}

void vmx_handle_exit(const struct nvirt_vmx_exit *exit)
{
    switch (exit->verdict) {
    case NVIRT_VERDICT_L1:
    case NVIRT_VERDICT_L2:
        handle_host_exit(exit);
        break;
    default:
        report_stop((exit->reason & 0xffffu) == NVIRT_VMX_EXIT_TRIPLE_FAULT && exit->level == 1
                        ? "L1 met a triple fault"
                        : "L1 is shut down (VMX abort)");
    }
}
