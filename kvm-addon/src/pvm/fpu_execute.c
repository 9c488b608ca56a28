/*
 * Instructions that are executed in C: those that move whole states, and those whose operands the
 * host's processor must not see.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "access.h"
#include "fpu_state.h"
#include "tlb.h"
#include "walk.h"

/* What must hold before an instruction does anything (SDM 2, its exception lists). */
enum requirement {
    NEEDS_X87 = 1 << 0,       /* #NM: CR0.EM or TS */
    NEEDS_SSE = 1 << 1,       /* #UD: CR0.EM, no CR4.OSFXSR; #NM: CR0.TS */
    NEEDS_XSAVE = 1 << 2,     /* #UD: no CR4.OSXSAVE */
    NEEDS_AVX = 1 << 3,       /* #UD: no CR4.OSXSAVE, XCR0 without AVX; #NM: CR0.TS */
    NEEDS_NO_TS = 1 << 4,     /* #NM: CR0.TS */
    NEEDS_NO_MF = 1 << 5,     /* #MF when an x87 exception is pending */
    NEEDS_CPL_0 = 1 << 6,     /* #GP(0) */
    NEEDS_HOST_XCR0 = 1 << 7, /* at CPL 3: natively where the processor's XCR0 would tell */
};

static const uint8_t requirements[] = {
    [FPU_FXSAVE] = NEEDS_X87,
    [FPU_FXRSTOR] = NEEDS_X87,
    [FPU_XSAVE] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_HOST_XCR0,
    [FPU_XSAVEOPT] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_HOST_XCR0,
    [FPU_XSAVEC] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_HOST_XCR0,
    [FPU_XSAVES] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_CPL_0,
    [FPU_XRSTOR] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_HOST_XCR0,
    [FPU_XRSTORS] = NEEDS_XSAVE | NEEDS_NO_TS | NEEDS_CPL_0,
    [FPU_LDMXCSR] = NEEDS_SSE,
    [FPU_STMXCSR] = NEEDS_SSE,
    [FPU_XGETBV] = NEEDS_XSAVE | NEEDS_HOST_XCR0,
    [FPU_XSETBV] = NEEDS_XSAVE | NEEDS_CPL_0,
    [FPU_FWAIT] = 0, /* see there */
    [FPU_FNSTENV] = NEEDS_X87,
    [FPU_FLDENV] = NEEDS_X87 | NEEDS_NO_MF,
    [FPU_FNSAVE] = NEEDS_X87,
    [FPU_FRSTOR] = NEEDS_X87 | NEEDS_NO_MF,
    [FPU_VZEROUPPER] = NEEDS_AVX,
    [FPU_VZEROALL] = NEEDS_AVX,
    [FPU_MASKMOVDQU] = NEEDS_SSE,
};

/* #UD; at CPL 3 the processor decides: kvm-pvm runs programs with the host's CR4. */
static _Noreturn void refuse(struct cpu *cpu, struct insn *insn)
{
    if (cpu->cpl == 3)
        cpu_leave(cpu, insn, INTERPRETED_NATIVE);
    cpu_raise(cpu, insn, VECTOR_UD);
}

void fpu_check_address(struct cpu *cpu, const struct insn *insn, uint64_t va, unsigned bytes)
{
    if (walk_is_canonical(cpu, va) && walk_is_canonical(cpu, va + bytes - 1))
        return;
    bool stack = (insn->base == REG_RSP * 8 || insn->base == REG_RBP * 8) && !(insn->scale >> 4);
    cpu_raise_error(cpu, insn, stack ? VECTOR_SS : VECTOR_GP, 0);
}

/* Maximum size of an operation's memory operand; 0: none. */
static unsigned operand_bytes(enum fpu_operation operation)
{
    switch (operation) {
    case FPU_LDMXCSR:
    case FPU_STMXCSR:
        return 4;
    case FPU_MASKMOVDQU:
        return 16;
    case FPU_XGETBV:
    case FPU_XSETBV:
    case FPU_FWAIT:
    case FPU_VZEROUPPER:
    case FPU_VZEROALL:
        return 0;
    case FPU_XSAVE:
    case FPU_XSAVEOPT:
    case FPU_XSAVEC:
    case FPU_XSAVES:
    case FPU_XRSTOR:
    case FPU_XRSTORS:
        return XSAVE_IMAGE_BYTES;
    default:
        return XSAVE_HEADER;
    }
}

