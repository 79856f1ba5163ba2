/* SPDX-License-Identifier: MIT */
/*
 * Tests of what the Linux driver takes of its host, and gives back: pages of files, CPUs, hardware tags, memory that
 * counts as locked.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
