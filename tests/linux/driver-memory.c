/* SPDX-License-Identifier: MIT */
/*
 * Tests of the Linux driver whose memory does not stay: punched, moved, swapped, under one vCPU and under two.
 */
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver-test.h"

/* ---- memory that changes under the guest ---- */

/*
 * Adds 1 in each of 64 pages, from 0x10000 on, then OUT to port 0x80, again and again.
 */
static const uint8_t counter[] = {
    0xb9, 0x40, 0x00,             /* mov cx, 64 */
    0xb8, 0x00, 0x10,             /* mov ax, 0x1000 */
    0x8e, 0xc0,                   /* next: mov es, ax */
    0x26, 0x66, 0xff, 0x06, 0, 0, /* inc dword [es:0] */
    0x05, 0x00, 0x01,             /* add ax, 0x100 */
    0x49,                         /* dec cx */
    0x75, 0xf2,                   /* jnz next */
    0xe6, 0x80,                   /* out 0x80, al */
    0xeb, 0xe8                    /* jmp again */
};

#define COUNTED 64u

static uint32_t word_of(const struct machine *m, uint32_t page)
{
    uint32_t word;

    memcpy(&word, m->memory + 0x10000 + page * PAGE, sizeof(word));
    return word;
}

/* One round of the guest: each page is one further than before. */
static void run_round(struct machine *m)
{
    struct nvirt_run run = {.size = sizeof(run)};

    CHECK(run_on(m->vcpu, &run) == 0);
    CHECK(run.reason == NVIRT_EXIT_IO && run.io.port == 0x80);
    if (failures != 0)
        exit(1);
}

/*
 * Pages are punched, moved, write-protected, swapped out where there is swap, and mapped anew between
 * rounds; what the guest then sees is what the process has there.
 */
static void change(struct machine *m, uint32_t *expected, unsigned how, uint32_t page)
{
    uint8_t *at = m->memory + 0x10000 + page * PAGE;

    switch (how % 6) {
    case 0:
        CHECK(madvise(at, PAGE, MADV_DONTNEED) == 0);
        expected[page] = 0;
        break;
    case 1: /* a new page in its place */
        CHECK(mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                   0) == at);
        memcpy(at, &(uint32_t){77}, sizeof(uint32_t));
        expected[page] = 77;
        break;
    case 2: /* copied on write, by a child that is gone again */
        if (fork() == 0)
            _exit(0);
        CHECK(wait(NULL) > 0);
        break;
    case 3:
        CHECK(mprotect(at, PAGE, PROT_READ) == 0);
        CHECK(mprotect(at, PAGE, PROT_READ | PROT_WRITE) == 0);
        break;
    case 4:
        (void)madvise(at, PAGE, 21 /* MADV_PAGEOUT */);
        break;
    default: { /* moved away, and the same page moved back */
        uint8_t *other = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                                m->memory + m->bytes - PAGE * 64);

        CHECK(other != MAP_FAILED);
        CHECK(mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
        CHECK(mmap(other, PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == other);
        break;
    }
    }
}

int subject_memory(int rounds)
{
    struct machine m = make_machine(counter, 0);
    uint32_t expected[COUNTED] = {0};
    const uint8_t jump[] = {0xea, 0x00, 0x08, 0x00, 0x00}; /* jmp 0:0x800 */

    memcpy(m.memory + 0x800, counter, sizeof(counter));
    memcpy(m.memory + 0xffff0, jump, sizeof(jump));
    srand(1);
    for (int round = 0; round < rounds; round++) {
        run_round(&m);
        for (uint32_t page = 0; page < COUNTED; page++) {
            expected[page]++;
            CHECK(word_of(&m, page) == expected[page]);
        }
        if (failures != 0)
            break;
        change(&m, expected, (unsigned)round, (uint32_t)rand() % COUNTED);
    }
    end_machine(&m);
    return failures != 0;
}

/* The same from another thread, while the guest runs: it sees old or new pages, never another's. */
static volatile bool changing;

static void *changer(void *argument)
{
    struct machine *m = argument;

    while (changing) {
        for (uint32_t page = 0; page < COUNTED; page++) {
            uint8_t *at = m->memory + 0x10000 + page * PAGE;

            CHECK(madvise(at, PAGE, page % 2 == 0 ? MADV_DONTNEED : 21) == 0 || errno == EINVAL);
        }
    }
    return NULL;
}

