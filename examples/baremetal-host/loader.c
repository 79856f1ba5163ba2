/* SPDX-License-Identifier: MIT */
/*
 * What both forms of L1 need: placement of modules, room for boot information (loader.h).
 */
#include "loader.h"

#include "log.h"
#include "rt.h"

#define PAGE 4096u
#define LOW_START 0x1000u
#define LOW_END 0xa0000u
#define HIGH_START 0x100000u
#define FOUR_GIB (UINT64_C(4) << 30)

const uint8_t *loader_module(const struct loader *loader, uint32_t index)
{
    return (const uint8_t *)(uint64_t)loader->boot->module[index].start;
}

void loader_claim(struct loader *loader, uint64_t base, uint64_t size)
{
    if (size == 0)
        return;
    if (!memmap_is_ram(&loader->map, base, size))
        log_fatal("bad module 0, or too little memory: it wants 0x%lx..0x%lx, which is no free RAM",
                  base, base + size);
    if (taken_overlaps(&loader->taken, base, size))
        log_fatal("bad module 0: two of its parts overlap at 0x%lx", base);
    if (!taken_add(&loader->taken, base, size))
        log_fatal("bad module 0: too many parts");
}

/* Everything claimed plus every module where it is now. */
static void all_taken(const struct loader *loader, struct taken *taken)
{
    *taken = loader->taken;
    for (uint32_t i = 0; i < loader->boot->module_count; i++) {
        const struct boot_module *m = &loader->boot->module[i];

        if (!taken_add(taken, m->start, m->size))
            log_fatal("bad module 0: too many parts");
    }
}

void loader_clear_module(struct loader *loader, uint32_t index, uint64_t limit)
{
    struct boot_module *m = &loader->boot->module[index];
    struct taken taken;
    uint64_t to;

    if (m->size == 0 || (memmap_is_ram(&loader->map, m->start, m->size) && m->start % PAGE == 0 &&
                         (uint64_t)m->start + m->size <= limit &&
                         !taken_overlaps(&loader->taken, m->start, m->size)))
        return;
    all_taken(loader, &taken);
    if (!memmap_find_high(&loader->map, &taken, m->size, PAGE, HIGH_START, limit, &to))
        log_fatal("too little memory: no room to move module %u (%u bytes) out of L1's way", index,
                  m->size);
    log_trace("module %u moved from 0x%x to 0x%lx", index, m->start, to);
    memcpy((void *)to, (const void *)(uint64_t)m->start, m->size);
    m->start = (uint32_t)to;
}

uint32_t loader_info_room(struct loader *loader, uint32_t size, uint32_t align)
{
    struct taken taken;
    uint64_t base;

    all_taken(loader, &taken);
    if (!memmap_find_high(&loader->map, &taken, size, align, LOW_START, LOW_END, &base) &&
        !memmap_find_high(&loader->map, &taken, size, align, HIGH_START, FOUR_GIB, &base))
        log_fatal("too little memory: no room for L1's boot information (%u bytes)", size);
    loader_claim(loader, base, size);
    memset((void *)base, 0, size);
    return (uint32_t)base;
}

void loader_run(struct boot_info *boot, uint64_t host_base, uint64_t host_size,
                struct l1_entry *entry)
{
    static struct loader loader;
    const uint8_t *file;
    uint32_t size = boot->module[0].size;

    loader.boot = boot;
    loader.map = boot->map;
    loader.taken.count = 0;
    if (!memmap_reserve(&loader.map, host_base, host_size))
        log_fatal("memory map too long: at most %u entries are supported", MEMMAP_MAX);
    file = loader_module(&loader, 0);
    memset(entry, 0, sizeof(*entry));
    if (bzimage_is(file, size))
        bzimage_load(&loader, entry);
    else if (multiboot_is(file, size))
        multiboot_load(&loader, entry);
    else
        log_fatal("bad module 0: neither a Multiboot 1 kernel nor a Linux bzImage (%u bytes at 0x%x)",
                  size, boot->module[0].start);
}
