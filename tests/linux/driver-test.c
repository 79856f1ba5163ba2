/* SPDX-License-Identifier: MIT */
/*
 * Tests of the Linux driver from the program's side. Run inside the machine that tests/linux/init is
 * the first process of: driver-test SUBJECT [ARGUMENT]; status 0 when all went as it must.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "driver-test.h"

int failures;

/* ---- subjects ---- */

/* A VM comes to be and goes; with KVM on the hardware it is refused with EBUSY. */
static int subject_vm(void)
{
    int device = open(NVIRT_DEVICE, O_RDWR | O_CLOEXEC);
    int vm;

    CHECK(device >= 0);
    CHECK(ioctl(device, NVIRT_GET_VERSION, 0) == NVIRT_API_VERSION);
    vm = create_vm(device);
    if (vm < 0 && errno == EBUSY)
        return 2;
    CHECK(vm >= 0);
    CHECK(close(vm) == 0);
    CHECK(close(device) == 0);
    return failures != 0;
}

/* Registers come back as they were set; reserved bits and what would fault in the kernel are refused. */
static void check_vcpu_ioctls(const struct machine *m)
{
    struct nvirt_run run = {.size = sizeof(run), .flags = 1};
    struct nvirt_sregs sregs = {.size = sizeof(sregs)}, again = {.size = sizeof(again)}, bad;
    struct nvirt_regs regs = {.size = sizeof(regs)}, regs_again = {.size = sizeof(regs_again)};

    CHECK(ioctl(m->vcpu, NVIRT_RUN, &run) < 0 && errno == EINVAL);
    CHECK(ioctl(m->vcpu, NVIRT_KICK, 1) < 0 && errno == EINVAL);
    CHECK(ioctl(m->vcpu, NVIRT_RESET, 1) < 0 && errno == EINVAL);

    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &sregs) == 0 && sregs.level == 1);
    sregs.cr2 = 0x123456789abc;
    sregs.cr8 = 9;
    sregs.ds.base = 0x12340;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &again) == 0);
    CHECK(memcmp(&sregs, &again, sizeof(sregs)) == 0);
    bad = sregs, bad.cr8 = 16;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);
    bad = sregs, bad.dr6 |= UINT64_C(1) << 32;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);
    bad = sregs, bad.dr7 |= UINT64_C(1) << 32;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);
    bad = sregs, bad.efer = UINT64_C(1) << 63;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);
    bad = sregs, bad.cr4 = UINT64_C(1) << 63;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);
    bad = sregs, bad.gs.attributes |= 0x2000;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &bad) < 0 && errno == EINVAL);

    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &regs) == 0 && regs.level == 1);
    for (uint32_t i = 0; i < 16; i++)
        regs.gpr[i] = UINT64_C(0x1111111111111111) * i;
    CHECK(ioctl(m->vcpu, NVIRT_SET_REGS, &regs) == 0);
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &regs_again) == 0);
    CHECK(memcmp(&regs, &regs_again, sizeof(regs)) == 0);
}

/* The APIC's page: one, of one page, before the first vCPU. */
static void check_apic_slot(int device, uint8_t *user)
{
    int vm = create_vm(device), vcpu;

    CHECK(vm >= 0);
    CHECK(set_memory(vm, 0, NVIRT_MEMORY_APIC, APIC_BASE, user, 2 * PAGE) < 0 && errno == EINVAL);
    CHECK(set_memory(vm, 0, NVIRT_MEMORY_APIC, 0, user, PAGE) < 0 && errno == EINVAL);
    CHECK(set_memory(vm, 0, NVIRT_MEMORY_APIC | NVIRT_MEMORY_READONLY, APIC_BASE, user, PAGE) < 0 &&
          errno == EINVAL);
    CHECK(set_memory(vm, 0, NVIRT_MEMORY_APIC, APIC_BASE, user, PAGE) == 0);
    CHECK(set_memory(vm, 1, NVIRT_MEMORY_APIC, APIC_BASE + PAGE, user, PAGE) < 0 && errno == EEXIST);
    CHECK(set_memory(vm, 0, 0, 0, NULL, 0) == 0);
    CHECK(set_memory(vm, 1, NVIRT_MEMORY_APIC, APIC_BASE + PAGE, user, PAGE) == 0);
    vcpu = create_vcpu(vm, 0);
    CHECK(vcpu >= 0);
    CHECK(set_memory(vm, 1, 0, 0, NULL, 0) < 0 && errno == EBUSY);
    CHECK(set_memory(vm, 1, 0, APIC_BASE + PAGE, user, PAGE) < 0 && errno == EBUSY);
    CHECK(set_memory(vm, 2, NVIRT_MEMORY_APIC, APIC_BASE, user, PAGE) < 0 && errno == EEXIST);
    CHECK(close(vcpu) == 0 && close(vm) == 0);
}

