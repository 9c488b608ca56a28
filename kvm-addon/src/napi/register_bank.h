#pragma once

#include <napi.h>

extern "C" {
#include "../bus/register_bank.h"
}

class NativeRegisterBank : public Napi::ObjectWrap<NativeRegisterBank>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeRegisterBank *from(Napi::Value value);

    explicit NativeRegisterBank(const Napi::CallbackInfo &info);
    ~NativeRegisterBank() override;

    struct register_bank *bank()
    {
        return &bank_;
    }
    uint32_t *words()
    {
        return bank_.words;
    }

  private:
    Napi::Value get_words(const Napi::CallbackInfo &info);
    Napi::Value set_registers(const Napi::CallbackInfo &info);
    Napi::Value set_interrupt(const Napi::CallbackInfo &info);
    Napi::Value drain_ring(const Napi::CallbackInfo &info);
    Napi::Value drain_stamps(const Napi::CallbackInfo &info);

    struct register_bank bank_;
    bool initialised_ = false;
    Napi::ObjectReference interrupt_;
};
