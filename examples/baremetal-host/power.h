/* SPDX-License-Identifier: MIT */
/*
 * The end of the machine as L1 brings it about. With stats=1 the host watches the ports that do it,
 * so that statistics are printed before the emulator is gone.
 */
#ifndef HOST_POWER_H
#define HOST_POWER_H

#include <stdint.h>

#define POWER_PORTS 3u

/* Finds out which ports; to be called before L1 runs. */
void power_init(void);

/* Ports to intercept, 0 for an unused slot. None unless stats=1. */
const uint16_t *power_ports(void);

/*
 * What L1's IN or OUT (1, 2 or 4 bytes) on one of these ports would have done. The write prints the
 * statistics first when it ends the machine.
 */
uint32_t power_in(uint16_t port, uint32_t bytes);
void power_out(uint16_t port, uint32_t bytes, uint32_t value);

#endif
