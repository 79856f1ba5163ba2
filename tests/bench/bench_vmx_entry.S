/* SPDX-License-Identifier: MIT */
/*
 * The switch to L2 and back, as a hypervisor that minds its speed writes it: the host stack pointer
 * goes into the VMCS only when it changed, and nothing is looked at twice.
 */
#define HOST_RSP 0x6c14
#define G_HOST_RSP 120
#define G_LAUNCHED 128

        .text
/* bool bench_enter(struct guest *): true after an exit, false when the entry failed. */
        .globl  bench_enter
bench_enter:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi
        cmpq    %rsp, G_HOST_RSP(%rdi)
        je      1f
        movq    %rsp, G_HOST_RSP(%rdi)
        movl    $HOST_RSP, %eax
        vmwrite %rsp, %rax
1:      cmpb    $0, G_LAUNCHED(%rdi)
        movq    0(%rdi), %rax
        movq    8(%rdi), %rcx
        movq    16(%rdi), %rdx
        movq    24(%rdi), %rbx
        movq    32(%rdi), %rbp
        movq    40(%rdi), %rsi
        movq    56(%rdi), %r8
        movq    64(%rdi), %r9
        movq    72(%rdi), %r10
        movq    80(%rdi), %r11
        movq    88(%rdi), %r12
        movq    96(%rdi), %r13
        movq    104(%rdi), %r14
        movq    112(%rdi), %r15
        movq    48(%rdi), %rdi
        jne     2f
        vmlaunch
        jmp     3f
2:      vmresume
3:      popq    %rdi
        xorl    %eax, %eax
        jmp     4f

        .globl  bench_landing
bench_landing:
        pushq   %rdi
        movq    8(%rsp), %rdi
        movq    %rax, 0(%rdi)
        movq    %rcx, 8(%rdi)
        movq    %rdx, 16(%rdi)
        movq    %rbx, 24(%rdi)
        movq    %rbp, 32(%rdi)
        movq    %rsi, 40(%rdi)
        movq    %r8, 56(%rdi)
        movq    %r9, 64(%rdi)
        movq    %r10, 72(%rdi)
        movq    %r11, 80(%rdi)
        movq    %r12, 88(%rdi)
        movq    %r13, 96(%rdi)
        movq    %r14, 104(%rdi)
        movq    %r15, 112(%rdi)
        popq    48(%rdi)
        movb    $1, G_LAUNCHED(%rdi)
        addq    $8, %rsp
        movl    $1, %eax
4:      popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .balign 64
        .globl  l2_loop_call
l2_loop_call:
1:      vmcall
        jmp     1b
        .globl  l2_stop
l2_stop:
        vmcall
        jmp     l2_stop

        .section .note.GNU-stack, "", @progbits
