/* SPDX-License-Identifier: MIT */
/*
 * What the files of the nested-VMX state machine share beside the vCPU object: one section of
 * prototypes per file. Nothing here is for anyone outside src/nested/vmx_*.c and their tests.
 *
 * Conventions. While a call of the host's is under way, v->cpu is the CPU it runs on. A hardware
 * instruction that fails although it must not is recorded once in v->error, the value read is then
 * 0, and the call returns NVIRT_ERR_HARDWARE at its end: no path ends as if nothing had happened,
 * and none needs a check per VMREAD.
 */
#ifndef NVI_NESTED_VMX_INTERNAL_H
#define NVI_NESTED_VMX_INTERNAL_H

#include "nested/vmx_vcpu.h"

/* ---- vmx_hw.c: the only file that executes VMX instructions ---- */

/** Reads a stale field from hardware. */
uint64_t nvi_hw_get_stale(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field);

/** A field as hardware has it now, or as it will be written. Most are known: no call then. */
static inline uint64_t nvi_hw_get(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                                  enum nvirt_vmcs_field field)
{
    const struct nvi_hw_vmcs *hw = v->hw[which];

    return nvi_field_has(&hw->stale, (uint32_t)field) ? nvi_hw_get_stale(v, which, field)
                                                      : hw->image.field[field];
}

void nvi_hw_set_differing(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field, uint64_t value);

/** Gives a field a value. Most have it: no call then. */
static inline void nvi_hw_set(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                              enum nvirt_vmcs_field field, uint64_t value)
{
    const struct nvi_hw_vmcs *hw = v->hw[which];

    if (nvi_field_has(&hw->stale, (uint32_t)field) || hw->image.field[field] != value) {
        nvi_hw_set_differing(v, which, field, value);
    }
}

/** Takes the lowest bit out of a word that is not 0. @return its number. */
static inline uint32_t nvi_take_lowest(uint64_t *word)
{
    uint32_t bit = (uint32_t)__builtin_ctzll(*word);

    *word &= *word - 1;
    return bit;
}
/** Fetches those of @p set that are stale. */
void nvi_hw_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvi_field_set *set);
/** Makes the image equal to @p next in the fields of @p set. */
void nvi_hw_replace(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvirt_vmcs *next,
                    const struct nvi_field_set *set);
/** Fetches from vmcs02 what every exit to L1 looks at (v->flow). */
void nvi_hw_fetch_flow(struct nvirt_vmx_vcpu *v);
/** Fetches from vmcs01 what VMLAUNCH and VMRESUME look at, if none of it is known. */
void nvi_hw_fetch_for_entry(struct nvirt_vmx_vcpu *v);
/** Fetches from the shadow VMCS what L1 writes there and each entry looks at. */
void nvi_hw_fetch_shadow(struct nvirt_vmx_vcpu *v);
/** The fields of v->block have been given values in the image of vmcs01 itself. */
void nvi_hw_block_changed(struct nvirt_vmx_vcpu *v);
/** Copies the fields of v->block out of @p image. */
void nvi_hw_block_copy(const struct nvirt_vmcs *image, uint64_t block[NVI_BLOCK_FIELDS]);
/** Gives the image of vmcs01 those values, to be written. */
void nvi_hw_block_restore(struct nvirt_vmx_vcpu *v, const uint64_t block[NVI_BLOCK_FIELDS]);

/** The same for one field, which the image knew as @p before if at all: written only if it differs. */
static inline void nvi_hw_changed_from(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                                       enum nvirt_vmcs_field field, uint64_t before)
{
    struct nvi_hw_vmcs *hw = v->hw[which];

    if (nvi_field_has(&hw->stale, (uint32_t)field) || hw->image.field[field] != before) {
        nvi_field_remove(&hw->stale, (uint32_t)field);
        nvi_field_add(&hw->dirty, (uint32_t)field);
    }
}
/** Where EFER is known, IA-32e-mode guest is: an exit stores LMA there [SDM 3C "Recording VM-Exit
 *  Information and Updating VM-entry Control Fields"]. */
