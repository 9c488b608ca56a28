// The devices whose queues a NativeQueueWorker can serve: a data plane in C, and its options.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

extern "C" {
#include "../virtio/queue_worker.h"
}

class QueueDevice
{
  public:
    virtual ~QueueDevice() = default;

    virtual struct queue_handler *handler() = 0;
    // Takes what a start says to this device alone. False with an error pending.
    virtual bool prepare(Napi::Value)
    {
        return true;
    }
    // The engine of a device that does file I/O; others have none. Returns 0 or -errno.
    virtual int create_engine(struct io_engine **engine)
    {
        *engine = nullptr;
        return 0;
    }
    // Around each run of the worker: what its thread uses stays open.
    virtual void hold(const struct guest_memory *)
    {
    }
    virtual void release()
    {
    }
    // Calls `add` with each of the device's own counters.
    using AddCounter = std::function<void(const char *name, const counter &value)>;
    virtual void read_counters(const AddCounter &add) const = 0;
};

// The device that options.device names, made of these options; nullptr with an error pending.
std::unique_ptr<QueueDevice> create_queue_device(Napi::Value options);
