/* The table by opcode, without what this host's processor lacks. */
#include <cpuid.h>
#include <string.h>

#include "fpu_state.h"
#include "simd.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

/* The CPUID bit of each feature, and the features that it needs besides. */
static const struct {
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
    uint8_t needs[2];
} bits[SIMD_FEATURES] = {
    [SIMD_SSE] = {1, 0, EDX, 25, {0}},
    [SIMD_SSE2] = {1, 0, EDX, 26, {0}},
    [SIMD_SSE3] = {1, 0, ECX, 0, {0}},
    [SIMD_SSSE3] = {1, 0, ECX, 9, {0}},
    [SIMD_SSE41] = {1, 0, ECX, 19, {0}},
    [SIMD_SSE42] = {1, 0, ECX, 20, {0}},
    [SIMD_AES] = {1, 0, ECX, 25, {0}},
    [SIMD_PCLMUL] = {1, 0, ECX, 1, {0}},
    [SIMD_SHA] = {7, 0, EBX, 29, {0}},
    [SIMD_GFNI] = {7, 0, ECX, 8, {0}},
    [SIMD_AVX] = {1, 0, ECX, 28, {0}},
    [SIMD_AVX2] = {7, 0, EBX, 5, {SIMD_AVX}},
    [SIMD_F16C] = {1, 0, ECX, 29, {SIMD_AVX}},
    [SIMD_FMA] = {1, 0, ECX, 12, {SIMD_AVX}},
    [SIMD_VEX_AES] = {1, 0, ECX, 25, {SIMD_AVX}},
    [SIMD_VEX_PCLMUL] = {1, 0, ECX, 1, {SIMD_AVX}},
    [SIMD_VEX_GFNI] = {7, 0, ECX, 8, {SIMD_AVX}},
    [SIMD_VAES] = {7, 0, ECX, 9, {SIMD_AVX}},
    [SIMD_VPCLMUL] = {7, 0, ECX, 10, {SIMD_AVX}},
    [SIMD_AVX_VNNI] = {7, 1, EAX, 4, {SIMD_AVX}},
    [SIMD_AVX512] = {7, 0, EBX, 16, {SIMD_AVX2, SIMD_FMA}}, /* and see host_has() */
    [SIMD_IFMA] = {7, 0, EBX, 21, {SIMD_AVX512}},
    [SIMD_VBMI] = {7, 0, ECX, 1, {SIMD_AVX512}},
    [SIMD_VBMI2] = {7, 0, ECX, 6, {SIMD_AVX512}},
    [SIMD_VNNI] = {7, 0, ECX, 11, {SIMD_AVX512}},
    [SIMD_BITALG] = {7, 0, ECX, 12, {SIMD_AVX512}},
    [SIMD_VPOPCNTDQ] = {7, 0, ECX, 14, {SIMD_AVX512}},
    [SIMD_BF16] = {7, 1, EAX, 5, {SIMD_AVX512}},
    [SIMD_EVEX_GFNI] = {7, 0, ECX, 8, {SIMD_AVX512}},
    [SIMD_EVEX_AES] = {7, 0, ECX, 9, {SIMD_AVX512}},
    [SIMD_EVEX_PCLMUL] = {7, 0, ECX, 10, {SIMD_AVX512}},
};
/* CPUID 7.0 EBX: AVX512DQ, CD, BW and VL. All of them, or none is used. */
#define AVX512_BITS (1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)

static bool features[SIMD_FEATURES];

bool simd_has_feature(enum simd_feature feature)
{
    return features[feature];
}

static bool host_has(enum simd_feature feature)
{
    uint32_t registers[4];

    if (!__get_cpuid_count(bits[feature].leaf, bits[feature].subleaf, &registers[EAX],
                           &registers[EBX], &registers[ECX], &registers[EDX]))
        return false;
    if (feature == SIMD_AVX && fpu_host.vector_bytes < 32)
        return false;
    if (feature == SIMD_AVX512 &&
        (fpu_host.vector_bytes < 64 || (registers[EBX] & AVX512_BITS) != AVX512_BITS))
        return false;
    for (unsigned i = 0; i < sizeof bits[feature].needs; i++) {
        if (bits[feature].needs[i] != SIMD_ABSENT && !features[bits[feature].needs[i]])
            return false;
    }
    return registers[bits[feature].reg] >> bits[feature].bit & 1;
}

/* Row numbers plus 1: so nothing is found before simd_table_init(). */
static uint16_t first_rows[SIMD_ENCODINGS][SIMD_MAPS][SIMD_PREFIXES][256];

bool simd_row_has_encoding(const struct simd_row *row, enum simd_encoding encoding)
{
    switch (encoding) {
    case SIMD_LEGACY:
        return features[row->legacy];
    case SIMD_VEX:
        return features[row->vex.feature128] || features[row->vex.feature256];
    case SIMD_EVEX:
        return features[row->evex.feature];
    default:
        return false;
    }
}

const struct simd_rows *simd_part(unsigned map)
{
    static const struct simd_rows *const parts[SIMD_MAPS] = {
        [SIMD_0F] = &simd_rows_0f,
        [SIMD_0F38] = &simd_rows_0f38,
        [SIMD_0F3A] = &simd_rows_0f3a,
    };
    return parts[map];
}

int simd_next_row(enum simd_encoding encoding, int from, unsigned prefix, unsigned opcode)
{
    unsigned map = (unsigned)from / SIMD_PART_ROWS;
    const struct simd_rows *part = simd_part(map);

    for (unsigned i = (unsigned)from % SIMD_PART_ROWS + 1; i < part->count; i++) {
        const struct simd_row *row = &part->rows[i];
        if (row->prefix == prefix && row->first <= opcode && opcode <= row->last &&
            simd_row_has_encoding(row, encoding))
            return (int)simd_row_number(map, i);
    }
    return -1;
}

int simd_first_row(enum simd_encoding encoding, unsigned map, unsigned prefix, unsigned opcode)
{
    return first_rows[encoding][map][prefix][opcode] - 1;
}

static void index_part(unsigned map)
{
    const struct simd_rows *part = simd_part(map);

    for (unsigned i = part->count; i-- > 0;) {
        const struct simd_row *row = &part->rows[i];
        for (unsigned encoding = 0; encoding < SIMD_ENCODINGS; encoding++) {
            if (!simd_row_has_encoding(row, encoding))
                continue;
            for (unsigned opcode = row->first; opcode <= row->last; opcode++)
                first_rows[encoding][map][row->prefix][opcode] =
                    (uint16_t)(simd_row_number(map, i) + 1);
        }
    }
}

void simd_table_init(void)
{
    /* In the order of their numbers, so that what a feature needs is known. */
    for (unsigned i = SIMD_ABSENT + 1; i < SIMD_FEATURES; i++)
        features[i] = host_has(i);
    for (unsigned map = SIMD_0F; map < SIMD_MAPS; map++)
        index_part(map);
}
