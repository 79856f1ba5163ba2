/* SPDX-License-Identifier: MIT */
/* Rules of [SDM 3C "Checks on Guest Segment Registers"], each by its name. */
#include "vmcs_fixture.h"

#define UNUSABLE NVIRT_VMX_AR_UNUSABLE

/* A guest at CPL 3, so that privilege levels have room below. */
static void user(struct fixture *f)
{
    struct nvirt_vmcs *v = &f->vmcs12;

#define RPL3(name)                                                                                 \
    v->guest_##name##_selector |= 3;                                                               \
    v->guest_##name##_ar |= NVIRT_VMX_AR_DPL;
    FOR_EACH_SEGMENT(RPL3)
#undef RPL3
}

static void set_type(uint64_t *ar, uint64_t type)
{
    *ar = (*ar & ~NVIRT_VMX_AR_TYPE) | type;
}

static void set_dpl(uint64_t *ar, uint64_t dpl)
{
    *ar = (*ar & ~NVIRT_VMX_AR_DPL) | dpl << NVIRT_VMX_AR_DPL_SHIFT;
}

static void vmx_guest_tr_ti(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_TI, v->guest_tr_selector |= 4);
    ACCEPTS(v->guest_tr_selector = 0xFFFB);
}

static void vmx_guest_ldtr_ti(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_LDTR_TI, v->guest_ldtr_selector |= 4);
    ACCEPTS(v->guest_ldtr_selector |= 4; v->guest_ldtr_ar |= UNUSABLE);
}

static void vmx_guest_ss_rpl(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SS_RPL, v->guest_cs_selector |= 3);
    REFUSES(VMX_GUEST_SS_RPL, v->guest_ss_selector |= 1);
    ACCEPTS(v->guest_cs_selector |= 3; fixture_unrestricted(f));
    ACCEPTS(fixture_guest_v86(f); v->guest_cs_selector = 0x1234; v->guest_cs_base = 0x12340);
}

static void vmx_guest_v86_base(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    REFUSES(VMX_GUEST_V86_BASE, fixture_guest_v86(f); v->guest_##name##_base += 0x10);             \
    REFUSES(VMX_GUEST_V86_BASE, fixture_guest_v86(f); v->guest_##name##_selector += 4);
    FOR_EACH_SEGMENT(CASE)
#undef CASE
    ACCEPTS(fixture_guest_v86(f));
    ACCEPTS(fixture_guest_real(f); v->guest_ds_base = 0x12345678);
}

static void vmx_guest_base_canonical(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_tr_base = NOT_CANONICAL);
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_fs_base = NOT_CANONICAL);
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_gs_base = NOT_CANONICAL);
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_ldtr_base = NOT_CANONICAL);
    /* FS and GS even when unusable. */
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_fs_base = NOT_CANONICAL;
            v->guest_fs_ar = UNUSABLE);
    REFUSES(VMX_GUEST_BASE_CANONICAL, v->guest_gs_base = NOT_CANONICAL;
            v->guest_gs_ar = UNUSABLE);
    ACCEPTS(v->guest_ldtr_base = NOT_CANONICAL; v->guest_ldtr_ar = UNUSABLE);
    ACCEPTS(v->guest_fs_base = NVIRT_BITS(63, 47); v->guest_gs_base = NOT_CANONICAL - 1);
}

static void vmx_guest_base_high(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BASE_HIGH, v->guest_cs_base = NVIRT_BIT(32));
    REFUSES(VMX_GUEST_BASE_HIGH, v->guest_ss_base = NVIRT_BIT(32));
    REFUSES(VMX_GUEST_BASE_HIGH, v->guest_ds_base = NVIRT_BIT(32));
    REFUSES(VMX_GUEST_BASE_HIGH, v->guest_es_base = NVIRT_BIT(63));
    REFUSES(VMX_GUEST_BASE_HIGH, v->guest_cs_base = NVIRT_BIT(32); v->guest_cs_ar |= UNUSABLE);
    ACCEPTS(v->guest_ds_base = NVIRT_BIT(32); v->guest_ds_ar |= UNUSABLE);
    ACCEPTS(v->guest_es_base = NVIRT_BIT(32); v->guest_es_ar |= UNUSABLE);
    ACCEPTS(v->guest_ss_base = NVIRT_BIT(32); v->guest_ss_ar |= UNUSABLE);
    ACCEPTS(v->guest_cs_base = FLAT; v->guest_ss_base = FLAT; v->guest_ds_base = FLAT);
}

