/* Whether the CPU is QEMU's translator: an oracle only where that is right. */
#ifndef TSVM_TEST_EMULATED_CPU_H
#define TSVM_TEST_EMULATED_CPU_H

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_1_ECX_HYPERVISOR (1u << 31)

static inline bool cpu_is_emulated(void)
{
    uint32_t eax, ebx, ecx, edx, name[3];

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & CPUID_1_ECX_HYPERVISOR))
        return false;
    __cpuid(CPUID_HYPERVISOR, eax, name[0], name[1], name[2]);
    return memcmp(name, "TCGTCGTCGTCG", sizeof name) == 0;
}

#endif
