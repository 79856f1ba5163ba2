/* SPDX-License-Identifier: MIT */
/*
 * The fake host; fake_port.h tells what it keeps and what it can be asked to do.
 */
#include "fake_port.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

static void __attribute__((noreturn, format(printf, 1, 2))) broken(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("fake port: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

static void *need(void *memory)
{
    if (memory == NULL)
        broken("the test machine is out of memory");
    return memory;
}

/* ---- life ---- */

struct nvirt_port_vm *fake_vm_new(void)
{
    struct nvirt_port_vm *vm = need(calloc(1, sizeof *vm));

    vm->pool_limit = FAKE_VM_POOL_PAGES;
    vm->sequence = 2;
    return vm;
}

void fake_vm_discard(struct nvirt_port_vm *vm)
{
    uint32_t i;

    for (i = 0; i < vm->l1_pages; i++) {
        free(vm->l1_page[i].data);
        free(vm->l1_page[i].reads);
    }
    for (i = 0; i < FAKE_VM_POOL_PAGES; i++)
        free(vm->pool[i]);
    free(vm);
}

void fake_vm_delete(struct nvirt_port_vm *vm)
{
    if (vm->pool_used != 0)
        broken("%u table pages leaked", vm->pool_used);
    if (vm->pins != 0)
        broken("%u pins leaked", vm->pins);
    fake_vm_discard(vm);
}

/* ---- regions ---- */

void fake_vm_region(struct nvirt_port_vm *vm, const struct fake_region_l1 *region)
{
    if (vm->regions == FAKE_VM_REGIONS)
        broken("too many regions");
    vm->region[vm->regions++] = *region;
}

void fake_vm_ram(struct nvirt_port_vm *vm, uint64_t start, uint64_t bytes)
{
    struct fake_region_l1 region = { .start = start,
                                     .bytes = bytes,
                                     .hpa = start + FAKE_VM_HPA_OFFSET,
                                     .block = PAGE,
                                     .rights = FAKE_ALL_RIGHTS,
                                     .memory_type = NVIRT_MEMORY_WB };

    fake_vm_region(vm, &region);
}

void fake_vm_hole(struct nvirt_port_vm *vm, uint64_t start, uint64_t bytes)
{
    struct fake_region_l1 region = { .start = start, .bytes = bytes, .absent = true };

    fake_vm_region(vm, &region);
}

void fake_vm_invalidate(struct nvirt_port_vm *vm)
{
    vm->sequence = (vm->sequence | 1) + 1;
}

static const struct fake_region_l1 *region_of(const struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    uint32_t i = vm->regions;

    while (i-- > 0) {
        const struct fake_region_l1 *region = &vm->region[i];

        if (l1gpa - region->start < region->bytes)
            return region->absent ? NULL : region;
    }
    return NULL;
}

static bool memory_allows(const struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes,
                          uint32_t access)
{
    size_t i;

    for (i = 0; i < bytes; i++) {
        const struct fake_region_l1 *region = region_of(vm, l1gpa + i);

        if (region == NULL || region->device || (region->rights & access) != access)
            return false;
    }
    return true;
}

/* ---- L1's bytes ---- */

static struct fake_page_l1 *page_of(struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    struct fake_page_l1 *page;
    uint32_t i;

    /* Bytes are touched one by one: most are on the page of the last. */
    if (vm->l1_last < vm->l1_pages && vm->l1_page[vm->l1_last].number == l1gpa / PAGE)
        return &vm->l1_page[vm->l1_last];
    for (i = 0; i < vm->l1_pages; i++) {
        if (vm->l1_page[i].number == l1gpa / PAGE) {
            vm->l1_last = i;
            return &vm->l1_page[i];
        }
    }
    if (vm->l1_pages == FAKE_VM_L1_PAGES)
        broken("the test touches too many pages of L1");
    page = &vm->l1_page[vm->l1_pages++];
    page->number = l1gpa / PAGE;
    page->data = need(calloc(1, PAGE));
    page->reads = need(calloc(PAGE, sizeof *page->reads));
    return page;
}

static uint8_t *byte_of(struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    return &page_of(vm, l1gpa)->data[l1gpa % PAGE];
}

void fake_vm_put(struct nvirt_port_vm *vm, uint64_t l1gpa, const void *from, size_t bytes)
{
    const uint8_t *at = from;
    size_t i;

    for (i = 0; i < bytes; i++)
        *byte_of(vm, l1gpa + i) = at[i];
}

void fake_vm_get(struct nvirt_port_vm *vm, uint64_t l1gpa, void *to, size_t bytes)
{
    uint8_t *at = to;
    size_t i;

    for (i = 0; i < bytes; i++)
        at[i] = *byte_of(vm, l1gpa + i);
}

void fake_vm_put64(struct nvirt_port_vm *vm, uint64_t l1gpa, uint64_t value)
{
    fake_vm_put(vm, l1gpa, &value, sizeof value);
}

uint64_t fake_vm_get64(struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    uint64_t value;

    fake_vm_get(vm, l1gpa, &value, sizeof value);
    return value;
}

void fake_vm_put32(struct nvirt_port_vm *vm, uint64_t l1gpa, uint32_t value)
{
    fake_vm_put(vm, l1gpa, &value, sizeof value);
}

uint32_t fake_vm_get32(struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    uint32_t value;

    fake_vm_get(vm, l1gpa, &value, sizeof value);
    return value;
}

/* ---- log ---- */

void fake_vm_log_reset(struct nvirt_port_vm *vm)
{
    uint32_t i;

    for (i = 0; i < vm->l1_pages; i++)
        memset(vm->l1_page[i].reads, 0, PAGE * sizeof *vm->l1_page[i].reads);
    memset(vm->calls, 0, sizeof vm->calls);
    memset(vm->fail_at, 0, sizeof vm->fail_at);
    vm->traces = 0;
    vm->writes = 0;
}

unsigned fake_vm_reads(struct nvirt_port_vm *vm, uint64_t l1gpa)
{
    return page_of(vm, l1gpa)->reads[l1gpa % PAGE];
}

unsigned fake_vm_most_reads(struct nvirt_port_vm *vm, uint64_t *where)
{
    unsigned most = 0;
    uint32_t i, j;

    for (i = 0; i < vm->l1_pages; i++) {
        for (j = 0; j < PAGE; j++) {
            if (vm->l1_page[i].reads[j] > most) {
                most = vm->l1_page[i].reads[j];
                if (where != NULL)
                    *where = vm->l1_page[i].number * PAGE + j;
            }
        }
    }
    return most;
}

size_t fake_vm_bytes_read(struct nvirt_port_vm *vm)
{
    size_t bytes = 0;
    uint32_t i, j;

    for (i = 0; i < vm->l1_pages; i++) {
        for (j = 0; j < PAGE; j++)
            bytes += vm->l1_page[i].reads[j] != 0;
    }
    return bytes;
}

/* ---- failures on request ---- */

void fake_vm_fail(struct nvirt_port_vm *vm, enum fake_call kind, uint64_t n)
{
    vm->fail_at[kind] = n == 0 ? 0 : vm->calls[kind] + n;
    vm->failed = false;
}

static bool fails(struct nvirt_port_vm *vm, enum fake_call kind)
{
    vm->calls[kind]++;
    vm->calls[FAKE_CALL_ANY]++;
    if (vm->calls[kind] != vm->fail_at[kind] &&
        vm->calls[FAKE_CALL_ANY] != vm->fail_at[FAKE_CALL_ANY])
        return false;
    vm->failed = true;
    return true;
}

static struct fake_script *script_new(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes)
{
    struct fake_script *script;

    if (vm->scripts == FAKE_VM_SCRIPTS)
        broken("too many scripts");
    script = &vm->script[vm->scripts++];
    memset(script, 0, sizeof *script);
    script->address = l1gpa;
    script->bytes = bytes;
    return script;
}

void fake_vm_script(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes, const uint64_t *values,
                    uint32_t count)
{
    struct fake_script *script = script_new(vm, l1gpa, bytes);

    if (count > FAKE_VM_SCRIPT_VALUES)
        broken("too many values in a script");
    script->count = count;
    memcpy(script->value, values, count * sizeof *values);
}

void fake_vm_race(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes, uint64_t bits,
                  uint32_t times)
{
    struct fake_script *script = script_new(vm, l1gpa, bytes);

    script->on_exchange = true;
    script->flip = bits;
    script->count = times;
}

/* Plays what L1's other CPUs do to the words in the range just read or about to be exchanged. */
static void play(struct nvirt_port_vm *vm, uint64_t l1gpa, size_t bytes, bool on_exchange)
{
    uint32_t i;

    for (i = 0; i < vm->scripts; i++) {
        struct fake_script *script = &vm->script[i];

        if (script->on_exchange != on_exchange || script->next >= script->count ||
            script->address >= l1gpa + bytes || l1gpa >= script->address + script->bytes)
            continue;
        if (on_exchange) {
            uint64_t word = 0;

            fake_vm_get(vm, script->address, &word, script->bytes);
            word ^= script->flip;
            fake_vm_put(vm, script->address, &word, script->bytes);
        } else {
            fake_vm_put(vm, script->address, &script->value[script->next], script->bytes);
        }
        script->next++;
    }
}

/* ---- the port: table pages ---- */

enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page)
{
    uint32_t tried;

    if (fails(vm, FAKE_CALL_PAGE_ALLOC) || vm->pool_used >= vm->pool_limit)
        return NVIRT_ERR_NO_PAGE;
    for (tried = 0; tried < FAKE_VM_POOL_PAGES; tried++) {
        uint32_t i = vm->pool_next;

        /* Round robin: a freed page is not given again at once, so that its poison is seen. */
        vm->pool_next = (i + 1) % FAKE_VM_POOL_PAGES;
        if (vm->pool_in_use[i])
            continue;
        if (vm->pool[i] == NULL)
            vm->pool[i] = need(aligned_alloc(PAGE, PAGE));
        memset(vm->pool[i], 0xa5, PAGE);
        vm->pool_in_use[i] = true;
        vm->pool_used++;
        if (vm->pool_used > vm->pool_peak)
            vm->pool_peak = vm->pool_used;
        *page = nvirt_hpa_make(FAKE_VM_POOL_BASE + (uint64_t)i * PAGE);
        return NVIRT_OK;
    }
    return NVIRT_ERR_NO_PAGE;
}

static uint32_t pool_index(const struct nvirt_port_vm *vm, nvirt_hpa page)
{
    uint64_t i = (page.value - FAKE_VM_POOL_BASE) / PAGE;

    if (page.value % PAGE != 0 || page.value < FAKE_VM_POOL_BASE || i >= FAKE_VM_POOL_PAGES ||
        !vm->pool_in_use[i])
        broken("0x%llx is no table page in use", (unsigned long long)page.value);
    return (uint32_t)i;
}

void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    uint32_t i = pool_index(vm, page);

    memset(vm->pool[i], 0xdd, PAGE);
    vm->pool_in_use[i] = false;
    vm->pool_used--;
}

