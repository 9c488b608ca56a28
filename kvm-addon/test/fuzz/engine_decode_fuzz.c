/*
 * The decoder on arbitrary bytes: it must stay within them, further bytes must not change the
 * result, and an instruction's fields must name registers of the register file.
 */
#include <stddef.h>

#include "../../src/pvm/decode.h"
#include "../../src/pvm/interpret.h"
#include "../../src/pvm/ops.h"
#include "fuzz.h"

#define INSN_BYTES_MAX 15u
#define REGISTERS_END (CPU_REGISTERS * 8u)
#define SEGMENT_BASES_END (offsetof(struct cpu, segment_base) + CPU_SEGMENT_BASES * 8u)

static bool is_register(uint8_t offset)
{
    return offset % 8 == 0 && offset < REGISTERS_END;
}

/* If there is no register, the segment base is used. */
static bool is_base(uint8_t offset)
{
    return offset % 8 == 0 && offset < SEGMENT_BASES_END;
}

/* AH, CH, DH and BH are the second bytes of registers, whose numbers are even smaller. */
static bool is_operand(uint8_t offset)
{
    return offset < 16 * 8;
}

static void check_fields(const struct insn *insn, unsigned length, unsigned offset)
{
    REQUIRE(insn->handler);
    REQUIRE(insn_length(insn) == length && insn_offset(insn) == offset);
    REQUIRE(is_base(insn->base) && is_register(insn->index));
    REQUIRE(is_operand(insn->reg) && is_operand(insn->rm));
    REQUIRE((insn->scale >> 4) < CPU_SEGMENT_BASES && !(insn->scale & 0xc));
}

static void check_mode(const uint8_t *data, size_t size, unsigned offset, enum decode_mode mode)
{
    struct insn insn, again;
    uint8_t longer[2 * INSN_BYTES_MAX] = {0};
    bool ends, ends_again;
    unsigned length = decode(data, offset, (unsigned)size, mode, &insn, &ends);

    REQUIRE(length <= size && length <= INSN_BYTES_MAX);
    REQUIRE(length != 0 || size < INSN_BYTES_MAX);
    if (length == 0)
        return;
    check_fields(&insn, length, offset);
    memcpy(longer, data, size);
    unsigned length_again = decode(longer, offset, sizeof longer, mode, &again, &ends_again);
    REQUIRE(length_again == length && ends_again == ends);
    REQUIRE(memcmp(&insn, &again, sizeof insn) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned offset = (data[0] | data[1] << 8) & PAGE_OFFSET;
    data += 2;
    size -= 2;
    if (size > INSN_BYTES_MAX)
        size = INSN_BYTES_MAX;
    /* Exactly this size, so that a read past the end is detected. */
    uint8_t *exact = malloc(size ? size : 1);
    REQUIRE(exact);
    memcpy(exact, data, size);
    check_mode(exact, size, offset, DECODE_64);
    check_mode(exact, size, offset, DECODE_COMPAT32);
    free(exact);
    return 0;
}
