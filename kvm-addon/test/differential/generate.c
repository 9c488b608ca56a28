#include "generate.h"

#include <string.h>

#include "forms.h"
#include "operands.h"
#include "random.h"

uint64_t random_state = 1;

/* The initial content of a register; see `kinds`. */
enum register_kind { POINTER, SMALL, EDGE, RANDOM, FS_POINTER };

/* ---- initial registers ---- */

static void set_register(struct builder *b, unsigned number)
{
    uint64_t *r = &b->program->start.r[number];
    unsigned kind = random_below(16);
    if (kind < 8) {
        *r = random_pointer();
    } else if (kind < 10) {
        *r = (uint64_t)(int64_t)(int8_t)random_word();
    } else if (kind < 12) {
        *r = edge_value();
    } else if (kind < 13 && !b->program->compat) {
        *r = random_pointer() - native_fs_base;
        b->fs_pointers |= 1u << number;
    } else {
        *r = random_word();
    }
    if (b->program->compat)
        *r = (uint32_t)*r;
}

static void set_start(struct builder *b)
{
    struct state *start = &b->program->start;
    for (unsigned i = 0; i < 16; i++)
        set_register(b, i);
    /* Sets RSP, and often RCX, RSI and RDI, as instructions with implicit operands need them. */
    b->fs_pointers &= ~RSP;
    start->r[4] = DATA_BASE + PAGE + random_below(PAGE / 8) * 8;
    if (one_in(16))
        start->r[4] += random_below(8);
    if (one_in(32))
        start->r[4] = DATA_BASE + random_below(5) * PAGE + random_below(16) - 8;
    if (one_in(4)) {
        b->fs_pointers &= ~(RCX | RSI | RDI);
        start->r[1] = random_below(one_in(8) ? 2000 : 40);
        start->r[6] = random_pointer();
        start->r[7] = one_in(2) ? start->r[6] + random_below(32) - 16 : random_pointer();
    }
    start->rflags = 0x202 | (random_word() & STATUS_FLAGS) | (one_in(4) ? 0x400 : 0);
}

/* ---- assembling instructions ---- */

static void put(struct builder *b, const void *bytes, unsigned length)
{
    memcpy(b->program->bytes + b->program->length, bytes, length);
    b->program->length += length;
}

static void put_byte(struct builder *b, uint8_t byte)
{
    put(b, &byte, 1);
}

static void put_random(struct builder *b, unsigned length)
{
    uint64_t word = one_in(4) ? edge_value() : random_word();
    put(b, &word, length);
}

static void put_prefixes(struct builder *b, const struct encoding *e, bool lock)
{
    /* In 64-bit mode a DS override has no effect. */
    if (!b->program->compat && one_in(64))
        put_byte(b, 0x3e);
    if (e->operand16)
        put_byte(b, 0x66);
    if (e->segment)
        put_byte(b, e->segment);
    if (e->address32)
        put_byte(b, 0x67);
    if (lock)
        put_byte(b, 0xf0);
    if (e->repeat)
        put_byte(b, e->repeat);
}

static void put_vex(struct builder *b, struct encoding *e)
{
    unsigned map = e->form->vex >> 4, prefix = e->form->vex & 15;
    unsigned rex = b->program->compat ? 0 : e->rex;
    put_byte(b, 0xc4);
    put_byte(b, (uint8_t)((~rex & 4) << 5 | (~rex & 2) << 5 | (~rex & 1) << 5 | map));
    put_byte(b, (uint8_t)((e->wide ? 0x80 : 0) | (~e->vvvv & 15) << 3 | prefix));
    put_byte(b, e->opcode[0]);
}

static void put_opcode(struct builder *b, struct encoding *e)
{
    unsigned start = 0;
    /* A mandatory prefix comes before REX. */
    if (e->opcode[0] == 0xf2 || e->opcode[0] == 0xf3 ||
        (e->opcode[0] == 0x66 && e->opcode_length > 1))
        put_byte(b, e->opcode[start++]);
    if (e->wide)
        e->rex |= 8;
    if (!b->program->compat && (e->rex || e->has_rex))
        put_byte(b, 0x40 | e->rex);
    put(b, e->opcode + start, e->opcode_length - start);
}

static unsigned immediate_length(const struct encoding *e)
{
    unsigned traits = e->form->traits, full = e->operand16 && !e->wide ? 2 : 4;
    if (traits & IMM_8)
        return 1;
    if (traits & IMM_16)
        return 2;
    if (traits & IMM_Z)
        return full;
    if (traits & IMM_V)
        return e->wide ? 8 : full;
    return 0;
}

