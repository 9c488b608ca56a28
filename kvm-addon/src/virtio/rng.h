/* The data plane of virtio-rng (virtio 1.2, section 5.4): the queue handler of an entropy device.
 */
#ifndef TSVM_RNG_H
#define TSVM_RNG_H

#include "../util/counter.h"
#include "queue_worker.h"

/* Maximum number of bytes per request. A driver that needs more asks again. */
#define RNG_REQUEST_BYTES_MAX 65536u

struct rng_statistics {
    counter requests;
    counter bytes;
};

struct rng {
    struct queue_handler handler;
    struct iovec *iov; /* room for a chain of the largest queue, while the worker runs */
    struct rng_statistics statistics;
};

void rng_init(struct rng *rng);

#endif
