/* SPDX-License-Identifier: MIT */
/*
 * What differs among the kernels that the driver is built for, 6.1 and later: the newest way is used in the
 * sources, and what older kernels lack is made up for here.
 */
#ifndef NVL_COMPAT_H
#define NVL_COMPAT_H

#include <linux/syscore_ops.h>
#include <linux/version.h>

/* smp_send_reschedule() traces since 6.4. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <trace/events/ipi.h>
#endif

/*
 * Before a crash kernel is entered, older kernels switch VMX and SVM off by what the registers say. Since 6.6
 * whoever uses them is asked: one, so it is the one that has the hardware.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#include <asm/reboot.h>
#else
typedef void (cpu_emergency_virt_cb)(void);
static inline void cpu_emergency_register_virt_callback(cpu_emergency_virt_cb *callback)
{
}
static inline void cpu_emergency_unregister_virt_callback(cpu_emergency_virt_cb *callback)
{
}
#endif

/* Until 6.16 named after their being long, and rdtsc() with them. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#include <asm/tsc.h>
#else
#include <asm/msr.h>
#define rdmsrq rdmsrl
#define wrmsrq wrmsrl
#define rdmsrq_safe rdmsrl_safe
#define wrmsrq_safe wrmsrl_safe
#endif

/* Since 6.18.52 the functions take a pointer that is registered with them. NVL_SYSCORE_ARGUMENT: their parameters. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 52)
#define NVL_SYSCORE_ARGUMENT void *unused
#else
#define NVL_SYSCORE_ARGUMENT void
struct syscore {
	struct syscore_ops *ops;
};
static inline void register_syscore(struct syscore *syscore)
{
	register_syscore_ops(syscore->ops);
}
static inline void unregister_syscore(struct syscore *syscore)
{
	unregister_syscore_ops(syscore->ops);
}
#endif

#endif
