/* Packets from the guest. */
#ifndef TSVM_VSOCK_TX_H
#define TSVM_VSOCK_TX_H

#include "vsock_state.h"

/* Takes up to `max` packets. Returns their number. */
unsigned vsock_tx_serve(struct vsock *vsock, struct virtqueue *queue, unsigned max);

#endif
