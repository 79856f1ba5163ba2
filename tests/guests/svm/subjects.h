/* SPDX-License-Identifier: MIT */
/* The subjects of the SVM test hypervisor, one file each, in the order they run. */
#ifndef SVM_TEST_SUBJECTS_H
#define SVM_TEST_SUBJECTS_H

#define SVM_SUBJECTS(X)                                                                            \
    X(test_instructions)                                                                           \
    X(test_msrs)                                                                                   \
    X(test_vmrun_checks)                                                                           \
    X(test_intercepts)                                                                             \
    X(test_registers)                                                                              \
    X(test_io)                                                                                     \
    X(test_msrpm)                                                                                  \
    X(test_state)                                                                                  \
    X(test_interrupts)                                                                             \
    X(test_virtual_irq)                                                                            \
    X(test_virtual_gif)                                                                            \
    X(test_clean)                                                                                  \
    X(test_events)                                                                                 \
    X(test_npt)                                                                                    \
    X(test_npt_mix)                                                                                \
    X(test_paging)                                                                                 \
    X(test_tlb)                                                                                    \
    X(test_modes)                                                                                  \
    X(test_task_switch)                                                                            \
    X(test_hostile)                                                                                \
    X(test_l1_modes)

#define X(name) void name(void);
SVM_SUBJECTS(X)
#undef X

#endif
