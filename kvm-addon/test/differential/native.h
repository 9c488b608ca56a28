/* Runs code on the processor, in this process, and reports how it ended. */
#ifndef TSVM_TEST_NATIVE_H
#define TSVM_TEST_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096u

/*
 * Addresses of code and data, for the processor and the guest: low, so that 32-bit code reaches
 * them. Nothing is mapped around them.
 */
#define DATA_BASE 0x20000000u
#define DATA_PAGES 5u /* the last page but one is read-only */
#define DATA_READ_ONLY 3u
#define DATA_SIZE (DATA_PAGES * PAGE)
#define CODE_BASE 0x30000000u
#define CODE_PAGES 2u

/* The architectural state before and after a run. */
struct state {
    uint64_t r[16]; /* in the processor's numbering */
    uint64_t rflags;
    uint64_t rip;
    /* A fault, as reported to its handler. */
    bool faulted;
    unsigned vector;
    uint64_t error;
    uint64_t address; /* of a page fault */
};

extern const uint8_t *native_data; /* DATA_SIZE bytes at DATA_BASE */
extern uint8_t *native_code;       /* CODE_PAGES pages at CODE_BASE */

/* FS base of this thread, which programs run with; GS base is NATIVE_GS_BASE. */
extern uint64_t native_fs_base;
#define NATIVE_GS_BASE 0x4000000u /* far enough from data that it is not taken for code */

/* Returns false and prints a message if the pages or the 32-bit segments are not available. */
bool native_init(void);

/* Writes to the data pages, including the one that is read-only for programs. */
void native_write(unsigned offset, uint64_t word);

/* Appends the jump that ends a program of this mode. Returns its length. */
unsigned native_end(uint8_t *code, bool compat);
/* The target of such a jump. */
uint64_t native_end_address(bool compat);

/* Runs from state->rip to the end of the program or a fault. */
void native_run(struct state *state, bool compat);

#endif
