#pragma once

#include <napi.h>

#include "queue_worker.h"

extern "C" {
#include "../virtio/blk.h"
}

class NativeDisk;

class NativeBlockWorker : public Napi::ObjectWrap<NativeBlockWorker>
{
  public:
    static Napi::Function define(Napi::Env env);
    explicit NativeBlockWorker(const Napi::CallbackInfo &info);

  private:
    Napi::Value start(const Napi::CallbackInfo &info);
    Napi::Value stop(const Napi::CallbackInfo &info);
    Napi::Value statistics(const Napi::CallbackInfo &info);

    QueueWorkerThread thread_;
    NativeDisk *disk_ = nullptr;
    Napi::ObjectReference disk_object_;
    int (*create_engine_)(struct io_engine **) = nullptr;
    struct blk_limits limits_ = {};
    struct blk blk_ = {};
};
