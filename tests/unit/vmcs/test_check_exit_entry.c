/* SPDX-License-Identifier: MIT */
/* Rules of VM-exit and VM-entry control fields [SDM 3C "VM-Exit Control Fields", "VM-Entry Control
 * Fields"], each by its name. */
#include "vmcs_fixture.h"

enum {
    EXTERNAL = 0,
    NMI = 2,
    EXCEPTION = 3,
    SOFTWARE = 4,
    PRIVILEGED = 5,
    SOFTWARE_EXCEPTION = 6,
    OTHER = 7
};

/* Puts an event into a fixture that can take it. */
static void event(struct fixture *f, uint64_t type, uint64_t vector, bool error_code)
{
    struct nvirt_vmcs *v = &f->vmcs12;

    inject(v, type, vector);
    v->guest_rflags |= NVIRT_RFLAGS_IF;
    v->entry_insn_length = 2;
    if (error_code) {
        v->entry_interruption |= NVIRT_VMX_INTR_ERROR_CODE;
    }
}

static void vmx_ctl_exit_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EXIT_RESERVED, v->exit_controls &= ~NVIRT_BIT(0));
    REFUSES(VMX_CTL_EXIT_RESERVED, v->exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL);
    REFUSES(VMX_CTL_EXIT_RESERVED, v->exit_controls |= NVIRT_VMX_EXIT_CTL_SECONDARY);
    /* "Save debug controls" may be 0 by the TRUE MSR only; the other words suit both. */
    REFUSES(VMX_CTL_EXIT_RESERVED, f->offer.basic &= ~NVIRT_VMX_BASIC_TRUE;
            v->proc_controls |= NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE);
    ACCEPTS(v->exit_controls |= NVIRT_VMX_EXIT_CTL_SAVE_DEBUG);
}

static void vmx_ctl_save_timer(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_SAVE_TIMER, v->pin_controls &= ~NVIRT_VMX_PIN_PREEMPTION_TIMER);
    ACCEPTS(v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER);
    ACCEPTS(v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
            v->pin_controls &= ~NVIRT_VMX_PIN_PREEMPTION_TIMER);
}

