/* Loading segment registers (SDM 2B MOV, LTR, LLDT; SDM 3A 5.5 to 5.7). */
#include <stddef.h>

#include "arch.h"
#include "descriptor.h"
#include "descriptor_table.h"
#include "msrs.h"
#include "system.h"

enum segment_number { SEGMENT_ES, SEGMENT_CS, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS };

/* NULL for a number that names none. */
static struct kvm_segment *segment_register(struct cpu *cpu, unsigned number)
{
    static const size_t offsets[] = {
        [SEGMENT_ES] = offsetof(struct kvm_sregs, es),
        [SEGMENT_CS] = offsetof(struct kvm_sregs, cs),
        [SEGMENT_SS] = offsetof(struct kvm_sregs, ss),
        [SEGMENT_DS] = offsetof(struct kvm_sregs, ds),
        [SEGMENT_FS] = offsetof(struct kvm_sregs, fs),
        [SEGMENT_GS] = offsetof(struct kvm_sregs, gs),
    };
    if (number > SEGMENT_GS)
        return NULL;
    return (struct kvm_segment *)((uint8_t *)&cpu->sregs + offsets[number]);
}

uint16_t segment_selector(const struct cpu *cpu, unsigned number)
{
    const struct kvm_segment *segment = segment_register((struct cpu *)cpu, number);
    return segment ? segment->selector : 0;
}

static void set_base(struct cpu *cpu, unsigned number, uint64_t base)
{
    if (number == SEGMENT_FS)
        cpu->segment_base[BASE_FS] = base;
    else if (number == SEGMENT_GS)
        cpu->segment_base[BASE_GS] = base;
}

/* A null selector makes the segment unusable; FS and GS lose their base. */
static void load_null(struct cpu *cpu, const struct insn *insn, unsigned number, uint16_t selector)
{
    struct kvm_segment *segment = segment_register(cpu, number);
    if (number == SEGMENT_SS) {
        bool allowed = !cpu->compat && cpu->cpl != 3 && selector_rpl(selector) == cpu->cpl;
        if (!allowed)
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);
        *segment = descriptor_flat_data(selector, cpu->cpl);
    } else {
        *segment = (struct kvm_segment){.selector = selector, .unusable = 1};
    }
    set_base(cpu, number, 0);
}

static void check_stack(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                        const struct kvm_segment *segment)
{
    bool writable_data =
        segment->s && !(segment->type & TYPE_CODE) && segment->type & TYPE_WRITABLE;
    if (selector_rpl(selector) != cpu->cpl || segment->dpl != cpu->cpl || !writable_data)
        cpu_raise_error(cpu, insn, VECTOR_GP, selector_error(selector));
    if (!segment->present)
        cpu_raise_error(cpu, insn, VECTOR_SS, selector_error(selector));
}

static void check_data(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                       const struct kvm_segment *segment)
{
    bool is_code = segment->type & TYPE_CODE;
    bool conforming = is_code && segment->type & TYPE_CONFORMING;
    bool readable = segment->s && (!is_code || segment->type & TYPE_READABLE);
    bool privileged = segment->dpl < cpu->cpl || segment->dpl < selector_rpl(selector);
    if (!readable || (privileged && !conforming))
        cpu_raise_error(cpu, insn, VECTOR_GP, selector_error(selector));
    if (!segment->present)
        cpu_raise_error(cpu, insn, VECTOR_NP, selector_error(selector));
}

void segment_load(struct cpu *cpu, const struct insn *insn, unsigned number, uint16_t selector)
{
    uint64_t raw;

    if (number == SEGMENT_CS || number > SEGMENT_GS)
        cpu_raise(cpu, insn, VECTOR_UD);
    if (selector_is_null(selector)) {
        load_null(cpu, insn, number, selector);
        return;
    }
    if (!descriptor_read(cpu, insn, selector, &raw))
        cpu_raise_error(cpu, insn, VECTOR_GP, selector_error(selector));
    struct kvm_segment segment = descriptor_parse(selector, raw);
    if (number == SEGMENT_SS)
        check_stack(cpu, insn, selector, &segment);
    else
        check_data(cpu, insn, selector, &segment);
    descriptor_set_type(cpu, insn, selector, raw, TYPE_ACCESSED);
    segment.type |= TYPE_ACCESSED;
    *segment_register(cpu, number) = segment;
    set_base(cpu, number, segment.base);
}

/* Reads a system descriptor of 16 bytes with what LTR and LLDT have in common. */
static struct kvm_segment read_system(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                                      unsigned type, uint64_t *raw)
{
    uint64_t upper;

    if (selector & SELECTOR_TI || !descriptor_read(cpu, insn, selector, raw) ||
        !descriptor_read_upper(cpu, insn, selector, &upper))
        cpu_raise_error(cpu, insn, VECTOR_GP, selector_error(selector));
    struct kvm_segment segment = descriptor_parse(selector, *raw);
    if (segment.s || segment.type != type)
        cpu_raise_error(cpu, insn, VECTOR_GP, selector_error(selector));
    if (!segment.present)
        cpu_raise_error(cpu, insn, VECTOR_NP, selector_error(selector));
    segment.base |= upper << 32;
    return segment;
}

void segment_load_tr(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    uint64_t raw;

    if (selector_is_null(selector))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    struct kvm_segment segment = read_system(cpu, insn, selector, TYPE_TSS_AVAILABLE, &raw);
    descriptor_set_type(cpu, insn, selector, raw, TYPE_TSS_BUSY);
    segment.type = TYPE_TSS_BUSY;
    cpu->sregs.tr = segment;
}

void segment_load_ldt(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    uint64_t raw;

    if (selector_is_null(selector))
        cpu->sregs.ldt = (struct kvm_segment){.selector = selector, .unusable = 1};
    else
        cpu->sregs.ldt = read_system(cpu, insn, selector, TYPE_LDT, &raw);
}

void segment_swap_gs(struct cpu *cpu)
{
    uint64_t base = cpu->segment_base[BASE_GS];
    cpu->segment_base[BASE_GS] = cpu->msrs->kernel_gs_base;
    cpu->msrs->kernel_gs_base = base;
}

void segment_reload_code(struct cpu *cpu, uint16_t selector)
{
    struct kvm_segment code = descriptor_flat_code(selector, selector_rpl(selector), true);
    uint64_t raw;

    if (_setjmp(cpu->leave) == 0 && descriptor_read(cpu, NULL, selector, &raw))
        code = descriptor_parse(selector, raw);
    code.dpl = (uint8_t)selector_rpl(selector);
    cpu->sregs.cs = code;
    cpu->compat = !code.l;
}
