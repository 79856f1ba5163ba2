/* SPDX-License-Identifier: MIT */
/*
 * Tests of what the Linux driver takes of its host, and gives back: pages of files, CPUs, hardware tags, memory that
 * counts as locked.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "driver-test.h"

#define CODE 0x8000u
#define CONTROL_PAGE 0x20000u /* the VMCB, or the region for VMXON */

/* An L1 that has nvirt look at its control page, then says OUT, again and again. */
static struct machine make_hypervisor(void)
{
    static const uint8_t hlt[] = {0xf4};
    static const uint8_t svm[] = {
        0xb9, 0x80, 0x00, 0x00, 0xc0, /* mov ecx, EFER */
        0xb8, 0x00, 0x10, 0, 0,       /* mov eax, SVME */
        0x31, 0xd2,                   /* xor edx, edx */
        0x0f, 0x30,                   /* wrmsr */
        0xb8, 0x00, 0x00, 0x02, 0,    /* again: mov eax, CONTROL_PAGE */
        0x0f, 0x01, 0xd8,             /* vmrun: refused, which is written there */
        0xe6, 0x80,                   /* out 0x80, al */
        0xeb, 0xf4                    /* jmp again */
    };
    static const uint8_t vmx[] = {
        0xc7, 0x05, 0x00, 0x30, 0, 0, 0x00, 0x00, 0x02, 0, /* again: mov dword [0x3000], CONTROL_PAGE */
        0xf3, 0x0f, 0xc7, 0x35, 0x00, 0x30, 0, 0,          /* vmxon [0x3000]: without a revision there it fails */
        0xe6, 0x80,                                        /* out 0x80, al */
        0xeb, 0xea                                         /* jmp again */
    };
    struct machine m = make_machine(hlt, sizeof(hlt));

    if (has_svm())
        memcpy(m.memory + CODE, svm, sizeof(svm));
    else
        memcpy(m.memory + CODE, vmx, sizeof(vmx));
    start_in_protected_mode(&m, CODE);
    return m;
}

/*
 * L1's control page is a file's. Between rounds it is written back and write-protected, which makes it clean while it
 * is pinned: that it was written is told to the file system all the same, in the way that it wants.
 */
int subject_file(const char *name)
{
    const int rounds = 100;
    struct machine m = make_hypervisor();
    int file = open(name, O_RDWR | O_CREAT, 0600);
    uint8_t *page = m.memory + CONTROL_PAGE;

    CHECK(file >= 0 && ftruncate(file, PAGE) == 0);
    CHECK(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == page);
    for (int round = 0; round < rounds && failures == 0; round++) {
        expect_out(&m, 0x80);
        CHECK(msync(page, PAGE, MS_SYNC) == 0);
    }
    CHECK(munmap(page, PAGE) == 0);
    expect_out(&m, 0x80);
    end_machine(&m);
    CHECK(close(file) == 0);
    return failures != 0;
}

/* ---- a thread that sleeps on a CPU that is to go ---- */

/* 0, or the error. */
static int set_online(const char *digit)
{
    int file = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY);
    int error = write(file, digit, 1) == 1 ? 0 : errno;

    CHECK(file >= 0 && close(file) == 0);
    return error;
}

/* Whoever touches the page sleeps until answer() is given. */
static int make_unanswered(void *page)
{
    int file = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uintptr_t)page, PAGE},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};

    CHECK(file >= 0 && ioctl(file, UFFDIO_API, &api) == 0);
    CHECK(ioctl(file, UFFDIO_REGISTER, &range) == 0);
    CHECK(madvise(page, PAGE, MADV_DONTNEED) == 0); /* It may have come with a large page. */
    return file;
}

static void answer(int file)
{
    struct pollfd ready = {.fd = file, .events = POLLIN};
    struct uffd_msg message;
    struct uffdio_zeropage zero = {.mode = 0};

    CHECK(poll(&ready, 1, 0) == 1 && read(file, &message, sizeof(message)) == sizeof(message));
    zero.range = (struct uffdio_range){message.arg.pagefault.address & ~(uint64_t)(PAGE - 1), PAGE};
    CHECK(ioctl(file, UFFDIO_ZEROPAGE, &zero) == 0);
}

#define NO_MEMORY 0x400000u

/* An access where no memory is, by an instruction that ends where the control page begins. */
static struct machine make_stranger(void)
{
    static const uint8_t hlt[] = {0xf4}, load[] = {0xa1, 0x00, 0x00, 0x40, 0x00}; /* mov eax, [NO_MEMORY] */
    struct machine m = make_machine(hlt, sizeof(hlt));

    memcpy(m.memory + CONTROL_PAGE - sizeof(load), load, sizeof(load));
    start_in_protected_mode(&m, CONTROL_PAGE - sizeof(load));
    return m;
}

