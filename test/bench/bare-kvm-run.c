/*
 * The smallest VMM that runs the payload: a loop that calls KVM_RUN again immediately. Its times
 * are lower bounds for exits and start-up. It has no interrupt controller, and its only devices are
 * a serial port that is always ready, and port 0x600 to power off.
 *
 *   bare-kvm-run PAYLOAD.ELF "COMMAND LINE"
 *
 * Prints what the guest prints, then the guest's TSC frequency as "tsc_khz=N".
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE (64ull << 20)
#define START_INFO_GPA 0x1000
#define MEMORY_MAP_GPA 0x1100
#define CMDLINE_GPA 0x2000
#define CMDLINE_SIZE_MAX 4096

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define HVM_START_MAGIC 0x336ec578
#define CR0_PE_ET 0x11

#define UART_DATA 0x3f8
#define UART_LSR 0x3fd
#define UART_LSR_THR_EMPTY 0x20
#define SLEEP_CONTROL 0x600

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, memory_map;
    uint32_t memory_map_count, reserved;
};

struct memory_map_entry {
    uint64_t address, size;
    uint32_t type, reserved;
};

struct pvh_note {
    Elf64_Nhdr header;
    char name[4];
    uint64_t entry;
};

static uint8_t *memory;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int check(int result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

/* Returns the PVH entry. The payload's headers are trusted. */
static uint64_t payload_load(const char *path)
{
    int fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t *file = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        fail(path);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(file + header->e_phoff);
    uint64_t entry = 0;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const uint8_t *bytes = file + segments[i].p_offset;
        if (segments[i].p_type == PT_LOAD)
            memcpy(memory + segments[i].p_paddr, bytes, segments[i].p_filesz);
        if (segments[i].p_type == PT_NOTE &&
            ((const struct pvh_note *)bytes)->header.n_type == XEN_ELFNOTE_PHYS32_ENTRY)
            entry = ((const struct pvh_note *)bytes)->entry;
    }
    return entry;
}

static void start_info_write(const char *cmdline)
{
    *(struct start_info *)(memory + START_INFO_GPA) = (struct start_info){
        .magic = HVM_START_MAGIC,
        .version = 1,
        .cmdline = CMDLINE_GPA,
        .memory_map = MEMORY_MAP_GPA,
        .memory_map_count = 1,
    };
    *(struct memory_map_entry *)(memory + MEMORY_MAP_GPA) =
        (struct memory_map_entry){.size = MEMORY_SIZE, .type = 1};
    strncpy((char *)memory + CMDLINE_GPA, cmdline, CMDLINE_SIZE_MAX - 1);
}

/* 32-bit protected mode, flat segments, paging off (the PVH boot protocol). */
static void registers_set(int vcpu, uint64_t entry)
{
    struct kvm_sregs sregs;
    check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    struct kvm_segment segment = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
    sregs.cs = segment;
    segment.type = 3;
    segment.selector = 16;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
    sregs.cr0 = CR0_PE_ET;
    check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = entry, .rbx = START_INFO_GPA, .rflags = 2};
    check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void cpuid_set(int kvm, int vcpu)
{
    static struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid = {.head.nent = 256};
    check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    check(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
}

/* Runs the guest until it writes to SLEEP_CONTROL. */
static void run(int vcpu, struct kvm_run *state)
{
    for (;;) {
        check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        if (state->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "exit reason %u\n", state->exit_reason);
            exit(1);
        }
        uint8_t *data = (uint8_t *)state + state->io.data_offset;
        if (state->io.direction == KVM_EXIT_IO_IN)
            *data = state->io.port == UART_LSR ? UART_LSR_THR_EMPTY : 0;
        else if (state->io.port == UART_DATA)
            check((int)write(STDOUT_FILENO, data, 1), "write");
        else if (state->io.port == SLEEP_CONTROL)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s PAYLOAD.ELF \"COMMAND LINE\"\n", argv[0]);
        return 2;
    }
    int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_SIZE,
                                                 .userspace_addr = (uintptr_t)memory};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    size_t state_size = (size_t)check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_RUN's size");
    struct kvm_run *state = mmap(NULL, state_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (state == MAP_FAILED)
        fail("mmap");
    cpuid_set(kvm, vcpu);
    start_info_write(argv[2]);
    registers_set(vcpu, payload_load(argv[1]));
    run(vcpu, state);
    printf("tsc_khz=%d\n", check(ioctl(vcpu, KVM_GET_TSC_KHZ, 0), "KVM_GET_TSC_KHZ"));
    return 0;
}
