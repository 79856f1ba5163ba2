// SPDX-License-Identifier: MIT
/*
 * Exits on VMX that are the host's: what the driver answers itself, and what goes to the program.
 */
#include <asm/cpu.h>
#include <asm/cpufeature.h>
#include <asm/msr-index.h>

#include <nvirt/x86.h>

#include "vmx.h"

/* DR6 as exceptions set it: bits of the qualification, and two of which the clear one tells.
 * [SDM 3B "Debug Status Register (DR6)"] [SDM 3C "Basic VM-Exit Information"] */
#define DR6_SET (NVIRT_BITS(3, 0) | NVIRT_BITS(14, 13))
#define DR6_CLEARED (NVIRT_BIT(11) | NVIRT_BIT(16))
#define DR7_GD (1ULL << 13)
/* [SDM 3C "Exit Qualification for APIC-Access VM Exits"] */
#define APIC_ACCESS_OFFSET 0xfffULL
#define APIC_ACCESS_TYPE_SHIFT 12
#define APIC_ACCESS_READ 0
#define APIC_ACCESS_WRITE 1
#define APIC_ACCESS_FETCH 2

/* The CPL of a guest. [SDM 3C "Guest Register State"] */
#define SS_DPL (3ULL << 5)

#define GET(FIELD) nvl_vmx_get(vcpu, cpu, level, NVIRT_VMCS_##FIELD)
#define SET(FIELD, value) nvl_vmx_set(vcpu, cpu, level, NVIRT_VMCS_##FIELD, (value))

/* ---- completing an instruction ---- */

static int inject(struct nvl_vcpu *vcpu, u8 vector, bool has_error)
{
	const struct nvirt_event event = {
		.type = NVIRT_EVENT_EXCEPTION, .vector = vector, .has_error_code = has_error};

	return nvl_inject_exception(vcpu, &event);
}

static int skip(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	status = nvirt_vmx_skip(vcpu->vmx.nvirt, cpu);
	nvl_vcpu_release(cpu);
	return status == NVIRT_OK ? NVL_GUEST : -EIO;
}

/* A field of the running level, for handlers that need one. */
static int read_field(struct nvl_vcpu *vcpu, u32 level, enum nvirt_vmcs_field field, u64 *value)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	*value = nvl_vmx_get(vcpu, cpu, level, field);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

static int write_field(struct nvl_vcpu *vcpu, u32 level, enum nvirt_vmcs_field field, u64 value)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	nvl_vmx_set(vcpu, cpu, level, field, value);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

/* ---- instructions ---- */

static int handle_cpuid(struct nvl_vcpu *vcpu, u32 level)
{
	u64 *r = vcpu->gprs.r;
	struct nvirt_port_cpu *cpu;
	struct nvl_cpuid out;
	u64 cr4;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	cr4 = nvl_vmx_seen_cr4(vcpu, cpu, level);
	nvl_vcpu_release(cpu);
	if (nvl_vmx_failed(vcpu))
		return -EIO;
	nvl_cpuid(vcpu, (u32)r[NVIRT_RAX], (u32)r[NVIRT_RCX], cr4 & NVIRT_CR4_OSXSAVE, &out);
	r[NVIRT_RAX] = out.eax;
	r[NVIRT_RBX] = out.ebx;
	r[NVIRT_RCX] = out.ecx;
	r[NVIRT_RDX] = out.edx;
	return skip(vcpu);
}

/* Of L1; nvirt carries out those of L2. IA32_DEBUGCTL is in vmcs01. */
static int access_msr(struct nvl_vcpu *vcpu, u32 msr, bool write, u64 *value, bool *done)
{
	*done = true;
	if (msr != MSR_IA32_DEBUGCTLMSR) {
		*done = write ? nvl_msr_write(vcpu, msr, *value) : nvl_msr_read(vcpu, msr, value);
		return 0;
	}
	if (!write)
		return read_field(vcpu, 1, NVIRT_VMCS_GUEST_DEBUGCTL, value);
	*done = !(*value & ~nvl_vmx_offer.cpu.debugctl_valid);
	return *done ? write_field(vcpu, 1, NVIRT_VMCS_GUEST_DEBUGCTL, *value) : 0;
}

static int handle_msr(struct nvl_vcpu *vcpu, bool write)
{
	u64 *r = vcpu->gprs.r;
	u64 value = (u32)r[NVIRT_RAX] | r[NVIRT_RDX] << 32;
	bool done;
	int error = access_msr(vcpu, (u32)r[NVIRT_RCX], write, &value, &done);

	if (error)
		return error;
	if (!done)
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	if (!write) {
		r[NVIRT_RAX] = (u32)value;
		r[NVIRT_RDX] = value >> 32;
	}
	return skip(vcpu);
}

