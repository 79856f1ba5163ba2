/* SPDX-License-Identifier: MIT */
/*
 * The long-mode guest that the /dev/kvm program runs: one function per step of GUEST_STEPS, each
 * of which returns 0 or the line of the check that failed, and the handler of its exceptions and
 * interrupts. It has no library, no floating point and no relocations; everything it needs set up
 * before its first instruction the program sets up.
 */
#include "guest.h"

#include <stdbool.h>
#include <stddef.h>

#define MSR_SYSENTER_ESP 0x175u
#define MSR_PAT 0x277u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_LSTAR 0xc0000082u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_UNKNOWN 0x12345u

#define PTE_PRESENT 0x1u
#define PTE_WRITE 0x2u
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY 0x40u
#define PTE_LARGE 0x80u
#define PTE_NX (UINT64_C(1) << 63)

#define PF_PRESENT 0x1u
#define PF_WRITE 0x2u
#define PF_FETCH 0x10u

#define APIC_GPA 0xfee00000u
#define APIC_EOI 0xb0u
#define APIC_SPURIOUS 0xf0u
#define APIC_ICR_LOW 0x300u
#define APIC_ICR_HIGH 0x310u
#define APIC_LVT_TIMER 0x320u
#define APIC_LVT_LINT0 0x350u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_DIVIDE 0x3e0u

#define APIC_ENABLE 0x1ffu
#define APIC_SELF_FIXED 0x40000u
#define APIC_LVT_MASKED 0x10000u
#define APIC_PERIODIC 0x20000u
#define APIC_TSC_DEADLINE 0x40000u
#define APIC_EXTINT 0x700u
#define APIC_DIVIDE_BY_1 0xbu
#define TIMER_PERIOD_NS 4000000u
#define TSC_DEADLINE_TICKS 200000u

#define PIC_COMMAND 0x20u
#define PIC_DATA 0x21u

#define HYPERCALL_POLL_IRQ 1u
#define HYPERCALL_UNKNOWN 9999u
#define HYPERCALL_ENOSYS ((uint64_t)-1000)
#define HYPERV_FLUSH_SPACE 2u
#define HYPERV_FLUSH_LIST 3u
#define HYPERV_ONE_ELEMENT (UINT64_C(1) << 32)
#define HYPERV_ALL_PROCESSORS 1u

#define SPIN_LIMIT 10000000u
#define VECTOR_COUNT (VECTOR_PIC + 8)
#define STUB_SIZE 16u

struct trap_frame {
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

/* What the handler saw last, and what a check wants it to do. */
struct trap_record {
    uint64_t resume; /* where to go on after an expected fault, 0 if none is expected */
    uint64_t vector;
    uint64_t error;
    uint64_t cr2;
    uint32_t page_faults;
    uint32_t breakpoints;
    uint32_t self_ipis;
    uint32_t line_interrupts;
};

extern const char trap_stubs[];
uint64_t registers_survive(void);
void guest_trap(struct trap_frame *frame);
void guest_main(uint64_t program);

static struct idt_gate idt[VECTOR_COUNT] __attribute__((aligned(16)));
static volatile struct trap_record trap;

/* The report of a failed check: where, what was there, what should have been. */
#define CHECK_EQUAL(have, want)                                                                    \
    do {                                                                                           \
        uint64_t have_ = (uint64_t)(have);                                                         \
        uint64_t want_ = (uint64_t)(want);                                                         \
        if (have_ != want_) {                                                                      \
            mailbox()->seen[0] = have_;                                                            \
            mailbox()->seen[1] = want_;                                                            \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

static volatile struct guest_mailbox *mailbox(void)
{
    return (volatile struct guest_mailbox *)MAILBOX_GPA;
}

static volatile uint64_t *word_at(uint64_t address)
{
    return (volatile uint64_t *)address;
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static void act(enum guest_action action)
{
    out32(PORT_ACTION, (uint32_t)action);
}

static void cpuid(uint32_t leaf, uint32_t regs[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3])
                     : "0"(leaf), "2"(0));
}

/* The jump ends the instruction trace: some emulators read the counter at a trace's start. */
static uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("jmp 1f\n1: rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return ((uint64_t)high << 32) | low;
}

static uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return ((uint64_t)high << 32) | low;
}

static void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr)
                     : "memory");
}

