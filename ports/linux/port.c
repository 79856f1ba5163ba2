// SPDX-License-Identifier: MIT
/*
 * The cold tier of nvirt's port (include/nvirt/port.h). Called with preemption off and a vCPU running;
 * what must sleep says so by nvl_sleep_begin(), and nvirt holds no lock there.
 */
#include <linux/gfp.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/msr.h>

#include "nvl.h"
#include "nvl_trace.h"
#include "vmx.h"

/* ---- sleeping inside nvirt ---- */

void nvl_note_current_vmcs(struct nvirt_port_cpu *cpu, uint64_t vmcs)
{
	cpu->current_vmcs = vmcs;
}

void nvl_note_cleared_vmcs(struct nvirt_port_cpu *cpu, uint64_t vmcs)
{
	if (cpu->current_vmcs == vmcs)
		cpu->current_vmcs = 0;
}

struct nvl_sleep {
	struct nvl_vcpu *vcpu;
	u64 vmcs;
};

static struct nvl_sleep sleep_begin(void)
{
	struct nvirt_port_cpu *cpu = nvl_this_cpu();
	struct nvl_sleep sleep = {cpu->running, cpu->current_vmcs};

	cpu->running = NULL;
	preempt_enable();
	return sleep;
}

/* The same CPU, but another thread may have been here. A vCPU that is made or ended is not held. */
static void sleep_end(const struct nvl_sleep *sleep)
{
	struct nvirt_port_cpu *cpu;

	preempt_disable();
	cpu = nvl_this_cpu();
	cpu->running = sleep->vcpu;
	if (sleep->vcpu && nvl_vendor == NVL_VMX)
		nvl_vmx_resume(sleep->vcpu, cpu, sleep->vmcs);
}

/* Only the process whose memory it is can be asked for it. */
static bool has_memory(const struct nvirt_port_vm *vm)
{
	return current->mm == vm->mm;
}

/* ---- pages ---- */

enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page)
{
	struct page *got = NULL;

	spin_lock(&vm->reserve_lock);
	if (!list_empty(&vm->reserve)) {
		got = list_first_entry(&vm->reserve, struct page, lru);
		list_del(&got->lru);
		vm->reserved--;
	}
	spin_unlock(&vm->reserve_lock);
	if (!got)
		got = alloc_page(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT);
	if (!got)
		return NVIRT_ERR_NO_PAGE;
	*page = nvirt_hpa_make(page_to_phys(got));
	return NVIRT_OK;
}

void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page)
{
	__free_page(pfn_to_page(page.value >> PAGE_SHIFT));
}

void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page)
{
	return phys_to_virt(page.value);
}

/* ---- translation, pins ---- */

uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm)
{
	return (uint64_t)atomic64_read_acquire(&vm->sequence);
}

/* A change that comes between looking and installing is told to nvirt by nvirt_vm_change_begin(). */
enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
				       uint32_t access, struct nvirt_translation *out)
{
	uint64_t sequence = nvirt_port_sequence(vm);
	enum nvirt_status status;
	struct nvl_sleep sleep;
	bool writable = false;
	u64 hpa = 0;

	if (!has_memory(vm))
		return NVIRT_ERR_NO_MAPPING;
	sleep = sleep_begin();
	status = nvl_memory_page(vm, address.value, access & NVIRT_ACCESS_WRITE, &hpa, &writable);
	sleep_end(&sleep);
	if (status != NVIRT_OK)
		return status;
	*out = (struct nvirt_translation){
		.hpa = nvirt_hpa_make(hpa | (address.value & ~PAGE_MASK)),
		.size = PAGE_SIZE,
		.rights = NVIRT_ACCESS_READ | NVIRT_ACCESS_EXECUTE |
			  (writable ? NVIRT_ACCESS_WRITE : 0),
		.memory_type = NVIRT_MEMORY_WB,
		.sequence = sequence,
	};
	return NVIRT_OK;
}

static bool get_pinned(struct nvirt_port_vm *vm, u64 l1gpa, bool write, struct page **page)
{
	u64 user, bytes;

	return nvl_memory_find(vm, l1gpa, write, &user, &bytes) &&
	       pin_user_pages_fast(user, 1, FOLL_LONGTERM | (write ? FOLL_WRITE : 0), page) == 1;
}

/*
 * A pin is in the list first, so that a change that comes while the page is being pinned is seen; it has its page when
 * all is done. Until then it is nobody's to find: another vCPU may end a pin of the same page meanwhile, and
 * pin_user_pages_fast() itself may write a page that it then gives up for another, out of memory that can move.
 */
static bool pin_listed(struct nvirt_port_vm *vm, struct nvl_pin *pin, bool write)
{
	struct page *page = NULL;
	bool pinned = get_pinned(vm, pin->l1gpa, write, &page);

	spin_lock(&vm->pin_lock);
	if (pinned)
		pin->page = page;
	else
		list_del(&pin->list);
	spin_unlock(&vm->pin_lock);
	return pinned;
}

enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page, uint32_t access,
				 nvirt_hpa *hpa)
{
	enum nvirt_status status = NVIRT_ERR_NO_MAPPING;
	struct nvl_sleep sleep;
	struct nvl_pin *pin;

	if (!has_memory(vm))
		return status;
	sleep = sleep_begin();
	pin = kzalloc(sizeof(*pin), GFP_KERNEL_ACCOUNT);
	if (pin) {
		pin->l1gpa = page.value;
		spin_lock(&vm->pin_lock);
		list_add(&pin->list, &vm->pins);
		spin_unlock(&vm->pin_lock);
		if (pin_listed(vm, pin, access & NVIRT_ACCESS_WRITE)) {
			*hpa = nvirt_hpa_make(page_to_phys(pin->page));
			status = NVIRT_OK;
		} else {
			kfree(pin);
		}
	}
	sleep_end(&sleep);
	return status;
}

/* Pins of one page are alike: any of them may be the one that ends. */
static struct nvl_pin *find_pin(struct nvirt_port_vm *vm, u64 l1gpa, u64 hpa)
{
	struct nvl_pin *pin;

	list_for_each_entry(pin, &vm->pins, list) {
		if (pin->page && pin->l1gpa == l1gpa && page_to_phys(pin->page) == hpa)
			return pin;
	}
	return NULL;
}

/* A page of a file may be made dirty under its lock only, which is slept for: nvl_pins_end() does it. */
void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written)
{
	struct nvl_pin *pin;

	spin_lock(&vm->pin_lock);
	pin = find_pin(vm, page.value, hpa.value);
	if (pin && written)
		list_move(&pin->list, &vm->written);
	else if (pin)
		list_del(&pin->list);
	spin_unlock(&vm->pin_lock);
	if (WARN_ON_ONCE(!pin) || written)
		return;
	unpin_user_page(pin->page);
	kfree(pin);
}

void nvl_pins_end(struct nvirt_port_vm *vm)
{
	struct nvl_pin *pin, *next;
	LIST_HEAD(ended);

	if (list_empty_careful(&vm->written))
		return;
	spin_lock(&vm->pin_lock);
	list_splice_init(&vm->written, &ended);
	spin_unlock(&vm->pin_lock);
	list_for_each_entry_safe(pin, next, &ended, list) {
		unpin_user_pages_dirty_lock(&pin->page, 1, true);
		kfree(pin);
	}
}

/* ---- memory of L1 ---- */

/*
 * One access to the process's memory, of at most what is left of a page. Aligned words of 4 and 8
 * bytes are single accesses. Returns false on a fault: page faults may be off.
 */
static bool read_piece(void *to, u64 user, size_t bytes)
{
	const void __user *from = (const void __user *)(unsigned long)user;

	if (bytes == 8 && user % 8 == 0) {
		u64 word;

		if (__get_user(word, (const u64 __user *)from))
			return false;
		memcpy(to, &word, sizeof(word));
		return true;
	}
	if (bytes == 4 && user % 4 == 0) {
		u32 word;

		if (__get_user(word, (const u32 __user *)from))
			return false;
		memcpy(to, &word, sizeof(word));
		return true;
	}
	return __copy_from_user_inatomic(to, from, bytes) == 0;
}

static bool write_piece(u64 user, const void *from, size_t bytes)
{
	void __user *to = (void __user *)(unsigned long)user;

	if (bytes == 8 && user % 8 == 0) {
		u64 word;

		memcpy(&word, from, sizeof(word));
		return __put_user(word, (u64 __user *)to) == 0;
	}
	if (bytes == 4 && user % 4 == 0) {
		u32 word;

		memcpy(&word, from, sizeof(word));
		return __put_user(word, (u32 __user *)to) == 0;
	}
	return __copy_to_user_inatomic(to, from, bytes) == 0;
}

static size_t piece_of(u64 l1gpa, size_t bytes)
{
	return min_t(size_t, bytes, PAGE_SIZE - (l1gpa & ~PAGE_MASK));
}

/* With page faults off first; when the page is not there, again where the fault may sleep. A piece
 * that is read again was not used the first time. */
static bool read_page(u64 user, void *to, size_t bytes)
{
	struct nvl_sleep sleep;
	bool done;

	pagefault_disable();
	done = read_piece(to, user, bytes);
	pagefault_enable();
	if (done)
		return true;
	sleep = sleep_begin();
	done = read_piece(to, user, bytes);
	sleep_end(&sleep);
	return done;
}

enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from, void *to,
				     size_t bytes)
{
	u64 at = from.value;
	u8 *place = to;

	if (!has_memory(vm))
		return NVIRT_ERR_NO_MAPPING;
	while (bytes > 0) {
		size_t piece = piece_of(at, bytes);
		u64 user, room;

		if (!nvl_memory_find(vm, at, false, &user, &room) || !read_page(user, place, piece))
			return NVIRT_ERR_NO_MAPPING;
		at += piece;
		place += piece;
		bytes -= piece;
	}
	return NVIRT_OK;
}

static bool fault_in(u64 user, size_t bytes)
{
	struct nvl_sleep sleep = sleep_begin();
	bool present = fault_in_safe_writeable((char __user *)(unsigned long)user, bytes) == 0;

	sleep_end(&sleep);
	return present;
}

