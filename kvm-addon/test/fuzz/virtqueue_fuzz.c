/* The virtqueue on arbitrary guest memory: whatever it yields lies in that memory. */
#include "guest_rings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_chain(const struct virtqueue *queue, const struct iovec *iov,
                        const struct virtqueue_chain *chain)
{
    unsigned count = chain->readable_count + chain->writable_count;
    uint64_t total = (uint64_t)chain->readable_bytes + chain->writable_bytes;
    if (chain->head >= queue->size || count > queue->size || total > UINT32_MAX)
        abort();
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len == 0 || !rings_contain(&iov[i]))
            abort();
        total -= iov[i].iov_len;
    }
    if (total != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtqueue queue;
    struct virtqueue_chain chain;
    uint16_t heads[RINGS_QUEUE_SIZE_MAX];
    if (!rings_init(&queue, data, size))
        return 0;
    struct iovec *iov = malloc(queue.size * sizeof(*iov)); /* its end is guarded */
    /* Used rings that overlap the available ring can go on for ever. */
    for (unsigned turn = 0; turn < 16 && !queue.broken; turn++) {
        unsigned taken = 0;
        while (taken < queue.size && virtqueue_pop(&queue, iov, &chain) == 1) {
            check_chain(&queue, iov, &chain);
            heads[taken++] = chain.head;
        }
        if (queue.in_flight != taken)
            abort();
        for (unsigned i = 0; i < taken; i++)
            virtqueue_push(&queue, heads[i], i);
        virtqueue_publish(&queue);
        virtqueue_enable_kicks(&queue);
        virtqueue_disable_kicks(&queue);
    }
    free(iov);
    return 0;
}
