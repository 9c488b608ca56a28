#include "register_bank.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "event_fd.h"
#include "instance.h"

Napi::Function NativeRegisterBank::define(Napi::Env env)
{
    return DefineClass(env, "NativeRegisterBank",
                       {
                           InstanceAccessor<&NativeRegisterBank::get_words>("words"),
                           InstanceMethod<&NativeRegisterBank::set_registers>("setRegisters"),
                           InstanceMethod<&NativeRegisterBank::set_interrupt>("setInterrupt"),
                           InstanceMethod<&NativeRegisterBank::drain_ring>("drainRing"),
                           InstanceMethod<&NativeRegisterBank::drain_stamps>("drainStamps"),
                       });
}

NativeRegisterBank *NativeRegisterBank::from(Napi::Value value)
{
    return unwrap_instance<NativeRegisterBank>(value, &Classes::register_bank,
                                               "a NativeRegisterBank is expected");
}

NativeRegisterBank::NativeRegisterBank(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<NativeRegisterBank>(info)
{
    uint32_t length, word_count, ring_size;
    if (!to_u32(info[0], &length) || !to_u32(info[1], &word_count) || !to_u32(info[2], &ring_size))
        return;
    int error = register_bank_init(&bank_, length, word_count, ring_size);
    if (error < 0) {
        throw_errno(info.Env(), error, "register_bank_init");
        return;
    }
    initialised_ = true;
}

NativeRegisterBank::~NativeRegisterBank()
{
    if (initialised_)
        register_bank_destroy(&bank_);
}

Napi::Value NativeRegisterBank::get_words(const Napi::CallbackInfo &info)
{
    // Keeps the bank alive as long as the view; the finalizer drops the reference.
    Ref();
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
        info.Env(), bank_.words, bank_.word_count * sizeof(uint32_t),
        [](Napi::Env, void *, NativeRegisterBank *bank) { bank->Unref(); }, this);
    return Napi::Uint32Array::New(info.Env(), bank_.word_count, buffer, 0);
}

Napi::Value NativeRegisterBank::set_registers(const Napi::CallbackInfo &info)
{
    const uint8_t *bytes;
    size_t length;
    if (!to_bytes(info[0], &bytes, &length))
        return Napi::Value();
    if (length % sizeof(struct tsvm_register) != 0)
        return throw_errno(info.Env(), EINVAL, "setRegisters");
    int error =
        register_bank_set_registers(&bank_, reinterpret_cast<const struct tsvm_register *>(bytes),
                                    static_cast<uint32_t>(length / sizeof(struct tsvm_register)));
    if (error < 0)
        return throw_errno(info.Env(), error, "setRegisters");
    return info.Env().Undefined();
}

Napi::Value NativeRegisterBank::set_interrupt(const Napi::CallbackInfo &info)
{
    NativeEventFd *event = NativeEventFd::from(info[0]);
    if (!event)
        return Napi::Value();
    interrupt_ = Napi::Persistent(info[0].As<Napi::Object>());
    bank_.interrupt = event->line();
    return info.Env().Undefined();
}

Napi::Value NativeRegisterBank::drain_ring(const Napi::CallbackInfo &info)
{
    uint8_t bytes[4096];
    uint32_t taken = register_bank_drain(&bank_, bytes, sizeof bytes);
    Napi::Uint8Array result = Napi::Uint8Array::New(info.Env(), taken);
    if (taken > 0)
        std::copy(bytes, bytes + taken, result.Data());
    return result;
}

Napi::Value NativeRegisterBank::drain_stamps(const Napi::CallbackInfo &info)
{
    struct register_stamp stamps[REGISTER_BANK_STAMPS_MAX];
    uint32_t taken = register_bank_take_stamps(&bank_, stamps, REGISTER_BANK_STAMPS_MAX);
    Napi::Float64Array result = Napi::Float64Array::New(info.Env(), taken * 2);
    for (uint32_t i = 0; i < taken; i++) {
        result[i * 2] = stamps[i].value;
        result[i * 2 + 1] = static_cast<double>(stamps[i].time_ns);
    }
    return result;
}
