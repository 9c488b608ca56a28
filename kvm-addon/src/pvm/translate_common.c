/* Code that all translations share, at the start of their memory. */
#include "code_arena.h"
#include "heat.h"
#include "translate.h"

#define ABOVE_OR_EQUAL 3
#define EQUAL 4
#define BELOW 2
#define NOT_EQUAL 5
#define NEGATIVE 8

#define LINK_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct translated_link, field))
#define INSN_AT(field) in_memory(HOST_RSI, (int32_t)offsetof(struct insn, field))

_Static_assert(sizeof(struct insn) == 32, "a shift");
#define INSN_SHIFT 5

_Static_assert(CODE_PART == 64, "a shift");
#define CODE_PART_SHIFT 6

static void each_pinned(struct code_writer *w, bool store)
{
    for (unsigned i = 0; i < 16; i++) {
        enum host reg = pinned_register(i * 8);
        if (reg != HOST_NONE)
            host_emit(w, SIZE_64, store ? OPCODE_MOV_STORE : OPCODE_MOV_LOAD, reg,
                      in_cpu((int32_t)i * 8));
    }
}

static void jump_through(struct code_writer *w, struct operand to)
{
    host_emit(w, SIZE_32, 0xff, 4, to);
}

static void add_to_rdi(struct code_writer *w, int32_t number)
{
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RDI), number);
}

static void emit_prologue(struct code_writer *w)
{
    add_to_rdi(w, CPU_BIAS);
    each_pinned(w, false);
    jump_through(w, in_register(HOST_RAX));
}

/* For what expects the registers and the CPU where C has them. */
static void unpin(struct code_writer *w)
{
    each_pinned(w, true);
    add_to_rdi(w, -CPU_BIAS);
}

static void leave_interpreter(struct code_writer *w)
{
    unpin(w);
    write_byte(w, 0xc3); /* RET */
}

/* RSI, a number, becomes the address of that element of an array. */
static void find_element(struct code_writer *w, const void *array, unsigned size)
{
    host_emit(w, SIZE_64, 0x69, HOST_RSI, in_register(HOST_RSI)); /* IMUL */
    write_number(w, size, 4);
    host_load_number(w, HOST_RAX, (uintptr_t)array);
    host_emit(w, SIZE_64, 0x03, HOST_RSI, in_register(HOST_RAX)); /* ADD */
}

static void find_link(struct code_writer *w, const struct translator *translator)
{
    find_element(w, translator->links, sizeof *translator->links);
}

/* The code of a target: its translation, or NULL. */
static const uint8_t *translation_of(const struct cpu *cpu, const struct insn *insn)
{
    if (!is_translated(cpu, insn->handler))
        return NULL;
    return (const uint8_t *)(uintptr_t)insn->handler + PROLOGUE_BYTES;
}

/* Makes a link's own instructions count, and jump to the code. */
static void patch(struct cpu *cpu, const struct translated_link *link, const uint8_t *code)
{
    const struct executable *memory = &cpu->translator->code;
    int32_t counted = (int32_t)link->counted;
    memcpy(link->direct + DIRECT_COUNT, &counted, sizeof counted);
    host_set_target(link->direct + DIRECT_JUMP, memory->writable + (code - memory->executable));
    executable_serialize();
}

/*
 * Finds the target of a link in this generation, and counts the jump. Returns the code to go on at,
 * with RSI the target. NULL: it is not in the code TLB, or not decoded, and the run loop looks it
 * up.
 */
static const uint8_t *bind_link(struct cpu *cpu, struct translated_link *link)
{
    struct insn *target = code_find(cpu, link->va);
    if (!target) {
        cpu->executed += link->count;
        cpu->rip = link->va;
        return NULL;
    }
    const uint8_t *code = translation_of(cpu, target);
    link->target = target;
    link->counted = (int64_t)link->count - target->ordinal;
    link->expected = (uint64_t)cpu->generation << 32;
    link->code = code ? code : link->enter;
    if (link->direct && code)
        patch(cpu, link, code);
    cpu->executed += (uint64_t)link->counted;
    cpu->r[REG_PAGE] = link->va & PAGE_BASE;
    return code ? code : cpu->translator->common.enter;
}

