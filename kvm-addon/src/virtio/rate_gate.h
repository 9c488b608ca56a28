/* Limits the rate at which a queue handler lets requests pass. */
#ifndef TSVM_RATE_GATE_H
#define TSVM_RATE_GATE_H

#include "../util/counter.h"
#include "../util/event_loop.h"
#include "../util/rate_limiter.h"

struct rate_gate {
    struct rate_limiter *limiter; /* NULL: no limit */
    struct event_loop *loop;
    struct event_timer timer; /* opens the gate */
    bool closed;
    counter delays; /* how often the gate was closed */
};

/* Call it at each start of the worker. Keeps the counter. */
void rate_gate_start(struct rate_gate *gate, struct rate_limiter *limiter, struct event_loop *loop);

/* Number of requests that may pass now, at most `max`. If it is 0, the gate closes for a while. */
unsigned rate_gate_allow(struct rate_gate *gate, unsigned max);

/* Charges the limit for requests that have passed. */
static inline void rate_gate_charge(struct rate_gate *gate, uint64_t operations, uint64_t bytes)
{
    if (rate_limiter_limits(gate->limiter))
        rate_limiter_charge(gate->limiter, operations, bytes);
}

#endif
