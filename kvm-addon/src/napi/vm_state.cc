// The methods of NativeVm for the state of the VM and its vCPUs, and for counters.
#include <cerrno>
#include <cstring>
#include <vector>

#include "arguments.h"
#include "error.h"
#include "memory.h"
#include "vm.h"

extern "C" {
#include "../kvm/cpuid.h"
#include "../kvm/vm_state.h"
#include "../vcpu/vcpu_state.h"
}

namespace
{

const struct vcpu_state_kind *to_state_kind(Napi::Value value)
{
    std::string name;
    if (!to_string(value, &name))
        return nullptr;
    const struct vcpu_state_kind *kind = vcpu_state_find(name.c_str());
    if (!kind)
        throw_type_error(value.Env(), "unknown kind of vCPU state");
    return kind;
}

const struct vm_state_kind *to_vm_state_kind(Napi::Value value)
{
    std::string name;
    if (!to_string(value, &name))
        return nullptr;
    const struct vm_state_kind *kind = vm_state_find(name.c_str());
    if (!kind)
        throw_type_error(value.Env(), "unknown kind of VM state");
    return kind;
}

Napi::Uint8Array copy_bytes(Napi::Env env, const void *bytes, size_t length)
{
    Napi::Uint8Array array = Napi::Uint8Array::New(env, length);
    memcpy(array.Data(), bytes, length);
    return array;
}

// The indices argument of getMsrs and setMsrs.
bool to_msr_indices(Napi::Value value, Napi::Uint32Array *out)
{
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
        throw_type_error(value.Env(), "a Uint32Array of MSR indices is expected");
        return false;
    }
    *out = value.As<Napi::Uint32Array>();
    return true;
}

// Throws a negative `error`; otherwise returns undefined.
Napi::Value result(Napi::Env env, int error, const char *call)
{
    return error < 0 ? throw_errno(env, error, call) : env.Undefined();
}

} // namespace

Napi::Value NativeVm::supported_cpuid(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    cpuid_list_wait(&cpuid_);
    if (cpuid_.count < 0)
        return throw_errno(info.Env(), cpuid_.count, "KVM_GET_SUPPORTED_CPUID");
    size_t length = static_cast<size_t>(cpuid_.count) * sizeof cpuid_.entries[0];
    return copy_bytes(info.Env(), cpuid_.entries, length);
}

