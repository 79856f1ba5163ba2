/* SPDX-License-Identifier: MIT */
/* A partition of 130 processors over a fake port, three of them with queues: the first of three
 * banks. */
#ifndef TESTS_UNIT_HV_WORLD_H
#define TESTS_UNIT_HV_WORLD_H

#include <fake_port.h>
#include <nvirt/hyperv.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VPS 130u
#define RAM UINT64_C(0x100000)
#define INPUT UINT64_C(0x10000)

#define MSR_GUEST_OS_ID 0x40000000u
#define MSR_HYPERCALL 0x40000001u
#define MSR_VP_INDEX 0x40000002u
#define MSR_ASSIST_PAGE 0x40000073u
#define MSR_TSC_INVARIANT 0x40000118u

struct hv_world {
    struct nvirt_port_vm *port;
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp[VPS];
    struct nvirt_hv_slot slot[VPS][4];
    struct nvirt_hv_slot slot2[VPS][4];
    struct nvirt_hv_caller caller;
    uint8_t xmm[NVIRT_HV_XMM_BYTES];
    struct nvirt_gprs gprs;
};

static inline int hv_setup(void **state)
{
    struct hv_world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->port = fake_vm_new();
    fake_vm_ram(w->port, 0, RAM);
    assert_int_equal(nvirt_hv_partition_init(&w->partition, w->port, w->vp, VPS,
                                             NVIRT_HV_OFFER_VMX,
                                             false),
                     NVIRT_OK);
    for (uint32_t i = 0; i < VPS; i++) {
        assert_int_equal(nvirt_hv_vp_init(&w->partition, i, w->slot[i], 4), NVIRT_OK);
        assert_int_equal(nvirt_hv_vp_init_l2(&w->partition, i, w->slot2[i], 4), NVIRT_OK);
    }
    w->caller = (struct nvirt_hv_caller){
        .vp = 0, .cpl = 0, .protected_mode = true, .is_64bit = true, .xmm = w->xmm};
    *state = w;
    return 0;
}

static inline int hv_teardown(void **state)
{
    struct hv_world *w = *state;

    fake_vm_delete(w->port);
    free(w);
    return 0;
}

static inline enum nvirt_status wrmsr(struct hv_world *w, uint32_t msr, uint64_t value)
{
    return nvirt_hv_wrmsr(&w->partition, 0, msr, value);
}

static inline uint64_t rdmsr(struct hv_world *w, uint32_t vp, uint32_t msr)
{
    uint64_t value = 0;

    assert_int_equal(nvirt_hv_rdmsr(&w->partition, vp, msr, &value), NVIRT_OK);
    return value;
}

/* L1 says who it is and has its hypercall page. */
static inline void establish(struct hv_world *w)
{
    assert_int_equal(wrmsr(w, MSR_GUEST_OS_ID, UINT64_C(0x8100000000000001)), NVIRT_OK);
    assert_int_equal(wrmsr(w, MSR_HYPERCALL, 0x5000 | 1), NVIRT_OK);
}

#endif
