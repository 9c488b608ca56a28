/*
 * Memory operands of handlers: effective addresses, loads, stores and read-modify-writes. The
 * fast paths are inline. The slow ones are called by an asm that the compiler does not take for a
 * call: the stubs of operands.c keep every register, so that a handler needs no stack frame. That
 * is why handlers are compiled without a red zone and without vector registers.
 */
#ifndef TSVM_PVM_OPERANDS_H
#define TSVM_PVM_OPERANDS_H

#include "tlb.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/*
 * How a memory operand's address is made. Each handler with one exists for all three, and is
 * named with this suffix: `general` has everything; `plain` is base and displacement only, the
 * most frequent; `narrow` wraps at 32 bits, for compat mode and address-size prefixes.
 */
#define ADDRESSINGS(X, ...) X(general, __VA_ARGS__) X(plain, __VA_ARGS__) X(narrow, __VA_ARGS__)

static inline uint64_t address_general(const struct cpu *cpu, const struct insn *insn)
{
    return CPU_REG(const uint64_t, cpu, insn->base) +
           (CPU_REG(const uint64_t, cpu, insn->index) << (insn->scale & 3)) +
           (uint64_t)(int64_t)insn->displacement + cpu->segment_base[insn->scale >> 4];
}

static inline uint64_t address_plain(const struct cpu *cpu, const struct insn *insn)
{
    return CPU_REG(const uint64_t, cpu, insn->base) + (uint64_t)(int64_t)insn->displacement;
}

static inline uint64_t address_narrow(const struct cpu *cpu, const struct insn *insn)
{
    return (uint32_t)address_general(cpu, insn);
}

/* What the suffix says about a sum that is made of such an address. */
#define wrap_general(va) (va)
#define wrap_plain(va) (va)
#define wrap_narrow(va) ((uint32_t)(va))

static inline uint64_t operand_load_slow(struct cpu *cpu, struct insn *insn, uint64_t va,
                                         unsigned size)
{
    uint64_t value;
    asm volatile("call operand_load_stub"
                 : "=a"(value)
                 : "D"(cpu), "S"(insn), "d"(va), "c"(size)
                 : "memory", "cc");
    return value;
}

static inline void operand_store_slow(struct cpu *cpu, struct insn *insn, uint64_t va,
                                      unsigned size, uint64_t value)
{
    register uint64_t value_ asm("r8") = value;
    uint64_t ignored;
    asm volatile("call operand_store_stub"
                 : "=a"(ignored)
                 : "D"(cpu), "S"(insn), "d"(va), "c"(size), "r"(value_)
                 : "memory", "cc");
}

/*
 * Host address of [va, va + size) for a read-modify-write, or NULL where it must be made of a load
 * and a store (or a compare-exchange). All that a write raises was raised.
 */
static inline void *operand_modify(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    void *place = tlb_write(cpu, va, size);
    if (unlikely(!place))
        asm volatile("call operand_modify_stub"
                     : "=a"(place)
                     : "D"(cpu), "S"(insn), "d"(va), "c"(size)
                     : "memory", "cc");
    return place;
}

/* The same for a locked operation: NULL too where it would lie in two cache lines. */
static inline void *operand_modify_locked(struct cpu *cpu, struct insn *insn, uint64_t va,
                                          unsigned size)
{
    void *place = size > 1 && tlb_is_split(va, size) ? (void *)0 : tlb_write(cpu, va, size);
    if (unlikely(!place))
        asm volatile("call operand_modify_locked_stub"
                     : "=a"(place)
                     : "D"(cpu), "S"(insn), "d"(va), "c"(size)
                     : "memory", "cc");
    return place;
}

/* Raises what a load of the byte would, and loads nothing. */
void operand_touch(struct cpu *cpu, struct insn *insn, uint64_t va);

static inline uint64_t operand_exchange_slow(struct cpu *cpu, struct insn *insn, uint64_t va,
                                             unsigned size, uint64_t value)
{
    register uint64_t value_ asm("r8") = value;
    uint64_t old;
    asm volatile("call operand_exchange_stub"
                 : "=a"(old)
                 : "D"(cpu), "S"(insn), "d"(va), "c"(size), "r"(value_)
                 : "memory", "cc");
    return old;
}

/* Stores `value` if `expected` is there. Returns what was. */
static inline uint64_t operand_compare_exchange_slow(struct cpu *cpu, struct insn *insn,
                                                     uint64_t va, unsigned size, uint64_t expected,
                                                     uint64_t value)
{
    register uint64_t expected_ asm("r8") = expected;
    register uint64_t value_ asm("r9") = value;
    uint64_t old;
    asm volatile("call operand_compare_exchange_stub"
                 : "=a"(old)
                 : "D"(cpu), "S"(insn), "d"(va), "c"(size), "r"(expected_), "r"(value_)
                 : "memory", "cc");
    return old;
}

/* volatile: one access of the full width each, in program order, as other vCPUs may watch. */
#define DEFINE_ACCESS(type, bits)                                                                  \
    typedef type __attribute__((aligned(1), may_alias)) unaligned_##bits;                          \
    static inline type load##bits(struct cpu *cpu, struct insn *insn, uint64_t va)                 \
    {                                                                                              \
        void *place = tlb_read(cpu, va, sizeof(type));                                             \
        return likely(place) ? *(volatile unaligned_##bits *)place                                 \
                             : (type)operand_load_slow(cpu, insn, va, sizeof(type));               \
    }                                                                                              \
    static inline void store##bits(struct cpu *cpu, struct insn *insn, uint64_t va, type value)    \
    {                                                                                              \
        void *place = tlb_write(cpu, va, sizeof(type));                                            \
        if (likely(place))                                                                         \
            *(volatile unaligned_##bits *)place = value;                                           \
        else                                                                                       \
            operand_store_slow(cpu, insn, va, sizeof(type), value);                                \
    }

DEFINE_ACCESS(uint8_t, 8)
DEFINE_ACCESS(uint16_t, 16)
DEFINE_ACCESS(uint32_t, 32)
DEFINE_ACCESS(uint64_t, 64)

#endif
