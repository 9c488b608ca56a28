#include "queue_device.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "arguments.h"
#include "disk.h"
#include "error.h"
#include "net_port.h"
#include "rate_limiter.h"
#include "script_queues.h"
#include "vhost.h"
#include "vsock.h"

extern "C" {
#include "../virtio/blk.h"
#include "../virtio/net.h"
#include "../virtio/rng.h"
}

namespace
{

// A rate limiter, or nullptr for undefined, which stays alive with the device.
bool get_limiter(Napi::Value options, const char *name, Napi::ObjectReference *kept,
                 struct rate_limiter **limiter)
{
    Napi::Value value = options.As<Napi::Object>().Get(name);
    *limiter = nullptr;
    if (value.IsUndefined())
        return true;
    NativeRateLimiter *native = NativeRateLimiter::from(value);
    if (!native)
        return false;
    *kept = Napi::Persistent(value.As<Napi::Object>());
    *limiter = native->limiter();
    return true;
}

class BlockDevice : public QueueDevice
{
  public:
    // False with an error pending.
    bool parse(Napi::Value value)
    {
        std::string engine, id;
        struct blk_limits limits = {};
        if (!get_option(value, "engine", to_string, &engine) ||
            !get_option(value, "id", to_string, &id) ||
            !get_option(value, "segMax", to_u32, &limits.seg_max) ||
            !get_option(value, "maxDiscardSectors", to_u32, &limits.max_discard_sectors) ||
            !get_option(value, "maxWriteZeroesSectors", to_u32, &limits.max_write_zeroes_sectors))
            return false;
        struct rate_limiter *limiter;
        if (!get_limiter(value, "rateLimiter", &kept_limiter_, &limiter))
            return false;
        Napi::Value disk = value.As<Napi::Object>().Get("disk");
        disk_ = NativeDisk::from(disk);
        if (!disk_)
            return false;
        if (id.size() > sizeof limits.id || (engine != "io_uring" && engine != "threads")) {
            throw_errno(value.Env(), EINVAL, "NativeQueueWorker");
            return false;
        }
        kept_ = Napi::Persistent(disk.As<Napi::Object>());
        memcpy(limits.id, id.data(), id.size());
        create_files_ = engine == "io_uring" ? io_engine_create_io_uring : io_engine_create_threads;
        blk_init(&blk_, disk_->disk(), &limits, limiter);
        reports_wakes_ = disk_->claim_wakes();
        return true;
    }

    struct queue_handler *handler() override
    {
        return &blk_.handler;
    }

    bool prepare(Napi::Value start) override
    {
        if (disk_->disk())
            return get_option(start, "features", to_u32, &blk_.limits.features);
        throw_errno(start.Env(), EBADF, "start");
        return false;
    }

    int create_engine(struct io_engine **engine) override
    {
        struct io_engine *files;
        int error = create_files_(&files);
        if (error < 0)
            return error;
        error = io_engine_create_merging(engine, files);
        if (error < 0)
            io_engine_destroy(files);
        return error;
    }

    void hold(const struct guest_memory *) override
    {
        disk_->hold();
    }

    void release() override
    {
        disk_->release();
    }

    void read_counters(const AddCounter &add) const override
    {
        add("reads", blk_.statistics.reads);
        add("readBytes", blk_.statistics.read_bytes);
        add("writes", blk_.statistics.writes);
        add("writtenBytes", blk_.statistics.written_bytes);
        add("flushes", blk_.statistics.flushes);
        add("discards", blk_.statistics.discards);
        add("errors", blk_.statistics.errors);
        add("scriptRequests", blk_.session.script_requests);
        add("rateDelays", blk_.gate.delays);
    }

    uint64_t script_wakes() const override
    {
        return reports_wakes_ ? disk_->wakes() : 0;
    }

  private:
    NativeDisk *disk_ = nullptr;
    bool reports_wakes_ = false;
    Napi::ObjectReference kept_;
    Napi::ObjectReference kept_limiter_;
    int (*create_files_)(struct io_engine **) = nullptr;
    struct blk blk_ = {};
};

class EntropyDevice : public QueueDevice
{
  public:
    bool parse(Napi::Value)
    {
        rng_init(&rng_);
        return true;
    }

    struct queue_handler *handler() override
    {
        return &rng_.handler;
    }

    void read_counters(const AddCounter &add) const override
    {
        add("requests", rng_.statistics.requests);
        add("bytes", rng_.statistics.bytes);
    }

  private:
    struct rng rng_ = {};
};

class NetDevice : public QueueDevice
{
  public:
    bool parse(Napi::Value value)
    {
        Napi::Value port = value.As<Napi::Object>().Get("port");
        port_ = NativeNetPort::from(port);
        if (!port_)
            return false;
        struct rate_limiter *receive, *transmit;
        if (!get_limiter(value, "receiveLimiter", &kept_receive_, &receive) ||
            !get_limiter(value, "transmitLimiter", &kept_transmit_, &transmit))
            return false;
        kept_ = Napi::Persistent(port.As<Napi::Object>());
        net_init(&net_, port_->port(), receive, transmit);
        return true;
    }

    struct queue_handler *handler() override
    {
        return &net_.handler;
    }

    bool prepare(Napi::Value start) override
    {
        if (port_->port())
            return get_option(start, "features", to_u32, &net_.features);
        throw_errno(start.Env(), EBADF, "start");
        return false;
    }

    void hold(const struct guest_memory *) override
    {
        port_->hold();
    }

