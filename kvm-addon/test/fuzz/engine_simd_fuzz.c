/*
 * The decoder of vector and x87 instructions on arbitrary bytes, in 64-bit and 32-bit code: it must
 * stay within them, further bytes must not change the result, and every accepted instruction must
 * make a stub that runs: without undefined instructions, and without accesses except to the
 * operand, which lies before an inaccessible page.
 */

#include <sys/mman.h>

#include "../unit/engine_simd_fake.h"
#include "fuzz.h"

#include "../../src/pvm/simd.h"

#define PAGE 4096u
#define OFFSET 0x123u
#define REGISTER_OFFSETS (CPU_REGISTERS * 8)

static struct cpu *cpu;
static uint8_t *page;

static void set_up(void)
{
    cpu = fake_cpu();
    page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED && !mprotect(page + PAGE, PAGE, PROT_NONE));
}

static void check_fields(const struct insn *insn, int length, size_t available)
{
    REQUIRE(length > 0 && length <= 15 && (size_t)length <= available);
    REQUIRE(insn_length(insn) == (unsigned)length && insn_offset(insn) == OFFSET);
    REQUIRE(insn->handler);
    REQUIRE(insn->base % 8 == 0 && insn->base < REGISTER_OFFSETS);
    REQUIRE(insn->index % 8 == 0 && insn->index < REGISTER_OFFSETS);
    REQUIRE((insn->scale & 0xf) <= 3 && insn->scale >> 4 < CPU_SEGMENT_BASES);
}

static void run_stub(const struct insn *insn)
{
    union simd_key key = {.bits = (uint64_t)insn->immediate};
    struct cpu_fpu *fpu = cpu->fpu;
    uint32_t hint = 0;

    const struct simd_stub *stub = simd_arena_find(fpu->arena, key, &hint);
    const struct simd_form *form = &stub->form;
    REQUIRE(form->bytes <= 64 && (form->alignment & (form->alignment + 1)) == 0);
    REQUIRE(form->masked_elements <= 64);
    /* Like the handlers before they run a stub. */
    uint16_t fsw = get_u16(fpu->x87 + XSAVE_FSW);
    if (form->flags & SIMD_X87_STATE && x87_pending(get_u16(fpu->x87 + XSAVE_FCW), fsw)) {
        if (form->flags & SIMD_X87_WAITS)
            return;
    } else {
        put_u16(fpu->x87 + XSAVE_FSW, fsw & (uint16_t) ~(FSW_SUMMARY | FSW_BUSY));
    }
    fpu->stub_mxcsr = fpu->mxcsr | MXCSR_MASKS;
    uint8_t *operand = page + PAGE - form->bytes;
    operand -= (uintptr_t)operand & form->alignment;
    stub->code(cpu, operand, fpu);
    fpu->mxcsr |= fpu->stub_mxcsr & MXCSR_FLAGS;
}

static void try_decoding(const uint8_t *data, size_t size, enum decode_mode mode)
{
    struct insn insn, again;
    uint8_t *exact = malloc(size ? size : 1); /* so that a read past the end is detected */
    uint8_t longer[64] = {0};

    REQUIRE(exact);
    memcpy(exact, data, size);
    int length = simd_decode(exact, OFFSET, (unsigned)size, mode, &insn);
    free(exact);
    if (length > 0)
        check_fields(&insn, length, size);
    memcpy(longer, data, size);
    int length_again = simd_decode(longer, OFFSET, sizeof longer, mode, &again);
    if (length != 0) {
        REQUIRE(length == length_again);
        if (length > 0)
            REQUIRE(!memcmp(&insn, &again, sizeof insn));
    }
    if (length > 0 && insn.handler != simd_operation[0] && insn.handler != simd_operation[1])
        run_stub(&insn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!cpu)
        set_up();
    /* Eight bytes of registers, then an instruction. */
    struct fuzz_input input = {data, size};
    uint64_t seed = input_u64(&input);
    struct cpu_fpu *fpu = cpu->fpu;
    for (unsigned i = 0; i < sizeof fpu->vectors / 8; i++)
        put_u64((uint8_t *)fpu->vectors + 8 * i, seed * (2 * i + 1));
    memset(fpu->x87, 0, sizeof fpu->x87);
    put_u16(fpu->x87 + XSAVE_FCW, (uint16_t)((seed & 0x1f3f) | 0x40));
    put_u16(fpu->x87 + XSAVE_FSW, (uint16_t)(seed >> 16));
    fpu->x87[XSAVE_FTW] = (uint8_t)(seed >> 32);
    put_u32(fpu->x87 + XSAVE_MXCSR, MXCSR_INITIAL);
    fpu->mxcsr = (uint32_t)(seed >> 40) & fpu_host.mxcsr_mask;
    fpu->opmasks[1] = seed;
    fpu->registers_valid = true;
    if (input.size <= 32) {
        try_decoding(input.data, input.size, DECODE_64);
        try_decoding(input.data, input.size, DECODE_COMPAT32);
    }
    return 0;
}
