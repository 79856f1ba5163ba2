/* SPDX-License-Identifier: MIT */
/*
 * A port to start from: every function of <nvirt/port.h> and <nvirt/port_hot.h>, each answering
 * "unsupported". It compiles and links; a vCPU made on it is refused for want of pages. Fill it in in
 * the order that docs/porting.md gives.
 */
#include <nvirt/port_hot.h>

/* ---- pages of the host: the first four functions to write ---- */

enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page)
{
    (void)vm;
    (void)page;
    return NVIRT_ERR_NO_PAGE;
}

void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    (void)vm;
    (void)page;
}

void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    (void)vm;
    (void)page;
    nvirt_port_panic("template port: no page was ever given out");
}

void nvirt_port_panic(const char *text)
{
    (void)text;
    for (;;) {
        __asm__ volatile("hlt");
    }
}

/* ---- memory of L1 ---- */

enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
                                       uint32_t access, struct nvirt_translation *out)
{
    (void)vm;
    (void)address;
    (void)access;
    (void)out;
    return NVIRT_ERR_NO_MAPPING;
}

uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm)
{
    (void)vm;
    return 0;
}

enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page, uint32_t access,
                                 nvirt_hpa *hpa)
{
    (void)vm;
    (void)page;
    (void)access;
    (void)hpa;
    return NVIRT_ERR_NO_MAPPING;
}

void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written)
{
    (void)vm;
    (void)page;
    (void)hpa;
    (void)written;
}

enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
                                     size_t bytes)
{
    (void)vm;
    (void)from;
    (void)to;
    (void)bytes;
    return NVIRT_ERR_NO_MAPPING;
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
                                      size_t bytes)
{
    (void)vm;
    (void)to;
    (void)from;
    (void)bytes;
    return NVIRT_ERR_NO_MAPPING;
}

enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm, nvirt_l1gpa word,
                                                 size_t bytes, uint64_t *expected, uint64_t desired)
{
    (void)vm;
    (void)word;
    (void)bytes;
    (void)expected;
    (void)desired;
    return NVIRT_ERR_NO_MAPPING;
}

/* ---- registers of L1 ---- */

uint32_t nvirt_port_l1_pkru(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu)
{
    (void)vm;
    (void)cpu;
    return 0;
}

enum nvirt_status nvirt_port_xmm(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                 uint8_t *xmm)
{
    (void)vm;
    (void)cpu;
    (void)xmm;
    return NVIRT_ERR_STATE;
}

enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t msr, uint64_t *value)
{
    (void)vm;
    (void)cpu;
    (void)msr;
    (void)value;
    return NVIRT_ERR_RANGE;
}

enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t msr, uint64_t value)
{
    (void)vm;
    (void)cpu;
    (void)msr;
    (void)value;
    return NVIRT_ERR_RANGE;
}

/* ---- other CPUs, messages ---- */

void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index)
{
    (void)vm;
    (void)vcpu_index;
}

void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value)
{
    (void)vm;
    (void)text;
    (void)value;
}

/* ---- the hot tier, linked; a real port gives an inline header instead ---- */

enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding, uint64_t *value)
{
    (void)cpu;
    (void)encoding;
    (void)value;
    return NVIRT_HW_VMFAIL_INVALID;
}

enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding, uint64_t value)
{
    (void)cpu;
    (void)encoding;
    (void)value;
    return NVIRT_HW_VMFAIL_INVALID;
}

enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    (void)cpu;
    (void)vmcs;
    return NVIRT_HW_VMFAIL_INVALID;
}

enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    (void)cpu;
    (void)vmcs;
    return NVIRT_HW_VMFAIL_INVALID;
}

enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type, uint64_t eptp)
{
    (void)cpu;
    (void)type;
    (void)eptp;
    return NVIRT_HW_VMFAIL_INVALID;
}

enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type, uint16_t vpid,
                                 nvirt_gva address)
{
    (void)cpu;
    (void)type;
    (void)vpid;
    (void)address;
    return NVIRT_HW_VMFAIL_INVALID;
}

void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid)
{
    (void)cpu;
    (void)address;
    (void)asid;
}

enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t msr, uint64_t *value)
{
    (void)cpu;
    (void)msr;
    (void)value;
    return NVIRT_HW_GP;
}

enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t msr, uint64_t value)
{
    (void)cpu;
    (void)msr;
    (void)value;
    return NVIRT_HW_GP;
}
