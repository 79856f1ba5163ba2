/* SPDX-License-Identifier: MIT */
/* A VMX vCPU whose L1 is offered enlightened VMCSs, and what such an L1 does in its memory. */
#ifndef EVMCS_WORLD_H
#define EVMCS_WORLD_H

#include "../nested/vmx_world.h"
#include "nested/vmx_evmcs.h"

#define ASSIST UINT64_C(0x60000)
#define EVMCS UINT64_C(0x61000)
#define EVMCS_B UINT64_C(0x62000)
#define EVMCS_CLEAN 0x338u
#define EVMCS_CONTROL 0x344u

struct queue {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp;
    struct nvirt_hv_slot slot[4];
    struct nvirt_hv_slot slot2[4];
};

static struct queue q;

struct evmcs_row {
    enum nvirt_vmcs_field field;
    uint32_t offset;
    uint32_t clean;
};

/* Bits of the clean fields, by their names in the TLFS. */
enum {
    EVMCS_NONE = 0,
    EVMCS_IO_BITMAP = 1 << 0,
    EVMCS_MSR_BITMAP = 1 << 1,
    EVMCS_CONTROL_GRP2 = 1 << 2,
    EVMCS_CONTROL_GRP1 = 1 << 3,
    EVMCS_CONTROL_PROC = 1 << 4,
    EVMCS_CONTROL_EVENT = 1 << 5,
    EVMCS_CONTROL_ENTRY = 1 << 6,
    EVMCS_CONTROL_EXCPN = 1 << 7,
    EVMCS_CRDR = 1 << 8,
    EVMCS_CONTROL_XLAT = 1 << 9,
    EVMCS_GUEST_BASIC = 1 << 10,
    EVMCS_GUEST_GRP1 = 1 << 11,
    EVMCS_GUEST_GRP2 = 1 << 12,
    EVMCS_HOST_POINTER = 1 << 13,
    EVMCS_HOST_GRP1 = 1 << 14
};

static const struct evmcs_row evmcs_rows[] = {
#define NVI_EVMCS_FIELD(NAME, offset, clean) { NVIRT_VMCS_##NAME, offset, EVMCS_##clean },
#include "nested/vmx_evmcs.def"
};

static const size_t evmcs_row_count = sizeof evmcs_rows / sizeof evmcs_rows[0];

static inline const struct evmcs_row *evmcs_row(enum nvirt_vmcs_field field)
{
    for (size_t i = 0; i < evmcs_row_count; i++) {
        if (evmcs_rows[i].field == field)
            return &evmcs_rows[i];
    }
    return NULL;
}

static inline size_t evmcs_bytes(enum nvirt_vmcs_field field)
{
    switch (nvirt_vmcs_field_width(field)) {
    case NVIRT_VMCS_WIDTH_16:
        return 2;
    case NVIRT_VMCS_WIDTH_32:
        return 4;
    default:
        return 8;
    }
}

/* ---- L1's stores and loads ---- */

static inline void evmcs_put(struct world *w, uint64_t page, enum nvirt_vmcs_field field,
                             uint64_t value)
{
    const struct evmcs_row *row = evmcs_row(field);

    assert_int_equal(nvirt_port_l1_write(w->port, nvirt_l1gpa_make(page + row->offset), &value,
                                         evmcs_bytes(field)),
                     NVIRT_OK);
}

static inline uint64_t evmcs_get(struct world *w, uint64_t page, enum nvirt_vmcs_field field)
{
    const struct evmcs_row *row = evmcs_row(field);
    uint64_t value = 0;

    assert_int_equal(nvirt_port_l1_read(w->port, nvirt_l1gpa_make(page + row->offset), &value,
                                        evmcs_bytes(field)),
                     NVIRT_OK);
    return value;
}

/* With what fill_vmcs12() makes of an ordinary one. */
static inline void evmcs_fill(struct world *w, uint64_t page)
{
    struct nvirt_vmcs keep = w->v->vmcs12;
    struct nvi_pair *now = w->v->now;
    struct nvi_field_set lazy = now->lazy;
    uint32_t changed = now->changed;
    struct nvirt_vmcs filled;

    fill_vmcs12(w);
    filled = w->v->vmcs12;
    w->v->vmcs12 = keep;
    now->lazy = lazy;
    now->changed = changed;
    fake_vm_put64(w->port, page, 1);
    for (size_t i = 0; i < evmcs_row_count; i++)
        evmcs_put(w, page, evmcs_rows[i].field, filled.field[evmcs_rows[i].field]);
    fake_vm_put32(w->port, page + EVMCS_CLEAN, 0);
    fake_vm_put32(w->port, page + EVMCS_CONTROL, 0);
}

/* L1 names it in its VP assist page. */
static inline void evmcs_enlighten_only(struct world *w, uint64_t page)
{
    fake_vm_put64(w->port, ASSIST + 40, 1);
    fake_vm_put64(w->port, ASSIST + 48, page);
}

static inline void evmcs_enlighten(struct world *w, uint64_t page)
{
    if ((page & 0xfff) == 0 && page != 0 && page != VMXON_REGION && page < L1_RAM)
        evmcs_fill(w, page);
    evmcs_enlighten_only(w, page);
}

static inline void evmcs_launch(struct world *w)
{
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
}

static inline void evmcs_resume(struct world *w)
{
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
}

/* L2 exits with a reason that is always L1's. Nothing of vmcs12 may be elsewhere then. */
static inline void evmcs_l2_cpuid(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    for (uint32_t i = 0; i < NVI_FIELD_WORDS; i++)
        assert_int_equal(w->v->now->lazy.word[i], 0);
}

static inline int evmcs_setup(void **state)
{
    struct world *w;

    assert_int_equal(setup(state), 0);
    w = *state;
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_hv_partition_init(&q.partition, w->port, &q.vp, 1, NVIRT_HV_OFFER_VMX,
                                             false),
                     NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init(&q.partition, 0, q.slot, 4), NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init_l2(&q.partition, 0, q.slot2, 4), NVIRT_OK);
    q.vp.assist_page = ASSIST | 1;
    w->config.hyperv = &q.vp;
    world_vcpu(w);
    return 0;
}

#define TEST_EVMCS(name) cmocka_unit_test_setup_teardown(name, evmcs_setup, teardown)

#endif
