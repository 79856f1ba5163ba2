/* SPDX-License-Identifier: MIT */
/*
 * What a VMCS remembers: every field survives VMCLEAR, VMPTRLD and the life of other VMCSs; a trip
 * through L2 changes only what it must. The sets of fields differ between CPUs, so the sweep asks
 * each encoding and compares with itself. [SDM 3C "Organization of VMCS Data"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(persist_done, "", "", "");
SNIPPET(persist_cpuid, "", "cpuid", "jmp i_persist_cpuid");

#define INDEXES 64u
#define TYPE_INFO 1u /* read-only data fields */

struct sweep {
    bool present[4][4][INDEXES];
    uint64_t value[4][4][INDEXES];
};

static struct sweep before, after;

static uint32_t encoding(unsigned width, unsigned type, unsigned index)
{
    return (width << 13) | (type << 10) | (index << 1);
}

static void read_all(struct sweep *s)
{
    for (unsigned w = 0; w < 4; w++) {
        for (unsigned t = 0; t < 4; t++) {
            for (unsigned i = 0; i < INDEXES; i++) {
                s->value[w][t][i] = 0;
                s->present[w][t][i] =
                    vmx_read(encoding(w, t, i), &s->value[w][t][i]) == VMX_OK;
            }
        }
    }
}

/* First encoding of a type that differs, or 0; `ignore` ends with 0xffff. */
static uint32_t first_difference(unsigned type, const uint16_t *ignore)
{
    for (unsigned w = 0; w < 4; w++) {
        for (unsigned i = 0; i < INDEXES; i++) {
            uint32_t field = encoding(w, type, i);
            bool skip = false;

            for (const uint16_t *p = ignore; *p != 0xffff; p++)
                skip = skip || *p == field;
            if (!skip && before.present[w][type][i] &&
                before.value[w][type][i] != after.value[w][type][i])
                return field | 0x10000;
        }
    }
    return 0;
}

/* A value of its own for each field; none is ever entered with. */
static uint64_t pattern(uint32_t field)
{
    return field * 0x9e3779b97f4a7c15ull ^ 0x0123456789abcdefull;
}

static const uint64_t width_mask[4] = {0xffff, ~0ull, 0xffffffff, ~0ull};

static void fill(uint64_t salt)
{
    for (unsigned w = 0; w < 4; w++) {
        for (unsigned t = 0; t < 4; t++) {
            for (unsigned i = 0; t != TYPE_INFO && i < INDEXES; i++)
                (void)vmx_write(encoding(w, t, i), pattern(encoding(w, t, i)) ^ salt);
        }
    }
}

/* How many fields do not hold what fill() wrote. */
static unsigned wrong(uint64_t salt)
{
    unsigned n = 0;

    for (unsigned w = 0; w < 4; w++) {
        for (unsigned t = 0; t < 4; t++) {
            for (unsigned i = 0; t != TYPE_INFO && i < INDEXES; i++) {
                uint32_t field = encoding(w, t, i);
                uint64_t v = 0;

                if (vmx_read(field, &v) == VMX_OK &&
                    v != ((pattern(field) ^ salt) & width_mask[w]))
                    n++;
            }
        }
    }
    return n;
}

static void fields_survive(void)
{
    uint64_t first = (uint64_t)vmcs_region[0], second = (uint64_t)vmcs_region[1];

    vmcs_prepare(vmcs_region[0]);
    vmcs_prepare(vmcs_region[1]);
    (void)vmclear(&first);
    (void)vmclear(&second);
    (void)vmptrld(&first);
    fill(0);
    check_eq(wrong(0), 0, "written");
    (void)vmptrld(&second);
    fill(0x5555);
    check_eq(wrong(0x5555), 0, "other_written");
    (void)vmptrld(&first);
    check_eq(wrong(0), 0, "after_vmptrld");
    (void)vmclear(&first);
    (void)vmptrld(&second);
    check_eq(wrong(0x5555), 0, "other_after_vmclear");
    (void)vmptrld(&first);
    check_eq(wrong(0), 0, "after_vmclear");
    l2_reset_in(L2_EPT, vmcs_region[2]);
    (void)l2_go(s_persist_done);
    (void)expect_done("third_runs");
    (void)vmptrld(&first);
    check_eq(wrong(0), 0, "after_third_ran");
    /* A failed entry with it changes nothing either. */
    check_eq(vmlaunch(), VMX_FAIL_VALID, "entry_fails");
    check_eq(wrong(0), 0, "after_failed_entry");
    (void)vmclear(&first);
    (void)vmclear(&second);
}

