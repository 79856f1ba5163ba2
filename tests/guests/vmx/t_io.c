/* SPDX-License-Identifier: MIT */
/*
 * Port I/O of L2: unconditional exiting, both bitmaps, accesses of several bytes, the end of the
 * port space, string instructions and what each exit says.
 * [SDM 3C "I/O-Bitmap Addresses"], [SDM 3C "Exit Qualification for I/O Instructions"].
 */
#include "l2.h"
#include "tests.h"

/* DX is the port, RSI and RDI point to L2's data, RCX counts. */
SNIPPET(in8, "", "inb %dx, %al", "");
SNIPPET(in16, "", "inw %dx, %ax", "");
SNIPPET(in32, "", "inl %dx, %eax", "");
SNIPPET(out8, "", "outb %al, %dx", "");
SNIPPET(out16, "", "outw %ax, %dx", "");
SNIPPET(out32, "", "outl %eax, %dx", "");
SNIPPET(in8_imm, "", "inb $0x80, %al", "");
SNIPPET(out32_imm, "", "outl %eax, $0x80", "");
SNIPPET(insb, "", "insb", "");
SNIPPET(insw, "", "insw", "");
SNIPPET(insl, "", "insl", "");
SNIPPET(outsb, "", "outsb", "");
SNIPPET(outsw, "", "outsw", "");
SNIPPET(outsl, "", "outsl", "");
SNIPPET(rep_insb, "", "rep insb", "");
SNIPPET(rep_outsl, "", "rep outsl", "");
SNIPPET(rep_outsb_addr32, "", ".byte 0x67\nrep outsb", "");
SNIPPET(outsb_fs, "", "outsb %fs:(%rsi), %dx", "");

#define Q(port, bits) (((uint64_t)(port) << 16) | (bits))
#define IN 8u
#define STRING 16u
#define REP 32u
#define IMM 64u
/* Instruction information of INS and OUTS: address size 64 or 32, segment DS or FS. */
#define INFO_A32 (1u << 7)
#define INFO_A64 (2u << 7)
#define INFO_MASK (7u << 7)
#define INFO_SEG(s) ((uint32_t)(s) << 15)
#define INFO_SEG_MASK (7u << 15)

struct row {
    const char *name, *start, *insn, *end;
    uint16_t port;
    uint32_t bits;  /* of the qualification */
    uint32_t info, info_mask;
    uint64_t linear; /* ANY for plain IN and OUT */
};

#define X(name, port, bits, info, mask, linear)                                                    \
    {#name, s_##name, i_##name, e_##name, port, bits, info, mask, linear}
static const struct row rows[] = {
    X(in8, 0x80, IN, 0, 0, ANY),
    X(in16, 0x80, IN | 1, 0, 0, ANY),
    X(in32, 0x80, IN | 3, 0, 0, ANY),
    X(out8, 0x1234, 0, 0, 0, ANY),
    X(out16, 0x8000, 1, 0, 0, ANY),
    X(out32, 0xfffc, 3, 0, 0, ANY),
    X(in8_imm, 0x80, IN | IMM, 0, 0, ANY),
    X(out32_imm, 0x80, IMM | 3, 0, 0, ANY),
    X(insb, 0x80, IN | STRING, INFO_A64, INFO_MASK, L2_DATA + 0x200),
    X(insw, 0x80, IN | STRING | 1, INFO_A64, INFO_MASK, L2_DATA + 0x200),
    X(insl, 0x80, IN | STRING | 3, INFO_A64, INFO_MASK, L2_DATA + 0x200),
    X(outsb, 0x80, STRING, INFO_A64 | INFO_SEG(3), INFO_MASK | INFO_SEG_MASK, L2_DATA + 0x100),
    X(outsw, 0x80, STRING | 1, INFO_A64 | INFO_SEG(3), INFO_MASK | INFO_SEG_MASK, L2_DATA + 0x100),
    X(outsl, 0x80, STRING | 3, INFO_A64 | INFO_SEG(3), INFO_MASK | INFO_SEG_MASK, L2_DATA + 0x100),
    X(rep_insb, 0x80, IN | STRING | REP, INFO_A64, INFO_MASK, L2_DATA + 0x200),
    X(rep_outsl, 0x80, STRING | REP | 3, INFO_A64 | INFO_SEG(3), INFO_MASK | INFO_SEG_MASK,
      L2_DATA + 0x100),
    X(rep_outsb_addr32, 0x80, STRING | REP, INFO_A32 | INFO_SEG(3), INFO_MASK | INFO_SEG_MASK,
      L2_DATA + 0x100),
    X(outsb_fs, 0x80, STRING, INFO_A64 | INFO_SEG(4), INFO_MASK | INFO_SEG_MASK, L2_DATA + 0x900),
};

static void start(const char *code, uint16_t port)
{
    l2_start(code);
    l2.g.rdx = port;
    l2.g.rsi = L2_DATA + 0x100;
    l2.g.rdi = L2_DATA + 0x200;
    l2.g.rcx = 3;
    vmwrite(F_G_FS_BASE, 0x800);
}

static void intercept_port(unsigned port, bool on)
{
    uint8_t *byte = &io_bitmap[port >> 15][(port & 0x7fff) / 8];
    uint8_t bit = (uint8_t)(1u << (port & 7));

    *byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
}

static void run_row(const struct row *r, const char *how)
{
    char name[48];

    start(r->start, r->port);
    (void)l2_run();
    rt_snprintf(name, sizeof(name), "%s.%s", how, r->name);
    (void)expect_exit(name, &(struct expect){R_IO, Q(r->port, r->bits),
                                             (uint64_t)(r->end - r->insn), (uint64_t)r->insn});
    if (r->info_mask != 0)
        check_eq(vmread(F_INSN_INFO) & r->info_mask, r->info, "%s.info", name);
    if (r->linear != ANY)
        check_eq(vmread(F_LINEAR), r->linear, "%s.linear", name);
    check(l2.g.rcx == 3 && l2.g.rsi == L2_DATA + 0x100 && l2.g.rdi == L2_DATA + 0x200,
          "%s.nothing_done", name);
}

static void all_rows(enum l2_mode mode)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l2_reset(mode);
        ctl_set(F_PROC, PROC_IO);
        run_row(&rows[i], "all");
    }
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l2_reset(mode);
        ctl_set(F_PROC, PROC_IO_BITMAPS);
        intercept_port(rows[i].port, true);
        run_row(&rows[i], "bitmap");
    }
}

