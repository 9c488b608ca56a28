/* The host's side of a socket device: connections of host programs to the guest, and of the guest
 * to host programs. */
#ifndef TSVM_VSOCK_HOST_H
#define TSVM_VSOCK_HOST_H

#include "vsock_state.h"

/* Handles the guest's request for a connection, which is accepted or refused, possibly later. */
void vsock_host_request(struct vsock *vsock, const struct virtio_vsock_hdr *request);

/* Called when the guest has accepted a connection that a host program requested. */
void vsock_host_established(struct vsock_connection *connection);

/* Takes over connections and listeners that other threads have created (`vsock.connecting`,
 * `vsock.publishing`). Returns their number. */
unsigned vsock_host_take_connecting(struct vsock *vsock);

/* Adds all sources to the event loop of a starting worker. Returns 0 or -errno. */
int vsock_host_watch(struct vsock *vsock);

#endif
