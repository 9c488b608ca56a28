/* Exceptions in exceptions, descriptors and stacks that are not there, and the ends of a machine.
 */
#include "cpu.h"
#include "hostile.h"
#include "interrupts.h"
#include "string.h"

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct idt_gate {
    uint64_t low, high;
};

extern struct idt_gate interrupt_descriptor_table[256];
extern uint64_t global_descriptor_table[];

static void load_idt(uint64_t base, uint16_t limit)
{
    struct table_register idt = {limit, base};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
}

static void load_gdt(uint64_t base, uint16_t limit)
{
    struct table_register gdt = {limit, base};
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
}

/* ---- loads of segments ---- */

static void load_ds(uint64_t selector)
{
    __asm__ volatile("mov %0, %%ds" : : "r"((uint32_t)selector));
}

static void load_tr(uint64_t selector)
{
    __asm__ volatile("ltr %w0" : : "r"((uint32_t)selector));
}

static void load_ldt(uint64_t selector)
{
    __asm__ volatile("lldt %w0" : : "r"((uint32_t)selector));
}

static void far_return_to(uint64_t selector)
{
    __asm__ volatile("push %0\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n1:"
                     :
                     : "r"(selector)
                     : "rax", "memory");
}

static enum verdict segments(void)
{
    static const struct {
        attempt_function *load;
        uint64_t argument;
        uint64_t vector, error;
    } all[] = {
        {load_ds, 0x1000, VECTOR_GP, 0x1000},   /* beyond the GDT */
        {load_ds, 0x14, VECTOR_GP, 0x14},       /* no LDT */
        {load_ds, 0x30, VECTOR_GP, 0x30},       /* a TSS */
        {load_tr, 0x10, VECTOR_GP, 0x10},       /* data */
        {load_tr, 0, VECTOR_GP, 0},             /* null */
        {load_tr, 0x30, VECTOR_GP, 0x30},       /* busy */
        {load_ldt, 0x30, VECTOR_GP, 0x30},      /* not an LDT */
        {far_return_to, 0, VECTOR_GP, 0},       /* null */
        {far_return_to, 0x10, VECTOR_GP, 0x10}, /* data */
        {far_return_to, 0x9, VECTOR_GP, 0x8},   /* RPL above DPL of code that does not conform */
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct attempt result = attempt(all[i].load, all[i].argument);
        REQUIRE(result.vector == all[i].vector && result.error_code == all[i].error,
                "case %u: vector %lu error %lx", i, result.vector, result.error_code);
    }
    return VERDICT_PASSED;
}

static void load_idt_not_canonical(uint64_t base)
{
    load_idt(base, 0xfff);
}

static void load_gdt_not_canonical(uint64_t base)
{
    load_gdt(base, 0xfff);
}

/* Values that their registers do not take. */
static enum verdict registers(void)
{
    REQUIRE(attempt(load_idt_not_canonical, 0x800000000000).vector == VECTOR_GP, "LIDT");
    REQUIRE(attempt(load_gdt_not_canonical, 0x800000000000).vector == VECTOR_GP, "LGDT");
    REQUIRE(attempt(write_cr3, PTE_ADDRESS).vector == VECTOR_GP, "CR3");
    return VERDICT_PASSED;
}

/* ---- exceptions in the delivery of exceptions ---- */

/* With RSP where nothing is; exceptions that have no stack of their own end in #DF, which has. */
static void undefined_with_stack(uint64_t rsp)
{
    interrupt_descriptor_table[VECTOR_UD].low &= ~(7ull << 32);
    __asm__ volatile("mov %0, %%rsp\n ud2" : : "r"(rsp));
}

static void fault_with_stack(uint64_t rsp)
{
    interrupt_descriptor_table[VECTOR_PF].low &= ~(7ull << 32);
    interrupt_descriptor_table[VECTOR_GP].low &= ~(7ull << 32);
    __asm__ volatile("mov %0, %%rsp\n mov (%1), %%eax" : : "r"(rsp), "r"(EXPERIMENT) : "rax");
}

static void breakpoint_through(uint64_t gate_low)
{
    interrupt_descriptor_table[VECTOR_BP].low = gate_low;
    __asm__ volatile("int3");
}

/* What the tests changed in the IDT. */
static void restore_gates(void)
{
    interrupts_init();
    exceptions_use_ist(1);
}

static enum verdict nested(void)
{
    static const uint64_t stacks[] = {EXPERIMENT, 0x800000000000};
    struct attempt result;

    for (unsigned i = 0; i < 2; i++) {
        result = attempt(undefined_with_stack, stacks[i]);
        restore_gates();
        /* The stack's fault is #PF, or #SS of an address that is not canonical: then #UD waits. */
        REQUIRE(result.vector == VECTOR_PF || result.vector == VECTOR_SS ||
                    result.vector == VECTOR_DF,
                "#UD, stack %u: vector %lu", i, result.vector);
        result = attempt(fault_with_stack, stacks[i]);
        restore_gates();
        REQUIRE(result.vector == VECTOR_DF && result.error_code == 0, "#PF, stack %u: vector %lu",
                i, result.vector);
    }
    /* A gate that is absent, of a wrong type, to a null or absent segment: #NP, #GP. */
    uint64_t good = interrupt_descriptor_table[VECTOR_BP].low;
    result = attempt(breakpoint_through, good & ~(1ull << 47));
    restore_gates();
    REQUIRE(result.vector == VECTOR_NP && result.error_code == 0x1a, "absent: vector %lu error %lx",
            result.vector, result.error_code);
    result = attempt(breakpoint_through, (good & ~(15ull << 40)) | 5ull << 40);
    restore_gates();
    REQUIRE(result.vector == VECTOR_GP && result.error_code == 0x1a, "type: vector %lu error %lx",
            result.vector, result.error_code);
    result = attempt(breakpoint_through, good & ~(0xffffull << 16));
    restore_gates();
    REQUIRE(result.vector == VECTOR_GP && result.error_code == 0, "null: vector %lu error %lx",
            result.vector, result.error_code);
    /* Not in the table; INT n of a vector beyond its limit. */
    result = attempt(breakpoint_through, good);
    restore_gates();
    REQUIRE(result.vector == VECTOR_BP, "vector %lu", result.vector);
    return VERDICT_PASSED;
}

