/* The MMU's page walk (SDM 3A 4.5, APM 2 5.3). */
#ifndef TSVM_PVM_WALK_H
#define TSVM_PVM_WALK_H

#include "cpu.h"

enum walk_access { WALK_READ = 0, WALK_WRITE = 1 << 1, WALK_EXECUTE = 1 << 4 };

struct walk_request {
    uint64_t va;
    enum walk_access access;
    bool user;        /* the access is by CPL 3 (and not implicit) */
    bool smap_passes; /* supervisor: RFLAGS.AC is set, and the access is explicit */
    bool probe;       /* sets no accessed or dirty bit */
};

struct walk_result {
    uint64_t gpa;
    uint64_t span; /* bytes of the page: 4 KiB, 2 MiB or 1 GiB */
    bool writable; /* the dirty bit is set, and writes with these rights pass */
    bool global;
    bool user; /* a user page */
    bool fault;
    uint32_t error; /* of the #PF, when `fault` */
};

/*
 * Walks cpu->sregs' tables in 4-level paging: NX, WP, SMEP, SMAP, reserved bits, with accessed and
 * dirty bits set atomically once the access is found to pass. Tables outside RAM are not present,
 * as for KVM. `va` is canonical. 5-level paging and protection keys are not offered to guests:
 * CPUID does not have them, and writes of CR4.LA57 and CR4.PKE raise #GP.
 */
struct walk_result walk(struct cpu *cpu, const struct walk_request *request);

/* With 4 levels, for any vCPU. */
static inline bool walk_is_canonical(const struct cpu *cpu, uint64_t va)
{
    (void)cpu;
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

#endif