/* Nothing may be written when any of it cannot be. */
static bool all_writable(struct nvirt_port_vm *vm, u64 at, size_t bytes)
{
	while (bytes > 0) {
		size_t piece = piece_of(at, bytes);
		u64 user, room;

		if (!nvl_memory_find(vm, at, true, &user, &room) || !fault_in(user, piece))
			return false;
		at += piece;
		bytes -= piece;
	}
	return true;
}

static bool write_page(u64 user, const void *from, size_t bytes)
{
	struct nvl_sleep sleep;
	bool done;

	pagefault_disable();
	done = write_piece(user, from, bytes);
	pagefault_enable();
	if (done)
		return true;
	sleep = sleep_begin();
	done = write_piece(user, from, bytes);
	sleep_end(&sleep);
	return done;
}

enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to, const void *from,
				      size_t bytes)
{
	const u8 *place = from;
	u64 at = to.value;

	if (!has_memory(vm))
		return NVIRT_ERR_NO_MAPPING;
	if (piece_of(at, bytes) < bytes && !all_writable(vm, at, bytes))
		return NVIRT_ERR_NO_MAPPING;
	while (bytes > 0) {
		size_t piece = piece_of(at, bytes);
		u64 user, room;

		if (!nvl_memory_find(vm, at, true, &user, &room) || !write_page(user, place, piece))
			return NVIRT_ERR_NO_MAPPING;
		at += piece;
		place += piece;
		bytes -= piece;
	}
	return NVIRT_OK;
}

/* 0 whether or not the words were exchanged. */
static int exchange_word(u64 user, size_t bytes, u64 *expected, u64 desired)
{
	u32 had = (u32)*expected;
	int done;

	if (bytes == 8) {
		u64 __user *word = (u64 __user *)(unsigned long)user;

		return __try_cmpxchg_user(word, expected, desired, fault_8) < 0 ? -EFAULT : 0;
	}
	done = __try_cmpxchg_user((u32 __user *)(unsigned long)user, &had, (u32)desired, fault_4);
	if (done >= 0)
		*expected = had;
	return done < 0 ? -EFAULT : 0;
}

enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm, nvirt_l1gpa word,
						 size_t bytes, uint64_t *expected,
						 uint64_t desired)
{
	u64 user, room;
	int error;

	if ((bytes != 4 && bytes != 8) || word.value % bytes != 0 || !has_memory(vm) ||
	    !nvl_memory_find(vm, word.value, true, &user, &room))
		return NVIRT_ERR_NO_MAPPING;
	pagefault_disable();
	error = exchange_word(user, bytes, expected, desired);
	pagefault_enable();
	if (error) {
		struct nvl_sleep sleep = sleep_begin();

		error = exchange_word(user, bytes, expected, desired);
		sleep_end(&sleep);
	}
	return error ? NVIRT_ERR_NO_MAPPING : NVIRT_OK;
}

/* ---- a CPU's translations ---- */

/* In the engine's eyes a CPU begins with nothing cached.
 * [SDM 3C "Guidelines for Use of the INVVPID Instruction"] */
void nvl_vmx_forget_translations(struct nvirt_port_cpu *cpu, u64 ept_vpid_cap)
{
	if (ept_vpid_cap & NVIRT_VMX_EPT_CAP_INVEPT_ALL)
		(void)(nvirt_port_invept(cpu, NVIRT_VMX_INVEPT_ALL, 0) == NVIRT_HW_OK);
	if (ept_vpid_cap & NVIRT_VMX_VPID_CAP_ALL)
		(void)(nvirt_port_invvpid(cpu, NVIRT_VMX_INVVPID_ALL, 0, nvirt_gva_make(0)) ==
		       NVIRT_HW_OK);
}

/* ---- MSRs, other CPUs, messages ---- */

enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t msr, uint64_t *value)
{
	u64 read;

	if (rdmsrq_safe(msr, &read))
		return NVIRT_HW_GP;
	*value = read;
	return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t msr, uint64_t value)
{
	return wrmsrq_safe(msr, value) ? NVIRT_HW_GP : NVIRT_HW_OK;
}

/* L1 is shown no protection keys (cpuid.c), so it cannot set CR4.PKE. */
uint32_t nvirt_port_l1_pkru(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu)
{
	return 0;
}

/* L1 is offered no interface of Hyper-V's. */
enum nvirt_status nvirt_port_xmm(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu, uint8_t *xmm)
{
	return NVIRT_ERR_STATE;
}

enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
				      uint32_t msr, uint64_t *value)
{
	return nvl_msr_read(cpu->running, msr, value) ? NVIRT_OK : NVIRT_ERR_RANGE;
}

enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm, struct nvirt_port_cpu *cpu,
				      uint32_t msr, uint64_t value)
{
	return nvl_msr_write(cpu->running, msr, value) ? NVIRT_OK : NVIRT_ERR_RANGE;
}

void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index)
{
	nvl_vcpu_request(vm, vcpu_index, NVL_REQUEST_RELOAD);
}

void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value)
{
	trace_nvirt_message(text, value);
}

void nvirt_port_panic(const char *text)
{
	panic("nvirt: %s\n", text);
}
