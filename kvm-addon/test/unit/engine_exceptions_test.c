/* Delivery of exceptions and interrupts, also with the tables of a hostile kernel. */
#include "engine_descriptors.h"

#define HANDLER 0xffffffff81234560ull
#define GATE_INTERRUPT 0x8eu
#define GATE_TRAP 0x8fu
#define GATE_DPL3 0x60u

static struct machine machine;
static struct cpu *cpu;

static void set_gate(unsigned vector, uint16_t selector, unsigned attributes, unsigned ist,
                     uint64_t target)
{
    uint64_t *gate = machine_word(&machine, IDT_VA + vector * 16);
    gate[0] = (target & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
              (uint64_t)attributes << 40 | (target >> 16 & 0xffff) << 48;
    gate[1] = target >> 32;
}

static void reset(void)
{
    machine_reset(&machine);
    for (unsigned vector = 0; vector < 256; vector++)
        set_gate(vector, SELECTOR_CODE0, GATE_INTERRUPT, 0, HANDLER + vector);
}

static enum delivery deliver(unsigned vector, uint32_t error)
{
    struct cpu_exception exception = {
        .vector = (uint8_t)vector,
        .has_error = exception_has_error_code(vector),
        .error = error,
        .address = 0x123000,
    };
    return exception_deliver(cpu, &exception);
}

static enum delivery deliver_int(unsigned vector)
{
    struct cpu_exception exception = {.vector = (uint8_t)vector, .software = true, .length = 2};
    return exception_deliver(cpu, &exception);
}

/* The quadword `index` above RSP. */
static uint64_t pushed(unsigned index)
{
    return *machine_word(&machine, cpu->r[REG_RSP] + 8 * index);
}

/* Checks that the handler of `vector` runs, with this error code and saved RIP (in the code: EXT
 * and so on). */
static bool arrived(unsigned vector, uint32_t error, uint64_t saved_rip)
{
    bool has_error = exception_has_error_code(vector);
    return cpu->rip == HANDLER + vector && (!has_error || pushed(0) == error) &&
           pushed(has_error) == saved_rip && cpu->cpl == 0 && !cpu->compat;
}

static void test_frame(void)
{
    reset();
    cpu->r[REG_RSP] = STACK_VA + 0x80d;
    cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF);
    CHECK(deliver(VECTOR_PF, 0x1f) == DELIVERED && arrived(VECTOR_PF, 0x1f, 0x1000));
    /* The aligned frame: SS, RSP, RFLAGS, CS, RIP and the error code. */
    CHECK(cpu->r[REG_RSP] == STACK_VA + 0x800 - 6 * 8);
    CHECK(pushed(2) == SELECTOR_CODE0 && pushed(5) == SELECTOR_DATA0);
    CHECK(pushed(3) == (2 | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF | RFLAGS_RF));
    CHECK(pushed(4) == STACK_VA + 0x80d);
    CHECK(cpu_rflags(cpu) == (2 | RFLAGS_CF));
    CHECK(cpu->sregs.cr2 == 0x123000 && cpu->sregs.ss.selector == SELECTOR_DATA0);
}

static void test_privilege_change(void)
{
    reset();
    machine_enter_user(&machine);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_UD, 0, 0x1000));
    CHECK(cpu->r[REG_RSP] == STACK_VA + 0xff0 - 5 * 8);
    CHECK(pushed(1) == (SELECTOR_CODE3 | 3) && pushed(3) == USER_STACK_VA + 0x800);
    CHECK(cpu->sregs.ss.selector == 0 && cpu->sregs.cs.selector == SELECTOR_CODE0);
}

static void test_gates(void)
{
    reset();
    set_gate(14, SELECTOR_CODE0, GATE_TRAP, 3, HANDLER + 14);
    machine_set_tss(&machine, 0x24 + 16, IST_VA + 0x108);
    cpu_set_rflags(cpu, RFLAGS_IF);
    CHECK(deliver(VECTOR_PF, 0) == DELIVERED && cpu_rflags(cpu) & RFLAGS_IF);
    CHECK(cpu->r[REG_RSP] == IST_VA + 0x100 - 6 * 8);
    /* A conforming handler keeps the interrupted code's CPL and stack. */
    reset();
    machine_enter_user(&machine);
    set_gate(6, SELECTOR_CONFORMING, GATE_INTERRUPT, 0, HANDLER);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && cpu->cpl == 3);
    CHECK(cpu->r[REG_RSP] == USER_STACK_VA + 0x800 - 5 * 8);
    CHECK(cpu->sregs.cs.selector == (SELECTOR_CONFORMING | 3));
}

