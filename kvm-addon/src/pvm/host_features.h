/* Optional instructions of the host's processor that handlers use. */
#ifndef TSVM_PVM_HOST_FEATURES_H
#define TSVM_PVM_HOST_FEATURES_H

#include <stdbool.h>

struct host_features {
    bool popcnt;
    bool crc32; /* SSE4.2 */
    bool rdrand;
    bool rdseed;
    bool lzcnt;
    bool bmi1;
    bool bmi2;
    bool adx;
};

/* Read from CPUID when the program starts. */
const struct host_features *host_features(void);

#endif
