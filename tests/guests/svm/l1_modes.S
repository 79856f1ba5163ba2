/* SPDX-License-Identifier: MIT */
/*
 * L1 itself in other processor modes: from long mode into compatibility mode or, paging off and on
 * again, into 32-bit legacy mode with PAE or two-level paging; there one VMRUN, and back. GIF is 0
 * from before the first step to after the last, so no interrupt needs a 32-bit IDT.
 */
        .bss
        .balign 16
saved_rsp:      .skip 8
saved_cr3:      .skip 8
saved_cr4:      .skip 8

        .text
/* void l1_vmrun_in(struct l1_mode *m /rdi/, struct vmcb *v /rsi/, struct vmcb *host /rdx/) */
        .globl l1_vmrun_in
l1_vmrun_in:
        push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        clgi
        mov %rsp, saved_rsp(%rip)
        mov %cr3, %rax
        mov %rax, saved_cr3(%rip)
        mov %cr4, %rax
        mov %rax, saved_cr4(%rip)
        pushq $0x18
        lea 1f(%rip), %rax
        push %rax
        lretq

        .code32
1:      mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        cmpl $0, (%edi)
        je run                          /* compatibility mode: nothing to change */
        push %edx
        mov %cr0, %eax
        and $0x7fffffff, %eax
        mov %eax, %cr0
        mov $0xc0000080, %ecx
        rdmsr
        cmpl $1, (%edi)                 /* 2: stay in long mode, with other CR3 and CR4 */
        jne 5f
        and $~0x100, %eax
        wrmsr
5:
        mov 4(%edi), %eax
        mov %eax, %cr4
        mov 8(%edi), %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        jmp 2f
2:      pop %edx
run:    push %edi
        mov %edx, %eax
        vmsave %eax
        push %eax
        push %esi
        mov %esi, %eax
        vmload %eax
        vmrun %eax
        pop %eax
        vmsave %eax
        pop %eax
        vmload %eax
        pop %edi
        cmpl $0, (%edi)
        je 3f
        mov %cr0, %eax
        and $0x7fffffff, %eax
        mov %eax, %cr0
        mov saved_cr4, %eax
        mov %eax, %cr4
        mov saved_cr3, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        or $0x100, %eax
        wrmsr
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
3:      ljmpl $0x08, $4f

        .code64
4:      mov saved_rsp(%rip), %rsp
        stgi
        cld
        pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        ret

        .section .note.GNU-stack, "", @progbits