static void invlpg(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static void load_cr3(uint64_t cr3)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(cr3) : "memory");
}

static uint32_t apic_read(uint32_t reg)
{
    return *(volatile uint32_t *)(uint64_t)(APIC_GPA + reg);
}

static void apic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(uint64_t)(APIC_GPA + reg) = value;
}

static volatile uint64_t *window_pte(uint64_t address)
{
    return word_at(PT_WIN_A_GPA + ((address >> 12) & 511) * sizeof(uint64_t));
}

static void idt_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};

    for (uint32_t i = 0; i < VECTOR_COUNT; i++) {
        uint64_t handler = (uint64_t)trap_stubs + i * STUB_SIZE;

        idt[i].offset_low = (uint16_t)handler;
        idt[i].selector = SEL_CODE64;
        idt[i].attributes = 0x8e00;
        idt[i].offset_middle = (uint16_t)(handler >> 16);
        idt[i].offset_high = (uint32_t)(handler >> 32);
    }
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

/* The guest's own demand paging: each window page has one thing wrong with it, put right here. */
static bool repair_page(uint64_t address)
{
    switch (address & ~UINT64_C(0xfff)) {
    case WINDOW_LAZY_GVA:
        *window_pte(address) = WIN_PAGE_C_GPA | PTE_PRESENT | PTE_WRITE;
        return true;
    case WINDOW_READONLY_GVA:
        *window_pte(address) |= PTE_WRITE;
        break;
    case WINDOW_NX_GVA:
        *window_pte(address) &= ~PTE_NX;
        break;
    default:
        return false;
    }
    invlpg(address);
    return true;
}

