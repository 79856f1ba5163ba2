/* SPDX-License-Identifier: MIT */
/*
 * Reader of the Multiboot 1 information (bootinfo.h). Sizes and counts are bounded, though this
 * comes from the boot loader and not from L1.
 */
#include "bootinfo.h"

#include "log.h"
#include "rt.h"

const char *bootinfo_string(const struct boot_info *info, uint32_t offset)
{
    return &info->strings[offset];
}

static uint32_t copy_string(struct boot_info *info, uint32_t address)
{
    const char *text = address == 0 ? "" : (const char *)(uint64_t)address;
    uint32_t offset = info->strings_used;
    uint32_t room = BOOT_STRINGS_MAX - offset;
    uint32_t n = 0;

    while (n < room && text[n] != '\0') {
        info->strings[offset + n] = text[n];
        n++;
    }
    if (n == room)
        log_fatal("command lines too long: %u bytes in all are supported", BOOT_STRINGS_MAX);
    info->strings[offset + n] = '\0';
    info->strings_used = offset + n + 1;
    return offset;
}

static void read_modules(const struct rt_mb_info *mb, struct boot_info *info)
{
    const struct rt_mb_module *mods = (const struct rt_mb_module *)(uint64_t)mb->mods_addr;

    if ((mb->flags & RT_MB_MODULES) == 0)
        return;
    if (mb->mods_count > BOOT_MODULES_MAX)
        log_fatal("too many modules: %u, at most %u are supported", mb->mods_count,
                  BOOT_MODULES_MAX);
    for (uint32_t i = 0; i < mb->mods_count; i++) {
        if (mods[i].end < mods[i].start)
            log_fatal("bad module %u: it ends before it begins", i);
        info->module[i].start = mods[i].start;
        info->module[i].size = mods[i].end - mods[i].start;
        info->module[i].cmdline = copy_string(info, mods[i].cmdline);
    }
    info->module_count = mb->mods_count;
}

static void read_map(const struct rt_mb_info *mb, struct boot_info *info)
{
    uint64_t at = mb->mmap_addr;
    uint64_t end = at + mb->mmap_length;
    bool fits = true;

    if ((mb->flags & RT_MB_MMAP) == 0) {
        if ((mb->flags & RT_MB_MEMORY) == 0)
            log_fatal("the boot loader gave no memory map");
        memmap_add(&info->map, 0, (uint64_t)mb->mem_lower << 10, MEMMAP_RAM);
        memmap_add(&info->map, 0x100000, (uint64_t)mb->mem_upper << 10, MEMMAP_RAM);
        return;
    }
    while (fits && at + sizeof(struct rt_mb_mmap) <= end) {
        const struct rt_mb_mmap *entry = (const struct rt_mb_mmap *)at;

        fits = memmap_add(&info->map, entry->base, entry->length, entry->type);
        at += (uint64_t)entry->size + sizeof(entry->size);
    }
    if (!fits)
        log_fatal("memory map too long: at most %u entries are supported", MEMMAP_MAX);
}

void bootinfo_read(uint32_t magic, uint32_t mbi, struct boot_info *info)
{
    const struct rt_mb_info *mb = (const struct rt_mb_info *)(uint64_t)mbi;

    if (magic != RT_MB_MAGIC)
        log_fatal("not started by a Multiboot 1 loader (eax 0x%x)", magic);
    memset(info, 0, sizeof(*info));
    info->cmdline = copy_string(info, (mb->flags & RT_MB_CMDLINE) != 0 ? mb->cmdline : 0);
    read_modules(mb, info);
    read_map(mb, info);
}
