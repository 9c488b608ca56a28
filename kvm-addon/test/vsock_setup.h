/*
 * A socket device and its driver, turn by turn in one thread: the test is the guest and the host's
 * programs. What the worker's thread would do happens in vsock_turn().
 */
#ifndef TSVM_TEST_VSOCK_SETUP_H
#define TSVM_TEST_VSOCK_SETUP_H

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../src/virtio/vsock.h"

#define GUEST_CID 42u
#define QUEUE_SIZE 64u
#define QUEUES 3u

/* A page for each part of each ring, then a slot for each descriptor's buffer. */
#define RING_GPA(queue) ((queue)*0x4000u)
#define BUFFER_BYTES 0x10000u
#define BUFFER_GPA(queue, slot) (0x100000u + ((queue)*QUEUE_SIZE + (slot)) * BUFFER_BYTES)
#define MEMORY_BYTES BUFFER_GPA(QUEUES, 0u)

struct vsock_ring {
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    uint16_t next_used;
};

struct vsock_setup {
    struct guest_memory memory;
    struct vsock vsock;
    struct queue_worker worker;
    struct vsock_ring rings[QUEUES];
};

/* A packet as the driver sees it. */
struct vsock_packet {
    struct virtio_vsock_hdr header;
    const uint8_t *payload;
};

static inline uint8_t *setup_at(struct vsock_setup *setup, uint64_t gpa)
{
    return guest_memory_at(&setup->memory, gpa, 1);
}

static inline void vsock_ring_init(struct vsock_setup *setup, unsigned queue)
{
    struct virtqueue_config config = {.descriptor_gpa = RING_GPA(queue),
                                      .available_gpa = RING_GPA(queue) + 0x1000,
                                      .used_gpa = RING_GPA(queue) + 0x2000,
                                      .size = QUEUE_SIZE,
                                      .index = (uint16_t)queue,
                                      .interrupt = -1,
                                      .indirect = true};
    memset(setup_at(setup, RING_GPA(queue)), 0, 0x3000);
    setup->rings[queue] = (struct vsock_ring){
        .descriptors = (void *)setup_at(setup, config.descriptor_gpa),
        .available = (void *)setup_at(setup, config.available_gpa),
        .used = (void *)setup_at(setup, config.used_gpa),
    };
    if (virtqueue_init(&setup->worker.queues[queue], &setup->memory, &config) < 0)
        abort();
}

static inline void vsock_setup_start(struct vsock_setup *setup)
{
    if (event_loop_init(&setup->worker.loop) < 0 ||
        setup->vsock.handler.start(&setup->vsock.handler, &setup->worker) < 0)
        abort();
}

static inline void vsock_setup_stop(struct vsock_setup *setup)
{
    setup->vsock.handler.free(&setup->vsock.handler);
    event_loop_destroy(&setup->worker.loop);
}

static inline void vsock_setup_init(struct vsock_setup *setup, const char *path, int listener)
{
    struct wake nobody = {0};

    memset(setup, 0, sizeof *setup);
    setup->worker.options.queue_count = QUEUES;
    if (guest_memory_add(&setup->memory, 0, MEMORY_BYTES) < 0 ||
        vsock_init(&setup->vsock, GUEST_CID, path, listener, nobody) < 0)
        abort();
    for (unsigned queue = 0; queue < QUEUES; queue++)
        vsock_ring_init(setup, queue);
    vsock_setup_start(setup);
}

static inline void vsock_setup_free(struct vsock_setup *setup)
{
    vsock_setup_stop(setup);
    vsock_destroy(&setup->vsock);
    guest_memory_free(&setup->memory);
}

/* What the worker's thread does until nothing is left to do. */
static inline void vsock_turn(struct vsock_setup *setup)
{
    struct queue_handler *handler = &setup->vsock.handler;
    unsigned done;

    do {
        done = event_loop_poll(&setup->worker.loop) + handler->exchange(handler);
        for (unsigned queue = 0; queue < QUEUES; queue++) {
            struct virtqueue *virtqueue = &setup->worker.queues[queue];
            if (virtqueue_has_available(virtqueue) && handler->wants(handler, virtqueue))
                done += handler->serve(handler, virtqueue, 16);
            virtqueue_publish(virtqueue);
        }
    } while (done > 0);
}

static inline void ring_offer(struct vsock_ring *ring, uint16_t head)
{
    uint16_t idx = ring->available->idx;

    ring->available->ring[idx % QUEUE_SIZE] = head;
    __atomic_store_n(&ring->available->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

/* Gives the device an empty buffer of slot `slot`. */
static inline void guest_give(struct vsock_setup *setup, unsigned queue, uint16_t slot,
                              uint32_t bytes)
{
    struct vsock_ring *ring = &setup->rings[queue];

    ring->descriptors[slot] = (struct vring_desc){
        .addr = BUFFER_GPA(queue, slot), .len = bytes, .flags = VRING_DESC_F_WRITE};
    ring_offer(ring, slot);
}

/* Takes the next used entry; false when there is none. */
static inline bool ring_take(struct vsock_ring *ring, struct vring_used_elem *element)
{
    if (__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) == ring->next_used)
        return false;
    *element = ring->used->ring[ring->next_used++ % QUEUE_SIZE];
    return true;
}

/* The next packet from the device; op 0: there is none. Its payload stays until the slot's reuse.
 */
static inline struct vsock_packet guest_receive(struct vsock_setup *setup)
{
    struct vsock_packet packet = {0};
    struct vring_used_elem element;

    vsock_turn(setup);
    if (!ring_take(&setup->rings[VSOCK_RX_QUEUE], &element))
        return packet;
    uint8_t *bytes = setup_at(setup, BUFFER_GPA(VSOCK_RX_QUEUE, element.id));
    if (element.len >= sizeof packet.header)
        memcpy(&packet.header, bytes, sizeof packet.header);
    packet.payload = bytes + sizeof packet.header;
    return packet;
}

static inline struct virtio_vsock_hdr guest_header(uint16_t op, uint32_t guest_port,
                                                   uint32_t host_port)
{
    return (struct virtio_vsock_hdr){.src_cid = GUEST_CID,
                                     .dst_cid = VSOCK_HOST_CID,
                                     .src_port = guest_port,
                                     .dst_port = host_port,
                                     .type = VIRTIO_VSOCK_TYPE_STREAM,
                                     .op = op,
                                     .buf_alloc = 1u << 20};
}

/* Sends a packet with the payload bytes as one buffer. */
static inline void guest_send(struct vsock_setup *setup, const struct virtio_vsock_hdr *header,
                              const void *payload, uint32_t bytes)
{
    struct vsock_ring *ring = &setup->rings[VSOCK_TX_QUEUE];
    uint16_t slot = ring->available->idx % QUEUE_SIZE;
    uint64_t gpa = BUFFER_GPA(VSOCK_TX_QUEUE, slot);
    struct vring_used_elem element;

    memcpy(setup_at(setup, gpa), header, sizeof *header);
    if (bytes > 0)
        memcpy(setup_at(setup, gpa) + sizeof *header, payload, bytes);
    ring->descriptors[slot] =
        (struct vring_desc){.addr = gpa, .len = (uint32_t)sizeof *header + bytes};
    ring_offer(ring, slot);
    vsock_turn(setup);
    while (ring_take(ring, &element))
        continue;
}

/* Sends a packet without payload. */
static inline void guest_say(struct vsock_setup *setup, uint16_t op, uint32_t guest_port,
                             uint32_t host_port)
{
    struct virtio_vsock_hdr header = guest_header(op, guest_port, host_port);

    guest_send(setup, &header, NULL, 0);
}

#endif
