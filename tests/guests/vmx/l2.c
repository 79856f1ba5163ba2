/* SPDX-License-Identifier: MIT */
/*
 * Building, entering and judging L2. The guest state comes from the tables below and from L1's own
 * live state, so that every field of the VMCS has a defined value before a test bends it.
 */
#include "l2.h"

struct l2 l2;
uint8_t l2_data[L2_DATA_PAGES][4096] __attribute__((aligned(4096)));
uint8_t msr_bitmap[4096] __attribute__((aligned(4096)));
uint8_t io_bitmap[2][4096] __attribute__((aligned(4096)));
uint64_t vmxon_region[512] __attribute__((aligned(4096)));
uint64_t vmcs_region[4][512] __attribute__((aligned(4096)));
uint64_t l2_gdt[16] __attribute__((aligned(16)));
uint64_t l2_idt[512] __attribute__((aligned(16)));
struct tables l2_ept __attribute__((aligned(4096)));
struct tables l2_paging __attribute__((aligned(4096)));
static uint8_t stack[16384] __attribute__((aligned(16)));
static uint8_t tss[104 + 8] __attribute__((aligned(16)));

extern const char l2_stubs[], l2_exit_landing[];
uint64_t l2_enter(struct l2 *state, uint64_t launched);

/*
 * Low memory for the handlers of real mode, where interrupts reach only the first megabyte. The
 * same bytes serve 32-bit mode.
 */
#define REAL_IVT 0x5000ull
#define LOW_STUBS 0x6000ull

const char *l2_mode_name(enum l2_mode mode)
{
    static const char *const names[] = {
        [L2_EPT] = "ept",       [L2_PLAIN] = "plain", [L2_REAL] = "real",
        [L2_FLAT32] = "flat32", [L2_PAE] = "pae",
    };

    return names[mode];
}

void ctl_set(uint32_t field, uint32_t bits)
{
    vmwrite(field, vmread(field) | bits);
}

void ctl_clear(uint32_t field, uint32_t bits)
{
    vmwrite(field, vmread(field) & ~(uint64_t)bits);
}

bool ctl_can(uint32_t field, uint32_t bits)
{
    static const struct {
        uint32_t field, msr;
    } controls[] = {{F_PIN, MSR_VMX_TRUE_PIN}, {F_PROC, MSR_VMX_TRUE_PROC},
                    {F_PROC2, MSR_VMX_PROC2}, {F_EXIT, MSR_VMX_TRUE_EXIT},
                    {F_ENTRY, MSR_VMX_TRUE_ENTRY}};

    for (unsigned i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
        if (controls[i].field == field)
            return (bits & ~(rt_rdmsr(controls[i].msr) >> 32)) == 0;
    }
    return true;
}

bool ept_can(uint64_t bits)
{
    return (rt_rdmsr(MSR_VMX_EPT_VPID_CAP) & bits) == bits;
}

uint64_t eptp_ad(void)
{
    return ept_can(EPT_CAP_AD) ? EPTP_AD : 0;
}

void unblock_nmi(void)
{
    __asm__ volatile("movq %%rsp, %%rax\n"
                     "pushq %0\n"
                     "pushq %%rax\n"
                     "pushfq\n"
                     "pushq %1\n"
                     "leaq 1f(%%rip), %%rax\n"
                     "pushq %%rax\n"
                     "iretq\n"
                     "1:\n"
                     :
                     : "i"(RT_SEL_DS), "i"(RT_SEL_CS64)
                     : "rax", "memory", "cc");
}

void vmcs_prepare(uint64_t *region)
{
    memset(region, 0, 4096);
    region[0] = rt_rdmsr(MSR_VMX_BASIC) & 0x7fffffffu;
}

bool vmx_start(void)
{
    uint64_t pa = (uint64_t)vmxon_region;
    uint64_t control = rt_rdmsr(MSR_FEATURE_CONTROL);

    if ((control & 1) == 0)
        rt_wrmsr(MSR_FEATURE_CONTROL, control | 5);
    rt_write_cr0((rt_read_cr0() | rt_rdmsr(MSR_VMX_CR0_FIXED0)) & rt_rdmsr(MSR_VMX_CR0_FIXED1));
    rt_write_cr4((rt_read_cr4() | rt_rdmsr(MSR_VMX_CR4_FIXED0)) & rt_rdmsr(MSR_VMX_CR4_FIXED1));
    vmcs_prepare(vmxon_region);
    return vmxon(&pa) == VMX_OK;
}

