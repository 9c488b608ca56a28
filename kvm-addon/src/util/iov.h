/* Scatter/gather arrays, as used by readv(2) and writev(2). */
#ifndef TSVM_IOV_H
#define TSVM_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The unconsumed rest of an iovec array. Consuming modifies its entries. */
struct iov_span {
    struct iovec *iov;
    unsigned count; /* number of entries; none is empty */
};

uint64_t iov_span_bytes(const struct iov_span *span);

/* Drops the first `bytes`, or everything if there are fewer. */
void iov_span_advance(struct iov_span *span, uint64_t bytes);

/* Copies the first `bytes` to `data` and drops them. False, without effect, if there are fewer. */
bool iov_span_take(struct iov_span *span, void *data, size_t bytes);

/*
 * Writes entries for the range [offset, offset + bytes), which must be within the span, to `room`,
 * an array of span->count entries. Does not change the span. Returns the number of entries written.
 */
unsigned iov_span_slice(const struct iov_span *span, uint64_t offset, uint64_t bytes,
                        struct iovec *room);

/* Copy between the start of the buffers and `data`, up to the smaller size. Return that size. */
size_t iov_copy_to(const struct iov_span *span, const void *data, size_t bytes);
size_t iov_copy_from(const struct iov_span *span, void *data, size_t bytes);
/* As iov_copy_to, from `offset` on. */
size_t iov_copy_to_at(const struct iov_span *span, uint64_t offset, const void *data, size_t bytes);

/* Zeroes the first `bytes`. */
void iov_zero(const struct iov_span *span, uint64_t bytes);

#endif
