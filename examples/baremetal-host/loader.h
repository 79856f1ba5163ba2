/* SPDX-License-Identifier: MIT */
/*
 * Loading L1: module 0 is put where it wants to be, the other modules out of its way, and the
 * information its boot protocol promises is built in its memory. A bad module 0 stops the host
 * with a message that says what is wrong with it.
 */
#ifndef HOST_LOADER_H
#define HOST_LOADER_H

#include "bootinfo.h"

/* How L1 is entered: 32-bit protected mode, flat segments, no paging, interrupts off. */
struct l1_entry {
    const char *kind; /* for messages */
    uint32_t eip;
    uint32_t eax, ebx, esi;
    uint16_t code_selector, data_selector;
    uint32_t gdt_base; /* in L1's memory; limit 0 where the protocol promises no table */
    uint16_t gdt_limit;
};

/* What the loaders share. The map is L1's: the host's own block is reserved in it. */
struct loader {
    struct boot_info *boot;
    struct memmap map;
    struct taken taken; /* what L1's image occupies once loaded */
};

/* Loads L1. `host_base`, `host_size`: the block that is hidden from it. */
void loader_run(struct boot_info *boot, uint64_t host_base, uint64_t host_size,
                struct l1_entry *entry);

/* The two forms of L1 (multiboot.c, bzimage.c). _is: does the module look like one? */
bool multiboot_is(const uint8_t *file, uint32_t size);
void multiboot_load(struct loader *loader, struct l1_entry *entry);
bool bzimage_is(const uint8_t *file, uint32_t size);
void bzimage_load(struct loader *loader, struct l1_entry *entry);

/* Claims [base, base + size) for L1's image: stops unless it is RAM of L1 and still free. */
void loader_claim(struct loader *loader, uint64_t base, uint64_t size);

/*
 * Moves module `index` out of the way of everything claimed, and below `limit`; left where it is
 * when it is already.
 */
void loader_clear_module(struct loader *loader, uint32_t index, uint64_t limit);

/* Room for `size` bytes of boot information: below 640 KiB if possible. Zeroed and claimed. */
uint32_t loader_info_room(struct loader *loader, uint32_t size, uint32_t align);

/* The bytes of a module. */
const uint8_t *loader_module(const struct loader *loader, uint32_t index);

#endif
