/* Instructions of the host, written one by one. */
#ifndef TSVM_PVM_TRANSLATE_HOST_H
#define TSVM_PVM_TRANSLATE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In the processor's numbering, as the guest's in cpu.h. */
enum host {
    HOST_RAX,
    HOST_RCX,
    HOST_RDX,
    HOST_RBX,
    HOST_RSP,
    HOST_RBP,
    HOST_RSI,
    HOST_RDI,
    HOST_R8,
    HOST_R9,
    HOST_R10,
    HOST_R11,
    HOST_R12,
    HOST_R13,
    HOST_R14,
    HOST_R15,
    HOST_NONE,
};

/* Code is written at `at`, and executed `distance` from there; nothing is written from `end` on. */
struct code_writer {
    uint8_t *at;
    uint8_t *end;
    ptrdiff_t distance;
    bool full;
};

/* Operand sizes, as log2 of bytes. */
enum { SIZE_8, SIZE_16, SIZE_32, SIZE_64 };

/* A ModRM operand: a register, or memory at base + index * 2^scale + displacement. */
struct operand {
    enum host base; /* or the register */
    enum host index;
    uint8_t scale;
    bool memory;
    int32_t displacement;
};

static inline struct operand in_register(enum host reg)
{
    return (struct operand){.base = reg, .index = HOST_NONE};
}

static inline struct operand in_memory(enum host base, int32_t displacement)
{
    return (struct operand){
        .base = base, .index = HOST_NONE, .memory = true, .displacement = displacement};
}

static inline void write_bytes(struct code_writer *w, const void *bytes, size_t length)
{
    if ((size_t)(w->end - w->at) < length) {
        w->full = true;
        return;
    }
    memcpy(w->at, bytes, length);
    w->at += length;
}

static inline void write_byte(struct code_writer *w, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    write_bytes(w, &value, 1);
}

static inline void write_number(struct code_writer *w, int64_t number, size_t bytes)
{
    write_bytes(w, &number, bytes);
}

/* The sign-extended immediate of an operand of this size. */
static inline void write_immediate(struct code_writer *w, unsigned size, int64_t number)
{
    write_number(w, number, size == SIZE_64 ? 4 : 1u << size);
}

/* `opcode`: of one byte, or of two, 0Fxx. `reg`: a register's number, or the opcode's extension. */
void host_emit(struct code_writer *w, unsigned size, unsigned opcode, unsigned reg,
               struct operand rm);
/* The same after a byte of prefix. */
void host_emit_prefixed(struct code_writer *w, uint8_t prefix, unsigned size, unsigned opcode,
                        unsigned reg, struct operand rm);
/* A VEX prefix (SDM 2A 2.3.5) with the opcode: `prefix` and `map` as it has them. */
struct host_vex {
    uint8_t map;
    uint8_t prefix;
    uint8_t opcode;
    enum host vvvv;
};
/* SIZE_32 or SIZE_64, of general registers. */
void host_emit_vex(struct code_writer *w, unsigned size, const struct host_vex *vex, unsigned reg,
                   struct operand rm);
/* The same as host_emit() with RIP-relative memory. */
void host_emit_near(struct code_writer *w, unsigned size, unsigned opcode, unsigned reg,
                    const void *memory);
/* Loads the number, and keeps the flags. */
void host_load_number(struct code_writer *w, enum host reg, uint64_t number);

/* Opcodes of operands that are wider than a byte; one less for bytes. */
#define OPCODE_MOV_LOAD 0x8b
#define OPCODE_MOV_STORE 0x89
#define OPCODE_LEA 0x8d

static inline unsigned opcode_of_size(unsigned opcode, unsigned size)
{
    return size == SIZE_8 ? opcode - 1 : opcode;
}

static inline void host_load(struct code_writer *w, unsigned size, enum host reg, struct operand rm)
{
    host_emit(w, size, opcode_of_size(OPCODE_MOV_LOAD, size), reg, rm);
}

static inline void host_store(struct code_writer *w, unsigned size, struct operand rm,
                              enum host reg)
{
    host_emit(w, size, opcode_of_size(OPCODE_MOV_STORE, size), reg, rm);
}

static inline void host_lea(struct code_writer *w, unsigned size, enum host reg, struct operand rm)
{
    host_emit(w, size, OPCODE_LEA, reg, rm);
}

/* ADD, OR, ADC, SBB, AND, SUB, XOR, CMP with a number of 32 bits: `operation` is 0 to 7. */
void host_alu_number(struct code_writer *w, unsigned size, unsigned operation, struct operand rm,
                     int32_t number);
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* A jump of 32 bits, taken on a condition, that host_set_target() completes. Returns its place. */
uint8_t *host_jump_if(struct code_writer *w, unsigned condition);
uint8_t *host_jump(struct code_writer *w);
/* The same of 8 bits, for host_set_near_target(): a target less than 128 bytes on. */
uint8_t *host_jump_near_if(struct code_writer *w, unsigned condition);
static inline void host_set_near_target(uint8_t *jump, const uint8_t *target)
{
    *jump = (uint8_t)(target - (jump + 1));
}
static inline void host_set_target(uint8_t *jump, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (jump + 4));
    memcpy(jump, &distance, 4);
}

#endif
