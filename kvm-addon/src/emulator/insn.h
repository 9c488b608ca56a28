/* A decoded instruction, of those that kvm-pvm's emulator refuses. */
#ifndef TSVM_EMULATOR_INSN_H
#define TSVM_EMULATOR_INSN_H

#include <stdbool.h>
#include <stdint.h>

/* Longer instructions raise #GP on every x86 CPU. */
#define EMU_INSN_LENGTH_MAX 15

enum emu_insn_kind {
    EMU_INSN_UNKNOWN,   /* not supported here */
    EMU_INSN_TRUNCATED, /* needs more bytes than given */
    EMU_INSN_UNDEFINED, /* raises #UD: UD0, UD1, a misplaced LOCK, a malformed VEX prefix */
    EMU_INSN_NOP,
    EMU_INSN_INT3,
    EMU_INSN_FWAIT,
    EMU_INSN_STAC,
    EMU_INSN_CLAC,
    EMU_INSN_RDTSCP,
    EMU_INSN_CLWB,
    EMU_INSN_POPCNT,
    EMU_INSN_CRC32_BYTE,
    EMU_INSN_CRC32,
    EMU_INSN_ADCX,
    EMU_INSN_ADOX,
    EMU_INSN_ANDN,
    EMU_INSN_BEXTR,
    EMU_INSN_BLSI,
    EMU_INSN_BLSMSK,
    EMU_INSN_BLSR,
    EMU_INSN_BZHI,
    EMU_INSN_MULX,
    EMU_INSN_PDEP,
    EMU_INSN_PEXT,
    EMU_INSN_RORX,
    EMU_INSN_SARX,
    EMU_INSN_SHLX,
    EMU_INSN_SHRX,
    EMU_INSN_CMPXCHG16B,
    EMU_INSN_XGETBV,
    EMU_INSN_XSAVE,
    EMU_INSN_XSAVEOPT,
    EMU_INSN_XSAVEC,
    EMU_INSN_XRSTOR,
    EMU_INSN_LDMXCSR,
    EMU_INSN_STMXCSR,
    EMU_INSN_LAR,
    EMU_INSN_LSL,
    EMU_INSN_VERR,
    EMU_INSN_VERW,
    EMU_INSN_KINDS,
};

struct emu_insn {
    enum emu_insn_kind kind;
    uint8_t length;       /* in bytes; valid for EMU_INSN_NOP and all later kinds */
    uint8_t operand_size; /* in bytes: 2, 4 or 8 */
    uint8_t reg;          /* register number of ModRM.reg, extended by REX or VEX */
    uint8_t rm;           /* register number of ModRM.rm, if it is a register operand */
    uint8_t vvvv;         /* register number in VEX.vvvv */
    uint8_t immediate;
    bool is_memory;   /* the ModRM.rm operand is memory at `address` */
    bool has_rex;     /* byte registers 4 to 7 are SPL..DIL, not AH..BH */
    uint64_t address; /* linear: effective address plus the FS or GS base */
};

#endif
