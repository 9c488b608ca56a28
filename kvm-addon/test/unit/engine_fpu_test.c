/*
 * What fpu*.c executes in C, and the slow ways of ops_simd.c, in a guest's memory: against this
 * processor where it can tell, else against the manual. engine_fpu_test [SEED]
 */
#undef _GNU_SOURCE /* with it <signal.h> has its own REG_RAX and so on */
#define _DEFAULT_SOURCE
#include <stdio.h>

#include "../check.h"
#include "engine_fake.h"
#include "engine_simd_native.h"

#include "../../src/pvm/fpu_state.h"
#include "../../src/pvm/simd.h"

#define VA 0x400000000ull
#define GPA 0x200000ull
#define CODE_VA 0x7000ull
#define PAGES 2u /* mapped one after the other, then nothing */
#define AREA_BYTES (PAGES * 4096u)

static struct fake fake;
static struct cpu *cpu;
static uint8_t *native_code, *native_area;

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
static void randomize(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 8)
        put_u64((uint8_t *)bytes + i, random64());
}

static uint8_t *guest_area(void)
{
    return fake_ram(&fake, GPA);
}

static void stop(struct cpu *ran, struct insn *insn)
{
    (void)ran;
    (void)insn;
}

/* Executes one instruction; 0, or why it left. */
static int run(const uint8_t *bytes, unsigned length)
{
    struct insn insns[2] = {{0}, {.handler = stop}};
    int decoded = simd_decode(bytes, 0x10, length, DECODE_64, insns);

    CHECK(decoded == (int)length);
    if (decoded <= 0)
        return -1;
    cpu->r[REG_PAGE] = CODE_VA;
    return FAKE_TRY(cpu, insns[0].handler(cpu, insns));
}
#define RUN(...) run((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define RAISED(result, number)                                                                     \
    ((result) == INTERPRETED_EXCEPTION && cpu->exception.vector == (number))

static void random_x87(uint8_t *image)
{
    uint16_t fcw = 0x37f;
    if (below(2))
        fcw = (uint16_t)(0x240 | below(64) | below(4) << 10);
    uint16_t fsw = (uint16_t)random64() & 0x7f7f;
    if (x87_pending(fcw, fsw))
        fsw = below(2) ? fsw & (uint16_t)~X87_EXCEPTIONS : fsw | FSW_SUMMARY | FSW_BUSY;
    put_u16(image + XSAVE_FCW, fcw);
    put_u16(image + XSAVE_FSW, fsw);
    put_u16(image + XSAVE_FTW, (uint8_t)random64());
    /* Without such an exception some processors have no pointers. */
    bool has_pointers = x87_pending(fcw, fsw);
    put_u16(image + XSAVE_FOP, has_pointers ? random64() & 0x7ff : 0);
    put_u64(image + XSAVE_FIP, has_pointers ? random64() & 0xffffffffffff : 0);
    put_u64(image + XSAVE_FDP, has_pointers ? random64() & 0xffffffffffff : 0);
    for (unsigned st = 0; st < 8; st++) {
        put_u64(image + XSAVE_ST + st * 16, below(3) ? random64() | 1ull << 63 : below(2));
        put_u64(image + XSAVE_ST + st * 16 + 8, below(4) ? random64() & 0xffff : below(2) * 0x7fff);
    }
}

/* A state of which some components are in their initial configuration, for both. */
static void randomize_state(void)
{
    struct cpu_fpu *fpu = cpu->fpu;
    uint8_t *image = fpu->image;
    uint64_t in_use = random64() & fpu_host.xcr0;

    memset(image, 0, sizeof fpu->image);
    put_u16(image + XSAVE_FCW, FCW_INITIAL);
    if (in_use & XSTATE_BIT(X87))
        random_x87(image);
    if (in_use & XSTATE_BIT(SSE))
        randomize(image + XSAVE_XMM, XSAVE_LEGACY_END - XSAVE_XMM);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (in_use >> i & 1)
            randomize(image + fpu_host.offset[i], fpu_host.size[i]);
    }
    put_u32(image + XSAVE_MXCSR, MXCSR_INITIAL | below(2) * below(64) | below(2) * 0x2000);
    put_u64(image + XSAVE_XSTATE_BV, in_use);
    /* XRSTOR takes MXCSR by the standard format, whatever is in use. */
    memcpy(native.xsave, image, sizeof fpu->image);
    fpu->image_valid = true;
    fpu->registers_valid = false;
    if (below(2)) {
        fpu_load_registers(cpu);
        fpu->image_valid = false;
        randomize(image, sizeof fpu->image);
    }
    for (unsigned i = 0; i < 16; i++)
        cpu->r[i] = random64();
}

