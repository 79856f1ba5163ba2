/* SPDX-License-Identifier: MIT */
/*
 * L1 outside long mode, with 32-bit paging and with PAE paging: operands of 32 bits, its own kind
 * of page tables, segments with bases and limits, and an L2 that exits into 32-bit host state.
 */
#include "l2.h"
#include "legacy.h"
#include "tests.h"

/* Four linear pages that the tests map as they like. */
#define WINDOW 0x80000000u
#define CR4_PSE (1u << 4)
#define P 1u
#define W 2u
#define PS 0x80u
#define NEAR_SEL (RT_SEL_FREE + 16u) /* data segment at NEAR_BASE, 64 KiB */

static uint32_t directory32[1024] __attribute__((aligned(4096)));
static uint32_t table32[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32)));
static uint64_t directory_pae[512] __attribute__((aligned(4096)));
static uint64_t table_pae[512] __attribute__((aligned(4096)));
static uint64_t pointer, other_pointer, result;

static uint32_t low(const volatile void *p)
{
    return (uint32_t)(uint64_t)p;
}

/* Pages 0 and 1 of the window are data pages 3 and 1, page 2 is read-only, page 3 absent. */
static void build_tables(void)
{
    uint64_t *boot = (uint64_t *)rt_page_root();
    static const uint8_t page[] = {3, 1, 2};

    for (uint32_t i = 0; i < 1024; i++)
        directory32[i] = (i << 22) | P | W | PS;
    directory32[WINDOW >> 22] = low(table32) | P | W;
    memcpy(directory_pae, boot + 4 * 512, 4096);
    directory_pae[0] = (uint64_t)table_pae | P | W;
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = (uint64_t)(boot + (2 + i) * 512) | P;
    pdpt[2] = (uint64_t)directory_pae | P;
    memset(table32, 0, sizeof(table32));
    memset(table_pae, 0, sizeof(table_pae));
    for (unsigned i = 0; i < 3; i++) {
        table32[i] = low(l2_data[page[i]]) | P | (i == 2 ? 0 : W);
        table_pae[i] = table32[i];
    }
    memset(l2_data, 0, sizeof(l2_data));
}

static void build_descriptors(void)
{
    uint64_t base = (uint64_t)l2_data[4];

    for (unsigned v = 0; v < 32; v++) {
        uint64_t stub = (uint64_t)legacy_stubs + v * 16u;

        legacy_idt[v] = (stub & 0xffff) | ((uint64_t)RT_SEL_CS32 << 16) | (0x8e00ull << 32) |
                        (stub >> 16 << 48);
    }
    rt_gdt()[NEAR_SEL / 8] = 0x0fff | ((base & 0xffffff) << 16) | (0x93ull << 40) |
                             (0x40ull << 48) | ((base >> 24) << 56);
}

static unsigned status(const struct legacy_command *c)
{
    if (c->vector != LEGACY_NONE)
        return VMX_FAULT(c->vector);
    return vmx_status(c->flags & 0xffff);
}

