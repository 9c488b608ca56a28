/*
 * Reads the bytes of an instruction: prefixes, VEX and EVEX, opcode, operands. Whatever is not
 * found in the table is left to KVM.
 */
#include <string.h>

#include "fpu_state.h"
#include "simd_decode.h"

#define LENGTH_MAX 15
#define NOT_OURS (-1)

static uint8_t next_byte(struct simd_decoder *d)
{
    if (d->at >= d->available) {
        d->over = true;
        return 0;
    }
    return d->bytes[d->at++];
}

static uint8_t peek_byte(struct simd_decoder *d)
{
    if (d->at >= d->available) {
        d->over = true;
        return 0;
    }
    return d->bytes[d->at];
}

static int32_t next_displacement(struct simd_decoder *d, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint32_t)next_byte(d) << 8 * i;
    return bytes == 1 ? (int8_t)value : (int32_t)value;
}

/* Legacy prefixes and REX; returns the byte after them. False: LOCK, which nothing here takes. */
static bool read_prefixes(struct simd_decoder *d, uint8_t *opcode)
{
    for (;;) {
        uint8_t byte = next_byte(d);
        switch (byte) {
        case 0x66:
            d->operand16 = true;
            continue;
        case 0x67:
            d->address_override = true;
            continue;
        case 0xf2:
        case 0xf3:
            d->repeat = byte;
            continue;
        case 0x64:
            d->segment = BASE_FS;
            continue;
        case 0x65:
            d->segment = BASE_GS;
            continue;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (d->compat)
                d->segment = BASE_NONE;
            continue;
        case 0xf0:
            return false;
        }
        if (!d->compat && (byte & 0xf0) == 0x40) {
            d->has_rex = true;
            d->rex = byte;
            byte = next_byte(d);
        }
        *opcode = byte;
        return true;
    }
}

static void use_rex(struct simd_decoder *d)
{
    d->w = d->rex >> 3 & 1;
    d->r = d->rex >> 2 & 1;
    d->x = d->rex >> 1 & 1;
    d->b = d->rex & 1;
}

/* 0F, 0F 38, 0F 3A with the mandatory prefix. */
static void read_legacy_opcode(struct simd_decoder *d)
{
    d->encoding = SIMD_LEGACY;
    d->map = SIMD_0F;
    d->opcode = next_byte(d);
    if (d->opcode == 0x38 || d->opcode == 0x3a) {
        d->map = d->opcode == 0x38 ? SIMD_0F38 : SIMD_0F3A;
        d->opcode = next_byte(d);
    }
    d->prefix = SIMD_NP;
    if (d->repeat)
        d->prefix = d->repeat == 0xf3 ? SIMD_F3 : SIMD_F2;
    else if (d->operand16)
        d->prefix = SIMD_66;
    use_rex(d);
}

static bool has_any_prefix(const struct simd_decoder *d)
{
    return d->operand16 || d->repeat || d->has_rex;
}

static bool read_vex(struct simd_decoder *d, bool three_bytes)
{
    /* In 32-bit code this is LES or LDS, unless ModRM.mod would be 3. */
    if (has_any_prefix(d) || (d->compat && peek_byte(d) < 0xc0))
        return false;
    d->encoding = SIMD_VEX;
    uint8_t first = next_byte(d);
    uint8_t last = first;
    d->r = !(first >> 7);
    d->map = SIMD_0F;
    if (three_bytes) {
        d->x = !(first >> 6 & 1);
        d->b = !(first >> 5 & 1);
        d->map = first & 31;
        last = next_byte(d);
        d->w = last >> 7;
    }
    d->vvvv = ~last >> 3 & 15;
    d->length = last >> 2 & 1;
    d->prefix = last & 3;
    d->opcode = next_byte(d);
    return d->map >= SIMD_0F && d->map <= SIMD_0F3A;
}

