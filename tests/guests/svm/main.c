/* SPDX-License-Identifier: MIT */
/*
 * l1-svm: a small AMD SVM hypervisor whose only work is to check, line by line, that the CPU it
 * runs on behaves as [APM 2 "Secure Virtual Machine"] says: an emulated CPU, or nvirt's virtual
 * one. Both print the same lines; a comparison of the two logs is the test.
 */
#include "cpu.h"
#include "l2.h"
#include "subjects.h"
#include "t.h"

static bool cpu_has_svm(void)
{
    return rt_cpuid(0x80000000, 0).eax >= 0x8000000a && ((rt_cpuid(0x80000001, 0).ecx >> 2) & 1);
}

static bool has_word(const char *line, const char *word)
{
    size_t n = strlen(word);

    for (; *line != '\0'; line++) {
        if (strncmp(line, word, n) == 0) {
            return true;
        }
    }
    return false;
}

void rt_main(uint32_t magic, uint32_t mbi)
{
    const struct rt_mb_info *info = (const struct rt_mb_info *)(uintptr_t)mbi;

    if (magic == RT_MB_MAGIC && (info->flags & RT_MB_CMDLINE) != 0) {
        t_verbose(has_word((const char *)(uintptr_t)info->cmdline, "verbose"));
    }
    rt_printf("l1-svm on %s\n", cpu_is_qemu() ? "QEMU" : cpu_is_bochs() ? "Bochs" : "a CPU");
    t_group("start", NULL);
    if (!cpu_has_svm()) {
        t_fatal("this CPU has no SVM", 0, 0, 0);
    }
    cpu_init();
    t_check("npt", NULL, cpu_has_npt());
    t_check("asids", NULL, rt_cpuid(0x8000000a, 0).ebx >= 8);
#define X(name) name();
    SVM_SUBJECTS(X)
#undef X
    t_finish();
}
