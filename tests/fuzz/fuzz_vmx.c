/* SPDX-License-Identifier: MIT */
/*
 * A whole nested-VMX vCPU on the fake CPU. The input is a byte program of what L1, L2, the CPU and
 * the host do: VMX instructions with any operands, stores to whatever L1 controls, exits with any
 * fields, host calls in any order, failing pages and instructions. Before every entry the rules of
 * vmx_invariants.h must hold, no call may cost more than a bound, and at the end nothing is held.
 *
 * What the fake CPU leaves behind is what a CPU could leave: guest state that an entry would
 * accept, events that can be injected again. Everything L1 writes is arbitrary.
 */
#include "fuzz_vmx.h"

#ifdef FUZZ_EVMCS
#define STEPS 28u
#else
#define STEPS 24u
#endif

static struct fuzz fuzz;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return setenv("CMOCKA_TEST_ABORT", "1", 1); /* The world's own asserts abort. */
}

/* ---- the program ---- */

/* L1 as far as the input wants it before its program begins. */
static void prologue(struct fuzz *f)
{
    uint8_t how_far = u8(&f->in) % 4;
    uint8_t what = u8(&f->in);

    if (how_far >= 1) {
        insn(f, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    }
    if (how_far >= 2) {
        insn(f, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
        insn(f, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
        fill(f, what);
    }
#ifdef FUZZ_EVMCS
    evmcs_prologue(f, what);
#endif
    if (how_far >= 3) {
        insn(f, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    }
}

static void step(struct fuzz *f)
{
    struct input *in = &f->in;
    uint8_t op = u8(in) % STEPS;

    SAY("step %u\n", op);
    switch (op) {
    case 0: insn(f, NVIRT_VMX_EXIT_VMXON, addresses[choose(in, ADDRESSES)]); break;
    case 1: insn(f, NVIRT_VMX_EXIT_VMCLEAR, addresses[choose(in, ADDRESSES)]); break;
    case 2: insn(f, NVIRT_VMX_EXIT_VMPTRLD, addresses[choose(in, ADDRESSES)]); break;
    case 3: fill(f, u8(in)); break;
    case 4: insn(f, NVIRT_VMX_EXIT_VMLAUNCH, 0); break;
    case 5: insn(f, NVIRT_VMX_EXIT_VMRESUME, 0); break;
    case 6:
        if (flip(in)) {
            vmcs_access(f);
        } else {
            any_insn(f);
        }
        break;
    case 7:
    case 8: vmwrite(f); break;
    case 9: map(f); break;
    case 10: store(f); break;
    case 11: msr_list(f); break;
    case 12: any_exit(f); break;
    case 13: second_stage_fault(f); break;
    case 14: msr_access(f); break;
    case 15: guest_exit(f, NVIRT_VMX_EXIT_CR_ACCESS, take(in, 4), 1, 0); break;
    case 16:
        if (flip(in)) {
            vmfunc(f);
        } else {
            guest_exit(f, NVIRT_VMX_EXIT_CPUID, 0, 1, 0);
        }
        break;
    case 17: guest_state(f); break;
    case 18: inject(f); break;
    case 19: host_control(f); break;
    case 20: host_call(f); break;
    case 21:
        f->starved = true;
        disturb(f->w.port, in, addresses, ADDRESSES);
        break;
    case 22:
        if (u8(in) % 8 == 0) {
            cpu_failure(f);
        }
        break;
#ifdef FUZZ_EVMCS
    case 24:
    case 25:
    case 26:
    case 27: evmcs_step(f); break;
#endif
    default:
        if (flip(in)) {
            refuse_entry(f, flip(in), u8(in));
        } else {
            guest_exit(f, 0x80000000 | (33 + u8(in) % 9), u8(in), 0, 0);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = &fuzz;

    memset(f, 0, sizeof *f);
    f->in = (struct input){ data, data + size };
    make_world(f);
    prologue(f);
    for (uint32_t i = 0; i < MAX_STEPS && f->in.at != f->in.end && !f->over; i++) {
        step(f);
    }
    end_world(f);
    return 0;
}
