/* SPDX-License-Identifier: MIT */
/*
 * The pages that stand for L2's APIC: accesses to the one exit, or become accesses to the other.
 * [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"].
 */
#include "l2.h"
#include "tests.h"

/* Where nobody has memory, and no device is. */
#define NOWHERE 0xd0000000ull
/* Kind of access, bits 15:12 of the qualification of an APIC-access exit. */
#define KIND(n) ((uint64_t)(n) << 12)
#define KIND_READ KIND(0)
#define KIND_WRITE KIND(1)
#define KIND_EVENT KIND(3)
/* The data page that L1 names as APIC-access page, and another one. */
#define PAGE 2u
#define OTHER 3u
#define AT(page, offset) (L2_DATA + (page) * 4096ull + (offset))

static uint8_t virtual_apic[4096] __attribute__((aligned(4096)));

/* Address in RDI, value in EAX; what is read goes to EDX. */
SNIPPET(load, "", "movl (%rdi), %edx", "");
SNIPPET(store, "", "movl %eax, (%rdi)", "");
SNIPPET(trap, "", "int3", "");

static uint32_t *word(uint8_t *page, uint32_t offset)
{
    return (uint32_t *)(void *)(page + offset);
}

static void reset(enum l2_mode mode)
{
    l2_reset(mode);
    memset(virtual_apic, 0, sizeof(virtual_apic));
    memset(l2_data, 0, sizeof(l2_data));
    ctl_set(F_PROC, PROC_SECONDARY);
    ctl_set(F_PROC2, PROC2_APIC_ACCESSES);
    vmwrite(F_APIC_ACCESS, (uint64_t)l2_data[PAGE]);
}

static void with_virtual_apic(void)
{
    ctl_set(F_PROC, PROC_TPR_SHADOW);
    vmwrite(F_VIRTUAL_APIC, (uint64_t)virtual_apic);
    vmwrite(F_TPR_THRESHOLD, 0);
}

static void load(uint64_t address)
{
    l2_start(s_load);
    l2.g.rdi = address;
    l2.g.rdx = 0x5a5a5a5a;
    (void)l2_run();
}

static void store(uint64_t address, uint32_t value)
{
    l2_start(s_store);
    l2.g.rdi = address;
    l2.g.rax = value;
    (void)l2_run();
}

static void expect_load_exit(const char *name, uint32_t offset)
{
    expect_exit(name, &(struct expect){R_APIC_ACCESS, KIND_READ | offset, ANY, (uint64_t)i_load});
}

/* Every access exits, the TPR's too: nothing virtualizes it. */
static void accesses(enum l2_mode mode)
{
    reset(mode);
    *word(l2_data[PAGE], 0x20) = 0x11111111;
    load(AT(PAGE, 0x20));
    expect_load_exit("read", 0x20);
    load(AT(PAGE, 0x80));
    expect_load_exit("read_tpr", 0x80);
    load(AT(PAGE, 0xffc));
    expect_load_exit("read_last", 0xffc);
    store(AT(PAGE, 0x300), 0x22222222);
    expect_exit("write", &(struct expect){R_APIC_ACCESS, KIND_WRITE | 0x300, ANY,
                                          (uint64_t)i_store});
    check_eq(*word(l2_data[PAGE], 0x300), 0, "write.nothing_written");
    /* The pages around it are memory. */
    *word(l2_data[PAGE + 1], 0) = 0x33333333;
    load(AT(PAGE + 1, 0));
    expect_done("next_page");
    check_eq(l2.g.rdx, 0x33333333, "next_page.value");
    store(AT(PAGE - 1, 0xffc), 0x44444444);
    expect_done("page_before");
    check_eq(*word(l2_data[PAGE - 1], 0xffc), 0x44444444, "page_before.value");
}

/* The stack of an exception's delivery lies in the page. */
static void during_delivery(enum l2_mode mode)
{
    reset(mode);
    l2_start(s_trap);
    vmwrite(F_G_RSP, AT(PAGE, 0x800));
    (void)l2_run();
    expect_exit("delivery", &(struct expect){R_APIC_ACCESS, KIND_EVENT | 0x7f8, ANY,
                                             (uint64_t)i_trap});
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_SOFT_EXC) | 3, "delivery.event");
    check_eq(vmread(F_INSN_LEN), 1, "delivery.length");
}

