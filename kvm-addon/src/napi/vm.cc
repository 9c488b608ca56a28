#include "vm.h"

#include <cerrno>

#include "arguments.h"
#include "error.h"
#include "event_fd.h"
#include "instance.h"
#include "memory.h"
#include "register_bank.h"

extern "C" {
#include "../vcpu/vcpu.h"
}

Napi::Function NativeVm::define(Napi::Env env)
{
    return DefineClass(env, "NativeVm",
                       {
                           InstanceMethod<&NativeVm::created>("created"),
                           InstanceMethod<&NativeVm::supported_cpuid>("supportedCpuid"),
                           InstanceMethod<&NativeVm::set_cpuid>("setCpuid"),
                           InstanceMethod<&NativeVm::get_state>("getState"),
                           InstanceMethod<&NativeVm::set_state>("setState"),
                           InstanceMethod<&NativeVm::get_vm_state>("getVmState"),
                           InstanceMethod<&NativeVm::set_vm_state>("setVmState"),
                           InstanceMethod<&NativeVm::get_msrs>("getMsrs"),
                           InstanceMethod<&NativeVm::set_msrs>("setMsrs"),
                           InstanceMethod<&NativeVm::interrupt_event>("interruptEvent"),
                           InstanceMethod<&NativeVm::add_message>("addMessage"),
                           InstanceMethod<&NativeVm::set_message>("setMessage"),
                           InstanceMethod<&NativeVm::kick_event>("kickEvent"),
                           InstanceMethod<&NativeVm::bind_kick>("bindKick"),
                           InstanceMethod<&NativeVm::unbind_kick>("unbindKick"),
                           InstanceMethod<&NativeVm::set_dirty_log>("setDirtyLog"),
                           InstanceMethod<&NativeVm::take_dirty_pages>("takeDirtyPages"),
                           InstanceMethod<&NativeVm::tune_engine>("tuneEngine"),
                           InstanceMethod<&NativeVm::attach_bank>("attachBank"),
                           InstanceAccessor<&NativeVm::get_exit_slots>("exitSlots"),
                           InstanceMethod<&NativeVm::complete_exit>("completeExit"),
                           InstanceMethod<&NativeVm::failure_text>("failureText"),
                           InstanceMethod<&NativeVm::start>("start"),
                           InstanceMethod<&NativeVm::pause>("pause"),
                           InstanceMethod<&NativeVm::resume>("resume"),
                           InstanceMethod<&NativeVm::stop>("stop"),
                           InstanceAccessor<&NativeVm::get_parked>("parked"),
                           InstanceMethod<&NativeVm::set_debug>("setDebug"),
                           InstanceMethod<&NativeVm::hold>("hold"),
                           InstanceMethod<&NativeVm::release>("release"),
                           InstanceMethod<&NativeVm::statistics>("statistics"),
                           InstanceMethod<&NativeVm::close>("close"),
                       });
}

