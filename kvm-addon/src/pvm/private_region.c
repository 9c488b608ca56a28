#include "private_region.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../emulator/shim.h"
#include "arch.h"
#include "reserve.h"

#define ENTRIES 512u

/*
 * Offsets in the region. Up to the first table they are mapped, at the same offsets, from
 * PRIVATE_VA.
 */
#define SHIM 0x0u
#define DOORBELL 0x1000u
#define IDT 0x2000u
#define STUBS 0x3000u
#define ROUTINES 0x4000u
#define ZAPS 0x5000u
#define GDT 0x6000u
#define CPU_PAGES 0x10000u /* a page each */
#define CPU_PAGES_MAX 32u
#define MAPPED_END (CPU_PAGES + CPU_PAGES_MAX * PAGE_SIZE)
#define ROUTINES_ROOT 0x30000u
#define TOP_POINTERS 0x31000u
#define TOP_DIRECTORY 0x32000u
#define TOP_TABLE 0x33000u
#define WINDOW_POINTERS 0x34000u
#define WINDOW_DIRECTORY 0x35000u
#define WINDOW_TABLE 0x36000u
#define ROOTS 0x40000u
#define SPARE (ROOTS + PRIVATE_ROOTS * PAGE_SIZE) /* a page in a slot of its own, to take away */
#define END (SPARE + PAGE_SIZE)

_Static_assert(END <= PRIVATE_REGION_SPAN, "the region has room for the pool");
_Static_assert(MAPPED_END <= ROUTINES_ROOT, "tables are not mapped");

/* Of page table entries (SDM 3A 4.5). Accessed and dirty are preset: KVM need not write them. */
#define PTE_TABLE 0x67ull
#define PTE_READ_ONLY 0x61ull
#define PTE_WRITABLE 0x63ull
#define PTE_USER 0x04ull
#define PTE_NO_EXECUTE (1ull << 63)

#define TSS_RSP0 4u
#define TSS_IO_MAP 0x66u

#define GATE_INTERRUPT_PRESENT 0x8e00ull
#define GATE_DPL3 0x6000ull

#define ROUTINE_LENGTH 16u
#define WINDOW_DEVICES 256u /* entries of the window's table: the zaps, then the vCPUs' devices */
#define STACK_BOTTOM 0x200u /* of a vCPU's page: the TSS ends below */

_Static_assert(PRIVATE_ZAPS_MAX <= WINDOW_DEVICES && WINDOW_DEVICES + CPU_PAGES_MAX <= ENTRIES,
               "the window has room for all");

/* From firmware/engine-routines.S. */
extern const uint8_t tsvm_engine_routines_start[];
extern const uint8_t tsvm_engine_routines_end[];
extern const uint8_t tsvm_engine_stubs_start[];
extern const uint8_t tsvm_engine_stubs_end[];

/* out %al, $PRIVATE_DONE_PORT */
static const uint8_t done_code[] = {0xe6, PRIVATE_DONE_PORT};

uint64_t *private_region_root(const struct private_region *region, unsigned index)
{
    return (uint64_t *)(region->memory + ROOTS + index * PAGE_SIZE);
}

uint64_t private_region_root_gpa(const struct private_region *region, unsigned index)
{
    return region->gpa + ROOTS + index * PAGE_SIZE;
}

uint64_t private_region_root_entry(const struct private_region *region)
{
    return (region->gpa + TOP_POINTERS) | PTE_TABLE;
}

uint64_t private_region_root_of_routines(const struct private_region *region)
{
    return region->gpa + ROUTINES_ROOT;
}

uint64_t private_region_shim_end(void)
{
    return PRIVATE_SHIM_VA + emu_shim_resume_offset();
}

uint64_t private_region_doorbell_gpa(const struct private_region *region)
{
    return region->gpa + DOORBELL;
}

int private_region_stub_at(uint64_t rip)
{
    uint64_t offset = rip - (PRIVATE_VA + STUBS);
    if (offset >= 256 * PRIVATE_STUB_LENGTH || offset % PRIVATE_STUB_LENGTH)
        return -1;
    return (int)(offset / PRIVATE_STUB_LENGTH);
}