static void instructions(uint32_t cr3, uint32_t cr4)
{
    struct legacy_command c[] = {
        {.op = LEG_VMXON, .a = low(&pointer)},
        {.op = LEG_VMCLEAR, .a = low(&other_pointer)},
        {.op = LEG_VMPTRLD, .a = low(&other_pointer)},
        {.op = LEG_VMPTRST, .a = low(&result)},
        {.op = LEG_VMWRITE, .a = F_G_RSP, .b = 0x89abcdef},
        {.op = LEG_VMREAD, .a = F_G_RSP},
        {.op = LEG_VMWRITE, .a = F_TSC_OFFSET, .b = 0x11111111},
        {.op = LEG_VMWRITE, .a = F_TSC_OFFSET + 1, .b = 0x22222222},
        {.op = LEG_VMREAD, .a = F_TSC_OFFSET + 1},
        {.op = LEG_VMREAD, .a = F_TSC_OFFSET},
        {.op = LEG_VMREAD, .a = 0x6cf0, .out = 0x77},
        {.op = LEG_VMREAD, .a = F_INSN_ERROR},
        {.op = LEG_VMREAD_MEM, .a = F_G_RSP, .b = low(&l2_data[6][0])},
        {.op = LEG_VMWRITE_MEM, .a = F_G_SYSENTER_CS, .b = low(&l2_data[6][0])},
        {.op = LEG_VMREAD, .a = F_G_SYSENTER_CS},
        {.op = LEG_INVEPT, .a = 2, .b = low(&l2_data[6][64])},
        {.op = LEG_INVVPID, .a = 2, .b = low(&l2_data[6][64])},
        {.op = LEG_INVVPID, .a = 9, .b = low(&l2_data[6][64])},
        {.op = LEG_VMRESUME},
        {.op = LEG_VMREAD, .a = F_INSN_ERROR},
        {.op = LEG_VMXOFF},
        {.op = LEG_VMXOFF},
        {.op = LEG_END},
    };

    memset(l2_data[6], 0xee, 32);
    memset(&l2_data[6][64], 0, 16);
    legacy_run(c, cr3, cr4);
    check_eq(status(&c[0]), VMX_OK, "vmxon");
    check_eq(status(&c[1]), VMX_OK, "vmclear");
    check_eq(status(&c[2]), VMX_OK, "vmptrld");
    check(status(&c[3]) == VMX_OK && result == other_pointer, "vmptrst");
    check(status(&c[5]) == VMX_OK && c[5].out == 0x89abcdef, "natural_width_field");
    check(c[8].out == 0x22222222 && c[9].out == 0x11111111, "field_64_in_halves");
    check(status(&c[10]) == VMX_FAIL_VALID && c[10].out == 0x77, "unsupported_field");
    check_eq(c[11].out, E_UNSUPPORTED_FIELD, "unsupported_field_error");
    check(*(uint32_t *)&l2_data[6][0] == 0x89abcdef && *(uint32_t *)&l2_data[6][4] == 0xeeeeeeee,
          "memory_operand_is_32_bit");
    check_eq(c[14].out, 0x89abcdef, "vmwrite_from_memory");
    check_eq(status(&c[15]), VMX_OK, "invept");
    check_eq(status(&c[16]), VMX_OK, "invvpid");
    check_eq(status(&c[17]), VMX_FAIL_VALID, "invvpid_type");
    check_eq(status(&c[18]), VMX_FAIL_VALID, "vmresume_clear");
    check_eq(c[19].out, E_RESUME_NOT_LAUNCHED, "vmresume_clear_error");
    check_eq(status(&c[20]), VMX_OK, "vmxoff");
    check_eq(status(&c[21]), VMX_FAULT(6), "vmxoff_again");
}

static void operand_forms(uint32_t cr3, uint32_t cr4)
{
    uint64_t *near_cell = (uint64_t *)&l2_data[4][0x20];
    struct legacy_command c[] = {
        {.op = LEG_VMXON, .a = low(&pointer)},
        {.op = LEG_VMPTRLD, .a = low(&other_pointer)},
        {.op = LEG_VMPTRST_SIB, .a = low(&result)},
        {.op = LEG_LOAD_FS, .a = NEAR_SEL},
        {.op = LEG_VMPTRST_FS, .a = 0x20},
        {.op = LEG_VMPTRST_ADDR16, .a = 0x40},
        {.op = LEG_VMPTRST_FS, .a = 0xff8},
        {.op = LEG_VMPTRST_FS, .a = 0xff9},
        {.op = LEG_LOAD_FS, .a = 0},
        {.op = LEG_VMPTRST_FS, .a = 0x20},
        {.op = LEG_VMXOFF},
        {.op = LEG_END},
    };

    result = 0;
    memset(l2_data[4], 0, 4096);
    legacy_run(c, cr3, cr4);
    check_eq(result, other_pointer, "form.sib");
    check_eq(*near_cell, other_pointer, "form.segment_base");
    check_eq(*(uint64_t *)&l2_data[4][0x40], other_pointer, "form.address_16_wraps");
    check_eq(status(&c[6]), VMX_OK, "form.segment_limit_last");
    check(status(&c[7]) == VMX_FAULT(13) && c[7].error == 0, "form.segment_limit");
    check_eq(status(&c[9]), VMX_FAULT(13), "form.null_segment");
}

