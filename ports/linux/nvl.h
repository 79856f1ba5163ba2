/* SPDX-License-Identifier: MIT */
/*
 * The driver's own objects, and what its files offer each other. nvl: nvirt for Linux.
 *
 * A vCPU thread executes nvirt with preemption off, on a CPU it is held on by migrate_disable():
 * nvirt's locks then are never held by a thread that does not run. Where the port must sleep, to have
 * a page of the process brought in, it gives preemption free for that time (port.c): nvirt
 * holds no lock then, and migration stays off, so the CPU is the same afterwards.
 */
#ifndef NVL_H
#define NVL_H

#include <linux/io.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/wait.h>

#include <nvirt/nvirt.h>

#include "nvirt_ioctl.h"
#include "nvl_compat.h"

struct nvl_vcpu;

/* ---- cpu.c: the virtualization hardware of each CPU ---- */

enum nvl_vendor { NVL_NONE, NVL_SVM, NVL_VMX };

/* One physical CPU. The same object for a CPU that went and came back: its TLB is empty then. */
struct nvirt_port_cpu {
	bool usable;   /* hardware is on; changed on this CPU */
	bool leaving;  /* the CPU goes offline: nobody may come */
	unsigned int loaded; /* vCPU threads held on it; changed on this CPU, preemption off */
	struct nvl_vcpu *running; /* the one whose calls of nvirt are under way, or null */
	u64 last_guest; /* serial number of the vCPU whose guest ran here last */
	struct page *save;  /* SVM: where VMRUN keeps the host; VMX: the VMXON region */
	struct page *state; /* SVM: where VMSAVE keeps the host */
	unsigned int number;
	wait_queue_head_t emptied;

	/* VMX. All three change here only; the list with interrupts off. */
	u64 current_vmcs; /* the owner's, or 0: it has made none current */
	struct nvl_vcpu *owner; /* who may take the current VMCS for what it has made current itself */
	struct list_head bound; /* vCPUs whose VMCSs are active here */
};

extern enum nvl_vendor nvl_vendor;

int nvl_cpus_init(void);
void nvl_cpus_exit(void);
/* The first user switches the hardware on everywhere: EBUSY when somebody else has it. */
int nvl_cpus_get(void);
void nvl_cpus_put(void);
/* Holds the thread on its CPU, preemption off; EBUSY when the hardware is gone for good. */
int nvl_cpu_hold(struct nvirt_port_cpu **cpu);
void nvl_cpu_release(struct nvirt_port_cpu *cpu);
struct nvirt_port_cpu *nvl_this_cpu(void);

/* ---- memory.c: L1's memory in the process ---- */

struct nvl_slot {
	u64 address, bytes, user;
	bool writable;
	bool apic; /* NVIRT_MEMORY_APIC */
};

struct nvl_slots {
	struct rcu_head rcu;
	struct nvl_slot slot[NVIRT_API_MAX_SLOTS];
};

/* A page of L1 that nvirt has pinned. */
struct nvl_pin {
	struct list_head list;
	struct page *page; /* null while it is being pinned; set under pin_lock */
	u64 l1gpa;
};

/* ---- vm.c ---- */

/* One VM: nvirt's port context is the driver's object. */
struct nvirt_port_vm {
	struct kref ref;
	struct nvirt_vm nvirt;
	bool nvirt_ready;
	struct mm_struct *mm;
	struct mutex lock; /* of slots, apic_page and vcpus */

	struct mmu_notifier notifier;
	struct srcu_struct srcu;
	struct nvl_slots __rcu *slots;
	u64 apic_page; /* in L1, of the slot that is an APIC; 0: none; fixed once there is a vCPU, which reads it unlocked */

	/* The second stage of L1, and what changes it. */
	spinlock_t stage2_lock;
	struct page *stage2_root;
	unsigned long stage2_pages;
	unsigned long changes;  /* counted at the end of each */
	unsigned int changing;

	spinlock_t pin_lock;
	struct list_head pins;
	struct list_head written; /* pins that have ended, whose pages are to be made dirty */
	atomic64_t sequence; /* moves at both ends of a change of pinned memory; never odd */

	spinlock_t reserve_lock; /* pages for nvirt_port_page_alloc() when memory is short */
	struct list_head reserve;
	unsigned int reserved;

	struct nvl_vcpu *vcpus[NVIRT_API_MAX_VCPUS];
};