/* The three MSR lists have the same three rules. */
#define LIST_TESTS(test, RULE, list)                                                               \
    static void vmx_ctl_##test##_aligned(void **state)                                             \
    {                                                                                              \
        (void)state;                                                                               \
        REFUSES(RULE##_ALIGNED, v->list##_addr |= 1);                                              \
        REFUSES(RULE##_ALIGNED, v->list##_addr |= 8);                                              \
        ACCEPTS(v->list##_addr |= 0x10);                                                           \
        ACCEPTS(v->list##_addr |= 8; v->list##_count = 0);                                         \
    }                                                                                              \
    static void vmx_ctl_##test##_width(void **state)                                               \
    {                                                                                              \
        (void)state;                                                                               \
        REFUSES(RULE##_WIDTH, v->list##_addr = BEYOND);                                            \
        REFUSES(RULE##_WIDTH, v->list##_addr = ~UINT64_C(15); v->list##_count = 1);                \
        ACCEPTS(v->list##_addr = BEYOND; v->list##_count = 0);                                     \
    }                                                                                              \
    static void vmx_ctl_##test##_end(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        REFUSES(RULE##_END, v->list##_addr = BEYOND - 16; v->list##_count = 2);                    \
        REFUSES(RULE##_END, v->list##_addr = BEYOND - 512 * 16; v->list##_count = 513);            \
        ACCEPTS(v->list##_addr = BEYOND - 16; v->list##_count = 1);                                \
        ACCEPTS(v->list##_addr = BEYOND - 512 * 16; v->list##_count = 512);                        \
        ACCEPTS(v->list##_addr = BEYOND - 16; v->list##_count = 0);                                \
    }

LIST_TESTS(exit_store, VMX_CTL_EXIT_STORE, exit_msr_store)
LIST_TESTS(exit_load, VMX_CTL_EXIT_LOAD, exit_msr_load)
LIST_TESTS(entry_load, VMX_CTL_ENTRY_LOAD, entry_msr_load)

/* The macro above composes these names; here they stand in full for whoever looks for them:
 * VMX_CTL_EXIT_STORE_ALIGNED, VMX_CTL_EXIT_STORE_WIDTH, VMX_CTL_EXIT_STORE_END,
 * VMX_CTL_EXIT_LOAD_ALIGNED, VMX_CTL_EXIT_LOAD_WIDTH, VMX_CTL_EXIT_LOAD_END,
 * VMX_CTL_ENTRY_LOAD_ALIGNED, VMX_CTL_ENTRY_LOAD_WIDTH, VMX_CTL_ENTRY_LOAD_END. */

static void vmx_ctl_entry_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_ENTRY_RESERVED, v->entry_controls &= ~NVIRT_BIT(0));
    REFUSES(VMX_CTL_ENTRY_RESERVED, v->entry_controls |= NVIRT_VMX_ENTRY_CTL_SMM);
    REFUSES(VMX_CTL_ENTRY_RESERVED, v->entry_controls |= NVIRT_VMX_ENTRY_CTL_DEACTIVATE_DUAL);
    REFUSES(VMX_CTL_ENTRY_RESERVED, v->entry_controls |= NVIRT_BIT(31));
    REFUSES(VMX_CTL_ENTRY_RESERVED, f->offer.basic &= ~NVIRT_VMX_BASIC_TRUE;
            v->proc_controls |= NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE;
            v->exit_controls |= NVIRT_VMX_EXIT_CTL_SAVE_DEBUG;
            v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG);
    ACCEPTS(v->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG);
}

static void vmx_ctl_event_type(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EVENT_TYPE, event(f, 1, 0, false));
    REFUSES(VMX_CTL_EVENT_TYPE, event(f, OTHER, 0, false);
            f->offer.proc &= ~(NVIRT_VMX_PROC_MTF << 32));
    ACCEPTS(event(f, EXTERNAL, 0xFF, false));
    ACCEPTS(event(f, NMI, 2, false));
    ACCEPTS(event(f, EXCEPTION, 6, false));
    ACCEPTS(event(f, SOFTWARE, 0x80, false));
    ACCEPTS(event(f, PRIVILEGED, 1, false));
    ACCEPTS(event(f, SOFTWARE_EXCEPTION, 3, false));
    ACCEPTS(event(f, OTHER, 0, false));
    /* Without the valid bit nothing of it is looked at. */
    ACCEPTS(event(f, 1, 0, false); v->entry_interruption &= ~NVIRT_VMX_INTR_VALID);
    ACCEPTS(v->entry_interruption = NVIRT_BITS(30, 0));
}

static void vmx_ctl_event_nmi_vector(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EVENT_NMI_VECTOR, event(f, NMI, 1, false));
    REFUSES(VMX_CTL_EVENT_NMI_VECTOR, event(f, NMI, 3, false));
}

static void vmx_ctl_event_exception_vector(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EVENT_EXCEPTION_VECTOR, event(f, EXCEPTION, 32, false));
    REFUSES(VMX_CTL_EVENT_EXCEPTION_VECTOR, event(f, EXCEPTION, 255, false));
    ACCEPTS(event(f, EXCEPTION, 31, false));
    ACCEPTS(event(f, SOFTWARE_EXCEPTION, 32, false));
}

static void vmx_ctl_event_other_vector(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EVENT_OTHER_VECTOR, event(f, OTHER, 1, false));
    REFUSES(VMX_CTL_EVENT_OTHER_VECTOR, event(f, OTHER, 255, false));
}

static bool has_error_code(uint64_t vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void vmx_ctl_event_error_code_absent(void **state)
{
    (void)state;
    for (uint64_t vector = 0; vector < 32; vector++) {
        if (has_error_code(vector)) {
            REFUSES(VMX_CTL_EVENT_ERROR_CODE_ABSENT, event(f, EXCEPTION, vector, false));
            ACCEPTS(event(f, EXCEPTION, vector, true));
        }
    }
    /* Real mode knows no error codes. */
    ACCEPTS(fixture_guest_real(f); event(f, EXCEPTION, 13, false));
    /* But only an unrestricted guest can be in it: for others CR0.PE is no part of the rule. */
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_ABSENT, v->guest_cr0 &= ~NVIRT_CR0_PE;
            event(f, EXCEPTION, 13, false));
    /* IA32_VMX_BASIC[56] leaves it open for every vector. */
    for (uint64_t vector = 0; vector < 32; vector++) {
        ACCEPTS(f->offer.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
                event(f, EXCEPTION, vector, false));
    }
    /* Software interrupts to the same vectors have none either. */
    ACCEPTS(event(f, SOFTWARE, 13, false));
}

static void vmx_ctl_event_error_code_present(void **state)
{
    (void)state;
    for (uint64_t vector = 0; vector < 32; vector++) {
        if (!has_error_code(vector)) {
            REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, EXCEPTION, vector, true));
        }
    }
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, fixture_guest_real(f);
            event(f, EXCEPTION, 13, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, EXTERNAL, 0x30, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, NMI, 2, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, SOFTWARE, 13, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, PRIVILEGED, 13, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, SOFTWARE_EXCEPTION, 13, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, event(f, OTHER, 0, true));
    /* With IA32_VMX_BASIC[56] hardware exceptions may have one, but nothing else, */
    for (uint64_t vector = 0; vector < 32; vector++) {
        ACCEPTS(f->offer.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
                event(f, EXCEPTION, vector, true));
    }
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, f->offer.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
            event(f, NMI, 2, true));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, f->offer.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
            event(f, SOFTWARE_EXCEPTION, 4, true));
    /* and not in real mode. */
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_PRESENT, fixture_guest_real(f);
            f->offer.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE; event(f, EXCEPTION, 13, true));
}

