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

void define_sandbox_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("confineThreads", Napi::Function::New(env, confine_threads, "confineThreads"));
}
