// SPDX-License-Identifier: MIT
/*
 * Exits on SVM that are the host's: what the driver answers itself, and what goes to the program.
 */
#include <nvirt/x86.h>

#include "svm.h"

#define DR6_BS (1ULL << 14)
#define IOIO_IN 1u
#define IOIO_STRING (1u << 2)
#define IOIO_REP (1u << 3)

/* ---- completing an instruction ---- */

static int inject(struct nvl_vcpu *vcpu, u8 vector, bool has_error)
{
	const struct nvirt_event event = {
		.type = NVIRT_EVENT_EXCEPTION, .vector = vector, .has_error_code = has_error};

	return nvl_inject_exception(vcpu, &event);
}

/* What the end of each instruction does. */
static int go_on_at(struct nvl_vcpu *vcpu, u64 rip)
{
	struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);

	nvirt_vmcb_set_rip(vmcb, rip);
	nvirt_vmcb_set_int_state(vmcb, vmcb->int_state & ~NVIRT_SVM_INTERRUPT_SHADOW);
	nvirt_vmcb_set_rflags(vmcb, vmcb->rflags & ~NVIRT_RFLAGS_RF);
	if (!(vmcb->rflags & NVIRT_RFLAGS_TF))
		return NVL_GUEST;
	nvirt_vmcb_set_dr6(vmcb, vmcb->dr6 | DR6_BS);
	return inject(vcpu, NVIRT_VECTOR_DB, false);
}

static bool is_64bit(const struct nvirt_vmcb *vmcb)
{
	return (vmcb->efer & NVIRT_SVM_EFER_LMA) && (vmcb->cs.attrib & NVIRT_VMCB_SEG_L);
}

static int skip(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit)
{
	const struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	u32 length;
	u64 rip;
	int error;

	if (nvl_svm_has_nrips)
		return go_on_at(vcpu, vmcb->next_rip);
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		return error;
	status = nvirt_svm_insn_length(vcpu->svm.nvirt, exit->code, &length);
	nvl_vcpu_release(cpu);
	if (status != NVIRT_OK)
		return inject(vcpu, NVIRT_VECTOR_UD, false); /* the bytes were changed meanwhile */
	rip = vmcb->rip + length;
	return go_on_at(vcpu, is_64bit(vmcb) ? rip : (u32)rip);
}

/* ---- instructions ---- */

static int handle_cpuid(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit)
{
	struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	struct nvl_cpuid r;

	nvl_cpuid(vcpu, (u32)vmcb->rax, (u32)vcpu->gprs.r[NVIRT_RCX],
		  vmcb->cr4 & NVIRT_CR4_OSXSAVE, &r);
	nvirt_vmcb_set_rax(vmcb, r.eax);
	vcpu->gprs.r[NVIRT_RBX] = r.ebx;
	vcpu->gprs.r[NVIRT_RCX] = r.ecx;
	vcpu->gprs.r[NVIRT_RDX] = r.edx;
	return skip(vcpu, exit);
}

static int handle_msr(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit)
{
	struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	u32 msr = (u32)vcpu->gprs.r[NVIRT_RCX];
	u64 value = (u32)vmcb->rax | vcpu->gprs.r[NVIRT_RDX] << 32;
	bool write = exit->info1 == 1;

	if (!(write ? nvl_msr_write(vcpu, msr, value) : nvl_msr_read(vcpu, msr, &value)))
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	if (!write) {
		nvirt_vmcb_set_rax(vmcb, (u32)value);
		vcpu->gprs.r[NVIRT_RDX] = value >> 32;
	}
	return skip(vcpu, exit);
}

/* The CPU has checked CR4.OSXSAVE; the intercept comes before the check of CPL. */
static int handle_xsetbv(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit)
{
	const struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	u64 value = (u32)vmcb->rax | vcpu->gprs.r[NVIRT_RDX] << 32;

	if (vmcb->cpl != 0 || !nvl_fpu_set_xcr0(vcpu, (u32)vcpu->gprs.r[NVIRT_RCX], value))
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	return skip(vcpu, exit);
}

/* ---- for the program ---- */

/* EXITINFO1 says what kind, EXITINFO2 is the next RIP [APM 2 "IOIO Intercept"]. */
static int handle_io(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit, struct nvirt_run *run)
{
	const struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	u32 info = (u32)exit->info1;
	u32 width = info >> 4 & 7;
	int result = NVL_GUEST;

	nvl_exit_io(run, info >> 16, width,
		    (info & IOIO_IN ? NVIRT_IO_IN : 0) | (info & IOIO_STRING ? NVIRT_IO_STRING : 0) |
			    (info & IOIO_REP ? NVIRT_IO_REP : 0));
	run->io.next_rip = exit->info2;
	if (info & IOIO_STRING)
		return NVL_PROGRAM;
	if (info & IOIO_IN) {
		vcpu->io_in = true;
		vcpu->io_width = width;
		vcpu->io_next_rip = exit->info2;
	} else {
		run->io.data = (u32)(vmcb->rax & (width == 4 ? ~0u : (1u << width * 8) - 1));
		result = go_on_at(vcpu, exit->info2);
	}
	return result < 0 ? result : NVL_PROGRAM;
}

