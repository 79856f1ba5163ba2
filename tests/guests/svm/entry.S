/* SPDX-License-Identifier: MIT */
/*
 * The assembly of the SVM test hypervisor: trap entry for all 256 vectors, protected calls, jumps
 * to ring 3 and to 32-bit code, and the world switch around VMRUN.
 *
 * The world switch follows the recipe of [APM 2 "Basic Operation"]: GIF is cleared, the host's
 * half of the VMLOAD state is parked with VMSAVE, the guest's loaded, VMRUN, and the same back.
 * Its flags (struct l2) leave out single steps for the tests that look at just those.
 */
/* Trap stubs, 16 bytes apart; those whose vector has no error code push a zero for it. */
        .text
        .balign 16
        .globl trap_stubs
trap_stubs:
        .set vec, 0
        .rept 256
        .balign 16
        .if !((1 << (vec & 31)) & 0x60227d00) || vec > 31
        push $0
        .endif
        push $vec
        jmp trap_common
        .set vec, vec + 1
        .endr
trap_common:
        push %rax; push %rbx; push %rcx; push %rdx; push %rsi; push %rdi; push %rbp
        push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
        cld
        mov %rsp, %rdi
        mov %rsp, %rbx
        and $-16, %rsp
        call trap_dispatch
        mov %rbx, %rsp
        pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
        pop %rbp; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rbx; pop %rax
        add $16, %rsp
        iretq

/*
 * try_call(fn, a, b): the frame on the stack is what a trap returns to (try_resume), with the
 * vector in RAX. try_user and try_compat leave by IRET and only ever come back through a trap.
 */
        .text
        .macro try_enter
        push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        pushq try_top(%rip)
        mov %rsp, try_top(%rip)
        .endm
        .globl try_call
try_call:
        try_enter
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        call *%rax
        mov $-1, %eax
        .globl try_resume
try_resume:
        mov try_top(%rip), %rsp
        popq try_top(%rip)
        pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        ret
        .globl try_user_asm
try_user_asm:
        try_enter
        mov %rsp, %r8
        mov %rsi, %rax
        push $0x2b
        lea user_stack_top(%rip), %rcx
        push %rcx
        push $2
        push $0x33
        push %rdi
        iretq
        .globl try_compat_asm
try_compat_asm:
        try_enter
        mov %rsi, %rax
        mov %rsp, %rcx
        push $0x10
        push %rcx
        push $2
        push $0x18
        push %rdi
        iretq
        .bss
        .balign 4096
        .skip 8192
user_stack_top:
        .skip 4096

/* void l2_switch(vmcb, gpr, flags, host vmcb); offsets as in struct l2_gpr. */
        .text
        .globl l2_switch
l2_switch:
        push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        push %rsi; push %rdi; push %rdx; push %rcx
        clgi
        test $1, %dl  /* L2_NO_LOAD */
        jnz 1f
        mov %rcx, %rax
        vmsave %rax
        mov %rdi, %rax
        vmload %rax
1:      test $4, %dl  /* L2_HOST_IF */
        jz 2f
        sti
2:      mov %rdi, %rax
        mov 0(%rsi), %rbx
        mov 8(%rsi), %rcx
        mov 16(%rsi), %rdx
        mov 32(%rsi), %rdi
        mov 40(%rsi), %rbp
        mov 48(%rsi), %r8
        mov 56(%rsi), %r9
        mov 64(%rsi), %r10
        mov 72(%rsi), %r11
        mov 80(%rsi), %r12
        mov 88(%rsi), %r13
        mov 96(%rsi), %r14
        mov 104(%rsi), %r15
        mov 24(%rsi), %rsi
        .globl l2_vmrun_at
l2_vmrun_at:
        vmrun %rax
        push %rsi
        pushfq
        mov 40(%rsp), %rsi
        mov %rbx, 0(%rsi)
        mov %rcx, 8(%rsi)
        mov %rdx, 16(%rsi)
        mov %rdi, 32(%rsi)
        mov %rbp, 40(%rsi)
        mov %r8, 48(%rsi)
        mov %r9, 56(%rsi)
        mov %r10, 64(%rsi)
        mov %r11, 72(%rsi)
        mov %r12, 80(%rsi)
        mov %r13, 88(%rsi)
        mov %r14, 96(%rsi)
        mov %r15, 104(%rsi)
        mov %rax, 112(%rsi)
        pop %rbx
        mov %rbx, 120(%rsi)
        pop %rbx
        mov %rbx, 24(%rsi)
        pop %rcx; pop %rdx; pop %rdi; pop %rsi
        test $1, %dl
        jnz 3f
        mov %rdi, %rax
        vmsave %rax
        mov %rcx, %rax
        vmload %rax
3:      test $2, %dl  /* L2_NO_STGI */
        jnz 4f
        stgi
        nop
        cli
4:      pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        cld
        ret
        .section .note.GNU-stack, "", @progbits
