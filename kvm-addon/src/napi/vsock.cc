#include "vsock.h"

#include <unistd.h>

#include <cerrno>
#include <string>

#include "arguments.h"
#include "error.h"
#include "instance.h"

Napi::Function NativeVsock::define(Napi::Env env)
{
    return DefineClass(env, "NativeVsock",
                       {
                           InstanceMethod<&NativeVsock::connect>("connect"),
                           InstanceMethod<&NativeVsock::publish>("publish"),
                           InstanceMethod<&NativeVsock::listen>("listen"),
                           InstanceMethod<&NativeVsock::unlisten>("unlisten"),
                           InstanceMethod<&NativeVsock::take_accepted>("takeAccepted"),
                           InstanceMethod<&NativeVsock::reset>("reset"),
                           InstanceMethod<&NativeVsock::close>("close"),
                       });
}

NativeVsock *NativeVsock::from(Napi::Value value)
{
    return unwrap_instance<NativeVsock>(value, &Classes::vsock, "a NativeVsock is expected");
}

NativeVsock::NativeVsock(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeVsock>(info)
{
    Napi::Env env = info.Env();
    uint64_t cid;
    std::string path;
    Napi::Function on_accepted;
    int listener = -1;
    if (!get_option(info[0], "guestCid", to_u64, &cid) ||
        !get_option(info[0], "path", to_string, &path) ||
        !get_option(info[0], "onAccepted", to_function, &on_accepted))
        return;
    Napi::Value fd = info[0].As<Napi::Object>().Get("listener");
    if (!fd.IsNull() && !to_fd(fd, &listener))
        return;
    accepted_ = std::make_unique<Wake>(env, on_accepted, "tsvm-vsock", false);
    int error = vsock_init(&vsock_, cid, path.c_str(), listener, accepted_->core());
    if (error < 0) {
        throw_errno(env, error, "NativeVsock");
        return;
    }
    open_ = true;
}

NativeVsock::~NativeVsock()
{
    if (open_)
        vsock_destroy(&vsock_);
}

void NativeVsock::hold()
{
    running_ = true;
    Ref();
}

void NativeVsock::release()
{
    running_ = false;
    Unref();
}

bool NativeVsock::check_open(Napi::Env env, const char *call)
{
    if (!open_)
        throw_errno(env, EBADF, call);
    return open_;
}

bool NativeVsock::check_idle(Napi::Env env, const char *call)
{
    if (check_open(env, call) && running_)
        throw_errno(env, EBUSY, call);
    return open_ && !running_;
}

Napi::Value NativeVsock::connect(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env, "connect"))
        return Napi::Value();
    int fd = vsock_connect(&vsock_);
    return fd < 0 ? throw_errno(env, fd, "connect") : Napi::Number::New(env, fd);
}

Napi::Value NativeVsock::publish(const Napi::CallbackInfo &info)
{
    int fd;
    uint32_t port;
    if (!check_open(info.Env(), "publish") || !to_fd(info[0], &fd) || !to_u32(info[1], &port))
        return Napi::Value();
    int error = vsock_publish(&vsock_, fd, port);
    return error < 0 ? throw_errno(info.Env(), error, "publish") : info.Env().Undefined();
}

Napi::Value NativeVsock::listen(const Napi::CallbackInfo &info)
{
    uint32_t port;
    if (!check_open(info.Env(), "listen") || !to_u32(info[0], &port))
        return Napi::Value();
    int error = vsock_listen(&vsock_, port);
    return error < 0 ? throw_errno(info.Env(), error, "listen") : info.Env().Undefined();
}

Napi::Value NativeVsock::unlisten(const Napi::CallbackInfo &info)
{
    uint32_t port;
    if (!to_u32(info[0], &port))
        return Napi::Value();
    if (open_)
        vsock_unlisten(&vsock_, port);
    return info.Env().Undefined();
}

Napi::Value NativeVsock::take_accepted(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    Napi::Array list = Napi::Array::New(env);
    struct vsock_accepted accepted;
    for (uint32_t i = 0; open_ && vsock_take_accepted(&vsock_, &accepted); i++) {
        Napi::Object object = Napi::Object::New(env);
        object.Set("port", static_cast<double>(accepted.host_port));
        object.Set("guestPort", static_cast<double>(accepted.guest_port));
        object.Set("fd", accepted.fd);
        list.Set(i, object);
    }
    return list;
}

Napi::Value NativeVsock::reset(const Napi::CallbackInfo &info)
{
    bool tell_guest;
    if (!to_bool(info[0], &tell_guest) || !check_idle(info.Env(), "reset"))
        return Napi::Value();
    vsock_reset(&vsock_, tell_guest);
    return info.Env().Undefined();
}

Napi::Value NativeVsock::close(const Napi::CallbackInfo &info)
{
    if (!open_)
        return info.Env().Undefined();
    if (!check_idle(info.Env(), "close"))
        return Napi::Value();
    vsock_destroy(&vsock_);
    open_ = false;
    accepted_->close();
    return info.Env().Undefined();
}