static bool read_evex(struct simd_decoder *d)
{
    if (has_any_prefix(d) || (d->compat && peek_byte(d) < 0xc0))
        return false;
    d->encoding = SIMD_EVEX;
    uint8_t p0 = next_byte(d), p1 = next_byte(d), p2 = next_byte(d);
    d->r = !(p0 >> 7);
    d->x = !(p0 >> 6 & 1);
    d->b = !(p0 >> 5 & 1);
    d->r_high = !(p0 >> 4 & 1);
    d->map = p0 & 7;
    d->w = p1 >> 7;
    d->vvvv = ~p1 >> 3 & 15;
    d->prefix = p1 & 3;
    d->zeroing = p2 >> 7;
    d->length = p2 >> 5 & 3;
    d->evex_b = p2 >> 4 & 1;
    d->v_high = !(p2 >> 3 & 1);
    d->mask = p2 & 7;
    d->opcode = next_byte(d);
    return !(p0 & 8) && p1 & 4 && d->map >= SIMD_0F && d->map <= SIMD_0F3A;
}

static void read_modrm(struct simd_decoder *d)
{
    d->modrm = next_byte(d);
    d->mod = d->modrm >> 6;
    d->reg = d->modrm >> 3 & 7;
    d->rm = d->modrm & 7;
}

/*
 * The memory operand into `insn`, as decode() does it. RIP-relative ones lie at a distance from
 * the page, which is known with the instruction's length. False: 16-bit addresses, VSIB and what
 * does not fit.
 */
static bool read_memory(struct simd_decoder *d, struct insn *insn, unsigned disp8_scale,
                        bool *relative)
{
    *relative = false;
    insn->base = insn->index = REG_ZERO * 8;
    insn->scale = (uint8_t)(d->segment << 4);
    if (d->mod == 3)
        return true;
    if (d->compat && d->address_override)
        return false;
    unsigned displacement = d->mod == 1 ? 1 : d->mod == 2 ? 4 : 0;
    if (d->rm == 4) {
        uint8_t sib = next_byte(d);
        unsigned index = (sib >> 3 & 7) | d->x << 3;
        if (index != 4) {
            insn->index = (uint8_t)(index * 8);
            insn->scale |= sib >> 6;
        }
        if ((sib & 7) == 5 && d->mod == 0)
            displacement = 4;
        else
            insn->base = (uint8_t)(((sib & 7) | d->b << 3) * 8);
    } else if (d->rm == 5 && d->mod == 0) {
        displacement = 4;
        if (!d->compat) {
            *relative = true;
            insn->base = REG_PAGE * 8;
        }
    } else {
        insn->base = (uint8_t)((d->rm | d->b << 3) * 8);
    }
    insn->displacement = next_displacement(d, displacement);
    if (displacement == 1)
        insn->displacement *= (int32_t)disp8_scale;
    return true;
}

/* Completes `insn` once all bytes are read. Returns its length. */
static int finish(const struct simd_decoder *d, unsigned offset, bool relative, struct insn *insn)
{
    if (d->over)
        return 0;
    if (d->at > LENGTH_MAX)
        return NOT_OURS;
    if (relative &&
        __builtin_add_overflow(insn->displacement, (int)(offset + d->at), &insn->displacement))
        return NOT_OURS;
    insn->place = (uint16_t)(offset | d->at << 12);
    return (int)d->at;
}

/* 32-bit addresses: compat mode, or an address-size prefix. */
static bool has_short_address(const struct simd_decoder *d)
{
    return d->compat || d->address_override;
}

static void choose_handler(const struct simd_decoder *d, union simd_key key, struct insn *insn)
{
    struct simd_form form;

    simd_describe(key, &form);
    insn->immediate = (int64_t)key.bits;
    if (!form.bytes)
        insn->handler = simd_register;
    else
        insn->handler = (form.stores ? simd_store : simd_load)[has_short_address(d)];
}