static void unexpected(const struct trap_frame *frame)
{
    mailbox()->unexpected_vector = (uint32_t)frame->vector;
    mailbox()->unexpected_rip = frame->rip;
    mailbox()->seen[0] = frame->error;
    __asm__ volatile("movq %%cr2, %0" : "=r"(mailbox()->seen[1]));
    mailbox()->failed_line = __LINE__;
    out32(PORT_STEP, mailbox()->step);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void trap_exception(struct trap_frame *frame)
{
    uint64_t cr2;

    trap.vector = frame->vector;
    trap.error = frame->error;
    if (frame->vector == 14) {
        __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
        trap.cr2 = cr2;
        trap.page_faults++;
        if (repair_page(cr2))
            return;
    }
    if (frame->vector == 3) {
        trap.breakpoints++;
        return;
    }
    if (!trap.resume)
        unexpected(frame);
    frame->rip = trap.resume;
    trap.resume = 0;
}

void guest_trap(struct trap_frame *frame)
{
    switch (frame->vector) {
    case 2:
        mailbox()->nmis++;
        break;
    case VECTOR_TIMER:
        mailbox()->ticks++;
        apic_write(APIC_EOI, 0);
        break;
    case VECTOR_SELF:
        trap.self_ipis++;
        apic_write(APIC_EOI, 0);
        break;
    case VECTOR_PIC + PIC_LINE:
        trap.line_interrupts++;
        out8(PIC_COMMAND, 0x20);
        break;
    default:
        if (frame->vector < 32)
            trap_exception(frame);
        else
            unexpected(frame);
    }
}

static uint32_t step_cpuid(void)
{
    uint32_t regs[4];

    cpuid(0, regs);
    mailbox()->vendor[0] = regs[1];
    mailbox()->vendor[1] = regs[3];
    mailbox()->vendor[2] = regs[2];
    cpuid(CPUID_LEAF, regs);
    CHECK_EQUAL(regs[0], CPUID_LEAF);
    CHECK_EQUAL(regs[1], CPUID_LEAF_EBX);
    CHECK_EQUAL(regs[2], CPUID_LEAF_ECX);
    CHECK_EQUAL(regs[3], CPUID_LEAF_EDX);
    return 0;
}

static uint32_t step_ports(void)
{
    static const char text[STRING_LENGTH] = "the string OUT of the guest";
    const char *source = text;
    uint64_t count = STRING_LENGTH;

    for (uint32_t i = 0; i < SEQUENCE_LENGTH; i++)
        out8(PORT_SEQUENCE, (uint8_t)i);
    for (uint32_t i = 0; i < SEQUENCE_LENGTH; i++)
        out16(PORT_SEQUENCE, (uint16_t)(i * 0x101u));
    for (uint32_t i = 0; i < SEQUENCE_LENGTH; i++)
        out32(PORT_SEQUENCE, i * 0x1010101u);
    for (uint32_t i = 0; i < SEQUENCE_LENGTH; i++)
        CHECK_EQUAL(in32(PORT_VALUE), guest_in_value(i));
    CHECK_EQUAL(in8(PORT_VALUE), (uint8_t)guest_in_value(SEQUENCE_LENGTH));
    __asm__ volatile("cld; rep outsb"
                     : "+S"(source), "+c"(count)
                     : "d"((uint16_t)PORT_STRING)
                     : "memory");
    CHECK_EQUAL(count, 0);
    CHECK_EQUAL(source - text, STRING_LENGTH);
    return 0;
}

/*
 * Word 0 and the last word of each page are the guest's, word 1 the program's: it fills that of
 * every even page before the guest starts, the others read as zero.
 */
static uint32_t touch_region(uint64_t start, uint64_t size)
{
    for (uint64_t page = start; page < start + size; page += GPA_PAGE) {
        CHECK_EQUAL(word_at(page)[0], 0);
        CHECK_EQUAL(word_at(page)[1], (page / GPA_PAGE) % 2 ? 0 : host_pattern(page));
        word_at(page)[0] = guest_pattern(page);
        word_at(page)[511] = ~guest_pattern(page);
    }
    for (uint64_t page = start; page < start + size; page += GPA_PAGE) {
        CHECK_EQUAL(word_at(page)[0], guest_pattern(page));
        CHECK_EQUAL(word_at(page)[511], ~guest_pattern(page));
    }
    return 0;
}

static uint32_t step_small(void)
{
    return touch_region(SMALL_GPA, SMALL_SIZE);
}

static uint32_t step_large(void)
{
    return touch_region(LARGE_GPA, LARGE_SIZE);
}

/* The program drops the first quarter of the small region; every page of it was mapped. */
static uint32_t step_unmap(void)
{
    const uint64_t end = SMALL_GPA + SMALL_SIZE / 4;

    act(ACTION_UNMAP);
    for (uint64_t page = SMALL_GPA; page < end; page += GPA_PAGE) {
        CHECK_EQUAL(word_at(page)[0], 0);
        CHECK_EQUAL(word_at(page)[511], 0);
        word_at(page)[0] = ~guest_pattern(page);
    }
    CHECK_EQUAL(word_at(end)[0], guest_pattern(end));
    return 0;
}

/* Touch all pages, start the log, write every third: the program wants to see just those. */
static uint32_t step_dirty(void)
{
    for (uint32_t round = 1; round <= 2; round++) {
        for (uint64_t page = LOGGED_GPA; page < LOGGED_GPA + LOGGED_SIZE; page += GPA_PAGE)
            word_at(page)[round] = page;
        act(ACTION_LOG_START);
        for (uint64_t i = 0; i < LOGGED_SIZE / GPA_PAGE; i++) {
            uint64_t page = LOGGED_GPA + i * GPA_PAGE;

            CHECK_EQUAL(word_at(page)[round], page);
            if (i % LOGGED_STRIDE == round)
                word_at(page)[0] = guest_pattern(page);
        }
        act(ACTION_LOG_CHECK);
    }
    return 0;
}

static uint32_t step_mmio(void)
{
    volatile uint32_t *device = (volatile uint32_t *)(uint64_t)MMIO_GPA;

    for (uint32_t i = 0; i < 16; i++) {
        CHECK_EQUAL(device[i], guest_in_value(i));
        device[i] = ~guest_in_value(i);
    }
    CHECK_EQUAL(word_at(READONLY_GPA)[0], host_pattern(READONLY_GPA));
    word_at(READONLY_GPA)[0] = guest_pattern(READONLY_GPA);
    CHECK_EQUAL(word_at(READONLY_GPA)[0], host_pattern(READONLY_GPA));
    return 0;
}

static uint32_t step_paging(void)
{
    const uint64_t large_gva = WINDOW_GVA + GPA_LARGE_PAGE;
    volatile uint64_t *large_pde = word_at(PD_WIN_A_GPA + sizeof(uint64_t));

    *word_at(WIN_PAGE_A_GPA) = 0xa;
    *word_at(WIN_PAGE_B_GPA) = 0xb;
    *word_at(WIN_PAGE_C_GPA) = 0xc;
    CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);

    /* A new translation is due after INVLPG, and after a load of CR3. */
    *window_pte(WINDOW_GVA) = WIN_PAGE_C_GPA | PTE_PRESENT | PTE_WRITE;
    invlpg(WINDOW_GVA);
    CHECK_EQUAL(*word_at(WINDOW_GVA), 0xc);
    *window_pte(WINDOW_GVA) = WIN_PAGE_A_GPA | PTE_PRESENT | PTE_WRITE;
    load_cr3(PML4_A_GPA);
    CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);

    for (uint32_t i = 0; i < 8; i++) {
        load_cr3(PML4_B_GPA);
        CHECK_EQUAL(*word_at(WINDOW_GVA), 0xb);
        load_cr3(PML4_A_GPA);
        CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);
    }

    /* Accessed and dirty flags follow a read and a write, each after its own invalidation. */
    *window_pte(WINDOW_GVA) = WIN_PAGE_A_GPA | PTE_PRESENT | PTE_WRITE;
    invlpg(WINDOW_GVA);
    CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);
    CHECK_EQUAL(*window_pte(WINDOW_GVA) & (PTE_ACCESSED | PTE_DIRTY), PTE_ACCESSED);
    *word_at(WINDOW_GVA) = 0xaa;
    CHECK_EQUAL(*window_pte(WINDOW_GVA) & (PTE_ACCESSED | PTE_DIRTY), PTE_ACCESSED | PTE_DIRTY);
    CHECK_EQUAL(*word_at(WIN_PAGE_A_GPA), 0xaa);
    *word_at(WINDOW_GVA) = 0xa;

    *large_pde = LARGE_GPA | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
    CHECK_EQUAL(*word_at(large_gva), guest_pattern(LARGE_GPA));
    *large_pde = (LARGE_GPA + GPA_LARGE_PAGE) | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
    invlpg(large_gva);
    CHECK_EQUAL(*word_at(large_gva), guest_pattern(LARGE_GPA + GPA_LARGE_PAGE));
    *large_pde = 0;
    invlpg(large_gva);
    return 0;
}

