#include "rate_limiter.h"

#define NS_PER_S 1000000000ull
/* A bucket is not refilled for more time than this at once, so that nothing overflows. */
#define REFILL_NS_MAX NS_PER_S
/* Rates and sizes beyond this are as good as none. */
#define TOKENS_MAX (1ull << 50)

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void bucket_set(struct token_bucket *bucket, uint64_t rate, uint64_t size, uint64_t now_ns)
{
    rate = smaller(rate, TOKENS_MAX);
    size = size > 0 ? smaller(size, TOKENS_MAX) : rate / 10;
    *bucket = (struct token_bucket){
        .rate = rate,
        .size = size > 0 ? size : 1,
        .tokens = (int64_t)(size > 0 ? size : 1),
        .updated_ns = now_ns,
    };
}

static void bucket_refill(struct token_bucket *bucket, uint64_t now_ns)
{
    uint64_t elapsed = now_ns > bucket->updated_ns ? now_ns - bucket->updated_ns : 0;
    bucket->updated_ns = now_ns > bucket->updated_ns ? now_ns : bucket->updated_ns;
    if (bucket->rate == 0)
        return;
    unsigned __int128 gained =
        (unsigned __int128)smaller(elapsed, REFILL_NS_MAX) * bucket->rate + bucket->rest;
    bucket->tokens += (int64_t)(gained / NS_PER_S);
    bucket->rest = (uint64_t)(gained % NS_PER_S);
    if (bucket->tokens >= (int64_t)bucket->size) {
        bucket->tokens = (int64_t)bucket->size;
        bucket->rest = 0;
    }
}

/* The time until there is a token. */
static uint64_t bucket_delay(const struct token_bucket *bucket)
{
    if (bucket->rate == 0 || bucket->tokens > 0)
        return 0;
    unsigned __int128 missing = (unsigned __int128)(1 - bucket->tokens) * NS_PER_S - bucket->rest;
    return (uint64_t)((missing + bucket->rate - 1) / bucket->rate);
}

static void bucket_charge(struct token_bucket *bucket, uint64_t tokens)
{
    if (bucket->rate > 0 && bucket->tokens > -(int64_t)TOKENS_MAX)
        bucket->tokens -= (int64_t)smaller(tokens, TOKENS_MAX);
}

void rate_limiter_init(struct rate_limiter *limiter)
{
    *limiter = (struct rate_limiter){.limits = false};
    pthread_mutex_init(&limiter->lock, NULL);
}

void rate_limiter_destroy(struct rate_limiter *limiter)
{
    pthread_mutex_destroy(&limiter->lock);
}

void rate_limiter_set(struct rate_limiter *limiter, const struct rate_limits *limits,
                      uint64_t now_ns)
{
    pthread_mutex_lock(&limiter->lock);
    bucket_set(&limiter->bytes, limits->bytes_per_second, limits->burst_bytes, now_ns);
    bucket_set(&limiter->operations, limits->operations_per_second, limits->burst_operations,
               now_ns);
    bool any = limiter->bytes.rate > 0 || limiter->operations.rate > 0;
    __atomic_store_n(&limiter->limits, any, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&limiter->lock);
}

unsigned rate_limiter_allow(struct rate_limiter *limiter, unsigned max, uint64_t now_ns,
                            uint64_t *delay_ns)
{
    pthread_mutex_lock(&limiter->lock);
    bucket_refill(&limiter->bytes, now_ns);
    bucket_refill(&limiter->operations, now_ns);
    uint64_t bytes = bucket_delay(&limiter->bytes);
    uint64_t operations = bucket_delay(&limiter->operations);
    *delay_ns = bytes > operations ? bytes : operations;
    if (limiter->operations.rate > 0 && limiter->operations.tokens < (int64_t)max)
        max = limiter->operations.tokens > 0 ? (unsigned)limiter->operations.tokens : 0;
    pthread_mutex_unlock(&limiter->lock);
    return *delay_ns > 0 ? 0 : max;
}

void rate_limiter_charge(struct rate_limiter *limiter, uint64_t operations, uint64_t bytes)
{
    pthread_mutex_lock(&limiter->lock);
    bucket_charge(&limiter->operations, operations);
    bucket_charge(&limiter->bytes, bytes);
    pthread_mutex_unlock(&limiter->lock);
}