void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page)
{
    uint32_t i;

    for (i = 0; i < FAKE_VM_PINS && page.value < FAKE_VM_POOL_BASE; i++) {
        if (vm->pin[i].used && vm->pin[i].hpa == page.value)
            return vm->pin[i].data;
    }
    return vm->pool[pool_index(vm, page)];
}

/* ---- the port: L1's memory ---- */

enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
                                       uint32_t access, struct nvirt_translation *out)
{
    const struct fake_region_l1 *region = region_of(vm, address.value);
    uint64_t size;

    if (fails(vm, FAKE_CALL_TRANSLATE))
        return NVIRT_ERR_NO_MAPPING;
    if (vm->retries != 0) {
        vm->retries--;
        return NVIRT_ERR_RETRY;
    }
    if (region == NULL || (!region->overrides && (region->rights & access) != access))
        return NVIRT_ERR_NO_MAPPING;
    out->hpa = nvirt_hpa_make(region->hpa + (address.value - region->start));
    /* The largest block that lies inside the region and is aligned alike on both sides. */
    for (size = region->block; size > PAGE && !region->lies; size >>= 9) {
        uint64_t base = address.value & ~(size - 1);

        if (base >= region->start && base + size <= region->start + region->bytes &&
            ((out->hpa.value ^ address.value) & (size - 1)) == 0)
            break;
    }
    out->size = size;
    out->rights = region->rights;
    out->memory_type = region->memory_type;
    out->sequence = vm->sequence;
    if (vm->move_on_translate != 0 && --vm->move_on_translate == 0)
        fake_vm_invalidate(vm);
    return NVIRT_OK;
}

uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm)
{
    return vm->sequence;
}

enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page, uint32_t access,
                                 nvirt_hpa *hpa)
{
    const struct fake_region_l1 *region = region_of(vm, page.value);
    uint32_t i;

    if (page.value % PAGE != 0)
        broken("pin of an address that is not aligned: 0x%llx", (unsigned long long)page.value);
    if (fails(vm, FAKE_CALL_PIN) || !memory_allows(vm, page.value, PAGE, access))
        return NVIRT_ERR_NO_MAPPING;
    for (i = 0; i < FAKE_VM_PINS; i++) {
        struct fake_pin *pin = &vm->pin[i];

        if (pin->used)
            continue;
        pin->used = true;
        pin->write = (access & NVIRT_ACCESS_WRITE) != 0;
        pin->l1gpa = page.value;
        pin->hpa = region->hpa + (page.value - region->start);
        pin->data = page_of(vm, page.value)->data;
        vm->pins++;
        *hpa = nvirt_hpa_make(pin->hpa);
        return NVIRT_OK;
    }
    broken("too many pins");
}

static struct fake_pin *find_pin(struct nvirt_port_vm *vm, uint64_t l1gpa, uint64_t hpa, bool write)
{
    uint32_t i;

    for (i = 0; i < FAKE_VM_PINS; i++) {
        struct fake_pin *pin = &vm->pin[i];

        if (pin->used && pin->l1gpa == l1gpa && pin->hpa == hpa && pin->write == write)
            return pin;
    }
    return NULL;
}

