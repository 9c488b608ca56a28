#include "decode.h"

#include "opcodes.h"
#include "register.h"

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

struct decoder {
    const uint8_t *bytes;
    size_t length;
    size_t at;
    bool ended; /* tried to read past the end */

    bool lock;
    bool operand_66;
    bool address_67;
    uint8_t repeat; /* 0, or the last 0xf2 or 0xf3 prefix */
    uint64_t segment_base;

    uint8_t rex; /* the REX bits, or the equivalent bits of a VEX prefix */
    bool has_rex;
    bool has_vex;
    bool vex_256; /* VEX.L */
    uint8_t vvvv;
};

static uint8_t take(struct decoder *decoder)
{
    if (decoder->at >= decoder->length) {
        decoder->ended = true;
        return 0;
    }
    return decoder->bytes[decoder->at++];
}

static int32_t take_i32(struct decoder *decoder)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 32; shift += 8)
        value |= (uint32_t)take(decoder) << shift;
    return (int32_t)value;
}

/*
 * Consumes the prefixes and returns the byte after them. Legacy prefixes come in any order; a REX
 * prefix is effective only directly before the opcode (Intel SDM volume 2, 2.2.1).
 */
static uint8_t take_prefixes(struct decoder *decoder, uint64_t fs_base, uint64_t gs_base)
{
    for (;;) {
        uint8_t byte = take(decoder);
        switch (byte) {
        case 0x66:
            decoder->operand_66 = true;
            break;
        case 0x67:
            decoder->address_67 = true;
            break;
        case 0xf0:
            decoder->lock = true;
            break;
        case 0xf2:
        case 0xf3:
            decoder->repeat = byte;
            break;
        case 0x64:
            decoder->segment_base = fs_base;
            break;
        case 0x65:
            decoder->segment_base = gs_base;
            break;
        case 0x26: /* ES, CS, SS and DS: their bases are zero in 64-bit mode, so they are ignored */
        case 0x2e:
        case 0x36:
        case 0x3e:
            break;
        case 0x40 ... 0x4f:
            decoder->rex = byte & 15;
            decoder->has_rex = true;
            continue;
        default:
            return byte;
        }
        decoder->rex = 0;
        decoder->has_rex = false;
    }
}

static enum emu_opcode_prefix mandatory_prefix(const struct decoder *decoder)
{
    if (decoder->repeat)
        return decoder->repeat == 0xf3 ? EMU_PREFIX_F3 : EMU_PREFIX_F2;
    return decoder->operand_66 ? EMU_PREFIX_66 : EMU_PREFIX_NONE;
}

/* The three-byte VEX prefix after its 0xc4; its R, X, B and vvvv fields are stored inverted. */
static enum emu_opcode_map take_vex(struct decoder *decoder, enum emu_opcode_prefix *prefix)
{
    uint8_t second = take(decoder);
    uint8_t third = take(decoder);

    decoder->has_vex = true;
    decoder->rex = (uint8_t)((~second >> 5 & 7) | (third & 0x80 ? REX_W : 0));
    decoder->vvvv = ~third >> 3 & 15;
    decoder->vex_256 = third & 4;
    *prefix = (enum emu_opcode_prefix)(third & 3);
    switch (second & 0x1f) {
    case 2:
        return EMU_MAP_VEX_0F38;
    case 3:
        return EMU_MAP_VEX_0F3A;
    default:
        return EMU_MAP_NONE;
    }
}

/*
 * The effective address. For a RIP-relative address, the next instruction's RIP is still missing.
 */
static uint64_t take_address(struct decoder *decoder, uint8_t modrm, const struct kvm_regs *regs,
                             bool *rip_relative)
{
    unsigned mod = modrm >> 6;
    unsigned base = modrm & 7;
    bool has_base = true;
    uint64_t address = 0;

    *rip_relative = false;
    if (base == 4) {
        uint8_t sib = take(decoder);
        unsigned index = (sib >> 3 & 7) | (decoder->rex & REX_X ? 8 : 0);
        if (index != 4)
            address = emu_register_read(regs, index) << (sib >> 6);
        base = sib & 7;
        has_base = base != 5 || mod != 0;
    } else if (base == 5 && mod == 0) {
        *rip_relative = true;
        has_base = false;
    }
    if (has_base)
        address += emu_register_read(regs, base | (decoder->rex & REX_B ? 8 : 0));
    if (mod == 1)
        address += (uint64_t)(int64_t)(int8_t)take(decoder);
    else if (mod == 2 || !has_base)
        address += (uint64_t)(int64_t)take_i32(decoder);
    return address;
}

static enum emu_opcode_map take_legacy_map(struct decoder *decoder, uint8_t *opcode)
{
    if (*opcode != 0x0f)
        return EMU_MAP_PRIMARY;
    *opcode = take(decoder);
    if (*opcode == 0x3a)
        return EMU_MAP_NONE;
    if (*opcode != 0x38)
        return EMU_MAP_0F;
    *opcode = take(decoder);
    return EMU_MAP_0F38;
}

/* True if an encoding of a known instruction raises #UD. */
static bool is_malformed(const struct decoder *decoder, const struct emu_opcode *row)
{
    if (decoder->lock && row->kind != EMU_INSN_CMPXCHG16B)
        return true;
    if (!decoder->has_vex)
        return false;
    return decoder->vex_256 || decoder->operand_66 || decoder->repeat || decoder->has_rex ||
           (row->kind == EMU_INSN_RORX && decoder->vvvv != 0);
}

