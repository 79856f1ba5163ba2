/* SPDX-License-Identifier: MIT */
/*
 * The virtual machine of vm.h: memory slots, page tables, descriptor tables and first register
 * state of a guest, and thin wrappers around the ioctls of /dev/kvm.
 */
#define _GNU_SOURCE
#include "vm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where kvm_intel may keep a TSS and an identity map of its own, above all we use. */
#define KVM_TSS_GPA 0xfffbd000u
#define KVM_IDENTITY_MAP_GPA 0xfffbc000u

#define PTE_PRESENT 0x1u
#define PTE_WRITE 0x2u
#define PTE_LARGE 0x80u

#define CR0_LONG_MODE 0x80010033u /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG_MODE 0x620u      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG_MODE 0xd01u     /* NXE, LMA, LME, SCE */

#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define GDT_TSS_BUSY UINT64_C(0x00008b0000000067)

#define CPUID_LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID_ENTRIES 256
#define STAT_NAME_MAX 64

enum slot {
    SLOT_RAM,
    SLOT_LOGGED,
    SLOT_READONLY,
};

extern const uint8_t guest_image[];
extern const uint8_t guest_image_end[];

static int kvm_fd = -1;

static int control(int fd, unsigned long request, void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);

    if (result < 0)
        fail("%s: %s", name, strerror(errno));
    return result;
}

/* For ioctls whose argument is a number. */
static int control_number(int fd, unsigned long request, unsigned long number, const char *name)
{
    int result = ioctl(fd, request, number);

    if (result < 0)
        fail("%s: %s", name, strerror(errno));
    return result;
}

#define CONTROL(fd, request, argument) control(fd, request, argument, #request)
#define CONTROL_NUMBER(fd, request, number) control_number(fd, request, number, #request)

