/* SPDX-License-Identifier: MIT */
/*
 * bench-svm: an L1 on AMD SVM that runs L2 as real hypervisors do (nested paging, an ASID of its
 * own, MSR and I/O permission maps, physical interrupts intercepted) and measures what its own work
 * and its L2's exits cost.
 */
#include "bench.h"
#include "svm.h"

/* What bench_svm_entry.S knows of. */
struct guest {
    uint64_t rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t unused;
    struct vmcb *vmcb, *host;
};
_Static_assert(offsetof(struct guest, vmcb) == 120, "the entry code's offsets");
_Static_assert(offsetof(struct guest, host) == 128, "the entry code's offsets");

void bench_enter(struct guest *guest);
void bench_enter_full(struct guest *guest);
typedef void (*enter_fn)(struct guest *guest);

#define PAGE __attribute__((aligned(4096)))
static struct vmcb vmcb[2] PAGE, host_vmcb PAGE;
static uint8_t io_map[3 * 4096] PAGE, msr_map[2 * 4096] PAGE, host_save[4096] PAGE;
static uint64_t l2_root[512] PAGE, nested_root[2][512] PAGE, pointers[512] PAGE;
static uint64_t directories[4][512] PAGE, touch_table[512] PAGE;
static uint8_t stack[16384] __attribute__((aligned(16)));
static struct guest guest;
static bool has_nrips;
/* What L1 says of its VMCB after each exit: all groups clean, as a hypervisor does that changed
 * nothing but RIP and RAX, or none. */
static uint32_t clean;
#define ALL_CLEAN 0x1fffu

#define RIGHTS (PT_P | PT_W | PT_U | PT_A | PT_D)
#define L2_CODE_ATTRIB 0xa9bu
#define L2_DATA_ATTRIB 0xc93u

uint64_t bench_hypercall(uint64_t selector, uint64_t *value)
{
    uint64_t rax = 0x6e766972, rcx = 0;

    __asm__ volatile("1: vmmcall\n2:\n" RT_FIXUP("1b", "2b")
                     : "+a"(rax), "+c"(rcx)
                     : "b"(selector)
                     : "memory", "cc");
    *value = rcx;
    return rax;
}

/* Identity maps of 4 GiB; L2's own tables and the nested ones share all but the first level. */
static void build_tables(void)
{
    for (uint64_t i = 0; i < 4; i++) {
        pointers[i] = (uint64_t)directories[i] | RIGHTS;
        for (uint64_t j = 0; j < 512; j++)
            directories[i][j] = (i << 30) | (j << 21) | RIGHTS | PT_PS;
    }
    l2_root[0] = (uint64_t)pointers | RIGHTS;
    nested_root[0][0] = l2_root[0];
    nested_root[1][0] = l2_root[0];
    for (uint64_t i = 0; i < 512; i++)
        touch_table[i] = (TOUCH_SMALL + i * 4096) | RIGHTS;
    directories[0][TOUCH_SMALL >> 21] = (uint64_t)touch_table | RIGHTS;
}

static void set_segment(struct vmcb_seg *s, uint16_t selector, uint16_t attrib)
{
    *s = (struct vmcb_seg){selector, attrib, 0xffffffff, 0};
}

static void set_guest_state(struct vmcb *v)
{
    struct rt_dtr gdtr = rt_sgdt(), idtr = rt_sidt();

    set_segment(&v->cs, RT_SEL_CS64, L2_CODE_ATTRIB);
    set_segment(&v->ss, RT_SEL_DS, L2_DATA_ATTRIB);
    v->ds = v->es = v->ss;
    v->gdtr = (struct vmcb_seg){0, 0, gdtr.limit, gdtr.base};
    v->idtr = (struct vmcb_seg){0, 0, idtr.limit, idtr.base};
    v->efer = rt_rdmsr(MSR_EFER);
    v->cr0 = rt_read_cr0();
    v->cr3 = (uint64_t)l2_root;
    v->cr4 = rt_read_cr4();
    v->dr6 = 0xffff0ff0;
    v->dr7 = 0x400;
    v->rflags = RF_FIXED;
    v->g_pat = rt_rdmsr(MSR_PAT);
}

