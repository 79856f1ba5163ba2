/* SPDX-License-Identifier: MIT */
/*
 * The judge of Linux as L1: through /dev/kvm it runs two small guests, one that starts in real
 * mode and climbs to long mode, one that is put straight into long mode and goes through the steps
 * of guest.h. What the guests see they check themselves; what the host side of KVM delivers (exits
 * in order, memory content, dirty pages) is checked here. It prints a line per step and one
 * verdict.
 *
 *   kvm-verdict               everything
 *   kvm-verdict --check       the checks only
 *   kvm-verdict --cost        the cost of one CPUID of the guest only
 *   kvm-verdict --end STATUS  ends the emulator that runs us (QEMU or Bochs); needs root
 */
#define _GNU_SOURCE
#include "guest.h"
#include "vm.h"

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Without progress for this long the run is lost; in an emulator seconds are virtual. */
#define STEP_SECONDS 60

#define QEMU_EXIT_PORT 0xf4
#define BOCHS_EXIT_PORT 0x8900

/* What the exits of one guest have amounted to so far. */
struct progress {
    uint32_t sequence;   /* writes to PORT_SEQUENCE seen */
    uint32_t values;     /* reads of PORT_VALUE answered */
    uint32_t text;       /* bytes of the string OUT seen */
    uint32_t mmio_reads;
    uint32_t mmio_writes;
    uint32_t readonly_writes;
    uint32_t log_round;
    uint32_t step;
    uint32_t real_mark; /* last mark of the real-mode guest */
    uint32_t cost_words;
    uint64_t cost;
};

static const char *const step_names[] = {
#define STEP_NAME(id, name, text) name,
    GUEST_STEPS(STEP_NAME)
};

static const char *const step_texts[] = {
#define STEP_TEXT(id, name, text) text,
    GUEST_STEPS(STEP_TEXT)
};

static char running_step[64] = "start";

static void progress_alarm(int signal_number)
{
    static const char head[] = "VERDICT: FAIL (no progress in: ";

    (void)signal_number;
    (void)!write(STDOUT_FILENO, head, sizeof(head) - 1);
    (void)!write(STDOUT_FILENO, running_step, strlen(running_step));
    (void)!write(STDOUT_FILENO, ")\n", 2);
    _exit(1);
}

static void begin(const char *name)
{
    snprintf(running_step, sizeof(running_step), "%s", name);
    alarm(STEP_SECONDS);
}

_Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    va_list args;

    printf("VERDICT: FAIL (%s: ", running_step);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(")\n");
    fflush(stdout);
    exit(1);
}

static void passed(const char *name, const char *text)
{
    printf("ok   %-20s %s\n", name, text);
    fflush(stdout);
}

/* Widths and values of the counted sequence: bytes, then words, then doublewords. */
static void sequence_write(struct progress *progress, uint32_t value, uint32_t size)
{
    static const uint32_t factors[] = {0x1, 0x101, 0x1010101};
    uint32_t phase = progress->sequence / SEQUENCE_LENGTH;
    uint32_t number = progress->sequence % SEQUENCE_LENGTH;

    if (phase >= 3)
        fail("more than %u writes to the sequence port", 3 * SEQUENCE_LENGTH);
    if (size != 1u << phase || value != number * factors[phase])
        fail("write %u of the sequence: %u bytes, value %#x", progress->sequence, size, value);
    progress->sequence++;
}

static void string_write(struct progress *progress, const char *bytes, uint32_t count)
{
    static const char text[STRING_LENGTH] = "the string OUT of the guest";

    if (count > STRING_LENGTH - progress->text ||
        memcmp(bytes, text + progress->text, count) != 0)
        fail("string OUT differs at byte %u", progress->text);
    progress->text += count;
}

static void real_mark(struct progress *progress, uint32_t mark)
{
    uint32_t expected = progress->real_mark ? progress->real_mark + 1 : REAL_STARTED;

    if (mark != expected)
        fail("the real-mode guest reported %#x after %#x", mark, progress->real_mark);
    if (mark == REAL_CPUID && progress->sequence != SEQUENCE_LENGTH)
        fail("%u writes of the sequence", progress->sequence);
    progress->real_mark = mark;
}

