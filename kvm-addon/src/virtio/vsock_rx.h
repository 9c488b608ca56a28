/* Packets to the guest. */
#ifndef TSVM_VSOCK_RX_H
#define TSVM_VSOCK_RX_H

#include "vsock_state.h"

/* Whether there is something to send. */
bool vsock_rx_has_packets(const struct vsock *vsock);

/* Fills up to `max` buffers, with the connections taking turns. Returns their number. */
unsigned vsock_rx_serve(struct vsock *vsock, struct virtqueue *queue, unsigned max);

#endif
