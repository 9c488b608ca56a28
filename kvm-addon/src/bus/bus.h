/* Maps I/O ports and guest-physical addresses to the register banks of devices. */
#ifndef TSVM_BUS_H
#define TSVM_BUS_H

#include <stdint.h>

#include "register_bank.h"

#define BUS_BANKS_MAX 64

enum bus_space { BUS_PIO, BUS_MMIO, BUS_SPACES };

struct bus_range {
    uint64_t base;
    uint64_t length;
    struct register_bank *bank;
    uint32_t id; /* the bank number in slow exits */
};

/* Filled before the vCPUs start and read-only afterwards, so that lookups need no lock. */
struct bus {
    struct bus_range ranges[BUS_SPACES][BUS_BANKS_MAX]; /* sorted by base */
    uint32_t counts[BUS_SPACES];
    uint32_t next_id;
};

/* Returns the range's id, -EEXIST if the addresses are in use, or -ENOSPC. */
int bus_attach(struct bus *bus, enum bus_space space, uint64_t base, struct register_bank *bank);

/* Returns the range that contains [address, address + width), or NULL. */
const struct bus_range *bus_find(const struct bus *bus, enum bus_space space, uint64_t address,
                                 uint32_t width);

#endif
