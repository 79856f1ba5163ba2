/* SPDX-License-Identifier: MIT */
/*
 * A whole nested-SVM vCPU on a fake CPU. The input is a byte program of what L1, L2, the CPU and
 * the host do: SVM instructions with any operand, a vmcb12, nested tables and permission maps of
 * any content that change at any time, exits with any code, host calls in any order, failing pages.
 * Before every VMRUN the rules of svm_invariants.h must hold, no call may cost more than a bound,
 * and at the end nothing is held.
 *
 * What the fake CPU leaves behind is what a CPU could leave: events that can be injected again,
 * registers that VMRUN would accept. Everything L1 writes is arbitrary.
 */
#include "lazy_tlb.h"
#include "svm_invariants.h"

#define L1_PML4 UINT64_C(0x10000)
#define CODE UINT64_C(0x1000)
#define VMCB12_A UINT64_C(0x30000)
#define VMCB12_B UINT64_C(0x31000)
#define IOPM12 UINT64_C(0x34000)
#define MSRPM12 UINT64_C(0x38000)
#define NPT12 UINT64_C(0x40000)
#define MAPS02_HPA UINT64_C(0x7e000000)
#define NPT01 UINT64_C(0x50000000)
#define ASID01 1u
#define HOST_PAT UINT64_C(0x0007040600070406)
#define LONG_EFER                                                                                  \
    (NVIRT_SVM_EFER_SCE | NVIRT_SVM_EFER_LME | NVIRT_SVM_EFER_LMA | NVIRT_SVM_EFER_NXE |           \
     NVIRT_SVM_EFER_SVME)

static const uint64_t addresses[] = {
    VMCB12_A, VMCB12_B, IOPM12, IOPM12 + 0x1000, IOPM12 + 0x2000, MSRPM12, MSRPM12 + 0x1000, NPT12,
    NPT12 + 0x1000, NPT12 + 0x2000, NPT12 + 0x3000, NPT12 + 0x4000, L1_PML4, L1_PML4 + 0x1000,
    L1_PML4 + 0x2000, CODE, RAM_BYTES - 4096, READ_ONLY, DEVICE, LARGE_BLOCK,
    LARGE_BLOCK + 0x200000, 0x3ff000, 0x2000000, (UINT64_C(1) << ADDRESS_BITS) - 4096,
};
#define ADDRESSES ((uint32_t)(sizeof addresses / sizeof addresses[0]))

static const uint32_t msrs[] = {
    NVIRT_SVM_MSR_EFER, NVIRT_SVM_MSR_VM_CR, NVIRT_SVM_MSR_HSAVE_PA, NVIRT_SVM_MSR_KEY,
    NVIRT_SVM_MSR_STAR, NVIRT_SVM_MSR_KERNEL_GS_BASE, NVIRT_SVM_MSR_IGNNE, NVIRT_SVM_MSR_PAT, 0x10,
    0x174, 0x1fff, 0x2000, 0xc0001fff, 0xc0002000, 0xc0011fff, 0xc0012000, 0xffffffff,
};

/* Offsets of all that a VMCB has. */
static const uint16_t field_offset[] = {
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text) offset,
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text) offset, offset + 8,
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text)                     \
    offset, offset + bytes / 2, offset + bytes - 4,
#define NVIRT_VMCB_RESERVED(name, offset, bytes) offset,
#include <nvirt/vmcb_fields.def>
};
#define FIELDS ((uint32_t)(sizeof field_offset / sizeof field_offset[0]))

struct fuzz {
    struct nvirt_port_vm *port;
    struct nvirt_port_cpu cpu[2];
    uint32_t on;                 /* CPU that the vCPU is on. */
    struct lazy_tlb tlb[2];      /* Of the two CPUs. */
    struct nvirt_vm vm;
    struct nvirt_svm_caps caps, offer;
    struct nvirt_svm_vcpu_config config;
    struct nvirt_svm_vcpu *v;
    void *memory;
    uint32_t asids[3];
    nvirt_hpa vmcb01;
    struct nvirt_vmcb host;      /* vmcb01's controls as the host wrote them. */
    struct nvirt_vmcb kept;      /* vmcb02 as the CPU may have kept it, */
    bool keeps;                  /* if it did, */
    uint32_t kept_on;            /* and which one. */
    struct nvirt_gprs gprs;
    struct nvirt_svm_run run;
    struct nvirt_svm_exit exit;
    struct input in;
    uint64_t l2gpa;
    uint8_t mode;                /* The guest changes to this mode before its next exit; 0: not. */
    uint64_t rflags;             /* Bits of RFLAGS that it flips. */
    bool starved;
    uint8_t offered;             /* OFFERED, and what of Hyper-V's interface. */
};