/* Both kinds of tables have the same shape; `bits` are the rights of every entry. */
static void build_tables(struct tables *t, uint64_t bits, uint64_t leaf, uint64_t data_leaf,
                         bool data_identity)
{
    memset(t, 0, sizeof(*t));
    t->top[0] = (uint64_t)t->pdpt | bits;
    t->pdpt[0] = (uint64_t)t->low | bits;
    t->pdpt[1] = (uint64_t)t->data_pd | bits;
    t->data_pd[0] = (uint64_t)t->data_pt | bits;
    for (uint64_t i = 0; i < 512; i++)
        t->low[i] = (i << 21) | bits | leaf | EPT_LARGE;
    for (uint64_t i = 0; i < L2_DATA_PAGES; i++)
        t->data_pt[i] = (data_identity ? L2_DATA + i * 4096 : (uint64_t)l2_data[i]) | data_leaf;
}

/* A PAE guest's own tables have no top level, and reserved rights in the four PDPTEs. */
static void build_l2_tables(enum l2_mode mode)
{
    bool ept = mode != L2_PLAIN;

    build_tables(&l2_ept, EPT_RWX, EPT_WB, EPT_RWX | EPT_WB, false);
    build_tables(&l2_paging, 7, 0, 7, ept);
    if (mode == L2_PAE) {
        l2_paging.pdpt[0] = (uint64_t)l2_paging.low | 1;
        l2_paging.pdpt[1] = (uint64_t)l2_paging.data_pd | 1;
    }
}

static void build_l2_descriptors(enum l2_mode mode)
{
    uint64_t base = (uint64_t)tss;

    memcpy(l2_gdt, rt_gdt(), sizeof(l2_gdt));
    l2_gdt[RT_SEL_TSS / 8] = 103u | ((base & 0xffffffull) << 16) | (0x8bull << 40) |
                             (((base >> 24) & 0xffull) << 56);
    l2_gdt[RT_SEL_TSS / 8 + 1] = base >> 32;
    memset(tss, 0, sizeof(tss));
    *(uint64_t *)(tss + 4) = l2_stack_top() - 4096;
    tss[102] = 104; /* the I/O permission map lies beyond the limit: no port is allowed */
    for (unsigned v = 0; v < 256; v++) {
        uint64_t stub = (uint64_t)l2_stubs + v * 16u;

        if (mode == L2_FLAT32 || mode == L2_PAE) {
            l2_idt[v] = (LOW_STUBS + v * 16u) | ((uint64_t)RT_SEL_CS32 << 16) | (0xee00ull << 32);
            continue;
        }
        l2_idt[2 * v] = (stub & 0xffffu) | ((uint64_t)RT_SEL_CS64 << 16) | (0xee00ull << 32) |
                        ((stub >> 16 & 0xffffu) << 48);
        l2_idt[2 * v + 1] = stub >> 32;
    }
}

static void build_low_handlers(void)
{
    uint16_t *ivt = (uint16_t *)REAL_IVT;
    uint8_t *stubs = (uint8_t *)LOW_STUBS;

    for (unsigned v = 0; v < 256; v++) {
        ivt[2 * v] = (uint16_t)(v * 16);
        ivt[2 * v + 1] = LOW_STUBS >> 4;
        /* NOP; VMCALL; IRET, as the 64-bit stubs */
        memcpy(stubs + v * 16, "\x90\x0f\x01\xc1\xcf", 5);
    }
}

