/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions of the hot tier (nvirt/port_hot.h), inlined into the library.
 * [SDM 3C "VMX Instruction Reference"]: CF means VMfailInvalid, ZF VMfailValid.
 */
#ifndef BM_VMX_HOT_H
#define BM_VMX_HOT_H

#include <nvirt/port_hot.h>

/* Outcome of the instruction whose CF and ZF were caught by SETC and SETZ. */
static inline enum nvirt_hw bm_vmx_outcome_of(uint8_t carry, uint8_t zero)
{
    if (carry != 0) {
        return NVIRT_HW_VMFAIL_INVALID;
    }
    return zero != 0 ? NVIRT_HW_VMFAIL_VALID : NVIRT_HW_OK;
}

static inline enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                              uint64_t *value)
{
    uint64_t result;
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("vmread %3, %0\n\tsetc %1\n\tsetz %2"
                     : "=r"(result), "=qm"(carry), "=qm"(zero)
                     : "r"((uint64_t)encoding)
                     : "cc");
    if ((carry | zero) == 0) {
        *value = result;
    }
    return bm_vmx_outcome_of(carry, zero);
}

static inline enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                               uint64_t value)
{
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("vmwrite %3, %2\n\tsetc %0\n\tsetz %1"
                     : "=qm"(carry), "=qm"(zero)
                     : "r"((uint64_t)encoding), "r"(value)
                     : "cc", "memory");
    return bm_vmx_outcome_of(carry, zero);
}

static inline enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("vmptrld %2\n\tsetc %0\n\tsetz %1"
                     : "=qm"(carry), "=qm"(zero)
                     : "m"(vmcs.value)
                     : "cc", "memory");
    return bm_vmx_outcome_of(carry, zero);
}

static inline enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("vmclear %2\n\tsetc %0\n\tsetz %1"
                     : "=qm"(carry), "=qm"(zero)
                     : "m"(vmcs.value)
                     : "cc", "memory");
    return bm_vmx_outcome_of(carry, zero);
}

static inline enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type,
                                              uint64_t eptp)
{
    const uint64_t descriptor[2] = {eptp, 0};
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("invept %2, %3\n\tsetc %0\n\tsetz %1"
                     : "=qm"(carry), "=qm"(zero)
                     : "m"(descriptor), "r"(type)
                     : "cc", "memory");
    return bm_vmx_outcome_of(carry, zero);
}

static inline enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type,
                                               uint16_t vpid, nvirt_gva address)
{
    const uint64_t descriptor[2] = {vpid, address.value};
    uint8_t carry;
    uint8_t zero;

    (void)cpu;
    __asm__ volatile("invvpid %2, %3\n\tsetc %0\n\tsetz %1"
                     : "=qm"(carry), "=qm"(zero)
                     : "m"(descriptor), "r"(type)
                     : "cc", "memory");
    return bm_vmx_outcome_of(carry, zero);
}

#endif