/* #PF: a page not there, one that is read-only, one that holds code but must not be run. */
static uint32_t check_page_faults(void)
{
    void (*returner)(void) = (void (*)(void))WINDOW_NX_GVA;

    *word_at(WIN_PAGE_C_GPA) = 0xc3; /* RET */
    *window_pte(WINDOW_LAZY_GVA) = 0;
    *window_pte(WINDOW_READONLY_GVA) = WIN_PAGE_C_GPA | PTE_PRESENT;
    *window_pte(WINDOW_NX_GVA) = WIN_PAGE_C_GPA | PTE_PRESENT | PTE_NX;
    load_cr3(PML4_A_GPA);

    trap.page_faults = 0;
    word_at(WINDOW_LAZY_GVA)[3] = 3;
    CHECK_EQUAL(trap.page_faults, 1);
    CHECK_EQUAL(trap.error, PF_WRITE);
    CHECK_EQUAL(trap.cr2, WINDOW_LAZY_GVA + 24);

    CHECK_EQUAL(word_at(WINDOW_READONLY_GVA)[3], 3);
    CHECK_EQUAL(trap.page_faults, 1);
    word_at(WINDOW_READONLY_GVA)[3] = 4;
    CHECK_EQUAL(trap.page_faults, 2);
    CHECK_EQUAL(trap.error, PF_PRESENT | PF_WRITE);
    CHECK_EQUAL(trap.cr2, WINDOW_READONLY_GVA + 24);
    CHECK_EQUAL(word_at(WIN_PAGE_C_GPA)[3], 4);

    returner();
    CHECK_EQUAL(trap.page_faults, 3);
    CHECK_EQUAL(trap.error, PF_PRESENT | PF_FETCH);
    CHECK_EQUAL(trap.cr2, WINDOW_NX_GVA);
    return 0;
}