static void prepare(struct vmcb *v, uint32_t asid, const uint64_t *nested)
{
    memset(v, 0, sizeof(*v));
    /* FS, GS, TR, LDTR and the system-call MSRs: those of L1 will do. */
    __asm__ volatile("vmsave %%rax" : : "a"(v) : "memory");
    set_guest_state(v);
    v->exceptions = 1u << 18; /* #MC */
    v->misc[0] = 1u << ICPT_INTR | 1u << ICPT_NMI | 1u << ICPT_SMI | 1u << ICPT_INIT |
                 1u << ICPT_CPUID | 1u << ICPT_HLT | 1u << ICPT_INVLPGA | 1u << ICPT_IOIO |
                 1u << ICPT_MSR | 1u << ICPT_SHUTDOWN;
    v->misc[1] = 0;
    for (unsigned bit = ICPT_VMRUN; bit <= ICPT_SKINIT; bit++)
        v->misc[1] |= 1u << (bit - 32);
    v->iopm_pa = (uint64_t)io_map;
    v->msrpm_pa = (uint64_t)msr_map;
    v->asid = asid;
    v->tlb_control = 1;
    v->vintr = VINTR_MASKING;
    v->np_enable = nested != NULL ? 1 : 0;
    v->ncr3 = (uint64_t)nested;
}

static bool svm_start(void)
{
    if (rt_cpuid(0x80000000, 0).eax < 0x8000000a || (rt_cpuid(0x80000001, 0).ecx & 4) == 0)
        return false;
    has_nrips = (rt_cpuid(0x8000000a, 0).edx >> 3 & 1) != 0;
    rt_wrmsr(MSR_EFER, rt_rdmsr(MSR_EFER) | EFER_SVME);
    rt_wrmsr(MSR_VM_HSAVE_PA, (uint64_t)host_save);
    memset(msr_map, 0xff, sizeof(msr_map));
    io_map[L2_PORT / 8] = 1u << (L2_PORT % 8);
    return true;
}

static void start_at(struct vmcb *v, void (*code)(void))
{
    v->rip = (uint64_t)(uintptr_t)code;
    v->rsp = (uint64_t)stack + sizeof(stack) - 8;
    v->rflags = RF_FIXED;
}

/* Where CPUs give no next RIP, a hypervisor knows the lengths: CPUID 2, VMMCALL 3. */
static inline void skip_instruction(struct vmcb *v, uint64_t length)
{
    v->rip = has_nrips ? v->nrip : v->rip + length;
    v->int_state = 0;
}

/* One exit as a hypervisor handles it, from entry to entry. False when it was a VMMCALL. */
static inline bool run_once(enter_fn enter)
{
    struct vmcb *v = guest.vmcb;

    enter(&guest);
    v->tlb_control = 0;
    v->event_inj = 0;
    v->clean = clean;
    switch (v->exit_code) {
    case EXIT_MISC(ICPT_CPUID):
        bench_l2_cpuid(&v->rax, &guest.rbx, &guest.rcx, &guest.rdx);
        skip_instruction(v, 2);
        return true;
    case EXIT_IOIO:
        bench_l2_char((char)v->rax);
        v->rip = v->info2; /* [APM 2 "IOIO Intercepts"]: the RIP after the instruction */
        return true;
    case EXIT_VMMCALL:
        skip_instruction(v, 3);
        return false;
    default:
        rt_panic("L2 left with code 0x%lx, info 0x%lx 0x%lx, RIP 0x%lx", v->exit_code, v->info1,
                 v->info2, v->rip);
    }
}

static void run_loop(enter_fn enter, const char *name, void (*code)(void))
{
    start_at(guest.vmcb, code);
    for (unsigned i = 0; i < BENCH_WARM; i++)
        (void)run_once(enter);
    bench_begin();
    for (unsigned i = 0; i < BENCH_COUNT; i++)
        (void)run_once(enter);
    bench_end(name, BENCH_COUNT);
}

/* One round trip between two marks, from the first instruction of L1 after an exit to the next. */
static _Noreturn void run_profile(void)
{
    start_at(guest.vmcb, l2_loop_cpuid);
    clean = ALL_CLEAN;
    for (unsigned i = 0; i < BENCH_WARM; i++)
        (void)run_once(bench_enter);
    bench_mark();
    (void)run_once(bench_enter);
    bench_mark();
    rt_shutdown(0);
}

