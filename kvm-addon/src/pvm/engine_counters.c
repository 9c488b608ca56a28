/* Reads the counters of a vCPU for metrics. */
#include <stddef.h>
#include <stdio.h>

#include "code_cache.h"
#include "counters.h"
#include "engine.h"
#include "engine_api.h"
#include "private_region.h"
#include "reserve.h"
#include "simd.h"
#include "tables.h"
#include "translator.h"

static const struct {
    const char *name;
    size_t offset;
} named[] = {
    {"interpretedKernel", offsetof(struct cpu_counters, interpreted[0])},
    {"interpretedUser", offsetof(struct cpu_counters, interpreted[1])},
    {"decoded", offsetof(struct cpu_counters, decoded)},
    {"codeFlushes", offsetof(struct cpu_counters, code_flushes)},
    {"codeInvalidations", offsetof(struct cpu_counters, code_invalidations)},
    {"translations", offsetof(struct cpu_counters, translations)},
    {"translated", offsetof(struct cpu_counters, translated)},
    {"pageWalks", offsetof(struct cpu_counters, walks)},
    {"tableWrites", offsetof(struct cpu_counters, table_writes)},
    {"zappedEntries", offsetof(struct cpu_counters, zapped_entries)},
    {"zappedTables", offsetof(struct cpu_counters, zapped_tables)},
    {"zappedAll", offsetof(struct cpu_counters, zapped_all)},
    {"nativeRuns", offsetof(struct cpu_counters, native_runs)},
    {"nativeSystemCalls", offsetof(struct cpu_counters, native_syscalls)},
    {"nativeFaults", offsetof(struct cpu_counters, native_faults)},
    {"interrupts", offsetof(struct cpu_counters, interrupts)},
    {"interruptPolls", offsetof(struct cpu_counters, interrupt_polls)},
    {"interruptsHeld", offsetof(struct cpu_counters, interrupts_held)},
    {"halts", offsetof(struct cpu_counters, halts)},
    {"steps", offsetof(struct cpu_counters, steps)},
    {"legacySteps", offsetof(struct cpu_counters, legacy_steps)},
    {"chipAccesses", offsetof(struct cpu_counters, chip_accesses)},
    {"simd", offsetof(struct cpu_counters, simd)},
    {"frameProtections", offsetof(struct cpu_counters, frame_protections)},
};

static uint64_t read_counter(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Of the VM, reported with its first vCPU. */
static uint64_t shared_resident(const struct engine *engine)
{
    const struct frames *frames = &engine->frames;
    return reserve_resident(frames->of, frames->count * sizeof(struct frame)) +
           reserve_resident(engine->private_region->memory, PRIVATE_REGION_SPAN) +
           tables_resident(engine);
}

static uint64_t resident(const struct cpu *cpu)
{
    uint64_t own =
        sizeof(*cpu) + code_cache_resident(cpu) + simd_arena_size() + translator_resident(cpu);
    return cpu->index == 0 ? own + shared_resident(cpu->engine) : own;
}

void engine_read_counters(const struct cpu *cpu, engine_add_counter *add, void *context)
{
    const struct cpu_counters *counters = cpu->counters;
    char name[32];

    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        uint64_t value = read_counter((const uint64_t *)((const char *)counters + named[i].offset));
        if (value)
            add(context, named[i].name, value);
    }
    add(context, "engineResidentBytes", resident(cpu));
    for (unsigned vector = 0; vector < 32; vector++) {
        snprintf(name, sizeof name, "exception-%u", vector);
        if (read_counter(&counters->exceptions[vector]))
            add(context, name, read_counter(&counters->exceptions[vector]));
    }
    for (unsigned opcode = 0; opcode < 512; opcode++) {
        snprintf(name, sizeof name, "step-%s%02x", opcode < 256 ? "" : "0f", opcode & 0xff);
        if (read_counter(&counters->steps_by_opcode[opcode]))
            add(context, name, read_counter(&counters->steps_by_opcode[opcode]));
    }
}
