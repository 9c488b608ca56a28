#include "interrupts.h"

#define RFLAGS_IF 0x200
#define GATE_INTERRUPT 0x8e

struct idt_gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

extern const char exception_stubs[], device_interrupt_stub[];

volatile uint32_t device_interrupt_count;
volatile uint64_t device_interrupt_time;

struct idt_gate interrupt_descriptor_table[256] __attribute__((aligned(16)));

void interrupt_gate_set(unsigned vector, const void *handler)
{
    uintptr_t address = (uintptr_t)handler;
    interrupt_descriptor_table[vector] = (struct idt_gate){
        .offset_low = (uint16_t)address,
        .selector = SELECTOR_CODE0,
        .type = GATE_INTERRUPT,
        .offset_middle = (uint16_t)(address >> 16),
        .offset_high = (uint32_t)(address >> 32),
    };
}

void interrupts_init(void)
{
    for (unsigned vector = 0; vector < EXCEPTION_COUNT; vector++)
        interrupt_gate_set(vector, exception_stubs + vector * EXCEPTION_STUB_SIZE);
    interrupt_gate_set(VECTOR_DEVICE, device_interrupt_stub);
}

void exceptions_use_ist(uint8_t ist)
{
    for (unsigned vector = 0; vector < EXCEPTION_COUNT; vector++)
        interrupt_descriptor_table[vector].ist = ist;
}

/* With IOPL 3, STI and CLI would suffice, but kvm-pvm does not keep the IOPL. */
static void cpl0_interrupts_enable(uint64_t enabled, struct interrupt_frame *frame)
{
    if (enabled)
        frame->rflags |= RFLAGS_IF;
    else
        frame->rflags &= ~(uint64_t)RFLAGS_IF;
}

void interrupts_enable(bool enabled)
{
    cpl0_call(cpl0_interrupts_enable, enabled);
}

static void cpl0_halt(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void cpu_halt(void)
{
    cpl0_call(cpl0_halt, 0);
    __builtin_unreachable();
}