static int decode_vector(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    union simd_key key;
    bool relative;

    read_modrm(d);
    if (d->over)
        return 0;
    if (!simd_find_key(d, &key))
        return NOT_OURS;
    struct simd_form form;
    simd_describe(key, &form);
    /* EVEX scales a displacement of one byte by the operand's size (SDM 2 2.7.5). */
    unsigned scale = d->encoding == SIMD_EVEX ? form.bytes : 1;
    if (!read_memory(d, insn, scale, &relative))
        return NOT_OURS;
    const struct simd_row *row = simd_row(key.row);
    /* 16-bit general registers are not in the table. */
    if (row->flags & SIMD_WIDTH && d->operand16 && row->prefix != SIMD_66)
        return NOT_OURS;
    if (row->flags & SIMD_IMMEDIATE) {
        key.immediate = next_byte(d);
        /* Its low half is ignored; in 32-bit code bit 7 too. */
        if (row->flags & SIMD_IMMEDIATE_REGISTER)
            key.immediate &= d->compat ? 0x70 : 0xf0;
    }
    choose_handler(d, key, insn);
    return finish(d, offset, relative, insn);
}

static void set_operation(const struct simd_decoder *d, struct insn *insn,
                          enum fpu_operation operation)
{
    struct fpu_operands operands = {
        .operation = operation,
        .wide = d->w && !d->compat,
        .narrow = d->operand16,
        .reg = (uint8_t)(d->reg | d->r << 3),
        .rm = (uint8_t)(d->rm | d->b << 3),
    };

    memcpy(&insn->immediate, &operands, sizeof operands);
    insn->handler = simd_operation[has_short_address(d)];
}

static int decode_operation(struct simd_decoder *d, unsigned offset, struct insn *insn,
                            enum fpu_operation operation)
{
    bool relative;

    if (!read_memory(d, insn, 1, &relative))
        return NOT_OURS;
    set_operation(d, insn, operation);
    return finish(d, offset, relative, insn);
}

static int decode_x87(struct simd_decoder *d, unsigned offset, struct insn *insn, uint8_t opcode)
{
    static const struct {
        uint8_t opcode, reg;
        enum fpu_operation operation;
    } environment[] = {{0xd9, 4, FPU_FLDENV},
                       {0xd9, 6, FPU_FNSTENV},
                       {0xdd, 4, FPU_FRSTOR},
                       {0xdd, 6, FPU_FNSAVE}};
    union simd_key key = {.bits = 0};
    bool relative;

    use_rex(d);
    read_modrm(d);
    if (d->over)
        return 0;
    for (unsigned i = 0; i < sizeof environment / sizeof *environment; i++) {
        if (d->mod != 3 && opcode == environment[i].opcode && d->reg == environment[i].reg)
            return decode_operation(d, offset, insn, environment[i].operation);
    }
    if (!simd_x87_describe(opcode, d->modrm).is_valid || !read_memory(d, insn, 1, &relative))
        return NOT_OURS;
    key.used = 1;
    key.encoding = SIMD_X87;
    key.opcode = opcode;
    key.memory = d->mod != 3;
    key.immediate = d->modrm;
    choose_handler(d, key, insn);
    return finish(d, offset, relative, insn);
}

/* 0F AE: FXSAVE to XSAVEOPT, LDMXCSR, STMXCSR. Fences, CLFLUSH and so on are not ours. */
static int decode_state(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    static const int8_t operations[8] = {FPU_FXSAVE, FPU_FXRSTOR, FPU_LDMXCSR,  FPU_STMXCSR,
                                         FPU_XSAVE,  FPU_XRSTOR,  FPU_XSAVEOPT, -1};
    read_modrm(d);
    if (d->over)
        return 0;
    int operation = operations[d->reg];
    if (d->mod == 3 || d->prefix != SIMD_NP || operation < 0)
        return NOT_OURS;
    if (operation == FPU_XSAVEOPT && !(fpu_host.xsave_features & XSAVE_FEATURE_XSAVEOPT))
        return NOT_OURS;
    if (d->compat && d->reg >= 4)
        return NOT_OURS;
    return decode_operation(d, offset, insn, (enum fpu_operation)operation);
}

