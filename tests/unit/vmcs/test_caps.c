/* SPDX-License-Identifier: MIT */
/*
 * What L1 is offered [SDM 3D "VMX Capability Reporting Facility"]: within the CPU, consistent as the
 * manual demands of every CPU, and nothing but what nvirt carries out.
 */
#include "vmcs_fixture.h"

#include "vmcs/merge.h"

static void offer_from(struct fixture *f)
{
    assert_int_equal(nvirt_vmx_caps_offer(&f->cpu, &f->offer), NVIRT_OK);
}

/* [SDM 3D "Reserved Controls and Default Settings"] for one pair of MSRs. */
static void assert_pair_is_consistent(uint64_t plain, uint64_t refined, uint64_t default1)
{
    uint64_t plain0 = plain & FLAT, true0 = refined & FLAT;

    /* What must be 1 may be 1. */
    assert_int_equal(plain0 & ~(plain >> 32), 0);
    assert_int_equal(true0 & ~(refined >> 32), 0);
    /* The plain MSR demands all of default1, and no other bit must be 1 by either. */
    assert_int_equal(plain0, default1);
    assert_int_equal(true0 & ~default1, 0);
    /* The two agree on what may be 1. */
    assert_int_equal(plain >> 32, refined >> 32);
}

static void pairs_obey_default_settings(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_pair_is_consistent(f.offer.pin, f.offer.true_pin, NVIRT_VMX_PIN_DEFAULT1);
    assert_pair_is_consistent(f.offer.proc, f.offer.true_proc, NVIRT_VMX_PROC_DEFAULT1);
    assert_pair_is_consistent(f.offer.exit, f.offer.true_exit, NVIRT_VMX_EXIT_CTL_DEFAULT1);
    assert_pair_is_consistent(f.offer.entry, f.offer.true_entry, NVIRT_VMX_ENTRY_CTL_DEFAULT1);
    /* Secondary controls have no default1 class. */
    assert_int_equal(f.offer.proc2 & FLAT, 0);
    /* The default1 controls that have a meaning may be 0 by the TRUE MSRs. */
    assert_int_equal(f.offer.true_proc & (NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE), 0);
    assert_int_equal(f.offer.true_exit & NVIRT_VMX_EXIT_CTL_SAVE_DEBUG, 0);
    assert_int_equal(f.offer.true_entry & NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, 0);
}

static void default1_stays_1_where_the_cpu_insists(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.cpu.true_proc = f.cpu.proc;
    f.cpu.true_exit = f.cpu.exit;
    f.cpu.true_entry = f.cpu.entry;
    offer_from(&f);
    assert_true(f.offer.true_proc == f.offer.proc);
    assert_true(f.offer.true_exit == f.offer.exit);
    assert_true(f.offer.true_entry == f.offer.entry);
}

static void offer_stays_within_the_cpu(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal((f.offer.pin & ~f.cpu.pin) >> 32, 0);
    assert_int_equal((f.offer.proc & ~f.cpu.proc) >> 32, 0);
    assert_int_equal((f.offer.proc2 & ~f.cpu.proc2) >> 32, 0);
    assert_int_equal((f.offer.exit & ~f.cpu.exit) >> 32, 0);
    assert_int_equal((f.offer.entry & ~f.cpu.entry) >> 32, 0);
    assert_int_equal(f.offer.cr0_fixed1 & ~f.cpu.cr0_fixed1, 0);
    assert_int_equal(f.offer.cr4_fixed1 & ~f.cpu.cr4_fixed1, 0);
    assert_int_equal(~f.offer.cr0_fixed0 & f.cpu.cr0_fixed0, 0);
    assert_int_equal(~f.offer.cr4_fixed0 & f.cpu.cr4_fixed0, 0);
}

