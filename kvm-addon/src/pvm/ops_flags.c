/* PUSHF, POPF, CLI, STI, CLAC, STAC, and the single flags. */
#include "handlers.h"
#include "ops_stack.h"

#define RFLAGS_ID 0x200000u

/* What POPF changes at any privilege; IF and IOPL come with it. */
#define RFLAGS_POPPED (RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

ALWAYS_INLINE unsigned privilege_of_flags(const struct cpu *cpu)
{
    return (cpu->rflags & RFLAGS_IOPL) / (RFLAGS_IOPL & -RFLAGS_IOPL);
}

ALWAYS_INLINE uint64_t all_flags(const struct cpu *cpu)
{
    uint32_t status = cpu->status;
    return cpu->rflags | (status >> 8 & 0xd5) | (uint64_t)(status & STATUS_O) << 11;
}

/* Returns whether the run must end. `mask`: what the operand size reaches. */
static bool pop_flags(struct cpu *cpu, uint64_t popped, uint64_t mask)
{
    uint64_t old = cpu->rflags;
    mask &= RFLAGS_POPPED | (cpu->cpl == 0 ? RFLAGS_IOPL : 0) |
            (cpu->cpl <= privilege_of_flags(cpu) ? RFLAGS_IF : 0);
    uint64_t new = (all_flags(cpu) & ~mask) | (popped & mask);
    cpu->status = (uint16_t)((new & 0xd5) << 8 | (new >> 11 & 1));
    cpu->rflags = new & ~(uint64_t)(RFLAGS_STATUS | RFLAGS_RF);
    if ((old ^ new) & RFLAGS_AC)
        cpu_choose_tlb(cpu);
    bool check_alignment = cpu->cpl == 3 && new &RFLAGS_AC;
    return new &RFLAGS_TF || check_alignment || (cpu->interrupt_waits && new & ~old &RFLAGS_IF);
}

#define FLAGS_STACK(form, type, bits, width)                                                       \
    HANDLER(pushf_##form)                                                                          \
    {                                                                                              \
        PUSH(form, (type)(all_flags(cpu) & ~(uint64_t)(RFLAGS_RF | RFLAGS_VM)));                   \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(popf_##form)                                                                           \
    {                                                                                              \
        type popped = TOP(form);                                                                   \
        DROP(form);                                                                                \
        if (pop_flags(cpu, popped, (type)UINT64_MAX))                                              \
            STOP;                                                                                  \
        NEXT;                                                                                      \
    }
STACK_FORMS(FLAGS_STACK)
#define BY_FORM(name)                                                                              \
    {                                                                                              \
        name##_wide64, name##_wide16, name##_narrow32, name##_narrow16                             \
    }
insn_handler *const op_pushf[STACK_FORM_COUNT] = BY_FORM(pushf);
insn_handler *const op_popf[STACK_FORM_COUNT] = BY_FORM(popf);

/* CLI and STI of a program that may not: with CR4.PVI it has a virtual flag, which is KVM's. */
static void check_interrupt_flag(struct cpu *cpu, const struct insn *insn)
{
    if (likely(cpu->cpl <= privilege_of_flags(cpu)))
        return;
    if (cpu->cpl == 3 && cpu->sregs.cr4 & CR4_PVI)
        cpu_leave(cpu, insn, INTERPRETED_NATIVE);
    cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

HANDLER(cli_)
{
    if (unlikely(cpu->cpl != 0))
        check_interrupt_flag(cpu, insn);
    cpu->rflags &= ~(uint64_t)RFLAGS_IF;
    NEXT;
}

/*
 * The next instruction runs before an interrupt comes. That needs care only where the run ends
 * here: otherwise nobody looks before the next jump.
 */
HANDLER(sti_)
{
    if (unlikely(cpu->cpl != 0))
        check_interrupt_flag(cpu, insn);
    if (!(cpu->rflags & RFLAGS_IF)) {
        cpu->rflags |= RFLAGS_IF;
        if (unlikely(cpu->interrupt_waits || cpu->once)) {
            cpu->interrupt_shadow = 1;
            STOP;
        }
    }
    NEXT;
}

HANDLER(stac_)
{
    if (cpu->cpl != 0)
        RAISE_UD;
    cpu->rflags |= RFLAGS_AC;
    cpu_choose_tlb(cpu);
    NEXT;
}

HANDLER(clac_)
{
    if (cpu->cpl != 0)
        RAISE_UD;
    cpu->rflags &= ~(uint64_t)RFLAGS_AC;
    cpu_choose_tlb(cpu);
    NEXT;
}

HANDLER(cld_)
{
    cpu->rflags &= ~(uint64_t)RFLAGS_DF;
    NEXT;
}

HANDLER(std_)
{
    cpu->rflags |= RFLAGS_DF;
    NEXT;
}

HANDLER(clc_)
{
    cpu->status &= ~STATUS_C;
    NEXT;
}

HANDLER(stc_)
{
    cpu->status |= STATUS_C;
    NEXT;
}

HANDLER(cmc_)
{
    cpu->status ^= STATUS_C;
    NEXT;
}

HANDLER(lahf_)
{
    REG(uint8_t, REG_RAX * 8 + 1) = (cpu->status >> 8 & 0xd5) | 2;
    NEXT;
}

HANDLER(sahf_)
{
    cpu->status = (cpu->status & STATUS_O) | (unsigned)REG(uint8_t, REG_RAX * 8 + 1) << 8;
    NEXT;
}

insn_handler *const op_cli = cli_;
insn_handler *const op_sti = sti_;
insn_handler *const op_stac = stac_;
insn_handler *const op_clac = clac_;
insn_handler *const op_cld = cld_;
insn_handler *const op_std = std_;
insn_handler *const op_clc = clc_;
insn_handler *const op_stc = stc_;
insn_handler *const op_cmc = cmc_;
insn_handler *const op_lahf = lahf_;
insn_handler *const op_sahf = sahf_;