static uint32_t step_faults(void)
{
    uint32_t line = check_page_faults();

    if (line)
        return line;

    __asm__ volatile("movq $1f, %0\n ud2\n1:" : "=m"(trap.resume) : : "memory");
    CHECK_EQUAL(trap.vector, 6);

    /* A selector beyond the table: #GP with the selector as its error code. */
    __asm__ volatile("movq $1f, %0\n movw %1, %%fs\n1:"
                     : "=m"(trap.resume)
                     : "r"((uint16_t)0xff8)
                     : "memory");
    CHECK_EQUAL(trap.vector, 13);
    CHECK_EQUAL(trap.error, 0xff8);

    __asm__ volatile("movq $1f, %0\n xorl %%edx, %%edx\n movl $1, %%eax\n divl %%edx\n1:"
                     : "=m"(trap.resume)
                     :
                     : "eax", "edx", "cc", "memory");
    CHECK_EQUAL(trap.vector, 0);

    trap.breakpoints = 0;
    __asm__ volatile("int3" : : : "memory");
    CHECK_EQUAL(trap.breakpoints, 1);
    return 0;
}

static uint32_t step_msr(void)
{
    static const uint32_t kept[] = {MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP, MSR_LSTAR};
    const uint64_t pat = UINT64_C(0x0007010600070106);
    uint32_t regs[4];
    uint64_t before;

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        wrmsr(kept[i], UINT64_C(0x7000012345678000) >> 20 << i);
        cpuid(CPUID_LEAF, regs);
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        CHECK_EQUAL(rdmsr(kept[i]), UINT64_C(0x7000012345678000) >> 20 << i);
    wrmsr(MSR_PAT, pat);
    cpuid(CPUID_LEAF, regs);
    CHECK_EQUAL(rdmsr(MSR_PAT), pat);

    trap.vector = 0;
    __asm__ volatile("movq $1f, %0\n rdmsr\n1:"
                     : "=m"(trap.resume)
                     : "c"(MSR_UNKNOWN)
                     : "eax", "edx", "memory");
    CHECK_EQUAL(trap.vector, 13);
    CHECK_EQUAL(trap.error, 0);
    trap.vector = 0;
    __asm__ volatile("movq $1f, %0\n wrmsr\n1:"
                     : "=m"(trap.resume)
                     : "c"(MSR_UNKNOWN), "a"(1), "d"(0)
                     : "memory");
    CHECK_EQUAL(trap.vector, 13);

    before = rdtsc();
    cpuid(CPUID_LEAF, regs);
    CHECK_EQUAL(rdtsc() > before, true);
    return 0;
}

/* KVM takes the number in RAX, Hyper-V a control word in RCX, the address of its input in RDX. */
static uint64_t hypercall_with(uint64_t number, uint64_t control, uint64_t input)
{
    uint64_t result = number;

    if (mailbox()->is_amd)
        __asm__ volatile("vmmcall" : "+a"(result) : "c"(control), "d"(input) : "memory");
    else
        __asm__ volatile("vmcall" : "+a"(result) : "c"(control), "d"(input) : "memory");
    return result;
}