/*
 * Whether an instruction of a program that depends on XCR0 is the processor's to execute, which
 * runs programs with another one: XGETBV, and saves of components that differ.
 */
static bool depends_on_processor(const struct cpu *cpu, enum fpu_operation operation)
{
    uint64_t different = cpu->fpu->xcr0 ^ fpu_host.processor_xcr0;
    uint64_t requested = (uint64_t)(uint32_t)cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX];

    return cpu->cpl == 3 && (operation == FPU_XGETBV ? different : different & requested) != 0;
}

static bool x87_exception_is_pending(struct cpu *cpu)
{
    fpu_load_image(cpu);
    const uint8_t *image = cpu->fpu->image;
    return x87_pending(get_u16(image + XSAVE_FCW), get_u16(image + XSAVE_FSW));
}

/* Without CR0.NE the exception would be an external interrupt, which this machine does not have. */
static void raise_pending(struct cpu *cpu, struct insn *insn)
{
    if (cpu->sregs.cr0 & CR0_NE && x87_exception_is_pending(cpu))
        cpu_raise(cpu, insn, VECTOR_MF);
}

static void check(struct cpu *cpu, struct insn *insn, enum fpu_operation operation)
{
    unsigned needs = requirements[operation];
    uint64_t cr0 = cpu->sregs.cr0;
    uint64_t cr4 = cpu->sregs.cr4;
    uint64_t xcr0 = cpu->fpu->xcr0;
    uint64_t avx = XSTATE_BIT(SSE) | XSTATE_BIT(AVX);

    if (needs & NEEDS_SSE && (cr0 & CR0_EM || !(cr4 & CR4_OSFXSR)))
        refuse(cpu, insn);
    if (needs & (NEEDS_XSAVE | NEEDS_AVX) && !(cr4 & CR4_OSXSAVE))
        refuse(cpu, insn);
    if (needs & NEEDS_AVX && (xcr0 & avx) != avx)
        refuse(cpu, insn);
    if (needs & NEEDS_HOST_XCR0 && depends_on_processor(cpu, operation))
        refuse(cpu, insn);
    if (needs & NEEDS_CPL_0 && cpu->cpl)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (needs & NEEDS_X87 && cr0 & (CR0_EM | CR0_TS))
        cpu_raise(cpu, insn, VECTOR_NM);
    if (needs & (NEEDS_SSE | NEEDS_AVX | NEEDS_NO_TS) && cr0 & CR0_TS)
        cpu_raise(cpu, insn, VECTOR_NM);
    if (needs & NEEDS_NO_MF)
        raise_pending(cpu, insn);
}

static void load_mxcsr(struct cpu *cpu, struct insn *insn, uint64_t va)
{
    uint32_t mxcsr;

    access_copy_in(cpu, insn, va, &mxcsr, sizeof mxcsr);
    if (mxcsr & ~fpu_host.mxcsr_mask)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    fpu_own_registers(cpu);
    cpu->fpu->mxcsr = mxcsr;
}

static void store_mxcsr(struct cpu *cpu, struct insn *insn, uint64_t va)
{
    fpu_load_registers(cpu);
    access_copy_out(cpu, insn, va, &cpu->fpu->mxcsr, sizeof cpu->fpu->mxcsr);
}

static void get_xcr(struct cpu *cpu, struct insn *insn)
{
    uint64_t value = cpu->fpu->xcr0;
    uint32_t number = (uint32_t)cpu->r[REG_RCX];

    if (number > 1)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (number == 1) {
        fpu_load_image(cpu);
        uint64_t in_use = fpu_in_use(cpu->fpu);
        if (get_u32(cpu->fpu->image + XSAVE_MXCSR) != MXCSR_INITIAL)
            in_use |= XSTATE_BIT(SSE);
        value &= in_use;
    }
    cpu->r[REG_RAX] = (uint32_t)value;
    cpu->r[REG_RDX] = value >> 32;
}

