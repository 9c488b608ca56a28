#include "rate_gate.h"

#include <stddef.h>

#include "../util/clock.h"

/* Maximum time until the next check, because the limits may have been changed. */
#define CLOSED_NS_MAX 50000000u

static void timer_expired(struct event_timer *timer)
{
    struct rate_gate *gate =
        (struct rate_gate *)((uint8_t *)timer - offsetof(struct rate_gate, timer));
    gate->closed = false;
}

void rate_gate_start(struct rate_gate *gate, struct rate_limiter *limiter, struct event_loop *loop)
{
    *gate = (struct rate_gate){
        .limiter = limiter,
        .loop = loop,
        .timer = {.expired = timer_expired},
        .delays = gate->delays,
    };
}

unsigned rate_gate_allow(struct rate_gate *gate, unsigned max)
{
    uint64_t delay_ns;
    if (!rate_limiter_limits(gate->limiter))
        return max;
    unsigned allowed = rate_limiter_allow(gate->limiter, max, now_ns(), &delay_ns);
    if (allowed > 0)
        return allowed;
    if (delay_ns > CLOSED_NS_MAX)
        delay_ns = CLOSED_NS_MAX;
    /* Without a timer, nothing would open it again. */
    gate->closed = event_loop_set_timer(gate->loop, &gate->timer, delay_ns) == 0;
    counter_add(&gate->delays, 1);
    return gate->closed ? 0 : max;
}
