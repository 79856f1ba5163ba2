/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions of the hot tier (nvirt/port_hot.h), inlined into the library.
 * [SDM 3C "VMX Instruction Reference"]: CF means VMfailInvalid, ZF VMfailValid.
 */
#ifndef BM_VMX_HOT_H
#define BM_VMX_HOT_H

#include <nvirt/port_hot.h>

/* Outcome of an instruction: one jump (JBE) tells success, CF then tells the two failures apart. */
static inline enum nvirt_hw bm_vmx_outcome_of(bool failed, bool carry)
{
    if (__builtin_expect(!failed, 1)) {
        return NVIRT_HW_OK;
    }
    return carry ? NVIRT_HW_VMFAIL_INVALID : NVIRT_HW_VMFAIL_VALID;
}

static inline enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                              uint64_t *value)
{
    uint64_t result;
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("vmread %3, %0"
                     : "=r"(result), "=@ccbe"(failed), "=@ccc"(carry)
                     : "r"((uint64_t)encoding));
    if (__builtin_expect(!failed, 1)) {
        *value = result;
    }
    return bm_vmx_outcome_of(failed, carry);
}

/* The VMCS is no memory of the program's: nothing has to be written back or read anew for it. */
static inline enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding,
                                               uint64_t value)
{
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("vmwrite %3, %2"
                     : "=@ccbe"(failed), "=@ccc"(carry)
                     : "r"((uint64_t)encoding), "rm"(value));
    return bm_vmx_outcome_of(failed, carry);
}

static inline enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("vmptrld %2"
                     : "=@ccbe"(failed), "=@ccc"(carry)
                     : "m"(vmcs.value)
                     : "memory");
    return bm_vmx_outcome_of(failed, carry);
}

static inline enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("vmclear %2"
                     : "=@ccbe"(failed), "=@ccc"(carry)
                     : "m"(vmcs.value)
                     : "memory");
    return bm_vmx_outcome_of(failed, carry);
}

static inline enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type,
                                              uint64_t eptp)
{
    const uint64_t descriptor[2] = {eptp, 0};
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("invept %2, %3"
                     : "=@ccbe"(failed), "=@ccc"(carry)
                     : "m"(descriptor), "r"(type)
                     : "memory");
    return bm_vmx_outcome_of(failed, carry);
}

static inline enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type,
                                               uint16_t vpid, nvirt_gva address)
{
    const uint64_t descriptor[2] = {vpid, address.value};
    bool failed;
    bool carry;

    (void)cpu;
    __asm__ volatile("invvpid %2, %3"
                     : "=@ccbe"(failed), "=@ccc"(carry)
                     : "m"(descriptor), "r"(type)
                     : "memory");
    return bm_vmx_outcome_of(failed, carry);
}

#endif
