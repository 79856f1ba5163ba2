/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The port: what the host supplies to nvirt, as plain functions found at link time.
 *
 * Two opaque structs carry the host's context: struct nvirt_port_vm, one per VM, given to every
 * cold function, and struct nvirt_port_cpu, one per physical CPU, given to every hot one. nvirt
 * never looks inside. A missing function is a link error.
 *
 * The hot tier (nine wrappers of one instruction each) is in <nvirt/port_hot.h>.
 *
 * Every function here may be called by any CPU that is inside a call of nvirt, by several at once
 * for the same VM. None may call back into nvirt for the same vCPU. None may block for an
 * invalidation that waits for the calling vCPU: say NVIRT_ERR_RETRY instead.
 */
#ifndef NVIRT_PORT_H
#define NVIRT_PORT_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/** The host's context of one VM (struct nvirt_vm_config::port). */
struct nvirt_port_vm;
/**
 * The host's context of one physical CPU: the same pointer for the same CPU, at every call. The
 * pointer is the CPU's identity for flush decisions, so it must not come to stand for another CPU
 * (after hotplug, say) while a vCPU that used it exists.
 */
struct nvirt_port_cpu;

/** @name Rights and access kinds: a set of these bits
 * @{ */
#define NVIRT_ACCESS_READ 1u
#define NVIRT_ACCESS_WRITE 2u
#define NVIRT_ACCESS_EXECUTE 4u
/** @} */

/** Memory types by their architectural encoding [SDM 3A "Memory Types"]. */
enum nvirt_memory_type {
    NVIRT_MEMORY_UC = 0, /**< Uncacheable. */
    NVIRT_MEMORY_WC = 1, /**< Write combining. */
    NVIRT_MEMORY_WT = 4, /**< Write-through. */
    NVIRT_MEMORY_WP = 5, /**< Write protected. */
    NVIRT_MEMORY_WB = 6  /**< Write-back. */
};

/* ---- pages of the host, for nvirt's tables and control structures ---- */

/**
 * Gives one page of 4096 bytes, aligned, that nvirt owns until nvirt_port_page_free().
 * Its contents are undefined. nvirt asks for one page at a time, and for a table page only within
 * the VM's budget.
 * @param vm the VM that wants it.
 * @param page where its physical address goes.
 * @return NVIRT_OK, or NVIRT_ERR_NO_PAGE with *page untouched.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page);

/**
 * Takes back a page that nvirt_port_page_alloc() gave. No CPU's TLB can reach it any more.
 * @param vm the VM that had it.
 * @param page its physical address.
 */
void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page);

/**
 * A pointer to a page that nvirt owns or has pinned, valid until it is freed or unpinned; on SVM
 * also to the host's page for vmcb01, valid as long as the vCPU.
 * @param vm the VM.
 * @param page physical address of the page, 4 KiB aligned.
 * @return where nvirt reads and writes it: never null for such a page.
 */
void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page);

/* ---- memory of L1 ---- */

/** What the host's own second-stage tables say of one L1 address. */
struct nvirt_translation {
    nvirt_hpa hpa;          /**< Physical address of the byte asked for. */
    uint64_t size;          /**< Bytes of the naturally aligned block around it that is contiguous
                                 and alike in both address spaces: 4 KiB, 2 MiB or 1 GiB. */
    uint32_t rights;        /**< NVIRT_ACCESS_* that the host grants. */
    uint8_t memory_type;    /**< enum nvirt_memory_type that the host wants for it. */
    uint64_t sequence;      /**< Value of nvirt_port_sequence() under which all this holds. */
};

/**
 * Translates an L1 physical address for use in tables that hardware walks for L2.
 * @param vm the VM.
 * @param address of any byte.
 * @param out what the host's tables say of it.
 * @param access NVIRT_ACCESS_*, what L2 wants to do; a host that maps on demand makes at least that
 *        possible.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when L1 has nothing there (or not with these rights);
 *         NVIRT_ERR_RETRY while the host is changing the mapping. *out is written on NVIRT_OK only.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm,
                                                       nvirt_l1gpa address, uint32_t access,
                                                       struct nvirt_translation *out);

/**
 * The VM's invalidation sequence: changes whenever any translation given before may have ceased to hold and
 * nvirt_vm_change_begin() does not say so, and is odd while such a change is in progress: no translation counts
 * meanwhile. Where that function says so, or it moves at the beginning of a change and again at its end (what was found
 * out in between is looked at anew then, too), it need not be odd. A host that can lose a pinned page from L1's memory
 * (its process puts another in its place) moves it for that, too: what was pinned before is pinned anew before
 * L2 next runs, so that hardware and L1 see the same page again.
 * @param vm the VM.
 * @return the number; read with acquire order.
 */
uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm);

/**
 * Keeps one page of L1 in place, so that hardware may be given its physical address.
 * A page may be pinned more than once, each time with an unpin of its own. One that is pinned for writing counts as
 * written for as long as it is: nvirt or hardware writes it without a word, a #VMEXIT its VMCB and posted
 * interrupts their descriptor, and saving nested state ends no pin. A host that copies memory while the VM runs, or
 * that saves or moves it, copies these pages last.
 * @param vm the VM.
 * @param page its address in L1, 4 KiB aligned.
 * @param access NVIRT_ACCESS_READ, or with NVIRT_ACCESS_WRITE when it may be written.
 * @param hpa where its physical address goes; nvirt_port_page_pointer() reaches it by that.
 * @return NVIRT_OK with *hpa; NVIRT_ERR_NO_MAPPING when L1 has no such memory. Any other status
 *         counts as that.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page,
                                                 uint32_t access, nvirt_hpa *hpa);

/**
 * Ends a pin.
 * @param vm the VM.
 * @param page its address in L1, as it was pinned.
 * @param hpa its physical address, as nvirt_port_pin() gave it.
 * @param written whether hardware or nvirt may have written the page while the pin lasted.
 */
