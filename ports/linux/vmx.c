// SPDX-License-Identifier: MIT
/*
 * A vCPU on VMX: its vmcs01, and entries of whichever level nvirt says is next. The host owns interrupts and
 * NMIs: each exits, and is the kernel's before anything else happens.
 */
#define pr_fmt(fmt) "nvirt: " fmt

#include <linux/gfp.h>
#include <linux/moduleparam.h>
#include <linux/sched/smt.h>
#include <linux/slab.h>

#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>

#include <nvirt/x86.h>

#include "nvl_trace.h"
#include "vmx.h"

#define VPID_COUNT 65535u /* of all vCPUs together: all but 0, which is the host's */
#define PINS_MOST 28u /* seven of each of four VMCSs of L1's */
#define EXITS_ALWAYS                                                                               \
	(NVIRT_BIT(NVIRT_VECTOR_DB) | NVIRT_BIT(NVIRT_VECTOR_AC) | NVIRT_BIT(NVIRT_VECTOR_MC))

extern const char nvl_vmx_exited[];

struct nvirt_vmx_caps nvl_vmx_caps, nvl_vmx_offer;

static bool subpages;
module_param(subpages, bool, 0444);
MODULE_PARM_DESC(subpages, "VMX: offer guests sub-page write permissions, against Intel's advice");

static u8 *msr_bitmap;
static struct nvl_tags vpids;
static u64 vpid_words[NVIRT_TLB_TAGS_WORDS(VPID_COUNT)];

/* ---- what there is ---- */

/* Bits of CR4, and of IA32_EFER, by what L1's CPUID says. */
static u64 cr4_valid(void)
{
	static const struct {
		u32 leaf;
		enum { EBX, ECX, EDX } word;
		u32 feature;
		u64 bits;
	} rows[] = {
		{1, EDX, 1, NVIRT_CR4_VME | NVIRT_CR4_PVI},
		{1, EDX, 2, NVIRT_CR4_DE},
		{1, EDX, 3, NVIRT_CR4_PSE},
		{1, EDX, 4, NVIRT_CR4_TSD},
		{1, EDX, 6, NVIRT_CR4_PAE},
		{1, EDX, 7, NVIRT_CR4_MCE},
		{1, EDX, 13, NVIRT_CR4_PGE},
		{1, EDX, 24, NVIRT_CR4_OSFXSR},
		{1, EDX, 25, NVIRT_CR4_OSXMMEXCPT},
		{1, ECX, 5, NVIRT_CR4_VMXE},
		{1, ECX, 17, NVIRT_CR4_PCIDE},
		{1, ECX, 26, NVIRT_CR4_OSXSAVE},
		{7, EBX, 0, NVIRT_CR4_FSGSBASE},
		{7, EBX, 7, NVIRT_CR4_SMEP},
		{7, EBX, 20, NVIRT_CR4_SMAP},
		{7, ECX, 2, NVIRT_CR4_UMIP},
	};
	const struct nvl_vcpu nobody = {};
	u64 valid = NVIRT_CR4_PCE; /* of the architecture, not of CPUID */
	u32 i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct nvl_cpuid shown;
		u32 word;

		nvl_cpuid(&nobody, rows[i].leaf, 0, false, &shown);
		word = rows[i].word == EBX ? shown.ebx : rows[i].word == ECX ? shown.ecx : shown.edx;
		if (word >> rows[i].feature & 1)
			valid |= rows[i].bits;
	}
	return valid;
}

