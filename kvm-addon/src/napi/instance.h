// The classes of this addon instance, and the check that a value is one of their objects.
#pragma once

#include <napi.h>

#include "error.h"

// One per environment (worker threads load the addon again): nothing here is global.
struct Classes {
    Napi::FunctionReference memory;
    Napi::FunctionReference event_fd;
    Napi::FunctionReference register_bank;
    Napi::FunctionReference disk;
    Napi::FunctionReference script_queues;
};

// The object behind `value`, or nullptr with a TypeError pending.
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
