#include "iov.h"

#include <string.h>

uint64_t iov_span_bytes(const struct iov_span *span)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < span->count; i++)
        total += span->iov[i].iov_len;
    return total;
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void iov_span_advance(struct iov_span *span, uint64_t bytes)
{
    while (bytes > 0 && span->count > 0) {
        struct iovec *front = span->iov;
        size_t part = smaller(bytes, front->iov_len);
        front->iov_base = (uint8_t *)front->iov_base + part;
        front->iov_len -= part;
        bytes -= part;
        if (front->iov_len == 0) {
            span->iov++;
            span->count--;
        }
    }
}

bool iov_span_take(struct iov_span *span, void *data, size_t bytes)
{
    if (iov_copy_from(span, data, bytes) < bytes)
        return false;
    iov_span_advance(span, bytes);
    return true;
}

unsigned iov_span_slice(const struct iov_span *span, uint64_t offset, uint64_t bytes,
                        struct iovec *room)
{
    unsigned count = 0;
    for (unsigned i = 0; i < span->count && bytes > 0; i++) {
        const struct iovec *entry = &span->iov[i];
        if (offset >= entry->iov_len) {
            offset -= entry->iov_len;
            continue;
        }
        size_t part = smaller(bytes, entry->iov_len - offset);
        room[count++] =
            (struct iovec){.iov_base = (uint8_t *)entry->iov_base + offset, .iov_len = part};
        bytes -= part;
        offset = 0;
    }
    return count;
}

size_t iov_copy_to_at(const struct iov_span *span, uint64_t offset, const void *data, size_t bytes)
{
    size_t done = 0;
    for (unsigned i = 0; i < span->count && done < bytes; i++) {
        const struct iovec *entry = &span->iov[i];
        if (offset >= entry->iov_len) {
            offset -= entry->iov_len;
            continue;
        }
        size_t part = smaller(bytes - done, entry->iov_len - offset);
        memcpy((uint8_t *)entry->iov_base + offset, (const uint8_t *)data + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t iov_copy_to(const struct iov_span *span, const void *data, size_t bytes)
{
    return iov_copy_to_at(span, 0, data, bytes);
}

size_t iov_copy_from(const struct iov_span *span, void *data, size_t bytes)
{
    size_t done = 0;
    for (unsigned i = 0; i < span->count && done < bytes; i++) {
        size_t part = smaller(bytes - done, span->iov[i].iov_len);
        memcpy((uint8_t *)data + done, span->iov[i].iov_base, part);
        done += part;
    }
    return done;
}

void iov_zero(const struct iov_span *span, uint64_t bytes)
{
    for (unsigned i = 0; i < span->count && bytes > 0; i++) {
        size_t part = smaller(bytes, span->iov[i].iov_len);
        memset(span->iov[i].iov_base, 0, part);
        bytes -= part;
    }
}