static void finish_rip_relative(struct builder *b, const struct encoding *e, unsigned immediate)
{
    struct program *program = b->program;
    uint64_t next = program->start.rip + program->length + immediate;
    uint32_t distance = (uint32_t)(e->target - next);
    if (e->rip_relative)
        memcpy(program->bytes + program->length - 4, &distance, 4);
}

static void add_label(struct builder *b, unsigned at, unsigned size)
{
    unsigned insn = b->program->insns + 1 + random_below(3);
    b->labels[b->label_count++] =
        (struct label){.insn = insn, .at = at, .size = size, .undefined = b->undefined};
}

/* Resolves the jumps to the place that has been reached. */
static void resolve_labels(struct builder *b, bool all)
{
    struct program *program = b->program;
    for (unsigned i = 0; i < b->label_count; i++) {
        struct label *label = &b->labels[i];
        if (!label->insn || (label->insn != program->insns && !all))
            continue;
        uint32_t value = program->length - label->at - label->size;
        if (label->size == 0)
            value = (uint32_t)program->start.rip + program->length;
        memcpy(program->bytes + label->at, &value, label->size == 1 ? 1 : 4);
        b->undefined |= label->undefined;
        label->insn = 0;
    }
}

/* ---- preparing an instruction ---- */

/* CMP defines all status flags. */
static void define_flags(struct builder *b)
{
    put(b, "\x39\xd8", 2);
    b->undefined = 0;
}

static void push_word(struct builder *b, uint32_t word)
{
    put_byte(b, 0x68);
    put(b, &word, 4);
}

static void push_code_address(struct builder *b)
{
    push_word(b, 0);
    add_label(b, b->program->length - 4, 0);
}

/* The value for POPF has neither TF nor AC, which would cause traps. */
static void push_flags(struct builder *b)
{
    push_word(b, (uint32_t)random_word() & (STATUS_FLAGS | 0x400 | 0x3200 | 0x200000));
}

/* A dividend whose quotient fits. */
static void prepare_dividend(struct builder *b, bool is_signed)
{
    if (is_signed)
        put(b, b->program->compat ? "\x90\x99" : "\x48\x99", 2); /* CDQ, CQO */
    else
        put(b, "\x31\xd2", 2); /* xor %edx, %edx */
    b->clobbered |= RDX;
    b->undefined |= is_signed ? 0 : AF;
}

static void prepare(struct builder *b, struct encoding *e)
{
    const struct form *form = e->form;
    if (form->reads & b->undefined)
        define_flags(b);
    switch (form->kind) {
    case FORM_POPF:
        push_flags(b);
        b->clobbered |= RSP;
        e->operand16 = false;
        break;
    case FORM_RETURN:
        push_code_address(b);
        break;
    case FORM_DIVIDE:
        if (one_in(2) && !e->segment)
            prepare_dividend(b, form->reg == 7);
        break;
    case FORM_INDIRECT: {
        /* mov $label, %reg */
        unsigned rm = e->operands[0] & 7, extended = e->rex & 1;
        if (extended)
            put_byte(b, 0x41);
        put_byte(b, (uint8_t)(0xb8 + rm));
        put(b, "\0\0\0\0", 4);
        add_label(b, b->program->length - 4, 0);
        break;
    }
    case FORM_COMPARE:
        /* mov operand, %rax: with the same ModRM except for the register */
        if (e->memory && !e->rip_relative && !e->segment && !(e->rex & 3) && one_in(2) &&
            !(b->clobbered & RAX)) {
            if (e->address32)
                put_byte(b, 0x67);
            if (!b->program->compat)
                put_byte(b, 0x48);
            put_byte(b, 0x8b);
            put_byte(b, e->operands[0] & 0xc7);
            put(b, e->operands + 1, e->operands_length - 1);
        }
        break;
    default:
        break;
    }
}

static bool uses_stack(const struct form *form)
{
    return form->kind == FORM_STACK || form->kind == FORM_POPF || form->kind == FORM_RETURN ||
           form->opcode[0] == '\xe8' || (form->opcode[0] == '\xff' && form->reg == 2);
}

/* Registers from which an instruction takes an address must contain one. */
static bool is_possible(const struct builder *b, const struct form *form)
{
    unsigned needs = 0;
    if (form->traits & (b->program->compat ? ONLY_64 : NOT_64))
        return false;
    if (uses_stack(form))
        needs |= RSP;
    if (form->kind == FORM_LEAVE)
        needs |= RBP;
    if (form->kind == FORM_STRING)
        needs |= RSI | RDI | RCX;
    if (form->opcode[0] == '\xd7')
        needs |= RBX;
    return !(needs & b->clobbered);
}

