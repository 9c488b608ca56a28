#include "vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../emulator/compat.h"
#include "../pvm/engine_api.h"
#include "../sandbox/sandbox.h"
#include "../util/thread_signals.h"

/* Signal that makes a vCPU thread's KVM_RUN return EINTR. Its handler does nothing. */
static int interrupt_signal(void)
{
    return SIGRTMIN;
}

static void ignore_signal(int signal)
{
    (void)signal;
}

void vcpu_install_signal_handler(void)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    sigaction(interrupt_signal(), &action, NULL);
}

/* Additional set-up on kvm-pvm. */
static bool init_emulator(struct vcpu *vcpu, struct vm_error *failed)
{
    struct vcpu_group *group = vcpu->group;

    if (group->engine) {
        vcpu->cpu = engine_add_cpu(group->engine, vcpu, failed);
        return vcpu->cpu != NULL;
    }
    if (!group->emulator)
        return true;
    vcpu->emulator = calloc(1, sizeof *vcpu->emulator);
    int error = vcpu->emulator ? emu_cpu_init(vcpu->emulator, group->emulator, vcpu->fd, vcpu->run)
                               : -ENOMEM;
    if (error == 0)
        return true;
    free(vcpu->emulator);
    *failed = (struct vm_error){.call = "emu_cpu_init", .error = error};
    return false;
}

bool vcpu_init(struct vcpu *vcpu, struct vcpu_group *group, unsigned index, struct vm_error *failed)
{
    *vcpu = (struct vcpu){.group = group, .index = index, .fd = -1, .phase = VCPU_PARKED};
    vcpu->slot = &group->slots[index];
    vcpu->fd = ioctl(group->vm->fd, KVM_CREATE_VCPU, index);
    if (vcpu->fd < 0) {
        *failed = (struct vm_error){.call = "KVM_CREATE_VCPU", .error = -errno};
        return false;
    }
    vcpu->run = mmap(NULL, group->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        *failed = (struct vm_error){.call = "mmap", .error = -errno};
        close(vcpu->fd);
        return false;
    }
    if (!init_emulator(vcpu, failed)) {
        munmap(vcpu->run, group->vm->run_size);
        close(vcpu->fd);
        return false;
    }
    pthread_cond_init(&vcpu->slot_returned, NULL);
    return true;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    pthread_cond_destroy(&vcpu->slot_returned);
    munmap(vcpu->run, vcpu->group->vm->run_size);
    close(vcpu->fd);
    free(vcpu->emulator);
    if (vcpu->cpu)
        engine_remove_cpu(vcpu->cpu);
}

void vcpu_interrupt(struct vcpu *vcpu)
{
    if (vcpu->cpu)
        engine_give_order(vcpu->cpu);
    /* Set the flag first: if the signal arrives just before KVM_RUN, the flag makes it return. */
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_kill(vcpu->thread, interrupt_signal());
}

static enum vcpu_order current_order(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->group->order, __ATOMIC_SEQ_CST);
}

/* Under the lock. */
static bool must_park(const struct vcpu *vcpu)
{
    enum vcpu_order order = vcpu->group->order;
    return order == VCPU_ORDER_PARK || (order == VCPU_ORDER_RUN && vcpu->held);
}

bool vcpu_obey_order(struct vcpu *vcpu)
{
    struct vcpu_group *group = vcpu->group;
    pthread_mutex_lock(&group->lock);
    if (must_park(vcpu)) {
        vcpu->phase = VCPU_PARKED;
        wake_notify(&group->wake);
        while (must_park(vcpu))
            pthread_cond_wait(&group->order_changed, &group->lock);
    }
    vcpu->phase = VCPU_RUNNING;
    /* Cleared under the lock, because the next order sets the flag again. */
    vcpu->run->immediate_exit = 0;
    bool run = group->order == VCPU_ORDER_RUN;
    pthread_mutex_unlock(&group->lock);
    return run;
}

bool vcpu_is_parked(const struct vcpu *vcpu)
{
    return vcpu->phase == VCPU_PARKED || vcpu->phase == VCPU_ENDED;
}

bool vcpu_is_at_rest(struct vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->group->lock);
    bool at_rest = vcpu_is_parked(vcpu);
    pthread_mutex_unlock(&vcpu->group->lock);
    return at_rest;
}

void vcpu_complete_exit(struct vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->group->lock);
    vcpu->slot->state = TSVM_EXIT_IDLE;
    pthread_cond_signal(&vcpu->slot_returned);
    pthread_mutex_unlock(&vcpu->group->lock);
}

