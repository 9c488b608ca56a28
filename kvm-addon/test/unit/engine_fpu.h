/*
 * A vCPU with an FPU and two pages of memory, compared with the processor, for the tests of fpu*.c
 * and ops_simd.c.
 */
#ifndef TSVM_TEST_ENGINE_FPU_H
#define TSVM_TEST_ENGINE_FPU_H

#undef _GNU_SOURCE /* otherwise <signal.h> defines its own REG_RAX and so on */
#define _DEFAULT_SOURCE
#include <stdio.h>

#include "../check.h"
#include "engine_fake.h"
#include "engine_simd_native.h"

#include "../../src/pvm/fpu.h"
#include "../../src/pvm/fpu_state.h"
#include "../../src/pvm/simd.h"

#define VA 0x400000000ull
#define GPA 0x200000ull
#define CODE_VA 0x7000ull
#define PAGES 2u /* mapped consecutively, with nothing after them */
#define AREA_BYTES (PAGES * 4096u)

static struct fake fake;
static struct cpu *cpu;
static uint8_t *native_code, *native_area;

static uint64_t random_state = 1;
static inline uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}
static inline unsigned below(unsigned limit)
{
    return (unsigned)(random64() >> 33) % limit;
}
static inline void randomize(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 8)
        put_u64((uint8_t *)bytes + i, random64());
}

static inline uint8_t *guest_area(void)
{
    return fake_ram(&fake, GPA);
}

static inline void stop(struct cpu *ran, struct insn *insn)
{
    (void)ran;
    (void)insn;
}

/* Executes an instruction. Returns 0 or the reason why it left. */
static inline int run(const uint8_t *bytes, unsigned length)
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

static inline void random_x87(uint8_t *image)
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
    /* Without such an exception, some processors do not store pointers. */
    bool has_pointers = x87_pending(fcw, fsw);
    put_u16(image + XSAVE_FOP, has_pointers ? random64() & 0x7ff : 0);
    put_u64(image + XSAVE_FIP, has_pointers ? random64() & 0xffffffffffff : 0);
    put_u64(image + XSAVE_FDP, has_pointers ? random64() & 0xffffffffffff : 0);
    for (unsigned st = 0; st < 8; st++) {
        put_u64(image + XSAVE_ST + st * 16, below(3) ? random64() | 1ull << 63 : below(2));
        put_u64(image + XSAVE_ST + st * 16 + 8, below(4) ? random64() & 0xffff : below(2) * 0x7fff);
    }
}

/* A state with some components in their initial configuration, for both. */
static inline void randomize_state(void)
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
    /* XRSTOR in the standard format always loads MXCSR. */
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

static inline unsigned vector_of_signal(int number)
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

/* The processor may consider XMM registers in use that are all zero, for example after a switch to
 * another task, and stores them; the engine does not. */
static inline void forgive_zero_sse(uint8_t *ours, const uint8_t *theirs)
{
    uint64_t more = get_u64(theirs + XSAVE_XSTATE_BV) & ~get_u64(ours + XSAVE_XSTATE_BV);

    if (!(more & XSTATE_BIT(SSE)))
        return;
    for (unsigned i = XSAVE_XMM; i < XSAVE_LEGACY_END; i++)
        CHECK(theirs[i] == 0);
    memset(ours + XSAVE_XMM, 0, XSAVE_LEGACY_END - XSAVE_XMM);
    put_u64(ours + XSAVE_XSTATE_BV, get_u64(ours + XSAVE_XSTATE_BV) | XSTATE_BIT(SSE));
}

/* If the processor considers an all-zero component in use, it stores more. */
static inline void forgive_zero_components(uint8_t *ours, const uint8_t *theirs, bool compact)
{
    uint64_t more = get_u64(theirs + XSAVE_XSTATE_BV) & ~get_u64(ours + XSAVE_XSTATE_BV);
    uint64_t components = get_u64(theirs + XSAVE_XCOMP_BV) & ~XCOMP_COMPACT;
    uint16_t offsets[XSTATE_COMPONENTS];

    forgive_zero_sse(ours, theirs);
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

static inline bool same_state(void)
{
    fpu_load_image(cpu);
    uint8_t *ours = cpu->fpu->image, *theirs = native.xsave;
    /* Without a pending exception, some processors do not store pointers. */
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

static inline void name(const uint8_t *bytes, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        printf("%02x ", bytes[i]);
}

/* Copies the vCPU's state to the processor after a test has changed it. */
static inline void copy_state_to_native(void)
{
    cpu->fpu->image_valid = false;
    fpu_load_image(cpu);
    memcpy(native.xsave, cpu->fpu->image, sizeof cpu->fpu->image);
    memset(native.xsave + XSAVE_HEADER, 0, XSAVE_EXTENDED - XSAVE_HEADER);
    put_u64(native.xsave + XSAVE_XSTATE_BV, fpu_host.xcr0);
}

/* Executes an instruction with its operand at [RBX] here and natively, and compares the complete
 * states. */
static inline void compare(const uint8_t *bytes, unsigned length, unsigned offset, bool saves)
{
    memcpy(native_area, guest_area(), AREA_BYTES);
    memcpy(native.r, cpu->r, sizeof native.r);
    native.r[REG_RBX] = (uint64_t)(uintptr_t)native_area + offset;
    native.rflags = 0x202;
    cpu->r[REG_RBX] = VA + offset;
    int expected = native_run(native_code, bytes, length);
    int result = run(bytes, length);
    if (expected) {
        if (!CHECK(RAISED(result, vector_of_signal(expected)))) {
            name(bytes, length);
            printf("signal %d, result %d vector %u\n", expected, result, cpu->exception.vector);
        }
        return;
    }
    if (!CHECK(result == 0)) {
        name(bytes, length);
        printf("result %d vector %u\n", result, cpu->exception.vector);
        return;
    }
    /* Only XSAVEC (REX 0F C7) sets XCOMP_BV; for the others it is what the area held before. */
    if (saves)
        forgive_zero_components(guest_area() + offset, native_area + offset, bytes[2] == 0xc7);
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

/* The arguments of a test: [SEED]. Returns false if the test cannot run. */
static inline bool fpu_test_init(int argc, char **argv)
{
    if (argc > 1)
        random_state = strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15ull | 1;
    native_init();
    if (!CHECK(fake_init(&fake, 1)))
        return false;
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
    return true;
}

/* Returns the exit code. */
static inline int fpu_test_finish(void)
{
    fpu_destroy(cpu);
    fake_free(&fake);
    munmap(native_code, NATIVE_PAGE);
    munmap(native_area, AREA_BYTES);
    return check_finish();
}

#endif
