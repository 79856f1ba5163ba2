/* SPDX-License-Identifier: MIT */
/*
 * linux-run IMAGE [COMMAND-LINE]: runs a Multiboot image as L1 on /dev/nvirt, with a serial port on the
 * standard output. The status is what L1 writes to port 0xf4; 124 when it waits for what cannot come,
 * 125 when the driver refuses.
 */
#include "machine.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)
#define O_RDWR_CLOEXEC (2 | 02000000)
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define CLOCK_MONOTONIC 1
#define SIGALRM 14
#define SA_RESTORER 0x04000000ul

struct machine machine;

/* ---- without a C library ---- */

uint64_t sys_now(void)
{
    struct {
        uint64_t seconds, nanoseconds;
    } t;

    sys_call(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&t, 0, 0, 0, 0);
    return t.seconds * 1000000000u + t.nanoseconds;
}

void say(const char *text)
{
    size_t length = 0;

    while (text[length] != '\0')
        length++;
    sys_call(SYS_WRITE, 2, (long)text, (long)length, 0, 0, 0);
}

void say_number(const char *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    digits[--at] = '\n';
    do {
        digits[--at] = "0123456789abcdef"[number % 16];
        number /= 16;
    } while (number != 0);
    say(text);
    say(" 0x");
    say(digits + at);
}

_Noreturn void give_up(const char *text, long error)
{
    say("linux-run: ");
    say_number(text, (uint64_t)-error);
    for (;;)
        sys_call(SYS_EXIT, 125, 0, 0, 0, 0, 0);
}

static long must(long result, const char *text)
{
    if (result < 0)
        give_up(text, result);
    return result;
}

/* ---- the VM ---- */

/* The alarm may ring before the next run has begun: the kick makes that one return. */
static void on_alarm(int number)
{
    (void)number;
    machine.rang = true;
    sys_ioctl(machine.vcpu, NVIRT_KICK, NULL);
}

static void set_alarm_handler(void)
{
    const struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {on_alarm, SA_RESTORER, sys_restorer, 0};

    must(sys_call(SYS_SIGACTION, SIGALRM, (long)&action, 0, sizeof(action.mask), 0, 0),
         "no signal handler: error");
}

/* A page for the driver to watch: what L1 does there is emulated (apic.c), and the page stays empty. */
static void give_apic(int vm)
{
    struct nvirt_memory memory = {.size = sizeof(memory), .slot = 1, .flags = NVIRT_MEMORY_APIC,
                                  .address = APIC_BASE, .bytes = APIC_BYTES};

    machine.apic = (uint8_t *)must(sys_call(SYS_MMAP, 0, APIC_BYTES, PROT_READ_WRITE,
                                            MAP_PRIVATE_ANONYMOUS, -1, 0),
                                   "no memory: error");
    memory.user = (uint64_t)machine.apic;
    must(sys_ioctl(vm, NVIRT_SET_MEMORY, &memory), "the driver refuses the APIC's page: error");
}

static void create(void)
{
    struct nvirt_create_vm vm_create = {.size = sizeof(vm_create)};
    struct nvirt_create_vcpu vcpu_create = {.size = sizeof(vcpu_create)};
    struct nvirt_memory memory = {.size = sizeof(memory), .bytes = MEMORY_BYTES};
    int device = (int)must(sys_call(SYS_OPEN, (long)NVIRT_DEVICE, O_RDWR_CLOEXEC, 0, 0, 0, 0),
                           NVIRT_DEVICE " cannot be opened: error");
    int vm;

    if (sys_ioctl(device, NVIRT_GET_VERSION, NULL) != NVIRT_API_VERSION)
        give_up("the driver has another version", 0);
    vm = (int)must(sys_ioctl(device, NVIRT_CREATE_VM, &vm_create), "no VM: error");
    machine.bytes = MEMORY_BYTES;
    machine.memory = (uint8_t *)must(sys_call(SYS_MMAP, 0, (long)MEMORY_BYTES, PROT_READ_WRITE,
                                              MAP_PRIVATE_ANONYMOUS, -1, 0),
                                     "no memory: error");
    memory.user = (uint64_t)machine.memory;
    must(sys_ioctl(vm, NVIRT_SET_MEMORY, &memory), "the driver refuses the memory: error");
    give_apic(vm);
    machine.vcpu = (int)must(sys_ioctl(vm, NVIRT_CREATE_VCPU, &vcpu_create), "no vCPU: error");
}

