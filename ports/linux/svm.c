// SPDX-License-Identifier: MIT
/*
 * A vCPU on SVM: its VMCB, and entries of whichever level nvirt says is next. The host owns
 * interrupts and NMIs: each exits, and is the kernel's before anything else happens.
 */
#define pr_fmt(fmt) "nvirt: " fmt

#include <linux/cc_platform.h>
#include <linux/gfp.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>

#include <nvirt/x86.h>

#include "nvl_trace.h"
#include "svm.h"

#define ASIDS_MAX 32767u
#define ASIDS_LEAST 2u /* of one vCPU: L1's, and one that its L2s share, each flushing what another left */
#define ASIDS_MOST 5u
#define PINS_MOST 16u
#define PAT_RESET 0x0007040600070406ULL
#define DR6_RESET 0xffff0ff0u
#define DR7_RESET 0x400u

#define SEG_CODE16 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | 0xbu)
#define SEG_DATA16 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | 0x3u)
#define SEG_LDT (NVIRT_VMCB_SEG_P | 0x2u)
#define SEG_TSS (NVIRT_VMCB_SEG_P | 0xbu)

int nvl_svm_enter(struct nvirt_gprs *gprs, u64 vmcb, u64 state_vmcb, u64 host_state);

bool nvl_svm_has_nrips;
u8 *nvl_svm_msrpm, *nvl_svm_iopm;
static struct nvirt_svm_caps caps, offer;

static struct nvl_tags asids;
static u64 asid_words[NVIRT_TLB_TAGS_WORDS(ASIDS_MAX)];

/* ---- what there is ---- */

static void read_cpuid(struct nvirt_svm_cpuid *c)
{
	u32 eax, ebx, ecx, edx;

	memset(c, 0, sizeof(*c));
	cpuid(1, &eax, &ebx, &c->ecx_1, &c->edx_1);
	if (cpuid_eax(0) >= 7)
		cpuid_count(7, 0, &eax, &c->ebx_7, &c->ecx_7, &c->edx_7);
	cpuid(0x80000001, &eax, &ebx, &c->ecx_80000001, &c->edx_80000001);
	cpuid(0x80000008, &c->eax_80000008, &c->ebx_80000008, &ecx, &edx);
	cpuid(0x8000000a, &c->eax_8000000a, &c->ebx_8000000a, &ecx, &c->edx_8000000a);
	if (cpuid_eax(0x80000000) >= 0x80000021)
		c->eax_80000021 = cpuid_eax(0x80000021);
}

/* The offer goes by what L1's CPUID says, so that no register bit is offered without its feature. */
static int find_offer(void)
{
	const struct nvl_vcpu nobody = {};
	struct nvirt_svm_cpuid c;
	struct nvl_cpuid shown;

	read_cpuid(&c);
	if (nvirt_svm_caps_decode(&c, &caps) != NVIRT_OK)
		return -EOPNOTSUPP;
	nvl_cpuid(&nobody, 1, 0, false, &shown);
	c.ecx_1 = shown.ecx;
	c.edx_1 = shown.edx;
	nvl_cpuid(&nobody, 7, 0, false, &shown);
	c.ebx_7 = shown.ebx;
	c.ecx_7 = shown.ecx;
	c.edx_7 = shown.edx;
	nvl_cpuid(&nobody, 0x80000001, 0, false, &shown);
	c.ecx_80000001 = shown.ecx;
	c.edx_80000001 = shown.edx;
	if (nvirt_svm_caps_decode(&c, &offer) != NVIRT_OK ||
	    nvirt_svm_caps_offer(&offer, &offer) != NVIRT_OK)
		return -EOPNOTSUPP;
	return 0;
}

void nvl_svm_cpuid(struct nvl_cpuid *out)
{
	*out = (struct nvl_cpuid){offer.revision, offer.asid_count, 0, offer.features};
}

