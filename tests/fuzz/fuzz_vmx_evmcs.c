/* SPDX-License-Identifier: MIT */
/*
 * An L1 that is offered enlightened VMCSs (the target "evmcs"; in the target "vmx" it is not):
 * its VP assist page, the pages it fills, and what must hold of them. What an entry took over is
 * what the pages say, but for what L1 called clean; what an exit writes is what it saved, and
 * nothing else.
 */
#include "fuzz_vmx.h"

#include "nested/vmx_evmcs.h"

#define ASSIST UINT64_C(0x60000)
#define EVMCS UINT64_C(0x61000)
#define PAGES 6u /* More than have a place at a time. */
#define AT_CLEAN 0x338u
#define AT_CONTROL 0x344u
#define AT_VP_ID 0x348u
#define AT_VM_ID 0x350u
#define AT_PARTITION_ASSIST 0x358u
#define LOCKS UINT64_C(0x67000) /* A partition assist page. */

/* The rows, read a second time. */
enum { NONE, IO_BITMAP, MSR_BITMAP, CONTROL_GRP2, CONTROL_GRP1, CONTROL_PROC, CONTROL_EVENT,
       CONTROL_ENTRY, CONTROL_EXCPN, CRDR, CONTROL_XLAT, GUEST_BASIC, GUEST_GRP1, GUEST_GRP2,
       HOST_POINTER, HOST_GRP1 };

static const struct {
    enum nvirt_vmcs_field field;
    uint32_t offset;
    uint32_t clean; /* Bit and one; 0 for none. */
} rows[] = {
#define NVI_EVMCS_FIELD(NAME, offset, clean) { NVIRT_VMCS_##NAME, offset, clean },
#include "nested/vmx_evmcs.def"
};

#define ROWS (sizeof rows / sizeof rows[0])

static struct {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp;
    struct nvirt_hv_slot slot[4], slot_l2[4];
    uint8_t page[NVIRT_PAGE_SIZE]; /* Of the current one, before the exit. */
    bool was_level_2;
} hv;

static size_t bytes_of(enum nvirt_vmcs_field field)
{
    enum nvirt_vmcs_width width = nvirt_vmcs_field_width(field);

    return width == NVIRT_VMCS_WIDTH_16 ? 2 : width == NVIRT_VMCS_WIDTH_32 ? 4 : 8;
}

static uint64_t load(struct fuzz *f, uint64_t page, size_t row)
{
    uint64_t value = 0;

    fake_vm_get(f->w.port, page + rows[row].offset, &value, bytes_of(rows[row].field));
    return value;
}

static void put(struct fuzz *f, uint64_t page, size_t row, uint64_t value)
{
    fake_vm_put(f->w.port, page + rows[row].offset, &value, bytes_of(rows[row].field));
}

struct nvirt_hv_vp *evmcs_offer(struct fuzz *f)
{
    uint32_t offer = NVIRT_HV_OFFER_VMX;

    if (flip(&f->in)) {
        offer &= ~NVIRT_HV_OFFER_MSR_BITMAP;
    }
    REQUIRE(nvirt_hv_partition_init(&hv.partition, f->w.port, &hv.vp, 1, offer, false) == NVIRT_OK,
            "a partition is made", offer);
    REQUIRE(nvirt_hv_vp_init(&hv.partition, 0, hv.slot, 4) == NVIRT_OK, "a queue", 0);
    REQUIRE(nvirt_hv_vp_init_l2(&hv.partition, 0, hv.slot_l2, 4) == NVIRT_OK, "another", 0);
    REQUIRE(nvirt_hv_wrmsr(&hv.partition, 0, 0x40000073, ASSIST | 1) == NVIRT_OK, "assist page", 0);
    return &hv.vp;
}

/* ---- direct virtual flush ---- */

/* What L1 says of it, rightly or not. */
static void say_who(struct fuzz *f, uint64_t page)
{
    struct input *in = &f->in;
    struct nvirt_port_vm *port = f->w.port;

    fake_vm_put64(port, ASSIST + 32, u8(in) % 8 != 0);
    fake_vm_put32(port, page + AT_CONTROL, u8(in) % 8 == 0 ? (uint32_t)take(in, 4) : 3);
    fake_vm_put32(port, page + AT_VP_ID, flip(in) ? u8(in) % 4 : (uint32_t)take(in, 4));
    fake_vm_put64(port, page + AT_VM_ID, u8(in) % 3);
    fake_vm_put64(port, page + AT_PARTITION_ASSIST,
                  flip(in) ? LOCKS : new_value(in, LOCKS, addresses, ADDRESSES));
    fake_vm_put32(port, LOCKS, u8(in) % 4 == 0);
}