/* ---- IRET ---- */

static uint64_t iret_frame[5];

static void iret_to_frame(uint64_t unused)
{
    (void)unused;
    __asm__ volatile("mov %0, %%rsp\n iretq" : : "r"(iret_frame));
}

static enum verdict returns(void)
{
    static const struct {
        uint64_t rip, cs, flags, rsp, ss, vector;
    } all[] = {
        {0x800000000000, 0x8, 2, 0x9000, 0x10, VECTOR_GP}, /* RIP not canonical */
        {0x1000, 0, 2, 0x9000, 0x10, VECTOR_GP},           /* null CS */
        {0x1000, 0x1000, 2, 0x9000, 0x10, VECTOR_GP},      /* beyond the GDT */
        {0x1000, 0x10, 2, 0x9000, 0x10, VECTOR_GP},        /* data */
        {0x1000, 0x23, 2, 0x9000, 0x10, VECTOR_GP},        /* SS of another level */
        {0x1000, 0x23, 2, 0x9000, 0, VECTOR_GP},           /* null SS at CPL 3 */
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        const uint64_t frame[] = {all[i].rip, all[i].cs, all[i].flags, all[i].rsp, all[i].ss};
        memcpy(iret_frame, frame, sizeof frame);
        struct attempt result = attempt(iret_to_frame, 0);
        REQUIRE(result.vector == all[i].vector, "case %u: vector %lu", i, result.vector);
    }
    /* To CPL 3, where the stack is nothing and the first fetch faults: an exception from there. */
    const uint64_t frame[] = {EXPERIMENT, 0x23, 2, 0x1234, 0x1b};
    memcpy(iret_frame, frame, sizeof frame);
    struct attempt result = attempt(iret_to_frame, 0);
    REQUIRE(result.vector == VECTOR_PF && result.cpl == 3 && result.rip == EXPERIMENT,
            "vector %lu cpl %lu", result.vector, result.cpl);
    return VERDICT_PASSED;
}

static enum verdict test_segments(void)
{
    return run_at_cpl0(segments);
}
static enum verdict test_registers(void)
{
    return run_at_cpl0(registers);
}
static enum verdict test_nested(void)
{
    return run_at_cpl0(nested);
}
static enum verdict test_returns(void)
{
    return run_at_cpl0(returns);
}

/* ---- ends: each of these is a triple fault, and nothing comes after it ---- */

static enum verdict without_idt(void)
{
    load_idt(0, 0);
    __asm__ volatile("ud2");
    return test_failed("still here");
}
static enum verdict idt_nowhere(void)
{
    load_idt(HOLE_GPA, 0xfff);
    __asm__ volatile("ud2");
    return test_failed("still here");
}
/* Delivery of the load's exception needs the table too. */
static enum verdict gdt_nowhere(void)
{
    load_gdt(EXPERIMENT, 0xffff);
    load_ds(0x10);
    return test_failed("still here");
}
static enum verdict gdt_not_canonical(void)
{
    load_gdt(0x7ffffffffffc, 0xffff);
    load_ds(0x10);
    return test_failed("still here");
}
static enum verdict gdt_empty(void)
{
    load_gdt(0, 0);
    load_ds(0x10);
    return test_failed("still here");
}
static enum verdict cr3_device(void)
{
    write_cr3(DEVICE_GPA);
    return test_failed("still here");
}
static enum verdict stack_nowhere(void)
{
    attempts_end(); /* no stack of exceptions' own */
    __asm__ volatile("mov %0, %%rsp\n push %%rax" : : "r"(EXPERIMENT));
    return test_failed("still here");
}
static enum verdict tss_nowhere(void)
{
    extern uint8_t task_state_segments[];
    *(uint64_t *)(task_state_segments + 4) = EXPERIMENT; /* RSP0 */
    attempts_end();
    attempt_cpl3(EXPERIMENT, 0, 0);
    return test_failed("still here");
}

#define END(name)                                                                                  \
    static enum verdict end_##name(void)                                                           \
    {                                                                                              \
        return run_at_cpl0(name);                                                                  \
    }
END(without_idt)
END(idt_nowhere)
END(gdt_nowhere)
END(gdt_not_canonical)
END(gdt_empty)
END(cr3_device)
END(stack_nowhere)
END(tss_nowhere)

static const struct test tests[] = {
    {"cpl0-segments", test_segments},
    {"cpl0-registers", test_registers},
    {"cpl0-nested", test_nested},
    {"cpl0-iret", test_returns},
    {"end-without-idt", end_without_idt},
    {"end-idt-nowhere", end_idt_nowhere},
    {"end-gdt-nowhere", end_gdt_nowhere},
    {"end-gdt-not-canonical", end_gdt_not_canonical},
    {"end-gdt-empty", end_gdt_empty},
    {"end-cr3-device", end_cr3_device},
    {"end-stack-nowhere", end_stack_nowhere},
    {"end-tss-nowhere", end_tss_nowhere},
};

const struct test_suite test_suite_cpl0_exceptions = TEST_SUITE(tests);
