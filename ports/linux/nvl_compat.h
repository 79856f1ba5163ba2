/* SPDX-License-Identifier: MIT */
/*
 * What differs among the kernels that the driver is built for, 6.1 and later: the newest way is used in the
 * sources, and what older kernels lack is made up for here.
 */
#ifndef NVL_COMPAT_H
#define NVL_COMPAT_H

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

#endif
