/* The instructions of map 0F38, and the VEX-encoded ones, that use general registers. */
#include "decode_internal.h"
#include "host_features.h"

static insn_handler *bmi(struct decoding *d, bool known, enum bmi_operation operation)
{
    if (!known)
        return op_undefined;
    bool wide = d->size == 3;
    return d->memory ? bmi_rm[operation][d->addressing][wide] : bmi_rr[operation][wide];
}

/* F0 and F1: MOVBE, or with F2 CRC32 */
static insn_handler *swap_or_crc(struct decoding *d, struct insn *insn)
{
    if (d->repeat == 0xf3)
        return NULL;
    if (d->repeat == 0xf2) {
        unsigned size = d->opcode & 1 ? d->size : 0;
        if (!host_features()->crc32)
            return op_undefined;
        decode_operands(d, insn, 2, size);
        return d->memory ? crc32_rm[d->addressing][size] : crc32_rr[size];
    }
    if (!d->memory)
        return op_undefined;
    return (d->opcode & 1 ? swap_mr : swap_rm)[d->addressing][d->size];
}

insn_handler *decode_0f38(struct decoding *d, struct insn *insn)
{
    if (d->opcode != 0x82 && d->opcode != 0xf0 && d->opcode != 0xf1 && d->opcode != 0xf6)
        return NULL;
    decode_modrm(d, insn);
    decode_operands(d, insn, d->size, d->size);
    if (d->unsupported)
        return NULL;
    if (d->lock)
        return op_undefined;
    switch (d->opcode) {
    case 0x82: /* INVPCID */
        return d->memory && d->operand16 && !d->repeat ? op_invpcid[d->addressing] : NULL;
    case 0xf6: /* ADCX, ADOX */
        if (d->size == 1)
            d->size = 2;
        if (d->repeat == 0xf3)
            return bmi(d, host_features()->adx, BMI_ADOX);
        return d->operand16 && !d->repeat ? bmi(d, host_features()->adx, BMI_ADCX) : NULL;
    default:
        return swap_or_crc(d, insn);
    }
}

/* ---- VEX ---- */

enum vex_prefix { VEX_NONE, VEX_66, VEX_F3, VEX_F2 };

struct vex {
    unsigned map;
    enum vex_prefix prefix;
    bool vector256;
    bool wide;
    unsigned vvvv;
};

/* Consumes the bytes after C4 or C5, except for the opcode. */
static struct vex take_vex(struct decoding *d, uint8_t escape)
{
    struct vex vex = {.map = 1};
    uint8_t first = decode_byte(d), last = first;
    d->rex = first & 0x80 ? 0 : REX_R;
    if (escape == 0xc4) {
        d->rex |= (first & 0x40 ? 0 : REX_X) | (first & 0x20 ? 0 : REX_B);
        vex.map = first & 0x1f;
        last = decode_byte(d);
        vex.wide = last & 0x80;
    }
    vex.vvvv = ~last >> 3 & 15;
    vex.vector256 = last & 4;
    vex.prefix = last & 3;
    if (!is_64(d)) {
        d->rex = 0;
        vex.vvvv &= 7;
        vex.wide = false;
    }
    return vex;
}

static bool is_bmi(const struct vex *vex, uint8_t opcode)
{
    if (vex->vector256)
        return false;
    if (vex->map == 3)
        return opcode == 0xf0 && vex->prefix == VEX_F2;
    return vex->map == 2 && opcode >= 0xf2 && opcode <= 0xf7 && opcode != 0xf4;
}

/* By opcode and prefix; the operation, or -1. */
static int bmi_operation(const struct decoding *d, const struct vex *vex)
{
    static const int8_t operations[3][4] = {
        /* none 66 F3 F2 */
        {BMI_BZHI, -1, BMI_PEXT, BMI_PDEP},        /* F5 */
        {-1, -1, -1, BMI_MULX},                    /* F6 */
        {BMI_BEXTR, BMI_SHLX, BMI_SARX, BMI_SHRX}, /* F7 */
    };
    static const int8_t group17[8] = {-1, BMI_BLSR, BMI_BLSMSK, BMI_BLSI, -1, -1, -1, -1};
    if (vex->map == 3)
        return BMI_RORX;
    if (d->opcode == 0xf2)
        return vex->prefix == VEX_NONE ? BMI_ANDN : -1;
    if (d->opcode == 0xf3)
        return vex->prefix == VEX_NONE ? group17[d->reg & 7] : -1;
    return operations[d->opcode - 0xf5][vex->prefix];
}

static bool is_bmi1(int operation)
{
    return operation == BMI_ANDN || operation == BMI_BEXTR || operation == BMI_BLSR ||
           operation == BMI_BLSMSK || operation == BMI_BLSI;
}

insn_handler *decode_vex(struct decoding *d, struct insn *insn, uint8_t escape)
{
    /* These prefixes before VEX raise #UD; the vector decoder has the other instructions. */
    bool prefixed = d->rex || d->operand16 || d->repeat || d->lock;
    struct vex vex = take_vex(d, escape);
    d->opcode = decode_byte(d);
    if (!is_bmi(&vex, d->opcode))
        return NULL;
    if (prefixed)
        return op_undefined;
    d->size = vex.wide ? 3 : 2;
    decode_modrm(d, insn);
    decode_operands(d, insn, d->size, d->size);
    insn->immediate = (int64_t)(vex.vvvv * 8);
    int operation = bmi_operation(d, &vex);
    if (operation == BMI_RORX)
        insn->immediate = decode_immediate(d, 1);
    if (operation < 0)
        return op_undefined;
    if (d->unsupported)
        return NULL;
    if (operation == BMI_RORX && vex.vvvv != 0)
        return op_undefined;
    bool known = is_bmi1(operation) ? host_features()->bmi1 : host_features()->bmi2;
    return bmi(d, known, (enum bmi_operation)operation);
}
