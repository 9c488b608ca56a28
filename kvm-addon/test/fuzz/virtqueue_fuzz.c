/*
 * The virtqueue against a hostile driver: all buffers that it returns are in guest memory, and its
 * counts stay correct.
 *
 * An input begins with valid chains; its steps then break them.
 */
#include "hostile_driver.h"

#define STEPS_MAX 2000u

struct device {
    struct virtqueue queue;
    struct iovec *iov;              /* queue.size entries: ASan guards the end */
    uint16_t heads[QUEUE_SIZE_MAX]; /* in flight */
    unsigned count;
};

static void check_chain(const struct device *device, const struct virtqueue_chain *chain)
{
    const struct virtqueue *queue = &device->queue;
    unsigned count = chain->readable_count + chain->writable_count;
    uint64_t readable = 0, writable = 0;
    REQUIRE(chain->head < queue->size && count <= queue->size);
    for (unsigned i = 0; i < count; i++) {
        REQUIRE(device->iov[i].iov_len > 0 && driver_owns(&device->iov[i]));
        *(i < chain->readable_count ? &readable : &writable) += device->iov[i].iov_len;
    }
    REQUIRE(readable == chain->readable_bytes && writable == chain->writable_bytes);
    REQUIRE(readable + writable <= UINT32_MAX);
}

static void device_pop(struct device *device)
{
    struct virtqueue_chain chain;
    int popped = virtqueue_pop(&device->queue, device->iov, &chain);
    REQUIRE((popped < 0) == (device->queue.broken != NULL));
    if (popped <= 0)
        return;
    check_chain(device, &chain);
    REQUIRE(device->count < device->queue.size);
    device->heads[device->count++] = chain.head;
}

/* Returns any of the chains in flight. */
static void device_push(struct device *device, uint8_t which, uint32_t written)
{
    if (device->count == 0)
        return;
    unsigned index = which % device->count;
    virtqueue_push(&device->queue, device->heads[index], written);
    device->heads[index] = device->heads[--device->count];
}

static void device_step(struct device *device, struct hostile_driver *driver,
                        struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    switch (kind & 15) {
    case 0:
    case 1:
    case 2:
        device_pop(device);
        break;
    case 3:
    case 4:
        device_push(device, kind >> 4, input_u16(input));
        break;
    case 5:
        virtqueue_publish(&device->queue);
        break;
    case 6:
        virtqueue_enable_kicks(&device->queue);
        break;
    case 7:
        virtqueue_disable_kicks(&device->queue);
        break;
    case 8: /* a stopped device continues */
        if (device->count == 0)
            REQUIRE(virtqueue_init(&device->queue, driver_memory(), &driver->config) == 0);
        break;
    default:
        driver_step(driver, input);
    }
    REQUIRE(device->queue.in_flight == device->count);
    REQUIRE(!(device->queue.broken && virtqueue_has_available(&device->queue)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {.data = data, .size = size};
    struct device device = {.count = 0};
    struct hostile_driver driver;
    if (!driver_init(&driver, &device.queue, &input))
        return 0;
    device.iov = calloc(device.queue.size, sizeof *device.iov);
    driver_offer_chains(&driver, 16, 0, VRING_DESC_F_WRITE);
    for (unsigned step = 0; step < STEPS_MAX && input.size > 0; step++)
        device_step(&device, &driver, &input);
    free(device.iov);
    return 0;
}