static void nothing_beyond_the_allow_list(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    /* Even on a CPU that has everything. */
    f.cpu.pin |= FLAT << 32;
    f.cpu.proc |= FLAT << 32;
    f.cpu.proc2 |= FLAT << 32;
    f.cpu.exit |= FLAT << 32;
    f.cpu.entry |= FLAT << 32;
    f.cpu.proc3 = f.cpu.exit2 = f.cpu.vmfunc = f.cpu.ept_vpid = ~UINT64_C(0);
    f.cpu.misc = f.cpu.basic = ~UINT64_C(0);
    offer_from(&f);
    assert_int_equal(f.offer.pin >> 32, 0x7F);
    assert_int_equal((f.offer.proc >> 32) & NVIRT_VMX_PROC_TERTIARY, 0);
    assert_int_equal(f.offer.proc2 >> 32,
                     NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC |
                         NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS |
                         NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_DESCRIPTOR_TABLE |
                         NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_WBINVD |
                         NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_RDRAND |
                         NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_RDSEED |
                         NVIRT_VMX_PROC2_TSC_SCALING | NVIRT_VMX_PROC2_VMFUNC |
                         NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_ENCLS |
                         NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG |
                         NVIRT_VMX_PROC2_XSAVES | NVIRT_VMX_PROC2_USER_WAIT |
                         NVIRT_VMX_PROC2_PML | NVIRT_VMX_PROC2_VMCS_SHADOWING |
                         NVIRT_VMX_PROC2_MODE_EXECUTE | NVIRT_VMX_PROC2_EPT_VE);
    assert_int_equal((f.offer.exit >> 32) & ~NVIRT_VMX_EXIT_CTL_DEFAULT1,
                     NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT |
                         NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_LOAD_PAT |
                         NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER |
                         NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER);
    assert_int_equal((f.offer.entry >> 32) & ~NVIRT_VMX_ENTRY_CTL_DEFAULT1,
                     NVIRT_VMX_ENTRY_CTL_IA32E | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
                         NVIRT_VMX_ENTRY_CTL_LOAD_EFER);
    assert_int_equal(f.offer.proc3 | f.offer.exit2, 0);
    assert_int_equal(f.offer.vmfunc, NVIRT_VMX_VMFUNC_EPTP_SWITCHING);
    assert_int_equal(f.offer.ept_vpid & (NVIRT_VMX_EPT_CAP_UC | NVIRT_VMX_EPT_CAP_WALK_5 |
                                         NVIRT_VMX_EPT_CAP_SHADOW_STACK),
                     0);
    assert_int_equal(f.offer.misc & (NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN |
                                     NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI |
                                     NVIRT_VMX_MISC_PROCESSOR_TRACE | NVIRT_VMX_MISC_SMBASE_MSR |
                                     NVIRT_VMX_MISC_SMM_UNBLOCK | NVIRT_VMX_MISC_MSEG |
                                     NVIRT_VMX_MISC_MSR_LIST),
                     0);
}

/* What no entry could turn on is not offered. */
static void apic_controls_need_what_their_rules_want(void **state)
{
    const uint64_t shadowed = NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS |
                              NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.proc2 >> 32 & shadowed, shadowed);
    f.cpu.proc &= ~(NVIRT_VMX_PROC_TPR_SHADOW << 32);
    f.cpu.true_proc &= ~(NVIRT_VMX_PROC_TPR_SHADOW << 32);
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & shadowed, 0);
    assert_true((f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0);
    fixture_init(&f);
    f.cpu.pin &= ~(NVIRT_VMX_PIN_EXT_INT << 32);
    f.cpu.true_pin &= ~(NVIRT_VMX_PIN_EXT_INT << 32);
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & shadowed,
                     shadowed & ~NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
}