/* Both sides have to see the same memory: word 0 and 511 the guest's, word 1 of even pages ours. */
static void check_region(const struct vm *vm, uint64_t start, uint64_t size)
{
    for (uint64_t gpa = start; gpa < start + size; gpa += GPA_PAGE) {
        const volatile uint64_t *page = vm_at(vm, gpa);
        uint64_t ours = (gpa / GPA_PAGE) % 2 ? 0 : host_pattern(gpa);

        if (page[0] != guest_pattern(gpa) || page[511] != ~guest_pattern(gpa) || page[1] != ours)
            fail("page %#llx differs on the host side", (unsigned long long)gpa);
    }
}

static void check_unmapped_region(const struct vm *vm)
{
    for (uint64_t gpa = SMALL_GPA; gpa < SMALL_GPA + SMALL_SIZE / 4; gpa += GPA_PAGE) {
        const volatile uint64_t *page = vm_at(vm, gpa);

        if (page[0] != ~guest_pattern(gpa) || page[511] != 0)
            fail("page %#llx differs on the host side", (unsigned long long)gpa);
    }
}

/* In round n the guest writes the pages whose number leaves n when divided by LOGGED_STRIDE. */
static void check_dirty_log(struct vm *vm, struct progress *progress)
{
    uint64_t bitmap[LOGGED_SIZE / GPA_PAGE / 64];

    progress->log_round++;
    vm_dirty_log(vm, bitmap);
    for (uint32_t i = 0; i < LOGGED_SIZE / GPA_PAGE; i++) {
        bool dirty = (bitmap[i / 64] >> (i % 64)) & 1;

        if (dirty != (i % LOGGED_STRIDE == progress->log_round))
            fail("round %u: page %u is %sin the dirty log", progress->log_round, i,
                 dirty ? "" : "not ");
    }
    vm_log_dirty_pages(vm, false);
}

static void check_vendor(const struct vm *vm)
{
    uint32_t vendor[3];
    char mine[13] = "", theirs[13] = "";

    host_vendor(vendor);
    memcpy(mine, vendor, 12);
    for (uint32_t i = 0; i < 3; i++)
        vendor[i] = vm->mailbox->vendor[i];
    memcpy(theirs, vendor, 12);
    if (strcmp(mine, theirs) != 0)
        fail("vendor here %s, in the guest %s", mine, theirs);
}

/* The host's side of a step that the guest says has passed. */
static void check_step(const struct vm *vm, const struct progress *progress, uint32_t step)
{
    switch (step) {
    case STEP_CPUID:
        check_vendor(vm);
        break;
    case STEP_PORTS:
        if (progress->sequence != 3 * SEQUENCE_LENGTH || progress->text != STRING_LENGTH ||
            progress->values != SEQUENCE_LENGTH + 1)
            fail("%u writes, %u reads, %u string bytes", progress->sequence, progress->values,
                 progress->text);
        break;
    case STEP_SMALL:
        check_region(vm, SMALL_GPA, SMALL_SIZE);
        break;
    case STEP_LARGE:
        check_region(vm, LARGE_GPA, LARGE_SIZE);
        break;
    case STEP_UNMAP:
        check_unmapped_region(vm);
        break;
    case STEP_DIRTY:
        if (progress->log_round != 2)
            fail("%u rounds", progress->log_round);
        break;
    case STEP_MMIO:
        if (progress->mmio_reads != 16 || progress->mmio_writes != 16 ||
            progress->readonly_writes != 1)
            fail("%u reads, %u writes, %u writes to read-only memory", progress->mmio_reads,
                 progress->mmio_writes, progress->readonly_writes);
        break;
    case STEP_TIMER:
        if (vm->mailbox->ticks == 0)
            fail("no tick counted");
        break;
    default:
        break;
    }
}

static void step_done(const struct vm *vm, struct progress *progress, uint32_t step)
{
    volatile struct guest_mailbox *mailbox = vm->mailbox;

    if (step != progress->step || step >= STEP_COUNT)
        fail("the guest reported step %u, expected %u", step, progress->step);
    if (mailbox->unexpected_rip)
        fail("exception %u at %#llx, error %#llx, CR2 %#llx", mailbox->unexpected_vector,
             (unsigned long long)mailbox->unexpected_rip, (unsigned long long)mailbox->seen[0],
             (unsigned long long)mailbox->seen[1]);
    if (mailbox->failed_line)
        fail("guest.c:%u saw %#llx instead of %#llx", mailbox->failed_line,
             (unsigned long long)mailbox->seen[0], (unsigned long long)mailbox->seen[1]);
    check_step(vm, progress, step);
    passed(step_names[step], step_texts[step]);
    progress->step++;
    if (progress->step < STEP_COUNT)
        begin(step_names[progress->step]);
}

