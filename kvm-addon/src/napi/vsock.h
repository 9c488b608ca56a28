// A socket device: its connections and the ports that this process listens on.
#pragma once

#include <napi.h>

#include <memory>

#include "wake.h"

extern "C" {
#include "../virtio/vsock.h"
}

class NativeVsock : public Napi::ObjectWrap<NativeVsock>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeVsock *from(Napi::Value value);

    explicit NativeVsock(const Napi::CallbackInfo &info);
    ~NativeVsock() override;

    // nullptr when it is closed.
    struct vsock *vsock()
    {
        return open_ ? &vsock_ : nullptr;
    }
    const struct vsock_statistics &statistics() const
    {
        return vsock_.statistics;
    }
    // Called around each run of the worker.
    void hold();
    void release();
    // How often JavaScript was called.
    uint64_t wakes() const
    {
        return accepted_->calls();
    }

  private:
    Napi::Value connect(const Napi::CallbackInfo &info);
    Napi::Value publish(const Napi::CallbackInfo &info);
    Napi::Value listen(const Napi::CallbackInfo &info);
    Napi::Value unlisten(const Napi::CallbackInfo &info);
    Napi::Value take_accepted(const Napi::CallbackInfo &info);
    Napi::Value reset(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);

    bool check_open(Napi::Env env, const char *call);
    bool check_idle(Napi::Env env, const char *call);

    bool open_ = false;
    bool running_ = false;
    struct vsock vsock_ = {};
    std::unique_ptr<Wake> accepted_;
};