static void test_software(void)
{
    reset();
    machine_enter_user(&machine);
    /* INT n needs a gate of its privilege level; the fault is at the instruction. */
    CHECK(deliver_int(0x80) == DELIVERED && arrived(VECTOR_GP, 0x80 * 8 + 2, 0x1000 - 2));
    reset();
    machine_enter_user(&machine);
    set_gate(0x80, SELECTOR_CODE0, GATE_INTERRUPT | GATE_DPL3, 0, HANDLER + 0x80);
    CHECK(deliver_int(0x80) == DELIVERED && arrived(0x80, 0, 0x1000));
    CHECK(!(pushed(2) & RFLAGS_RF));
    /* Where a fault would cause a double fault, INT n does not. */
    reset();
    set_gate(VECTOR_PF, SELECTOR_CODE0, 0, 0, 0);
    CHECK(deliver_int(VECTOR_PF) == DELIVERED && arrived(VECTOR_GP, VECTOR_PF * 8 + 2, 0x1000 - 2));
}

static void test_interrupts(void)
{
    reset();
    cpu_set_rflags(cpu, RFLAGS_IF);
    CHECK(exception_deliver_interrupt(cpu, 0xec) == DELIVERED && arrived(0xec, 0, 0x1000));
    CHECK(!(cpu_rflags(cpu) & RFLAGS_IF) && !cpu->nmi_blocked && !(pushed(2) & RFLAGS_RF));
    CHECK(exception_deliver_interrupt(cpu, VECTOR_NMI) == DELIVERED && cpu->nmi_blocked);
    /* An absent gate: a fault whose error code has the vector and EXT. */
    reset();
    set_gate(0x30, SELECTOR_CODE0, 0x0e, 0, HANDLER);
    CHECK(exception_deliver_interrupt(cpu, 0x30) == DELIVERED);
    CHECK(arrived(VECTOR_NP, 0x30 * 8 + 2 + 1, 0x1000));
}

/* Errors during the delivery of #UD, and the exception that is raised instead. */
static void test_faults_on_the_way(void)
{
    static const struct {
        uint16_t selector;
        uint8_t attributes;
        unsigned vector;
        uint32_t error;
    } cases[] = {
        {SELECTOR_CODE0, 0x85, VECTOR_GP, 6 * 8 + 3}, /* a task gate */
        {SELECTOR_CODE0, 0x9e, VECTOR_GP, 6 * 8 + 3}, /* not a system descriptor */
        {SELECTOR_CODE0, 0x0e, VECTOR_NP, 6 * 8 + 3},
        {0, GATE_INTERRUPT, VECTOR_GP, 1},
        {3, GATE_INTERRUPT, VECTOR_GP, 1},
        {0xfff8, GATE_INTERRUPT, VECTOR_GP, 0xfff8 + 1},
        {SELECTOR_DATA0, GATE_INTERRUPT, VECTOR_GP, SELECTOR_DATA0 + 1},
        {SELECTOR_TSS, GATE_INTERRUPT, VECTOR_GP, SELECTOR_TSS + 1},
        {SELECTOR_CODE3, GATE_INTERRUPT, VECTOR_GP, SELECTOR_CODE3 + 1},
        {SELECTOR_CODE0_32, GATE_INTERRUPT, VECTOR_GP, SELECTOR_CODE0_32 + 1},
        {SELECTOR_ABSENT_CODE0, GATE_INTERRUPT, VECTOR_NP, SELECTOR_ABSENT_CODE0 + 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reset();
        set_gate(VECTOR_UD, cases[i].selector, cases[i].attributes, 0, HANDLER);
        CHECK(deliver(VECTOR_UD, 0) == DELIVERED);
        CHECK(arrived(cases[i].vector, cases[i].error, 0x1000));
    }
    reset();
    set_gate(VECTOR_UD, SELECTOR_CODE0, GATE_INTERRUPT, 0, 1ull << 48);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_GP, 1, 0x1000));
    reset();
    set_gate(VECTOR_UD, SELECTOR_CODE0, GATE_INTERRUPT, 7, HANDLER);
    cpu->sregs.tr.limit = 0x24 + 6 * 8 + 6;
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_TS, SELECTOR_TSS + 1, 0x1000));
    reset();
    set_gate(VECTOR_UD, SELECTOR_CODE0, GATE_INTERRUPT, 1, HANDLER);
    machine_set_tss(&machine, 0x24, 1ull << 50);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_SS, 1, 0x1000));
}

