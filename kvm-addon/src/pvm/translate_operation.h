/* What a decoded instruction does, by its handler. */
#ifndef TSVM_PVM_TRANSLATE_OPERATION_H
#define TSVM_PVM_TRANSLATE_OPERATION_H

#include <stdbool.h>
#include <stdint.h>

#include "insn.h"

/*
 * The handlers that can be translated, by the tables of ops.h that they are in. RR, RI: registers
 * and numbers; RM, MR, MI: with a memory operand.
 */
enum operation_kind {
    OPERATION_NONE,
    OPERATION_ALU_RR,
    OPERATION_ALU_RI,
    OPERATION_ALU_RM,
    OPERATION_ALU_MR,
    OPERATION_ALU_MI,
    OPERATION_ALU_LOCK_MR,
    OPERATION_ALU_LOCK_MI,
    OPERATION_TEST_RR,
    OPERATION_TEST_RI,
    OPERATION_TEST_MR,
    OPERATION_TEST_MI,
    OPERATION_UNARY_R,
    OPERATION_UNARY_M,
    OPERATION_UNARY_LOCK_M,
    OPERATION_SHIFT_RI,
    OPERATION_SHIFT_RC,
    OPERATION_SHIFT_MI,
    OPERATION_DOUBLE_RI,
    OPERATION_IMUL_RR,
    OPERATION_IMUL_RRI,
    OPERATION_IMUL_RM,
    OPERATION_IMUL_RMI,
    OPERATION_MUL_R,
    OPERATION_MUL_M,
    OPERATION_MOVE_RR,
    OPERATION_MOVE_RI,
    OPERATION_MOVE_RM,
    OPERATION_MOVE_MR,
    OPERATION_MOVE_MI,
    OPERATION_EXCHANGE_RR,
    OPERATION_EXCHANGE_MR,
    OPERATION_EXTEND_RR,
    OPERATION_EXTEND_RM,
    OPERATION_LEA,
    OPERATION_CMOV_RR,
    OPERATION_CMOV_RM,
    OPERATION_SET_R,
    OPERATION_SET_M,
    OPERATION_SWAP_R,
    OPERATION_CONVERT,
    OPERATION_SPREAD,
    OPERATION_NOP,
    OPERATION_PUSH_R,
    OPERATION_PUSH_I,
    OPERATION_PUSH_FLAGS,
    OPERATION_POP_R,
    OPERATION_LEAVE,
    OPERATION_BIT_RR,
    OPERATION_BIT_RI,
    OPERATION_BIT_MR,
    OPERATION_BIT_LOCK_MR,
    OPERATION_BIT_MI,
    OPERATION_BIT_LOCK_MI,
    OPERATION_SCAN_RR,
    OPERATION_BMI_RR,
    OPERATION_BMI_RM,
    OPERATION_COMPARE_EXCHANGE_MR,
    OPERATION_COMPARE_EXCHANGE_LOCK_MR,
    OPERATION_ADD_EXCHANGE_MR,
    OPERATION_ADD_EXCHANGE_LOCK_MR,
    OPERATION_STAC,
    OPERATION_CLAC,
    OPERATION_CLI,
    OPERATION_STI,
    OPERATION_CLD,
    OPERATION_STD,
    OPERATION_CLC,
    OPERATION_STC,
    OPERATION_CMC,
    OPERATION_JUMP_IF,
    OPERATION_JUMP,
    OPERATION_JUMP_R,
    OPERATION_JUMP_M,
    OPERATION_CALL,
    OPERATION_CALL_R,
    OPERATION_CALL_M,
    OPERATION_RETURN,
    OPERATION_GOTO,     /* between decoded runs: to insn->target */
    OPERATION_PAGE_END, /* the same, by a lookup */
};

struct operation {
    uint8_t kind;   /* enum operation_kind */
    uint8_t number; /* its first place in a table of several operations */
    uint8_t size;   /* log2 of bytes */
    uint8_t addressing;
};

/* Of the plain handlers that decode() gives, and of those between runs; else OPERATION_NONE. */
struct operation operation_of(insn_handler *handler);

#endif