NativeVm::NativeVm(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeVm>(info)
{
    Napi::Env env = info.Env();
    std::string device_path;
    uint32_t cpus;
    bool engine;
    Napi::Function on_wake;
    if (!get_option(info[0], "devicePath", to_string, &device_path) ||
        !get_option(info[0], "cpus", to_u32, &cpus) ||
        !get_option(info[0], "kernelModeEngine", to_bool, &engine) ||
        !get_option(info[0], "onWake", to_function, &on_wake))
        return;
    Napi::Object options = info[0].As<Napi::Object>();
    Napi::Value pvm = options.Get("pvmGpa");
    uint64_t pvm_gpa = 0;
    if (!pvm.IsNull() && !to_u64(pvm, &pvm_gpa))
        return;
    NativeMemory *memory = NativeMemory::from(options.Get("memory"));
    if (!memory)
        return;
    if (!memory->memory() || cpus == 0 || cpus > VCPU_GROUP_MAX) {
        throw_errno(env, EINVAL, "NativeVm");
        return;
    }
    memory_ = memory;
    wake_ = std::make_unique<Wake>(env, on_wake, "tsvm-vm", true);
    slots_ = Napi::Persistent(Napi::ArrayBuffer::New(env, cpus * sizeof(struct tsvm_exit_slot)));
    memory_->hold();
    open_ = true;
    creation_.device_path = device_path;
    creation_.cpus = cpus;
    creation_.platform = pvm.IsNull() ? Platform::hardware
                         : engine     ? Platform::engine
                                      : Platform::emulator;
    creation_.pvm_gpa = pvm_gpa;
    creation_.slots = static_cast<struct tsvm_exit_slot *>(slots_.Value().Data());
    begin_creation();
}

void NativeVm::destroy()
{
    if (!open_)
        return;
    open_ = false;
    if (!await_creation()) {
        wake_->close();
        return;
    }
    cpuid_list_wait(&cpuid_);
    // First cut the paths by which device threads reach the engine and its vCPUs.
    for (struct interrupt_line *line : lines_)
        interrupt_line_set_raise(line, nullptr, nullptr, 0);
    lines_.clear();
    if (engine_)
        guest_memory_watch(memory_->memory(), nullptr, nullptr);
    if (logs_dirty_)
        guest_memory_stop_log(memory_->memory());
    vcpu_group_destroy(&group_);
    destroy_vm();
    wake_->close();
}

// A VM that is collected without close(): end its threads before freeing their memory. The objects
// that they use stay alive until the references in this object are dropped.
NativeVm::~NativeVm()
{
    destroy();
}

bool NativeVm::check_open(Napi::Env env)
{
    if (!open_)
        throw_errno(env, EBADF, "NativeVm");
    else if (!await_creation())
        throw_errno(env, creation_.failed.error, creation_.failed.call);
    else
        return true;
    return false;
}

Napi::Value NativeVm::created(const Napi::CallbackInfo &info)
{
    check_open(info.Env());
    return info.Env().Undefined();
}

struct vcpu *NativeVm::vcpu_argument(Napi::Value value)
{
    uint32_t index;
    if (!check_open(value.Env()) || !to_u32(value, &index))
        return nullptr;
    if (index >= group_.count) {
        throw_errno(value.Env(), EINVAL, "cpu index");
        return nullptr;
    }
    cpuid_list_wait(&cpuid_);
    return &group_.vcpus[index];
}

// Creates a NativeEventFd, which close() closes.
static Napi::Object new_event_fd(Napi::Env env)
{
    return env.GetInstanceData<Classes>()->event_fd.New({});
}

Napi::Value NativeVm::interrupt_event(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint32_t gsi;
    if (!check_open(env) || !to_u32(info[0], &gsi))
        return Napi::Value();
    auto known = interrupts_.find(gsi);
    if (known != interrupts_.end())
        return known->second.Value();
    if (gsi >= VM_GSI_COUNT + vm_.message_count)
        return throw_errno(env, EINVAL, "KVM_IRQFD");
    Napi::Object event = new_event_fd(env);
    if (env.IsExceptionPending())
        return Napi::Value();
    int error = vm_bind_interrupt(&vm_, NativeEventFd::Unwrap(event)->fd(), gsi);
    if (error < 0)
        return throw_errno(env, error, "KVM_IRQFD");
    interrupts_.emplace(gsi, Napi::Persistent(event));
    if (engine_) {
        // Not by irqfd, whose interrupts may be late: KVM injects them from a workqueue.
        struct interrupt_line *line = NativeEventFd::Unwrap(event)->line();
        interrupt_line_set_raise(
            line,
            [](void *engine, uint32_t number) {
                engine_raise_line(static_cast<struct engine *>(engine), number);
            },
            engine_, gsi);
        lines_.push_back(line);
    }
    return event;
}

Napi::Value NativeVm::add_message(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    int gsi = vm_add_message(&vm_);
    if (gsi < 0)
        return throw_errno(info.Env(), gsi, "addMessage");
    return Napi::Number::New(info.Env(), gsi);
}

Napi::Value NativeVm::set_message(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint32_t gsi;
    struct vm_message message = {true, 0, 0};
    if (!check_open(env) || !to_u32(info[0], &gsi))
        return Napi::Value();
    bool set = !info[1].IsNull();
    if (set && (!get_option(info[1], "address", to_u64, &message.address) ||
                !get_option(info[1], "data", to_u32, &message.data)))
        return Napi::Value();
    int error = vm_set_message(&vm_, gsi, set ? &message : nullptr);
    if (error < 0)
        return throw_errno(env, error, "KVM_SET_GSI_ROUTING");
    return env.Undefined();
}

/* The arguments of the functions below from the one at `first` on. */
struct KickPlace {
    uint64_t gpa, value;
    uint32_t length;

    bool take(const Napi::CallbackInfo &info, size_t first)
    {
        return to_u64(info[first], &gpa) && to_u32(info[first + 1], &length) &&
               to_u64(info[first + 2], &value);
    }
};

Napi::Value NativeVm::unbind_kick(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    KickPlace place;
    NativeEventFd *event = NativeEventFd::from(info[0]);
    if (!event || !check_open(env) || !place.take(info, 1))
        return Napi::Value();
    int error = vm_unbind_kick(&vm_, event->fd(), place.gpa, place.length, place.value);
    if (error < 0)
        return throw_errno(env, error, "KVM_IOEVENTFD");
    // The event is kept: a vCPU may be about to signal it.
    if (engine_)
        engine_remove_kick(engine_, place.gpa, place.length, place.value);
    return env.Undefined();
}

int NativeVm::place_kick(NativeEventFd *kick, uint64_t gpa, uint32_t length, uint64_t value)
{
    int error = vm_bind_kick(&vm_, kick->fd(), gpa, length, value);
    if (error == 0 && engine_) {
        error = engine_add_kick(engine_, gpa, length, value, kick->bell());
        if (error < 0)
            vm_unbind_kick(&vm_, kick->fd(), gpa, length, value);
    }
    return error;
}

Napi::Value NativeVm::bind_kick(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    KickPlace place;
    NativeEventFd *event = NativeEventFd::from(info[0]);
    if (!event || !check_open(env) || !place.take(info, 1))
        return Napi::Value();
    bool known = false;
    for (Napi::ObjectReference &kick : kicks_)
        known = known || NativeEventFd::Unwrap(kick.Value()) == event;
    int error = known ? place_kick(event, place.gpa, place.length, place.value) : -EINVAL;
    if (error < 0)
        return throw_errno(env, error, "KVM_IOEVENTFD");
    return env.Undefined();
}

Napi::Value NativeVm::kick_event(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    KickPlace place;
    if (!check_open(env) || !place.take(info, 0))
        return Napi::Value();
    Napi::Object event = new_event_fd(env);
    if (env.IsExceptionPending())
        return Napi::Value();
    int error = place_kick(NativeEventFd::Unwrap(event), place.gpa, place.length, place.value);
    if (error < 0)
        return throw_errno(env, error, "KVM_IOEVENTFD");
    kicks_.push_back(Napi::Persistent(event));
    return event;
}

Napi::Value NativeVm::tune_engine(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint32_t user_budget, translate_after;
    bool leaves_stale_shadows;
    if (!check_open(env) || !get_option(info[0], "userBudget", to_u32, &user_budget) ||
        !get_option(info[0], "translateAfter", to_u32, &translate_after) ||
        !get_option(info[0], "leavesStaleShadows", to_bool, &leaves_stale_shadows))
        return Napi::Value();
    if (!engine_ || group_.started || user_budget > INT32_MAX || translate_after > UINT8_MAX)
        return throw_errno(env, EINVAL, "tuneEngine");
    struct engine_tuning tuning = {static_cast<int32_t>(user_budget),
                                   static_cast<uint8_t>(translate_after), leaves_stale_shadows};
    engine_set_tuning(engine_, &tuning);
    return env.Undefined();
}

Napi::Value NativeVm::attach_bank(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    std::string space;
    uint64_t base;
    if (!check_open(env) || !to_string(info[0], &space) || !to_u64(info[1], &base))
        return Napi::Value();
    NativeRegisterBank *object = NativeRegisterBank::from(info[2]);
    if (!object)
        return Napi::Value();
    if (group_.started || (space != "pio" && space != "mmio"))
        return throw_errno(env, EINVAL, "attachBank");
    struct register_bank *bank = object->bank();
    int id = bus_attach(&group_.bus, space == "pio" ? BUS_PIO : BUS_MMIO, base, bank);
    if (id < 0)
        return throw_errno(env, id, "attachBank");
    bank->wake = wake_->core();
    kept_.push_back(Napi::Persistent(info[2].As<Napi::Object>()));
    return Napi::Number::New(env, id);
}

Napi::Value NativeVm::get_exit_slots(const Napi::CallbackInfo &)
{
    return slots_.Value();
}

Napi::Value NativeVm::complete_exit(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    if (!vcpu)
        return Napi::Value();
    vcpu_complete_exit(vcpu);
    return info.Env().Undefined();
}

Napi::Value NativeVm::failure_text(const Napi::CallbackInfo &info)
{
    struct vcpu *vcpu = vcpu_argument(info[0]);
    return vcpu ? Napi::String::New(info.Env(), vcpu->failure) : Napi::Value();
}

Napi::Value NativeVm::start(const Napi::CallbackInfo &info)
{
    if (!check_open(info.Env()))
        return Napi::Value();
    cpuid_list_wait(&cpuid_);
    int error = group_.started ? -EALREADY : vcpu_group_start(&group_);
    if (error < 0)
        return throw_errno(info.Env(), error, "pthread_create");
    return info.Env().Undefined();
}

Napi::Value NativeVm::pause(const Napi::CallbackInfo &info)
{
    if (check_open(info.Env()))
        vcpu_group_order(&group_, VCPU_ORDER_PARK);
    return info.Env().Undefined();
}

Napi::Value NativeVm::resume(const Napi::CallbackInfo &info)
{
    if (check_open(info.Env()))
        vcpu_group_order(&group_, VCPU_ORDER_RUN);
    return info.Env().Undefined();
}

// Nothing runs in a VM that could not be created: it can be stopped like any other.
Napi::Value NativeVm::stop(const Napi::CallbackInfo &info)
{
    if (open_ && !await_creation())
        return info.Env().Undefined();
    if (check_open(info.Env()))
        vcpu_group_order(&group_, VCPU_ORDER_STOP);
    return info.Env().Undefined();
}

Napi::Value NativeVm::get_parked(const Napi::CallbackInfo &info)
{
    if (open_ && !await_creation())
        return Napi::Boolean::New(info.Env(), true);
    if (!check_open(info.Env()))
        return Napi::Value();
    return Napi::Boolean::New(info.Env(), vcpu_group_parked(&group_));
}

// Closes the descriptors now instead of at garbage collection.
void NativeVm::close_events()
{
    // A queue worker that could not be stopped still uses them.
    bool used = memory_->held();
    for (auto &entry : interrupts_)
        kicks_.push_back(std::move(entry.second));
    for (Napi::ObjectReference &event : kicks_)
        if (!used)
            NativeEventFd::Unwrap(event.Value())->close_fd();
    interrupts_.clear();
    kicks_.clear();
}

Napi::Value NativeVm::close(const Napi::CallbackInfo &info)
{
    if (open_) {
        destroy();
        memory_->release();
        close_events();
        kept_.clear();
    }
    return info.Env().Undefined();
}
