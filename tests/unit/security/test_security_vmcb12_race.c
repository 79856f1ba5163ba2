/* SPDX-License-Identifier: MIT */
/*
 * vmcb12 changes while VMRUN looks at it (CVE-2021-29657). nvirt reads that page through a pointer,
 * where no fake port sees it, so the page is taken from the process: each instruction that
 * touches it faults, is executed as a single step, and after a chosen one another CPU of L1's has
 * rewritten the page. Every chosen one is tried, from bad contents to good and back.
 */
#define _GNU_SOURCE

#include "../nested/svm_world.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
#define FINE 48u /* Positions at the end of the run that are tried one by one. */

static struct {
    uint8_t *page;
    const struct nvirt_vmcb *next; /* Contents after the chosen access. */
    unsigned accesses;
    unsigned chosen;
} race;

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    uint8_t *address = info->si_addr;

    (void)number;
    if (race.page == NULL || address < race.page || address >= race.page + 4096) {
        abort();
    }
    mprotect(race.page, 4096, PROT_READ | PROT_WRITE);
    c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;

    (void)number;
    (void)info;
    c->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    if (++race.accesses == race.chosen) {
        memcpy(race.page, race.next, 4096);
    }
    mprotect(race.page, 4096, PROT_NONE);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), struct sigaction *old)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    assert_int_equal(sigaction(number, &action, old), 0);
}

/* The memory behind VMCB12 is @p data from now on. @return what it was. */
static uint8_t *swap_memory(struct world *w, uint8_t *data)
{
    for (uint32_t i = 0; i < w->port->l1_pages; i++) {
        if (w->port->l1_page[i].number == VMCB12 / 4096) {
            uint8_t *old = w->port->l1_page[i].data;

            w->port->l1_page[i].data = data;
            return old;
        }
    }
    return NULL;
}

/* VMRUN with a page that changes after the access number @p chosen. @return accesses made. */
static unsigned run_and_change(struct world *w, const struct nvirt_vmcb *first,
                               const struct nvirt_vmcb *then, unsigned chosen)
{
    static const uint8_t vmrun_bytes[] = {0x0f, 0x01, 0xd8};

    memcpy(race.page, first, 4096);
    race.next = then;
    race.accesses = 0;
    race.chosen = chosen;
    w->v->gif = true;
    w->vmcb01->rip = L1_RIP;
    w->vmcb01->rax = VMCB12;
    fake_vm_put(w->port, L1_RIP, vmrun_bytes, sizeof vmrun_bytes);
    prepare(w);
    mprotect(race.page, 4096, PROT_NONE);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
    mprotect(race.page, 4096, PROT_READ | PROT_WRITE);
    return race.accesses;
}

static void expect_what_was_checked(struct world *w)
{
    if (nvirt_svm_level(w->v) == 1) {
        return;
    }
    assert_int_equal(w->v->vmcb12.asid, 1);
    assert_true(nvirt_vmcb_intercepts(&w->v->vmcb12, NVIRT_SVM_EXIT_VMRUN));
    prepare(w);
    assert_int_equal(vmcb02(w)->efer & NVIRT_BIT(63), 0);
    assert_int_equal(vmcb02(w)->cr4 & NVIRT_BIT(63), 0);
    assert_int_equal(vmcb02(w)->dr6 >> 32, 0);
    assert_int_equal(vmcb02(w)->dr7 >> 32, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void sweep(struct world *w, const struct nvirt_vmcb *first, const struct nvirt_vmcb *then)
{
    unsigned total = run_and_change(w, first, then, 0);
    unsigned stride = total / FINE + 1;

    assert_true(total > 4);
    expect_what_was_checked(w);
    for (unsigned chosen = 1; chosen <= total + 1; chosen += chosen + FINE < total ? stride : 1) {
        (void)run_and_change(w, first, then, chosen);
        expect_what_was_checked(w);
    }
}

static void vmcb12_is_read_once_while_it_changes(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb good = good_vmcb12(), bad = good_vmcb12();
    struct sigaction old_fault, old_step;
    uint8_t *own;

    /* Each of these alone is a reason to refuse. */
    bad.asid = 0;
    memset(bad.intercepts, 0, sizeof bad.intercepts);
    bad.efer = bad.cr4 = bad.dr6 = bad.dr7 = NVIRT_BIT(63);
    race.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(race.page, MAP_FAILED);
    own = swap_memory(w, race.page);
    assert_non_null(own);
    handle(SIGSEGV, on_fault, &old_fault);
    handle(SIGTRAP, on_step, &old_step);
    sweep(w, &bad, &good);
    sweep(w, &good, &bad);
    assert_int_equal(sigaction(SIGSEGV, &old_fault, NULL), 0);
    assert_int_equal(sigaction(SIGTRAP, &old_step, NULL), 0);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    swap_memory(w, own);
    munmap(race.page, 4096);
    race.page = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(vmcb12_is_read_once_while_it_changes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