/* Offered to L1 where the host says that it ends notifications, whether the CPU has it or not. */
static void posted_interrupts_are_offered_on_the_hosts_word(void **state)
{
    const uint64_t posted = NVIRT_VMX_PIN_POSTED_INTERRUPTS << 32;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal((f.offer.pin | f.offer.true_pin) & posted, 0);
    assert_int_equal(f.cpu.pin & posted, 0);
    assert_int_equal(nvirt_vmx_caps_offer_posted(&f.offer), NVIRT_OK);
    assert_true((f.offer.pin & f.offer.true_pin & posted) != 0);
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_POSTED_DESCRIPTOR));
    assert_true(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    assert_int_equal(nvirt_vmx_caps_offer_posted(NULL), NVIRT_ERR_NULL);
    /* Nothing delivers them, */
    offer_from(&f);
    f.offer.proc2 &= ~(NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS << 32);
    assert_int_equal(nvirt_vmx_caps_offer_posted(&f.offer), NVIRT_ERR_CAPABILITY);
    assert_int_equal((f.offer.pin | f.offer.true_pin) & posted, 0);
    /* or no entry could have them. */
    offer_from(&f);
    f.offer.exit &= ~(NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT << 32);
    assert_int_equal(nvirt_vmx_caps_offer_posted(&f.offer), NVIRT_ERR_CAPABILITY);
    /* Nor does a host make the CPU deliver them by saying so. */
    f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS << 32);
    offer_from(&f);
    f.offer.pin |= posted;
    f.offer.true_pin |= posted;
    assert_false(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
}

/* [SDM 3D "Basic VMX Information"] */
static void basic_information(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.basic & NVIRT_BIT(31), 0);
    assert_int_not_equal(f.offer.basic & NVIRT_VMX_BASIC_REVISION,
                         f.cpu.basic & NVIRT_VMX_BASIC_REVISION);
    assert_int_equal((f.offer.basic & NVIRT_VMX_BASIC_SIZE) >> 32, 4096);
    assert_int_equal((f.offer.basic & NVIRT_VMX_BASIC_MEMORY_TYPE) >> 50, 6);
    assert_int_equal(f.offer.basic & (NVIRT_VMX_BASIC_ADDRESS_32 | NVIRT_VMX_BASIC_DUAL_MONITOR |
                                      NVIRT_VMX_BASIC_NESTED_EXCEPTION),
                     0);
    assert_true((f.offer.basic & NVIRT_VMX_BASIC_TRUE) != 0);
    assert_true((f.offer.basic & NVIRT_VMX_BASIC_INS_OUTS_INFO) != 0);
    f.cpu.basic &= ~NVIRT_VMX_BASIC_INS_OUTS_INFO;
    offer_from(&f);
    assert_true((f.offer.basic & NVIRT_VMX_BASIC_INS_OUTS_INFO) == 0);
    /* Entries of L1's inject what those of vmcs02 do. */
    assert_true((f.offer.basic & NVIRT_VMX_BASIC_ANY_ERROR_CODE) == 0);
    f.cpu.basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
    offer_from(&f);
    assert_true((f.offer.basic & NVIRT_VMX_BASIC_ANY_ERROR_CODE) != 0);
}

/* [SDM 3D "Miscellaneous Data"] */
/* Offered where the host says that its port switches the MSR and L1 has it. */
static void switched_msrs_are_offered_on_the_hosts_word(void **state)
{
    const uint64_t entry = NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL |
                           NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS | NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    const uint64_t exit = NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL |
                          NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL | NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS |
                          NVIRT_VMX_EXIT_CTL_LOAD_PKRS;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.entry >> 32 & entry, 0);
    assert_int_equal(f.offer.exit >> 32 & exit, 0);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(NULL, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 8), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, NVIRT_VMX_SWITCH_PKRS), NVIRT_OK);
    assert_int_equal(f.offer.entry >> 32 & entry, NVIRT_VMX_ENTRY_CTL_LOAD_PKRS);
    assert_int_equal(f.offer.exit >> 32 & exit, NVIRT_VMX_EXIT_CTL_LOAD_PKRS);
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_PKRS));
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 7), NVIRT_OK);
    assert_int_equal(f.offer.entry >> 32 & entry, entry);
    assert_int_equal(f.offer.true_entry >> 32 & entry, entry);
    assert_int_equal(f.offer.exit >> 32 & exit, exit);
    assert_int_equal(f.offer.true_exit >> 32 & exit, exit);
    assert_true(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    /* Facts of the offer that are not the CPU's. */
    f.offer.cpu.perf_global_valid |= NVIRT_BIT(4);
    assert_false(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    /* L1 has no such MSR. */
    f.cpu.cpu.perf_global_valid = 0;
    f.cpu.cr4_fixed1 &= ~NVIRT_CR4_PKS;
    offer_from(&f);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 1), NVIRT_ERR_CAPABILITY);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 4), NVIRT_ERR_CAPABILITY);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 2), NVIRT_OK);
    assert_true(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
}

