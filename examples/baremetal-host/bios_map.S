/* SPDX-License-Identifier: MIT */
/*
 * Real-mode handler of INT 15h, copied by bios_map.c to the start of a page of low memory, so that
 * every address here is an offset from bios_map_hook. It answers AX=E820h, AX=E801h and AH=88h
 * [ACPI Specification, "System Address Map Interfaces"] and hands the rest to the BIOS.
 */
        .section .rodata
        .globl bios_map_hook, bios_map_hook_end, bios_map_data
        .hidden bios_map_hook, bios_map_hook_end, bios_map_data
        .code16
#define AT(label) ((label) - bios_map_hook)
#define SMAP 0x534d4150

bios_map_hook:
        cmpw    $0xe820, %ax
        je      e820
        cmpw    $0xe801, %ax
        je      e801
        cmpb    $0x88, %ah
        je      old_88
        ljmpw   *%cs:AT(old_vector)

e820:
        cmpl    $SMAP, %edx
        jne     fail
        cmpl    $20, %ecx
        jb      fail
        cmpl    %cs:AT(count), %ebx
        jae     fail
        pushl   %esi
        pushw   %di
        pushw   %ds
        pushw   %cs
        popw    %ds
        /* 20 bytes each: the entries stand in the order and form in which they are asked for. */
        imulw   $20, %bx, %si
        addw    $AT(entries), %si
        movw    $5, %cx
        cld
        rep movsl
        popw    %ds
        popw    %di
        popl    %esi
        movl    $20, %ecx
        movl    $SMAP, %eax
        incl    %ebx
        cmpl    %cs:AT(count), %ebx
        jb      succeed
        xorl    %ebx, %ebx
        jmp     succeed

e801:
        movw    %cs:AT(kib_to_16m), %ax
        movw    %ax, %cx
        movw    %cs:AT(blocks_above_16m), %bx
        movw    %bx, %dx
        jmp     succeed

old_88:
        movw    %cs:AT(kib_above_1m), %ax
succeed:
        pushw   %bp
        movw    %sp, %bp
        andb    $0xfe, 6(%bp)
        popw    %bp
        iretw
fail:
        movb    $0x86, %ah
        pushw   %bp
        movw    %sp, %bp
        orb     $1, 6(%bp)
        popw    %bp
        iretw

        .balign 4
/* struct bios_map_data of bios_map.c */
bios_map_data:
old_vector:
        .long   0
count:
        .long   0
kib_to_16m:
        .word   0
blocks_above_16m:
        .word   0
kib_above_1m:
        .word   0
        .word   0
entries:
bios_map_hook_end:

        .section .note.GNU-stack, "", @progbits
