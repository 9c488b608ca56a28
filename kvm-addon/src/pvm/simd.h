/*
 * Vector and x87 instructions that the host's own processor executes on the guest's
 * state: a *stub*, generated code that loads the registers that the instruction names, runs it
 * with its memory operand at a host address that was checked, and stores what it wrote.
 *
 * The table (simd_rows_*.c) lists every instruction that may become a stub, with the exact size of
 * its memory operand; nothing else is ever generated. A stub is made of a key, which the decoder
 * puts together from the table and the instruction's fields, never of the guest's bytes.
 */
#ifndef TSVM_PVM_SIMD_H
#define TSVM_PVM_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "insn.h"

struct cpu_fpu;

enum simd_encoding { SIMD_LEGACY, SIMD_VEX, SIMD_EVEX, SIMD_X87, SIMD_ENCODINGS = 3 };

/* Mandatory prefixes and opcode maps, numbered as in VEX. */
enum simd_prefix { SIMD_NP, SIMD_66, SIMD_F3, SIMD_F2, SIMD_PREFIXES };
enum simd_map { SIMD_0F = 1, SIMD_0F38, SIMD_0F3A, SIMD_MAPS };

/* What an operand field of an instruction names. */
enum simd_operand {
    SIMD_NONE,
    SIMD_VECTOR,
    SIMD_GENERAL,
    SIMD_MMX,
    SIMD_OPMASK,
};

/* Which operands an instruction writes; a set. */
enum simd_target { SIMD_TO_REG = 1, SIMD_TO_RM = 2, SIMD_TO_VVVV = 4 };

/* Bytes of the memory operand; of the vector length where it says so. */
enum simd_memory {
    SIMD_NO_MEMORY, /* the operand is a register */
    SIMD_B1,
    SIMD_B2,
    SIMD_B4,
    SIMD_B8,
    SIMD_B16,
    SIMD_B32,
    SIMD_FULL,
    SIMD_HALF,
    SIMD_QUARTER,
    SIMD_EIGHTH,
    SIMD_DUP,     /* MOVDDUP: 8 at 128 bits, else the vector */
    SIMD_OPERAND, /* 4 or 8 by W */
};

enum simd_flag {
    SIMD_FP = 1 << 0,         /* uses MXCSR */
    SIMD_SETS_FLAGS = 1 << 1, /* status flags of RFLAGS */
    SIMD_USES_FLAGS = 1 << 2,
    SIMD_IMMEDIATE = 1 << 3,
    SIMD_UNALIGNED = 1 << 4, /* legacy: no alignment check of a 16-byte operand */
    SIMD_ALIGNED = 1 << 5,   /* alignment check in all encodings */
    SIMD_MEMORY_ONLY = 1 << 6,
    SIMD_WIDTH = 1 << 7,               /* W is the size of general registers */
    SIMD_XMM0 = 1 << 8,                /* reads XMM0 */
    SIMD_STRINGS = 1 << 9,             /* PCMPxSTRx: RAX, RDX; XMM0 or RCX */
    SIMD_IMMEDIATE_REGISTER = 1 << 11, /* bits 4 to 7 of the immediate are a vector register */
    SIMD_VECTOR_MASK = 1 << 12,        /* memory is masked by sign bits in vvvv (VMASKMOV) */
    SIMD_X87_STATE = 1 << 13,          /* MMX */
    SIMD_X87_POINTERS = 1 << 14,       /* an x87 instruction that sets FIP, FDP and FOP */
    SIMD_X87_WAITS = 1 << 15,          /* #MF when an exception is pending */
};
_Static_assert(SIMD_X87_WAITS <= UINT16_MAX, "flags have 16 bits");

enum simd_w { SIMD_WIG, SIMD_W0, SIMD_W1, SIMD_WB /* both; kept */ };

