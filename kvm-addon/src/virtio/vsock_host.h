/* The host's side of a socket device: programs that connect to ports of the guest, and reverse. */
#ifndef TSVM_VSOCK_HOST_H
#define TSVM_VSOCK_HOST_H

#include "vsock_state.h"

/* The guest asks for a connection: it is accepted or refused, now or later. */
void vsock_host_request(struct vsock *vsock, const struct virtio_vsock_hdr *request);

/* The guest has accepted a connection that a host program asked for. */
void vsock_host_established(struct vsock_connection *connection);

/* Takes connections that other threads have made (`vsock.connecting`). Returns their number. */
unsigned vsock_host_take_connecting(struct vsock *vsock);

/* Watches everything in the loop of a worker that starts. Returns 0 or -errno. */
int vsock_host_watch(struct vsock *vsock);

#endif
