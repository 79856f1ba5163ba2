// SPDX-License-Identifier: MIT
/*
 * A vCPU: its file, its ioctls, and the thread on a CPU.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nvl.h"

int nvl_vcpu_hold(struct nvl_vcpu *vcpu, struct nvirt_port_cpu **cpu)
{
	int error = nvl_cpu_hold(cpu);

	if (error)
		return error;
	(*cpu)->running = vcpu;
	nvl_backend->come(vcpu, *cpu);
	return 0;
}

void nvl_vcpu_release(struct nvirt_port_cpu *cpu)
{
	struct nvirt_port_vm *vm = cpu->running->vm;

	cpu->running = NULL;
	nvl_cpu_release(cpu);
	nvl_pins_end(vm);
}

/* ---- ioctls: the vCPU's lock is held ---- */

static int inject(struct nvl_vcpu *vcpu, const struct nvirt_inject *a)
{
	const struct nvirt_event event = {
		.type = (enum nvirt_event_type)a->kind,
		.vector = (u8)a->vector,
		.has_error_code = a->has_error_code,
		.error_code = a->error_code,
		.address = a->address,
	};
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error;

	if (a->vector > 255 || a->has_error_code > 1 || a->reserved)
		return -EINVAL;
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		return error;
	status = nvl_backend->inject(vcpu, cpu, &event);
	nvl_vcpu_release(cpu);
	if (status == NVIRT_ERR_STATE)
		return -EBUSY;
	return status == NVIRT_OK ? 0 : -EINVAL;
}

/* Reserved bits, and what would fault where software loads it (CR8, DR6) or lies above what L1 was shown. All
 * else the entry checks: a program that sets nonsense gets NVIRT_EXIT_FAILED. */
static bool sregs_are_valid(const struct nvirt_sregs *s)
{
	const struct nvirt_segment *const segments[] = {&s->es, &s->cs, &s->ss, &s->ds,
							&s->fs, &s->gs, &s->ldtr, &s->tr};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(segments); i++) {
		if (segments[i]->attributes & ~NVIRT_SEGMENT_ATTRIBUTES)
			return false;
	}
	return s->cr8 <= 15 && s->dr6 >> 32 == 0 && s->dr7 >> 32 == 0 &&
	       (s->efer & ~nvl_backend->efer_valid()) == 0 && (s->cr4 & ~nvl_backend->cr4_valid()) == 0;
}

static int set_sregs(struct nvl_vcpu *vcpu, const struct nvirt_sregs *sregs)
{
	if (nvl_backend->level(vcpu) != 1)
		return -EBUSY;
	return sregs_are_valid(sregs) ? nvl_backend->set_sregs(vcpu, sregs) : -EINVAL;
}

static int get_stats(struct nvl_vcpu *vcpu, struct nvirt_vcpu_stats *stats)
{
	const struct nvirt_stats *have = nvl_backend->stats(vcpu);

	BUILD_BUG_ON(NVIRT_STATS_COUNT > ARRAY_SIZE(stats->value));
	memset(stats->value, 0, sizeof(stats->value));
	memcpy(stats->value, have, sizeof(*have));
	stats->count = NVIRT_STATS_COUNT;
	return 0;
}

static int reset(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	status = nvl_backend->reset(vcpu, cpu);
	nvl_vcpu_release(cpu);
	if (status != NVIRT_OK)
		return -EIO;
	vcpu->io_in = false;
	return 0;
}

/* ---- nested state: through a copy, which the program cannot change meanwhile ---- */

static int get_nested(struct nvl_vcpu *vcpu, struct nvirt_nested *a)
{
	void *copy = kzalloc(NVIRT_STATE_MAX_BYTES, GFP_KERNEL_ACCOUNT);
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	size_t used = 0;
	int error;

	if (!copy)
		return -ENOMEM;
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		goto out;
	status = nvl_backend->save(vcpu, cpu, copy, NVIRT_STATE_MAX_BYTES, &used);
	nvl_vcpu_release(cpu);
	if (status != NVIRT_OK)
		error = -EIO;
	else if (a->bytes < used)
		error = -ENOSPC;
	else if (copy_to_user((void __user *)(unsigned long)a->buffer, copy, used))
		error = -EFAULT;
	a->bytes = used;
out:
	kfree(copy);
	return error;
}

