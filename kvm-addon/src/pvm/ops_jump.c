/* JMP, Jcc, CALL, RET, LOOP, JRCXZ: near ones. */
#include "ops_jump.h"
#include "decode.h"
#include "ops_stack.h"

/* `width` is that of RIP: 64 bits, or 32 in compat mode. */
#define CONDITIONAL_JUMP(number, condition, mnemonic, mode, width)                                 \
    HANDLER(jcc_##number##_##mode)                                                                 \
    {                                                                                              \
        uint32_t f = cpu->status;                                                                  \
        if (condition)                                                                             \
            JUMP_RELATIVE(insn, width);                                                            \
        NEXT;                                                                                      \
    }
CONDITIONS(CONDITIONAL_JUMP, wide, uint64_t)
CONDITIONS(CONDITIONAL_JUMP, narrow, uint32_t)

#define NAME_JCC(number, condition, mnemonic, mode) jcc_##number##_##mode,
insn_handler *const jump_conditional[2][16] = {{CONDITIONS(NAME_JCC, wide)},
                                               {CONDITIONS(NAME_JCC, narrow)}};

/* LOOP and JRCXZ count in a register of the address size, which is RIP's here. */
#define JUMPS(mode, width, form)                                                                   \
    HANDLER(jump_##mode)                                                                           \
    {                                                                                              \
        JUMP_RELATIVE(insn, width);                                                                \
    }                                                                                              \
    HANDLER(jump_r_##mode)                                                                         \
    {                                                                                              \
        uint64_t target = REG(width, insn->rm);                                                    \
        check_target(cpu, insn, target);                                                           \
        JUMP_INDIRECT(target);                                                                     \
    }                                                                                              \
    HANDLER(call_##mode)                                                                           \
    {                                                                                              \
        width return_to = (width)NEXT_RIP;                                                         \
        PUSH(form, return_to);                                                                     \
        remember_return(cpu, insn, return_to);                                                     \
        JUMP_RELATIVE(insn, width);                                                                \
    }                                                                                              \
    HANDLER(call_r_##mode)                                                                         \
    {                                                                                              \
        uint64_t target = REG(width, insn->rm);                                                    \
        width return_to = (width)NEXT_RIP;                                                         \
        check_target(cpu, insn, target);                                                           \
        PUSH(form, return_to);                                                                     \
        remember_return(cpu, insn, return_to);                                                     \
        JUMP_INDIRECT(target);                                                                     \
    }                                                                                              \
    HANDLER(ret_##mode)                                                                            \
    {                                                                                              \
        uint64_t target = TOP(form);                                                               \
        const struct return_entry *entry =                                                         \
            &cpu->returns[cpu->return_top-- % RETURN_STACK_ENTRIES];                               \
        if (likely(entry->va == target && entry->generation == cpu->generation)) {                 \
            DROP(form);                                                                            \
            cpu->budget--;                                                                         \
            if (MUST_LEAVE)                                                                        \
                LEAVE_FOR(RUN_LENGTH(insn), target);                                               \
            ENTER(RUN_LENGTH(insn), entry->insn, entry->page, target);                             \
        }                                                                                          \
        check_target(cpu, insn, target);                                                           \
        DROP(form);                                                                                \
        JUMP_INDIRECT(target);                                                                     \
    }                                                                                              \
    HANDLER(ret_i_##mode)                                                                          \
    {                                                                                              \
        uint64_t target = TOP(form);                                                               \
        check_target(cpu, insn, target);                                                           \
        DROP(form);                                                                                \
        cpu->r[REG_RSP] = (width)(cpu->r[REG_RSP] + (uint16_t)insn->immediate);                    \
        JUMP_INDIRECT(target);                                                                     \
    }                                                                                              \
    HANDLER(jump_if_zero_##mode)                                                                   \
    {                                                                                              \
        if (REG(width, REG_RCX * 8) == 0)                                                          \
            JUMP_RELATIVE(insn, width);                                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    LOOPS(loopne, mode, width, !(cpu->status & STATUS_Z))                                          \
    LOOPS(loope, mode, width, cpu->status &STATUS_Z)                                               \
    LOOPS(loop, mode, width, true)
#define LOOPS(name, mode, width, condition)                                                        \
    HANDLER(name##_##mode)                                                                         \
    {                                                                                              \
        width count = REG(width, REG_RCX * 8) - 1;                                                 \
        SET_REG(width, REG_RCX * 8, count);                                                        \
        if (count != 0 && (condition))                                                             \
            JUMP_RELATIVE(insn, width);                                                            \
        NEXT;                                                                                      \
    }
JUMPS(wide, uint64_t, wide64)
JUMPS(narrow, uint32_t, narrow32)

#define JUMPS_MEMORY(at, mode, bits, form)                                                         \
    HANDLER(jump_m_##mode##_##at)                                                                  \
    {                                                                                              \
        uint64_t target = load##bits(cpu, insn, address_##at(cpu, insn));                          \
        check_target(cpu, insn, target);                                                           \
        JUMP_INDIRECT(target);                                                                     \
    }                                                                                              \
    HANDLER(call_m_##mode##_##at)                                                                  \
    {                                                                                              \
        uint64_t target = load##bits(cpu, insn, address_##at(cpu, insn));                          \
        uint##bits##_t return_to = (uint##bits##_t)NEXT_RIP;                                       \
        check_target(cpu, insn, target);                                                           \
        PUSH(form, return_to);                                                                     \
        remember_return(cpu, insn, return_to);                                                     \
        JUMP_INDIRECT(target);                                                                     \
    }
ADDRESSINGS(JUMPS_MEMORY, wide, 64, wide64)
ADDRESSINGS(JUMPS_MEMORY, narrow, 32, narrow32)

#define BY_MODE(name)                                                                              \
    {                                                                                              \
        name##_wide, name##_narrow                                                                 \
    }
insn_handler *const jump_relative[2] = BY_MODE(jump);
insn_handler *const jump_r[2] = BY_MODE(jump_r);
insn_handler *const jump_m[2][3] = {EACH_AT(jump_m_wide), EACH_AT(jump_m_narrow)};
insn_handler *const call_relative[2] = BY_MODE(call);
insn_handler *const call_r[2] = BY_MODE(call_r);
insn_handler *const call_m[2][3] = {EACH_AT(call_m_wide), EACH_AT(call_m_narrow)};
insn_handler *const op_ret[2] = BY_MODE(ret);
insn_handler *const op_ret_i[2] = BY_MODE(ret_i);
insn_handler *const jump_loop[4][2] = {BY_MODE(loopne), BY_MODE(loope), BY_MODE(loop),
                                       BY_MODE(jump_if_zero)};

/* ---- between decoded runs; see decode.h ---- */

HANDLER(goto_)
{
    struct insn *next = insn->target;
    cpu->executed += (uint64_t)insn->ordinal - next->ordinal;
    CONTINUE_AT(next);
}

/*
 * Checks budget and orders as a jump does: code without jumps may be as long as the address space.
 */
HANDLER(page_end_)
{
    uint64_t next = cpu->r[REG_PAGE] + (uint64_t)(int64_t)insn->relative;
    if (cpu->compat)
        next = (uint32_t)next;
    cpu->budget--;
    if (MUST_LEAVE)
        LEAVE_FOR(insn->ordinal, next);
    struct insn *found = code_find(cpu, next);
    if (unlikely(!found))
        LEAVE_FOR(insn->ordinal, next);
    ENTER_AT(insn->ordinal, found, next);
}

insn_handler *const insn_goto = goto_;
insn_handler *const insn_page_end = page_end_;
