#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "wake.h"

extern "C" {
#include "../emulator/compat.h"
#include "../kvm/vm.h"
#include "../pvm/engine_api.h"
#include "../vcpu/cpuid_list.h"
#include "../vcpu/vcpu_group.h"
}

class NativeMemory;

class NativeVm : public Napi::ObjectWrap<NativeVm>
{
  public:
    static Napi::Function define(Napi::Env env);

    explicit NativeVm(const Napi::CallbackInfo &info);
    ~NativeVm() override;

  private:
    // vCPU state, in vm_state.cc
    Napi::Value supported_cpuid(const Napi::CallbackInfo &info);
    Napi::Value set_cpuid(const Napi::CallbackInfo &info);
    Napi::Value get_state(const Napi::CallbackInfo &info);
    Napi::Value set_state(const Napi::CallbackInfo &info);
    Napi::Value get_vm_state(const Napi::CallbackInfo &info);
    Napi::Value set_vm_state(const Napi::CallbackInfo &info);
    Napi::Value get_msrs(const Napi::CallbackInfo &info);
    Napi::Value set_msrs(const Napi::CallbackInfo &info);
    Napi::Value statistics(const Napi::CallbackInfo &info);

    Napi::Value created(const Napi::CallbackInfo &info);
    Napi::Value interrupt_event(const Napi::CallbackInfo &info);
    Napi::Value add_message(const Napi::CallbackInfo &info);
    Napi::Value set_message(const Napi::CallbackInfo &info);
    Napi::Value kick_event(const Napi::CallbackInfo &info);
    Napi::Value bind_kick(const Napi::CallbackInfo &info);
    Napi::Value unbind_kick(const Napi::CallbackInfo &info);
    Napi::Value set_dirty_log(const Napi::CallbackInfo &info);
    Napi::Value take_dirty_pages(const Napi::CallbackInfo &info);
    Napi::Value tune_engine(const Napi::CallbackInfo &info);
    Napi::Value attach_bank(const Napi::CallbackInfo &info);
    Napi::Value get_exit_slots(const Napi::CallbackInfo &info);
    Napi::Value complete_exit(const Napi::CallbackInfo &info);
    Napi::Value failure_text(const Napi::CallbackInfo &info);
    Napi::Value start(const Napi::CallbackInfo &info);
    Napi::Value pause(const Napi::CallbackInfo &info);
    Napi::Value resume(const Napi::CallbackInfo &info);
    Napi::Value stop(const Napi::CallbackInfo &info);
    Napi::Value get_parked(const Napi::CallbackInfo &info);
    // For a debugger, in vm_debug.cc
    Napi::Value set_debug(const Napi::CallbackInfo &info);
    Napi::Value hold(const Napi::CallbackInfo &info);
    Napi::Value release(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);

    // What executes guest kernel code.
    enum class Platform { hardware, engine, emulator };

    // In vm_creation.cc. KVM waits for RCU grace periods and new threads of the kernel: on a busy
    // host milliseconds, in which JavaScript goes on.
    struct Creation {
        std::string device_path;
        unsigned cpus;
        Platform platform;
        uint64_t pvm_gpa;
        struct tsvm_exit_slot *slots;
        pthread_t thread;
        bool has_thread;
        bool awaited;
        bool done;
        struct vm_error failed; // unless `done`
    };
    void begin_creation();
    // Waits for the end of the creation. Returns whether there is a VM. Idempotent.
    bool await_creation();
    void create();
    bool furnish();
    void destroy_vm();
    void destroy();
    void close_events();
    // Sets the bits of the region's pages written since the last call. Returns 0 or -errno.
    int take_dirty(unsigned region, uint64_t *bitmap);
    // Returns false with an error pending after close(), and if the VM could not be created.
    bool check_open(Napi::Env env);
    // The vCPU with the index `value`, or nullptr with an error pending.
    struct vcpu *vcpu_argument(Napi::Value value);

    // Binds a kick in KVM and in the engine. Returns 0 or -errno.
    int place_kick(class NativeEventFd *kick, uint64_t gpa, uint32_t length, uint64_t value);

    Creation creation_ = {};
    struct vm vm_ = {};
    struct vcpu_group group_ = {};
    struct cpuid_list cpuid_ = {};
    struct emu_vm emulator_ = {};
    bool has_emulator_ = false;
    struct engine *engine_ = nullptr;
    bool open_ = false;
    bool logs_dirty_ = false;
    NativeMemory *memory_ = nullptr;
    std::unique_ptr<Wake> wake_;
    Napi::Reference<Napi::ArrayBuffer> slots_;
    std::map<uint32_t, Napi::ObjectReference> interrupts_;
    // The interrupt lines that the engine raises.
    std::vector<struct interrupt_line *> lines_;
    std::vector<Napi::ObjectReference> kicks_;
    // Objects that the threads use, which must not be garbage-collected.
    std::vector<Napi::ObjectReference> kept_;
};
