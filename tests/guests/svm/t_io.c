/* SPDX-License-Identifier: MIT */
/*
 * IOIO intercepts: which bits of the I/O permission map count, and what EXITINFO1 and EXITINFO2
 * say. [APM 2 "IOIO Intercepts"]. Port 80h swallows what L2 is allowed to write.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define PORT 0x80
#define SETUP                                                                                      \
    "mov $0x80, %edx; mov $2, %ecx; lea l2_page(%rip), %rsi; mov %rsi, %rdi; xor %eax, %eax"

SNIPPET(g_in8, SETUP, "inb %dx, %al");
SNIPPET(g_in16, SETUP, "inw %dx, %ax");
SNIPPET(g_in32, SETUP, "inl %dx, %eax");
SNIPPET(g_in8i, SETUP, "inb $0x80, %al");
SNIPPET(g_in32i, SETUP, "inl $0x80, %eax");
SNIPPET(g_out8, SETUP, "outb %al, %dx");
SNIPPET(g_out16, SETUP, "outw %ax, %dx");
SNIPPET(g_out32, SETUP, "outl %eax, %dx");
SNIPPET(g_out8i, SETUP, "outb %al, $0x80");
SNIPPET(g_insb, SETUP, "insb");
SNIPPET(g_insw, SETUP, "insw");
SNIPPET(g_insl, SETUP, "insl");
SNIPPET(g_outsb, SETUP, "outsb");
SNIPPET(g_outsw, SETUP, "outsw");
SNIPPET(g_outsl, SETUP, "outsl");
SNIPPET(g_rep_insb, SETUP, "rep insb");
SNIPPET(g_rep_outsb, SETUP, "rep outsb");
SNIPPET(g_rep_outsl, SETUP, "rep outsl");
SNIPPET(g_rep_outsb32, SETUP, "addr32 rep outsb");

#define IN 1u
#define STR (1u << 2)
#define REP (1u << 3)
#define SZ8 (1u << 4)
#define SZ16 (1u << 5)
#define SZ32 (1u << 6)
#define A32 (1u << 8)
#define A64 (1u << 9)
/* TYPE, STR, REP, size and port; the segment needs DecodeAssists. */
#define DEFINED 0xffff007du
#define ADDRESS_SIZE 0x380u

struct row {
    const char *name;
    const uint8_t *code, *at, *next;
    uint32_t info;
};

#define S(g) g, g##_at, g##_next
static const struct row rows[] = {
    {"in8", S(g_in8), IN | SZ8 | A64},
    {"in16", S(g_in16), IN | SZ16 | A64},
    {"in32", S(g_in32), IN | SZ32 | A64},
    {"in8-imm", S(g_in8i), IN | SZ8 | A64},
    {"in32-imm", S(g_in32i), IN | SZ32 | A64},
    {"out8", S(g_out8), SZ8 | A64},
    {"out16", S(g_out16), SZ16 | A64},
    {"out32", S(g_out32), SZ32 | A64},
    {"out8-imm", S(g_out8i), SZ8 | A64},
    {"insb", S(g_insb), IN | STR | SZ8 | A64},
    {"insw", S(g_insw), IN | STR | SZ16 | A64},
    {"insl", S(g_insl), IN | STR | SZ32 | A64},
    {"outsb", S(g_outsb), STR | SZ8 | A64},
    {"outsw", S(g_outsw), STR | SZ16 | A64},
    {"outsl", S(g_outsl), STR | SZ32 | A64},
    {"rep-insb", S(g_rep_insb), IN | STR | REP | SZ8 | A64},
    {"rep-outsb", S(g_rep_outsb), STR | REP | SZ8 | A64},
    {"rep-outsl", S(g_rep_outsl), STR | REP | SZ32 | A64},
    {"rep-outsb-addr32", S(g_rep_outsb32), STR | REP | SZ8 | A32},
};

static void map(uint32_t port, bool on)
{
    uint8_t bit = (uint8_t)(1u << (port % 8));

    iopm[port / 8] = (uint8_t)(on ? iopm[port / 8] | bit : iopm[port / 8] & ~bit);
}

