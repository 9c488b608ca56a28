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
    bool writable; /* the dirty bit is set, and writes with these rights pass */
    bool global;
    bool user; /* a user page */
    bool fault;
    uint32_t error; /* of the #PF, when `fault` */
};

/*
 * Walks cpu->sregs' tables: NX, WP, SMEP, SMAP, reserved bits, 4 or 5 levels, with accessed and
 * dirty bits set atomically. Tables outside RAM fault. `va` is canonical.
 */
struct walk_result walk(struct cpu *cpu, const struct walk_request *request);

bool walk_is_canonical(const struct cpu *cpu, uint64_t va);

#endif
