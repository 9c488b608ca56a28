#pragma once

#include <napi.h>

extern "C" {
#include "../util/doorbell.h"
#include "../util/interrupt_line.h"
}

class NativeEventFd : public Napi::ObjectWrap<NativeEventFd>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeEventFd *from(Napi::Value value);

    explicit NativeEventFd(const Napi::CallbackInfo &info);
    ~NativeEventFd() override;

    // -1 after close().
    int fd() const
    {
        return fd_;
    }
    // The interrupt line that device threads pulse. Valid as long as the object.
    struct interrupt_line *line()
    {
        return &line_;
    }
    // The doorbell that vCPUs of the kernel-mode engine ring. Valid as long as the object.
    struct doorbell *bell()
    {
        return &bell_;
    }
    // Closes the descriptor, which must not be in use. Idempotent.
    void close_fd();

  private:
    Napi::Value get_fd(const Napi::CallbackInfo &info);
    Napi::Value signal(const Napi::CallbackInfo &info);
    Napi::Value take(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);

    int fd_ = -1;
    struct interrupt_line line_;
    struct doorbell bell_;
};
