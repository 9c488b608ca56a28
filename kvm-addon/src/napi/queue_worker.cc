#include "queue_worker.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "event_fd.h"
#include "memory.h"
#include "register_bank.h"

Napi::Function NativeQueueWorker::define(Napi::Env env)
{
    return DefineClass(env, "NativeQueueWorker",
                       {
                           InstanceMethod<&NativeQueueWorker::start>("start"),
                           InstanceMethod<&NativeQueueWorker::stop>("stop"),
                           InstanceMethod<&NativeQueueWorker::statistics>("statistics"),
                           InstanceMethod<&NativeQueueWorker::queue_statistics>("queueStatistics"),
                       });
}

NativeQueueWorker::NativeQueueWorker(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeQueueWorker>(info)
{
    device_ = create_queue_device(info[0]);
    if (device_)
        set_host(info[0].As<Napi::Object>().Get("host"));
}

bool NativeQueueWorker::set_host(Napi::Value host)
{
    Napi::Function on_broken;
    if (!get_option(host, "onBroken", to_function, &on_broken))
        return false;
    Napi::Value memory = host.As<Napi::Object>().Get("memory");
    memory_ = NativeMemory::from(memory);
    if (!memory_ || !set_events(host) ||
        !set_interrupt_status(host.As<Napi::Object>().Get("interruptStatus")))
        return false;
    kept_.push_back(Napi::Persistent(memory.As<Napi::Object>()));
    on_broken_ = Napi::Persistent(on_broken);
    return true;
}

// Calls `take` for each NativeEventFd of an array and keeps the objects alive. Returns false with
// an error pending.
template <typename Take>
static bool take_events(Napi::Value list, std::vector<Napi::ObjectReference> *kept, Take take)
{
    if (!list.IsArray()) {
        throw_type_error(list.Env(), "an array of events is expected");
        return false;
    }
    for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); i++) {
        Napi::Value value = list.As<Napi::Array>().Get(i);
        NativeEventFd *event = NativeEventFd::from(value);
        if (!event)
            return false;
        take(event);
        kept->push_back(Napi::Persistent(value.As<Napi::Object>()));
    }
    return true;
}

bool NativeQueueWorker::set_events(Napi::Value value)
{
    Napi::Object host = value.As<Napi::Object>();
    return take_events(host.Get("kicks"), &kept_,
                       [&](NativeEventFd *event) { host_kicks_.push_back(event); }) &&
           take_events(host.Get("interrupts"), &kept_,
                       [&](NativeEventFd *event) { interrupts_.push_back(event->line()); });
}

bool NativeQueueWorker::set_interrupt_status(Napi::Value status)
{
    if (status.IsUndefined())
        return true;
    uint32_t word;
    if (!get_option(status, "word", to_u32, &word))
        return false;
    Napi::Value object = status.As<Napi::Object>().Get("bank");
    NativeRegisterBank *bank = NativeRegisterBank::from(object);
    if (!bank)
        return false;
    if (word >= bank->bank()->word_count) {
        throw_errno(status.Env(), EINVAL, "interruptStatus");
        return false;
    }
    interrupt_status_ = bank->words() + word;
    kept_.push_back(Napi::Persistent(object.As<Napi::Object>()));
    return true;
}

bool NativeQueueWorker::to_queue(Napi::Value value, struct virtqueue_config *config)
{
    uint32_t index;
    if (!get_option(value, "index", to_u32, &index) ||
        !get_option(value, "size", to_u32, &config->size) ||
        !get_option(value, "descriptorGpa", to_u64, &config->descriptor_gpa) ||
        !get_option(value, "availableGpa", to_u64, &config->available_gpa) ||
        !get_option(value, "usedGpa", to_u64, &config->used_gpa))
        return false;
    Napi::Value interrupt = value.As<Napi::Object>().Get("interrupt");
    uint32_t number = 0;
    if (!interrupt.IsUndefined() && !interrupt.IsNull() && !to_u32(interrupt, &number))
        return false;
    if (index >= host_kicks_.size() || number >= QUEUE_WORKER_INTERRUPTS_MAX) {
        throw_errno(value.Env(), EINVAL, "queue");
        return false;
    }
    config->index = static_cast<uint16_t>(index);
    config->interrupt = interrupt.IsNull() ? -1 : static_cast<int>(number);
    return true;
}

