// The methods of NativeVm for a debugger.
#include <algorithm>
#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "vm.h"

extern "C" {
#include "../vcpu/vcpu_debug.h"
}

// Copies a BigUint64Array of at most `max` values. Returns false with an error pending.
static bool to_addresses(Napi::Value value, uint64_t *out, size_t max, uint32_t *count)
{
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array) {
        throw_type_error(value.Env(), "a BigUint64Array of addresses is expected");
        return false;
    }
    Napi::BigUint64Array array = value.As<Napi::BigUint64Array>();
    if (array.ElementLength() > max) {
        throw_errno(value.Env(), E2BIG, "setDebug");
        return false;
    }
    std::copy_n(array.Data(), array.ElementLength(), out);
    *count = static_cast<uint32_t>(array.ElementLength());
    return true;
}

Napi::Value NativeVm::set_debug(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    struct vcpu_debug debug = {};
    uint32_t registers, dr7;
    if (!check_open(env) ||
        !to_addresses(info[0], debug.breakpoints, VCPU_BREAKPOINTS_MAX, &debug.breakpoint_count) ||
        !to_addresses(info[1], debug.registers, VCPU_DEBUG_REGISTERS, &registers) ||
        !to_u32(info[2], &dr7))
        return Napi::Value();
    debug.dr7 = dr7;
    std::sort(debug.breakpoints, debug.breakpoints + debug.breakpoint_count);
    int error = vcpu_debug_set(&group_, &debug);
    return error < 0 ? throw_errno(env, error, "KVM_SET_GUEST_DEBUG") : env.Undefined();
}

Napi::Value NativeVm::hold(const Napi::CallbackInfo &info)
{
    if (check_open(info.Env()))
        vcpu_debug_hold(&group_);
    return info.Env().Undefined();
}

Napi::Value NativeVm::release(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint32_t running, stepping;
    if (!check_open(env) || !to_u32(info[0], &running) || !to_u32(info[1], &stepping))
        return Napi::Value();
    int error = vcpu_debug_release(&group_, running, stepping);
    return error < 0 ? throw_errno(env, error, "KVM_SET_GUEST_DEBUG") : env.Undefined();
}
