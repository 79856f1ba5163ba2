/* SPDX-License-Identifier: MIT */
/*
 * The way into a guest and back on VMX (vmx_cpu.h). An exit always arrives with RSP at
 * bm_vmx_block, so HOST_RSP is written once: the block says where the host's stack and the guest's
 * registers are.
 */
        .text
        .balign 64
        .globl bm_vmx_enter
        .hidden bm_vmx_enter
        .type bm_vmx_enter, @function
/* rdi: struct nvirt_gprs, esi: launch */
bm_vmx_enter:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        leaq    bm_vmx_block(%rip), %rax
        movq    %rsp, (%rax)
        movq    %rdi, 8(%rax)

        /* From here to the entry an NMI makes the hook continue at bm_vmx_abort. */
        .globl bm_vmx_window, bm_vmx_window_end, bm_vmx_abort
        .hidden bm_vmx_window, bm_vmx_window_end, bm_vmx_abort
bm_vmx_window:
        cmpb    $0, bm_vmx_nmi(%rip)
        jne     bm_vmx_abort
        testl   %esi, %esi
        /* Loads leave the flags of the test alone. */
        movq    0*8(%rdi), %rax
        movq    1*8(%rdi), %rcx
        movq    2*8(%rdi), %rdx
        movq    3*8(%rdi), %rbx
        movq    5*8(%rdi), %rbp
        movq    6*8(%rdi), %rsi
        movq    8*8(%rdi), %r8
        movq    9*8(%rdi), %r9
        movq    10*8(%rdi), %r10
        movq    11*8(%rdi), %r11
        movq    12*8(%rdi), %r12
        movq    13*8(%rdi), %r13
        movq    14*8(%rdi), %r14
        movq    15*8(%rdi), %r15
        movq    7*8(%rdi), %rdi
        jnz     1f
        vmresume
        jmp     2f
1:      vmlaunch
bm_vmx_window_end:
        /* Still here: the instruction failed; RSP is the host's, the registers need no saving. */
2:      movl    $1, %eax
        jc      3f
        movl    $2, %eax
3:      cld
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
bm_vmx_abort:
        movl    $3, %eax
        jmp     3b
        .size bm_vmx_enter, . - bm_vmx_enter

        .balign 64
        .globl bm_vmx_exit
        .hidden bm_vmx_exit
/* HOST_RIP. RSP is at bm_vmx_block. */
bm_vmx_exit:
        pushq   %rax
        movq    16(%rsp), %rax
        movq    %rcx, 1*8(%rax)
        movq    %rdx, 2*8(%rax)
        movq    %rbx, 3*8(%rax)
        movq    %rbp, 5*8(%rax)
        movq    %rsi, 6*8(%rax)
        movq    %rdi, 7*8(%rax)
        movq    %r8, 8*8(%rax)
        movq    %r9, 9*8(%rax)
        movq    %r10, 10*8(%rax)
        movq    %r11, 11*8(%rax)
        movq    %r12, 12*8(%rax)
        movq    %r13, 13*8(%rax)
        movq    %r14, 14*8(%rax)
        movq    %r15, 15*8(%rax)
        popq    0*8(%rax)
        movq    (%rsp), %rsp
        xorl    %eax, %eax
        jmp     3b

        .bss
        .balign 64
        .skip 64 /* room for the one push at an exit */
        .globl bm_vmx_block
        .hidden bm_vmx_block
bm_vmx_block:
        .skip 16

        .section .note.GNU-stack, "", @progbits