// Fills queues_ and kicks_. queue_worker_start() checks the rings.
bool NativeQueueWorker::to_queues(Napi::Value start)
{
    struct virtqueue_config common = {};
    if (!get_option(start, "eventIdx", to_bool, &common.event_idx) ||
        !get_option(start, "indirect", to_bool, &common.indirect))
        return false;
    Napi::Value list = start.As<Napi::Object>().Get("queues");
    if (!list.IsArray()) {
        throw_type_error(start.Env(), "an array of queues is expected");
        return false;
    }
    queues_.clear();
    kicks_.clear();
    kicking_.clear();
    for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); i++) {
        struct virtqueue_config config = common;
        if (!to_queue(list.As<Napi::Array>().Get(i), &config))
            return false;
        queues_.push_back(config);
        kicking_.push_back(host_kicks_[config.index]);
        kicks_.push_back(kicking_.back()->fd());
    }
    return true;
}

Napi::Value NativeQueueWorker::start(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (running_ || !memory_->memory())
        return throw_errno(env, running_ ? EBUSY : EBADF, "start");
    struct queue_worker_options options = {};
    if (!to_queues(info[0]) || !device_->prepare(info[0]))
        return Napi::Value();
    int error = device_->create_engine(&options.engine);
    if (error < 0)
        return throw_errno(env, error, "io_engine_create");
    auto woken = [this](const Napi::CallbackInfo &call) { on_wake(call.Env()); };
    wake_ = std::make_unique<Wake>(env, Napi::Function::New(env, woken), "tsvm-queues", true);
    options.memory = memory_->memory();
    options.queues = queues_.data();
    options.kicks = kicks_.data();
    options.queue_count = static_cast<unsigned>(queues_.size());
    options.interrupts = interrupts_.data();
    options.interrupt_count = static_cast<unsigned>(interrupts_.size());
    options.interrupt_status = interrupt_status_;
    options.handler = device_->handler();
    options.wake = wake_->core();
    error = queue_worker_start(&worker_, &options);
    if (error < 0) {
        wake_.reset();
        return throw_errno(env, error, "queue_worker_start");
    }
    running_ = true;
    memory_->hold();
    device_->hold(memory_->memory());
    for (NativeEventFd *kick : kicking_)
        doorbell_set_answer(kick->bell(), queue_worker_serve_kick, &worker_);
    // Prevents garbage collection while the thread runs.
    Ref();
    return env.Undefined();
}

Napi::Value NativeQueueWorker::stop(const Napi::CallbackInfo &info)
{
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    if (running_) {
        stopping_.push_back(deferred);
        queue_worker_stop(&worker_);
    } else {
        deferred.Resolve(info.Env().Undefined());
    }
    return deferred.Promise();
}

// Called when the thread has ended, after stop() or because the guest broke a queue.
void NativeQueueWorker::on_wake(Napi::Env env)
{
    if (!running_ || !queue_worker_has_ended(&worker_))
        return;
    const char *broken = queue_worker_broken(&worker_);
    for (NativeEventFd *kick : kicking_)
        doorbell_set_answer(kick->bell(), nullptr, nullptr);
    queue_worker_free(&worker_);
    running_ = false;
    ends_++;
    memory_->release();
    device_->release();
    wake_.reset();
    std::vector<Napi::Promise::Deferred> stopping = std::move(stopping_);
    stopping_.clear();
    for (const Napi::Promise::Deferred &deferred : stopping)
        deferred.Resolve(env.Undefined());
    // This handle keeps the object alive until the end of the call.
    [[maybe_unused]] Napi::Object self = Value();
    Unref();
    if (broken && stopping.empty())
        on_broken_.Call({Napi::String::New(env, broken)});
}

Napi::Value NativeQueueWorker::statistics(const Napi::CallbackInfo &info)
{
    Napi::Object result = Napi::Object::New(info.Env());
    auto add = [&](const char *name, const counter &value) {
        result.Set(name, static_cast<double>(counter_read(&value)));
    };
    add("chains", worker_.statistics.chains);
    add("interrupts", worker_.statistics.interrupts);
    add("sleeps", worker_.statistics.sleeps);
    add("pollHits", worker_.statistics.poll_hits);
    add("gathers", worker_.statistics.gathers);
    add("atOnce", worker_.statistics.at_once);
    device_->read_counters(add);
    result.Set("scriptWakes", static_cast<double>(ends_ + device_->script_wakes()));
    return result;
}

Napi::Value NativeQueueWorker::queue_statistics(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    Napi::Array result = Napi::Array::New(env, host_kicks_.size());
    for (uint32_t i = 0; i < host_kicks_.size() && i < QUEUE_WORKER_QUEUES_MAX; i++) {
        const struct queue_statistics *statistics = &worker_.statistics.queues[i];
        Napi::Object queue = Napi::Object::New(env);
        queue.Set("chains", static_cast<double>(counter_read(&statistics->chains)));
        queue.Set("notifications", static_cast<double>(counter_read(&statistics->notifications)));
        result.Set(i, queue);
    }
    return result;
}