/* Nothing but the switches: L1 looks at nothing, L2 exits at the same CPUID again. */
static void run_lean(void)
{
    start_at(guest.vmcb, l2_loop_cpuid);
    for (unsigned i = 0; i < BENCH_WARM; i++)
        bench_enter(&guest);
    bench_begin();
    for (unsigned i = 0; i < BENCH_COUNT; i++)
        bench_enter(&guest);
    bench_end("roundtrip_switch_only", BENCH_COUNT);
}

static void run_to_stop(void (*code)(void))
{
    start_at(guest.vmcb, code);
    while (run_once(bench_enter_full)) {
    }
}

static void touch(const char *name, uint64_t begin, uint64_t step, uint64_t count)
{
    l2_touch.begin = begin;
    l2_touch.step = step;
    l2_touch.count = count;
    bench_begin();
    run_to_stop(l2_touch_pages);
    bench_end(name, count);
}

static void measure_touches(void)
{
    touch("touch_4k_first", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    touch("touch_4k_again", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    guest.vmcb->tlb_control = 1;
    touch("touch_4k_after_flush", TOUCH_SMALL, 4096, TOUCH_SMALL_COUNT);
    touch("touch_2m_first", TOUCH_LARGE, 0x200000, TOUCH_LARGE_COUNT);
    touch("touch_2m_again", TOUCH_LARGE, 0x200000, TOUCH_LARGE_COUNT);
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

static void measure_instructions(void)
{
    MEASURE("l1_cpuid", (void)rt_cpuid(0, 0));
    MEASURE("l1_vmload", __asm__ volatile("vmload %%rax" : : "a"(&host_vmcb) : "memory"));
    MEASURE("l1_vmsave", __asm__ volatile("vmsave %%rax" : : "a"(&host_vmcb) : "memory"));
    MEASURE("l1_clgi_stgi", __asm__ volatile("clgi\nstgi" : : : "memory"));
    MEASURE("l1_invlpga", __asm__ volatile("invlpga %%rax, %%ecx" : : "a"(0x400000), "c"(1)));
}

/* Two L2s with an ASID and nested tables each take turns: what a flush on switching would show. */
static void measure_alternation(void)
{
    prepare(&vmcb[1], 2, nested_root[1]);
    start_at(&vmcb[0], l2_loop_cpuid);
    start_at(&vmcb[1], l2_loop_cpuid);
    vmcb[0].clean = 0;
    for (unsigned i = 0; i < BENCH_WARM + BENCH_COUNT; i++) {
        if (i == BENCH_WARM)
            bench_begin();
        guest.vmcb = &vmcb[i & 1];
        (void)run_once(bench_enter);
    }
    bench_end("roundtrip_two_l2", BENCH_COUNT);
    guest.vmcb = &vmcb[0];
}

void rt_main(uint32_t magic, uint32_t mbi)
{
    bench_init("bench-svm", magic, mbi);
    if (!svm_start())
        rt_panic("this CPU has no SVM");
    build_tables();
    /* VMLOAD in the measurements reads what this leaves. */
    __asm__ volatile("vmsave %%rax" : : "a"(&host_vmcb) : "memory");
    guest = (struct guest){.vmcb = &vmcb[0], .host = &host_vmcb};
    prepare(&vmcb[0], 1, nested_root[0]);
    run_to_stop(l2_hello);
    if (bench_profile())
        run_profile();
    run_loop(bench_enter, "roundtrip_cpuid", l2_loop_cpuid);
    run_loop(bench_enter, "roundtrip_call", l2_loop_call);
    clean = ALL_CLEAN;
    run_loop(bench_enter, "roundtrip_cpuid_clean", l2_loop_cpuid);
    run_loop(bench_enter, "roundtrip_call_clean", l2_loop_call);
    clean = 0;
    run_loop(bench_enter_full, "roundtrip_vmload_vmsave", l2_loop_cpuid);
    run_lean();
    measure_touches();
    measure_instructions();
    measure_alternation();
    prepare(&vmcb[0], 1, NULL);
    run_loop(bench_enter, "roundtrip_no_npt", l2_loop_cpuid);
    bench_finish();
}