/* A valid guest in which as many fields as possible have values of their own. */
static void unusual_guest(void)
{
    static const struct {
        uint32_t field;
        uint64_t value;
    } v[] = {
        {F_G_ES_SEL, 0x1238},      {F_G_ES_BASE, 0x11223000},  {F_G_ES_LIMIT, 0x12345fff},
        {F_G_DS_SEL, 0x4568},      {F_G_DS_BASE, 0x22334000},  {F_G_DS_LIMIT, 0x2345ffff},
        {F_G_FS_SEL, 0x6788},      {F_G_FS_BASE, 0x7f0012345678}, {F_G_FS_LIMIT, 0x3456ffff},
        {F_G_GS_SEL, 0x9ab8},      {F_G_GS_BASE, 0xffff812345678000ull},
        {F_G_GS_LIMIT, 0xfff00fff}, {F_G_ES_AR, 0xc091},       {F_G_DS_AR, 0xd0b3},
        {F_G_FS_AR, 0xc0f3},       {F_G_GS_AR, 0xc097},        {F_G_LDTR_SEL, 0x78},
        {F_G_LDTR_AR, 0x82},       {F_G_LDTR_BASE, 0x33445000}, {F_G_LDTR_LIMIT, 0x765},
        {F_G_TR_LIMIT, 0x2345},    {F_G_GDTR_LIMIT, 0x3ff},    {F_G_IDTR_LIMIT, 0xfff},
        {F_G_SYSENTER_CS, 0x1234}, {F_G_SYSENTER_ESP, 0x55660000}, {F_G_SYSENTER_EIP, 0x77880000},
        {F_G_PAT, 0x0705040106000704ull}, {F_G_DR7, 0x700},    {F_G_RFLAGS, 0xcd7},
        {F_G_PDPTE0, 0},
    };

    for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        vmwrite(v[i].field, v[i].value);
    vmwrite(F_G_EFER, vmread(F_G_EFER) | EFER_SCE);
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_PGE | CR4_DE | CR4_PCE);
    vmwrite(F_G_CR0, vmread(F_G_CR0) | CR0_TS | CR0_MP);
}

static void round_trip(enum l2_mode mode)
{
    static const uint16_t none[] = {0xffff};
    static const uint16_t host_rsp[] = {F_H_RSP, 0xffff};

    l2_reset(mode);
    l2_start(s_persist_done);
    unusual_guest();
    unblock_nmi(); /* An earlier subject's NMI would show in the interruptibility of L2. */
    read_all(&before);
    (void)l2_run();
    read_all(&after);
    check_eq(l2.reason, R_VMCALL, "runs");
    check_eq(first_difference(0, none), 0, "controls_unchanged");
    check_eq(first_difference(2, none), 0, "guest_state_unchanged");
    check_eq(first_difference(3, host_rsp), 0, "host_state_unchanged");
    /* And through a second trip, and one that fails. */
    (void)l2_run();
    read_all(&after);
    check_eq(first_difference(2, none), 0, "guest_state_after_resume");
    vmwrite(F_G_RFLAGS, 0);
    read_all(&before);
    (void)l2_run();
    read_all(&after);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "fails");
    check_eq(first_difference(0, none), 0, "controls_after_failure");
    check_eq(first_difference(2, none), 0, "guest_state_after_failure");
    check_eq(first_difference(3, host_rsp), 0, "host_state_after_failure");
}

/* Many exits on end: nothing drifts. */
static void many_exits(enum l2_mode mode)
{
    unsigned good = 0;

    l2_reset(mode);
    l2_start(s_persist_cpuid);
    for (unsigned i = 0; i < 500; i++) {
        (void)l2_run();
        if (l2.reason == R_CPUID && vmread(F_INSN_LEN) == 2 &&
            vmread(F_G_RIP) == (uint64_t)i_persist_cpuid)
            good++;
        vmwrite(F_G_RIP, (uint64_t)e_persist_cpuid);
    }
    check_eq(good, 500, "many_exits");
}

void test_persist(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    check_group("fields");
    fields_survive();
    for (unsigned m = 0; m < 2; m++) {
        check_group("round_trip.%s", l2_mode_name(modes[m]));
        round_trip(modes[m]);
        many_exits(modes[m]);
    }
}
