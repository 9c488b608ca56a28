#include "routines.h"

#include <string.h>

#include "../vcpu/vcpu.h"
#include "arch.h"
#include "counters.h"
#include "descriptor.h"
#include "engine.h"
#include "loop.h"
#include "system.h"
#include "tables.h"

/* In quadwords, upwards from RSP. */
enum frame_word { FRAME_RIP, FRAME_CS, FRAME_RFLAGS, FRAME_RSP, FRAME_SS, FRAME_WORDS };

/* State of the engine's code at CPL 0. */
static void put_state(struct cpu *cpu, enum private_routine routine, bool interrupts)
{
    struct kvm_regs *regs = kvm_run_regs(cpu);
    struct kvm_sregs *sregs = kvm_run_sregs(cpu);

    kvm_run_put_sregs(cpu);
    kvm_run_set_private_tables(sregs, cpu->index);
    kvm_run_put_events(cpu);
    cpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
    regs->rip = private_region_routine(routine);
    regs->rsp = private_region_stack(cpu->index);
    regs->rflags = 2 | (interrupts ? RFLAGS_IF : 0);
    sregs->cs = descriptor_flat_code(PRIVATE_CODE_SELECTOR, 0, true);
    sregs->ss = descriptor_flat_data(PRIVATE_DATA_SELECTOR, 0);
    sregs->cr0 |= CR0_WP;
    sregs->cr3 = private_region_root_of_routines(cpu->engine->private_region);
}

/* The frame at `rsp`; `vector` is what pushed it. */
static bool read_frame(const struct cpu *cpu, unsigned vector, uint64_t *rsp,
                       uint64_t frame[FRAME_WORDS], uint32_t *error)
{
    const struct private_region *region = cpu->engine->private_region;
    uint64_t code = 0;

    if (exception_has_error_code(vector)) {
        if (!private_region_read_stack(region, cpu->index, *rsp, &code, 1))
            return false;
        *rsp += sizeof code;
    }
    *error = (uint32_t)code;
    return private_region_read_stack(region, cpu->index, *rsp, frame, FRAME_WORDS);
}

bool arrivals_read(const struct cpu *cpu, struct arrivals *arrivals)
{
    const struct kvm_run *run = cpu->run;
    uint64_t rsp = kvm_run_regs(cpu)->rsp;
    uint64_t frame[FRAME_WORDS];
    unsigned count = 0;

    *arrivals = (struct arrivals){.count = 0};
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != PRIVATE_STUB_PORT ||
        run->io.direction != KVM_EXIT_IO_OUT || kvm_run_sregs(cpu)->ss.dpl != 0)
        return false;
    int vector = private_region_stub_at(kvm_run_regs(cpu)->rip - PRIVATE_STUB_LENGTH);
    /* From the last arrival back to the first: each interrupted the stub of the one before. */
    uint8_t backwards[ARRIVALS_MAX];
    while (vector >= 0 && count < ARRIVALS_MAX) {
        if (!read_frame(cpu, (unsigned)vector, &rsp, frame, &arrivals->error))
            return false;
        backwards[count++] = (uint8_t)vector;
        vector = private_region_stub_at(frame[FRAME_RIP]);
        rsp = frame[FRAME_RSP];
    }
    for (unsigned i = 0; i < count; i++)
        arrivals->vectors[i] = backwards[count - 1 - i];
    arrivals->count = count;
    arrivals->rip = frame[FRAME_RIP];
    arrivals->cs = (uint16_t)frame[FRAME_CS];
    arrivals->rflags = frame[FRAME_RFLAGS];
    arrivals->rsp = frame[FRAME_RSP];
    return count > 0;
}

/*
 * An access of a routine that extends beyond the last port of a chip: reads return ones, writes are
 * ignored. False: the exit is another one.
 */
static bool answer_for_nobody(struct kvm_run *run)
{
    if (run->exit_reason != KVM_EXIT_IO || run->io.port == PRIVATE_DONE_PORT ||
        run->io.port == PRIVATE_STUB_PORT)
        return false;
    if (run->io.direction == KVM_EXIT_IO_IN)
        memset((uint8_t *)run + run->io.data_offset, 0xff, (size_t)run->io.size * run->io.count);
    return true;
}

