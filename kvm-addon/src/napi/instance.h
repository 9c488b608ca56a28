// The classes of an addon instance, and conversion of values to their objects.
#pragma once

#include <napi.h>

#include "error.h"

// One per environment, because each worker thread loads the addon separately.
struct Classes {
    Napi::FunctionReference memory;
    Napi::FunctionReference event_fd;
    Napi::FunctionReference register_bank;
    Napi::FunctionReference disk;
    Napi::FunctionReference script_queues;
    Napi::FunctionReference vhost_queues;
    Napi::FunctionReference vsock;
    Napi::FunctionReference net_port;
    Napi::FunctionReference rate_limiter;
};

// The native object of `value`, or nullptr with a TypeError pending.
template <typename T>
T *unwrap_instance(Napi::Value value, Napi::FunctionReference Classes::*type, const char *message)
{
    Napi::Env env = value.Env();
    Classes *classes = env.GetInstanceData<Classes>();
    if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf((classes->*type).Value())) {
        throw_type_error(env, message);
        return nullptr;
    }
    return T::Unwrap(value.As<Napi::Object>());
}
