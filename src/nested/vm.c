/* SPDX-License-Identifier: MIT */
/*
 * The VM object, and the names of statuses and counters for the host's messages.
 */
#include "nested/vm_internal.h"

enum nvirt_status nvirt_vm_init(struct nvirt_vm *vm, const struct nvirt_vm_config *config)
{
    if (vm == NULL || config == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (config->page_budget < NVIRT_VM_MIN_PAGES || config->page_budget > NVIRT_VM_MAX_PAGES ||
        config->physical_bits < 32 || config->physical_bits > 52) {
        return NVIRT_ERR_RANGE;
    }
    vm->port = config->port;
    vm->magic = NVI_VM_MAGIC;
    vm->page_budget = config->page_budget;
    vm->pages_in_use = 0;
    vm->pages_common = 0;
    vm->vcpu_count = 0;
    vm->engine_count = 0;
    vm->lock = 0;
    vm->changing = 0;
    vm->changing_first = 0;
    vm->changing_last = 0;
    vm->changes = 0;
    vm->engines = NULL;
    vm->physical_bits = config->physical_bits;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vm_destroy(struct nvirt_vm *vm)
{
    if (vm == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vm->magic != NVI_VM_MAGIC || __atomic_load_n(&vm->vcpu_count, __ATOMIC_ACQUIRE) != 0) {
        return NVIRT_ERR_STATE;
    }
    vm->magic = 0;
    return NVIRT_OK;
}

enum nvirt_status nvi_vm_add_vcpu(struct nvirt_vm *vm)
{
    uint32_t count = __atomic_load_n(&vm->vcpu_count, __ATOMIC_RELAXED);

    if (vm->magic != NVI_VM_MAGIC) {
        return NVIRT_ERR_STATE;
    }
    do {
        if (count >= NVIRT_VM_MAX_VCPUS) {
            return NVIRT_ERR_RANGE;
        }
    } while (!__atomic_compare_exchange_n(&vm->vcpu_count, &count, count + 1, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return NVIRT_OK;
}

void nvi_vm_remove_vcpu(struct nvirt_vm *vm)
{
    (void)__atomic_sub_fetch(&vm->vcpu_count, 1, __ATOMIC_ACQ_REL);
}

const char *nvirt_status_name(enum nvirt_status status)
{
    switch (status) {
    case NVIRT_OK:
        return "ok";
    case NVIRT_ERR_NULL:
        return "null pointer";
    case NVIRT_ERR_ALIGNMENT:
        return "bad alignment";
    case NVIRT_ERR_SIZE:
        return "too small";
    case NVIRT_ERR_RANGE:
        return "out of range";
    case NVIRT_ERR_STATE:
        return "wrong state";
    case NVIRT_ERR_CAPABILITY:
        return "capability missing";
    case NVIRT_ERR_NO_PAGE:
        return "no page";
    case NVIRT_ERR_NO_MAPPING:
        return "no mapping";
    case NVIRT_ERR_RETRY:
        return "retry";
    case NVIRT_ERR_HARDWARE:
        return "hardware refused";
    case NVIRT_ERR_UNSUPPORTED:
        return "unsupported";
    case NVIRT_ERR_DATA:
        return "bad data";
    case NVIRT_ERR_ASLEEP:
        return "L2 asleep";
    }
    return "unknown status";
}

const char *nvirt_stats_name(size_t index)
{
#define NVIRT_COUNTER(name, text) #name,
    static const char *const names[] = { NVIRT_COUNTERS(NVIRT_COUNTER) };
#undef NVIRT_COUNTER

    return index < NVIRT_STATS_COUNT ? names[index] : NULL;
}
