#include "net_port.h"

#include <unistd.h>

#include <cerrno>
#include <string>

#include "arguments.h"
#include "error.h"
#include "instance.h"

extern "C" {
#include "../backend/bridge_tap.h"
#include "../backend/tap.h"
}

Napi::Function NativeNetPort::define(Napi::Env env)
{
    return DefineClass(env, "NativeNetPort",
                       {
                           InstanceMethod<&NativeNetPort::set_link>("setLink"),
                           InstanceMethod<&NativeNetPort::set_queue>("setQueue"),
                           InstanceMethod<&NativeNetPort::close>("close"),
                       });
}

NativeNetPort *NativeNetPort::from(Napi::Value value)
{
    return unwrap_instance<NativeNetPort>(value, &Classes::net_port, "a NativeNetPort is expected");
}

static const char *failure_code(int error)
{
    switch (error) {
    case -EPROTO:
        return "EPROTO";
    case -EBADFD:
        return "EBADFD";
    default:
        return "EPIPE";
    }
}

NativeNetPort::NativeNetPort(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeNetPort>(info)
{
    Napi::Env env = info.Env();
    std::string kind;
    int fd;
    Napi::Function on_failure;
    if (!get_option(info[0], "kind", to_string, &kind) || !get_option(info[0], "fd", to_fd, &fd) ||
        !get_option(info[0], "onFailure", to_function, &on_failure))
        return;
    if (kind != "tap" && kind != "stream") {
        throw_errno(env, EINVAL, "NativeNetPort");
        return;
    }
    const uint8_t *source = nullptr;
    size_t source_bytes = 0;
    Napi::Value given = info[0].As<Napi::Object>().Get("source");
    if (!given.IsUndefined()) {
        if (!to_bytes(given, &source, &source_bytes))
            return;
        if (source_bytes != NET_ADDRESS_BYTES) {
            throw_errno(env, EINVAL, "source");
            return;
        }
    }
    auto call = Napi::Persistent(on_failure);
    auto failed = [this, call = std::move(call)](const Napi::CallbackInfo &woken) {
        if (port_)
            call.Call({Napi::String::New(woken.Env(), failure_code(port_->failure))});
    };
    auto callback = Napi::Function::New(env, std::move(failed));
    failed_ = std::make_unique<Wake>(env, callback, "tsvm-net", false);
    port_ = kind == "tap" ? tap_port_create(fd, failed_->core())
                          : stream_port_create(fd, failed_->core());
    if (!port_) {
        throw_errno(env, ENOMEM, "NativeNetPort");
        return;
    }
    if (source)
        net_port_set_source(port_, source);
}

NativeNetPort::~NativeNetPort()
{
    close_port();
}

void NativeNetPort::hold()
{
    held_ = true;
    Ref();
}

void NativeNetPort::release()
{
    held_ = false;
    Unref();
}

Napi::Value NativeNetPort::set_link(const Napi::CallbackInfo &info)
{
    bool up;
    if (!to_bool(info[0], &up))
        return Napi::Value();
    if (port_)
        net_port_set_link(port_, up);
    return info.Env().Undefined();
}

Napi::Value NativeNetPort::set_queue(const Napi::CallbackInfo &info)
{
    bool attached;
    if (!to_bool(info[0], &attached))
        return Napi::Value();
    int error = port_ ? tap_set_queue(port_->fd, attached) : -EBADF;
    return error < 0 ? throw_errno(info.Env(), error, "TUNSETQUEUE") : info.Env().Undefined();
}

void NativeNetPort::close_port()
{
    if (!port_)
        return;
    ::close(port_->fd);
    net_port_free(port_);
    port_ = nullptr;
    failed_->close();
}

Napi::Value NativeNetPort::close(const Napi::CallbackInfo &info)
{
    if (held_)
        return throw_errno(info.Env(), EBUSY, "close");
    close_port();
    return info.Env().Undefined();
}

static Napi::Value open_tap(const Napi::CallbackInfo &info)
{
    std::string name;
    bool multi_queue;
    if (!to_string(info[0], &name) || !to_bool(info[1], &multi_queue))
        return Napi::Value();
    int fd = tap_open(name.c_str(), multi_queue);
    if (fd < 0)
        return throw_errno(info.Env(), fd, "TUNSETIFF");
    return Napi::Number::New(info.Env(), fd);
}

static Napi::Value open_bridge_tap(const Napi::CallbackInfo &info)
{
    std::string name, bridge;
    if (!to_string(info[0], &name) || !to_string(info[1], &bridge))
        return Napi::Value();
    int pid = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : 0;
    int fd = bridge_tap_open(name.c_str(), bridge.c_str(), pid);
    if (fd < 0)
        return throw_errno(info.Env(), fd, "SIOCBRADDIF");
    return Napi::Number::New(info.Env(), fd);
}

void define_net_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("openBridgeTap", Napi::Function::New(env, open_bridge_tap, "openBridgeTap"));
    exports.Set("openTap", Napi::Function::New(env, open_tap, "openTap"));
}
