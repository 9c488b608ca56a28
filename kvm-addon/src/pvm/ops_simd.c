/*
 * Handlers that run stubs. A fast path has its memory operand in the TLB and no exception that is
 * unmasked; everything else goes through run_slowly(), with the operand in a buffer.
 *
 * Exceptions never become signals of this process: SSE and AVX instructions run with all of them
 * masked, and what they flag tells whether one would have been raised; x87 instructions run only
 * when none is pending, and the state is saved without waiting.
 */
#include <stddef.h>
#include <string.h>

#include "access.h"
#include "counters.h"
#include "fpu_state.h"
#include "handlers.h"
#include "simd.h"

#define SLOW __attribute__((noinline, cold))
/* Exceptions that are found before the result is computed: IE, DE, ZE (SDM 1 11.5.2). */
#define MXCSR_EARLY_FLAGS 7u
#define MXCSR_MASK_SHIFT 7
#define CODE_SELECTOR_BITS 0x7ffu
/* Cost of a stub in taken jumps, for a program's budget. */
#define JUMPS_WORTH 4

/* Instead of a stub: a native run, or KVM's emulator. */
static _Noreturn void leave_to_kvm(struct cpu *cpu, struct insn *insn)
{
    cpu_leave(cpu, insn, cpu->cpl == 3 ? INTERPRETED_NATIVE : INTERPRETED_STEP);
}

static inline const struct simd_stub *stub_of(struct cpu *cpu, struct insn *insn)
{
    struct simd_arena *arena = cpu->fpu->arena;
    union simd_key key = {.bits = (uint64_t)insn->immediate};

    if (unlikely(!arena))
        leave_to_kvm(cpu, insn);
    const struct simd_stub *stub = simd_arena_at(arena, insn->generation);
    if (unlikely(stub->key.bits != key.bits))
        stub = simd_arena_find(arena, key, &insn->generation);
    return stub;
}

/* Raises what keeps the instruction from running; see describe_requirements(). */
static SLOW void refuse(struct cpu *cpu, struct insn *insn, const struct simd_stub *stub)
{
    const struct simd_form *form = &stub->form;
    uint64_t cr0 = cpu->sregs.cr0;
    bool is_x87 = stub->key.encoding == SIMD_X87 && stub->key.opcode != SIMD_X87_EMMS;

    if (!is_x87) {
        if (~cpu->sregs.cr4 & form->cr4_set || ~cpu->fpu->xcr0 & form->xcr0_set) {
            /* kvm-pvm runs programs with the host's CR4 and XCR0: as natively, then. */
            if (cpu->cpl == 3)
                cpu_leave(cpu, insn, INTERPRETED_NATIVE);
            cpu_raise(cpu, insn, VECTOR_UD);
        }
        if (cr0 & form->cr0_clear & CR0_EM)
            cpu_raise(cpu, insn, VECTOR_UD);
    }
    cpu_raise(cpu, insn, VECTOR_NM);
}

/* Checks for a pending x87 exception, and sets the summary bits for the stub's FXRSTOR. */
static void prepare_x87(struct cpu *cpu, struct insn *insn, const struct simd_form *form)
{
    uint8_t *x87 = cpu->fpu->x87;
    uint16_t fsw = get_u16(x87 + XSAVE_FSW);

    if (x87_pending(get_u16(x87 + XSAVE_FCW), fsw)) {
        if (!(form->flags & SIMD_X87_WAITS))
            return;
        /* Without CR0.NE it would be an external interrupt. */
        if (!(cpu->sregs.cr0 & CR0_NE))
            leave_to_kvm(cpu, insn);
        cpu_raise(cpu, insn, VECTOR_MF);
    }
    put_u16(x87 + XSAVE_FSW, fsw & (uint16_t) ~(FSW_SUMMARY | FSW_BUSY));
}

