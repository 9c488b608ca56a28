/* The loop round the handlers. */
#include "interpret.h"

#include <stddef.h>

#include "arch.h"
#include "code_arena.h"
#include "code_lookup.h"
#include "heat.h"
#include "translator.h"

/*
 * Handlers support flat segments: CS, DS, ES and SS from 0 to 4 GiB. Code in compat mode with
 * others is left to KVM.
 */
static bool is_flat(const struct kvm_segment *segment)
{
    return segment->base == 0 && segment->limit == UINT32_MAX && !segment->unusable;
}

/*
 * 64-bit programs leave null selectors in DS and ES; 32-bit code loads others before it uses them.
 */
static bool is_flat_or_null(const struct kvm_segment *segment)
{
    return segment->unusable || is_flat(segment);
}

bool interpret_knows_segments(const struct cpu *cpu)
{
    const struct kvm_sregs *sregs = &cpu->sregs;
    if (!cpu->compat)
        return true;
    return is_flat(&sregs->cs) && sregs->cs.db && is_flat(&sregs->ss) && sregs->ss.db &&
           is_flat_or_null(&sregs->ds) && is_flat_or_null(&sregs->es);
}

/* Alignment checks (#AC) are left to the processor. */
static bool checks_alignment(const struct cpu *cpu)
{
    return cpu->cpl == 3 && cpu->rflags & RFLAGS_AC && cpu->sregs.cr0 & CR0_AM;
}

static bool is_ours(const struct cpu *cpu)
{
    return !checks_alignment(cpu) && interpret_knows_segments(cpu);
}

static enum interpreted not_ours(const struct cpu *cpu)
{
    return cpu->cpl == 3 ? INTERPRETED_NATIVE : INTERPRETED_STEP;
}

static bool must_leave(const struct cpu *cpu)
{
    int32_t attention = __atomic_load_n(&cpu->attention, __ATOMIC_RELAXED);
    return (cpu->budget | attention) < 0 || cpu->interrupt_shadow || cpu->rflags & RFLAGS_TF ||
           (cpu->interrupt_waits && cpu->rflags & RFLAGS_IF) || !(cpu->sregs.cr0 & CR0_PG);
}

/* Calls the instruction's handler. Translated code keeps no registers for its caller. */
void interpret_enter(struct cpu *cpu, struct insn *insn);
asm(".pushsection .text\n"
    ".hidden interpret_enter\n"
    ".globl interpret_enter\n"
    ".type interpret_enter, @function\n"
    "interpret_enter:\n"
    "    push %rbx\n"
    "    push %rbp\n"
    "    push %r12\n"
    "    push %r13\n"
    "    push %r14\n"
    "    push %r15\n"
    "    sub $8, %rsp\n"
    "    call *(%rsi)\n"
    "    add $8, %rsp\n"
    "    pop %r15\n"
    "    pop %r14\n"
    "    pop %r13\n"
    "    pop %r12\n"
    "    pop %rbp\n"
    "    pop %rbx\n"
    "    ret\n"
    ".size interpret_enter, .-interpret_enter\n"
    ".popsection\n");
_Static_assert(offsetof(struct insn, handler) == 0, "interpret_enter()");

static void run(struct cpu *cpu, struct insn *insn)
{
    cpu->r[REG_PAGE] = cpu->rip & PAGE_BASE;
    cpu->executed -= insn->ordinal;
    interpret_enter(cpu, insn);
}

/* The decoded instruction at cpu->rip, translated if it is executed often. */
static struct insn *find(struct cpu *cpu)
{
    struct insn *insn = code_lookup(cpu, cpu->rip);
    bool hot = heat_count(cpu, insn) || cpu->hot;
    cpu->hot = false;
    if (!hot || translate(cpu, insn))
        return insn;
    code_flush_pool(cpu);
    return code_lookup(cpu, cpu->rip);
}

/* What the end of an instruction clears; a fault in the first sets RF in the image it pushes. */
static void begin(struct cpu *cpu)
{
    cpu->interrupt_shadow = 0;
    cpu->rflags &= ~(uint64_t)RFLAGS_RF;
}

enum interpreted interpret(struct cpu *cpu)
{
    int why = setjmp(cpu->leave);
    if (why != 0)
        return (enum interpreted)why;
    if (cpu->cpl == 3)
        code_enter_user(cpu);
    uint8_t cpl = cpu->cpl;
    bool compat = cpu->compat;
    cpu->once = false;
    begin(cpu);
    do {
        if (!is_ours(cpu))
            return not_ours(cpu);
        /* Counts as a jump: a SYSCALL may jump to itself. */
        cpu->budget--;
        run(cpu, find(cpu));
    } while (cpu->cpl == cpl && cpu->compat == compat && !must_leave(cpu));
    return INTERPRETED_ATTENTION;
}

/* A CALL has pushed a return entry that refers to code_decode_once()'s instruction. */
static void forget_return(struct cpu *cpu)
{
    cpu->returns[cpu->return_top % RETURN_STACK_ENTRIES].va = TLB_NO_TAG;
}

enum interpreted interpret_once(struct cpu *cpu)
{
    int32_t budget = cpu->budget;
    int why = setjmp(cpu->leave);
    if (why == 0) {
        if (!is_ours(cpu))
            return not_ours(cpu);
        cpu->once = true;
        begin(cpu);
        /* The first jump and the end of the decoded run return. */
        cpu->budget = 0;
        run(cpu, code_decode_once(cpu, cpu->rip));
        why = INTERPRETED_ATTENTION;
    }
    cpu->budget = budget;
    cpu->once = false;
    forget_return(cpu);
    return (enum interpreted)why;
}
