#include "queue_worker.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "event_fd.h"
#include "memory.h"
#include "register_bank.h"

bool QueueWorkerThread::set_host(Napi::Value value)
{
    Napi::Env env = value.Env();
    Napi::Function on_broken;
    if (!get_option(value, "onBroken", to_function, &on_broken))
        return false;
    Napi::Object host = value.As<Napi::Object>();
    memory_ = NativeMemory::from(host.Get("memory"));
    if (!memory_)
        return false;
    NativeEventFd *interrupt = NativeEventFd::from(host.Get("interrupt"));
    if (!interrupt)
        return false;
    Napi::Value status = host.Get("interruptStatus");
    uint32_t word;
    if (!get_option(status, "word", to_u32, &word))
        return false;
    Napi::Value bank_object = status.As<Napi::Object>().Get("bank");
    NativeRegisterBank *bank = NativeRegisterBank::from(bank_object);
    if (!bank)
        return false;
    Napi::Value kicks = host.Get("kicks");
    if (!kicks.IsArray() || word >= bank->bank()->word_count) {
        throw_errno(env, EINVAL, "queue host");
        return false;
    }
    for (uint32_t i = 0; i < kicks.As<Napi::Array>().Length(); i++) {
        Napi::Value kick = kicks.As<Napi::Array>().Get(i);
        NativeEventFd *event = NativeEventFd::from(kick);
        if (!event)
            return false;
        host_kicks_.push_back(event->fd());
        kept_.push_back(Napi::Persistent(kick.As<Napi::Object>()));
    }
    for (Napi::Value object : {host.Get("memory"), host.Get("interrupt"), bank_object})
        kept_.push_back(Napi::Persistent(object.As<Napi::Object>()));
    interrupt_ = interrupt->line();
    interrupt_status_ = bank->words() + word;
    on_broken_ = Napi::Persistent(on_broken);
    return true;
}

// Fills queues_ and kicks_; the rings themselves are checked by queue_worker_start().
bool QueueWorkerThread::to_queues(Napi::Value options)
{
    bool event_idx, indirect;
    if (!get_option(options, "eventIdx", to_bool, &event_idx) ||
        !get_option(options, "indirect", to_bool, &indirect))
        return false;
    Napi::Value list = options.As<Napi::Object>().Get("queues");
    if (!list.IsArray()) {
        throw_type_error(options.Env(), "an array of queues is expected");
        return false;
    }
    queues_.clear();
    kicks_.clear();
    for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); i++) {
        Napi::Value queue = list.As<Napi::Array>().Get(i);
        struct virtqueue_config config = {};
        uint32_t index;
        if (!get_option(queue, "index", to_u32, &index) ||
            !get_option(queue, "size", to_u32, &config.size) ||
            !get_option(queue, "descriptorGpa", to_u64, &config.descriptor_gpa) ||
            !get_option(queue, "availableGpa", to_u64, &config.available_gpa) ||
            !get_option(queue, "usedGpa", to_u64, &config.used_gpa))
            return false;
        if (index >= host_kicks_.size()) {
            throw_errno(options.Env(), EINVAL, "queue index");
            return false;
        }
        config.event_idx = event_idx;
        config.indirect = indirect;
        queues_.push_back(config);
        kicks_.push_back(host_kicks_[index]);
    }
    return true;
}

bool QueueWorkerThread::start(Napi::Object owner, Napi::Value options,
                              struct queue_handler *handler, struct io_engine *engine,
                              std::function<void()> on_end)
{
    Napi::Env env = owner.Env();
    int error = running_ ? -EBUSY : !memory_->memory() ? -EBADF : 0;
    if (error < 0 || !to_queues(options)) {
        io_engine_destroy(engine);
        if (error < 0)
            throw_errno(env, error, "queue_worker_start");
        return false;
    }
    auto woken = [this](const Napi::CallbackInfo &info) { on_wake(info.Env()); };
    wake_ = std::make_unique<Wake>(env, Napi::Function::New(env, woken), "tsvm-queues", true);
    struct queue_worker_options worker_options = {};
    worker_options.memory = memory_->memory();
    worker_options.queues = queues_.data();
    worker_options.kicks = kicks_.data();
    worker_options.queue_count = static_cast<unsigned>(queues_.size());
    worker_options.interrupt = interrupt_;
    worker_options.interrupt_status = interrupt_status_;
    worker_options.handler = handler;
    worker_options.engine = engine;
    worker_options.wake = wake_->core();
    error = queue_worker_start(&worker_, &worker_options);
    if (error < 0) {
        wake_.reset();
        throw_errno(env, error, "queue_worker_start");
        return false;
    }
    running_ = true;
    on_end_ = std::move(on_end);
    memory_->hold();
    owner_ = Napi::Persistent(owner);
    return true;
}

Napi::Value QueueWorkerThread::stop(Napi::Env env)
{
    auto deferred = Napi::Promise::Deferred::New(env);
    if (running_) {
        stopping_.push_back(deferred);
        queue_worker_stop(&worker_);
    } else {
        deferred.Resolve(env.Undefined());
    }
    return deferred.Promise();
}

// The thread has ended, because it was asked to or because the guest broke a queue.
void QueueWorkerThread::on_wake(Napi::Env env)
{
    if (!running_ || !queue_worker_has_ended(&worker_))
        return;
    const char *broken = queue_worker_broken(&worker_);
    queue_worker_free(&worker_);
    running_ = false;
    memory_->release();
    on_end_();
    wake_.reset();
    // Dropping the owner may let it be collected, and this object with it: not before the end.
    Napi::ObjectReference owner = std::move(owner_);
    std::vector<Napi::Promise::Deferred> stopping = std::move(stopping_);
    stopping_.clear();
    for (const Napi::Promise::Deferred &deferred : stopping)
        deferred.Resolve(env.Undefined());
    if (broken && stopping.empty())
        on_broken_.Call({Napi::String::New(env, broken)});
}

void QueueWorkerThread::add_statistics(Napi::Object statistics) const
{
    const struct queue_worker_statistics &counters = worker_.statistics;
    auto add = [&](const char *name, const counter &value) {
        statistics.Set(name, static_cast<double>(counter_read(&value)));
    };
    add("chains", counters.chains);
    add("interrupts", counters.interrupts);
    add("sleeps", counters.sleeps);
    add("pollHits", counters.poll_hits);
}