static void test_double_and_triple_faults(void)
{
    reset();
    /* #PF during the delivery of #PF. */
    set_gate(VECTOR_PF, SELECTOR_CODE0, GATE_INTERRUPT, 1, HANDLER);
    machine_set_tss(&machine, 0x24, 0x700000); /* not mapped */
    CHECK(deliver(VECTOR_PF, 0) == DELIVERED && arrived(VECTOR_DF, 0, 0x1000));
    CHECK(cpu->counters->exceptions[VECTOR_DF] == 1);
    /* #PF during the delivery of #UD: both are delivered in turn. */
    reset();
    set_gate(VECTOR_UD, SELECTOR_CODE0, GATE_INTERRUPT, 1, HANDLER);
    machine_set_tss(&machine, 0x24, 0x700000);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_PF, PF_WRITE, 0x1000));
    CHECK(cpu->sregs.cr2 == 0x700000 - 8);
    /* An unmapped stack, for the double fault too. */
    reset();
    cpu->r[REG_RSP] = 0x700000;
    CHECK(deliver(VECTOR_GP, 0) == DELIVERY_SHUTDOWN);
    CHECK(cpu->cpl == 0 && cpu->r[REG_RSP] == 0x700000);
    /* No IDT. */
    reset();
    cpu->sregs.idt.limit = 0;
    CHECK(deliver(VECTOR_UD, 0) == DELIVERY_SHUTDOWN);
    /* An IDT outside RAM reads like a device. */
    reset();
    cpu->sregs.idt.base = 0x800000;
    fake_map(&machine.fake, FAKE_ROOT, 0x800000, FAKE_DEVICE | P);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERY_SHUTDOWN);
    /* Tables at addresses that are not canonical. */
    reset();
    cpu->sregs.idt.base = 1ull << 47;
    CHECK(deliver(VECTOR_UD, 0) == DELIVERY_SHUTDOWN);
    reset();
    cpu->sregs.gdt.base = 1ull << 47;
    CHECK(deliver(VECTOR_UD, 0) == DELIVERY_SHUTDOWN);
    reset();
    machine_enter_user(&machine);
    cpu->sregs.tr.base = 1ull << 47;
    CHECK(deliver(VECTOR_UD, 0) == DELIVERY_SHUTDOWN && cpu->cpl == 3);
}

/* A frame that spans a mapped and an unmapped page leaves RSP unchanged. */
static void test_frame_across_pages(void)
{
    reset();
    fake_map(&machine.fake, FAKE_ROOT, 0x701000, 0x500000 | P | W);
    cpu->r[REG_RSP] = 0x701010;
    machine_set_tss(&machine, 0x24, STACK_VA + 0x400);
    set_gate(VECTOR_PF, SELECTOR_CODE0, GATE_INTERRUPT, 1, HANDLER + VECTOR_PF);
    CHECK(deliver(VECTOR_UD, 0) == DELIVERED && arrived(VECTOR_PF, PF_WRITE, 0x1000));
    CHECK(pushed(4) == 0x701010);
}

int main(void)
{
    CHECK(machine_init(&machine));
    cpu = machine.cpu;
    test_frame();
    test_privilege_change();
    test_gates();
    test_software();
    test_interrupts();
    test_faults_on_the_way();
    test_double_and_triple_faults();
    test_frame_across_pages();
    fake_free(&machine.fake);
    return check_finish();
}
