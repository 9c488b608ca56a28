/*
 * Loads and stores of guest memory at any host address, by one access where the processor has one:
 * another vCPU may observe it.
 */
#ifndef TSVM_PVM_HOST_ACCESS_H
#define TSVM_PVM_HOST_ACCESS_H

#include <stdint.h>
#include <string.h>

typedef volatile uint16_t __attribute__((aligned(1), may_alias)) guest_u16;
typedef volatile uint32_t __attribute__((aligned(1), may_alias)) guest_u32;
typedef volatile uint64_t __attribute__((aligned(1), may_alias)) guest_u64;

/* `size` is 1 to 8. */
static inline uint64_t host_load(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)at;
    case 2:
        return *(const guest_u16 *)at;
    case 4:
        return *(const guest_u32 *)at;
    case 8:
        return *(const guest_u64 *)at;
    default:
        memcpy(&value, at, size);
        return value;
    }
}

static inline void host_store(uint8_t *at, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        *(guest_u16 *)at = (uint16_t)value;
        break;
    case 4:
        *(guest_u32 *)at = (uint32_t)value;
        break;
    case 8:
        *(guest_u64 *)at = value;
        break;
    default:
        memcpy(at, &value, size);
    }
}

#endif
