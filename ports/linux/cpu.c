// SPDX-License-Identifier: MIT
/*
 * The virtualization hardware: on while a VM exists, on every CPU that is online, off for CPUs that
 * go, for suspend and for reboot. Somebody else's (KVM's) is left alone.
 */
#define pr_fmt(fmt) "nvirt: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/delay.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include "nvl.h"

enum nvl_vendor nvl_vendor;
const struct nvl_backend *nvl_backend;
bool nvl_has_apic_page;

#define PATIENCE (2 * HZ) /* of a CPU that goes, with those who sleep in it */

static DEFINE_PER_CPU(struct nvirt_port_cpu, nvl_cpu);
static DEFINE_MUTEX(users_lock);
static unsigned int users;
static bool gone; /* a reboot is under way */
static enum cpuhp_state hotplug_state;

struct nvirt_port_cpu *nvl_this_cpu(void)
{
	return this_cpu_ptr(&nvl_cpu);
}

/* ---- one CPU ---- */

static void disable_here(void *unused)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();

	if (!cpu->usable)
		return;
	cpu->usable = false;
	nvl_backend->disable(cpu, READ_ONCE(gone));
}

/* Interrupts off. @error: the first failure stays. */
static void enable_here(void *error)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();
	int failed;

	if (cpu->usable)
		return;
	failed = nvl_backend->enable(cpu);
	if (failed)
		cmpxchg((int *)error, 0, failed);
	else
		cpu->usable = true;
}

/* A crash, with interrupts off or in an NMI. */
static void emergency(void)
{
	if (nvl_this_cpu()->usable)
		nvl_backend->switch_off();
}

/* ---- all of them ---- */

static int switch_on(void)
{
	int error = 0;

	on_each_cpu(enable_here, &error, 1);
	if (error)
		on_each_cpu(disable_here, NULL, 1);
	else
		cpu_emergency_register_virt_callback(emergency);
	return error;
}

static void switch_off(void)
{
	cpu_emergency_unregister_virt_callback(emergency);
	on_each_cpu(disable_here, NULL, 1);
}

int nvl_cpus_get(void)
{
	int error = 0;

	cpus_read_lock();
	mutex_lock(&users_lock);
	if (gone) {
		error = -EBUSY;
	} else if (users == 0) {
		error = switch_on();
	}
	if (!error)
		users++;
	mutex_unlock(&users_lock);
	cpus_read_unlock();
	if (error == -EBUSY)
		pr_warn_once("the virtualization hardware is in use (by KVM?): no VM can be created\n");
	return error;
}

void nvl_cpus_put(void)
{
	cpus_read_lock();
	mutex_lock(&users_lock);
	if (--users == 0)
		switch_off();
	mutex_unlock(&users_lock);
	cpus_read_unlock();
}

/* ---- threads on a CPU ---- */

int nvl_cpu_hold(struct nvirt_port_cpu **held)
{
	for (;;) {
		struct nvirt_port_cpu *cpu;

		migrate_disable();
		preempt_disable();
		cpu = nvl_this_cpu();
		if (cpu->usable && !cpu->leaving) {
			cpu->loaded++;
			*held = cpu;
			return 0;
		}
		preempt_enable();
		migrate_enable();
		if (READ_ONCE(gone))
			return -EBUSY;
		/* The CPU is going: the scheduler takes this thread elsewhere. */
		if (schedule_timeout_killable(1) && fatal_signal_pending(current))
			return -EINTR;
	}
}

void nvl_cpu_release(struct nvirt_port_cpu *cpu)
{
	if (--cpu->loaded == 0 && cpu->leaving)
		wake_up(&cpu->emptied);
	preempt_enable();
	migrate_enable();
}

/* ---- hotplug: both are called on the CPU, in a thread of its own ---- */

static int cpu_comes(unsigned int number)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();
	int error = 0;

	cpu->leaving = false;
	mutex_lock(&users_lock);
	if (users != 0 && !gone) {
		local_irq_disable();
		enable_here(&error);
		local_irq_enable();
	}
	mutex_unlock(&users_lock);
	return error;
}

