/* SPDX-License-Identifier: MIT */
/*
 * L2's APIC without exits: registers read and written in the virtual-APIC page, by memory and by MSR,
 * and interrupts that the CPU delivers from there.
 * [SDM 3C "APIC Virtualization and Virtual Interrupts"].
 */
#include "l2.h"
#include "tests.h"

/* The data page that L1 names as APIC-access page. */
#define PAGE 2u
#define AT(offset) (L2_DATA + PAGE * 4096ull + (offset))
#define TPR 0x80u
#define EOI 0xb0u
#define ISR 0x100u
#define IRR 0x200u
#define ICR_LOW 0x300u
#define ICR_HIGH 0x310u
#define SELF_IPI 0x3f0u
#define MSR_OF(offset) (0x800u + (offset) / 16u)
#define STATUS(rvi, svi) ((uint64_t)(rvi) | (uint64_t)(svi) << 8)
#define VECTOR 0x51u

static uint8_t virtual_apic[4096] __attribute__((aligned(4096)));

/* Address in RDI, value in EAX; what is read goes to EDX. */
SNIPPET(reg_load, "", "movl (%rdi), %edx", "");
SNIPPET(reg_store, "", "movl %eax, (%rdi)", "nop");
SNIPPET(msr_read, "", "rdmsr", "");
SNIPPET(msr_write, "", "wrmsr", "nop");
SNIPPET(allow, "", "sti", "nop; nop");
SNIPPET(allow_not, "", "cli", "nop; nop");
SNIPPET(breakpoint, "", "int3", "");
SNIPPET(write_cr8_low, "sti; nop", "movq %rax, %cr8", "nop; nop");

static uint32_t *reg(uint32_t offset)
{
    return (uint32_t *)(void *)(virtual_apic + offset);
}

/* A bit in one of the eight words that the IRR and the ISR have, 16 bytes apart. */
static bool is_in(uint32_t set, uint32_t vector)
{
    return (*reg(set + vector / 32 * 16) >> vector % 32 & 1u) != 0;
}

static void put_in(uint32_t set, uint32_t vector)
{
    *reg(set + vector / 32 * 16) |= 1u << vector % 32;
}

static void reset(enum l2_mode mode, uint32_t controls)
{
    l2_reset(mode);
    memset(virtual_apic, 0, sizeof(virtual_apic));
    memset(l2_data, 0, sizeof(l2_data));
    memset(msr_bitmap, 0, sizeof(msr_bitmap));
    ctl_set(F_PROC, PROC_SECONDARY | PROC_TPR_SHADOW | PROC_MSR_BITMAPS);
    ctl_set(F_PIN, PIN_EXTINT);
    ctl_set(F_PROC2, controls);
    vmwrite(F_MSR_BITMAP, (uint64_t)msr_bitmap);
    vmwrite(F_VIRTUAL_APIC, (uint64_t)virtual_apic);
    vmwrite(F_APIC_ACCESS, (uint64_t)l2_data[PAGE]);
    vmwrite(F_TPR_THRESHOLD, 0);
    if ((rt_rdmsr(MSR_VMX_PROC2) >> 32 & PROC2_VIRTUAL_INTERRUPTS) != 0) {
        vmwrite(F_G_INTR_STATUS, 0);
        for (uint32_t i = 0; i < 4; i++)
            vmwrite(F_EOI_EXIT0 + 2 * i, 0);
    }
}

static void load(uint32_t offset)
{
    l2_start(s_reg_load);
    l2.g.rdi = AT(offset);
    (void)l2_run();
}

static void store(uint32_t offset, uint32_t value)
{
    l2_start(s_reg_store);
    l2.g.rdi = AT(offset);
    l2.g.rax = value;
    (void)l2_run();
}

static void read_msr(uint32_t msr)
{
    l2_start(s_msr_read);
    l2.g.rcx = msr;
    l2.g.rax = l2.g.rdx = 0x5a5a5a5a;
    (void)l2_run();
}

static void write_msr(uint32_t msr, uint64_t value)
{
    l2_start(s_msr_write);
    l2.g.rcx = msr;
    l2.g.rax = value & 0xffffffff;
    l2.g.rdx = value >> 32;
    (void)l2_run();
}

