#include "bus.h"

#include <errno.h>
#include <string.h>

int bus_attach(struct bus *bus, enum bus_space space, uint64_t base, struct register_bank *bank)
{
    struct bus_range *ranges = bus->ranges[space];
    uint32_t count = bus->counts[space];
    if (count == BUS_BANKS_MAX)
        return -ENOSPC;
    uint32_t at = 0;
    while (at < count && ranges[at].base < base)
        at++;
    if ((at > 0 && base - ranges[at - 1].base < ranges[at - 1].length) ||
        (at < count && ranges[at].base - base < bank->length))
        return -EEXIST;
    memmove(&ranges[at + 1], &ranges[at], (count - at) * sizeof *ranges);
    ranges[at] = (struct bus_range){
        .base = base, .length = bank->length, .bank = bank, .id = bus->next_id++};
    bus->counts[space]++;
    return (int)ranges[at].id;
}

const struct bus_range *bus_find(const struct bus *bus, enum bus_space space, uint64_t address,
                                 uint32_t width)
{
    const struct bus_range *ranges = bus->ranges[space];
    uint32_t low = 0;
    uint32_t high = bus->counts[space];
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ranges[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct bus_range *range = &ranges[low - 1];
    uint64_t offset = address - range->base;
    return offset < range->length && width <= range->length - offset ? range : NULL;
}