    void release() override
    {
        port_->release();
    }

    void read_counters(const AddCounter &add) const override
    {
        add("receivedFrames", net_.received.frames);
        add("receivedBytes", net_.received.bytes);
        add("receiveDrops", net_.received.dropped);
        add("sentFrames", net_.transmitted.frames);
        add("sentBytes", net_.transmitted.bytes);
        add("sendDrops", net_.transmitted.dropped);
        add("spoofedFrames", net_.transmitted.spoofed);
        add("receiveRateDelays", net_.receive_gate.delays);
        add("sendRateDelays", net_.transmit_gate.delays);
    }

    uint64_t script_wakes() const override
    {
        return port_->wakes();
    }

  private:
    NativeNetPort *port_ = nullptr;
    Napi::ObjectReference kept_;
    Napi::ObjectReference kept_receive_;
    Napi::ObjectReference kept_transmit_;
    struct net net_ = {};
};

class ScriptDevice : public QueueDevice
{
  public:
    bool parse(Napi::Value value)
    {
        Napi::Value queues = value.As<Napi::Object>().Get("queues");
        queues_ = NativeScriptQueues::from(queues);
        if (!queues_)
            return false;
        kept_ = Napi::Persistent(queues.As<Napi::Object>());
        return true;
    }

    struct queue_handler *handler() override
    {
        return &queues_->script()->handler;
    }

    bool prepare(Napi::Value start) override
    {
        if (!queues_->script()->loop)
            return true;
        throw_errno(start.Env(), EBUSY, "start");
        return false;
    }

    void hold(const struct guest_memory *memory) override
    {
        queues_->hold(memory);
    }

    void release() override
    {
        queues_->release();
    }

    void read_counters(const AddCounter &add) const override
    {
        add("scriptChains", queues_->script()->chains);
    }

    uint64_t script_wakes() const override
    {
        return queues_->wakes();
    }

  private:
    NativeScriptQueues *queues_ = nullptr;
    Napi::ObjectReference kept_;
};

class SocketDevice : public QueueDevice
{
  public:
    bool parse(Napi::Value value)
    {
        Napi::Value vsock = value.As<Napi::Object>().Get("vsock");
        vsock_ = NativeVsock::from(vsock);
        if (!vsock_)
            return false;
        kept_ = Napi::Persistent(vsock.As<Napi::Object>());
        return true;
    }

    struct queue_handler *handler() override
    {
        return &vsock_->vsock()->handler;
    }

    bool prepare(Napi::Value start) override
    {
        if (vsock_->vsock())
            return true;
        throw_errno(start.Env(), EBADF, "start");
        return false;
    }

    void hold(const struct guest_memory *) override
    {
        vsock_->hold();
    }

    void release() override
    {
        vsock_->release();
    }

    void read_counters(const AddCounter &add) const override
    {
        const struct vsock_statistics &statistics = vsock_->statistics();
        add("connections", statistics.connections);
        add("refused", statistics.refused);
        add("resets", statistics.resets);
        add("txPackets", statistics.tx_packets);
        add("txBytes", statistics.tx_bytes);
        add("rxPackets", statistics.rx_packets);
        add("rxBytes", statistics.rx_bytes);
        add("malformed", statistics.malformed);
        add("creditLies", statistics.credit_lies);
    }

    uint64_t script_wakes() const override
    {
        return vsock_->wakes();
    }

  private:
    NativeVsock *vsock_ = nullptr;
    Napi::ObjectReference kept_;
};

class VhostDevice : public QueueDevice
{
  public:
    bool parse(Napi::Value value)
    {
        Napi::Value queues = value.As<Napi::Object>().Get("queues");
        queues_ = NativeVhostQueues::from(queues);
        if (!queues_)
            return false;
        kept_ = Napi::Persistent(queues.As<Napi::Object>());
        return true;
    }

    struct queue_handler *handler() override
    {
        return &queues_->queues()->handler;
    }

    bool prepare(Napi::Value start) override
    {
        if (queues_->queues())
            return true;
        throw_errno(start.Env(), EBADF, "start");
        return false;
    }

    void hold(const struct guest_memory *) override
    {
        queues_->hold();
    }

    void release() override
    {
        queues_->release();
    }

    void read_counters(const AddCounter &add) const override
    {
        add("backendRequests", queues_->statistics().requests);
        add("backendKicks", queues_->statistics().kicks);
    }

  private:
    NativeVhostQueues *queues_ = nullptr;
    Napi::ObjectReference kept_;
};

template <typename Device> std::unique_ptr<QueueDevice> create(Napi::Value options)
{
    auto device = std::make_unique<Device>();
    if (!device->parse(options))
        return nullptr;
    return device;
}

const struct {
    const char *name;
    std::unique_ptr<QueueDevice> (*create)(Napi::Value options);
} DEVICES[] = {
    {"block", create<BlockDevice>},   {"entropy", create<EntropyDevice>},
    {"net", create<NetDevice>},       {"script", create<ScriptDevice>},
    {"socket", create<SocketDevice>}, {"vhost", create<VhostDevice>},
};

} // namespace

std::unique_ptr<QueueDevice> create_queue_device(Napi::Value options)
{
    std::string name;
    if (!get_option(options, "device", to_string, &name))
        return nullptr;
    for (const auto &known : DEVICES) {
        if (name == known.name)
            return known.create(options);
    }
    throw_errno(options.Env(), EINVAL, "NativeQueueWorker");
    return nullptr;
}
