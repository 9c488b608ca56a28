/* BMI1 and BMI2 in translated code: the same instruction on the host's registers. */
#include "ops.h"
#include "translate.h"

#define MEMORY in_memory(HOST_RSI, 0)

enum vex_field { VEX_0F38 = 2, VEX_0F3A = 3, VEX_NP = 0, VEX_66 = 1, VEX_F3 = 2, VEX_F2 = 3 };

/* How an operation is encoded (SDM 2). A number of opcode group 17 is in place of ModRM.reg. */
static const struct encoding {
    uint8_t map;
    uint8_t prefix;
    uint8_t opcode;
    uint8_t group;
} encodings[BMI_OPERATION_COUNT] = {
    [BMI_ANDN] = {VEX_0F38, VEX_NP, 0xf2, 0}, [BMI_BEXTR] = {VEX_0F38, VEX_NP, 0xf7, 0},
    [BMI_BZHI] = {VEX_0F38, VEX_NP, 0xf5, 0}, [BMI_PDEP] = {VEX_0F38, VEX_F2, 0xf5, 0},
    [BMI_PEXT] = {VEX_0F38, VEX_F3, 0xf5, 0}, [BMI_SARX] = {VEX_0F38, VEX_F3, 0xf7, 0},
    [BMI_SHLX] = {VEX_0F38, VEX_66, 0xf7, 0}, [BMI_SHRX] = {VEX_0F38, VEX_F2, 0xf7, 0},
    [BMI_BLSR] = {VEX_0F38, VEX_NP, 0xf3, 1}, [BMI_BLSMSK] = {VEX_0F38, VEX_NP, 0xf3, 2},
    [BMI_BLSI] = {VEX_0F38, VEX_NP, 0xf3, 3}, [BMI_MULX] = {VEX_0F38, VEX_F2, 0xf6, 0},
    [BMI_RORX] = {VEX_0F3A, VEX_F2, 0xf0, 0},
};

bool bmi_is_translated(unsigned operation)
{
    return encodings[operation].map != 0;
}

/* These define OF, SF, ZF and CF, and leave AF and PF (BEXTR: SF, too) undefined. */
bool bmi_defines_flags(unsigned operation)
{
    return bmi_is_translated(operation) && encodings[operation].prefix == VEX_NP;
}

void trace_bmi(struct trace *trace, const struct trace_item *item)
{
    struct code_writer *w = &trace->w;
    const struct encoding *encoding = &encodings[item->does.number];
    const struct insn *insn = &item->decoded;
    unsigned operation = item->does.number, vex_register = insn->immediate & 0xff;
    bool from_memory = item->does.kind == OPERATION_BMI_RM;

    if (from_memory)
        trace_operand(trace, item, ACCESS_READ);
    struct host_vex vex = {encoding->map, encoding->prefix, encoding->opcode, HOST_RAX};
    struct operand rm = from_memory ? MEMORY : trace_place(insn->rm);
    enum host to = pinned_register(insn->reg);
    if (to == HOST_NONE)
        to = HOST_RAX;
    if (operation == BMI_RORX) {
        host_emit_vex(w, item->does.size, &vex, to, rm);
        write_byte(w, insn->immediate & 0xff);
        trace_keep(trace, insn->reg, to);
        return;
    }
    if (operation == BMI_MULX) {
        /* Low half first: if both are the same register, the high half remains. */
        enum host low = pinned_register(vex_register);
        vex.vvvv = low == HOST_NONE ? HOST_RSI : low;
        host_emit_vex(w, item->does.size, &vex, to, rm);
        trace_keep(trace, vex_register, vex.vvvv);
        trace_keep(trace, insn->reg, to);
        return;
    }
    if (encoding->group) {
        enum host target = pinned_register(vex_register);
        vex.vvvv = target == HOST_NONE ? HOST_RAX : target;
        host_emit_vex(w, item->does.size, &vex, encoding->group, rm);
        trace_keep(trace, vex_register, vex.vvvv);
    } else {
        vex.vvvv = trace_load(trace, vex_register, HOST_RAX);
        host_emit_vex(w, item->does.size, &vex, to, rm);
        trace_keep(trace, insn->reg, to);
    }
    if (bmi_defines_flags(operation))
        trace_end_flags(trace, item);
}