static struct fuzz fuzz;
static uint8_t maps02[NVIRT_SVM_MAP_PAGES * 4096];
static uint8_t msrpm01[NVIRT_SVM_MSRPM_BYTES];
static uint8_t iopm01[NVIRT_SVM_IOPM_BYTES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insn(struct fuzz *f, uint64_t code, uint64_t rax);
static uint64_t a_vmcb12(struct fuzz *f);
static void guest_exit(struct fuzz *f, uint64_t code, uint64_t info1, uint64_t info2);

#include "svm_hyperv.h"

/* ---- the world ---- */

static struct nvirt_vmcb_segment segment(uint16_t selector, uint16_t attrib, uint32_t limit)
{
    return (struct nvirt_vmcb_segment){ .selector = selector, .attrib = attrib, .limit = limit };
}

/* The state of a guest in 64-bit mode. */
static void fill_state(struct nvirt_vmcb *c)
{
    c->cs = segment(8, 0xa9b, 0xffffffff);
    c->ss = c->ds = c->es = segment(0x10, 0xc93, 0xffffffff);
    c->efer = LONG_EFER;
    c->cr0 = 0x80010031;
    c->cr3 = L1_PML4;
    c->cr4 = 0x20;
    c->dr6 = 0xffff0ff0;
    c->dr7 = 0x400;
    c->rflags = 2;
    c->rip = CODE;
    c->rsp = 0x8000;
    c->g_pat = HOST_PAT;
}

static void fill_vmcb01(struct fuzz *f, uint8_t choice)
{
    struct nvirt_vmcb *c = nvirt_svm_vmcb(f->v, 1);

    memset(c, 0, sizeof *c);
    fill_state(c);
    nvirt_svm_intercepts_require(c);
    c->asid = ASID01;
    c->np_control = NVIRT_SVM_NP_ENABLE;
    c->n_cr3 = NPT01;
    c->msrpm_base = 0x7c000000;
    c->iopm_base = 0x7c002000;
    c->tsc_offset = 0x1234;
    c->intercepts[3] |= 1u << (NVIRT_SVM_EXIT_CPUID % 32u);
    if ((choice & 1u) != 0) {
        c->intercepts[3] |= 1u << (NVIRT_SVM_EXIT_IOIO % 32u);
    }
    if (!f->config.interrupts_pass_through) {
        c->intercepts[3] |= 3u;
        c->int_ctl = NVIRT_SVM_V_INTR_MASKING;
    }
    f->host = *c;
}

static void l1_tables(struct nvirt_port_vm *vm)
{
    fake_vm_put64(vm, L1_PML4, (L1_PML4 + 0x1000) | 7);
    fake_vm_put64(vm, L1_PML4 + 0x1000, (L1_PML4 + 0x2000) | 7);
    for (uint64_t i = 0; i < 16; i++) {
        fake_vm_put64(vm, L1_PML4 + 0x2000 + i * 8, (i << 21) | 0x87);
    }
}

static void make_caps(struct fuzz *f, uint8_t choice)
{
    struct nvirt_svm_caps *c = &f->caps;

    c->asid_count = 16;
    c->features = ~0u;
    if ((choice & 2u) != 0) {
        c->features &= ~(NVIRT_SVM_FEATURE_NRIPS | NVIRT_SVM_FEATURE_DECODE_ASSISTS);
    }
    if ((choice & 4u) != 0) {
        c->features &= ~(NVIRT_SVM_FEATURE_FLUSH_BY_ASID | NVIRT_SVM_FEATURE_CLEAN);
    }
    if ((choice & 6u) == 6u) {
        c->features &= ~(NVIRT_SVM_FEATURE_VGIF | NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD);
    }
    c->revision = 1;
    c->physical_bits = ADDRESS_BITS;
    c->linear_bits = 48;
    c->pages_1g = c->long_mode = c->nx = c->pse36 = true;
    c->efer_valid = LONG_EFER;
    c->cr4_valid = 0x3507ff;
}

static void make_vcpu(struct fuzz *f, uint8_t choice)
{
    struct nvirt_svm_vcpu_config *c = &f->config;

    c->vm = &f->vm;
    c->cpu = &f->caps;
    c->offer = &f->offer;
    c->vmcb01 = f->vmcb01;
    c->maps02 = nvirt_hpa_make(MAPS02_HPA);
    c->maps02_memory = maps02;
    c->msrpm01 = (choice & 8u) != 0 ? NULL : msrpm01;
    c->iopm01 = (choice & 16u) != 0 ? NULL : iopm01;
    c->host_pat = HOST_PAT;
    c->asid01 = ASID01;
    for (uint32_t i = 0; i < 3; i++) {
        f->asids[i] = i + 2;
    }
    c->asids = f->asids;
    c->asid_count = (choice & 32u) != 0 ? 1 : 3;
    c->interrupts_pass_through = (choice & 64u) != 0;
    c->hyperv = enlighten(f);
    REQUIRE(nvirt_svm_vcpu_init(f->memory, NVIRT_SVM_VCPU_SIZE, c, &f->v) == NVIRT_OK, "init",
            choice);
    fill_vmcb01(f, choice);
}

static void make_world(struct fuzz *f)
{
    uint8_t choice = u8(&f->in);
    struct nvirt_vm_config config = { .physical_bits = ADDRESS_BITS };

    f->offered = u8(&f->in);
    f->port = fake_vm_new();
    make_memory(f->port);
    l1_tables(f->port);
    fake_cpu_init(&f->cpu[0]);
    fake_cpu_init(&f->cpu[1]);
    config.port = f->port;
    config.page_budget = (choice & 128u) != 0 ? NVIRT_VM_MIN_PAGES : 64;
    REQUIRE(nvirt_vm_init(&f->vm, &config) == NVIRT_OK, "VM", 0);
    make_caps(f, choice);
    REQUIRE(nvirt_svm_caps_offer(&f->caps, &f->offer) == NVIRT_OK, "offer", 0);
    memset(msrpm01, 0, sizeof msrpm01);
    memset(iopm01, 0, sizeof iopm01);
    memset(iopm01 + 0x1000, 0xff, 0x100);
    memset(maps02, 0x55, sizeof maps02);
    nvirt_svm_msrpm_require(msrpm01);
    REQUIRE(nvirt_port_page_alloc(f->port, &f->vmcb01) == NVIRT_OK, "page of vmcb01", 0);
    f->memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);
    make_vcpu(f, choice);
}