static void faults(uint32_t cr3, uint32_t cr4)
{
    struct legacy_command c[] = {
        {.op = LEG_VMXON, .a = low(&pointer)},
        {.op = LEG_VMPTRLD, .a = WINDOW + 0x10},
        {.op = LEG_VMPTRST, .a = WINDOW + 0x20},
        {.op = LEG_VMPTRST, .a = WINDOW + 0xffc},
        {.op = LEG_VMPTRST, .a = WINDOW + 0x2008},
        {.op = LEG_VMPTRST, .a = WINDOW + 0x3008},
        {.op = LEG_VMPTRLD, .a = WINDOW + 0x3010},
        {.op = LEG_VMPTRLD, .a = WINDOW + 0x2ffc},
        {.op = LEG_INVVPID, .a = 2, .b = WINDOW + 0x3020},
        {.op = LEG_VMREAD_MEM, .a = F_G_RIP, .b = WINDOW + 0x2004},
        {.op = LEG_VMXOFF},
        {.op = LEG_END},
    };

    memset(l2_data, 0, sizeof(l2_data));
    *(uint64_t *)&l2_data[3][0x10] = other_pointer;
    legacy_run(c, cr3, cr4);
    check_eq(status(&c[1]), VMX_OK, "paging.read");
    check_eq(*(uint64_t *)&l2_data[3][0x20], other_pointer, "paging.write");
    check(*(uint32_t *)&l2_data[3][0xffc] == (uint32_t)other_pointer, "paging.crossing");
    check(status(&c[4]) == VMX_FAULT(14) && c[4].error == 3 && c[4].cr2 == WINDOW + 0x2008,
          "paging.read_only");
    check(status(&c[5]) == VMX_FAULT(14) && c[5].error == 2 && c[5].cr2 == WINDOW + 0x3008,
          "paging.absent_write");
    check(status(&c[6]) == VMX_FAULT(14) && c[6].error == 0 && c[6].cr2 == WINDOW + 0x3010,
          "paging.absent_read");
    check(status(&c[7]) == VMX_FAULT(14) && c[7].error == 0 && c[7].cr2 == WINDOW + 0x3000,
          "paging.crossing_absent");
    check(status(&c[8]) == VMX_FAULT(14) && c[8].cr2 == WINDOW + 0x3020, "paging.invvpid_absent");
    check(status(&c[9]) == VMX_FAULT(14) && c[9].error == 3, "paging.vmread_read_only");
}

SNIPPET32(leg_cpuid, "", "cpuid", "");
SNIPPET16(leg_real, "", "cpuid", "");

