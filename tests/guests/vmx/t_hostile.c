/* SPDX-License-Identifier: MIT */
/*
 * An L1 that means harm: VMCS regions overwritten behind the processor's back, fields and paging
 * structures at random, pointers to anywhere. Whatever comes of one entry, L1 has to come back and
 * an L0 has to live. The outcome of the entries is undefined on a bare CPU, so this runs only when
 * the command line names it; the sequence is the same in each run.
 *
 * L2 runs whatever lies at its RIP, so its memory is read-only but for the data pages, its ports
 * and MSRs are intercepted, and the preemption timer ends it.
 */
#include "l2.h"
#include "tests.h"

#define ROUNDS 600u

static uint64_t state = 0x853c49e6748fea9bull;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Numbers that rules tend to turn on; no device, since Bochs stops at odd accesses to one. */
static uint64_t interesting(void)
{
    static const uint64_t v[] = {0, 1, ~0ull, 0x8000000000000000ull, 0x800000000000ull, 0xfff,
                                 0x1000, 0xffffffff, 0x80000000, 0xfffff000, 0x3fffffff,
                                 0xffffffffff000ull, 0x7fffffffffffull, 0x10000, 0xd0000000};

    switch (rnd() % 4) {
    case 0:
        return v[rnd() % (sizeof(v) / sizeof(v[0]))];
    case 1:
        return 1ull << (rnd() % 64);
    case 2:
        return rnd() & 0x1ffff000;
    default:
        return rnd();
    }
}

/* What keeps L2 from harming the test itself; written after every mutation. */
static void fence(void)
{
    ctl_set(F_PIN, PIN_PREEMPTION | PIN_EXTINT | PIN_NMI);
    vmwrite(F_PIN, (vmread(F_PIN) | (rt_rdmsr(MSR_VMX_TRUE_PIN) & 0xffffffffu)) &
                       (rt_rdmsr(MSR_VMX_TRUE_PIN) >> 32));
    ctl_clear(F_EXIT, EXIT_SAVE_TIMER);
    vmwrite(F_PREEMPTION_TIMER, 200);
    ctl_set(F_PROC, PROC_IO | PROC_HLT | PROC_SECONDARY | PROC_CR8_LOAD | PROC_MOV_DR);
    ctl_clear(F_PROC, PROC_IO_BITMAPS | PROC_MSR_BITMAPS);
    ctl_set(F_PROC2, PROC2_EPT | PROC2_WBINVD);
}

/* L2 sees the low gigabyte without write permission, in its own tables and in EPT. */
static void protect_memory(void)
{
    for (unsigned i = 0; i < 512; i++)
        l2_ept.low[i] &= ~EPT_W;
}

static void mutate_fields(void)
{
    static const uint8_t types[] = {0, 2};

    for (uint64_t n = rnd() % 4 + 1; n != 0; n--) {
        unsigned width = (unsigned)(rnd() % 4), type = types[rnd() % 2];
        uint32_t field = (width << 13) | (type << 10) | ((uint32_t)(rnd() % 32) << 1);
        uint64_t old = 0;

        /* Some rounds flip one bit of what is there, others replace it. EPTP stays a good root. */
        if (field == F_EPTP || vmx_read(field, &old) != VMX_OK)
            continue;
        vmwrite(field, (rnd() & 1) != 0 ? old ^ (1ull << (rnd() % 64)) : interesting());
    }
}

