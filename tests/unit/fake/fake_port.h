/* SPDX-License-Identifier: MIT */
/*
 * A fake host behind the cold tier of the port. It keeps L1's memory as sparse pages that count how
 * often each byte was read, table pages that are poisoned when freed and watched after, pins
 * with their counts, the invalidation sequence, and the trace. On request the n-th call of a kind
 * fails, memory changes between two reads or under a compare-exchange, and mappings move in the
 * middle of a fault. A broken promise of the library (a page freed twice, a pointer into a freed
 * page, an unpin without pin, a panic) prints what happened and aborts.
 */
#ifndef FAKE_PORT_H
#define FAKE_PORT_H

#include <nvirt/port.h>
#include <nvirt/vm.h>

#define FAKE_VM_REGIONS 32u
#define FAKE_VM_L1_PAGES 4096u
#define FAKE_VM_POOL_PAGES 8192u
#define FAKE_VM_PINS 256u
#define FAKE_VM_SCRIPTS 16u
#define FAKE_VM_SCRIPT_VALUES 16u
#define FAKE_VM_MSRS 64u
#define FAKE_VM_TRACES 64u
#define FAKE_VM_KICKS 8u

/** First physical address of table pages, far from where regions put L1's memory by default. */
#define FAKE_VM_POOL_BASE UINT64_C(0x200000000000)
/** Distance from an L1 address to the physical address behind it, unless a test says otherwise. */
#define FAKE_VM_HPA_OFFSET UINT64_C(0x10000000000)

#define FAKE_ALL_RIGHTS (NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE)

/** A range of L1-physical addresses. Where several overlap, the one added last holds. */
struct fake_region_l1 {
    uint64_t start;
    uint64_t bytes;
    uint64_t hpa;        /**< Of start. */
    uint64_t block;      /**< Largest block to report: 4 KiB, 2 MiB or 1 GiB. */
    uint32_t rights;
    uint8_t memory_type;
    bool absent;         /**< A hole: nothing is there. */
    bool device;         /**< Translatable, but no memory to read, write or pin. */
    bool lies;           /**< Says its block size whether or not the addresses are aligned to it. */
    bool overrides;      /**< Translates with its own rights, also when asked for more. */
};

/** Kinds of call that can be made to fail. */
enum fake_call {
    FAKE_CALL_PAGE_ALLOC = 0,
    FAKE_CALL_TRANSLATE,
    FAKE_CALL_PIN,
    FAKE_CALL_READ,
    FAKE_CALL_WRITE,
    FAKE_CALL_EXCHANGE,
    FAKE_CALL_RDMSR,
    FAKE_CALL_WRMSR,
    FAKE_CALL_ANY, /**< Any of the above, counted together. */
    FAKE_CALL_KINDS
};

struct fake_page_l1 {
    uint64_t number;        /**< L1-physical address / 4096. */
    uint8_t *data;          /**< 4096 bytes. */
    uint16_t *reads;        /**< How often each byte was read since fake_vm_log_reset(). */
};

struct fake_pin {
    bool used;
    bool write;
    uint64_t l1gpa;
    uint64_t hpa;
    uint8_t *data;
};

/** A word of L1 memory that has a new value after each read or before each exchange. */
struct fake_script {
    uint64_t address;
    size_t bytes;
    uint32_t next, count;
    uint64_t value[FAKE_VM_SCRIPT_VALUES];
    bool on_exchange;
    uint64_t flip;          /**< on_exchange: bits that change; count is how many times. */
};

struct fake_msr_l1 {
    uint32_t index;
    bool write_faults;
    uint64_t value;
};

struct fake_trace {
    const char *text;
    uint64_t value;
};