/* The VMCS is written in long mode and cleared; L1 launches it in its 32-bit mode. */
static void launch(enum l2_mode mode, const char *code, uint32_t cr3, uint32_t cr4)
{
    struct legacy_command c[] = {
        {.op = LEG_VMXON, .a = low(&pointer)},
        {.op = LEG_VMPTRLD, .a = low(&other_pointer)},
        {.op = LEG_VMLAUNCH},
        {.op = LEG_VMREAD, .a = F_REASON},
        {.op = LEG_READ, .a = WINDOW + 0x10},
        {.op = LEG_VMREAD, .a = F_G_RIP},
        {.op = LEG_VMPTRST, .a = WINDOW + 0x18},
        {.op = LEG_VMRESUME},
        {.op = LEG_VMREAD, .a = F_REASON},
        {.op = LEG_VMWRITE, .a = F_G_RFLAGS, .b = 0},
        {.op = LEG_VMRESUME},
        {.op = LEG_VMREAD, .a = F_REASON},
        {.op = LEG_VMXOFF},
        {.op = LEG_END},
    };
    uint64_t pa = (uint64_t)vmcs_region[0];
    const char *name = l2_mode_name(mode);

    (void)vmx_start();
    l2_reset(mode);
    build_tables();
    *(uint32_t *)&l2_data[3][0x10] = 0x5ca1ab1e;
    ctl_clear(F_EXIT, EXIT_HOST64);
    vmwrite(F_H_EFER, 0);
    vmwrite(F_H_CR3, cr3);
    vmwrite(F_H_CR4, cr4);
    vmwrite(F_H_CS_SEL, RT_SEL_CS32);
    vmwrite(F_H_SS_SEL, RT_SEL_DS32);
    vmwrite(F_H_DS_SEL, RT_SEL_DS32);
    vmwrite(F_H_ES_SEL, RT_SEL_DS32);
    vmwrite(F_H_IDTR_BASE, (uint64_t)legacy_idt);
    vmwrite(F_H_RIP, (uint64_t)legacy_landing);
    l2_start(code);
    (void)vmclear(&pa);
    (void)vmxoff();
    other_pointer = pa;
    legacy_run(c, cr3, cr4);
    check(c[2].out == LEGACY_EXIT && c[2].flags == 2, "l2.%s.exit_into_32_bit", name);
    check_eq(c[3].out, R_CPUID, "l2.%s.reason", name);
    check_eq(c[4].out, 0x5ca1ab1e, "l2.%s.page_tables_back", name);
    check_eq(*(uint64_t *)&l2_data[3][0x18], pa, "l2.%s.operand_after_exit", name);
    check(c[7].out == LEGACY_EXIT && c[8].out == R_CPUID, "l2.%s.resumed", name);
    check(c[10].out == LEGACY_EXIT && c[11].out == (R_ENTRY_FAILURE | R_BAD_GUEST),
          "l2.%s.entry_failure_into_32_bit", name);
    check_eq(status(&c[12]), VMX_OK, "l2.%s.vmxoff", name);
}

/* [SDM 3C "Checks Related to Address-Space Size"]: no 64-bit host or IA-32e guest from here. */
static void address_space_size(uint32_t cr3, uint32_t cr4)
{
    struct legacy_command c[] = {
        {.op = LEG_VMXON, .a = low(&pointer)},
        {.op = LEG_VMPTRLD, .a = low(&other_pointer)},
        {.op = LEG_VMLAUNCH},
        {.op = LEG_VMREAD, .a = F_INSN_ERROR},
        {.op = LEG_VMXOFF},
        {.op = LEG_END},
    };
    uint64_t pa = (uint64_t)vmcs_region[0];

    (void)vmx_start();
    l2_reset(L2_FLAT32);
    l2_start(s_leg_cpuid);
    (void)vmclear(&pa);
    (void)vmxoff();
    other_pointer = pa;
    legacy_run(c, cr3, cr4);
    check_eq(status(&c[2]), VMX_FAIL_VALID, "l2.host64_refused");
    check_eq(c[3].out, E_HOST_STATE, "l2.host64_refused_error");
}

void test_legacy(void)
{
    static const struct {
        const char *name;
        bool pae;
    } kinds[] = {{"32_bit", false}, {"pae", true}};

    (void)vmxoff();
    build_descriptors();
    for (unsigned i = 0; i < 2; i++) {
        uint32_t cr3 = kinds[i].pae ? low(pdpt) : low(directory32);
        uint32_t cr4 = (uint32_t)(rt_read_cr4() & ~CR4_PAE) | CR4_PSE;

        if (kinds[i].pae)
            cr4 |= (uint32_t)CR4_PAE;
        check_group("legacy.%s", kinds[i].name);
        build_tables();
        vmcs_prepare(vmxon_region);
        vmcs_prepare(vmcs_region[1]);
        pointer = (uint64_t)vmxon_region;
        other_pointer = (uint64_t)vmcs_region[1];
        instructions(cr3, cr4);
        operand_forms(cr3, cr4);
        faults(cr3, cr4);
        launch(L2_FLAT32, s_leg_cpuid, cr3, cr4);
        launch(L2_PAE, s_leg_cpuid, cr3, cr4);
        launch(L2_REAL, s_leg_real, cr3, cr4);
        address_space_size(cr3, cr4);
    }
    rt_gdt()[NEAR_SEL / 8] = 0;
    check_group("legacy");
    check(vmx_start(), "back_in_long_mode");
}
