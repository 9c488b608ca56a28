/* Connections of a socket device: their table, their buffers and their turns. */
#ifndef TSVM_VSOCK_CONNECTION_H
#define TSVM_VSOCK_CONNECTION_H

#include "vsock_state.h"

/* Creates a connection that owns a descriptor. Returns NULL when out of memory. It is in no table.
 */
struct vsock_connection *vsock_connection_create(struct vsock *vsock, int fd);

/* Frees a connection and closes its descriptor, without telling the guest. */
void vsock_connection_free(struct vsock_connection *connection);

/* Adds a connection to the table of those that the guest knows, by its ports. */
void vsock_connection_insert(struct vsock_connection *connection);
struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t guest_port,
                                               uint32_t host_port);

/* Returns a free port of the host for a connection to `guest_port`. */
uint32_t vsock_free_host_port(struct vsock *vsock, uint32_t guest_port);

/* Requests VSOCK_SEND_* packets. */
void vsock_connection_send(struct vsock_connection *connection, unsigned packets);

/* Queues the connection for a turn if it has something to send to the guest. */
void vsock_connection_update(struct vsock_connection *connection);

/* The credit that the guest has granted, in bytes. */
uint32_t vsock_connection_credit(const struct vsock_connection *connection);

/* Whether there may be data for the guest and credit to send it. */
bool vsock_connection_has_data(const struct vsock_connection *connection);

/* The host program shall see a reset when its end is closed, if that is a TCP socket. */
void vsock_connection_abort(struct vsock_connection *connection);

/* Closes the host's end and resets the connection. */
void vsock_connection_reset(struct vsock_connection *connection);

/* Called when the guest has closed its end: frees the connection when all data has been passed to
 * the host. */
void vsock_connection_end(struct vsock_connection *connection);

/* Shuts down sending to the guest, receiving from it, or both (VIRTIO_VSOCK_SHUTDOWN_*). */
void vsock_connection_shut_host(struct vsock_connection *connection, unsigned flags);

/* Writes buffered data to the host. May free the connection. */
void vsock_connection_flush(struct vsock_connection *connection);

/* Passes `length` bytes in `span` from the guest to the host, or buffers them. */
void vsock_connection_forward(struct vsock_connection *connection, const struct iov_span *span,
                              uint32_t length);

/* Queues an RST for a packet that belongs to no connection. */
void vsock_reply_reset(struct vsock *vsock, uint32_t guest_port, uint32_t host_port, uint16_t type);

#endif