/* ---- exits ---- */

static void show_registers(void)
{
    struct nvirt_regs regs = {.size = sizeof(regs)};

    if (sys_ioctl(machine.vcpu, NVIRT_GET_REGS, &regs) == 0) {
        say_number("level", regs.level);
        say_number("rip", regs.rip);
        say_number("rflags", regs.rflags);
    }
}

static _Noreturn void stop(const char *text, uint64_t number)
{
    show_registers();
    give_up(text, -(long)number);
}

/* INS and OUTS: memory operands are not worth a page walk here; the ports that L1s use such on have
 * nothing behind. The registers go on as if all bytes had been moved. */
static void skip_string(const struct nvirt_run *run)
{
    struct nvirt_regs regs = {.size = sizeof(regs)};
    uint64_t count = 1;
    uint32_t index = (run->io.flags & NVIRT_IO_IN) != 0 ? 7 : 6;

    must(sys_ioctl(machine.vcpu, NVIRT_GET_REGS, &regs), "registers: error");
    if ((run->io.flags & NVIRT_IO_REP) != 0) {
        count = regs.gpr[1];
        regs.gpr[1] = 0;
    }
    if ((regs.rflags & 0x400) != 0)
        count = -count;
    regs.gpr[index] += count * run->io.width;
    regs.rip = run->io.next_rip;
    must(sys_ioctl(machine.vcpu, NVIRT_SET_REGS, &regs), "registers: error");
}

static void handle_io(struct nvirt_run *run)
{
    if ((run->io.flags & NVIRT_IO_STRING) != 0)
        skip_string(run);
    else if ((run->io.flags & NVIRT_IO_IN) != 0)
        run->io.data = port_in(run->io.port, run->io.width);
    else
        port_out(run->io.port, run->io.width, run->io.data);
}

/* L1 (or L2) has halted: until there is something to hand over. */
static void wait_for_interrupt(const struct nvirt_run *run)
{
    if ((run->state & (NVIRT_STATE_NMI_WAITS | NVIRT_STATE_INTERRUPT_WAITS)) != 0)
        return;
    while (!interrupts_offer()) {
        uint64_t deadline = interrupts_deadline(), now = sys_now();
        uint64_t left = deadline > now ? deadline - now : 0;
        const uint64_t timeout[2] = {left / 1000000000u, left % 1000000000u};

        if (deadline == 0) {
            say("linux-run: L1 halted for ever\n");
            machine.ended = true;
            machine.status = 124;
            return;
        }
        sys_call(SYS_PPOLL, 0, 0, (long)timeout, 0, 0, 0);
    }
}

static void handle(struct nvirt_run *run)
{
    switch (run->reason) {
    case NVIRT_EXIT_IO:
        handle_io(run);
        break;
    case NVIRT_EXIT_MMIO:
        if (!mmio_emulate(run))
            stop("an access to a device that is not known here, at", run->mmio.address);
        break;
    case NVIRT_EXIT_HLT:
        wait_for_interrupt(run);
        break;
    case NVIRT_EXIT_KICKED:
        break;
    case NVIRT_EXIT_SHUTDOWN:
        stop("L1 met a shutdown", 0);
    case NVIRT_EXIT_MEMORY:
        stop("memory could not be had at", run->mmio.address);
    default:
        stop("the CPU or the driver refused to go on: code", run->failed.code);
    }
}

int run_main(int count, char **words);

int run_main(int count, char **words)
{
    struct nvirt_run run = {.size = sizeof(run)};

    if (count < 2) {
        say("usage: linux-run IMAGE [COMMAND-LINE]\n");
        return 125;
    }
    create();
    set_alarm_handler();
    image_load(words[1], count > 2 ? words[2] : "");
    while (!machine.ended) {
        long result;

        (void)interrupts_offer();
        result = sys_ioctl(machine.vcpu, NVIRT_RUN, &run);
        if (result == SYS_EINTR)
            continue;
        must(result, "the driver refuses to run: error");
        interrupts_settle(run.state, run.cr8);
        handle(&run);
    }
    return (int)machine.status;
}
