/*
 * The tables through which the decoder chooses handlers. Their dimensions, where they have them:
 * [addressing] (enum addressing), the last [operand size as log2 of bytes]. NULL: there is no such
 * instruction.
 */
#ifndef TSVM_PVM_OPS_H
#define TSVM_PVM_OPS_H

#include "insn.h"

/* See ADDRESSINGS. */
enum addressing { ADDRESSING_GENERAL, ADDRESSING_PLAIN, ADDRESSING_NARROW };

/* Operand size and mode of stack accesses; see STACK_FORMS. */
enum stack_form { STACK_WIDE64, STACK_WIDE16, STACK_NARROW32, STACK_NARROW16, STACK_FORM_COUNT };

typedef insn_handler *const handler_table;

/* ops_alu.c, ops_unary.c: [operation as in opcode bits 3-5, or ModRM.reg] */
extern handler_table alu_rr[8][4], alu_ri[8][4];
extern handler_table alu_rm[3][8][4], alu_mr[3][8][4], alu_mi[3][8][4];
extern handler_table alu_lock_mr[3][8][4], alu_lock_mi[3][8][4];
extern handler_table test_rr[4], test_ri[4], test_mr[3][4], test_mi[3][4];
/* INC, DEC, NOT, NEG */
extern handler_table unary_r[4][4], unary_m[3][4][4], unary_lock_m[3][4][4];

/* ops_shift.c: [ModRM.reg]; SHLD and SHRD */
extern handler_table shift_ri[8][4], shift_rc[8][4], shift_mi[3][8][4], shift_mc[3][8][4];
extern handler_table double_ri[2][4], double_rc[2][4], double_mi[2][3][4], double_mc[2][3][4];

/* ops_muldiv.c; the last two: [ModRM.reg - 4] */
extern handler_table imul_rr[4], imul_rri[4], imul_rm[3][4], imul_rmi[3][4];
extern handler_table muldiv_r[4][4], muldiv_m[3][4][4];

/* ops_move.c */
enum extend { ZERO_EXTEND_8, ZERO_EXTEND_16, SIGN_EXTEND_8, SIGN_EXTEND_16, SIGN_EXTEND_32 };
extern handler_table move_rr[4], move_ri[4], move_rm[3][4], move_mr[3][4], move_mi[3][4];
extern handler_table move_absolute_address[2][4]; /* [store] */
extern handler_table exchange_rr[4];
extern handler_table extend_rr[5][4], extend_rm[5][3][4];
extern handler_table lea[3][4];
extern handler_table cmov_rr[16][4], cmov_rm[16][3][4], set_r[16], set_m[16][3];
extern handler_table swap_r[4], swap_rm[3][4], swap_mr[3][4];
extern handler_table convert[4], spread[4], xlat[3];
extern handler_table op_nop;

/* ops_stack.c */
extern handler_table push_r[STACK_FORM_COUNT], push_i[STACK_FORM_COUNT];
extern handler_table push_m[STACK_FORM_COUNT][3];
extern handler_table pop_r[STACK_FORM_COUNT], pop_m[STACK_FORM_COUNT][3];
extern handler_table op_leave[STACK_FORM_COUNT], op_enter[STACK_FORM_COUNT];
extern handler_table op_pusha[STACK_FORM_COUNT], op_popa[STACK_FORM_COUNT];

/* ops_jump.c: [compat mode]; jump_loop: LOOPNE, LOOPE, LOOP, JRCXZ */
extern handler_table jump_conditional[2][16];
extern handler_table jump_relative[2], jump_r[2], jump_m[2][3];
extern handler_table call_relative[2], call_r[2], call_m[2][3];
extern handler_table op_ret[2], op_ret_i[2], jump_loop[4][2];

/* ops_string.c: [32-bit addresses][operation][repeated] */
enum string_operation { STRING_MOVS, STRING_CMPS, STRING_STOS, STRING_LODS, STRING_SCAS };
extern handler_table string_operation[2][5][2][4];

