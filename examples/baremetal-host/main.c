/* SPDX-License-Identifier: MIT */
/*
 * The example host from its first line to L1's: read what the boot loader gave, check that this
 * machine will do, move to the top of memory, load L1 and run it. L1 owns the machine, devices and
 * interrupts included; only the host's own memory is hidden. An example, not a security boundary:
 * DMA is not confined.
 */
#include "acpi.h"
#include "host.h"
#include "identity.h"
#include "nvirt_port.h"
#include "power.h"
#include "rt.h"

#define MIB (UINT64_C(1) << 20)
#define REGION_ALIGN (UINT64_C(2) << 20)
#define FOUR_GIB (UINT64_C(4) << 30)

struct host host;

static const struct backend *const backends[] = {
#ifdef HOST_WITH_SVM
    &svm_backend,
#endif
#ifdef HOST_WITH_VMX
    &vmx_backend,
#endif
};
#define BACKENDS (sizeof(backends) / sizeof(backends[0]))

static void choose_backend(void)
{
    for (unsigned i = 0; i < BACKENDS; i++) {
        if (backends[i]->missing() == NULL) {
            host.backend = backends[i];
            return;
        }
    }
    for (unsigned i = 0; i < BACKENDS; i++)
        log_error("no %s: %s", backends[i]->name, backends[i]->missing());
    log_fatal("this CPU offers nothing that L1 could run on");
}

static void check_machine(void)
{
    uint32_t cpus = acpi_count_cpus();

    choose_backend();
    if (cpus > 1)
        log_fatal("%u CPUs present: only one is supported (QEMU: -smp 1, Bochs: count=1)", cpus);
    if (host.boot.module_count == 0 || host.boot.module[0].size == 0)
        log_fatal("no module: module 0 must be L1, a Multiboot 1 kernel or a Linux bzImage");
}

/* The highest place below 4 GiB that is free now; what is below it will be L1's. */
static void choose_region(void)
{
    uint64_t image = rt_image_limit() - rt_image_begin();
    uint64_t size = (image + host.options.pool_mib * MIB + REGION_ALIGN - 1) & ~(REGION_ALIGN - 1);
    struct taken taken = {.count = 0};

    taken_add(&taken, rt_image_begin(), image);
    for (uint32_t i = 0; i < host.boot.module_count; i++)
        taken_add(&taken, host.boot.module[i].start, host.boot.module[i].size);
    if (!memmap_find_high(&host.boot.map, &taken, size, REGION_ALIGN, MIB, FOUR_GIB,
                          &host.region.base))
        log_fatal("too little memory: the host needs %lu MiB in one piece below 4 GiB (pool=%u)",
                  size / MIB, host.options.pool_mib);
    host.region.size = size;
}

/* A physical address beyond CPUID's width cannot be formed by L1 either. */
static uint64_t physical_limit(void)
{
    uint32_t bits = 36;

    if (rt_cpuid(0x80000000u, 0).eax >= 0x80000008u)
        bits = rt_cpuid(0x80000008u, 0).eax & 0xffu;
    /* Four-level tables reach 48 bits. */
    return UINT64_C(1) << (bits < 48 ? bits : 48);
}

#define MMAP_ACPI 3u /* reclaimable: RAM until L1 has read the tables there */
#define MMAP_NVS 4u
#define LEGACY_RAM UINT64_C(0xa0000) /* below, all is RAM, whoever claims it (EBDA) */

static bool holds_memory(uint32_t type)
{
    return type == MEMMAP_RAM || type == MMAP_ACPI || type == MMAP_NVS;
}

/* The loader's map is in any order: adds the entries that hold memory by ascending address. */
static void add_ram(void)
{
    uint64_t from = 0;
    bool added = bm_memory_add_ram(&host.memory, 0, LEGACY_RAM);

    for (;;) {
        const struct memmap_entry *next = NULL;

        for (uint32_t i = 0; i < host.boot.map.count; i++) {
            const struct memmap_entry *entry = &host.boot.map.entry[i];

            if (holds_memory(entry->type) && entry->base + entry->size > from &&
                (next == NULL || entry->base < next->base))
                next = entry;
        }
        if (next == NULL)
            break;
        added = added && bm_memory_add_ram(&host.memory, next->base, next->size);
        from = next->base + next->size;
    }
    if (!added)
        log_fatal("the memory map has too many pieces");
}

static void init_memory(void)
{
    uint64_t image = rt_image_limit() - rt_image_begin();

    bm_pool_init(&host.pool, host.region.base + image, host.region.size - image);
    host.memory.hidden_base = host.region.base;
    host.memory.hidden_size = host.region.size;
    host.memory.limit = physical_limit();
    host.memory.reachable = bm_identity_extend(&host.pool, memmap_ram_top(&host.boot.map));
    add_ram();
    bm_mtrrs_read(&host.memory.mtrrs);
    power_init();
}

_Noreturn void bm_panic(const char *text)
{
    report_stop("nvirt: %s", text);
}

static void run_moved(void)
{
    struct l1_entry entry;

    choose_backend();
    init_memory();
    log_info("%s; host at 0x%lx..0x%lx, %lu pages of pool; RAM up to 0x%lx", host.backend->name,
             host.region.base, host.region.base + host.region.size, host.pool.total,
             memmap_ram_top(&host.boot.map));
    loader_run(&host.boot, host.region.base, host.region.size, &entry);
    host.backend->init(&entry);
    log_info("L1: %s, %u bytes, %u more modules, entered at 0x%x, command line: %s", entry.kind,
             host.boot.module[0].size, host.boot.module_count - 1, entry.eip,
             bootinfo_string(&host.boot, host.boot.module[0].cmdline));
    host.backend->run();
    rt_shutdown(1);
}

void rt_main(uint32_t magic, uint32_t mbi)
{
    log_init(LOG_INFO);
    bootinfo_read(magic, mbi, &host.boot);
    cmdline_parse(bootinfo_string(&host.boot, host.boot.cmdline), &host.options);
    log_init(host.options.log);
    check_machine();
    choose_region();
    /* What was stored so far holds no address of the image but `backend`, chosen anew below. */
    host.backend = NULL;
    rt_move(host.region.base, run_moved);
}
