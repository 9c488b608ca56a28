/*
 * Stubs against this processor: random instructions of every row of the table, in every encoding
 * with all of its fields, run as a stub and natively on the same state. Registers, flags, memory
 * and faults must be the same; so is the size of each memory operand, which lies before a page that
 * may not be touched. engine_simd_test [SEED [ROUNDS]]
 */
/* Otherwise <signal.h> defines its own REG_RAX and so on. */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE
#include <stdio.h>

#include "../../src/pvm/fpu_state.h"
#include "../../src/pvm/operands.h"
#include "../../src/pvm/simd.h"
#include "../check.h"
#include "engine_simd_fake.h"
#include "engine_simd_native.h"

#define DATA_BYTES 8192u /* then a page that faults */

static uint8_t *code, *data;
static struct cpu *cpu;
static unsigned refused, compared, faulted, differences;

static unsigned row_compared[SIMD_ROW_NUMBERS][SIMD_ENCODINGS];

static uint64_t random_state = 1;
static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}
static unsigned below(unsigned limit)
{
    return (unsigned)(random64() >> 33) % limit;
}

/* An instruction being assembled. */
struct guess {
    uint8_t bytes[32];
    unsigned length;
    bool is_memory;
};

static void add(struct guess *g, unsigned byte)
{
    g->bytes[g->length++] = (uint8_t)byte;
}

static void add32(struct guess *g, uint32_t value)
{
    memcpy(g->bytes + g->length, &value, 4);
    g->length += 4;
}

/* ModRM, SIB and displacement. `reg` is given by the row, otherwise random. */
static void add_operands(struct guess *g, unsigned extension, bool memory)
{
    unsigned reg = extension == SIMD_ANY ? below(8) : extension;
    g->is_memory = memory;
    if (!memory) {
        add(g, 0xc0 | reg << 3 | below(8));
        return;
    }
    unsigned mod = below(3), rm = below(8);
    add(g, mod << 6 | reg << 3 | rm);
    unsigned base = rm;
    if (rm == 4) {
        unsigned sib = below(256);
        base = sib & 7;
        add(g, sib);
    }
    if (mod == 1)
        add(g, below(256));
    else if (mod == 2 || (mod == 0 && base == 5))
        add32(g, (uint32_t)random64() >> 20);
}

static const uint8_t prefix_bytes[] = {0, 0x66, 0xf3, 0xf2};

static void add_legacy(struct guess *g, const struct simd_row *row, unsigned opcode)
{
    if (prefix_bytes[row->prefix])
        add(g, prefix_bytes[row->prefix]);
    if (below(2))
        add(g, 0x40 | below(16));
    add(g, 0x0f);
    if (row->map == SIMD_0F38)
        add(g, 0x38);
    if (row->map == SIMD_0F3A)
        add(g, 0x3a);
    add(g, opcode);
}

static void add_vex(struct guess *g, const struct simd_row *row, unsigned opcode)
{
    unsigned vvvv = row->vvvv == SIMD_NONE && below(8) ? 15 : below(16);
    add(g, 0xc4);
    add(g, below(8) << 5 | row->map);
    add(g, below(2) << 7 | vvvv << 3 | below(2) << 2 | row->prefix);
    add(g, opcode);
}

static void add_evex(struct guess *g, const struct simd_row *row, unsigned opcode)
{
    unsigned vvvv = row->vvvv == SIMD_NONE && below(8) ? 15 : below(16);
    unsigned v_high = row->vvvv == SIMD_NONE && below(8) ? 1 : below(2);
    unsigned mask = below(2) ? 0 : below(8);
    add(g, 0x62);
    add(g, below(16) << 4 | row->map);
    add(g, below(2) << 7 | vvvv << 3 | 4 | row->prefix);
    add(g, (below(4) == 0) << 7 | below(4) << 5 | (below(4) == 0) << 4 | v_high << 3 | mask);
    add(g, opcode);
}

static void make_vector(struct guess *g, const struct simd_row *row, enum simd_encoding encoding)
{
    unsigned opcode = row->first + below(row->last - row->first + 1u);
    bool memory = row->flags & SIMD_MEMORY_ONLY || (row->memory != SIMD_NO_MEMORY && below(2));

    if (encoding == SIMD_LEGACY)
        add_legacy(g, row, opcode);
    else if (encoding == SIMD_VEX)
        add_vex(g, row, opcode);
    else
        add_evex(g, row, opcode);
    add_operands(g, row->extension, memory);
    if (row->flags & SIMD_IMMEDIATE)
        add(g, below(256));
}