/* A hypercall of whoever runs, most of them ones that flush. */
static void hypercall(struct fuzz *f)
{
    static const uint16_t codes[] = {2, 3, 0x13, 0x14, 0xaf};
    struct input *in = &f->in;
    uint64_t control = flip(in) ? codes[choose(in, 5)] : take(in, 8);
    uint64_t input = new_value(in, f->l2gpa, addresses, ADDRESSES);
    uint64_t words[6];

    for (uint32_t i = 0; i < 6; i++) {
        words[i] = u8(in) % 4 == 0 ? take(in, 8) : u8(in) % 4;
    }
    fake_vm_put(f->w.port, addresses[choose(in, ADDRESSES)] & ~UINT64_C(0xfff), words,
                sizeof words);
    f->w.gprs.r[NVIRT_RCX] = control | (uint64_t)(u8(in) % 3) << 32;
    f->w.gprs.r[NVIRT_RDX] = input;
    f->w.gprs.r[NVIRT_R8] = u8(in) % 8;
    guest_exit(f, NVIRT_VMX_EXIT_VMCALL, 0, 0, 0);
}

/* Another processor's L2 flushes this one's. */
static void flush_from_elsewhere(struct fuzz *f)
{
    uint64_t entry = new_value(&f->in, 0x5001, addresses, ADDRESSES);

    if (flip(&f->in)) {
        nvirt_hv_fifo_put_all(&hv.vp.direct.fifo, flip(&f->in));
    } else {
        (void)nvirt_hv_fifo_put(&hv.vp.direct.fifo, &entry, 1);
    }
}

/* ---- what L1 does ---- */

static uint64_t any_page(struct fuzz *f)
{
    return EVMCS + choose(&f->in, PAGES) * NVIRT_PAGE_SIZE;
}

static void enlighten(struct fuzz *f, uint64_t page)
{
    fake_vm_put64(f->w.port, ASSIST + 40, 1);
    fake_vm_put64(f->w.port, ASSIST + 48, page);
}

/* One with which an entry succeeds. */
static void fill_page(struct fuzz *f, uint64_t page, uint8_t what)
{
    struct nvirt_vmcs good;

    fill_image(f, what, &good);
    fake_vm_put64(f->w.port, page, 1);
    for (size_t i = 0; i < ROWS; i++) {
        put(f, page, i, good.field[rows[i].field]);
    }
    fake_vm_put32(f->w.port, page + AT_CLEAN, 0);
    fake_vm_put32(f->w.port, page + AT_CONTROL, what / 64u);
}

void evmcs_prologue(struct fuzz *f, uint8_t what)
{
    fill_page(f, EVMCS, what);
    enlighten(f, EVMCS);
}

void evmcs_step(struct fuzz *f)
{
    struct input *in = &f->in;
    struct nvirt_port_vm *port = f->w.port;
    uint64_t page = any_page(f);
    size_t row;

    switch (u8(in) % 12) {
    case 8: /* With EPT, as it must be, and an entry by which it is known. */
        fill_page(f, page, u8(in) | 1u);
        enlighten(f, page);
        say_who(f, page);
        insn(f, NVIRT_VMX_EXIT_VMLAUNCH, 0);
        hypercall(f);
        break;
    case 9:
    case 10: hypercall(f); break;
    case 11: flush_from_elsewhere(f); break;
    case 0:
        fill_page(f, page, u8(in));
        enlighten(f, page);
        break;
    case 1: enlighten(f, flip(in) ? page : new_value(in, page, addresses, ADDRESSES)); break;
    case 2:
    case 3: /* One field, as L1 changes it: it says so, or not. */
        row = choose(in, ROWS);
        put(f, page, row, new_value(in, load(f, page, row), addresses, ADDRESSES));
        if (flip(in) && rows[row].clean != NONE) {
            fake_vm_put32(port, page + AT_CLEAN, fake_vm_get32(port, page + AT_CLEAN) &
                                                     ~(1u << (rows[row].clean - 1u)));
        }
        break;
    case 4: fake_vm_put32(port, page + AT_CLEAN, flip(in) ? 0xffff : (uint32_t)take(in, 4)); break;
    case 5: fake_vm_put32(port, page + AT_CONTROL, (uint32_t)take(in, 4)); break;
    case 6: fake_vm_put64(port, ASSIST + (take(in, 1) & 0xf8), new_value(in, 1, addresses,
                                                                         ADDRESSES));
        break;
    default:
        (void)!nvirt_hv_wrmsr(&hv.partition, 0, 0x40000073,
                              flip(in) ? ASSIST | 1 : new_value(in, ASSIST, addresses, ADDRESSES));
        break;
    }
    if (flip(in)) {
        insn(f, flip(in) ? NVIRT_VMX_EXIT_VMRESUME : NVIRT_VMX_EXIT_VMLAUNCH, 0);
    }
}

