/* SPDX-License-Identifier: MIT */
/*
 * RSDP -> RSDT or XSDT -> MADT [ACPI Specification, "ACPI Software Programming Model"]. Tables
 * above 4 GiB are out of reach at this point of the start-up and count as absent.
 */
#include "acpi.h"

#include "rt.h"

#define TABLE_HEADER 36u
#define TABLE_MAX 0x100000u
#define MADT_ENTRIES 44u
#define MADT_LAPIC 0u
#define MADT_X2APIC 9u
#define MADT_ENABLED 1u
#define FADT_PM1A_CONTROL 64u
#define REACH (UINT64_C(4) << 30)

static uint32_t get32(uint64_t address)
{
    uint32_t v;

    memcpy(&v, (const void *)address, sizeof(v));
    return v;
}

static uint64_t get64(uint64_t address)
{
    uint64_t v;

    memcpy(&v, (const void *)address, sizeof(v));
    return v;
}

static bool sums_to_zero(uint64_t address, uint32_t size)
{
    const uint8_t *p = (const uint8_t *)address;
    uint8_t sum = 0;

    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + p[i]);
    return sum == 0;
}

static uint64_t scan_rsdp(uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at + 20 <= to; at += 16) {
        if (memcmp((const void *)at, "RSD PTR ", 8) == 0 && sums_to_zero(at, 20))
            return at;
    }
    return 0;
}

static uint64_t find_rsdp(void)
{
    /* The BIOS data area holds the segment of the extended one. */
    uint64_t ebda = (uint64_t)(get32(0x40e) & 0xffffu) << 4;
    uint64_t found = 0;

    if (ebda >= 0x80000 && ebda < 0xa0000)
        found = scan_rsdp(ebda, ebda + 1024);
    return found != 0 ? found : scan_rsdp(0xe0000, 0x100000);
}

/* The table's length if it is within reach, sane and sums to zero; otherwise 0. */
static uint32_t table_size(uint64_t address)
{
    uint32_t size;

    if (address == 0 || address > REACH - TABLE_HEADER)
        return 0;
    size = get32(address + 4);
    if (size < TABLE_HEADER || size > TABLE_MAX || address > REACH - size ||
        !sums_to_zero(address, size))
        return 0;
    return size;
}

static uint64_t find_table(const char *signature, uint32_t min_size)
{
    uint64_t rsdp = find_rsdp();
    bool extended;
    uint64_t root;
    uint32_t width, size;

    if (rsdp == 0)
        return 0;
    extended = *(const uint8_t *)(rsdp + 15) >= 2;
    root = extended ? get64(rsdp + 24) : get32(rsdp + 16);
    width = extended ? 8 : 4;
    size = table_size(root);

    for (uint32_t at = TABLE_HEADER; at + width <= size; at += width) {
        uint64_t table = extended ? get64(root + at) : get32(root + at);

        if (table_size(table) >= min_size && memcmp((const void *)table, signature, 4) == 0)
            return table;
    }
    return 0;
}

uint32_t acpi_count_cpus(void)
{
    uint64_t madt = find_table("APIC", MADT_ENTRIES);
    uint32_t size = table_size(madt);
    uint32_t cpus = 0;

    for (uint32_t at = MADT_ENTRIES; at + 2 <= size;) {
        const uint8_t *entry = (const uint8_t *)(madt + at);

        if (entry[1] < 2 || entry[1] > size - at)
            break;
        if (entry[0] == MADT_LAPIC && entry[1] >= 8 && (entry[4] & MADT_ENABLED) != 0)
            cpus++;
        if (entry[0] == MADT_X2APIC && entry[1] >= 16 && (entry[8] & MADT_ENABLED) != 0)
            cpus++;
        at += entry[1];
    }
    return cpus;
}

uint16_t acpi_sleep_port(void)
{
    uint64_t fadt = find_table("FACP", FADT_PM1A_CONTROL + 4);
    uint32_t port = fadt != 0 ? get32(fadt + FADT_PM1A_CONTROL) : 0;

    return port <= 0xffff ? (uint16_t)port : 0;
}
