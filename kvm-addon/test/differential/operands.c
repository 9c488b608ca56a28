#include "operands.h"

#include <string.h>

#include "random.h"

uint64_t random_pointer(void)
{
    uint64_t offset = 64 + random_below(3 * PAGE - 128);
    if (one_in(2))
        offset &= ~7ull;
    return DATA_BASE + offset;
}

uint64_t edge_value(void)
{
    const uint64_t values[] = {0,
                               1,
                               UINT64_MAX,
                               0x7f,
                               0x80,
                               0xff,
                               0x7fff,
                               0x8000,
                               0xffff,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               0x7fffffffffffffff,
                               0x8000000000000000,
                               0xffff800000000000,
                               0x0000800000000000};
    return values[random_below(sizeof(values) / sizeof(*values))];
}

static uint64_t random_target(bool compat, bool aligned)
{
    unsigned kind = random_below(64);
    if (kind < 45) {
        uint64_t target = random_pointer();
        return aligned && !one_in(4) ? target & ~15ull : target;
    }
    if (kind < 53)
        return DATA_BASE + (1 + random_below(DATA_PAGES - 1)) * PAGE - random_below(16);
    if (kind < 57)
        return DATA_BASE + DATA_READ_ONLY * PAGE + random_below(PAGE);
    if (kind < 60)
        return DATA_BASE + DATA_SIZE - random_below(8);
    if (kind < 62 || compat)
        return DATA_BASE - random_below(16);
    return one_in(2) ? edge_value() : random_word();
}

static bool is_known(const struct builder *b, unsigned number)
{
    return !(b->clobbered & 1u << number);
}

/* Returns a register whose value is known, or -1. */
static int pick_known(const struct builder *b, bool not_rsp)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        unsigned number = random_below(b->program->compat ? 8 : 16);
        if (is_known(b, number) && !(not_rsp && number == 4))
            return (int)number;
    }
    return -1;
}

/* Returns a register that points at data relative to the FS base, or -1. Other values might reach
 * this thread's own data. */
int fs_pointer(const struct builder *b)
{
    for (unsigned i = 0; i < 16; i++)
        if (b->fs_pointers & 1u << i && is_known(b, i))
            return (int)i;
    return -1;
}

static void put_displacement(struct encoding *e, uint64_t displacement, unsigned bytes)
{
    memcpy(e->operands + e->operands_length, &displacement, bytes);
    e->operands_length += bytes;
}

static bool fits(uint64_t displacement, bool narrow)
{
    return narrow || (uint64_t)(int64_t)(int32_t)displacement == displacement;
}

/* [disp32], or RIP-relative: the latter is resolved when the instruction's place is known. */
static void encode_absolute(struct encoding *e, uint64_t target, bool compat, unsigned reg)
{
    if (!compat && !e->segment && one_in(2)) {
        e->rip_relative = true;
        e->target = target;
        e->operands[e->operands_length++] = (uint8_t)((reg & 7) << 3 | 5);
        put_displacement(e, 0, 4);
        return;
    }
    if (compat) {
        e->operands[e->operands_length++] = (uint8_t)((reg & 7) << 3 | 5);
    } else {
        e->operands[e->operands_length++] = (uint8_t)((reg & 7) << 3 | 4);
        e->operands[e->operands_length++] = 0x25;
    }
    put_displacement(e, target, 4);
}

/* Chooses base, index, scale and displacement for the address `target`, as far as possible. */
static void encode_memory(struct builder *b, struct encoding *e, unsigned reg)
{
    const struct state *start = &b->program->start;
    bool compat = b->program->compat, narrow = compat || e->address32;
    /* Processors may also check an address without the segment base: such addresses are avoided. */
    uint64_t target =
        e->segment ? random_pointer() : random_target(compat, e->form->traits & ALIGN_16);
    uint64_t segment_base = e->segment == 0x65   ? NATIVE_GS_BASE
                            : e->segment == 0x64 ? native_fs_base
                                                 : 0;
    uint64_t effective = target - segment_base;
    int base = pick_known(b, false), index = one_in(3) && !e->segment ? pick_known(b, true) : -1;
    if (e->segment == 0x64) {
        base = fs_pointer(b);
        index = -1;
    } else if (e->segment == 0x65 && !fits(effective - (base < 0 ? 0 : start->r[base]), narrow)) {
        base = -1;
    }
    if (base < 0 || (e->segment == 0 && one_in(16) && fits(effective, narrow))) {
        encode_absolute(e, effective, compat, reg);
        return;
    }
    unsigned scale = index >= 0 ? random_below(4) : 0;
    uint64_t sum = start->r[base] + (index >= 0 ? start->r[index] << scale : 0);
    uint64_t displacement = effective - sum;
    unsigned mod = fits(displacement, narrow) ? 2 : random_below(3);
    /* Without a displacement, or with a short one, the operand is at the register's address. */
    if (random_below(3) == 0 && index < 0 && e->segment != 0x65)
        mod = random_below(2);
    if (mod == 0 && (base & 7) == 5)
        mod = 1;
    bool sib = index >= 0 || (base & 7) == 4 || one_in(16);
    e->operands[e->operands_length++] =
        (uint8_t)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : (unsigned)base & 7));
    if (sib) {
        unsigned field = index >= 0 ? (unsigned)index & 7 : 4;
        e->operands[e->operands_length++] =
            (uint8_t)(scale << 6 | field << 3 | ((unsigned)base & 7));
    }
    if (base >= 8)
        e->rex |= 1;
    if (index >= 8)
        e->rex |= 2;
    if (mod == 1)
        put_displacement(e, random_word(), 1);
    else if (mod == 2)
        put_displacement(e, displacement, 4);
}

unsigned random_register(const struct builder *b)
{
    return random_below(b->program->compat ? 8 : 16);
}

void encode_modrm(struct builder *b, struct encoding *e)
{
    const struct form *form = e->form;
    unsigned reg = form->reg >= 0 ? (unsigned)form->reg : random_register(b);
    if (form->opcode[form->length - 1] == 0x20 || form->opcode[form->length - 1] == 0x22)
        reg = form->length == 2 ? (unsigned[]){0, 2, 3, 4}[random_below(4)] : reg;
    if (form->opcode[form->length - 1] == 0x21 && form->length == 2)
        reg &= 7;
    e->memory = form->traits & MEM_ONLY || (!(form->traits & REG_ONLY) && one_in(2));
    if (reg >= 8)
        e->rex |= 4;
    /* Byte registers differ with and without REX: both are clobbered. */
    b->clobbered |= 1u << reg | (reg < 8 ? 1u << (reg & 3) : 0);
    if (e->memory) {
        unsigned kept = b->clobbered;
        /* An address may use the register that the instruction writes. */
        encode_memory(b, e, reg);
        b->clobbered = kept;
        return;
    }
    unsigned rm = random_register(b);
    /* A CALL with the stack in the code changes the code. */
    if (form->kind == FORM_INDIRECT && rm == 4)
        rm = 5;
    if (rm >= 8)
        e->rex |= 1;
    b->clobbered |= 1u << rm | (rm < 8 ? 1u << (rm & 3) : 0);
    e->operands[e->operands_length++] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
}