Napi::Value NativeVm::set_cpuid(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const uint8_t *bytes;
    size_t length;
    if (!vcpu || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    size_t count = length / sizeof(struct kvm_cpuid_entry2);
    if (length % sizeof(struct kvm_cpuid_entry2) != 0)
        return throw_errno(info.Env(), EINVAL, "KVM_SET_CPUID2");
    // Copied, because the typed array may be unaligned.
    std::vector<struct kvm_cpuid_entry2> entries(count);
    memcpy(entries.data(), bytes, length);
    return result(info.Env(), vcpu_set_cpuid(vcpu, entries.data(), count), "KVM_SET_CPUID2");
}

Napi::Value NativeVm::get_state(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const struct vcpu_state_kind *kind = vcpu ? to_state_kind(info[1]) : nullptr;
    if (!kind)
        return Napi::Value();
    alignas(8) uint8_t state[VCPU_STATE_SIZE_MAX];
    int error = vcpu_get_state(vcpu, kind, state);
    if (error < 0)
        return throw_errno(info.Env(), error, kind->get_call);
    return copy_bytes(info.Env(), state, kind->size);
}

Napi::Value NativeVm::set_state(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const struct vcpu_state_kind *kind = vcpu ? to_state_kind(info[1]) : nullptr;
    const uint8_t *bytes;
    size_t length;
    if (!kind || !to_bytes(info[2], &bytes, &length))
        return Napi::Value();
    if (length != kind->size)
        return throw_errno(info.Env(), EINVAL, kind->set_call);
    alignas(8) uint8_t state[VCPU_STATE_SIZE_MAX];
    memcpy(state, bytes, length);
    return result(info.Env(), vcpu_set_state(vcpu, kind, state), kind->set_call);
}

Napi::Value NativeVm::get_vm_state(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    const struct vm_state_kind *kind = to_vm_state_kind(info[0]);
    if (!kind)
        return Napi::Value();
    alignas(8) uint8_t state[VM_STATE_SIZE_MAX];
    int error = vm_get_state(&vm_, kind, state);
    if (error < 0)
        return throw_errno(info.Env(), error, kind->get_call);
    return copy_bytes(info.Env(), state, kind->size);
}

Napi::Value NativeVm::set_vm_state(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    const struct vm_state_kind *kind = to_vm_state_kind(info[0]);
    const uint8_t *bytes;
    size_t length;
    if (!kind || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    if (length != kind->size)
        return throw_errno(info.Env(), EINVAL, kind->set_call);
    alignas(8) uint8_t state[VM_STATE_SIZE_MAX];
    memcpy(state, bytes, length);
    return result(info.Env(), vm_set_state(&vm_, kind, state), kind->set_call);
}

Napi::Value NativeVm::get_msrs(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    Napi::Uint32Array indices;
    if (!vcpu || !to_msr_indices(info[1], &indices))
        return Napi::Value();
    size_t count = indices.ElementLength();
    Napi::BigUint64Array values = Napi::BigUint64Array::New(info.Env(), count);
    int error = vcpu_get_msrs(vcpu, indices.Data(), values.Data(), count);
    return error < 0 ? throw_errno(info.Env(), error, "KVM_GET_MSRS") : values;
}

Napi::Value NativeVm::set_msrs(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    Napi::Uint32Array indices;
    const uint8_t *bytes;
    size_t length;
    if (!vcpu || !to_msr_indices(info[1], &indices) || !to_bytes(info[2], &bytes, &length))
        return Napi::Value();
    size_t count = indices.ElementLength();
    if (length != count * sizeof(uint64_t))
        return throw_errno(info.Env(), EINVAL, "KVM_SET_MSRS");
    std::vector<uint64_t> values(count);
    memcpy(values.data(), bytes, length);
    return result(info.Env(), vcpu_set_msrs(vcpu, indices.Data(), values.data(), count),
                  "KVM_SET_MSRS");
}

Napi::Value NativeVm::statistics(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    Napi::Object result = Napi::Object::New(env);
    auto add = [&](const char *name, uint64_t value) {
        Napi::Value known = result.Get(name);
        double sum = known.IsNumber() ? known.As<Napi::Number>().DoubleValue() : 0;
        result.Set(name, Napi::Number::New(env, sum + static_cast<double>(value)));
    };
    for (unsigned i = 0; i < group_.count; i++) {
        const struct vcpu *vcpu = &group_.vcpus[i];
        add("exits", vcpu->counters.exits);
        add("fastAccesses", vcpu->counters.fast);
        add("slowAccesses", vcpu->counters.slow);
        add("unassignedAccesses", vcpu->counters.unassigned);
        add("interruptedRuns", vcpu->counters.interrupted);
        if (vcpu->cpu) {
            engine_read_counters(
                vcpu->cpu,
                [](void *context, const char *name, uint64_t value) {
                    (*static_cast<decltype(add) *>(context))(name, value);
                },
                &add);
        }
        for (unsigned counter = 0; vcpu->emulator && counter < EMU_COUNTERS; counter++) {
            std::string name = std::string("emulator-") + emu_counter_name(counter);
            add(name.c_str(), vcpu->emulator->counters[counter]);
        }
    }
    add("scriptWakes", wake_->calls());
    return result;
}

// Three keep a log: KVM of what vCPUs write by it, the engine of what it interprets, and guest
// memory of what this process writes otherwise.
Napi::Value NativeVm::set_dirty_log(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    bool logs;
    if (!check_open(env) || !to_bool(info[0], &logs))
        return Napi::Value();
    if (logs == logs_dirty_)
        return env.Undefined();
    struct guest_memory *memory = memory_->memory();
    int error = logs ? guest_memory_start_log(memory) : 0;
    if (error < 0)
        return throw_errno(env, error, "setDirtyLog");
    struct vm_error failed;
    if (!vm_set_dirty_log(&vm_, memory, logs, &failed)) {
        guest_memory_stop_log(memory);
        return throw_errno(env, failed.error, failed.call);
    }
    logs_dirty_ = logs;
    if (!logs)
        guest_memory_stop_log(memory);
    // The engine's log is always on: what was written before does not count.
    for (unsigned i = 0; logs && engine_ && i < memory->count; i++) {
        std::vector<uint64_t> before(guest_memory_bitmap_words(&memory->regions[i]));
        engine_take_dirty(engine_, memory->regions[i].gpa,
                          memory->regions[i].size / GUEST_MEMORY_PAGE_SIZE, before.data());
    }
    return env.Undefined();
}

int NativeVm::take_dirty(unsigned index, uint64_t *bitmap)
{
    struct guest_memory *memory = memory_->memory();
    const struct guest_memory_region *region = &memory->regions[index];
    // First, for it is overwritten.
    int error = vm_take_dirty(&vm_, index, bitmap);
    if (error < 0)
        return error;
    guest_memory_take_dirty(memory, index, bitmap);
    if (engine_)
        engine_take_dirty(engine_, region->gpa, region->size / GUEST_MEMORY_PAGE_SIZE, bitmap);
    return 0;
}

Napi::Value NativeVm::take_dirty_pages(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    if (!logs_dirty_)
        return throw_errno(env, EINVAL, "takeDirtyPages");
    Napi::Array list = Napi::Array::New(env);
    const struct guest_memory *memory = memory_->memory();
    for (unsigned i = 0; i < memory->count; i++) {
        uint64_t words = guest_memory_bitmap_words(&memory->regions[i]);
        Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, words * sizeof(uint64_t));
        int error = take_dirty(i, static_cast<uint64_t *>(buffer.Data()));
        if (error < 0)
            return throw_errno(env, error, "KVM_GET_DIRTY_LOG");
        list.Set(i, Napi::Uint8Array::New(env, words * sizeof(uint64_t), buffer, 0));
    }
    return list;
}
