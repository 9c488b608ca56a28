#include "fixup.h"

#include <stdio.h>
#include <string.h>

#include "decode.h"
#include "integer.h"
#include "register.h"

#define MSR_TSC 0x10u
#define MSR_TSC_AUX 0xc0000103u
#define EFER_LMA (1ull << 10)
#define CR4_SMAP (1ull << 21)

enum emu_outcome emu_read_operand(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                                  uint64_t *value)
{
    const struct kvm_regs *regs = emu_regs(&cpu->state);

    *value = 0;
    if (insn->is_memory)
        return emu_read(cpu, insn->address, value, size);
    if (size == 1 && !insn->has_rex && insn->rm >= 4)
        *value = emu_register_read(regs, insn->rm - 4u) >> 8 & 0xff;
    else
        *value = emu_register_read(regs, insn->rm) & (UINT64_MAX >> (64 - 8 * size));
    return EMU_COMPLETED;
}

static uint64_t second_source(const struct kvm_regs *regs, const struct emu_insn *insn)
{
    switch (insn->kind) {
    case EMU_INSN_CRC32_BYTE:
    case EMU_INSN_CRC32:
    case EMU_INSN_ADCX:
    case EMU_INSN_ADOX:
        return emu_register_read(regs, insn->reg);
    case EMU_INSN_MULX:
        return regs->rdx;
    default:
        return emu_register_read(regs, insn->vvvv);
    }
}

static enum emu_outcome execute_integer(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct kvm_regs *regs = emu_regs(&cpu->state);
    unsigned source_size = insn->kind == EMU_INSN_CRC32_BYTE ? 1 : insn->operand_size;
    unsigned target = insn->reg;
    unsigned target_size = insn->operand_size;
    uint64_t source;

    enum emu_outcome outcome = emu_read_operand(cpu, insn, source_size, &source);
    if (outcome != EMU_COMPLETED)
        return outcome;
    struct emu_integer done =
        emu_integer_execute(insn, source, second_source(regs, insn), regs->rflags);
    switch (insn->kind) {
    case EMU_INSN_BLSI:
    case EMU_INSN_BLSMSK:
    case EMU_INSN_BLSR:
        target = insn->vvvv;
        break;
    case EMU_INSN_MULX:
        /*
         * Write the low half first: if both destinations are the same register, the high half wins.
         */
        emu_register_write(regs, insn->vvvv, done.second, target_size);
        break;
    case EMU_INSN_CRC32:
        target_size = 4;
        break;
    default:
        break;
    }
    emu_register_write(regs, target, done.result, target_size);
    emu_set_flags(&cpu->state, done.flag_mask, done.flags);
    return EMU_COMPLETED;
}

/* Other vCPUs may access the operand, so this uses the host's instruction on guest memory. */
static enum emu_outcome execute_cmpxchg16b(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct kvm_regs *regs = emu_regs(&cpu->state);
    struct emu_span span;
    bool equal;

    if (insn->address % 16)
        return emu_fault_general_protection(cpu);
    enum emu_outcome outcome = emu_span_map(cpu, insn->address, 16, true, &span);
    if (outcome != EMU_COMPLETED)
        return outcome;
    __asm__ volatile("lock cmpxchg16b %[operand]"
                     : [operand] "+m"(*(unsigned __int128 *)span.pages[0]), "+a"(regs->rax),
                       "+d"(regs->rdx), "=@ccz"(equal)
                     : "b"(regs->rbx), "c"(regs->rcx)
                     : "memory");
    guest_memory_tell_host(span.memory, span.pages[0], 16);
    emu_set_flags(&cpu->state, EMU_RFLAGS_ZF, equal ? EMU_RFLAGS_ZF : 0);
    return EMU_COMPLETED;
}

static enum emu_outcome execute_rdtscp(struct emu_cpu *cpu)
{
    struct kvm_regs *regs = emu_regs(&cpu->state);
    uint64_t tsc, aux;

    int error = cpu->state.calls->get_msr(&cpu->state, MSR_TSC_AUX, &aux);
    if (error == 0)
        error = cpu->state.calls->get_msr(&cpu->state, MSR_TSC, &tsc);
    if (error < 0)
        return emu_refuse(cpu, "KVM_GET_MSRS of the TSC: %s", strerrordesc_np(-error));
    regs->rax = (uint32_t)tsc;
    regs->rdx = tsc >> 32;
    regs->rcx = (uint32_t)aux;
    return EMU_COMPLETED;
}

/*
 * STAC and CLAC. Without SMAP in the guest's CPUID, which is not available here, they should raise
 * #UD; executing them is harmless.
 */
static enum emu_outcome execute_access_flag(struct emu_cpu *cpu, bool allow)
{
    if (emu_is_user(&cpu->state))
        return emu_fault(cpu, EMU_VECTOR_UD);
    emu_set_flags(&cpu->state, EMU_RFLAGS_AC, allow ? EMU_RFLAGS_AC : 0);
    return EMU_COMPLETED;
}

