/*
 * Decoder for the 64-bit mode instructions that kvm-pvm's emulator refuses.
 * Pure: bytes and registers in, one struct out. It never reads beyond the bytes given.
 */
#ifndef TSVM_PVM_DECODE_H
#define TSVM_PVM_DECODE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An instruction of 16 bytes raises #GP on every x86 CPU. */
#define PVM_INSN_LENGTH_MAX 15

enum pvm_insn_kind {
    PVM_INSN_UNKNOWN,   /* well-formed or not, none that is completed here */
    PVM_INSN_TRUNCATED, /* it continues beyond the bytes given */
    PVM_INSN_UNDEFINED, /* raises #UD: UD0, UD1, a misplaced LOCK, a malformed VEX prefix */
    PVM_INSN_NOP,
    PVM_INSN_INT3,
    PVM_INSN_FWAIT,
    PVM_INSN_STAC,
    PVM_INSN_CLAC,
    PVM_INSN_RDTSCP,
    PVM_INSN_CLWB,
    PVM_INSN_POPCNT,
    PVM_INSN_CRC32_BYTE,
    PVM_INSN_CRC32,
    PVM_INSN_ADCX,
    PVM_INSN_ADOX,
    PVM_INSN_ANDN,
    PVM_INSN_BEXTR,
    PVM_INSN_BLSI,
    PVM_INSN_BLSMSK,
    PVM_INSN_BLSR,
    PVM_INSN_BZHI,
    PVM_INSN_MULX,
    PVM_INSN_PDEP,
    PVM_INSN_PEXT,
    PVM_INSN_RORX,
    PVM_INSN_SARX,
    PVM_INSN_SHLX,
    PVM_INSN_SHRX,
    PVM_INSN_CMPXCHG16B,
    PVM_INSN_XGETBV,
    PVM_INSN_XSAVE,
    PVM_INSN_XSAVEOPT,
    PVM_INSN_XSAVEC,
    PVM_INSN_XRSTOR,
    PVM_INSN_LDMXCSR,
    PVM_INSN_STMXCSR,
    PVM_INSN_LAR,
    PVM_INSN_LSL,
    PVM_INSN_VERR,
    PVM_INSN_VERW,
    PVM_INSN_KINDS,
};

struct pvm_insn {
    enum pvm_insn_kind kind;
    uint8_t length;       /* in bytes; valid for every kind from PVM_INSN_NOP on */
    uint8_t operand_size; /* in bytes: 2, 4 or 8 */
    uint8_t reg;          /* register number in ModRM.reg with its extension */
    uint8_t rm;           /* register number in ModRM.rm, when the operand is a register */
    uint8_t vvvv;         /* register number in VEX.vvvv */
    uint8_t immediate;
    bool is_memory;   /* the ModRM.rm operand is memory at `address` */
    bool has_rex;     /* byte registers 4 to 7 are SPL..DIL, not AH..BH */
    uint64_t address; /* linear: effective address plus the FS or GS base */
};

/*
 * Decodes one instruction. `length` may be anything; only the first PVM_INSN_LENGTH_MAX bytes
 * count. `regs->rip` is the address of the first byte.
 */
struct pvm_insn pvm_decode(const uint8_t *bytes, size_t length, const struct kvm_regs *regs,
                           uint64_t fs_base, uint64_t gs_base);

/* The lower-case mnemonic of a kind, "unknown" for what is none. */
const char *pvm_insn_name(enum pvm_insn_kind kind);

#endif
