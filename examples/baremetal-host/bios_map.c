/* SPDX-License-Identifier: MIT */
/*
 * Installs the INT 15h hook (bios_map.h) the way resident programs always did: a page off the top
 * of conventional memory, of which the BIOS data area tells.
 */
#include "bios_map.h"

#include "log.h"
#include "rt.h"

#define PAGE UINT64_C(4096)
#define LOW_END UINT64_C(0xa0000)
#define VECTOR_15 (0x15u * 4)
#define BDA_MEMORY_KIB 0x413u
#define MIB UINT64_C(0x100000)

struct bios_map_entry {
    uint64_t base, size;
    uint32_t type;
} __attribute__((packed));

struct bios_map_data {
    uint32_t old_vector, count;
    uint16_t kib_to_16m, blocks_above_16m, kib_above_1m, reserved;
    struct bios_map_entry entry[];
} __attribute__((packed));

extern const char bios_map_hook[] __attribute__((visibility("hidden")));
extern const char bios_map_hook_end[] __attribute__((visibility("hidden")));
extern const char bios_map_data[] __attribute__((visibility("hidden")));

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static void fill(struct bios_map_data *data, const struct memmap *map)
{
    uint64_t above = memmap_ram_above_1m(map);
    uint32_t room = (uint32_t)((PAGE - (uint64_t)(bios_map_hook_end - bios_map_hook)) /
                               sizeof(struct bios_map_entry));

    for (uint32_t i = 0; i < map->count && data->count < room; i++) {
        if (map->entry[i].size != 0)
            data->entry[data->count++] = (struct bios_map_entry){
                map->entry[i].base, map->entry[i].size, map->entry[i].type};
    }
    data->kib_to_16m = (uint16_t)(at_most(above, 15 * MIB) >> 10);
    data->blocks_above_16m =
        (uint16_t)at_most(above > 15 * MIB ? (above - 15 * MIB) >> 16 : 0, 0xffff);
    data->kib_above_1m = (uint16_t)at_most(above >> 10, 0xffff);
}

/* Low memory through a pointer whose value the compiler does not know: it distrusts constants. */
static volatile void *low(uint64_t address)
{
    __asm__("" : "+r"(address));
    return (volatile void *)address;
}

void bios_map_install(struct memmap *map)
{
    const struct taken nothing = {.count = 0};
    volatile uint32_t *vector = low(VECTOR_15);
    volatile uint16_t *memory_kib = low(BDA_MEMORY_KIB);
    uint64_t page;
    struct bios_map_data *data;

    /* Only below the end that the BIOS itself names: what is above it belongs to the EBDA. */
    if (*vector == 0 || *memory_kib == 0 || *memory_kib > LOW_END >> 10 ||
        !memmap_find_high(map, &nothing, PAGE, PAGE, PAGE, (uint64_t)*memory_kib << 10, &page) ||
        !memmap_reserve(map, page, PAGE))
        return;
    memset((void *)page, 0, PAGE);
    memcpy((void *)page, bios_map_hook, (size_t)(bios_map_hook_end - bios_map_hook));
    data = (struct bios_map_data *)(page + (uint64_t)(bios_map_data - bios_map_hook));
    data->old_vector = *vector;
    fill(data, map);
    *vector = (uint32_t)(page >> 4) << 16;
    *memory_kib = (uint16_t)(page >> 10);
    log_trace("INT 15h hooked at 0x%lx: %u memory map entries", page, data->count);
}
