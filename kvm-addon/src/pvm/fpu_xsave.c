/*
 * FXSAVE, FXRSTOR and the XSAVE family (SDM 1 chapters 10.5 and 13) between the guest's memory and
 * the image. Faults come before any change of state; a save may fault half-way, as on the
 * processor, and is then executed again.
 */
#include <string.h>

#include "access.h"
#include "fpu_state.h"
#include "tlb.h"

#define FXSAVE_ALIGNMENT 16
#define XSAVE_ALIGNMENT 64
#define HEADER_BYTES 64

/* A copy of the guest's area, or what becomes one. */
struct area {
    uint8_t bytes[XSAVE_IMAGE_BYTES] __attribute__((aligned(64)));
};

static bool all_zero(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 8) {
        if (get_u64(bytes + i))
            return false;
    }
    return true;
}

static bool x87_is_initial(const uint8_t *image)
{
    return get_u64(image) == FCW_INITIAL && all_zero(image + XSAVE_FIP, 16) &&
           all_zero(image + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
}

uint64_t fpu_in_use(const struct cpu_fpu *fpu)
{
    uint64_t in_use = 0;

    if (!x87_is_initial(fpu->image))
        in_use |= XSTATE_BIT(X87);
    if (!all_zero(fpu->image + XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM))
        in_use |= XSTATE_BIT(SSE);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (fpu_host.xcr0 >> i & 1 && !all_zero(fpu->image + fpu_host.offset[i], fpu_host.size[i]))
            in_use |= 1ull << i;
    }
    return in_use;
}

uint32_t fpu_compacted_offsets(uint64_t components, uint16_t offsets[XSTATE_COMPONENTS])
{
    uint32_t end = XSAVE_EXTENDED;

    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (!(components >> i & 1))
            continue;
        if (fpu_host.aligned >> i & 1)
            end = (end + 63) & ~63u;
        offsets[i] = (uint16_t)end;
        end += fpu_host.size[i];
    }
    return end;
}

/*
 * The x87 state's first 24 bytes. Without REX.W the two pointers are of 32 bits, each with a
 * selector that newer processors store as 0 (SDM 1 8.1.8).
 */
static void copy_control(uint8_t *to, const uint8_t *from, bool wide)
{
    memcpy(to, from, XSAVE_MXCSR);
    if (!wide) {
        put_u32(to + XSAVE_FIP + 4, 0);
        put_u32(to + XSAVE_FDP + 4, 0);
    }
}