static void end_world(struct fuzz *f)
{
    REQUIRE(nvirt_svm_vcpu_destroy(f->v) == NVIRT_OK, "destroy", 0);
    REQUIRE(f->vm.pages_in_use == 0, "pages still counted", f->vm.pages_in_use);
    REQUIRE(nvirt_vm_destroy(&f->vm) == NVIRT_OK, "VM still has vCPUs", 0);
    nvirt_port_page_free(f->port, f->vmcb01);
    fake_vm_delete(f->port); /* Aborts when a page or a pin is left. */
    free(f->memory);
}

/* ---- one entry and exit ---- */

static uint64_t work(const struct fuzz *f)
{
    return f->port->calls[FAKE_CALL_ANY] + f->cpu[f->on].count.invlpga;
}

/* GIF: L2 begins with it set, L1 gets it back clear; a clear GIF keeps physical events from L1. */
static void check_gif(const struct fuzz *f, uint32_t level_before)
{
    uint32_t level = nvirt_svm_level(f->v);

    if (level_before != level) {
        REQUIRE(f->v->gif == (level == 2), "GIF after a transition", level);
    }
}

static void check_masking(const struct fuzz *f, const struct nvirt_vmcb *c)
{
    uint64_t type = (c->event_inj & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;

    if (f->v->gif) {
        return;
    }
    REQUIRE((c->event_inj & NVIRT_SVM_EVENT_VALID) == 0 ||
                (type != NVIRT_SVM_EVENT_INTR && type != NVIRT_SVM_EVENT_NMI) || f->run.level == 2,
            "an event although GIF is clear", c->event_inj);
    if ((c->int_ctl & NVIRT_SVM_V_GIF_ENABLE) != 0) {
        /* runs_of_l1() looked at the intercepts. */
        REQUIRE(f->run.level == 1 && (c->int_ctl & (NVIRT_SVM_V_GIF | NVIRT_SVM_V_IRQ)) == 0,
                "GIF is clear", c->int_ctl);
        return;
    }
    REQUIRE((c->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0, "masking while GIF is clear", c->int_ctl);
    REQUIRE(nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_NMI), "NMI while GIF is clear", 0);
    if (f->config.interrupts_pass_through) {
        REQUIRE(!f->run.host_if, "interrupts while GIF is clear", 0);
        REQUIRE((c->int_ctl & NVIRT_SVM_V_IRQ) == 0, "virtual interrupt while GIF is clear",
                c->int_ctl);
    }
}

/* What L2 can reach, and what the CPU remembers of that. An L1 that gives two sets of tables one
 * ASID gets what it asked for, so tables are not compared. */
static void check_second_stage(struct fuzz *f, const struct nvirt_vmcb *c)
{
    const uint64_t l2gpa[] = { f->l2gpa, 0, READ_ONLY, LARGE_BLOCK };
    struct lazy_tlb *tlb = &f->tlb[f->on];
    struct hw_page page;

    lazy_check(tlb, c->asid, 0, f->port);
    for (uint32_t i = 0; i < sizeof l2gpa / sizeof l2gpa[0]; i++) {
        enum hw_result found = hw_npt_walk(f->port, c->n_cr3, l2gpa[i], &page);

        REQUIRE(found != HW_RESERVED, "reserved bits in NPT02", l2gpa[i]);
        if (found == HW_PAGE) {
            lazy_add(tlb, c->asid, 0, &page);
        }
    }
    lazy_check(tlb, c->asid, 0, f->port);
}

static void check_vmcb02(struct fuzz *f, const struct nvirt_vmcb *c)
{
    bool known = false;

    check_unused(c);
    check_clean(c, f->keeps && f->kept_on == f->on ? &f->kept : NULL);
    check_intercepts(&f->host, &f->v->vmcb12, c, f->config.interrupts_pass_through);
    check_maps(&f->host, maps02, f->config.msrpm01, f->config.iopm01);
    check_acceptable(c, &f->caps);
    REQUIRE(c->msrpm_base == MAPS02_HPA && c->iopm_base == MAPS02_HPA + NVIRT_SVM_MSRPM_BYTES,
            "maps of L2", c->msrpm_base);
    REQUIRE((c->int_ctl & ~INT_CTL_ALLOWED) == 0, "int_ctl", c->int_ctl);
    REQUIRE((c->int_state & ~NVIRT_SVM_INTERRUPT_SHADOW) == 0, "int_state", c->int_state);
    check_options(c);
    REQUIRE(c->np_control == NVIRT_SVM_NP_ENABLE, "np_control", c->np_control);
    REQUIRE(is_table_page(f->port, c->n_cr3 & ADDRESS_FIELD), "nCR3", c->n_cr3);
    REQUIRE(c->n_cr3 != NPT01, "nCR3 is not NPT01", c->n_cr3);
    for (uint32_t i = 0; i < f->config.asid_count; i++) {
        known |= c->asid == f->asids[i];
    }
    REQUIRE(known, "ASID from the pool", c->asid);
    if (!f->config.interrupts_pass_through) {
        REQUIRE(nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_INTR) &&
                    nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_NMI) &&
                    (c->int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0,
                "the host's interrupts", c->int_ctl);
    }
    check_second_stage(f, c);
}

