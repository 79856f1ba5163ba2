/* SPDX-License-Identifier: MIT */
/**
 * @file
 * nvirt: nested virtualization for any hypervisor, on Intel VMX and AMD SVM. Includes every public
 * header but nvirt/x86.h (bits of registers, for who wants them).
 *
 * # The run loop
 *
 * The host (L0) keeps its own run loop: it saves and loads general-purpose registers, executes
 * VMLAUNCH, VMRESUME or VMRUN, and handles the exits of its guest (L1) as before. nvirt stands on
 * both sides of the entry:
 *
 *   - before it, the *prepare* call makes the VMCS or VMCB that is to run current and complete:
 *     changed fields are committed and flushes that fell due carried out;
 *   - after it, the *exit* call says whose the exit is. DONE: nvirt dealt with it, go round again.
 *     L1: an ordinary exit of L1. L2: an exit of L2 that L1 did not ask for and that is the host's,
 *     such as an interrupt of the host's own.
 *
 * Whether L1 or L2 runs next is nvirt's to know: the host prepares, enters, and asks.
 *
 * @code{.c}
 * #include <nvirt/nvirt.h>
 *
 * // The host's: enters the current VMCS, returns what VMLAUNCH or VMRESUME came to.
 * enum nvirt_hw host_enter(bool launch, struct nvirt_gprs *gprs);
 * // The host's: handles an exit of its own; false ends the vCPU.
 * bool host_handle(struct nvirt_vmx_vcpu *vcpu, const struct nvirt_vmx_exit *exit,
 *                  struct nvirt_gprs *gprs);
 *
 * enum nvirt_status host_run(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
 *                            struct nvirt_gprs *gprs)
 * {
 *     for (;;) {
 *         struct nvirt_vmx_run run;
 *         struct nvirt_vmx_exit exit;
 *         uint32_t error;
 *         enum nvirt_status status = nvirt_vmx_prepare(vcpu, cpu, &run);
 *
 *         if (status != NVIRT_OK) {
 *             return status;
 *         }
 *         enum nvirt_hw outcome = host_enter(run.launch, gprs);
 *
 *         if (outcome != NVIRT_HW_OK) {
 *             status = nvirt_vmx_entry_failed(vcpu, cpu, outcome, &error);
 *         } else {
 *             status = nvirt_vmx_exit(vcpu, cpu, gprs, &exit);
 *             if (status == NVIRT_OK && exit.verdict != NVIRT_VERDICT_DONE &&
 *                 !host_handle(vcpu, &exit, gprs)) {
 *                 return NVIRT_OK;
 *             }
 *         }
 *         if (status != NVIRT_OK) {
 *             return status;
 *         }
 *     }
 * }
 * @endcode
 *
 * # What the host owes L1
 *
 * L1 sees a CPU with VMX or SVM, so what belongs to these beyond their instructions must be there:
 *
 *   - **VMX**: CR4.VMXE and the fixed bits of CR0 and CR4 (own the bits nvirt_vmx_cr0_owned() and
 *     nvirt_vmx_cr4_owned() name: nvirt emulates the exits); IA32_FEATURE_CONTROL and the
 *     capability MSRs (nvirt_vmx_msr_bitmap_require(): nvirt answers them). vmcs01 needs "save
 *     debug controls" and save and load of IA32_PAT and IA32_EFER in its exit and entry controls,
 *     and EPT.
 *   - **SVM**: EFER.SVME, VM_CR and VM_HSAVE_PA (nvirt_svm_msrpm_require()); all SVM instructions
 *     intercepted (nvirt_svm_intercepts_require()); nested paging in vmcb01.
 *   - CPUID shows L1 the feature (CPUID.1:ECX.VMX, or 8000_0001:ECX.SVM and leaf 8000_000A by
 *     nvirt_svm_caps_offer()). MTRRs are the host's to shadow.
 *
 * L1 and L2 share one physical set of FPU state, XCR0, IA32_XSS, DR0 to DR3, CR2, the SYSCALL MSRs,
 * KERNEL_GS_BASE and TSC_AUX: the host swaps none of them between exits of L1 and of L2. At each
 * switch from L2 to L1 the exit struct says that a branch-predictor barrier belongs there.
 *
 * A host that passes physical interrupts through to L1 still owes it the architecture. On SVM none
 * may arrive while L1's GIF is 0: nvirt_svm_run::host_if and vmcb01 as nvirt_svm_prepare() leaves
 * it see to that for interrupts, and an NMI the host takes itself goes through nvirt_svm_inject().
 * On VMX an NMI that hits in L0 goes through nvirt_vmx_inject(), also one that hits between the
 * last check and the entry. An INIT exit that reaches the host is a reset of L1: nvirt_vmx_reset()
 * or nvirt_svm_reset(), then the host sets L1's registers. On VMX one that comes while L1 is in VMX
 * root operation is blocked: nvirt keeps it until L2 runs, which it takes out, or until VMXOFF,
 * whose exit then is the host's INIT exit; a host whose L1 has an emulated APIC hands INITs and SIPIs
 * for it over by nvirt_vmx_inject().
 *
 * # Memory, time, concurrency
 *
 * Every object lies in memory of the host's. Table pages come from the port one at a time and are
 * held against the VM's budget. nvirt keeps no global state: any number of VMs and vCPUs may exist.
 * One vCPU object is used by one CPU at a time; different vCPUs of a VM by different CPUs at once.
 * No call blocks. Every status is documented at its call; on a status other than NVIRT_OK nothing
 * has changed unless said otherwise.
 */
#ifndef NVIRT_NVIRT_H
#define NVIRT_NVIRT_H

#include <nvirt/event.h>
#include <nvirt/hyperv.h>
#include <nvirt/port.h>
#include <nvirt/svm.h>
#include <nvirt/tlbflush.h>
#include <nvirt/types.h>
#include <nvirt/vm.h>
#include <nvirt/vmcb.h>
#include <nvirt/vmcs.h>
#include <nvirt/vmx.h>

#endif
