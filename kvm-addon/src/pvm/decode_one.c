/* The one-byte opcodes (SDM 2D table A-2). */
#include "decode_internal.h"

/* ---- arithmetic: 00-3F, 80-83, F6, F7, FE, FF ---- */

static insn_handler *alu_to_rm(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned operation = d->opcode >> 3;
    if (!d->memory)
        return alu_rr[operation][d->size];
    return (d->lock ? alu_lock_mr : alu_mr)[d->addressing][operation][d->size];
}

static void swap_operands(struct insn *insn)
{
    uint8_t reg = insn->reg;
    insn->reg = insn->rm;
    insn->rm = reg;
}

static insn_handler *alu_to_reg(struct decoding *d, struct insn *insn)
{
    unsigned operation = d->opcode >> 3;
    if (d->memory)
        return alu_rm[d->addressing][operation][d->size];
    swap_operands(insn);
    return alu_rr[operation][d->size];
}

static insn_handler *alu_to_accumulator(struct decoding *d, struct insn *insn)
{
    insn->rm = REG_RAX * 8;
    return alu_ri[d->opcode >> 3][d->size];
}

static insn_handler *group1(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned operation = d->reg & 7;
    if (!d->memory)
        return alu_ri[operation][d->size];
    return (d->lock ? alu_lock_mi : alu_mi)[d->addressing][operation][d->size];
}

static insn_handler *unary(struct decoding *d, unsigned operation)
{
    if (!d->memory)
        return unary_r[operation][d->size];
    return (d->lock ? unary_lock_m : unary_m)[d->addressing][operation][d->size];
}

/* TEST, NOT, NEG, MUL, IMUL, DIV, IDIV */
static insn_handler *group3(struct decoding *d, struct insn *insn)
{
    unsigned reg = d->reg & 7;
    if (reg == 2 || reg == 3)
        return unary(d, reg);
    if (d->lock)
        return op_undefined;
    if (reg >= 4)
        return d->memory ? muldiv_m[d->addressing][reg - 4][d->size] : muldiv_r[reg - 4][d->size];
    insn->immediate = decode_immediate(d, d->size == 0 ? 1 : d->size == 1 ? 2 : 4);
    return d->memory ? test_mi[d->addressing][d->size] : test_ri[d->size];
}

static insn_handler *group4(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return (d->reg & 7) < 2 ? unary(d, d->reg & 7) : op_undefined;
}

/* A near branch or PUSH of group 5: operands of the mode's own size. */
static insn_handler *group5_near(struct decoding *d, struct insn *insn, insn_handler *const by_r[2],
                                 insn_handler *const by_m[2][3])
{
    if (d->size == 1)
        return NULL;
    (void)insn;
    return d->memory ? by_m[mode_index(d)][d->addressing] : by_r[mode_index(d)];
}

static insn_handler *group5(struct decoding *d, struct insn *insn)
{
    unsigned reg = d->reg & 7;
    if (reg < 2)
        return unary(d, reg);
    if (d->lock)
        return op_undefined;
    d->ends = reg == 4 || reg == 5;
    switch (reg) {
    case 2:
        return group5_near(d, insn, call_r, call_m);
    case 3:
        return d->memory ? far_call_m[d->addressing][d->size] : op_undefined;
    case 4:
        return group5_near(d, insn, jump_r, jump_m);
    case 5:
        return d->memory ? far_jump_m[d->addressing][d->size] : op_undefined;
    case 6:
        if (!d->memory)
            insn->base = REG_RSP * 8;
        return d->memory ? push_m[stack_form(d)][d->addressing] : push_r[stack_form(d)];
    default:
        return op_undefined;
    }
}

/* 40-4F in compat mode */
static insn_handler *increment(struct decoding *d, struct insn *insn)
{
    insn->rm = decode_register(d, d->opcode & 7, d->size);
    return unary_r[d->opcode >> 3 & 1][d->size];
}

static insn_handler *multiply_immediate(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->memory ? imul_rmi[d->addressing][d->size] : imul_rri[d->size];
}

static insn_handler *test(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->memory ? test_mr[d->addressing][d->size] : test_rr[d->size];
}

static insn_handler *test_accumulator(struct decoding *d, struct insn *insn)
{
    insn->rm = REG_RAX * 8;
    return test_ri[d->size];
}

