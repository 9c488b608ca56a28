/*
 * Macros of the instruction handlers (ops_*.c). A handler ends in NEXT, in a jump, in
 * STOP, or through cpu_leave(). Memory operands are checked before any register changes.
 */
#ifndef TSVM_PVM_HANDLERS_H
#define TSVM_PVM_HANDLERS_H

#include <stddef.h>

#include "arch.h"
#include "code_page.h"
#include "operands.h"
#include "ops.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define HANDLER(name) static void name(struct cpu *cpu, struct insn *insn)

/* gcc makes the tail call by itself at -O2; test/unit/tail_call_test.sh looks whether it did. */
#ifdef __clang__
#define TAIL_CALL __attribute__((musttail)) return
#else
#define TAIL_CALL return
#endif

#define CONTINUE_AT(next)                                                                          \
    do {                                                                                           \
        struct insn *next_ = (next);                                                               \
        TAIL_CALL next_->handler(cpu, next_);                                                      \
    } while (0)
#define NEXT CONTINUE_AT(insn + 1)

#define RIP (cpu->r[REG_PAGE] + insn_offset(insn))
#define NEXT_RIP (RIP + insn_length(insn))

ALWAYS_INLINE uint64_t next_rip(const struct cpu *cpu, const struct insn *insn)
{
    return cpu->compat ? (uint32_t)NEXT_RIP : NEXT_RIP;
}

/* Counts the instructions of this decoded run up to this one. */
#define RUN_LENGTH(insn) ((insn)->ordinal + 1u)
#define COUNT_RUN (cpu->executed += RUN_LENGTH(insn))

/* Returns to the run loop after this instruction, because machine state has changed. */
#define STOP                                                                                       \
    do {                                                                                           \
        COUNT_RUN;                                                                                 \
        cpu->rip = next_rip(cpu, insn);                                                            \
        return;                                                                                    \
    } while (0)

/* Returns to the run loop: the budget is used up, or the vCPU has been asked for attention. */
#define MUST_LEAVE unlikely((cpu->budget | __atomic_load_n(&cpu->attention, __ATOMIC_RELAXED)) < 0)

#define REG(type, offset) CPU_REG(type, cpu, offset)
/* Writes to 32-bit registers clear the upper half. */
#define SET_REG(type, offset, value)                                                               \
    do {                                                                                           \
        if (sizeof(type) == 4)                                                                     \
            REG(uint64_t, offset) = (uint32_t)(value);                                             \
        else                                                                                       \
            REG(type, offset) = (type)(value);                                                     \
    } while (0)

/* X(arguments..., type, assembler suffix, bits) for each operand size. */
#define SIZES(X, ...)                                                                              \
    X(__VA_ARGS__, uint8_t, "b", 8)                                                                \
    WIDE_SIZES(X, __VA_ARGS__)
#define WIDE_SIZES(X, ...)                                                                         \
    X(__VA_ARGS__, uint16_t, "w", 16)                                                              \
    X(__VA_ARGS__, uint32_t, "l", 32)                                                              \
    X(__VA_ARGS__, uint64_t, "q", 64)

/* Rows of handler tables: by operand size, and for each way of addressing. */
#define ROW(name)                                                                                  \
    {                                                                                              \
        name##8, name##16, name##32, name##64                                                      \
    }
#define WIDE_ROW(name)                                                                             \
    {                                                                                              \
        NULL, name##16, name##32, name##64                                                         \
    }
#define ROW_AT(name, at)                                                                           \
    {                                                                                              \
        name##8##_##at, name##16##_##at, name##32##_##at, name##64##_##at                          \
    }
#define WIDE_ROW_AT(name, at)                                                                      \
    {                                                                                              \
        NULL, name##16##_##at, name##32##_##at, name##64##_##at                                    \
    }
#define ROWS_AT(name)                                                                              \
    {                                                                                              \
        ROW_AT(name, general), ROW_AT(name, plain), ROW_AT(name, narrow)                           \
    }
#define WIDE_ROWS_AT(name)                                                                         \
    {                                                                                              \
        WIDE_ROW_AT(name, general), WIDE_ROW_AT(name, plain), WIDE_ROW_AT(name, narrow)            \
    }
#define EACH_AT(name)                                                                              \
    {                                                                                              \
        name##_general, name##_plain, name##_narrow                                                \
    }

/*
 * Status flags in asm: cpu.status in AX. AL is 0 or 1, so that adding 127 makes OF of it; SAHF
 * sets the others.
 */
#define LOAD_STATUS "addb $0x7f, %%al\n\tsahf\n\t"
#define SAVE_STATUS "\n\tlahf\n\tseto %%al"

/*
 * The start of an asm and the constraint of the status, for operations that read CF and define all
 * flags, and for those that define all. Loading all flags is slow.
 */
#define CARRY_IN "btl $8, %%eax\n\t", "+&a"
#define NO_STATUS_IN "", "=&a"

/* Bits of cpu.status. */
#define STATUS_O 0x0001u
#define STATUS_C 0x0100u
#define STATUS_RESERVED 0x0200u /* always set */
#define STATUS_P 0x0400u
#define STATUS_A 0x1000u
#define STATUS_Z 0x4000u
#define STATUS_S 0x8000u
#define STATUS_ALL 0xffffu

/*
 * The status after an operation that changes the flags of `mask` alone, and left them in `after`.
 */
#define STATUS_CHANGED(before, after, mask) (((before) & ~(mask)) | ((after) & (mask)))

/*
 * X(number, whether it holds for the status flags `f`) for the sixteen conditions (SDM 2 B.1.4.7).
 */
#define STATUS_LESS(f) (((f) >> 15 ^ (f)) & 1)
#define CONDITIONS(X, ...)                                                                         \
    X(0, (f & STATUS_O), "o", __VA_ARGS__)                                                         \
    X(1, !(f & STATUS_O), "no", __VA_ARGS__)                                                       \
    X(2, (f & STATUS_C), "c", __VA_ARGS__)                                                         \
    X(3, !(f & STATUS_C), "nc", __VA_ARGS__)                                                       \
    X(4, (f & STATUS_Z), "z", __VA_ARGS__)                                                         \
    X(5, !(f & STATUS_Z), "nz", __VA_ARGS__)                                                       \
    X(6, (f & (STATUS_C | STATUS_Z)), "be", __VA_ARGS__)                                           \
    X(7, !(f & (STATUS_C | STATUS_Z)), "a", __VA_ARGS__)                                           \
    X(8, (f & STATUS_S), "s", __VA_ARGS__)                                                         \
    X(9, !(f & STATUS_S), "ns", __VA_ARGS__)                                                       \
    X(10, (f & STATUS_P), "p", __VA_ARGS__)                                                        \
    X(11, !(f & STATUS_P), "np", __VA_ARGS__)                                                      \
    X(12, STATUS_LESS(f), "l", __VA_ARGS__)                                                        \
    X(13, !STATUS_LESS(f), "ge", __VA_ARGS__)                                                      \
    X(14, (STATUS_LESS(f) || f & STATUS_Z), "le", __VA_ARGS__)                                     \
    X(15, !(STATUS_LESS(f) || f & STATUS_Z), "g", __VA_ARGS__)

#define RAISE_UD cpu_raise(cpu, insn, VECTOR_UD)
#define RAISE_GP cpu_raise_error(cpu, insn, VECTOR_GP, 0)

#endif
