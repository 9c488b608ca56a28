/* Tap devices: virtual Ethernet interfaces of the host (Linux, Documentation/networking/tuntap). */
#ifndef TSVM_TAP_H
#define TSVM_TAP_H

#include <stdbool.h>

/*
 * Opens a queue of an existing tap device, with virtio-net headers, non-blocking. Each call on a
 * device of several queues opens another one. Returns the descriptor or -errno: -ENODEV (there is
 * no such device), -EBUSY (in use), -EPERM (it belongs to another user), -EINVAL (no tap device, or
 * one that was created with another setting of multi_queue).
 */
int tap_open(const char *name, bool multi_queue);

/* Whether the host passes frames to this queue. Returns 0 or -errno. */
int tap_set_queue(int fd, bool attached);

#endif