/* The same command by a program that was built for fewer members than the driver has, and by one built for more. */
static void check_sizes(const struct machine *m)
{
    struct {
        struct nvirt_sregs known;
        uint64_t later[2];
    } s = {.known = {.size = sizeof(s)}};
    struct nvirt_regs r = {.size = offsetof(struct nvirt_regs, rip), .rip = 7, .rflags = 2}, again = r;

    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &s) == 0 && s.known.size == sizeof(s) && s.known.level == 1);
    CHECK(s.later[0] == 0 && s.later[1] == 0);
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &s) == 0);
    s.later[1] = 1;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &s) < 0 && errno == E2BIG);
    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &s) < 0 && errno == E2BIG);

    r.gpr[3] = 5;
    CHECK(ioctl(m->vcpu, NVIRT_SET_REGS, &r) == 0); /* What is missing is 0. */
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &again) == 0);
    CHECK(again.size == r.size && again.gpr[3] == 5 && again.rip == 7);
    again.size = sizeof(again);
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &again) == 0 && again.gpr[3] == 5 && again.rip == 0);
    r.size = 3;
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &r) < 0 && errno == EINVAL);
}

/* Structures of other sizes, unknown bits, wrong files, wrong places. */
static int subject_ioctls(void)
{
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    uint8_t large[sizeof(struct nvirt_create_vm) + 16];
    struct nvirt_create_vm create = {.size = sizeof(create)};
    struct nvirt_memory memory = {.size = sizeof(memory), .slot = 2, .bytes = PAGE};
    struct nvirt_run run = {.size = sizeof(run)};
    int other;

    create.flags = 1;
    CHECK(ioctl(m.device, NVIRT_CREATE_VM, &create) < 0 && errno == EINVAL);
    create = (struct nvirt_create_vm){.size = 2};
    CHECK(ioctl(m.device, NVIRT_CREATE_VM, &create) < 0 && errno == EINVAL);
    memset(large, 0, sizeof(large));
    *(uint32_t *)(void *)large = sizeof(large);
    other = ioctl(m.device, NVIRT_CREATE_VM, large);
    CHECK(other >= 0 && close(other) == 0);
    large[sizeof(large) - 1] = 1;
    CHECK(ioctl(m.device, NVIRT_CREATE_VM, large) < 0 && errno == E2BIG);
    CHECK(ioctl(m.vm, NVIRT_CREATE_VM, large) < 0 && errno == ENOTTY);
    CHECK(ioctl(m.vcpu, NVIRT_SET_MEMORY, &memory) < 0 && errno == ENOTTY);

    memory.address = 0x1000; /* overlaps slot 0 */
    memory.user = (uintptr_t)m.memory;
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EEXIST);
    memory.address = 0x40000001;
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EINVAL);
    memory.address = UINT64_MAX & ~UINT64_C(0xfff);
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EINVAL);
    memory.address = 0x40000000;
    memory.user = UINT64_C(0xffff800000000000);
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EFAULT);
    memory.slot = NVIRT_API_MAX_SLOTS;
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EINVAL);
    CHECK(create_vcpu(m.vm, 0) < 0 && errno == EEXIST);
    CHECK(create_vcpu(m.vm, NVIRT_API_MAX_VCPUS) < 0 && errno == EINVAL);
    memory.slot = 2;
    memory.flags = 4;
    CHECK(ioctl(m.vm, NVIRT_SET_MEMORY, &memory) < 0 && errno == EINVAL);
    check_apic_slot(m.device, m.memory);

    CHECK(run_on(m.vcpu, &run) == 0 && run.reason == NVIRT_EXIT_HLT);
    if (fork() == 0) {
        /* Another address space. */
        _exit(ioctl(m.vcpu, NVIRT_RUN, &run) < 0 && errno == EIO ? 0 : 1);
    }
    int status = 1;

    CHECK(wait(&status) > 0 && status == 0);
    check_sizes(&m);
    check_vcpu_ioctls(&m);
    end_machine(&m);
    return failures != 0;
}

