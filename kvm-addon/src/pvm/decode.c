/* Prefixes, ModRM and immediates, which all instructions share; the opcode tables have the rest. */
#include "decode.h"

#include <string.h>

#include "decode_internal.h"
#include "simd.h"

uint8_t decode_no_byte(struct decoding *d)
{
    if (d->at >= INSN_BYTES_MAX)
        d->too_long = true;
    else
        d->truncated = true;
    return 0;
}

int64_t decode_immediate(struct decoding *d, unsigned bytes)
{
    int8_t byte;
    int16_t word;
    int32_t dword;
    int64_t qword;
    const uint8_t *at = d->bytes + d->at;
    if (d->limit - d->at < bytes) {
        decode_no_byte(d);
        /* Which of the two it is depends on all of its bytes. */
        d->too_long = d->at + bytes > INSN_BYTES_MAX && d->limit == INSN_BYTES_MAX;
        d->truncated = !d->too_long;
        return 0;
    }
    d->at += bytes;
    switch (bytes) {
    case 1:
        memcpy(&byte, at, 1);
        return byte;
    case 2:
        memcpy(&word, at, 2);
        return word;
    case 4:
        memcpy(&dword, at, 4);
        return dword;
    default:
        memcpy(&qword, at, 8);
        return qword;
    }
}

static void decode_sib(struct decoding *d, struct insn *insn)
{
    uint8_t sib = decode_byte(d);
    unsigned index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
    unsigned base = (sib & 7) | (d->rex & REX_B ? 8 : 0);
    if (index != REG_RSP) {
        insn->index = (uint8_t)(index * 8);
        insn->scale |= sib >> 6;
    }
    if ((sib & 7) == REG_RBP && d->mod == 0)
        insn->displacement = (int32_t)decode_immediate(d, 4);
    else
        insn->base = (uint8_t)(base * 8);
}

static void decode_memory(struct decoding *d, struct insn *insn)
{
    insn->scale = (uint8_t)(d->segment << 4);
    if (!is_64(d) && d->address) {
        /* 16-bit addressing, which nothing uses, is left to KVM. */
        d->unsupported = true;
        return;
    }
    if ((d->rm & 7) == REG_RSP) {
        decode_sib(d, insn);
    } else if ((d->rm & 7) == REG_RBP && d->mod == 0) {
        insn->displacement = (int32_t)decode_immediate(d, 4);
        d->rip_relative = is_64(d);
        if (d->rip_relative)
            insn->base = REG_PAGE * 8;
    } else {
        insn->base = (uint8_t)(d->rm * 8);
    }
    if (d->mod == 1)
        insn->displacement = (int32_t)decode_immediate(d, 1);
    else if (d->mod == 2)
        insn->displacement = (int32_t)decode_immediate(d, 4);

    if (!is_64(d) || d->address) {
        d->addressing = ADDRESSING_NARROW;
        /*
         * In 64-bit mode a segment base is added after the address wraps at 32 bits: the handlers
         * cannot do that.
         */
        d->unsupported |= is_64(d) && d->segment != BASE_NONE;
    } else if (insn->index == REG_ZERO * 8 && d->segment == BASE_NONE) {
        d->addressing = ADDRESSING_PLAIN;
    } else if (insn->index == REG_ZERO * 8 && insn->base == REG_ZERO * 8) {
        /* Only a displacement in a segment: use the segment base as the base register. */
        insn->base = (uint8_t)(CPU_SEGMENT_BASE_OFFSET + d->segment * 8);
        insn->scale = 0;
        d->addressing = ADDRESSING_PLAIN;
    }
}

void decode_modrm(struct decoding *d, struct insn *insn)
{
    uint8_t modrm = decode_byte(d);
    d->mod = modrm >> 6;
    d->reg = (modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0);
    d->rm = (modrm & 7) | (d->rex & REX_B ? 8 : 0);
    d->memory = d->mod != 3;
    if (d->memory)
        decode_memory(d, insn);
}

enum prefix { NO_PREFIX, OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPEAT, FS, GS, OTHER_SEGMENT, REX };

static const uint8_t prefixes[256] = {
    [0x26] = OTHER_SEGMENT,
    [0x2e] = OTHER_SEGMENT,
    [0x36] = OTHER_SEGMENT,
    [0x3e] = OTHER_SEGMENT,
    [0x64] = FS,
    [0x65] = GS,
    [0x66] = OPERAND_SIZE,
    [0x67] = ADDRESS_SIZE,
    [0xf0] = LOCK,
    [0xf2] = REPEAT,
    [0xf3] = REPEAT,
    [0x40 ... 0x4f] = REX,
};

