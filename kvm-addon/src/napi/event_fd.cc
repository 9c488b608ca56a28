#include "event_fd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "error.h"
#include "instance.h"

Napi::Function NativeEventFd::define(Napi::Env env)
{
    return DefineClass(env, "NativeEventFd",
                       {
                           InstanceAccessor<&NativeEventFd::get_fd>("fd"),
                           InstanceMethod<&NativeEventFd::signal>("signal"),
                           InstanceMethod<&NativeEventFd::take>("take"),
                           InstanceMethod<&NativeEventFd::close>("close"),
                       });
}

NativeEventFd *NativeEventFd::from(Napi::Value value)
{
    return unwrap_instance<NativeEventFd>(value, &Classes::event_fd, "a NativeEventFd is expected");
}

NativeEventFd::NativeEventFd(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeEventFd>(info)
{
    fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd_ < 0)
        throw_errno(info.Env(), errno, "eventfd");
    interrupt_line_init(&line_, fd_);
    doorbell_init(&bell_, fd_);
}

NativeEventFd::~NativeEventFd()
{
    close_fd();
    interrupt_line_destroy(&line_);
    doorbell_destroy(&bell_);
}

void NativeEventFd::close_fd()
{
    if (fd_ >= 0)
        ::close(fd_);
    fd_ = -1;
}

Napi::Value NativeEventFd::get_fd(const Napi::CallbackInfo &info)
{
    return Napi::Number::New(info.Env(), fd_);
}

Napi::Value NativeEventFd::signal(const Napi::CallbackInfo &info)
{
    if (fd_ < 0)
        return throw_errno(info.Env(), EBADF, "eventfd_write");
    interrupt_line_pulse(&line_);
    return info.Env().Undefined();
}

Napi::Value NativeEventFd::take(const Napi::CallbackInfo &info)
{
    eventfd_t value = 0;
    if (eventfd_read(fd_, &value) < 0 && errno != EAGAIN)
        return throw_errno(info.Env(), errno, "eventfd_read");
    return Napi::Number::New(info.Env(), static_cast<double>(value));
}

Napi::Value NativeEventFd::close(const Napi::CallbackInfo &info)
{
    close_fd();
    return info.Env().Undefined();
}
