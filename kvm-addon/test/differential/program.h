/* A generated program. */
#ifndef TSVM_TEST_PROGRAM_H
#define TSVM_TEST_PROGRAM_H

#include "native.h"

#define PROGRAM_BYTES_MAX 512u
#define PROGRAM_INSNS_MAX 12u

struct program {
    bool compat;
    uint8_t bytes[PROGRAM_BYTES_MAX]; /* without the jump at the end */
    unsigned length;
    unsigned insns;
    struct state start; /* its rip is the program's address in the code pages */
    uint64_t undefined; /* status flags that are defined at the end */
};

#endif