void vm_open(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0)
        fail("/dev/kvm: %s", strerror(errno));
    if (CONTROL_NUMBER(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        fail("this KVM has another interface version");
}

void host_vendor(uint32_t vendor[3])
{
    uint32_t eax;

    __cpuid(0, eax, vendor[0], vendor[2], vendor[1]);
}

static bool host_is_amd(void)
{
    uint32_t vendor[3];

    host_vendor(vendor);
    return memcmp(vendor, "AuthenticAMD", 12) == 0;
}

void *vm_at(const struct vm *vm, uint64_t gpa)
{
    if (gpa < RAM_SIZE)
        return vm->ram + gpa;
    if (gpa >= LOGGED_GPA && gpa < LOGGED_GPA + LOGGED_SIZE)
        return vm->logged + (gpa - LOGGED_GPA);
    if (gpa >= READONLY_GPA && gpa < READONLY_GPA + READONLY_SIZE)
        return vm->readonly + (gpa - READONLY_GPA);
    fail("no memory at %#llx", (unsigned long long)gpa);
}

static void set_slot(struct vm *vm, enum slot slot, uint32_t flags)
{
    static const struct {
        uint64_t gpa;
        uint64_t size;
    } slots[] = {
        [SLOT_RAM] = {0, RAM_SIZE},
        [SLOT_LOGGED] = {LOGGED_GPA, LOGGED_SIZE},
        [SLOT_READONLY] = {READONLY_GPA, READONLY_SIZE},
    };
    struct kvm_userspace_memory_region region = {
        .slot = (uint32_t)slot,
        .flags = flags,
        .guest_phys_addr = slots[slot].gpa,
        .memory_size = slots[slot].size,
        .userspace_addr = (uint64_t)(uintptr_t)vm_at(vm, slots[slot].gpa),
    };

    CONTROL(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/*
 * RAM is aligned for large pages, which only the region made for them may get: elsewhere every
 * first touch shall cost a fault of its own.
 */
static void make_memory(struct vm *vm)
{
    const size_t total = RAM_SIZE + LOGGED_SIZE + READONLY_SIZE;
    uintptr_t start;

    vm->mapping_size = total + GPA_LARGE_PAGE;
    vm->mapping = mmap(NULL, vm->mapping_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (vm->mapping == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    start = ((uintptr_t)vm->mapping + GPA_LARGE_PAGE - 1) & ~(uintptr_t)(GPA_LARGE_PAGE - 1);
    vm->ram = (uint8_t *)start;
    vm->logged = vm->ram + RAM_SIZE;
    vm->readonly = vm->logged + LOGGED_SIZE;
    vm->mailbox = vm_at(vm, MAILBOX_GPA);

    /* A kernel without transparent huge pages refuses these: then there are only small pages. */
    (void)madvise(vm->ram, total, MADV_NOHUGEPAGE);
    (void)madvise(vm->ram + LARGE_GPA, LARGE_SIZE, MADV_HUGEPAGE);

    set_slot(vm, SLOT_RAM, 0);
    set_slot(vm, SLOT_LOGGED, 0);
    set_slot(vm, SLOT_READONLY, KVM_MEM_READONLY);
}

static void write_entry(struct vm *vm, uint64_t table, uint64_t index, uint64_t entry)
{
    ((uint64_t *)vm_at(vm, table))[index] = entry | PTE_PRESENT | PTE_WRITE;
}

/* The low and the high gigabyte onto themselves; between them a window, in two versions. */
static void make_page_tables(struct vm *vm)
{
    static const struct {
        uint64_t pml4, pdpt, window_pd, window_pt, window_page;
    } spaces[] = {
        {PML4_A_GPA, PDPT_A_GPA, PD_WIN_A_GPA, PT_WIN_A_GPA, WIN_PAGE_A_GPA},
        {PML4_B_GPA, PDPT_B_GPA, PD_WIN_B_GPA, PT_WIN_B_GPA, WIN_PAGE_B_GPA},
    };

    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        write_entry(vm, spaces[i].pml4, 0, spaces[i].pdpt);
        write_entry(vm, spaces[i].pdpt, 0, PD_LOW_GPA);
        write_entry(vm, spaces[i].pdpt, 1, spaces[i].window_pd);
        write_entry(vm, spaces[i].pdpt, 3, PD_HIGH_GPA);
        write_entry(vm, spaces[i].window_pd, 0, spaces[i].window_pt);
        write_entry(vm, spaces[i].window_pt, 0, spaces[i].window_page);
    }
    for (uint64_t i = 0; i < 512; i++) {
        write_entry(vm, PD_LOW_GPA, i, i * GPA_LARGE_PAGE | PTE_LARGE);
        write_entry(vm, PD_HIGH_GPA, i, (0xc0000000u + i * GPA_LARGE_PAGE) | PTE_LARGE);
    }
}

static void make_descriptor_tables(struct vm *vm)
{
    uint64_t *gdt = vm_at(vm, GDT_GPA);

    gdt[SEL_CODE64 / 8] = GDT_CODE64;
    gdt[SEL_DATA / 8] = GDT_DATA;
    gdt[SEL_CODE32 / 8] = GDT_CODE32;
    gdt[SEL_TSS / 8] = GDT_TSS_BUSY | (uint64_t)TSS_GPA << 16;
    gdt[SEL_TSS / 8 + 1] = 0;
}

/* Every even page of the touched regions gets the program's word; so does the read-only slot. */
static void fill_memory(struct vm *vm)
{
    const size_t image_size = (size_t)(guest_image_end - guest_image);

    if (image_size > IMAGE_MAX)
        fail("the guest's image is too large");
    memcpy(vm_at(vm, IMAGE_GPA), guest_image, image_size);
    for (uint64_t gpa = SMALL_GPA; gpa < RAM_SIZE; gpa += 2 * GPA_PAGE)
        ((uint64_t *)vm_at(vm, gpa))[1] = host_pattern(gpa);
    ((uint64_t *)vm_at(vm, READONLY_GPA))[0] = host_pattern(READONLY_GPA);
}

/* What KVM supports, but with our own leaf in place of its signature. */
static void set_cpuid(struct vm *vm, struct vm_vcpu *vcpu)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    bool have_deadline =
        CONTROL_NUMBER(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

    if (!cpuid)
        fail("out of memory");
    cpuid->nent = CPUID_ENTRIES;
    CONTROL(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        if (entry->function == 1 && have_deadline)
            entry->ecx |= CPUID_LEAF1_ECX_TSC_DEADLINE;
        if (entry->function == CPUID_LEAF) {
            entry->eax = CPUID_LEAF;
            entry->ebx = CPUID_LEAF_EBX;
            entry->ecx = CPUID_LEAF_ECX;
            entry->edx = CPUID_LEAF_EDX;
        }
    }
    CONTROL(vcpu->fd, KVM_SET_CPUID2, cpuid);
    free(cpuid);
    vm->mailbox->is_amd = host_is_amd();
    vm->mailbox->have_tsc_deadline = have_deadline;
}

/* KVM tells the hypervisor below it to do the guest's flush hypercalls, if that one can. */
static void delegate_flushes(struct vm *vm, struct vm_vcpu *vcpu)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_HYPERV_DIRECT_TLBFLUSH};

    if (CONTROL_NUMBER(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_DIRECT_TLBFLUSH) == 0)
        return;
    CONTROL(vcpu->fd, KVM_ENABLE_CAP, &cap);
    vm->mailbox->has_direct_flush = true;
}

static void make_vcpu(struct vm *vm, uint32_t number)
{
    struct vm_vcpu *vcpu = &vm->vcpus[number];
    int size = CONTROL_NUMBER(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    vcpu->fd = CONTROL_NUMBER(vm->fd, KVM_CREATE_VCPU, number);
    vcpu->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED)
        fail("mmap of the run page: %s", strerror(errno));
    set_cpuid(vm, vcpu);
    delegate_flushes(vm, vcpu);
}

void vm_create(struct vm *vm, uint32_t vcpu_count, enum vm_irqchip irqchip)
{
    uint64_t identity_map = KVM_IDENTITY_MAP_GPA;

    memset(vm, 0, sizeof(*vm));
    vm->vcpu_count = vcpu_count;
    vm->fd = CONTROL_NUMBER(kvm_fd, KVM_CREATE_VM, 0);
    CONTROL(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    CONTROL_NUMBER(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA);
    if (irqchip == VM_WITH_IRQCHIP)
        CONTROL_NUMBER(vm->fd, KVM_CREATE_IRQCHIP, 0);
    make_memory(vm);
    make_page_tables(vm);
    make_descriptor_tables(vm);
    fill_memory(vm);
    for (uint32_t i = 0; i < vcpu_count; i++)
        make_vcpu(vm, i);
}

void vm_destroy(struct vm *vm)
{
    int size = CONTROL_NUMBER(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        munmap(vm->vcpus[i].run, (size_t)size);
        close(vm->vcpus[i].fd);
    }
    close(vm->fd);
    munmap(vm->mapping, vm->mapping_size);
}

void vm_log_dirty_pages(struct vm *vm, bool on)
{
    set_slot(vm, SLOT_LOGGED, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

void vm_dirty_log(struct vm *vm, uint64_t *bitmap)
{
    struct kvm_dirty_log log = {.slot = SLOT_LOGGED, .dirty_bitmap = bitmap};

    CONTROL(vm->fd, KVM_GET_DIRTY_LOG, &log);
}

void vm_irq_line(struct vm *vm, uint32_t line, bool level)
{
    struct kvm_irq_level irq = {.irq = line, .level = level};

    CONTROL(vm->fd, KVM_IRQ_LINE, &irq);
}

/* KVM describes its counters in a file: a header, then descriptors with names, then the values. */
static uint64_t read_stat(int fd, const char *name)
{
    int stats = CONTROL_NUMBER(fd, KVM_GET_STATS_FD, 0);
    struct kvm_stats_header header;
    uint64_t value = 0;

    if (pread(stats, &header, sizeof(header), 0) != sizeof(header))
        fail("KVM's statistics cannot be read");
    for (uint32_t i = 0; i < header.num_desc; i++) {
        char row[sizeof(struct kvm_stats_desc) + STAT_NAME_MAX] = "";
        const char *row_name = row + sizeof(struct kvm_stats_desc);
        size_t size = sizeof(struct kvm_stats_desc) + header.name_size;
        struct kvm_stats_desc desc;

        if (size >= sizeof(row) ||
            pread(stats, row, size, (off_t)(header.desc_offset + i * size)) != (ssize_t)size)
            break;
        memcpy(&desc, row, sizeof(desc));
        if (strcmp(row_name, name) == 0 &&
            pread(stats, &value, sizeof(value), (off_t)(header.data_offset + desc.offset)) !=
                sizeof(value))
            value = 0;
    }
    close(stats);
    return value;
}

uint64_t vm_stat(const struct vm *vm, const char *name)
{
    return read_stat(vm->fd, name);
}

uint64_t vcpu_stat(const struct vm_vcpu *vcpu, const char *name)
{
    return read_stat(vcpu->fd, name);
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = 0xffffffffu,
        .selector = selector,
        .type = type,
        .present = 1,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

void vcpu_start_long_mode(struct vm *vm, uint32_t number, enum guest_program program)
{
    struct vm_vcpu *vcpu = &vm->vcpus[number];
    struct kvm_mp_state mp_state = {.mp_state = KVM_MP_STATE_RUNNABLE};
    struct kvm_regs regs = {
        .rip = IMAGE_ENTRY,
        .rsp = number ? PEER_STACK_GPA : STACK_GPA,
        .rdi = program,
        .rflags = 2,
    };
    struct kvm_sregs sregs;

    CONTROL(vcpu->fd, KVM_GET_SREGS, &sregs);
    sregs.cs = flat_segment(SEL_CODE64, 11, true);
    sregs.ss = flat_segment(SEL_DATA, 3, false);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    sregs.tr = (struct kvm_segment){
        .base = TSS_GPA, .limit = 0x67, .selector = SEL_TSS, .type = 11, .present = 1};
    sregs.ldt = (struct kvm_segment){.unusable = 1};
    sregs.gdt = (struct kvm_dtable){.base = GDT_GPA, .limit = SEL_TSS + 16 - 1};
    sregs.idt = (struct kvm_dtable){.base = 0, .limit = 0};
    sregs.cr0 = CR0_LONG_MODE;
    sregs.cr3 = number ? PML4_B_GPA : PML4_A_GPA;
    sregs.cr4 = CR4_LONG_MODE;
    sregs.efer = EFER_LONG_MODE;
    CONTROL(vcpu->fd, KVM_SET_SREGS, &sregs);
    CONTROL(vcpu->fd, KVM_SET_REGS, &regs);
    /* With an irqchip all vCPUs but the first would wait for a startup IPI. */
    if (number)
        CONTROL(vcpu->fd, KVM_SET_MP_STATE, &mp_state);
}

/* The reset state is real mode already; only where it starts is ours. */
void vcpu_start_real_mode(struct vm *vm)
{
    struct vm_vcpu *vcpu = &vm->vcpus[0];
    struct kvm_regs regs = {.rip = 0, .rflags = 2};
    struct kvm_sregs sregs;

    CONTROL(vcpu->fd, KVM_GET_SREGS, &sregs);
    sregs.cs.selector = REAL_SELECTOR;
    sregs.cs.base = IMAGE_GPA;
    CONTROL(vcpu->fd, KVM_SET_SREGS, &sregs);
    CONTROL(vcpu->fd, KVM_SET_REGS, &regs);
}

void vcpu_run(struct vm_vcpu *vcpu)
{
    int result;

    do {
        result = ioctl(vcpu->fd, KVM_RUN, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        fail("KVM_RUN: %s", strerror(errno));
}

bool vcpu_io(struct vm_vcpu *vcpu, struct vm_io *io)
{
    struct kvm_run *run = vcpu->run;

    if (run->exit_reason != KVM_EXIT_IO)
        return false;
    io->port = run->io.port;
    io->size = run->io.size;
    io->count = run->io.count;
    io->in = run->io.direction == KVM_EXIT_IO_IN;
    io->data = (uint8_t *)run + run->io.data_offset;
    return true;
}

void vcpu_nmi(struct vm_vcpu *vcpu)
{
    CONTROL_NUMBER(vcpu->fd, KVM_NMI, 0);
}

void vcpu_explain(struct vm_vcpu *vcpu)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    CONTROL(vcpu->fd, KVM_GET_REGS, &regs);
    CONTROL(vcpu->fd, KVM_GET_SREGS, &sregs);
    printf("rip %#llx rsp %#llx rflags %#llx cs %#x base %#llx\n", regs.rip, regs.rsp, regs.rflags,
           sregs.cs.selector, sregs.cs.base);
    printf("cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx efer %#llx\n", sregs.cr0, sregs.cr2, sregs.cr3,
           sregs.cr4, sregs.efer);
    if (vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
        printf("internal error %u:", vcpu->run->internal.suberror);
        for (uint32_t i = 0; i < vcpu->run->internal.ndata && i < 16; i++)
            printf(" %#llx", (unsigned long long)vcpu->run->internal.data[i]);
        printf("\n");
    }
    if (vcpu->run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        printf("hardware entry failure reason %#llx\n",
               (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
}
