/*
 * The state of a socket device (virtio 1.2, section 5.10): connections between ports of the guest
 * and stream sockets of the host. Only the worker's thread uses it, except for the fields that are
 * marked.
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
 * A connection needs one descriptor, or two if its other end is in this process. The maximum number
 * of connections is this fraction of the process's limit, so that a guest cannot use up the
 * descriptors that other devices and machines need.
 */
#define VSOCK_DESCRIPTORS_SHARE 4u
#define VSOCK_BUCKETS 4096u /* a power of two */

/*
 * Limits of the credit of a connection: the bytes that a guest may send before the host program has
 * read them. A connection gets a fraction of what the others have left of VSOCK_PROMISED_BYTES_MAX.
 * The first hundred get at least as much as Linux's own sockets have, and a guest cannot make this
 * process buffer more than 200 MiB.
 */
#define VSOCK_BUFFER_BYTES (512u << 10)
#define VSOCK_BUFFER_BYTES_MIN (16u << 10)
#define VSOCK_PROMISED_BYTES_MAX (64u << 20)
#define VSOCK_PROMISED_SHARE 128u
/* With more connections than this, a buffer is freed whenever it becomes empty. */
#define VSOCK_KEPT_BUFFERS 64u

/*
 * Linux's rx buffers take less than 4 KiB each. This is half of what it has in the queue: it works
 * on one half while the other one is filled.
 */
#define VSOCK_TURN_CHAINS 128u

/* Maximum number of queued answers to packets that belong to no connection. */
#define VSOCK_REPLIES_MAX 256u

/* Time for the guest to answer a connection request. */
#define VSOCK_CONNECT_TIMEOUT_NS 10000000000u

/* Size of a path, without and with `_` and a port. */
#define VSOCK_PATH_MAX 96u
#define VSOCK_PORT_PATH_MAX (VSOCK_PATH_MAX + sizeof "_4294967295")

/* Maximum number of entries for recvmsg(2) and sendmsg(2). */
#define VSOCK_IOV_MAX 1024u

enum vsock_connection_state {
    VSOCK_GREETING,    /* a host program has not sent the port that it wants yet */
    VSOCK_CALLING,     /* requested by the guest; the backlog of the host's listener is full */
    VSOCK_REQUESTED,   /* requested by the host; not answered by the guest yet */
    VSOCK_ESTABLISHED, /* one or both directions may be shut down */
    VSOCK_CLOSED,      /* the host's end is closed; the guest has not confirmed it yet */
    VSOCK_LINGERING,   /* the guest's end is closed; data for the host is left */
};

/* Packets to be sent for a connection, most urgent first. */
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
    unsigned host_shutdown;  /* the same for the host's end: sent, or to be sent */
    bool says_ok;            /* the host program expects a line when the guest has accepted */
    bool readable;           /* the host's end may have data or may have ended */
    bool hung_up;            /* the host program has closed its end */

    /* Flow control from the guest to the host, in bytes modulo 2^32. */
    uint32_t buffer_bytes;   /* credit of the guest */
    uint32_t received;       /* received from the guest */
    uint32_t forwarded;      /* forwarded to the host */
    uint32_t forwarded_told; /* the value last sent to the guest */
    struct byte_queue buffer;

    /* Flow control from the host to the guest. */
    uint32_t guest_buffer_bytes;
    uint32_t guest_forwarded;
    uint32_t sent;
    bool credit_requested;

    unsigned read_chains; /* number of rx buffers for the next read; adapts to the traffic */
    uint64_t deadline_ns; /* in the state VSOCK_REQUESTED */

    struct list all;                      /* in vsock.connections */
    struct list ready;                    /* in vsock.ready or in no list */
    struct list waiting;                  /* in vsock.requested, vsock.calling or no list */
    struct vsock_connection *bucket_next; /* in vsock.buckets while the guest knows the
                                           * connection */
};

/* An RST that answers a packet that belongs to no connection. */
struct vsock_reply {
    uint32_t guest_port;
    uint32_t host_port;
    uint16_t type;
};

/* A connection between the guest and this process, while it is passed between threads. */
struct vsock_accepted {
    struct list link;
    uint32_t host_port;
    uint32_t guest_port;
    int fd; /* the host's end */
};

/* A socket whose connections lead to the guest. */
struct vsock_listener {
    struct vsock *vsock;
    struct event_source source; /* its descriptor is -1 if there is none */
    bool watched;               /* `source` is in the event loop */
    bool published;             /* connections lead to `guest_port`, without a greeting */
    uint32_t guest_port;
    struct list link; /* in vsock.listeners or vsock.publishing */
};

struct vsock_statistics {
    counter connections; /* established */
    counter refused;     /* failed requests of either side */
    counter resets;      /* connections that this device closed because of an error */
    counter tx_packets;  /* from the guest */
    counter tx_bytes;
    counter rx_packets; /* to the guest */
    counter rx_bytes;
    counter malformed;   /* packets that violate the specification */
    counter credit_lies; /* packets that exceed the granted credit */
};

struct vsock {
    struct queue_handler handler;
    uint64_t guest_cid;
    char path[VSOCK_PATH_MAX + 1]; /* the guest's port P connects to "path_P"; empty: no socket
                                    * files */

    struct event_loop *loop;    /* NULL while the worker does not run; changed under `lock` */
    struct vsock_listener file; /* of the socket file */
    struct list listeners;      /* all that the worker serves */
    struct event_timer listen_timer;
    struct event_timer request_timer;
    struct event_timer call_timer;

    struct list connections; /* all */
    unsigned connection_count;
    unsigned connections_max;
    uint64_t promised_bytes;
    struct vsock_connection **buckets; /* VSOCK_BUCKETS entries, by both ports */
    uint32_t hash_seed;
    uint32_t next_host_port;
    struct list ready;     /* connections with a packet to send; they take turns */
    struct list requested; /* oldest first */
    struct list calling;

    struct vsock_reply replies[VSOCK_REPLIES_MAX];
    unsigned reply_first;
    unsigned reply_count;
    bool event_reset; /* the guest must be told that its connections are closed */

    unsigned queue_size; /* size of the largest queue */
    struct iovec *iov;   /* buffers of the chains that are being served */
    struct iovec *part;  /* buffers of a part of them */

    /* Used by all threads, under `lock`. */
    pthread_mutex_t lock;
    struct wake wake;       /* woken when there are entries in `accepted` */
    struct list accepted;   /* struct vsock_accepted */
    struct list connecting; /* struct vsock_accepted without ports, because they send CONNECT
                             * first */
    struct list publishing; /* struct vsock_listener that the worker has not taken over yet */
    bool has_connecting;    /* atomic: there are entries in `connecting` or `publishing` */
    uint32_t *ports;        /* ports that this process listens on */
    unsigned port_count;

    struct vsock_statistics statistics;
};

#endif
