#include "vhost.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "instance.h"

Napi::Function NativeVhostQueues::define(Napi::Env env)
{
    return DefineClass(env, "NativeVhostQueues",
                       {
                           InstanceMethod<&NativeVhostQueues::shared>("shared"),
                           InstanceMethod<&NativeVhostQueues::rings>("rings"),
                           InstanceMethod<&NativeVhostQueues::fail>("fail"),
                           InstanceMethod<&NativeVhostQueues::reset>("reset"),
                           InstanceMethod<&NativeVhostQueues::close>("close"),
                       });
}

NativeVhostQueues *NativeVhostQueues::from(Napi::Value value)
{
    return unwrap_instance<NativeVhostQueues>(value, &Classes::vhost_queues,
                                              "a NativeVhostQueues is expected");
}

NativeVhostQueues::NativeVhostQueues(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeVhostQueues>(info)
{
    uint32_t count, size;
    uint64_t address;
    if (!get_option(info[0], "threadName", to_string, &name_) ||
        !get_option(info[0], "queueCount", to_u32, &count) ||
        !get_option(info[0], "queueSize", to_u32, &size) ||
        !get_option(info[0], "ringsAddress", to_u64, &address))
        return;
    int error = vhost_queues_init(&queues_, name_.c_str(), count, size, address);
    if (error < 0) {
        throw_errno(info.Env(), error, "NativeVhostQueues");
        return;
    }
    open_ = true;
}

NativeVhostQueues::~NativeVhostQueues()
{
    if (open_)
        vhost_queues_destroy(&queues_);
}

void NativeVhostQueues::hold()
{
    running_ = true;
    Ref();
}

void NativeVhostQueues::release()
{
    running_ = false;
    Unref();
}

bool NativeVhostQueues::check_idle(Napi::Env env, const char *call)
{
    if (open_ && !running_)
        return true;
    throw_errno(env, open_ ? EBUSY : EBADF, call);
    return false;
}

Napi::Value NativeVhostQueues::shared(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!open_)
        return throw_errno(env, EBADF, "shared");
    Napi::Object object = Napi::Object::New(env);
    object.Set("fd", queues_.memory_fd);
    object.Set("bytes", static_cast<double>(queues_.shared_bytes));
    return object;
}

Napi::Value NativeVhostQueues::rings(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!open_)
        return throw_errno(env, EBADF, "rings");
    Napi::Array list = Napi::Array::New(env);
    for (unsigned i = 0; i < queues_.count; i++) {
        const struct vhost_ring *ring = &queues_.rings[i];
        Napi::Object object = Napi::Object::New(env);
        auto set_address = [&](const char *name, const void *part) {
            object.Set(name, static_cast<double>(vhost_queues_address(&queues_, part)));
        };
        set_address("descriptorAddress", ring->descriptors);
        set_address("availableAddress", ring->available);
        set_address("usedAddress", ring->used);
        object.Set("kickFd", ring->kick);
        object.Set("callFd", ring->call.fd);
        list.Set(i, object);
    }
    return list;
}

Napi::Value NativeVhostQueues::fail(const Napi::CallbackInfo &info)
{
    if (open_)
        vhost_queues_fail(&queues_);
    return info.Env().Undefined();
}

Napi::Value NativeVhostQueues::reset(const Napi::CallbackInfo &info)
{
    if (!check_idle(info.Env(), "reset"))
        return Napi::Value();
    vhost_queues_reset(&queues_);
    return info.Env().Undefined();
}

Napi::Value NativeVhostQueues::close(const Napi::CallbackInfo &info)
{
    if (!open_)
        return info.Env().Undefined();
    if (!check_idle(info.Env(), "close"))
        return Napi::Value();
    vhost_queues_destroy(&queues_);
    open_ = false;
    return info.Env().Undefined();
}
