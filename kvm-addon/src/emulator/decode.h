/*
 * Decoder for the 64-bit mode instructions that kvm-pvm's emulator does not support. A pure
 * function of the bytes and registers. It never reads past the given bytes.
 */
#ifndef TSVM_EMULATOR_DECODE_H
#define TSVM_EMULATOR_DECODE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "insn.h"

/*
 * Decodes one instruction of `length` bytes, of which the first EMU_INSN_LENGTH_MAX are used.
 * `regs->rip` is the address of the first byte.
 */
struct emu_insn emu_decode(const uint8_t *bytes, size_t length, const struct kvm_regs *regs,
                           uint64_t fs_base, uint64_t gs_base);

/* The lower-case mnemonic of a kind, or "unknown" for an invalid kind. */
const char *emu_insn_name(enum emu_insn_kind kind);

#endif
