/*
 * Attempts at CPL 0 that may raise exceptions: an exception ends the attempt and is reported.
 * For the boot CPU, inside a function of cpl0_call().
 */
#ifndef PAYLOAD_ATTEMPT_H
#define PAYLOAD_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#define NO_EXCEPTION (~0ull)

struct attempt {
    uint64_t vector; /* or NO_EXCEPTION */
    uint64_t error_code;
    uint64_t cr2;
    uint64_t rip;
    uint64_t cpl;
};

/* Call around all attempts: exceptions use a separate stack, so that any RSP is possible. */
void attempts_begin(void);
void attempts_end(void);

typedef void attempt_function(uint64_t argument);

/*
 * Calls the function, then restores control registers, EFER, descriptor tables and segments,
 * provided that the identity map and the IDT are still accessible.
 */
struct attempt attempt(attempt_function *function, uint64_t argument);

/* Executes code at CPL 3 with this stack, until an exception. Maskable interrupts are off. */
struct attempt attempt_cpl3(uint64_t rip, uint64_t rsp, uint64_t rdi);

/* Ends the work of other CPUs, which have no exception stack while there are attempts. */
static inline _Noreturn void cpl0_rest(void)
{
    for (;;)
        __asm__ volatile("cli\n hlt");
}

/* While it is set, an NMI from another CPU ends the attempt. At other times NMIs are ignored. */
extern volatile bool attempt_under_way;

/* For exception_report(): continues after the current attempt, if any. */
struct exception_frame;
void attempt_caught(const struct exception_frame *frame, uint64_t cr2);

static inline uint64_t read_cr3(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static inline void write_cr3(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline void invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

#endif
