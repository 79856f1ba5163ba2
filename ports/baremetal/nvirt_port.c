/* SPDX-License-Identifier: MIT */
/*
 * The cold tier of nvirt's port (include/nvirt/port.h) on bare metal. One CPU runs everything, and
 * the host never takes memory away from L1: pins cost nothing and nobody has to be kicked.
 */
#include "nvirt_port.h"

#include <nvirt/x86.h>

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

#define WORD UINT64_C(8)

static inline bool in_window(const struct nvirt_port_vm *vm, uint64_t address, size_t bytes)
{
    uint64_t offset = address - vm->window_base;

    return offset < vm->window_size && bytes <= vm->window_size - offset;
}

/* Bounds of the window are made multiples of a word: an aligned word that begins in it lies in it. */
static void find_window(struct nvirt_port_vm *vm, uint64_t address)
{
    uint64_t base, size, spare;

    if (!bm_accessible_around(vm->memory, address, &base, &size))
        return;
    spare = -base % WORD;
    if (size < spare)
        return;
    vm->window_base = base + spare;
    vm->window_size = (size - spare) & ~(WORD - 1);
}

/* Nearly all accesses fall into one stretch of memory: it is looked for once. */
static bool is_accessible(struct nvirt_port_vm *vm, uint64_t address, size_t bytes)
{
    if (in_window(vm, address, bytes))
        return true;
    if (!bm_is_accessible(vm->memory, address, bytes))
        return false;
    find_window(vm, address);
    return true;
}

static bool is_readable(struct nvirt_port_vm *vm, uint64_t address, size_t bytes)
{
    return in_window(vm, address, bytes) || is_accessible(vm, address, bytes) ||
           bm_is_readable(vm->memory, address, bytes);
}

NVIRT_NOINLINE static enum nvirt_status read_any(struct nvirt_port_vm *vm, uint64_t from, void *to,
                                                 size_t bytes)
{
    if (!is_readable(vm, from, bytes))
        return NVIRT_ERR_NO_MAPPING;
    if (single(from, bytes)) {
        uint64_t word = bytes == 8 ? *(volatile uint64_t *)from : *(volatile uint32_t *)from;

        memcpy(to, &word, bytes);
        return NVIRT_OK;
    }
    copy(to, (const volatile uint8_t *)from, bytes);
    return NVIRT_OK;
}

static inline bool word_in_window(const struct nvirt_port_vm *vm, uint64_t address)
{
    return address % WORD == 0 && address - vm->window_base < vm->window_size;
}

/* Entries of page tables and the like: small enough to become part of who asks. */
enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
                                     size_t bytes)
{
    uint64_t word;

    if (bytes == 8 && word_in_window(vm, from.value)) {
        word = *(volatile uint64_t *)from.value;
        __builtin_memcpy(to, &word, 8);
        return NVIRT_OK;
    }
    if (bytes == 4 && word_in_window(vm, from.value)) {
        word = *(volatile uint32_t *)from.value;
        __builtin_memcpy(to, &word, 4);
        return NVIRT_OK;
    }
    return read_any(vm, from.value, to, bytes);
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
                                      size_t bytes)
{
    if (!is_accessible(vm, to.value, bytes))
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
        !is_accessible(vm, word.value, bytes))
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

/* ---- registers of L1, messages ---- */

/* The host leaves the register alone; to read it takes CR4.PKE, which L1 has set for itself only. */
uint32_t nvirt_port_l1_pkru(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu)
{
    uint64_t cr4 = rt_read_cr4();
    uint32_t pkru, zero;

    (void)vm;
    (void)cpu;
    rt_write_cr4(cr4 | NVIRT_CR4_PKE);
    __asm__ volatile("rdpkru" : "=a"(pkru), "=d"(zero) : "c"(0));
    rt_write_cr4(cr4);
    return pkru;
}

#define CR0_EM_TS 0xcu
#define CR4_OSFXSR 0x200u

/* The registers are the guest's: the host has no use for them. They may be read by who says so in
 * CR4. */
enum nvirt_status nvirt_port_xmm(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                 uint8_t *xmm)
{
    uint64_t cr0, cr4;

    (void)vm;
    (void)cpu;
    __asm__ volatile("mov %%cr0, %0\n"
                     "mov %%cr4, %1\n"
                     : "=&r"(cr0), "=&r"(cr4));
    __asm__ volatile("mov %0, %%cr0\n"
                     "mov %1, %%cr4\n"
                     "movups %%xmm0, 0(%2)\n"
                     "movups %%xmm1, 16(%2)\n"
                     "movups %%xmm2, 32(%2)\n"
                     "movups %%xmm3, 48(%2)\n"
                     "movups %%xmm4, 64(%2)\n"
                     "movups %%xmm5, 80(%2)\n"
                     "mov %3, %%cr4\n"
                     "mov %4, %%cr0\n"
                     :
                     : "r"(cr0 & ~(uint64_t)CR0_EM_TS), "r"(cr4 | CR4_OSFXSR), "r"(xmm), "r"(cr4),
                       "r"(cr0)
                     : "memory");
    return NVIRT_OK;
}

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