/* ---- what must hold ---- */

/* A failed entry only tells that it is one. */
static bool is_saved(enum nvirt_vmcs_field field, bool failed)
{
    enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(field);

    if (failed) {
        return kind == NVIRT_VMCS_KIND_EXIT;
    }
    return (kind == NVIRT_VMCS_KIND_GUEST && field != NVIRT_VMCS_VMCS_LINK) ||
           kind == NVIRT_VMCS_KIND_EXIT || field == NVIRT_VMCS_ENTRY_CONTROLS ||
           field == NVIRT_VMCS_ENTRY_INTERRUPTION;
}

void evmcs_before_exit(struct fuzz *f)
{
    hv.was_level_2 = f->w.v->level == 2 && f->w.v->vmx.enlightened != NVI_NO_VMCS;
    if (hv.was_level_2) {
        fake_vm_get(f->w.port, f->w.v->vmx.enlightened, hv.page, sizeof hv.page);
    }
}

/* L2 was left: the page has what was saved, and the rest of it as it was. */
static void check_written(struct fuzz *f)
{
    struct nvirt_vmx_vcpu *v = f->w.v;
    uint8_t after[NVIRT_PAGE_SIZE];
    bool failed = (v->vmcs12.exit_reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0;

    for (uint32_t i = 0; i < NVI_FIELD_WORDS; i++) {
        REQUIRE(v->now->lazy.word[i] == 0, "nothing that L1 reads is elsewhere", i);
    }
    fake_vm_get(f->w.port, v->vmx.enlightened, after, sizeof after);
    for (size_t i = 0; i < ROWS; i++) {
        size_t bytes = bytes_of(rows[i].field);

        if (is_saved(rows[i].field, failed)) {
            /* Without a pin there is no memory any more: the host has the page for L1's APIC. */
            REQUIRE(f->starved || !v->now->evmcs_pin.used ||
                        load(f, v->vmx.enlightened, i) == v->vmcs12.field[rows[i].field],
                    nvirt_vmcs_field_name(rows[i].field), v->vmcs12.field[rows[i].field]);
            memcpy(after + rows[i].offset, hv.page + rows[i].offset, bytes);
        }
    }
    memcpy(after + 4, hv.page + 4, 4); /* The abort indicator. */
    REQUIRE(memcmp(after, hv.page, sizeof after) == 0, "an exit writes what is L1's", 0);
}

/* An entry with it has begun. */
static void check_read(struct fuzz *f)
{
    struct nvirt_vmx_vcpu *v = f->w.v;
    uint32_t clean = fake_vm_get32(f->w.port, v->vmx.enlightened + AT_CLEAN);

    for (size_t i = 0; i < ROWS; i++) {
        bool is_clean = rows[i].clean != NONE && (clean >> (rows[i].clean - 1u) & 1u) != 0;

        REQUIRE(is_clean || nvirt_vmcs_field_kind(rows[i].field) == NVIRT_VMCS_KIND_EXIT ||
                    load(f, v->vmx.enlightened, i) == v->vmcs12.field[rows[i].field],
                nvirt_vmcs_field_name(rows[i].field), v->vmcs12.field[rows[i].field]);
    }
}

void evmcs_after_exit(struct fuzz *f)
{
    struct nvirt_vmx_vcpu *v = f->w.v;

    REQUIRE(v->vmx.enlightened == NVI_NO_VMCS || v->vmx.current == NVI_NO_VMCS,
            "two current VMCSs", v->vmx.enlightened);
    if (v->vmx.enlightened == NVI_NO_VMCS) {
        return;
    }
    REQUIRE((v->vmx.enlightened & 0xfff) == 0 && v->vmx.on && v->now->is_enlightened &&
                v->now->region == v->vmx.enlightened,
            "the current one has its place", v->vmx.enlightened);
    for (uint32_t i = 0; i < NVI_FIELD_WORDS; i++) {
        REQUIRE((v->vmread_set.word[i] | v->vmwrite_set.word[i]) == 0,
                "VMREAD and VMWRITE of an enlightened VMCS", i);
    }
    REQUIRE(v->evmcs_begun == 0, "an instruction is read for the next", v->evmcs_begun);
    if (hv.was_level_2 && v->level == 1 && f->w.status == NVIRT_OK) {
        check_written(f);
    } else if (!hv.was_level_2 && v->level == 2 && v->entry_pending) {
        check_read(f);
    }
}
