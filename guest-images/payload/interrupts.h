/* The interrupt descriptor table, fatal exceptions, and calls from CPL 3 to CPL 0. */
#ifndef PAYLOAD_INTERRUPTS_H
#define PAYLOAD_INTERRUPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* Interrupts taken on VECTOR_DEVICE, by all CPUs. */
extern volatile uint32_t device_interrupt_count;
/* When the last one was taken, in TSC cycles. */
extern volatile uint64_t device_interrupt_time;

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
/* Sets a test's own handler for a vector. */
void interrupt_gate_set(unsigned vector, const void *handler);

typedef void cpl0_function(uint64_t argument, struct interrupt_frame *frame);

/* Runs a function at CPL 0, on any CPU and at any CPL. */
void cpl0_call(cpl0_function *function, uint64_t argument);

/* Enables or disables interrupts of CPL 3. */
void interrupts_enable(bool enabled);

/* Halts the CPU for the rest of the run; callable at CPL 3. */
_Noreturn void cpu_halt(void);

#endif