static void check_entry(struct fuzz *f)
{
    const struct nvirt_vmcb *c = nvirt_svm_vmcb(f->v, f->run.level);

    REQUIRE(f->run.state_vmcb.value == f->vmcb01.value, "state VMCB", f->run.state_vmcb.value);
    REQUIRE((f->run.vmcb.value == f->vmcb01.value) == (f->run.level == 1), "VMCB to run",
            f->run.vmcb.value);
    REQUIRE(c->tlb_control <= 1 ||
                (c->tlb_control == 3 &&
                 (f->caps.features & NVIRT_SVM_FEATURE_FLUSH_BY_ASID) != 0),
            "TLB_CONTROL", c->tlb_control);
    REQUIRE(f->vm.pages_in_use <= f->vm.page_budget, "page budget", f->vm.pages_in_use);
    check_vmcb01(&f->host, nvirt_svm_vmcb(f->v, 1), f->config.interrupts_pass_through,
                 f->v->own.step && f->v->own.vmcb == f->v->vmcb01, f->v->svme);
    check_masking(f, c);
    if (c->tlb_control == NVIRT_SVM_TLB_ALL) {
        lazy_flush_all(&f->tlb[f->on]);
    } else if (c->tlb_control == NVIRT_SVM_TLB_ASID) {
        lazy_flush(&f->tlb[f->on], c->asid);
    }
    if (f->run.level == 2) {
        check_vmcb02(f, c);
    }
}

/* @return false when nothing runs. */
static bool enter(struct fuzz *f)
{
    uint32_t level = nvirt_svm_level(f->v);
    uint64_t before = work(f);
    enum nvirt_status status = nvirt_svm_prepare(f->v, &f->cpu[f->on], &f->run);

    REQUIRE(work(f) - before <= MAX_WORK, "work of prepare", work(f) - before);
    check_gif(f, level);
    if (status != NVIRT_OK) {
        REQUIRE(status == NVIRT_ERR_NO_PAGE && (f->starved || f->vm.page_budget < 64), "prepare",
                status);
        return false;
    }
    check_entry(f);
    return true;
}

