/*
 * A vCPU of the engine without KVM, at CPL 3, whose guest has the pages of native.h at the same
 * addresses. The parts of the engine that need KVM are replaced by functions that must not be
 * called.
 */
#ifndef TSVM_TEST_MACHINE_H
#define TSVM_TEST_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../../src/pvm/engine.h"

struct machine {
    struct guest_memory memory;
    struct engine engine;
    struct cpu *cpu;
    uint8_t *data; /* host addresses of the pages of native.h */
    uint8_t *code;
};

/* Returns false when out of memory. */
bool machine_init(struct machine *machine);
void machine_free(struct machine *machine);

/* Chooses 64-bit or 32-bit code at CPL 3. */
void machine_set_mode(struct machine *machine, bool compat);

/* Sets whether code is translated before it first runs; drops decoded code. */
void machine_translate(struct machine *machine, bool on);

/* The code pages were changed. */
void machine_code_written(struct machine *machine);

#endif
