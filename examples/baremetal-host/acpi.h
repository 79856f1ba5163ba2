/* SPDX-License-Identifier: MIT */
/*
 * The one thing the host asks ACPI: how many CPUs there are.
 */
#ifndef HOST_ACPI_H
#define HOST_ACPI_H

#include <stdint.h>

/* Enabled CPUs in the MADT; 0 when there is no (sound) MADT to count in. */
uint32_t acpi_count_cpus(void);

#endif
