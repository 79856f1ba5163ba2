/* SPDX-License-Identifier: MIT */
/*
 * rt: the smallest runtime a bare-metal x86-64 image needs, shared by the example host and the
 * test guests. It boots by Multiboot 1 (boot.S, rt.ld), owns GDT, IDT, TSS and an identity map of
 * the first 4 GiB, turns exceptions into return values through a fixup table, prints, and ends
 * the emulator. One CPU, interrupts off unless the image turns them on.
 *
 * An image defines `void rt_main(uint32_t magic, uint32_t mbi)`; rt_cpu_init() has run by then.
 * Build it with rt.cmake (rt_add_image) or with the flags written there.
 *
 * An image linked as PIE may move itself with rt_move(). Everything here then works from the new
 * copy, because each address is formed relative to RIP and rt_cpu_init() rebuilds the tables.
 */
#ifndef RT_H
#define RT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One image, no dynamic linking: nothing here is reached through a table of addresses. */
#pragma GCC visibility push(hidden)

/* --- Segment selectors of the runtime's GDT ------------------------------------------------ */

/* The order from RT_SEL_USER_CS32 on is the one SYSRET needs (STAR[63:48] = RT_SEL_USER_CS32). */
#define RT_SEL_CS64 0x08u
#define RT_SEL_DS 0x10u
#define RT_SEL_CS32 0x18u
#define RT_SEL_DS32 0x20u
#define RT_SEL_USER_CS32 0x2bu
#define RT_SEL_USER_DS 0x33u
#define RT_SEL_USER_CS64 0x3bu
#define RT_SEL_TSS 0x40u /* 16 bytes */
#define RT_SEL_CS16 0x50u
#define RT_SEL_DS16 0x58u
#define RT_SEL_FREE 0x60u /* first of four slots for the image's own use */
#define RT_GDT_ENTRIES 16u

/* --- Multiboot 1 ---------------------------------------------------------------------------- */

#define RT_MB_MAGIC 0x2badb002u
#define RT_MB_MEMORY (1u << 0)
#define RT_MB_CMDLINE (1u << 2)
#define RT_MB_MODULES (1u << 3)
#define RT_MB_MMAP (1u << 6)

struct rt_mb_info {
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB */
    uint32_t boot_device;
    uint32_t cmdline; /* physical address of a C string */
    uint32_t mods_count, mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length, mmap_addr;
    uint32_t drives_length, drives_addr;
    uint32_t config_table;
    uint32_t boot_loader_name;
    uint32_t apm_table;
    uint32_t vbe_control_info, vbe_mode_info;
    uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
};

struct rt_mb_module {
    uint32_t start, end; /* physical, end exclusive */
    uint32_t cmdline;
    uint32_t reserved;
};

/* `size` does not count itself: the next entry is at (char *)entry + size + 4. */
struct rt_mb_mmap {
    uint32_t size;
    uint64_t base, length;
    uint32_t type; /* 1 is usable RAM */
} __attribute__((packed));

/* --- Port I/O, MSRs, registers --------------------------------------------------------------- */

static inline void rt_outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void rt_outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void rt_outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t rt_inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t rt_inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t rt_inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

struct rt_cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct rt_cpuid rt_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct rt_cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf)
                     : "memory");
    return r;
}

static inline uint64_t rt_rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return ((uint64_t)hi << 32) | lo;
}

static inline void rt_wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
                     : "memory");
}

static inline uint64_t rt_rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return ((uint64_t)hi << 32) | lo;
}