void nvi_hw_follow_lma(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** Gives a read-only field its value of an earlier exit: it reads so until the next one. */
void nvi_hw_know(struct nvirt_vmx_vcpu *v, enum nvi_which which, enum nvirt_vmcs_field field,
                 uint64_t value);
/** Makes it current and writes what is dirty. */
void nvi_hw_commit(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** The VMCS that ran has exited, or its entry failed, for @p reason: notes what that changed. */
void nvi_hw_exited(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason);
/** From here on hardware may hold what an exit leaves, as far as the image knows. */
void nvi_hw_distrust(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** Records a VMREAD that hardware refused. */
void nvi_hw_read_failed(struct nvirt_vmx_vcpu *v, uint32_t encoding);
/** VMCLEARs every VMCS that is active. */
void nvi_hw_clear_all(struct nvirt_vmx_vcpu *v);
/** The value of a field of @p hw, whichever VMCS that is. */
uint64_t nvi_hw_read(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw, uint32_t field);
/** Carries out what is due on CPU @p cpu of the flush engine, and tells it. */
void nvi_hw_flush(struct nvirt_vmx_vcpu *v, const struct nvirt_flush_set *set, uint32_t cpu);
/** The VM-instruction error of the VMCS that is current, for a failed entry. */
uint32_t nvi_hw_instruction_error(struct nvirt_vmx_vcpu *v);
void nvi_hw_field_sets(struct nvirt_vmx_vcpu *v);

#define NVI_GET01(v, NAME) nvi_hw_get((v), NVI_01, NVIRT_VMCS_##NAME)
#define NVI_GET02(v, NAME) nvi_hw_get((v), NVI_02, NVIRT_VMCS_##NAME)
#define NVI_SET01(v, NAME, value) nvi_hw_set((v), NVI_01, NVIRT_VMCS_##NAME, (value))
#define NVI_SET02(v, NAME, value) nvi_hw_set((v), NVI_02, NVIRT_VMCS_##NAME, (value))

/** The VMCS of the level that runs. */
static inline enum nvi_which nvi_vmx_running(const struct nvirt_vmx_vcpu *v)
{
    return v->level == 2 ? NVI_02 : NVI_01;
}

#define NVI_GET(v, NAME) nvi_hw_get((v), nvi_vmx_running(v), NVIRT_VMCS_##NAME)
#define NVI_SET(v, NAME, value) nvi_hw_set((v), nvi_vmx_running(v), NVIRT_VMCS_##NAME, (value))

/** The preemption timer is the host's, at both levels. */
static inline bool nvi_vmx_l0_has_timer(const struct nvirt_vmx_vcpu *v)
{
    return (v->hw[NVI_01]->image.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0;
}

/** IA32_PERF_GLOBAL_CTRL of both levels is loaded from vmcs01's field. */
static inline bool nvi_vmx_l0_has_counters(const struct nvirt_vmx_vcpu *v)
{
    return (v->hw[NVI_01]->image.entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL) != 0;
}

/** An exit with nothing more to tell. Member by member: a copy of the whole would be a loop. */
static inline void nvi_vmx_tell(struct nvirt_vmx_exit *exit, enum nvirt_verdict verdict,
                                uint32_t level, uint32_t reason)
{
    exit->verdict = verdict;
    exit->level = level;
    exit->reason = reason;
    exit->qualification = 0;
    exit->interruption = 0;
    exit->l1gpa = nvirt_l1gpa_make(0);
    exit->branch_barrier = false;
}

/* ---- vmx_run.c: the general way of the calls that vmx_fast.c begins ---- */

/**
 * Sets up the context of a call. A vCPU may be used on one CPU at a time, and on another only after
 * nvirt_vmx_leave_cpu(). @return NVIRT_OK, NVIRT_ERR_NULL or NVIRT_ERR_STATE.
 */
NVIRT_NODISCARD static inline enum nvirt_status nvi_vmx_begin(struct nvirt_vmx_vcpu *v,
                                                              struct nvirt_port_cpu *cpu)
{
    if (v == NULL || cpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (v->magic != NVI_VMX_MAGIC || (v->home != NULL && v->home != cpu)) {
        return NVIRT_ERR_STATE;
    }
    v->cpu = cpu;
    v->error = NVIRT_OK;
    return NVIRT_OK;
}
/** The same for a look at the level that ran, between an exit and the next prepare; binds. */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_look(struct nvirt_vmx_vcpu *v,
                                               struct nvirt_port_cpu *cpu);
NVIRT_NOINLINE NVIRT_NODISCARD enum nvirt_status nvi_vmx_prepare_any(struct nvirt_vmx_vcpu *vcpu,
                                                      struct nvirt_port_cpu *cpu,
                                                      struct nvirt_vmx_run *run);
NVIRT_NOINLINE NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_any(struct nvirt_vmx_vcpu *v,
                                                   struct nvirt_gprs *gprs,
                                                   struct nvirt_vmx_exit *exit, uint32_t reason);
/** The same from where it is noted what hardware changed. */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_noted(struct nvirt_vmx_vcpu *v,
                                                     struct nvirt_gprs *gprs,
                                                     struct nvirt_vmx_exit *exit, uint32_t reason);
NVIRT_NOINLINE NVIRT_NODISCARD enum nvirt_status nvi_vmx_skip_any(struct nvirt_vmx_vcpu *vcpu,
                                                   struct nvirt_port_cpu *cpu);

/* ---- vmx_vcpu.c ---- */

/** Drops the pins of vmcs12's pages. */
void nvi_vmx_unpin_all(struct nvirt_vmx_vcpu *v);
/** Drops those on one page, whose address vmcs02 then must be rid of before it runs. */
void nvi_vmx_unpin_page(struct nvirt_vmx_vcpu *v, uint64_t page);
/** Keeps a page of L1's; L2 is not running. @return false when there is no memory. */
bool nvi_vmx_pin_page(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page);
/** Gives it back, if it is kept. */
void nvi_vmx_unpin(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin);

/* ---- vmx_event.c ---- */

/** Queues an exception for the level that runs. */
void nvi_vmx_raise(struct nvirt_vmx_vcpu *v, uint8_t vector);
void nvi_vmx_raise_error(struct nvirt_vmx_vcpu *v, uint8_t vector, uint32_t error_code);
void nvi_vmx_raise_page_fault(struct nvirt_vmx_vcpu *v, uint32_t error_code, uint64_t address);
/** Completes the instruction that exited, at the level that runs. */
void nvi_vmx_skip(struct nvirt_vmx_vcpu *v);
/** Gives the running level the exception that its last exit was for. */
void nvi_vmx_reinject(struct nvirt_vmx_vcpu *v);
/** An event whose delivery the exit interrupted is delivered again at the next entry. */
void nvi_vmx_redeliver(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                       uint32_t interruption);
/** Turns waiting events into injections, exits to L1, or windows. Right before an entry. */
void nvi_vmx_deliver(struct nvirt_vmx_vcpu *v);
/** Forgets nvirt's forced exit after any exit of L2. */
void nvi_vmx_forced_exit_done(struct nvirt_vmx_vcpu *v);

static inline bool nvi_vmx_nothing_waits(const struct nvirt_vmx_vcpu *v)
{
    const struct nvi_pending *p = &v->pending;

    return !p->exception.waiting && !p->nmi && !p->interrupt && !p->mtf && !p->init;
}

static inline bool nvi_vmx_is_canonical(const struct nvirt_vmx_vcpu *v, uint64_t address)
{
    return nvi_vmx_canonical(address, v->offer.cpu.linear_bits);
}

/** L2 has an exception or NMI to take now: it leaves for L1, or has it in its slot.
 *  @return true when the NMI is blocked. */
void nvi_vmx_deliver_exception(struct nvirt_vmx_vcpu *v);
bool nvi_vmx_deliver_nmi(struct nvirt_vmx_vcpu *v);
/** Leaves L2 for a reason that has no more to tell than a qualification. */
void nvi_vmx_leave_for(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification);

/* ---- vmx_switched_msr.c ---- */

/** L1 is offered controls that switch MSRs outside the VMCS: of entries, of exits, or of both. */
static inline bool nvi_vmx_switches_msrs(const struct nvirt_vmx_vcpu *v)
{
    const uint64_t entry = NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL |
                           NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS | NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    const uint64_t exit = NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL |
                          NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL | NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS |
                          NVIRT_VMX_EXIT_CTL_LOAD_PKRS;

    return ((v->offer.entry >> 32 & entry) | (v->offer.exit >> 32 & exit)) != 0;
}
/** An entry loads those that vmcs12 says. */
void nvi_vmx_switched_load_guest(struct nvirt_vmx_vcpu *v);
/** An exit saves what L2 leaves in them into vmcs12, */
void nvi_vmx_switched_save(struct nvirt_vmx_vcpu *v);
/** and loads those that vmcs12 says; so does an entry that fails. */
void nvi_vmx_switched_load_host(struct nvirt_vmx_vcpu *v);

/* ---- vmx_cet.c: where v->cet ---- */

static inline bool nvi_vmx_is_cet(enum nvirt_vmcs_field field)
{
#define X(NAME, member, host) || field == NVIRT_VMCS_##NAME
    return false NVI_CET_FIELDS(X);
#undef X
}
/** Fetches a level's. */
void nvi_vmx_cet_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which);
/** Fetches L1's, if an entry leaves it to L2; */
void nvi_vmx_cet_fetch_l1(struct nvirt_vmx_vcpu *v);
/** L2's, if an exit leaves it to L1; */
void nvi_vmx_cet_fetch_l2(struct nvirt_vmx_vcpu *v);
/** and vmcs12's, if an entry replaces it in vmcs02. */
void nvi_vmx_cet_settle(struct nvirt_vmx_vcpu *v);
/** L1 has CET, and an entry leaves its state to L2. */
static inline bool nvi_vmx_leaves_cet_to_l2(const struct nvirt_vmx_vcpu *v)
{
    return v->cet && (v->vmcs12.entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_CET) == 0;
}
/** Reads all that nvi_vmx_cet_place() moves. @return false when a VMREAD failed, which is recorded. */
bool nvi_vmx_cet_gather(struct nvirt_vmx_vcpu *v);
/** Gives vmcs02 what an entry gives L2. What is L1's has been fetched. */
void nvi_vmx_cet_place(struct nvirt_vmx_vcpu *v);
/** Gives vmcs01 what an exit that loads it gives L1. */
void nvi_vmx_cet_load_host(struct nvirt_vmx_vcpu *v);
/** What the image of vmcs01 has of it, before and after an exit loads it there. */
void nvi_vmx_cet_remember(const struct nvirt_vmcs *image, struct nvi_cet *before);
void nvi_vmx_cet_loaded(struct nvirt_vmx_vcpu *v, const struct nvi_cet *before);

/* ---- vmx_sleep.c ---- */

/** L2 is in shutdown or waits for a SIPI. Hardware never is, so it leaves no such value behind. */
static inline bool nvi_vmx_is_asleep(const struct nvirt_vmx_vcpu *v)
{
    const struct nvi_hw_vmcs *hw = v->hw[NVI_02];

    return v->level == 2 && !nvi_field_has(&hw->stale, NVIRT_VMCS_GUEST_ACTIVITY) &&
           hw->image.guest_activity > NVIRT_VMX_ACTIVITY_HLT;
}
/** The event that ends it, if one waits: L2 leaves for L1, or is active and has the event in its slot. */
void nvi_vmx_deliver_asleep(struct nvirt_vmx_vcpu *v);

/* ---- vmx_operand.c ---- */

bool nvi_vmx_in_64bit_mode(struct nvirt_vmx_vcpu *v);
/** A linear address that is canonical in the paging mode of the level that runs. */
bool nvi_vmx_can_access(struct nvirt_vmx_vcpu *v, uint64_t linear);
/** For a VMX instruction, which compatibility mode has none of: no look at CS is needed. */
static inline bool nvi_vmx_insn_is_64bit(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0;
}

uint32_t nvi_vmx_cpl(struct nvirt_vmx_vcpu *v);
/** The paging mode of the level that runs, for the walker. */
void nvi_vmx_paging(struct nvirt_vmx_vcpu *v, struct nvi_paging *mode);
/** A register of the level that runs, RSP included. */
uint64_t nvi_vmx_gpr(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, uint32_t number);
void nvi_vmx_gpr_set(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t number,
                     uint64_t value);
/**
 * Reads or writes the memory operand of a VMX instruction of the level that runs.
 * @return false when the instruction ends here: a fault was raised, L2 was left for L1, or it is to
 *         be executed again.
 */
bool nvi_vmx_operand_read(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, void *to,
                          size_t bytes);
bool nvi_vmx_operand_write(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                           const void *from, size_t bytes);

/**
 * The L1 physical address of @p bytes at @p linear in L1's 64-bit mode at CPL 0, by the walk
 * remembered.
 * @return false when that walk says nothing of it: nothing has happened then.
 */
bool nvi_vmx_operand_known(struct nvirt_vmx_vcpu *v, uint64_t linear, size_t bytes,
                           const struct nvi_operand_mode *mode, uint64_t *address);

/* ---- vmx_l2_memory.c ---- */

/**
 * Reads or writes linear memory of L2, which is at CPL 0: within 4096 bytes, all of it translated
 * before the first byte is moved.
 * @return false when the instruction ends here, as for operands.
 */
bool nvi_vmx_l2_read(struct nvirt_vmx_vcpu *v, uint64_t linear, void *to, size_t bytes);
bool nvi_vmx_l2_write(struct nvirt_vmx_vcpu *v, uint64_t linear, const void *from, size_t bytes);

/* ---- vmx_vmcs12.c ---- */

/** Reads L1 memory; where there is none, all ones. */
void nvi_vmx_l1_read(struct nvirt_vmx_vcpu *v, uint64_t from, void *to, size_t bytes);
/** Writes L1 memory; where there is none, nothing happens. */
void nvi_vmx_l1_write(struct nvirt_vmx_vcpu *v, uint64_t to, const void *from, size_t bytes);
bool nvi_vmx_l1_address_fits(const struct nvirt_vmx_vcpu *v, uint64_t address);
uint32_t nvi_vmcs12_revision(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Nothing has to be read or written for another VMCS to be current than the one that is: @p region is
 *  active, and so is its shadow VMCS if those are used. */
bool nvi_vmcs12_is_ready(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Makes the region current: what is known of it, or else read once into v->vmcs12. */
void nvi_vmcs12_load(struct nvirt_vmx_vcpu *v, uint64_t region);
/** VMCLEAR: writes the region back if it is active, and makes it inactive, not current and clear. */
void nvi_vmcs12_clear(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Writes every active region back and leaves none current, each as launched as it is. */
void nvi_vmcs12_store_all(struct nvirt_vmx_vcpu *v);
/** Writes the active regions but the current one back and forgets them, and completes v->vmcs12. */
void nvi_vmcs12_store_others(struct nvirt_vmx_vcpu *v);
/** Forgets every active region without a word to L1's memory; none is current. */
void nvi_vmcs12_drop_all(struct nvirt_vmx_vcpu *v);
/** The same for an enlightened VMCS; v->vmcs12 is what is known of it, or empty and not launched. */
void nvi_vmcs12_load_enlightened(struct nvirt_vmx_vcpu *v, uint64_t region);
/** Leaves none current; what was stays active. */
void nvi_vmcs12_park(struct nvirt_vmx_vcpu *v);
/** Makes v->vmcs12, as it stands, the current contents of @p region. */
void nvi_vmcs12_adopt(struct nvirt_vmx_vcpu *v, uint64_t region, bool is_enlightened);
/** The region of the current vmcs12, of either kind; NVI_NO_VMCS: there is none. */
static inline uint64_t nvi_vmcs12_region(const struct nvirt_vmx_vcpu *v)
{
    return v->vmx.current != NVI_NO_VMCS ? v->vmx.current : v->vmx.enlightened;
}
/** A field of the current vmcs12 as L1 reads it. */
uint64_t nvi_vmcs12_get(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field);
/** VMWRITE of L1; notes what has to be looked at anew. @p value fits the field. */
void nvi_vmcs12_set(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value);
/** Fetches those fields of @p set that only vmcs02 has; null: all. */
void nvi_vmcs12_settle(struct nvirt_vmx_vcpu *v, const struct nvi_field_set *set);
/** The same for all fields of every active region. */
void nvi_vmcs12_settle_all(struct nvirt_vmx_vcpu *v);
/**
 * Forgets everything that makes the next entry cheaper than the first: all of the current vmcs12 is
 * in v->vmcs12 and is looked at anew, the other active ones are back in L1's memory.
 */
void nvi_vmx_forget_caches(struct nvirt_vmx_vcpu *v);
void nvi_vmcs12_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator);
/** A field of the VMCS that the link pointer of the current vmcs12 names, for L2. */
uint64_t nvi_vmcs12_linked_get(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field);
/** The same written. @p value fits the field. */
void nvi_vmcs12_linked_set(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value);

/* ---- vmx_shadow.c ---- */

/** True when a CPU with @p cpu can shadow a VMCS whose read-only fields nvirt writes. */
bool nvi_shadow_is_usable(const struct nvirt_vmx_caps *cpu);
/** Fills its pages, if it is usable. */
void nvi_shadow_init(struct nvirt_vmx_vcpu *v);
/** Before L1 runs: gives it the shadow of the current vmcs12, or none. */
void nvi_shadow_prepare(struct nvirt_vmx_vcpu *v);
/** The last part of that, for the current vmcs12 whose shadow has what L1 reads: vmcs01 names it. */
void nvi_shadow_link(struct nvirt_vmx_vcpu *v);
/** Brings into v->vmcs12 what L1 wrote and an entry looks at. */
void nvi_shadow_collect(struct nvirt_vmx_vcpu *v);

/* ---- vmx_insn.c ---- */

/** RFLAGS that tell how a VMX instruction ended [SDM 3C "Conventions"]. */
#define NVI_VMX_STATUS_FLAGS                                                                       \
    (NVIRT_RFLAGS_CF | NVIRT_RFLAGS_PF | NVIRT_RFLAGS_AF | NVIRT_RFLAGS_ZF | NVIRT_RFLAGS_SF |     \
     NVIRT_RFLAGS_OF)
/** Parts of the VM-exit instruction information [SDM 3C "Information for VM Exits Due to Instruction
 *  Execution"]. */
#define NVI_VMX_INFO_REGISTER_OPERAND NVIRT_BIT(10)
#define NVI_VMX_INFO_SCALE NVIRT_BITS(1, 0)
#define NVI_VMX_INFO_REGISTER1_SHIFT 3u
#define NVI_VMX_INFO_ADDRESS_SIZE_SHIFT 7u
#define NVI_VMX_INFO_SEGMENT_SHIFT 15u
#define NVI_VMX_INFO_INDEX_SHIFT 18u
#define NVI_VMX_INFO_NO_INDEX NVIRT_BIT(22)
#define NVI_VMX_INFO_BASE_SHIFT 23u
#define NVI_VMX_INFO_NO_BASE NVIRT_BIT(27)
#define NVI_VMX_INFO_REGISTER2_SHIFT 28u

static inline uint32_t nvi_vmx_info_register1(uint64_t info)
{
    return (uint32_t)(info >> NVI_VMX_INFO_REGISTER1_SHIFT) & 15u;
}

static inline uint32_t nvi_vmx_info_register2(uint64_t info)
{
    return (uint32_t)(info >> NVI_VMX_INFO_REGISTER2_SHIFT) & 15u;
}

void nvi_vmx_succeed(struct nvirt_vmx_vcpu *v);
void nvi_vmx_fail_invalid(struct nvirt_vmx_vcpu *v);
/** VMfail with an error number if there is a current VMCS, else without. */
void nvi_vmx_fail(struct nvirt_vmx_vcpu *v, uint32_t error);
/** VMCALL of L1 that nobody answers: there is no dual-monitor treatment. */
void nvi_vmx_vmcall_in_root(struct nvirt_vmx_vcpu *v);
/** The field that VMREAD or VMWRITE names, as wide as the mode makes it. */
uint64_t nvi_vmx_insn_encoding(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs);
/** True when @p reason was an instruction of L1's, or VMREAD or VMWRITE of L2's on the VMCS linked to
 *  vmcs12, that nvirt has now dealt with. */
bool nvi_vmx_instruction(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t reason);

/* ---- vmx_insn_flush.c ---- */

/** True for a type that L1's CPU has. */
bool nvi_vmx_invept_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type);
bool nvi_vmx_invvpid_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type);
/** Carries out INVEPT or INVVPID. @return false when an operand is invalid: nothing was done. */
bool nvi_vmx_invept_with(struct nvirt_vmx_vcpu *v, uint64_t type, const uint64_t descriptor[2]);
bool nvi_vmx_invvpid_with(struct nvirt_vmx_vcpu *v, uint64_t type, const uint64_t descriptor[2]);
void nvi_vmx_invept(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
void nvi_vmx_invvpid(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);

/* ---- vmx_cr.c ---- */

/** What became of an exit that nvirt may or may not deal with. */
enum nvi_handled {
    NVI_NOT_MINE = 0,
    NVI_HANDLED
};

enum nvi_handled nvi_vmx_cr_access(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                   uint64_t qualification);
/** Bits of CR0 and CR4 that the host owns beyond those that nvirt wants. */
uint64_t nvi_vmx_host_cr0(struct nvirt_vmx_vcpu *v);
uint64_t nvi_vmx_host_cr4(struct nvirt_vmx_vcpu *v);
/** CR0 and CR4 of L2 as L1 knows them: without what the host does to its own bits beneath. */
uint64_t nvi_vmx_cr0_of_l2(struct nvirt_vmx_vcpu *v);
uint64_t nvi_vmx_cr4_of_l2(struct nvirt_vmx_vcpu *v);
/** Reads four PDPTEs at @p cr3. @return false when one has reserved bits set. */
bool nvi_vmx_pdptes_read(struct nvirt_vmx_vcpu *v, uint64_t cr3, uint64_t pdpte[4]);

/* ---- vmx_msr.c ---- */

enum nvi_handled nvi_vmx_rdmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
enum nvi_handled nvi_vmx_wrmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
/** An MSR that nvirt holds for L1; false when it is none of those. */
bool nvi_vmx_msr_is_mine(uint32_t msr);
bool nvi_vmx_msr_read(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t *value);
/** @return false for #GP. */
bool nvi_vmx_msr_write(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t value);

/** The VMCS field that holds @p msr while a guest runs; false when there is none. */
bool nvi_vmx_msr_field(const struct nvirt_vmx_vcpu *v, uint32_t msr, enum nvirt_vmcs_field *field);
/** What WRMSR does to such a field, under @p cr0. @return false for #GP. */
bool nvi_vmx_msr_field_write(const struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t cr0,
                             uint64_t *field, uint64_t value);

/* ---- vmx_msrlist.c ---- */

/**
 * Carries out a VM-entry or VM-exit MSR-load list of L1's on @p image, the state being loaded.
 * @return 0, or the number of the entry that failed, from 1.
 */
uint32_t nvi_vmx_msr_list_load(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                               struct nvirt_vmcs *image);
/** Carries out the VM-exit MSR-store list, from L2's state in @p image. @return as above. */
uint32_t nvi_vmx_msr_list_store(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                                const struct nvirt_vmcs *image);

/* ---- vmx_enter.c ---- */

/** VMLAUNCH or VMRESUME of L1, after the rules that need no look at vmcs12. */
void nvi_vmx_enter(struct nvirt_vmx_vcpu *v);
/** Fetches what of L1's live state the checks and the merge look at; what vmcs12 loads they do not. */
void nvi_vmx_fetch_l1_state(struct nvirt_vmx_vcpu *v);
/**
 * Puts all of vmcs02 together in v->next, but for what MSR lists of L1's load: vmcs12 has passed the
 * checks and L1's state is fetched.
 * @param in zero, or with L2's PDPTEs from memory.
 * @return NVIRT_OK; NVIRT_ERR_NO_PAGE or NVIRT_ERR_RANGE as nvi_ept_root(): nothing was done.
 */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_build_vmcs02(struct nvirt_vmx_vcpu *v,
                                                       struct nvi_vmx_merge_in *in);
/**
 * Gives the L2 that is active the second-stage root of vmcs12's EPTP, and what flushes that takes.
 * @return NVIRT_OK; NVIRT_ERR_NO_PAGE or NVIRT_ERR_RANGE as nvi_ept_root(): nothing was done.
 */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_change_root(struct nvirt_vmx_vcpu *v);
/** Makes vmcs02 what v->next is, and L2 the level that runs. */
void nvi_vmx_become_level_2(struct nvirt_vmx_vcpu *v);
/**
 * Gives L2 the CR0 and CR4 that L1 knows, with the host's own bits beneath: those that it took since
 * v->host_cr0 and v->host_cr4 were noted get its value and read as before; those that it gave back
 * become real.
 */
void nvi_vmx_place_cr(struct nvirt_vmx_vcpu *v, uint64_t cr0, uint64_t cr4);
/** Notes what the rules about L2's state depend on, as an exit leaves it. */
void nvi_vmx_note_exit_key(struct nvirt_vmx_vcpu *v);
/** CR0.PE and RFLAGS.VM are in the key, that far up. */
#define NVI_VMX_KEY_PE_SHIFT 48u
#define NVI_VMX_KEY_VM_SHIFT 32u
/** The rest of the key but for the VM-entry controls. */
uint64_t nvi_vmx_key_of_controls(const struct nvirt_vmcs *vmcs12);
/** What rules about L2's state depend on beside the fields they are about. */
static inline uint64_t nvi_vmx_key_of(const struct nvirt_vmcs *vmcs12, uint64_t controls)
{
    return controls | vmcs12->entry_controls |
           ((vmcs12->guest_cr0 & NVIRT_CR0_PE) << NVI_VMX_KEY_PE_SHIFT) |
           ((vmcs12->guest_rflags & NVIRT_RFLAGS_VM) << NVI_VMX_KEY_VM_SHIFT);
}
/** Whether L2 was in virtual-8086 mode when it left. */
static inline bool nvi_vmx_left_in_v86(const struct nvi_pair *pair)
{
    return (pair->key & NVIRT_RFLAGS_VM << NVI_VMX_KEY_VM_SHIFT) != 0;
}
/** Binds L2's VPID to a tag of hardware's. */
void nvi_vmx_bind_tag(struct nvirt_vmx_vcpu *v);
/** Merges the MSR bitmaps as they are now. */
void nvi_vmx_build_msr_bitmap(struct nvirt_vmx_vcpu *v);
/** The same, unless L1 says that its own is as it was. @return false where L1 has none. */
bool nvi_vmx_refresh_msr_bitmap(struct nvirt_vmx_vcpu *v);
/** L1's own live state, for an entry that fails. */
struct nvi_vmx_live nvi_vmx_l1_live(struct nvirt_vmx_vcpu *v);
/** Tells the second stage which pages stand apart: before it fills a root. */
void nvi_vmx_tell_apic_pages(struct nvirt_vmx_vcpu *v);
/** Builds vmcs02's controls and host state again after L0 changed its own. */
void nvi_vmx_remerge(struct nvirt_vmx_vcpu *v);
/** Pins the pages of the current pair anew when the port moved any; with L2 active vmcs02 is merged again. */
void nvi_vmx_follow_moves(struct nvirt_vmx_vcpu *v);

/* ---- vmx_leave.c ---- */

/** L2 exits to L1 with @p info. */
void nvi_vmx_leave(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info);
/** The entry fails after its checks of controls and host state: reason 33, 34 or 41. */
void nvi_vmx_entry_failure(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                           const struct nvi_vmx_live *live);
/** What the last exit of L2 told, for an exit to L1. */
void nvi_vmx_exit_info(struct nvirt_vmx_vcpu *v, uint32_t reason, struct nvi_vmx_exit_info *info);
/** The exit qualification, 0 for a reason that has none: no VMREAD then. */
uint64_t nvi_vmx_qualification(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason);
/** The IDT-vectoring information, 0 for a reason that occurs during no event delivery. */
uint32_t nvi_vmx_vectoring(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason);
/** Level 1 again without an exit: L2 never ran, or the vCPU is reset. */
void nvi_vmx_abandon_l2(struct nvirt_vmx_vcpu *v);
void nvi_vmx_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator);

/* ---- vmx_tables.c ---- */

/** An EPT violation or an SPP-related event (@p basic) of L2 on vmcs02's tables: a hole that is filled,
 *  the host's, or L1's, and then L2 was left for it or has a virtualization exception.
 *  @param l1gpa HOST: what L1 has there. */
enum nvi_fault nvi_vmx_second_stage(struct nvirt_vmx_vcpu *v, uint32_t basic, nvirt_l1gpa *l1gpa);

/** How the load of a control register went on. */
enum nvi_cr_load {
    NVI_CR_LOADED,
    NVI_CR_FAULT,    /**< #GP. */
    NVI_CR_ELSEWHERE /**< L2 was left for L1, has another fault, or executes the instruction again. */
};

/** An access to L2's memory that nvirt makes for L2. */
struct nvi_l2_access {
    nvirt_l2gpa l2gpa;
    uint32_t access;        /**< NVIRT_ACCESS_*. */
    uint32_t bytes;         /**< Of a write of data, within one page. */
    uint64_t qualification; /**< What an EPT violation of it tells beside the access and its rights. */
    uint64_t linear;        /**< If bit 7 is in it. */
};

/** Where L1 has that memory. @return false when L2 was left for L1, or is to execute again. */
bool nvi_vmx_reach(struct nvirt_vmx_vcpu *v, const struct nvi_l2_access *access,
                   nvirt_l1gpa *l1gpa);

/** Where L1 has the PDPTEs of L2, which L2 loads from @p l2gpa. Never NVI_CR_FAULT. */
enum nvi_cr_load nvi_vmx_pdptes_address(struct nvirt_vmx_vcpu *v, nvirt_l2gpa l2gpa,
                                        nvirt_l1gpa *l1gpa);

/* ---- vmx_apic01.c ---- */

/** The APIC-access page of vmcs01 that nvirt keeps is where it was. */
static inline bool nvi_vmx_apic01_is_settled(const struct nvirt_vmx_vcpu *v)
{
    return __atomic_load_n(&v->mmu.watch.moved, __ATOMIC_ACQUIRE) == 0;
}

/** Finds it anew, before L1 runs. @return NVIRT_OK; NVIRT_ERR_RETRY; NVIRT_ERR_NO_MAPPING. */
NVIRT_COLD NVIRT_NODISCARD enum nvirt_status nvi_vmx_apic01_reload(struct nvirt_vmx_vcpu *v);

/* ---- vmx_posted.c ---- */

/**
 * Posted-interrupt processing for the L2 that is active, but for the acknowledgement of the notification.
 * @return false when L1 kept changing the descriptor meanwhile: what was not taken is still there.
 */
NVIRT_NODISCARD bool nvi_vmx_process_posted(struct nvirt_vmx_vcpu *v);

/* ---- vmx_switch.c ---- */

/** Notes what an entry, or an exit of L2 to L1, of the general way came to. */
void nvi_vmx_note_entry(struct nvirt_vmx_vcpu *v);
void nvi_vmx_note_exit(struct nvirt_vmx_vcpu *v);
/** What was noted of an exit of the current vmcs12's L2 holds no more. */
static inline void nvi_vmx_forget_exit(struct nvirt_vmx_vcpu *v)
{
    v->now->exit_memo.known = false;
    v->now->exit_memo.known_enlightened = false;
}
/** VMRESUME of a steady L1. @return false when it is not plain: nothing has happened then. */
bool nvi_vmx_resume_plainly(struct nvirt_vmx_vcpu *v);
/** The same with an enlightened VMCS. @return false when it is not plain: nothing has happened then but
 *  that what L1 changed was looked at. */
bool nvi_vmx_resume_enlightened(struct nvirt_vmx_vcpu *v);
/** Whether the exit of the L2 that runs next may turn out to be plain. */
bool nvi_vmx_l2_is_steady(const struct nvirt_vmx_vcpu *v);
/** What became of an exit of a steady L2. */
enum nvi_plain_exit {
    NVI_EXIT_UNKNOWN, /**< Nothing: nvi_vmx_exit_any() is next. */
    NVI_EXIT_NOTED,   /**< It is not plain, but nvi_hw_exited() is done: nvi_vmx_exit_noted() is next. */
    NVI_EXIT_DONE     /**< L1 is next. */
};

enum nvi_plain_exit nvi_vmx_exit_plainly(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit,
                                         uint32_t reason);
/** L2 exits to L1 with @p info. @return false when it is not plain: nothing has happened then. */
bool nvi_vmx_leave_plainly(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info);
/** The prepare after a plain switch. @return NVIRT_OK or NVIRT_ERR_HARDWARE, as nvirt_vmx_prepare(). */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_prepare_switched(struct nvirt_vmx_vcpu *v,
                                                           struct nvirt_vmx_run *run);
/** Before anything but the prepare: makes a plain switch what one of the general way is. */
void nvi_vmx_switch_settle(struct nvirt_vmx_vcpu *v);

/* ---- vmx_vmfunc.c ---- */

/** VMFUNC of L2. @return true when it was carried out, or is to be executed again; else L1's exit. */
bool nvi_vmx_vmfunc(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs);

/* ---- vmx_state.c ---- */

/** Writes the rows of saved state. */
void nvi_vmx_state_save(struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out);
/**
 * Makes the vCPU what the rows say; it is at level 1, L1 outside VMX operation.
 * @return NVIRT_OK; NVIRT_ERR_DATA (a rule is broken); what nvi_vmx_build_vmcs02() returns. Nothing
 *         but caches has changed then.
 */
NVIRT_NODISCARD enum nvirt_status nvi_vmx_state_restore(struct nvirt_vmx_vcpu *v,
                                                        const struct nvi_rows_in *in);

/* ---- vmx_run.c ---- */

/** Whether the host may inject such an exception, and nvirt save and restore it. */
bool nvi_vmx_exception_is_valid(const struct nvirt_vmx_vcpu *v, const struct nvirt_event *event);
/** What of event->address means anything for this exception. */
uint64_t nvi_vmx_exception_address(const struct nvirt_event *event);

/* ---- vmx_exit.c ---- */

/** L2 has run: its entry is a fact. */
static inline void nvi_vmx_entry_took_place(struct nvirt_vmx_vcpu *v)
{
    if (v->entry_pending) {
        v->entry_pending = false;
        v->vmx.launched = true;
        /* What vmcs02 has is L2's own from here on. */
        nvi_field_keep(&v->now->lazy, &v->changes[NVI_SHADOW]);
        v->stats.nested_entries++;
    }
}
NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_l1(struct nvirt_vmx_vcpu *v,
                                                  struct nvirt_gprs *gprs,
                                                  struct nvirt_vmx_exit *exit);
NVIRT_NODISCARD enum nvirt_status nvi_vmx_exit_l2(struct nvirt_vmx_vcpu *v,
                                                  struct nvirt_gprs *gprs,
                                                  struct nvirt_vmx_exit *exit);

#endif
