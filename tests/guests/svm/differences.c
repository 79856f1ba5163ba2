/* SPDX-License-Identifier: MIT */
/*
 * Where an emulator itself departs from the manual. T_ACCEPT: the check runs, its line says DIFF
 * instead of a verdict, so a bare and a nested log agree. T_SKIP: the emulator would panic, hang
 * or lose state. Each row is explained, with the manual's rule, in differences.md.
 */
#include "cpu.h"
#include "t.h"

#define QEMU 1u
#define BOCHS 2u

struct difference {
    const char *name; /* '*' stands for any characters */
    uint8_t where;
    uint8_t policy;
};

static const struct difference table[] = {
    {"instructions.skinit.svme", BOCHS, T_SKIP},
    {"instructions.vmsave.tr-type", QEMU, T_ACCEPT},
    {"msr.efer.reserved-bit-*", QEMU, T_ACCEPT},
    {"msr.vm-cr.*", QEMU | BOCHS, T_SKIP},
    {"msr.hsave.unaligned-*", BOCHS, T_ACCEPT},
    {"msr.hsave.beyond-maxphyaddr", BOCHS, T_ACCEPT},
    {"msr.hsave.bit-63", BOCHS, T_ACCEPT},
    {"vmrun-check.*.cr3-*", BOCHS, T_ACCEPT},
    {"vmrun-check.*.lme-pg-without-pe", BOCHS, T_SKIP},
    {"vmrun-check.npt.ncr3-*", QEMU, T_ACCEPT},
    {"vmrun-check.npt.pat-*", QEMU, T_ACCEPT},
    {"vmrun-check.*-runs-over", BOCHS, T_ACCEPT},
    {"intercept.*.rsm", BOCHS, T_SKIP},
    {"intercept.*.vmload.clear*", BOCHS, T_ACCEPT},
    {"intercept.*.vmsave.clear*", BOCHS, T_ACCEPT},
    {"exception.*.cr2-kept", BOCHS, T_ACCEPT},
    {"intercept.*.invd", QEMU, T_SKIP},
    {"intercept.*.rdtscp", QEMU, T_SKIP},
    {"intercept.*.icebp*", QEMU, T_SKIP},
    {"intercept.*.xsetbv", QEMU, T_SKIP},
    {"intercept.shadow.vmload.clear*", QEMU, T_ACCEPT},
    {"intercept.shadow.vmsave.clear*", QEMU, T_ACCEPT},
    {"io.*.address-size", QEMU, T_ACCEPT},
    {"msrpm.*.rcx-high.*", QEMU, T_ACCEPT},
    {"state.*.host.dr7", QEMU, T_ACCEPT},
    {"state.npt.pat.*", QEMU, T_ACCEPT},
    {"state.shadow.l2-vm*", QEMU, T_ACCEPT},
    {"state.*.l2-vmsave", BOCHS, T_SKIP},
    {"interrupt.*.sti-shadow.one-instruction-later", QEMU, T_ACCEPT},
    {"interrupt.*.masking-hostif.code", BOCHS, T_ACCEPT},
    {"interrupt.*.masking-hostif.rip", BOCHS, T_ACCEPT},
    {"interrupt.*.masking-guestif.code", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-hostif.l2-handler", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-hostif.l1-after-stgi", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-hostif.none-lost", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-guestif.l2-handler", BOCHS, T_ACCEPT},
    {"interrupt.*.self.masking-cli", BOCHS, T_ACCEPT},
    {"virtual-irq.*.tpr-equal.*", QEMU, T_ACCEPT},
    {"virtual-irq.*.cr8-lower", QEMU, T_SKIP},
    {"virtual-irq.*.if-1.*", BOCHS, T_ACCEPT},
    {"virtual-irq.*.intercept-if-1.*", BOCHS, T_ACCEPT},
    {"fault.*.double-fault.*", QEMU, T_ACCEPT},
    {"npt.rmw-absent.info1", QEMU, T_ACCEPT},
    {"npt.reserved-*.info1", QEMU, T_ACCEPT},
    {"npt.*.cr2-kept", BOCHS, T_ACCEPT},
    {"virtual-irq.*.tpr-below.*", BOCHS, T_ACCEPT},
    {"virtual-irq.*.ignore-tpr.*", BOCHS, T_ACCEPT},
    {"virtual-irq.*.no-masking.*", BOCHS, T_ACCEPT},
    {"virtual-irq.*.physical-first.delivered", BOCHS, T_ACCEPT},
    {"inject.*.pf.cr2", BOCHS, T_ACCEPT},
    {"interrupted-*.own-int.*", BOCHS, T_ACCEPT},
    {"fault.*.triple-fault", BOCHS, T_SKIP},
    {"exception.*.bp", QEMU, T_SKIP},
    {"exception.*.ss.*", QEMU, T_ACCEPT},
};

static bool match(const char *pattern, const char *name)
{
    while (*pattern != '\0' && *pattern != '*' && *pattern == *name) {
        pattern++;
        name++;
    }
    if (*pattern != '*') {
        return *pattern == '\0' && *name == '\0';
    }
    if (pattern[1] == '\0') {
        return true;
    }
    for (; *name != '\0'; name++) {
        if (match(pattern + 1, name)) {
            return true;
        }
    }
    return false;
}

enum t_policy t_difference(const char *full_name)
{
    unsigned int here = cpu_is_qemu() ? QEMU : cpu_is_bochs() ? BOCHS : 0;

    for (unsigned int i = 0; i < sizeof table / sizeof table[0]; i++) {
        if ((table[i].where & here) != 0 && match(table[i].name, full_name)) {
            return (enum t_policy)table[i].policy;
        }
    }
    return T_EXACT;
}
