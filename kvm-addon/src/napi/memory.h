#pragma once

#include <napi.h>

#include <vector>

extern "C" {
#include "../memory/guest_memory.h"
}

class NativeMemory : public Napi::ObjectWrap<NativeMemory>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeMemory *from(Napi::Value value);

    explicit NativeMemory(const Napi::CallbackInfo &info);
    ~NativeMemory() override;

    // nullptr after close().
    struct guest_memory *memory();
    // While threads hold the memory, close() throws EBUSY.
    void hold();
    void release();
    bool held() const
    {
        return holds_ > 0;
    }

  private:
    bool add(Napi::Value region, const struct guest_memory_source *source);
    Napi::Value region(const Napi::CallbackInfo &info);
    Napi::Value write(const Napi::CallbackInfo &info);
    Napi::Value fds(const Napi::CallbackInfo &info);
    Napi::Value discard(const Napi::CallbackInfo &info);
    Napi::Value write_out(const Napi::CallbackInfo &info);
    Napi::Value read_in(const Napi::CallbackInfo &info);
    Napi::Value map_file(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);

    struct guest_memory memory_ = {};
    // One per region; empty until first requested.
    std::vector<Napi::Reference<Napi::ArrayBuffer>> buffers_;
    unsigned holds_ = 0;
    bool closed_ = false;
};
