/*
 * A debugger's view of a VM's vCPUs. It stops all of them at once: a vCPU that hits a breakpoint or
 * has made its single step holds the whole group, and tells JavaScript by its exit slot. Held vCPUs
 * stay parked, whatever other orders come, until the debugger releases them.
 */
#ifndef TSVM_VCPU_DEBUG_H
#define TSVM_VCPU_DEBUG_H

#include <stdint.h>

#include "debug_settings.h"

struct vcpu_group;

/* Returns 0; -EBUSY while a vCPU is not parked; -EOPNOTSUPP where KVM's emulator runs the kernel.
 */
int vcpu_debug_set(struct vcpu_group *group, const struct vcpu_debug *debug);

/* Parks all vCPUs, whether they have been started or not. */
void vcpu_debug_hold(struct vcpu_group *group);
/*
 * Ends the hold of the vCPUs in `running`, a bit for each; the others stay parked. Those in
 * `stepping` execute one instruction, without interrupts where the host's KVM can, and hold the
 * group again. Returns 0; -EBUSY while a vCPU is not parked; -errno of KVM_SET_GUEST_DEBUG.
 */
int vcpu_debug_release(struct vcpu_group *group, uint32_t running, uint32_t stepping);

#endif