/* Consumes legacy prefixes and REX; returns the byte after them. */
static uint8_t decode_prefixes(struct decoding *d)
{
    for (;;) {
        uint8_t byte = decode_byte(d);
        enum prefix prefix = prefixes[byte];
        if (__builtin_expect(prefix == NO_PREFIX, 1) || (prefix == REX && !is_64(d)))
            return byte;
        /* REX counts directly before the opcode only. */
        d->rex = 0;
        switch (prefix) {
        case REX:
            d->rex = byte;
            break;
        case OPERAND_SIZE:
            d->operand16 = true;
            break;
        case ADDRESS_SIZE:
            d->address = true;
            break;
        case LOCK:
            d->lock = true;
            break;
        case REPEAT:
            d->repeat = byte;
            break;
        case FS:
            d->segment = BASE_FS;
            break;
        case GS:
            d->segment = BASE_GS;
            break;
        case OTHER_SEGMENT:
            /* 64-bit mode has no such overrides; elsewhere these segments have base 0. */
            if (!is_64(d))
                d->segment = BASE_NONE;
            break;
        case NO_PREFIX:
            break;
        }
    }
}

static void decode_immediates(struct decoding *d, struct insn *insn, unsigned traits)
{
    unsigned full = d->size == 1 ? 2 : 4;
    if (traits & IMM_8)
        insn->immediate = decode_immediate(d, 1);
    else if (traits & IMM_16)
        insn->immediate = decode_immediate(d, 2);
    else if (traits & IMM_Z)
        insn->immediate = decode_immediate(d, full);
    else if (traits & IMM_V)
        insn->immediate = decode_immediate(d, d->size == 3 ? 8 : full);
    else if (traits & REL_8)
        insn->relative = (int32_t)decode_immediate(d, 1);
    else if (traits & REL_Z)
        insn->relative = (int32_t)decode_immediate(d, 4);
}

/*
 * Decodes the rest of an instruction by its table entry. Returns its handler, NULL if it is not
 * supported.
 */
static insn_handler *decode_entry(struct decoding *d, struct insn *insn, const struct opcode *entry)
{
    unsigned traits = entry->traits;
    if (traits & (is_64(d) ? NOT_64 : ONLY_64))
        return op_undefined;
    if (traits & BYTE)
        d->size = 0;
    if (traits & NEAR && d->size == 1)
        return NULL;
    if (traits & MODRM) {
        decode_modrm(d, insn);
        decode_operands(d, insn, d->size, d->size);
    }
    decode_immediates(d, insn, traits);
    if (d->unsupported)
        return NULL;
    if (d->lock && !(traits & LOCKABLE && d->memory))
        return op_undefined;
    insn_handler *handler = entry->select(d, insn);
    if (!handler && d->lock)
        return op_undefined;
    if (traits & ENDS)
        d->ends = true;
    return handler;
}

/* Make RIP-relative displacements and jump distances relative to the start of the page. */
static bool make_relative_to_page(struct insn *insn, unsigned end)
{
    return !__builtin_add_overflow(insn->displacement, (int32_t)end, &insn->displacement);
}

static void set_outcome(struct decoding *d, struct insn *insn, unsigned offset,
                        insn_handler *handler)
{
    insn->handler = handler;
    insn->place = (uint16_t)(offset | d->at << 12);
    d->ends |= handler == op_unknown || handler == op_undefined || handler == op_too_long;
}

/* VEX takes the place of LES and LDS, which have no register form. */
static bool is_vex(const struct decoding *d, uint8_t byte)
{
    return (byte == 0xc4 || byte == 0xc5) && (is_64(d) || decode_peek(d) >= 0xc0);
}

static insn_handler *decode_opcode(struct decoding *d, struct insn *insn, bool *is_jump)
{
    uint8_t byte = decode_prefixes(d);
    d->opcode = byte;
    d->size = d->rex & REX_W ? 3 : d->operand16 ? 1 : 2;
    if (is_vex(d, byte))
        return decode_vex(d, insn, byte);
    const struct opcode *table = opcodes_one_byte;
    if (byte == 0x0f) {
        table = opcodes_0f;
        d->opcode = decode_byte(d);
        if (d->opcode == 0x38) {
            d->opcode = decode_byte(d);
            return decode_0f38(d, insn);
        }
    }
    const struct opcode *entry = &table[d->opcode];
    *is_jump = entry->traits & (REL_8 | REL_Z);
    return entry->select ? decode_entry(d, insn, entry) : NULL;
}

unsigned decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn, bool *ends)
{
    unsigned limit = available < INSN_BYTES_MAX ? available : INSN_BYTES_MAX;
    struct decoding d = {.bytes = bytes, .limit = limit, .mode = mode};
    bool is_jump = false;
    *insn = (struct insn){.base = REG_ZERO * 8, .index = REG_ZERO * 8};
    insn_handler *handler = decode_opcode(&d, insn, &is_jump);

    if (d.truncated && !d.too_long)
        return 0;
    if (!handler && !d.lock && !d.too_long) {
        int length = simd_decode(bytes, offset, limit, mode, insn);
        if (length > 0 || (length == 0 && limit < INSN_BYTES_MAX)) {
            *ends = false;
            return (unsigned)length;
        }
        d.too_long = length == 0;
    }
    if (d.too_long)
        handler = op_too_long;
    else if (!handler)
        handler = op_unknown;
    if ((is_jump || d.rip_relative) && !make_relative_to_page(insn, offset + d.at))
        handler = op_unknown;
    set_outcome(&d, insn, offset, handler);
    *ends = d.ends;
    return d.at;
}
