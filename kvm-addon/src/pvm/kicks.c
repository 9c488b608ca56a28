#include "kicks.h"

#include <errno.h>
#include <stdlib.h>

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
    uint32_t free = 0;
    while (free < kicks->count && kicks->list[free].size != 0)
        free++;
    if (free == ENGINE_KICKS_MAX)
        return -ENOSPC;
    struct engine_kick *entry = &kicks->list[free];
    entry->gpa = kick->gpa;
    entry->value = kick->value;
    entry->bell = kick->bell;
    __atomic_store_n(&entry->size, kick->size, __ATOMIC_RELEASE);
    if (free == kicks->count)
        __atomic_store_n(&kicks->count, free + 1, __ATOMIC_RELEASE);
    return 0;
}

static struct engine_kick *find(const struct engine_kicks *kicks, uint64_t gpa, uint32_t size,
                                uint64_t value)
{
    uint32_t count = __atomic_load_n(&kicks->count, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < count; i++) {
        struct engine_kick *kick = &kicks->list[i];
        if (__atomic_load_n(&kick->size, __ATOMIC_ACQUIRE) == size && kick->gpa == gpa &&
            kick->value == value)
            return kick;
    }
    return NULL;
}

bool kicks_remove(struct engine_kicks *kicks, uint64_t gpa, uint32_t size, uint64_t value)
{
    struct engine_kick *kick = find(kicks, gpa, size, value);

    if (!kick)
        return false;
    __atomic_store_n(&kick->size, 0, __ATOMIC_RELEASE);
    return true;
}

struct doorbell *kicks_find(const struct engine_kicks *kicks, uint64_t gpa, uint32_t size,
                            uint64_t value)
{
    const struct engine_kick *kick = find(kicks, gpa, size, value);

    return kick ? kick->bell : NULL;
}
