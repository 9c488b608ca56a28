/* Declarations shared by the parts of the decoder; its entry point is in decode.h. */
#ifndef TSVM_PVM_DECODE_INTERNAL_H
#define TSVM_PVM_DECODE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"
#include "ops.h"

/* An instruction that is being decoded. */
struct decoding {
    const uint8_t *bytes;
    unsigned at;    /* bytes consumed */
    unsigned limit; /* available bytes, at most 15 */
    bool truncated; /* it needs more bytes */
    bool too_long;  /* it has more than 15 bytes */
    enum decode_mode mode;

    uint8_t rex;
    bool operand16; /* 66 */
    bool address;   /* 67 */
    bool lock;      /* F0 */
    uint8_t repeat; /* F2 or F3, the last of them; 0 */
    uint8_t segment;

    uint8_t opcode; /* its last byte */
    uint8_t size;   /* of operands: log2 of bytes */
    uint8_t mod;
    uint8_t reg; /* with REX.R, as rm with REX.B */
    uint8_t rm;
    bool memory;
    bool rip_relative;
    bool unsupported; /* a form that is left to KVM */
    enum addressing addressing;
    bool ends; /* execution never continues with the next instruction */
};

#define INSN_BYTES_MAX 15u

/* Bases of an operand other than registers; fit in a byte. */
#define CPU_SEGMENT_BASE_OFFSET offsetof(struct cpu, segment_base)
_Static_assert(CPU_SEGMENT_BASE_OFFSET + CPU_SEGMENT_BASES * 8 <= UINT8_MAX, "insn.base");

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

/* Chooses the handler and fills the fields that it uses; NULL: not supported. */
typedef insn_handler *opcode_select(struct decoding *d, struct insn *insn);

/* Properties of an opcode: a set of flags, with at most one immediate. */
enum opcode_trait {
    MODRM = 1 << 0,
    BYTE = 1 << 1,     /* 8-bit operands */
    LOCKABLE = 1 << 2, /* LOCK is valid where ModRM names memory */
    ENDS = 1 << 3,     /* execution never continues with the next instruction */
    ONLY_64 = 1 << 4,  /* #UD in compat mode */
    NOT_64 = 1 << 5,   /* #UD in 64-bit mode */
    IMM_8 = 1 << 6,    /* sign-extended */
    IMM_16 = 1 << 7,
    IMM_Z = 1 << 8,  /* 16 or 32 bits, sign-extended */
    IMM_V = 1 << 9,  /* 16, 32 or 64 bits */
    NEAR = 1 << 10,  /* a near branch: other operand sizes than the mode's own are left to KVM */
    REL_8 = 1 << 11, /* and its distance */
    REL_Z = 1 << 12,
};

struct opcode {
    opcode_select *select; /* NULL: not of the integer instruction set */
    uint16_t traits;
};

extern const struct opcode opcodes_one_byte[256];
extern const struct opcode opcodes_0f[256];
/*
 * Chooses among the few of maps 0F38 and VEX that are supported; `d->at` is after the map's bytes.
 */
insn_handler *decode_0f38(struct decoding *d, struct insn *insn);
/* `escape` is C4 or C5. */
insn_handler *decode_vex(struct decoding *d, struct insn *insn, uint8_t escape);

/* Records that the instruction needs more bytes. Returns 0. */
uint8_t decode_no_byte(struct decoding *d);

static inline uint8_t decode_byte(struct decoding *d)
{
    return __builtin_expect(d->at < d->limit, 1) ? d->bytes[d->at++] : decode_no_byte(d);
}

/* The next byte, 0 if there is none; does not consume it. */
static inline uint8_t decode_peek(const struct decoding *d)
{
    return d->at < d->limit ? d->bytes[d->at] : 0;
}

/* A little-endian number of 1, 2, 4 or 8 bytes, sign-extended. */
int64_t decode_immediate(struct decoding *d, unsigned bytes);
void decode_modrm(struct decoding *d, struct insn *insn);

/*
 * Offset of a register in struct cpu. `size`: log2 of bytes. Without REX, 4 to 7 are AH, CH, DH,
 * BH.
 */
static inline uint8_t decode_register(const struct decoding *d, unsigned number, unsigned size)
{
    bool high = size == 0 && !d->rex && (number & ~3u) == 4;
    return (uint8_t)(high ? (number - 4) * 8 + 1 : number * 8);
}

/* Sets insn->reg and ->rm to registers of these sizes. */
static inline void decode_operands(const struct decoding *d, struct insn *insn, unsigned reg_size,
                                   unsigned rm_size)
{
    insn->reg = decode_register(d, d->reg, reg_size);
    insn->rm = decode_register(d, d->rm, rm_size);
}

static inline bool is_64(const struct decoding *d)
{
    return d->mode == DECODE_64;
}

static inline unsigned mode_index(const struct decoding *d)
{
    return is_64(d) ? 0 : 1;
}

static inline enum stack_form stack_form(const struct decoding *d)
{
    if (is_64(d))
        return d->size == 1 ? STACK_WIDE16 : STACK_WIDE64;
    return d->size == 1 ? STACK_NARROW16 : STACK_NARROW32;
}

/* The register in the low bits of the opcode. */
static inline unsigned opcode_register(const struct decoding *d)
{
    return (d->opcode & 7) | (d->rex & REX_B ? 8 : 0);
}

#endif
