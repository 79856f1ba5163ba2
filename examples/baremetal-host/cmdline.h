/* SPDX-License-Identifier: MIT */
/*
 * The host's own command line: log=error|info|trace, stats=1, pool=MIB.
 */
#ifndef HOST_CMDLINE_H
#define HOST_CMDLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"

#define POOL_MIB_DEFAULT 32u
#define POOL_MIB_MIN 4u
#define POOL_MIB_MAX 1024u

struct host_options {
    enum log_level log;
    bool stats;        /* print statistics when the machine stops */
    uint32_t pool_mib; /* size of the page pool */
};

/* The value of each option; words that are no option, or have no sense as one, are named in
 * messages and otherwise ignored. The first word is the program's name, as loaders give it. */
void cmdline_parse(const char *text, struct host_options *options);

#endif