static int missing(void)
{
	u64 vm_cr;

	if (!boot_cpu_has(X86_FEATURE_SVM) && !(cpuid_eax(0x80000000) >= 0x8000000a &&
						(cpuid_ecx(0x80000001) & 4)))
		return -EOPNOTSUPP;
	if (!(cpuid_edx(0x8000000a) & NVIRT_SVM_FEATURE_NP)) {
		pr_err("SVM without nested paging\n");
		return -EOPNOTSUPP;
	}
	if (!rdmsrq_safe(NVIRT_SVM_MSR_VM_CR, &vm_cr) && (vm_cr & NVIRT_SVM_VM_CR_SVMDIS)) {
		pr_err("SVM is switched off by the firmware (VM_CR.SVMDIS)\n");
		return -EOPNOTSUPP;
	}
	if (pgtable_l5_enabled()) {
		pr_err("the kernel uses five-level page tables: boot it with no5lvl\n");
		return -EOPNOTSUPP;
	}
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		pr_err("the kernel's memory is encrypted, which nvirt's tables do not know\n");
		return -EOPNOTSUPP;
	}
	if (!boot_cpu_has(X86_FEATURE_XSAVE)) {
		pr_err("the kernel does not use XSAVE\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Two bits per MSR, in three ranges [APM 2 "MSR Intercepts"]: clear what the VMCB switches. */
static void let_through(u32 msr)
{
	static const u32 ranges[] = {0, 0xc0000000u, 0xc0010000u};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		u32 offset = msr - ranges[i];

		if (offset < 0x2000)
			nvl_svm_msrpm[i * 2048 + offset / 4] &= (u8)~(3u << (offset % 4 * 2));
	}
}

static void fill_msrpm(void)
{
	static const u32 switched[] = {
		MSR_FS_BASE,	     MSR_GS_BASE,	  MSR_KERNEL_GS_BASE, MSR_STAR,
		MSR_LSTAR,	     MSR_CSTAR,		  MSR_SYSCALL_MASK,   MSR_IA32_CR_PAT,
		MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	};
	u32 i;

	memset(nvl_svm_msrpm, 0xff, NVIRT_SVM_MSRPM_BYTES);
	for (i = 0; i < ARRAY_SIZE(switched); i++)
		let_through(switched[i]);
	nvirt_svm_msrpm_require(nvl_svm_msrpm);
}

static void exit_all(void)
{
	if (nvl_svm_msrpm)
		free_pages_exact(nvl_svm_msrpm, NVIRT_SVM_MSRPM_BYTES);
	if (nvl_svm_iopm)
		free_pages_exact(nvl_svm_iopm, NVIRT_SVM_IOPM_BYTES);
	nvl_svm_msrpm = NULL;
	nvl_svm_iopm = NULL;
}

static int init(void)
{
	int error = find_offer();

	if (error)
		return error;
	error = nvl_tags_init(&asids, min(caps.asid_count - 1, ASIDS_MAX), asid_words);
	if (error)
		return error;
	nvl_svm_has_nrips = caps.features & NVIRT_SVM_FEATURE_NRIPS;
	nvl_svm_msrpm = alloc_pages_exact(NVIRT_SVM_MSRPM_BYTES, GFP_KERNEL);
	nvl_svm_iopm = alloc_pages_exact(NVIRT_SVM_IOPM_BYTES, GFP_KERNEL);
	if (!nvl_svm_msrpm || !nvl_svm_iopm) {
		exit_all();
		return -ENOMEM;
	}
	fill_msrpm();
	memset(nvl_svm_iopm, 0xff, NVIRT_SVM_IOPM_BYTES);
	return 0;
}

/* ---- ASIDs: one for L1, some for its L2s, used by no other vCPU of any VM ---- */

static int take_asids(struct nvl_svm *svm)
{
	int count = nvl_tags_take(&asids, svm->asids, ASIDS_LEAST, ASIDS_MOST);

	if (count < 0)
		return count;
	svm->asid_count = count;
	return 0;
}

static void give_asids(struct nvl_svm *svm)
{
	nvl_tags_give(&asids, svm->asids, svm->asid_count);
	svm->asid_count = 0;
}

/* ---- the VMCB ---- */

static void set_init_state(struct nvl_vcpu *vcpu)
{
	static const struct nvirt_vmcb_segment table = {0, 0, 0xffff, 0};
	static const struct nvirt_vmcb_segment data = {0, SEG_DATA16, 0xffff, 0};
	struct nvirt_vmcb *vmcb = vcpu->svm.vmcb01;

	nvirt_vmcb_set_cs(vmcb, (struct nvirt_vmcb_segment){0xf000, SEG_CODE16, 0xffff, 0xffff0000});
	nvirt_vmcb_set_es(vmcb, data);
	nvirt_vmcb_set_ss(vmcb, data);
	nvirt_vmcb_set_ds(vmcb, data);
	nvirt_vmcb_set_fs(vmcb, data);
	nvirt_vmcb_set_gs(vmcb, data);
	nvirt_vmcb_set_gdtr(vmcb, table);
	nvirt_vmcb_set_idtr(vmcb, table);
	nvirt_vmcb_set_ldtr(vmcb, (struct nvirt_vmcb_segment){0, SEG_LDT, 0xffff, 0});
	nvirt_vmcb_set_tr(vmcb, (struct nvirt_vmcb_segment){0, SEG_TSS, 0xffff, 0});
	nvirt_vmcb_set_cpl(vmcb, 0);
	nvirt_vmcb_set_efer(vmcb, NVIRT_SVM_EFER_SVME);
	nvirt_vmcb_set_cr0(vmcb, 0x60000010);
	nvirt_vmcb_set_cr3(vmcb, 0);
	nvirt_vmcb_set_cr4(vmcb, 0);
	nvirt_vmcb_set_dr6(vmcb, DR6_RESET);
	nvirt_vmcb_set_dr7(vmcb, DR7_RESET);
	nvirt_vmcb_set_g_pat(vmcb, PAT_RESET);
	nvirt_vmcb_set_rflags(vmcb, 2);
	nvirt_vmcb_set_rip(vmcb, 0xfff0);
	nvirt_vmcb_set_rsp(vmcb, 0);
	nvirt_vmcb_set_rax(vmcb, 0);
	nvirt_vmcb_set_int_state(vmcb, 0);
	nvirt_vmcb_set_event_inj(vmcb, 0);
	memset(&vcpu->gprs, 0, sizeof(vcpu->gprs));
	vcpu->gprs.r[NVIRT_RDX] = cpuid_eax(1);
}

static void init_vmcb01(struct nvl_vcpu *vcpu)
{
	/* The last ones would act on the machine, or show what is not switched: they are #UD or do
	 * nothing (svm_exits.c). */
	static const u16 wanted[] = {
		NVIRT_SVM_EXIT_INTR,   NVIRT_SVM_EXIT_NMI,	 NVIRT_SVM_EXIT_SMI,
		NVIRT_SVM_EXIT_INIT,   NVIRT_SVM_EXIT_CPUID,	 NVIRT_SVM_EXIT_IOIO,
		NVIRT_SVM_EXIT_MSR,    NVIRT_SVM_EXIT_HLT,	 NVIRT_SVM_EXIT_SHUTDOWN,
		NVIRT_SVM_EXIT_XSETBV, NVIRT_SVM_EXIT_INVD,	 NVIRT_SVM_EXIT_WBINVD,
		NVIRT_SVM_EXIT_MONITOR, NVIRT_SVM_EXIT_MWAIT,	 NVIRT_SVM_EXIT_MWAIT_ARMED,
		NVIRT_SVM_EXIT_RDPMC,  NVIRT_SVM_EXIT_RSM,	 NVIRT_SVM_EXIT_RDPRU,
		NVIRT_SVM_EXIT_INVLPGB, NVIRT_SVM_EXIT_INVLPGB_ILLEGAL, NVIRT_SVM_EXIT_TLBSYNC,
		NVIRT_SVM_EXIT_MCOMMIT,
	};
	struct nvirt_vmcb *vmcb = vcpu->svm.vmcb01;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(wanted); i++)
		nvirt_vmcb_intercept(vmcb, wanted[i], true);
	/* A guest can make their delivery raise them again without end, where no interrupt is taken. */
	nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB, true);
	nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_AC, true);
	/* The machine's, not the guest's. */
	nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC, true);
	nvirt_svm_intercepts_require(vmcb);
	nvirt_vmcb_set_int_ctl(vmcb, NVIRT_SVM_V_INTR_MASKING);
	nvirt_vmcb_set_msrpm_base(vmcb, virt_to_phys(nvl_svm_msrpm));
	nvirt_vmcb_set_iopm_base(vmcb, virt_to_phys(nvl_svm_iopm));
	nvirt_vmcb_set_asid(vmcb, vcpu->svm.asids[0]);
	nvirt_vmcb_set_np_control(vmcb, NVIRT_SVM_NP_ENABLE);
	nvirt_vmcb_set_n_cr3(vmcb, nvl_stage2_root(vcpu->vm));
	set_init_state(vcpu);
}

