// JavaScript's handle on the thread that serves the queues of one device.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "queue_device.h"
#include "wake.h"

class NativeEventFd;
class NativeMemory;

class NativeQueueWorker : public Napi::ObjectWrap<NativeQueueWorker>
{
  public:
    static Napi::Function define(Napi::Env env);
    explicit NativeQueueWorker(const Napi::CallbackInfo &info);

  private:
    Napi::Value start(const Napi::CallbackInfo &info);
    Napi::Value stop(const Napi::CallbackInfo &info);
    Napi::Value statistics(const Napi::CallbackInfo &info);
    Napi::Value queue_statistics(const Napi::CallbackInfo &info);

    // These return false with an error pending.
    bool set_host(Napi::Value host);
    bool set_events(Napi::Value host);
    bool set_interrupt_status(Napi::Value status);
    bool to_queues(Napi::Value start);
    bool to_queue(Napi::Value value, struct virtqueue_config *config);

    void on_wake(Napi::Env env);

    std::unique_ptr<QueueDevice> device_;
    NativeMemory *memory_ = nullptr;
    std::vector<NativeEventFd *> host_kicks_;
    std::vector<struct interrupt_line *> interrupts_;
    uint32_t *interrupt_status_ = nullptr;
    Napi::FunctionReference on_broken_;
    std::vector<Napi::ObjectReference> kept_;

    // From the last start().
    std::vector<struct virtqueue_config> queues_;
    std::vector<NativeEventFd *> kicking_;
    std::vector<int> kicks_; // their descriptors
    struct queue_worker worker_ = {};
    bool running_ = false;
    std::unique_ptr<Wake> wake_;
    uint64_t ends_ = 0; // of the thread, each of which wakes JavaScript
    std::vector<Napi::Promise::Deferred> stopping_;
};
