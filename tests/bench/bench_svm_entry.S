/* SPDX-License-Identifier: MIT */
/*
 * The switch to L2 and back on SVM: once with CLGI, VMRUN and STGI only, for a hypervisor that
 * keeps L2's half of the VMLOAD state on the CPU, and once with VMSAVE and VMLOAD of both sides, as
 * [APM 2 "Basic Operation"] has it and as most hypervisors do.
 */
#define G_VMCB 120
#define G_HOST 128

        .text
        .macro  enter_l2
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rdi
        .endm
        .macro  load_gprs
        movq    0(%rdi), %rbx
        movq    8(%rdi), %rcx
        movq    16(%rdi), %rdx
        movq    24(%rdi), %rsi
        movq    40(%rdi), %rbp
        movq    48(%rdi), %r8
        movq    56(%rdi), %r9
        movq    64(%rdi), %r10
        movq    72(%rdi), %r11
        movq    80(%rdi), %r12
        movq    88(%rdi), %r13
        movq    96(%rdi), %r14
        movq    104(%rdi), %r15
        movq    32(%rdi), %rdi
        .endm
        .macro  save_gprs
        pushq   %rdi
        movq    8(%rsp), %rdi
        movq    %rbx, 0(%rdi)
        movq    %rcx, 8(%rdi)
        movq    %rdx, 16(%rdi)
        movq    %rsi, 24(%rdi)
        movq    %rbp, 40(%rdi)
        movq    %r8, 48(%rdi)
        movq    %r9, 56(%rdi)
        movq    %r10, 64(%rdi)
        movq    %r11, 72(%rdi)
        movq    %r12, 80(%rdi)
        movq    %r13, 88(%rdi)
        movq    %r14, 96(%rdi)
        movq    %r15, 104(%rdi)
        popq    32(%rdi)
        .endm
        .macro  leave_l2
        addq    $8, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
        .endm

/* void bench_enter(struct guest *) */
        .globl  bench_enter
bench_enter:
        enter_l2
        clgi
        movq    G_VMCB(%rdi), %rax
        load_gprs
        vmrun   %rax
        save_gprs
        stgi
        leave_l2

/* void bench_enter_full(struct guest *): the same with VMSAVE and VMLOAD. */
        .globl  bench_enter_full
bench_enter_full:
        enter_l2
        clgi
        movq    G_HOST(%rdi), %rax
        vmsave  %rax
        movq    G_VMCB(%rdi), %rax
        vmload  %rax
        load_gprs
        vmrun   %rax
        save_gprs
        movq    G_VMCB(%rdi), %rax
        vmsave  %rax
        movq    G_HOST(%rdi), %rax
        vmload  %rax
        stgi
        leave_l2

        .balign 64
        .globl  l2_loop_call
l2_loop_call:
1:      vmmcall
        jmp     1b
        .globl  l2_stop
l2_stop:
        vmmcall
        jmp     l2_stop

        .section .note.GNU-stack, "", @progbits