static uint64_t hypercall(uint64_t number)
{
    return hypercall_with(number, 0, 0);
}

/* Hyper-V's flushes, which KVM leaves to the hypervisor below it; this guest has no Hyper-V of
 * KVM's, which refuses them if they come to it. An address of the guest's image is one of its
 * memory too. Each shows a new translation where the old one may still be cached. */
static uint32_t flush_by_hypercalls(void)
{
    static volatile uint64_t input[4] __attribute__((aligned(32)));
    uint64_t result;

    *word_at(WIN_PAGE_C_GPA) = 0xc;
    input[1] = HYPERV_ALL_PROCESSORS;
    input[3] = WINDOW_GVA;
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t control = i % 2 == 0 ? HYPERV_FLUSH_SPACE : HYPERV_FLUSH_LIST | HYPERV_ONE_ELEMENT;

        CHECK_EQUAL(*word_at(WINDOW_GVA), i % 2 == 0 ? 0xa : 0xc);
        *window_pte(WINDOW_GVA) =
            (i % 2 == 0 ? WIN_PAGE_C_GPA : WIN_PAGE_A_GPA) | PTE_PRESENT | PTE_WRITE;
        result = hypercall_with(HYPERCALL_UNKNOWN, control, (uint64_t)(uintptr_t)input);
        if (i == 0 && result == HYPERCALL_ENOSYS) {
            *window_pte(WINDOW_GVA) = WIN_PAGE_A_GPA | PTE_PRESENT | PTE_WRITE;
            return 0; /* KVM has no nested paging, and keeps them. */
        }
        CHECK_EQUAL(result, i % 2 == 0 ? 0 : HYPERV_ONE_ELEMENT);
    }
    CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);
    return 0;
}

static uint32_t step_hypercall(void)
{
    CHECK_EQUAL(hypercall(HYPERCALL_POLL_IRQ), 0);
    CHECK_EQUAL(hypercall(HYPERCALL_UNKNOWN), HYPERCALL_ENOSYS);
    return mailbox()->has_direct_flush ? flush_by_hypercalls() : 0;
}

static uint32_t step_registers(void)
{
    CHECK_EQUAL(registers_survive(), 0);
    return 0;
}

static void wait_for_ticks(uint32_t ticks)
{
    while (mailbox()->ticks < ticks)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
}

static uint32_t step_timer(void)
{
    apic_write(APIC_SPURIOUS, APIC_ENABLE);
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, APIC_PERIODIC | VECTOR_TIMER);
    CHECK_EQUAL(apic_read(APIC_LVT_TIMER), APIC_PERIODIC | VECTOR_TIMER);
    mailbox()->ticks = 0;
    apic_write(APIC_TIMER_INITIAL, TIMER_PERIOD_NS);
    wait_for_ticks(TIMER_TICKS);
    apic_write(APIC_TIMER_INITIAL, 0);
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);

    if (mailbox()->have_tsc_deadline) {
        uint64_t deadline;

        mailbox()->ticks = 0;
        apic_write(APIC_LVT_TIMER, APIC_TSC_DEADLINE | VECTOR_TIMER);
        deadline = rdtsc() + TSC_DEADLINE_TICKS;
        wrmsr(MSR_TSC_DEADLINE, deadline);
        wait_for_ticks(1);
        CHECK_EQUAL(rdtsc() >= deadline, true);
        CHECK_EQUAL(mailbox()->ticks, 1);
        apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);
    }
    return 0;
}

/* Wait with interrupts on, without leaving the guest, for a counter the handler moves. */
static bool wait_for(const volatile uint32_t *counter, uint32_t value)
{
    bool reached = false;

    __asm__ volatile("sti" : : : "memory");
    for (uint32_t i = 0; i < SPIN_LIMIT && !reached; i++)
        reached = *counter == value;
    __asm__ volatile("cli" : : : "memory");
    return reached;
}

