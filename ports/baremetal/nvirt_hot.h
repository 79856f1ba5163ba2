/* SPDX-License-Identifier: MIT */
/*
 * The hot tier of nvirt's port on bare metal: the header that NVIRT_PORT_HOT_HEADER names, so that
 * each wrapper is inlined into the library. The VMX instructions are in vmx_hot.h beside this file.
 */
#ifndef BM_NVIRT_HOT_H
#define BM_NVIRT_HOT_H

#include "rt/rt.h"

#if defined(__has_include)
#if __has_include("vmx_hot.h")
#include "vmx_hot.h"
#endif
#endif

static inline void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid)
{
    (void)cpu;
    __asm__ volatile("invlpga %%rax, %%ecx" : : "a"(address.value), "c"(asid) : "memory");
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu,
                                                             uint32_t msr, uint64_t *value)
{
    uint64_t read;

    (void)cpu;
    if (!rt_rdmsr_safe(msr, &read))
        return NVIRT_HW_GP;
    *value = read;
    return NVIRT_HW_OK;
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu,
                                                             uint32_t msr, uint64_t value)
{
    (void)cpu;
    return rt_wrmsr_safe(msr, value) ? NVIRT_HW_OK : NVIRT_HW_GP;
}

#endif