uint64_t private_region_routine(enum private_routine routine)
{
    return PRIVATE_VA + (routine == PRIVATE_ZAP ? ZAPS : ROUTINES + routine * ROUTINE_LENGTH);
}

uint64_t private_region_tss(unsigned cpu)
{
    return PRIVATE_VA + CPU_PAGES + cpu * PAGE_SIZE;
}

uint64_t private_region_stack(unsigned cpu)
{
    return private_region_tss(cpu) + PAGE_SIZE;
}

bool private_region_read_stack(const struct private_region *region, unsigned cpu, uint64_t rsp,
                               uint64_t *words, unsigned count)
{
    uint64_t offset = rsp - private_region_tss(cpu);
    if (offset < STACK_BOTTOM || offset > PAGE_SIZE || PAGE_SIZE - offset < count * sizeof *words)
        return false;
    memcpy(words, region->memory + CPU_PAGES + cpu * PAGE_SIZE + offset, count * sizeof *words);
    return true;
}

static uint64_t gate(unsigned vector)
{
    uint64_t target = PRIVATE_VA + STUBS + vector * PRIVATE_STUB_LENGTH;
    uint64_t attributes = GATE_INTERRUPT_PRESENT;
    if (vector == VECTOR_BP || vector == VECTOR_OF)
        attributes |= GATE_DPL3;
    return (target & 0xffff) | (uint64_t)PRIVATE_CODE_SELECTOR << 16 | attributes << 32 |
           (target >> 16 & 0xffff) << 48;
}

static void copy_code(uint8_t *to, const uint8_t *start, const uint8_t *end)
{
    memcpy(to, start, (size_t)(end - start));
}

static void write_code(struct private_region *region)
{
    uint8_t *memory = region->memory;
    uint64_t *idt = (uint64_t *)(memory + IDT);
    /* Flat code and data of CPL 0; all else is loaded by KVM_SET_SREGS with its hidden part. */
    static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

    emu_shim_copy(memory + SHIM);
    copy_code(memory + STUBS, tsvm_engine_stubs_start, tsvm_engine_stubs_end);
    copy_code(memory + ROUTINES, tsvm_engine_routines_start, tsvm_engine_routines_end);
    for (unsigned vector = 0; vector < 256; vector++) {
        idt[2 * vector] = gate(vector);
        idt[2 * vector + 1] = PRIVATE_VA >> 32;
    }
    memcpy(memory + GDT, gdt, sizeof gdt);
}

void private_region_add_cpu(struct private_region *region, unsigned cpu)
{
    uint8_t *tss = region->memory + CPU_PAGES + cpu * PAGE_SIZE;
    uint64_t rsp0 = private_region_stack(cpu);
    /* KVM's emulator asks the TSS whether a program may use a port: none here. */
    const uint16_t no_io_map = UINT16_MAX;

    memcpy(tss + TSS_RSP0, &rsp0, sizeof rsp0);
    memcpy(tss + TSS_IO_MAP, &no_io_map, sizeof no_io_map);
}

static uint64_t rights(uint32_t offset)
{
    switch (offset) {
    case SHIM:
        return PTE_READ_ONLY | PTE_USER;
    case DOORBELL:
        return PTE_WRITABLE | PTE_USER | PTE_NO_EXECUTE;
    case STUBS:
    case ROUTINES:
    case ZAPS:
        return PTE_READ_ONLY;
    default:
        return PTE_WRITABLE | PTE_NO_EXECUTE;
    }
}

static void write_tables(struct private_region *region)
{
    uint64_t gpa = region->gpa;
    uint64_t *table = (uint64_t *)(region->memory + TOP_TABLE);
    uint64_t *root = (uint64_t *)(region->memory + ROUTINES_ROOT);

    for (uint32_t offset = 0; offset < MAPPED_END; offset += PAGE_SIZE)
        table[offset / PAGE_SIZE] = (gpa + offset) | rights(offset);
    ((uint64_t *)(region->memory + TOP_DIRECTORY))[ENTRIES - 1] = (gpa + TOP_TABLE) | PTE_TABLE;
    ((uint64_t *)(region->memory + TOP_POINTERS))[ENTRIES - 1] = (gpa + TOP_DIRECTORY) | PTE_TABLE;
    root[ENTRIES - 1] = private_region_root_entry(region);
    root[0] = (gpa + WINDOW_POINTERS) | PTE_TABLE;
    *(uint64_t *)(region->memory + WINDOW_POINTERS) = (gpa + WINDOW_DIRECTORY) | PTE_TABLE;
    *(uint64_t *)(region->memory + WINDOW_DIRECTORY) = (gpa + WINDOW_TABLE) | PTE_TABLE;
}