static void make_x87(struct guess *g)
{
    if (below(4) == 0)
        add(g, 0x40 | below(16));
    add(g, 0xd8 + below(8));
    add_operands(g, SIMD_ANY, below(2));
}

/* Special values of floating-point instructions, and random ones. */
static uint64_t interesting(void)
{
    static const uint64_t values[] = {
        0,
        0x3ff0000000000000,
        0xbff8000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000000,
        0x7ff4000000000000,
        0x0008000000000000,
        0x0010000000000001,
        0x7fefffffffffffff,
        0x41e0000000000000,
        0xc3e0000000000000,
        0x3f8000007f800000,
        0xff8000007fc00000,
        0x7fa0000000400000,
        0x807fffff00800001,
        0x4f0000003f000000,
        0x8000000080000000,
        0xffffffffffffffff,
        0x7c00fc003c000001,
    };
    return below(3) ? values[below(sizeof values / sizeof *values)] : random64();
}

static void randomize(uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 8) {
        uint64_t value = interesting();
        memcpy(bytes + i, &value, 8);
    }
}

static void randomize_x87(uint8_t *x87)
{
    uint16_t fcw = 0x40 | (uint16_t)(below(4) ? 0x3f : below(64)) | (uint16_t)(below(16) << 8);
    /* The infinity bit is ignored; precision 01 is reserved. */
    if ((fcw >> 8 & 3) == 1)
        fcw |= 0x200;
    uint16_t fsw = (uint16_t)random64() & 0x7f7f;
    if (x87_pending(fcw, fsw))
        fsw = below(8) ? fsw & (uint16_t) ~(0x3f & ~fcw) : fsw | FSW_SUMMARY | FSW_BUSY;
    put_u16(x87 + XSAVE_FCW, fcw);
    put_u16(x87 + XSAVE_FSW, fsw);
    x87[XSAVE_FTW] = below(2) ? 0 : (uint8_t)random64();
    for (unsigned st = 0; st < 8; st++) {
        static const uint16_t exponents[] = {0, 1, 0x3fff, 0x4000, 0x7fff, 0x7ffe, 0x403e, 0xbfff};
        uint64_t significand = below(4) ? random64() | 1ull << 63 : below(2) ? 1ull << 63 : 0;
        put_u64(x87 + XSAVE_ST + st * 16, significand);
        put_u64(x87 + XSAVE_ST + st * 16 + 8, exponents[below(8)] | (below(2) << 15));
    }
}

/* A random state for the vCPU and the processor. */
static void randomize_state(void)
{
    struct cpu_fpu *fpu = cpu->fpu;

    memset(fpu->image, 0, sizeof fpu->image);
    randomize(fpu->image + XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (fpu_host.xcr0 >> i & 1)
            randomize(fpu->image + fpu_host.offset[i], fpu_host.size[i]);
    }
    randomize_x87(fpu->image);
    uint32_t mxcsr = MXCSR_MASKS | (below(4) << 13) | (below(4) == 0) << 15 | (below(4) == 0) << 6 |
                     (below(4) ? 0 : below(64));
    put_u32(fpu->image + XSAVE_MXCSR, mxcsr);
    put_u64(fpu->image + XSAVE_XSTATE_BV, fpu_host.xcr0);
    memcpy(native.xsave, fpu->image, sizeof fpu->image);
    fpu->registers_valid = false;
    fpu->image_valid = true;
    fpu_load_registers(cpu);
    for (unsigned i = 0; i < 16; i++)
        cpu->r[i] = below(2) ? random64() : below(256);
    cpu->status = (uint16_t)((random64() & 0xd5) << 8 | 0x200 | below(2));
}

/* Sets the base register so that the operand is at `va`. Returns false if that is impossible. */
static bool aim(const struct insn *insn, uint64_t va)
{
    if (insn->base == insn->index || insn->base == REG_ZERO * 8 || insn->base == REG_PAGE * 8)
        return false;
    CPU_REG(uint64_t, cpu, insn->base) = 0;
    CPU_REG(uint64_t, cpu, insn->base) = va - address_general(cpu, insn);
    return true;
}

static void report(const struct guess *g, const char *what)
{
    if (++differences > 30)
        return;
    printf("%s:", what);
    for (unsigned i = 0; i < g->length; i++)
        printf(" %02x", g->bytes[i]);
    printf("\n");
}

