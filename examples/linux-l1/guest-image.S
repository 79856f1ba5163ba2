/* SPDX-License-Identifier: MIT */
/* The linked guest, as bytes in the program that runs it. */
        .section .rodata
        .globl  guest_image
        .globl  guest_image_end
        .balign 16
guest_image:
        .incbin "guest.bin"
guest_image_end:
        .section .note.GNU-stack, "", @progbits