/* Offered on the host's word, where the CPU can switch it for L1 and for L2, can deliver #CP again, and
 * L1 has CET. */
static void cet_is_offered_on_the_hosts_word(void **state)
{
    const uint64_t entry = NVIRT_VMX_ENTRY_CTL_LOAD_CET;
    const uint64_t exit = NVIRT_VMX_EXIT_CTL_LOAD_CET;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    fixture_cpu_cet(&f.cpu);
    offer_from(&f);
    assert_int_equal((f.offer.entry | f.offer.true_entry) >> 32 & entry, 0);
    assert_int_equal((f.offer.exit | f.offer.true_exit) >> 32 & exit, 0);
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_SSP));
    assert_int_equal(nvirt_vmx_caps_offer_cet(NULL, &f.offer), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer_cet(&f.cpu, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer_cet(&f.cpu, &f.offer), NVIRT_OK);
    assert_int_equal((f.offer.entry & f.offer.true_entry) >> 32 & entry, entry);
    assert_int_equal((f.offer.exit & f.offer.true_exit) >> 32 & exit, exit);
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_SSP));
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_HOST_SSP_TABLE));
    assert_true(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    f.offer.cpu.s_cet_valid |= NVIRT_BIT(6);
    assert_false(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
}

static void cet_is_not_offered_where_something_lacks(void **state)
{
    for (uint32_t i = 0; i < 5; i++) {
        struct fixture f;

        (void)state;
        fixture_init(&f);
        fixture_cpu_cet(&f.cpu);
        if (i == 0)
            f.cpu.entry &= ~(NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32);
        if (i == 1)
            f.cpu.exit &= ~(NVIRT_VMX_EXIT_CTL_LOAD_CET << 32);
        if (i == 2)
            f.cpu.basic &= ~NVIRT_VMX_BASIC_ANY_ERROR_CODE;
        if (i == 3)
            f.cpu.cpu.s_cet_valid = 0;
        if (i == 4)
            f.cpu.cpu.cr4_valid &= ~NVIRT_CR4_CET;
        offer_from(&f);
        assert_int_equal(nvirt_vmx_caps_offer_cet(&f.cpu, &f.offer), NVIRT_ERR_CAPABILITY);
        assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_GUEST_SSP));
        f.offer.entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
        f.offer.true_entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
        assert_false(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    }
}

/* Where entries of L1's load IA32_PERF_GLOBAL_CTRL, vmcs01 may not: the two would undo each other. */
static void the_counters_are_of_one_level(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_true((nvi_vmx_l0_may_control(&f.cpu, &f.offer, NVIRT_VMCS_ENTRY_CONTROLS) &
                 NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL) != 0);
    assert_true((nvi_vmx_l0_may_control(&f.cpu, &f.offer, NVIRT_VMCS_EXIT_CONTROLS) &
                 NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL) != 0);
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&f.offer, 1), NVIRT_OK);
    assert_int_equal(nvi_vmx_l0_may_control(&f.cpu, &f.offer, NVIRT_VMCS_ENTRY_CONTROLS) &
                         NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL,
                     0);
    assert_int_equal(nvi_vmx_l0_may_control(&f.cpu, &f.offer, NVIRT_VMCS_EXIT_CONTROLS) &
                         NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL,
                     0);
}

