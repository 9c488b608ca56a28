/* Creates engines and their vCPUs from their parts. */
#include "engine_api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../kvm/vm.h"
#include "../vcpu/vcpu.h"
#include "breakpoints.h"
#include "cpu_setup.h"
#include "cpuid.h"
#include "engine.h"
#include "fpu.h"
#include "interrupts.h"
#include "kvm_run.h"
#include "loop.h"
#include "moderation.h"
#include "msrs.h"
#include "private_region.h"
#include "tables.h"
#include "translator.h"

/* Taken jumps whose interpretation costs about as much as a native run's start and end (30 us). */
#define USER_BUDGET 2000
/* A translation takes about 10 us, as long as interpreting its instructions 100 times. */
#define TRANSLATE_AFTER 24

static bool has_capabilities(int vm_fd)
{
    int sync = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    return sync > 0 && (sync & KVM_RUN_SYNC) == KVM_RUN_SYNC &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0 &&
           ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG) > 0;
}

static int init_parts(struct engine *engine, unsigned slot, uint64_t gpa)
{
    engine->private_region = calloc(1, sizeof *engine->private_region);
    if (!engine->private_region)
        return -ENOMEM;
    int error = private_region_init(engine->private_region, gpa);
    if (error == 0)
        error = private_region_attach(engine->private_region, engine->vm_fd, slot);
    if (error == 0)
        error = kicks_init(&engine->kicks);
    if (error == 0)
        error = frames_init(&engine->frames, engine->memory);
    if (error == 0)
        error = tables_init(engine);
    return error;
}

struct engine *engine_create(const struct vm *vm, const struct guest_memory *memory, unsigned slot,
                             uint64_t gpa, struct vm_error *failed)
{
    if (!has_capabilities(vm->fd)) {
        *failed = (struct vm_error){.call = "KVM_CHECK_EXTENSION", .error = -ENOTSUP};
        return NULL;
    }
    struct engine *engine = calloc(1, sizeof *engine);
    int error = -ENOMEM;
    /* For writes of EFER by secondary CPUs before long mode: step.c. */
    struct kvm_enable_cap exits = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {KVM_MSR_EXIT_REASON_INVAL},
    };
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &exits) < 0) {
        *failed = (struct vm_error){.call = "KVM_ENABLE_CAP", .error = -errno};
        free(engine);
        return NULL;
    }
    if (engine) {
        engine->kvm_fd = vm->kvm_fd;
        engine->vm_fd = vm->fd;
        engine->memory = memory;
        engine->user_budget = USER_BUDGET;
        engine->translate_after = TRANSLATE_AFTER;
        pthread_mutex_init(&engine->pulse, NULL);
        error = init_parts(engine, slot, gpa);
    }
    if (error == 0)
        return engine;
    engine_destroy(engine);
    *failed = (struct vm_error){.call = "engine_create", .error = error};
    return NULL;
}

void engine_destroy(struct engine *engine)
{
    if (!engine)
        return;
    tables_destroy(engine);
    frames_destroy(&engine->frames);
    kicks_destroy(&engine->kicks);
    if (engine->private_region && engine->private_region->memory)
        private_region_destroy(engine->private_region);
    free(engine->private_region);
    pthread_mutex_destroy(&engine->pulse);
    free(engine);
}

void engine_set_tuning(struct engine *engine, const struct engine_tuning *tuning)
{
    engine->user_budget = tuning->user_budget;
    engine->leaves_stale_shadows = tuning->leaves_stale_shadows;
    engine->translate_after = tuning->translate_after;
    for (unsigned i = 0; i < engine->cpu_count; i++) {
        translator_destroy(engine->cpus[i]);
        translator_init(engine->cpus[i]);
    }
}

int engine_add_kick(struct engine *engine, uint64_t gpa, uint32_t size, uint64_t value,
                    struct doorbell *bell)
{
    struct engine_kick kick = {.gpa = gpa, .value = value, .size = size, .bell = bell};
    return kicks_add(&engine->kicks, &kick);
}

bool engine_remove_kick(struct engine *engine, uint64_t gpa, uint32_t size, uint64_t value)
{
    return kicks_remove(&engine->kicks, gpa, size, value);
}

/* The vCPU's parts that are allocated one by one. */
static int init_cpu(struct cpu *cpu, struct engine *engine, struct vcpu *vcpu)
{
    cpu->fd = vcpu->fd;
    cpu->run = vcpu->run;
    cpu->vcpu = vcpu;
    cpu->loop = calloc(1, sizeof *cpu->loop);
    cpu->interrupts = calloc(1, sizeof *cpu->interrupts);
    cpu->moderation = calloc(1, sizeof *cpu->moderation);
    cpu->cpuid = calloc(1, sizeof *cpu->cpuid);
    cpu->msrs = calloc(1, sizeof *cpu->msrs);
    if (!cpu->loop || !cpu->interrupts || !cpu->moderation || !cpu->cpuid || !cpu->msrs)
        return -ENOMEM;
    int error = fpu_init(cpu);
    if (error == 0)
        error = cpu_init(cpu, engine, vcpu->index);
    return error;
}

struct cpu *engine_add_cpu(struct engine *engine, struct vcpu *vcpu, struct vm_error *failed)
{
    struct cpu *cpu = calloc(1, sizeof *cpu);
    int error = cpu ? init_cpu(cpu, engine, vcpu) : -ENOMEM;

    if (error < 0) {
        if (cpu)
            engine_remove_cpu(cpu);
        *failed = (struct vm_error){.call = "engine_add_cpu", .error = error};
        return NULL;
    }
    private_region_add_cpu(engine->private_region, vcpu->index);
    interrupts_init(cpu);
    cpu->in_kvm = true;
    vcpu->run->kvm_valid_regs = KVM_RUN_SYNC;
    return cpu;
}

void engine_remove_cpu(struct cpu *cpu)
{
    cpu_destroy(cpu);
    fpu_destroy(cpu);
    free(cpu->loop);
    free(cpu->interrupts);
    free(cpu->moderation);
    free(cpu->cpuid);
    free(cpu->msrs);
    free(cpu);
}

void engine_set_debug(struct cpu *cpu, const struct vcpu_debug *debug, bool steps)
{
    bool sets = debug->breakpoint_count > 0 || debug->dr7 != 0;

    cpu->loop->steps = steps;
    cpu->breakpoints.debugger = sets ? debug : NULL;
    breakpoints_changed(cpu);
}

void engine_give_order(struct cpu *cpu)
{
    cpu_attract(cpu, ATTENTION_ORDER);
}

void engine_raise_line(struct engine *engine, uint32_t gsi)
{
    if (!moderation_holds(engine, gsi))
        interrupts_pulse(engine, gsi);
}