int nvl_svm_complete_in(struct nvl_vcpu *vcpu, u32 data)
{
	struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);
	u64 mask = vcpu->io_width == 4 ? ~0ULL : (1ULL << vcpu->io_width * 8) - 1;

	nvirt_vmcb_set_rax(vmcb, (vmcb->rax & ~mask) | (data & mask));
	return go_on_at(vcpu, vcpu->io_next_rip);
}

static int handle_hlt(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit,
		      struct nvirt_run *run)
{
	int result = skip(vcpu, exit);

	run->reason = NVIRT_EXIT_HLT;
	return result < 0 ? result : NVL_PROGRAM;
}

/*
 * A nested page fault of L1's own (the address is EXITINFO2), or of L2 in memory that L1 has but the
 * host could not give.
 */
static int handle_npf(struct nvl_vcpu *vcpu, const struct nvirt_svm_exit *exit,
		      struct nvirt_run *run)
{
	u64 address = exit->level == 2 ? exit->l1gpa.value : exit->info2;
	bool fetch = exit->info1 & NVIRT_SVM_NPF_ID;
	u32 flags = (exit->info1 & NVIRT_SVM_NPF_RW ? NVIRT_MMIO_WRITE : 0) |
		    (fetch ? NVIRT_MMIO_FETCH : 0);
	int result = nvl_exit_memory(vcpu, exit->level, address, flags, run);

	if (result == NVL_PROGRAM && run->reason == NVIRT_EXIT_MMIO && !fetch) {
		int error = nvl_svm_insn_bytes(vcpu, run->mmio.insn, &run->mmio.insn_bytes);

		if (error)
			return error;
	}
	return result;
}

int nvl_svm_handle(struct nvl_vcpu *vcpu, const struct nvl_exit *any, struct nvirt_run *run)
{
	const struct nvirt_svm_exit *exit = &any->svm;

	if (exit->verdict == NVIRT_VERDICT_L1_SHUTDOWN) {
		run->reason = NVIRT_EXIT_SHUTDOWN;
		return NVL_PROGRAM;
	}
	switch (exit->code) {
	case NVIRT_SVM_EXIT_INTR:
	case NVIRT_SVM_EXIT_NMI:
	case NVIRT_SVM_EXIT_SMI:
	case NVIRT_SVM_EXIT_INIT:
	case NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC:
		return NVL_GUEST; /* the kernel had it when interrupts and GIF came on again */
	case NVIRT_SVM_EXIT_CPUID:
		return handle_cpuid(vcpu, exit);
	case NVIRT_SVM_EXIT_MSR:
		return handle_msr(vcpu, exit);
	case NVIRT_SVM_EXIT_XSETBV:
		return handle_xsetbv(vcpu, exit);
	case NVIRT_SVM_EXIT_IOIO:
		return handle_io(vcpu, exit, run);
	case NVIRT_SVM_EXIT_NPF:
		return handle_npf(vcpu, exit, run);
	case NVIRT_SVM_EXIT_HLT:
		return handle_hlt(vcpu, exit, run);
	case NVIRT_SVM_EXIT_INVD:
	case NVIRT_SVM_EXIT_WBINVD:
	case NVIRT_SVM_EXIT_MONITOR:
	case NVIRT_SVM_EXIT_MWAIT:
	case NVIRT_SVM_EXIT_MWAIT_ARMED:
		/* The caches are the machine's, and no device reads this memory past them. A wait may
		 * end at any time. */
		return skip(vcpu, exit);
	case NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB:
		return inject(vcpu, NVIRT_VECTOR_DB, false); /* DR6 is as the exception leaves it */
	case NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_AC:
		return inject(vcpu, NVIRT_VECTOR_AC, true);
	case NVIRT_SVM_EXIT_RDPMC:
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	case NVIRT_SVM_EXIT_VMMCALL:
	case NVIRT_SVM_EXIT_RSM:
	case NVIRT_SVM_EXIT_RDPRU:
	case NVIRT_SVM_EXIT_INVLPGB:
	case NVIRT_SVM_EXIT_INVLPGB_ILLEGAL:
	case NVIRT_SVM_EXIT_TLBSYNC:
	case NVIRT_SVM_EXIT_MCOMMIT:
		return inject(vcpu, NVIRT_VECTOR_UD, false);
	case NVIRT_SVM_EXIT_SHUTDOWN:
		run->reason = NVIRT_EXIT_SHUTDOWN;
		return NVL_PROGRAM;
	default:
		return nvl_exit_failed(run, exit->code, exit->info1, exit->info2);
	}
}
