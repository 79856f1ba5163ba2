/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: reading the input as a byte program, values that are likely to
 * matter, and the way an invariant is stated. A broken one aborts, which libFuzzer reports with the
 * input.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "fake_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest program: steps taken, however long the input. */
#define MAX_STEPS 256u
/* Port calls and instructions of the hot tier that one call of the host's may cost. The longest are
 * the three MSR lists of an L1, each at most 512 entries of two calls. */
#define MAX_WORK 8192u

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

#define REQUIRE(holds, text, value)                                                                \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            broken_invariant(__FILE__, __LINE__, (text), (uint64_t)(value));                       \
        }                                                                                          \
    } while (0)

static inline void broken_invariant(const char *file, int line, const char *text, uint64_t value)
{
    fprintf(stderr, "%s:%d: broken: %s (0x%llx)\n", file, line, text, (unsigned long long)value);
    abort();
}

/* With NVIRT_FUZZ_VERBOSE set a target tells each step: for a look at one input. */
#define SAY(...)                                                                                   \
    do {                                                                                           \
        if (getenv("NVIRT_FUZZ_VERBOSE") != NULL) {                                                \
            fprintf(stderr, __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)

static inline void say_trace(const struct nvirt_port_vm *vm, uint32_t from)
{
    for (uint32_t i = from; i < vm->traces; i++) {
        const struct fake_trace *line = &vm->trace[i % FAKE_VM_TRACES];

        SAY("  trace: %s (0x%llx)\n", line->text, (unsigned long long)line->value);
    }
}

/* Little-endian; an input that is used up gives zeros. */
static inline uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && in->at != in->end; i++) {
        value |= (uint64_t)*in->at++ << (8 * i);
    }
    return value;
}

static inline uint8_t u8(struct input *in)
{
    return (uint8_t)take(in, 1);
}

static inline bool flip(struct input *in)
{
    return (u8(in) & 1u) != 0;
}

/* One of @p count; count is not 0. */
static inline uint32_t choose(struct input *in, uint32_t count)
{
    return (uint32_t)(take(in, count > 256 ? 2 : 1) % count);
}

static inline const uint64_t *edge_values(uint32_t *count)
{
    static const uint64_t values[] = {
        0, 1, 2, 7, 0xfff, 0x1000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
        0x7fffffffffff, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0xfffffffffffff000,
        UINT64_MAX, 0x000ffffffffff000, 0x0000010000000000, 0x000000fffffff000, 0x000000fffffffff8,
    };

    *count = sizeof values / sizeof values[0];
    return values;
}

/* A new value for something that is @p now: one bit flipped, an edge, an address of @p table, or
 * anything. */
static inline uint64_t new_value(struct input *in, uint64_t now, const uint64_t *table,
                                 uint32_t count)
{
    uint8_t kind = u8(in);
    uint32_t edges;
    const uint64_t *edge = edge_values(&edges);

    if (kind < 96) {
        return now ^ (UINT64_C(1) << (kind & 63u));
    }
    if (kind < 160 && count != 0) {
        return table[choose(in, count)];
    }
    if (kind < 192) {
        return edge[kind % edges];
    }
    if (kind < 208 && count != 0) {
        return table[choose(in, count)] + take(in, 2);
    }
    return take(in, kind < 224 ? 2 : kind < 240 ? 4 : 8);
}

/* ---- the host's side of both vendors' worlds ---- */

