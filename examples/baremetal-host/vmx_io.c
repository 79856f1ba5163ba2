/* SPDX-License-Identifier: MIT */
/*
 * The ports that the host watches on VMX, for the statistics that stats=1 promises when L1 ends the
 * machine (power.h). Nothing is intercepted without that option.
 */
#include "power.h"
#include "vmx.h"

#define PORTS_PER_PAGE 0x8000u

static uint64_t bitmap_page(void)
{
    uint64_t page;

    if (!bm_pool_alloc(&host.pool, &page))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    return page;
}

/* One bit per port, the lower half in bitmap A [SDM 3C "I/O-Bitmap Addresses"]. */
void vmx_io_init(void)
{
    uint64_t page[2] = {0, 0};

    for (uint32_t i = 0; i < POWER_PORTS; i++) {
        uint32_t port = power_ports()[i];
        uint32_t bit = port % PORTS_PER_PAGE;

        if (port == 0)
            continue;
        if (page[0] == 0) {
            page[0] = bitmap_page();
            page[1] = bitmap_page();
        }
        ((uint8_t *)page[port / PORTS_PER_PAGE])[bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
    if (page[0] == 0)
        return;
    vmx_set(1, NVIRT_VMCS_IO_BITMAP_A, page[0]);
    vmx_set(1, NVIRT_VMCS_IO_BITMAP_B, page[1]);
    vmx_set(1, NVIRT_VMCS_PROC_CONTROLS,
            vmx_get(1, NVIRT_VMCS_PROC_CONTROLS) | NVIRT_VMX_PROC_IO_BITMAPS);
}

/*
 * An access to a watched port, or any access of an L2 whose L1 has bitmaps of its own and lets this
 * one pass [SDM 3C "Exit Qualification for I/O Instructions"]. String forms are let through by
 * giving the watch up.
 */
bool vmx_io(const struct nvirt_vmx_exit *exit)
{
    uint64_t info = exit->qualification;
    uint32_t bytes = (uint32_t)(info & NVIRT_VMX_QUAL_IO_SIZE) + 1;
    uint64_t mask = bytes == 4 ? 0xffffffffu : (UINT64_C(1) << (bytes * 8)) - 1;
    uint16_t port = (uint16_t)(info >> NVIRT_VMX_QUAL_IO_PORT_SHIFT);
    uint64_t *rax = &vmx.gprs.r[NVIRT_RAX];

    if ((info & NVIRT_VMX_QUAL_IO_STRING) != 0) {
        vmx_set(1, NVIRT_VMCS_PROC_CONTROLS,
                vmx_get(1, NVIRT_VMCS_PROC_CONTROLS) & ~NVIRT_VMX_PROC_IO_BITMAPS);
        return false;
    }
    if ((info & NVIRT_VMX_QUAL_IO_IN) != 0) {
        uint64_t value = power_in(port, bytes);

        /* A 32-bit result clears the upper half, as every 32-bit write does. */
        *rax = bytes == 4 ? value : (*rax & ~mask) | (value & mask);
    } else {
        power_out(port, bytes, (uint32_t)(*rax & mask));
    }
    return true;
}