int nvl_vm_create(const struct nvirt_create_vm *arguments);
void nvl_vm_put(struct nvirt_port_vm *vm);
/* Pages for nvirt when it asks with preemption off; may sleep. */
int nvl_vm_refill(struct nvirt_port_vm *vm);
/* Makes the vCPUs come through their loop, where they see what is requested. */
void nvl_vm_request(struct nvirt_port_vm *vm, unsigned int request);
/* Waits until no vCPU runs its guest with what was valid before the request. */
void nvl_vm_wait_outside(struct nvirt_port_vm *vm);

/* port.c: ends what nvirt has unpinned since and may have written; may sleep. */
void nvl_pins_end(struct nvirt_port_vm *vm);

/* memory.c */
int nvl_memory_init(struct nvirt_port_vm *vm);
void nvl_memory_exit(struct nvirt_port_vm *vm);
int nvl_memory_set(struct nvirt_port_vm *vm, const struct nvirt_memory *arguments);
/* Where l1gpa is in the process; bytes: as many as follow in the same slot. The APIC's page is memory only where
 * hardware watches it. */
bool nvl_memory_find(struct nvirt_port_vm *vm, u64 l1gpa, bool write, u64 *user, u64 *bytes);
bool nvl_memory_is_apic(const struct nvirt_port_vm *vm, u64 l1gpa);
/* Faults one page in and says where it is; nothing keeps it there but the notifier. May sleep. */
enum nvirt_status nvl_memory_page(struct nvirt_port_vm *vm, u64 l1gpa, bool write, u64 *hpa,
				  bool *writable);

/* stage2.c: NPT01 or EPT01, in pages of 4 KiB */
int nvl_stage2_init(struct nvirt_port_vm *vm);
void nvl_stage2_exit(struct nvirt_port_vm *vm);
u64 nvl_stage2_root(const struct nvirt_port_vm *vm);
/* Maps the page around l1gpa: 0, -ENOENT (no slot), -EFAULT (not to be had), -ENOMEM. May sleep. */
int nvl_stage2_fault(struct nvirt_port_vm *vm, u64 l1gpa, bool write);
/* Drops what is mapped of [start, start + bytes); where there was something the vCPUs are asked to flush, which
 * nvl_vm_wait_outside() waits for. */
void nvl_stage2_drop(struct nvirt_port_vm *vm, u64 start, u64 bytes, bool may_sleep);
/* Frees the tables there that map nothing, after such a flush; a change is under way. May sleep. */
void nvl_stage2_prune(struct nvirt_port_vm *vm, u64 start, u64 bytes);

/* ---- tags.c: ASIDs or VPIDs, of all vCPUs of all VMs ---- */

struct nvl_tags {
	struct mutex lock; /* of free; nvirt's own needs none */
	struct nvirt_tlb_tags space;
	u32 free;
};

int nvl_tags_init(struct nvl_tags *tags, u32 count, u64 *words);
/* How many were given: `least` to `most`; ENOSPC when there are fewer than the least. */
int nvl_tags_take(struct nvl_tags *tags, u32 *given, u32 least, u32 most);
void nvl_tags_give(struct nvl_tags *tags, const u32 *given, u32 count);

/* ---- vcpu.c ---- */

#define NVL_REQUEST_RELOAD 0 /* nvirt wants the vCPU to come through prepare */
#define NVL_REQUEST_FLUSH 1  /* L1's own translations changed */
#define NVL_REQUEST_KICK 2   /* the program's */

/* The SVM half (svm.c). */
struct nvl_svm {
	struct nvirt_svm_vcpu *nvirt;
	void *memory;
	struct nvirt_vmcb *vmcb01;
	u8 *maps02, *msrpm;
	u32 asids[1 + NVIRT_SVM_MAX_ASIDS]; /* L1's first */
	unsigned int asid_count;
};

#define NVL_VMX_VPIDS 9u /* of one vCPU: L1's, and those of its L2s */
#define NVL_VMX_MSRS 5u

/* The VMX half (vmx.c). */
struct nvl_vmx {
	struct nvirt_vmx_vcpu *nvirt;
	void *memory;
	struct page *vmcs01;
	u32 vpids[NVL_VMX_VPIDS]; /* L1's first */
	unsigned int vpid_count;
	struct nvirt_port_cpu *home; /* where its VMCSs are active; changes there, interrupts off */
	struct list_head bound;      /* in its home's list */
	bool host_of_home;           /* vmcs01 has the host state of its home */
	bool failed;                 /* an access to a field; taken by nvl_vmx_failed() */

	/* Host state as vmcs01 has it: what differs among CPUs, threads and moments. */
	struct nvl_vmx_host {
		unsigned long cr3, cr4, fs_base;
		u64 gs_base, tr_base, gdt_base, idt_base, sysenter_esp;
	} host;

