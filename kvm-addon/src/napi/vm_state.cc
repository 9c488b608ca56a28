// The architectural state of vCPUs, as KVM's own structures.
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "arguments.h"
#include "error.h"
#include "vm.h"

extern "C" {
#include "../vcpu/vcpu.h"
}

namespace
{

// Enough for every leaf that KVM reports; it answers E2BIG when it is not.
constexpr uint32_t cpuid_entries_max = 256;
// KVM_SET_MSRS takes as many in one call.
constexpr uint32_t msrs_max = 255;

struct StateKind {
    const char *name;
    unsigned long get;
    const char *get_name;
    unsigned long set;
    const char *set_name;
    size_t size;
};

#define STATE_KIND(name, which, type)                                                              \
    {                                                                                              \
        name, KVM_GET_##which, "KVM_GET_" #which, KVM_SET_##which, "KVM_SET_" #which, sizeof(type) \
    }

const StateKind state_kinds[] = {
    STATE_KIND("regs", REGS, struct kvm_regs),
    STATE_KIND("sregs", SREGS, struct kvm_sregs),
    STATE_KIND("xsave", XSAVE, struct kvm_xsave),
    STATE_KIND("xcrs", XCRS, struct kvm_xcrs),
    STATE_KIND("lapic", LAPIC, struct kvm_lapic_state),
    STATE_KIND("events", VCPU_EVENTS, struct kvm_vcpu_events),
    STATE_KIND("mp-state", MP_STATE, struct kvm_mp_state),
    STATE_KIND("debugregs", DEBUGREGS, struct kvm_debugregs),
};

const StateKind *find_state_kind(Napi::Value value)
{
    std::string name;
    if (!to_string(value, &name))
        return nullptr;
    for (const StateKind &kind : state_kinds) {
        if (name == kind.name)
            return &kind;
    }
    throw_type_error(value.Env(), "an unknown kind of vCPU state");
    return nullptr;
}

Napi::Uint8Array copy_bytes(Napi::Env env, const void *bytes, size_t length)
{
    Napi::Uint8Array array = Napi::Uint8Array::New(env, length);
    memcpy(array.Data(), bytes, length);
    return array;
}

// KVM's structures with an array at their end, in memory of the right alignment.
template <typename Header, typename Entry> class Counted
{
  public:
    explicit Counted(uint32_t count) : words_((sizeof(Header) + count * sizeof(Entry) + 7) / 8)
    {
    }
    Header *header()
    {
        return reinterpret_cast<Header *>(words_.data());
    }
    Entry *entries()
    {
        return reinterpret_cast<Entry *>(reinterpret_cast<char *>(words_.data()) + sizeof(Header));
    }

  private:
    std::vector<uint64_t> words_;
};

using Cpuid = Counted<struct kvm_cpuid2, struct kvm_cpuid_entry2>;
using Msrs = Counted<struct kvm_msrs, struct kvm_msr_entry>;

// The indices argument of getMsrs and setMsrs.
bool to_msr_indices(Napi::Value value, Napi::Uint32Array *out)
{
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array ||
        value.As<Napi::TypedArray>().ElementLength() > msrs_max) {
        throw_type_error(value.Env(), "a Uint32Array of at most 255 MSR indices is expected");
        return false;
    }
    *out = value.As<Napi::Uint32Array>();
    return true;
}

} // namespace

Napi::Value NativeVm::supported_cpuid(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    Cpuid cpuid(cpuid_entries_max);
    cpuid.header()->nent = cpuid_entries_max;
    if (ioctl(vm_.kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid.header()) < 0)
        return throw_errno(info.Env(), errno, "KVM_GET_SUPPORTED_CPUID");
    return copy_bytes(info.Env(), cpuid.entries(),
                      cpuid.header()->nent * sizeof(struct kvm_cpuid_entry2));
}

Napi::Value NativeVm::set_cpuid(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const uint8_t *bytes;
    size_t length;
    if (!vcpu || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    size_t count = length / sizeof(struct kvm_cpuid_entry2);
    if (length % sizeof(struct kvm_cpuid_entry2) != 0 || count > cpuid_entries_max)
        return throw_errno(info.Env(), EINVAL, "KVM_SET_CPUID2");
    Cpuid cpuid(cpuid_entries_max);
    cpuid.header()->nent = static_cast<uint32_t>(count);
    memcpy(cpuid.entries(), bytes, length);
    if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid.header()) < 0)
        return throw_errno(info.Env(), errno, "KVM_SET_CPUID2");
    return info.Env().Undefined();
}

Napi::Value NativeVm::get_state(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const StateKind *kind = vcpu ? find_state_kind(info[1]) : nullptr;
    if (!kind)
        return Napi::Value();
    std::vector<uint64_t> state((kind->size + 7) / 8);
    if (ioctl(vcpu->fd, kind->get, state.data()) < 0)
        return throw_errno(info.Env(), errno, kind->get_name);
    return copy_bytes(info.Env(), state.data(), kind->size);
}

Napi::Value NativeVm::set_state(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    const StateKind *kind = vcpu ? find_state_kind(info[1]) : nullptr;
    const uint8_t *bytes;
    size_t length;
    if (!kind || !to_bytes(info[2], &bytes, &length))
        return Napi::Value();
    if (length != kind->size)
        return throw_errno(info.Env(), EINVAL, kind->set_name);
    std::vector<uint64_t> state((kind->size + 7) / 8);
    memcpy(state.data(), bytes, length);
    if (ioctl(vcpu->fd, kind->set, state.data()) < 0)
        return throw_errno(info.Env(), errno, kind->set_name);
    return info.Env().Undefined();
}

Napi::Value NativeVm::get_msrs(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    Napi::Uint32Array indices;
    if (!vcpu || !to_msr_indices(info[1], &indices))
        return Napi::Value();
    uint32_t count = static_cast<uint32_t>(indices.ElementLength());
    Msrs msrs(count);
    msrs.header()->nmsrs = count;
    for (uint32_t i = 0; i < count; i++)
        msrs.entries()[i].index = indices[i];
    int done = ioctl(vcpu->fd, KVM_GET_MSRS, msrs.header());
    // KVM stops at the first MSR that it does not have.
    if (done != static_cast<int>(count))
        return throw_errno(info.Env(), done < 0 ? errno : EINVAL, "KVM_GET_MSRS");
    Napi::BigUint64Array values = Napi::BigUint64Array::New(info.Env(), count);
    for (uint32_t i = 0; i < count; i++)
        values[i] = msrs.entries()[i].data;
    return values;
}

Napi::Value NativeVm::set_msrs(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    Napi::Uint32Array indices;
    if (!vcpu || !to_msr_indices(info[1], &indices))
        return Napi::Value();
    uint32_t count = static_cast<uint32_t>(indices.ElementLength());
    const uint8_t *values;
    size_t length;
    if (!to_bytes(info[2], &values, &length))
        return Napi::Value();
    if (length != count * sizeof(uint64_t))
        return throw_errno(info.Env(), EINVAL, "KVM_SET_MSRS");
    Msrs msrs(count);
    msrs.header()->nmsrs = count;
    for (uint32_t i = 0; i < count; i++) {
        msrs.entries()[i].index = indices[i];
        memcpy(&msrs.entries()[i].data, values + i * sizeof(uint64_t), sizeof(uint64_t));
    }
    int done = ioctl(vcpu->fd, KVM_SET_MSRS, msrs.header());
    if (done != static_cast<int>(count))
        return throw_errno(info.Env(), done < 0 ? errno : EINVAL, "KVM_SET_MSRS");
    return info.Env().Undefined();
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
    }
    return result;
}
