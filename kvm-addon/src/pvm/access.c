#include "access.h"

#include <string.h>

#include "breakpoints.h"
#include "devices.h"
#include "engine.h"
#include "host_access.h"
#include "safepoint.h"
#include "tables.h"
#include "tlb.h"
#include "word.h"

struct exchange {
    uint64_t value;
    uint64_t expected; /* nothing is stored where memory holds something else */
    bool always;       /* `expected` does not matter */
};

/* Attempts of a locked operation on two words to find both unchanged. */
#define SPLIT_TRIES 16

struct access access_translate(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               unsigned size, bool is_write)
{
    struct access access = {.count = 1};
    access.parts[0] = access_page(cpu, insn, mode, va, is_write);
    unsigned room = access.parts[0].size;
    if (size <= room) {
        access.parts[0].size = size;
        breakpoints_access(cpu, insn, va, size, is_write);
        return access;
    }
    access.parts[1] = access_page(cpu, insn, mode, va + room, is_write);
    access.parts[1].size = size - room;
    access.count = 2;
    breakpoints_access(cpu, insn, va, size, is_write);
    return access;
}

/* Devices accept accesses of 1, 2, 4 and 8 bytes. */
static bool is_device_size(unsigned size)
{
    return (size & (size - 1)) == 0;
}

static uint64_t load_part(struct cpu *cpu, const struct insn *insn, const struct access_part *part)
{
    uint64_t value = 0;
    if (!part->at) {
        if (is_device_size(part->size))
            return device_read(cpu, insn, part->gpa, part->size);
        for (unsigned i = 0; i < part->size; i++)
            value |= (device_read(cpu, insn, part->gpa + i, 1) & 0xff) << 8 * i;
        return value;
    }
    return host_load(part->at, part->size);
}

/* A change of the first `size` bytes of a part in RAM, all in one aligned word. */
static struct word_change change_of(const struct access_part *part, unsigned size, uint64_t value,
                                    const uint64_t *expected)
{
    unsigned offset = part->gpa & 7;
    uint64_t mask = word_mask(offset, size);
    return (struct word_change){.mask = mask,
                                .value = value << 8 * offset & mask,
                                .expected = expected ? *expected << 8 * offset & mask : 0,
                                .always = !expected};
}

/*
 * The change may link a table that other vCPUs use in native runs. If zaps must be executed first,
 * leaves the instruction, which is then executed again.
 */
static void prepare_change(struct cpu *cpu, const struct insn *insn, const struct access_part *part,
                           const struct word_change *change)
{
    const uint64_t *word = (const uint64_t *)(part->at - (part->gpa & 7));
    const struct frame *frame = frame_at(&cpu->engine->frames, part->gpa);
    if (!__atomic_load_n(&cpu->engine->native_running, __ATOMIC_SEQ_CST) ||
        !(__atomic_load_n(&frame->flags, __ATOMIC_SEQ_CST) & FRAME_TABLE))
        return;
    if (!tables_prepare(cpu, part->gpa & ~7ull, word, change) || !insn)
        return;
    cpu_attract(cpu, ATTENTION_ZAPS);
    cpu_leave(cpu, insn, cpu->once ? INTERPRETED_ONCE : INTERPRETED_ATTENTION);
}

/* Returns the old and the new bytes. */
static struct word_result make_change(struct cpu *cpu, const struct access_part *part,
                                      const struct word_change *change)
{
    uint64_t *word = (uint64_t *)(part->at - (part->gpa & 7));
    struct frame *frame = frame_at(&cpu->engine->frames, part->gpa);
    unsigned offset = part->gpa & 7;
    struct word_result result;
    frame_set_flag(frame, FRAME_DIRTY);
    if (__atomic_load_n(&frame->flags, __ATOMIC_SEQ_CST) & FRAME_TABLE) {
        result = tables_change(cpu, part->gpa & ~7ull, word, change);
    } else {
        result = word_apply(word, change);
        /* It became a table meanwhile, and may have been scanned before the store. */
        if (result.stored && __atomic_load_n(&frame->flags, __ATOMIC_SEQ_CST) & FRAME_TABLE)
            tables_frame_written(cpu->engine, part->gpa >> 12);
    }
    /*
     * A vCPU that decoded the frame before the store has its bit set; one that decodes it later
     * sees the store.
     */
    if (result.stored && __atomic_load_n(&frame->code_cpus, __ATOMIC_SEQ_CST))
        safepoint_invalidate_code(cpu->engine, cpu, part->gpa >> 12);
    result.old = (result.old & change->mask) >> 8 * offset;
    result.now = (result.now & change->mask) >> 8 * offset;
    return result;
}

/* The first `size` bytes of a part, if they are `*expected`. */
static struct word_result change_bytes(struct cpu *cpu, const struct access_part *part,
                                       unsigned size, uint64_t value, const uint64_t *expected)
{
    struct word_change change = change_of(part, size, value, expected);
    return make_change(cpu, part, &change);
}

