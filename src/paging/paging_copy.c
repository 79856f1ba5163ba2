/* SPDX-License-Identifier: MIT */
/*
 * Copies to and from L1's linear memory: at most two pages, both translated before the first byte
 * moves, so that an operand that faults on its second page leaves no trace.
 */
#include "paging/paging.h"

/* Most pages that one copy of up to 4096 bytes can lie on. */
#define COPY_MAX_PAGES 2u

struct piece {
    nvirt_l1gpa address;
    size_t bytes;
};

struct copy {
    uint32_t count;
    struct piece piece[COPY_MAX_PAGES];
};

static uint64_t wrap(const struct nvi_paging *mode, uint64_t gva)
{
    return mode->format >= NVI_PAGING_4LEVEL ? gva : gva & UINT64_C(0xffffffff);
}

static enum nvi_paging_result plan(struct nvirt_vm *vm, const struct nvi_paging *mode, uint64_t gva,
                                   uint32_t access, size_t bytes, struct copy *copy,
                                   struct nvi_paging_fault *fault)
{
    copy->count = 0;
    while (bytes != 0 && copy->count < COPY_MAX_PAGES) {
        size_t room = (size_t)(NVIRT_PAGE_SIZE - (gva & (NVIRT_PAGE_SIZE - 1)));
        struct piece *piece = &copy->piece[copy->count];
        struct nvi_paging_out out;
        enum nvi_paging_result result;

        gva = wrap(mode, gva);
        result = nvi_paging_walk(vm, mode, gva, access, &out);
        if (result != NVI_PAGING_OK) {
            fault->address = gva;
            fault->error_code = result == NVI_PAGING_FAULT ? out.error_code : 0;
            return result;
        }
        piece->address = nvirt_l1gpa_make(out.address);
        piece->bytes = bytes < room ? bytes : room;
        bytes -= piece->bytes;
        gva += piece->bytes;
        copy->count++;
    }
    return NVI_PAGING_OK;
}

enum nvi_paging_result nvi_paging_read(struct nvirt_vm *vm, const struct nvi_paging *mode,
                                       uint64_t gva, uint32_t access, void *to, size_t bytes,
                                       struct nvi_paging_fault *fault)
{
    struct copy copy;
    uint8_t *at = to;
    uint32_t i;
    enum nvi_paging_result result = plan(vm, mode, gva, access, bytes, &copy, fault);

    if (result != NVI_PAGING_OK)
        return result;
    for (i = 0; i < copy.count; i++) {
        if (nvirt_port_l1_read(vm->port, copy.piece[i].address, at, copy.piece[i].bytes) !=
            NVIRT_OK)
            return NVI_PAGING_NO_MEMORY;
        at += copy.piece[i].bytes;
    }
    return NVI_PAGING_OK;
}

enum nvi_paging_result nvi_paging_write(struct nvirt_vm *vm, const struct nvi_paging *mode,
                                        uint64_t gva, uint32_t access, const void *from,
                                        size_t bytes, struct nvi_paging_fault *fault)
{
    struct copy copy;
    const uint8_t *at = from;
    uint32_t i;
    enum nvi_paging_result result =
        plan(vm, mode, gva, access | NVI_PAGING_WRITE, bytes, &copy, fault);

    if (result != NVI_PAGING_OK)
        return result;
    for (i = 0; i < copy.count; i++) {
        if (nvirt_port_l1_write(vm->port, copy.piece[i].address, at, copy.piece[i].bytes) !=
            NVIRT_OK)
            return NVI_PAGING_NO_MEMORY;
        at += copy.piece[i].bytes;
    }
    return NVI_PAGING_OK;
}
