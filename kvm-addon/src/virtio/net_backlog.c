#include "net_backlog.h"

#include <errno.h>
#include <stdlib.h>

#include "../backend/net_frame.h"

static uint8_t *slot_at(const struct net_backlog *backlog, unsigned slot)
{
    return backlog->slots + (size_t)slot * NET_MESSAGE_BYTES_MAX;
}

int net_backlog_init(struct net_backlog *backlog)
{
    *backlog = (struct net_backlog){.slots = malloc(NET_READS_MAX * (size_t)NET_MESSAGE_BYTES_MAX)};
    return backlog->slots ? 0 : -ENOMEM;
}

void net_backlog_free(struct net_backlog *backlog)
{
    free(backlog->slots);
    backlog->slots = NULL;
}

void net_backlog_extend(struct net_backlog *backlog, unsigned slot, uint32_t direct,
                        struct iovec *last)
{
    uint32_t used = direct < NET_MESSAGE_BYTES_MAX ? direct : NET_MESSAGE_BYTES_MAX;
    *last = (struct iovec){.iov_base = slot_at(backlog, slot) + used,
                           .iov_len = NET_MESSAGE_BYTES_MAX - used};
}

void net_backlog_add(struct net_backlog *backlog, unsigned slot, const struct iov_span *direct,
                     uint32_t bytes)
{
    if (backlog->count == 0)
        backlog->first = 0;
    iov_copy_from(direct, slot_at(backlog, slot), bytes);
    unsigned last = backlog->first + backlog->count++;
    backlog->frames[last].slot = (uint8_t)slot;
    backlog->frames[last].bytes = bytes;
}

void net_backlog_take(struct net_backlog *backlog, const struct iov_span *span)
{
    unsigned first = backlog->first++;
    backlog->count--;
    if (span)
        iov_copy_to(span, slot_at(backlog, backlog->frames[first].slot),
                    backlog->frames[first].bytes);
}
