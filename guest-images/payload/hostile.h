/* Shared by the tests of a VMM's handling of CPL 0 (test_cpl0_*.c). */
#ifndef PAYLOAD_HOSTILE_H
#define PAYLOAD_HOSTILE_H

#include "attempt.h"
#include "experiment.h"
#include "layout.h"
#include "test.h"

enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_BP = 3,
    VECTOR_UD = 6,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
};

/* Error code of a #PF. */
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_RESERVED 8u
#define PF_FETCH 16u

/* Runs the body of a test at CPL 0, where it may use attempts; removes its experiments. */
enum verdict run_at_cpl0(enum verdict (*body)(void));

/* An attempt to load a word; it is in loaded_word. */
extern volatile uint64_t loaded_word;
struct attempt try_load(uint64_t va);
struct attempt try_store(uint64_t va, uint64_t value);
struct attempt try_call(uint64_t va);

/* Addresses without RAM: the local APIC, and a hole without any device. */
#define DEVICE_GPA 0xfee00000ull
#define HOLE_GPA 0xd8000000ull

#endif
