/* SPDX-License-Identifier: MIT */
/*
 * L1 as a Multiboot 1 kernel: an ELF32 file, or any file whose header carries the address fields
 * (the "a.out kludge"). Everything read from the file is checked against its size first.
 * [Multiboot Specification 0.6.96, "OS image format", "Machine state", "Boot information format"]
 */
#include "bios_map.h"
#include "loader.h"
#include "log.h"
#include "rt.h"

#define HEADER_MAGIC 0x1badb002u
#define HEADER_SEARCH 8192u
#define HEADER_MIN 12u
#define HEADER_ADDRESSES 32u
#define FLAG_VIDEO (1u << 2)
#define FLAG_ADDRESSES (1u << 16)
#define FLAGS_REQUIRED 0xffffu
#define FLAGS_KNOWN 0x7u

#define MB_LOADER_NAME (1u << 9)
#define FOUR_GIB (UINT64_C(4) << 30)
#define SEGMENTS_MAX 16u
#define PT_LOAD 1u
#define EM_386 3u

struct header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct elf32_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version, entry, phoff, shoff, flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf32_segment {
    uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

/* One piece of the file and where it goes; memory beyond the file's part is zeroed. */
struct part {
    uint32_t offset, file_size;
    uint32_t address, memory_size;
};

struct plan {
    uint32_t count;
    struct part part[SEGMENTS_MAX];
    uint32_t entry;
};

static bool find_header(const uint8_t *file, uint32_t size, uint32_t *offset, struct header *out)
{
    uint32_t end = size < HEADER_SEARCH ? size : HEADER_SEARCH;

    for (uint32_t at = 0; at + HEADER_MIN <= end; at += 4) {
        memset(out, 0, sizeof(*out));
        memcpy(out, file + at, HEADER_MIN);
        if (out->magic != HEADER_MAGIC || out->magic + out->flags + out->checksum != 0)
            continue;
        if ((out->flags & FLAG_ADDRESSES) != 0) {
            if (at + HEADER_ADDRESSES > size)
                continue;
            memcpy(out, file + at, HEADER_ADDRESSES);
        }
        *offset = at;
        return true;
    }
    return false;
}

bool multiboot_is(const uint8_t *file, uint32_t size)
{
    struct header header;
    uint32_t offset;

    return find_header(file, size, &offset, &header);
}

static void add_part(struct plan *plan, struct part part, uint32_t size)
{
    if (part.file_size > size || part.offset > size - part.file_size)
        log_fatal("bad module 0: it wants bytes beyond the end of its file");
    if (part.memory_size < part.file_size)
        log_fatal("bad module 0: a segment is smaller in memory than in the file");
    if (part.address + part.memory_size < part.address)
        log_fatal("bad module 0: a segment reaches beyond 4 GiB");
    if (plan->count == SEGMENTS_MAX)
        log_fatal("bad module 0: more than %u segments", SEGMENTS_MAX);
    plan->part[plan->count++] = part;
}

static void plan_addresses(const struct header *h, uint32_t offset, uint32_t size,
                           struct plan *plan)
{
    struct part part = {.address = h->load_addr};
    uint32_t before = h->header_addr - h->load_addr;

    if (h->load_addr > h->header_addr || before > offset)
        log_fatal("bad module 0: its Multiboot address fields contradict each other");
    part.offset = offset - before;
    part.file_size = h->load_end_addr != 0 ? h->load_end_addr - h->load_addr : size - part.offset;
    if (h->load_end_addr != 0 && h->load_end_addr < h->load_addr)
        log_fatal("bad module 0: its Multiboot address fields contradict each other");
    part.memory_size = part.file_size;
    if (h->bss_end_addr != 0) {
        if (h->bss_end_addr < h->load_addr || h->bss_end_addr - h->load_addr < part.file_size)
            log_fatal("bad module 0: its Multiboot address fields contradict each other");
        part.memory_size = h->bss_end_addr - h->load_addr;
    }
    add_part(plan, part, size);
    plan->entry = h->entry_addr;
}

static void check_elf(const struct elf32_header *elf, uint32_t size)
{
    static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};

    if (memcmp(elf->ident, magic, sizeof(magic)) != 0)
        log_fatal("bad module 0: a Multiboot header without address fields, and no ELF file");
    if (elf->ident[4] != 1 || elf->ident[5] != 1 || elf->machine != EM_386)
        log_fatal("bad module 0: not a 32-bit x86 ELF file (use ELF32 or Multiboot address fields)");
    if (elf->phentsize < sizeof(struct elf32_segment) || elf->phoff > size ||
        (uint64_t)elf->phnum * elf->phentsize > size - elf->phoff)
        log_fatal("bad module 0: its ELF program headers lie beyond the end of the file");
}

static void plan_elf(const uint8_t *file, uint32_t size, struct plan *plan)
{
    struct elf32_header elf;

    if (size < sizeof(elf))
        log_fatal("bad module 0: too short for an ELF file");
    memcpy(&elf, file, sizeof(elf));
    check_elf(&elf, size);
    plan->entry = elf.entry;
    for (uint32_t i = 0; i < elf.phnum; i++) {
        struct elf32_segment s;

        memcpy(&s, file + elf.phoff + i * elf.phentsize, sizeof(s));
        if (s.type != PT_LOAD || s.memsz == 0)
            continue;
        add_part(plan, (struct part){s.offset, s.filesz, s.paddr, s.memsz}, size);
        /* The entry point is a linked address; L1 starts without paging. */
        if (elf.entry >= s.vaddr && elf.entry - s.vaddr < s.memsz)
            plan->entry = elf.entry - s.vaddr + s.paddr;
    }
    if (plan->count == 0)
        log_fatal("bad module 0: an ELF file with nothing to load");
}

