/* SPDX-License-Identifier: MIT */
/*
 * The example host as a whole: the one machine it runs on, and the seam between what is common and
 * what a vendor's backend does. One CPU, one L1, so plain globals.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <nvirt/types.h>

#include "bootinfo.h"
#include "cmdline.h"
#include "loader.h"
#include "memory.h"
#include "pool.h"
#include "report.h"

struct backend;

struct host {
    struct host_options options;
    struct boot_info boot;
    struct range region; /* where the host lives after its move: hidden from L1 */
    struct bm_pool pool;
    struct bm_memory memory;
    const struct backend *backend;
};

extern struct host host;

/* One vendor's way of running L1. */
struct backend {
    const char *name;
    /* Null when this CPU has what the backend needs, else what is missing. Changes nothing. */
    const char *(*missing)(void);
    /* Turns virtualization on and prepares everything for L1; stops with a message on failure. */
    void (*init)(const struct l1_entry *entry);
    /* Runs L1 until the machine stops. */
    void (*run)(void);
    /* For messages: the name of a counted exit reason, or null when that has none. */
    const char *(*reason_name)(uint32_t reason);
    /* Fills *view with the registers of level 1 or 2; false when that level is not there. */
    bool (*view)(uint32_t level, struct cpu_view *view);
    /* Prints the fields of the last exit; and what else the vendor has to say in a report. */
    void (*print_exit)(void);
    /* nvirt's counters, null without the library. */
    const struct nvirt_stats *(*stats)(void);
};

extern const struct backend svm_backend;
extern const struct backend vmx_backend;

#endif