static void choose_prefixes(struct builder *b, struct encoding *e)
{
    const struct form *form = e->form;
    bool compat = b->program->compat;
    if (form->traits & PLAIN_SIZE)
        return;
    e->wide = !compat && one_in(3);
    e->operand16 = !(form->traits & NO_66) && one_in(4);
    e->has_rex = one_in(4);
    if (form->kind == FORM_VEX)
        e->vvvv = form->opcode[0] == '\xf0' ? 0 : random_register(b);
    if (form->kind == FORM_STRING) {
        e->repeat = one_in(2) ? 0 : one_in(2) ? 0xf2 : 0xf3;
        return;
    }
    if (form->kind == FORM_STACK && !(form->traits & MODRM))
        return;
    if (one_in(16) && form->traits & MODRM && form->kind != FORM_BIT_OFFSET)
        e->segment = fs_pointer(b) < 0 || one_in(2) ? 0x65 : 0x64;
    else if (!compat && one_in(24) && form->traits & MODRM)
        e->address32 = true;
}

static void put_target(struct builder *b, const struct form *form)
{
    if (form->kind == FORM_JUMP) {
        put_byte(b, 0);
        add_label(b, b->program->length - 1, 1);
    } else if (form->kind == FORM_JUMP_FAR) {
        put(b, "\0\0\0\0", 4);
        add_label(b, b->program->length - 4, 4);
    }
}

/* Conditional jumps are more frequent than other forms, as in real programs. */
static const struct form *choose_form(const struct builder *b)
{
    bool jump = b->program->insns > 0 && one_in(8);
    for (;;) {
        const struct form *form = &forms[random_below(form_count)];
        if (jump && !(form->kind == FORM_JUMP && form->traits & LOW_REGISTER))
            continue;
        if (is_possible(b, form))
            return form;
    }
}

static void generate_insn(struct builder *b)
{
    const struct form *form = choose_form(b);
    struct encoding e = {.form = form, .opcode_length = form->length};
    unsigned clobbered = b->clobbered;
    memcpy(e.opcode, form->opcode, form->length);
    choose_prefixes(b, &e);
    if (form->traits & MODRM)
        encode_modrm(b, &e);
    if (form->traits & LOW_REGISTER) {
        unsigned number = random_register(b);
        e.opcode[form->length - 1] += number & 7;
        e.rex |= number >> 3;
        if (form->kind != FORM_JUMP && form->kind != FORM_JUMP_FAR)
            b->clobbered |= 1u << number | (number < 8 ? 1u << (number & 3) : 0);
    }
    unsigned after = b->clobbered;
    b->clobbered = clobbered;
    prepare(b, &e);
    b->clobbered |= after | form->clobbers;
    if (form->kind == FORM_VEX)
        b->clobbered |= 1u << e.vvvv;
    /* Elsewhere LOCK raises #UD, except before MOV CR0 on AMD, where it means CR8. */
    bool cr8 = form->length == 2 && form->opcode[0] == 0x0f && (form->opcode[1] & 0xfd) == 0x20;
    bool lock = form->kind != FORM_VEX && !cr8 &&
                (form->traits & LOCKABLE && e.memory ? one_in(2) : one_in(200));
    put_prefixes(b, &e, lock);
    if (form->kind == FORM_VEX)
        put_vex(b, &e);
    else
        put_opcode(b, &e);
    put(b, e.operands, e.operands_length);
    unsigned immediate = immediate_length(&e);
    finish_rip_relative(b, &e, immediate);
    put_random(b, immediate);
    put_target(b, form);
    b->undefined = (b->undefined & ~(uint64_t)form->sets) | form->undefined;
    b->program->insns++;
}

void program_generate(struct program *program, bool compat)
{
    struct builder b = {.program = program};
    unsigned insns = 1 + random_below(one_in(4) ? PROGRAM_INSNS_MAX - 1 : 3);
    program->compat = compat;
    program->length = 0;
    program->insns = 0;
    program->start = (struct state){0};
    set_start(&b);
    /* Often across the border of the two pages. */
    uint64_t offset = one_in(4) ? PAGE - random_below(40) : random_below(PAGE);
    program->start.rip = CODE_BASE + offset;
    while (program->insns < insns) {
        resolve_labels(&b, false);
        generate_insn(&b);
    }
    resolve_labels(&b, true);
    program->undefined = b.undefined;
}
