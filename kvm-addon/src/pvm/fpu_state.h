/* The FPU state of a vCPU, shared by fpu*.c and simd*.c. */
#ifndef TSVM_PVM_FPU_STATE_H
#define TSVM_PVM_FPU_STATE_H

#include <linux/kvm.h>

#include "arch.h"
#include "cpu.h"

/* State components (SDM 1 13.1). */
enum xstate_component {
    XSTATE_X87,
    XSTATE_SSE,
    XSTATE_AVX,
    XSTATE_OPMASK = 5,
    XSTATE_ZMM_HIGH_256,
    XSTATE_HIGH_16_ZMM,
    XSTATE_COMPONENTS,
};
#define XSTATE_BIT(component) (1ull << XSTATE_##component)
#define XSTATE_AVX512 (XSTATE_BIT(OPMASK) | XSTATE_BIT(ZMM_HIGH_256) | XSTATE_BIT(HIGH_16_ZMM))
#define XSTATE_KNOWN (XSTATE_BIT(X87) | XSTATE_BIT(SSE) | XSTATE_BIT(AVX) | XSTATE_AVX512)

/* Offsets in an XSAVE area (SDM 1 13.4). */
enum xsave_offset {
    XSAVE_FCW = 0,
    XSAVE_FSW = 2,
    XSAVE_FTW = 4, /* one bit a register: not empty */
    XSAVE_FOP = 6,
    XSAVE_FIP = 8,
    XSAVE_FDP = 16,
    XSAVE_MXCSR = 24,
    XSAVE_MXCSR_MASK = 28,
    XSAVE_ST = 32,
    XSAVE_XMM = 160,
    XSAVE_LEGACY_END = 416,
    XSAVE_HEADER = 512,
    XSAVE_XSTATE_BV = 512,
    XSAVE_XCOMP_BV = 520,
    XSAVE_EXTENDED = 576,
};
#define XCOMP_COMPACT (1ull << 63)

#define FCW_INITIAL 0x37fu
#define MXCSR_INITIAL 0x1f80u
#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MISALIGNED 0x20000u /* AMD: no alignment checks of SSE operands */
/* Exception flags of FSW and their masks in FCW; FSW also says whether any is unmasked. */
#define X87_EXCEPTIONS 0x3fu
#define FSW_SUMMARY 0x80u
#define FSW_BUSY 0x8000u

/* What this host's processor has. The same for all VMs; set once by fpu_host_init(). */
struct fpu_host {
    uint64_t xcr0;           /* components offered to guests */
    uint64_t processor_xcr0; /* those that programs have natively: with PKRU, AMX and so on */
    uint32_t mxcsr_mask;
    uint16_t offset[XSTATE_COMPONENTS]; /* in the standard format */
    uint16_t size[XSTATE_COMPONENTS];
    uint64_t aligned;        /* components that lie at 64-byte boundaries in the compacted format */
    uint32_t xsave_features; /* CPUID 0xd.1 EAX: XSAVEOPT, XSAVEC, XGETBV(1), XSAVES */
    unsigned vector_bytes;   /* 16, 32 or 64: of a whole vector register */
};
extern struct fpu_host fpu_host;
void fpu_host_init(void);

/* Bits of xsave_features. */
#define XSAVE_FEATURE_XSAVEOPT 1u
#define XSAVE_FEATURE_XSAVEC 2u
#define XSAVE_FEATURE_XSAVES 8u

#define XSAVE_IMAGE_BYTES sizeof(struct kvm_xsave)

struct simd_arena;

/*
 * The state has two forms: registers as instructions use them, and KVM's XSAVE image in the
 * standard format, whose components are all filled in. At least one is valid unless the state is
 * KVM's. Offsets of the registers are compiled into stubs.
 */
struct cpu_fpu {
    /* Registers. */
    uint8_t vectors[32][64] __attribute__((aligned(64)));
    uint8_t x87[512] __attribute__((aligned(64))); /* FXSAVE area: its x87 part */
    uint64_t opmasks[8];
    uint32_t mxcsr;
    uint32_t stub_mxcsr; /* what a stub runs with: all exceptions masked */
    uint32_t host_mxcsr;

