/* SPDX-License-Identifier: MIT */
/*
 * What must hold of vmcb01 and vmcb02 before every VMRUN, whatever L1 did. Written from the design
 * and the manual, apart from the merge: the lists here are to be thought about twice.
 */
#ifndef FUZZ_SVM_INVARIANTS_H
#define FUZZ_SVM_INVARIANTS_H

#include "fake_cpu.h"
#include "input.h"
#include "nested/svm_internal.h"

#include <nvirt/nvirt.h>

#define ADDRESS_FIELD UINT64_C(0x000ffffffffff000)
#define INT_CTL_ALLOWED                                                                            \
    (NVIRT_SVM_V_TPR | NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_IGN_TPR |             \
     NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_INTR_VECTOR | NVIRT_SVM_V_NMI |                        \
     NVIRT_SVM_V_NMI_MASK | NVIRT_SVM_V_NMI_ENABLE)

/* Bits of one intercept word that belong to @p codes, -1 ending the list. */
static inline uint32_t word_of(const int *codes, uint32_t word)
{
    uint32_t bits = 0;

    for (; *codes >= 0; codes++) {
        if ((uint32_t)*codes / 32u == word) {
            bits |= 1u << (*codes % 32);
        }
    }
    return bits;
}

static const int always_intercepted[] = {
    NVIRT_SVM_EXIT_VMRUN,  NVIRT_SVM_EXIT_VMMCALL, NVIRT_SVM_EXIT_VMLOAD,  NVIRT_SVM_EXIT_VMSAVE,
    NVIRT_SVM_EXIT_STGI,   NVIRT_SVM_EXIT_CLGI,    NVIRT_SVM_EXIT_SKINIT,  NVIRT_SVM_EXIT_INVLPGA,
    NVIRT_SVM_EXIT_MSR,    NVIRT_SVM_EXIT_SHUTDOWN, -1,
};
/* Where interrupts belong to L1 these are nvirt's in vmcb01, and so is the window. */
static const int of_interrupts[] = {
    NVIRT_SVM_EXIT_INTR,     NVIRT_SVM_EXIT_NMI, NVIRT_SVM_EXIT_CR8_READ,
    NVIRT_SVM_EXIT_CR8_WRITE, NVIRT_SVM_EXIT_VINTR, -1,
};
/* What nvirt watches for its own ends. */
static const int watched[] = { NVIRT_SVM_EXIT_IRET, NVIRT_SVM_EXIT_VINTR,
                               NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP,
                               NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB, NVI_SVM_EXIT_DR7_WRITE,
                               -1 };

/* ---- vmcb02 ---- */

/* Fields of features that nvirt neither uses nor offers, and reserved bytes. */
static inline void check_unused(const struct nvirt_vmcb *c)
{
    static const uint8_t zero[sizeof *c];
    bool used = false;

#define UNUSED_NEVER(name) used |= memcmp(&c->name, zero, sizeof c->name) != 0;
#define UNUSED_OPTION(name)
#define UNUSED_CONTROL(name)
#define UNUSED_UPDATED(name)
#define UNUSED_EXIT(name)
#define UNUSED_STATE(name)
#define UNUSED_LOAD(name)
#define UNUSED_OPTION(name)
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text) UNUSED_##moves(name)
#define NVIRT_VMCB_RESERVED(name, offset, bytes) UNUSED_NEVER(name)
#include <nvirt/vmcb_fields.def>
    REQUIRE(!used, "a field that nobody uses", 0);
}

/* Clean bits: hardware may have kept a group as it was after the last exit on this CPU. */
static inline void check_clean(const struct nvirt_vmcb *c, const struct nvirt_vmcb *kept)
{
    uint32_t clean = c->clean;

    REQUIRE(kept != NULL || clean == 0, "clean bits of a VMCB that did not run here", clean);
    if (kept == NULL) {
        return;
    }
#define SAME(name, group)                                                                          \
    REQUIRE((clean & NVIRT_VMCB_CLEAN_##group) == 0 ||                                             \
                memcmp(&c->name, &kept->name, sizeof c->name) == 0,                                \
            "clean although it changed: " #name, clean);
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, group, moves, text) SAME(name, group)
#define NVIRT_VMCB_SEGMENT(name, offset, group, moves, text) SAME(name, group)
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, group, moves, text) SAME(name, group)
#include <nvirt/vmcb_fields.def>
#undef SAME
}

