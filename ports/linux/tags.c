// SPDX-License-Identifier: MIT
/*
 * Hardware tags of translations, ASIDs and VPIDs: whoever is given some assumes that every CPU still holds translations
 * of the one before.
 */
#include "nvl.h"

/* What one vCPU may have of what is free: early ones are served well, and late ones find something. */
#define SHARE 3u

int nvl_tags_init(struct nvl_tags *tags, u32 count, u64 *words)
{
	mutex_init(&tags->lock);
	tags->free = count;
	return nvirt_tlb_tags_init(&tags->space, 1, count, words) == NVIRT_OK ? 0 : -EINVAL;
}

int nvl_tags_take(struct nvl_tags *tags, u32 *given, u32 least, u32 most)
{
	int count;

	mutex_lock(&tags->lock);
	count = clamp(tags->free / SHARE, least, most);
	if (nvirt_tlb_tags_take(&tags->space, given, count) == NVIRT_OK)
		tags->free -= count;
	else
		count = -ENOSPC;
	mutex_unlock(&tags->lock);
	return count;
}

void nvl_tags_give(struct nvl_tags *tags, const u32 *given, u32 count)
{
	mutex_lock(&tags->lock);
	nvirt_tlb_tags_give(&tags->space, given, count);
	tags->free += count;
	mutex_unlock(&tags->lock);
}
