/* SPDX-License-Identifier: MIT */
/*
 * bench-vmx: an L1 on Intel VMX that runs L2 as real hypervisors do (EPT, VPID, unrestricted guest,
 * MSR and I/O bitmaps, external-interrupt exiting; eight VMREADs and three VMWRITEs an exit) and
 * measures what its own work and its L2's exits cost.
 */
#include "bench.h"
#include "l2.h"

/* What bench_vmx_entry.S knows of. */
struct guest {
    struct l2_gpr g;
    uint64_t host_rsp;
    bool launched;
};
_Static_assert(sizeof(struct l2_gpr) == 120, "the entry code's offsets");

bool bench_enter(struct guest *guest);
extern const char bench_landing[];

static struct guest first, second;
static uint64_t touch_table[512] __attribute__((aligned(4096)));
static uint64_t second_ept[512] __attribute__((aligned(4096)));

uint64_t bench_hypercall(uint64_t selector, uint64_t *value)
{
    uint64_t rax = 0x6e766972, rcx = 0;

    __asm__ volatile("1: vmcall\n2:\n" RT_FIXUP("1b", "2b")
                     : "+a"(rax), "+c"(rcx)
                     : "b"(selector)
                     : "memory", "cc");
    *value = rcx;
    return rax;
}

static inline uint64_t read_field(uint64_t field)
{
    uint64_t value;

    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc", "memory");
    return value;
}

static inline void write_field(uint64_t field, uint64_t value)
{
    __asm__ volatile("vmwrite %1, %0" : : "r"(field), "r"(value) : "cc", "memory");
}

struct exit {
    uint64_t reason, qualification, intr, idt_vectoring, length, rip, rflags, interruptibility;
};

static inline void read_exit(struct exit *e)
{
    e->reason = read_field(F_REASON);
    e->qualification = read_field(F_QUALIFICATION);
    e->intr = read_field(F_INTR);
    e->idt_vectoring = read_field(F_IDTV);
    e->length = read_field(F_INSN_LEN);
    e->rip = read_field(F_G_RIP);
    e->rflags = read_field(F_G_RFLAGS);
    e->interruptibility = read_field(F_G_INTERRUPTIBILITY);
}

static inline void skip_instruction(const struct exit *e)
{
    write_field(F_G_RIP, e->rip + e->length);
    write_field(F_G_INTERRUPTIBILITY, e->interruptibility & ~3ull);
    write_field(F_ENTRY_INTR, 0);
}

/* One exit as a hypervisor handles it, from entry to entry. False when it was a VMCALL. */
static bool run_once(struct guest *guest)
{
    struct exit e;

    if (!bench_enter(guest))
        rt_panic("VM entry failed: error %lu", read_field(F_INSN_ERROR));
    read_exit(&e);
    switch (e.reason) {
    case R_CPUID:
        bench_l2_cpuid(&guest->g.rax, &guest->g.rbx, &guest->g.rcx, &guest->g.rdx);
        break;
    case R_IO:
        bench_l2_char((char)guest->g.rax);
        break;
    case R_VMCALL:
        break;
    default:
        rt_panic("L2 left with reason %lu, qualification 0x%lx, RIP 0x%lx", e.reason,
                 e.qualification, e.rip);
    }
    skip_instruction(&e);
    return e.reason != R_VMCALL;
}

static void prepare(struct guest *guest, enum l2_mode mode, uint64_t *region)
{
    l2_reset_in(mode, region);
    *guest = (struct guest){0};
    ctl_set(F_PIN, PIN_EXTINT | PIN_NMI);
    ctl_set(F_PROC, PROC_IO_BITMAPS | PROC_HLT);
    ctl_set(F_EXIT, EXIT_ACK);
    if (mode == L2_EPT)
        ctl_set(F_PROC2, PROC2_UNRESTRICTED);
    io_bitmap[0][L2_PORT / 8] = 1u << (L2_PORT % 8);
    vmwrite(F_H_RIP, (uint64_t)bench_landing);
}