/* VMLOAD and VMSAVE of L2 run only by nested tables of L1's, and where L1 asked for it. */
static inline bool runs_vmload(const struct nvirt_vmcb *vmcb12, const struct nvirt_vmcb *c)
{
    if ((c->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) == 0) {
        return false;
    }
    REQUIRE((vmcb12->np_control & NVIRT_SVM_NP_ENABLE) != 0, "VMLOAD without NPT12", 0);
    REQUIRE((vmcb12->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) != 0, "VMLOAD not wanted", 0);
    return true;
}

static inline void check_intercepts(const struct nvirt_vmcb *host, const struct nvirt_vmcb *vmcb12,
                                    const struct nvirt_vmcb *c, bool pass_through)
{
    static const int vmload[] = { NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE, -1 };

    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        uint32_t wanted = host->intercepts[i];

        if (pass_through) {
            wanted &= ~word_of(of_interrupts, i);
        } else {
            /* L2's own TPR needs no look of L0's. */
            static const int cr8[] = { NVIRT_SVM_EXIT_CR8_READ, NVIRT_SVM_EXIT_CR8_WRITE, -1 };

            wanted &= ~word_of(cr8, i);
        }
        wanted |= word_of(always_intercepted, i);
        if (runs_vmload(vmcb12, c)) {
            wanted &= ~word_of(vmload, i);
        }
        REQUIRE((wanted & ~c->intercepts[i]) == 0, "L0's intercepts hold for L2",
                wanted & ~c->intercepts[i]);
    }
    REQUIRE((c->intercepts[4] & 0xffff8000u) == 0 && (c->intercepts[5] & ~0x3fu) == 0,
            "intercepts of the future", c->intercepts[5]);
    REQUIRE(nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_IOIO), "I/O", 0);
}

/* Optional features: no bit that does not exist, NMIs intercepted where they are virtual. */
static inline void check_options(const struct nvirt_vmcb *c)
{
    REQUIRE((c->virt_ext & ~(NVIRT_SVM_LBR_ENABLE | NVIRT_SVM_VIRTUAL_VMLOAD)) == 0, "virt_ext",
            c->virt_ext);
    REQUIRE((c->dbgctl & ~NVIRT_SVM_DEBUGCTL_VALID) == 0, "DEBUGCTL", c->dbgctl);
    REQUIRE((c->spec_ctrl & ~NVIRT_SVM_SPEC_CTRL_VALID) == 0, "SPEC_CTRL", c->spec_ctrl);
    REQUIRE((c->int_ctl & NVIRT_SVM_V_NMI_ENABLE) == 0 ||
                nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_NMI), "virtual NMIs", c->int_ctl);
}

/* Every bit of @p map01 (null: all bits) is set in @p map02 as well. */
static inline void check_map(const uint8_t *map01, const uint8_t *map02, uint32_t bytes,
                             const char *text)
{
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t wanted = ~UINT64_C(0), set;

        if (map01 != NULL) {
            memcpy(&wanted, map01 + i, 8);
        }
        memcpy(&set, map02 + i, 8);
        REQUIRE((wanted & ~set) == 0, text, i);
    }
}

/* What L0 wants, the maps of L2 have. */
static inline void check_maps(const struct nvirt_vmcb *host, const uint8_t *maps02,
                              const uint8_t *msrpm01, const uint8_t *iopm01)
{
    check_map(msrpm01, maps02, NVIRT_SVM_MSRPM_BYTES, "L0's MSR intercepts");
    if (nvirt_vmcb_intercepts(host, NVIRT_SVM_EXIT_IOIO)) {
        check_map(iopm01, maps02 + NVIRT_SVM_MSRPM_BYTES, NVIRT_SVM_IOPM_BYTES,
                  "L0's I/O intercepts");
    }
}

