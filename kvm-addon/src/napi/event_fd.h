#pragma once

#include <napi.h>

class NativeEventFd : public Napi::ObjectWrap<NativeEventFd>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeEventFd *from(Napi::Value value);

    explicit NativeEventFd(const Napi::CallbackInfo &info);
    ~NativeEventFd() override;

    // -1 once closed.
    int fd() const
    {
        return fd_;
    }

  private:
    Napi::Value get_fd(const Napi::CallbackInfo &info);
    Napi::Value signal(const Napi::CallbackInfo &info);
    Napi::Value take(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);
    void close_fd();

    int fd_ = -1;
};
