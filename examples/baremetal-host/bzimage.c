/* SPDX-License-Identifier: MIT */
/*
 * L1 as a Linux bzImage, entered by the 32-bit boot protocol: setup header checks, zero page,
 * e820 map, command line, initrd. Offsets are those of the Linux documentation "The Linux/x86 Boot
 * Protocol" and "Zero Page".
 */
#include "loader.h"
#include "log.h"
#include "rt.h"

#define HDR_SETUP_SECTS 0x1f1u
#define HDR_SYSSIZE 0x1f4u
#define HDR_VID_MODE 0x1fau
#define HDR_BOOT_FLAG 0x1feu
#define HDR_JUMP_LENGTH 0x201u
#define HDR_MAGIC 0x202u
#define HDR_VERSION 0x206u
#define HDR_LOADER 0x210u
#define HDR_LOADFLAGS 0x211u
#define HDR_CODE32_START 0x214u
#define HDR_RAMDISK 0x218u
#define HDR_RAMDISK_SIZE 0x21cu
#define HDR_CMDLINE 0x228u
#define HDR_INITRD_MAX 0x22cu
#define HDR_ALIGNMENT 0x230u
#define HDR_RELOCATABLE 0x234u
#define HDR_CMDLINE_SIZE 0x238u
#define HDR_PREF_ADDRESS 0x258u
#define HDR_INIT_SIZE 0x260u
#define HDR_END 0x268u
#define HDR_LIMIT 0x290u

#define ZERO_SCREEN 0x000u
#define ZERO_E820_COUNT 0x1e8u
#define ZERO_E820 0x2d0u
#define ZERO_E820_MAX 128u

#define BOOT_FLAG 0xaa55u
#define MAGIC_HDRS 0x53726448u
#define LOADED_HIGH 1u
#define LOADER_UNDEFINED 0xffu
#define PAGE 4096u
#define GDT_BYTES 32u
#define OLD_INITRD_MAX 0x37ffffffu
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u

/* The parts of the setup header that decide, read once and defaulted by protocol version. */
struct setup {
    uint32_t version;
    uint32_t header_end;     /* offset one past the setup header */
    uint32_t payload_offset; /* of the protected-mode part in the file */
    uint32_t payload_size;
    uint32_t initrd_max; /* highest address an initrd byte may have */
    uint32_t alignment;
    bool relocatable;
    uint32_t cmdline_max;
    uint64_t preferred;
    uint32_t init_size; /* memory the kernel needs from its load address on, before it looks */
};

static uint32_t get32(const uint8_t *file, uint32_t offset)
{
    uint32_t v;

    memcpy(&v, file + offset, sizeof(v));
    return v;
}

static uint16_t get16(const uint8_t *file, uint32_t offset)
{
    uint16_t v;

    memcpy(&v, file + offset, sizeof(v));
    return v;
}

static void put32(uint8_t *page, uint32_t offset, uint32_t v)
{
    memcpy(page + offset, &v, sizeof(v));
}

bool bzimage_is(const uint8_t *file, uint32_t size)
{
    return size >= HDR_END && get16(file, HDR_BOOT_FLAG) == BOOT_FLAG &&
           get32(file, HDR_MAGIC) == MAGIC_HDRS;
}

static void read_placement(const uint8_t *file, struct setup *s)
{
    s->preferred = 0x100000;
    s->alignment = PAGE;
    s->init_size = s->payload_size;
    if (s->version >= 0x205) {
        s->relocatable = file[HDR_RELOCATABLE] != 0;
        s->alignment = get32(file, HDR_ALIGNMENT);
    }
    if (s->version >= 0x20a) {
        memcpy(&s->preferred, file + HDR_PREF_ADDRESS, sizeof(s->preferred));
        s->init_size = get32(file, HDR_INIT_SIZE);
    } else {
        /* Older kernels do not tell: decompressed size is guessed generously. */
        s->init_size = s->payload_size > 0x10000000u ? s->payload_size : s->payload_size * 4;
    }
    if (s->alignment < PAGE || (s->alignment & (s->alignment - 1)) != 0)
        log_fatal("bad module 0: bzImage with alignment 0x%x", s->alignment);
    if (s->init_size < s->payload_size)
        log_fatal("bad module 0: bzImage whose init_size is smaller than itself");
}