static unsigned vector_of_signal(int number)
{
    switch (number) {
    case SIGILL:
        return VECTOR_UD;
    case SIGFPE:
        return VECTOR_MF;
    default:
        return VECTOR_GP;
    }
}

/* Where the processor calls a component in use that is all zero, it stores more. */
static void forgive_zero_components(uint8_t *ours, const uint8_t *theirs, bool compact)
{
    uint64_t more = get_u64(theirs + XSAVE_XSTATE_BV) & ~get_u64(ours + XSAVE_XSTATE_BV);
    uint64_t components = get_u64(theirs + XSAVE_XCOMP_BV) & ~XCOMP_COMPACT;
    uint16_t offsets[XSTATE_COMPONENTS];

    fpu_compacted_offsets(components, offsets);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (!(more >> i & 1))
            continue;
        unsigned offset = compact ? offsets[i] : fpu_host.offset[i];
        for (unsigned k = 0; k < fpu_host.size[i]; k++)
            CHECK(theirs[offset + k] == 0);
        memset(ours + offset, 0, fpu_host.size[i]);
        put_u64(ours + XSAVE_XSTATE_BV, get_u64(ours + XSAVE_XSTATE_BV) | 1ull << i);
    }
}

static bool same_state(void)
{
    fpu_load_image(cpu);
    uint8_t *ours = cpu->fpu->image, *theirs = native.xsave;
    /* Without an exception that waits some processors have no pointers. */
    if (!x87_pending(get_u16(ours), get_u16(ours + XSAVE_FSW)))
        memcpy(theirs + XSAVE_FOP, ours + XSAVE_FOP, XSAVE_MXCSR - XSAVE_FOP);
    memcpy(theirs + XSAVE_MXCSR_MASK, ours + XSAVE_MXCSR_MASK, 4);
    if (memcmp(ours, theirs, XSAVE_MXCSR + 4) ||
        memcmp(ours + XSAVE_ST, theirs + XSAVE_ST, XSAVE_LEGACY_END - XSAVE_ST))
        return false;
    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (fpu_host.xcr0 >> i & 1 &&
            memcmp(ours + fpu_host.offset[i], theirs + fpu_host.offset[i], fpu_host.size[i]))
            return false;
    }
    return true;
}

static void name(const uint8_t *bytes, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        printf("%02x ", bytes[i]);
}

/* Gives the processor the vCPU's state, after a test changed it. */
static void copy_state_to_native(void)
{
    cpu->fpu->image_valid = false;
    fpu_load_image(cpu);
    memcpy(native.xsave, cpu->fpu->image, sizeof cpu->fpu->image);
    memset(native.xsave + XSAVE_HEADER, 0, XSAVE_EXTENDED - XSAVE_HEADER);
    put_u64(native.xsave + XSAVE_XSTATE_BV, fpu_host.xcr0);
}

/* Runs an instruction with its operand at [RBX] here and natively, and compares all of it. */
static void compare(const uint8_t *bytes, unsigned length, unsigned offset, bool saves)
{
    memcpy(native_area, guest_area(), AREA_BYTES);
    memcpy(native.r, cpu->r, sizeof native.r);
    native.r[REG_RBX] = (uint64_t)(uintptr_t)native_area + offset;
    native.rflags = 0x202;
    cpu->r[REG_RBX] = VA + offset;
    int expected = native_run(native_code, bytes, length);
    int result = run(bytes, length);
    if (expected) {
        if (!CHECK(RAISED(result, vector_of_signal(expected))))
            name(bytes, length),
                printf("signal %d, result %d vector %u\n", expected, result, cpu->exception.vector);
        return;
    }
    if (!CHECK(result == 0)) {
        name(bytes, length);
        printf("result %d vector %u\n", result, cpu->exception.vector);
        return;
    }
    if (saves)
        forgive_zero_components(guest_area() + offset, native_area + offset,
                                get_u64(native_area + offset + XSAVE_XCOMP_BV) & XCOMP_COMPACT);
    if (!CHECK(!memcmp(guest_area(), native_area, AREA_BYTES))) {
        unsigned i = 0;
        while (guest_area()[i] == native_area[i])
            i++;
        name(bytes, length);
        printf("memory from operand + %d: %02x not %02x\n", (int)(i - offset), guest_area()[i],
               native_area[i]);
    }
    if (!CHECK(same_state())) {
        unsigned i = 0;
        while (cpu->fpu->image[i] == native.xsave[i])
            i++;
        name(bytes, length);
        printf("state from %u: %02x not %02x\n", i, cpu->fpu->image[i], native.xsave[i]);
    }
}
#define COMPARE(offset, saves, ...)                                                                \
    compare((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), offset, saves)