/* The memory for first touches: one 2 MiB range as 4 KiB pages. Only after l2_reset_in(). */
static void split_touch_range(void)
{
    for (uint64_t i = 0; i < 512; i++)
        touch_table[i] = (TOUCH_SMALL + i * 4096) | EPT_RWX | EPT_WB;
    l2_ept.low[TOUCH_SMALL >> 21] = (uint64_t)touch_table | EPT_RWX;
    flush_everything();
}

static void run_loop(struct guest *guest, const char *name, void (*code)(void))
{
    l2_start((const char *)(uintptr_t)code);
    for (unsigned i = 0; i < BENCH_WARM; i++)
        (void)run_once(guest);
    bench_begin();
    for (unsigned i = 0; i < BENCH_COUNT; i++)
        (void)run_once(guest);
    bench_end(name, BENCH_COUNT);
}

/* One round trip between two marks, from the first instruction of L1 after an exit to the next. */
static _Noreturn void run_profile(struct guest *guest)
{
    l2_start((const char *)(uintptr_t)l2_loop_cpuid);
    for (unsigned i = 0; i < BENCH_WARM; i++)
        (void)run_once(guest);
    bench_mark();
    (void)run_once(guest);
    bench_mark();
    rt_shutdown(0);
}

/* Nothing but the two switches: L1 looks at nothing, L2 exits at the same CPUID again. */
static void run_lean(struct guest *guest)
{
    l2_start((const char *)(uintptr_t)l2_loop_cpuid);
    for (unsigned i = 0; i < BENCH_WARM; i++)
        (void)bench_enter(guest);
    bench_begin();
    for (unsigned i = 0; i < BENCH_COUNT; i++)
        (void)bench_enter(guest);
    bench_end("roundtrip_switch_only", BENCH_COUNT);
}

static void run_to_stop(struct guest *guest, void (*code)(void))
{
    l2_start((const char *)(uintptr_t)code);
    while (run_once(guest)) {
    }
}

static void touch(struct guest *guest, const char *name, uint64_t begin, uint64_t step,
                  uint64_t count)
{
    l2_touch.begin = begin;
    l2_touch.step = step;
    l2_touch.count = count;
    bench_begin();
    run_to_stop(guest, l2_touch_pages);
    bench_end(name, count);
}