/* ---- life ---- */

static void free_memory(struct nvl_svm *svm)
{
	if (svm->memory)
		free_pages_exact(svm->memory, NVIRT_SVM_VCPU_SIZE);
	if (svm->maps02)
		free_pages_exact(svm->maps02, NVIRT_SVM_MAP_PAGES * PAGE_SIZE);
	free_page((unsigned long)svm->vmcb01);
}

static int take_memory(struct nvl_svm *svm)
{
	svm->memory = alloc_pages_exact(NVIRT_SVM_VCPU_SIZE, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	svm->maps02 = alloc_pages_exact(NVIRT_SVM_MAP_PAGES * PAGE_SIZE,
					GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	svm->vmcb01 = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return svm->memory && svm->maps02 && svm->vmcb01 ? 0 : -ENOMEM;
}

static int init_nvirt(struct nvl_vcpu *vcpu)
{
	struct nvl_svm *svm = &vcpu->svm;
	struct nvirt_svm_vcpu_config config = {
		.vm = &vcpu->vm->nvirt,
		.index = vcpu->index,
		.cpu = &caps,
		.offer = &offer,
		.vmcb01 = nvirt_hpa_make(virt_to_phys(svm->vmcb01)),
		.maps02 = nvirt_hpa_make(virt_to_phys(svm->maps02)),
		.maps02_memory = svm->maps02,
		.msrpm01 = nvl_svm_msrpm,
		.iopm01 = nvl_svm_iopm,
		.asid01 = svm->asids[0],
		.asids = svm->asids + 1,
		.asid_count = svm->asid_count - 1,
	};
	enum nvirt_status status;

	rdmsrq(MSR_IA32_CR_PAT, config.host_pat);
	preempt_disable();
	status = nvirt_svm_vcpu_init(svm->memory, NVIRT_SVM_VCPU_SIZE, &config, &svm->nvirt);
	preempt_enable();
	if (status == NVIRT_OK)
		return 0;
	pr_err_ratelimited("no vCPU: %s\n", nvirt_status_name(status));
	return status == NVIRT_ERR_NO_PAGE ? -ENOMEM : -EINVAL;
}

static int vcpu_init(struct nvl_vcpu *vcpu)
{
	int error = take_memory(&vcpu->svm);

	if (!error)
		error = take_asids(&vcpu->svm);
	if (error)
		goto no_asids;
	error = init_nvirt(vcpu);
	if (error)
		goto no_vcpu;
	init_vmcb01(vcpu);
	return 0;

no_vcpu:
	give_asids(&vcpu->svm);
no_asids:
	free_memory(&vcpu->svm);
	return error;
}

static void vcpu_exit(struct nvl_vcpu *vcpu)
{
	preempt_disable();
	if (nvirt_svm_vcpu_destroy(vcpu->svm.nvirt) != NVIRT_OK)
		WARN_ON_ONCE(1);
	preempt_enable();
	give_asids(&vcpu->svm);
	free_memory(&vcpu->svm);
}

static enum nvirt_status reset(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	enum nvirt_status status = nvirt_svm_reset(vcpu->svm.nvirt);

	if (status == NVIRT_OK)
		set_init_state(vcpu);
	return status;
}

/* ---- entries ---- */

struct nvirt_vmcb *nvl_svm_vmcb(struct nvl_vcpu *vcpu)
{
	return nvirt_svm_vmcb(vcpu->svm.nvirt, nvirt_svm_level(vcpu->svm.nvirt));
}

/* L1's nested tables lost entries: each CPU that has run L1 flushes before it runs L1 again. */
static void flush(struct nvl_vcpu *vcpu)
{
	if (nvirt_svm_request_flush(vcpu->svm.nvirt, 1, NVIRT_TLB_REQUEST_ROOT) != NVIRT_OK)
		WARN_ON_ONCE(1);
}

/*
 * What waits only because another event is injected first is due behind that, at the handler's first
 * instruction: an interrupt of this CPU's own brings the guest back there, and prepare delivers it.
 */
static void come_back_if_due(struct nvl_vcpu *vcpu)
{
	if (nvirt_svm_waits(vcpu->svm.nvirt) != 0 &&
	    (nvl_svm_vmcb(vcpu)->event_inj & NVIRT_SVM_EVENT_VALID))
		smp_send_reschedule(smp_processor_id());
}

/*
 * Debug state that neither VMRUN nor #VMEXIT puts back: IA32_DEBUGCTL of the host's (branch steps and records) is
 * not for the guest, whose own is 0, and DR6 of the guest's not for the host's next #DB.
 */
static u64 leave_debugctl(void)
{
	u64 debugctl;

	rdmsrq(MSR_IA32_DEBUGCTLMSR, debugctl);
	if (unlikely(debugctl))
		wrmsrq(MSR_IA32_DEBUGCTLMSR, 0);
	return debugctl;
}

static void restore_debug(u64 debugctl)
{
	set_debugreg(DR6_RESERVED, 6);
	if (unlikely(debugctl))
		wrmsrq(MSR_IA32_DEBUGCTLMSR, debugctl);
}

static bool enter(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, const struct nvirt_svm_run *run)
{
	u64 debugctl;
	bool entered;
	int off = 0;

	nvl_fpu_load(vcpu);
	local_irq_disable();
	entered = nvl_begin_guest(vcpu, cpu);
	if (entered) {
		come_back_if_due(vcpu);
		trace_nvirt_enter(vcpu->index, run->level);
		debugctl = leave_debugctl();
		nvl_fpu_enter(vcpu);
		off = nvl_svm_enter(&vcpu->gprs, run->vmcb.value, run->state_vmcb.value,
				    page_to_phys(cpu->state));
		restore_debug(debugctl);
		nvl_fpu_leave(vcpu);
		/* A machine check that ended the guest's run is the kernel's first. */
		if (off == 0 && nvl_svm_vmcb(vcpu)->exit_code ==
					NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC)
			asm volatile("int $18");
		nvl_end_guest(vcpu);
	}
	/* What interrupted the guest is taken here. */
	local_irq_enable();
	nvl_fpu_save(vcpu);
	return entered && off == 0;
}

/*
 * Physical interrupts must end the guest's run whatever its RFLAGS.IF says, at both levels. #VMEXIT writes
 * int_ctl back, and a CPU that refused the guest may write what it did not load (QEMU does).
 */
static void keep_interrupts(struct nvirt_vmcb *vmcb)
{
	if (!(vmcb->int_ctl & NVIRT_SVM_V_INTR_MASKING))
		nvirt_vmcb_set_int_ctl(vmcb, vmcb->int_ctl | NVIRT_SVM_V_INTR_MASKING);
}

static enum nvirt_status once(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
			      struct nvl_exit *any, bool *exited)
{
	struct nvirt_svm_exit *exit = &any->svm;
	struct nvirt_svm_run run;
	enum nvirt_status status = nvirt_svm_prepare(vcpu->svm.nvirt, cpu, &run);

	*exited = false;
	if (run.branch_barrier && (status == NVIRT_OK || status == NVIRT_ERR_NO_PAGE))
		indirect_branch_prediction_barrier();
	if (status != NVIRT_OK)
		return status;
	keep_interrupts(nvl_svm_vmcb(vcpu));
	if (!enter(vcpu, cpu, &run))
		return status;
	status = nvirt_svm_exit(vcpu->svm.nvirt, cpu, &vcpu->gprs, exit);
	trace_nvirt_exit(vcpu->index, exit->level, exit->verdict, exit->code, exit->info1,
			 exit->info2);
	if (exit->branch_barrier)
		indirect_branch_prediction_barrier();
	*exited = status == NVIRT_OK && exit->verdict != NVIRT_VERDICT_DONE;
	return status;
}

int nvl_svm_insn_bytes(struct nvl_vcpu *vcpu, u8 *bytes, u32 *count)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	if (nvirt_svm_insn_bytes(vcpu->svm.nvirt, bytes, count) != NVIRT_OK)
		*count = 0;
	nvl_vcpu_release(cpu);
	return 0;
}

/* ---- registers ---- */

static int get_regs(struct nvl_vcpu *vcpu, struct nvirt_regs *regs)
{
	const struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);

	regs->level = nvirt_svm_level(vcpu->svm.nvirt);
	memcpy(regs->gpr, vcpu->gprs.r, sizeof(regs->gpr));
	regs->gpr[NVIRT_RAX] = vmcb->rax;
	regs->gpr[NVIRT_RSP] = vmcb->rsp;
	regs->rip = vmcb->rip;
	regs->rflags = vmcb->rflags;
	return 0;
}