int subject_pressure(int rounds)
{
    struct machine m = make_machine(counter, 0);
    const uint8_t jump[] = {0xea, 0x00, 0x08, 0x00, 0x00};
    pthread_t thread;

    memcpy(m.memory + 0x800, counter, sizeof(counter));
    memcpy(m.memory + 0xffff0, jump, sizeof(jump));
    changing = true;
    CHECK(pthread_create(&thread, NULL, changer, &m) == 0);
    for (int round = 1; round <= rounds; round++) {
        run_round(&m);
        for (uint32_t page = 0; page < COUNTED; page++) {
            uint32_t word = word_of(&m, page);

            /* Odd pages are never emptied. */
            CHECK(page % 2 == 0 ? word <= (uint32_t)round : word == (uint32_t)round);
        }
        if (failures != 0)
            break;
    }
    changing = false;
    CHECK(pthread_join(thread, NULL) == 0);
    end_machine(&m);
    return failures != 0;
}

/*
 * A slot is taken away while its memory is unmapped and the guest writes there: no page that the kernel has given
 * to somebody else meanwhile is written to by the guest, which finds memory or none.
 */
struct slot_remover {
    const struct machine *m;
    volatile bool done;
};

static void *remove_slot(void *argument)
{
    struct slot_remover *r = argument;

    CHECK(set_memory(r->m->vm, 3, 0, 0, NULL, 0) == 0);
    r->done = true;
    return NULL;
}

static void *keep_counting(void *argument)
{
    struct machine *m = argument;
    struct nvirt_run run = {.size = sizeof(run)};

    while (changing) {
        if (run_on(m->vcpu, &run) != 0)
            failures++;
    }
    return NULL;
}

/* Pages that the process has just got are its own: what it freed before is among them. */
static void look_for_strangers(const struct slot_remover *remover)
{
    const size_t bytes = 4 * COUNTED * PAGE;
    uint8_t *fresh = anonymous(bytes);

    memset(fresh, 0x55, bytes);
    do {
        for (size_t at = 0; at < bytes; at += PAGE)
            CHECK(*(volatile uint32_t *)(void *)(fresh + at) == 0x55555555u);
    } while (!remover->done && failures == 0);
    CHECK(munmap(fresh, bytes) == 0);
}

