// The shadow rings of a device that another process serves (vhost-user).
#pragma once

#include <napi.h>

#include <string>

extern "C" {
#include "../virtio/vhost_queues.h"
}

class NativeVhostQueues : public Napi::ObjectWrap<NativeVhostQueues>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeVhostQueues *from(Napi::Value value);

    explicit NativeVhostQueues(const Napi::CallbackInfo &info);
    ~NativeVhostQueues() override;

    // nullptr when it is closed.
    struct vhost_queues *queues()
    {
        return open_ ? &queues_ : nullptr;
    }
    const struct vhost_statistics &statistics() const
    {
        return queues_.statistics;
    }
    // Called around each run of the worker.
    void hold();
    void release();

  private:
    Napi::Value shared(const Napi::CallbackInfo &info);
    Napi::Value rings(const Napi::CallbackInfo &info);
    Napi::Value fail(const Napi::CallbackInfo &info);
    Napi::Value reset(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);
    bool check_idle(Napi::Env env, const char *call);

    bool open_ = false;
    bool running_ = false;
    std::string name_;
    struct vhost_queues queues_ = {};
};
