#include "counters.h"

#include <stddef.h>
#include <stdio.h>

#include "cpu.h"
#include "engine_api.h"

static const struct {
    const char *name;
    size_t offset;
} named[] = {
    {"interpretedKernel", offsetof(struct cpu_counters, interpreted[0])},
    {"interpretedUser", offsetof(struct cpu_counters, interpreted[1])},
    {"decoded", offsetof(struct cpu_counters, decoded)},
    {"codeFlushes", offsetof(struct cpu_counters, code_flushes)},
    {"codeInvalidations", offsetof(struct cpu_counters, code_invalidations)},
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

void engine_read_counters(const struct cpu *cpu, engine_add_counter *add, void *context)
{
    const struct cpu_counters *counters = cpu->counters;
    char name[32];

    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        uint64_t value = read_counter((const uint64_t *)((const char *)counters + named[i].offset));
        if (value)
            add(context, named[i].name, value);
    }
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