/* True when L1 has memory at @p hpa, with at least @p rights: all that a shadow table may map. */
static inline bool is_backed(const struct nvirt_port_vm *vm, uint64_t hpa, uint32_t rights)
{
    for (uint32_t i = 0; i < vm->regions; i++) {
        const struct fake_region_l1 *region = &vm->region[i];

        if (!region->absent && hpa - region->hpa < region->bytes &&
            (rights & ~region->rights) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool is_table_page(const struct nvirt_port_vm *vm, uint64_t hpa)
{
    uint64_t number = (hpa - FAKE_VM_POOL_BASE) / 4096;

    return hpa % 4096 == 0 && hpa >= FAKE_VM_POOL_BASE && number < FAKE_VM_POOL_PAGES &&
           vm->pool_in_use[number];
}

/* Memory of L1's: RAM with a hole, a part that is read-only, a device, a part in large blocks. */
#define RAM_BYTES UINT64_C(0x1000000)
#define READ_ONLY UINT64_C(0x1000000)
#define DEVICE UINT64_C(0x1010000)
#define LARGE_BLOCK UINT64_C(0x1200000)
#define ADDRESS_BITS 40u

static inline void make_memory(struct nvirt_port_vm *vm)
{
    struct fake_region_l1 region = { .bytes = 0x10000, .block = 4096 };

    fake_vm_ram(vm, 0, RAM_BYTES);
    region.start = READ_ONLY;
    region.hpa = READ_ONLY + FAKE_VM_HPA_OFFSET;
    region.rights = NVIRT_ACCESS_READ | NVIRT_ACCESS_EXECUTE;
    region.memory_type = NVIRT_MEMORY_WB;
    fake_vm_region(vm, &region);
    region.start = DEVICE;
    region.hpa = 0xfee00000;
    region.rights = NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE;
    region.memory_type = NVIRT_MEMORY_UC;
    region.device = true;
    fake_vm_region(vm, &region);
    region = (struct fake_region_l1){ .start = LARGE_BLOCK,
                                      .bytes = 0x400000,
                                      .hpa = LARGE_BLOCK + FAKE_VM_HPA_OFFSET,
                                      .block = 0x200000,
                                      .rights = FAKE_ALL_RIGHTS,
                                      .memory_type = NVIRT_MEMORY_WB };
    fake_vm_region(vm, &region);
    fake_vm_hole(vm, 0x3ff000, 0x1000);
}

/* The host moves one of its regions, changes its rights, or only says that something changed. */
static inline void host_moves(struct nvirt_port_vm *vm, struct input *in)
{
    struct fake_region_l1 *region = &vm->region[choose(in, vm->regions)];
    uint8_t how = u8(in);

    if ((how & 1u) != 0) {
        region->hpa ^= UINT64_C(0x40000000000);
    }
    if ((how & 2u) != 0) {
        region->rights ^= NVIRT_ACCESS_WRITE;
    }
    if ((how & 4u) != 0) {
        region->memory_type ^= NVIRT_MEMORY_WB;
    }
    fake_vm_invalidate(vm);
}

/* Things go wrong, or change behind the library's back. */
static inline void disturb(struct nvirt_port_vm *vm, struct input *in, const uint64_t *address,
                           uint32_t addresses)
{
    uint64_t word = (address[choose(in, addresses)] + take(in, 2)) & ~UINT64_C(7) &
                    ((UINT64_C(1) << ADDRESS_BITS) - 1);
    uint64_t values[4];
    uint32_t count;

    switch (u8(in) % 5) {
    case 0:
        fake_vm_fail(vm, (enum fake_call)choose(in, FAKE_CALL_KINDS), u8(in) % 64);
        break;
    case 1:
        vm->retries = choose(in, 20);
        break;
    case 2:
        vm->move_on_translate = 1 + choose(in, 4);
        break;
    case 3:
        if (vm->scripts < FAKE_VM_SCRIPTS) {
            count = 1 + choose(in, 4);
            for (uint32_t i = 0; i < count; i++) {
                values[i] = new_value(in, fake_vm_get64(vm, word), address, addresses);
            }
            fake_vm_script(vm, word, 8, values, count);
        }
        break;
    default:
        if (vm->scripts < FAKE_VM_SCRIPTS) {
            fake_vm_race(vm, word, 8, UINT64_C(1) << (u8(in) & 63u), 1 + u8(in) * 16u);
        }
        break;
    }
}

#endif
