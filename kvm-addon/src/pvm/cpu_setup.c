#include "cpu_setup.h"

#include <errno.h>
#include <stdlib.h>

#include "code_cache.h"
#include "counters.h"
#include "cpu_mode.h"
#include "engine.h"
#include "safepoint.h"
#include "tlb.h"
#include "translator.h"

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