static bool xcr0_is_valid(uint64_t value)
{
    if (!(value & XSTATE_BIT(X87)) || value & ~fpu_host.xcr0)
        return false;
    if (value & XSTATE_BIT(AVX) && !(value & XSTATE_BIT(SSE)))
        return false;
    return !(value & XSTATE_AVX512) ||
           ((value & XSTATE_AVX512) == XSTATE_AVX512 && value & XSTATE_BIT(AVX));
}

static void set_xcr(struct cpu *cpu, struct insn *insn)
{
    uint64_t value = (uint64_t)(uint32_t)cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX];
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.value = value}}};

    if ((uint32_t)cpu->r[REG_RCX] || !xcr0_is_valid(value))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    if (ioctl(cpu->fd, KVM_SET_XCRS, &xcrs))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    cpu->fpu->xcr0 = value;
}

static void wait_for_x87(struct cpu *cpu, struct insn *insn)
{
    uint64_t cr0 = cpu->sregs.cr0;

    if (cr0 & CR0_MP && cr0 & CR0_TS)
        cpu_raise(cpu, insn, VECTOR_NM);
    raise_pending(cpu, insn);
}

static void zero_vectors(struct cpu *cpu, unsigned from)
{
    unsigned count = cpu->compat ? 8 : 16;

    fpu_own_registers(cpu);
    for (unsigned i = 0; i < count; i++)
        memset(cpu->fpu->vectors[i] + from, 0, sizeof cpu->fpu->vectors[i] - from);
}

/* Stores the bytes of `reg` whose bytes of `rm` have their top bit set. */
static void store_masked_bytes(struct cpu *cpu, struct insn *insn, struct fpu_operands operands,
                               uint64_t va)
{
    fpu_load_registers(cpu);
    const uint8_t *value = cpu->fpu->vectors[operands.reg];
    const uint8_t *mask = cpu->fpu->vectors[operands.rm];
    unsigned start = 0;

    while (start < 16) {
        unsigned end = start;
        while (end < 16 && mask[end] & 0x80)
            end++;
        if (end > start)
            access_copy_out(cpu, insn, va + start, value + start, end - start);
        start = end + 1;
    }
}

void fpu_execute(struct cpu *cpu, struct insn *insn, struct fpu_operands operands, uint64_t va)
{
    unsigned bytes = operand_bytes(operands.operation);

    check(cpu, insn, operands.operation);
    if (bytes)
        fpu_check_address(cpu, insn, va, bytes);
    switch (operands.operation) {
    case FPU_FXSAVE:
        return fpu_fxsave(cpu, insn, operands.wide, va);
    case FPU_FXRSTOR:
        return fpu_fxrstor(cpu, insn, operands.wide, va);
    case FPU_XSAVE:
    case FPU_XSAVEOPT:
    case FPU_XSAVEC:
    case FPU_XSAVES:
        return fpu_xsave(cpu, insn, operands, va);
    case FPU_XRSTOR:
    case FPU_XRSTORS:
        return fpu_xrstor(cpu, insn, operands, va);
    case FPU_LDMXCSR:
        return load_mxcsr(cpu, insn, va);
    case FPU_STMXCSR:
        return store_mxcsr(cpu, insn, va);
    case FPU_XGETBV:
        return get_xcr(cpu, insn);
    case FPU_XSETBV:
        return set_xcr(cpu, insn);
    case FPU_FWAIT:
        return wait_for_x87(cpu, insn);
    case FPU_FNSTENV:
    case FPU_FNSAVE:
        return fpu_store_environment(cpu, insn, operands, va);
    case FPU_FLDENV:
    case FPU_FRSTOR:
        return fpu_load_environment(cpu, insn, operands, va);
    case FPU_VZEROUPPER:
        return zero_vectors(cpu, 16);
    case FPU_VZEROALL:
        return zero_vectors(cpu, 0);
    case FPU_MASKMOVDQU:
        return store_masked_bytes(cpu, insn, operands, va);
    }
}
