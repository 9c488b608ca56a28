/* CPL 3 on the processor itself. */
#ifndef TSVM_PVM_NATIVE_H
#define TSVM_PVM_NATIVE_H

#include "cpu.h"
#include "progress.h"

/* Whether the interpreter supports the instruction at `rip`. */
enum user_code { USER_CODE_KNOWN, USER_CODE_UNKNOWN };

/*
 * Runs the guest's program until an exit. System calls, exceptions and interrupts have then been
 * delivered to the guest's kernel. CPL is 3, the code 64-bit or flat 32-bit. In an address space
 * that cannot run natively (tables.h), the interpreter continues, and KVM single-steps instructions
 * that it does not support.
 */
enum progress native_run(struct cpu *cpu, enum user_code next);

#endif
