/* SPDX-License-Identifier: MIT */
/*
 * Into a guest and back on SVM. VMRUN saves and #VMEXIT restores the host's RSP, RAX, RFLAGS, CS, SS,
 * DS, ES, control registers, GDTR and IDTR; VMSAVE and VMLOAD keep FS, GS, TR, LDTR and the SYSCALL MSRs:
 * until they are back nothing per CPU can be reached, and GIF is 0.
 * [APM 2 "VMRUN Instruction"; "VMSAVE and VMLOAD Instructions"] So no probe may be set here.
 */
#include "nvl_enter.h"

	.section .noinstr.text, "ax"

/*
 * int nvl_svm_enter(struct nvirt_gprs *gprs, u64 vmcb, u64 state_vmcb, u64 host_state)
 * Interrupts off. 0, or 1 when SVM is off on this CPU.
 */
SYM_FUNC_START(nvl_svm_enter)
	PUSH_KEPT
	push	%rcx
	push	%rdx
	push	%rdi

1:	clgi
	/* FS, GS and KERNEL_GS_BASE are this thread's, so they are saved each time. */
	mov	%rcx, %rax
	vmsave	%rax
	mov	%rdx, %rax
	vmload	%rax
	mov	%rsi, %rax
	/* The IF that VMRUN takes as the host's: with V_INTR_MASKING it lets interrupts exit. */
	sti
	LOAD_GUEST
	CLEAR_BUFFERS_FOR_AMD
	vmrun	%rax
	cli

	mov	(%rsp), %rax
	SAVE_GUEST
	mov	8(%rsp), %rax
	vmsave	%rax
	mov	16(%rsp), %rax
	vmload	%rax

	/* Returns of the host must not be predicted from what the guest did. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
#ifdef X86_FEATURE_IBPB_ON_VMEXIT
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif
#endif
	stgi
	xor	%eax, %eax
	FORGET_GUEST
3:	add	$24, %rsp
	POP_KEPT
	RET

	/* CLGI is the first to fault where SVM was switched off, and nothing has changed yet. */
4:	mov	$1, %eax
	jmp	3b
	_ASM_EXTABLE(1b, 4b)
SYM_FUNC_END(nvl_svm_enter)
