/*
 * Guest memory with a virtqueue, and a driver controlled by the fuzzer's input. Most of its steps
 * are valid, so that invalid ones hit a working device.
 */
#ifndef TSVM_FUZZ_HOSTILE_DRIVER_H
#define TSVM_FUZZ_HOSTILE_DRIVER_H

#include "../../src/virtio/virtqueue.h"
#include "fuzz.h"

/* Small, so that any 16 bits are an address, and with a hole between the regions. */
#define LOW_SIZE 0x10000u
#define HIGH_GPA 0x18000u
#define HIGH_SIZE 0x1000u

#define QUEUE_SIZE_MAX 128u

/* Default addresses of the rings. */
#define DESCRIPTORS_GPA 0x0u
#define AVAILABLE_GPA 0x1000u
#define USED_GPA 0x2000u

/* The chains that it offers first. */
#define HEADER_GPA 0x3000u
#define BUFFERS_GPA 0x4000u
#define BUFFER_BYTES 0x600u
#define CHAIN_BUFFERS 16u

struct hostile_driver {
    struct virtqueue_config config;
    uint16_t next_available;
};

static inline const struct guest_memory *driver_memory(void)
{
    static struct guest_memory memory;
    if (memory.count == 0)
        REQUIRE(guest_memory_add(&memory, 0, LOW_SIZE) == 0 &&
                guest_memory_add(&memory, HIGH_GPA, HIGH_SIZE) == 0);
    return &memory;
}

/* Whether a buffer is within one region, which the device must always check correctly. */
static inline bool driver_owns(const struct iovec *buffer)
{
    const struct guest_memory *memory = driver_memory();
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_memory_region *region = &memory->regions[i];
        uintptr_t offset = (uintptr_t)buffer->iov_base - (uintptr_t)region->hva;
        if (offset < region->size && buffer->iov_len <= region->size - offset)
            return true;
    }
    return false;
}

/* Writes to guest memory, as far as the range is in it. */
static inline void driver_write(uint64_t gpa, const void *bytes, size_t count)
{
    void *hva = guest_memory_at(driver_memory(), gpa, count);
    if (hva)
        memcpy(hva, bytes, count);
}

static inline void driver_write_u16(uint64_t gpa, uint16_t value)
{
    driver_write(gpa, &value, sizeof value);
}

/* An address: arbitrary, at the end of a region, or of buffers and rings. */
static inline uint64_t driver_address(struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    switch (kind & 15) {
    case 0:
        return input_u64(input);
    case 1:
        return LOW_SIZE - (kind >> 4);
    case 2:
        return HIGH_GPA + HIGH_SIZE - 16 * (kind >> 4);
    case 3:
        return HIGH_GPA + input_u16(input) % HIGH_SIZE;
    default:
        return input_u16(input);
    }
}

/* A length: arbitrary, of a header or status, of a table, or of sectors. */
static inline uint32_t driver_length(struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    switch (kind & 7) {
    case 0:
        return input_u32(input);
    case 1:
        return kind >> 3;
    case 2:
        return (kind >> 3) * 16u;
    default:
        return (kind >> 3) * 512u;
    }
}

/* Writes a descriptor at an address. */
static inline void descriptor_write(uint64_t gpa, uint64_t address, uint32_t length, uint16_t flags,
                                    uint16_t next)
{
    struct vring_desc descriptor = {.addr = address, .len = length, .flags = flags, .next = next};
    driver_write(gpa, &descriptor, sizeof descriptor);
}

/* Writes a descriptor in the queue's table, or elsewhere as part of an indirect table. */
static inline void driver_step_describe(struct hostile_driver *driver, struct fuzz_input *input)
{
    uint8_t index = input_u8(input), flags = input_u8(input);
    uint64_t table = flags & 8 ? driver_address(input) : driver->config.descriptor_gpa;
    uint64_t address = driver_address(input);
    uint32_t length = driver_length(input);
    uint16_t next = flags & 16 ? input_u16(input) : (uint16_t)(index + 1);
    descriptor_write(table + index * 16u, address, length, flags & 7, next);
}

/* Makes a chain available. */
static inline void driver_offer(struct hostile_driver *driver, uint16_t head)
{
    uint16_t slot = driver->next_available++ & (driver->config.size - 1);
    driver_write_u16(driver->config.available_gpa + 4 + slot * 2u, head);
    driver_write_u16(driver->config.available_gpa + 2, driver->next_available);
}

/*
 * Offers valid chains of two descriptors: a header, in one chain cut short so that it goes on in
 * the next buffer, and data. Inputs begin with them, so that their steps break what works.
 */
static inline void driver_offer_chains(struct hostile_driver *driver, uint32_t header_bytes,
                                       uint16_t header_flags, uint16_t data_flags)
{
    for (uint16_t i = 0; i + 1 < CHAIN_BUFFERS && i + 1u < driver->config.size; i += 2) {
        uint64_t table = driver->config.descriptor_gpa + i * 16u;
        descriptor_write(table, HEADER_GPA + i * 16u, i == 4 ? 5 : header_bytes,
                         header_flags | VRING_DESC_F_NEXT, i + 1);
        descriptor_write(table + 16, BUFFERS_GPA + i * BUFFER_BYTES, BUFFER_BYTES, data_flags, 0);
        driver_offer(driver, i);
    }
}

/* A step of the driver. */
static inline void driver_step(struct hostile_driver *driver, struct fuzz_input *input)
{
    uint8_t kind = input_u8(input);
    uint64_t available = driver->config.available_gpa;
    switch (kind & 7) {
    case 0: /* the index of the next wanted interrupt, or whether interrupts are wanted */
        driver_write_u16(available + (kind & 8 ? 0 : 4 + driver->config.size * 2u),
                         input_u16(input));
        break;
    case 1: /* any index */
        driver->next_available = kind & 8 ? input_u16(input) : driver->next_available + (kind >> 4);
        driver_write_u16(available + 2, driver->next_available);
        break;
    case 2: { /* anything anywhere */
        uint64_t gpa = driver_address(input);
        driver_write_u16(gpa, input_u16(input));
        break;
    }
    case 3:
    case 4:
        driver_offer(driver, kind >> 3);
        break;
    default:
        driver_step_describe(driver, input);
    }
}

/* Zeroes memory and sets up a queue as the input says. Returns false if the device refuses it. */
static inline bool driver_init(struct hostile_driver *driver, struct virtqueue *queue,
                               struct fuzz_input *input)
{
    const struct guest_memory *memory = driver_memory();
    for (unsigned i = 0; i < memory->count; i++)
        memset(memory->regions[i].hva, 0, memory->regions[i].size);
    uint8_t kind = input_u8(input);
    *driver = (struct hostile_driver){.config = {.size = 1u << (kind & 7),
                                                 .event_idx = kind & 8,
                                                 .indirect = kind & 16,
                                                 .descriptor_gpa = DESCRIPTORS_GPA,
                                                 .available_gpa = AVAILABLE_GPA,
                                                 .used_gpa = USED_GPA}};
    if (kind & 32) {
        driver->config.descriptor_gpa = driver_address(input);
        driver->config.available_gpa = driver_address(input);
        driver->config.used_gpa = driver_address(input);
    }
    if (kind & 64)
        driver->config.size = input_u32(input);
    return virtqueue_init(queue, memory, &driver->config) == 0 && queue->size <= QUEUE_SIZE_MAX;
}

#endif
