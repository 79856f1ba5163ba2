// SPDX-License-Identifier: MIT
/*
 * The tables under which L1 runs: four levels, pages of 4 KiB, built on demand. NPT and EPT differ in
 * what a leaf says: no-execute is not used, so bits 2:0 mean present, writable, user in one and read,
 * write, execute in the other. [APM 2 "Nested Paging"] [SDM 3C "EPT Translation Mechanism"]
 */
#include <linux/gfp.h>

#include "nvl.h"

#define ENTRIES 512u
#define LEVELS 4u
#define ENTRY_PRESENT 1ULL
#define ENTRY_WRITE 2ULL
#define ENTRY_ALL 7ULL
#define ENTRY_ADDRESS 0x000ffffffffff000ULL
#define EPT_WRITE_BACK (6ULL << 3)
#define LIMIT (1ULL << 48)
#define PIECE (1ULL << 30) /* what a table of the second level maps */
#define TRIES 1000

/* Tables taken before the lock: one for each level below the root. */
struct spare {
	struct page *page[LEVELS - 1];
};

static u64 *table_of(u64 entry)
{
	return phys_to_virt(entry & ENTRY_ADDRESS);
}

static u32 index_of(u64 address, u32 level)
{
	return (address >> (12 + 9 * (level - 1))) % ENTRIES;
}

static struct page *new_table(void)
{
	return alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
}

int nvl_stage2_init(struct nvirt_port_vm *vm)
{
	vm->stage2_root = new_table();
	return vm->stage2_root ? 0 : -ENOMEM;
}

static void free_below(u64 *table, u32 level)
{
	u32 i;

	if (level == 1)
		return;
	for (i = 0; i < ENTRIES; i++) {
		if (table[i] == 0)
			continue;
		free_below(table_of(table[i]), level - 1);
		__free_page(virt_to_page(table_of(table[i])));
	}
}

/* No vCPU is left. What CPUs still hold goes by the ASID, or on VMX by the page of the root: whoever gets either flushes
 * at first use (make() in vcpu.c). */
void nvl_stage2_exit(struct nvirt_port_vm *vm)
{
	free_below(page_address(vm->stage2_root), LEVELS);
	__free_page(vm->stage2_root);
}

u64 nvl_stage2_root(const struct nvirt_port_vm *vm)
{
	return page_to_phys(vm->stage2_root);
}

/* ---- mapping ---- */

static int take_spare(struct spare *spare)
{
	u32 i;

	for (i = 0; i < LEVELS - 1; i++) {
		if (!spare->page[i])
			spare->page[i] = new_table();
		if (!spare->page[i])
			return -ENOMEM;
	}
	return 0;
}

static void free_spare(struct spare *spare)
{
	u32 i;

	for (i = 0; i < LEVELS - 1; i++) {
		if (spare->page[i])
			__free_page(spare->page[i]);
	}
}

static u64 leaf(u64 hpa, bool writable)
{
	u64 entry = hpa | (writable ? ENTRY_ALL : ENTRY_ALL & ~ENTRY_WRITE);

	return nvl_vendor == NVL_VMX ? entry | EPT_WRITE_BACK : entry;
}

static void map_locked(struct nvirt_port_vm *vm, struct spare *spare, u64 l1gpa, u64 entry)
{
	u64 *table = page_address(vm->stage2_root);
	u32 level;

	for (level = LEVELS; level > 1; level--) {
		u64 *slot = &table[index_of(l1gpa, level)];

		if (*slot == 0) {
			struct page *page = spare->page[level - 2];

			spare->page[level - 2] = NULL;
			vm->stage2_pages++;
			smp_store_release(slot, page_to_phys(page) | ENTRY_ALL);
		}
		table = table_of(*slot);
	}
	WRITE_ONCE(table[index_of(l1gpa, 1)], entry);
}

int nvl_stage2_fault(struct nvirt_port_vm *vm, u64 l1gpa, bool write)
{
	struct spare spare = {};
	u64 user, bytes;
	int error = -EFAULT;
	u32 tries;

	if (l1gpa >= LIMIT || !nvl_memory_find(vm, l1gpa, write, &user, &bytes))
		return -ENOENT;
	if (take_spare(&spare)) {
		free_spare(&spare);
		return -ENOMEM;
	}
	for (tries = 0; tries < TRIES && error; tries++) {
		unsigned long changes;
		bool writable, quiet;
		u64 hpa;

		spin_lock(&vm->stage2_lock);
		changes = vm->changes;
		spin_unlock(&vm->stage2_lock);
		if (nvl_memory_page(vm, l1gpa, write, &hpa, &writable) != NVIRT_OK)
			break;
		spin_lock(&vm->stage2_lock);
		quiet = vm->changing == 0 && vm->changes == changes;
		if (quiet) {
			map_locked(vm, &spare, l1gpa, leaf(hpa, writable));
			error = 0;
		}
		spin_unlock(&vm->stage2_lock);
		if (!quiet && (cond_resched(), fatal_signal_pending(current)))
			break;
	}
	free_spare(&spare);
	/* Still changing after so many tries: the guest faults again. */
	return tries == TRIES ? 0 : error;
}

