#include "translate_host.h"

static void write_modrm(struct code_writer *w, unsigned reg, struct operand rm)
{
    unsigned reg_bits = (reg & 7) << 3;
    if (!rm.memory) {
        write_byte(w, 0xc0 | reg_bits | (rm.base & 7));
        return;
    }
    if (rm.base == HOST_NONE) {
        /* A SIB byte without a base. */
        unsigned index = rm.index == HOST_NONE ? 4 : rm.index & 7;
        write_byte(w, reg_bits | 4);
        write_byte(w, (unsigned)rm.scale << 6 | index << 3 | 5);
        write_number(w, rm.displacement, 4);
        return;
    }
    bool byte = rm.displacement == (int8_t)rm.displacement;
    bool none = rm.displacement == 0 && (rm.base & 7) != HOST_RBP;
    unsigned mod = none ? 0 : byte ? 0x40 : 0x80;
    if (rm.index != HOST_NONE || (rm.base & 7) == HOST_RSP) {
        unsigned index = rm.index == HOST_NONE ? 4 : rm.index & 7;
        write_byte(w, mod | reg_bits | 4);
        write_byte(w, (unsigned)rm.scale << 6 | index << 3 | (rm.base & 7));
    } else {
        write_byte(w, mod | reg_bits | (rm.base & 7));
    }
    if (!none)
        write_number(w, rm.displacement, byte ? 1 : 4);
}

void host_emit_prefixed(struct code_writer *w, uint8_t prefix, unsigned size, unsigned opcode,
                        unsigned reg, struct operand rm)
{
    unsigned rex = (size == SIZE_64 ? 8 : 0) | (reg >> 3 & 1) << 2;
    if (rm.base != HOST_NONE)
        rex |= rm.base >> 3 & 1;
    if (rm.memory && rm.index != HOST_NONE)
        rex |= (rm.index >> 3 & 1) << 1;
    if (size == SIZE_16)
        write_byte(w, 0x66);
    if (prefix)
        write_byte(w, prefix);
    /* Without REX, 4 to 7 would be AH to BH. */
    if (rex || size == SIZE_8)
        write_byte(w, 0x40 | rex);
    if (opcode > 0xff)
        write_byte(w, opcode >> 8);
    write_byte(w, opcode & 0xff);
    write_modrm(w, reg, rm);
}

void host_emit(struct code_writer *w, unsigned size, unsigned opcode, unsigned reg,
               struct operand rm)
{
    host_emit_prefixed(w, 0, size, opcode, reg, rm);
}

void host_emit_vex(struct code_writer *w, unsigned size, const struct host_vex *vex, unsigned reg,
                   struct operand rm)
{
    /* R, X, B and vvvv are inverted. */
    unsigned high = (reg >> 3 & 1) << 7;
    if (rm.memory && rm.index != HOST_NONE)
        high |= (rm.index >> 3 & 1) << 6;
    if (rm.base != HOST_NONE)
        high |= (rm.base >> 3 & 1) << 5;
    write_byte(w, 0xc4);
    write_byte(w, (high ^ 0xe0) | vex->map);
    write_byte(w, (size == SIZE_64 ? 0x80 : 0) | (~(unsigned)vex->vvvv & 15) << 3 | vex->prefix);
    write_byte(w, vex->opcode);
    write_modrm(w, reg, rm);
}

void host_emit_near(struct code_writer *w, unsigned size, unsigned opcode, unsigned reg,
                    const void *memory)
{
    if (size == SIZE_64)
        write_byte(w, 0x48 | (reg >> 3 & 1) << 2);
    write_byte(w, opcode);
    write_byte(w, (reg & 7) << 3 | 5);
    /* From the instruction's end. */
    write_number(w, (const uint8_t *)memory - (w->at + 4 + w->distance), 4);
}

void host_load_number(struct code_writer *w, enum host reg, uint64_t number)
{
    unsigned rex_b = reg >> 3;
    if (number <= UINT32_MAX) {
        if (rex_b)
            write_byte(w, 0x41);
        write_byte(w, 0xb8 | (reg & 7));
        write_number(w, (int64_t)number, 4);
    } else if ((int64_t)number == (int32_t)number) {
        host_emit(w, SIZE_64, 0xc7, 0, in_register(reg));
        write_number(w, (int64_t)number, 4);
    } else {
        write_byte(w, 0x48 | rex_b);
        write_byte(w, 0xb8 | (reg & 7));
        write_number(w, (int64_t)number, 8);
    }
}

void host_alu_number(struct code_writer *w, unsigned size, unsigned operation, struct operand rm,
                     int32_t number)
{
    if (size == SIZE_8) {
        host_emit(w, size, 0x80, operation, rm);
        write_number(w, number, 1);
    } else if (number == (int8_t)number) {
        host_emit(w, size, 0x83, operation, rm);
        write_number(w, number, 1);
    } else {
        host_emit(w, size, 0x81, operation, rm);
        write_immediate(w, size, number);
    }
}

uint8_t *host_jump_if(struct code_writer *w, unsigned condition)
{
    write_byte(w, 0x0f);
    write_byte(w, 0x80 | condition);
    uint8_t *place = w->at;
    write_number(w, 0, 4);
    return place;
}

uint8_t *host_jump(struct code_writer *w)
{
    write_byte(w, 0xe9);
    uint8_t *place = w->at;
    write_number(w, 0, 4);
    return place;
}

uint8_t *host_jump_near_if(struct code_writer *w, unsigned condition)
{
    write_byte(w, 0x70 | condition);
    uint8_t *place = w->at;
    write_byte(w, 0);
    return place;
}