struct nvirt_port_vm {
    uint32_t regions;
    struct fake_region_l1 region[FAKE_VM_REGIONS];
    uint32_t l1_pages;
    uint32_t l1_last; /* the one touched last */
    struct fake_page_l1 l1_page[FAKE_VM_L1_PAGES];
    uint32_t pool_limit;    /**< Most table pages in use at once. */
    uint32_t pool_used;     /**< Table pages in use now. */
    uint32_t pool_peak;
    uint8_t *pool[FAKE_VM_POOL_PAGES];
    bool pool_in_use[FAKE_VM_POOL_PAGES];
    uint32_t pool_next;
    uint32_t pins;          /**< Pins held now. */
    struct fake_pin pin[FAKE_VM_PINS];
    uint64_t sequence;
    uint32_t move_on_translate; /**< The n-th translation from now is overtaken by a change. */
    uint32_t retries;       /**< So many translations say RETRY. */
    uint64_t calls[FAKE_CALL_KINDS];     /**< Calls made. */
    uint64_t fail_at[FAKE_CALL_KINDS];   /**< Number of the call that fails; 0 for none. */
    bool failed;            /**< A call was made to fail since fake_vm_fail(). */
    uint32_t scripts;
    struct fake_script script[FAKE_VM_SCRIPTS];
    uint32_t msrs;
    struct fake_msr_l1 msr[FAKE_VM_MSRS];
    uint32_t pkru;          /**< Of L1. */
    bool has_xmm;           /**< The host can tell them: */
    uint8_t xmm[NVIRT_XMM_BYTES]; /**< XMM registers of the guest that left. */
    uint32_t traces;        /**< Lines ever traced; the last FAKE_VM_TRACES are kept. */
    struct fake_trace trace[FAKE_VM_TRACES];
    uint32_t kicks[FAKE_VM_KICKS];
    uint64_t writes;        /**< Calls that changed L1 memory. */
};

/** A new VM without any memory. Free with fake_vm_delete(). */
struct nvirt_port_vm *fake_vm_new(void);
/** Frees it; aborts when table pages or pins are still held. */
void fake_vm_delete(struct nvirt_port_vm *vm);
/** Frees it whatever is still held. */
void fake_vm_discard(struct nvirt_port_vm *vm);

/** Adds write-back memory with all rights in 4-KiB blocks, at FAKE_VM_HPA_OFFSET. */
void fake_vm_ram(struct nvirt_port_vm *vm, uint64_t start, uint64_t bytes);
/** Adds a region as given. */
void fake_vm_region(struct nvirt_port_vm *vm, const struct fake_region_l1 *region);
/** Adds a hole. */
void fake_vm_hole(struct nvirt_port_vm *vm, uint64_t start, uint64_t bytes);
/** The host moved, unmapped or changed something: the sequence goes to the next even value. */
void fake_vm_invalidate(struct nvirt_port_vm *vm);

/* Access by the test: not counted, not failed; regions need not exist. */
void fake_vm_put(struct nvirt_port_vm *vm, uint64_t l1gpa, const void *from, size_t bytes);
void fake_vm_get(struct nvirt_port_vm *vm, uint64_t l1gpa, void *to, size_t bytes);
void fake_vm_put64(struct nvirt_port_vm *vm, uint64_t l1gpa, uint64_t value);
uint64_t fake_vm_get64(struct nvirt_port_vm *vm, uint64_t l1gpa);
void fake_vm_put32(struct nvirt_port_vm *vm, uint64_t l1gpa, uint32_t value);
uint32_t fake_vm_get32(struct nvirt_port_vm *vm, uint64_t l1gpa);

/** Forgets how often bytes were read, the call counts and the trace. */
void fake_vm_log_reset(struct nvirt_port_vm *vm);
/** How often the byte at @p l1gpa was read. */
unsigned fake_vm_reads(struct nvirt_port_vm *vm, uint64_t l1gpa);
/** The most often any byte of L1 was read; *where (may be null) is the first such byte. */
unsigned fake_vm_most_reads(struct nvirt_port_vm *vm, uint64_t *where);
/** Bytes of L1 that were read at least once. */
size_t fake_vm_bytes_read(struct nvirt_port_vm *vm);

/** Makes the @p n-th call of @p kind from now fail (1: the next); 0 cancels. */
void fake_vm_fail(struct nvirt_port_vm *vm, enum fake_call kind, uint64_t n);
/** After each read of it, the word of @p bytes (4 or 8) takes the next of @p count values. */
void fake_vm_script(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes, const uint64_t *values,
                    uint32_t count);
/** Before each of the next @p times exchanges of the word, L1 flips @p bits in it. */
void fake_vm_race(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes, uint64_t bits,
                  uint32_t times);

/** Adds or changes an MSR of L1. One that was never set is refused. */
void fake_vm_msr_set(struct nvirt_port_vm *vm, uint32_t index, uint64_t value, bool write_faults);
/** Its value; aborts when it does not exist. */
uint64_t fake_vm_msr_get(struct nvirt_port_vm *vm, uint32_t index);

/** How many of the kept trace lines have @p text. */
unsigned fake_vm_traced(const struct nvirt_port_vm *vm, const char *text);

#endif
