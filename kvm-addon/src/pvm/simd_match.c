/*
 * Finds an instruction in the table, and puts its key together. Whatever is not exactly as the
 * table has it (reserved fields, lengths, a mask where there is none) is not found: what makes a
 * processor raise #UD must never get into a stub.
 */
#include "simd_decode.h"

/* The number in a register field; -1 where such an operand has no such number. */
static int register_number(enum simd_operand operand, unsigned low, unsigned high, unsigned higher)
{
    switch (operand) {
    case SIMD_VECTOR:
        return (int)(low | high << 3 | higher << 4);
    case SIMD_GENERAL:
        return higher ? -1 : (int)(low | high << 3);
    case SIMD_OPMASK:
        return high || higher ? -1 : (int)low;
    case SIMD_MMX:
        return (int)low; /* extensions are ignored */
    default:
        return 0;
    }
}

static bool w_matches(unsigned rule, unsigned w)
{
    return rule == SIMD_WIG || rule == SIMD_WB || (rule == SIMD_W1) == w;
}

static bool vex_matches(const struct simd_decoder *d, const struct simd_row *row)
{
    unsigned feature = d->length && !row->vex.scalar ? row->vex.feature256 : row->vex.feature128;

    return w_matches(row->vex.w, d->w) && simd_has_feature(feature);
}

static bool evex_matches(const struct simd_decoder *d, const struct simd_row *row)
{
    unsigned flags = row->evex.flags;
    bool to_opmask = row->reg == SIMD_OPMASK && row->targets & SIMD_TO_REG;
    bool to_memory = d->mod != 3 && row->targets & SIMD_TO_RM;

    if (!w_matches(row->evex.w, d->w))
        return false;
    if (!row->evex.element && (d->mask || d->zeroing))
        return false;
    if (d->zeroing && (!d->mask || to_opmask || to_memory))
        return false;
    if (d->evex_b) {
        if (d->mod != 3)
            return flags & EVEX_BROADCAST && d->length != 3 &&
                   !(d->length < 3 && flags & (EVEX_NO_128 << d->length));
        return flags & (EVEX_ROUNDING | EVEX_SAE) && !(flags & EVEX_NO_512);
    }
    if (flags & EVEX_SCALAR)
        return d->length != 3;
    return d->length != 3 && !(flags & (EVEX_NO_128 << d->length));
}

static bool form_matches(const struct simd_decoder *d, const struct simd_row *row)
{
    if (row->extension != SIMD_ANY && row->extension != d->reg)
        return false;
    if (d->mod == 3 ? row->flags & SIMD_MEMORY_ONLY : row->memory == SIMD_NO_MEMORY)
        return false;
    switch (d->encoding) {
    case SIMD_VEX:
        return vex_matches(d, row);
    case SIMD_EVEX:
        return evex_matches(d, row);
    default:
        return true;
    }
}

/* vvvv where the row has no such operand must be all ones, which is 0 here. */
static bool read_vvvv(const struct simd_decoder *d, const struct simd_row *row, union simd_key *key)
{
    if (d->encoding == SIMD_LEGACY)
        return true;
    if (row->vvvv == SIMD_NONE)
        return !d->vvvv && !d->v_high;
    unsigned vvvv = d->compat ? d->vvvv & 7 : d->vvvv; /* there the fourth bit is ignored */
    int number = register_number(row->vvvv, vvvv & 7, vvvv >> 3, d->v_high);
    key->vvvv = (unsigned)number;
    return number >= 0;
}

static bool read_registers(const struct simd_decoder *d, const struct simd_row *row,
                           union simd_key *key)
{
    if (d->compat && (d->r || d->x || d->b || d->r_high || d->v_high))
        return false;
    if (row->extension == SIMD_ANY) {
        int reg = register_number(row->reg, d->reg, d->r, d->r_high);
        if (reg < 0)
            return false;
        key->reg = (unsigned)reg;
    } else {
        key->reg = d->reg;
        /* Extensions of an opcode extension are ignored, but reserved where they are R'. */
        if (d->r_high)
            return false;
    }
    if (d->mod == 3) {
        unsigned higher = d->encoding == SIMD_EVEX ? d->x : 0;
        int rm = register_number(row->rm, d->rm, d->b, higher);
        if (rm < 0)
            return false;
        key->rm = (unsigned)rm;
    }
    return read_vvvv(d, row, key);
}

/* W where it matters; in 32-bit code general registers have 32 bits whatever W says. */
static unsigned kept_w(const struct simd_decoder *d, const struct simd_row *row)
{
    unsigned rule = d->encoding == SIMD_VEX ? row->vex.w : row->evex.w;

    if (row->flags & (SIMD_WIDTH | SIMD_STRINGS) && (d->compat || d->encoding == SIMD_LEGACY))
        return d->compat ? 0 : d->w;
    if (row->flags & SIMD_STRINGS)
        return d->w;
    return d->encoding != SIMD_LEGACY && rule != SIMD_WIG ? d->w : 0;
}

static bool fill_key(const struct simd_decoder *d, int number, union simd_key *key)
{
    const struct simd_row *row = simd_row((unsigned)number);

    *key = (union simd_key){.bits = 0};
    key->used = 1;
    key->row = (unsigned)number;
    key->encoding = d->encoding;
    key->opcode = d->opcode;
    key->memory = d->mod != 3;
    key->w = kept_w(d, row);
    key->b = d->evex_b;
    key->zeroing = d->zeroing;
    key->mask = d->mask;
    if (d->encoding == SIMD_VEX)
        key->length = row->vex.scalar ? 0 : d->length;
    else if (row->evex.flags & EVEX_SCALAR && !d->evex_b)
        key->length = 0;
    else
        key->length = d->length;
    return read_registers(d, row, key);
}

/* Rows may differ in their memory and register forms, W and lengths: the first that fits. */
bool simd_find_key(const struct simd_decoder *d, union simd_key *key)
{
    int row = simd_first_row(d->encoding, d->map, d->prefix, d->opcode);

    while (row >= 0 && !form_matches(d, simd_row((unsigned)row)))
        row = simd_next_row(d->encoding, row, d->prefix, d->opcode);
    return row >= 0 && fill_key(d, row, key);
}
