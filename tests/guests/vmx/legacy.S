/* SPDX-License-Identifier: MIT */
/*
 * L1 as a 32-bit hypervisor: a small interpreter that leaves long mode, runs a list of VMX
 * instructions under 32-bit or PAE paging, notes how each ended, and comes back. It has an
 * interrupt table of its own; an exception ends the command that raised it.
 *
 * struct legacy_command (legacy.h), 32 bytes: op, a, b, flags, out, vector, error, cr2.
 */
#define OP 0
#define ARG_A 4
#define ARG_B 8
#define FLAGS 12
#define OUT 16
#define VECTOR 20
#define ERROR 24
#define CR2_AT 28
#define COMMAND_SIZE 32

#define SEL_CS64 0x08
#define SEL_CS32 0x18
#define SEL_DS32 0x20
#define EFER 0xc0000080
#define EFER_LME 0x100
#define CR0_PG 0x80000000
#define ALL_FLAGS 0x8d5
#define NO_FLAGS 0xffffffff
#define HOST_RSP 0x6c14

        .text
/* void legacy_run(struct legacy_command *list, uint32_t cr3, uint32_t cr4): list ends with op 0. */
        .globl  legacy_run
legacy_run:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, saved_rsp(%rip)
        movq    %cr3, %rax
        movq    %rax, saved_cr3(%rip)
        movq    %cr4, %rax
        movq    %rax, saved_cr4(%rip)
        sidt    saved_idtr(%rip)
        movl    %edi, %ebp
        movl    %esi, %ebx
        movl    %edx, %esi
        leaq    legacy_stack_top(%rip), %rsp
        pushq   $SEL_CS32
        leaq    leave_long_mode(%rip), %rax
        pushq   %rax
        lretq

        .code32
leave_long_mode:
        movl    $SEL_DS32, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es
        movl    %cr0, %eax
        andl    $~CR0_PG, %eax
        movl    %eax, %cr0
        movl    $EFER, %ecx
        rdmsr
        andl    $~EFER_LME, %eax
        wrmsr
        movl    %esi, %cr4
        movl    %ebx, %cr3
        movl    %cr0, %eax
        orl     $CR0_PG, %eax
        movl    %eax, %cr0
        lidt    legacy_idtr

next_command:
        movl    $legacy_stack_top, %esp
        movl    OP(%ebp), %ecx
        cmpl    $(op_table_end - op_table) / 4, %ecx
        jae     last_command
        testl   %ecx, %ecx
        jz      last_command
        movl    $NO_FLAGS, FLAGS(%ebp)
        movl    $NO_FLAGS, VECTOR(%ebp)
        movl    ARG_A(%ebp), %esi
        movl    ARG_B(%ebp), %edi
        movl    OUT(%ebp), %edx
        movl    op_table(,%ecx,4), %ecx
        pushfl
        orl     $ALL_FLAGS, (%esp)
        popfl
        jmp     *%ecx

/* Commands come here with the flags of their instruction and their result in EDX. */
done:
        movl    %edx, OUT(%ebp)
        pushfl
        popl    FLAGS(%ebp)
        cld
skip:
        addl    $COMMAND_SIZE, %ebp
        jmp     next_command

last_command:
        movl    %cr0, %eax
        andl    $~CR0_PG, %eax
        movl    %eax, %cr0
        movl    saved_cr4, %eax
        movl    %eax, %cr4
        movl    saved_cr3, %eax
        movl    %eax, %cr3
        movl    $EFER, %ecx
        rdmsr
        orl     $EFER_LME, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $CR0_PG, %eax
        movl    %eax, %cr0
        ljmpl   $SEL_CS64, $back_in_long_mode

op_vmxon:
        vmxon   (%esi)
        jmp     done
op_vmxoff:
        vmxoff
        jmp     done
op_vmclear:
        vmclear (%esi)
        jmp     done
op_vmptrld:
        vmptrld (%esi)
        jmp     done
op_vmptrst:
        vmptrst (%esi)
        jmp     done
op_vmread:
        vmread  %esi, %edx
        jmp     done
op_vmwrite:
        vmwrite %edi, %esi
        jmp     done
op_vmread_mem:
        vmread  %esi, (%edi)
        jmp     done
op_vmwrite_mem:
        vmwrite (%edi), %esi
        jmp     done
op_invept:
        invept  (%edi), %esi
        jmp     done
op_invvpid:
        invvpid (%edi), %esi
        jmp     done
op_read:
        movl    (%esi), %edx
        jmp     done
op_load_fs:
        movl    %esi, %fs
        jmp     done
op_vmptrst_fs:
        vmptrst %fs:(%esi)
        jmp     done
/* A 16-bit address wraps at 64 KiB within the segment. */
op_vmptrst_addr16:
        movl    $0xfff8, %ebx
        addl    $8, %esi
        addr16 vmptrst %fs:(%bx,%si)
        jmp     done
op_vmptrst_sib:
        movl    $3, %ecx
        leal    -0x34(%esi), %eax
        vmptrst 0x1c(%eax,%ecx,8)
        jmp     done
op_vmlaunch:
        movl    $HOST_RSP, %eax
        vmwrite %esp, %eax
        movl    %ebp, legacy_command_at
        vmlaunch
        jmp     done
op_vmresume:
        movl    $HOST_RSP, %eax
        vmwrite %esp, %eax
        movl    %ebp, legacy_command_at
        vmresume
        jmp     done

/* Host RIP of a 32-bit L1: OUT gets a mark, FLAGS what the exit loaded. */
        .globl  legacy_landing
legacy_landing:
        movl    legacy_command_at, %ebp
        movl    $0x600d, %edx
        jmp     done

        .balign 4
op_table:
        .long   last_command, op_vmxon, op_vmxoff, op_vmclear, op_vmptrld, op_vmptrst, op_vmread
        .long   op_vmwrite, op_vmread_mem, op_vmwrite_mem, op_invept, op_invvpid, op_read
        .long   op_load_fs, op_vmptrst_fs, op_vmptrst_addr16, op_vmptrst_sib, op_vmlaunch
        .long   op_vmresume
op_table_end:

        .balign 16
        .globl  legacy_stubs
legacy_stubs:
        .set vec, 0
        .rept 32
        .balign 16
        .if !((vec == 8) || (vec >= 10 && vec <= 14) || (vec == 17) || (vec == 21))
        pushl   $0
        .endif
        pushl   $vec
        jmp     legacy_exception
        .set vec, vec + 1
        .endr
legacy_exception:
        popl    VECTOR(%ebp)
        popl    ERROR(%ebp)
        movl    %cr2, %eax
        movl    %eax, CR2_AT(%ebp)
        jmp     skip

        .code64
back_in_long_mode:
        movl    $0x10, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es
        xorl    %eax, %eax
        movl    %eax, %fs
        lidt    saved_idtr(%rip)
        movq    saved_rsp(%rip), %rsp
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .data
        .balign 8
        .globl  legacy_idtr
legacy_idtr:
        .word   32 * 8 - 1
        .long   legacy_idt
saved_rsp:
        .quad   0
saved_cr3:
        .quad   0
saved_cr4:
        .quad   0
saved_idtr:
        .skip   16
        .globl  legacy_command_at
legacy_command_at:
        .long   0

        .bss
        .balign 16
        .globl  legacy_idt
legacy_idt:
        .skip   32 * 8
        .skip   4096
legacy_stack_top:
        .skip   16

        .section .note.GNU-stack, "", @progbits
