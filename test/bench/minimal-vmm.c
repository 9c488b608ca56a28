/*
 * The smallest VMM that boots Linux: one vCPU, KVM's own interrupt controllers and timer, a serial
 * port that only prints, and the C core's workarounds where KVM needs them. Its time from the start
 * of a kernel to the first program is a lower bound.
 *
 *   minimal-vmm VMLINUX INITRD MEMORY_MIB "COMMAND LINE"
 *
 * Prints the guest's output and runs until it is killed.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kvm-addon/src/emulator/compat.h"
#include "../../kvm-addon/src/kvm/cpuid.h"
#include "../../kvm-addon/src/kvm/host_probe.h"
#include "../../kvm-addon/src/memory/guest_memory.h"

#define DEVICE "/dev/kvm"
#define MIB (1ull << 20)
#define PAGE_LENGTH 0x1000u

/* Guest addresses. */
#define GDT_GPA 0x500
#define ZERO_PAGE_GPA 0x7000
#define PAGE_TABLES_GPA 0x9000 /* three pages: PML4, PDPT, page directory */
#define CMDLINE_GPA 0x20000
#define MP_TABLE_GPA 0x9fc00 /* the last KiB of base memory, where the kernel searches for it */
#define HIGH_MEMORY_GPA 0x100000
#define SHIM_GPA 0xd8000000u
#define TSS_GPA 0xfffbd000u
#define IDENTITY_MAP_GPA 0xffffc000ull
#define LAPIC_GPA 0xfee00000u
#define IOAPIC_GPA 0xfec00000u

#define PTE_PRESENT_WRITABLE 3u
#define PTE_LARGE 0x80u
#define CR0_PE_ET_NE_PG 0x80000031u
#define CR4_PAE 0x20u
#define EFER_LME_LMA 0x500u
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define COM1 0x3f8
#define COM1_LAST 0x3ff
#define UART_LCR 3
#define UART_LSR 5
#define UART_MSR 6
#define UART_REGISTERS 8
#define LCR_DLAB 0x80
#define LSR_TRANSMITTER_EMPTY 0x60
#define MSR_CTS_DSR_DCD 0xb0
#define I8042_STATUS 0x64
#define CMOS_DATA 0x71

struct file {
    const uint8_t *bytes;
    size_t size;
};

static struct guest_memory memory;
static uint8_t uart[UART_REGISTERS];

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

static struct file file_map(const char *path)
{
    int fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
    size_t size = (size_t)lseek(fd, 0, SEEK_END);
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        fail(path);
    close(fd);
    return (struct file){bytes, size};
}

static void *guest(uint64_t gpa, uint64_t length)
{
    void *hva = guest_memory_at(&memory, gpa, length);
    if (!hva) {
        fprintf(stderr, "0x%llx is not in the guest's memory\n", (unsigned long long)gpa);
        exit(1);
    }
    return hva;
}

/* Returns the 64-bit entry. */
static uint64_t kernel_load(struct file kernel)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)kernel.bytes;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(kernel.bytes + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD)
            memcpy(guest(segments[i].p_paddr, segments[i].p_memsz),
                   kernel.bytes + segments[i].p_offset, segments[i].p_filesz);
    }
    return header->e_entry;
}

static void zero_page_write(uint64_t memory_size, struct file initrd, const char *cmdline)
{
    uint64_t initrd_gpa = (memory_size - initrd.size) & ~(uint64_t)(PAGE_LENGTH - 1);
    memcpy(guest(initrd_gpa, initrd.size), initrd.bytes, initrd.size);
    strcpy(guest(CMDLINE_GPA, strlen(cmdline) + 1), cmdline);
    struct boot_params *params = guest(ZERO_PAGE_GPA, sizeof *params);
    params->hdr = (struct setup_header){
        .boot_flag = 0xaa55,
        .header = 0x53726448, /* "HdrS" */
        .version = 0x20c,
        .type_of_loader = 0xff,
        .ramdisk_image = (uint32_t)initrd_gpa,
        .ramdisk_size = (uint32_t)initrd.size,
        .cmd_line_ptr = CMDLINE_GPA,
    };
    params->e820_entries = 2;
    params->e820_table[0] = (struct boot_e820_entry){0, MP_TABLE_GPA, 1};
    params->e820_table[1] =
        (struct boot_e820_entry){HIGH_MEMORY_GPA, memory_size - HIGH_MEMORY_GPA, 1};
}