static void miscellaneous_data(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.misc & NVIRT_VMX_MISC_TIMER_RATE, 5);
    assert_int_equal((f.offer.misc & NVIRT_VMX_MISC_CR3_TARGETS) >> 16, 4);
    assert_int_equal(f.offer.misc & NVIRT_VMX_MISC_MSR_LIST, 0);
    assert_true((f.offer.misc & NVIRT_VMX_MISC_ACTIVITY_HLT) != 0);
    assert_true((f.offer.misc & NVIRT_VMX_MISC_ZERO_LENGTH) != 0);
    /* Set on every CPU with unrestricted guest. */
    f.cpu.misc = 0;
    offer_from(&f);
    assert_int_equal(f.offer.misc, (UINT64_C(4) << 16) | NVIRT_VMX_MISC_SAVES_LMA);
    f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_UNRESTRICTED << 32);
    offer_from(&f);
    assert_int_equal(f.offer.misc, UINT64_C(4) << 16);
}

/* [SDM 3D "VMX-Fixed Bits in CR0"], "in CR4": a bit fixed to 1 is never fixed to 0 as well. */
static void fixed_bits(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.cr0_fixed0 & ~f.offer.cr0_fixed1, 0);
    assert_int_equal(f.offer.cr4_fixed0 & ~f.offer.cr4_fixed1, 0);
    assert_true((f.offer.cr4_fixed0 & NVIRT_CR4_VMXE) != 0);
    /* What CPUID hides from L1 is fixed to 0, VMXE excepted. */
    f.cpu.cpu.cr4_valid = NVIRT_CR4_PAE;
    offer_from(&f);
    assert_int_equal(f.offer.cr4_fixed1, NVIRT_CR4_PAE | NVIRT_CR4_VMXE);
}

/* [SDM 3D "VPID and EPT Capabilities"] */
static void ept_and_vpid(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_true(f.offer.ept_vpid == UINT64_C(0xF0106334041));
    f.cpu.ept_vpid &= ~(NVIRT_VMX_EPT_CAP_1G | NVIRT_VMX_EPT_CAP_EXECUTE_ONLY |
                        NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY | NVIRT_VMX_EPT_CAP_2M);
    offer_from(&f);
    assert_true(f.offer.ept_vpid == UINT64_C(0xF0106104040));
    /* No VPID: nothing of it; EPT stays. */
    f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_VPID << 32);
    offer_from(&f);
    assert_true(f.offer.ept_vpid == UINT64_C(0x6104040));
    /* A CPU whose EPT cannot walk four levels of write-back tables. */
    f.cpu.ept_vpid &= ~NVIRT_VMX_EPT_CAP_WB;
    offer_from(&f);
    assert_int_equal(f.offer.ept_vpid, 0);
    assert_int_equal((f.offer.proc2 >> 32) &
                         (NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED),
                     0);
}

/* A page-modification log is nvirt's work, and dirty flags are all it needs of the CPU. */
static void a_log_goes_with_dirty_flags(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_PML << 32);
    offer_from(&f);
    assert_true((f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_PML) != 0);
    f.cpu.proc2 |= NVIRT_VMX_PROC2_PML << 32;
    f.cpu.ept_vpid &= ~NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY;
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_PML, 0);
}

/* Only the advanced information of a violation tells from which mode's address L2 fetched. */
static void mode_based_execute_needs_advanced_information(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_MODE_EXECUTE, 0);
    f.cpu.proc2 |= NVIRT_VMX_PROC2_MODE_EXECUTE << 32;
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_MODE_EXECUTE, 0);
    f.cpu.ept_vpid |= NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO;
    offer_from(&f);
    assert_true((f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_MODE_EXECUTE) != 0);
    assert_true((f.offer.ept_vpid & NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO) != 0);
    f.cpu.ept_vpid &= ~NVIRT_VMX_EPT_CAP_WB;
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_MODE_EXECUTE, 0);
}

/* Offered on the host's word, as Intel advises against it, where the CPU has them: hardware decides about
 * sub-pages. They are a matter of EPT's. */
