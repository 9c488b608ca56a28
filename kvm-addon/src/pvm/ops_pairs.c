/*
 * Two instructions in one handler: the most frequent pairs of kernels, a fifth of what they
 * execute. Each jump from one handler to the next costs as much as a simple handler's work. The
 * second instruction keeps its own decoded instruction and handler, as a jump target.
 */
#include "handlers.h"
#include "ops_fused.h"
#include "ops_stack.h"

#define WORK(name) ALWAYS_INLINE void work_##name(struct cpu *cpu, struct insn *insn)

WORK(move)
{
    REG(uint64_t, insn->rm) = REG(uint64_t, insn->reg);
}

WORK(load)
{
    REG(uint64_t, insn->reg) = load64(cpu, insn, address_plain(cpu, insn));
}

WORK(store)
{
    store64(cpu, insn, address_plain(cpu, insn), REG(uint64_t, insn->reg));
}

WORK(push)
{
    PUSH(wide64, REG(uint64_t, insn->rm));
}

WORK(pop)
{
    uint64_t value = TOP(wide64);
    DROP(wide64);
    REG(uint64_t, insn->rm) = value;
}

WORK(lea)
{
    REG(uint64_t, insn->reg) = address_plain(cpu, insn);
}

/* X(first, second) */
#define PAIRS(X)                                                                                   \
    X(move, move)                                                                                  \
    X(move, push)                                                                                  \
    X(move, load)                                                                                  \
    X(move, store)                                                                                 \
    X(move, lea)                                                                                   \
    X(push, move)                                                                                  \
    X(push, load)                                                                                  \
    X(pop, move)                                                                                   \
    X(load, load)                                                                                  \
    X(load, move)                                                                                  \
    X(load, store)                                                                                 \
    X(load, lea)                                                                                   \
    X(store, store)                                                                                \
    X(store, load)                                                                                 \
    X(store, move)                                                                                 \
    X(lea, store)                                                                                  \
    X(lea, move)

#define PAIR(first, second)                                                                        \
    HANDLER(first##_##second)                                                                      \
    {                                                                                              \
        work_##first(cpu, insn);                                                                   \
        work_##second(cpu, insn + 1);                                                              \
        CONTINUE_AT(insn + 2);                                                                     \
    }
PAIRS(PAIR)

enum part { PART_move, PART_load, PART_store, PART_push, PART_pop, PART_lea, PARTS };

#define SIZE_64 3

static enum part part_of(const struct insn *insn)
{
    if (insn->handler == move_rr[SIZE_64])
        return PART_move;
    if (insn->handler == move_rm[ADDRESSING_PLAIN][SIZE_64])
        return PART_load;
    if (insn->handler == move_mr[ADDRESSING_PLAIN][SIZE_64])
        return PART_store;
    if (insn->handler == push_r[STACK_WIDE64])
        return PART_push;
    if (insn->handler == pop_r[STACK_WIDE64])
        return PART_pop;
    return insn->handler == lea[ADDRESSING_PLAIN][SIZE_64] ? PART_lea : PARTS;
}

#define NAME_PAIR(first, second) [PART_##first][PART_##second] = first##_##second,
static insn_handler *const pairs[PARTS][PARTS] = {PAIRS(NAME_PAIR)};

bool fuse_pair(struct insn *first, const struct insn *second)
{
    enum part a = part_of(first);
    if (a == PARTS)
        return false;
    enum part b = part_of(second);
    if (b == PARTS || !pairs[a][b])
        return false;
    first->handler = pairs[a][b];
    return true;
}