static void test_saves(void)
{
    for (unsigned round = 0; round < 300; round++) {
        /* Often over two pages, sometimes misaligned. */
        unsigned offset = below(4096 / 64) * 64 + (below(8) ? 0 : 8 * below(8));
        unsigned rex = 0x40 | below(2) << 3;
        randomize_state();
        randomize(guest_area(), AREA_BYTES);
        cpu->r[REG_RAX] = random64();
        cpu->r[REG_RDX] = below(2) ? random64() : 0;
        switch (round % 4) {
        case 0:
            COMPARE(offset, false, (uint8_t)rex, 0x0f, 0xae, 0x03); /* FXSAVE */
            break;
        case 1:
            COMPARE(offset, true, (uint8_t)rex, 0x0f, 0xae, 0x23); /* XSAVE */
            break;
        case 2:
            if (fpu_host.xsave_features & XSAVE_FEATURE_XSAVEOPT)
                COMPARE(offset, true, (uint8_t)rex, 0x0f, 0xae, 0x33);
            break;
        case 3:
            if (fpu_host.xsave_features & XSAVE_FEATURE_XSAVEC)
                COMPARE(offset, true, (uint8_t)rex, 0x0f, 0xc7, 0x23);
            break;
        }
    }
}

/* An area with a header that is mostly right. */
static void random_area(uint8_t *area)
{
    uint64_t xstate_bv = random64() & fpu_host.xcr0;
    uint64_t xcomp_bv = 0;

    random_x87(area);
    put_u32(area + XSAVE_MXCSR, below(8) ? MXCSR_INITIAL | below(64) : (uint32_t)random64());
    memset(area + XSAVE_HEADER, 0, XSAVE_EXTENDED - XSAVE_HEADER);
    if (below(2)) {
        xcomp_bv = xstate_bv | (random64() & fpu_host.xcr0) | XCOMP_COMPACT;
        if (!below(8))
            xcomp_bv ^= 1ull << below(64);
    }
    if (!below(8))
        xstate_bv ^= 1ull << below(64);
    put_u64(area + XSAVE_XSTATE_BV, xstate_bv);
    put_u64(area + XSAVE_XCOMP_BV, xcomp_bv);
    if (!below(8))
        area[XSAVE_HEADER + 8 + below(56)] ^= (uint8_t)(1 << below(8));
}

static void test_restores(void)
{
    for (unsigned round = 0; round < 400; round++) {
        unsigned offset = below(4096 / 64) * 64 + (below(8) ? 0 : 8 * below(8));
        unsigned rex = 0x40 | below(2) << 3;
        randomize_state();
        randomize(guest_area(), AREA_BYTES);
        random_area(guest_area() + offset);
        cpu->r[REG_RAX] = random64();
        cpu->r[REG_RDX] = below(2) ? random64() : 0;
        if (round % 3 == 0)
            COMPARE(offset, false, (uint8_t)rex, 0x0f, 0xae, 0x0b); /* FXRSTOR */
        else
            COMPARE(offset, false, (uint8_t)rex, 0x0f, 0xae, 0x2b); /* XRSTOR */
    }
}

static void test_environment(void)
{
    static const uint8_t instructions[4][2] = {
        {0xd9, 0x33}, {0xdd, 0x33}, {0xd9, 0x23}, {0xdd, 0x23}}; /* FNSTENV FNSAVE FLDENV FRSTOR */
    for (unsigned round = 0; round < 400; round++) {
        const uint8_t *instruction = instructions[round % 4];
        unsigned offset = below(2) ? 4096 - below(110) : below(4000);
        randomize_state();
        randomize(guest_area(), AREA_BYTES);
        if (below(2))
            COMPARE(offset, false, 0x66, instruction[0], instruction[1]);
        else
            COMPARE(offset, false, instruction[0], instruction[1]);
    }
}

static void test_small(void)
{
    for (unsigned round = 0; round < 200; round++) {
        unsigned offset = below(2) ? 4096 - below(4) : below(4000);
        randomize_state();
        put_u32(guest_area() + offset,
                below(2) ? (uint32_t)random64() & 0xffff : (uint32_t)random64());
        COMPARE(offset, false, 0x0f, 0xae, 0x13); /* LDMXCSR */
        randomize_state();
        COMPARE(offset, false, 0x0f, 0xae, 0x1b); /* STMXCSR */
        randomize_state();
        COMPARE(offset, false, 0xd9, 0x3b); /* FNSTCW */
        randomize_state();
        COMPARE(offset, false, 0xdd, 0x3b); /* FNSTSW */
        randomize_state();
        COMPARE(offset, false, 0xd9, 0x2b); /* FLDCW */
        randomize_state();
        COMPARE(0, false, 0xdb, 0xe2); /* FNCLEX */
        randomize_state();
        COMPARE(0, false, 0xdb, 0xe3); /* FNINIT */
        randomize_state();
        COMPARE(0, false, 0x9b); /* FWAIT */
        if (fpu_host.xcr0 & XSTATE_BIT(AVX)) {
            randomize_state();
            COMPARE(0, false, 0xc5, 0xf8, 0x77); /* VZEROUPPER */
            randomize_state();
            COMPARE(0, false, 0xc5, 0xfc, 0x77); /* VZEROALL */
        }
    }
}

