/*
 * MOVS, STOS, LODS, SCAS, CMPS, alone and repeated. A repeated one keeps its state in the registers
 * as the processor does, so that a fault or an order to leave may come between any two elements.
 */
#include <string.h>

#include "access.h"
#include "handlers.h"

/* `mask` is that of the address size: it also applies to the count in RCX. */

ALWAYS_INLINE uint64_t source_address(const struct cpu *cpu, const struct insn *insn, uint64_t mask)
{
    return (cpu->r[REG_RSI] + cpu->segment_base[insn->scale >> 4]) & mask;
}

ALWAYS_INLINE uint64_t target_address(const struct cpu *cpu, uint64_t mask)
{
    return cpu->r[REG_RDI] & mask;
}

ALWAYS_INLINE int64_t string_step(const struct cpu *cpu, unsigned size)
{
    return cpu->rflags & RFLAGS_DF ? -(int64_t)size : (int64_t)size;
}

ALWAYS_INLINE void advance(struct cpu *cpu, enum cpu_register name, int64_t distance, uint64_t mask)
{
    cpu->r[name] = (cpu->r[name] + (uint64_t)distance) & mask;
}

ALWAYS_INLINE uint64_t load_element(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    switch (size) {
    case 1:
        return load8(cpu, insn, va);
    case 2:
        return load16(cpu, insn, va);
    case 4:
        return load32(cpu, insn, va);
    default:
        return load64(cpu, insn, va);
    }
}

ALWAYS_INLINE void store_element(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                 uint64_t value)
{
    switch (size) {
    case 1:
        store8(cpu, insn, va, (uint8_t)value);
        break;
    case 2:
        store16(cpu, insn, va, (uint16_t)value);
        break;
    case 4:
        store32(cpu, insn, va, (uint32_t)value);
        break;
    default:
        store64(cpu, insn, va, value);
    }
}

ALWAYS_INLINE void set_accumulator(struct cpu *cpu, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        SET_REG(uint8_t, REG_RAX * 8, value);
        break;
    case 2:
        SET_REG(uint16_t, REG_RAX * 8, value);
        break;
    case 4:
        SET_REG(uint32_t, REG_RAX * 8, value);
        break;
    default:
        cpu->r[REG_RAX] = value;
    }
}

/* Elements that lie whole in the page of `va`. */
ALWAYS_INLINE uint64_t elements_in_page(uint64_t va, unsigned size)
{
    return (PAGE_SIZE - (va & PAGE_OFFSET)) / size;
}

/* A target that overlaps the source from above repeats its bytes, unlike memmove. */
ALWAYS_INLINE void copy_up(uint8_t *to, const uint8_t *from, uint64_t bytes, unsigned size)
{
    if (to <= from || to >= from + bytes) {
        memmove(to, from, bytes);
        return;
    }
    for (uint64_t done = 0; done < bytes; done += size)
        memmove(to + done, from + done, size);
}