/* Checks made before memory accesses; makes the register form valid. */
static inline void prepare(struct cpu *cpu, struct insn *insn, const struct simd_stub *stub)
{
    const struct simd_form *form = &stub->form;
    struct cpu_fpu *fpu = cpu->fpu;

    cpu->counters->simd++;
    /* In a native run these are much faster. */
    if (cpu->cpl == 3)
        cpu->budget -= JUMPS_WORTH;
    uint64_t missing = (cpu->sregs.cr0 & form->cr0_clear) | (~cpu->sregs.cr4 & form->cr4_set) |
                       (~fpu->xcr0 & form->xcr0_set);
    if (unlikely(missing))
        refuse(cpu, insn, stub);
    if (unlikely(!fpu->registers_valid))
        fpu_load_registers(cpu);
    if (form->flags & SIMD_X87_STATE)
        prepare_x87(cpu, insn, form);
}

/* The registers are going to change. */
static inline void own_registers(struct cpu_fpu *fpu, const struct simd_form *form)
{
    if (form->changes_fpu) {
        fpu->image_valid = false;
        fpu->dirty = true;
    }
}

/*
 * The addresses that an x87 instruction saves: the guest's instead of the stub's. `va` is the
 * memory operand's linear address; the pointer has no segment base.
 */
static void set_x87_pointers(struct cpu *cpu, const struct insn *insn, union simd_key key,
                             uint64_t va)
{
    uint8_t *x87 = cpu->fpu->x87;

    put_u64(x87 + XSAVE_FIP, cpu->r[REG_PAGE] + insn_offset(insn));
    put_u16(x87 + XSAVE_FOP, ((key.opcode & 7) << 8 | key.immediate) & CODE_SELECTOR_BITS);
    put_u64(x87 + XSAVE_FDP, key.memory ? va - cpu->segment_base[insn->scale >> 4] : 0);
}

/* Runs a stub, no exception being unmasked. */
static inline void run(struct cpu *cpu, const struct insn *insn, const struct simd_stub *stub,
                       void *memory, uint64_t va)
{
    struct cpu_fpu *fpu = cpu->fpu;
    unsigned flags = stub->form.flags;

    own_registers(fpu, &stub->form);
    if (flags & SIMD_FP) {
        fpu->stub_mxcsr = (fpu->mxcsr & fpu_host.mxcsr_mask) | MXCSR_MASKS;
        stub->code(cpu, memory, fpu);
        fpu->mxcsr |= fpu->stub_mxcsr & MXCSR_FLAGS;
        return;
    }
    stub->code(cpu, memory, fpu);
    if (flags & SIMD_X87_POINTERS)
        set_x87_pointers(cpu, insn, stub->key, va);
}

static inline bool has_unmasked_exceptions(const struct cpu_fpu *fpu, const struct simd_form *form)
{
    return form->flags & SIMD_FP && (fpu->mxcsr & MXCSR_MASKS) != MXCSR_MASKS;
}

/* Everything that a stub may change, but memory. */
struct snapshot {
    uint8_t fpu[offsetof(struct cpu_fpu, image)];
    uint64_t r[CPU_REGISTERS];
    uint16_t status;
};

static void save(const struct cpu *cpu, struct snapshot *snapshot)
{
    memcpy(snapshot->fpu, cpu->fpu, sizeof snapshot->fpu);
    memcpy(snapshot->r, cpu->r, sizeof snapshot->r);
    snapshot->status = cpu->status;
}

static void restore(struct cpu *cpu, const struct snapshot *snapshot)
{
    memcpy(cpu->fpu, snapshot->fpu, sizeof snapshot->fpu);
    memcpy(cpu->r, snapshot->r, sizeof snapshot->r);
    cpu->status = snapshot->status;
}

/*
 * At CPL 0 with unmasked exceptions: by what the same instruction flags with all masked. (A tiny
 * result that is exact flags no underflow then, but would raise one; an overflow always flags that
 * it is inexact. Kernels mask them all.) At CPL 3 the processor itself does it.
 */
