#include "sandbox.h"

#include "arguments.h"
#include "error.h"

extern "C" {
#include "../sandbox/sandbox.h"
}

static Napi::Value confine_threads(const Napi::CallbackInfo &info)
{
    int error = sandbox_enable_threads();
    if (error < 0)
        return throw_errno(info.Env(), error, "seccomp");
    return info.Env().Undefined();
}

static Napi::Value confine_process(const Napi::CallbackInfo &info)
{
    struct sandbox_needs needs = {};
    if (!get_option(info[0], "connects", to_bool, &needs.connects))
        return Napi::Value();
    int error = sandbox_confine_process(&needs);
    if (error < 0)
        return throw_errno(info.Env(), error, "seccomp");
    return info.Env().Undefined();
}

void define_sandbox_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("confineThreads", Napi::Function::New(env, confine_threads, "confineThreads"));
    exports.Set("confineProcess", Napi::Function::New(env, confine_process, "confineProcess"));
}
