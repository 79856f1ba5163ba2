/* SPDX-License-Identifier: MIT */
/*
 * Memory operands of L1's VMX instructions through L1's own page tables: an L0 walks them in
 * software, so every rule of paging shows here: rights at each level, CR0.WP, SMAP, reserved bits,
 * page sizes, accessed and dirty flags, and the segment rules of 64-bit mode. [SDM 3A "Paging"].
 */
#include "l2.h"
#include "tests.h"

#define WINDOW 0x700000000000ull /* PML4 entry 0xe0, which the runtime does not use */
#define CR4_SMAP (1ull << 21)
#define RFLAGS_AC (1ull << 18)
#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define NX (1ull << 63)

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));

static uint64_t *pml4e(void)
{
    return (uint64_t *)rt_page_root() + (WINDOW >> 39 & 511);
}

/* Two pages of data; the second one follows the first in linear but not in physical order. */
static void open_window(void)
{
    memset(pdpt, 0, sizeof(pdpt));
    memset(pd, 0, sizeof(pd));
    memset(pt, 0, sizeof(pt));
    memset(l2_data, 0, sizeof(l2_data));
    *pml4e() = (uint64_t)pdpt | P | W | U;
    pdpt[0] = (uint64_t)pd | P | W | U;
    pd[0] = (uint64_t)pt | P | W | U;
    pt[0] = (uint64_t)l2_data[3] | P | W;
    pt[1] = (uint64_t)l2_data[1] | P | W;
    rt_write_cr3(rt_read_cr3());
}

static void close_window(void)
{
    *pml4e() = 0;
    rt_write_cr3(rt_read_cr3());
}

static uint64_t *at(uint64_t offset)
{
    return (uint64_t *)(WINDOW + offset);
}

/* What the instruction did: a page fault with its error code, or its status. */
static void expect_status(unsigned status, uint64_t error, uint64_t address, const char *name)
{
    if (error == ANY) {
        check_eq(status, VMX_OK, "%s", name);
        return;
    }
    if (status != VMX_FAULT(14))
        check_eq(status, VMX_FAULT(14), "%s", name);
    else if (rt_fault.error != error)
        check_eq(rt_fault.error, error, "%s (error)", name);
    else
        check_eq(rt_fault.cr2, address, "%s", name);
}

struct row {
    const char *name;
    unsigned level; /* 0 is the PML4 entry, 3 the PTE */
    uint64_t clear, set;
    uint64_t read_error, write_error; /* ANY: no fault */
};

static const struct row rows[] = {
    {"plain", 3, 0, 0, ANY, ANY},
    {"pml4e_absent", 0, P, 0, 0, 2},
    {"pdpte_absent", 1, P, 0, 0, 2},
    {"pde_absent", 2, P, 0, 0, 2},
    {"pte_absent", 3, P, 0, 0, 2},
    {"pte_read_only", 3, W, 0, ANY, 3},
    {"pde_read_only", 2, W, 0, ANY, 3},
    {"pdpte_read_only", 1, W, 0, ANY, 3},
    {"pml4e_read_only", 0, W, 0, ANY, 3},
    {"pte_user", 3, 0, U, ANY, ANY},
    {"pte_no_execute", 3, 0, NX, ANY, ANY},
    {"pte_physical_width", 3, 0, 1ull << 51, 9, 11},
    {"pde_physical_width", 2, 0, 1ull << 50, 9, 11},
    {"pml4e_page_size", 0, 0, PS, 9, 11},
    {"large_pde_bit_20", 2, 0, PS | 1 << 20, 9, 11},
    {"large_pdpte_bit_29", 1, 0, PS | 1 << 29, 9, 11},
    {"ignored_bits", 3, 0, 7ull << 9 | 0x7ffull << 52, ANY, ANY},
};

static void rights(void)
{
    uint64_t current = (uint64_t)vmcs_region[0];

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        uint64_t *entry[] = {pml4e(), &pdpt[0], &pd[0], &pt[0]};
        char name[48];

        open_window();
        *(uint64_t *)&l2_data[3][0x40] = current;
        *entry[r->level] = (*entry[r->level] & ~r->clear) | r->set;
        rt_write_cr3(rt_read_cr3());
        rt_snprintf(name, sizeof(name), "%s.read", r->name);
        expect_status(vmptrld(at(0x40)), r->read_error, WINDOW + 0x40, name);
        rt_snprintf(name, sizeof(name), "%s.write", r->name);
        expect_status(vmptrst(at(0x80)), r->write_error, WINDOW + 0x80, name);
        check_eq(*(uint64_t *)&l2_data[3][0x80], r->write_error == ANY ? current : 0, "%s.stored",
                 r->name);
    }
}

