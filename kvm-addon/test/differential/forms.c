#include "forms.h"

#define LOGIC_SETS (CF | PF | ZF | SF | OF)
#define OP(text) text, sizeof(text) - 1

/* 00-3F; with `locks` if the destination is memory. */
#define ALU(a, b, c, d, e, f, locks, sets, undefined, reads)                                       \
    {OP(a), -1, FORM_PLAIN, MODRM | BYTE | locks, sets, undefined, reads, 0, 0},                   \
        {OP(b), -1, FORM_PLAIN, MODRM | locks, sets, undefined, reads, 0, 0},                      \
        {OP(c), -1, FORM_PLAIN, MODRM | BYTE, sets, undefined, reads, 0, 0},                       \
        {OP(d), -1, FORM_PLAIN, MODRM, sets, undefined, reads, 0, 0},                              \
        {OP(e), -1, FORM_PLAIN, BYTE | IMM_8, sets, undefined, reads, RAX, 0},                     \
    {                                                                                              \
        OP(f), -1, FORM_PLAIN, IMM_Z, sets, undefined, reads, RAX, 0                               \
    }
#define GROUP1(reg, locks, sets, undefined, reads)                                                 \
    {OP("\x80"), reg, FORM_PLAIN, MODRM | BYTE | IMM_8 | locks, sets, undefined, reads, 0, 0},     \
        {OP("\x81"), reg, FORM_PLAIN, MODRM | IMM_Z | locks, sets, undefined, reads, 0, 0},        \
    {                                                                                              \
        OP("\x83"), reg, FORM_PLAIN, MODRM | IMM_8 | locks, sets, undefined, reads, 0, 0           \
    }
/* A count of 0 changes no flags; OF is defined only for 1. */
#define SHIFT(reg, undefined, reads)                                                               \
    {OP("\xc0"), reg, FORM_PLAIN, MODRM | BYTE | IMM_8, 0, undefined, reads, 0, 0},                \
        {OP("\xc1"), reg, FORM_PLAIN, MODRM | IMM_8, 0, undefined, reads, 0, 0},                   \
        {OP("\xd0"), reg, FORM_PLAIN, MODRM | BYTE, 0, (undefined) & ~(OF | CF), reads, 0, 0},     \
        {OP("\xd1"), reg, FORM_PLAIN, MODRM, 0, (undefined) & ~(OF | CF), reads, 0, 0},            \
        {OP("\xd2"), reg, FORM_PLAIN, MODRM | BYTE, 0, undefined, reads, 0, 0},                    \
    {                                                                                              \
        OP("\xd3"), reg, FORM_PLAIN, MODRM, 0, undefined, reads, 0, 0                              \
    }
#define BOTH_SIZES(byte_op, op, reg, kind, traits, sets, undefined, reads, clobbers)               \
    {OP(byte_op), reg, kind, (traits) | BYTE, sets, undefined, reads, clobbers, 0},                \
    {                                                                                              \
        OP(op), reg, kind, traits, sets, undefined, reads, clobbers, 0                             \
    }
#define PLAIN(op, reg, traits, sets, undefined, reads, clobbers)                                   \
    {                                                                                              \
        OP(op), reg, FORM_PLAIN, traits, sets, undefined, reads, clobbers, 0                       \
    }
#define BIT(op, reg, kind, traits)                                                                 \
    {                                                                                              \
        OP(op), reg, kind, MODRM | (traits), CF, OF | SF | AF | PF, 0, 0, 0                        \
    }
#define CONDITIONAL(n, reads) PLAIN("\x0f" #n, -1, MODRM, 0, 0, reads, 0)
#define VEX(op, map, prefix, reg, traits, sets, undefined)                                         \
    {                                                                                              \
        OP(op), reg, FORM_VEX, MODRM | NO_66 | (traits), sets, undefined, 0, 0,                    \
            (map) << 4 | (prefix)                                                                  \
    }
