/* Code that all translations share, at the start of their memory. */
#include "heat.h"
#include "translate.h"

#define COMMON_BYTES 2048u
#define ABOVE_OR_EQUAL 3
#define EQUAL 4
#define BELOW 2
#define NOT_EQUAL 5
#define NEGATIVE 8

#define LINK_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct translated_link, field))
#define INSN_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct insn, field))

_Static_assert(sizeof(struct insn) == 32, "a shift");
#define INSN_SHIFT 5

static void each_pinned(struct code_writer *w, bool store)
{
    for (unsigned i = 0; i < 16; i++) {
        enum host reg = pinned_register(i * 8);
        struct operand place = in_memory(HOST_RDI, (int32_t)i * 8);
        if (reg == HOST_NONE)
            continue;
        /* With a displacement of a byte each, so that the prologue has a fixed length. */
        unsigned opcode = store ? OPCODE_MOV_STORE : OPCODE_MOV_LOAD;
        if (i == 0) {
            write_byte(w, 0x48 | (reg & 8) >> 1);
            write_byte(w, opcode);
            write_byte(w, 0x40 | (reg & 7) << 3 | HOST_RDI);
            write_byte(w, 0);
        } else {
            host_emit(w, SIZE_64, opcode, reg, place);
        }
    }
}

void translate_prologue(struct code_writer *w)
{
    each_pinned(w, false);
}

static void jump_through(struct code_writer *w, struct operand to)
{
    host_emit(w, SIZE_32, 0xff, 4, to);
}

static void leave_interpreter(struct code_writer *w)
{
    each_pinned(w, true);
    write_byte(w, 0xc3); /* RET */
}

/* Counts the jump, and sets the page. */
static void go_by_link(struct code_writer *w)
{
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(counted));
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(va));
    host_alu_number(w, SIZE_64, ALU_AND, in_register(HOST_RAX), (int32_t)PAGE_BASE);
    host_store(w, SIZE_64, CPU_AT(r[REG_PAGE]), HOST_RAX);
    jump_through(w, LINK_AT(code));
}

/*
 * Finds the target of a link in this generation. False: it is not in the code TLB, or not decoded,
 * and the run loop looks it up.
 */
static bool bind_link(struct cpu *cpu, struct translated_link *link)
{
    struct insn *target = code_find(cpu, link->va);
    if (!target) {
        cpu->executed += link->count;
        cpu->rip = link->va;
        return false;
    }
    link->target = target;
    link->counted = (int64_t)link->count - target->ordinal;
    link->generation = cpu->generation;
    link->code = cpu->translator->common.enter_link;
    if (is_translated(cpu, target->handler))
        link->code = (const uint8_t *)(uintptr_t)target->handler + PROLOGUE_BYTES;
    return true;
}

static void emit_side_exit(struct code_writer *w)
{
    each_pinned(w, true);
    jump_through(w, in_register(HOST_RAX));
}

/* Handlers are entered as functions are: with the stack 8 below a multiple of 16. */
static void emit_bind(struct code_writer *w)
{
    each_pinned(w, true);
    write_byte(w, 0x57); /* PUSH RDI */
    write_byte(w, 0x56); /* PUSH RSI */
    host_alu_number(w, SIZE_64, ALU_SUB, in_register(HOST_RSP), 8);
    host_load_number(w, HOST_RAX, (uintptr_t)bind_link);
    host_emit(w, SIZE_32, 0xff, 2, in_register(HOST_RAX)); /* CALL */
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RSP), 8);
    write_byte(w, 0x5e);                                         /* POP RSI */
    write_byte(w, 0x5f);                                         /* POP RDI */
    host_emit(w, SIZE_8, 0x84, HOST_RAX, in_register(HOST_RAX)); /* TEST */
    uint8_t *unknown = host_jump_if(w, EQUAL);
    each_pinned(w, false);
    go_by_link(w);
    host_set_target(unknown, w->at);
    write_byte(w, 0xc3); /* RET */
}

static void emit_leave_link(struct code_writer *w)
{
    host_load(w, SIZE_32, HOST_RAX, LINK_AT(count));
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(va));
    host_store(w, SIZE_64, CPU_AT(rip), HOST_RAX);
    leave_interpreter(w);
}

/* Through the handler of the instruction in RSI, which was counted. */
static void enter_by_handler(struct code_writer *w)
{
    each_pinned(w, true);
    jump_through(w, INSN_AT(handler));
}

