/* SPDX-License-Identifier: MIT */
/*
 * Entering code that may not come back, and the place where trap.c's hook lets it land: the
 * callee-saved registers lie on the stack whose pointer is in trap_saved_rsp.
 */
        .macro  SAVE
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, trap_saved_rsp(%rip)
        .endm

        .macro  RESTORE
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        .endm

        .text
/* uint64_t trap_enter(void (*fn)(void *), void *arg): 0 when fn returned, 1 when it trapped. */
        .globl  trap_enter
trap_enter:
        SAVE
        movq    %rdi, %rax
        movq    %rsi, %rdi
        call    *%rax
        RESTORE
        xorl    %eax, %eax
        ret

/* uint64_t trap_enter_frame(rip, cs, rflags, rsp, ss, rax): always ends in trap_unwind. */
        .globl  trap_enter_frame
trap_enter_frame:
        SAVE
        movq    %r9, %rax
        pushq   %r8
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        movl    %r8d, %ds
        movl    %r8d, %es
        iretq

        .globl  trap_unwind
trap_unwind:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        RESTORE
        movl    $1, %eax
        ret

/* CPL 3: function and argument lie on top of the stack. UD2 is the way back. */
        .globl  trap_user_start
trap_user_start:
        popq    %rax
        popq    %rdi
        call    *%rax
        .globl  trap_user_done
trap_user_done:
        ud2

        .code32
        .globl  trap_compat_done
trap_compat_done:
        ud2
        .code64

        .bss
        .balign 8
        .globl  trap_saved_rsp
trap_saved_rsp:
        .skip   8

        .section .note.GNU-stack, "", @progbits