/* The handler that a translation has replaced is in front of it. RCX was stored. */
static void emit_side_exit(struct code_writer *w, const struct insn *arena)
{
    find_element(w, arena, sizeof *arena);
    each_pinned(w, true);
    host_load(w, SIZE_64, HOST_RAX, INSN_AT(handler));
    host_load(w, SIZE_64, HOST_RCX, in_register(HOST_RAX));
    host_emit(w, SIZE_64, 0x2b, HOST_RCX, CPU_AT(translated)); /* SUB */
    host_alu_number(w, SIZE_64, ALU_CMP, in_register(HOST_RCX), TRANSLATED_BYTES);
    uint8_t *other = host_jump_if(w, ABOVE_OR_EQUAL);
    host_load(w, SIZE_64, HOST_RAX, in_memory(HOST_RAX, -(int32_t)sizeof(insn_handler *)));
    host_set_target(other, w->at);
    add_to_rdi(w, -CPU_BIAS);
    jump_through(w, in_register(HOST_RAX));
}

/* Handlers are entered as functions are: with the stack 8 below a multiple of 16. */
static void emit_bind(struct code_writer *w)
{
    unpin(w);
    write_byte(w, 0x57); /* PUSH RDI */
    write_byte(w, 0x56); /* PUSH RSI */
    host_alu_number(w, SIZE_64, ALU_SUB, in_register(HOST_RSP), 8);
    host_load_number(w, HOST_RAX, (uintptr_t)bind_link);
    host_emit(w, SIZE_32, 0xff, 2, in_register(HOST_RAX)); /* CALL */
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RSP), 8);
    write_byte(w, 0x5e);                                          /* POP RSI */
    write_byte(w, 0x5f);                                          /* POP RDI */
    host_emit(w, SIZE_64, 0x85, HOST_RAX, in_register(HOST_RAX)); /* TEST */
    uint8_t *unknown = host_jump_if(w, EQUAL);
    add_to_rdi(w, CPU_BIAS);
    each_pinned(w, false);
    host_load(w, SIZE_64, HOST_RSI, LINK_AT(target));
    jump_through(w, in_register(HOST_RAX));
    host_set_target(unknown, w->at);
    write_byte(w, 0xc3); /* RET */
}

/* Checks once more whether attention or the generation is the reason. */
static void emit_slow_link(struct code_writer *w, const struct translator *translator,
                           const uint8_t *bind)
{
    find_link(w, translator);
    host_load(w, SIZE_32, HOST_RAX, CPU_AT(budget));
    host_emit(w, SIZE_32, 0x0b, HOST_RAX, CPU_AT(attention)); /* OR */
    uint8_t *leaves = host_jump_if(w, NEGATIVE);
    host_set_target(host_jump(w), bind);
    host_set_target(leaves, w->at);
    host_load(w, SIZE_32, HOST_RAX, LINK_AT(count));
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(va));
    host_store(w, SIZE_64, CPU_AT(rip), HOST_RAX);
    leave_interpreter(w);
}

/* Through the handler of the instruction in RSI, which was counted. */
static void enter_by_handler(struct code_writer *w)
{
    unpin(w);
    jump_through(w, INSN_AT(handler));
}

/* A jump to what is not translated counts for its translation, as jumps of handlers do. */
static void emit_enter(struct code_writer *w)
{
    struct operand heat = in_cpu((int32_t)offsetof(struct cpu, heat));
    heat.index = HOST_RAX;
    /* insn_goto and insn_page_end have no length and no offset. */
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

/* RAX becomes the distance of the handler of the instruction at RAX from the translations. */
static void find_translation(struct code_writer *w)
{
    host_load(w, SIZE_64, HOST_RAX, in_memory(HOST_RAX, offsetof(struct insn, handler)));
    host_emit(w, SIZE_64, 0x2b, HOST_RAX, CPU_AT(translated)); /* SUB */
    host_alu_number(w, SIZE_64, ALU_CMP, in_register(HOST_RAX), TRANSLATED_BYTES);
}

static void enter_translation(struct code_writer *w)
{
    host_emit(w, SIZE_64, 0x03, HOST_RAX, CPU_AT(translated)); /* ADD */
    host_alu_number(w, SIZE_64, ALU_ADD, in_register(HOST_RAX), PROLOGUE_BYTES);
}

/* The target may have been translated since the link was bound. */
static void emit_enter_link(struct code_writer *w, const struct translator *translator,
                            const uint8_t *enter)
{
    find_link(w, translator);
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(target));
    find_translation(w);
    uint8_t *interpreted = host_jump_if(w, ABOVE_OR_EQUAL);
    enter_translation(w);
    host_store(w, SIZE_64, LINK_AT(code), HOST_RAX);
    jump_through(w, in_register(HOST_RAX));
    host_set_target(interpreted, w->at);
    host_load(w, SIZE_64, HOST_RSI, LINK_AT(target));
    host_set_target(host_jump(w), enter);
}

