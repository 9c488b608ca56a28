#include "integer.h"

#include "state.h"

#define CF EMU_RFLAGS_CF
#define PF EMU_RFLAGS_PF
#define AF EMU_RFLAGS_AF
#define ZF EMU_RFLAGS_ZF
#define SF EMU_RFLAGS_SF
#define OF EMU_RFLAGS_OF

bool emu_is_integer(enum emu_insn_kind kind)
{
    return kind >= EMU_INSN_POPCNT && kind <= EMU_INSN_SHRX;
}

static uint64_t truncate_to(uint64_t value, unsigned bits)
{
    return bits == 64 ? value : value & ((1ull << bits) - 1);
}

static uint64_t zero_and_sign(uint64_t value, unsigned bits)
{
    return (value == 0 ? ZF : 0) | (value >> (bits - 1) & 1 ? SF : 0);
}

/* CRC-32C, reflected (polynomial 0x1edc6f41), over `count` bytes of `data`. */
static uint32_t crc32c(uint32_t crc, uint64_t data, unsigned count)
{
    for (unsigned byte = 0; byte < count; byte++) {
        crc ^= (uint8_t)(data >> 8 * byte);
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

static uint64_t deposit(uint64_t source, uint64_t mask)
{
    uint64_t result = 0;
    for (; mask; mask &= mask - 1, source >>= 1) {
        if (source & 1)
            result |= mask & -mask;
    }
    return result;
}

static uint64_t extract(uint64_t source, uint64_t mask)
{
    uint64_t result = 0;
    for (unsigned at = 0; mask; mask &= mask - 1, at++) {
        if (source & mask & -mask)
            result |= 1ull << at;
    }
    return result;
}

/* Adds with `flag` as carry in and out. */
static struct emu_integer add_with_carry(uint64_t a, uint64_t b, unsigned bits, uint64_t rflags,
                                         uint64_t flag)
{
    uint64_t carry_in = rflags & flag ? 1 : 0;
    uint64_t sum = truncate_to(a + b + carry_in, bits);
    bool carry_out = carry_in ? sum <= a : sum < a;
    return (struct emu_integer){.result = sum, .flags = carry_out ? flag : 0, .flag_mask = flag};
}

/* BEXTR's control operand holds the start in bits 7:0 and the length in bits 15:8. */
static uint64_t bit_field(uint64_t source, uint64_t control)
{
    unsigned start = control & 0xff;
    unsigned length = control >> 8 & 0xff;
    uint64_t field = start < 64 ? source >> start : 0;
    return length < 64 ? truncate_to(field, length) : field;
}

static struct emu_integer with_flags(uint64_t result, uint64_t flags, uint64_t flag_mask)
{
    return (struct emu_integer){.result = result, .flags = flags, .flag_mask = flag_mask};
}

static struct emu_integer multiply(uint64_t a, uint64_t b, unsigned bits)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (struct emu_integer){
        .result = truncate_to((uint64_t)(product >> bits), bits),
        .second = truncate_to((uint64_t)product, bits),
    };
}

struct emu_integer emu_integer_execute(const struct emu_insn *insn, uint64_t source, uint64_t other,
                                       uint64_t rflags)
{
    unsigned bits = insn->operand_size * 8u;
    uint64_t a = truncate_to(source, bits);
    uint64_t b = truncate_to(other, bits);
    unsigned count = (unsigned)b % bits;
    uint64_t result;

    switch (insn->kind) {
    case EMU_INSN_POPCNT:
        return with_flags((uint64_t)__builtin_popcountll(a), a == 0 ? ZF : 0,
                          CF | PF | AF | ZF | SF | OF);
    case EMU_INSN_CRC32_BYTE:
        return with_flags(crc32c((uint32_t)other, source, 1), 0, 0);
    case EMU_INSN_CRC32:
        return with_flags(crc32c((uint32_t)other, source, insn->operand_size), 0, 0);
    case EMU_INSN_ADCX:
        return add_with_carry(a, b, bits, rflags, CF);
    case EMU_INSN_ADOX:
        return add_with_carry(a, b, bits, rflags, OF);
    case EMU_INSN_ANDN:
        result = ~b & a;
        return with_flags(result, zero_and_sign(result, bits), CF | ZF | SF | OF);
    case EMU_INSN_BEXTR:
        result = bit_field(a, b);
        return with_flags(result, result == 0 ? ZF : 0, CF | ZF | OF);
    case EMU_INSN_BLSI:
        result = a & -a;
        return with_flags(result, zero_and_sign(result, bits) | (a ? CF : 0), CF | ZF | SF | OF);
    case EMU_INSN_BLSMSK:
        result = truncate_to(a ^ (a - 1), bits);
        return with_flags(result, zero_and_sign(result, bits) | (a ? 0 : CF), CF | ZF | SF | OF);
    case EMU_INSN_BLSR:
        result = truncate_to(a & (a - 1), bits);
        return with_flags(result, zero_and_sign(result, bits) | (a ? 0 : CF), CF | ZF | SF | OF);
    case EMU_INSN_BZHI: {
        unsigned index = b & 0xff;
        result = index < bits ? truncate_to(a, index) : a;
        return with_flags(result, zero_and_sign(result, bits) | (index >= bits ? CF : 0),
                          CF | ZF | SF | OF);
    }
    case EMU_INSN_MULX:
        return multiply(a, b, bits);
    case EMU_INSN_PDEP:
        return with_flags(deposit(b, a), 0, 0);
    case EMU_INSN_PEXT:
        return with_flags(extract(b, a), 0, 0);
    case EMU_INSN_RORX:
        count = insn->immediate % bits;
        result = count ? a >> count | a << (bits - count) : a;
        return with_flags(truncate_to(result, bits), 0, 0);
    case EMU_INSN_SARX:
        result = bits == 64 ? (uint64_t)((int64_t)a >> count)
                            : (uint32_t)((int32_t)(uint32_t)a >> count);
        return with_flags(result, 0, 0);
    case EMU_INSN_SHLX:
        return with_flags(truncate_to(a << count, bits), 0, 0);
    case EMU_INSN_SHRX:
        return with_flags(a >> count, 0, 0);
    default:
        return with_flags(0, 0, 0);
    }
}
