/* PUSH and POP of general registers, immediates and memory; PUSHA, POPA, ENTER, LEAVE. */
#include "ops_stack.h"
#include "handlers.h"

/*
 * For a fault of the stack's own access the decoder makes RSP the base of those that have no memory
 * operand; see check_address().
 */
#define STACK_REGISTER(form, type, bits, width)                                                    \
    HANDLER(push_r_##form)                                                                         \
    {                                                                                              \
        PUSH(form, REG(type, insn->rm));                                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(push_i_##form)                                                                         \
    {                                                                                              \
        PUSH(form, (type)insn->immediate);                                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pop_r_##form)                                                                          \
    {                                                                                              \
        width sp = (width)cpu->r[REG_RSP];                                                         \
        type value = load##bits(cpu, insn, sp);                                                    \
        cpu->r[REG_RSP] = (width)(sp + sizeof(type));                                              \
        SET_REG(type, insn->rm, value);                                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(leave_##form)                                                                          \
    {                                                                                              \
        width bp = (width)cpu->r[REG_RBP];                                                         \
        type value = load##bits(cpu, insn, bp);                                                    \
        cpu->r[REG_RSP] = (width)(bp + sizeof(type));                                              \
        SET_REG(type, REG_RBP * 8, value);                                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    /* Nesting level 0 only: nothing uses others. */                                               \
    HANDLER(enter_##form)                                                                          \
    {                                                                                              \
        PUSH(form, REG(type, REG_RBP * 8));                                                        \
        SET_REG(type, REG_RBP * 8, cpu->r[REG_RSP]);                                               \
        cpu->r[REG_RSP] = (width)(cpu->r[REG_RSP] - (uint16_t)insn->immediate);                    \
        NEXT;                                                                                      \
    }

#define STACK_MEMORY(at, form, type, bits, width)                                                  \
    HANDLER(push_m_##form##_##at)                                                                  \
    {                                                                                              \
        type value = load##bits(cpu, insn, address_##at(cpu, insn));                               \
        PUSH(form, value);                                                                         \
        NEXT;                                                                                      \
    }                                                                                              \
    /* The address is made with the stack pointer that POP leaves (SDM 2B "POP"). */               \
    HANDLER(pop_m_##form##_##at)                                                                   \
    {                                                                                              \
        uint64_t old = cpu->r[REG_RSP];                                                            \
        type value = load##bits(cpu, insn, (width)old);                                            \
        uint64_t sp = (width)(old + sizeof(type));                                                 \
        cpu->r[REG_RSP] = sp;                                                                      \
        uint64_t va = address_##at(cpu, insn);                                                     \
        cpu->r[REG_RSP] = old;                                                                     \
        store##bits(cpu, insn, va, value);                                                         \
        cpu->r[REG_RSP] = sp;                                                                      \
        NEXT;                                                                                      \
    }
#define STACK_MEMORY_HANDLERS(form, ...) ADDRESSINGS(STACK_MEMORY, form, __VA_ARGS__)
STACK_FORMS(STACK_REGISTER)
STACK_FORMS(STACK_MEMORY_HANDLERS)

/* All are stored before RSP changes, and all loaded before any register does. */
#define STACK_ALL(form, type, bits)                                                                \
    HANDLER(pusha_##form)                                                                          \
    {                                                                                              \
        uint32_t sp = (uint32_t)cpu->r[REG_RSP];                                                   \
        for (unsigned i = 0; i < 8; i++)                                                           \
            store##bits(cpu, insn, (uint32_t)(sp - (i + 1) * sizeof(type)), (type)cpu->r[i]);      \
        cpu->r[REG_RSP] = (uint32_t)(sp - 8 * sizeof(type));                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(popa_##form)                                                                           \
    {                                                                                              \
        uint32_t sp = (uint32_t)cpu->r[REG_RSP];                                                   \
        type values[8] = {0};                                                                      \
        for (unsigned i = 8; i-- > 0;)                                                             \
            if (i != REG_RSP)                                                                      \
                values[i] = load##bits(cpu, insn, (uint32_t)(sp + (7 - i) * sizeof(type)));        \
        for (unsigned i = 0; i < 8; i++)                                                           \
            if (i != REG_RSP)                                                                      \
                SET_REG(type, i * 8, values[i]);                                                   \
        cpu->r[REG_RSP] = (uint32_t)(sp + 8 * sizeof(type));                                       \
        NEXT;                                                                                      \
    }
STACK_ALL(narrow32, uint32_t, 32)
STACK_ALL(narrow16, uint16_t, 16)

#define BY_FORM(name)                                                                              \
    {                                                                                              \
        name##_wide64, name##_wide16, name##_narrow32, name##_narrow16                             \
    }
#define BY_FORM_AT(name)                                                                           \
    {                                                                                              \
        EACH_AT(name##_wide64), EACH_AT(name##_wide16), EACH_AT(name##_narrow32),                  \
            EACH_AT(name##_narrow16)                                                               \
    }
insn_handler *const push_r[STACK_FORM_COUNT] = BY_FORM(push_r);
insn_handler *const push_i[STACK_FORM_COUNT] = BY_FORM(push_i);
insn_handler *const push_m[STACK_FORM_COUNT][3] = BY_FORM_AT(push_m);
insn_handler *const pop_r[STACK_FORM_COUNT] = BY_FORM(pop_r);
insn_handler *const pop_m[STACK_FORM_COUNT][3] = BY_FORM_AT(pop_m);
insn_handler *const op_leave[STACK_FORM_COUNT] = BY_FORM(leave);
insn_handler *const op_enter[STACK_FORM_COUNT] = BY_FORM(enter);
insn_handler *const op_pusha[STACK_FORM_COUNT] = {NULL, NULL, pusha_narrow32, pusha_narrow16};
insn_handler *const op_popa[STACK_FORM_COUNT] = {NULL, NULL, popa_narrow32, popa_narrow16};
