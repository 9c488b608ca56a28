/* Runs short pieces of code in the guest of engine_guest.h and checks how they end. */
#ifndef TSVM_TEST_ENGINE_CODE_H
#define TSVM_TEST_ENGINE_CODE_H

#include "../../src/pvm/interpret.h"
#include "../check.h"
#include "engine_guest.h"

#define KERNEL_CODE (GUEST_CODE + 0x800)
#define USER_CODE (GUEST_USER + KERNEL_CODE)

static struct guest guest;
static struct cpu *cpu = &guest.cpu;

/* Stores code at the RIP for this privilege level and mode, and sets registers to defaults. */
static inline void set_code(unsigned cpl, bool compat, const char *bytes, unsigned length)
{
    guest_reset(&guest, cpl, compat);
    memset(guest.ram + GUEST_CODE, 0xf4, GUEST_CODE_BYTES);
    memcpy(guest.ram + KERNEL_CODE, bytes, length);
    memset(cpu->r, 0, 16 * 8);
    cpu->r[REG_RSP] = cpl == 3 ? GUEST_USER + GUEST_STACK - 64 : GUEST_STACK - 64;
    cpu->rip = cpl == 3 ? USER_CODE : KERNEL_CODE;
    cpu->budget = 1000;
}
#define CODE(cpl, compat, bytes) set_code(cpl, compat, bytes, sizeof(bytes) - 1)

static inline uint64_t word_at(uint64_t gpa)
{
    uint64_t word;
    memcpy(&word, guest.ram + gpa, 8);
    return word;
}

static inline void put_word(uint64_t gpa, uint64_t word)
{
    memcpy(guest.ram + gpa, &word, 8);
}

/* Whether the code raises an exception at its offset `at`. */
static inline bool raises(unsigned vector, uint32_t error, unsigned at)
{
    enum interpreted why = interpret(cpu);
    return why == INTERPRETED_EXCEPTION && cpu->exception.vector == vector &&
           cpu->exception.error == error && !cpu->exception.software &&
           (cpu->rip & PAGE_OFFSET) == 0x800 + at;
}

/* Whether the code runs to the HLT after it. */
static inline bool halts(unsigned length)
{
    return interpret(cpu) == INTERPRETED_HALT && cpu->rip == KERNEL_CODE + length + 1;
}

#endif
