#include "interrupts.h"

#include "power.h"
#include "serial.h"

#define GATE_INTERRUPT 0x8e
#define GATE_INTERRUPT_DPL3 0xee

struct idt_gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct exception_frame {
    uint64_t vector, error_code, rip, cs, rflags, rsp, ss;
};

extern const char exception_stubs[], device_interrupt_stub[], cpl0_call_stub[];

volatile uint32_t device_interrupt_count;

struct idt_gate interrupt_descriptor_table[256] __attribute__((aligned(16)));

static void gate_set(unsigned vector, const char *stub, uint8_t type)
{
    uintptr_t address = (uintptr_t)stub;
    interrupt_descriptor_table[vector] = (struct idt_gate){
        .offset_low = (uint16_t)address,
        .selector = SELECTOR_CODE0,
        .type = type,
        .offset_middle = (uint16_t)(address >> 16),
        .offset_high = (uint32_t)(address >> 32),
    };
}

void interrupts_init(void)
{
    for (unsigned vector = 0; vector < EXCEPTION_COUNT; vector++)
        gate_set(vector, exception_stubs + vector * EXCEPTION_STUB_SIZE, GATE_INTERRUPT);
    gate_set(VECTOR_DEVICE, device_interrupt_stub, GATE_INTERRUPT);
    gate_set(VECTOR_CPL0_CALL, cpl0_call_stub, GATE_INTERRUPT_DPL3);
}

/* Called by the exception stubs, at CPL 0. */
_Noreturn void exception_report(const struct exception_frame *frame, uint64_t cr2)
{
    print("\nfatal vector=%lu rip=%p error=%lx cr2=%p cpl=%lu\n", frame->vector,
          (void *)frame->rip, frame->error_code, (void *)cr2, frame->cs & 3);
    power_off(POWER_OFF_FAILURE);
}