/*
 * Nested state goes out and into a fresh vCPU; what is damaged, cut, or not for this vendor is refused,
 * and the vCPU runs all the same.
 */
static int subject_nested(void)
{
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    uint8_t saved[8192], again[8192];
    struct nvirt_nested get = {.size = sizeof(get), .bytes = 4, .buffer = (uintptr_t)saved};
    struct nvirt_nested set;
    struct nvirt_run run = {.size = sizeof(run)};
    int other = create_vcpu(m.vm, 1);

    CHECK(other >= 0);
    CHECK(ioctl(m.vcpu, NVIRT_GET_NESTED, &get) < 0 && errno == ENOSPC);
    CHECK(get.bytes > 16 && get.bytes < sizeof(saved)); /* the room that it takes, which is enough: */
    CHECK(ioctl(m.vcpu, NVIRT_GET_NESTED, &get) == 0);
    set = (struct nvirt_nested){.size = sizeof(set), .bytes = get.bytes, .buffer = (uintptr_t)saved};
    CHECK(ioctl(other, NVIRT_SET_NESTED, &set) == 0);
    get.buffer = (uintptr_t)again;
    get.bytes = sizeof(again);
    CHECK(ioctl(other, NVIRT_GET_NESTED, &get) == 0 && get.bytes == set.bytes);
    CHECK(memcmp(saved, again, set.bytes) == 0);
    set.bytes--;
    CHECK(ioctl(other, NVIRT_SET_NESTED, &set) < 0 && errno == EINVAL);
    set.bytes++;
    for (uint32_t at = 0; at < 12; at++) {
        saved[at] ^= 0x80;
        CHECK(ioctl(other, NVIRT_SET_NESTED, &set) < 0 && errno == EINVAL);
        saved[at] ^= 0x80;
    }
    set.bytes = 1u << 20;
    CHECK(ioctl(other, NVIRT_SET_NESTED, &set) < 0 && errno == EINVAL);
    set = (struct nvirt_nested){.size = sizeof(set), .bytes = get.bytes, .buffer = 16};
    CHECK(ioctl(other, NVIRT_SET_NESTED, &set) < 0 && errno == EFAULT);
    CHECK(run_on(other, &run) == 0 && run.reason == NVIRT_EXIT_HLT);
    CHECK(close(other) == 0);
    end_machine(&m);
    return failures != 0;
}

/* ---- INIT and SIPI ---- */

static int inject(int vcpu, uint32_t kind, uint32_t vector)
{
    struct nvirt_inject event = {.size = sizeof(event), .kind = kind, .vector = vector};

    return ioctl(vcpu, NVIRT_INJECT, &event);
}

/*
 * INIT and SIPI are refused outside of VMX operation, where the program carries them out. In VMX root operation an
 * INIT waits, and VMXOFF lets it through; a SIPI is lost. [SDM 3C "VMX Operation"; SDM 3D "VMXOFF"]
 */