static void subpages_are_offered_on_the_hosts_word(void **state)
{
    struct fixture f;
    struct nvirt_vmx_caps before;

    (void)state;
    fixture_init(&f);
    f.cpu.proc2 |= NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32;
    offer_from(&f);
    assert_int_equal(f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_SUBPAGE_WRITE, 0);
    assert_false(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_SPP_TABLE));
    assert_int_equal(nvirt_vmx_caps_offer_subpages(NULL, &f.offer), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer_subpages(&f.cpu, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer_subpages(&f.cpu, &f.offer), NVIRT_OK);
    assert_true((f.offer.proc2 >> 32 & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0);
    assert_true(nvirt_vmcs_field_exists(&f.offer, NVIRT_VMCS_SPP_TABLE));
    assert_true(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    for (uint32_t i = 0; i < 2; i++) {
        fixture_init(&f);
        f.cpu.proc2 |= NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32;
        if (i == 0)
            f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32);
        else
            f.cpu.ept_vpid &= ~NVIRT_VMX_EPT_CAP_WB;
        offer_from(&f);
        before = f.offer;
        assert_int_equal(nvirt_vmx_caps_offer_subpages(&f.cpu, &f.offer), NVIRT_ERR_CAPABILITY);
        assert_memory_equal(&before, &f.offer, sizeof before);
        f.offer.proc2 |= NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32;
        assert_false(nvi_vmx_offer_is_valid(&f.cpu, &f.offer));
    }
}

/* A control whose use a rule forbids without another one is offered only with that one. */
static void dependent_controls_go_together(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.cpu.pin &= ~(NVIRT_VMX_PIN_NMI << 32);
    offer_from(&f);
    assert_int_equal((f.offer.pin >> 32) & NVIRT_VMX_PIN_VIRTUAL_NMIS, 0);
    assert_int_equal((f.offer.proc >> 32) & NVIRT_VMX_PROC_NMI_WINDOW, 0);
    fixture_init(&f);
    f.cpu.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
    offer_from(&f);
    assert_int_equal((f.offer.exit >> 32) & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER, 0);
    fixture_init(&f);
    f.cpu.proc &= ~(NVIRT_VMX_PROC_SECONDARY << 32);
    offer_from(&f);
    assert_int_equal(f.offer.proc2 | f.offer.ept_vpid, 0);
    assert_int_equal((f.offer.proc >> 32) & NVIRT_VMX_PROC_SECONDARY, 0);
    fixture_init(&f);
    f.cpu.proc2 = 0;
    offer_from(&f);
    /* What is nvirt's own work alone is there wherever secondary controls are. */
    assert_int_equal(f.offer.proc2 >> 32, NVIRT_VMX_PROC2_VMCS_SHADOWING);
    assert_int_equal((f.offer.proc >> 32) & NVIRT_VMX_PROC_SECONDARY, NVIRT_VMX_PROC_SECONDARY);
    fixture_init(&f);
    f.cpu.cpu.long_mode = false;
    offer_from(&f);
    assert_int_equal((f.offer.exit >> 32) & NVIRT_VMX_EXIT_CTL_HOST_64, 0);
    assert_int_equal((f.offer.entry >> 32) & NVIRT_VMX_ENTRY_CTL_IA32E, 0);
}

/* [SDM 3D "VMCS Enumeration"]: the highest index of any encoding L1 may use. */
static void vmcs_enumeration(void **state)
{
    struct fixture f;
    uint64_t highest = 0;

    (void)state;
    fixture_init(&f);
    for (uint64_t encoding = 0; encoding < 0x8000; encoding++) {
        enum nvirt_vmcs_field field;
        bool high;

        if (nvirt_vmcs_lookup(encoding, &field, &high) &&
            nvirt_vmcs_field_exists(&f.offer, field) && (encoding & 0x3FE) > highest) {
            highest = encoding & 0x3FE;
        }
    }
    /* The PCONFIG-exiting bitmap, 203EH. */
    assert_int_equal(highest, 0x3E);
    assert_int_equal(f.offer.vmcs_enum, highest);
    f.cpu.proc2 &= ~((NVIRT_VMX_PROC2_PCONFIG | NVIRT_VMX_PROC2_ENCLV) << 32);
    offer_from(&f);
    /* Then the TSC multiplier, 2032H. */
    assert_int_equal(f.offer.vmcs_enum, 0x32);
    f.cpu.proc2 &= ~(NVIRT_VMX_PROC2_TSC_SCALING << 32);
    offer_from(&f);
    /* Then the sub-page permission-table pointer, 2030H, where the host offers that. */
    assert_int_equal(nvirt_vmx_caps_offer_subpages(&f.cpu, &f.offer), NVIRT_OK);
    assert_int_equal(f.offer.vmcs_enum, 0x30);
    offer_from(&f);
    /* Then the ENCLS-exiting bitmap, 202EH, and the preemption timer, 482EH. */
    assert_int_equal(f.offer.vmcs_enum, 0x2E);
    f.cpu.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
    f.cpu.proc2 &= ~((NVIRT_VMX_PROC2_ENCLS | NVIRT_VMX_PROC2_XSAVES) << 32);
    offer_from(&f);
    /* Then the SYSENTER_CS and SYSENTER_EIP fields. */
    assert_int_equal(f.offer.vmcs_enum, 0x2A);
}

static void msrs_exist_as_others_say(void **state)
{
    struct fixture f;
    uint64_t value = 1;

    (void)state;
    fixture_init(&f);
    assert_true(nvirt_vmx_caps_msr(&f.offer, 0x480, &value));
    assert_true(value == f.offer.basic);
    assert_true(nvirt_vmx_caps_msr(&f.offer, 0x48B, &value));
    assert_true(value == f.offer.proc2);
    assert_true(nvirt_vmx_caps_msr(&f.offer, 0x48C, &value));
    assert_true(value == f.offer.ept_vpid);
    assert_true(nvirt_vmx_caps_msr(&f.offer, 0x490, &value));
    assert_true(value == f.offer.true_entry);
    assert_true(nvirt_vmx_caps_msr(&f.offer, 0x491, &value));
    assert_int_equal(value, NVIRT_VMX_VMFUNC_EPTP_SWITCHING);
    value = 99;
    f.offer.proc2 &= ~(NVIRT_VMX_PROC2_VMFUNC << 32);
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x491, &value));
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x492, &value));
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x493, &value));
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x494, &value));
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x47F, &value));
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x3A, &value));
    assert_int_equal(value, 99);
    f.offer.basic &= ~NVIRT_VMX_BASIC_TRUE;
    for (uint32_t msr = 0x48D; msr <= 0x490; msr++) {
        assert_false(nvirt_vmx_caps_msr(&f.offer, msr, &value));
    }
    f.offer.proc2 &= ~((NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID) << 32);
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x48C, &value));
    f.offer.proc &= ~(NVIRT_VMX_PROC_SECONDARY << 32);
    assert_false(nvirt_vmx_caps_msr(&f.offer, 0x48B, &value));
    assert_true(nvirt_vmx_caps_msr(&f.cpu, 0x491, &value));
    f.cpu.proc |= NVIRT_VMX_PROC_TERTIARY << 32;
    f.cpu.exit |= NVIRT_VMX_EXIT_CTL_SECONDARY << 32;
    assert_true(nvirt_vmx_caps_msr(&f.cpu, 0x492, &value));
    assert_true(nvirt_vmx_caps_msr(&f.cpu, 0x493, &value));
}

