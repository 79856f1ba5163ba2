/* SPDX-License-Identifier: MIT */
/*
 * /dev/nvirt: what a program and the driver say to each other. Needs nothing but the kernel's
 * <linux/types.h> and <linux/ioctl.h>.
 *
 * Open the device, compare NVIRT_GET_VERSION, create a VM, give it memory of your own address space,
 * create a vCPU, set its registers, and run it: each NVIRT_RUN returns with a reason that you deal
 * with. Files may be closed in any order, and a program may die at any point.
 *
 * Every structure begins with its size as the program knows it. The driver reads and writes no more than that,
 * takes what is missing as 0, and refuses (E2BIG) bytes that it does not know and that are not 0.
 * Bits and fields marked reserved must be 0 (EINVAL). A VM belongs to the address space that created
 * it: calls from another one are refused (EIO).
 */
#ifndef NVIRT_IOCTL_H
#define NVIRT_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NVIRT_DEVICE "/dev/nvirt"
/* Changes when a program made for another version would misbehave. */
#define NVIRT_API_VERSION 2

/* Most vCPUs and memory slots of one VM. */
#define NVIRT_API_MAX_VCPUS 64
#define NVIRT_API_MAX_SLOTS 64

/* ---- of a VM ---- */

struct nvirt_create_vm {
	__u32 size;
	__u32 flags;       /* reserved */
	__u32 page_budget; /* pages for L2's second-stage tables; 0: a default. It bounds how long changes of memory take. */
	__u32 reserved;
};

#define NVIRT_MEMORY_READONLY 1u
/*
 * The page where L1's vCPUs have their local APIC, which the program emulates: accesses to it are NVIRT_EXIT_MMIO,
 * as where no slot is, and never reach the memory behind. On a CPU that virtualizes APIC accesses that memory is
 * the APIC-access page; it may be swapped, moved and mapped anew like any other. One page, not at address 0;
 * given before the first vCPU (else EBUSY), and kept.
 */
#define NVIRT_MEMORY_APIC 2u

/* One slot of memory: replaces what it had before; bytes 0 empties it. Slots do not overlap. */
struct nvirt_memory {
	__u32 size;
	__u32 slot;
	__u32 flags; /* NVIRT_MEMORY_* */
	__u32 reserved;
	__u64 address; /* in L1; a multiple of 4096, as the rest */
	__u64 bytes;
	__u64 user; /* in the program's address space */
};

struct nvirt_create_vcpu {
	__u32 size;
	__u32 index; /* its number, and its APIC identifier */
	__u32 flags; /* reserved */
	__u32 reserved;
};

/* ---- of a vCPU ---- */

/* NVIRT_GET_REGS, NVIRT_SET_REGS: of the level that runs, L1 or L2. */
struct nvirt_regs {
	__u32 size;
	__u32 level; /* out: 1 or 2; ignored by NVIRT_SET_REGS */
	__u64 gpr[16]; /* by their number in ModRM: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 ... */
	__u64 rip;
	__u64 rflags;
};

struct nvirt_segment {
	__u16 selector;
	__u16 attributes; /* type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D/B 10, G 11; bit 12: unusable; above: 0 */
	__u32 limit;      /* in bytes */
	__u64 base;
};

#define NVIRT_SEGMENT_UNUSABLE 0x1000u
#define NVIRT_SEGMENT_ATTRIBUTES 0x1fffu

/* NVIRT_GET_SREGS: of the level that runs. NVIRT_SET_SREGS: while that is L1. */
struct nvirt_sregs {
	__u32 size;
	__u32 level; /* out */
	struct nvirt_segment es, cs, ss, ds, fs, gs, ldtr, tr, gdtr, idtr;
	__u64 cr0, cr2, cr3, cr4, cr8, efer, pat, dr6, dr7;
};

enum nvirt_event_kind {
	NVIRT_INJECT_INTERRUPT = 0,
	NVIRT_INJECT_NMI = 2,
	NVIRT_INJECT_EXCEPTION = 3,
	NVIRT_INJECT_INIT = 8,
	NVIRT_INJECT_SIPI = 9, /* its vector: the page of the first instruction */
};

/*
 * Hands an event over. EBUSY while one of its kind waits; an NMI and an INIT merge. An interrupt is delivered
 * when the level that runs can take it, or becomes the exit that L1 asked for.
 *
 * INIT and SIPI are for an L1 in VMX operation; else they are EBUSY (EINVAL on AMD), and the program's to carry out
 * by NVIRT_RESET and the registers. An INIT becomes L1's exit from L2, or waits for VMXOFF and is NVIRT_EXIT_INIT
 * then; a SIPI ends the wait of an L2 that L1 put into that state, and is lost at any other time.
 */
struct nvirt_inject {
	__u32 size;
	__u32 kind; /* enum nvirt_event_kind */
	__u32 vector;
	__u32 has_error_code;
	__u32 error_code;
	__u32 reserved;
	__u64 address; /* #PF: CR2 */
};

