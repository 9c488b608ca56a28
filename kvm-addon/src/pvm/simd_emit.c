/* What an instruction needs (its form), and the stub's code. */
#include <stddef.h>
#include <string.h>

#include "fpu_state.h"
#include "simd.h"

/*
 * Registers of a stub: its arguments struct cpu in RDI, the memory operand's address in RSI,
 * struct cpu_fpu in R10 (the call has it in RDX); general operands by the field that names them.
 * Vector, MMX and opmask registers keep their numbers.
 */
enum host_register {
    HOST_RAX = 0,
    HOST_RCX = 1,
    HOST_RDX = 2,
    HOST_MEMORY = 6,
    HOST_CPU = 7,
    HOST_REG = 8,
    HOST_RM = 9,
    HOST_FPU = 10,
    HOST_VVVV = 11,
};

#define FPU_OFFSET(field) ((uint32_t)offsetof(struct cpu_fpu, field))
#define CPU_OFFSET(field) ((uint32_t)offsetof(struct cpu, field))
_Static_assert(offsetof(struct cpu_fpu, vectors) == 0, "displacements of one byte reach all");

static unsigned vector_bytes(union simd_key key)
{
    const struct simd_row *row = simd_row(key.row);

    if (key.encoding == SIMD_LEGACY)
        return 16;
    if (key.encoding == SIMD_VEX)
        return 16u << key.length;
    if (row->evex.flags & EVEX_SCALAR)
        return 16;
    return key.b && !key.memory ? 64 : 16u << key.length;
}

static unsigned memory_bytes(union simd_key key)
{
    const struct simd_row *row = simd_row(key.row);
    unsigned vector = vector_bytes(key);

    if (!key.memory)
        return 0;
    if (key.encoding == SIMD_EVEX && key.b)
        return key.w ? 8 : 4;
    switch ((enum simd_memory)row->memory) {
    case SIMD_NO_MEMORY:
        return 0;
    case SIMD_B1:
        return 1;
    case SIMD_B2:
        return 2;
    case SIMD_B4:
        return 4;
    case SIMD_B8:
        return 8;
    case SIMD_B16:
        return 16;
    case SIMD_B32:
        return 32;
    case SIMD_FULL:
        return row->rm == SIMD_MMX ? 8 : vector;
    case SIMD_HALF:
        return vector / 2;
    case SIMD_QUARTER:
        return vector / 4;
    case SIMD_EIGHTH:
        return vector / 8;
    case SIMD_DUP:
        return vector == 16 ? 8 : vector;
    case SIMD_OPERAND:
        return key.w ? 8 : 4;
    }
    return 0;
}

/* The operands that an instruction writes, as it encodes them. */
static unsigned targets_of(union simd_key key)
{
    unsigned targets = simd_row(key.row)->targets;

    if (key.encoding == SIMD_LEGACY && targets & SIMD_TO_VVVV &&
        simd_row(key.row)->vvvv == SIMD_VECTOR)
        targets = SIMD_TO_RM;
    return targets;
}

static bool is_state(enum simd_operand operand)
{
    return operand == SIMD_VECTOR || operand == SIMD_MMX || operand == SIMD_OPMASK;
}

static void describe_requirements(union simd_key key, struct simd_form *form)
{
    const struct simd_row *row = simd_row(key.row);
    bool opmask = row->reg == SIMD_OPMASK || row->rm == SIMD_OPMASK;

    form->cr0_clear = CR0_TS;
    switch (key.encoding) {
    case SIMD_LEGACY:
        form->cr0_clear = CR0_TS | CR0_EM;
        /* MMX instructions that touch no XMM register do without CR4.OSFXSR. */
        if (row->reg == SIMD_VECTOR || row->rm == SIMD_VECTOR)
            form->cr4_set = CR4_OSFXSR;
        break;
    case SIMD_VEX:
        form->cr4_set = CR4_OSXSAVE;
        form->xcr0_set = XSTATE_BIT(SSE) | XSTATE_BIT(AVX);
        if (opmask)
            form->xcr0_set |= XSTATE_AVX512;
        break;
    case SIMD_EVEX:
        form->cr4_set = CR4_OSXSAVE;
        form->xcr0_set = XSTATE_BIT(SSE) | XSTATE_BIT(AVX) | XSTATE_AVX512;
        break;
    }
}