/* The region's slots, in their order. */
static const struct part {
    uint32_t flags;
    uint32_t start;
    uint32_t end;
} parts[PRIVATE_REGION_SLOTS] = {
    {KVM_MEM_READONLY, SHIM, DOORBELL},
    {0, IDT, SPARE},
    {0, SPARE, END},
};
#define SPARE_PART 2u

/* Without `present` the slot is taken away. */
static int set_slot(const struct private_region *region, int vm_fd, unsigned index, bool present)
{
    const struct part *part = &parts[index];
    struct kvm_userspace_memory_region memory = {
        .slot = region->slot + index,
        .flags = part->flags,
        .guest_phys_addr = region->gpa + part->start,
        .memory_size = present ? part->end - part->start : 0,
        .userspace_addr = (uintptr_t)region->memory + part->start,
    };
    return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &memory) < 0 ? -errno : 0;
}

void private_region_zap_all(const struct private_region *region, int vm_fd)
{
    set_slot(region, vm_fd, SPARE_PART, false);
    set_slot(region, vm_fd, SPARE_PART, true);
}

int private_region_init(struct private_region *region, uint64_t gpa)
{
    if (gpa % PRIVATE_REGION_SPAN)
        return -EINVAL;
    void *memory = reserve(PRIVATE_REGION_SPAN);
    if (!memory)
        return -ENOMEM;
    *region = (struct private_region){.gpa = gpa, .memory = memory};
    write_code(region);
    write_tables(region);
    return 0;
}

int private_region_attach(struct private_region *region, int vm_fd, unsigned slot)
{
    int error = 0;

    region->slot = slot;
    for (unsigned i = 0; i < PRIVATE_REGION_SLOTS && error == 0; i++)
        error = set_slot(region, vm_fd, i, true);
    return error;
}

void private_region_destroy(struct private_region *region)
{
    release(region->memory, PRIVATE_REGION_SPAN);
    region->memory = NULL;
}

uint64_t private_region_map_device(struct private_region *region, unsigned cpu, uint64_t gpa)
{
    uint64_t *window = (uint64_t *)(region->memory + WINDOW_TABLE);
    unsigned entry = WINDOW_DEVICES + cpu;

    window[entry] = (gpa & PAGE_BASE) | PTE_WRITABLE | PTE_NO_EXECUTE;
    return entry * PAGE_SIZE + (gpa & PAGE_OFFSET);
}

void private_region_set_zaps(struct private_region *region, const uint64_t *zaps, unsigned count)
{
    /* lock or $0, address: 8 bytes wide, and 2 bytes wide with the operand-size prefix */
    static const uint8_t zap_entry[] = {0xf0, 0x48, 0x83, 0x0c, 0x25};
    static const uint8_t zap_table[] = {0xf0, 0x66, 0x83, 0x0c, 0x25};
    uint64_t *window = (uint64_t *)(region->memory + WINDOW_TABLE);
    uint8_t *code = region->memory + ZAPS;

    for (unsigned i = 0; i < count; i++) {
        bool whole = zaps[i] & ZAP_TABLE;
        uint64_t gpa = zaps[i] & ~7ull;
        uint32_t address = (uint32_t)(i * PAGE_SIZE + (gpa & PAGE_OFFSET));
        window[i] = (gpa & PAGE_BASE) | PTE_WRITABLE | PTE_NO_EXECUTE;
        memcpy(code, whole ? zap_table : zap_entry, sizeof zap_entry);
        memcpy(code + sizeof zap_entry, &address, sizeof address);
        code[sizeof zap_entry + sizeof address] = 0;
        code += sizeof zap_entry + sizeof address + 1;
    }
    memcpy(code, done_code, sizeof done_code);
}