/* Exit lists could load or store anything and host state decides where L1 goes on: L1's own. */
static void own_side(void)
{
    vmwrite(F_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(F_EXIT_MSR_LOAD_COUNT, 0);
    if ((rnd() & 3) != 0)
        vmwrite(F_ENTRY_MSR_LOAD_COUNT, 0);
    else
        vmwrite(F_ENTRY_MSR_LOAD_COUNT, rnd() % 600);
}

static void mutate_tables(void)
{
    uint64_t *tables[] = {l2_ept.data_pt, l2_ept.data_pd, l2_ept.pdpt, l2_ept.top,
                          l2_paging.data_pt, l2_paging.data_pd, l2_paging.pdpt, l2_paging.top};
    uint64_t i = rnd() % 8;
    uint64_t entry = rnd() % 4;

    /* An EPT leaf that L2 could write through leads to the data pages only. */
    if (i < 4)
        tables[i][entry] = (interesting() & ~EPT_W) | (rnd() & 5);
    else
        tables[i][entry] = interesting() | (rnd() & 7);
}

static const char code_pool[] __attribute__((aligned(64))) =
    "\x0f\xa2\x0f\x01\xc1\x0f\x30\x0f\x32\xf4\xcc\xcd\x50\x0f\x0b\x0f\x01\xc2\x0f\xc7\x30\x0f\x20"
    "\xc0\x0f\x22\xd8\x66\x0f\x38\x80\x00\x0f\x78\xc0\x0f\x79\xc0\x6c\x6e\xf3\x6c\xe4\x80\x0f\x01"
    "\xd1\x0f\x31\x0f\x01\xf9\x0f\xc7\xf0\x0f\x00\x00\x0f\x01\x00\xf0\x0f\xba\x28\x00\xeb\xfe";

static void one_entry(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_REAL, L2_FLAT32, L2_PAE};

    l2_reset(modes[rnd() % 4]);
    protect_memory();
    for (unsigned i = 0; i < L2_DATA_PAGES; i++)
        for (unsigned j = 0; j < 512; j += 1 + (unsigned)(rnd() % 64))
            ((uint64_t *)l2_data[i])[j] = interesting();
    l2_start(code_pool + rnd() % (sizeof(code_pool) - 1));
    l2.g.rax = L2_DATA + (rnd() & 0x7fff);
    l2.g.rcx = rnd() % 3 == 0 ? interesting() : MSR_EFER;
    mutate_fields();
    if ((rnd() & 1) != 0)
        mutate_tables();
    flush_everything();
    own_side();
    fence();
    for (unsigned i = 0; i < 4; i++) {
        if ((l2_run() & (R_ENTRY_FAILURE | L2_NOT_ENTERED)) != 0)
            break;
        vmwrite(F_ENTRY_INTR, rnd() % 4 == 0 ? rnd() & 0x80000fff : 0);
        vmwrite(F_PREEMPTION_TIMER, 100);
        if ((rnd() & 1) != 0)
            vmwrite(F_G_RIP, vmread(F_G_RIP) + (vmread(F_INSN_LEN) & 15));
    }
    rt_write_cr8(0);
}

/* Whatever an L0 keeps in the region is L1's to destroy, while the VMCS is current or after. */
static void scribbled_regions(void)
{
    uint64_t pa = (uint64_t)vmcs_region[0];
    bool alive = true;

    for (unsigned round = 0; round < 60; round++) {
        bool while_current = (round & 1) != 0;

        l2_reset(L2_EPT);
        protect_memory();
        if (!while_current)
            (void)vmclear(&pa);
        for (unsigned i = 1; i < 512; i++) {
            if (round % 3 == 0 || rnd() % 8 == 0)
                vmcs_region[0][i] = interesting();
        }
        if (while_current)
            (void)vmclear(&pa);
        alive = alive && vmptrld(&pa) == VMX_OK;
        /* Launching it as it is would load a random host state; only L0's own checks are wanted. */
        vmwrite(F_H_CR4, 0);
        fence();
        (void)l2_run();
        alive = alive && (l2.reason & L2_NOT_ENTERED) != 0;
        l2.launched = true;
        (void)l2_run();
        alive = alive && (l2.reason & L2_NOT_ENTERED) != 0;
    }
    check(alive, "scribbled_regions");
}

/* Operands and pointers anywhere: each ends in a status or an exception of L1. */
static void wild_pointers(void)
{
    struct inv_desc d;

    for (unsigned i = 0; i < 300; i++) {
        uint64_t pa = interesting(), value = 0;

        /* A VMCLEAR of any page may write into it, and devices take that badly. */
        if (pa > 0x100000000ull || (pa & 0xfff) != 0) {
            (void)vmclear(&pa);
            (void)vmptrld(&pa);
        }
        d = (struct inv_desc){interesting(), interesting()};
        (void)invept(rnd() % 5, &d);
        (void)invvpid(rnd() % 6, &d);
        (void)vmx_read(interesting(), &value);
        (void)vmptrld((const uint64_t *)(interesting() | 0x7000000000ull));
    }
    check(true, "wild_pointers");
}

void test_hostile(void)
{
    check_group("hostile");
    wild_pointers();
    scribbled_regions();
    for (unsigned i = 0; i < ROUNDS; i++)
        one_entry();
    check(true, "random_entries");
    l2_reset(L2_EPT);
    l2_start(code_pool);
    (void)l2_run();
    (void)expect_reason("then_a_plain_entry", R_CPUID);
}