/* The guest went to another mode since the entry. */
static void change_mode(struct fuzz *f, struct nvirt_vmcb *c)
{
    static const struct {
        uint64_t cr0, cr4, efer;
        uint16_t cs, ss;
        uint8_t cpl;
        uint64_t vm;
    } modes[] = {
        { 0x80010031, 0x20, LONG_EFER, 0xa9b, 0xc93, 0, 0 },
        { 0x80010031, 0x20, LONG_EFER, 0xafb, 0xcf3, 3, 0 },
        { 0x80010031, 0x20, LONG_EFER, 0xc9b, 0xc93, 0, 0 },
        { 0x80010031, 0x20, NVIRT_SVM_EFER_SVME, 0xc9b, 0xc93, 0, 0 },
        { 0x80010031, 0x10, NVIRT_SVM_EFER_SVME, 0xc9b, 0xc93, 0, 0 },
        { 0x00000031, 0x00, NVIRT_SVM_EFER_SVME, 0x49b, 0x493, 0, 0 },
        { 0x80010031, 0x00, NVIRT_SVM_EFER_SVME, 0x0f3, 0x0f3, 3, 0x20000 },
        { 0x00000010, 0x00, NVIRT_SVM_EFER_SVME, 0x093, 0x093, 0, 0 },
    };
    uint32_t m = (f->mode - 1u) % 8u;

    c->cr0 = modes[m].cr0;
    c->cr4 = modes[m].cr4;
    c->efer = modes[m].efer;
    c->cs.attrib = modes[m].cs;
    c->ss.attrib = modes[m].ss;
    c->cpl = modes[m].cpl;
    c->rflags = (c->rflags & ~UINT64_C(0x20000)) | modes[m].vm;
    c->rip = CODE;
    f->mode = 0;
}

/* EXITINTINFO: an event whose delivery the exit interrupted. */
static uint64_t interrupted_event(struct fuzz *f, const struct nvirt_vmcb *c)
{
    static const uint8_t vector[] = { 0, 1, 3, 4, 6, 8, 10, 12, 13, 14, 17, 18 };
    uint8_t how = u8(&f->in);
    uint64_t v = vector[how / 16 % sizeof vector];
    bool error = v == 8 || (v >= 10 && v <= 14) || v == 17;

    switch (how % 16) {
    case 1:
        return f->v->gif ? 0x80000020u | (how >> 4) : 0;
    case 2:
        return f->v->gif ? 0x80000202u : 0;
    case 3:
        return 0x80000400u | how;
    case 4: /* As an emulator says it. */
        return f->v->gif ? 0x80000330u : 0;
    case 5:
    case 6:
        return 0x80000300u | v | (error && (c->cr0 & 1) != 0 ? 0x800u : 0u);
    default:
        return 0;
    }
}

/* The instruction that the exit is about, at CS:RIP; sometimes another one. */
static void put_instruction(struct fuzz *f, struct nvirt_vmcb *c, uint64_t code, uint8_t how)
{
    uint8_t bytes[4] = { 0x0f, 0x01, 0xd8, 0x90 };
    uint8_t prefixed[5] = { 0x67 };

    if (code >= NVIRT_SVM_EXIT_VMRUN && code <= NVIRT_SVM_EXIT_SKINIT) {
        bytes[2] = (uint8_t)(0xd8 + code - NVIRT_SVM_EXIT_VMRUN);
    } else if (code == NVIRT_SVM_EXIT_INVLPGA) {
        bytes[2] = 0xdf;
    } else if (code == NVIRT_SVM_EXIT_MSR) {
        bytes[1] = c->exit_info1 != 0 ? 0x30 : 0x32;
    } else {
        return;
    }
    c->next_rip = c->rip + 3;
    if ((how & 7u) == 0) {
        c->next_rip = c->rip + how;
    }
    memcpy(prefixed + 1, bytes, sizeof bytes);
    if (c->rip < RAM_BYTES - 8 && (how & 8u) == 0) {
        bool prefix = (how & 16u) != 0;

        fake_vm_put(f->port, c->rip, prefix ? prefixed : bytes, prefix ? 5 : 4);
    }
    c->insn_count = (how & 32u) != 0 ? 0 : 3;
    memcpy(c->insn_bytes, bytes, sizeof bytes);
}

/* #VMEXIT of whatever level runs. */
static void guest_exit(struct fuzz *f, uint64_t code, uint64_t info1, uint64_t info2)
{
    struct nvirt_vmcb *c;
    uint32_t level, traces;
    uint64_t before;
    enum nvirt_status status;

    if (!enter(f)) {
        return;
    }
    level = f->run.level;
    c = nvirt_svm_vmcb(f->v, level);
    if (code == NVIRT_SVM_EXIT_NPF && level == 2) {
        /* Tables of nvirt's making have no reserved bit set for hardware to complain of. */
        info1 &= ~NVIRT_SVM_NPF_RSV;
    }
    SAY("exit of level %u: code %llx info %llx %llx\n", level, (unsigned long long)code,
        (unsigned long long)info1, (unsigned long long)info2);
    c->exit_code = code;
    c->exit_info1 = info1;
    c->exit_info2 = info2;
    if (code != NVIRT_SVM_EXIT_INVALID) {
        if (f->mode != 0) {
            change_mode(f, c);
        }
        c->rflags ^= f->rflags;
        f->rflags = 0;
        c->exit_int_info = interrupted_event(f, c);
        put_instruction(f, c, code, u8(&f->in));
        if (level == 1 && (c->int_ctl & NVIRT_SVM_V_GIF_ENABLE) != 0 && c->exit_int_info == 0 &&
            (u8(&f->in) & 1u) != 0) {
            c->int_ctl ^= NVIRT_SVM_V_GIF; /* L1 executed STGI or CLGI. */
        }
        c->event_inj &= ~NVIRT_SVM_EVENT_VALID;
    }
    if (level == 2) {
        f->kept = *c;
        f->keeps = true;
        f->kept_on = f->on;
    }
    before = work(f);
    traces = f->port->traces;
    status = nvirt_svm_exit(f->v, &f->cpu[f->on], &f->gprs, &f->exit);
    say_trace(f->port, traces);
    SAY("  status %d verdict %d level %u\n", (int)status, (int)f->exit.verdict,
        nvirt_svm_level(f->v));
    REQUIRE(work(f) - before <= MAX_WORK, "work of exit", work(f) - before);
    REQUIRE(status == NVIRT_OK ||
                (status == NVIRT_ERR_NO_PAGE && (f->starved || f->vm.page_budget < 64)),
            "exit", status);
    check_gif(f, level);
    if (f->exit.verdict == NVIRT_VERDICT_L1_SHUTDOWN) {
        REQUIRE(nvirt_svm_reset(f->v) == NVIRT_OK, "reset", 0);
    }
}

