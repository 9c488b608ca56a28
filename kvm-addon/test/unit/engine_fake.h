/*
 * An engine without KVM: guest memory, some vCPUs, a private region in ordinary memory, a device
 * that returns what was written to it, and a decoder of simple instructions. fake_map() builds page
 * tables.
 */
#ifndef TSVM_TEST_ENGINE_FAKE_H
#define TSVM_TEST_ENGINE_FAKE_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../src/pvm/access.h"
#include "../../src/pvm/arch.h"
#include "../../src/pvm/code_cache.h"
#include "../../src/pvm/counters.h"
#include "../../src/pvm/cpu_setup.h"
#include "../../src/pvm/decode.h"
#include "../../src/pvm/devices.h"
#include "../../src/pvm/engine.h"
#include "../../src/pvm/interpret.h"
#include "../../src/pvm/page_entry.h"
#include "../../src/pvm/private_region.h"
#include "../../src/pvm/safepoint.h"
#include "../../src/pvm/tables.h"
#include "../../src/pvm/tlb.h"
#include "../../src/pvm/walk.h"

#define P ENTRY_PRESENT
#define W ENTRY_WRITABLE
#define U ENTRY_USER
#define A ENTRY_ACCESSED
#define D ENTRY_DIRTY
#define PS ENTRY_LARGE
#define G ENTRY_GLOBAL
#define NX ENTRY_NO_EXECUTE

#ifndef FAKE_MEMORY
#define FAKE_MEMORY (16u << 20)
#endif
#define FAKE_ROOT 0x1000u
#define FAKE_DEVICE 0xd0000000ull
#define FAKE_REGION 0xd8000000ull
#define FAKE_CPUS_MAX 8u
/* A test may have read-only memory here: two pages. */
#define FAKE_READ_ONLY (FAKE_MEMORY + 0x200000u)

struct fake {
    struct guest_memory memory;
    struct engine engine;
    struct private_region region;
    struct cpu *cpus;
    uint64_t next_table; /* page tables are allocated from here */
};

/* Its bytes repeat throughout the address space. */
static uint8_t fake_device[64];
static unsigned fake_device_writes;

uint64_t device_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size)
{
    (void)cpu;
    (void)insn;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)fake_device[(gpa + i) % sizeof(fake_device)] << 8 * i;
    return value;
}

void device_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                  uint64_t value)
{
    (void)cpu;
    (void)insn;
    for (unsigned i = 0; i < size; i++)
        fake_device[(gpa + i) % sizeof(fake_device)] = (uint8_t)(value >> 8 * i);
    fake_device_writes++;
}

uint64_t *private_region_root(const struct private_region *region, unsigned index)
{
    return (uint64_t *)(region->memory + index * PAGE_SIZE);
}

uint64_t private_region_root_gpa(const struct private_region *region, unsigned index)
{
    return region->gpa + index * PAGE_SIZE;
}

uint64_t private_region_root_entry(const struct private_region *region)
{
    return (region->gpa + 0x1f0000) | P | W | U;
}

static void fake_handler(struct cpu *cpu, struct insn *insn)
{
    (void)cpu;
    (void)insn;
}

insn_handler *const insn_goto = fake_handler;
insn_handler *const insn_page_end = fake_handler;

/*
 * The opcode's low 4 bits are the length (0 means 1), bit 7 ends a run. The whole byte is stored as
 * the immediate, and the last byte as the displacement.
 */
unsigned decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn, bool *ends)
{
    unsigned length = bytes[0] & 15;
    if (length == 0)
        length = 1;
    if (length > available)
        return 0;
    *insn = (struct insn){.handler = fake_handler,
                          .place = (uint16_t)(offset | length << 12),
                          .immediate = bytes[0],
                          .displacement = bytes[length - 1],
                          .scale = mode == DECODE_COMPAT32};
    *ends = bytes[0] >> 7;
    return length;
}

void decode_fuse(struct insn *first, const struct insn *second)
{
    (void)first;
    (void)second;
}

static inline void *fake_ram(const struct fake *fake, uint64_t gpa)
{
    return guest_memory_at(&fake->memory, gpa, 1);
}