enum nvirt_exit_reason {
	NVIRT_EXIT_NONE = 0,
	NVIRT_EXIT_IO = 1,       /* IN or OUT; the data of IN is taken at the next run */
	NVIRT_EXIT_MMIO = 2,     /* memory that no slot has: decode insn, set the registers */
	NVIRT_EXIT_HLT = 3,      /* behind the HLT: run again when an event was injected */
	NVIRT_EXIT_SHUTDOWN = 4, /* L1 is over until NVIRT_RESET */
	NVIRT_EXIT_FAILED = 5,   /* the CPU refused to enter, or nvirt failed: code says why */
	NVIRT_EXIT_MEMORY = 6,   /* the program's memory behind address could not be had */
	NVIRT_EXIT_KICKED = 7,   /* NVIRT_KICK */
	NVIRT_EXIT_INIT = 8,     /* L1 executed VMXOFF, which an INIT handed over waited for: NVIRT_RESET is due */
};

/* In nvirt_run.state: of the level that runs, after the exit. */
#define NVIRT_STATE_LEVEL2 1u           /* L2 is active */
#define NVIRT_STATE_INTERRUPT_WAITS 2u  /* an interrupt handed over earlier was not delivered yet */
#define NVIRT_STATE_NMI_WAITS 4u

#define NVIRT_IO_IN 1u
#define NVIRT_IO_STRING 2u /* INS or OUTS: emulate it by the registers; RIP is next_rip then */
#define NVIRT_IO_REP 4u

#define NVIRT_MMIO_WRITE 1u
#define NVIRT_MMIO_FETCH 2u

/* NVIRT_RUN. EINTR on a signal, and when the kernel has work for the thread on its way out: run again. */
struct nvirt_run {
	__u32 size;
	__u32 flags;  /* reserved */
	__u32 reason; /* out: enum nvirt_exit_reason */
	__u32 state;  /* out: NVIRT_STATE_* */
	__u64 cr8;    /* out: L1's task priority */
	union {
		struct {
			__u16 port;
			__u16 width; /* 1, 2 or 4 */
			__u32 flags; /* NVIRT_IO_* */
			__u32 data;  /* out for OUT, in for IN */
			__u32 reserved;
			__u64 next_rip;
		} io;
		struct {
			__u64 address; /* in L1 */
			__u32 flags;   /* NVIRT_MMIO_* */
			__u32 insn_bytes;
			__u8 insn[16]; /* at CS:RIP of the level that runs, as far as it could be read */
		} mmio;
		struct {
			__u64 code;
			__u64 info1;
			__u64 info2;
		} failed;
		__u64 padding[8];
	};
};

/* NVIRT_GET_STATS: nvirt's counters of the vCPU, in the order in which debugfs names them. */
struct nvirt_vcpu_stats {
	__u32 size;
	__u32 count; /* out: how many there are */
	__u64 value[48];
};

/* NVIRT_GET_NESTED, NVIRT_SET_NESTED: the layout is <nvirt/state.h>. ENOSPC: there is less room than `bytes` then says. */
struct nvirt_nested {
	__u32 size;
	__u32 bytes; /* in: room or length; out: length */
	__u64 buffer;
};

/* The commands have no size in them, which is in the structures. */
#define NVIRT_IOC 0xb7
/* /dev/nvirt */
#define NVIRT_GET_VERSION _IO(NVIRT_IOC, 0x00)
#define NVIRT_CREATE_VM _IO(NVIRT_IOC, 0x01) /* struct nvirt_create_vm; returns a file */
/* a VM */
#define NVIRT_SET_MEMORY _IO(NVIRT_IOC, 0x10)  /* struct nvirt_memory */
#define NVIRT_CREATE_VCPU _IO(NVIRT_IOC, 0x11) /* struct nvirt_create_vcpu; returns a file */
/* a vCPU */
#define NVIRT_RUN _IO(NVIRT_IOC, 0x20)       /* struct nvirt_run, in and out */
#define NVIRT_GET_REGS _IO(NVIRT_IOC, 0x21)  /* struct nvirt_regs, out */
#define NVIRT_SET_REGS _IO(NVIRT_IOC, 0x22)  /* struct nvirt_regs */
#define NVIRT_GET_SREGS _IO(NVIRT_IOC, 0x23) /* struct nvirt_sregs, out */
#define NVIRT_SET_SREGS _IO(NVIRT_IOC, 0x24) /* struct nvirt_sregs */
#define NVIRT_INJECT _IO(NVIRT_IOC, 0x25)    /* struct nvirt_inject */
#define NVIRT_KICK _IO(NVIRT_IOC, 0x26)      /* from any thread: makes NVIRT_RUN return */
#define NVIRT_RESET _IO(NVIRT_IOC, 0x27)
#define NVIRT_GET_STATS _IO(NVIRT_IOC, 0x28)  /* struct nvirt_vcpu_stats, out */
#define NVIRT_GET_NESTED _IO(NVIRT_IOC, 0x29) /* struct nvirt_nested, in and out */
#define NVIRT_SET_NESTED _IO(NVIRT_IOC, 0x2a) /* struct nvirt_nested */

#endif
