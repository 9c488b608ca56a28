/*
 * The oracle is the CPU: a random state is loaded natively, and the native results of XSAVE, XSAVEC
 * and XRSTOR are compared with the emulator's.
 */
#include <stdlib.h>

#include "../../src/emulator/fixup.h"
#include "../check.h"
#include "../emulated_cpu.h"
#include "emulator_fake.h"

#define AREA (FAKE_BASE + 0x10000)
#define RIP 0xffffffff81000000ull
#define CR0_TS 8u
#define CR4_OSXSAVE 0x40000ull
#define HEADER EMU_XSAVE_XSTATE_BV
/* The components that this test may change natively, which ordinary code may use. */
#define TESTED 0xe7ull

struct area {
    uint8_t bytes[EMU_XSAVE_IMAGE_LENGTH];
} __attribute__((aligned(64)));

static struct emu_fake fake;
static uint64_t xcr0;
/* What the CPU would save and load natively besides: PKRU, where protection keys are on. */
static uint64_t untested;
static bool emulated;

static uint64_t native_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void native_xsave(struct area *area, uint64_t mask)
{
    __asm__ volatile("xsave64 %0"
                     : "+m"(*area)
                     : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}

/*
 * Loads `state`, then saves it with XSAVE or XSAVEC, with nothing between that could use a vector
 * register; at the end the C code gets a state back that it can live with.
 */
#define NATIVE_LOAD_AND(save, target)                                                              \
    do {                                                                                           \
        struct area own;                                                                           \
        memset(&own, 0, sizeof own);                                                               \
        native_xsave(&own, xcr0);                                                                  \
        __asm__ volatile("mov %[xcr0], %%eax; xor %%edx, %%edx; xrstor64 (%[state])\n"             \
                         "mov %[mask], %%eax; " save " (%[target])\n"                              \
                         "mov %[xcr0], %%eax; xrstor64 (%[own])\n"                                 \
                         :                                                                         \
                         : [xcr0] "r"((uint32_t)xcr0), [mask] "r"((uint32_t)mask),                 \
                           [state] "r"(state), [target] "r"(target), [own] "r"(&own)               \
                         : "rax", "rdx", "memory");                                                \
    } while (0)

static void native_save(const struct area *state, uint64_t mask, bool compact, struct area *target)
{
    if (compact)
        NATIVE_LOAD_AND("xsavec64", target);
    else
        NATIVE_LOAD_AND("xsave64", target);
}

/* Loads `state`, then `second` with `mask`; `target` is the whole state after that. */
static void native_restore(const struct area *state, const struct area *second, uint64_t mask,
                           struct area *target)
{
    struct area own;
    memset(&own, 0, sizeof own);
    native_xsave(&own, xcr0);
    __asm__ volatile("mov %[xcr0], %%eax; xor %%edx, %%edx; xrstor64 (%[state])\n"
                     "mov %[mask], %%eax; xrstor64 (%[second])\n"
                     "mov %[xcr0], %%eax; xsave64 (%[target])\n"
                     "xrstor64 (%[own])\n"
                     :
                     : [xcr0] "r"((uint32_t)xcr0), [mask] "r"((uint32_t)mask), [state] "r"(state),
                       [second] "r"(second), [target] "r"(target), [own] "r"(&own)
                     : "rax", "rdx", "memory");
}

static void put64(uint8_t *bytes, uint64_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static void fill_random(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)rand();
}

/* A valid XSAVE area: random registers, some components in initial configuration. */
static void random_state(struct area *area)
{
    const struct emu_xsave_layout *layout = &fake.vm.xsave;
    uint64_t in_use = xcr0 & (uint64_t)rand();

    memset(area, 0, sizeof *area);
    /* Control word all masked, no pending exception, no last instruction (AMD keeps none). */
    put64(area->bytes, 0x37f);
    area->bytes[4] = (uint8_t)rand();
    for (unsigned i = 0; i < 8; i++)
        fill_random(area->bytes + EMU_XSAVE_X87_REGISTERS + 16 * i, 10);
    put64(area->bytes + EMU_XSAVE_MXCSR, rand() % 3 ? 0x1f80 : 0x9fc0 & layout->mxcsr_mask);
    fill_random(area->bytes + EMU_XSAVE_XMM, EMU_XSAVE_XMM_LENGTH);
    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        if (xcr0 >> i & 1)
            fill_random(area->bytes + layout->offset[i], layout->size[i]);
    }
    put64(area->bytes + HEADER, in_use);
}

