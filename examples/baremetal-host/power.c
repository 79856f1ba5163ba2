/* SPDX-License-Identifier: MIT */
/*
 * Watching for the end (power.h): ACPI's sleep register, and the two ports by which images end QEMU
 * and Bochs. Not the reset port 0xcf9: each PCI configuration access at 0xcf8 would exit.
 */
#include "power.h"

#include "acpi.h"
#include "host.h"
#include "rt.h"

#define PORT_QEMU_EXIT 0xf4u
#define PORT_BOCHS_SHUTDOWN 0x8900u
#define PM1_SLEEP_ENABLE (1u << 13)

static uint16_t ports[POWER_PORTS];
static bool printed;

void power_init(void)
{
    if (!host.options.stats)
        return;
    ports[0] = acpi_sleep_port();
    ports[1] = PORT_QEMU_EXIT;
    ports[2] = PORT_BOCHS_SHUTDOWN;
}

const uint16_t *power_ports(void)
{
    return ports;
}

uint32_t power_in(uint16_t port, uint32_t bytes)
{
    if (bytes == 1)
        return rt_inb(port);
    return bytes == 2 ? rt_inw(port) : rt_inl(port);
}

static bool ends_the_machine(uint16_t port, uint32_t value)
{
    if (port == ports[0])
        return (value & PM1_SLEEP_ENABLE) != 0;
    /* A wide access that begins at a neighbour comes here as well. */
    return port == PORT_QEMU_EXIT || port == PORT_BOCHS_SHUTDOWN;
}

void power_out(uint16_t port, uint32_t bytes, uint32_t value)
{
    if (!printed && ends_the_machine(port, value)) {
        printed = true;
        log_line("L1 ends the machine: 0x%x written to port 0x%x", value, port);
        report_statistics();
    }
    if (bytes == 1)
        rt_outb(port, (uint8_t)value);
    else if (bytes == 2)
        rt_outw(port, (uint16_t)value);
    else
        rt_outl(port, value);
}
