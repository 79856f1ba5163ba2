/* SPDX-License-Identifier: MIT */
/*
 * Posted interrupts of L2 where hardware does not process them: because it cannot, or because the
 * vectors that reach it are the host's and not L1's. The host, or an exit, says that L1's notification
 * came while L2 was active; then the requests in L1's descriptor become virtual interrupts, which
 * hardware delivers. Of the steps of a CPU the acknowledgement and the EOI are the host's: L1's APIC is.
 *
 * [SDM 3C "Posted-Interrupt Processing", "Virtual-Interrupt Delivery"]
 */
#include "nested/vmx_internal.h"

#define DESCRIPTOR_WORDS 4u        /* Of requests, 64 each. */
#define DESCRIPTOR_CONTROL 32u     /* Offset of the word after them. */
#define OUTSTANDING NVIRT_BIT(0)   /* In it. */
#define VIRR 0x200u                /* Offset of the first of 8 words in the virtual-APIC page, */
#define VIRR_STEP 0x10u            /* and the distance between them. */
#define RVI NVIRT_BITS(7, 0)
/* L1 may change a word between the look and the exchange, but not for ever. */
#define TRIES 16u

/* Clears bits of a word of the descriptor, as one access. Where no memory is nothing is posted.
 * @return false when L1 kept changing it; *had is what it had. */
static bool take(struct nvirt_vmx_vcpu *v, uint64_t offset, uint64_t bits, uint64_t *had)
{
    nvirt_l1gpa word = nvirt_l1gpa_make(v->vmcs12.posted_descriptor + offset);
    uint64_t seen = 0;

    *had = 0;
    for (uint32_t i = 0; i < TRIES; i++) {
        uint64_t found = seen;

        if (nvirt_port_l1_compare_exchange(v->port, word, sizeof seen, &found, seen & ~bits) !=
            NVIRT_OK) {
            return true;
        }
        if (found == seen) {
            *had = seen & bits;
            return true;
        }
        seen = found;
    }
    return false;
}

/* Requests of one word of the descriptor enter the virtual IRR. L1 may look at it meanwhile. */
static void request(struct nvirt_vmx_vcpu *v, uint32_t number, uint64_t requests)
{
    nvirt_hpa page = nvirt_hpa_make(v->hw[NVI_02]->image.virtual_apic_addr);
    uint8_t *virr = (uint8_t *)nvirt_port_page_pointer(v->port, page) + VIRR +
                    (size_t)2 * number * VIRR_STEP;

    (void)__atomic_fetch_or((uint32_t *)(void *)virr, (uint32_t)requests, __ATOMIC_SEQ_CST);
    (void)__atomic_fetch_or((uint32_t *)(void *)(virr + VIRR_STEP), (uint32_t)(requests >> 32),
                            __ATOMIC_SEQ_CST);
}

/* RVI is the highest vector that is requested. */
static void raise_rvi(struct nvirt_vmx_vcpu *v, uint32_t vector)
{
    uint64_t status = NVI_GET02(v, GUEST_INTERRUPT_STATUS);

    if (vector > (status & RVI)) {
        NVI_SET02(v, GUEST_INTERRUPT_STATUS, (status & ~RVI) | vector);
    }
}

bool nvi_vmx_process_posted(struct nvirt_vmx_vcpu *v)
{
    uint64_t requests;
    bool all = take(v, DESCRIPTOR_CONTROL, OUTSTANDING, &requests);

    for (uint32_t i = 0; i < DESCRIPTOR_WORDS; i++) {
        all = take(v, (uint64_t)i * sizeof requests, ~UINT64_C(0), &requests) && all;
        if (requests != 0) {
            request(v, i, requests);
            raise_rvi(v, i * 64u + 63u - (uint32_t)__builtin_clzll(requests));
        }
    }
    v->notified = v->notified || all;
    return all;
}