static bool has_16_bit_form(enum emu_insn_kind kind)
{
    return kind == EMU_INSN_POPCNT || kind == EMU_INSN_CRC32 || kind == EMU_INSN_LAR ||
           kind == EMU_INSN_LSL;
}

static uint8_t operand_size(const struct decoder *decoder, enum emu_insn_kind kind)
{
    if (decoder->rex & REX_W)
        return 8;
    return decoder->operand_66 && has_16_bit_form(kind) ? 2 : 4;
}

struct emu_insn emu_decode(const uint8_t *bytes, size_t length, const struct kvm_regs *regs,
                           uint64_t fs_base, uint64_t gs_base)
{
    struct emu_insn insn = {.kind = EMU_INSN_UNKNOWN};
    struct decoder decoder = {
        .bytes = bytes,
        .length = length < EMU_INSN_LENGTH_MAX ? length : EMU_INSN_LENGTH_MAX,
    };
    enum emu_opcode_map map;
    enum emu_opcode_prefix prefix;

    uint8_t opcode = take_prefixes(&decoder, fs_base, gs_base);
    if (opcode == 0xc4) {
        map = take_vex(&decoder, &prefix);
        opcode = take(&decoder);
    } else {
        map = take_legacy_map(&decoder, &opcode);
        prefix = mandatory_prefix(&decoder);
    }
    uint8_t modrm = 0;
    if (!decoder.ended && emu_opcode_has_modrm(map, opcode))
        modrm = take(&decoder);
    if (decoder.ended) {
        /* After 15 bytes it is not truncated but too long for any CPU. */
        insn.kind = decoder.length == EMU_INSN_LENGTH_MAX ? EMU_INSN_UNKNOWN : EMU_INSN_TRUNCATED;
        return insn;
    }
    const struct emu_opcode *row = emu_opcode_find(map, opcode, prefix, decoder.rex & REX_W, modrm);
    if (!row)
        return insn;

    bool rip_relative = false;
    insn.operand_size = operand_size(&decoder, row->kind);
    insn.has_rex = decoder.has_rex;
    insn.vvvv = decoder.vvvv;
    insn.reg = (uint8_t)((modrm >> 3 & 7) | (decoder.rex & REX_R ? 8 : 0));
    insn.rm = (uint8_t)((modrm & 7) | (decoder.rex & REX_B ? 8 : 0));
    insn.is_memory = row->form != EMU_FORM_BARE && modrm >> 6 != 3;
    if (insn.is_memory)
        insn.address = take_address(&decoder, modrm, regs, &rip_relative);
    if (row->has_immediate)
        insn.immediate = take(&decoder);
    if (decoder.ended) {
        insn.kind = decoder.length == EMU_INSN_LENGTH_MAX ? EMU_INSN_UNKNOWN : EMU_INSN_TRUNCATED;
        return insn;
    }
    insn.length = (uint8_t)decoder.at;
    if (rip_relative)
        insn.address += regs->rip + insn.length;
    if (decoder.address_67)
        insn.address = (uint32_t)insn.address;
    insn.address += decoder.segment_base;
    insn.kind = is_malformed(&decoder, row) ? EMU_INSN_UNDEFINED : row->kind;
    return insn;
}

const char *emu_insn_name(enum emu_insn_kind kind)
{
    static const char *const names[EMU_INSN_KINDS] = {
        [EMU_INSN_UNDEFINED] = "ud",
        [EMU_INSN_NOP] = "nop",
        [EMU_INSN_INT3] = "int3",
        [EMU_INSN_FWAIT] = "fwait",
        [EMU_INSN_STAC] = "stac",
        [EMU_INSN_CLAC] = "clac",
        [EMU_INSN_RDTSCP] = "rdtscp",
        [EMU_INSN_CLWB] = "clwb",
        [EMU_INSN_POPCNT] = "popcnt",
        [EMU_INSN_CRC32_BYTE] = "crc32_byte",
        [EMU_INSN_CRC32] = "crc32",
        [EMU_INSN_ADCX] = "adcx",
        [EMU_INSN_ADOX] = "adox",
        [EMU_INSN_ANDN] = "andn",
        [EMU_INSN_BEXTR] = "bextr",
        [EMU_INSN_BLSI] = "blsi",
        [EMU_INSN_BLSMSK] = "blsmsk",
        [EMU_INSN_BLSR] = "blsr",
        [EMU_INSN_BZHI] = "bzhi",
        [EMU_INSN_MULX] = "mulx",
        [EMU_INSN_PDEP] = "pdep",
        [EMU_INSN_PEXT] = "pext",
        [EMU_INSN_RORX] = "rorx",
        [EMU_INSN_SARX] = "sarx",
        [EMU_INSN_SHLX] = "shlx",
        [EMU_INSN_SHRX] = "shrx",
        [EMU_INSN_CMPXCHG16B] = "cmpxchg16b",
        [EMU_INSN_XGETBV] = "xgetbv",
        [EMU_INSN_XSAVE] = "xsave",
        [EMU_INSN_XSAVEOPT] = "xsaveopt",
        [EMU_INSN_XSAVEC] = "xsavec",
        [EMU_INSN_XRSTOR] = "xrstor",
        [EMU_INSN_LDMXCSR] = "ldmxcsr",
        [EMU_INSN_STMXCSR] = "stmxcsr",
        [EMU_INSN_LAR] = "lar",
        [EMU_INSN_LSL] = "lsl",
        [EMU_INSN_VERR] = "verr",
        [EMU_INSN_VERW] = "verw",
    };
    return kind < EMU_INSN_KINDS && names[kind] ? names[kind] : "unknown";
}
