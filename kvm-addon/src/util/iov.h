/* Arrays of buffers, as readv and writev take them. */
#ifndef TSVM_IOV_H
#define TSVM_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A part of an array of buffers, consumed from the front; entries are changed in place. */
struct iov_span {
    struct iovec *iov;
    unsigned count; /* entries, none of them empty */
};

uint64_t iov_span_bytes(const struct iov_span *span);

/* Drops the first `bytes`, or all there are. */
void iov_span_advance(struct iov_span *span, uint64_t bytes);

/* Takes and drops the first `bytes`; false, with nothing dropped, when there are fewer. */
bool iov_span_take(struct iov_span *span, void *data, size_t bytes);

/*
 * Writes the entries that hold `bytes` from `offset` on, which must be there, to `room` (which has
 * room for span->count). Changes nothing else. Returns the number of entries.
 */
unsigned iov_span_slice(const struct iov_span *span, uint64_t offset, uint64_t bytes,
                        struct iovec *room);

/* Copies between the buffers, from their start, and `data`: the smaller size of the two. */
size_t iov_copy_to(const struct iov_span *span, const void *data, size_t bytes);
size_t iov_copy_from(const struct iov_span *span, void *data, size_t bytes);

/* Zeroes the first `bytes`. */
void iov_zero(const struct iov_span *span, uint64_t bytes);

#endif
