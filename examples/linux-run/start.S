/* SPDX-License-Identifier: MIT */
/*
 * What a program needs of the machine without a C library: its first instruction, system calls, and
 * the return from a signal handler.
 */
	.text
	.globl _start
_start:
	xorl	%ebp, %ebp
	movq	(%rsp), %rdi
	leaq	8(%rsp), %rsi
	andq	$-16, %rsp
	call	run_main
	movl	%eax, %edi
	movl	$231, %eax
	syscall
	hlt

/* long sys_call(long number, long a, long b, long c, long d, long e, long f) */
	.globl sys_call
sys_call:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	syscall
	ret

	.globl sys_restorer
sys_restorer:
	movl	$15, %eax
	syscall

	.globl memcpy, memset
memcpy:
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret
memset:
	movq	%rdi, %r8
	movl	%esi, %eax
	movq	%rdx, %rcx
	rep stosb
	movq	%r8, %rax
	ret

	.section .note.GNU-stack, "", @progbits