static void measure_touches(struct guest *guest)
{
    const struct inv_desc context = {read_field(F_EPTP), 0};

    touch(guest, "touch_4k_first", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    touch(guest, "touch_4k_again", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    (void)invept(1, &context);
    touch(guest, "touch_4k_after_invept", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    touch(guest, "touch_2m_first", TOUCH_LARGE, 0x200000, TOUCH_LARGE_COUNT);
    touch(guest, "touch_2m_again", TOUCH_LARGE, 0x200000, TOUCH_LARGE_COUNT);
}

/* A single cost: the statement is repeated; `i` and the loop cost the same bare and nested. */
#define MEASURE(name, statement)                                                                   \
    do {                                                                                           \
        for (unsigned i = 0; i < BENCH_WARM; i++)                                                  \
            statement;                                                                             \
        bench_begin();                                                                             \
        for (unsigned i = 0; i < BENCH_COUNT; i++)                                                 \
            statement;                                                                             \
        bench_end(name, BENCH_COUNT);                                                              \
    } while (0)

static void measure_instructions(uint64_t *region)
{
    const uint64_t pa = (uint64_t)region, other = (uint64_t)vmcs_region[3];
    const struct inv_desc ept = {read_field(F_EPTP), 0}, vpid = {1, 0}, address = {1, 0x400000};
    uint64_t rip = read_field(F_G_RIP);

    MEASURE("l1_cpuid", (void)rt_cpuid(0, 0));
    MEASURE("l1_vmread", (void)read_field(F_G_RIP));
    MEASURE("l1_vmwrite", write_field(F_G_RIP, rip));
    MEASURE("l1_vmptrld_current", (void)vmptrld(&pa));
    vmcs_prepare(vmcs_region[3]);
    MEASURE("l1_vmclear_other", (void)vmclear(&other));
    MEASURE("l1_invept_single", (void)invept(1, &ept));
    MEASURE("l1_invvpid_single", (void)invvpid(1, &vpid));
    MEASURE("l1_invvpid_address", (void)invvpid(0, &address));
}

/* Two L2s with a VPID and an EPT pointer each take turns: what a flush on switching would show, and what
 * nvirt does not keep of the one while the other runs. */
static void switch_to(uint64_t *region)
{
    uint64_t pa = (uint64_t)region;

    if (vmptrld(&pa) != VMX_OK)
        rt_panic("VMPTRLD failed");
}

/* Not inlined: the host stack pointer stays what it was. */
static __attribute__((noinline)) void take_turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        switch_to(vmcs_region[i & 1]);
        (void)run_once((i & 1) != 0 ? &second : &first);
    }
}

static void prepare_two(void)
{
    prepare(&second, L2_EPT, vmcs_region[1]);
    vmwrite(F_VPID, 2);
    second_ept[0] = l2_ept.top[0];
    vmwrite(F_EPTP, (uint64_t)second_ept | EPTP_WALK4 | EPTP_WB);
    l2_start((const char *)(uintptr_t)l2_loop_cpuid);
    (void)run_once(&second);
    prepare(&first, L2_EPT, vmcs_region[0]);
    l2_start((const char *)(uintptr_t)l2_loop_cpuid);
}

static void measure_alternation(void)
{
    prepare_two();
    take_turns(BENCH_WARM);
    bench_begin();
    take_turns(BENCH_COUNT);
    bench_end("roundtrip_two_l2", BENCH_COUNT);
}

static _Noreturn void profile_alternation(void)
{
    prepare_two();
    take_turns(BENCH_WARM);
    bench_mark();
    take_turns(1);
    bench_mark();
    rt_shutdown(0);
}

/* ---- an enlightened VMCS [TLFS "Enlightened VMCS (Intel)"] ---- */

#define HV_ASSIST_PAGE 0x40000073u
#define HV_NESTED 0x4000000au
#define CLEAN_ALL 0xffffu

/* Fields that have no encoding. */
#define EVMCS_CLEAN 0x338u
#define EVMCS_ENLIGHTENMENTS 0x344u
#define BY_MSR_BITMAP 2u

static uint8_t evmcs[4096] __attribute__((aligned(4096)));
static uint64_t assist_page[512] __attribute__((aligned(4096)));

enum {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) ENCODING_##NAME = (encoding),
#include <nvirt/vmcs_fields.def>
#define NVI_EVMCS_FIELD(NAME, offset, clean) EVMCS_##NAME = (offset),
#include "../../src/nested/vmx_evmcs.def"
};

#define EVMCS32(name) (*(volatile uint32_t *)(evmcs + EVMCS_##name))
#define EVMCS64(name) (*(volatile uint64_t *)(evmcs + EVMCS_##name))

static bool has_evmcs(void)
{
    return (rt_cpuid(1, 0).ecx >> 31) != 0 && rt_cpuid(0x40000000, 0).eax >= HV_NESTED &&
           (rt_cpuid(HV_NESTED, 0).eax & 0xffu) != 0;
}

static void store_field(uint32_t encoding, uint32_t offset)
{
    uint64_t value = 0;

    if (vmx_read(encoding, &value) != VMX_OK)
        return;
    switch (encoding >> 13 & 3u) {
    case 0:
        *(uint16_t *)(evmcs + offset) = (uint16_t)value;
        break;
    case 2:
        *(uint32_t *)(evmcs + offset) = (uint32_t)value;
        break;
    default:
        *(uint64_t *)(evmcs + offset) = value;
        break;
    }
}

