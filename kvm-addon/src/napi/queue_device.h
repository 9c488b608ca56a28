// The kinds of devices that a NativeQueueWorker can serve: their options and their data plane in C.
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
    // Reads the device-specific start options. Returns false with an error pending.
    virtual bool prepare(Napi::Value)
    {
        return true;
    }
    // Creates the I/O engine, if the device does file I/O. Returns 0 or -errno.
    virtual int create_engine(struct io_engine **engine)
    {
        *engine = nullptr;
        return 0;
    }
    // Called around each run of the worker, to keep open the objects that its thread uses.
    virtual void hold(const struct guest_memory *)
    {
    }
    virtual void release()
    {
    }
    // Calls `add` for each device-specific counter.
    using AddCounter = std::function<void(const char *name, const counter &value)>;
    virtual void read_counters(const AddCounter &add) const = 0;
    // How often the device has called JavaScript.
    virtual uint64_t script_wakes() const
    {
        return 0;
    }
};

// Creates the device named by options.device; returns nullptr with an error pending.
std::unique_ptr<QueueDevice> create_queue_device(Napi::Value options);
