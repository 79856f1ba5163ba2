/* SPDX-License-Identifier: MIT */
/* The subjects of the VMX test hypervisor, in the order in which main.c runs them. */
#ifndef TESTS_H
#define TESTS_H

void test_outside_vmx(void);  /* t_vmxon.c: instructions before and after VMX operation */
void test_instructions(void); /* t_insn.c */
void test_operands(void);     /* t_operand.c */
void test_walk(void);        /* t_walk.c: operands through the page tables of L1 */
void test_exits(void);        /* t_exit.c */
void test_persist(void);     /* t_persist.c: what a VMCS remembers */
void test_resume(void);      /* t_resume.c: changes between entries */
void test_pcid(void);        /* t_pcid.c: PCIDs and global pages */
void test_manual(void);      /* t_manual.c: only when the command line asks for it */
void test_hostile(void);     /* t_hostile.c: only when the command line asks for it */
void test_legacy(void);      /* t_legacy.c: a 32-bit L1 */
void test_outside(void);     /* t_outside.c: physical addresses without memory */
void test_cr(void);           /* t_cr.c */
void test_io(void);           /* t_io.c */
void test_msr(void);          /* t_msr.c */
void test_insn_info(void);    /* t_info.c */
void test_events(void);       /* t_event.c */
void test_windows(void);      /* t_window.c */
void test_activity(void);     /* t_activity.c: L2 in shutdown */
void test_ept(void);          /* t_ept.c */
void test_vmfunc(void);       /* t_vmfunc.c */
void test_ept_changes(void);  /* t_ept_changes.c */
void test_ept_mix(void);      /* t_ept_mix.c */
void test_ve(void);           /* t_ve.c: virtualization exceptions, */
void test_ve_manual(void);    /* and of them what Bochs breaks: part of "manual" */
void test_spp(void);          /* t_spp.c: sub-page write permissions, */
void test_spp_manual(void);   /* and of those what Bochs breaks: part of "manual" */
void test_pml(void);          /* t_pml.c: page-modification log, */
void test_pml_manual(void);   /* and of that what Bochs breaks: part of "manual" */
void test_shadow(void);       /* t_shadow.c: VMCS shadowing, */
void test_shadow_manual(void); /* and of that what Bochs breaks: part of "manual" */
void test_tpr(void);          /* t_tpr.c */
void test_apic(void);         /* t_apic.c: pages that stand for L2's APIC */
void test_secondary(void);    /* t_secondary.c: XSAVES, loops of PAUSE */
void test_apicv(void);        /* t_apicv.c: its registers and interrupts without exits */
void test_delivery(void);     /* the same file: virtual interrupts that are delivered */
void test_posted(void);       /* the same file: only when the command line asks for it */
void test_entry_controls(void); /* t_entry.c */
void test_entry_guest(void);  /* t_entry_guest.c */
void test_switch(void);       /* t_switch.c: state loaded and saved by transitions */
void test_cet(void);          /* t_cet.c: shadow stacks, state loaded and saved */
void test_modes(void);        /* t_mode.c: real mode, 32-bit, PAE, task switch */
void test_priority(void);    /* t_priority.c: faults against exits, CPL 3 */

#endif