static void write_protection(void)
{
    open_window();
    pt[0] &= ~W;
    rt_write_cr3(rt_read_cr3());
    rt_write_cr0(rt_read_cr0() & ~CR0_WP);
    expect_status(vmptrst(at(0x88)), ANY, 0, "wp_clear.supervisor_page");
    pt[0] |= U;
    rt_write_cr3(rt_read_cr3());
    expect_status(vmptrst(at(0x90)), ANY, 0, "wp_clear.user_page");
    rt_write_cr0(rt_read_cr0() | CR0_WP);
    expect_status(vmptrst(at(0x98)), 3, WINDOW + 0x98, "wp_set.user_page");
}

static unsigned vmptrst_with_ac(uint64_t *p)
{
    uint64_t flags = VMX_NO_FLAGS;

    __asm__ volatile(VMX_ASM("vmptrst (%[p])")
                     : [flags] "+r"(flags)
                     : [p] "r"(p)
                     : "memory", "cc");
    return vmx_status(flags);
}

/* The identity map is closed to CPL 3 meanwhile: L1 could not reach its own stack under SMAP. */
static void smap(void)
{
    uint64_t cr4 = rt_read_cr4();
    unsigned open, shut;

    if ((rt_cpuid(7, 0).ebx & (1u << 20)) == 0)
        return;

    open_window();
    pt[1] |= U;
    rt_write_cr3(rt_read_cr3());
    for (unsigned i = 0; i < 2048; i++)
        ((uint64_t *)rt_page_root())[1024 + i] &= ~U;
    rt_write_cr3(rt_read_cr3());
    rt_write_cr4(cr4 | CR4_SMAP);
    shut = vmptrst(at(0x1008));
    check(shut == VMX_FAULT(14) && rt_fault.error == 3 && rt_fault.cr2 == WINDOW + 0x1008,
          "smap.user_page_write");
    shut = vmptrld(at(0x1008));
    check(shut == VMX_FAULT(14) && rt_fault.error == 1, "smap.user_page_read");
    check_eq(vmptrst(at(0x48)), VMX_OK, "smap.supervisor_page");
    rt_write_rflags(rt_read_rflags() | RFLAGS_AC);
    open = vmptrst_with_ac(at(0x1010));
    rt_write_rflags(rt_read_rflags() & ~RFLAGS_AC);
    check_eq(open, VMX_OK, "smap.with_ac");
    rt_write_cr4(cr4);
    for (unsigned i = 0; i < 2048; i++)
        ((uint64_t *)rt_page_root())[1024 + i] |= U;
    rt_write_cr3(rt_read_cr3());
}

static void accessed_dirty(void)
{
    open_window();
    *(uint64_t *)&l2_data[3][0x40] = (uint64_t)vmcs_region[0];
    expect_status(vmptrld(at(0x40)), ANY, 0, "ad.read");
    check(((*pml4e() & pdpt[0] & pd[0] & pt[0]) & A) == A, "ad.read_sets_accessed");
    check_eq(pt[0] & D, 0, "ad.read_leaves_clean");
    check_eq(pt[1] & A, 0, "ad.other_page");
    expect_status(vmptrst(at(0x48)), ANY, 0, "ad.write");
    check_eq(pt[0] & D, D, "ad.write_sets_dirty");
    check_eq(pd[0] & D, 0, "ad.table_is_not_dirty");
}