static uint64_t status_of_rflags(uint64_t rflags)
{
    return (rflags & 0xd5) << 8 | 0x200 | (rflags >> 11 & 1);
}

/* Runs the stub. Returns the signal. */
static int run_stub(const struct simd_stub *stub, void *memory)
{
    struct cpu_fpu *fpu = cpu->fpu;

    /* Like prepare_x87() and run(). */
    uint16_t fsw = get_u16(fpu->x87 + XSAVE_FSW);
    if (stub->form.flags & SIMD_X87_STATE && !x87_pending(get_u16(fpu->x87), fsw))
        put_u16(fpu->x87 + XSAVE_FSW, fsw & (uint16_t) ~(FSW_SUMMARY | FSW_BUSY));
    fpu->stub_mxcsr = fpu->mxcsr;
    native_signal = 0;
    if (!sigsetjmp(native_escape, 1))
        stub->code(cpu, memory, fpu);
    if (stub->form.flags & SIMD_FP)
        fpu->mxcsr |= fpu->stub_mxcsr & MXCSR_FLAGS;
    fpu->image_valid = false;
    return native_signal;
}

static bool same_general_state(void)
{
    return !memcmp(cpu->r, native.r, sizeof native.r) &&
           cpu->status == status_of_rflags(native.rflags);
}

/* The stub does not set FOP, FIP and FDP. */
static bool same_fpu_state(void)
{
    fpu_load_image(cpu);
    uint8_t *ours = cpu->fpu->image, *theirs = native.xsave;
    memset(ours + XSAVE_FOP, 0, XSAVE_MXCSR - XSAVE_FOP);
    memset(theirs + XSAVE_FOP, 0, XSAVE_MXCSR - XSAVE_FOP);
    if (memcmp(ours, theirs, XSAVE_MXCSR + 4))
        return false;
    if (memcmp(ours + XSAVE_ST, theirs + XSAVE_ST, XSAVE_LEGACY_END - XSAVE_ST))
        return false;
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (fpu_host.xcr0 >> i & 1 &&
            memcmp(ours + fpu_host.offset[i], theirs + fpu_host.offset[i], fpu_host.size[i]))
            return false;
    }
    return true;
}

static void explain(void)
{
    if (differences > 30)
        return;
    for (unsigned i = 0; i < 16; i++) {
        if (cpu->r[i] != native.r[i])
            printf("  r%u %llx not %llx\n", i, (unsigned long long)cpu->r[i],
                   (unsigned long long)native.r[i]);
    }
    printf("  status %x not %llx\n", cpu->status,
           (unsigned long long)status_of_rflags(native.rflags));
    for (unsigned i = 0; i < sizeof cpu->fpu->image; i++) {
        if (i / 64 != XSAVE_HEADER / 64 && cpu->fpu->image[i] != native.xsave[i]) {
            printf("  image from %u: %02x not %02x\n", i, cpu->fpu->image[i], native.xsave[i]);
            break;
        }
    }
}

/* Whether the operand may extend into the inaccessible page: not where a mask decides. */
static uint64_t choose_address(const struct simd_form *form)
{
    uint64_t end = (uint64_t)(uintptr_t)data + DATA_BYTES;
    unsigned bytes = form->bytes ? form->bytes : 1;
    uint64_t va = end - bytes;

    if (!form->masked_elements && below(8) == 0)
        va += 1 + below(bytes);
    else if (below(2))
        va -= below(300);
    if (form->alignment && below(8))
        va &= ~(uint64_t)form->alignment;
    return va;
}