enum kvm_entered routine_run(struct cpu *cpu, enum private_routine routine, bool interrupts,
                             struct arrivals *arrivals)
{
    struct kvm_run *run = cpu->run;

    kvm_run_set_stepping(cpu, false);
    put_state(cpu, routine, interrupts);
    enum kvm_entered entered;
    do {
        entered = kvm_run_enter(cpu, routine == PRIVATE_HALT ? KVM_ENTER_GUEST : KVM_ENTER_AT_ONCE);
    } while (entered == KVM_ENTERED && answer_for_nobody(run));
    *arrivals = (struct arrivals){.count = 0};
    if (entered != KVM_ENTERED || arrivals_read(cpu, arrivals))
        return entered;
    if (run->exit_reason == KVM_EXIT_IO && run->io.port == PRIVATE_DONE_PORT)
        return KVM_ENTERED;
    kvm_run_fail(cpu, "KVM exit reason %u in code of the engine at 0x%llx", run->exit_reason,
                 (unsigned long long)kvm_run_regs(cpu)->rip);
    return KVM_REFUSED;
}

/* Runs a routine with interrupts disabled; keeps an NMI for later. */
static enum kvm_entered run_undisturbed(struct cpu *cpu, enum private_routine routine)
{
    for (;;) {
        struct arrivals arrivals;
        enum kvm_entered entered = routine_run(cpu, routine, false, &arrivals);
        if (entered != KVM_ENTERED || arrivals.count == 0)
            return entered;
        cpu->loop->nmi_arrived = true;
    }
}

void routine_touch(struct cpu *cpu)
{
    run_undisturbed(cpu, PRIVATE_TAKE);
}

static bool access(struct cpu *cpu, enum private_routine routine, uint32_t *value)
{
    struct kvm_regs *regs = kvm_run_regs(cpu);

    regs->rax = *value;
    cpu->counters->chip_accesses++;
    if (run_undisturbed(cpu, routine) != KVM_ENTERED)
        return false;
    *value = (uint32_t)regs->rax;
    return true;
}

bool routine_access_port(struct cpu *cpu, uint16_t port, unsigned size, bool is_write,
                         uint32_t *value)
{
    unsigned by_size = size == 1 ? 0 : size == 2 ? 1 : 2;

    kvm_run_regs(cpu)->rdx = port;
    return access(cpu, (is_write ? PRIVATE_OUT8 : PRIVATE_IN8) + by_size, value);
}

bool routine_access_memory(struct cpu *cpu, uint64_t gpa, bool is_write, uint32_t *value)
{
    kvm_run_regs(cpu)->rdi =
        private_region_map_device(cpu->engine->private_region, cpu->index, gpa);
    return access(cpu, is_write ? PRIVATE_STORE : PRIVATE_LOAD, value);
}

static void count_zaps(struct cpu_counters *counters, const uint64_t *zaps, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (zaps[i] & ZAP_ALL)
            counters->zapped_all++;
        else if (zaps[i] & ZAP_TABLE)
            counters->zapped_tables++;
        else
            counters->zapped_entries++;
    }
}

enum kvm_entered routine_zap(struct cpu *cpu)
{
    struct engine *engine = cpu->engine;
    uint64_t zaps[PRIVATE_ZAPS_MAX];
    enum kvm_entered entered = KVM_ENTERED;
    unsigned count;

    while (entered == KVM_ENTERED &&
           (count = tables_take_zaps(engine, zaps, PRIVATE_ZAPS_MAX)) > 0) {
        bool all = zaps[0] & ZAP_ALL;
        count_zaps(cpu->counters, zaps, count);
        if (!all && !engine->leaves_stale_shadows) {
            private_region_set_zaps(engine->private_region, zaps, count);
            entered = run_undisturbed(cpu, PRIVATE_ZAP);
        }
        /* An INIT during the zaps leaves some undone. */
        if (all || entered != KVM_ENTERED)
            private_region_zap_all(engine->private_region, engine->vm_fd);
        tables_zaps_done(engine);
    }
    return entered;
}