static void write_controls(enum l2_mode mode)
{
    uint32_t proc2 = PROC2_RDTSCP | PROC2_INVPCID;
    bool long_mode = mode == L2_EPT || mode == L2_PLAIN;

    if (mode != L2_PLAIN)
        proc2 |= PROC2_EPT | PROC2_VPID;
    if (mode == L2_REAL || mode == L2_FLAT32)
        proc2 |= PROC2_UNRESTRICTED;
    vmwrite(F_PIN, rt_rdmsr(MSR_VMX_TRUE_PIN) & 0xffffffffu);
    vmwrite(F_PROC, (rt_rdmsr(MSR_VMX_TRUE_PROC) & 0xffffffffu) | PROC_SECONDARY |
                        PROC_MSR_BITMAPS);
    proc2 &= (uint32_t)(rt_rdmsr(MSR_VMX_PROC2) >> 32); /* INVPCID is younger than VMX. */
    vmwrite(F_PROC2, proc2 | (rt_rdmsr(MSR_VMX_PROC2) & 0xffffffffu));
    vmwrite(F_EXIT, (rt_rdmsr(MSR_VMX_TRUE_EXIT) & 0xffffffffu) | EXIT_HOST64 | EXIT_SAVE_DEBUG |
                        EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_PAT | EXIT_LOAD_PAT);
    vmwrite(F_ENTRY, (rt_rdmsr(MSR_VMX_TRUE_ENTRY) & 0xffffffffu) | ENTRY_LOAD_DEBUG |
                         ENTRY_LOAD_EFER | ENTRY_LOAD_PAT | (long_mode ? ENTRY_IA32E : 0));
    vmwrite(F_VPID, mode != L2_PLAIN ? 1 : 0);
    vmwrite(F_EPTP, mode != L2_PLAIN ? (uint64_t)l2_ept.top | EPTP_WALK4 | EPTP_WB : 0);
    vmwrite(F_MSR_BITMAP, (uint64_t)msr_bitmap);
    vmwrite(F_IO_BITMAP_A, (uint64_t)io_bitmap[0]);
    vmwrite(F_IO_BITMAP_B, (uint64_t)io_bitmap[1]);
    memset(msr_bitmap, 0, sizeof(msr_bitmap));
    memset(io_bitmap, 0, sizeof(io_bitmap));
}