/* The CPU has checked CPL and CR4.OSXSAVE. */
static int handle_xsetbv(struct nvl_vcpu *vcpu)
{
	const u64 *r = vcpu->gprs.r;
	u64 value = (u32)r[NVIRT_RAX] | r[NVIRT_RDX] << 32;

	if (!nvl_fpu_set_xcr0(vcpu, (u32)r[NVIRT_RCX], value))
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	return skip(vcpu);
}

/* MOV to and from CR8, which both levels share; the CPU has checked CPL. */
static int handle_cr8(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit)
{
	u64 access = (exit->qualification & NVIRT_VMX_QUAL_CR_ACCESS) >> NVIRT_VMX_QUAL_CR_ACCESS_SHIFT;
	u64 gpr = (exit->qualification & NVIRT_VMX_QUAL_CR_GPR) >> NVIRT_VMX_QUAL_CR_GPR_SHIFT;
	u64 value = vcpu->gprs.r[gpr];
	int error = 0;

	if (access == NVIRT_VMX_QUAL_CR_ACCESS_FROM) {
		vcpu->gprs.r[gpr] = vcpu->vmx.cr8;
		if (gpr == NVIRT_RSP)
			error = write_field(vcpu, exit->level, NVIRT_VMCS_GUEST_RSP, vcpu->vmx.cr8);
	} else {
		if (gpr == NVIRT_RSP)
			error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_RSP, &value);
		if (!error && value > 15)
			return inject(vcpu, NVIRT_VECTOR_GP, true);
		vcpu->vmx.cr8 = value;
	}
	return error ? error : skip(vcpu);
}

static int handle_vmcall(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	status = nvirt_vmx_vmcall_refuse(vcpu->vmx.nvirt, cpu);
	nvl_vcpu_release(cpu);
	return status == NVIRT_OK ? NVL_GUEST : -EIO;
}

/* ---- exceptions ---- */

static int reinject(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	status = nvirt_vmx_reinject(vcpu->vmx.nvirt, cpu);
	nvl_vcpu_release(cpu);
	/* The program's own exception may wait: it comes first, and the instruction runs again. */
	return status == NVIRT_OK || status == NVIRT_ERR_STATE ? NVL_GUEST : -EIO;
}

/* What delivery does to DR6 and DR7 an exit leaves to software; INT1 does nothing to them. */
static int handle_debug_exception(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit, u64 type)
{
	u64 dr7;
	int error;

	if (type != NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION)
		return reinject(vcpu);
	error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_DR7, &dr7);
	if (!error && (dr7 & DR7_GD))
		error = write_field(vcpu, exit->level, NVIRT_VMCS_GUEST_DR7, dr7 & ~DR7_GD);
	if (error)
		return error;
	vcpu->vmx.dr6 &= ~(NVIRT_BITS(3, 0) | (exit->qualification & DR6_CLEARED));
	vcpu->vmx.dr6 |= exit->qualification & DR6_SET;
	return reinject(vcpu);
}

/*
 * Where the kernel has CPUs look for split locks, a locked access across two cache lines is #AC in every mode. It is the
 * guest's own alignment check only where that is on (CR0.AM, EFLAGS.AC, CPL 3); else the guest knows nothing of it, and it is
 * for the kernel to say whether the instruction runs again without that check or the program gets a SIGBUS.
 * [SDM 3A "Interrupt 17-Alignment Check Exception (#AC)"; "Features to Disable Bus Locks"]
 */
static int handle_alignment_check(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit, struct nvirt_run *run)
{
	u64 cr0 = 0, rflags = 0, ss = 0, rip = 0;
	int error;

	if (!boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT))
		return reinject(vcpu);
	error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_CR0, &cr0);
	if (!error)
		error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_RFLAGS, &rflags);
	if (!error)
		error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_SS_AR, &ss);
	if (!error)
		error = read_field(vcpu, exit->level, NVIRT_VMCS_GUEST_RIP, &rip);
	if (error)
		return error;
	if ((cr0 & NVIRT_CR0_AM) && (rflags & NVIRT_RFLAGS_AC) && (ss & SS_DPL) == SS_DPL)
		return reinject(vcpu);
	/* May sleep, where the kernel slows such programs down. */
	return handle_guest_split_lock(rip) ? NVL_GUEST
					    : nvl_exit_failed(run, exit->reason, exit->qualification, exit->interruption);
}

static int handle_exception(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit,
			    struct nvirt_run *run)
{
	u64 type = (exit->interruption & NVIRT_VMX_INTR_TYPE) >> NVIRT_VMX_INTR_TYPE_SHIFT;