/* The same for a link that is to be patched, once there is a translation. */
static void emit_direct_link(struct code_writer *w, const struct translator *translator,
                             const uint8_t *enter, const uint8_t *bind)
{
    find_link(w, translator);
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(target));
    host_emit(w, SIZE_64, 0x85, HOST_RAX, in_register(HOST_RAX)); /* TEST */
    uint8_t *unbound = host_jump_if(w, EQUAL);
    find_translation(w);
    uint8_t *translated = host_jump_if(w, BELOW);
    host_load(w, SIZE_64, HOST_RAX, LINK_AT(counted));
    host_emit(w, SIZE_64, 0x01, HOST_RAX, CPU_AT(executed)); /* ADD */
    host_load(w, SIZE_64, HOST_RSI, LINK_AT(target));
    host_set_target(host_jump(w), enter);
    host_set_target(unbound, w->at);
    host_set_target(translated, w->at);
    host_set_target(host_jump(w), bind);
}

/* Starts counting its run. `interpreted`: code for a target that is not translated. */
void translate_enter_insn(struct code_writer *w, unsigned count, const uint8_t *interpreted)
{
    host_emit(w, SIZE_32, 0x0fb6, HOST_RAX, INSN_AT(ordinal)); /* MOVZX */
    host_alu_number(w, SIZE_64, ALU_SUB, in_register(HOST_RAX), (int32_t)count);
    host_emit(w, SIZE_64, 0x29, HOST_RAX, CPU_AT(executed)); /* SUB */
    host_load(w, SIZE_64, HOST_RAX, in_register(HOST_RSI));
    find_translation(w);
    uint8_t *jump = host_jump_if(w, ABOVE_OR_EQUAL);
    if (!w->full)
        host_set_target(jump, interpreted);
    enter_translation(w);
    jump_through(w, in_register(HOST_RAX));
}

/* As code_find() does. RCX is the guest's. */
static void emit_find(struct code_writer *w, const uint8_t *enter, const uint8_t *leave)
{
    struct operand rax = in_register(HOST_RAX), rcx = in_register(HOST_RCX);
    struct operand part = {.base = HOST_RAX,
                           .index = HOST_RCX,
                           .scale = 3,
                           .memory = true,
                           .displacement = (int32_t)offsetof(struct code_page, parts)};
    struct operand distance = {.base = HOST_RAX,
                               .index = HOST_RCX,
                               .scale = 1,
                               .memory = true,
                               .displacement = (int32_t)offsetof(struct code_part, insns)};
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
    host_emit(w, SIZE_32, 0xc1, 5, rcx); /* SHR */
    write_byte(w, CODE_PART_SHIFT);
    host_alu_number(w, SIZE_32, ALU_AND, rcx, CODE_PAGE_PARTS - 1);
    host_load(w, SIZE_64, HOST_RAX, part);
    host_load(w, SIZE_32, HOST_RCX, in_register(HOST_RSI));
    host_alu_number(w, SIZE_32, ALU_AND, rcx, CODE_PART - 1);
    host_emit(w, SIZE_32, 0x0fb7, HOST_RCX, distance); /* MOVZX */
    host_emit(w, SIZE_32, 0x85, HOST_RCX, rcx);        /* TEST */
    uint8_t *unknown = host_jump_if(w, EQUAL);
    host_emit(w, SIZE_64, 0xc1, 4, rcx); /* SHL */
    write_byte(w, INSN_SHIFT);
    host_emit(w, SIZE_64, 0x03, HOST_RCX,
              in_memory(HOST_RAX, offsetof(struct code_part, base))); /* ADD */
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

void translate_common(const struct cpu *cpu)
{
    struct translator *translator = cpu->translator;
    const struct executable *memory = &translator->code;
    struct translated_common *common = &translator->common;
    struct code_writer w = {.at = memory->writable,
                            .end = memory->writable + TRANSLATED_COMMON_BYTES};
#define EXECUTABLE (memory->executable + (w.at - memory->writable))
    common->prologue = EXECUTABLE;
    emit_prologue(&w);
    common->side_exit = EXECUTABLE;
    emit_side_exit(&w, cpu->code->arena);
    const uint8_t *bind = w.at;
    emit_bind(&w);
    common->slow_link = EXECUTABLE;
    emit_slow_link(&w, translator, bind);
    const uint8_t *enter = w.at;
    common->enter = EXECUTABLE;
    emit_enter(&w);
    common->enter_link = EXECUTABLE;
    emit_enter_link(&w, translator, enter);
    common->direct_link = EXECUTABLE;
    emit_direct_link(&w, translator, enter, bind);
    const uint8_t *leave = w.at;
    common->leave = EXECUTABLE;
    emit_leave(&w);
    common->find = EXECUTABLE;
    emit_find(&w, enter, leave);
#undef EXECUTABLE
    translator->has_common = true;
}
