/* SPDX-License-Identifier: MIT */
/*
 * System calls by their numbers (x86-64), and what little of a C library the example uses.
 */
#ifndef RUN_SYS_H
#define RUN_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

long sys_call(long number, long a, long b, long c, long d, long e, long f);
void sys_restorer(void);
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

enum {
    SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_LSEEK = 8, SYS_MMAP = 9,
    SYS_SIGACTION = 13, SYS_IOCTL = 16, SYS_PAUSE = 34, SYS_SETITIMER = 38, SYS_EXIT = 231,
    SYS_CLOCK_GETTIME = 228, SYS_PPOLL = 271
};

#define SYS_EINTR (-4l)
#define SYS_EBUSY (-16l)

static inline long sys_ioctl(int file, unsigned long command, void *argument)
{
    return sys_call(SYS_IOCTL, file, (long)command, (long)argument, 0, 0, 0);
}

/* Nanoseconds of a clock that only goes forward. */
uint64_t sys_now(void);

/* "text", then a number in hexadecimal, to the standard error output. */
void say(const char *text);
void say_number(const char *text, uint64_t number);
/* Ends the program with status 125 after "text" and what a system call said. */
_Noreturn void give_up(const char *text, long error);

#endif
