/*
 * A socket device (virtio 1.2, section 5.10): stream connections between programs of the guest and
 * of the host.
 *
 * A host program connects to the device's socket file, sends "CONNECT <port>\n" and reads
 * "OK <port>\n" when the guest has accepted; a connection that comes to nothing is closed. For a
 * guest's connection to port P the device connects to the socket file "<path>_P". This process
 * itself does both by socket pairs, without a file. (The conventions are Firecracker's.)
 */
#ifndef TSVM_VSOCK_H
#define TSVM_VSOCK_H

#include "vsock_state.h"

/*
 * Initializes a device. `path` may be "" (no socket files) and is at most VSOCK_PATH_MAX bytes
 * long; `listener` is the listening socket of the file, or -1; it stays the caller's. `wake` is
 * told of connections for vsock_take_accepted(). Returns 0 or -errno.
 */
int vsock_init(struct vsock *vsock, uint64_t guest_cid, const char *path, int listener,
               struct wake wake);

/* Closes all connections. The worker does not run. */
void vsock_destroy(struct vsock *vsock);

/*
 * The driver has reset the device, or a state was restored that had other connections: closes all.
 * `tell_guest`: an event tells the driver that they are gone (5.10.6.7). The worker does not run.
 */
void vsock_reset(struct vsock *vsock, bool tell_guest);

/* The following are for any thread. */

/*
 * Returns a socket whose other end behaves as a connection to the device's socket file, or -errno.
 * It is served as soon as the driver has started the device.
 */
int vsock_connect(struct vsock *vsock);

/* Accepts the guest's connections to a port. Returns 0, -EADDRINUSE or -ENOMEM. */
int vsock_listen(struct vsock *vsock, uint32_t port);
void vsock_unlisten(struct vsock *vsock, uint32_t port);

/* Takes a connection to a port of vsock_listen(). Returns false when there is none. */
bool vsock_take_accepted(struct vsock *vsock, struct vsock_accepted *accepted);

#endif