static void begin(uint64_t mask)
{
    fake_reset_cpu(&fake);
    fake.cpu.error[0] = 0;
    fake_regs(&fake)->rcx = AREA;
    fake_regs(&fake)->rax = (uint32_t)mask;
    fake_regs(&fake)->rdx = mask >> 32;
}

static bool completed(unsigned length)
{
    return fake_regs(&fake)->rip == RIP + length && fake_raised(&fake) == -1;
}

#define XSAVE64 "\x48\x0f\xae\x21"
#define XSAVEOPT64 "\x48\x0f\xae\x31"
#define XRSTOR64 "\x48\x0f\xae\x29"
#define XSAVEC64 "\x48\x0f\xc7\x21"

/* Guest memory at AREA is contiguous (fake_init). */
static uint8_t *area(void)
{
    return fake_at(&fake, AREA);
}

/* A requested-feature bitmap, with bits that no component has, but not with untested components. */
static uint64_t random_mask(unsigned one_in)
{
    uint64_t mask = rand() % one_in ? (uint64_t)rand() & 0xff : UINT64_MAX;
    /* QEMU moves MXCSR with SSE state only, where a CPU does so with AVX state too. */
    if (emulated && mask & EMU_XSTATE_AVX)
        mask |= EMU_XSTATE_SSE;
    return mask & ~untested;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static bool is_initial(const uint8_t *bytes, unsigned component)
{
    static const uint8_t control[EMU_XSAVE_MXCSR] = {0x7f, 0x03};
    const struct emu_xsave_layout *layout = &fake.vm.xsave;

    if (component == 0)
        return memcmp(bytes, control, sizeof control) == 0 &&
               all_zero(bytes + EMU_XSAVE_X87_REGISTERS, 128);
    if (component == 1)
        return all_zero(bytes + EMU_XSAVE_XMM, EMU_XSAVE_XMM_LENGTH);
    return all_zero(bytes + layout->offset[component], layout->size[component]);
}

/*
 * A CPU may call a component in use that is in its initial configuration (13.6), and whether MXCSR
 * alone puts SSE state in use differs. In the standard format XSAVE writes the component in any
 * case: its content counts, and its bit in XSTATE_BV is cleared.
 */
static void forget_initial(uint8_t *bytes, uint64_t requested)
{
    uint64_t in_use;
    memcpy(&in_use, bytes + HEADER, sizeof in_use);
    for (unsigned i = 0; i < EMU_XSTATE_COMPONENTS; i++) {
        if (requested >> i & 1 && is_initial(bytes, i))
            in_use &= ~(1ull << i);
    }
    put64(bytes + HEADER, in_use);
}

/* What QEMU leaves as it was, where a CPU writes zeroes: the last opcode, the registers' padding.
 */
static void forget_padding(uint8_t *bytes)
{
    memset(bytes + 6, 0, 2);
    for (unsigned i = 0; i < 8; i++)
        memset(bytes + EMU_XSAVE_X87_REGISTERS + 16 * i + 10, 0, 6);
}

static bool saves_alike(bool compact)
{
    struct area state, native;
    uint64_t mask = random_mask(4);

    random_state(&state);
    memset(&native, 0, sizeof native);
    native_save(&state, xcr0, false, &native);
    memcpy(fake.image, &native, sizeof native);
    fill_random(&native, sizeof native);
    memcpy(area(), &native, sizeof native);
    native_save(&state, mask, compact, &native);
    begin(mask);
    enum emu_result result = compact ? FAKE_REFUSE(&fake, XSAVEC64) : FAKE_REFUSE(&fake, XSAVE64);
    if (emulated) {
        forget_padding(native.bytes);
        forget_padding(area());
    }
    if (!compact) {
        forget_initial(native.bytes, mask & xcr0);
        forget_initial(area(), mask & xcr0);
    }
    return result == EMU_HANDLED && completed(4) && memcmp(area(), &native, sizeof native) == 0;
}

/* Only the values of the registers: components in their initial configuration are written out. */
static void expand(const uint8_t *image, struct area *out)
{
    const struct emu_xsave_layout *layout = &fake.vm.xsave;
    uint64_t in_use;

    memset(out, 0, sizeof *out);
    memcpy(&in_use, image + HEADER, 8);
    memcpy(out->bytes + EMU_XSAVE_MXCSR, image + EMU_XSAVE_MXCSR, 4);
    put64(out->bytes, 0x37f);
    if (in_use & EMU_XSTATE_X87) {
        memcpy(out->bytes, image, EMU_XSAVE_MXCSR);
        memcpy(out->bytes + EMU_XSAVE_X87_REGISTERS, image + EMU_XSAVE_X87_REGISTERS, 128);
    }
    if (in_use & EMU_XSTATE_SSE)
        memcpy(out->bytes + EMU_XSAVE_XMM, image + EMU_XSAVE_XMM, EMU_XSAVE_XMM_LENGTH);
    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        if (in_use >> i & 1)
            memcpy(out->bytes + layout->offset[i], image + layout->offset[i], layout->size[i]);
    }
}

