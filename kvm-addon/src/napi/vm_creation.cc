// The creation of a NativeVm, on a thread of its own.
#include "memory.h"
#include "vm.h"

extern "C" {
#include "../vcpu/vcpu.h"
}

void NativeVm::begin_creation()
{
    auto thread_main = [](void *self) -> void * {
        static_cast<NativeVm *>(self)->create();
        return nullptr;
    };
    creation_.has_thread = pthread_create(&creation_.thread, nullptr, thread_main, this) == 0;
    if (!creation_.has_thread)
        create();
}

bool NativeVm::await_creation()
{
    if (!creation_.awaited) {
        creation_.awaited = true;
        if (creation_.has_thread)
            pthread_join(creation_.thread, nullptr);
        if (engine_)
            guest_memory_watch(
                memory_->memory(),
                [](void *engine, uint64_t gpa, uint64_t length) {
                    engine_memory_written(static_cast<struct engine *>(engine), gpa, length);
                },
                engine_);
    }
    return creation_.done;
}

// On the thread: what it sets is used only after await_creation().
void NativeVm::create()
{
    Creation &own = creation_;
    if (!vm_create(&vm_, own.device_path.c_str(), &own.failed))
        return;
    if (furnish()) {
        struct vcpu_platform parts = {
            has_emulator_ ? &emulator_ : nullptr,
            engine_,
        };
        if (vcpu_group_init(&group_, &vm_, parts, own.cpus, own.slots, wake_->core(),
                            &own.failed)) {
            cpuid_list_begin(&cpuid_, &group_.vcpus[0]);
            own.done = true;
            return;
        }
    }
    destroy_vm();
}

// Sets up everything but the vCPUs, in the order that vm_furnish() requires.
bool NativeVm::furnish()
{
    Creation &own = creation_;
    if (own.platform == Platform::emulator) {
        int error =
            emu_vm_init(&emulator_, vm_.fd, memory_->memory(), VM_FIRST_FREE_SLOT, own.pvm_gpa);
        if (error < 0)
            own.failed = {"emu_vm_init", error};
        has_emulator_ = error == 0;
        if (!has_emulator_)
            return false;
    }
    if (own.platform == Platform::engine) {
        engine_ =
            engine_create(&vm_, memory_->memory(), VM_FIRST_FREE_SLOT, own.pvm_gpa, &own.failed);
        if (!engine_)
            return false;
    }
    return vm_furnish(&vm_, memory_->memory(), &own.failed);
}

void NativeVm::destroy_vm()
{
    vm_destroy(&vm_);
    if (has_emulator_)
        emu_vm_destroy(&emulator_);
    engine_destroy(engine_);
    has_emulator_ = false;
    engine_ = nullptr;
}