/* The current VMCS becomes an enlightened one. */
static void become_enlightened(struct guest *guest)
{
#define NVI_EVMCS_FIELD(NAME, offset, clean) store_field(ENCODING_##NAME, (offset));
#include "../../src/nested/vmx_evmcs.def"
    *(uint32_t *)evmcs = 1;
    EVMCS32(ENLIGHTENMENTS) = BY_MSR_BITMAP;
    EVMCS32(CLEAN) = 0;
    rt_wrmsr(HV_ASSIST_PAGE, (uint64_t)assist_page | 1);
    assist_page[5] = 1;
    assist_page[6] = (uint64_t)evmcs;
    guest->launched = false;
}

/* Always called from the same depth: the host stack pointer stays what it was. */
static __attribute__((noinline)) bool enter_here(struct guest *guest)
{
    return bench_enter(guest);
}

/* What run_once() does, by loads and stores. */
static void handle_enlightened(struct guest *guest)
{
    if (EVMCS32(EXIT_REASON) != R_CPUID)
        rt_panic("L2 left with reason %u, qualification 0x%lx, RIP 0x%lx", EVMCS32(EXIT_REASON),
                 EVMCS64(EXIT_QUALIFICATION), EVMCS64(GUEST_RIP));
    bench_l2_cpuid(&guest->g.rax, &guest->g.rbx, &guest->g.rcx, &guest->g.rdx);
    EVMCS64(GUEST_RIP) += EVMCS32(EXIT_INSN_LENGTH);
    EVMCS32(CLEAN) = CLEAN_ALL;
    if ((EVMCS32(GUEST_INTERRUPTIBILITY) & 3u) != 0 || EVMCS32(ENTRY_INTERRUPTION) != 0)
        rt_panic("an interrupted L2");
}

/* The same two round trips as with an ordinary VMCS, under the same names. */
static void measure_enlightened(struct guest *guest)
{
    l2_start((const char *)(uintptr_t)l2_loop_cpuid);
    if (!enter_here(guest))
        rt_panic("VM entry failed: error %lu", read_field(F_INSN_ERROR));
    become_enlightened(guest);
    for (unsigned i = 0; i < BENCH_WARM + BENCH_COUNT; i++) {
        if (bench_profile() && i >= BENCH_WARM)
            bench_mark();
        if (bench_profile() && i > BENCH_WARM)
            rt_shutdown(0);
        if (i == BENCH_WARM)
            bench_begin();
        if (!enter_here(guest))
            rt_panic("VM entry failed: error %u", EVMCS32(VM_INSTRUCTION_ERROR));
        handle_enlightened(guest);
    }
    bench_end("roundtrip_cpuid", BENCH_COUNT);
    for (unsigned i = 0; i < BENCH_WARM + BENCH_COUNT; i++) {
        if (i == BENCH_WARM)
            bench_begin();
        (void)enter_here(guest);
    }
    bench_end("roundtrip_switch_only", BENCH_COUNT);
    bench_finish();
}

void rt_main(uint32_t magic, uint32_t mbi)
{
    bench_init("bench-vmx", magic, mbi);
    if ((rt_cpuid(1, 0).ecx & (1u << 5)) == 0 || !vmx_start())
        rt_panic("this CPU has no VMX");
    prepare(&first, L2_EPT, vmcs_region[0]);
    if (has_evmcs())
        measure_enlightened(&first);
    split_touch_range();
    run_to_stop(&first, l2_hello);
    if (bench_profiles("two_l2"))
        profile_alternation();
    if (bench_profile())
        run_profile(&first);
    run_loop(&first, "roundtrip_cpuid", l2_loop_cpuid);
    run_loop(&first, "roundtrip_call", l2_loop_call);
    run_lean(&first);
    measure_touches(&first);
    measure_instructions(vmcs_region[0]);
    measure_alternation();
    prepare(&first, L2_PLAIN, vmcs_region[0]);
    run_loop(&first, "roundtrip_no_ept", l2_loop_cpuid);
    bench_finish();
}