static void describe_mask(union simd_key key, struct simd_form *form)
{
    const struct simd_row *row = simd_row(key.row);

    if (row->flags & SIMD_VECTOR_MASK) {
        /* VMASKMOVPS and PD by opcode, VPMASKMOVD and Q by W. */
        bool wide = row->vex.w == SIMD_WB ? key.w : key.opcode & 1;
        form->masked_elements = (uint8_t)(vector_bytes(key) / (wide ? 8 : 4));
        form->mask_register = (uint8_t)(key.vvvv | SIMD_VECTOR_MASK_REGISTER);
    } else if (key.mask && key.memory) {
        unsigned element = row->evex.element;
        if (element == SIMD_BY_W)
            element = key.w ? 8 : 4;
        bool scalar = row->evex.flags & EVEX_SCALAR;
        form->masked_elements = (uint8_t)(scalar ? 1 : vector_bytes(key) / element);
        form->mask_register = key.mask;
    }
}

static void describe_x87(union simd_key key, struct simd_form *form)
{
    struct simd_x87 x87 = simd_x87_describe(key.opcode, key.immediate);

    *form = (struct simd_form){
        .bytes = key.memory ? x87.bytes : 0,
        .stores = key.memory && x87.stores,
        .changes_fpu = true,
        .flags = x87.flags | SIMD_X87_STATE,
        .cr0_clear = CR0_EM | CR0_TS,
    };
}

void simd_describe(union simd_key key, struct simd_form *form)
{
    if (key.encoding == SIMD_X87) {
        describe_x87(key, form);
        return;
    }
    const struct simd_row *row = simd_row(key.row);
    unsigned targets = targets_of(key);
    bool stores = key.memory && targets & SIMD_TO_RM;
    *form = (struct simd_form){
        .bytes = (uint8_t)memory_bytes(key),
        .stores = stores,
        .flags = row->flags,
    };
    if (row->flags & SIMD_X87_STATE)
        form->flags |= SIMD_X87_WAITS;
    form->changes_fpu = row->flags & (SIMD_FP | SIMD_X87_STATE | SIMD_STRINGS) ||
                        (targets & SIMD_TO_REG && is_state(row->reg)) ||
                        (targets & SIMD_TO_RM && is_state(row->rm) && !stores) ||
                        (targets & SIMD_TO_VVVV && is_state(row->vvvv));
    bool legacy_alignment =
        key.encoding == SIMD_LEGACY && form->bytes == 16 && !(row->flags & SIMD_UNALIGNED);
    if (form->bytes && (row->flags & SIMD_ALIGNED || legacy_alignment))
        form->alignment = form->bytes - 1;
    describe_requirements(key, form);
    describe_mask(key, form);
}

/* ---- Code ---- */

struct emitter {
    uint8_t *start, *at;
};

static void emit(struct emitter *e, const uint8_t *bytes, size_t length)
{
    memcpy(e->at, bytes, length);
    e->at += length;
}
#define EMIT(e, ...) emit(e, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit_displacement(struct emitter *e, uint32_t displacement)
{
    emit(e, (const uint8_t *)&displacement, sizeof displacement);
}

/* ModRM of [base + disp32]; no base here needs a SIB byte. */
static uint8_t based(unsigned reg, enum host_register base)
{
    return (uint8_t)(0x80 | (reg & 7) << 3 | (base & 7));
}

static void emit_general_move(struct emitter *e, uint8_t opcode, enum host_register host,
                              uint32_t offset)
{
    EMIT(e, (uint8_t)(0x48 | host >> 3 << 2), opcode, based(host, HOST_CPU));
    emit_displacement(e, offset);
}

static void load_general(struct emitter *e, enum host_register host, unsigned number)
{
    emit_general_move(e, 0x8b, host, CPU_OFFSET(r) + number * 8);
}

static void store_general(struct emitter *e, enum host_register host, unsigned number)
{
    emit_general_move(e, 0x89, host, CPU_OFFSET(r) + number * 8);
}

/* MOVUPS of a whole register: legacy instructions leave upper parts alone, others need them. */
static void emit_vector_move(struct emitter *e, union simd_key key, uint8_t opcode, unsigned number)
{
    uint32_t offset = number * 64;
    uint8_t not_r = number & 8 ? 0 : 0x80;

    if (key.encoding == SIMD_LEGACY || fpu_host.vector_bytes == 16) {
        EMIT(e, (uint8_t)(0x41 | (number & 8) >> 1), 0x0f, opcode, based(number, HOST_FPU));
        emit_displacement(e, offset);
    } else if (fpu_host.vector_bytes == 32) {
        EMIT(e, 0xc4, not_r | 0x41, 0x7c, opcode, based(number, HOST_FPU));
        emit_displacement(e, offset);
    } else {
        uint8_t not_r_high = number & 16 ? 0 : 0x10;
        /* The displacement of one byte counts vectors. */
        EMIT(e, 0x62, not_r | not_r_high | 0x41, 0x7c, 0x48, opcode,
             (uint8_t)(0x40 | (number & 7) << 3 | (HOST_FPU & 7)), (uint8_t)number);
    }
}