/* ---- what L1 does ---- */

/* A vmcb12 with which VMRUN succeeds. */
static void fill(struct fuzz *f, uint64_t page, uint8_t what)
{
    struct nvirt_vmcb c;

    memset(&c, 0, sizeof c);
    fill_state(&c);
    c.rip = CODE + 0x100;
    nvirt_vmcb_intercept(&c, NVIRT_SVM_EXIT_VMRUN, true);
    c.asid = 1u + what / 64u;
    c.iopm_base = IOPM12;
    c.msrpm_base = MSRPM12;
    if ((what & 1u) != 0) {
        c.np_control = NVIRT_SVM_NP_ENABLE;
        c.n_cr3 = NPT12;
    }
    if ((what & 2u) != 0) {
        c.intercepts[3] |= 0x18000003u; /* INTR, NMI, IOIO, MSR */
    }
    if ((what & 4u) != 0) {
        c.int_ctl = NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_IRQ | (UINT64_C(0x30) << 32);
    }
    if ((what & 8u) != 0) {
        c.intercepts[2] = 0xffffffff;
    }
    if ((what & 16u) != 0) {
        c.event_inj = 0x80000b0d;
    }
    if ((what & 32u) != 0) {
        c.rflags |= NVIRT_RFLAGS_IF;
    }
    fake_vm_put(f->port, page, &c, sizeof c);
}

static uint64_t a_vmcb12(struct fuzz *f)
{
    return flip(&f->in) ? VMCB12_A : VMCB12_B;
}

static void spoil(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = a_vmcb12(f) + field_offset[choose(in, FIELDS)];

    fake_vm_put64(f->port, at, new_value(in, fake_vm_get64(f->port, at), addresses, ADDRESSES));
}

/* EFER.SVME on, by the WRMSR of L1. */
static void enable_svm(struct fuzz *f)
{
    f->gprs.r[NVIRT_RCX] = NVIRT_SVM_MSR_EFER;
    f->gprs.r[NVIRT_RDX] = 0;
    if (nvirt_svm_level(f->v) == 1) {
        nvirt_svm_vmcb(f->v, 1)->rax = LONG_EFER;
    }
    guest_exit(f, NVIRT_SVM_EXIT_MSR, 1, 0);
}

static void insn(struct fuzz *f, uint64_t code, uint64_t rax)
{
    nvirt_svm_vmcb(f->v, nvirt_svm_level(f->v))->rax = rax;
    guest_exit(f, code, 0, 0);
}

/* NPT12 leads to a leaf, both of which the input may spoil. */
static void map(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t l2gpa = addresses[choose(in, ADDRESSES)];
    uint32_t level = 1 + choose(in, 3);
    uint64_t leaf = (addresses[choose(in, ADDRESSES)] & ~UINT64_C(0xfff)) | 7;

    if (level > 1) {
        leaf = (leaf & ~((UINT64_C(1) << (3 + 9 * level)) - 1)) | 0x87;
    }
    for (uint32_t i = 4; i > level; i--) {
        fake_vm_put64(f->port, NPT12 + (4 - i) * 0x1000 + (l2gpa >> (3 + 9 * i) & 511) * 8,
                      (NPT12 + (5 - i) * 0x1000) | 7);
    }
    if (flip(in)) {
        leaf = new_value(in, leaf, addresses, ADDRESSES);
    }
    fake_vm_put64(f->port, NPT12 + (4 - level) * 0x1000 + (l2gpa >> (3 + 9 * level) & 511) * 8,
                  leaf);
    f->l2gpa = l2gpa;
}

static void store(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = (addresses[choose(in, ADDRESSES)] + take(in, 2) % 4096) &
                  ((UINT64_C(1) << ADDRESS_BITS) - 8);

    fake_vm_put64(f->port, at, new_value(in, fake_vm_get64(f->port, at), addresses, ADDRESSES));
}