static int find_offer(void)
{
	struct nvirt_vmx_cpu_facts *facts = &nvl_vmx_caps.cpu;

	*facts = (struct nvirt_vmx_cpu_facts){
		.physical_bits = nvl_physical_bits(),
		.linear_bits = 48,
		.long_mode = true,
		.rtm = boot_cpu_has(X86_FEATURE_RTM),
		.cr4_valid = ~0ULL,
		.efer_valid = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA |
			      (boot_cpu_has(X86_FEATURE_NX) ? NVIRT_EFER_NXE : 0),
		.debugctl_valid = 3, /* LBR and BTF; the records are not L1's to read */
	};
	if (nvirt_vmx_caps_read(nvl_this_cpu(), facts, &nvl_vmx_caps) != NVIRT_OK)
		return -EOPNOTSUPP;
	facts->cr4_valid = cr4_valid();
	if (nvirt_vmx_caps_offer(&nvl_vmx_caps, &nvl_vmx_offer) != NVIRT_OK)
		return -EOPNOTSUPP;
	if (nvirt_vmx_caps_offer_activity(&nvl_vmx_offer) != NVIRT_OK)
		return -EOPNOTSUPP;
	if (subpages && nvirt_vmx_caps_offer_subpages(&nvl_vmx_caps, &nvl_vmx_offer) != NVIRT_OK)
		pr_info("the CPU has no sub-page write permissions\n");
	/* About instructions that L1's CPUID does not show. */
	nvl_vmx_offer.proc2 &= ~((NVIRT_VMX_PROC2_USER_WAIT | NVIRT_VMX_PROC2_ENCLS |
				  NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG)
				 << 32);
	return 0;
}

static int missing(void)
{
	const u64 needed = NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED;
	u64 basic, proc, proc2 = 0;

	if (!(cpuid_ecx(1) & 1u << 5))
		return -EOPNOTSUPP;
	if (!boot_cpu_has(X86_FEATURE_VMX)) {
		pr_err("VMX is switched off by the firmware (IA32_FEATURE_CONTROL)\n");
		return -EOPNOTSUPP;
	}
	if (rdmsrq_safe(NVIRT_MSR_VMX_BASIC, &basic) || !(basic & NVIRT_VMX_BASIC_TRUE) ||
	    rdmsrq_safe(NVIRT_MSR_VMX_PROCBASED_CTLS, &proc) ||
	    !(proc >> 32 & NVIRT_VMX_PROC_SECONDARY) ||
	    rdmsrq_safe(NVIRT_MSR_VMX_PROCBASED_CTLS2, &proc2) || (proc2 >> 32 & needed) != needed) {
		pr_err("VMX without EPT or without \"unrestricted guest\"\n");
		return -EOPNOTSUPP;
	}
	if (pgtable_l5_enabled()) {
		pr_err("the kernel uses five-level page tables: boot it with no5lvl\n");
		return -EOPNOTSUPP;
	}
	if (!boot_cpu_has(X86_FEATURE_XSAVE)) {
		pr_err("the kernel does not use XSAVE\n");
		return -EOPNOTSUPP;
	}
#ifdef X86_FEATURE_FRED
	if (boot_cpu_has(X86_FEATURE_FRED)) {
		pr_err("the kernel uses FRED, under which NMIs are handed over in another way\n");
		return -EOPNOTSUPP;
	}
#endif
	return 0;
}

/* ---- MSRs: one bit each, reads and writes, in two ranges [SDM 3C "MSR-Bitmap Address"] ---- */

static void let_through(u32 msr, bool write)
{
	u32 offset = msr & 0x1fff;
	u8 *byte = msr_bitmap + (msr >> 30 ? 1024 : 0) + (write ? 2048 : 0) + offset / 8;

	*byte &= (u8)~(1u << offset % 8);
}

static void fill_msr_bitmap(void)
{
	/* What lies in vmcs01, and what vmx_cpu.c swaps. */
	static const u32 held[] = {
		MSR_FS_BASE,	     MSR_GS_BASE,	  MSR_KERNEL_GS_BASE, MSR_STAR,
		MSR_LSTAR,	     MSR_CSTAR,		  MSR_SYSCALL_MASK,   MSR_IA32_CR_PAT,
		MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP, MSR_EFER,
	};
	u32 i;

	memset(msr_bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		let_through(held[i], false);
		let_through(held[i], true);
	}
	let_through(MSR_IA32_TSC, false);
	nvirt_vmx_msr_bitmap_require(msr_bitmap);
}

