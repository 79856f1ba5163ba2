// SPDX-License-Identifier: MIT
/*
 * The loop of a vCPU: rounds of one entry each, until the program is wanted. And exits that are alike on
 * both vendors.
 */
#include <linux/sched/signal.h>
#include <linux/smp.h>

#include <asm/cpufeature.h>
#include <asm/nospec-branch.h>

#include "nvl.h"

/* ---- around an entry ---- */

/* Requests that need nothing but coming through here are done by that. True: back to the program. */
static bool take_requests(struct nvl_vcpu *vcpu)
{
	/* First what is to be done, which may make nvirt ask for a prepare. */
	if (test_and_clear_bit(NVL_REQUEST_FLUSH, &vcpu->requests))
		nvl_backend->flush(vcpu);
	clear_bit(NVL_REQUEST_RELOAD, &vcpu->requests);
	return test_and_clear_bit(NVL_REQUEST_KICK, &vcpu->requests);
}

/* A signal, or work that the kernel does when the thread goes back to its program: it is to go there. */
static bool program_is_wanted(void)
{
	return signal_pending(current) || test_thread_flag(TIF_NOTIFY_RESUME);
}

/*
 * Interrupts off, the guest is next. What another vCPU's guest has taught the branch predictor must not steer this
 * one, whosever processes they are; and neither is to steer the program (VMSCAPE), which the kernel sees to on the
 * way there when it is told.
 */
static void between_guests(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	if (cpu->last_guest != vcpu->serial) {
		cpu->last_guest = vcpu->serial;
		vcpu->barriers++;
		indirect_branch_prediction_barrier();
	}
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}

/* A request that comes later interrupts the guest; one that came before is seen here. */
bool nvl_begin_guest(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	WRITE_ONCE(vcpu->in_guest, smp_processor_id() + 1);
	/* Pairs with the one in nvl_vcpu_request(). */
	smp_mb();
	if (READ_ONCE(vcpu->requests) == 0 && !need_resched() && !program_is_wanted() &&
	    cpu->usable) {
		between_guests(vcpu, cpu);
		return true;
	}
	nvl_end_guest(vcpu);
	return false;
}

void nvl_end_guest(struct nvl_vcpu *vcpu)
{
	smp_store_release(&vcpu->in_guest, 0);
}

void nvl_wait_for_request(struct nvl_vcpu *vcpu, u64 nanoseconds)
{
	/* Why it ended shows in the next round. */
	(void)wait_event_interruptible_hrtimeout(vcpu->requested, READ_ONCE(vcpu->requests) != 0,
						 ns_to_ktime(nanoseconds));
}

/* ---- exits ---- */

int nvl_inject_exception(struct nvl_vcpu *vcpu, const struct nvirt_event *event)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	status = nvl_backend->inject(vcpu, cpu, event);
	nvl_vcpu_release(cpu);
	/* The program's own exception may wait: it comes first, and the instruction runs again. */
	return status == NVIRT_OK || status == NVIRT_ERR_STATE ? NVL_GUEST : -EIO;
}

void nvl_exit_io(struct nvirt_run *run, u16 port, u32 width, u32 flags)
{
	run->reason = NVIRT_EXIT_IO;
	run->io.port = port;
	run->io.width = width;
	run->io.flags = flags;
}

/* The process's memory could not be had, or a signal came first. */
static int exit_no_memory(struct nvirt_run *run, u64 l1gpa, u32 flags)
{
	if (signal_pending(current))
		return -EINTR;
	run->reason = NVIRT_EXIT_MEMORY;
	run->mmio.address = l1gpa;
	run->mmio.flags = flags;
	return NVL_PROGRAM;
}

int nvl_exit_memory(struct nvl_vcpu *vcpu, u32 level, u64 l1gpa, u32 flags, struct nvirt_run *run)
{
	bool write = flags & NVIRT_MMIO_WRITE;
	u64 user, bytes;
	int error;

	/* Of L2, nvirt has asked for memory that L1 has: the host could not give it; or it is L1's APIC. */
	if (level == 2 && nvl_memory_is_apic(vcpu->vm, l1gpa))
		error = -ENOENT;
	else if (level == 2)
		error = nvl_memory_find(vcpu->vm, l1gpa, write, &user, &bytes) ? -EFAULT : -ENOENT;
	else
		error = nvl_stage2_fault(vcpu->vm, l1gpa, write);
	switch (error) {
	case 0:
		return NVL_GUEST;
	case -ENOENT:
		run->reason = NVIRT_EXIT_MMIO;
		break;
	case -EFAULT:
		return exit_no_memory(run, l1gpa, flags);
	default:
		return error;
	}
	run->mmio.address = l1gpa;
	run->mmio.flags = flags;
	return NVL_PROGRAM;
}

int nvl_exit_failed(struct nvirt_run *run, u64 code, u64 info1, u64 info2)
{
	run->reason = NVIRT_EXIT_FAILED;
	run->failed.code = code;
	run->failed.info1 = info1;
	run->failed.info2 = info2;
	return NVL_PROGRAM;
}

/* ---- the loop ---- */

static int round_of(struct nvl_vcpu *vcpu, struct nvirt_run *run)
{
	struct nvl_exit exit = {};
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	bool exited = false;
	int error;

	cond_resched();
	if (program_is_wanted())
		return -EINTR;
	if (nvl_vm_refill(vcpu->vm))
		return -ENOMEM;
	if (take_requests(vcpu)) {
		run->reason = NVIRT_EXIT_KICKED;
		return NVL_PROGRAM;
	}
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		return error;
	status = nvl_backend->once(vcpu, cpu, &exit, &exited);
	nvl_vcpu_release(cpu);
	/* With the reserve filled again; when the change of the APIC's page is over. */
	if (status == NVIRT_ERR_NO_PAGE || status == NVIRT_ERR_RETRY)
		return NVL_GUEST;
	if (status == NVIRT_ERR_ASLEEP)
		return nvl_backend->sleep(vcpu);
	if (status == NVIRT_ERR_NO_MAPPING)
		return exit_no_memory(run, READ_ONCE(vcpu->vm->apic_page), 0);
	if (status != NVIRT_OK)
		return nvl_exit_failed(run, status, 0, 0);
	return exited ? nvl_backend->handle(vcpu, &exit, run) : NVL_GUEST;
}

static u32 state_of(const struct nvl_vcpu *vcpu)
{
	u32 waits = nvl_backend->waits(vcpu);

	return (nvl_backend->level(vcpu) == 2 ? NVIRT_STATE_LEVEL2 : 0) |
	       (waits & NVIRT_WAITS_INTERRUPT ? NVIRT_STATE_INTERRUPT_WAITS : 0) |
	       (waits & NVIRT_WAITS_NMI ? NVIRT_STATE_NMI_WAITS : 0);
}

/* The program's answer to an IN comes with the next run. */
static int complete_io(struct nvl_vcpu *vcpu, const struct nvirt_run *run)
{
	if (!vcpu->io_in)
		return NVL_GUEST;
	vcpu->io_in = false;
	return nvl_backend->complete_in(vcpu, run->io.data);
}

int nvl_run(struct nvl_vcpu *vcpu, struct nvirt_run *run)
{
	int result = complete_io(vcpu, run);

	memset((u8 *)run + sizeof(run->size), 0, sizeof(*run) - sizeof(run->size));
	while (result == NVL_GUEST)
		result = round_of(vcpu, run);
	if (result < 0)
		return result;
	run->state = state_of(vcpu);
	run->cr8 = nvl_backend->cr8(vcpu);
	return 0;
}
