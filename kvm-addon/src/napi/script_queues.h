// The queues of a device served by TypeScript. A NativeQueueWorker provides their thread.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "wake.h"

extern "C" {
#include "../virtio/script_queue.h"
}

class NativeScriptQueues : public Napi::ObjectWrap<NativeScriptQueues>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeScriptQueues *from(Napi::Value value);

    explicit NativeScriptQueues(const Napi::CallbackInfo &info);
    ~NativeScriptQueues() override;

    struct script_queue *script()
    {
        return &script_;
    }
    // Called around each run of the worker; the chains are in `memory`.
    void hold(const struct guest_memory *memory);
    void release();
    // How often JavaScript was called.
    uint64_t wakes() const
    {
        return chains_->calls();
    }

  private:
    Napi::Value take_chains(const Napi::CallbackInfo &info);
    Napi::Value buffers(const Napi::CallbackInfo &info);
    Napi::Value finish(const Napi::CallbackInfo &info);
    Napi::Value give_back(const Napi::CallbackInfo &info);
    Napi::Value want(const Napi::CallbackInfo &info);

    Napi::Value to_object(Napi::Env env, const struct script_chain *chain);

    bool open_ = false;
    struct script_queue script_ = {};
    uint32_t readable_max_ = 0;
    const struct guest_memory *memory_ = nullptr;
    std::string name_;
    std::unique_ptr<Wake> chains_;
};
