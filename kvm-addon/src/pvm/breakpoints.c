#include "breakpoints.h"

#include "arch.h"
#include "tlb.h"

#define BREAKPOINTS 4u
/* Of cpu->breakpoints.execution: the debugger's list is not empty. */
#define BREAKPOINTS_LISTED 0x10u

enum breakpoint_kind { BREAK_EXECUTION, BREAK_WRITE, BREAK_PORT, BREAK_ACCESS };

static uint64_t dr7_of(const struct cpu *cpu)
{
    return breakpoints_are_debuggers(cpu) ? cpu->breakpoints.debugger->dr7 : cpu->debug.dr7;
}

static uint64_t address_of(const struct cpu *cpu, unsigned i)
{
    return breakpoints_are_debuggers(cpu) ? cpu->breakpoints.debugger->registers[i]
                                          : cpu->debug.db[i];
}

static bool is_enabled(const struct cpu *cpu, unsigned i)
{
    return dr7_of(cpu) >> 2 * i & 3;
}

static enum breakpoint_kind kind_of(const struct cpu *cpu, unsigned i)
{
    return (enum breakpoint_kind)(dr7_of(cpu) >> (16 + 4 * i) & 3);
}

/* LEN: the address is aligned to it. */
static uint64_t size_of(const struct cpu *cpu, unsigned i)
{
    static const uint8_t sizes[] = {1, 2, 8, 4};
    return sizes[dr7_of(cpu) >> (18 + 4 * i) & 3];
}

static bool is_of_programs(uint64_t va)
{
    return !(va >> 63);
}

void breakpoints_changed(struct cpu *cpu)
{
    struct cpu_breakpoints *set = &cpu->breakpoints;
    const struct vcpu_debug *debugger = set->debugger;
    bool were_set = set->execution || set->access;

    *set = (struct cpu_breakpoints){.hits = set->hits, .debugger = debugger};
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (!is_enabled(cpu, i) || kind_of(cpu, i) == BREAK_PORT)
            continue;
        if (kind_of(cpu, i) == BREAK_EXECUTION)
            set->execution |= (uint8_t)(1u << i);
        else
            set->access |= (uint8_t)(1u << i);
        set->of_programs |= is_of_programs(address_of(cpu, i));
    }
    if (debugger && debugger->breakpoint_count > 0) {
        set->execution |= BREAKPOINTS_LISTED;
        /* They are in ascending order. */
        set->of_programs |= is_of_programs(debugger->breakpoints[0]);
    }
    if (were_set || set->execution || set->access)
        tlb_flush_all(cpu);
}

static bool is_listed_in_page(const struct vcpu_debug *debugger, uint64_t va)
{
    for (uint32_t i = 0; i < debugger->breakpoint_count; i++)
        if (((debugger->breakpoints[i] ^ va) & PAGE_BASE) == 0)
            return true;
    return false;
}

bool breakpoints_in_page(const struct cpu *cpu, uint8_t which, uint64_t va)
{
    for (unsigned i = 0; i < BREAKPOINTS; i++)
        if (which >> i & 1 && ((address_of(cpu, i) ^ va) & PAGE_BASE) == 0)
            return true;
    return which & BREAKPOINTS_LISTED && is_listed_in_page(cpu->breakpoints.debugger, va);
}

unsigned breakpoints_at_instruction(const struct cpu *cpu)
{
    unsigned hits = 0;

    /* The handler has seen it, and returned to it. */
    if (cpu->rflags & RFLAGS_RF)
        return 0;
    for (unsigned i = 0; i < BREAKPOINTS; i++)
        if (cpu->breakpoints.execution >> i & 1 && address_of(cpu, i) == cpu->rip)
            hits |= 1u << i;
    return hits;
}

static unsigned hits_of(const struct cpu *cpu, uint64_t va, unsigned size, bool is_write)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        uint64_t length = size_of(cpu, i), first = address_of(cpu, i) & ~(length - 1);
        if (cpu->breakpoints.access >> i & 1 && (is_write || kind_of(cpu, i) == BREAK_ACCESS) &&
            va < first + length && va + size > first)
            hits |= 1u << i;
    }
    return hits;
}

void breakpoints_access(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                        bool is_write)
{
    if (__builtin_expect(!cpu->breakpoints.access, 1))
        return;
    unsigned hits = hits_of(cpu, va, size, is_write);
    if (hits == 0)
        return;
    if (insn && !cpu->once)
        cpu_leave(cpu, insn, INTERPRETED_ONCE);
    cpu->breakpoints.hits |= (uint8_t)hits;
    /* A repeated string instruction stops after the element. */
    cpu->budget = -1;
}