static void pic_setup(void)
{
    out8(PIC_COMMAND, 0x11);
    out8(PIC_DATA, VECTOR_PIC);
    out8(PIC_DATA, 4);
    out8(PIC_DATA, 1);
    out8(PIC_DATA, (uint8_t)~(1u << PIC_LINE));
    apic_write(APIC_LVT_LINT0, APIC_EXTINT);
}

static uint32_t step_interrupts(void)
{
    uint32_t regs[4];

    trap.self_ipis = 0;
    apic_write(APIC_ICR_HIGH, 0);
    apic_write(APIC_ICR_LOW, APIC_SELF_FIXED | VECTOR_SELF);
    cpuid(CPUID_LEAF, regs);
    CHECK_EQUAL(trap.self_ipis, 0);
    CHECK_EQUAL(wait_for(&trap.self_ipis, 1), true);

    pic_setup();
    trap.line_interrupts = 0;
    act(ACTION_RAISE_LINE);
    cpuid(CPUID_LEAF, regs);
    CHECK_EQUAL(trap.line_interrupts, 0);
    CHECK_EQUAL(wait_for(&trap.line_interrupts, 1), true);
    act(ACTION_LOWER_LINE);

    mailbox()->nmis = 0;
    act(ACTION_NMI);
    CHECK_EQUAL(mailbox()->nmis, 1);
    act(ACTION_NMI);
    CHECK_EQUAL(mailbox()->nmis, 2);
    return 0;
}

static uint32_t step_peer(void)
{
    mailbox()->peer_turns = 0;
    for (uint32_t i = 1; i <= PEER_ROUNDS; i++) {
        act(ACTION_PEER);
        CHECK_EQUAL(mailbox()->peer_turns, i);
        CHECK_EQUAL(*word_at(WINDOW_GVA), 0xa);
    }
    return 0;
}

static void run_steps(void)
{
    static uint32_t (*const steps[STEP_COUNT])(void) = {
        [STEP_CPUID] = step_cpuid,         [STEP_PORTS] = step_ports,
        [STEP_SMALL] = step_small,         [STEP_LARGE] = step_large,
        [STEP_UNMAP] = step_unmap,         [STEP_DIRTY] = step_dirty,
        [STEP_MMIO] = step_mmio,           [STEP_PAGING] = step_paging,
        [STEP_FAULTS] = step_faults,       [STEP_MSR] = step_msr,
        [STEP_HYPERCALL] = step_hypercall, [STEP_REGISTERS] = step_registers,
        [STEP_TIMER] = step_timer,         [STEP_INTERRUPTS] = step_interrupts,
        [STEP_PEER] = step_peer,
    };

    for (uint32_t i = 0; i < STEP_COUNT; i++) {
        mailbox()->step = i;
        mailbox()->failed_line = steps[i]();
        out32(PORT_STEP, i);
    }
}

/* The second vCPU: another address space at the same addresses. It reports by what it OUTs. */
static void run_peer(void)
{
    for (;;) {
        mailbox()->peer_turns++;
        out32(PORT_PEER, (uint32_t)*word_at(WINDOW_GVA));
    }
}

static void run_cost(void)
{
    uint64_t best = UINT64_MAX;
    uint32_t regs[4];

    for (uint32_t batch = 0; batch < COST_BATCHES; batch++) {
        uint64_t start = rdtsc();
        uint64_t spent;

        for (uint32_t i = 0; i < COST_LOOP; i++)
            cpuid(CPUID_LEAF, regs);
        spent = rdtsc() - start;
        if (spent < best)
            best = spent;
    }
    out32(PORT_COST, (uint32_t)best);
    out32(PORT_COST, (uint32_t)(best >> 32));
}

void guest_main(uint64_t program)
{
    if (program == PROGRAM_PEER)
        run_peer();
    idt_load();
    if (program == PROGRAM_COST)
        run_cost();
    else
        run_steps();
}
