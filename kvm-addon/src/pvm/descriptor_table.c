#include "descriptor_table.h"

#include "access.h"
#include "descriptor.h"

/* Address of the quadword at `offset` from the descriptor's start; false: not in the table. */
static bool locate(const struct cpu *cpu, uint16_t selector, unsigned offset, uint64_t *va)
{
    uint32_t at = (selector & SELECTOR_INDEX) + offset;
    if (selector & SELECTOR_TI) {
        const struct kvm_segment *ldt = &cpu->sregs.ldt;
        if (ldt->unusable || !ldt->present || at + 7 > ldt->limit)
            return false;
        *va = ldt->base + at;
        return true;
    }
    if (at + 7 > cpu->sregs.gdt.limit)
        return false;
    *va = cpu->sregs.gdt.base + at;
    return true;
}

static bool read_at(struct cpu *cpu, const struct insn *insn, uint16_t selector, unsigned offset,
                    uint64_t *raw)
{
    uint64_t va;
    if (!locate(cpu, selector, offset, &va))
        return false;
    *raw = access_system_load(cpu, (struct insn *)insn, va, 8);
    return true;
}

bool descriptor_read(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t *raw)
{
    return read_at(cpu, insn, selector, 0, raw);
}

bool descriptor_read_upper(struct cpu *cpu, const struct insn *insn, uint16_t selector,
                           uint64_t *raw)
{
    return read_at(cpu, insn, selector, 8, raw);
}

void descriptor_set_type(struct cpu *cpu, const struct insn *insn, uint16_t selector, uint64_t raw,
                         unsigned bits)
{
    uint64_t va;
    uint8_t type = (uint8_t)(raw >> 40);
    if ((type & bits) == bits || !locate(cpu, selector, 5, &va))
        return;
    access_system_store(cpu, (struct insn *)insn, va, 1, type | bits);
}
