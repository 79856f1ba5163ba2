/* SPDX-License-Identifier: MIT */
/* What the host does: events, controls, moves, saved state, and failures of the CPU. */
#include "fuzz_vmx.h"

void inject(struct fuzz *f)
{
    static const uint8_t vectors[] = { 0, 1, 3, 4, 6, 8, 10, 11, 12, 13, 14, 17, 18 };
    struct nvirt_event event = { .type = NVIRT_EVENT_INTERRUPT, .vector = 0x20 };
    uint64_t activity = 0;
    uint8_t which;

    (void)!nvirt_vmx_read(f->w.v, f->cpu, nvirt_vmx_level(f->w.v), NVIRT_VMCS_GUEST_ACTIVITY,
                          &activity);
    which = u8(&f->in);
    switch (which >= 240 ? 3 + which % 2 : which % 3) {
    case 3:
        event.type = NVIRT_EVENT_INIT;
        event.vector = 0;
        break;
    case 4:
        event.type = NVIRT_EVENT_SIPI;
        break;
    case 0:
        event.vector = u8(&f->in);
        if (event.vector % 4u == 3) {
            event.vector = NOTIFICATION;
        }
        break;
    case 1:
        event.type = NVIRT_EVENT_NMI;
        event.vector = 2;
        break;
    default:
        event.type = NVIRT_EVENT_EXCEPTION;
        event.vector = vectors[choose(&f->in, sizeof vectors)];
        event.has_error_code = event.vector == 8 || event.vector == 17 ||
                               (event.vector >= 10 && event.vector <= 14);
        break;
    }
    /* Exceptions are for guests that execute instructions. */
    if (event.type != NVIRT_EVENT_EXCEPTION ||
        (activity == NVIRT_VMX_ACTIVITY_ACTIVE && f->exits != 0)) {
        (void)!nvirt_vmx_inject(f->w.v, f->cpu, &event);
    }
}

/* L0 changes its own controls, also while L2 is active. */
void host_control(struct fuzz *f)
{
    static const uint64_t bits[] = {
        NVIRT_VMX_PROC_HLT, NVIRT_VMX_PROC_RDTSC, NVIRT_VMX_PROC_PAUSE, NVIRT_VMX_PROC_MOV_DR,
        NVIRT_VMX_PROC_CR3_LOAD, NVIRT_VMX_PROC_TSC_OFFSET, NVIRT_VMX_PROC_INTERRUPT_WINDOW,
    };
    struct nvirt_vmcs *h = &f->host;

    switch (u8(&f->in) % 7) {
    case 0:
        host_set(f, NVIRT_VMCS_PROC_CONTROLS,
                 h->proc_controls ^ bits[choose(&f->in, sizeof bits / sizeof bits[0])]);
        break;
    case 1:
        host_set(f, NVIRT_VMCS_EXCEPTION_BITMAP, h->exception_bitmap ^ 1u << u8(&f->in) % 32);
        break;
    case 2:
        host_set(f, NVIRT_VMCS_HOST_RSP, take(&f->in, 4));
        break;
    case 3:
        host_set(f, NVIRT_VMCS_PROC2_CONTROLS,
                 h->proc2_controls ^ NVIRT_VMX_PROC2_WBINVD ^ NVIRT_VMX_PROC2_PAUSE_LOOP);
        break;
    case 5:
        host_set(f, NVIRT_VMCS_PROC2_CONTROLS, h->proc2_controls ^ LEAF_CONTROLS);
        host_set(f, NVIRT_VMCS_ENCLS_EXIT_BITMAP, take(&f->in, 2));
        host_set(f, NVIRT_VMCS_ENCLV_EXIT_BITMAP, take(&f->in, 2));
        host_set(f, NVIRT_VMCS_PCONFIG_EXIT_BITMAP, take(&f->in, 2));
        break;
    case 4:
        host_set(f, NVIRT_VMCS_PF_ERROR_MATCH, u8(&f->in));
        break;
    default:
        f->w.msr_bitmap[take(&f->in, 2) % 4096] |= u8(&f->in);
        REQUIRE(nvirt_vmx_msr_bitmap_changed(f->w.v) == NVIRT_OK, "MSR bitmap", 0);
        break;
    }
}

