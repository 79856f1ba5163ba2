// SPDX-License-Identifier: MIT
/*
 * Registers of a vCPU on VMX: as after INIT, and as programs read and set them.
 */
#include <asm/processor.h>

#include <nvirt/x86.h>

#include "vmx.h"

#define PAT_RESET 0x0007040600070406ULL
#define DR6_RESET 0xffff0ff0u
#define CR0_RESET 0x60000010u

#define AR_CODE16 (0xbu | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P)
#define AR_DATA16 (0x3u | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P)
#define AR_LDT (0x2u | NVIRT_VMX_AR_P)
#define AR_TSS (0xbu | NVIRT_VMX_AR_P)

#define GET(FIELD) nvl_vmx_get(vcpu, cpu, level, NVIRT_VMCS_##FIELD)
#define SET(FIELD, value) nvl_vmx_set(vcpu, cpu, level, NVIRT_VMCS_##FIELD, (value))

/* ---- segments: the program's attributes have the VMCS's bits 16 to 12 next to the rest ---- */

struct segment_fields {
	enum nvirt_vmcs_field selector, base, limit, ar;
};

#define SEGMENT(NAME)                                                                              \
	(&(const struct segment_fields){                                                               \
		NVIRT_VMCS_GUEST_##NAME##_SELECTOR, NVIRT_VMCS_GUEST_##NAME##_BASE,                    \
		NVIRT_VMCS_GUEST_##NAME##_LIMIT, NVIRT_VMCS_GUEST_##NAME##_AR})

static struct nvirt_segment get_segment(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
					const struct segment_fields *fields)
{
	u32 ar = (u32)nvl_vmx_get(vcpu, cpu, level, fields->ar);

	return (struct nvirt_segment){
		.selector = (u16)nvl_vmx_get(vcpu, cpu, level, fields->selector),
		.attributes = (u16)((ar & 0xff) | (ar >> 4 & 0x1f00)),
		.limit = (u32)nvl_vmx_get(vcpu, cpu, level, fields->limit),
		.base = nvl_vmx_get(vcpu, cpu, level, fields->base),
	};
}

static void set_segment_raw(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
			    const struct segment_fields *fields, const struct nvirt_segment *s, u64 ar)
{
	nvl_vmx_set(vcpu, cpu, 1, fields->selector, s->selector);
	nvl_vmx_set(vcpu, cpu, 1, fields->base, s->base);
	nvl_vmx_set(vcpu, cpu, 1, fields->limit, s->limit);
	nvl_vmx_set(vcpu, cpu, 1, fields->ar, ar);
}

/* One that is not present is unusable. */
static void set_segment(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
			const struct segment_fields *fields, const struct nvirt_segment *s)
{
	u64 ar = (s->attributes & 0xffu) | (u64)(s->attributes & 0x1f00) << 4;

	if (!(ar & NVIRT_VMX_AR_P))
		ar |= NVIRT_VMX_AR_UNUSABLE;
	set_segment_raw(vcpu, cpu, fields, s, ar);
}

/* ---- control registers: what the level reads, and what hardware must hold beneath ---- */

static u64 seen(u64 real, u64 shadow, u64 mask)
{
	return (real & ~mask) | (shadow & mask);
}

u64 nvl_vmx_seen_cr4(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level)
{
	return seen(GET(GUEST_CR4), GET(CR4_SHADOW), GET(CR4_MASK));
}

static void set_cr0_cr4(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u64 cr0, u64 cr4)
{
	const u32 level = 1;

	SET(GUEST_CR0, cr0 | (nvl_vmx_caps.cr0_fixed0 & ~(NVIRT_CR0_PE | NVIRT_CR0_PG)));
	SET(CR0_SHADOW, cr0);
	SET(GUEST_CR4, cr4 | nvl_vmx_caps.cr4_fixed0 | NVIRT_CR4_MCE);
	SET(CR4_SHADOW, cr4);
}

static void set_efer(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u64 efer)
{
	const u32 level = 1;
	u64 entry = GET(ENTRY_CONTROLS) & ~NVIRT_VMX_ENTRY_CTL_IA32E;

	SET(GUEST_EFER, efer);
	SET(ENTRY_CONTROLS, entry | (efer & NVIRT_EFER_LMA ? NVIRT_VMX_ENTRY_CTL_IA32E : 0));
}

/* With EPT an entry takes them from the VMCS. [SDM 3C "Loading Page-Directory-Pointer-Table Entries"] */
static void set_pdptes(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, const struct nvirt_sregs *s)
{
	const u32 level = 1;
	u64 pdpte[4];

	if (!(s->cr0 & NVIRT_CR0_PG) || !(s->cr4 & NVIRT_CR4_PAE) || (s->efer & NVIRT_EFER_LMA))
		return;
	if (nvirt_port_l1_read(vcpu->vm, nvirt_l1gpa_make(s->cr3 & 0xffffffe0u), pdpte,
			       sizeof(pdpte)) != NVIRT_OK)
		memset(pdpte, 0, sizeof(pdpte));
	SET(GUEST_PDPTE0, pdpte[0]);
	SET(GUEST_PDPTE1, pdpte[1]);
	SET(GUEST_PDPTE2, pdpte[2]);
	SET(GUEST_PDPTE3, pdpte[3]);
}

/* ---- INIT ---- */

static void set_init_segments(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	static const struct nvirt_segment code = {0xf000, 0, 0xffff, 0xffff0000};
	static const struct nvirt_segment other = {0, 0, 0xffff, 0};
	const u32 level = 1;

	set_segment_raw(vcpu, cpu, SEGMENT(CS), &code, AR_CODE16);
	set_segment_raw(vcpu, cpu, SEGMENT(ES), &other, AR_DATA16);
	set_segment_raw(vcpu, cpu, SEGMENT(SS), &other, AR_DATA16);
	set_segment_raw(vcpu, cpu, SEGMENT(DS), &other, AR_DATA16);
	set_segment_raw(vcpu, cpu, SEGMENT(FS), &other, AR_DATA16);
	set_segment_raw(vcpu, cpu, SEGMENT(GS), &other, AR_DATA16);
	set_segment_raw(vcpu, cpu, SEGMENT(LDTR), &other, AR_LDT);
	set_segment_raw(vcpu, cpu, SEGMENT(TR), &other, AR_TSS);
	SET(GUEST_GDTR_BASE, 0);
	SET(GUEST_GDTR_LIMIT, 0xffff);
	SET(GUEST_IDTR_BASE, 0);
	SET(GUEST_IDTR_LIMIT, 0xffff);
}

void nvl_vmx_set_init_state(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
	const u32 level = 1;

	set_init_segments(vcpu, cpu);
	set_cr0_cr4(vcpu, cpu, CR0_RESET, 0);
	SET(GUEST_CR3, 0);
	set_efer(vcpu, cpu, 0);
	SET(GUEST_PAT, PAT_RESET);
	SET(GUEST_DR7, NVIRT_DR7_DEFAULT);
	SET(GUEST_DEBUGCTL, 0);
	SET(GUEST_SYSENTER_CS, 0);
	SET(GUEST_SYSENTER_ESP, 0);
	SET(GUEST_SYSENTER_EIP, 0);
	SET(GUEST_RFLAGS, NVIRT_RFLAGS_FIXED1);
	SET(GUEST_RIP, 0xfff0);
	SET(GUEST_RSP, 0);
	SET(GUEST_ACTIVITY, NVIRT_VMX_ACTIVITY_ACTIVE);
	SET(GUEST_INTERRUPTIBILITY, 0);
	SET(GUEST_PENDING_DEBUG, 0);
	memset(&vcpu->gprs, 0, sizeof(vcpu->gprs));
	memset(vcpu->vmx.msr, 0, sizeof(vcpu->vmx.msr));
	vcpu->gprs.r[NVIRT_RDX] = cpuid_eax(1);
	vcpu->vmx.cr2 = 0;
	vcpu->vmx.cr8 = 0;
	vcpu->vmx.dr6 = DR6_RESET;
}

/* ---- for programs ---- */

int nvl_vmx_get_regs(struct nvl_vcpu *vcpu, struct nvirt_regs *regs)
{
	u32 level = nvirt_vmx_level(vcpu->vmx.nvirt);
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	regs->level = level;
	memcpy(regs->gpr, vcpu->gprs.r, sizeof(regs->gpr));
	regs->gpr[NVIRT_RSP] = GET(GUEST_RSP);
	regs->rip = GET(GUEST_RIP);
	regs->rflags = GET(GUEST_RFLAGS);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

int nvl_vmx_set_regs(struct nvl_vcpu *vcpu, const struct nvirt_regs *regs)
{
	u32 level = nvirt_vmx_level(vcpu->vmx.nvirt);
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	memcpy(vcpu->gprs.r, regs->gpr, sizeof(regs->gpr));
	SET(GUEST_RSP, regs->gpr[NVIRT_RSP]);
	SET(GUEST_RIP, regs->rip);
	SET(GUEST_RFLAGS, regs->rflags | NVIRT_RFLAGS_FIXED1);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

static void get_tables(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
		       struct nvirt_sregs *sregs)
{
	sregs->gdtr = (struct nvirt_segment){.limit = (u32)GET(GUEST_GDTR_LIMIT),
					     .base = GET(GUEST_GDTR_BASE)};
	sregs->idtr = (struct nvirt_segment){.limit = (u32)GET(GUEST_IDTR_LIMIT),
					     .base = GET(GUEST_IDTR_BASE)};
}

int nvl_vmx_get_sregs(struct nvl_vcpu *vcpu, struct nvirt_sregs *sregs)
{
	u32 level = nvirt_vmx_level(vcpu->vmx.nvirt);
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	sregs->level = level;
	sregs->es = get_segment(vcpu, cpu, level, SEGMENT(ES));
	sregs->cs = get_segment(vcpu, cpu, level, SEGMENT(CS));
	sregs->ss = get_segment(vcpu, cpu, level, SEGMENT(SS));
	sregs->ds = get_segment(vcpu, cpu, level, SEGMENT(DS));
	sregs->fs = get_segment(vcpu, cpu, level, SEGMENT(FS));
	sregs->gs = get_segment(vcpu, cpu, level, SEGMENT(GS));
	sregs->ldtr = get_segment(vcpu, cpu, level, SEGMENT(LDTR));
	sregs->tr = get_segment(vcpu, cpu, level, SEGMENT(TR));
	get_tables(vcpu, cpu, level, sregs);
	sregs->cr0 = seen(GET(GUEST_CR0), GET(CR0_SHADOW), GET(CR0_MASK));
	sregs->cr2 = vcpu->vmx.cr2;
	sregs->cr3 = GET(GUEST_CR3);
	sregs->cr4 = nvl_vmx_seen_cr4(vcpu, cpu, level);
	sregs->cr8 = vcpu->vmx.cr8;
	sregs->efer = GET(GUEST_EFER);
	sregs->pat = GET(GUEST_PAT);
	sregs->dr6 = vcpu->vmx.dr6;
	sregs->dr7 = GET(GUEST_DR7);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}

static void set_sregs(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
		      const struct nvirt_sregs *sregs)
{
	const u32 level = 1;

	set_segment(vcpu, cpu, SEGMENT(ES), &sregs->es);
	set_segment(vcpu, cpu, SEGMENT(CS), &sregs->cs);
	set_segment(vcpu, cpu, SEGMENT(SS), &sregs->ss);
	set_segment(vcpu, cpu, SEGMENT(DS), &sregs->ds);
	set_segment(vcpu, cpu, SEGMENT(FS), &sregs->fs);
	set_segment(vcpu, cpu, SEGMENT(GS), &sregs->gs);
	set_segment(vcpu, cpu, SEGMENT(LDTR), &sregs->ldtr);
	set_segment(vcpu, cpu, SEGMENT(TR), &sregs->tr);
	SET(GUEST_GDTR_BASE, sregs->gdtr.base);
	SET(GUEST_GDTR_LIMIT, sregs->gdtr.limit);
	SET(GUEST_IDTR_BASE, sregs->idtr.base);
	SET(GUEST_IDTR_LIMIT, sregs->idtr.limit);
	set_cr0_cr4(vcpu, cpu, sregs->cr0, sregs->cr4);
	SET(GUEST_CR3, sregs->cr3);
	set_efer(vcpu, cpu, sregs->efer);
	set_pdptes(vcpu, cpu, sregs);
	SET(GUEST_PAT, sregs->pat);
	SET(GUEST_DR7, sregs->dr7);
	vcpu->vmx.cr2 = sregs->cr2;
	vcpu->vmx.cr8 = sregs->cr8;
	vcpu->vmx.dr6 = sregs->dr6;
	/* The paging mode may have changed, and the tables. */
	if (nvirt_vmx_request_flush(vcpu->vmx.nvirt, 1, NVIRT_TLB_REQUEST_GUEST) != NVIRT_OK)
		WARN_ON_ONCE(1);
}

int nvl_vmx_set_sregs(struct nvl_vcpu *vcpu, const struct nvirt_sregs *sregs)
{
	struct nvirt_port_cpu *cpu;
	int error = nvl_vcpu_hold(vcpu, &cpu);

	if (error)
		return error;
	set_sregs(vcpu, cpu, sregs);
	nvl_vcpu_release(cpu);
	return nvl_vmx_failed(vcpu) ? -EIO : 0;
}