#define RT_READ_WRITE_REG(reg)                                                                     \
    static inline uint64_t rt_read_##reg(void)                                                     \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("movq %%" #reg ", %0" : "=r"(v) : : "memory");                            \
        return v;                                                                                  \
    }                                                                                              \
    static inline void rt_write_##reg(uint64_t v)                                                  \
    {                                                                                              \
        __asm__ volatile("movq %0, %%" #reg : : "r"(v) : "memory");                                \
    }
RT_READ_WRITE_REG(cr0)
RT_READ_WRITE_REG(cr2)
RT_READ_WRITE_REG(cr3)
RT_READ_WRITE_REG(cr4)
RT_READ_WRITE_REG(cr8)
RT_READ_WRITE_REG(dr0)
RT_READ_WRITE_REG(dr1)
RT_READ_WRITE_REG(dr2)
RT_READ_WRITE_REG(dr3)
RT_READ_WRITE_REG(dr6)
RT_READ_WRITE_REG(dr7)
#undef RT_READ_WRITE_REG

#define RT_READ_SEG(seg)                                                                           \
    static inline uint16_t rt_read_##seg(void)                                                     \
    {                                                                                              \
        uint16_t v;                                                                                \
        __asm__ volatile("movw %%" #seg ", %0" : "=r"(v) : : "memory");                            \
        return v;                                                                                  \
    }
#define RT_WRITE_SEG(seg)                                                                          \
    static inline void rt_write_##seg(uint16_t v)                                                  \
    {                                                                                              \
        __asm__ volatile("movw %0, %%" #seg : : "r"(v) : "memory");                                \
    }
RT_READ_SEG(cs)
RT_READ_SEG(ss)
RT_READ_SEG(ds)
RT_READ_SEG(es)
RT_READ_SEG(fs)
RT_READ_SEG(gs)
RT_WRITE_SEG(ss)
RT_WRITE_SEG(ds)
RT_WRITE_SEG(es)
RT_WRITE_SEG(fs)
RT_WRITE_SEG(gs)
#undef RT_READ_SEG
#undef RT_WRITE_SEG

/* The operand of LGDT, SGDT, LIDT and SIDT in 64-bit mode. */
struct rt_dtr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static inline struct rt_dtr rt_sgdt(void)
{
    struct rt_dtr d;
    __asm__ volatile("sgdt %0" : "=m"(d));
    return d;
}

static inline struct rt_dtr rt_sidt(void)
{
    struct rt_dtr d;
    __asm__ volatile("sidt %0" : "=m"(d));
    return d;
}

static inline void rt_lgdt(const struct rt_dtr *d)
{
    __asm__ volatile("lgdt %0" : : "m"(*d) : "memory");
}

static inline void rt_lidt(const struct rt_dtr *d)
{
    __asm__ volatile("lidt %0" : : "m"(*d) : "memory");
}

static inline uint16_t rt_str(void)
{
    uint16_t v;
    __asm__ volatile("str %0" : "=r"(v));
    return v;
}

static inline void rt_ltr(uint16_t sel)
{
    __asm__ volatile("ltr %0" : : "r"(sel) : "memory");
}

static inline uint16_t rt_sldt(void)
{
    uint16_t v;
    __asm__ volatile("sldt %0" : "=r"(v));
    return v;
}

static inline void rt_lldt(uint16_t sel)
{
    __asm__ volatile("lldt %0" : : "r"(sel) : "memory");
}

/* LAR: access rights of a selector (bits 15:8 and 23:20), or 0 when it is not valid. */
static inline uint32_t rt_lar(uint16_t sel)
{
    uint32_t v = 0;
    __asm__ volatile("lar %1, %0" : "+r"(v) : "r"((uint32_t)sel) : "cc", "memory");
    return v;
}

/* LSL: limit in bytes of a selector, or 0 when it is not valid. */
static inline uint32_t rt_lsl(uint16_t sel)
{
    uint32_t v = 0;
    __asm__ volatile("lsl %1, %0" : "+r"(v) : "r"((uint32_t)sel) : "cc", "memory");
    return v;
}

static inline uint64_t rt_read_rflags(void)
{
    uint64_t v;
    __asm__ volatile("pushfq; popq %0" : "=r"(v) : : "memory");
    return v;
}

static inline void rt_write_rflags(uint64_t v)
{
    __asm__ volatile("pushq %0; popfq" : : "r"(v) : "memory", "cc");
}

static inline void rt_cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void rt_sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void rt_invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* --- Exceptions ------------------------------------------------------------------------------- */

struct rt_trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error; /* error is 0 for vectors without one */
    uint64_t rip, cs, rflags, rsp, ss;
};

/*
 * Called first for every exception and interrupt (all 256 vectors are installed; NMI, #DF and #MC
 * run on stacks of their own). Return true to resume from the frame, which may be changed; false
 * hands the event on to the fixup table, and then to the report that stops the machine.
 */
typedef bool (*rt_trap_hook)(struct rt_trap_frame *frame);

/* Sets the hook and returns the one before; NULL for none. */
rt_trap_hook rt_set_trap_hook(rt_trap_hook hook);

/* The exception that the fixup table caught last. `count` grows by one each time. */
struct rt_fault {
    uint64_t vector, error, cr2, rip;
    uint64_t count;
};
extern struct rt_fault rt_fault;

/*
 * One row of the fixup table: if the instruction at the first label faults, execution goes on at
 * the second. Offsets are relative to the row, so a moved image keeps its table. Use inside asm:
 * "1: rdmsr\n 2:\n" RT_FIXUP("1b", "2b").
 */
#define RT_FIXUP(insn, target)                                                                     \
    ".pushsection .rt_fixup, \"a\"\n"                                                              \
    ".balign 4\n"                                                                                  \
    ".long " insn " - .\n"                                                                         \
    ".long " target " - .\n"                                                                       \
    ".popsection\n"

/* RDMSR and WRMSR that report a fault: true on success; on false, rt_fault tells the vector. */
static inline bool rt_rdmsr_safe(uint32_t msr, uint64_t *value)
{
    uint32_t lo = 0, hi = 0, failed = 1;
    __asm__ volatile("1: rdmsr\n"
                     "xorl %2, %2\n"
                     "2:\n" RT_FIXUP("1b", "2b")
                     : "+a"(lo), "+d"(hi), "+r"(failed)
                     : "c"(msr)
                     : "memory", "cc");
    *value = ((uint64_t)hi << 32) | lo;
    return failed == 0;
}

static inline bool rt_wrmsr_safe(uint32_t msr, uint64_t value)
{
    uint32_t failed = 1;
    __asm__ volatile("1: wrmsr\n"
                     "xorl %0, %0\n"
                     "2:\n" RT_FIXUP("1b", "2b")
                     : "+r"(failed)
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory", "cc");
    return failed == 0;
}

/* --- CPU set-up ------------------------------------------------------------------------------- */

/*
 * Builds GDT, TSS, IDT and the 4 GiB identity map at the addresses the image has now, loads them
 * and reloads every segment register. May be called again at any time. Sets EFER.NXE where the
 * CPU has it and clears CR0.TS, EM, CD and NW.
 */
void rt_cpu_init(void);

/* Physical (= linear) address of the identity map's root. */
uint64_t rt_page_root(void);

/* The live tables, for tests that look at or change them. */
uint64_t *rt_gdt(void);
struct rt_tss *rt_tss(void);

/* The 64-bit TSS; [SDM 3A "Task Management in 64-bit Mode"]. */
struct rt_tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved28;
    uint64_t ist[7];
    uint64_t reserved92;
    uint16_t reserved100;
    uint16_t iomap_base;
} __attribute__((packed));

/*
 * Applies the image's RELATIVE relocations to the copy that lies `delta` bytes above the link
 * address. boot.S calls it with 0 before any C code; rt_move() for the copy.
 */
void rt_relocate(uint64_t delta);

/* First byte, and one past the last byte (with .bss), of the running image; page aligned. */
uint64_t rt_image_begin(void);
uint64_t rt_image_limit(void);

/*
 * Copies the running image, with its data as it is now, to physical address `dst` (page aligned,
 * below 4 GiB, not overlapping), and continues in `entry` of the copy on a fresh stack, tables
 * rebuilt there. Addresses the image stored in its own data at run time still mean the old copy;
 * the runtime moves only its own hook and putc. PIE images only.
 */
_Noreturn void rt_move(uint64_t dst, void (*entry)(void));

/* --- Output ----------------------------------------------------------------------------------- */

typedef void (*rt_putc_fn)(char c);

/* COM1 at 8N1, polled; the first call programs the line (GRUB may leave 5 data bits). */
void rt_putc_com1(char c);
/* The debug port 0xE9 of QEMU and Bochs. */
void rt_putc_e9(char c);

/* Where rt_printf goes; rt_putc_com1 until set. */
void rt_set_putc(rt_putc_fn fn);

/*
 * %s %c %d %i %u %x %X %p %% with l, ll, z, width, '0' and '-'. "\n" is written as it is.
 * rt_snprintf always terminates and returns the length the whole text has.
 */
void rt_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void rt_vprintf(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));
int rt_snprintf(char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int rt_vsnprintf(char *buf, size_t size, const char *format, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* --- The C library's corner that the compiler and the images need ----------------------------- */

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
/* As strtoull() for base 0, 10 and 16, without errno; `end` may be NULL. */
uint64_t rt_strtou64(const char *s, const char **end, unsigned base);

/* --- Ending, memory --------------------------------------------------------------------------- */

/*
 * Ends the emulator: "Shutdown" to Bochs's port 0x8900, `code` to QEMU's isa-debug-exit at 0xf4,
 * then HLT for ever.
 */
_Noreturn void rt_shutdown(uint32_t code);

/* Prints the message on the current putc and shuts down with code 1. */
_Noreturn void rt_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Masks both 8259 controllers; an image that wants no interrupts calls it once. */
void rt_pic_mask_all(void);

/* Gives the page allocator its memory, which is page aligned; may be called again to start over. */
void rt_page_pool_init(void *base, size_t bytes);

/* One zeroed 4 KiB page, never given back; panics when the pool is empty. */
void *rt_page_alloc(void);

/* Entered by boot.S; defined by the image. */
void rt_main(uint32_t magic, uint32_t mbi);

#pragma GCC visibility pop

#endif
