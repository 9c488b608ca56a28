/* Delivery of exceptions and interrupts in long mode (SDM 3A 6.12 to 6.15). */
#include <string.h>

#include "access.h"
#include "arch.h"
#include "counters.h"
#include "cpu_mode.h"
#include "descriptor.h"
#include "descriptor_table.h"
#include "system.h"
#include "tlb.h"
#include "walk.h"

/* Error codes that name a vector or a selector (SDM 3A 6.13). */
#define ERROR_EXTERNAL 1u
#define ERROR_IDT 2u

#define TSS_RSP0 4u
#define TSS_IST1 0x24u

#define GATE_LENGTH 16u

struct event {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    bool software; /* by an instruction: its gate's DPL counts, and faults are not "external" */
    bool is_fault; /* the saved RFLAGS have RF set */
};

struct gate {
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint8_t dpl;
    bool present;
    uint64_t target;
};

static uint32_t external(const struct event *event)
{
    return event->software ? 0 : ERROR_EXTERNAL;
}

static struct gate read_gate(struct cpu *cpu, const struct event *event)
{
    uint32_t error = event->vector * 8u | ERROR_IDT | external(event);
    uint32_t offset = event->vector * GATE_LENGTH;

    if (offset + GATE_LENGTH - 1 > cpu->sregs.idt.limit)
        cpu_raise_error(cpu, NULL, VECTOR_GP, error);
    uint64_t low = access_system_load(cpu, NULL, cpu->sregs.idt.base + offset, 8);
    uint64_t high = access_system_load(cpu, NULL, cpu->sregs.idt.base + offset + 8, 8);
    struct gate gate = {
        .selector = (uint16_t)(low >> 16),
        .ist = low >> 32 & 7,
        .type = low >> 40 & 0x1f,
        .dpl = low >> 45 & 3,
        .present = low >> 47 & 1,
        .target = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32,
    };
    if (gate.type != TYPE_INTERRUPT_GATE && gate.type != TYPE_TRAP_GATE)
        cpu_raise_error(cpu, NULL, VECTOR_GP, error);
    if (event->software && gate.dpl < cpu->cpl)
        cpu_raise_error(cpu, NULL, VECTOR_GP, error);
    if (!gate.present)
        cpu_raise_error(cpu, NULL, VECTOR_NP, error);
    return gate;
}

/* The handler's code segment, with the CPL that it runs at as its DPL. */
static struct kvm_segment handler_code(struct cpu *cpu, const struct event *event,
                                       uint16_t selector)
{
    uint32_t error = selector_error(selector) | external(event);
    uint64_t raw;

    if (selector_is_null(selector))
        cpu_raise_error(cpu, NULL, VECTOR_GP, external(event));
    if (!descriptor_read(cpu, NULL, selector, &raw))
        cpu_raise_error(cpu, NULL, VECTOR_GP, error);
    struct kvm_segment segment = descriptor_parse(selector, raw);
    if (!descriptor_is_code(&segment) || segment.dpl > cpu->cpl || !segment.l || segment.db)
        cpu_raise_error(cpu, NULL, VECTOR_GP, error);
    if (!segment.present)
        cpu_raise_error(cpu, NULL, VECTOR_NP, error);
    descriptor_set_type(cpu, NULL, selector, raw, TYPE_ACCESSED);
    segment.type |= TYPE_ACCESSED;
    if (segment.type & TYPE_CONFORMING)
        segment.dpl = cpu->cpl;
    segment.selector = (uint16_t)(selector_error(selector) | segment.dpl);
    return segment;
}

static uint64_t tss_stack(struct cpu *cpu, const struct event *event, uint32_t offset)
{
    const struct kvm_segment *tr = &cpu->sregs.tr;
    if (offset + 7 > tr->limit)
        cpu_raise_error(cpu, NULL, VECTOR_TS, selector_error(tr->selector) | external(event));
    return access_system_load(cpu, NULL, tr->base + offset, 8);
}

static uint64_t handler_stack(struct cpu *cpu, const struct event *event, const struct gate *gate,
                              unsigned cpl)
{
    uint64_t rsp = cpu->r[REG_RSP];
    if (gate->ist)
        rsp = tss_stack(cpu, event, TSS_IST1 + 8u * (gate->ist - 1));
    else if (cpl != cpu->cpl)
        rsp = tss_stack(cpu, event, TSS_RSP0 + 8 * cpl);
    if (!walk_is_canonical(cpu, rsp))
        cpu_raise_error(cpu, NULL, VECTOR_SS, external(event));
    return rsp & ~15ull;
}

