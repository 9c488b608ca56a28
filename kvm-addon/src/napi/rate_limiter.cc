#include "rate_limiter.h"

#include <ctime>

#include "arguments.h"
#include "instance.h"

Napi::Function NativeRateLimiter::define(Napi::Env env)
{
    return DefineClass(env, "NativeRateLimiter", {InstanceMethod<&NativeRateLimiter::set>("set")});
}

NativeRateLimiter *NativeRateLimiter::from(Napi::Value value)
{
    return unwrap_instance<NativeRateLimiter>(value, &Classes::rate_limiter,
                                              "a NativeRateLimiter is expected");
}

NativeRateLimiter::NativeRateLimiter(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeRateLimiter>(info)
{
    rate_limiter_init(&limiter_);
}

NativeRateLimiter::~NativeRateLimiter()
{
    rate_limiter_destroy(&limiter_);
}

Napi::Value NativeRateLimiter::set(const Napi::CallbackInfo &info)
{
    struct rate_limits limits = {};
    if (!get_option(info[0], "bytesPerSecond", to_u64, &limits.bytes_per_second) ||
        !get_option(info[0], "burstBytes", to_u64, &limits.burst_bytes) ||
        !get_option(info[0], "operationsPerSecond", to_u64, &limits.operations_per_second) ||
        !get_option(info[0], "burstOperations", to_u64, &limits.burst_operations))
        return Napi::Value();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    rate_limiter_set(&limiter_, &limits,
                     static_cast<uint64_t>(now.tv_sec) * 1000000000u +
                         static_cast<uint64_t>(now.tv_nsec));
    return info.Env().Undefined();
}