static void require_alignment(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned alignment)
{
    if (va % alignment)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

static void require_mxcsr(struct cpu *cpu, struct insn *insn, uint32_t mxcsr)
{
    if (mxcsr & ~fpu_host.mxcsr_mask)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

/* Bytes of XMM registers that FXSAVE and FXRSTOR move: AMD's fast form has none. */
static unsigned fx_vector_bytes(const struct cpu *cpu)
{
    if (cpu->sregs.efer & EFER_FFXSR && cpu->cpl == 0 && !cpu->compat)
        return 0;
    return cpu->compat ? 8 * 16 : 16 * 16;
}

void fpu_fxsave(struct cpu *cpu, struct insn *insn, bool wide, uint64_t va)
{
    uint8_t area[XSAVE_LEGACY_END];

    require_alignment(cpu, insn, va, FXSAVE_ALIGNMENT);
    fpu_load_image(cpu);
    memcpy(area, cpu->fpu->image, sizeof area);
    copy_control(area, cpu->fpu->image, wide);
    put_u32(area + XSAVE_MXCSR_MASK, fpu_host.mxcsr_mask);
    access_copy_out(cpu, insn, va, area, XSAVE_XMM + fx_vector_bytes(cpu));
}

void fpu_fxrstor(struct cpu *cpu, struct insn *insn, bool wide, uint64_t va)
{
    uint8_t area[XSAVE_LEGACY_END];
    unsigned vectors = fx_vector_bytes(cpu);

    require_alignment(cpu, insn, va, FXSAVE_ALIGNMENT);
    access_copy_in(cpu, insn, va, area, XSAVE_XMM + vectors);
    require_mxcsr(cpu, insn, get_u32(area + XSAVE_MXCSR));
    fpu_own_image(cpu);
    uint8_t *image = cpu->fpu->image;
    copy_control(image, area, wide);
    memcpy(image + XSAVE_MXCSR, area + XSAVE_MXCSR, 4);
    memcpy(image + XSAVE_ST, area + XSAVE_ST, XSAVE_XMM - XSAVE_ST + vectors);
}

/* Components from XMM on, out of the image into an area where they lie at `offsets`. */
static void gather(const struct cpu_fpu *fpu, struct area *area, uint64_t components,
                   const uint16_t offsets[XSTATE_COMPONENTS])
{
    if (components & XSTATE_BIT(SSE))
        memcpy(area->bytes + XSAVE_XMM, fpu->image + XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (components >> i & 1)
            memcpy(area->bytes + offsets[i], fpu->image + fpu_host.offset[i], fpu_host.size[i]);
    }
}

static void write_part(struct cpu *cpu, struct insn *insn, const struct area *area, uint64_t va,
                       unsigned at, unsigned length)
{
    access_copy_out(cpu, insn, va + at, area->bytes + at, length);
}

void fpu_xsave(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va)
{
    enum fpu_operation operation = operands.operation;
    bool compact = operation == FPU_XSAVEC || operation == FPU_XSAVES;
    struct cpu_fpu *fpu = cpu->fpu;
    uint64_t requested =
        fpu->xcr0 & ((uint64_t)(uint32_t)cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX]);
    uint16_t compacted[XSTATE_COMPONENTS] = {0};
    struct area area;

    require_alignment(cpu, insn, va, XSAVE_ALIGNMENT);
    fpu_load_image(cpu);
    uint64_t in_use = fpu_in_use(fpu) & requested;
    /*
     * The compacted format has MXCSR with the SSE state, which is in use when MXCSR is not initial.
     */
    if (compact && requested & XSTATE_BIT(SSE) &&
        get_u32(fpu->image + XSAVE_MXCSR) != MXCSR_INITIAL)
        in_use |= XSTATE_BIT(SSE);
    /* What is in its initial configuration is left out, but by XSAVE. */
    uint64_t stored = operation == FPU_XSAVE ? requested : in_use;
    const uint16_t *offsets = fpu_host.offset;
    if (compact) {
        fpu_compacted_offsets(requested, compacted);
        offsets = compacted;
    }
    gather(fpu, &area, stored, offsets);

    if (stored & XSTATE_BIT(X87)) {
        copy_control(area.bytes, fpu->image, operands.wide);
        memcpy(area.bytes + XSAVE_ST, fpu->image + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
        write_part(cpu, insn, &area, va, 0, XSAVE_MXCSR);
        write_part(cpu, insn, &area, va, XSAVE_ST, XSAVE_XMM - XSAVE_ST);
    }
    bool has_mxcsr =
        compact ? stored & XSTATE_BIT(SSE) : requested & (XSTATE_BIT(SSE) | XSTATE_BIT(AVX));
    if (has_mxcsr) {
        memcpy(area.bytes + XSAVE_MXCSR, fpu->image + XSAVE_MXCSR, 4);
        put_u32(area.bytes + XSAVE_MXCSR_MASK, fpu_host.mxcsr_mask);
        write_part(cpu, insn, &area, va, XSAVE_MXCSR, 8);
    }
    if (stored & XSTATE_BIT(SSE))
        write_part(cpu, insn, &area, va, XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (stored >> i & 1)
            write_part(cpu, insn, &area, va, offsets[i], fpu_host.size[i]);
    }

    if (compact) {
        put_u64(area.bytes + XSAVE_XSTATE_BV, in_use);
        put_u64(area.bytes + XSAVE_XCOMP_BV, requested | XCOMP_COMPACT);
        write_part(cpu, insn, &area, va, XSAVE_HEADER, 16);
    } else {
        /* Only the requested bits of XSTATE_BV change (13.7). */
        uint64_t before;
        access_copy_in(cpu, insn, va + XSAVE_XSTATE_BV, &before, sizeof before);
        put_u64(area.bytes + XSAVE_XSTATE_BV, (before & ~requested) | in_use);
        write_part(cpu, insn, &area, va, XSAVE_HEADER, 8);
    }
}

/* The checks of 13.8.1, 13.8.2 and 13.12 of a header; XSS is always 0 here. */
static bool header_is_valid(const uint8_t *header, uint64_t xcr0, bool supervisor)
{
    uint64_t xstate_bv = get_u64(header);
    uint64_t xcomp_bv = get_u64(header + 8);

    if (xcomp_bv & XCOMP_COMPACT) {
        return !(xcomp_bv & ~XCOMP_COMPACT & ~xcr0) && !(xstate_bv & ~xcomp_bv) &&
               !(xstate_bv & XCOMP_COMPACT) && all_zero(header + 16, HEADER_BYTES - 16);
    }
    return !supervisor && !(xstate_bv & ~xcr0) && all_zero(header + 8, 16);
}

/* The value that MXCSR takes, or keeps. */
static uint32_t new_mxcsr(const struct cpu_fpu *fpu, const uint8_t *legacy, uint64_t requested,
                          uint64_t xstate_bv, bool compact)
{
    if (!compact && requested & (XSTATE_BIT(SSE) | XSTATE_BIT(AVX)))
        return get_u32(legacy + XSAVE_MXCSR); /* whatever XSTATE_BV says */
    if (compact && requested & XSTATE_BIT(SSE))
        return xstate_bv & XSTATE_BIT(SSE) ? get_u32(legacy + XSAVE_MXCSR) : MXCSR_INITIAL;
    return get_u32(fpu->image + XSAVE_MXCSR);
}

static void restore_x87(uint8_t *image, const uint8_t *legacy, bool wide, bool from_memory)
{
    if (from_memory) {
        copy_control(image, legacy, wide);
        memcpy(image + XSAVE_ST, legacy + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
        return;
    }
    memset(image, 0, XSAVE_MXCSR);
    put_u16(image + XSAVE_FCW, FCW_INITIAL);
    memset(image + XSAVE_ST, 0, XSAVE_XMM - XSAVE_ST);
}

static void restore_part(uint8_t *to, const uint8_t *from, size_t length, bool from_memory)
{
    if (from_memory)
        memcpy(to, from, length);
    else
        memset(to, 0, length);
}

void fpu_xrstor(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va)
{
    struct cpu_fpu *fpu = cpu->fpu;
    uint64_t requested =
        fpu->xcr0 & ((uint64_t)(uint32_t)cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX]);
    uint16_t compacted[XSTATE_COMPONENTS] = {0};
    struct area area;

    require_alignment(cpu, insn, va, XSAVE_ALIGNMENT);
    /* One copy, so that what was checked is what is used. */
    access_copy_in(cpu, insn, va, area.bytes, XSAVE_EXTENDED);
    const uint8_t *header = area.bytes + XSAVE_HEADER;
    if (!header_is_valid(header, fpu->xcr0, operands.operation == FPU_XRSTORS))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    uint64_t xstate_bv = get_u64(header);
    uint64_t xcomp_bv = get_u64(header + 8);
    bool compact = xcomp_bv & XCOMP_COMPACT;
    const uint16_t *offsets = fpu_host.offset;
    if (compact) {
        fpu_compacted_offsets(xcomp_bv & ~XCOMP_COMPACT, compacted);
        offsets = compacted;
    }
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if ((requested & xstate_bv) >> i & 1)
            access_copy_in(cpu, insn, va + offsets[i], area.bytes + offsets[i], fpu_host.size[i]);
    }
    fpu_load_image(cpu);
    uint32_t mxcsr = new_mxcsr(fpu, area.bytes, requested, xstate_bv, compact);
    require_mxcsr(cpu, insn, mxcsr);

    fpu_own_image(cpu);
    put_u32(fpu->image + XSAVE_MXCSR, mxcsr);
    if (requested & XSTATE_BIT(X87))
        restore_x87(fpu->image, area.bytes, operands.wide, xstate_bv & XSTATE_BIT(X87));
    if (requested & XSTATE_BIT(SSE))
        restore_part(fpu->image + XSAVE_XMM, area.bytes + XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM,
                     xstate_bv & XSTATE_BIT(SSE));
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (requested >> i & 1)
            restore_part(fpu->image + fpu_host.offset[i], area.bytes + offsets[i], fpu_host.size[i],
                         xstate_bv >> i & 1);
    }
}
