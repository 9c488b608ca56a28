/* The x87 instructions (SDM 2; opcodes D8 to DF). What has its own handler is not listed. */
#include "simd.h"

#define WAITS SIMD_X87_WAITS
/* Instructions that leave their address, operand's address and opcode behind (SDM 1 8.1.8). */
#define POINTERS (SIMD_X87_WAITS | SIMD_X87_POINTERS)
/* FCOMI and its kin: processors differ in the flags that they leave alone. */
#define COMPARES (POINTERS | SIMD_SETS_FLAGS | SIMD_USES_FLAGS)

/* By opcode and ModRM.reg; 0: undefined or not here. */
static const uint8_t memory_bytes[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4},   /* D8: arithmetic, m32fp */
    {4, 0, 4, 4, 0, 2, 0, 2},   /* D9: FLD, FST, FSTP, FLDCW, FNSTCW */
    {4, 4, 4, 4, 4, 4, 4, 4},   /* DA: arithmetic, m32int */
    {4, 4, 4, 4, 0, 10, 0, 10}, /* DB: FILD, FISTTP, FIST, FISTP, FLD, FSTP */
    {8, 8, 8, 8, 8, 8, 8, 8},   /* DC: arithmetic, m64fp */
    {8, 8, 8, 8, 0, 0, 0, 2},   /* DD: FLD, FISTTP, FST, FSTP, FNSTSW */
    {2, 2, 2, 2, 2, 2, 2, 2},   /* DE: arithmetic, m16int */
    {2, 2, 2, 2, 10, 8, 10, 8}, /* DF: FILD, FISTTP, FIST, FISTP, FBLD, FILD, FBSTP, FISTP */
};
/* Bit n: ModRM.reg n stores. */
static const uint8_t memory_stores[8] = {0, 0x8c, 0, 0x8e, 0, 0x8e, 0, 0xce};

/* Bit n: register form C0 + n is defined. */
static const uint64_t register_forms[8] = {
    0xffffffffffffffff, /* D8 */
    0xffff7f330001ffff, /* D9: FLD, FXCH, FNOP, FCHS, FABS, FTST, FXAM, constants, F0 to FF */
    0x00000200ffffffff, /* DA: FCMOV, FUCOMPP */
    0x00ffff0cffffffff, /* DB: FCMOV, FNCLEX, FNINIT, FUCOMI, FCOMI */
    0xffffffff0000ffff, /* DC */
    0x0000ffffffff00ff, /* DD: FFREE, FST, FSTP, FUCOM, FUCOMP */
    0xffffffff0200ffff, /* DE: and FCOMPP */
    0x00ffff0100000000, /* DF: FNSTSW AX, FUCOMIP, FCOMIP */
};

static uint16_t memory_flags(unsigned opcode, unsigned reg)
{
    if (opcode == 0xd9 && reg == 5)
        return WAITS; /* FLDCW */
    if ((opcode == 0xd9 && reg == 7) || (opcode == 0xdd && reg == 7))
        return 0; /* FNSTCW, FNSTSW */
    return POINTERS;
}

static uint16_t register_flags(unsigned opcode, unsigned modrm)
{
    switch (opcode) {
    case 0xda:
        return modrm < 0xe0 ? POINTERS | SIMD_USES_FLAGS : POINTERS;
    case 0xdb:
        if (modrm < 0xe0)
            return POINTERS | SIMD_USES_FLAGS;
        return modrm < 0xe8 ? 0 : COMPARES; /* FNCLEX, FNINIT wait for nothing */
    case 0xdf:
        return modrm == 0xe0 ? 0 : COMPARES; /* FNSTSW AX */
    default:
        return POINTERS;
    }
}

struct simd_x87 simd_x87_describe(unsigned opcode, unsigned modrm)
{
    unsigned row = opcode & 7;
    unsigned reg = modrm >> 3 & 7;
    struct simd_x87 x87 = {0};

    if (opcode == SIMD_X87_EMMS) {
        x87.is_valid = true;
        x87.flags = WAITS;
        return x87;
    }
    if (modrm >= 0xc0) {
        x87.is_valid = register_forms[row] >> (modrm - 0xc0) & 1;
        x87.flags = register_flags(opcode, modrm);
        return x87;
    }
    x87.bytes = memory_bytes[row][reg];
    x87.is_valid = x87.bytes != 0;
    x87.stores = memory_stores[row] >> reg & 1;
    x87.flags = memory_flags(opcode, reg);
    return x87;
}
