/* SPDX-License-Identifier: MIT */
/* Commands of the 32-bit interpreter in legacy.S. */
#ifndef LEGACY_H
#define LEGACY_H

#include <stdint.h>

/* The order is that of op_table. */
enum legacy_op {
    LEG_END,
    LEG_VMXON,      /* a: address of the operand, for all that have one */
    LEG_VMXOFF,
    LEG_VMCLEAR,
    LEG_VMPTRLD,
    LEG_VMPTRST,
    LEG_VMREAD,     /* a: field; the value goes to out */
    LEG_VMWRITE,    /* a: field, b: value */
    LEG_VMREAD_MEM, /* a: field, b: address */
    LEG_VMWRITE_MEM,
    LEG_INVEPT,     /* a: type, b: address of the descriptor */
    LEG_INVVPID,
    LEG_READ,       /* 4 bytes at a to out */
    LEG_LOAD_FS,    /* a: selector */
    LEG_VMPTRST_FS,
    LEG_VMPTRST_ADDR16, /* FS-relative, 16-bit base and index that together make a modulo 64 KiB */
    LEG_VMPTRST_SIB,
    LEG_VMLAUNCH,   /* out is LEGACY_EXIT after an exit */
    LEG_VMRESUME,
};

#define LEGACY_EXIT 0x600du
#define LEGACY_NONE 0xffffffffu

struct legacy_command {
    uint32_t op, a, b;
    uint32_t flags;  /* LEGACY_NONE when the command raised an exception */
    uint32_t out;
    uint32_t vector; /* LEGACY_NONE when it raised none */
    uint32_t error, cr2;
};

void legacy_run(struct legacy_command *list, uint32_t cr3, uint32_t cr4);

extern const char legacy_landing[], legacy_stubs[];
extern uint64_t legacy_idt[32];

#endif
