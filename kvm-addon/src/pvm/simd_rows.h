/* What the rows of the instruction table are written with: simd_rows_*.c alone include it. */
#ifndef TSVM_PVM_SIMD_ROWS_H
#define TSVM_PVM_SIMD_ROWS_H

#include "simd.h"

/*
 * Operands: ModRM.reg, vvvv, ModRM.rm, and which are written. In legacy encodings an instruction
 * that writes vvvv writes ModRM.rm.
 */
#define V SIMD_VECTOR
#define G SIMD_GENERAL
#define M SIMD_MMX
#define K SIMD_OPMASK
#define N SIMD_NONE
#define RM V, N, V, SIMD_TO_REG
#define MR V, N, V, SIMD_TO_RM
#define RVM V, V, V, SIMD_TO_REG
#define MVR V, V, V, SIMD_TO_RM
#define VM N, V, V, SIMD_TO_VVVV
#define TEST V, N, V, 0
#define KVM_ K, V, V, SIMD_TO_REG
#define K_RM K, N, V, SIMD_TO_REG
#define GM G, N, V, SIMD_TO_REG
#define VG V, N, G, SIMD_TO_REG
#define VVG V, V, G, SIMD_TO_REG
#define GSTORE V, N, G, SIMD_TO_RM
#define MM M, N, M, SIMD_TO_REG
#define MM_STORE M, N, M, SIMD_TO_RM
#define KKK K, K, K, SIMD_TO_REG
#define KK K, N, K, SIMD_TO_REG

/* Maps with prefixes. */
#define NP_ SIMD_0F, SIMD_NP
#define P66 SIMD_0F, SIMD_66
#define PF3 SIMD_0F, SIMD_F3
#define PF2 SIMD_0F, SIMD_F2
#define NP_38 SIMD_0F38, SIMD_NP
#define P66_38 SIMD_0F38, SIMD_66
#define PF3_38 SIMD_0F38, SIMD_F3
#define PF2_38 SIMD_0F38, SIMD_F2
#define NP_3A SIMD_0F3A, SIMD_NP
#define P66_3A SIMD_0F3A, SIMD_66

/* One opcode, a range of them, one of a group. */
#define OP(o) o, o, SIMD_ANY
#define OPS(first, last) first, last, SIMD_ANY
#define EXT(o, extension) o, o, extension

#define NO_MEM SIMD_NO_MEMORY
#define B1 SIMD_B1
#define B2 SIMD_B2
#define B4 SIMD_B4
#define B8 SIMD_B8
#define B16 SIMD_B16
#define B32 SIMD_B32
#define FULL SIMD_FULL
#define HALF SIMD_HALF
#define QUARTER SIMD_QUARTER
#define EIGHTH SIMD_EIGHTH
#define OPERAND SIMD_OPERAND

/* Encodings. VF: both lengths are AVX's; VI: 256 bits are AVX2's; VS: scalar. */
#define WIG SIMD_WIG
#define W0 SIMD_W0
#define W1 SIMD_W1
#define WB SIMD_WB
#define NOL SIMD_ABSENT
#define NOV                                                                                        \
    {                                                                                              \
        SIMD_ABSENT, SIMD_ABSENT, WIG, false                                                       \
    }
#define VX(f128, f256, w)                                                                          \
    {                                                                                              \
        f128, f256, w, false                                                                       \
    }
#define VF(w) VX(SIMD_AVX, SIMD_AVX, w)
#define VI(w) VX(SIMD_AVX, SIMD_AVX2, w)
#define VS(w)                                                                                      \
    {                                                                                              \
        SIMD_AVX, SIMD_AVX, w, true                                                                \
    }
#define V128(w) VX(SIMD_AVX, SIMD_ABSENT, w)
#define V256(f, w) VX(SIMD_ABSENT, f, w)
#define NOE                                                                                        \
    {                                                                                              \
        SIMD_ABSENT, WIG, 0, 0                                                                     \
    }
#define EX(f, w, element, flags)                                                                   \
    {                                                                                              \
        f, w, element, flags                                                                       \
    }
#define E(w, element, flags) EX(SIMD_AVX512, w, element, flags)
#define E128 (EVEX_NO_256 | EVEX_NO_512)
#define E512 (EVEX_NO_128 | EVEX_NO_256)
#define BC EVEX_BROADCAST
#define ER EVEX_ROUNDING
#define SAE EVEX_SAE
#define SC EVEX_SCALAR
#define BY_W SIMD_BY_W

#define FP SIMD_FP
#define FLAGS SIMD_SETS_FLAGS
#define IMM SIMD_IMMEDIATE
#define UNALIGNED SIMD_UNALIGNED
#define ALIGNED SIMD_ALIGNED
#define MEM SIMD_MEMORY_ONLY
#define WIDTH SIMD_WIDTH
#define MMX SIMD_X87_STATE

