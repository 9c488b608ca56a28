/* The local APIC of this CPU, in xAPIC mode: in the identity map, so CPL 3 reaches it. */
#ifndef PAYLOAD_LAPIC_H
#define PAYLOAD_LAPIC_H

#include "cpu.h"
#include "layout.h"

#define LAPIC_ID 0x20
#define LAPIC_SPURIOUS 0xf0
/* Software enable, and the spurious vector 255. */
#define LAPIC_SPURIOUS_ENABLE 0x1ff

static inline uint32_t lapic_read(uint32_t offset)
{
    return mmio_read32(LAPIC_BASE + offset);
}

static inline void lapic_write(uint32_t offset, uint32_t value)
{
    mmio_write32(LAPIC_BASE + offset, value);
}

static inline uint32_t lapic_id(void)
{
    return lapic_read(LAPIC_ID) >> 24;
}

#endif
