/* Declarations shared by the files of the translator. */
#ifndef TSVM_PVM_TRANSLATE_H
#define TSVM_PVM_TRANSLATE_H

#include <stddef.h>

#include "code_page.h"
#include "translate_host.h"
#include "translate_operation.h"
#include "translator.h"

/* Instructions of one translation. */
#define TRACE_MAX 64u
/* Bytes of code that an instruction may take, with its exits. */
#define TRACE_INSN_BYTES 320u

/* How a trace ends after its last instruction. */
enum trace_end {
    TRACE_ENDS_ITSELF, /* by a jump */
    TRACE_UNSUPPORTED, /* the next instruction's handler continues */
    TRACE_JOINS,       /* the next instruction is one of the trace, or too many */
};

struct trace_item {
    struct insn *insn;     /* as decoded, for exits */
    struct insn decoded;   /* the same, not fused with others */
    struct operation does; /* what it does */
    bool flags_needed;     /* what it leaves in the flags may be seen in cpu->status */
    bool flags_read;       /* or the host's flags are used */
};

/* A jump from the main path of a translation to code that is written after it. */
struct trace_exit {
    uint8_t *jump;
    struct translated_link *link; /* to its target; NULL: to the instruction's own handler */
    const struct trace_item *item;
    bool returns;  /* a RET that has to leave the interpreter */
    bool searches; /* a RET to the address in RSI, which its CALL did not leave */
};
#define TRACE_EXITS (TRACE_MAX * 4)

/*
 * A trace: instructions that follow each other, in one page, and its translation. While it runs,
 * most registers of the guest are in registers of the host (see pinned_register()), RDI is the CPU
 * (see in_cpu()), and RAX and RSI are free. cpu->status is up to date wherever it may be read.
 */
struct trace {
    struct cpu *cpu;
    struct translator *translator;
    struct translated_pool *pool;
    const struct code_page *page;
    struct trace_item items[TRACE_MAX];
    unsigned count;
    enum trace_end end;
    struct insn *next; /* after the last */
    bool host_flags;   /* the host's status flags are the guest's */
    struct code_writer w;
    struct trace_exit exits[TRACE_EXITS];
    struct trace_exit no_exit; /* in place of one for which there is no room */
    unsigned exit_count;
};

/* ---- translate_trace.c ---- */

/* The host's register with the guest's register operand, or HOST_NONE. */
enum host pinned_register(unsigned operand);
/* The operand in a register: the pinned one, or `temporary` after loading all of it. */
enum host trace_load(struct trace *trace, unsigned operand, enum host temporary);
/* The handler of an instruction, also where a translation has taken its place. */
insn_handler *translated_original(const struct cpu *cpu, const struct insn *insn);
static inline bool is_translated(const struct cpu *cpu, insn_handler *handler)
{
    return cpu->translated && (uintptr_t)handler - (uintptr_t)cpu->translated < TRANSLATED_BYTES;
}

/* ---- translate_flags.c ---- */

/* Whether the instruction may go to its handler, or elsewhere, before or after its work. */
bool trace_may_exit(const struct trace_item *item);
/* Sets flags_needed of all. */
void trace_find_flags(struct trace *trace);
void trace_save_flags(struct trace *trace, const struct trace_item *item);
/* The same, where the host's flags are the guest's. */
void trace_end_flags(struct trace *trace, const struct trace_item *item);
void trace_restore_flags(struct trace *trace);
/* Makes the host's CF the guest's. */
void trace_restore_carry(struct trace *trace);
/* Makes the host's flags such that the condition that is returned holds as the guest's does. */
unsigned trace_prepare_condition(struct trace *trace, unsigned condition);

/* ---- translate_memory.c ---- */

enum { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_LOCKED = 2 };
/* LEA of the memory operand into `to`; of memory accesses with the segment. */
void trace_address(struct trace *trace, const struct trace_item *item, enum host to, unsigned size,
                   bool is_access);
/*
 * RSI, a virtual address, becomes a host address of `bytes`; where the TLB does not have it, the
 * instruction's handler goes on. Uses RAX and the flags.
 */
void trace_access(struct trace *trace, const struct trace_item *item, unsigned bytes, unsigned how);
/* Both of it. */
void trace_operand(struct trace *trace, const struct trace_item *item, unsigned how);

/* ---- translate_exits.c ---- */

/* A jump to one of struct translated_common. */
void trace_jump_to_common(struct trace *trace, const uint8_t *code);
/* A jump on the condition to the instruction's own handler. */
void trace_exit_if(struct trace *trace, const struct trace_item *item, unsigned condition);
/* Continues at an address, by a link. `count`: see struct translated_link. */
void trace_link(struct trace *trace, const struct trace_item *item, uint64_t va, unsigned count);
void trace_link_if(struct trace *trace, const struct trace_item *item, unsigned condition,
                   uint64_t va, unsigned count);
void trace_to_handler(struct trace *trace, const struct insn *insn);
void trace_return(struct trace *trace, const struct trace_item *item);
void trace_call(struct trace *trace, const struct trace_item *item);
/* JMP and CALL by a register or memory. */
void trace_jump_indirect(struct trace *trace, const struct trace_item *item);
/* To the instruction in RSI. `count`: as of a link. Uses RAX. */
void translate_enter_insn(struct code_writer *w, unsigned count, const uint8_t *interpreted);
/* Writes what the jumps to exits lead to. */
void trace_finish_exits(struct trace *trace);

/* ---- translate_common.c ---- */

/* The start of a translation, for handlers that enter it. Translations jump past it. */
#define PROLOGUE_BYTES 12u
/* Where the operands of a direct link are: ADD of a number to memory, and JMP. */
#define DIRECT_COUNT 4u
#define DIRECT_JUMP 9u
/* Writes struct translated_common's code at the start of the CPU's memory. */
void translate_common(const struct cpu *cpu);

/* ---- translate_supports.c ---- */

/* Whether the instruction can be translated. */
bool trace_supports(const struct trace *trace, const struct trace_item *item);

/* ---- translate_bmi.c ---- */

/* Of enum bmi_operation. Those that do not define OF, SF, ZF and CF leave all flags alone. */
bool bmi_is_translated(unsigned operation);
bool bmi_defines_flags(unsigned operation);
void trace_bmi(struct trace *trace, const struct trace_item *item);

/* ---- translate_insns.c, translate_arithmetic.c, translate_bits.c, translate_moves.c ---- */

/* Where a register operand is, and what it becomes when `reg` has its new value. */
struct operand trace_place(unsigned operand);
void trace_keep(struct trace *trace, unsigned operand, enum host reg);
/* False: it is none of these. */
bool trace_arithmetic(struct trace *trace, const struct trace_item *item);
bool trace_bits(struct trace *trace, const struct trace_item *item);
bool trace_move(struct trace *trace, const struct trace_item *item);
/* PUSHes or POPs of registers from `first` on; return how many. */
unsigned trace_push_run(struct trace *trace, unsigned first);
unsigned trace_pop_run(struct trace *trace, unsigned first);
/* Translates items from `index` on; returns how many, at least 1. */
unsigned trace_emit(struct trace *trace, unsigned index);

/*
 * RDI points into struct cpu, so that the most frequently used fields have displacements of one
 * byte.
 */
#define CPU_BIAS 128
static inline struct operand in_cpu(int32_t offset)
{
    return in_memory(HOST_RDI, offset - CPU_BIAS);
}
#define CPU_AT(field) in_cpu((int32_t)offsetof(struct cpu, field))

#endif
