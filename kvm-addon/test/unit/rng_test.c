/* virtio-rng through a queue worker. */
#include "../../src/virtio/rng.h"
#include "../check.h"
#include "../device_setup.h"

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

struct setup {
    struct device_setup device;
    struct rng rng;
};

static void setup_init(struct setup *s)
{
    device_init(&s->device, 8);
    rng_init(&s->rng);
    CHECK(device_start(&s->device, &s->rng.handler, io_engine_create_threads) == 0);
}

static void setup_free(struct setup *s)
{
    CHECK(device_stop(&s->device));
    device_free(&s->device);
}

static uint32_t offer(struct setup *s)
{
    device_offer(&s->device, 0);
    struct vring_used_elem element = device_await_used(&s->device);
    CHECK(element.id == 0);
    return element.len;
}

static unsigned zero_bytes(const uint8_t *bytes, unsigned count)
{
    unsigned zeroes = 0;
    for (unsigned i = 0; i < count; i++)
        zeroes += bytes[i] == 0;
    return zeroes;
}

static void buffers_are_filled(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 100, WRITE | NEXT, 1);
    driver_describe(&s.device.driver, 1, BUFFERS_GPA + 4096, 4000, WRITE, 0);
    CHECK(offer(&s) == 4100);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA), 100) < 20);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA + 4096), 4000) < 200);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA + 100), 3996) == 3996);
    setup_free(&s);
}

static void requests_are_capped(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 1000, WRITE | NEXT, 1);
    driver_describe(&s.device.driver, 1, BUFFERS_GPA + 1000, 1u << 20, WRITE, 0);
    CHECK(offer(&s) == RNG_REQUEST_BYTES_MAX);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA + RNG_REQUEST_BYTES_MAX), 4096) ==
          4096);
    setup_free(&s);
}

static void readable_buffers_are_left_alone(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 64, 0, 0);
    CHECK(offer(&s) == 0);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA), 64) == 64);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 64, NEXT, 1);
    driver_describe(&s.device.driver, 1, BUFFERS_GPA + 64, 64, WRITE, 0);
    CHECK(offer(&s) == 64);
    CHECK(zero_bytes(driver_at(&s.device.driver, BUFFERS_GPA), 64) == 64);
    setup_free(&s);
}

static void broken_queue_ends_the_worker(void)
{
    struct setup s;
    setup_init(&s);
    driver_describe(&s.device.driver, 0, BUFFERS_GPA, 64, WRITE | NEXT, 0);
    device_offer(&s.device, 0);
    CHECK(device_await_end(&s.device));
    CHECK(queue_worker_broken(&s.device.worker) != NULL);
    queue_worker_free(&s.device.worker);
    device_free(&s.device);
}

static void bad_rings_do_not_start(void)
{
    struct setup s;
    device_init(&s.device, 8);
    rng_init(&s.rng);
    s.device.driver.config.used_gpa = 0;
    CHECK(device_start(&s.device, &s.rng.handler, io_engine_create_threads) == -EINVAL);
    device_free(&s.device);
}

int main(void)
{
    buffers_are_filled();
    requests_are_capped();
    readable_buffers_are_left_alone();
    broken_queue_ends_the_worker();
    bad_rings_do_not_start();
    return check_finish();
}