	/* Registers that no VMCS switches: the guest's, and what the host has meanwhile. */
	u64 cr2, cr8, dr6;
	u64 msr[NVL_VMX_MSRS], host_msr[NVL_VMX_MSRS];
};

struct nvl_vcpu {
	struct nvirt_port_vm *vm;
	u32 index;
	u64 serial; /* of all that were made, from 1 on */
	u64 barriers; /* how often the branch predictor was emptied, as another guest had run on the CPU */
	struct mutex lock; /* one ioctl at a time */
	unsigned long requests;
	wait_queue_head_t requested; /* its thread, when L2 sleeps */
	int in_guest; /* CPU number + 1, 0 outside */
	struct nvirt_gprs gprs;
	union {
		struct nvl_svm svm;
		struct nvl_vmx vmx;
	};
	struct dentry *debugfs;

	/* Of an exit that the program must complete. */
	bool io_in;
	u8 io_width;
	u64 io_next_rip;

	/* State that neither VMCB nor VMCS holds (fpu.c, msr.c). */
	void *fpu;
	u64 xcr0, host_xcr0;
	unsigned long dr[4];
	u64 tsc_aux, host_tsc_aux;
	u32 host_pkru;
	u64 apic_base;
	u64 mtrr[32];
};

int nvl_vcpu_create(struct nvirt_port_vm *vm, const struct nvirt_create_vcpu *arguments);
/* Makes one vCPU come through its loop, where it sees the request. Any context. */
void nvl_vcpu_request(struct nvirt_port_vm *vm, u32 index, unsigned int request);
/* Before an entry, preemption off, and when it is over. */
int nvl_vcpu_hold(struct nvl_vcpu *vcpu, struct nvirt_port_cpu **cpu);
void nvl_vcpu_release(struct nvirt_port_cpu *cpu);

/* main.c: structures of the program's, by the size in their first word */
int nvl_copy_in(void *to, size_t size, unsigned long from);
int nvl_copy_out(unsigned long to, void *from, size_t size);

/* debugfs.c */
void nvl_debugfs_init(void);
void nvl_debugfs_exit(void);
void nvl_debugfs_add(struct nvl_vcpu *vcpu);
void nvl_debugfs_remove(struct nvl_vcpu *vcpu);

/* ---- cpuid.c, msr.c, fpu.c: what L1 sees of a CPU beside its VMCB ---- */

struct nvl_cpuid {
	u32 eax, ebx, ecx, edx;
};

void nvl_cpuid(const struct nvl_vcpu *vcpu, u32 leaf, u32 subleaf, bool osxsave,
	       struct nvl_cpuid *out);
u8 nvl_physical_bits(void);
void nvl_msr_init(struct nvl_vcpu *vcpu);
/* False: #GP. */
bool nvl_msr_read(struct nvl_vcpu *vcpu, u32 msr, u64 *value);
bool nvl_msr_write(struct nvl_vcpu *vcpu, u32 msr, u64 value);
void nvl_fpu_setup(void); /* once */
int nvl_fpu_init(struct nvl_vcpu *vcpu);
void nvl_fpu_exit(struct nvl_vcpu *vcpu);
/* The guest's extended state, debug registers and TSC_AUX into the CPU, and out of it. */
void nvl_fpu_load(struct nvl_vcpu *vcpu);
void nvl_fpu_save(struct nvl_vcpu *vcpu);
void nvl_fpu_enter(struct nvl_vcpu *vcpu);
void nvl_fpu_leave(struct nvl_vcpu *vcpu);
/* What XCR0 of a guest may have. */
u64 nvl_fpu_offered(void);
/* XSETBV by a guest: false for #GP. */
bool nvl_fpu_set_xcr0(struct nvl_vcpu *vcpu, u32 index, u64 value);

/* ---- the two vendors: svm*.c, vmx*.c ---- */

/* What came of an exit: on with the guest, back to the program, or an error of the ioctl. */
#define NVL_GUEST 0
#define NVL_PROGRAM 1

struct nvl_exit {
	union {
		struct nvirt_svm_exit svm;
		struct nvirt_vmx_exit vmx;
	};
};

/* Where a function has a CPU among its arguments, the vCPU is held on it. */
struct nvl_backend {
	unsigned int pins; /* pages of L1 that nvirt keeps pinned for one vCPU, at most */

	/* -EOPNOTSUPP, after a message where that helps, when this machine is not for it. */
	int (*missing)(void);
	int (*init)(void);
	void (*exit)(void);

