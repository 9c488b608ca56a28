/* Slow paths of memory operands, and the stubs through which handlers call them. */
#include "operands.h"

#include <stddef.h>

#include "access.h"
#include "arch.h"
#include "walk.h"

uint64_t operand_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void operand_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value);
void *operand_place(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
void *operand_place_locked(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size);
uint64_t operand_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                          uint64_t value);
uint64_t operand_compare_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                  uint64_t expected, uint64_t value);

/*
 * A non-canonical address in the stack segment raises #SS, others #GP (SDM 1 3.3.7.1), and so does
 * one beyond the limit of 4 GiB in compat mode. RSP and RBP as a base choose the stack segment; the
 * decoder names RSP as the base of PUSH and the like.
 */
static void check_address(struct cpu *cpu, const struct insn *insn, uint64_t va, unsigned size)
{
    uint64_t last = va + size - 1;
    bool in_segment = !cpu->compat || last <= UINT32_MAX || insn->scale >> 4 != 0;
    if (likely(walk_is_canonical(cpu, va) && walk_is_canonical(cpu, last) && in_segment))
        return;
    bool stack = (insn->base == REG_RSP * 8 || insn->base == REG_RBP * 8) && insn->scale >> 4 == 0;
    cpu_raise_error(cpu, insn, stack ? VECTOR_SS : VECTOR_GP, 0);
}

uint64_t operand_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    check_address(cpu, insn, va, size);
    return access_load(cpu, insn, va, size);
}

void operand_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value)
{
    check_address(cpu, insn, va, size);
    access_store(cpu, insn, va, size, value);
}

void *operand_place(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    check_address(cpu, insn, va, size);
    void *place = access_host_page(cpu, insn, va, true);
    if (likely((va & PAGE_OFFSET) + size <= PAGE_SIZE))
        return place;
    access_host_page(cpu, insn, (va | PAGE_OFFSET) + 1, true);
    return NULL;
}

void *operand_place_locked(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    void *place = operand_place(cpu, insn, va, size);
    return tlb_is_split(va, size) ? NULL : place;
}

void operand_touch(struct cpu *cpu, struct insn *insn, uint64_t va)
{
    check_address(cpu, insn, va, 1);
    access_host_page(cpu, insn, va, false);
}

uint64_t operand_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                          uint64_t value)
{
    return access_exchange(cpu, insn, va, size, value);
}

uint64_t operand_compare_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                  uint64_t expected, uint64_t value)
{
    return access_compare_exchange(cpu, insn, va, size, expected, value);
}

/* A stub keeps all registers but RAX, and aligns the stack, which the callers do not. */
#define STUB(name, function)                                                                       \
    asm(".pushsection .text\n"                                                                     \
        ".hidden " name "\n"                                                                       \
        ".globl " name "\n"                                                                        \
        ".type " name ", @function\n" name ":\n"                                                   \
        "    push %rbp\n"                                                                          \
        "    mov %rsp, %rbp\n"                                                                     \
        "    push %rdi\n"                                                                          \
        "    push %rsi\n"                                                                          \
        "    push %rdx\n"                                                                          \
        "    push %rcx\n"                                                                          \
        "    push %r8\n"                                                                           \
        "    push %r9\n"                                                                           \
        "    push %r10\n"                                                                          \
        "    push %r11\n"                                                                          \
        "    and $-16, %rsp\n"                                                                     \
        "    call " function "\n"                                                                  \
        "    lea -64(%rbp), %rsp\n"                                                                \
        "    pop %r11\n"                                                                           \
        "    pop %r10\n"                                                                           \
        "    pop %r9\n"                                                                            \
        "    pop %r8\n"                                                                            \
        "    pop %rcx\n"                                                                           \
        "    pop %rdx\n"                                                                           \
        "    pop %rsi\n"                                                                           \
        "    pop %rdi\n"                                                                           \
        "    pop %rbp\n"                                                                           \
        "    ret\n"                                                                                \
        ".size " name ", .-" name "\n"                                                             \
        ".popsection\n")

STUB("operand_load_stub", "operand_load");
STUB("operand_store_stub", "operand_store");
STUB("operand_modify_stub", "operand_place");
STUB("operand_modify_locked_stub", "operand_place_locked");
STUB("operand_exchange_stub", "operand_exchange");
STUB("operand_compare_exchange_stub", "operand_compare_exchange");
