// JavaScript's handle on a rate limiter, which queue workers share.
#pragma once

#include <napi.h>

extern "C" {
#include "../util/rate_limiter.h"
}

class NativeRateLimiter : public Napi::ObjectWrap<NativeRateLimiter>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeRateLimiter *from(Napi::Value value);

    explicit NativeRateLimiter(const Napi::CallbackInfo &info);
    ~NativeRateLimiter() override;

    struct rate_limiter *limiter()
    {
        return &limiter_;
    }

  private:
    Napi::Value set(const Napi::CallbackInfo &info);

    struct rate_limiter limiter_;
};