static uint8_t checksum(const void *bytes, size_t length)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += ((const uint8_t *)bytes)[i];
    return (uint8_t)-sum;
}

/* Intel MultiProcessor Specification 1.4, section 4: one CPU, an ISA bus, KVM's IO-APIC. */
static void mp_table_write(void)
{
    struct __attribute__((packed)) {
        struct __attribute__((packed)) {
            char signature[4];
            uint32_t table;
            uint8_t paragraphs, revision, checksum, features[5];
        } pointer;
        struct __attribute__((packed)) {
            char signature[4];
            uint16_t length;
            uint8_t revision, checksum;
            char oem[8], product[12];
            uint32_t oem_table;
            uint16_t oem_size, entries;
            uint32_t lapic, extended;
        } header;
        struct __attribute__((packed)) {
            uint8_t type, apic, version, flags;
            uint32_t signature, features, reserved[2];
        } cpu;
        struct __attribute__((packed)) {
            uint8_t type, id;
            char name[6];
        } bus;
        struct __attribute__((packed)) {
            uint8_t type, apic, version, flags;
            uint32_t address;
        } ioapic;
        struct __attribute__((packed)) {
            uint8_t type, kind;
            uint16_t flags;
            uint8_t bus, irq, apic, input;
        } interrupts[18];
    } *mp = guest(MP_TABLE_GPA, sizeof *mp);

    memcpy(mp->pointer.signature, "_MP_", 4);
    mp->pointer.table = MP_TABLE_GPA + sizeof mp->pointer;
    mp->pointer.paragraphs = 1;
    mp->pointer.revision = mp->header.revision = 4;
    memcpy(mp->header.signature, "PCMP", 4);
    mp->header.length = sizeof *mp - sizeof mp->pointer;
    mp->header.entries = 3 + 18;
    mp->header.lapic = LAPIC_GPA;
    mp->cpu.version = 0x14;
    mp->cpu.flags = 3; /* enabled, boot CPU */
    mp->bus.type = 1;
    memcpy(mp->bus.name, "ISA   ", 6);
    mp->ioapic.type = 2;
    mp->ioapic.apic = 1;
    mp->ioapic.version = 0x11;
    mp->ioapic.flags = 1;
    mp->ioapic.address = IOAPIC_GPA;
    for (unsigned irq = 0; irq < 16; irq++) {
        mp->interrupts[irq].type = 3;
        mp->interrupts[irq].flags = 5; /* active high, edge */
        mp->interrupts[irq].irq = mp->interrupts[irq].input = (uint8_t)irq;
        mp->interrupts[irq].apic = 1;
    }
    mp->interrupts[16].type = mp->interrupts[17].type = 4;
    mp->interrupts[16].kind = 3; /* the PIC, at the boot CPU's LINT0 */
    mp->interrupts[17].kind = 1; /* NMI, at every LINT1 */
    mp->interrupts[17].apic = 0xff;
    mp->interrupts[17].input = 1;
    mp->pointer.checksum = checksum(&mp->pointer, sizeof mp->pointer);
    mp->header.checksum = checksum(&mp->header, mp->header.length);
}

/* Linux's 64-bit boot protocol: long mode, the first GiB mapped one to one, RSI at the zero page.
 */
