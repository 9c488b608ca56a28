/*
 * A guest's PID 1 that looks whether memory, registers and time are what a program may count on:
 * whatever a VMM's address translation, its caches of code or its switches between ways of
 * execution get wrong shows here as wrong data. See main.c for how it is told what to do.
 */
#ifndef SOAK_H
#define SOAK_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096u

/* Counts a failure and prints where it is, a few times per place. From any thread or process. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        static int told_;                                                                          \
        if (!(condition))                                                                          \
            soak_fail(#condition, __FILE__, __LINE__, &told_);                                     \
    } while (0)
void soak_fail(const char *condition, const char *file, int line, int *told);

/* Pseudo-random, the same in each run; not thread-safe. */
uint32_t soak_random(void);
unsigned soak_below(unsigned limit);

/* Computes without system calls or faults: long enough to be executed natively, or shortly. */
void soak_spin(unsigned steps);
#define LONG 100000u
#define SHORT 20u

/* Zeroed pages; ends the program if there are none. */
uint8_t *soak_pages(size_t count, int protection);
/* Shared by the processes that fork() creates. */
void *soak_shared(size_t bytes);

/* Waits for a child; its exit code, or 1000 + the signal that ended it. */
int soak_wait(pid_t child);
/* Runs `body` in a child with default signal handlers. */
int soak_child(int (*body)(void *), void *argument);

/*
 * Runs an expression that may raise SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGTRAP in this thread; the
 * signal, or 0. What was accessed is in soak_fault_address.
 */
extern __thread sigjmp_buf soak_escape;
extern __thread volatile bool soak_may_fault;
extern __thread volatile uintptr_t soak_fault_address;
void soak_catch_faults(void);
#define FAULT_OF(expression)                                                                       \
    ({                                                                                             \
        int signal_ = sigsetjmp(soak_escape, 1);                                                   \
        soak_may_fault = signal_ == 0;                                                             \
        if (signal_ == 0)                                                                          \
            (void)(expression);                                                                    \
        soak_may_fault = false;                                                                    \
        signal_;                                                                                   \
    })

unsigned soak_cpus(void);
bool soak_has_avx(void);
bool soak_has_avx512(void);

/* The parts, in main.c's table. */
void soak_copy_on_write(void);
void soak_mappings(void);
void soak_protection(void);
void soak_files(void);
void soak_code(void);
void soak_code_of_others(void);
void soak_vectors(void);
void soak_vectors_in_signals(void);
void soak_threads(void);
void soak_shootdown(void);
void soak_shootdown_remap(void);
void soak_signals(void);
void soak_exceptions(void);
void soak_single_step(void);
void soak_breakpoints(void);
void soak_compat(void);
void soak_processes(void);

#endif