static void read_setup(const uint8_t *file, uint32_t size, struct setup *s)
{
    uint32_t sectors = file[HDR_SETUP_SECTS] != 0 ? file[HDR_SETUP_SECTS] : 4;

    memset(s, 0, sizeof(*s));
    s->version = get16(file, HDR_VERSION);
    if (s->version < 0x202)
        log_fatal("bad module 0: bzImage with boot protocol %x.%02x, 2.02 is the oldest supported",
                  s->version >> 8, s->version & 0xff);
    if ((file[HDR_LOADFLAGS] & LOADED_HIGH) == 0)
        log_fatal("bad module 0: a zImage, which is loaded below 1 MiB; only bzImages are supported");
    s->header_end = HDR_MAGIC + file[HDR_JUMP_LENGTH];
    s->payload_offset = (sectors + 1) * 512;
    /* What follows in the zero page is not the header's, whatever its length byte claims. */
    if (s->header_end > HDR_LIMIT)
        s->header_end = HDR_LIMIT;
    if (s->payload_offset >= size || s->header_end > size)
        log_fatal("bad module 0: bzImage cut short (%u bytes)", size);
    s->payload_size = size - s->payload_offset;
    /* In units of 16 bytes; 32 bits wide since protocol 2.04. */
    if (s->version >= 0x204 && get32(file, HDR_SYSSIZE) > (s->payload_size + 15) / 16)
        log_fatal("bad module 0: bzImage cut short (%u bytes)", size);
    s->initrd_max = s->version >= 0x203 ? get32(file, HDR_INITRD_MAX) : OLD_INITRD_MAX;
    s->cmdline_max = s->version >= 0x206 ? get32(file, HDR_CMDLINE_SIZE) : 255;
    read_placement(file, s);
}

static uint32_t place_kernel(struct loader *loader, const struct setup *s)
{
    uint64_t base = s->preferred;
    const struct taken nothing = {.count = 0};
    bool fits = base + s->init_size > base && base < UINT64_C(0x100000000) - s->init_size &&
                memmap_is_ram(&loader->map, base, s->init_size);

    if (!fits && (!s->relocatable ||
                  !memmap_find_low(&loader->map, &nothing, s->init_size, s->alignment, 0x100000,
                                   UINT64_C(0x100000000), &base)))
        log_fatal("too little memory: the kernel needs 0x%x bytes at 0x%lx", s->init_size,
                  s->preferred);
    loader_claim(loader, base, s->init_size);
    return (uint32_t)base;
}

/*
 * The first word is the file's name, as loaders give it. An initramfs's init would get it as an
 * argument; GRUB's own "linux" command passes it as BOOT_IMAGE=, and so is it done here.
 */
static uint32_t write_cmdline(char *to, uint32_t room, const char *text)
{
    static const char key[] = "BOOT_IMAGE=";
    uint32_t n = 0;
    const char *p = text;

    while (*p != '\0' && *p != ' ' && *p != '=')
        p++;
    if (*text != '\0' && *p != '=') {
        n = (uint32_t)sizeof(key) - 1;
        memcpy(to, key, n);
    }
    while (*text != '\0' && n < room)
        to[n++] = *text++;
    to[n] = '\0';
    if (*text != '\0')
        log_error("L1's command line was cut to the %u bytes its kernel takes", room);
    return n;
}

static void fill_e820(const struct memmap *map, uint8_t *zero)
{
    uint8_t count = 0;

    for (uint32_t i = 0; i < map->count && count < ZERO_E820_MAX; i++) {
        uint8_t *row = zero + ZERO_E820 + count * 20u;

        if (map->entry[i].size == 0)
            continue;
        memcpy(row, &map->entry[i].base, 8);
        memcpy(row + 8, &map->entry[i].size, 8);
        put32(row, 16, map->entry[i].type);
        count++;
    }
    zero[ZERO_E820_COUNT] = count;
}