static void emit_opmask_move(struct emitter *e, uint8_t opcode, unsigned number)
{
    EMIT(e, 0xc4, 0xc1, 0xf8, opcode, based(number, HOST_FPU));
    emit_displacement(e, FPU_OFFSET(opmasks) + number * 8);
}

static void emit_load(struct emitter *e, union simd_key key, enum simd_operand operand,
                      unsigned number, enum host_register host)
{
    switch (operand) {
    case SIMD_VECTOR:
        return emit_vector_move(e, key, 0x10, number);
    case SIMD_OPMASK:
        return emit_opmask_move(e, 0x90, number);
    case SIMD_GENERAL:
        return load_general(e, host, number);
    case SIMD_MMX:
    case SIMD_NONE:
        return;
    }
}

static void emit_store(struct emitter *e, union simd_key key, enum simd_operand operand,
                       unsigned number, enum host_register host)
{
    switch (operand) {
    case SIMD_VECTOR:
        return emit_vector_move(e, key, 0x11, number);
    case SIMD_OPMASK:
        return emit_opmask_move(e, 0x91, number);
    case SIMD_GENERAL:
        return store_general(e, host, number);
    case SIMD_MMX:
    case SIMD_NONE:
        return;
    }
}

/* 0F AE with struct cpu_fpu: LDMXCSR, STMXCSR, and with REX.W FXRSTOR64, FXSAVE64. */
static void emit_state(struct emitter *e, bool wide, unsigned operation, uint32_t offset)
{
    EMIT(e, wide ? 0x49 : 0x41, 0x0f, 0xae, based(operation, HOST_FPU));
    emit_displacement(e, offset);
}
#define FXSAVE 0
#define FXRSTOR 1
#define LDMXCSR 2
#define STMXCSR 3

static unsigned field_number(enum simd_operand operand, unsigned number, enum host_register host)
{
    return operand == SIMD_GENERAL ? host : number;
}

/* The instruction itself, with its general registers and memory operand replaced. */
static void emit_instruction(struct emitter *e, union simd_key key)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    const struct simd_row *row = simd_row(key.row);
    unsigned reg = field_number(row->reg, key.reg, HOST_REG);
    unsigned rm = key.memory ? HOST_MEMORY : field_number(row->rm, key.rm, HOST_RM);
    unsigned vvvv = field_number(row->vvvv, key.vvvv, HOST_VVVV);
    bool r = reg & 8, b = rm & 8;

    switch (key.encoding) {
    case SIMD_LEGACY:
        if (row->prefix != SIMD_NP)
            EMIT(e, prefixes[row->prefix]);
        EMIT(e, (uint8_t)(0x40 | key.w << 3 | r << 2 | b), 0x0f);
        if (row->map != SIMD_0F)
            EMIT(e, row->map == SIMD_0F38 ? 0x38 : 0x3a);
        break;
    case SIMD_VEX:
        EMIT(e, 0xc4, (uint8_t)((!r) << 7 | 0x40 | (!b) << 5 | row->map),
             (uint8_t)(key.w << 7 | (~vvvv & 15) << 3 | key.length << 2 | row->prefix));
        break;
    case SIMD_EVEX: {
        bool x = !key.memory && rm & 16;
        bool r_high = reg & 16;
        EMIT(e, 0x62, (uint8_t)((!r) << 7 | (!x) << 6 | (!b) << 5 | (!r_high) << 4 | row->map),
             (uint8_t)(key.w << 7 | (~vvvv & 15) << 3 | 4 | row->prefix),
             (uint8_t)(key.zeroing << 7 | key.length << 5 | key.b << 4 | (!(vvvv & 16)) << 3 |
                       key.mask));
        break;
    }
    }
    /* ModRM of a memory operand: [RSI]. */
    EMIT(e, (uint8_t)key.opcode, (uint8_t)((key.memory ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7)));
    if (row->flags & SIMD_IMMEDIATE)
        EMIT(e, (uint8_t)key.immediate);
}

static void emit_x87_instruction(struct emitter *e, union simd_key key)
{
    if (key.opcode == SIMD_X87_EMMS)
        EMIT(e, 0x0f, 0x77);
    else if (key.memory)
        EMIT(e, (uint8_t)key.opcode, (uint8_t)((key.immediate & 0x38) | HOST_MEMORY));
    else
        EMIT(e, (uint8_t)key.opcode, (uint8_t)key.immediate);
}