/* CLWB faults like a load of one byte. Host memory needs no write-back. */
static enum emu_outcome execute_clwb(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_span span;
    return emu_span_map(cpu, insn->address, 1, false, &span);
}

static enum emu_outcome execute_kind(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (emu_is_integer(insn->kind))
        return execute_integer(cpu, insn);
    switch (insn->kind) {
    case EMU_INSN_NOP:
    case EMU_INSN_INT3:
        return EMU_COMPLETED;
    case EMU_INSN_FWAIT:
        return emu_execute_fwait(cpu);
    case EMU_INSN_STAC:
        return execute_access_flag(cpu, true);
    case EMU_INSN_CLAC:
        return execute_access_flag(cpu, false);
    case EMU_INSN_RDTSCP:
        return execute_rdtscp(cpu);
    case EMU_INSN_CLWB:
        return execute_clwb(cpu, insn);
    case EMU_INSN_CMPXCHG16B:
        return execute_cmpxchg16b(cpu, insn);
    case EMU_INSN_XGETBV:
        return emu_execute_xgetbv(cpu);
    case EMU_INSN_XSAVE:
    case EMU_INSN_XSAVEOPT:
    case EMU_INSN_XSAVEC:
        return emu_execute_xsave(cpu, insn);
    case EMU_INSN_XRSTOR:
        return emu_execute_xrstor(cpu, insn);
    case EMU_INSN_LDMXCSR:
    case EMU_INSN_STMXCSR:
        return emu_execute_mxcsr(cpu, insn);
    case EMU_INSN_LAR:
    case EMU_INSN_LSL:
    case EMU_INSN_VERR:
    case EMU_INSN_VERW:
        return emu_execute_selector(cpu, insn);
    default:
        return emu_fault(cpu, EMU_VECTOR_UD);
    }
}

enum emu_outcome emu_execute(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum emu_outcome outcome = execute_kind(cpu, insn);
    if (outcome != EMU_COMPLETED)
        return outcome;
    emu_retire(&cpu->state, insn->length);
    /* A trap: the handler returns to the next instruction. */
    if (insn->kind == EMU_INSN_INT3)
        emu_raise(&cpu->state, EMU_VECTOR_BP);
    return EMU_COMPLETED;
}

static struct emu_insn decode(struct emu_cpu *cpu, const uint8_t *bytes, size_t length)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    return emu_decode(bytes, length, emu_regs(&cpu->state), sregs->fs.base, sregs->gs.base);
}

/* Composes the error message: the instruction's bytes, its address and the reason. */
static enum emu_result give_up(struct emu_cpu *cpu, const uint8_t *bytes, size_t length,
                               const char *reason)
{
    char hex[3 * EMU_INSN_LENGTH_MAX + 1] = "";
    char text[sizeof cpu->error];

    for (size_t i = 0; i < length; i++)
        snprintf(hex + 3 * i, 4, "%02x ", bytes[i]);
    snprintf(text, sizeof text, "kvm-pvm does not emulate the instruction %sat 0x%llx: %s", hex,
             (unsigned long long)emu_regs(&cpu->state)->rip, reason);
    memcpy(cpu->error, text, sizeof text);
    return EMU_FAILED;
}

/*
 * The instruction's bytes as reported by KVM. Near the end of a page KVM may have fetched only a
 * part; the rest is read from guest memory.
 */
static size_t fetch(struct emu_cpu *cpu, uint8_t bytes[EMU_INSN_LENGTH_MAX])
{
    const struct kvm_run *run = cpu->state.run;
    size_t length = 0;

    if (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
        length = run->emulation_failure.insn_size;
    if (length > EMU_INSN_LENGTH_MAX)
        length = EMU_INSN_LENGTH_MAX;
    memcpy(bytes, run->emulation_failure.insn_bytes, length);
    if (decode(cpu, bytes, length).kind != EMU_INSN_TRUNCATED)
        return length;
    cpu->counters[EMU_COUNTER_REFETCH]++;
    return length + emu_read_mapped(cpu, emu_regs(&cpu->state)->rip + length, bytes + length,
                                    EMU_INSN_LENGTH_MAX - length);
}

enum emu_result emu_fixup(struct emu_cpu *cpu)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    uint8_t bytes[EMU_INSN_LENGTH_MAX];

    if (cpu->state.run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        return EMU_NOT_MINE;
    size_t length = fetch(cpu, bytes);
    if (!(sregs->efer & EFER_LMA) || !sregs->cs.l)
        return give_up(cpu, bytes, length, "the guest is not in 64-bit mode");
    struct emu_insn insn = decode(cpu, bytes, length);
    if (insn.kind == EMU_INSN_UNKNOWN || insn.kind == EMU_INSN_TRUNCATED)
        return give_up(cpu, bytes, length, "tsvm does not support it either");
    cpu->counters[insn.kind]++;
    if (emu_execute(cpu, &insn) == EMU_REFUSED) {
        char reason[sizeof cpu->error];
        memcpy(reason, cpu->error, sizeof reason);
        return give_up(cpu, bytes, length, reason);
    }
    return EMU_HANDLED;
}
