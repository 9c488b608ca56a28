/* A program that is being generated, and random operands for its instructions. */
#ifndef TSVM_TEST_OPERANDS_H
#define TSVM_TEST_OPERANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "forms.h"
#include "program.h"

/* Jumps that are not resolved yet. */
struct label {
    unsigned insn;      /* the instruction before which the target is */
    unsigned at;        /* offset of the distance or address */
    unsigned size;      /* 1 or 4; 0: an absolute address of 4 bytes */
    uint64_t undefined; /* flags at the jump */
};

struct builder {
    struct program *program;
    unsigned clobbered; /* registers whose value is no longer known */
    unsigned fs_pointers;
    uint64_t undefined;
    struct label labels[PROGRAM_INSNS_MAX * 2];
    unsigned label_count;
};

/* One instruction's prefixes and operands. */
struct encoding {
    const struct form *form;
    uint8_t opcode[4];
    unsigned opcode_length;
    bool operand16;
    bool address32;
    bool wide;
    uint8_t segment; /* 0x64, 0x65 or 0 */
    uint8_t repeat;
    uint8_t rex;
    bool has_rex;
    uint8_t operands[8]; /* ModRM, SIB, displacement */
    unsigned operands_length;
    bool memory;
    bool rip_relative;
    uint64_t target; /* the target of rip_relative */
    unsigned vvvv;
};

/* An address in the data pages. */
uint64_t random_pointer(void);
/* A value near a limit of an operand size. */
uint64_t edge_value(void);
/* A register that points to data relative to FS, or -1. */
int fs_pointer(const struct builder *b);
unsigned random_register(const struct builder *b);
/* Adds ModRM, SIB and displacement for random operands. */
void encode_modrm(struct builder *b, struct encoding *e);

#endif