/* [SDM 3C "Virtualizing Reads from the APIC-Access Page", "Virtualizing Writes ..."] */
static void registers(enum l2_mode mode)
{
    reset(mode, PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS);
    *reg(0x20) = 0x07000000;
    load(0x20);
    expect_done("registers.id");
    check_eq(l2.g.rdx, 0x07000000, "registers.id.value");
    *reg(ICR_LOW) = 0x4433;
    load(ICR_LOW);
    expect_done("registers.icr");
    check_eq(l2.g.rdx, 0x4433, "registers.icr.value");
    load(0x390);
    expect_exit("registers.timer", &(struct expect){R_APIC_ACCESS, 0x390, ANY,
                                                    (uint64_t)i_reg_load});
    store(ICR_LOW, 0x12345);
    expect_exit("registers.write", &(struct expect){R_APIC_WRITE, ICR_LOW, ANY,
                                                    (uint64_t)e_reg_store});
    check_eq(*reg(ICR_LOW), 0x12345, "registers.write.value");
    store(EOI, 0);
    expect_exit("registers.eoi", &(struct expect){R_APIC_WRITE, EOI, ANY, (uint64_t)e_reg_store});
    store(TPR, 0x40);
    expect_done("registers.tpr");
    check_eq(*reg(TPR), 0x40, "registers.tpr.value");
    store(0x20, 0);
    expect_exit("registers.read_only", &(struct expect){R_APIC_WRITE, 0x20, ANY,
                                                        (uint64_t)e_reg_store});
}

static void check_msr(const char *name, uint32_t offset, uint64_t value)
{
    read_msr(MSR_OF(offset));
    if (expect_done(name))
        check_eq(l2.g.rax | l2.g.rdx << 32, value, name);
}

/* [SDM 3C "Virtualizing MSR-Based APIC Accesses"] */
static void x2apic(enum l2_mode mode)
{
    reset(mode, PROC2_X2APIC);
    *reg(TPR) = 0x30;
    check_msr("x2apic.tpr", TPR, 0x30);
    write_msr(MSR_OF(TPR), 0x50);
    expect_done("x2apic.tpr.write");
    check_eq(*reg(TPR), 0x50, "x2apic.tpr.value");
    write_msr(MSR_OF(TPR), 0x150);
    check_eq((uint64_t)l2_handler_vector(), 13, "x2apic.tpr.reserved");
    vmwrite(F_TPR_THRESHOLD, 5);
    write_msr(MSR_OF(TPR), 0x40);
    expect_exit("x2apic.threshold", &(struct expect){R_TPR_BELOW_THRESHOLD, 0, ANY,
                                                     (uint64_t)e_msr_write});
    vmwrite(F_TPR_THRESHOLD, 0);
    /* L1's bitmap decides first. */
    msr_bitmap[MSR_OF(TPR) / 8] = 1;
    read_msr(MSR_OF(TPR));
    expect_exit("x2apic.read_exits", &(struct expect){R_RDMSR, 0, 2, (uint64_t)i_msr_read});
    write_msr(MSR_OF(TPR), 0x60);
    expect_done("x2apic.write_does_not");
    msr_bitmap[2048 + MSR_OF(TPR) / 8] = 1;
    write_msr(MSR_OF(TPR), 0x70);
    expect_exit("x2apic.write_exits", &(struct expect){R_WRMSR, 0, 2, (uint64_t)i_msr_write});
    check_eq(*reg(TPR), 0x60, "x2apic.write_exits.unchanged");
    /* Without the control the same VMCS leads to no page. */
    memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
    ctl_clear(F_PROC2, PROC2_X2APIC);
    read_msr(MSR_OF(TPR));
    expect_exit("x2apic.without", &(struct expect){R_RDMSR, 0, 2, (uint64_t)i_msr_read});
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS);
    *reg(0x20) = 0x11;
    *reg(0x320) = 0x10020;
    check_msr("x2apic.registers.id", 0x20, 0x11);
    check_msr("x2apic.registers.timer", 0x320, 0x10020);
}

/* ---- interrupts ---- */

static void expect_delivered(const char *name, uint32_t vector)
{
    if (!expect_done(name))
        return;
    check_eq((uint64_t)l2_handler_vector(), vector, name);
    check_eq(vmread(F_G_INTR_STATUS) >> 8, vector, name);
    check_eq(is_in(ISR, vector) && !is_in(IRR, vector), 1, name);
}