/* C0, C1, D0-D3: by an immediate, by 1, by CL */
static insn_handler *shift(struct decoding *d, struct insn *insn)
{
    unsigned operation = d->reg & 7;
    if (d->opcode >= 0xd2)
        return d->memory ? shift_mc[d->addressing][operation][d->size]
                         : shift_rc[operation][d->size];
    if (d->opcode >= 0xd0)
        insn->immediate = 1;
    return d->memory ? shift_mi[d->addressing][operation][d->size] : shift_ri[operation][d->size];
}

/* ---- moves ---- */

static insn_handler *move_to_rm(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->memory ? move_mr[d->addressing][d->size] : move_rr[d->size];
}

static insn_handler *move_to_reg(struct decoding *d, struct insn *insn)
{
    if (d->memory)
        return move_rm[d->addressing][d->size];
    swap_operands(insn);
    return move_rr[d->size];
}

static insn_handler *move_immediate(struct decoding *d, struct insn *insn)
{
    (void)insn;
    if ((d->reg & 7) != 0)
        return (d->reg & 7) == 7 ? NULL : op_undefined; /* XABORT, XBEGIN */
    return d->memory ? move_mi[d->addressing][d->size] : move_ri[d->size];
}

static insn_handler *move_immediate_to_opcode(struct decoding *d, struct insn *insn)
{
    insn->rm = decode_register(d, opcode_register(d), d->size);
    return move_ri[d->size];
}

/* A0-A3: an address of the address size follows. */
static insn_handler *move_absolute(struct decoding *d, struct insn *insn)
{
    bool is_store = d->opcode & 2;
    insn->reg = REG_RAX * 8;
    insn->scale = (uint8_t)(d->segment << 4);
    if (!is_64(d)) {
        if (d->address)
            return NULL;
        insn->displacement = (int32_t)decode_immediate(d, 4);
        return (is_store ? move_mr : move_rm)[ADDRESSING_NARROW][d->size];
    }
    if (d->address)
        insn->immediate = (uint32_t)decode_immediate(d, 4);
    else
        insn->immediate = decode_immediate(d, 8);
    return move_absolute_address[is_store][d->size];
}

static insn_handler *exchange(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->memory ? exchange_mr[d->addressing][d->size] : exchange_rr[d->size];
}

/* 90-97; 90 itself is NOP, with F3 PAUSE */
static insn_handler *exchange_accumulator(struct decoding *d, struct insn *insn)
{
    if (opcode_register(d) == REG_RAX)
        return d->repeat == 0xf3 ? op_pause : op_nop;
    insn->reg = REG_RAX * 8;
    insn->rm = (uint8_t)(opcode_register(d) * 8);
    return exchange_rr[d->size];
}

static insn_handler *load_address(struct decoding *d, struct insn *insn)
{
    if (!d->memory)
        return op_undefined;
    insn->scale &= 3;
    if (insn->base >= CPU_SEGMENT_BASE_OFFSET)
        insn->base = REG_ZERO * 8;
    if (d->addressing == ADDRESSING_GENERAL && insn->index == REG_ZERO * 8)
        d->addressing = ADDRESSING_PLAIN;
    return lea[d->addressing][d->size];
}

/* 63: MOVSXD in 64-bit mode, else ARPL, which nothing uses */
static insn_handler *move_extend_32(struct decoding *d, struct insn *insn)
{
    if (!is_64(d))
        return NULL;
    if (d->size == 3)
        return d->memory ? extend_rm[SIGN_EXTEND_32][d->addressing][3]
                         : extend_rr[SIGN_EXTEND_32][3];
    if (d->memory)
        return move_rm[d->addressing][d->size];
    swap_operands(insn);
    return move_rr[d->size];
}

static insn_handler *convert_accumulator(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return (d->opcode & 1 ? spread : convert)[d->size];
}

static insn_handler *translate(struct decoding *d, struct insn *insn)
{
    if (d->address)
        return NULL;
    insn->base = REG_RBX * 8;
    insn->scale = (uint8_t)(d->segment << 4);
    return xlat[is_64(d) ? ADDRESSING_GENERAL : ADDRESSING_NARROW];
}

/* ---- stack ---- */

static insn_handler *push_register(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    insn->rm = (uint8_t)(opcode_register(d) * 8);
    return push_r[stack_form(d)];
}

