/* SPDX-License-Identifier: MIT */
/*
 * Tests of what the Linux driver does to a CPU around a guest's run: translations that others left there, registers that
 * the thread's own would overwrite.
 */
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <nvirt/types.h>

#include "driver-test.h"

#define CODE 0x8000u

/* ---- first use ---- */

static void go_to(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

/* How often all that L1 may have cached was flushed: on VMX, where INVVPID leaves what goes by the root, that is by INVEPT. */
static uint64_t flushes(int vcpu)
{
    struct nvirt_vcpu_stats stats = {.size = sizeof(stats)};
    const size_t tag = offsetof(struct nvirt_stats, flushes_tag) / 8,
                 root = offsetof(struct nvirt_stats, flushes_root) / 8,
                 all = offsetof(struct nvirt_stats, flushes_all) / 8;

    CHECK(ioctl(vcpu, NVIRT_GET_STATS, &stats) == 0);
    return stats.value[all] + stats.value[has_svm() ? tag : root];
}

static uint64_t flushes_of_a_run(int vcpu, unsigned cpu)
{
    struct nvirt_run run = {.size = sizeof(run)};
    uint64_t before = flushes(vcpu);

    go_to(cpu);
    CHECK(run_on(vcpu, &run) == 0 && run.reason == NVIRT_EXIT_IO && run.io.port == 0x80);
    return flushes(vcpu) - before;
}

/* The page of a VM's root was another's before, and a sibling may have run on it: a vCPU flushes before it first runs on
 * a CPU, a second one as well as the first. [SDM 3C "Guidelines for Use of the INVEPT Instruction"] */
int subject_first(void)
{
    static const uint8_t out[] = {0xe6, 0x80, 0xeb, 0xfc};
    struct machine m = make_machine(out, sizeof(out));
    int second = create_vcpu(m.vm, 1);

    CHECK(second >= 0);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        CHECK(flushes_of_a_run(m.vcpu, cpu) >= 1);
        CHECK(flushes_of_a_run(second, cpu) >= 1);
    }
    CHECK(close(second) == 0);
    end_machine(&m);
    return failures != 0;
}

/* ---- GS ---- */

static uint64_t rax_at(const struct machine *m, uint16_t port)
{
    struct nvirt_regs regs = {.size = sizeof(regs)};

    expect_out(m, port);
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &regs) == 0);
    return regs.gpr[0];
}

/*
 * A program whose GS is not null, as that of each 32-bit one: what puts it back loads a base with it, into the MSR that
 * holds the guest's KERNEL_GS_BASE after an exit.
 */
int subject_gs(void)
{
    static const uint8_t code[] = {
        0xb9, 0x02, 0x01, 0x00, 0xc0, /* mov ecx, KERNEL_GS_BASE */
        0xb8, 0x78, 0x56, 0x34, 0x12, /* mov eax, 0x12345678 */
        0x31, 0xd2,                   /* xor edx, edx */
        0x0f, 0x30,                   /* wrmsr */
        0xe6, 0x80,                   /* out 0x80, al */
        0x31, 0xc0,                   /* xor eax, eax */
        0x0f, 0x32,                   /* rdmsr */
        0xe6, 0x81                    /* out 0x81, al */
    };
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    unsigned short user_data = 0x2b, before, after;

    memcpy(m.memory + CODE, code, sizeof(code));
    start_in_protected_mode(&m, CODE);
    __asm__ volatile("mov %%gs, %0" : "=r"(before));
    __asm__ volatile("mov %0, %%gs" : : "r"(user_data));
    expect_out(&m, 0x80);
    CHECK(rax_at(&m, 0x81) == 0x12345678);
    __asm__ volatile("mov %%gs, %0" : "=r"(after));
    CHECK(after == user_data);
    __asm__ volatile("mov %0, %%gs" : : "r"(before));
    end_machine(&m);
    return failures != 0;
}
