// SPDX-License-Identifier: MIT
/*
 * L1's memory: slots of the process's address space. Nothing is pinned by being a slot; what the
 * kernel does to those pages reaches second-stage tables through the MMU notifier.
 *
 * A change (unmapping, swapping out, moving, write-protecting) goes through invalidate_range_start():
 * nvirt and stage2.c drop what they have of the range, and all vCPUs that may run on it are waited for.
 * Until invalidate_range_end() nothing is mapped there again. Slots do not change in between, and a slot that is
 * taken away is itself such a change: it is dropped everywhere while the notifier still knows it.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "nvl.h"
#include "nvl_trace.h"

struct extent {
	u64 first, last; /* in L1; first above last: none */
};

/* ---- looking up ---- */

bool nvl_memory_find(struct nvirt_port_vm *vm, u64 l1gpa, bool write, u64 *user, u64 *bytes)
{
	const struct nvl_slots *slots;
	bool found = false;
	int index = srcu_read_lock(&vm->srcu);
	u32 i;

	slots = srcu_dereference(vm->slots, &vm->srcu);
	for (i = 0; i < NVIRT_API_MAX_SLOTS; i++) {
		const struct nvl_slot *slot = &slots->slot[i];
		u64 offset = l1gpa - slot->address;

		if (l1gpa < slot->address || offset >= slot->bytes)
			continue;
		if ((write && !slot->writable) || (slot->apic && !nvl_has_apic_page))
			break;
		*user = slot->user + offset;
		*bytes = slot->bytes - offset;
		found = true;
		break;
	}
	srcu_read_unlock(&vm->srcu, index);
	return found;
}

bool nvl_memory_is_apic(const struct nvirt_port_vm *vm, u64 l1gpa)
{
	u64 page = READ_ONCE(vm->apic_page);

	return page != 0 && (l1gpa & PAGE_MASK) == page;
}

static enum nvirt_status get_page_at(u64 user, bool write, u64 *hpa)
{
	struct page *page;

	if (get_user_pages_fast(user, 1, write ? FOLL_WRITE : 0, &page) != 1)
		return NVIRT_ERR_NO_MAPPING;
	/* The guest's writes leave no trace in the process's page tables. */
	if (write)
		set_page_dirty_lock(page);
	*hpa = page_to_phys(page);
	put_page(page);
	return NVIRT_OK;
}

enum nvirt_status nvl_memory_page(struct nvirt_port_vm *vm, u64 l1gpa, bool write, u64 *hpa,
				  bool *writable)
{
	u64 user, bytes;

	/* Writable at once where it can be: a guest that reads a page often writes it next. */
	if (nvl_memory_find(vm, l1gpa, true, &user, &bytes) &&
	    get_page_at(user & PAGE_MASK, true, hpa) == NVIRT_OK) {
		*writable = true;
		return NVIRT_OK;
	}
	*writable = false;
	if (write || !nvl_memory_find(vm, l1gpa, false, &user, &bytes))
		return NVIRT_ERR_NO_MAPPING;
	return get_page_at(user & PAGE_MASK, false, hpa);
}

/* ---- changes ---- */

/* What of L1 lies in [start, end) of the process: everything between, for several slots. */
static struct extent extent_of(const struct nvl_slots *slots, u64 start, u64 end)
{
	struct extent extent = {U64_MAX, 0};
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_SLOTS; i++) {
		const struct nvl_slot *slot = &slots->slot[i];
		u64 from = max(start, slot->user);
		u64 to = min(end, slot->user + slot->bytes);

		if (from >= to)
			continue;
		extent.first = min(extent.first, slot->address + (from - slot->user));
		extent.last = max(extent.last, slot->address + (to - slot->user) - 1);
	}
	return extent;
}

/* nvirt keeps pointers to pinned pages while nothing changes: it is to look again. */
static void look_at_pins_again(struct nvirt_port_vm *vm, const struct extent *extent)
{
	struct nvl_pin *pin;
	bool touched = false;

	spin_lock(&vm->pin_lock);
	list_for_each_entry(pin, &vm->pins, list)
		touched |= pin->l1gpa >= (extent->first & PAGE_MASK) && pin->l1gpa <= extent->last;
	if (touched)
		atomic64_add(2, &vm->sequence);
	spin_unlock(&vm->pin_lock);
	if (touched)
		nvl_vm_request(vm, NVL_REQUEST_RELOAD);
}

