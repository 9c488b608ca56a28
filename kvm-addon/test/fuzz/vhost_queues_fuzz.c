/*
 * Queues served by another process, between a hostile driver and a hostile backend, which writes to
 * the shadow rings arbitrarily. The device must stay within guest memory and its own memory, return
 * to the driver only chains that it took, once each, and give the backend only addresses of guest
 * memory.
 */
#include "../../src/virtio/vhost_queues.h"
#include "hostile_driver.h"

#define STEPS_MAX 500u
#define SHADOW_SIZE 128u
#define RINGS_ADDRESS (1ull << 46)

struct device {
    struct queue_worker worker;
    struct hostile_driver driver;
    struct vhost_queues queues;
};

/* A step of the backend: most of its steps return chains that it has. */
static void backend_step(struct device *device, struct fuzz_input *input)
{
    struct vhost_ring *ring = &device->queues.rings[0];
    uint8_t kind = input_u8(input);
    uint16_t slot = ring->used->idx & (SHADOW_SIZE - 1);

    switch (kind & 7) {
    case 0: /* anything anywhere */
        device->queues.shared[input_u32(input) % device->queues.shared_bytes] = kind;
        break;
    case 1:
        ring->used->ring[slot] =
            (vring_used_elem_t){.id = input_u16(input), .len = input_u32(input)};
        ring->used->idx++;
        break;
    case 2:
        ring->used->idx += input_u16(input);
        break;
    case 3:
        ring->used->flags = input_u16(input);
        break;
    default: /* the oldest chains that it has not returned */
        for (unsigned i = 0; i <= kind >> 3 && ring->used->idx != ring->available->idx; i++) {
            slot = ring->used->idx & (SHADOW_SIZE - 1);
            uint16_t head = ring->available->ring[slot];
            ring->used->ring[slot] = (vring_used_elem_t){.id = head, .len = input_u8(input)};
            ring->used->idx++;
        }
    }
}

/* A valid request, of which other steps may change anything before or after it is taken. */
static void driver_request(struct hostile_driver *driver, struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    uint16_t head = kind & (driver->config.size - 1) & ~1u;
    uint64_t table = driver->config.descriptor_gpa + head * 16u, gpa = 0x4000 + head * 0x100u;

    descriptor_write(table, gpa, 1u + (kind >> 1), VRING_DESC_F_NEXT, head + 1);
    descriptor_write(table + 16, gpa + 0x80, 0x80, VRING_DESC_F_WRITE, 0);
    driver_offer(driver, head);
}

/* The backend sees only addresses of guest memory, unless it has changed them itself. */
static void passed_check(struct device *device, uint16_t from)
{
    struct vhost_ring *ring = &device->queues.rings[0];

    for (; from != ring->next_available; from++) {
        uint16_t head = ring->available->ring[from & (SHADOW_SIZE - 1)];
        const struct vring_desc *indirect = &ring->descriptors[head];
        REQUIRE(indirect->flags == VRING_DESC_F_INDIRECT && indirect->len % 16 == 0);
        for (unsigned i = 0; i < indirect->len / 16; i++) {
            const struct vring_desc *buffer = &ring->tables[head * SHADOW_SIZE + i];
            REQUIRE(guest_memory_at(driver_memory(), buffer->addr, buffer->len));
        }
    }
}

static void device_step(struct device *device, struct fuzz_input *input)
{
    struct queue_handler *handler = &device->queues.handler;
    struct virtqueue *queue = device->worker.queues;
    uint16_t before = device->queues.rings[0].next_available;
    uint8_t kind = input_u8(input);

    switch (kind & 7) {
    case 0:
    case 1:
        handler->serve(handler, queue, 1 + (kind >> 4));
        passed_check(device, before);
        break;
    case 2:
        handler->exchange(handler);
        break;
    case 3:
    case 4:
        backend_step(device, input);
        break;
    case 5:
        driver_step(&device->driver, input);
        break;
    case 6:
        driver_request(&device->driver, input);
        break;
    default:
        virtqueue_publish(queue);
        if (kind == 0xff)
            vhost_queues_fail(&device->queues);
    }
    unsigned in_flight = 0;
    for (unsigned i = 0; i < SHADOW_SIZE; i++)
        in_flight += device->queues.rings[0].chains[i].in_flight;
    REQUIRE(in_flight == queue->in_flight && in_flight <= queue->size);
    REQUIRE(queue->broken || in_flight + device->queues.rings[0].free_count == SHADOW_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct device device;
    struct fuzz_input input = {.data = data, .size = size};
    struct queue_handler *handler = &device.queues.handler;

    if (!driver_init(&device.driver, device.worker.queues, &input))
        return 0;
    device.worker.options.queue_count = 1;
    REQUIRE(vhost_queues_init(&device.queues, "fuzz", 1, SHADOW_SIZE, RINGS_ADDRESS) == 0);
    REQUIRE(event_loop_init(&device.worker.loop) == 0);
    REQUIRE(handler->start(handler, &device.worker) == 0);
    for (unsigned step = 0; step < STEPS_MAX && input.size > 0; step++)
        device_step(&device, &input);
    vhost_queues_fail(&device.queues);
    handler->exchange(handler);
    REQUIRE(device.worker.queues[0].in_flight == 0);
    handler->free(handler);
    event_loop_destroy(&device.worker.loop);
    vhost_queues_destroy(&device.queues);
    return 0;
}