static void vmx_guest_v86_limit(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    REFUSES(VMX_GUEST_V86_LIMIT, fixture_guest_v86(f); v->guest_##name##_limit = 0xFFFE);          \
    REFUSES(VMX_GUEST_V86_LIMIT, fixture_guest_v86(f); v->guest_##name##_limit = 0x1FFFF);
    FOR_EACH_SEGMENT(CASE)
#undef CASE
    ACCEPTS(fixture_guest_real(f); v->guest_ds_limit = 0x1FFF);
}

static void vmx_guest_v86_ar(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    REFUSES(VMX_GUEST_V86_AR, fixture_guest_v86(f); v->guest_##name##_ar = 0x93);                  \
    REFUSES(VMX_GUEST_V86_AR, fixture_guest_v86(f); v->guest_##name##_ar = 0x100F3);
    FOR_EACH_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_cs_type(void **state)
{
    (void)state;
    for (uint64_t type = 0; type < 16; type++) {
        bool code = type == 9 || type == 11 || type == 13 || type == 15;

        if (code) {
            ACCEPTS(set_type(&v->guest_cs_ar, type));
            ACCEPTS(set_type(&v->guest_cs_ar, type); fixture_unrestricted(f));
        } else {
            REFUSES(VMX_GUEST_CS_TYPE, set_type(&v->guest_cs_ar, type));
            if (type != 3) {
                REFUSES(VMX_GUEST_CS_TYPE, set_type(&v->guest_cs_ar, type);
                        fixture_unrestricted(f));
            }
        }
    }
    ACCEPTS(set_type(&v->guest_cs_ar, 3); fixture_unrestricted(f));
}

static void vmx_guest_ss_type(void **state)
{
    (void)state;
    for (uint64_t type = 0; type < 16; type++) {
        if (type == 3 || type == 7) {
            ACCEPTS(set_type(&v->guest_ss_ar, type));
        } else {
            REFUSES(VMX_GUEST_SS_TYPE, set_type(&v->guest_ss_ar, type));
        }
        ACCEPTS(set_type(&v->guest_ss_ar, type); v->guest_ss_ar |= UNUSABLE);
    }
}

static void vmx_guest_data_accessed(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    for (uint64_t type = 0; type < 16; type += 2) {                                                \
        REFUSES(VMX_GUEST_DATA_ACCESSED, set_type(&v->guest_##name##_ar, type));                   \
        ACCEPTS(set_type(&v->guest_##name##_ar, type); v->guest_##name##_ar |= UNUSABLE);          \
    }
    FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_data_readable(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    REFUSES(VMX_GUEST_DATA_READABLE, set_type(&v->guest_##name##_ar, 9));                          \
    REFUSES(VMX_GUEST_DATA_READABLE, set_type(&v->guest_##name##_ar, 13));                         \
    ACCEPTS(set_type(&v->guest_##name##_ar, 13); v->guest_##name##_ar |= UNUSABLE);                \
    ACCEPTS(set_type(&v->guest_##name##_ar, 1));                                                   \
    ACCEPTS(set_type(&v->guest_##name##_ar, 5));                                                   \
    ACCEPTS(set_type(&v->guest_##name##_ar, 11));                                                  \
    ACCEPTS(set_type(&v->guest_##name##_ar, 15));
    FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

/* Rules about bits that CS and the usable others share: a CS marked unusable stays checked. */
#define COMMON_CASES(RULE, name, ...)                                                              \
    REFUSES(RULE, __VA_ARGS__);                                                                    \
    ACCEPTS(__VA_ARGS__; v->guest_##name##_ar |= UNUSABLE);
#define COMMON_CS(RULE, ...)                                                                       \
    REFUSES(RULE, __VA_ARGS__);                                                                    \
    REFUSES(RULE, __VA_ARGS__; v->guest_cs_ar |= UNUSABLE);

static void vmx_guest_segment_s(void **state)
{
    (void)state;
    COMMON_CS(VMX_GUEST_SEGMENT_S, v->guest_cs_ar &= ~NVIRT_VMX_AR_S)
#define CASE(name) COMMON_CASES(VMX_GUEST_SEGMENT_S, name, v->guest_##name##_ar &= ~NVIRT_VMX_AR_S)
    CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_cs_dpl_data(void **state)
{
    (void)state;
    for (uint64_t dpl = 1; dpl < 4; dpl++) {
        REFUSES(VMX_GUEST_CS_DPL_DATA, fixture_unrestricted(f); set_type(&v->guest_cs_ar, 3);
                set_dpl(&v->guest_cs_ar, dpl));
    }
}

static void vmx_guest_cs_dpl_equal(void **state)
{
    (void)state;
    for (uint64_t type = 9; type <= 11; type += 2) {
        REFUSES(VMX_GUEST_CS_DPL_EQUAL, set_type(&v->guest_cs_ar, type);
                set_dpl(&v->guest_cs_ar, 1));
        REFUSES(VMX_GUEST_CS_DPL_EQUAL, user(f); set_type(&v->guest_cs_ar, type);
                set_dpl(&v->guest_cs_ar, 2));
    }
    ACCEPTS(user(f));
}

static void vmx_guest_cs_dpl_conforming(void **state)
{
    (void)state;
    for (uint64_t type = 13; type <= 15; type += 2) {
        REFUSES(VMX_GUEST_CS_DPL_CONFORMING, set_type(&v->guest_cs_ar, type);
                set_dpl(&v->guest_cs_ar, 1));
        ACCEPTS(user(f); set_type(&v->guest_cs_ar, type); set_dpl(&v->guest_cs_ar, 0));
        ACCEPTS(user(f); set_type(&v->guest_cs_ar, type); set_dpl(&v->guest_cs_ar, 3));
    }
}

static void vmx_guest_ss_dpl_rpl(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SS_DPL_RPL, v->guest_ss_selector |= 3; v->guest_cs_selector |= 3);
    /* Also when SS is unusable. */
    REFUSES(VMX_GUEST_SS_DPL_RPL, v->guest_ss_selector |= 3; v->guest_cs_selector |= 3;
            v->guest_ss_ar |= UNUSABLE);
    ACCEPTS(v->guest_ss_selector |= 3; v->guest_cs_selector |= 3; fixture_unrestricted(f));
}

static void vmx_guest_ss_dpl_zero(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SS_DPL_ZERO, fixture_guest_real(f); set_dpl(&v->guest_ss_ar, 3));
    REFUSES(VMX_GUEST_SS_DPL_ZERO, fixture_guest_real(f); v->guest_cs_ar = 0x9B;
            set_dpl(&v->guest_cs_ar, 3); set_dpl(&v->guest_ss_ar, 3));
    REFUSES(VMX_GUEST_SS_DPL_ZERO, fixture_unrestricted(f); set_type(&v->guest_cs_ar, 3);
            set_dpl(&v->guest_ss_ar, 1));
    ACCEPTS(user(f));
}

static void vmx_guest_data_dpl(void **state)
{
    (void)state;
#define CASE(name)                                                                                 \
    REFUSES(VMX_GUEST_DATA_DPL, v->guest_##name##_selector |= 1);                                  \
    REFUSES(VMX_GUEST_DATA_DPL, v->guest_##name##_selector |= 3;                                   \
            set_dpl(&v->guest_##name##_ar, 2));                                                    \
    REFUSES(VMX_GUEST_DATA_DPL, v->guest_##name##_selector |= 1;                                   \
            set_type(&v->guest_##name##_ar, 11));                                                  \
    ACCEPTS(v->guest_##name##_selector |= 3; set_dpl(&v->guest_##name##_ar, 3));                   \
    ACCEPTS(v->guest_##name##_selector |= 3; set_type(&v->guest_##name##_ar, 15));                 \
    ACCEPTS(v->guest_##name##_selector |= 3; v->guest_##name##_ar |= UNUSABLE);                    \
    ACCEPTS(v->guest_##name##_selector |= 3; fixture_unrestricted(f));
    FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_segment_p(void **state)
{
    (void)state;
    COMMON_CS(VMX_GUEST_SEGMENT_P, v->guest_cs_ar &= ~NVIRT_VMX_AR_P)
#define CASE(name) COMMON_CASES(VMX_GUEST_SEGMENT_P, name, v->guest_##name##_ar &= ~NVIRT_VMX_AR_P)
    CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_segment_reserved_low(void **state)
{
    (void)state;
    for (uint32_t bit = 8; bit < 12; bit++) {
        COMMON_CS(VMX_GUEST_SEGMENT_RESERVED_LOW, v->guest_cs_ar |= NVIRT_BIT(bit))
#define CASE(name)                                                                                 \
    COMMON_CASES(VMX_GUEST_SEGMENT_RESERVED_LOW, name, v->guest_##name##_ar |= NVIRT_BIT(bit))
        CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
    }
}

static void vmx_guest_cs_db(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_CS_DB, v->guest_cs_ar |= NVIRT_VMX_AR_DB);
    /* Compatibility mode, and a guest in which L means nothing. */
    ACCEPTS(v->guest_cs_ar = CODE32);
    ACCEPTS(fixture_guest_32(f); v->guest_cs_ar |= NVIRT_VMX_AR_L);
}

static void vmx_guest_segment_g_clear(void **state)
{
    (void)state;
    COMMON_CS(VMX_GUEST_SEGMENT_G_CLEAR, v->guest_cs_limit = 0xFFFFEFFE)
#define CASE(name)                                                                                 \
    COMMON_CASES(VMX_GUEST_SEGMENT_G_CLEAR, name, v->guest_##name##_limit = 0xFFFFF7FF)            \
    ACCEPTS(v->guest_##name##_limit = 0xFFE; v->guest_##name##_ar &= ~NVIRT_VMX_AR_G);             \
    ACCEPTS(v->guest_##name##_limit = 0xFFF);
    CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_segment_g_set(void **state)
{
    (void)state;
    COMMON_CS(VMX_GUEST_SEGMENT_G_SET, v->guest_cs_ar &= ~NVIRT_VMX_AR_G)
#define CASE(name)                                                                                 \
    COMMON_CASES(VMX_GUEST_SEGMENT_G_SET, name, v->guest_##name##_limit = 0x100FFF;                \
                 v->guest_##name##_ar &= ~NVIRT_VMX_AR_G)                                          \
    ACCEPTS(v->guest_##name##_limit = 0xFFFFF; v->guest_##name##_ar &= ~NVIRT_VMX_AR_G);
    CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
}

static void vmx_guest_segment_reserved_high(void **state)
{
    (void)state;
    for (uint32_t bit = 17; bit < 32; bit++) {
        COMMON_CS(VMX_GUEST_SEGMENT_RESERVED_HIGH, v->guest_cs_ar |= NVIRT_BIT(bit))
#define CASE(name)                                                                                 \
    COMMON_CASES(VMX_GUEST_SEGMENT_RESERVED_HIGH, name, v->guest_##name##_ar |= NVIRT_BIT(bit))
        CASE(ss) FOR_EACH_DATA_SEGMENT(CASE)
#undef CASE
    }
}

static void vmx_guest_tr_type(void **state)
{
    (void)state;
    for (uint64_t type = 0; type < 16; type++) {
        if (type == 11) {
            ACCEPTS(fixture_guest_32(f); set_type(&v->guest_tr_ar, type));
            continue;
        }
        REFUSES(VMX_GUEST_TR_TYPE, set_type(&v->guest_tr_ar, type));
        if (type == 3) {
            ACCEPTS(fixture_guest_32(f); set_type(&v->guest_tr_ar, type));
        } else {
            REFUSES(VMX_GUEST_TR_TYPE, fixture_guest_32(f); set_type(&v->guest_tr_ar, type));
        }
    }
}

static void vmx_guest_tr_s(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_S, v->guest_tr_ar |= NVIRT_VMX_AR_S);
}

static void vmx_guest_tr_p(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_P, v->guest_tr_ar &= ~NVIRT_VMX_AR_P);
}

static void vmx_guest_tr_reserved_low(void **state)
{
    (void)state;
    for (uint32_t bit = 8; bit < 12; bit++) {
        REFUSES(VMX_GUEST_TR_RESERVED_LOW, v->guest_tr_ar |= NVIRT_BIT(bit));
    }
    ACCEPTS(v->guest_tr_ar |= NVIRT_VMX_AR_AVL);
}

static void vmx_guest_tr_g_clear(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_G_CLEAR, v->guest_tr_ar |= NVIRT_VMX_AR_G);
    ACCEPTS(v->guest_tr_ar |= NVIRT_VMX_AR_G; v->guest_tr_limit = 0xFFF);
}

static void vmx_guest_tr_g_set(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_G_SET, v->guest_tr_limit = 0x100FFF);
    REFUSES(VMX_GUEST_TR_G_SET, v->guest_tr_limit = FLAT);
    ACCEPTS(v->guest_tr_limit = 0xFFFFF);
}

static void vmx_guest_tr_usable(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TR_USABLE, v->guest_tr_ar |= UNUSABLE);
}

static void vmx_guest_tr_reserved_high(void **state)
{
    (void)state;
    for (uint32_t bit = 17; bit < 32; bit++) {
        REFUSES(VMX_GUEST_TR_RESERVED_HIGH, v->guest_tr_ar |= NVIRT_BIT(bit));
    }
}

/* LDTR: every rule holds for a usable one only. */
#define LDTR_CASE(RULE, ...)                                                                       \
    REFUSES(RULE, __VA_ARGS__);                                                                    \
    ACCEPTS(__VA_ARGS__; v->guest_ldtr_ar |= UNUSABLE)

static void vmx_guest_ldtr_type(void **state)
{
    (void)state;
    for (uint64_t type = 0; type < 16; type++) {
        if (type != 2) {
            LDTR_CASE(VMX_GUEST_LDTR_TYPE, set_type(&v->guest_ldtr_ar, type));
        }
    }
}

static void vmx_guest_ldtr_s(void **state)
{
    (void)state;
    LDTR_CASE(VMX_GUEST_LDTR_S, v->guest_ldtr_ar |= NVIRT_VMX_AR_S);
}

static void vmx_guest_ldtr_p(void **state)
{
    (void)state;
    LDTR_CASE(VMX_GUEST_LDTR_P, v->guest_ldtr_ar &= ~NVIRT_VMX_AR_P);
}

static void vmx_guest_ldtr_reserved_low(void **state)
{
    (void)state;
    for (uint32_t bit = 8; bit < 12; bit++) {
        LDTR_CASE(VMX_GUEST_LDTR_RESERVED_LOW, v->guest_ldtr_ar |= NVIRT_BIT(bit));
    }
}

static void vmx_guest_ldtr_g_clear(void **state)
{
    (void)state;
    LDTR_CASE(VMX_GUEST_LDTR_G_CLEAR, v->guest_ldtr_ar |= NVIRT_VMX_AR_G);
    ACCEPTS(v->guest_ldtr_ar |= NVIRT_VMX_AR_G; v->guest_ldtr_limit = 0xFFF);
}

static void vmx_guest_ldtr_g_set(void **state)
{
    (void)state;
    LDTR_CASE(VMX_GUEST_LDTR_G_SET, v->guest_ldtr_limit = FLAT);
    LDTR_CASE(VMX_GUEST_LDTR_G_SET, v->guest_ldtr_limit = 0x100FFF);
    ACCEPTS(v->guest_ldtr_limit = 0xFFFFF);
}

static void vmx_guest_ldtr_reserved_high(void **state)
{
    (void)state;
    for (uint32_t bit = 17; bit < 32; bit++) {
        LDTR_CASE(VMX_GUEST_LDTR_RESERVED_HIGH, v->guest_ldtr_ar |= NVIRT_BIT(bit));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_guest_tr_ti),
        cmocka_unit_test(vmx_guest_ldtr_ti),
        cmocka_unit_test(vmx_guest_ss_rpl),
        cmocka_unit_test(vmx_guest_v86_base),
        cmocka_unit_test(vmx_guest_base_canonical),
        cmocka_unit_test(vmx_guest_base_high),
        cmocka_unit_test(vmx_guest_v86_limit),
        cmocka_unit_test(vmx_guest_v86_ar),
        cmocka_unit_test(vmx_guest_cs_type),
        cmocka_unit_test(vmx_guest_ss_type),
        cmocka_unit_test(vmx_guest_data_accessed),
        cmocka_unit_test(vmx_guest_data_readable),
        cmocka_unit_test(vmx_guest_segment_s),
        cmocka_unit_test(vmx_guest_cs_dpl_data),
        cmocka_unit_test(vmx_guest_cs_dpl_equal),
        cmocka_unit_test(vmx_guest_cs_dpl_conforming),
        cmocka_unit_test(vmx_guest_ss_dpl_rpl),
        cmocka_unit_test(vmx_guest_ss_dpl_zero),
        cmocka_unit_test(vmx_guest_data_dpl),
        cmocka_unit_test(vmx_guest_segment_p),
        cmocka_unit_test(vmx_guest_segment_reserved_low),
        cmocka_unit_test(vmx_guest_cs_db),
        cmocka_unit_test(vmx_guest_segment_g_clear),
        cmocka_unit_test(vmx_guest_segment_g_set),
        cmocka_unit_test(vmx_guest_segment_reserved_high),
        cmocka_unit_test(vmx_guest_tr_type),
        cmocka_unit_test(vmx_guest_tr_s),
        cmocka_unit_test(vmx_guest_tr_p),
        cmocka_unit_test(vmx_guest_tr_reserved_low),
        cmocka_unit_test(vmx_guest_tr_g_clear),
        cmocka_unit_test(vmx_guest_tr_g_set),
        cmocka_unit_test(vmx_guest_tr_usable),
        cmocka_unit_test(vmx_guest_tr_reserved_high),
        cmocka_unit_test(vmx_guest_ldtr_type),
        cmocka_unit_test(vmx_guest_ldtr_s),
        cmocka_unit_test(vmx_guest_ldtr_p),
        cmocka_unit_test(vmx_guest_ldtr_reserved_low),
        cmocka_unit_test(vmx_guest_ldtr_g_clear),
        cmocka_unit_test(vmx_guest_ldtr_g_set),
        cmocka_unit_test(vmx_guest_ldtr_reserved_high),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