/* Bytes of a part in its first aligned word. */
static unsigned bytes_in_word(const struct access_part *part)
{
    unsigned room = 8 - (part->gpa & 7);
    return part->size < room ? part->size : room;
}

static struct access_part part_after(const struct access_part *part, unsigned bytes)
{
    return (struct access_part){.at = part->at + bytes,
                                .gpa = part->gpa + bytes,
                                .size = part->size - bytes,
                                .special = part->special};
}

/* The value without its lowest `bytes`, 1 to 8. */
static uint64_t value_after(uint64_t value, unsigned bytes)
{
    return bytes == 8 ? 0 : value >> 8 * bytes;
}

static void store_to_special(struct cpu *cpu, const struct insn *insn,
                             const struct access_part *part, uint64_t value)
{
    unsigned first = bytes_in_word(part);
    struct word_change change = change_of(part, first, value, NULL);
    prepare_change(cpu, insn, part, &change);
    make_change(cpu, part, &change);
    if (first < part->size) {
        struct access_part rest = part_after(part, first);
        store_to_special(cpu, insn, &rest, value_after(value, first));
    }
}

static void store_part(struct cpu *cpu, const struct insn *insn, const struct access_part *part,
                       uint64_t value)
{
    if (!part->at) {
        if (is_device_size(part->size)) {
            device_write(cpu, insn, part->gpa, part->size, value);
            return;
        }
        for (unsigned i = 0; i < part->size; i++)
            device_write(cpu, insn, part->gpa + i, 1, value >> 8 * i & 0xff);
        return;
    }
    /* Checked again: the first half of a store to two pages may have made the second a table. */
    if (part->special || frame_is_special(frame_at(&cpu->engine->frames, part->gpa))) {
        store_to_special(cpu, insn, part, value);
        return;
    }
    host_store(part->at, part->size, value);
}

uint64_t access_load_as(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                        unsigned size)
{
    struct access access = access_translate(cpu, insn, mode, va, size, false);
    uint64_t value = load_part(cpu, insn, &access.parts[0]);
    if (access.count == 2)
        value |= load_part(cpu, insn, &access.parts[1]) << 8 * access.parts[0].size;
    return value;
}

void access_store_as(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                     unsigned size, uint64_t value)
{
    struct access access = access_translate(cpu, insn, mode, va, size, true);
    store_part(cpu, insn, &access.parts[0], value);
    if (access.count == 2)
        store_part(cpu, insn, &access.parts[1], value_after(value, access.parts[0].size));
}

/*
 * A locked operation on two words, in one page or in two. The words are changed one after the
 * other, and the first is put back if the second was not what it should be. Two such operations
 * never interleave; a plain store of another vCPU is detected, not prevented.
 */
static uint64_t exchange_split(struct cpu *cpu, const struct access_part halves[2],
                               const struct exchange *exchange)
{
    unsigned first = halves[0].size;
    uint64_t mask = word_mask(0, first + halves[1].size), held = 0;
    pthread_mutex_lock(&cpu->engine->frames.split_lock);
    for (unsigned i = 0; i < SPLIT_TRIES; i++) {
        uint64_t low = load_part(cpu, NULL, &halves[0]), high = load_part(cpu, NULL, &halves[1]);
        held = low | high << 8 * first;
        if (!exchange->always && held != (exchange->expected & mask))
            break;
        if (!change_bytes(cpu, &halves[0], first, exchange->value, &low).stored)
            continue;
        uint64_t new_high = value_after(exchange->value, first);
        if (change_bytes(cpu, &halves[1], halves[1].size, new_high, &high).stored)
            break;
        uint64_t new_low = exchange->value & word_mask(0, first);
        change_bytes(cpu, &halves[0], first, low, &new_low);
        held = ~exchange->expected &
               mask; /* a store of others came first each time: report "not equal" */
    }
    pthread_mutex_unlock(&cpu->engine->frames.split_lock);
    return held;
}

#define LOCKED_EXCHANGE(suffix, modifier, held, value, at)                                         \
    __asm__ volatile("xchg" suffix " %" modifier "0, (%1)"                                         \
                     : "=r"(held)                                                                  \
                     : "r"(at), "0"(value)                                                         \
                     : "memory")
#define LOCKED_COMPARE_EXCHANGE(suffix, modifier, held, value, at)                                 \
    __asm__ volatile("lock; cmpxchg" suffix " %" modifier "1, (%2)"                                \
                     : "+a"(held)                                                                  \
                     : "r"(value), "r"(at)                                                         \
                     : "memory", "cc")

