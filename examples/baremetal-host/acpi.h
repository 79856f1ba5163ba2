/* SPDX-License-Identifier: MIT */
/*
 * What the host asks ACPI: how many CPUs there are, and where L1 would switch the machine off.
 */
#ifndef HOST_ACPI_H
#define HOST_ACPI_H

#include <stdint.h>

/* Enabled CPUs in the MADT; 0 when there is no (sound) MADT to count in. */
uint32_t acpi_count_cpus(void);

/* The port of the PM1a control register; 0 when there is none. */
uint16_t acpi_sleep_port(void);

#endif
