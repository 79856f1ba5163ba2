/* SPDX-License-Identifier: MIT */
/*
 * The host's own command line: log=error|info|trace, stats=1, pool=MIB, snapshot=N, shadow=0, vgif=0,
 * hyperv=1.
 */
#ifndef HOST_CMDLINE_H
#define HOST_CMDLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"

#define POOL_MIB_DEFAULT 32u
#define POOL_MIB_MIN 4u
#define POOL_MIB_MAX 1024u
#define SNAPSHOT_MAX 1000000u

struct host_options {
    enum log_level log;
    bool stats;        /* print statistics when the machine stops */
    uint32_t pool_mib; /* size of the page pool */
    uint32_t snapshot; /* save and restore the vCPU after each so many exits; 0: never */
    bool shadow;       /* let nvirt shadow L1's VMCS where the CPU can */
    bool hyperv;       /* offer L1 Hyper-V's interface */
    bool cet;          /* L1 has CET where the CPU has it, with state of its own */
    bool vgif;         /* let the CPU keep L1's GIF where it can */
};

/* The value of each option; words that are no option, or have no sense as one, are named in
 * messages and otherwise ignored. The first word is the program's name, as loaders give it. */
void cmdline_parse(const char *text, struct host_options *options);

#endif
