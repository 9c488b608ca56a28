/* The two-byte opcodes (SDM 2D table A-3) of the integer and system instruction sets. */
#include "decode_internal.h"
#include "host_features.h"

/* ---- system: 00, 01, 20-23, AE, C7 ---- */

/* SLDT, STR, LLDT, LTR, VERR, VERW */
static insn_handler *group6(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned reg = d->reg & 7;
    if (reg > 5)
        return op_undefined;
    if (reg < 2)
        return d->memory ? system_store_m[reg][d->addressing] : system_store_r[reg][d->size];
    return d->memory ? selector_m[reg - 2][d->addressing] : selector_r[reg - 2];
}

/* Group 7 with a register operand: the whole byte is the opcode. */
static insn_handler *group7_register(struct decoding *d)
{
    switch (0xc0 | (d->reg & 7) << 3 | (d->rm & 7)) {
    case 0xca:
        return op_clac;
    case 0xcb:
        return op_stac;
    case 0xf8:
        return is_64(d) ? op_swapgs : op_undefined;
    case 0xf9:
        return op_rdtscp;
    default:
        break;
    }
    if ((d->reg & 7) == 4)
        return system_store_r[2][d->size];
    if ((d->reg & 7) == 6)
        return op_lmsw_r;
    return NULL;
}

static insn_handler *group7(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned reg = d->reg & 7;
    if (!d->memory)
        return d->repeat || d->operand16 ? NULL : group7_register(d);
    switch (reg) {
    case 0:
    case 1:
    case 2:
    case 3:
        return !is_64(d) && d->operand16 ? NULL : table_operation[reg][d->addressing];
    case 4:
        return system_store_m[2][d->addressing];
    case 6:
        return op_lmsw_m[d->addressing];
    case 7:
        return op_invlpg[d->addressing];
    default:
        return NULL;
    }
}

/* MOV to and from control registers; LOCK makes CR8 of CR0 on AMD, which is left to KVM. */
static insn_handler *control(struct decoding *d, struct insn *insn)
{
    insn->reg = d->reg;
    insn->rm = (uint8_t)(d->rm * 8);
    if (d->reg != 0 && d->reg != 2 && d->reg != 3 && d->reg != 4 && d->reg != 8)
        return op_undefined;
    return d->opcode & 2 ? op_write_control : op_read_control;
}

static insn_handler *debug(struct decoding *d, struct insn *insn)
{
    insn->reg = d->reg;
    insn->rm = (uint8_t)(d->rm * 8);
    if (d->reg > 7)
        return op_undefined;
    return d->opcode & 2 ? op_write_debug : op_read_debug;
}

/* Fences, cache line operations, FS and GS bases; simd_decode.c has those for the FPU's state. */
static insn_handler *group15(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned reg = d->reg & 7;
    if (d->memory) {
        bool line = d->operand16 ? reg >= 6 : reg == 7; /* CLWB, CLFLUSHOPT; CLFLUSH */
        return line && !d->repeat ? op_touch[d->addressing] : NULL;
    }
    if (d->repeat == 0xf3 && !d->operand16 && reg < 4)
        return is_64(d) ? segment_base_operation[reg][d->size == 3] : op_undefined;
    if (d->repeat || d->operand16 || reg < 5)
        return NULL;
    return reg == 6 ? op_mfence : op_nop;
}

/* CMPXCHG8B, CMPXCHG16B, RDRAND, RDSEED, RDPID */
static insn_handler *group9(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned reg = d->reg & 7;
    if (d->memory)
        return reg == 1 ? compare_exchange_pair[d->size == 3][d->addressing] : NULL;
    if (reg < 6 || d->lock)
        return NULL;
    if (d->repeat == 0xf3 && reg == 7)
        return op_rdpid;
    if (d->repeat)
        return NULL;
    bool known = reg == 6 ? host_features()->rdrand : host_features()->rdseed;
    return known ? op_random[reg - 6][d->size] : op_undefined;
}

static insn_handler *sysret(struct decoding *d, struct insn *insn)
{
    insn->immediate = d->size == 3;
    return d->opcode == 0x07 ? op_sysret : op_sysexit;
}

/* ---- conditions ---- */

static insn_handler *conditional_move(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned condition = d->opcode & 15;
    return d->memory ? cmov_rm[condition][d->addressing][d->size] : cmov_rr[condition][d->size];
}