static bool restores_alike(bool compact)
{
    struct area state, source, second, native, expected, got;
    uint64_t mask = random_mask(4);
    uint64_t saved = random_mask(2);

    random_state(&state);
    random_state(&source);
    memset(&second, 0, sizeof second);
    if (compact)
        native_save(&source, saved, true, &second);
    else
        second = source;
    memset(&native, 0, sizeof native);
    native_restore(&state, &second, mask, &native);

    memset(&got, 0, sizeof got);
    native_save(&state, xcr0, false, &got);
    memcpy(fake.image, &got, sizeof got);
    memcpy(area(), &second, sizeof second);
    begin(mask);
    if (FAKE_REFUSE(&fake, XRSTOR64) != EMU_HANDLED || !completed(4))
        return false;
    expand(native.bytes, &expected);
    expand(fake.image, &got);
    return memcmp(&expected, &got, sizeof got) == 0;
}

/*
 * When the host's scheduler comes in between, its own XSAVES and XRSTORS may change what counts as
 * in use: a few rounds of thousands differ by that alone.
 */
static void test_alike(bool (*alike)(bool), bool compact)
{
    unsigned different = 0;
    for (unsigned round = 0; round < 4000; round++)
        different += !alike(compact);
    if (!CHECK(different <= 20))
        fprintf(stderr, "  %u rounds differ\n", different);
}

/* What KVM takes MXCSR from: SSE is in use whenever MXCSR is not at its initial value. */
static void test_mxcsr(void)
{
    const char *ldmxcsr = "\x0f\xae\x11", *stmxcsr = "\x0f\xae\x19";
    uint32_t value = 0x1fa0;
    uint64_t in_use;

    memset(fake.image, 0, sizeof fake.image);
    put64(fake.image + EMU_XSAVE_MXCSR, 0x1f80);
    begin(0);
    memcpy(area(), &value, 4);
    CHECK(fake_refuse(&fake, ldmxcsr, 3) == EMU_HANDLED && completed(3));
    memcpy(&in_use, fake.image + HEADER, 8);
    CHECK(in_use == EMU_XSTATE_SSE);
    begin(0);
    memset(area(), 0, 8);
    CHECK(fake_refuse(&fake, stmxcsr, 3) == EMU_HANDLED && completed(3));
    CHECK(memcmp(area(), "\xa0\x1f\0\0\0\0\0\0", 8) == 0);
    value = 0x80000000;
    memcpy(area(), &value, 4);
    begin(0);
    CHECK(fake_refuse(&fake, ldmxcsr, 3) == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_GP);
    begin(0);
    fake_sregs(&fake)->cr0 |= CR0_TS;
    CHECK(fake_refuse(&fake, ldmxcsr, 3) == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_NM);
    begin(0);
    fake_sregs(&fake)->cr4 &= ~0x200ull;
    CHECK(fake_refuse(&fake, ldmxcsr, 3) == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_UD);
}

