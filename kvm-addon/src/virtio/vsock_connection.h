/* Connections of a socket device: their table, their buffers, and whose turn it is. */
#ifndef TSVM_VSOCK_CONNECTION_H
#define TSVM_VSOCK_CONNECTION_H

#include "vsock_state.h"

/* A connection with a descriptor, which is the connection's from now on, or NULL. In no table. */
struct vsock_connection *vsock_connection_create(struct vsock *vsock, int fd);

/* Frees a connection and closes its descriptor. Neither side is told. */
void vsock_connection_free(struct vsock_connection *connection);

/* Puts a connection into the table of those that the guest knows, by its ports. */
void vsock_connection_insert(struct vsock_connection *connection);
struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t guest_port,
                                               uint32_t host_port);

/* A port of the host for a connection to `guest_port`. */
uint32_t vsock_free_host_port(struct vsock *vsock, uint32_t guest_port);

/* Adds VSOCK_SEND_* packets. */
void vsock_connection_send(struct vsock_connection *connection, unsigned packets);

/* Gives the connection a turn if it has something to send to the guest. */
void vsock_connection_update(struct vsock_connection *connection);

/* What the guest lets this side send, in bytes. */
uint32_t vsock_connection_credit(const struct vsock_connection *connection);

/* Whether there may be data for the guest that it has room for. */
bool vsock_connection_has_data(const struct vsock_connection *connection);

/* Closes the host's end and tells the guest that the connection is broken. */
void vsock_connection_reset(struct vsock_connection *connection);

/* The guest has ended its side: frees the connection as soon as the host has got its data. */
void vsock_connection_end(struct vsock_connection *connection);

/* Stops sending to the guest, receiving from it, or both (VIRTIO_VSOCK_SHUTDOWN_*). */
void vsock_connection_shut_host(struct vsock_connection *connection, unsigned flags);

/* Writes buffered data to the host. It may free the connection. */
void vsock_connection_flush(struct vsock_connection *connection);

/* Passes bytes from the guest to the host, or buffers them. `span` has `length` bytes. */
void vsock_connection_forward(struct vsock_connection *connection, const struct iov_span *span,
                              uint32_t length);

/* Queues an RST for a packet of no connection. */
void vsock_reply_reset(struct vsock *vsock, uint32_t guest_port, uint32_t host_port, uint16_t type);

#endif