static int set_regs(struct nvl_vcpu *vcpu, const struct nvirt_regs *regs)
{
	struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu);

	memcpy(vcpu->gprs.r, regs->gpr, sizeof(regs->gpr));
	nvirt_vmcb_set_rax(vmcb, regs->gpr[NVIRT_RAX]);
	nvirt_vmcb_set_rsp(vmcb, regs->gpr[NVIRT_RSP]);
	nvirt_vmcb_set_rip(vmcb, regs->rip);
	nvirt_vmcb_set_rflags(vmcb, regs->rflags | 2);
	return 0;
}

static struct nvirt_segment get_segment(const struct nvirt_vmcb_segment *s)
{
	/* The VMCB has the G bit and its neighbours next to the type. */
	return (struct nvirt_segment){
		.selector = s->selector,
		.attributes = s->attrib & 0xfff,
		.limit = s->limit,
		.base = s->base,
	};
}

static struct nvirt_vmcb_segment set_segment(const struct nvirt_segment *s)
{
	/* SVM has no bit for unusable: it is as good as not present. [APM 2 "Segment State in the VMCB"] */
	u16 unusable = s->attributes & NVIRT_SEGMENT_UNUSABLE ? NVIRT_VMCB_SEG_P : 0;

	return (struct nvirt_vmcb_segment){
		.selector = s->selector,
		.attrib = s->attributes & 0xfff & ~unusable,
		.limit = s->limit,
		.base = s->base,
	};
}

