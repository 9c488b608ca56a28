/*
 * Frames that were read ahead of those before them being delivered, in order of arrival.
 *
 * A batch of frames is read into a chain each. Those that are not in place then, because the chain
 * was too small for the frame or for one before it, or because a read before it found none, are
 * kept here and delivered one at a time.
 */
#ifndef TSVM_NET_BACKLOG_H
#define TSVM_NET_BACKLOG_H

#include "../backend/net_port.h"
#include "../util/iov.h"

struct net_backlog {
    uint8_t *slots; /* NET_READS_MAX buffers for a frame and its header */
    struct {
        uint8_t slot;
        uint32_t bytes;
    } frames[NET_READS_MAX];
    unsigned first, count; /* of `frames` */
};

/* Returns 0 or -ENOMEM. */
int net_backlog_init(struct net_backlog *backlog);
void net_backlog_free(struct net_backlog *backlog);

/*
 * Sets the last buffer of a read, which takes what the others, of `direct` bytes in all, have no
 * room for.
 */
void net_backlog_extend(struct net_backlog *backlog, unsigned slot, uint32_t direct,
                        struct iovec *last);

/*
 * Appends the frame of `bytes` bytes, including its header, that was read into `direct` and the
 * rest of the slot. Slots are used in order.
 */
void net_backlog_add(struct net_backlog *backlog, unsigned slot, const struct iov_span *direct,
                     uint32_t bytes);

/* Bytes of the first frame, including its header; 0 if there is none. */
static inline uint32_t net_backlog_bytes(const struct net_backlog *backlog)
{
    return backlog->count > 0 ? backlog->frames[backlog->first].bytes : 0;
}

/* Removes the first frame. `span`, if it is not NULL, gets the bytes for which it has room. */
void net_backlog_take(struct net_backlog *backlog, const struct iov_span *span);

#endif