static void reset_with_interrupts(enum l2_mode mode)
{
    reset(mode, PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
}

/* Under nvirt the first touch of a page in the middle of a delivery is an exit, after which the emulator
 * does not tell what was being delivered: differences.md. */
static void touch_handlers(void)
{
    (void)l2_go(s_breakpoint);
    check_eq((uint64_t)l2_handler_vector(), 3, "handlers");
}

/* [SDM 3C "Evaluation of Pending Virtual Interrupts", "Virtual-Interrupt Delivery"] */
static void delivery(enum l2_mode mode)
{
    reset_with_interrupts(mode);
    touch_handlers();
    put_in(IRR, VECTOR);
    vmwrite(F_G_INTR_STATUS, STATUS(VECTOR, 0));
    l2_start(s_allow);
    (void)l2_run();
    expect_delivered("delivery", VECTOR);
    check_eq(vmread(F_G_INTR_STATUS), STATUS(0, VECTOR), "delivery.status");
    check_eq(*reg(0xa0), VECTOR & 0xf0, "delivery.ppr");
    /* Blocked by IF, by the TPR, and by one of its class in service. */
    reset_with_interrupts(mode);
    put_in(IRR, VECTOR);
    vmwrite(F_G_INTR_STATUS, STATUS(VECTOR, 0));
    l2_start(s_reg_load);
    l2.g.rdi = AT(TPR);
    (void)l2_run();
    expect_done("blocked.if");
    check_eq((uint64_t)l2_handler_vector(), (uint64_t)-1, "blocked.if.none");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0), "blocked.if.status");
    *reg(TPR) = 0x50;
    l2_start(s_allow);
    (void)l2_run();
    expect_done("blocked.tpr");
    check_eq((uint64_t)l2_handler_vector(), (uint64_t)-1, "blocked.tpr.none");
    *reg(TPR) = 0;
    put_in(ISR, 0x5f);
    vmwrite(F_G_INTR_STATUS, STATUS(VECTOR, 0x5f));
    l2_start(s_allow);
    (void)l2_run();
    expect_done("blocked.isr");
    check_eq((uint64_t)l2_handler_vector(), (uint64_t)-1, "blocked.isr.none");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0x5f), "blocked.isr.status");
    /* L2 lowers its TPR. */
    reset_with_interrupts(mode);
    put_in(IRR, VECTOR);
    *reg(TPR) = 0x60;
    vmwrite(F_G_INTR_STATUS, STATUS(VECTOR, 0));
    l2_start(s_write_cr8_low);
    l2.g.rax = 4;
    (void)l2_run();
    expect_delivered("tpr_lowered", VECTOR);
}

/* [SDM 3C "EOI Virtualization", "Self-IPI Virtualization"] */
static void own_interrupts(enum l2_mode mode)
{
    reset_with_interrupts(mode);
    put_in(ISR, VECTOR);
    put_in(ISR, 0x31);
    vmwrite(F_G_INTR_STATUS, STATUS(0, VECTOR));
    store(EOI, 0);
    expect_done("eoi");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(0, 0x31), "eoi.next_in_service");
    check_eq(is_in(ISR, VECTOR), 0, "eoi.cleared");
    vmwrite(F_EOI_EXIT0, 1ull << 0x31);
    store(EOI, 0);
    expect_exit("eoi.exit", &(struct expect){R_VIRTUALIZED_EOI, 0x31, ANY,
                                             (uint64_t)e_reg_store});
    check_eq(vmread(F_G_INTR_STATUS), 0, "eoi.exit.status");
    store(ICR_LOW, 0x40000 | VECTOR);
    expect_done("self_ipi");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0), "self_ipi.status");
    check_eq(is_in(IRR, VECTOR), 1, "self_ipi.requested");
    store(ICR_LOW, 0x40000 | 8);
    expect_exit("self_ipi.reserved", &(struct expect){R_APIC_WRITE, ICR_LOW, ANY,
                                                      (uint64_t)e_reg_store});
    store(ICR_LOW, VECTOR);
    expect_exit("ipi", &(struct expect){R_APIC_WRITE, ICR_LOW, ANY, (uint64_t)e_reg_store});
}

/* The same by MSR. */
static void own_interrupts_by_msr(enum l2_mode mode)
{
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
    put_in(ISR, VECTOR);
    vmwrite(F_G_INTR_STATUS, STATUS(0, VECTOR));
    write_msr(MSR_OF(EOI), 0);
    expect_done("msr.eoi");
    check_eq(vmread(F_G_INTR_STATUS), 0, "msr.eoi.status");
    write_msr(MSR_OF(SELF_IPI), VECTOR);
    expect_done("msr.self_ipi");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0), "msr.self_ipi.status");
}

struct msr_entry {
    uint32_t index, reserved;
    uint64_t value;
};
static struct msr_entry list[1] __attribute__((aligned(16)));