int subject_slots(int rounds)
{
    struct machine m = make_machine(counter, 0);
    const uint8_t jump[] = {0xea, 0x00, 0x08, 0x00, 0x00};
    const uint64_t counted = 0x10000, bytes = COUNTED * PAGE;
    pthread_t guest, thread;

    memcpy(m.memory + 0x800, counter, sizeof(counter));
    memcpy(m.memory + 0xffff0, jump, sizeof(jump));
    CHECK(set_memory(m.vm, 0, 0, 0, m.memory, counted) == 0);
    changing = true;
    CHECK(pthread_create(&guest, NULL, keep_counting, &m) == 0);
    for (int round = 0; round < rounds && failures == 0; round++) {
        struct slot_remover remover = {.m = &m};
        uint8_t *page = anonymous(bytes);

        memset(page, 0, bytes);
        CHECK(set_memory(m.vm, 3, 0, counted, page, bytes) == 0);
        usleep(2000);
        CHECK(pthread_create(&thread, NULL, remove_slot, &remover) == 0);
        usleep((unsigned)round * 37 % 1500);
        CHECK(munmap(page, bytes) == 0);
        look_for_strangers(&remover);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    changing = false;
    CHECK(ioctl(m.vcpu, NVIRT_KICK, 0) == 0);
    CHECK(pthread_join(guest, NULL) == 0);
    end_machine(&m);
    return failures != 0;
}

/* ---- a slot that wanders ---- */

#define WANDERS_FROM 0x10000000u
#define WANDERS_TO 0xf0000000u
#define STEP 0x200000u /* What a table of the lowest level maps. */

static uint64_t stage2_pages(void)
{
    char name[64], line[80];
    unsigned long pages = 0;
    glob_t found;

    snprintf(name, sizeof(name), "/sys/kernel/debug/nvirt/%d-*-vcpu0", (int)getpid());
    if (glob(name, 0, NULL, &found) == 0) {
        FILE *file = fopen(found.gl_pathv[0], "r");

        while (file != NULL && fgets(line, sizeof(line), file) != NULL &&
               sscanf(line, "stage2_pages %lu", &pages) != 1)
            continue;
        CHECK(file != NULL && fclose(file) == 0);
        globfree(&found);
    }
    return pages;
}

/*
 * A slot goes from address to address, and the guest finds its memory at each, for which there must be tables: those of
 * the addresses where it was are given back.
 */
int subject_wander(void)
{
    static const uint8_t hlt[] = {0xf4}, code[] = {
        0xff, 0x06, /* again: inc dword [esi] */
        0xe6, 0x80, /* out 0x80, al */
        0xeb, 0xfa  /* jmp again */
    };
    struct machine m = make_machine(hlt, sizeof(hlt));
    uint8_t *page = anonymous(PAGE);
    struct nvirt_regs regs = {.size = sizeof(regs)};
    uint32_t moves = 0, counted;
    uint64_t most = 0;

    memcpy(m.memory + 0x8000, code, sizeof(code));
    start_in_protected_mode(&m, 0x8000);
    for (uint32_t address = WANDERS_FROM; address < WANDERS_TO && failures == 0; address += STEP) {
        CHECK(set_memory(m.vm, 3, 0, address, page, PAGE) == 0);
        CHECK(ioctl(m.vcpu, NVIRT_GET_REGS, &regs) == 0);
        regs.gpr[6] = address;
        CHECK(ioctl(m.vcpu, NVIRT_SET_REGS, &regs) == 0);
        expect_out(&m, 0x80);
        if (stage2_pages() > most)
            most = stage2_pages();
        moves++;
    }
    memcpy(&counted, page, sizeof(counted));
    CHECK(counted == moves && moves > 1000);
    printf("%u moves, %llu tables\n", moves, (unsigned long long)most);
    CHECK(most > 0 && most < 32);
    end_machine(&m);
    return failures != 0;
}

/* ---- the APIC's page ---- */

/* Stores to the task priority register and loads it again and again; the segment has its base from the program. */
static const uint8_t apic_user[] = {
    0x66, 0xa3, 0x80, 0x00, /* again: mov [0x80], eax */
    0x66, 0x8b, 0x1e, 0x80, 0x00, /* mov ebx, [0x80] */
    0xeb, 0xf5              /* jmp again */
};

static void start_at_apic(const struct machine *m)
{
    struct nvirt_sregs s = {.size = sizeof(s)};

    CHECK(ioctl(m->vcpu, NVIRT_GET_SREGS, &s) == 0);
    s.ds.base = APIC_BASE;
    CHECK(ioctl(m->vcpu, NVIRT_SET_SREGS, &s) == 0);
}

/* The next access is the program's, with its instruction; the program steps over it. */
static void expect_access(const struct machine *m, bool write)
{
    struct nvirt_run run = {.size = sizeof(run)};
    struct nvirt_regs regs = {.size = sizeof(regs)};
    const uint8_t *insn = apic_user + (write ? 0 : 4);
    const uint32_t length = write ? 4 : 5;

    CHECK(run_on(m->vcpu, &run) == 0);
    CHECK(run.reason == NVIRT_EXIT_MMIO && run.mmio.address == APIC_BASE + 0x80);
    CHECK(run.mmio.flags == (write ? NVIRT_MMIO_WRITE : 0));
    CHECK(run.mmio.insn_bytes >= length && memcmp(run.mmio.insn, insn, length) == 0);
    CHECK(ioctl(m->vcpu, NVIRT_GET_REGS, &regs) == 0);
    regs.rip += length;
    CHECK(ioctl(m->vcpu, NVIRT_SET_REGS, &regs) == 0);
}

static bool is_empty(const uint8_t *page)
{
    for (uint32_t at = 0; at < PAGE; at++) {
        if (page[at] != 0)
            return false;
    }
    return true;
}

/* The page goes elsewhere: given back and had anew, mapped over, swapped out, moved away and back. */
static void move_page(uint8_t *page, uint8_t *scratch, unsigned how)
{
    switch (how % 4) {
    case 0:
        CHECK(madvise(page, PAGE, MADV_DONTNEED) == 0);
        break;
    case 1:
        CHECK(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                   0) == page);
        break;
    case 2:
        (void)madvise(page, PAGE, 21 /* MADV_PAGEOUT */);
        break;
    default:
        CHECK(mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, scratch) == scratch);
        CHECK(mremap(scratch, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page) == page);
        break;
    }
}

static void *mover(void *argument)
{
    struct machine *m = argument;
    uint8_t *scratch = anonymous(PAGE);

    for (unsigned how = 0; changing; how++) {
        if (how % 4 != 3) /* in between nothing is there, which is another exit */
            move_page(m->apic, scratch, how);
        CHECK(set_memory(m->vm, 3, 0, 0x40000000, scratch, how % 2 * PAGE) == 0);
        usleep(100);
    }
    return NULL;
}

/*
 * The page behind the APIC moves, between accesses and while the guest runs, and other slots come and go: each access
 * is an exit, none reaches the memory, wherever that is by now.
 */
int subject_apic(int rounds)
{
    struct machine m = make_machine_with(apic_user, sizeof(apic_user), true);
    uint8_t *scratch = anonymous(PAGE);
    pthread_t thread;

    start_at_apic(&m);
    for (unsigned round = 0; round < (unsigned)rounds && failures == 0; round++) {
        expect_access(&m, true);
        expect_access(&m, false);
        move_page(m.apic, scratch, round);
        CHECK(is_empty(m.apic));
    }
    changing = true;
    CHECK(pthread_create(&thread, NULL, mover, &m) == 0);
    for (int round = 0; round < 2 * rounds && failures == 0; round++) {
        expect_access(&m, true);
        expect_access(&m, false);
    }
    changing = false;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(is_empty(m.apic));
    end_machine(&m);
    return failures != 0;
}