static void begin_change(struct nvirt_port_vm *vm, const struct extent *extent, bool may_sleep)
{
	u64 bytes = extent->last - extent->first + 1;

	trace_nvirt_memory_change(extent->first, extent->last);
	preempt_disable();
	if (nvirt_vm_change_begin(&vm->nvirt, nvirt_l1gpa_make(extent->first), bytes) != NVIRT_OK)
		WARN_ON_ONCE(1);
	preempt_enable();
	look_at_pins_again(vm, extent);
	nvl_stage2_drop(vm, extent->first, bytes, may_sleep);
	/* For the requests of another change of these pages, too. */
	nvl_vm_wait_outside(vm);
}

/* What was pinned meanwhile may have been pinned where it is no more. */
static void end_change(struct nvirt_port_vm *vm, const struct extent *extent)
{
	look_at_pins_again(vm, extent);
	preempt_disable();
	if (nvirt_vm_change_end(&vm->nvirt) != NVIRT_OK)
		WARN_ON_ONCE(1);
	preempt_enable();
}

static void count_change(struct nvirt_port_vm *vm, int difference)
{
	spin_lock(&vm->stage2_lock);
	vm->changing += difference;
	if (difference < 0)
		vm->changes++;
	spin_unlock(&vm->stage2_lock);
}

static struct extent extent_locked(struct nvirt_port_vm *vm, const struct mmu_notifier_range *range)
{
	return extent_of(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->stage2_lock)),
			 range->start, range->end);
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct nvirt_port_vm *vm = container_of(notifier, struct nvirt_port_vm, notifier);
	struct extent extent;

	spin_lock(&vm->stage2_lock);
	vm->changing++;
	extent = extent_locked(vm, range);
	spin_unlock(&vm->stage2_lock);
	if (extent.first <= extent.last)
		begin_change(vm, &extent, mmu_notifier_range_blockable(range));
	return 0;
}

static void invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct nvirt_port_vm *vm = container_of(notifier, struct nvirt_port_vm, notifier);
	struct extent extent;

	spin_lock(&vm->stage2_lock);
	extent = extent_locked(vm, range);
	spin_unlock(&vm->stage2_lock);
	if (extent.first <= extent.last)
		end_change(vm, &extent);
	count_change(vm, -1);
}

/* The process dies while files of the VM may live on elsewhere. */
static void release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct nvirt_port_vm *vm = container_of(notifier, struct nvirt_port_vm, notifier);
	const struct extent all = {0, U64_MAX - 1};

	begin_change(vm, &all, false);
	end_change(vm, &all);
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
	.release = release,
};

/* ---- slots ---- */

static bool overlaps(const struct nvl_slots *slots, u32 number, u64 address, u64 bytes)
{
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_SLOTS; i++) {
		const struct nvl_slot *slot = &slots->slot[i];

		if (i != number && slot->bytes != 0 && address < slot->address + slot->bytes &&
		    slot->address < address + bytes)
			return true;
	}
	return false;
}

static int check(const struct nvirt_memory *a)
{
	const u64 limit = 1ULL << 48;

	if (a->slot >= NVIRT_API_MAX_SLOTS || a->reserved ||
	    (a->flags & ~(NVIRT_MEMORY_READONLY | NVIRT_MEMORY_APIC)))
		return -EINVAL;
	if ((a->flags & NVIRT_MEMORY_APIC) &&
	    (a->flags != NVIRT_MEMORY_APIC || a->bytes != PAGE_SIZE || a->address == 0))
		return -EINVAL;
	if ((a->address | a->bytes | a->user) & ~PAGE_MASK)
		return -EINVAL;
	if (a->bytes > limit || a->address > limit - a->bytes)
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)a->user, a->bytes))
		return -EFAULT;
	return 0;
}

/* A change of ours is under way, so nothing is mapped; `next` comes in place when there is no other. */
static bool try_exchange(struct nvirt_port_vm *vm, struct nvl_slots *next)
{
	bool done;

	spin_lock(&vm->stage2_lock);
	done = vm->changing == 1;
	if (done)
		rcu_assign_pointer(vm->slots, next);
	spin_unlock(&vm->stage2_lock);
	return done;
}

