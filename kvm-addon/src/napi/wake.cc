#include "wake.h"

Wake::Wake(Napi::Env env, Napi::Function callback, const char *name, bool keeps_alive)
{
    link_ = new Link{this};
    auto gone = [](Napi::Env, void *, Link *link) {
        if (link->wake) {
            link->wake->closed_ = true;
            link->wake->link_ = nullptr;
        }
        delete link;
    };
    // The queue needs no limit, because `pending_` keeps it at one entry.
    function_ = Function::New(env, callback, name, 0, 1, link_, gone, static_cast<void *>(nullptr));
    if (!keeps_alive)
        function_.Unref(env);
}

Wake::~Wake()
{
    close();
    if (link_)
        link_->wake = nullptr;
}

struct wake Wake::core()
{
    return {[](void *context) { static_cast<Wake *>(context)->notify(); }, this};
}

void Wake::notify()
{
    if (!pending_.exchange(true))
        function_.NonBlockingCall(this);
}

void Wake::close()
{
    if (closed_)
        return;
    closed_ = true;
    // Abort, not Release: a queued call then runs without an environment and does nothing, so that
    // it cannot access this object after its destruction.
    function_.Abort();
}

void Wake::call(Napi::Env env, Napi::Function callback, Link *, Wake *wake)
{
    if (env == nullptr || callback == nullptr)
        return;
    // Cleared before the callback, so that a notification during the callback causes another call.
    wake->pending_.store(false);
    wake->calls_++;
    callback.Call({});
}