static void sizes_and_edges(void)
{
    uint64_t pa = (uint64_t)l2_data[3];

    open_window();
    pd[0] = (pa & ~0x1fffffull) | P | W | PS;
    rt_write_cr3(rt_read_cr3());
    expect_status(vmptrst(at(pa & 0x1fffff)), ANY, 0, "size.2m");
    check_eq(*(uint64_t *)&l2_data[3][0], (uint64_t)vmcs_region[0], "size.2m_value");
    check_eq(pd[0] & (A | D), A | D, "size.2m_dirty");
    if ((rt_cpuid(0x80000001, 0).edx & (1u << 26)) != 0) {
        open_window();
        pdpt[0] = P | W | PS;
        rt_write_cr3(rt_read_cr3());
        expect_status(vmptrst(at(pa + 8)), ANY, 0, "size.1g");
        check_eq(*(uint64_t *)&l2_data[3][8], (uint64_t)vmcs_region[0], "size.1g_value");
    }

    open_window();
    expect_status(vmptrst(at(0xffc)), ANY, 0, "crossing");
    check(*(uint32_t *)&l2_data[3][0xffc] == (uint32_t)(uint64_t)vmcs_region[0] &&
              *(uint32_t *)&l2_data[1][0] == 0, "crossing_value");
    pt[1] = 0;
    memset(l2_data[3], 0, 4096);
    rt_write_cr3(rt_read_cr3());
    expect_status(vmptrst(at(0xffc)), 2, WINDOW + 0x1000, "crossing.second_absent");
    check_eq(*(uint32_t *)&l2_data[3][0xffc], 0, "crossing.nothing_stored");
    expect_status(vmptrld(at(0xff9)), 0, WINDOW + 0x1000, "crossing.second_absent_read");
}

/* The 16-byte descriptors of INVEPT and INVVPID, and 8 bytes of VMREAD, by the same walk. */
static void other_instructions(void)
{
    uint64_t flags = VMX_NO_FLAGS;

    open_window();
    *(uint64_t *)&l2_data[3][0xff8] = 1;
    expect_status(invvpid(1, (struct inv_desc *)at(0xff8)), ANY, 0, "invvpid.crossing");
    pt[1] = 0;
    rt_write_cr3(rt_read_cr3());
    expect_status(invvpid(1, (struct inv_desc *)at(0xff8)), 0, WINDOW + 0x1000,
                  "invvpid.second_absent");
    expect_status(invept(2, (struct inv_desc *)at(0xff8)), 0, WINDOW + 0x1000,
                  "invept.second_absent");
    pt[0] &= ~W;
    rt_write_cr3(rt_read_cr3());
    __asm__ volatile(VMX_ASM("vmread %[f], (%[p])")
                     : [flags] "+r"(flags)
                     : [f] "r"((uint64_t)F_G_RIP), [p] "r"(at(0x10))
                     : "memory", "cc");
    expect_status(vmx_status(flags), 3, WINDOW + 0x10, "vmread.read_only");
    flags = VMX_NO_FLAGS;
    __asm__ volatile(VMX_ASM("vmwrite (%[p]), %[f]")
                     : [flags] "+r"(flags)
                     : [f] "r"((uint64_t)F_G_SYSENTER_CS), [p] "r"(at(0x10))
                     : "memory", "cc");
    expect_status(vmx_status(flags), ANY, 0, "vmwrite.read_only");
}

/* Non-canonical addresses: #SS through RBP and RSP, #GP through everything else. */
static void noncanonical(void)
{
    uint64_t flags = VMX_NO_FLAGS;

    __asm__ volatile("pushq %%rbp\n movq %[p], %%rbp\n" VMX_ASM("vmptrst (%%rbp)") "popq %%rbp\n"
                     : [flags] "+r"(flags)
                     : [p] "r"(0x8000000000000000ull)
                     : "memory", "cc");
    check_eq(vmx_status(flags), VMX_FAULT(12), "noncanonical.stack_segment");
    check_eq(rt_fault.error, 0, "noncanonical.stack_segment_error");
    check_eq(vmptrst((uint64_t *)0x800000000000ull), VMX_FAULT(13), "noncanonical.first");
    check_eq(vmptrst((uint64_t *)0xffff7fffffffffffull), VMX_FAULT(13), "noncanonical.last");
    rt_wrmsr(MSR_FS_BASE, 0x7ffffffff000ull);
    flags = VMX_NO_FLAGS;
    __asm__ volatile(VMX_ASM("vmptrst %%fs:(%[p])")
                     : [flags] "+r"(flags)
                     : [p] "r"(0x1000ull)
                     : "memory", "cc");
    rt_wrmsr(MSR_FS_BASE, 0);
    check_eq(vmx_status(flags), VMX_FAULT(13), "noncanonical.by_fs_base");
}

void test_walk(void)
{
    check_group("walk");
    l2_reset(L2_EPT);
    rights();
    write_protection();
    smap();
    accessed_dirty();
    sizes_and_edges();
    other_instructions();
    noncanonical();
    close_window();
}