static void test_maskmovdqu(void)
{
    for (unsigned round = 0; round < 100; round++) {
        randomize_state();
        randomize(guest_area(), AREA_BYTES);
        memcpy(native_area, guest_area(), AREA_BYTES);
        memcpy(native.r, cpu->r, sizeof native.r);
        uint64_t offset = 4080 + below(20);
        native.r[REG_RDI] = (uint64_t)(uintptr_t)native_area + offset;
        cpu->r[REG_RDI] = VA + offset;
        const uint8_t bytes[] = {0x66, 0x41, 0x0f, 0xf7, 0xc9}; /* maskmovdqu xmm1, xmm9 */
        CHECK(native_run(native_code, bytes, sizeof bytes) == 0);
        CHECK(run(bytes, sizeof bytes) == 0);
        CHECK(!memcmp(guest_area(), native_area, AREA_BYTES));
    }
}

/* Operands over two pages, one of which may be missing, or hold code: registers change or not. */
static void test_slow_operands(void)
{
    const uint8_t fstp[] = {0xdb, 0x3b};               /* fstp tbyte [rbx] */
    const uint8_t movups_load[] = {0x0f, 0x10, 0x13};  /* movups xmm2, [rbx] */
    const uint8_t movups_store[] = {0x0f, 0x11, 0x13}; /* movups [rbx], xmm2 */
    const uint8_t *const all[] = {fstp, movups_load, movups_store};
    const unsigned lengths[] = {sizeof fstp, sizeof movups_load, sizeof movups_store};

    for (unsigned round = 0; round < 300; round++) {
        unsigned offset = 4096 - 15 + below(20);
        randomize_state();
        fpu_load_registers(cpu);
        put_u16(cpu->fpu->x87 + XSAVE_FCW, FCW_INITIAL);
        put_u16(cpu->fpu->x87 + XSAVE_FSW, 0);
        cpu->fpu->x87[XSAVE_FTW] = 0xff;
        copy_state_to_native();
        randomize(guest_area(), AREA_BYTES);
        memcpy(native_area, guest_area(), AREA_BYTES);
        memcpy(native.r, cpu->r, sizeof native.r);
        native.r[REG_RBX] = (uint64_t)(uintptr_t)native_area + offset;
        cpu->r[REG_RBX] = VA + offset;
        unsigned k = round % 3;
        CHECK(native_run(native_code, all[k], lengths[k]) == 0);
        CHECK(run(all[k], lengths[k]) == 0);
        CHECK(!memcmp(guest_area(), native_area, AREA_BYTES));
        /* But for the pointers, which are not those of the processor's own run. */
        fpu_load_image(cpu);
        if (k == 0) {
            CHECK(get_u64(cpu->fpu->image + XSAVE_FIP) == CODE_VA + 0x10);
            CHECK(get_u64(cpu->fpu->image + XSAVE_FDP) == VA + offset);
            CHECK(get_u16(cpu->fpu->image + XSAVE_FOP) == 0x33b);
            memcpy(cpu->fpu->image + XSAVE_FOP, native.xsave + XSAVE_FOP, XSAVE_MXCSR - XSAVE_FOP);
        }
        CHECK(same_state());
    }
    /* The second page is missing: nothing changes. */
    for (unsigned k = 0; k < 3; k++) {
        randomize_state();
        fpu_load_registers(cpu);
        put_u16(cpu->fpu->x87 + XSAVE_FCW, FCW_INITIAL);
        put_u16(cpu->fpu->x87 + XSAVE_FSW, 0);
        copy_state_to_native();
        memcpy(native_area, guest_area(), AREA_BYTES);
        cpu->r[REG_RBX] = VA + AREA_BYTES - 5;
        CHECK(RAISED(run(all[k], lengths[k]), VECTOR_PF));
        CHECK(cpu->exception.address == VA + AREA_BYTES);
        CHECK(!memcmp(guest_area(), native_area, AREA_BYTES));
        CHECK(same_state());
    }
}

