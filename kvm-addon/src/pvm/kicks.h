/*
 * Doorbells of devices: addresses at which a write of a value rings one. They serve interpreted
 * code; KVM's ioeventfds serve native runs of CPL 3.
 */
#ifndef TSVM_PVM_KICKS_H
#define TSVM_PVM_KICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "../util/doorbell.h"

#define ENGINE_KICKS_MAX 1024

struct engine_kick {
    uint64_t gpa;
    uint64_t value;
    uint32_t size; /* bytes, atomic */
    struct doorbell *bell;
};

/*
 * One thread adds and removes, while vCPUs look. An entry's size is 0 while it is none: set last,
 * it makes the entry complete. A vCPU may ring a doorbell that is being removed.
 */
struct engine_kicks {
    struct engine_kick *list;
    uint32_t count; /* atomic */
};

/* Returns 0 or -ENOMEM. */
int kicks_init(struct engine_kicks *kicks);
void kicks_destroy(struct engine_kicks *kicks);
/* Returns 0 or -ENOSPC. The doorbell stays as long as the vCPUs run. */
int kicks_add(struct engine_kicks *kicks, const struct engine_kick *kick);
/* False: there is none. */
bool kicks_remove(struct engine_kicks *kicks, uint64_t gpa, uint32_t size, uint64_t value);
/* The doorbell for a write, or NULL. */
struct doorbell *kicks_find(const struct engine_kicks *kicks, uint64_t gpa, uint32_t size,
                            uint64_t value);

#endif
