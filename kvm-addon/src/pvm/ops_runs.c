/*
 * Several instructions of one kind in one handler: PUSHes and POPs of registers, and XORs that
 * clear them, as the entry paths and the functions of kernels begin and end with. One by one each
 * would wait until the stack pointer that the one before stored can be loaded again. Each
 * instruction keeps its own decoded instruction, and a handler for the rest of the run, as a jump
 * target.
 */
#include "handlers.h"
#include "ops_fused.h"
#include "ops_stack.h"

#define RUN_MAX 8u
#define LENGTHS(X) X(2) X(3) X(4) X(5) X(6) X(7) X(8)

/*
 * If all of the operands are in one writable page; otherwise the first is executed alone, and may
 * fault.
 */
#define PUSHES(length)                                                                             \
    HANDLER(pushes_##length)                                                                       \
    {                                                                                              \
        uint64_t sp = cpu->r[REG_RSP] - 8 * (length);                                              \
        uint8_t *place = tlb_write(cpu, sp, 8 * (length));                                         \
        if (unlikely(!place)) {                                                                    \
            PUSH(wide64, REG(uint64_t, insn->rm));                                                 \
            NEXT;                                                                                  \
        }                                                                                          \
        _Pragma("GCC unroll 8") for (unsigned i = 0; i < (length); i++)                            \
        {                                                                                          \
            *(volatile unaligned_64 *)(place + 8 * ((length)-1 - i)) = REG(uint64_t, insn[i].rm);  \
        }                                                                                          \
        cpu->r[REG_RSP] = sp;                                                                      \
        CONTINUE_AT(insn + (length));                                                              \
    }

#define POPS(length)                                                                               \
    HANDLER(pops_##length)                                                                         \
    {                                                                                              \
        uint64_t sp = cpu->r[REG_RSP];                                                             \
        const uint8_t *place = tlb_read(cpu, sp, 8 * (length));                                    \
        if (unlikely(!place)) {                                                                    \
            uint64_t value = TOP(wide64);                                                          \
            DROP(wide64);                                                                          \
            REG(uint64_t, insn->rm) = value;                                                       \
            NEXT;                                                                                  \
        }                                                                                          \
        _Pragma("GCC unroll 8") for (unsigned i = 0; i < (length); i++)                            \
        {                                                                                          \
            REG(uint64_t, insn[i].rm) = *(const volatile unaligned_64 *)(place + 8 * i);           \
        }                                                                                          \
        cpu->r[REG_RSP] = sp + 8 * (length);                                                       \
        CONTINUE_AT(insn + (length));                                                              \
    }

/* AF is undefined; processors clear it. */
#define STATUS_OF_ZERO (STATUS_Z | STATUS_P | STATUS_RESERVED)

#define CLEARS(length)                                                                             \
    HANDLER(clears_##length)                                                                       \
    {                                                                                              \
        _Pragma("GCC unroll 8") for (unsigned i = 0; i < (length); i++)                            \
        {                                                                                          \
            REG(uint64_t, insn[i].rm) = 0;                                                         \
        }                                                                                          \
        cpu->status = STATUS_OF_ZERO;                                                              \
        CONTINUE_AT(insn + (length));                                                              \
    }

LENGTHS(PUSHES)
LENGTHS(POPS)
LENGTHS(CLEARS)

/* Nobody can observe the stack pointer inside a run. */
static bool is_not_rsp(const struct insn *insn)
{
    return insn->rm != REG_RSP * 8;
}

static bool clears_register(const struct insn *insn)
{
    return insn->reg == insn->rm;
}

#define XOR 6
#define SIZE_32 2

struct run_kind {
    insn_handler *const *single;
    bool (*fits)(const struct insn *insn);
    insn_handler *of_length[RUN_MAX + 1];
};

#define NAME_PUSHES(length) [length] = pushes_##length,
#define NAME_POPS(length) [length] = pops_##length,
#define NAME_CLEARS(length) [length] = clears_##length,

static const struct run_kind kinds[] = {
    {&push_r[STACK_WIDE64], is_not_rsp, {LENGTHS(NAME_PUSHES)}},
    {&pop_r[STACK_WIDE64], is_not_rsp, {LENGTHS(NAME_POPS)}},
    {&alu_rr[XOR][SIZE_32], clears_register, {LENGTHS(NAME_CLEARS)}},
};

/* Of the run of this kind that begins at `insn`; 0: none. */
static unsigned length_from(const struct run_kind *kind, const struct insn *insn)
{
    if (insn->handler == *kind->single)
        return kind->fits(insn) ? 1 : 0;
    for (unsigned length = 2; length <= RUN_MAX; length++)
        if (insn->handler == kind->of_length[length])
            return length;
    return 0;
}

bool fuse_run(struct insn *first, const struct insn *second)
{
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        const struct run_kind *kind = &kinds[i];
        if (first->handler != *kind->single)
            continue;
        unsigned rest = kind->fits(first) ? length_from(kind, second) : 0;
        if (rest == 0)
            return false;
        first->handler = kind->of_length[rest < RUN_MAX ? rest + 1 : RUN_MAX];
        return true;
    }
    return false;
}
