/* SPDX-License-Identifier: MIT */
/*
 * Linux as the guest of Linux: through /dev/kvm this boots a bzImage with an initrd on one CPU with
 * KVM's own interrupt controllers and timer, and a serial port. What the guest prints comes out line
 * by line behind "L2| ". The guest ends the run as it would end QEMU, by a write of its status to
 * port 0xf4; kvm-verdict --end does that.
 *
 *   kvm-linux BZIMAGE INITRD COMMAND_LINE
 *
 * Exit status 0 when the guest's was 0 and it printed "VERDICT: PASS" before.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (UINT64_C(192) << 20)
#define LOW_MEMORY_END 0x9fc00u
#define PARAMS 0x10000u
#define COMMAND_LINE 0x20000u
#define COMMAND_LINE_MAX 2048u
#define GDT 0x30000u
#define KERNEL 0x100000u
/* Without a line of the guest's for so long the run is lost. */
#define QUIET_SECONDS 600

/* Offsets in struct boot_params, Linux' Documentation/x86/boot.rst. */
#define P_E820_ENTRIES 0x1e8
#define P_HEADER 0x1f1
#define P_SETUP_SECTS 0x1f1
#define P_JUMP 0x200
#define P_MAGIC 0x202
#define P_LOADER 0x210
#define P_LOADFLAGS 0x211
#define P_INITRD 0x218
#define P_INITRD_SIZE 0x21c
#define P_HEAP_END 0x224
#define P_COMMAND_LINE 0x228
#define P_E820 0x2d0
#define LOADED_HIGH 1u
#define CAN_USE_HEAP 0x80u

#define SERIAL 0x3f8u
#define SERIAL_IRQ 4u
#define END_PORT 0xf4u

static int kvm, vm, vcpu;
static struct kvm_run *run;
static uint8_t *memory;

/* A 16450 whose transmitter is always empty. */
static struct {
    uint8_t ier, lcr, mcr, scr, dll, dlm;
    bool thr_pending, line_level;
    char line[256];
    uint32_t length;
    bool passed;
} uart;

_Noreturn __attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list args;

    printf("kvm-linux: ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

static void too_quiet(int signal_number)
{
    (void)signal_number;
    fail("the guest says nothing any more");
}

static int must(int result, const char *what)
{
    if (result < 0)
        fail("%s failed", what);
    return result;
}

static void put16(uint32_t at, uint16_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static void put32(uint32_t at, uint32_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

/* ---- the machine ---- */

static void make_machine(void)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    struct kvm_userspace_memory_region slot = {.memory_size = MEMORY};
    static struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[128];
    } cpuid = {.head = {.nent = 128}};
    uint64_t identity_map = 0xfffbc000;

    kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0UL), "KVM_CREATE_VM");
    must(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
    must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000UL), "KVM_SET_TSS_ADDR");
    must(ioctl(vm, KVM_CREATE_IRQCHIP, 0UL), "KVM_CREATE_IRQCHIP");
    must(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory");
    slot.userspace_addr = (uint64_t)(uintptr_t)memory;
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0UL), "KVM_CREATE_VCPU");
    must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    /* KVM's clock, which spares the guest to find out how fast its TSC is, is looked for only where
     * there is a hypervisor. */
    for (uint32_t i = 0; i < cpuid.head.nent; i++) {
        if (cpuid.entries[i].function == 1)
            cpuid.entries[i].ecx |= UINT32_C(1) << 31;
    }
    must(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
    run = mmap(NULL, (size_t)must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL), "mmap size"),
               PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        fail("no run page");
}

/* ---- the kernel, by its 32-bit boot protocol ---- */

static uint8_t *read_file(const char *name, uint32_t *size)
{
    int file = must(open(name, O_RDONLY | O_CLOEXEC), name);
    struct stat status;
    uint8_t *bytes;

    must(fstat(file, &status), name);
    *size = (uint32_t)status.st_size;
    bytes = malloc(*size);
    for (uint32_t at = 0; at < *size;) {
        ssize_t got = bytes == NULL ? -1 : read(file, bytes + at, *size - at);

        if (got <= 0)
            fail("%s cannot be read", name);
        at += (uint32_t)got;
    }
    close(file);
    return bytes;
}

static void load_kernel(const char *name)
{
    uint32_t size, setup;
    uint8_t *image = read_file(name, &size);

    if (size < 0x1000 || memcmp(image + P_MAGIC, "HdrS", 4) != 0)
        fail("%s is no bzImage", name);
    setup = ((image[P_SETUP_SECTS] != 0 ? image[P_SETUP_SECTS] : 4u) + 1u) * 512u;
    if (setup >= size || size - setup > MEMORY / 2)
        fail("%s has a strange size", name);
    memcpy(memory + PARAMS + P_HEADER, image + P_HEADER, P_MAGIC + image[P_JUMP + 1] - P_HEADER);
    memcpy(memory + KERNEL, image + setup, size - setup);
    free(image);
}

static void e820(uint32_t index, uint64_t start, uint64_t size)
{
    uint8_t *entry = memory + PARAMS + P_E820 + 20 * index;
    uint32_t ram = 1;

    memcpy(entry, &start, 8);
    memcpy(entry + 8, &size, 8);
    memcpy(entry + 16, &ram, 4);
    memory[PARAMS + P_E820_ENTRIES] = (uint8_t)(index + 1);
}

