#include "opcodes.h"

#include <stddef.h>

#define BARE(kind, map, opcode)                                                                    \
    {                                                                                              \
        EMU_INSN_##kind, EMU_MAP_##map, opcode, EMU_PREFIX_ANY, EMU_FORM_BARE, 0, false, false     \
    }
#define ROW(kind, map, opcode, prefix, form, modrm)                                                \
    {                                                                                              \
        EMU_INSN_##kind, EMU_MAP_##map, opcode, EMU_PREFIX_##prefix, EMU_FORM_##form, modrm,       \
            false, false                                                                           \
    }

static const struct emu_opcode opcodes[] = {
    BARE(FWAIT, PRIMARY, 0x9b),
    BARE(INT3, PRIMARY, 0xcc),
    ROW(VERR, 0F, 0x00, ANY, EITHER, 4),
    ROW(VERW, 0F, 0x00, ANY, EITHER, 5),
    ROW(CLAC, 0F, 0x01, NONE, EXACT, 0xca),
    ROW(STAC, 0F, 0x01, NONE, EXACT, 0xcb),
    ROW(XGETBV, 0F, 0x01, NONE, EXACT, 0xd0),
    ROW(RDTSCP, 0F, 0x01, NONE, EXACT, 0xf9),
    ROW(LAR, 0F, 0x02, ANY, EITHER, EMU_REG_ANY),
    ROW(LSL, 0F, 0x03, ANY, EITHER, EMU_REG_ANY),
    /* RDSSPD and RDSSPQ are NOPs without shadow stacks, which kvm-pvm hides. */
    ROW(NOP, 0F, 0x1e, F3, REGISTER, 1),
    ROW(LDMXCSR, 0F, 0xae, NONE, MEMORY, 2),
    ROW(STMXCSR, 0F, 0xae, NONE, MEMORY, 3),
    ROW(XSAVE, 0F, 0xae, NONE, MEMORY, 4),
    ROW(XRSTOR, 0F, 0xae, NONE, MEMORY, 5),
    ROW(XSAVEOPT, 0F, 0xae, NONE, MEMORY, 6),
    ROW(CLWB, 0F, 0xae, 66, MEMORY, 6),
    ROW(POPCNT, 0F, 0xb8, F3, EITHER, EMU_REG_ANY),
    BARE(UNDEFINED, 0F, 0xb9), /* UD1 */
    {EMU_INSN_CMPXCHG16B, EMU_MAP_0F, 0xc7, EMU_PREFIX_ANY, EMU_FORM_MEMORY, 1, true, false},
    ROW(XSAVEC, 0F, 0xc7, NONE, MEMORY, 4),
    BARE(UNDEFINED, 0F, 0xff), /* UD0 */
    ROW(CRC32_BYTE, 0F38, 0xf0, F2, EITHER, EMU_REG_ANY),
    ROW(CRC32, 0F38, 0xf1, F2, EITHER, EMU_REG_ANY),
    ROW(ADCX, 0F38, 0xf6, 66, EITHER, EMU_REG_ANY),
    ROW(ADOX, 0F38, 0xf6, F3, EITHER, EMU_REG_ANY),
    ROW(ANDN, VEX_0F38, 0xf2, NONE, EITHER, EMU_REG_ANY),
    ROW(BLSR, VEX_0F38, 0xf3, NONE, EITHER, 1),
    ROW(BLSMSK, VEX_0F38, 0xf3, NONE, EITHER, 2),
    ROW(BLSI, VEX_0F38, 0xf3, NONE, EITHER, 3),
    ROW(BZHI, VEX_0F38, 0xf5, NONE, EITHER, EMU_REG_ANY),
    ROW(PEXT, VEX_0F38, 0xf5, F3, EITHER, EMU_REG_ANY),
    ROW(PDEP, VEX_0F38, 0xf5, F2, EITHER, EMU_REG_ANY),
    ROW(MULX, VEX_0F38, 0xf6, F2, EITHER, EMU_REG_ANY),
    ROW(BEXTR, VEX_0F38, 0xf7, NONE, EITHER, EMU_REG_ANY),
    ROW(SHLX, VEX_0F38, 0xf7, 66, EITHER, EMU_REG_ANY),
    ROW(SARX, VEX_0F38, 0xf7, F3, EITHER, EMU_REG_ANY),
    ROW(SHRX, VEX_0F38, 0xf7, F2, EITHER, EMU_REG_ANY),
    {EMU_INSN_RORX, EMU_MAP_VEX_0F3A, 0xf0, EMU_PREFIX_F2, EMU_FORM_EITHER, EMU_REG_ANY, false,
     true},
};

#define OPCODE_COUNT (sizeof(opcodes) / sizeof(opcodes[0]))

static bool form_matches(const struct emu_opcode *row, uint8_t modrm)
{
    bool is_register = modrm >> 6 == 3;

    switch (row->form) {
    case EMU_FORM_BARE:
        return true;
    case EMU_FORM_EXACT:
        return modrm == row->modrm;
    case EMU_FORM_MEMORY:
        if (is_register)
            return false;
        break;
    case EMU_FORM_REGISTER:
        if (!is_register)
            return false;
        break;
    case EMU_FORM_EITHER:
        break;
    }
    return row->modrm == EMU_REG_ANY || row->modrm == (modrm >> 3 & 7);
}

const struct emu_opcode *emu_opcode_find(enum emu_opcode_map map, uint8_t opcode,
                                         enum emu_opcode_prefix prefix, bool wide, uint8_t modrm)
{
    for (size_t i = 0; i < OPCODE_COUNT; i++) {
        const struct emu_opcode *row = &opcodes[i];
        if (row->map == map && row->opcode == opcode &&
            (row->prefix == EMU_PREFIX_ANY || row->prefix == prefix) && (!row->wide || wide) &&
            form_matches(row, modrm))
            return row;
    }
    return NULL;
}

bool emu_opcode_has_modrm(enum emu_opcode_map map, uint8_t opcode)
{
    for (size_t i = 0; i < OPCODE_COUNT; i++) {
        const struct emu_opcode *row = &opcodes[i];
        if (row->map == map && row->opcode == opcode && row->form != EMU_FORM_BARE)
            return true;
    }
    return false;
}
