#include "pvm_fixup.h"

#include <stdio.h>
#include <string.h>

#include "pvm_integer.h"
#include "pvm_register.h"

#define MSR_TSC 0x10u
#define MSR_TSC_AUX 0xc0000103u
#define EFER_LMA (1ull << 10)
#define CR4_SMAP (1ull << 21)

enum pvm_outcome pvm_read_operand(struct pvm_cpu *cpu, const struct pvm_insn *insn, unsigned size,
                                  uint64_t *value)
{
    const struct kvm_regs *regs = pvm_regs(&cpu->state);

    *value = 0;
    if (insn->is_memory)
        return pvm_read(cpu, insn->address, value, size);
    if (size == 1 && !insn->has_rex && insn->rm >= 4)
        *value = pvm_register_read(regs, insn->rm - 4u) >> 8 & 0xff;
    else
        *value = pvm_register_read(regs, insn->rm) & (UINT64_MAX >> (64 - 8 * size));
    return PVM_COMPLETED;
}

static uint64_t second_source(const struct kvm_regs *regs, const struct pvm_insn *insn)
{
    switch (insn->kind) {
    case PVM_INSN_CRC32_BYTE:
    case PVM_INSN_CRC32:
    case PVM_INSN_ADCX:
    case PVM_INSN_ADOX:
        return pvm_register_read(regs, insn->reg);
    case PVM_INSN_MULX:
        return regs->rdx;
    default:
        return pvm_register_read(regs, insn->vvvv);
    }
}

static enum pvm_outcome execute_integer(struct pvm_cpu *cpu, const struct pvm_insn *insn)
{
    struct kvm_regs *regs = pvm_regs(&cpu->state);
    unsigned source_size = insn->kind == PVM_INSN_CRC32_BYTE ? 1 : insn->operand_size;
    unsigned target = insn->reg;
    unsigned target_size = insn->operand_size;
    uint64_t source;

    enum pvm_outcome outcome = pvm_read_operand(cpu, insn, source_size, &source);
    if (outcome != PVM_COMPLETED)
        return outcome;
    struct pvm_integer done =
        pvm_integer_execute(insn, source, second_source(regs, insn), regs->rflags);
    switch (insn->kind) {
    case PVM_INSN_BLSI:
    case PVM_INSN_BLSMSK:
    case PVM_INSN_BLSR:
        target = insn->vvvv;
        break;
    case PVM_INSN_MULX:
        /* First the low half: where both targets are one register, the high half stays. */
        pvm_register_write(regs, insn->vvvv, done.second, target_size);
        break;
    case PVM_INSN_CRC32:
        target_size = 4;
        break;
    default:
        break;
    }
    pvm_register_write(regs, target, done.result, target_size);
    pvm_set_flags(&cpu->state, done.flag_mask, done.flags);
    return PVM_COMPLETED;
}

/* Other vCPUs may race for the operand: the host's own instruction on the guest's memory. */
static enum pvm_outcome execute_cmpxchg16b(struct pvm_cpu *cpu, const struct pvm_insn *insn)
{
    struct kvm_regs *regs = pvm_regs(&cpu->state);
    struct pvm_span span;
    bool equal;

    if (insn->address % 16)
        return pvm_fault_general_protection(cpu);
    enum pvm_outcome outcome = pvm_span_map(cpu, insn->address, 16, true, &span);
    if (outcome != PVM_COMPLETED)
        return outcome;
    __asm__ volatile("lock cmpxchg16b %[operand]"
                     : [operand] "+m"(*(unsigned __int128 *)span.pages[0]), "+a"(regs->rax),
                       "+d"(regs->rdx), "=@ccz"(equal)
                     : "b"(regs->rbx), "c"(regs->rcx)
                     : "memory");
    pvm_set_flags(&cpu->state, PVM_RFLAGS_ZF, equal ? PVM_RFLAGS_ZF : 0);
    return PVM_COMPLETED;
}

static enum pvm_outcome execute_rdtscp(struct pvm_cpu *cpu)
{
    struct kvm_regs *regs = pvm_regs(&cpu->state);
    uint64_t tsc, aux;

    int error = cpu->state.calls->get_msr(&cpu->state, MSR_TSC_AUX, &aux);
    if (error == 0)
        error = cpu->state.calls->get_msr(&cpu->state, MSR_TSC, &tsc);
    if (error < 0)
        return pvm_refuse(cpu, "KVM_GET_MSRS of the TSC: %s", strerrordesc_np(-error));
    regs->rax = (uint32_t)tsc;
    regs->rdx = tsc >> 32;
    regs->rcx = (uint32_t)aux;
    return PVM_COMPLETED;
}

/* STAC and CLAC: #UD without SMAP in CPUID, which cannot be asked for here; then they do no harm.
 */
static enum pvm_outcome execute_access_flag(struct pvm_cpu *cpu, bool allow)
{
    if (pvm_is_user(&cpu->state))
        return pvm_fault(cpu, PVM_VECTOR_UD);
    pvm_set_flags(&cpu->state, PVM_RFLAGS_AC, allow ? PVM_RFLAGS_AC : 0);
    return PVM_COMPLETED;
}

/* CLWB loads nothing, but faults as a load of one byte does; host memory needs no write-back. */
static enum pvm_outcome execute_clwb(struct pvm_cpu *cpu, const struct pvm_insn *insn)
{
    struct pvm_span span;
    return pvm_span_map(cpu, insn->address, 1, false, &span);
}

