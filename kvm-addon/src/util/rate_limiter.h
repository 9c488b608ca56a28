/*
 * Token buckets: how many bytes and operations may pass, on average and at once. An operation may
 * pass while there are tokens, however many it takes; those that follow wait until the debt is
 * paid.
 *
 * A limiter may be shared by threads and changed at any time.
 */
#ifndef TSVM_RATE_LIMITER_H
#define TSVM_RATE_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct token_bucket {
    uint64_t rate; /* tokens per second; 0: no limit */
    uint64_t size; /* tokens that may be used at once, at least 1 */
    int64_t tokens;
    uint64_t rest;       /* of a token, in billionths */
    uint64_t updated_ns; /* CLOCK_MONOTONIC */
};

struct rate_limits {
    uint64_t bytes_per_second; /* 0: no limit, as for all of them */
    uint64_t burst_bytes;      /* 0: a tenth of a second's */
    uint64_t operations_per_second;
    uint64_t burst_operations;
};

struct rate_limiter {
    pthread_mutex_t lock;
    struct token_bucket bytes;
    struct token_bucket operations;
    bool limits; /* atomic: there is a limit */
};

void rate_limiter_init(struct rate_limiter *limiter);
void rate_limiter_destroy(struct rate_limiter *limiter);

/* Sets the limits; the buckets are full then. */
void rate_limiter_set(struct rate_limiter *limiter, const struct rate_limits *limits,
                      uint64_t now_ns);

/* One load. */
static inline bool rate_limiter_limits(const struct rate_limiter *limiter)
{
    return limiter && __atomic_load_n(&limiter->limits, __ATOMIC_RELAXED);
}

/*
 * How many operations may pass now, at most `max`. If none, `delay_ns` is the time until one may.
 */
unsigned rate_limiter_allow(struct rate_limiter *limiter, unsigned max, uint64_t now_ns,
                            uint64_t *delay_ns);

/* Takes the tokens of operations that have passed. */
void rate_limiter_charge(struct rate_limiter *limiter, uint64_t operations, uint64_t bytes);

#endif