/* A jump to what is not translated counts for its translation, as jumps of handlers do. */
static void emit_enter(struct code_writer *w)
{
    struct operand heat = {.base = HOST_RDI,
                           .index = HOST_RAX,
                           .memory = true,
                           .displacement = (int32_t)offsetof(struct cpu, heat)};
    /* What stands between decoded runs has no length, and no place. */
    host_emit(w, SIZE_16, 0x81, ALU_CMP, INSN_AT(place));
    write_number(w, 0x1000, 2);
    uint8_t *between = host_jump_if(w, BELOW);
    host_store(w, SIZE_32, in_register(HOST_RAX), HOST_RSI);
    host_emit(w, SIZE_32, 0xc1, 5, in_register(HOST_RAX)); /* SHR */
    write_byte(w, INSN_SHIFT);
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), HEAT_SLOTS - 1);
    host_emit(w, SIZE_8, 0xfe, 1, heat); /* DEC */
    uint8_t *hot = host_jump_if(w, EQUAL);
    host_set_target(between, w->at);
    enter_by_handler(w);

    host_set_target(hot, w->at);
    host_emit(w, SIZE_32, 0x0fb6, HOST_RAX, INSN_AT(ordinal)); /* MOVZX */
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed));   /* ADD */
    host_emit(w, SIZE_32, 0x0fb7, HOST_RAX, INSN_AT(place));   /* MOVZX */
    host_alu_number(w, SIZE_32, ALU_AND, in_register(HOST_RAX), PAGE_OFFSET);
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(r[REG_PAGE])); /* ADD */
    host_store(w, SIZE_64, CPU_AT(rip), HOST_RAX);
    host_emit(w, SIZE_8, 0xc6, 0, CPU_AT(hot)); /* MOV */
    write_byte(w, 1);
    leave_interpreter(w);
}

/* The target may have been translated since the link was bound. */
static void emit_enter_link(struct code_writer *w, const uint8_t *enter)
{
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(target));
    host_load(w, SIZE_64, HOST_RAX, in_memory(HOST_RAX, offsetof(struct insn, handler)));
    host_emit(w, SIZE_64, 0x2b, HOST_RAX, CPU_AT(translated)); /* SUB */
    host_alu_number(w, SIZE_64, ALU_CMP, in_register(HOST_RAX), TRANSLATED_BYTES);
    uint8_t *interpreted = host_jump_if(w, ABOVE_OR_EQUAL);
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(translated)); /* ADD */
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RAX), PROLOGUE_BYTES);
    host_store(w, SIZE_64, LINK_AT(code), HOST_RAX);
    jump_through(w, in_register(HOST_RAX));
    host_set_target(interpreted, w->at);
    host_load(w, SIZE_64, HOST_RSI, LINK_AT(target));
    host_set_target(host_jump(w), enter);
}

/* Its own run counts anew. `interpreted`: where to if it is not translated. */
void translate_enter_insn(struct code_writer *w, unsigned count, const uint8_t *interpreted)
{
    host_emit(w, SIZE_32, 0x0fb6, HOST_RAX, INSN_AT(ordinal)); /* MOVZX */
    host_alu_number(w, SIZE_64, ALU_SUB, in_register(HOST_RAX), (int32_t)count);
    host_emit(w, SIZE_64, 0x29, HOST_RAX, CPU_AT(executed)); /* SUB */
    host_load(w, SIZE_64, HOST_RAX, INSN_AT(handler));
    host_emit(w, SIZE_64, 0x2b, HOST_RAX, CPU_AT(translated)); /* SUB */
    host_alu_number(w, SIZE_64, ALU_CMP, in_register(HOST_RAX), TRANSLATED_BYTES);
    uint8_t *jump = host_jump_if(w, ABOVE_OR_EQUAL);
    if (!w->full)
        host_set_target(jump, interpreted);
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(translated)); /* ADD */
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RAX), PROLOGUE_BYTES);
    jump_through(w, in_register(HOST_RAX));
}

