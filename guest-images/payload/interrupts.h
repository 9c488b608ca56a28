/* The interrupt descriptor table, fatal exceptions, and calls from CPL 3 to CPL 0. */
#ifndef PAYLOAD_INTERRUPTS_H
#define PAYLOAD_INTERRUPTS_H

#include <stdint.h>

#include "layout.h"

/* Interrupts taken on VECTOR_DEVICE, by all CPUs. */
extern volatile uint32_t device_interrupt_count;

/* Fills in the table; the entry code has already loaded its address. */
void interrupts_init(void);

static inline void cpl0_call(void (*function)(uint64_t), uint64_t argument)
{
    __asm__ volatile("int %2"
                     : "+D"(function), "+S"(argument)
                     : "i"(VECTOR_CPL0_CALL)
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
}

/* IOPL 3 lets CPL 3 do these. */
static inline void interrupts_enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}

static inline void interrupts_disable(void)
{
    __asm__ volatile("cli" ::: "memory");
}

#endif