static int subject_init(void)
{
    static const uint8_t vmx_user[] = {
        0xb9, 0x80, 0x04, 0, 0,          /* mov ecx, IA32_VMX_BASIC */
        0x0f, 0x32,                      /* rdmsr */
        0x25, 0xff, 0xff, 0xff, 0x7f,    /* and eax, 0x7fffffff */
        0xa3, 0x00, 0x40, 0, 0,          /* mov [0x4000], eax: revision of the region */
        0xc7, 0x05, 0x00, 0x30, 0, 0, 0x00, 0x40, 0, 0, /* mov dword [0x3000], 0x4000 */
        0xf3, 0x0f, 0xc7, 0x35, 0x00, 0x30, 0, 0,       /* vmxon [0x3000] */
        0xe6, 0x80,                      /* out 0x80, al */
        0xe6, 0x81,                      /* out 0x81, al */
        0x0f, 0x01, 0xc4,                /* vmxoff */
        0xe6, 0x82,                      /* out 0x82, al */
    };
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    struct nvirt_run run = {.size = sizeof(run)};
    struct nvirt_regs regs = {.size = sizeof(regs)};
    const int refusal = has_svm() ? EINVAL : EBUSY;

    CHECK(inject(m.vcpu, NVIRT_INJECT_INIT, 0) < 0 && errno == refusal);
    CHECK(inject(m.vcpu, NVIRT_INJECT_SIPI, 1) < 0 && errno == refusal);
    CHECK(inject(m.vcpu, 10, 0) < 0 && errno == EINVAL);
    if (!has_svm()) {
        memcpy(m.memory + 0x8000, vmx_user, sizeof(vmx_user));
        start_in_protected_mode(&m, 0x8000);
        expect_out(&m, 0x80);
        CHECK(inject(m.vcpu, NVIRT_INJECT_INIT, 1) < 0 && errno == EINVAL);
        CHECK(inject(m.vcpu, NVIRT_INJECT_SIPI, 1) == 0);
        CHECK(inject(m.vcpu, NVIRT_INJECT_INIT, 0) == 0 && inject(m.vcpu, NVIRT_INJECT_INIT, 0) == 0);
        expect_out(&m, 0x81);
        CHECK(run_on(m.vcpu, &run) == 0 && run.reason == NVIRT_EXIT_INIT);
        CHECK(ioctl(m.vcpu, NVIRT_RESET, 0) == 0);
        CHECK(ioctl(m.vcpu, NVIRT_GET_REGS, &regs) == 0 && regs.rip == 0xfff0);
        CHECK(run_on(m.vcpu, &run) == 0 && run.reason == NVIRT_EXIT_HLT);
    }
    end_machine(&m);
    return failures != 0;
}

/* A guest that does nothing for ever; with interrupts off, but on Bochs, where those of the host then do not end
 * its run (make_code() has the rule). */
static struct machine make_loop(void)
{
    static const uint8_t loop[] = {0xeb, 0xfe}, with_sti[] = {0xfb, 0xeb, 0xfe};

    return has_svm() ? make_machine(loop, sizeof(loop)) : make_machine(with_sti, sizeof(with_sti));
}

/* The guest runs for so many seconds and is interrupted by timers only. */
static volatile bool rang;

static void on_alarm(int number)
{
    (void)number;
    rang = true;
}

/* The guest is interrupted when the timer rings, a second from here. */
static void check_interrupted(int vcpu)
{
    struct nvirt_run run = {.size = sizeof(run)};

    rang = false;
    alarm(1);
    do
        CHECK(ioctl(vcpu, NVIRT_RUN, &run) < 0 && errno == EINTR);
    while (!rang && failures == 0);
}

static int subject_spin(int seconds)
{
    struct machine m = make_loop();
    struct sigaction action = {.sa_handler = on_alarm};
    time_t end = time(NULL) + seconds;
    unsigned interrupted = 0;

    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    while (time(NULL) < end) {
        check_interrupted(m.vcpu);
        interrupted++;
        if (failures != 0)
            break;
    }
    CHECK(interrupted > 0);
    end_machine(&m);
    return failures != 0;
}

/* ---- random calls ---- */

static uint64_t seed;

static uint32_t any(uint32_t limit)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % limit;
}