/*
 * Who is held here was preempted by this thread, or sleeps for a page of its process. That ends soon as a rule, but may
 * as well never: the memory's other end may be a program (userfaultfd, FUSE), or a server that is gone. Then
 * the CPU stays, rather than that all who wait for a change of CPUs wait for that program.
 */
static int cpu_goes(unsigned int number)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();

	cpu->leaving = true;
	if (!wait_event_timeout(cpu->emptied, READ_ONCE(cpu->loaded) == 0, PATIENCE)) {
		cpu->leaving = false;
		return -EBUSY;
	}
	mutex_lock(&users_lock);
	local_irq_disable();
	disable_here(NULL);
	local_irq_enable();
	mutex_unlock(&users_lock);
	return 0;
}

/* ---- suspend: one CPU, interrupts off, user threads frozen ---- */

static int suspend(NVL_SYSCORE_ARGUMENT)
{
	disable_here(NULL);
	return 0;
}

static void resume(NVL_SYSCORE_ARGUMENT)
{
	int error = 0;

	if (users != 0)
		enable_here(&error);
}

static struct syscore_ops syscore_operations = {
	.suspend = suspend,
	.resume = resume,
};

static struct syscore syscore = {
	.ops = &syscore_operations,
};

/* ---- reboot: a CPU in VMX operation does not hear INIT, and the next kernel wants SVM off ---- */

static int reboot(struct notifier_block *block, unsigned long event, void *data)
{
	/* A first VM that is being made has the hardware on everywhere by then, or finds that it is gone. */
	mutex_lock(&users_lock);
	WRITE_ONCE(gone, true);
	on_each_cpu(disable_here, NULL, 1);
	mutex_unlock(&users_lock);
	return NOTIFY_OK;
}

static struct notifier_block reboot_block = {
	.notifier_call = reboot,
};

/* ---- the module's ---- */

static bool find_vendor(void)
{
	if (nvl_svm_backend.missing() == 0) {
		nvl_vendor = NVL_SVM;
		nvl_backend = &nvl_svm_backend;
	} else if (nvl_vmx_backend.missing() == 0) {
		nvl_vendor = NVL_VMX;
		nvl_backend = &nvl_vmx_backend;
	}
	return nvl_vendor != NVL_NONE;
}

static void free_pages_of_cpus(void)
{
	unsigned int number;

	for_each_possible_cpu(number) {
		struct nvirt_port_cpu *cpu = per_cpu_ptr(&nvl_cpu, number);

		if (cpu->save)
			__free_page(cpu->save);
		if (cpu->state)
			__free_page(cpu->state);
		cpu->save = NULL;
		cpu->state = NULL;
	}
}

static int make_pages_of_cpus(void)
{
	unsigned int number;

	for_each_possible_cpu(number) {
		struct nvirt_port_cpu *cpu = per_cpu_ptr(&nvl_cpu, number);

		cpu->number = number;
		init_waitqueue_head(&cpu->emptied);
		INIT_LIST_HEAD(&cpu->bound);
		cpu->save = alloc_page(GFP_KERNEL | __GFP_ZERO);
		cpu->state = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!cpu->save || !cpu->state) {
			free_pages_of_cpus();
			return -ENOMEM;
		}
	}
	return 0;
}

int nvl_cpus_init(void)
{
	int error;

	if (!find_vendor())
		return -EOPNOTSUPP;
	nvl_fpu_setup();
	error = nvl_backend->init();
	if (error)
		return error;
	error = make_pages_of_cpus();
	if (error)
		goto no_pages;
	error = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "virt/nvirt:online", cpu_comes, cpu_goes);
	if (error < 0)
		goto no_hotplug;
	hotplug_state = error;
	register_reboot_notifier(&reboot_block);
	register_syscore(&syscore);
	return 0;

no_hotplug:
	free_pages_of_cpus();
no_pages:
	nvl_backend->exit();
	return error;
}

void nvl_cpus_exit(void)
{
	unregister_syscore(&syscore);
	unregister_reboot_notifier(&reboot_block);
	cpuhp_remove_state(hotplug_state);
	free_pages_of_cpus();
	nvl_backend->exit();
}