/* FS, GS, LDTR and TR of both levels are in vmcb01. */
static int get_sregs(struct nvl_vcpu *vcpu, struct nvirt_sregs *sregs)
{
	const struct nvirt_vmcb *vmcb = nvl_svm_vmcb(vcpu), *shared = vcpu->svm.vmcb01;

	sregs->level = nvirt_svm_level(vcpu->svm.nvirt);
	sregs->es = get_segment(&vmcb->es);
	sregs->cs = get_segment(&vmcb->cs);
	sregs->ss = get_segment(&vmcb->ss);
	sregs->ds = get_segment(&vmcb->ds);
	sregs->fs = get_segment(&shared->fs);
	sregs->gs = get_segment(&shared->gs);
	sregs->ldtr = get_segment(&shared->ldtr);
	sregs->tr = get_segment(&shared->tr);
	sregs->gdtr = get_segment(&vmcb->gdtr);
	sregs->idtr = get_segment(&vmcb->idtr);
	sregs->cr0 = vmcb->cr0;
	sregs->cr2 = vmcb->cr2;
	sregs->cr3 = vmcb->cr3;
	sregs->cr4 = vmcb->cr4;
	sregs->cr8 = vmcb->int_ctl & 0xf;
	sregs->efer = vmcb->efer & ~NVIRT_SVM_EFER_SVME;
	sregs->pat = vmcb->g_pat;
	sregs->dr6 = vmcb->dr6;
	sregs->dr7 = vmcb->dr7;
	return 0;
}

