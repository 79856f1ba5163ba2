/* SPDX-License-Identifier: MIT */
/*
 * The memory map for an L1 that asks the BIOS for it (INT 15h in real mode, as Xen does) instead of
 * reading what its boot loader gave: a hook that answers from L1's map, in which the host is reserved.
 */
#ifndef HOST_BIOS_MAP_H
#define HOST_BIOS_MAP_H

#include "memmap.h"

/*
 * Takes a page off the top of low memory (the map and the BIOS data area say so) and hooks
 * INT 15h there. Does nothing when there is no low memory or no BIOS.
 */
void bios_map_install(struct memmap *map);

#endif
