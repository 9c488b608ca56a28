/*
 * The engine as the rest of the core and C++ see it: without cpu.h, whose names of registers are
 * those of <signal.h> too.
 */
#ifndef TSVM_PVM_ENGINE_API_H
#define TSVM_PVM_ENGINE_API_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct doorbell;
struct engine;
struct guest_memory;
struct vcpu;
struct vcpu_debug;
struct vm;
struct vm_error;

/* Memory slots that an engine takes. */
#define ENGINE_SLOTS 3

/*
 * `slot` is the first of ENGINE_SLOTS free ones, `gpa` a multiple of 2 MiB, and the 2 MiB from
 * there a hole. Before the VM has its vCPUs. `memory` outlives the engine. NULL: see `failed`.
 */
struct engine *engine_create(const struct vm *vm, const struct guest_memory *memory, unsigned slot,
                             uint64_t gpa, struct vm_error *failed);
/* After the vCPUs were destroyed and the VM is closed. Ignores NULL. */
void engine_destroy(struct engine *engine);

/* For tests. Before the vCPUs run. */
struct engine_tuning {
    int32_t user_budget;     /* taken jumps of CPL 3 that are interpreted before it runs natively */
    uint8_t translate_after; /* jumps to an instruction before it is translated; 0: nothing is */
    bool leaves_stale_shadows; /* breaks guests: proves that tests detect it */
};
void engine_set_tuning(struct engine *engine, const struct engine_tuning *tuning);

/* A write of `value`, `size` bytes wide, at `gpa` rings the doorbell. Returns 0 or -ENOSPC. */
int engine_add_kick(struct engine *engine, uint64_t gpa, uint32_t size, uint64_t value,
                    struct doorbell *bell);

/* Undoes engine_add_kick(), whose doorbell stays as long as the vCPUs run. False: there is none. */
bool engine_remove_kick(struct engine *engine, uint64_t gpa, uint32_t size, uint64_t value);

/* One edge of a GSI, pin or message: the vCPUs look for it at once. From any thread. */
void engine_raise_line(struct engine *engine, uint32_t gsi);

/*
 * Something else than a vCPU (a device, a loader) has written guest memory, [gpa, gpa + length):
 * decoded code and shadow page tables of it are dropped, its pages become dirty. From any thread,
 * after the write.
 */
void engine_memory_written(struct engine *engine, uint64_t gpa, uint64_t length);

/*
 * Sets the bits of `bitmap`, one for each of `frames` page frames of RAM from `gpa` on, that were
 * written by interpreting vCPUs or by devices since the last call (KVM's log has its own writes).
 * Writes during the call may be reported now or next time; read the memory afterwards. Not from
 * a vCPU's thread.
 */
void engine_take_dirty(struct engine *engine, uint64_t gpa, uint64_t frames, uint64_t *bitmap);

/* The engine's part of a vCPU; engine_remove_cpu() frees it. NULL: see `failed`. */
struct cpu *engine_add_cpu(struct engine *engine, struct vcpu *vcpu, struct vm_error *failed);
void engine_remove_cpu(struct cpu *cpu);

/* How a vCPU's run ends. */
enum run_end {
    RUN_STOPPED,  /* the order to stop came */
    RUN_FAILED,   /* see vcpu->failure */
    RUN_SHUTDOWN, /* triple fault */
};

/* Runs the guest: the body of the vCPU's thread while the order is to run. */
enum run_end engine_run_vcpu(struct cpu *cpu);

/* What a debugger wants of a vCPU that is parked. `debug` outlives the vCPU. */
void engine_set_debug(struct cpu *cpu, const struct vcpu_debug *debug, bool steps);

/* An order was given: the vCPU looks at it soon. From any thread; it may be in KVM_RUN still. */
void engine_give_order(struct cpu *cpu);

/*
 * Calls `add` for each of a vCPU's counters that is not 0, and for the memory that it takes, with
 * the first of them that of the VM. At any time.
 */
typedef void engine_add_counter(void *context, const char *name, uint64_t value);
void engine_read_counters(const struct cpu *cpu, engine_add_counter *add, void *context);

#endif
