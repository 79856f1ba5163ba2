/* SPDX-License-Identifier: MIT */
/*
 * The way from the boot loader to C. A Multiboot 1 loader enters rt_boot32 in 32-bit protected
 * mode without paging; this file checks for long mode, maps the first 4 GiB one to one with
 * 2 MiB pages, enters 64-bit mode, applies the image's own relocations (none unless it is linked
 * as PIE) and calls rt_main(magic, mbi). The 256 exception stubs live here too.
 *
 * The Multiboot header itself is written by rt.ld, because only the linker can put absolute
 * addresses in it without leaving relocations in a PIE. It uses the a.out-kludge fields, so the
 * ELF64 file is loaded as it is by GRUB "multiboot" and by QEMU "-kernel" (which refuses an ELF64
 * image without those fields). The image is therefore always loaded at its link address RT_BASE.
 */
#ifndef RT_BASE
#define RT_BASE 0x100000
#endif
/* Distance from RT_BASE to this section: what rt.ld reserves for the Multiboot header. */
#define BOOT_ADDR (RT_BASE + 64)
#define OFF(sym) ((sym) - boot_start)

#define EFER 0xc0000080
#define EFER_LME (1 << 8)
#define CR4_PAE (1 << 5)
#define CR0_PE 1
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG (1 << 31)

        .section .boot, "awx", @progbits
        .code32
boot_start:
        .globl rt_boot32
rt_boot32:
        cli
        cld
        /* The loader leaves ESP undefined; %ebp is the one base everything here is found from. */
        movl    $BOOT_ADDR, %ebp
        movl    %eax, %esi
        movl    %ebx, %edi

        movl    $0x80000000, %eax
        cpuid
        cmpl    $0x80000001, %eax
        jb      no_long_mode
        movl    $0x80000001, %eax
        cpuid
        btl     $29, %edx
        jnc     no_long_mode

        /* PML4[0] -> PDPT; PDPT[0..3] -> four page directories of 2 MiB pages. */
        leal    OFF(tables_rel)(%ebp), %ebx
        addl    (%ebx), %ebx
        leal    0x1003(%ebx), %eax
        movl    %eax, (%ebx)
        movl    $0, 4(%ebx)
        leal    0x2003(%ebx), %eax
        xorl    %ecx, %ecx
1:      movl    %eax, 0x1000(%ebx,%ecx,8)
        movl    $0, 0x1004(%ebx,%ecx,8)
        addl    $0x1000, %eax
        incl    %ecx
        cmpl    $4, %ecx
        jb      1b
        movl    $0x83, %eax
        xorl    %ecx, %ecx
2:      movl    %eax, 0x2000(%ebx,%ecx,8)
        movl    $0, 0x2004(%ebx,%ecx,8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $2048, %ecx
        jb      2b

        movl    %cr4, %eax
        orl     $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    %ebx, %cr3
        movl    $EFER, %ecx
        rdmsr
        orl     $EFER_LME, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $(CR0_PG | CR0_WP | CR0_NE | CR0_PE), %eax
        movl    %eax, %cr0

        /* The GDT descriptor is patched here: its base is not a link-time constant of a PIE. */
        leal    OFF(boot_gdt)(%ebp), %eax
        movl    %eax, OFF(boot_gdtr + 2)(%ebp)
        lgdt    OFF(boot_gdtr)(%ebp)
        ljmpl   $0x08, $(BOOT_ADDR + (boot64 - boot_start))

no_long_mode:
        leal    OFF(no_long_mode_text)(%ebp), %esi
        movw    $0x3fb, %dx
        movb    $3, %al
        outb    %al, %dx
3:      lodsb
        testb   %al, %al
        jz      4f
        outb    %al, $0xe9
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     3b
4:      hlt
        jmp     4b

        .code64
boot64:
        movl    $0x10, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        leaq    rt_stack_top(%rip), %rsp
        movl    %esi, %ebx
        movl    %edi, %r12d
        xorl    %edi, %edi
        call    rt_relocate
        call    rt_cpu_init
        movl    %ebx, %edi
        movl    %r12d, %esi
        xorl    %ebp, %ebp
        call    rt_main
        xorl    %edi, %edi
        call    rt_shutdown
        ud2

        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9b000000ffff
        .quad   0x00cf93000000ffff
boot_gdtr:
        .word   boot_gdtr - boot_gdt - 1
        .quad   0
        .balign 4
tables_rel:
        .long   rt_boot_tables - .
no_long_mode_text:
        .asciz  "rt: this CPU has no long mode\n"

        .text
/*
 * One 16-byte stub per vector. The CPU pushes an error code for some vectors only; the others
 * push a zero, so that every frame has the same shape.
 */
        .balign 16
        .globl rt_trap_stubs
rt_trap_stubs:
        .set vec, 0
        .rept 256
        .balign 16
        .set has_error, (vec == 8) || (vec >= 10 && vec <= 14) || (vec == 17) || (vec == 21)
        .if !(has_error || (vec == 29) || (vec == 30))
        pushq   $0
        .endif
        pushq   $vec
        jmp     trap_common
        .set vec, vec + 1
        .endr

trap_common:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rbx
        pushq   %rbp
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        cld
        movq    %rsp, %rdi
        /* The CPU aligned its frame to 16 bytes, 22 quadwords keep it so. */
        call    rt_trap
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rbp
        popq    %rbx
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $16, %rsp
        iretq

        /* void rt_enter_moved(uint64_t entry, uint64_t stack_top): never returns. */
        .globl rt_enter_moved
rt_enter_moved:
        movq    %rsi, %rsp
        xorl    %ebp, %ebp
        pushq   $0
        jmpq    *%rdi

        .bss
        .balign 4096
        .globl rt_boot_tables
rt_boot_tables:
        .skip   6 * 4096
        .globl rt_stack
rt_stack:
        .skip   32768
        .globl rt_stack_top
rt_stack_top:

        .section .note.GNU-stack, "", @progbits