/* A store into code leaves by INTERPRETED_ONCE with nothing changed, and is done by it. */
static void test_store_to_code(void)
{
    const uint8_t fstp[] = {0xdb, 0x3b};

    randomize_state();
    fpu_load_registers(cpu);
    put_u16(cpu->fpu->x87 + XSAVE_FCW, FCW_INITIAL);
    put_u16(cpu->fpu->x87 + XSAVE_FSW, 0);
    cpu->fpu->x87[XSAVE_FTW] = 0xff;
    uint8_t before[XSAVE_XMM];
    memcpy(before, cpu->fpu->x87, sizeof before);
    cpu->r[REG_RBX] = VA + 8;
    memset(guest_area(), 0x01, 4096); /* one-byte instructions */
    struct insn *found = NULL;
    CHECK(FAKE_TRY(cpu, found = code_lookup(cpu, VA)) == 0 && found);
    CHECK(run(fstp, sizeof fstp) == INTERPRETED_ONCE);
    CHECK(!memcmp(before, cpu->fpu->x87, sizeof before));
    CHECK(guest_area()[8] == 0x01);
    cpu->once = true;
    CHECK(run(fstp, sizeof fstp) == 0);
    cpu->once = false;
    CHECK(!memcmp(guest_area() + 8, before + XSAVE_ST, 10));
    CHECK(get_u16(cpu->fpu->x87 + XSAVE_FSW) >> 11 == 1);
}

/* SSE exceptions at CPL 0: what the processor signals is #XM here, with its flags. */
static void test_unmasked(void)
{
    const uint8_t instructions[][4] = {
        {0x0f, 0x58, 0xc1},       /* addps xmm0, xmm1 */
        {0x0f, 0x5e, 0xc1},       /* divps */
        {0xf2, 0x0f, 0x5e, 0xc1}, /* divsd */
        {0x0f, 0x51, 0xc1},       /* sqrtps */
        {0x0f, 0x2e, 0xc1},       /* ucomiss */
        {0xf3, 0x0f, 0x2d, 0xc1}, /* cvtss2si eax, xmm1 */
    };
    static const uint32_t values[] = {0,          0x3f800000, 0x7f800000, 0x7fa00000, 0x00000001,
                                      0x7f7fffff, 0xbf800000, 0x7fc00000, 0x40400000, 0x80000000};
    unsigned raised = 0, differing_flags = 0;

    for (unsigned round = 0; round < 3000; round++) {
        const uint8_t *bytes = instructions[round % 6];
        unsigned length = bytes[0] >= 0xf2 ? 4 : 3;
        randomize_state();
        fpu_load_registers(cpu);
        for (unsigned i = 0; i < 8; i++)
            put_u32(cpu->fpu->vectors[i / 4] + i % 4 * 4, values[below(10)]);
        /* A tiny result that is exact flags nothing when underflow is masked: not told apart. */
        uint32_t mxcsr = (uint32_t)below(64) << 7 | 1u << 11;
        cpu->fpu->mxcsr = mxcsr;
        copy_state_to_native();
        memcpy(native.r, cpu->r, sizeof native.r);
        cpu->status = 0x200;
        native.rflags = 0x202;
        int expected = native_run(native_code, bytes, length);
        int result = run(bytes, length);
        if (!expected) {
            CHECK(result == 0);
            CHECK(same_state());
            CHECK(!memcmp(cpu->r, native.r, sizeof native.r));
            continue;
        }
        raised++;
        CHECK(expected == SIGFPE && RAISED(result, VECTOR_XM));
        /* Nor whether the scaled result of an overflow is inexact. */
        uint32_t unknown = cpu->fpu->mxcsr & 8 & ~(mxcsr >> 7) ? 0x20 : 0;
        if ((cpu->fpu->mxcsr ^ native_signal_mxcsr) & ~unknown && ++differing_flags < 10) {
            name(bytes, length);
            printf("MXCSR %x not %x, before %x\n", cpu->fpu->mxcsr, native_signal_mxcsr, mxcsr);
        }
        CHECK(!memcmp(cpu->r, native.r, 8));
    }
    CHECK(raised > 100);
    CHECK(differing_flags == 0);
    /* Without CR4.OSXMMEXCPT it is #UD. */
    randomize_state();
    fpu_load_registers(cpu);
    memset(cpu->fpu->vectors, 0, sizeof cpu->fpu->vectors);
    cpu->fpu->mxcsr = 0;
    cpu->sregs.cr4 &= ~CR4_OSXMMEXCPT;
    CHECK(RAISED(RUN(0x0f, 0x5e, 0xc1), VECTOR_UD));
    cpu->sregs.cr4 |= CR4_OSXMMEXCPT;
    cpu->cpl = 3;
    CHECK(RUN(0x0f, 0x5e, 0xc1) == INTERPRETED_NATIVE);
    cpu->cpl = 0;
}

