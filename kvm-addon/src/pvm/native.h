/* CPL 3 on the processor itself. */
#ifndef TSVM_PVM_NATIVE_H
#define TSVM_PVM_NATIVE_H

#include "cpu.h"
#include "progress.h"

/* Whether the interpreter supports the instruction at `rip`. */
enum user_code { USER_CODE_KNOWN, USER_CODE_UNKNOWN };

/*
 * Runs the guest's program until something is to be done for it: a system call, an exception, an
 * interrupt have then been delivered to the guest's kernel. CPL is 3, the code 64-bit or flat
 * 32-bit. In an address space that nothing can run in natively (tables.h), the interpreter goes on;
 * KVM steps over what that does not know.
 */
enum progress native_run(struct cpu *cpu, enum user_code next);

#endif
