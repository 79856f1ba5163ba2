/* SPDX-License-Identifier: MIT */
/*
 * What L2 runs. L1 maps the image one to one for it, so these are functions like any other; they
 * call nothing that would touch a device itself.
 */
#include "bench.h"

volatile struct l2_touch l2_touch;

__asm__(".text\n"
        ".balign 64\n.globl l2_loop_cpuid\nl2_loop_cpuid:\n1: cpuid\njmp 1b\n");

static void say(const char *text)
{
    while (*text != '\0')
        rt_outb(L2_PORT, (uint8_t)*text++);
}

static void say_vendor(uint32_t leaf)
{
    struct rt_cpuid r = rt_cpuid(leaf, 0);
    uint32_t text[4] = {r.ebx, r.ecx, r.edx, 0};

    /* Leaf 0 gives its twelve letters in the order EBX, EDX, ECX. */
    if (leaf == 0) {
        text[1] = r.edx;
        text[2] = r.ecx;
    }
    say((const char *)text);
}

void l2_hello(void)
{
    say("hello, I am L2 in long mode; CPU ");
    say_vendor(0);
    say(", hypervisor");
    say_vendor(0x40000000);
    say("\n");
    l2_stop();
}

void l2_touch_pages(void)
{
    uint64_t address = l2_touch.begin, step = l2_touch.step, count = l2_touch.count, value;

    for (; count > 0; count--) {
        __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
        address += step;
    }
    l2_stop();
}
