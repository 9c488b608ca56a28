/* The opcode table of the kvm-pvm decoder (Intel SDM volume 2). */
#ifndef TSVM_PVM_OPCODES_H
#define TSVM_PVM_OPCODES_H

#include "pvm_decode.h"

enum pvm_opcode_map {
    PVM_MAP_PRIMARY,
    PVM_MAP_0F,
    PVM_MAP_0F38,
    PVM_MAP_VEX_0F38,
    PVM_MAP_VEX_0F3A,
    PVM_MAP_NONE, /* no instruction of the table is in this map */
};

/* In the order of VEX.pp. */
enum pvm_opcode_prefix {
    PVM_PREFIX_NONE,
    PVM_PREFIX_66,
    PVM_PREFIX_F3,
    PVM_PREFIX_F2,
    PVM_PREFIX_ANY,
};

enum pvm_opcode_form {
    PVM_FORM_BARE,     /* no ModRM byte is looked at */
    PVM_FORM_EXACT,    /* `modrm` is the whole ModRM byte */
    PVM_FORM_MEMORY,   /* `modrm` is the reg field or PVM_REG_ANY, the operand is memory */
    PVM_FORM_REGISTER, /* ... a register */
    PVM_FORM_EITHER,
};

#define PVM_REG_ANY 8

struct pvm_opcode {
    enum pvm_insn_kind kind;
    enum pvm_opcode_map map;
    uint8_t opcode;
    enum pvm_opcode_prefix prefix;
    enum pvm_opcode_form form;
    uint8_t modrm;
    bool wide;          /* only with REX.W */
    bool has_immediate; /* one byte */
};

/*
 * The row for an opcode, or NULL. For a form other than PVM_FORM_BARE the row is settled by the
 * ModRM byte; `modrm` is ignored for the others.
 */
const struct pvm_opcode *pvm_opcode_find(enum pvm_opcode_map map, uint8_t opcode,
                                         enum pvm_opcode_prefix prefix, bool wide, uint8_t modrm);

/* Whether the table has a row with this opcode and any prefix that is not PVM_FORM_BARE. */
bool pvm_opcode_has_modrm(enum pvm_opcode_map map, uint8_t opcode);

#endif