static int exchange_when_quiet(struct nvirt_port_vm *vm, struct nvl_slots *next)
{
	while (!try_exchange(vm, next)) {
		if (schedule_timeout_killable(1) && fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/*
 * What the slot had is dropped first, under the old slots: were it the other way round, pages that the process
 * unmaps in between would stay mapped here when they are free.
 */
static int exchange(struct nvirt_port_vm *vm, struct nvl_slots *old, struct nvl_slots *next,
		    u32 number)
{
	const struct nvl_slot *was = &old->slot[number];
	const struct extent extent = {was->address, was->address + was->bytes - 1};
	int error;

	count_change(vm, 1);
	if (was->bytes != 0) {
		begin_change(vm, &extent, true);
		nvl_stage2_prune(vm, was->address, was->bytes);
	}
	error = exchange_when_quiet(vm, next);
	if (!error)
		synchronize_srcu(&vm->srcu);
	if (was->bytes != 0)
		end_change(vm, &extent);
	count_change(vm, -1);
	return error;
}

static bool has_vcpus(const struct nvirt_port_vm *vm)
{
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_VCPUS; i++) {
		if (vm->vcpus[i])
			return true;
	}
	return false;
}

/* What speaks against the slot beside the others. */
static int compare(struct nvirt_port_vm *vm, const struct nvl_slots *slots, const struct nvirt_memory *a)
{
	bool was_apic = slots->slot[a->slot].apic;
	bool is_apic = a->flags & NVIRT_MEMORY_APIC;

	if (overlaps(slots, a->slot, a->address, a->bytes) ||
	    (is_apic && !was_apic && vm->apic_page != 0))
		return -EEXIST;
	return (was_apic || is_apic) && has_vcpus(vm) ? -EBUSY : 0;
}

/* vCPUs that run look at it without the lock: of them it stays what it was. */
static void note_apic(struct nvirt_port_vm *vm, const struct nvl_slots *slots)
{
	u64 page = 0;
	u32 i;

	for (i = 0; i < NVIRT_API_MAX_SLOTS; i++) {
		if (slots->slot[i].apic)
			page = slots->slot[i].address;
	}
	WRITE_ONCE(vm->apic_page, page);
}

int nvl_memory_set(struct nvirt_port_vm *vm, const struct nvirt_memory *a)
{
	struct nvl_slots *old, *next;
	int error = check(a);

	if (error)
		return error;
	next = kmalloc(sizeof(*next), GFP_KERNEL_ACCOUNT);
	if (!next)
		return -ENOMEM;
	mutex_lock(&vm->lock);
	old = rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->lock));
	*next = *old;
	error = compare(vm, old, a);
	if (!error) {
		next->slot[a->slot] = (struct nvl_slot){
			.address = a->address,
			.bytes = a->bytes,
			.user = a->user,
			.writable = !(a->flags & NVIRT_MEMORY_READONLY),
			.apic = a->flags & NVIRT_MEMORY_APIC,
		};
		error = exchange(vm, old, next, a->slot);
	}
	if (!error)
		note_apic(vm, next);
	mutex_unlock(&vm->lock);
	kfree(error ? next : old);
	return error;
}

int nvl_memory_init(struct nvirt_port_vm *vm)
{
	struct nvl_slots *slots = kzalloc(sizeof(*slots), GFP_KERNEL_ACCOUNT);
	int error;

	if (!slots)
		return -ENOMEM;
	RCU_INIT_POINTER(vm->slots, slots);
	error = init_srcu_struct(&vm->srcu);
	if (error)
		goto no_srcu;
	vm->notifier.ops = &notifier_ops;
	vm->mm = current->mm;
	mmgrab(vm->mm);
	error = mmu_notifier_register(&vm->notifier, vm->mm);
	if (error)
		goto no_notifier;
	return 0;

no_notifier:
	mmdrop(vm->mm);
	cleanup_srcu_struct(&vm->srcu);
no_srcu:
	kfree(slots);
	return error;
}

void nvl_memory_exit(struct nvirt_port_vm *vm)
{
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	mmdrop(vm->mm);
	cleanup_srcu_struct(&vm->srcu);
	kfree(rcu_dereference_protected(vm->slots, true));
}
