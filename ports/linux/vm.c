// SPDX-License-Identifier: MIT
/*
 * A VM: its file, what its vCPUs share, and reaching them.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "nvl.h"

#define BUDGET_DEFAULT 4096u
#define RESERVE 64u

/* ---- pages in reserve ---- */

int nvl_vm_refill(struct nvirt_port_vm *vm)
{
	while (READ_ONCE(vm->reserved) < RESERVE) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT);

		if (!page)
			return -ENOMEM;
		spin_lock(&vm->reserve_lock);
		list_add(&page->lru, &vm->reserve);
		vm->reserved++;
		spin_unlock(&vm->reserve_lock);
	}
	return 0;
}

static void free_reserve(struct nvirt_port_vm *vm)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &vm->reserve, lru)
		__free_page(page);
}

/* ---- reaching vCPUs ---- */

void nvl_vcpu_request(struct nvirt_port_vm *vm, u32 index, unsigned int request)
{
	struct nvl_vcpu *vcpu;
	int cpu;

	rcu_read_lock();
	vcpu = READ_ONCE(vm->vcpus[index]);
	if (vcpu) {
		set_bit(request, &vcpu->requests);
		/* Pairs with the one between setting in_guest and looking at the requests (run.c). */
		smp_mb();
		cpu = READ_ONCE(vcpu->in_guest);
		if (cpu != 0 && cpu - 1 != raw_smp_processor_id())
			smp_send_reschedule(cpu - 1);
		if (wq_has_sleeper(&vcpu->requested))
			wake_up(&vcpu->requested);
	}
	rcu_read_unlock();
}

void nvl_vm_request(struct nvirt_port_vm *vm, unsigned int request)
{
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_VCPUS; i++)
		nvl_vcpu_request(vm, i, request);
}

/* A vCPU that enters from now on sees its requests before. Interrupts are off in a guest's entry, so
 * it is left soon. */
void nvl_vm_wait_outside(struct nvirt_port_vm *vm)
{
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_VCPUS; i++) {
		struct nvl_vcpu *vcpu;

		rcu_read_lock();
		vcpu = READ_ONCE(vm->vcpus[i]);
		while (vcpu && READ_ONCE(vcpu->requests) != 0 && READ_ONCE(vcpu->in_guest) != 0)
			cpu_relax();
		rcu_read_unlock();
	}
}

/* ---- life ---- */

static void destroy(struct kref *ref)
{
	struct nvirt_port_vm *vm = container_of(ref, struct nvirt_port_vm, ref);

	nvl_memory_exit(vm);
	WARN_ON_ONCE(nvirt_vm_destroy(&vm->nvirt) != NVIRT_OK);
	WARN_ON_ONCE(!list_empty(&vm->pins) || !list_empty(&vm->written));
	nvl_stage2_exit(vm);
	free_reserve(vm);
	kfree(vm);
	nvl_cpus_put();
}

void nvl_vm_put(struct nvirt_port_vm *vm)
{
	kref_put(&vm->ref, destroy);
}

static int release(struct inode *inode, struct file *file)
{
	nvl_vm_put(file->private_data);
	return 0;
}

static long vm_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct nvirt_port_vm *vm = file->private_data;
	union {
		struct nvirt_memory memory;
		struct nvirt_create_vcpu vcpu;
	} a;
	int error;

	if (current->mm != vm->mm)
		return -EIO;
	switch (command) {
	case NVIRT_SET_MEMORY:
		error = nvl_copy_in(&a.memory, sizeof(a.memory), argument);
		return error ? error : nvl_memory_set(vm, &a.memory);
	case NVIRT_CREATE_VCPU:
		error = nvl_copy_in(&a.vcpu, sizeof(a.vcpu), argument);
		return error ? error : nvl_vcpu_create(vm, &a.vcpu);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations vm_operations = {
	.owner = THIS_MODULE,
	.release = release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = vm_ioctl,
	.llseek = noop_llseek,
};

static int init_nvirt(struct nvirt_port_vm *vm, const struct nvirt_create_vm *a)
{
	const struct nvirt_vm_config config = {
		.port = vm,
		.page_budget = a->page_budget ? a->page_budget : BUDGET_DEFAULT,
		.physical_bits = nvl_physical_bits(),
	};

	return nvirt_vm_init(&vm->nvirt, &config) == NVIRT_OK ? 0 : -EINVAL;
}

static struct nvirt_port_vm *make(const struct nvirt_create_vm *a, int *error)
{
	struct nvirt_port_vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);

	if (!vm) {
		*error = -ENOMEM;
		return NULL;
	}
	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->stage2_lock);
	spin_lock_init(&vm->pin_lock);
	spin_lock_init(&vm->reserve_lock);
	INIT_LIST_HEAD(&vm->pins);
	INIT_LIST_HEAD(&vm->written);
	INIT_LIST_HEAD(&vm->reserve);
	*error = init_nvirt(vm, a);
	if (*error)
		goto no_nvirt;
	*error = nvl_stage2_init(vm);
	if (*error)
		goto no_nvirt;
	*error = nvl_memory_init(vm);
	if (*error)
		goto no_memory;
	return vm;

no_memory:
	nvl_stage2_exit(vm);
no_nvirt:
	kfree(vm);
	return NULL;
}

int nvl_vm_create(const struct nvirt_create_vm *a)
{
	struct nvirt_port_vm *vm;
	int error, fd;

	if (a->flags || a->reserved)
		return -EINVAL;
	error = nvl_cpus_get();
	if (error)
		return error;
	vm = make(a, &error);
	if (!vm) {
		nvl_cpus_put();
		return error;
	}
	fd = anon_inode_getfd("nvirt-vm", &vm_operations, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		nvl_vm_put(vm);
	return fd;
}
