/* The engine of a VM: the state shared by its vCPUs. */
#ifndef TSVM_PVM_ENGINE_H
#define TSVM_PVM_ENGINE_H

#include <pthread.h>

#include "../memory/guest_memory.h"
#include "cpu.h"
#include "frames.h"
#include "kicks.h"

#define ENGINE_CPUS_MAX 32
/* Entries of a CPUID table. */
#define CPUID_LEAVES_MAX 256

struct private_region;
struct tables;

struct engine {
    int kvm_fd;
    int vm_fd;
    const struct guest_memory *memory;
    struct frames frames;
    struct tables *tables;                 /* tables.h */
    struct private_region *private_region; /* private_region.h */
    struct engine_kicks kicks;
    pthread_mutex_t pulse; /* held while a GSI is high: see interrupts_pulse() */
    struct cpu *cpus[ENGINE_CPUS_MAX];
    unsigned cpu_count;
    uint64_t native_epoch;   /* atomic: native runs ended, of any vCPU */
    uint32_t native_running; /* atomic: vCPUs in native runs: user code may change without notice */
    uint64_t reserved_bits;  /* of page-table entries: those above the guest's MAXPHYADDR */
    int32_t user_budget;     /* jumps of CPL 3 that are interpreted before it runs natively */
    /* jumps to an instruction after which it is translated; 0: nothing is */
    uint8_t translate_after;
    bool leaves_stale_shadows;
    /* The host's, cached: KVM_GET_SUPPORTED_CPUID takes 0.25 ms. */
    struct kvm_cpuid_entry2 supported_cpuid[CPUID_LEAVES_MAX];
    int supported_cpuid_count;
};

/* Makes a vCPU leave the interpreter or KVM for the reason. From any thread. */
void engine_kick(struct cpu *cpu, enum cpu_attention why);

#endif
