/*
 * The XSAVE family (Intel SDM volume 1, chapter 13). It transfers state between guest memory and
 * KVM, which provides an XSAVE area in the standard format, including components in initial
 * configuration.
 */
#include <errno.h>
#include <string.h>

#include "fixup.h"

#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_NE (1ull << 5)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXSAVE (1ull << 18)

#define MXCSR_INITIAL 0x1f80u
#define FCW_INITIAL 0x37fu
/* FSW.ES: an unmasked x87 exception is pending. */
#define FSW_OFFSET 2
#define FSW_EXCEPTION 0x80u

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t image_mxcsr(struct emu_cpu *cpu)
{
    return load32(cpu->image + EMU_XSAVE_MXCSR);
}

/* The components in use. Unlike in XINUSE[1], MXCSR counts as SSE state. */
static uint64_t components_in_use(struct emu_cpu *cpu)
{
    uint64_t in_use = load64(cpu->image + EMU_XSAVE_XSTATE_BV);
    return image_mxcsr(cpu) == MXCSR_INITIAL ? in_use : in_use | EMU_XSTATE_SSE;
}

static enum emu_outcome get_image(struct emu_cpu *cpu)
{
    int error = cpu->state.calls->get_xsave(&cpu->state, cpu->image);
    if (error < 0)
        return emu_refuse(cpu, "KVM_GET_XSAVE: %s", strerrordesc_np(-error));
    return EMU_COMPLETED;
}

/* Passes the image to KVM as state with `components` in use. */
static enum emu_outcome set_image(struct emu_cpu *cpu, uint64_t components)
{
    uint8_t *image = cpu->image;

    /* KVM loads MXCSR from the image only if a component that includes it is in use. */
    if (image_mxcsr(cpu) != MXCSR_INITIAL)
        components |= EMU_XSTATE_SSE;
    memset(image + EMU_XSAVE_XSTATE_BV, 0, EMU_XSAVE_HEADER_LENGTH);
    memcpy(image + EMU_XSAVE_XSTATE_BV, &components, sizeof components);
    int error = cpu->state.calls->set_xsave(&cpu->state, cpu->image);
    /* The guest supplied all values; a CPU would reject what KVM rejects. */
    if (error == -EINVAL)
        return emu_fault_general_protection(cpu);
    if (error < 0)
        return emu_refuse(cpu, "KVM_SET_XSAVE: %s", strerrordesc_np(-error));
    return EMU_COMPLETED;
}

/* Makes the checks that precede any memory access, and computes the requested-feature bitmap. */
static enum emu_outcome begin(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t *xcr0,
                              uint64_t *requested)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    const struct kvm_regs *regs = emu_regs(&cpu->state);

    if (!(sregs->cr4 & CR4_OSXSAVE))
        return emu_fault(cpu, EMU_VECTOR_UD);
    if (sregs->cr0 & CR0_TS)
        return emu_fault(cpu, EMU_VECTOR_NM);
    if (insn->address % 64)
        return emu_fault_general_protection(cpu);
    int error = cpu->state.calls->get_xcr0(&cpu->state, xcr0);
    if (error < 0)
        return emu_refuse(cpu, "KVM_GET_XCRS: %s", strerrordesc_np(-error));
    *requested = *xcr0 & (regs->rdx << 32 | (uint32_t)regs->rax);
    if (*requested & ~cpu->vm->xsave.supported)
        return emu_refuse(cpu, "XSAVE components 0x%llx are not supported",
                          (unsigned long long)(*requested & ~cpu->vm->xsave.supported));
    return EMU_COMPLETED;
}

/* x87 state has two parts, before and after MXCSR and its mask. */
static void save_x87(struct emu_cpu *cpu, const struct emu_insn *insn, const struct emu_span *span)
{
    const uint8_t *image = cpu->image;
    uint8_t control[EMU_XSAVE_MXCSR];

    memcpy(control, image, sizeof control);
    if (insn->operand_size != 8) {
        /* FIP and FDP are 32-bit offsets, each with a selector that newer CPUs store as 0. */
        memset(control + 12, 0, 4);
        memset(control + 20, 0, 4);
    }
    emu_span_write(span, 0, control, sizeof control);
    emu_span_write(span, EMU_XSAVE_X87_REGISTERS, image + EMU_XSAVE_X87_REGISTERS,
                   EMU_XSAVE_XMM - EMU_XSAVE_X87_REGISTERS);
}

