// JavaScript's handle on the host's end of a network link.
#pragma once

#include <napi.h>

#include <memory>

#include "wake.h"

extern "C" {
#include "../backend/net_port.h"
}

class NativeNetPort : public Napi::ObjectWrap<NativeNetPort>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeNetPort *from(Napi::Value value);

    explicit NativeNetPort(const Napi::CallbackInfo &info);
    ~NativeNetPort() override;

    // nullptr after close().
    struct net_port *port()
    {
        return port_;
    }
    // Called around each run of the worker.
    void hold();
    void release();
    // How often JavaScript was called.
    uint64_t wakes() const
    {
        return failed_->calls();
    }

  private:
    Napi::Value set_link(const Napi::CallbackInfo &info);
    Napi::Value set_queue(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);
    void close_port();

    struct net_port *port_ = nullptr;
    bool held_ = false;
    std::unique_ptr<Wake> failed_;
};

void define_net_functions(Napi::Env env, Napi::Object exports);