void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written);

/**
 * Copies bytes out of L1's memory, each byte read exactly once. May span pages.
 * @param vm the VM.
 * @param from address of the first byte.
 * @param to memory of nvirt's, never L1's.
 * @param bytes how many, 1 or more.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when any byte has no memory behind it (nvirt then does
 *         what a bus without memory does: reads as all ones); the contents of @p to are then
 *         undefined. Aligned 8-byte and 4-byte reads are single accesses.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from,
                                                     void *to, size_t bytes);

/**
 * Copies bytes into L1's memory. May span pages. Aligned 8-byte and 4-byte writes are single
 * accesses. Marks the memory dirty for a host that logs.
 * @param vm the VM.
 * @param to address of the first byte.
 * @param from memory of nvirt's, never L1's.
 * @param bytes how many, 1 or more.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when any byte has no writable memory behind it: then
 *         nothing was written.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to,
                                                      const void *from, size_t bytes);

/**
 * Atomic compare-exchange of an aligned word of L1's memory (accessed and dirty bits).
 * @param vm the VM.
 * @param word its address, aligned to its size.
 * @param bytes its size: 4 or 8.
 * @param desired the value to put there; the upper half is 0 for 4 bytes.
 * @param expected in: the value the word must have; out: the value it had.
 * @return NVIRT_OK whether or not the exchange took place (compare *expected);
 *         NVIRT_ERR_NO_MAPPING when the word is not writable memory of L1.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm,
                                                                 nvirt_l1gpa word, size_t bytes,
                                                                 uint64_t *expected,
                                                                 uint64_t desired);

/* ---- registers of L1 that nvirt does not hold itself (VMX only) ---- */

/**
 * PKRU as L1 has it: protection keys guard the operands of L1's VMX instructions in user pages.
 * Called only while L1 has CR4.PKE set, with the vCPU bound to @p cpu; IA32_PKRS, which guards
 * supervisor pages under CR4.PKS, comes from nvirt_port_l1_rdmsr(). A host that lets L1 have no
 * protection keys answers 0. [SDM 3A "Protection Keys"]
 * @param vm the VM.
 * @param cpu context of the CPU that runs the vCPU.
 * @return its 32 bits.
 */
uint32_t nvirt_port_l1_pkru(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu);

/**
 * What RDMSR of L1 at CPL 0 would give for @p msr. Called for MSR lists, for accesses of L2 that exit
 * and that L1 lets pass, for MSRs of nvirt_vmx_caps_offer_msrs() at transitions, and for IA32_PKRS where L1's operands lie under CR4.PKS.
 * @param vm the VM.
 * @param cpu context of the CPU that runs the vCPU.
 * @param msr number, any L1 or L2 may name.
 * @param value where its value goes.
 * @return NVIRT_OK; NVIRT_ERR_RANGE (or any other status) when it would raise #GP.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm,
                                                      struct nvirt_port_cpu *cpu, uint32_t msr,
                                                      uint64_t *value);

/**
 * Does what WRMSR of L1 at CPL 0 would do for @p msr. Called as nvirt_port_l1_rdmsr() is.
 * @param vm the VM.
 * @param cpu context of the CPU that runs the vCPU.
 * @param msr number, any L1 or L2 may name.
 * @param value what to write, unchecked.
 * @return NVIRT_OK; NVIRT_ERR_RANGE (or any other status) when it would raise #GP: nothing is
 *         changed then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm,
                                                      struct nvirt_port_cpu *cpu, uint32_t msr,
                                                      uint64_t value);

/* ---- registers of a guest that nvirt does not hold itself ---- */

/** Bytes of XMM0 to XMM5. */
#define NVIRT_XMM_BYTES 96u

/**
 * XMM0 to XMM5 of the guest that has just left, as it left them. Called only while an exit of it is
 * looked at, and only for a host that offers Hyper-V's DIRECT_FLUSH with XMM (<nvirt/hyperv.h>): a
 * flush hypercall of L2's may have its input there.
 * @param vm the VM.
 * @param cpu context of the CPU that runs the vCPU.
 * @param xmm where NVIRT_XMM_BYTES go, XMM0 first.
 * @return NVIRT_OK; any other status when the host cannot tell: the hypercall is L1's then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_xmm(struct nvirt_port_vm *vm,
                                                 struct nvirt_port_cpu *cpu, uint8_t *xmm);

/* ---- other CPUs, messages ---- */

/**
 * Makes the CPU that runs vCPU @p vcpu_index leave its guest soon and come back through the
 * prepare call, where pending flushes are carried out. Does not wait. Harmless when none runs it.
 * Called by nvirt_vm_change_begin(), for each vCPU whose L2s may have used the memory, and for the
 * targets of a flush hypercall of L1's or L2's (<nvirt/hyperv.h>): the host notes for whom to wait,
 * there before the change, here before the vCPU that made the call enters its guest again.
 * @param vm the VM.
 * @param vcpu_index the index that the vCPU was configured with.
 */
void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index);

/**
 * One line for the host's trace: a rule that failed, an instruction that hardware refused. L1 can
 * make as many as it likes.
 * @param vm the VM.
 * @param text a constant string.
 * @param value what goes with it: an error number, an address, a field's encoding.
 */
void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value);

/**
 * A broken invariant of nvirt itself. Not reachable by anything that L1 or L2 does; nvirt has no
 * such call today.
 * @param text a constant string.
 */
NVIRT_NORETURN void nvirt_port_panic(const char *text);

NVIRT_END_DECLS

#endif
