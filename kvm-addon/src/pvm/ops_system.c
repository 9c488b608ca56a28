/* System instructions: control registers, MSRs, TLB, time, CPUID. */
#include "access.h"
#include "code_cache.h"
#include "code_lookup.h"
#include "handlers.h"
#include "system.h"
#include "walk.h"

#define MSR_TSC_AUX 0xc0000103u

/* PAUSE shortens the slice: a spinning vCPU waits for another. */
#define JUMPS_AFTER_PAUSE 20

static void check_privilege(struct cpu *cpu, const struct insn *insn)
{
    if (unlikely(cpu->cpl != 0))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

/* ---- unsupported and undefined instructions ---- */

HANDLER(unknown_)
{
    cpu_leave(cpu, insn, cpu->cpl == 3 ? INTERPRETED_NATIVE : INTERPRETED_STEP);
}

HANDLER(undefined_)
{
    RAISE_UD;
}

HANDLER(too_long_)
{
    cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

insn_handler *const op_unknown = unknown_;
insn_handler *const op_undefined = undefined_;
insn_handler *const op_too_long = too_long_;

/* ---- HLT, PAUSE, fences, caches ---- */

HANDLER(hlt_)
{
    check_privilege(cpu, insn);
    COUNT_RUN;
    cpu->rip = next_rip(cpu, insn);
    cpu_leave(cpu, NULL, INTERPRETED_HALT);
}

HANDLER(pause_)
{
    if (cpu->budget > JUMPS_AFTER_PAUSE)
        cpu->budget = JUMPS_AFTER_PAUSE;
    cpu->spins++;
    NEXT;
}

HANDLER(mfence_)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    NEXT;
}

/* INVD and WBINVD: host caches stay coherent with guest memory. */
HANDLER(wbinvd_)
{
    check_privilege(cpu, insn);
    NEXT;
}

/* CLFLUSH and similar instructions: only the checks of a load. */
#define TOUCH(at, name)                                                                            \
    HANDLER(name##_##at)                                                                           \
    {                                                                                              \
        operand_touch(cpu, insn, address_##at(cpu, insn));                                         \
        NEXT;                                                                                      \
    }
ADDRESSINGS(TOUCH, touch)

insn_handler *const op_hlt = hlt_;
insn_handler *const op_pause = pause_;
insn_handler *const op_mfence = mfence_;
insn_handler *const op_wbinvd = wbinvd_;
insn_handler *const op_touch[3] = EACH_AT(touch);

/* ---- time, CPUID, MSRs ---- */

/* The guest's clock is the host's: CPL 3 reads it natively. */
static void read_time(struct cpu *cpu, const struct insn *insn)
{
    if (unlikely(cpu->cpl != 0 && cpu->sregs.cr4 & CR4_TSD))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    uint64_t now = __builtin_ia32_rdtsc();
    cpu->r[REG_RAX] = (uint32_t)now;
    cpu->r[REG_RDX] = now >> 32;
}

HANDLER(rdtsc_)
{
    read_time(cpu, insn);
    NEXT;
}

HANDLER(rdtscp_)
{
    read_time(cpu, insn);
    cpu->r[REG_RCX] = (uint32_t)msr_read(cpu, insn, MSR_TSC_AUX);
    NEXT;
}

HANDLER(rdpid_)
{
    cpu->r[insn->rm / 8] = msr_read(cpu, insn, MSR_TSC_AUX);
    NEXT;
}

/* Serializing: code that another vCPU's program changed natively must be seen after it. */
HANDLER(cpuid_)
{
    cpuid_execute(cpu);
    if (cpu->cpl == 3 && code_enter_user(cpu))
        STOP;
    NEXT;
}

HANDLER(rdmsr_)
{
    check_privilege(cpu, insn);
    uint64_t value = msr_read(cpu, insn, (uint32_t)cpu->r[REG_RCX]);
    cpu->r[REG_RAX] = (uint32_t)value;
    cpu->r[REG_RDX] = value >> 32;
    NEXT;
}

HANDLER(wrmsr_)
{
    check_privilege(cpu, insn);
    msr_write(cpu, insn, (uint32_t)cpu->r[REG_RCX],
              cpu->r[REG_RDX] << 32 | (uint32_t)cpu->r[REG_RAX]);
    NEXT;
}

insn_handler *const op_rdtsc = rdtsc_;
insn_handler *const op_rdtscp = rdtscp_;
insn_handler *const op_rdpid = rdpid_;
insn_handler *const op_cpuid = cpuid_;
insn_handler *const op_rdmsr = rdmsr_;
insn_handler *const op_wrmsr = wrmsr_;

/* ---- control and debug registers; insn->reg is the register's number ---- */

HANDLER(read_control_)
{
    check_privilege(cpu, insn);
    REG(uint64_t, insn->rm) = control_read(cpu, insn, insn->reg);
    NEXT;
}

/* CR0, CR3 and CR4 change the translation of what follows. */
HANDLER(write_control_)
{
    check_privilege(cpu, insn);
    uint64_t value = REG(uint64_t, insn->rm);
    control_write(cpu, insn, insn->reg, cpu->compat ? (uint32_t)value : value);
    STOP;
}

HANDLER(read_debug_)
{
    check_privilege(cpu, insn);
    REG(uint64_t, insn->rm) = debug_read(cpu, insn, insn->reg);
    NEXT;
}

HANDLER(write_debug_)
{
    check_privilege(cpu, insn);
    uint64_t value = REG(uint64_t, insn->rm);
    debug_write(cpu, insn, insn->reg, cpu->compat ? (uint32_t)value : value);
    STOP;
}

HANDLER(clts_)
{
    check_privilege(cpu, insn);
    control_write(cpu, insn, 0, cpu->sregs.cr0 & ~CR0_TS);
    STOP;
}

/* LMSW sets PE but does not clear it, and reaches MP, EM and TS besides. */
static void load_machine_status(struct cpu *cpu, const struct insn *insn, uint16_t value)
{
    check_privilege(cpu, insn);
    control_write(cpu, insn, 0, (cpu->sregs.cr0 & ~0xeull) | (value & 0xf));
}

HANDLER(lmsw_r_)
{
    load_machine_status(cpu, insn, REG(uint16_t, insn->rm));
    STOP;
}

#define MEMORY_OPERANDS(at, ...)                                                                   \
    HANDLER(lmsw_m_##at)                                                                           \
    {                                                                                              \
        check_privilege(cpu, insn);                                                                \
        load_machine_status(cpu, insn, load16(cpu, insn, address_##at(cpu, insn)));                \
        STOP;                                                                                      \
    }                                                                                              \
    HANDLER(invlpg_##at)                                                                           \
    {                                                                                              \
        check_privilege(cpu, insn);                                                                \
        tlb_flush_page(cpu, address_##at(cpu, insn));                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(invpcid_##at)                                                                          \
    {                                                                                              \
        uint64_t descriptor[2];                                                                    \
        check_privilege(cpu, insn);                                                                \
        uint64_t type = REG(uint64_t, insn->reg);                                                  \
        access_copy_in(cpu, insn, address_##at(cpu, insn), descriptor, sizeof(descriptor));        \
        control_invpcid(cpu, insn, cpu->compat ? (uint32_t)type : type, descriptor[0],             \
                        descriptor[1]);                                                            \
        STOP;                                                                                      \
    }
ADDRESSINGS(MEMORY_OPERANDS, )

insn_handler *const op_read_control = read_control_;
insn_handler *const op_write_control = write_control_;
insn_handler *const op_read_debug = read_debug_;
insn_handler *const op_write_debug = write_debug_;
insn_handler *const op_clts = clts_;
insn_handler *const op_lmsw_r = lmsw_r_;
insn_handler *const op_lmsw_m[3] = EACH_AT(lmsw_m);
insn_handler *const op_invlpg[3] = EACH_AT(invlpg);
insn_handler *const op_invpcid[3] = EACH_AT(invpcid);

/* ---- FS and GS bases ---- */

HANDLER(swapgs_)
{
    check_privilege(cpu, insn);
    segment_swap_gs(cpu);
    NEXT;
}

static void check_base_access(struct cpu *cpu, const struct insn *insn)
{
    if (!(cpu->sregs.cr4 & CR4_FSGSBASE))
        RAISE_UD;
}

#define SEGMENT_BASE(name, base)                                                                   \
    HANDLER(read_##name##32)                                                                       \
    {                                                                                              \
        check_base_access(cpu, insn);                                                              \
        REG(uint64_t, insn->rm) = (uint32_t)cpu->segment_base[base];                               \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(read_##name##64)                                                                       \
    {                                                                                              \
        check_base_access(cpu, insn);                                                              \
        REG(uint64_t, insn->rm) = cpu->segment_base[base];                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(write_##name##32)                                                                      \
    {                                                                                              \
        check_base_access(cpu, insn);                                                              \
        cpu->segment_base[base] = REG(uint32_t, insn->rm);                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(write_##name##64)                                                                      \
    {                                                                                              \
        check_base_access(cpu, insn);                                                              \
        if (!walk_is_canonical(cpu, REG(uint64_t, insn->rm)))                                      \
            cpu_raise_error(cpu, insn, VECTOR_GP, 0);                                              \
        cpu->segment_base[base] = REG(uint64_t, insn->rm);                                         \
        NEXT;                                                                                      \
    }
SEGMENT_BASE(fs, BASE_FS)
SEGMENT_BASE(gs, BASE_GS)

insn_handler *const op_swapgs = swapgs_;
insn_handler *const segment_base_operation[4][2] = {{read_fs32, read_fs64},
                                                    {read_gs32, read_gs64},
                                                    {write_fs32, write_fs64},
                                                    {write_gs32, write_gs64}};
