/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The hot tier of the port: nine wrappers of one privileged instruction each.
 *
 * A build that defines NVIRT_PORT_HOT_HEADER (as a quoted header name) has the wrappers inlined
 * from there, as `static inline` functions with exactly the prototypes below; any other build
 * links them. Each takes the per-CPU context, so that a fake CPU can stand in for the real one, and
 * reports failure of the instruction instead of hiding it.
 *
 * All are called on the CPU whose context they get; those of VMX in VMX root operation, where #UD
 * and #GP cannot come [SDM 3C "VMX Instruction Reference"].
 */
#ifndef NVIRT_PORT_HOT_H
#define NVIRT_PORT_HOT_H

#include <nvirt/port.h>

NVIRT_BEGIN_DECLS

/** How an instruction ended. */
enum nvirt_hw {
    NVIRT_HW_OK = 0,         /**< Done. */
    NVIRT_HW_VMFAIL_INVALID, /**< CF=1: no current VMCS [SDM 3C "Conventions"]. */
    NVIRT_HW_VMFAIL_VALID,   /**< ZF=1: the error number is in the VM-instruction error field. */
    NVIRT_HW_GP              /**< #GP(0), from RDMSR and WRMSR. */
};


#ifdef NVIRT_PORT_HOT_HEADER
NVIRT_END_DECLS
#include NVIRT_PORT_HOT_HEADER
NVIRT_BEGIN_DECLS
#else

/**
 * VMREAD from the current VMCS.
 * @param cpu context of this CPU.
 * @param encoding of the field, full access.
 * @param value where it goes; written on NVIRT_HW_OK only.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                                uint64_t *value);
/**
 * VMWRITE in the current VMCS.
 * @param cpu context of this CPU.
 * @param encoding of the field, full access.
 * @param value its new value.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                                 uint64_t value);
/**
 * VMPTRLD: makes a VMCS current.
 * @param cpu context of this CPU.
 * @param vmcs physical address of its page.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs);
/**
 * VMCLEAR: writes a VMCS back to memory and makes it inactive and clear.
 * @param cpu context of this CPU.
 * @param vmcs physical address of its page.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs);
/**
 * INVEPT.
 * @param cpu context of this CPU.
 * @param type 1 single-context, 2 all-context.
 * @param eptp bits 63:0 of the descriptor; the rest of it is 0.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type,
                                                uint64_t eptp);
/**
 * INVVPID. Not called on a CPU without VPIDs.
 * @param cpu context of this CPU.
 * @param type 0 to 3; one that the CPU has.
 * @param vpid bits 15:0 of the descriptor.
 * @param address bits 127:64 of the descriptor.
 * @return NVIRT_HW_OK, NVIRT_HW_VMFAIL_INVALID or NVIRT_HW_VMFAIL_VALID.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type,
                                                 uint16_t vpid, nvirt_gva address);
/**
 * INVLPGA [APM 3 "INVLPGA"]. Cannot fail with EFER.SVME set.
 * @param cpu context of this CPU.
 * @param address linear address, for rAX.
 * @param asid for ECX.
 */
void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid);
/**
 * RDMSR.
 * @param cpu context of this CPU.
 * @param msr number.
 * @param value where it goes; written on NVIRT_HW_OK only.
 * @return NVIRT_HW_OK or NVIRT_HW_GP.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
                                               uint64_t *value);
/**
 * WRMSR. nvirt does not call it today.
 * @param cpu context of this CPU.
 * @param msr number.
 * @param value its new value.
 * @return NVIRT_HW_OK or NVIRT_HW_GP.
 */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
                                               uint64_t value);
#endif

NVIRT_END_DECLS

#endif
