/* Token buckets, with a clock of the test's own. */
#include "../../src/util/rate_limiter.h"
#include "../check.h"

#define MS 1000000ull
#define S (1000 * MS)
#define START (1000 * S)

static struct rate_limiter limiter;
static uint64_t delay;

static void set(struct rate_limits limits)
{
    rate_limiter_init(&limiter);
    rate_limiter_set(&limiter, &limits, START);
}

static unsigned allow(uint64_t now)
{
    return rate_limiter_allow(&limiter, 16, now, &delay);
}

static void no_limit_delays_nothing(void)
{
    rate_limiter_init(&limiter);
    CHECK(!rate_limiter_limits(&limiter) && !rate_limiter_limits(NULL));
    set((struct rate_limits){.burst_bytes = 5, .burst_operations = 5});
    CHECK(!rate_limiter_limits(&limiter));
    rate_limiter_charge(&limiter, 1000, 1000);
    CHECK(allow(START) == 16 && delay == 0);
}

static void operations_pass_in_a_burst_and_then_at_the_rate(void)
{
    set((struct rate_limits){.operations_per_second = 1000, .burst_operations = 5});
    CHECK(rate_limiter_limits(&limiter));
    CHECK(allow(START) == 5);
    rate_limiter_charge(&limiter, 5, 0);
    CHECK(allow(START) == 0 && delay == MS);
    CHECK(allow(START + MS - 1) == 0 && delay == 1);
    CHECK(allow(START + MS) == 1);
    rate_limiter_charge(&limiter, 1, 0);
    CHECK(allow(START + 3 * MS) == 2);
    /* Idle time fills the bucket, and no more. */
    CHECK(allow(START + 100 * S) == 5);
}

static void one_operation_may_be_larger_than_the_bucket(void)
{
    set((struct rate_limits){.bytes_per_second = 1000000, .burst_bytes = 1000});
    CHECK(allow(START) == 16);
    rate_limiter_charge(&limiter, 1, 51000);
    /* 50,000 bytes of debt, and a byte to go on with. */
    CHECK(allow(START) == 0 && delay == 50001000);
    CHECK(allow(START + 50 * MS) == 0 && delay == 1000);
    CHECK(allow(START + 50 * MS + 1000) == 16);
}

static void both_limits_count(void)
{
    set((struct rate_limits){.bytes_per_second = 1000,
                             .burst_bytes = 1000,
                             .operations_per_second = 10,
                             .burst_operations = 10});
    rate_limiter_charge(&limiter, 1, 1000);
    CHECK(allow(START) == 0 && delay == MS);
    rate_limiter_charge(&limiter, 9, 0);
    CHECK(allow(START) == 0 && delay == 100 * MS);
}

static void default_burst_is_a_tenth_of_a_second(void)
{
    set((struct rate_limits){.operations_per_second = 100});
    CHECK(allow(START) == 10);
    set((struct rate_limits){.operations_per_second = 1});
    CHECK(allow(START) == 1);
}

static void changed_limits_count_at_once(void)
{
    set((struct rate_limits){.operations_per_second = 1});
    rate_limiter_charge(&limiter, 1000, 0);
    CHECK(allow(START) == 0 && delay > 900 * S);
    rate_limiter_set(&limiter, &(struct rate_limits){.operations_per_second = 100}, START);
    CHECK(allow(START) == 10);
}

static void nothing_overflows(void)
{
    set((struct rate_limits){.bytes_per_second = UINT64_MAX,
                             .burst_bytes = UINT64_MAX,
                             .operations_per_second = UINT64_MAX});
    for (unsigned i = 0; i < 5000; i++)
        rate_limiter_charge(&limiter, UINT64_MAX, UINT64_MAX);
    CHECK(allow(START) == 0 && delay > 0);
    CHECK(allow(UINT64_MAX) == 0);
    /* A clock that goes back gives nothing. */
    CHECK(allow(0) == 0);
}

/* In small steps nothing is lost to rounding. */
static void slow_rates_are_exact(void)
{
    unsigned passed = 0;
    set((struct rate_limits){.operations_per_second = 7, .burst_operations = 1});
    for (uint64_t now = START; now < START + 10 * S; now += 999983) {
        unsigned allowed = allow(now);
        rate_limiter_charge(&limiter, allowed, 0);
        passed += allowed;
    }
    CHECK(passed >= 69 && passed <= 71);
}

int main(void)
{
    no_limit_delays_nothing();
    operations_pass_in_a_burst_and_then_at_the_rate();
    one_operation_may_be_larger_than_the_bucket();
    both_limits_count();
    default_burst_is_a_tenth_of_a_second();
    changed_limits_count_at_once();
    nothing_overflows();
    slow_rates_are_exact();
    return check_finish();
}