/* 0F C7: XRSTORS, XSAVEC, XSAVES. */
static int decode_compacted(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    read_modrm(d);
    if (d->over)
        return 0;
    if (d->mod == 3 || d->prefix != SIMD_NP || d->reg < 3 || d->reg > 5 || d->compat)
        return NOT_OURS;
    unsigned feature = d->reg == 4 ? XSAVE_FEATURE_XSAVEC : XSAVE_FEATURE_XSAVES;
    if (!(fpu_host.xsave_features & feature))
        return NOT_OURS;
    return decode_operation(d, offset, insn,
                            d->reg == 3   ? FPU_XRSTORS
                            : d->reg == 4 ? FPU_XSAVEC
                                          : FPU_XSAVES);
}

/* 0F 01 D0 and D1: XGETBV, XSETBV. */
static int decode_xcr(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    read_modrm(d);
    if (d->over)
        return 0;
    if ((d->modrm != 0xd0 && d->modrm != 0xd1) || d->prefix != SIMD_NP)
        return NOT_OURS;
    return decode_operation(d, offset, insn, d->modrm == 0xd0 ? FPU_XGETBV : FPU_XSETBV);
}

/* Stores to [RDI] without a ModRM operand for it. */
static int decode_maskmovdqu(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    read_modrm(d);
    if (d->over)
        return 0;
    if (d->mod != 3 || (d->compat && d->address_override))
        return NOT_OURS;
    int length = decode_operation(d, offset, insn, FPU_MASKMOVDQU);
    insn->base = REG_RDI * 8;
    return length;
}

static int decode_vzero(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    if (d->over)
        return 0;
    if (d->vvvv || !simd_has_feature(SIMD_AVX))
        return NOT_OURS;
    set_operation(d, insn, d->length ? FPU_VZEROALL : FPU_VZEROUPPER);
    return finish(d, offset, false, insn);
}

/* EMMS has no ModRM. */
static int decode_emms(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    union simd_key key = {.bits = 0};

    if (d->over)
        return 0;
    key.used = 1;
    key.encoding = SIMD_X87;
    key.opcode = SIMD_X87_EMMS;
    choose_handler(d, key, insn);
    return finish(d, offset, false, insn);
}

static int decode_legacy(struct simd_decoder *d, unsigned offset, struct insn *insn)
{
    read_legacy_opcode(d);
    if (d->map == SIMD_0F) {
        switch (d->opcode) {
        case 0x01:
            return decode_xcr(d, offset, insn);
        case 0x77:
            return d->prefix == SIMD_NP ? decode_emms(d, offset, insn) : NOT_OURS;
        case 0xae:
            return decode_state(d, offset, insn);
        case 0xc7:
            return decode_compacted(d, offset, insn);
        case 0xf7:
            if (d->prefix == SIMD_66)
                return decode_maskmovdqu(d, offset, insn);
            break;
        }
    }
    return decode_vector(d, offset, insn);
}

int simd_decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn)
{
    struct simd_decoder d = {
        .bytes = bytes,
        .available = available,
        .compat = mode == DECODE_COMPAT32,
    };
    uint8_t opcode;

    *insn = (struct insn){.base = REG_ZERO * 8, .index = REG_ZERO * 8};
    if (!read_prefixes(&d, &opcode))
        return NOT_OURS;
    if (d.over)
        return 0;
    switch (opcode) {
    case 0x0f:
        return decode_legacy(&d, offset, insn);
    case 0x9b:
        set_operation(&d, insn, FPU_FWAIT);
        return finish(&d, offset, false, insn);
    case 0xd8 ... 0xdf:
        return decode_x87(&d, offset, insn, opcode);
    case 0xc4:
    case 0xc5:
        if (!read_vex(&d, opcode == 0xc4))
            return d.over ? 0 : NOT_OURS;
        if (d.map == SIMD_0F && d.opcode == 0x77 && d.prefix == SIMD_NP)
            return decode_vzero(&d, offset, insn);
        return decode_vector(&d, offset, insn);
    case 0x62:
        if (!read_evex(&d))
            return d.over ? 0 : NOT_OURS;
        return decode_vector(&d, offset, insn);
    default:
        return NOT_OURS;
    }
}