/* Passes the exit to JavaScript and waits for its completion. False: ordered to stop meanwhile. */
static bool slow_exit(struct vcpu *vcpu, enum tsvm_exit_kind kind, uint32_t bank, uint32_t offset,
                      uint32_t width, uint64_t *data)
{
    struct vcpu_group *group = vcpu->group;
    struct tsvm_exit_slot *slot = vcpu->slot;
    slot->kind = kind;
    slot->bank = bank;
    slot->offset = offset;
    slot->width = width;
    slot->data_low = (uint32_t)*data;
    slot->data_high = (uint32_t)(*data >> 32);
    vcpu->counters.slow++;

    pthread_mutex_lock(&group->lock);
    vcpu->phase = VCPU_WAITING;
    __atomic_store_n(&slot->state, TSVM_EXIT_PENDING, __ATOMIC_RELEASE);
    wake_notify(&group->wake);
    while (slot->state != TSVM_EXIT_IDLE && group->order != VCPU_ORDER_STOP)
        pthread_cond_wait(&vcpu->slot_returned, &group->lock);
    vcpu->phase = VCPU_RUNNING;
    /* An order given during the wait has not interrupted this vCPU. */
    if (vcpu->cpu && group->order != VCPU_ORDER_RUN)
        engine_give_order(vcpu->cpu);
    bool completed = slot->state == TSVM_EXIT_IDLE;
    pthread_mutex_unlock(&group->lock);
    if (completed && kind == TSVM_EXIT_READ)
        *data = (uint64_t)slot->data_high << 32 | slot->data_low;
    return completed;
}

static void mask_width(uint64_t *data, uint32_t width)
{
    if (width < 8)
        *data &= (1ull << width * 8) - 1;
}

bool vcpu_access_fast(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data)
{
    const struct bus_range *range = bus_find(&vcpu->group->bus, space, address, width);
    if (!range) {
        /* No device at this address: reads return all ones, writes are ignored. */
        vcpu->counters.unassigned++;
        *data = UINT64_MAX;
        return true;
    }
    if (width > 4)
        return false;
    uint32_t offset = (uint32_t)(address - range->base);
    uint32_t value = (uint32_t)*data;
    bool fast = is_write ? register_bank_write(range->bank, offset, width, value)
                         : register_bank_read(range->bank, offset, width, &value);
    if (!fast)
        return false;
    vcpu->counters.fast++;
    *data = value;
    return true;
}

bool vcpu_access_slow(struct vcpu *vcpu, enum bus_space space, uint64_t address, uint32_t width,
                      bool is_write, uint64_t *data)
{
    const struct bus_range *range = bus_find(&vcpu->group->bus, space, address, width);
    return slow_exit(vcpu, is_write ? TSVM_EXIT_WRITE : TSVM_EXIT_READ, range->id,
                     (uint32_t)(address - range->base), width, data);
}

/* Performs one guest access to a device register. False: ordered to stop while waiting. */
static bool register_access(struct vcpu *vcpu, enum bus_space space, uint64_t address,
                            uint32_t width, bool is_write, uint64_t *data)
{
    return vcpu_access_fast(vcpu, space, address, width, is_write, data) ||
           vcpu_access_slow(vcpu, space, address, width, is_write, data);
}

static bool handle_io(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint8_t *bytes = (uint8_t *)run + run->io.data_offset;
    bool is_write = run->io.direction == KVM_EXIT_IO_OUT;
    vcpu->mid_instruction = true;
    /* `rep ins/outs` reports a count; each repetition is a separate access. */
    for (uint32_t i = 0; i < run->io.count; i++, bytes += run->io.size) {
        uint64_t data = 0;
        if (is_write)
            memcpy(&data, bytes, run->io.size);
        if (!register_access(vcpu, BUS_PIO, run->io.port, run->io.size, is_write, &data))
            return false;
        if (!is_write)
            memcpy(bytes, &data, run->io.size);
    }
    return true;
}

static bool handle_mmio(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint32_t width = run->mmio.len;
    uint64_t data = 0;
    vcpu->mid_instruction = true;
    if (run->mmio.is_write) {
        memcpy(&data, run->mmio.data, width);
        mask_width(&data, width);
    }
    if (!register_access(vcpu, BUS_MMIO, run->mmio.phys_addr, width, run->mmio.is_write, &data))
        return false;
    if (!run->mmio.is_write)
        memcpy(run->mmio.data, &data, width);
    return true;
}

bool vcpu_serve_device(struct vcpu *vcpu)
{
    return vcpu->run->exit_reason == KVM_EXIT_IO ? handle_io(vcpu) : handle_mmio(vcpu);
}