/* Faults that a mask suppresses, at CPL 0 by elements, at CPL 3 by the processor. */
static void test_masks(void)
{
    if (!simd_has_feature(SIMD_AVX512))
        return;
    /* vmovdqu32 zmm1{k1}{z}, [rbx]; vmovdqu32 [rbx]{k1}, zmm1 */
    const uint8_t load[] = {0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x0b};
    const uint8_t store[] = {0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x0b};
    for (unsigned k = 0; k <= 16; k++) {
        randomize_state();
        fpu_load_registers(cpu);
        randomize(guest_area(), AREA_BYTES);
        memcpy(native_area, guest_area(), AREA_BYTES);
        unsigned offset = AREA_BYTES - 4 * k; /* k elements are there */
        uint32_t mask = (uint32_t)random64() & 0xffff & ((1u << k) - 1);
        cpu->fpu->opmasks[1] = mask;
        cpu->r[REG_RBX] = VA + offset;
        CHECK(run(load, sizeof load) == 0);
        for (unsigned i = 0; i < 16; i++) {
            uint32_t expected = mask >> i & 1 ? get_u32(guest_area() + offset + 4 * i) : 0;
            CHECK(get_u32(cpu->fpu->vectors[1] + 4 * i) == expected);
        }
        randomize(cpu->fpu->vectors[1], 64);
        CHECK(run(store, sizeof store) == 0);
        for (unsigned i = 0; i < k; i++) {
            const uint8_t *from =
                mask >> i & 1 ? cpu->fpu->vectors[1] + 4 * i : native_area + offset + 4 * i;
            CHECK(get_u32(guest_area() + offset + 4 * i) == get_u32(from));
        }
        if (k == 16)
            continue;
        cpu->fpu->opmasks[1] = mask | 1u << k;
        memcpy(native_area, guest_area(), AREA_BYTES);
        CHECK(RAISED(run(load, sizeof load), VECTOR_PF));
        CHECK(RAISED(run(store, sizeof store), VECTOR_PF));
        CHECK(cpu->exception.address == VA + AREA_BYTES);
        CHECK(!memcmp(guest_area(), native_area, AREA_BYTES));
        cpu->cpl = 3;
        CHECK(run(load, sizeof load) == INTERPRETED_NATIVE);
        cpu->cpl = 0;
    }
}

/* CR0, CR4, XCR0: what must hold before anything is done, and in which order. */
static void test_requirements(void)
{
    const uint64_t cr0 = cpu->sregs.cr0, cr4 = cpu->sregs.cr4, xcr0 = cpu->fpu->xcr0;

    randomize_state();
    cpu->r[REG_RBX] = VA;
    cpu->r[REG_RAX] = cpu->r[REG_RDX] = 0;
    cpu->r[REG_RCX] = 0;
    fpu_load_registers(cpu);
    put_u16(cpu->fpu->x87 + XSAVE_FSW, 0);
    cpu->fpu->image_valid = false;
    cpu->sregs.cr0 = cr0 | CR0_TS;
    CHECK(RAISED(RUN(0x0f, 0x58, 0xc1), VECTOR_NM)); /* addps */
    CHECK(RAISED(RUN(0xd9, 0xe8), VECTOR_NM));       /* fld1 */
    CHECK(RAISED(RUN(0x0f, 0xae, 0x23), VECTOR_NM)); /* xsave */
    CHECK(RAISED(RUN(0x0f, 0xae, 0x03), VECTOR_NM)); /* fxsave */
    CHECK(RAISED(RUN(0x9b), VECTOR_NM));             /* fwait: CR0.MP is set */
    CHECK(RAISED(RUN(0x0f, 0x77), VECTOR_NM));       /* emms */
    CHECK(RUN(0x0f, 0x01, 0xd0) == 0);               /* xgetbv */
    cpu->sregs.cr0 = cr0 | CR0_EM;
    CHECK(RAISED(RUN(0x0f, 0x58, 0xc1), VECTOR_UD));
    CHECK(RAISED(RUN(0xd9, 0xe8), VECTOR_NM));
    CHECK(RAISED(RUN(0x0f, 0x77), VECTOR_UD));
    CHECK(RUN(0x0f, 0xae, 0x23) == 0);
    if (simd_has_feature(SIMD_AVX))
        CHECK(RUN(0xc5, 0xf8, 0x58, 0xc1) == 0); /* vaddps: CR0.EM does not matter */
    cpu->sregs.cr0 = cr0;
    cpu->sregs.cr4 = cr4 & ~CR4_OSFXSR;
    CHECK(RAISED(RUN(0x0f, 0x58, 0xc1), VECTOR_UD));
    CHECK(RAISED(RUN(0x0f, 0xae, 0x1b), VECTOR_UD)); /* stmxcsr */
    CHECK(RUN(0x0f, 0x77) == 0);
    cpu->cpl = 3;
    CHECK(RUN(0x0f, 0x58, 0xc1) == INTERPRETED_NATIVE);
    cpu->cpl = 0;
    cpu->sregs.cr4 = cr4 & ~CR4_OSXSAVE;
    CHECK(RAISED(RUN(0x0f, 0xae, 0x23), VECTOR_UD));
    CHECK(RAISED(RUN(0x0f, 0x01, 0xd0), VECTOR_UD));
    if (simd_has_feature(SIMD_AVX)) {
        CHECK(RAISED(RUN(0xc5, 0xf8, 0x58, 0xc1), VECTOR_UD));
        CHECK(RAISED(RUN(0xc5, 0xf8, 0x77), VECTOR_UD));
        cpu->sregs.cr4 = cr4;
        cpu->fpu->xcr0 = XSTATE_BIT(X87) | XSTATE_BIT(SSE);
        CHECK(RAISED(RUN(0xc5, 0xf8, 0x58, 0xc1), VECTOR_UD));
        cpu->cpl = 3;
        CHECK(RUN(0xc5, 0xf8, 0x58, 0xc1) == INTERPRETED_NATIVE);
        /* Of components that the processor would save too, or not. */
        cpu->r[REG_RAX] = cpu->r[REG_RDX] = 0;
        CHECK(RUN(0x0f, 0xae, 0x23) == 0);
        cpu->r[REG_RAX] = XSTATE_BIT(SSE);
        CHECK(RUN(0x0f, 0xae, 0x23) == 0);
        cpu->r[REG_RAX] = XSTATE_BIT(AVX);
        CHECK(RUN(0x0f, 0xae, 0x23) == INTERPRETED_NATIVE);
        cpu->r[REG_RAX] = 0;
        CHECK(RUN(0x0f, 0x01, 0xd0) == INTERPRETED_NATIVE);
        cpu->cpl = 0;
    }
    if (simd_has_feature(SIMD_AVX512)) {
        cpu->fpu->xcr0 = XSTATE_BIT(X87) | XSTATE_BIT(SSE) | XSTATE_BIT(AVX);
        CHECK(RUN(0xc5, 0xf8, 0x58, 0xc1) == 0);
        CHECK(RAISED(RUN(0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1), VECTOR_UD)); /* vaddps zmm */
        CHECK(RAISED(RUN(0xc5, 0xf8, 0x90, 0xc1), VECTOR_UD));             /* kmovw k0, k1 */
    }
    cpu->sregs.cr4 = cr4;
    cpu->fpu->xcr0 = xcr0;
}