/* The vCPU moves: its VMCSs, in memory now, are found by the other CPU. */
static void move_cpu(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_port_cpu *other = f->cpu == &w->cpu ? &f->second : &w->cpu;
    enum nvirt_status status = nvirt_vmx_leave_cpu(w->v, f->cpu);

    if (status != NVIRT_OK) {
        REQUIRE(f->failing, "leave_cpu", status);
        f->over = true;
        return;
    }
    for (uint32_t i = 0; i < FAKE_CPU_REGIONS; i++) {
        REQUIRE(!f->cpu->region[i].active, "a VMCS stays active", f->cpu->region[i].hpa);
    }
    note_flushes(f);
    f->cpu->current = NULL;
    *other = *f->cpu;
    f->cpu = f->w.at = other;
}

/* Guest state of vmcs01, which the host moves beside what nvirt saves. */
static bool host_saves(const struct world *w, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
    case NVIRT_VMCS_ENTRY_CONTROLS:
    case NVIRT_VMCS_ENTRY_INTERRUPTION:
    case NVIRT_VMCS_ENTRY_ERROR_CODE:
    case NVIRT_VMCS_ENTRY_INSN_LENGTH:
        return true;
    default:
        return nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_GUEST &&
               nvi_field_has(&w->v->exists, (uint32_t)field);
    }
}

static void reset_and_put_back(struct fuzz *f, const struct nvirt_vmcs *vmcs01)
{
    struct world *w = &f->w;

    REQUIRE(nvirt_vmx_reset(w->v, f->cpu) == NVIRT_OK, "reset", 0);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (host_saves(w, (enum nvirt_vmcs_field)i)) {
            REQUIRE(nvirt_vmx_write(w->v, f->cpu, 1, (enum nvirt_vmcs_field)i,
                                    vmcs01->field[i]) == NVIRT_OK,
                    "host's write", i);
        }
    }
}

static void spoil(struct fuzz *f, uint8_t *state, size_t bytes)
{
    for (uint32_t n = 1 + choose(&f->in, 3); n > 0; n--) {
        uint8_t *value = state + 16 + choose(&f->in, (uint32_t)(bytes / 16 - 1)) * 16 + 8;
        uint64_t old, next;

        memcpy(&old, value, sizeof old);
        next = new_value(&f->in, old, addresses, ADDRESSES);
        memcpy(value, &next, sizeof next);
    }
}

/* Saved, reset, restored. Bytes that were spoiled in between are refused, or run like any state. */
static void snapshot(struct fuzz *f)
{
    static uint8_t state[NVIRT_STATE_MAX_BYTES], other[NVIRT_STATE_MAX_BYTES];
    struct world *w = &f->w;
    struct nvirt_vmcs vmcs01 = { { { 0 } } };
    enum nvirt_status status;
    size_t bytes, again;

    if (f->failing) {
        return;
    }
    status = nvirt_vmx_save(w->v, f->cpu, state, sizeof state, &bytes);
    REQUIRE(status == NVIRT_OK || (status == NVIRT_ERR_STATE && w->v->prepared), "save", status);
    if (status != NVIRT_OK) {
        return;
    }
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (host_saves(w, (enum nvirt_vmcs_field)i)) {
            REQUIRE(nvirt_vmx_read(w->v, f->cpu, 1, (enum nvirt_vmcs_field)i, &vmcs01.field[i]) ==
                        NVIRT_OK,
                    "host's read", i);
        }
    }
    reset_and_put_back(f, &vmcs01);
    if (flip(&f->in)) {
        memcpy(other, state, bytes);
        spoil(f, other, bytes);
        status = nvirt_vmx_restore(w->v, f->cpu, other, bytes);
        SAY("restore of spoiled state: %d\n", (int)status);
        if (status == NVIRT_OK) {
            return;
        }
        REQUIRE(status == NVIRT_ERR_DATA || status == NVIRT_ERR_NO_PAGE, "spoiled", status);
    }
    status = nvirt_vmx_restore(w->v, f->cpu, state, bytes);
    SAY("restore: %d\n", (int)status);
    REQUIRE(status == NVIRT_OK || (status == NVIRT_ERR_NO_PAGE &&
                                   (f->starved || w->vm.page_budget < 64)),
            "restore", status);
    if (status == NVIRT_OK) {
        REQUIRE(nvirt_vmx_save(w->v, f->cpu, other, sizeof other, &again) == NVIRT_OK, "save", 2);
        REQUIRE(again == bytes && memcmp(state, other, bytes) == 0, "saved again", again);
    }
}

