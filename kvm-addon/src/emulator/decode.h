/*
 * Decoder for the 64-bit mode instructions that kvm-pvm's emulator refuses.
 * Pure: bytes and registers in, one struct out. It never reads beyond the bytes given.
 */
#ifndef TSVM_EMULATOR_DECODE_H
#define TSVM_EMULATOR_DECODE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "insn.h"

/*
 * Decodes one instruction. `length` may be anything; only the first EMU_INSN_LENGTH_MAX bytes
 * count. `regs->rip` is the address of the first byte.
 */
struct emu_insn emu_decode(const uint8_t *bytes, size_t length, const struct kvm_regs *regs,
                           uint64_t fs_base, uint64_t gs_base);

/* The lower-case mnemonic of a kind, "unknown" for what is none. */
const char *emu_insn_name(enum emu_insn_kind kind);

#endif
