/* SPDX-License-Identifier: MIT */
/*
 * The way into a guest and back on SVM (svm_cpu.h). GIF is 0 around it. VMRUN saves and #VMEXIT
 * restores the host's RSP, RAX, RFLAGS, segments, control registers, GDTR and IDTR; the other
 * registers are moved here. FS, GS, TR, LDTR and the SYSCALL MSRs are left with the guest's values
 * after VMSAVE: nothing in the host uses them.
 */
        .text
        .balign 64
        .globl bm_svm_switch
        .hidden bm_svm_switch
        .type bm_svm_switch, @function
/* rdi: struct nvirt_gprs, rsi: VMCB to run, rdx: VMCB of the shared state, ecx: host IF. All registers
 * but RBP and RSP are lost: the caller says so to the compiler, which saves what it needs. */
bm_svm_switch:
        pushq   %rbp
        pushq   %rdx
        pushq   %rdi

        movq    %rdx, %rax
        vmload  %rax
        movq    %rsi, %rax
        testl   %ecx, %ecx
        jz      1f
        /* VMRUN keeps this IF as the host's: with V_INTR_MASKING it gates physical interrupts. */
        sti
1:      movq    1*8(%rdi), %rcx
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
        vmrun   %rax
        cli
        movq    (%rsp), %rax
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
        movq    8(%rsp), %rax
        vmsave  %rax

        addq    $16, %rsp
        popq    %rbp
        ret
        .size bm_svm_switch, . - bm_svm_switch

        .section .note.GNU-stack, "", @progbits