static void test_privilege(void)
{
    randomize_state();
    cpu->r[REG_RBX] = VA;
    cpu->r[REG_RCX] = cpu->r[REG_RDX] = 0;
    cpu->r[REG_RAX] = 1;
    cpu->cpl = 3;
    CHECK(RAISED(RUN(0x0f, 0x01, 0xd1), VECTOR_GP)); /* xsetbv */
    if (fpu_host.xsave_features & XSAVE_FEATURE_XSAVES) {
        CHECK(RAISED(RUN(0x0f, 0xc7, 0x2b), VECTOR_GP)); /* xsaves */
        CHECK(RAISED(RUN(0x0f, 0xc7, 0x1b), VECTOR_GP)); /* xrstors */
        cpu->cpl = 0;
        cpu->r[REG_RAX] = ~0ull;
        memset(guest_area(), 0, XSAVE_EXTENDED);
        CHECK(RUN(0x48, 0x0f, 0xc7, 0x2b) == 0);
        CHECK(get_u64(guest_area() + XSAVE_XCOMP_BV) == (fpu_host.xcr0 | XCOMP_COMPACT));
        CHECK(RUN(0x48, 0x0f, 0xc7, 0x1b) == 0);
        put_u64(guest_area() + XSAVE_XCOMP_BV, 0); /* XRSTORS takes no standard format */
        CHECK(RAISED(RUN(0x48, 0x0f, 0xc7, 0x1b), VECTOR_GP));
    }
    cpu->cpl = 0;
    /* XCR0: without x87; AVX without SSE; a part of AVX-512; what the host has not; XCR1. */
    const uint32_t wrong[] = {0, 2, 5, 0x27, 0x207, 0x80000001};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cpu->r[REG_RAX] = wrong[i];
        CHECK(RAISED(RUN(0x0f, 0x01, 0xd1), VECTOR_GP));
    }
    cpu->r[REG_RAX] = 1;
    cpu->r[REG_RCX] = 1;
    CHECK(RAISED(RUN(0x0f, 0x01, 0xd1), VECTOR_GP));
    cpu->r[REG_RCX] = 2;
    CHECK(RAISED(RUN(0x0f, 0x01, 0xd0), VECTOR_GP)); /* xgetbv */
}

