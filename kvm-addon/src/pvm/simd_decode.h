/* What simd_decode.c reads of an instruction, for simd_match.c to find in the table. */
#ifndef TSVM_PVM_SIMD_DECODE_H
#define TSVM_PVM_SIMD_DECODE_H

#include "simd.h"

struct simd_decoder {
    const uint8_t *bytes;
    unsigned at, available;
    bool over; /* the instruction needs more bytes than `available` */
    bool compat;
    /* Prefixes. */
    bool operand16, address_override, has_rex;
    uint8_t repeat;  /* 0xf2, 0xf3 or 0: the last of them */
    uint8_t segment; /* enum cpu_segment_base */
    uint8_t rex;
    /* The fields of the prefix that the encoding has. */
    enum simd_encoding encoding;
    uint8_t map, prefix, opcode;
    uint8_t r, x, b; /* extension bits, 0 or 1 */
    uint8_t r_high, v_high;
    uint8_t vvvv; /* 0 to 15, not inverted */
    uint8_t w, length, evex_b, zeroing, mask;
    /* ModRM. */
    uint8_t mod, reg, rm; /* reg and rm of 3 bits */
    uint8_t modrm;
};

/* The key, without an immediate; false: it is not in the table. */
bool simd_find_key(const struct simd_decoder *d, union simd_key *key);

#endif
