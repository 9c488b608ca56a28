#include "block_worker.h"

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "disk.h"
#include "error.h"

Napi::Function NativeBlockWorker::define(Napi::Env env)
{
    return DefineClass(env, "NativeBlockWorker",
                       {
                           InstanceMethod<&NativeBlockWorker::start>("start"),
                           InstanceMethod<&NativeBlockWorker::stop>("stop"),
                           InstanceMethod<&NativeBlockWorker::statistics>("statistics"),
                       });
}

NativeBlockWorker::NativeBlockWorker(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeBlockWorker>(info)
{
    Napi::Env env = info.Env();
    std::string engine, id;
    if (!get_option(info[0], "engine", to_string, &engine) ||
        !get_option(info[0], "id", to_string, &id) ||
        !get_option(info[0], "segMax", to_u32, &limits_.seg_max) ||
        !get_option(info[0], "maxDiscardSectors", to_u32, &limits_.max_discard_sectors) ||
        !get_option(info[0], "maxWriteZeroesSectors", to_u32, &limits_.max_write_zeroes_sectors))
        return;
    Napi::Object options = info[0].As<Napi::Object>();
    disk_ = NativeDisk::from(options.Get("disk"));
    if (!disk_ || !thread_.set_host(options.Get("host")))
        return;
    if (id.size() > sizeof limits_.id || (engine != "io_uring" && engine != "threads")) {
        throw_errno(env, EINVAL, "NativeBlockWorker");
        return;
    }
    disk_object_ = Napi::Persistent(options.Get("disk").As<Napi::Object>());
    memcpy(limits_.id, id.data(), id.size());
    create_engine_ = engine == "io_uring" ? io_engine_create_io_uring : io_engine_create_threads;
}

Napi::Value NativeBlockWorker::start(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint32_t features = 0;
    Napi::Value given =
        info[0].IsObject() ? info[0].As<Napi::Object>().Get("features") : env.Undefined();
    if (!given.IsUndefined() && !to_u32(given, &features))
        return Napi::Value();
    if (thread_.running() || !disk_->disk())
        return throw_errno(env, thread_.running() ? EBUSY : EBADF, "start");
    struct io_engine *files, *engine;
    int error = create_engine_(&files);
    if (error < 0)
        return throw_errno(env, error, "io_engine_create");
    error = io_engine_create_merging(&engine, files);
    if (error < 0) {
        io_engine_destroy(files);
        return throw_errno(env, error, "io_engine_create");
    }
    limits_.features = features;
    blk_init(&blk_, disk_->disk(), &limits_);
    NativeDisk *disk = disk_;
    if (thread_.start(info.This().As<Napi::Object>(), info[0], &blk_.handler, engine,
                      [disk] { disk->release(); }))
        disk->hold();
    return env.Undefined();
}

Napi::Value NativeBlockWorker::stop(const Napi::CallbackInfo &info)
{
    return thread_.stop(info.Env());
}

Napi::Value NativeBlockWorker::statistics(const Napi::CallbackInfo &info)
{
    Napi::Object result = Napi::Object::New(info.Env());
    thread_.add_statistics(result);
    auto add = [&](const char *name, const counter &value) {
        result.Set(name, static_cast<double>(counter_read(&value)));
    };
    add("reads", blk_.statistics.reads);
    add("readBytes", blk_.statistics.read_bytes);
    add("writes", blk_.statistics.writes);
    add("writtenBytes", blk_.statistics.written_bytes);
    add("flushes", blk_.statistics.flushes);
    add("discards", blk_.statistics.discards);
    add("errors", blk_.statistics.errors);
    add("scriptRequests", blk_.session.script_requests);
    return result;
}
