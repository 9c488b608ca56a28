/* A vCPU for tests of fpu*.c and simd*.c without KVM and without guest memory. */
#ifndef TSVM_TEST_ENGINE_SIMD_FAKE_H
#define TSVM_TEST_ENGINE_SIMD_FAKE_H

#include <stdlib.h>
#include <string.h>

#include "../../src/pvm/counters.h"
#include "../../src/pvm/fpu.h"
#include "../../src/pvm/fpu_state.h"

static inline struct cpu *fake_cpu(void)
{
    static struct cpu_counters counters;
    struct cpu *cpu = calloc(1, sizeof *cpu);

    if (!cpu || fpu_init(cpu))
        abort();
    cpu->fd = -1;
    cpu->counters = &counters;
    cpu->sregs.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_MP;
    cpu->sregs.cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT;
    cpu->fpu->xcr0 = fpu_host.xcr0;
    return cpu;
}

static inline void fake_cpu_destroy(struct cpu *cpu)
{
    fpu_destroy(cpu);
    free(cpu);
}

#endif