/* L1 gives another page, and takes the control away. */
static void changes(enum l2_mode mode)
{
    reset(mode);
    *word(l2_data[PAGE], 0x10) = 0x1010;
    load(AT(PAGE, 0x10));
    expect_load_exit("first", 0x10);
    load(AT(OTHER, 0x10));
    expect_done("other_is_memory");
    vmwrite(F_APIC_ACCESS, (uint64_t)l2_data[OTHER]);
    flush_everything();
    load(AT(OTHER, 0x10));
    expect_load_exit("other", 0x10);
    load(AT(PAGE, 0x10));
    expect_done("first_is_memory");
    check_eq(l2.g.rdx, 0x1010, "first_is_memory.value");
    ctl_clear(F_PROC2, PROC2_APIC_ACCESSES);
    flush_everything();
    store(AT(OTHER, 0x10), 0x2020);
    expect_done("without");
    check_eq(*word(l2_data[OTHER], 0x10), 0x2020, "without.written");
    ctl_set(F_PROC2, PROC2_APIC_ACCESSES);
    flush_everything();
    load(AT(OTHER, 0x10));
    expect_load_exit("again", 0x10);
}

/* No memory has to be where the page is. */
static void nowhere(enum l2_mode mode)
{
    uint64_t *entry = mode == L2_EPT ? &l2_ept.data_pt[PAGE] : &l2_paging.data_pt[PAGE];

    reset(mode);
    *entry = NOWHERE | (*entry & 0xfff);
    vmwrite(F_APIC_ACCESS, NOWHERE);
    flush_everything();
    load(AT(PAGE, 0x30));
    expect_load_exit("nowhere", 0x30);
    store(AT(PAGE, 0xb0), 0);
    expect_exit("nowhere.write", &(struct expect){R_APIC_ACCESS, KIND_WRITE | 0xb0, ANY,
                                                  (uint64_t)i_store});
}

/* With a TPR shadow the TPR is a byte of the virtual-APIC page, all else still exits. */
static void tpr(enum l2_mode mode)
{
    reset(mode);
    with_virtual_apic();
    virtual_apic[0x80] = 0x55;
    load(AT(PAGE, 0x80));
    expect_done("tpr.read");
    check_eq(l2.g.rdx, 0x55, "tpr.read.value");
    store(AT(PAGE, 0x80), 0x66);
    expect_done("tpr.write");
    check_eq(virtual_apic[0x80], 0x66, "tpr.write.value");
    check_eq(*word(l2_data[PAGE], 0x80), 0, "tpr.write.not_there");
    load(AT(PAGE, 0x20));
    expect_load_exit("tpr.others", 0x20);
    store(AT(PAGE, 0xb0), 0);
    expect_exit("tpr.eoi", &(struct expect){R_APIC_ACCESS, KIND_WRITE | 0xb0, ANY,
                                            (uint64_t)i_store});
}

/* [SDM 3C "VM Exits Induced by the TPR Threshold"] */
static void threshold(enum l2_mode mode)
{
    reset(mode);
    with_virtual_apic();
    virtual_apic[0x80] = 0x60;
    vmwrite(F_TPR_THRESHOLD, 6);
    store(AT(PAGE, 0x80), 0x50);
    expect_exit("threshold.write", &(struct expect){R_TPR_BELOW_THRESHOLD, 0, ANY,
                                                    (uint64_t)e_store});
    check_eq(virtual_apic[0x80], 0x50, "threshold.written");
    /* The entry is no error here, but ends at once. */
    l2_start(s_load);
    l2.g.rdi = AT(PAGE, 0x80);
    (void)l2_run();
    expect_exit("threshold.entry", &(struct expect){R_TPR_BELOW_THRESHOLD, 0, ANY,
                                                    (uint64_t)s_load});
}

static void entry_rules(enum l2_mode mode)
{
    reset(mode);
    vmwrite(F_APIC_ACCESS, (uint64_t)l2_data[PAGE] | 0x10);
    l2_start(s_load);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "rules.aligned");
    check_eq(vmread(F_INSN_ERROR), E_CONTROLS, "rules.aligned.error");
    vmwrite(F_APIC_ACCESS, 1ull << 52);
    l2_start(s_load);
    (void)l2_run();
    check_eq(l2.reason, L2_NOT_ENTERED | VMX_FAIL_VALID, "rules.width");
    check_eq(vmread(F_INSN_ERROR), E_CONTROLS, "rules.width.error");
}

void test_apic(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    if ((rt_rdmsr(MSR_VMX_PROC2) >> 32 & PROC2_APIC_ACCESSES) == 0)
        return;
    for (unsigned m = 0; m < 2; m++) {
        check_group("apic.%s", l2_mode_name(modes[m]));
        accesses(modes[m]);
        during_delivery(modes[m]);
        changes(modes[m]);
        nowhere(modes[m]);
        tpr(modes[m]);
        threshold(modes[m]);
        entry_rules(modes[m]);
    }
}