/* The host's own locked operation, at any address within a cache line. */
static uint64_t exchange_on_host(uint8_t *at, unsigned size, const struct exchange *exchange)
{
    uint64_t held = exchange->expected, value = exchange->value;
    bool always = exchange->always;
    if (size == 2 && always)
        LOCKED_EXCHANGE("w", "w", held, value, at);
    else if (size == 2)
        LOCKED_COMPARE_EXCHANGE("w", "w", held, value, at);
    else if (size == 4 && always)
        LOCKED_EXCHANGE("l", "k", held, value, at);
    else if (size == 4)
        LOCKED_COMPARE_EXCHANGE("l", "k", held, value, at);
    else if (always)
        LOCKED_EXCHANGE("q", "q", held, value, at);
    else
        LOCKED_COMPARE_EXCHANGE("q", "q", held, value, at);
    return held & word_mask(0, size);
}

static uint64_t exchange_at(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                            const struct exchange *exchange)
{
    struct access access = access_translate(cpu, insn, access_mode(cpu), va, size, true);
    struct access_part *parts = access.parts;
    uint64_t mask = word_mask(0, size);
    if (!parts[0].at || (access.count == 2 && !parts[1].at)) {
        /* Devices have no locked operations. */
        uint64_t held = load_part(cpu, insn, &parts[0]);
        if (access.count == 2)
            held |= load_part(cpu, insn, &parts[1]) << 8 * parts[0].size;
        if (exchange->always || held == (exchange->expected & mask)) {
            store_part(cpu, insn, &parts[0], exchange->value);
            if (access.count == 2)
                store_part(cpu, insn, &parts[1], value_after(exchange->value, parts[0].size));
        }
        return held;
    }
    unsigned first = bytes_in_word(&parts[0]);
    if (access.count == 1 && first == size) {
        struct word_change change = change_of(&parts[0], size, exchange->value,
                                              exchange->always ? NULL : &exchange->expected);
        prepare_change(cpu, insn, &parts[0], &change);
        return make_change(cpu, &parts[0], &change).old;
    }
    if (access.count == 1 && !parts[0].special && !tlb_is_split(va, size))
        return exchange_on_host(parts[0].at, size, exchange);
    if (access.count == 1) {
        parts[1] = part_after(&parts[0], first);
        parts[0].size = first;
    }
    return exchange_split(cpu, parts, exchange);
}

bool access_compare_exchange_16(struct cpu *cpu, struct insn *insn, uint64_t va,
                                uint64_t expected[2], const uint64_t value[2])
{
    struct access_part part = access_page(cpu, insn, access_mode(cpu), va, true);
    breakpoints_access(cpu, insn, va, 16, true);
    struct access_part high = part_after(&part, 8);
    part.size = high.size = 8;
    if (!part.at) {
        uint64_t held[2] = {load_part(cpu, insn, &part), 0};
        high.at = NULL;
        held[1] = load_part(cpu, insn, &high);
        bool equal = held[0] == expected[0] && held[1] == expected[1];
        memcpy(expected, held, sizeof(held));
        if (equal) {
            store_part(cpu, insn, &part, value[0]);
            store_part(cpu, insn, &high, value[1]);
        }
        return equal;
    }
    if (!part.special) {
        unsigned __int128 *at = (unsigned __int128 *)part.at;
        uint64_t low = expected[0], top = expected[1];
        bool stored;
        __asm__ volatile("lock; cmpxchg16b %1"
                         : "=@ccz"(stored), "+m"(*at), "+a"(low), "+d"(top)
                         : "b"(value[0]), "c"(value[1])
                         : "memory");
        expected[0] = low;
        expected[1] = top;
        return stored;
    }
    /* On code or a page table: each entry is changed atomically, as for two words. */
    pthread_mutex_lock(&cpu->engine->frames.split_lock);
    uint64_t held[2] = {load_part(cpu, NULL, &part), load_part(cpu, NULL, &high)};
    bool stored = false;
    if (held[0] == expected[0] && held[1] == expected[1]) {
        stored = change_bytes(cpu, &part, 8, value[0], &held[0]).stored;
        if (stored && !change_bytes(cpu, &high, 8, value[1], &held[1]).stored) {
            change_bytes(cpu, &part, 8, held[0], &value[0]);
            stored = false;
        }
        if (!stored)
            held[0] = ~expected[0];
    }
    pthread_mutex_unlock(&cpu->engine->frames.split_lock);
    memcpy(expected, held, sizeof(held));
    return stored;
}

uint64_t access_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    return access_load_as(cpu, insn, access_mode(cpu), va, size);
}

void access_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value)
{
    access_store_as(cpu, insn, access_mode(cpu), va, size, value);
}

uint64_t access_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                         uint64_t value)
{
    struct exchange exchange = {.value = value, .always = true};
    return exchange_at(cpu, insn, va, size, &exchange);
}

uint64_t access_compare_exchange(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                                 uint64_t expected, uint64_t value)
{
    struct exchange exchange = {.value = value, .expected = expected};
    return exchange_at(cpu, insn, va, size, &exchange);
}
