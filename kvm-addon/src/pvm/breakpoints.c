#include "breakpoints.h"

#include "arch.h"
#include "tlb.h"

#define BREAKPOINTS 4u

enum breakpoint_kind { BREAK_EXECUTION, BREAK_WRITE, BREAK_PORT, BREAK_ACCESS };

static bool is_enabled(const struct cpu *cpu, unsigned i)
{
    return cpu->debug.dr7 >> 2 * i & 3;
}

static enum breakpoint_kind kind_of(const struct cpu *cpu, unsigned i)
{
    return (enum breakpoint_kind)(cpu->debug.dr7 >> (16 + 4 * i) & 3);
}

/* LEN: the address is aligned to it. */
static uint64_t size_of(const struct cpu *cpu, unsigned i)
{
    static const uint8_t sizes[] = {1, 2, 8, 4};
    return sizes[cpu->debug.dr7 >> (18 + 4 * i) & 3];
}

void breakpoints_changed(struct cpu *cpu)
{
    struct cpu_breakpoints *set = &cpu->breakpoints;
    bool were_set = set->execution || set->access;

    *set = (struct cpu_breakpoints){.hits = set->hits};
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (!is_enabled(cpu, i) || kind_of(cpu, i) == BREAK_PORT)
            continue;
        if (kind_of(cpu, i) == BREAK_EXECUTION)
            set->execution |= (uint8_t)(1u << i);
        else
            set->access |= (uint8_t)(1u << i);
        set->of_programs |= !(cpu->debug.db[i] >> 63);
    }
    if (were_set || set->execution || set->access)
        tlb_flush_all(cpu);
}

bool breakpoints_in_page(const struct cpu *cpu, uint8_t which, uint64_t va)
{
    for (unsigned i = 0; i < BREAKPOINTS; i++)
        if (which >> i & 1 && ((cpu->debug.db[i] ^ va) & PAGE_BASE) == 0)
            return true;
    return false;
}

unsigned breakpoints_at_instruction(const struct cpu *cpu)
{
    unsigned hits = 0;

    /* The handler has seen it, and returned to it. */
    if (cpu->rflags & RFLAGS_RF)
        return 0;
    for (unsigned i = 0; i < BREAKPOINTS; i++)
        if (cpu->breakpoints.execution >> i & 1 && cpu->debug.db[i] == cpu->rip)
            hits |= 1u << i;
    return hits;
}

static unsigned hits_of(const struct cpu *cpu, uint64_t va, unsigned size, bool is_write)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        uint64_t length = size_of(cpu, i), first = cpu->debug.db[i] & ~(length - 1);
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
