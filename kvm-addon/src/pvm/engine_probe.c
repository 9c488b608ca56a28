/*
 * A throw-away VM with one vCPU, the private region, and a few pages of guest: a program at CPL 3
 * that reads (or writes) an address and raises INT3. Between its runs the address is mapped to
 * another page without KVM's knowledge, and zapped as the engine does it.
 */
#include "engine_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kvm/vm.h"
#include "../memory/guest_memory.h"
#include "arch.h"
#include "descriptor.h"
#include "kvm_run.h"
#include "private_region.h"
#include "tables.h"

#define GUEST_BYTES 0x10000u
#define REGION_GPA 0xd8000000ull

/* Guest-physical addresses: page tables of the first 2 MiB, code, a stack, two pages of data. */
enum {
    ROOT = 0x1000,
    POINTERS = 0x2000,
    DIRECTORY = 0x3000,
    TABLE = 0x4000,
    OTHER_TABLE = 0x5000,
    CODE = 0x6000,
    STACK = 0x7000,
    DATA_A = 0x8000,
    DATA_B = 0x9000,
};
#define MAPPED 0x20000u /* where the data pages are mapped, by turns */

#define PTE_TABLE 0x67ull
#define PTE_READ_ONLY 0x65ull
#define PTE_WRITABLE 0x67ull
#define VALUE_A 0xaaaaull
#define VALUE_B 0xbbbbull
/* What run_program() answers for a #PF. */
#define FAULTED UINT64_MAX

/* mov MAPPED, %rax; int3 and mov %rax, MAPPED; int3 */
static const uint8_t code_read[] = {0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xcc};
static const uint8_t code_write[] = {0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xcc};

struct probe {
    struct vm vm;
    struct guest_memory memory;
    struct private_region region;
    int vcpu_fd;
    struct kvm_run *run;
};

static uint64_t *quadword(struct probe *probe, uint64_t gpa)
{
    return (uint64_t *)(probe->memory.regions[0].hva + gpa);
}

static void set_code(struct probe *probe, const uint8_t *code, size_t length)
{
    memcpy(quadword(probe, CODE), code, length);
}

static void fill_memory(struct probe *probe)
{
    *quadword(probe, POINTERS) = DIRECTORY | PTE_TABLE;
    *quadword(probe, DIRECTORY) = TABLE | PTE_TABLE;
    *quadword(probe, TABLE + CODE / 512) = CODE | PTE_READ_ONLY;
    *quadword(probe, TABLE + STACK / 512) = STACK | PTE_WRITABLE;
    *quadword(probe, DATA_A) = VALUE_A;
    *quadword(probe, DATA_B) = VALUE_B;
    uint64_t *root = private_region_root(&probe->region, 0);
    root[0] = POINTERS | PTE_TABLE;
    root[511] = private_region_root_entry(&probe->region);
    private_region_add_cpu(&probe->region, 0);
}

static int create(struct probe *probe, const char *device_path)
{
    struct vm_error failed;

    if (!vm_create(&probe->vm, device_path, &failed))
        return failed.error;
    int error = guest_memory_add(&probe->memory, 0, GUEST_BYTES);
    if (error == 0)
        error = private_region_init(&probe->region, REGION_GPA);
    if (error == 0)
        error = private_region_attach(&probe->region, probe->vm.fd, VM_FIRST_FREE_SLOT);
    if (error < 0)
        return error;
    fill_memory(probe);
    if (!vm_furnish(&probe->vm, &probe->memory, &failed))
        return failed.error;
    probe->vcpu_fd = ioctl(probe->vm.fd, KVM_CREATE_VCPU, 0);
    if (probe->vcpu_fd < 0)
        return -errno;
    probe->run =
        mmap(NULL, probe->vm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu_fd, 0);
    return probe->run == MAP_FAILED ? -errno : 0;
}

static void destroy(struct probe *probe)
{
    if (probe->run != MAP_FAILED)
        munmap(probe->run, probe->vm.run_size);
    if (probe->vcpu_fd >= 0)
        close(probe->vcpu_fd);
    vm_destroy(&probe->vm);
    if (probe->region.memory)
        private_region_destroy(&probe->region);
    guest_memory_free(&probe->memory);
}