/* Fields that are zero unless a test says otherwise; VMCLEAR leaves them undefined. */
static void write_zeroes(void)
{
    static const uint16_t zero[] = {
        F_EXCEPTION_BITMAP, F_PF_MASK, F_PF_MATCH, F_CR3_TARGET_COUNT, F_EXIT_MSR_STORE_COUNT,
        F_EXIT_MSR_LOAD_COUNT, F_ENTRY_MSR_LOAD_COUNT, F_ENTRY_INTR, F_ENTRY_INTR_ERROR,
        F_ENTRY_INSN_LEN, F_TPR_THRESHOLD, F_EXIT_MSR_STORE, F_EXIT_MSR_LOAD, F_ENTRY_MSR_LOAD,
        F_TSC_OFFSET, F_CR0_MASK, F_CR4_MASK, F_CR0_SHADOW, F_CR4_SHADOW, F_CR3_TARGET0,
        F_CR3_TARGET0 + 2, F_CR3_TARGET0 + 4, F_CR3_TARGET0 + 6, F_G_DEBUGCTL, F_G_INTERRUPTIBILITY,
        F_G_ACTIVITY, F_G_SYSENTER_CS, F_G_SYSENTER_ESP, F_G_SYSENTER_EIP, F_G_PENDING_DEBUG,
        F_G_LDTR_SEL, F_G_LDTR_BASE, F_G_LDTR_LIMIT, F_PREEMPTION_TIMER, F_G_FS_SEL, F_G_GS_SEL,
        F_G_ES_BASE, F_G_CS_BASE, F_G_SS_BASE, F_G_DS_BASE, F_G_FS_BASE, F_G_GS_BASE,
        F_G_PDPTE0, F_G_PDPTE0 + 2, F_G_PDPTE0 + 4, F_G_PDPTE0 + 6,
    };

    for (unsigned i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        vmwrite(zero[i], 0);
}

static void write_host_state(void)
{
    struct rt_dtr gdtr = rt_sgdt(), idtr = rt_sidt();

    vmwrite(F_H_CR0, rt_read_cr0());
    vmwrite(F_H_CR3, rt_read_cr3());
    vmwrite(F_H_CR4, rt_read_cr4());
    vmwrite(F_H_CS_SEL, RT_SEL_CS64);
    vmwrite(F_H_SS_SEL, RT_SEL_DS);
    vmwrite(F_H_DS_SEL, RT_SEL_DS);
    vmwrite(F_H_ES_SEL, RT_SEL_DS);
    vmwrite(F_H_FS_SEL, 0);
    vmwrite(F_H_GS_SEL, 0);
    vmwrite(F_H_TR_SEL, RT_SEL_TSS);
    vmwrite(F_H_FS_BASE, rt_rdmsr(MSR_FS_BASE));
    vmwrite(F_H_GS_BASE, rt_rdmsr(MSR_GS_BASE));
    vmwrite(F_H_TR_BASE, (uint64_t)rt_tss());
    vmwrite(F_H_GDTR_BASE, gdtr.base);
    vmwrite(F_H_IDTR_BASE, idtr.base);
    vmwrite(F_H_SYSENTER_CS, 0);
    vmwrite(F_H_SYSENTER_ESP, 0);
    vmwrite(F_H_SYSENTER_EIP, 0);
    vmwrite(F_H_EFER, rt_rdmsr(MSR_EFER));
    vmwrite(F_H_PAT, rt_rdmsr(MSR_PAT));
    vmwrite(F_H_RIP, (uint64_t)l2_exit_landing);
}

static void write_segments(enum l2_mode mode)
{
    bool real = mode == L2_REAL, long_mode = mode == L2_EPT || mode == L2_PLAIN;
    uint64_t limit = real ? 0xffff : 0xffffffff;
    uint32_t data_ar = real ? 0x93 : 0xc093;

    for (uint32_t i = 0; i < 6; i++) {
        vmwrite(F_G_ES_LIMIT + 2 * i, limit);
        vmwrite(F_G_ES_AR + 2 * i, data_ar);
        vmwrite(F_G_ES_SEL + 2 * i, real ? 0 : RT_SEL_DS);
    }
    vmwrite(F_G_CS_SEL, real ? 0 : long_mode ? RT_SEL_CS64 : RT_SEL_CS32);
    vmwrite(F_G_CS_AR, real ? 0x9b : long_mode ? 0xa09b : 0xc09b);
    vmwrite(F_G_LDTR_AR, 0x10000);
    vmwrite(F_G_TR_SEL, RT_SEL_TSS);
    vmwrite(F_G_TR_AR, 0x8b);
    vmwrite(F_G_TR_BASE, (uint64_t)tss);
    vmwrite(F_G_TR_LIMIT, 103);
    vmwrite(F_G_GDTR_BASE, (uint64_t)l2_gdt);
    vmwrite(F_G_GDTR_LIMIT, sizeof(l2_gdt) - 1);
    vmwrite(F_G_IDTR_BASE, real ? REAL_IVT : (uint64_t)l2_idt);
    vmwrite(F_G_IDTR_LIMIT, real ? 0x3ff : sizeof(l2_idt) - 1);
}

static void write_guest_state(enum l2_mode mode)
{
    bool long_mode = mode == L2_EPT || mode == L2_PLAIN;
    uint64_t cr0 = rt_read_cr0(), cr4 = rt_read_cr4();

    if (mode == L2_REAL)
        cr0 &= ~(CR0_PG | CR0_PE | CR0_WP);
    else if (mode == L2_FLAT32)
        cr0 &= ~CR0_PG;
    if (mode == L2_REAL || mode == L2_FLAT32)
        cr4 &= ~CR4_PAE;
    vmwrite(F_G_CR0, cr0);
    vmwrite(F_G_CR4, cr4);
    vmwrite(F_G_CR3, mode == L2_PAE ? (uint64_t)l2_paging.pdpt : (uint64_t)l2_paging.top);
    if (mode == L2_PAE) {
        vmwrite(F_G_PDPTE0, l2_paging.pdpt[0]);
        vmwrite(F_G_PDPTE0 + 2, l2_paging.pdpt[1]);
    }
    vmwrite(F_G_EFER, long_mode ? EFER_LMA | EFER_LME | EFER_NXE : 0);
    vmwrite(F_G_PAT, rt_rdmsr(MSR_PAT));
    vmwrite(F_G_DR7, 0x400);
    vmwrite(F_G_LINK, ~0ull);
    write_segments(mode);
}

/* The tables are written anew: what the CPU may remember of the old ones has to go. */
void flush_everything(void)
{
    const struct inv_desc none = {0, 0};

    (void)invept(2, &none);
    (void)invvpid(2, &none);
}

void l2_reset_in(enum l2_mode mode, uint64_t *region)
{
    uint64_t pa = (uint64_t)region;

    vmcs_prepare(region);
    if (vmclear(&pa) != VMX_OK || vmptrld(&pa) != VMX_OK)
        rt_panic("no VMCS for L2");
    flush_everything();
    memset(&l2, 0, sizeof(l2));
    l2.mode = mode;
    build_l2_tables(mode);
    build_l2_descriptors(mode);
    build_low_handlers();
    write_zeroes();
    write_controls(mode);
    write_host_state();
    write_guest_state(mode);
}

void l2_reset(enum l2_mode mode)
{
    l2_reset_in(mode, vmcs_region[0]);
}

uint64_t l2_stack_top(void)
{
    return (uint64_t)stack + sizeof(stack) - 64;
}

uint64_t l2_rip(void)
{
    return vmread(F_G_RIP) + (l2.mode == L2_REAL ? vmread(F_G_CS_BASE) : 0);
}

void l2_start(const char *code)
{
    uint64_t rip = (uint64_t)code;

    if (l2.mode == L2_REAL) {
        vmwrite(F_G_CS_BASE, rip & ~0xfffull);
        vmwrite(F_G_SS_BASE, (uint64_t)stack);
        rip &= 0xfff;
    }
    vmwrite(F_G_RIP, rip);
    vmwrite(F_G_RSP, l2.mode == L2_REAL ? sizeof(stack) - 64 : l2_stack_top());
    vmwrite(F_G_RFLAGS, 2);
    vmwrite(F_G_INTERRUPTIBILITY, 0);
    vmwrite(F_G_ACTIVITY, ACTIVITY_ACTIVE);
    memset(&l2.g, 0, sizeof(l2.g));
}

uint32_t l2_run(void)
{
    uint64_t failed = l2_enter(&l2, l2.launched ? 1 : 0);

    if (failed != 0) {
        l2.reason = L2_NOT_ENTERED | vmx_status(failed & 0xffff);
        return l2.reason;
    }
    l2.reason = (uint32_t)vmread(F_REASON);
    if ((l2.reason & R_ENTRY_FAILURE) == 0)
        l2.launched = true;
    return l2.reason;
}

uint32_t l2_go(const char *code)
{
    l2_start(code);
    return l2_run();
}

uint32_t l2_skip_and_run(void)
{
    vmwrite(F_G_RIP, vmread(F_G_RIP) + vmread(F_INSN_LEN));
    vmwrite(F_G_INTERRUPTIBILITY, 0);
    return l2_run();
}

static bool matches(uint64_t got, uint64_t want, const char *name, const char *what)
{
    if (want == ANY || got == want)
        return true;
    return check_eq(got, want, "%s (%s)", name, what);
}

bool expect_exit(const char *name, const struct expect *e)
{
    if (!matches(l2.reason, e->reason, name, "reason") ||
        !matches(vmread(F_QUALIFICATION), e->qualification, name, "qualification") ||
        !matches(vmread(F_INSN_LEN), e->length, name, "length") ||
        !matches(l2_rip(), e->rip, name, "rip"))
        return false;
    return check(true, "%s", name);
}

bool expect_reason(const char *name, uint32_t reason)
{
    return expect_exit(name, &(struct expect){reason, ANY, ANY, ANY});
}

bool expect_done(const char *name)
{
    return expect_exit(name, &(struct expect){R_VMCALL, 0, 3, ANY});
}

int l2_handler_vector(void)
{
    bool low = l2.mode != L2_EPT && l2.mode != L2_PLAIN;
    uint64_t base = low ? LOW_STUBS : (uint64_t)l2_stubs;
    uint64_t offset = l2_rip() - base;

    if (l2.reason != R_VMCALL || offset >= 4096 || (offset & 15) != 1)
        return -1;
    return (int)(offset / 16);
}

const uint64_t *l2_frame(void)
{
    return (const uint64_t *)vmread(F_G_RSP);
}