static void describe_failure(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    struct kvm_regs regs = {0};
    ioctl(vcpu->fd, KVM_GET_REGS, &regs);
    uint64_t detail = 0;
    if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        detail = run->fail_entry.hardware_entry_failure_reason;
    else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        detail = run->internal.suberror;
    snprintf(vcpu->failure, sizeof vcpu->failure,
             "vCPU %u cannot continue: KVM exit reason %u (detail 0x%llx) at guest address 0x%llx",
             vcpu->index, run->exit_reason, (unsigned long long)detail,
             (unsigned long long)regs.rip);
}

/* What the run loop does after an exit. */
enum verdict { GO_ON, STOP, FAILED, SHUTDOWN };

static enum verdict debug_exit(struct vcpu *vcpu)
{
    int error = vcpu_debug_exit(vcpu);
    if (error == 0)
        return GO_ON;
    snprintf(vcpu->failure, sizeof vcpu->failure,
             "vCPU %u cannot continue: an exception under a debugger: %s", vcpu->index,
             strerrordesc_np(-error));
    return FAILED;
}

static enum verdict handle_exit(struct vcpu *vcpu)
{
    if (vcpu->emulator) {
        switch (emu_cpu_handle_exit(vcpu->emulator)) {
        case EMU_NOT_MINE:
            break;
        case EMU_HANDLED:
            /* The changed registers take effect with the next KVM_RUN. */
            vcpu->mid_instruction = true;
            return GO_ON;
        case EMU_FAILED:
            snprintf(vcpu->failure, sizeof vcpu->failure, "vCPU %u cannot continue: %s",
                     vcpu->index, vcpu->emulator->error);
            return FAILED;
        }
    }
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_IO:
    case KVM_EXIT_MMIO:
        return vcpu_serve_device(vcpu) ? GO_ON : STOP;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        vcpu->counters.interrupted++;
        return GO_ON;
    case KVM_EXIT_SHUTDOWN:
        return SHUTDOWN;
    case KVM_EXIT_DEBUG:
        return debug_exit(vcpu);
    default:
        describe_failure(vcpu);
        return FAILED;
    }
}

static enum verdict run_guest(struct vcpu *vcpu)
{
    for (;;) {
        if (current_order(vcpu) != VCPU_ORDER_RUN || vcpu->run->immediate_exit) {
            /* KVM completes an instruction that accessed a device only in the next KVM_RUN. Let it
             * do so before the vCPU parks and its state is read, but run no further. */
            if (vcpu->mid_instruction)
                vcpu->run->immediate_exit = 1;
            else if (!vcpu_obey_order(vcpu))
                return STOP;
        }
        vcpu->mid_instruction = false;
        int result = ioctl(vcpu->fd, KVM_RUN, 0);
        vcpu->counters.exits++;
        if (result < 0) {
            /* EAGAIN: an application processor was reset by INIT or is waiting for its SIPI. */
            if (errno == EINTR || errno == EAGAIN) {
                vcpu->counters.interrupted++;
                continue;
            }
            snprintf(vcpu->failure, sizeof vcpu->failure, "vCPU %u cannot continue: KVM_RUN: %s",
                     vcpu->index, strerrordesc_np(errno));
            return FAILED;
        }
        enum verdict verdict = handle_exit(vcpu);
        if (verdict != GO_ON)
            return verdict;
    }
}

static enum verdict run_engine(struct vcpu *vcpu)
{
    switch (engine_run_vcpu(vcpu->cpu)) {
    case RUN_STOPPED:
        return STOP;
    case RUN_FAILED:
        return FAILED;
    case RUN_SHUTDOWN:
        break;
    }
    return SHUTDOWN;
}

/* JavaScript's thread handles the process's signals; only the interrupt signal may reach a vCPU. */
static void block_signals(void)
{
    sigset_t signals;
    thread_signals_fill(&signals);
    sigdelset(&signals, interrupt_signal());
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

void *vcpu_thread(void *argument)
{
    struct vcpu *vcpu = argument;
    struct vcpu_group *group = vcpu->group;
    char name[16];
    snprintf(name, sizeof name, "tsvm-vcpu%u", vcpu->index);
    pthread_setname_np(pthread_self(), name);
    block_signals();
    sandbox_enter_thread(SANDBOX_VCPU);

    enum verdict verdict = STOP;
    if (vcpu_obey_order(vcpu))
        verdict = vcpu->cpu ? run_engine(vcpu) : run_guest(vcpu);

    pthread_mutex_lock(&group->lock);
    vcpu->phase = VCPU_ENDED;
    if (verdict == FAILED || verdict == SHUTDOWN) {
        vcpu->slot->kind = verdict == FAILED ? TSVM_EXIT_FAILED : TSVM_EXIT_SHUTDOWN;
        __atomic_store_n(&vcpu->slot->state, TSVM_EXIT_PENDING, __ATOMIC_RELEASE);
    }
    wake_notify(&group->wake);
    pthread_mutex_unlock(&group->lock);
    return NULL;
}
