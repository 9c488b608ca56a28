/* The interrupt descriptor table, fatal exceptions, and calls from CPL 3 to CPL 0. */
#ifndef PAYLOAD_INTERRUPTS_H
#define PAYLOAD_INTERRUPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* Interrupts taken on VECTOR_DEVICE, by all CPUs. */
extern volatile uint32_t device_interrupt_count;

/* Fills in the table; the entry code has already loaded its address. */
void interrupts_init(void);

/* What the CPU pushes at an interrupt. */
struct interrupt_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* And what the stubs push in addition. */
struct exception_frame {
    uint64_t vector, error_code;
    struct interrupt_frame interrupted;
};

/* Lets exceptions use a stack of the interrupt stack table; 0: none. */
void exceptions_use_ist(uint8_t ist);
/* Handles a vector by code of a test's. */
void interrupt_gate_set(unsigned vector, const void *handler);

typedef void cpl0_function(uint64_t argument, struct interrupt_frame *frame);

/* Runs a function at CPL 0, on any CPU and at any CPL. */
void cpl0_call(cpl0_function *function, uint64_t argument);

/* Lets CPL 3 be interrupted, or not. */
void interrupts_enable(bool enabled);

/* Ends the CPU's part in the run; callable at CPL 3. */
_Noreturn void cpu_halt(void);

#endif