static void test_preconditions(void)
{
    static const char *const family[] = {XSAVE64, XSAVEOPT64, XSAVEC64, XRSTOR64};
    for (unsigned i = 0; i < 4; i++) {
        memset(area(), 0, EMU_XSAVE_IMAGE_LENGTH);
        begin(3);
        CHECK(fake_refuse(&fake, family[i], 4) == EMU_HANDLED && completed(4));
        begin(3);
        fake_sregs(&fake)->cr4 &= ~CR4_OSXSAVE;
        CHECK(fake_refuse(&fake, family[i], 4) == EMU_HANDLED &&
              fake_raised(&fake) == EMU_VECTOR_UD);
        begin(3);
        fake_sregs(&fake)->cr0 |= CR0_TS;
        CHECK(fake_refuse(&fake, family[i], 4) == EMU_HANDLED &&
              fake_raised(&fake) == EMU_VECTOR_NM);
        begin(3);
        fake_regs(&fake)->rcx += 32;
        CHECK(fake_refuse(&fake, family[i], 4) == EMU_HANDLED &&
              fake_raised(&fake) == EMU_VECTOR_GP && fake_regs(&fake)->rip == RIP);
        /* The second page of the area is missing: nothing at all is written. */
        begin(3);
        fake_regs(&fake)->rcx = AREA + FAKE_PAGE - 64;
        fake_map(&fake, 0x11, 0, 0);
        memset(area() + FAKE_PAGE - 64, 0xaa, 64);
        CHECK(fake_refuse(&fake, family[i], 4) == EMU_HANDLED &&
              fake_raised(&fake) == EMU_VECTOR_PF);
        CHECK(fake_sregs(&fake)->cr2 == AREA + FAKE_PAGE);
        CHECK(area()[FAKE_PAGE - 64] == 0xaa && area()[FAKE_PAGE - 1] == 0xaa);
        fake_map(&fake, 0x11, 33 * FAKE_PAGE, EMU_PTE_PRESENT | EMU_PTE_WRITABLE);
    }
}

/* XRSTOR of this area with a mask of all; the vector raised, or -1. */
static int restore_raises(void)
{
    begin(UINT64_MAX);
    CHECK(FAKE_REFUSE(&fake, XRSTOR64) == EMU_HANDLED);
    return fake_raised(&fake);
}

static void fresh_area(void)
{
    memset(area(), 0, EMU_XSAVE_IMAGE_LENGTH);
    put64(area() + EMU_XSAVE_MXCSR, 0x1f80);
}

static void test_hostile_area(void)
{
    const uint64_t compacted = EMU_XCOMP_COMPACTED;
    fresh_area();
    CHECK(restore_raises() == -1);
    put64(area() + EMU_XSAVE_MXCSR, 0x80001f80);
    CHECK(restore_raises() == EMU_VECTOR_GP); /* even with XSTATE_BV clear */
    fresh_area();
    put64(area() + HEADER, 1ull << 62);
    CHECK(restore_raises() == EMU_VECTOR_GP);
    for (unsigned at = 8; at < 64; at += 8) {
        fresh_area();
        put64(area() + HEADER + at, 1);
        CHECK(restore_raises() == EMU_VECTOR_GP);
    }
    fresh_area();
    put64(area() + EMU_XSAVE_XCOMP_BV, compacted | 3);
    CHECK(restore_raises() == -1);
    put64(area() + HEADER, 4); /* not in XCOMP_BV */
    CHECK(restore_raises() == EMU_VECTOR_GP);
    fresh_area();
    put64(area() + EMU_XSAVE_XCOMP_BV, compacted | 1ull << 62);
    CHECK(restore_raises() == EMU_VECTOR_GP);
    fresh_area();
    put64(area() + EMU_XSAVE_XCOMP_BV, compacted | 3);
    put64(area() + HEADER, compacted);
    CHECK(restore_raises() == EMU_VECTOR_GP);
    put64(area() + HEADER, 3);
    put64(area() + EMU_XSAVE_MXCSR, 0x80001f80);
    CHECK(restore_raises() == EMU_VECTOR_GP);
    /* KVM refuses a state that was accepted here, which is still a fault of the guest. */
    fresh_area();
    fake.set_xsave_result = -EINVAL;
    CHECK(restore_raises() == EMU_VECTOR_GP);
    fake.set_xsave_result = 0;
    /* A component that no KVM image holds. */
    fake.xcr0 |= 1ull << 18;
    begin(1ull << 18);
    CHECK(FAKE_REFUSE(&fake, XRSTOR64) == EMU_FAILED && strstr(fake.cpu.error, "0x40000"));
    fake.xcr0 &= ~(1ull << 18);
}

static void test_xgetbv(void)
{
    const char *xgetbv = "\x0f\x01\xd0";
    memset(fake.image, 0, sizeof fake.image);
    put64(fake.image + EMU_XSAVE_MXCSR, 0x1f80);
    put64(fake.image + HEADER, 1);
    begin(0);
    fake_regs(&fake)->rcx = 0;
    CHECK(fake_refuse(&fake, xgetbv, 3) == EMU_HANDLED && completed(3));
    CHECK(fake_regs(&fake)->rax == (uint32_t)fake.xcr0 && fake_regs(&fake)->rdx == fake.xcr0 >> 32);
    begin(0);
    fake_regs(&fake)->rcx = 0xffffffff00000001ull;
    CHECK(fake_refuse(&fake, xgetbv, 3) == EMU_HANDLED && fake_regs(&fake)->rax == 1);
    begin(0);
    fake_regs(&fake)->rcx = 2;
    CHECK(fake_refuse(&fake, xgetbv, 3) == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_GP);
    begin(0);
    fake_sregs(&fake)->cr4 = 0;
    CHECK(fake_refuse(&fake, xgetbv, 3) == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_UD);
}