/* SVME is the host's, whatever L1 makes of its own. */
static u64 efer_valid(void)
{
	return offer.efer_valid & ~NVIRT_SVM_EFER_SVME;
}

static u64 cr4_valid(void)
{
	return offer.cr4_valid;
}

static int set_sregs(struct nvl_vcpu *vcpu, const struct nvirt_sregs *sregs)
{
	struct nvirt_vmcb *vmcb = vcpu->svm.vmcb01;

	nvirt_vmcb_set_es(vmcb, set_segment(&sregs->es));
	nvirt_vmcb_set_cs(vmcb, set_segment(&sregs->cs));
	nvirt_vmcb_set_ss(vmcb, set_segment(&sregs->ss));
	nvirt_vmcb_set_ds(vmcb, set_segment(&sregs->ds));
	nvirt_vmcb_set_fs(vmcb, set_segment(&sregs->fs));
	nvirt_vmcb_set_gs(vmcb, set_segment(&sregs->gs));
	nvirt_vmcb_set_ldtr(vmcb, set_segment(&sregs->ldtr));
	nvirt_vmcb_set_tr(vmcb, set_segment(&sregs->tr));
	nvirt_vmcb_set_gdtr(vmcb, set_segment(&sregs->gdtr));
	nvirt_vmcb_set_idtr(vmcb, set_segment(&sregs->idtr));
	nvirt_vmcb_set_cpl(vmcb, sregs->ss.attributes >> 5 & 3);
	nvirt_vmcb_set_cr0(vmcb, sregs->cr0);
	nvirt_vmcb_set_cr2(vmcb, sregs->cr2);
	nvirt_vmcb_set_cr3(vmcb, sregs->cr3);
	nvirt_vmcb_set_cr4(vmcb, sregs->cr4);
	nvirt_vmcb_set_int_ctl(vmcb, (vmcb->int_ctl & ~0xfULL) | sregs->cr8);
	nvirt_vmcb_set_efer(vmcb, sregs->efer | NVIRT_SVM_EFER_SVME);
	nvirt_vmcb_set_g_pat(vmcb, sregs->pat);
	nvirt_vmcb_set_dr6(vmcb, sregs->dr6);
	nvirt_vmcb_set_dr7(vmcb, sregs->dr7);
	/* The paging mode may have changed, and the tables. */
	set_bit(NVL_REQUEST_FLUSH, &vcpu->requests);
	return 0;
}