/* An exception that waits is raised by the next x87 or MMX instruction that waits. */
static void test_pending(void)
{
    randomize_state();
    fpu_load_registers(cpu);
    uint8_t *x87 = cpu->fpu->x87;
    put_u16(x87 + XSAVE_FCW, FCW_INITIAL & ~4); /* ZM */
    put_u16(x87 + XSAVE_FSW, 0);
    x87[XSAVE_FTW] = 0;
    cpu->fpu->image_valid = false;
    CHECK(RUN(0xd9, 0xe8) == 0); /* fld1 */
    CHECK(RUN(0xd9, 0xee) == 0); /* fldz */
    CHECK(RUN(0xde, 0xf9) == 0); /* fdivp: 1 / 0 */
    CHECK(get_u16(x87 + XSAVE_FSW) & FSW_SUMMARY);
    CHECK(RAISED(RUN(0xd9, 0xe8), VECTOR_MF));
    CHECK(RAISED(RUN(0x0f, 0x77), VECTOR_MF)); /* emms */
    CHECK(RAISED(RUN(0x9b), VECTOR_MF));
    cpu->r[REG_RBX] = VA;
    CHECK(RUN(0xdd, 0x3b) == 0); /* fnstsw */
    CHECK(get_u16(guest_area()) & FSW_SUMMARY);
    CHECK(RUN(0xdb, 0xe2) == 0); /* fnclex */
    CHECK(RUN(0xd9, 0xe8) == 0);
}

/* More stubs than there is room for: all of them go on working. */
static void test_full_arena(void)
{
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 6000; i++) {
            /* pshufd xmm(i), xmm(j), imm */
            const uint8_t bytes[] = {0x66, (uint8_t)(0x40 | (i >> 8 & 5)),   0x0f,
                                     0x70, (uint8_t)(0xc0 | (i * 7 & 0x3f)), (uint8_t)i};
            unsigned to = (bytes[4] >> 3 & 7) | (bytes[1] & 4) << 1;
            unsigned from = (bytes[4] & 7) | (bytes[1] & 1) << 3;
            if (i == 0)
                randomize_state();
            fpu_load_registers(cpu);
            uint32_t source[4];
            memcpy(source, cpu->fpu->vectors[from], 16);
            CHECK(run(bytes, sizeof bytes) == 0);
            for (unsigned k = 0; k < 4; k++)
                CHECK(get_u32(cpu->fpu->vectors[to] + 4 * k) == source[bytes[5] >> 2 * k & 3]);
        }
    }
}

/* AMD's MXCSR.MM lets misaligned operands pass; without it they are #GP(0). */
static void test_alignment(void)
{
    const uint8_t addps[] = {0x0f, 0x58, 0x03};  /* addps xmm0, [rbx] */
    const uint8_t movaps[] = {0x0f, 0x28, 0x03}; /* movaps xmm0, [rbx] */

    randomize_state();
    fpu_load_registers(cpu);
    cpu->r[REG_RBX] = VA + 8;
    CHECK(RAISED(run(addps, sizeof addps), VECTOR_GP) && cpu->exception.error == 0);
    CHECK(RAISED(run(movaps, sizeof movaps), VECTOR_GP));
    cpu->cpl = 3;
    CHECK(run(addps, sizeof addps) == INTERPRETED_NATIVE);
    cpu->cpl = 0;
    if (fpu_host.mxcsr_mask & MXCSR_MISALIGNED) {
        cpu->fpu->mxcsr |= MXCSR_MISALIGNED;
        CHECK(run(addps, sizeof addps) == 0);
        CHECK(RAISED(run(movaps, sizeof movaps), VECTOR_GP));
    }
    cpu->r[REG_RBX] = 0x800000000000;
    CHECK(RAISED(run(addps, sizeof addps), VECTOR_GP));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        random_state = strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15ull | 1;
    native_init();
    if (!CHECK(fake_init(&fake, 1)))
        return check_finish();
    cpu = &fake.cpus[0];
    cpu->fd = -1;
    CHECK(fpu_init(cpu) == 0 && cpu->fpu->arena);
    cpu->sregs.cr0 |= CR0_NE | CR0_MP;
    cpu->sregs.cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT;
    cpu->fpu->xcr0 = fpu_host.xcr0;
    native_code = mmap(NULL, NATIVE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    native_area =
        mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(native_code != MAP_FAILED && native_area != MAP_FAILED);
    for (unsigned i = 0; i < PAGES; i++)
        fake_map(&fake, FAKE_ROOT, VA + i * 4096, (GPA + i * 4096) | P | W);
    test_saves();
    test_restores();
    test_environment();
    test_small();
    test_maskmovdqu();
    test_slow_operands();
    test_unmasked();
    test_masks();
    test_requirements();
    test_privilege();
    test_pending();
    test_full_arena();
    test_alignment();
    test_store_to_code();
    fpu_destroy(cpu);
    fake_free(&fake);
    munmap(native_code, NATIVE_PAGE);
    munmap(native_area, AREA_BYTES);
    return check_finish();
}