static void deliver(struct cpu *cpu, const struct event *event)
{
    struct gate gate = read_gate(cpu, event);
    struct kvm_segment cs = handler_code(cpu, event, gate.selector);
    unsigned cpl = cs.dpl;
    uint64_t rsp = handler_stack(cpu, event, &gate, cpl);
    uint64_t rflags = cpu_rflags(cpu);
    uint64_t frame[] = {
        event->error,           cpu->rip,
        cpu->sregs.cs.selector, rflags | (event->is_fault ? RFLAGS_RF : 0),
        cpu->r[REG_RSP],        cpu->sregs.ss.selector,
    };

    if (!walk_is_canonical(cpu, gate.target))
        cpu_raise_error(cpu, NULL, VECTOR_GP, external(event));
    for (unsigned i = 6; i-- > (event->has_error ? 0u : 1u);) {
        rsp -= 8;
        access_system_store(cpu, NULL, rsp, 8, frame[i]);
    }
    /* From here on nothing fails. */
    rflags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
    if (gate.type == TYPE_INTERRUPT_GATE)
        rflags &= ~(uint64_t)RFLAGS_IF;
    if (cpl != cpu->cpl)
        cpu->sregs.ss = descriptor_flat_data((uint16_t)cpl, cpl);
    cpu->sregs.cs = cs;
    cpu->compat = false;
    cpu->r[REG_RSP] = rsp;
    cpu->rip = gate.target;
    cpu->interrupt_shadow = 0;
    cpu_set_rflags(cpu, rflags);
    cpu_set_cpl(cpu, cpl);
}

/* Returns 0, or why the delivery was aborted; the vCPU is then unchanged. */
static int attempt(struct cpu *cpu, const struct event *event)
{
    unsigned cpl = cpu->cpl;
    bool once = cpu->once;
    int why = _setjmp(cpu->leave);

    if (why == 0) {
        cpu->once = true;
        deliver(cpu, event);
    } else if (cpu->cpl != cpl) {
        cpu_set_cpl(cpu, cpl);
    }
    cpu->once = once;
    return why;
}

static bool is_contributory(unsigned vector)
{
    return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP) ||
           vector == VECTOR_CP;
}

/* Whether a fault while `first` is delivered is a double fault (SDM 3A table 6-5). */
static bool is_double_fault(const struct event *first, unsigned second)
{
    if (first->software)
        return false;
    if (first->vector == VECTOR_PF)
        return second == VECTOR_PF || is_contributory(second);
    return is_contributory(first->vector) && is_contributory(second);
}

static struct event event_of(const struct cpu_exception *exception)
{
    bool is_trap = exception->vector == VECTOR_DB || exception->vector == VECTOR_BP ||
                   exception->vector == VECTOR_OF || exception->vector == VECTOR_DF;
    return (struct event){
        .vector = exception->vector,
        .has_error = exception->has_error,
        .error = exception->error,
        .software = exception->software,
        .is_fault = exception->is_fault || (!exception->software && !is_trap),
    };
}

/* What the exception leaves in registers before it is delivered. */
static void note_exception(struct cpu *cpu, const struct cpu_exception *exception)
{
    cpu->counters->exceptions[exception->vector & 31]++;
    if (exception->software) /* INT 14 is no page fault */
        return;
    if (exception->vector == VECTOR_PF)
        cpu->sregs.cr2 = exception->address;
    if (exception->vector == VECTOR_DB)
        cpu->debug.dr6 |= exception->address;
}

/* `length` is that of a software event's instruction, which a fault goes back to. */
static enum delivery deliver_event(struct cpu *cpu, struct event event, unsigned length)
{
    for (;;) {
        int why = attempt(cpu, &event);
        if (why == 0)
            return DELIVERED;
        if (why == INTERPRETED_STOPPED)
            return DELIVERY_STOPPED;
        /* The stack or a table is in one of KVM's chips: the vCPU cannot continue. */
        if (why != INTERPRETED_EXCEPTION || (event.vector == VECTOR_DF && !event.software))
            return DELIVERY_SHUTDOWN;
        struct cpu_exception second = cpu->exception;
        if (event.software)
            cpu->rip -= length;
        if (is_double_fault(&event, second.vector))
            second = (struct cpu_exception){.vector = VECTOR_DF, .has_error = true};
        note_exception(cpu, &second);
        event = event_of(&second);
    }
}

enum delivery exception_deliver(struct cpu *cpu, const struct cpu_exception *exception)
{
    struct cpu_exception copy = *exception; /* it may be cpu->exception, which a fault replaces */
    note_exception(cpu, &copy);
    return deliver_event(cpu, event_of(&copy), copy.length);
}

enum delivery exception_deliver_interrupt(struct cpu *cpu, uint8_t vector)
{
    struct event event = {.vector = vector};
    enum delivery delivery = deliver_event(cpu, event, 0);
    if (delivery == DELIVERED && vector == VECTOR_NMI)
        cpu->nmi_blocked = true;
    return delivery;
}
