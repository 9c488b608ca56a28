/* A decoded instruction. */
#ifndef TSVM_PVM_INSN_H
#define TSVM_PVM_INSN_H

#include <stdint.h>

struct cpu;
struct insn;

/* The mode that code is decoded for. */
enum decode_mode { DECODE_64, DECODE_COMPAT32 };

/* Executes `insn` and, by a tail call, the following instructions. Returns with cpu->rip set. */
typedef void insn_handler(struct cpu *cpu, struct insn *insn);

/*
 * Register operands are byte offsets into struct cpu, whose first member is the register file;
 * the decoder alone makes them. 32 bytes, so that two share a cache line.
 */
struct insn {
    insn_handler *handler;
    uint16_t place;  /* bits 0-11: offset in its page; 12-15: length in bytes */
    uint8_t ordinal; /* position in its decoded run: instructions are counted at jumps only */
    uint8_t scale;   /* bits 0-1: scale of the index; 4-5: segment (index of cpu.segment_base) */
    uint8_t reg;     /* register operands */
    uint8_t rm;
    uint8_t base; /* of a memory operand; REG_ZERO's where there is none */
    uint8_t index;
    union {
        int64_t immediate;
        struct insn *target; /* of a jump, while `generation` is the CPU's */
    };
    union {
        int32_t displacement; /* of a memory operand */
        int32_t relative;     /* of a jump: its target's distance from the start of this page */
    };
    uint32_t generation; /* of a jump's `target` */
};

_Static_assert(sizeof(struct insn) == 32, "two to a cache line");

static inline unsigned insn_offset(const struct insn *insn)
{
    return insn->place & 0xfff;
}

static inline unsigned insn_length(const struct insn *insn)
{
    return insn->place >> 12;
}

#endif
