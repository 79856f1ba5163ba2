/* SPDX-License-Identifier: MIT */
/*
 * The parts of the guest that cannot be C: the walk from 16-bit real mode through unpaged 32-bit
 * protected mode to long mode, and the interrupt entries of the long-mode guest. The real-mode
 * part lies at the start of the image, so that its offsets are those of segment REAL_SELECTOR.
 */
#include "guest.h"

#define CR0_PE 0x1
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define REAL_VECTOR 0x60
#define REAL_STACK 0xfff0

        .section .real, "awx"
        .code16
        .globl  real_start
real_start:
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        movw    $(STACK_GPA >> 4) - 0x1000, %ax
        movw    %ax, %ss
        movw    $REAL_STACK, %sp
        movw    $PORT_REAL, %dx
        movb    $REAL_STARTED, %al
        outb    %al, %dx

        /* The same counted sequence as in long mode, one byte at a time. */
        movw    $PORT_SEQUENCE, %dx
        xorw    %ax, %ax
        movw    $SEQUENCE_LENGTH, %cx
1:      outb    %al, %dx
        incw    %ax
        loop    1b

        movl    $CPUID_LEAF, %eax
        cpuid
        cmpl    $CPUID_LEAF_EBX, %ebx
        jne     real_failed
        cmpl    $CPUID_LEAF_ECX, %ecx
        jne     real_failed
        cmpl    $CPUID_LEAF_EDX, %edx
        jne     real_failed
        movw    $PORT_REAL, %dx
        movb    $REAL_CPUID, %al
        outb    %al, %dx

        /* A software interrupt through the table at address 0. */
        xorw    %ax, %ax
        movw    %ax, %es
        movw    $real_interrupt - real_start, %es:REAL_VECTOR * 4
        movw    $REAL_SELECTOR, %es:REAL_VECTOR * 4 + 2
        xorw    %bx, %bx
        /* QEMU misreports a software interrupt whose delivery faults in the second stage, and KVM
         * loses it: the stack has to be there. */
        pushw   %ax
        popw    %ax
        int     $REAL_VECTOR
        cmpw    $0x1234, %bx
        jne     real_failed
        movw    $PORT_REAL, %dx
        movb    $REAL_INTERRUPT, %al
        outb    %al, %dx

        cli
        lgdtl   gdt_pointer - real_start
        movl    %cr0, %eax
        orl     $CR0_PE, %eax
        movl    %eax, %cr0
        ljmpl   $SEL_CODE32, $protected_start

real_interrupt:
        movw    $0x1234, %bx
        iretw

real_failed:
        hlt
        jmp     real_failed

        .balign 8
gdt_pointer:
        .word   SEL_TSS + 16 - 1
        .long   GDT_GPA

        .code32
protected_start:
        movw    $SEL_DATA, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    %ax, %fs
        movw    %ax, %gs
        movl    $STACK_GPA, %esp
        movl    $REAL_VALUE_UNPAGED, REAL_VALUE_GPA
        cmpl    $REAL_VALUE_UNPAGED, REAL_VALUE_GPA
        jne     protected_failed
        movw    $PORT_REAL, %dx
        movb    $REAL_PROTECTED, %al
        outb    %al, %dx

        movl    %cr4, %eax
        orl     $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $PML4_A_GPA, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $EFER_LME, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $CR0_PG, %eax
        movl    %eax, %cr0
        ljmpl   $SEL_CODE64, $long_start

protected_failed:
        hlt
        jmp     protected_failed

        .code64
long_start:
        movabsq $0x100000000, %rax
        movq    %rax, %rbx
        shrq    $32, %rbx
        cmpq    $1, %rbx
        jne     long_failed
        movl    $REAL_VALUE_PAGED, REAL_VALUE_GPA + 4
        movw    $PORT_REAL, %dx
        movb    $REAL_LONG, %al
        outb    %al, %dx
        hlt
long_failed:
        hlt
        jmp     long_failed

/*
 * Entry of both vCPUs in long mode, with everything set by the program: RDI says what to run.
 */
        .section .entry, "ax"
        .globl  guest_entry
guest_entry:
        cld
        call    guest_main
1:      cli
        hlt
        jmp     1b

/*
 * One stub per vector: make the stack look the same with and without an error code, save the
 * registers that C may change, and hand a frame to guest_trap().
 */
        .text
        .set    vector, 0
        .balign 16
        .globl  trap_stubs
trap_stubs:
        .rept   VECTOR_PIC + 8
        .balign 16
        .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        pushq   $0
        .endif
        pushq   $vector
        jmp     trap_common
        .set    vector, vector + 1
        .endr

trap_common:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        cld
        movq    %rsp, %rdi
        call    guest_trap
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $16, %rsp
        iretq

/*
 * uint64_t registers_survive(void): fill every register with a value of its own, leave the guest
 * by CPUID (which may change four of them) and by OUT (which changes none), and return a bit per
 * register that was lost: bits 0 to 9 the general ones, bits 16 and up the XMM ones.
 */
        .globl  registers_survive
registers_survive:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movabsq $0x0123456789abcdef, %rbp
        leaq    1(%rbp), %rsi
        leaq    2(%rbp), %rdi
        leaq    3(%rbp), %r8
        leaq    4(%rbp), %r9
        leaq    5(%rbp), %r10
        leaq    6(%rbp), %r11
        leaq    7(%rbp), %r12
        leaq    8(%rbp), %r13
        leaq    9(%rbp), %r14
        leaq    10(%rbp), %r15
        .set    number, 0
        .irp    xmm, xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, \
                xmm12, xmm13, xmm14, xmm15
        leaq    (32 + number)(%rbp), %rax
        movq    %rax, %\xmm
        .set    number, number + 1
        .endr

        movl    $CPUID_LEAF, %eax
        cpuid
        movw    $PORT_VALUE, %dx
        movl    $0x5eed, %eax
        outl    %eax, %dx

        xorl    %eax, %eax
        .set    number, 0
        .irp    reg, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        leaq    (number + 1)(%rbp), %rcx
        cmpq    %rcx, %\reg
        je      1f
        orl     $(1 << number), %eax
1:
        .set    number, number + 1
        .endr
        movabsq $0x0123456789abcdef, %rcx
        cmpq    %rcx, %rbp
        je      1f
        orl     $(1 << 10), %eax
1:
        .set    number, 0
        .irp    xmm, xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, \
                xmm12, xmm13, xmm14, xmm15
        leaq    (32 + number)(%rbp), %rcx
        movq    %\xmm, %rdx
        cmpq    %rcx, %rdx
        je      1f
        orl     $(1 << (16 + number)), %eax
1:
        .set    number, number + 1
        .endr
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .section .note.GNU-stack, "", @progbits
