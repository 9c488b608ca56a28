/* Tap devices that are ports of a bridge, in this or in another network namespace. */
#ifndef TSVM_BRIDGE_TAP_H
#define TSVM_BRIDGE_TAP_H

#include <sys/types.h>

/*
 * Creates a tap device with virtio-net headers, makes it a port of an existing bridge and brings it
 * up. It disappears when its descriptor is closed. `namespace_pid` is a process whose user and
 * network namespaces are entered for that, by a process of its own; 0: the caller's namespaces.
 * Returns the descriptor, non-blocking, or -errno: -ENODEV (there is no such bridge), -EPERM,
 * -ESRCH.
 */
int bridge_tap_open(const char *name, const char *bridge, pid_t namespace_pid);

#endif
