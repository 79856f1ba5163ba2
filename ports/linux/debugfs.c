// SPDX-License-Identifier: MIT
/*
 * debugfs: nvirt/PROCESS-NUMBER-vcpuN has the counters of one vCPU, "name value" a line. Read while the
 * vCPU runs they are of different moments.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "nvl.h"

#define CREATE_TRACE_POINTS
#include "nvl_trace.h"

static struct dentry *top;

static int stats_show(struct seq_file *file, void *unused)
{
	const struct nvl_vcpu *vcpu = file->private;
	const u64 *value = (const u64 *)nvl_backend->stats(vcpu);
	size_t i;

	for (i = 0; i < NVIRT_STATS_COUNT; i++)
		seq_printf(file, "%s %llu\n", nvirt_stats_name(i), READ_ONCE(value[i]));
	seq_printf(file, "branch_barriers %llu\n", READ_ONCE(vcpu->barriers));
	seq_printf(file, "stage2_pages %lu\n", READ_ONCE(vcpu->vm->stage2_pages));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

void nvl_debugfs_init(void)
{
	top = debugfs_create_dir("nvirt", NULL);
}

void nvl_debugfs_exit(void)
{
	debugfs_remove(top);
}

/* Removing a file waits for its readers. */
void nvl_debugfs_add(struct nvl_vcpu *vcpu)
{
	static atomic_t made = ATOMIC_INIT(0);
	char name[48];

	snprintf(name, sizeof(name), "%d-%d-vcpu%u", current->tgid, atomic_inc_return(&made),
		 vcpu->index);
	vcpu->debugfs = debugfs_create_file(name, 0400, top, vcpu, &stats_fops);
}

void nvl_debugfs_remove(struct nvl_vcpu *vcpu)
{
	debugfs_remove(vcpu->debugfs);
}