static insn_handler *pop_register(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    insn->rm = (uint8_t)(opcode_register(d) * 8);
    return pop_r[stack_form(d)];
}

static insn_handler *push_immediate(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return push_i[stack_form(d)];
}

static insn_handler *pop_to_rm(struct decoding *d, struct insn *insn)
{
    if ((d->reg & 7) != 0)
        return op_undefined;
    if (d->memory)
        return pop_m[stack_form(d)][d->addressing];
    insn->base = REG_RSP * 8;
    return pop_r[stack_form(d)];
}

static insn_handler *stack_all(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return (d->opcode & 1 ? op_popa : op_pusha)[stack_form(d)];
}

static insn_handler *stack_flags(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return (d->opcode & 1 ? op_popf : op_pushf)[stack_form(d)];
}

static insn_handler *enter(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return decode_byte(d) == 0 ? op_enter[stack_form(d)] : NULL;
}

static insn_handler *leave(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RBP * 8;
    return op_leave[stack_form(d)];
}

/* 06, 07, 0E, 16, 17, 1E, 1F: the segment register is in bits 3 and 4 */
static insn_handler *stack_segment(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    insn->reg = d->opcode >> 3 & 3;
    return (d->opcode & 1 ? segment_pop : segment_push)[stack_form(d)];
}

/* ---- jumps ---- */

static insn_handler *jump_condition(struct decoding *d, struct insn *insn)
{
    insn->reg = d->opcode & 15; /* for decode_fuse() */
    return jump_conditional[mode_index(d)][d->opcode & 15];
}

static insn_handler *jump(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return jump_relative[mode_index(d)];
}

static insn_handler *call(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return call_relative[mode_index(d)];
}

static insn_handler *ret(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return (d->opcode & 1 ? op_ret : op_ret_i)[mode_index(d)];
}

/* E0-E3; the address size chooses the counter */
static insn_handler *loop(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->address ? NULL : jump_loop[d->opcode & 3][mode_index(d)];
}

static insn_handler *far_immediate(struct decoding *d, struct insn *insn)
{
    uint64_t offset = (uint64_t)decode_immediate(d, d->size == 1 ? 2 : 4);
    offset &= d->size == 1 ? UINT16_MAX : UINT32_MAX;
    insn->immediate = (int64_t)(offset | (uint64_t)(uint16_t)decode_immediate(d, 2) << 32);
    return (d->opcode == 0xea ? far_jump_i : far_call_i)[d->size];
}

static insn_handler *far_ret(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return op_far_return[d->size];
}

static insn_handler *iret(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    return op_iret[d->size];
}

/* CC, CD, CE */
static insn_handler *interrupt(struct decoding *d, struct insn *insn)
{
    if (d->opcode == 0xcc)
        insn->immediate = 3;
    else if (d->opcode == 0xce)
        insn->immediate = 4;
    else
        insn->immediate &= 0xff;
    return d->opcode == 0xce ? op_into : op_interrupt;
}

/* ---- segments ---- */

static insn_handler *segment_from(struct decoding *d, struct insn *insn)
{
    insn->reg = d->reg & 7;
    if (insn->reg > 5)
        return op_undefined;
    return d->memory ? segment_store_m[d->addressing] : segment_store_r[d->size != 1];
}

static insn_handler *segment_to(struct decoding *d, struct insn *insn)
{
    insn->reg = d->reg & 7;
    if (insn->reg > 5 || insn->reg == 1)
        return op_undefined;
    return d->memory ? segment_load_m[d->addressing] : segment_load_r;
}

/* C4, C5 in compat mode */
static insn_handler *load_far(struct decoding *d, struct insn *insn)
{
    insn->immediate = d->opcode == 0xc4 ? 0 : 3;
    return d->memory ? segment_load_far[d->addressing][d->size] : op_undefined;
}

/* ---- strings and ports ---- */

static insn_handler *string(struct decoding *d, struct insn *insn)
{
    enum string_operation operation;
    switch (d->opcode & 0xfe) {
    case 0xa4:
        operation = STRING_MOVS;
        break;
    case 0xa6:
        operation = STRING_CMPS;
        break;
    case 0xaa:
        operation = STRING_STOS;
        break;
    case 0xac:
        operation = STRING_LODS;
        break;
    default:
        operation = STRING_SCAS;
    }
    if (d->address)
        return NULL;
    insn->scale = (uint8_t)(d->segment << 4);
    insn->immediate = d->repeat == 0xf3;
    return string_operation[mode_index(d)][operation][d->repeat != 0][d->size];
}