static void msr_access(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t value = new_value(in, LONG_EFER, addresses, ADDRESSES);

    f->gprs.r[NVIRT_RCX] = msrs[choose(in, sizeof msrs / sizeof msrs[0])];
    f->gprs.r[NVIRT_RDX] = value >> 32;
    nvirt_svm_vmcb(f->v, nvirt_svm_level(f->v))->rax = value & 0xffffffff;
    guest_exit(f, NVIRT_SVM_EXIT_MSR, flip(in), 0);
}

/* ---- what L2 does ---- */

static void any_exit(struct fuzz *f)
{
    static const uint64_t rare[] = {
        NVIRT_SVM_EXIT_NPF, NVIRT_SVM_EXIT_AVIC_INCOMPLETE_IPI, NVIRT_SVM_EXIT_AVIC_NOACCEL,
        NVIRT_SVM_EXIT_VMGEXIT, NVIRT_SVM_EXIT_INVALID, NVIRT_SVM_EXIT_INVALID_LOW,
        NVIRT_SVM_EXIT_BUSY, 0x100, 0x80000000, 0x123456789,
    };
    struct input *in = &f->in;
    uint64_t code = u8(in);

    if (code >= 0xc0) {
        code = rare[code % (sizeof rare / sizeof rare[0])];
    }
    guest_exit(f, code, new_value(in, 0, addresses, ADDRESSES),
               new_value(in, 0, addresses, ADDRESSES));
}

static void nested_fault(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t info1 = take(in, 1) | (u8(in) & 3u) * NVIRT_SVM_NPF_FINAL;

    if (flip(in)) {
        f->l2gpa = new_value(in, f->l2gpa, addresses, ADDRESSES) & ((UINT64_C(1) << 52) - 1);
    }
    guest_exit(f, NVIRT_SVM_EXIT_NPF, info1, f->l2gpa);
}

/* ---- what the host does ---- */

static void inject(struct fuzz *f)
{
    static const uint8_t vectors[] = { 0, 1, 3, 4, 6, 8, 10, 11, 12, 13, 14, 17, 18 };
    struct nvirt_event event = { .type = NVIRT_EVENT_INTERRUPT };

    switch (u8(&f->in) % 3) {
    case 0:
        event.vector = u8(&f->in);
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
    (void)!nvirt_svm_inject(f->v, &f->cpu[f->on], &event);
}

/* L0 changes its own controls, also while L2 is active. */
static void host_control(struct fuzz *f)
{
    static const uint8_t codes[] = {
        NVIRT_SVM_EXIT_HLT, NVIRT_SVM_EXIT_RDTSC, NVIRT_SVM_EXIT_PAUSE, NVIRT_SVM_EXIT_IOIO,
        NVIRT_SVM_EXIT_CR3_WRITE, NVIRT_SVM_EXIT_EXCEPTION + 14, NVIRT_SVM_EXIT_EXCEPTION + 13,
    };
    struct nvirt_vmcb *c = nvirt_svm_vmcb(f->v, 1);
    uint32_t code = codes[choose(&f->in, sizeof codes)];
    bool on = flip(&f->in);

    nvirt_vmcb_intercept(c, code, on);
    nvirt_vmcb_intercept(&f->host, code, on);
    if (flip(&f->in)) {
        nvirt_vmcb_set_tsc_offset(c, take(&f->in, 4));
        f->host.tsc_offset = c->tsc_offset;
    }
    if (flip(&f->in)) {
        msrpm01[take(&f->in, 2) % sizeof msrpm01] |= u8(&f->in);
        iopm01[take(&f->in, 2) % sizeof iopm01] |= u8(&f->in);
    }
    REQUIRE(nvirt_svm_vmcb01_changed(f->v) == NVIRT_OK, "vmcb01_changed", 0);
}

static void spoil_rows(struct fuzz *f, uint8_t *state, size_t bytes)
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
    struct nvirt_vmcb *vmcb01 = nvirt_svm_vmcb(f->v, 1);
    struct nvirt_vmcb saved;
    enum nvirt_status status;
    size_t bytes, again;

    status = nvirt_svm_save(f->v, state, sizeof state, &bytes);
    REQUIRE(status == NVIRT_OK || (status == NVIRT_ERR_STATE && f->v->prepared), "save", status);
    if (status != NVIRT_OK) {
        return;
    }
    saved = *vmcb01;
    REQUIRE(nvirt_svm_reset(f->v) == NVIRT_OK, "reset", 0);
    *vmcb01 = saved;
    if (flip(&f->in)) {
        memcpy(other, state, bytes);
        spoil_rows(f, other, bytes);
        status = nvirt_svm_restore(f->v, other, bytes);
        SAY("restore of spoiled state: %d\n", (int)status);
        if (status == NVIRT_OK) {
            return;
        }
        REQUIRE(status == NVIRT_ERR_DATA, "spoiled", status);
    }
    status = nvirt_svm_restore(f->v, state, bytes);
    SAY("restore: %d\n", (int)status);
    REQUIRE(status == NVIRT_OK, "restore", status);
    REQUIRE(nvirt_svm_save(f->v, other, sizeof other, &again) == NVIRT_OK, "save", 2);
    REQUIRE(again == bytes && memcmp(state, other, bytes) == 0, "saved again", again);
}

