/* SPDX-License-Identifier: MIT */
/*
 * For tests that play the same scene by the short ways of vmx_fast.c and vmx_switch.c, by the general one,
 * and by the general one of an nvirt that has forgotten what it knew: all must come to the same.
 */
#ifndef VMX_WAYS_H
#define VMX_WAYS_H

#include "vmx_world.h"

#define RFLAGS 0x6820u
#define BLOCKING 0x4824u
#define CR0 0x6800u
#define CR4 0x6804u
#define EFER 0x2806u
#define SS_AR 0x4818u
#define PENDING_DEBUG 0x6822u
#define ACTIVITY 0x4826u
#define PAT 0x2804u
#define STATUS 0x0810u

/* Of scenes in which L2 has other tables to go to. */
#define EPT12_B UINT64_C(0x48000)
#define EPTP_LIST UINT64_C(0x38000)

/* What a VMCS holds for the next entry. */
static inline void view(struct world *w, uint64_t hpa, struct nvirt_vmcs *view)
{
    const struct fake_region *region = fake_cpu_region(&w->cpu, hpa);
    enum nvirt_vmcs_field field;
    bool high;

    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; i < region->fields; i++)
        if (nvirt_vmcs_lookup(region->field[i].encoding, &field, &high) &&
            nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT)
            view->field[field] = region->field[i].value;
}

enum way {
    ANEW, /* What the short ways and the general one have in common is not relied on either. */
    GENERAL,
    PLAIN,
    WAYS
};

/* An exit of the level that runs, by the short way only if that is @p way. */
static inline void leave_by(struct world *w, uint32_t reason, const struct fake_set *more,
                            size_t count, enum way way)
{
    struct fake_set set[8] = { { 0x4402, reason }, { 0x6400, 0 }, { 0x4408, 0 },
                               { 0x440c, INSN_LENGTH } };
    size_t n = 4;

    for (size_t i = 0; i < count; i++)
        if (more[i].encoding != 0)
            set[n++] = more[i];
    if (way == ANEW && nvirt_vmx_level(w->v) == 1) {
        w->v->steady = false; /* As every call of the host's begins. */
        nvi_vmx_forget_caches(w->v);
    }
    prepare(w);
    if (way != PLAIN) {
        w->v->steady = false;
        w->v->steady_l2 = false;
        nvi_vmx_forget_exit(w->v);
    }
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, n), NVIRT_HW_OK);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_OK);
}

static inline void leave(struct world *w, uint32_t reason, const struct fake_set *more, size_t count,
                         bool plain)
{
    leave_by(w, reason, more, count, plain ? PLAIN : GENERAL);
}

/* ---- what L1 does in scenes of several tests ---- */

static inline void l1_raises_an_interrupt(struct world *w)
{
    WRITE12(w, GUEST_INTERRUPT_STATUS, 0x7171);
}

/* Of each group of fields: vmcs02 is put together as a whole then, and as with an MSR-load list. */
static inline void l1_writes_all_else(struct world *w)
{
    WRITE12(w, GUEST_RIP, L2_RIP + 8);
    WRITE12(w, GUEST_CR3, 0x51000);
    WRITE12(w, GUEST_GS_BASE, 0x1000);
    WRITE12(w, GUEST_SYSENTER_CS, 0x10);
}

/* By itself: what nvirt knows of the last entry is of other tables. */
static inline void l2_changes_its_tables(struct world *w)
{
    fake_vm_put64(w->port, EPTP_LIST + 8, EPT12_B | 0x1e);
    w->gprs.r[NVIRT_RAX] = 0;
    w->gprs.r[NVIRT_RCX] = 1;
    leave(w, NVIRT_VMX_EXIT_VMFUNC, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(w->v->vmcs12.eptp == (EPT12_B | 0x1e));
}

#endif
