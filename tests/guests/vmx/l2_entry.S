/* SPDX-License-Identifier: MIT */
/*
 * The switch to L2 and back, and the stubs of L2's interrupt table: each is a VMCALL, so that L1
 * learns the vector from where L2 stopped. The NOP is there for Bochs, which saves a stale RIP when
 * the first instruction of an NMI handler exits.
 */
/* As in vmx.h, whose constants have a C suffix. */
#define HOST_RSP 0x6c14

        .text
/*
 * uint64_t l2_enter(struct l2 *l2, uint64_t launched): 0 after an exit; after a failed VMLAUNCH
 * or VMRESUME the flags with bit 16 set. struct l2 begins with the GPRs in the order used here.
 */
        .globl  l2_enter
l2_enter:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi
        movl    $HOST_RSP, %eax
        vmwrite %rsp, %rax
        movq    %rsp, 128(%rdi)
        testq   %rsi, %rsi
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
        jnz     1f
        vmlaunch
        jmp     2f
1:      vmresume
2:      pushfq
        popq    %rax
        orq     $0x10000, %rax
        popq    %rdi
        jmp     3f

        .globl  l2_exit_landing
l2_exit_landing:
        pushfq
        xchgq   %rdi, 8(%rsp)
        popq    120(%rdi)
        movq    %rsp, 128(%rdi)
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
        xorl    %eax, %eax
        cld
3:      popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .balign 16
        .globl  l2_stubs
l2_stubs:
        .rept   256
        .balign 16
        nop
        vmcall
        iretq
        .endr

        .section .note.GNU-stack, "", @progbits