static uint64_t odd_number(void)
{
    static const uint64_t some[] = {0, 1, 2, 0xfff, 0x1000, 0xffff, 0x10000, 0xfee00000, 0xfffff000,
                                    UINT64_C(1) << 32, UINT64_C(1) << 47, UINT64_C(1) << 63,
                                    ~UINT64_C(0), ~UINT64_C(0xfff)};

    switch (any(4)) {
    case 0: return any(256);
    case 1: return (uint64_t)any(0x7fffffff) << any(33);
    default: return some[any(sizeof(some) / sizeof(some[0]))];
    }
}

/*
 * What the guest may execute. On QEMU anything: the host's interrupts end its run. Bochs ends it for an interrupt only
 * where RFLAGS.IF is set, or has changed since the entry; [SDM 3C "Other Causes of VM Exits"] has it otherwise. A guest
 * that turns in circles with interrupts off would stop the machine, and random bytes do. So on VMX all memory is HLT,
 * which exits, but for one page: of instructions that exit or fault for many reasons, each with HLT close behind,
 * and none that goes back. What faults is delivered to HLT, to an address without memory, or not at all.
 */
#define PIECES 0x9000u /* in the memory, and at the same place of its last 64 KiB, where CS is after a reset */
#define PIECES_BYTES PAGE

static const uint8_t pieces[][4] = {
    {0x0f, 0xa2, 0xf4, 0xf4}, /* cpuid */
    {0xe4, 0x80, 0xf4, 0xf4}, /* in al, 0x80 */
    {0xe6, 0x80, 0xf4, 0xf4}, /* out 0x80, al */
    {0x0f, 0x30, 0xf4, 0xf4}, /* wrmsr */
    {0x0f, 0x32, 0xf4, 0xf4}, /* rdmsr */
    {0x0f, 0x09, 0xf4, 0xf4}, /* wbinvd */
    {0x0f, 0x33, 0xf4, 0xf4}, /* rdpmc */
    {0x0f, 0x0b, 0xf4, 0xf4}, /* ud2 */
    {0xcd, 0x80, 0xf4, 0xf4}, /* int 0x80 */
    {0xf1, 0xcc, 0xf4, 0xf4}, /* int1; int3 */
    {0xfb, 0x90, 0xf4, 0xf4}, /* sti */
    {0xfa, 0x90, 0xf4, 0xf4}, /* cli */
    {0xff, 0x07, 0xf4, 0xf4}, /* inc [bx] */
    {0x8b, 0x07, 0xf4, 0xf4}, /* mov ax, [bx] */
    {0x0f, 0x20, 0xc0, 0xf4}, /* mov eax, cr0 */
    {0x0f, 0x22, 0xc0, 0xf4}, /* mov cr0, eax */
    {0x0f, 0x22, 0xd8, 0xf4}, /* mov cr3, eax */
    {0x0f, 0x22, 0xe0, 0xf4}, /* mov cr4, eax */
    {0x0f, 0x23, 0xf8, 0xf4}, /* mov dr7, eax */
    {0x0f, 0x01, 0xd1, 0xf4}, /* xsetbv */
    {0x0f, 0x01, 0xc1, 0xf4}, /* vmcall */
    {0x0f, 0x01, 0xc2, 0xf4}, /* vmlaunch */
    {0x0f, 0x01, 0xc4, 0xf4}, /* vmxoff */
    {0x0f, 0x78, 0xc1, 0xf4}, /* vmread */
    {0x0f, 0x79, 0xc1, 0xf4}, /* vmwrite */
    {0x0f, 0xc7, 0x37, 0xf4}, /* vmptrld [bx] */
    {0x0f, 0x01, 0xc8, 0xf4}, /* monitor */
    {0x0f, 0x01, 0xc9, 0xf4}, /* mwait */
};

static void make_code(uint8_t *memory)
{
    if (has_svm()) {
        for (uint32_t i = 0; i < 0xffff0; i += 4)
            memcpy(memory + i, &(uint32_t){any(2) == 0 ? any(0x7fffffff) : 0xf4f4f4f4u}, 4);
        return;
    }
    memset(memory, 0xf4, 0xffff0);
    for (uint32_t i = 0; i < PIECES_BYTES; i += 4) {
        memcpy(memory + PIECES + i, pieces[any(sizeof(pieces) / 4)], 4);
        memcpy(memory + 0xf0000 + PIECES + i, pieces[any(sizeof(pieces) / 4)], 4);
    }
}