static void offer_refuses_null(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(nvirt_vmx_caps_offer(NULL, &f.offer), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_offer(&f.cpu, NULL), NVIRT_ERR_NULL);
}

/* The host may take away, never add. */
static void host_may_narrow_the_offer_only(void **state)
{
    struct fixture f;

    (void)state;
#define OFFER(valid, ...)                                                                          \
    do {                                                                                           \
        fixture_init(&f);                                                                          \
        __VA_ARGS__;                                                                               \
        assert_int_equal(nvi_vmx_offer_is_valid(&f.cpu, &f.offer), valid);                         \
    } while (0)
    OFFER(true, (void)f);
    OFFER(true, f.offer.proc2 &= ~(NVIRT_VMX_PROC2_VPID << 32));
    OFFER(true, f.offer.ept_vpid &= ~NVIRT_VMX_EPT_CAP_1G);
    OFFER(true, f.offer.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
          f.offer.true_pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32));
    OFFER(true, f.offer.misc &= ~NVIRT_VMX_MISC_ACTIVITY_HLT);
    OFFER(true, f.offer.cr4_fixed1 &= ~NVIRT_CR4_SMAP);
    OFFER(true, f.offer.cpu.physical_bits = 36);
    OFFER(false, f.offer.proc2 |= NVIRT_VMX_PROC2_BUS_LOCK << 32);
    OFFER(false, f.offer.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32));
    OFFER(false, f.offer.true_proc |= NVIRT_VMX_PROC_TERTIARY << 32;
          f.offer.proc |= NVIRT_VMX_PROC_TERTIARY << 32);
    OFFER(false, f.offer.true_proc |= NVIRT_VMX_PROC_CR3_LOAD);
    OFFER(false, f.offer.exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
          f.offer.true_exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32);
    OFFER(false, f.offer.entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
          f.offer.true_entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32);
    OFFER(false, f.offer.pin &= ~(UINT64_C(2) << 32); f.offer.true_pin &= ~(UINT64_C(2) << 32));
    OFFER(false, f.offer.basic ^= 1);
    OFFER(false, f.offer.ept_vpid |= NVIRT_VMX_EPT_CAP_WALK_5);
    OFFER(true, f.offer.misc |= NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI);
    OFFER(false, f.offer.misc |= NVIRT_VMX_MISC_SMBASE_MSR);
    OFFER(false, f.offer.misc &= ~NVIRT_VMX_MISC_CR3_TARGETS);
    OFFER(false, f.offer.misc &= ~NVIRT_VMX_MISC_TIMER_RATE);
    OFFER(false, f.offer.cr0_fixed0 = 0);
    OFFER(false, f.offer.cr0_fixed1 = ~UINT64_C(0));
    OFFER(false, f.offer.cr4_fixed0 = 0);
    OFFER(false, f.offer.cr4_fixed1 |= NVIRT_BIT(15));
    OFFER(true, f.offer.vmfunc = 0);
    OFFER(false, f.offer.vmfunc |= 2);
    OFFER(false, f.offer.proc3 = 1);
    OFFER(false, f.offer.exit2 = 1);
    OFFER(false, f.offer.cpu.physical_bits++);
    OFFER(false, f.offer.cpu.linear_bits = 57);
    OFFER(false, f.offer = f.cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_obey_default_settings),
        cmocka_unit_test(default1_stays_1_where_the_cpu_insists),
        cmocka_unit_test(offer_stays_within_the_cpu),
        cmocka_unit_test(nothing_beyond_the_allow_list),
        cmocka_unit_test(apic_controls_need_what_their_rules_want),
        cmocka_unit_test(posted_interrupts_are_offered_on_the_hosts_word),
        cmocka_unit_test(basic_information),
        cmocka_unit_test(miscellaneous_data),
        cmocka_unit_test(switched_msrs_are_offered_on_the_hosts_word),
        cmocka_unit_test(the_counters_are_of_one_level),
        cmocka_unit_test(cet_is_offered_on_the_hosts_word),
        cmocka_unit_test(cet_is_not_offered_where_something_lacks),
        cmocka_unit_test(fixed_bits),
        cmocka_unit_test(ept_and_vpid),
        cmocka_unit_test(a_log_goes_with_dirty_flags),
        cmocka_unit_test(mode_based_execute_needs_advanced_information),
        cmocka_unit_test(subpages_are_offered_on_the_hosts_word),
        cmocka_unit_test(dependent_controls_go_together),
        cmocka_unit_test(vmcs_enumeration),
        cmocka_unit_test(msrs_exist_as_others_say),
        cmocka_unit_test(offer_refuses_null),
        cmocka_unit_test(host_may_narrow_the_offer_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
