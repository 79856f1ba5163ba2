/* SPDX-License-Identifier: MIT */
/*
 * Machines for the tests of the Linux driver.
 */
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