/* A port and the bit that is set: does an access of that size exit? */
static void bitmap_edges(enum l2_mode mode)
{
    static const struct {
        const char *name, *code;
        uint16_t port, bit;
        bool exits;
    } edges[] = {
        {"byte_below", s_out8, 0x80, 0x7f, false},
        {"byte_above", s_out8, 0x80, 0x81, false},
        {"word_second_byte", s_out16, 0x80, 0x81, true},
        {"word_above", s_out16, 0x80, 0x82, false},
        {"dword_last_byte", s_out32, 0x80, 0x83, true},
        {"dword_above", s_out32, 0x80, 0x84, false},
        {"dword_into_next_byte", s_in32, 0x86, 0x88, true},
        {"bitmap_a_last", s_out8, 0x7fff, 0x7fff, true},
        {"bitmap_b_first", s_out8, 0x8000, 0x8000, true},
        {"word_across_bitmaps", s_in16, 0x7fff, 0x8000, true},
        {"bitmap_b_last", s_out8, 0xffff, 0xffff, true},
        {"a_is_not_b", s_out8, 0x80, 0x8080, false},
    };

    for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        l2_reset(mode);
        ctl_set(F_PROC, PROC_IO_BITMAPS);
        intercept_port(edges[i].bit, true);
        start(edges[i].code, edges[i].port);
        (void)l2_run();
        check_eq(l2.reason, edges[i].exits ? R_IO : R_VMCALL, "edge.%s", edges[i].name);
    }
}

/* An access that runs over port 0xffff exits whatever the bitmaps say. */
static void wrap(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_set(F_PROC, PROC_IO_BITMAPS);
    start(s_in16, 0xffff);
    (void)l2_run();
    (void)expect_exit("wrap.in16", &(struct expect){R_IO, Q(0xffff, IN | 1), 2, (uint64_t)i_in16});
    start(s_out32, 0xfffd);
    (void)l2_run();
    (void)expect_exit("wrap.out32", &(struct expect){R_IO, Q(0xfffd, 3), 1, (uint64_t)i_out32});
}

/* "Use I/O bitmaps" wins over "unconditional I/O exiting". */
static void precedence(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_set(F_PROC, PROC_IO | PROC_IO_BITMAPS);
    start(s_out8, 0x80);
    (void)l2_run();
    (void)expect_done("bitmaps_win");
    l2_reset(mode);
    start(s_rep_outsl, 0x80);
    (void)l2_run();
    (void)expect_done("no_control");
    check(l2.g.rcx == 0 && l2.g.rsi == L2_DATA + 0x10c, "no_control.all_done");
    /* A page of L2 that faults before the access: #PF comes first or last, but nothing is lost. */
    l2_reset(mode);
    ctl_set(F_PROC, PROC_IO_BITMAPS);
    start(s_outsb, 0x80);
    (void)l2_run();
    (void)expect_done("string_without_exit");
    check_eq(l2.g.rsi, L2_DATA + 0x101, "string_without_exit.rsi");
}

void test_io(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("io.%s", l2_mode_name(modes[m]));
        all_rows(modes[m]);
        bitmap_edges(modes[m]);
        wrap(modes[m]);
        precedence(modes[m]);
    }
}
