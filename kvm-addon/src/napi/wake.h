// Calls a JavaScript function from any thread. Notifications before the call are coalesced.
#pragma once

#include <napi.h>

#include <atomic>

extern "C" {
#include "../util/wake.h"
}

class Wake
{
  public:
    // `callback` is called without arguments. `keeps_alive`: keeps the event loop alive until
    // close().
    Wake(Napi::Env env, Napi::Function callback, const char *name, bool keeps_alive);
    ~Wake();
    Wake(const Wake &) = delete;
    Wake &operator=(const Wake &) = delete;

    // The handle for the C core; valid as long as this object.
    struct wake core();
    void notify();
    // Call when no thread notifies any more. Idempotent.
    void close();
    // How often the function was called. On the JavaScript thread.
    uint64_t calls() const
    {
        return calls_;
    }

  private:
    // Links this object and the thread-safe function. At process exit Node frees the function
    // first; it must not be used after that.
    struct Link {
        Wake *wake;
    };
    static void call(Napi::Env env, Napi::Function callback, Link *, Wake *wake);
    using Function = Napi::TypedThreadSafeFunction<Link, Wake, call>;

    Function function_;
    Link *link_ = nullptr;
    std::atomic<bool> pending_{false};
    bool closed_ = false;
    uint64_t calls_ = 0;
};
