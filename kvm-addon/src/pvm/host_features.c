#include "host_features.h"

#include <cpuid.h>

static struct host_features features;

__attribute__((constructor)) static void ask_processor(void)
{
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        features.popcnt = ecx & bit_POPCNT;
        features.crc32 = ecx & bit_SSE4_2;
        features.rdrand = ecx & bit_RDRND;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        features.bmi1 = ebx & bit_BMI;
        features.bmi2 = ebx & bit_BMI2;
        features.adx = ebx & bit_ADX;
        features.rdseed = ebx & bit_RDSEED;
    }
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
        features.lzcnt = ecx & bit_LZCNT;
}

const struct host_features *host_features(void)
{
    return &features;
}
