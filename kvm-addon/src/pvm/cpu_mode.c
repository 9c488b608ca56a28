#include "cpu_mode.h"

#include "code_cache.h"
#include "counters.h"

void cpu_set_cpl(struct cpu *cpu, unsigned cpl)
{
    cpu->counters->interpreted[cpu->cpl == 3] += cpu->executed;
    cpu->executed = 0;
    cpu->cpl = (uint8_t)cpl;
    cpu_choose_tlb(cpu);
    code_choose(cpu);
}