static void registers_set(int vcpu, uint64_t entry)
{
    uint64_t *tables = guest(PAGE_TABLES_GPA, 3 * PAGE_LENGTH);
    tables[0] = (PAGE_TABLES_GPA + PAGE_LENGTH) | PTE_PRESENT_WRITABLE;
    tables[512] = (PAGE_TABLES_GPA + 2 * PAGE_LENGTH) | PTE_PRESENT_WRITABLE;
    for (uint64_t i = 0; i < 512; i++)
        tables[1024 + i] = i << 21 | PTE_LARGE | PTE_PRESENT_WRITABLE;
    const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    memcpy(guest(GDT_GPA, sizeof gdt), gdt, sizeof gdt);

    struct kvm_sregs sregs;
    check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cr0 = CR0_PE_ET_NE_PG;
    sregs.cr3 = PAGE_TABLES_GPA;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME_LMA;
    sregs.gdt.base = GDT_GPA;
    sregs.gdt.limit = sizeof gdt - 1;
    sregs.cs = (struct kvm_segment){
        .limit = ~0u, .selector = BOOT_CS, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    sregs.ss = (struct kvm_segment){
        .limit = ~0u, .selector = BOOT_DS, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = entry, .rsi = ZERO_PAGE_GPA, .rflags = 2};
    check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void cpuid_set(int kvm, int vcpu)
{
    static struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
    int count = check(kvm_get_supported_cpuid(kvm, entries), "KVM_GET_SUPPORTED_CPUID");
    check(kvm_set_cpuid(vcpu, entries, (size_t)count), "KVM_SET_CPUID2");
}

static uint8_t port_read(uint16_t port)
{
    /* The kernel waits for one of these bits to be clear. */
    if (port == I8042_STATUS || port == CMOS_DATA)
        return 0;
    if (port < COM1 || port > COM1_LAST)
        return 0xff;
    switch (port - COM1) {
    case UART_LSR:
        return LSR_TRANSMITTER_EMPTY;
    case UART_MSR:
        return MSR_CTS_DSR_DCD;
    case 0:
        return 0;
    case 2:
        return 1; /* no interrupt is pending, and there is no FIFO */
    default:
        return uart[port - COM1];
    }
}

static void port_write(uint16_t port, uint8_t value)
{
    if (port < COM1 || port > COM1_LAST)
        return;
    bool divisor = uart[UART_LCR] & LCR_DLAB;
    if (port == COM1 && !divisor)
        check((int)write(STDOUT_FILENO, &value, 1), "write");
    else if (port != COM1 + 1 || !divisor)
        uart[port - COM1] = value;
}

static void handle_io(struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count * run->io.size; i++) {
        uint16_t port = (uint16_t)(run->io.port + i % run->io.size);
        if (run->io.direction == KVM_EXIT_IO_IN)
            data[i] = port_read(port);
        else
            port_write(port, data[i]);
    }
}

static _Noreturn void run(int vcpu, struct kvm_run *state, struct emu_cpu *pvm)
{
    for (;;) {
        check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        switch (pvm ? emu_cpu_handle_exit(pvm) : EMU_NOT_MINE) {
        case EMU_HANDLED:
            continue;
        case EMU_FAILED:
            fprintf(stderr, "%s\n", pvm->error);
            exit(1);
        case EMU_NOT_MINE:
            break;
        }
        if (state->exit_reason == KVM_EXIT_IO) {
            handle_io(state);
        } else if (state->exit_reason == KVM_EXIT_MMIO) {
            if (!state->mmio.is_write)
                memset(state->mmio.data, 0xff, sizeof state->mmio.data);
        } else {
            fprintf(stderr, "exit reason %u\n", state->exit_reason);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s VMLINUX INITRD MEMORY_MIB \"COMMAND LINE\"\n", argv[0]);
        return 2;
    }
    uint64_t memory_size = strtoull(argv[3], NULL, 10) * MIB;
    check(guest_memory_add(&memory, 0, memory_size), "mmap");
    int kvm = check(open(DEVICE, O_RDWR | O_CLOEXEC), DEVICE);
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    enum kvm_host host;
    struct vm_error failed;
    if (!kvm_host_probe(DEVICE, &host, &failed)) {
        errno = -failed.error;
        fail(failed.call);
    }
    bool is_pvm = host == KVM_HOST_PVM;
    struct emu_vm emu_vm;
    if (is_pvm)
        check(emu_vm_init(&emu_vm, vm, &memory, 1, SHIM_GPA), "emu_vm_init");
    struct kvm_userspace_memory_region region = {
        .memory_size = memory_size, .userspace_addr = (uintptr_t)guest(0, memory_size)};
    uint64_t identity_map = IDENTITY_MAP_GPA;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    check(ioctl(vm, KVM_SET_TSS_ADDR, TSS_GPA), "KVM_SET_TSS_ADDR");
    check(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
    check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    check(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");

    int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    size_t state_size = (size_t)check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_RUN's size");
    struct kvm_run *state = mmap(NULL, state_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (state == MAP_FAILED)
        fail("mmap");
    static struct emu_cpu emu_cpu;
    if (is_pvm)
        check(emu_cpu_init(&emu_cpu, &emu_vm, vcpu, state), "emu_cpu_init");
    cpuid_set(kvm, vcpu);
    zero_page_write(memory_size, file_map(argv[2]), argv[4]);
    mp_table_write();
    registers_set(vcpu, kernel_load(file_map(argv[1])));
    run(vcpu, state, is_pvm ? &emu_cpu : NULL);
}