/* ops_bits.c: BT, BTS, BTR, BTC; scans */
enum scan { SCAN_BSF, SCAN_BSR, SCAN_TZCNT, SCAN_LZCNT, SCAN_POPCNT };
extern handler_table bit_rr[4][4], bit_ri[4][4], bit_mr[4][3][4], bit_mi[4][3][4];
extern handler_table bit_lock_mr[4][3][4], bit_lock_mi[4][3][4];
extern handler_table scan_rr[5][4], scan_rm[5][3][4];

/* ops_bmi.c: [operand size: 64 bits] */
enum bmi_operation {
    BMI_ANDN,
    BMI_BEXTR,
    BMI_BZHI,
    BMI_PDEP,
    BMI_PEXT,
    BMI_SARX,
    BMI_SHLX,
    BMI_SHRX,
    BMI_BLSR,
    BMI_BLSMSK,
    BMI_BLSI,
    BMI_MULX,
    BMI_RORX,
    BMI_ADCX,
    BMI_ADOX,
    BMI_OPERATION_COUNT,
};
extern handler_table bmi_rr[BMI_OPERATION_COUNT][2], bmi_rm[BMI_OPERATION_COUNT][3][2];
extern handler_table crc32_rr[4], crc32_rm[3][4];
extern handler_table op_random[2][4]; /* RDRAND, RDSEED */

/* ops_atomic.c; pairs: CMPXCHG8B, CMPXCHG16B */
extern handler_table compare_exchange_rr[4], compare_exchange_mr[3][4];
extern handler_table compare_exchange_lock_mr[3][4];
extern handler_table add_exchange_rr[4], add_exchange_mr[3][4], add_exchange_lock_mr[3][4];
extern handler_table exchange_mr[3][4];
extern handler_table compare_exchange_pair[2][3];

/* ops_flags.c */
extern handler_table op_pushf[STACK_FORM_COUNT], op_popf[STACK_FORM_COUNT];
extern handler_table op_cli, op_sti, op_stac, op_clac, op_cld, op_std, op_clc, op_stc, op_cmc;
extern handler_table op_lahf, op_sahf;

/* ops_io.c: [port in DX]; port_string: [32-bit addresses][OUTS][repeated] */
extern handler_table port_in[2][4], port_out[2][4], port_string[2][2][2][4];

/* ops_segment.c */
extern handler_table segment_store_r[2]; /* [32 or 64 bits] */
extern handler_table segment_store_m[3], segment_load_r, segment_load_m[3];
extern handler_table segment_push[STACK_FORM_COUNT], segment_pop[STACK_FORM_COUNT];
extern handler_table segment_load_far[3][4];
extern handler_table far_jump_m[3][4], far_call_m[3][4], far_jump_i[4], far_call_i[4];
extern handler_table op_far_return[4], op_iret[4];
extern handler_table op_syscall, op_sysenter, op_sysret, op_sysexit, op_interrupt, op_into;
extern handler_table system_store_r[3][4], system_store_m[3][3]; /* SLDT, STR, SMSW */
extern handler_table table_operation[4][3];                      /* SGDT, SIDT, LGDT, LIDT */
enum selector_operation {
    SELECTOR_LLDT,
    SELECTOR_LTR,
    SELECTOR_VERR,
    SELECTOR_VERW,
    SELECTOR_LAR,
    SELECTOR_LSL
};
extern handler_table selector_r[6], selector_m[6][3];

/* ops_system.c */
extern handler_table op_unknown, op_undefined, op_too_long;
extern handler_table op_hlt, op_pause, op_mfence, op_wbinvd, op_touch[3];
extern handler_table op_rdtsc, op_rdtscp, op_rdpid, op_cpuid, op_rdmsr, op_wrmsr;
extern handler_table op_read_control, op_write_control, op_read_debug, op_write_debug;
extern handler_table op_clts, op_lmsw_r, op_lmsw_m[3], op_invlpg[3], op_invpcid[3];
extern handler_table op_swapgs;
extern handler_table segment_base_operation[4][2]; /* RD/WR FS/GS BASE as ModRM.reg: [64 bits] */

#endif
