/* Access to guest-virtual memory on behalf of the current instruction of a stopped vCPU. */
#ifndef TSVM_EMULATOR_ACCESS_H
#define TSVM_EMULATOR_ACCESS_H

#include "types.h"

/* Result of an instruction. */
enum emu_outcome {
    EMU_COMPLETED, /* executed */
    EMU_FAULTED,   /* raised an exception, to be delivered by the next KVM_RUN */
    EMU_RETRY,     /* not executed: KVM_RUN will exit with the same instruction again */
    EMU_REFUSED,   /* cannot be executed: see emu_cpu.error */
};

/* The longest access: an XSAVE area of KVM's size. It may be unaligned. */
#define EMU_SPAN_LENGTH_MAX EMU_XSAVE_IMAGE_LENGTH
#define EMU_SPAN_PAGES_MAX (EMU_SPAN_LENGTH_MAX / 4096 + 1)

/* A range of guest-virtual memory, translated to host addresses. */
struct emu_span {
    const struct guest_memory *memory;
    uint8_t *pages[EMU_SPAN_PAGES_MAX]; /* host address of the range's start in each page */
    unsigned first_length;              /* bytes in the first page */
};

/*
 * Translates every page of the range before any byte is accessed, so that an instruction that
 * faults has written nothing. Raises the exceptions of the MMU: #PF, or #GP for a non-canonical
 * address.
 */
enum emu_outcome emu_span_map(struct emu_cpu *cpu, uint64_t address, size_t length, bool is_write,
                              struct emu_span *span);
void emu_span_read(const struct emu_span *span, size_t offset, void *data, size_t length);
void emu_span_write(const struct emu_span *span, size_t offset, const void *data, size_t length);

/* emu_span_map() followed by emu_span_read() or emu_span_write() of the whole range. */
enum emu_outcome emu_read(struct emu_cpu *cpu, uint64_t address, void *data, size_t length);
enum emu_outcome emu_write(struct emu_cpu *cpu, uint64_t address, const void *data, size_t length);

/*
 * Reads up to `length` bytes at `address`, up to the first unmapped page, without raising
 * exceptions. Returns the number of bytes read.
 */
size_t emu_read_mapped(struct emu_cpu *cpu, uint64_t address, uint8_t *data, size_t length);

/* Both raise an exception for the current instruction and return EMU_FAULTED. */
enum emu_outcome emu_fault(struct emu_cpu *cpu, unsigned vector);
/* #GP with error code 0. */
enum emu_outcome emu_fault_general_protection(struct emu_cpu *cpu);

/* Sets emu_cpu.error and returns EMU_REFUSED. */
enum emu_outcome emu_refuse(struct emu_cpu *cpu, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