#define STRING(op, sets, reads, clobbers)                                                          \
    {                                                                                              \
        OP(op), -1, FORM_STRING, 0, 0, 0, reads, RCX | (clobbers), 0                               \
    }
/* Condition codes that cover all sixteen tests by their low bits. */
#define CC_FORMS(prefix, first, kind, traits)                                                      \
    {                                                                                              \
        OP(prefix first), -1, kind, traits, 0, 0, STATUS_FLAGS, 0, 0                               \
    }

const struct form forms[] = {
    ALU("\x00", "\x01", "\x02", "\x03", "\x04", "\x05", LOCKABLE, STATUS_FLAGS, 0, 0),
    ALU("\x08", "\x09", "\x0a", "\x0b", "\x0c", "\x0d", LOCKABLE, LOGIC_SETS, AF, 0),
    ALU("\x10", "\x11", "\x12", "\x13", "\x14", "\x15", LOCKABLE, STATUS_FLAGS, 0, CF),
    ALU("\x18", "\x19", "\x1a", "\x1b", "\x1c", "\x1d", LOCKABLE, STATUS_FLAGS, 0, CF),
    ALU("\x20", "\x21", "\x22", "\x23", "\x24", "\x25", LOCKABLE, LOGIC_SETS, AF, 0),
    ALU("\x28", "\x29", "\x2a", "\x2b", "\x2c", "\x2d", LOCKABLE, STATUS_FLAGS, 0, 0),
    ALU("\x30", "\x31", "\x32", "\x33", "\x34", "\x35", LOCKABLE, LOGIC_SETS, AF, 0),
    ALU("\x38", "\x39", "\x3a", "\x3b", "\x3c", "\x3d", 0, STATUS_FLAGS, 0, 0),
    GROUP1(0, LOCKABLE, STATUS_FLAGS, 0, 0),
    GROUP1(1, LOCKABLE, LOGIC_SETS, AF, 0),
    GROUP1(2, LOCKABLE, STATUS_FLAGS, 0, CF),
    GROUP1(3, LOCKABLE, STATUS_FLAGS, 0, CF),
    GROUP1(4, LOCKABLE, LOGIC_SETS, AF, 0),
    GROUP1(5, LOCKABLE, STATUS_FLAGS, 0, 0),
    GROUP1(6, LOCKABLE, LOGIC_SETS, AF, 0),
    GROUP1(7, 0, STATUS_FLAGS, 0, 0),
    BOTH_SIZES("\x84", "\x85", -1, FORM_PLAIN, MODRM, LOGIC_SETS, AF, 0, 0),
    PLAIN("\xa8", -1, BYTE | IMM_8, LOGIC_SETS, AF, 0, 0),
    PLAIN("\xa9", -1, IMM_Z, LOGIC_SETS, AF, 0, 0),
    PLAIN("\xf6", 0, MODRM | BYTE | IMM_8, LOGIC_SETS, AF, 0, 0),
    PLAIN("\xf7", 0, MODRM | IMM_Z, LOGIC_SETS, AF, 0, 0),
    BOTH_SIZES("\xf6", "\xf7", 2, FORM_PLAIN, MODRM | LOCKABLE, 0, 0, 0, 0),
    BOTH_SIZES("\xf6", "\xf7", 3, FORM_PLAIN, MODRM | LOCKABLE, STATUS_FLAGS, 0, 0, 0),
    BOTH_SIZES("\xfe", "\xff", 0, FORM_PLAIN, MODRM | LOCKABLE, STATUS_FLAGS & ~CF, 0, 0, 0),
    BOTH_SIZES("\xfe", "\xff", 1, FORM_PLAIN, MODRM | LOCKABLE, STATUS_FLAGS & ~CF, 0, 0, 0),
    PLAIN("\x40", -1, NOT_64 | LOW_REGISTER, STATUS_FLAGS & ~CF, 0, 0, 0),
    PLAIN("\x48", -1, NOT_64 | LOW_REGISTER, STATUS_FLAGS & ~CF, 0, 0, 0),

    BOTH_SIZES("\xf6", "\xf7", 4, FORM_PLAIN, MODRM, CF | OF, SF | ZF | AF | PF, 0, RAX | RDX),
    BOTH_SIZES("\xf6", "\xf7", 5, FORM_PLAIN, MODRM, CF | OF, SF | ZF | AF | PF, 0, RAX | RDX),
    BOTH_SIZES("\xf6", "\xf7", 6, FORM_DIVIDE, MODRM, 0, STATUS_FLAGS, 0, RAX | RDX),
    BOTH_SIZES("\xf6", "\xf7", 7, FORM_DIVIDE, MODRM, 0, STATUS_FLAGS, 0, RAX | RDX),
    PLAIN("\x0f\xaf", -1, MODRM, CF | OF, SF | ZF | AF | PF, 0, 0),
    PLAIN("\x69", -1, MODRM | IMM_Z, CF | OF, SF | ZF | AF | PF, 0, 0),
    PLAIN("\x6b", -1, MODRM | IMM_8, CF | OF, SF | ZF | AF | PF, 0, 0),

    SHIFT(0, OF, CF),
    SHIFT(1, OF, CF),
    SHIFT(2, OF, CF),
    SHIFT(3, OF, CF),
    SHIFT(4, OF | AF | CF, 0),
    SHIFT(5, OF | AF | CF, 0),
    SHIFT(6, OF | AF | CF, 0),
    SHIFT(7, OF | AF, 0),
    PLAIN("\x0f\xa4", -1, MODRM | IMM_8 | NO_66, 0, OF | AF, 0, 0),
    PLAIN("\x0f\xa5", -1, MODRM | NO_66, 0, OF | AF, 0, 0),
    PLAIN("\x0f\xac", -1, MODRM | IMM_8 | NO_66, 0, OF | AF, 0, 0),
    PLAIN("\x0f\xad", -1, MODRM | NO_66, 0, OF | AF, 0, 0),

    BOTH_SIZES("\x88", "\x89", -1, FORM_PLAIN, MODRM, 0, 0, 0, 0),
    BOTH_SIZES("\x8a", "\x8b", -1, FORM_PLAIN, MODRM, 0, 0, 0, 0),
    BOTH_SIZES("\x88", "\x89", -1, FORM_PLAIN, MODRM, 0, 0, 0, 0),
    BOTH_SIZES("\x8a", "\x8b", -1, FORM_PLAIN, MODRM, 0, 0, 0, 0),
    PLAIN("\xc6", 0, MODRM | BYTE | IMM_8, 0, 0, 0, 0),
    PLAIN("\xc7", 0, MODRM | IMM_Z, 0, 0, 0, 0),
    PLAIN("\xb0", -1, BYTE | LOW_REGISTER | IMM_8, 0, 0, 0, 0),
    PLAIN("\xb8", -1, LOW_REGISTER | IMM_V, 0, 0, 0, 0),
    BOTH_SIZES("\x86", "\x87", -1, FORM_PLAIN, MODRM | LOCKABLE, 0, 0, 0, 0),
    PLAIN("\x90", -1, LOW_REGISTER, 0, 0, 0, RAX),
    PLAIN("\x8d", -1, MODRM | MEM_ONLY, 0, 0, 0, 0),
    /* With the prefix 66, processors read 16 or 32 bits. */
    PLAIN("\x63", -1, MODRM | ONLY_64 | NO_66, 0, 0, 0, 0),
    PLAIN("\x0f\xb6", -1, MODRM, 0, 0, 0, 0),
    PLAIN("\x0f\xb7", -1, MODRM, 0, 0, 0, 0),
    PLAIN("\x0f\xbe", -1, MODRM, 0, 0, 0, 0),
    PLAIN("\x0f\xbf", -1, MODRM, 0, 0, 0, 0),
    PLAIN("\x98", -1, 0, 0, 0, 0, RAX),
    PLAIN("\x99", -1, 0, 0, 0, 0, RDX),
    PLAIN("\xd7", -1, BYTE, 0, 0, 0, RAX),
    PLAIN("\x0f\xc8", -1, LOW_REGISTER | NO_66, 0, 0, 0, 0),
    PLAIN("\x0f\x38\xf0", -1, MODRM | MEM_ONLY, 0, 0, 0, 0),
    PLAIN("\x0f\x38\xf1", -1, MODRM | MEM_ONLY, 0, 0, 0, 0),
    PLAIN("\x0f\xc3", -1, MODRM | MEM_ONLY | NO_66, 0, 0, 0, 0),
    PLAIN("\x0f\x1f", 0, MODRM, 0, 0, 0, 0),
    PLAIN("\xf3\x90", -1, PLAIN_SIZE, 0, 0, 0, 0),

    PLAIN("\x9e", -1, PLAIN_SIZE, CF | PF | AF | ZF | SF, 0, 0, 0),
    PLAIN("\x9f", -1, PLAIN_SIZE, 0, 0, CF | PF | AF | ZF | SF, RAX),
    PLAIN("\xf5", -1, PLAIN_SIZE, 0, 0, CF, 0),
    PLAIN("\xf8", -1, PLAIN_SIZE, CF, 0, 0, 0),
    PLAIN("\xf9", -1, PLAIN_SIZE, CF, 0, 0, 0),
    PLAIN("\xfc", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\xfd", -1, PLAIN_SIZE, 0, 0, 0, 0),

    CONDITIONAL(\x40, OF),
    CONDITIONAL(\x42, CF),
    CONDITIONAL(\x45, ZF),
    CONDITIONAL(\x47, CF | ZF),
    CONDITIONAL(\x48, SF),
    CONDITIONAL(\x4b, PF),
    CONDITIONAL(\x4c, SF | OF),
    CONDITIONAL(\x4f, SF | OF | ZF),
    PLAIN("\x0f\x91", -1, MODRM | BYTE, 0, 0, OF, 0),
    PLAIN("\x0f\x93", -1, MODRM | BYTE, 0, 0, CF, 0),
    PLAIN("\x0f\x94", -1, MODRM | BYTE, 0, 0, ZF, 0),
    PLAIN("\x0f\x96", -1, MODRM | BYTE, 0, 0, CF | ZF, 0),
    PLAIN("\x0f\x99", -1, MODRM | BYTE, 0, 0, SF, 0),
    PLAIN("\x0f\x9a", -1, MODRM | BYTE, 0, 0, PF, 0),
    PLAIN("\x0f\x9d", -1, MODRM | BYTE, 0, 0, SF | OF, 0),
    PLAIN("\x0f\x9e", -1, MODRM | BYTE, 0, 0, SF | OF | ZF, 0),

    BIT("\x0f\xa3", -1, FORM_BIT_OFFSET, 0),
    BIT("\x0f\xab", -1, FORM_BIT_OFFSET, LOCKABLE),
    BIT("\x0f\xb3", -1, FORM_BIT_OFFSET, LOCKABLE),
    BIT("\x0f\xbb", -1, FORM_BIT_OFFSET, LOCKABLE),
    BIT("\x0f\xba", 4, FORM_PLAIN, IMM_8),
    BIT("\x0f\xba", 5, FORM_PLAIN, IMM_8 | LOCKABLE),
    BIT("\x0f\xba", 6, FORM_PLAIN, IMM_8 | LOCKABLE),
    BIT("\x0f\xba", 7, FORM_PLAIN, IMM_8 | LOCKABLE),
    PLAIN("\x0f\xbc", -1, MODRM, ZF, STATUS_FLAGS & ~ZF, 0, 0),
    PLAIN("\x0f\xbd", -1, MODRM, ZF, STATUS_FLAGS & ~ZF, 0, 0),
    PLAIN("\xf3\x0f\xbc", -1, MODRM, ZF | CF, OF | SF | AF | PF, 0, 0),
    PLAIN("\xf3\x0f\xbd", -1, MODRM, ZF | CF, OF | SF | AF | PF, 0, 0),
    PLAIN("\xf3\x0f\xb8", -1, MODRM, STATUS_FLAGS, 0, 0, 0),
    PLAIN("\xf2\x0f\x38\xf0", -1, MODRM | BYTE, 0, 0, 0, 0),
    PLAIN("\xf2\x0f\x38\xf1", -1, MODRM, 0, 0, 0, 0),
    PLAIN("\x66\x0f\x38\xf6", -1, MODRM | NO_66, CF, 0, CF, 0),
    PLAIN("\xf3\x0f\x38\xf6", -1, MODRM | NO_66, OF, 0, OF, 0),
    VEX("\xf2", 2, 0, -1, 0, CF | ZF | SF | OF, AF | PF),
    VEX("\xf3", 2, 0, 1, 0, CF | ZF | SF | OF, AF | PF),
    VEX("\xf3", 2, 0, 2, 0, CF | ZF | SF | OF, AF | PF),
    VEX("\xf3", 2, 0, 3, 0, CF | ZF | SF | OF, AF | PF),
    VEX("\xf5", 2, 0, -1, 0, CF | ZF | SF | OF, AF | PF),
    VEX("\xf7", 2, 0, -1, 0, CF | ZF | OF, AF | PF | SF),
    VEX("\xf5", 2, 2, -1, 0, 0, 0),
    VEX("\xf5", 2, 3, -1, 0, 0, 0),
    VEX("\xf6", 2, 3, -1, 0, 0, 0),
    VEX("\xf7", 2, 1, -1, 0, 0, 0),
    VEX("\xf7", 2, 2, -1, 0, 0, 0),
    VEX("\xf7", 2, 3, -1, 0, 0, 0),
    VEX("\xf0", 3, 3, -1, IMM_8, 0, 0),

    BOTH_SIZES("\x0f\xb0", "\x0f\xb1", -1, FORM_COMPARE, MODRM | LOCKABLE, STATUS_FLAGS, 0, 0, RAX),
    BOTH_SIZES("\x0f\xc0", "\x0f\xc1", -1, FORM_PLAIN, MODRM | LOCKABLE, STATUS_FLAGS, 0, 0, 0),
    PLAIN("\x0f\xc7", 1, MODRM | MEM_ONLY | LOCKABLE | NO_66 | ALIGN_16, ZF, 0, 0, RAX | RDX),

    {OP("\x50"), -1, FORM_STACK, LOW_REGISTER, 0, 0, 0, RSP, 0},
    {OP("\x58"), -1, FORM_STACK, LOW_REGISTER, 0, 0, 0, RSP, 0},
    {OP("\x68"), -1, FORM_STACK, IMM_Z, 0, 0, 0, RSP, 0},
    {OP("\x6a"), -1, FORM_STACK, IMM_8, 0, 0, 0, RSP, 0},
    {OP("\x8f"), 0, FORM_STACK, MODRM, 0, 0, 0, RSP, 0},
    {OP("\xff"), 6, FORM_STACK, MODRM, 0, 0, 0, RSP, 0},
    {OP("\x9c"), -1, FORM_STACK, 0, 0, 0, STATUS_FLAGS, RSP, 0},
    {OP("\x9d"), -1, FORM_POPF, 0, STATUS_FLAGS, 0, 0, RSP, 0},
    {OP("\xc9"), -1, FORM_LEAVE, 0, 0, 0, 0, RSP | RBP, 0},
    {OP("\x60"), -1, FORM_STACK, NOT_64, 0, 0, 0, RSP, 0},
    {OP("\x61"), -1, FORM_STACK, NOT_64, 0, 0, 0, 0xff, 0},

    STRING("\xa4", 0, 0, RSI | RDI),
    STRING("\xa5", 0, 0, RSI | RDI),
    STRING("\xa6", 0, 0, RSI | RDI),
    STRING("\xa7", 0, 0, RSI | RDI),
    STRING("\xaa", 0, 0, RDI),
    STRING("\xab", 0, 0, RDI),
    STRING("\xac", 0, 0, RSI | RAX),
    STRING("\xad", 0, 0, RSI | RAX),
    STRING("\xae", 0, 0, RDI),
    STRING("\xaf", 0, 0, RDI),

    CC_FORMS("", "\x70", FORM_JUMP, PLAIN_SIZE | LOW_REGISTER),
    CC_FORMS("", "\x78", FORM_JUMP, PLAIN_SIZE | LOW_REGISTER),
    CC_FORMS("\x0f", "\x80", FORM_JUMP_FAR, PLAIN_SIZE | LOW_REGISTER),
    CC_FORMS("\x0f", "\x88", FORM_JUMP_FAR, PLAIN_SIZE | LOW_REGISTER),
    {OP("\xeb"), -1, FORM_JUMP, PLAIN_SIZE, 0, 0, 0, 0, 0},
    {OP("\xe9"), -1, FORM_JUMP_FAR, PLAIN_SIZE, 0, 0, 0, 0, 0},
    {OP("\xe0"), -1, FORM_JUMP, PLAIN_SIZE, 0, 0, ZF, RCX, 0},
    {OP("\xe1"), -1, FORM_JUMP, PLAIN_SIZE, 0, 0, ZF, RCX, 0},
    {OP("\xe2"), -1, FORM_JUMP, PLAIN_SIZE, 0, 0, 0, RCX, 0},
    {OP("\xe3"), -1, FORM_JUMP, PLAIN_SIZE, 0, 0, 0, 0, 0},
    {OP("\xe8"), -1, FORM_JUMP_FAR, PLAIN_SIZE, 0, 0, 0, RSP, 0},
    {OP("\xc3"), -1, FORM_RETURN, PLAIN_SIZE, 0, 0, 0, RSP, 0},
    {OP("\xc2"), -1, FORM_RETURN, PLAIN_SIZE | IMM_16, 0, 0, 0, RSP, 0},
    {OP("\xff"), 4, FORM_INDIRECT, MODRM | REG_ONLY | PLAIN_SIZE, 0, 0, 0, 0, 0},
    {OP("\xff"), 2, FORM_INDIRECT, MODRM | REG_ONLY | PLAIN_SIZE, 0, 0, 0, RSP, 0},

    /* #UD and, without privilege, #GP. */
    PLAIN("\x0f\x0b", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x06", -1, PLAIN_SIZE | ONLY_64, 0, 0, 0, 0),
    PLAIN("\x27", -1, PLAIN_SIZE | ONLY_64, 0, 0, 0, 0),
    PLAIN("\xfe", 2, MODRM, 0, 0, 0, 0),
    PLAIN("\xff", 7, MODRM, 0, 0, 0, 0),
    PLAIN("\xf4", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\xfa", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\xfb", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x0f\x06", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x0f\x09", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x0f\x30", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x0f\x32", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\x0f\x01", 7, MODRM | MEM_ONLY, 0, 0, 0, 0),
    PLAIN("\x0f\x20", -1, MODRM | REG_ONLY, 0, 0, 0, 0),
    PLAIN("\x0f\x22", -1, MODRM | REG_ONLY, 0, 0, 0, 0),
    PLAIN("\x0f\x21", -1, MODRM | REG_ONLY, 0, 0, 0, 0),
    PLAIN("\xec", -1, PLAIN_SIZE, 0, 0, 0, 0),
    PLAIN("\xe7", -1, IMM_8, 0, 0, 0, 0),
    PLAIN("\xcc", -1, PLAIN_SIZE, 0, 0, 0, 0),

    PLAIN("\xf3\x0f\xae", 0, MODRM | REG_ONLY | ONLY_64 | NO_66, 0, 0, 0, 0),
    PLAIN("\xf3\x0f\xae", 1, MODRM | REG_ONLY | ONLY_64 | NO_66, 0, 0, 0, 0),
    PLAIN("\x0f\xae", 7, MODRM | MEM_ONLY, 0, 0, 0, 0),
};

const unsigned form_count = sizeof(forms) / sizeof(*forms);
