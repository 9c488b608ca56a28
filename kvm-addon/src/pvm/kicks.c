#include "kicks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

int kicks_init(struct engine_kicks *kicks)
{
    *kicks = (struct engine_kicks){.list = calloc(ENGINE_KICKS_MAX, sizeof *kicks->list)};
    return kicks->list ? 0 : -ENOMEM;
}

void kicks_destroy(struct engine_kicks *kicks)
{
    free(kicks->list);
    kicks->list = NULL;
}

int kicks_add(struct engine_kicks *kicks, const struct engine_kick *kick)
{
    if (kicks->count == ENGINE_KICKS_MAX)
        return -ENOSPC;
    kicks->list[kicks->count] = *kick;
    __atomic_store_n(&kicks->count, kicks->count + 1, __ATOMIC_RELEASE);
    return 0;
}

bool kicks_ring(const struct engine_kicks *kicks, uint64_t gpa, uint32_t size, uint64_t value)
{
    uint32_t count = __atomic_load_n(&kicks->count, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < count; i++) {
        const struct engine_kick *kick = &kicks->list[i];
        if (kick->gpa == gpa && kick->size == size && kick->value == value) {
            eventfd_write(kick->fd, 1);
            return true;
        }
    }
    return false;
}
