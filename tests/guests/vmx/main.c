/* SPDX-License-Identifier: MIT */
/*
 * l1-vmx: a hypervisor that tests the VMX it runs on. It boots on a bare CPU and as L1 under nvirt;
 * the two logs must agree line for line. Words of its command line choose subjects; without
 * any, all run but those on request.
 */
#include "l2.h"
#include "tests.h"

static const struct {
    const char *name;
    void (*run)(void);
    bool on_request; /* not part of the compared log: runs only when it is named */
} subjects[] = {
    {"insn", test_instructions, false},
    {"operand", test_operands, false},
    {"walk", test_walk, false},
    {"exit", test_exits, false},
    {"cr", test_cr, false},
    {"io", test_io, false},
    {"msr", test_msr, false},
    {"info", test_insn_info, false},
    {"event", test_events, false},
    {"async", test_windows, false},
    {"activity", test_activity, false},
    {"ept", test_ept, false},
    {"ept_changes", test_ept_changes, false},
    {"ept_mix", test_ept_mix, false},
    {"vmfunc", test_vmfunc, false},
    {"pml", test_pml, false},
    {"ve", test_ve, false},
    {"spp", test_spp, false},
    {"shadow", test_shadow, false},
    {"tpr", test_tpr, false},
    {"apic", test_apic, false},
    {"secondary", test_secondary, false},
    {"apicv", test_apicv, false},
    {"delivery", test_delivery, false},
    {"entry", test_entry_controls, false},
    {"guest", test_entry_guest, false},
    {"switch", test_switch, false},
    {"cet", test_cet, false},
    {"mode", test_modes, false},
    {"priority", test_priority, false},
    {"outside", test_outside, false},
    {"persist", test_persist, false},
    {"resume", test_resume, false},
    {"pcid", test_pcid, false},
    {"legacy", test_legacy, false},
    {"posted", test_posted, true},
    {"manual", test_manual, true},
    {"hostile", test_hostile, true},
};

/* The first word of a Multiboot command line is the image's name. A word that begins with a minus
 * leaves its subject out. */
static bool wanted(const char *cmdline, const char *name, bool on_request)
{
    size_t n = strlen(name);
    bool any = false;
    bool out;

    while (*cmdline != '\0' && *cmdline != ' ')
        cmdline++;
    while (*cmdline != '\0') {
        while (*cmdline == ' ')
            cmdline++;
        if (*cmdline == '\0')
            break;
        out = *cmdline == '-';
        cmdline += out;
        any |= !out;
        if (strncmp(cmdline, name, n) == 0 && (cmdline[n] == ' ' || cmdline[n] == '\0'))
            return !out;
        while (*cmdline != '\0' && *cmdline != ' ')
            cmdline++;
    }
    return !any && !on_request;
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
        if (wanted(cmdline, subjects[i].name, subjects[i].on_request))
            subjects[i].run();
    }
    check_group("end");
    check_eq(vmxoff(), VMX_OK, "vmxoff");
    check_done();
}