static void restore_x87(struct emu_cpu *cpu, const struct emu_insn *insn,
                        const struct emu_span *span, bool from_memory)
{
    uint8_t *image = cpu->image;
    size_t length = EMU_XSAVE_XMM - EMU_XSAVE_X87_REGISTERS;

    if (!from_memory) {
        const uint16_t control = FCW_INITIAL;
        memset(image, 0, EMU_XSAVE_MXCSR);
        memcpy(image, &control, sizeof control);
        memset(image + EMU_XSAVE_X87_REGISTERS, 0, length);
        return;
    }
    emu_span_read(span, 0, image, EMU_XSAVE_MXCSR);
    emu_span_read(span, EMU_XSAVE_X87_REGISTERS, image + EMU_XSAVE_X87_REGISTERS, length);
    if (insn->operand_size != 8) {
        memset(image + 12, 0, 4);
        memset(image + 20, 0, 4);
    }
}

enum emu_outcome emu_execute_xsave(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool compact = insn->kind == EMU_INSN_XSAVEC;
    const uint8_t *image = cpu->image;
    uint16_t offsets[EMU_XSTATE_COMPONENTS];
    uint64_t xcr0, requested, header[2];
    struct emu_span span;

    enum emu_outcome outcome = begin(cpu, insn, &xcr0, &requested);
    if (outcome != EMU_COMPLETED)
        return outcome;
    header[1] = compact ? requested | EMU_XCOMP_COMPACTED : 0;
    size_t length = emu_xsave_offsets(&cpu->vm->xsave, requested, header[1], offsets);
    outcome = emu_span_map(cpu, insn->address, length, true, &span);
    if (outcome == EMU_COMPLETED)
        outcome = get_image(cpu);
    if (outcome != EMU_COMPLETED)
        return outcome;

    uint64_t in_use = components_in_use(cpu) & requested;
    /* The compacted format omits components in initial configuration. */
    uint64_t stored = compact ? in_use : requested;
    if (stored & EMU_XSTATE_X87)
        save_x87(cpu, insn, &span);
    if (stored & (compact ? EMU_XSTATE_SSE : EMU_XSTATE_SSE | EMU_XSTATE_AVX)) {
        emu_span_write(&span, EMU_XSAVE_MXCSR, image + EMU_XSAVE_MXCSR, 4);
        emu_span_write(&span, EMU_XSAVE_MXCSR_MASK, &cpu->vm->xsave.mxcsr_mask, 4);
    }
    if (stored & EMU_XSTATE_SSE)
        emu_span_write(&span, EMU_XSAVE_XMM, image + EMU_XSAVE_XMM, EMU_XSAVE_XMM_LENGTH);
    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        if (stored >> i & 1)
            emu_span_write(&span, offsets[i], image + cpu->vm->xsave.offset[i],
                           cpu->vm->xsave.size[i]);
    }
    header[0] = in_use;
    if (!compact) {
        /* Of the header, XSAVE writes only the requested bits of XSTATE_BV. */
        uint64_t before;
        emu_span_read(&span, EMU_XSAVE_XSTATE_BV, &before, sizeof before);
        header[0] |= before & ~requested;
    }
    emu_span_write(&span, EMU_XSAVE_XSTATE_BV, header, compact ? sizeof header : 8);
    return EMU_COMPLETED;
}

/* The header checks of XRSTOR (13.8): false means #GP. */
static bool header_is_valid(const uint64_t header[8], uint64_t xcr0)
{
    uint64_t xstate_bv = header[0];
    uint64_t xcomp_bv = header[1];

    for (unsigned i = xcomp_bv ? 2 : 1; i < 8; i++) {
        if (header[i])
            return false;
    }
    if (!xcomp_bv)
        return !(xstate_bv & ~xcr0);
    return xcomp_bv & EMU_XCOMP_COMPACTED && !(xcomp_bv & ~EMU_XCOMP_COMPACTED & ~xcr0) &&
           !(xstate_bv & ~xcomp_bv) && !(xstate_bv & EMU_XCOMP_COMPACTED);
}

