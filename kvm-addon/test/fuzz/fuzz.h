/* Shared by the fuzzers: the input, read as a program of steps, and checks. */
#ifndef TSVM_FUZZ_H
#define TSVM_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A fuzzer reports by a crash, whose stack shows the failed check. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* Called by libFuzzer for each input. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Numbers taken from the front of the input; when it is used up, zeroes. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static inline void input_bytes(struct fuzz_input *input, void *bytes, size_t count)
{
    size_t part = count < input->size ? count : input->size;
    memset(bytes, 0, count);
    memcpy(bytes, input->data, part);
    input->data += part;
    input->size -= part;
}

static inline uint8_t input_u8(struct fuzz_input *input)
{
    uint8_t value;
    input_bytes(input, &value, sizeof value);
    return value;
}

static inline uint16_t input_u16(struct fuzz_input *input)
{
    uint16_t value;
    input_bytes(input, &value, sizeof value);
    return value;
}

static inline uint32_t input_u32(struct fuzz_input *input)
{
    uint32_t value;
    input_bytes(input, &value, sizeof value);
    return value;
}

static inline uint64_t input_u64(struct fuzz_input *input)
{
    uint64_t value;
    input_bytes(input, &value, sizeof value);
    return value;
}

#endif