/* The next entry loads an MSR: nvirt puts the whole of L2's state in place for that. */
static void load_an_msr(void)
{
    list[0] = (struct msr_entry){MSR_STAR, 0, rt_rdmsr(MSR_STAR)};
    vmwrite(F_ENTRY_MSR_LOAD, (uint64_t)list);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 1);
}

/* What L2 made of its status, L1 not looking, is there at such an entry as at any other. */
static void status_with_a_list(enum l2_mode mode)
{
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
    write_msr(MSR_OF(SELF_IPI), VECTOR);
    check_eq(l2.reason, R_VMCALL, "list.self_ipi");
    load_an_msr();
    (void)l2_go(s_allow_not);
    check_eq(l2.reason, R_VMCALL, "list.rvi");
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0), "list.rvi.status");
    write_msr(MSR_OF(SELF_IPI), VECTOR + 1);
    (void)l2_go(s_allow_not);
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR + 1, 0), "list.higher.status");
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
    put_in(ISR, VECTOR);
    put_in(ISR, 0x31);
    vmwrite(F_G_INTR_STATUS, STATUS(0, VECTOR));
    write_msr(MSR_OF(EOI), 0);
    check_eq(l2.reason, R_VMCALL, "list.eoi");
    load_an_msr();
    (void)l2_go(s_allow_not);
    check_eq(vmread(F_G_INTR_STATUS), STATUS(0, 0x31), "list.svi.status");
    write_msr(MSR_OF(EOI), 0);
    check_eq(vmread(F_G_INTR_STATUS), 0, "list.svi.status_after");
    check_eq(is_in(ISR, 0x31), 0, "list.svi.ended");
}

/* L1 raises another one between two entries. */
static void raised_by_l1(enum l2_mode mode)
{
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
    touch_handlers();
    write_msr(MSR_OF(SELF_IPI), VECTOR);
    expect_done("raised.self_ipi");
    put_in(IRR, 0x71);
    vmwrite(F_G_INTR_STATUS, STATUS(0x71, 0));
    l2_start(s_allow);
    (void)l2_run();
    expect_delivered("raised.by_l1", 0x71);
    check_eq(vmread(F_G_INTR_STATUS), STATUS(VECTOR, 0x71), "raised.next");
    /* And one that L2 raised is delivered at the entry with a list. */
    reset(mode, PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
    touch_handlers();
    write_msr(MSR_OF(SELF_IPI), VECTOR);
    load_an_msr();
    (void)l2_go(s_allow);
    expect_delivered("raised.with_a_list", VECTOR);
}

static void refused(const char *name)
{
    l2_start(s_allow);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, name);
    check_eq(vmread(F_INSN_ERROR), E_CONTROLS, name);
}

static void entry_rules(enum l2_mode mode)
{
    reset(mode, PROC2_X2APIC);
    ctl_clear(F_PROC, PROC_TPR_SHADOW);
    refused("rules.x2apic_without_shadow");
    reset(mode, PROC2_APIC_REGISTERS);
    ctl_clear(F_PROC, PROC_TPR_SHADOW);
    refused("rules.registers_without_shadow");
    reset(mode, PROC2_VIRTUAL_INTERRUPTS);
    ctl_clear(F_PROC, PROC_TPR_SHADOW);
    refused("rules.interrupts_without_shadow");
    reset(mode, PROC2_X2APIC | PROC2_APIC_ACCESSES);
    refused("rules.x2apic_with_accesses");
    reset(mode, PROC2_VIRTUAL_INTERRUPTS);
    ctl_clear(F_PIN, PIN_EXTINT);
    refused("rules.interrupts_without_exiting");
    reset(mode, PROC2_VIRTUAL_INTERRUPTS);
    vmwrite(F_TPR_THRESHOLD, 0xff);
    l2_start(s_allow);
    (void)l2_run();
    expect_done("rules.no_threshold");
}

/* ---- posted interrupts: no emulator has them, so this runs under nvirt only ---- */

#define NOTIFICATION 0x61u
#define OUTSTANDING 32u /* Byte of the descriptor with that bit. */
#define PHYSICAL_ISR 0x100u

static uint8_t descriptor[64] __attribute__((aligned(64)));

static void post(uint32_t vector)
{
    descriptor[vector / 8] |= (uint8_t)(1u << vector % 8);
    descriptor[OUTSTANDING] |= 1;
}

/* L1 keeps its interrupts blocked, so the notification comes as soon as L2 runs. */
static void notify_and_run(uint8_t vector)
{
    apic_self_ipi(vector);
    (void)l2_run();
}

