/* The driver's side of a virtqueue in ordinary memory, for correct and hostile drivers. */
#ifndef TSVM_TEST_FAKE_DRIVER_H
#define TSVM_TEST_FAKE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/virtio_ring.h>

#include "../src/memory/guest_memory.h"
#include "../src/virtio/virtqueue.h"

/* Two regions with a hole between, as below and above the 32-bit device hole. */
#define LOW_GPA 0x10000u
#define LOW_SIZE 0x1000000u
#define HIGH_GPA 0x8000000u
#define HIGH_SIZE 0x100000u

/* Addresses of the parts of the queue, and of the space for buffers. */
#define DESCRIPTORS_GPA LOW_GPA
#define AVAILABLE_GPA (LOW_GPA + 0x4000)
#define USED_GPA (LOW_GPA + 0x5000)
#define BUFFERS_GPA (LOW_GPA + 0x10000)

struct fake_driver {
    struct guest_memory memory;
    struct virtqueue_config config;
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    uint16_t size;
    uint16_t next_available;
    uint16_t next_used; /* the next used entry to look at */
};

static inline void *driver_at(struct fake_driver *driver, uint64_t gpa)
{
    return guest_memory_at(&driver->memory, gpa, 1);
}

static inline void driver_init(struct fake_driver *driver, uint16_t size)
{
    *driver = (struct fake_driver){.size = size};
    if (guest_memory_add(&driver->memory, LOW_GPA, LOW_SIZE) < 0 ||
        guest_memory_add(&driver->memory, HIGH_GPA, HIGH_SIZE) < 0)
        exit(2);
    driver->config = (struct virtqueue_config){.descriptor_gpa = DESCRIPTORS_GPA,
                                               .available_gpa = AVAILABLE_GPA,
                                               .used_gpa = USED_GPA,
                                               .size = size,
                                               .event_idx = true,
                                               .indirect = true};
    driver->descriptors = driver_at(driver, DESCRIPTORS_GPA);
    driver->available = driver_at(driver, AVAILABLE_GPA);
    driver->used = driver_at(driver, USED_GPA);
}

static inline void driver_free(struct fake_driver *driver)
{
    guest_memory_free(&driver->memory);
}

static inline void descriptor_set(struct vring_desc *descriptor, uint64_t gpa, uint32_t length,
                                  uint16_t flags, uint16_t next)
{
    *descriptor = (struct vring_desc){.addr = gpa, .len = length, .flags = flags, .next = next};
}

/* Fills descriptor `index` of the queue's table. */
static inline void driver_describe(struct fake_driver *driver, uint16_t index, uint64_t gpa,
                                   uint32_t length, uint16_t flags, uint16_t next)
{
    descriptor_set(&driver->descriptors[index], gpa, length, flags, next);
}

/* Makes a chain available. */
static inline void driver_offer(struct fake_driver *driver, uint16_t head)
{
    driver->available->ring[driver->next_available & (driver->size - 1)] = head;
    driver->next_available++;
    __atomic_store_n(&driver->available->idx, driver->next_available, __ATOMIC_RELEASE);
}

/* Where the driver says after which used index it wants an interrupt. */
static inline void driver_set_used_event(struct fake_driver *driver, uint16_t value)
{
    __atomic_store_n(&driver->available->ring[driver->size], value, __ATOMIC_SEQ_CST);
}

/* Whether a device that was at this avail_event wants a kick for what was offered since `before`.
 */
static inline bool driver_must_kick(struct fake_driver *driver, uint16_t before)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!driver->config.event_idx)
        return !(__atomic_load_n(&driver->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
    uint16_t event =
        __atomic_load_n((uint16_t *)&driver->used->ring[driver->size], __ATOMIC_RELAXED);
    return vring_need_event(event, driver->next_available, before);
}

/* Takes the next used entry; false if there is none. */
static inline bool driver_take_used(struct fake_driver *driver, struct vring_used_elem *element)
{
    if (__atomic_load_n(&driver->used->idx, __ATOMIC_ACQUIRE) == driver->next_used)
        return false;
    *element = driver->used->ring[driver->next_used & (driver->size - 1)];
    driver->next_used++;
    return true;
}

#endif
