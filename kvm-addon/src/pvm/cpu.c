#include "cpu.h"

#include "arch.h"

void cpu_choose_tlb(struct cpu *cpu)
{
    enum tlb_mode mode = TLB_SUPERVISOR;
    if (cpu->cpl == 3)
        mode = TLB_USER;
    else if (cpu->sregs.cr4 & CR4_SMAP && cpu->rflags & RFLAGS_AC)
        mode = TLB_SUPERVISOR_AC;
    cpu->tlb = cpu->tlbs[mode];
}

void cpu_leave(struct cpu *cpu, const struct insn *insn, enum interpreted why)
{
    if (insn) {
        cpu->rip = cpu->r[REG_PAGE] + insn_offset(insn);
        cpu->executed += insn->ordinal; /* the instructions before it in its run */
    }
    longjmp(cpu->leave, (int)why);
}

void cpu_raise(struct cpu *cpu, const struct insn *insn, unsigned vector)
{
    cpu->exception = (struct cpu_exception){.vector = (uint8_t)vector};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}

void cpu_raise_error(struct cpu *cpu, const struct insn *insn, unsigned vector, uint32_t error)
{
    cpu->exception =
        (struct cpu_exception){.vector = (uint8_t)vector, .has_error = true, .error = error};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}

void cpu_raise_page_fault(struct cpu *cpu, const struct insn *insn, uint64_t va, uint32_t error)
{
    cpu->exception = (struct cpu_exception){
        .vector = VECTOR_PF, .has_error = true, .error = error, .address = va};
    cpu_leave(cpu, insn, INTERPRETED_EXCEPTION);
}
