#include "rng_worker.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"

Napi::Function NativeRngWorker::define(Napi::Env env)
{
    return DefineClass(env, "NativeRngWorker",
                       {
                           InstanceMethod<&NativeRngWorker::start>("start"),
                           InstanceMethod<&NativeRngWorker::stop>("stop"),
                           InstanceMethod<&NativeRngWorker::statistics>("statistics"),
                       });
}

NativeRngWorker::NativeRngWorker(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeRngWorker>(info)
{
    if (!info[0].IsObject()) {
        throw_type_error(info.Env(), "an options object is expected");
        return;
    }
    thread_.set_host(info[0].As<Napi::Object>().Get("host"));
}

Napi::Value NativeRngWorker::start(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (thread_.running())
        return throw_errno(env, EBUSY, "start");
    // Entropy is there at once: an engine is only what the thread sleeps on.
    struct io_engine *engine;
    int error = io_engine_create_threads(&engine);
    if (error < 0)
        return throw_errno(env, error, "io_engine_create");
    rng_init(&rng_);
    thread_.start(info.This().As<Napi::Object>(), info[0], &rng_.handler, engine, [] {});
    return env.Undefined();
}

Napi::Value NativeRngWorker::stop(const Napi::CallbackInfo &info)
{
    return thread_.stop(info.Env());
}

Napi::Value NativeRngWorker::statistics(const Napi::CallbackInfo &info)
{
    Napi::Object result = Napi::Object::New(info.Env());
    thread_.add_statistics(result);
    auto add = [&](const char *name, const counter &value) {
        result.Set(name, static_cast<double>(counter_read(&value)));
    };
    add("requests", rng_.statistics.requests);
    add("bytes", rng_.statistics.bytes);
    return result;
}