/* Let the second vCPU run up to its report: what it sees through its own page tables. */
static void run_peer(struct vm *vm)
{
    struct vm_io io;

    vcpu_run(&vm->vcpus[1]);
    if (!vcpu_io(&vm->vcpus[1], &io) || io.in || io.port != PORT_PEER)
        fail("the second vCPU stopped with exit %u", vm->vcpus[1].run->exit_reason);
    if (*(uint32_t *)io.data != 0xb)
        fail("the second vCPU read %#x", *(uint32_t *)io.data);
}

static void do_action(struct vm *vm, struct progress *progress, uint32_t action)
{
    switch (action) {
    case ACTION_UNMAP:
        if (madvise(vm_at(vm, SMALL_GPA), SMALL_SIZE / 4, MADV_DONTNEED))
            fail("madvise");
        break;
    case ACTION_LOG_START:
        vm_log_dirty_pages(vm, true);
        break;
    case ACTION_LOG_CHECK:
        check_dirty_log(vm, progress);
        break;
    case ACTION_RAISE_LINE:
        vm_irq_line(vm, PIC_LINE, true);
        break;
    case ACTION_LOWER_LINE:
        vm_irq_line(vm, PIC_LINE, false);
        break;
    case ACTION_NMI:
        vcpu_nmi(&vm->vcpus[0]);
        break;
    case ACTION_PEER:
        run_peer(vm);
        break;
    default:
        fail("unknown action %u", action);
    }
}

static void handle_in(struct progress *progress, const struct vm_io *io)
{
    uint32_t value = guest_in_value(progress->values);

    if (io->port != PORT_VALUE || io->count != 1)
        fail("IN from port %#x", io->port);
    memcpy(io->data, &value, io->size);
    progress->values++;
}

static void handle_out(struct vm *vm, struct progress *progress, const struct vm_io *io)
{
    uint32_t value = 0;

    if (io->port == PORT_STRING) {
        string_write(progress, io->data, io->size * io->count);
        return;
    }
    if (io->count != 1 || io->size > sizeof(value))
        fail("string OUT to port %#x", io->port);
    memcpy(&value, io->data, io->size);
    switch (io->port) {
    case PORT_SEQUENCE:
        sequence_write(progress, value, io->size);
        break;
    case PORT_VALUE: /* an exit for its own sake */
        break;
    case PORT_STEP:
        step_done(vm, progress, value);
        break;
    case PORT_ACTION:
        do_action(vm, progress, value);
        break;
    case PORT_REAL:
        real_mark(progress, value);
        break;
    case PORT_COST:
        progress->cost |= (uint64_t)value << (32 * (progress->cost_words++ & 1));
        break;
    default:
        fail("OUT to port %#x", io->port);
    }
}

static void handle_mmio(struct progress *progress, struct kvm_run *run)
{
    uint32_t number = (uint32_t)(run->mmio.phys_addr - MMIO_GPA) / 4;
    uint32_t value = guest_in_value(number);
    uint64_t wide;

    if (run->mmio.phys_addr == READONLY_GPA && run->mmio.is_write && run->mmio.len == 8) {
        memcpy(&wide, run->mmio.data, sizeof(wide));
        if (wide != guest_pattern(READONLY_GPA))
            fail("write of %#llx to read-only memory", (unsigned long long)wide);
        progress->readonly_writes++;
        return;
    }
    if (run->mmio.phys_addr % 4 || number >= 16 || run->mmio.len != 4)
        fail("MMIO at %#llx", (unsigned long long)run->mmio.phys_addr);
    if (run->mmio.is_write) {
        value = ~value;
        if (memcmp(run->mmio.data, &value, sizeof(value)) != 0)
            fail("MMIO write number %u differs", number);
        progress->mmio_writes++;
    } else {
        memcpy(run->mmio.data, &value, sizeof(value));
        progress->mmio_reads++;
    }
}