static insn_handler *conditional_jump(struct decoding *d, struct insn *insn)
{
    insn->reg = d->opcode & 15; /* for decode_fuse() */
    return jump_conditional[mode_index(d)][d->opcode & 15];
}

static insn_handler *conditional_set(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned condition = d->opcode & 15;
    return d->memory ? set_m[condition][d->addressing] : set_r[condition];
}

/* ---- segments ---- */

/* A0, A1, A8, A9: FS and GS */
static insn_handler *stack_segment(struct decoding *d, struct insn *insn)
{
    insn->base = REG_RSP * 8;
    insn->reg = d->opcode >> 3 & 7;
    return (d->opcode & 1 ? segment_pop : segment_push)[stack_form(d)];
}

/* B2, B4, B5: SS, FS, GS */
static insn_handler *load_far(struct decoding *d, struct insn *insn)
{
    insn->immediate = d->opcode & 7;
    return d->memory ? segment_load_far[d->addressing][d->size] : op_undefined;
}

static insn_handler *load_rights(struct decoding *d, struct insn *insn)
{
    enum selector_operation operation = d->opcode == 2 ? SELECTOR_LAR : SELECTOR_LSL;
    insn->immediate = d->size;
    return d->memory ? selector_m[operation][d->addressing] : selector_r[operation];
}

/* ---- bits, shifts, arithmetic ---- */

static insn_handler *bit_register(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned operation = d->opcode >> 3 & 3;
    if (!d->memory)
        return bit_rr[operation][d->size];
    return (d->lock ? bit_lock_mr : bit_mr)[operation][d->addressing][d->size];
}

static insn_handler *bit_immediate(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned operation = d->reg & 3;
    if ((d->reg & 7) < 4)
        return op_undefined;
    if (!d->memory)
        return bit_ri[operation][d->size];
    return (d->lock ? bit_lock_mi : bit_mi)[operation][d->addressing][d->size];
}

/* BC and BD: with F3 TZCNT and LZCNT, where the processor has them */
static insn_handler *bit_scan(struct decoding *d, struct insn *insn)
{
    (void)insn;
    enum scan scan = d->opcode & 1 ? SCAN_BSR : SCAN_BSF;
    bool counts = d->opcode & 1 ? host_features()->lzcnt : host_features()->bmi1;
    if (d->repeat == 0xf3 && counts)
        scan = d->opcode & 1 ? SCAN_LZCNT : SCAN_TZCNT;
    return d->memory ? scan_rm[scan][d->addressing][d->size] : scan_rr[scan][d->size];
}

static insn_handler *population_count(struct decoding *d, struct insn *insn)
{
    (void)insn;
    if (d->repeat != 0xf3)
        return NULL;
    if (!host_features()->popcnt)
        return op_undefined;
    return d->memory ? scan_rm[SCAN_POPCNT][d->addressing][d->size] : scan_rr[SCAN_POPCNT][d->size];
}

/* A4, A5, AC, AD */
static insn_handler *double_shift(struct decoding *d, struct insn *insn)
{
    (void)insn;
    unsigned right = d->opcode >> 3 & 1;
    if (d->opcode & 1)
        return d->memory ? double_mc[right][d->addressing][d->size] : double_rc[right][d->size];
    return d->memory ? double_mi[right][d->addressing][d->size] : double_ri[right][d->size];
}

static insn_handler *multiply(struct decoding *d, struct insn *insn)
{
    (void)insn;
    return d->memory ? imul_rm[d->addressing][d->size] : imul_rr[d->size];
}

static insn_handler *compare_exchange(struct decoding *d, struct insn *insn)
{
    (void)insn;
    if (!d->memory)
        return compare_exchange_rr[d->size];
    return (d->lock ? compare_exchange_lock_mr : compare_exchange_mr)[d->addressing][d->size];
}

static insn_handler *add_exchange(struct decoding *d, struct insn *insn)
{
    (void)insn;
    if (!d->memory)
        return add_exchange_rr[d->size];
    return (d->lock ? add_exchange_lock_mr : add_exchange_mr)[d->addressing][d->size];
}

/* B6, B7, BE, BF */
static insn_handler *extend(struct decoding *d, struct insn *insn)
{
    enum extend kind = (d->opcode & 8 ? SIGN_EXTEND_8 : ZERO_EXTEND_8) + (d->opcode & 1);
    decode_operands(d, insn, d->size, d->opcode & 1);
    return d->memory ? extend_rm[kind][d->addressing][d->size] : extend_rr[kind][d->size];
}

