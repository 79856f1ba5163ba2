/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine through /dev/kvm, with memory and page tables laid out as guest.h says. Every
 * function here ends the program through fail() when the kernel refuses.
 */
#ifndef LINUX_L1_VM_H
#define LINUX_L1_VM_H

#include "guest.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

#define VM_MAX_VCPUS 2

enum vm_irqchip {
    VM_WITHOUT_IRQCHIP,
    VM_WITH_IRQCHIP,
};

struct vm_vcpu {
    int fd;
    struct kvm_run *run;
};

struct vm {
    int fd;
    uint32_t vcpu_count;
    struct vm_vcpu vcpus[VM_MAX_VCPUS];
    uint8_t *mapping; /* what mmap gave, of which the rest are parts */
    size_t mapping_size;
    uint8_t *ram;
    uint8_t *logged;
    uint8_t *readonly;
    volatile struct guest_mailbox *mailbox;
};

/* One port access of the guest; data points into the vCPU's run page. */
struct vm_io {
    uint16_t port;
    uint32_t size;
    uint32_t count;
    bool in;
    void *data;
};

/* Report why the run is lost, with the step it happened in, and exit. */
_Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

/* Open /dev/kvm; before anything else. */
void vm_open(void);

/* Make a VM with its memory, tables and image, and vCPUs that have their CPUID and nothing else. */
void vm_create(struct vm *vm, uint32_t vcpu_count, enum vm_irqchip irqchip);
void vm_destroy(struct vm *vm);

/* Where the VM's physical address lies here. */
void *vm_at(const struct vm *vm, uint64_t gpa);

void vm_log_dirty_pages(struct vm *vm, bool on);
void vm_dirty_log(struct vm *vm, uint64_t *bitmap);
void vm_irq_line(struct vm *vm, uint32_t line, bool level);

/* A counter of KVM's by its name, 0 if this kernel does not have it. */
uint64_t vm_stat(const struct vm *vm, const char *name);
uint64_t vcpu_stat(const struct vm_vcpu *vcpu, const char *name);

void vcpu_start_real_mode(struct vm *vm);
void vcpu_start_long_mode(struct vm *vm, uint32_t number, enum guest_program program);

/* Run until the next exit to us; the exit is in vcpu->run. */
void vcpu_run(struct vm_vcpu *vcpu);

/* Whether the last exit was a port access, and which. */
bool vcpu_io(struct vm_vcpu *vcpu, struct vm_io *io);

void vcpu_nmi(struct vm_vcpu *vcpu);

/* Print the state of a vCPU that stopped for no good reason. */
void vcpu_explain(struct vm_vcpu *vcpu);

/* The vendor string of the CPU we run on, in the order EBX, EDX, ECX. */
void host_vendor(uint32_t vendor[3]);

#endif
