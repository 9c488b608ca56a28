#include "engine.h"

#include "../vcpu/vcpu.h"

void engine_kick(struct cpu *cpu, enum cpu_attention why)
{
    cpu_attract(cpu, why);
    vcpu_interrupt(cpu->vcpu);
}
