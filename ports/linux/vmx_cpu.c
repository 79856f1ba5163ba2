// SPDX-License-Identifier: MIT
/*
 * VMX on a physical CPU: VMX operation, which vCPUs have VMCSs active there, the host's side of vmcs01,
 * and the registers that neither entry nor exit switches.
 *
 * A vCPU's VMCSs are active on one CPU, its home, until they are VMCLEARed there: when it is wanted on
 * another one, by an interrupt (as a thread may be in the middle of its own calls there); when that CPU goes;
 * when the vCPU ends. [SDM 3C "Software Use of Virtual-Machine Control Structures"]
 */
#define pr_fmt(fmt) "nvirt: " fmt

#include <linux/hw_breakpoint.h>
#include <linux/smp.h>

#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/fsgsbase.h>
#include <asm/msr.h>
#include <asm/perf_event.h>
#include <asm/segment.h>
#include <asm/tlbflush.h>

#include <nvirt/x86.h>

#include "vmx.h"

int nvl_vmx_enter(struct nvirt_gprs *gprs, bool launch, u64 spec_ctrl);

/* ---- VMX operation ---- */

/* CR4.VMXE set by somebody else is somebody else's. [SDM 3C "Enabling and Entering VMX Operation"] */
int nvl_vmx_enable(struct nvirt_port_cpu *cpu)
{
	const u64 on = NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX;
	u64 feature, region = page_to_phys(cpu->save);
	u8 cf, zf;

	if (cr4_read_shadow() & X86_CR4_VMXE)
		return -EBUSY;
	/* The kernel has set and locked it. */
	if (rdmsrq_safe(NVIRT_MSR_FEATURE_CONTROL, &feature) || (feature & on) != on)
		return -EOPNOTSUPP;
	*(u32 *)page_address(cpu->save) = (u32)(nvl_vmx_caps.basic & NVIRT_VMX_BASIC_REVISION);
	intel_pt_handle_vmx(1);
	cr4_set_bits_irqsoff(X86_CR4_VMXE);
	asm volatile(NVL_VMX_INSN("vmxon %[region]")
		     : [cf] "=&qm"(cf), [zf] "=&qm"(zf)
		     : [region] "m"(region)
		     : "cc", "memory");
	if (!cf && !zf) {
		nvl_vmx_forget_translations(cpu, nvl_vmx_caps.ept_vpid);
		return 0;
	}
	cr4_clear_bits_irqsoff(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
	return -EIO;
}

/*
 * On its home, interrupts off. What it has left unread is read from its own VMCSs, which nvirt makes current where it
 * knows that they are not. False: the hardware refused, or is off.
 */
static bool leave_home(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	if (cpu->owner != vcpu && nvirt_vmx_forget_current(vcpu->vmx.nvirt) != NVIRT_OK)
		return false;
	if (nvirt_vmx_leave_cpu(vcpu->vmx.nvirt, cpu) != NVIRT_OK)
		return false;
	list_del_init(&vcpu->vmx.bound);
	vcpu->vmx.home = NULL;
	return true;
}

/* Whoever comes next takes no VMCS for its own. */
static void disown(struct nvirt_port_cpu *cpu)
{
	cpu->current_vmcs = 0;
	cpu->owner = NULL;
}

void nvl_vmx_switch_off(void)
{
	asm volatile("1: vmxoff\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     :
		     :
		     : "cc", "memory");
	cr4_clear_bits_irqsoff(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
}

void nvl_vmx_disable(struct nvirt_port_cpu *cpu, bool last)
{
	struct nvl_vcpu *vcpu, *next;

	/* Before a reboot a thread may have been interrupted inside nvirt: its vCPU is not to be touched, and
	 * nobody will want these VMCSs. */
	list_for_each_entry_safe(vcpu, next, &cpu->bound, vmx.bound) {
		if (last) {
			list_del_init(&vcpu->vmx.bound);
			continue;
		}
		WARN_ON_ONCE(!leave_home(vcpu, cpu));
		/* Nor is that of the next one current any more. */
		disown(cpu);
	}
	nvl_vmx_switch_off();
}

/* ---- a vCPU comes and goes ---- */

/*
 * On the home of a vCPU whose thread waits for this, elsewhere as a rule. Another's that runs here may be inside
 * nvirt: what it has made current is made so again. One that has only just come has made nothing current, and one that
 * sleeps inside nvirt sees to that itself (nvl_vmx_resume()).
 */
static void leave_here(void *data)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();
	struct nvl_vcpu *vcpu = data, *inside = cpu->running;
	u64 current_vmcs = cpu->current_vmcs;

	if (vcpu->vmx.home != cpu)
		return;
	/* Its thread sees that the home is still the same. */
	(void)leave_home(vcpu, cpu);
	if (!inside || inside == vcpu || inside != cpu->owner) {
		disown(cpu);
		return;
	}
	cpu->current_vmcs = 0;
	if (current_vmcs != 0 && nvirt_port_vmptrld(cpu, nvirt_hpa_make(current_vmcs)) != NVIRT_HW_OK)
		WARN_ON_ONCE(1);
}

bool nvl_vmx_leave(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *home = READ_ONCE(vcpu->vmx.home);

	/* A home that went offline was left before. */
	if (home)
		smp_call_function_single(home->number, leave_here, vcpu, 1);
	return READ_ONCE(vcpu->vmx.home) == NULL;
}

static u64 tr_base(const struct desc_ptr *gdt)
{
	const struct ldttss_desc *tss = (const void *)(gdt->address + GDT_ENTRY_TSS * 8);

	return tss->base0 | (u64)tss->base1 << 16 | (u64)tss->base2 << 24 | (u64)tss->base3 << 32;
}

/* What could not be written is not taken for written. */
#define SET_HOST(FIELD, member, value)                                                             \
	do {                                                                                           \
		if (host->member != (value) &&                                                         \
		    nvl_vmx_set(vcpu, cpu, 1, NVIRT_VMCS_HOST_##FIELD, (value)))                       \
			host->member = (value);                                                        \
	} while (0)

/* What is each CPU's own. [SDM 3C "Host-State Area"] */
static void set_host_of_cpu(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	struct nvl_vmx_host *host = &vcpu->vmx.host;
	struct desc_ptr gdt, idt;
	u64 gs_base, sysenter_esp;

	native_store_gdt(&gdt);
	store_idt(&idt);
	rdmsrq(MSR_GS_BASE, gs_base);
	rdmsrq(MSR_IA32_SYSENTER_ESP, sysenter_esp);
	SET_HOST(GDTR_BASE, gdt_base, gdt.address);
	SET_HOST(IDTR_BASE, idt_base, idt.address);
	SET_HOST(TR_BASE, tr_base, tr_base(&gdt));
	SET_HOST(GS_BASE, gs_base, gs_base);
	SET_HOST(SYSENTER_ESP, sysenter_esp, sysenter_esp);
	vcpu->vmx.host_of_home = !vcpu->vmx.failed;
}

/*
 * The current VMCS may be any other's. It is noted as nobody's until the vCPU makes one of its own current: were it
 * noted on, leave_here() or the end of a sleep would load a VMCS whose vCPU has left, or that is free. Both see the old
 * owner with the old VMCS, or neither.
 */
static void take_over(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	cpu->current_vmcs = 0;
	cpu->owner = vcpu;
	local_irq_restore(flags);
}

static void make_home(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	list_add(&vcpu->vmx.bound, &cpu->bound);
	vcpu->vmx.home = cpu;
	local_irq_restore(flags);
	vcpu->vmx.host_of_home = false;
}

void nvl_vmx_come(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	struct nvl_vmx *vmx = &vcpu->vmx;

	/* Where that fails, the calls of nvirt that follow fail, too. */
	if (vmx->home != cpu && !nvl_vmx_leave(vcpu))
		return;
	if (cpu->owner != vcpu) {
		if (nvirt_vmx_forget_current(vmx->nvirt) != NVIRT_OK)
			WARN_ON_ONCE(1);
		take_over(vcpu, cpu);
	}
	if (vmx->home != cpu)
		make_home(vcpu, cpu);
	if (!vmx->host_of_home)
		set_host_of_cpu(vcpu, cpu);
}

void nvl_vmx_resume(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u64 vmcs)
{
	if (cpu->owner == vcpu)
		return;
	take_over(vcpu, cpu);
	if (vmcs == 0)
		return;
	/* A failure shows at the next VMREAD. */
	(void)(nvirt_port_vmptrld(cpu, nvirt_hpa_make(vmcs)) == NVIRT_HW_OK);
}

void nvl_vmx_set_host_state(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	struct nvl_vmx_host *host = &vcpu->vmx.host;

	SET_HOST(CR3, cr3, __read_cr3());
	SET_HOST(CR4, cr4, cr4_read_shadow());
	SET_HOST(FS_BASE, fs_base, x86_fsbase_read_cpu());
}

/* An interrupt may have changed them since. */
static bool host_state_holds(const struct nvl_vcpu *vcpu)
{
	return vcpu->vmx.host.cr3 == __read_cr3() && vcpu->vmx.host.cr4 == cr4_read_shadow();
}

/* ---- MSRs that are the running guest's ---- */

#define GS_BASE_OF_PROCESS 4 /* of host_msr: while the kernel runs it is KERNEL_GS_BASE */

static const u32 swapped[NVL_VMX_MSRS] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, [GS_BASE_OF_PROCESS] = MSR_KERNEL_GS_BASE,
};

u64 *nvl_vmx_msr(struct nvl_vcpu *vcpu, u32 msr)
{
	u32 i;

	for (i = 0; i < NVL_VMX_MSRS; i++) {
		if (swapped[i] == msr)
			return &vcpu->vmx.msr[i];
	}
	return NULL;
}

static void msrs_enter(struct nvl_vmx *vmx)
{
	u32 i;

	for (i = 0; i < NVL_VMX_MSRS; i++) {
		rdmsrq(swapped[i], vmx->host_msr[i]);
		if (vmx->msr[i] != vmx->host_msr[i])
			wrmsrq(swapped[i], vmx->msr[i]);
	}
}

static void msrs_leave(struct nvl_vmx *vmx)
{
	u32 i;

	for (i = 0; i < NVL_VMX_MSRS; i++) {
		rdmsrq(swapped[i], vmx->msr[i]);
		if (vmx->msr[i] != vmx->host_msr[i])
			wrmsrq(swapped[i], vmx->host_msr[i]);
	}
}

/* ---- the rest of the host ---- */

struct kept {
	struct desc_ptr gdt;
	u64 debugctl;
	u16 ds, es, fs, gs, ldt;
};

static void keep_host(struct kept *kept)
{
	native_store_gdt(&kept->gdt);
	savesegment(ds, kept->ds);
	savesegment(es, kept->es);
	savesegment(fs, kept->fs);
	savesegment(gs, kept->gs);
	asm volatile("sldt %0" : "=m"(kept->ldt));
	if (rdmsrq_safe(MSR_IA32_DEBUGCTLMSR, &kept->debugctl))
		kept->debugctl = 0;
}

/*
 * An exit leaves limits of 64 KiB, no LDT, null selectors where the VMCS may not have the process's own, and
 * IA32_DEBUGCTL 0. [SDM 3C "Loading Host Segment and Descriptor-Table Registers"]
 */
static void restore_host(const struct kept *kept, const struct nvl_vmx *vmx)
{
	native_load_gdt(&kept->gdt);
	/* The TSS's limit ends before its bitmap of ports. */
	invalidate_tss_limit();
	if (unlikely(kept->ldt))
		asm volatile("lldt %0" : : "m"(kept->ldt));
	if (unlikely(kept->ds | kept->es)) {
		loadsegment(ds, kept->ds);
		loadsegment(es, kept->es);
	}
	if (unlikely(kept->fs)) {
		loadsegment(fs, kept->fs);
		x86_fsbase_write_cpu(vmx->host.fs_base);
	}
	/* That loads the descriptor's base, too, which need not be the process's. */
	if (unlikely(kept->gs)) {
		load_gs_index(kept->gs);
		wrmsrq(MSR_KERNEL_GS_BASE, vmx->host_msr[GS_BASE_OF_PROCESS]);
	}
	if (unlikely(kept->debugctl))
		wrmsrq(MSR_IA32_DEBUGCTLMSR, kept->debugctl);
}

/*
 * What a guest might read out of the first-level data cache is flushed, on CPUs with that hole. Other buffers
 * follow behind the last load (vmx_enter.S), where the kernel has a name for that.
 * [documentation of L1TF, MDS, TAA, RFDS]
 */
static void clear_buffers(void)
{
#ifndef X86_FEATURE_CLEAR_CPU_BUF
	static const u16 selector = __KERNEL_DS;

	if (boot_cpu_has(X86_FEATURE_MD_CLEAR))
		asm volatile("verw %[selector]" : : [selector] "m"(selector) : "cc");
#endif
	if (boot_cpu_has_bug(X86_BUG_L1TF) && boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		wrmsrq(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
}

/*
 * The CPU writes precise event records to a linear address of the kernel's, which is another thing in a
 * guest. [SDM 3B "Processor Event Based Sampling (PEBS) Facilities"]
 */
static u64 stop_records(void)
{
	u64 enabled = 0;

	if (boot_cpu_has(X86_FEATURE_PEBS) && rdmsrq_safe(MSR_IA32_PEBS_ENABLE, &enabled))
		enabled = 0;
	if (unlikely(enabled))
		wrmsrq(MSR_IA32_PEBS_ENABLE, 0);
	return enabled;
}

/*
 * A performance NMI since may have stopped some records for good, and started those again that it left. One that comes
 * still later, within the entry's last instructions, is not seen.
 */
static u64 stop_again(u64 before)
{
	u64 enabled = stop_records();

	return enabled ? enabled : before;
}

/*
 * An NMI or machine check that ended the guest's run is the host's and has not been taken: the handler is
 * called as hardware would. NMIs stay blocked until its IRET. [SDM 3C "Updating Non-Register State"]
 */
static void take_urgent(struct nvirt_port_cpu *cpu)
{
	u64 reason = 0, event = 0;

	if (nvirt_port_vmread(cpu, nvirt_vmcs_field_encoding(NVIRT_VMCS_EXIT_REASON), &reason) !=
	    NVIRT_HW_OK)
		return;
	if ((u16)reason == NVIRT_VMX_EXIT_ENTRY_MACHINE_CHECK) {
		asm volatile("int $18");
		return;
	}
	if ((u32)reason != NVIRT_VMX_EXIT_EXCEPTION_NMI ||
	    nvirt_port_vmread(cpu, nvirt_vmcs_field_encoding(NVIRT_VMCS_EXIT_INTERRUPTION), &event) !=
		    NVIRT_HW_OK)
		return;
	if ((event & NVIRT_VMX_INTR_TYPE) >> NVIRT_VMX_INTR_TYPE_SHIFT == NVIRT_VMX_INTR_TYPE_NMI)
		asm volatile("int $2");
	else if ((event & NVIRT_VMX_INTR_VECTOR) == NVIRT_VECTOR_MC)
		asm volatile("int $18");
}

static enum nvirt_hw enter(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, bool launch)
{
	struct nvl_vmx *vmx = &vcpu->vmx;
	u64 spec_ctrl = 0, records;
	struct kept kept;
	int result;

	keep_host(&kept);
	records = stop_records();
	if (boot_cpu_has(X86_FEATURE_KERNEL_IBRS))
		rdmsrq(MSR_IA32_SPEC_CTRL, spec_ctrl);
	nvl_fpu_enter(vcpu);
	msrs_enter(vmx);
	if (vmx->cr2 != read_cr2())
		write_cr2(vmx->cr2);
	set_debugreg(vmx->dr6, 6);
	clear_buffers();
	if (unlikely(records))
		records = stop_again(records);
	result = nvl_vmx_enter(&vcpu->gprs, launch, spec_ctrl);
	vmx->cr2 = read_cr2();
	get_debugreg(*(unsigned long *)&vmx->dr6, 6);
	set_debugreg(DR6_RESERVED, 6);
	/* The guest's KERNEL_GS_BASE is read before the process's GS is loaded over it. */
	msrs_leave(vmx);
	restore_host(&kept, vmx);
	nvl_fpu_leave(vcpu);
	if (unlikely(records))
		wrmsrq(MSR_IA32_PEBS_ENABLE, records);
	if (result == 0)
		take_urgent(cpu);
	return result == 0 ? NVIRT_HW_OK
			   : result == 1 ? NVIRT_HW_VMFAIL_INVALID : NVIRT_HW_VMFAIL_VALID;
}

bool nvl_vmx_run_guest(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
		       const struct nvirt_vmx_run *run, enum nvirt_hw *outcome)
{
	bool entered;

	nvl_fpu_load(vcpu);
	local_irq_disable();
	entered = host_state_holds(vcpu) && nvl_begin_guest(vcpu, cpu);
	if (entered) {
		*outcome = enter(vcpu, cpu, run->launch);
		nvl_end_guest(vcpu);
	}
	/* What interrupted the guest is taken here. */
	local_irq_enable();
	nvl_fpu_save(vcpu);
	return entered;
}