static void *run_on_cpu1(void *argument)
{
    const struct machine *m = argument;
    struct nvirt_run run = {.size = sizeof(run)};
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(1, &set);
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
    CHECK(run_on(m->vcpu, &run) == 0);
    CHECK(run.reason == NVIRT_EXIT_MMIO && run.mmio.address == NO_MEMORY);
    return NULL;
}

/*
 * The bytes of the instruction are read on, into a page that the program does not provide: the vCPU's thread sleeps
 * inside nvirt. The CPU that it is held on cannot go, which is said within seconds; it can when the page has come.
 */
int subject_hostage(void)
{
    struct machine m = make_stranger();
    int file = make_unanswered(m.memory + CONTROL_PAGE);
    struct pollfd asked = {.fd = file, .events = POLLIN};
    pthread_t thread;
    time_t began;

    CHECK(pthread_create(&thread, NULL, run_on_cpu1, &m) == 0);
    CHECK(poll(&asked, 1, 20000) == 1);
    began = time(NULL);
    CHECK(set_online("0") == EBUSY);
    CHECK(time(NULL) - began < 20);
    answer(file);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(set_online("0") == 0 && set_online("1") == 0);
    CHECK(close(file) == 0);
    end_machine(&m);
    return failures != 0;
}

/* ---- hardware tags ---- */

/* vCPUs are made until there is no tag left, and each runs. How many there were. */
static int make_many(const struct machine *m)
{
    int vcpus[NVIRT_API_MAX_VCPUS], count = 0;
    struct nvirt_run run = {.size = sizeof(run)};

    while (count < NVIRT_API_MAX_VCPUS - 1) {
        vcpus[count] = create_vcpu(m->vm, (uint32_t)count + 1);
        if (vcpus[count] < 0)
            break;
        CHECK(run_on(vcpus[count], &run) == 0 && run.reason == NVIRT_EXIT_HLT);
        count++;
    }
    CHECK(count == NVIRT_API_MAX_VCPUS - 1 || errno == ENOSPC);
    for (int i = 0; i < count; i++)
        CHECK(close(vcpus[i]) == 0);
    return count;
}

/* The first vCPUs leave tags for others, on a CPU with as few as 16, and give theirs back. */
int subject_tags(void)
{
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    int count = make_many(&m);

    printf("%d more vCPUs\n", count);
    CHECK(count >= 4);
    CHECK(make_many(&m) == count);
    end_machine(&m);
    return failures != 0;
}

/* ---- locked memory ---- */

static unsigned long locked_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    unsigned long kib = ~0ul;
    char line[128];

    while (status != NULL && fgets(line, sizeof(line), status) != NULL && sscanf(line, "VmLck: %lu", &kib) != 1)
        continue;
    CHECK(status != NULL && fclose(status) == 0 && kib != ~0ul);
    return kib;
}

/* May lock no more than the limit says, though it is root's. */
static void limit_locked(unsigned long pages)
{
    const struct rlimit limit = {pages * PAGE, pages * PAGE};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    CHECK(syscall(SYS_capget, &header, data) == 0);
    data[CAP_IPC_LOCK / 32].effective &= ~(1u << CAP_IPC_LOCK % 32);
    CHECK(syscall(SYS_capset, &header, data) == 0);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
}

/*
 * What may be pinned for a vCPU counts as locked memory of the process, up to its limit, until the vCPU is gone: also
 * when it is another process that closes it.
 */
int subject_locked(void)
{
    static const uint8_t hlt[] = {0xf4};
    struct machine m = make_machine(hlt, sizeof(hlt));
    const unsigned long each = locked_kib();
    int second, status = 1, files[2];
    pid_t child;
    char letter;

    CHECK(each > 0 && each <= 256);
    CHECK(create_vcpu(m.vm, 0) < 0 && errno == EEXIST && locked_kib() == each);
    limit_locked(2 * each * 1024 / PAGE);
    second = create_vcpu(m.vm, 1);
    CHECK(second >= 0 && locked_kib() == 2 * each);
    CHECK(create_vcpu(m.vm, 2) < 0 && errno == ENOMEM && locked_kib() == 2 * each);

    CHECK(pipe(files) == 0);
    child = fork();
    if (child == 0) {
        (void)(read(files[0], &letter, 1) == 1);
        _exit(close(second));
    }
    CHECK(child > 0 && close(second) == 0 && locked_kib() == 2 * each);
    CHECK(write(files[1], "x", 1) == 1 && wait(&status) == child && status == 0);
    CHECK(locked_kib() == each);
    CHECK(close(m.vcpu) == 0 && locked_kib() == 0);
    m.vcpu = create_vcpu(m.vm, 0);
    CHECK(m.vcpu >= 0 && locked_kib() == each);
    end_machine(&m);
    return failures != 0;
}