static int set_nested(struct nvl_vcpu *vcpu, const struct nvirt_nested *a)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	void *copy;
	int error;

	if (a->bytes == 0 || a->bytes > NVIRT_STATE_MAX_BYTES)
		return -EINVAL;
	copy = memdup_user((void __user *)(unsigned long)a->buffer, a->bytes);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	error = nvl_vm_refill(vcpu->vm);
	if (!error)
		error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		goto out;
	status = nvl_backend->restore(vcpu, cpu, copy, a->bytes);
	nvl_vcpu_release(cpu);
	if (status == NVIRT_ERR_STATE)
		error = -EBUSY;
	else if (status != NVIRT_OK)
		error = -EINVAL;
out:
	kfree(copy);
	return error;
}

/* Commands that have a structure of the program's. */
union structure {
	u32 size; /* the first word of each */
	struct nvirt_run run;
	struct nvirt_regs regs;
	struct nvirt_sregs sregs;
	struct nvirt_inject inject;
	struct nvirt_vcpu_stats stats;
	struct nvirt_nested nested;
};

static const struct call {
	unsigned int command;
	size_t size;
	bool answers; /* the structure is written back */
} calls[] = {
	{NVIRT_RUN, sizeof(struct nvirt_run), true},
	{NVIRT_GET_REGS, sizeof(struct nvirt_regs), true},
	{NVIRT_SET_REGS, sizeof(struct nvirt_regs), false},
	{NVIRT_GET_SREGS, sizeof(struct nvirt_sregs), true},
	{NVIRT_SET_SREGS, sizeof(struct nvirt_sregs), false},
	{NVIRT_INJECT, sizeof(struct nvirt_inject), false},
	{NVIRT_GET_STATS, sizeof(struct nvirt_vcpu_stats), true},
	{NVIRT_GET_NESTED, sizeof(struct nvirt_nested), true},
	{NVIRT_SET_NESTED, sizeof(struct nvirt_nested), false},
};

static const struct call *find_call(unsigned int command)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].command == command)
			return &calls[i];
	}
	return NULL;
}

static int perform(struct nvl_vcpu *vcpu, unsigned int command, union structure *a)
{
	switch (command) {
	case NVIRT_RUN:
		return a->run.flags ? -EINVAL : nvl_run(vcpu, &a->run);
	case NVIRT_GET_REGS:
		return nvl_backend->get_regs(vcpu, &a->regs);
	case NVIRT_SET_REGS:
		vcpu->io_in = false;
		return nvl_backend->set_regs(vcpu, &a->regs);
	case NVIRT_GET_SREGS:
		return nvl_backend->get_sregs(vcpu, &a->sregs);
	case NVIRT_SET_SREGS:
		return set_sregs(vcpu, &a->sregs);
	case NVIRT_INJECT:
		return inject(vcpu, &a->inject);
	case NVIRT_GET_STATS:
		return get_stats(vcpu, &a->stats);
	case NVIRT_GET_NESTED:
		return get_nested(vcpu, &a->nested);
	default:
		return set_nested(vcpu, &a->nested);
	}
}

/* Reads the structure, does what is asked for, and writes it back; of a failure only how much room there must be. */
static long with_structure(struct nvl_vcpu *vcpu, const struct call *call, unsigned long argument)
{
	union structure a = {};
	int error = nvl_copy_in(&a, call->size, argument);
	int unwritten = 0;
	u32 given = a.size;

	if (error)
		return error;
	error = perform(vcpu, call->command, &a);
	a.size = given;
	if (call->answers && (!error || error == -ENOSPC))
		unwritten = nvl_copy_out(argument, &a, call->size);
	return error ? error : unwritten;
}

static long vcpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct nvl_vcpu *vcpu = file->private_data;
	const struct call *call = find_call(command);
	long result;

	if (current->mm != vcpu->vm->mm)
		return -EIO;
	if (command == NVIRT_KICK) {
		if (argument)
			return -EINVAL;
		nvl_vcpu_request(vcpu->vm, vcpu->index, NVL_REQUEST_KICK);
		return 0;
	}
	if (!call && command != NVIRT_RESET)
		return -ENOTTY;
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	if (call)
		result = with_structure(vcpu, call, argument);
	else
		result = argument ? -EINVAL : reset(vcpu);
	mutex_unlock(&vcpu->lock);
	return result;
}

