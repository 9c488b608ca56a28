/* Segment registers, descriptor tables, far transfers, INT. */
#include <string.h>

#include "access.h"
#include "handlers.h"
#include "ops_stack.h"
#include "system.h"
#include "walk.h"

#define SEGMENT_SS 2

/* Code in compat mode with another base or limit is not interpreted: the run loop checks. */
#define NEXT_IF_WIDE                                                                               \
    do {                                                                                           \
        if (cpu->compat)                                                                           \
            STOP;                                                                                  \
        NEXT;                                                                                      \
    } while (0)

static void load_segment(struct cpu *cpu, const struct insn *insn, unsigned number,
                         uint16_t selector)
{
    segment_load(cpu, insn, number, selector);
    if (number == SEGMENT_SS && cpu->once)
        cpu->interrupt_shadow = 1;
}

/* ---- MOV to and from segment registers; insn->reg is the register's number ---- */

#define STORE_SELECTOR(name, selector)                                                             \
    HANDLER(name##_r16)                                                                            \
    {                                                                                              \
        REG(uint16_t, insn->rm) = (uint16_t)(selector);                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_r64)                                                                            \
    {                                                                                              \
        REG(uint64_t, insn->rm) = (selector);                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    ADDRESSINGS(STORE_SELECTOR_AT, name, selector)
#define STORE_SELECTOR_AT(at, name, selector)                                                      \
    HANDLER(name##_m_##at)                                                                         \
    {                                                                                              \
        store16(cpu, insn, address_##at(cpu, insn), (uint16_t)(selector));                         \
        NEXT;                                                                                      \
    }
STORE_SELECTOR(store_segment, segment_selector(cpu, insn->reg))

HANDLER(load_segment_r)
{
    load_segment(cpu, insn, insn->reg, REG(uint16_t, insn->rm));
    NEXT_IF_WIDE;
}
#define LOAD_SEGMENT_AT(at, ...)                                                                   \
    HANDLER(load_segment_m_##at)                                                                   \
    {                                                                                              \
        uint16_t selector = load16(cpu, insn, address_##at(cpu, insn));                            \
        load_segment(cpu, insn, insn->reg, selector);                                              \
        NEXT_IF_WIDE;                                                                              \
    }
ADDRESSINGS(LOAD_SEGMENT_AT, )

insn_handler *const segment_store_r[2] = {store_segment_r16, store_segment_r64};
insn_handler *const segment_store_m[3] = EACH_AT(store_segment_m);
insn_handler *const segment_load_r = load_segment_r;
insn_handler *const segment_load_m[3] = EACH_AT(load_segment_m);

/* ---- PUSH and POP of segment registers ---- */

#define SEGMENT_STACK(form, type, bits, width)                                                     \
    HANDLER(push_segment_##form)                                                                   \
    {                                                                                              \
        PUSH(form, segment_selector(cpu, insn->reg));                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pop_segment_##form)                                                                    \
    {                                                                                              \
        uint16_t selector = (uint16_t)TOP(form);                                                   \
        load_segment(cpu, insn, insn->reg, selector);                                              \
        DROP(form);                                                                                \
        NEXT_IF_WIDE;                                                                              \
    }
STACK_FORMS(SEGMENT_STACK)
#define BY_FORM(name)                                                                              \
    {                                                                                              \
        name##_wide64, name##_wide16, name##_narrow32, name##_narrow16                             \
    }
insn_handler *const segment_push[STACK_FORM_COUNT] = BY_FORM(push_segment);
insn_handler *const segment_pop[STACK_FORM_COUNT] = BY_FORM(pop_segment);

/* ---- far pointers: LES, LDS, LSS, LFS, LGS; JMP and CALL ---- */

#define FAR_POINTER(at, name, type, suffix, bits)                                                  \
    HANDLER(load_far##bits##_##at)                                                                 \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type offset = load##bits(cpu, insn, va);                                                   \
        uint16_t selector = load16(cpu, insn, wrap_##at(va + sizeof(type)));                       \
        load_segment(cpu, insn, (unsigned)insn->immediate, selector);                              \
        SET_REG(type, insn->reg, offset);                                                          \
        NEXT_IF_WIDE;                                                                              \
    }                                                                                              \
    HANDLER(far_jump_m##bits##_##at)                                                               \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type offset = load##bits(cpu, insn, va);                                                   \
        uint16_t selector = load16(cpu, insn, wrap_##at(va + sizeof(type)));                       \
        COUNT_RUN;                                                                                 \
        far_jump(cpu, insn, sizeof(type), selector, offset, false, next_rip(cpu, insn));           \
    }                                                                                              \
    HANDLER(far_call_m##bits##_##at)                                                               \
    {                                                                                              \
        uint64_t va = address_##at(cpu, insn);                                                     \
        type offset = load##bits(cpu, insn, va);                                                   \
        uint16_t selector = load16(cpu, insn, wrap_##at(va + sizeof(type)));                       \
        COUNT_RUN;                                                                                 \
        far_jump(cpu, insn, sizeof(type), selector, offset, true, next_rip(cpu, insn));            \
    }
#define FAR_POINTERS_AT(at, name) WIDE_SIZES(FAR_POINTER, at, name)
ADDRESSINGS(FAR_POINTERS_AT, far)
insn_handler *const segment_load_far[3][4] = WIDE_ROWS_AT(load_far);
insn_handler *const far_jump_m[3][4] = WIDE_ROWS_AT(far_jump_m);
insn_handler *const far_call_m[3][4] = WIDE_ROWS_AT(far_call_m);

#define BY_BYTES(bits, bytes)                                                                      \
    HANDLER(far_jump_i##bits)                                                                      \
    {                                                                                              \
        COUNT_RUN;                                                                                 \
        far_jump(cpu, insn, bytes, (uint16_t)(insn->immediate >> 32), (uint32_t)insn->immediate,   \
                 false, next_rip(cpu, insn));                                                      \
    }                                                                                              \
    HANDLER(far_call_i##bits)                                                                      \
    {                                                                                              \
        COUNT_RUN;                                                                                 \
        far_jump(cpu, insn, bytes, (uint16_t)(insn->immediate >> 32), (uint32_t)insn->immediate,   \
                 true, next_rip(cpu, insn));                                                       \
    }                                                                                              \
    HANDLER(far_return##bits)                                                                      \
    {                                                                                              \
        COUNT_RUN;                                                                                 \
        far_return(cpu, insn, bytes, (uint16_t)insn->immediate);                                   \
    }                                                                                              \
    HANDLER(iret##bits)                                                                            \
    {                                                                                              \
        COUNT_RUN;                                                                                 \
        far_iret(cpu, insn, bytes);                                                                \
    }
BY_BYTES(16, 2)
BY_BYTES(32, 4)
BY_BYTES(64, 8)
insn_handler *const far_jump_i[4] = WIDE_ROW(far_jump_i);
insn_handler *const far_call_i[4] = WIDE_ROW(far_call_i);
insn_handler *const op_far_return[4] = WIDE_ROW(far_return);
insn_handler *const op_iret[4] = WIDE_ROW(iret);

HANDLER(syscall_)
{
    COUNT_RUN;
    far_syscall(cpu, insn, next_rip(cpu, insn));
}

HANDLER(sysenter_)
{
    COUNT_RUN;
    far_sysenter(cpu, insn);
}

/* insn->immediate: to 64-bit code. */
HANDLER(sysret_)
{
    COUNT_RUN;
    far_sysret(cpu, insn, insn->immediate != 0);
}

HANDLER(sysexit_)
{
    COUNT_RUN;
    far_sysexit(cpu, insn, insn->immediate != 0);
}

/* INT n, INT3 and INTO: insn->immediate is the vector. */
HANDLER(interrupt_)
{
    COUNT_RUN;
    cpu->rip = next_rip(cpu, insn);
    cpu->exception = (struct cpu_exception){
        .vector = (uint8_t)insn->immediate, .software = true, .length = (uint8_t)insn_length(insn)};
    cpu_leave(cpu, NULL, INTERPRETED_EXCEPTION);
}

HANDLER(into_)
{
    if (cpu->status & STATUS_O)
        TAIL_CALL interrupt_(cpu, insn);
    NEXT;
}

insn_handler *const op_syscall = syscall_;
insn_handler *const op_sysenter = sysenter_;
insn_handler *const op_sysret = sysret_;
insn_handler *const op_sysexit = sysexit_;
insn_handler *const op_interrupt = interrupt_;
insn_handler *const op_into = into_;

/* ---- SLDT, STR, SMSW, SGDT, SIDT: CR4.UMIP keeps them from programs ---- */

static void check_umip(struct cpu *cpu, const struct insn *insn)
{
    if (cpu->cpl != 0 && cpu->sregs.cr4 & CR4_UMIP)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

#define STORE_SYSTEM(name, value)                                                                  \
    HANDLER(name##_r16)                                                                            \
    {                                                                                              \
        check_umip(cpu, insn);                                                                     \
        REG(uint16_t, insn->rm) = (uint16_t)(value);                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_r32)                                                                            \
    {                                                                                              \
        check_umip(cpu, insn);                                                                     \
        REG(uint64_t, insn->rm) = (uint32_t)(value);                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_r64)                                                                            \
    {                                                                                              \
        check_umip(cpu, insn);                                                                     \
        REG(uint64_t, insn->rm) = (value);                                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    ADDRESSINGS(STORE_SYSTEM_AT, name, value)
#define STORE_SYSTEM_AT(at, name, value)                                                           \
    HANDLER(name##_m_##at)                                                                         \
    {                                                                                              \
        check_umip(cpu, insn);                                                                     \
        store16(cpu, insn, address_##at(cpu, insn), (uint16_t)(value));                            \
        NEXT;                                                                                      \
    }
STORE_SYSTEM(sldt, cpu->sregs.ldt.selector)
STORE_SYSTEM(str, cpu->sregs.tr.selector)
STORE_SYSTEM(smsw, cpu->sregs.cr0)
insn_handler *const system_store_r[3][4] = {WIDE_ROW(sldt_r), WIDE_ROW(str_r), WIDE_ROW(smsw_r)};
insn_handler *const system_store_m[3][3] = {EACH_AT(sldt_m), EACH_AT(str_m), EACH_AT(smsw_m)};

/*
 * A limit of two bytes, then a base of eight, or four in compat mode. Separate functions: a handler
 * that passes the address of an array would not end with a tail call.
 */
static void store_table(struct cpu *cpu, struct insn *insn, uint64_t va,
                        const struct kvm_dtable *table)
{
    uint8_t image[10];
    check_umip(cpu, insn);
    memcpy(image, &table->limit, 2);
    memcpy(image + 2, &table->base, 8);
    access_copy_out(cpu, insn, va, image, cpu->compat ? 6 : 10);
}

static void load_table(struct cpu *cpu, struct insn *insn, uint64_t va, struct kvm_dtable *table)
{
    uint8_t image[10] = {0};
    uint64_t base;
    if (cpu->cpl != 0)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    access_copy_in(cpu, insn, va, image, cpu->compat ? 6 : 10);
    memcpy(&base, image + 2, 8);
    if (!walk_is_canonical(cpu, base))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    memcpy(&table->limit, image, 2);
    table->base = base;
}

#define TABLE_AT(at, name)                                                                         \
    HANDLER(store_##name##_##at)                                                                   \
    {                                                                                              \
        store_table(cpu, insn, address_##at(cpu, insn), &cpu->sregs.name);                         \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(load_##name##_##at)                                                                    \
    {                                                                                              \
        load_table(cpu, insn, address_##at(cpu, insn), &cpu->sregs.name);                          \
        NEXT;                                                                                      \
    }
ADDRESSINGS(TABLE_AT, gdt)
ADDRESSINGS(TABLE_AT, idt)
insn_handler *const table_operation[4][3] = {EACH_AT(store_gdt), EACH_AT(store_idt),
                                             EACH_AT(load_gdt), EACH_AT(load_idt)};

/* ---- LLDT, LTR, VERR, VERW, LAR, LSL ---- */

#define DESCRIPTOR_S (1ull << 44)
#define DESCRIPTOR_CODE (1ull << 43)
#define DESCRIPTOR_CONFORMING (1ull << 42)
#define DESCRIPTOR_READ_WRITE (1ull << 41) /* code: readable; data: writable */
#define DESCRIPTOR_GRANULARITY (1ull << 55)
/* System types in long mode, as bits: LDT, available and busy TSS, call gate (SDM 2A "LAR"). */
#define LAR_SYSTEM_TYPES (1u << 2 | 1u << 9 | 1u << 11 | 1u << 12)
#define LSL_SYSTEM_TYPES (1u << 2 | 1u << 9 | 1u << 11)

/* Whether the selector's descriptor can be read and is of a kind and privilege that may be seen. */
static bool find_descriptor(struct cpu *cpu, struct insn *insn, uint16_t selector,
                            unsigned system_types, uint64_t *descriptor)
{
    uint64_t base = cpu->sregs.gdt.base;
    uint32_t limit = cpu->sregs.gdt.limit;
    if ((selector & ~3u) == 0)
        return false;
    if (selector & 4) {
        if (cpu->sregs.ldt.unusable || !cpu->sregs.ldt.present)
            return false;
        base = cpu->sregs.ldt.base;
        limit = cpu->sregs.ldt.limit;
    }
    if ((selector | 7u) > limit)
        return false;
    *descriptor = access_system_load(cpu, insn, base + (selector & ~7u), 8);
    unsigned dpl = *descriptor >> 45 & 3, rpl = selector & 3;
    bool is_code = *descriptor & DESCRIPTOR_S && *descriptor & DESCRIPTOR_CODE;
    if (!(*descriptor & DESCRIPTOR_S) && !(system_types >> (*descriptor >> 40 & 15) & 1))
        return false;
    if (is_code && *descriptor & DESCRIPTOR_CONFORMING)
        return true;
    return dpl >= cpu->cpl && dpl >= rpl;
}

static void set_zero_flag(struct cpu *cpu, bool set)
{
    cpu->status = (cpu->status & ~STATUS_Z) | (set ? STATUS_Z : 0);
}

static void load_ldt(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    if (cpu->cpl != 0)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    segment_load_ldt(cpu, insn, selector);
}

static void load_tr(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    if (cpu->cpl != 0)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    segment_load_tr(cpu, insn, selector);
}

static void verify_read(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    uint64_t descriptor;
    bool seen = find_descriptor(cpu, insn, selector, 0, &descriptor);
    set_zero_flag(cpu,
                  seen && (!(descriptor & DESCRIPTOR_CODE) || descriptor & DESCRIPTOR_READ_WRITE));
}

static void verify_write(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    uint64_t descriptor;
    bool seen = find_descriptor(cpu, insn, selector, 0, &descriptor);
    set_zero_flag(cpu,
                  seen && !(descriptor & DESCRIPTOR_CODE) && descriptor & DESCRIPTOR_READ_WRITE);
}

/* insn->immediate: the operand size as an index. */
static void set_by_size(struct cpu *cpu, struct insn *insn, uint32_t value)
{
    if (insn->immediate == 1)
        REG(uint16_t, insn->reg) = (uint16_t)value;
    else
        REG(uint64_t, insn->reg) = value;
}

static void load_rights(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    uint64_t descriptor;
    bool seen = find_descriptor(cpu, insn, selector, LAR_SYSTEM_TYPES, &descriptor);
    if (seen)
        set_by_size(cpu, insn, (uint32_t)(descriptor >> 32) & 0x00ffff00u);
    set_zero_flag(cpu, seen);
}

static void load_limit(struct cpu *cpu, struct insn *insn, uint16_t selector)
{
    uint64_t descriptor;
    bool seen = find_descriptor(cpu, insn, selector, LSL_SYSTEM_TYPES, &descriptor);
    if (seen) {
        uint32_t limit = (uint32_t)((descriptor & 0xffff) | (descriptor >> 32 & 0xf0000));
        if (descriptor & DESCRIPTOR_GRANULARITY)
            limit = limit << 12 | 0xfff;
        set_by_size(cpu, insn, limit);
    }
    set_zero_flag(cpu, seen);
}

#define SELECTOR_HANDLERS(name)                                                                    \
    HANDLER(name##_r)                                                                              \
    {                                                                                              \
        name(cpu, insn, REG(uint16_t, insn->rm));                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    ADDRESSINGS(SELECTOR_MEMORY, name)
#define SELECTOR_MEMORY(at, name)                                                                  \
    HANDLER(name##_m_##at)                                                                         \
    {                                                                                              \
        uint16_t selector = load16(cpu, insn, address_##at(cpu, insn));                            \
        name(cpu, insn, selector);                                                                 \
        NEXT;                                                                                      \
    }
SELECTOR_HANDLERS(load_ldt)
SELECTOR_HANDLERS(load_tr)
SELECTOR_HANDLERS(verify_read)
SELECTOR_HANDLERS(verify_write)
SELECTOR_HANDLERS(load_rights)
SELECTOR_HANDLERS(load_limit)
insn_handler *const selector_r[6] = {load_ldt_r,     load_tr_r,     verify_read_r,
                                     verify_write_r, load_rights_r, load_limit_r};
insn_handler *const selector_m[6][3] = {EACH_AT(load_ldt_m),    EACH_AT(load_tr_m),
                                        EACH_AT(verify_read_m), EACH_AT(verify_write_m),
                                        EACH_AT(load_rights_m), EACH_AT(load_limit_m)};