void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written)
{
    /* Of two pins of one page the one that fits; a page that might have been written need not be. */
    struct fake_pin *pin = find_pin(vm, page.value, hpa.value, written);

    if (pin == NULL && !written)
        pin = find_pin(vm, page.value, hpa.value, true);
    if (pin == NULL)
        broken("unpin of 0x%llx that is not pinned so", (unsigned long long)page.value);
    pin->used = false;
    vm->pins--;
}

enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
                                     size_t bytes)
{
    size_t i;

    if (fails(vm, FAKE_CALL_READ) || !memory_allows(vm, from.value, bytes, NVIRT_ACCESS_READ)) {
        memset(to, 0x5a, bytes); /* Undefined contents: whoever uses them fails. */
        return NVIRT_ERR_NO_MAPPING;
    }
    fake_vm_get(vm, from.value, to, bytes);
    for (i = 0; i < bytes; i++)
        page_of(vm, from.value + i)->reads[(from.value + i) % PAGE]++;
    play(vm, from.value, bytes, false);
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
                                      size_t bytes)
{
    if (fails(vm, FAKE_CALL_WRITE) || !memory_allows(vm, to.value, bytes, NVIRT_ACCESS_WRITE))
        return NVIRT_ERR_NO_MAPPING;
    fake_vm_put(vm, to.value, from, bytes);
    vm->writes++;
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm, nvirt_l1gpa word,
                                                 size_t bytes, uint64_t *expected,
                                                 uint64_t desired)
{
    uint64_t found = 0;

    if ((bytes != 4 && bytes != 8) || word.value % bytes != 0)
        broken("compare-exchange of %zu bytes at 0x%llx", bytes, (unsigned long long)word.value);
    if (fails(vm, FAKE_CALL_EXCHANGE) ||
        !memory_allows(vm, word.value, bytes, NVIRT_ACCESS_WRITE))
        return NVIRT_ERR_NO_MAPPING;
    play(vm, word.value, bytes, true);
    fake_vm_get(vm, word.value, &found, bytes);
    if (found == *expected) {
        fake_vm_put(vm, word.value, &desired, bytes);
        vm->writes++;
    }
    *expected = found;
    return NVIRT_OK;
}

