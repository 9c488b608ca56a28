/*
 * Control messages that a console device ignores and counts (virtio 1.2, 5.3.6.2), on a device with
 * the ports 0 and 1. This is the only list of them. It is used by the tests with a fake driver
 * (test/support/hostile-requests.ts) and by the bare-metal payload under KVM.
 */
#ifndef TSVM_TEST_HOSTILE_CONSOLE_H
#define TSVM_TEST_HOSTILE_CONSOLE_H

#include <linux/virtio_console.h>
#include <stdint.h>

struct hostile_control {
    const char *name;
    uint32_t bytes; /* of the message, which are sent; at most 8 */
    struct virtio_console_control message;
};

#define HOSTILE_CONTROL_BYTES ((uint32_t)sizeof(struct virtio_console_control))

static const struct hostile_control hostile_controls[] = {
    {"nothing", 0, {0, VIRTIO_CONSOLE_PORT_READY, 1}},
    {"a byte", 1, {0, VIRTIO_CONSOLE_PORT_READY, 1}},
    {"all but a byte", 7, {0, VIRTIO_CONSOLE_PORT_READY, 1}},
    {"an unknown event", HOSTILE_CONTROL_BYTES, {0, 99, 1}},
    {"the last event", HOSTILE_CONTROL_BYTES, {0, 0xffff, 1}},
    {"a port that is not there", HOSTILE_CONTROL_BYTES, {2, VIRTIO_CONSOLE_PORT_READY, 1}},
    {"the last port opens", HOSTILE_CONTROL_BYTES, {0xffffffff, VIRTIO_CONSOLE_PORT_OPEN, 1}},
    {"a driver that is not ready", HOSTILE_CONTROL_BYTES, {0, VIRTIO_CONSOLE_DEVICE_READY, 0}},
    {"a driver that adds a port", HOSTILE_CONTROL_BYTES, {0, VIRTIO_CONSOLE_PORT_ADD, 1}},
    {"a driver that removes a port", HOSTILE_CONTROL_BYTES, {0, VIRTIO_CONSOLE_PORT_REMOVE, 1}},
};

#define HOSTILE_CONTROL_COUNT (sizeof hostile_controls / sizeof hostile_controls[0])

#endif
