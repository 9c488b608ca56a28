/* The decoder on arbitrary bytes: it must stay within them, and further bytes must not change the
 * result. */
#include "../../src/emulator/decode.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct kvm_regs regs = {.rip = 0xffffffff81000000ull, .rsp = 0xffffc90000000000ull};
    uint8_t longer[EMU_INSN_LENGTH_MAX + 1] = {0};

    struct emu_insn insn = emu_decode(data, size, &regs, 0x1000, 0x2000);
    REQUIRE(insn.kind < EMU_INSN_KINDS);
    REQUIRE(insn.length <= size && insn.length <= EMU_INSN_LENGTH_MAX);
    REQUIRE(insn.kind != EMU_INSN_TRUNCATED || size < EMU_INSN_LENGTH_MAX);
    REQUIRE(insn.kind <= EMU_INSN_TRUNCATED || insn.length > 0);
    if (insn.kind == EMU_INSN_TRUNCATED || size > EMU_INSN_LENGTH_MAX)
        return 0;
    memcpy(longer, data, size);
    struct emu_insn again = emu_decode(longer, sizeof longer, &regs, 0x1000, 0x2000);
    REQUIRE(again.kind == insn.kind && again.length == insn.length);
    REQUIRE(again.address == insn.address);
    return 0;
}