static void put_in_place(struct loader *loader, const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->count; i++)
        loader_claim(loader, plan->part[i].address, plan->part[i].memory_size);
    for (uint32_t i = 0; i < loader->boot->module_count; i++)
        loader_clear_module(loader, i, FOUR_GIB);
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct part *part = &plan->part[i];
        uint8_t *to = (uint8_t *)(uint64_t)part->address;

        memcpy(to, loader_module(loader, 0) + part->offset, part->file_size);
        memset(to + part->file_size, 0, part->memory_size - part->file_size);
    }
}

/* --- boot information ------------------------------------------------------------------------- */

/* Appends bytes to the block that is being built and returns their address. */
static uint32_t append(uint32_t *cursor, const void *bytes, uint32_t size, uint32_t align)
{
    uint32_t at = (*cursor + align - 1) & ~(align - 1);

    memcpy((void *)(uint64_t)at, bytes, size);
    *cursor = at + size;
    return at;
}

static uint32_t append_string(uint32_t *cursor, const char *text)
{
    return append(cursor, text, (uint32_t)strlen(text) + 1, 1);
}

static void append_modules(const struct loader *loader, uint32_t *cursor, struct rt_mb_info *mb)
{
    struct rt_mb_module mods[BOOT_MODULES_MAX];
    const struct boot_info *boot = loader->boot;

    memset(mods, 0, sizeof(mods));
    for (uint32_t i = 1; i < boot->module_count; i++) {
        mods[i - 1].start = boot->module[i].start;
        mods[i - 1].end = boot->module[i].start + boot->module[i].size;
        mods[i - 1].cmdline =
            append_string(cursor, bootinfo_string(boot, boot->module[i].cmdline));
    }
    mb->mods_count = boot->module_count - 1;
    mb->mods_addr = append(cursor, mods, mb->mods_count * (uint32_t)sizeof(mods[0]), 4);
}

static void append_map(const struct memmap *map, uint32_t *cursor, struct rt_mb_info *mb)
{
    mb->mmap_addr = (*cursor + 7) & ~7u;
    *cursor = mb->mmap_addr;
    for (uint32_t i = 0; i < map->count; i++) {
        const struct memmap_entry *e = &map->entry[i];
        const struct rt_mb_mmap row = {sizeof(row) - sizeof(row.size), e->base, e->size, e->type};

        if (e->size != 0)
            append(cursor, &row, sizeof(row), 4);
    }
    mb->mmap_length = *cursor - mb->mmap_addr;
    mb->mem_lower = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->entry[i].type == MEMMAP_RAM && map->entry[i].base == 0)
            mb->mem_lower = (uint32_t)(map->entry[i].size < 0xa0000 ? map->entry[i].size >> 10 : 640);
    }
    mb->mem_upper = (uint32_t)(memmap_ram_above_1m(map) >> 10);
}

static uint32_t build_info(struct loader *loader)
{
    static const char name[] = "nvirt-host";
    const struct boot_info *boot = loader->boot;
    struct rt_mb_info mb;
    uint32_t size = (uint32_t)sizeof(mb) + boot->strings_used +
                    BOOT_MODULES_MAX * (uint32_t)sizeof(struct rt_mb_module) +
                    (loader->map.count + 4) * (uint32_t)sizeof(struct rt_mb_mmap) + 64;
    uint32_t base = loader_info_room(loader, size, 16);
    uint32_t cursor = base + (uint32_t)sizeof(mb);

    memset(&mb, 0, sizeof(mb));
    mb.flags = RT_MB_MEMORY | RT_MB_CMDLINE | RT_MB_MODULES | RT_MB_MMAP | MB_LOADER_NAME;
    mb.cmdline = append_string(&cursor, bootinfo_string(boot, boot->module[0].cmdline));
    mb.boot_loader_name = append_string(&cursor, name);
    append_modules(loader, &cursor, &mb);
    append_map(&loader->map, &cursor, &mb);
    memcpy((void *)(uint64_t)base, &mb, sizeof(mb));
    return base;
}

void multiboot_load(struct loader *loader, struct l1_entry *entry)
{
    const uint8_t *file = loader_module(loader, 0);
    uint32_t size = loader->boot->module[0].size;
    struct header header;
    struct plan plan = {.count = 0};
    uint32_t offset;

    if (!find_header(file, size, &offset, &header))
        log_fatal("bad module 0: no Multiboot header");
    if ((header.flags & FLAGS_REQUIRED & ~FLAGS_KNOWN) != 0)
        log_fatal("bad module 0: it requires Multiboot features 0x%x, which are unknown",
                  header.flags & FLAGS_REQUIRED);
    if ((header.flags & FLAG_VIDEO) != 0)
        log_info("L1 asks for a video mode: it gets the one that is set");
    if ((header.flags & FLAG_ADDRESSES) != 0)
        plan_addresses(&header, offset, size, &plan);
    else
        plan_elf(file, size, &plan);
    bios_map_install(&loader->map);
    put_in_place(loader, &plan);
    *entry = (struct l1_entry){
        .kind = "Multiboot kernel",
        .eip = plan.entry,
        .eax = RT_MB_MAGIC,
        .ebx = build_info(loader),
        .code_selector = 0x08,
        .data_selector = 0x10,
    };
}