/* Tells the kernel of the text screen the BIOS left, from the BIOS data area. */
static void fill_screen(uint8_t *zero)
{
    uint64_t address = 0x400;
    const volatile uint8_t *bda;

    /* Hidden from the compiler, which takes constant low addresses for mistakes. */
    __asm__("" : "+r"(address));
    bda = (const volatile uint8_t *)address;
    if (bda[0x49] != 3 || bda[0x4a] != 80)
        return;
    zero[ZERO_SCREEN + 0] = bda[0x50];
    zero[ZERO_SCREEN + 1] = bda[0x51];
    zero[ZERO_SCREEN + 6] = 3;
    zero[ZERO_SCREEN + 7] = 80;
    zero[ZERO_SCREEN + 14] = (uint8_t)(bda[0x84] + 1);
    zero[ZERO_SCREEN + 15] = 1;
    zero[ZERO_SCREEN + 16] = 16;
}

/* Zero page, GDT and command line, in one block of L1's memory. */
static void fill_zero_page(struct loader *loader, const struct setup *s, uint32_t kernel,
                           struct l1_entry *entry)
{
    static const uint64_t gdt[GDT_BYTES / 8] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    const struct boot_info *boot = loader->boot;
    uint32_t room = s->cmdline_max < BOOT_STRINGS_MAX ? s->cmdline_max : BOOT_STRINGS_MAX;
    uint32_t base = loader_info_room(loader, PAGE + GDT_BYTES + room + 16, PAGE);
    uint8_t *zero = (uint8_t *)(uint64_t)base;
    uint32_t cmdline = base + PAGE + GDT_BYTES;

    memcpy(zero + HDR_SETUP_SECTS, loader_module(loader, 0) + HDR_SETUP_SECTS,
           s->header_end - HDR_SETUP_SECTS);
    memcpy(zero + PAGE, gdt, sizeof(gdt));
    write_cmdline((char *)(uint64_t)cmdline, room, bootinfo_string(boot, boot->module[0].cmdline));
    zero[HDR_LOADER] = LOADER_UNDEFINED;
    zero[HDR_VID_MODE] = 0xff; /* "normal" */
    zero[HDR_VID_MODE + 1] = 0xff;
    put32(zero, HDR_CODE32_START, kernel);
    put32(zero, HDR_CMDLINE, cmdline);
    if (boot->module_count > 1 && boot->module[1].size != 0) {
        put32(zero, HDR_RAMDISK, boot->module[1].start);
        put32(zero, HDR_RAMDISK_SIZE, boot->module[1].size);
    }
    fill_e820(&loader->map, zero);
    fill_screen(zero);
    entry->esi = base;
    entry->gdt_base = base + PAGE;
    entry->gdt_limit = GDT_BYTES - 1;
}

void bzimage_load(struct loader *loader, struct l1_entry *entry)
{
    struct setup s;
    uint32_t kernel;

    read_setup(loader_module(loader, 0), loader->boot->module[0].size, &s);
    if (loader->boot->module_count > 2)
        log_error("only modules 0 and 1 are used when L1 is Linux; %u more ignored",
                  loader->boot->module_count - 2);
    kernel = place_kernel(loader, &s);
    loader_clear_module(loader, 0, UINT64_C(0x100000000));
    if (loader->boot->module_count > 1)
        loader_clear_module(loader, 1, (uint64_t)s.initrd_max + 1);
    memcpy((void *)(uint64_t)kernel, loader_module(loader, 0) + s.payload_offset, s.payload_size);
    *entry = (struct l1_entry){
        .kind = "Linux bzImage",
        .eip = kernel,
        .code_selector = BOOT_CS,
        .data_selector = BOOT_DS,
    };
    fill_zero_page(loader, &s, kernel, entry);
}
