/* SPDX-License-Identifier: MIT */
/*
 * Into a guest and back on VMX. An exit loads RSP, RIP, segments, control registers, GDTR and IDTR from the
 * VMCS; all other registers are the guest's until they are put back here and in vmx_cpu.c.
 * [SDM 3C "Loading Host State"]
 */
#include "nvl_enter.h"

#include <asm/msr-index.h>

#define HOST_RSP 0x6c14

	.section .noinstr.text, "ax"

/*
 * int nvl_vmx_enter(struct nvirt_gprs *gprs, bool launch, u64 spec_ctrl)
 * Interrupts off. 0 after an exit; 1: VMfailInvalid, or VMX is off; 2: VMfailValid.
 */
SYM_FUNC_START(nvl_vmx_enter)
	PUSH_KEPT
	push	%rdx
	push	%rdi

	/* The one field that nvirt does not write: it is this stack. */
	mov	$HOST_RSP, %eax
1:	vmwrite	%rsp, %rax
	jbe	5f
	/* CF tells which; what follows leaves it alone. */
	bt	$0, %esi
	mov	0*8(%rdi), %rax
	LOAD_GUEST
	CLEAR_BUFFERS_FOR_INTEL
	jc	3f
2:	vmresume
	jmp	4f
3:	vmlaunch
	/*
	 * An entry that failed goes on here with CF or ZF set and the guest's registers as they were loaded;
	 * an exit arrives here with both clear.
	 */
4:
SYM_INNER_LABEL(nvl_vmx_exited, SYM_L_GLOBAL)
	ENDBR
	push	%rax
	mov	8(%rsp), %rax
	pop	0*8(%rax)
	SAVE_GUEST
	/* ebx: 0, 1 for CF, 2 for ZF */
	setc	%bl
	setz	%bh
	movzbl	%bh, %eax
	movzbl	%bl, %ebx
	lea	(%rbx, %rax, 2), %ebx

	/* Returns of the host must not be predicted from what the guest did. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, X86_FEATURE_RSB_VMEXIT_LITE
	ALTERNATIVE "jmp .Lno_ibrs", "", X86_FEATURE_KERNEL_IBRS
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	8(%rsp), %eax
	mov	12(%rsp), %edx
	wrmsr
.Lno_ibrs:
#ifdef X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
	CLEAR_BRANCH_HISTORY_VMEXIT
#endif
	mov	%ebx, %eax
	FORGET_GUEST
6:	add	$16, %rsp
	POP_KEPT
	RET

	/* VMX was switched off for a reboot, or there is no current VMCS: nothing has changed yet. */
5:	mov	$1, %eax
	jmp	6b
	/* The same, later: the guest's registers are loaded. */
7:	stc
	jmp	4b
	_ASM_EXTABLE(1b, 5b)
	_ASM_EXTABLE(2b, 7b)
	_ASM_EXTABLE(3b, 7b)
SYM_FUNC_END(nvl_vmx_enter)
