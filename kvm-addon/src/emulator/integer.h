/*
 * The arithmetic of integer instructions that kvm-pvm's emulator does not support: POPCNT, CRC32,
 * ADX, BMI1 and BMI2, as pure functions (Intel SDM volume 2).
 */
#ifndef TSVM_EMULATOR_INTEGER_H
#define TSVM_EMULATOR_INTEGER_H

#include "insn.h"

struct emu_integer {
    uint64_t result;
    uint64_t second;    /* MULX: the low half, for VEX.vvvv */
    uint64_t flags;     /* new values (EMU_RFLAGS_*) of the flags in flag_mask */
    uint64_t flag_mask; /* flags that the instruction writes */
};

/* Whether emu_integer_execute() supports the kind. */
bool emu_is_integer(enum emu_insn_kind kind);

/*
 * `source` is the ModRM.rm operand and `other` the second source: VEX.vvvv, RDX for MULX, the
 * destination for CRC32 and ADX. Both are truncated to the operand size. `rflags` is read by ADX.
 * Flags that the SDM leaves undefined are not changed.
 */
struct emu_integer emu_integer_execute(const struct emu_insn *insn, uint64_t source, uint64_t other,
                                       uint64_t rflags);

#endif
