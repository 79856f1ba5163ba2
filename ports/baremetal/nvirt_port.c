/* SPDX-License-Identifier: MIT */
/*
 * The cold tier of nvirt's port (include/nvirt/port.h) on bare metal. One CPU runs everything, and
 * the host never takes memory away from L1: pins cost nothing and nobody has to be kicked.
 */
#include "nvirt_port.h"

#include "rt/rt.h"

#define ALL_ACCESS (NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE)

_Static_assert(BM_PAGE_SIZE == NVIRT_PAGE_SIZE, "one page size");
_Static_assert((int)BM_TYPE_WB == (int)NVIRT_MEMORY_WB, "memory types are the architecture's");

/* ---- pages ---- */

enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page)
{
    uint64_t address;

    if (!bm_pool_alloc(vm->pool, &address))
        return NVIRT_ERR_NO_PAGE;
    *page = nvirt_hpa_make(address);
    return NVIRT_OK;
}

void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    bm_pool_free(vm->pool, page.value);
}

void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    (void)vm;
    return (void *)page.value;
}

/* ---- translation ---- */

enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
                                       uint32_t access, struct nvirt_translation *out)
{
    struct bm_block block;

    (void)access;
    if (!bm_translate(vm->memory, address.value, &block))
        return NVIRT_ERR_NO_MAPPING;
    *out = (struct nvirt_translation){
        .hpa = nvirt_hpa_make(block.hpa),
        .size = block.size,
        .rights = ALL_ACCESS,
        .memory_type = block.type,
        .sequence = vm->sequence,
    };
    return NVIRT_OK;
}

uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm)
{
    return vm->sequence;
}

void bm_port_memory_changed(struct nvirt_port_vm *vm)
{
    /* Odd values mean "in progress", which nobody can observe with one CPU. */
    vm->sequence += 2;
}

enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page, uint32_t access,
                                 nvirt_hpa *hpa)
{
    (void)access;
    if (!bm_is_accessible(vm->memory, page.value, NVIRT_PAGE_SIZE))
        return NVIRT_ERR_NO_MAPPING;
    *hpa = nvirt_hpa_make(page.value);
    return NVIRT_OK;
}

void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written)
{
    (void)vm;
    (void)page;
    (void)hpa;
    (void)written;
}

/* ---- memory of L1 ---- */

/*
 * Copies with one access per aligned word, so that an aligned word of 4 or 8 bytes is never torn
 * and no byte is touched twice. One of the two sides is L1's.
 */
static void copy(volatile uint8_t *to, const volatile uint8_t *from, size_t bytes)
{
    uint64_t both = (uint64_t)to | (uint64_t)from;

    if (both % 8 == 0) {
        for (; bytes >= 8; bytes -= 8, to += 8, from += 8)
            *(volatile uint64_t *)to = *(const volatile uint64_t *)from;
    }
    if (both % 4 == 0) {
        for (; bytes >= 4; bytes -= 4, to += 4, from += 4)
            *(volatile uint32_t *)to = *(const volatile uint32_t *)from;
    }
    for (; bytes > 0; bytes--)
        *to++ = *from++;
}

/* The host's side need not be aligned where a single access to L1's is promised. */
static bool single(uint64_t address, size_t bytes)
{
    return (bytes == 8 || bytes == 4) && address % bytes == 0;
}

enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
                                     size_t bytes)
{
    if (!bm_is_readable(vm->memory, from.value, bytes))
        return NVIRT_ERR_NO_MAPPING;
    if (single(from.value, bytes)) {
        uint64_t word = bytes == 8 ? *(volatile uint64_t *)from.value
                                   : *(volatile uint32_t *)from.value;

        memcpy(to, &word, bytes);
        return NVIRT_OK;
    }
    copy(to, (const volatile uint8_t *)from.value, bytes);
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
                                      size_t bytes)
{
    if (!bm_is_accessible(vm->memory, to.value, bytes))
        return NVIRT_ERR_NO_MAPPING;
    if (single(to.value, bytes)) {
        uint64_t word = 0;

        memcpy(&word, from, bytes);
        if (bytes == 8)
            *(volatile uint64_t *)to.value = word;
        else
            *(volatile uint32_t *)to.value = (uint32_t)word;
        return NVIRT_OK;
    }
    copy((volatile uint8_t *)to.value, from, bytes);
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm, nvirt_l1gpa word,
                                                 size_t bytes, uint64_t *expected, uint64_t desired)
{
    if ((bytes != 4 && bytes != 8) || word.value % bytes != 0 ||
        !bm_is_accessible(vm->memory, word.value, bytes))
        return NVIRT_ERR_NO_MAPPING;
    if (bytes == 8) {
        __atomic_compare_exchange_n((uint64_t *)word.value, expected, desired, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        uint32_t had = (uint32_t)*expected;

        __atomic_compare_exchange_n((uint32_t *)word.value, &had, (uint32_t)desired, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *expected = had;
    }
    return NVIRT_OK;
}

/* ---- MSRs, messages ---- */

enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t msr, uint64_t *value)
{
    (void)cpu;
    return vm->rdmsr(msr, value) ? NVIRT_OK : NVIRT_ERR_RANGE;
}

enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t msr, uint64_t value)
{
    (void)cpu;
    return vm->wrmsr(msr, value) ? NVIRT_OK : NVIRT_ERR_RANGE;
}

void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index)
{
    (void)vm;
    (void)vcpu_index;
}

void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value)
{
    if (vm->trace != NULL)
        vm->trace(text, value);
}

void nvirt_port_panic(const char *text)
{
    bm_panic(text);
}