/* ---- dropping ---- */

static bool drop_in(u64 *table, u32 level, u64 first, u64 last)
{
	u64 span = 1ULL << (12 + 9 * (level - 1));
	bool dropped = false;
	u64 at;

	for (at = first & ~(span - 1); at <= last; at += span) {
		u64 *slot = &table[index_of(at, level)];

		if (*slot == 0)
			continue;
		if (level == 1) {
			WRITE_ONCE(*slot, 0);
			dropped = true;
		} else {
			dropped |= drop_in(table_of(*slot), level - 1, max(first, at),
					   min(last, at + span - 1));
		}
	}
	return dropped;
}

/*
 * What is done under the lock at a time, with preemption off: what one table of the second level maps, or of the third
 * where it is missing. While a change is under way tables are added by nobody.
 */
static u64 end_of_piece(const struct nvirt_port_vm *vm, u64 at, u64 last)
{
	const u64 *root = page_address(vm->stage2_root);
	u64 piece = READ_ONCE(root[index_of(at, LEVELS)]) ? PIECE : PIECE * ENTRIES;

	return min(last, at | (piece - 1));
}

/*
 * The flushes are asked for before the lock is let go: a second change of the same page, which two threads may make at
 * once, finds nothing to drop, and must find the requests instead. Were it to find neither, the page would be free while
 * a vCPU still writes to it.
 */
static void drop_piece(struct nvirt_port_vm *vm, u64 first, u64 last)
{
	spin_lock(&vm->stage2_lock);
	if (drop_in(page_address(vm->stage2_root), LEVELS, first, last))
		nvl_vm_request(vm, NVL_REQUEST_FLUSH);
	spin_unlock(&vm->stage2_lock);
}

void nvl_stage2_drop(struct nvirt_port_vm *vm, u64 start, u64 bytes, bool may_sleep)
{
	u64 last = min(start + bytes - 1, LIMIT - 1), at, end;

	for (at = start; at <= last; at = end + 1) {
		end = end_of_piece(vm, at, last);
		drop_piece(vm, at, end);
		if (may_sleep)
			cond_resched();
	}
}

/* ---- tables that map nothing ---- */

/* Takes those in the range out of `table`, into the list. True: it maps nothing itself. */
static bool prune_in(struct nvirt_port_vm *vm, u64 *table, u32 level, u64 first, u64 last,
		     struct list_head *gone)
{
	u64 span = 1ULL << (12 + 9 * (level - 1));
	u64 at;

	for (at = first & ~(span - 1); level > 1 && at <= last; at += span) {
		u64 *slot = &table[index_of(at, level)];
		u64 *below = table_of(*slot);

		if (*slot == 0 ||
		    !prune_in(vm, below, level - 1, max(first, at), min(last, at + span - 1), gone))
			continue;
		WRITE_ONCE(*slot, 0);
		vm->stage2_pages--;
		list_add(&virt_to_page(below)->lru, gone);
	}
	return !memchr_inv(table, 0, PAGE_SIZE);
}

static void prune_piece(struct nvirt_port_vm *vm, u64 first, u64 last, struct list_head *gone)
{
	spin_lock(&vm->stage2_lock);
	(void)prune_in(vm, page_address(vm->stage2_root), LEVELS, first, last, gone);
	if (!list_empty(gone))
		nvl_vm_request(vm, NVL_REQUEST_FLUSH);
	spin_unlock(&vm->stage2_lock);
}

/* CPUs go on walking tables that they have cached the way to, until they flush: they are free after that. */
void nvl_stage2_prune(struct nvirt_port_vm *vm, u64 start, u64 bytes)
{
	u64 last = min(start + bytes - 1, LIMIT - 1), at, end;
	struct page *page, *next;
	LIST_HEAD(gone);

	for (at = start; at <= last; at = end + 1) {
		end = end_of_piece(vm, at, last);
		prune_piece(vm, at, end, &gone);
		cond_resched();
	}
	nvl_vm_wait_outside(vm);
	list_for_each_entry_safe(page, next, &gone, lru)
		__free_page(page);
}