/* ---- the backend ---- */

/*
 * What newer kernels leave to whoever runs guests: where SRSO is a guest's to use against the kernel, and this is known
 * to be enough (Zen 5), the CPU speculates less while there are VMs.
 */
static void reduce_speculation(bool on)
{
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	const u64 reduce = 1ULL << MSR_ZEN4_BP_CFG_BP_SPEC_REDUCE_BIT;
	u64 config;

	if (!cpu_feature_enabled(X86_FEATURE_SRSO_BP_SPEC_REDUCE))
		return;
	if (rdmsrq_safe(MSR_ZEN4_BP_CFG, &config) ||
	    wrmsrq_safe(MSR_ZEN4_BP_CFG, on ? config | reduce : config & ~reduce))
		pr_warn_once("speculation cannot be reduced: a guest may use SRSO\n");
#endif
}

/* EFER.SVME set by somebody else is somebody else's. [APM 2 "Enabling SVM"] */
static int enable(struct nvirt_port_cpu *cpu)
{
	u64 efer, vm_cr;

	if (!rdmsrq_safe(NVIRT_SVM_MSR_VM_CR, &vm_cr) && (vm_cr & NVIRT_SVM_VM_CR_SVMDIS))
		return -EOPNOTSUPP;
	if (rdmsrq_safe(NVIRT_SVM_MSR_EFER, &efer))
		return -EIO;
	if (efer & NVIRT_SVM_EFER_SVME)
		return -EBUSY;
	if (wrmsrq_safe(NVIRT_SVM_MSR_EFER, efer | NVIRT_SVM_EFER_SVME))
		return -EIO;
	wrmsrq(NVIRT_SVM_MSR_HSAVE_PA, page_to_phys(cpu->save));
	reduce_speculation(true);
	return 0;
}