    uint8_t image[XSAVE_IMAGE_BYTES] __attribute__((aligned(64)));
    bool registers_valid;
    bool image_valid;
    bool dirty; /* the valid form is newer than KVM's state */
    uint64_t xcr0;
    struct simd_arena *arena;
};

/* Each makes one form valid; fpu_own_*() also takes note that it is going to be changed. */
void fpu_load_registers(struct cpu *cpu);
void fpu_load_image(struct cpu *cpu);
void fpu_own_registers(struct cpu *cpu);
void fpu_own_image(struct cpu *cpu);

static inline uint64_t get_u64(const void *bytes)
{
    uint64_t value;
    __builtin_memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint32_t get_u32(const void *bytes)
{
    uint32_t value;
    __builtin_memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint16_t get_u16(const void *bytes)
{
    uint16_t value;
    __builtin_memcpy(&value, bytes, sizeof value);
    return value;
}

static inline void put_u16(void *bytes, uint16_t value)
{
    __builtin_memcpy(bytes, &value, sizeof value);
}

static inline void put_u32(void *bytes, uint32_t value)
{
    __builtin_memcpy(bytes, &value, sizeof value);
}

static inline void put_u64(void *bytes, uint64_t value)
{
    __builtin_memcpy(bytes, &value, sizeof value);
}

/* An x87 exception is flagged and not masked: the next waiting instruction raises #MF. */
static inline bool x87_pending(uint16_t fcw, uint16_t fsw)
{
    return (fsw & ~fcw & X87_EXCEPTIONS) != 0;
}

/* Instructions that are executed here in C, by fpu_execute(). */
enum fpu_operation {
    FPU_FXSAVE,
    FPU_FXRSTOR,
    FPU_XSAVE,
    FPU_XSAVEOPT,
    FPU_XSAVEC,
    FPU_XSAVES,
    FPU_XRSTOR,
    FPU_XRSTORS,
    FPU_LDMXCSR,
    FPU_STMXCSR,
    FPU_XGETBV,
    FPU_XSETBV,
    FPU_FWAIT,
    FPU_FNSTENV,
    FPU_FLDENV,
    FPU_FNSAVE,
    FPU_FRSTOR,
    FPU_VZEROUPPER,
    FPU_VZEROALL,
    FPU_MASKMOVDQU,
};

/* `wide`: REX.W; an x87 environment of 16 bits: `narrow`. */
struct fpu_operands {
    enum fpu_operation operation;
    bool wide;
    bool narrow;
    uint8_t reg;
    uint8_t rm;
};

_Static_assert(sizeof(struct fpu_operands) == 8, "they fit an instruction's immediate");

/* Raises what the use of a non-canonical address raises: #SS by RSP and RBP, else #GP. */
void fpu_check_address(struct cpu *cpu, const struct insn *insn, uint64_t va, unsigned bytes);
/* fpu_execute.c: checks, raises, executes. `va` is that of a memory operand. */
void fpu_execute(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va);
/* fpu_xsave.c */
void fpu_fxsave(struct cpu *cpu, struct insn *insn, bool wide, uint64_t va);
void fpu_fxrstor(struct cpu *cpu, struct insn *insn, bool wide, uint64_t va);
void fpu_xsave(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va);
void fpu_xrstor(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va);
/* Components not in their initial configuration, of the valid image. */
uint64_t fpu_in_use(const struct cpu_fpu *fpu);
/* Where components lie in the compacted format; returns the bytes of the whole area. */
uint32_t fpu_compacted_offsets(uint64_t components, uint16_t offsets[XSTATE_COMPONENTS]);
/* fpu_environment.c: FNSTENV, FLDENV, FNSAVE, FRSTOR. */
void fpu_store_environment(struct cpu *cpu, struct insn *insn, struct fpu_operands operands,
                           uint64_t va);
void fpu_load_environment(struct cpu *cpu, struct insn *insn, struct fpu_operands operands,
                          uint64_t va);

#endif
