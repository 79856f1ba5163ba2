/* SPDX-License-Identifier: MIT */
/*
 * What entering a guest has alike on SVM and VMX, for svm_enter.S and vmx_enter.S: the registers that hardware
 * does not switch, and what keeps a guest's predictions and values from the kernel.
 * The numbers are those of struct nvirt_gprs; RSP is hardware's, and RAX of SVM, too.
 */
#ifndef NVL_ENTER_H
#define NVL_ENTER_H

#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/nospec-branch.h>

/* What a C function must give back. */
.macro PUSH_KEPT
	push	%rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
.endm

.macro POP_KEPT
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
.endm

/* The guest's, all but RAX, from where RDI points. Leaves the flags alone. */
.macro LOAD_GUEST
	mov	1*8(%rdi), %rcx
	mov	2*8(%rdi), %rdx
	mov	3*8(%rdi), %rbx
	mov	5*8(%rdi), %rbp
	mov	6*8(%rdi), %rsi
	mov	8*8(%rdi), %r8
	mov	9*8(%rdi), %r9
	mov	10*8(%rdi), %r10
	mov	11*8(%rdi), %r11
	mov	12*8(%rdi), %r12
	mov	13*8(%rdi), %r13
	mov	14*8(%rdi), %r14
	mov	15*8(%rdi), %r15
	mov	7*8(%rdi), %rdi
.endm

/* And back, to where RAX points. */
.macro SAVE_GUEST
	mov	%rcx, 1*8(%rax)
	mov	%rdx, 2*8(%rax)
	mov	%rbx, 3*8(%rax)
	mov	%rbp, 5*8(%rax)
	mov	%rsi, 6*8(%rax)
	mov	%rdi, 7*8(%rax)
	mov	%r8, 8*8(%rax)
	mov	%r9, 9*8(%rax)
	mov	%r10, 10*8(%rax)
	mov	%r11, 11*8(%rax)
	mov	%r12, 12*8(%rax)
	mov	%r13, 13*8(%rax)
	mov	%r14, 14*8(%rax)
	mov	%r15, 15*8(%rax)
.endm

/* Nothing of the guest's stays in a register for a speculated path to use. Those that POP_KEPT loads are left
 * to it, RAX to the result. */
.macro FORGET_GUEST
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
.endm

/*
 * The last step before the guest: what it could read out of the CPU's buffers, registers that were loaded just now
 * among them, is overwritten where the kernel found such a hole (MDS, TAA, RFDS; on AMD TSA) and was not
 * told to leave it. Of the flags only ZF changes.
 */
.macro CLEAR_BUFFERS_FOR_INTEL
#ifdef CLEAR_CPU_BUFFERS
	CLEAR_CPU_BUFFERS
#endif
.endm

.macro CLEAR_BUFFERS_FOR_AMD
#ifdef VM_CLEAR_CPU_BUFFERS
	VM_CLEAR_CPU_BUFFERS
#endif
.endm

#endif
