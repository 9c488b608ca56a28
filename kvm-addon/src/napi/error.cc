#include "error.h"

#include <cstdlib>
#include <cstring>
#include <string>

Napi::Error make_errno(Napi::Env env, int error, const char *syscall)
{
    int number = std::abs(error);
    const char *name = strerrorname_np(number);
    const char *description = strerrordesc_np(number);
    std::string message =
        std::string(syscall) + ": " + (description ? description : "unknown error");
    Napi::Error object = Napi::Error::New(env, message);
    object.Set("code", Napi::String::New(env, name ? name : "UNKNOWN"));
    object.Set("errno", Napi::Number::New(env, number));
    object.Set("syscall", Napi::String::New(env, syscall));
    return object;
}

Napi::Value throw_errno(Napi::Env env, int error, const char *syscall)
{
    make_errno(env, error, syscall).ThrowAsJavaScriptException();
    return Napi::Value();
}

Napi::Value throw_type_error(Napi::Env env, const char *message)
{
    Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
    return Napi::Value();
}
