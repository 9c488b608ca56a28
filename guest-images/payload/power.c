#include "power.h"

#include "cmdline.h"
#include "cpu.h"
#include "interrupts.h"
#include "timing.h"

/* ACPI 6.5, 4.8.3.7: SLEEP_CONTROL_REG of a hardware-reduced machine, at our I/O port. */
#define SLEEP_CONTROL_PORT 0x600
#define SLEEP_TYPE_S5 5
#define SLEEP_CONTROL_S5 (SLEEP_TYPE_S5 << 2 | 0x20)

#define I8042_COMMAND_PORT 0x64
#define I8042_PULSE_RESET 0xfe

#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 0x01

#define ISA_DEBUG_EXIT_PORT 0xf4

#define SETTLE_CYCLES 200000000

struct idt_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* Without interrupt descriptors, an exception becomes a double fault and then a triple fault. */
static void cpl0_triple_fault(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    struct idt_pointer nothing = {0};
    __asm__ volatile("lidt %0; ud2" ::"m"(nothing));
}

static void end_by_acpi(enum power_off_result result)
{
    (void)result;
    outb(SLEEP_CONTROL_PORT, SLEEP_CONTROL_S5);
}

static void end_by_i8042(enum power_off_result result)
{
    (void)result;
    outb(I8042_COMMAND_PORT, I8042_PULSE_RESET);
}

static void end_by_pvpanic(enum power_off_result result)
{
    (void)result;
    outb(PVPANIC_PORT, PVPANIC_PANICKED);
}

/* QEMU's isa-debug-exit: the process exits with (value << 1) | 1. */
static void end_by_debug(enum power_off_result result)
{
    outb(ISA_DEBUG_EXIT_PORT, (uint8_t)result);
}

static void end_by_triple_fault(enum power_off_result result)
{
    (void)result;
    cpl0_call(cpl0_triple_fault, 0);
}

static void end_by_hlt(enum power_off_result result)
{
    (void)result;
    cpu_halt();
}

typedef void end_function(enum power_off_result result);

static const struct {
    const char *name;
    end_function *end;
} ways[] = {
    {"acpi", end_by_acpi},       {"i8042", end_by_i8042},         {"debug", end_by_debug},
    {"pvpanic", end_by_pvpanic}, {"triple", end_by_triple_fault}, {"hlt", end_by_hlt},
};

#define WAY_COUNT (sizeof(ways) / sizeof(ways[0]))

/* A VMM may stop the CPU shortly after the write. */
static void try_way(end_function *end, enum power_off_result result)
{
    end(result);
    delay_cycles(SETTLE_CYCLES);
}

_Noreturn void power_off(enum power_off_result result)
{
    for (unsigned i = 0; i < WAY_COUNT; i++)
        if (cmdline_list_has("exit", ways[i].name))
            try_way(ways[i].end, result);
    try_way(end_by_acpi, result);
    try_way(end_by_i8042, result);
    end_by_triple_fault(result);
    __builtin_unreachable();
}
