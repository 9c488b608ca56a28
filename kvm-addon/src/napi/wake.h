// Calls a JavaScript function from any thread: many notifications before the call are one call.
#pragma once

#include <napi.h>

#include <atomic>

extern "C" {
#include "../util/wake.h"
}

class Wake
{
  public:
    // Calls `callback` with no arguments. `keeps_alive`: the process does not end before close().
    Wake(Napi::Env env, Napi::Function callback, const char *name, bool keeps_alive);
    ~Wake();
    Wake(const Wake &) = delete;
    Wake &operator=(const Wake &) = delete;

    // What the C core calls; valid as long as this object.
    struct wake core();
    void notify();
    // No thread may notify any more. Idempotent.
    void close();

  private:
    // Between this object and the function's own: at the end of the process Node frees the latter
    // first, and then it must not be touched any more.
    struct Link {
        Wake *wake;
    };
    static void call(Napi::Env env, Napi::Function callback, Link *, Wake *wake);
    using Function = Napi::TypedThreadSafeFunction<Link, Wake, call>;

    Function function_;
    Link *link_ = nullptr;
    std::atomic<bool> pending_{false};
    bool closed_ = false;
};