static void test_fwait(void)
{
    memset(fake.image, 0, sizeof fake.image);
    begin(0);
    CHECK(FAKE_REFUSE(&fake, "\x9b") == EMU_HANDLED && completed(1));
    fake.image[2] = 0x80;
    begin(0);
    CHECK(FAKE_REFUSE(&fake, "\x9b") == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_MF);
    begin(0);
    fake_sregs(&fake)->cr0 |= CR0_TS;
    CHECK(FAKE_REFUSE(&fake, "\x9b") == EMU_HANDLED && fake_raised(&fake) == EMU_VECTOR_NM);
}

/* The 32-bit forms know 32-bit x87 pointers only. */
static void test_narrow_form(void)
{
    memset(fake.image, 0, sizeof fake.image);
    memset(fake.image + 8, 0x11, 16);
    put64(fake.image + HEADER, 1);
    begin(1);
    CHECK(FAKE_REFUSE(&fake, "\x0f\xae\x21") == EMU_HANDLED && completed(3));
    CHECK(memcmp(area() + 8, "\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0", 16) == 0);
    memset(area() + 8, 0x22, 16);
    begin(1);
    CHECK(FAKE_REFUSE(&fake, "\x0f\xae\x29") == EMU_HANDLED && completed(3));
    CHECK(memcmp(fake.image + 8, "\x22\x22\x22\x22\0\0\0\0\x22\x22\x22\x22\0\0\0\0", 16) == 0);
}

/* A made-up CPU: real ones rarely have a component whose alignment shows. */
static void test_compacted_layout(void)
{
    struct emu_xsave_layout layout = {
        .supported = 0x1f,
        .aligned = 1 << 4,
        .offset = {[2] = 576, [3] = 1024, [4] = 2048},
        .size = {[2] = 8, [3] = 16, [4] = 64},
    };
    uint16_t offsets[EMU_XSTATE_COMPONENTS];
    CHECK(emu_xsave_offsets(&layout, 0x1f, 0, offsets) == 2112);
    CHECK(offsets[2] == 576 && offsets[3] == 1024 && offsets[4] == 2048);
    CHECK(emu_xsave_offsets(&layout, 0x1f, EMU_XCOMP_COMPACTED | 0x1f, offsets) == 704);
    CHECK(offsets[2] == 576 && offsets[3] == 584 && offsets[4] == 640);
    CHECK(emu_xsave_offsets(&layout, 0x13, EMU_XCOMP_COMPACTED | 0x13, offsets) == 640);
    CHECK(offsets[4] == 576);
    CHECK(emu_xsave_offsets(&layout, 3, 0, offsets) == EMU_XSAVE_EXTENDED);
}

int main(void)
{
    __builtin_cpu_init();
    if (!CHECK(fake_init(&fake)))
        return check_finish();
    if (__builtin_cpu_supports("avx")) {
        uint32_t eax = 13, ebx, ecx = 1, edx;
        __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        srand(1);
        emulated = cpu_is_emulated();
        xcr0 = native_xcr0() & TESTED & fake.vm.xsave.supported;
        untested = native_xcr0() & ~xcr0;
        printf("this CPU's XCR0 is 0x%llx; tested natively: 0x%llx\n",
               (unsigned long long)native_xcr0(), (unsigned long long)xcr0);
        fake.xcr0 = xcr0;
        test_alike(saves_alike, false);
        test_alike(restores_alike, false);
        if (eax & 2) {
            test_alike(saves_alike, true);
            test_alike(restores_alike, true);
        } else {
            printf("skipped the compacted format: this CPU has no XSAVEC\n");
        }
    } else {
        printf("skipped the comparison with the CPU: it has no AVX\n");
    }
    fake.xcr0 = fake.vm.xsave.supported;
    test_mxcsr();
    test_preconditions();
    test_hostile_area();
    test_xgetbv();
    test_fwait();
    test_narrow_form();
    test_compacted_layout();
    fake_free(&fake);
    return check_finish();
}
