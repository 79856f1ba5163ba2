/* SPDX-License-Identifier: MIT */
/*
 * The context structs of nvirt's port on bare metal: L1's memory is the machine's own at the same
 * addresses, so most of the port is arithmetic.
 */
#ifndef BM_NVIRT_PORT_H
#define BM_NVIRT_PORT_H

#include <nvirt/port.h>

#include "memory.h"
#include "pool.h"

struct nvirt_port_vm {
    struct bm_memory *memory;
    struct bm_pool *pool;
    uint64_t sequence; /* bm_port_memory_changed() moves it on */
    uint64_t window_base, window_size; /* memory of L1 around the last access; size 0: not known */
    /* What L1's RDMSR and WRMSR would do at CPL 0; false for #GP. */
    bool (*rdmsr)(uint32_t msr, uint64_t *value);
    bool (*wrmsr)(uint32_t msr, uint64_t value);
    /* Null, or where nvirt's trace lines go. */
    void (*trace)(const char *text, uint64_t value);
};

/* One CPU: nothing to tell apart. */
struct nvirt_port_cpu {
    uint32_t number;
};

/* To be called when memory types changed: translations nvirt was given no longer hold. */
void bm_port_memory_changed(struct nvirt_port_vm *vm);

/* Supplied by the image: says what is wrong with nvirt or the host itself, and stops. */
_Noreturn void bm_panic(const char *text);

#endif
