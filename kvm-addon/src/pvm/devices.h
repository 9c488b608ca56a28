/*
 * Accesses of the engine to the machine's devices, including KVM's in-kernel interrupt controllers.
 */
#ifndef TSVM_PVM_DEVICES_H
#define TSVM_PVM_DEVICES_H

#include "cpu.h"

/*
 * An access to an address outside RAM, or to an I/O port; `size` is 1, 2, 4 or 8 (ports: to 4).
 * May wait for JavaScript. Leaves by INTERPRETED_STOPPED if the vCPU was ordered to stop meanwhile,
 * and by INTERPRETED_ATTENTION, before the instruction is executed, if KVM could not access one of
 * its chips.
 */
uint64_t device_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size);
void device_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                  uint64_t value);
uint32_t port_read(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size);
void port_write(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size,
                uint32_t value);

#endif