static insn_handler *string_port(struct decoding *d, struct insn *insn)
{
    if (d->address)
        return NULL;
    insn->scale = (uint8_t)(d->segment << 4);
    return port_string[mode_index(d)][d->opcode >> 1 & 1][d->repeat != 0][d->size];
}

/* E4-E7 by an immediate, EC-EF by DX */
static insn_handler *port(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return (d->opcode & 2 ? port_out : port_in)[d->opcode >> 3 & 1][d->size];
}

/* ---- without operands ---- */

#define SIMPLE(name, table)                                                                        \
    static insn_handler *name(struct decoding *d, struct insn *insn)                               \
    {                                                                                              \
        (void)d;                                                                                   \
        (void)insn;                                                                                \
        return table;                                                                              \
    }
SIMPLE(sahf, op_sahf)
SIMPLE(lahf, op_lahf)
SIMPLE(hlt, op_hlt)
SIMPLE(cmc, op_cmc)
SIMPLE(clc, op_clc)
SIMPLE(stc, op_stc)
SIMPLE(cli, op_cli)
SIMPLE(sti, op_sti)
SIMPLE(cld, op_cld)
SIMPLE(std, op_std)
SIMPLE(unknown, NULL)

#define ALU(first)                                                                                 \
    [(first)] = {alu_to_rm, MODRM | BYTE | LOCKABLE},                                              \
    [(first) + 1] = {alu_to_rm, MODRM | LOCKABLE}, [(first) + 2] = {alu_to_reg, MODRM | BYTE},     \
    [(first) + 3] = {alu_to_reg, MODRM}, [(first) + 4] = {alu_to_accumulator, BYTE | IMM_8},       \
    [(first) + 5] = {alu_to_accumulator, IMM_Z}

