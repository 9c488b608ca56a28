/*
 * The state of a socket device (virtio 1.2, section 5.10): connections between ports of the guest
 * and stream sockets of the host. Its thread owns everything; the fields that other threads use too
 * are marked.
 */
#ifndef TSVM_VSOCK_STATE_H
#define TSVM_VSOCK_STATE_H

#include <linux/virtio_vsock.h>
#include <pthread.h>

#include "../util/byte_queue.h"
#include "../util/counter.h"
#include "../util/event_loop.h"
#include "../util/iov.h"
#include "../util/list.h"
#include "../util/wake.h"
#include "queue_worker.h"

#define VSOCK_RX_QUEUE 0u /* to the guest */
#define VSOCK_TX_QUEUE 1u /* from the guest */
#define VSOCK_EVENT_QUEUE 2u

#define VSOCK_HOST_CID 2u

#define VSOCK_CONNECTIONS_MAX 8192u
/*
 * A connection takes a descriptor, or two with an end in this process. This part of the process's
 * limit is the most connections, so that a guest cannot take the descriptors that other devices and
 * machines need.
 */
#define VSOCK_DESCRIPTORS_SHARE 4u
#define VSOCK_BUCKETS 4096u /* a power of two */

/*
 * What a guest may send before the host program has read it, for each connection. A connection gets
 * a part of what the others have left of VSOCK_PROMISED_BYTES_MAX, within these limits: the first
 * hundred get as much as Linux's own sockets have, or more, and a guest cannot make this process
 * keep more than 200 MiB.
 */
#define VSOCK_BUFFER_BYTES (512u << 10)
#define VSOCK_BUFFER_BYTES_MIN (16u << 10)
#define VSOCK_PROMISED_BYTES_MAX (64u << 20)
#define VSOCK_PROMISED_SHARE 128u
/* With more connections than this, a buffer is freed whenever it is empty. */
#define VSOCK_KEPT_BUFFERS 64u

/* Answers to packets of no connection that wait for an rx buffer. */
#define VSOCK_REPLIES_MAX 256u

/* How long the guest may take to answer a connection request. */
#define VSOCK_CONNECT_TIMEOUT_NS 10000000000u

/* A path without the port, and with `_` and a port. */
#define VSOCK_PATH_MAX 96u
#define VSOCK_PORT_PATH_MAX (VSOCK_PATH_MAX + sizeof "_4294967295")

/* Most entries of recvmsg(2) and sendmsg(2). */
#define VSOCK_IOV_MAX 1024u

enum vsock_connection_state {
    VSOCK_GREETING,    /* a host program has not said yet which port it wants */
    VSOCK_CALLING,     /* requested by the guest; the backlog of the host's listener is full */
    VSOCK_REQUESTED,   /* requested by the host; the guest has not answered yet */
    VSOCK_ESTABLISHED, /* one or both directions may be shut down */
    VSOCK_CLOSED,      /* the host's end is gone; the guest has not agreed yet */
    VSOCK_LINGERING,   /* the guest's end is gone; data for the host is left */
};

/* Packets to send for a connection, most urgent first. */
#define VSOCK_SEND_RST 1u
#define VSOCK_SEND_REQUEST 2u
#define VSOCK_SEND_RESPONSE 4u
#define VSOCK_SEND_SHUTDOWN 8u
#define VSOCK_SEND_CREDIT_UPDATE 16u
#define VSOCK_SEND_CREDIT_REQUEST 32u

struct vsock_connection {
    struct vsock *vsock;
    struct event_source source; /* the host's end; its descriptor is -1 once closed */
    enum vsock_connection_state state;
    uint32_t guest_port;
    uint32_t host_port;
    unsigned send;           /* VSOCK_SEND_* */
    unsigned guest_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_* that the guest has sent */
    unsigned host_shutdown;  /* likewise, of the host's end; sent, or to be sent */
    bool says_ok;            /* the host program waits for a line when the guest has accepted */
    bool readable;           /* the host's end may have data, or has ended */
    bool hung_up;            /* the host program has closed its end */

    /* Flow control from the guest to the host, in bytes modulo 2^32. */
    uint32_t buffer_bytes;   /* what the guest was promised */
    uint32_t received;       /* from the guest */
    uint32_t forwarded;      /* to the host */
    uint32_t forwarded_told; /* the value that the guest knows */
    struct byte_queue buffer;

    /* Flow control from the host to the guest. */
    uint32_t guest_buffer_bytes;
    uint32_t guest_forwarded;
    uint32_t sent;
    bool credit_requested;

    unsigned read_chains; /* rx buffers to offer to the next read: adapts to the traffic */
    uint64_t deadline_ns; /* in VSOCK_REQUESTED */

    struct list all;                      /* in vsock.connections */
    struct list ready;                    /* in vsock.ready, or in none */
    struct list waiting;                  /* in vsock.requested or vsock.calling, or in none */
    struct vsock_connection *bucket_next; /* in vsock.buckets, while the guest knows of it */
};

/* An answer (RST) to a packet that belongs to no connection. */
struct vsock_reply {
    uint32_t guest_port;
    uint32_t host_port;
    uint16_t type;
};

/* A connection between the guest and this process, on its way from one thread to the other. */
struct vsock_accepted {
    struct list link;
    uint32_t host_port;
    uint32_t guest_port;
    int fd; /* the host's end */
};

struct vsock_statistics {
    counter connections; /* established */
    counter refused;     /* requests of either side that came to nothing */
    counter resets;      /* connections that this device ended because of an error */
    counter tx_packets;  /* from the guest */
    counter tx_bytes;
    counter rx_packets; /* to the guest */
    counter rx_bytes;
    counter malformed;   /* packets that violate the specification */
    counter credit_lies; /* packets beyond the promised credit */
};

struct vsock {
    struct queue_handler handler;
    uint64_t guest_cid;
    char path[VSOCK_PATH_MAX + 1]; /* guest port P connects to "path_P"; empty: to no socket file */

    struct event_loop *loop; /* NULL while the worker does not run. Changed under `lock` */
    struct event_source listener;
    bool listening; /* `listener` is in the loop */
    struct event_timer listen_timer;
    struct event_timer request_timer;
    struct event_timer call_timer;

    struct list connections; /* all */
    unsigned connection_count;
    unsigned connections_max;
    uint64_t promised_bytes;
    struct vsock_connection **buckets; /* VSOCK_BUCKETS, by both ports */
    uint32_t hash_seed;
    uint32_t next_host_port;
    struct list ready;     /* those with a packet to send, in turn */
    struct list requested; /* oldest first */
    struct list calling;

    struct vsock_reply replies[VSOCK_REPLIES_MAX];
    unsigned reply_first;
    unsigned reply_count;
    bool event_reset; /* the guest is to be told that its connections are gone */

    unsigned queue_size; /* of the largest queue */
    struct iovec *iov;   /* for the chains that are being served */
    struct iovec *part;  /* for a part of them */

    /* Of all threads, under `lock`. */
    pthread_mutex_t lock;
    struct wake wake;       /* told of entries in `accepted` */
    struct list accepted;   /* struct vsock_accepted */
    struct list connecting; /* struct vsock_accepted without ports: they say CONNECT first */
    bool has_connecting;    /* atomic */
    uint32_t *ports;        /* that this process listens on */
    unsigned port_count;

    struct vsock_statistics statistics;
};

#endif
