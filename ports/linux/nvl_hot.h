/* SPDX-License-Identifier: MIT */
/*
 * The hot tier of nvirt's port in the kernel: one privileged instruction each, inlined into the
 * library. An instruction may fault where the library does not expect it (VMX was switched off for a
 * reboot): the exception table makes that a failure like any other.
 */
#ifndef NVL_HOT_H
#define NVL_HOT_H

#include <asm/asm.h>

/* How a VMX instruction ended, by CF and ZF; a fault leaves CF as it is preset. */
#define NVL_VMX_OUTCOME(cf, zf)                                                                    \
    ((cf) ? NVIRT_HW_VMFAIL_INVALID : (zf) ? NVIRT_HW_VMFAIL_VALID : NVIRT_HW_OK)

/* cf is 1 before and 0 after, unless the instruction faulted or set it. */
#define NVL_VMX_INSN(text)                                                                         \
    "movb $1, %[cf]\n\t"                                                                           \
    "movb $0, %[zf]\n"                                                                             \
    "1: " text "\n\t"                                                                              \
    "setc %[cf]\n\t"                                                                               \
    "setz %[zf]\n"                                                                                 \
    "2:\n" _ASM_EXTABLE(1b, 2b)

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu,
                                                              uint32_t encoding, uint64_t *value)
{
    uint64_t read = 0;
    uint8_t cf, zf;

    (void)cpu;
    asm volatile(NVL_VMX_INSN("vmread %[field], %[value]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf), [value] "+&r"(read)
                 : [field] "r"((uint64_t)encoding)
                 : "cc");
    if (cf || zf)
        return NVL_VMX_OUTCOME(cf, zf);
    *value = read;
    return NVIRT_HW_OK;
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu,
                                                               uint32_t encoding, uint64_t value)
{
    uint8_t cf, zf;

    (void)cpu;
    asm volatile(NVL_VMX_INSN("vmwrite %[value], %[field]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
                 : [field] "r"((uint64_t)encoding), [value] "r"(value)
                 : "cc", "memory");
    return NVL_VMX_OUTCOME(cf, zf);
}

/* The port notes which VMCS is current, for threads that sleep inside a call (port.c). */
void nvl_note_current_vmcs(struct nvirt_port_cpu *cpu, uint64_t vmcs);
void nvl_note_cleared_vmcs(struct nvirt_port_cpu *cpu, uint64_t vmcs);

NVIRT_NODISCARD static inline enum nvirt_hw nvl_vmptrld(uint64_t vmcs)
{
    uint8_t cf, zf;

    asm volatile(NVL_VMX_INSN("vmptrld %[vmcs]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
                 : [vmcs] "m"(vmcs)
                 : "cc", "memory");
    return NVL_VMX_OUTCOME(cf, zf);
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu,
                                                               nvirt_hpa vmcs)
{
    nvl_note_current_vmcs(cpu, vmcs.value);
    return nvl_vmptrld(vmcs.value);
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu,
                                                               nvirt_hpa vmcs)
{
    uint8_t cf, zf;

    nvl_note_cleared_vmcs(cpu, vmcs.value);
    asm volatile(NVL_VMX_INSN("vmclear %[vmcs]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
                 : [vmcs] "m"(vmcs.value)
                 : "cc", "memory");
    return NVL_VMX_OUTCOME(cf, zf);
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu,
                                                              uint64_t type, uint64_t eptp)
{
    struct {
        uint64_t eptp, reserved;
    } descriptor = {eptp, 0};
    uint8_t cf, zf;

    (void)cpu;
    asm volatile(NVL_VMX_INSN("invept %[descriptor], %[type]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
                 : [descriptor] "m"(descriptor), [type] "r"(type)
                 : "cc", "memory");
    return NVL_VMX_OUTCOME(cf, zf);
}

NVIRT_NODISCARD static inline enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu,
                                                               uint64_t type, uint16_t vpid,
                                                               nvirt_gva address)
{
    struct {
        uint64_t vpid, address;
    } descriptor = {vpid, address.value};
    uint8_t cf, zf;

    (void)cpu;
    asm volatile(NVL_VMX_INSN("invvpid %[descriptor], %[type]")
                 : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
                 : [descriptor] "m"(descriptor), [type] "r"(type)
                 : "cc", "memory");
    return NVL_VMX_OUTCOME(cf, zf);
}

static inline void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid)
{
    (void)cpu;
    asm volatile("1: invlpga %%rax, %%ecx\n"
                 "2:\n" _ASM_EXTABLE(1b, 2b)
                 :
                 : "a"(address.value), "c"(asid)
                 : "memory");
}

/* Out of line: the kernel's own header has names that the library uses in its files. */
NVIRT_NODISCARD enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
					       uint64_t *value);
NVIRT_NODISCARD enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t msr,
					       uint64_t value);

#endif
