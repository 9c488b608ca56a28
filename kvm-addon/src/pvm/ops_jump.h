/* Jumps within a code segment: how a handler continues at another address. */
#ifndef TSVM_PVM_OPS_JUMP_H
#define TSVM_PVM_OPS_JUMP_H

#include "handlers.h"
#include "heat.h"
#include "walk.h"

/* Out of the handlers; the run loop looks the target up. */
#define LEAVE_FOR(count, va)                                                                       \
    do {                                                                                           \
        cpu->executed += (count);                                                                  \
        cpu->rip = (va);                                                                           \
        return;                                                                                    \
    } while (0)

/*
 * Goes on at `found`, which is at `va`, in the page of decoded code at `page`. `count` of the
 * decoded run that is left were executed, those before `found` in its own run were not: one
 * addition, as each would wait for the store of the one before.
 */
#define ENTER(count, found, page, va)                                                              \
    do {                                                                                           \
        struct insn *found_ = (found);                                                             \
        if (unlikely(heat_count(cpu, found_)))                                                     \
            LEAVE_FOR(count, va);                                                                  \
        cpu->executed += (uint64_t)(count)-found_->ordinal;                                        \
        cpu->r[REG_PAGE] = (page);                                                                 \
        CONTINUE_AT(found_);                                                                       \
    } while (0)
#define ENTER_AT(count, found, va) ENTER(count, found, (va)&PAGE_BASE, va)

#define JUMP_INDIRECT(target)                                                                      \
    do {                                                                                           \
        uint64_t target_ = (target);                                                               \
        cpu->budget--;                                                                             \
        if (MUST_LEAVE)                                                                            \
            LEAVE_FOR(RUN_LENGTH(insn), target_);                                                  \
        struct insn *next_ = code_find(cpu, target_);                                              \
        if (unlikely(!next_))                                                                      \
            LEAVE_FOR(RUN_LENGTH(insn), target_);                                                  \
        ENTER_AT(RUN_LENGTH(insn), next_, target_);                                                \
    } while (0)

/* A direct jump caches its decoded target for one generation. */
#define JUMP_TO(jump, va)                                                                          \
    do {                                                                                           \
        uint64_t target_ = (va);                                                                   \
        cpu->budget--;                                                                             \
        if (MUST_LEAVE)                                                                            \
            LEAVE_FOR(RUN_LENGTH(jump), target_);                                                  \
        if (unlikely((jump)->generation != cpu->generation)) {                                     \
            struct insn *next_ = code_find(cpu, target_);                                          \
            if (!next_)                                                                            \
                LEAVE_FOR(RUN_LENGTH(jump), target_);                                              \
            (jump)->target = next_;                                                                \
            (jump)->generation = cpu->generation;                                                  \
        }                                                                                          \
        ENTER_AT(RUN_LENGTH(jump), (jump)->target, target_);                                       \
    } while (0)

#define JUMP_RELATIVE(jump, width)                                                                 \
    JUMP_TO(jump, (width)(cpu->r[REG_PAGE] + (uint64_t)(int64_t)(jump)->relative))

/* Near branches to a non-canonical address raise #GP before anything changes (SDM 2A "CALL"). */
ALWAYS_INLINE void check_target(struct cpu *cpu, const struct insn *insn, uint64_t target)
{
    bool canonical = (uint64_t)((int64_t)(target << 16) >> 16) == target;
    if (unlikely(!canonical) && !walk_is_canonical(cpu, target))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

/* A RET that matches the entry of its CALL needs no lookup. */
ALWAYS_INLINE void remember_return(struct cpu *cpu, struct insn *insn, uint64_t return_to)
{
    struct return_entry *entry = &cpu->returns[++cpu->return_top % RETURN_STACK_ENTRIES];
    entry->va = return_to;
    entry->page = cpu->r[REG_PAGE];
    entry->insn = insn + 1;
    entry->generation = cpu->generation;
}

#endif
