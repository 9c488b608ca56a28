/* Guest-virtual memory as an instruction of the stopped vCPU sees it. */
#ifndef TSVM_PVM_ACCESS_H
#define TSVM_PVM_ACCESS_H

#include "pvm_compat.h"

/* How far an instruction came. */
enum pvm_outcome {
    PVM_COMPLETED, /* its operation is done */
    PVM_FAULTED,   /* an exception waits for the next KVM_RUN */
    PVM_RETRY,     /* nothing is done: KVM_RUN will come back with the same instruction */
    PVM_REFUSED,   /* it cannot be completed: see pvm_cpu.error */
};

/* The longest access: an XSAVE area that fits KVM's, at any alignment. */
#define PVM_SPAN_LENGTH_MAX PVM_XSAVE_IMAGE_LENGTH
#define PVM_SPAN_PAGES_MAX (PVM_SPAN_LENGTH_MAX / 4096 + 1)

/* A range of guest-virtual memory that has been walked. */
struct pvm_span {
    uint8_t *pages[PVM_SPAN_PAGES_MAX]; /* where the range begins in each of its pages */
    unsigned first_length;              /* bytes in the first page */
};

/*
 * Walks every page of the range before any byte is touched, so that an instruction that faults
 * has written nothing. Raises what the MMU would: #PF, or #GP for a non-canonical address.
 */
enum pvm_outcome pvm_span_map(struct pvm_cpu *cpu, uint64_t address, size_t length, bool is_write,
                              struct pvm_span *span);
void pvm_span_read(const struct pvm_span *span, size_t offset, void *data, size_t length);
void pvm_span_write(const struct pvm_span *span, size_t offset, const void *data, size_t length);

/* pvm_span_map() and pvm_span_read() or _write() of all of it. */
enum pvm_outcome pvm_read(struct pvm_cpu *cpu, uint64_t address, void *data, size_t length);
enum pvm_outcome pvm_write(struct pvm_cpu *cpu, uint64_t address, const void *data, size_t length);

/*
 * As much as is mapped of `length` bytes at `address`, without raising anything: how many were
 * read.
 */
size_t pvm_read_mapped(struct pvm_cpu *cpu, uint64_t address, uint8_t *data, size_t length);

/* Raises an exception for the instruction at hand; both return PVM_FAULTED. */
enum pvm_outcome pvm_fault(struct pvm_cpu *cpu, unsigned vector);
/* Error code 0. */
enum pvm_outcome pvm_fault_general_protection(struct pvm_cpu *cpu);

/* Sets pvm_cpu.error and returns PVM_REFUSED. */
enum pvm_outcome pvm_refuse(struct pvm_cpu *cpu, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
