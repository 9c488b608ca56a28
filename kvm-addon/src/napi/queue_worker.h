// The lifecycle of a queue worker's thread, common to all devices that have one.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "wake.h"

extern "C" {
#include "../virtio/queue_worker.h"
}

class NativeMemory;

class QueueWorkerThread
{
  public:
    QueueWorkerThread() = default;
    QueueWorkerThread(const QueueWorkerThread &) = delete;
    QueueWorkerThread &operator=(const QueueWorkerThread &) = delete;

    // Takes the `host` of an options object. False with an error pending.
    bool set_host(Napi::Value host);

    // Starts the thread on the queues of a NativeQueueStart. `owner` is kept while it runs, and the
    // process with it. `engine` is the thread's, whatever comes of it. `on_end` is called when the
    // thread has ended. False with an error pending.
    bool start(Napi::Object owner, Napi::Value options, struct queue_handler *handler,
               struct io_engine *engine, std::function<void()> on_end);

    // A promise for the end of the thread.
    Napi::Value stop(Napi::Env env);

    bool running() const
    {
        return running_;
    }

    // Adds the counters that all workers have. They count since the last start.
    void add_statistics(Napi::Object statistics) const;

  private:
    bool to_queues(Napi::Value options);
    void on_wake(Napi::Env env);

    NativeMemory *memory_ = nullptr;
    std::vector<int> host_kicks_;
    struct interrupt_line *interrupt_ = nullptr;
    uint32_t *interrupt_status_ = nullptr;
    Napi::FunctionReference on_broken_;
    std::vector<Napi::ObjectReference> kept_;

    std::vector<struct virtqueue_config> queues_;
    std::vector<int> kicks_;
    struct queue_worker worker_ = {};
    bool running_ = false;
    std::function<void()> on_end_;
    std::unique_ptr<Wake> wake_;
    Napi::ObjectReference owner_;
    std::vector<Napi::Promise::Deferred> stopping_;
};