static void load_flags(struct emitter *e)
{
    EMIT(e, 0x0f, 0xb7, based(HOST_RAX, HOST_CPU)); /* movzx eax, word */
    emit_displacement(e, CPU_OFFSET(status));
    EMIT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f: OF; sahf */
}

static void store_flags(struct emitter *e)
{
    EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
    EMIT(e, 0x66, 0x89, based(HOST_RAX, HOST_CPU));
    emit_displacement(e, CPU_OFFSET(status));
}

static void emit_implicit_loads(struct emitter *e, union simd_key key, unsigned flags)
{
    if (flags & SIMD_XMM0)
        emit_vector_move(e, key, 0x10, 0);
    if (flags & SIMD_IMMEDIATE_REGISTER)
        emit_vector_move(e, key, 0x10, key.immediate >> 4);
    if (flags & SIMD_STRINGS)
        load_general(e, HOST_RAX, REG_RAX);
    if (flags & SIMD_STRINGS)
        load_general(e, HOST_RDX, REG_RDX);
    if (key.mask)
        emit_opmask_move(e, 0x90, key.mask);
}

/* PCMPESTRM and PCMPISTRM leave a mask in XMM0, the others (odd opcodes) an index in ECX. */
static void emit_string_result(struct emitter *e, union simd_key key)
{
    if (key.opcode & 1)
        store_general(e, HOST_RCX, REG_RCX);
    else
        emit_vector_move(e, key, 0x11, 0);
}

static void emit_vector_stub(struct emitter *e, union simd_key key)
{
    const struct simd_row *row = simd_row(key.row);
    unsigned flags = row->flags;
    unsigned targets = targets_of(key);
    bool has_vvvv = key.encoding != SIMD_LEGACY;

    if (flags & SIMD_X87_STATE)
        emit_state(e, true, FXRSTOR, FPU_OFFSET(x87));
    emit_load(e, key, row->reg, key.reg, HOST_REG);
    if (!key.memory)
        emit_load(e, key, row->rm, key.rm, HOST_RM);
    if (has_vvvv)
        emit_load(e, key, row->vvvv, key.vvvv, HOST_VVVV);
    emit_implicit_loads(e, key, flags);
    if (flags & SIMD_FP)
        emit_state(e, false, LDMXCSR, FPU_OFFSET(stub_mxcsr));
    emit_instruction(e, key);
    if (flags & SIMD_SETS_FLAGS)
        store_flags(e);
    if (flags & SIMD_FP) {
        emit_state(e, false, STMXCSR, FPU_OFFSET(stub_mxcsr));
        emit_state(e, false, LDMXCSR, FPU_OFFSET(host_mxcsr));
    }
    if (targets & SIMD_TO_VVVV && has_vvvv)
        emit_store(e, key, row->vvvv, key.vvvv, HOST_VVVV);
    if (targets & SIMD_TO_REG)
        emit_store(e, key, row->reg, key.reg, HOST_REG);
    if (targets & SIMD_TO_RM && !key.memory)
        emit_store(e, key, row->rm, key.rm, HOST_RM);
    if (flags & SIMD_STRINGS)
        emit_string_result(e, key);
    if (flags & SIMD_X87_STATE) {
        emit_state(e, true, FXSAVE, FPU_OFFSET(x87));
        EMIT(e, 0xdb, 0xe3); /* fninit */
    }
    if (has_vvvv)
        EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
}

static void emit_x87_stub(struct emitter *e, union simd_key key)
{
    unsigned flags = simd_x87_describe(key.opcode, key.immediate).flags;

    emit_state(e, true, FXRSTOR, FPU_OFFSET(x87));
    if (flags & SIMD_USES_FLAGS)
        load_flags(e);
    emit_x87_instruction(e, key);
    if (flags & SIMD_SETS_FLAGS)
        store_flags(e);
    if (key.opcode == 0xdf && key.immediate == 0xe0) { /* FNSTSW AX */
        EMIT(e, 0x66, 0x89, based(HOST_RAX, HOST_CPU));
        emit_displacement(e, CPU_OFFSET(r));
    }
    emit_state(e, true, FXSAVE, FPU_OFFSET(x87));
    EMIT(e, 0xdb, 0xe3); /* fninit */
}

unsigned simd_emit(union simd_key key, uint8_t *code)
{
    struct emitter e = {.start = code, .at = code};

    EMIT(&e, 0x49, 0x89, 0xd2); /* mov r10, rdx */
    if (key.encoding == SIMD_X87)
        emit_x87_stub(&e, key);
    else
        emit_vector_stub(&e, key);
    EMIT(&e, 0xc3);
    return (unsigned)(e.at - e.start);
}