static inline uint64_t *fake_word(const struct fake *fake, uint64_t gpa)
{
    return fake_ram(fake, gpa);
}

/* The entry of `va` in a table of this level; creates missing tables. */
static inline uint64_t *fake_entry(struct fake *fake, uint64_t root, uint64_t va, unsigned level)
{
    uint64_t table = root;
    for (unsigned at = TABLE_LEVELS;; at--) {
        uint64_t *entry = fake_word(fake, table + 8 * entry_index(va, at));
        if (at == level)
            return entry;
        if (!(*entry & P)) {
            memset(fake_ram(fake, fake->next_table), 0, PAGE_SIZE);
            *entry = fake->next_table | P | W | U;
            fake->next_table += PAGE_SIZE;
        }
        table = *entry & ENTRY_ADDRESS;
    }
}

static inline uint64_t *fake_map(struct fake *fake, uint64_t root, uint64_t va, uint64_t entry)
{
    uint64_t *at = fake_entry(fake, root, va, 1);
    *at = entry;
    return at;
}

static inline bool fake_init(struct fake *fake, unsigned cpus)
{
    memset(fake, 0, sizeof(*fake));
    if (guest_memory_add(&fake->memory, 0, FAKE_MEMORY) != 0)
        return false;
#ifdef FAKE_READ_ONLY_FILE
    const struct guest_memory_source file = {.backing = GUEST_MEMORY_PERSISTENT,
                                             .fd = FAKE_READ_ONLY_FILE,
                                             .file_size = 2 * PAGE_SIZE,
                                             .read_only = true};
    if (guest_memory_add_from(&fake->memory, FAKE_READ_ONLY, 2 * PAGE_SIZE, &file) != 0)
        return false;
#endif
    fake->region.gpa = FAKE_REGION;
    fake->region.memory =
        mmap(NULL, PRIVATE_REGION_SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fake->engine.memory = &fake->memory;
    fake->engine.private_region = &fake->region;
    fake->engine.reserved_bits = 0x000fff0000000000ull; /* 40 address bits */
    fake->next_table = FAKE_ROOT + PAGE_SIZE;
    if (frames_init(&fake->engine.frames, &fake->memory) != 0 || tables_init(&fake->engine) != 0)
        return false;
    fake->cpus = calloc(cpus, sizeof(struct cpu));
    for (unsigned i = 0; i < cpus; i++) {
        struct cpu *cpu = &fake->cpus[i];
        if (cpu_init(cpu, &fake->engine, i) != 0)
            return false;
        cpu->sregs.cr0 = CR0_PG | CR0_PE | CR0_WP;
        cpu->sregs.cr3 = FAKE_ROOT;
        cpu->sregs.cr4 = CR4_PAE | CR4_PGE;
        cpu->sregs.efer = EFER_LME | EFER_LMA | EFER_NXE;
        safepoint_enter(cpu);
    }
    return true;
}

static inline void fake_free(struct fake *fake)
{
    for (unsigned i = 0; i < fake->engine.cpu_count; i++)
        cpu_destroy(&fake->cpus[i]);
    free(fake->cpus);
    tables_destroy(&fake->engine);
    frames_destroy(&fake->engine.frames);
    munmap(fake->region.memory, PRIVATE_REGION_SPAN);
    guest_memory_free(&fake->memory);
}

/* 0, or the reason why the expression left the interpreter. */
#define FAKE_TRY(cpu, expression)                                                                  \
    ({                                                                                             \
        int why_ = setjmp((cpu)->leave);                                                           \
        if (why_ == 0)                                                                             \
            expression;                                                                            \
        why_;                                                                                      \
    })

/* Like an instruction that stores the value. */
static inline void fake_store(struct cpu *cpu, uint64_t va, unsigned size, uint64_t value)
{
    void *hit = tlb_write(cpu, va, size);
    if (hit)
        memcpy(hit, &value, size);
    else
        access_store(cpu, NULL, va, size, value);
}

static inline uint64_t fake_load(struct cpu *cpu, uint64_t va, unsigned size)
{
    uint64_t value = 0;
    const void *hit = tlb_read(cpu, va, size);
    if (!hit)
        return access_load(cpu, NULL, va, size);
    memcpy(&value, hit, size);
    return value;
}

#endif