static void switch_off(void)
{
	u64 efer;

	/* GIF is 0 only inside nvl_svm_enter(), where nothing but a crash comes. */
	asm volatile("1: stgi\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b));
	wrmsrq(NVIRT_SVM_MSR_HSAVE_PA, 0);
	rdmsrq(NVIRT_SVM_MSR_EFER, efer);
	wrmsrq(NVIRT_SVM_MSR_EFER, efer & ~NVIRT_SVM_EFER_SVME);
}

static void disable(struct nvirt_port_cpu *cpu, bool last)
{
	switch_off();
	reduce_speculation(false);
}

/* Nothing of a VMCB is active on a CPU; once() sees to flushes. */
static void come(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
}

static enum nvirt_status inject(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				const struct nvirt_event *event)
{
	return nvirt_svm_inject(vcpu->svm.nvirt, cpu, event);
}

static enum nvirt_status save(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, void *buffer,
			      size_t bytes, size_t *used)
{
	return nvirt_svm_save(vcpu->svm.nvirt, buffer, bytes, used);
}

static enum nvirt_status restore(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				 const void *buffer, size_t bytes)
{
	return nvirt_svm_restore(vcpu->svm.nvirt, buffer, bytes);
}

static const struct nvirt_stats *stats(const struct nvl_vcpu *vcpu)
{
	return nvirt_svm_stats(vcpu->svm.nvirt);
}

static u32 level(const struct nvl_vcpu *vcpu)
{
	return nvirt_svm_level(vcpu->svm.nvirt);
}

static u32 waits(const struct nvl_vcpu *vcpu)
{
	return nvirt_svm_waits(vcpu->svm.nvirt);
}

static u64 cr8(const struct nvl_vcpu *vcpu)
{
	return vcpu->svm.vmcb01->int_ctl & 0xf;
}

const struct nvl_backend nvl_svm_backend = {
	.pins = PINS_MOST,
	.missing = missing,
	.init = init,
	.exit = exit_all,
	.enable = enable,
	.disable = disable,
	.switch_off = switch_off,
	.vcpu_init = vcpu_init,
	.vcpu_exit = vcpu_exit,
	.come = come,
	.reset = reset,
	.inject = inject,
	.save = save,
	.restore = restore,
	.stats = stats,
	.level = level,
	.waits = waits,
	.cr8 = cr8,
	.flush = flush,
	.once = once,
	.handle = nvl_svm_handle,
	.complete_in = nvl_svm_complete_in,
	.get_regs = get_regs,
	.set_regs = set_regs,
	.get_sregs = get_sregs,
	.set_sregs = set_sregs,
	.efer_valid = efer_valid,
	.cr4_valid = cr4_valid,
};