/* Processor features. Rows name one for each encoding; SIMD_ABSENT: not in this encoding. */
enum simd_feature {
    SIMD_ABSENT,
    SIMD_SSE,
    SIMD_SSE2,
    SIMD_SSE3,
    SIMD_SSSE3,
    SIMD_SSE41,
    SIMD_SSE42,
    SIMD_AES,
    SIMD_PCLMUL,
    SIMD_SHA,
    SIMD_GFNI,
    SIMD_AVX,
    SIMD_AVX2,
    SIMD_F16C,
    SIMD_FMA,
    SIMD_VEX_AES,
    SIMD_VEX_PCLMUL,
    SIMD_VEX_GFNI,
    SIMD_VAES,
    SIMD_VPCLMUL,
    SIMD_AVX_VNNI,
    SIMD_AVX512, /* F, BW, DQ, VL and CD, or none of it */
    SIMD_IFMA,
    SIMD_VBMI,
    SIMD_VBMI2,
    SIMD_VNNI,
    SIMD_BITALG,
    SIMD_VPOPCNTDQ,
    SIMD_BF16,
    SIMD_EVEX_GFNI,
    SIMD_EVEX_AES,
    SIMD_EVEX_PCLMUL,
    SIMD_FEATURES,
};

enum simd_evex_flag {
    EVEX_BROADCAST = 1 << 0, /* of 4 or 8 bytes by W */
    EVEX_ROUNDING = 1 << 1,  /* embedded rounding: all exceptions suppressed */
    EVEX_SAE = 1 << 2,
    EVEX_NO_128 = 1 << 3,
    EVEX_NO_256 = 1 << 4,
    EVEX_NO_512 = 1 << 5,
    EVEX_SCALAR = 1 << 6, /* the vector length is ignored; masks have one bit */
};
/* `element` of EVEX: bytes of the vector for each mask bit; by W; 0: no masks. */
#define SIMD_BY_W 0xff

struct simd_row {
    uint8_t map;
    uint8_t prefix;
    uint8_t first, last;   /* opcodes */
    uint8_t extension;     /* ModRM.reg, or SIMD_ANY */
    uint8_t reg, vvvv, rm; /* enum simd_operand; vvvv: VEX and EVEX only */
    uint8_t targets;
    uint8_t memory;
    uint8_t legacy; /* enum simd_feature */
    struct {
        uint8_t feature128, feature256, w;
        bool scalar; /* the vector length is ignored */
    } vex;
    struct {
        uint8_t feature, w, element, flags;
    } evex;
    uint16_t flags;
};
#define SIMD_ANY 0xff

/* The table: a part for each opcode map. */
struct simd_rows {
    const struct simd_row *rows;
    unsigned count;
};
extern const struct simd_rows simd_rows_0f, simd_rows_0f38, simd_rows_0f3a;

/* Rows are named by their part and their place in it: numbers below SIMD_ROW_NUMBERS. */
#define SIMD_PART_ROWS 512
#define SIMD_ROW_NUMBERS (SIMD_MAPS * SIMD_PART_ROWS)
const struct simd_rows *simd_part(unsigned map);
static inline unsigned simd_row_number(unsigned map, unsigned place)
{
    return map * SIMD_PART_ROWS + place;
}
static inline const struct simd_row *simd_row(unsigned number)
{
    return &simd_part(number / SIMD_PART_ROWS)->rows[number % SIMD_PART_ROWS];
}

void simd_table_init(void);
bool simd_has_feature(enum simd_feature feature);
bool simd_row_has_encoding(const struct simd_row *row, enum simd_encoding encoding);

/* Rows of one opcode that this host can execute: the first, and the next after `row`; -1: none. */
int simd_first_row(enum simd_encoding encoding, unsigned map, unsigned prefix, unsigned opcode);
int simd_next_row(enum simd_encoding encoding, int row, unsigned prefix, unsigned opcode);

