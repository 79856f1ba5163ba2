/* SPDX-License-Identifier: MIT */
/*
 * Where an emulator itself departs from the manual. T_ACCEPT: the check runs, its line says
 * "differs" instead of a verdict, so a bare and a nested log agree. T_SKIP: the emulator would
 * panic, hang or lose state. Each row is explained, with the manual's rule, in differences.md.
 */
#include "cpu.h"
#include "t.h"

#define QEMU 1u
#define BOCHS 2u

struct difference {
    const char *name; /* as printed; '*' stands for any characters within one part */
    uint8_t where;
    uint8_t policy;
};

static const struct difference table[] = {
    /* instructions and MSRs */
    {"instructions.skinit.svme", BOCHS, T_SKIP},
    {"instructions.vmsave.tr-type", QEMU, T_ACCEPT},
    {"msr.efer.reserved-bit-*", QEMU, T_ACCEPT},
    {"msr.vm-cr.writes", QEMU | BOCHS, T_SKIP},
    {"msr.hsave.unaligned-*", BOCHS, T_ACCEPT},
    {"msr.hsave.beyond-maxphyaddr", BOCHS, T_ACCEPT},
    {"msr.hsave.bit-63", BOCHS, T_ACCEPT},
    /* what VMRUN refuses */
    {"vmrun-check.*.cr3-*", BOCHS, T_ACCEPT},
    {"vmrun-check.*.lme-pg-without-pe", BOCHS, T_SKIP},
    {"vmrun-check.*.*-runs-over", BOCHS, T_ACCEPT},
    {"vmrun-check.npt.ncr3-*", QEMU, T_ACCEPT},
    {"vmrun-check.npt.pat-*", QEMU, T_ACCEPT},
    /* intercepts */
    {"intercept.*.rsm", BOCHS, T_SKIP},
    {"intercept.*.vmload.clear*", BOCHS, T_ACCEPT},
    {"intercept.*.vmsave.clear*", BOCHS, T_ACCEPT},
    {"intercept.shadow.vmload.clear*", QEMU, T_ACCEPT},
    {"intercept.shadow.vmsave.clear*", QEMU, T_ACCEPT},
    {"intercept.*.invd", QEMU, T_SKIP},
    {"intercept.*.rdtscp", QEMU, T_SKIP},
    {"intercept.*.icebp*", QEMU, T_SKIP},
    {"intercept.*.xsetbv", QEMU, T_SKIP},
    {"io.*.*.address-size", QEMU, T_ACCEPT},
    {"msrpm.*.rcx-high.ignored", QEMU, T_ACCEPT},
    {"task-intercept.*.*", QEMU, T_SKIP},
    {"task-intercept.*.int.event", BOCHS, T_ACCEPT},
    /* exceptions */
    {"exception.*.bp", QEMU, T_SKIP},
    {"exception.*.ac", QEMU, T_SKIP},
    {"exception.*.ss.code", QEMU, T_ACCEPT},
    {"exception.*.ss.rip", QEMU, T_ACCEPT},
    {"exception.*.ss.vector", QEMU, T_ACCEPT},
    {"exception.*.*.cr2-kept", BOCHS, T_ACCEPT},
    {"exception.*.watch", QEMU, T_SKIP},
    {"exception.*.watch.of-l2-dr6", BOCHS, T_ACCEPT},
    {"mode.*.into", QEMU, T_SKIP},
    {"mode.*.v86", BOCHS, T_SKIP},
    {"mode.*.v86.vmrun", QEMU, T_ACCEPT},
    {"mode.*.v86.vmload", QEMU, T_ACCEPT},
    {"mode.*.v86.vmsave", QEMU, T_ACCEPT},
    {"mode.*.v86.stgi", QEMU, T_ACCEPT},
    {"mode.*.v86.clgi", QEMU, T_ACCEPT},
    {"mode.*.v86.invlpga", QEMU, T_ACCEPT},
    {"fault.*.double-fault.code", QEMU, T_ACCEPT},
    {"fault.*.triple-fault", BOCHS, T_SKIP},
    /* state */
    {"state.*.host.dr7", QEMU, T_ACCEPT},
    {"state.npt.pat.l2-*", QEMU, T_ACCEPT},
    {"state.npt.pat.saved", QEMU, T_ACCEPT},
    {"state.npt.pat.host-kept-after-write", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmsave.code", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmsave.value", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmsave.tr", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmload.code", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmload.value", QEMU, T_ACCEPT},
    {"state.shadow.l2-vmload.saved", QEMU, T_ACCEPT},
    {"state.*.l2-vmsave", BOCHS, T_SKIP},
    {"state.*.host.gif-0", BOCHS, T_ACCEPT},
    {"hostile.*.refused.gif-0", BOCHS, T_ACCEPT},
    /* interrupts */
    {"interrupt.gif.held", BOCHS, T_ACCEPT},
    {"interrupt.gif.pending", BOCHS, T_ACCEPT},
    {"interrupt.*.masking-hostif-guestif.*", BOCHS, T_ACCEPT},
    {"interrupt.*.masking-hostif.*", BOCHS, T_ACCEPT},
    {"interrupt.*.plain-hostif-guestif.*", BOCHS, T_ACCEPT},
    {"interrupt.*.plain-hostif.*", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-hostif.*", BOCHS, T_ACCEPT},
    {"interrupt.*.sti-shadow.one-instruction-later", QEMU, T_ACCEPT},
    {"interrupt.*.masking-guestif.code", BOCHS, T_ACCEPT},
    {"interrupt.*.own-masking-guestif.l2-handler", BOCHS, T_ACCEPT},
    {"interrupt.*.self.masking-cli", BOCHS, T_ACCEPT},
    {"interrupt.*.behind-injection.masking-code", BOCHS, T_ACCEPT},
    {"interrupt.*.behind-injection.masking-at-handler", BOCHS, T_ACCEPT},
    {"virtual-irq.*.tpr-equal.delivered", QEMU, T_ACCEPT},
    {"virtual-irq.*.tpr-equal.pending", QEMU, T_ACCEPT},
    {"virtual-irq.*.cr8-lower", QEMU, T_SKIP},
    {"virtual-irq.*.if-1.delivered", BOCHS, T_ACCEPT},
    {"virtual-irq.*.if-1.pending", BOCHS, T_ACCEPT},
    {"virtual-irq.*.intercept-if-1.code", BOCHS, T_ACCEPT},
    {"virtual-irq.*.intercept-if-1.rip", BOCHS, T_ACCEPT},
    {"virtual-irq.*.tpr-below.delivered", BOCHS, T_ACCEPT},
    {"virtual-irq.*.tpr-below.pending", BOCHS, T_ACCEPT},
    {"virtual-irq.*.ignore-tpr.delivered", BOCHS, T_ACCEPT},
    {"virtual-irq.*.ignore-tpr.pending", BOCHS, T_ACCEPT},
    {"virtual-irq.*.no-masking.delivered", BOCHS, T_ACCEPT},
    {"virtual-irq.*.no-masking.pending", BOCHS, T_ACCEPT},
    {"virtual-irq.*.physical-first.*", BOCHS, T_ACCEPT},
    /* events */
    {"inject.*.pf.cr2", BOCHS, T_ACCEPT},
    {"clean.*.cr2.value", BOCHS, T_ACCEPT},
    {"interrupted-pf.*.own-int.event", BOCHS, T_ACCEPT},
    {"interrupted-pf.*.own-int.redelivered-once", BOCHS, T_ACCEPT},
    {"interrupted-npf.own-int.event", BOCHS, T_ACCEPT},
    {"interrupted-npf.own-int.redelivered-once", BOCHS, T_ACCEPT},
    /* paging */
    {"l1-mode.npt.two-level", QEMU, T_SKIP},
    {"npt.rmw-absent.info1", QEMU, T_ACCEPT},
    {"npt.reserved-*.info1", QEMU, T_ACCEPT},
    {"npt.*.cr2-kept", BOCHS, T_ACCEPT},
    {"paging.*.reserved-*.error", QEMU, T_ACCEPT},
    {"paging.*.user-reserved.error", QEMU, T_ACCEPT},
    {"paging.*.nx-reserved-without-nxe.error", QEMU, T_ACCEPT},
};

/* '*' stands for any characters but a dot, so that a pattern names one level of a name. */
static bool match(const char *pattern, const char *name)
{
    while (*pattern != '\0' && *pattern != '*') {
        if (*pattern++ != *name++) {
            return false;
        }
    }
    if (*pattern == '\0') {
        return *name == '\0';
    }
    for (;; name++) {
        if (match(pattern + 1, name)) {
            return true;
        }
        if (*name == '\0' || *name == '.') {
            return false;
        }
    }
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