const struct opcode opcodes_one_byte[256] = {
    ALU(0x00),
    ALU(0x08),
    ALU(0x10),
    ALU(0x18),
    ALU(0x20),
    ALU(0x28),
    ALU(0x30),
    ALU(0x38),
    [0x06 ... 0x07] = {stack_segment, NOT_64},
    [0x0e] = {stack_segment, NOT_64},
    [0x16 ... 0x17] = {stack_segment, NOT_64},
    [0x1e ... 0x1f] = {stack_segment, NOT_64},
    [0x27] = {unknown, NOT_64},
    [0x2f] = {unknown, NOT_64},
    [0x37] = {unknown, NOT_64},
    [0x3f] = {unknown, NOT_64},
    [0x40 ... 0x4f] = {increment, NOT_64},
    [0x50 ... 0x57] = {push_register, 0},
    [0x58 ... 0x5f] = {pop_register, 0},
    [0x60 ... 0x61] = {stack_all, NOT_64},
    [0x63] = {move_extend_32, MODRM},
    [0x68] = {push_immediate, IMM_Z},
    [0x69] = {multiply_immediate, MODRM | IMM_Z},
    [0x6a] = {push_immediate, IMM_8},
    [0x6b] = {multiply_immediate, MODRM | IMM_8},
    [0x6c] = {string_port, BYTE},
    [0x6d] = {string_port, 0},
    [0x6e] = {string_port, BYTE},
    [0x6f] = {string_port, 0},
    [0x70 ... 0x7f] = {jump_condition, NEAR | REL_8},
    [0x80] = {group1, MODRM | BYTE | IMM_8 | LOCKABLE},
    [0x81] = {group1, MODRM | IMM_Z | LOCKABLE},
    [0x82] = {group1, MODRM | BYTE | IMM_8 | LOCKABLE | NOT_64},
    [0x83] = {group1, MODRM | IMM_8 | LOCKABLE},
    [0x84] = {test, MODRM | BYTE},
    [0x85] = {test, MODRM},
    [0x86] = {exchange, MODRM | BYTE | LOCKABLE},
    [0x87] = {exchange, MODRM | LOCKABLE},
    [0x88] = {move_to_rm, MODRM | BYTE},
    [0x89] = {move_to_rm, MODRM},
    [0x8a] = {move_to_reg, MODRM | BYTE},
    [0x8b] = {move_to_reg, MODRM},
    [0x8c] = {segment_from, MODRM},
    [0x8d] = {load_address, MODRM},
    [0x8e] = {segment_to, MODRM},
    [0x8f] = {pop_to_rm, MODRM},
    [0x90 ... 0x97] = {exchange_accumulator, 0},
    [0x98 ... 0x99] = {convert_accumulator, 0},
    [0x9a] = {far_immediate, NOT_64},
    [0x9c ... 0x9d] = {stack_flags, 0},
    [0x9e] = {sahf, 0},
    [0x9f] = {lahf, 0},
    [0xa0] = {move_absolute, BYTE},
    [0xa1] = {move_absolute, 0},
    [0xa2] = {move_absolute, BYTE},
    [0xa3] = {move_absolute, 0},
    [0xa4] = {string, BYTE},
    [0xa5] = {string, 0},
    [0xa6] = {string, BYTE},
    [0xa7] = {string, 0},
    [0xa8] = {test_accumulator, BYTE | IMM_8},
    [0xa9] = {test_accumulator, IMM_Z},
    [0xaa] = {string, BYTE},
    [0xab] = {string, 0},
    [0xac] = {string, BYTE},
    [0xad] = {string, 0},
    [0xae] = {string, BYTE},
    [0xaf] = {string, 0},
    [0xb0 ... 0xb7] = {move_immediate_to_opcode, BYTE | IMM_8},
    [0xb8 ... 0xbf] = {move_immediate_to_opcode, IMM_V},
    [0xc0] = {shift, MODRM | BYTE | IMM_8},
    [0xc1] = {shift, MODRM | IMM_8},
    [0xc2] = {ret, NEAR | IMM_16 | ENDS},
    [0xc3] = {ret, NEAR | ENDS},
    [0xc4 ... 0xc5] = {load_far, MODRM | NOT_64},
    [0xc6] = {move_immediate, MODRM | BYTE | IMM_8},
    [0xc7] = {move_immediate, MODRM | IMM_Z},
    [0xc8] = {enter, IMM_16},
    [0xc9] = {leave, 0},
    [0xca] = {far_ret, IMM_16 | ENDS},
    [0xcb] = {far_ret, ENDS},
    [0xcc] = {interrupt, ENDS},
    [0xcd] = {interrupt, IMM_8 | ENDS},
    [0xce] = {interrupt, NOT_64},
    [0xcf] = {iret, ENDS},
    [0xd0] = {shift, MODRM | BYTE},
    [0xd1] = {shift, MODRM},
    [0xd2] = {shift, MODRM | BYTE},
    [0xd3] = {shift, MODRM},
    [0xd4 ... 0xd5] = {unknown, NOT_64},
    [0xd6] = {unknown, NOT_64},
    [0xd7] = {translate, 0},
    [0xe0 ... 0xe3] = {loop, NEAR | REL_8},
    [0xe4] = {port, BYTE | IMM_8},
    [0xe5] = {port, IMM_8},
    [0xe6] = {port, BYTE | IMM_8},
    [0xe7] = {port, IMM_8},
    /* Decoding continues after a CALL, where it returns to. */
    [0xe8] = {call, NEAR | REL_Z},
    [0xe9] = {jump, NEAR | REL_Z | ENDS},
    [0xea] = {far_immediate, NOT_64 | ENDS},
    [0xeb] = {jump, NEAR | REL_8 | ENDS},
    [0xec] = {port, BYTE},
    [0xed] = {port, 0},
    [0xee] = {port, BYTE},
    [0xef] = {port, 0},
    [0xf4] = {hlt, ENDS},
    [0xf5] = {cmc, 0},
    [0xf6] = {group3, MODRM | BYTE | LOCKABLE},
    [0xf7] = {group3, MODRM | LOCKABLE},
    [0xf8] = {clc, 0},
    [0xf9] = {stc, 0},
    [0xfa] = {cli, 0},
    [0xfb] = {sti, 0},
    [0xfc] = {cld, 0},
    [0xfd] = {std, 0},
    [0xfe] = {group4, MODRM | BYTE | LOCKABLE},
    [0xff] = {group5, MODRM | LOCKABLE},
};
