/* SPDX-License-Identifier: MIT */
/*
 * Linear addresses of an L2 that runs under NPT12: L2's own tables, each reached through NPT12.
 */
#include "npt/npt.h"

/* A walk under way and where it reports to. */
struct linear {
    struct nvirt_vm *vm;
    const struct nvi_npt_config *config;
    const struct nvi_mmu_key *key;
    struct nvi_npt_linear_out *out;
};

static enum nvi_npt_linear second_stage(const struct linear *linear, uint64_t l2gpa,
                                        uint32_t access, uint64_t place)
{
    struct nvi_npt_out walk;

    linear->out->l2gpa = nvirt_l2gpa_make(l2gpa);
    switch (nvi_npt_walk(linear->vm, linear->config, linear->key, linear->out->l2gpa, access,
                         &walk)) {
    case NVI_PAGING_OK:
        linear->out->l1gpa = walk.l1gpa;
        return NVI_NPT_LINEAR_OK;
    case NVI_PAGING_FAULT:
        linear->out->error_code = walk.error_code | place;
        return NVI_NPT_LINEAR_NPF;
    case NVI_PAGING_RETRY:
    case NVI_PAGING_NO_MEMORY:
        break;
    }
    return NVI_NPT_LINEAR_RETRY;
}

static uint32_t final_access(uint32_t access)
{
    if ((access & NVI_PAGING_EXECUTE) != 0)
        return NVIRT_ACCESS_READ | NVIRT_ACCESS_EXECUTE;
    return NVIRT_ACCESS_READ | ((access & NVI_PAGING_WRITE) != 0 ? NVIRT_ACCESS_WRITE : 0);
}

/* @return LINEAR_OK with *changed telling whether to begin again. */
static enum nvi_npt_linear walk_once(const struct linear *linear, const struct nvi_paging *mode,
                                     uint64_t gva, uint32_t access, bool *changed)
{
    /* At the nested level every access to a table of L2's is a user write. */
    const uint32_t table_access = NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE;
    struct nvi_paging_steps steps;
    struct nvi_paging_out page;
    enum nvi_paging_progress progress = nvi_paging_begin(&steps, mode, gva, access, &page);
    enum nvi_npt_linear result;

    *changed = false;
    while (progress == NVI_PAGING_NEXT) {
        result = second_stage(linear, steps.entry_address, table_access, NVI_NPF_TABLE);
        if (result != NVI_NPT_LINEAR_OK)
            return result;
        progress = nvi_paging_step(linear->vm, &steps, linear->out->l1gpa);
    }
    if (progress == NVI_PAGING_DONE)
        progress = nvi_paging_commit(linear->vm, &steps);
    if (progress == NVI_PAGING_FAULTED) {
        linear->out->error_code = page.error_code;
        return NVI_NPT_LINEAR_PAGE_FAULT;
    }
    if (progress == NVI_PAGING_CHANGED) {
        *changed = true;
        return NVI_NPT_LINEAR_OK;
    }
    return second_stage(linear, page.address, final_access(access), NVI_NPF_FINAL);
}

enum nvi_npt_linear nvi_npt_l2_linear(struct nvirt_vm *vm, const struct nvi_npt_config *config,
                                      const struct nvi_mmu_key *key,
                                      const struct nvi_paging *mode, uint64_t gva, uint32_t access,
                                      struct nvi_npt_linear_out *out)
{
    struct linear linear = { .vm = vm, .config = config, .key = key, .out = out };
    uint32_t attempt;

    for (attempt = 0; attempt <= NVI_PAGING_MAX_RESTARTS; attempt++) {
        bool changed;
        enum nvi_npt_linear result = walk_once(&linear, mode, gva, access, &changed);

        if (!changed)
            return result;
    }
    return NVI_NPT_LINEAR_RETRY;
}