static void reset_to_post(enum l2_mode mode)
{
    reset_with_interrupts(mode);
    touch_handlers();
    memset(descriptor, 0, sizeof(descriptor));
    ctl_set(F_PIN, PIN_POSTED);
    ctl_set(F_EXIT, EXIT_ACK);
    vmwrite(F_POSTED_VECTOR, NOTIFICATION);
    vmwrite(F_POSTED_DESCRIPTOR, (uint64_t)descriptor);
}

/* [SDM 3C "Posted-Interrupt Processing"] */
static void posted(enum l2_mode mode)
{
    reset_to_post(mode);
    for (uint32_t round = 0; round < 3; round++) {
        /* A notification that was not ended would keep the next one of its class away. */
        vmwrite(F_G_INTR_STATUS, 0);
        memset(virtual_apic, 0, sizeof(virtual_apic));
        post(VECTOR);
        post(0x31);
        descriptor[OUTSTANDING + 2] = 0x77;
        l2_start(s_allow);
        notify_and_run(NOTIFICATION);
        expect_delivered("posted", VECTOR);
        check_eq(vmread(F_G_INTR_STATUS), STATUS(0x31, VECTOR), "posted.status");
        check_eq(is_in(IRR, 0x31), 1, "posted.next");
        for (uint32_t i = 0; i < OUTSTANDING; i++) {
            if (descriptor[i] != 0)
                check_eq(descriptor[i], 0, "posted.taken");
        }
        check_eq(descriptor[OUTSTANDING], 0, "posted.notified");
        check_eq(descriptor[OUTSTANDING + 2], 0x77, "posted.rest");
        check_eq(apic_read(PHYSICAL_ISR + NOTIFICATION / 32 * 16), 0, "posted.ended");
    }
    /* Another vector is an exit, and L1's to end. */
    post(0x71);
    l2_start(s_allow);
    notify_and_run(NOTIFICATION + 1);
    expect_exit("posted.other", &(struct expect){R_EXTINT, 0, ANY, ANY});
    check_eq(vmread(F_INTR), INTR_VALID | (NOTIFICATION + 1), "posted.other.vector");
    check_eq(descriptor[0x71 / 8], 1u << 0x71 % 8, "posted.other.not_taken");
    apic_write(0xb0, 0);
    /* Without the control the notification is one. */
    ctl_clear(F_PIN, PIN_POSTED);
    l2_start(s_allow);
    notify_and_run(NOTIFICATION);
    expect_reason("posted.without", R_EXTINT);
    check_eq(descriptor[0x71 / 8], 1u << 0x71 % 8, "posted.without.not_taken");
    apic_write(0xb0, 0);
}

static void posted_rules(enum l2_mode mode)
{
    reset_to_post(mode);
    ctl_clear(F_PROC2, PROC2_VIRTUAL_INTERRUPTS);
    refused("posted.rules.delivery");
    reset_to_post(mode);
    ctl_clear(F_EXIT, EXIT_ACK);
    refused("posted.rules.acknowledge");
    reset_to_post(mode);
    vmwrite(F_POSTED_VECTOR, 0x100 | NOTIFICATION);
    refused("posted.rules.vector");
    reset_to_post(mode);
    vmwrite(F_POSTED_DESCRIPTOR, (uint64_t)descriptor + 32);
    refused("posted.rules.aligned");
}

void test_posted(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    check_group("posted");
    if (!check((rt_rdmsr(MSR_VMX_TRUE_PIN) >> 32 & PIN_POSTED) != 0, "offered"))
        return;
    for (unsigned m = 0; m < 2; m++) {
        check_group("posted.%s", l2_mode_name(modes[m]));
        posted(modes[m]);
        posted_rules(modes[m]);
    }
}

static bool has_all(void)
{
    uint32_t offered = (uint32_t)(rt_rdmsr(MSR_VMX_PROC2) >> 32);
    uint32_t all = PROC2_APIC_ACCESSES | PROC2_X2APIC | PROC2_APIC_REGISTERS |
                   PROC2_VIRTUAL_INTERRUPTS;

    return (offered & all) == all;
}

void test_delivery(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2 && has_all(); m++) {
        check_group("delivery.%s", l2_mode_name(modes[m]));
        delivery(modes[m]);
        raised_by_l1(modes[m]);
    }
}

void test_apicv(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2 && has_all(); m++) {
        check_group("apicv.%s", l2_mode_name(modes[m]));
        registers(modes[m]);
        x2apic(modes[m]);
        own_interrupts(modes[m]);
        own_interrupts_by_msr(modes[m]);
        status_with_a_list(modes[m]);
        entry_rules(modes[m]);
    }
}