/* Of what the driver cannot mend. [documentation of L1TF] */
static void warn_of_holes(void)
{
	if (!boot_cpu_has_bug(X86_BUG_L1TF))
		return;
	if (!boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		pr_warn("this CPU has L1TF, and no microcode to flush its data cache: guests can read it\n");
	if (sched_smt_active())
		pr_warn("this CPU has L1TF, and SMT is on: a guest can read what the other thread uses\n");
}

static int init(void)
{
	int error = find_offer();

	if (error)
		return error;
	warn_of_holes();
	nvl_has_apic_page = nvl_vmx_caps.proc2 >> 32 & NVIRT_VMX_PROC2_APIC_ACCESSES;
	if (nvl_tags_init(&vpids, VPID_COUNT, vpid_words))
		return -EINVAL;
	msr_bitmap = (u8 *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	fill_msr_bitmap();
	return 0;
}

static void exit_all(void)
{
	free_page((unsigned long)msr_bitmap);
}

/* ---- fields ---- */

u64 nvl_vmx_get(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
		enum nvirt_vmcs_field field)
{
	u64 value = 0;

	if (nvirt_vmx_read(vcpu->vmx.nvirt, cpu, level, field, &value) != NVIRT_OK)
		vcpu->vmx.failed = true;
	return value;
}

bool nvl_vmx_set(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
		 enum nvirt_vmcs_field field, u64 value)
{
	if (nvirt_vmx_write(vcpu->vmx.nvirt, cpu, level, field, value) == NVIRT_OK)
		return true;
	vcpu->vmx.failed = true;
	return false;
}

bool nvl_vmx_failed(struct nvl_vcpu *vcpu)
{
	bool failed = vcpu->vmx.failed;

	vcpu->vmx.failed = false;
	return failed;
}

#define SET(FIELD, value) nvl_vmx_set(vcpu, cpu, 1, NVIRT_VMCS_##FIELD, (value))

/* Wanted bits as far as the CPU allows them, and those it insists on. */
static u64 controls(u64 capability, u64 wanted)
{
	return (wanted | (u32)capability) & capability >> 32;
}

/* Each of these has a bitmap that says which leaves exit: all. */
static void set_leaf_bitmaps(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u64 proc2)
{
	if (proc2 & NVIRT_VMX_PROC2_ENCLS)
		SET(ENCLS_EXIT_BITMAP, ~0ULL);
	if (proc2 & NVIRT_VMX_PROC2_ENCLV)
		SET(ENCLV_EXIT_BITMAP, ~0ULL);
	if (proc2 & NVIRT_VMX_PROC2_PCONFIG)
		SET(PCONFIG_EXIT_BITMAP, ~0ULL);
}

/*
 * Instructions that would act on the machine or show what is not swapped exit, or are #UD for want of their
 * enable (user waits). MOV CR8 would reach the machine's APIC. #DB and #AC: a guest can make their
 * delivery raise them again without end, where no interrupt is taken.
 */
static void set_controls(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	const struct nvirt_vmx_caps *caps = &nvl_vmx_caps;
	u64 proc2 = controls(caps->proc2,
			     NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED |
				     (vcpu->vmx.vpid_count ? NVIRT_VMX_PROC2_VPID : 0) |
				     (vcpu->vm->apic_page ? NVIRT_VMX_PROC2_APIC_ACCESSES : 0) |
				     NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_INVPCID |
				     NVIRT_VMX_PROC2_XSAVES |
				     NVIRT_VMX_PROC2_WBINVD | NVIRT_VMX_PROC2_ENCLS |
				     NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG);

	SET(PIN_CONTROLS, controls(caps->true_pin, NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI |
							   NVIRT_VMX_PIN_VIRTUAL_NMIS));
	SET(PROC_CONTROLS,
	    controls(caps->true_proc,
		     NVIRT_VMX_PROC_HLT | NVIRT_VMX_PROC_MWAIT | NVIRT_VMX_PROC_MONITOR |
			     NVIRT_VMX_PROC_RDPMC | NVIRT_VMX_PROC_UNCONDITIONAL_IO |
			     NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE |
			     NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_SECONDARY));
	SET(PROC2_CONTROLS, proc2);
	set_leaf_bitmaps(vcpu, cpu, proc2);
	SET(EXIT_CONTROLS,
	    controls(caps->true_exit,
		     NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_SAVE_DEBUG |
			     NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_LOAD_PAT |
			     NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER));
	SET(ENTRY_CONTROLS, controls(caps->true_entry, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG |
							       NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
							       NVIRT_VMX_ENTRY_CTL_LOAD_EFER));
	SET(EXCEPTION_BITMAP, EXITS_ALWAYS);
	SET(VMCS_LINK, NVIRT_VMX_NO_VMCS_LINK);
	SET(EPTP, nvl_stage2_root(vcpu->vm) | NVIRT_MEMORY_WB | NVIRT_VMX_EPTP_WALK_4);
	SET(MSR_BITMAP, virt_to_phys(msr_bitmap));
	if (vcpu->vmx.vpid_count)
		SET(VPID, vcpu->vmx.vpids[0]);
	SET(CR0_MASK, nvirt_vmx_cr0_owned(vcpu->vmx.nvirt));
	/* Machine checks are the host's, whatever L1 makes of CR4.MCE. */
	SET(CR4_MASK, nvirt_vmx_cr4_owned(vcpu->vmx.nvirt) | NVIRT_CR4_MCE);
}

/* Host state that is the same on all CPUs. Zero selectors: vmx_cpu.c. */
static void set_host_state(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	u64 value;

	SET(HOST_CR0, read_cr0());
	SET(HOST_CS_SELECTOR, __KERNEL_CS);
	SET(HOST_SS_SELECTOR, __KERNEL_DS);
	SET(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	rdmsrq(MSR_IA32_CR_PAT, value);
	SET(HOST_PAT, value);
	rdmsrq(MSR_EFER, value);
	SET(HOST_EFER, value);
	rdmsrq(MSR_IA32_SYSENTER_CS, value);
	SET(HOST_SYSENTER_CS, value);
	rdmsrq(MSR_IA32_SYSENTER_EIP, value);
	SET(HOST_SYSENTER_EIP, value);
	SET(HOST_RIP, (u64)nvl_vmx_exited);
}

/* ---- life ---- */

/* L1's, which it must have on a CPU with VPIDs, and as there are some for its L2s; without any, L2s are flushed at each
 * switch. [SDM 3C "Virtual-Processor Identifiers (VPIDs)"] */
static int take_vpids(struct nvl_vmx *vmx)
{
	int count;

	if (!(nvl_vmx_caps.proc2 >> 32 & NVIRT_VMX_PROC2_VPID))
		return 0;
	count = nvl_tags_take(&vpids, vmx->vpids, 1, NVL_VMX_VPIDS);
	if (count < 0)
		return count;
	vmx->vpid_count = count;
	return 0;
}

static void free_memory(struct nvl_vmx *vmx)
{
	if (vmx->memory)
		free_pages_exact(vmx->memory, NVIRT_VMX_VCPU_SIZE);
	if (vmx->vmcs01)
		__free_page(vmx->vmcs01);
	nvl_tags_give(&vpids, vmx->vpids, vmx->vpid_count);
}

static int take_memory(struct nvl_vmx *vmx)
{
	vmx->memory = alloc_pages_exact(NVIRT_VMX_VCPU_SIZE, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	vmx->vmcs01 = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!vmx->memory || !vmx->vmcs01)
		return -ENOMEM;
	*(u32 *)page_address(vmx->vmcs01) = (u32)(nvl_vmx_caps.basic & NVIRT_VMX_BASIC_REVISION);
	return take_vpids(vmx);
}

static int init_nvirt(struct nvl_vcpu *vcpu)
{
	struct nvl_vmx *vmx = &vcpu->vmx;
	u16 for_l2[NVL_VMX_VPIDS - 1];
	struct nvirt_vmx_vcpu_config config = {
		.vm = &vcpu->vm->nvirt,
		.index = vcpu->index,
		.cpu = &nvl_vmx_caps,
		.offer = &nvl_vmx_offer,
		.vmcs01 = nvirt_hpa_make(page_to_phys(vmx->vmcs01)),
		.msr_bitmap = msr_bitmap,
		.vpid01 = (u16)vmx->vpids[0],
		.vpids = for_l2,
		.vpid_count = vmx->vpid_count ? vmx->vpid_count - 1 : 0,
	};
	enum nvirt_status status;
	u32 i;

	for (i = 0; i < config.vpid_count; i++)
		for_l2[i] = (u16)vmx->vpids[1 + i];
	preempt_disable();
	status = nvirt_vmx_vcpu_init(vmx->memory, NVIRT_VMX_VCPU_SIZE, &config, &vmx->nvirt);
	preempt_enable();
	if (status == NVIRT_OK)
		return 0;
	pr_err_ratelimited("no vCPU: %s\n", nvirt_status_name(status));
	return status == NVIRT_ERR_NO_PAGE ? -ENOMEM : -EINVAL;
}

static void vcpu_exit(struct nvl_vcpu *vcpu)
{
	struct nvl_vmx *vmx = &vcpu->vmx;
	bool left = nvl_vmx_leave(vcpu);
	enum nvirt_status status;

	/* After a reboot's VMXOFF the hardware refuses all, and the vCPU is ended all the same. */
	preempt_disable();
	status = nvirt_vmx_vcpu_destroy(vmx->nvirt, vmx->home);
	preempt_enable();
	WARN_ON_ONCE(left && status != NVIRT_OK);
	free_memory(vmx);
}

/* Where hardware watches the APIC's page, nvirt keeps its address, whatever the process's memory does. */
static int keep_apic_page(struct nvl_vcpu *vcpu)
{
	u64 page = vcpu->vm->apic_page;

	if (page == 0 || !nvl_has_apic_page)
		return 0;
	return nvirt_vmx_keep_apic_page(vcpu->vmx.nvirt, nvirt_l1gpa_make(page), true) == NVIRT_OK ? 0 : -EIO;
}

static int init_vmcs01(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	set_controls(vcpu, cpu);
	set_host_state(vcpu, cpu);
	nvl_vmx_set_init_state(vcpu, cpu);
	error = keep_apic_page(vcpu);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : error;
}

static int vcpu_init(struct nvl_vcpu *vcpu)
{
	int error = take_memory(&vcpu->vmx);

	if (!error)
		error = init_nvirt(vcpu);
	if (error) {
		free_memory(&vcpu->vmx);
		return error;
	}
	error = init_vmcs01(vcpu);
	if (error)
		vcpu_exit(vcpu);
	return error;
}

static enum nvirt_status reset(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	enum nvirt_status status = nvirt_vmx_reset(vcpu->vmx.nvirt, cpu);

	if (status != NVIRT_OK)
		return status;
	nvl_vmx_set_init_state(vcpu, cpu);
	return nvl_vmx_failed(vcpu) ? NVIRT_ERR_HARDWARE : NVIRT_OK;
}

/* ---- entries ---- */

static enum nvirt_status entry_failed(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				      enum nvirt_hw outcome)
{
	u32 error = 0;

	return nvirt_vmx_entry_failed(vcpu->vmx.nvirt, cpu, outcome, &error);
}

static enum nvirt_status exited_guest(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				      struct nvirt_vmx_exit *exit)
{
	enum nvirt_status status = nvirt_vmx_exit(vcpu->vmx.nvirt, cpu, &vcpu->gprs, exit);

	trace_nvirt_exit(vcpu->index, exit->level, exit->verdict, exit->reason, exit->qualification,
			 exit->interruption);
	if (exit->branch_barrier)
		indirect_branch_prediction_barrier();
	return status;
}

static enum nvirt_status once(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
			      struct nvl_exit *any, bool *exited)
{
	enum nvirt_hw outcome = NVIRT_HW_OK;
	struct nvirt_vmx_run run;
	enum nvirt_status status;

	nvl_vmx_set_host_state(vcpu, cpu);
	if (nvl_vmx_failed(vcpu))
		return NVIRT_ERR_HARDWARE;
	status = nvirt_vmx_prepare(vcpu->vmx.nvirt, cpu, &run);
	if (status != NVIRT_OK)
		return status;
	if (run.branch_barrier)
		indirect_branch_prediction_barrier();
	if (run.set_cr2)
		vcpu->vmx.cr2 = run.cr2;
	trace_nvirt_enter(vcpu->index, run.level);
	if (!nvl_vmx_run_guest(vcpu, cpu, &run, &outcome))
		return nvl_vmx_leave(vcpu) ? NVIRT_OK : NVIRT_ERR_HARDWARE; /* undoes the prepare */
	if (outcome != NVIRT_HW_OK)
		return entry_failed(vcpu, cpu, outcome);
	status = exited_guest(vcpu, cpu, &any->vmx);
	*exited = status == NVIRT_OK && any->vmx.verdict != NVIRT_VERDICT_DONE;
	return status;
}

/* ---- an L2 in shutdown, or that waits for a SIPI ---- */

/* More than these a wait is not asked for at once: their nanoseconds fit 64 bits at any rate of the TSC's. */
#define TICKS_AT_ONCE (1ULL << 40)

/*
 * No CPU is put there: it would take no interrupt of the kernel's. The thread waits as if in a guest that runs on, so
 * that programs get at it in the same way: by a signal or a kick, to hand over what ends the state. L1's preemption
 * timer may end it, too. [SDM 3C "Activity State"] [SDM 3C "VMX-Preemption Timer"]
 */
static int sleep(struct nvl_vcpu *vcpu)
{
	struct nvirt_port_cpu *cpu;
	enum nvirt_status status;
	u64 since = rdtsc_ordered(), ticks;
	int error;

	(void)nvirt_vmx_sleeps(vcpu->vmx.nvirt, since, &ticks);
	nvl_wait_for_request(vcpu, div_u64(min(ticks, TICKS_AT_ONCE) * 1000000, tsc_khz) + 1);
	error = nvl_vcpu_hold(vcpu, &cpu);
	if (error)
		return error;
	/* After S3, or on another CPU of a machine whose TSCs differ, it may have gone back. */
	status = nvirt_vmx_slept(vcpu->vmx.nvirt, cpu, since, max(since, rdtsc_ordered()));
	nvl_vcpu_release(cpu);
	return status == NVIRT_OK ? NVL_GUEST : -EIO;
}

/* ---- the backend ---- */

static enum nvirt_status inject(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				const struct nvirt_event *event)
{
	return nvirt_vmx_inject(vcpu->vmx.nvirt, cpu, event);
}

static enum nvirt_status save(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, void *buffer,
			      size_t bytes, size_t *used)
{
	return nvirt_vmx_save(vcpu->vmx.nvirt, cpu, buffer, bytes, used);
}

static enum nvirt_status restore(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				 const void *buffer, size_t bytes)
{
	return nvirt_vmx_restore(vcpu->vmx.nvirt, cpu, buffer, bytes);
}

static const struct nvirt_stats *stats(const struct nvl_vcpu *vcpu)
{
	return nvirt_vmx_stats(vcpu->vmx.nvirt);
}

static u32 level(const struct nvl_vcpu *vcpu)
{
	return nvirt_vmx_level(vcpu->vmx.nvirt);
}

static u32 waits(const struct nvl_vcpu *vcpu)
{
	return nvirt_vmx_waits(vcpu->vmx.nvirt);
}

static u64 cr8(const struct nvl_vcpu *vcpu)
{
	return vcpu->vmx.cr8;
}

/* EPT01 lost entries: each CPU that has run L1 flushes before it runs L1 again. */
static void flush(struct nvl_vcpu *vcpu)
{
	if (nvirt_vmx_request_flush(vcpu->vmx.nvirt, 1, NVIRT_TLB_REQUEST_ROOT) != NVIRT_OK)
		WARN_ON_ONCE(1);
}

static u64 efer_valid(void)
{
	return nvl_vmx_offer.cpu.efer_valid;
}

static u64 shown_cr4(void)
{
	return nvl_vmx_offer.cpu.cr4_valid;
}

const struct nvl_backend nvl_vmx_backend = {
	.pins = PINS_MOST,
	.missing = missing,
	.init = init,
	.exit = exit_all,
	.enable = nvl_vmx_enable,
	.disable = nvl_vmx_disable,
	.switch_off = nvl_vmx_switch_off,
	.vcpu_init = vcpu_init,
	.vcpu_exit = vcpu_exit,
	.come = nvl_vmx_come,
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
	.sleep = sleep,
	.handle = nvl_vmx_handle,
	.complete_in = nvl_vmx_complete_in,
	.get_regs = nvl_vmx_get_regs,
	.set_regs = nvl_vmx_set_regs,
	.get_sregs = nvl_vmx_get_sregs,
	.set_sregs = nvl_vmx_set_sregs,
	.efer_valid = efer_valid,
	.cr4_valid = shown_cr4,
};