/* ---- the port: MSRs, kicks, messages ---- */

static struct fake_msr_l1 *msr_of(struct nvirt_port_vm *vm, uint32_t index)
{
    uint32_t i;

    for (i = 0; i < vm->msrs; i++) {
        if (vm->msr[i].index == index)
            return &vm->msr[i];
    }
    return NULL;
}

void fake_vm_msr_set(struct nvirt_port_vm *vm, uint32_t index, uint64_t value, bool write_faults)
{
    struct fake_msr_l1 *msr = msr_of(vm, index);

    if (msr == NULL) {
        if (vm->msrs == FAKE_VM_MSRS)
            broken("too many MSRs");
        msr = &vm->msr[vm->msrs++];
    }
    msr->index = index;
    msr->value = value;
    msr->write_faults = write_faults;
}

uint64_t fake_vm_msr_get(struct nvirt_port_vm *vm, uint32_t index)
{
    const struct fake_msr_l1 *msr = msr_of(vm, index);

    if (msr == NULL)
        broken("MSR 0x%x does not exist", index);
    return msr->value;
}

enum nvirt_status nvirt_port_xmm(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                 uint8_t *xmm)
{
    (void)cpu;
    if (!vm->has_xmm)
        return NVIRT_ERR_STATE;
    memcpy(xmm, vm->xmm, sizeof vm->xmm);
    return NVIRT_OK;
}

uint32_t nvirt_port_l1_pkru(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu)
{
    (void)cpu;
    return vm->pkru;
}

enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t index, uint64_t *value)
{
    const struct fake_msr_l1 *msr = msr_of(vm, index);

    (void)cpu;
    if (fails(vm, FAKE_CALL_RDMSR) || msr == NULL)
        return NVIRT_ERR_RANGE;
    *value = msr->value;
    return NVIRT_OK;
}

enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
                                      uint32_t index, uint64_t value)
{
    struct fake_msr_l1 *msr = msr_of(vm, index);

    (void)cpu;
    if (fails(vm, FAKE_CALL_WRMSR) || msr == NULL || msr->write_faults)
        return NVIRT_ERR_RANGE;
    msr->value = value;
    return NVIRT_OK;
}

void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index)
{
    if (vcpu_index < FAKE_VM_KICKS)
        vm->kicks[vcpu_index]++;
}

void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value)
{
    struct fake_trace line = { .text = text, .value = value };

    vm->trace[vm->traces++ % FAKE_VM_TRACES] = line;
}

unsigned fake_vm_traced(const struct nvirt_port_vm *vm, const char *text)
{
    uint32_t kept = vm->traces < FAKE_VM_TRACES ? vm->traces : FAKE_VM_TRACES;
    unsigned found = 0;
    uint32_t i;

    for (i = 0; i < kept; i++)
        found += strcmp(vm->trace[i].text, text) == 0;
    return found;
}

void nvirt_port_panic(const char *text)
{
    broken("panic of the library: %s", text);
}