ALWAYS_INLINE void fill(uint8_t *to, uint64_t value, uint64_t count, unsigned size)
{
    if (size == 1 || value == 0) {
        memset(to, (uint8_t)value, count * size);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        memcpy(to + i * size, &value, size);
}

ALWAYS_INLINE void move_element(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    uint64_t value = load_element(cpu, insn, source_address(cpu, insn, mask), size);
    store_element(cpu, insn, target_address(cpu, mask), size, value);
    advance(cpu, REG_RSI, string_step(cpu, size), mask);
    advance(cpu, REG_RDI, string_step(cpu, size), mask);
}

ALWAYS_INLINE void store_accumulator(struct cpu *cpu, struct insn *insn, unsigned size,
                                     uint64_t mask)
{
    store_element(cpu, insn, target_address(cpu, mask), size, cpu->r[REG_RAX]);
    advance(cpu, REG_RDI, string_step(cpu, size), mask);
}

ALWAYS_INLINE void load_accumulator(struct cpu *cpu, struct insn *insn, unsigned size,
                                    uint64_t mask)
{
    uint64_t value = load_element(cpu, insn, source_address(cpu, insn, mask), size);
    set_accumulator(cpu, size, value);
    advance(cpu, REG_RSI, string_step(cpu, size), mask);
}

/* Moves up to a page of elements. Returns how many. */
ALWAYS_INLINE uint64_t move_some(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    uint64_t from = source_address(cpu, insn, mask), to = target_address(cpu, mask);
    uint64_t count = cpu->r[REG_RCX] & mask;
    if (count > elements_in_page(from, size))
        count = elements_in_page(from, size);
    if (count > elements_in_page(to, size))
        count = elements_in_page(to, size);
    if (count > 1 && !(cpu->rflags & RFLAGS_DF)) {
        const uint8_t *source = access_host_page(cpu, insn, from, false);
        uint8_t *target = access_host_page(cpu, insn, to, true);
        if (source && target) {
            copy_up(target, source, count * size, size);
            advance(cpu, REG_RSI, (int64_t)(count * size), mask);
            advance(cpu, REG_RDI, (int64_t)(count * size), mask);
            return count;
        }
    }
    move_element(cpu, insn, size, mask);
    return 1;
}

ALWAYS_INLINE uint64_t store_some(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    uint64_t to = target_address(cpu, mask), count = cpu->r[REG_RCX] & mask;
    if (count > elements_in_page(to, size))
        count = elements_in_page(to, size);
    if (count > 1 && !(cpu->rflags & RFLAGS_DF)) {
        uint8_t *target = access_host_page(cpu, insn, to, true);
        if (target) {
            fill(target, cpu->r[REG_RAX], count, size);
            advance(cpu, REG_RDI, (int64_t)(count * size), mask);
            return count;
        }
    }
    store_accumulator(cpu, insn, size, mask);
    return 1;
}

ALWAYS_INLINE uint64_t load_some(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    load_accumulator(cpu, insn, size, mask);
    return 1;
}

/* Flags of `a - b`, for elements in the low bytes. */
ALWAYS_INLINE void compare(struct cpu *cpu, uint64_t a, uint64_t b, unsigned size)
{
    uint32_t status;
    if (size == 1)
        asm("cmpb %b[b], %b[a]" SAVE_STATUS : "=&a"(status) : [a] "r"(a), [b] "r"(b) : "cc");
    else if (size == 2)
        asm("cmpw %w[b], %w[a]" SAVE_STATUS : "=&a"(status) : [a] "r"(a), [b] "r"(b) : "cc");
    else if (size == 4)
        asm("cmpl %k[b], %k[a]" SAVE_STATUS : "=&a"(status) : [a] "r"(a), [b] "r"(b) : "cc");
    else
        asm("cmpq %[b], %[a]" SAVE_STATUS : "=&a"(status) : [a] "r"(a), [b] "r"(b) : "cc");
    cpu->status = status;
}

ALWAYS_INLINE void scan_element(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    uint64_t value = load_element(cpu, insn, target_address(cpu, mask), size);
    compare(cpu, cpu->r[REG_RAX], value, size);
    advance(cpu, REG_RDI, string_step(cpu, size), mask);
}

ALWAYS_INLINE void compare_element(struct cpu *cpu, struct insn *insn, unsigned size, uint64_t mask)
{
    uint64_t a = load_element(cpu, insn, source_address(cpu, insn, mask), size);
    uint64_t b = load_element(cpu, insn, target_address(cpu, mask), size);
    compare(cpu, a, b, size);
    advance(cpu, REG_RSI, string_step(cpu, size), mask);
    advance(cpu, REG_RDI, string_step(cpu, size), mask);
}

/* The instruction is not complete: it continues after the run loop has handled attention. */
#define LEAVE_UNFINISHED                                                                           \
    do {                                                                                           \
        cpu->executed += insn->ordinal;                                                            \
        cpu->rip = RIP;                                                                            \
        return;                                                                                    \
    } while (0)

#define ONE(name, work, size, mode, mask)                                                          \
    HANDLER(name##size##_##mode)                                                                   \
    {                                                                                              \
        work(cpu, insn, size, mask);                                                               \
        NEXT;                                                                                      \
    }
#define REPEAT(name, work, size, mode, mask)                                                       \
    HANDLER(name##size##_##mode)                                                                   \
    {                                                                                              \
        while ((cpu->r[REG_RCX] & (mask)) != 0) {                                                  \
            uint64_t done = work(cpu, insn, size, mask);                                           \
            advance(cpu, REG_RCX, -(int64_t)done, mask);                                           \
            if (MUST_LEAVE && (cpu->r[REG_RCX] & (mask)) != 0)                                     \
                LEAVE_UNFINISHED;                                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }
/* insn->immediate: the ZF with which it goes on. */
#define REPEAT_WHILE(name, work, size, mode, mask)                                                 \
    HANDLER(name##size##_##mode)                                                                   \
    {                                                                                              \
        while ((cpu->r[REG_RCX] & (mask)) != 0) {                                                  \
            work(cpu, insn, size, mask);                                                           \
            advance(cpu, REG_RCX, -1, mask);                                                       \
            if (!!(cpu->status & STATUS_Z) != insn->immediate)                                     \
                break;                                                                             \
            if (MUST_LEAVE && (cpu->r[REG_RCX] & (mask)) != 0)                                     \
                LEAVE_UNFINISHED;                                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }

#define STRING_SIZES(X, name, work, mode, mask)                                                    \
    X(name, work, 1, mode, mask)                                                                   \
    X(name, work, 2, mode, mask)                                                                   \
    X(name, work, 4, mode, mask)                                                                   \
    X(name, work, 8, mode, mask)
#define STRING_MODE(mode, mask)                                                                    \
    STRING_SIZES(ONE, movs, move_element, mode, mask)                                              \
    STRING_SIZES(ONE, stos, store_accumulator, mode, mask)                                         \
    STRING_SIZES(ONE, lods, load_accumulator, mode, mask)                                          \
    STRING_SIZES(ONE, scas, scan_element, mode, mask)                                              \
    STRING_SIZES(ONE, cmps, compare_element, mode, mask)                                           \
    STRING_SIZES(REPEAT, rep_movs, move_some, mode, mask)                                          \
    STRING_SIZES(REPEAT, rep_stos, store_some, mode, mask)                                         \
    STRING_SIZES(REPEAT, rep_lods, load_some, mode, mask)                                          \
    STRING_SIZES(REPEAT_WHILE, rep_scas, scan_element, mode, mask)                                 \
    STRING_SIZES(REPEAT_WHILE, rep_cmps, compare_element, mode, mask)
STRING_MODE(wide, UINT64_MAX)
STRING_MODE(narrow, UINT32_MAX)

#define STRING_ROW(name, mode)                                                                     \
    {                                                                                              \
        name##1_##mode, name##2_##mode, name##4_##mode, name##8_##mode                             \
    }
#define STRING_ROWS(mode)                                                                          \
    {                                                                                              \
        {STRING_ROW(movs, mode), STRING_ROW(rep_movs, mode)},                                      \
            {STRING_ROW(cmps, mode), STRING_ROW(rep_cmps, mode)},                                  \
            {STRING_ROW(stos, mode), STRING_ROW(rep_stos, mode)},                                  \
            {STRING_ROW(lods, mode), STRING_ROW(rep_lods, mode)},                                  \
        {                                                                                          \
            STRING_ROW(scas, mode), STRING_ROW(rep_scas, mode)                                     \
        }                                                                                          \
    }
insn_handler *const string_operation[2][5][2][4] = {STRING_ROWS(wide), STRING_ROWS(narrow)};
