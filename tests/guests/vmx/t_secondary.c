/* SPDX-License-Identifier: MIT */
/*
 * Secondary controls that enable an instruction and watch it: XSAVES and XRSTORS with the XSS-exiting
 * bitmap, and loops of PAUSE. [SDM 3C "XSS-Exiting Bitmap"], [SDM 3C "Instructions That Cause VM Exits
 * Conditionally"].
 */
#include "l2.h"
#include "tests.h"

#define MSR_XSS 0xda0u
#define XSS_CET_U (1u << 11)

/* The state of EDX:EAX, at the start of L2's data; the header of an XSAVE area is all zeros. */
SNIPPET(xsaves, "movl $0x40000000, %ebx\nxorl %edx, %edx", "xsaves (%rbx)", "");
SNIPPET(xrstors, "movl $0x40000000, %ebx\nxorl %edx, %edx", "xrstors (%rbx)", "");
SNIPPET(loop, "1:", "pause", "decl %ecx\njnz 1b");

static void save_area(enum l2_mode mode, bool enabled, uint64_t bitmap)
{
    l2_reset(mode);
    memset(l2_data[0], 0, sizeof(l2_data[0]));
    l2_data[0][512 + 15] = 0x80; /* XCOMP_BV bit 63: the compacted form. */
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_OSXSAVE);
    if (enabled)
        ctl_set(F_PROC2, PROC2_XSAVES);
    else
        ctl_clear(F_PROC2, PROC2_XSAVES);
    vmwrite(F_XSS_BITMAP, bitmap);
}

static void run(const char *code, uint32_t components)
{
    l2_start(code);
    l2.g.rax = components;
    (void)l2_run();
}

static void xsaves(enum l2_mode mode)
{
    save_area(mode, false, 0);
    run(s_xsaves, 1);
    check_eq((uint64_t)l2_handler_vector(), 6, "xsaves_disabled");
    run(s_xrstors, 1);
    check_eq((uint64_t)l2_handler_vector(), 6, "xrstors_disabled");
    save_area(mode, true, 0);
    run(s_xsaves, 1);
    expect_done("xsaves");
    /* A component exits that all three have: the bitmap, IA32_XSS and EDX:EAX. */
    save_area(mode, true, ~0ull);
    run(s_xsaves, 3 | XSS_CET_U);
    expect_done("xsaves_without_xss");
    run(s_xrstors, 1);
    expect_done("xrstors_without_xss");
    if ((rt_cpuid(0xd, 1).ecx & XSS_CET_U) == 0)
        return;
    rt_wrmsr(MSR_XSS, XSS_CET_U);
    run(s_xsaves, 1);
    expect_done("xsaves_of_another");
    run(s_xsaves, 1 | XSS_CET_U);
    (void)expect_exit("xsaves_wanted", &(struct expect){R_XSAVES, 0, (uint64_t)(e_xsaves - i_xsaves),
                                                        (uint64_t)i_xsaves});
    run(s_xrstors, XSS_CET_U);
    (void)expect_exit("xrstors_wanted",
                      &(struct expect){R_XRSTORS, 0, (uint64_t)(e_xrstors - i_xrstors),
                                       (uint64_t)i_xrstors});
    vmwrite(F_XSS_BITMAP, ~(uint64_t)XSS_CET_U);
    run(s_xsaves, 1 | XSS_CET_U);
    expect_done("xsaves_outside_the_bitmap");
    rt_wrmsr(MSR_XSS, 0);
}

/* Enough PAUSEs, each soon after the one before, are a loop once it has lasted for the window. */
static void pause_loops(enum l2_mode mode)
{
    for (unsigned on = 0; on < 2; on++) {
        l2_reset(mode);
        if (on != 0)
            ctl_set(F_PROC2, PROC2_PAUSE_LOOP);
        vmwrite(F_PLE_GAP, 0x1000);
        vmwrite(F_PLE_WINDOW, 0x2000);
        l2_start(s_loop);
        l2.g.rcx = 1u << 16;
        (void)l2_run();
        if (on == 0) {
            expect_done("pause_loop_off");
            continue;
        }
        (void)expect_exit("pause_loop", &(struct expect){R_PAUSE, 0, 2, (uint64_t)i_loop});
        check(l2.g.rcx > 0 && l2.g.rcx < (1u << 16), "pause_loop.found_within_it");
        /* A single PAUSE is none. */
        l2_start(s_loop);
        l2.g.rcx = 1;
        (void)l2_run();
        expect_done("pause_alone");
    }
}

void test_secondary(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("%s", l2_mode_name(modes[m]));
        if (ctl_can(F_PROC2, PROC2_XSAVES))
            xsaves(modes[m]);
        if (ctl_can(F_PROC2, PROC2_PAUSE_LOOP))
            pause_loops(modes[m]);
    }
}