static void load(char **arguments)
{
    uint32_t size, at;
    uint8_t *initrd;

    load_kernel(arguments[1]);
    initrd = read_file(arguments[2], &size);
    at = (uint32_t)(MEMORY - size) & ~0xfffu;
    memcpy(memory + at, initrd, size);
    free(initrd);
    if (strlen(arguments[3]) >= COMMAND_LINE_MAX)
        fail("the command line is too long");
    strcpy((char *)memory + COMMAND_LINE, arguments[3]);
    memory[PARAMS + P_LOADER] = 0xff;
    memory[PARAMS + P_LOADFLAGS] |= LOADED_HIGH | CAN_USE_HEAP;
    put16(PARAMS + P_HEAP_END, 0xfe00);
    put32(PARAMS + P_INITRD, at);
    put32(PARAMS + P_INITRD_SIZE, size);
    put32(PARAMS + P_COMMAND_LINE, COMMAND_LINE);
    e820(0, 0, LOW_MEMORY_END);
    e820(1, KERNEL, MEMORY - KERNEL);
}

static void set_registers(void)
{
    static const uint64_t gdt[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    struct kvm_segment code = {.limit = 0xffffffff, .selector = 0x10, .type = 0xb, .present = 1,
                               .db = 1, .s = 1, .g = 1};
    struct kvm_segment data = code;
    struct kvm_regs regs = {.rip = KERNEL, .rsi = PARAMS, .rflags = 2};
    struct kvm_sregs sregs;

    memcpy(memory + GDT, gdt, sizeof(gdt));
    data.selector = 0x18;
    data.type = 3;
    must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt.base = GDT;
    sregs.gdt.limit = sizeof(gdt) - 1;
    sregs.cr0 = 0x11;
    must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

/* ---- the serial port ---- */

static void update_line(void)
{
    bool level = (uart.ier & 2) != 0 && uart.thr_pending;
    struct kvm_irq_level irq = {.irq = SERIAL_IRQ, .level = level};

    if (level != uart.line_level) {
        uart.line_level = level;
        must(ioctl(vm, KVM_IRQ_LINE, &irq), "KVM_IRQ_LINE");
    }
}

static void print_char(char c)
{
    if (c == '\r')
        return;
    if (c != '\n' && uart.length < sizeof(uart.line) - 1) {
        uart.line[uart.length++] = c;
        return;
    }
    uart.line[uart.length] = '\0';
    uart.passed = uart.passed || strcmp(uart.line, "VERDICT: PASS") == 0;
    printf("L2| %s\n", uart.line);
    fflush(stdout);
    uart.length = 0;
    alarm(QUIET_SECONDS);
}

static void serial_out(uint32_t reg, uint8_t value)
{
    bool dlab = (uart.lcr & 0x80) != 0;

    switch (reg) {
    case 0:
        if (dlab) {
            uart.dll = value;
        } else if ((uart.mcr & 0x10) == 0) {
            print_char((char)value);
            uart.thr_pending = true;
        }
        break;
    case 1:
        if (dlab) {
            uart.dlm = value;
        } else {
            uart.thr_pending = uart.thr_pending || ((value & ~uart.ier) & 2) != 0;
            uart.ier = value & 0xf;
        }
        break;
    case 3:
        uart.lcr = value;
        break;
    case 4:
        uart.mcr = value & 0x1f;
        break;
    case 7:
        uart.scr = value;
        break;
    default:
        break;
    }
    update_line();
}

static uint8_t interrupt_cause(void)
{
    if (!uart.line_level)
        return 1;
    uart.thr_pending = false;
    update_line();
    return 2;
}

static uint8_t serial_in(uint32_t reg)
{
    bool dlab = (uart.lcr & 0x80) != 0;

    switch (reg) {
    case 0:
        return dlab ? uart.dll : 0;
    case 1:
        return dlab ? uart.dlm : uart.ier;
    case 2:
        return interrupt_cause();
    case 3:
        return uart.lcr;
    case 4:
        return uart.mcr;
    case 5:
        return 0x60; /* transmitter empty, nothing received */
    case 6:
        if ((uart.mcr & 0x10) == 0)
            return 0xb0;
        /* Looped back: RTS, DTR, OUT1 and OUT2 as CTS, DSR, RI and DCD. */
        return (uint8_t)((uart.mcr & 2) << 3 | (uart.mcr & 1) << 5 | (uart.mcr & 0xc) << 4);
    default:
        return uart.scr;
    }
}

/* ---- exits ---- */

static void port_out(uint32_t port, uint32_t size, const uint8_t *data)
{
    uint32_t value = 0;

    memcpy(&value, data, size);
    if (port - SERIAL < 8 && size == 1) {
        serial_out(port - SERIAL, data[0]);
    } else if (port == END_PORT) {
        if (value != 0 || !uart.passed)
            fail("the guest ended with %u, %s verdict", value, uart.passed ? "a good" : "no good");
        exit(0);
    }
}

/* There is nothing else: a bus reads ones. But a clock that is always being updated is waited for. */
static void port_in(uint32_t port, uint32_t size, uint8_t *data)
{
    memset(data, port == 0x71 ? 0 : 0xff, size);
    if (port - SERIAL < 8 && size == 1)
        data[0] = serial_in(port - SERIAL);
}

static void handle_io(void)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_OUT)
            port_out(run->io.port, run->io.size, data);
        else
            port_in(run->io.port, run->io.size, data);
    }
}

static void run_guest(void)
{
    for (;;) {
        if (ioctl(vcpu, KVM_RUN, 0UL) < 0)
            continue; /* a signal */
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            handle_io();
            break;
        case KVM_EXIT_MMIO:
            if (!run->mmio.is_write)
                memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
            break;
        case KVM_EXIT_INTR:
            break;
        default:
            fail("exit %u of the guest", run->exit_reason);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: kvm-linux BZIMAGE INITRD COMMAND_LINE\n");
        return 2;
    }
    signal(SIGALRM, too_quiet);
    alarm(QUIET_SECONDS);
    make_machine();
    load(argv);
    set_registers();
    run_guest();
}