/* ---- life ---- */

/*
 * What nvirt may pin counts as locked memory of the process whose it is (RLIMIT_MEMLOCK), from the beginning: L1 decides
 * when it is pinned, and no limit is to fail it then. Whoever closes the file last gives it back.
 */
static int count_locked(struct nvirt_port_vm *vm, bool more)
{
	return account_locked_vm(vm->mm, nvl_backend->pins, more);
}

static void free_vcpu(struct nvl_vcpu *vcpu)
{
	nvl_debugfs_remove(vcpu);
	nvl_backend->vcpu_exit(vcpu);
	nvl_pins_end(vcpu->vm);
	nvl_fpu_exit(vcpu);
	(void)count_locked(vcpu->vm, false);
	kfree(vcpu);
}

static int release(struct inode *inode, struct file *file)
{
	struct nvl_vcpu *vcpu = file->private_data;
	struct nvirt_port_vm *vm = vcpu->vm;

	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->vcpus[vcpu->index], NULL);
	mutex_unlock(&vm->lock);
	/* Whoever found it there before is done with it. */
	synchronize_rcu();
	free_vcpu(vcpu);
	nvl_vm_put(vm);
	return 0;
}

static const struct file_operations vcpu_operations = {
	.owner = THIS_MODULE,
	.release = release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = vcpu_ioctl,
	.llseek = noop_llseek,
};

static struct nvl_vcpu *make(struct nvirt_port_vm *vm, u32 index, int *error)
{
	static atomic64_t made = ATOMIC64_INIT(0);
	struct nvl_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);

	*error = -ENOMEM;
	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->serial = (u64)atomic64_inc_return(&made);
	mutex_init(&vcpu->lock);
	init_waitqueue_head(&vcpu->requested);
	/* The page of L1's root may have been another VM's, and a CPU may hold what a sibling left of this one: each CPU
	 * flushes before the vCPU first runs there. */
	__set_bit(NVL_REQUEST_FLUSH, &vcpu->requests);
	nvl_msr_init(vcpu);
	*error = nvl_fpu_init(vcpu);
	if (!*error)
		*error = nvl_vm_refill(vm);
	if (!*error)
		*error = nvl_backend->vcpu_init(vcpu);
	if (*error) {
		nvl_fpu_exit(vcpu);
		kfree(vcpu);
		return NULL;
	}
	nvl_debugfs_add(vcpu);
	return vcpu;
}

/* The index is taken while the vCPU is made. */
static struct nvl_vcpu *make_at(struct nvirt_port_vm *vm, u32 index, int *error)
{
	struct nvl_vcpu *vcpu = NULL;

	*error = count_locked(vm, true);
	if (*error)
		return NULL;
	*error = -EEXIST;
	mutex_lock(&vm->lock);
	if (!vm->vcpus[index])
		vcpu = make(vm, index, error);
	if (vcpu) {
		kref_get(&vm->ref);
		WRITE_ONCE(vm->vcpus[index], vcpu);
	}
	mutex_unlock(&vm->lock);
	if (!vcpu)
		(void)count_locked(vm, false);
	return vcpu;
}

int nvl_vcpu_create(struct nvirt_port_vm *vm, const struct nvirt_create_vcpu *a)
{
	struct nvl_vcpu *vcpu;
	int error, fd;

	if (a->index >= NVIRT_API_MAX_VCPUS || a->flags || a->reserved)
		return -EINVAL;
	vcpu = make_at(vm, a->index, &error);
	if (!vcpu)
		return error;
	fd = anon_inode_getfd("nvirt-vcpu", &vcpu_operations, vcpu, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		mutex_lock(&vm->lock);
		WRITE_ONCE(vm->vcpus[a->index], NULL);
		mutex_unlock(&vm->lock);
		synchronize_rcu();
		free_vcpu(vcpu);
		nvl_vm_put(vm);
	}
	return fd;
}
