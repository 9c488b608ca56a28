/* Guest-virtual memory as an instruction of the stopped vCPU sees it. */
#ifndef TSVM_EMULATOR_ACCESS_H
#define TSVM_EMULATOR_ACCESS_H

#include "types.h"

/* How far an instruction came. */
enum emu_outcome {
    EMU_COMPLETED, /* its operation is done */
    EMU_FAULTED,   /* an exception waits for the next KVM_RUN */
    EMU_RETRY,     /* nothing is done: KVM_RUN will come back with the same instruction */
    EMU_REFUSED,   /* it cannot be completed: see emu_cpu.error */
};

/* The longest access: an XSAVE area that fits KVM's, at any alignment. */
#define EMU_SPAN_LENGTH_MAX EMU_XSAVE_IMAGE_LENGTH
#define EMU_SPAN_PAGES_MAX (EMU_SPAN_LENGTH_MAX / 4096 + 1)

/* A range of guest-virtual memory that has been walked. */
struct emu_span {
    const struct guest_memory *memory;
    uint8_t *pages[EMU_SPAN_PAGES_MAX]; /* where the range begins in each of its pages */
    unsigned first_length;              /* bytes in the first page */
};

/*
 * Walks every page of the range before any byte is touched, so that an instruction that faults
 * has written nothing. Raises what the MMU would: #PF, or #GP for a non-canonical address.
 */
enum emu_outcome emu_span_map(struct emu_cpu *cpu, uint64_t address, size_t length, bool is_write,
                              struct emu_span *span);
void emu_span_read(const struct emu_span *span, size_t offset, void *data, size_t length);
void emu_span_write(const struct emu_span *span, size_t offset, const void *data, size_t length);

/* emu_span_map() and emu_span_read() or _write() of all of it. */
enum emu_outcome emu_read(struct emu_cpu *cpu, uint64_t address, void *data, size_t length);
enum emu_outcome emu_write(struct emu_cpu *cpu, uint64_t address, const void *data, size_t length);

/*
 * As much as is mapped of `length` bytes at `address`, without raising anything: how many were
 * read.
 */
size_t emu_read_mapped(struct emu_cpu *cpu, uint64_t address, uint8_t *data, size_t length);

/* Raises an exception for the instruction at hand; both return EMU_FAULTED. */
enum emu_outcome emu_fault(struct emu_cpu *cpu, unsigned vector);
/* Error code 0. */
enum emu_outcome emu_fault_general_protection(struct emu_cpu *cpu);

/* Sets emu_cpu.error and returns EMU_REFUSED. */
enum emu_outcome emu_refuse(struct emu_cpu *cpu, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
