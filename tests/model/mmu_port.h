/* SPDX-License-Identifier: MIT */
/*
 * A host for the engine of shadow tables, small enough to be copied and safe to be used by many
 * threads: table pages in an arena, L1's memory as words, and one word per L1 page that says where
 * the host has it, with which rights and memory type. Included once by each program that needs it;
 * PORT_PAGES, PORT_L1_PAGES, PORT_VCPUS and PORT_TRANSLATED() may be defined before.
 */
#ifndef MMU_PORT_H
#define MMU_PORT_H

#include <nvirt/port.h>
#include <nvirt/vm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PORT_PAGES
#define PORT_PAGES 512u
#endif
#ifndef PORT_L1_PAGES
#define PORT_L1_PAGES 128u
#endif
#ifndef PORT_VCPUS
#define PORT_VCPUS 8u
#endif
/* What happens when a page was translated and before that is used. */
#ifndef PORT_TRANSLATED
#define PORT_TRANSLATED(vm) ((void)(vm))
#endif
#define PORT_WORDS 512u
/* Where table pages are, and memory of L1 by default. */
#define PORT_TABLES UINT64_C(0x800000000)
#define PORT_MEMORY UINT64_C(0x100000000)

/* The host's word for an L1 page: address, rights in bits 2:0, memory type in bits 5:3. */
#define PORT_MAP(hpa, rights, type) ((hpa) | (rights) | (uint64_t)(type) << 3)

struct nvirt_port_vm {
    uint64_t table[PORT_PAGES][PORT_WORDS];
    uint8_t in_use[PORT_PAGES];
    uint32_t lock;
    uint32_t next;
    uint32_t pages;      /**< Table pages in use. */
    uint64_t sequence;
    uint64_t block;      /**< Size of the host's blocks; PORT_MEMORY must be aligned to it. */
    uint64_t open;       /**< L1 addresses from here on are memory too, if not 0; words have only
                              those below PORT_L1_PAGES. */
    uint64_t reads;      /**< Of L1's memory, when counting. */
    bool counting;
    uint32_t kicks[PORT_VCPUS];
    uint64_t host[PORT_L1_PAGES]; /**< PORT_MAP(), 0: nothing there. */
    uint64_t l1[PORT_L1_PAGES][PORT_WORDS];
};

#define PORT_DIE(...)                                                                              \
    do {                                                                                           \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        abort();                                                                                   \
    } while (0)

static uint64_t *port_word(struct nvirt_port_vm *vm, uint64_t address)
{
    if (address % 8 != 0 || address / 4096 >= PORT_L1_PAGES)
        PORT_DIE("L1 has no word at 0x%llx", (unsigned long long)address);
    return &vm->l1[address / 4096][address % 4096 / 8];
}

static void port_init(struct nvirt_port_vm *vm)
{
    memset(vm, 0, sizeof *vm);
    vm->sequence = 2;
    vm->block = 4096;
    for (uint64_t i = 0; i < PORT_L1_PAGES; i++)
        vm->host[i] = PORT_MAP(PORT_MEMORY + i * 4096, 7, NVIRT_MEMORY_WB);
}

static void port_lock(struct nvirt_port_vm *vm)
{
    while (__atomic_exchange_n(&vm->lock, 1u, __ATOMIC_ACQUIRE) != 0)
        ;
}

static void port_unlock(struct nvirt_port_vm *vm)
{
    __atomic_store_n(&vm->lock, 0u, __ATOMIC_RELEASE);
}

enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page)
{
    enum nvirt_status status = NVIRT_ERR_NO_PAGE;

    port_lock(vm);
    for (uint32_t tried = 0; tried < PORT_PAGES && status != NVIRT_OK; tried++) {
        uint32_t i = vm->next;

        vm->next = (i + 1) % PORT_PAGES;
        if (vm->in_use[i] == 0) {
            vm->in_use[i] = 1;
            vm->pages++;
            *page = nvirt_hpa_make(PORT_TABLES + i * UINT64_C(4096));
            status = NVIRT_OK;
        }
    }
    port_unlock(vm);
    return status;
}

void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    uint64_t i = (page.value - PORT_TABLES) / 4096;

    port_lock(vm);
    if (i >= PORT_PAGES || vm->in_use[i] == 0)
        PORT_DIE("0x%llx is freed and was not in use", (unsigned long long)page.value);
    vm->in_use[i] = 0;
    vm->pages--;
    port_unlock(vm);
}

void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    uint64_t i = (page.value - PORT_TABLES) / 4096;

    if (i >= PORT_PAGES || __atomic_load_n(&vm->in_use[i], __ATOMIC_RELAXED) == 0)
        PORT_DIE("0x%llx is no table page in use", (unsigned long long)page.value);
    return vm->table[i];
}

enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
                                       uint32_t access, struct nvirt_translation *out)
{
    uint64_t word, size = vm->block;

    if (vm->open != 0 && address.value >= vm->open)
        word = PORT_MAP(PORT_MEMORY + (address.value & ~UINT64_C(0xfff)), 7, NVIRT_MEMORY_WB);
    else if (address.value / 4096 >= PORT_L1_PAGES)
        return NVIRT_ERR_NO_MAPPING;
    else
        word = __atomic_load_n(&vm->host[address.value / 4096], __ATOMIC_ACQUIRE);
    if ((word & 7) == 0 || (word & access) != access)
        return NVIRT_ERR_NO_MAPPING;
    out->hpa = nvirt_hpa_make((word & ~UINT64_C(0xfff)) + address.value % 4096);
    out->size = size;
    out->rights = (uint32_t)(word & 7);
    out->memory_type = (uint8_t)(word >> 3 & 7);
    out->sequence = vm->sequence;
    PORT_TRANSLATED(vm);
    return NVIRT_OK;
}

uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm)
{
    return __atomic_load_n(&vm->sequence, __ATOMIC_ACQUIRE);
}

enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
                                     size_t bytes)
{
    uint64_t word;

    if (bytes != 8 || from.value / 4096 >= PORT_L1_PAGES)
        return NVIRT_ERR_NO_MAPPING;
    if (vm->counting)
        vm->reads++;
    word = __atomic_load_n(port_word(vm, from.value), __ATOMIC_ACQUIRE);
    memcpy(to, &word, sizeof word);
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
                                      size_t bytes)
{
    uint64_t word;

    if (bytes != 8 || to.value / 4096 >= PORT_L1_PAGES)
        return NVIRT_ERR_NO_MAPPING;
    memcpy(&word, from, sizeof word);
    __atomic_store_n(port_word(vm, to.value), word, __ATOMIC_RELEASE);
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm, nvirt_l1gpa word,
                                                 size_t bytes, uint64_t *expected,
                                                 uint64_t desired)
{
    if (bytes != 8)
        return NVIRT_ERR_NO_MAPPING;
    (void)__atomic_compare_exchange_n(port_word(vm, word.value), expected, desired, false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return NVIRT_OK;
}

void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index)
{
    (void)__atomic_fetch_add(&vm->kicks[vcpu_index], 1u, __ATOMIC_SEQ_CST);
}

#endif