static uint32_t random_rip(void)
{
    return has_svm() ? any(0x10000) : PIECES + any(PIECES_BYTES);
}

/* Any structure: half right by its size word, the rest odd numbers or plausible ones. */
static void random_call(const int *files, uint32_t count, uint8_t *memory)
{
    static const struct {
        unsigned long command;
        uint32_t size;
    } calls[] = {
        {NVIRT_GET_VERSION, 0},
        {NVIRT_CREATE_VM, sizeof(struct nvirt_create_vm)},
        {NVIRT_SET_MEMORY, sizeof(struct nvirt_memory)},
        {NVIRT_CREATE_VCPU, sizeof(struct nvirt_create_vcpu)},
        {NVIRT_RUN, sizeof(struct nvirt_run)},
        {NVIRT_GET_REGS, sizeof(struct nvirt_regs)},
        {NVIRT_SET_REGS, sizeof(struct nvirt_regs)},
        {NVIRT_GET_SREGS, sizeof(struct nvirt_sregs)},
        {NVIRT_SET_SREGS, sizeof(struct nvirt_sregs)},
        {NVIRT_INJECT, sizeof(struct nvirt_inject)},
        {NVIRT_KICK, 0},
        {NVIRT_RESET, 0},
        {NVIRT_GET_STATS, sizeof(struct nvirt_vcpu_stats)},
        {NVIRT_GET_NESTED, sizeof(struct nvirt_nested)},
        {NVIRT_SET_NESTED, sizeof(struct nvirt_nested)},
    };
    const uint32_t which = any(sizeof(calls) / sizeof(calls[0]));
    unsigned long command = calls[which].command;
    uint64_t words[64];
    int file = files[any(count)];
    void *argument = words;
    int result;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = any(3) == 0 ? odd_number() : 0;
    words[0] = (words[0] & ~UINT64_C(0xffffffff)) | (any(8) != 0 ? calls[which].size : any(5000));
    if (command == NVIRT_SET_MEMORY && any(2) != 0) {
        words[1] = 0;
        words[2] = (uint64_t)any(512) << 12;
        words[3] = (uint64_t)any(64) << 12;
        words[4] = (uintptr_t)memory + ((uint64_t)any(128) << 12);
        words[0] = 40 | (uint64_t)any(4) << 32;
    }
    if (command == NVIRT_SET_REGS && any(2) != 0)
        words[17] = random_rip();
    if (any(50) == 0)
        command ^= 1ul << any(32);
    if (any(40) == 0)
        argument = (void *)(uintptr_t)odd_number();
    else if (calls[which].size == 0 && any(2) == 0)
        argument = NULL;
    result = ioctl(file, command, argument);
    /* New VMs and vCPUs are not kept: their end is tested, too. */
    if (result > 2 && (command == NVIRT_CREATE_VM || command == NVIRT_CREATE_VCPU))
        close(result);
}

