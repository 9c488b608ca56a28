/*
 * The instructions of fpu*.c that save, restore and change the FPU's state, compared with the
 * processor: engine_fpu_state_test [SEED]
 */
#include "engine_fpu.h"

static void test_saves(void)
{
    for (unsigned round = 0; round < 300; round++) {
        /* Often spans two pages, and is sometimes misaligned. */
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

/* An area with a header that is mostly valid. */
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

int main(int argc, char **argv)
{
    if (!fpu_test_init(argc, argv))
        return check_finish();
    test_saves();
    test_restores();
    test_environment();
    test_small();
    test_maskmovdqu();
    return fpu_test_finish();
}
