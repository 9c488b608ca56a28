/* Transfers between segments and privilege levels (SDM 2, IRET, RET, SYSCALL, SYSRET, SYSENTER). */
#include "access.h"
#include "arch.h"
#include "cpu_mode.h"
#include "cpuid.h"
#include "descriptor.h"
#include "descriptor_table.h"
#include "msrs.h"
#include "system.h"
#include "tlb.h"
#include "walk.h"

/*
 * RFLAGS that IRET can set at all (VM cannot be in long mode), and those that SYSRET takes from
 * R11.
 */
#define RFLAGS_SETTABLE 0x3d7fd5ull
#define RFLAGS_OF_SYSRET 0x3c7fd7ull

static void check_canonical(struct cpu *cpu, const struct insn *insn, uint64_t va)
{
    if (!walk_is_canonical(cpu, va))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

static void set_code(struct cpu *cpu, const struct kvm_segment *cs)
{
    cpu->sregs.cs = *cs;
    cpu->compat = !cs->l;
}

/* A value of the stack, `size` bytes wide; the stack pointer wraps at 4 GiB in 32-bit code. */
static uint64_t stack_load(struct cpu *cpu, const struct insn *insn, uint64_t rsp, unsigned size)
{
    uint64_t va = cpu->compat ? (uint32_t)rsp : rsp;
    const void *at = tlb_read(cpu, va, size);
    uint64_t value = 0;

    if (size == 8 && at)
        return *(const volatile uint64_t *)at;
    access_copy_in(cpu, (struct insn *)insn, va, &value, size);
    return value;
}

/* The code segment that IRET or RET goes back to. */
static struct kvm_segment return_code(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    uint32_t error = selector_error(selector);
    unsigned rpl = selector_rpl(selector);
    uint64_t raw;

    if (selector_is_null(selector))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (!descriptor_read(cpu, insn, selector, &raw))
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    struct kvm_segment segment = descriptor_parse(selector, raw);
    bool conforming = segment.type & TYPE_CONFORMING;
    bool dpl_fits = conforming ? segment.dpl <= rpl : segment.dpl == rpl;
    if (!descriptor_is_code(&segment) || rpl < cpu->cpl || !dpl_fits || (segment.l && segment.db))
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    if (!segment.present)
        cpu_raise_error(cpu, insn, VECTOR_NP, error);
    descriptor_set_type(cpu, insn, selector, raw, TYPE_ACCESSED);
    segment.type |= TYPE_ACCESSED;
    segment.dpl = (uint8_t)rpl; /* conforming code runs at the CPL it is entered with */
    return segment;
}

/* The stack segment that IRET or RET goes back to, for code of `rpl`. */
static struct kvm_segment return_stack(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                                       unsigned rpl, bool to_64_bit)
{
    uint32_t error = selector_error(selector);
    uint64_t raw;

    if (selector_is_null(selector)) {
        if (!to_64_bit || rpl == 3 || selector_rpl(selector) != rpl)
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        return descriptor_flat_data(selector, rpl);
    }
    if (!descriptor_read(cpu, insn, selector, &raw))
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    struct kvm_segment segment = descriptor_parse(selector, raw);
    bool writable = segment.s && !(segment.type & TYPE_CODE) && segment.type & TYPE_WRITABLE;
    if (!writable || selector_rpl(selector) != rpl || segment.dpl != rpl)
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    if (!segment.present)
        cpu_raise_error(cpu, insn, VECTOR_SS, error);
    descriptor_set_type(cpu, insn, selector, raw, TYPE_ACCESSED);
    segment.type |= TYPE_ACCESSED;
    return segment;
}

/* A return to an outer level clears data segments of the inner one. */
static void drop_privileged(struct kvm_segment *segment, unsigned cpl)
{
    bool conforming = descriptor_is_code(segment) && segment->type & TYPE_CONFORMING;
    if (!segment->unusable && segment->dpl < cpl && !conforming)
        *segment = (struct kvm_segment){.unusable = 1};
}

static void go_outward(struct cpu *cpu, unsigned cpl)
{
    struct kvm_sregs *sregs = &cpu->sregs;
    struct kvm_segment *const segments[] = {&sregs->ds, &sregs->es, &sregs->fs, &sregs->gs};
    for (unsigned i = 0; i < sizeof segments / sizeof *segments; i++)
        drop_privileged(segments[i], cpl);
    cpu_set_cpl(cpu, cpl);
}

/* What code of the current CPL may change of RFLAGS by IRET. */
static uint64_t iret_rflags(const struct cpu *cpu, uint64_t popped, unsigned operand_size)
{
    uint64_t old = cpu_rflags(cpu);
    uint64_t changeable = RFLAGS_SETTABLE;
    if (operand_size == 2)
        changeable &= 0xffff;
    if (cpu->cpl > 0)
        changeable &= ~(uint64_t)RFLAGS_IOPL;
    if (cpu->cpl > (old & RFLAGS_IOPL) >> 12)
        changeable &= ~(uint64_t)RFLAGS_IF;
    return (popped & changeable) | (old & ~changeable);
}

void far_iret(struct cpu *cpu, const struct insn *insn, unsigned operand_size)
{
    uint64_t rsp = cpu->r[REG_RSP];

    if (cpu_rflags(cpu) & RFLAGS_NT)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    uint64_t rip = stack_load(cpu, insn, rsp, operand_size);
    uint16_t cs_selector = (uint16_t)stack_load(cpu, insn, rsp + operand_size, operand_size);
    uint64_t rflags = stack_load(cpu, insn, rsp + 2 * operand_size, operand_size);
    struct kvm_segment cs = return_code(cpu, insn, cs_selector);
    unsigned cpl = selector_rpl(cs_selector);
    uint64_t new_rsp = rsp + 3 * operand_size;
    /* 64-bit code takes the stack off the frame whatever the levels are. */
    bool has_stack = !cpu->compat || cpl > cpu->cpl;

    if (has_stack) {
        new_rsp = stack_load(cpu, insn, rsp + 3 * operand_size, operand_size);
        uint64_t ss = stack_load(cpu, insn, rsp + 4 * operand_size, operand_size);
        struct kvm_segment stack = return_stack(cpu, insn, (uint16_t)ss, cpl, cs.l);
        if (cs.l)
            check_canonical(cpu, insn, rip);
        cpu->sregs.ss = stack;
    }
    rflags = iret_rflags(cpu, rflags, operand_size);
    set_code(cpu, &cs);
    cpu->rip = cs.l ? rip : (uint32_t)rip;
    cpu->r[REG_RSP] = cs.l ? new_rsp : (uint32_t)new_rsp;
    cpu_set_rflags(cpu, rflags);
    cpu->nmi_blocked = false;
    if (cpl != cpu->cpl)
        go_outward(cpu, cpl);
    else
        cpu_choose_tlb(cpu);
}

void far_return(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t release)
{
    uint64_t rsp = cpu->r[REG_RSP];
    uint64_t rip = stack_load(cpu, insn, rsp, operand_size);
    uint16_t selector = (uint16_t)stack_load(cpu, insn, rsp + operand_size, operand_size);
    struct kvm_segment cs = return_code(cpu, insn, selector);
    unsigned cpl = selector_rpl(selector);
    uint64_t new_rsp = rsp + 2 * operand_size + release;

    if (cs.l)
        check_canonical(cpu, insn, rip);
    if (cpl > cpu->cpl) {
        uint64_t outer = stack_load(cpu, insn, new_rsp, operand_size);
        uint64_t ss = stack_load(cpu, insn, new_rsp + operand_size, operand_size);
        cpu->sregs.ss = return_stack(cpu, insn, (uint16_t)ss, cpl, cs.l);
        new_rsp = outer + release;
    }
    set_code(cpu, &cs);
    cpu->rip = cs.l ? rip : (uint32_t)rip;
    cpu->r[REG_RSP] = cs.l ? new_rsp : (uint32_t)new_rsp;
    if (cpl != cpu->cpl)
        go_outward(cpu, cpl);
}

/*
 * Only code segments are supported: call gates, which no 64-bit kernel uses, raise #GP.
 */
static struct kvm_segment jump_code(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    uint32_t error = selector_error(selector);
    uint64_t raw;

    if (selector_is_null(selector))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (!descriptor_read(cpu, insn, selector, &raw))
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    struct kvm_segment segment = descriptor_parse(selector, raw);
    bool conforming = segment.type & TYPE_CONFORMING;
    bool dpl_fits = conforming ? segment.dpl <= cpu->cpl
                               : segment.dpl == cpu->cpl && selector_rpl(selector) <= cpu->cpl;
    if (!descriptor_is_code(&segment) || !dpl_fits || (segment.l && segment.db))
        cpu_raise_error(cpu, insn, VECTOR_GP, error);
    if (!segment.present)
        cpu_raise_error(cpu, insn, VECTOR_NP, error);
    descriptor_set_type(cpu, insn, selector, raw, TYPE_ACCESSED);
    segment.type |= TYPE_ACCESSED;
    segment.dpl = cpu->cpl;
    segment.selector = (uint16_t)(selector_error(selector) | cpu->cpl);
    return segment;
}

void far_jump(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t selector,
              uint64_t offset, bool is_call, uint64_t next)
{
    struct kvm_segment cs = jump_code(cpu, insn, selector);
    uint64_t rsp = cpu->r[REG_RSP];

    if (cs.l)
        check_canonical(cpu, insn, offset);
    if (is_call) {
        uint64_t frame[2] = {next, cpu->sregs.cs.selector};
        uint8_t bytes[16] = {0};
        for (unsigned i = 0; i < operand_size; i++) {
            bytes[i] = (uint8_t)(frame[0] >> 8 * i);
            bytes[operand_size + i] = (uint8_t)(frame[1] >> 8 * i);
        }
        rsp -= 2 * operand_size;
        if (cpu->compat)
            rsp = (uint32_t)rsp;
        access_copy_out(cpu, (struct insn *)insn, rsp, bytes, 2 * operand_size);
        cpu->r[REG_RSP] = rsp;
    }
    set_code(cpu, &cs);
    cpu->rip = cs.l ? offset : (uint32_t)offset;
}

static void enter_cpl0(struct cpu *cpu, uint16_t cs, uint64_t rip)
{
    cpu->sregs.cs = descriptor_flat_code(cs & ~SELECTOR_RPL, 0, true);
    cpu->sregs.ss = descriptor_flat_data((uint16_t)((cs & ~SELECTOR_RPL) + 8), 0);
    cpu->compat = false;
    cpu->rip = rip;
    cpu_set_cpl(cpu, 0);
}

static void enter_cpl3(struct cpu *cpu, uint16_t cs, uint16_t ss, uint64_t rip, bool is_64_bit)
{
    cpu->sregs.cs = descriptor_flat_code(cs | SELECTOR_RPL, 3, is_64_bit);
    cpu->sregs.ss = descriptor_flat_data(ss | SELECTOR_RPL, 3);
    cpu->compat = !is_64_bit;
    cpu->rip = is_64_bit ? rip : (uint32_t)rip;
    cpu_set_cpl(cpu, 3);
}

void far_syscall(struct cpu *cpu, const struct insn *insn, uint64_t next)
{
    const struct cpu_msrs *msrs = cpu->msrs;

    /* From 32-bit code only AMD's processors have it. */
    if (!(cpu->sregs.efer & EFER_SCE) || (cpu->compat && !cpuid_is_amd(cpu)))
        cpu_raise(cpu, insn, VECTOR_UD);
    uint64_t rip = cpu->compat ? msrs->cstar : msrs->lstar;
    uint64_t rflags = cpu_rflags(cpu) & ~(uint64_t)RFLAGS_RF;
    cpu->r[REG_RCX] = next;
    cpu->r[REG_R11] = rflags;
    cpu_set_rflags(cpu, rflags & ~msrs->sfmask);
    enter_cpl0(cpu, (uint16_t)(msrs->star >> 32), rip);
}

void far_sysret(struct cpu *cpu, const struct insn *insn, bool to_64_bit)
{
    uint16_t base = (uint16_t)(cpu->msrs->star >> 48);

    if (!(cpu->sregs.efer & EFER_SCE) || cpu->compat)
        cpu_raise(cpu, insn, VECTOR_UD);
    if (cpu->cpl != 0)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    /* On AMD's processors the fetch faults afterwards, at CPL 3. This is safer for the kernel. */
    if (to_64_bit)
        check_canonical(cpu, insn, cpu->r[REG_RCX]);
    cpu_set_rflags(cpu, cpu->r[REG_R11] & RFLAGS_OF_SYSRET);
    enter_cpl3(cpu, (uint16_t)(to_64_bit ? base + 16 : base), (uint16_t)(base + 8), cpu->r[REG_RCX],
               to_64_bit);
}

void far_sysenter(struct cpu *cpu, const struct insn *insn)
{
    const struct cpu_msrs *msrs = cpu->msrs;

    /* AMD's processors do not have it in long mode. */
    if (cpuid_is_amd(cpu))
        cpu_raise(cpu, insn, VECTOR_UD);
    if (selector_is_null((uint16_t)msrs->sysenter_cs))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    cpu_set_rflags(cpu, cpu_rflags(cpu) & ~(uint64_t)(RFLAGS_IF | RFLAGS_VM | RFLAGS_RF));
    cpu->r[REG_RSP] = msrs->sysenter_esp;
    enter_cpl0(cpu, (uint16_t)msrs->sysenter_cs, msrs->sysenter_eip);
}

void far_sysexit(struct cpu *cpu, const struct insn *insn, bool to_64_bit)
{
    uint16_t cs = (uint16_t)cpu->msrs->sysenter_cs;

    if (cpuid_is_amd(cpu))
        cpu_raise(cpu, insn, VECTOR_UD);
    if (selector_is_null(cs) || cpu->cpl != 0)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (to_64_bit) {
        check_canonical(cpu, insn, cpu->r[REG_RCX]);
        check_canonical(cpu, insn, cpu->r[REG_RDX]);
    }
    uint64_t rsp = cpu->r[REG_RCX];
    cpu->r[REG_RSP] = to_64_bit ? rsp : (uint32_t)rsp;
    enter_cpl3(cpu, (uint16_t)(cs + (to_64_bit ? 32 : 16)), (uint16_t)(cs + (to_64_bit ? 40 : 24)),
               cpu->r[REG_RDX], to_64_bit);
}