static void intercepted(enum l2_mode mode, const struct row *r)
{
    l2_reset(mode);
    l2_intercept(ICPT_IOIO, true);
    map(PORT, true);
    t_eq(r->name, "code", l2_run_at(r->code), EXIT_IOIO);
    t_eq(r->name, "rip", l2.vmcb->rip, pa(r->at));
    t_eq(r->name, "info1", l2.vmcb->info1 & DEFINED, (r->info & DEFINED) | PORT << 16);
    t_eq(r->name, "address-size", l2.vmcb->info1 & ADDRESS_SIZE, r->info & ADDRESS_SIZE);
    t_eq(r->name, "info2-next-rip", l2.vmcb->info2, pa(r->next));
    t_eq(r->name, "rcx", l2.g.rcx, 2);
    t_eq(r->name, "rdi", l2.g.rdi, pa(l2_page));
    if (cpu_has_nrips()) {
        t_eq(r->name, "nrip", l2.vmcb->nrip, pa(r->next));
    }
    l2.vmcb->rip = l2.vmcb->info2;
    t_eq(r->name, "skipped", l2_run(), EXIT_VMMCALL);
}

/* With every other bit of the map set and the access's own clear, it goes through. */
static void allowed(enum l2_mode mode, const struct row *r)
{
    unsigned int size = (r->info & SZ8) != 0 ? 1 : (r->info & SZ16) != 0 ? 2 : 4;

    l2_reset(mode);
    memset(iopm, 0xff, sizeof iopm);
    for (unsigned int i = 0; i < size; i++) {
        map(PORT + i, false);
    }
    l2_intercept(ICPT_IOIO, true);
    t_eq(r->name, "allowed", l2_run_at(r->code), EXIT_VMMCALL);
    memset(iopm, 0xff, sizeof iopm);
    l2_intercept(ICPT_IOIO, false);
    t_eq(r->name, "bit-clear", l2_run_at(r->code), EXIT_VMMCALL);
}

/* A wide access is checked at each of its bytes, up to the three bits past port FFFFh. */
static void wide(enum l2_mode mode)
{
    static const struct {
        const char *name;
        uint32_t port, bit;
        const uint8_t *at;
        bool hit;
    } cases[] = {
        {"out8-next-bit", PORT, PORT + 1, g_out8_at, false},
        {"out16-second-byte", PORT, PORT + 1, g_out16_at, true},
        {"out16-third-bit", PORT, PORT + 2, g_out16_at, false},
        {"out32-last-byte", PORT, PORT + 3, g_out32_at, true},
        {"out32-bit-before", PORT, PORT - 1, g_out32_at, false},
        {"out32-across-bytes", 0x85, 0x88, g_out32_at, true},
        {"port-ffff-out8", 0xffff, 0xffff, g_out8_at, true},
        {"port-ffff-out16-wraps", 0xffff, 0x10000, g_out16_at, true},
        {"port-ffff-out32-wraps", 0xffff, 0x10002, g_out32_at, true},
        {"port-ffff-not-port-0", 0xffff, 0, g_out16_at, false},
    };

    for (unsigned int i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        l2_reset(mode);
        l2_intercept(ICPT_IOIO, true);
        map(cases[i].bit, true);
        l2.g.rdx = cases[i].port;
        t_eq("wide", cases[i].name, l2_run_at(cases[i].at),
             cases[i].hit ? EXIT_IOIO : EXIT_VMMCALL);
    }
}

/* IOPL and the TSS come before the intercept: at CPL 3 without rights it is #GP. */
static void exceptions_first(enum l2_mode mode)
{
    l2_reset(mode);
    l2_intercept(ICPT_IOIO, true);
    map(PORT, true);
    l2_user();
    t_eq("cpl3", "gp-first", l2_run_at(g_out8), EXIT_EXC(VEC_GP));
    l2.vmcb->rflags |= 3u << 12;
    t_eq("cpl3", "iopl3", l2_run_at(g_out8), EXIT_IOIO);
    t_eq("cpl3", "saved-cpl", l2.vmcb->cpl, 3);
}

void test_io(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("io", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            intercepted(modes[m], &rows[i]);
            allowed(modes[m], &rows[i]);
        }
        wide(modes[m]);
        exceptions_first(modes[m]);
    }
}