static void host_call(struct fuzz *f)
{
    uint32_t length;

    switch (u8(&f->in) % 6) {
    case 0:
        REQUIRE(nvirt_svm_reset(f->v) == NVIRT_OK, "reset", 0);
        REQUIRE(nvirt_svm_level(f->v) == 1, "level after reset", 2);
        break;
    case 1:
        f->on ^= 1u;
        break;
    case 2:
        if (nvirt_svm_insn_length(f->v, u8(&f->in), &length) == NVIRT_OK) {
            REQUIRE(length >= 1 && length <= 15, "length of an instruction", length);
        }
        break;
    case 3:
    case 4:
        snapshot(f);
        break;
    default:
        host_moves(f->port, &f->in);
        break;
    }
}

static void guest_state(struct fuzz *f)
{
    struct input *in = &f->in;
    struct nvirt_vmcb *c = nvirt_svm_vmcb(f->v, nvirt_svm_level(f->v));

    switch (u8(in) % 5) {
    case 0:
        f->mode = (uint8_t)(1u + u8(in) % 8u);
        break;
    case 1:
        f->rflags = take(in, 2) & 0x4fd5;
        break;
    case 2:
        nvirt_vmcb_set_rip(c, new_value(in, c->rip, addresses, ADDRESSES));
        break;
    case 3:
        nvirt_vmcb_set_int_state(c, flip(in) ? NVIRT_SVM_INTERRUPT_SHADOW : 0);
        break;
    default:
        f->gprs.r[u8(in) % NVIRT_GPR_COUNT] = new_value(in, 0, addresses, ADDRESSES);
        break;
    }
}

/* ---- the program ---- */

/* L1 as far as the input wants it before its program begins. */
static void prologue(struct fuzz *f)
{
    uint8_t how_far = u8(&f->in) % 4;
    uint8_t what = u8(&f->in);

    if (how_far >= 1) {
        enable_svm(f);
    }
    if (how_far >= 2) {
        fill(f, VMCB12_A, what);
        fill(f, VMCB12_B, (uint8_t)(what ^ 64u));
    }
    if (how_far >= 3) {
        insn(f, NVIRT_SVM_EXIT_VMRUN, VMCB12_A);
    }
}

static void step(struct fuzz *f)
{
    struct input *in = &f->in;
    uint8_t op = u8(in) % 24;

    SAY("step %u\n", op);
    switch (op) {
    case 0: enable_svm(f); break;
    case 1: fill(f, a_vmcb12(f), u8(in)); break;
    case 2:
    case 3: insn(f, NVIRT_SVM_EXIT_VMRUN, a_vmcb12(f)); break;
    case 4:
    case 5: insn(f, NVIRT_SVM_EXIT_VMRUN + u8(in) % 7u, addresses[choose(in, ADDRESSES)]); break;
    case 6:
        insn(f, NVIRT_SVM_EXIT_VMRUN + u8(in) % 7u, new_value(in, 0, addresses, ADDRESSES));
        break;
    case 7:
        f->gprs.r[NVIRT_RCX] = u8(in) % 4u;
        insn(f, NVIRT_SVM_EXIT_INVLPGA, new_value(in, 0, addresses, ADDRESSES));
        break;
    case 8:
    case 9: spoil(f); break;
    case 10: map(f); break;
    case 11: store(f); break;
    case 12: any_exit(f); break;
    case 13: nested_fault(f); break;
    case 14: msr_access(f); break;
    case 15: guest_exit(f, NVIRT_SVM_EXIT_IOIO, take(in, 4), 0); break;
    case 16: guest_exit(f, NVIRT_SVM_EXIT_CPUID, 0, 0); break;
    case 17: guest_state(f); break;
    case 18: inject(f); break;
    case 19: host_control(f); break;
    case 20: host_call(f); break;
    case 21:
    case 22: hyperv(f); break;
    default:
        f->starved = true;
        disturb(f->port, in, addresses, ADDRESSES);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = &fuzz;

    memset(f, 0, sizeof *f);
    f->in = (struct input){ data, data + size };
    make_world(f);
    prologue(f);
    for (uint32_t i = 0; i < MAX_STEPS && f->in.at != f->in.end; i++) {
        step(f);
    }
    end_world(f);
    return 0;
}
