/* SPDX-License-Identifier: MIT */
/*
 * Machines for the tests of the Linux driver.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver-test.h"

/* To the next exit, past the kernel's own reasons to come out. */
int run_on(int vcpu, struct nvirt_run *run)
{
    int result;

    do
        result = ioctl(vcpu, NVIRT_RUN, run);
    while (result < 0 && errno == EINTR);
    return result;
}

int create_vm(int device)
{
    struct nvirt_create_vm create = {.size = sizeof(create)};

    return ioctl(device, NVIRT_CREATE_VM, &create);
}

int set_memory(int vm, uint32_t slot, uint32_t flags, uint64_t address, void *user,
                      uint64_t bytes)
{
    struct nvirt_memory memory = {.size = sizeof(memory),
                                  .slot = slot,
                                  .flags = flags,
                                  .address = address,
                                  .bytes = bytes,
                                  .user = (uintptr_t)user};

    return ioctl(vm, NVIRT_SET_MEMORY, &memory);
}

int create_vcpu(int vm, uint32_t index)
{
    struct nvirt_create_vcpu create = {.size = sizeof(create), .index = index};

    return ioctl(vm, NVIRT_CREATE_VCPU, &create);
}

uint8_t *anonymous(size_t bytes)
{
    uint8_t *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

/* A machine in real mode whose first instruction is at 0xffff0: `code` is there. */
struct machine make_machine_with(const uint8_t *code, size_t bytes, bool apic)
{
    struct machine m = {.bytes = MIB};

    m.device = open(NVIRT_DEVICE, O_RDWR | O_CLOEXEC);
    m.memory = anonymous(m.bytes);
    m.vm = create_vm(m.device);
    CHECK(m.device >= 0 && m.vm >= 0);
    if (failures != 0)
        exit(1);
    CHECK(set_memory(m.vm, 0, 0, 0, m.memory, m.bytes) == 0);
    CHECK(set_memory(m.vm, 1, 0, 0xfff00000, m.memory, m.bytes) == 0);
    if (apic) {
        m.apic = anonymous(PAGE);
        CHECK(set_memory(m.vm, 2, NVIRT_MEMORY_APIC, APIC_BASE, m.apic, PAGE) == 0);
    }
    m.vcpu = create_vcpu(m.vm, 0);
    CHECK(m.vcpu >= 0);
    if (failures != 0)
        exit(1);
    memcpy(m.memory + 0xffff0, code, bytes);
    return m;
}

struct machine make_machine(const uint8_t *code, size_t bytes)
{
    return make_machine_with(code, bytes, false);
}

void end_machine(struct machine *m)
{
    CHECK(close(m->vcpu) == 0);
    CHECK(close(m->vm) == 0);
    CHECK(munmap(m->memory, m->bytes) == 0);
    CHECK(close(m->device) == 0);
}

bool has_svm(void)
{
    unsigned eax, ebx, ecx, edx;

    __cpuid(1, eax, ebx, ecx, edx);
    return (ecx >> 5 & 1) == 0;
}

#define PAGE_DIRECTORY 0x2000u

/* Protected mode with paging, which VMXON wants, on flat segments; all is where it is. */
void start_in_protected_mode(const struct machine *m, uint32_t rip)
{
    const struct nvirt_segment code = {8, 0xc9b, 0xffffffff, 0}, data = {16, 0xc93, 0xffffffff, 0};
    struct nvirt_sregs s = {.size = sizeof(s)};
    struct nvirt_regs regs = {.size = sizeof(regs)};

    for (uint32_t i = 0; i < 1024; i++)
        memcpy(m->memory + PAGE_DIRECTORY + 4 * i, &(uint32_t){i << 22 | 0x83}, 4);
    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &s) == 0 && ioctl(m->vcpu, NVIRT_GET_REGS, &regs) == 0);
    s.cs = code;
    s.ds = s.es = s.ss = s.fs = s.gs = data;
    s.cr3 = PAGE_DIRECTORY;
    s.cr4 = has_svm() ? 0x10 : 0x2010; /* PSE, VMXE */
    s.cr0 = 0x80000031;
    regs.rip = rip;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &s) == 0 && ioctl(m->vcpu, NVIRT_SET_REGS, &regs) == 0);
}

void expect_out(const struct machine *m, uint16_t port)
{
    struct nvirt_run run = {.size = sizeof(run)};

    CHECK(run_on(m->vcpu, &run) == 0 && run.reason == NVIRT_EXIT_IO && run.io.port == port);
}
