/* LAR, LSL, VERR and VERW in 64-bit mode (Intel SDM volume 2). */
#include "fixup.h"
#include "register.h"

#define SELECTOR_RPL 3u
#define SELECTOR_LOCAL 4u

/* Fields of a descriptor (Intel SDM volume 3, 3.4.5). */
#define DESCRIPTOR_TYPE(d) ((unsigned)((d) >> 40) & 15)
#define DESCRIPTOR_IS_SEGMENT(d) ((d) >> 44 & 1) /* S: code or data, not a system descriptor */
#define DESCRIPTOR_DPL(d) ((unsigned)((d) >> 45) & 3)
#define DESCRIPTOR_IN_PAGES(d) ((d) >> 55 & 1)
/* The type bits of code and data segments. */
#define TYPE_CODE 8u
#define TYPE_CONFORMING 4u
#define TYPE_READABLE_OR_WRITABLE 2u

#define ACCESS_RIGHTS 0x00f0ff00u

/* Reads a descriptor. `*exists` is false for a null selector and a selector beyond the table. */
static enum emu_outcome read_descriptor(struct emu_cpu *cpu, uint16_t selector,
                                        uint64_t *descriptor, bool *exists)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    uint64_t base = sregs->gdt.base;
    uint32_t limit = sregs->gdt.limit;
    uint32_t offset = selector & ~7u;

    if (selector & SELECTOR_LOCAL) {
        base = sregs->ldt.base;
        limit = sregs->ldt.unusable ? 0 : sregs->ldt.limit;
    }
    *exists = (selector & ~SELECTOR_RPL) != 0 && offset + 7 <= limit;
    return *exists ? emu_read(cpu, base + offset, descriptor, sizeof *descriptor) : EMU_COMPLETED;
}

static bool is_privileged(struct emu_cpu *cpu, uint16_t selector, uint64_t descriptor)
{
    unsigned dpl = DESCRIPTOR_DPL(descriptor);
    return dpl >= emu_sregs(&cpu->state)->ss.dpl && dpl >= (selector & SELECTOR_RPL);
}

static bool is_conforming(uint64_t descriptor)
{
    unsigned type = DESCRIPTOR_TYPE(descriptor);
    return DESCRIPTOR_IS_SEGMENT(descriptor) && type & TYPE_CODE && type & TYPE_CONFORMING;
}

/* Whether the descriptor type is valid for the instruction. */
static bool type_is_valid(enum emu_insn_kind kind, uint64_t descriptor)
{
    unsigned type = DESCRIPTOR_TYPE(descriptor);

    if (DESCRIPTOR_IS_SEGMENT(descriptor)) {
        if (kind == EMU_INSN_VERR)
            return !(type & TYPE_CODE) || type & TYPE_READABLE_OR_WRITABLE;
        if (kind == EMU_INSN_VERW)
            return !(type & TYPE_CODE) && type & TYPE_READABLE_OR_WRITABLE;
        return true;
    }
    /* System descriptors of 64-bit mode: LDT, available TSS, busy TSS and call gate. */
    bool has_limit = type == 2 || type == 9 || type == 11;
    return (kind == EMU_INSN_LSL && has_limit) ||
           (kind == EMU_INSN_LAR && (has_limit || type == 12));
}

static uint32_t segment_limit(uint64_t descriptor)
{
    uint32_t limit = (uint32_t)(descriptor & 0xffff) | (uint32_t)(descriptor >> 32 & 0xf0000);
    return DESCRIPTOR_IN_PAGES(descriptor) ? limit << 12 | 0xfff : limit;
}

enum emu_outcome emu_execute_selector(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct kvm_regs *regs = emu_regs(&cpu->state);
    uint64_t selector, descriptor = 0;
    bool valid;

    enum emu_outcome outcome = emu_read_operand(cpu, insn, 2, &selector);
    if (outcome == EMU_COMPLETED)
        outcome = read_descriptor(cpu, (uint16_t)selector, &descriptor, &valid);
    if (outcome != EMU_COMPLETED)
        return outcome;
    valid = valid && type_is_valid(insn->kind, descriptor) &&
            (is_conforming(descriptor) || is_privileged(cpu, (uint16_t)selector, descriptor));
    if (valid && insn->kind == EMU_INSN_LAR)
        emu_register_write(regs, insn->reg, descriptor >> 32 & ACCESS_RIGHTS, insn->operand_size);
    if (valid && insn->kind == EMU_INSN_LSL)
        emu_register_write(regs, insn->reg, segment_limit(descriptor), insn->operand_size);
    emu_set_flags(&cpu->state, EMU_RFLAGS_ZF, valid ? EMU_RFLAGS_ZF : 0);
    return EMU_COMPLETED;
}
