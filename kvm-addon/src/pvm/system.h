/*
 * What the handlers of system instructions call. Each raises what the processor raises, through
 * cpu_leave(), before it changes anything. `next` is the address after the instruction. Where it
 * says "ends the run", cpu->rip is set and the handler returns to the run loop.
 */
#ifndef TSVM_PVM_SYSTEM_H
#define TSVM_PVM_SYSTEM_H

#include "cpu.h"

/* control.c: MOV CR and DR, CLTS, LMSW, XSETBV. Each ends the run when it changes paging. */
uint64_t control_read(struct cpu *cpu, const struct insn *insn, unsigned number);
void control_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value);
uint64_t debug_read(struct cpu *cpu, const struct insn *insn, unsigned number);
void debug_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value);
/* INVPCID: `type` of the register operand, descriptor from memory. */
void control_invpcid(struct cpu *cpu, const struct insn *insn, uint64_t type, uint64_t pcid,
                     uint64_t address);

/* msrs.c: RDMSR, WRMSR; #GP(0) for those that KVM does not know. */
uint64_t msr_read(struct cpu *cpu, const struct insn *insn, uint32_t number);
void msr_write(struct cpu *cpu, const struct insn *insn, uint32_t number, uint64_t value);

/* cpuid.c: CPUID, from RAX and RCX into RAX, RBX, RCX, RDX. */
void cpuid_execute(struct cpu *cpu);

/* segments.c: kvm's numbering of segment registers as in ModRM.reg: ES CS SS DS FS GS. */
uint16_t segment_selector(const struct cpu *cpu, unsigned number);
void segment_load(struct cpu *cpu, const struct insn *insn, unsigned number, uint16_t selector);
void segment_load_tr(struct cpu *cpu, const struct insn *insn, uint16_t selector);
void segment_load_ldt(struct cpu *cpu, const struct insn *insn, uint16_t selector);
void segment_swap_gs(struct cpu *cpu);
/* Between instructions: CPL 3 has loaded CS natively. */
void segment_reload_code(struct cpu *cpu, uint16_t selector);

/* far.c: transfers between segments and privilege levels. Each ends the run. */
void far_iret(struct cpu *cpu, const struct insn *insn, unsigned operand_size);
void far_return(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t release);
/* JMP and CALL m16:16/32/64. */
void far_jump(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t selector,
              uint64_t offset, bool is_call, uint64_t next);
void far_syscall(struct cpu *cpu, const struct insn *insn, uint64_t next);
void far_sysret(struct cpu *cpu, const struct insn *insn, bool to_64_bit);
void far_sysenter(struct cpu *cpu, const struct insn *insn);
void far_sysexit(struct cpu *cpu, const struct insn *insn, bool to_64_bit);

/*
 * exceptions.c: delivers through the guest's IDT, between instructions. A fault during the delivery
 * is delivered instead, or causes a double fault.
 */
enum delivery {
    DELIVERED,
    DELIVERY_SHUTDOWN, /* a triple fault */
    DELIVERY_STOPPED,  /* the order to stop came while a device was written: nothing has happened */
};
enum delivery exception_deliver(struct cpu *cpu, const struct cpu_exception *exception);
/* An interrupt, or an NMI (vector 2). */
enum delivery exception_deliver_interrupt(struct cpu *cpu, uint8_t vector);
#endif