static void compare(const struct guess *g, const struct insn *insn)
{
    static uint8_t before[DATA_BYTES], after[DATA_BYTES];
    union simd_key key = {.bits = (uint64_t)insn->immediate};
    uint32_t hint = 0;
    const struct simd_stub *stub = simd_arena_find(cpu->fpu->arena, key, &hint);
    const struct simd_form *form = &stub->form;

    randomize_state();
    uint64_t va = 0;
    if (form->bytes) {
        va = choose_address(form);
        if (!aim(insn, va))
            return;
    }
    if (form->flags & SIMD_X87_WAITS &&
        x87_pending(get_u16(cpu->fpu->x87), get_u16(cpu->fpu->x87 + XSAVE_FSW)))
        return;
    randomize(before, sizeof before);
    memcpy(data, before, sizeof before);
    memcpy(native.r, cpu->r, sizeof native.r);
    native.rflags = 0x202 | (cpu->status >> 8 & 0xd5) | (cpu->status & 1) << 11;
    int native_result = native_run(code, g->bytes, g->length);
    memcpy(after, data, sizeof after);
    memcpy(data, before, sizeof before);

    uint64_t end = (uint64_t)(uintptr_t)data + DATA_BYTES;
    bool misaligned = va & form->alignment;
    bool crosses = form->bytes && va + form->bytes > end;
    if (native_result == SIGILL) {
        report(g, "undefined, but in the table");
        return;
    }
    /* Some processors allow misaligned operands of the SHA instructions, and memory operands that
     * are absent with no mask bit. */
    if (misaligned && !native_result &&
        ((key.encoding == SIMD_LEGACY && simd_row(key.row)->legacy == SIMD_SHA) ||
         form->masked_elements))
        return;
    if (!!native_result != (misaligned || crosses)) {
        report(g, native_result ? "faults natively" : "does not fault natively");
        printf("  signal %d bytes %u alignment %u end-va %d\n", native_result, form->bytes,
               form->alignment, (int)(end - va));
        return;
    }
    if (native_result) {
        faulted++;
        if (!misaligned && run_stub(stub, (void *)(uintptr_t)va) == 0)
            report(g, "the stub does not fault");
        return;
    }
    compared++;
    if (key.encoding != SIMD_X87)
        row_compared[key.row][key.encoding]++;
    int result = run_stub(stub, (void *)(uintptr_t)va);
    if (result) {
        report(g, "the stub faults");
        printf("  signal %d\n", result);
    } else if (!same_fpu_state() || !same_general_state()) {
        report(g, "differs");
        explain();
    } else if (memcmp(data, after, sizeof after)) {
        report(g, "memory differs");
    }
}

static void try_guess(struct guess *g)
{
    struct insn insn;
    int length = simd_decode(g->bytes, 0, g->length, DECODE_64, &insn);

    if (length != (int)g->length ||
        (insn.handler != simd_register && insn.handler != simd_load[0] &&
         insn.handler != simd_store[0])) {
        if (length > 0 && length != (int)g->length)
            report(g, "another length");
        refused++;
        return;
    }
    /* Only the processor handles implicit operands outside the data. */
    compare(g, &insn);
}

/* Each row was compared in each encoding that the processor supports. */
static void check_coverage(unsigned map)
{
    const struct simd_rows *part = simd_part(map);

    for (unsigned i = 0; i < part->count; i++) {
        const struct simd_row *row = &part->rows[i];
        for (unsigned encoding = 0; encoding < SIMD_ENCODINGS; encoding++) {
            if (!simd_row_has_encoding(row, encoding) ||
                row_compared[simd_row_number(map, i)][encoding])
                continue;
            printf("map %u prefix %u opcode %02x never ran in encoding %u\n", map, row->prefix,
                   row->first, encoding);
            CHECK(!"every row runs");
        }
    }
}

static void try_rows(unsigned map)
{
    const struct simd_rows *part = simd_part(map);

    for (unsigned i = 0; i < part->count; i++) {
        for (unsigned encoding = 0; encoding < SIMD_ENCODINGS; encoding++) {
            struct guess g = {.length = 0};
            make_vector(&g, &part->rows[i], encoding);
            try_guess(&g);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        random_state = strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15ull | 1;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 300;
    native_init();
    cpu = fake_cpu();
    CHECK(cpu->fpu->arena != NULL);
    code = mmap(NULL, NATIVE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
    data = mmap(NULL, DATA_BYTES + NATIVE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
    CHECK(code != MAP_FAILED && data != MAP_FAILED);
    CHECK(!mprotect(data + DATA_BYTES, NATIVE_PAGE, PROT_NONE));
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned map = SIMD_0F; map < SIMD_MAPS; map++)
            try_rows(map);
        for (unsigned i = 0; i < 200; i++) {
            struct guess g = {.length = 0};
            make_x87(&g);
            try_guess(&g);
        }
    }
    printf("%u compared, %u faulted in both, %u refused, %u differences\n", compared, faulted,
           refused, differences);
    CHECK(compared > rounds * 400);
    CHECK(differences == 0);
    for (unsigned map = SIMD_0F; map < SIMD_MAPS; map++)
        check_coverage(map);
    fake_cpu_destroy(cpu);
    return check_finish();
}