/* As code_find() does. RCX is the guest's. */
static void emit_find(struct code_writer *w, const uint8_t *enter, const uint8_t *leave)
{
    struct operand rax = in_register(HOST_RAX), rcx = in_register(HOST_RCX);
    struct operand distance = {.base = HOST_RAX,
                               .index = HOST_RCX,
                               .scale = 1,
                               .memory = true,
                               .displacement = (int32_t)offsetof(struct code_page, insns)};
    _Static_assert(sizeof(struct code_tlb_entry) == 16, "the shift below");
    host_load(w, SIZE_32, HOST_RAX, CPU_AT(budget));
    host_alu_number(w, SIZE_32, ALU_SUB, rax, 1);
    host_store(w, SIZE_32, CPU_AT(budget), HOST_RAX);
    host_emit(w, SIZE_32, 0x0b, HOST_RAX, CPU_AT(attention)); /* OR */
    host_set_target(host_jump_if(w, NEGATIVE), leave);
    write_byte(w, 0x51); /* PUSH RCX */
    host_load(w, SIZE_64, HOST_RAX, in_register(HOST_RSI));
    host_emit(w, SIZE_64, 0xc1, 5, rax); /* SHR */
    write_byte(w, 12);
    host_load(w, SIZE_64, HOST_RCX, rax);
    host_emit(w, SIZE_64, 0xc1, 5, rcx); /* SHR */
    write_byte(w, 8);
    host_emit(w, SIZE_32, 0x31, HOST_RCX, rax); /* XOR */
    host_alu_number(w, SIZE_32, ALU_AND, rax, CODE_TLB_ENTRIES - 1);
    host_emit(w, SIZE_32, 0xc1, 4, rax); /* SHL */
    write_byte(w, 4);
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(code_tlb)); /* ADD */
    host_load(w, SIZE_64, HOST_RCX, in_register(HOST_RSI));
    host_alu_number(w, SIZE_64, ALU_AND, rcx, (int32_t)PAGE_BASE);
    host_emit(w, SIZE_64, 0x3b, HOST_RCX,
              in_memory(HOST_RAX, offsetof(struct code_tlb_entry, tag))); /* CMP */
    uint8_t *missed = host_jump_if(w, NOT_EQUAL);
    host_store(w, SIZE_64, CPU_AT(r[REG_PAGE]), HOST_RCX);
    host_load(w, SIZE_64, HOST_RAX, in_memory(HOST_RAX, offsetof(struct code_tlb_entry, page)));
    host_load(w, SIZE_32, HOST_RCX, in_register(HOST_RSI));
    host_alu_number(w, SIZE_32, ALU_AND, rcx, PAGE_OFFSET);
    host_emit(w, SIZE_32, 0x0fb7, HOST_RCX, distance); /* MOVZX */
    host_emit(w, SIZE_32, 0x85, HOST_RCX, rcx);        /* TEST */
    uint8_t *unknown = host_jump_if(w, EQUAL);
    host_emit(w, SIZE_64, 0xc1, 4, rcx); /* SHL */
    write_byte(w, INSN_SHIFT);
    host_emit(w, SIZE_64, 0x03, HOST_RCX,
              in_memory(HOST_RAX, offsetof(struct code_page, base))); /* ADD */
    host_load(w, SIZE_64, HOST_RSI, rcx);
    write_byte(w, 0x59); /* POP RCX */
    translate_enter_insn(w, 0, enter);
    host_set_target(missed, w->at);
    host_set_target(unknown, w->at);
    write_byte(w, 0x59); /* POP RCX */
    host_set_target(host_jump(w), leave);
}

static void emit_leave(struct code_writer *w)
{
    host_store(w, SIZE_64, CPU_AT(rip), HOST_RSI);
    leave_interpreter(w);
}

void translate_common(struct translator *translator)
{
    struct executable *memory = &translator->code;
    struct translated_common *common = &translator->common;
    struct code_writer w = {.at = memory->writable, .end = memory->writable + COMMON_BYTES};
#define EXECUTABLE (memory->executable + (w.at - memory->writable))
    common->side_exit = EXECUTABLE;
    emit_side_exit(&w);
    common->bind = EXECUTABLE;
    emit_bind(&w);
    common->leave_link = EXECUTABLE;
    emit_leave_link(&w);
    const uint8_t *enter = w.at;
    common->enter = EXECUTABLE;
    emit_enter(&w);
    common->enter_link = EXECUTABLE;
    emit_enter_link(&w, enter);
    const uint8_t *leave = w.at;
    common->leave = EXECUTABLE;
    emit_leave(&w);
    common->find = EXECUTABLE;
    emit_find(&w, enter, leave);
#undef EXECUTABLE
    translator->used = COMMON_BYTES;
}
