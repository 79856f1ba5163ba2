/* SPDX-License-Identifier: MIT */
/*
 * Between vmx_cpu.c (the CPU: VMX operation, which VMCSs are active, what no VMCS switches), vmx.c (the
 * vCPU and its entries), vmx_regs.c (its registers) and vmx_exits.c (exits that are the host's).
 */
#ifndef NVL_VMX_H
#define NVL_VMX_H

#include "nvl.h"

/* ---- vmx_cpu.c ---- */

int nvl_vmx_enable(struct nvirt_port_cpu *cpu);
void nvl_vmx_disable(struct nvirt_port_cpu *cpu, bool last);
void nvl_vmx_switch_off(void);
/* Binds the vCPU to this CPU, after it has left another, and puts into vmcs01 what this CPU's host state is. */
void nvl_vmx_come(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
/* Wherever its VMCSs are active, they are not any more. False: hardware refused. May wait for that CPU. */
bool nvl_vmx_leave(struct nvl_vcpu *vcpu);
/* Host state that differs among threads and moments, into vmcs01; before a prepare. */
void nvl_vmx_set_host_state(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
/*
 * Enters the VMCS that prepare made current. False: given up, because of a request or because the host's
 * state moved on; prepare must be undone then. *outcome is of the entry's instruction.
 */
bool nvl_vmx_run_guest(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
		       const struct nvirt_vmx_run *run, enum nvirt_hw *outcome);

/* port.c: what an earlier user of VMX operation left on this CPU under tags that are used again. */
void nvl_vmx_forget_translations(struct nvirt_port_cpu *cpu, u64 ept_vpid_cap);

/* ---- vmx.c ---- */

/* Fields of vmcs01 or of the running L2's, the vCPU held. What cannot be read is 0; that it, or a write, failed is
 * remembered. */
u64 nvl_vmx_get(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
		enum nvirt_vmcs_field field);
bool nvl_vmx_set(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level,
		 enum nvirt_vmcs_field field, u64 value);
/* Whether one of these failed since it was asked last. */
bool nvl_vmx_failed(struct nvl_vcpu *vcpu);

extern struct nvirt_vmx_caps nvl_vmx_caps, nvl_vmx_offer;

/* ---- vmx_regs.c ---- */

/* CR4 as the level that runs reads it. */
u64 nvl_vmx_seen_cr4(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u32 level);
/* L1 as after INIT: fields of vmcs01 and the registers beside it. */
void nvl_vmx_set_init_state(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
int nvl_vmx_get_regs(struct nvl_vcpu *vcpu, struct nvirt_regs *regs);
int nvl_vmx_set_regs(struct nvl_vcpu *vcpu, const struct nvirt_regs *regs);
int nvl_vmx_get_sregs(struct nvl_vcpu *vcpu, struct nvirt_sregs *sregs);
int nvl_vmx_set_sregs(struct nvl_vcpu *vcpu, const struct nvirt_sregs *sregs);

/* ---- vmx_exits.c ---- */

int nvl_vmx_handle(struct nvl_vcpu *vcpu, const struct nvl_exit *exit, struct nvirt_run *run);
int nvl_vmx_complete_in(struct nvl_vcpu *vcpu, u32 data);

#endif