	/* The hardware of this CPU, interrupts off. `last`: nothing will run here again (reboot), and
	 * a thread may have been interrupted anywhere. */
	int (*enable)(struct nvirt_port_cpu *cpu);
	void (*disable)(struct nvirt_port_cpu *cpu, bool last);
	/* Just the hardware, wherever this CPU was interrupted: the kernel has crashed. */
	void (*switch_off)(void);

	int (*vcpu_init)(struct nvl_vcpu *vcpu);
	void (*vcpu_exit)(struct nvl_vcpu *vcpu);
	/* The vCPU comes to a CPU that it is held on from here. */
	void (*come)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
	enum nvirt_status (*reset)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
	enum nvirt_status (*inject)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				    const struct nvirt_event *event);
	enum nvirt_status (*save)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, void *buffer,
				  size_t bytes, size_t *used);
	enum nvirt_status (*restore)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				     const void *buffer, size_t bytes);
	const struct nvirt_stats *(*stats)(const struct nvl_vcpu *vcpu);
	u32 (*level)(const struct nvl_vcpu *vcpu);
	u32 (*waits)(const struct nvl_vcpu *vcpu); /* NVIRT_WAITS_* */
	u64 (*cr8)(const struct nvl_vcpu *vcpu);   /* L1's */

	/* L1's own translations changed: before its next entry they go. */
	void (*flush)(struct nvl_vcpu *vcpu);
	/* One entry and its exit. *exited: there is an exit to look at. */
	enum nvirt_status (*once)(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu,
				  struct nvl_exit *exit, bool *exited);
	/* Where that answered NVIRT_ERR_ASLEEP: waits for what may wake L2. Not held. Null: it never does. */
	int (*sleep)(struct nvl_vcpu *vcpu);
	/* An exit that is not nvirt's, and the program's answer to an IN. Not held: they may sleep. */
	int (*handle)(struct nvl_vcpu *vcpu, const struct nvl_exit *exit, struct nvirt_run *run);
	int (*complete_in)(struct nvl_vcpu *vcpu, u32 data);

	int (*get_regs)(struct nvl_vcpu *vcpu, struct nvirt_regs *regs);
	int (*set_regs)(struct nvl_vcpu *vcpu, const struct nvirt_regs *regs);
	int (*get_sregs)(struct nvl_vcpu *vcpu, struct nvirt_sregs *sregs);
	/* While L1 runs; reserved bits, and those of EFER and CR4 that L1 was not shown, are clear. */
	int (*set_sregs)(struct nvl_vcpu *vcpu, const struct nvirt_sregs *sregs);
	u64 (*efer_valid)(void);
	u64 (*cr4_valid)(void);
};

extern const struct nvl_backend nvl_svm_backend, nvl_vmx_backend;
extern const struct nvl_backend *nvl_backend; /* this machine's */
extern bool nvl_has_apic_page; /* hardware watches the APIC's page; set when the module comes */

void nvl_svm_cpuid(struct nvl_cpuid *out);

/* vmx_cpu.c: one of the MSRs that are swapped around a run; null when it is none. */
u64 *nvl_vmx_msr(struct nvl_vcpu *vcpu, u32 msr);
/* vmx_cpu.c: the end of a sleep inside nvirt, when another thread may have made its VMCS current. */
void nvl_vmx_resume(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu, u64 vmcs);

/* ---- run.c: the loop, and exits that are alike on both ---- */

int nvl_run(struct nvl_vcpu *vcpu, struct nvirt_run *run);
/* Interrupts are off from here to the end of the guest's run. False: the entry is given up. */
bool nvl_begin_guest(struct nvl_vcpu *vcpu, struct nvirt_port_cpu *cpu);
void nvl_end_guest(struct nvl_vcpu *vcpu);
/* Until there is a request, a signal, or the time is over. */
void nvl_wait_for_request(struct nvl_vcpu *vcpu, u64 nanoseconds);
/* An exception for the level that exited; where L1 intercepts it in L2 it becomes L1's exit. */
int nvl_inject_exception(struct nvl_vcpu *vcpu, const struct nvirt_event *event);
/* An IN or OUT of `width` bytes, as the program is told of it. */
void nvl_exit_io(struct nvirt_run *run, u16 port, u32 width, u32 flags);
/* A second-stage fault at l1gpa. NVL_GUEST: mapped. Else NVL_PROGRAM, or an error; an MMIO exit lacks the
 * instruction's bytes. */
int nvl_exit_memory(struct nvl_vcpu *vcpu, u32 level, u64 l1gpa, u32 flags, struct nvirt_run *run);
int nvl_exit_failed(struct nvirt_run *run, u64 code, u64 info1, u64 info2);

#endif