static int subject_fuzz(int seconds, uint64_t start)
{
    time_t end = time(NULL) + seconds;
    struct sigaction action = {.sa_handler = on_alarm};
    uint64_t calls = 0;

    seed = start;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    while (time(NULL) < end && failures == 0) {
        static const uint8_t hlt[] = {0xf4};
        struct machine m = make_machine(hlt, sizeof(hlt));
        const int files[] = {m.device, m.vm, m.vcpu, m.vcpu, m.vcpu, m.vcpu};
        const struct itimerval often = {{0, 5000}, {0, 5000}};

        make_code(m.memory);
        CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
        for (uint32_t i = 0; i < 2000; i++, calls++)
            random_call(files, sizeof(files) / sizeof(files[0]), m.memory);
        CHECK(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
        end_machine(&m);
    }
    printf("%llu calls\n", (unsigned long long)calls);
    return failures != 0;
}

/*
 * A guest that the CPU refused, then set right, is interrupted as any other, though its own RFLAGS.IF is
 * clear: what the refusal left in the VMCB or VMCS does not give it the CPU.
 */
static int subject_refused(void)
{
    struct machine m = make_loop();
    struct sigaction action = {.sa_handler = on_alarm};
    struct nvirt_run run = {.size = sizeof(run)};
    struct nvirt_sregs good = {.size = sizeof(good)}, bad;
    struct nvirt_regs regs = {.size = sizeof(regs)};

    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(ioctl(m.vcpu, NVIRT_GET_SREGS, &good) == 0 && ioctl(m.vcpu, NVIRT_GET_REGS, &regs) == 0);
    bad = good;
    bad.cr0 = 0x80000011; /* long mode without PAE */
    bad.efer = 0x100;
    CHECK(ioctl(m.vcpu, NVIRT_SET_SREGS, &bad) == 0);
    CHECK(run_on(m.vcpu, &run) == 0 && run.reason == NVIRT_EXIT_FAILED);
    CHECK(ioctl(m.vcpu, NVIRT_SET_SREGS, &good) == 0 && ioctl(m.vcpu, NVIRT_SET_REGS, &regs) == 0);
    check_interrupted(m.vcpu);
    end_machine(&m);
    return failures != 0;
}

static int subject_hold_kvm(int seconds)
{
    int device = open("/dev/kvm", O_RDWR);
    int vm = ioctl(device, KVM_CREATE_VM, 0);

    if (vm < 0)
        return 1;
    sleep((unsigned)seconds);
    return 0;
}

/* Bochs ends when it is told so; to other machines the port is nothing. */
static int subject_end(void)
{
    if (iopl(3) != 0)
        return 1;
    (void)tcdrain(STDOUT_FILENO); /* What was said last may still be on its way out. */
    for (const char *letter = "Shutdown"; *letter != '\0'; letter++)
        outb((unsigned char)*letter, 0x8900);
    return 0;
}

int main(int count, char **words)
{
    const char *subject = count > 1 ? words[1] : "";
    int argument = count > 2 ? atoi(words[2]) : 0;

    if (strcmp(subject, "end") == 0)
        return subject_end();
    if (strcmp(subject, "reboot") == 0)
        return reboot(RB_AUTOBOOT);
    if (strcmp(subject, "vm") == 0)
        return subject_vm();
    if (strcmp(subject, "ioctls") == 0)
        return subject_ioctls();
    if (strcmp(subject, "nested") == 0)
        return subject_nested();
    if (strcmp(subject, "init") == 0)
        return subject_init();
    if (strcmp(subject, "first") == 0)
        return subject_first();
    if (strcmp(subject, "gs") == 0)
        return subject_gs();
    if (strcmp(subject, "spin") == 0)
        return subject_spin(argument);
    if (strcmp(subject, "refused") == 0)
        return subject_refused();
    if (strcmp(subject, "memory") == 0)
        return subject_memory(argument);
    if (strcmp(subject, "pressure") == 0)
        return subject_pressure(argument);
    if (strcmp(subject, "slots") == 0)
        return subject_slots(argument);
    if (strcmp(subject, "wander") == 0)
        return subject_wander();
    if (strcmp(subject, "apic") == 0)
        return subject_apic(argument);
    if (strcmp(subject, "squeeze") == 0)
        return subject_squeeze(argument);
    if (strcmp(subject, "two") == 0)
        return subject_two(argument);
    if (strcmp(subject, "fuzz") == 0)
        return subject_fuzz(argument, count > 3 ? strtoull(words[3], NULL, 0) : 1);
    if (strcmp(subject, "file") == 0)
        return subject_file(count > 2 ? words[2] : "");
    if (strcmp(subject, "hostage") == 0)
        return subject_hostage();
    if (strcmp(subject, "tags") == 0)
        return subject_tags();
    if (strcmp(subject, "locked") == 0)
        return subject_locked();
    if (strcmp(subject, "hold-kvm") == 0)
        return subject_hold_kvm(argument);
    printf("driver-test: no subject '%s'\n", subject);
    return 2;
}