static int set_state(struct probe *probe, bool user, uint64_t root, uint64_t rip, uint64_t rsp)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = rip, .rsp = rsp, .rflags = 2};

    if (ioctl(probe->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    sregs.cr3 = root;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA | EFER_NXE;
    sregs.cs = user ? descriptor_flat_code(PRIVATE_CODE_SELECTOR | SELECTOR_RPL, 3, true)
                    : descriptor_flat_code(PRIVATE_CODE_SELECTOR, 0, true);
    sregs.ss = user ? descriptor_flat_data(PRIVATE_DATA_SELECTOR | SELECTOR_RPL, 3)
                    : descriptor_flat_data(PRIVATE_DATA_SELECTOR, 0);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    kvm_run_set_private_tables(&sregs, 0);
    if (ioctl(probe->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
        ioctl(probe->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return -errno;
    return 0;
}

/* Runs to the next OUT and returns its port, or -errno; -EPROTO for any other exit. */
static int run_to_out(struct probe *probe)
{
    int result;

    do {
        result = ioctl(probe->vcpu_fd, KVM_RUN, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        return -errno;
    return probe->run->exit_reason == KVM_EXIT_IO ? probe->run->io.port : -EPROTO;
}

/* What the program read, or FAULTED. Returns 0, or -errno. */
static int run_program(struct probe *probe, uint64_t *value)
{
    struct kvm_regs regs;

    int error =
        set_state(probe, true, private_region_root_gpa(&probe->region, 0), CODE, STACK + 0x800);
    if (error < 0)
        return error;
    int port = run_to_out(probe);
    if (port < 0)
        return port;
    if (ioctl(probe->vcpu_fd, KVM_GET_REGS, &regs) < 0)
        return -errno;
    int vector = private_region_stub_at(regs.rip - PRIVATE_STUB_LENGTH);
    if (port != PRIVATE_STUB_PORT || (vector != VECTOR_BP && vector != VECTOR_PF))
        return -EPROTO;
    *value = vector == VECTOR_PF ? FAULTED : regs.rax;
    return 0;
}

static int zap(struct probe *probe, uint64_t gpa)
{
    private_region_set_zaps(&probe->region, &gpa, 1);
    int error = set_state(probe, false, private_region_root_of_routines(&probe->region),
                          private_region_routine(PRIVATE_ZAP), private_region_stack(0));
    if (error < 0)
        return error;
    int port = run_to_out(probe);
    if (port < 0)
        return port;
    return port == PRIVATE_DONE_PORT ? 0 : -EPROTO;
}

/* A change of a word, the zap that goes with it, and what the program must see afterwards. */
struct step {
    uint64_t gpa;
    uint64_t entry;
    uint64_t zap;
    uint64_t expected;
};

#define ENTRY_GPA (TABLE + MAPPED / 512)
static const struct step reads[] = {
    {ENTRY_GPA, DATA_A | PTE_WRITABLE, 0, VALUE_A},
    {ENTRY_GPA, DATA_B | PTE_WRITABLE, ENTRY_GPA, VALUE_B},
    {ENTRY_GPA, 0, TABLE | ZAP_TABLE, FAULTED},
    {ENTRY_GPA, DATA_A | PTE_WRITABLE, 0, VALUE_A},
    {DIRECTORY, OTHER_TABLE | PTE_TABLE, DIRECTORY, VALUE_B},
    {DIRECTORY, TABLE | PTE_TABLE, DIRECTORY, VALUE_A},
};
static const struct step writes[] = {
    {ENTRY_GPA, DATA_A | PTE_WRITABLE, 0, VALUE_A},
    {ENTRY_GPA, DATA_A | PTE_READ_ONLY, ENTRY_GPA, FAULTED},
};

/* 1, 0 when a step shows another result, or -errno. */
static int try_steps(struct probe *probe, const struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        *quadword(probe, steps[i].gpa) = steps[i].entry;
        int error = steps[i].zap ? zap(probe, steps[i].zap) : 0;
        if (error == 0)
            error = run_program(probe, &value);
        if (error < 0)
            return error;
        /* A program that wrote has what was in RAX, whatever that was. */
        if ((value == FAULTED) != (steps[i].expected == FAULTED) ||
            (steps == reads && value != steps[i].expected))
            return 0;
    }
    return 1;
}

static int try_all(struct probe *probe)
{
    memcpy(quadword(probe, OTHER_TABLE), quadword(probe, TABLE), PAGE_SIZE);
    *quadword(probe, OTHER_TABLE + MAPPED / 512) = DATA_B | PTE_WRITABLE;
    set_code(probe, code_read, sizeof code_read);
    int works = try_steps(probe, reads, sizeof reads / sizeof *reads);
    if (works != 1)
        return works;
    set_code(probe, code_write, sizeof code_write);
    return try_steps(probe, writes, sizeof writes / sizeof *writes);
}

int engine_probe(const char *device_path)
{
    struct probe probe = {.vm = {.kvm_fd = -1, .fd = -1}, .vcpu_fd = -1, .run = MAP_FAILED};

    int result = create(&probe, device_path);
    if (result == 0)
        result = try_all(&probe);
    destroy(&probe);
    /* An exit that the engine could not make sense of either. */
    return result == -EPROTO || result == -EINVAL || result == -ENOTSUP ? 0 : result;
}