/* The host has nvirt keep the page of L1's APIC, gives it up again, or changes memory of L1. */
static void keep_apic_page(struct fuzz *f)
{
    struct world *w = &f->w;
    uint64_t page = addresses[choose(&f->in, ADDRESSES)] & ~UINT64_C(0xfff);
    enum nvirt_status status;

    if (f->changing) {
        REQUIRE(nvirt_vm_change_end(&w->vm) == NVIRT_OK, "end of a change", 0);
        f->changing = false;
    } else if (flip(&f->in)) {
        REQUIRE(nvirt_vm_change_begin(&w->vm, nvirt_l1gpa_make(page), 4096) == NVIRT_OK,
                "begin of a change", page);
        f->changing = true;
    } else {
        status = nvirt_vmx_keep_apic_page(w->v, nvirt_l1gpa_make(page), flip(&f->in));
        REQUIRE(status == NVIRT_OK || (status == NVIRT_ERR_STATE && w->v->prepared), "keep",
                status);
    }
}

void host_call(struct fuzz *f)
{
    struct world *w = &f->w;
    uint8_t bytes[64];

    switch (u8(&f->in) % 9) {
    case 0:
        REQUIRE(nvirt_vmx_reset(w->v, f->cpu) == NVIRT_OK || f->failing, "reset", 0);
        REQUIRE(nvirt_vmx_level(w->v) == 1, "level after reset", 2);
        break;
    case 1:
        move_cpu(f);
        break;
    case 2:
        if (nvirt_vmx_forget_current(w->v) == NVIRT_OK) {
            f->cpu->current = NULL;
        }
        break;
    case 3:
        (void)!nvirt_vmx_vmcall_refuse(w->v, f->cpu);
        break;
    case 4:
        (void)!nvirt_vmx_l1_read_linear(w->v, f->cpu,
                                        nvirt_gva_make(new_value(&f->in, 0, addresses, ADDRESSES)),
                                        bytes, 1 + u8(&f->in) % sizeof bytes);
        break;
    case 5:
    case 6:
        snapshot(f);
        break;
    case 7:
        keep_apic_page(f);
        break;
    default:
        host_moves(w->port, &f->in);
        (void)nvirt_vmx_notified(w->v);
        break;
    }
}

/* An instruction of the CPU fails although it must not. */
void cpu_failure(struct fuzz *f)
{
    unsigned n = 1u + u8(&f->in) % 32u;

    f->failing = true;
    switch (u8(&f->in) % 4) {
    case 0:
        f->cpu->fail_vmptrld = n;
        break;
    case 1:
        f->cpu->fail_vmclear = n;
        break;
    case 2:
        f->cpu->fail_vmread = n;
        break;
    default:
        f->cpu->fail_vmwrite = n;
        break;
    }
}

void guest_state(struct fuzz *f)
{
    struct input *in = &f->in;

    switch (u8(in) % 4) {
    case 0:
        f->mode = 1 + u8(in) % 8u;
        break;
    case 1:
        f->rflags = take(in, 3) & RFLAGS_FREE;
        break;
    case 2:
        f->blocking = u8(in);
        f->activity = u8(in) % 2u;
        break;
    default:
        f->w.gprs.r[u8(in) % NVIRT_GPR_COUNT] = new_value(in, 0, addresses, ADDRESSES);
        break;
    }
}