/* Families with the same operands in all four (or two) types. */
#define PACKED(o, ops, e)                                                                          \
    {NP_, OP(o), ops, FULL, SIMD_SSE, VF(WIG), E(W0, 4, BC | (e)), FP},                            \
    {                                                                                              \
        P66, OP(o), ops, FULL, SIMD_SSE2, VF(WIG), E(W1, 8, BC | (e)), FP                          \
    }
#define SCALAR(o, ops, e)                                                                          \
    {PF3, OP(o), ops, B4, SIMD_SSE, VS(WIG), E(W0, 4, SC | (e)), FP},                              \
    {                                                                                              \
        PF2, OP(o), ops, B8, SIMD_SSE2, VS(WIG), E(W1, 8, SC | (e)), FP                            \
    }
#define LOGIC(o)                                                                                   \
    {NP_, OP(o), RVM, FULL, SIMD_SSE, VF(WIG), E(W0, 4, BC), 0},                                   \
    {                                                                                              \
        P66, OP(o), RVM, FULL, SIMD_SSE2, VF(WIG), E(W1, 8, BC), 0                                 \
    }
#define INTEGER(first, last, e)                                                                    \
    {                                                                                              \
        P66, OPS(first, last), RVM, FULL, SIMD_SSE2, VI(WIG), e, 0                                 \
    }
#define INTEGER38(o, legacy, e)                                                                    \
    {                                                                                              \
        P66_38, OP(o), RVM, FULL, legacy, VI(WIG), e, 0                                            \
    }
#define SHIFT_BY_VECTOR(o, e)                                                                      \
    {                                                                                              \
        P66, OP(o), RVM, B16, SIMD_SSE2, VI(WIG), e, 0                                             \
    }
#define SHIFT_BY_IMMEDIATE(o, x, e)                                                                \
    {P66, EXT(o, x), VM, NO_MEM, SIMD_SSE2, VI(WIG), NOE, IMM},                                    \
    {                                                                                              \
        P66, EXT(o, x), VM, FULL, NOL, NOV, e, IMM                                                 \
    }
#define MMX_SHIFT(o, x)                                                                            \
    {                                                                                              \
        NP_, EXT(o, x), N, N, M, SIMD_TO_RM, NO_MEM, SIMD_SSE, NOV, NOE, MMX | IMM                 \
    }
/* AVX-512 only. */
#define EVEX_ROW(p, o, ops, mem, e, flags)                                                         \
    {                                                                                              \
        p, OP(o), ops, mem, NOL, NOV, e, flags                                                     \
    }
#define EXTEND(o, mem, element, w)                                                                 \
    {                                                                                              \
        P66_38, OP(o), RM, mem, SIMD_SSE41, VI(WIG), E(w, element, 0), UNALIGNED                   \
    }
#define TRUNCATE(o, mem, element)                                                                  \
    EVEX_ROW(PF3_38, (o), MR, mem, E(W0, element, 0), 0),                                          \
        EVEX_ROW(PF3_38, (o) + 0x10, MR, mem, E(W0, element, 0), 0),                               \
        EVEX_ROW(PF3_38, (o) + 0x20, MR, mem, E(W0, element, 0), 0)
#define FMA_PACKED(o)                                                                              \
    {                                                                                              \
        P66_38, OP(o), RVM, FULL, NOL, VX(SIMD_FMA, SIMD_FMA, WB), E(WB, BY_W, BC | ER), FP        \
    }
#define FMA_SCALAR(o)                                                                              \
    {                                                                                              \
        P66_38, OP(o), RVM, OPERAND, NOL, {SIMD_FMA, SIMD_FMA, WB, true}, E(WB, BY_W, SC | ER), FP \
    }
#define FMA_BLOCK(o)                                                                               \
    FMA_PACKED((o) + 6), FMA_PACKED((o) + 7), FMA_PACKED((o) + 8), FMA_SCALAR((o) + 9),            \
        FMA_PACKED((o) + 10), FMA_SCALAR((o) + 11), FMA_PACKED((o) + 12), FMA_SCALAR((o) + 13),    \
        FMA_PACKED((o) + 14), FMA_SCALAR((o) + 15)
#define OPMASK_OP(o)                                                                               \
    {NP_, OP(o), KKK, NO_MEM, NOL, V256(SIMD_AVX512, WB), NOE, 0},                                 \
    {                                                                                              \
        P66, OP(o), KKK, NO_MEM, NOL, V256(SIMD_AVX512, WB), NOE, 0                                \
    }
#define OPMASK_MOVE(p, w, mem)                                                                     \
    {p, OP(0x90), KK, mem, NOL, VX(SIMD_AVX512, SIMD_ABSENT, w), NOE, 0},                          \
    {                                                                                              \
        p, OP(0x91), K, N, K, SIMD_TO_RM, mem, NOL, VX(SIMD_AVX512, SIMD_ABSENT, w), NOE, MEM      \
    }
#define VO(w) VX(SIMD_AVX512, SIMD_ABSENT, w) /* opmask instructions of VEX.128 */

#endif
