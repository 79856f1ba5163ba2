/* SPDX-License-Identifier: MIT */
/*
 * The way into a guest and back on VMX (vmx_cpu.h): a loop that never returns, so that nothing of
 * the host's registers is worth saving. An exit always arrives with RSP at bm_vmx_top, where the
 * address of the guest's registers lies; below is the host's stack.
 */
        .text
        .balign 64
        .globl bm_vmx_run
        .hidden bm_vmx_run
        .type bm_vmx_run, @function
/* rdi: struct nvirt_gprs, esi: launch */
bm_vmx_run:
        leaq    bm_vmx_top(%rip), %rsp
        movq    %rdi, (%rsp)
        movl    %esi, %eax
        jmp     1f

        .balign 64
        .globl bm_vmx_exit
        .hidden bm_vmx_exit
/* HOST_RIP. */
bm_vmx_exit:
        pushq   %rdi
        movq    8(%rsp), %rdi
        movq    %rax, 0*8(%rdi)
        movq    %rcx, 1*8(%rdi)
        movq    %rdx, 2*8(%rdi)
        movq    %rbx, 3*8(%rdi)
        movq    %rbp, 5*8(%rdi)
        movq    %rsi, 6*8(%rdi)
        movq    %r8, 8*8(%rdi)
        movq    %r9, 9*8(%rdi)
        movq    %r10, 10*8(%rdi)
        movq    %r11, 11*8(%rdi)
        movq    %r12, 12*8(%rdi)
        movq    %r13, 13*8(%rdi)
        movq    %r14, 14*8(%rdi)
        movq    %r15, 15*8(%rdi)
        popq    7*8(%rdi)
        /* The host's turn: al says whether what it wants run next is to be launched. */
        call    bm_vmx_exited
.Lnext:
        movq    (%rsp), %rdi
1:
        /* From here to the entry an NMI makes the hook continue at bm_vmx_abort. */
        .globl bm_vmx_window, bm_vmx_window_end, bm_vmx_abort
        .hidden bm_vmx_window, bm_vmx_window_end, bm_vmx_abort
bm_vmx_window:
        cmpb    $0, bm_vmx_nmi(%rip)
        jne     bm_vmx_abort
        testb   %al, %al
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
        jnz     2f
        vmresume
        jmp     3f
2:      vmlaunch
bm_vmx_window_end:
        /* Still here: the instruction failed, and the guest's registers are as they were saved. */
3:      movl    $1, %edi
        jc      4f
        movl    $2, %edi
4:      cld
        call    bm_vmx_not_entered
        jmp     .Lnext
bm_vmx_abort:
        movl    $3, %edi
        jmp     4b
        .size bm_vmx_run, . - bm_vmx_run

        .bss
        .balign 64
        .skip 32768
        .globl bm_vmx_top
        .hidden bm_vmx_top
bm_vmx_top:
        .skip 16

        .section .note.GNU-stack, "", @progbits
