/*
 * A socket device (virtio 1.2, section 5.10): stream connections between programs of the guest and
 * of the host.
 *
 * A host program connects to the device's socket file, sends "CONNECT <port>\n" and reads
 * "OK <port>\n" when the guest has accepted. A connection that fails is closed. For a guest's
 * connection to port P, the device connects to the socket file "<path>_P". This process can do both
 * without a file, by socket pairs. The conventions are Firecracker's.
 */
#ifndef TSVM_VSOCK_H
#define TSVM_VSOCK_H

#include "vsock_state.h"

/*
 * Initializes a device. `path` may be "" (no socket files) and has at most VSOCK_PATH_MAX bytes.
 * `listener` is the listening socket of the file, or -1; the caller closes it. `wake` is woken when
 * there are connections for vsock_take_accepted(). Returns 0 or -errno.
 */
int vsock_init(struct vsock *vsock, uint64_t guest_cid, const char *path, int listener,
               struct wake wake);

/* Closes all connections. The worker must not run. */
void vsock_destroy(struct vsock *vsock);

/*
 * Closes all connections after the driver has reset the device, or after a state with other
 * connections was restored. `tell_guest`: an event tells the driver that they are closed
 * (5.10.6.7). The worker must not run.
 */
void vsock_reset(struct vsock *vsock, bool tell_guest);

/* The following functions can be called from any thread. */

/*
 * Returns a socket whose other end is served like a connection to the device's socket file, or
 * -errno. It is served when the driver has started the device.
 */
int vsock_connect(struct vsock *vsock);

/*
 * Hands over a listening stream socket with O_NONBLOCK: each of its connections leads to a port of
 * the guest. Data moves between the client's socket and the guest's buffers. A client of a TCP
 * socket sees a reset when the guest refuses, or closes without a shutdown. The socket is closed by
 * vsock_destroy(). Returns 0 or -ENOMEM; then the socket is the caller's.
 */
int vsock_publish(struct vsock *vsock, int fd, uint32_t guest_port);

/* Starts to accept the guest's connections to a port. Returns 0, -EADDRINUSE or -ENOMEM. */
int vsock_listen(struct vsock *vsock, uint32_t port);
void vsock_unlisten(struct vsock *vsock, uint32_t port);

/* Takes a connection to a port of vsock_listen(). Returns false if there is none. */
bool vsock_take_accepted(struct vsock *vsock, struct vsock_accepted *accepted);

#endif
