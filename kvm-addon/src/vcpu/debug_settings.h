/* Where a debugger wants the vCPUs of a VM to stop. */
#ifndef TSVM_DEBUG_SETTINGS_H
#define TSVM_DEBUG_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#define VCPU_BREAKPOINTS_MAX 256u
#define VCPU_DEBUG_REGISTERS 4u

/* What a debugger has set, for all vCPUs. Changes only while each of them is parked. */
struct vcpu_debug {
    /*
     * Virtual addresses, in ascending order. The engine stops before it executes the instruction
     * there. KVM stops at an INT3, which the debugger has written there.
     */
    uint64_t breakpoints[VCPU_BREAKPOINTS_MAX];
    uint32_t breakpoint_count;
    /* DR0 to DR3 and DR7 of the debugger. The guest's do nothing unless `dr7` is 0. */
    uint64_t registers[VCPU_DEBUG_REGISTERS];
    uint64_t dr7;
};

/* Whether the list has the address. */
static inline bool vcpu_debug_has_breakpoint(const struct vcpu_debug *debug, uint64_t va)
{
    uint32_t low = 0, high = debug->breakpoint_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (debug->breakpoints[middle] < va)
            low = middle + 1;
        else
            high = middle;
    }
    return low < debug->breakpoint_count && debug->breakpoints[low] == va;
}

#endif