	if (type == NVIRT_VMX_INTR_TYPE_NMI)
		return NVL_GUEST; /* the kernel had it (vmx_cpu.c) */
	switch (exit->interruption & NVIRT_VMX_INTR_VECTOR) {
	case NVIRT_VECTOR_MC:
		return NVL_GUEST; /* likewise */
	case NVIRT_VECTOR_DB:
		return handle_debug_exception(vcpu, exit, type);
	case NVIRT_VECTOR_AC:
		return handle_alignment_check(vcpu, exit, run);
	default:
		return nvl_exit_failed(run, exit->reason, exit->qualification, exit->interruption);
	}
}

/* ---- for the program ---- */

/* [SDM 3C "Exit Qualification for I/O Instructions"] */
static int handle_io(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit, struct nvirt_run *run)
{
	u64 info = exit->qualification;
	u32 width = (u32)(info & NVIRT_VMX_QUAL_IO_SIZE) + 1;
	struct nvirt_port_cpu *cpu;
	u32 level = exit->level;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	nvl_exit_io(run, info >> NVIRT_VMX_QUAL_IO_PORT_SHIFT, width,
		    (info & NVIRT_VMX_QUAL_IO_IN ? NVIRT_IO_IN : 0) |
			    (info & NVIRT_VMX_QUAL_IO_STRING ? NVIRT_IO_STRING : 0) |
			    (info & NVIRT_VMX_QUAL_IO_REP ? NVIRT_IO_REP : 0));
	run->io.next_rip = GET(GUEST_RIP) + GET(EXIT_INSN_LENGTH);
	nvl_vcpu_release(cpu);
	if (nvl_vmx_failed(vcpu))
		return -EIO;
	if (info & NVIRT_VMX_QUAL_IO_STRING)
		return NVL_PROGRAM;
	if (info & NVIRT_VMX_QUAL_IO_IN) {
		vcpu->io_in = true;
		vcpu->io_width = width;
		return NVL_PROGRAM;
	}
	run->io.data = (u32)(vcpu->gprs.r[NVIRT_RAX] & (width == 4 ? ~0u : (1u << width * 8) - 1));
	error = skip(vcpu);
	return error < 0 ? error : NVL_PROGRAM;
}

int nvl_vmx_complete_in(struct nvl_vcpu *vcpu, u32 data)
{
	u64 mask = vcpu->io_width == 4 ? ~0ULL : (1ULL << vcpu->io_width * 8) - 1;
	u64 *rax = &vcpu->gprs.r[NVIRT_RAX];

	*rax = (*rax & ~mask) | (data & mask);
	return skip(vcpu);
}

/* An L2 that L1 wants back when its timer runs out waits in hardware, where the timer runs on. Interrupts of
 * the host end that as they end anything. */
static int wait_in_hardware(struct nvl_vcpu *vcpu, u32 level, bool *waits)
{
	struct nvirt_port_cpu *cpu;
	int error;

	*waits = false;
	if (level != 2 || !(nvl_vmx_caps.misc & NVIRT_VMX_MISC_ACTIVITY_HLT))
		return 0;
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		return error;
	*waits = GET(PIN_CONTROLS) & NVIRT_VMX_PIN_PREEMPTION_TIMER;
	if (*waits)
		SET(GUEST_ACTIVITY, NVIRT_VMX_ACTIVITY_HLT);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

static int handle_hlt(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit, struct nvirt_run *run)
{
	int result = skip(vcpu);
	bool waits;

	if (result < 0)
		return result;
	result = wait_in_hardware(vcpu, exit->level, &waits);
	if (result < 0 || waits)
		return result;
	run->reason = NVIRT_EXIT_HLT;
	return NVL_PROGRAM;
}

static int insn_bytes(struct nvl_vcpu *vcpu, struct nvirt_run *run)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	if (nvirt_vmx_insn_bytes(vcpu->vmx.nvirt, cpu, run->mmio.insn, &run->mmio.insn_bytes) !=
	    NVIRT_OK)
		run->mmio.insn_bytes = 0;
	nvl_vcpu_release(cpu);
	return 0;
}

static int handle_ept_violation(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit,
				struct nvirt_run *run)
{
	u32 flags = (exit->qualification & NVIRT_VMX_QUAL_EPT_WRITE ? NVIRT_MMIO_WRITE : 0) |
		    (exit->qualification & NVIRT_VMX_QUAL_EPT_FETCH ? NVIRT_MMIO_FETCH : 0);
	int result = nvl_exit_memory(vcpu, exit->level, exit->l1gpa.value, flags, run);

	if (result == NVL_PROGRAM && run->reason == NVIRT_EXIT_MMIO &&
	    !(flags & NVIRT_MMIO_FETCH)) {
		int error = insn_bytes(vcpu, run);

		if (error)
			return error;
	}
	return result;
}

