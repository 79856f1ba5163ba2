/* SPDX-License-Identifier: MIT */
/*
 * What the boot loader handed over, copied into the host's own memory before anything is moved:
 * command line, modules, memory map. Strings are kept as offsets, because the image moves.
 */
#ifndef HOST_BOOTINFO_H
#define HOST_BOOTINFO_H

#include "memmap.h"

#define BOOT_MODULES_MAX 16u
#define BOOT_STRINGS_MAX 16384u

struct boot_module {
    uint32_t start, size;
    uint32_t cmdline; /* offset into strings */
};

struct boot_info {
    uint32_t cmdline; /* offset into strings */
    uint32_t module_count;
    struct boot_module module[BOOT_MODULES_MAX];
    struct memmap map;
    uint32_t strings_used;
    char strings[BOOT_STRINGS_MAX];
};

/* Copies everything, or stops with a message that says what is wrong. */
void bootinfo_read(uint32_t magic, uint32_t mbi, struct boot_info *info);

/* The string at an offset. */
const char *bootinfo_string(const struct boot_info *info, uint32_t offset);

#endif
