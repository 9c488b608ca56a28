/*
 * The x87 environment and state as FNSTENV, FLDENV, FNSAVE and FRSTOR have them in memory
 * (SDM 1 8.1.10, protected mode). Not by the host's instructions: those would store its own
 * pointers where a processor does not restore them.
 */
#include <string.h>

#include "access.h"
#include "fpu_state.h"
#include "tlb.h"

#define REGISTERS 8
#define REGISTER_BYTES 10
#define REGISTER_STRIDE 16 /* in the image */
#define WIDE_ENVIRONMENT_BYTES 28
#define NARROW_ENVIRONMENT_BYTES 14
#define STATE_BYTES (WIDE_ENVIRONMENT_BYTES + REGISTERS * REGISTER_BYTES)
#define FSW_TOP_SHIFT 11

enum tag { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned top_of(uint16_t fsw)
{
    return fsw >> FSW_TOP_SHIFT & 7;
}

static enum tag tag_of(const uint8_t *value)
{
    uint64_t significand = get_u64(value);
    unsigned exponent = get_u16(value + 8) & 0x7fff;

    if (exponent == 0)
        return significand ? TAG_SPECIAL : TAG_ZERO;
    return exponent == 0x7fff || !(significand >> 63) ? TAG_SPECIAL : TAG_VALID;
}

/* Two bits for each physical register, from one bit each and the contents. */
static uint16_t full_tags(const uint8_t *image)
{
    unsigned top = top_of(get_u16(image + XSAVE_FSW));
    uint16_t tags = 0;

    for (unsigned physical = 0; physical < REGISTERS; physical++) {
        unsigned st = (physical - top) % REGISTERS;
        enum tag tag = TAG_EMPTY;
        if (image[XSAVE_FTW] >> physical & 1)
            tag = tag_of(image + XSAVE_ST + st * REGISTER_STRIDE);
        tags |= (uint16_t)(tag << 2 * physical);
    }
    return tags;
}

static uint8_t abridged_tags(uint16_t tags)
{
    uint8_t abridged = 0;

    for (unsigned physical = 0; physical < REGISTERS; physical++) {
        if ((tags >> 2 * physical & 3) != TAG_EMPTY)
            abridged |= (uint8_t)(1 << physical);
    }
    return abridged;
}

static unsigned environment_bytes(bool narrow)
{
    return narrow ? NARROW_ENVIRONMENT_BYTES : WIDE_ENVIRONMENT_BYTES;
}

static void pack_environment(const uint8_t *image, bool narrow, uint8_t *memory)
{
    uint16_t tags = full_tags(image);

    if (narrow) {
        put_u16(memory, get_u16(image + XSAVE_FCW));
        put_u16(memory + 2, get_u16(image + XSAVE_FSW));
        put_u16(memory + 4, tags);
        put_u16(memory + 6, get_u16(image + XSAVE_FIP));
        put_u16(memory + 8, 0);
        put_u16(memory + 10, get_u16(image + XSAVE_FDP));
        put_u16(memory + 12, 0);
        return;
    }
    put_u32(memory, 0xffff0000u | get_u16(image + XSAVE_FCW));
    put_u32(memory + 4, 0xffff0000u | get_u16(image + XSAVE_FSW));
    put_u32(memory + 8, 0xffff0000u | tags);
    put_u32(memory + 12, get_u32(image + XSAVE_FIP));
    put_u32(memory + 16, (uint32_t)(get_u16(image + XSAVE_FOP) & 0x7ff) << 16);
    put_u32(memory + 20, get_u32(image + XSAVE_FDP));
    put_u32(memory + 24, 0xffff0000u);
}

/* FSW with its summary bits as the exceptions and their masks have them. */
static uint16_t with_summary(uint16_t fcw, uint16_t fsw)
{
    fsw &= (uint16_t) ~(FSW_SUMMARY | FSW_BUSY);
    return x87_pending(fcw, fsw) ? fsw | FSW_SUMMARY | FSW_BUSY : fsw;
}

/* The image has registers in stack order: a new top of stack rotates it. */
static void turn_stack(uint8_t *image, unsigned by)
{
    uint8_t before[REGISTERS * REGISTER_STRIDE];

    memcpy(before, image + XSAVE_ST, sizeof before);
    for (unsigned st = 0; st < REGISTERS; st++)
        memcpy(image + XSAVE_ST + st * REGISTER_STRIDE,
               before + (st + by) % REGISTERS * REGISTER_STRIDE, REGISTER_STRIDE);
}

static void unpack_environment(uint8_t *image, bool narrow, const uint8_t *memory)
{
    unsigned step = narrow ? 2 : 4;
    /* Bits 6, 7 and 13 to 15 of FCW are reserved; 6 reads as 1. */
    uint16_t fcw = (get_u16(memory) & 0x1f3f) | 0x40;
    uint16_t fsw = with_summary(fcw, get_u16(memory + step));

    turn_stack(image, top_of(fsw) - top_of(get_u16(image + XSAVE_FSW)));
    put_u16(image + XSAVE_FCW, fcw);
    put_u16(image + XSAVE_FSW, fsw);
    image[XSAVE_FTW] = abridged_tags(get_u16(memory + 2 * step));
    if (narrow) {
        put_u16(image + XSAVE_FOP, 0);
        put_u64(image + XSAVE_FIP, get_u16(memory + 6));
        put_u64(image + XSAVE_FDP, get_u16(memory + 10));
    } else {
        put_u16(image + XSAVE_FOP, get_u16(memory + 18) & 0x7ff);
        put_u64(image + XSAVE_FIP, get_u32(memory + 12));
        put_u64(image + XSAVE_FDP, get_u32(memory + 20));
    }
}

/* As FNINIT does: the registers stay where they are. */
static void initialize(uint8_t *image)
{
    turn_stack(image, 0u - top_of(get_u16(image + XSAVE_FSW)));
    memset(image, 0, XSAVE_MXCSR);
    put_u16(image + XSAVE_FCW, FCW_INITIAL);
}

void fpu_store_environment(struct cpu *cpu, struct insn *insn, struct fpu_operands operands,
                           uint64_t va)
{
    uint8_t memory[STATE_BYTES];
    unsigned length = environment_bytes(operands.narrow);
    bool whole = operands.operation == FPU_FNSAVE;

    fpu_load_image(cpu);
    const uint8_t *image = cpu->fpu->image;
    pack_environment(image, operands.narrow, memory);
    if (whole) {
        for (unsigned st = 0; st < REGISTERS; st++, length += REGISTER_BYTES)
            memcpy(memory + length, image + XSAVE_ST + st * REGISTER_STRIDE, REGISTER_BYTES);
    }
    access_copy_out(cpu, insn, va, memory, length);
    fpu_own_image(cpu);
    if (whole) {
        initialize(cpu->fpu->image);
        return;
    }
    uint16_t fcw = get_u16(cpu->fpu->image + XSAVE_FCW) | X87_EXCEPTIONS;
    put_u16(cpu->fpu->image + XSAVE_FCW, fcw);
    put_u16(cpu->fpu->image + XSAVE_FSW, with_summary(fcw, get_u16(cpu->fpu->image + XSAVE_FSW)));
}

void fpu_load_environment(struct cpu *cpu, struct insn *insn, struct fpu_operands operands,
                          uint64_t va)
{
    uint8_t memory[STATE_BYTES];
    unsigned length = environment_bytes(operands.narrow);
    bool whole = operands.operation == FPU_FRSTOR;

    access_copy_in(cpu, insn, va, memory, whole ? length + REGISTERS * REGISTER_BYTES : length);
    fpu_own_image(cpu);
    uint8_t *image = cpu->fpu->image;
    unpack_environment(image, operands.narrow, memory);
    if (!whole)
        return;
    for (unsigned st = 0; st < REGISTERS; st++, length += REGISTER_BYTES) {
        memset(image + XSAVE_ST + st * REGISTER_STRIDE, 0, REGISTER_STRIDE);
        memcpy(image + XSAVE_ST + st * REGISTER_STRIDE, memory + length, REGISTER_BYTES);
    }
}