/*
 * An access to the APIC's page, which the memory behind it never sees: what EPT violations are for pages without
 * memory. Only one of an instruction's own operands can be carried out from its bytes; event delivery and page
 * walks come without them. [SDM 3C "Exit Qualification for APIC-Access VM Exits"]
 */
static int handle_apic_access(struct nvl_vcpu *vcpu, const struct nvirt_vmx_exit *exit, struct nvirt_run *run)
{
	u64 type = exit->qualification >> APIC_ACCESS_TYPE_SHIFT & 0xf;

	run->reason = NVIRT_EXIT_MMIO;
	run->mmio.address = READ_ONCE(vcpu->vm->apic_page) | (exit->qualification & APIC_ACCESS_OFFSET);
	run->mmio.flags = type == APIC_ACCESS_WRITE ? NVIRT_MMIO_WRITE : type == APIC_ACCESS_FETCH ? NVIRT_MMIO_FETCH : 0;
	if (type == APIC_ACCESS_READ || type == APIC_ACCESS_WRITE) {
		int error = insn_bytes(vcpu, run);

		if (error)
			return error;
	}
	return NVL_PROGRAM;
}

/* ---- dispatch ---- */

int nvl_vmx_handle(struct nvl_vcpu *vcpu, const struct nvl_exit *any, struct nvirt_run *run)
{
	const struct nvirt_vmx_exit *exit = &any->vmx;

	if (exit->verdict == NVIRT_VERDICT_L1_SHUTDOWN) {
		run->reason = NVIRT_EXIT_SHUTDOWN;
		return NVL_PROGRAM;
	}
	if (exit->reason & NVIRT_VMX_REASON_ENTRY_FAILURE)
		return nvl_exit_failed(run, exit->reason, exit->qualification, 0);
	switch (exit->reason & NVIRT_VMX_REASON_BASIC) {
	case NVIRT_VMX_EXIT_INIT:
		/* Of the program's: the kernel sends INITs to CPUs that are offline, which run no guest. */
		run->reason = NVIRT_EXIT_INIT;
		return NVL_PROGRAM;
	case NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT:
	case NVIRT_VMX_EXIT_IO_SMI:
	case NVIRT_VMX_EXIT_OTHER_SMI:
		return NVL_GUEST; /* the kernel had it when interrupts came on again */
	case NVIRT_VMX_EXIT_EXCEPTION_NMI:
		return handle_exception(vcpu, exit, run);
	case NVIRT_VMX_EXIT_CPUID:
		return handle_cpuid(vcpu, exit->level);
	case NVIRT_VMX_EXIT_RDMSR:
		return handle_msr(vcpu, false);
	case NVIRT_VMX_EXIT_WRMSR:
		return handle_msr(vcpu, true);
	case NVIRT_VMX_EXIT_XSETBV:
		return handle_xsetbv(vcpu);
	case NVIRT_VMX_EXIT_CR_ACCESS:
		return handle_cr8(vcpu, exit);
	case NVIRT_VMX_EXIT_VMCALL:
		return handle_vmcall(vcpu);
	case NVIRT_VMX_EXIT_IO:
		return handle_io(vcpu, exit, run);
	case NVIRT_VMX_EXIT_EPT_VIOLATION:
		return handle_ept_violation(vcpu, exit, run);
	case NVIRT_VMX_EXIT_APIC_ACCESS:
		return handle_apic_access(vcpu, exit, run);
	case NVIRT_VMX_EXIT_HLT:
		return handle_hlt(vcpu, exit, run);
	case NVIRT_VMX_EXIT_INVD:
	case NVIRT_VMX_EXIT_WBINVD:
	case NVIRT_VMX_EXIT_MONITOR:
	case NVIRT_VMX_EXIT_MWAIT:
		/* The caches are the machine's, and no device reads this memory past them. A wait may
		 * end at any time. */
		return skip(vcpu);
	case NVIRT_VMX_EXIT_RDPMC:
		return inject(vcpu, NVIRT_VECTOR_GP, true);
	case NVIRT_VMX_EXIT_GETSEC:
	case NVIRT_VMX_EXIT_RSM:
	case NVIRT_VMX_EXIT_ENCLS:
	case NVIRT_VMX_EXIT_ENCLV:
	case NVIRT_VMX_EXIT_PCONFIG:
		return inject(vcpu, NVIRT_VECTOR_UD, false);
	case NVIRT_VMX_EXIT_TRIPLE_FAULT:
		run->reason = NVIRT_EXIT_SHUTDOWN;
		return NVL_PROGRAM;
	default:
		return nvl_exit_failed(run, exit->reason, exit->qualification, 0);
	}
}