/* An instruction, as the decoder found it in the table. */
union simd_key {
    uint64_t bits;
    struct {
        uint64_t row : 11;
        uint64_t encoding : 2;
        uint64_t opcode : 8;
        uint64_t reg : 5;
        uint64_t rm : 5;
        uint64_t memory : 1;
        uint64_t vvvv : 5;
        uint64_t w : 1;
        uint64_t length : 2; /* EVEX: L'L, or the rounding mode */
        uint64_t b : 1;      /* EVEX.b */
        uint64_t zeroing : 1;
        uint64_t mask : 3;
        uint64_t immediate : 8; /* x87: the ModRM byte */
        uint64_t used : 1;      /* set in every key: 0 is none */
    };
};

/* What a stub needs and does, derived from its key alone. */
struct simd_form {
    uint8_t bytes;     /* of the memory operand; 0: none */
    uint8_t alignment; /* that it must have, less 1 */
    bool stores;       /* to the memory operand */
    bool changes_fpu;
    uint16_t flags; /* enum simd_flag */
    /* CR0 bits that must be clear; CR4 and XCR0 bits that must be set. */
    uint16_t cr0_clear;
    uint32_t cr4_set;
    uint32_t xcr0_set;
    /*
     * Memory elements that a mask leaves out are not accessed. More elements than bytes: it is a
     * broadcast of one, which is not accessed when the mask is empty.
     */
    uint8_t masked_elements; /* 0: no mask */
    uint8_t mask_register;
};

/* A stub; see simd_emit.c for its arguments. */
typedef void simd_code(struct cpu *cpu, void *memory, struct cpu_fpu *fpu);
struct simd_stub {
    union simd_key key;
    simd_code *code;
    struct simd_form form;
};

/* `mask_register` is a vector register, whose elements' sign bits are the mask. */
#define SIMD_VECTOR_MASK_REGISTER 0x80

#define SIMD_STUB_MAX 256 /* bytes of code */

void simd_describe(union simd_key key, struct simd_form *form);
/* Writes a stub's code; returns its length, at most SIMD_STUB_MAX. */
unsigned simd_emit(union simd_key key, uint8_t *code);

/* EMMS, which has no row: the opcode in an x87 key. */
#define SIMD_X87_EMMS 0x77

/* Bytes of an x87 instruction's memory operand; 0: undefined, or executed otherwise. */
struct simd_x87 {
    uint8_t bytes;
    bool stores;
    bool is_valid;
    uint16_t flags;
};
struct simd_x87 simd_x87_describe(unsigned opcode, unsigned modrm);

/* A vCPU's stubs: bounded, dropped all at once when it is full. NULL: no executable memory. */
struct simd_arena;
struct simd_arena *simd_arena_create(void);
void simd_arena_destroy(struct simd_arena *arena);
/* Bytes of memory, at most. */
uint64_t simd_arena_size(void);
/* The stub at index `hint` if it is the key's, else another that was there or is made now. */
const struct simd_stub *simd_arena_find(struct simd_arena *arena, union simd_key key,
                                        uint32_t *hint);
const struct simd_stub *simd_arena_at(const struct simd_arena *arena, uint32_t index);

/* Handlers (ops_simd.c); narrow: 32-bit addresses. */
extern insn_handler *const simd_register;
extern insn_handler *const simd_load[2], *const simd_store[2]; /* [narrow] */
extern insn_handler *const simd_operation[2];                  /* executed by fpu_execute() */

/*
 * Decodes an instruction of the FPU, MMX, SSE, AVX, AVX-512, BMI and ADX families, CRC32, the
 * FXSAVE and XSAVE families, XGETBV and XSETBV; arguments as decode()'s, `bytes` start at the first
 * prefix. Returns its length, 0 when it needs more bytes than `available`, or -1 for none of these
 * (or one that only a processor can execute: leave it to KVM). Fills all of `insn` but its ordinal.
 */
int simd_decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn);

#endif
