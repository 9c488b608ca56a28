#include "cpu.h"

#include <errno.h>
#include <stdlib.h>

#include "arch.h"
#include "code_cache.h"
#include "counters.h"
#include "engine.h"
#include "safepoint.h"
#include "tlb.h"
#include "translator.h"

void cpu_choose_tlb(struct cpu *cpu)
{
    enum tlb_mode mode = TLB_SUPERVISOR;
    if (cpu->cpl == 3)
        mode = TLB_USER;
    else if (cpu->sregs.cr4 & CR4_SMAP && cpu->rflags & RFLAGS_AC)
        mode = TLB_SUPERVISOR_AC;
    cpu->tlb = cpu->tlbs[mode];
}

void cpu_set_cpl(struct cpu *cpu, unsigned cpl)
{
    cpu->counters->interpreted[cpu->cpl == 3] += cpu->executed;
    cpu->executed = 0;
    cpu->cpl = (uint8_t)cpl;
    cpu_choose_tlb(cpu);
    code_choose(cpu);
}

int cpu_init(struct cpu *cpu, struct engine *engine, unsigned index)
{
    cpu->engine = engine;
    cpu->index = index;
    cpu->counters = calloc(1, sizeof(*cpu->counters));
    if (!cpu->counters || safepoint_init(cpu) != 0 || code_cache_init(cpu) != 0)
        return -ENOMEM;
    translator_init(cpu);
    tlb_flush_all(cpu);
    cpu_set_rflags(cpu, 2);
    cpu_set_cpl(cpu, 0);
    engine->cpus[index] = cpu;
    if (engine->cpu_count <= index)
        engine->cpu_count = index + 1;
    return 0;
}

void cpu_destroy(struct cpu *cpu)
{
    translator_destroy(cpu);
    code_cache_destroy(cpu);
    safepoint_destroy(cpu);
    free(cpu->counters);
    cpu->counters = NULL;
}

void cpu_leave(struct cpu *cpu, const struct insn *insn, enum interpreted why)
{
    if (insn) {
        cpu->rip = cpu->r[REG_PAGE] + insn_offset(insn);
        cpu->executed += insn->ordinal; /* those before it in its run */
    }
    longjmp(cpu->leave, (int)why);
}

void cpu_raise(struct cpu *cpu, const struct insn *insn, unsigned vector)
{
    cpu->exception = (struct cpu_exception){.vector = (uint8_t)vector};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}

void cpu_raise_error(struct cpu *cpu, const struct insn *insn, unsigned vector, uint32_t error)
{
    cpu->exception =
        (struct cpu_exception){.vector = (uint8_t)vector, .has_error = true, .error = error};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}

void cpu_raise_page_fault(struct cpu *cpu, const struct insn *insn, uint64_t va, uint32_t error)
{
    cpu->exception = (struct cpu_exception){
        .vector = VECTOR_PF, .has_error = true, .error = error, .address = va};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}
