/* The opcode table of the kvm-pvm decoder (Intel SDM volume 2). */
#ifndef TSVM_EMULATOR_OPCODES_H
#define TSVM_EMULATOR_OPCODES_H

#include "insn.h"

enum emu_opcode_map {
    EMU_MAP_PRIMARY,
    EMU_MAP_0F,
    EMU_MAP_0F38,
    EMU_MAP_VEX_0F38,
    EMU_MAP_VEX_0F3A,
    EMU_MAP_NONE, /* another map, without instructions in this table */
};

/* In the order of VEX.pp. */
enum emu_opcode_prefix {
    EMU_PREFIX_NONE,
    EMU_PREFIX_66,
    EMU_PREFIX_F3,
    EMU_PREFIX_F2,
    EMU_PREFIX_ANY,
};

enum emu_opcode_form {
    EMU_FORM_BARE,     /* the ModRM byte, if any, does not matter */
    EMU_FORM_EXACT,    /* `modrm` is the whole ModRM byte */
    EMU_FORM_MEMORY,   /* `modrm` is the reg field or EMU_REG_ANY; memory operand */
    EMU_FORM_REGISTER, /* `modrm` is the reg field or EMU_REG_ANY; register operand */
    EMU_FORM_EITHER,
};

#define EMU_REG_ANY 8

struct emu_opcode {
    enum emu_insn_kind kind;
    enum emu_opcode_map map;
    uint8_t opcode;
    enum emu_opcode_prefix prefix;
    enum emu_opcode_form form;
    uint8_t modrm;
    bool wide;          /* only with REX.W */
    bool has_immediate; /* one byte */
};

/*
 * Finds the row for an opcode, or returns NULL. `modrm` selects the row unless the form is
 * EMU_FORM_BARE.
 */
const struct emu_opcode *emu_opcode_find(enum emu_opcode_map map, uint8_t opcode,
                                         enum emu_opcode_prefix prefix, bool wide, uint8_t modrm);

/* Whether the opcode has a ModRM byte: some row, with any prefix, is not EMU_FORM_BARE. */
bool emu_opcode_has_modrm(enum emu_opcode_map map, uint8_t opcode);

#endif