/* Run the first vCPU for one exit and do what it asks; false when the guest has halted. */
static bool step_vcpu(struct vm *vm, struct progress *progress)
{
    struct vm_vcpu *vcpu = &vm->vcpus[0];
    struct vm_io io;

    vcpu_run(vcpu);
    if (vcpu_io(vcpu, &io)) {
        if (io.in)
            handle_in(progress, &io);
        else
            handle_out(vm, progress, &io);
        return true;
    }
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_MMIO:
        handle_mmio(progress, vcpu->run);
        return true;
    case KVM_EXIT_HLT:
        return false;
    case KVM_EXIT_INTR:
        return true;
    default:
        vcpu_explain(vcpu);
        fail("exit %u of the guest", vcpu->run->exit_reason);
    }
}

static void check_real_mode(void)
{
    struct progress progress = {0};
    struct vm vm;
    uint32_t *values;

    begin("real mode");
    vm_create(&vm, 1, VM_WITHOUT_IRQCHIP);
    vcpu_start_real_mode(&vm);
    while (step_vcpu(&vm, &progress))
        ;
    values = vm_at(&vm, REAL_VALUE_GPA);
    if (progress.real_mark != REAL_LONG)
        fail("halted after mark %#x", progress.real_mark);
    if (values[0] != REAL_VALUE_UNPAGED || values[1] != REAL_VALUE_PAGED)
        fail("wrote %#x and %#x", values[0], values[1]);
    passed("real mode", "OUTs, CPUID, INT, on to protected and long mode, HLT");
    vm_destroy(&vm);
}

static void check_long_mode(void)
{
    struct progress progress = {0};
    struct vm vm;

    begin(step_names[0]);
    vm_create(&vm, 2, VM_WITH_IRQCHIP);
    vcpu_start_long_mode(&vm, 0, PROGRAM_STEPS);
    vcpu_start_long_mode(&vm, 1, PROGRAM_PEER);
    while (progress.step < STEP_COUNT) {
        if (!step_vcpu(&vm, &progress))
            fail("the guest halted");
    }
    printf("KVM: exits %llu, 2 MiB pages mapped %llu\n",
           (unsigned long long)(vcpu_stat(&vm.vcpus[0], "exits") +
                                vcpu_stat(&vm.vcpus[1], "exits")),
           (unsigned long long)vm_stat(&vm, "pages_2m"));
    vm_destroy(&vm);
}

static void measure_cost(void)
{
    struct progress progress = {0};
    struct vm vm;

    begin("cost");
    vm_create(&vm, 1, VM_WITHOUT_IRQCHIP);
    vcpu_start_long_mode(&vm, 0, PROGRAM_COST);
    while (step_vcpu(&vm, &progress))
        ;
    if (progress.cost_words != 2)
        fail("the guest halted without a result");
    printf("L2 CPUID round trip: %llu ticks\n", (unsigned long long)(progress.cost / COST_LOOP));
    vm_destroy(&vm);
}

/*
 * QEMU's isa-debug-exit ends it with status 2 * STATUS + 1; Bochs ends when "Shutdown" is written.
 * Each ignores the other's port. Returning means that neither is there.
 */
static int end_emulator(const char *status)
{
    if (iopl(3)) {
        perror("kvm-verdict: iopl");
        return 1;
    }
    for (const char *c = "Shutdown"; *c; c++)
        outb((unsigned char)*c, BOCHS_EXIT_PORT);
    outl((uint32_t)strtoul(status, NULL, 10), QEMU_EXIT_PORT);
    return 1;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";

    if (argc == 3 && strcmp(mode, "--end") == 0)
        return end_emulator(argv[2]);
    if (argc > 2 || (argc == 2 && strcmp(mode, "--check") != 0 && strcmp(mode, "--cost") != 0)) {
        fprintf(stderr, "usage: kvm-verdict [--check | --cost | --end STATUS]\n");
        return 2;
    }
    signal(SIGALRM, progress_alarm);
    vm_open();
    if (strcmp(mode, "--cost") != 0) {
        check_real_mode();
        check_long_mode();
    }
    if (strcmp(mode, "--check") != 0)
        measure_cost();
    if (strcmp(mode, "--cost") != 0)
        printf("VERDICT: PASS\n");
    return 0;
}
