/* SPDX-License-Identifier: MIT */
/*
 * l1-vmx: a hypervisor that tests the VMX it runs on. It boots on a bare CPU and as L1 under nvirt;
 * the two logs must agree line for line. Words of its command line choose subjects; none means all.
 */
#include "l2.h"
#include "tests.h"

static const struct {
    const char *name;
    void (*run)(void);
} subjects[] = {
    {"insn", test_instructions},
    {"operand", test_operands},
    {"walk", test_walk},
    {"exit", test_exits},
    {"cr", test_cr},
    {"io", test_io},
    {"msr", test_msr},
    {"info", test_insn_info},
    {"event", test_events},
    {"async", test_windows},
    {"ept", test_ept},
    {"entry", test_entry_controls},
    {"guest", test_entry_guest},
    {"switch", test_switch},
    {"mode", test_modes},
    {"priority", test_priority},
    {"outside", test_outside},
    {"persist", test_persist},
    {"resume", test_resume},
    {"legacy", test_legacy},
};

/* The first word of a Multiboot command line is the image's name. */
static bool wanted(const char *cmdline, const char *name)
{
    size_t n = strlen(name);
    bool any = false;

    while (*cmdline != '\0' && *cmdline != ' ')
        cmdline++;
    while (*cmdline != '\0') {
        while (*cmdline == ' ')
            cmdline++;
        if (*cmdline == '\0')
            break;
        any = true;
        if (strncmp(cmdline, name, n) == 0 && (cmdline[n] == ' ' || cmdline[n] == '\0'))
            return true;
        while (*cmdline != '\0' && *cmdline != ' ')
            cmdline++;
    }
    return !any;
}

void rt_main(uint32_t magic, uint32_t mbi)
{
    const struct rt_mb_info *info = (const struct rt_mb_info *)(uint64_t)mbi;
    const char *cmdline = "";

    if (magic == RT_MB_MAGIC && (info->flags & RT_MB_CMDLINE) != 0)
        cmdline = (const char *)(uint64_t)info->cmdline;
    trap_init();
    apic_init();
    if ((rt_cpuid(1, 0).ecx & (1u << 5)) == 0) {
        check(false, "cpuid_vmx");
        check_done();
    }
    test_outside_vmx();
    for (unsigned i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        if (wanted(cmdline, subjects[i].name))
            subjects[i].run();
    }
    check_group("end");
    check_eq(vmxoff(), VMX_OK, "vmxoff");
    check_done();
}
