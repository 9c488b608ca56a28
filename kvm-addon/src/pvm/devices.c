#include "devices.h"

#include "../vcpu/vcpu.h"
#include "engine.h"
#include "interrupts.h"
#include "kicks.h"
#include "kvm_run.h"
#include "loop.h"
#include "moderation.h"
#include "routines.h"
#include "safepoint.h"

/* KVM's chips. */
#define IOAPIC_GPA 0xfec00000ull
#define IOAPIC_LENGTH 0x100u
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ADDRESS 0x000ffffffffff000ull

static bool is_lapic(const struct cpu *cpu, uint64_t gpa)
{
    uint64_t base = kvm_run_sregs(cpu)->apic_base;
    bool by_memory = (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
    return by_memory && (gpa & PAGE_BASE) == (base & APIC_BASE_ADDRESS);
}

static bool is_ioapic(uint64_t gpa)
{
    return gpa - IOAPIC_GPA < IOAPIC_LENGTH;
}

/* The PICs, their edge registers, the PIT, and the port with its gate. */
static bool is_chip_port(uint16_t port)
{
    switch (port) {
    case 0x20:
    case 0x21:
    case 0x40:
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x61:
    case 0xa0:
    case 0xa1:
    case 0x4d0:
    case 0x4d1:
        return true;
    default:
        return false;
    }
}

/* An access on the machine's bus. It may wait for JavaScript, outside, with the state readable. */
static uint64_t bus_access(struct cpu *cpu, const struct insn *insn, enum bus_space space,
                           uint64_t address, unsigned size, bool is_write, uint64_t value)
{
    struct vcpu *vcpu = cpu->vcpu;

    cpu->loop->user_was_useful = true;
    if (vcpu_access_fast(vcpu, space, address, size, is_write, &value))
        return value;
    if (insn)
        cpu->rip = cpu->r[REG_PAGE] + insn_offset(insn);
    safepoint_exit(cpu);
    bool completed = vcpu_access_slow(vcpu, space, address, size, is_write, &value);
    safepoint_enter(cpu);
    if (!completed)
        cpu_leave(cpu, insn, INTERPRETED_STOPPED);
    return value;
}

/*
 * Rings a doorbell, outside (safepoint.h): the device may write guest memory and raise interrupts.
 */
static void ring(struct cpu *cpu, const struct insn *insn, struct doorbell *bell)
{
    cpu->loop->user_was_useful = true;
    if (insn)
        cpu->rip = cpu->r[REG_PAGE] + insn_offset(insn);
    safepoint_exit(cpu);
    moderation_begin_kick(cpu);
    doorbell_ring(bell);
    moderation_end_kick(cpu);
    safepoint_enter(cpu);
}

/* Returns to the run loop before the instruction is executed: it must handle KVM's exit first. */
static _Noreturn void leave_for_loop(struct cpu *cpu, const struct insn *insn)
{
    cpu_leave(cpu, insn, INTERPRETED_ATTENTION);
}

/* KVM's local APIC and IO-APIC have registers of 32 bits, of which parts can be read. */
static uint64_t chip_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size)
{
    unsigned shift = 8 * (gpa & 3);
    uint32_t value = 0;

    if (!routine_access_memory(cpu, gpa & ~3ull, false, &value))
        leave_for_loop(cpu, insn);
    uint64_t mask = size < 4 ? (1ull << 8 * size) - 1 : UINT32_MAX;
    return value >> shift & mask;
}

/* Writes of other widths are ignored, as by KVM. */
static void chip_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                       uint64_t value)
{
    uint32_t data = (uint32_t)value;

    if (size != 4 || gpa & 3)
        return;
    if (!routine_access_memory(cpu, gpa, true, &data))
        leave_for_loop(cpu, insn);
}

uint64_t device_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size)
{
    if (is_lapic(cpu, gpa) || is_ioapic(gpa))
        return chip_read(cpu, insn, gpa, size);
    return bus_access(cpu, insn, BUS_MMIO, gpa, size, false, 0);
}

void device_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                  uint64_t value)
{
    if (is_lapic(cpu, gpa)) {
        interrupts_lapic_writing(cpu, gpa & PAGE_OFFSET, value);
        chip_write(cpu, insn, gpa, size, value);
        interrupts_lapic_written(cpu, gpa & PAGE_OFFSET, value, false);
        return;
    }
    if (is_ioapic(gpa)) {
        chip_write(cpu, insn, gpa, size, value);
        return;
    }
    struct doorbell *bell = kicks_find(&cpu->engine->kicks, gpa, size, value);
    if (bell)
        ring(cpu, insn, bell);
    else
        bus_access(cpu, insn, BUS_MMIO, gpa, size, true, value);
}

static uint32_t port_access(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size,
                            bool is_write, uint32_t value)
{
    if (!is_chip_port(port))
        return (uint32_t)bus_access(cpu, insn, BUS_PIO, port, size, is_write, value);
    if (!routine_access_port(cpu, port, size, is_write, &value))
        leave_for_loop(cpu, insn);
    return value;
}

uint32_t port_read(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size)
{
    return port_access(cpu, insn, port, size, false, 0);
}

void port_write(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size,
                uint32_t value)
{
    port_access(cpu, insn, port, size, true, value);
}
