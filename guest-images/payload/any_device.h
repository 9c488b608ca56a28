/*
 * A driver that knows one queue of each kind of device: one that the device serves without having
 * to wait for anything, and a chain that every such device returns.
 */
#ifndef PAYLOAD_ANY_DEVICE_H
#define PAYLOAD_ANY_DEVICE_H

#include "test.h"
#include "virtqueue.h"

struct device_kind {
    const char *name;
    uint32_t id;       /* VIRTIO_ID_* */
    uint64_t features; /* to negotiate, of its own */
    uint16_t queue;
    uint32_t readable, writable; /* bytes of the chain */
    uint64_t request;            /* the first bytes of its readable part; zeroes follow */
};

#define DEVICE_KINDS 6
extern const struct device_kind device_kinds[DEVICE_KINDS];

struct any_device {
    const struct device_kind *kind;
    struct virtio_device *device;
    struct virtqueue queue;
    uint8_t *request, *answer;
};

/* Takes memory for the n-th device of a kind, for any number of later starts; false: there is none.
 */
bool any_device_find(struct any_device *any, const struct device_kind *kind, unsigned n);
/* Resets the device and starts the queue, with all features of queues but those. */
bool any_device_start(struct any_device *any, uint64_t unwanted);
/* The device returns the chain, and needs no reset. */
enum verdict any_device_serves(struct any_device *any);
/* It does so after a reset. */
enum verdict any_device_works_again(struct any_device *any);
/* It sets DEVICE_NEEDS_RESET and says so. */
enum verdict any_device_needs_reset(const struct any_device *any);

#endif