static void vmx_ctl_event_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 12; bit < 31; bit++) {
        REFUSES(VMX_CTL_EVENT_RESERVED, event(f, EXCEPTION, 6, false);
                v->entry_interruption |= NVIRT_BIT(bit));
    }
}

static void vmx_ctl_event_error_code_high(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_HIGH, event(f, EXCEPTION, 14, true);
            v->entry_error_code = NVIRT_BIT(16));
    REFUSES(VMX_CTL_EVENT_ERROR_CODE_HIGH, event(f, EXCEPTION, 14, true);
            v->entry_error_code = NVIRT_BIT(31));
    ACCEPTS(event(f, EXCEPTION, 14, true); v->entry_error_code = 0xFFFF);
    ACCEPTS(event(f, EXCEPTION, 6, false); v->entry_error_code = FLAT);
}

static void vmx_ctl_event_length(void **state)
{
    (void)state;
    for (uint64_t type = SOFTWARE; type <= SOFTWARE_EXCEPTION; type++) {
        REFUSES(VMX_CTL_EVENT_LENGTH, event(f, type, 3, false); v->entry_insn_length = 16);
        ACCEPTS(event(f, type, 3, false); v->entry_insn_length = 15);
        ACCEPTS(event(f, type, 3, false); v->entry_insn_length = 1);
    }
    /* Other events have no instruction. */
    ACCEPTS(event(f, EXCEPTION, 6, false); v->entry_insn_length = 16);
}

static void vmx_ctl_event_length_zero(void **state)
{
    (void)state;
    for (uint64_t type = SOFTWARE; type <= SOFTWARE_EXCEPTION; type++) {
        REFUSES(VMX_CTL_EVENT_LENGTH_ZERO, event(f, type, 3, false); v->entry_insn_length = 0;
                f->offer.misc &= ~NVIRT_VMX_MISC_ZERO_LENGTH);
        ACCEPTS(event(f, type, 3, false); v->entry_insn_length = 0);
    }
    ACCEPTS(event(f, NMI, 2, false); v->entry_insn_length = 0;
            f->offer.misc &= ~NVIRT_VMX_MISC_ZERO_LENGTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_ctl_exit_reserved),
        cmocka_unit_test(vmx_ctl_save_timer),
        cmocka_unit_test(vmx_ctl_exit_store_aligned),
        cmocka_unit_test(vmx_ctl_exit_store_width),
        cmocka_unit_test(vmx_ctl_exit_store_end),
        cmocka_unit_test(vmx_ctl_exit_load_aligned),
        cmocka_unit_test(vmx_ctl_exit_load_width),
        cmocka_unit_test(vmx_ctl_exit_load_end),
        cmocka_unit_test(vmx_ctl_entry_load_aligned),
        cmocka_unit_test(vmx_ctl_entry_load_width),
        cmocka_unit_test(vmx_ctl_entry_load_end),
        cmocka_unit_test(vmx_ctl_entry_reserved),
        cmocka_unit_test(vmx_ctl_event_type),
        cmocka_unit_test(vmx_ctl_event_nmi_vector),
        cmocka_unit_test(vmx_ctl_event_exception_vector),
        cmocka_unit_test(vmx_ctl_event_other_vector),
        cmocka_unit_test(vmx_ctl_event_error_code_absent),
        cmocka_unit_test(vmx_ctl_event_error_code_present),
        cmocka_unit_test(vmx_ctl_event_reserved),
        cmocka_unit_test(vmx_ctl_event_error_code_high),
        cmocka_unit_test(vmx_ctl_event_length),
        cmocka_unit_test(vmx_ctl_event_length_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
