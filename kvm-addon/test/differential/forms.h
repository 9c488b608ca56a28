/* The instructions of which the generator makes programs. */
#ifndef TSVM_TEST_FORMS_H
#define TSVM_TEST_FORMS_H

#include <stdint.h>

#define CF 0x001u
#define PF 0x004u
#define AF 0x010u
#define ZF 0x040u
#define SF 0x080u
#define OF 0x800u
#define STATUS_FLAGS (CF | PF | AF | ZF | SF | OF)

#define RAX (1u << 0)
#define RCX (1u << 1)
#define RDX (1u << 2)
#define RBX (1u << 3)
#define RSP (1u << 4)
#define RBP (1u << 5)
#define RSI (1u << 6)
#define RDI (1u << 7)

enum form_trait {
    MODRM = 1 << 0,
    REG_ONLY = 1 << 1, /* ModRM names a register */
    MEM_ONLY = 1 << 2,
    BYTE = 1 << 3,     /* 8-bit operands */
    LOCKABLE = 1 << 4, /* with a memory operand */
    IMM_8 = 1 << 5,
    IMM_16 = 1 << 6,
    IMM_Z = 1 << 7,
    IMM_V = 1 << 8,
    ONLY_64 = 1 << 9,
    NOT_64 = 1 << 10,
    NO_66 = 1 << 11,        /* no operand-size prefix */
    LOW_REGISTER = 1 << 12, /* the low bits of the opcode are a register */
    PLAIN_SIZE = 1 << 13,   /* neither 66 nor REX.W */
    ALIGN_16 = 1 << 14,     /* mostly aligned */
};

enum form_kind {
    FORM_PLAIN,
    FORM_STACK,      /* uses RSP */
    FORM_STRING,     /* with or without a repeat prefix */
    FORM_JUMP,       /* followed by an 8-bit distance to a later instruction */
    FORM_JUMP_FAR,   /* 32 bits */
    FORM_RETURN,     /* an address of code is pushed before it */
    FORM_INDIRECT,   /* an address of code is loaded into the register before it */
    FORM_POPF,       /* a flags word is pushed before it */
    FORM_DIVIDE,     /* often with an upper half that avoids an overflow */
    FORM_COMPARE,    /* CMPXCHG: the accumulator is often loaded from the operand before it */
    FORM_VEX,        /* `opcode` is in map 0F38 or 0F3A */
    FORM_BIT_OFFSET, /* the register operand extends the reach of a memory operand */
    FORM_LEAVE,      /* RBP points at memory */
};

struct form {
    const char *opcode;
    uint8_t length;
    int8_t reg; /* ModRM.reg, or -1 for any */
    uint8_t kind;
    uint16_t traits;
    uint16_t sets;      /* status flags it defines */
    uint16_t undefined; /* status flags that it may leave undefined */
    uint16_t reads;
    uint8_t clobbers; /* registers that it uses besides those of ModRM */
    uint8_t vex;      /* map << 4 | prefix (0 none, 1 66, 2 F3, 3 F2) */
};

extern const struct form forms[];
extern const unsigned form_count;

#endif
