/* SPDX-License-Identifier: MIT */
/*
 * The hot tier of the port: nine wrappers of one privileged instruction each.
 *
 * A build that defines NVIRT_PORT_HOT_HEADER (as a quoted header name) has the wrappers inlined
 * from there, as `static inline` functions with exactly the prototypes below; any other build
 * links them. Each takes the per-CPU context, so that a fake CPU can stand in for the real one, and
 * reports failure of the instruction instead of hiding it.
 */
#ifndef NVIRT_PORT_HOT_H
#define NVIRT_PORT_HOT_H

#include <nvirt/port.h>

NVIRT_BEGIN_DECLS

/** How an instruction ended. */
enum nvirt_hw {
    NVIRT_HW_OK = 0,
    NVIRT_HW_VMFAIL_INVALID, /**< CF=1: no current VMCS [SDM 3C "Conventions"]. */
    NVIRT_HW_VMFAIL_VALID,   /**< ZF=1: the error number is in the VM-instruction error field. */
    NVIRT_HW_GP              /**< #GP(0), from RDMSR and WRMSR. */
};


#ifdef NVIRT_PORT_HOT_HEADER
NVIRT_END_DECLS
#include NVIRT_PORT_HOT_HEADER
NVIRT_BEGIN_DECLS
#else

/** VMREAD of @p encoding from the current VMCS; *value is written on NVIRT_HW_OK only. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                                uint64_t *value);
/** VMWRITE of @p encoding in the current VMCS. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                                 uint64_t value);
/** VMPTRLD. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs);
/** VMCLEAR. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs);
/** INVEPT of @p type (1 single-context, 2 global) for @p eptp. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type,
                                                uint64_t eptp);
/** INVVPID of @p type (0 to 3). */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type,
                                                 uint16_t vpid, nvirt_gva address);
/** INVLPGA. */
void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid);
/** RDMSR; *value is written on NVIRT_HW_OK only. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
                                               uint64_t *value);
/** WRMSR. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
                                               uint64_t value);
#endif

NVIRT_END_DECLS

#endif