/* ---- two vCPUs ---- */

/* As the counter, but for two that count in the same pages: each addition is atomic. */
static const uint8_t shared_counter[] = {
    0xb9, 0x40, 0x00,                   /* mov cx, 64 */
    0xb8, 0x00, 0x10,                   /* mov ax, 0x1000 */
    0x8e, 0xc0,                         /* next: mov es, ax */
    0xf0, 0x26, 0x66, 0xff, 0x06, 0, 0, /* lock inc dword [es:0] */
    0x05, 0x00, 0x01,                   /* add ax, 0x100 */
    0x49,                               /* dec cx */
    0x75, 0xf1,                         /* jnz next */
    0xe6, 0x80,                         /* out 0x80, al */
    0xeb, 0xe7                          /* jmp again */
};

struct runner {
    int vcpu;
    uint32_t rounds;
    volatile pid_t thread;
    bool right;
};

static volatile bool running;

static void *run_rounds(void *argument)
{
    struct runner *r = argument;
    struct nvirt_run run = {.size = sizeof(run)};

    r->thread = gettid();
    r->right = true;
    while (running && r->right) {
        do /* again where the page is write-protected right now */
            r->right = run_on(r->vcpu, &run) == 0;
        while (r->right && run.reason == NVIRT_EXIT_MEMORY);
        if (!r->right || run.reason != NVIRT_EXIT_IO || run.io.port != 0x80) {
            printf("a run ended with errno %d, reason %u, code or address 0x%llx\n", errno, run.reason,
                   (unsigned long long)run.failed.code);
            r->right = false;
        }
        r->rounds++;
    }
    return NULL;
}

static void take_to(pid_t thread, unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(thread == 0 || sched_setaffinity(thread, sizeof(set), &set) == 0);
}

/*
 * Two vCPUs of one VM on two threads, each taken from CPU to CPU, while the pages they share are swapped
 * out, write-protected and copied: no addition is lost, whichever CPU's TLB still had a page.
 */
int subject_two(int moves)
{
    struct machine m = make_machine(shared_counter, 0);
    const uint8_t jump[] = {0xea, 0x00, 0x08, 0x00, 0x00}; /* jmp 0:0x800 */
    struct runner runner[2] = {{.vcpu = m.vcpu}, {.vcpu = create_vcpu(m.vm, 1)}};
    pthread_t thread[2];

    memcpy(m.memory + 0x800, shared_counter, sizeof(shared_counter));
    memcpy(m.memory + 0xffff0, jump, sizeof(jump));
    CHECK(runner[1].vcpu >= 0);
    running = true;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, run_rounds, &runner[i]) == 0);
    for (unsigned move = 0; move < (unsigned)moves && failures == 0; move++) {
        uint8_t *page = m.memory + 0x10000 + (size_t)(move % COUNTED) * PAGE;

        for (unsigned i = 0; i < 2; i++)
            take_to(runner[i].thread, (move + i) % 2);
        (void)madvise(page, PAGE, 21 /* MADV_PAGEOUT */);
        CHECK(mprotect(page, PAGE, PROT_READ) == 0);
        CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
        usleep(1000);
    }
    running = false;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(thread[i], NULL) == 0 && runner[i].right);
    for (uint32_t page = 0; page < COUNTED && failures == 0; page++)
        CHECK(word_of(&m, page) == runner[0].rounds + runner[1].rounds);
    printf("%u and %u rounds\n", runner[0].rounds, runner[1].rounds);
    CHECK(runner[0].rounds > 0 && runner[1].rounds > 0);
    CHECK(close(runner[1].vcpu) == 0);
    end_machine(&m);
    return failures != 0;
}

/*
 * Takes the memory of another process away under it for as long as it lives: all is paged out, and the kernel moves
 * pages to make room for large ones.
 */
int subject_squeeze(pid_t victim)
{
    char name[32], line[256];
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
    unsigned times = 0;

    snprintf(name, sizeof(name), "/proc/%d/maps", (int)victim);
    for (; kill(victim, 0) == 0; times++) {
        FILE *maps = fopen(name, "r"), *compact = fopen("/proc/sys/vm/compact_memory", "w");

        while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
            unsigned long from, to;
            struct iovec range;

            if (sscanf(line, "%lx-%lx rw-p", &from, &to) != 2 || strstr(line, "rw-p") == NULL)
                continue;
            range = (struct iovec){(void *)from, to - from};
            (void)syscall(SYS_process_madvise, pidfd, &range, 1, 21 /* MADV_PAGEOUT */, 0);
        }
        if (maps != NULL)
            fclose(maps);
        if (compact != NULL) {
            fputs("1", compact);
            fclose(compact);
        }
        usleep(200000);
    }
    printf("squeezed %u times\n", times);
    return 0;
}
