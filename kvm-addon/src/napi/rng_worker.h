#pragma once

#include <napi.h>

#include "queue_worker.h"

extern "C" {
#include "../virtio/rng.h"
}

class NativeRngWorker : public Napi::ObjectWrap<NativeRngWorker>
{
  public:
    static Napi::Function define(Napi::Env env);
    explicit NativeRngWorker(const Napi::CallbackInfo &info);

  private:
    Napi::Value start(const Napi::CallbackInfo &info);
    Napi::Value stop(const Napi::CallbackInfo &info);
    Napi::Value statistics(const Napi::CallbackInfo &info);

    QueueWorkerThread thread_;
    struct rng rng_ = {};
};