static void run_unmasked(struct cpu *cpu, struct insn *insn, const struct simd_stub *stub,
                         void *memory, const struct snapshot *before)
{
    struct cpu_fpu *fpu = cpu->fpu;
    uint32_t mxcsr = fpu->mxcsr;

    own_registers(fpu, &stub->form);
    fpu->stub_mxcsr = ((mxcsr & fpu_host.mxcsr_mask) | MXCSR_MASKS) & ~MXCSR_FLAGS;
    stub->code(cpu, memory, fpu);
    uint32_t raised = fpu->stub_mxcsr & MXCSR_FLAGS;
    uint32_t unmasked = raised & ~(mxcsr >> MXCSR_MASK_SHIFT);
    if (!unmasked) {
        fpu->mxcsr = mxcsr | raised;
        return;
    }
    if (unmasked & MXCSR_EARLY_FLAGS)
        raised &= MXCSR_EARLY_FLAGS;
    restore(cpu, before);
    fpu->mxcsr = mxcsr | raised;
    cpu_raise(cpu, insn, cpu->sregs.cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD);
}

/* Bit n: element n is accessed. */
static uint64_t mask_of(const struct cpu_fpu *fpu, const struct simd_form *form)
{
    uint64_t mask = 0;

    if (!(form->mask_register & SIMD_VECTOR_MASK_REGISTER)) {
        mask = fpu->opmasks[form->mask_register];
        return form->masked_elements < 64 ? mask & ((1ull << form->masked_elements) - 1) : mask;
    }
    const uint8_t *vector = fpu->vectors[form->mask_register & 31];
    unsigned size = form->bytes / form->masked_elements;
    for (unsigned i = 0; i < form->masked_elements; i++)
        mask |= (uint64_t)(vector[(i + 1) * size - 1] >> 7) << i;
    return mask;
}

/* Runs of bytes of the operand that are accessed: the next from `*at` on, or 0. */
static unsigned next_run(const struct simd_form *form, uint64_t mask, unsigned *at)
{
    unsigned size = form->bytes / form->masked_elements;
    if (!size) /* a broadcast */
        return mask && *at == 0 ? form->bytes : 0;
    unsigned first = *at / size;

    while (first < form->masked_elements && !(mask >> first & 1))
        first++;
    unsigned end = first;
    while (end < form->masked_elements && mask >> end & 1)
        end++;
    *at = first * size;
    return (end - first) * size;
}

static void load_operand(struct cpu *cpu, struct insn *insn, const struct simd_form *form,
                         uint64_t va, uint8_t *buffer)
{
    if (!form->masked_elements) {
        access_copy_in(cpu, insn, va, buffer, form->bytes);
        return;
    }
    uint64_t mask = mask_of(cpu->fpu, form);
    unsigned length;
    for (unsigned at = 0; (length = next_run(form, mask, &at)) != 0; at += length)
        access_copy_in(cpu, insn, va + at, buffer + at, length);
}

/* Raises what a store to [va, va + length) raises, before anything changes. */
static void check_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned length)
{
    access_host_page(cpu, insn, va, true);
    if ((va & PAGE_OFFSET) + length > PAGE_SIZE)
        access_host_page(cpu, insn, (va + length - 1) & PAGE_BASE, true);
}

static void store_operand(struct cpu *cpu, struct insn *insn, const struct simd_form *form,
                          uint64_t va, const uint8_t *buffer, bool check_only)
{
    uint64_t mask = form->masked_elements ? mask_of(cpu->fpu, form) : 1;
    struct simd_form whole = *form;

    if (!whole.masked_elements)
        whole.masked_elements = 1;
    unsigned length;
    for (unsigned at = 0; (length = next_run(&whole, mask, &at)) != 0; at += length) {
        if (check_only)
            check_store(cpu, insn, va + at, length);
        else
            access_copy_out(cpu, insn, va + at, buffer + at, length);
    }
}

#define BUFFER_FILL 0xa5

/* An x87 store with an unmasked exception other than PE stores nothing. */
static bool has_stored(const struct cpu_fpu *fpu, const struct simd_form *form,
                       const uint8_t *buffer)
{
    if (!(form->flags & SIMD_X87_STATE) ||
        !x87_pending(get_u16(fpu->x87 + XSAVE_FCW), get_u16(fpu->x87 + XSAVE_FSW)))
        return true;
    for (unsigned i = 0; i < form->bytes; i++) {
        if (buffer[i] != BUFFER_FILL)
            return true;
    }
    return false;
}