static insn_handler *move_nontemporal(struct decoding *d, struct insn *insn)
{
    (void)insn;
    if (!d->memory || d->operand16 || d->repeat)
        return NULL;
    return move_mr[d->addressing][d->size];
}

static insn_handler *swap(struct decoding *d, struct insn *insn)
{
    insn->rm = (uint8_t)(opcode_register(d) * 8);
    return swap_r[d->size];
}

#define SIMPLE(name, table)                                                                        \
    static insn_handler *name(struct decoding *d, struct insn *insn)                               \
    {                                                                                              \
        (void)d;                                                                                   \
        (void)insn;                                                                                \
        return table;                                                                              \
    }
SIMPLE(syscall, op_syscall)
SIMPLE(sysenter, op_sysenter)
SIMPLE(clts, op_clts)
SIMPLE(cache, op_wbinvd)
SIMPLE(undefined, op_undefined)
SIMPLE(nop, op_nop)
SIMPLE(wrmsr, op_wrmsr)
SIMPLE(rdtsc, op_rdtsc)
SIMPLE(rdmsr, op_rdmsr)
SIMPLE(cpuid, op_cpuid)
SIMPLE(unknown, NULL)

const struct opcode opcodes_0f[256] = {
    [0x00] = {group6, MODRM},
    [0x01] = {group7, MODRM},
    [0x02 ... 0x03] = {load_rights, MODRM},
    [0x05] = {syscall, ENDS},
    [0x06] = {clts, 0},
    [0x07] = {sysret, ENDS},
    [0x08 ... 0x09] = {cache, 0},
    [0x0b] = {undefined, ENDS},
    [0x0d] = {nop, MODRM},
    [0x18 ... 0x1f] = {nop, MODRM},
    [0x20] = {control, MODRM},
    [0x21] = {debug, MODRM},
    [0x22] = {control, MODRM},
    [0x23] = {debug, MODRM},
    [0x30] = {wrmsr, 0},
    [0x31] = {rdtsc, 0},
    [0x32] = {rdmsr, 0},
    [0x33] = {unknown, 0},
    [0x34] = {sysenter, ENDS},
    [0x35] = {sysret, ENDS},
    [0x40 ... 0x4f] = {conditional_move, MODRM},
    [0x80 ... 0x8f] = {conditional_jump, NEAR | REL_Z},
    [0x90 ... 0x9f] = {conditional_set, MODRM | BYTE},
    [0xa0 ... 0xa1] = {stack_segment, 0},
    [0xa2] = {cpuid, 0},
    [0xa3] = {bit_register, MODRM},
    [0xa4] = {double_shift, MODRM | IMM_8},
    [0xa5] = {double_shift, MODRM},
    [0xa8 ... 0xa9] = {stack_segment, 0},
    [0x37] = {undefined, 0},
    [0xaa] = {undefined, 0},
    [0xab] = {bit_register, MODRM | LOCKABLE},
    [0xac] = {double_shift, MODRM | IMM_8},
    [0xad] = {double_shift, MODRM},
    [0xae] = {group15, MODRM},
    [0xaf] = {multiply, MODRM},
    [0xb0] = {compare_exchange, MODRM | BYTE | LOCKABLE},
    [0xb1] = {compare_exchange, MODRM | LOCKABLE},
    [0xb2] = {load_far, MODRM},
    [0xb3] = {bit_register, MODRM | LOCKABLE},
    [0xb4 ... 0xb5] = {load_far, MODRM},
    [0xb6 ... 0xb7] = {extend, MODRM},
    [0xb8] = {population_count, MODRM},
    [0xb9] = {undefined, MODRM | ENDS},
    [0xba] = {bit_immediate, MODRM | IMM_8 | LOCKABLE},
    [0xbb] = {bit_register, MODRM | LOCKABLE},
    [0xbc ... 0xbd] = {bit_scan, MODRM},
    [0xbe ... 0xbf] = {extend, MODRM},
    [0xc0] = {add_exchange, MODRM | BYTE | LOCKABLE},
    [0xc1] = {add_exchange, MODRM | LOCKABLE},
    [0xc3] = {move_nontemporal, MODRM},
    [0xc7] = {group9, MODRM | LOCKABLE},
    [0xc8 ... 0xcf] = {swap, 0},
    [0xff] = {undefined, MODRM | ENDS},
};
