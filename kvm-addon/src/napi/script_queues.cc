#include "script_queues.h"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "arguments.h"
#include "error.h"
#include "instance.h"

// Longest thread name: the kernel's TASK_COMM_LEN without the NUL.
static const size_t NAME_BYTES_MAX = 15;

Napi::Function NativeScriptQueues::define(Napi::Env env)
{
    return DefineClass(env, "NativeScriptQueues",
                       {
                           InstanceMethod<&NativeScriptQueues::take_chains>("takeChains"),
                           InstanceMethod<&NativeScriptQueues::buffers>("buffers"),
                           InstanceMethod<&NativeScriptQueues::finish>("finish"),
                           InstanceMethod<&NativeScriptQueues::give_back>("giveBack"),
                           InstanceMethod<&NativeScriptQueues::want>("want"),
                       });
}

NativeScriptQueues *NativeScriptQueues::from(Napi::Value value)
{
    return unwrap_instance<NativeScriptQueues>(value, &Classes::script_queues,
                                               "a NativeScriptQueues is expected");
}

NativeScriptQueues::NativeScriptQueues(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeScriptQueues>(info)
{
    Napi::Env env = info.Env();
    Napi::Function on_chains;
    if (!get_option(info[0], "threadName", to_string, &name_) ||
        !get_option(info[0], "readableBytesMax", to_u32, &readable_max_) ||
        !get_option(info[0], "onChains", to_function, &on_chains))
        return;
    if (name_.size() > NAME_BYTES_MAX) {
        throw_errno(env, EINVAL, "NativeScriptQueues");
        return;
    }
    chains_ = std::make_unique<Wake>(env, on_chains, "tsvm-chains", false);
    script_queue_init(&script_, name_.c_str(), chains_->core());
    open_ = true;
}

NativeScriptQueues::~NativeScriptQueues()
{
    if (open_)
        script_queue_destroy(&script_);
}

void NativeScriptQueues::hold(const struct guest_memory *memory)
{
    memory_ = memory;
    Ref();
}

void NativeScriptQueues::release()
{
    memory_ = nullptr;
    Unref();
}

Napi::Value NativeScriptQueues::to_object(Napi::Env env, const struct script_chain *chain)
{
    const struct virtqueue_chain *parts = &chain->chain;
    struct iov_span readable = {const_cast<struct iovec *>(chain->iov), parts->readable_count};
    size_t length = std::min(parts->readable_bytes, readable_max_);
    // Copied once, so that the guest cannot change the data after the script has checked it.
    Napi::Uint8Array bytes = Napi::Uint8Array::New(env, length);
    if (env.IsExceptionPending())
        return Napi::Value();
    iov_copy_from(&readable, bytes.Data(), length);
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", static_cast<double>(chain->id));
    object.Set("queue", static_cast<double>(script_chain_queue(chain)));
    object.Set("readable", bytes);
    object.Set("readableBytes", static_cast<double>(parts->readable_bytes));
    object.Set("writableBytes", static_cast<double>(parts->writable_bytes));
    return object;
}

Napi::Value NativeScriptQueues::take_chains(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    Napi::Array list = Napi::Array::New(env);
    const struct script_chain *chain;
    for (uint32_t i = 0; (chain = script_queue_take(&script_)) != nullptr; i++)
        list.Set(i, to_object(env, chain));
    return list;
}

Napi::Value NativeScriptQueues::buffers(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint64_t id;
    if (!to_u64(info[0], &id))
        return Napi::Value();
    const struct script_chain *chain = memory_ ? script_queue_find(&script_, id) : nullptr;
    if (!chain)
        return throw_errno(env, EINVAL, "buffers");
    Napi::Array list = Napi::Array::New(env);
    unsigned readable = chain->chain.readable_count;
    for (unsigned i = 0; i < readable + chain->chain.writable_count; i++) {
        Napi::Object buffer = Napi::Object::New(env);
        uint64_t gpa = guest_memory_gpa(memory_, chain->iov[i].iov_base);
        buffer.Set("gpa", static_cast<double>(gpa));
        buffer.Set("lengthBytes", static_cast<double>(chain->iov[i].iov_len));
        buffer.Set("writable", i >= readable);
        list.Set(i, buffer);
    }
    return list;
}

Napi::Value NativeScriptQueues::finish(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!info[0].IsArray())
        return throw_type_error(env, "an array of answers is expected");
    Napi::Array list = info[0].As<Napi::Array>();
    int error = 0;
    for (uint32_t i = 0; i < list.Length() && error == 0; i++) {
        Napi::Value answer = list.Get(i);
        uint64_t id;
        const uint8_t *data = nullptr;
        size_t bytes = 0;
        if (!get_option(answer, "id", to_u64, &id))
            break;
        Napi::Value given = answer.As<Napi::Object>().Get("data");
        if (!given.IsUndefined() && !to_bytes(given, &data, &bytes))
            break;
        error = script_queue_finish(&script_, id, data, bytes);
    }
    // Also sends the answers before an invalid one.
    script_queue_send(&script_);
    if (error < 0)
        return throw_errno(env, error, "finish");
    return env.IsExceptionPending() ? Napi::Value() : env.Undefined();
}

Napi::Value NativeScriptQueues::give_back(const Napi::CallbackInfo &info)
{
    uint64_t id;
    if (!to_u64(info[0], &id))
        return Napi::Value();
    int error = script_queue_give_back(&script_, id);
    if (error < 0)
        return throw_errno(info.Env(), error, "giveBack");
    script_queue_send(&script_);
    return info.Env().Undefined();
}

Napi::Value NativeScriptQueues::want(const Napi::CallbackInfo &info)
{
    uint32_t index, chains = SCRIPT_QUEUE_ALL;
    bool all = info[1].IsNumber() && std::isinf(info[1].As<Napi::Number>().DoubleValue());
    if (!to_u32(info[0], &index) || (!all && !to_u32(info[1], &chains)))
        return Napi::Value();
    int error = script_queue_want(&script_, index, chains);
    return error < 0 ? throw_errno(info.Env(), error, "want") : info.Env().Undefined();
}