/* With the operand in a buffer, any exception, and registers that change only if memory does. */
static SLOW void run_slowly(struct cpu *cpu, struct insn *insn, const struct simd_stub *stub,
                            uint64_t va)
{
    const struct simd_form *form = &stub->form;
    uint8_t buffer[64] __attribute__((aligned(64)));
    struct snapshot before, after;
    bool unmasked = has_unmasked_exceptions(cpu->fpu, form);

    /* A native run is exact: suppressed faults, exceptions. */
    if (cpu->cpl == 3 && (unmasked || form->masked_elements))
        cpu_leave(cpu, insn, INTERPRETED_NATIVE);
    if (form->bytes)
        fpu_check_address(cpu, insn, va, form->bytes);
    memset(buffer, form->stores ? BUFFER_FILL : 0, sizeof buffer);
    if (form->stores)
        store_operand(cpu, insn, form, va, buffer, true);
    else if (form->bytes)
        load_operand(cpu, insn, form, va, buffer);
    save(cpu, &before);
    if (unmasked)
        run_unmasked(cpu, insn, stub, buffer, &before);
    else
        run(cpu, insn, stub, buffer, va);
    if (!form->stores || !has_stored(cpu->fpu, form, buffer))
        return;
    /* The store may leave to be executed again: keep the old state until it succeeds. */
    save(cpu, &after);
    restore(cpu, &before);
    store_operand(cpu, insn, form, va, buffer, false);
    restore(cpu, &after);
}

/*
 * A misaligned operand: #GP(0), unless AMD's MXCSR.MM takes it. At CPL 3 the processor decides:
 * some take misaligned operands of the SHA instructions.
 */
static SLOW void check_alignment(struct cpu *cpu, struct insn *insn, const struct simd_form *form)
{
    if (cpu->cpl == 3)
        cpu_leave(cpu, insn, INTERPRETED_NATIVE);
    if (form->flags & SIMD_ALIGNED || !(cpu->fpu->mxcsr & MXCSR_MISALIGNED))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

/* ---- Handlers ---- */

static inline void run_with_memory(struct cpu *cpu, struct insn *insn, uint64_t va, bool is_store)
{
    const struct simd_stub *stub = stub_of(cpu, insn);
    const struct simd_form *form = &stub->form;

    prepare(cpu, insn, stub);
    bool misaligned = va & form->alignment;
    if (unlikely(misaligned))
        check_alignment(cpu, insn, form);
    void *memory = is_store ? tlb_write(cpu, va, form->bytes) : tlb_read(cpu, va, form->bytes);
    if (likely(memory && !misaligned && !has_unmasked_exceptions(cpu->fpu, form)))
        run(cpu, insn, stub, memory, va);
    else
        run_slowly(cpu, insn, stub, va);
}

HANDLER(run_register)
{
    const struct simd_stub *stub = stub_of(cpu, insn);

    prepare(cpu, insn, stub);
    if (likely(!has_unmasked_exceptions(cpu->fpu, &stub->form)))
        run(cpu, insn, stub, NULL, 0);
    else
        run_slowly(cpu, insn, stub, 0);
    NEXT;
}

#define MEMORY_HANDLERS(at, ...)                                                                   \
    HANDLER(run_load_##at)                                                                         \
    {                                                                                              \
        run_with_memory(cpu, insn, address_##at(cpu, insn), false);                                \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(run_store_##at)                                                                        \
    {                                                                                              \
        run_with_memory(cpu, insn, address_##at(cpu, insn), true);                                 \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(run_operation_##at)                                                                    \
    {                                                                                              \
        run_operation(cpu, insn, address_##at(cpu, insn));                                         \
        NEXT;                                                                                      \
    }

static SLOW void run_operation(struct cpu *cpu, struct insn *insn, uint64_t va)
{
    struct fpu_operands operands;

    memcpy(&operands, &insn->immediate, sizeof operands);
    fpu_execute(cpu, insn, operands, va);
}

MEMORY_HANDLERS(general)
MEMORY_HANDLERS(narrow)

insn_handler *const simd_register = run_register;
insn_handler *const simd_load[2] = {run_load_general, run_load_narrow};
insn_handler *const simd_store[2] = {run_store_general, run_store_narrow};
insn_handler *const simd_operation[2] = {run_operation_general, run_operation_narrow};
