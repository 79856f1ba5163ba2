/* SPDX-License-Identifier: MIT */
/*
 * A Multiboot 1 image whose header carries addresses, and the state it is entered with.
 * [Multiboot Specification 0.6.96, "OS image format", "Machine state", "Boot information format"]
 */
#include "machine.h"

#define HEADER_MAGIC 0x1badb002u
#define HEADER_SEARCH 8192u
#define FLAG_ADDRESSES (1u << 16)
#define LOADER_MAGIC 0x2badb002u
#define INFO_ADDRESS 0x9000u
#define LOW_END 0xa0000u
#define HIGH_START 0x100000u
#define PROT_READ 1
#define MAP_PRIVATE 2

struct header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct map_entry {
    uint32_t size;
    uint32_t base_low, base_high, bytes_low, bytes_high, type;
};

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
    uint32_t symbols[4];
    uint32_t mmap_length, mmap_addr;
    uint32_t rest[18];
    struct map_entry map[3];
    char text[1024];
};

static const struct header *find_header(const uint8_t *file, uint64_t bytes, uint64_t *offset)
{
    for (uint64_t at = 0; at + sizeof(struct header) <= bytes && at < HEADER_SEARCH; at += 4) {
        const struct header *h = (const struct header *)(const void *)(file + at);

        if (h->magic == HEADER_MAGIC && h->magic + h->flags + h->checksum == 0 &&
            (h->flags & FLAG_ADDRESSES) != 0) {
            *offset = at;
            return h;
        }
    }
    return NULL;
}

static uint32_t place(const uint8_t *file, uint64_t bytes)
{
    uint64_t offset = 0, from, length;
    const struct header *h = find_header(file, bytes, &offset);

    if (h == NULL || h->header_addr < h->load_addr || h->header_addr - h->load_addr > offset)
        give_up("no Multiboot image with addresses", 0);
    from = offset - (h->header_addr - h->load_addr);
    length = h->load_end_addr != 0 ? h->load_end_addr - h->load_addr : bytes - from;
    if (length > bytes - from || h->load_addr + length > machine.bytes)
        give_up("the image does not fit", 0);
    memcpy(machine.memory + h->load_addr, file + from, length);
    return h->entry_addr;
}

static void build_info(const char *command_line)
{
    struct info *info = (struct info *)(void *)(machine.memory + INFO_ADDRESS);
    const uint32_t high = (uint32_t)machine.bytes - HIGH_START;
    uint32_t at = 0;

    *info = (struct info){
        .flags = 1u | 4u | 64u,
        .mem_lower = LOW_END >> 10,
        .mem_upper = high >> 10,
        .cmdline = INFO_ADDRESS + (uint32_t)offsetof(struct info, text),
        .mmap_length = 2 * sizeof(struct map_entry),
        .mmap_addr = INFO_ADDRESS + (uint32_t)offsetof(struct info, map),
        .map = {{.size = 20, .bytes_low = LOW_END, .type = 1},
                {.size = 20, .base_low = HIGH_START, .bytes_low = high, .type = 1}},
    };
    /* A command line begins with the image's name. */
    memcpy(info->text, "l1 ", 3);
    while (command_line[at] != '\0' && at + 4 < sizeof(info->text)) {
        info->text[3 + at] = command_line[at];
        at++;
    }
}

/* 32-bit protected mode, flat segments, no paging, interrupts off. */
static void set_registers(uint32_t entry)
{
    const struct nvirt_segment code = {0x08, 0xc9b, 0xffffffffu, 0};
    const struct nvirt_segment data = {0x10, 0xc93, 0xffffffffu, 0};
    struct nvirt_sregs s = {.size = sizeof(s)};
    struct nvirt_regs r = {.size = sizeof(r)};

    if (sys_ioctl(machine.vcpu, NVIRT_GET_SREGS, &s) != 0)
        give_up("no registers", 0);
    s.cs = code;
    s.es = s.ss = s.ds = s.fs = s.gs = data;
    s.cr0 = 0x11;
    r.gpr[0] = LOADER_MAGIC;
    r.gpr[3] = INFO_ADDRESS;
    r.rip = entry;
    r.rflags = 2;
    if (sys_ioctl(machine.vcpu, NVIRT_SET_SREGS, &s) != 0 ||
        sys_ioctl(machine.vcpu, NVIRT_SET_REGS, &r) != 0)
        give_up("the driver refuses the registers", 0);
}

void image_load(const char *path, const char *command_line)
{
    long file = sys_call(SYS_OPEN, (long)path, 0, 0, 0, 0, 0);
    long bytes = file < 0 ? file : sys_call(SYS_LSEEK, file, 0, 2, 0, 0, 0);
    long map = bytes <= 0 ? -1
                          : sys_call(SYS_MMAP, 0, bytes, PROT_READ, MAP_PRIVATE, file, 0);

    if (map < 0)
        give_up("the image cannot be read: error", bytes);
    build_info(command_line);
    set_registers(place((const uint8_t *)map, (uint64_t)bytes));
}
