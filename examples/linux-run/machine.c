/* SPDX-License-Identifier: MIT */
/*
 * Ports: the serial port is the standard output, 0xe9 the standard error output, 0xf4 ends the run.
 * All others read as ones and take what is written, as a bus without a device does.
 */
#include "machine.h"

#define COM1 0x3f8u
#define COM1_LSR (COM1 + 5)
#define LSR_EMPTY 0x60u
#define LCR_DLAB 0x80u
#define PORT_DEBUG 0xe9u
#define PORT_EXIT 0xf4u

static uint8_t line_control;

static void put(int file, uint8_t byte)
{
    sys_call(SYS_WRITE, file, (long)&byte, 1, 0, 0, 0);
}

static bool is_timer(uint16_t port)
{
    return port >= 0x40 && port <= 0x43;
}

static bool is_pic(uint16_t port)
{
    return (port & 0xff7eu) == 0x20;
}

uint32_t port_in(uint16_t port, uint32_t width)
{
    const uint32_t ones = width == 4 ? 0xffffffffu : (1u << (width * 8)) - 1;

    if (width != 1)
        return ones;
    if (is_pic(port))
        return pic_in(port);
    if (port == COM1_LSR)
        return LSR_EMPTY;
    if (port == COM1 + 3)
        return line_control;
    if (port == PORT_DEBUG)
        return PORT_DEBUG;
    return port >= COM1 && port < COM1 + 7 ? 0 : ones;
}

void port_out(uint16_t port, uint32_t width, uint32_t value)
{
    if (port == PORT_EXIT) {
        machine.ended = true;
        machine.status = value;
    } else if (width != 1) {
        return;
    } else if (port == COM1 && (line_control & LCR_DLAB) == 0) {
        put(1, (uint8_t)value);
    } else if (port == COM1 + 3) {
        line_control = (uint8_t)value;
    } else if (port == PORT_DEBUG) {
        put(2, (uint8_t)value);
    } else if (is_pic(port)) {
        pic_out(port, (uint8_t)value);
    } else if (is_timer(port)) {
        pit_out(port, (uint8_t)value);
    }
}