/* EVENTINJ as hardware takes it [APM 2 "Event Injection"]. */
static inline void check_event(const struct nvirt_vmcb *c)
{
    uint64_t event = c->event_inj;
    uint64_t type = (event & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;
    uint64_t vector = event & NVIRT_SVM_EVENT_VECTOR;

    if ((event & NVIRT_SVM_EVENT_VALID) == 0) {
        return;
    }
    REQUIRE((event & NVIRT_SVM_EVENT_RESERVED) == 0, "reserved bits of EVENTINJ", event);
    REQUIRE(type == 0 || (type >= 2 && type <= 4), "event type", event);
    REQUIRE(type != NVIRT_SVM_EVENT_EXCEPTION || (vector < 32 && vector != 2), "event vector",
            event);
}

/* Hardware must take it: with the CPU's own features it passes each rule of VMRUN. */
static inline void check_acceptable(const struct nvirt_vmcb *c, const struct nvirt_svm_caps *cpu)
{
    struct nvirt_svm_caps wide = *cpu;
    struct nvi_svm_check_in in = { .vmcb12 = c, .offer = &wide, .host_paging = true,
                                   .fresh = NVIRT_VMCB_CLEAN_ALL };
    enum nvi_svm_rule rule;

    wide.physical_bits = 52; /* The fake machine's addresses. */
    rule = nvi_svm_check(&in);
    REQUIRE(rule == NVI_SVM_RULE_NONE, nvi_svm_rule_name(rule), rule);
    check_event(c);
}

/* ---- vmcb01 ---- */

/* Instructions of L1 that run on hardware: by a feature of the CPU's, only while L1 has SVME set, and
 * with every physical event intercepted where L1's GIF, which they set, does not hold it back.
 * @return their intercepts in @p word. */
static inline uint32_t runs_of_l1(const struct nvirt_vmcb *c, bool svme, uint32_t word)
{
    static const int vmload[] = { NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE, -1 };
    static const int gif[] = { NVIRT_SVM_EXIT_STGI, NVIRT_SVM_EXIT_CLGI, -1 };
    uint32_t bits = 0;

    if ((c->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) != 0) {
        REQUIRE(svme, "VMLOAD without SVME", 0);
        bits |= word_of(vmload, word);
    }
    if ((c->int_ctl & NVIRT_SVM_V_GIF_ENABLE) != 0) {
        REQUIRE(svme, "STGI without SVME", 0);
        REQUIRE(nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_INTR) &&
                    nvirt_vmcb_intercepts(c, NVIRT_SVM_EXIT_NMI),
                "physical events while the CPU keeps GIF", 0);
        bits |= word_of(gif, word);
    }
    return bits;
}

/* What the host wrote stays, whatever L1 does. @p stepping: nvirt single-steps the IRET that ends an
 * NMI handler of L1's, with every exception intercepted. */
static inline void check_vmcb01(const struct nvirt_vmcb *host, const struct nvirt_vmcb *c,
                                bool pass_through, bool stepping, bool svme)
{
    for (uint32_t i = 0; i < NVIRT_VMCB_INTERCEPT_WORDS; i++) {
        uint32_t free_bits =
            (pass_through ? word_of(of_interrupts, i) : 0) | runs_of_l1(c, svme, i);
        uint32_t more = word_of(watched, i);

        if (stepping && i == NVIRT_SVM_EXIT_EXCEPTION / 32u) {
            more = UINT32_MAX;
        }
        REQUIRE((host->intercepts[i] & ~free_bits & ~c->intercepts[i]) == 0, "L0's intercepts",
                c->intercepts[i]);
        REQUIRE((c->intercepts[i] & ~(host->intercepts[i] | free_bits | more)) == 0,
                "intercepts nobody asked for", c->intercepts[i]);
    }
    REQUIRE(c->iopm_base == host->iopm_base && c->msrpm_base == host->msrpm_base, "maps of vmcb01",
            c->iopm_base);
    REQUIRE(c->tsc_offset == host->tsc_offset, "TSC offset of vmcb01", c->tsc_offset);
    REQUIRE(c->asid == host->asid, "ASID of vmcb01", c->asid);
    REQUIRE(c->np_control == host->np_control && c->n_cr3 == host->n_cr3, "NPT01", c->n_cr3);
    REQUIRE((c->virt_ext & ~NVIRT_SVM_VIRTUAL_VMLOAD) == host->virt_ext, "virt_ext of vmcb01",
            c->virt_ext);
    REQUIRE(c->pause_count == host->pause_count && c->pause_threshold == host->pause_threshold,
            "PAUSE filter of vmcb01", c->pause_count);
    REQUIRE((c->int_ctl & ~(INT_CTL_ALLOWED | NVIRT_SVM_V_GIF | NVIRT_SVM_V_GIF_ENABLE)) == 0,
            "int_ctl of vmcb01", c->int_ctl);
    REQUIRE((c->efer & NVIRT_SVM_EFER_SVME) != 0, "EFER.SVME of vmcb01", c->efer);
    check_unused(c);
    check_event(c);
    /* [APM 2 "Real-Mode Interrupt Control Transfers"] */
    REQUIRE((c->event_inj & NVIRT_SVM_EVENT_EV) == 0 || (c->cr0 & NVIRT_CR0_PE) != 0,
            "an error code in real mode", c->event_inj);
}

#endif
