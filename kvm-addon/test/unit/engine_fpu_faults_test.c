/*
 * Exceptions of FPU and SIMD instructions, and the slow paths of ops_simd.c, compared with the
 * manual and where possible with the processor: engine_fpu_faults_test [SEED]
 */
#include "engine_fpu.h"

#include "../../src/pvm/code_lookup.h"

/* Operands that span two pages, one of which may be missing or contain code: registers change or
 * not. */
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
        /* Except for the pointers, which differ from those of the processor's own run. */
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

/* A store into code leaves by INTERPRETED_ONCE without changes, and is then executed by it. */
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

/* SSE exceptions at CPL 0: where the processor raises a signal, #XM is raised here, with the same
 * flags. */
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
        /* A tiny exact result sets no flag if underflow is masked, so it cannot be distinguished.
         */
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
        /* Nor can it be known whether the scaled result of an overflow is inexact. */
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

/* Faults suppressed by a mask: at CPL 0 by checking elements, at CPL 3 by the processor. */
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
        unsigned offset = AREA_BYTES - 4 * k; /* k elements are mapped */
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

/* CR0, CR4, XCR0: the checks before an instruction, and their order. */
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
        CHECK(RUN(0xc5, 0xf8, 0x58, 0xc1) == 0); /* vaddps: CR0.EM has no effect */
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
        /* Components that the processor would also save, or would not. */
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
        put_u64(guest_area() + XSAVE_XCOMP_BV, 0); /* XRSTORS does not support the standard
                                                    * format */
        CHECK(RAISED(RUN(0x48, 0x0f, 0xc7, 0x1b), VECTOR_GP));
    }
    cpu->cpl = 0;
    /* XCR0: without x87; AVX without SSE; a part of AVX-512; components that the host lacks; XCR1.
     */
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

/* A pending exception is raised by the next waiting x87 or MMX instruction. */
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

/* More stubs than fit: all of them continue to work. */
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

/* With AMD's MXCSR.MM, misaligned operands are allowed; otherwise they cause #GP(0). */
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
    if (!fpu_test_init(argc, argv))
        return check_finish();
    test_slow_operands();
    test_unmasked();
    test_masks();
    test_requirements();
    test_privilege();
    test_pending();
    test_full_arena();
    test_alignment();
    test_store_to_code();
    return fpu_test_finish();
}