/* Computes the new value of MXCSR. False: reserved bits are set, which means #GP. */
static bool restore_mxcsr(struct emu_cpu *cpu, const struct emu_span *span, uint64_t requested,
                          const uint64_t header[8])
{
    bool compact = header[1] != 0;
    uint32_t mxcsr = MXCSR_INITIAL;

    if (!(requested & (compact ? EMU_XSTATE_SSE : EMU_XSTATE_SSE | EMU_XSTATE_AVX)))
        return true;
    /* In the standard format MXCSR is loaded even if XSTATE_BV says initial configuration. */
    if (!compact || header[0] & EMU_XSTATE_SSE)
        emu_span_read(span, EMU_XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    if (mxcsr & ~cpu->vm->xsave.mxcsr_mask)
        return false;
    memcpy(cpu->image + EMU_XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    return true;
}

static void restore_component(uint8_t *target, size_t length, const struct emu_span *span,
                              size_t offset, bool from_memory)
{
    if (from_memory)
        emu_span_read(span, offset, target, length);
    else
        memset(target, 0, length);
}

enum emu_outcome emu_execute_xrstor(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct emu_xsave_layout *layout = &cpu->vm->xsave;
    uint8_t *image = cpu->image;
    uint16_t offsets[EMU_XSTATE_COMPONENTS];
    uint64_t xcr0, requested, header[8], kept = 0;
    struct emu_span span;

    enum emu_outcome outcome = begin(cpu, insn, &xcr0, &requested);
    if (outcome == EMU_COMPLETED)
        outcome = emu_span_map(cpu, insn->address, EMU_XSAVE_EXTENDED, false, &span);
    if (outcome != EMU_COMPLETED)
        return outcome;
    /* Copy the header once, so that the guest cannot change it after the check. */
    emu_span_read(&span, EMU_XSAVE_XSTATE_BV, header, sizeof header);
    if (!header_is_valid(header, xcr0))
        return emu_fault_general_protection(cpu);
    size_t length = emu_xsave_offsets(layout, requested & header[0], header[1], offsets);
    outcome = emu_span_map(cpu, insn->address, length, false, &span);
    if (outcome != EMU_COMPLETED)
        return outcome;
    if (layout->supported & ~requested) {
        outcome = get_image(cpu);
        if (outcome != EMU_COMPLETED)
            return outcome;
        kept = load64(image + EMU_XSAVE_XSTATE_BV) & ~requested;
    }
    if (!restore_mxcsr(cpu, &span, requested, header))
        return emu_fault_general_protection(cpu);
    if (requested & EMU_XSTATE_X87)
        restore_x87(cpu, insn, &span, header[0] & EMU_XSTATE_X87);
    if (requested & EMU_XSTATE_SSE)
        restore_component(image + EMU_XSAVE_XMM, EMU_XSAVE_XMM_LENGTH, &span, EMU_XSAVE_XMM,
                          header[0] & EMU_XSTATE_SSE);
    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        if (requested >> i & 1)
            restore_component(image + layout->offset[i], layout->size[i], &span, offsets[i],
                              header[0] >> i & 1);
    }
    return set_image(cpu, kept | (requested & header[0]));
}

enum emu_outcome emu_execute_xgetbv(struct emu_cpu *cpu)
{
    struct kvm_regs *regs = emu_regs(&cpu->state);
    uint64_t value;

    if (!(emu_sregs(&cpu->state)->cr4 & CR4_OSXSAVE))
        return emu_fault(cpu, EMU_VECTOR_UD);
    if ((uint32_t)regs->rcx > 1)
        return emu_fault_general_protection(cpu);
    int error = cpu->state.calls->get_xcr0(&cpu->state, &value);
    if (error < 0)
        return emu_refuse(cpu, "KVM_GET_XCRS: %s", strerrordesc_np(-error));
    if ((uint32_t)regs->rcx == 1) {
        enum emu_outcome outcome = get_image(cpu);
        if (outcome != EMU_COMPLETED)
            return outcome;
        value &= components_in_use(cpu);
    }
    regs->rax = (uint32_t)value;
    regs->rdx = value >> 32;
    return EMU_COMPLETED;
}

/* LDMXCSR and STMXCSR. */
enum emu_outcome emu_execute_mxcsr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    uint8_t *image = cpu->image;
    bool is_load = insn->kind == EMU_INSN_LDMXCSR;
    uint32_t mxcsr;

    if (sregs->cr0 & CR0_EM || !(sregs->cr4 & CR4_OSFXSR))
        return emu_fault(cpu, EMU_VECTOR_UD);
    if (sregs->cr0 & CR0_TS)
        return emu_fault(cpu, EMU_VECTOR_NM);
    enum emu_outcome outcome = get_image(cpu);
    if (outcome == EMU_COMPLETED && is_load)
        outcome = emu_read(cpu, insn->address, &mxcsr, sizeof mxcsr);
    if (outcome != EMU_COMPLETED)
        return outcome;
    if (!is_load)
        return emu_write(cpu, insn->address, image + EMU_XSAVE_MXCSR, 4);
    if (mxcsr & ~cpu->vm->xsave.mxcsr_mask)
        return emu_fault_general_protection(cpu);
    memcpy(image + EMU_XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    return set_image(cpu, load64(image + EMU_XSAVE_XSTATE_BV));
}

enum emu_outcome emu_execute_fwait(struct emu_cpu *cpu)
{
    uint64_t cr0 = emu_sregs(&cpu->state)->cr0;

    if (cr0 & CR0_MP && cr0 & CR0_TS)
        return emu_fault(cpu, EMU_VECTOR_NM);
    enum emu_outcome outcome = get_image(cpu);
    if (outcome != EMU_COMPLETED)
        return outcome;
    /* Without CR0.NE the exception is reported as an external interrupt, which tsvm does not
     * emulate. */
    if (cpu->image[FSW_OFFSET] & FSW_EXCEPTION && cr0 & CR0_NE)
        return emu_fault(cpu, EMU_VECTOR_MF);
    return EMU_COMPLETED;
}