static enum pvm_outcome execute_kind(struct pvm_cpu *cpu, const struct pvm_insn *insn)
{
    if (pvm_is_integer(insn->kind))
        return execute_integer(cpu, insn);
    switch (insn->kind) {
    case PVM_INSN_NOP:
    case PVM_INSN_INT3:
        return PVM_COMPLETED;
    case PVM_INSN_FWAIT:
        return pvm_execute_fwait(cpu);
    case PVM_INSN_STAC:
        return execute_access_flag(cpu, true);
    case PVM_INSN_CLAC:
        return execute_access_flag(cpu, false);
    case PVM_INSN_RDTSCP:
        return execute_rdtscp(cpu);
    case PVM_INSN_CLWB:
        return execute_clwb(cpu, insn);
    case PVM_INSN_CMPXCHG16B:
        return execute_cmpxchg16b(cpu, insn);
    case PVM_INSN_XGETBV:
        return pvm_execute_xgetbv(cpu);
    case PVM_INSN_XSAVE:
    case PVM_INSN_XSAVEOPT:
    case PVM_INSN_XSAVEC:
        return pvm_execute_xsave(cpu, insn);
    case PVM_INSN_XRSTOR:
        return pvm_execute_xrstor(cpu, insn);
    case PVM_INSN_LDMXCSR:
    case PVM_INSN_STMXCSR:
        return pvm_execute_mxcsr(cpu, insn);
    case PVM_INSN_LAR:
    case PVM_INSN_LSL:
    case PVM_INSN_VERR:
    case PVM_INSN_VERW:
        return pvm_execute_selector(cpu, insn);
    default:
        return pvm_fault(cpu, PVM_VECTOR_UD);
    }
}

enum pvm_outcome pvm_execute(struct pvm_cpu *cpu, const struct pvm_insn *insn)
{
    enum pvm_outcome outcome = execute_kind(cpu, insn);
    if (outcome != PVM_COMPLETED)
        return outcome;
    pvm_retire(&cpu->state, insn->length);
    /* A trap: the handler returns to the instruction after it. */
    if (insn->kind == PVM_INSN_INT3)
        pvm_raise(&cpu->state, PVM_VECTOR_BP);
    return PVM_COMPLETED;
}

static struct pvm_insn decode(struct pvm_cpu *cpu, const uint8_t *bytes, size_t length)
{
    const struct kvm_sregs *sregs = pvm_sregs(&cpu->state);
    return pvm_decode(bytes, length, pvm_regs(&cpu->state), sregs->fs.base, sregs->gs.base);
}

/* Names the bytes and the address of the instruction, and what the reason is. */
static enum pvm_result give_up(struct pvm_cpu *cpu, const uint8_t *bytes, size_t length,
                               const char *reason)
{
    char hex[3 * PVM_INSN_LENGTH_MAX + 1] = "";
    char text[sizeof cpu->error];

    for (size_t i = 0; i < length; i++)
        snprintf(hex + 3 * i, 4, "%02x ", bytes[i]);
    snprintf(text, sizeof text, "kvm-pvm does not emulate the instruction %sat 0x%llx: %s", hex,
             (unsigned long long)pvm_regs(&cpu->state)->rip, reason);
    memcpy(cpu->error, text, sizeof text);
    return PVM_FAILED;
}

/*
 * The bytes that KVM decoded. Near the end of a page it may have read no further than where it gave
 * up; the rest then comes from the guest's memory.
 */
static size_t fetch(struct pvm_cpu *cpu, uint8_t bytes[PVM_INSN_LENGTH_MAX])
{
    const struct kvm_run *run = cpu->state.run;
    size_t length = 0;

    if (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
        length = run->emulation_failure.insn_size;
    if (length > PVM_INSN_LENGTH_MAX)
        length = PVM_INSN_LENGTH_MAX;
    memcpy(bytes, run->emulation_failure.insn_bytes, length);
    if (decode(cpu, bytes, length).kind != PVM_INSN_TRUNCATED)
        return length;
    cpu->counters[PVM_COUNTER_REFETCH]++;
    return length + pvm_read_mapped(cpu, pvm_regs(&cpu->state)->rip + length, bytes + length,
                                    PVM_INSN_LENGTH_MAX - length);
}

enum pvm_result pvm_fixup(struct pvm_cpu *cpu)
{
    const struct kvm_sregs *sregs = pvm_sregs(&cpu->state);
    uint8_t bytes[PVM_INSN_LENGTH_MAX];

    if (cpu->state.run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        return PVM_NOT_MINE;
    size_t length = fetch(cpu, bytes);
    if (!(sregs->efer & EFER_LMA) || !sregs->cs.l)
        return give_up(cpu, bytes, length, "the guest is not in 64-bit mode");
    struct pvm_insn insn = decode(cpu, bytes, length);
    if (insn.kind == PVM_INSN_UNKNOWN || insn.kind == PVM_INSN_TRUNCATED)
        return give_up(cpu, bytes, length, "it is not known here either");
    cpu->counters[insn.kind]++;
    if (pvm_execute(cpu, &insn) == PVM_REFUSED) {
        char reason[sizeof cpu->error];
        memcpy(reason, cpu->error, sizeof reason);
        return give_up(cpu, bytes, length, reason);
    }
    return PVM_HANDLED;
}
